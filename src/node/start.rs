//! The way up: from the order for a run to *Running*.

use super::{
    Node,
    effect::Outcome,
    graph::Place,
    service::{Begin, Directive, Main, Monitor, Phase, Run, State, Wish},
    timers::Slot,
};
use crate::{
    base::{Happening, Now, RunResult, StartCause},
    unit::spec::ServiceKind,
};

impl Node {
    /// Begins a run. The start limit was asked, and nothing of an older run is left.
    pub(super) fn begin_run(&mut self, now: Now, place: Place, cause: StartCause, monitor: Option<Box<Monitor>>) {
        let invocation = self.new_invocation();
        let Some(unit) = self.unit_mut(place) else { return };
        unit.generation = unit.generation.next();
        match cause {
            StartCause::AutoRestart | StartCause::Unhealthy { .. } => {}
            // A start that someone asked for while the hold-off ran is one more try of the same row.
            StartCause::Boot | StartCause::Manual(_) | StartCause::Dependency(_) | StartCause::Triggered(_) => {
                if !matches!(unit.state, State::HoldOff { .. }) {
                    unit.restarts = 0;
                }
            }
        }
        let begin = Begin::new(now, cause.clone(), unit.restarts);
        let mut run = Run::new(unit.def.clone(), unit.generation, invocation, begin);
        run.monitor = monitor;
        let what = Happening::RunStarting { run: run.id(), invocation, cause, restarts: unit.restarts };
        unit.state = State::Live(Box::new(run));
        unit.wish = Wish::Up;
        unit.known = true;
        unit.waits_back = false;
        self.timers.clear(place, Slot::HoldOff);
        self.live += 1;
        self.notice(now, what);
        self.next_start_pre(now, place, 0);
    }

    pub(super) fn next_start_pre(&mut self, now: Now, place: Place, step: u16) {
        if !self.run_command(now, place, Directive::StartPre, step, Phase::StartPre) {
            self.next_start(now, place, 0);
        }
    }

    /// The command number `step` of ExecStart=. The last is the main process; those before it (oneshot) are commands of
    /// their own, because a run has one main process.
    pub(super) fn next_start(&mut self, now: Now, place: Place, step: u16) {
        let Some(run) = self.run(place) else { return };
        let commands = &run.def.service.exec_start;
        let step_index = usize::from(step);
        if step_index + 1 < commands.len() {
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
        if !self.run_command(now, place, Directive::StartPost, step, Phase::StartPost) {
            self.start_done(now, place);
        }
    }

    /// All commands of the start have ended well; the main process may have ended meanwhile.
    fn start_done(&mut self, now: Now, place: Place) {
        let Some(run) = self.run_mut(place) else { return };
        if run.result != RunResult::Success {
            return self.enter_stop(now, place);
        }
        run.begin.ready_at = Some(now);
        let id = run.id();
        let stays = run.def.service.remain_after_exit;
        let kind = run.def.service.kind;
        self.notice(now, Happening::RunReady { run: id });
        match self.run(place).map(|run| run.main) {
            Some(Main::Alive(_) | Main::Ordered) => self.enter_up(now, place, Phase::Running),
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
        let runtime_max = run.def.service.timeouts.runtime_max;
        self.enter_resting(now, place, phase);
        self.timers.set(place, Slot::RuntimeMax, now.mono.after(runtime_max));
        self.begin_probes(now, place);
        self.up_for_others(now, place);
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
