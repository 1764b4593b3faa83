//! External services: what others say of them.

use super::super::{
    input::{Allowed, Life, LifeEnd, Past, Restored, Sight, Verb},
    status::{NotKnown, TheirLimit},
};
use super::{
    desk::Desk,
    make::{external, name, probe, service, with},
};
use crate::{
    base::{ExitStatus, RunResult, Signal, TimeSpan, Wall},
    node::{Effect, Input},
    unit::{
        UnitDef,
        spec::{OnUnhealthy, Restart},
    },
};

fn up(id: &str, restarts: u32) -> Sight {
    Sight::Up {
        said: "active (running)".into(),
        life: Life { id: id.into(), restarts: Some(restarts) },
        began: None,
        limit: None,
    }
}

/// Up since so many seconds before this look.
fn up_for(desk: &Desk, id: &str, restarts: u32, seconds: i64) -> Sight {
    let began = Some(Wall(desk.now.wall.0 - seconds * 1_000_000));
    match up(id, restarts) {
        Sight::Up { said, life, limit, .. } => Sight::Up { said, life, began, limit },
        other @ (Sight::Down { .. } | Sight::Moving { .. } | Sight::Waiting { .. } | Sight::Unasked(_)) => other,
    }
}

fn down(result: RunResult, code: u8) -> Sight {
    let end = LifeEnd { result, status: Some(ExitStatus::Exited(code)) };
    Sight::Down { said: "failed (failed)".into(), end, past: Past::default() }
}

fn moving(result: RunResult, code: u8) -> Sight {
    let end = LifeEnd { result, status: Some(ExitStatus::Exited(code)) };
    Sight::Moving { said: "activating (auto-restart)".into(), end }
}

/// Down, and systemd will start it again; of the run `id`, which ended a second ago.
fn waiting(desk: &Desk, id: &str, restarts: u32) -> Sight {
    let end = LifeEnd { result: RunResult::ExitCode, status: Some(ExitStatus::Exited(3)) };
    let at = Some(Wall(desk.now.wall.0 + 4_000_000));
    Sight::Waiting { said: "activating (auto-restart)".into(), end, past: Past { at, ..past(id, restarts) } }
}

/// systemd's own limit, of a service that it restarts.
const LIMIT: Allowed = Allowed { burst: 7, interval: TimeSpan::from_secs(300), decides: true };

fn past(id: &str, restarts: u32) -> Past {
    let life = Some(Life { id: id.into(), restarts: Some(restarts) });
    Past { life, limit: Some(LIMIT), ..Past::default() }
}

/// Failed for good, as systemd says of the run `id`.
fn failed(id: &str, restarts: u32) -> Sight {
    match down(RunResult::ExitCode, 3) {
        Sight::Down { said, end, .. } => Sight::Down { said, end, past: past(id, restarts) },
        other @ (Sight::Up { .. } | Sight::Moving { .. } | Sight::Waiting { .. } | Sight::Unasked(_)) => other,
    }
}

/// As adopt writes it: systemd alone starts and restarts it.
fn adopted(text: &str) -> UnitDef {
    UnitDef { enabled: false, ..external(text) }
}

/// One that systemd has started, and that was seen up.
fn found() -> Desk {
    let mut desk = Desk::cold([adopted("web")]);
    let said = desk.give(Input::Boot);
    assert!(told(&said).is_empty(), "{said:?}");
    let said = look(&mut desk, up("a", 0));
    assert_eq!(told(&said), ["RunStarting web/1 ExternalStart 0", "RunReady web/1"]);
    answer(&mut desk, &said, up("a", 0));
    desk
}

/// The number of the newest question in what was said.
fn asked(said: &[String]) -> u32 {
    let question = said.iter().rev().find_map(|line| line.strip_prefix("watch ")).expect("it is asked");
    question.split(' ').nth(1).unwrap().parse().unwrap()
}

fn answer(desk: &mut Desk, said: &[String], sight: Sight) -> Vec<String> {
    desk.give(Input::Watched { unit: name("web"), number: asked(said), sight })
}

/// What was said but for questions.
fn told(said: &[String]) -> Vec<&str> {
    said.iter().map(String::as_str).filter(|line| !line.starts_with("watch ")).collect()
}

fn on_failure(text: &str) -> UnitDef {
    with(text, |def| {
        *def = external(text);
        def.service.restart.when = Restart::OnFailure;
        def.service.restart.delay = TimeSpan::from_secs(3);
    })
}

/// Up, and seen so.
fn watched(def: UnitDef) -> Desk {
    let mut desk = Desk::new([def]);
    desk.spawned("web/1.1");
    let said = desk.exited("web/1.1", 0);
    assert_eq!(told(&said), ["RunReady web/1"]);
    assert!(answer(&mut desk, &said, up("a", 0)).is_empty());
    assert_eq!((desk.sub("web"), desk.status("web").main_pid), ("running", None));
    desk
}

/// What the next look finds.
fn look(desk: &mut Desk, sight: Sight) -> Vec<String> {
    let said = desk.pass(5.0);
    answer(desk, &said, sight)
}

#[test]
fn it_is_started_by_a_command_and_watched_from_then_on() {
    let mut desk = Desk::cold([on_failure("web")]);
    assert_eq!(told(&desk.give(Input::Boot)), ["spawn web/1.1 exec_start", "RunStarting web/1 Boot 0"]);
    desk.spawned("web/1.1");
    let said = desk.exited("web/1.1", 0);
    assert!(answer(&mut desk, &said, up("a", 0)).is_empty());
    assert!(look(&mut desk, up("a", 0)).is_empty());
    assert_eq!(desk.status("web").status_text.as_deref(), Some("active (running)"));
}

#[test]
fn one_that_failed_is_restarted_by_policy_and_not_stopped_first() {
    let mut desk = watched(on_failure("web"));
    assert_eq!(
        told(&look(&mut desk, down(RunResult::ExitCode, 3))),
        ["RunEnded web/1 exit-code (exit code 3) restart", "RestartScheduled web 3s 1"]
    );
    assert_eq!(told(&desk.pass(3.0)), ["spawn web/2.1 exec_start", "RunStarting web/2 AutoRestart 1"]);
}

#[test]
fn a_clean_end_elsewhere_is_a_rest() {
    let mut desk = watched(on_failure("web"));
    assert_eq!(told(&look(&mut desk, down(RunResult::Success, 0))), ["RunEnded web/1 success (exit code 0) rest"]);
    assert_eq!(desk.sub("web"), "dead");
    assert!(told(&desk.pass(60.0)).is_empty());
}

#[test]
fn too_many_failures_are_its_end_here_too() {
    let mut desk = watched(with("web", |def| {
        *def = on_failure("web");
        def.start_limit.burst = 1;
        def.start_limit.interval = TimeSpan::from_secs(600);
    }));
    look(&mut desk, down(RunResult::ExitCode, 3));
    let mut said = desk.pass(3.0);
    assert!(said.contains(&"StartLimitHit web".to_owned()), "{said:?}");
    assert_eq!(desk.sub("web"), "failed");
    // Whoever keeps it brings it back all the same: it is shown as it is.
    said.extend(desk.pass(5.0));
    let said = answer(&mut desk, &said, up("b", 0));
    assert_eq!(told(&said)[..2], ["RunStarting web/2 ExternalStart 0", "RunReady web/2"]);
    assert_eq!(desk.sub("web"), "running");
}

#[test]
fn what_systemd_restarts_itself_is_counted_and_left_alone() {
    let mut desk = watched(on_failure("web"));
    assert!(look(&mut desk, moving(RunResult::ExitCode, 3)).is_empty(), "systemd has not decided yet");
    let said = look(&mut desk, up("b", 1));
    assert_eq!(
        told(&said),
        ["RunEnded web/1 exit-code (exit code 3) restart", "RunStarting web/2 ExternalRestart 1", "RunReady web/2",]
    );
    assert!(desk.status("web").restarts == 1 && desk.sub("web") == "running");
    answer(&mut desk, &said, up("b", 1));
    // Three more between two looks, of which nobody saw how they ended.
    let said = look(&mut desk, up("e", 4));
    assert_eq!(
        said.iter().filter(|line| line.contains("result unknown") || line.contains("unknown (none)")).count(),
        3,
        "{said:?}"
    );
    assert_eq!((desk.status("web").restarts, desk.status("web").generation.0), (4, 5));
}

#[test]
fn a_restart_that_someone_ordered_elsewhere_is_no_failure() {
    let mut desk = watched(on_failure("web"));
    let said = look(&mut desk, up("b", 0));
    assert_eq!(told(&said)[0], "RunEnded web/1 success (none) restart wanted");
    assert!(desk.node.wrong_since(&name("web")).is_none());
}

#[test]
fn who_cannot_be_asked_says_nothing_of_the_service() {
    let mut desk = watched(on_failure("web"));
    assert!(look(&mut desk, Sight::Unasked("cannot ask systemd: no".into())).is_empty());
    assert_eq!(desk.sub("web"), "running");
    assert_eq!(desk.status("web").status_text.as_deref(), Some("unknown: cannot ask systemd: no"));
}

#[test]
fn an_answer_to_an_older_question_changes_nothing() {
    let mut desk = watched(on_failure("web"));
    let question = desk.pass(5.0);
    desk.order(Verb::Stop, &["web"]);
    desk.exited("web/1.2", 0);
    assert!(answer(&mut desk, &question, down(RunResult::ExitCode, 3)).is_empty());
    assert_eq!(desk.sub("web"), "dead");
    assert_eq!(desk.node.stale_facts(), 1);
}

#[test]
fn a_question_that_is_open_is_not_asked_again() {
    let mut desk = watched(on_failure("web"));
    let said = desk.pass(60.0);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn what_was_stopped_here_is_up_only_once_it_was_seen_down() {
    let mut desk = watched(on_failure("web"));
    assert_eq!(told(&desk.order(Verb::Stop, &["web"])), ["spawn web/1.2 exec_stop SERVICE_RESULT=success"]);
    desk.spawned("web/1.2");
    desk.exited("web/1.2", 0);
    // Slow to go, though its stop command has ended.
    assert!(look(&mut desk, up("a", 0)).is_empty());
    assert!(look(&mut desk, down(RunResult::Success, 0)).is_empty());
    let said = look(&mut desk, up("a", 0));
    assert_eq!(told(&said)[..2], ["RunStarting web/2 ExternalStart 0", "RunReady web/2"]);
}

#[test]
fn another_run_than_the_one_that_was_stopped_here_is_up() {
    let mut desk = watched(on_failure("web"));
    desk.order(Verb::Stop, &["web"]);
    desk.spawned("web/1.2");
    desk.exited("web/1.2", 0);
    let said = look(&mut desk, up("b", 0));
    assert_eq!(told(&said)[..2], ["RunStarting web/2 ExternalStart 0", "RunReady web/2"]);
}

#[test]
fn a_restart_is_one_command_and_the_start_after_it_finds_it_up() {
    let mut desk = watched(on_failure("web"));
    assert_eq!(told(&desk.order(Verb::Restart, &["web"])), ["spawn web/1.2 restart"]);
    desk.spawned("web/1.2");
    let said = desk.exited("web/1.2", 0);
    assert!(said.contains(&"spawn web/2.1 exec_start".to_owned()), "{said:?}");
}

#[test]
fn a_stop_that_overtakes_a_restart_stops_it() {
    let mut desk = watched(on_failure("web"));
    desk.order(Verb::Restart, &["web"]);
    desk.spawned("web/1.2");
    desk.order(Verb::Stop, &["web"]);
    let said = desk.exited("web/1.2", 0);
    assert_eq!(told(&said), ["spawn web/1.3 exec_stop SERVICE_RESULT=success"]);
    desk.spawned("web/1.3");
    desk.exited("web/1.3", 0);
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn a_stop_that_comes_while_it_is_started_stops_what_was_started() {
    let mut desk = Desk::new([on_failure("web")]);
    desk.spawned("web/1.1");
    assert_eq!(told(&desk.order(Verb::Stop, &["web"])), ["kill web/1.1 SIGTERM"]);
    // A manager that dies here is no excuse.
    let (mut desk, said) = desk.takeover([on_failure("web")], {
        let key = super::desk::key("web/1.1");
        let pid = super::desk::pid_of(&key);
        let adopted = super::super::input::Adopted { key, invocation: crate::base::InvocationId::default(), pid };
        Restored { processes: vec![adopted], ..Restored::default() }
    });
    assert!(said.contains(&"kill web/1.1 SIGTERM".to_owned()), "{said:?}");
    let said = desk.killed("web/1.1", Signal::TERM);
    assert_eq!(told(&said), ["spawn web/1.2 exec_stop SERVICE_RESULT=success EXIT_CODE=killed EXIT_STATUS=TERM"]);
    desk.spawned("web/1.2");
    desk.exited("web/1.2", 0);
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn a_stop_that_comes_while_it_reloads_stops_it() {
    let mut desk = watched(on_failure("web"));
    desk.order(Verb::Reload, &["web"]);
    desk.spawned("web/1.2");
    desk.order(Verb::Stop, &["web"]);
    let said = desk.killed("web/1.2", Signal::TERM);
    assert_eq!(told(&said), ["spawn web/1.3 exec_stop SERVICE_RESULT=success"]);
}

#[test]
fn the_daemons_end_and_a_file_that_is_gone_leave_it_running() {
    let mut desk = watched(on_failure("web"));
    let said = desk.set([service("other")]);
    assert!(told(&said).contains(&"forget web") && !said.iter().any(|line| line.starts_with("spawn web")), "{said:?}");
    let mut desk = watched(on_failure("web"));
    let said = desk.give(Input::Shutdown { actor: crate::base::Actor::Daemon, machine: false });
    assert!(told(&said).contains(&"all-stopped 0") && !said.iter().any(|line| line.starts_with("spawn")), "{said:?}");
    assert!(told(&said).contains(&"RunEnded web/1 success (none) left wanted"), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("UnitStopped")), "{said:?}");
    assert!(desk.pass(60.0).is_empty(), "nobody is asked any more");
}

#[test]
fn the_next_manager_goes_on_where_this_one_was() {
    let mut desk = watched(on_failure("web"));
    assert!(look(&mut desk, moving(RunResult::ExitCode, 3)).is_empty());
    let (mut next, said) = desk.takeover([on_failure("web")], Restored::default());
    assert!(!said.iter().any(|line| line.starts_with("spawn")), "{said:?}");
    next.give(Input::Boot);
    let said = look(&mut next, up("b", 1));
    assert_eq!(
        told(&said)[..2],
        ["RunEnded web/1 exit-code (exit code 3) restart", "RunStarting web/2 ExternalRestart 1"]
    );
}

#[test]
fn a_start_that_others_made_before_ours_came_is_taken_as_it_is() {
    let mut desk = watched(with("web", |def| {
        *def = on_failure("web");
        def.service.restart.delay = TimeSpan::from_secs(20);
    }));
    look(&mut desk, down(RunResult::ExitCode, 3));
    let said = look(&mut desk, up("b", 0));
    assert_eq!(told(&said)[..2], ["RunStarting web/2 ExternalRestart 1", "RunReady web/2"]);
    assert_eq!(told(&desk.pass(60.0)), ["Recovered web/2"], "and it is not started once more");
}

#[test]
fn a_unit_that_is_external_no_more_is_watched_no_more() {
    let mut desk = watched(on_failure("web"));
    desk.order(Verb::Stop, &["web"]);
    desk.spawned("web/1.2");
    desk.exited("web/1.2", 0);
    desk.set([service("web")]);
    assert!(desk.pass(60.0).is_empty());
}

#[test]
fn one_that_systemd_will_restart_is_down_at_the_next_look_since_it_ended() {
    let mut desk = found();
    let question = desk.pass(5.0);
    let ended = desk.now.wall.0 - 1_000_000;
    let Sight::Waiting { said, end, past } = waiting(&desk, "a", 0) else { panic!("it waits") };
    let sight = Sight::Waiting { said, end, past: Past { at: Some(Wall(ended)), ..past } };
    let said = answer(&mut desk, &question, sight);
    assert_eq!(told(&said), ["RunEnded web/1 exit-code (exit code 3) restart"]);
    let status = desk.status("web");
    assert_eq!((status.sub.as_str(), status.since.wall.0), ("auto-restart", ended));
    assert_eq!(status.restart_due, None);
    assert!(told(&desk.pass(20.0)).is_empty(), "it is systemd's turn");
}

#[test]
fn what_ended_is_never_older_than_what_was_seen_up() {
    let mut desk = found();
    let ready = desk.status("web").ready_since.unwrap();
    let question = desk.pass(5.0);
    let sight = Sight::Waiting {
        said: "x".into(),
        end: LifeEnd { result: RunResult::ExitCode, status: None },
        past: Past { at: Some(Wall(1)), ..past("a", 0) },
    };
    answer(&mut desk, &question, sight);
    assert_eq!(desk.status("web").since, ready);
}

#[test]
fn the_restart_that_was_awaited_is_the_next_run() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let said = look(&mut desk, up("b", 1));
    assert_eq!(told(&said)[..2], ["RunStarting web/2 ExternalRestart 1", "RunReady web/2"]);
    answer(&mut desk, &said, up("b", 1));
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("running", 2));
}

#[test]
fn what_systemd_has_given_up_is_failed_and_stays_so() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let said = look(&mut desk, failed("f", 5));
    let tries = told(&said).iter().filter(|line| line.ends_with("unknown (none) restart")).count();
    assert_eq!(tries, 3, "the last start was refused, and of the last run systemd says how it ended: {said:?}");
    assert_eq!(
        told(&said)[11..],
        [
            "RunEnded web/5 exit-code (exit code 3) restart",
            "StartLimitHit web",
            "UnitFailed web start-limit-hit",
            "RunEnded web/5 exit-code (exit code 3) start-limit replayed"
        ]
    );
    assert_eq!((desk.sub("web"), desk.status("web").result), ("failed", RunResult::StartLimitHit));
    assert!(told(&look(&mut desk, failed("f", 5))).is_empty());
    assert!(told(&desk.pass(600.0)).is_empty(), "nothing starts it");
}

#[test]
fn one_that_was_restarted_and_given_up_between_two_looks_has_hit_the_start_limit() {
    let mut desk = watched(on_failure("web"));
    let said = look(&mut desk, failed("f", 5));
    assert_eq!(
        told(&said)[12..],
        ["RunEnded web/5 exit-code (exit code 3) start-limit", "StartLimitHit web", "UnitFailed web start-limit-hit"]
    );
    assert!(told(&desk.pass(600.0)).is_empty(), "whatever our own policy says");
}

#[test]
fn one_that_failed_before_anyone_looked_is_failed() {
    let mut desk = Desk::cold([adopted("web")]);
    desk.give(Input::Boot);
    assert_eq!(told(&look(&mut desk, failed("a", 0))), ["UnitFailed web exit-code"]);
    assert_eq!(desk.sub("web"), "failed");
    assert_eq!(told(&desk.order(Verb::Reset, &["web"]))[..2], ["host web ResetFailed", "CountersReset"]);
    assert!(told(&look(&mut desk, failed("a", 0))).is_empty(), "that is known");
    assert_eq!(told(&look(&mut desk, failed("b", 0))), ["UnitFailed web exit-code"], "someone tried again");
}

#[test]
fn what_was_stopped_here_and_failed_of_that_is_down_on_purpose() {
    let mut desk = found();
    desk.order(Verb::Stop, &["web"]);
    desk.spawned("web/1.1");
    desk.exited("web/1.1", 0);
    assert!(told(&look(&mut desk, failed("a", 0))).is_empty());
    assert!(told(&look(&mut desk, failed("a", 0))).is_empty());
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn a_start_does_not_wait_for_systemds_restart() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let said = desk.order(Verb::Start, &["web"]);
    assert!(said.contains(&"spawn web/2.1 exec_start".to_owned()), "{said:?}");
}

#[test]
fn a_stop_while_systemd_waits_is_told_to_it() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight.clone());
    assert_eq!(
        told(&desk.order(Verb::Stop, &["web"])),
        ["host web Stop", "UnitStopped web uid 1000", "reply web=done"]
    );
    assert!(told(&look(&mut desk, sight)).is_empty(), "it is slow to hear of it");
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn the_daemons_end_stops_nobody_who_waits() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let said = desk.give(Input::Shutdown { actor: crate::base::Actor::Daemon, machine: false });
    assert!(!said.iter().any(|line| line.starts_with("host")), "{said:?}");
}

#[test]
fn one_that_others_stopped_while_it_waited_rests() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    assert_eq!(told(&look(&mut desk, down(RunResult::Success, 0))), ["Recovered web/1"]);
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn the_next_manager_waits_on() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let (mut next, _) = desk.takeover([adopted("web")], Restored::default());
    next.give(Input::Boot);
    assert_eq!(next.sub("web"), "auto-restart");
    let said = look(&mut next, up("b", 1));
    assert_eq!(told(&said)[..2], ["RunStarting web/2 ExternalRestart 1", "RunReady web/2"]);
}

#[test]
fn a_restart_of_several_commands_makes_them_in_turn() {
    let mut desk = watched(with("web", |def| {
        *def = on_failure("web");
        let external = def.external.as_mut().unwrap();
        external.restart = [super::make::command("first"), super::make::command("restart")].into();
    }));
    assert_eq!(told(&desk.order(Verb::Restart, &["web"])), ["spawn web/1.2 restart"]);
    desk.spawned("web/1.2");
    assert_eq!(told(&desk.exited("web/1.2", 0)), ["spawn web/1.3 restart"]);
    desk.spawned("web/1.3");
    let said = desk.exited("web/1.3", 0);
    assert!(said.contains(&"spawn web/2.1 exec_start".to_owned()), "{said:?}");
}

/// One that was stopped here, of which a daemon that begins anew knows from its rows, and what systemd says of its end.
fn stopped_before(ended: Wall) -> Vec<String> {
    let mut desk = Desk::cold([]);
    let restored = Restored { stopped: [(name("web"), desk.now.wall)].into(), ..Restored::default() };
    desk.node.restore(desk.now, super::desk::units([adopted("web")]), restored);
    desk.give(Input::Boot);
    let end = LifeEnd { result: RunResult::ExitCode, status: Some(ExitStatus::Exited(143)) };
    let past = Past { at: Some(ended), ..past("a", 0) };
    let said = look(&mut desk, Sight::Down { said: "failed (failed)".into(), end, past });
    told(&said).into_iter().map(str::to_owned).collect()
}

#[test]
fn what_failed_of_a_stop_that_was_asked_here_is_no_news_to_the_next_daemon() {
    let stopped = Desk::cold([]).now.wall;
    assert_eq!(stopped_before(Wall(stopped.0 - 50_000)), [""; 0]);
    assert_eq!(stopped_before(Wall(stopped.0 + 1)), ["UnitFailed web exit-code"], "someone has started it since");
}

/// Without a restart in one go.
fn stop_and_start(text: &str) -> UnitDef {
    with(text, |def| {
        *def = on_failure(text);
        def.external.as_mut().unwrap().restart = [].into();
    })
}

#[test]
fn one_that_is_stopped_to_be_restarted_is_not_left_so_when_the_daemon_ends() {
    let unwell = || {
        let (probe, reason) = ("live".to_owned(), "status 503".to_owned());
        Input::Unwell { ticket: crate::base::Ticket(7), unit: name("web"), probe, reason }
    };
    let shutdown = |machine| Input::Shutdown { actor: crate::base::Actor::Daemon, machine };
    let stopping = || {
        let mut desk = watched(stop_and_start("web"));
        assert_eq!(told(&desk.give(unwell())), ["spawn web/1.2 exec_stop SERVICE_RESULT=success"]);
        desk.spawned("web/1.2");
        desk
    };
    let mut desk = stopping();
    assert!(!desk.give(shutdown(false)).contains(&"all-stopped 0".to_owned()), "it is waited for");
    assert_eq!(told(&desk.exited("web/1.2", 0)), ["spawn web/1.3 exec_start"]);
    desk.spawned("web/1.3");
    let said = desk.exited("web/1.3", 0);
    assert!(said.contains(&"RunEnded web/1 success (none) left wanted".to_owned()), "{said:?}");
    assert!(said.contains(&"all-stopped 0".to_owned()), "{said:?}");
    // With the machine all go down.
    let mut desk = stopping();
    desk.give(shutdown(true));
    assert!(desk.exited("web/1.2", 0).contains(&"all-stopped 0".to_owned()));
    // Nobody has started it yet.
    for machine in [false, true] {
        let mut desk = watched(with("web", |def| {
            *def = stop_and_start("web");
            def.service.restart.delay = TimeSpan::from_secs(30);
            def.health = [probe("live", OnUnhealthy::Restart)].into();
            def.health[0].unhealthy_after = 1;
        }));
        desk.pass(10.0);
        desk.probed("web/1", 0, Some("status 503"));
        desk.spawned("web/1.2");
        desk.exited("web/1.2", 0);
        assert_eq!(desk.sub("web"), "auto-restart");
        let said = desk.give(shutdown(machine));
        assert_eq!(said.contains(&"spawn web/2.1 exec_start".to_owned()), !machine, "{said:?}");
        assert_eq!(said.contains(&"all-stopped 0".to_owned()), machine, "{said:?}");
        if !machine {
            desk.spawned("web/2.1");
            let said = desk.exited("web/2.1", 0);
            assert!(said.contains(&"RunEnded web/2 success (none) left wanted".to_owned()), "{said:?}");
            assert!(said.contains(&"all-stopped 0".to_owned()), "{said:?}");
        }
    }
    // Someone wants it down.
    let mut desk = stopping();
    desk.order(Verb::Stop, &["web"]);
    desk.give(shutdown(false));
    assert!(desk.exited("web/1.2", 0).contains(&"all-stopped 0".to_owned()));
}

#[test]
fn one_that_is_being_started_is_started_before_the_daemon_ends() {
    let shutdown = |machine| Input::Shutdown { actor: crate::base::Actor::Daemon, machine };
    let starting = || {
        let mut desk = Desk::new([on_failure("web")]);
        desk.spawned("web/1.1");
        desk
    };
    let mut desk = starting();
    assert_eq!(told(&desk.give(shutdown(false))), ["ShuttingDown"], "it is waited for");
    assert_eq!(desk.sub("web"), "stop");
    let said = desk.exited("web/1.1", 0);
    assert!(said.contains(&"RunEnded web/1 success (none) left wanted".to_owned()), "{said:?}");
    assert!(said.contains(&"all-stopped 0".to_owned()), "{said:?}");
    // Not for longer than a stop may take, and what has failed is not up.
    let mut desk = starting();
    desk.give(shutdown(false));
    let said = desk.exited("web/1.1", 1);
    assert!(said.contains(&"RunEnded web/1 exit-code (exit code 1) rest wanted".to_owned()), "{said:?}");
    let mut desk = starting();
    desk.give(shutdown(false));
    assert!(desk.pass(90.0).iter().any(|line| line.starts_with("kill")), "it took too long");
    let mut desk = starting();
    assert!(desk.give(shutdown(true)).iter().any(|line| line.starts_with("kill")), "the machine goes down");
}

#[test]
fn what_systemd_tried_between_two_looks_are_runs_of_their_own() {
    let mut desk = found();
    // Two restarts in vain before anyone looked.
    let sight = waiting(&desk, "c", 2);
    let said = look(&mut desk, sight);
    assert_eq!(
        told(&said),
        [
            "RunEnded web/1 unknown (none) restart",
            "RunStarting web/2 ExternalRestart 1",
            "RunReady web/2",
            "RunEnded web/2 unknown (none) restart",
            "RunStarting web/3 ExternalRestart 2",
            "RunReady web/3",
            "RunEnded web/3 exit-code (exit code 3) restart",
        ]
    );
    // Two more while it waits, of which the last is known, and one more before it is up.
    let sight = waiting(&desk, "e", 4);
    let said = look(&mut desk, sight);
    assert_eq!(
        told(&said),
        [
            "RunStarting web/4 ExternalRestart 3",
            "RunReady web/4",
            "RunEnded web/4 unknown (none) restart",
            "RunStarting web/5 ExternalRestart 4",
            "RunReady web/5",
            "RunEnded web/5 exit-code (exit code 3) restart",
        ]
    );
    let sight = waiting(&desk, "e", 4);
    assert!(told(&look(&mut desk, sight)).is_empty(), "that is known");
    let said = look(&mut desk, up("g", 6));
    assert_eq!(told(&said).iter().filter(|line| line.starts_with("RunEnded web/6")).count(), 1, "{said:?}");
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("running", 7));
    answer(&mut desk, &said, up("g", 6));
    // A count that leaps is not believed.
    let sight = waiting(&desk, "z", 5000);
    look(&mut desk, sight);
    assert_eq!(desk.status("web").generation.0, 7 + 16);
}

/// The last of some runs that took a second each, with a second between: it ended a second before this look.
fn in_a_row(desk: &Desk, id: &str, restarts: u32) -> Past {
    let ended = desk.now.wall.0 - 1_000_000;
    let (began, at) = (Some(Wall(ended - 1_000_000)), Some(Wall(ended)));
    Past { began, at, delay: Some(TimeSpan::from_secs(1)), ..past(id, restarts) }
}

/// How many seconds before this look each run began and ended, as it is told when `sight` is the answer.
fn told_seconds_ago(desk: &mut Desk, sight: impl FnOnce(&Desk) -> Sight) -> Vec<(&'static str, i64)> {
    let question = desk.pass(5.0);
    let sight = sight(desk);
    desk.node.handle(desk.now, Input::Watched { unit: name("web"), number: asked(&question), sight });
    let mut told = Vec::new();
    while let Some(effect) = desk.node.poll_effect() {
        let Effect::Notice(notice) = effect else { continue };
        let word = notice.what.event();
        if ["run_starting", "run_ended"].contains(&word) {
            told.push((word, (desk.now.wall.0 - notice.at.wall.0) / 1_000_000));
        }
    }
    told
}

#[test]
fn what_was_started_and_ended_again_and_again_before_anyone_looked_is_as_many_runs() {
    let mut desk = found();
    for _ in 0..3 {
        look(&mut desk, down(RunResult::Success, 0));
    }
    // Three runs in vain, of which systemd counts the restarts, since someone started it.
    let told = told_seconds_ago(&mut desk, |desk| {
        let Sight::Waiting { said, end, .. } = waiting(desk, "d", 2) else { panic!("it waits") };
        Sight::Waiting { said, end, past: in_a_row(desk, "d", 2) }
    });
    let rows = [("run_starting", 6), ("run_ended", 5), ("run_starting", 4), ("run_ended", 3)];
    assert_eq!(told, [&rows[..], &[("run_starting", 2), ("run_ended", 1)]].concat());
    assert_eq!((desk.sub("web"), desk.status("web").restarts), ("auto-restart", 2));
    // Two more, and the start after those was refused.
    let told = told_seconds_ago(&mut desk, |desk| match failed("f", 5) {
        Sight::Down { said, end, .. } => Sight::Down { said, end, past: in_a_row(desk, "f", 5) },
        other @ (Sight::Up { .. } | Sight::Moving { .. } | Sight::Waiting { .. } | Sight::Unasked(_)) => other,
    });
    assert_eq!(told[..4], [("run_starting", 4), ("run_ended", 3), ("run_starting", 2), ("run_ended", 1)]);
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("failed", 6), "one that was seen up and five");
}

#[test]
fn what_was_given_up_before_anyone_looked_is_as_many_runs() {
    let mut desk = found();
    look(&mut desk, down(RunResult::Success, 0));
    let said = look(&mut desk, failed("f", 5));
    let begun: Vec<_> = told(&said).into_iter().filter(|line| line.starts_with("RunStarting")).collect();
    assert_eq!((begun.len(), begun[0]), (5, "RunStarting web/2 ExternalStart 0"), "{said:?}");
    assert!(told(&said).contains(&"StartLimitHit web"), "{said:?}");
    assert_eq!(desk.sub("web"), "failed");
    assert!(told(&look(&mut desk, failed("f", 5))).is_empty(), "that is known");
}

#[test]
fn of_what_failed_again_and_again_before_the_first_look_the_last_run_is_told() {
    let mut desk = Desk::cold([adopted("web")]);
    desk.give(Input::Boot);
    let sight = waiting(&desk, "k", 9);
    let said = look(&mut desk, sight.clone());
    let end = "RunEnded web/1 exit-code (exit code 3) restart";
    assert_eq!(told(&said), ["RunStarting web/1 ExternalStart 0", "RunReady web/1", end]);
    assert!(told(&look(&mut desk, sight)).is_empty(), "that is known");
    assert_eq!(told(&look(&mut desk, up("l", 10)))[0], "RunStarting web/2 ExternalRestart 1");
}

#[test]
fn a_signal_goes_through_its_manager() {
    let mut desk = found();
    let said = desk.order(Verb::Signal(Signal::KILL), &["web"]);
    assert_eq!(said, ["reply web=Failed(KeptElsewhere { manager: Systemd(\"web.service\") })"]);
    let end = LifeEnd { result: RunResult::Success, status: None };
    look(&mut desk, Sight::Down { said: "inactive (dead)".into(), end, past: Past::default() });
    assert_eq!(desk.order(Verb::Signal(Signal::KILL), &["web"]), ["reply web=Failed(NotRunning)"]);
}

#[test]
fn an_end_that_was_seen_is_that_of_one_run() {
    let mut desk = found();
    let end = LifeEnd { result: RunResult::ExitCode, status: Some(ExitStatus::Exited(3)) };
    look(&mut desk, Sight::Moving { said: "activating (start)".into(), end });
    let said = look(&mut desk, up("c", 2));
    let ends: Vec<_> = told(&said).into_iter().filter(|line| line.starts_with("RunEnded")).collect();
    let first = "RunEnded web/1 exit-code (exit code 3) restart";
    assert_eq!(ends, [first, "RunEnded web/2 unknown (none) restart"], "the next one nobody saw");
}

#[test]
fn tries_before_systemd_gave_up_are_counted_too() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let said = look(&mut desk, failed("c", 2));
    let ends = |said: &[String]| said.iter().filter(|line| line.starts_with("RunEnded")).count();
    assert_eq!(ends(&said), 2, "one, and its correction; the other start was refused: {said:?}");
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("failed", 2));
}

#[test]
fn a_start_that_systemd_refused_is_no_run() {
    let mut desk = found();
    let sight = waiting(&desk, "a", 0);
    look(&mut desk, sight);
    let said = look(&mut desk, failed("a", 1));
    assert!(!told(&said).iter().any(|line| line.starts_with("RunStarting")), "{said:?}");
    assert!(told(&said).contains(&"StartLimitHit web"), "{said:?}");
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("failed", 1));
    assert!(told(&look(&mut desk, failed("a", 1))).is_empty(), "that is known");
    // Also where nobody saw it wait.
    let mut desk = found();
    let said = look(&mut desk, failed("a", 1));
    assert_eq!(told(&said)[0], "RunEnded web/1 exit-code (exit code 3) start-limit");
    // A run that ended as none may be started after is one.
    let mut desk = found();
    look(&mut desk, failed("b", 1));
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("failed", 2));
}

#[test]
fn a_run_that_is_found_began_when_its_manager_says() {
    let mut desk = Desk::cold([adopted("web")]);
    desk.give(Input::Boot);
    let question = desk.pass(5.0);
    let sight = up_for(&desk, "a", 0, 3600);
    let said = answer(&mut desk, &question, sight.clone());
    let wall = desk.now.wall.0;
    let status = desk.status("web");
    assert_eq!((status.since.wall.0, status.ready_since), (wall - 3_600_000_000, Some(status.since)));
    answer(&mut desk, &said, sight);
    // The next one began two seconds before we looked: so long ago at the latest this one was over.
    let question = desk.pass(5.0);
    let sight = up_for(&desk, "b", 1, 2);
    let said = answer(&mut desk, &question, sight.clone());
    let status = desk.status("web");
    assert_eq!((status.generation.0, status.since.wall.0), (2, desk.now.wall.0 - 2_000_000));
    answer(&mut desk, &said, sight);
    // One that ended before we looked ran as long as its manager says.
    let question = desk.pass(10.0);
    let ended = Wall(desk.now.wall.0 - 1_000_000);
    let end = LifeEnd { result: RunResult::ExitCode, status: None };
    let past = Past { began: Some(Wall(ended.0 - 500_000)), at: Some(ended), ..past("c", 2) };
    answer(&mut desk, &question, Sight::Waiting { said: "x".into(), end, past });
    let status = desk.status("web");
    assert_eq!((status.generation.0, status.since.wall.0), (3, ended.0));
    // Not before the one before it was over, whatever is said.
    let question = desk.pass(5.0);
    let sight = up_for(&desk, "d", 3, 3600);
    answer(&mut desk, &question, sight);
    assert_eq!(desk.status("web").since.wall, ended);
}

#[test]
fn one_that_nobody_can_tell_of_is_not_known_after_some_looks() {
    let mut desk = watched(on_failure("web"));
    let blind = || Sight::Unasked("cannot ask Supervisor: no".into());
    for _ in 0..2 {
        look(&mut desk, blind());
        assert_eq!(desk.status("web").not_known, None);
    }
    look(&mut desk, blind());
    let why = "it cannot be told how it is: cannot ask Supervisor: no";
    assert_eq!(desk.status("web").not_known, Some(NotKnown::CannotTell(why.to_owned())));
    assert_eq!(desk.sub("web"), "running", "as was known before");
    look(&mut desk, up("a", 0));
    assert_eq!(desk.status("web").not_known, None);
    look(&mut desk, blind());
    assert_eq!(desk.status("web").not_known, None, "they are counted anew");
}

#[test]
fn one_that_nobody_has_looked_at_is_not_known() {
    let mut desk = Desk::cold([adopted("web")]);
    desk.give(Input::Boot);
    assert_eq!(desk.status("web").not_known, Some(NotKnown::NotYet));
    look(&mut desk, Sight::Unasked("no".into()));
    assert_eq!(desk.status("web").not_known, Some(NotKnown::NotYet));
    look(&mut desk, down(RunResult::Success, 0));
    assert_eq!(desk.status("web").not_known, None);
    // One that comes with a reload.
    desk.set([adopted("web"), adopted("other")]);
    assert_eq!(desk.status("other").not_known, Some(NotKnown::NotYet));
    // What was started here, or stopped, is known.
    let mut desk = watched(on_failure("web"));
    desk.order(Verb::Stop, &["web"]);
    desk.spawned("web/1.2");
    desk.exited("web/1.2", 0);
    assert_eq!(desk.status("web").not_known, None);
    let (next, _) = desk.takeover([on_failure("web")], Restored::default());
    assert_eq!(next.status("web").not_known, None);
}

#[test]
fn what_was_said_of_one_run_is_not_shown_with_another() {
    let mut desk = watched(on_failure("web"));
    desk.order(Verb::Stop, &["web"]);
    desk.spawned("web/1.2");
    desk.exited("web/1.2", 0);
    assert_eq!(desk.status("web").status_text, None, "it was up");
    look(&mut desk, down(RunResult::Success, 0));
    assert!(desk.status("web").status_text.is_some());
    desk.order(Verb::Start, &["web"]);
    desk.spawned("web/2.1");
    let said = desk.exited("web/2.1", 0);
    assert_eq!((desk.sub("web"), desk.status("web").status_text), ("running", None));
    answer(&mut desk, &said, up("b", 0));
    assert_eq!(desk.status("web").status_text.as_deref(), Some("active (running)"));
}

#[test]
fn the_start_limit_that_counts_is_that_of_whoever_restarts_it() {
    let theirs = |is_hit| Some(TheirLimit { burst: LIMIT.burst, interval: LIMIT.interval, is_hit });
    let up_within = |limit| match up("a", 0) {
        Sight::Up { said, life, began, .. } => Sight::Up { said, life, began, limit: Some(limit) },
        other @ (Sight::Down { .. } | Sight::Moving { .. } | Sight::Waiting { .. } | Sight::Unasked(_)) => other,
    };
    let mut desk = found();
    assert_eq!(desk.status("web").their_limit, None, "nobody has said any");
    look(&mut desk, up_within(Allowed { decides: false, ..LIMIT }));
    assert_eq!(desk.status("web").their_limit, None, "it is restarted by us");
    look(&mut desk, up_within(LIMIT));
    assert_eq!(desk.status("web").their_limit, theirs(false));
    look(&mut desk, failed("b", 2));
    assert_eq!(desk.status("web").their_limit, theirs(true));
    // The next manager knows it too, before it has looked.
    let (mut desk, _) = desk.takeover([adopted("web")], Restored::default());
    assert_eq!((desk.sub("web"), desk.status("web").their_limit), ("failed", theirs(true)));
    // Ours counts where it was hit.
    for run in 2..9 {
        desk.order(Verb::Start, &["web"]);
        if desk.sub("web") == "failed" {
            break;
        }
        desk.spawned(&format!("web/{}.1", run + 1));
        desk.exited(&format!("web/{}.1", run + 1), 1);
    }
    assert_eq!((desk.status("web").result, desk.status("web").their_limit), (RunResult::StartLimitHit, None));
}
