//! Effects, one kind per file: each does what it is told and reports facts. No policy lives here.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod clock;
pub mod listen;
pub mod log;
pub mod notify;
pub mod proctree;
pub mod unitdir;
pub mod users;
