//! What is to go, goes, with all that belongs to it.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{
    actor,
    support::{
        process::{self, Signal, kill, lives, until},
        world::World,
    },
};

pub(crate) fn who_ignores_sigterm_is_killed_at_its_deadline() {
    let text = "[service]\nexec_start = \"/bin/sh -c 'trap \\\"\\\" TERM; touch @/deaf; while :; do sleep 0.05; done'\"\n\
                timeout_stop_sec = \"1s\"\n";
    let world = World::with(&[("deaf", text)]);
    until("it is deaf", || world.path("deaf").exists().then_some(()));
    let pid = world.pid("deaf");
    let began = SystemTime::now();
    world.ok(&["stop", "deaf"]);
    assert!(began.elapsed().unwrap() >= Duration::from_secs(1), "it had its time");
    assert!(!lives(pid));
    let run = &world.history("deaf", 1)[0];
    let ended = Duration::from_micros(run["ended_us"].as_u64().unwrap());
    let took = ended - began.duration_since(UNIX_EPOCH).unwrap();
    println!("ended {took:?} after it was asked for");
    assert!(took <= Duration::from_millis(1200), "and not more: {took:?}");
    assert_eq!((&run["status"], &run["result"]), (&"killed by SIGKILL".into(), &"timeout".into()), "{run:#}");
}

pub(crate) fn a_stop_during_a_start_reaches_what_is_being_started() {
    let world = World::with(&[(
        "web",
        "[service]\nexec_start = \"sleep 1000\"\n[unit]\nstart_limit_burst = 0\n[install]\nenabled = false\n",
    )]);
    for _ in 0..30 {
        world.ok(&["start", "web", "--no-wait"]);
        let began = Instant::now();
        world.ok(&["stop", "web"]);
        assert!(began.elapsed() < Duration::from_secs(5), "the signal did not reach it");
    }
    assert_eq!(world.status("web")["active"], "inactive");
}

/// A service whose grandchildren leave its session and its group, and outlive their parents.
fn escapes(mode: &str) {
    let mut world = World::new();
    world.settings(mode);
    // Seconds that nobody else sleeps.
    let mark = |number: u32| format!("{}{number}", std::process::id() % 100_000 + 700_000);
    let (first, second, main) = (mark(1), mark(2), mark(3));
    let script = format!(
        "setsid sleep {first} & (setsid sh -c \"trap : TERM; sleep {second} & sleep {second}; sleep {second}\" &) ; sleep 0.3; touch @/away; exec sleep {main}"
    );
    world.unit("web", &format!("[service]\nexec_start = ['''/bin/sh -c '{script}' ''']\ntimeout_stop_sec = \"1s\"\n"));
    world.start();
    until("its grandchildren are away", || world.path("away").exists().then_some(()));
    let all: Vec<i32> = [&first, &second].iter().flat_map(|mark| process::with_command(mark)).collect();
    assert!(all.len() >= 3, "they live: {all:?}");
    world.ok(&["stop", "web"]);
    let left: Vec<i32> = [&first, &second, &main].iter().flat_map(|mark| process::with_command(mark)).collect();
    assert_eq!(left, Vec::<i32>::new(), "left behind");
    // The main process dies alone.
    std::fs::remove_file(world.path("away")).unwrap();
    world.ok(&["start", "web"]);
    until("its grandchildren are away", || world.path("away").exists().then_some(()));
    until("it is the sleep", || process::command_line(world.pid("web")).contains(&main).then_some(()));
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_active("web", "failed");
    until("nothing is left behind by a death", || {
        [&first, &second, &main].iter().all(|mark| process::with_command(mark).is_empty()).then_some(())
    });
}

pub(crate) fn of_a_thousand_grandchildren_that_left_the_session_none_survives_a_stop() {
    const GRANDCHILDREN: usize = 1000;
    for mode in ["on", "off"] {
        let mut world = World::new();
        world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
        let mark = format!("{}4", std::process::id() % 100_000 + 700_000);
        let script = format!(
            "i=0; while [ $i -lt {GRANDCHILDREN} ]; do (setsid sleep {mark} &); i=$((i + 1)); done; exec sleep 1000\n"
        );
        std::fs::write(world.path("script"), script).unwrap();
        world.unit("web", "[service]\nexec_start = \"/bin/sh @/script\"\n");
        world.start();
        until("all are away", || (process::with_command(&mark).len() == GRANDCHILDREN).then_some(()));
        world.ok(&["stop", "web"]);
        assert_eq!(process::with_command(&mark), Vec::<i32>::new(), "survivors, mode {mode}");
    }
}

pub(crate) fn grandchildren_that_left_the_session_are_gone_after_a_stop_with_cgroups() {
    let world = World::new();
    let cgroup = world.cgroup().expect("this test needs a cgroup2 file system, as every host of today has");
    assert!(std::fs::create_dir(&cgroup).is_ok(), "this test must be allowed to make {}", cgroup.display());
    drop(world);
    escapes("[cgroup]\nmode = \"on\"\n");
}

pub(crate) fn grandchildren_that_left_the_session_are_gone_after_a_stop_without_cgroups() {
    escapes("[cgroup]\nmode = \"off\"\n");
}

/// A manager that finds no process of a run, only the end of one, still knows whom that has left behind.
pub(crate) fn what_a_service_leaves_that_ended_without_a_manager_is_gone() {
    for mode in ["on", "off"] {
        let mut world = World::new();
        world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
        // Seconds that nobody else sleeps.
        let mark = |number: u32| format!("sleep {}{number}", std::process::id() % 100_000 + 700_000);
        let (left, ended, reload) = (mark(4), mark(5), mark(6));
        let both = |first: &str| format!("env -i {left} & setsid {left} & {first} exec {ended}");
        let shell = |key: &str| format!("{key} = ['''/bin/sh -c '{}' ''']\n", both(""));
        std::fs::write(world.path("script"), both(&format!("echo $$ > {}/pid;", world.path("").display()))).unwrap();
        world.unit("main", &format!("[service]\n{}", shell("exec_start")));
        world.unit("reloads", &format!("[service]\n{}exec_reload = \"{reload}\"\n", shell("exec_start")));
        world.unit("named", &actor::unit("daemon @/script", "type = \"forking\"\npid_file = \"@/pid\""));
        world.unit("before", &format!("[service]\n{}exec_start = \"sleep 1000\"\n", shell("exec_start_pre")));
        world.unit("once", &format!("[service]\ntype = \"oneshot\"\n{}", shell("exec_start")));
        world.start();
        let sleepers = |mark: &str| -> Vec<i32> {
            let all = process::with_command(mark).into_iter();
            all.filter(|pid| process::command_line(*pid).starts_with("sleep")).collect()
        };
        until("all live", || (sleepers(&ended).len() == 5 && sleepers(&left).len() == 10).then_some(()));
        world.until_active("named", "active");
        world.ok(&["reload", "--no-wait", "reloads"]);
        let reloading = until("its command runs", || sleepers(&reload).first().copied());
        // The keeper hears of all of it at once, and starts the next manager then.
        let manager = world.manager();
        kill(world.keeper(), Signal::SIGSTOP);
        for pid in sleepers(&ended).into_iter().chain([manager]) {
            kill(pid, Signal::SIGKILL);
        }
        until("they are dead", || (sleepers(&ended).is_empty() && !lives(manager)).then_some(()));
        kill(world.keeper(), Signal::SIGCONT);
        world.await_answer();
        assert_eq!(world.status("reloads")["sub"], "reload", "its command is waited for");
        kill(reloading, Signal::SIGKILL);
        for unit in ["main", "named", "before", "once", "reloads"] {
            let status = world.until_active(unit, "failed");
            assert_eq!(status["result"], "signal", "cgroups {mode}, {unit}: {status:#}");
        }
        until("nobody is left behind", || sleepers(&left).is_empty().then_some(()));
        assert!(!world.log().contains("unkillable"), "cgroups {mode}");
    }
}

pub(crate) fn a_stop_reaches_a_command_that_the_keeper_has_yet_to_make() {
    for mode in ["on", "off"] {
        let mut world = World::new();
        world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
        world.unit(
            "web",
            "[service]\nexec_start_pre = \"/bin/sleep 1000\"\nexec_start = \"/bin/sleep 1000\"\n[install]\nenabled = false\n",
        );
        world.start();
        // The keeper has both orders before it, and makes the process first.
        kill(world.keeper(), Signal::SIGSTOP);
        world.ok(&["start", "--no-wait", "web"]);
        world.until_status("web", "its start is ordered", |status| status["sub"] == "start-pre");
        world.ok(&["stop", "--no-wait", "web"]);
        world.until_status("web", "its stop is ordered", |status| status["sub"] == "stop-sigterm");
        kill(world.keeper(), Signal::SIGCONT);
        let begun = Instant::now();
        world.until_active("web", "inactive");
        assert!(begun.elapsed() < Duration::from_secs(10), "cgroups {mode}: {:?}", begun.elapsed());
    }
}

pub(crate) fn a_service_whose_cgroup_was_killed_starts_again_and_its_last_command_runs() {
    let mut world = World::new();
    world.settings("[cgroup]\nmode = \"on\"\n");
    world.unit(
        "deaf",
        "[service]\nexec_start = \"/bin/sh -c 'trap \\\"\\\" TERM; echo x >> @/starts; while :; do sleep 0.05; done'\"\n\
         exec_stop_post = \"/bin/sh -c 'echo x >> @/ends'\"\ntimeout_stop_sec = \"200ms\"\n",
    );
    world.start();
    for round in 1..=3 {
        until("it is deaf", || (world.lines("starts").len() == round).then_some(()));
        world.until_active("deaf", "active");
        world.ok(&["stop", "deaf"]);
        assert_eq!(world.lines("ends").len(), round);
        world.kill_manager();
        world.ok(&["start", "deaf"]);
    }
}

pub(crate) fn the_last_command_is_spared_by_what_ends_the_service() {
    for mode in ["on", "off"] {
        let mut world = World::new();
        world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
        world.unit(
            "deaf",
            "[service]\nexec_start = \"/bin/sh -c 'trap \\\"\\\" TERM; echo x >> @/starts; while :; do sleep 0.05; done'\"\n\
             exec_stop_post = \"/bin/sh -c 'sleep 0.05; echo x >> @/ends'\"\ntimeout_stop_sec = \"1s\"\n\
             restart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0\n",
        );
        world.start();
        let ended = |count| until("the last command is through", || (world.lines("ends").len() == count).then_some(()));
        for round in 1..=6 {
            until("it is deaf", || (world.lines("starts").len() == round).then_some(()));
            world.until_active("deaf", "active");
            if round % 2 == 0 {
                world.ok(&["restart", "deaf"]);
            } else {
                kill(world.pid("deaf"), Signal::SIGKILL);
            }
            ended(round);
        }
    }
}

pub(crate) fn a_clean_end_leaves_nothing_behind() {
    let mut world = World::new();
    world.settings("[cgroup]\nmode = \"on\"\n");
    world.unit("web", "[service]\nexec_start = \"/bin/sh -c 'setsid sleep 1000 & exec sleep 1000'\"\n");
    world.start();
    let pid = world.pid("web");
    let cgroup = world.cgroup();
    if let Some(cgroup) = &cgroup {
        assert!(cgroup.join("web").exists(), "its cgroup is where we think");
    }
    let below = process::descendants(world.keeper());
    assert!(below.len() >= 3 && below.contains(&pid), "{below:?}");
    assert!(world.stop().success());
    let left: Vec<i32> = below.into_iter().filter(|pid| lives(*pid)).collect();
    assert_eq!(left, Vec::<i32>::new());
    assert!(cgroup.is_none_or(|cgroup| !cgroup.exists()), "nor a cgroup");
}
