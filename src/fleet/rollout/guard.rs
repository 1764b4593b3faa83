//! Whether something may be done to an instance at this moment, and if not, why.

use std::{collections::BTreeSet, fmt};

use super::{
    super::{Condition, Deed, Instance, Intent, NodeName, Pool, PoolName, Require, Scope, ServiceName, Verb},
    Control, Rollout, Run, Stage,
    turn::Turn,
};
use crate::base::Mono;

/// So many that are unavailable are named.
const NAMED_MAX: usize = 8;

/// Why something is not done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The plan does not go on.
    Control(Control),
    /// Nobody has agreed to its wave.
    Approval(usize),
    /// The lease of this driver is over.
    Lease,
    /// It is not the time for it: the reason.
    Window(String),
    /// A wave before it is not done.
    Wave(usize),
    /// Something is done that is done alone.
    Alone(Instance),
    /// The node has not promised to obey this driver.
    Promise(NodeName),
    /// Nothing was heard from the node of late.
    Silence(NodeName),
    /// As many are unavailable as may be.
    Budget {
        /// How many of the others.
        count: usize,
        /// The first of them, and why each.
        unavailable: Vec<(Instance, Unavailable)>,
        /// How many may be.
        max: u32,
    },
    /// What it depends on is not well.
    Dependency(Instance, Unavailable),
    /// A load balancer would be left with too few servers.
    Servers {
        /// Of which pool.
        pool: PoolName,
        /// How many take requests there.
        active: u32,
        /// How many have to stay.
        min: u32,
    },
    /// A load balancer does not say that it sends this one nothing.
    Undrained(NodeName),
    /// The node says no: the reason.
    Held(String),
}

/// Why an instance counts as unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// Its node has not promised to obey this driver, so that another one may be acting on it.
    Unpromised,
    /// Nothing was heard from its node of late.
    Silent,
    /// It is down or not well.
    Bad,
    /// A load balancer sends it nothing.
    Drained,
    /// Something is being done to it.
    InFlight,
}

impl Unavailable {
    /// The same for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpromised => "its node has not promised to obey yet",
            Self::Silent => "nothing was heard from its node",
            Self::Bad => "it is not well",
            Self::Drained => "a load balancer sends it nothing",
            Self::InFlight => "something is being done to it",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(control) => write!(f, "the plan {control}"),
            Self::Approval(wave) => write!(f, "nobody has agreed to wave {} yet", wave + 1),
            Self::Lease => write!(f, "this node drives no longer"),
            Self::Window(reason) | Self::Held(reason) => write!(f, "{reason}"),
            Self::Wave(wave) => write!(f, "wave {} is not done", wave + 1),
            Self::Alone(instance) => write!(f, "{instance} is done alone"),
            Self::Promise(node) => write!(f, "node {node} has not promised to obey yet"),
            Self::Silence(node) => write!(f, "nothing was heard from node {node} of late"),
            Self::Budget { count, unavailable, max } => {
                write!(f, "{count} unavailable, {max} may be")?;
                unavailable.iter().try_for_each(|(instance, why)| write!(f, "; {instance}: {}", why.as_str()))
            }
            Self::Dependency(instance, why) => write!(f, "it depends on {instance}: {}", why.as_str()),
            Self::Undrained(host) => write!(f, "the load balancer on {host} does not say that it sends it nothing"),
            Self::Servers { pool, active, min } => {
                write!(f, "{active} servers of pool {pool} take requests, and {min} have to stay")
            }
        }
    }
}

impl Rollout {
    /// Whether the next step of `run`, at this stage, may be sent now.
    pub(super) fn may(&self, turn: &Turn, run: &Run, stage: Stage) -> Result<(), Wait> {
        let now = turn.now;
        self.may_begin(turn, run)?;
        let instance = &run.task.instance;
        self.reaches(now, &instance.node)?;
        for step in run.steps.drains.iter().filter(|_| run.is_disruptive(&self.ledger)) {
            self.reaches(now, &step.at)?;
        }
        self.within_budget(turn, run)?;
        self.dependencies_are_well(turn, run)?;
        if !run.is_disruptive(&self.ledger) {
            return Ok(());
        }
        match stage {
            Stage::Waiting | Stage::Draining => self.leaves_servers(now, run),
            Stage::Acting => self.is_drained(now, run),
            Stage::Validating
            | Stage::Healing
            | Stage::Undraining
            | Stage::Well
            | Stage::Undoing
            | Stage::Undone
            | Stage::Unclear
            | Stage::Failed => Ok(()),
        }
    }

    /// Load balancers forget: a drain that succeeded is not one that holds.
    fn is_drained(&self, now: Mono, run: &Run) -> Result<(), Wait> {
        for (name, server) in &run.task.drains {
            let node = &run.task.instance.node;
            let hosts = self.topology.pools.get(name).into_iter().flat_map(|pool| pool.hosts_for(node));
            for host in hosts {
                let servers = self.view.fresh(now, host).and_then(|report| report.pools.get(name));
                if servers.is_none_or(|servers| servers.get(server) != Some(&false)) {
                    return Err(Wait::Undrained(host.clone()));
                }
            }
        }
        Ok(())
    }

    /// What concerns the plan more than the instance.
    fn may_begin(&self, turn: &Turn, run: &Run) -> Result<(), Wait> {
        match &self.control {
            Control::Running => {}
            other @ (Control::Unapproved | Control::Paused { .. } | Control::Aborting { .. } | Control::Ended(_)) => {
                return Err(Wait::Control(other.clone()));
            }
        }
        if turn.now >= self.lease {
            return Err(Wait::Lease);
        }
        if let Some(reason) = &self.closed {
            return Err(Wait::Window(reason.clone()));
        }
        let Some(wave) = self.plan.waves.get(run.wave) else { return Ok(()) };
        if wave.approve && !self.approved.contains(&run.wave) {
            return Err(Wait::Approval(run.wave));
        }
        if let Some(before) = wave.after.iter().find(|before| !self.done.contains(*before)) {
            return Err(Wait::Wave(*before));
        }
        let is_alone = |wave: usize| self.plan.waves.get(wave).is_some_and(|wave| wave.alone);
        match turn.another(&run.task.instance, |other| wave.alone || is_alone(other)) {
            Some(other) => Err(Wait::Alone(other.clone())),
            None => Ok(()),
        }
    }

    fn reaches(&self, now: Mono, node: &NodeName) -> Result<(), Wait> {
        if self.rules.barrier && !self.view.is_promised(node) {
            return Err(Wait::Promise(node.clone()));
        }
        match self.view.fresh(now, node) {
            Some(_) => Ok(()),
            None => Err(Wait::Silence(node.clone())),
        }
    }

    /// R2: of the others, fewer are unavailable than may be.
    fn within_budget(&self, turn: &Turn, run: &Run) -> Result<(), Wait> {
        let own = &run.task.instance;
        let max = self.plan.waves.get(run.wave).map_or(1, |it| it.max_unavailable);
        let missing = self.missing(turn, &own.service);
        let others = missing.len() - usize::from(missing.contains_key(own));
        if u32::try_from(others).unwrap_or(u32::MAX) < max {
            return Ok(());
        }
        let named = missing.iter().filter(|(other, _)| *other != own).take(NAMED_MAX);
        let unavailable = named.map(|(other, why)| (other.clone(), *why)).collect();
        Err(Wait::Budget { count: others, unavailable, max })
    }

    pub(super) fn instances(&self, name: &ServiceName) -> Vec<Instance> {
        let service = self.topology.services.get(name);
        let all = service.into_iter().flat_map(|service| service.instances(name));
        all.filter(|instance| !self.quarantined.contains(instance)).collect()
    }

    /// Why an instance is not one that serves, as far as can be seen. Whatever is not known counts.
    pub(super) fn unavailable(&self, now: Mono, instance: &Instance) -> Option<Unavailable> {
        let run = self.place.get(instance).and_then(|at| self.runs.get(*at));
        if run.is_some_and(|run| self.is_in_flight(run)) {
            return Some(Unavailable::InFlight);
        }
        if !self.rules.observed {
            return None;
        }
        if self.rules.barrier && !self.view.is_promised(&instance.node) {
            return Some(Unavailable::Unpromised);
        }
        let Some(observed) = self.view.observed(now, instance) else { return Some(Unavailable::Silent) };
        match observed.condition {
            Condition::Healthy => {}
            Condition::Bad | Condition::Unknown => return Some(Unavailable::Bad),
            Condition::Quarantined => return None,
        }
        let service = self.topology.services.get(&instance.service)?;
        let is_drained = service.behind.iter().any(|(pool, server)| {
            let server = super::super::planner::server_of(server, &instance.node);
            let hosts = self.topology.pools.get(pool).into_iter().flat_map(|pool| pool.hosts_for(&instance.node));
            let reports = hosts.filter_map(|host| self.view.fresh(now, host));
            reports.filter_map(|report| report.pools.get(pool)?.get(&server)).any(|takes| !takes)
        });
        is_drained.then_some(Unavailable::Drained)
    }

    /// P2: all that was done to what it needs succeeded, and that is well now.
    fn dependencies_are_well(&self, turn: &Turn, run: &Run) -> Result<(), Wait> {
        let instance = &run.task.instance;
        let key = (instance.service.clone(), self.topology.zone(&instance.node).cloned());
        if let Some(known) = turn.dependencies.borrow().get(&key) {
            return known.clone().map_or(Ok(()), Err);
        }
        let found = self.unwell_dependency(turn, instance);
        turn.dependencies.borrow_mut().insert(key, found.clone());
        found.map_or(Ok(()), Err)
    }

    /// The same for all instances of a service in a zone.
    fn unwell_dependency(&self, turn: &Turn, instance: &Instance) -> Option<Wait> {
        let service = self.topology.services.get(&instance.service)?;
        let zone = self.topology.zone(&instance.node);
        for edge in service.depends_on.iter().filter(|edge| edge.require == Require::Healthy) {
            let missing = self.missing(turn, &edge.on);
            let theirs = self.instances(&edge.on);
            let theirs = theirs.iter().filter(|other| match edge.scope {
                Scope::All => true,
                Scope::SameZone => self.topology.zone(&other.node) == zone,
            });
            for other in theirs {
                let why = match self.place.get(other).and_then(|at| self.runs.get(*at)) {
                    Some(run) if run.stage(&self.ledger) == Stage::Well => missing.get(other).copied(),
                    Some(_) => Some(Unavailable::Bad),
                    None if self.is_followed(other) => self.unwell(turn.now, other),
                    None => None,
                };
                if let Some(why) = why {
                    return Some(Wait::Dependency(other.clone(), why));
                }
            }
        }
        None
    }

    /// Whether the plan is made because this one was restarted.
    fn is_followed(&self, instance: &Instance) -> bool {
        let Intent { verb, services, nodes, cascade: _, at_any_time: _ } = &self.plan.intent;
        let is_there = nodes.is_empty() || nodes.contains(&instance.node);
        *verb == Verb::Follow && services.contains(&instance.service) && is_there
    }

    /// Why one that nothing is done to is not well, as its node says.
    fn unwell(&self, now: Mono, instance: &Instance) -> Option<Unavailable> {
        match self.view.observed(now, instance).map(|observed| observed.condition) {
            Some(Condition::Healthy | Condition::Quarantined) => None,
            Some(Condition::Bad | Condition::Unknown) => Some(Unavailable::Bad),
            None => Some(Unavailable::Silent),
        }
    }

    /// P10: each load balancer keeps as many servers as it has to, once those of this instance are drained.
    fn leaves_servers(&self, now: Mono, run: &Run) -> Result<(), Wait> {
        let usual = self.topology.services.get(&run.task.instance.service).map_or(0, |it| it.policy.min_active);
        for (name, server) in &run.task.drains {
            let Some(pool) = self.topology.pools.get(name) else { continue };
            for host in pool.hosts_for(&run.task.instance.node) {
                let Some(servers) = self.view.fresh(now, host).and_then(|report| report.pools.get(name)) else {
                    return Err(Wait::Silence(host.clone()));
                };
                // What was ordered of the others a moment ago is not in any report yet.
                let leaving = self.leaving(run, (name, pool), host);
                let stays = |other: &str| other != &**server && !leaving.contains(other);
                let others = servers.iter().filter(|(other, takes)| **takes && stays(other)).count();
                let active = u32::try_from(servers.values().filter(|takes| **takes).count()).unwrap_or(u32::MAX);
                let min = pool.min_active.max(usual);
                if u32::try_from(others).unwrap_or(u32::MAX) < min {
                    return Err(Wait::Servers { pool: name.clone(), active, min });
                }
            }
        }
        Ok(())
    }

    /// The servers of other instances that are being drained at a load balancer, or may be. Where each node drains its own, no
    /// other one hears of that at once: there all count to which something is being done.
    fn leaving<'a>(&'a self, but: &Run, (name, pool): (&PoolName, &Pool), host: &NodeName) -> BTreeSet<&'a str> {
        let others = self.touched.iter().filter_map(|at| self.runs.get(*at));
        let others = others.filter(|run| run.task.instance != but.task.instance);
        if pool.is_per_node() {
            let drains = others.filter(|run| self.is_in_flight(run)).flat_map(|run| &run.task.drains);
            return drains.filter(|(behind, _)| behind == name).map(|(_, server)| &**server).collect();
        }
        let begun = others.flat_map(|run| run.drains_begun(&self.ledger)).filter(|step| step.at == *host);
        let servers = begun.filter_map(|step| match &step.deed {
            Deed::Drain { pool: of, server } if of == name => Some(server.as_ref()),
            Deed::Drain { .. }
            | Deed::Undrain { .. }
            | Deed::Notify
            | Deed::Validate
            | Deed::Reload
            | Deed::Restart => None,
        });
        servers.collect()
    }

    /// Whether something of it was begun that is neither done nor given up.
    pub(super) fn is_in_flight(&self, run: &Run) -> bool {
        match run.stage(&self.ledger) {
            Stage::Waiting | Stage::Well | Stage::Undone => false,
            Stage::Failed => run.under_way(&self.ledger).next().is_some(),
            Stage::Draining
            | Stage::Validating
            | Stage::Acting
            | Stage::Healing
            | Stage::Undraining
            | Stage::Undoing
            | Stage::Unclear => true,
        }
    }
}
