//! The machine with a hand on every fact: each step returns what it wanted, one line for each effect.

use std::{collections::BTreeMap, time::Duration};

use super::super::{
    Effect, Input, Node, UnitStatus,
    effect::{MainSource, Outcome},
    input::{Finding, MissingMain, NotifyMessage, ProbeOutcome, ReloadName, RestartBudget, Restored, Sender, Verb},
};
use super::make::name;
use crate::{
    base::{
        Actor, ExitStatus, Generation, Happening, Mono, Now, Pid, ProcessKey, Role, RunId, Signal, SpawnFailure,
        SpawnStep, Ticket, TimeSpan, Wall,
    },
    unit::UnitDef,
};

pub(super) struct Desk {
    pub(super) node: Node,
    pub(super) now: Now,
    pub(super) memos: BTreeMap<crate::base::UnitName, Vec<u8>>,
    tickets: u64,
    budget: RestartBudget,
}

impl Desk {
    /// A booted machine; what the boot wanted is dropped.
    pub(super) fn new(defs: impl IntoIterator<Item = UnitDef>) -> Self {
        let mut desk = Self::cold(defs);
        desk.give(Input::Boot);
        desk
    }

    pub(super) fn cold(defs: impl IntoIterator<Item = UnitDef>) -> Self {
        let now = Now { mono: Mono(1_000_000_000), wall: Wall(1_700_000_000_000_000) };
        let mut desk =
            Self { node: Node::new(7), now, memos: BTreeMap::new(), tickets: 0, budget: RestartBudget::default() };
        desk.set(defs);
        desk
    }

    pub(super) fn set(&mut self, defs: impl IntoIterator<Item = UnitDef>) -> Vec<String> {
        self.give(Input::Units(units(defs)))
    }

    /// A new manager on the memos of this one.
    pub(super) fn takeover(&self, defs: impl IntoIterator<Item = UnitDef>, restored: Restored) -> (Self, Vec<String>) {
        let (memos, budget) = (self.memos.clone(), self.budget);
        let mut desk = Self { node: Node::new(8), now: self.now, memos, tickets: 0, budget };
        desk.give(Input::RestartBudget(budget));
        desk.node.restore(desk.now, units(defs), Restored { memos: self.memos.clone(), ..restored });
        let said = desk.drain();
        (desk, said)
    }

    /// What a new manager on the memos of this one tells, as it is.
    pub(super) fn told_again(&self, defs: impl IntoIterator<Item = UnitDef>) -> Vec<Happening> {
        let mut node = Node::new(8);
        node.restore(self.now, units(defs), Restored { memos: self.memos.clone(), ..Restored::default() });
        let effects = std::iter::from_fn(|| node.poll_effect());
        effects
            .filter_map(|effect| if let Effect::Notice(notice) = effect { Some(notice.what) } else { None })
            .collect()
    }

    /// So many restarts by probes there may be, for each manager from now on.
    pub(super) fn budget(&mut self, burst: u32, secs: u64) {
        self.budget = RestartBudget { burst, interval: TimeSpan::from_secs(secs) };
        self.give(Input::RestartBudget(self.budget));
    }

    pub(super) fn give(&mut self, input: Input) -> Vec<String> {
        self.node.handle(self.now, input);
        self.drain()
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(effect) = self.node.poll_effect() {
            if let Effect::Remember { unit, memo } = &effect {
                self.memos.insert(unit.clone(), memo.clone());
            }
            if let Effect::Forget { unit } = &effect {
                self.memos.remove(unit);
            }
            said.extend(tell(&effect));
        }
        let broken = self.node.inspect();
        assert!(broken.is_empty(), "{broken:#?}");
        said
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn pass(&mut self, secs: f64) -> Vec<String> {
        let until = self.now.mono.0 + Duration::from_secs_f64(secs).as_nanos() as u64;
        let mut said = Vec::new();
        let mut turns = 0;
        while let Some(at) = self.node.next_deadline().filter(|at| at.0 <= until) {
            turns += 1;
            assert!(turns < 10_000, "a deadline that does not go away");
            self.set_clock(at.0.max(self.now.mono.0));
            self.node.handle_timeout(self.now);
            said.extend(self.drain());
        }
        self.set_clock(until);
        said
    }

    /// Lets time pass while nobody runs; then what is due by then is heard of at once.
    pub(super) fn stand_still(&mut self, secs: u64) -> Vec<String> {
        self.set_clock(self.now.mono.0 + secs * 1_000_000_000);
        self.node.handle_timeout(self.now);
        self.drain()
    }

    fn set_clock(&mut self, nanos: u64) {
        self.now.wall.0 += ((nanos - self.now.mono.0) / 1000) as i64;
        self.now.mono.0 = nanos;
    }

    pub(super) fn order(&mut self, verb: Verb, names: &[&str]) -> Vec<String> {
        self.order_by(Actor::User(1000), verb, names)
    }

    pub(super) fn order_by(&mut self, actor: Actor, verb: Verb, names: &[&str]) -> Vec<String> {
        self.tickets += 1;
        let units = names.iter().map(|text| name(text)).collect();
        let ticket = Ticket(self.tickets);
        self.give(Input::Order { ticket, actor, units, verb })
    }

    /// A reload that bears a name.
    pub(super) fn reload_once(&mut self, unit: &str, nth: u8) -> Vec<String> {
        self.tickets += 1;
        let (ticket, reload) = (Ticket(self.tickets), ReloadName([nth; 16]));
        self.give(Input::ReloadOnce { ticket, actor: Actor::PLAN, unit: name(unit), name: reload })
    }

    pub(super) fn spawned(&mut self, process: &str) -> Vec<String> {
        let key = key(process);
        let pid = pid_of(&key);
        self.give(Input::Spawned { key, pid })
    }

    pub(super) fn exited(&mut self, process: &str, code: u8) -> Vec<String> {
        self.ended(process, ExitStatus::Exited(code), true)
    }

    /// Ended while other processes of its run live.
    pub(super) fn left(&mut self, process: &str, code: u8) -> Vec<String> {
        self.ended(process, ExitStatus::Exited(code), false)
    }

    pub(super) fn killed(&mut self, process: &str, signal: Signal) -> Vec<String> {
        self.ended(process, ExitStatus::Signaled { signal, core: false }, true)
    }

    pub(super) fn ended(&mut self, process: &str, status: ExitStatus, alone: bool) -> Vec<String> {
        self.give(Input::Exited { key: key(process), status, usage: None, oom: false, alone })
    }

    pub(super) fn spawn_failed(&mut self, process: &str, step: SpawnStep, errno: i32) -> Vec<String> {
        self.give(Input::SpawnFailed { key: key(process), failure: SpawnFailure { step, errno } })
    }

    pub(super) fn tree_empty(&mut self, run: &str) -> Vec<String> {
        self.give(Input::TreeEmpty { run: run_id(run) })
    }

    pub(super) fn notify(&mut self, run: &str, change: impl FnOnce(&mut NotifyMessage)) -> Vec<String> {
        self.notify_from(run, Sender::Main, change)
    }

    pub(super) fn notify_from(
        &mut self,
        run: &str,
        sender: Sender,
        change: impl FnOnce(&mut NotifyMessage),
    ) -> Vec<String> {
        let mut message = NotifyMessage::default();
        change(&mut message);
        self.give(Input::Notified { run: run_id(run), sender, pid: 77, message })
    }

    pub(super) fn probed(&mut self, run: &str, probe: usize, failure: Option<&str>) -> Vec<String> {
        let finding = failure.map_or(Finding::Good, |reason| Finding::Bad(reason.to_owned()));
        let outcome = ProbeOutcome { finding, took: Duration::from_millis(3) };
        self.give(Input::Probed { run: run_id(run), probe, outcome })
    }

    /// The machine was too short of something for the probe.
    pub(super) fn unasked(&mut self, run: &str, probe: usize, failure: &str) -> Vec<String> {
        let outcome = ProbeOutcome { finding: Finding::Unasked(failure.to_owned()), took: Duration::ZERO };
        self.give(Input::Probed { run: run_id(run), probe, outcome })
    }

    pub(super) fn missing(&mut self, process: &str, why: MissingMain) -> Vec<String> {
        let key = key(process);
        self.give(Input::MainMissing { key, why })
    }

    pub(super) fn traffic(&mut self, unit: &str) -> Vec<String> {
        self.give(Input::Traffic { unit: name(unit) })
    }

    pub(super) fn status(&self, unit: &str) -> UnitStatus {
        self.node.status(&name(unit)).unwrap()
    }

    pub(super) fn sub(&self, unit: &str) -> &'static str {
        self.status(unit).sub.as_str()
    }

    /// Starts the main process of the unit's newest run.
    pub(super) fn up(&mut self, unit: &str) -> Vec<String> {
        let generation = self.status(unit).generation;
        self.spawned(&format!("{unit}/{generation}"))
    }
}

pub(super) fn units(
    defs: impl IntoIterator<Item = UnitDef>,
) -> BTreeMap<crate::base::UnitName, std::sync::Arc<UnitDef>> {
    defs.into_iter().map(|def| (def.name.clone(), std::sync::Arc::new(def))).collect()
}

/// `web/3`
pub(super) fn run_id(text: &str) -> RunId {
    let (unit, generation) = text.split_once('/').unwrap();
    RunId { unit: name(unit), generation: Generation(generation.parse().unwrap()) }
}

/// `web/3` is the main process of that run, `web/3.2` its second command, `web/3:1` the first process that took the main
/// one's place.
pub(super) fn key(text: &str) -> ProcessKey {
    let (unit, process) = text.split_once('/').unwrap();
    let of = |generation: &str, role: Role| ProcessKey { run: run_id(&format!("{unit}/{generation}")), role };
    if let Some((generation, number)) = process.split_once(':') {
        return of(generation, Role::Named(number.parse().unwrap()));
    }
    match process.split_once('.') {
        None => of(process, Role::Main),
        Some((generation, number)) => of(generation, Role::Control(number.parse().unwrap())),
    }
}

pub(super) fn pid_of(key: &ProcessKey) -> Pid {
    let role = match key.role {
        Role::Main => 0,
        Role::Control(number) | Role::Probe(number) => number,
        Role::Named(number) => 5 + number,
    };
    Pid::new(1000 + key.run.generation.0 as i32 * 10 + role as i32).unwrap()
}

/// One line for an effect; memos are not told.
fn tell(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Spawn(order) => {
            let environment: Vec<_> = order.environment.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            format!("spawn {} {}{}", show(&order.key), order.directive, environment.concat())
        }
        Effect::Kill { signal: Signal::CONT, .. } | Effect::Remember { .. } | Effect::Sweep { .. } => return None,
        Effect::Forget { unit } => format!("forget {unit}"),
        Effect::Listen { unit, def } => format!("listen {unit} {}", def.sockets.list.len()),
        Effect::Unlisten { unit } => format!("unlisten {unit}"),
        Effect::Accept { unit, number } => format!("accept {unit} {number}"),
        Effect::HangUp { unit, reason } => format!("hang-up {unit} {reason:?}"),
        Effect::Release { unit } => format!("release {unit}"),
        Effect::Tidy { def, leftovers } => {
            let directories = if leftovers.directories { " directories" } else { "" };
            format!("tidy {}{directories}{}", def.name, if leftovers.descriptors { " descriptors" } else { "" })
        }
        Effect::Stamp { unit, .. } => format!("stamp {unit}"),
        Effect::Kill { key, signal } => format!("kill {} {signal}", show(key)),
        Effect::KillTree { run, signal, but: _ } => format!("kill-tree {} {signal}", show_run(run)),
        Effect::FindMain { key, from, .. } => format!("find {} {}", show(key), tell_source(from)),
        Effect::WatchTree { run } => format!("watch-tree {}", show_run(run)),
        Effect::Probe { run, probe, def } => format!("probe {} {}", show_run(run), def.health[*probe].name),
        Effect::Watch { run, number, .. } => format!("watch {} {number}", show_run(run)),
        Effect::Host { unit, order, .. } => format!("host {unit} {order:?}"),
        Effect::CancelProbes { run } => format!("cancel-probes {}", show_run(run)),
        Effect::Notice(notice) => tell_notice(&notice.what),
        Effect::Reply { outcomes, .. } => {
            let outcomes: Vec<_> =
                outcomes.iter().map(|(unit, outcome)| format!(" {unit}={}", tell_outcome(outcome))).collect();
            format!("reply{}", outcomes.concat())
        }
        Effect::AllStopped { code } => format!("all-stopped {code}"),
    })
}

fn tell_source(from: &MainSource) -> String {
    match from {
        MainSource::PidFile(path) => path.display().to_string(),
        MainSource::Guess => "guess".to_owned(),
        MainSource::Message { pid, trusted } => format!("{pid}{}", if *trusted { " trusted" } else { "" }),
    }
}

fn tell_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Already => "already".to_owned(),
        other => format!("{other:?}"),
    }
}

fn show(key: &ProcessKey) -> String {
    match key.role {
        Role::Main => show_run(&key.run),
        Role::Control(number) | Role::Probe(number) => format!("{}.{number}", show_run(&key.run)),
        Role::Named(number) => format!("{}:{number}", show_run(&key.run)),
    }
}

fn show_run(run: &RunId) -> String {
    format!("{}/{}", run.unit, run.generation)
}

fn tell_notice(what: &Happening) -> String {
    match what {
        Happening::RunStarting { run, cause, restarts, .. } => {
            format!("RunStarting {} {cause:?} {restarts}", show_run(run))
        }
        Happening::RunEnded { run, result, wanted, consequence, replayed, status, .. } => {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            let (wanted, replayed) = (if *wanted { " wanted" } else { "" }, if *replayed { " replayed" } else { "" });
            format!("RunEnded {} {result} ({status}) {}{wanted}{replayed}", show_run(run), consequence.as_str())
        }
        Happening::RunReady { run } => format!("RunReady {}", show_run(run)),
        Happening::MainStarted { run, .. } => format!("MainStarted {}", show_run(run)),
        Happening::Recovered { run } => format!("Recovered {}", show_run(run)),
        Happening::RestartScheduled { unit, delay, restarts } => format!("RestartScheduled {unit} {delay} {restarts}"),
        Happening::UnitFailed { unit, result } => format!("UnitFailed {unit} {result}"),
        Happening::UnitStopped { unit, actor } => format!("UnitStopped {unit} {actor}"),
        Happening::Listening { unit } => format!("Listening {unit}"),
        Happening::StartLimitHit { unit, again, .. } => {
            format!("StartLimitHit {unit}{}", if *again { " again" } else { "" })
        }
        Happening::DependencyFailed { unit, needs } => format!("DependencyFailed {unit} {needs}"),
        Happening::TimedOut { run, what, .. } => format!("TimedOut {} {what}", show_run(run)),
        Happening::Unkillable { run } => format!("Unkillable {}", show_run(run)),
        Happening::Healthy { run, probe } => format!("Healthy {} {probe}", show_run(run)),
        Happening::Degraded { run, probe, reason, .. } => format!("Degraded {} {probe}: {reason}", show_run(run)),
        Happening::Unhealthy { run, probe, reason, remedy, severity: _ } => {
            format!("Unhealthy {} {probe}: {reason} ({})", show_run(run), remedy.as_str())
        }
        Happening::RestartHeld { run, probe, held } => {
            format!("RestartHeld {} {probe}: {}", show_run(run), held.as_str())
        }
        Happening::RestartReleased { run, probe } => format!("RestartReleased {} {probe}", show_run(run)),
        Happening::Reloaded { run, actor } => format!("Reloaded {} {actor}", show_run(run)),
        Happening::ControlFailed { run, command, status, ignored } => {
            format!("ControlFailed {} {command} {status}{}", show_run(run), if *ignored { " ignored" } else { "" })
        }
        other => {
            let text = format!("{other:?}");
            text.split([' ', '{']).next().unwrap().to_owned()
        }
    }
}
