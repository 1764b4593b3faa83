//! The machine around the daemon goes wrong: clocks, descriptors, disks, processes that cannot die.
use std::{
    fs,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::{
    actor,
    manager::{Known, compare_with_truth},
    store::Small,
    support::{
        hook::Hook,
        process::{self, Signal, kill, need_root, pause, until},
        world::World,
    },
};

/// Dies every 20 to 40 ms, for ever, and writes down what became of it.
pub(crate) fn mortal(world: &World) {
    let more = "restart = \"always\"\nrestart_sec = \"20ms\"\n[unit]\nstart_limit_burst = 0";
    world.unit("web", &actor::unit("crash @/truth web 20 40", more));
}

pub(crate) fn until_it_starts_again(world: &World, times: usize) {
    until_starts_are_told(world, "truth", times);
}

fn until_starts_are_told(world: &World, file: &str, times: usize) {
    let starts = || world.lines(file).iter().filter(|line| line.starts_with('S')).count();
    let (before, deadline) = (starts(), Instant::now() + process::PATIENCE);
    while starts() < before + times {
        assert!(Instant::now() < deadline, "{} of {times} starts:\n{}", starts() - before, world.log());
        pause(5);
    }
}

pub(crate) fn stop_and_compare(mut world: World) {
    world.ok(&["stop", "web"]);
    let restarts = world.status("web")["restarts_total"].as_i64().unwrap();
    assert!(world.stop().success());
    compare_with_truth(&world, "web", restarts, Known::Exactly);
}

pub(crate) fn who_holds_the_database_delays_no_restart_and_costs_no_count() {
    let mut world = World::new();
    mortal(&world);
    world.start();
    until_it_starts_again(&world, 5);
    let other = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    other.busy_timeout(process::PATIENCE).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    until_it_starts_again(&world, 40);
    world.kill_manager();
    until_it_starts_again(&world, 40);
    other.execute_batch("ROLLBACK").unwrap();
    until("it is written again", || world.log().contains("store_recovered").then_some(()));
    world
        .until_status("web", "what was counted before is added", |status| status["restarts_total"].as_i64() > Some(80));
    stop_and_compare(world);
}

pub(crate) fn a_state_directory_that_turned_read_only_delays_no_restart_and_costs_no_count() {
    need_root("it mounts a file system");
    let mut world = World::new();
    let disk = Small::new(world.path("state"), "8m");
    mortal(&world);
    world.start();
    until_it_starts_again(&world, 5);
    let lid = disk.read_only();
    world.kill_manager();
    until("it says so", || world.log().contains("store_degraded").then_some(()));
    until_it_starts_again(&world, 10);
    drop(lid);
    until("it is written again", || world.log().contains("store_recovered").then_some(()));
    stop_and_compare(world);
}

pub(crate) fn without_descriptors_what_runs_is_still_restarted() {
    let mut world = World::new();
    mortal(&world);
    for n in 0..8 {
        world.unit(&format!("more{n}"), &actor::unit(&format!("steady @/other more{n}"), "restart = \"always\""));
    }
    let plain = world.command();
    let mut command = process::command("prlimit");
    command.arg("--nofile=64:64").arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
    let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("prlimit is in util-linux");
    world.adopt(child);
    until_it_starts_again(&world, 10);
    // More askers than it has descriptors, and they stay.
    let socket = world.path("run/control.sock");
    let askers: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    until_it_starts_again(&world, 40);
    world.kill_manager();
    until_it_starts_again(&world, 40);
    drop(askers);
    world.await_answer();
    until_it_starts_again(&world, 5);
    stop_and_compare(world);
}

pub(crate) fn a_clock_that_is_set_changes_no_decision() {
    const YEARS: i64 = 365 * 24 * 3600;
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    let more = "restart = \"always\"\nrestart_sec = \"10ms\"\n[unit]\nstart_limit_burst = 5\nstart_limit_interval_sec = \"5min\"";
    world.unit("limited", &actor::unit("steady @/truth limited", more));
    let probe = "[[health]]\nname = \"live\"\nexec = \"/bin/true\"\ninterval = \"100ms\"\ntimeout = \"5s\"\non_unhealthy = \"restart\"\n";
    world.unit("probed", &(actor::unit("feed 100", "type = \"notify\"\nwatchdog_sec = \"2s\"") + probe));
    let clock = wall_clock(&mut world);
    let set = |seconds: i64| fs::write(&clock, seconds.to_string()).unwrap();
    world.start();
    let probed = world.pid("probed");
    let generation = |world: &World, unit: &str| world.status(unit)["generation"].as_i64().unwrap();
    for (due, seconds) in (2..).zip([3600, -3600, 10 * YEARS, -10 * YEARS]) {
        set(seconds);
        kill(world.pid("limited"), Signal::SIGKILL);
        world.until_status("limited", "it is back", |status| {
            status["generation"] == due && status["active"] == "active"
        });
        if due == 2 {
            world.kill_manager();
            world.await_answer();
        }
        pause(300);
    }
    // The fifth start within five minutes was the last, whatever the clock on the wall showed meanwhile.
    kill(world.pid("limited"), Signal::SIGKILL);
    let status = world.until_active("limited", "failed");
    assert_eq!(status["result"], "start-limit-hit", "{status:#}");
    assert_eq!((world.pid("probed"), generation(&world, "probed")), (probed, 1), "no probe and no watchdog was misled");
    let told = until("someone is told", || {
        Some(hook.taken()).filter(|told| told.iter().any(|alert| alert["event"] == "start_limit_hit"))
    });
    assert!(told.iter().all(|alert| alert["reminder"] == 0), "{told:#?}");
    let mut told: Vec<_> = told.iter().map(|alert| (&alert["unit"], &alert["event"])).collect();
    // The manager that was killed may have sent it already.
    told.dedup();
    assert_eq!(told, [(&json!("limited"), &json!("unit_restarted")), (&json!("limited"), &json!("start_limit_hit"))]);
    let moments: Vec<i64> = world.history("limited", 5).iter().map(|row| row["ended_us"].as_i64().unwrap()).collect();
    let span = moments.iter().max().unwrap() - moments.iter().min().unwrap();
    assert!(span > 19 * YEARS * 1_000_000, "the clock was set for the daemon: {moments:?}");
    assert!(world.stop().success());
}

pub(crate) fn a_machine_that_was_paused_costs_no_service_and_no_manager_its_life() {
    let watched = "type = \"notify\"\nwatchdog_sec = \"1s\"\nrestart = \"always\"";
    let mut world = World::with(&[("web", &actor::unit("feed 100", watched))]);
    let (keeper, manager, service) = (world.keeper(), world.manager(), world.pid("web"));
    for pid in [service, manager, keeper] {
        kill(pid, Signal::SIGSTOP);
    }
    // Longer than a manager may be silent.
    pause(12_000);
    for pid in [keeper, manager, service] {
        kill(pid, Signal::SIGCONT);
        pause(200);
    }
    pause(2500);
    assert_eq!((world.manager(), world.pid("web")), (manager, service), "{}", world.log());
    assert_eq!(world.status("web")["generation"], 1);
    // It is watched as before.
    kill(service, Signal::SIGSTOP);
    world.until_status("web", "the watchdog", |status| status["generation"] == 2);
    assert!(world.stop().success());
}

pub(crate) fn a_log_disk_that_is_slow_delays_no_restart_and_no_answer() {
    let mut world = World::new();
    mortal(&world);
    world.unit("loud", &actor::unit("count 100", ""));
    world.start();
    until("it is captured", || world.captured("loud").contains("line 100\n").then_some(()));
    let manager = world.manager();
    let slow = Slow::new(log_threads(manager, |name| name == "log").first().expect("a thread writes logs"));
    until_it_starts_again(&world, 50);
    let began = Instant::now();
    assert!(world.ctl(&["status"]).out.contains("loud"));
    assert!(began.elapsed() < Duration::from_secs(2), "status took {:?}", began.elapsed());
    drop(slow);
    until("nothing is lost", || {
        let text = world.captured("loud");
        (text.lines().count() > 2000).then_some(text)
    })
    .lines()
    .enumerate()
    .for_each(|(number, line)| assert!(format!("line {number}").starts_with(line)));
    stop_and_compare(world);
}

pub(crate) fn a_log_disk_that_is_slow_or_hangs_delays_no_output_that_goes_to_another() {
    let mut world = World::new();
    let _disks = ["apart", "late"].map(|name| Small::new(world.path("logs").join(name), "64m"));
    fs::create_dir(world.path("logs/gone")).unwrap();
    let hanging = Hanging::new(world.path("logs/gone"));
    for name in ["loud", "apart", "gone"] {
        world.unit(name, &actor::unit("count 1000", ""));
    }
    world.unit("late", &actor::unit("count 1000", "[install]\nenabled = false"));
    world.start();
    let lines = |world: &World, name: &str| world.captured(name).lines().count();
    let grows = |world: &World, name: &str| {
        let before = lines(world, name);
        until("it is captured", || (lines(world, name) > before + 100).then_some(()));
    };
    grows(&world, "loud");
    grows(&world, "apart");
    let manager = world.manager();
    for (slow, other) in [("log", "apart"), ("log 0:", "loud")] {
        let is_it = |name: &str| name == slow || slow.ends_with(':') && name.starts_with(slow);
        let threads = log_threads(manager, is_it);
        let slow: Vec<Slow> = threads.iter().map(|thread| Slow::new(thread)).collect();
        assert!(!slow.is_empty());
        grows(&world, other);
        if other == "apart" {
            // A pipe that comes only now is heard too.
            let since = Instant::now();
            world.ok(&["start", "late"]);
            grows(&world, "late");
            assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        }
        drop(slow);
    }
    drop(hanging);
    let status = world.until_status("gone", "it is dropped", |status| status["output"]["dropped_bytes"] != 0);
    assert_eq!(status["active"], "active", "{status:#}");
    assert!(world.stop().success());
    for name in ["loud", "apart"] {
        let text = world.captured(name);
        text.lines().enumerate().for_each(|(number, line)| assert_eq!(line, format!("line {number}")));
    }
}

fn log_threads(manager: i32, is_it: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{manager}/task")).unwrap().map(|task| task.unwrap().path());
    tasks.filter(|task| is_it(fs::read_to_string(task.join("comm")).unwrap().trim_end())).collect()
}

/// Lets the daemon's clock on the wall, and no other, be off by as many seconds as the file says that comes back.
pub(crate) fn wall_clock(world: &mut World) -> PathBuf {
    let [clock, source, library] = ["clock", "clock.c", "clock.so"].map(|name| world.path(name));
    fs::write(&clock, "0").unwrap();
    fs::write(&source, CLOCK).unwrap();
    let built = process::command("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler is in the Debian package gcc").success());
    world.variable("LD_PRELOAD", library.to_str().unwrap());
    world.variable("TEST_CLOCK", clock.to_str().unwrap());
    clock
}

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *file = getenv("TEST_CLOCK");
    if (result != 0 || clock != CLOCK_REALTIME || !file) return result;
    char text[32] = {0};
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
    if (fd >= 0) close(fd);
    return 0;
}
"#;

/// Each call by which one thread writes files takes ten seconds.
struct Slow(Child);

impl Slow {
    fn new(task: &Path) -> Self {
        let id = task.file_name().unwrap().to_str().unwrap();
        let mut strace = process::command("strace");
        strace.args(["-qq", "-o", "/dev/null", "-p", id, "-e", "trace=splice,write,writev,pwrite64,fsync,fdatasync"]);
        strace.args(["-e", "inject=splice,write,writev,pwrite64,fsync,fdatasync:delay_enter=10s"]);
        let child = strace.stderr(Stdio::null()).spawn().expect("strace is in the Debian package strace");
        until("it is traced", || {
            (!fs::read_to_string(task.join("status")).unwrap().contains("TracerPid:\t0\n")).then_some(())
        });
        Self(child)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) fn a_disk_that_hangs_below_a_sandbox_holds_its_service_and_nobody_else() {
    let mut world = World::new();
    mortal(&world);
    let disk = world.path("disk");
    fs::create_dir_all(disk.join("files")).unwrap();
    let shut = "read_only_paths = \"-@/disk/files\"\nprivate_tmp = true\nrestart = \"always\"\nrestart_sec = \"10ms\"";
    world.unit("shut", &format!("[service]\nexec_start = \"/bin/sleep 86412\"\n{shut}\n"));
    world.start();
    let first = world.pid("shut");
    let sleepers = || process::with_command("/bin/sleep 86412");
    let hanging = Hanging::new(disk);
    kill(first, Signal::SIGKILL);
    world.until_status("shut", "its next run has begun", |status| status["generation"] == 2);
    until_it_starts_again(&world, 20);
    // A stop does not wait for the disk, and what was not made yet is not made.
    world.ok(&["stop", "shut"]);
    let status = world.status("shut");
    let end = (status["active"].as_str(), status["result"].as_str(), status["last_exit"].as_str());
    assert_eq!(end, (Some("inactive"), Some("success"), Some("killed by SIGTERM")), "{status:#}");
    world.ok(&["start", "--no-wait", "shut"]);
    world.until_status("shut", "its next run has begun", |status| status["generation"] == 3);
    world.kill_manager();
    world.await_answer();
    until_it_starts_again(&world, 20);
    assert_eq!((sleepers(), world.status("shut")["generation"].as_i64()), (Vec::new(), Some(3)));
    drop(hanging);
    world.until_status("shut", "it runs", |status| status["generation"] == 3 && status["pid"].is_i64());
    until("there is one", || (sleepers().len() == 1).then_some(()));
    world.ok(&["stop", "shut"]);
    stop_and_compare(world);
}

pub(crate) fn a_disk_that_hangs_below_a_file_of_variables_holds_its_service_and_nobody_else() {
    let mut world = World::new();
    mortal(&world);
    let disk = world.path("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::write(disk.join("variables"), "SECONDS=86413\n").unwrap();
    fs::write(world.path("near.env"), "NEAR=1\n").unwrap();
    let more = "environment_file = \"@/near.env\"\nrestart = \"always\"\nrestart_sec = \"20ms\"";
    world.unit("near", &actor::unit("crash @/near near 20 40", &format!("{more}\n[unit]\nstart_limit_burst = 0")));
    let far = "[service]\nexec_start = \"/bin/sleep $SECONDS\"\nenvironment_file = [\"@/disk/variables\", \"-@/disk/*.more\"]";
    world.unit("far", &format!("{far}\nrestart = \"always\"\nrestart_sec = \"10ms\"\n"));
    world.unit("late", &format!("{far}\ntimeout_start_sec = \"300ms\"\n[install]\nenabled = false\n"));
    world.start();
    let first = world.pid("far");
    let sleepers = || process::with_command("/bin/sleep 86413");
    let hanging = Hanging::new(disk);
    kill(first, Signal::SIGKILL);
    world.until_status("far", "its next run has begun", |status| status["generation"] == 2);
    let others_live = |world: &World| {
        until_it_starts_again(world, 20);
        until_starts_are_told(world, "near", 20);
    };
    others_live(&world);
    let status = world.status("far");
    let file = world.path("disk/variables").display().to_string();
    assert_eq!((status["active"].as_str(), status["pid"].as_i64()), (Some("activating"), None), "{status:#}");
    assert_eq!(status["cause"], format!("waits for the disk of {file}"), "{status:#}");
    // Its time to start is as long as ever.
    assert_ne!(world.ctl(&["start", "late"]).code, 0);
    let status = world.until_status("late", "its start is given up", |status| status["active"] == "failed");
    assert_eq!(status["result"], "timeout", "{status:#}");
    // A stop does not wait for the disk, and what was not made yet is not made.
    world.ok(&["stop", "far"]);
    let status = world.status("far");
    let end = (status["active"].as_str(), status["result"].as_str(), status["last_exit"].as_str());
    assert_eq!(end, (Some("inactive"), Some("success"), Some("killed by SIGTERM")), "{status:#}");
    world.ok(&["start", "--no-wait", "far"]);
    world.until_status("far", "its next run has begun", |status| status["generation"] == 3);
    world.kill_manager();
    world.await_answer();
    others_live(&world);
    assert_eq!((sleepers(), world.status("far")["generation"].as_i64()), (Vec::new(), Some(3)));
    // Whoever takes the file off the unit does not have to wait for it.
    world.ok(&["stop", "far"]);
    world.unit("far", "[service]\nexec_start = \"/bin/sleep 86413\"\nenvironment_file = \"@/near.env\"\n");
    world.ok(&["reload-config"]);
    world.ok(&["start", "far"]);
    assert_eq!(sleepers().len(), 1);
    drop(hanging);
    world.ok(&["start", "late"]);
    until("the file is read", || (sleepers().len() == 2).then_some(()));
    world.ok(&["stop", "far", "late", "near"]);
    stop_and_compare(world);
}

pub(crate) fn a_disk_that_hangs_below_a_folder_of_path_holds_its_service_and_nobody_else() {
    let mut world = World::new();
    mortal(&world);
    let disk = world.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let far =
        "[service]\ntype = \"exec\"\nexec_start = \"sleep 86414\"\nenvironment = { PATH = \"@/none:@/disk:/bin\" }";
    world.unit("far", &format!("{far}\nrestart = \"always\"\nrestart_sec = \"10ms\"\n"));
    world.unit("late", &format!("{far}\ntimeout_start_sec = \"300ms\"\n[install]\nenabled = false\n"));
    world.start();
    let first = world.pid("far");
    let sleepers = || process::with_command("sleep 86414");
    assert_eq!(sleepers(), [first]);
    let hanging = Hanging::new(disk);
    // One after the other: of two that look below one directory, this kernel lets the second wait whatever it is sent.
    assert_ne!(world.ctl(&["start", "late"]).code, 0);
    let status = world.until_status("late", "its start is given up", |status| status["active"] == "failed");
    assert_eq!(status["result"], "timeout", "{status:#}");
    kill(first, Signal::SIGKILL);
    world.until_status("far", "its next run has begun", |status| status["generation"] == 2);
    until_it_starts_again(&world, 20);
    let status = world.status("far");
    assert_eq!((status["active"].as_str(), status["generation"].as_i64()), (Some("activating"), Some(2)), "{status:#}");
    world.ok(&["stop", "far"]);
    world.ok(&["start", "--no-wait", "far"]);
    let pid = |status: &serde_json::Value| status["generation"] == 3 && status["pid"].is_i64();
    let looking = world.until_status("far", "its next process looks", pid)["pid"].clone();
    world.kill_manager();
    world.await_answer();
    until_it_starts_again(&world, 20);
    assert_eq!((sleepers(), &world.status("far")["pid"]), (Vec::new(), &looking));
    // A folder on a disk that is gone is passed over.
    drop(hanging);
    world.until_status("far", "it runs", |status| status["active"] == "active" && status["pid"] == looking);
    assert_eq!(sleepers(), [i32::try_from(looking.as_i64().unwrap()).unwrap()]);
    world.ok(&["stop", "far"]);
    stop_and_compare(world);
}

pub(crate) fn a_hundred_services_whose_disk_hangs_hold_none_whose_disk_does_not() {
    let mut world = World::new();
    mortal(&world);
    let disk = world.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let hanging = Hanging::new(disk);
    for number in 0..100 {
        let far = "[service]\nexec_start = \"/bin/sleep 86415\"\nenvironment_file = \"-@/disk/variables\"\n";
        world.unit(&format!("far-{number}"), far);
    }
    fs::write(world.path("near.env"), "NEAR=1\n").unwrap();
    let more = "environment_file = \"@/near.env\"\nrestart = \"always\"\nrestart_sec = \"20ms\"";
    world.unit("near", &actor::unit("crash @/near near 20 40", &format!("{more}\n[unit]\nstart_limit_burst = 0")));
    world.start();
    until_it_starts_again(&world, 20);
    until_starts_are_told(&world, "near", 20);
    drop(hanging);
    until("all have started", || (process::with_command("/bin/sleep 86415").len() == 100).then_some(()));
    world.ok(&["stop", "near"]);
    stop_and_compare(world);
}

/// A file system whose server answers nothing.
struct Hanging {
    at: PathBuf,
    server: Option<fs::File>,
}

impl Hanging {
    fn new(at: PathBuf) -> Self {
        need_root("it mounts a file system");
        let server = fs::File::options().read(true).write(true).open("/dev/fuse").expect("CONFIG_FUSE_FS");
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", server.as_raw_fd());
        mount(Some("hanging"), &at, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        Self { at, server: Some(server) }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whoever waits is told that it is gone.
        self.server = None;
        umount2(&self.at, MntFlags::MNT_DETACH).unwrap();
    }
}

pub(crate) fn a_service_that_closes_its_output_costs_nobody_anything() {
    const SERVICES: usize = 20;
    const MEASURED: Duration = Duration::from_secs(5);
    let names: Vec<String> = (0..SERVICES).map(|number| format!("web{number}")).collect();
    let world = |unit: &str| World::with(&names.iter().map(|name| (name.as_str(), unit)).collect::<Vec<_>>());
    // What a wake costs is the machine's affair, and more for what has slept: so others sleep beside it, both for a while.
    let others = world("[service]\nexec_start = \"/bin/sh -c 'exec sleep 1000'\"\n");
    let closers = world("[service]\nexec_start = \"/bin/sh -c 'exec 1>&- 2>&-; exec sleep 1000'\"\n");
    let pids: Vec<i32> = names.iter().map(|name| closers.pid(name)).collect();
    let has_closed = |pid: &i32| !Path::new(&format!("/proc/{pid}/fd/1")).exists();
    until("they have closed their output", || pids.iter().all(has_closed).then_some(()));
    let worlds = [&closers, &others];
    for world in worlds {
        until("their rows are on disk", || (world.history(&names[SERVICES - 1], 0).len() == 1).then_some(()));
    }
    std::thread::sleep(MEASURED);
    let both = worlds.map(|world| [world.keeper(), world.manager()]);
    let used = || both.map(|pids| pids.map(cpu_time).into_iter().sum::<Duration>());
    let (before, began) = (used(), Instant::now());
    std::thread::sleep(MEASURED);
    let (after, passed) = (used(), began.elapsed());
    let [closing, open] = [0, 1].map(|of| (after[of] - before[of]).as_secs_f64() / passed.as_secs_f64() * 100.0);
    println!("of a CPU, keeper and manager of those that closed it used {closing:.3} %, of others {open:.3} %");
    assert!(closing - open < 1.0, "{closing:.3} %, {open:.3} % of others");
    for (name, pid) in names.iter().zip(&pids) {
        assert_eq!((closers.status(name)["active"].as_str(), closers.pid(name)), (Some("active"), *pid));
    }
}

/// What all threads of a process have used so far, clock_getcpuclockid(3).
fn cpu_time(pid: i32) -> Duration {
    clock_gettime(ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).unwrap()).unwrap().into()
}
