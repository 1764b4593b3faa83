//! As many deaths as a day brings, at once: nothing that the daemon has grows with them.
use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    time::Instant,
};

use crate::{
    actor,
    support::{
        process::{PATIENCE, pause, until},
        world::{World, free_port},
    },
};

/// Deaths in the long test; those of a day, of twenty services that die every five seconds:
/// ROUNDSMAN_TEST_CHURN_RESTARTS=345600.
const RESTARTS: usize = 3000;
const DYING: usize = 20;
/// What the parts of a process that it uses now and then take: caches of the allocator and of the database.
const MANAGER_MORE_MAX: i64 = 4 << 20;
const KEEPER_MORE_MAX: i64 = 512 << 10;
/// Rows that the database keeps of each kind, and those that may wait for the next look.
const ROWS_MAX: i64 = 100_000 + 10_000;
const WAL_MAX: u64 = 16 << 20;
/// As the units say: three segments of 64 KiB, and what is beside them.
const LOGS_MAX: u64 = (DYING as u64) * (3 + 1) * (64 << 10);

/// What a daemon has.
#[derive(Debug, Clone)]
struct Held {
    /// How many of each kind.
    keeper_fds: BTreeMap<String, usize>,
    manager_fds: BTreeMap<String, usize>,
    threads: usize,
    keeper_bytes: i64,
    manager_bytes: i64,
    files: Vec<String>,
}

impl Held {
    fn now(world: &World) -> Self {
        let (keeper, manager) = (world.keeper(), world.manager());
        Self {
            keeper_fds: descriptors(keeper),
            manager_fds: descriptors(manager),
            threads: fs::read_dir(format!("/proc/{manager}/task")).unwrap().count(),
            keeper_bytes: resident(keeper),
            manager_bytes: resident(manager),
            files: files(&world.path("run")),
        }
    }
}

fn descriptors(pid: i32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        // Sockets and pipes by their kind, files by their name; a log goes on in the next segment.
        let kind = target.split(":[").next().unwrap_or(&target).replace(|c: char| c.is_ascii_digit(), "#");
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// Whether there is no descriptor more than before. Those of the database come and go with who asks.
fn no_more(now: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>) -> bool {
    now.iter().all(|(kind, count)| before.get(kind).is_some_and(|before| count <= before))
}

/// Bytes of memory that stand in no file, of the summary in proc_pid_smaps(5). What does is shared with others of its kind as
/// long as there are some.
fn resident(pid: i32) -> i64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() << 10
    };
    of("Anonymous:") + of("Swap:")
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Of a file, or of all that is below a folder.
fn bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let below: u64 = entries.map(|entry| bytes(&entry.path())).sum();
    below + fs::metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
}

/// The names of those that die.
fn dying() -> Vec<String> {
    (0..DYING).map(|number| format!("die{number}")).collect()
}

fn restarts(world: &World) -> usize {
    let all = world.ctl(&["status", "--json"]).json();
    let counts = all["units"].as_array().unwrap().iter().map(|unit| unit["restarts_total"].as_u64().unwrap());
    usize::try_from(counts.sum::<u64>()).unwrap()
}

fn write_units(world: &World, port: u16, edition: usize) {
    let log = "[log]\nsegment_size = \"64K\"\nkeep = 3\n";
    for name in dying() {
        let policy = "restart = \"always\"\nrestart_sec = \"1ms\"\n[unit]\nstart_limit_burst = 0\n";
        let said = format!("description = \"edition {edition}\"\n");
        world.unit(&name, &format!("[service]\nexec_start = \"/bin/echo {name} was here\"\n{policy}{said}{log}"));
    }
    let echo = format!(
        "[unit]\nstart_limit_burst = 0\n[service]\nexec_start = \"/bin/cat\"\nstandard_input = \"socket\"\n[socket]\naccept = true\nlisten_stream = \"127.0.0.1:{port}\"\ntrigger_limit_burst = 0\n"
    );
    world.unit("echo@", &echo);
    let probe = "[[health]]\nname = \"live\"\nexec = \"/bin/true\"\ninterval = \"200ms\"\ntimeout = \"5s\"\non_unhealthy = \"alert\"\n";
    world.unit(
        "fed",
        &(actor::unit("feed 100", "type = \"notify\"\nwatchdog_sec = \"30s\"\n[unit]\nstart_limit_burst = 0\n")
            + probe),
    );
    let timer = "[timer]\non_active_sec = \"50ms\"\non_unit_inactive_sec = \"200ms\"\n";
    world.unit(
        "tick",
        &format!("[unit]\nstart_limit_burst = 0\n[service]\ntype = \"oneshot\"\nexec_start = \"/bin/true\"\n{timer}"),
    );
}

/// A client that says something and hears it.
fn visit(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
}

/// So many more deaths, while people ask, stop, start and change things; then nobody dies any more.
fn churn(world: &World, port: u16, deaths: usize) {
    let names = dying();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.ok(&[&["start"], names.as_slice()].concat());
    let (before, mut turn) = (restarts(world), 0);
    while restarts(world) < before + deaths {
        turn += 1;
        visit(port);
        let unit = names[turn % DYING];
        match turn % 8 {
            0 => {
                write_units(world, port, turn);
                world.ok(&["reload-config"]);
            }
            1 => drop(world.ok(&["history", unit, "-n", "20", "--json"])),
            2 => drop(world.ok(&["logs", unit, "-n", "20"])),
            3 => drop(world.ok(&["events", "-n", "50", "--json"])),
            4 => drop((world.ok(&["stop", unit]), world.ok(&["start", unit]))),
            5 => drop(world.ctl(&["check", "fed", "--json"])),
            6 => drop(world.ok(&["reset", unit])),
            _ => drop(world.ok(&["restart", "fed"])),
        }
    }
    world.ok(&[&["stop"], names.as_slice()].concat());
}

/// What it has as soon as that is true: rows, segments and idle threads follow what happened.
fn until_held(world: &World, what: &str, is_so: impl Fn(&Held) -> bool) -> Held {
    let mut last = Held::now(world);
    let deadline = Instant::now() + PATIENCE;
    while !is_so(&last) {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}: {last:#?}");
        pause(100);
        last = Held::now(world);
    }
    last
}

pub(crate) fn a_days_deaths_leave_everything_as_it_was() {
    let deaths = env::var("ROUNDSMAN_TEST_CHURN_RESTARTS").map_or(RESTARTS, |text| text.parse().unwrap());
    let port = free_port();
    let mut world = World::new();
    write_units(&world, port, 0);
    world.start();
    churn(&world, port, deaths / 5);
    pause(500);
    let before = Held::now(&world);
    churn(&world, port, deaths);
    let now = until_held(&world, "no more descriptors and threads than before", |held| {
        no_more(&held.keeper_fds, &before.keeper_fds)
            && no_more(&held.manager_fds, &before.manager_fds)
            && held.threads <= before.threads
    });
    assert_eq!(now.files, before.files);
    let (manager, keeper) = (now.manager_bytes - before.manager_bytes, now.keeper_bytes - before.keeper_bytes);
    let (logs, wal) = (bytes(&world.path("logs")), bytes(&world.path("state/state.db-wal")));
    println!("{deaths} deaths: manager {manager:+} bytes of memory, keeper {keeper:+}, {logs} of logs, {wal} of WAL");
    assert!(manager <= MANAGER_MORE_MAX, "the manager has grown by {manager} bytes");
    assert!(keeper <= KEEPER_MORE_MAX, "the keeper has grown by {keeper} bytes");
    assert!(logs <= LOGS_MAX, "{logs} bytes of logs");
    assert!(wal <= WAL_MAX, "{wal} bytes of WAL");
    let are_few = |table| rows(&world, table) <= ROWS_MAX;
    until("old rows go", || (are_few("invocations") && are_few("notices")).then_some(()));
    // What the keeper holds for managers goes with them.
    for _ in 0..3 {
        world.kill_manager();
        world.await_answer();
    }
    until_held(&world, "no more descriptors than before", |held| no_more(&held.keeper_fds, &before.keeper_fds));
    assert!(world.stop().success());
    assert!(files(&world.path("run")).iter().all(|file| before.files.contains(file)));
}

fn rows(world: &World, table: &str) -> i64 {
    world.database().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}
