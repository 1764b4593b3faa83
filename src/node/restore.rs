//! A new manager takes over: every unit from its memo, corrected by what the keeper says is there.
//!
//! What was ordered and never reached the keeper is ordered again under the same key; what a signal was sent to gets it
//! again. Ends and starts are said again, marked, because the rows about them may be missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Effect, Node,
    graph::Place,
    input::{Adopted, Restored},
    job::Pull,
    memo::{self, Deadlines},
    service::{Begin, Main, Phase, Run, State, Unit},
    timers::Slot,
    watch::Watch,
    wish::{Ending, Job, JobKind, Wish},
};
use crate::{
    base::{Actor, Generation, Happening, Now, ProcessKey, Role, Signal, StartCause, TimeSpan, UnitName},
    unit::{UnitDef, connection, spec::ServiceKind},
};

impl Node {
    pub(super) fn take_over(&mut self, now: Now, units: BTreeMap<UnitName, Arc<UnitDef>>, mut restored: Restored) {
        let mut living: BTreeMap<UnitName, Vec<Adopted>> = BTreeMap::new();
        for process in std::mem::take(&mut restored.processes) {
            living.entry(process.key.run.unit.clone()).or_default().push(process);
        }
        let mut defs: BTreeMap<UnitName, (Arc<UnitDef>, bool)> =
            units.into_iter().map(|(name, def)| (name, (def, false))).collect();
        for name in living.keys().chain(restored.memos.keys()) {
            if !defs.contains_key(name) {
                defs.insert(name.clone(), (Arc::new(super::orphan::def(name)), true));
            }
        }
        let mut found = Vec::new();
        for (name, (def, gone)) in defs {
            let memo = restored.memos.get(&name).and_then(|memo| memo::decode(memo, &name, &def));
            let (mut unit, deadlines) = memo.unwrap_or_else(|| {
                let mut unit = Unit::new(name.clone(), def, now);
                // Whenever that began.
                unit.incident = restored.incidents.contains(&name).then_some(Generation(0));
                unit.watch = restored.stopped.get(&name).map(|at| Box::new(Watch::stopped(*at)));
                (unit, Deadlines::default())
            });
            unit.gone = gone;
            unit.enabled = restored.enablement.get(&name).copied();
            unit.generation = unit.generation.max(restored.generations.get(&name).copied().unwrap_or_default());
            found.push((self.add_unit(unit), name, deadlines));
        }
        // A connection's name never comes again.
        let may_return = |name: &UnitName| !self.names.contains_key(name) && connection::number(name).is_none();
        self.former = restored.generations.into_iter().filter(|(name, _)| may_return(name)).collect();
        self.rebuild_graph();
        self.take_over_timers(restored.host, restored.elapsed.into_iter());
        for (place, name, deadlines) in found {
            let living = living.remove(&name).unwrap_or_default();
            self.say_ends(now, place);
            self.take_over_unit(now, place, deadlines, living, &restored.waiting);
        }
        self.take_over_connections();
    }

    fn say_ends(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit(place) else { return };
        let (name, ends) = (unit.name.clone(), unit.ends.clone());
        for notice in ends.iter().flat_map(|end| end.story(now, &name)) {
            self.notice(notice.at, notice.what);
        }
    }

    fn take_over_unit(
        &mut self,
        now: Now,
        place: Place,
        deadlines: Deadlines,
        living: Vec<Adopted>,
        waiting: &BTreeSet<ProcessKey>,
    ) {
        let newest = living
            .iter()
            .filter(|process| process.key.role.is_main())
            .max_by_key(|process| (process.key.run.generation, process.key.role));
        let newest = newest.cloned();
        let Some(unit) = self.unit_mut(place) else { return };
        if let (None, Some(main)) = (unit.run(), &newest) {
            unit.adopt(now, main);
        }
        let generation = unit.run().map(|run| run.generation);
        let (living, foreign): (Vec<_>, Vec<_>) =
            living.into_iter().partition(|process| Some(process.key.run.generation) == generation);
        self.end_foreign(now, foreign);
        let Some(unit) = self.unit_mut(place) else { return };
        unit.restore_kept();
        match (&unit.state, unit.wish) {
            (State::Live(_), _) => {
                self.live += 1;
                self.take_over_run(now, place, deadlines, &living, waiting);
            }
            (State::HoldOff { due, .. }, _) => {
                let due = *due;
                self.timers.set(place, Slot::HoldOff, due);
            }
            // Its start job waited for its turn when the manager died.
            (State::Inactive | State::Failed, Wish::Up) => {
                let cause = self.creditor(place).unwrap_or(StartCause::Manual(Actor::Daemon));
                self.enqueue_start(now, place, &Pull::new(cause), None);
            }
            (State::Inactive | State::Failed, Wish::Down) => match self.creditor(place) {
                Some(cause) => self.enqueue_start(now, place, &Pull::new(cause), None),
                None => self.tidy_kept(place),
            },
            (State::Listening, _) => {
                self.listens_still(now, place);
                if let Some(cause) = self.creditor(place) {
                    self.enqueue_start(now, place, &Pull::new(cause), None);
                }
            }
        }
        if let Some(unit) = self.unit_mut(place) {
            unit.job = unit.job_under_way().map(Box::new).or_else(|| unit.job.take());
        }
        if self.unit(place).is_some_and(|unit| unit.ends_daemon) {
            self.end_the_daemon_again(place);
        }
        // Its stop job waited for the stop of others when the manager died.
        let may_stop = |unit: &Unit| match &unit.state {
            State::Live(run) => !run.phase.is_ending(),
            State::HoldOff { .. } => true,
            State::Inactive | State::Failed | State::Listening => false,
        };
        let stop_waited = self.unit(place).is_some_and(|unit| unit.wish == Wish::Down && may_stop(unit));
        if stop_waited {
            self.enqueue_stop(place, &Ending::Stop(Actor::Daemon), None);
        }
        if self.unit(place).is_some_and(|unit| unit.gone) {
            self.enqueue_stop(place, &Ending::Removed, None);
            self.ended.push(place);
        }
    }

    /// Processes of runs that are over: whatever left them, they must not live beside a new run.
    fn end_foreign(&mut self, now: Now, processes: Vec<Adopted>) {
        for process in processes.into_iter().filter(|process| !matches!(process.key.role, Role::Probe(_))) {
            if process.key.role.is_main() {
                let text = format!("main process {} of run {} outlived it", process.pid, process.key.run.generation);
                self.notice(now, Happening::Bug { unit: Some(process.key.run.unit.clone()), text });
            }
            self.orders.push_back(Effect::Kill { key: process.key, signal: Signal::KILL });
        }
    }

    fn take_over_run(
        &mut self,
        now: Now,
        place: Place,
        deadlines: Deadlines,
        living: &[Adopted],
        waiting: &BTreeSet<ProcessKey>,
    ) {
        let Some(run) = self.run_mut(place) else { return };
        let found = |key: &ProcessKey| living.iter().find(|process| process.key == *key).map(|process| process.pid);
        // The keeper knew a process that was looked for, and the manager that asked died before it heard so.
        let named = living.iter().filter_map(|process| match process.key.role {
            Role::Named(number) => Some((number, process.pid)),
            Role::Main | Role::Control(_) | Role::Probe(_) => None,
        });
        if let Some((number, pid)) = named.max().filter(|(number, _)| run.may_take(*number)) {
            run.take_main(number, pid);
        }
        let main_key = run.main_key();
        let waits = waiting.contains(&main_key);
        let (mut main_again, mut lost) = (false, None);
        match (run.main, found(&main_key)) {
            (Main::None | Main::Ordered | Main::Alive(_), Some(pid)) => run.main = Main::Alive(pid),
            (Main::Ordered, None) => main_again = !waits,
            (Main::Alive(_), None) if !waits => lost = Some(main_key),
            (Main::None | Main::Alive(_) | Main::Ended { .. }, None) | (Main::Ended { .. }, Some(_)) => {}
        }
        let mut control_again = false;
        if let Some(key) = run.control_key() {
            let pid = found(&key);
            control_again = pid.is_none() && !waiting.contains(&key);
            if let Some(control) = &mut run.control {
                control.pid = pid;
            }
        }
        run.begin.pid = run.main.pid().or(run.begin.pid);
        let said = run.begin.story(&run.id(), run.invocation);
        self.stuck += usize::from(self.run(place).is_some_and(|run| run.unkillable));
        self.lost.extend(lost);
        for notice in said {
            self.notice(notice.at, notice.what);
        }
        self.resume_timers(now, place, deadlines);
        self.order_again(place, main_again, control_again);
        self.resume_phase(now, place);
    }

    fn resume_timers(&mut self, now: Now, place: Place, deadlines: Deadlines) {
        let Some(run) = self.run(place) else { return };
        let timeouts = *run.def.service.timeouts;
        let span = match run.phase {
            Phase::Running | Phase::Exited => TimeSpan::INFINITY,
            Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Reload { .. }
            | Phase::ReloadSignal => timeouts.start,
            Phase::StopWatchdog { .. } => timeouts.abort,
            Phase::Stop
            | Phase::StopSigterm { .. }
            | Phase::StopSigkill { .. }
            | Phase::StopPost
            | Phase::FinalSigterm
            | Phase::FinalSigkill => timeouts.stop,
        };
        let is_up = run.phase.is_up();
        self.timers.set(place, Slot::Phase, deadlines.phase.or_else(|| now.mono.after(span)));
        if is_up {
            self.timers.set(place, Slot::RuntimeMax, deadlines.runtime);
            self.begin_probes(now, place);
        }
        if is_up || self.run(place).is_some_and(|run| run.phase == Phase::StartPost) {
            self.feed_watchdog(now, place);
        }
    }

    /// What the old manager may not have come to, or what came while there was none.
    fn resume_phase(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place) else { return };
        let (kill, phase) = (run.def.service.kill, run.phase);
        let lives = matches!(run.main, Main::Alive(_));
        let kind = run.def.service.kind;
        let at_once = matches!(kind, ServiceKind::Simple | ServiceKind::Exec | ServiceKind::Idle);
        let found = kind == ServiceKind::Forking && run.control.is_none();
        let signal = (run.def.service.reload_signal, run.main_key(), run.stop_signal());
        if run.claim.is_some() {
            self.look_for_main(place);
        }
        self.watch_tree(place);
        let (reload_signal, main, stop_signal) = signal;
        match phase {
            Phase::Start if lives && (at_once || found) => self.started(now, place),
            Phase::StartPost if lives && found => self.come_up(now, place),
            Phase::ReloadSignal => self.order(place, Effect::Kill { key: main, signal: reload_signal }),
            Phase::StopWatchdog { .. } => self.send_signal(place, kill.watchdog_signal),
            Phase::StopSigterm { .. } | Phase::FinalSigterm => self.send_signal(place, stop_signal),
            Phase::StopSigkill { .. } | Phase::FinalSigkill => self.send_signal(place, kill.final_signal),
            Phase::Condition
            | Phase::StartPre
            | Phase::Start
            | Phase::StartPost
            | Phase::Running
            | Phase::Exited
            | Phase::Reload { .. }
            | Phase::Stop
            | Phase::StopPost => {}
        }
    }
}

impl Unit {
    /// The job that a run on its way belongs to: others wait for it.
    fn job_under_way(&self) -> Option<Job> {
        let run = self.run()?;
        let kind = match &run.ending {
            None if run.phase.is_starting() => JobKind::Start { cause: run.begin.cause.clone(), monitor: None },
            Some(Ending::Restart(actor)) if self.wish == Wish::Up => JobKind::Restart(actor.clone()),
            Some(ending) if self.wish == Wish::Down => JobKind::Stop(ending.clone()),
            None if self.wish == Wish::Down && run.phase.is_ending() => JobKind::Stop(Ending::Stop(Actor::Daemon)),
            None | Some(_) => return None,
        };
        Some(Job { begun: true, ..Job::new(kind, Vec::new()) })
    }

    /// A living main process of which no memo tells: it is taken as it is, up.
    fn adopt(&mut self, now: Now, main: &Adopted) {
        let generation = main.key.run.generation;
        let mut run = Run::new(self.def.clone(), generation, main.invocation, Begin::new(now, StartCause::Boot, 0));
        run.phase = Phase::Running;
        run.main = Main::Alive(main.pid);
        run.main_role = main.key.role;
        if let Role::Named(number) = main.key.role {
            run.claims = number;
        }
        run.empty = false;
        run.empty_before = false;
        run.begin.pid = Some(main.pid);
        run.begin.ready_at = Some(now);
        self.state = State::Live(Box::new(run));
        self.since = now;
        self.generation = self.generation.max(generation);
        self.wish = Wish::Up;
        self.known = true;
    }
}
