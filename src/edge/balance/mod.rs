//! Load balancers: which servers they have, which take requests, and how one stops to.

mod consul; // by the agent of each node
mod haproxy; // by its runtime API
mod hook; // by a command of the operator's
mod nginx; // by a file and a reload

use std::{collections::BTreeMap, time::Duration};

use crate::{
    base::UnitName,
    fleet::{AfterDrain, Argv, Consul, NodeName, PlanId, Pool, PoolKind, PoolName},
};

/// Servers of a pool, and whether each takes requests.
pub type Servers = BTreeMap<Box<str>, bool>;

/// Why a load balancer does not do as it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BalanceError {
    /// It does not answer.
    #[error("{0}")]
    Unreached(String),
    /// It says no.
    #[error("the load balancer of pool {pool} refuses: {said}")]
    Refused {
        /// Of which pool.
        pool: PoolName,
        /// Its words.
        said: String,
    },
    /// There is no such server.
    #[error("pool {pool} has no server {server:?}{help}")]
    Unknown {
        /// Which pool.
        pool: PoolName,
        /// Which server.
        server: String,
        /// Those that it has.
        help: String,
    },
    /// Too few would be left.
    #[error("pool {pool} would have {left} active servers without {server}, and must keep {min}")]
    TooFew {
        /// Which pool.
        pool: PoolName,
        /// Which server.
        server: String,
        /// How many.
        left: u32,
        /// How many have to be.
        min: u32,
    },
    /// Its connections do not end.
    #[error("{server} of pool {pool} still has {connections} connections after {waited} s; it stays drained")]
    Busy {
        /// Which pool.
        pool: PoolName,
        /// Which server.
        server: String,
        /// How many.
        connections: u64,
        /// For how long it was waited.
        waited: u64,
    },
}

/// What load balancers need of the machine that they are on.
pub trait Machine: Sync {
    /// What it is called.
    fn node(&self) -> &NodeName;

    /// Has a unit read its settings anew; why not, for people.
    fn reload(&self, unit: &UnitName) -> impl Future<Output = Result<(), String>> + Send;

    /// Runs a command for a pool: whether it ended well, and what it said.
    fn run(
        &self,
        what: (&PoolName, &'static str),
        argv: Argv,
        within: Duration,
    ) -> impl Future<Output = Result<(bool, Vec<u8>), String>> + Send;

    /// Keeps how a server is registered, as it is about to be deregistered; none forgets it. It is on the disk when this ends.
    fn keep(
        &self,
        server: (&PoolName, &str),
        definition: Option<String>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// What is kept so of the servers of a pool.
    fn kept(&self, pool: &PoolName) -> impl Future<Output = Result<BTreeMap<Box<str>, String>, String>> + Send;
}

/// The servers of a pool of Consul that are registered at a node's agent, and why they are in maintenance if they are.
pub async fn at_agent(
    node: &NodeName,
    name: &PoolName,
    at: &Consul,
) -> Result<BTreeMap<Box<str>, Option<String>>, BalanceError> {
    consul::at_agent(node, name, at).await
}

/// Whether words about a maintenance are ours.
pub fn is_ours(reason: &str) -> bool {
    reason.starts_with(consul::OURS)
}

/// Whether a server takes requests.
fn find(pool: &PoolName, all: &Servers, server: &str) -> Result<bool, BalanceError> {
    all.get(server).copied().ok_or_else(|| unknown(pool, server, all.keys().map(AsRef::as_ref)))
}

fn unknown<'a>(pool: &PoolName, server: &str, known: impl Iterator<Item = &'a str>) -> BalanceError {
    let names: Vec<&str> = known.collect();
    let help = if names.is_empty() { String::new() } else { format!(" (it has {})", names.join(", ")) };
    BalanceError::Unknown { pool: pool.clone(), server: server.to_owned(), help }
}

/// Whether enough others take requests once this one does not.
fn leaves_enough(pool: &PoolName, all: &Servers, (server, takes): (&str, bool), min: u32) -> Result<(), BalanceError> {
    let others = all.iter().filter(|(other, takes)| **takes && &***other != server).count();
    let left = u32::try_from(others).unwrap_or(u32::MAX);
    if takes && left < min {
        return Err(BalanceError::TooFew { pool: pool.clone(), server: server.to_owned(), left, min });
    }
    Ok(())
}

/// What servers a pool has here.
pub async fn servers(machine: &impl Machine, name: &PoolName, kind: &PoolKind) -> Result<Servers, BalanceError> {
    match kind {
        PoolKind::Haproxy { socket, backend } => haproxy::servers(name, socket, backend).await,
        PoolKind::Nginx { file, .. } => nginx::servers(file),
        PoolKind::Hook { command } => hook::servers(machine, name, command).await,
        PoolKind::Consul(at) => consul::servers(machine, name, at).await,
    }
}

/// Has a server take no new requests, and waits until its connections have ended, for `within` at most.
pub async fn drain(
    machine: &impl Machine,
    (name, pool): (&PoolName, &Pool),
    server: &str,
    plan: Option<PlanId>,
    within: Duration,
) -> Result<(), BalanceError> {
    let Pool { kind, min_active, after_drain, .. } = pool;
    // What is left of the time is for the answer.
    let patience = within.saturating_sub(within / 10);
    let drained = match kind {
        PoolKind::Haproxy { socket, backend } => {
            haproxy::drain(name, (socket, backend), server, *min_active).await?;
            haproxy::wait_until_idle(name, (socket, backend), server, patience).await
        }
        PoolKind::Nginx { file, unit } => nginx::drain(machine, name, (file, unit), (pool, server), patience).await,
        PoolKind::Hook { command } => hook::drain(machine, name, command, (pool, server), patience).await,
        PoolKind::Consul(at) => consul::drain(machine, (name, at), (pool, server), plan, patience).await,
    };
    match (drained, after_drain, kind) {
        (Err(BalanceError::Busy { .. }), AfterDrain::Proceed, _) => Ok(()),
        (Err(BalanceError::Busy { .. }), AfterDrain::ShutdownSessions, PoolKind::Haproxy { socket, backend }) => {
            haproxy::shut_sessions(name, (socket, backend), server).await
        }
        (drained, ..) => drained,
    }
}

/// Has a server take requests again.
pub async fn undrain(
    machine: &impl Machine,
    name: &PoolName,
    kind: &PoolKind,
    server: &str,
    plan: PlanId,
) -> Result<(), BalanceError> {
    match kind {
        PoolKind::Haproxy { socket, backend } => haproxy::ready(name, (socket, backend), server).await,
        PoolKind::Nginx { file, unit } => nginx::undrain(machine, name, (file, unit), server).await,
        PoolKind::Hook { command } => hook::undrain(machine, name, command, server).await,
        PoolKind::Consul(at) => consul::undrain(machine, (name, at), server, plan).await,
    }
}
