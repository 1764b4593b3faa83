//! Listening sockets, bound by us and kept by the keeper, so that a restart of their service closes none.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::Path,
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr, bind, connect,
    getsockname, listen, setsockopt, socket, sockopt,
};

use crate::unit::spec::{Listen, SocketSpec};

/// Why a socket cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// Where.
    pub address: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Binds one socket and makes it listen. It blocks, as systemd's do (NonBlocking=no): a service sets it as it likes.
pub fn open(spec: &SocketSpec) -> Result<OwnedFd, ListenError> {
    let opened = match &spec.listen {
        Listen::Tcp(address) => open_tcp(*address, spec.backlog),
        Listen::Unix(path) => open_unix(path, spec),
    };
    opened.map_err(|source| ListenError { address: address_of(&spec.listen), source })
}

/// The address as people write it.
pub fn address_of(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => path.display().to_string(),
    }
}

/// Whether a socket that was bound before listens on this address; a port that was chosen by the kernel (0) counts.
pub fn is_bound_to(fd: &OwnedFd, listen: &Listen) -> bool {
    match listen {
        Listen::Tcp(wanted) => match wanted {
            SocketAddr::V4(wanted) => getsockname::<SockaddrIn>(fd.as_raw_fd())
                .is_ok_and(|bound| bound.ip() == *wanted.ip() && (wanted.port() == 0 || bound.port() == wanted.port())),
            SocketAddr::V6(wanted) => getsockname::<SockaddrIn6>(fd.as_raw_fd())
                .is_ok_and(|bound| bound.ip() == *wanted.ip() && (wanted.port() == 0 || bound.port() == wanted.port())),
        },
        Listen::Unix(path) => {
            getsockname::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|bound| bound.path() == Some(path.as_ref()))
        }
    }
}

fn open_tcp(address: SocketAddr, backlog: u32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    match address {
        SocketAddr::V4(v4) => bind_and_listen(&fd, &SockaddrIn::from(v4), backlog)?,
        SocketAddr::V6(v6) => bind_and_listen(&fd, &SockaddrIn6::from(v6), backlog)?,
    }
    Ok(fd)
}

fn open_unix(path: &Path, spec: &SocketSpec) -> io::Result<OwnedFd> {
    remove_dead_socket(path)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind_and_listen(&fd, &UnixAddr::new(path)?, spec.backlog)?;
    fs::set_permissions(path, fs::Permissions::from_mode(spec.mode))?;
    Ok(fd)
}

/// A socket file that nobody answers on is left from an earlier boot; one that answers belongs to somebody.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(nix::Error::ECONNREFUSED) => fs::remove_file(path),
        _ => Err(io::Error::from(io::ErrorKind::AddrInUse)),
    }
}

fn bind_and_listen(fd: &OwnedFd, address: &dyn SockaddrLike, backlog: u32) -> io::Result<()> {
    bind(fd.as_raw_fd(), address)?;
    let queue = Backlog::new(i32::try_from(backlog).unwrap_or(i32::MAX)).unwrap_or(Backlog::MAXCONN);
    listen(fd, queue)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn tcp(address: &str) -> SocketSpec {
        let listen = Listen::Tcp(address.parse().expect("an address"));
        SocketSpec { listen, name: "http".into(), backlog: 16, mode: 0o666 }
    }

    #[test]
    fn a_socket_accepts_before_anyone_calls_accept() {
        let fd = open(&tcp("127.0.0.1:0")).expect("a free port");
        let listener = std::net::TcpListener::from(fd);
        let address = listener.local_addr().expect("an address");
        TcpStream::connect(address).expect("the queue takes it");
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = first.local_addr().expect("an address").to_string();
        let error = open(&tcp(&address)).expect_err("taken");
        assert_eq!(error.to_string(), format!("cannot listen on {address}"));
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_dead_socket_file_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let spec = SocketSpec { listen: Listen::Unix(path.clone().into()), name: "s".into(), backlog: 4, mode: 0o600 };
        let first = open(&spec).expect("new");
        assert_eq!(open(&spec).expect_err("alive").source.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        open(&spec).expect("dead, so replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
