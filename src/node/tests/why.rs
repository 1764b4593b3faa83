//! Why a run ended, and what a start waits for, as people are told.

use super::super::{
    Input,
    input::{Adopted, Restored, Verb},
};
use super::{
    desk::{Desk, key, pid_of},
    make::{eager, name, probe, with},
};
use crate::{
    base::{Happening, InvocationId, Signal, SpawnFailure, SpawnStep, Ticket, TimeSpan, UnitName},
    node::Effect,
    unit::{
        UnitDef,
        spec::{OnUnhealthy, Restart},
    },
};

fn probed(unit: &str, on_unhealthy: OnUnhealthy) -> UnitDef {
    let mut def = eager(unit);
    def.health = [probe("live", on_unhealthy)].into();
    def
}

/// What the end of the newest run of a unit says of its cause, after this input.
fn reason_after(desk: &mut Desk, input: Input) -> Option<String> {
    desk.node.handle(desk.now, input);
    let effects: Vec<Effect> = std::iter::from_fn(|| desk.node.poll_effect()).collect();
    let ends = effects.into_iter().filter_map(|effect| match effect {
        Effect::Notice(notice) => match notice.what {
            Happening::RunEnded { why, .. } => Some(why),
            _ => None,
        },
        _ => None,
    });
    ends.last().expect("a run ended")
}

/// Why a run ended, if this tells its end.
fn ended_because(what: Happening) -> Option<Option<String>> {
    if let Happening::RunEnded { why, .. } = what { Some(why) } else { None }
}

fn killed(process: &str, signal: Signal) -> Input {
    let status = crate::base::ExitStatus::Signaled { signal, core: false };
    Input::Exited { key: key(process), status, usage: None, oom: false, alone: true }
}

fn unwell(ticket: u64, unit: &str) -> Input {
    let (probe, reason) = ("live".to_owned(), "supervisorctl check: status 503".to_owned());
    Input::Unwell { ticket: Ticket(ticket), unit: name(unit), probe, reason }
}

fn last_why(desk: &Desk, unit: &str) -> Option<String> {
    desk.status(unit).last_why
}

#[test]
fn a_restart_by_a_probe_says_how_often_it_failed_since_when_and_why() {
    let mut desk = Desk::new([probed("web", OnUnhealthy::Restart)]);
    desk.up("web");
    let mut first = None;
    // A failure that was followed by enough good answers is another story.
    for failure in [Some("slow"), None, None, None, Some("refused"), Some("refused"), Some("refused")] {
        desk.pass(10.0);
        first = failure.and(first).or_else(|| failure.is_some().then_some(desk.now.wall));
        desk.probed("web/1", 0, failure);
    }
    let why = reason_after(&mut desk, killed("web/1", Signal::TERM));
    let expected = format!("probe live failed 3 times since {}: refused", first.unwrap().rfc3339());
    assert_eq!(why.as_deref(), Some(&*expected));
    desk.up("web");
    assert_eq!(last_why(&desk, "web"), why, "the status of the next run says so too");
}

#[test]
fn a_restart_by_check_is_one_for_health_is_counted_and_answers_when_it_is_up() {
    let mut desk = Desk::new([probed("web", OnUnhealthy::Alert)]);
    desk.up("web");
    assert_eq!(desk.give(unwell(7, "web")), ["kill-tree web/1 SIGTERM"]);
    let said = desk.killed("web/1", Signal::TERM);
    let end = "RunEnded web/1 success (killed by SIGTERM) restart";
    assert_eq!(said, ["spawn web/2 exec_start", end, "RunStarting web/2 Unhealthy { probe: \"live\" } 1"]);
    let said = desk.up("web");
    assert_eq!(said.last().unwrap(), "reply web=done");
    assert_eq!(desk.status("web").restarts, 1);
    let why = "probe live is unwell, found by supervisorctl check: status 503";
    assert_eq!(last_why(&desk, "web").as_deref(), Some(why));
}

#[test]
fn who_is_down_or_about_to_be_is_left_alone_by_check() {
    let mut desk = Desk::new([probed("web", OnUnhealthy::Alert), with("off", |def| def.enabled = false)]);
    assert_eq!(desk.give(unwell(1, "off")), ["reply off=Failed(NotRunning)"]);
    assert_eq!(desk.give(unwell(2, "gone")), ["reply gone=Failed(UnknownUnit { similar: None })"]);
    desk.up("web");
    desk.order(Verb::Stop, &["web"]);
    assert_eq!(desk.give(unwell(3, "web")), ["reply web=Failed(Superseded)"]);
}

#[test]
fn a_start_limit_that_forbids_the_restart_of_check_is_told_as_its_end() {
    let mut def = probed("web", OnUnhealthy::Alert);
    (def.start_limit.burst, def.start_limit.interval) = (1, TimeSpan::from_secs(3600));
    let mut desk = Desk::new([def]);
    desk.up("web");
    desk.give(unwell(7, "web"));
    let said = desk.killed("web/1", Signal::TERM).join("\n");
    for part in
        ["StartLimitHit web", "success (killed by SIGTERM) start-limit replayed", "reply web=Failed(StartLimitHit)"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_signal_of_an_operator_is_told_and_named_by_the_end_that_it_caused() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    let said = desk.order(Verb::Signal(Signal::KILL), &["web"]);
    assert!(said.iter().any(|line| line.starts_with("Signalled")), "{said:?}");
    assert_eq!(reason_after(&mut desk, killed("web/1", Signal::KILL)).as_deref(), Some("uid 1000 sent SIGKILL"));
    desk.pass(1.0);
    desk.up("web");
    desk.order(Verb::Signal(Signal::HUP), &["web"]);
    assert_eq!(reason_after(&mut desk, killed("web/2", Signal::KILL)), None, "another one ended it");
}

#[test]
fn what_cannot_be_prepared_or_run_is_named_by_the_end_and_the_limit() {
    let mut def = eager("web");
    (def.start_limit.burst, def.start_limit.interval) = (1, TimeSpan::from_secs(3600));
    let mut desk = Desk::new([def]);
    let failure = SpawnFailure { step: SpawnStep::Prepare, errno: 2 };
    let cause = "cannot use environment file: cannot read /etc/web.env: no such file".to_owned();
    let key = key("web/1");
    let why = reason_after(&mut desk, Input::Unprepared { key, failure, cause }).unwrap();
    assert!(why.starts_with("exec_start ") && why.ends_with("cannot read /etc/web.env: no such file"), "{why}");
    assert_eq!(desk.status("web").spawn_failure.as_deref(), Some(&*why));
}

/// What people are shown of the last end, here and by a manager that takes over.
fn shown(desk: &Desk, def: UnitDef) -> [(Option<String>, Option<String>); 2] {
    let (next, _) = desk.takeover([def], Restored::default());
    [desk, &next].map(|desk| (last_why(desk, "web"), desk.status("web").spawn_failure))
}

#[test]
fn the_next_manager_knows_why_runs_ended_and_what_could_not_be_run() {
    let def = || probed("web", OnUnhealthy::Restart);
    let mut desk = Desk::new([def()]);
    desk.up("web");
    desk.order(Verb::Signal(Signal::KILL), &["web"]);
    // The signal is on its way when the manager dies.
    let adopted = Adopted { key: key("web/1"), invocation: InvocationId::default(), pid: pid_of(&key("web/1")) };
    let living = Restored { processes: vec![adopted], ..Restored::default() };
    let (mut desk, _) = desk.takeover([def()], living);
    desk.killed("web/1", Signal::KILL);
    let [here, next] = shown(&desk, def());
    assert_eq!((here.0.as_deref(), &here), (Some("uid 1000 sent SIGKILL"), &next));
    desk.spawn_failed("web/2", SpawnStep::Exec, 2);
    let [here, next] = shown(&desk, def());
    let why = here.0.clone().unwrap();
    assert!(why.starts_with("exec_start ") && here.1.as_deref() == Some(&*why), "{here:?}");
    assert_eq!(here, next);
    let whys: Vec<Option<String>> = desk.told_again([def()]).into_iter().filter_map(ended_because).collect();
    assert_eq!(whys, [Some("uid 1000 sent SIGKILL".to_owned()), Some(why)], "a row that is missing has its reason");
}

#[test]
fn what_a_memo_says_of_reasons_is_bounded_and_the_newest_counts_most() {
    let mut desk = Desk::new([with("web", |def| {
        def.service.restart.when = Restart::Always;
        def.start_limit.burst = 0;
    })]);
    for generation in 1..=5 {
        desk.pass(1.0);
        let failure = SpawnFailure { step: SpawnStep::Prepare, errno: 2 };
        let (key, cause) = (key(&format!("web/{generation}")), format!("{generation} ").repeat(300));
        desk.give(Input::Unprepared { key, failure, cause });
    }
    assert!(desk.memos[&name("web")].len() < 1500, "{}", desk.memos[&name("web")].len());
    let told = desk.told_again([eager("web")]).into_iter();
    let whys: Vec<usize> = told.filter_map(ended_because).map(|why| why.map_or(0, |why| why.len())).collect();
    assert_eq!(whys, [3, 255, 255, 255]);
}

#[test]
fn a_start_that_waits_for_a_probe_of_another_says_so() {
    let mut web = eager("web");
    let db: UnitName = name("db");
    web.relations.requires = [db.clone()].into();
    web.relations.after = [db.clone()].into();
    web.relations.after_healthy = [db].into();
    let mut desk = Desk::new([web, probed("db", OnUnhealthy::Alert)]);
    let waits = |desk: &Desk| desk.status("web").waits_for;
    assert_eq!(waits(&desk).as_deref(), Some("db"));
    desk.up("db");
    assert_eq!(waits(&desk).as_deref(), Some("db: probe live"));
    desk.pass(10.0);
    desk.probed("db/1", 0, Some("refused"));
    assert_eq!(waits(&desk).as_deref(), Some("db: probe live (refused)"));
    desk.pass(10.0);
    desk.probed("db/1", 0, None);
    assert_eq!(waits(&desk), None);
    desk.up("web");
    assert_eq!(desk.sub("web"), "running");
}
