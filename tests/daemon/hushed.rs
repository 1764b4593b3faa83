//! What people say of alerts, and what is told later because of it.
use serde_json::Value;

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{Signal, kill, pause, until},
        world::World,
    },
};

const STEADY: &str = "type = \"notify\"\nrestart = \"no\"\nrestart_reset_after_sec = \"300ms\"";

fn world_with(hook: &Hook, more: &str) -> World {
    let world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n{more}", hook.url));
    world
}

fn events(hook: &Hook) -> Vec<String> {
    hook.taken().iter().map(|message| message["event"].as_str().unwrap_or_default().to_owned()).collect()
}

fn open(world: &World) -> Vec<Value> {
    world.ok(&["alerts", "--json"]).json()["incidents"].as_array().unwrap().clone()
}

pub(crate) fn what_outlasts_its_silence_is_told_when_that_ends_whoever_was_killed_meanwhile() {
    let hook = Hook::new(0);
    let mut world = world_with(&hook, "");
    world.unit("web", &actor::unit("notify READY=1", STEADY));
    world.start();
    world.until_active("web", "active");
    let said = world.ok(&["alerts", "silence", "web", "--for", "4s", "--comment", "new disk"]);
    assert!(said.out.contains("*:web") && said.out.contains("new disk"), "{said:?}");
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_active("web", "failed");
    until("it is written down", || open(&world).first().filter(|incident| incident["held"] == true).map(drop));
    world.kill_manager();
    let shown = world.ok(&["alerts"]).out;
    assert!(shown.contains("hushed by silence ") && shown.contains("nobody was told"), "{shown}");
    assert_eq!(events(&hook), [] as [&str; 0]);
    until("it is told", || (!hook.taken().is_empty()).then_some(()));
    assert_eq!(events(&hook), ["unit_failed"]);
    assert_eq!(open(&world)[0]["told"][0], "ops");
    // Over before its end: never told, and neither is its end.
    world.ok(&["start", "web"]);
    until("the end of the first", || (hook.taken().len() == 2).then_some(()));
    world.ok(&["alerts", "silence", "unit_failed:web", "--for", "1h"]);
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_active("web", "failed");
    world.ok(&["start", "web"]);
    until("it is over", || open(&world).is_empty().then_some(()));
    let ended = world.ok(&["alerts", "unsilence", "unit_failed:web"]);
    assert!(ended.out.contains("told again"), "{ended:?}");
    pause(1000);
    assert_eq!(events(&hook), ["unit_failed", "recovered"]);
    let none = world.ctl(&["alerts", "unsilence", "web"]);
    assert!(none.code == 1 && none.err.contains("supervisorctl alerts shows them"), "{none:?}");
}

pub(crate) fn what_nobody_takes_on_goes_to_others_and_what_someone_does_does_not() {
    let (hook, boss) = (Hook::new(0), Hook::new(0));
    let rules = format!(
        "[[alert.route]]\nname = \"boss\"\nkind = \"webhook\"\nurl = \"{}\"\n\
         [[alert.rule]]\nevent = \"unit_*\"\nroutes = [\"ops\"]\nescalate_after = \"2s\"\nescalate_to = [\"boss\"]\nrepeat_interval = \"1s\"\n",
        boss.url
    );
    let mut world = world_with(&hook, &rules);
    for name in ["web", "db"] {
        world.unit(name, &actor::unit("notify READY=1", STEADY));
    }
    world.start();
    ["web", "db"].iter().for_each(|name| drop(world.until_active(name, "active")));
    kill(world.pid("db"), Signal::SIGKILL);
    until("db is told", || (!hook.taken().is_empty()).then_some(()));
    let said = world.ok(&["alerts", "ack", "db"]);
    assert!(said.out.contains("unit_failed:db is taken on by uid 0"), "{said:?}");
    world.kill_manager();
    kill(world.pid("web"), Signal::SIGKILL);
    until("the boss is told", || (!boss.taken().is_empty()).then_some(()));
    let told = boss.taken();
    assert_eq!((told[0]["unit"].as_str(), told[0]["event"].as_str()), (Some("web"), Some("unit_failed")));
    assert!(told[0]["message"].as_str().unwrap().starts_with("nobody has taken this on since"), "{told:#?}");
    until("web is reminded of", || {
        hook.taken().iter().any(|message| message["unit"] == "web" && message["reminder"] != 0).then_some(())
    });
    let of_db = |hook: &Hook| hook.taken().iter().filter(|message| message["unit"] == "db").count();
    assert_eq!((of_db(&hook), of_db(&boss)), (1, 0));
    let by = |name: &str| open(&world).into_iter().find(|incident| incident["about"] == name).unwrap();
    assert_eq!(by("db")["acknowledged_by"], "uid 0");
    assert_eq!(by("web")["escalated"], true);
}

pub(crate) fn check_leaves_alone_what_is_in_maintenance() {
    let hook = Hook::new(0);
    let mut world = world_with(&hook, "");
    world.unit("web", &actor::unit("notify READY=1", STEADY));
    world.start();
    world.until_active("web", "active");
    world.ok(&["alerts", "silence", "web", "--for", "1h", "--maintenance"]);
    assert_eq!(world.status("web")["in_maintenance"], true);
    assert!(world.ok(&["status"]).out.contains("in maintenance; "), "{:?}", world.ok(&["status"]));
    assert!(world.ok(&["status", "web"]).out.contains("in maintenance"));
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_active("web", "failed");
    let check = world.ctl(&["check"]);
    assert!(check.code == 2 && check.out.contains("in maintenance"), "{check:?}");
    assert_eq!(world.status("web")["active"], "failed");
    world.ok(&["alerts", "unsilence", "web"]);
    assert!(!world.ctl(&["status"]).out.contains("maintenance"));
    world.ctl(&["check"]);
    world.until_active("web", "active");
}

pub(crate) fn a_silence_that_is_about_nothing_is_made_and_says_so() {
    let mut world = world_with(&Hook::new(0), "");
    world.unit(
        "web",
        &format!("{}[[health]]\nname = \"live\"\nexec = \"true\"\n", actor::unit("notify READY=1", STEADY)),
    );
    world.start();
    let says_so = |what: &str| world.ok(&["alerts", "silence", what, "--for", "1h"]).out.contains("matches no unit");
    for of_something in ["web", "unit_failed:web", "*:w*", "disk_low", "disk_low:web/live", "config_rejected"] {
        assert!(!says_so(of_something), "{of_something}");
    }
    for of_nothing in ["wbe", "unit_failed:wbe", "disk_low:web/live2", "nosuch_*"] {
        assert!(says_so(of_nothing), "{of_nothing}");
    }
    world.unit("wbe", "[service]\nexec_start = \"sleep 1000\"\n");
    world.ok(&["reload-config"]);
    assert!(!says_so("wbe"));
}

/// A unit whose probe wants so many bytes free.
fn wanting_room(least: u64) -> String {
    let text = actor::unit("notify READY=1", STEADY);
    format!(
        "{text}[[health]]\nname = \"root\"\ndisk = {{ path = \"/\", min_free_bytes = {least} }}\ninterval = \"100ms\"\nunhealthy_after = 1\n"
    )
}

fn free() -> u64 {
    nix::sys::statvfs::statvfs("/").map(|space| space.blocks_available() * space.fragment_size()).unwrap()
}

pub(crate) fn a_disk_that_is_as_good_as_full_is_critical_and_check_restarts_nothing_for_it() {
    let hook = Hook::new(0);
    let mut world = world_with(&hook, "");
    world.unit("web", &wanting_room(free() * 2));
    world.start();
    until("it is short", || (!hook.taken().is_empty()).then_some(()));
    let pid = world.pid("web");
    world.unit("web", &wanting_room(free() * 16));
    world.ok(&["reload-config"]);
    world.ok(&["restart", "web"]);
    until("there is less than a quarter", || (hook.taken().len() > 1).then_some(()));
    let told: Vec<_> =
        hook.taken().iter().map(|told| (told["event"].to_string(), told["severity"].to_string())).collect();
    let expected = [("disk_low", "warning"), ("unit_unhealthy", "critical")];
    assert_eq!(told, expected.map(|(event, severity)| (format!("{event:?}"), format!("{severity:?}"))));
    let (now, check) = (world.pid("web"), world.ctl(&["check"]));
    assert_ne!(now, pid);
    assert!(check.code == 2 && check.out.contains("less than"), "{check:?}");
    assert_eq!(world.pid("web"), now, "a restart makes no room");
}

pub(crate) fn a_disk_that_a_probe_finds_short_is_an_alert_until_it_has_room() {
    let hook = Hook::new(0);
    let mut world = world_with(&hook, "[disk]\nmin_free_bytes = \"900T\"\n");
    // More than there is, and less than four times as much: degraded.
    world.unit("web", &wanting_room(free() * 2));
    world.start();
    let about_web = || hook.taken().into_iter().filter(|message| message["unit"] == "web").collect::<Vec<_>>();
    until("it is told", || (!about_web().is_empty()).then_some(()));
    let told = &about_web()[0];
    assert_eq!((told["event"].as_str(), told["probe"].as_str()), (Some("disk_low"), Some("root")), "{told:#}");
    world.kill_manager();
    world.until_active("web", "active");
    // The disk of the daemon's own files, too.
    until("the node's own disk", || {
        hook.taken().iter().any(|message| message["event"] == "disk_low" && message["unit"].is_null()).then_some(())
    });
    world.unit("web", &wanting_room(1));
    world.ok(&["reload-config"]);
    world.ok(&["restart", "web"]);
    until("its end is told", || about_web().iter().any(|message| message["event"] == "recovered").then_some(()));
    let ids: std::collections::BTreeSet<_> =
        about_web().iter().map(|message| message["incident"].to_string()).collect();
    assert_eq!(ids.len(), 1, "one incident, whoever died");
}
