//! The way up: from the order for a run to *Running*.

use super::{
    Node,
    effect::Outcome,
    graph::Place,
    service::{Begin, Directive, Main, Monitor, Phase, Run, State},
    timers::Slot,
    wish::Wish,
};
use crate::{
    base::{Happening, Now, RunResult, StartCause, TimeSpan},
    unit::spec::ServiceKind,
};

impl Node {
    /// Begins a run. The start limit was asked, and nothing of an older run is left.
    pub(super) fn begin_run(&mut self, now: Now, place: Place, cause: StartCause, monitor: Option<Box<Monitor>>) {
        self.begin_run_at(now, now, place, cause, monitor);
    }

    /// The same of one that began `at` that time, before anyone looked.
    pub(super) fn begin_run_at(
        &mut self,
        now: Now,
        at: Now,
        place: Place,
        cause: StartCause,
        monitor: Option<Box<Monitor>>,
    ) {
        let invocation = self.new_invocation();
        self.debt_settled(&cause);
        let Some(unit) = self.unit_mut(place) else { return };
        unit.generation = unit.generation.next();
        match cause {
            StartCause::AutoRestart
            | StartCause::Unhealthy { .. }
            | StartCause::ExternalStart
            | StartCause::ExternalRestart => {}
            // A start that someone asked for while the hold-off ran is one more try of the same row.
            StartCause::Boot
            | StartCause::Manual(_)
            | StartCause::Reload(_)
            | StartCause::Dependency(_)
            | StartCause::Triggered(_)
            | StartCause::Traffic
            | StartCause::Timer(_)
            | StartCause::Connection(_) => {
                if !matches!(unit.state, State::HoldOff { .. }) {
                    unit.restarts = 0;
                }
            }
        }
        let begin = Begin::new(at, cause.clone(), unit.restarts);
        let mut run = Run::new(unit.def.clone(), unit.generation, invocation, begin);
        run.monitor = monitor;
        let what = Happening::RunStarting { run: run.id(), invocation, cause, restarts: unit.restarts };
        unit.ends_daemon = false;
        unit.spawn_failure = None;
        unit.state = State::Live(Box::new(run));
        unit.wish = Wish::Up;
        unit.known = true;
        unit.waits_back = false;
        unit.kept = None;
        for slot in [Slot::HoldOff, Slot::Idle] {
            self.timers.clear(place, slot);
        }
        if let Some(index) = self.idlers.iter().position(|idler| *idler == place) {
            // An automatic restart came before its turn; its job goes with that.
            self.idlers.swap_remove(index);
            self.queue.push_back(place);
        }
        self.live += 1;
        self.notice(at, what);
        // The memo that goes out with the first process knows of it.
        self.plan_timers_of(now, place);
        self.settle_watch(now, place);
        self.forget_life(place);
        self.next_condition(now, place, 0);
    }

    pub(super) fn next_condition(&mut self, now: Now, place: Place, step: u16) {
        if !self.run_command(now, place, Directive::Condition, step, Phase::Condition) {
            self.next_start_pre(now, place, 0);
        }
    }

    pub(super) fn next_start_pre(&mut self, now: Now, place: Place, step: u16) {
        if !self.run_command(now, place, Directive::StartPre, step, Phase::StartPre) {
            self.next_start(now, place, 0);
        }
    }

    /// The command number `step` of ExecStart=. The last is the main process; those before it (oneshot) are commands of
    /// their own, because a run has one main process. A forking service's is a command too: what it leaves is the service.
    pub(super) fn next_start(&mut self, now: Now, place: Place, step: u16) {
        let Some(run) = self.run(place) else { return };
        let commands = &run.def.service.exec_start;
        let step_index = usize::from(step);
        let is_external = run.def.external.is_some() && step_index < commands.len();
        if is_external && run.began_elsewhere() {
            return self.started(now, place);
        }
        let is_command = step_index + 1 < commands.len() || run.def.service.kind == ServiceKind::Forking || is_external;
        if is_command {
            self.run_command(now, place, Directive::Start, step, Phase::Start);
        } else if let Some(command) = commands.get(step_index).cloned() {
            self.run_main(now, place, command);
        } else {
            self.started(now, place);
        }
    }

    /// It is up as its type demands; ExecStartPost= follows.
    pub(super) fn started(&mut self, now: Now, place: Place) {
        self.feed_watchdog(now, place);
        self.next_start_post(now, place, 0);
    }

    pub(super) fn next_start_post(&mut self, now: Now, place: Place, step: u16) {
        if self.run_command(now, place, Directive::StartPost, step, Phase::StartPost) {
            return;
        }
        // The last command may have written what names the main process.
        let naming = self.naming_of_forked(place).filter(|_| step > 0);
        match naming {
            Some(naming) => self.claim_main(place, naming),
            None => self.come_up(now, place),
        }
    }

    /// All commands of the start have ended well; the main process may have ended meanwhile.
    pub(super) fn come_up(&mut self, now: Now, place: Place) {
        let Some(run) = self.run_mut(place) else { return };
        let lives = run.lives();
        if run.result != RunResult::Success && !lives {
            return self.enter_stop(now, place);
        }
        let at = if run.began_elsewhere() { run.begin.at } else { now };
        run.begin.ready_at = Some(at);
        let id = run.id();
        let stays = run.def.service.remain_after_exit;
        let kind = run.def.service.kind;
        self.notice(at, Happening::RunReady { run: id });
        match self.run(place).map(|run| run.main) {
            Some(_) if lives => self.enter_up(now, place, Phase::Running),
            Some(Main::Alive(_) | Main::Ordered) => {}
            Some(Main::Ended { .. } | Main::None) if stays => self.enter_up(now, place, Phase::Exited),
            Some(Main::Ended { .. } | Main::None) => {
                if kind == ServiceKind::Oneshot {
                    self.is_well(now, place);
                }
                self.up_for_others(now, place);
                self.enter_stop(now, place);
            }
            None => {}
        }
    }

    fn enter_up(&mut self, now: Now, place: Place, phase: Phase) {
        let Some(run) = self.run(place) else { return };
        let timeouts = *run.def.service.timeouts;
        let since = run.begin.ready_at.unwrap_or(now);
        let runtime_max = self.with_extra(timeouts.runtime_max, timeouts.runtime_extra);
        self.enter_resting(since, place, phase);
        self.timers.set(place, Slot::RuntimeMax, now.mono.after(runtime_max));
        self.watch_tree(place);
        self.begin_probes(now, place);
        self.look(place);
        self.up_for_others(now, place);
    }

    /// The span with at most `extra` added at random, so that many that began together do not end together.
    fn with_extra(&mut self, span: TimeSpan, extra: TimeSpan) -> TimeSpan {
        let (Some(micros), Some(extra)) = (span.micros(), extra.micros().filter(|extra| *extra > 0)) else {
            return span;
        };
        TimeSpan::from_micros(micros.saturating_add(self.rng.below(extra)))
    }

    /// Ends the start job, and brings back whoever is down only because this unit was.
    fn up_for_others(&mut self, now: Now, place: Place) {
        if self.unit(place).and_then(|unit| unit.job.as_ref()).is_some_and(|job| !job.stops()) {
            self.finish_job(now, place, &Outcome::Done);
        }
        self.bring_back(now, place);
    }

    /// A failure on the way up: no ExecStop=, straight to the signals.
    pub(super) fn start_failed(&mut self, now: Now, place: Place, result: RunResult) {
        if let Some(run) = self.run_mut(place) {
            run.spoil(result);
        }
        self.enter_signals(now, place, Phase::StopSigterm { tree: false });
    }
}
