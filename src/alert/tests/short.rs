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
        severity: Severity::Warning,
        shortage,
        reason: "in 3 days".to_owned(),
    };
    let gone = Happening::Unhealthy {
        run: run(1),
        probe: "live".to_owned(),
        reason: "has expired".to_owned(),
        severity: Severity::Critical,
        remedy: Remedy::Restart,
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
        remedy: Remedy::Nothing,
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

/// What is said, in a line each.
fn texts_of(happenings: &[Happening]) -> Vec<String> {
    let mut alerts = Alerts::new(settings(Vec::new()));
    for (second, what) in (1..).zip(happenings) {
        alerts.handle(now(second), &Notice { at: now(second), what: what.clone() });
    }
    std::iter::from_fn(|| alerts.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some(message.message),
            Effect::Save(_) | Effect::Silence(_) => None,
        })
        .collect()
}

#[test]
fn what_becomes_graver_is_no_reminder_and_an_incident_speaks_of_what_still_is() {
    let fallen = |probe: &str, severity| Happening::Unhealthy {
        run: run(1),
        probe: probe.to_owned(),
        reason: "status 503".to_owned(),
        severity,
        remedy: Remedy::Nothing,
    };
    let well = |probe: &str| Happening::Healthy { run: run(1), probe: probe.to_owned() };
    let said = texts_of(&[
        fallen("warn", Severity::Warning),
        fallen("crit", Severity::Critical),
        well("crit"),
        well("warn"),
        recovered(1),
    ]);
    assert_eq!(
        said,
        [
            "web is unhealthy: probe warn: status 503",
            "web is unhealthy: probe crit: status 503",
            "web is well again; last it was: web is unhealthy: probe warn: status 503",
        ]
    );
}

#[test]
fn a_restart_by_a_probe_is_told_as_such() {
    let fallen = Happening::Unhealthy {
        run: run(1),
        probe: "live".to_owned(),
        reason: "status 503".to_owned(),
        severity: Severity::Critical,
        remedy: Remedy::Restart,
    };
    let of = |wanted_result| {
        let mut end = ended(1, Consequence::Restart);
        if let Happening::RunEnded { result, .. } = &mut end {
            *result = wanted_result;
        }
        end
    };
    let said = texts_of(&[fallen.clone(), of(RunResult::Success), recovered(2)]);
    let last = said.last().unwrap();
    assert!(last.ends_with("last it was: web is unhealthy: probe live: status 503; it is restarted"), "{said:?}");
    let said = texts_of(&[fallen, of(RunResult::Signal), recovered(2)]);
    assert!(!said.last().unwrap().contains("probe live"), "it died by itself: {said:?}");
}

#[test]
fn who_was_told_of_it_is_told_that_someone_stopped_or_reset_it() {
    let failed = || ended(1, Consequence::Fail);
    let reset =
        Happening::CountersReset { unit: unit(), was_failed: true, actor: Actor::User(0), restarts: 1, starts: 1 };
    let said = texts_of(&[failed(), reset]);
    assert!(
        said.last().unwrap().starts_with("web was reset, and is down until someone starts it; last it was:"),
        "{said:?}"
    );
}

#[test]
fn of_what_comes_back_by_itself_a_reset_says_not_that_it_is_down() {
    let reset =
        Happening::CountersReset { unit: unit(), was_failed: false, actor: Actor::User(0), restarts: 1, starts: 1 };
    for story in [vec![ended(1, Consequence::Restart)], vec![ended(1, Consequence::Fail), starting(2)]] {
        let said = texts_of(&[story, vec![reset.clone()]].concat());
        assert!(said.last().unwrap().starts_with("web was reset: what is counted of it begins anew; last"), "{said:?}");
    }
}
