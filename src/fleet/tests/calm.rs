//! A fleet in which nothing happens but what a test wants: real nodes, load balancers that do all they are told, a driver, and
//! a clock that goes second by second.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::base::{InvocationId, Mono, TimeSpan};

/// How a step goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    /// How many seconds it takes; at least one.
    pub(super) takes: u64,
    /// So long after a restart is over it is well; none is never.
    pub(super) well_after: Option<u64>,
    pub(super) fails: Option<FailureKind>,
}

impl Course {
    pub(super) fn quick() -> Self {
        Self { takes: 1, well_after: Some(1), fails: None }
    }
}

/// What comes at its second.
#[derive(Debug)]
enum Due {
    Acted(StepId, StepOutcome),
    Well(Instance, u128),
}

struct Machine {
    target: Target,
    said: u64,
    /// The run of each instance, and whether it is well.
    runs: BTreeMap<Instance, (u128, bool)>,
    pools: BTreeMap<PoolName, BTreeMap<Box<str>, bool>>,
}

impl Machine {
    fn report(&mut self, name: &NodeName) -> RolloutInput {
        let seen = |(instance, (run, is_well)): (&Instance, &(u128, bool))| {
            let condition = if *is_well { Condition::Healthy } else { Condition::Bad };
            (instance.clone(), Observed { condition, run: Some(InvocationId(run.to_be_bytes())) })
        };
        let report = Report {
            promised: self.target.promised(),
            instances: self.runs.iter().map(seen).collect(),
            pools: self.pools.clone(),
        };
        RolloutInput::Report { node: name.clone(), seq: self.seq(), age: TimeSpan::ZERO, report }
    }

    fn seq(&mut self) -> Seq {
        self.said += 1;
        Seq { life: 1, nth: self.said }
    }
}

pub(super) struct Calm {
    pub(super) topology: Topology,
    pub(super) plan: Plan,
    pub(super) rollout: Rollout,
    pub(super) journal: Vec<Event>,
    /// What was begun at nodes, and in which second.
    pub(super) acts: Vec<(u64, StepOrder)>,
    pub(super) second: u64,
    /// A load balancer was told to send requests to fewer than it has to.
    pub(super) too_few: Option<String>,
    machines: BTreeMap<NodeName, Machine>,
    due: BTreeMap<(u64, usize), (NodeName, Due)>,
    course: Box<dyn FnMut(&StepOrder) -> Course>,
    epoch: u64,
    /// Which plan it is, by its number.
    nth: u128,
}

impl Calm {
    pub(super) fn new(topology: &Topology, plan: &Plan, course: impl FnMut(&StepOrder) -> Course + 'static) -> Self {
        let facts = all_well(topology, "elsewhere");
        let machine = |name: &NodeName| {
            let own = facts.instances.keys().filter(|instance| instance.node == *name);
            let pools = facts.pools.iter().filter_map(|(pool, hosts)| match hosts.get(name) {
                Some(PoolFact::Servers(servers)) => Some((pool.clone(), servers.clone())),
                Some(PoolFact::No(_)) | None => None,
            });
            let runs = own.map(|instance| (instance.clone(), (1, true))).collect();
            (name.clone(), Machine { target: Target::new(), said: 0, runs, pools: pools.collect() })
        };
        let machines = topology.nodes.keys().map(machine).collect();
        let mut calm = Self {
            rollout: Self::driver(0, topology, plan, 1, &[]),
            topology: topology.clone(),
            plan: plan.clone(),
            journal: Vec::new(),
            acts: Vec::new(),
            second: 0,
            too_few: None,
            machines,
            due: BTreeMap::new(),
            course: Box::new(course),
            epoch: 1,
            nth: 1,
        };
        calm.lease(u64::MAX);
        calm
    }

    pub(super) fn driver(second: u64, topology: &Topology, plan: &Plan, epoch: u64, journal: &[Event]) -> Rollout {
        let token = Token { epoch, owner: u128::from(epoch) };
        Rollout::new(moment(second), topology.clone(), PlanId(1), plan.clone(), token, journal)
    }

    /// Another plan, once the one before is over.
    pub(super) fn order(&mut self, plan: &Plan) {
        (self.plan, self.journal) = (plan.clone(), Vec::new());
        self.nth += 1;
        self.take_over(0);
    }

    /// How steps go from now on.
    pub(super) fn take_course(&mut self, course: impl FnMut(&StepOrder) -> Course + 'static) {
        self.course = Box::new(course);
    }

    /// Another one drives from now on, who knows so much of the journal.
    pub(super) fn take_over(&mut self, known: usize) {
        self.take_over_at(known, None);
    }

    /// Another one, which may have another inventory.
    pub(super) fn take_over_at(&mut self, known: usize, outdated: Option<Outdated>) {
        self.epoch += 1;
        let token = Token { epoch: self.epoch, owner: u128::from(self.epoch) };
        let (topology, plan) = (self.topology.clone(), self.plan.clone());
        let journal = &self.journal[..known];
        self.rollout = Rollout::new(moment(self.second), topology, PlanId(self.nth), plan, token, journal);
        self.outdate(outdated);
        self.lease(u64::MAX);
    }

    pub(super) fn outdate(&mut self, outdated: Option<Outdated>) {
        self.hear(vec![RolloutInput::Outdated(outdated)]);
    }

    /// Servers that get no requests.
    pub(super) fn drained(&self) -> usize {
        let servers = self.machines.values().flat_map(|machine| machine.pools.values()).flat_map(BTreeMap::values);
        servers.filter(|takes| !**takes).count()
    }

    pub(super) fn lease(&mut self, until: u64) {
        self.hear(vec![RolloutInput::Lease(moment(until))]);
    }

    pub(super) fn say(&mut self, say: Say) {
        self.hear(vec![RolloutInput::Say(say)]);
    }

    pub(super) fn end(&self) -> Option<End> {
        match self.rollout.control() {
            Control::Ended(end) => Some(*end),
            Control::Unapproved | Control::Running | Control::Paused { .. } | Control::Aborting { .. } => None,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self.rollout.control(), Control::Paused { .. })
    }

    /// Until that holds, or so many seconds have gone by; whether it does.
    pub(super) fn until(&mut self, seconds: u64, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.second + seconds;
        while !holds(self) && self.second < end {
            self.pass();
        }
        holds(self)
    }

    /// How often each was restarted.
    pub(super) fn restarts(&self) -> BTreeMap<Instance, usize> {
        let mut restarts = BTreeMap::new();
        for (_, order) in self.acts.iter().filter(|(_, order)| order.deed == Deed::Restart) {
            *restarts.entry(order.instance.clone()).or_default() += 1;
        }
        restarts
    }

    /// A second goes by.
    pub(super) fn pass(&mut self) {
        self.second += 1;
        let later = self.due.split_off(&(self.second + 1, 0));
        let due = std::mem::replace(&mut self.due, later);
        let mut inputs = vec![RolloutInput::Tick];
        let mut news: BTreeSet<NodeName> = BTreeSet::new();
        for (_, (name, due)) in due {
            match due {
                Due::Acted(step, outcome) => inputs.extend(self.at(&name, TargetInput::Acted { step, outcome })),
                Due::Well(instance, run) => {
                    let known = self.machines.get_mut(&name).unwrap().runs.get_mut(&instance).unwrap();
                    known.1 |= known.0 == run;
                }
            }
            news.insert(name);
        }
        for (name, machine) in &mut self.machines {
            if self.second.is_multiple_of(5) || news.contains(name) {
                inputs.push(machine.report(name));
            }
        }
        self.hear(inputs);
    }

    fn hear(&mut self, mut inputs: Vec<RolloutInput>) {
        while !inputs.is_empty() {
            self.rollout.handle_all(moment(self.second), std::mem::take(&mut inputs));
            while let Some(effect) = self.rollout.poll_effect() {
                match effect {
                    RolloutEffect::Record(event) => self.journal.push(event),
                    RolloutEffect::Prepare(node, token, plan) => {
                        inputs.extend(self.at(&node, TargetInput::Prepare(token, plan)));
                    }
                    RolloutEffect::Order(node, token, order) => {
                        inputs.extend(self.at(&node, TargetInput::Order { token, order, age: TimeSpan::ZERO }));
                    }
                }
            }
        }
    }

    /// What a node says to that. Its disk is as quick as can be.
    fn at(&mut self, name: &NodeName, input: TargetInput) -> Vec<RolloutInput> {
        let mut queue = VecDeque::from([input]);
        let mut said = Vec::new();
        while let Some(input) = queue.pop_front() {
            self.machines.get_mut(name).unwrap().target.handle(input);
            while let Some(effect) = self.machines.get_mut(name).unwrap().target.poll_effect() {
                match effect {
                    TargetEffect::Save(row) => queue.push_back(TargetInput::Saved(row)),
                    TargetEffect::Act(order) => self.begin(name, *order),
                    TargetEffect::Tell(answer) => {
                        let seq = self.machines.get_mut(name).unwrap().seq();
                        said.push(RolloutInput::Answer { node: name.clone(), seq, age: TimeSpan::ZERO, answer });
                    }
                }
            }
        }
        said.push(self.machines.get_mut(name).unwrap().report(name));
        said
    }

    fn begin(&mut self, name: &NodeName, order: StepOrder) {
        let course = (self.course)(&order);
        let over = self.second + course.takes.max(1);
        let machine = self.machines.get_mut(name).unwrap();
        let mut outcome = StepOutcome::Done { before: None, after: None };
        if let Some(kind) = course.fails {
            outcome = StepOutcome::Failed { kind, reason: "a test wants it so".to_owned() };
        } else {
            match &order.deed {
                Deed::Notify | Deed::Validate | Deed::Reload => {}
                Deed::Restart => {
                    let known = machine.runs.get_mut(&order.instance).unwrap();
                    *known = (known.0 + 1, false);
                    let well = Due::Well(order.instance.clone(), known.0);
                    if let Some(wait) = course.well_after {
                        self.due.insert((over + wait, self.acts.len() * 2), (name.clone(), well));
                    }
                }
                Deed::Drain { pool, server } => {
                    machine.pools.get_mut(pool).unwrap().insert(server.clone(), false);
                }
                Deed::Undrain { pool, server } => {
                    machine.pools.get_mut(pool).unwrap().insert(server.clone(), true);
                }
            }
        }
        self.due.insert((over, self.acts.len() * 2 + 1), (name.clone(), Due::Acted(order.id, outcome)));
        if let Deed::Drain { pool, .. } = &order.deed {
            let min = self.topology.pools[pool].min_active;
            let min = min.max(self.topology.services[&order.instance.service].policy.min_active);
            let active = self.machines[name].pools[pool].values().filter(|takes| **takes).count();
            if active < usize::try_from(min).unwrap() {
                self.too_few = Some(format!("{active} servers of {pool} are left, and {min} have to be"));
            }
        }
        self.acts.push((self.second, order));
    }
}

fn moment(second: u64) -> Mono {
    Mono(second.saturating_mul(1_000_000_000))
}

/// Seconds of a span.
pub(super) fn secs(span: TimeSpan) -> u64 {
    span.micros().unwrap() / 1_000_000
}

/// A small fleet: services on some of four nodes, each dependent on some before it, the first behind load balancers; and whether
/// the plan is driven from one of the nodes.
pub(super) fn fleets() -> impl Strategy<Value = (Topology, Plan)> {
    let spans = (2_u64..40, 2_u64..6, 2_u64..40, 2_u64..40, 5_u64..30);
    let service = (proptest::collection::btree_set(0_usize..4, 1..5), 1_u32..4, any::<bool>(), 0_u64..30, spans);
    let services = proptest::collection::vec(service, 1..5);
    let edges = proptest::collection::vec((0_usize..4, 0_usize..4, 0_usize..4, 0_usize..3), 0..5);
    (services, edges, 1_u32..4, 0_usize..6).prop_map(|(services, edges, min, driver)| {
        let mut draft = Draft::new().nodes(&["n0", "n1"], Some("a")).nodes(&["n2", "n3"], Some("b"));
        draft = draft.nodes(&["lb1", "lb2"], None);
        let first = u32::try_from(services[0].0.len()).unwrap();
        for (at, (nodes, max, has_canary, soak, spans)) in services.into_iter().enumerate() {
            let nodes: Vec<String> = nodes.iter().map(|n| format!("n{n}")).collect();
            let (drain, validate, act, healthy, longer) = spans;
            let policy = Policy {
                max_unavailable: Share::Count(max),
                canary: has_canary.then_some(Canary { count: Share::Count(1), soak: TimeSpan::from_secs(soak / 2) }),
                soak: TimeSpan::from_secs(soak),
                deadlines: Deadlines {
                    drain: TimeSpan::from_secs(drain),
                    validate: TimeSpan::from_secs(validate),
                    act: TimeSpan::from_secs(act),
                    healthy: TimeSpan::from_secs(healthy),
                    progress: TimeSpan::from_secs(drain.max(validate).max(act).max(healthy) + longer),
                },
                ..Policy::default()
            };
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            draft = draft.service(&format!("s{at}"), &nodes).policy(&format!("s{at}"), policy);
        }
        let mut seen = BTreeSet::new();
        for (from, to, action, require) in edges {
            let (from, to) = (from.max(to), from.min(to));
            if from != to && from < draft.0.services.len() && seen.insert((from, to)) {
                let (on_restart, require) = (Some(Action::ALL[action]), Require::ALL[require]);
                let edge = Edge { on: service_at(to), on_restart, require, scope: Scope::All };
                draft = draft.edge(&format!("s{from}"), edge);
            }
        }
        if first > 1 {
            draft = draft.pool("pool", &["lb1", "lb2"], "s0");
            draft.0.pools.get_mut(&pool("pool")).unwrap().min_active = min.min(first - 1);
        }
        let topology = draft.checked();
        let driver = ["n0", "n1", "n2", "n3", "elsewhere", "elsewhere"][driver];
        let plan = planned(&topology, &restart(&["s0"]), &all_well(&topology, driver));
        assert_eq!(plan.blockers, []);
        (topology, plan)
    })
}

fn service_at(nth: usize) -> ServiceName {
    service(&format!("s{nth}"))
}
