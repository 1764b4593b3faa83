//! Effects, one kind per file; no policy lives here.
#![forbid(unsafe_code)]

pub mod deliver; // alerts by HTTP: the outbox, emptied
pub mod probe; // health probes over HTTP and TCP
pub mod store; // SQLite: what lasts

mod http; // the HTTP client that deliveries and https probes share
#[cfg(test)]
mod peer; // a server on loopback that answers as tests want, well or badly
