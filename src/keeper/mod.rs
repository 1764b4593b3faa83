//! The parent process of every child, and the manager's half of the conversation with it.
//!
//! The keeper is one thread that waits in epoll and never blocks elsewhere: no configuration, no database, no parser of
//! text, no name look-ups. It creates processes, reaps them, holds every descriptor that must outlive the manager, and
//! keeps what happened until the manager says that it is committed. What breaks here first when changed: a fact that is
//! sent before the one it follows from, a descriptor that a child inherits unasked, an exit that is forgotten too early.
#![forbid(unsafe_code)]

pub mod client;
mod link;

pub use link::LinkError;
