//! When plans may act.

use super::*;

/// One machine, with this said of its application.
pub(super) fn machine(app: &str) -> World {
    let mut world = World::new();
    let text = format!(
        "name = \"test\"\n[[node]]\nname = \"vm1\"\n[[service]]\nname = \"db\"\nnodes = [\"vm1\"]\nsoak = \"8s\"\n\
         [[service]]\nname = \"app\"\nnodes = [\"vm1\"]\ndepends_on = [{{ service = \"db\", on_restart = \"restart\" }}]\n{app}"
    );
    fs::write(world.path("fleet.toml"), text).unwrap();
    world.settings("[fleet]\nnode = \"vm1\"\n");
    ["db", "app"].iter().for_each(|unit| world.unit(unit, APP));
    world.start();
    world
}

pub(super) fn newest(world: &World) -> Value {
    world.ok(&["fleet", "plans", "--json"]).json()["plans"][0].clone()
}

pub(crate) fn outside_of_windows_nothing_is_begun_unless_someone_says_so() {
    let world = machine("windows = [\"1971-01-01 for 1h\", \"2100-01-01 00:00 UTC for 1h\"]\n");
    for words in [&["fleet", "restart", "app", "--dry-run"][..], &["fleet", "restart", "app"]] {
        let said = world.ctl(words);
        assert_eq!(said.code, 2, "{said:?}");
        let why =
            "it is outside the windows of app: the next one opens 2100-01-01T00:00:00Z; wait, or say --at-any-time";
        assert!(said.out.contains(why) || said.err.contains(why), "{said:?}");
    }
    assert_eq!(world.status("app")["generation"], 1);
    world.ok(&["fleet", "restart", "app", "--at-any-time"]);
    assert_eq!(world.status("app")["generation"], 2);
}

pub(crate) fn a_plan_whose_window_closes_waits_for_the_next_one() {
    let now = Command::new("date").args(["-u", "+%F %T"]).output().unwrap();
    let now = String::from_utf8(now.stdout).unwrap();
    let world = machine(&format!("windows = [\"{} UTC for 8s\"]\n", now.trim()));
    world.ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (world.status("db")["generation"] == 2).then_some(()));
    let plan = until_within(TAKEN_OVER, "the application waits", || {
        let plan = newest(&world);
        let waits = plan["waves"][1]["tasks"][0]["waits_for"].as_str()?.to_owned();
        waits.contains("outside the windows of app").then_some(plan)
    });
    assert_eq!(plan["state"], "running", "{plan:#}");
    process::pause(3_000);
    assert_eq!(world.status("app")["generation"], 1);
}
