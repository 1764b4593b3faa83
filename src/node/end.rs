//! The end of a run: its class, what is done about it, and what follows for others.

use super::{
    Node,
    effect::{Effect, Outcome, Refusal},
    graph::Place,
    input::Allowed,
    restart,
    service::{End, Monitor, Run, State},
    timers::Slot,
    watch::Elsewhere,
    wish::{Ending, JobKind, Wish},
};
use crate::{
    base::{Consequence, ExitStatus, Happening, Now, RunResult, StartCause, TimeSpan},
    unit::spec::EmergencyAction,
};

/// The least delay after the machine was short of something: trying at once would not help it.
const TRANSIENT_DELAY_MIN: TimeSpan = TimeSpan::from_secs(1);
/// The least delay after a run in which no process came to be: without it a missing program would be tried in a tight
/// loop where the unit has neither a delay nor a start limit.
const EMPTY_RUN_DELAY_MIN: TimeSpan = TimeSpan::from_millis(100);

/// What is done about an end.
#[derive(Debug)]
enum Plan {
    /// A start job, or the restart that someone ordered, takes over.
    Pending,
    Restart {
        cause: StartCause,
        counts: bool,
        row: u32,
        delay: TimeSpan,
    },
    Rest,
    Fail,
    StartLimit,
    /// Down until there is traffic.
    Listen,
    /// It runs already: whoever keeps it has restarted it.
    Elsewhere,
    /// Whoever keeps it will start it again.
    Waits,
    /// Whoever keeps it has started it too often.
    GaveUp(Allowed),
}

impl Node {
    /// The run is over: no process of it is left, or none that is ours to end.
    pub(super) fn finish(&mut self, now: Now, place: Place) {
        self.end_probes(place);
        self.timers.clear_run(place);
        self.end_watch(place);
        let Some(unit) = self.unit_mut(place) else { return };
        let State::Live(run) = std::mem::replace(&mut unit.state, State::Inactive) else { return };
        unit.since = run.ended_at.unwrap_or(now);
        unit.result = run.result;
        unit.last_status = run.main.status();
        self.live -= 1;
        self.stuck -= usize::from(run.unkillable);
        if run.owns_tree() && run.def.service.kill.send_sigkill {
            // Not an order: nothing waits for it, a restart least of all.
            let (invocation, main) = (run.invocation, run.begin.pid);
            self.notices.push_back(Effect::Sweep { run: run.id(), invocation, main });
        }
        let plan = self.plan(now, place, &run);
        let end = self.say_end(now, place, &run, &plan);
        let failed_job =
            self.unit(place).and_then(|unit| unit.job.as_ref()).is_some_and(|job| job.begun && !job.stops());
        if failed_job {
            let outcome = if run.result == RunResult::Success {
                Outcome::Done
            } else if run.result == RunResult::ExecCondition {
                Outcome::Skipped
            } else {
                Outcome::Failed(Refusal::StartFailed { result: run.result, status: run.main.status() })
            };
            self.finish_job(now, place, &outcome);
        }
        let follows = match plan {
            Plan::Pending | Plan::Restart { .. } | Plan::Elsewhere | Plan::Waits => true,
            Plan::Rest | Plan::Fail | Plan::StartLimit | Plan::GaveUp(_) | Plan::Listen => false,
        };
        self.tidy(place, &run, follows);
        self.carry_out(now, place, &run, plan);
        self.stop_bound(place, &end);
        self.continue_job(now, place);
        self.plan_timers_of(now, place);
        self.settle_watch(now, place);
        self.ended.push(place);
    }

    fn plan(&mut self, now: Now, place: Place, run: &Run) -> Plan {
        let stopping = self.shutdown.is_some();
        let Some(unit) = self.unit(place) else { return Plan::Rest };
        if stopping || unit.gone {
            return Plan::Rest;
        }
        // Though a stop may wait for its turn: it has to be told there.
        if run.elsewhere == Some(Elsewhere::Waits) {
            return Plan::Waits;
        }
        if unit.wish == Wish::Down {
            return Plan::Rest;
        }
        if unit.job.as_ref().is_some_and(|job| !job.begun || matches!(job.kind, JobKind::Restart(_))) {
            return Plan::Pending;
        }
        match run.elsewhere {
            Some(Elsewhere::Restarted | Elsewhere::Failed) => return Plan::Elsewhere,
            Some(Elsewhere::GaveUp(allowed)) => return Plan::GaveUp(allowed),
            Some(Elsewhere::Gone | Elsewhere::Waits) | None => {}
        }
        if unit.is_connection() {
            let is_well = matches!(run.result, RunResult::Success | RunResult::ExecCondition) && run.ending.is_none();
            return if is_well { Plan::Rest } else { Plan::Fail };
        }
        let policy = &unit.def.service.restart;
        let cause = match &run.ending {
            Some(Ending::Unhealthy { probe }) => Some(StartCause::Unhealthy { probe: probe.clone() }),
            Some(
                Ending::Stop(_)
                | Ending::Restart(_)
                | Ending::Shutdown(_)
                | Ending::Conflict(_)
                | Ending::Bound(_)
                | Ending::Removed,
            ) => {
                return Plan::Rest;
            }
            None => {
                // The run's own rules class its end; whether a next one comes is the newest file's to say.
                let (rules, kind) = (&run.def.service.restart, run.def.service.kind);
                let follows = restart::restarts_after(policy.when, rules, kind, run.result, run.main.status());
                (follows || run.transient).then_some(StartCause::AutoRestart)
            }
        };
        match cause {
            Some(cause) => self.plan_restart(now, place, run, cause),
            None if unit.is_lazy() => Plan::Listen,
            None if matches!(run.result, RunResult::Success | RunResult::ExecCondition) => Plan::Rest,
            None => Plan::Fail,
        }
    }

    /// When the restart comes. One that comes at once asks the start limit here, so that the end can say what follows.
    fn plan_restart(&mut self, now: Now, place: Place, run: &Run, cause: StartCause) -> Plan {
        let Self { units, rng, .. } = self;
        let Some(unit) = units.get_mut(place.index()).and_then(Option::as_mut) else { return Plan::Rest };
        let policy = &unit.def.service.restart;
        // What is not the unit's fault is no step of its row and no start of its window.
        let row = if run.transient { unit.restarts } else { unit.restarts.saturating_add(1) };
        let mut delay = restart::jittered(restart::delay(policy, row), policy.jitter, rng);
        if run.transient {
            unit.window.give_back();
            delay = delay.max(TRANSIENT_DELAY_MIN);
        }
        if run.unborn && run.controls == 0 {
            delay = delay.max(EMPTY_RUN_DELAY_MIN);
        }
        if delay.is_zero() && !unit.window.admit(now.mono, unit.def.start_limit) {
            return Plan::StartLimit;
        }
        Plan::Restart { cause, counts: !run.transient, row, delay }
    }

    fn say_end(&mut self, now: Now, place: Place, run: &Run, plan: &Plan) -> End {
        // Someone restarted it through whoever keeps it.
        let wanted = run.ending.as_ref().is_some_and(Ending::is_wanted) || run.elsewhere == Some(Elsewhere::Restarted);
        let consequence = match plan {
            Plan::Pending if wanted => Consequence::Rest,
            Plan::Pending | Plan::Restart { .. } | Plan::Elsewhere | Plan::Waits => Consequence::Restart,
            Plan::Listen if run.result == RunResult::Success => Consequence::Rest,
            Plan::Rest if run.is_left_running() => Consequence::Left,
            Plan::Rest => Consequence::Rest,
            Plan::Listen | Plan::Fail => Consequence::Fail,
            Plan::StartLimit | Plan::GaveUp(_) => Consequence::StartLimit,
        };
        let end = End {
            generation: run.generation,
            invocation: run.invocation,
            begin: Some(run.begin.clone()),
            status: run.main.status(),
            usage: run.main.usage(),
            result: run.result,
            wanted,
            consequence,
            why: run.why_ended(),
        };
        if let Some(unit) = self.unit_mut(place) {
            unit.keep_end(end.clone());
            if !wanted && consequence != Consequence::Rest {
                unit.begin_incident();
            }
        }
        let mut what = end.happening(&run.def.name, false);
        if let (Happening::RunEnded { delay: said, .. }, Plan::Restart { delay, .. }) = (&mut what, plan) {
            *said = Some(*delay).filter(|delay| !delay.is_zero());
        }
        self.notice(run.ended_at.unwrap_or(now), what);
        end
    }

    fn carry_out(&mut self, now: Now, place: Place, run: &Run, plan: Plan) {
        self.touch(place);
        match plan {
            // `continue_job` goes on with it.
            Plan::Pending => {}
            Plan::Elsewhere => {
                if let Some(unit) = self.unit_mut(place) {
                    unit.restarts = unit.restarts.saturating_add(1);
                }
                let at = run.ended_at.unwrap_or(now);
                self.begin_run_at(now, at, place, StartCause::ExternalRestart, None);
            }
            Plan::Restart { cause, counts, row, delay } => {
                let state = State::HoldOff { due: now.mono.after(delay), cause, counts };
                self.restart(now, place, state, row, delay);
            }
            Plan::Rest => {
                if let Some(unit) = self.unit_mut(place) {
                    unit.wish = Wish::Down;
                }
                if !run.is_left_running() {
                    self.say_stopped(now, place, run);
                }
                self.release(place, run.ending.as_ref());
                self.finished_well(now, place, run);
                self.trigger_followers(now, place, run);
                self.end_the_daemon(place, Came::ToRest);
            }
            Plan::Listen => {
                self.listen(now, place);
                self.finished_well(now, place, run);
                self.trigger_followers(now, place, run);
                // Its sockets are on, but the service that systemd has beside them has come to rest.
                let came = if run.result == RunResult::Success { Came::ToRest } else { Came::ToFailure };
                self.end_the_daemon(place, came);
            }
            Plan::Waits => self.await_manager(run.ended_at.unwrap_or(now), place),
            Plan::Fail => self.fail(now, place, run.result, run.monitor_of()),
            Plan::StartLimit => self.start_limit_hit(now, place, run.monitor_of()),
            Plan::GaveUp(allowed) => self.gave_up_elsewhere(now, place, allowed, run.monitor_of()),
        }
    }

    /// Starts the units of on_success or on_failure of a unit that is down and not failed.
    fn trigger_followers(&mut self, now: Now, place: Place, run: &Run) {
        let Some(unit) = self.unit(place) else { return };
        let relations = &unit.def.relations;
        let targets = if run.result == RunResult::Success {
            relations.on_success.clone()
        } else if matches!(unit.state, State::Listening) {
            relations.on_failure.clone()
        } else {
            return;
        };
        self.start_triggered(now, place, &targets, run.monitor_of());
    }

    /// It came to its end by itself, and a good one: there is nothing to be restored any more.
    fn finished_well(&mut self, now: Now, place: Place, run: &Run) {
        let Some(unit) = self.unit_mut(place) else { return };
        if run.ending.is_none() && run.result == RunResult::Success && unit.incident.take().is_some() {
            self.notice(now, Happening::Recovered { run: run.id() });
        }
    }

    /// Waits for the hold-off, or begins at once when there is none; the start limit was asked then.
    fn restart(&mut self, now: Now, place: Place, hold_off: State, row: u32, delay: TimeSpan) {
        let Some(unit) = self.unit_mut(place) else { return };
        unit.state = hold_off;
        unit.wish = Wish::Up;
        if delay.is_zero() {
            return self.restart_now(now, place);
        }
        let name = unit.name.clone();
        self.timers.set(place, Slot::HoldOff, now.mono.after(delay));
        self.notice(now, Happening::RestartScheduled { unit: name, delay, restarts: row });
    }

    /// The restart is counted when it happens: a reset in the hold-off leaves it the first of its row.
    fn restart_now(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let State::HoldOff { cause, counts, .. } = &unit.state else { return };
        let cause = cause.clone();
        unit.restarts = unit.restarts.saturating_add(u32::from(*counts));
        self.begin_run(now, place, cause, None);
    }

    /// The hold-off is over.
    pub(super) fn hold_off_over(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        if unit.window.admit(now.mono, unit.def.start_limit) {
            self.restart_now(now, place);
        } else {
            let monitor = self.last_end(place);
            self.start_limit_hit(now, place, monitor);
            self.correct_last_end(now, place, Consequence::StartLimit);
        }
    }

    /// The restart that was announced with the last end did not come: its row says what came instead.
    pub(super) fn correct_last_end(&mut self, now: Now, place: Place, consequence: Consequence) {
        let Some(unit) = self.unit_mut(place) else { return };
        let announced = |end: &&mut End| end.consequence == Consequence::Restart;
        let Some(end) = unit.ends.last_mut().filter(announced) else { return };
        end.consequence = consequence;
        let what = end.happening(&unit.name, true);
        self.touch(place);
        self.notice(now, what);
    }

    /// The unit is failed for good. on_failure fires here and not at each try of an automatic restart: that is systemd's
    /// RestartMode=direct, and what people mean by "failed".
    pub(super) fn fail(&mut self, now: Now, place: Place, result: RunResult, monitor: Option<Box<Monitor>>) {
        let Some(unit) = self.unit_mut(place) else { return };
        // Only who was not failed yet triggers others: two units that name each other would go on for ever.
        let is_new = !matches!(unit.state, State::Failed);
        unit.state = State::Failed;
        unit.since = now;
        unit.result = result;
        unit.wish = Wish::Down;
        unit.begin_incident();
        let name = unit.name.clone();
        let targets = unit.def.relations.on_failure.clone();
        self.timers.clear(place, Slot::HoldOff);
        self.touch(place);
        self.tidy_kept(place);
        self.notice(now, Happening::UnitFailed { unit: name, result });
        if is_new {
            self.start_triggered(now, place, &targets, monitor);
            self.end_the_daemon(place, Came::ToFailure);
        }
    }

    /// Too many starts; by action `exit` the daemon ends with code 1.
    pub(super) fn start_limit_hit(&mut self, now: Now, place: Place, monitor: Option<Box<Monitor>>) {
        let Some(limit) = self.unit(place).map(|unit| unit.def.start_limit) else { return };
        if let Some(watch) = self.unit_mut(place).and_then(|unit| unit.watch.as_deref_mut()) {
            watch.gave_up = None;
        }
        self.start_limit_hit_of(now, place, limit.burst, limit.interval, monitor);
    }

    /// The same by the limit of whoever keeps it.
    pub(super) fn start_limit_hit_of(
        &mut self,
        now: Now,
        place: Place,
        burst: u32,
        interval: TimeSpan,
        monitor: Option<Box<Monitor>>,
    ) {
        let Some(unit) = self.unit(place) else { return };
        let (name, action, last) = (unit.name.clone(), unit.def.start_limit.action, unit.last_end_in_words());
        let again = matches!(unit.state, State::Failed) && unit.result == RunResult::StartLimitHit;
        self.notice(now, Happening::StartLimitHit { unit: name, burst, interval, last, again });
        let monitor = monitor.map(|monitor| Box::new(Monitor { result: RunResult::StartLimitHit, ..*monitor }));
        self.fail(now, place, RunResult::StartLimitHit, monitor);
        self.want_exit(place, action, super::EXIT_CODE_START_LIMIT);
    }

    /// What success_action and failure_action ask for, when the unit has come to rest and nothing starts it again. A unit that
    /// goes down with the daemon, or whose file is gone, asks for nothing.
    pub(super) fn end_the_daemon(&mut self, place: Place, came: Came) {
        if self.shutdown.is_some() {
            return;
        }
        let Some(unit) = self.unit(place).filter(|unit| !unit.gone) else { return };
        let (actions, status) = (unit.def.actions, unit.last_status);
        let (action, code) = match came {
            Came::ToRest => (actions.success, actions.success_status.unwrap_or_else(|| code_of_success(status))),
            Came::ToFailure => (actions.failure, actions.failure_status.unwrap_or_else(|| code_of_failure(status))),
        };
        self.want_exit(place, action.unwrap_or(EmergencyAction::None), code);
    }

    /// The manager died before the daemon had ended.
    pub(super) fn end_the_daemon_again(&mut self, place: Place) {
        let Some(unit) = self.unit(place) else { return };
        let limit = unit.def.start_limit.action;
        match (&unit.state, unit.result) {
            (State::Failed, RunResult::StartLimitHit) if limit != EmergencyAction::None => {
                self.want_exit(place, limit, super::EXIT_CODE_START_LIMIT);
            }
            (State::Failed, _) => self.end_the_daemon(place, Came::ToFailure),
            (State::Inactive, _) | (State::Listening, RunResult::Success) => self.end_the_daemon(place, Came::ToRest),
            (State::Listening, _) => self.end_the_daemon(place, Came::ToFailure),
            // A new run has begun: whoever started it meant it.
            (State::HoldOff { .. } | State::Live(_), _) => {}
        }
    }

    /// The first that asks decides.
    fn want_exit(&mut self, place: Place, action: EmergencyAction, code: u8) {
        if action == EmergencyAction::None {
            return;
        }
        if let Some(unit) = self.unit_mut(place) {
            unit.ends_daemon = true;
        }
        self.exit_wanted = self.exit_wanted.or(Some((action, code)));
    }

    /// `UnitStopped`, if it is down because someone wanted it.
    fn say_stopped(&mut self, now: Now, place: Place, run: &Run) {
        let Some(unit) = self.unit(place) else { return };
        let by_job = unit.job.as_ref().and_then(|job| match &job.kind {
            JobKind::Stop(ending) => Some(ending.actor()),
            JobKind::Start { .. } | JobKind::Restart(_) => None,
        });
        let by_run = run.ending.as_ref().filter(|ending| ending.is_wanted()).map(Ending::actor);
        if let Some(actor) = by_run.or(by_job) {
            let unit = unit.name.clone();
            if let Some(unit) = self.unit_mut(place) {
                unit.incident = None;
            }
            self.notice(now, Happening::UnitStopped { unit, actor });
        }
    }

    /// Whoever is bound to a unit that ended by itself goes down with it, and comes back with it.
    fn stop_bound(&mut self, place: Place, end: &End) {
        if end.wanted || self.shutdown.is_some() {
            return;
        }
        let graph = self.graph.clone();
        let Some(name) = self.unit(place).map(|unit| unit.name.clone()) else { return };
        for bound in graph.bound_by.of(place) {
            let is_on = self.unit(*bound).is_some_and(|unit| match &unit.state {
                State::Live(run) => !run.phase.is_ending(),
                State::HoldOff { .. } => true,
                State::Inactive | State::Failed | State::Listening => false,
            });
            if is_on {
                self.stop_with_dependents(*bound, &Ending::Bound(name.clone()));
            }
        }
    }

    /// What the unit's job does now that the unit is down.
    fn continue_job(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(job) = &mut unit.job else { return };
        match &job.kind {
            JobKind::Stop(_) if job.begun => self.finish_job(now, place, &Outcome::Done),
            JobKind::Stop(_) => self.queue.push_back(place),
            JobKind::Restart(actor) => {
                job.kind = JobKind::Start { cause: StartCause::Manual(actor.clone()), monitor: None };
                job.begun = false;
                self.queue.push_back(place);
                self.wake_neighbours(place);
            }
            JobKind::Start { .. } if !job.begun => self.queue.push_back(place),
            JobKind::Start { .. } => {}
        }
    }
}

/// Where a unit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    ToRest,
    ToFailure,
}

/// The main process' own, as systemd has it. One that a clean signal ended has none, and is a success all the same.
const fn code_of_success(status: Option<ExitStatus>) -> u8 {
    match status {
        Some(ExitStatus::Exited(code)) => code,
        Some(ExitStatus::Signaled { .. } | ExitStatus::Unknown) | None => 0,
    }
}

/// As a shell shows it. Never 0: a unit may fail though its process did not (systemd would say 0 then, and for a signal too).
fn code_of_failure(status: Option<ExitStatus>) -> u8 {
    match status {
        Some(ExitStatus::Exited(0) | ExitStatus::Unknown) | None => 1,
        Some(ExitStatus::Exited(code)) => code,
        Some(ExitStatus::Signaled { signal, .. }) => u8::try_from(128 + signal.raw()).unwrap_or(u8::MAX),
    }
}

impl Run {
    /// Whether only we have nothing to do with it any more.
    fn is_left_running(&self) -> bool {
        let leaves = matches!(self.ending, Some(Ending::Shutdown(_) | Ending::Removed));
        // One that was being started is stopped, or comes up without us.
        let is_up = (self.begin.ready_at.is_some() || self.comes_back) && self.result == RunResult::Success;
        leaves && is_up && self.elsewhere.is_none() && self.def.external.is_some()
    }

    /// What on_failure and on_success are told of this run.
    fn monitor_of(&self) -> Option<Box<Monitor>> {
        Some(Box::new(Monitor {
            unit: self.def.name.clone(),
            invocation: self.invocation,
            result: self.result,
            status: self.main.status(),
        }))
    }
}
