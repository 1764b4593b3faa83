//! What services say, and who is believed.
use serde_json::Value;

use crate::{
    actor,
    support::{process::until, world::World},
};

pub(crate) fn a_ready_that_another_service_sends_is_not_believed() {
    let world = World::with(&[
        ("silent", &actor::unit("notify", "type = \"notify\"\ntimeout_start_sec = \"2s\"")),
        ("liar", &actor::unit("notify +300 READY=1 STATUS=lies", "notify_access = \"main\"")),
    ]);
    let silent = world.until_active("silent", "failed");
    assert_eq!(silent["result"], "timeout", "{silent:#}");
    assert_eq!(world.until_active("liar", "active")["status_text"], "lies", "it speaks for itself alone");
    assert_eq!(world.history("silent", 1)[0]["ready_us"], Value::Null);
}

pub(crate) fn a_ready_from_outside_of_all_services_is_refused() {
    let world = World::with(&[("silent", &actor::unit("notify", "type = \"notify\"\ntimeout_start_sec = \"2s\""))]);
    world.pid("silent");
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to(b"READY=1", world.path("run/notify")).unwrap();
    let silent = world.until_active("silent", "failed");
    assert_eq!(silent["result"], "timeout", "{silent:#}");
    world.until_notices("notify_refused", 1);
}

/// From outside of all services, from another service, and from a child of its own whom the unit does not believe.
pub(crate) fn of_ten_thousand_words_from_others_a_service_is_told_none() {
    const OUTSIDE: usize = 5000;
    const EACH: usize = 2500;
    let lies = ["READY=1", "STATUS=lies", "MAINPID=1", "STOPPING=1", "RELOADING=1", "WATCHDOG=trigger", "ERRNO=5"];
    let words = lies.join(" ");
    let child = actor::command(&format!("babble @/child {EACH} {words}"));
    let honest = actor::command("notify READY=1 STATUS=true READY=1");
    let script = format!("{child} & while ! test -e @/go; do sleep 0.05; done; exec {honest}");
    let silent = format!(
        "[service]\ntype = \"notify\"\nnotify_access = \"main\"\ntimeout_start_sec = \"2min\"\nwatchdog_sec = \"2min\"\n\
         exec_start = \"/bin/sh -c '{script}'\"\n"
    );
    let liar = actor::unit(&format!("babble @/liar {EACH} READY=1 STATUS=lies"), "notify_access = \"all\"");
    let world = World::with(&[("silent", &silent), ("liar", &liar)]);
    let pid = world.pid("silent");
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let place = world.path("run/notify");
    for text in lies.iter().cycle().take(OUTSIDE) {
        socket.send_to(text.as_bytes(), &place).unwrap();
    }
    for file in ["child", "liar"] {
        until("all is said", || (world.lines(file).len() == 1).then_some(()));
    }
    // Whatever came before is taken in by the time that the last word of another is.
    world.until_status("liar", "it speaks for itself", |status| status["status_text"] == "lies");
    until("the last is refused", || world.notices("notify_refused").last().cloned());
    let status = world.status("silent");
    let seen = [&status["active"], &status["sub"], &status["status_text"], &status["errno"]];
    assert_eq!(seen, [&"activating".into(), &"start".into(), &Value::Null, &Value::Null], "{status:#}");
    assert_eq!((world.pid("silent"), world.status("silent")["generation"].as_i64()), (pid, Some(1)));
    std::fs::write(world.path("go"), "").unwrap();
    let status = world.until_active("silent", "active");
    assert_eq!((status["pid"].as_i64(), &status["generation"]), (Some(pid.into()), &1.into()), "{status:#}");
    world.until_status("silent", "its own word is believed", |status| status["status_text"] == "true");
    let ready = world.notices("run_ready").into_iter().filter(|told| told["unit"] == "silent").count();
    assert_eq!(ready, 1, "ready twice is ready once");
}

pub(crate) fn a_ready_that_comes_too_late_changes_nothing() {
    // It does not end when it is told to, and then says that it is ready.
    let script = format!(
        "trap \\\"\\\" TERM; sleep 0.8; {} & sleep 0.4; touch @/said; sleep 1000",
        actor::command("notify READY=1")
    );
    let late = format!(
        "[service]\ntype = \"notify\"\nnotify_access = \"all\"\ntimeout_start_sec = \"300ms\"\ntimeout_stop_sec = \"2s\"\n\
         exec_start = \"/bin/sh -c '{script}'\"\n"
    );
    let world = World::with(&[("late", &late)]);
    world.until_status("late", "it is told to end", |status| status["active"] == "deactivating");
    until("it waits for its child, which has said so", || world.path("said").exists().then_some(()));
    let status = world.until_status("late", "it is ended", |status| status["active"] != "deactivating");
    assert_eq!((&status["active"], &status["result"]), (&"failed".into(), &"timeout".into()), "{status:#}");
    assert_eq!(world.history("late", 1)[0]["ready_us"], Value::Null);
    assert_eq!(world.notices("run_ready"), Vec::<Value>::new());
}

pub(crate) fn only_the_main_process_is_believed_unless_the_unit_says_all() {
    // The shell is the main process, its child speaks.
    let speaks = |access: &str| {
        format!(
            "[service]\ntype = \"notify\"\nnotify_access = \"{access}\"\ntimeout_start_sec = \"2s\"\n\
             exec_start = \"/bin/sh -c '{} & wait'\"\n",
            actor::command("notify READY=1")
        )
    };
    let world = World::with(&[("main", &speaks("main")), ("all", &speaks("all"))]);
    world.until_active("all", "active");
    let main = world.until_active("main", "failed");
    assert_eq!(main["result"], "timeout", "{main:#}");
    let refused = world.until_notices("notify_refused", 1);
    assert!(refused.iter().any(|notice| notice["unit"] == "main"), "{refused:#?}");
}

pub(crate) fn a_barrier_is_lifted_when_all_that_came_before_is_taken_in() {
    // It writes `lifted` only once the supervisor has closed the descriptor that it sent (sd_notify_barrier(3)).
    let world = World::with(&[("web", &actor::unit("barrier @/lifted", "type = \"notify\""))]);
    until("the barrier is lifted", || world.path("lifted").exists().then_some(()));
    assert_eq!(world.status("web")["active"], "active", "READY=1 came before it");
}

pub(crate) fn a_daemon_that_left_the_session_may_speak_where_the_unit_believes_all() {
    for mode in ["on", "off"] {
        let mut world = World::new();
        world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
        let speaks = actor::command("notify READY=1 STATUS=here");
        let text = format!(
            "[service]\ntype = \"notify\"\nnotify_access = \"all\"\ntimeout_start_sec = \"5s\"\n\
             exec_start = \"/bin/sh -c 'setsid setsid {speaks} & sleep 1000'\"\n"
        );
        world.unit("web", &text);
        world.start();
        world.until_active("web", "active");
        world.until_status("web", "it says so", |status| status["status_text"] == "here");
    }
}

pub(crate) fn a_service_that_stops_feeding_its_watchdog_is_killed_for_it() {
    let feeds = "notify READY=1 +300 WATCHDOG=1 +300 WATCHDOG=1 +300 WATCHDOG=1";
    let more = "type = \"notify\"\nwatchdog_sec = \"700ms\"\nrestart = \"no\"\nlimit_core = 0";
    let world = World::with(&[("web", &actor::unit(feeds, more))]);
    let status = world.until_active("web", "failed");
    assert_eq!(status["result"], "watchdog", "{status:#}");
    assert!(status["last_exit"].as_str().unwrap().contains("SIGABRT"), "{status:#}");
    let run = &world.history("web", 1)[0];
    let lived = run["ended_us"].as_i64().unwrap() - run["ready_us"].as_i64().unwrap();
    assert!((1_500_000..3_500_000).contains(&lived), "three feeds, then one interval: {lived} µs");
}
