//! External services: what others say of them.

use super::super::input::{Life, LifeEnd, Restored, Sight, Verb};
use super::{
    desk::Desk,
    make::{external, name, service, with},
};
use crate::{
    base::{ExitStatus, RunResult, TimeSpan},
    node::Input,
    unit::{UnitDef, spec::Restart},
};

fn up(id: &str, restarts: u32) -> Sight {
    Sight::Up { said: "active (running)".into(), life: Life { id: id.into(), restarts: Some(restarts) } }
}

fn down(result: RunResult, code: u8) -> Sight {
    Sight::Down { said: "failed (failed)".into(), end: LifeEnd { result, status: Some(ExitStatus::Exited(code)) } }
}

fn moving(result: RunResult, code: u8) -> Sight {
    let end = LifeEnd { result, status: Some(ExitStatus::Exited(code)) };
    Sight::Moving { said: "activating (auto-restart)".into(), end }
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
    assert_eq!((desk.sub("web"), desk.status("web").main_pid), ("exited", None));
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
    assert_eq!(desk.sub("web"), "exited");
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
    assert!(desk.status("web").restarts == 1 && desk.sub("web") == "exited");
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
    assert!(!desk.node.is_in_incident(&name("web")));
}

#[test]
fn who_cannot_be_asked_says_nothing_of_the_service() {
    let mut desk = watched(on_failure("web"));
    assert!(look(&mut desk, Sight::Unasked("cannot ask systemd: no".into())).is_empty());
    assert_eq!(desk.sub("web"), "exited");
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
    let said = desk.killed("web/1.1", crate::base::Signal::TERM);
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
    let said = desk.killed("web/1.2", crate::base::Signal::TERM);
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
