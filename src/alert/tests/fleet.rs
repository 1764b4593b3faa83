//! Alerts about a fleet.

use super::*;
use crate::base::FleetEvent;

fn hear(alerts: &mut Alerts, second: u64, event: FleetEvent) -> Vec<(String, String, String)> {
    alerts.handle(now(second), &Notice { at: now(second), what: Happening::Fleet(event) });
    let effects = std::iter::from_fn(|| alerts.poll_effect());
    effects
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some((message.event.clone(), message.dedup_key.clone(), message.message.clone())),
            Effect::Save(_) | Effect::Silence(_) => None,
        })
        .collect()
}

fn failed(node: &str) -> FleetEvent {
    FleetEvent::NodeFailed { node: node.to_owned(), reason: "no sign of life".to_owned() }
}

fn cut(node: &str) -> FleetEvent {
    FleetEvent::BusUnreachable { node: node.to_owned(), reason: "it is silent".to_owned() }
}

fn keys(said: &[(String, String, String)]) -> Vec<(&str, &str)> {
    said.iter().map(|(event, key, _)| (event.as_str(), key.as_str())).collect()
}

#[test]
fn each_part_of_a_fleet_has_its_key_which_is_the_same_whoever_tells_it() {
    let (node, plan) = (|| "vm3".to_owned(), || "3f2a".to_owned());
    for (begins, ends, key) in [
        (failed("vm3"), FleetEvent::NodeBack { node: node() }, "node_failed:vm3"),
        (cut("vm3"), FleetEvent::BusReached { node: node() }, "bus_unreachable:vm3"),
        (
            FleetEvent::QuorumLost { reached: 1, members: 3 },
            FleetEvent::QuorumRegained { reached: 2, members: 3 },
            "quorum_lost",
        ),
        (
            FleetEvent::SlowReplication { node: node(), reason: "x".to_owned() },
            FleetEvent::CaughtUp { node: node() },
            "slow_replication:vm3",
        ),
        (
            FleetEvent::RolloutPaused { plan: plan(), reason: "x".to_owned() },
            FleetEvent::RolloutResumed { plan: plan() },
            "rollout_paused:3f2a",
        ),
        (
            FleetEvent::RolloutBegan { plan: plan(), what: "restart db".to_owned() },
            FleetEvent::RolloutEnded { plan: plan() },
            "rollout_running:3f2a",
        ),
    ] {
        let mut alerts = Alerts::new(settings(Vec::new()));
        let event = begins.event();
        assert_eq!(keys(&hear(&mut alerts, 1, begins.clone())), [(event, key)]);
        assert!(hear(&mut alerts, 2, begins).is_empty(), "{key} is told once");
        let saved = alerts.snapshot();
        let subject = &saved.open[0].subject;
        assert_eq!(Subject::parse(&subject.to_string()).as_ref(), Some(subject), "as a row has it");
        let mut later = Alerts::restore(settings(Vec::new()), saved, now(3));
        assert_eq!(keys(&hear(&mut later, 4, ends.clone())), [("recovered", key)]);
        assert!(hear(&mut later, 5, ends).is_empty(), "nothing is open");
    }
}

#[test]
fn a_node_that_was_cut_off_and_then_fails_is_told_to_be_worse_and_has_one_end() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    hear(&mut alerts, 1, cut("vm3"));
    assert_eq!(keys(&hear(&mut alerts, 2, failed("vm3"))), [("node_failed", "bus_unreachable:vm3")]);
    assert!(hear(&mut alerts, 3, cut("vm3")).is_empty(), "which is less");
    assert_eq!(keys(&hear(&mut alerts, 4, failed("vm2"))), [("node_failed", "node_failed:vm2")]);
    let end = hear(&mut alerts, 5, FleetEvent::NodeBack { node: "vm3".to_owned() });
    assert_eq!(keys(&end), [("recovered", "bus_unreachable:vm3")]);
    assert!(end[0].2.starts_with("node vm3 is heard in the fleet again; last it was: node vm3 has failed"), "{end:?}");
}

#[test]
fn people_silence_and_take_on_what_is_of_a_fleet_by_its_name() {
    for (pattern, matches) in [
        ("node_failed:vm3", true),
        ("node_failed:vm*", true),
        ("node_failed:/node/vm3", true),
        ("node_failed", true),
        ("node_failed:vm2", false),
        ("quorum_lost", false),
        ("bus_unreachable:vm3", false),
    ] {
        let subject = Subject::Fleet(Part::Node("vm3".to_owned()));
        assert_eq!(Pattern::new(pattern).matches(Topic::NodeFailed, &subject, "vm1"), matches, "{pattern}");
    }
    let mut alerts = Alerts::new(settings(Vec::new()));
    hear(&mut alerts, 1, FleetEvent::QuorumLost { reached: 1, members: 3 });
    assert_eq!(alerts.acknowledge(now(2), "quorum_lost", "uid 0").len(), 1);
}

#[test]
fn what_is_of_a_fleet_that_is_gone_is_over() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    hear(&mut alerts, 1, failed("vm3"));
    hear(&mut alerts, 1, failed("vm4"));
    hear(&mut alerts, 1, FleetEvent::QuorumLost { reached: 1, members: 4 });
    alerts.keep_fleet(now(2), |part| *part != Part::Node("vm3".to_owned()));
    let open = |alerts: &Alerts| alerts.open().map(|it| it.subject.to_string()).collect::<Vec<_>>();
    assert_eq!(open(&alerts), ["/node/vm4", "/quorum"]);
    alerts.keep_fleet(now(3), |_| false);
    assert!(open(&alerts).is_empty());
}

#[test]
fn alertmanager_tells_the_parts_of_a_fleet_apart_and_their_labels_stay() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    let labels = |alerts: &mut Alerts, event: FleetEvent| -> Vec<serde_json::Value> {
        alerts.handle(now(1), &Notice { at: now(1), what: Happening::Fleet(event) });
        let effects = std::iter::from_fn(|| alerts.poll_effect());
        let target = Target::Alertmanager(Secret::new("http://127.0.0.1/api/v2/alerts"));
        let of = |message: Box<Message>| {
            let body: serde_json::Value = serde_json::from_str(&message.body(&target).unwrap()).unwrap();
            body[2]["labels"].clone()
        };
        effects
            .filter_map(|effect| match effect {
                Effect::Send(message) => Some(of(message)),
                Effect::Save(_) | Effect::Silence(_) => None,
            })
            .collect()
    };
    let expected = serde_json::json!({
        "alertname": "Roundsman_fleet", "severity": "critical", "node": "vm1", "about": "node/vm3"
    });
    assert_eq!(labels(&mut alerts, cut("vm3")), std::slice::from_ref(&expected));
    assert_eq!(labels(&mut alerts, failed("vm3")), std::slice::from_ref(&expected));
    assert_ne!(labels(&mut alerts, failed("vm2")), std::slice::from_ref(&expected));
    assert_eq!(labels(&mut alerts, FleetEvent::NodeBack { node: "vm3".to_owned() }), [expected]);
}
