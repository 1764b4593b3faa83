//! What stands still: a manager, a service that stops itself, a process that cannot die.
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{
    actor,
    faults::{mortal, stop_and_compare, until_it_starts_again},
    panics,
    support::{
        hook::Hook,
        process::{self, Signal, kill, lives, need_root, pause, until, until_within},
        world::{World, free_port},
    },
};

/// From the moment when a manager stands still until the next one answers.
const MANAGER_BACK: Duration = Duration::from_secs(12);
/// From the moment when nothing more can be tried until people are told.
const TOLD: Duration = Duration::from_secs(5);

pub(crate) fn a_manager_that_hangs_is_replaced_within_12_seconds_and_services_do_not_notice() {
    let stopped = |world: &World| kill(world.manager(), Signal::SIGSTOP);
    let deadlocked = |world: &World| {
        panics::say(world, panics::DEADLOCK);
        // Whoever is asked for something has something to log.
        let mut asked = ask(world, &["restart", "other"]);
        pause(200);
        assert!(asked.try_wait().unwrap().is_none(), "it answers");
        asked.kill().unwrap();
        asked.wait().unwrap();
    };
    thread::scope(|scope| {
        scope.spawn(|| hang("stopped", stopped));
        scope.spawn(|| hang("deadlocked", deadlocked));
    });
}

fn hang(what: &str, how: impl FnOnce(&World)) {
    let mut world = World::new();
    for name in ["web", "other"] {
        world.unit(name, &actor::unit(&format!("steady @/{name} {name}"), "restart = \"always\"\nlimit_core = 0"));
    }
    panics::start(&mut world);
    let (pid, manager, up) = (world.pid("web"), world.manager(), world.managers_up());
    until("it lives", || (world.lines("web").len() == 1).then_some(()));
    let began = Instant::now();
    how(&world);
    until_within(MANAGER_BACK * 2, "another manager", || (world.managers_up() > up).then_some(()));
    world.await_answer();
    let took = began.elapsed();
    println!("{what}: back after {took:?}");
    assert!(took < MANAGER_BACK, "{what}: {took:?}");
    // Not before its time either: on a machine that is busy everyone stands still now and then.
    assert!(took > MANAGER_BACK / 2, "{what}: {took:?}");
    assert_ne!(world.manager(), manager);
    assert_eq!((world.pid("web"), world.lines("web").len()), (pid, 1), "it never noticed");
    // The first may have been stopped before its own row was on disk.
    until("the next says why", || {
        world.notices("manager_started").iter().any(|told| told["fields"]["cause"] == "hang").then_some(())
    });
}

pub(crate) fn a_process_that_cannot_die_is_told_within_5_seconds_and_never_doubled() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    mortal(&world);
    world.unit(
        "stuck",
        &actor::unit(
            "steady @/stuck stuck",
            "timeout_stop_sec = \"300ms\"\nrestart = \"always\"\nrestart_reset_after_sec = \"300ms\"",
        ),
    );
    world.start();
    let pid = world.pid("stuck");
    until("it lives", || (world.lines("stuck").len() == 1).then_some(()));
    let ice = Ice::new(world.path("ice"));
    ice.freeze(pid);
    let mut asked = ask(&world, &["restart", "stuck"]);
    let began = Instant::now();
    let about = |hook: &Hook| -> Vec<serde_json::Value> {
        hook.taken().into_iter().filter(|told| told["unit"] == "stuck").collect()
    };
    let told = until("people are told", || about(&hook).into_iter().next());
    // The signals that it does not die of have their times first.
    let took = began.elapsed().saturating_sub(Duration::from_millis(600));
    println!("told {took:?} after the last signal");
    assert!(took < TOLD, "{took:?}");
    assert_eq!((&told["event"], &told["severity"]), (&"unit_unkillable".into(), &"critical".into()), "{told:#}");
    world.until_notices("unkillable", 1);
    let status = world.status("stuck");
    assert_eq!(
        (status["active"].as_str(), status["pid"].as_i64()),
        (Some("deactivating"), Some(pid.into())),
        "{status:#}"
    );
    assert!(status["cause"].as_str().unwrap().contains("do not die on SIGKILL"), "{status:#}");
    for _ in 0..3 {
        world.kill_manager();
        world.await_answer();
        until_it_starts_again(&world, 20);
    }
    assert_eq!(world.status("web")["health"], "none", "others are asked as ever");
    assert!(lives(pid) && world.lines("stuck").len() == 1, "there is one and no other");
    assert_eq!(world.notices("unkillable").len(), 1, "it is said once");
    ice.thaw();
    world
        .until_status("stuck", "the next one runs", |status| status["generation"] == 2 && status["active"] == "active");
    assert!(!lives(pid));
    let told = until("people are told that it is over", || Some(about(&hook)).filter(|told| told.len() > 1));
    let told: Vec<_> = told.iter().map(|told| told["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["unit_unkillable", "recovered"]);
    let _lost_its_manager = asked.wait();
    stop_and_compare(world);
}

fn ask(world: &World, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisorctl"));
    command.arg("--socket").arg(world.path("run/control.sock")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A freezer of version 1, in which a process dies of no signal.
struct Ice(PathBuf);

impl Ice {
    fn new(at: PathBuf) -> Self {
        need_root("it freezes a process");
        fs::create_dir(&at).unwrap();
        mount(Some("cgroup"), &at, Some("cgroup"), MsFlags::empty(), Some("freezer")).expect("CONFIG_CGROUP_FREEZER");
        let group = at.join(format!("roundsman-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        Self(group)
    }

    fn freeze(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        fs::write(self.0.join("freezer.state"), "FROZEN").unwrap();
        until("it is frozen", || {
            (fs::read_to_string(self.0.join("freezer.state")).unwrap() == "FROZEN\n").then_some(())
        });
    }

    fn thaw(&self) {
        fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
    }
}

impl Drop for Ice {
    fn drop(&mut self) {
        let _gone = fs::write(self.0.join("freezer.state"), "THAWED");
        let deadline = Instant::now() + process::PATIENCE;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            pause(20);
        }
        let _gone = umount2(self.0.parent().unwrap(), MntFlags::MNT_DETACH);
    }
}

const STOPS_ITSELF: &str = "exec_start = \"/bin/sh -c 'kill -STOP $$$$; exec sleep 1000'\"";

fn until_stopped(pid: i32) {
    until("it is stopped", || process::stat(pid).filter(|(state, _)| *state == 'T'));
}

pub(crate) fn a_service_that_stops_itself_shows_it_and_is_ended_by_a_stop() {
    for mode in ["control-group", "mixed", "process"] {
        let world = World::with(&[(
            "web",
            &format!("[service]\n{STOPS_ITSELF}\nkill_mode = \"{mode}\"\ntimeout_stop_sec = \"30s\"\n"),
        )]);
        let pid = world.pid("web");
        until_stopped(pid);
        let status = world.status("web");
        assert_eq!((status["active"].as_str(), status["pid"].as_i64()), (Some("active"), Some(pid.into())));
        assert!(status["cause"].as_str().unwrap().contains("is stopped (T)"), "{status:#}");
        assert!(world.ok(&["status", "web"]).out.contains("is stopped (T)"));
        let began = Instant::now();
        world.ok(&["stop", "web"]);
        assert!(began.elapsed() < Duration::from_secs(10), "SIGCONT follows SIGTERM: {:?}", began.elapsed());
        assert!(!lives(pid));
        let status = world.status("web");
        assert_eq!((&status["result"], &status["last_exit"]), (&"success".into(), &"killed by SIGTERM".into()));
        // One that goes on is as ever.
        world.ok(&["start", "web"]);
        until_stopped(world.pid("web"));
        world.ok(&["signal", "CONT", "web"]);
        world.until_status("web", "it goes on", |status| status["cause"] == "as wanted");
    }
}

pub(crate) fn a_service_that_stops_itself_is_restarted_by_its_watchdog_and_by_its_probes() {
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\nlimit_core = 0\ntimeout_stop_sec = \"5s\"";
    let mut world = World::new();
    world.unit("watched", &actor::unit("feed 100", &format!("type = \"notify\"\nwatchdog_sec = \"1s\"\n{policy}")));
    let port = free_port();
    let socket = format!("[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n");
    let probe = format!(
        "[[health]]\nname = \"live\"\nhttp = \"http://127.0.0.1:{port}/\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
         unhealthy_after = 3\non_unhealthy = \"restart\"\n"
    );
    world.unit("probed", &[actor::unit("serve @/mood", policy), socket, probe].concat());
    world.start();
    for name in ["watched", "probed"] {
        let pid = world.pid(name);
        world.until_status(name, "it is well", |status| status["active"] == "active" && status["health"] != "unknown");
        kill(pid, Signal::SIGSTOP);
        let began = Instant::now();
        world.until_status(name, "it is back", |status| status["generation"] == 2 && status["active"] == "active");
        println!("{name}: back after {:?}", began.elapsed());
        assert!(!lives(pid));
        assert_eq!(world.status(name)["restarts_total"], 1);
    }
    assert_eq!(world.history("watched", 1)[1]["result"], "watchdog");
    assert!(world.stop().success());
}
