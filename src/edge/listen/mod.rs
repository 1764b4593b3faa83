//! Listening sockets, bound by us and kept by the keeper, so that a restart of their service closes none.

mod accept;
mod file;
mod options;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        socket::{
            AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr,
            bind, getsockname, getsockopt, listen, shutdown, socket, sockopt,
        },
        stat::{Mode, fchmod},
    },
    unistd::read,
};

pub use accept::{accept, scope};

use crate::unit::spec::{Address, Listen, SocketKind, SocketOptions, SocketSpec};

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

/// Who is to own the files of sockets, as numbers; `None` leaves them to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
}

/// A socket that listens.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub fd: OwnedFd,
    /// What its unit asks for and the host refused; it works without.
    pub complaints: Vec<String>,
}

/// Binds one socket and makes it listen. It blocks, as systemd's do (NonBlocking=no): a service sets it as it likes.
///
/// # Errors
/// When its address cannot be had, or something that restricts who reaches it.
pub fn open(spec: &SocketSpec, owner: Owner) -> Result<Opened, ListenError> {
    let options = &*spec.options;
    let opened = match &spec.listen {
        Listen::Socket(kind, Address::Inet(address)) => open_inet(*kind, *address, options),
        Listen::Socket(kind, Address::Unix(path)) => file::open_socket(path, *kind, options, owner),
        Listen::Socket(kind, Address::Abstract(name)) => open_abstract(*kind, name, options),
        Listen::Fifo(path) => file::open_fifo(path, options, owner),
    };
    let opened = opened.map(|fd| {
        let mut complaints = options::apply(&fd, spec);
        complaints.extend(file::link(spec));
        Opened { fd, complaints }
    });
    opened.map_err(|source| ListenError { address: spec.listen.to_string(), source })
}

/// Sets a socket that listens up as a newer `spec` says; what the host refuses comes back.
pub fn configure(fd: &OwnedFd, old: &SocketSpec, spec: &SocketSpec, owner: Owner) -> Vec<String> {
    let mut complaints = options::apply(fd, spec);
    if let Listen::Socket(SocketKind::Stream | SocketKind::SequentialPacket, _) = &spec.listen
        && let Err(error) = begin_to_listen(fd, spec.options.backlog)
    {
        complaints.push(format!("backlog: {error}"));
    }
    complaints.extend(file::configure(spec, owner));
    file::unlink(old, &spec.options.symlinks);
    complaints.extend(file::link(spec));
    complaints
}

/// Gives the address of a socket back that nobody serves, whoever else still has the socket open. Closing it is not enough
/// for that: the keeper does so a moment later.
pub fn release(fd: &OwnedFd, spec: &SocketSpec) {
    if let Some((SocketKind::Stream, _)) = spec.listen.inet() {
        // It may be closed for reading already.
        let _gone = shutdown(fd.as_raw_fd(), Shutdown::Both);
    }
    remove_file(spec);
}

/// Removes the file `path` of a stream socket that listens, before it does so no more. One that somebody else has bound there
/// meanwhile stays.
pub fn remove_own_file(fd: &OwnedFd, path: &Path) {
    if file::leads_to(path, fd) {
        let _gone = std::fs::remove_file(path);
    }
}

/// Removes what is left of a socket in a directory that is ours alone, even if somebody still answers there: after the
/// death of a keeper its manager, and a child that has not come to its exec, have the socket open for a moment longer.
///
/// # Errors
/// As unlink(2); `AlreadyExists` for a file that is no socket, which stays.
pub fn remove_left_file(path: &Path) -> io::Result<()> {
    file::remove_left(path)
}

/// Removes the file of a socket and its other names.
pub fn remove_file(spec: &SocketSpec) {
    file::remove(spec);
}

/// Lets reads and accepts of a socket block again, as a new service expects it.
///
/// # Errors
/// As fcntl(2).
pub fn set_blocking(fd: &OwnedFd, blocking: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, !blocking);
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Throws away what waits in a socket that nobody serves: connections are closed, bytes are read.
///
/// # Errors
/// As accept(2) and read(2).
pub fn flush(fd: &OwnedFd, listen: &Listen) -> io::Result<()> {
    // So many at most: whoever fills it all the time must not hold us.
    const FLUSHED_MAX: usize = 65_536;
    set_blocking(fd, false)?;
    let mut buffer = [0; 4096];
    let mut next: Box<dyn FnMut() -> io::Result<()>> = match listen {
        Listen::Socket(SocketKind::Stream, Address::Inet(_)) => {
            let listener = TcpListener::from(fd.try_clone()?);
            Box::new(move || listener.accept().map(drop))
        }
        Listen::Socket(SocketKind::Stream | SocketKind::SequentialPacket, _) => {
            let listener = UnixListener::from(fd.try_clone()?);
            Box::new(move || listener.accept().map(drop))
        }
        Listen::Socket(SocketKind::Datagram, _) | Listen::Fifo(_) => Box::new(|| Ok(read(fd, &mut buffer).map(drop)?)),
    };
    let end = (0..FLUSHED_MAX).find_map(|_| next().err());
    drop(next);
    set_blocking(fd, true)?;
    match end {
        Some(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Some(_) | None => Ok(()),
    }
}

/// Whether a socket that was bound before listens on this address; a port that was chosen by the kernel (0) counts.
pub fn is_bound_to(fd: &OwnedFd, listen: &Listen) -> bool {
    let Listen::Socket(kind, address) = listen else { return false };
    if getsockopt(fd, sockopt::SockType).ok() != Some(type_of(*kind)) {
        return false;
    }
    match address {
        Address::Inet(wanted) => {
            let bound = match wanted {
                SocketAddr::V4(_) => {
                    getsockname::<SockaddrIn>(fd.as_raw_fd()).map(|at| SocketAddr::from((at.ip(), at.port())))
                }
                SocketAddr::V6(_) => {
                    getsockname::<SockaddrIn6>(fd.as_raw_fd()).map(|at| SocketAddr::from((at.ip(), at.port())))
                }
            };
            bound.is_ok_and(|bound| bound.ip() == wanted.ip() && (wanted.port() == 0 || bound.port() == wanted.port()))
        }
        Address::Unix(path) => {
            getsockname::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|bound| bound.path() == Some(path.as_ref()))
        }
        Address::Abstract(name) => {
            getsockname::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|bound| bound.as_abstract() == Some(name.as_bytes()))
        }
    }
}

fn open_inet(kind: SocketKind, address: SocketAddr, options: &SocketOptions) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = match socket(family, type_of(kind), SockFlag::SOCK_CLOEXEC, None) {
        // A port alone means all addresses, and here there are none of IPv6.
        Err(nix::Error::EAFNOSUPPORT) if address.is_ipv6() && address.ip().is_unspecified() => {
            return open_inet(kind, SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), options);
        }
        opened => opened?,
    };
    options::before_bind(&fd, address, options)?;
    match address {
        SocketAddr::V4(v4) => bind_and_listen(&fd, kind, &SockaddrIn::from(v4), options.backlog)?,
        SocketAddr::V6(v6) => bind_and_listen(&fd, kind, &SockaddrIn6::from(v6), options.backlog)?,
    }
    Ok(fd)
}

fn open_abstract(kind: SocketKind, name: &str, options: &SocketOptions) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, type_of(kind), SockFlag::SOCK_CLOEXEC, None)?;
    bind_and_listen(&fd, kind, &UnixAddr::new_abstract(name.as_bytes())?, options.backlog)?;
    Ok(fd)
}

const fn type_of(kind: SocketKind) -> SockType {
    match kind {
        SocketKind::Stream => SockType::Stream,
        SocketKind::Datagram => SockType::Datagram,
        SocketKind::SequentialPacket => SockType::SeqPacket,
    }
}

fn bind_and_listen(fd: &OwnedFd, kind: SocketKind, address: &dyn SockaddrLike, backlog: u32) -> io::Result<()> {
    bind(fd.as_raw_fd(), address)?;
    match kind {
        SocketKind::Stream | SocketKind::SequentialPacket => begin_to_listen(fd, backlog),
        SocketKind::Datagram => Ok(()),
    }
}

fn begin_to_listen(fd: &OwnedFd, backlog: u32) -> io::Result<()> {
    let queue = Backlog::new(i32::try_from(backlog).unwrap_or(i32::MAX)).unwrap_or(Backlog::MAXCONN);
    listen(fd, queue)?;
    Ok(())
}

/// Lets the file of a unix socket begin without rights: the kernel takes the mode of the socket for it (unix_bind).
fn without_rights(fd: &OwnedFd) -> io::Result<()> {
    fchmod(fd, Mode::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests;
