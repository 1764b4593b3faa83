//! Unit files change while the daemon runs.
use std::fs;

use crate::support::{
    process::{Signal, lives, until},
    world::World,
};

const SLEEP: &str = "[service]\nexec_start = \"sleep 1000\"\n";

/// A world with three units whose files then change: one new, one gone, one other, one as it was.
fn changed(by: &str, reload: impl Fn(&World)) {
    let world = World::with(&[("same", SLEEP), ("gone", SLEEP), ("other", SLEEP)]);
    let pids = ["same", "gone", "other"].map(|name| world.pid(name));
    world.unit("new", SLEEP);
    world.unit("other", "[unit]\ndescription = \"changed\"\n[service]\nexec_start = \"sleep 2000\"\n");
    fs::remove_file(world.unit_path("gone")).unwrap();
    reload(&world);
    until("the new one is there", || world.ctl(&["status", "new"]).code.eq(&0).then_some(()));
    world.until_active("new", "active");
    let run = &world.ok(&["history", "new", "--json"]).json()["runs"][0];
    assert_eq!((&run["cause"], &run["actor"]), (&"reload".into(), &by.into()), "{run:#}");
    until("the removed one is stopped", || (!lives(pids[1])).then_some(()));
    until("and forgotten", || (world.ctl(&["status", "gone"]).code == 4).then_some(()));
    assert_eq!([world.pid("same"), world.pid("other")], [pids[0], pids[2]], "nobody is restarted for a file");
    let other = world.status("other");
    assert_eq!((&other["needs_restart"], &other["description"]), (&true.into(), &"changed".into()), "{other:#}");
    assert_eq!(world.status("same")["needs_restart"], false);
    world.ok(&["restart", "other"]);
    assert_eq!(world.status("other")["needs_restart"], false);
    until("it is the new program", || {
        crate::support::process::command_line(world.pid("other")).contains("2000").then_some(())
    });
}

pub(crate) fn sighup_takes_changed_files_into_use() {
    changed("SIGHUP", |world| world.signal(Signal::SIGHUP));
}

pub(crate) fn reload_config_takes_changed_files_into_use() {
    changed(&format!("uid {}", nix::unistd::getuid()), |world| drop(world.ok(&["reload-config"])));
}

pub(crate) fn a_bad_file_leaves_everything_as_it_was() {
    let world = World::with(&[("good", SLEEP), ("fine", SLEEP)]);
    let pids = ["good", "fine"].map(|name| world.pid(name));
    world.unit("good", "[service]\nexec_start = \"sleep 2000\"\n");
    world.unit("bad", "[service]\nexec_start = 7\n");
    fs::remove_file(world.unit_path("fine")).unwrap();
    let refused = world.ctl(&["reload-config"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    world.signal(Signal::SIGHUP);
    assert_eq!(world.until_notices("config_rejected", 2).len(), 2);
    assert_eq!(["good", "fine"].map(|name| world.pid(name)), pids);
    assert_eq!(world.status("good")["needs_restart"], false, "not even the good part is taken");
    fs::remove_file(world.unit_path("bad")).unwrap();
    world.ok(&["reload-config"]);
    until("now it is", || (!lives(pids[1])).then_some(()));
}

pub(crate) fn what_an_operator_disabled_stays_down_at_the_next_start() {
    let mut world = World::with(&[("web", SLEEP), ("other", SLEEP)]);
    world.until_active("web", "active");
    world.ok(&["disable", "web"]);
    assert!(world.stop().success());
    world.start();
    world.until_active("other", "active");
    assert_eq!(world.status("web")["active"], "inactive");
    world.ok(&["enable", "web"]);
    assert!(world.stop().success());
    world.start();
    world.until_active("web", "active");
}
