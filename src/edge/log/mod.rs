//! What services write, kept in segments: `DIR/UNIT/00000001.log`, each with an index from offset to time beside it.
//!
//! The keeper holds both ends of each unit's pipe, so neither the service nor a byte is lost when we die. Bytes go from
//! pipe to file by splice(2): they are in the one or in the other, never in a buffer of ours, and a segment's length is
//! the only record of how far we came.

mod pump;
mod read;
mod segment;

pub use pump::{Dropped, Pump, PumpError};
pub use read::{Tail, tail};
pub use segment::Limits;
