use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

/// Length of the kernel's queue of connections that wait to be accepted; the kernel cuts it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A socket that accepts HTTP connections: bound by us, or inherited from the service manager.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// The file of a unix socket that we made and must remove.
    file: Option<PathBuf>,
    inherited: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address as people write it.
        address: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another process answers on the path.
    #[error("cannot listen on {0}: another process is listening there")]
    InUse(PathBuf),
    /// What stands at the path is no socket, so it is not ours to remove.
    #[error("cannot listen on {0}: it exists and is not a socket")]
    NotASocket(PathBuf),
    /// The descriptor is not a listening stream socket of a family we serve.
    #[error("cannot use the inherited descriptor {name:?}: it is not a listening TCP or unix stream socket")]
    Inherited {
        /// Its name in LISTEN_FDNAMES.
        name: String,
    },
    /// The descriptor could not be made ready for use.
    #[error("cannot use the inherited descriptor {name:?}")]
    Setup {
        /// Its name in LISTEN_FDNAMES.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Who is at the other end; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A process of this machine; without credentials when the kernel would not say.
    Unix(Option<UnixCredentials>),
}

/// SO_PEERCRED: who called connect(2). Source: unix(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixCredentials {
    /// Process, when it is in our pid namespace.
    pub pid: Option<i32>,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl Listener {
    /// Binds `address`; port 0 takes any free port, which [`Self::address`] then tells. Needs a runtime.
    pub fn tcp(address: SocketAddr) -> Result<Self, ListenerError> {
        let refused = |source| ListenerError::Bind { address: address.to_string(), source };
        let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }
            .map_err(refused)?;
        socket.set_reuseaddr(true).map_err(refused)?;
        socket.bind(address).map_err(refused)?;
        let listener = socket.listen(BACKLOG.unsigned_abs()).map_err(refused)?;
        Ok(Self { socket: Socket::Tcp(listener), file: None, inherited: false })
    }

    /// Binds a unix socket at `path` with permission bits `mode`; replaces a socket nobody answers on. Needs a runtime.
    pub fn unix(path: &Path, mode: u32) -> Result<Self, ListenerError> {
        let refused = |source| ListenerError::Bind { address: path.display().to_string(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ListenerError::NotASocket(path.into())),
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(ListenerError::InUse(path.into()));
            }
            Ok(_) => fs::remove_file(path).map_err(refused)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }
        // Bound under another name and renamed when its mode is right, so nobody can connect under a wider mode.
        let hidden = path.with_extension(format!("{}.new", std::process::id()));
        let listener = UnixListener::bind(&hidden).map_err(refused)?;
        let placed = fs::set_permissions(&hidden, fs::Permissions::from_mode(mode))
            .and_then(|()| fs::rename(&hidden, path))
            .map_err(refused);
        if placed.is_err() {
            let _gone = fs::remove_file(&hidden);
        }
        placed?;
        Ok(Self { socket: Socket::Unix(listener), file: Some(path.into()), inherited: false })
    }

    /// Takes a descriptor that the service manager opened. Needs a runtime.
    pub fn inherited(name: &str, fd: OwnedFd) -> Result<Self, ListenerError> {
        let wrong = || ListenerError::Inherited { name: name.to_owned() };
        let setup = |source| ListenerError::Setup { name: name.to_owned(), source };
        let is_stream = getsockopt(&fd.as_fd(), sockopt::SockType).is_ok_and(|kind| kind == SockType::Stream);
        let is_listening = getsockopt(&fd.as_fd(), sockopt::AcceptConn).unwrap_or(false);
        if !is_stream || !is_listening {
            return Err(wrong());
        }
        let local: SockaddrStorage =
            getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd)).map_err(|errno| setup(errno.into()))?;
        let socket = match local.family() {
            Some(AddressFamily::Inet | AddressFamily::Inet6) => {
                let listener = std::net::TcpListener::from(fd);
                listener.set_nonblocking(true).map_err(setup)?;
                Socket::Tcp(TcpListener::from_std(listener).map_err(setup)?)
            }
            Some(AddressFamily::Unix) => {
                let listener = std::os::unix::net::UnixListener::from(fd);
                listener.set_nonblocking(true).map_err(setup)?;
                Socket::Unix(UnixListener::from_std(listener).map_err(setup)?)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { socket, file: None, inherited: true })
    }

    /// Whether the service manager holds this socket too, so that closing ours refuses nobody.
    pub const fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Where it listens, as people write it.
    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string()),
            Socket::Unix(listener) => listener
                .local_addr()
                .ok()
                .and_then(|address| address.as_pathname().map(|path| path.display().to_string()))
                .unwrap_or_else(|| "unix socket".to_owned()),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are whole when written; waiting for more only delays them.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let who = stream.peer_cred().ok();
                let who = who.map(|c| UnixCredentials { pid: c.pid(), uid: c.uid(), gid: c.gid() });
                Ok((Stream::Unix(stream), Peer::Unix(who)))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _gone = fs::remove_file(file);
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let ours = Listener::unix(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Listener::unix(&path, 0o660), Err(ListenerError::InUse(_))));
        drop(ours);
        assert!(!path.exists(), "the file goes with the listener");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::unix(&path, 0o660), Err(ListenerError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn only_a_listening_socket_can_be_inherited() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        assert!(matches!(Listener::inherited("http", client.into()), Err(ListenerError::Inherited { .. })));
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(Listener::inherited("http", file.into()), Err(ListenerError::Inherited { .. })));
        let ours = Listener::inherited("http", listener.into()).unwrap();
        assert!(ours.is_inherited());
        assert_eq!(ours.address(), address.to_string());
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let first = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = Listener::tcp(first.address().parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {}", first.address()));
    }
}
