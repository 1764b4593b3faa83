//! What the kinds of services have of their own: daemons that fork, reloads by signal, starts that wait, conditions.

use super::super::{
    input::{MissingMain, Restored, Verb},
    status::Active,
};
use super::{
    desk::{Desk, pid_of},
    make::{command, notifying, service, with},
    takeover::living,
};
use crate::{
    base::{Pid, Signal, TimeSpan},
    node::input::Adopted,
    unit::{
        UnitDef,
        spec::{ExitType, FailureMode, NotifyAccess, Restart, ServiceKind},
    },
};

fn forking(text: &str) -> UnitDef {
    with(text, |def| def.service.kind = ServiceKind::Forking)
}

fn with_pid_file(text: &str) -> UnitDef {
    let mut def = forking(text);
    def.service.main.pid_file = Some(std::path::Path::new("/run/web.pid").into());
    def
}

/// A forking service whose command ended well and left a process.
fn forked(def: UnitDef) -> Desk {
    let mut desk = Desk::new([def]);
    desk.spawned("web/1.1");
    desk.left("web/1.1", 0);
    desk
}

fn reloading_by_signal() -> Desk {
    let mut def = notifying("web");
    def.service.kind = ServiceKind::NotifyReload;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.notify("web/1", |message| message.ready = true);
    desk
}

#[test]
fn a_daemon_is_up_when_the_process_that_its_command_left_is_known() {
    let mut desk = Desk::new([forking("web")]);
    desk.spawned("web/1.1");
    assert_eq!(desk.sub("web"), "start");
    assert_eq!(desk.left("web/1.1", 0), ["find web/1:1 guess"]);
    assert_eq!(desk.spawned("web/1:1"), ["MainStarted web/1", "RunReady web/1"]);
    assert_eq!((desk.sub("web"), desk.status("web").main_pid), ("running", Some(Pid::new(1016).unwrap())));
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_the_run() {
    let mut def = forking("web");
    def.service.restart.when = Restart::OnFailure;
    let mut desk = forked(def);
    desk.spawned("web/1:1");
    let said = desk.exited("web/1:1", 3);
    assert_eq!(said[..2], ["spawn web/2.1 exec_start", "RunEnded web/1 exit-code (exit code 3) restart"]);
}

#[test]
fn the_pid_file_of_a_run_is_gone_before_the_next_run() {
    for kind in [ServiceKind::Forking, ServiceKind::Simple] {
        let mut def = with_pid_file("web");
        def.service.kind = kind;
        def.service.restart.when = Restart::OnFailure;
        let (mut desk, main) = match kind {
            ServiceKind::Forking => (forked(def), "web/1:1"),
            _ => (Desk::new([def]), "web/1"),
        };
        desk.spawned(main);
        let said = desk.exited(main, 3);
        assert_eq!(said[0], "tidy web", "{said:?}");
        assert!(said[1].starts_with("spawn web/2"), "{said:?}");
    }
}

#[test]
fn a_daemon_whose_command_fails_never_comes_up() {
    let mut desk = Desk::new([forking("web")]);
    desk.spawned("web/1.1");
    let said = desk.exited("web/1.1", 3);
    assert_eq!(said, ["kill-tree web/1 SIGTERM", "ControlFailed web/1 exec_start exit code 3"], "it may have left one");
    desk.tree_empty("web/1");
    assert_eq!(desk.sub("web"), "failed");
}

#[test]
fn a_daemon_whose_main_process_nobody_knows_lives_as_long_as_any_process() {
    let mut desk = forked(forking("web"));
    assert_eq!(desk.missing("web/1:1", MissingMain::NotYet), ["watch-tree web/1", "RunReady web/1"]);
    assert_eq!((desk.sub("web"), desk.status("web").main_pid), ("running", None));
    let said = desk.tree_empty("web/1");
    assert_eq!(said, ["RunEnded web/1 success (none) rest"]);
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn a_pid_file_is_waited_for_until_the_start_takes_too_long() {
    let mut desk = forked(with_pid_file("web"));
    assert_eq!(desk.missing("web/1:1", MissingMain::NotYet), Vec::<String>::new());
    assert_eq!(desk.pass(0.01), ["find web/1:1 /run/web.pid"]);
    desk.missing("web/1:1", MissingMain::NotYet);
    assert_eq!(desk.pass(0.01), Vec::<String>::new(), "the next look comes later");
    assert_eq!(desk.pass(0.01), ["find web/1:1 /run/web.pid"]);
    assert_eq!(desk.spawned("web/1:1"), ["MainStarted web/1", "RunReady web/1"]);

    let mut desk = forked(with_pid_file("web"));
    desk.missing("web/1:1", MissingMain::NotYet);
    let said = desk.pass(90.0);
    assert!(said.contains(&"TimedOut web/1 start".to_owned()), "{said:?}");
    assert_eq!(desk.sub("web"), "stop-sigterm");
}

#[test]
fn nobody_is_left_to_write_the_pid_file() {
    let mut desk = forked(with_pid_file("web"));
    let said = desk.missing("web/1:1", MissingMain::Gone);
    assert_eq!(said[..2], ["tidy web", "RunEnded web/1 protocol (none) fail"]);
}

#[test]
fn the_last_command_of_the_start_may_write_the_pid_file() {
    let mut def = with_pid_file("web");
    def.service.exec_start_post = [command("post")].into();
    let mut desk = forked(def);
    assert_eq!(desk.missing("web/1:1", MissingMain::NotYet), ["spawn web/1.2 exec_start_post"]);
    assert_eq!(desk.left("web/1.2", 0), ["find web/1:2 /run/web.pid"]);
    assert_eq!(desk.spawned("web/1:2"), ["MainStarted web/1", "RunReady web/1"]);
}

#[test]
fn a_new_manager_goes_on_looking_for_the_daemon() {
    let desk = forked(with_pid_file("web"));
    let (mut next, said) = desk.takeover([with_pid_file("web")], Restored::default());
    assert!(said.contains(&"find web/1:1 /run/web.pid".to_owned()), "{said:?}");
    next.spawned("web/1:1");
    assert_eq!(next.sub("web"), "running");

    // The keeper knew it already, and the manager died before it heard so.
    let key = super::desk::key("web/1:1");
    let adopted = Adopted { pid: pid_of(&key), key, invocation: crate::base::InvocationId::default() };
    let restored = Restored { processes: vec![adopted], ..Restored::default() };
    let (mut next, said) = desk.takeover([with_pid_file("web")], restored);
    assert!(said.contains(&"RunReady web/1".to_owned()), "{said:?}");
    next.exited("web/1:1", 0);
    assert_eq!(next.sub("web"), "dead");
}

#[test]
fn a_service_may_name_another_process_as_the_main_one() {
    let mut desk = Desk::new([notifying("web")]);
    desk.spawned("web/1");
    let said = desk.notify("web/1", |message| {
        message.ready = true;
        message.main_pid = Pid::new(77);
    });
    assert_eq!(said, ["find web/1:1 77", "RunReady web/1"]);
    assert_eq!(desk.spawned("web/1:1"), ["MainStarted web/1"]);
    assert_eq!(desk.left("web/1", 0), Vec::<String>::new(), "the process before is no longer the service");
    assert_eq!(desk.sub("web"), "running");
    desk.killed("web/1:1", Signal::KILL);
    assert_eq!(desk.sub("web"), "failed");
}

#[test]
fn the_end_of_the_old_main_process_waits_for_the_answer_about_the_new_one() {
    let named = |message: &mut crate::node::input::NotifyMessage| message.main_pid = Pid::new(77);
    let mut desk = Desk::new([service("web")]);
    desk.spawned("web/1");
    desk.notify("web/1", named);
    assert_eq!(desk.sub("web"), "running", "nobody is believed without notify_access");

    let mut def = notifying("web");
    def.service.kind = ServiceKind::Simple;
    let mut desk = Desk::new([def.clone()]);
    desk.spawned("web/1");
    desk.notify("web/1", named);
    assert_eq!(desk.left("web/1", 0), Vec::<String>::new());
    assert_eq!(desk.spawned("web/1:1"), ["MainStarted web/1"]);
    assert_eq!(desk.sub("web"), "running");

    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.notify("web/1", named);
    desk.left("web/1", 3);
    let said = desk.missing("web/1:1", MissingMain::Refused("it is a stranger".to_owned()));
    assert_eq!(said[0], "kill-tree web/1 SIGTERM");
    assert!(said.contains(&"MainPidRefused".to_owned()), "{said:?}");
}

#[test]
fn exit_type_cgroup_lives_as_long_as_any_process() {
    let mut def = service("web");
    def.service.main.exit_type = ExitType::Cgroup;
    def.service.restart.when = Restart::OnFailure;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert_eq!(desk.left("web/1", 3), ["watch-tree web/1"]);
    assert_eq!(desk.sub("web"), "running");
    let said = desk.tree_empty("web/1");
    assert_eq!(said[1], "RunEnded web/1 exit-code (exit code 3) restart", "{said:?}");
}

#[test]
fn a_reload_by_signal_is_over_when_the_service_says_so() {
    let mut desk = reloading_by_signal();
    let asked = desk.now.mono.0 / 1000;
    assert_eq!(desk.order(Verb::Reload, &["web"]), ["kill web/1 SIGHUP"]);
    assert_eq!((desk.sub("web"), desk.status("web").active), ("reload-signal", Active::Reloading));
    let said = desk.notify("web/1", |message| {
        message.reloading = true;
        message.monotonic_usec = Some(asked - 1);
    });
    assert_eq!((said, desk.sub("web")), (vec![], "reload-signal"), "that was an earlier reload");
    desk.notify("web/1", |message| {
        message.reloading = true;
        message.monotonic_usec = Some(asked);
    });
    assert_eq!(desk.sub("web"), "reload-notify");
    assert_eq!(desk.notify("web/1", |message| message.ready = true), ["Reloaded web/1 uid 1000", "reply web=done"]);
    assert_eq!(desk.sub("web"), "running");
}

#[test]
fn a_reload_by_signal_that_gets_no_answer_is_given_up_and_the_service_runs_on() {
    let mut desk = reloading_by_signal();
    desk.order(Verb::Reload, &["web"]);
    let said = desk.pass(90.0);
    assert_eq!(said[..2], ["TimedOut web/1 reload", "ReloadFailed"], "{said:?}");
    assert_eq!((desk.sub("web"), desk.status("web").result.as_str()), ("running", "success"));
}

#[test]
fn a_new_manager_gives_the_reload_signal_again_and_waits_for_the_answer() {
    let mut desk = reloading_by_signal();
    let asked = desk.now.mono.0 / 1000;
    desk.order(Verb::Reload, &["web"]);
    let key = super::desk::key("web/1");
    let adopted = Adopted { pid: pid_of(&key), key, invocation: crate::base::InvocationId::default() };
    let mut def = notifying("web");
    def.service.kind = ServiceKind::NotifyReload;
    let restored = Restored { processes: vec![adopted], ..Restored::default() };
    let (mut next, said) = desk.takeover([def], restored);
    assert!(said.contains(&"kill web/1 SIGHUP".to_owned()), "{said:?}");
    next.notify("web/1", |message| {
        message.reloading = true;
        message.ready = true;
        message.monotonic_usec = Some(asked + 5);
    });
    assert_eq!(next.sub("web"), "running");
}

#[test]
fn a_condition_that_says_no_is_no_failure_and_is_not_tried_again() {
    let mut def = service("web");
    def.service.exec_condition = [command("test")].into();
    def.service.restart.when = Restart::Always;
    let mut desk = Desk::new([def.clone()]);
    assert_eq!(desk.sub("web"), "condition");
    assert_eq!(desk.exited("web/1.1", 1), ["RunEnded web/1 exec-condition (none) rest"]);
    assert_eq!((desk.sub("web"), desk.status("web").result.as_str()), ("dead", "exec-condition"));
    assert_eq!(desk.order(Verb::Start, &["web"])[0], "spawn web/2.1 exec_condition");
    let said = desk.exited("web/2.1", 254);
    assert_eq!(said.last().map(String::as_str), Some("reply web=Skipped"));

    let mut desk = Desk::new([def.clone()]);
    assert_eq!(desk.exited("web/1.1", 0), ["spawn web/1 exec_start"]);
    let mut desk = Desk::new([def]);
    let said = desk.exited("web/1.1", 255);
    assert_eq!(said[1], "ControlFailed web/1 exec_condition exit code 255", "{said:?}");
}

#[test]
fn an_idle_service_waits_for_the_starts_of_others_but_not_for_ever() {
    let idle = with("late", |def| def.service.kind = ServiceKind::Idle);
    let mut slow = notifying("slow");
    slow.service.notify_access = NotifyAccess::Main;
    let mut desk = Desk::cold([idle.clone(), slow.clone()]);
    let said = desk.give(crate::node::Input::Boot);
    assert!(said.contains(&"spawn slow/1 exec_start".to_owned()), "{said:?}");
    assert_eq!(desk.sub("late"), "dead");
    desk.spawned("slow/1");
    let said = desk.notify("slow/1", |message| message.ready = true);
    assert!(said.contains(&"spawn late/1 exec_start".to_owned()), "{said:?}");

    let mut desk = Desk::cold([idle, slow]);
    desk.give(crate::node::Input::Boot);
    assert!(desk.pass(4.9).is_empty());
    assert_eq!(desk.pass(0.2)[0], "spawn late/1 exec_start");
}

#[test]
fn a_restart_has_a_signal_of_its_own_where_the_unit_says_so() {
    let mut def = service("web");
    def.service.kill.restart_signal = Some(Signal::USR1);
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert_eq!(desk.order(Verb::Restart, &["web"]), ["kill-tree web/1 SIGUSR1"]);
    desk.exited("web/1", 0);
    desk.spawned("web/2");
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["kill-tree web/2 SIGTERM"]);
}

#[test]
fn a_start_that_takes_too_long_is_ended_as_the_unit_says() {
    let cases = [
        (FailureMode::Terminate, "kill-tree web/1 SIGTERM"),
        (FailureMode::Abort, "kill-tree web/1 SIGABRT"),
        (FailureMode::Kill, "kill-tree web/1 SIGKILL"),
    ];
    for (mode, signal) in cases {
        let mut def = notifying("web");
        def.service.timeouts.start_failure = mode;
        let mut desk = Desk::new([def]);
        desk.spawned("web/1");
        let said = desk.pass(90.0);
        assert_eq!(said[0], signal, "{mode:?}");
    }
}

#[test]
fn a_stop_that_takes_too_long_can_leave_a_core() {
    let mut def = service("web");
    def.service.timeouts.stop_failure = FailureMode::Abort;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.order(Verb::Stop, &["web"]);
    assert_eq!(desk.pass(90.0)[0], "kill-tree web/1 SIGABRT");
    assert_eq!(desk.pass(90.0)[0], "kill-tree web/1 SIGKILL");
}

#[test]
fn the_longest_time_up_can_vary_from_run_to_run() {
    let mut def = service("web");
    def.service.timeouts.runtime_max = TimeSpan::from_secs(100);
    def.service.timeouts.runtime_extra = TimeSpan::from_secs(50);
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert!(desk.pass(100.0).is_empty(), "not before its time");
    let said = desk.pass(50.0);
    assert!(said.contains(&"TimedOut web/1 running".to_owned()), "{said:?}");
}

#[test]
fn a_process_that_is_found_late_is_the_main_one_until_a_newer_claim_has_an_answer() {
    let def = with("web", |def| {
        def.service.kind = ServiceKind::Forking;
        def.service.notify_access = NotifyAccess::All;
    });
    let mut desk = Desk::new([def.clone()]);
    desk.spawned("web/1.1");
    assert_eq!(desk.left("web/1.1", 0), ["find web/1:1 guess"]);
    let pid = Pid::new(4711);
    assert_eq!(desk.notify("web/1", |message| message.main_pid = pid), ["find web/1:2 4711"]);
    let (mut later, said) = desk.takeover([def], living(&["web/1:1"]));
    assert!(said.contains(&"RunReady web/1".to_owned()), "nor does the next manager overlook it: {said:?}");
    for desk in [&mut desk, &mut later] {
        desk.spawned("web/1:1");
        assert!(desk.status("web").main_pid.is_some());
        desk.missing("web/1:2", MissingMain::Refused("it is a stranger's".to_owned()));
        assert_eq!(desk.sub("web"), "running");
        let said = desk.exited("web/1:1", 1);
        assert_eq!(said.last().unwrap(), "UnitFailed web exit-code", "its end is that of the service: {said:?}");
    }
}

#[test]
fn a_former_main_process_that_is_the_last_of_its_tree_ends_a_service_that_lives_by_it() {
    let mut desk = Desk::new([with("web", |def| {
        def.service.kind = ServiceKind::Forking;
        def.service.main.exit_type = ExitType::Cgroup;
        def.service.notify_access = NotifyAccess::All;
    })]);
    desk.spawned("web/1.1");
    desk.left("web/1.1", 0);
    desk.spawned("web/1:1");
    desk.notify("web/1", |message| message.main_pid = Pid::new(4711));
    desk.spawned("web/1:2");
    desk.left("web/1:2", 0);
    desk.exited("web/1:1", 0);
    assert_eq!(desk.sub("web"), "running", "whoever else is left of its tree is looked for");
    let said = desk.tree_empty("web/1");
    assert!(said.iter().any(|line| line.starts_with("RunEnded web/1 success")), "{said:?}");
}
