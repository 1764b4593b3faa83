//! Unit files to checked definitions: texts go in, a [`UnitSet`] or every problem with its place comes out.
//!
//! Pure: texts are read by `edge`, and what only the host knows (users, programs) is checked there. A dialect turns its
//! own syntax into the one model of [`spec`]; nothing behind this layer knows which dialect a unit was written in. The
//! way of a unit: `source` → `dropin` (which files) → `dialect` (what they say, into a `draft`) → `check` (one unit) →
//! `cross` (units together) → `set`.
#![forbid(unsafe_code)]

mod accepting; // one unit that accepts connections
pub mod calendar; // when something is to happen
mod check;
pub mod connection; // what an instance of a connection is called
mod cross;
mod diag;
mod dialect;
mod directives;
mod draft;
mod dropin;
mod exec_draft;
mod exec_line;
mod expand;
pub mod env_file; // files of variables
mod external; // one unit that another manager keeps
pub mod graph;
pub mod resources; // what units ask of the machine, as the kernel wants it
pub mod sandbox; // what a sandbox takes: mounts, namespaces, a filter
mod needs; // what only the host can have
mod listening; // one unit's sockets
pub mod placeholder; // what is filled into a text later
mod probe_order; // which probe depends on which
mod probing; // what one unit is asked
mod reader; // what every file of tables has in common
mod requests; // of one http probe
mod set;
mod shared;
mod similar;
mod source;
pub mod spec;
mod specifier;

pub use diag::{Level, PROBLEMS_MAX, Problem};
pub use exec_line::{EXEC_LINE_BYTES_MAX, ExecFault};
pub use expand::expand;
pub use external::{not_supervisors, supervisors_program};
pub use needs::{Need, Needed};
pub use reader::{Field, Read, Reader, Value, put, read_settings};
pub use set::{Acceptor, Digest, Loaded, Surroundings, UnitSet, load, load_in, load_with_needs};
pub use shared::Shared;
pub use similar::similar;
pub use source::{DROPINS_MAX, FILE_BYTES_MAX, SourceText, UNITS_MAX};
pub use spec::UnitDef;
pub use specifier::HostFacts;
