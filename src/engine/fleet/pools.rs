//! Load balancers of this machine, as steps of plans.

use std::{collections::BTreeMap, time::Duration};

use super::acts::{Done, done, failed};
use crate::{
    edge::balance::{self, BalanceError, Machine, Servers},
    fleet::{FailureKind, NodeName, PlanId, Pool, PoolName, StepOutcome, Topology},
};

/// The servers of each pool that is here, and whether they take requests; of those that do not answer nothing.
pub(in crate::engine) async fn servers(
    machine: &impl Machine,
    topology: &Topology,
    node: &NodeName,
) -> BTreeMap<PoolName, Servers> {
    let mut pools = BTreeMap::new();
    for (name, pool) in topology.pools.iter().filter(|(_, pool)| pool.hosts.contains(node)) {
        if let Ok(servers) = balance::servers(machine, name, &pool.kind).await {
            pools.insert(name.clone(), servers);
        }
    }
    pools
}

pub(in crate::engine) async fn drain(
    machine: &impl Machine,
    topology: &Topology,
    (name, server): (&PoolName, &str),
    plan: PlanId,
    within: Duration,
) -> Done {
    let drained = balance::drain(machine, (name, known(topology, name)?), server, Some(plan), within).await;
    drained.map(|()| done()).map_err(|error| refused(&error))
}

pub(in crate::engine) async fn undrain(
    machine: &impl Machine,
    topology: &Topology,
    (name, server): (&PoolName, &str),
    plan: PlanId,
) -> Done {
    let undrained = balance::undrain(machine, name, &known(topology, name)?.kind, server, plan).await;
    undrained.map(|()| done()).map_err(|error| refused(&error))
}

fn known<'t>(topology: &'t Topology, name: &PoolName) -> Result<&'t Pool, StepOutcome> {
    let missing = || failed(FailureKind::Balancer, format!("there is no pool {name} in fleet.toml here"));
    topology.pools.get(name).ok_or_else(missing)
}

fn refused(error: &BalanceError) -> StepOutcome {
    let kind = match error {
        // It is newer than what the driver was told: another server has gone since.
        BalanceError::TooFew { .. } => FailureKind::TooFew,
        BalanceError::Unreached(_)
        | BalanceError::Refused { .. }
        | BalanceError::Unknown { .. }
        | BalanceError::Busy { .. } => FailureKind::Balancer,
    };
    failed(kind, error.to_string())
}
