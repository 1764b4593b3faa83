//! The daemon's own life: one at a time, an end in order, a manager that hangs, the upgrade.
use std::{
    env,
    fs::{self, File},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    actor,
    faults::{mortal, until_it_starts_again},
    manager::{Known, compare_with_truth},
    store::Small,
    support::{
        process::{self, Signal, kill, lives, need_root, until},
        world::World,
    },
};

/// Races in the long test, at least; `ROUNDSMAN_TEST_RACES` sets another number.
const RACES: usize = 40;
/// Upgrades, good and bad, and deaths of managers with a full runtime directory.
const FULL: usize = 100;
const SLEEP: &str = "[service]\nexec_start = \"sleep 1000\"\n";

pub(crate) fn a_second_daemon_is_refused_and_told_who_is_there() {
    let world = World::with(&[("web", SLEEP)]);
    let pid = world.pid("web");
    let output = world.command().output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&world.keeper().to_string()), "names {}: {said}", world.keeper());
    assert_eq!(world.pid("web"), pid);
    assert_eq!(process::with_command("sleep 1000").iter().filter(|found| **found == pid).count(), 1);
}

pub(crate) fn of_daemons_that_race_one_begins_and_each_other_names_it() {
    let wanted: usize = env::var("ROUNDSMAN_TEST_RACES").map_or(RACES, |text| text.parse().unwrap());
    let beside_nothing = race(wanted / 2, |world, _| assert!(world.stop().success())).1;
    // What a keeper left that was killed is there for the first to take.
    let mut steady = None;
    let (mut world, beside_services) = race(wanted.div_ceil(2), |world, now| {
        assert_eq!(*steady.get_or_insert(now), now, "it lives on");
        until_it_starts_again(world, 2);
        world.kill_keeper();
    });
    println!("{beside_nothing} and {beside_services} races were lost");
    world.ok(&["stop", "web"]);
    let restarts = world.status("web")["restarts_total"].as_i64().unwrap();
    assert!(world.stop().success());
    compare_with_truth(&world, "web", restarts, Known::SomeEndsUnknown);
}

/// Some daemons are started at once, again and again until so many have lost. `between` ends the one that won; it is told the
/// pid of a service that does not end by itself.
fn race(wanted: usize, mut between: impl FnMut(&mut World, i32)) -> (World, usize) {
    const RACERS: usize = 6;
    let mut world = World::new();
    mortal(&world);
    world.unit("steady", &actor::unit("steady @/steady steady", "restart = \"always\""));
    let mut lost = 0;
    loop {
        // Nobody reads what the winner goes on to say.
        let folder = world.folder.path().to_owned();
        let words = |number: usize| folder.join(format!("racer-{number}.log"));
        let start = |number| {
            let log = File::create(words(number)).unwrap();
            (number, world.command().stdout(Stdio::null()).stderr(log).spawn().unwrap())
        };
        let mut racers: Vec<(usize, Child)> = (0..RACERS).map(start).collect();
        let mut losers = Vec::new();
        until("all but one have ended", || {
            let at = racers.iter_mut().position(|(_, racer)| racer.try_wait().unwrap().is_some());
            losers.extend(at.map(|at| racers.swap_remove(at)));
            (losers.len() >= RACERS - 1).then_some(())
        });
        let (_, winner) = racers.pop().expect("one begins");
        let holder = winner.id();
        world.adopt(winner);
        lost += losers.len();
        for (number, mut loser) in losers {
            let said = fs::read_to_string(words(number)).unwrap();
            assert_eq!(loser.wait().unwrap().code(), Some(1), "{said}");
            assert!(said.contains(&format!("held by process {holder}\n")), "of {holder}: {said}");
        }
        world.await_answer();
        let steady = world.pid("steady");
        let command = format!("steady {} steady", world.path("steady").display());
        // It has a pid before it runs its own program.
        let found = until("it runs", || Some(process::with_command(&command)).filter(|found| !found.is_empty()));
        assert_eq!(found, [steady]);
        if lost >= wanted {
            return (world, lost);
        }
        between(&mut world, steady);
    }
}

pub(crate) fn it_goes_on_when_nobody_reads_its_log() {
    let mut world = World::new();
    world.unit("web", "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = 0\n");
    let (reader, writer) = std::io::pipe().unwrap();
    world.adopt(world.command().stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap());
    drop(reader);
    world.await_answer();
    let (manager, pid) = (world.manager(), world.pid("web"));
    kill(pid, Signal::SIGKILL);
    world.until_notices("run_ended", 1);
    world.until_status("web", "it is back", |status| status["active"] == "active" && status["pid"] != pid);
    assert_eq!(world.manager(), manager, "the manager that could not say so lives");
}

pub(crate) fn sigterm_stops_everything_and_ends_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\""))]);
        until("it lives", || (!world.lines("truth").is_empty()).then_some(()));
        let pid = world.pid("web");
        world.signal(signal);
        let status = world.await_end();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(!lives(pid));
        assert!(world.lines("truth")[1].starts_with("E web"), "it could say goodbye");
        let (result, wanted): (String, bool) = world
            .database()
            .query_row("SELECT result, wanted FROM invocations", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!((result.as_str(), wanted), ("success", true));
    }
}

pub(crate) fn an_upgrade_in_place_touches_no_service() {
    let world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\""))]);
    let (pid, manager, keeper) = (world.pid("web"), world.manager(), world.keeper());
    let up = world.managers_up();
    world.signal(Signal::SIGUSR2);
    until("another manager took over", || (world.managers_up() > up).then_some(()));
    assert_ne!(world.manager(), manager);
    assert_eq!((world.keeper(), world.pid("web")), (keeper, pid));
    assert_eq!(world.lines("truth").len(), 1, "it never noticed");
    kill(pid, Signal::SIGKILL);
    let status = world.until_status("web", "the next run", |status| status["generation"] == 2);
    assert_eq!(status["restarts_total"], 1);
}

/// A program that stands in for a new release.
fn release(world: &World, script: &str) -> String {
    let path = world.path("release");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path.display().to_string()
}

pub(crate) fn supervisorctl_upgrade_says_what_runs_then_or_why_not() {
    let idle = "[service]\nexec_start = \"true\"\n[install]\nenabled = false\n";
    let world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\"")), ("idle", idle)]);
    let (pid, keeper) = (world.pid("web"), world.keeper());
    assert_eq!(world.status("idle")["since_us"], 0, "it never was anything else");
    let said = world.ok(&["upgrade"]);
    until("the former manager has ended", || world.log().contains("goes on without this manager").then_some(()));
    assert!(!world.log().contains("cannot work with the keeper"), "all is well: {}", world.log());
    assert_eq!(world.status("idle")["since_us"], 0);
    assert!(said.out.starts_with("supervisord ") && said.out.contains(" took over from "), "{said:?}");
    // Another file, as after an installation elsewhere.
    let copy = world.path("new-supervisord");
    fs::copy(env!("CARGO_BIN_EXE_supervisord"), &copy).unwrap();
    let answer = world.ok(&["upgrade", "--to", copy.to_str().unwrap(), "--json"]).json();
    assert_eq!((answer["program"].as_str(), answer["cause"].as_str()), (copy.to_str(), Some("upgrade")));
    assert_eq!((world.keeper(), world.pid("web")), (keeper, pid));
    let manager = world.manager();
    for (script, reason) in [
        ("no program at all", "cannot run"),
        ("#!/bin/sh\nexit 1\n", "does not understand our state"),
        // The first time it is shown nonsense, which Roundsman refuses so.
        (
            "#!/bin/sh\n[ -e $0.shown ] || { touch $0.shown; exit 1; }\nexit 65\n",
            "cannot use the database as it is now",
        ),
        ("#!/bin/sh\nkill -SEGV $$\n", "cannot be Roundsman"),
    ] {
        let said = world.ctl(&["upgrade", "--to", &release(&world, script)]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(reason) && said.err.contains("remedy:"), "{said:?}");
    }
    assert!(world.ctl(&["upgrade", "--to", "/no/such/program"]).err.contains("/no/such/program"));
    assert_eq!((world.manager(), world.pid("web")), (manager, pid), "refused beforehand: nobody noticed");
    assert_eq!(world.lines("truth").len(), 1);
    assert_eq!(world.until_notices("upgrade_failed", 5).len(), 5);
    assert_eq!(world.status("web")["restarts_total"], 0);
}

pub(crate) fn a_program_that_does_not_know_the_database_is_refused_beforehand_and_at_start() {
    let mut world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\""))]);
    let (pid, manager) = (world.pid("web"), world.manager());
    let file = world.path("state/state.db");
    let database = || {
        let database = rusqlite::Connection::open(&file).unwrap();
        database.busy_timeout(process::PATIENCE).unwrap();
        database
    };
    let set_version = |version: i32| database().pragma_update(None, "user_version", version).unwrap();
    let ours: i32 = database().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    set_version(99);
    let said = world.ctl(&["upgrade"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("cannot use the database"), "{said:?}");
    assert_eq!((world.manager(), world.pid("web")), (manager, pid));
    // A manager that must go on anyway lets its rows wait, and loses none.
    world.kill_manager();
    world.await_answer();
    kill(pid, Signal::SIGKILL);
    world.until_status("web", "the next run", |status| status["generation"] == 2);
    assert!(world.ctl(&["upgrade"]).code == 1);
    set_version(ours);
    assert_eq!(world.history("web", 1).last().unwrap()["generation"], 1);
    assert!(world.stop().success());
    set_version(99);
    let bytes = fs::read(world.path("state/state.db")).unwrap();
    let output = world.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("version 99 is newer") && said.contains(&format!("state.db.version-{ours}")), "{said}");
    assert_eq!(fs::read(world.path("state/state.db")).unwrap(), bytes, "it is left as it is");
}

/// The state crosses in memory, so a runtime directory without room stops no upgrade; what cannot be written down is told.
pub(crate) fn an_upgrade_needs_no_room_in_the_runtime_directory() {
    let world = World::new();
    let disk = Small::new(world.path("run"), "256k");
    // What is in there is needed as long as the daemon is.
    let mut world = world;
    world.unit("web", &actor::unit("steady @/truth web", "restart = \"always\""));
    world.start();
    let keeper = world.keeper();
    let fill = || drop(disk.fill());
    fill();
    // Its record is a long one, which needs a page of its own.
    let long = "w".repeat(200);
    world.unit(&long, &actor::unit("steady @/truth long", ""));
    world.ok(&["reload-config"]);
    let pids = || [world.pid("web"), world.pid(&long)];
    let before = pids();
    let bad = release(&world, "#!/bin/sh\nexit 1\n");
    let mut refused = 0;
    for round in 0..FULL {
        match round % 3 {
            0 => drop(world.ok(&["upgrade"])),
            1 => {
                let manager = world.manager();
                let said = world.ctl(&["upgrade", "--to", &bad]);
                assert!(said.code == 1 && said.err.contains("does not understand our state"), "{said:?}");
                assert_eq!(world.manager(), manager, "it is refused beforehand");
                refused += 1;
            }
            _ => {
                let up = world.managers_up();
                world.kill_manager();
                until("the next manager is up", || (world.managers_up() > up).then_some(()));
            }
        }
        assert_eq!((world.keeper(), pids()), (keeper, before), "in round {round}");
        fill();
    }
    println!("{FULL} rounds, {refused} refused");
    until("both have said so", || (world.lines("truth").len() == 2).then_some(()));
    assert!(world.log().contains("what runs is not written down"), "it is told");
    // A death is a restart as ever.
    kill(before[0], Signal::SIGKILL);
    world.until_status("web", "it is back", |status| status["generation"] == 2 && status["active"] == "active");
    assert!(world.stop().success());
}

pub(crate) fn a_storm_of_reload_signals_is_a_few_reloads_and_restarts_nothing() {
    let world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\""))]);
    let pid = world.pid("web");
    until("it has said so", || (world.lines("truth").len() == 1).then_some(()));
    // Not of the events: there are no more of those than one look shows.
    let loads = || world.log().matches("event=\"config_loaded\"").count();
    let before = loads();
    for round in 0..20_000 {
        world.signal(Signal::SIGHUP);
        if round % 4000 == 0 {
            let began = Instant::now();
            world.status("web");
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
    }
    until("it was taken in", || (loads() > before).then_some(()));
    // Those that are on their way are done before this one is.
    world.ok(&["reload-config"]);
    let loaded = loads() - before;
    assert!(loaded < 2000, "{loaded} reloads of 20,000 signals");
    assert_eq!((world.pid("web"), world.lines("truth").len()), (pid, 1));
}

pub(crate) fn an_upgrade_with_broken_files_goes_on_with_what_was_in_force() {
    let world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\""))]);
    let pid = world.pid("web");
    let sound = fs::read(world.path("roundsman.toml")).unwrap();
    fs::write(world.path("roundsman.toml"), "[path]\nnonsense\n").unwrap();
    world.unit("web", "[servis]\n");
    let said = world.ok(&["upgrade"]);
    assert!(said.err.contains("warning: it goes on with the units and settings of before: "), "{said:?}");
    assert!(said.err.contains("roundsman.toml:2:9"), "{said:?}");
    assert_eq!(world.pid("web"), pid);
    let told = world.until_notices("config_rejected", 1);
    let reason = told[0]["fields"]["reason"].as_str().unwrap();
    assert!(reason.contains("roundsman.toml:2:9") && reason.contains("servis"), "{reason}");
    fs::write(world.path("roundsman.toml"), sound).unwrap();
    assert_eq!(world.ctl(&["reload-config"]).code, 1, "the unit is still broken");
    world.unit("web", &actor::unit("steady @/truth web", "restart = \"always\""));
    world.ok(&["reload-config"]);
}

pub(crate) fn a_unit_whose_end_is_the_daemons_gives_it_its_exit_status() {
    for (script, more, code) in [
        ("exit 7", "failure_action = \"exit\"", 7),
        ("kill -KILL $$$$", "failure_action = \"exit\"", 137),
        ("exit 7", "failure_action = \"exit\"\nfailure_action_exit_status = 3", 3),
        ("exit 0", "success_action = \"exit\"", 0),
        ("exit 0", "success_action = \"exit\"\nsuccess_action_exit_status = 9", 9),
    ] {
        let mut world = World::new();
        let text = "[service]\nlimit_core = 0\nexec_start = \"/bin/sh -c 'SCRIPT'\"\n[unit]\n";
        world.unit("main", &(text.replace("SCRIPT", script) + more));
        world.unit("other", &actor::unit("steady @/truth other", ""));
        world.spawn();
        let status = world.await_end();
        assert_eq!(status.code(), Some(code), "{script} {more}: {}", world.log());
        let truth = world.lines("truth");
        assert!(truth.len() != 1, "the other was stopped in order: {truth:?}");
    }
    // Without a word in the unit, the settings name it; a restart is no end.
    let mut world = World::new();
    world.settings("[container]\nmain = \"main\"\nforward_signals = [\"USR1\"]\n");
    let script = "test -e @/second && exec sleep 1000; touch @/second; exit 1";
    world.unit("main", &format!("[service]\nexec_start = \"/bin/sh -c '{script}'\"\nrestart = \"on-failure\"\nrestart_sec = 0\nrestart_prevent_exit_status = \"SIGUSR1\"\n"));
    world.start();
    world.until_status("main", "it came back", |status| status["generation"] == 2 && status["active"] == "active");
    world.kill_manager();
    world.await_answer();
    world.signal(Signal::SIGQUIT);
    world.signal(Signal::SIGUSR1);
    // USR1 ends sleep(1); QUIT was not to be forwarded.
    let status = world.await_end();
    assert_eq!(status.code(), Some(128 + Signal::SIGUSR1 as i32), "{}", world.log());
    fs::write(world.path("roundsman.toml"), "[container]\nmain = \"nobody\"\n").unwrap();
    let output = world.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

pub(crate) fn who_was_taken_over_from_a_dead_keeper_is_still_watched_after_an_upgrade() {
    let mut world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\""))]);
    let (pid, manager) = (world.pid("web"), world.manager());
    kill(world.keeper(), Signal::SIGKILL);
    until("its manager is gone too", || (!lives(manager)).then_some(()));
    world.start();
    let up = world.managers_up();
    world.signal(Signal::SIGUSR2);
    until("another manager took over", || (world.managers_up() > up).then_some(()));
    assert_eq!(world.pid("web"), pid);
    kill(pid, Signal::SIGKILL);
    world.until_status("web", "the next run", |status| status["generation"] == 2);
    world.ok(&["stop", "web"]);
}

pub(crate) fn the_socket_goes_with_the_daemon_and_another_ones_stays() {
    let mut world = World::with(&[("web", SLEEP)]);
    let socket = world.path("run/control.sock");
    world.until_active("web", "active");
    // Another manager holds it by then than the one that made it.
    world.kill_manager();
    world.until_active("web", "active");
    assert!(socket.exists());
    assert_eq!(world.stop().code(), Some(0));
    assert!(!socket.exists());
    world.start();
    world.until_active("web", "active");
    fs::remove_file(&socket).unwrap();
    let another = UnixListener::bind(&socket).unwrap();
    assert_eq!(world.stop().code(), Some(0));
    UnixStream::connect(&socket).unwrap();
    drop(another);
}

pub(crate) fn as_pid_1_it_reaps_orphans_and_sigterm_ends_it() {
    need_root("it makes a pid namespace");
    let mut world = World::new();
    // Orphans that end some time after their parents.
    let script =
        "for n in 1 2 3 4 5 6 7 8; do (setsid sleep 0.2 &); done; sleep 0.5; touch @/orphaned; exec sleep 1000";
    // Only what ends when its cgroup or group is told would hide a reaper that does not reap.
    world.unit("web", &format!("[service]\nexec_start = \"/bin/sh -c '{script}'\"\n"));
    let log = File::create(world.path("daemon.log")).unwrap();
    let mut command = process::command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(env!("CARGO_BIN_EXE_supervisord"));
    command.arg("--config").arg(world.path("roundsman.toml")).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    world.adopt(command.spawn().unwrap());
    world.await_answer();
    world.until_active("web", "active");
    let unshare = world.keeper();
    let init = until("it is there", || process::children(unshare).first().copied());
    until("the orphans are orphans", || world.path("orphaned").exists().then_some(()));
    until("no zombie is left", || {
        let below = process::descendants(init);
        below.iter().all(|pid| process::stat(*pid).is_none_or(|(state, _)| state != 'Z')).then_some(())
    });
    assert_eq!(process::children(init).len(), 2, "manager and service");
    let manager = *process::children(init).iter().find(|pid| process::command_line(**pid).contains("manager")).unwrap();
    kill(manager, Signal::SIGKILL);
    world.until_active("web", "active");
    assert_eq!(world.status("web")["generation"], 1, "as everywhere");
    kill(init, Signal::SIGTERM);
    let status = world.await_end();
    assert_eq!(status.code(), Some(0), "{status}");
}
