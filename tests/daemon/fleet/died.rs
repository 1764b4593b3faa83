//! A manager that dies while something of a plan is done on its own machine, or is about to be.

use super::*;

/// A database on the second machine; on the first an application that reloads when that was restarted, which takes a while, as do
/// the looks before and after.
const RELOADER: &str = "
[[service]]
name = \"db\"
nodes = [\"vm2\"]
[[service]]
name = \"app\"
nodes = [\"vm1\"]
validate = [\"sleep\", \"0.2\"]
verify_reload = [\"sleep\", \"0.2\"]
depends_on = [{ service = \"db\", on_restart = \"reload_or_restart\" }]
";

fn reloads_slowly(code: u8) -> String {
    format!("{APP}exec_reload = \"sh -c 'echo begun >> @/reloads; sleep 0.5; echo ended >> @/reloads; exit {code}'\"\n")
}

fn until_in_the_middle(world: &World, reloads: usize) {
    until("the reload is under way", || (world.lines("reloads").len() == 2 * reloads - 1).then_some(()));
}

pub(crate) fn a_reload_is_done_once_and_no_restart_follows_whenever_the_manager_of_its_machine_dies() {
    let kills: usize = std::env::var("ROUNDSMAN_TEST_RELOAD_KILLS").ok().map_or(8, |text| text.parse().unwrap());
    let fleet = Fleet::begin(2, RELOADER, &[("db", APP), ("app", &reloads_slowly(0))]);
    let world = fleet.node(1);
    for round in 1..=kills {
        // Driven from the machine itself, and from another one.
        let driver = 1 + round % 2;
        fleet.node(driver).ok(&["fleet", "restart", "db", "--no-wait"]);
        let id = fleet.plan(driver).unwrap()["id"].clone();
        if round % 4 < 2 {
            until_in_the_middle(world, round);
        } else {
            process::pause((round as u64 * 137) % 1_300);
        }
        world.kill_manager();
        until_within(TAKEN_OVER, "the plan is over", || {
            fleet.plan(2).filter(|plan| plan["id"] == id && plan["state"] == "succeeded")
        });
        assert_eq!(world.lines("reloads"), ["begun", "ended"].repeat(round), "in round {round}");
        assert_eq!(fleet.generation(1, "app"), 1, "in round {round}");
    }
}

pub(crate) fn a_reload_that_fails_after_the_manager_has_died_has_failed_and_is_not_tried_again() {
    let services = RELOADER.replace("reload_or_restart", "reload");
    let fleet = Fleet::begin(2, &services, &[("db", APP), ("app", &reloads_slowly(1))]);
    let world = fleet.node(1);
    world.ok(&["fleet", "restart", "db", "--no-wait"]);
    until_in_the_middle(world, 1);
    world.kill_manager();
    let plan = fleet.until_plan(2, "paused");
    assert_eq!(plan["reason"], "app@vm1 failed at acting: app: its reload failed", "{plan:#}");
    assert_eq!(world.lines("reloads"), ["begun", "ended"]);
}
