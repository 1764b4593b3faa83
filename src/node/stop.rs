//! The way down: ExecStop=, signals, ExecStopPost=, what is left of the tree (systemd.kill(5)).

use super::{
    Effect, Node,
    graph::Place,
    service::{Directive, Phase, Run},
    timers::Slot,
    wish::Ending,
};
use crate::{
    base::{Happening, Now, RunResult, Signal, TimeSpan},
    unit::spec::{FailureMode, KillMode},
};

/// The least time between two looks at an unkillable run.
const UNKILLABLE_PERIOD_MIN: TimeSpan = TimeSpan::from_secs(1);

impl Node {
    /// The run was up and goes down, whatever the reason: ExecStop= first, even if the main process is gone.
    pub(super) fn enter_stop(&mut self, now: Now, place: Place) {
        self.leave_up(place);
        let directive = self.way_down(now, place);
        if !directive.is_some_and(|directive| self.run_command(now, place, directive, 0, Phase::Stop)) {
            self.enter_signals(now, place, Phase::StopSigterm { tree: false });
        }
    }

    pub(super) fn next_stop(&mut self, now: Now, place: Place, step: u16) {
        if self.run_command(now, place, Directive::Stop, step, Phase::Stop) {
            return;
        }
        if self.run(place).is_some_and(|run| run.comes_back) {
            return self.next_start_again(now, place, 0);
        }
        self.enter_signals(now, place, Phase::StopSigterm { tree: false });
    }

    /// It said STOPPING=1: it is on its way, and has the time of a stop for it.
    pub(super) fn enter_stop_by_itself(&mut self, now: Now, place: Place) {
        self.leave_up(place);
        let Some(run) = self.run(place) else { return };
        let timeout = run.def.service.timeouts.stop;
        self.enter(now, place, Phase::StopSigterm { tree: false }, timeout);
        self.check_signalled(now, place);
    }

    /// What only makes sense while it is up or starting.
    pub(super) fn leave_up(&mut self, place: Place) {
        for slot in [Slot::Watchdog, Slot::RuntimeMax, Slot::RowEnds, Slot::Settled] {
            self.timers.clear(place, slot);
        }
        self.end_probes(place);
        self.abandon_reload(place);
        self.timers.clear(place, Slot::Look);
        if let Some(run) = self.run_mut(place)
            && let Some(ended) = run.claim.take().and_then(|claim| claim.ended)
        {
            run.spoil(ended);
        }
    }

    /// Sends the signal of `phase` and waits: for the main process and the command under way, or, when those are gone,
    /// for all that is left.
    pub(super) fn enter_signals(&mut self, now: Now, place: Place, phase: Phase) {
        self.leave_up(place);
        let Some(run) = self.run(place) else { return };
        let (kill, timeouts) = (run.def.service.kill, *run.def.service.timeouts);
        let tree = !run.is_peopled();
        if tree && (run.empty || !run.owns_tree()) {
            return self.next_stop_post(now, place, 0);
        }
        // Mixed means: the polite signal is for the main process only, and that is gone.
        let spares_rest = tree && kill.mode == KillMode::Mixed && !matches!(phase, Phase::StopSigkill { .. });
        if spares_rest && !kill.send_sigkill {
            return self.next_stop_post(now, place, 0);
        }
        let (phase, timeout, signal) = match phase {
            Phase::StopWatchdog { .. } if !spares_rest => {
                (Phase::StopWatchdog { tree }, timeouts.abort, kill.watchdog_signal)
            }
            Phase::StopSigterm { .. } if !spares_rest => {
                (Phase::StopSigterm { tree }, timeouts.stop, run.stop_signal())
            }
            Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Running
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal
            | Phase::Stop
            | Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::StopPost
            | Phase::FinalSigterm
            | Phase::FinalSigkill => (Phase::StopSigkill { tree }, timeouts.stop, kill.final_signal),
        };
        self.enter(now, place, phase, timeout);
        self.send_signal(place, signal);
    }

    /// Sends the signal that belongs to the phase to whom KillMode= says.
    pub(super) fn send_signal(&mut self, place: Place, signal: Signal) {
        let Some(run) = self.run(place) else { return };
        let kill = run.def.service.kill;
        let is_final = matches!(run.phase, Phase::StopSigkill { .. } | Phase::FinalSigkill);
        let mut signals = vec![signal];
        if kill.send_sighup && matches!(run.phase, Phase::StopSigterm { .. } | Phase::FinalSigterm) {
            signals.push(Signal::HUP);
        }
        let whole_tree = match kill.mode {
            KillMode::ControlGroup => true,
            KillMode::Mixed => is_final,
            KillMode::Process => false,
            KillMode::None => return,
        };
        let id = run.id();
        if whole_tree {
            for signal in signals {
                self.order(place, Effect::KillTree { run: id.clone(), signal, but: None });
            }
            return;
        }
        // A stopped process would not see the signal before it goes on (systemd does the same).
        signals.push(Signal::CONT);
        let main = run.main.is_alive().then(|| run.main_key());
        let keys: Vec<_> = main.into_iter().chain(run.control_key()).collect();
        for key in keys {
            for signal in &signals {
                self.order(place, Effect::Kill { key: key.clone(), signal: *signal });
            }
        }
    }

    /// Goes on once whoever the signals are waited for is gone.
    pub(super) fn check_signalled(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place).filter(|run| !run.is_peopled()) else { return };
        match run.phase {
            Phase::StopWatchdog { tree } | Phase::StopSigterm { tree } | Phase::StopSigkill { tree } => {
                if !tree || run.empty {
                    self.next_stop_post(now, place, 0);
                }
            }
            Phase::FinalSigterm | Phase::FinalSigkill if run.empty || !run.owns_tree() => self.finish(now, place),
            Phase::FinalSigterm if run.def.service.kill.mode == KillMode::Mixed => {
                // Only the command was signalled; the rest gets the final signal.
                self.enter_final(now, place, Phase::FinalSigkill);
            }
            Phase::FinalSigterm
            | Phase::FinalSigkill
            | Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Running
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::ReloadSignal
            | Phase::Stop
            | Phase::StopPost => {}
        }
    }

    pub(super) fn next_stop_post(&mut self, now: Now, place: Place, step: u16) {
        if step == 0 && self.pay_stop(now, place) {
            return;
        }
        if !self.run_command(now, place, Directive::StopPost, step, Phase::StopPost) {
            self.enter_final(now, place, Phase::FinalSigterm);
        }
    }

    /// Ends what is left of the tree, the last command included.
    pub(super) fn enter_final(&mut self, now: Now, place: Place, phase: Phase) {
        let Some(run) = self.run(place) else { return };
        let (kill, timeout) = (run.def.service.kill, run.def.service.timeouts.stop);
        if !run.is_peopled() && (run.empty || !run.owns_tree()) {
            return self.finish(now, place);
        }
        let polite = phase == Phase::FinalSigterm && (kill.mode != KillMode::Mixed || run.is_peopled());
        if polite {
            let signal = run.stop_signal();
            self.enter(now, place, Phase::FinalSigterm, timeout);
            self.send_signal(place, signal);
        } else if kill.send_sigkill {
            self.enter(now, place, Phase::FinalSigkill, timeout);
            self.send_signal(place, kill.final_signal);
        } else if run.is_peopled() {
            self.unkillable(now, place);
        } else {
            // SendSIGKILL=no: what does not want to go is left.
            self.finish(now, place);
        }
    }

    /// The deadline of the phase has passed.
    pub(super) fn phase_timed_out(&mut self, now: Now, place: Place) {
        let Some(run) = self.run_mut(place) else { return };
        if run.unkillable {
            return self.unkillable(now, place);
        }
        let phase = run.phase;
        let timeouts = *run.def.service.timeouts;
        let (what, after) = match phase {
            Phase::Condition => ("condition", timeouts.start),
            Phase::StartPre => ("start-pre", timeouts.start),
            Phase::Start => ("start", timeouts.start),
            Phase::StartPost => ("start-post", timeouts.start),
            Phase::Reload { .. } | Phase::ReloadSignal => ("reload", timeouts.start),
            Phase::Stop => ("stop", timeouts.stop),
            Phase::StopWatchdog { .. } => ("stop-watchdog", timeouts.abort),
            Phase::StopSigterm { .. } => ("stop-sigterm", timeouts.stop),
            Phase::StopSigkill { .. } => ("stop-sigkill", timeouts.stop),
            Phase::StopPost => ("stop-post", timeouts.stop),
            Phase::FinalSigterm => ("final-sigterm", timeouts.stop),
            Phase::FinalSigkill => ("final-sigkill", timeouts.stop),
            Phase::Running | Phase::Exited => return,
        };
        let id = run.id();
        // A reload that hangs is given up; the service has done nothing wrong.
        if !phase.is_up() {
            run.spoil(RunResult::Timeout);
        }
        self.notice(now, Happening::TimedOut { run: id, what, after });
        self.escalate(now, place, phase);
    }

    fn escalate(&mut self, now: Now, place: Place, phase: Phase) {
        let Some(run) = self.run_mut(place) else { return };
        let sends_sigkill = run.def.service.kill.send_sigkill && run.def.service.kill.mode != KillMode::None;
        let timeouts = *run.def.service.timeouts;
        match phase {
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost => {
                self.enter_signals(now, place, signals_of(timeouts.start_failure, sends_sigkill));
            }
            Phase::Reload { .. } | Phase::ReloadSignal => {
                let key = run.control_key();
                run.control = None;
                self.reload_ended(now, place, Some("it took too long".to_owned()));
                self.orders.extend(key.map(|key| Effect::Kill { key, signal: Signal::KILL }));
            }
            Phase::Stop => self.enter_signals(now, place, signals_of(timeouts.stop_failure, sends_sigkill)),
            Phase::StopWatchdog { tree } | Phase::StopSigterm { tree } => {
                let aborts = timeouts.stop_failure == FailureMode::Abort;
                if aborts && matches!(phase, Phase::StopSigterm { .. }) {
                    self.enter_signals(now, place, Phase::StopWatchdog { tree });
                } else if sends_sigkill {
                    self.enter_signals(now, place, Phase::StopSigkill { tree: false });
                } else if tree {
                    self.next_stop_post(now, place, 0);
                } else {
                    self.unkillable(now, place);
                }
            }
            Phase::StopPost => self.enter_final(now, place, Phase::FinalSigterm),
            Phase::FinalSigterm => self.enter_final(now, place, Phase::FinalSigkill),
            Phase::StopSigkill { .. } | Phase::FinalSigkill => self.unkillable(now, place),
            Phase::Running | Phase::Exited => {}
        }
    }

    /// Nothing is left to try. It is said once, tried again from time to time, and the place stays taken.
    fn unkillable(&mut self, now: Now, place: Place) {
        let Some(run) = self.run_mut(place) else { return };
        let first = !run.unkillable;
        run.unkillable = true;
        let kill = run.def.service.kill;
        let period = run.def.service.timeouts.stop.max(UNKILLABLE_PERIOD_MIN);
        let (id, phase) = (run.id(), run.phase);
        if first {
            self.stuck += 1;
            if let Some(unit) = self.unit_mut(place) {
                unit.begin_incident();
            }
            self.touch(place);
            self.notice(now, Happening::Unkillable { run: id });
            self.give_up_waiting(now, place);
        }
        self.timers.set(place, Slot::Phase, now.mono.after(period));
        if matches!(phase, Phase::StopSigkill { .. } | Phase::FinalSigkill) {
            self.send_signal(place, kill.final_signal);
        }
    }
}

/// The signals that a command or a start comes to that takes too long.
const fn signals_of(failure: FailureMode, sends_sigkill: bool) -> Phase {
    match failure {
        FailureMode::Kill if sends_sigkill => Phase::StopSigkill { tree: false },
        FailureMode::Abort => Phase::StopWatchdog { tree: false },
        FailureMode::Terminate | FailureMode::Kill => Phase::StopSigterm { tree: false },
    }
}

impl Run {
    /// The polite signal: one of its own where a start follows, if the unit has one.
    pub(super) fn stop_signal(&self) -> Signal {
        let kill = self.def.service.kill;
        let again = matches!(self.ending, Some(Ending::Restart(_) | Ending::Unhealthy { .. }));
        kill.restart_signal.filter(|_| again).unwrap_or(kill.signal)
    }
}
