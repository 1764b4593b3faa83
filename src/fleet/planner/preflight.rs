//! What is in the way of a plan, as far as is known before it begins. All of it is looked at again before each act.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::{Blocker, Instance, NodeName, Plan, PoolName, ServiceName, Task, Topology};

/// What is known of the fleet when a plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The node that will drive it.
    pub driver: NodeName,
    /// Of each node, whether it can be told anything; one that is missing cannot.
    pub nodes: BTreeMap<NodeName, Reach>,
    /// Of each instance, how it is; one that is missing is unknown.
    pub instances: BTreeMap<Instance, Condition>,
    /// What the load balancers of each pool say, by host.
    pub pools: BTreeMap<PoolName, BTreeMap<NodeName, PoolFact>>,
}

/// Whether a node can be told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It was heard from just now.
    Fresh,
    /// It cannot, for this reason.
    No(String),
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Up, and well.
    Healthy,
    /// Down, or not well.
    Bad,
    /// Nobody knows.
    Unknown,
    /// Someone has said that it is not counted on: it is neither acted on nor waited for.
    Quarantined,
}

impl Condition {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What a load balancer says of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolFact {
    /// Its servers, and whether each takes traffic.
    Servers(BTreeMap<Box<str>, bool>),
    /// It says nothing, for this reason.
    No(String),
}

impl Facts {
    pub(super) fn condition(&self, instance: &Instance) -> Condition {
        self.instances.get(instance).copied().unwrap_or(Condition::Unknown)
    }
}

pub(super) fn blockers(topology: &Topology, plan: &Plan, facts: &Facts) -> Vec<Blocker> {
    let mut found: BTreeSet<Blocker> = BTreeSet::new();
    found.extend(unreachable(topology, plan, facts));
    let services: BTreeSet<&ServiceName> = plan.waves.iter().map(|wave| &wave.service).collect();
    found.extend(services.into_iter().filter_map(|service| no_budget(topology, plan, facts, service)));
    let mut drained: BTreeMap<&PoolName, Vec<(&NodeName, &str)>> = BTreeMap::new();
    for task in plan.tasks() {
        for (pool, server) in &task.drains {
            drained.entry(pool).or_default().push((&task.instance.node, server));
        }
    }
    for (pool, servers) in drained {
        found.extend(of_pool(topology, facts, pool, &servers));
    }
    found.into_iter().collect()
}

/// Nodes on which something is done, be it to an instance or at a load balancer.
fn unreachable(topology: &Topology, plan: &Plan, facts: &Facts) -> Vec<Blocker> {
    let hosts = |task: &Task| {
        let pools = task.drains.iter().filter_map(|(pool, _)| topology.pools.get(pool));
        pools.flat_map(|pool| pool.hosts_for(&task.instance.node)).cloned().collect::<Vec<_>>()
    };
    let nodes: BTreeSet<NodeName> =
        plan.tasks().flat_map(|task| hosts(task).into_iter().chain([task.instance.node.clone()])).collect();
    let why = |node: NodeName| match facts.nodes.get(&node) {
        Some(Reach::Fresh) => None,
        Some(Reach::No(reason)) => Some(Blocker::Unreachable { node, reason: reason.clone() }),
        None => Some(Blocker::Unreachable { node, reason: "nothing was heard from it".to_owned() }),
    };
    nodes.into_iter().filter_map(why).collect()
}

/// Whether those that the plan does not act on use the budget up. One that is acted on may be broken: that is how it is mended.
fn no_budget(topology: &Topology, plan: &Plan, facts: &Facts, service: &ServiceName) -> Option<Blocker> {
    let max = plan.waves.iter().find(|wave| wave.service == *service)?.max_unavailable;
    let own: Vec<&Task> = plan.tasks().filter(|task| task.instance.service == *service).collect();
    let acted: BTreeSet<&Instance> = own.iter().map(|task| &task.instance).collect();
    if !own.iter().any(|task| task.action.is_disruptive()) {
        return None;
    }
    let others = topology.services.get(service)?.instances(service).filter(|instance| !acted.contains(instance));
    let is_missing = |instance: &Instance| match facts.condition(instance) {
        Condition::Healthy | Condition::Quarantined => false,
        Condition::Bad | Condition::Unknown => true,
    };
    let unavailable: Vec<Instance> = others.filter(is_missing).collect();
    let is_used_up = u32::try_from(unavailable.len()).unwrap_or(u32::MAX) >= max;
    is_used_up.then(|| Blocker::NoBudget { service: service.clone(), unavailable, max })
}

/// What of a pool keeps these servers from being drained.
fn of_pool(topology: &Topology, facts: &Facts, name: &PoolName, all: &[(&NodeName, &str)]) -> Vec<Blocker> {
    let Some(pool) = topology.pools.get(name) else { return Vec::new() };
    let mut found = Vec::new();
    let mut first: Option<(&NodeName, &BTreeMap<Box<str>, bool>)> = None;
    let mut by_host: BTreeMap<&NodeName, Vec<&str>> = BTreeMap::new();
    for (node, server) in all {
        pool.hosts_for(node).for_each(|host| by_host.entry(host).or_default().push(server));
    }
    for (host, servers) in by_host {
        let known = match facts.pools.get(name).and_then(|hosts| hosts.get(host)) {
            Some(PoolFact::Servers(known)) => known,
            Some(PoolFact::No(reason)) => {
                let reason = format!("its load balancer does not answer: {reason}");
                found.push(Blocker::Unreachable { node: host.clone(), reason });
                continue;
            }
            None => continue,
        };
        for server in servers.iter().filter(|server| !known.contains_key(**server)) {
            let (pool, host, server) = (name.clone(), host.clone(), (*server).to_owned());
            found.push(Blocker::UnknownServer { pool, host, server });
        }
        let active = u32::try_from(known.values().filter(|takes| **takes).count()).unwrap_or(u32::MAX);
        let drains_active = servers.iter().any(|server| known.get(*server) == Some(&true));
        if drains_active && active <= pool.min_active {
            found.push(Blocker::TooFewActive { pool: name.clone(), active, min: pool.min_active });
        }
        match first {
            None => first = Some((host, known)),
            Some((other, theirs)) if !pool.is_per_node() && !theirs.keys().eq(known.keys()) => {
                let differing = known.keys().find(|key| !theirs.contains_key(*key));
                let (has, lacks, server) = match differing {
                    Some(server) => (host, other, server.as_ref()),
                    None => {
                        (other, host, theirs.keys().find(|key| !known.contains_key(*key)).map_or("", AsRef::as_ref))
                    }
                };
                let reason = format!("{has} has the server {server}, {lacks} does not");
                found.push(Blocker::Unequal { pool: name.clone(), reason });
            }
            Some(_) => {}
        }
    }
    found
}
