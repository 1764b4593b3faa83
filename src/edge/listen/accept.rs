use std::{
    io,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
};

use nix::{
    errno::Errno,
    net::if_::if_indextoname,
    sys::socket::{SockaddrStorage, getpeername, getsockopt, sockopt},
};

use crate::unit::{connection::Ends, spec::Listen};

/// The next connection of a socket that does not block; `None` when nobody waits.
///
/// # Errors
/// As accept(2), but not for a connection that was lost before it was taken.
pub fn accept(fd: BorrowedFd<'_>, listen: &Listen) -> io::Result<Option<(OwnedFd, Ends)>> {
    let listener = fd.try_clone_to_owned()?;
    let accepted = if listen.inet().is_some() {
        TcpListener::from(listener).accept().and_then(|(stream, _)| Ok((inet_ends(&stream)?, OwnedFd::from(stream))))
    } else {
        UnixListener::from(listener).accept().map(|(stream, _)| (unix_ends(&stream), OwnedFd::from(stream)))
    };
    match accepted {
        Ok((ends, fd)) => Ok(Some((fd, ends))),
        Err(error) if is_lost(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn inet_ends(stream: &TcpStream) -> io::Result<Ends> {
    Ok(Ends::Inet { local: stream.local_addr()?, remote: stream.peer_addr()? })
}

/// The interface by which a client is near, where its address alone does not say: of a link-local one. A name, or the number of
/// one that is gone, as systemd writes it.
pub fn scope(connection: BorrowedFd<'_>) -> Option<String> {
    let client: SockaddrStorage = getpeername(connection.as_raw_fd()).ok()?;
    let index = client.as_sockaddr_in6()?.scope_id();
    let name = || if_indextoname(index).ok()?.into_string().ok();
    (index != 0).then(|| name().unwrap_or_else(|| index.to_string()))
}

/// Of a client in another pid namespace nothing is known.
fn unix_ends(stream: &impl std::os::fd::AsFd) -> Ends {
    let client = getsockopt(stream, sockopt::PeerCredentials).ok();
    Ends::Unix(client.and_then(|client| Some((u32::try_from(client.pid()).ok().filter(|pid| *pid > 0)?, client.uid()))))
}

/// Whether an error is of the connection and not of the socket: systemd's list, accept(2) "Error handling".
fn is_lost(error: &io::Error) -> bool {
    const LOST: [Errno; 16] = [
        Errno::EAGAIN,
        Errno::EINTR,
        Errno::ECONNABORTED,
        Errno::ECONNRESET,
        Errno::ENOTCONN,
        Errno::EPIPE,
        Errno::EPROTO,
        Errno::ENOPROTOOPT,
        Errno::ETIMEDOUT,
        Errno::ECONNREFUSED,
        Errno::ENETDOWN,
        Errno::ENETUNREACH,
        Errno::EHOSTDOWN,
        Errno::EHOSTUNREACH,
        Errno::ENONET,
        Errno::EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|errno| LOST.contains(&Errno::from_raw(errno)))
}
