//! Probes, verdicts, and when an outage is over.

use super::super::{Input, input::Verb};
use super::{
    desk::Desk,
    make::{command, eager, name, notifying, probe, with},
};
use crate::{
    base::{Severity, Signal, Ticket, TimeSpan},
    unit::{
        UnitDef,
        spec::{OnUnhealthy, ProbeSpec, ServiceKind},
    },
};

fn probed(on_unhealthy: OnUnhealthy) -> UnitDef {
    let mut def = eager("web");
    def.health = [probe("live", on_unhealthy)].into();
    def
}

/// Lets the probe run once and fail or not.
fn turn(desk: &mut Desk, run: &str, failure: Option<&str>) -> Vec<String> {
    let said = desk.pass(10.0);
    assert_eq!(said, [format!("probe {run} live")]);
    desk.probed(run, 0, failure)
}

#[test]
fn a_verdict_falls_after_a_row_of_failures_and_rises_after_a_row_of_good_answers() {
    let mut desk = Desk::new([probed(OnUnhealthy::Alert)]);
    desk.up("web");
    assert_eq!(turn(&mut desk, "web/1", None), ["Healthy web/1 live"]);
    for failure in [Some("x"), Some("x"), None, Some("x"), Some("x")] {
        assert_eq!(turn(&mut desk, "web/1", failure), Vec::<String>::new());
    }
    assert_eq!(turn(&mut desk, "web/1", Some("refused")), ["Unhealthy web/1 live: refused (nothing)"]);
    assert_eq!(turn(&mut desk, "web/1", Some("refused")), Vec::<String>::new(), "said once");
    assert_eq!(turn(&mut desk, "web/1", None), Vec::<String>::new());
    assert_eq!(turn(&mut desk, "web/1", None), ["Healthy web/1 live"]);
    assert!(desk.pass(10.0).contains(&"Recovered web/1".to_owned()));
    let health = &desk.status("web").health[0];
    assert_eq!((health.verdict.as_str(), health.last_failure.as_deref()), ("healthy", Some("refused")));
}

#[test]
fn an_unhealthy_service_is_restarted_and_the_restart_is_counted() {
    let mut desk = Desk::new([probed(OnUnhealthy::Restart)]);
    desk.up("web");
    turn(&mut desk, "web/1", Some("x"));
    turn(&mut desk, "web/1", Some("x"));
    let said = turn(&mut desk, "web/1", Some("x"));
    assert_eq!(said, ["kill-tree web/1 SIGTERM", "Unhealthy web/1 live: x (restart)"]);
    let said = desk.killed("web/1", Signal::TERM);
    let end = "RunEnded web/1 success (killed by SIGTERM) restart";
    assert_eq!(said, ["spawn web/2 exec_start", end, "RunStarting web/2 Unhealthy { probe: \"live\" } 1"]);
    desk.up("web");
    assert_eq!(desk.pass(5.0), ["probe web/2 live"], "no Recovered before its probes are good");
    assert_eq!(desk.pass(10.0), Vec::<String>::new(), "up for long enough, and still not");
    assert_eq!(desk.probed("web/2", 0, None), ["Healthy web/2 live", "Recovered web/2"]);
}

#[test]
fn a_probe_that_could_not_be_asked_is_no_answer() {
    let mut desk = Desk::new([probed(OnUnhealthy::Restart)]);
    desk.up("web");
    turn(&mut desk, "web/1", Some("x"));
    turn(&mut desk, "web/1", Some("x"));
    for _ in 0..10 {
        assert_eq!(desk.pass(10.0), ["probe web/1 live"]);
        assert_eq!(desk.unasked("web/1", 0, "clone"), Vec::<String>::new());
    }
    let health = &desk.status("web").health[0];
    assert_eq!((health.verdict.as_str(), health.last_failure.as_deref()), ("unknown", Some("clone")));
    let said = turn(&mut desk, "web/1", Some("x"));
    assert_eq!(said, ["kill-tree web/1 SIGTERM", "Unhealthy web/1 live: x (restart)"], "the row goes on where it was");
}

#[test]
fn a_restart_for_health_happens_even_with_restart_no() {
    let mut def = probed(OnUnhealthy::Restart);
    def.service.restart.when = crate::unit::spec::Restart::No;
    let mut desk = Desk::new([def]);
    desk.up("web");
    for _ in 0..3 {
        turn(&mut desk, "web/1", Some("x"));
    }
    assert_eq!(desk.killed("web/1", Signal::TERM)[0], "spawn web/2 exec_start");
}

#[test]
fn an_unhealthy_service_may_be_asked_to_reload() {
    let mut def = probed(OnUnhealthy::Reload);
    def.service.exec_reload = [command("reload")].into();
    let mut desk = Desk::new([def]);
    desk.up("web");
    turn(&mut desk, "web/1", Some("x"));
    turn(&mut desk, "web/1", Some("x"));
    assert_eq!(turn(&mut desk, "web/1", Some("x"))[0], "spawn web/1.1 exec_reload MAINPID=1010");
    assert_eq!(desk.left("web/1.1", 0), ["Reloaded web/1 health probe"]);
}

#[test]
fn what_is_said_of_a_fallen_probe_says_what_is_done() {
    let reloads = |def: &mut UnitDef| def.service.exec_reload = [command("reload")].into();
    let cases: [(OnUnhealthy, bool, &str); 5] = [
        (OnUnhealthy::Restart, false, "restart"),
        (OnUnhealthy::Reload, true, "reload"),
        // It has no way to.
        (OnUnhealthy::Reload, false, "nothing"),
        (OnUnhealthy::Alert, true, "nothing"),
        (OnUnhealthy::None, true, "nothing"),
    ];
    for (wish, can_reload, done) in cases {
        let mut def = probed(wish);
        if can_reload {
            reloads(&mut def);
        }
        let mut desk = Desk::new([def]);
        desk.up("web");
        turn(&mut desk, "web/1", Some("x"));
        turn(&mut desk, "web/1", Some("x"));
        let said = turn(&mut desk, "web/1", Some("x"));
        assert!(said.contains(&format!("Unhealthy web/1 live: x ({done})")), "{wish:?}: {said:?}");
        let is_done = said.iter().any(|line| line.starts_with("kill-tree") || line.contains("exec_reload"));
        assert_eq!(is_done, done != "nothing", "{wish:?}: {said:?}");
    }
}

#[test]
fn one_probe_is_under_way_at_a_time_and_answers_of_old_runs_are_nothing() {
    let mut desk = Desk::new([probed(OnUnhealthy::Restart)]);
    desk.up("web");
    assert_eq!(desk.pass(35.0), ["probe web/1 live"], "it has not come back");
    assert_eq!(desk.exited("web/1", 1)[0], "cancel-probes web/1");
    desk.up("web");
    for _ in 0..5 {
        assert_eq!(desk.probed("web/1", 0, Some("late")), Vec::<String>::new());
        assert_eq!(desk.probed("web/2", 0, Some("not asked")), Vec::<String>::new());
    }
    assert_eq!(desk.sub("web"), "running");
}

#[test]
fn probes_keep_their_rate_after_a_pause_of_the_machine() {
    let mut desk = Desk::new([probed(OnUnhealthy::Alert)]);
    desk.up("web");
    desk.pass(2.0);
    desk.probed("web/1", 0, None);
    // Nobody called for an hour: one probe, not 360.
    desk.now.mono.0 += 3_600_000_000_000;
    assert_eq!(desk.pass(0.0), ["probe web/1 live"]);
    desk.probed("web/1", 0, None);
    let turns = desk.pass(10.0);
    assert_eq!(turns, ["probe web/1 live"]);
}

#[test]
fn a_thousand_units_are_not_probed_in_one_instant() {
    let defs = (0..1000).map(|n| {
        let mut def = probed(OnUnhealthy::Alert);
        def.name = name(&format!("u{n}"));
        def
    });
    let mut desk = Desk::new(defs);
    for n in 0..1000 {
        let key = super::desk::key(&format!("u{n}/1"));
        let pid = super::desk::pid_of(&key);
        desk.node.handle(desk.now, Input::Spawned { key, pid });
    }
    while desk.node.poll_effect().is_some() {}
    let mut most = 0;
    for _ in 0..200 {
        most = most.max(desk.pass(0.01).len());
    }
    assert!((5..=30).contains(&most), "{most} probes in 10 ms of 2 s");
}

#[test]
fn a_check_on_demand_answers_with_every_probe() {
    let mut def = probed(OnUnhealthy::Alert);
    def.health = [def.health[0].clone(), probe("deep", OnUnhealthy::None)].into();
    let job = with("job", |def| def.service.kind = ServiceKind::Oneshot);
    let mut desk = Desk::new([def, job, eager("bare"), with("off", |def| def.enabled = false)]);
    desk.up("web");
    desk.up("bare");
    desk.up("job");
    desk.exited("job/1", 0);
    let units = ["web", "job", "bare", "off", "ghost"].map(name).to_vec();
    let said = desk.give(Input::ProbeNow { ticket: Ticket(99), units });
    assert_eq!(said, ["probe web/1 live", "probe web/1 deep"]);
    assert_eq!(desk.probed("web/1", 0, None), ["Healthy web/1 live"]);
    let said = desk.probed("web/1", 1, Some("no"));
    assert_eq!(said.len(), 1);
    let expected = "reply web=Checked([ProbeReport { name: \"live\", finding: Good, took: 3ms, verdict: Healthy, is_early: false }, \
                    ProbeReport { name: \"deep\", finding: Bad(\"no\"), took: 3ms, verdict: Unknown, is_early: false }]) \
                    job=Checked([]) bare=Checked([]) off=Failed(NotRunning) ghost=Failed(UnknownUnit { similar: None })";
    assert_eq!(said[0], expected);
    let units = vec![name("web")];
    desk.give(Input::ProbeNow { ticket: Ticket(100), units });
    let said = desk.order(Verb::Stop, &["web"]);
    assert_eq!(said.last().unwrap(), "reply web=Failed(NotRunning)", "who goes down answers that");
}

#[test]
fn a_bad_answer_before_the_unit_is_there_is_early_until_the_grace_is_over() {
    let mut def = probed(OnUnhealthy::Restart);
    let grace = ProbeSpec { startup_grace: TimeSpan::from_secs(8), ..def.health[0].clone() };
    def.health = [grace].into();
    let mut desk = Desk::new([def]);
    desk.up("web");
    let mut ask = |pause: f64, failure: Option<&str>| {
        desk.pass(pause);
        desk.give(Input::ProbeNow { ticket: Ticket(99), units: vec![name("web")] });
        desk.probed("web/1", 0, failure).join("\n").contains("is_early: true")
    };
    assert!(ask(1.5, Some("503")), "it is not there yet");
    assert!(!ask(7.0, Some("503")), "the grace is over");
    assert!(!ask(0.1, None));
    assert!(!ask(0.1, Some("503")), "it had been there");
}

#[test]
fn the_row_of_restarts_goes_on_while_a_probe_is_not_good() {
    let mut def = probed(OnUnhealthy::Alert);
    def.service.restart.reset_after = Some(TimeSpan::from_secs(60));
    let mut desk = Desk::new([def]);
    desk.up("web");
    desk.exited("web/1", 1);
    desk.up("web");
    for _ in 0..10 {
        turn(&mut desk, "web/2", Some("x"));
    }
    assert_eq!(desk.status("web").restarts, 1);
    for failure in [None, None, None, None, Some("x"), Some("x"), Some("x"), Some("x"), Some("x")] {
        turn(&mut desk, "web/2", failure);
    }
    assert_eq!(desk.status("web").restarts, 1, "it was well for less than a minute");
    for _ in 0..9 {
        desk.pass(10.0);
        desk.probed("web/2", 0, None);
    }
    assert_eq!(desk.status("web").restarts, 0);
}

#[test]
fn a_service_that_says_when_it_is_ready_has_recovered_once_it_stays_so() {
    let mut def = notifying("web");
    def.service.restart.when = crate::unit::spec::Restart::Always;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.exited("web/1", 1);
    desk.spawned("web/2");
    assert_eq!(desk.pass(20.0), Vec::<String>::new(), "it is not up");
    assert_eq!(desk.notify("web/2", |m| m.ready = true), ["RunReady web/2"]);
    assert_eq!(desk.pass(9.9), Vec::<String>::new());
    assert!(!desk.node.is_settled(desk.now, &name("web")));
    assert_eq!(desk.pass(0.1), ["Recovered web/2"]);
    assert!(desk.node.is_settled(desk.now, &name("web")));
}

/// How long a unit has to be up to be well again, after so many restarts in a row.
fn settles_after(restarts: u32, set: impl FnOnce(&mut UnitDef)) -> f64 {
    let mut def = eager("web");
    set(&mut def);
    let mut desk = Desk::new([def]);
    for generation in 1..=restarts {
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 1);
        if let Some(due) = desk.status("web").restart_due {
            desk.pass(due.since(desk.now.mono).as_secs_f64());
        }
    }
    desk.up("web");
    let begun = desk.now.mono;
    for _ in 0..4000 {
        if desk.pass(0.1).contains(&format!("Recovered web/{}", restarts + 1)) {
            return desk.now.mono.since(begun).as_secs_f64();
        }
    }
    f64::INFINITY
}

#[test]
fn the_end_of_an_outage_waits_for_two_delays_of_a_restart_and_not_for_ever() {
    let secs = TimeSpan::from_secs;
    let growing = |def: &mut UnitDef| {
        let restart = &mut def.service.restart;
        (restart.delay, restart.steps, restart.delay_max) = (secs(1), 2, secs(60));
    };
    let own = |span: TimeSpan| move |def: &mut UnitDef| def.service.restart.reset_after = Some(span);
    let delay = |span: TimeSpan| move |def: &mut UnitDef| def.service.restart.delay = span;
    let took = [
        settles_after(1, delay(TimeSpan::from_millis(100))),
        settles_after(1, delay(secs(20))),
        settles_after(1, growing),
        settles_after(3, growing),
        settles_after(1, delay(secs(3600))),
        settles_after(1, own(secs(2))),
        settles_after(1, own(secs(3600))),
    ];
    let expected = [10.0, 40.0, 10.0, 120.0, 300.0, 2.0, 300.0];
    for (took, expected) in took.iter().zip(expected) {
        assert!((took - expected).abs() < 0.2, "{took} for {expected}");
    }
}

#[test]
fn a_service_that_lives_two_seconds_each_time_is_one_outage() {
    let mut desk = Desk::new([eager("web")]);
    let mut said = Vec::new();
    for generation in 1..50 {
        desk.up("web");
        said.extend(desk.pass(2.0));
        said.extend(desk.exited(&format!("web/{generation}"), 1));
    }
    assert!(!said.iter().any(|line| line.starts_with("Recovered")), "{said:?}");
    desk.up("web");
    assert_eq!(desk.pass(1000.0), ["Recovered web/50"]);
}

#[test]
fn what_is_healthy_before_its_time_is_over_has_recovered_if_it_still_is_then() {
    for falls in [false, true] {
        let mut desk = Desk::new([probed(OnUnhealthy::Alert)]);
        desk.up("web");
        desk.exited("web/1", 1);
        desk.up("web");
        assert_eq!(desk.pass(2.0), ["probe web/2 live"]);
        assert_eq!(desk.probed("web/2", 0, None), ["Healthy web/2 live"], "not long enough");
        if falls {
            for failure in ["x", "x", "x"] {
                desk.give(Input::ProbeNow { ticket: Ticket(1), units: vec![name("web")] });
                desk.probed("web/2", 0, Some(failure));
            }
        }
        let is_over = desk.pass(8.0).contains(&"Recovered web/2".to_owned());
        assert_eq!(is_over, !falls);
    }
}

#[test]
fn a_start_waits_until_those_that_it_is_after_are_well() {
    let mut web = eager("web");
    let db = name("db");
    web.relations.requires = [db.clone()].into();
    web.relations.after = [db.clone()].into();
    web.relations.after_healthy = [db].into();
    let mut db = eager("db");
    db.health = [probe("live", OnUnhealthy::Alert)].into();
    let mut desk = Desk::new([web, db]);
    let said = desk.up("db");
    assert!(!said.iter().any(|line| line.starts_with("spawn web")), "{said:?}");
    assert_eq!(desk.pass(10.0), ["probe db/1 live"]);
    assert_eq!(desk.probed("db/1", 0, Some("not yet")), Vec::<String>::new(), "it waits");
    assert_eq!(desk.pass(10.0), ["probe db/1 live"]);
    let said = desk.probed("db/1", 0, None);
    assert!(said.iter().any(|line| line.starts_with("spawn web/1 ")), "{said:?}");
    desk.up("web");
    // An automatic restart waits for nobody.
    for _ in 0..3 {
        desk.pass(10.0);
        desk.probed("db/1", 0, Some("refused"));
    }
    assert_eq!(desk.exited("web/1", 1)[0], "spawn web/2 exec_start");
}

#[test]
fn a_probe_that_is_changed_holds_at_once_and_one_that_is_as_it_was_keeps_what_is_known() {
    let mut def = probed(OnUnhealthy::Alert);
    def.health = [probe("live", OnUnhealthy::Alert), probe("deep", OnUnhealthy::Alert)].into();
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    for _ in 0..3 {
        desk.pass(10.0);
        desk.probed("web/1", 0, None);
        desk.probed("web/1", 1, Some("refused"));
    }
    desk.pass(10.0);
    let verdicts =
        |desk: &Desk| desk.status("web").health.iter().map(|probe| probe.verdict.as_str()).collect::<Vec<_>>();
    assert_eq!(verdicts(&desk), ["healthy", "unhealthy"]);
    let mut slower = probe("deep", OnUnhealthy::Alert);
    slower.timeout = TimeSpan::from_secs(3);
    def.health = [probe("live", OnUnhealthy::Alert), slower].into();
    let said = desk.set([def.clone()]);
    assert!(
        said.contains(&"cancel-probes web/1".to_owned()),
        "what was asked of the former probes is of no use: {said:?}"
    );
    assert_eq!(verdicts(&desk), ["healthy", "unknown"]);
    assert!(!desk.status("web").needs_restart, "nothing is left that needs a restart");
    assert_eq!(desk.probed("web/1", 1, Some("an old answer")), Vec::<String>::new());
    def.health = [probe("live", OnUnhealthy::Alert)].into();
    assert_eq!(desk.set([def.clone()]).iter().filter(|said| said.starts_with("Recovered")).count(), 1);
    assert_eq!(verdicts(&desk), ["healthy"]);
    def.service.kill.send_sigkill = false;
    desk.set([def]);
    assert!(desk.status("web").needs_restart);
}

#[test]
fn a_probe_that_is_only_shown_keeps_no_outage_open_and_begins_none() {
    // Where nobody is told, it is no matter that people would be.
    [OnUnhealthy::None, OnUnhealthy::Alert].into_iter().for_each(shown_only);
}

fn shown_only(on_unhealthy: OnUnhealthy) {
    let mut shown = probe("shown", on_unhealthy);
    shown.severity = Severity::Info;
    let mut def = probed(OnUnhealthy::Alert);
    def.health = [probe("live", OnUnhealthy::Alert), shown].into();
    let mut desk = Desk::new([def]);
    desk.up("web");
    let turn = |desk: &mut Desk, live: Option<&str>| {
        desk.pass(10.0);
        let mut said = desk.probed("web/1", 0, live);
        said.extend(desk.probed("web/1", 1, Some("never well")));
        said
    };
    turn(&mut desk, None);
    turn(&mut desk, None);
    assert_eq!(turn(&mut desk, None), ["Unhealthy web/1 shown: never well (nothing)"]);
    (0..3).for_each(|_| drop(turn(&mut desk, Some("refused"))));
    turn(&mut desk, None);
    assert_eq!(turn(&mut desk, None), ["Healthy web/1 live"]);
    assert!(desk.pass(10.0).contains(&"Recovered web/1".to_owned()));
}

#[test]
fn a_probe_that_is_good_and_bad_by_turns_is_one_outage_until_it_has_been_good_for_as_long_as_a_unit_has_to_be_up() {
    let mut desk = Desk::new([probed(OnUnhealthy::Alert)]);
    desk.up("web");
    desk.pass(60.0);
    let mut said = desk.probed("web/1", 0, None);
    let answer = |desk: &mut Desk, failure: Option<&str>| {
        desk.give(Input::ProbeNow { ticket: Ticket(1), units: vec![name("web")] });
        desk.probed("web/1", 0, failure);
    };
    for _ in 0..20 {
        (0..3).for_each(|_| answer(&mut desk, Some("x")));
        (0..2).for_each(|_| answer(&mut desk, None));
        assert_eq!(desk.status("web").health[0].verdict.as_str(), "healthy");
        said.extend(desk.pass(3.0));
    }
    assert!(!said.iter().any(|line| line.starts_with("Recovered")), "{said:?}");
    assert!(desk.pass(7.1).contains(&"Recovered web/1".to_owned()), "good for ten seconds");
}
