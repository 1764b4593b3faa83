//! The fleet as this node has it.

mod file; // fleet.toml as it is written

pub use file::read;
