//! A plan that nobody drove while its fleet.toml became another one.

use super::{
    vigil::{TOLD_WITHIN, telling, told, until_told},
    windows::{machine, newest},
    *,
};

const MORE: &str = "# one more thing\n";
const WHY: &str = "it was made for another fleet.toml";

fn append(world: &World) -> String {
    let before = fs::read_to_string(world.path("fleet.toml")).unwrap();
    fs::write(world.path("fleet.toml"), format!("{before}{MORE}")).unwrap();
    before
}

pub(crate) fn without_redis_a_plan_of_another_fleet_toml_is_not_gone_on_with_and_can_be_ended() {
    let world = machine("");
    world.ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (world.status("db")["generation"] == 2).then_some(()));
    append(&world);
    world.kill_manager();
    let plan = until_within(TAKEN_OVER, "it stands", || {
        let said = world.ctl(&["fleet", "plans", "--json"]);
        (said.code == 0).then(|| said.json()["plans"][0].clone()).filter(|plan| plan["state"] == "paused")
    });
    assert!(plan["reason"].as_str().unwrap().starts_with(WHY), "{plan:#}");
    let id = plan["id"].as_str().unwrap();
    for words in [&["plan", "resume", id][..], &["plan", "approve", id]] {
        let refused = world.ctl(words);
        assert!(refused.code == 1 && refused.err.contains(WHY) && refused.err.contains("abort it"), "{refused:?}");
    }
    // Longer than it would have waited for the database to stay well.
    process::pause(9_000);
    assert_eq!((&newest(&world)["state"], &world.status("app")["generation"]), (&"paused".into(), &1.into()));
    world.ok(&["plan", "abort", id]);
    let plan = until("it is over", || Some(newest(&world)).filter(|plan| plan["state"] == "aborted"));
    assert_eq!((class(&plan, "db@vm1"), class(&plan, "app@vm1")), ("done", "untouched"), "{plan:#}");
    world.ok(&["fleet", "restart", "app"]);
    assert_eq!(world.status("app")["generation"], 2);
}

pub(crate) fn a_plan_whose_driver_died_and_whose_fleet_toml_changed_waits_for_someone_and_says_so() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"1min\"\n");
    let (mut fleet, hook) = telling(&slow);
    fleet.node(3).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    let mut driver = fleet.nodes.pop().unwrap();
    driver.kill_keeper();
    let before = append(&driver);
    for world in &fleet.nodes {
        append(world);
        world.ok(&["reload-config"]);
    }
    let plan = fleet.until_plan(1, "paused");
    assert!(plan["reason"].as_str().unwrap().starts_with(WHY), "{plan:#}");
    let id = plan["id"].as_str().unwrap().to_owned();
    assert_eq!(until_told(&hook, "rollout_paused", 1), [["rollout_paused".to_owned(), format!("rollout_paused:{id}")]]);
    driver.start();
    fleet.nodes.push(driver);
    for nth in 1..=3 {
        let refused = fleet.node(nth).ctl(&["plan", "resume", &id]);
        assert!(refused.code == 1 && refused.err.contains(WHY), "{refused:?}");
    }
    // The one remedy: it is put back.
    for world in &fleet.nodes {
        fs::write(world.path("fleet.toml"), &before).unwrap();
        world.ok(&["reload-config"]);
    }
    until("it may go on", || (fleet.node(2).ctl(&["plan", "resume", &id]).code == 0).then_some(()));
    fleet.until_plan(1, "running");
    until_within(TOLD_WITHIN, "people are told that it goes on", || {
        told(&hook)
            .iter()
            .any(|[event, key]| event == "recovered" && *key == format!("rollout_paused:{id}"))
            .then_some(())
    });
    // The other remedy: it is ended, from any machine.
    fleet.node(2).ok(&["plan", "abort", &id]);
    let plan = fleet.until_plan(3, "aborted");
    assert_eq!((class(&plan, "db@vm1"), class(&plan, "app@vm2")), ("done", "untouched"), "{plan:#}");
    assert_eq!((fleet.generation(1, "db"), fleet.generation(2, "app")), (2, 1));
}

pub(crate) fn a_machine_that_still_has_the_fleet_toml_of_a_plan_takes_it_over_and_goes_on() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"1min\"\n");
    let mut fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    // It would be the first by name.
    append(fleet.node(1));
    fleet.node(3).ok(&["fleet", "restart", "db", "--node", "vm1", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    fleet.node(1).ok(&["reload-config"]);
    fleet.nodes.last_mut().unwrap().kill_keeper();
    let plan = until_within(TAKEN_OVER, "another one drives", || fleet.plan(1).filter(|plan| plan["driver"] != "vm3"));
    assert_eq!((&plan["driver"], &plan["state"]), (&"vm2".into(), &"running".into()), "{plan:#}");
}
