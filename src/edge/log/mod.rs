//! What services write, kept in segments: `DIR/UNIT/00000001.log`, each with an index from offset to time beside it.
//!
//! The keeper holds both ends of each unit's pipe, so neither the service nor a byte is lost when we die. Bytes go from
//! pipe to file by splice(2): they are in the one or in the other, never in a buffer of ours, and a segment's length is
//! the only record of how far we came. All else that is wanted of output (lines, times, packing, forwarding) is made of
//! segments and indexes afterwards, by others than the thread that captures (docs/adr/0006).

mod book; // one unit's output on its way to disk
mod chores; // closed segments: packing and removal
mod disks; // which thread writes where
mod files; // names and forms of what lies on disk
mod flow; // counts, and the word that there is more
mod forward; // lines to journald and syslog
mod lines; // segments -> lines
mod meter; // the rate limit
mod pace; // how long a pipe rests between two looks
mod pump; // the thread that captures
mod read; // which lines a reader wants
mod rules; // what holds for one unit
mod segment; // the segment that is written
mod words; // what a run wrote last

pub use disks::Pump;
pub use flow::{Counts, Flow};
pub use lines::{Line, Place, PlaceError};
pub use pump::{PumpError, Report};
pub use read::{Reader, Wanted, newest};
pub use rules::{LINE_MAX_DEFAULT, Rules, line_max};
pub use words::{Bound, Span, last_words, settled};
