//! Services that are found through Consul, each at the agent of its own node.

use serde_json::json;

use super::*;
use crate::support::consul::Agents;

/// Two of them behind a pool.
fn services(agents: &Agents, more: &str) -> String {
    format!(
        "
[[service]]
name = \"app\"
nodes = [\"vm1\", \"vm2\"]
behind = [{{ pool = \"apps\", server = \"app-{{node}}\" }}]
[[pool]]
name = \"apps\"
kind = \"consul\"
service = \"app\"
url = \"{}\"
{more}",
        agents.url
    )
}

/// Well a second after each start.
fn slow(world: &World) {
    let mark = world.path("well").display().to_string();
    world.unit(
        "app",
        &format!(
            "[service]\nexec_start_pre = \"rm -f {mark}\"\nexec_start = \"sh -c 'sleep 1; touch {mark}; exec sleep 100000'\"\n\
             [[health]]\nname = \"well\"\nexec = \"test -e {mark}\"\ninterval = \"300ms\"\nstartup_grace = \"30s\"\non_unhealthy = \"alert\"\n"
        ),
    );
}

fn until_well(fleet: &Fleet) {
    for nth in 1..=2 {
        fleet.node(nth).until_status("app", "healthy", |status| status["health"] == "healthy");
    }
}

/// When something was ordered for the first time.
fn ordered(agents: &Agents, words: &[&str]) -> Option<i64> {
    let orders = agents.orders();
    orders.iter().find(|(_, order)| words.iter().all(|word| order.contains(word))).map(|(at, _)| *at)
}

pub(crate) fn instances_behind_consul_are_drained_before_they_are_restarted_and_offered_when_they_are_well() {
    let agents = Agents::start();
    for nth in 1..=2 {
        agents.has(&format!("vm{nth}"), json!({"ID": format!("app-vm{nth}"), "Name": "app", "Port": 8080}));
    }
    let more = "propagation = \"1s\"\nevent = \"app-restarted\"\n";
    let fleet = Fleet::equipped(2, &services(&agents, more), |_, world| slow(world));
    until_well(&fleet);
    let done = fleet.node(1).ctl(&["fleet", "restart", "app"]);
    assert_eq!(done.code, 0, "{done:?}");
    let plan = fleet.until_plan(1, "succeeded")["id"].as_str().unwrap().to_owned();
    for nth in 1..=2 {
        let own = format!("maintenance/app-vm{nth}");
        let out = ordered(&agents, &[&own, "enable=true", &plan]).unwrap();
        let back = ordered(&agents, &[&own, "enable=false"]).unwrap();
        let began = fleet.began(nth, "app");
        assert!(out + 1_000_000 <= began, "vm{nth} was drained, and others had a second to hear of it");
        assert!(began + 1_000_000 <= back, "vm{nth} was well when it was offered again");
        assert_eq!(fleet.generation(nth, "app"), 2);
        assert!(agents.events().contains(&("app-restarted".to_owned(), format!("{plan} app-vm{nth}"))));
    }
    assert_eq!((agents.orders().len(), agents.least()), (6, 1), "{:?}", agents.orders());
    // The only one that is left is not drained.
    agents.maintain("vm2", "app-vm2", Some("a new disk"));
    let blocked = until("the other one is seen to be out", || {
        let said = fleet.node(1).ctl(&["fleet", "restart", "app", "--node", "vm1", "--dry-run"]);
        (said.code == 2).then_some(said)
    });
    assert!(blocked.out.contains("pool apps"), "{blocked:?}");
    let doctor = fleet.node(2).ctl(&["doctor"]);
    assert!(
        doctor.out.contains("it is in maintenance by somebody else's word, and stays so: a new disk"),
        "{doctor:?}"
    );
    assert_eq!(agents.orders().len(), 6);
}

pub(crate) fn an_instance_that_is_deregistered_is_registered_again_though_the_managers_die_in_between() {
    let agents = Agents::start();
    let folder = tempfile::Builder::new().prefix("rm-consul-").tempdir_in("/tmp").unwrap();
    let defined = |nth: usize| {
        json!({"ID": format!("app-vm{nth}"), "Name": "app", "Port": 8080,
            "Check": {"HTTP": "http://127.0.0.1:8080/health", "Interval": "30s"}})
    };
    for nth in 1..=2 {
        agents.has(&format!("vm{nth}"), defined(nth));
        fs::write(folder.path().join(format!("app-vm{nth}.json")), defined(nth).to_string()).unwrap();
    }
    let at = folder.path().display();
    let more = format!("mode = \"deregister\"\ndefinition = \"{at}/{{server}}.json\"\npropagation = \"2s\"\n");
    let fleet = Fleet::equipped(2, &services(&agents, &more), |_, world| slow(world));
    until_well(&fleet);
    fleet.node(1).ok(&["fleet", "restart", "app", "--no-wait"]);
    let is_out = |nth: usize| agents.definition(&format!("vm{nth}"), &format!("app-vm{nth}")).is_none();
    until("one is deregistered", || (is_out(1) || is_out(2)).then_some(()));
    // What its node is to give back, it knows from its disk; the file is gone.
    fs::remove_dir_all(folder.path()).unwrap();
    let first = if is_out(1) { 1 } else { 2 };
    let other = 3 - first;
    fleet.node(1).kill_manager();
    if first == 2 {
        fleet.node(2).kill_manager();
    }
    until_within(TAKEN_OVER, "it is registered again", || (!is_out(first)).then_some(()));
    assert_eq!(agents.definition(&format!("vm{first}"), &format!("app-vm{first}")), Some(defined(first)));
    // Of the other one nobody can say how it would be registered, so it stays.
    let plan = fleet.until_plan(1, "paused");
    let reason = plan["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("cannot use the definition of app-vm{other}")), "{reason}");
    assert!(!is_out(other));
    fs::create_dir_all(folder.path()).unwrap();
    fs::write(folder.path().join(format!("app-vm{other}.json")), defined(other).to_string()).unwrap();
    fleet.node(1).ok(&["plan", "resume", plan["id"].as_str().unwrap()]);
    fleet.until_plan(1, "succeeded");
    for nth in 1..=2 {
        assert_eq!(agents.definition(&format!("vm{nth}"), &format!("app-vm{nth}")), Some(defined(nth)));
        assert_eq!(fleet.generation(nth, "app"), 2, "vm{nth} was restarted once");
    }
    assert_eq!(agents.least(), 1, "{:?}", agents.orders());
}
