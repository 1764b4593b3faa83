//! Alerts about a fleet: those of which one node tells for all.

use std::fmt;

use super::{Alerts, Closing, Report, Subject, Topic};
use crate::base::{FleetEvent, Notice, Now};

/// What of a fleet an incident is about. Names of nodes and ids of plans are texts here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A node.
    Node(String),
    /// How far a node is with its commands.
    Commands(String),
    /// Whether there is a majority.
    Quorum,
    /// That a plan waits.
    Plan(String),
    /// That a plan is carried out.
    Run(String),
}

impl Part {
    /// Of what an event speaks.
    pub fn of(event: &FleetEvent) -> Self {
        match event {
            FleetEvent::NodeFailed { node, .. }
            | FleetEvent::NodeBack { node }
            | FleetEvent::BusUnreachable { node, .. }
            | FleetEvent::BusReached { node } => Self::Node(node.clone()),
            FleetEvent::QuorumLost { .. } | FleetEvent::QuorumRegained { .. } => Self::Quorum,
            FleetEvent::SlowReplication { node, .. } | FleetEvent::CaughtUp { node } => Self::Commands(node.clone()),
            FleetEvent::RolloutPaused { plan, .. } | FleetEvent::RolloutResumed { plan } => Self::Plan(plan.clone()),
            FleetEvent::RolloutBegan { plan, .. } | FleetEvent::RolloutEnded { plan } => Self::Run(plan.clone()),
        }
    }

    /// What it is called after its event, where there is more than one: `node_failed:vm3`, but `quorum_lost`.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Node(name) | Self::Commands(name) | Self::Plan(name) | Self::Run(name) => Some(name),
            Self::Quorum => None,
        }
    }

    /// Reads what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('/')?.split_once('/') {
            None if text == "/quorum" => Some(Self::Quorum),
            Some(("node", name)) => Some(Self::Node(name.to_owned())),
            Some(("commands", name)) => Some(Self::Commands(name.to_owned())),
            Some(("plan", id)) => Some(Self::Plan(id.to_owned())),
            Some(("run", id)) => Some(Self::Run(id.to_owned())),
            None | Some(_) => None,
        }
    }

    /// For people, where nothing is wrong with it any more.
    pub(super) fn is_over(&self) -> String {
        match self {
            Self::Node(node) => format!("node {node} is heard in the fleet again"),
            Self::Commands(node) => format!("node {node} has caught up with its commands"),
            Self::Quorum => "a majority of the fleet is reached again".to_owned(),
            Self::Plan(plan) => format!("plan {plan} goes on, or is over"),
            Self::Run(plan) => format!("plan {plan} is over; `supervisorctl fleet plans` says how it ended"),
        }
    }

    /// For people, where it is no affair of this node any more.
    pub(super) fn is_gone(&self) -> String {
        match self {
            Self::Node(node) | Self::Commands(node) => format!("node {node} is in no fleet.toml any more"),
            Self::Quorum | Self::Plan(_) | Self::Run(_) => "this node is in no fleet any more".to_owned(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "/node/{name}"),
            Self::Commands(name) => write!(f, "/commands/{name}"),
            Self::Quorum => f.write_str("/quorum"),
            Self::Plan(id) => write!(f, "/plan/{id}"),
            Self::Run(id) => write!(f, "/run/{id}"),
        }
    }
}

impl Alerts {
    /// Something of the fleet that this node is to tell.
    pub(super) fn hear_of_fleet(&mut self, now: Now, event: &FleetEvent, notice: &Notice) {
        let topic = match event {
            FleetEvent::NodeFailed { .. } => Topic::NodeFailed,
            FleetEvent::QuorumLost { .. } => Topic::QuorumLost,
            FleetEvent::BusUnreachable { .. } => Topic::BusUnreachable,
            FleetEvent::SlowReplication { .. } => Topic::SlowReplication,
            FleetEvent::RolloutPaused { .. } => Topic::RolloutPaused,
            FleetEvent::RolloutBegan { .. } => Topic::RolloutRunning,
            FleetEvent::NodeBack { .. }
            | FleetEvent::QuorumRegained { .. }
            | FleetEvent::BusReached { .. }
            | FleetEvent::CaughtUp { .. }
            | FleetEvent::RolloutEnded { .. }
            | FleetEvent::RolloutResumed { .. } => {
                return self.close(now, &Subject::Fleet(Part::of(event)), Closing::Recovered);
            }
        };
        self.worsen(now, topic, &Report::of(notice));
    }

    /// Closes the incidents of what is not there any more of a fleet, or of all of it.
    pub fn keep_fleet(&mut self, now: Now, is_there: impl Fn(&Part) -> bool) {
        self.settle(now, |incident| match &incident.subject {
            Subject::Fleet(part) if !is_there(part) => Some(Closing::Removed),
            Subject::Fleet(_)
            | Subject::Unit(_)
            | Subject::Probe(..)
            | Subject::Config
            | Subject::Store
            | Subject::Logs
            | Subject::Disk => None,
        });
    }
}
