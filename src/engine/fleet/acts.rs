//! What is done on this machine by order of whoever drives: a deed, and how it went.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::pools;
use crate::{
    alert::Program,
    base::{Actor, Chain, ExitStatus, InvocationId, TimeSpan, UnitName},
    edge::{
        balance::Machine,
        errand::{self, ErrandEnd, ErrandName, Errands},
        store::{Batch, FleetWrite, Write},
    },
    engine::{Gone, Handle, settings::FleetSettings},
    fleet::{Argv, Commands, Deed, FailureKind, NodeName, PoolName, StepOrder, StepOutcome},
    node::{
        effect::{Outcome, Refusal},
        input::{ReloadName, Verb},
        status::Active,
    },
};

/// How long it may take until what a load balancer is about to forget is on the disk.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

fn program(argv: &Argv, timeout: TimeSpan) -> Program {
    Program {
        path: argv.first().map_or_else(String::new, ToString::to_string),
        argv: argv.iter().map(ToString::to_string).collect(),
        user: None,
        environment: BTreeMap::new(),
        timeout,
        unfit: None,
    }
}

impl Machine for Doer {
    fn node(&self) -> &NodeName {
        &self.settings.node
    }

    async fn reload(&self, unit: &UnitName) -> Result<(), String> {
        told(one(&self.handle, unit, Verb::Reload).await)
    }

    async fn run(
        &self,
        (pool, verb): (&PoolName, &'static str),
        argv: Argv,
        within: Duration,
    ) -> Result<(bool, Vec<u8>), String> {
        let timeout = TimeSpan::from_micros(u64::try_from(within.as_micros()).unwrap_or(u64::MAX));
        let (name, program) = (ErrandName::Pool(pool.clone(), verb), program(&argv, timeout));
        match errand::run(&self.errands, name, &program, Vec::new(), Vec::new()).await {
            Ok((ErrandEnd::Ended(status), said)) => Ok((status == ExitStatus::Exited(0), said)),
            Ok((ErrandEnd::Late, _)) => Err(format!("it took longer than {timeout}")),
            Ok((ErrandEnd::NotRun(failure), _)) => Err(format!("cannot be run: {failure}")),
            Ok((ErrandEnd::Busy, _)) => Err("it is under way already".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn keep(&self, (pool, server): (&PoolName, &str), definition: Option<String>) -> Result<(), String> {
        let store = self.handle.store();
        let write = FleetWrite::Definition { pool: pool.clone(), server: server.into(), definition };
        store.submit(Batch { seq: None, writes: vec![Write::Fleet(Box::new(write))] });
        let is_kept = store.flush(KEPT_WITHIN).await;
        if is_kept { Ok(()) } else { Err("the state database does not take it (supervisorctl doctor)".to_owned()) }
    }

    async fn kept(&self, pool: &PoolName) -> Result<BTreeMap<Box<str>, String>, String> {
        self.handle.store().fleet_definitions(pool.clone()).await.map_err(|error| Chain(&error).to_string())
    }
}

/// Whoever does it, with all that is needed.
#[derive(Clone)]
pub(super) struct Doer {
    pub(super) handle: Handle,
    pub(super) settings: Arc<FleetSettings>,
    pub(super) errands: Errands,
}

impl Doer {
    /// Does it.
    pub(super) async fn carry_out(self, order: StepOrder) -> StepOutcome {
        let within = order.deadline.duration().unwrap_or(Duration::MAX);
        let done = timeout(within, async {
            match &order.deed {
                Deed::Restart => restart(&self.handle, &order).await,
                Deed::Reload => self.reload(&order).await,
                Deed::Drain { pool, server } => {
                    pools::drain(&self, &self.settings.topology, (pool, server), order.plan, within).await
                }
                Deed::Undrain { pool, server } => {
                    pools::undrain(&self, &self.settings.topology, (pool, server), order.plan).await
                }
                Deed::Validate => self.own(&order, FailureKind::Invalid, |commands| commands.validate.as_ref()).await,
                Deed::Notify => self.own(&order, FailureKind::Exit, |commands| commands.notify.as_ref()).await,
            }
        });
        match done.await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_) => failed(FailureKind::Timeout, format!("it was not done within {}", order.deadline)),
        }
    }

    async fn reload(&self, order: &StepOrder) -> Done {
        let outcomes = self.handle.reload_once(Actor::PLAN, order.unit.clone(), ReloadName(order.id.0)).await;
        outcome_of(outcomes, &order.unit)?;
        let verified = self.own(order, FailureKind::Exit, |commands| commands.verify_reload.as_ref()).await;
        verified.map_err(without_effect)
    }

    /// A command of the service, where it names one.
    async fn own(&self, order: &StepOrder, bad: FailureKind, of: fn(&Commands) -> Option<&Argv>) -> Done {
        let service = self.settings.topology.services.get(&order.instance.service);
        let Some(argv) = service.and_then(|service| of(&service.commands)) else { return Ok(done()) };
        let program = program(argv, order.deadline);
        let ran = errand::run(&self.errands, ErrandName::Step(order.id), &program, Vec::new(), Vec::new()).await;
        let (end, said) = ran.map_err(|error| failed(FailureKind::Internal, error.to_string()))?;
        let name = &program.path;
        match end {
            ErrandEnd::Ended(ExitStatus::Exited(0)) => Ok(done()),
            ErrandEnd::Ended(status) => Err(failed(bad, format!("{name}: {status}{}", words(&said)))),
            ErrandEnd::Late => Err(failed(FailureKind::Timeout, format!("{name} took longer than {}", order.deadline))),
            ErrandEnd::NotRun(failure) => Err(failed(FailureKind::Internal, format!("cannot run {name}: {failure}"))),
            ErrandEnd::Busy => Err(failed(FailureKind::Internal, format!("{name} is under way already"))),
        }
    }
}

/// A reload that succeeded, of which its service's command says that it changed nothing.
pub(in crate::engine) fn without_effect(outcome: StepOutcome) -> StepOutcome {
    match outcome {
        StepOutcome::Failed { kind: FailureKind::Exit, reason } => {
            failed(FailureKind::Exit, format!("the reload was done and had no effect: {reason}"))
        }
        other @ (StepOutcome::Failed { .. } | StepOutcome::Done { .. }) => other,
    }
}

pub(in crate::engine) const fn done() -> StepOutcome {
    StepOutcome::Done { before: None, after: None }
}

pub(in crate::engine) fn failed(kind: FailureKind, reason: impl Into<String>) -> StepOutcome {
    StepOutcome::Failed { kind, reason: reason.into() }
}

pub(in crate::engine) type Done = Result<StepOutcome, StepOutcome>;

/// What a command has written last, after how it ended.
pub(in crate::engine) fn words(said: &[u8]) -> String {
    errand::last_line(said).map(|line| format!(": {line}")).unwrap_or_default()
}

/// Whether it was done; why not, for people.
pub(in crate::engine) fn told(done: Done) -> Result<(), String> {
    match done {
        Ok(StepOutcome::Done { .. }) | Err(StepOutcome::Done { .. }) => Ok(()),
        Ok(StepOutcome::Failed { reason, .. }) | Err(StepOutcome::Failed { reason, .. }) => Err(reason),
    }
}

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
    outcome_of(handle.order(Actor::PLAN, vec![unit.clone()], verb).await, unit)
}

fn outcome_of(outcomes: Result<Vec<(UnitName, Outcome)>, Gone>, unit: &UnitName) -> Done {
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
        Refusal::KeptElsewhere { .. } => (FailureKind::Exit, "its processes are its manager's".to_owned()),
        Refusal::NotDown => (FailureKind::Exit, "it is not down".to_owned()),
        Refusal::OneConnection => (FailureKind::Exit, "it serves one connection".to_owned()),
        Refusal::ReloadFailed => (FailureKind::Exit, "its reload failed".to_owned()),
        Refusal::Unkillable => (FailureKind::Exit, "its processes do not die".to_owned()),
        Refusal::Superseded => (FailureKind::OtherRun, "someone ordered something else meanwhile".to_owned()),
        Refusal::ShuttingDown => (FailureKind::Exit, "the daemon is stopping".to_owned()),
    };
    failed(kind, format!("{unit}: {reason}"))
}
