//! What services say, and who is believed.
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
    assert_eq!(world.history("silent", 1)[0]["ready_us"], serde_json::Value::Null);
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
