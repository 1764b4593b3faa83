//! From what is wanted to what is done: a pure function, so that what was shown is what runs.

mod preflight; // what is in the way

use std::collections::{BTreeMap, BTreeSet};

pub use preflight::{Condition, Facts, PoolFact, Reach};

use super::{
    Action, Edge, Instance, Intent, NodeName, Plan, Policy, Require, Scope, Service, ServiceName, Share, Task,
    Topology, Verb, Wave, Why, ZoneName,
};
use crate::unit::Digest;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A service that nobody knows.
    #[error("there is no service {name} in the fleet{help}")]
    UnknownService {
        /// Which.
        name: ServiceName,
        /// The likely one.
        help: String,
    },
    /// A node that nobody knows.
    #[error("there is no node {name} in the fleet{help}")]
    UnknownNode {
        /// Which.
        name: NodeName,
        /// The likely one.
        help: String,
    },
}

/// Who is acted on: by service and instance, what is done.
type Acts = BTreeMap<ServiceName, BTreeMap<Instance, Action>>;

/// What has to be done for `intent`, as far as is known. An empty plan says that there is nothing to do.
///
/// # Errors
/// Names that the topology does not have.
pub fn plan(topology: &Topology, digest: Digest, intent: &Intent, facts: &Facts) -> Result<Plan, PlanError> {
    knows(topology, intent)?;
    let acts = acts(topology, intent, facts);
    let conflicts = conflicts(topology);
    let waves = Waves { topology, facts, conflicts, waves: Vec::new(), of: BTreeMap::new() }.of_all(&acts, intent);
    let mut plan = Plan { intent: intent.clone(), topology: digest, waves, blockers: Vec::new() };
    plan.blockers = preflight::blockers(topology, &plan, facts);
    Ok(plan)
}

fn knows(topology: &Topology, intent: &Intent) -> Result<(), PlanError> {
    let similar = |wrong: &str, names: Vec<&str>| {
        let word = crate::unit::similar(wrong, names.iter().copied());
        word.map_or_else(String::new, |word| format!(" (did you mean {word}?)"))
    };
    if let Some(name) = intent.services.iter().find(|name| !topology.services.contains_key(*name)) {
        let help = similar(name.as_str(), topology.services.keys().map(ServiceName::as_str).collect());
        return Err(PlanError::UnknownService { name: name.clone(), help });
    }
    if let Some(name) = intent.nodes.iter().find(|name| !topology.nodes.contains_key(*name)) {
        let help = similar(name.as_str(), topology.nodes.keys().map(NodeName::as_str).collect());
        return Err(PlanError::UnknownNode { name: name.clone(), help });
    }
    Ok(())
}

/// What is done to whom. Dependents follow a restart; what only reloads is still the one that they know.
fn acts(topology: &Topology, intent: &Intent, facts: &Facts) -> Acts {
    let mut acts = Acts::new();
    for name in topology.order() {
        let Some(service) = topology.services.get(name) else { continue };
        let mut own: BTreeMap<Instance, Action> = BTreeMap::new();
        let meant = |instance: &Instance| intent.nodes.is_empty() || intent.nodes.contains(&instance.node);
        let action = match intent.verb {
            Verb::Restart => Some(Action::Restart),
            Verb::Reload => Some(Action::Reload),
            Verb::Follow => None,
        };
        if let Some(action) = action.filter(|_| intent.services.contains(name)) {
            own.extend(service.instances(name).filter(meant).map(|instance| (instance, action)));
        }
        for edge in service.depends_on.iter().filter(|_| intent.cascade) {
            let Some(action) = edge.on_restart else { continue };
            let mut zones = acts.get(&edge.on).map(|acts| zones_restarted(topology, acts)).unwrap_or_default();
            if intent.verb == Verb::Follow && intent.services.contains(&edge.on) {
                let restarted = topology.services.get(&edge.on).into_iter().flat_map(|it| it.instances(&edge.on));
                zones.extend(restarted.filter(meant).map(|instance| topology.zone(&instance.node)));
            }
            for instance in service.instances(name).filter(|dependent| concerns(topology, edge, dependent, &zones)) {
                let known = own.entry(instance).or_insert(action);
                *known = action.max(*known);
            }
        }
        own.retain(|instance, _| facts.condition(instance) != Condition::Quarantined);
        if !own.is_empty() {
            acts.insert(name.clone(), own);
        }
    }
    acts
}

/// Where instances are restarted.
fn zones_restarted<'t>(topology: &'t Topology, acts: &BTreeMap<Instance, Action>) -> BTreeSet<Option<&'t ZoneName>> {
    let restarted = acts.iter().filter(|(_, action)| **action == Action::Restart);
    restarted.map(|(instance, _)| topology.zone(&instance.node)).collect()
}

/// Whether a dependent has to do with any of those that are restarted in these zones.
fn concerns(topology: &Topology, edge: &Edge, dependent: &Instance, zones: &BTreeSet<Option<&ZoneName>>) -> bool {
    match edge.scope {
        Scope::All => !zones.is_empty(),
        Scope::SameZone => zones.contains(&topology.zone(&dependent.node)),
    }
}

/// By service, those that it is never acted on together with, and why.
fn conflicts(topology: &Topology) -> BTreeMap<&ServiceName, Vec<(&ServiceName, Why)>> {
    let mut conflicts: BTreeMap<&ServiceName, Vec<(&ServiceName, Why)>> = BTreeMap::new();
    for (name, service) in &topology.services {
        for edge in service.depends_on.iter().filter(|edge| edge.require == Require::Mutex) {
            conflicts.entry(name).or_default().push((&edge.on, Why::NotWith(edge.on.clone())));
            conflicts.entry(&edge.on).or_default().push((name, Why::NotWith(name.clone())));
        }
        let pools = service.behind.iter().filter_map(|(pool, _)| topology.pools.get(pool));
        // A reload of a load balancer would forget the drains of whoever is behind it.
        for balancer in pools.filter_map(|pool| pool.balancer.as_ref()) {
            conflicts.entry(name).or_default().push((balancer, Why::Balances(name.clone())));
            conflicts.entry(balancer).or_default().push((name, Why::Balances(name.clone())));
        }
    }
    conflicts
}

struct Waves<'t> {
    topology: &'t Topology,
    facts: &'t Facts,
    conflicts: BTreeMap<&'t ServiceName, Vec<(&'t ServiceName, Why)>>,
    waves: Vec<Wave>,
    /// By service, the first and the last of its waves.
    of: BTreeMap<ServiceName, (usize, usize)>,
}

impl Waves<'_> {
    fn of_all(mut self, acts: &Acts, intent: &Intent) -> Vec<Wave> {
        for name in self.topology.order() {
            let (Some(service), Some(own)) = (self.topology.services.get(name), acts.get(name)) else { continue };
            let (after, mut why) = self.before(name, service, intent);
            if intent.verb != Verb::Follow && intent.services.contains(name) {
                why.insert(0, Why::Wanted);
            }
            let first = self.waves.len();
            self.of_service(name, service, own);
            for wave in self.waves.iter_mut().skip(first) {
                wave.why.splice(0..0, why.drain(..));
            }
            if let Some(wave) = self.waves.get_mut(first) {
                wave.after.extend(after);
            }
            self.of.insert(name.clone(), (first, self.waves.len().saturating_sub(1)));
        }
        self.waves
    }

    /// What has to be over before the first wave of a service begins.
    fn before(&self, name: &ServiceName, service: &Service, intent: &Intent) -> (BTreeSet<usize>, Vec<Why>) {
        let (mut after, mut why) = (BTreeSet::new(), Vec::new());
        let mut add = |other: &ServiceName, reason: Why| {
            if let Some((_, last)) = self.of.get(other) {
                after.insert(*last);
                why.push(reason);
            }
        };
        for edge in service.depends_on.iter().filter(|edge| edge.require != Require::Mutex) {
            add(&edge.on, Why::DependsOn(edge.on.clone()));
        }
        self.conflicts.get(name).into_iter().flatten().for_each(|(other, reason)| add(other, reason.clone()));
        if intent.verb == Verb::Follow {
            let followed = service.depends_on.iter().filter(|edge| intent.services.contains(&edge.on));
            why.extend(followed.map(|edge| Why::DependsOn(edge.on.clone())));
        }
        (after, why)
    }

    fn of_service(&mut self, name: &ServiceName, service: &Service, acts: &BTreeMap<Instance, Action>) {
        let (last, usual): (Vec<&Instance>, Vec<&Instance>) =
            acts.keys().partition(|instance| self.comes_last(&instance.node));
        let all = u32::try_from(usual.len()).unwrap_or(u32::MAX);
        let zones = sizes_of_zones(self.topology, service);
        let mut rest = self.spread(usual);
        rest.reverse();
        let mut done = 0;
        for (count, is_canary) in sizes(&service.policy, all) {
            while done < count {
                let (taken, zone) = self.take(&zones, &mut rest, count - done);
                done += u32::try_from(taken.len()).unwrap_or(u32::MAX);
                let mut why = Vec::new();
                if is_canary {
                    why.push(Why::Canary);
                } else if done < all {
                    why.push(Why::Step { done, all });
                }
                why.extend(zone.map(Why::Zone));
                let soak = match service.policy.canary {
                    Some(canary) if is_canary => canary.soak,
                    Some(_) | None => service.policy.soak,
                };
                self.add(name, service, acts, taken, Wave { why, soak, ..self.empty(name, service) });
            }
        }
        for instance in last {
            let why = vec![Why::Last(instance.node.clone())];
            let wave = Wave { why, alone: true, ..self.empty(name, service) };
            self.add(name, service, acts, vec![instance], wave);
        }
    }

    fn empty(&self, name: &ServiceName, service: &Service) -> Wave {
        Wave {
            service: name.clone(),
            tasks: Vec::new(),
            after: BTreeSet::new(),
            max_unavailable: service.policy.max_unavailable.of(service.count()),
            soak: service.policy.soak,
            alone: false,
            approve: service.policy.approve == super::Approve::EachWave,
            why: Vec::new(),
        }
    }

    /// Adds a wave of these, after the one of the same service before it.
    fn add(
        &mut self,
        name: &ServiceName,
        service: &Service,
        acts: &BTreeMap<Instance, Action>,
        instances: Vec<&Instance>,
        wave: Wave,
    ) {
        let before = self.waves.last().filter(|wave| wave.service == *name).map(|_| self.waves.len() - 1);
        let task = |instance: &Instance| {
            let action = acts.get(instance).copied()?;
            let servers = service.behind.iter().filter(|_| action.is_disruptive());
            let drains = servers.map(|(pool, server)| (pool.clone(), server_of(server, &instance.node))).collect();
            Some(Task { instance: instance.clone(), unit: service.unit.clone(), action, drains })
        };
        let tasks = instances.into_iter().filter_map(task).collect();
        self.waves.push(Wave { tasks, after: before.into_iter().collect(), ..wave });
    }

    fn comes_last(&self, node: &NodeName) -> bool {
        self.facts.driver == *node || self.topology.nodes.get(node).is_some_and(|node| node.last)
    }

    /// One of each zone, then the next of each: whatever is taken from the front is spread over zones.
    fn spread<'i>(&self, instances: Vec<&'i Instance>) -> Vec<&'i Instance> {
        let mut turns: BTreeMap<Option<&ZoneName>, usize> = BTreeMap::new();
        let mut placed: Vec<(usize, &Instance)> = Vec::with_capacity(instances.len());
        for instance in instances {
            let turn = turns.entry(self.topology.zone(&instance.node)).or_default();
            placed.push((*turn, instance));
            *turn += 1;
        }
        placed.sort_by_key(|(turn, _)| *turn);
        placed.into_iter().map(|(_, instance)| instance).collect()
    }

    /// At most `count` from the end of `rest`, but never all of a zone that has several; the zone that ended it.
    fn take<'i>(
        &self,
        zones: &BTreeMap<&ZoneName, usize>,
        rest: &mut Vec<&'i Instance>,
        count: u32,
    ) -> (Vec<&'i Instance>, Option<ZoneName>) {
        let mut taken: Vec<&Instance> = Vec::new();
        let mut of_zone: BTreeMap<&ZoneName, usize> = BTreeMap::new();
        while u32::try_from(taken.len()).unwrap_or(u32::MAX) < count {
            let Some(next) = rest.last() else { break };
            if let Some(zone) = self.topology.zone(&next.node) {
                let size = zones.get(zone).copied().unwrap_or(0);
                let taken_there = of_zone.entry(zone).or_default();
                if size > 1 && *taken_there + 1 >= size {
                    return (taken, Some(zone.clone()));
                }
                *taken_there += 1;
            }
            taken.extend(rest.pop());
        }
        (taken, None)
    }
}

/// How many instances of a service are in each zone.
fn sizes_of_zones<'t>(topology: &'t Topology, service: &Service) -> BTreeMap<&'t ZoneName, usize> {
    let mut sizes = BTreeMap::new();
    for zone in service.nodes.iter().filter_map(|node| topology.zone(node)) {
        *sizes.entry(zone).or_default() += 1;
    }
    sizes
}

/// How many of `all` are done after each wave, and whether it is the canary.
fn sizes(policy: &Policy, all: u32) -> Vec<(u32, bool)> {
    let canary = policy.canary.filter(|_| all > 1).map(|canary| (canary.count.of(all), true));
    let steps = policy.waves.iter().map(|share| (share.of(all), false));
    let end = Some((Share::Percent(100).of(all), false));
    let mut done = 0;
    let mut sizes = Vec::new();
    for (count, is_canary) in canary.into_iter().chain(steps).chain(end) {
        if count > done {
            done = count;
            sizes.push((count, is_canary));
        }
    }
    sizes
}

/// What an instance is called in a pool.
pub(super) fn server_of(pattern: &str, node: &NodeName) -> Box<str> {
    pattern.replace("{node}", node.as_str()).into()
}
