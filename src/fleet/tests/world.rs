//! A simulated fleet: real targets and real drivers, and everything between them that can go wrong. What must never happen is
//! looked for at each step; one seed is one story, always the same.

mod net; // who hears what, and when
mod people; // who looks at the plan
mod vm; // a node: its disk, its services, its load balancer
mod watch; // what must never happen

use std::collections::{BTreeMap, VecDeque};

use net::{Bus, Lock};
use vm::Vm;
use watch::Watch;

use super::*;
use crate::base::{Mono, Rng, TimeSpan};

/// One second of the world's clock.
pub(super) const SEC: u64 = 1_000_000_000;
const MS: u64 = SEC / 1000;
/// Nodes report this often.
const REPORT: u64 = 5 * SEC;
/// A lease of the lock.
const LEASE: u64 = 15 * SEC;
/// After this nothing goes wrong any more, and all has to come to an end.
const TROUBLE: u64 = 1200 * SEC;
const END: u64 = 4 * 3600 * SEC;

/// What happens at a moment.
#[derive(Debug, Clone)]
enum Happens {
    /// A driver's second.
    Tick(usize),
    /// A driver renews its lease, or tries to get it.
    Renew(usize),
    /// A driver stands still, or goes on.
    Freeze(usize, bool),
    /// A node reports, of its own accord.
    Report(NodeName),
    /// To a node, by a driver.
    ToNode(NodeName, u64, TargetInput),
    /// To every driver, by a node.
    ToDrivers(NodeName, u64, Seq, Said),
    /// A row is on the disk of a node.
    Saved(NodeName, u64, Row),
    /// What a node does is over, in that life of it.
    Acted(NodeName, u64, StepId, StepOutcome),
    /// A service is well, in that run.
    Well(Instance, u128),
    /// A node dies, or comes back.
    Die(NodeName),
    Back(NodeName),
    /// A service dies by itself.
    Crash(Instance),
    /// Redis goes, comes back as it was, or as it was some seconds ago.
    Redis(bool),
    Failover,
    /// A node hears nobody, or is heard by nobody.
    Cut(NodeName, bool, bool),
    /// A load balancer forgets what it was told.
    LbReload(NodeName),
    /// Whoever looks at the plan.
    Operator,
}

#[derive(Debug, Clone)]
enum Said {
    Report(Report),
    Answer(Answer),
}

/// One of those that may drive.
#[derive(Debug, Default)]
struct Driver {
    rollout: Option<Rollout>,
    /// Of which plan.
    nth: usize,
    owner: u128,
    is_frozen: bool,
    /// What was to be handled while it stood still.
    backlog: VecDeque<Happens>,
}

/// A plan, and its journal.
#[derive(Debug)]
struct Ordered {
    plan: Plan,
    journal: Vec<Event>,
}

impl Ordered {
    fn is_over(&self) -> bool {
        self.journal.iter().any(|event| matches!(event, Event::Ended(_)))
    }
}

pub(super) struct World {
    rng: Rng,
    now: u64,
    queue: BTreeMap<(u64, u64), Happens>,
    order: u64,
    rules: Rules,
    topology: Topology,
    /// The newest last: each but the first supersedes the one before.
    plans: Vec<Ordered>,
    vms: BTreeMap<NodeName, Vm>,
    drivers: Vec<Driver>,
    bus: Bus,
    lock: Lock,
    watch: Watch,
    owners: u128,
    resumes: u32,
    taken: usize,
    /// Nobody looks at the plan.
    is_left_alone: bool,
    /// People take plans to other nodes, and put others in their place.
    is_busy: bool,
    trace: Option<Vec<String>>,
}

/// How a story ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What must never happen, and did.
    pub(super) violation: Option<String>,
    /// How the plan ended.
    pub(super) end: Option<End>,
    pub(super) acts: usize,
    /// How many plans were superseded, and how often one was taken to another node.
    pub(super) superseded: usize,
    pub(super) taken: usize,
    pub(super) trace: Vec<String>,
}

/// The story of a seed. `harsh` from 0 on says how often something goes wrong.
pub(super) fn story(seed: u64, rules: Rules, harsh: u64, is_traced: bool) -> Outcome {
    World::new(seed, rules, is_traced).told(harsh)
}

/// The same where nobody looks at the plan.
pub(super) fn story_left_alone(seed: u64, harsh: u64, is_traced: bool) -> Outcome {
    let mut world = World::new(seed, Rules::ALL, is_traced);
    world.is_left_alone = true;
    world.told(harsh)
}

/// The same where people take plans and supersede them.
pub(super) fn story_of_busy_people(seed: u64, harsh: u64, is_traced: bool) -> Outcome {
    let mut world = World::new(seed, Rules::ALL, is_traced);
    world.is_busy = true;
    world.told(harsh)
}

impl World {
    fn told(mut self, harsh: u64) -> Outcome {
        self.trouble(harsh);
        self.run();
        Outcome {
            violation: self.watch.violation.take(),
            end: self.journal().iter().find_map(|event| if let Event::Ended(end) = event { Some(*end) } else { None }),
            acts: self.watch.acts,
            superseded: self.plans.len() - 1,
            taken: self.taken,
            trace: self.trace.unwrap_or_default(),
        }
    }

    fn new(seed: u64, rules: Rules, is_traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let topology = fleet(&mut rng);
        let intent = restart(&["db"]);
        let plan = planned(&topology, &intent, &all_well(&topology, "vm1"));
        let mut world = Self {
            watch: Watch::new(&topology, &plan),
            vms: topology.nodes.keys().map(|name| (name.clone(), Vm::new(name, &topology, rules))).collect(),
            drivers: vec![Driver::default(), Driver::default()],
            bus: Bus::default(),
            lock: Lock::default(),
            queue: BTreeMap::new(),
            trace: is_traced.then(Vec::new),
            owners: 0,
            resumes: 0,
            taken: 0,
            is_left_alone: false,
            is_busy: false,
            now: 0,
            order: 0,
            rng,
            rules,
            topology,
            plans: vec![Ordered { plan, journal: Vec::new() }],
        };
        for driver in 0..2 {
            world.after(0, Happens::Renew(driver));
            world.after(0, Happens::Tick(driver));
        }
        for node in world.topology.nodes.keys().cloned().collect::<Vec<_>>() {
            let first = world.rng.below(REPORT);
            world.after(first, Happens::Report(node));
        }
        world.after(60 * SEC, Happens::Operator);
        world
    }

    /// What goes wrong in this story, and when.
    fn trouble(&mut self, harsh: u64) {
        let nodes: Vec<NodeName> = self.topology.nodes.keys().cloned().collect();
        let instances: Vec<Instance> = self.vms.values().flat_map(|vm| vm.instances.keys().cloned()).collect();
        self.bus.loss = self.rng.below(4) * harsh;
        self.bus.twice = self.rng.below(6) * harsh;
        self.bus.late = self.rng.below(4) * harsh;
        for _ in 0..self.rng.below(4 + 6 * harsh) * harsh.min(1) {
            let at = self.rng.below(TROUBLE * 2 / 3);
            let long = (1 + self.rng.below(60)) * SEC;
            let node = nodes[usize::try_from(self.rng.below(nodes.len() as u64)).unwrap()].clone();
            let instance = instances[usize::try_from(self.rng.below(instances.len() as u64)).unwrap()].clone();
            let driver = usize::try_from(self.rng.below(2)).unwrap();
            let (first, then) = match self.rng.below(8) {
                0 => (Happens::Freeze(driver, true), Some(Happens::Freeze(driver, false))),
                1 => (Happens::Die(node.clone()), Some(Happens::Back(node))),
                2 => (Happens::Redis(false), Some(Happens::Redis(true))),
                3 => (Happens::Failover, None),
                4 => {
                    let (hears, is_heard) =
                        [(false, false), (false, true), (true, false)][usize::try_from(at % 3).unwrap()];
                    (Happens::Cut(node.clone(), hears, is_heard), Some(Happens::Cut(node, true, true)))
                }
                5 => (Happens::Crash(instance), None),
                6 => (Happens::LbReload(NodeName::new("lb1").unwrap()), None),
                _ => (Happens::Freeze(driver, true), Some(Happens::Freeze(driver, false))),
            };
            self.after(at, first);
            if let Some(then) = then {
                self.after(at + long, then);
            }
        }
    }

    fn after(&mut self, nanos: u64, happens: Happens) {
        self.order += 1;
        self.queue.insert((self.now + nanos, self.order), happens);
    }

    fn is_calm(&self) -> bool {
        self.now > TROUBLE
    }

    fn run(&mut self) {
        while let Some(((at, _), happens)) = self.queue.pop_first() {
            self.now = at;
            if self.watch.violation.is_some() {
                return;
            }
            if self.now > END {
                self.watch.never(format!("no end was reached: {:?}", self.journal().last()));
                return;
            }
            if self.is_over() && self.now > self.watch.ended() + 120 * SEC {
                self.watch.at_end(&self.vms);
                return;
            }
            if self.is_left_alone && self.stands() {
                return;
            }
            let is_routine = matches!(
                happens,
                Happens::Tick(_)
                    | Happens::Renew(_)
                    | Happens::Report(_)
                    | Happens::ToDrivers(_, _, _, Said::Report(_))
            );
            if !is_routine {
                self.note(|| format!("{happens:?}"));
            }
            self.happen(happens);
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.as_mut() {
            trace.push(format!("{:6}.{:03} {}", self.now / SEC, self.now / MS % 1000, what()));
        }
    }

    fn is_over(&self) -> bool {
        self.plans.last().is_some_and(Ordered::is_over)
    }

    /// Of the newest plan.
    fn journal(&self) -> &[Event] {
        self.plans.last().map_or(&[], |ordered| &ordered.journal)
    }

    fn happen(&mut self, happens: Happens) {
        if let Happens::Tick(_) | Happens::Renew(_) = happens {
            let period = if matches!(happens, Happens::Tick(_)) { SEC } else { 5 * SEC };
            self.after(period, happens.clone());
        }
        match happens {
            Happens::Tick(at) => self.reach_driver(at, Happens::Tick(at)),
            Happens::Renew(at) => self.reach_driver(at, Happens::Renew(at)),
            Happens::Freeze(at, is_frozen) => {
                self.drivers[at].is_frozen = is_frozen;
                while let Some(late) =
                    (!self.drivers[at].is_frozen).then(|| self.drivers[at].backlog.pop_front()).flatten()
                {
                    self.reach_driver(at, late);
                }
            }
            Happens::ToDrivers(..) => (0..self.drivers.len()).for_each(|at| self.reach_driver(at, happens.clone())),
            Happens::Report(node) => {
                self.after(REPORT, Happens::Report(node.clone()));
                self.report(&node);
            }
            Happens::ToNode(node, sent, input) => self.reach_node(&node, sent, input),
            Happens::Saved(node, life, row) => {
                let vm = self.vms.get_mut(&node).unwrap();
                if vm.is_up && vm.life == life {
                    vm.disk.push(row.clone());
                    self.input(&node, TargetInput::Saved(row));
                }
            }
            Happens::Acted(node, life, step, outcome) => {
                let vm = &self.vms[&node];
                if vm.is_up && vm.life == life {
                    self.input(&node, TargetInput::Acted { step, outcome });
                    self.report(&node);
                }
            }
            Happens::Well(instance, run) => {
                let vm = self.vms.get_mut(&instance.node).unwrap();
                if vm.is_up && vm.becomes_well(&instance, run) {
                    self.watch.well(&instance);
                    self.report(&instance.node);
                }
            }
            Happens::Die(node) => {
                self.vms.get_mut(&node).unwrap().die();
                self.watch.died(self.now, &node);
            }
            Happens::Back(node) => self.back(&node),
            Happens::Crash(instance) => {
                self.watch.fell(self.now, &instance);
                let is_long = self.rng.below(2) == 0;
                self.begin(&instance, is_long);
            }
            Happens::Redis(is_up) => self.bus.is_up = is_up,
            Happens::Failover => self.lock.forget(),
            Happens::Cut(node, hears, is_heard) => self.bus.cut(node, hears, is_heard),
            Happens::LbReload(node) => self.vms.get_mut(&node).unwrap().forget_drains(),
            Happens::Operator => self.operate(),
        }
    }

    // -- drivers

    fn reach_driver(&mut self, at: usize, happens: Happens) {
        if self.drivers[at].is_frozen {
            // Ticks do not pile up in a process that stands still.
            if !matches!(happens, Happens::Tick(_) | Happens::Renew(_)) || self.drivers[at].backlog.is_empty() {
                self.drivers[at].backlog.push_back(happens);
            }
            return;
        }
        if matches!(happens, Happens::Renew(_)) {
            return self.renew(at);
        }
        let input = if let Happens::ToDrivers(node, sent, seq, said) = happens {
            let age = TimeSpan::from_micros((self.now - sent) / 1000);
            match said {
                Said::Report(report) => RolloutInput::Report { node, seq, age, report },
                Said::Answer(answer) => RolloutInput::Answer { node, seq, age, answer },
            }
        } else {
            RolloutInput::Tick
        };
        self.drive(at, input);
    }

    fn drive(&mut self, at: usize, input: RolloutInput) {
        let now = Mono(self.now);
        let nth = self.drivers[at].nth;
        let Some(rollout) = self.drivers[at].rollout.as_mut() else { return };
        rollout.handle(now, input);
        let mut effects = Vec::new();
        while let Some(effect) = rollout.poll_effect() {
            effects.push(effect);
        }
        if rollout.superseded().is_some() {
            self.drivers[at].rollout = None;
        }
        for effect in effects {
            match effect {
                RolloutEffect::Record(event) => {
                    self.note(|| format!("driver {at}: {event:?}"));
                    if let Event::Ended(end) = event {
                        let report = self.drivers[at].rollout.as_ref().map(Rollout::report).unwrap_or_default();
                        self.watch.has_ended(self.now, nth, end, report);
                    }
                    self.plans[nth].journal.push(event);
                }
                RolloutEffect::Prepare(node, token, plan) => self.carry(node, TargetInput::Prepare(token, plan)),
                RolloutEffect::Order(node, token, order) => {
                    // Between the decision and the sending a process may stand still.
                    let age = TimeSpan::ZERO;
                    self.carry(node, TargetInput::Order { token, order, age });
                }
            }
        }
        self.go_on(at);
    }

    /// What supersedes a plan that has come to its end begins, by whoever had the lock for that.
    fn go_on(&mut self, at: usize) {
        let Driver { rollout, nth, owner, .. } = &self.drivers[at];
        let is_over = rollout.as_ref().is_some_and(|rollout| matches!(rollout.control(), Control::Ended(_)));
        if is_over && nth + 1 < self.plans.len() {
            if self.bus.is_up && self.lock.holder(self.now) == Some(*owner) {
                self.begin_to_drive(at);
            } else {
                self.drivers[at].rollout = None;
            }
        }
    }

    fn renew(&mut self, at: usize) {
        if !self.bus.is_up || self.is_over() {
            return;
        }
        let owner = self.drivers[at].owner;
        // Whoever was told that another one drives has to surpass it by a new number.
        if self.drivers[at].rollout.is_some() && self.lock.renew(self.now, owner) {
            return self.drive(at, RolloutInput::Lease(Mono(self.now + LEASE - 3 * SEC)));
        }
        // Who has lost the lock finds it out by the nodes' word alone: that must be enough.
        if self.lock.is_free(self.now) {
            self.begin_to_drive(at);
        }
    }

    /// It gets the lock, and what there is to be driven.
    fn begin_to_drive(&mut self, at: usize) {
        self.owners += 1;
        let owner = self.owners;
        let floor = self.vms.values().filter_map(|vm| vm.target.promised()).map(|token| token.epoch).max();
        // What it has seen itself of greater numbers may be nothing.
        let floor = floor.filter(|_| self.rng.below(2) == 0).unwrap_or(0);
        let token = self.lock.take(self.now, owner, floor);
        // The last words of whoever drove before may not have come here.
        let lost = usize::try_from(self.rng.below(3)).unwrap();
        // One of which something was said has begun, and what it supersedes is over.
        let mut nth = self.plans.len() - 1;
        while nth > 0 && self.plans[nth].journal.is_empty() && !self.plans[nth - 1].is_over() {
            nth -= 1;
        }
        let Ordered { plan, journal } = &self.plans[nth];
        let journal = &journal[..journal.len().saturating_sub(lost)];
        let (topology, id) = (self.topology.clone(), PlanId(1 + nth as u128));
        let rollout = Rollout::new(Mono(self.now), topology, id, plan.clone(), token, journal).under(self.rules);
        self.drivers[at] = Driver { rollout: Some(rollout), nth, owner, ..Driver::default() };
        self.drive(at, RolloutInput::Lease(Mono(self.now + LEASE - 3 * SEC)));
        self.give_up_what_is_superseded(at);
    }

    // -- nodes

    fn carry(&mut self, node: NodeName, input: TargetInput) {
        let is_calm = self.is_calm();
        for delay in self.bus.copies_to(&mut self.rng, is_calm, &node) {
            let (node, input) = (node.clone(), input.clone());
            self.after(delay, Happens::ToNode(node, self.now, input));
        }
    }

    fn reach_node(&mut self, node: &NodeName, sent: u64, input: TargetInput) {
        if !self.vms[node].is_up {
            // A stream keeps what its reader has not taken.
            if self.rng.below(20) != 0 {
                self.after(SEC, Happens::ToNode(node.clone(), sent, input));
            }
            return;
        }
        let aged = TimeSpan::from_micros((self.now - sent) / 1000);
        let input = if let TargetInput::Order { token, order, .. } = input {
            TargetInput::Order { token, order, age: aged }
        } else {
            input
        };
        self.input(node, input);
    }

    fn input(&mut self, node: &NodeName, input: TargetInput) {
        let vm = self.vms.get_mut(node).unwrap();
        vm.target.handle(input);
        let mut effects = Vec::new();
        while let Some(effect) = vm.target.poll_effect() {
            effects.push(effect);
        }
        self.watch.promised(node, vm.target.promised());
        let life = vm.life;
        for effect in effects {
            match effect {
                TargetEffect::Save(row) => {
                    let slow = if self.rng.below(50) == 0 && !self.is_calm() { 3 * SEC } else { 10 * MS };
                    let wait = vm_disk(&mut self.vms, node, self.now, self.rng.below(slow));
                    self.after(wait, Happens::Saved(node.clone(), life, row));
                }
                TargetEffect::Act(order) => self.act(node, &order),
                TargetEffect::Tell(answer) => self.tell(node, Said::Answer(answer)),
            }
        }
    }

    fn tell(&mut self, node: &NodeName, said: Said) {
        let seq = self.vms.get_mut(node).unwrap().next_seq();
        let is_calm = self.is_calm();
        for delay in self.bus.copies_from(&mut self.rng, is_calm, node) {
            self.after(delay, Happens::ToDrivers(node.clone(), self.now, seq, said.clone()));
        }
    }

    fn report(&mut self, node: &NodeName) {
        let vm = self.vms.get_mut(node).unwrap();
        if vm.is_up {
            vm.drain_again();
            let report = vm.report();
            self.tell(node, Said::Report(report));
        }
    }

    fn act(&mut self, node: &NodeName, order: &StepOrder) {
        self.note(|| format!("ACT at {node}: {} {:?}", order.instance, order.deed));
        let promised = self.vms[node].target.promised();
        self.watch.acts_on(self.now, node, order, promised, &self.vms);
        let is_unlucky = |rng: &mut Rng, of: u64| rng.below(of) == 0;
        let failed = |kind, reason: &str| StepOutcome::Failed { kind, reason: reason.to_owned() };
        let done = StepOutcome::Done { before: None, after: None };
        let vm = self.vms.get_mut(node).unwrap();
        let (wait, outcome) = match &order.deed {
            Deed::Validate | Deed::Notify => (10 * MS, done),
            Deed::Drain { pool, server } => {
                if vm.drain(pool, server, 1) {
                    // Some connections last.
                    let longest = if self.rng.below(8) == 0 { 110 * SEC } else { 10 * SEC };
                    (self.rng.below(longest), done)
                } else {
                    (MS, failed(FailureKind::TooFew, "too few servers"))
                }
            }
            Deed::Undrain { pool, server } => {
                vm.undrain(pool, server);
                (10 * MS, done)
            }
            Deed::Reload if is_unlucky(&mut self.rng, 15) => (100 * MS, failed(FailureKind::Exit, "exit code 1")),
            Deed::Reload if is_unlucky(&mut self.rng, 30) => (100 * MS, failed(FailureKind::Invalid, "line 3")),
            Deed::Reload => (100 * MS, done),
            Deed::Restart => {
                let before = vm.instances[&order.instance].run;
                if order.expects.is_some_and(|expects| expects != invocation(before)) {
                    (MS, failed(FailureKind::OtherRun, "someone else was here"))
                } else {
                    let is_long = self.rng.below(60) == 0 && !self.is_calm();
                    self.begin(&order.instance, is_long);
                    let after = self.vms[node].instances[&order.instance].run;
                    let outcome =
                        StepOutcome::Done { before: Some(invocation(before)), after: Some(invocation(after)) };
                    (self.rng.below(3 * SEC), outcome)
                }
            }
        };
        let life = self.vms[node].life;
        self.after(wait, Happens::Acted(node.clone(), life, order.id, outcome));
        self.watch.after_act(&self.vms);
    }

    /// A new run of a service begins, which becomes well, or hardly ever does not.
    fn begin(&mut self, instance: &Instance, is_long: bool) {
        let vm = self.vms.get_mut(&instance.node).unwrap();
        if !vm.is_up {
            return;
        }
        let run = vm.begin(instance);
        // If it does not become well by itself, somebody mends it by hand.
        let wait = if is_long { 100 * SEC + self.rng.below(600 * SEC) } else { SEC / 2 + self.rng.below(10 * SEC) };
        self.after(wait, Happens::Well(instance.clone(), run));
    }

    fn back(&mut self, node: &NodeName) {
        let rules = self.rules;
        let vm = self.vms.get_mut(node).unwrap();
        if vm.is_up {
            return;
        }
        vm.back(rules);
        for instance in vm.instances.keys().cloned().collect::<Vec<_>>() {
            self.begin(&instance, false);
        }
    }
}

/// Rows of a disk are there in the order in which they were written.
fn vm_disk(vms: &mut BTreeMap<NodeName, Vm>, node: &NodeName, now: u64, wait: u64) -> u64 {
    let vm = vms.get_mut(node).unwrap();
    vm.disk_free = vm.disk_free.max(now + wait);
    vm.disk_free - now
}

fn invocation(run: u128) -> crate::base::InvocationId {
    crate::base::InvocationId(run.to_be_bytes())
}

/// A database, servers that depend on it behind a load balancer, and others that only reload.
fn fleet(rng: &mut Rng) -> Topology {
    let budget = |rng: &mut Rng| Policy {
        max_unavailable: Share::Count(1 + u32::from(rng.below(3) == 0)),
        soak: TimeSpan::from_secs(rng.below(2) * 10),
        canary: (rng.below(3) == 0).then_some(Canary { count: Share::Count(1), soak: TimeSpan::from_secs(20) }),
        on_failure: if rng.below(4) == 0 { OnFailure::Abort } else { OnFailure::Pause },
        max_failures: u32::from(rng.below(5) == 0),
        ..Policy::default()
    };
    let action = |rng: &mut Rng| match rng.below(3) {
        0 => Action::Restart,
        1 => Action::ReloadOrRestart,
        _ => Action::Reload,
    };
    let (db, app, xmpp) = (budget(rng), budget(rng), budget(rng));
    Draft::new()
        .nodes(&["vm1", "vm2", "vm3", "lb1"], None)
        .service("db", &["vm1", "vm2"])
        .service("app", &["vm1", "vm2", "vm3"])
        .service("xmpp", &["vm2", "vm3"])
        .depends("app", "db", Some(Action::Restart))
        .depends("xmpp", "db", Some(action(rng)))
        .policy("db", db)
        .policy("app", app)
        .policy("xmpp", xmpp)
        .pool("apps", &["lb1"], "app")
        .checked()
}
