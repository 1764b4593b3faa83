//! Where one task stands. That is never stored: it follows from what the nodes know of its steps and from what is seen.

use std::{collections::BTreeMap, slice};

use serde::{Deserialize, Serialize};

use super::super::{
    Action, Deed, Entry, FailureKind, NodeName, Phase, Plan, PlanId, PoolName, StepId, StepOutcome, Task, Topology,
};
use crate::base::{Mono, TimeSpan};

/// The act that follows a reload which did not work.
const ESCALATED: &str = "restart";
/// How often what does no harm when it is done twice is tried at a node that dies meanwhile.
const TRIES: u32 = 3;

/// A task and what was seen of it.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) task: Task,
    pub(super) wave: usize,
    pub(super) attempt: u32,
    pub(super) steps: Steps,
    /// Since when it is waited for that it becomes well.
    pub(super) healing: Option<Mono>,
    /// It was well after what was done to it.
    pub(super) was_well: bool,
    /// Why what was done to it is a failure all the same.
    pub(super) failure: Option<Failure>,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// At what.
    pub at: Stage,
    /// What kind of failure.
    pub kind: FailureKind,
    /// Why, for people.
    pub reason: String,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was begun.
    Waiting,
    /// Load balancers send it nothing new, and its connections end.
    Draining,
    /// Its configuration is looked at.
    Validating,
    /// It is about to be acted on, or is.
    Acting,
    /// It was acted on, and is not well yet.
    Healing,
    /// Load balancers send it requests again.
    Undraining,
    /// All of it is done.
    Well,
    /// It gets its requests back without having been acted on, or after a failure that left it well.
    Undoing,
    /// That is done; it has to be tried anew.
    Undone,
    /// The node died within a step, and it is to be seen whether it was done.
    Unclear,
    /// It failed.
    Failed,
}

impl Stage {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Draining => "draining",
            Self::Validating => "validating",
            Self::Acting => "acting",
            Self::Healing => "healing",
            Self::Undraining => "undraining",
            Self::Well => "well",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Unclear => "unclear",
            Self::Failed => "failed",
        }
    }
}

/// A step and where it is done.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// One name for each try.
    ids: Vec<StepId>,
    pub(super) at: NodeName,
    pub(super) deed: Deed,
}

impl Step {
    /// The name of the try that counts: the first one, or what came after a node's death within it. Who gets its requests back
    /// gets them also when another driver came just then; whatever else that kept from being begun is another attempt.
    pub(super) fn id(&self, ledger: &Ledger) -> StepId {
        let is_undrain = matches!(self.deed, Deed::Undrain { .. });
        let is_cut_short = |id: &&StepId| match ledger.get(*id).and_then(|known| known.entry.as_ref()) {
            Some(Entry::Interrupted { .. }) => true,
            Some(Entry::Over(StepOutcome::Failed { kind: FailureKind::Superseded, .. })) => is_undrain,
            Some(Entry::Started { .. } | Entry::Over(_)) | None => false,
        };
        let last = self.ids.last().copied().unwrap_or(StepId([0; 16]));
        self.ids.iter().find(|id| !is_cut_short(id)).copied().unwrap_or(last)
    }

    fn known<'a>(&self, ledger: &'a Ledger) -> Option<&'a Known> {
        ledger.get(&self.id(ledger))
    }

    fn entry<'a>(&self, ledger: &'a Ledger) -> Option<&'a Entry> {
        self.known(ledger)?.entry.as_ref()
    }

    /// Whether a node may have heard of it.
    fn is_begun(&self, ledger: &Ledger) -> bool {
        self.ids.iter().any(|id| ledger.contains_key(id))
    }

    /// Whether there is no more to be expected of it.
    pub(super) fn is_over(&self, ledger: &Ledger) -> bool {
        matches!(self.entry(ledger), Some(Entry::Over(_)))
    }

    /// Whether a node may be doing it, or may begin to.
    pub(super) fn is_under_way(&self, ledger: &Ledger) -> bool {
        match self.known(ledger) {
            Some(Known { entry: Some(Entry::Started { .. }) | None, .. }) => true,
            Some(Known { entry: Some(Entry::Over(_) | Entry::Interrupted { .. }), .. }) | None => false,
        }
    }
}

/// All steps that an attempt may need.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    pub(super) drains: Vec<Step>,
    pub(super) validate: Step,
    pub(super) act: Step,
    /// What follows a reload that did not work.
    pub(super) restart: Step,
    pub(super) undrains: Vec<Step>,
}

/// What is known of a step.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Where.
    pub(super) at: NodeName,
    /// When it was sent last.
    pub(super) sent: Option<Mono>,
    /// What its node says.
    pub(super) entry: Option<Entry>,
}

pub(super) type Ledger = BTreeMap<StepId, Known>;

impl Steps {
    pub(super) fn new(topology: &Topology, plan: PlanId, task: &Task, attempt: u32) -> Self {
        let step = |phase: Phase, place: &str, at: &NodeName, deed: Deed| {
            let tries = if deed.is_harmless_twice() { TRIES } else { 1 };
            let name = |nth: u32| StepId::new(plan, &task.instance, phase, &format!("{place}#{nth}"), attempt);
            Step { ids: (1..=tries).map(name).collect(), at: at.clone(), deed }
        };
        let node = &task.instance.node;
        let at_pools = |phase: Phase, deed: fn(PoolName, Box<str>) -> Deed| {
            let places = task.drains.iter().flat_map(|(pool, server)| {
                let hosts = topology.pools.get(pool).into_iter().flat_map(|known| known.hosts_for(node));
                hosts.map(move |host| (pool, server, host))
            });
            let made = places.map(|(pool, server, host)| {
                step(phase, &format!("{pool}/{host}"), host, deed(pool.clone(), server.clone()))
            });
            made.collect()
        };
        let deed = match task.action {
            Action::Notify => Deed::Notify,
            Action::Reload | Action::ReloadOrRestart => Deed::Reload,
            Action::Restart => Deed::Restart,
        };
        Self {
            drains: at_pools(Phase::Drain, |pool, server| Deed::Drain { pool, server }),
            validate: step(Phase::Validate, "", node, Deed::Validate),
            act: step(Phase::Act, "", node, deed),
            restart: step(Phase::Act, ESCALATED, node, Deed::Restart),
            undrains: at_pools(Phase::Undrain, |pool, server| Deed::Undrain { pool, server }),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Step> {
        let single = [&self.validate, &self.act, &self.restart];
        self.drains.iter().chain(single).chain(&self.undrains)
    }
}

/// How some steps of the same kind stand.
enum Group {
    Done,
    Pending,
    /// A node died within one, which found this run of the unit.
    Unclear,
    Failed(FailureKind, String),
}

impl Run {
    pub(super) fn new(topology: &Topology, plan: PlanId, task: &Task, wave: usize, attempt: u32) -> Self {
        let steps = Steps::new(topology, plan, task, attempt);
        Self { task: task.clone(), wave, attempt, steps, healing: None, was_well: false, failure: None }
    }

    pub(super) fn of_plan(topology: &Topology, id: PlanId, plan: &Plan) -> Vec<Self> {
        let waves = plan.waves.iter().enumerate();
        waves.flat_map(|(nth, wave)| wave.tasks.iter().map(move |task| Self::new(topology, id, task, nth, 1))).collect()
    }

    /// Where its steps are done.
    pub(super) fn places(&self) -> impl Iterator<Item = &NodeName> {
        self.steps.drains.iter().map(|step| &step.at).chain([&self.task.instance.node])
    }

    /// Whether some of its steps are done at that node.
    pub(super) fn is_at(&self, node: &NodeName) -> bool {
        self.places().any(|at| at == node)
    }

    /// Whether a node may have begun something of another attempt.
    pub(super) fn was_begun(&self, topology: &Topology, plan: PlanId, attempt: u32, ledger: &Ledger) -> bool {
        Steps::new(topology, plan, &self.task, attempt).all().any(|step| step.is_begun(ledger))
    }

    /// Begins it anew, by steps of new names.
    pub(super) fn retry(&mut self, topology: &Topology, plan: PlanId) {
        *self = Self::new(topology, plan, &self.task, self.wave, self.attempt + 1);
    }

    pub(super) fn stage(&self, ledger: &Ledger) -> Stage {
        let (stage, _) = self.forward(ledger);
        let is_over = matches!(stage, Stage::Undraining | Stage::Well);
        match stage {
            Stage::Failed => Stage::Failed,
            // Whoever gives it back its requests does not act on it in the same attempt.
            _ if self.gives_back(ledger) && !is_over => {
                if self.left_drained(ledger).next().is_none() {
                    Stage::Undone
                } else {
                    Stage::Undoing
                }
            }
            Stage::Waiting
            | Stage::Draining
            | Stage::Validating
            | Stage::Acting
            | Stage::Healing
            | Stage::Undraining
            | Stage::Well
            | Stage::Undoing
            | Stage::Undone
            | Stage::Unclear => stage,
        }
    }

    fn gives_back(&self, ledger: &Ledger) -> bool {
        self.steps.undrains.iter().any(|step| step.is_begun(ledger))
    }

    /// Why it failed, if it did.
    pub(super) fn failed(&self, ledger: &Ledger) -> Option<Failure> {
        self.forward(ledger).1
    }

    /// Where it stands on the way that it takes if nothing comes between.
    fn forward(&self, ledger: &Ledger) -> (Stage, Option<Failure>) {
        let failed = |at: Stage, kind: FailureKind, reason: String| (Stage::Failed, Some(Failure { at, kind, reason }));
        if let Some(failure) = &self.failure {
            return (Stage::Failed, Some(failure.clone()));
        }
        for (stage, steps) in self.way(ledger) {
            match group(ledger, steps) {
                Group::Done => {}
                Group::Pending if !self.is_begun(ledger) => return (Stage::Waiting, None),
                Group::Pending => return (stage, None),
                Group::Unclear => return (Stage::Unclear, None),
                Group::Failed(kind, _) if is_to_be_tried_anew(kind) => return (Stage::Undone, None),
                Group::Failed(kind, reason) => return failed(stage, kind, reason),
            }
        }
        // What a driver before this one sent requests to again was well.
        if !self.was_well && !self.gives_back(ledger) {
            return (Stage::Healing, None);
        }
        let undrains = if self.is_disruptive(ledger) { self.steps.undrains.as_slice() } else { &[] };
        match group(ledger, undrains) {
            Group::Done => (Stage::Well, None),
            Group::Pending => (Stage::Undraining, None),
            Group::Unclear => (Stage::Unclear, None),
            Group::Failed(kind, reason) => failed(Stage::Undraining, kind, reason),
        }
    }

    /// Its phases up to the act, in order; one without steps is left out.
    fn way(&self, ledger: &Ledger) -> [(Stage, &[Step]); 3] {
        let Steps { drains, validate, act, restart, .. } = &self.steps;
        let validates = (Stage::Validating, slice::from_ref(validate));
        if self.task.action.is_disruptive() {
            [(Stage::Draining, drains), validates, (Stage::Acting, slice::from_ref(act))]
        } else if self.is_escalated(ledger) {
            [validates, (Stage::Draining, drains), (Stage::Acting, slice::from_ref(restart))]
        } else {
            [validates, (Stage::Draining, &[]), (Stage::Acting, slice::from_ref(act))]
        }
    }

    /// The steps of the phase that is not done.
    pub(super) fn next_steps(&self, ledger: &Ledger) -> Vec<Step> {
        let next = self.way(ledger).into_iter().find(|(_, steps)| !matches!(group(ledger, steps), Group::Done));
        next.map_or_else(Vec::new, |(_, steps)| steps.to_vec())
    }

    /// Whether a restart follows since the reload did not work. Never because of a configuration that is not sound.
    pub(super) fn is_escalated(&self, ledger: &Ledger) -> bool {
        let is_wanted = self.task.action == Action::ReloadOrRestart;
        is_wanted
            && match group(ledger, slice::from_ref(&self.steps.act)) {
                Group::Failed(FailureKind::Invalid, _) | Group::Done | Group::Pending | Group::Unclear => false,
                Group::Failed(..) => true,
            }
    }

    /// Whether the act of this attempt takes it down, so that it is drained before.
    pub(super) fn is_disruptive(&self, ledger: &Ledger) -> bool {
        self.task.action.is_disruptive() || self.is_escalated(ledger)
    }

    /// The act of this attempt.
    pub(super) fn act(&self, ledger: &Ledger) -> &Step {
        if self.is_escalated(ledger) { &self.steps.restart } else { &self.steps.act }
    }

    /// Whether a node may have begun something of it, in this attempt.
    pub(super) fn is_begun(&self, ledger: &Ledger) -> bool {
        self.steps.all().any(|step| step.is_begun(ledger))
    }

    /// Whether an act of this attempt may be under way, or may have been done.
    pub(super) fn may_be_acted_on(&self, ledger: &Ledger) -> bool {
        self.act(ledger).is_begun(ledger)
    }

    /// The steps that a node may be doing now.
    pub(super) fn under_way<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = &'a Step> {
        self.steps.all().filter(|step| step.is_under_way(ledger))
    }

    /// What undoes the drains that nobody undid. An attempt after the first may have found it drained.
    pub(super) fn left_drained<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = &'a Step> {
        let pairs = self.steps.drains.iter().zip(&self.steps.undrains);
        let open = pairs.filter(|(drain, undrain)| {
            let is_drained = self.attempt > 1 || may_hold(ledger, drain);
            is_drained && !matches!(group(ledger, slice::from_ref(undrain)), Group::Done)
        });
        open.map(|(_, undrain)| undrain)
    }

    /// The drains of this attempt that may hold already, whatever their load balancers reported last.
    pub(super) fn drains_begun<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = &'a Step> {
        let pairs = self.steps.drains.iter().zip(&self.steps.undrains);
        let open = pairs.filter(|(drain, undrain)| {
            may_hold(ledger, drain) && !matches!(group(ledger, slice::from_ref(undrain)), Group::Done)
        });
        open.map(|(drain, _)| drain)
    }

    /// How long a step of a stage may take.
    pub(super) fn deadline(topology: &Topology, task: &Task, deed: &Deed) -> TimeSpan {
        let deadlines = topology.services.get(&task.instance.service).map(|service| service.policy.deadlines);
        let deadlines = deadlines.unwrap_or_default();
        match deed {
            Deed::Drain { .. } => deadlines.drain,
            Deed::Validate => deadlines.validate,
            Deed::Undrain { .. } | Deed::Notify | Deed::Reload | Deed::Restart => deadlines.act,
        }
    }
}

/// Whether nothing was done, for a reason that may be over: what was expected was not there any more.
const fn is_to_be_tried_anew(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Superseded | FailureKind::OtherRun | FailureKind::TooFew => true,
        FailureKind::Timeout
        | FailureKind::Exit
        | FailureKind::Invalid
        | FailureKind::StartLimit
        | FailureKind::Balancer
        | FailureKind::HostKey
        | FailureKind::Connection
        | FailureKind::Unhealthy
        | FailureKind::Internal => false,
    }
}

fn may_hold(ledger: &Ledger, drain: &Step) -> bool {
    drain.is_begun(ledger) && !is_refused(ledger, drain)
}

/// Whether a load balancer said that it did not drain, so that there is nothing to undo.
fn is_refused(ledger: &Ledger, step: &Step) -> bool {
    match step.entry(ledger) {
        Some(Entry::Over(StepOutcome::Failed { kind, .. })) => match kind {
            FailureKind::Balancer
            | FailureKind::TooFew
            | FailureKind::Superseded
            | FailureKind::HostKey
            | FailureKind::Connection => true,
            FailureKind::Timeout
            | FailureKind::Exit
            | FailureKind::Invalid
            | FailureKind::OtherRun
            | FailureKind::StartLimit
            | FailureKind::Unhealthy
            | FailureKind::Internal => false,
        },
        Some(Entry::Over(StepOutcome::Done { .. }) | Entry::Started { .. } | Entry::Interrupted { .. }) | None => false,
    }
}

fn group(ledger: &Ledger, steps: &[Step]) -> Group {
    let mut is_done = true;
    for step in steps {
        match step.entry(ledger) {
            Some(Entry::Over(StepOutcome::Failed { kind, reason })) => return Group::Failed(*kind, reason.clone()),
            Some(Entry::Interrupted { .. }) => return Group::Unclear,
            Some(Entry::Over(StepOutcome::Done { .. })) => {}
            Some(Entry::Started { .. }) | None => is_done = false,
        }
    }
    if is_done { Group::Done } else { Group::Pending }
}
