mod done;
mod ends;
mod fleet;
mod hushed;
mod keys;
mod listed;
mod short;

use proptest::prelude::*;

use std::collections::BTreeSet;

use super::*;
use crate::base::{Actor, ExitStatus, InvocationId, RunResult, Secret, StartCause, TimeSpan, Wall};

fn unit() -> UnitName {
    UnitName::new("web").unwrap()
}

fn run(generation: u64) -> RunId {
    RunId { unit: unit(), generation: Generation(generation) }
}

fn now(seconds: u64) -> Now {
    Now { mono: Mono(seconds * 1_000_000_000), wall: Wall(i64::try_from(seconds).unwrap() * 1_000_000) }
}

fn route(name: &str) -> Route {
    let target = Target::Webhook(Box::new(Webhook::new(Secret::new("http://127.0.0.1/"))));
    Route::new(RouteName::new(name).unwrap(), target)
}

fn settings(rules: Vec<Rule>) -> Settings {
    Settings { node: "vm1".to_owned(), routes: vec![route("ops")], rules, ..Settings::default() }
}

fn starting(generation: u64) -> Happening {
    let invocation = InvocationId([0; 16]);
    Happening::RunStarting { run: run(generation), invocation, cause: StartCause::AutoRestart, restarts: 1 }
}

fn ended(generation: u64, consequence: Consequence) -> Happening {
    let result = if consequence == Consequence::Rest { RunResult::Success } else { RunResult::ExitCode };
    Happening::RunEnded {
        replayed: false,
        run: run(generation),
        invocation: InvocationId([0; 16]),
        status: Some(ExitStatus::Exited(1)),
        usage: None,
        result,
        wanted: false,
        consequence,
        delay: None,
        why: None,
    }
}

fn wanted(mut what: Happening) -> Happening {
    if let Happening::RunEnded { wanted, .. } = &mut what {
        *wanted = true;
    }
    what
}

fn unhealthy(generation: u64) -> Happening {
    let (probe, reason) = ("live".to_owned(), "status 503".to_owned());
    let remedy = Remedy::Restart;
    Happening::Unhealthy { run: run(generation), probe, reason, severity: Severity::Warning, remedy }
}

fn unkillable(generation: u64) -> Happening {
    Happening::Unkillable { run: run(generation) }
}

fn recovered(generation: u64) -> Happening {
    Happening::Recovered { run: run(generation) }
}

fn failed() -> Happening {
    Happening::UnitFailed { unit: unit(), result: RunResult::ExitCode }
}

fn limit() -> Happening {
    Happening::StartLimitHit { unit: unit(), burst: 5, interval: TimeSpan::from_secs(300), last: None, again: false }
}

fn stopped() -> Happening {
    Happening::UnitStopped { unit: unit(), actor: Actor::User(0) }
}

/// The messages that are waiting, as "event status id".
fn messages(alerts: &mut Alerts) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(effect) = alerts.poll_effect() {
        match effect {
            Effect::Send(message) => said.push(format!("{} {:?} {}", message.event, message.status, message.id)),
            Effect::Save(_) | Effect::Silence(_) => {}
        }
    }
    said
}

/// Feeds happenings one second apart and returns the events of the messages.
fn told(alerts: &mut Alerts, happenings: &[Happening]) -> Vec<String> {
    for (second, what) in (1..).zip(happenings) {
        let at = now(second);
        alerts.handle(at, &Notice { at, what: what.clone() });
    }
    messages(alerts).iter().map(|said| said.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn an_incident_is_one_alert_and_one_end_not_one_per_retry() {
    use Consequence::Restart;
    let mut alerts = Alerts::new(settings(Vec::new()));
    let mut story = Vec::new();
    for generation in 1..100 {
        story.extend([starting(generation), ended(generation, Restart)]);
    }
    story.extend([starting(100), recovered(100)]);
    assert_eq!(told(&mut alerts, &story), ["unit_restarted", "recovered"]);
    assert_eq!(alerts.open().count(), 0);
}

#[test]
fn it_gets_worse_once_and_the_start_limit_inhibits_failed() {
    use Consequence::{Fail, Restart, StartLimit};
    let cases: [(&[Happening], &[&str]); 9] = [
        (&[starting(1), unkillable(1), unkillable(1)], &["unit_unkillable"]),
        (&[unkillable(1), wanted(ended(1, Restart)), starting(2), recovered(2)], &["unit_unkillable", "recovered"]),
        (
            &[unhealthy(1), unkillable(1), ended(1, Restart), unkillable(2), ended(2, Fail)],
            &["unit_unhealthy", "unit_unkillable", "unit_failed"],
        ),
        (&[ended(1, Restart), ended(2, StartLimit), limit(), failed()], &["unit_restarted", "start_limit_hit"]),
        (&[ended(1, StartLimit), limit(), failed()], &["start_limit_hit"]),
        (&[ended(1, Fail), failed(), limit()], &["unit_failed"]),
        (&[unhealthy(1), ended(1, Restart), ended(2, Fail)], &["unit_unhealthy", "unit_failed"]),
        (&[ended(1, Restart), unhealthy(2), recovered(2)], &["unit_restarted", "recovered"]),
        (&[starting(1), failed()], &["unit_failed"]),
    ];
    for (story, expected) in cases {
        assert_eq!(told(&mut Alerts::new(settings(Vec::new())), story), expected, "{story:?}");
    }
}

#[test]
fn a_restart_that_was_announced_and_did_not_come_is_not_counted() {
    use Consequence::{Fail, Restart, StartLimit};
    let cases: [(&[Happening], u32); 6] = [
        (&[starting(1), ended(1, Restart), starting(2), ended(2, Restart), limit(), failed(), ended(2, StartLimit)], 1),
        (&[starting(1), ended(1, Restart), starting(2), ended(2, Restart), ended(2, StartLimit)], 1),
        (&[starting(1), ended(1, Restart), starting(2), ended(2, StartLimit), limit(), failed()], 1),
        (&[starting(1), ended(1, Restart), starting(2), ended(2, Restart), starting(3), ended(3, Fail), failed()], 2),
        (&[starting(1), ended(1, Restart), starting(2), ended(2, Restart), stopped()], 1),
        // Someone starts it again, and it comes to the same end.
        (&[ended(1, Restart), limit(), failed(), starting(2), ended(2, Restart), limit(), failed()], 0),
    ];
    for (story, expected) in cases {
        for replaced_before in 0..=story.len() {
            let mut alerts = Alerts::new(settings(Vec::new()));
            let mut restarts = None;
            for (second, what) in (0..).zip(story) {
                let at = now(second);
                // After the second start no row says whether the last end was one more announcement.
                if second == replaced_before as u64 && expected > 0 {
                    alerts = Alerts::restore(settings(Vec::new()), alerts.snapshot(), at);
                }
                alerts.handle(at, &Notice { at, what: what.clone() });
                while let Some(effect) = alerts.poll_effect() {
                    if let Effect::Save(incident) = effect {
                        restarts = Some(incident.restarts);
                    }
                }
            }
            assert_eq!(restarts, Some(expected), "{replaced_before}: {story:?}");
        }
    }
}

#[test]
fn what_was_wanted_alerts_nobody() {
    use Consequence::{Fail, Rest, Restart};
    let shutdown = Happening::ShuttingDown { actor: Actor::Daemon, machine: true };
    let reset =
        Happening::CountersReset { unit: unit(), actor: Actor::User(0), restarts: 1, starts: 1, was_failed: true };
    let cases: [(&[Happening], &[&str]); 7] = [
        (&[starting(1), wanted(ended(1, Rest)), stopped()], &[]),
        (&[starting(1), wanted(ended(1, Fail)), failed()], &[]),
        (&[starting(1), ended(1, Rest)], &[]),
        // Whoever was told that it fails is told that someone has ended that.
        (&[ended(1, Restart), wanted(ended(2, Rest)), stopped(), recovered(2)], &["unit_restarted", "recovered"]),
        (&[ended(1, Fail), reset, recovered(1)], &["unit_failed", "recovered"]),
        (&[wanted(ended(1, Rest)), stopped(), unkillable(1)], &[]),
        (&[starting(1), shutdown, ended(1, Fail)], &[]),
    ];
    for (story, expected) in cases {
        let mut alerts = Alerts::new(settings(Vec::new()));
        assert_eq!(told(&mut alerts, story), expected, "{story:?}");
        assert_eq!(alerts.open().count(), 0, "{story:?}");
    }
}

#[test]
fn an_incident_outlasts_a_shutdown_and_ends_with_a_word() {
    use Consequence::{Fail, Restart};
    let shutdown = Happening::ShuttingDown { actor: Actor::Daemon, machine: true };
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(told(&mut alerts, &[ended(1, Restart), shutdown, ended(2, Fail), recovered(2)]), ["unit_restarted"]);
    alerts.handle_timeout(now(1_000_000));
    assert_eq!(
        (messages(&mut alerts), alerts.next_deadline()),
        (Vec::new(), None),
        "nobody is reminded on the way down"
    );
    let mut next = Alerts::restore(settings(Vec::new()), alerts.snapshot(), now(100));
    assert_eq!(told(&mut next, &[starting(3), ended(3, Restart)]), [""; 0], "people know it");
    assert_eq!(told(&mut next, &[starting(4), recovered(4)]), ["recovered"]);
}

#[test]
fn what_a_machine_before_this_one_was_told_of_probes_is_known() {
    let fell = |probe: &str| Happening::Unhealthy {
        run: run(1),
        probe: probe.to_owned(),
        reason: format!("{probe} fails"),
        severity: Severity::Warning,
        remedy: Remedy::Restart,
    };
    let mut first = Alerts::new(settings(Vec::new()));
    told(&mut first, &[fell("one"), fell("two")]);
    let mut next = Alerts::restore(settings(Vec::new()), first.snapshot(), now(10));
    for what in [fell("one"), fell("two")] {
        next.recall(&Notice { at: now(10), what });
    }
    let text = |alerts: &Alerts| alerts.open().next().unwrap().text.clone();
    assert!(messages(&mut next).is_empty() && text(&next).contains("two fails"), "{}", text(&next));
    let at = now(11);
    next.handle(at, &Notice { at, what: Happening::Healthy { run: run(1), probe: "two".to_owned() } });
    assert!(text(&next).contains("one fails"), "{}", text(&next));
}

#[test]
fn a_wanted_restart_leaves_the_incident_open_until_it_is_well() {
    use Consequence::{Fail, Rest};
    let story = [ended(1, Fail), starting(2), wanted(ended(2, Rest)), starting(3), recovered(3)];
    assert_eq!(told(&mut Alerts::new(settings(Vec::new())), &story), ["unit_failed", "recovered"]);
}

#[test]
fn an_unexpected_clean_end_that_rests_closes_what_is_open() {
    use Consequence::{Rest, Restart};
    let story = [ended(1, Restart), ended(2, Rest)];
    assert_eq!(told(&mut Alerts::new(settings(Vec::new())), &story), ["unit_restarted", "recovered"]);
}

/// What people are told as these happen, with a reminder between each two.
fn texts(story: &[Happening]) -> Vec<String> {
    let hourly = Rule { event: Pattern::new("*"), repeat_interval: Some(TimeSpan::from_secs(3600)), ..Rule::default() };
    let mut alerts = Alerts::new(settings(vec![hourly]));
    let mut said = Vec::new();
    for (second, what) in (1..).zip(story) {
        let at = now(second * 10_000);
        alerts.handle(at, &Notice { at, what: what.clone() });
        alerts.handle_timeout(now(second * 10_000 + 9000));
        while let Some(effect) = alerts.poll_effect() {
            if let Effect::Send(message) = effect {
                said.push(message.message.rsplit("Z: ").next().unwrap().to_owned());
            }
        }
    }
    said
}

#[test]
fn reminders_and_the_end_say_what_happened_last() {
    use Consequence::{Fail, Restart, StartLimit};
    let probe = |name: &str, reason: &str| Happening::Unhealthy {
        run: run(1),
        probe: name.to_owned(),
        reason: reason.to_owned(),
        severity: Severity::Warning,
        remedy: Remedy::Nothing,
    };
    let said = texts(&[probe("live", "status 503"), probe("disk", "full"), recovered(1)]);
    let (live, disk) = ("web is unhealthy: probe live: status 503", "web is unhealthy: probe disk: full");
    assert_eq!(said, [live, live, disk, &format!("web is well again; last it was: {disk}")]);

    let rejected = |problems: &str| Happening::ConfigRejected { problems: problems.to_owned() };
    let said = texts(&[rejected("a.toml:1: no"), rejected("b.toml:2: no"), Happening::ConfigLoaded { units: 1 }]);
    assert!(said[0].ends_with("a.toml:1: no") && said[2].ends_with("b.toml:2: no"), "{said:?}");
    assert!(said[3].starts_with("the configuration is accepted again; last it was: "), "{said:?}");
    assert!(said[3].ends_with("b.toml:2: no"), "{said:?}");

    let said = texts(&[rejected("a.toml:1:1: error: no\n  help: yes\nb.toml:2:1: warning: hm")]);
    assert!(said[0].ends_with("a.toml:1:1: error: no, help: yes; b.toml:2:1: warning: hm"), "{said:?}");

    let killed = |mut what: Happening| {
        if let Happening::RunEnded { status, .. } = &mut what {
            *status = Some(ExitStatus::Exited(9));
        }
        what
    };
    let said = texts(&[ended(1, Restart), killed(ended(2, Restart))]);
    assert_eq!(said[2], "web ended (exit code 9), it is restarted");
    // That it has failed says less than how, and a restart less than that it had failed.
    let said = texts(&[killed(ended(1, Fail)), failed(), ended(2, Restart)]);
    assert!(said.iter().all(|text| text == "web ended (exit code 9), it is not restarted"), "{said:?}");
    let limited = Happening::UnitFailed { unit: unit(), result: RunResult::StartLimitHit };
    let said = texts(&[ended(1, StartLimit), limit(), limited]);
    assert_eq!(said.last().unwrap(), "web failed: more than 5 starts within 5min");
}

#[test]
fn what_a_probe_found_short_says_so_when_it_has_become_worse() {
    let short = |reason: &str| Happening::Degraded {
        run: run(1),
        probe: "live".to_owned(),
        severity: Severity::Warning,
        shortage: crate::base::Shortage::Service,
        reason: reason.to_owned(),
    };
    for severity in [Severity::Warning, Severity::Info] {
        let bad = Happening::Unhealthy {
            run: run(1),
            probe: "live".to_owned(),
            reason: "code 2".to_owned(),
            severity,
            remedy: Remedy::Nothing,
        };
        let healthy = Happening::Healthy { run: run(1), probe: "live".to_owned() };
        let said = texts(&[short("code 1"), bad, healthy]);
        let end = "probe live of web is healthy again; last it was: web is unhealthy: probe live: code 2";
        assert!(said.contains(&end.to_owned()), "{said:?}");
    }
    let healthy = Happening::Healthy { run: run(1), probe: "live".to_owned() };
    let said = texts(&[short("10 GiB"), short("5 GiB"), healthy]);
    assert!(said.last().unwrap().ends_with("is degraded: 5 GiB"), "{said:?}");
}

#[test]
fn what_a_probe_that_is_only_shown_finds_short_opens_nothing() {
    let short = |severity| Happening::Degraded {
        run: run(1),
        probe: "cert".to_owned(),
        shortage: crate::base::Shortage::Certificate,
        severity,
        reason: "3 days".to_owned(),
    };
    assert_eq!(texts(&[short(Severity::Info)]), [""; 0]);
    assert!(texts(&[short(Severity::Info), short(Severity::Warning)])[0].ends_with("is degraded: 3 days"));
}

#[test]
fn an_incident_after_the_loss_of_the_database_bears_no_id_of_one_before() {
    let said = |born| {
        let saved = Saved { born, ..Saved::default() };
        let mut alerts = Alerts::restore(settings(Vec::new()), saved, now(0));
        alerts.handle(now(1), &Notice { at: now(1), what: ended(1, Consequence::Fail) });
        assert_eq!(alerts.snapshot().born, born);
        let opened = alerts.open().next().unwrap().id.run();
        assert_eq!(opened, Some((Generation(1), 0)));
        messages(&mut alerts).remove(0)
    };
    assert_eq!(said(None), "unit_failed Firing vm1/web/1/0/unit_failed/ops", "of a database of old");
    assert_eq!(said(Some(0x1f)), "unit_failed Firing vm1/web/1f/1/0/unit_failed/ops");
    assert_ne!(said(Some(1)), said(Some(2)));
}

#[test]
fn a_replay_makes_the_same_ids_and_a_stale_end_changes_nothing() {
    use Consequence::Restart;
    let at = now(1);
    let mut first = Alerts::new(settings(Vec::new()));
    first.handle(at, &Notice { at, what: ended(7, Restart) });
    let saved_before = Alerts::new(settings(Vec::new())).snapshot();
    let said = messages(&mut first);
    assert_eq!(said, ["unit_restarted Firing vm1/web/7/0/unit_restarted/ops"]);

    // The crash came before the commit: the same fact makes the same message.
    let mut again = Alerts::restore(settings(Vec::new()), saved_before, now(50));
    again.handle(now(60), &Notice { at: now(60), what: ended(7, Restart) });
    assert_eq!(messages(&mut again), said);

    // The crash came after the commit: nothing.
    first.handle(now(2), &Notice { at: now(2), what: recovered(8) });
    let mut late = Alerts::restore(settings(Vec::new()), first.snapshot(), now(70));
    late.handle(now(71), &Notice { at: now(71), what: ended(7, Restart) });
    assert_eq!(messages(&mut late), [""; 0]);
    assert_eq!(late.open().count(), 0);
}

#[test]
fn an_end_that_is_told_again_as_final_is_told_and_opens_nothing() {
    use Consequence::{Restart, StartLimit};
    let cases: [(&[Happening], &[&str]); 3] = [
        (&[ended(1, Restart), ended(1, StartLimit), ended(1, StartLimit)], &["unit_restarted", "start_limit_hit"]),
        (&[ended(1, Restart), limit(), failed(), ended(1, StartLimit)], &["unit_restarted", "start_limit_hit"]),
        (&[ended(1, Restart), recovered(2), ended(1, StartLimit)], &["unit_restarted", "recovered"]),
    ];
    for (story, expected) in cases {
        assert_eq!(told(&mut Alerts::new(settings(Vec::new())), story), expected, "{story:?}");
    }
}

#[test]
fn what_is_over_and_was_not_written_down_is_closed_once_it_is_known() {
    for (how, said) in [(Closing::Recovered, vec!["recovered"]), (Closing::Shutdown, Vec::new())] {
        let (_, saved) = known();
        let mut later = Alerts::restore(settings(Vec::new()), saved, now(3));
        later.settle(now(3), |_| None);
        assert_eq!(later.open().count(), 1);
        later.settle(now(3), |_| Some(how));
        let events = messages(&mut later);
        assert_eq!(events.iter().map(|said| said.split(' ').next().unwrap()).collect::<Vec<_>>(), said);
        // The next outage is a new one.
        assert_eq!(told(&mut later, &[starting(2), ended(2, Consequence::Restart)]), ["unit_restarted"]);
    }
}

#[test]
fn a_second_incident_of_the_same_run_has_its_own_id() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    for (second, what) in (1..).zip([unhealthy(1), recovered(1), unhealthy(1)]) {
        alerts.handle(now(second), &Notice { at: now(second), what });
    }
    let said = messages(&mut alerts);
    assert_eq!(said[0], "unit_unhealthy Firing vm1/web/1/0/unit_unhealthy/ops");
    assert_eq!(said[2], "unit_unhealthy Firing vm1/web/1/1/unit_unhealthy/ops");
}

#[test]
fn people_are_reminded_while_it_lasts_and_a_restart_of_us_keeps_the_rhythm() {
    let hourly = Rule { event: Pattern::new("*"), repeat_interval: Some(TimeSpan::from_secs(3600)), ..Rule::default() };
    let mut alerts = Alerts::new(settings(vec![hourly.clone()]));
    alerts.handle(now(0), &Notice { at: now(0), what: ended(1, Consequence::Fail) });
    messages(&mut alerts);
    assert_eq!(alerts.next_deadline(), Some(now(3600).mono));
    alerts.handle_timeout(now(3599));
    assert_eq!(messages(&mut alerts), [""; 0]);
    alerts.handle_timeout(now(3600));
    assert_eq!(messages(&mut alerts), ["unit_failed Firing vm1/web/1/0/unit_failed/ops/reminder-1"]);

    let restored = Alerts::restore(settings(vec![hourly]), alerts.snapshot(), now(5000));
    assert_eq!(restored.next_deadline(), Some(now(7200).mono));
    let mut off = restored;
    let never = Rule { event: Pattern::new("unit_failed"), repeat_interval: Some(TimeSpan::ZERO), ..Rule::default() };
    off.configure(now(5001), settings(vec![never]));
    assert_eq!(off.next_deadline(), None);
}

#[test]
fn the_end_is_told_to_those_who_heard_of_the_beginning() {
    let only = |event: &str, name: &str| Rule {
        event: Pattern::new(event),
        routes: Some(vec![RouteName::new(name).unwrap()]),
        ..Rule::default()
    };
    let both = Settings {
        routes: vec![route("ops"), route("pager"), route("dev")],
        ..settings(vec![only("unit_restarted", "ops"), only("unit_failed", "pager")])
    };
    let mut alerts = Alerts::new(both);
    for what in [ended(1, Consequence::Restart), ended(2, Consequence::Fail), recovered(3)] {
        alerts.handle(now(1), &Notice { at: now(1), what });
    }
    let said = messages(&mut alerts);
    let ids: Vec<_> = said.iter().map(|line| line.rsplit('/').next().unwrap()).collect();
    assert_eq!(ids, ["ops", "pager", "ops", "pager"]);
}

#[test]
fn node_alerts_open_and_close_too() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    let story = [
        Happening::ConfigRejected { problems: "web.toml:1: no".to_owned() },
        Happening::ConfigRejected { problems: "web.toml:2: no".to_owned() },
        Happening::ConfigLoaded { units: 1 },
        Happening::StoreDegraded { reason: "disk full".to_owned() },
        Happening::StoreReplaced { kept: "x".to_owned() },
        Happening::StoreRecovered,
    ];
    let expected = ["config_rejected", "recovered", "store_degraded", "store_replaced", "recovered"];
    assert_eq!(told(&mut alerts, &story), expected);
}

#[test]
fn the_incident_of_a_removed_unit_is_over() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    alerts.handle(now(1), &Notice { at: now(1), what: ended(1, Consequence::Fail) });
    alerts.handle(now(1), &Notice { at: now(1), what: Happening::StoreDegraded { reason: "full".to_owned() } });
    messages(&mut alerts);
    alerts.keep_units(now(2), |unit, _| unit.as_str() == "web");
    assert_eq!(alerts.open().count(), 2);
    alerts.keep_units(now(2), |unit, _| unit.as_str() == "db");
    assert_eq!(alerts.open().map(|incident| incident.subject.clone()).collect::<Vec<_>>(), [Subject::Store]);
    assert_eq!(messages(&mut alerts), ["recovered Resolved vm1/web/1/0/recovered/ops"]);
}

#[test]
fn marks_are_bounded_and_an_open_incident_keeps_its_own() {
    let mut alerts = Alerts::new(settings(Vec::new()));
    alerts.handle(now(1), &Notice { at: now(1), what: ended(1, Consequence::Fail) });
    for n in 0..=MARKS_MAX {
        let run = RunId { unit: UnitName::new(&format!("job@{n}")).unwrap(), generation: Generation(1) };
        alerts.saw(&run);
    }
    assert!(alerts.marks.len() <= MARKS_MAX);
    assert!(alerts.marks.contains_key(&unit()));
}

/// What a story does next to one of two units.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    End(Consequence, bool),
    Sick,
    Stuck,
    Well,
    Limit,
    Failed,
    Stop,
    Reset,
}

fn any_step() -> impl Strategy<Value = (usize, Step, u8)> {
    let consequence = prop_oneof![
        4 => Just(Consequence::Restart),
        1 => Just(Consequence::Rest),
        1 => Just(Consequence::Fail),
        1 => Just(Consequence::StartLimit),
    ];
    let step = prop_oneof![
        3 => Just(Step::Begin),
        4 => (consequence, prop::bool::weighted(0.2)).prop_map(|(then, wanted)| Step::End(then, wanted)),
        2 => Just(Step::Sick),
        1 => Just(Step::Stuck),
        2 => Just(Step::Well),
        1 => Just(Step::Limit),
        1 => Just(Step::Failed),
        1 => Just(Step::Stop),
        1 => Just(Step::Reset),
    ];
    // The number says whether the manager dies: 0 before the commit of this step, 1 after it.
    (0..2_usize, step, 0..6_u8)
}

/// The happening of a step; a unit has one run at a time, and each run ends once.
fn happening_of(unit: &UnitName, step: Step, newest: &mut u64, alive: &mut bool) -> Option<Happening> {
    let of = |mut what: Happening, generation: u64| {
        let id = RunId { unit: unit.clone(), generation: Generation(generation) };
        if let Happening::RunStarting { run, .. }
        | Happening::RunEnded { run, .. }
        | Happening::Unhealthy { run, .. }
        | Happening::Unkillable { run }
        | Happening::Recovered { run } = &mut what
        {
            *run = id;
        } else if let Happening::StartLimitHit { unit: of, .. }
        | Happening::UnitFailed { unit: of, .. }
        | Happening::UnitStopped { unit: of, .. } = &mut what
        {
            *of = unit.clone();
        }
        Some(what)
    };
    match step {
        Step::Begin if !*alive => {
            (*newest, *alive) = (*newest + 1, true);
            of(starting(0), *newest)
        }
        Step::End(then, is_wanted) if *alive => {
            *alive = false;
            of(if is_wanted { wanted(ended(0, then)) } else { ended(0, then) }, *newest)
        }
        Step::Sick if *alive => of(unhealthy(0), *newest),
        Step::Stuck if *alive => of(unkillable(0), *newest),
        Step::Well if *alive => of(recovered(0), *newest),
        Step::Limit if !*alive => of(limit(), 0),
        Step::Failed if !*alive => of(failed(), 0),
        Step::Stop if !*alive => of(stopped(), 0),
        Step::Reset => Some(Happening::CountersReset {
            unit: unit.clone(),
            actor: Actor::Daemon,
            restarts: 0,
            starts: 0,
            was_failed: !*alive,
        }),
        Step::Begin
        | Step::End(..)
        | Step::Sick
        | Step::Stuck
        | Step::Well
        | Step::Limit
        | Step::Failed
        | Step::Stop => None,
    }
}

fn ids(alerts: &mut Alerts) -> Vec<String> {
    messages(alerts).iter().map(|said| said.rsplit(' ').next().unwrap().to_owned()).collect()
}

proptest! {
    #[test]
    fn deaths_at_any_moment_neither_lose_nor_add_a_message(steps in prop::collection::vec(any_step(), 1..60)) {
        let units = [unit(), UnitName::new("db").unwrap()];
        let mut state = [(0, false); 2];
        let mut steady = Alerts::new(settings(Vec::new()));
        let mut dying = Alerts::new(settings(Vec::new()));
        let (mut expected, mut kept) = (Vec::new(), BTreeSet::new());
        for (second, (which, step, fate)) in (1..).zip(steps) {
            let (newest, alive) = &mut state[which];
            let Some(what) = happening_of(&units[which], step, newest, alive) else { continue };
            let at = now(second);
            let notice = Notice { at, what };
            steady.handle(at, &notice);
            expected.extend(ids(&mut steady));

            let committed = dying.snapshot();
            dying.handle(at, &notice);
            let said = ids(&mut dying);
            if fate == 0 {
                dying = Alerts::restore(settings(Vec::new()), committed, at);
                dying.handle(at, &notice);
                prop_assert_eq!(&ids(&mut dying), &said);
            }
            kept.extend(said);
            if fate == 1 && notice.what.event() == "run_ended" {
                // Only ends are told again by the keeper.
                dying = Alerts::restore(settings(Vec::new()), dying.snapshot(), at);
                dying.handle(at, &notice);
                prop_assert_eq!(ids(&mut dying), Vec::<String>::new());
            }
        }
        let texts = |alerts: &Alerts| -> Vec<_> { alerts.open().map(|incident| incident.text.clone()).collect() };
        prop_assert_eq!(texts(&steady), texts(&dying), "what is said is the same, whoever died");
        let unique: BTreeSet<_> = expected.iter().cloned().collect();
        prop_assert_eq!(unique.len(), expected.len(), "an id came twice: {:?}", expected);
        prop_assert_eq!(unique, kept);
        // One opening, at most one word at each step by which it got worse, at most one end.
        for incident in expected.iter().map(|id| id.split('/').take(4).collect::<Vec<_>>().join("/")) {
            let of = |event: &str| expected.iter().filter(|id| **id == format!("{incident}/{event}/ops")).count();
            let (restarted, unhealthy) = (of("unit_restarted"), of("unit_unhealthy"));
            let (stuck, last) = (of("unit_unkillable"), of("unit_failed") + of("start_limit_hit"));
            let each_once = restarted <= 1 && unhealthy <= 1 && stuck <= 1 && last <= 1;
            prop_assert!(each_once && restarted + unhealthy + stuck + last >= 1 && of("recovered") <= 1, "{incident}");
        }
    }
}

/// A machine that knows of an incident of run 1, and what it would keep.
fn known() -> (Alerts, Saved) {
    let mut alerts = Alerts::new(settings(Vec::new()));
    assert_eq!(told(&mut alerts, &[starting(1), ended(1, Consequence::Restart)]), ["unit_restarted"]);
    let saved = alerts.snapshot();
    (alerts, saved)
}

#[test]
fn what_is_learnt_before_anything_is_heard_is_as_if_it_had_been_known() {
    let (mut knew, saved) = known();
    let mut learnt = Alerts::new(settings(Vec::new()));
    learnt.learn(now(2), saved, |_| None);
    let story = [starting(2), ended(2, Consequence::Restart), starting(3), recovered(3)];
    assert_eq!(told(&mut learnt, &story), told(&mut knew, &story));
    assert_eq!(learnt.snapshot(), knew.snapshot());
}

#[test]
fn an_incident_that_was_told_a_second_time_is_over_once() {
    let (_, saved) = known();
    let mut blind = Alerts::new(settings(Vec::new()));
    assert_eq!(told(&mut blind, &[starting(2), ended(2, Consequence::Restart)]), ["unit_restarted"]);
    blind.learn(now(3), saved.clone(), |_| None);
    let effects: Vec<Effect> = std::iter::from_fn(|| blind.poll_effect()).collect();
    let joined = saved.open[0].clone();
    let closed = Some(Closed { at: now(3).wall, how: Closing::Joined });
    assert_eq!(effects.last(), Some(&Effect::Save(Box::new(Incident { closed, ..joined }))));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send(_))), "nobody is told of it: {effects:?}");
    let restarts: Vec<u32> = blind.open().map(|incident| incident.restarts).collect();
    assert_eq!(restarts, [2]);
    assert_eq!(told(&mut blind, &[starting(3), recovered(3)]), ["recovered"]);
    // Its own row comes back when it is learnt again.
    let mut again = Alerts::new(settings(Vec::new()));
    assert_eq!(told(&mut again, &[starting(2), ended(2, Consequence::Restart)]), ["unit_restarted"]);
    again.learn(now(3), again.snapshot(), |_| None);
    assert_eq!((messages(&mut again), again.open().count()), (Vec::new(), 1));
}

#[test]
fn an_incident_that_was_over_before_it_was_learnt_is_closed_as_it_ended() {
    for (how, said) in [(Closing::Recovered, vec!["recovered"]), (Closing::Shutdown, Vec::new())] {
        let (_, saved) = known();
        let mut blind = Alerts::new(settings(Vec::new()));
        assert_eq!(told(&mut blind, &[starting(2), recovered(2)]), [""; 0]);
        blind.learn(now(3), saved, |_| Some(how));
        let events = messages(&mut blind);
        assert_eq!(events.iter().map(|said| said.split(' ').next().unwrap()).collect::<Vec<_>>(), said);
        assert_eq!(blind.open().count(), 0);
    }
}
