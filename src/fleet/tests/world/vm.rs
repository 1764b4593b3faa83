use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A service's process.
#[derive(Debug, Clone)]
pub(super) struct Proc {
    pub(super) run: u128,
    pub(super) is_well: bool,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Vm {
    name: NodeName,
    pub(super) is_up: bool,
    pub(super) life: u64,
    said: u64,
    pub(super) target: Target,
    pub(super) disk: Vec<Row>,
    pub(super) disk_free: u64,
    pub(super) instances: BTreeMap<Instance, Proc>,
    /// What its load balancer does.
    pub(super) pools: BTreeMap<PoolName, BTreeMap<Box<str>, bool>>,
    /// What its load balancer has to do.
    drained: BTreeSet<(PoolName, Box<str>)>,
}

impl Vm {
    pub(super) fn new(name: &NodeName, topology: &Topology, rules: Rules) -> Self {
        let own = topology.services.iter().flat_map(|(service, it)| it.instances(service));
        let own = own.filter(|instance| instance.node == *name);
        let pools = all_well(topology, "vm1").pools.into_iter().filter_map(|(pool, hosts)| match hosts.get(name) {
            Some(PoolFact::Servers(servers)) => Some((pool, servers.clone())),
            Some(PoolFact::No(_)) | None => None,
        });
        Self {
            name: name.clone(),
            is_up: true,
            life: 1,
            said: 0,
            target: Target::new().under(rules),
            disk: Vec::new(),
            disk_free: 0,
            instances: own.map(|instance| (instance, Proc { run: 1, is_well: true })).collect(),
            pools: pools.collect(),
            drained: BTreeSet::new(),
        }
    }

    pub(super) fn next_seq(&mut self) -> Seq {
        self.said += 1;
        Seq { life: self.life, nth: self.said }
    }

    pub(super) fn report(&self) -> Report {
        let seen = |(instance, it): (&Instance, &Proc)| {
            let condition = if it.is_well { Condition::Healthy } else { Condition::Bad };
            (instance.clone(), Observed { condition, run: Some(invocation(it.run)) })
        };
        let instances = self.instances.iter().map(seen).collect();
        Report { promised: self.target.promised(), instances, pools: self.pools.clone() }
    }

    pub(super) fn die(&mut self) {
        self.is_up = false;
        for it in self.instances.values_mut() {
            it.is_well = false;
        }
    }

    pub(super) fn back(&mut self, rules: Rules) {
        self.is_up = true;
        self.life += 1;
        self.said = 0;
        self.disk_free = 0;
        self.target = Target::restore(self.disk.clone()).under(rules);
        self.forget_drains();
    }

    pub(super) fn begin(&mut self, instance: &Instance) -> u128 {
        let it = self.instances.get_mut(instance).unwrap();
        it.run += 1;
        it.is_well = false;
        it.run
    }

    /// Whether that is news.
    pub(super) fn becomes_well(&mut self, instance: &Instance, run: u128) -> bool {
        let it = self.instances.get_mut(instance).unwrap();
        let is_news = it.run == run && !it.is_well;
        it.is_well |= is_news;
        is_news
    }

    /// Whether the load balancer kept enough servers.
    pub(super) fn drain(&mut self, pool: &PoolName, server: &str, min: usize) -> bool {
        let servers = self.pools.get_mut(pool).unwrap();
        let others = servers.iter().filter(|(other, takes)| **takes && other.as_ref() != server).count();
        if others < min {
            return false;
        }
        servers.insert(server.into(), false);
        self.drained.insert((pool.clone(), server.into()));
        true
    }

    pub(super) fn undrain(&mut self, pool: &PoolName, server: &str) {
        self.pools.get_mut(pool).unwrap().insert(server.into(), true);
        self.drained.remove(&(pool.clone(), server.into()));
    }

    /// The load balancer was reloaded: it sends requests to all.
    pub(super) fn forget_drains(&mut self) {
        self.pools.values_mut().flat_map(BTreeMap::values_mut).for_each(|takes| *takes = true);
    }

    /// Whoever looks after the load balancer sees that it forgot.
    pub(super) fn drain_again(&mut self) {
        for (pool, server) in &self.drained {
            self.pools.get_mut(pool).unwrap().insert(server.clone(), false);
        }
    }

    pub(super) const fn name(&self) -> &NodeName {
        &self.name
    }
}
