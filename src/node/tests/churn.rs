//! A day of churn under a virtual clock: services that crash every few seconds, timers, probes, connections, traffic, orders,
//! reloads, managers that die. When all is at rest at the end of an hour, the machine holds no more than after the first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::super::{
    Effect, Input, Node,
    effect::SpawnOrder,
    input::{Adopted, Finding, Host, MissingMain, NotifyMessage, ProbeOutcome, ReloadName, Restored, Sender, Verb},
    once::NAMED_MAX,
};
use super::{
    make::{acceptor, command, connection, eager, lazy, name, notifying, probe, with},
    metronome,
};
use crate::{
    base::{
        Actor, ExitStatus, Generation, Happening, Mono, Now, Pid, ProcessKey, Rng, Role, RunId, Signal, SpawnFailure,
        SpawnStep, Ticket, TimeSpan, UnitName, Wall,
    },
    unit::{
        UnitDef,
        spec::{ConnectionLimits, OnUnhealthy, ServiceKind},
    },
};

const MAIL: &str = "mail@";
const HOUR: u64 = 3_600_000_000_000;
/// Long enough for every deadline of a stop.
const REST: u64 = 120_000_000_000;
/// Orderly runs of each unit at the end of an hour: more than the machine remembers of any.
const ORDERLY: usize = 20;

type Defs = BTreeMap<UnitName, Arc<UnitDef>>;

/// Hours of churn; a day: ROUNDSMAN_TEST_CHURN_HOURS=24.
fn hours() -> u64 {
    std::env::var("ROUNDSMAN_TEST_CHURN_HOURS").map_or(3, |text| text.parse().unwrap())
}

#[derive(Debug)]
enum Event {
    Fact(Input),
    /// The process ends by itself.
    Death(ProcessKey, ExitStatus),
    /// Someone does something, and will again.
    Person,
    Client,
}

struct Day {
    rng: Rng,
    node: Node,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    planned: u64,
    /// Each with whether it obeys TERM.
    processes: BTreeMap<ProcessKey, (Adopted, bool)>,
    watched: Vec<RunId>,
    listening: Vec<UnitName>,
    memos: BTreeMap<UnitName, Vec<u8>>,
    elapsed: BTreeMap<UnitName, Wall>,
    generations: BTreeMap<UnitName, Generation>,
    defs: Defs,
    tickets: u64,
    unanswered: usize,
    next_pid: i32,
    /// Nobody does anything any more.
    rests: bool,
    /// Of so many things that people do one kills the manager; `None`: it lives all day.
    kill_one_in: Option<u64>,
    starts: u64,
    connections: u64,
    crashes: u64,
}

fn defs() -> Defs {
    let seconds = TimeSpan::from_secs;
    let crashing = ["web", "db", "agent"].map(|text| {
        let mut def = eager(text);
        def.service.restart.delay = TimeSpan::from_millis(100);
        def.service.restart.jitter = 0.5;
        def.health = [probe("live", OnUnhealthy::Restart)].into();
        def.health[0].interval = seconds(2);
        def.service.exec_reload = [command("reload")].into();
        def.service.exec_stop_post = [command("after")].into();
        def.service.watchdog = Some(seconds(30));
        def
    });
    let mut ready = notifying("ready");
    ready.service.restart = crashing[0].service.restart.clone();
    ready.start_limit.interval = TimeSpan::ZERO;
    ready.relations.requires = [name("db")].into();
    ready.relations.after = [name("db")].into();
    ready.relations.on_failure = [name("job")].into();
    let limited = with("limited", |def| {
        def.service.restart.when = crate::unit::spec::Restart::Always;
        def.relations.on_failure = [name("job")].into();
    });
    let job = with("job", |def| {
        def.service.kind = ServiceKind::Oneshot;
        def.service.exec_start = [command("a"), command("b")].into();
        def.enabled = false;
    });
    let bound = with("bound", |def| {
        def.relations.binds_to = [name("agent")].into();
        def.relations.after = [name("agent")].into();
    });
    let instances = ["work@1", "work@2"].map(|text| with(text, |def| def.start_limit.interval = TimeSpan::ZERO));
    let limits = ConnectionLimits { max: 8, per_source: 4 };
    let all = crashing.into_iter().chain(instances).chain(metronome::defs());
    let all = all.chain([ready, limited, job, bound, lazy("door"), acceptor(MAIL, limits)]);
    all.map(|def| (def.name.clone(), Arc::new(def))).collect()
}

fn served(name: &UnitName) -> Arc<UnitDef> {
    Arc::new(connection(name.as_str()))
}

impl Day {
    fn new(seed: u64, kill_one_in: Option<u64>) -> Self {
        let defs = defs();
        let mut day = Self {
            rng: Rng::new(seed),
            node: Node::new(seed),
            now: 1_000_000_000,
            events: BTreeMap::new(),
            planned: 0,
            processes: BTreeMap::new(),
            watched: Vec::new(),
            listening: Vec::new(),
            memos: BTreeMap::new(),
            elapsed: BTreeMap::new(),
            generations: BTreeMap::new(),
            defs: defs.clone(),
            tickets: 0,
            unanswered: 0,
            next_pid: 100,
            rests: false,
            kill_one_in,
            starts: 0,
            connections: 0,
            crashes: 0,
        };
        day.give(Input::Units(defs));
        day.give(Input::Boot);
        day
    }

    fn clock(&self) -> Now {
        Now { mono: Mono(self.now), wall: Wall(1_700_000_000_000_000 + (self.now / 1000) as i64) }
    }

    /// Nothing goes wrong at the end of an hour.
    fn one_in(&mut self, count: u64) -> bool {
        !self.rests && self.rng.below(count) == 0
    }

    fn plan(&mut self, after_ms: u64, event: Event) {
        self.planned += 1;
        self.events.insert((self.now + after_ms * 1_000_000, self.planned), event);
    }

    fn give(&mut self, input: Input) {
        self.node.handle(self.clock(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn(order) => self.spawn(&order),
            Effect::Kill { key, signal } => self.hit(&key, signal),
            Effect::KillTree { run, signal, but } => {
                self.hit_all(&run, signal, but.as_ref());
                self.watch(run);
            }
            Effect::WatchTree { run } => self.watch(run),
            Effect::Sweep { run, .. } => self.hit_all(&run, Signal::KILL, None),
            Effect::FindMain { key, .. } => {
                self.plan(1, Event::Fact(Input::MainMissing { key, why: MissingMain::Gone }));
            }
            Effect::Probe { run, probe, .. } => {
                let finding = if self.one_in(4) { Finding::Bad("refused".to_owned()) } else { Finding::Good };
                let outcome = ProbeOutcome { finding, took: Duration::from_millis(1) };
                let took = self.rng.below(300);
                self.plan(took, Event::Fact(Input::Probed { run, probe, outcome }));
            }
            Effect::Accept { unit, number } => {
                let source = self.rng.below(3);
                let instance = unit.with_instance(&format!("{number}-127.0.0.1:25-127.0.0.{source}:9")).unwrap();
                self.connections += 1;
                self.give(Input::Instance { number, def: served(&instance) });
            }
            Effect::Remember { unit, memo } => drop(self.memos.insert(unit, memo)),
            Effect::Forget { unit } => {
                self.memos.remove(&unit);
                self.generations.remove(&unit);
            }
            Effect::Stamp { unit, at } => drop(self.elapsed.insert(unit, at)),
            Effect::Listen { unit, .. } => {
                self.listening.retain(|other| *other != unit);
                self.listening.push(unit.clone());
                if unit.as_str() == MAIL {
                    self.give(Input::Listens { unit });
                }
            }
            Effect::Unlisten { unit } => self.listening.retain(|other| *other != unit),
            Effect::Reply { .. } => self.unanswered -= 1,
            Effect::Notice(notice) => match notice.what {
                Happening::RunStarting { .. } => self.starts += 1,
                Happening::Bug { text, .. } => panic!("{text}"),
                _ => {}
            },
            Effect::Tidy { .. }
            | Effect::CancelProbes { .. }
            | Effect::Release { .. }
            | Effect::HangUp { .. }
            | Effect::Watch { .. }
            | Effect::Host { .. }
            | Effect::AllStopped { .. } => {}
        }
    }

    fn spawn(&mut self, order: &SpawnOrder) {
        let key = order.key.clone();
        self.generations.insert(key.run.unit.clone(), key.run.generation);
        if self.one_in(20) {
            let (step, errno) = if self.one_in(2) { (SpawnStep::Clone, 11) } else { (SpawnStep::Exec, 2) };
            let failure = SpawnFailure { step, errno };
            return self.plan(1, Event::Fact(Input::SpawnFailed { key, failure }));
        }
        self.next_pid = if self.next_pid == 30_000 { 100 } else { self.next_pid + 1 };
        let pid = Pid::new(self.next_pid).unwrap();
        let obeys = !self.one_in(10);
        self.processes.insert(key.clone(), (Adopted { key: key.clone(), invocation: order.invocation, pid }, obeys));
        self.plan(1, Event::Fact(Input::Spawned { key: key.clone(), pid }));
        let is_main = key.role == Role::Main;
        if is_main && order.def.service.kind.notifies() && !self.one_in(10) {
            let message = NotifyMessage { ready: true, ..NotifyMessage::default() };
            self.plan(5, Event::Fact(Input::Notified { run: key.run.clone(), sender: Sender::Main, pid: 1, message }));
        }
        let is_short = !is_main || order.def.service.kind == ServiceKind::Oneshot || key.run.unit.template().is_some();
        let (life, status) = match (is_short, self.rng.below(4)) {
            (true, _) if self.rests => (1, ExitStatus::Exited(0)),
            (false, _) if self.rests => return,
            (true, 0) => (300, ExitStatus::Exited(3)),
            (true, _) => (200, ExitStatus::Exited(0)),
            (false, 0) => (6000, ExitStatus::Exited(0)),
            (false, 1) => (6000, ExitStatus::Signaled { signal: Signal::ABRT, core: true }),
            (false, _) => (6000, ExitStatus::Exited(1)),
        };
        let life = 1 + self.rng.below(life);
        self.plan(life, Event::Death(key, status));
    }

    fn hit(&mut self, key: &ProcessKey, signal: Signal) {
        let Some((_, obeys)) = self.processes.get(key) else { return };
        if signal == Signal::KILL || (*obeys && matches!(signal, Signal::TERM | Signal::ABRT)) {
            self.die(key, ExitStatus::Signaled { signal, core: signal == Signal::ABRT });
        }
    }

    fn hit_all(&mut self, run: &RunId, signal: Signal, but: Option<&ProcessKey>) {
        let of_run = self.processes.keys().filter(|key| key.run == *run && Some(*key) != but);
        for key in of_run.cloned().collect::<Vec<_>>() {
            self.hit(&key, signal);
        }
    }

    fn die(&mut self, key: &ProcessKey, status: ExitStatus) {
        if self.processes.remove(key).is_none() {
            return;
        }
        let alone = !self.processes.keys().any(|other| other.run == key.run);
        let fact = Input::Exited { key: key.clone(), status, usage: None, oom: false, alone };
        self.plan(1, Event::Fact(fact));
        self.tell_empty();
    }

    fn watch(&mut self, run: RunId) {
        self.watched.push(run);
        self.tell_empty();
    }

    fn tell_empty(&mut self) {
        let lives = |run: &RunId| self.processes.keys().any(|key| key.run == *run);
        let (watched, empty) = std::mem::take(&mut self.watched).into_iter().partition(lives);
        self.watched = watched;
        for run in empty {
            self.plan(2, Event::Fact(Input::TreeEmpty { run }));
        }
    }

    /// To that moment.
    fn live_until(&mut self, until: u64) {
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.node.next_deadline().map(|at| at.0);
            let next = event.into_iter().chain(deadline).min().filter(|at| *at <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            } else {
                self.node.handle_timeout(self.clock());
                self.drain();
            }
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fact(Input::Exited { key, status, usage, oom, alone: _ }) => {
                // Whoever was started since is seen.
                let alone = !self.processes.keys().any(|other| other.run == key.run);
                self.give(Input::Exited { key, status, usage, oom, alone });
            }
            Event::Fact(Input::TreeEmpty { run }) if self.processes.keys().any(|key| key.run == run) => {}
            Event::Fact(fact) => self.give(fact),
            Event::Death(key, status) => self.die(&key, status),
            Event::Person | Event::Client if self.rests => {}
            Event::Person => {
                self.act();
                let after = self.rng.below(20_000);
                self.plan(after, Event::Person);
            }
            Event::Client => {
                self.connect();
                let after = self.rng.below(4000);
                self.plan(after, Event::Client);
            }
        }
    }

    fn connect(&mut self) {
        for unit in self.listening.clone() {
            if unit == name(MAIL) {
                let source = Some([127, 0, 0, self.rng.below(3) as u8].into());
                self.give(Input::Connected { unit, source });
            } else if self.one_in(4) {
                self.give(Input::Traffic { unit });
            }
        }
    }

    fn order(&mut self, verb: Verb, units: Vec<UnitName>) {
        self.tickets += 1;
        self.unanswered += 1;
        self.give(Input::Order { ticket: Ticket(self.tickets), actor: Actor::User(0), units, verb });
    }

    fn names(&self) -> Vec<UnitName> {
        self.node.statuses().into_iter().map(|status| status.name).collect()
    }

    fn act(&mut self) {
        if self.kill_one_in.is_some_and(|count| self.one_in(count)) {
            return self.crash();
        }
        let names = self.names();
        let unit = names[self.rng.below(names.len() as u64) as usize].clone();
        match self.rng.below(16) {
            0 => self.order(Verb::Stop, vec![unit]),
            1 => self.order(Verb::Restart, vec![unit]),
            2 if self.rng.below(2) == 0 => self.order(Verb::Reload, vec![unit]),
            2 => {
                // Some of them again.
                let name = ReloadName([self.rng.below(20) as u8; 16]);
                for unit in names {
                    self.tickets += 1;
                    self.unanswered += 1;
                    let ticket = Ticket(self.tickets);
                    self.give(Input::ReloadOnce { ticket, actor: Actor::PLAN, unit, name });
                }
            }
            3 | 4 => self.order(Verb::Reset, names),
            5 => self.order(Verb::Disable, vec![unit]),
            6 => {
                // The files change, and one is gone.
                let mut defs = self.defs.clone();
                if let Some(def) = defs.get_mut(&unit).filter(|_| self.rng.below(2) == 0) {
                    Arc::make_mut(def).description = "changed".into();
                } else if unit != name(metronome::PULSE) {
                    // A timer without its unit is refused where files are read.
                    defs.remove(&unit);
                }
                self.give(Input::Units(defs));
            }
            7 | 8 => self.give(Input::Units(self.defs.clone())),
            9 => {
                self.tickets += 1;
                self.unanswered += 1;
                self.give(Input::ProbeNow { ticket: Ticket(self.tickets), units: vec![unit] });
            }
            10 => self.chat(&unit),
            11 => self.give(Input::ClockSet),
            12 => self.order(Verb::Enable, names),
            _ => self.order(Verb::Start, names.into_iter().filter(|unit| *unit != name("job")).collect()),
        }
    }

    fn chat(&mut self, unit: &UnitName) {
        let Some(key) = self.processes.keys().find(|key| key.run.unit == *unit).cloned() else { return };
        let status = Some("at work".to_owned());
        let message = NotifyMessage { watchdog: true, reloading: true, status, ..NotifyMessage::default() };
        self.give(Input::Notified { run: key.run, sender: Sender::Main, pid: 1, message });
    }

    /// The manager dies between two things, and the next goes on.
    fn crash(&mut self) {
        self.crashes += 1;
        self.unanswered = 0;
        self.watched.clear();
        self.listening.clear();
        let held = |event: &Event| matches!(event, Event::Fact(Input::Exited { .. } | Input::SpawnFailed { .. }));
        let is_fact = |event: &Event| matches!(event, Event::Fact(_));
        self.events.retain(|_, event| !is_fact(event) || held(event));
        let waits = self.events.values().filter_map(|event| match event {
            Event::Fact(Input::Exited { key, .. } | Input::SpawnFailed { key, .. }) => Some(key.clone()),
            _ => None,
        });
        let restored = Restored {
            memos: self.memos.clone(),
            generations: self.generations.clone(),
            processes: self.processes.values().map(|(adopted, _)| adopted.clone()).collect(),
            waiting: waits.collect(),
            enablement: BTreeMap::new(),
            incidents: BTreeSet::new(),
            stopped: BTreeMap::new(),
            elapsed: self.elapsed.clone(),
            host: Host::default(),
        };
        let mut defs = self.defs.clone();
        let left = self.memos.keys().chain(self.processes.keys().map(|key| &key.run.unit));
        let instances: Vec<_> = left.filter(|unit| unit.as_str().starts_with(MAIL) && unit.as_str() != MAIL).collect();
        defs.extend(instances.into_iter().map(|unit| (unit.clone(), served(unit))));
        self.node = Node::new(self.rng.next_u64());
        self.node.restore(self.clock(), defs, restored);
        self.drain();
        let facts: Vec<_> = self.events.iter().filter(|(_, event)| held(event)).map(|(at, _)| *at).collect();
        for at in facts {
            let event = self.events.remove(&at).unwrap();
            self.happen(event);
        }
        self.give(Input::Boot);
    }

    /// One hour of churn; then everything comes to rest.
    fn hour(&mut self) {
        let end = self.now + HOUR - REST;
        self.rests = false;
        for event in [Event::Person, Event::Client] {
            self.plan(0, event);
        }
        self.give(Input::Units(self.defs.clone()));
        self.order(Verb::Enable, self.names());
        self.order(Verb::Start, self.defs.keys().cloned().collect());
        self.live_until(end);
        self.rests = true;
        self.give(Input::Units(self.defs.clone()));
        self.order(Verb::Disable, self.names());
        self.order(Verb::Stop, self.names());
        self.live_until(end + REST);
        self.order(Verb::Reset, self.names());
        for _ in 0..ORDERLY {
            self.order(Verb::Start, self.names());
            self.live_until(self.now + 5_000_000_000);
            self.order(Verb::Stop, self.names());
            self.live_until(self.now + 5_000_000_000);
        }
        self.order(Verb::Reset, self.names());
        assert!(self.processes.is_empty(), "left alive: {:?}", self.processes.keys());
        assert_eq!(self.unanswered, 0);
        let broken = self.node.inspect();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// How much the machine holds: the words and numbers in all that it is made of, every collection with what is in it.
    /// Places in its tables that were taken at one time are counted by themselves.
    fn size(&self) -> (usize, usize) {
        let text = format!("{:?}", self.node);
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).count();
        let free = self.node.free.len();
        // The last names of reloads are kept, of each unit so many, and it is by chance when one has come to that.
        let named = text.matches("Named { ").count();
        assert!(named <= NAMED_MAX * self.defs.len(), "{named} reloads by name");
        (words - WORDS_PER_PLACE * free - WORDS_PER_NAME * named, free)
    }

    /// What the keeper remembers for it: units, and bytes.
    fn remembered(&self) -> (usize, usize) {
        (self.memos.len(), self.memos.values().map(Vec::len).sum())
    }
}

/// How the last runs went that were no orderly ones: over twelve hours it goes up and down by as much. What some of thousands of
/// starts leave behind is more.
const WORDS_MORE_MAX: usize = 160;
/// `None`, `Place(1)` in the list of them, and a number for each kind of edge in the graph.
const WORDS_PER_PLACE: usize = 3 + 8;
/// `Named`, `name`, the name, `stage`, and that.
const WORDS_PER_NAME: usize = 5;
/// Connections that are served at one time, and failed ones that are kept.
const FREE_MAX: usize = 64;
/// Numbers grow, and with them the bytes that they take, in percent.
const BYTES_MORE_MAX: usize = 10;

fn leaves_nothing_behind(mut day: Day) -> Day {
    day.hour();
    let ((size, _), (units, bytes)) = (day.size(), day.remembered());
    for hour in 2..=hours() {
        day.hour();
        let (now, free) = day.size();
        assert!(free <= FREE_MAX, "{free} places are free after hour {hour}");
        assert!(now <= size + WORDS_MORE_MAX, "{now} words after hour {hour}, {size} after the first");
        let (units_now, bytes_now) = day.remembered();
        let is_flat = units_now == units && bytes_now * 100 <= bytes * (100 + BYTES_MORE_MAX);
        assert!(
            is_flat,
            "{units_now} memos of {bytes_now} bytes after hour {hour}, {units} of {bytes} after the first"
        );
    }
    let (starts, connections, hours) = (day.starts, day.connections, hours());
    println!(
        "{hours} hours, {starts} starts, {connections} connections, {} managers killed, {size} words",
        day.crashes
    );
    assert!(
        starts > hours * 5000 && connections > hours * 1000,
        "{starts} starts, {connections} connections: too calm"
    );
    day
}

#[test]
fn a_day_of_churn_leaves_nothing_behind() {
    leaves_nothing_behind(Day::new(1, None));
}

#[test]
fn a_day_of_churn_and_dying_managers_leaves_nothing_behind() {
    let day = leaves_nothing_behind(Day::new(2, Some(20)));
    assert!(day.crashes > hours() * 5, "{} managers died", day.crashes);
}
