//! One unit from start to end.

use super::super::input::{Restored, Sender, Verb};
use super::{
    desk::Desk,
    make::{command, eager, notifying, service, with},
};
use crate::{
    base::{ExitStatus, Signal, SpawnStep, TimeSpan},
    unit::spec::{EmergencyAction, KillMode, NotifyAccess, Restart, ServiceKind},
};

#[test]
fn a_main_process_that_dies_is_replaced_in_the_same_call() {
    let mut desk = Desk::new([eager("web")]);
    assert_eq!(desk.spawned("web/1"), ["MainStarted web/1", "RunReady web/1"]);
    assert_eq!(
        desk.exited("web/1", 1),
        ["spawn web/2 exec_start", "RunEnded web/1 exit-code (exit code 1) restart", "RunStarting web/2 AutoRestart 1"]
    );
}

#[test]
fn the_memo_goes_out_before_the_spawn_that_it_covers() {
    use super::super::{Effect, Input};
    let mut desk = Desk::new([eager("web")]);
    desk.spawned("web/1");
    let key = super::desk::key("web/1");
    desk.node
        .handle(desk.now, Input::Exited { key, status: ExitStatus::Exited(1), usage: None, oom: false, alone: true });
    let effects: Vec<_> = std::iter::from_fn(|| desk.node.poll_effect()).collect();
    assert!(matches!(&effects[..2], [Effect::Remember { .. }, Effect::Spawn(_)]), "{effects:#?}");
    let remembered = effects.iter().filter(|effect| matches!(effect, Effect::Remember { .. })).count();
    assert_eq!(remembered, 1, "one memo is enough");
}

#[test]
fn a_stale_or_repeated_exit_starts_nothing() {
    let mut desk = Desk::new([eager("web")]);
    desk.spawned("web/1");
    desk.exited("web/1", 1);
    desk.spawned("web/2");
    assert_eq!(desk.exited("web/1", 1), ["RunEnded web/1 exit-code (exit code 1) restart replayed"]);
    assert_eq!(desk.spawned("web/1"), Vec::<String>::new());
    assert_eq!(desk.tree_empty("web/1"), Vec::<String>::new());
    assert_eq!(desk.exited("web/9", 1), Vec::<String>::new());
    assert_eq!(desk.exited("other/1", 1), Vec::<String>::new());
    assert_eq!((desk.sub("web"), desk.status("web").generation.0), ("running", 2));
    assert_eq!(desk.node.stale_facts(), 5);
}

#[test]
fn what_a_dead_main_process_leaves_is_ended_before_the_next_run() {
    let mut desk = Desk::new([eager("web")]);
    desk.spawned("web/1");
    assert_eq!(desk.left("web/1", 1), ["kill-tree web/1 SIGTERM"]);
    assert_eq!(desk.sub("web"), "stop-sigterm");
    let said = desk.pass(90.0);
    assert_eq!(said, ["kill-tree web/1 SIGKILL", "TimedOut web/1 stop-sigterm"]);
    let said = desk.tree_empty("web/1");
    assert_eq!(said[0], "spawn web/2 exec_start");
}

#[test]
fn mixed_ends_the_rest_with_the_final_signal_at_once() {
    let mut def = eager("web");
    def.service.kill.mode = KillMode::Mixed;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert_eq!(desk.left("web/1", 0), ["kill-tree web/1 SIGKILL"]);
    assert_eq!(desk.tree_empty("web/1")[0], "spawn web/2 exec_start");
    desk.spawned("web/2");
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["kill web/2 SIGTERM"]);
    assert_eq!(desk.left("web/2", 0), ["kill-tree web/2 SIGKILL"]);
    let said = desk.tree_empty("web/2");
    assert_eq!(
        said,
        ["RunEnded web/2 success (exit code 0) rest wanted", "UnitStopped web uid 1000", "reply web=done"]
    );
}

#[test]
fn mode_process_leaves_the_rest_alone() {
    let mut def = eager("web");
    def.service.kill.mode = KillMode::Process;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert_eq!(desk.left("web/1", 1)[0], "spawn web/2 exec_start");
    desk.spawned("web/2");
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["kill web/2 SIGTERM"]);
    assert_eq!(desk.left("web/2", 0).last().unwrap(), "reply web=done");
}

#[test]
fn mode_none_signals_nobody_and_starts_no_second_copy() {
    let mut def = eager("web");
    def.service.kill.mode = KillMode::None;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert_eq!(desk.order(Verb::Restart, &["web"]), Vec::<String>::new());
    let said = desk.pass(200.0);
    assert_eq!(said, ["TimedOut web/1 stop-sigterm", "Unkillable web/1", "reply web=Failed(Unkillable)"]);
    assert_eq!(desk.exited("web/1", 0)[0], "spawn web/2 exec_start");
}

#[test]
fn a_process_that_survives_the_final_signal_keeps_its_place() {
    let mut desk = Desk::new([eager("web")]);
    desk.spawned("web/1");
    assert_eq!(desk.order(Verb::Restart, &["web"]), ["kill-tree web/1 SIGTERM"]);
    assert_eq!(desk.pass(90.0), ["kill-tree web/1 SIGKILL", "TimedOut web/1 stop-sigterm"]);
    let said = desk.pass(90.0);
    assert_eq!(
        said,
        ["kill-tree web/1 SIGKILL", "TimedOut web/1 stop-sigkill", "Unkillable web/1", "reply web=Failed(Unkillable)"]
    );
    assert!(desk.status("web").unkillable);
    assert_eq!(desk.order(Verb::Start, &["web"]), ["reply web=Failed(Unkillable)"]);
    assert_eq!(desk.pass(200.0), ["kill-tree web/1 SIGKILL", "kill-tree web/1 SIGKILL"], "tried again, said once");
    let said = desk.killed("web/1", Signal::KILL);
    assert_eq!(said[..2], ["spawn web/2 exec_start", "RunEnded web/1 timeout (killed by SIGKILL) rest wanted"]);
}

#[test]
fn send_sigkill_no_never_sends_it() {
    let def = with("web", |def| def.service.kill.send_sigkill = false);
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.order(Verb::Stop, &["web"]);
    let said = desk.pass(1000.0);
    assert_eq!(said, ["TimedOut web/1 stop-sigterm", "Unkillable web/1", "reply web=Failed(Unkillable)"]);
    assert_eq!(desk.left("web/1", 0), ["kill-tree web/1 SIGTERM"], "the rest is asked politely");
    let said = desk.pass(90.0);
    assert_eq!(said[0], "TimedOut web/1 final-sigterm");
    assert_eq!(desk.sub("web"), "dead", "and then left");
}

#[test]
fn sighup_follows_the_stop_signal_where_asked() {
    let def = with("web", |def| def.service.kill.send_sighup = true);
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["kill-tree web/1 SIGTERM", "kill-tree web/1 SIGHUP"]);
}

#[test]
fn commands_run_around_the_main_process_in_order() {
    let def = with("web", |def| {
        let service = &mut def.service;
        service.exec_start_pre = [command("pre1"), command("pre2")].into();
        service.exec_start_post = [command("post")].into();
        service.exec_stop = [command("stop")].into();
        service.exec_stop_post = [command("after")].into();
    });
    let mut desk = Desk::cold([def]);
    let said = desk.give(super::super::Input::Boot);
    assert_eq!(said, ["spawn web/1.1 exec_start_pre", "RunStarting web/1 Boot 0"]);
    assert_eq!(desk.exited("web/1.1", 0), ["spawn web/1.2 exec_start_pre"]);
    assert_eq!(desk.exited("web/1.2", 0), ["spawn web/1 exec_start"]);
    assert_eq!(desk.spawned("web/1"), ["spawn web/1.3 exec_start_post MAINPID=1010", "MainStarted web/1"]);
    assert_eq!(desk.sub("web"), "start-post");
    assert_eq!(desk.left("web/1.3", 0), ["RunReady web/1"]);
    let stop = desk.order(Verb::Stop, &["web"]);
    assert_eq!(stop, ["spawn web/1.4 exec_stop MAINPID=1010 SERVICE_RESULT=success"]);
    assert_eq!(desk.left("web/1.4", 0), ["kill-tree web/1 SIGTERM"]);
    let ended = desk.killed("web/1", Signal::TERM);
    assert_eq!(ended, ["spawn web/1.5 exec_stop_post SERVICE_RESULT=success EXIT_CODE=killed EXIT_STATUS=TERM"]);
    let said = desk.exited("web/1.5", 0);
    let end = "RunEnded web/1 success (killed by SIGTERM) rest wanted";
    assert_eq!(said, [end, "UnitStopped web uid 1000", "reply web=done"]);
}

#[test]
fn stop_commands_run_even_when_the_main_process_died_by_itself() {
    let def = with("web", |def| {
        def.service.exec_stop = [command("stop")].into();
        def.service.exec_stop_post = [command("after")].into();
    });
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    let died = desk.ended("web/1", ExitStatus::Signaled { signal: Signal::ABRT, core: true }, true);
    assert_eq!(died, ["spawn web/1.1 exec_stop SERVICE_RESULT=core-dump EXIT_CODE=dumped EXIT_STATUS=ABRT"]);
    assert_eq!(
        desk.exited("web/1.1", 0),
        ["spawn web/1.2 exec_stop_post SERVICE_RESULT=core-dump EXIT_CODE=dumped EXIT_STATUS=ABRT"]
    );
    let said = desk.exited("web/1.2", 0);
    assert_eq!(said, ["RunEnded web/1 core-dump (dumped core on SIGABRT) fail", "UnitFailed web core-dump"]);
}

#[test]
fn a_failed_start_command_fails_the_start_and_a_dash_forgives_it() {
    let mut def = with("web", |def| def.service.exec_start_pre = [command("pre")].into());
    let mut desk = Desk::cold([def.clone()]);
    desk.order(Verb::Start, &["web"]);
    let said = desk.exited("web/1.1", 3);
    assert_eq!(said[0], "ControlFailed web/1 exec_start_pre exit code 3");
    assert_eq!(said[1], "RunEnded web/1 exit-code (none) fail");
    assert_eq!(said[3], "reply web=Failed(StartFailed { result: ExitCode, status: None })");
    def.service.exec_start_pre[0].ignore_failure = true;
    let mut desk = Desk::new([def]);
    let said = desk.exited("web/1.1", 3);
    assert_eq!(said, ["spawn web/1 exec_start", "ControlFailed web/1 exec_start_pre exit code 3 ignored"]);
}

#[test]
fn a_start_that_takes_too_long_is_ended() {
    let mut desk = Desk::new([notifying("web")]);
    desk.spawned("web/1");
    assert_eq!(desk.sub("web"), "start");
    assert_eq!(desk.pass(90.0), ["kill-tree web/1 SIGTERM", "TimedOut web/1 start"]);
    let said = desk.killed("web/1", Signal::TERM);
    assert_eq!(said, ["RunEnded web/1 timeout (killed by SIGTERM) fail", "UnitFailed web timeout"]);
}

#[test]
fn a_service_that_notifies_is_up_when_it_says_so() {
    let mut desk = Desk::cold([notifying("web")]);
    desk.order(Verb::Start, &["web"]);
    assert_eq!(desk.spawned("web/1"), ["MainStarted web/1"]);
    assert_eq!(desk.notify_from("web/1", Sender::Other, |m| m.ready = true), ["NotifyRefused"]);
    assert_eq!(desk.notify_from("web/1", Sender::Other, |m| m.ready = true), Vec::<String>::new());
    assert_eq!(desk.notify_from("web/1", Sender::Control, |m| m.ready = true), ["NotifyRefused"]);
    assert_eq!(desk.notify("web/1", |m| m.ready = true), ["RunReady web/1", "reply web=done"]);
    assert_eq!(desk.notify("web/1", |m| m.status = Some("well".to_owned())), Vec::<String>::new());
    assert_eq!(desk.status("web").status_text.as_deref(), Some("well"));
}

#[test]
fn whose_messages_are_believed_follows_notify_access() {
    for (access, believed) in [
        (NotifyAccess::None, [false, false, false]),
        (NotifyAccess::Main, [true, false, false]),
        (NotifyAccess::Exec, [true, true, false]),
        (NotifyAccess::All, [true, true, true]),
    ] {
        for (sender, believed) in [Sender::Main, Sender::Control, Sender::Other].into_iter().zip(believed) {
            let mut def = notifying("web");
            def.service.notify_access = access;
            let mut desk = Desk::new([def]);
            desk.spawned("web/1");
            let said = desk.notify_from("web/1", sender, |m| m.ready = true);
            assert_eq!(said, [if believed { "RunReady web/1" } else { "NotifyRefused" }], "{access:?} {sender:?}");
        }
    }
}

#[test]
fn a_clean_end_before_ready_breaks_the_protocol() {
    let mut desk = Desk::new([notifying("web")]);
    desk.spawned("web/1");
    assert_eq!(desk.exited("web/1", 0), ["RunEnded web/1 protocol (exit code 0) fail", "UnitFailed web protocol"]);
}

#[test]
fn extend_timeout_moves_the_deadline_of_start_and_stop() {
    let mut desk = Desk::new([notifying("web")]);
    desk.spawned("web/1");
    desk.pass(80.0);
    desk.notify("web/1", |m| m.extend_timeout_usec = Some(100_000_000));
    assert_eq!(desk.pass(99.0), Vec::<String>::new());
    desk.notify("web/1", |m| m.ready = true);
    desk.order(Verb::Stop, &["web"]);
    desk.pass(80.0);
    desk.notify("web/1", |m| m.extend_timeout_usec = Some(60_000_000));
    desk.notify("web/1", |m| m.extend_timeout_usec = Some(5_000_000));
    assert_eq!(desk.pass(59.0), Vec::<String>::new());
    assert_eq!(desk.pass(1.0)[0], "kill-tree web/1 SIGKILL");
}

#[test]
fn exec_is_up_once_its_program_runs() {
    let mut desk = Desk::new([with("web", |def| def.service.kind = ServiceKind::Exec)]);
    assert_eq!(desk.spawned("web/1"), ["MainStarted web/1"]);
    assert_eq!(desk.sub("web"), "start");
    let key = super::desk::key("web/1");
    assert_eq!(desk.give(super::super::Input::ExecDone { key }), ["RunReady web/1"]);
}

#[test]
fn a_oneshot_is_done_when_its_commands_are() {
    let mut def = with("job", |def| {
        def.service.kind = ServiceKind::Oneshot;
        def.service.exec_start = vec![command("one"), command("two")].into();
        def.service.timeouts.start = TimeSpan::INFINITY;
    });
    let mut desk = Desk::cold([def.clone()]);
    assert_eq!(desk.order(Verb::Start, &["job"])[0], "spawn job/1.1 exec_start");
    assert_eq!(desk.exited("job/1.1", 0), ["spawn job/1 exec_start"]);
    desk.spawned("job/1");
    let said = desk.exited("job/1", 0);
    assert_eq!(said, ["RunReady job/1", "RunEnded job/1 success (exit code 0) rest", "reply job=done"]);
    assert_eq!(desk.sub("job"), "dead");

    def.service.remain_after_exit = true;
    let mut desk = Desk::new([def.clone()]);
    desk.exited("job/1.1", 0);
    desk.spawned("job/1");
    assert_eq!(desk.exited("job/1", 0), ["RunReady job/1"]);
    assert_eq!(desk.sub("job"), "exited");
    assert_eq!(desk.order(Verb::Start, &["job"]), ["reply job=already"]);
    assert_eq!(desk.order(Verb::Stop, &["job"]).last().unwrap(), "reply job=done");

    let mut desk = Desk::new([def]);
    let said = desk.exited("job/1.1", 4);
    assert_eq!(said[1..], ["RunEnded job/1 exit-code (exit code 4) fail", "UnitFailed job exit-code"]);
}

#[test]
fn a_polite_signal_is_no_clean_end_of_a_oneshot() {
    let mut desk = Desk::new([with("job", |def| def.service.kind = ServiceKind::Oneshot)]);
    desk.spawned("job/1");
    assert_eq!(desk.killed("job/1", Signal::TERM)[0], "RunEnded job/1 signal (killed by SIGTERM) fail");
    let mut desk = Desk::new([service("web")]);
    desk.spawned("web/1");
    assert_eq!(desk.killed("web/1", Signal::TERM)[0], "RunEnded web/1 success (killed by SIGTERM) rest");
}

#[test]
fn the_hold_off_grows_and_a_manual_start_does_not_wait_for_it() {
    let mut def = eager("web");
    def.service.restart.delay = TimeSpan::from_secs(10);
    def.service.restart.steps = 4;
    def.service.restart.delay_max = TimeSpan::from_secs(160);
    let mut desk = Desk::new([def]);
    for (generation, secs) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 160)] {
        desk.up("web");
        let said = desk.exited(&format!("web/{generation}"), 1);
        let delay = TimeSpan::from_secs(secs);
        assert_eq!(said[1], format!("RestartScheduled web {delay} {generation}"));
        assert_eq!(desk.sub("web"), "auto-restart");
        assert_eq!(desk.pass(secs as f64 - 0.001), Vec::<String>::new());
        assert_eq!(desk.pass(0.001)[0], format!("spawn web/{} exec_start", generation + 1));
    }
    desk.up("web");
    desk.exited("web/7", 1);
    let said = desk.order(Verb::Start, &["web"]);
    assert_eq!(said, ["spawn web/8 exec_start", "RunStarting web/8 Manual(User(1000)) 6"]);
    assert_eq!(desk.up("web").last().unwrap(), "reply web=done");
    desk.exited("web/8", 1);
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["UnitStopped web uid 1000", "reply web=done"]);
    assert_eq!(desk.pass(1000.0), Vec::<String>::new());
}

#[test]
fn a_row_of_restarts_ends_when_it_is_up_for_long_enough() {
    let mut def = eager("web");
    def.service.restart.reset_after = Some(TimeSpan::from_secs(600));
    let mut desk = Desk::new([def]);
    desk.up("web");
    desk.exited("web/1", 1);
    desk.up("web");
    desk.exited("web/2", 1);
    desk.up("web");
    desk.pass(599.0);
    assert_eq!(desk.status("web").restarts, 2);
    desk.pass(1.0);
    assert_eq!(desk.status("web").restarts, 0);
}

#[test]
fn too_many_starts_fail_the_unit_until_it_is_reset() {
    let mut def = eager("web");
    def.start_limit.interval = TimeSpan::from_secs(10);
    let mut desk = Desk::new([def.clone()]);
    for generation in 1..5 {
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 1);
    }
    desk.up("web");
    let said = desk.exited("web/5", 1);
    let end = "RunEnded web/5 exit-code (exit code 1) start-limit";
    assert_eq!(said, [end, "StartLimitHit web", "UnitFailed web start-limit-hit"]);
    assert_eq!((desk.sub("web"), desk.status("web").result.as_str()), ("failed", "start-limit-hit"));
    let (mut next, _) = desk.takeover([def], Restored::default());
    for desk in [&mut desk, &mut next] {
        let said = desk.order(Verb::Start, &["web"]);
        assert!(said.contains(&"StartLimitHit web again".to_owned()), "it came to its limit once: {said:?}");
        assert_eq!(said.last().unwrap(), "reply web=Failed(StartLimitHit)", "manual starts count too");
    }
    let said = desk.order(Verb::Reset, &["web"]);
    assert_eq!(said, ["CountersReset", "reply web=Cleared { restarts: 4, starts: 5, was_failed: true }"]);
    assert_eq!(desk.sub("web"), "dead");
    let said = desk.order(Verb::Start, &["web"]);
    assert_eq!(said, ["spawn web/6 exec_start", "RunStarting web/6 Manual(User(1000)) 0"]);
}

#[test]
fn what_a_plan_of_the_fleet_restarts_does_not_count_against_the_start_limit() {
    let mut def = eager("web");
    def.start_limit.interval = TimeSpan::from_secs(10);
    let mut desk = Desk::new([def]);
    desk.up("web");
    for generation in 2..20 {
        desk.order_by(crate::base::Actor::PLAN, Verb::Restart, &["web"]);
        desk.exited(&format!("web/{}", generation - 1), 0);
        desk.up("web");
    }
    assert_eq!((desk.sub("web"), desk.status("web").starts_in_window), ("running", 1));
}

#[test]
fn a_start_limit_that_says_exit_ends_the_daemon_with_1() {
    let mut def = eager("web");
    def.start_limit.interval = TimeSpan::from_secs(10);
    def.start_limit.burst = 1;
    def.start_limit.action = EmergencyAction::Exit;
    let mut desk = Desk::new([def, service("other")]);
    desk.up("web");
    desk.up("other");
    let said = desk.exited("web/1", 1);
    assert!(said.contains(&"ShuttingDown".to_owned()), "{said:?}");
    assert_eq!(desk.killed("other/1", Signal::TERM).last().unwrap(), "all-stopped 1");
}

#[test]
fn a_program_that_cannot_run_ends_with_the_code_of_its_step() {
    let def = with("web", |def| def.service.restart.when = Restart::OnFailure);
    let mut desk = Desk::new([def]);
    let said = desk.spawn_failed("web/1", SpawnStep::Exec, 2);
    assert_eq!(said[..2], ["SpawnFailed", "RunEnded web/1 exit-code (exit code 203) restart"]);
    assert_eq!(desk.sub("web"), "auto-restart", "what cannot run is not tried in a tight loop");
    assert_eq!(desk.pass(0.1)[0], "spawn web/2 exec_start");
}

#[test]
fn a_machine_that_is_short_of_processes_loses_no_service() {
    let mut def = service("web");
    def.start_limit.burst = 2;
    let mut desk = Desk::new([def]);
    let short = [(SpawnStep::Clone, 11), (SpawnStep::Clone, 12), (SpawnStep::Prepare, 24), (SpawnStep::Exec, 11)];
    for (generation, (step, errno)) in (1..20).zip(short.into_iter().cycle()) {
        let said = desk.spawn_failed(&format!("web/{generation}"), step, errno);
        assert_eq!(said[2], "RestartScheduled web 1s 0", "restart=no, and not its fault");
        assert_eq!(desk.pass(1.0)[0], format!("spawn web/{} exec_start", generation + 1));
    }
    assert_eq!((desk.status("web").restarts, desk.status("web").starts_in_window), (0, 1));
}

#[test]
fn a_service_whose_user_has_too_many_processes_is_not_lost() {
    let mut def = service("web");
    def.start_limit.burst = 2;
    let mut desk = Desk::new([def]);
    for generation in 1..20 {
        // The process is there, and a simple service is up with it, when its program cannot be run.
        desk.spawned(&format!("web/{generation}"));
        let said = desk.spawn_failed(&format!("web/{generation}"), SpawnStep::Exec, 11);
        assert_eq!(said[2], "RestartScheduled web 1s 0", "{said:?}");
        desk.pass(1.0);
    }
    desk.up("web");
    assert_eq!((desk.status("web").restarts, desk.status("web").starts_in_window), (0, 1));
    let said = desk.exited("web/20", 1);
    assert!(said.iter().any(|line| line.starts_with("UnitFailed")), "restart=no, and its own fault: {said:?}");
}

#[test]
fn a_reload_runs_its_commands_and_leaves_the_service_up() {
    let def = with("web", |def| def.service.exec_reload = [command("reload")].into());
    let mut desk = Desk::new([def, service("plain")]);
    assert_eq!(desk.order(Verb::Reload, &["web"]), ["reply web=Failed(NotRunning)"]);
    desk.up("web");
    desk.up("plain");
    assert_eq!(desk.order(Verb::Reload, &["plain"]), ["reply plain=Failed(CannotReload)"]);
    assert_eq!(desk.order(Verb::Reload, &["web"]), ["spawn web/1.1 exec_reload MAINPID=1010"]);
    assert_eq!(desk.order(Verb::Reload, &["web"]), Vec::<String>::new());
    let said = desk.left("web/1.1", 0);
    let again = "spawn web/1.2 exec_reload MAINPID=1010";
    assert_eq!(said, [again, "Reloaded web/1 uid 1000", "reply web=done"], "the second asker's files may be newer");
    let said = desk.left("web/1.2", 1);
    assert_eq!(said.last().unwrap(), "reply web=Failed(ReloadFailed)");
    assert_eq!(desk.sub("web"), "running");
    desk.order(Verb::Reload, &["web"]);
    let said = desk.pass(90.0);
    assert_eq!(said[..2], ["kill web/1.3 SIGKILL", "TimedOut web/1 reload"]);
    assert_eq!((desk.sub("web"), desk.status("web").result.as_str()), ("running", "success"));
    desk.order(Verb::Reload, &["web"]);
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["kill-tree web/1 SIGTERM", "reply web=Failed(Superseded)"]);
}

#[test]
fn a_service_that_reloads_by_itself_says_when_it_is_ready_again() {
    let mut desk = Desk::new([notifying("web")]);
    desk.spawned("web/1");
    desk.notify("web/1", |m| m.ready = true);
    desk.notify("web/1", |m| m.reloading = true);
    assert_eq!(desk.sub("web"), "reload-notify");
    assert_eq!(desk.notify("web/1", |m| m.ready = true), ["Reloaded web/1 roundsman"]);
    desk.notify("web/1", |m| m.reloading = true);
    assert_eq!(desk.pass(90.0), ["TimedOut web/1 reload", "ReloadFailed"]);
    assert_eq!(desk.sub("web"), "running");
}

#[test]
fn a_service_that_says_it_stops_gets_the_time_of_a_stop() {
    let mut def = notifying("web");
    def.service.restart.when = Restart::OnFailure;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.notify("web/1", |m| m.ready = true);
    desk.notify("web/1", |m| m.stopping = true);
    assert_eq!(desk.sub("web"), "stop-sigterm");
    assert_eq!(desk.pass(90.0), ["kill-tree web/1 SIGKILL", "TimedOut web/1 stop-sigterm"]);
    assert_eq!(desk.killed("web/1", Signal::KILL)[1], "RunEnded web/1 timeout (killed by SIGKILL) restart");
}

#[test]
fn a_machine_that_stood_still_costs_no_service_its_life() {
    let mut def = notifying("web");
    def.service.watchdog = Some(TimeSpan::from_secs(15));
    let mut desk = Desk::new([def, service("job")]);
    desk.spawned("web/1");
    desk.notify("web/1", |m| m.ready = true);
    desk.spawned("job/1");
    desk.order(Verb::Stop, &["job"]);
    desk.pass(10.0);
    assert_eq!(desk.stand_still(3600), Vec::<String>::new());
    assert_eq!(desk.pass(14.9), Vec::<String>::new(), "whoever comes first, a service has its time anew");
    assert_eq!(desk.pass(0.1), ["kill-tree web/1 SIGABRT", "WatchdogExpired"]);
    assert_eq!(desk.sub("job"), "stop-sigterm");
    desk.pass(76.0);
    assert_eq!(desk.sub("job"), "stop-sigkill", "90 s of its own time");
}

#[test]
fn a_watchdog_that_is_not_fed_aborts_the_service() {
    let mut def = notifying("web");
    def.service.watchdog = Some(TimeSpan::from_secs(15));
    def.service.timeouts.abort = TimeSpan::from_secs(7);
    def.service.restart.when = Restart::OnWatchdog;
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk.pass(80.0);
    desk.notify("web/1", |m| m.ready = true);
    desk.pass(14.0);
    desk.notify("web/1", |m| m.watchdog = true);
    assert_eq!(desk.pass(14.9), Vec::<String>::new());
    assert_eq!(desk.pass(0.1), ["kill-tree web/1 SIGABRT", "WatchdogExpired"]);
    assert_eq!(desk.sub("web"), "stop-watchdog");
    assert_eq!(desk.pass(7.0), ["kill-tree web/1 SIGKILL", "TimedOut web/1 stop-watchdog"]);
    assert_eq!(desk.killed("web/1", Signal::KILL)[1], "RunEnded web/1 watchdog (killed by SIGKILL) restart");
    desk.spawned("web/2");
    desk.notify("web/2", |m| m.ready = true);
    desk.notify("web/2", |m| m.watchdog_usec = Some(60_000_000));
    assert_eq!(desk.pass(59.0), ["Recovered web/2"]);
    assert_eq!(desk.notify("web/2", |m| m.watchdog_trigger = true)[0], "kill-tree web/2 SIGABRT");
}

#[test]
fn a_service_may_be_up_for_a_limited_time() {
    let mut def = eager("web");
    def.service.timeouts.runtime_max = TimeSpan::from_secs(3600);
    let mut desk = Desk::new([def]);
    desk.up("web");
    assert_eq!(desk.pass(3600.0), ["kill-tree web/1 SIGTERM", "TimedOut web/1 running"]);
    assert_eq!(desk.killed("web/1", Signal::TERM)[1], "RunEnded web/1 timeout (killed by SIGTERM) restart");
}

#[test]
fn a_stop_while_it_starts_ends_the_start() {
    let mut desk = Desk::cold([notifying("web")]);
    desk.order(Verb::Start, &["web"]);
    desk.spawned("web/1");
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["kill-tree web/1 SIGTERM", "reply web=Failed(Superseded)"]);
    assert_eq!(desk.order(Verb::Start, &["web"]), ["reply web=Failed(Superseded)"], "and the other way round");
    let said = desk.killed("web/1", Signal::TERM);
    assert_eq!(said[..2], ["spawn web/2 exec_start", "RunEnded web/1 success (killed by SIGTERM) rest wanted"]);
    desk.spawned("web/2");
    assert_eq!(desk.notify("web/2", |m| m.ready = true).last().unwrap(), "reply web=done");
}

#[test]
fn a_stop_during_the_clean_up_after_a_crash_prevents_the_restart() {
    let mut desk = Desk::new([eager("web")]);
    desk.spawned("web/1");
    desk.left("web/1", 1);
    assert_eq!(desk.order(Verb::Stop, &["web"]), Vec::<String>::new());
    let said = desk.tree_empty("web/1");
    let end = "RunEnded web/1 exit-code (exit code 1) rest";
    assert_eq!(said, [end, "UnitStopped web uid 1000", "reply web=done"]);
}

#[test]
fn a_wanted_stop_ends_inactive_however_it_went() {
    let mut desk = Desk::new([service("web")]);
    desk.spawned("web/1");
    desk.order(Verb::Stop, &["web"]);
    let said = desk.exited("web/1", 143);
    assert_eq!(said[0], "RunEnded web/1 exit-code (exit code 143) rest wanted");
    assert_eq!((desk.sub("web"), desk.status("web").result.as_str()), ("dead", "exit-code"));
}

#[test]
fn orders_that_make_no_sense_say_why() {
    let mut desk = Desk::new([service("web")]);
    let said = desk.order(Verb::Start, &["wbe", "nothing"]);
    let expected = "reply wbe=Failed(UnknownUnit { similar: Some(web) }) nothing=Failed(UnknownUnit { similar: None })";
    assert_eq!(said, [expected]);
    assert_eq!(desk.order(Verb::Start, &[]), ["reply"]);
    desk.up("web");
    assert_eq!(desk.order(Verb::Signal(Signal::USR1), &["web"]), ["kill web/1 SIGUSR1", "Signalled", "reply web=done"]);
    desk.exited("web/1", 0);
    assert_eq!(desk.order(Verb::Signal(Signal::USR1), &["web"]), ["reply web=Failed(NotRunning)"]);
    assert_eq!(desk.order(Verb::Stop, &["web", "web"]), ["reply web=already web=already"]);
    assert_eq!(desk.order(Verb::Disable, &["web"]), ["reply web=done"]);
    assert!(!desk.status("web").enabled);
}

#[test]
fn every_restart_cause_ends_an_incident_once() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    assert_eq!(desk.pass(5.0), Vec::<String>::new(), "nothing was wrong");
    for generation in 1..6 {
        desk.exited(&format!("web/{generation}"), 1);
        desk.up("web");
        assert_eq!(desk.pass(9.9), Vec::<String>::new());
    }
    assert_eq!(desk.pass(0.1), ["Recovered web/6"], "one outage");
    assert_eq!(desk.pass(100.0), Vec::<String>::new());
}

#[test]
fn a_recovery_is_not_said_again_at_the_next_start() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    desk.exited("web/1", 1);
    desk.up("web");
    assert_eq!(desk.pass(10.0), ["Recovered web/2"]);
    desk.order(Verb::Restart, &["web"]);
    desk.killed("web/2", Signal::TERM);
    desk.up("web");
    assert_eq!(desk.pass(100.0), Vec::<String>::new());
}

#[test]
fn a_start_after_a_stop_begins_a_new_row() {
    let mut desk = Desk::new([eager("web")]);
    for generation in 1..4 {
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 1);
    }
    desk.order(Verb::Stop, &["web"]);
    desk.killed("web/4", Signal::TERM);
    assert_eq!(desk.status("web").restarts, 3, "the last row stays to be seen");
    assert_eq!(desk.order(Verb::Start, &["web"])[1], "RunStarting web/5 Manual(User(1000)) 0");
}

#[test]
fn a_restart_that_the_limit_forbids_later_is_not_told_as_one() {
    let mut def = eager("web");
    def.service.restart.delay = TimeSpan::from_secs(1);
    def.start_limit.burst = 1;
    def.start_limit.interval = TimeSpan::from_secs(10);
    let mut desk = Desk::new([def]);
    desk.up("web");
    let said = desk.exited("web/1", 1);
    assert_eq!(said[0], "RunEnded web/1 exit-code (exit code 1) restart");
    let said = desk.pass(1.0);
    let corrected = "RunEnded web/1 exit-code (exit code 1) start-limit replayed";
    assert_eq!(said, ["StartLimitHit web", "UnitFailed web start-limit-hit", corrected]);
}
