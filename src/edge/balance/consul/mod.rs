//! Consul, by the agent of the node that the instance is on (developer.hashicorp.com/consul/api-docs/agent/service).
//!
//! An instance in maintenance stays registered, and whoever looks the service up does not get it. One that is deregistered is kept
//! before, and forgotten when the agent knows it again: whatever ends in between, it can be registered as it was. Nothing is
//! believed to be done because an agent has said so: it is read back, and looked up as others do.

mod agent; // how it is spoken to

use std::{collections::BTreeMap, time::Duration};

use agent::{Agent, Own, Standing};
use tokio::time::{Instant, sleep};

use super::{BalanceError, Machine, Servers};
use crate::fleet::{Consul, ConsulMode, NodeName, PlanId, Pool, PoolName};

/// What our reasons for a maintenance begin with.
pub(super) const OURS: &str = "roundsman";
/// How often it is looked whether what was done is seen.
const PAUSE: Duration = Duration::from_millis(200);
/// How often an agent is told what it does not show afterwards.
const TRIES: u32 = 10;

/// A pool, and how its agent is spoken to.
type At<'a> = (&'a PoolName, &'a Consul);

pub(super) async fn at_agent(
    node: &NodeName,
    name: &PoolName,
    at: &Consul,
) -> Result<BTreeMap<Box<str>, Option<String>>, BalanceError> {
    let own = Agent::of(node, name, at)?.own().await?;
    Ok(own.into_iter().map(|(server, its)| (server, its.maintenance)).collect())
}

pub(super) async fn servers(machine: &impl Machine, name: &PoolName, at: &Consul) -> Result<Servers, BalanceError> {
    let agent = Agent::of(machine.node(), name, at)?;
    let (own, kept) = (agent.own().await?, kept(machine, name).await?);
    Ok(merged(&agent.catalog().await?, &own, &kept))
}

/// Those that are elsewhere count only while all is well with them; of those that are here the agent knows more than its catalog.
fn merged(
    catalog: &BTreeMap<Box<str>, Standing>,
    own: &BTreeMap<Box<str>, Own>,
    kept: &BTreeMap<Box<str>, String>,
) -> Servers {
    let elsewhere = catalog.iter().map(|(server, standing)| (server.clone(), *standing == Standing::Passing));
    let gone = kept.keys().map(|server| (server.clone(), false));
    let here = own.iter().map(|(server, its)| (server.clone(), its.standing != Standing::Critical));
    elsewhere.chain(gone).chain(here).collect()
}

async fn kept(machine: &impl Machine, name: &PoolName) -> Result<BTreeMap<Box<str>, String>, BalanceError> {
    let unread =
        |why| BalanceError::Unreached(format!("cannot read what of pool {name} is to be registered again: {why}"));
    machine.kept(name).await.map_err(unread)
}

pub(super) async fn drain(
    machine: &impl Machine,
    (name, at): At<'_>,
    (pool, server): (&Pool, &str),
    plan: Option<PlanId>,
    patience: Duration,
) -> Result<(), BalanceError> {
    let agent = Agent::of(machine.node(), name, at)?;
    let (own, kept) = (agent.own().await?, kept(machine, name).await?);
    let Some(instance) = own.get(server) else {
        // Whoever began this before did not come to its end.
        let is_gone = kept.contains_key(server);
        return if is_gone { wait_until_out(&agent, server, patience).await } else { Err(agent.unknown(server, &own)) };
    };
    let all = merged(&agent.catalog().await?, &own, &kept);
    super::leaves_enough(name, &all, (server, super::find(name, &all, server)?), pool.min_active)?;
    take_out(machine, &agent, (server, instance), plan).await?;
    wait_until_out(&agent, server, patience).await
}

async fn take_out(
    machine: &impl Machine,
    agent: &Agent<'_>,
    (server, instance): (&str, &Own),
    plan: Option<PlanId>,
) -> Result<(), BalanceError> {
    let (name, at) = (agent.pool, agent.at);
    match (&at.mode, &instance.maintenance) {
        // Whoever said so gives it its requests back.
        (ConsulMode::Maintenance | ConsulMode::Deregister(_), Some(reason)) if !super::is_ours(reason) => {
            tracing::warn!(pool = %name, server, reason, "it is in maintenance by somebody else's word already");
            Ok(())
        }
        (ConsulMode::Maintenance, Some(_)) => Ok(()),
        (ConsulMode::Maintenance, None) => {
            let reason = plan.map_or_else(|| OURS.to_owned(), |plan| format!("{OURS} plan {plan}"));
            agent.maintain(server, Some(&reason)).await
        }
        (ConsulMode::Deregister(file), _) => {
            let definition = agent.definition(server, instance, file.as_deref()).await?;
            let unkept = |why| {
                BalanceError::Unreached(format!(
                    "{server} of pool {name} stays registered: cannot keep how it is: {why}"
                ))
            };
            machine.keep((name, server), Some(definition)).await.map_err(unkept)?;
            agent.deregister(server).await
        }
    }
}

/// Until neither its agent nor the catalog offers it, and for as long again as others may not have heard of that.
async fn wait_until_out(agent: &Agent<'_>, server: &str, patience: Duration) -> Result<(), BalanceError> {
    if patience.is_zero() {
        return Ok(());
    }
    let began = Instant::now();
    let propagation = agent.at.propagation.duration().unwrap_or(Duration::MAX);
    loop {
        let is_out_here = agent.own().await?.get(server).is_none_or(|its| its.maintenance.is_some());
        if is_out_here && agent.catalog().await?.get(server).is_none_or(|its| *its == Standing::Critical) {
            break;
        }
        if began.elapsed() >= patience.saturating_sub(propagation) {
            let (waited, at) = (began.elapsed().as_secs(), &agent.url);
            let help = "does the agent reach its servers (consul members)?";
            let said = format!("{server} was taken out at {at} and is still offered after {waited} s; {help}");
            return Err(BalanceError::Refused { pool: agent.pool.clone(), said });
        }
        sleep(PAUSE).await;
    }
    sleep(propagation).await;
    Ok(())
}

pub(super) async fn undrain(
    machine: &impl Machine,
    (name, at): At<'_>,
    server: &str,
    plan: PlanId,
) -> Result<(), BalanceError> {
    let agent = Agent::of(machine.node(), name, at)?;
    let kept = kept(machine, name).await?;
    for nth in 0..TRIES {
        if nth > 0 {
            sleep(PAUSE).await;
        }
        let own = agent.own().await?;
        match (own.get(server), kept.get(server)) {
            (None, None) => return Err(agent.unknown(server, &own)),
            (None, Some(definition)) => agent.register(definition).await?,
            (Some(Own { maintenance: Some(reason), .. }), _) if super::is_ours(reason) => {
                agent.maintain(server, None).await?;
            }
            (Some(instance), definition) => {
                if let Some(reason) = &instance.maintenance {
                    tracing::warn!(pool = %name, server, reason, "it stays in maintenance, which is somebody else's word");
                }
                if definition.is_some() {
                    let unkept =
                        |why| BalanceError::Unreached(format!("{server} of pool {name} is registered again: {why}"));
                    machine.keep((name, server), None).await.map_err(unkept)?;
                }
                return agent.fire(server, plan).await;
            }
        }
    }
    let said = format!("{} has taken it that {server} is offered again, and does not show it", agent.url);
    Err(BalanceError::Refused { pool: name.clone(), said })
}

#[cfg(test)]
mod tests;
