//! What receivers outside group the messages of an incident by, and what people call it here.

use super::*;
use crate::base::Shortage;

fn short() -> Happening {
    let (shortage, reason) = (Shortage::Disk, "1G free".to_owned());
    Happening::Degraded { run: run(1), probe: "root".to_owned(), severity: Severity::Warning, shortage, reason }
}

fn fell(reason: &str) -> Happening {
    let (probe, severity, remedy) = ("live".to_owned(), Severity::Warning, Remedy::Nothing);
    Happening::Unhealthy { run: run(1), probe, reason: reason.to_owned(), severity, remedy }
}

fn hear(alerts: &mut Alerts, second: u64, what: Happening) -> Vec<Message> {
    alerts.handle(now(second), &Notice { at: now(second), what });
    sent(alerts)
}

fn sent(alerts: &mut Alerts) -> Vec<Message> {
    let effects = std::iter::from_fn(|| alerts.poll_effect());
    effects
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some(*message),
            Effect::Save(_) | Effect::Silence(_) => None,
        })
        .collect()
}

/// The keys of the messages about these happenings.
fn keys(rules: Vec<Rule>, story: &[Happening]) -> Vec<String> {
    let mut alerts = Alerts::new(settings(rules));
    let messages = (1..).zip(story).flat_map(|(second, what)| hear(&mut alerts, second, what.clone()));
    messages.map(|message| message.dedup_key).collect::<Vec<_>>()
}

#[test]
fn unless_a_rule_says_otherwise_the_key_is_the_event_whom_it_is_about_and_the_node() {
    use Consequence::{Fail, Restart, StartLimit};
    let rejected = || Happening::ConfigRejected { problems: "no".to_owned() };
    for (what, key) in [
        (ended(1, Fail), "unit_failed:web@vm1"),
        (ended(1, Restart), "unit_restarted:web@vm1"),
        (ended(1, StartLimit), "start_limit_hit:web@vm1"),
        (unhealthy(1), "unit_unhealthy:web@vm1"),
        (short(), "disk_low:web/root@vm1"),
        (rejected(), "config_rejected:vm1"),
        (Happening::StoreReplaced { kept: "x".to_owned() }, "store_replaced:vm1"),
    ] {
        assert_eq!(keys(Vec::new(), &[what]), [key]);
    }
}

#[test]
fn the_key_of_an_incident_stays_whatever_it_comes_to_so_that_its_end_ends_it() {
    use Consequence::{Restart, StartLimit};
    let story = [ended(1, Restart), ended(2, StartLimit), starting(3), recovered(3), ended(4, Restart)];
    assert_eq!(keys(Vec::new(), &story), ["unit_restarted:web@vm1"; 4]);
    // The rule by which it opened has the word, also about its end.
    let of = |event: &str, key: &str| Rule {
        event: Pattern::new(event),
        dedup_key: Some(key.to_owned()),
        ..Rule::default()
    };
    let rules = vec![of("unit_restarted", "<event>/<unit>/<node>/<incident>"), of("*", "other")];
    assert_eq!(keys(rules, &story[..4]), ["unit_restarted/web/vm1/web/1/0"; 3]);
}

#[test]
fn what_an_older_release_opened_ends_under_the_key_that_it_was_told_under() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    hear(&mut alerts, 1, ended(1, Consequence::Fail));
    let mut saved = alerts.snapshot();
    saved.open[0].dedup_key = None;
    let mut later = Alerts::restore(settings(Vec::new()), saved.clone(), now(2));
    let end = hear(&mut later, 3, stopped()).remove(0);
    assert_eq!((end.event.as_str(), end.dedup_key.as_str()), ("recovered", "web/1/0"));
    let rule = Rule { event: Pattern::new("*"), dedup_key: Some("<unit>-<event>".to_owned()), ..Rule::default() };
    let mut later = Alerts::restore(settings(vec![rule]), saved, now(2));
    assert_eq!(hear(&mut later, 3, stopped())[0].dedup_key, "web-unit_failed");
}

#[test]
fn every_kind_of_route_carries_the_key() {
    let message = hear(&mut Alerts::new(settings(Vec::new())), 1, ended(1, Consequence::Fail)).remove(0);
    let key = "unit_failed:web@vm1";
    assert!(message.variables().contains(&("ROUNDSMAN_DEDUP_KEY".to_owned(), key.to_owned())));
    assert_eq!(message.field("dedup_key"), key);
    let target = Target::Alertmanager(Secret::new("http://127.0.0.1/api/v2/alerts"));
    let posted: serde_json::Value = serde_json::from_str(&message.body(&target).unwrap()).unwrap();
    assert_eq!(posted[0]["annotations"]["dedup_key"], key);
    // Letters and threads are of one incident, each time anew, and have the node as well.
    assert_eq!(message.letter().thread, "<web/1/0@vm1>");
}

#[test]
fn people_take_on_what_the_list_or_a_receiver_shows_them() {
    for name in ["unit_failed:web", "web", "web@vm1", "unit_restarted:web@vm1", "unit_failed:web@vm1", "web/1/0"] {
        let mut alerts = Alerts::new(settings(Vec::new()));
        hear(&mut alerts, 1, ended(1, Consequence::Restart));
        hear(&mut alerts, 2, ended(2, Consequence::Fail));
        assert_eq!(alerts.acknowledge(now(3), name, "uid 0").len(), 1, "{name}");
    }
    let mut alerts = Alerts::new(settings(Vec::new()));
    hear(&mut alerts, 1, Happening::ConfigRejected { problems: "no".to_owned() });
    for other in ["unit_failed:web", "config_rejected:vm2", "db"] {
        assert_eq!(alerts.acknowledge(now(3), other, "uid 0"), [], "{other}");
    }
    assert_eq!(alerts.acknowledge(now(3), "config_rejected:/config", "uid 0").len(), 1);
}

#[test]
fn an_incident_says_the_newest_reason_of_its_probe_and_nobody_is_told_for_that() {
    let hourly = Rule { event: Pattern::new("*"), repeat_interval: Some(TimeSpan::from_secs(3600)), ..Rule::default() };
    let mut alerts = Alerts::new(settings(vec![hourly]));
    hear(&mut alerts, 1, fell("link down since 34 s"));
    hear(&mut alerts, 1, short());
    let texts = |alerts: &Alerts| alerts.open().map(|open| open.text.clone()).collect::<Vec<_>>();
    let mut later = Alerts::restore(alerts.settings.clone(), alerts.snapshot(), now(2));
    for alerts in [&mut alerts, &mut later] {
        let room = Happening::Degraded {
            run: run(1),
            probe: "root".to_owned(),
            severity: Severity::Warning,
            shortage: Shortage::Disk,
            reason: "2M free".to_owned(),
        };
        alerts.refresh(now(3), [fell("a primary, expected a replica"), room].into_iter());
        assert_eq!(alerts.poll_effect(), None, "no message, and no row");
        let unit = "web is unhealthy: probe live: a primary, expected a replica";
        assert_eq!(texts(alerts), [unit, "probe root of web is degraded: 2M free"]);
        alerts.handle_timeout(now(4000));
        let reminder = sent(alerts).remove(0);
        assert!(reminder.message.ends_with(unit), "{}", reminder.message);
    }
}

#[test]
fn of_several_things_that_are_not_well_an_incident_speaks_of_one() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    hear(&mut alerts, 1, fell("status 503"));
    hear(&mut alerts, 2, ended(1, Consequence::Restart));
    let said = alerts.open().next().unwrap().text.clone();
    alerts.refresh(now(3), [fell("status 500")].into_iter());
    assert_eq!(alerts.open().next().unwrap().text, said, "it speaks of the end");
}
