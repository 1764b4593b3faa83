//! Effects, one kind per file; no policy lives here.
#![forbid(unsafe_code)]

pub mod store; // SQLite: what lasts
