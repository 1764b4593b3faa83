//! What services say, and who is believed.
use crate::{actor, support::world::World};

pub(crate) fn a_ready_that_another_service_sends_is_not_believed() {
    let world = World::with(&[
        ("silent", &actor::unit("notify", "type = \"notify\"\ntimeout_start_sec = \"2s\"")),
        ("liar", &actor::unit("notify +300 READY=1 STATUS=lies", "notify_access = \"main\"")),
    ]);
    let silent = world.until_active("silent", "failed");
    assert_eq!(silent["result"], "timeout", "{silent:#}");
    assert_eq!(world.until_active("liar", "active")["status_text"], "lies", "it speaks for itself alone");
    assert_eq!(world.history("silent")[0]["ready_us"], serde_json::Value::Null);
}

pub(crate) fn a_ready_from_outside_of_all_services_is_refused() {
    let world = World::with(&[("silent", &actor::unit("notify", "type = \"notify\"\ntimeout_start_sec = \"2s\""))]);
    world.pid("silent");
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket.send_to(b"READY=1", world.path("run/notify")).unwrap();
    let silent = world.until_active("silent", "failed");
    assert_eq!(silent["result"], "timeout", "{silent:#}");
    assert!(!world.notices("notify_refused").is_empty(), "it is told");
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
    let refused = world.notices("notify_refused");
    assert!(refused.iter().any(|notice| notice["unit"] == "main"), "{refused:#?}");
}

pub(crate) fn a_service_that_stops_feeding_its_watchdog_is_killed_for_it() {
    let feeds = "notify READY=1 +300 WATCHDOG=1 +300 WATCHDOG=1 +300 WATCHDOG=1";
    let more = "type = \"notify\"\nwatchdog_sec = \"700ms\"\nrestart = \"no\"\nlimit_core = 0";
    let world = World::with(&[("web", &actor::unit(feeds, more))]);
    let status = world.until_active("web", "failed");
    assert_eq!(status["result"], "watchdog", "{status:#}");
    assert!(status["last_exit"].as_str().unwrap().contains("SIGABRT"), "{status:#}");
    let run = &world.history("web")[0];
    let lived = run["ended_us"].as_i64().unwrap() - run["ready_us"].as_i64().unwrap();
    assert!((1_500_000..3_500_000).contains(&lived), "three feeds, then one interval: {lived} µs");
}
