//! What runs short, and what becomes of it.

use super::*;
use crate::base::Shortage;

/// The messages of these happenings, a second apart, as "event severity".
fn told(happenings: &[Happening]) -> Vec<String> {
    told_by(Vec::new(), happenings)
}

fn told_by(rules: Vec<Rule>, happenings: &[Happening]) -> Vec<String> {
    let mut alerts = Alerts::new(settings(rules));
    for (second, what) in (1..).zip(happenings) {
        alerts.handle(now(second), &Notice { at: now(second), what: what.clone() });
    }
    let told = std::iter::from_fn(|| alerts.poll_effect()).filter_map(|effect| match effect {
        Effect::Send(message) => Some(format!("{} {}", message.event, message.severity)),
        Effect::Save(_) | Effect::Silence(_) => None,
    });
    told.collect()
}

#[test]
fn what_is_short_is_a_warning_and_what_is_gone_is_critical_whatever_was_told_before() {
    let short = |shortage| Happening::Degraded {
        run: run(1),
        probe: "live".to_owned(),
        shortage,
        reason: "in 3 days".to_owned(),
    };
    let gone = Happening::Unhealthy {
        run: run(1),
        probe: "live".to_owned(),
        reason: "has expired".to_owned(),
        severity: Severity::Critical,
    };
    for (shortage, event) in [(Shortage::Certificate, "certificate_expiring"), (Shortage::Disk, "disk_low")] {
        let warned = format!("{event} warning");
        assert_eq!(told(&[short(shortage), short(shortage), gone.clone()]), [&*warned, "unit_unhealthy critical"]);
    }
    let disk = |is_bad| Happening::DiskLow { path: "/var".to_owned(), free: 1, wanted: 8, is_bad };
    assert_eq!(told(&[disk(false), disk(true)]), ["disk_low warning", "disk_low critical"]);
}

#[test]
fn a_critical_probe_that_falls_while_a_warning_is_open_is_told_once_under_an_id_of_its_own() {
    let fallen = |probe: &str, severity| Happening::Unhealthy {
        run: run(1),
        probe: probe.to_owned(),
        reason: "status 503".to_owned(),
        severity,
    };
    let (slow, gone) = (fallen("slow", Severity::Warning), fallen("live", Severity::Critical));
    let all = [slow.clone(), gone.clone(), slow, gone];
    assert_eq!(told(&all), ["unit_unhealthy warning", "unit_unhealthy critical"]);
    let quiet = Rule { event: Pattern::new("*"), severity: Some(Severity::Info), ..Rule::default() };
    assert_eq!(told_by(vec![quiet], &all), ["unit_unhealthy info"], "what a rule makes less is not graver each time");
    let mut alerts = Alerts::new(settings(Vec::new()));
    for (second, what) in (1..).zip(all) {
        alerts.handle(now(second), &Notice { at: now(second), what });
    }
    let ids: BTreeSet<String> = std::iter::from_fn(|| alerts.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some(message.id),
            Effect::Save(_) | Effect::Silence(_) => None,
        })
        .collect();
    assert_eq!(ids.len(), 2, "of equal ids the store drops the second: {ids:?}");
}
