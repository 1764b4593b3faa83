//! Who goes first, and who goes with whom.
use crate::{
    actor,
    support::{
        process::{Signal, kill, until},
        world::World,
    },
};

/// Takes a moment to come up and a moment to go down, and writes both down.
fn unit(name: &str, relations: &str) -> String {
    let script = format!(
        "sleep 0.1; echo S {name} >> @/truth; trap \\\"sleep 0.1; echo E {name} >> @/truth; exit 0\\\" TERM; {} & wait",
        actor::command("notify READY=1")
    );
    format!(
        "[unit]\n{relations}\n[service]\ntype = \"notify\"\nnotify_access = \"all\"\nexec_start = \"/bin/sh -c '{script}'\"\n"
    )
}

fn place(lines: &[String], line: &str) -> usize {
    lines.iter().position(|found| found == line).unwrap_or_else(|| panic!("no {line:?} in {lines:?}"))
}

pub(crate) fn units_start_in_order_and_stop_in_the_reverse() {
    let needs = |name: &str| format!("requires = [\"{name}\"]\nafter = [\"{name}\"]");
    let mut world = World::with(&[
        ("app", &unit("app", &needs("cache"))),
        ("cache", &unit("cache", &needs("db"))),
        ("db", &unit("db", "")),
    ]);
    world.until_active("app", "active");
    assert_eq!(world.lines("truth"), ["S db", "S cache", "S app"]);
    let plan: Vec<String> = world.ok(&["stop", "db", "--dry-run", "--json"]).json()["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| outcome["unit"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(plan, ["app", "cache", "db"], "the plan says so before");
    assert_eq!(world.lines("truth").len(), 3, "and does nothing");
    assert!(world.stop().success());
    assert_eq!(world.lines("truth")[3..], ["E app", "E cache", "E db"]);
}

pub(crate) fn a_stop_takes_down_what_requires_it_and_a_restart_brings_it_back() {
    let world = World::with(&[
        ("app", &unit("app", "requires = [\"db\"]\nafter = [\"db\"]")),
        ("part", &unit("part", "part_of = [\"db\"]\nafter = [\"db\"]")),
        ("alone", &unit("alone", "")),
        ("db", &unit("db", "")),
    ]);
    for name in ["app", "part", "alone", "db"] {
        world.until_active(name, "active");
    }
    let plan = world.ok(&["restart", "db", "--dry-run"]).out;
    assert!(plan.contains("app") && plan.contains("part") && !plan.contains("alone"), "{plan}");
    world.ok(&["restart", "db"]);
    for name in ["app", "part", "db"] {
        let status = world.until_active(name, "active");
        assert_eq!(status["generation"], 2, "{status:#}");
    }
    assert_eq!(world.status("alone")["generation"], 1);
    let lines = world.lines("truth");
    let ends = &lines[4..];
    assert!(place(ends, "E app") < place(ends, "E db") && place(ends, "E part") < place(ends, "E db"), "{lines:?}");
    assert!(place(ends, "E db") < place(ends, "S db"), "{lines:?}");
    assert!(place(ends, "S db") < place(ends, "S app") && place(ends, "S db") < place(ends, "S part"), "{lines:?}");
    world.ok(&["stop", "db"]);
    for name in ["app", "part"] {
        world.until_active(name, "inactive");
    }
    world.until_active("alone", "active");
}

pub(crate) fn who_is_bound_to_a_unit_that_dies_goes_with_it() {
    let world = World::with(&[
        ("db", &format!("{}restart = \"no\"\n", unit("db", ""))),
        ("bound", &unit("bound", "binds_to = [\"db\"]\nafter = [\"db\"]")),
        ("wants", &unit("wants", "wants = [\"db\"]\nafter = [\"db\"]")),
    ]);
    for name in ["bound", "wants"] {
        world.until_active(name, "active");
    }
    kill(world.pid("db"), Signal::SIGKILL);
    world.until_active("db", "failed");
    world.until_active("bound", "inactive");
    world.until_active("wants", "active");
}

pub(crate) fn a_start_stops_what_conflicts_with_it() {
    let world = World::with(&[
        ("old", &unit("old", "")),
        ("new", &format!("{}[install]\nenabled = false\n", unit("new", "conflicts = [\"old\"]"))),
    ]);
    world.until_active("old", "active");
    world.ok(&["start", "new"]);
    world.until_active("old", "inactive");
    assert_eq!(world.lines("truth"), ["S old", "E old", "S new"]);
    world.ok(&["start", "old"]);
    world.until_active("new", "inactive");
}

pub(crate) fn on_failure_is_started_once_and_told_who_failed() {
    let rescue = "[service]\ntype = \"oneshot\"\n\
                  exec_start = \"/bin/sh -c 'echo $$MONITOR_UNIT $$MONITOR_SERVICE_RESULT $$MONITOR_EXIT_STATUS >> @/rescue'\"\n\
                  [install]\nenabled = false\n";
    let fails = "[unit]\non_failure = [\"rescue\"]\nstart_limit_burst = 3\n\
                 [service]\nexec_start = \"/bin/sh -c 'exit 9'\"\nrestart = \"always\"\nrestart_sec = \"20ms\"\n";
    let world = World::with(&[("web", fails), ("rescue", rescue)]);
    world.until_active("web", "failed");
    until("it was called", || (!world.lines("rescue").is_empty()).then_some(()));
    world.until_status("rescue", "done", |status| status["active"] == "inactive" && status["generation"] == 1);
    assert_eq!(world.lines("rescue"), ["web.service start-limit-hit 9"], "at the end, not at each try");
}

pub(crate) fn a_unit_whose_requirement_fails_does_not_start() {
    let fails = "[service]\ntype = \"oneshot\"\nexec_start = \"/bin/false\"\n";
    let world = World::with(&[("db", fails), ("app", &unit("app", "requires = [\"db\"]\nafter = [\"db\"]"))]);
    world.until_active("db", "failed");
    let refused = world.ctl(&["start", "app"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(format!("{refused:?}").contains("db"), "{refused:?}");
    assert_eq!(world.lines("truth"), Vec::<String>::new());
}

pub(crate) fn what_was_taken_without_waiting_is_done_though_the_manager_dies_at_once() {
    let text = |name: &str| {
        let after = if name == "web" { "after = [\"slow\"]\nrequires = [\"slow\"]\n" } else { "" };
        format!(
            "[unit]\nstart_limit_burst = 0\n{after}[service]\nexec_start = \"sleep 1000\"\n[install]\nenabled = false\n"
        )
    };
    let slow = "[unit]\nstart_limit_burst = 0\n[service]\ntype = \"oneshot\"\nexec_start = \"sleep 0.5\"\n[install]\nenabled = false\n";
    let mut world = World::new();
    world.unit("web", &text("web"));
    world.unit("slow", slow);
    world.unit("plain@", &text("plain@"));
    world.start();
    for nth in 0..6 {
        let plain = format!("plain@{nth}");
        // One that waits for another, and one that is made for the order.
        world.ok(&["start", "web", &plain, "--no-wait"]);
        world.kill_manager();
        for unit in ["web", &plain] {
            world.until_active(unit, "active");
        }
        world.ok(&["stop", "web", "--no-wait"]);
        world.kill_manager();
        world.until_active("web", "inactive");
    }
}
