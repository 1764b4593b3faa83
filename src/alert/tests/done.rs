//! What people are told of what is done about a probe that is unhealthy.

use super::*;
use crate::base::{HeldBack, Shortage};

const BUDGET: Remedy = Remedy::Held(HeldBack::Budget);
const MAINTENANCE: Remedy = Remedy::Held(HeldBack::Maintenance);

fn fell(generation: u64, probe: &str, remedy: Remedy) -> Happening {
    Happening::Unhealthy {
        run: run(generation),
        probe: probe.to_owned(),
        reason: "status 503".to_owned(),
        severity: Severity::Warning,
        remedy,
    }
}

fn held(probe: &str, held: HeldBack) -> Happening {
    Happening::RestartHeld { run: run(1), probe: probe.to_owned(), held }
}

fn released(probe: &str) -> Happening {
    Happening::RestartReleased { run: run(1), probe: probe.to_owned() }
}

fn well(probe: &str) -> Happening {
    Happening::Healthy { run: run(1), probe: probe.to_owned() }
}

/// Hears these a second apart.
fn heard(story: &[Happening]) -> Alerts {
    let mut alerts = Alerts::new(settings(Vec::new()));
    for (second, what) in (1..).zip(story) {
        alerts.handle(now(second), &Notice { at: now(second), what: what.clone() });
    }
    alerts
}

/// What the only open incident says is done after each of these.
fn remedies(story: &[Happening]) -> Vec<Option<Remedy>> {
    let after = |count: usize| {
        let alerts = heard(&story[..count]);
        let open: Vec<_> = alerts.open().map(|incident| incident.remedy).collect();
        assert_eq!(open.len(), 1, "after {count} of {story:?}");
        open[0]
    };
    (1..=story.len()).map(after).collect()
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

#[test]
fn every_route_says_whether_it_is_restarted_or_someone_has_to_act() {
    for remedy in Remedy::ALL {
        let message = sent(&mut heard(&[fell(1, "live", remedy)])).remove(0);
        let done = remedy.sentence();
        assert_eq!(message.action.as_deref(), Some(done));
        assert!(message.letter().text.contains(&format!("done:      {done}\n")), "{}", message.letter().text);
        assert!(message.slack().to_string().contains(done));
        assert_eq!(message.field("action"), done);
        let url = || Secret::new("http://127.0.0.1/");
        let body =
            |target: &Target| -> serde_json::Value { serde_json::from_str(&message.body(target).unwrap()).unwrap() };
        assert_eq!(body(&Target::Webhook(Box::new(Webhook::new(url()))))["action"], done);
        for alert in body(&Target::Alertmanager(url())).as_array().unwrap() {
            assert_eq!(alert["annotations"]["action"], done);
        }
    }
}

#[test]
fn a_restart_that_was_held_back_is_one_as_soon_as_it_is_done() {
    let story = [
        fell(1, "live", BUDGET),
        held("live", HeldBack::Budget),
        held("live", HeldBack::Maintenance),
        released("live"),
        ended(1, Consequence::Restart),
    ];
    let restart = Some(Remedy::Restart);
    assert_eq!(remedies(&story), [Some(BUDGET), Some(BUDGET), Some(MAINTENANCE), restart, restart]);
    let hourly = Rule { event: Pattern::new("*"), repeat_interval: Some(TimeSpan::from_secs(3600)), ..Rule::default() };
    let mut alerts = heard(&story);
    alerts.configure(now(10), settings(vec![hourly]));
    sent(&mut alerts);
    alerts.handle_timeout(now(4000));
    let reminder = sent(&mut alerts).remove(0);
    assert_eq!((reminder.reminder, reminder.action.as_deref()), (1, Some("it is restarted")));
    // The manager that said that it is held back has died since.
    let mut next = Alerts::restore(settings(Vec::new()), heard(&story[..1]).snapshot(), now(5));
    next.handle(now(6), &Notice { at: now(6), what: released("live") });
    assert_eq!(next.open().next().unwrap().remedy, restart);
}

#[test]
fn a_restart_that_one_probe_waits_for_is_not_hidden_by_another_that_only_alerts() {
    let story = [fell(1, "live", BUDGET), fell(1, "disk", Remedy::Nothing), well("live")];
    assert_eq!(remedies(&story), [Some(BUDGET), Some(BUDGET), Some(Remedy::Nothing)]);
    let story = [fell(1, "live", Remedy::Reload), fell(1, "disk", Remedy::Nothing), well("disk")];
    assert_eq!(remedies(&story), [Some(Remedy::Reload), Some(Remedy::Nothing), Some(Remedy::Reload)]);
}

#[test]
fn of_an_outage_that_began_with_a_death_the_last_word_counts_too() {
    let story = [ended(1, Consequence::Restart), fell(2, "live", Remedy::Nothing), ended(2, Consequence::Restart)];
    assert_eq!(remedies(&story), [Some(Remedy::Restart), Some(Remedy::Nothing), Some(Remedy::Restart)]);
    let story = [fell(1, "live", Remedy::Nothing), ended(1, Consequence::Fail)];
    assert_eq!(heard(&story).open().next().unwrap().action(), "it stays down: nothing starts it again but a person");
}

#[test]
fn of_what_is_started_again_it_is_said_what_is_done_now() {
    let ready = |generation| Happening::RunReady { run: run(generation) };
    let story = [
        ended(1, Consequence::Fail),
        starting(2),
        ready(2),
        fell(2, "live", Remedy::Restart),
        ended(2, Consequence::Restart),
        ended(3, Consequence::Fail),
    ];
    let done: Vec<_> = (1..=story.len()).map(|count| heard(&story[..count]).open().next().unwrap().action()).collect();
    let stays_down = "it stays down: nothing starts it again but a person";
    let (restarted, up) = ("it is restarted", "it is up again; this is over once it has stayed well");
    assert_eq!(done, [stays_down, restarted, up, restarted, restarted, stays_down]);
    let story = [fell(1, "live", Remedy::Nothing), well("live")];
    assert_eq!(heard(&story).open().next().unwrap().action(), up);
}

#[test]
fn what_fell_again_before_it_was_written_down_is_not_said_to_be_up_by_the_next_daemon() {
    let ready = Happening::RunReady { run: run(2) };
    let before = heard(&[fell(1, "live", Remedy::Restart), ended(1, Consequence::Restart), starting(2), ready]);
    let said = |alerts: &Alerts| alerts.open().next().unwrap().remedy;
    assert_eq!(said(&before), Some(Remedy::Recovering));
    let mut next = Alerts::restore(settings(Vec::new()), before.snapshot(), now(9));
    next.recall(&Notice { at: now(10), what: fell(2, "live", BUDGET) });
    assert_eq!(said(&next), Some(BUDGET));
}

#[test]
fn of_what_was_short_and_is_gone_it_is_said_what_is_done() {
    let short = || Happening::Degraded {
        run: run(1),
        probe: "live".to_owned(),
        severity: Severity::Warning,
        shortage: Shortage::Service,
        reason: "slow".to_owned(),
    };
    let of_probe = |story: &[Happening]| {
        let alerts = heard(story);
        let of = Subject::Probe(unit(), "live".to_owned());
        alerts.open().find(|incident| incident.subject == of).map(Incident::action)
    };
    let act = Some("nothing: someone has to act");
    assert_eq!(of_probe(&[short()]), act);
    assert_eq!(of_probe(&[short(), fell(1, "live", Remedy::Restart)]), Some("it is restarted"));
    assert_eq!(of_probe(&[short(), fell(1, "live", Remedy::Reload), short()]), act);
}
