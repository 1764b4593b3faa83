//! What is not told now, or told to others later.

use super::*;
use crate::base::Shortage;

const HOUR: u64 = 3600;

fn degraded(generation: u64) -> Happening {
    let (probe, reason) = ("root".to_owned(), "1G free".to_owned());
    Happening::Degraded { run: run(generation), probe, severity: Severity::Warning, shortage: Shortage::Disk, reason }
}

fn healthy(generation: u64) -> Happening {
    Happening::Healthy { run: run(generation), probe: "root".to_owned() }
}

/// One happening at a second; the events of the messages that it caused.
fn at(alerts: &mut Alerts, second: u64, what: &Happening) -> Vec<String> {
    let now = now(second);
    alerts.handle(now, &Notice { at: now, what: what.clone() });
    said(alerts)
}

/// Lets time pass, waking as it asks to be woken; the messages with who gets them.
fn until(alerts: &mut Alerts, second: u64) -> Vec<String> {
    while let Some(deadline) = alerts.next_deadline().filter(|deadline| *deadline <= now(second).mono) {
        alerts.handle_timeout(now(deadline.0 / 1_000_000_000 + 1));
    }
    said(alerts)
}

fn said(alerts: &mut Alerts) -> Vec<String> {
    std::iter::from_fn(|| alerts.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Send(message) => Some(format!("{} {}", message.event, message.route)),
            Effect::Save(_) | Effect::Silence(_) => None,
        })
        .collect()
}

fn silence(pattern: &str, hours: u64) -> SilenceOrder {
    SilenceOrder {
        pattern: Pattern::about(pattern),
        span: TimeSpan::from_secs(hours * HOUR),
        comment: String::new(),
        maintenance: false,
    }
}

fn rule(event: &str) -> Rule {
    Rule { event: Pattern::new(event), ..Rule::default() }
}

/// Takes a machine down and up again with what it asked to be kept.
fn reborn(alerts: &Alerts, second: u64) -> Alerts {
    Alerts::restore(alerts.settings.clone(), alerts.snapshot(), now(second))
}

#[test]
fn what_a_probe_finds_short_is_an_incident_of_its_own_until_that_probe_is_well() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    at(&mut alerts, 1, &starting(1));
    assert_eq!(at(&mut alerts, 2, &degraded(1)), ["disk_low ops"]);
    assert_eq!(at(&mut alerts, 3, &unhealthy(1)), ["unit_unhealthy ops"]);
    assert_eq!(at(&mut alerts, 4, &recovered(1)), ["recovered ops"], "the unit's own is over");
    assert_eq!(at(&mut alerts, 5, &degraded(1)), [] as [&str; 0], "the other one lasts");
    // The next run finds the disk as short as it was.
    at(&mut alerts, 6, &wanted(ended(1, Consequence::Rest)));
    at(&mut alerts, 7, &starting(2));
    assert_eq!(at(&mut alerts, 8, &degraded(2)), [] as [&str; 0]);
    assert_eq!(at(&mut alerts, 9, &healthy(2)), ["recovered ops"]);
    assert_eq!(alerts.open().count(), 0);
}

#[test]
fn a_unit_that_is_stopped_is_short_of_nothing() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    at(&mut alerts, 1, &degraded(1));
    assert_eq!(at(&mut alerts, 2, &stopped()), ["recovered ops"]);
    assert_eq!(alerts.open().count(), 0);
}

#[test]
fn what_opens_under_a_silence_and_outlasts_it_is_told_when_it_ends() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    alerts.silence(now(0), silence("web", 2), "uid 0".to_owned()).unwrap();
    assert_eq!(at(&mut alerts, 1, &ended(1, Consequence::Fail)), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, HOUR), [] as [&str; 0]);
    // Also of a manager that died meanwhile.
    let mut alerts = reborn(&alerts, HOUR);
    assert_eq!(until(&mut alerts, 2 * HOUR - 1), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, 2 * HOUR + 2), ["unit_failed ops"]);
    assert_eq!(alerts.silences(now(2 * HOUR + 2)).count(), 0);
}

#[test]
fn what_is_over_before_its_silence_is_never_told_and_neither_is_its_end() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    alerts.silence(now(0), silence("web", 2), "uid 0".to_owned()).unwrap();
    at(&mut alerts, 1, &starting(1));
    assert_eq!(at(&mut alerts, 2, &unhealthy(1)), [] as [&str; 0]);
    assert_eq!(at(&mut alerts, 3, &recovered(1)), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, 3 * HOUR), [] as [&str; 0]);
}

#[test]
fn a_silence_covers_what_it_names_and_can_be_ended_early_by_number_or_name() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    let first = alerts.silence(now(0), silence("unit_failed:web", 2), "uid 0".to_owned()).unwrap();
    let second = alerts.silence(now(0), silence("db", 2), "uid 0".to_owned()).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(at(&mut alerts, 1, &degraded(1)), ["disk_low ops"], "another event");
    assert_eq!(at(&mut alerts, 2, &ended(1, Consequence::Fail)), [] as [&str; 0]);
    assert_eq!(alerts.unsilence(now(3), "nobody").len(), 0);
    assert_eq!(alerts.unsilence(now(3), &first.id.to_string()).len(), 1);
    assert_eq!(said(&mut alerts), ["unit_failed ops"]);
    assert_eq!(alerts.unsilence(now(3), "db").len(), 1);
    assert_eq!(alerts.silences(now(3)).count(), 0);
    let refused = |hours| silence("web", hours);
    assert_eq!(alerts.silence(now(4), refused(0), String::new()), Err(SilenceRefusal::Span));
    assert_eq!(alerts.silence(now(4), refused(367 * 24), String::new()), Err(SilenceRefusal::Span));
}

#[test]
fn maintenance_is_of_the_units_that_a_silence_covers_whole() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    let order = SilenceOrder { maintenance: true, ..silence("web", 1) };
    alerts.silence(now(0), order, "uid 0".to_owned()).unwrap();
    let (web, db) = (unit(), UnitName::new("db").unwrap());
    assert!(alerts.is_maintained(now(1), &web) && !alerts.is_maintained(now(1), &db));
    assert!(!alerts.is_maintained(now(HOUR + 1), &web));
}

#[test]
fn who_takes_it_on_is_not_reminded_until_it_gets_worse() {
    for is_reborn in [false, true] {
        let mut alerts = Alerts::new(settings(Vec::new()));
        at(&mut alerts, 1, &starting(1));
        assert_eq!(at(&mut alerts, 2, &unhealthy(1)), ["unit_unhealthy ops"]);
        assert_eq!(alerts.acknowledge(now(3), "db", "uid 0").len(), 0);
        let taken = alerts.acknowledge(now(3), "web", "uid 0");
        assert_eq!(taken[0].acknowledged.as_ref().unwrap().by, "uid 0");
        let mut alerts = if is_reborn { reborn(&alerts, 4) } else { alerts };
        assert_eq!(until(&mut alerts, 24 * HOUR), [] as [&str; 0]);
        let day = 24 * HOUR;
        assert_eq!(at(&mut alerts, day, &ended(1, Consequence::Fail)), ["unit_failed ops"], "worse");
        assert_eq!(until(&mut alerts, day + 4 * HOUR + 1), ["unit_failed ops"], "and reminded of");
    }
}

#[test]
fn what_nobody_takes_on_is_told_to_others_once_and_so_is_its_end() {
    let escalation = || Some(Escalation { after: TimeSpan::from_secs(900), routes: vec![route("boss").name] });
    let ops = || Rule { routes: Some(vec![route("ops").name]), escalation: escalation(), ..rule("unit_*") };
    let all = || Settings { routes: vec![route("ops"), route("boss")], ..settings(vec![ops()]) };
    let mut alerts = Alerts::new(all());
    assert_eq!(at(&mut alerts, 1, &ended(1, Consequence::Fail)), ["unit_failed ops"]);
    let mut alerts = reborn(&alerts, 100);
    assert_eq!(until(&mut alerts, 899), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, 903), ["unit_failed boss"]);
    let mut alerts = reborn(&alerts, 1000);
    assert_eq!(until(&mut alerts, 3 * HOUR), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, 5 * HOUR), ["unit_failed ops", "unit_failed boss"], "the reminder");
    at(&mut alerts, 5 * HOUR, &starting(2));
    assert_eq!(at(&mut alerts, 5 * HOUR, &recovered(2)), ["recovered boss", "recovered ops"]);
    // Someone has taken the next one on in time.
    assert_eq!(at(&mut alerts, 6 * HOUR, &ended(2, Consequence::Fail)), ["unit_failed ops"]);
    alerts.acknowledge(now(6 * HOUR + 1), "web", "uid 0");
    said(&mut alerts);
    assert_eq!(until(&mut alerts, 20 * HOUR), [] as [&str; 0]);
}

#[test]
fn an_incident_that_another_explains_waits_for_its_end() {
    let by_disk = Rule { inhibited_by: vec![Pattern::new("disk_low")], ..rule("unit_*") };
    let mut alerts = Alerts::new(settings(vec![by_disk]));
    at(&mut alerts, 1, &starting(1));
    assert_eq!(at(&mut alerts, 2, &degraded(1)), ["disk_low ops"]);
    assert_eq!(at(&mut alerts, 3, &unhealthy(1)), [] as [&str; 0]);
    assert_eq!(at(&mut alerts, 4, &healthy(1)), ["recovered ops", "unit_unhealthy ops"]);
    assert_eq!(at(&mut alerts, 5, &recovered(1)), ["recovered ops"]);
}

fn ready(generation: u64) -> Happening {
    Happening::RunReady { run: run(generation) }
}

#[test]
fn of_what_is_up_again_as_its_explanation_ends_nobody_is_told() {
    let by_disk = Rule { inhibited_by: vec![Pattern::new("disk_low")], ..rule("unit_*") };
    for (comes_back, comes_up, falls_again) in [(true, true, false), (true, true, true), (true, false, false)] {
        let mut alerts = Alerts::new(settings(vec![by_disk.clone()]));
        let low = Happening::DiskLow { path: "/var/lib".to_owned(), free: 1, wanted: 8, is_bad: true };
        assert_eq!(at(&mut alerts, 1, &low), ["disk_low ops"]);
        at(&mut alerts, 2, &starting(1));
        assert_eq!(at(&mut alerts, 3, &ended(1, Consequence::Fail)), [] as [&str; 0]);
        if comes_back {
            at(&mut alerts, 4, &starting(2));
        }
        if comes_up {
            at(&mut alerts, 5, &ready(2));
        }
        let told = at(&mut alerts, 6, &Happening::DiskRecovered);
        if !comes_up {
            assert_eq!(told, ["recovered ops", "unit_failed ops"], "it is still so");
            continue;
        }
        assert_eq!(told, ["recovered ops"]);
        let mut alerts = reborn(&alerts, 7);
        assert_eq!(until(&mut alerts, 8), [] as [&str; 0], "nor by the next daemon");
        if falls_again {
            assert_eq!(at(&mut alerts, 9, &ended(2, Consequence::Fail)), ["unit_failed ops"]);
        } else {
            assert_eq!(at(&mut alerts, 9, &recovered(2)), [] as [&str; 0]);
        }
    }
}

#[test]
fn of_what_is_up_again_as_a_silence_ends_nobody_is_told() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    alerts.silence(now(0), silence("web", 1), "uid 0".to_owned()).unwrap();
    at(&mut alerts, 1, &starting(1));
    assert_eq!(at(&mut alerts, 2, &ended(1, Consequence::Fail)), [] as [&str; 0]);
    at(&mut alerts, HOUR - 4, &starting(2));
    at(&mut alerts, HOUR - 3, &ready(2));
    assert_eq!(until(&mut alerts, HOUR + 5), [] as [&str; 0]);
    assert_eq!(at(&mut alerts, HOUR + 7, &recovered(2)), [] as [&str; 0]);
}

#[test]
fn what_can_wait_waits_for_the_end_of_quiet_hours() {
    let hours = QuietHours::new("22:00-07:00", jiff::tz::TimeZone::UTC).unwrap();
    let critical = Rule { severity: Some(Severity::Critical), ..rule("unit_failed") };
    let mut alerts = Alerts::new(Settings { quiet_hours: Some(hours), ..settings(vec![critical]) });
    // The day begins at second 0, in UTC.
    at(&mut alerts, HOUR, &starting(1));
    assert_eq!(at(&mut alerts, HOUR, &unhealthy(1)), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, 7 * HOUR - 1), [] as [&str; 0]);
    assert_eq!(until(&mut alerts, 7 * HOUR + 2), ["unit_unhealthy ops"]);
    assert_eq!(until(&mut alerts, 21 * HOUR).len(), 3, "reminders by day");
    assert_eq!(until(&mut alerts, 24 * HOUR), [] as [&str; 0], "and none by night");
    assert_eq!(at(&mut alerts, 25 * HOUR, &ended(1, Consequence::Fail)), ["unit_failed ops"], "this cannot wait");
}

#[test]
fn the_disk_of_the_daemon_is_told_of_once_and_again_when_it_gets_worse() {
    let low = |is_bad| Happening::DiskLow { path: "/var/lib".to_owned(), free: 1, wanted: 8, is_bad };
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(at(&mut alerts, 1, &low(false)), ["disk_low ops"]);
    assert_eq!(at(&mut alerts, 2, &low(false)), [] as [&str; 0]);
    assert_eq!(at(&mut alerts, 3, &low(true)), ["disk_low ops"]);
    assert_eq!(alerts.open().next().unwrap().severity, Severity::Critical);
    assert_eq!(at(&mut alerts, 4, &low(true)), [] as [&str; 0]);
    assert_eq!(at(&mut alerts, 5, &Happening::DiskRecovered), ["recovered ops"]);
}

#[test]
fn of_what_is_hushed_it_is_known_by_what_and_until_when() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    let made = alerts.silence(now(1), silence("web", 1), "uid 0".to_owned()).unwrap();
    at(&mut alerts, 2, &starting(1));
    at(&mut alerts, 3, &unhealthy(1));
    let hush = |alerts: &Alerts, second| alerts.hush_of(now(second), alerts.open().next().unwrap());
    let known = hush(&alerts, 4).unwrap();
    assert_eq!((known.by, known.until), (format!("silence {} of uid 0", made.id), Some(made.until)));
    until(&mut alerts, 2 * HOUR);
    assert_eq!(hush(&alerts, 2 * HOUR), None, "told meanwhile");
}

#[test]
fn nobody_is_called_in_before_those_who_should_have_taken_it_on_were_told() {
    let escalation = Escalation { after: TimeSpan::from_secs(600), routes: vec![RouteName::new("boss").unwrap()] };
    let first = Rule { routes: Some(vec![RouteName::new("ops").unwrap()]), escalation: Some(escalation), ..rule("*") };
    let mut alerts = Alerts::new(settings(vec![first]));
    alerts.settings.routes.push(route("boss"));
    alerts.silence(now(1), silence("web", 1), "uid 0".to_owned()).unwrap();
    assert_eq!(at(&mut alerts, 2, &ended(1, Consequence::Fail)), [""; 0]);
    assert_eq!(until(&mut alerts, HOUR + 500), ["unit_failed ops"]);
    assert_eq!(until(&mut reborn(&alerts, HOUR + 500), HOUR + 550), [""; 0]);
    assert_eq!(until(&mut alerts, HOUR + 700), ["unit_failed boss"]);
    assert_eq!(at(&mut alerts, HOUR + 800, &stopped()), ["recovered boss", "recovered ops"]);
}

#[test]
fn what_gets_worse_in_a_silence_is_told_once_when_that_ends() {
    let often = Rule { repeat_interval: Some(TimeSpan::from_secs(600)), ..rule("*") };
    let mut alerts = Alerts::new(settings(vec![often]));
    assert_eq!(at(&mut alerts, 1, &ended(1, Consequence::Restart)), ["unit_restarted ops"]);
    alerts.silence(now(2), silence("web", 1), "uid 0".to_owned()).unwrap();
    assert_eq!(until(&mut alerts, 1300), [""; 0]);
    assert_eq!(at(&mut alerts, 1400, &ended(2, Consequence::StartLimit)), [""; 0]);
    assert_eq!(until(&mut alerts, HOUR + 100), ["start_limit_hit ops"]);
    assert_eq!(alerts.open().next().unwrap().reminders, 0, "what was hushed is no message");
}

#[test]
fn a_rule_that_means_ends_says_who_hears_them_also_after_an_escalation() {
    let name = |text| RouteName::new(text).unwrap();
    let escalation = Escalation { after: TimeSpan::from_secs(60), routes: vec![name("boss")] };
    let begin = Rule { routes: Some(vec![name("ops")]), escalation: Some(escalation), ..rule("unit_*") };
    let end = |to| Rule { routes: Some(vec![name(to)]), ..rule("recovered:web") };
    for (to, escalated, told) in [
        ("boss", true, vec!["recovered boss"]),
        ("chat", true, vec!["recovered boss", "recovered chat"]),
        ("chat", false, vec!["recovered chat"]),
        ("ops", false, vec!["recovered ops"]),
    ] {
        let mut alerts = Alerts::new(settings(vec![end(to), begin.clone()]));
        alerts.settings.routes.extend(["boss", "chat"].map(route));
        assert_eq!(at(&mut alerts, 1, &ended(1, Consequence::Fail)), ["unit_failed ops"]);
        assert_eq!(until(&mut alerts, if escalated { 100 } else { 50 }).len(), usize::from(escalated));
        assert_eq!(at(&mut alerts, 110, &stopped()), told, "{to}");
    }
}
