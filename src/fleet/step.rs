//! One phase of what is done to one instance, as it is ordered, done and remembered.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Instance, PoolName,
    spelling::{hex, micros, parse_hex, run, spelt, text},
};
use crate::base::{InvocationId, TimeSpan, UnitName};

/// Why a text is no id of a plan or a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id (32 hex digits)")]
pub struct IdError(String);

spelt!(PlanId StepId);

/// A number and who has it: two drivers that were given the same number (Redis fails over and forgets) are still told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// Grows with each driver.
    pub epoch: u64,
    /// Who, drawn anew by each that begins to drive.
    #[serde(with = "hex")]
    pub owner: u128,
}

/// What a plan is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanId(pub u128);

impl PlanId {
    /// Of what is ordered because of something that has that name: whoever orders it again makes the same.
    pub fn of(cause: &str) -> Self {
        Self(u128::from_be_bytes(beginning(&Sha256::digest(cause).into())))
    }
}

fn beginning(digest: &[u8; 32]) -> [u8; 16] {
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    id
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PlanId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text).map(|bytes| Self(u128::from_be_bytes(bytes))).ok_or_else(|| IdError(text.to_owned()))
    }
}

impl fmt::Debug for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A phase of what is done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Its load balancers send it nothing new.
    Drain,
    /// Its configuration is looked at, before anything is done.
    Validate,
    /// It is done.
    Act,
    /// Its load balancers send it requests again.
    Undrain,
}

impl Phase {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Validate => "validate",
            Self::Act => "act",
            Self::Undrain => "undrain",
        }
    }
}

/// What a step is called: whoever takes over a plan makes the same names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub [u8; 16]);

impl StepId {
    /// Of an attempt at a phase of what a plan does to an instance. A drain is a step at each load balancer.
    pub fn new(plan: PlanId, instance: &Instance, phase: Phase, place: &str, attempt: u32) -> Self {
        // Names have no spaces, so two steps are never the same text.
        let text = format!("{plan} {instance} {} {place} {attempt}", phase.as_str());
        Self(beginning(&Sha256::digest(text).into()))
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for StepId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text).map(Self).ok_or_else(|| IdError(text.to_owned()))
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is done by a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// The unit's `notify` command runs.
    Notify,
    /// Its configuration is looked at.
    Validate,
    /// It reads its settings anew.
    Reload,
    /// It is restarted.
    Restart,
    /// A server takes no new requests.
    Drain {
        /// Of which pool.
        pool: PoolName,
        /// What it is called there.
        server: Box<str>,
    },
    /// A server takes requests again.
    Undrain {
        /// Of which pool.
        pool: PoolName,
        /// What it is called there.
        server: Box<str>,
    },
}

impl Deed {
    /// Whether it may be done again where nobody knows if it was done.
    pub const fn is_harmless_twice(&self) -> bool {
        match self {
            Self::Validate | Self::Drain { .. } | Self::Undrain { .. } => true,
            Self::Notify | Self::Reload | Self::Restart => false,
        }
    }
}

/// A step as it is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOrder {
    /// Which.
    pub id: StepId,
    /// Of which plan.
    pub plan: PlanId,
    /// For whom.
    pub instance: Instance,
    /// Its unit.
    #[serde(with = "text")]
    pub unit: UnitName,
    /// What is done.
    pub deed: Deed,
    /// The run that the driver has seen; another one says that someone else acted meanwhile.
    #[serde(with = "run")]
    pub expects: Option<InvocationId>,
    /// How long it may take.
    #[serde(with = "micros")]
    pub deadline: TimeSpan,
    /// How old it may be when it comes to be done.
    #[serde(with = "micros")]
    pub ttl: TimeSpan,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It is done.
    Done {
        /// The run before and after, where there is one.
        #[serde(with = "run")]
        before: Option<InvocationId>,
        /// The run afterwards.
        #[serde(with = "run")]
        after: Option<InvocationId>,
    },
    /// It failed, and nothing of it is under way any more.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// Why, for people.
        reason: String,
    },
}

/// Kinds of failures; each asks for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It took too long.
    Timeout,
    /// A command ended badly.
    Exit,
    /// The configuration is not sound; the service goes on with the one it has.
    Invalid,
    /// Another run than the expected one is there.
    OtherRun,
    /// Its start limit forbids it.
    StartLimit,
    /// The load balancer knows no such server, or does not do it.
    Balancer,
    /// A load balancer would be left with too few servers: nothing was done.
    TooFew,
    /// The host's key is not the one that is known.
    HostKey,
    /// There is no way to the host.
    Connection,
    /// Another driver came before it was begun: nothing was done.
    Superseded,
    /// It did not become well in time, or did not stay so.
    Unhealthy,
    /// Ours.
    Internal,
}
