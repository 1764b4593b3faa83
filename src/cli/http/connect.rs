use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
};

use nix::sys::{
    socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_fd, setsockopt, socket, sockopt},
    time::TimeVal,
};

use super::{SEND_TIMEOUT, TICK};
use crate::cli::target::Target;

/// A connection, either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Connects within [`SEND_TIMEOUT`]; reads return after a [`TICK`] of silence.
pub(super) fn connect(target: &Target) -> io::Result<Stream> {
    match target {
        Target::Unix(path) => {
            let stream = connect_unix(path)?;
            stream.set_read_timeout(Some(TICK))?;
            Ok(Stream::Unix(stream))
        }
        Target::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, SEND_TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
            stream.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(Stream::Tcp(stream))
        }
    }
}

/// Connects to a unix socket. The send timeout is set first, because connect(2) obeys it: when a stopped daemon's
/// queue of connections is full, `UnixStream::connect` would wait for ever.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let timeout = TimeVal::new(i64::try_from(SEND_TIMEOUT.as_secs()).unwrap_or(i64::MAX), 0);
    setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
    connect_fd(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
