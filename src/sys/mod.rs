//! Safe wrappers over system calls: the only layer that may hold unsafe code.
//!
//! Each wrapper has a test that makes the real call.
#![allow(unsafe_code, reason = "this layer exists to hold it; tests/layering.rs keeps it out of all others")]

mod listen_fds;

pub use listen_fds::{Inherited, ListenFdsError, take_listen_fds};
