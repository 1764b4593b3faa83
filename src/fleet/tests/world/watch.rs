//! P1 to P5, P9, P10 and the order of things, seen from where nothing is hidden.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// How long nobody needs to know that something is down: as long as a report counts, and an order may be under way.
const SEEN: u64 = 50 * SEC;

/// What was seen of a plan.
#[derive(Debug)]
struct OfPlan {
    ended: u64,
    report: BTreeMap<Instance, Class>,
    /// Of each service, those that have to be done before it.
    needs: BTreeMap<ServiceName, Vec<Instance>>,
    /// Who was acted on.
    acted: BTreeSet<Instance>,
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) violation: Option<String>,
    pub(super) acts: usize,
    /// In the order in which they were ordered.
    plans: Vec<OfPlan>,
    /// The newest plan that has taken something down, or done anything but give back.
    newest: usize,
    max: BTreeMap<ServiceName, usize>,
    may_fail: BTreeMap<ServiceName, usize>,
    /// Whom we took down, and who is not well since.
    disrupted: BTreeSet<Instance>,
    steps: BTreeSet<StepId>,
    all: Vec<Instance>,
    /// Who went down by themselves, and when.
    fallen: BTreeMap<Instance, u64>,
    promised: BTreeMap<NodeName, Token>,
    servers: BTreeMap<(PoolName, Box<str>), Instance>,
}

impl Watch {
    pub(super) fn new(topology: &Topology, plan: &Plan) -> Self {
        let servers = topology.services.iter().flat_map(|(name, service)| {
            let pools = service.behind.iter().map(|(pool, _)| pool);
            pools.flat_map(|pool| {
                let instances = service.instances(name).collect::<Vec<_>>();
                instances.into_iter().map(|it| ((pool.clone(), it.node.as_str().into()), it))
            })
        });
        let mut watch = Self {
            violation: None,
            acts: 0,
            plans: Vec::new(),
            newest: 0,
            servers: servers.collect(),
            max: BTreeMap::new(),
            disrupted: BTreeSet::new(),
            steps: BTreeSet::new(),
            may_fail: (topology.services.iter())
                .map(|(name, it)| (name.clone(), usize::try_from(it.policy.max_failures).unwrap()))
                .collect(),
            all: topology.services.iter().flat_map(|(name, it)| it.instances(name).collect::<Vec<_>>()).collect(),
            fallen: BTreeMap::new(),
            promised: BTreeMap::new(),
        };
        watch.ordered(topology, plan);
        watch
    }

    /// Another plan, in the place of the one before.
    pub(super) fn ordered(&mut self, topology: &Topology, plan: &Plan) {
        for wave in &plan.waves {
            self.max.insert(wave.service.clone(), usize::try_from(wave.max_unavailable).unwrap());
        }
        let needs = topology.services.iter().map(|(name, service)| {
            let on: BTreeSet<&ServiceName> = service.depends_on.iter().map(|edge| &edge.on).collect();
            let tasks = plan.tasks().map(|task| task.instance.clone());
            (name.clone(), tasks.filter(|instance| on.contains(&instance.service)).collect())
        });
        let needs = needs.collect();
        self.plans.push(OfPlan { ended: 0, report: BTreeMap::new(), needs, acted: BTreeSet::new() });
    }

    /// When the newest plan ended.
    pub(super) fn ended(&self) -> u64 {
        self.plans.last().map_or(0, |plan| plan.ended)
    }

    pub(super) fn never(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn well(&mut self, instance: &Instance) {
        self.disrupted.remove(instance);
        self.fallen.remove(instance);
    }

    /// It went down, and not by us.
    pub(super) fn fell(&mut self, now: u64, instance: &Instance) {
        self.fallen.entry(instance.clone()).or_insert(now);
    }

    /// What a node's death takes down is not ours.
    pub(super) fn died(&mut self, now: u64, node: &NodeName) {
        self.disrupted.retain(|instance| instance.node != *node);
        let theirs: Vec<Instance> = self.all.iter().filter(|instance| instance.node == *node).cloned().collect();
        theirs.iter().for_each(|instance| self.fell(now, instance));
    }

    pub(super) fn promised(&mut self, node: &NodeName, promised: Option<Token>) {
        let Some(promised) = promised else { return };
        let before = self.promised.insert(node.clone(), promised);
        if let Some(before) = before.filter(|before| *before != promised && before.epoch >= promised.epoch) {
            self.never(format!("P4: {node} was promised to {before:?} and is to {promised:?}"));
        }
    }

    /// A step begins at a node.
    pub(super) fn acts_on(
        &mut self,
        now: u64,
        node: &NodeName,
        order: &StepOrder,
        promised: Option<Token>,
        vms: &BTreeMap<NodeName, Vm>,
    ) {
        self.acts += 1;
        if promised.is_none() && !matches!(order.deed, Deed::Validate) {
            self.never(format!("P4: {node} acts on nobody's behalf"));
        }
        if !self.steps.insert(order.id) {
            self.never(format!("P3: {:?} of {} is done twice", order.deed, order.instance));
        }
        let is_return = matches!(order.deed, Deed::Undrain { .. });
        let nth = usize::try_from(order.plan.0).unwrap() - 1;
        let ended = self.plans[nth].ended;
        if ended != 0 && now > ended && !is_return {
            self.never(format!("P5: {:?} of {} after the end", order.deed, order.instance));
        }
        if nth < self.newest && !is_return {
            self.never(format!("P5: {:?} of {} for a plan that is superseded", order.deed, order.instance));
        }
        if self.plans[..nth].iter().any(|before| before.ended == 0) {
            self.never(format!("P5: {:?} of {} beside a plan that is not over", order.deed, order.instance));
        }
        self.newest = self.newest.max(nth);
        let takes_down = match order.deed {
            Deed::Restart | Deed::Drain { .. } => true,
            Deed::Notify | Deed::Validate | Deed::Reload | Deed::Undrain { .. } => false,
        };
        if takes_down {
            let mut others = self.disrupted.clone();
            others.extend(self.drained(vms));
            // What has been down for so long was to be seen, even by an order that was long under way.
            let long = self.fallen.iter().filter(|(_, since)| now - **since > SEEN);
            others.extend(long.map(|(instance, _)| instance.clone()));
            others.retain(|other| other.service == order.instance.service && *other != order.instance);
            let max = self.max[&order.instance.service];
            if others.len() >= max {
                self.never(format!("P1: {:?} of {} beside {others:?}, {max} may be", order.deed, order.instance));
            }
        }
        let is_act = matches!(order.deed, Deed::Restart | Deed::Reload | Deed::Notify);
        if is_act {
            let OfPlan { needs, acted, .. } = &self.plans[nth];
            let mut missing = needs.get(&order.instance.service).into_iter().flatten();
            let missing = missing.find(|on| !acted.contains(*on) || self.disrupted.contains(*on)).cloned();
            if let Some(missing) = missing {
                self.never(format!("P2: {} is acted on before {missing} is well", order.instance));
            }
            self.plans[nth].acted.insert(order.instance.clone());
        }
        match &order.deed {
            Deed::Restart => {
                self.disrupted.insert(order.instance.clone());
            }
            Deed::Undrain { .. } if self.disrupted.contains(&order.instance) => {
                self.never(format!("P10: {} gets requests and is not well", order.instance));
            }
            Deed::Undrain { .. } | Deed::Notify | Deed::Validate | Deed::Reload | Deed::Drain { .. } => {}
        }
    }

    fn drained<'a>(&'a self, vms: &'a BTreeMap<NodeName, Vm>) -> impl Iterator<Item = Instance> + 'a {
        let pools = vms.values().flat_map(|vm| &vm.pools);
        let servers = pools.flat_map(|(pool, servers)| servers.iter().map(move |(name, takes)| (pool, name, *takes)));
        servers
            .filter(|(_, _, takes)| !takes)
            .filter_map(|(pool, name, _)| self.servers.get(&(pool.clone(), name.clone())).cloned())
    }

    pub(super) fn after_act(&mut self, vms: &BTreeMap<NodeName, Vm>) {
        for vm in vms.values() {
            for (pool, servers) in &vm.pools {
                if !servers.values().any(|takes| *takes) {
                    self.never(format!("P10: pool {pool} at {} has no server left", vm.name()));
                }
            }
        }
    }

    pub(super) fn has_ended(&mut self, now: u64, nth: usize, end: End, report: BTreeMap<Instance, Class>) {
        if end == End::Succeeded {
            self.succeeded(&report);
        }
        let plan = &mut self.plans[nth];
        if plan.ended == 0 {
            (plan.ended, plan.report) = (now, report);
        }
    }

    /// All of it was done, but for as many of each service as may fail.
    fn succeeded(&mut self, report: &BTreeMap<Instance, Class>) {
        let undone = |name: &ServiceName| {
            let own = report.iter().filter(|(instance, _)| instance.service == *name);
            own.filter(|(_, class)| !matches!(class, Class::Done | Class::Quarantined)).count()
        };
        let bad = self.may_fail.iter().map(|(name, max)| (name, undone(name), *max));
        if let Some((name, undone, max)) = bad.clone().find(|(_, undone, max)| undone > max) {
            self.never(format!("P5: a plan succeeded without {undone} of {name}, and {max} may fail"));
        }
    }

    /// Once all is quiet: whoever is still drained was said to be.
    pub(super) fn at_end(&mut self, vms: &BTreeMap<NodeName, Vm>) {
        let drained: Vec<Instance> = self.drained(vms).collect();
        for instance in drained {
            let told: Vec<Class> = self.plans.iter().filter_map(|plan| plan.report.get(&instance)).copied().collect();
            if !told.iter().any(|class| matches!(class, Class::LeftDrained | Class::Unknown)) {
                self.never(format!("P5: {instance} is drained, and was reported as {told:?}"));
            }
        }
        let mut reports = self.plans.iter().flat_map(|plan| &plan.report);
        if let Some((instance, _)) = reports.find(|(_, class)| **class == Class::InFlight) {
            let instance = instance.clone();
            self.never(format!("P5: {instance} is in flight in the report of an end"));
        }
    }
}
