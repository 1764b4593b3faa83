//! Which node drives a plan, and which plan is driven, as people want it.

use super::{
    windows::{machine, newest},
    *,
};

fn slow(soak: &str) -> String {
    THREE.replace("name = \"db\"\n", &format!("name = \"db\"\nsoak = \"{soak}\"\n"))
}

fn words(plan: &Value) -> Vec<&str> {
    plan["journal"].as_array().unwrap().iter().map(|word| word["text"].as_str().unwrap()).collect()
}

fn plans(world: &World) -> Vec<Value> {
    world.ok(&["fleet", "plans", "--json"]).json()["plans"].as_array().unwrap().clone()
}

/// Its database is restarted, and is watched for a while.
fn begun(fleet: &Fleet, nth: usize, generation: u64) -> String {
    fleet.node(nth).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == generation).then_some(()));
    fleet.plan(nth).unwrap()["id"].as_str().unwrap().to_owned()
}

pub(crate) fn a_plan_is_driven_from_where_someone_wants_it_and_each_step_is_done_once() {
    let fleet = Fleet::begin(3, &slow("8s"), &[("db", APP), ("app", APP)]);
    let id = begun(&fleet, 3, 2);
    let taken = fleet.node(1).ok(&["plan", "take", &id[..8], "--json"]).json();
    assert_eq!(taken["driver"], "vm1", "{taken:#}");
    assert_eq!(fleet.node(1).ok(&["plan", "take", &id, "--json"]).json()["driver"], "vm1", "it has it");
    let plan = fleet.until_plan(2, "succeeded");
    assert_eq!(plan["driver"], "vm1");
    assert!(words(&plan).contains(&"taken by uid 0: vm1 drives it from now on"), "{plan:#}");
    let over = fleet.node(2).ctl(&["plan", "take", &id]);
    assert!(over.code == 1 && over.err.contains("is not under way"), "{over:?}");
    // One that does not hear has it for its lease.
    let id = begun(&fleet, 3, 3);
    let (keeper, manager) = (fleet.node(3).keeper(), fleet.node(3).manager());
    [keeper, manager].iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
    assert_eq!(fleet.node(2).ok(&["plan", "take", &id, "--json"]).json()["driver"], "vm2");
    [manager, keeper].iter().for_each(|pid| kill(*pid, Signal::SIGCONT));
    assert_eq!(fleet.until_plan(1, "succeeded")["driver"], "vm2");
    for (nth, unit) in [(1, "db"), (1, "app"), (2, "app"), (3, "app")] {
        assert_eq!(fleet.generation(nth, unit), 3, "{unit} of vm{nth} was restarted once by each plan");
    }
}

pub(crate) fn a_plan_takes_the_place_of_another_one_wherever_that_is_driven_and_whoever_dies() {
    let fleet = Fleet::begin(3, &slow("1min"), &[("db", APP), ("app", APP)]);
    let first = begun(&fleet, 2, 2);
    let refused = fleet.node(1).ctl(&["fleet", "restart", "app", "--node", "vm3", "--supersede=00000000000"]);
    assert!(refused.code == 1 && refused.err.contains(&format!("plan {first} is under way")), "{refused:?}");
    assert_eq!(fleet.plan(1).unwrap()["driver"], "vm2", "nobody had to give way for that");
    fleet.node(1).ok(&["fleet", "restart", "app", "--node", "vm3", &format!("--supersede={}", &first[..8])]);
    let [second, old] = &plans(fleet.node(3))[..] else { panic!("two plans") };
    let id = second["id"].as_str().unwrap();
    assert_eq!((&second["state"], &second["supersedes"]), (&"succeeded".into(), &first.as_str().into()), "{second:#}");
    let why = format!("plan {} supersedes it", &id[..8]);
    assert_eq!((&old["id"], &old["state"], &old["reason"]), (&first.into(), &"aborted".into(), &why.as_str().into()));
    assert!(words(old).contains(&format!("aborted by uid 0: {why}").as_str()), "{old:#}");
    assert_eq!((class(old, "db@vm1"), class(old, "app@vm2")), ("done", "untouched"));
    assert_eq!((fleet.generation(3, "app"), fleet.generation(2, "app")), (2, 1));
    // One that stands, and where it is driven from; and the manager dies that has just promised another one.
    let third = begun(&fleet, 2, 3);
    fleet.node(2).ok(&["plan", "pause", &third]);
    let shown =
        fleet.node(2).ok(&["fleet", "restart", "app", "--node", "vm1", "--supersede", "--no-wait", "--json"]).json();
    fleet.node(2).kill_manager();
    let id = shown["id"].as_str().unwrap();
    until_within(TAKEN_OVER, "it is done", || {
        fleet.plan(1).filter(|plan| plan["id"] == id && plan["state"] == "succeeded")
    });
    let of_third = plans(fleet.node(1)).into_iter().find(|plan| plan["id"] == third.as_str()).unwrap();
    assert_eq!(of_third["state"], "aborted", "{of_third:#}");
    let generations = [(1, "db"), (1, "app"), (2, "app"), (3, "app")].map(|(nth, unit)| fleet.generation(nth, unit));
    assert_eq!(generations, [3, 2, 1, 2]);
}

pub(crate) fn without_redis_a_plan_takes_the_place_of_another_one_too() {
    let world = machine("");
    world.ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (world.status("db")["generation"] == 2).then_some(()));
    let second = world.ctl(&["fleet", "restart", "app", "--no-wait"]);
    assert!(second.code == 1 && second.err.contains("--supersede"), "{second:?}");
    world.ok(&["fleet", "restart", "app", "--supersede"]);
    assert_eq!(world.status("app")["generation"], 2);
    assert_eq!((&newest(&world)["state"], &plans(&world)[1]["state"]), (&"succeeded".into(), &"aborted".into()));
}
