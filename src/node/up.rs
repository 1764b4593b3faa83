//! While it is up: reloads, the watchdog, what the service says of itself.

use super::{
    Effect, Node,
    effect::{Outcome, Refusal},
    graph::Place,
    input::{NotifyMessage, Sender},
    service::{Directive, Main, Naming, Phase, Reloading, Run},
    timers::Slot,
    wish::Ask,
};
use crate::{
    base::{Actor, Happening, Now, Pid, RunId, RunResult, TimeSpan},
    unit::spec::{NotifyAccess, ServiceKind},
};

/// The longest STATUS= that is kept, in bytes.
const STATUS_TEXT_MAX: usize = 512;
const NANOS_PER_MICRO: u64 = 1000;

impl Node {
    /// Asks the service to reload. The asks are answered here or when the reload is over.
    pub(super) fn reload(&mut self, now: Now, place: Place, actor: Actor, asks: Vec<Ask>) {
        let Some(run) = self.run_mut(place).filter(|run| run.phase.is_up()) else {
            return self.answer_all(&asks, &Outcome::Failed(Refusal::NotRunning));
        };
        if !run.can_reload() {
            return self.answer_all(&asks, &Outcome::Failed(Refusal::CannotReload));
        }
        let service = &run.def.service;
        let busy = run.control.is_some() || run.phase == Phase::ReloadSignal;
        let signals = service.kind == ServiceKind::NotifyReload && run.main.is_alive();
        let (signal, commands) = (service.reload_signal, service.exec_reload.len());
        let key = run.main_key();
        let reloading = run.reload.get_or_insert_with(|| Box::new(Reloading::new(actor)));
        if busy {
            reloading.next.extend(asks);
            return;
        }
        reloading.asks.extend(asks);
        self.named_reloads_begin(place);
        if signals {
            if let Some(reloading) = self.run_mut(place).and_then(|run| run.reload.as_mut()) {
                reloading.signalled = Some(now.mono);
            }
            self.touch(place);
            if commands == 0 {
                self.await_answer(now, place, Phase::ReloadSignal);
                return self.order(place, Effect::Kill { key, signal });
            }
            self.order(place, Effect::Kill { key, signal });
        }
        self.next_reload_from(now, place, 0, Phase::Reload { by_notify: false });
    }

    /// The next command of ExecReload=, or its end; a service that said RELOADING=1 has to say READY=1 first.
    pub(super) fn next_reload(&mut self, now: Now, place: Place, step: u16) {
        if let Some(phase) = self.run(place).map(|run| run.phase) {
            self.next_reload_from(now, place, step, phase);
        }
    }

    fn next_reload_from(&mut self, now: Now, place: Place, step: u16, phase: Phase) {
        if self.run_command(now, place, Directive::Reload, step, phase) {
            return;
        }
        let signalled = self.run(place).and_then(|run| run.reload.as_ref()).is_some_and(|it| it.signalled.is_some());
        if signalled && phase == (Phase::Reload { by_notify: false }) {
            return self.await_answer(now, place, Phase::ReloadSignal);
        }
        if phase == (Phase::Reload { by_notify: true }) {
            return self.await_reload(now, place);
        }
        self.reload_ended(now, place, None);
        // The command may have changed which process it is (systemd looks there too).
        let forks =
            self.run(place).is_some_and(|run| run.def.service.kind == ServiceKind::Forking && run.phase.is_up());
        if forks && step > 0 {
            self.claim_main(place, Naming::PidFile);
        }
    }

    fn await_reload(&mut self, now: Now, place: Place) {
        self.await_answer(now, place, Phase::Reload { by_notify: true });
    }

    fn await_answer(&mut self, now: Now, place: Place, phase: Phase) {
        let Some(run) = self.run(place) else { return };
        let timeout = run.def.service.timeouts.start;
        self.enter(now, place, phase, timeout);
    }

    /// The reload is over; `failure` says why it did not work. The service runs on either way.
    pub(super) fn reload_ended(&mut self, now: Now, place: Place, failure: Option<String>) {
        let Some(run) = self.run_mut(place) else { return };
        let reloading = run.reload.take();
        let id = run.id();
        let Reloading { actor, asks, next, signalled: _ } =
            reloading.map_or_else(|| Reloading::new(Actor::Daemon), |reloading| *reloading);
        self.named_reloads_end(place, failure.is_none());
        let outcome = match failure {
            None => {
                self.notice(now, Happening::Reloaded { run: id, actor: actor.clone() });
                Outcome::Done
            }
            Some(reason) => {
                self.notice(now, Happening::ReloadFailed { run: id, reason });
                Outcome::Failed(Refusal::ReloadFailed)
            }
        };
        self.answer_all(&asks, &outcome);
        self.back_to_running(now, place);
        if !next.is_empty() {
            self.reload(now, place, actor, next);
        }
    }

    /// After a reload: to where it was, unless the main process ended meanwhile.
    fn back_to_running(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place) else { return };
        let stays = run.def.service.remain_after_exit && run.result == RunResult::Success;
        match run.main {
            _ if run.lives() => {
                self.enter_resting(now, place, Phase::Running);
                self.watch_tree(place);
            }
            Main::Ordered | Main::Alive(_) => {}
            Main::Ended { .. } | Main::None if stays => self.enter_resting(now, place, Phase::Exited),
            Main::Ended { .. } | Main::None => self.enter_stop(now, place),
        }
    }

    /// The reload's answers when the unit goes down in the middle of it.
    pub(super) fn abandon_reload(&mut self, place: Place) {
        self.named_reloads_are_superseded(place);
        let Some(reloading) = self.run_mut(place).and_then(|run| run.reload.take()) else { return };
        let mut asks = reloading.asks;
        asks.extend(reloading.next);
        self.answer_all(&asks, &Outcome::Failed(Refusal::Superseded));
    }

    /// Sets the watchdog anew, from now.
    pub(super) fn feed_watchdog(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place) else { return };
        let interval = run.watchdog.filter(|interval| !interval.is_zero() && run.main.is_alive());
        self.timers.set(place, Slot::Watchdog, interval.and_then(|interval| now.mono.after(interval)));
    }

    /// The service did not report in time, or asked for this itself: it is aborted, so that it leaves a core.
    pub(super) fn watchdog_expired(&mut self, now: Now, place: Place) {
        let Some(run) = self.run_mut(place).filter(|run| !run.phase.is_ending() && run.main.is_alive()) else { return };
        run.spoil(RunResult::Watchdog);
        let id = run.id();
        self.notice(now, Happening::WatchdogExpired { run: id });
        self.enter_signals(now, place, Phase::StopWatchdog { tree: false });
    }

    /// RuntimeMaxSec= is over.
    pub(super) fn runtime_over(&mut self, now: Now, place: Place) {
        let Some(run) = self.run_mut(place).filter(|run| run.phase.is_up()) else { return };
        run.spoil(RunResult::Timeout);
        let (id, after) = (run.id(), run.def.service.timeouts.runtime_max);
        self.notice(now, Happening::TimedOut { run: id, what: "running", after });
        self.enter_stop(now, place);
    }

    /// A message on the notify socket.
    pub(super) fn notified(&mut self, now: Now, id: &RunId, sender: Sender, pid: i32, message: NotifyMessage) {
        let Some(place) = self.current(id) else { return };
        let Some(run) = self.run_mut(place) else { return };
        if !is_believed(run.def.service.notify_access, sender) {
            let bit = 1 << sender_bit(sender);
            if run.refused & bit == 0 {
                run.refused |= bit;
                let (unit, reason) = (Some(id.unit.clone()), "its sender is not covered by notify_access");
                self.notice(now, Happening::NotifyRefused { unit, sender: pid, reason });
            }
            return;
        }
        if let Some(text) = &message.status {
            run.status_text = Some(shortened(text).into());
        }
        if let Some(micros) = message.watchdog_usec {
            run.watchdog = Some(TimeSpan::from_micros(micros));
        }
        let watched = !run.phase.is_ending() && run.phase != Phase::StartPre && run.phase != Phase::Start;
        if watched && (message.watchdog || message.watchdog_usec.is_some()) {
            self.feed_watchdog(now, place);
        }
        if let Some(micros) = message.extend_timeout_usec {
            self.extend_deadlines(now, place, TimeSpan::from_micros(micros));
        }
        self.note(place, &message);
        if let Some(pid) = message.main_pid {
            self.main_named(place, pid, message.is_trusted);
        }
        self.state_notified(now, place, &message);
        if message.watchdog_trigger {
            self.watchdog_expired(now, place);
        }
    }

    /// What is only shown.
    fn note(&mut self, place: Place, message: &NotifyMessage) {
        let Some(run) = self.run_mut(place) else { return };
        run.errno = message.errno.or(run.errno);
        run.exit_status = message.exit_status.or(run.exit_status);
    }

    /// MAINPID=
    fn main_named(&mut self, place: Place, pid: Pid, trusted: bool) {
        let Some(run) = self.run(place) else { return };
        let asked = match &run.claim {
            Some(claim) => matches!(claim.naming, Naming::Message { pid: named, .. } if named == pid),
            None => run.main.pid() == Some(pid),
        };
        // The commands of a oneshot are its main process, one after the other.
        let matters = run.def.service.kind != ServiceKind::Oneshot;
        let is_there = run.phase == Phase::Start || run.phase == Phase::StartPost || run.phase.is_up();
        if matters && is_there && !asked {
            self.claim_main(place, Naming::Message { pid, trusted });
        }
    }

    /// What the service says of its own state.
    fn state_notified(&mut self, now: Now, place: Place, message: &NotifyMessage) {
        let Some(run) = self.run(place) else { return };
        let (phase, kind, busy) = (run.phase, run.def.service.kind, run.control.is_some());
        match phase {
            Phase::Start if message.ready && kind.notifies() && !busy => {
                self.started(now, place);
            }
            Phase::Running if message.stopping => self.enter_stop_by_itself(now, place),
            Phase::Running if message.reloading && !message.ready => self.await_reload(now, place),
            Phase::Reload { .. } if message.stopping && !busy => self.enter_stop_by_itself(now, place),
            Phase::ReloadSignal if message.reloading && self.answers_signal(place, message) => {
                if message.ready {
                    self.reload_ended(now, place, None);
                } else {
                    self.await_reload(now, place);
                }
            }
            Phase::ReloadSignal if message.stopping => self.enter_stop_by_itself(now, place),
            Phase::Reload { by_notify: false } if message.reloading && !message.ready => {
                self.set_reload_by_notify(place, true);
            }
            Phase::Reload { by_notify: true } if message.ready => {
                if busy {
                    self.set_reload_by_notify(place, false);
                } else {
                    self.reload_ended(now, place, None);
                }
            }
            Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Running
            | Phase::Exited
            | Phase::ReloadSignal
            | Phase::Reload { .. }
            | Phase::Stop
            | Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::StopPost
            | Phase::FinalSigterm
            | Phase::FinalSigkill => {}
        }
    }

    /// Whether RELOADING=1 is about the reload that was asked for and not an earlier one.
    fn answers_signal(&self, place: Place, message: &NotifyMessage) -> bool {
        let asked = self.run(place).and_then(|run| run.reload.as_ref()).and_then(|reloading| reloading.signalled);
        match (asked, message.monotonic_usec) {
            (Some(asked), Some(began)) => began >= asked.0 / NANOS_PER_MICRO,
            (Some(_) | None, None) | (None, Some(_)) => false,
        }
    }

    fn set_reload_by_notify(&mut self, place: Place, by_notify: bool) {
        if let Some(run) = self.run_mut(place) {
            run.phase = Phase::Reload { by_notify };
            self.touch(place);
        }
    }

    /// EXTEND_TIMEOUT_USEC=: the deadlines of start, stop and RuntimeMaxSec= are at least so far away.
    fn extend_deadlines(&mut self, now: Now, place: Place, span: TimeSpan) {
        let Some(extended) = now.mono.after(span) else { return };
        for slot in [Slot::Phase, Slot::RuntimeMax] {
            if self.timers.get(place, slot).is_some_and(|at| at < extended) {
                self.timers.set(place, slot, Some(extended));
                self.touch(place);
            }
        }
    }
}

const fn is_believed(access: NotifyAccess, sender: Sender) -> bool {
    match access {
        NotifyAccess::None => false,
        NotifyAccess::Main => matches!(sender, Sender::Main),
        NotifyAccess::Exec => matches!(sender, Sender::Main | Sender::Control),
        NotifyAccess::All => true,
    }
}

const fn sender_bit(sender: Sender) -> u8 {
    match sender {
        Sender::Main => 0,
        Sender::Control => 1,
        Sender::Other => 2,
    }
}

/// The text without what goes past the limit.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(STATUS_TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Run {
    /// Whether there is a way to have it reload.
    pub(super) fn can_reload(&self) -> bool {
        self.def.service.can_reload()
    }
}
