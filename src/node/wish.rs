//! Desired state: whether a unit should be up, why a run is taken down, and the job that is to bring it about.

use super::{graph::Place, service::Monitor};
use crate::base::{Actor, StartCause, Ticket, UnitName};

/// Whether the unit should be up, or come up as soon as what it waits for allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Up,
    Down,
}

/// Why a run is taken down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// Someone asked, for it or for a unit that it depends on.
    Stop(Actor),
    /// The same, and it comes back.
    Restart(Actor),
    /// The daemon stops.
    Shutdown(Actor),
    /// A unit that it conflicts with starts.
    Conflict(UnitName),
    /// The unit that it is bound to ended.
    Bound(UnitName),
    /// Its file is gone.
    Removed,
    /// A probe's verdict.
    Unhealthy { probe: String },
}

/// One person's wait for one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) ticket: Ticket,
    /// The unit's place in the order's list.
    pub(super) index: u32,
}

/// What is to be done with a unit as soon as the order of units allows; at most one for each unit.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) kind: JobKind,
    pub(super) asks: Vec<Ask>,
    /// It no longer waits for other units.
    pub(super) begun: bool,
    /// The unit whose job it waits for; when that is done, it is tried again.
    pub(super) blocked_by: Option<Place>,
    /// It waited long enough for the starts of others (type idle).
    pub(super) idled: bool,
}

/// The kinds of jobs.
#[derive(Debug)]
pub(super) enum JobKind {
    Start {
        cause: StartCause,
        monitor: Option<Box<Monitor>>,
    },
    Stop(Ending),
    /// Its stop; the start follows as a job of its own.
    Restart(Actor),
}

impl Ending {
    /// Whether nobody needs to be alerted of it.
    pub(super) const fn is_wanted(&self) -> bool {
        match self {
            Self::Stop(_)
            | Self::Restart(_)
            | Self::Shutdown(_)
            | Self::Conflict(_)
            | Self::Bound(_)
            | Self::Removed => true,
            Self::Unhealthy { .. } => false,
        }
    }

    /// Who wanted it.
    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Stop(actor) | Self::Restart(actor) | Self::Shutdown(actor) => actor.clone(),
            Self::Conflict(_) | Self::Bound(_) | Self::Removed | Self::Unhealthy { .. } => Actor::Daemon,
        }
    }
}

impl Job {
    pub(super) const fn new(kind: JobKind, asks: Vec<Ask>) -> Self {
        Self { kind, asks, begun: false, blocked_by: None, idled: false }
    }

    /// Whether it is the second half of a restart for health, which counts as one.
    pub(super) const fn restarts_unwell(&self) -> bool {
        matches!(self.kind, JobKind::Start { cause: StartCause::Unhealthy { .. }, .. })
    }

    /// Whether a plan of the fleet starts it, which keeps a budget of its own.
    pub(super) fn is_planned(&self) -> bool {
        matches!(&self.kind, JobKind::Start { cause: StartCause::Manual(actor), .. } if *actor == Actor::PLAN)
    }

    /// Whether it takes the unit down first.
    pub(super) const fn stops(&self) -> bool {
        matches!(self.kind, JobKind::Stop(_) | JobKind::Restart(_))
    }
}
