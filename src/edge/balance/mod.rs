//! Load balancers: which servers they have, which take requests, and how one stops to.

mod haproxy; // by its runtime API

use std::{collections::BTreeMap, time::Duration};

use crate::fleet::{AfterDrain, Pool, PoolKind, PoolName};

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
    /// This program cannot speak to it.
    #[error("pool {0}: load balancers of this kind are not supported by this release")]
    Unsupported(PoolName),
}

/// What servers a pool has here.
pub async fn servers(name: &PoolName, kind: &PoolKind) -> Result<Servers, BalanceError> {
    match kind {
        PoolKind::Haproxy { socket, backend } => haproxy::servers(name, socket, backend).await,
        PoolKind::Nginx { .. } | PoolKind::Consul { .. } | PoolKind::Hook { .. } => {
            Err(BalanceError::Unsupported(name.clone()))
        }
    }
}

/// Has a server take no new requests, and waits until its connections have ended, for `within` at most.
pub async fn drain(name: &PoolName, pool: &Pool, server: &str, within: Duration) -> Result<(), BalanceError> {
    let Pool { kind, min_active, after_drain, .. } = pool;
    match kind {
        PoolKind::Haproxy { socket, backend } => {
            haproxy::drain(name, (socket, backend), server, *min_active).await?;
            // What is left of the time is for the answer.
            let patience = within.saturating_sub(within / 10);
            match haproxy::wait_until_idle(name, (socket, backend), server, patience).await {
                Err(BalanceError::Busy { .. }) if *after_drain == AfterDrain::Proceed => Ok(()),
                Err(BalanceError::Busy { .. }) if *after_drain == AfterDrain::ShutdownSessions => {
                    haproxy::shut_sessions(name, (socket, backend), server).await
                }
                waited => waited,
            }
        }
        PoolKind::Nginx { .. } | PoolKind::Consul { .. } | PoolKind::Hook { .. } => {
            Err(BalanceError::Unsupported(name.clone()))
        }
    }
}

/// Has a server take requests again.
pub async fn undrain(name: &PoolName, kind: &PoolKind, server: &str) -> Result<(), BalanceError> {
    match kind {
        PoolKind::Haproxy { socket, backend } => haproxy::ready(name, (socket, backend), server).await,
        PoolKind::Nginx { .. } | PoolKind::Consul { .. } | PoolKind::Hook { .. } => {
            Err(BalanceError::Unsupported(name.clone()))
        }
    }
}
