//! The daemon's own life: one at a time, an end in order, a manager that hangs, the upgrade.
use std::time::{Duration, Instant};

use crate::{
    actor,
    support::{
        process::{self, Signal, kill, lives, need_root, until, until_within},
        world::World,
    },
};

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

pub(crate) fn a_manager_that_hangs_is_replaced_within_15_seconds_and_services_do_not_notice() {
    let world = World::with(&[("web", &actor::unit("steady @/truth web", "restart = \"always\"\nlimit_core = 0"))]);
    let (pid, manager) = (world.pid("web"), world.manager());
    kill(manager, Signal::SIGSTOP);
    let began = Instant::now();
    let next = until_within(Duration::from_secs(30), "another manager", || {
        let found = process::children(world.keeper()).into_iter().filter(|child| *child != manager && *child != pid);
        found.into_iter().find(|pid| process::command_line(*pid).starts_with("supervisord manager"))
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_ne!(next, manager);
    assert_eq!(world.pid("web"), pid);
    assert_eq!(world.lines("truth").len(), 1, "it never noticed");
    // The first may have been stopped before its own row was on disk.
    until("the next says why", || {
        world.notices("manager_started").iter().any(|told| told["fields"]["cause"] == "hang").then_some(())
    });
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

pub(crate) fn as_pid_1_it_reaps_orphans_and_sigterm_ends_it() {
    need_root("it makes a pid namespace");
    let mut world = World::new();
    // Orphans that end some time after their parents.
    let script =
        "for n in 1 2 3 4 5 6 7 8; do (setsid sleep 0.2 &); done; sleep 0.5; touch @/orphaned; exec sleep 1000";
    // Only what ends when its cgroup or group is told would hide a reaper that does not reap.
    world.unit("web", &format!("[service]\nexec_start = \"/bin/sh -c '{script}'\"\n"));
    let log = std::fs::File::create(world.path("daemon.log")).unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(env!("CARGO_BIN_EXE_supervisord"));
    command.arg("--config").arg(world.path("roundsman.toml")).stdin(std::process::Stdio::null());
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
