//! Which process is the main one, where the service and not we made it: PIDFile=, MAINPID=, or the only one that is left.
//!
//! The engine looks, because it is the one that can; the keeper then knows the process under a name of its own, so that
//! neither its end nor an acknowledgement can be taken for that of the process before it. Source: systemd.service(5)
//! (PIDFile=, GuessMainPID=), sd_notify(3).

use super::{
    Effect, Node,
    effect::MainSource,
    graph::Place,
    input::MissingMain,
    service::{Claim, Main, Naming, Phase, Run},
    timers::Slot,
};
use crate::{
    base::{Happening, Now, Pid, ProcessKey, Role, RunResult, TimeSpan},
    unit::spec::ServiceKind,
};

/// The first wait for a PID file that is not there; each further one is twice as long.
const LOOK_AGAIN_MIN: TimeSpan = TimeSpan::from_millis(10);
/// Doublings after which the wait does not grow: 0.64 s.
const DOUBLINGS_MAX: u32 = 6;

impl Node {
    /// Looks for the main process. A claim that is newer takes the place of one that has no answer yet.
    pub(super) fn claim_main(&mut self, place: Place, naming: Naming) {
        let Some(run) = self.run_mut(place) else { return };
        run.claims += 1;
        let ended = run.claim.take().and_then(|claim| claim.ended);
        run.claim = Some(Box::new(Claim { number: run.claims, naming, ended, tries: 0 }));
        self.touch(place);
        self.look_for_main(place);
    }

    /// Asks the engine, once more where it was asked before.
    pub(super) fn look_for_main(&mut self, place: Place) {
        let Some(run) = self.run(place) else { return };
        let Some(claim) = &run.claim else { return };
        let key = ProcessKey { run: run.id(), role: Role::Named(claim.number) };
        let from = match claim.naming {
            Naming::PidFile => run.def.service.main.pid_file.clone().map_or(MainSource::Guess, MainSource::PidFile),
            Naming::Guess => MainSource::Guess,
            Naming::Message { pid, trusted } => MainSource::Message { pid, trusted },
        };
        let invocation = run.invocation;
        self.order(place, Effect::FindMain { key, invocation, from });
    }

    /// A forking service's command ended well: the process that it left is the service.
    pub(super) fn forked(&mut self, now: Now, place: Place) {
        match self.naming_of_forked(place) {
            Some(naming) => self.claim_main(place, naming),
            None => self.started(now, place),
        }
    }

    /// How the main process of a forking service is to be found, while nobody knows it.
    pub(super) fn naming_of_forked(&self, place: Place) -> Option<Naming> {
        let run = self.run(place)?;
        let service = &run.def.service;
        if service.kind != ServiceKind::Forking || run.main != Main::None {
            return None;
        }
        match (&service.main.pid_file, service.main.guess_main_pid) {
            (Some(_), _) => Some(Naming::PidFile),
            (None, true) => Some(Naming::Guess),
            (None, false) => None,
        }
    }

    /// The keeper knows a process that was looked for.
    pub(super) fn main_found(&mut self, now: Now, place: Place, number: u32, pid: Pid) {
        let Some(run) = self.run_mut(place) else { return };
        if !run.may_take(number) {
            self.stale += 1;
            return;
        }
        run.take_main(number, pid);
        // A daemon of which only this was missing.
        let waits = run.control.is_none() && run.def.service.kind == ServiceKind::Forking;
        let (id, phase, still_looks) = (run.id(), run.phase, run.claim.is_some());
        if !still_looks {
            self.timers.clear(place, Slot::Look);
        }
        self.touch(place);
        self.notice(now, Happening::MainStarted { run: id, pid });
        if waits && phase == Phase::Start {
            self.started(now, place);
        } else if waits && phase == Phase::StartPost {
            self.come_up(now, place);
        } else if phase.is_up() {
            self.feed_watchdog(now, place);
        }
    }

    /// There is no process to take the main one's place, or not yet.
    pub(super) fn main_missing(&mut self, now: Now, key: &ProcessKey, why: &MissingMain) {
        let Some(place) = self.current(&key.run) else { return };
        let Some(run) = self.run_mut(place) else { return };
        let Some(claim) = run.claim.take_if(|claim| key.role == Role::Named(claim.number)) else {
            self.stale += 1;
            return;
        };
        run.empty |= *why == MissingMain::Gone && !run.is_peopled();
        self.touch(place);
        if claim.tries == 0 {
            self.say_refused(now, place, why);
        }
        let waits = self.run(place).is_some_and(|run| {
            run.control.is_none() && run.main == Main::None && run.def.service.kind == ServiceKind::Forking
        });
        let phase = self.run(place).map(|run| run.phase);
        match (claim.naming, phase) {
            (Naming::PidFile, Some(Phase::Start | Phase::StartPost)) if waits => {
                self.pid_file_missing(now, place, *claim, why);
            }
            // The message took the place of another way to find it.
            (Naming::Message { .. }, Some(Phase::Start | Phase::StartPost)) if waits => {
                match self.naming_of_forked(place) {
                    Some(naming) => self.claim_main(place, naming),
                    None if phase == Some(Phase::Start) => self.started(now, place),
                    None => self.come_up(now, place),
                }
            }
            (Naming::Guess, Some(Phase::Start)) if waits => self.started(now, place),
            (Naming::Guess, Some(Phase::StartPost)) if waits => self.come_up(now, place),
            (Naming::PidFile | Naming::Guess | Naming::Message { .. }, _) => {
                if let Some(result) = claim.ended {
                    self.main_gone(now, place, result);
                }
            }
        }
    }

    /// A refusal is said: whoever wrote the file or the message should know why it has no effect.
    fn say_refused(&mut self, now: Now, place: Place, why: &MissingMain) {
        let MissingMain::Refused(reason) = why else { return };
        let Some(run) = self.run(place) else { return };
        let (run, reason) = (run.id(), reason.clone());
        self.notice(now, Happening::MainPidRefused { run, reason });
    }

    /// It is waited for until the start takes too long, as long as there is someone to write it. With ExecStartPost= to
    /// come, it may be written by that.
    fn pid_file_missing(&mut self, now: Now, place: Place, claim: Claim, why: &MissingMain) {
        let Some(run) = self.run_mut(place) else { return };
        let more_commands = run.phase == Phase::Start && !run.def.service.exec_start_post.is_empty();
        if more_commands {
            return self.started(now, place);
        }
        if *why == MissingMain::Gone {
            return self.start_failed(now, place, RunResult::Protocol);
        }
        let doublings = claim.tries.min(DOUBLINGS_MAX);
        let wait = TimeSpan::from_micros(LOOK_AGAIN_MIN.micros().unwrap_or_default() << doublings);
        run.claim = Some(Box::new(Claim { tries: claim.tries.saturating_add(1), ..claim }));
        self.timers.set(place, Slot::Look, now.mono.after(wait));
    }

    /// The end of the main process is held back while another process is looked for that may take its place.
    pub(super) fn holds_back(&mut self, place: Place, result: RunResult) -> bool {
        let Some(claim) = self.run_mut(place).and_then(|run| run.claim.as_mut()) else { return false };
        claim.ended = Some(result);
        true
    }
}

impl Run {
    /// Whether the process `number` of those that were looked for becomes the main one, now that it is found. A newer claim
    /// may have taken the place of the one that it answers: until that has an answer too, it is what was said last, and the
    /// keeper tells of its end.
    pub(super) fn may_take(&self, number: u32) -> bool {
        let is_newer = match self.main_role {
            Role::Named(before) => number > before,
            Role::Main | Role::Control(_) | Role::Probe(_) => true,
        };
        is_newer && number <= self.claims && !self.phase.is_ending()
    }

    /// From now on the process `number` of those that were named is the main one.
    pub(super) fn take_main(&mut self, number: u32, pid: Pid) {
        match &mut self.claim {
            // What was held back is the end of the process before this one.
            Some(newer) if newer.number != number => newer.ended = None,
            Some(_) | None => self.claim = None,
        }
        self.main = Main::Alive(pid);
        self.main_role = Role::Named(number);
        self.begin.pid = Some(pid);
        self.empty = false;
    }
}
