//! systemd.socket(5): what the supervisor binds and the service inherits.

use std::{net::SocketAddr, path::Path};

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSpec {
    /// Where it listens.
    pub listen: Listen,
    /// Its name in LISTEN_FDNAMES; the unit's name unless set.
    pub name: Box<str>,
    /// Length of the accept queue.
    pub backlog: u32,
    /// Mode of a unix socket's file.
    pub mode: u32,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(Box<Path>),
}
