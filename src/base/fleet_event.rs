//! What happens to a fleet, as one of its nodes tells it.

use super::{Field, Severity};

/// Something of the fleet that people are told. Names of nodes and ids of plans are texts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetEvent {
    /// A node is silent, or comes and goes.
    NodeFailed {
        /// Which.
        node: String,
        /// Since when, for people.
        reason: String,
    },
    /// It is heard again.
    NodeBack {
        /// Which.
        node: String,
    },
    /// Fewer than a majority of the nodes are reached.
    QuorumLost {
        /// So many.
        reached: u32,
        /// Of so many.
        members: u32,
    },
    /// A majority is.
    QuorumRegained {
        /// So many.
        reached: u32,
        /// Of so many.
        members: u32,
    },
    /// A node, this one or another, does not meet the others in Redis.
    BusUnreachable {
        /// Which.
        node: String,
        /// Why, for people.
        reason: String,
    },
    /// This node meets the others again.
    BusReached {
        /// Which.
        node: String,
    },
    /// A node is behind with its commands.
    SlowReplication {
        /// Which.
        node: String,
        /// By how much, for people.
        reason: String,
    },
    /// It is not any more.
    CaughtUp {
        /// Which.
        node: String,
    },
    /// A plan is carried out from now on.
    RolloutBegan {
        /// Which.
        plan: String,
        /// What it does, for people.
        what: String,
    },
    /// It is over.
    RolloutEnded {
        /// Which.
        plan: String,
    },
    /// A plan waits for someone.
    RolloutPaused {
        /// Which.
        plan: String,
        /// For what.
        reason: String,
    },
    /// It goes on, or is over.
    RolloutResumed {
        /// Which.
        plan: String,
    },
}

impl FleetEvent {
    /// Its stable name, in snake_case.
    pub const fn event(&self) -> &'static str {
        match self {
            Self::NodeFailed { .. } => "node_failed",
            Self::NodeBack { .. } => "node_back",
            Self::QuorumLost { .. } => "quorum_lost",
            Self::QuorumRegained { .. } => "quorum_regained",
            Self::BusUnreachable { .. } => "bus_unreachable",
            Self::BusReached { .. } => "bus_reached",
            Self::SlowReplication { .. } => "slow_replication",
            Self::CaughtUp { .. } => "caught_up",
            Self::RolloutBegan { .. } => "rollout_running",
            Self::RolloutEnded { .. } => "rollout_ended",
            Self::RolloutPaused { .. } => "rollout_paused",
            Self::RolloutResumed { .. } => "rollout_resumed",
        }
    }

    /// Whether it ends something that people were told of.
    pub const fn is_end(&self) -> bool {
        match self {
            Self::NodeBack { .. }
            | Self::QuorumRegained { .. }
            | Self::BusReached { .. }
            | Self::CaughtUp { .. }
            | Self::RolloutEnded { .. }
            | Self::RolloutResumed { .. } => true,
            Self::NodeFailed { .. }
            | Self::QuorumLost { .. }
            | Self::BusUnreachable { .. }
            | Self::SlowReplication { .. }
            | Self::RolloutBegan { .. }
            | Self::RolloutPaused { .. } => false,
        }
    }

    /// How much it matters.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::NodeFailed { .. } | Self::QuorumLost { .. } | Self::BusUnreachable { .. } => Severity::Critical,
            Self::SlowReplication { .. } | Self::RolloutPaused { .. } => Severity::Warning,
            Self::NodeBack { .. }
            | Self::QuorumRegained { .. }
            | Self::BusReached { .. }
            | Self::CaughtUp { .. }
            | Self::RolloutBegan { .. }
            | Self::RolloutEnded { .. }
            | Self::RolloutResumed { .. } => Severity::Info,
        }
    }

    /// One sentence for people, without a full stop.
    pub fn message(&self) -> String {
        match self {
            Self::NodeFailed { node, reason } => format!("node {node} has failed: {reason}"),
            Self::NodeBack { node } => format!("node {node} is back"),
            Self::QuorumLost { reached, members } => {
                format!("the fleet has no quorum: {reached} of {members} nodes are reached")
            }
            Self::QuorumRegained { reached, members } => {
                format!("the fleet has a quorum: {reached} of {members} nodes are reached")
            }
            Self::BusUnreachable { node, reason } => format!("node {node} does not meet the fleet: {reason}"),
            Self::BusReached { node } => format!("node {node} meets the fleet again"),
            Self::SlowReplication { node, reason } => format!("node {node} is behind: {reason}"),
            Self::CaughtUp { node } => format!("node {node} has caught up"),
            Self::RolloutBegan { plan, what } => format!("plan {plan} is carried out: {what}"),
            Self::RolloutEnded { plan } => format!("plan {plan} is over"),
            Self::RolloutPaused { plan, reason } => format!("plan {plan} waits for someone: {reason}"),
            Self::RolloutResumed { plan } => format!("plan {plan} goes on, or is over"),
        }
    }

    /// Its values by name.
    pub fn fields(&self) -> Vec<(&'static str, Field)> {
        let text = |value: &String| Field::Text(value.clone());
        match self {
            Self::NodeFailed { node, reason }
            | Self::BusUnreachable { node, reason }
            | Self::SlowReplication { node, reason } => vec![("node", text(node)), ("reason", text(reason))],
            Self::NodeBack { node } | Self::BusReached { node } | Self::CaughtUp { node } => vec![("node", text(node))],
            Self::QuorumLost { reached, members } | Self::QuorumRegained { reached, members } => {
                vec![("reached", Field::Number((*reached).into())), ("members", Field::Number((*members).into()))]
            }
            Self::RolloutPaused { plan, reason } => vec![("plan", text(plan)), ("reason", text(reason))],
            Self::RolloutBegan { plan, what } => vec![("plan", text(plan)), ("what", text(what))],
            Self::RolloutEnded { plan } | Self::RolloutResumed { plan } => vec![("plan", text(plan))],
        }
    }
}
