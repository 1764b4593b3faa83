//! Safe wrappers over system calls: the only layer that may hold unsafe code.
//!
//! Each wrapper has a test that makes the real call. Nothing here decides; it turns numbers into types and back.
#![allow(unsafe_code, reason = "this layer exists to hold it; tests/layering.rs keeps it out of all others")]

mod listen_fds;
mod memory;
mod packet;

pub use listen_fds::{Inherited, ListenFdsError, take_listen_fds};
pub use memory::{read_sealed, sealed_memory};
pub use packet::{MESSAGE_FDS_MAX, Packet, PacketSocket, Sender, receive};
