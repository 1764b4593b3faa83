//! What is said to a driver and by it, and where a plan can stand.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    super::{Answer, Instance, NodeName, PlanId, Report, Seq, StepOrder, Token},
    Failure, Stage, Wait,
};
use crate::base::{Mono, TimeSpan};

/// What comes to a driver.
#[derive(Debug, Clone)]
pub enum RolloutInput {
    /// It drives until then.
    Lease(Mono),
    /// Why it is not the time to act, or that it is.
    Window(Option<String>),
    /// Whether it was made for another inventory than there is.
    Outdated(Option<Outdated>),
    /// A node says how it is.
    Report {
        /// Which.
        node: NodeName,
        /// Where that stands in all that it says.
        seq: Seq,
        /// How old it is, by the clock of whoever carried it.
        age: TimeSpan,
        /// What it says.
        report: Report,
    },
    /// A node answers.
    Answer {
        /// Which.
        node: NodeName,
        /// Where that stands in all that it says.
        seq: Seq,
        /// How old it is, by the clock of whoever carried it.
        age: TimeSpan,
        /// What it says.
        answer: Answer,
    },
    /// Someone wants something.
    Say(Say),
    /// Time has passed.
    Tick,
}

/// A plan that was made for another inventory: nothing more of it is begun, and it can be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// That it was, and what to do, for people.
    pub reason: String,
    /// Nodes of it that there are no more: nobody waits for them.
    pub gone: BTreeSet<NodeName>,
}

/// What people want of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// To the plan, or to a wave of it.
    Approve {
        /// Which wave; none is the plan.
        wave: Option<usize>,
        /// Who.
        by: String,
    },
    /// Nothing more is begun, for this reason.
    Pause {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// It goes on, and tries anew what failed.
    Resume {
        /// Who.
        by: String,
    },
    /// It ends: what is drained and well gets its requests back.
    Abort {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// It is driven from another node from now on.
    Take {
        /// Which.
        node: NodeName,
        /// Who.
        by: String,
    },
    /// This one is neither acted on nor waited for.
    Quarantine {
        /// Which.
        instance: Instance,
        /// Who.
        by: String,
    },
}

/// What a driver wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutEffect {
    /// Ask a node to obey this driver.
    Prepare(NodeName, Token, PlanId),
    /// Order a step of a node.
    Order(NodeName, Token, Box<StepOrder>),
    /// Write this into the plan's journal.
    Record(Event),
}

/// What cannot be learnt from the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Someone agreed to the plan, or to a wave.
    Approved {
        /// Which wave; none is the plan.
        wave: Option<usize>,
        /// Who.
        by: String,
    },
    /// Nothing more is begun.
    Paused {
        /// Why.
        reason: String,
        /// Who; none is the plan's policy.
        by: Option<String>,
    },
    /// It goes on.
    Resumed {
        /// Who.
        by: String,
    },
    /// It is to end.
    Aborting {
        /// Why.
        reason: String,
        /// Who; none is the plan's policy.
        by: Option<String>,
    },
    /// Someone wants it driven from there.
    Taken {
        /// Where.
        node: NodeName,
        /// Who.
        by: String,
    },
    /// Nobody counts on this one.
    Quarantined {
        /// Which.
        instance: Instance,
        /// Who.
        by: String,
    },
    /// A task is tried anew.
    Retried {
        /// Whose.
        instance: Instance,
        /// The how manieth time it is.
        attempt: u32,
    },
    /// A task is done.
    Done(Instance),
    /// A task failed.
    Failed(Instance, Failure),
    /// It is over.
    Ended(End),
}

/// Where a plan stands as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Nobody has agreed to it.
    Unapproved,
    /// It goes on.
    Running,
    /// Nothing more is begun.
    Paused {
        /// Why.
        reason: String,
    },
    /// It is to end once nothing is under way.
    Aborting {
        /// Why.
        reason: String,
    },
    /// It is over.
    Ended(End),
}

/// How a plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All of it was done.
    Succeeded,
    /// It was given up.
    Aborted,
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unapproved => write!(f, "was not agreed to yet"),
            Self::Running => write!(f, "goes on"),
            Self::Paused { reason } => write!(f, "is paused: {reason}"),
            Self::Aborting { reason } => write!(f, "is being aborted: {reason}"),
            Self::Ended(End::Succeeded) => write!(f, "has succeeded"),
            Self::Ended(End::Aborted) => write!(f, "was aborted"),
        }
    }
}

/// Where one task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Of whom.
    pub instance: &'a Instance,
    /// Where.
    pub stage: Stage,
    /// The same in the word of a report.
    pub class: Class,
    /// Why it does not go on, if it could.
    pub waits: Option<Wait>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// What became of an instance, in the words of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing was done to it.
    Untouched,
    /// All was done.
    Done,
    /// Something is being done.
    InFlight,
    /// It failed.
    Failed,
    /// Nobody knows whether something was done.
    Unknown,
    /// A load balancer still sends it nothing.
    LeftDrained,
    /// Someone gave it up.
    Quarantined,
}
