//! Words that every layer speaks: names, ids, time, sizes, process status, and what happened.
//!
//! A thing belongs here only when two sibling layers need it. Nothing here does I/O or reads a clock.
#![forbid(unsafe_code)]

pub mod address; // where others are asked
mod chain;
pub mod confinement; // what shuts a process in
mod counted;
mod fleet_event;
mod happening;
mod id;
mod identity;
mod in_step;
mod line_pattern;
mod name;
mod notice;
mod pack;
mod places;
mod process;
mod remedy;
mod rng;
mod secret;
mod size;
mod spawn_step;
mod time;

pub use chain::Chain;
pub use counted::counted;
pub use fleet_event::FleetEvent;
pub use happening::FIELD_NAMES;
pub use id::{Generation, InvocationId, Ticket};
pub use identity::Identity;
pub use in_step::InStep;
pub use line_pattern::{LinePattern, LinePatternError};
pub use name::{NameError, UnitName};
pub use notice::{Field, Happening, Notice, Severity, Shortage};
pub use pack::pack;
pub use places::{Places, ServicePlaces};
pub use process::{Actor, Consequence, ExitStatus, Pid, ProcessKey, Role, RunId, RunResult, Signal, StartCause, Usage};
pub use remedy::{HeldBack, Remedy};
pub use rng::Rng;
pub use secret::Secret;
pub use size::{ByteSize, SizeError};
pub use spawn_step::{SpawnFailure, SpawnStep};
pub use time::{Mono, Now, STOOD_STILL, SpanError, TimeSpan, Wall};
