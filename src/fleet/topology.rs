//! What there is: nodes, services and their instances, who depends on whom, what is allowed.
//!
//! A checked topology names nothing that it does not have, and its services depend on each other without a circle. It is the
//! same on every node, and shown to be so by its digest.

mod check; // what cannot be

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

pub use check::{Fault, Place};

use super::{Action, FleetName, Instance, NodeName, PoolName, ServiceName, Share, Window, ZoneName};
use crate::base::{TimeSpan, UnitName};

/// Most nodes of a fleet.
pub const NODES_MAX: usize = 10_000;
/// Most instances of all services.
pub const INSTANCES_MAX: usize = 100_000;

/// Everything that is coordinated together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Its name.
    pub name: FleetName,
    /// The machines.
    pub nodes: BTreeMap<NodeName, Node>,
    /// What runs on them.
    pub services: BTreeMap<ServiceName, Service>,
    /// Who sends traffic to them.
    pub pools: BTreeMap<PoolName, Pool>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// How it is reached.
    pub transport: Transport,
    /// Where: a host name or address, with a port if it is not the usual one.
    pub address: Box<str>,
    /// Whom ssh logs in as.
    pub user: Box<str>,
    /// What it fails together with.
    pub zone: Option<ZoneName>,
    /// Whether it comes after the others and alone: the one that Redis runs on.
    pub last: bool,
}

/// Why a text is none of some words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be {word:?} (it can be {known})")]
pub struct WordError {
    word: String,
    known: String,
}

macro_rules! from_word {
    ($($name:ident)*) => {
        $(impl FromStr for $name {
            type Err = WordError;

            fn from_str(word: &str) -> Result<Self, WordError> {
                let known = || Self::ALL.map(Self::as_str).join(", ");
                let found = Self::ALL.into_iter().find(|choice| choice.as_str() == word);
                found.ok_or_else(|| WordError { word: word.to_owned(), known: known() })
            }
        })*
    };
}

from_word!(Transport Action Require Scope OnFailure Approve AfterDrain);

/// How a node is told what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// A daemon of ours runs there and reads its commands from Redis.
    Agent,
    /// By ssh, and the helper that `supervisorctl fleet enrol` installs there.
    Ssh,
    /// It is this machine.
    Local,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Ssh, Self::Local];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ssh => "ssh",
            Self::Local => "local",
        }
    }
}

/// What runs as instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The unit on each of its nodes.
    pub unit: UnitName,
    /// Where it runs.
    pub nodes: BTreeSet<NodeName>,
    /// Whom its instances depend on.
    pub depends_on: Vec<Edge>,
    /// The pools that its instances take traffic from, with the name of the server there; `{node}` is the node's.
    pub behind: Vec<(PoolName, Box<str>)>,
    /// What is run for it.
    pub commands: Commands,
    /// How it may be acted on.
    pub policy: Policy,
}

/// A program and all its words.
pub type Argv = Vec<Box<str>>;

/// What is run for a service on its nodes; each is a program and its words, without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands {
    /// Says by its exit code whether the configuration is sound; run before anything is done.
    pub validate: Option<Argv>,
    /// Tells it that something it depends on was restarted.
    pub notify: Option<Argv>,
    /// Says by its exit code whether a reload that was done has had its effect: many succeed and change nothing.
    pub verify_reload: Option<Argv>,
    /// On hosts that are reached by ssh, instead of systemd's reload.
    pub reload: Option<Argv>,
    /// On hosts that are reached by ssh, instead of systemd's restart.
    pub restart: Option<Argv>,
    /// On hosts that are reached by ssh, instead of what systemd knows: exit code 0 is well, and what it prints is another text
    /// after each restart.
    pub status: Option<Argv>,
}

impl Commands {
    /// Each by its name in the file.
    pub fn named(&self) -> [(&'static str, Option<&Argv>); 6] {
        let Self { validate, notify, verify_reload, reload, restart, status } = self;
        [
            ("validate", validate.as_ref()),
            ("notify", notify.as_ref()),
            ("verify_reload", verify_reload.as_ref()),
            ("reload", reload.as_ref()),
            ("restart", restart.as_ref()),
            ("status", status.as_ref()),
        ]
    }
}

impl Service {
    /// Its instances, by node.
    pub fn instances<'a>(&'a self, name: &'a ServiceName) -> impl Iterator<Item = Instance> + 'a {
        self.nodes.iter().map(|node| Instance { service: name.clone(), node: node.clone() })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }
}

/// From a dependent service to what it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// On whom.
    pub on: ServiceName,
    /// What becomes of the dependent when that is restarted; `None` where nothing does.
    pub on_restart: Option<Action>,
    /// What the order demands.
    pub require: Require,
    /// Between which instances it is.
    pub scope: Scope,
}

/// What the order between two services demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Require {
    /// All that is done to the one has succeeded, and it is healthy, before something is done to the other.
    #[default]
    Healthy,
    /// All that is done to the one is over.
    OrderOnly,
    /// Never both at once, in no order.
    Mutex,
}

impl Require {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::OrderOnly, Self::Mutex];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::OrderOnly => "order_only",
            Self::Mutex => "mutex",
        }
    }
}

/// Between which instances a dependency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Scope {
    /// Any of the one needs any of the other.
    #[default]
    All,
    /// Those in the same zone.
    SameZone,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::All, Self::SameZone];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SameZone => "same_zone",
        }
    }
}

/// How the instances of a service may be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How many may be unavailable at once, for whatever reason.
    pub max_unavailable: Share,
    /// How many stay in each pool, however much `max_unavailable` would allow.
    pub min_active: u32,
    /// How many go first, and are watched longest.
    pub canary: Option<Canary>,
    /// How many are done after each wave, ever more; the last is all of them.
    pub waves: Vec<Share>,
    /// How long the instances of a wave stay well before the next one begins.
    pub soak: TimeSpan,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// How many instances may fail before the plan does.
    pub max_failures: u32,
    /// What a plan that failed does.
    pub on_failure: OnFailure,
    /// Who has to agree.
    pub approve: Approve,
    /// When plans may act on it; at any time if there are none.
    pub windows: Vec<Window>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_unavailable: Share::Count(1),
            min_active: 1,
            canary: None,
            waves: vec![Share::Percent(100)],
            soak: TimeSpan::ZERO,
            deadlines: Deadlines::default(),
            max_failures: 0,
            on_failure: OnFailure::Pause,
            approve: Approve::Never,
            windows: Vec::new(),
        }
    }
}

/// The first few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// How many.
    pub count: Share,
    /// How long they stay well before the others follow.
    pub soak: TimeSpan,
}

/// How long phases may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until its connections have ended.
    pub drain: TimeSpan,
    /// Until it said whether its configuration is sound.
    pub validate: TimeSpan,
    /// Until it was reloaded or restarted.
    pub act: TimeSpan,
    /// Until it is healthy again.
    pub healthy: TimeSpan,
    /// Without any step forward, the plan pauses.
    pub progress: TimeSpan,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            drain: TimeSpan::from_secs(120),
            validate: TimeSpan::from_secs(30),
            act: TimeSpan::from_secs(330),
            healthy: TimeSpan::from_secs(300),
            progress: TimeSpan::from_secs(600),
        }
    }
}

/// What a plan does that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnFailure {
    /// It waits for someone, and says so.
    Pause,
    /// It ends; what is drained and well gets its traffic back.
    Abort,
    /// What was deployed goes back to the last stable release, once.
    Rollback,
}

impl OnFailure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pause, Self::Abort, Self::Rollback];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
        }
    }
}

/// Who has to agree before anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Approve {
    /// Whoever orders it has agreed.
    Never,
    /// Someone, to the plan by its hash.
    Plan,
    /// Someone, to each wave too.
    EachWave,
}

impl Approve {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Never, Self::Plan, Self::EachWave];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Plan => "plan",
            Self::EachWave => "each_wave",
        }
    }
}

/// Servers behind load balancers, all of which have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The nodes that the load balancers run on.
    pub hosts: BTreeSet<NodeName>,
    /// The services whose instances are the load balancers themselves, if they are in the fleet.
    pub balancer: Option<ServiceName>,
    /// Who it is, and how it is spoken to.
    pub kind: PoolKind,
    /// How many servers it keeps, whatever is asked.
    pub min_active: u32,
    /// What is done when connections have not ended in time.
    pub after_drain: AfterDrain,
}

/// Who sends traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolKind {
    /// HAProxy, by its runtime API.
    Haproxy {
        /// The socket, of level `admin`.
        socket: Box<str>,
        /// The backend there.
        backend: Box<str>,
    },
    /// nginx, by a file of its upstream's servers and a reload.
    Nginx {
        /// The file, which is ours.
        file: Box<str>,
        /// The unit that is reloaded.
        unit: UnitName,
    },
    /// Consul, at the agent of the instance's own node.
    Consul(Consul),
    /// A command of the operator's: `drain`, `undrain` or `status` and the server are added to its words.
    Hook {
        /// Its words.
        command: Vec<Box<str>>,
    },
}

/// A service of Consul, and how the agent of each node is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consul {
    /// The agent's URL; `{node}` in it is the node's name.
    pub url: Box<str>,
    /// What the service is called there.
    pub service: Box<str>,
    /// How one of its instances stops to be offered.
    pub mode: ConsulMode,
    /// How long whoever has looked it up may go on as before.
    pub propagation: TimeSpan,
    /// The file with the token.
    pub token_file: Option<Box<str>>,
    /// The authorities that are believed, where it is not those of the machine.
    pub ca_file: Option<Box<str>>,
    /// The event that is fired when an instance is offered again.
    pub event: Option<Box<str>>,
}

/// How an instance stops to be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsulMode {
    /// It stays registered, in maintenance.
    Maintenance,
    /// It is deregistered, and registered anew by what stands in the file, or else by what the agent says of it.
    Deregister(Option<Box<str>>),
}

impl Pool {
    /// Whether each node has a load balancer of its own, which knows the servers of that node alone.
    pub const fn is_per_node(&self) -> bool {
        match self.kind {
            PoolKind::Consul(_) => true,
            PoolKind::Haproxy { .. } | PoolKind::Nginx { .. } | PoolKind::Hook { .. } => false,
        }
    }

    /// The nodes of the load balancers that send traffic to a node.
    pub fn hosts_for(&self, node: &NodeName) -> impl Iterator<Item = &NodeName> {
        let (all, own) = if self.is_per_node() { (None, self.hosts.get(node)) } else { (Some(&self.hosts), None) };
        all.into_iter().flatten().chain(own)
    }
}

/// What is done about connections that do not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AfterDrain {
    /// The step fails, and the server stays drained until someone decides.
    Wait,
    /// They are ended.
    ShutdownSessions,
    /// The service is acted on all the same.
    Proceed,
}

impl AfterDrain {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wait, Self::ShutdownSessions, Self::Proceed];

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::ShutdownSessions => "shutdown_sessions",
            Self::Proceed => "proceed",
        }
    }
}

impl Topology {
    /// Checks it; everything that cannot be, if something cannot.
    pub fn checked(mut self) -> Result<Self, Vec<Fault>> {
        let faults = check::faults(&self);
        if !faults.is_empty() {
            return Err(faults);
        }
        // In which order things are written says nothing, and changes no plan.
        for service in self.services.values_mut() {
            service.depends_on.sort_by(|one, other| one.on.cmp(&other.on));
            service.behind.sort();
        }
        Ok(self)
    }

    /// What the zone of a node is.
    pub fn zone(&self, node: &NodeName) -> Option<&ZoneName> {
        self.nodes.get(node).and_then(|node| node.zone.as_ref())
    }

    /// Services in an order in which each comes after those that it depends on; where the order is free, names decide.
    pub fn order(&self) -> Vec<&ServiceName> {
        check::ordered(self).unwrap_or_else(|_| self.services.keys().collect())
    }
}
