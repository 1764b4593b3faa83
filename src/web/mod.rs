//! HTTP plumbing that both servers share: listeners, the accept loop with its limits, drain, problem documents.
//!
//! [`serve()`] runs one listener until its [`Shutdown`] ends it. It knows no routes and no settings. What a change here
//! usually breaks: the order of a drain (readiness, accept, answers, idle connections), which tests/upload/life.rs walks.
#![forbid(unsafe_code)]

mod guard; // a socket with deadlines
mod listen; // where connections come from
mod problem; // RFC 9457
mod serve; // the accept loop
mod shutdown; // the phases of a drain
mod track; // which connections are busy

pub use listen::{Listener, ListenerError, Peer, UnixCredentials};
pub use problem::Problem;
pub use serve::{Limits, RequestId, Server, serve};
pub use shutdown::{DrainPlan, Phase, Shutdown};
pub use track::Connections;
