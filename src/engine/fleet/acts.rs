//! What is done on this machine by order of whoever drives: a deed, and how it went.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    base::{Actor, InvocationId, UnitName},
    edge::balance::{self, BalanceError},
    engine::{Handle, settings::FleetSettings},
    fleet::{Deed, FailureKind, PoolName, StepOrder, StepOutcome},
    node::{
        effect::{Outcome, Refusal},
        input::Verb,
        status::Active,
    },
};

/// Does it.
pub(super) async fn carry_out(handle: Handle, settings: Arc<FleetSettings>, order: StepOrder) -> StepOutcome {
    let within = order.deadline.duration().unwrap_or(Duration::MAX);
    let done = match &order.deed {
        Deed::Restart => timeout(within, restart(&handle, &order)).await,
        Deed::Reload => timeout(within, one(&handle, &order.unit, Verb::Reload)).await,
        Deed::Drain { pool, server } => timeout(within, drain(&settings, pool, server, within)).await,
        Deed::Undrain { pool, server } => timeout(within, undrain(&settings, pool, server)).await,
        // Nothing is to be looked at, or to be told, where the unit names no command for it.
        Deed::Validate | Deed::Notify => Ok(Ok(done())),
    };
    match done {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => failed(FailureKind::Timeout, format!("it was not done within {}", order.deadline)),
    }
}

const fn done() -> StepOutcome {
    StepOutcome::Done { before: None, after: None }
}

fn failed(kind: FailureKind, reason: impl Into<String>) -> StepOutcome {
    StepOutcome::Failed { kind, reason: reason.into() }
}

type Done = Result<StepOutcome, StepOutcome>;

async fn restart(handle: &Handle, order: &StepOrder) -> Done {
    let unit = &order.unit;
    let (before, is_failed) = run(handle, unit).await?;
    if order.expects.is_some_and(|expected| before != Some(expected)) {
        let reason = format!("{unit} was restarted by someone else meanwhile");
        return Err(failed(FailureKind::OtherRun, reason));
    }
    if is_failed {
        // Whoever wants it restarted wants it to be started (systemd: reset-failed before restart).
        one(handle, unit, Verb::Reset).await?;
    }
    one(handle, unit, Verb::Restart).await?;
    let (after, _) = run(handle, unit).await?;
    Ok(StepOutcome::Done { before, after })
}

async fn run(handle: &Handle, unit: &UnitName) -> Result<(Option<InvocationId>, bool), StepOutcome> {
    let states = handle.states().await.map_err(|gone| failed(FailureKind::Internal, gone.to_string()))?;
    let state = states.into_iter().find(|state| state.status.name == *unit);
    let state = state.ok_or_else(|| failed(FailureKind::Exit, format!("there is no unit {unit} on this node")))?;
    Ok((state.status.invocation, state.status.active == Active::Failed))
}

async fn one(handle: &Handle, unit: &UnitName, verb: Verb) -> Done {
    let outcomes = handle.order(Actor::PLAN, vec![unit.clone()], verb).await;
    let outcomes = outcomes.map_err(|gone| failed(FailureKind::Internal, gone.to_string()))?;
    match outcomes.into_iter().find(|(of, _)| of == unit).map(|(_, outcome)| outcome) {
        Some(Outcome::Failed(refusal)) => Err(refused(unit, &refusal)),
        Some(Outcome::Done | Outcome::Already | Outcome::Skipped | Outcome::Cleared { .. } | Outcome::Checked(_)) => {
            Ok(done())
        }
        None => Err(failed(FailureKind::Internal, format!("nothing was heard of {unit}"))),
    }
}

fn refused(unit: &UnitName, refusal: &Refusal) -> StepOutcome {
    let (kind, reason) = match refusal {
        Refusal::UnknownUnit { .. } => (FailureKind::Exit, "there is no such unit on this node".to_owned()),
        Refusal::StartFailed { result, .. } => (FailureKind::Exit, format!("its start failed ({})", result.as_str())),
        Refusal::CannotListen { failure } => (FailureKind::Exit, format!("its sockets cannot be opened: {failure}")),
        Refusal::DependencyFailed { needs } => (FailureKind::Exit, format!("{needs}, which it needs, did not start")),
        Refusal::StartLimitHit => (FailureKind::StartLimit, "it is at its start limit".to_owned()),
        Refusal::CannotReload => (FailureKind::Exit, "it cannot reload (it has no exec_reload)".to_owned()),
        Refusal::NotRunning => (FailureKind::Exit, "it is not up".to_owned()),
        Refusal::NotDown => (FailureKind::Exit, "it is not down".to_owned()),
        Refusal::OneConnection => (FailureKind::Exit, "it serves one connection".to_owned()),
        Refusal::ReloadFailed => (FailureKind::Exit, "its reload failed".to_owned()),
        Refusal::Unkillable => (FailureKind::Exit, "its processes do not die".to_owned()),
        Refusal::Superseded => (FailureKind::OtherRun, "someone ordered something else meanwhile".to_owned()),
        Refusal::ShuttingDown => (FailureKind::Exit, "the daemon is stopping".to_owned()),
    };
    failed(kind, format!("{unit}: {reason}"))
}

async fn drain(settings: &FleetSettings, name: &PoolName, server: &str, within: Duration) -> Done {
    let Some(pool) = settings.topology.pools.get(name) else {
        return Err(failed(FailureKind::Balancer, format!("there is no pool {name} in fleet.toml here")));
    };
    let drained = balance::drain(name, pool, server, within).await;
    drained.map(|()| done()).map_err(|error| balancer(&error))
}

async fn undrain(settings: &FleetSettings, name: &PoolName, server: &str) -> Done {
    let Some(pool) = settings.topology.pools.get(name) else {
        return Err(failed(FailureKind::Balancer, format!("there is no pool {name} in fleet.toml here")));
    };
    balance::undrain(name, &pool.kind, server).await.map(|()| done()).map_err(|error| balancer(&error))
}

fn balancer(error: &BalanceError) -> StepOutcome {
    failed(FailureKind::Balancer, error.to_string())
}
