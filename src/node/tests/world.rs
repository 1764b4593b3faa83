//! The simulated world: a keeper that keeps processes and unacknowledged ends, services that misbehave, people who order
//! at random, facts that come late or twice, and a manager that dies at any point. After each step the invariants hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::super::{
    Effect, Input, Node,
    effect::{MainSource, SpawnOrder},
    input::{
        Adopted, Finding, Host, MissingMain, NotifyMessage, OomVictim, ProbeOutcome, Restored, Sender, Sight, Verb,
    },
    status::Sub,
};
use super::elsewhere::{self, Elsewhere, GUEST};
use super::make::{acceptor, command, connection, lazy, name, probe, with};
use super::{
    metronome::{self, Metronome},
    truth::{Defs, Truth},
};
use crate::{
    base::{
        Actor, ExitStatus, Generation, Happening, InvocationId, Mono, Notice, Now, Pid, ProcessKey, Rng, Role, RunId,
        Signal, SpawnFailure, SpawnStep, Ticket, TimeSpan, UnitName, Wall,
    },
    unit::{
        UnitDef,
        spec::{
            ConnectionLimits, DirectoryName, ExitType, KillMode, NotifyAccess, OnUnhealthy, OomPolicy, Preserve,
            Restart, ServiceKind,
        },
    },
};

const UNITS: [&str; 9] = ["db", "web", "front", "agent", "job", "blue", "green", "door", GUEST];
/// A template that accepts.
const MAIL: &str = "mail@";
const STEPS: usize = 400;
/// Nothing for so long, in nanoseconds, and the manager tells what it kept back.
const CALM: u64 = 2_000_000;

/// A fact on its way to the manager.
#[derive(Debug, Clone)]
struct Mail {
    at: u64,
    /// Facts keep their order where the keeper keeps it.
    order: u64,
    fact: Input,
    /// Kept by the keeper until acknowledged; the rest dies with the manager.
    held: Option<ProcessKey>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    invocation: InvocationId,
    /// Dies of TERM, at once or only of KILL.
    obeys: bool,
    /// Survives even KILL until then.
    immortal_until: u64,
    /// A process of the unit that is not ours to count.
    stray: bool,
}

struct World {
    rng: Rng,
    node: Node,
    now: u64,
    mail: Vec<Mail>,
    sent: u64,
    processes: BTreeMap<ProcessKey, Process>,
    /// Every key that was ever started: the keeper refuses it a second time.
    known: BTreeSet<ProcessKey>,
    /// Ends that happened and whose row is not committed; whether the manager was told.
    unacked: Vec<(Mail, bool)>,
    watched: BTreeSet<RunId>,
    /// Units whose sockets the manager watches.
    listening: BTreeSet<UnitName>,
    /// What waits in the sockets of `door`.
    waiting: u32,
    /// Instances whose connection the keeper holds.
    connected: BTreeSet<UnitName>,
    /// Instances that are over and whose last row is not there.
    leaving: Vec<UnitName>,
    memos: BTreeMap<UnitName, Vec<u8>>,
    /// Units whose runtime directory is there.
    directories: BTreeSet<UnitName>,
    /// Units that keep descriptors with the keeper.
    stored: BTreeSet<UnitName>,
    /// What the manager keeps back until there is calm; it dies with it.
    untold_memos: BTreeMap<UnitName, Vec<u8>>,
    untold: Vec<Notice>,
    untold_stamps: BTreeMap<UnitName, Wall>,
    stamps: BTreeMap<UnitName, Wall>,
    generations: BTreeMap<UnitName, Generation>,
    tickets: BTreeSet<Ticket>,
    next_ticket: u64,
    next_pid: i32,
    defs: Defs,
    truth: Truth,
    calm: bool,
    stopped: bool,
    crashes: u32,
    /// Units of the reset that is being carried out.
    resetting: Vec<UnitName>,
    trace: Vec<String>,
    /// How far the clock on the wall is ahead of the other, in microseconds.
    ahead: i64,
    metronome: Metronome,
    elsewhere: Elsewhere,
}

fn defs(rng: &mut Rng) -> Defs {
    let all = UNITS.map(|text| {
        with(text, |def| {
            let service = &mut def.service;
            service.restart.when = match rng.below(4) {
                0 => Restart::OnFailure,
                1 => Restart::No,
                _ => Restart::Always,
            };
            service.restart.delay = TimeSpan::from_millis([0, 0, 100, 3000][rng.below(4) as usize]);
            if rng.below(2) == 0 {
                (service.restart.steps, service.restart.delay_max) = (4, TimeSpan::from_secs(20));
                service.restart.jitter = 0.5;
            }
            service.kind = match (text, rng.below(7)) {
                ("job", _) => ServiceKind::Oneshot,
                (_, 0) => ServiceKind::Notify,
                (_, 1) => ServiceKind::Exec,
                (_, 2) => ServiceKind::Forking,
                (_, 3) => ServiceKind::NotifyReload,
                (_, 4) => ServiceKind::Idle,
                (_, _) => ServiceKind::Simple,
            };
            if service.kind == ServiceKind::Forking && rng.below(2) == 0 {
                service.main.pid_file = Some(std::path::Path::new("/run/pid").into());
            }
            if text != "job" && rng.below(5) == 0 {
                service.main.exit_type = ExitType::Cgroup;
            }
            if service.kind == ServiceKind::Oneshot {
                service.restart.when = Restart::OnFailure;
                service.remain_after_exit = rng.below(2) == 0;
                service.exec_start = [command("a"), command("b")].into();
            }
            service.notify_access = NotifyAccess::All;
            service.resources.oom_policy =
                Some([OomPolicy::Stop, OomPolicy::Kill, OomPolicy::Continue][rng.below(3) as usize]);
            service.watchdog = (rng.below(4) == 0).then_some(TimeSpan::from_secs(20));
            for list in [
                &mut service.exec_condition,
                &mut service.exec_start_pre,
                &mut service.exec_start_post,
                &mut service.exec_stop,
                &mut service.exec_stop_post,
            ] {
                if rng.below(4) == 0 {
                    *list = [command("around")].into();
                }
            }
            service.exec_reload = [command("reload")].into();
            service.kill.mode = match rng.below(4) {
                0 => KillMode::Mixed,
                _ => KillMode::ControlGroup,
            };
            service.exec.directories.runtime.names = [DirectoryName { path: text.into(), links: [].into() }].into();
            service.exec.directories.preserve = [Preserve::No, Preserve::Restart][rng.below(2) as usize];
            service.file_descriptor_store_max = 1;
            service.file_descriptor_store_preserve = [Preserve::No, Preserve::Restart][rng.below(2) as usize];
            let secs = TimeSpan::from_secs;
            (service.timeouts.start, service.timeouts.stop, service.timeouts.abort) = (secs(10), secs(5), secs(3));
            def.start_limit.interval = secs([10, 30][rng.below(2) as usize]);
            def.start_limit.burst = 5;
            if rng.below(2) == 0 {
                let policy = [OnUnhealthy::Restart, OnUnhealthy::Reload, OnUnhealthy::Alert][rng.below(3) as usize];
                def.health = [probe("live", policy)].into();
                def.health[0].interval = secs(2);
            }
        })
    });
    let mut defs: Defs = all.into_iter().map(|def| (def.name.clone(), Arc::new(def))).collect();
    let mut relate = |unit: &str, change: &dyn Fn(&mut UnitDef)| {
        if let Some(def) = defs.get_mut(&name(unit)) {
            change(Arc::make_mut(def));
        }
    };
    relate("web", &|def| {
        def.relations.requires = [name("db")].into();
        def.relations.after = [name("db"), name("job")].into();
    });
    relate("front", &|def| {
        def.relations.wants = [name("web"), name("job")].into();
        def.relations.after = [name("web")].into();
    });
    relate("agent", &|def| {
        def.relations.binds_to = [name("db")].into();
        def.relations.after = [name("db")].into();
    });
    relate("db", &|def| def.relations.on_failure = [name("job")].into());
    relate("door", &|def| {
        def.sockets = lazy("door").sockets;
        def.relations.wants = [name("job")].into();
    });
    relate("green", &|def| {
        def.relations.conflicts = vec![name("blue")].into();
        def.enabled = false;
    });
    let limits = ConnectionLimits { max: 4, per_source: 2 };
    defs.insert(name(MAIL), Arc::new(acceptor(MAIL, limits)));
    defs.insert(name(GUEST), Arc::new(elsewhere::def(rng)));
    defs.extend(metronome::defs().map(|def| (def.name.clone(), Arc::new(def))));
    defs
}

/// Whose timers are watched: nothing but the manager goes wrong there.
fn is_timed(unit: &UnitName) -> bool {
    matches!(unit.as_str(), metronome::TICK | metronome::BEATER | metronome::PULSE)
}

/// The instance of a connection.
fn served(name: &UnitName) -> Arc<UnitDef> {
    let mut def = connection(name.as_str());
    def.service.exec_stop_post = [command("around")].into();
    Arc::new(def)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let defs = defs(&mut rng);
        let mut world = Self {
            node: Node::new(rng.next_u64()),
            rng,
            now: 1_000_000_000,
            mail: Vec::new(),
            sent: 0,
            processes: BTreeMap::new(),
            known: BTreeSet::new(),
            unacked: Vec::new(),
            watched: BTreeSet::new(),
            listening: BTreeSet::new(),
            waiting: 0,
            connected: BTreeSet::new(),
            leaving: Vec::new(),
            memos: BTreeMap::new(),
            directories: BTreeSet::new(),
            stored: BTreeSet::new(),
            untold_memos: BTreeMap::new(),
            untold: Vec::new(),
            untold_stamps: BTreeMap::new(),
            stamps: BTreeMap::new(),
            generations: BTreeMap::new(),
            tickets: BTreeSet::new(),
            next_ticket: 0,
            next_pid: 100,
            defs: defs.clone(),
            truth: Truth::default(),
            calm: false,
            stopped: false,
            crashes: 0,
            resetting: Vec::new(),
            trace: Vec::new(),
            ahead: 1_700_000_000_000_000,
            metronome: Metronome::default(),
            elsewhere: Elsewhere::default(),
        };
        world.metronome.begin(world.clock().wall);
        world.give(Input::Units(defs));
        world.give(Input::Boot);
        world
    }

    fn clock(&self) -> Now {
        Now { mono: Mono(self.now), wall: Wall((self.now / 1000) as i64 + self.ahead) }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        !self.calm && self.rng.below(one_in) == 0
    }

    fn send(&mut self, after_ms: u64, fact: Input, held: Option<ProcessKey>) {
        self.sent += 1;
        let mail = Mail { at: self.now + after_ms * 1_000_000, order: self.sent, fact, held };
        if mail.held.is_none() && self.chance(20) {
            let late = self.rng.below(8000) * 1_000_000;
            self.mail.push(Mail { at: mail.at + late, ..mail.clone() });
        }
        self.mail.push(mail);
    }

    fn give(&mut self, input: Input) {
        let told = if matches!(input, Input::Units(_)) { "Units".to_owned() } else { format!("{input:?}") };
        self.trace.push(format!("{} ({}) <- {told}", self.now / 1_000_000, self.clock().wall.0 / 1_000_000 % 1000));
        self.node.handle(self.clock(), input);
        self.drain();
    }

    fn timeout(&mut self) {
        self.trace.push(format!("{} timeout", self.now / 1_000_000));
        self.node.handle_timeout(self.clock());
        self.drain();
    }

    /// Carries the effects out; the manager may die between any two of them.
    fn drain(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            if self.chance(300) {
                return self.crash();
            }
            if !matches!(effect, Effect::Remember { .. }) {
                self.trace.push(format!("{}    {}", self.now / 1_000_000, brief(&effect)));
            }
            self.carry_out(effect);
        }
        let broken = self.node.inspect();
        assert!(broken.is_empty(), "{broken:#?}");
        let listens = self.node.status(&name("door")).is_some_and(|status| status.sub == Sub::Listening);
        assert_eq!(self.listening.contains(&name("door")), listens, "what listens is watched, and nothing else");
        // Ends without a row are acknowledged as soon as no memo waits.
        self.acknowledge(|world, key| !key.role.is_main() && !world.untold_memos.contains_key(&key.run.unit));
    }

    /// There is calm: memos first, then rows, then acknowledgements, sooner or later.
    fn tell_all(&mut self) {
        self.memos.append(&mut self.untold_memos);
        self.stamps.append(&mut self.untold_stamps);
        for notice in std::mem::take(&mut self.untold) {
            self.truth.note(notice, &self.defs);
        }
        for unit in std::mem::take(&mut self.leaving) {
            self.memos.remove(&unit);
            self.connected.remove(&unit);
        }
        // The end of a main process is forgotten with the row of its run's end.
        self.acknowledge(|world, key| {
            let run = (key.run.unit.clone(), key.run.generation);
            !key.role.is_main() || world.truth.ended.contains_key(&run)
        });
    }

    fn tell_memo(&mut self, unit: &UnitName) {
        self.memos.extend(self.untold_memos.remove_entry(unit));
    }

    fn acknowledge(&mut self, may: impl Fn(&Self, &ProcessKey) -> bool) {
        for _ in 0..self.rng.below(3) {
            let ready = |(mail, told): &(Mail, bool)| *told && mail.held.as_ref().is_some_and(|key| may(self, key));
            if let Some(index) = self.unacked.iter().position(ready) {
                self.unacked.remove(index);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn(order) => {
                self.tell_memo(&order.key.run.unit);
                self.spawn(&order);
            }
            Effect::Kill { key, signal } => {
                self.tell_memo(&key.run.unit);
                self.check_current(&key.run);
                self.kill(&key, signal);
            }
            Effect::KillTree { run, signal, but } => {
                self.tell_memo(&run.unit);
                self.check_current(&run);
                let keys: Vec<_> =
                    self.processes.keys().filter(|key| key.run == run && Some(*key) != but.as_ref()).cloned().collect();
                for key in keys {
                    self.kill(&key, signal);
                }
                self.watched.insert(run);
                self.check_trees();
            }
            Effect::FindMain { key, invocation: _, from } => {
                self.tell_memo(&key.run.unit);
                self.check_current(&key.run);
                self.find_main(&key, &from);
            }
            Effect::WatchTree { run } => {
                self.check_current(&run);
                self.watched.insert(run);
                self.check_trees();
            }
            Effect::Probe { run, probe, .. } => {
                self.check_current(&run);
                let finding = match self.rng.below(12) {
                    _ if self.calm => Finding::Good,
                    0 => Finding::Unasked("refused".to_owned()),
                    1 => Finding::Degraded("refused".to_owned()),
                    2..4 => Finding::Bad("refused".to_owned()),
                    _ => Finding::Good,
                };
                let outcome = ProbeOutcome { finding, took: Duration::from_millis(1) };
                let delay = self.rng.below(3000);
                self.send(delay, Input::Probed { run, probe, outcome }, None);
            }
            Effect::Sweep { run, .. } => {
                let keys: Vec<_> = self.processes.keys().filter(|key| key.run == run).cloned().collect();
                for key in keys {
                    self.hit(&key, Signal::KILL);
                }
            }
            Effect::Tidy { def, leftovers } => {
                // A process that is asked for makes the directory, so nothing of the unit may live or be on its way.
                let living = self.processes.iter().any(|(key, process)| key.run.unit == def.name && !process.stray);
                assert!(!living, "the directories of {} go while it runs", def.name);
                if leftovers.directories {
                    self.directories.remove(&def.name);
                }
                if leftovers.descriptors {
                    self.stored.remove(&def.name);
                }
            }
            Effect::Watch { run, number, .. } => {
                let unasked = self.chance(8).then(|| Sight::Unasked("no".into()));
                let wall = self.clock().wall;
                let sight = unasked.unwrap_or_else(|| self.elsewhere.says(wall, &mut self.rng));
                let delay = self.rng.below(3000);
                self.send(delay, Input::Watched { unit: run.unit, number, sight }, None);
            }
            Effect::Host { order, .. } => self.elsewhere.told(order),
            Effect::CancelProbes { .. } => {}
            Effect::Remember { unit, memo } => {
                assert!(memo.len() <= 4096);
                self.untold_memos.insert(unit, memo);
            }
            Effect::Listen { unit, .. } if unit.as_str() == MAIL && self.chance(10) => {
                self.give(Input::ListenFailed { unit, failure: SpawnFailure { step: SpawnStep::Prepare, errno: 98 } });
            }
            Effect::Listen { unit, .. } => {
                self.listening.insert(unit.clone());
                if unit.as_str() == MAIL {
                    self.give(Input::Listens { unit });
                }
            }
            Effect::Unlisten { unit } => {
                self.listening.remove(&unit);
            }
            Effect::Release { unit } if unit.template().is_some() => {
                self.connected.remove(&unit);
            }
            Effect::Release { .. } => self.waiting = 0,
            Effect::Accept { unit, number } => {
                let source = self.rng.below(3);
                let instance = unit.with_instance(&format!("{number}-127.0.0.1:25-127.0.0.{source}:9")).unwrap();
                if !self.chance(10) {
                    self.connected.insert(instance.clone());
                    self.give(Input::Instance { number, def: served(&instance) });
                }
            }
            Effect::HangUp { .. } => {}
            Effect::Forget { unit } if unit.template().is_some() => {
                // It is remembered until the row of its end is there.
                self.tell_memo(&unit);
                self.leaving.push(unit);
            }
            Effect::Forget { unit } => {
                self.untold_memos.remove(&unit);
                self.memos.remove(&unit);
            }
            Effect::Stamp { unit, at } => drop(self.untold_stamps.insert(unit, at)),
            Effect::Notice(notice) => {
                self.elsewhere.heard(&notice);
                self.untold.push(notice);
            }
            Effect::Reply { ticket, outcomes } => {
                self.tell_all();
                assert!(self.tickets.remove(&ticket), "an answer that nobody waits for");
                assert!(!outcomes.is_empty());
            }
            Effect::AllStopped { .. } => {
                self.tell_all();
                self.stopped = true;
            }
        }
    }

    /// The engine and the keeper in one: a process that nobody counted becomes the main one.
    fn find_main(&mut self, key: &ProcessKey, from: &MainSource) {
        let of_run = |(other, _): &(&ProcessKey, &Process)| other.run == key.run;
        let found = match from {
            MainSource::Message { pid, .. } => {
                self.processes.iter().filter(of_run).find(|(_, process)| process.pid == *pid)
            }
            MainSource::PidFile(_) if self.chance(3) => None,
            MainSource::PidFile(_) | MainSource::Guess => {
                self.processes.iter().filter(of_run).find(|(_, process)| process.stray)
            }
        };
        let why = match found.map(|(other, process)| (other.clone(), process.stray)) {
            Some((other, true)) => {
                self.known.insert(key.clone());
                let process = self.processes.remove(&other).unwrap();
                let pid = process.pid;
                self.processes.insert(key.clone(), Process { stray: false, ..process });
                self.send(0, Input::Spawned { key: key.clone(), pid }, None);
                if !self.calm && self.rng.below(3) != 0 {
                    let (delay, code) = (self.rng.below(20_000), self.rng.below(2) as u8);
                    self.plan_death(key.clone(), delay, ExitStatus::Exited(code));
                }
                return;
            }
            Some((other, false)) if other.role.is_main() => MissingMain::Same,
            Some((_, false)) => MissingMain::Refused("it is a command".to_owned()),
            None if self.processes.keys().any(|other| other.run == key.run) => MissingMain::NotYet,
            None => MissingMain::Gone,
        };
        let delay = self.rng.below(5);
        self.send(delay, Input::MainMissing { key: key.clone(), why }, None);
    }

    fn check_current(&self, run: &RunId) {
        let newest = self.generations.get(&run.unit).copied().unwrap_or_default();
        assert!(run.generation >= newest, "an order for {run:?}, the newest run is {newest}");
    }

    fn spawn(&mut self, order: &SpawnOrder) {
        let key = order.key.clone();
        self.check_current(&key.run);
        if !self.known.insert(key.clone()) {
            // A new manager did not know that it was heard; the keeper does.
            return;
        }
        self.generations.insert(key.run.unit.clone(), key.run.generation);
        let strangers: Vec<_> = self
            .processes
            .keys()
            .filter(|other| other.run.unit == key.run.unit && other.run.generation != key.run.generation)
            .collect();
        assert!(strangers.is_empty(), "{key:?} is started beside {strangers:?}");
        if key.role == Role::Main {
            let mains =
                self.processes.keys().filter(|other| other.run.unit == key.run.unit && other.role == Role::Main);
            assert_eq!(mains.count(), 0, "a second main process of {}", key.run.unit);
        }
        if !is_timed(&key.run.unit) && self.chance(12) {
            let (step, errno) = match self.rng.below(8) {
                0..4 => (SpawnStep::Exec, 2),
                4 => (SpawnStep::Exec, 11),
                5 => (SpawnStep::Prepare, 24),
                _ => (SpawnStep::Clone, 11),
            };
            let starting =
                matches!(order.directive, "exec_condition" | "exec_start_pre" | "exec_start" | "exec_start_post");
            let failure = SpawnFailure { step, errno };
            if failure.is_shortage() && starting {
                self.truth.transient.insert((key.run.unit.clone(), key.run.generation));
            }
            let fact = Input::SpawnFailed { key: key.clone(), failure };
            let delay = self.rng.below(20);
            return self.send(delay, fact, Some(key));
        }
        self.be_born(order);
    }

    fn be_born(&mut self, order: &SpawnOrder) {
        let key = order.key.clone();
        if key.run.unit.as_str() == GUEST {
            self.elsewhere.ordered(order);
        }
        self.next_pid += 1;
        let has_directory = !order.def.service.exec.directories.runtime.names.is_empty();
        let is_there = has_directory && !self.directories.insert(key.run.unit.clone());
        let goes_with_each_run = order.def.service.exec.directories.preserve == Preserve::No;
        assert!(!(is_there && order.is_first && goes_with_each_run), "{key:?} finds the directory of an earlier run");
        let keeps_over_restart = order.def.service.file_descriptor_store_preserve == Preserve::Restart;
        assert!(
            keeps_over_restart || !order.is_first || !self.stored.contains(&key.run.unit),
            "{key:?} is passed too much"
        );
        if key.role == Role::Main && order.def.service.file_descriptor_store_max > 0 {
            self.stored.insert(key.run.unit.clone());
        }
        let pid = Pid::new(self.next_pid).unwrap();
        let obeys = self.calm || self.rng.below(4) != 0;
        let is_guest = key.run.unit.as_str() == GUEST;
        let does_no_wrong = is_timed(&key.run.unit);
        let immortal_until = if !does_no_wrong && !is_guest && self.chance(20) { self.now + 30_000_000_000 } else { 0 };
        let process = Process { pid, invocation: order.invocation, obeys, immortal_until, stray: false };
        self.processes.insert(key.clone(), process);
        self.send(0, Input::Spawned { key: key.clone(), pid }, None);
        if order.confirm_exec {
            self.send(1, Input::ExecDone { key: key.clone() }, None);
        }
        let is_main = key.role == Role::Main;
        let short = !is_main || order.def.service.kind == ServiceKind::Oneshot;
        if is_main && order.def.service.kind.notifies() && !self.chance(6) {
            let message = NotifyMessage { ready: true, ..NotifyMessage::default() };
            self.send(5, Input::Notified { run: key.run.clone(), sender: Sender::Main, pid: 1, message }, None);
        }
        let forks = order.is_start && order.def.service.kind == ServiceKind::Forking;
        // What a command of another manager leaves is that manager's.
        if !does_no_wrong && !is_guest && if forks { !self.chance(6) } else { self.chance(4) } {
            // A process that nobody counts: it lives on after its parent.
            let stray = ProcessKey { run: key.run.clone(), role: Role::Probe(self.next_pid as u32) };
            self.next_pid += 1;
            let pid = Pid::new(self.next_pid).unwrap();
            let process = Process { pid, invocation: order.invocation, obeys, immortal_until: 0, stray: true };
            self.processes.insert(stray, process);
        }
        let hangs = short && !does_no_wrong && self.chance(8);
        if short && !hangs {
            let code = if self.chance(5) { 3 } else { 0 };
            let delay = self.rng.below(500);
            self.plan_death(key, delay, ExitStatus::Exited(code));
        } else if !short && !self.calm && self.rng.below(3) != 0 {
            let status = match self.rng.below(4) {
                0 => ExitStatus::Exited(0),
                1 => ExitStatus::Signaled { signal: Signal::ABRT, core: true },
                _ => ExitStatus::Exited(1),
            };
            let delay = self.rng.below(20_000);
            self.plan_death(key, delay, status);
        }
    }

    /// A death is mail of its own kind: the keeper sees it when it happens.
    fn plan_death(&mut self, key: ProcessKey, after_ms: u64, status: ExitStatus) {
        let fact = Input::Exited { key: key.clone(), status, usage: None, oom: false, alone: false };
        self.sent += 1;
        self.mail.push(Mail { at: self.now + after_ms * 1_000_000, order: self.sent, fact, held: Some(key) });
    }

    /// The process is gone now; its exit goes to the manager and is held until acknowledged.
    fn die(&mut self, key: &ProcessKey, status: ExitStatus) {
        let Some(process) = self.processes.remove(key) else { return };
        if !process.stray {
            let alone = !self.processes.keys().any(|other| other.run == key.run);
            let fact = Input::Exited { key: key.clone(), status, usage: None, oom: false, alone };
            let at = self.now + self.rng.below(30) * 1_000_000;
            self.sent += 1;
            let mail = Mail { at, order: self.sent, fact, held: None };
            self.mail.push(mail.clone());
            self.unacked.push((Mail { held: Some(key.clone()), ..mail }, false));
        }
        self.check_trees();
    }

    fn kill(&mut self, key: &ProcessKey, signal: Signal) {
        let lived = self.processes.contains_key(key);
        // Of two main processes the first to go may be to blame, and it went by itself.
        let gone = |other: &&ProcessKey| other.role.is_main() && !self.processes.contains_key(*other);
        let fell = self.known.iter().filter(|other| other.run == key.run).any(|other| gone(&other));
        self.hit(key, signal);
        if lived && !fell && key.role.is_main() && !self.processes.contains_key(key) {
            self.truth.killed.insert(key.run.clone());
        }
    }

    fn hit(&mut self, key: &ProcessKey, signal: Signal) {
        let now = self.now;
        let Some(process) = self.processes.get(key) else { return };
        let dies = match signal {
            Signal::KILL => process.immortal_until <= now,
            Signal::TERM | Signal::ABRT => process.obeys && process.immortal_until <= now,
            _ => false,
        };
        if dies {
            self.die(key, ExitStatus::Signaled { signal, core: signal == Signal::ABRT });
        }
    }

    fn check_trees(&mut self) {
        for run in self.watched.clone() {
            if !self.processes.keys().any(|key| key.run == run) {
                self.watched.remove(&run);
                self.send(1, Input::TreeEmpty { run }, None);
            }
        }
    }

    /// The manager dies: what it had not sent is lost, and so is what was on its way to it.
    fn crash(&mut self) {
        self.crashes += 1;
        self.trace.push(format!("{} CRASH", self.now / 1_000_000));
        self.tickets.clear();
        self.watched.clear();
        self.listening.clear();
        self.untold_memos.clear();
        self.untold.clear();
        if [metronome::TICK, metronome::BEATER].iter().any(|unit| !self.memos.contains_key(&name(unit))) {
            self.metronome.forget(self.clock().wall);
        }
        self.untold_stamps.clear();
        self.leaving.clear();
        for unit in std::mem::take(&mut self.resetting) {
            // Nobody was told whether it came about.
            let started = self.truth.starts.get(&unit).map_or(0, Vec::len);
            self.truth.may_be_reset.entry(unit.clone()).or_default().push(started);
            self.truth.rows.insert(unit, None);
        }
        // Planned deaths stay; facts that the keeper holds come again; the rest is gone.
        self.mail.retain(|mail| mail.held.is_some());
        let held: Vec<Mail> = std::mem::take(&mut self.unacked).into_iter().map(|(mail, _)| mail).collect();
        let failed = |mail: &&Mail| matches!(mail.fact, Input::SpawnFailed { .. });
        let failures: Vec<Mail> = self.mail.iter().filter(failed).cloned().collect();
        self.mail.retain(|mail| !matches!(mail.fact, Input::SpawnFailed { .. }));
        let waiting = held.iter().chain(&failures).filter_map(|mail| mail.held.clone()).collect();
        let adopted = |(key, process): (&ProcessKey, &Process)| {
            (!process.stray).then(|| Adopted { key: key.clone(), invocation: process.invocation, pid: process.pid })
        };
        let restored = Restored {
            memos: self.memos.clone(),
            generations: self.generations.clone(),
            processes: self.processes.iter().filter_map(adopted).collect(),
            waiting,
            enablement: BTreeMap::new(),
            incidents: BTreeSet::new(),
            stopped: BTreeMap::new(),
            elapsed: self.stamps.clone(),
            host: Host::default(),
        };
        self.node = Node::new(self.rng.next_u64());
        // The next life is not ended in its first moments, or the world would not come to rest.
        let was_calm = std::mem::replace(&mut self.calm, true);
        let mut defs = self.defs.clone();
        let left = self.memos.keys().chain(&self.connected).chain(self.processes.keys().map(|key| &key.run.unit));
        let instances: Vec<_> = left.filter(|unit| unit.template().is_some()).cloned().collect();
        defs.extend(instances.into_iter().map(|unit| (unit.clone(), served(&unit))));
        self.node.restore(self.clock(), defs, restored);
        self.drain();
        assert_eq!(self.node.lost(), [], "the keeper never died");
        for mail in held.into_iter().chain(failures) {
            self.unacked.push((mail.clone(), true));
            let fact = self.as_seen_now(mail.fact);
            self.give(fact);
        }
        self.give(Input::Boot);
        self.calm = was_calm;
    }

    /// What waits in sockets is told while they are watched, and taken while their service lives.
    fn traffic(&mut self) {
        let door = name("door");
        let serves = |key: &ProcessKey| key.run.unit == door && key.role.is_main();
        if self.processes.keys().any(serves) && self.rng.below(4) == 0 {
            self.waiting = 0;
        }
        if self.waiting > 0 && self.listening.contains(&door) && !self.chance(2) {
            // Once, as the engine does: it waits no longer then.
            self.give(Input::Traffic { unit: door });
        }
    }

    /// Time goes on to that moment, if it lies ahead.
    fn pass_to(&mut self, at: u64) {
        self.now = self.now.max(at);
        self.metronome.passed(self.clock().wall);
    }

    /// Someone sets the clock by up to so many seconds, and the manager hears of it.
    fn set_clock(&mut self) {
        let micros = self.rng.below(45_000_000) as i64;
        let before = self.clock().wall;
        self.ahead += if self.rng.below(2) == 0 { micros } else { -micros };
        self.metronome.set(before, self.clock().wall);
        self.give(Input::ClockSet);
        // What is due now is not undone by whoever sets the clock next.
        while self.node.next_deadline().is_some_and(|at| at.0 <= self.now) {
            self.timeout();
        }
    }

    /// To the next thing that happens.
    fn step(&mut self) {
        self.traffic();
        let next = self
            .mail
            .iter()
            .enumerate()
            .min_by_key(|(_, mail)| (mail.at, mail.order))
            .map(|(index, mail)| (index, mail.at));
        let deadline = self.node.next_deadline().map(|at| at.0);
        let first = next.map(|(_, at)| at).into_iter().chain(deadline).min();
        if first.is_none_or(|at| at > self.now + CALM) || self.chance(4) {
            self.tell_all();
        }
        let idle = self.now + self.rng.below(2_000_000_000);
        match (next, deadline) {
            (Some((index, at)), _) if at <= deadline.unwrap_or(u64::MAX) && at <= idle => {
                let mail = self.mail.remove(index);
                self.pass_to(mail.at);
                self.deliver(mail);
            }
            (_, Some(at)) if at <= idle => {
                self.pass_to(at);
                self.timeout();
            }
            _ => self.pass_to(idle),
        }
    }

    fn deliver(&mut self, mail: Mail) {
        match (&mail.held, &mail.fact) {
            // A planned death comes true now.
            (Some(key), Input::Exited { status, .. }) => self.die(key, *status),
            (Some(_), _) => {
                self.unacked.push((mail.clone(), true));
                self.give(mail.fact);
            }
            (None, _) => {
                if let Some((_, told)) = self.unacked.iter_mut().find(|(held, _)| held.order == mail.order) {
                    *told = true;
                }
                // Repeated it may come at any time, but never untrue.
                let untrue =
                    matches!(&mail.fact, Input::TreeEmpty { run } if self.processes.keys().any(|key| key.run == *run));
                if !untrue {
                    let fact = self.as_seen_now(mail.fact);
                    self.give(fact);
                }
            }
        }
    }

    /// Whether anyone else is left is looked up when the end is heard, as the engine does: others may have come since.
    fn as_seen_now(&self, fact: Input) -> Input {
        match fact {
            Input::Exited { key, status, usage, oom, alone: _ } => {
                let alone = !self.processes.keys().any(|other| other.run == key.run);
                Input::Exited { key, status, usage, oom, alone }
            }
            other => other,
        }
    }

    fn disturb(&mut self) {
        let unit = name(UNITS[self.rng.below(UNITS.len() as u64) as usize]);
        match self.rng.below(30) {
            28 => self.elsewhere.act(&mut self.rng),
            0..8 => {
                let verbs = [Verb::Start, Verb::Stop, Verb::Restart, Verb::Reload, Verb::Reset, Verb::Start];
                let verb = verbs[self.rng.below(6) as usize];
                let other = name(UNITS[self.rng.below(UNITS.len() as u64) as usize]);
                self.order(verb, vec![unit, other]);
            }
            8 => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.tickets.insert(ticket);
                self.give(Input::ProbeNow { ticket, units: vec![unit] });
            }
            9 => self.crash(),
            19..22 => self.waiting += 1,
            22 => self.order(Verb::Enable, vec![name("door")]),
            24..27 => self.connect(),
            27 => {
                // Someone has to do with an instance.
                let verbs = [Verb::Start, Verb::Stop, Verb::Restart, Verb::Reset];
                let verb = verbs[self.rng.below(4) as usize];
                let instances = self.node.statuses().into_iter().map(|status| status.name);
                let instances: Vec<_> = instances.filter(|unit| unit.template().is_some()).collect();
                if !instances.is_empty() {
                    let unit = instances[self.rng.below(instances.len() as u64) as usize].clone();
                    self.order(verb, vec![unit]);
                }
            }
            10..13 => self.nonsense(&unit),
            13..17 => self.chatter(&unit),
            17 => {
                // Someone else kills a process.
                let keys: Vec<_> = self.processes.keys().cloned().collect();
                if !keys.is_empty() {
                    let key = keys[self.rng.below(keys.len() as u64) as usize].clone();
                    if self.chance(3) {
                        // The kernel does, for want of memory, and says so before the end is told.
                        let (run, killed) = (key.run.clone(), 1 + self.rng.below(4));
                        self.give(Input::OomKilled { run, killed, whose: OomVictim::Other });
                    }
                    self.die(&key, ExitStatus::Signaled { signal: Signal::KILL, core: false });
                }
            }
            23 => self.set_clock(),
            18 => {
                // The files are read again; one of them has changed or is back.
                if let Some(def) = self.defs.get_mut(&unit) {
                    let command = &mut Arc::make_mut(def).service.exec_start[0];
                    command.argv = command.argv.iter().cloned().chain(["more".into()]).collect();
                }
                let defs = self.defs.clone();
                self.give(Input::Units(defs));
            }
            _ => {}
        }
    }

    fn connect(&mut self) {
        let mail = name(MAIL);
        if self.listening.contains(&mail) {
            let source = Some([127, 0, 0, self.rng.below(3) as u8].into());
            self.give(Input::Connected { unit: mail, source });
        } else if self.rng.below(4) == 0 {
            self.order(Verb::Start, vec![mail]);
        } else {
            self.order(Verb::Reset, vec![mail]);
        }
    }

    fn order(&mut self, verb: Verb, units: Vec<UnitName>) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket);
        self.resetting = if verb == Verb::Reset { units.clone() } else { Vec::new() };
        self.give(Input::Order { ticket, actor: Actor::User(0), units, verb });
        self.resetting.clear();
    }

    /// Facts of runs that are over, or that never were.
    fn nonsense(&mut self, unit: &UnitName) {
        let newest = self.generations.get(unit).copied().unwrap_or_default().0;
        if newest < 2 {
            return;
        }
        let run = RunId { unit: unit.clone(), generation: Generation(1 + self.rng.below(newest - 1)) };
        let key = ProcessKey { run: run.clone(), role: Role::Main };
        let status = ExitStatus::Exited(1);
        let fact = match self.rng.below(5) {
            0 if !self.truth.ended.contains_key(&(unit.clone(), run.generation)) => return,
            0 => Input::TreeEmpty { run },
            1 => Input::Spawned { key, pid: Pid::new(9999).unwrap() },
            2 => Input::ExecDone { key },
            3 => Input::Probed {
                run,
                probe: 0,
                outcome: ProbeOutcome { finding: Finding::Bad("old".to_owned()), took: Duration::ZERO },
            },
            _ => {
                // The exit of a run that is over comes again only as it was.
                let Some(Happening::RunEnded { status: Some(status), .. }) =
                    self.truth.ended.get(&(unit.clone(), run.generation))
                else {
                    return;
                };
                let status = *status;
                Input::Exited { key, status, usage: None, oom: false, alone: true }
            }
        };
        assert_ne!(status, ExitStatus::Unknown);
        self.give(fact);
    }

    /// What services say of themselves.
    fn chatter(&mut self, unit: &UnitName) {
        let Some(key) = self.processes.keys().find(|key| key.run.unit == *unit).cloned() else { return };
        let mut message = NotifyMessage::default();
        match self.rng.below(8) {
            0 => message.watchdog = true,
            1 => {
                message.reloading = true;
                message.monotonic_usec = Some(self.now / 1000);
            }
            2 => message.stopping = true,
            3 => message.watchdog_trigger = true,
            4 => message.extend_timeout_usec = Some(2_000_000),
            5 => message.status = Some("ok".to_owned()),
            6 => {
                let pids: Vec<Pid> = self.processes.values().map(|process| process.pid).collect();
                message.main_pid = Some(pids[self.rng.below(pids.len() as u64) as usize]);
            }
            _ => message.ready = true,
        }
        self.give(Input::Notified { run: key.run, sender: Sender::Main, pid: 1, message });
    }

    /// The world calms down; everything has to come to rest and every account to be even.
    fn settle(&mut self) {
        self.calm = true;
        for _ in 0..20 {
            self.step();
        }
        self.tell_all();
        let now = self.clock().wall;
        self.metronome.set(now, now);
        for unit in [metronome::TICK, metronome::PULSE] {
            self.metronome.check(unit, &self.truth.timed(&name(unit)));
        }
        self.order(Verb::Disable, vec![name(metronome::TICK), name(metronome::BEATER)]);
        for process in self.processes.values_mut() {
            (process.obeys, process.immortal_until) = (true, 0);
        }
        let all: Vec<_> = UNITS.map(name).to_vec();
        let everyone = self.node.statuses().into_iter().map(|status| status.name).collect();
        self.order(Verb::Stop, everyone);
        for _ in 0..600 {
            self.step();
        }
        // It may have been up elsewhere without our knowing.
        self.order(Verb::Stop, vec![name(GUEST)]);
        self.now += 60_000_000_000;
        for _ in 0..600 {
            self.step();
        }
        assert!(self.tickets.is_empty(), "nobody answers {:?}", self.tickets);
        assert!(self.processes.is_empty(), "left alive: {:?}", self.processes.keys());
        assert!(!self.elsewhere.is_up(), "it was to stop");
        for status in self.node.statuses() {
            assert!(matches!(status.sub.as_str(), "dead" | "failed"), "{} is {}", status.name, status.sub.as_str());
        }
        assert!(self.connected.is_empty(), "connections are left: {:?}", self.stored);
        let instances =
            |memos: &BTreeMap<UnitName, Vec<u8>>| memos.keys().filter(|unit| unit.template().is_some()).count();
        let failed = self.node.statuses().iter().filter(|status| status.name.template().is_some()).count();
        self.tell_all();
        assert_eq!(instances(&self.memos), failed, "of those that are over nothing is remembered");
        assert!(self.directories.is_empty(), "left behind: {:?}", self.directories);
        assert!(self.stored.is_empty(), "kept for ever: {:?}", self.stored);
        self.check_accounts();
        self.check_life_goes_on(all);
    }

    fn check_accounts(&self) {
        for (unit, generation) in self.truth.started.keys() {
            let key = (unit.clone(), *generation);
            assert!(self.truth.ended.contains_key(&key), "{unit}/{generation} began and never ended");
        }
        for unit in UNITS.map(name) {
            let newest = self.generations.get(&unit).copied().unwrap_or_default().0;
            let begun = self.truth.started.keys().filter(|(other, _)| *other == unit).count() as u64;
            assert!(begun >= newest.min(1), "{unit}: {begun} starts said, {newest} generations");
        }
    }

    fn check_life_goes_on(&mut self, all: Vec<UnitName>) {
        self.order(Verb::Reset, all);
        self.order(Verb::Enable, vec![name("door")]);
        assert_eq!(self.node.status(&name("door")).unwrap().sub, Sub::Listening);
        self.waiting = 1;
        self.crash();
        assert_eq!(self.node.status(&name("door")).unwrap().sub, Sub::Listening);
        self.order(Verb::Start, vec![name("front"), name("agent"), name("blue"), name(GUEST)]);
        // Less than a watchdog's interval: nobody feeds them now.
        let until = self.now + 15_000_000_000;
        while self.now < until {
            self.step();
        }
        for unit in ["db", "web", "front", "agent", "blue", "door"] {
            let status = self.node.status(&name(unit)).unwrap();
            assert!(matches!(status.sub.as_str(), "running"), "{unit} is {}", status.sub.as_str());
        }
        let guest = self.node.status(&name(GUEST)).unwrap();
        assert!(self.elsewhere.is_up() && guest.sub == Sub::Running, "{GUEST} is {}", guest.sub.as_str());
        let stops = self.elsewhere.stops;
        self.give(Input::Shutdown { actor: Actor::Daemon, machine: true });
        for _ in 0..300 {
            self.step();
        }
        assert!(self.stopped && self.tickets.is_empty());
        assert!(self.elsewhere.is_up() && self.elsewhere.stops == stops, "our end is not that of others");
    }
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Spawn(order) => format!("spawn {:?} {}", order.key, order.directive),
        Effect::Probe { run, .. } => format!("probe {run:?}"),
        Effect::Notice(notice) => format!("{:?}", notice.what),
        other => format!("{other:?}"),
    }
}

/// One whole life under a seed: crashes and recoveries; a failure prints its last events, or all if it is the only one.
fn live(seed: u64) -> Option<(u32, u32)> {
    let result = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                world.step();
                if world.rng.below(3) == 0 {
                    world.disturb();
                }
            }
            world.settle();
        }));
        if outcome.is_err() {
            println!("--- seed {seed} ---");
            let few = seeds().count() == 1;
            let from = if few { 0 } else { world.trace.len().saturating_sub(60) };
            for line in &world.trace[from..] {
                println!("{line}");
            }
        }
        outcome.map(|()| (world.crashes, world.truth.recovered))
    });
    result.ok()?.ok()
}

/// Seeds `0..COUNT`, or `FROM..TO`, of ROUNDSMAN_SEEDS.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("ROUNDSMAN_SEEDS") else { return 0..150 };
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn any_order_of_facts_faults_and_crashes_keeps_the_invariants() {
    // A longer run: ROUNDSMAN_SEEDS=100000 cargo nextest run any_order.
    let (mut crashes, mut recovered, mut failed) = (0, 0, Vec::new());
    for seed in seeds() {
        match live(seed) {
            Some((more, again)) => (crashes, recovered) = (crashes + more, recovered + again),
            None => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
    let few = seeds().count() < 150;
    assert!(few || crashes > 50 && recovered > 50, "the world was too calm: {crashes} crashes, {recovered} recoveries");
}
