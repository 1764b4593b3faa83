//! Jobs: what is to be done with units as soon as their order allows (systemd.unit(5), Before=, After=).
//!
//! Wishes are settled first: an order makes the jobs of all units that it touches, then the queue begins those that wait
//! for nobody. A unit has at most one job; a newer one that contradicts it takes its place, and who asked for the old one
//! hears so. Rules of order: a start waits for every job of what it is after; a stop waits for the stops of what is
//! after it; between two units in any such relation, and between two that conflict, the stop comes first.

use std::collections::{BTreeSet, VecDeque};

use super::{
    Node,
    effect::{Outcome, Refusal},
    graph::Place,
    service::{Monitor, Phase, State, Unit},
    timers::Slot,
    wish::{Ask, Ending, Job, JobKind, Wish},
};
use crate::{
    base::{Actor, Consequence, Happening, Now, StartCause, TimeSpan, UnitName},
    unit::spec::{EmergencyAction, ServiceKind},
};

/// How long a start of type idle waits at most (systemd.service(5)).
const IDLE_MAX: TimeSpan = TimeSpan::from_secs(5);

/// So many jobs are tried before their orders are carried out: of a thousand units the first begins while the last is still
/// thought about. Few in tests, so that they see it.
const STEPS_AT_ONCE: usize = if cfg!(test) { 2 } else { 32 };

/// Why units are started.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    pub(super) cause: StartCause,
    pub(super) monitor: Option<Box<Monitor>>,
}

impl Pull {
    pub(super) const fn new(cause: StartCause) -> Self {
        Self { cause, monitor: None }
    }
}

impl Node {
    /// Start jobs for `roots` and all that they pull in, stop jobs for what conflicts with any of them.
    pub(super) fn start_all(&mut self, now: Now, roots: &[(Place, Option<Ask>)], pull: &Pull) {
        let graph = self.graph.clone();
        let mut seen = BTreeSet::new();
        let mut work = VecDeque::new();
        for (place, ask) in roots {
            if graph.conflicts.of(*place).iter().any(|other| seen.contains(other)) {
                self.answer(*ask, Outcome::Failed(Refusal::Superseded));
                continue;
            }
            self.enqueue_start(now, *place, pull, *ask);
            if seen.insert(*place) {
                work.push_back(*place);
            }
        }
        self.pull_in(now, seen, work);
    }

    /// Start jobs for all that the units in `work` pull in; `seen` have theirs already.
    pub(super) fn pull_in(&mut self, now: Now, mut seen: BTreeSet<Place>, mut work: VecDeque<Place>) {
        let graph = self.graph.clone();
        while let Some(place) = work.pop_front() {
            let Some(name) = self.unit(place).map(|unit| unit.name.clone()) else { continue };
            for other in
                graph.conflicts.of(place).iter().filter(|other| self.is_on(**other)).copied().collect::<Vec<_>>()
            {
                self.stop_with_dependents(other, &Ending::Conflict(name.clone()));
            }
            for other in graph.pulls.of(place) {
                let contradicts = graph.conflicts.of(*other).iter().any(|third| seen.contains(third));
                if !contradicts && seen.insert(*other) {
                    self.enqueue_start(now, *other, &Pull::new(StartCause::Dependency(name.clone())), None);
                    work.push_back(*other);
                }
            }
        }
    }

    /// A start job for one unit; merged with or put in the place of the job that it has.
    pub(super) fn enqueue_start(&mut self, now: Now, place: Place, pull: &Pull, ask: Option<Ask>) {
        let Some(unit) = self.unit_mut(place).filter(|unit| !unit.gone) else {
            return self.answer(ask, Outcome::Failed(Refusal::Superseded));
        };
        if unit.job.is_none() && unit.is_up() {
            return self.answer(ask, Outcome::Already);
        }
        if unit.is_connection() && unit.job.is_none() && !matches!(unit.state, State::Inactive) {
            return self.answer(ask, Outcome::Failed(Refusal::OneConnection));
        }
        unit.wish = Wish::Up;
        unit.known = true;
        self.unlisten(now, place);
        let Some(unit) = self.unit_mut(place) else { return };
        let mut replaced = None;
        match &mut unit.job {
            Some(job) if !matches!(job.kind, JobKind::Stop(_)) => job.asks.extend(ask),
            job => {
                let kind = JobKind::Start { cause: pull.cause.clone(), monitor: pull.monitor.clone() };
                replaced = job.replace(Box::new(Job::new(kind, ask.into_iter().collect())));
            }
        }
        self.touch(place);
        self.supersede(place, replaced);
        self.queue.push_back(place);
    }

    /// Stop jobs for one unit and all that go down with it.
    pub(super) fn stop_with_dependents(&mut self, place: Place, ending: &Ending) {
        let graph = self.graph.clone();
        let comes_back = matches!(ending, Ending::Bound(_));
        let mut seen = BTreeSet::from([place]);
        let mut work = VecDeque::from([place]);
        while let Some(place) = work.pop_front() {
            let was_on = self.enqueue_stop(place, ending, None);
            if let Some(unit) = self.unit_mut(place) {
                unit.waits_back = comes_back && (was_on || unit.waits_back);
            }
            work.extend(graph.stops_with.of(place).iter().copied().filter(|other| seen.insert(*other)));
        }
    }

    /// Not down, or about to change that.
    pub(super) fn is_on(&self, place: Place) -> bool {
        self.unit(place).is_some_and(|unit| {
            unit.is_up() || unit.job.is_some() || matches!(unit.state, State::HoldOff { .. } | State::Live(_))
        })
    }

    /// A stop job for one unit, unless it is down and nothing is about to change that. Whether there was something to do.
    pub(super) fn enqueue_stop(&mut self, place: Place, ending: &Ending, ask: Option<Ask>) -> bool {
        let Some(unit) = self.unit_mut(place) else { return false };
        let is_down = matches!(unit.state, State::Inactive | State::Failed);
        unit.wish = Wish::Down;
        let replaced = match &mut unit.job {
            None if is_down => {
                self.answer(ask, Outcome::Already);
                return false;
            }
            Some(job) if matches!(job.kind, JobKind::Stop(_)) => {
                job.asks.extend(ask);
                return true;
            }
            job => job.replace(Box::new(Job::new(JobKind::Stop(ending.clone()), ask.into_iter().collect()))),
        };
        self.touch(place);
        self.supersede(place, replaced);
        self.queue.push_back(place);
        true
    }

    /// A restart job: a stop, then a start.
    pub(super) fn enqueue_restart(&mut self, now: Now, place: Place, actor: &Actor, ask: Option<Ask>) {
        let Some(unit) = self.unit_mut(place) else { return };
        if unit.is_connection() {
            match ask {
                Some(_) => self.answer(ask, Outcome::Failed(Refusal::OneConnection)),
                None => drop(self.enqueue_stop(place, &Ending::Restart(actor.clone()), None)),
            }
            return;
        }
        if matches!(unit.state, State::Inactive | State::Failed | State::Listening) {
            return self.enqueue_start(now, place, &Pull::new(StartCause::Manual(actor.clone())), ask);
        }
        unit.wish = Wish::Up;
        unit.waits_back = false;
        let mut asks: Vec<_> = ask.into_iter().collect();
        let replaced = match &mut unit.job {
            Some(job) if matches!(job.kind, JobKind::Restart(_)) => {
                job.asks.append(&mut asks);
                return;
            }
            // Who asked for a start is content with the one after the stop.
            Some(job) if matches!(job.kind, JobKind::Start { .. }) => {
                asks.append(&mut job.asks);
                **job = Job::new(JobKind::Restart(actor.clone()), asks);
                None
            }
            job => job.replace(Box::new(Job::new(JobKind::Restart(actor.clone()), asks))),
        };
        self.timers.clear(place, Slot::Idle);
        self.touch(place);
        self.supersede(place, replaced);
        self.queue.push_back(place);
    }

    /// A job lost its place to a newer one.
    fn supersede(&mut self, place: Place, job: Option<Box<Job>>) {
        let Some(job) = job else { return };
        self.timers.clear(place, Slot::Idle);
        self.job_gone(&job);
        let refusal = if self.shutdown.is_some() { Refusal::ShuttingDown } else { Refusal::Superseded };
        self.answer_all(&job.asks, &Outcome::Failed(refusal));
        // The new job may wait for less than the old one did.
        self.wake_neighbours(place);
    }

    fn job_gone(&mut self, job: &Job) {
        match &job.kind {
            JobKind::Start { cause, .. } => self.debt_settled(cause),
            JobKind::Stop(_) | JobKind::Restart(_) => {}
        }
    }

    /// The job is over, one way or the other.
    pub(super) fn finish_job(&mut self, _now: Now, place: Place, outcome: &Outcome) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(job) = unit.job.take() else { return };
        self.timers.clear(place, Slot::Idle);
        if !job.stops() && matches!(outcome, Outcome::Failed(_)) {
            self.failed_starts.push_back(place);
        }
        self.touch(place);
        self.job_gone(&job);
        self.answer_all(&job.asks, outcome);
        self.wake_neighbours(place);
        self.tidy_kept(place);
    }

    /// Tries the jobs again that waited for this unit's.
    pub(super) fn wake_neighbours(&mut self, place: Place) {
        let graph = self.graph.clone();
        for edges in [&graph.before, &graph.after, &graph.conflicts] {
            for other in edges.of(place) {
                let waits = self.unit(*other).and_then(|unit| unit.job.as_ref());
                if waits.is_some_and(|job| job.blocked_by == Some(place)) {
                    self.queue.push_back(*other);
                }
            }
        }
    }

    /// Works until nothing can be done without a new fact, or until there is enough to be carried out first. Whether all is
    /// done.
    pub(super) fn settle(&mut self, now: Now) -> bool {
        for _ in 0..STEPS_AT_ONCE {
            if let Some(place) = self.failed_starts.pop_front() {
                self.fail_dependents(now, place);
            } else if let Some(place) = self.queue.pop_front() {
                self.try_job(now, place);
            } else if self.shut_down_next() {
                // Its job is tried next.
            } else if !self.idlers.is_empty() && !self.others_start() {
                self.queue.extend(self.idlers.drain(..));
            } else if let Some((action, code)) = self.exit_wanted.take() {
                self.shut_down(now, Actor::Daemon, false, code);
                if action == EmergencyAction::ExitForce {
                    self.stopped(code);
                }
            } else {
                return true;
            }
        }
        false
    }

    /// Start jobs that have not begun and need this unit fail with it.
    fn fail_dependents(&mut self, now: Now, place: Place) {
        let graph = self.graph.clone();
        let Some(needs) = self.unit(place).map(|unit| unit.name.clone()) else { return };
        for other in graph.required_by.of(place) {
            let job = self.unit(*other).and_then(|unit| unit.job.as_ref());
            if job.is_some_and(|job| !job.begun && !job.stops()) {
                self.dependency_failed(now, *other, needs.clone());
            }
        }
    }

    /// It cannot start without a unit that is not up. It comes back with that one (systemd would leave it, its #18856).
    fn dependency_failed(&mut self, now: Now, place: Place, needs: UnitName) {
        let Some(unit) = self.unit_mut(place) else { return };
        let is_new = unit.incident.is_none();
        unit.wish = Wish::Down;
        unit.waits_back = true;
        unit.begin_incident();
        let name = unit.name.clone();
        let targets = unit.def.relations.on_failure.clone();
        self.notice(now, Happening::DependencyFailed { unit: name, needs: needs.clone() });
        self.finish_job(now, place, &Outcome::Failed(Refusal::DependencyFailed { needs }));
        if is_new {
            self.start_triggered(now, place, &targets, None);
        }
    }

    /// A unit came up: whoever is down only because it was down is started.
    pub(super) fn bring_back(&mut self, now: Now, place: Place) {
        let graph = self.graph.clone();
        let Some(name) = self.unit(place).map(|unit| unit.name.clone()) else { return };
        for other in graph.stops_with.of(place) {
            let Some(unit) = self.unit_mut(*other).filter(|unit| unit.waits_back) else { continue };
            unit.waits_back = false;
            self.start_all(now, &[(*other, None)], &Pull::new(StartCause::Dependency(name.clone())));
        }
    }

    /// Starts the units of on_failure or on_success.
    pub(super) fn start_triggered(
        &mut self,
        now: Now,
        place: Place,
        targets: &[UnitName],
        monitor: Option<Box<Monitor>>,
    ) {
        if targets.is_empty() || self.shutdown.is_some() {
            return;
        }
        let Some(name) = self.unit(place).map(|unit| unit.name.clone()) else { return };
        let roots: Vec<_> = targets.iter().filter_map(|target| self.names.get(target)).map(|at| (*at, None)).collect();
        self.start_all(now, &roots, &Pull { cause: StartCause::Triggered(name), monitor });
    }

    fn try_job(&mut self, now: Now, place: Place) {
        let Some(job) = self.unit(place).and_then(|unit| unit.job.as_ref()).filter(|job| !job.begun) else { return };
        let stops = job.stops();
        let blocked_by = self.blocker(place, job);
        if let Some(job) = self.unit_mut(place).and_then(|unit| unit.job.as_mut()) {
            job.blocked_by = blocked_by;
        }
        if blocked_by.is_some() {
            return;
        }
        if stops {
            self.try_stop(now, place);
        } else if !self.idles(now, place) {
            self.try_start(now, place);
        }
    }

    /// The first unit that the job has to wait for. The search goes on where it last found one, so that a unit that is
    /// after n others looks at each about once.
    fn blocker(&self, place: Place, job: &Job) -> Option<Place> {
        let busy = |other: &Place, stops_only: bool| {
            let Some(unit) = self.unit(*other) else { return false };
            let stuck = unit.run().is_some_and(|run| run.unkillable);
            !stuck && unit.job.as_ref().is_some_and(|job| job.stops() || !stops_only)
        };
        let first_stop = |list: &[Place]| list.iter().copied().find(|other| busy(other, true));
        if job.stops() {
            return first_stop(self.graph.before.of(place));
        }
        let after = self.graph.after.of(place);
        let from = job.blocked_by.and_then(|old| after.binary_search(&old).ok()).unwrap_or(0);
        let (earlier, later) = after.split_at(from);
        let holds = |other: &Place| busy(other, false) || self.gates(place, *other);
        let first_busy = later.iter().chain(earlier).copied().find(holds);
        first_busy
            .or_else(|| first_stop(self.graph.before.of(place)))
            .or_else(|| first_stop(self.graph.conflicts.of(place)))
    }

    /// Whether the unit's start waits for the other to be well.
    pub(super) fn gates(&self, place: Place, other: Place) -> bool {
        self.graph.healthy.of(place).contains(&other) && self.is_unwell(other)
    }

    /// Up, and a probe of it has not answered yet or says that it is not well.
    fn is_unwell(&self, place: Place) -> bool {
        let run = self.unit(place).and_then(Unit::run).filter(|run| run.phase.is_up());
        run.is_some_and(|run| run.probes.iter().any(|probe| !probe.verdict.is_up()))
    }

    /// Has those tried again whose start waits for the unit to be well.
    pub(super) fn wake_gated(&mut self, place: Place) {
        let graph = self.graph.clone();
        let waits =
            |other: &&Place| self.unit(**other).is_some_and(|unit| unit.job.as_ref().is_some_and(|job| !job.begun));
        let waiting: Vec<Place> = graph.gated.of(place).iter().filter(waits).copied().collect();
        self.queue.extend(waiting);
    }

    fn try_start(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        match &unit.state {
            State::Live(run) if run.unkillable => self.give_up_waiting(now, place),
            // Its end goes on with the job.
            State::Live(run) if run.phase.is_ending() => {}
            State::Live(run) if run.phase.is_up() => self.finish_job(now, place, &Outcome::Already),
            State::Live(_) => {
                if let Some(job) = &mut unit.job {
                    job.begun = true;
                }
            }
            State::HoldOff { .. } | State::Inactive | State::Failed | State::Listening => self.start(now, place),
        }
    }

    /// Whether a start of type idle still waits for the starts of others.
    fn idles(&mut self, now: Now, place: Place) -> bool {
        let Some(unit) = self.unit(place) else { return false };
        let waited = unit.job.as_ref().is_none_or(|job| job.idled);
        let is_down = !matches!(unit.state, State::Live(_));
        if unit.def.service.kind != ServiceKind::Idle || waited || !is_down || !self.others_start() {
            self.timers.clear(place, Slot::Idle);
            return false;
        }
        if self.timers.get(place, Slot::Idle).is_none() {
            self.timers.set(place, Slot::Idle, now.mono.after(IDLE_MAX));
        }
        if !self.idlers.contains(&place) {
            self.idlers.push(place);
        }
        true
    }

    /// Whether a unit is being started that does not itself wait for that.
    fn others_start(&self) -> bool {
        let starts = |unit: &Unit| {
            let waits = unit.def.service.kind == ServiceKind::Idle && !matches!(unit.state, State::Live(_));
            !waits && unit.job.as_ref().is_some_and(|job| !job.stops())
        };
        self.units.iter().flatten().any(starts)
    }

    /// It has waited long enough for the starts of others.
    pub(super) fn idled(&mut self, place: Place) {
        if let Some(job) = self.unit_mut(place).and_then(|unit| unit.job.as_mut()) {
            job.idled = true;
            self.queue.push_back(place);
        }
    }

    fn start(&mut self, now: Now, place: Place) {
        if let Some(needs) = self.unmet_need(place) {
            return self.dependency_failed(now, place, needs);
        }
        let Some(unit) = self.unit_mut(place) else { return };
        let is_planned = unit.job.as_ref().is_some_and(|job| job.is_planned());
        if !is_planned && !unit.window.admit(now.mono, unit.def.start_limit) {
            let was_announced = unit.job.as_ref().is_some_and(|job| job.restarts_unwell());
            let monitor = self.last_end(place);
            self.start_limit_hit(now, place, monitor);
            if was_announced {
                self.correct_last_end(now, place, Consequence::StartLimit);
            }
            return self.finish_job(now, place, &Outcome::Failed(Refusal::StartLimitHit));
        }
        let accepts = unit.accepts();
        let Some(job) = &mut unit.job else { return };
        job.begun = true;
        unit.restarts = unit.restarts.saturating_add(u32::from(job.restarts_unwell()));
        if accepts {
            // Over when its sockets are bound.
            return self.listen(now, place);
        }
        let JobKind::Start { cause, monitor } = &mut job.kind else { return };
        let (cause, monitor) = (cause.clone(), monitor.take());
        self.begin_run(now, place, cause, monitor);
    }

    /// A unit that it requires and that does not exist, or one that it is bound to, comes after, and that is not up.
    fn unmet_need(&self, place: Place) -> Option<UnitName> {
        let unit = self.unit(place)?;
        let relations = &unit.def.relations;
        let find = |name: &UnitName| self.names.get(name).and_then(|at| Some((*at, self.unit(*at)?)));
        let missing = |name: &&UnitName| find(name).is_none_or(|(_, other)| other.gone);
        let down = |name: &&UnitName| {
            find(name).is_some_and(|(at, other)| !other.is_up() && self.graph.after.of(place).contains(&at))
        };
        let needs = relations.requires.iter().chain(&relations.binds_to).find(missing);
        needs.or_else(|| relations.binds_to.iter().find(down)).cloned()
    }

    fn try_stop(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(job) = &mut unit.job else { return };
        let (ending, restarts) = match &job.kind {
            JobKind::Stop(ending) => (ending.clone(), false),
            JobKind::Restart(actor) => (Ending::Restart(actor.clone()), true),
            JobKind::Start { .. } => return,
        };
        match &mut unit.state {
            State::Live(run) if run.unkillable => self.give_up_waiting(now, place),
            State::Live(run) if run.phase.is_ending() => {
                job.begun = true;
                self.touch(place);
            }
            State::Live(run) => {
                job.begun = true;
                run.ending = Some(ending);
                self.take_down(now, place);
            }
            State::HoldOff { .. } | State::Listening if !restarts => {
                self.stop_waiting(place, &ending);
                self.unlisten(now, place);
                let Some(unit) = self.unit_mut(place) else { return };
                unit.state = State::Inactive;
                unit.since = now;
                unit.incident = None;
                let name = unit.name.clone();
                self.timers.clear(place, Slot::HoldOff);
                self.release(place, Some(&ending));
                self.notice(now, Happening::UnitStopped { unit: name, actor: ending.actor() });
                self.finish_job(now, place, &Outcome::Done);
                self.ended.push(place);
            }
            State::Inactive | State::Failed if !restarts => {
                self.finish_job(now, place, &Outcome::Already);
                self.ended.push(place);
            }
            State::HoldOff { .. } | State::Inactive | State::Failed | State::Listening => {
                job.kind = JobKind::Start { cause: StartCause::Manual(ending.actor()), monitor: None };
                self.queue.push_back(place);
                self.wake_neighbours(place);
            }
        }
    }

    /// Takes a run down that is not on its way already; its `ending` says why.
    pub(super) fn take_down(&mut self, now: Now, place: Place) {
        self.owe_stop(place);
        let Some(run) = self.run(place) else { return };
        let stop_timeout = run.def.service.timeouts.stop;
        match run.phase {
            // The command that starts it is its way down as well.
            Phase::Start if run.comes_back && run.control.is_some() => {
                self.enter(now, place, Phase::Stop, stop_timeout)
            }
            // What runs beside the main process is not waited for (systemd does the same).
            Phase::Condition | Phase::StartPre | Phase::Start | Phase::StartPost => {
                self.enter_signals(now, place, Phase::StopSigterm { tree: false });
            }
            Phase::Reload { .. } if run.control.is_some() => {
                self.enter_signals(now, place, Phase::StopSigterm { tree: false });
            }
            Phase::Running | Phase::Exited | Phase::Reload { .. } | Phase::ReloadSignal => self.enter_stop(now, place),
            Phase::Stop
            | Phase::StopWatchdog { .. }
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::StopPost
            | Phase::FinalSigterm
            | Phase::FinalSigkill => {}
        }
    }

    /// Nobody knows when this unit's processes will be gone: who waits hears so, and others no longer wait for it.
    pub(super) fn give_up_waiting(&mut self, _now: Now, place: Place) {
        let job = self.unit_mut(place).and_then(|unit| unit.job.as_mut());
        let asks = job.map(|job| std::mem::take(&mut job.asks)).unwrap_or_default();
        self.answer_all(&asks, &Outcome::Failed(Refusal::Unkillable));
        self.wake_neighbours(place);
    }
}
