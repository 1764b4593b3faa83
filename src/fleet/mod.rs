//! Decisions over many machines: what is done to which instance, in which order, and what may never happen meanwhile.
//!
//! Pure, as `node` is for one machine. A *plan* is a function of what there is (the topology), what is wanted (the intent) and
//! what is known (the facts); it is shown, approved and carried out by its digest.
#![forbid(unsafe_code)]

mod membership; // who is alive
mod name;
mod plan;
mod planner;
mod rollout; // carries a plan out
mod rules; // what keeps it safe
mod share;
mod spelling; // of words in messages and rows
mod step;
mod target; // what a node does about orders
mod topology;
mod view; // what a driver knows of the nodes
mod window; // when

pub use membership::{Alarm, Heartbeat, Membership, MembershipEffect, MembershipInput, Presence, Quorum, Sign};
pub use name::{FleetName, Instance, NameError, NodeName, PoolName, ServiceName, ZoneName};
pub use plan::{Action, Blocker, Intent, Plan, Task, Verb, Wave, Why};
pub use planner::{Condition, Facts, PlanError, PoolFact, Reach, plan};
pub use rollout::{
    Class, Control, End, Event, Failure, Outdated, Progress, Rollout, RolloutEffect, RolloutInput, Say, Stage,
    Unavailable, Wait,
};
pub use rules::Rules;
pub use share::{Share, ShareError};
pub use step::{Deed, FailureKind, IdError, Phase, PlanId, StepId, StepOrder, StepOutcome, Token};
pub use target::{Answer, Entry, LEDGER_MAX, Row, Target, TargetEffect, TargetInput, Verdict};
pub use topology::{
    AfterDrain, Approve, Argv, Canary, Commands, Consul, ConsulMode, Deadlines, Edge, Fault, INSTANCES_MAX, NODES_MAX,
    Node, OnFailure, Place, Policy, Pool, PoolKind, Require, Scope, Service, Topology, Transport, WordError,
};
pub use view::{Observed, Report, Seq};
pub use window::{Window, WindowError, closed};

#[cfg(test)]
mod tests;
