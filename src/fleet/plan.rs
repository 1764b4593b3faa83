//! What will be done, in which order, and why: waves of tasks. It is approved, stored and carried out by its digest.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Instance, NodeName, PoolName, ServiceName, Topology, ZoneName, closed,
    spelling::{micros, text},
};
use crate::{
    base::{TimeSpan, UnitName, Wall},
    unit::{Digest, calendar::Zones},
};

/// What is done with a connection's worth of patience: how long a phase lasts where nobody measured it.
const DRAIN_GUESS: TimeSpan = TimeSpan::from_secs(10);
const ACT_GUESS: TimeSpan = TimeSpan::from_secs(10);

/// What someone wants done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What.
    pub verb: Verb,
    /// To which services.
    pub services: BTreeSet<ServiceName>,
    /// On which nodes; none is all of them. Dependents are told wherever they are.
    pub nodes: BTreeSet<NodeName>,
    /// Whether their dependents are told.
    pub cascade: bool,
    /// Whether it goes on outside of windows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_any_time: bool,
}

impl Intent {
    /// Whether windows have to be open for it. What follows a restart that has happened does not wait for one.
    pub fn needs_windows(&self) -> bool {
        !self.at_any_time && self.verb != Verb::Follow
    }
}

/// What can be wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Instances end and begin anew.
    Restart,
    /// They read their settings anew.
    Reload,
    /// They were restarted, by themselves or by someone: only what depends on them is told.
    Follow,
}

impl Verb {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Follow => "follow",
        }
    }
}

/// What is done to an instance. The greater one contains the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is told: the unit's `notify` command runs.
    Notify,
    /// It reads its settings anew.
    Reload,
    /// The same, or it is restarted where it cannot reload or the reload failed.
    ReloadOrRestart,
    /// It is restarted.
    Restart,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Notify, Self::Reload, Self::ReloadOrRestart, Self::Restart];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Reload => "reload",
            Self::ReloadOrRestart => "reload_or_restart",
            Self::Restart => "restart",
        }
    }

    /// Whether the instance takes no requests meanwhile, so that it is drained and counts against the budget.
    pub const fn is_disruptive(self) -> bool {
        match self {
            Self::Restart => true,
            // A restart that follows from it is a task of its own.
            Self::Notify | Self::Reload | Self::ReloadOrRestart => false,
        }
    }
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What was wanted.
    pub intent: Intent,
    /// Of which topology.
    #[serde(with = "text")]
    pub topology: Digest,
    /// What is done; each instance at most once.
    pub waves: Vec<Wave>,
    /// What is in the way: with one of these it cannot begin.
    #[serde(skip)]
    pub blockers: Vec<Blocker>,
}

/// Instances of one service, done within the budget before the next wave begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Of which service.
    pub service: ServiceName,
    /// What is done to each.
    pub tasks: Vec<Task>,
    /// Waves that must be done and soaked before, by their place in the plan.
    pub after: BTreeSet<usize>,
    /// How many instances of the service may be unavailable at once, in whole ones.
    pub max_unavailable: u32,
    /// How long its instances stay well before what follows begins.
    #[serde(with = "micros")]
    pub soak: TimeSpan,
    /// Whether nothing else is done meanwhile.
    pub alone: bool,
    /// Whether someone has to agree to it.
    pub approve: bool,
    /// Why it comes here.
    pub why: Vec<Why>,
}

/// What is done to one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// To whom.
    pub instance: Instance,
    /// Its unit there.
    #[serde(with = "text")]
    pub unit: UnitName,
    /// What.
    pub action: Action,
    /// Where it takes no traffic meanwhile: the pool, and the name of the server there.
    pub drains: Vec<(PoolName, Box<str>)>,
}

/// Why a wave comes where it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Someone wants it.
    Wanted,
    /// It depends on what is restarted before.
    DependsOn(ServiceName),
    /// It is never acted on together with this one.
    NotWith(ServiceName),
    /// A load balancer would forget the drains of this service.
    Balances(ServiceName),
    /// The first few are watched before the others follow.
    Canary,
    /// The policy wants it in steps: so many of all are done after it.
    Step {
        /// How many.
        done: u32,
        /// Of how many.
        all: u32,
    },
    /// Not all of a zone at once.
    Zone(ZoneName),
    /// The plan is driven from there, or Redis runs there.
    Last(NodeName),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted => write!(f, "it was asked for"),
            Self::DependsOn(on) => write!(f, "it depends on {on}, which has to be healthy first"),
            Self::NotWith(other) => write!(f, "it is never acted on together with {other}"),
            Self::Balances(other) => write!(f, "a load balancer is left alone while {other} is drained at it"),
            Self::Canary => write!(f, "the first few are watched before the others follow"),
            Self::Step { done, all } => write!(f, "{done} of {all} are done after it"),
            Self::Zone(zone) => write!(f, "never all of zone {zone} at once"),
            Self::Last(node) => write!(f, "{node} comes last and alone"),
        }
    }
}

/// What keeps a plan from beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocker {
    /// It is not the time.
    Closed {
        /// Why, and when it is, for people.
        reason: String,
    },
    /// A node on which something is to be done is out of reach.
    Unreachable {
        /// Which.
        node: NodeName,
        /// Why, for people.
        reason: String,
    },
    /// So many instances are unavailable already that none may be acted on.
    NoBudget {
        /// Of which service.
        service: ServiceName,
        /// Which are unavailable and not in the plan.
        unavailable: Vec<Instance>,
        /// How many may be.
        max: u32,
    },
    /// A pool would be left with too few servers.
    TooFewActive {
        /// Which.
        pool: PoolName,
        /// How many take traffic.
        active: u32,
        /// How many have to stay.
        min: u32,
    },
    /// The load balancers of a pool do not have the same servers.
    Unequal {
        /// Which pool.
        pool: PoolName,
        /// How, for people.
        reason: String,
    },
    /// A pool does not know an instance.
    UnknownServer {
        /// Which pool.
        pool: PoolName,
        /// On which of its hosts.
        host: NodeName,
        /// What it should be called.
        server: String,
    },
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { reason } => write!(f, "{reason}; wait, or say --at-any-time"),
            Self::Unreachable { node, reason } => write!(f, "node {node} is out of reach: {reason}"),
            Self::NoBudget { service, unavailable, max } => {
                let names: Vec<String> = unavailable.iter().map(ToString::to_string).collect();
                let (count, names) = (unavailable.len(), names.join(", "));
                write!(f, "{count} of {service} are unavailable already ({names}), {max} may be; bring them back first")
            }
            Self::TooFewActive { pool, active, min } => {
                write!(f, "pool {pool} has {active} active servers and must keep {min}; none could be drained")
            }
            Self::Unequal { pool, reason } => write!(f, "the load balancers of pool {pool} differ: {reason}"),
            Self::UnknownServer { pool, host, server } => {
                write!(f, "the load balancer on {host} has no server {server:?} in pool {pool}")
            }
        }
    }
}

impl Plan {
    /// What was approved is what runs: the same for equal plans only. What is in the way is not part of it.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        self.write_canonical(&mut text).ok();
        Digest(Sha256::digest(text).into())
    }

    /// A line for each thing that a carrying out depends on. Names have no spaces, and lists are told by their first word.
    fn write_canonical(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "plan 1 {} {}", self.intent.verb.as_str(), self.topology)?;
        if self.intent.at_any_time {
            writeln!(out, "at any time")?;
        }
        if self.intent.verb == Verb::Follow {
            // Those that restarted are in no wave, and have to be well before what follows.
            self.intent.services.iter().try_for_each(|service| writeln!(out, "follows {service}"))?;
            self.intent.nodes.iter().try_for_each(|node| writeln!(out, "on {node}"))?;
        }
        for (nth, wave) in self.waves.iter().enumerate() {
            let Wave { service, tasks, after, max_unavailable, soak, alone, approve, why: _ } = wave;
            let soak = soak.micros().unwrap_or(u64::MAX);
            writeln!(out, "wave {nth} {service} {max_unavailable} {soak} {alone} {approve}")?;
            after.iter().try_for_each(|before| writeln!(out, "after {before}"))?;
            for task in tasks {
                writeln!(out, "task {} {} {}", task.instance.node, task.unit, task.action.as_str())?;
                task.drains.iter().try_for_each(|(pool, server)| writeln!(out, "drain {pool} {server:?}"))?;
            }
        }
        Ok(())
    }

    /// Why it is not the time for it, if it is so.
    pub fn closed(&self, topology: &Topology, now: Wall, zones: &Zones) -> Option<String> {
        let services: BTreeSet<&ServiceName> = self.waves.iter().map(|wave| &wave.service).collect();
        let needs = self.intent.needs_windows();
        needs.then(|| closed(topology, &services, now, zones)).flatten()
    }

    /// All tasks, in the order of waves.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.waves.iter().flat_map(|wave| &wave.tasks)
    }

    /// About how long it takes, if nothing goes wrong: along the longest way through the waves.
    pub fn estimate(&self) -> TimeSpan {
        let mut ends: Vec<u64> = Vec::with_capacity(self.waves.len());
        let micros = |span: TimeSpan| span.micros().unwrap_or(0);
        for wave in &self.waves {
            let begin = wave.after.iter().filter_map(|before| ends.get(*before)).max().copied().unwrap_or(0);
            let one = |task: &Task| micros(ACT_GUESS) + if task.drains.is_empty() { 0 } else { micros(DRAIN_GUESS) };
            let longest = wave.tasks.iter().map(one).max().unwrap_or(0);
            let turns = wave.tasks.len().div_ceil(usize::try_from(wave.max_unavailable.max(1)).unwrap_or(1));
            let span = longest.saturating_mul(u64::try_from(turns).unwrap_or(u64::MAX));
            ends.push(begin.saturating_add(span).saturating_add(micros(wave.soak)));
        }
        TimeSpan::from_micros(ends.into_iter().max().unwrap_or(0))
    }
}
