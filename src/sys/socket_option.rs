use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Options of sockets that are one number, socket(7), ip(7), ipv6(7), tcp(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the kernel's option of its name")]
pub enum SocketOption {
    Broadcast,
    KeepAlive,
    Mark,
    PassCredentials,
    Priority,
    ReceiveBuffer,
    ReceiveBufferForce,
    ReuseAddress,
    ReusePort,
    SendBuffer,
    SendBufferForce,
    Timestamp,
    TimestampNs,
    IpFreebind,
    IpPacketInfo,
    IpTos,
    IpTransparent,
    IpTtl,
    Ipv6Freebind,
    Ipv6PacketInfo,
    Ipv6TrafficClass,
    Ipv6Transparent,
    Ipv6UnicastHops,
    Ipv6Only,
    TcpDeferAccept,
    TcpKeepCount,
    TcpKeepIdle,
    TcpKeepInterval,
    TcpNoDelay,
}

impl SocketOption {
    const fn numbers(self) -> (i32, i32) {
        match self {
            Self::Broadcast => (libc::SOL_SOCKET, libc::SO_BROADCAST),
            Self::KeepAlive => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
            Self::Mark => (libc::SOL_SOCKET, libc::SO_MARK),
            Self::PassCredentials => (libc::SOL_SOCKET, libc::SO_PASSCRED),
            Self::Priority => (libc::SOL_SOCKET, libc::SO_PRIORITY),
            Self::ReceiveBuffer => (libc::SOL_SOCKET, libc::SO_RCVBUF),
            Self::ReceiveBufferForce => (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
            Self::ReuseAddress => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
            Self::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
            Self::SendBuffer => (libc::SOL_SOCKET, libc::SO_SNDBUF),
            Self::SendBufferForce => (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
            Self::Timestamp => (libc::SOL_SOCKET, libc::SO_TIMESTAMP),
            Self::TimestampNs => (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
            Self::IpFreebind => (libc::IPPROTO_IP, libc::IP_FREEBIND),
            Self::IpPacketInfo => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            Self::IpTos => (libc::IPPROTO_IP, libc::IP_TOS),
            Self::IpTransparent => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
            Self::IpTtl => (libc::IPPROTO_IP, libc::IP_TTL),
            Self::Ipv6Freebind => (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
            Self::Ipv6PacketInfo => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            Self::Ipv6TrafficClass => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            Self::Ipv6Transparent => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
            Self::Ipv6UnicastHops => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
            Self::Ipv6Only => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            Self::TcpDeferAccept => (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT),
            Self::TcpKeepCount => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
            Self::TcpKeepIdle => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
            Self::TcpKeepInterval => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
            Self::TcpNoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        }
    }
}

const INT_BYTES: libc::socklen_t = {
    assert!(size_of::<i32>() == 4, "socklen_t counts bytes");
    4
};

/// Sets an option.
///
/// # Errors
/// As setsockopt(2).
pub fn set_socket_option(fd: impl AsFd, option: SocketOption, value: i32) -> io::Result<()> {
    let (level, name) = option.numbers();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: nix has no type for some of these options. The kernel reads four bytes of a live local, as told.
    let done = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), INT_BYTES) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option.
///
/// # Errors
/// As getsockopt(2).
pub fn socket_option(fd: impl AsFd, option: SocketOption) -> io::Result<i32> {
    let (level, name) = option.numbers();
    let fd = fd.as_fd().as_raw_fd();
    let (mut value, mut length) = (0_i32, INT_BYTES);
    // SAFETY: nix has no type for some of these options. The kernel writes at most `length` bytes to a live local of so many.
    let done = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_set_is_read_back() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (option, value) in [(SocketOption::KeepAlive, 1), (SocketOption::TcpKeepIdle, 77), (SocketOption::IpTtl, 9)]
        {
            set_socket_option(&tcp, option, value).unwrap();
            assert_eq!(socket_option(&tcp, option).unwrap(), value, "{option:?}");
        }
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(set_socket_option(&unix, SocketOption::TcpNoDelay, 1).is_err());
        assert!(socket_option(&unix, SocketOption::TcpNoDelay).is_err());
    }
}
