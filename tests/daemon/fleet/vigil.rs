//! Who is alive, who tells people, and that nothing is done for it.

use super::*;
use crate::{metrics, support::hook::Hook};

/// Signs of life come so seldom that a busy machine does not look dead, and so often that a test ends.
pub(super) const HEARTBEAT: &str = "[heartbeat]\ninterval = \"2s\"\n";
/// Nobody answers there: these machines are not on the network.
const NOWHERE: &str = "address = \"127.0.0.1:1\"\n";
/// A node is silent for six seconds, told of at the next look, and by the next node if the first does not.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Three machines that tell the same receiver.
pub(super) fn telling(services: &str) -> (Fleet, Hook) {
    let hook = Hook::new(0);
    let route = format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url);
    let fleet = Fleet::told(3, services, NOWHERE, &format!("{HEARTBEAT}{route}"), |_, world| {
        ["db", "app"].iter().for_each(|unit| world.unit(unit, APP));
    });
    (fleet, hook)
}

/// What the receiver was told: the event, and its key.
pub(super) fn told(hook: &Hook) -> Vec<[String; 2]> {
    let text = |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
    hook.taken().iter().map(|it| ["event", "dedup_key"].map(|field| text(it, field))).collect()
}

pub(super) fn until_told(hook: &Hook, event: &str, count: usize) -> Vec<[String; 2]> {
    until_within(TOLD_WITHIN, &format!("{count} of {event} are told"), || {
        let those: Vec<_> = told(hook).into_iter().filter(|[of, _]| of == event).collect();
        (those.len() >= count).then_some(those)
    })
}

pub(super) fn state(fleet: &Fleet, seen_from: usize, node: &str) -> Value {
    let said = fleet.node(seen_from).ctl(&["fleet", "status", "--json"]).json();
    let nodes = said["nodes"].as_array().unwrap();
    nodes.iter().find(|it| it["name"] == node).unwrap()["state"].clone()
}

pub(crate) fn a_machine_that_stands_still_is_told_of_once_and_so_is_its_return() {
    let (fleet, hook) = telling(THREE);
    let said = fleet.node(2).ok(&["fleet", "status"]);
    assert!(said.out.contains("quorum: 3 of 3"), "{}", said.out);
    let (keeper, manager) = (fleet.node(3).keeper(), fleet.node(3).manager());
    [keeper, manager].iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
    let failed = until_told(&hook, "node_failed", 1);
    until("the others see it", || {
        (state(&fleet, 1, "vm3") == "failed" && state(&fleet, 2, "vm3") == "failed").then_some(())
    });
    // If both told it, the other would have by now.
    process::pause(5_000);
    assert_eq!(told(&hook), failed, "one told it, and nothing else was told");
    assert_eq!(failed[0][1], "node_failed:vm3");
    let tellers =
        |event: &str| -> Vec<usize> { (1..=2).filter(|nth| !fleet.node(*nth).notices(event).is_empty()).collect() };
    assert_eq!(tellers("node_failed"), [1], "the first that is alive tells");
    let page = metrics::page(fleet.node(1), "*/*");
    for line in ["roundsman_node_up{node=\"vm2\"} 1", "roundsman_node_up{node=\"vm3\"} 0", "roundsman_quorum 1"] {
        assert!(page.lines().any(|it| it == line), "{line}\n{page}");
    }
    [manager, keeper].iter().for_each(|pid| kill(*pid, Signal::SIGCONT));
    let over = until_told(&hook, "recovered", 1);
    process::pause(5_000);
    assert_eq!(told(&hook), [failed[0].clone(), over[0].clone()]);
    assert_eq!(over[0][1], failed[0][1], "its end is told under its key");
    assert_eq!(tellers("node_back"), [1], "by who told it");
    for nth in 1..=3 {
        assert_eq!(fleet.generation(nth, "app"), 1, "nothing was done to vm{nth}");
    }
}

pub(crate) fn a_fleet_without_redis_says_so_and_nothing_of_its_machines_and_touches_no_service() {
    let (fleet, hook) = telling(THREE);
    fleet.redis.ok(&["stop", "redis"]);
    let away = until_told(&hook, "bus_unreachable", 3);
    process::pause(10_000);
    assert_eq!(told(&hook), away, "nothing else is told");
    let mut keys: Vec<&str> = away.iter().map(|[_, key]| key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["bus_unreachable:vm1", "bus_unreachable:vm2", "bus_unreachable:vm3"]);
    assert_eq!(state(&fleet, 1, "vm2"), "unknown");
    fleet.redis.ok(&["start", "redis"]);
    until_told(&hook, "recovered", 3);
    fleet.until_all_are_heard();
    process::pause(10_000);
    assert_eq!(told(&hook).len(), 6, "{:?}", told(&hook));
    assert_eq!(state(&fleet, 1, "vm2"), "alive");
    for (nth, unit) in [(1, "db"), (1, "app"), (2, "app"), (3, "app")] {
        assert_eq!(fleet.generation(nth, unit), 1, "{unit} of vm{nth} was not touched");
    }
}

pub(crate) fn a_plan_that_waits_for_someone_is_told_of_and_so_is_that_it_goes_on() {
    let (fleet, hook) = telling(THREE);
    let world = fleet.node(3);
    world.unit("app", "[service]\nexec_start = \"sleep 100000\"\nexec_start_pre = \"false\"\nrestart = \"no\"\n");
    world.ok(&["reload-config"]);
    assert_eq!(fleet.node(1).ctl(&["fleet", "restart", "db"]).code, 1);
    let plan = fleet.until_plan(1, "paused");
    let id = plan["id"].as_str().unwrap().to_owned();
    let waits = until_told(&hook, "rollout_paused", 1);
    assert_eq!(waits, [["rollout_paused".to_owned(), format!("rollout_paused:{id}")]]);
    let began = until_told(&hook, "rollout_running", 1);
    assert_eq!(began, [["rollout_running".to_owned(), format!("rollout_running:{id}")]]);
    let text = hook.taken().iter().find_map(|it| (it["event"] == "rollout_running").then(|| it["message"].to_string()));
    assert!(text.unwrap().contains("restart db, and then what depends on it: app"));
    let page = metrics::page(world, "*/*");
    assert!(page.contains("roundsman_rollout_steps_total{result=\"failed\"} 1"), "{page}");
    let said = metrics::said_of(&page);
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}\n{page}");
    world.unit("app", APP);
    world.ok(&["reload-config"]);
    assert_eq!(fleet.node(2).ctl(&["plan", "resume", &id[..8]]).code, 0);
    fleet.until_plan(1, "succeeded");
    for key in [format!("rollout_paused:{id}"), format!("rollout_running:{id}")] {
        until_within(TOLD_WITHIN, "its end is told", || {
            told(&hook).iter().any(|[event, of]| event == "recovered" && *of == key).then_some(())
        });
    }
}
