//! What a receiver that keeps a list has on it: an alert there is known by its labels.

use std::collections::BTreeMap;

use super::*;
use crate::base::Shortage;

fn step() -> impl Strategy<Value = Happening> {
    let severity = prop::sample::select(vec![Severity::Info, Severity::Warning, Severity::Critical]);
    let shortage =
        prop::sample::select(vec![Shortage::Disk, Shortage::Certificate, Shortage::Replication, Shortage::Service]);
    let why = || "no".to_owned();
    prop_oneof![
        Just(ended(1, Consequence::Restart)),
        Just(ended(2, Consequence::Fail)),
        Just(failed()),
        Just(limit()),
        Just(unkillable(2)),
        Just(stopped()),
        Just(recovered(2)),
        severity.prop_map(move |severity| Happening::Unhealthy {
            run: run(2),
            probe: "live".into(),
            reason: why(),
            severity,
            remedy: Remedy::Nothing,
        }),
        shortage.prop_map(move |shortage| Happening::Degraded {
            run: run(2),
            probe: "live".into(),
            severity: Severity::Warning,
            shortage,
            reason: why()
        }),
        Just(Happening::ConfigRejected { problems: why() }),
        Just(Happening::ConfigLoaded { units: 1 }),
        Just(Happening::StoreDegraded { reason: why() }),
        Just(Happening::StoreRecovered),
        any::<bool>().prop_map(move |dropped| Happening::LogsDegraded { unit: unit(), reason: why(), dropped }),
        Just(Happening::LogsRecovered),
        any::<bool>().prop_map(|is_bad| Happening::DiskLow { path: "/var".into(), free: 1, wanted: 8, is_bad }),
        Just(Happening::DiskRecovered),
    ]
}

/// What fires there: by its labels, the incident. It takes messages as Alertmanager does.
fn listed(list: &mut BTreeMap<String, String>, alerts: &mut Alerts, target: &Target) {
    while let Some(effect) = alerts.poll_effect() {
        let Effect::Send(message) = effect else { continue };
        let posted: Vec<serde_json::Value> = serde_json::from_str(&message.body(target).unwrap()).unwrap();
        for alert in posted {
            let labels = alert["labels"].to_string();
            let is_over = alert["endsAt"].as_str().is_some_and(|end| *end <= *message.at);
            match is_over {
                true => list.remove(&labels),
                false => list.insert(labels, message.incident.clone()),
            };
        }
    }
}

proptest! {
    #[test]
    fn what_fires_in_alertmanager_is_what_is_open_whatever_came_before(
        story in prop::collection::vec((step(), 1_u64..20_000), 1..40),
    ) {
        let target = Target::Alertmanager(Secret::new("http://127.0.0.1/api/v2/alerts"));
        let mut of = settings(Vec::new());
        of.routes[0].target = target.clone();
        let mut alerts = Alerts::new(of);
        let (mut list, mut second) = (BTreeMap::new(), 0);
        for (what, wait) in story {
            // Reminders come in between.
            second += wait;
            alerts.handle_timeout(now(second));
            alerts.handle(now(second), &Notice { at: now(second), what });
            listed(&mut list, &mut alerts, &target);
            let open: BTreeSet<_> = alerts.open().map(|incident| incident.id.to_string()).collect();
            let fires: BTreeSet<_> = list.values().cloned().collect();
            prop_assert_eq!((fires.len(), &fires), (list.len(), &open), "at most one severity of each: {:?}", list);
        }
    }
}

#[test]
fn an_alert_in_alertmanager_carries_what_people_need_and_one_of_another_severity_ends_without_a_cry() {
    let name = RouteName::new("ops").unwrap();
    let message = Message {
        severity: "critical".to_owned(),
        message: "web failed: more than 5 starts within 5min".to_owned(),
        unit: Some("web".to_owned()),
        restarts: 4,
        result: Some("exit-code".to_owned()),
        action: Some("it stays down".to_owned()),
        last_output: vec!["cannot bind".to_owned(), "giving up".to_owned()],
        ..Message::test("vm1", &name, now(1))
    };
    let posted = |message: &Message| -> Vec<serde_json::Value> {
        let target = Target::Alertmanager(Secret::new("http://127.0.0.1/api/v2/alerts"));
        serde_json::from_str(&message.body(&target).unwrap()).unwrap()
    };
    let [_, warning, critical] = posted(&message).try_into().unwrap();
    let said = &critical["annotations"];
    assert_eq!(said["summary"], "web failed: more than 5 starts within 5min");
    assert_eq!(said["last_output"], "cannot bind\ngiving up");
    assert_eq!((&said["restarts"], &said["result"]), (&"4".into(), &"exit-code".into()));
    assert_eq!(said["action"], "it stays down");
    assert_eq!(warning["annotations"]["summary"], "no end: web is told of as critical now");
    let over = Message { status: Status::Resolved, message: "web is well again".to_owned(), ..message };
    assert!(posted(&over).iter().all(|alert| alert["annotations"]["summary"] == "web is well again"));
}
