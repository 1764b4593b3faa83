//! The decisions of one machine: what each service is, what moves it, what is done next.
//!
//! Pure: facts and orders come in with the time, effects go out as values; no clock, no I/O, no async, no randomness
//! but a seeded generator. Whoever changes this usually breaks the rule that a fact of an older run changes nothing, or
//! forgets the deadline of a state in transit; the simulated world in the tests finds both.
//!
//! Where to start: `service.rs` (the states in prose), then `start.rs`, `up.rs`, `stop.rs`, `end.rs` (a run from first to
//! last), `fact.rs` (what moves it), `job.rs` (which unit's turn it is). Each change of a unit marks it; its memo goes out
//! before the order that follows from the change, so a manager that dies in between is continued and not repeated.
//!
//! Semantics are systemd's. What differs on purpose:
//! - `on_failure` fires when a unit has failed for good, not at each try of an automatic restart, and dependents are left
//!   alone meanwhile (RestartMode=direct). Who is bound to a unit goes down with it and comes back with it.
//! - A unit whose start failed only because of another is started when that other one comes up.
//! - A wanted stop ends inactive, however the process went; its result is still shown.
//! - Nothing takes the place of a main process that lives: where systemd goes on after SIGKILL, SendSIGKILL=no or
//!   KillMode=none, the run waits and is shown as unkillable.
//! - A process that cannot be made because the machine is short of something (processes, memory, descriptors) is tried
//!   again, no sooner than after a second, whatever Restart= says, and counts neither in the row of restarts nor in the
//!   start limit. A probe that cannot be asked for that reason says nothing of its service.
//! - A run in which no process came to be is not tried again within 100 ms.
//! - A unit that says `lazy` is service and socket in one: a stop ends its listening too, and a run that failed listens again.
//! - So is a template that accepts; its stop closes its sockets. What serves a connection runs once.
//! - Of several commands of a oneshot only the last is the main process.
//! - A timer that elapses while its unit is up does nothing but look for its next moment; systemd makes up for one at the
//!   unit's end. A clock that is set back by less than three hours repeats no moment of the calendar (`timer.rs`).
#![forbid(unsafe_code)]

pub mod effect;
pub mod input;
pub mod status;

mod accept;
mod budget;
mod claim;
mod depend;
mod end;
mod ends;
mod fact;
mod graph;
mod health;
mod held;
mod inspect;
mod job;
mod limit;
mod listen;
mod memo;
mod once;
mod oom;
mod order;
mod orphan;
mod probe;
mod reason;
mod report;
mod restart;
mod restore;
mod service;
mod spawn;
mod start;
mod stop;
mod tidy;
mod timer;
mod timers;
mod units;
mod unseen;
mod unwell;
mod up;
mod watch;
mod wish;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

pub use effect::Effect;
pub use input::Input;
pub use status::UnitStatus;
use status::{Active, Verdict};

use crate::{
    base::{
        Generation, Happening, InvocationId, Mono, Notice, Now, ProcessKey, Rng, RunId, STOOD_STILL, StartCause,
        Ticket, TimeSpan, UnitName,
    },
    unit::{UnitDef, spec::EmergencyAction},
};
use budget::Budget;
use fact::ExitFact;
use graph::{Graph, Place};
use input::{Host, Restored};
use order::Tally;
use service::{Monitor, Phase, Run, Unit};
use timers::{Slot, Timers};

/// The daemon's exit code when a unit's start limit said `exit`.
const EXIT_CODE_START_LIMIT: u8 = 1;

/// The machine. One mutation ([`Node::handle`], [`Node::handle_timeout`], [`Node::restore`]), then
/// [`Node::poll_effect`] until it is empty: orders come first (a memo before the order that it covers), then notices
/// and sweeps, then replies.
#[derive(Debug)]
pub struct Node {
    rng: Rng,
    /// By place; `None` where a unit was forgotten.
    units: Vec<Option<Unit>>,
    names: BTreeMap<UnitName, Place>,
    free: Vec<Place>,
    graph: Arc<Graph>,
    timers: Timers,
    orders: VecDeque<Effect>,
    notices: VecDeque<Effect>,
    replies: VecDeque<Effect>,
    tickets: BTreeMap<Ticket, Tally>,
    /// Jobs to be tried.
    queue: VecDeque<Place>,
    /// Units of type idle that wait for the starts of others.
    idlers: Vec<Place>,
    /// Units whose start job has failed; others may need them.
    failed_starts: VecDeque<Place>,
    /// Units that changed and whose memo is not out.
    touched: Vec<Place>,
    /// Units that may have come down for good.
    ended: Vec<Place>,
    /// Probes whose bad answers wait for others.
    holding: BTreeSet<(Place, usize)>,
    /// Restarts by probes, and who waits for one.
    budget: Budget,
    /// The connections of units that accept.
    accepting: BTreeMap<Place, accept::Accepting>,
    /// Whether relations of units that are gone stand in the graph.
    graph_stale: bool,
    /// Runs that are not over, and those of them that nothing can end.
    live: usize,
    stuck: usize,
    shutdown: Option<Shutdown>,
    /// From where on a shutdown has not come to the units that no order binds.
    leaving: Option<(wish::Ending, Place)>,
    /// A unit's end says that the daemon is to end too, how, and with which code.
    exit_wanted: Option<(EmergencyAction, u8)>,
    booted: bool,
    host: Host,
    /// When it last took anything in.
    awake: Mono,
    /// When the daemon came up.
    startup: Option<Mono>,
    /// When timers that are not armed elapsed last, as far as that counts once they are.
    elapsed: BTreeMap<UnitName, Now>,
    /// The newest runs of units that were forgotten: if one comes back, its runs are counted on, as the keeper and the history know them.
    former: BTreeMap<UnitName, Generation>,
    lost: Vec<ProcessKey>,
    /// What the keeper said of the process whose end comes next.
    waited: Option<fact::Waited>,
    /// Facts that belonged to no run which is not over.
    stale: u64,
    /// Since when there are jobs that were left for later, so that the first orders are carried out meanwhile.
    unsettled: Option<Now>,
}

/// The daemon is stopping.
#[derive(Debug, Clone, Copy)]
struct Shutdown {
    code: u8,
    said: bool,
}

/// Room that an empty queue keeps.
const QUEUE_KEPT: usize = 64;

impl Node {
    /// A machine without units; `seed` feeds jitter and invocation ids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            units: Vec::new(),
            names: BTreeMap::new(),
            free: Vec::new(),
            graph: Arc::default(),
            timers: Timers::default(),
            orders: VecDeque::new(),
            notices: VecDeque::new(),
            replies: VecDeque::new(),
            tickets: BTreeMap::new(),
            queue: VecDeque::new(),
            idlers: Vec::new(),
            failed_starts: VecDeque::new(),
            touched: Vec::new(),
            ended: Vec::new(),
            holding: BTreeSet::new(),
            budget: Budget::default(),
            accepting: BTreeMap::new(),
            graph_stale: false,
            live: 0,
            stuck: 0,
            shutdown: None,
            leaving: None,
            exit_wanted: None,
            booted: false,
            host: Host::default(),
            awake: Mono::default(),
            startup: None,
            elapsed: BTreeMap::new(),
            former: BTreeMap::new(),
            lost: Vec::new(),
            waited: None,
            stale: 0,
            unsettled: None,
        }
    }

    /// Takes over from a manager that died: rebuilds every unit from what was remembered and what lives. To be called
    /// once, on a new machine, in place of the first [`Input::Units`]. Afterwards the engine feeds the facts that the
    /// keeper held, `Exited` with unknown status for each of [`Node::lost`], then [`Input::Boot`]: what the memos know
    /// is left alone by it.
    pub fn restore(&mut self, now: Now, units: BTreeMap<UnitName, Arc<UnitDef>>, restored: Restored) {
        self.awake = now.mono;
        self.take_over(now, units, restored);
        self.take_over_held();
        self.conclude(now);
    }

    /// Processes that should live, but neither live nor have an end that waits in the keeper (it died too): nobody saw
    /// how they ended. To be asked right after [`Node::restore`].
    #[must_use]
    pub fn lost(&self) -> Vec<ProcessKey> {
        self.lost.clone()
    }

    /// Takes one fact or order.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.wake(now);
        match input {
            Input::Order { ticket, actor, units, verb } => self.ordered(now, ticket, &actor, &units, verb),
            Input::Units(units) => self.take_units(now, units, StartCause::Boot),
            Input::Reload { units, actor } => self.take_units(now, units, StartCause::Reload(actor)),
            Input::Boot => self.boot(now),
            Input::ClockSet => self.clock_set(now),
            Input::Zones(zones) => self.take_zones(now, zones),
            Input::Shutdown { actor, machine } => self.shut_down(now, actor, machine, 0),
            Input::Spawned { key, pid } => self.spawned(now, &key, pid),
            Input::Waited { key, pid, invocation, started } => {
                self.waited = Some(fact::Waited { key: key.clone(), pid, invocation, started });
                self.spawned(now, &key, pid);
            }
            Input::MainMissing { key, why } => self.main_missing(now, &key, &why),
            Input::ExecDone { key } => self.exec_done(now, &key),
            Input::SpawnFailed { key, failure } => self.spawn_failed(now, &key, failure, None),
            Input::Unprepared { key, failure, cause } => self.spawn_failed(now, &key, failure, Some(&cause)),
            Input::Exited { key, status, usage, oom, alone } => {
                self.exited(now, &key, ExitFact { status, usage, oom, alone });
            }
            Input::OomKilled { run, killed, whose } => self.oom_killed(now, &run, killed, whose),
            Input::TreeEmpty { run } => self.tree_empty(now, &run),
            Input::Notified { run, sender, pid, message } => self.notified(now, &run, sender, pid, message),
            Input::Probed { run, probe, outcome } => self.probed(now, &run, probe, &outcome),
            Input::Watched { unit, number, sight } => self.watched(now, &unit, number, sight),
            Input::Traffic { unit } => self.traffic(now, &unit),
            Input::Connected { unit, source } => self.connected(now, &unit, source),
            Input::Instance { number, def } => self.instance(now, number, def),
            Input::Listens { unit } => self.listens(now, &unit),
            Input::ListenFailed { unit, failure } => self.listen_failed(now, &unit, failure),
            Input::RestartBudget(rule) => self.budget.rule(rule),
            Input::Maintained(units) => self.maintain(now, &units),
            Input::ProbeNow { ticket, units } => self.probe_now(ticket, &units),
            Input::Unwell { ticket, unit, probe, reason } => self.restart_unwell(now, ticket, &unit, probe, &reason),
            Input::ReloadOnce { ticket, actor, unit, name } => self.reload_once(now, ticket, actor, &unit, name),
        }
        self.conclude(now);
    }

    /// Lets every deadline up to `now` pass.
    pub fn handle_timeout(&mut self, now: Now) {
        self.wake(now);
        for timer in self.timers.due(now.mono) {
            // An earlier one of them may have cleared or moved it.
            if self.timers.is_set(timer) {
                let (_, place, slot) = timer;
                self.timers.clear(place, slot);
                self.fire(now, place, slot);
            }
        }
        self.conclude(now);
    }

    /// A deadline that is heard of much too late tells that everything stood still, the services too. What they are waited
    /// for is put off by as long: no watchdog bites, and no start or stop has failed, because a machine was paused.
    fn wake(&mut self, now: Now) {
        if self.timers.next().is_some_and(|due| now.mono.since(due) >= STOOD_STILL) {
            self.timers.put_off(now.mono.since(self.awake));
        }
        self.awake = now.mono;
    }

    fn fire(&mut self, now: Now, place: Place, slot: Slot) {
        match slot {
            Slot::Phase => self.phase_timed_out(now, place),
            Slot::HoldOff => self.hold_off_over(now, place),
            Slot::Watchdog => self.watchdog_expired(now, place),
            Slot::Look => self.look_for_main(place),
            Slot::Idle => self.idled(place),
            Slot::RuntimeMax => self.runtime_over(now, place),
            Slot::RowEnds => self.row_ends(place),
            Slot::Settled => self.recover(now, place),
            Slot::Elapse => self.elapse(now, place),
            Slot::Calendar => self.calendar_due(now, place),
            Slot::Watch => self.watch_due(now, place),
            Slot::Probe(index) => self.probe_due(now, place, index),
        }
    }

    /// The next thing to be done; `None` when all is said.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while self.orders.is_empty()
            && let Some(now) = self.unsettled
        {
            self.conclude(now);
        }
        let next = self.orders.pop_front();
        let next = next.or_else(|| self.notices.pop_front()).or_else(|| self.replies.pop_front());
        if next.is_none() {
            self.give_room_back();
        }
        next
    }

    /// A boot puts thousands into the queues; afterwards their room would stand empty for ever.
    fn give_room_back(&mut self) {
        for queue in [&mut self.orders, &mut self.notices, &mut self.replies] {
            if queue.capacity() > QUEUE_KEPT {
                *queue = VecDeque::new();
            }
        }
    }

    /// When [`Node::handle_timeout`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        [self.timers.next(), self.budget.next()].into_iter().flatten().min()
    }

    /// Facts so far that changed nothing because their run was over.
    #[must_use]
    pub const fn stale_facts(&self) -> u64 {
        self.stale
    }

    /// Whether it is the present run of its unit.
    #[must_use]
    pub fn is_present(&self, run: &RunId) -> bool {
        let place = self.names.get(&run.unit).copied();
        place.and_then(|place| self.run(place)).is_some_and(|present| present.generation == run.generation)
    }

    /// How many processes of the unit's present run the kernel has ended for want of memory, as far as it was told.
    #[must_use]
    pub fn oom_kills(&self, unit: &UnitName) -> u64 {
        let place = self.names.get(unit).copied();
        place.and_then(|place| self.run(place)).map_or(0, |run| run.oom_kills)
    }

    /// One unit, for people.
    #[must_use]
    pub fn status(&self, unit: &UnitName) -> Option<UnitStatus> {
        self.names.get(unit).and_then(|place| self.describe(*place))
    }

    /// One unit's state in one word.
    #[must_use]
    pub fn active(&self, unit: &UnitName) -> Option<Active> {
        let place = self.names.get(unit)?;
        Some(self.unit(*place)?.sub().active())
    }

    /// In which run it began that something is wrong with the unit; 0 where that is not known, `None` while all is well.
    #[must_use]
    pub fn wrong_since(&self, unit: &UnitName) -> Option<Generation> {
        self.names.get(unit).and_then(|place| self.unit(*place))?.incident
    }

    /// Units with which nothing is wrong, and the newest run of each whose end is remembered: people were told of it, and that
    /// it is over.
    pub fn settled_ends(&self) -> impl Iterator<Item = (&UnitName, Generation)> {
        let units = self.names.values().filter_map(|place| self.unit(*place));
        let settled = units.filter(|unit| unit.incident.is_none());
        settled.filter_map(|unit| Some((&unit.name, unit.ends.last()?.generation)))
    }

    /// Runs whose processes do not die on the final signal.
    pub fn stuck_runs(&self) -> impl Iterator<Item = RunId> {
        let runs = self.names.values().filter_map(|place| self.run(*place));
        runs.filter(|run| run.unkillable).map(Run::id)
    }

    /// What the present run's probe of this name has come to, while the unit is up.
    #[must_use]
    pub fn verdict(&self, unit: &UnitName, probe: &str) -> Option<Verdict> {
        let run = self.names.get(unit).and_then(|place| self.run(*place)).filter(|run| run.phase.is_up())?;
        let index = run.def.health.iter().position(|spec| *spec.name == *probe)?;
        run.probes.get(index).map(|probe| probe.verdict)
    }

    /// Every unit, in the order of names, for people.
    #[must_use]
    pub fn statuses(&self) -> Vec<UnitStatus> {
        let mut all = Vec::with_capacity(self.names.len());
        all.extend(self.names.values().filter_map(|place| self.describe(*place)));
        all
    }

    /// What all changes end with: jobs, the end of a shutdown, memos.
    fn conclude(&mut self, now: Now) {
        if !self.holding.is_empty() {
            self.settle_held(now);
        }
        self.spend(now);
        self.unsettled = (!self.settle(now)).then_some(now);
        if self.unsettled.is_some() {
            return;
        }
        self.collect();
        self.sweep();
        if let Some(shutdown) = self.shutdown.filter(|shutdown| !shutdown.said && self.live == self.stuck) {
            self.stopped(shutdown.code);
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|place| self.remember(place));
        self.touched = touched;
    }

    /// Nothing is left to be waited for: the daemon may end.
    fn stopped(&mut self, code: u8) {
        self.shutdown = Some(Shutdown { code, said: true });
        self.replies.push_back(Effect::AllStopped { code });
    }

    /// Marks the unit: its memo is no longer true.
    fn touch(&mut self, place: Place) {
        if let Some(unit) = self.unit_mut(place)
            && !std::mem::replace(&mut unit.dirty, true)
        {
            self.touched.push(place);
        }
    }

    /// Sends the memo, if it is no longer true.
    fn remember(&mut self, place: Place) {
        let owes = self.timer_owes(place);
        let Some(unit) = self.units.get_mut(place.index()).and_then(Option::as_mut) else { return };
        if !std::mem::take(&mut unit.dirty) {
            return;
        }
        if let Some(timer) = &mut unit.timer {
            timer.owes = owes;
        }
        let memo = memo::encode(unit, self.timers.get(place, Slot::Phase), self.timers.get(place, Slot::RuntimeMax));
        self.orders.push_back(Effect::Remember { unit: unit.name.clone(), memo });
    }

    /// An order that concerns the unit, its memo before it.
    fn order(&mut self, place: Place, effect: Effect) {
        self.remember(place);
        self.orders.push_back(effect);
    }

    fn notice(&mut self, now: Now, what: Happening) {
        self.notices.push_back(Effect::Notice(Notice { at: now, what }));
    }

    /// Enters a phase on the way, with its deadline.
    fn enter(&mut self, now: Now, place: Place, phase: Phase, timeout: TimeSpan) {
        self.enter_resting(now, place, phase);
        self.timers.set(place, Slot::Phase, now.mono.after(timeout));
    }

    /// Enters a phase that may last.
    fn enter_resting(&mut self, now: Now, place: Place, phase: Phase) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(run) = unit.run_mut() else { return };
        let was_stuck = std::mem::take(&mut run.unkillable);
        if std::mem::discriminant(&run.phase) != std::mem::discriminant(&phase) {
            unit.since = now;
        }
        if let Some(run) = unit.run_mut() {
            run.phase = phase;
        }
        self.stuck -= usize::from(was_stuck);
        self.timers.clear(place, Slot::Phase);
        self.touch(place);
    }

    fn new_invocation(&mut self) -> InvocationId {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u64());
        InvocationId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// How the unit's last run ended, for those that its failure triggers.
    fn last_end(&self, place: Place) -> Option<Box<Monitor>> {
        let unit = self.unit(place)?;
        let end = unit.ends.last()?;
        let (invocation, result, status) = (end.invocation, end.result, end.status);
        Some(Box::new(Monitor { unit: unit.name.clone(), invocation, result, status }))
    }

    /// All places from this one on, those that are free too.
    fn places(&self, from: Place) -> impl Iterator<Item = Place> + use<> {
        (from.0..).map(Place).take(self.units.len().saturating_sub(from.index()))
    }

    fn unit(&self, place: Place) -> Option<&Unit> {
        self.units.get(place.index())?.as_ref()
    }

    fn unit_mut(&mut self, place: Place) -> Option<&mut Unit> {
        self.units.get_mut(place.index())?.as_mut()
    }

    fn run(&self, place: Place) -> Option<&Run> {
        self.unit(place)?.run()
    }

    fn run_mut(&mut self, place: Place) -> Option<&mut Run> {
        self.unit_mut(place)?.run_mut()
    }
}
