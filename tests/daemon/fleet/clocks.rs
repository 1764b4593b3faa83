//! Clocks on the wall that do not agree: nothing that one machine decides hangs on what another one's shows.

use super::*;
use crate::faults::wall_clock;

pub(crate) fn clocks_that_differ_by_hours_change_no_decision() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"8s\"\n");
    let off = [7_200, -7_200, 0];
    let mut fleet = Fleet::equipped(3, &slow, |nth, world| {
        fs::write(wall_clock(world), off[nth - 1].to_string()).unwrap();
        [("db", APP), ("app", APP)].iter().for_each(|(name, text)| world.unit(name, text));
    });
    let shown = |nth: usize| fleet.node(nth).status("app")["since_us"].as_i64().unwrap() / 1_000_000;
    assert!(shown(1) - shown(2) > 14_000, "the clocks differ");
    // The driver's machine dies in the middle, and others go on whose clocks show that it was hours ago, or is hours ahead.
    for (dies, generation) in [(2, 2), (3, 3)] {
        fleet.node(dies).ok(&["fleet", "restart", "db", "--no-wait"]);
        until("the database was restarted, and that is written down", || {
            let is_done = fleet.generation(1, "db") == generation;
            fleet
                .plan(1)
                .filter(|plan| is_done && plan["driver"] == *format!("vm{dies}") && class(plan, "db@vm1") == "done")
        });
        fleet.nodes[dies - 1].kill_keeper();
        let gone = format!("vm{dies}");
        until_within(TAKEN_OVER, "another one drives", || fleet.plan(1).filter(|plan| plan["driver"] != *gone));
        fleet.nodes[dies - 1].start();
        let plan = fleet.until_plan(1, "succeeded");
        let words = plan["journal"].as_array().unwrap().iter().map(|word| word["text"].as_str().unwrap().to_owned());
        let words: Vec<String> = words.collect();
        assert!(!words.iter().any(|word| word.starts_with("paused")), "{words:#?}");
    }
    for node in &fleet.nodes {
        for event in ["quorum_lost", "bus_unreachable"] {
            assert_eq!(node.notices(event), Vec::<Value>::new());
        }
        let failed = node.notices("node_failed");
        assert!(failed.iter().all(|one| one["fields"]["node"] != "vm1"), "that one never died: {failed:#?}");
    }
}
