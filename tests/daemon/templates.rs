//! Instances of templates, and targets.
use crate::support::{process::lives, world::World};

pub(crate) fn an_instance_is_made_when_it_is_asked_for_and_outlives_the_manager() {
    let mut world = World::new();
    world.unit(
        "worker@",
        "[service]\nexec_start = \"/bin/sh -c 'exec sleep 100%i'\"\n\n[install]\ninstances = [\"1\"]\n",
    );
    world.start();
    let first = world.pid("worker@1");
    assert_eq!(world.ctl(&["status", "worker@2"]).code, 4, "nobody asked for it");
    world.ok(&["start", "worker@2"]);
    let second = world.pid("worker@2");
    world.kill_manager();
    assert_eq!(world.until_active("worker@2", "active")["pid"], second, "the next manager knows it");
    world.unit("worker@", "[service]\nexec_start = \"/bin/sh -c 'exec sleep 200%i'\"\n");
    world.ok(&["reload-config"]);
    assert_eq!(world.pid("worker@2"), second, "a reload keeps what was asked for");
    assert_eq!(world.status("worker@2")["needs_restart"], true);
    world.ok(&["stop", "worker@2"]);
    assert!(!lives(second));
    assert!(!lives(first), "its name is gone from the template");
    world.ok(&["enable", "worker@3"]);
    world.stop();
    world.start();
    world.until_active("worker@3", "active");
    assert_eq!(world.ctl(&["status", "worker@2"]).code, 4);
    let unknown = world.ctl(&["start", "nobody@2"]);
    assert_eq!(unknown.code, 4, "{unknown:?}");
}

pub(crate) fn a_target_is_up_when_what_it_pulls_in_is_up() {
    let mut world = World::new();
    let slow = "[service]\ntype = \"oneshot\"\nremain_after_exit = true\nexec_start = \"/bin/sleep 0.3\"\n\n[install]\nwanted_by = \"web.target\"\n";
    world.unit("slow", slow);
    world.unit("web.target", "[install]\nenabled = false\n");
    world.start();
    assert_eq!(world.status("slow")["active"], "inactive");
    let begun = std::time::Instant::now();
    world.ok(&["start", "web.target"]);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300));
    assert_eq!(
        (&world.status("web.target")["sub"], &world.status("slow")["sub"]),
        (&"active".into(), &"exited".into())
    );
    world.ok(&["stop", "web.target"]);
    assert_eq!(world.status("slow")["active"], "active", "what it pulled in stays");
}
