//! Facts about processes. A fact that does not belong to a run that is not over changes nothing; it is counted.

use std::sync::Arc;

use super::{
    Effect, Node,
    graph::Place,
    restart,
    service::{Control, Directive, Main, Phase, Run},
    timers::Slot,
};
use crate::{
    base::{ExitStatus, Happening, InvocationId, Now, Pid, ProcessKey, Role, RunId, RunResult, SpawnFailure, Usage},
    unit::spec::ServiceKind,
};

/// How a process ended, as the keeper tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExitFact {
    pub(super) status: ExitStatus,
    pub(super) usage: Option<Usage>,
    pub(super) oom: bool,
    pub(super) alone: bool,
}

/// A main process whose end the keeper held.
#[derive(Debug)]
pub(super) struct Waited {
    pub(super) key: ProcessKey,
    pub(super) pid: Pid,
    pub(super) invocation: InvocationId,
    pub(super) started: Now,
}

impl Node {
    /// The place of the unit whose present run this is; else the fact is stale.
    pub(super) fn current(&mut self, id: &RunId) -> Option<Place> {
        let place = self.names.get(&id.unit).copied();
        let found = place.filter(|place| self.run(*place).is_some_and(|run| run.generation == id.generation));
        if found.is_none() {
            self.stale += 1;
        }
        found
    }

    pub(super) fn spawned(&mut self, now: Now, key: &ProcessKey, pid: Pid) {
        let Some(place) = self.current(&key.run) else { return };
        let Some(run) = self.run_mut(place) else { return };
        match key.role {
            Role::Main if run.main == Main::Ordered => {
                run.main = Main::Alive(pid);
                run.begin.pid = Some(pid);
                let at_once = matches!(run.def.service.kind, ServiceKind::Simple | ServiceKind::Idle);
                let up = run.phase == Phase::Start && at_once;
                self.touch(place);
                self.notice(now, Happening::MainStarted { run: key.run.clone(), pid });
                if up {
                    self.started(now, place);
                }
            }
            Role::Control(number) => match &mut run.control {
                Some(control) if control.number == number => control.pid = Some(pid),
                Some(_) | None => self.stale += 1,
            },
            Role::Named(number) => self.main_found(now, place, number, pid),
            Role::Main => self.stale += 1,
            Role::Probe(_) => {}
        }
    }

    pub(super) fn exec_done(&mut self, now: Now, key: &ProcessKey) {
        let Some(place) = self.current(&key.run) else { return };
        let Some(run) = self.run(place) else { return };
        let waits = run.phase == Phase::Start && run.def.service.kind == ServiceKind::Exec && run.main.is_alive();
        if key.role == Role::Main && waits {
            self.started(now, place);
        }
    }

    /// There is no process, or it ended before its program ran. `cause` says more of why than the failure.
    pub(super) fn spawn_failed(&mut self, now: Now, key: &ProcessKey, failure: SpawnFailure, cause: Option<&str>) {
        if matches!(key.role, Role::Probe(_)) {
            return;
        }
        let Some(place) = self.current(&key.run) else { return self.replay_end(now, &key.run, None) };
        let Some(run) = self.run_mut(place) else { return };
        let control = match key.role {
            Role::Main if run.main.is_alive() && run.main_role == Role::Main => None,
            Role::Control(number) if run.control.is_some_and(|control| control.number == number) => run.control.take(),
            Role::Main | Role::Named(_) | Role::Control(_) | Role::Probe(_) => {
                self.stale += 1;
                return;
            }
        };
        run.empty = run.empty_before;
        let directive = control.map_or(Directive::Start, |control| control.directive);
        let program = match control {
            None => run.def.service.exec_start.last(),
            Some(control) => directive.command(&run.def, control.step),
        };
        let program = program.map_or_else(Arc::default, |command| Arc::clone(&command.program));
        // A set-up that fails is told as systemd tells it: the process ended with that step's code.
        let code = failure.step.exit_code();
        if control.is_none() {
            run.unborn = true;
            run.main = code.map_or(Main::None, |code| Main::Ended { status: ExitStatus::Exited(code), usage: None });
        }
        let result = if code.is_some() { RunResult::ExitCode } else { RunResult::Resources };
        // A program that could not be run is heard of when its service is up already, by its type.
        let was_to_start = run.phase.is_starting() || (control.is_none() && run.phase.is_up());
        run.transient |= failure.is_shortage() && was_to_start;
        self.touch(place);
        let command = directive.as_str().to_owned();
        let reason = cause.map_or_else(|| format!("{program}: {failure}"), |cause| format!("{program}: {cause}"));
        let in_words: Box<str> = format!("{command} {reason}").into();
        if let Some(unit) = self.unit_mut(place) {
            unit.spawn_failure = Some(in_words.clone());
        }
        if let Some(run) = self.run_mut(place).filter(|_| was_to_start) {
            run.why.get_or_insert(in_words);
        }
        self.notice(now, Happening::SpawnFailed { run: key.run.clone(), command, failure, reason });
        match control {
            None => self.main_gone(now, place, result),
            Some(control) => self.control_failed(now, place, control, result),
        }
    }

    pub(super) fn exited(&mut self, now: Now, key: &ProcessKey, fact: ExitFact) {
        if matches!(key.role, Role::Probe(_)) {
            return;
        }
        let Some(place) = self.current(&key.run) else {
            let main = key.role.is_main().then_some(fact);
            return self.replay_end(now, &key.run, main);
        };
        self.take_exit(now, place, key, fact);
        if fact.oom {
            self.oom_killed_known(now, place, key);
        }
    }

    fn take_exit(&mut self, now: Now, place: Place, key: &ProcessKey, fact: ExitFact) {
        let Some(run) = self.run_mut(place) else { return };
        // Its start was to be told to a manager that died before.
        if let Some(claim) = run.claim.take_if(|claim| key.role == Role::Named(claim.number)) {
            (run.main, run.main_role) = (Main::Ordered, Role::Named(claim.number));
        }
        // Who lives by its tree is told by that: without cgroups "alone" is only the group of the main process.
        let tree_tells = run.phase.is_up() && run.lives_by_tree();
        match key.role {
            Role::Main | Role::Named(_) if run.main.is_alive() && run.main_role == key.role => {
                run.main = Main::Ended { status: fact.status, usage: fact.usage };
                run.empty = fact.alone && run.control.is_none() && !tree_tells;
                let service = &run.def.service;
                let ignored = service.exec_start.last().is_some_and(|command| command.ignore_failure);
                let result = restart::main_result(fact.status, fact.oom, service.kind, &service.restart.success);
                self.touch(place);
                self.main_gone(now, place, if ignored { RunResult::Success } else { result });
            }
            Role::Control(number) if run.control.is_some_and(|control| control.number == number) => {
                let Some(control) = run.control.take() else { return };
                let left_daemon = control.directive == Directive::Start && run.lives_by_tree();
                run.empty = fact.alone && !run.main.is_alive() && !left_daemon;
                self.touch(place);
                self.control_gone(now, place, control, fact);
            }
            // One that was the main process before another took its place.
            Role::Main | Role::Named(_) if run.main_role != key.role => {
                run.empty = fact.alone && !run.is_peopled() && !tree_tells;
                self.touch(place);
            }
            Role::Main | Role::Named(_) | Role::Control(_) | Role::Probe(_) => self.stale += 1,
        }
    }

    /// The main process ended, or could not be started.
    pub(super) fn main_gone(&mut self, now: Now, place: Place, result: RunResult) {
        if self.holds_back(place, result) {
            return;
        }
        let Some(run) = self.run_mut(place) else { return };
        let service = &run.def.service;
        let (kind, stays) = (service.kind, service.remain_after_exit);
        let busy = run.control.is_some();
        match run.phase {
            Phase::Start => {
                // Ready was awaited, and it said nothing: that is a breach of the protocol, however clean the end.
                let result = match (kind, result) {
                    (ServiceKind::Notify | ServiceKind::NotifyReload, RunResult::Success) => RunResult::Protocol,
                    (
                        ServiceKind::Simple
                        | ServiceKind::Exec
                        | ServiceKind::Oneshot
                        | ServiceKind::Forking
                        | ServiceKind::Idle
                        | ServiceKind::Notify
                        | ServiceKind::NotifyReload,
                        other,
                    ) => other,
                };
                if busy {
                    // A daemon that named its process and is still in its start command.
                    run.spoil(result);
                } else if result == RunResult::Success {
                    self.started(now, place);
                } else {
                    self.start_failed(now, place, result);
                }
            }
            // The command that runs is waited for; then it shows that the main process is gone.
            Phase::StartPost | Phase::Reload { .. } | Phase::Stop if busy => run.spoil(result),
            Phase::Running if stays && result == RunResult::Success => {
                self.timers.clear(place, Slot::Watchdog);
                self.enter_resting(now, place, Phase::Exited);
            }
            Phase::Running | Phase::Reload { .. } | Phase::ReloadSignal if run.lives() => {
                run.spoil(result);
                self.timers.clear(place, Slot::Watchdog);
                self.watch_tree(place);
            }
            Phase::StartPost | Phase::Running | Phase::Exited | Phase::Reload { .. } | Phase::ReloadSignal => {
                run.spoil(result);
                self.enter_stop(now, place);
            }
            Phase::Stop | Phase::StopWatchdog { .. } | Phase::StopSigterm { .. } | Phase::StopSigkill { .. } => {
                run.spoil(result);
                self.check_signalled(now, place);
            }
            Phase::Condition | Phase::StartPre | Phase::StopPost | Phase::FinalSigterm | Phase::FinalSigkill => {
                run.spoil(result);
                self.check_signalled(now, place);
            }
        }
    }

    fn control_gone(&mut self, now: Now, place: Place, control: Control, fact: ExitFact) {
        let result = restart::command_result(fact.status);
        let Some(run) = self.run_mut(place) else { return };
        let Some(command) = control.directive.command(&run.def, control.step) else {
            return self.control_failed(now, place, control, result);
        };
        let ignored = command.ignore_failure;
        // The commands of a oneshot are its main process, one after the other.
        let is_main = control.directive == Directive::Start && run.def.service.kind == ServiceKind::Oneshot;
        let result = if is_main {
            let service = &run.def.service;
            restart::main_result(fact.status, fact.oom, service.kind, &service.restart.success)
        } else if fact.oom {
            RunResult::OomKill
        } else if control.directive == Directive::Condition {
            restart::condition_result(fact.status)
        } else {
            result
        };
        let failed = result != RunResult::Success;
        if is_main && failed && !ignored {
            run.main = Main::Ended { status: fact.status, usage: fact.usage };
        }
        let id = run.id();
        let waited_for = !matches!(
            run.phase,
            Phase::StopWatchdog { .. }
                | Phase::StopSigterm { .. }
                | Phase::StopSigkill { .. }
                | Phase::FinalSigterm
                | Phase::FinalSigkill
        );
        if failed && waited_for && result != RunResult::ExecCondition {
            let command = control.directive.as_str().to_owned();
            self.notice(now, Happening::ControlFailed { run: id, command, status: fact.status, ignored });
        }
        if failed && !ignored && waited_for {
            self.control_failed(now, place, control, result);
        } else {
            self.control_done(now, place, control);
        }
    }

    /// The command ended well: the next one, or the next phase.
    fn control_done(&mut self, now: Now, place: Place, control: Control) {
        let next = control.step.saturating_add(1);
        let Some(run) = self.run(place) else { return };
        let forks = run.def.service.kind == ServiceKind::Forking;
        match run.phase {
            Phase::Condition => self.next_condition(now, place, next),
            Phase::StartPre => self.next_start_pre(now, place, next),
            Phase::Start if forks => self.forked(now, place),
            Phase::Start => self.next_start(now, place, next),
            Phase::StartPost => self.next_start_post(now, place, next),
            Phase::Reload { .. } => self.next_reload(now, place, next),
            Phase::Stop if control.directive == Directive::Start => self.next_start_again(now, place, next),
            Phase::Stop if control.directive == Directive::Restart => self.next_restart(now, place, next),
            Phase::Stop => self.next_stop(now, place, next),
            Phase::StopPost => self.next_stop_post(now, place, next),
            Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::FinalSigterm
            | Phase::FinalSigkill => self.check_signalled(now, place),
            Phase::Running | Phase::Exited | Phase::ReloadSignal => {}
        }
    }

    /// The command failed, and that is not ignored.
    fn control_failed(&mut self, now: Now, place: Place, control: Control, result: RunResult) {
        let Some(run) = self.run_mut(place) else { return };
        match run.phase {
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost => {
                self.start_failed(now, place, result)
            }
            Phase::Reload { .. } => {
                self.reload_ended(now, place, Some(format!("{} failed", control.directive.as_str())));
            }
            Phase::Stop => {
                run.spoil(result);
                self.enter_signals(now, place, Phase::StopSigterm { tree: false });
            }
            Phase::StopPost => {
                run.spoil(result);
                self.enter_final(now, place, Phase::FinalSigterm);
            }
            Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::FinalSigterm
            | Phase::FinalSigkill => self.check_signalled(now, place),
            Phase::Running | Phase::Exited | Phase::ReloadSignal => {}
        }
    }

    /// Asks to be told when the last process of a run is gone that lives by its tree.
    pub(super) fn watch_tree(&mut self, place: Place) {
        if let Some(run) = self.run(place).filter(|run| !run.main.is_alive() && run.lives()).map(Run::id) {
            self.order(place, Effect::WatchTree { run });
        }
    }

    pub(super) fn tree_empty(&mut self, now: Now, id: &RunId) {
        let Some(place) = self.current(id) else { return };
        // It may come before the exit of a process that we know of; that exit will say the rest.
        let Some(run) = self.run_mut(place).filter(|run| !run.is_peopled()) else { return };
        run.empty = true;
        let ended = run.phase.is_up() && run.lives_by_tree() && run.phase != Phase::Exited;
        self.touch(place);
        if ended {
            self.last_process_gone(now, place);
        } else {
            self.check_signalled(now, place);
        }
    }

    /// A service that lives as long as any process of it has ended.
    fn last_process_gone(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place) else { return };
        if run.def.service.remain_after_exit && run.result == RunResult::Success {
            self.enter_resting(now, place, Phase::Exited);
        } else {
            self.enter_stop(now, place);
        }
    }
}
