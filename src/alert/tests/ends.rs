//! Who is told what of an incident that comes to more, and of its end.

use super::*;
use crate::alert::{Pattern, SilenceOrder};

fn rule(event: &str, routes: &[&str]) -> Rule {
    let routes = routes.iter().map(|name| RouteName::new(name).unwrap()).collect();
    Rule { event: Pattern::new(event), routes: Some(routes), ..Rule::default() }
}

/// With a hook and a pager.
fn both(rules: Vec<Rule>) -> Alerts {
    Alerts::new(Settings { routes: vec![route("hook"), route("pager")], ..settings(rules) })
}

/// "EVENT/ROUTE" of each message.
fn said(alerts: &mut Alerts, story: &[Happening]) -> Vec<String> {
    for (second, what) in (1..).zip(story) {
        alerts.handle(now(second), &Notice { at: now(second), what: what.clone() });
    }
    let effects = std::iter::from_fn(|| alerts.poll_effect());
    let messages = effects.filter_map(|effect| match effect {
        Effect::Send(message) => Some(format!("{}/{}", message.event, message.route)),
        Effect::Save(_) | Effect::Silence(_) => None,
    });
    messages.collect()
}

fn alone(generation: u64) -> Happening {
    let (probe, reason) = ("live".to_owned(), "status 503".to_owned());
    let remedy = Remedy::Nothing;
    Happening::Unhealthy { run: run(generation), probe, reason, severity: Severity::Warning, remedy }
}

fn reset(was_failed: bool) -> Happening {
    Happening::CountersReset { unit: unit(), actor: Actor::User(0), restarts: 1, starts: 1, was_failed }
}

#[test]
fn whoever_was_told_of_the_beginning_is_told_of_the_end_unless_a_rule_for_ends_says_otherwise() {
    let story = [alone(1), recovered(1)];
    for everything in ["*", "*:*", "*:web"] {
        let rules = vec![rule("unit_unhealthy:*", &["pager"]), rule(everything, &["hook"])];
        assert_eq!(said(&mut both(rules), &story), ["unit_unhealthy/pager", "recovered/pager"], "{everything}");
    }
    let rules = vec![rule("recovered", &["hook"]), rule("*", &["hook", "pager"])];
    let expected = ["unit_unhealthy/hook", "unit_unhealthy/pager", "recovered/hook"];
    assert_eq!(said(&mut both(rules), &story), expected);
}

#[test]
fn a_restart_that_did_not_help_is_told_once_when_nothing_more_is_done() {
    use Consequence::Restart;
    let story = [ended(1, Restart), starting(2), alone(2), ended(2, Restart), starting(3), alone(3), recovered(3)];
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(said(&mut alerts, &story), ["unit_restarted/ops", "unit_unhealthy/ops", "recovered/ops"]);
    // Who restarts it because of the probe goes on with what was told.
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(said(&mut alerts, &[ended(1, Restart), unhealthy(2)]), ["unit_restarted/ops"]);
}

#[test]
fn a_unit_that_turns_unhealthy_is_told_to_whom_its_rule_names_though_it_was_restarted_before() {
    let rules = vec![rule("unit_restarted:*", &[]), rule("unit_unhealthy:*", &["pager"])];
    let story = [ended(1, Consequence::Restart), starting(2), unhealthy(2), unhealthy(2), recovered(2)];
    assert_eq!(said(&mut both(rules), &story), ["unit_unhealthy/pager", "recovered/pager"]);
}

#[test]
fn a_reset_ends_what_was_open_of_a_unit_that_is_up_but_not_what_its_probe_finds() {
    let restarted = ended(1, Consequence::Restart);
    let mut alerts = Alerts::new(settings(Vec::new()));
    let events = said(&mut alerts, &[restarted, starting(2), reset(false), ended(2, Consequence::Restart)]);
    assert_eq!(events, ["unit_restarted/ops", "recovered/ops", "unit_restarted/ops"]);
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(said(&mut alerts, &[alone(1), reset(false)]), ["unit_unhealthy/ops"]);
}

#[test]
fn one_that_was_started_again_and_is_given_up_again_is_told_again_though_someone_had_taken_it_on() {
    use Consequence::{Restart, StartLimit};
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(said(&mut alerts, &[ended(1, StartLimit)]), ["start_limit_hit/ops"]);
    alerts.acknowledge(now(2), "web", "uid 0");
    let mut story = vec![starting(2), Happening::RunReady { run: run(2) }, ended(2, Restart)];
    assert_eq!(said(&mut alerts, &story), [""; 0]);
    let incident = alerts.open().next().unwrap().clone();
    assert!(incident.text.contains("it is restarted"), "{incident:#?}");
    story = vec![starting(3), ended(3, StartLimit), limit()];
    assert_eq!(said(&mut alerts, &story), ["start_limit_hit/ops"]);
    assert_eq!(alerts.open().next().unwrap().acknowledged, None);
}

#[test]
fn a_silence_that_came_later_hushes_no_end() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(said(&mut alerts, &[alone(1)]), ["unit_unhealthy/ops"]);
    let order = SilenceOrder {
        pattern: Pattern::about("web"),
        span: TimeSpan::from_secs(3600),
        comment: String::new(),
        maintenance: false,
    };
    alerts.silence(now(2), order, "uid 0".to_owned()).unwrap();
    assert_eq!(said(&mut alerts, &[recovered(1)]), ["recovered/ops"]);
}

#[test]
fn what_was_over_before_the_database_was_lost_opens_nothing() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    alerts.settled(&unit(), Generation(3));
    // What its rows say of a unit is the last word.
    alerts.settled(&unit(), Generation(4));
    let story = [ended(2, Consequence::Restart), ended(3, Consequence::Restart), ended(4, Consequence::Restart)];
    assert_eq!(said(&mut alerts, &story), ["unit_restarted/ops"], "the fourth is news");
}
