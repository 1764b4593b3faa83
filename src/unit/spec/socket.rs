//! systemd.socket(5): what the supervisor binds and the service inherits.

use std::{fmt, net::SocketAddr, path::Path};

use crate::{base::TimeSpan, unit::Shared};

/// What listens for a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sockets {
    /// Each socket, in the order in which the service gets them.
    pub list: Box<[SocketSpec]>,
    /// Who takes the connections.
    pub accept: Accept,
    /// Ours: the daemon only listens when it comes up, and starts the service on the first traffic.
    pub lazy: bool,
    /// How often traffic may start the service.
    pub trigger_limit: TriggerLimit,
}

/// Who takes the connections of listening sockets (systemd.socket(5), Accept=).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// The service, which gets the listening sockets.
    #[default]
    Service,
    /// The supervisor: this unit, a template, only listens, and each connection makes an instance of it.
    Each(ConnectionLimits),
    /// It is such an instance: it has its connection and listens on nothing.
    Connection,
}

/// How many connections are served at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub max: u32,
    /// From one address of the internet; 0: no limit.
    pub per_source: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max: 64, per_source: 0 }
    }
}

impl Sockets {
    /// How many connections are served at once, where each is an instance.
    pub const fn connection_limits(&self) -> Option<ConnectionLimits> {
        match self.accept {
            Accept::Each(limits) => Some(limits),
            Accept::Service | Accept::Connection => None,
        }
    }

    /// Whether it serves one connection.
    pub fn is_connection(&self) -> bool {
        self.accept == Accept::Connection
    }
}

/// One listening socket.
#[derive(Clone, PartialEq)]
pub struct SocketSpec {
    /// Where it listens.
    pub listen: Listen,
    /// Its name in LISTEN_FDNAMES; the unit's name unless set.
    pub name: Box<str>,
    /// How it is set up.
    pub options: Shared<SocketOptions>,
}

impl Eq for SocketSpec {}

/// The options of all sockets of a unit are the same and would be repeated.
impl fmt::Debug for SocketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SocketSpec");
        shown.field("listen", &self.listen).field("name", &self.name);
        if *self.options != SocketOptions::default() {
            shown.field("options", &self.options);
        }
        shown.finish_non_exhaustive()
    }
}

/// What to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A socket (`listen_stream`, `listen_datagram`, `listen_sequential_packet`).
    Socket(SocketKind, Address),
    /// A FIFO in the file system (`listen_fifo`).
    Fifo(Box<Path>),
}

/// The kinds of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketKind {
    /// SOCK_STREAM: TCP, or a unix stream socket.
    Stream,
    /// SOCK_DGRAM: UDP, or a unix datagram socket.
    Datagram,
    /// SOCK_SEQPACKET: unix only.
    SequentialPacket,
}

/// An address of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// IP and port.
    Inet(SocketAddr),
    /// A unix socket in the file system.
    Unix(Box<Path>),
    /// A unix socket in the abstract namespace (unix(7)), without the leading NUL.
    Abstract(Box<str>),
}

/// How a socket is set up. What is `None` is left as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub struct SocketOptions {
    /// Length of the accept queue.
    pub backlog: u32,
    /// Whether an IPv6 socket takes IPv4 too.
    pub bind_ipv6_only: BindIpv6Only,
    /// SO_REUSEPORT: others may bind the port too.
    pub reuse_port: bool,
    /// IP_FREEBIND: the address need not be there yet.
    pub free_bind: bool,
    /// IP_TRANSPARENT.
    pub transparent: bool,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_BINDTODEVICE: only traffic of this interface.
    pub bind_to_device: Option<Box<str>>,
    /// SO_KEEPALIVE, for the connections that are accepted; they inherit it and what follows.
    pub keep_alive: bool,
    /// TCP_KEEPIDLE, whole seconds.
    pub keep_alive_time: Option<TimeSpan>,
    /// TCP_KEEPINTVL, whole seconds.
    pub keep_alive_interval: Option<TimeSpan>,
    /// TCP_KEEPCNT.
    pub keep_alive_probes: Option<u32>,
    /// TCP_NODELAY.
    pub no_delay: bool,
    /// TCP_DEFER_ACCEPT, whole seconds.
    pub defer_accept: Option<TimeSpan>,
    /// SO_RCVBUF, in bytes.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF, in bytes.
    pub send_buffer: Option<u32>,
    /// IP_TOS, IPV6_TCLASS.
    pub ip_tos: Option<u8>,
    /// IP_TTL, IPV6_UNICAST_HOPS.
    pub ip_ttl: Option<u8>,
    /// SO_MARK.
    pub mark: Option<u32>,
    /// SO_PRIORITY.
    pub priority: Option<u32>,
    /// TCP_CONGESTION.
    pub tcp_congestion: Option<Box<str>>,
    /// SO_PASSCRED.
    pub pass_credentials: bool,
    /// IP_PKTINFO, IPV6_RECVPKTINFO.
    pub pass_packet_info: bool,
    /// SO_TIMESTAMP, SO_TIMESTAMPNS.
    pub timestamping: Timestamping,
    /// F_SETPIPE_SZ of a FIFO, in bytes.
    pub pipe_size: Option<u32>,
    /// Mode of the file of a unix socket or FIFO.
    pub mode: u32,
    /// Mode of the directories that are made for it.
    pub directory_mode: u32,
    /// Who owns the file, by name or number; without a group also of which group, the user's own.
    pub user: Option<Box<str>>,
    /// Of which group the file is.
    pub group: Option<Box<str>>,
    /// Other names of the file, as symbolic links.
    pub symlinks: Box<[Box<Path>]>,
    /// A wanted stop closes the socket and removes its file.
    pub remove_on_stop: bool,
    /// What waits in the socket when the service has ended is thrown away.
    pub flush_pending: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            // As in systemd no limit of ours: the kernel takes its own (net.core.somaxconn) instead.
            backlog: i32::MAX.cast_unsigned(),
            bind_ipv6_only: BindIpv6Only::Default,
            reuse_port: false,
            free_bind: false,
            transparent: false,
            broadcast: false,
            bind_to_device: None,
            keep_alive: false,
            keep_alive_time: None,
            keep_alive_interval: None,
            keep_alive_probes: None,
            no_delay: false,
            defer_accept: None,
            receive_buffer: None,
            send_buffer: None,
            ip_tos: None,
            ip_ttl: None,
            mark: None,
            priority: None,
            tcp_congestion: None,
            pass_credentials: false,
            pass_packet_info: false,
            timestamping: Timestamping::Off,
            pipe_size: None,
            mode: 0o666,
            directory_mode: 0o755,
            user: None,
            group: None,
            symlinks: Box::default(),
            remove_on_stop: false,
            flush_pending: false,
        }
    }
}

/// IPV6_V6ONLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindIpv6Only {
    /// As /proc/sys/net/ipv6/bindv6only says.
    Default,
    /// IPv4 too.
    Both,
    /// IPv6 only.
    Ipv6Only,
}

/// Whether datagrams come with the moment at which they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamping {
    /// They do not.
    Off,
    /// In microseconds.
    Us,
    /// In nanoseconds.
    Ns,
}

/// systemd's rate limit on starts by traffic. Past it the unit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TriggerLimit {
    /// Length of the window, from its first start; zero switches the limit off.
    pub interval: TimeSpan,
    /// Starts that one window allows; 0 switches the limit off.
    pub burst: u32,
}

impl Default for TriggerLimit {
    fn default() -> Self {
        Self { interval: TimeSpan::from_secs(2), burst: 20 }
    }
}

impl SocketSpec {
    /// A socket with every default.
    pub fn new(listen: Listen, name: &str) -> Self {
        Self { listen, name: name.into(), options: Shared::default() }
    }

    /// A socket of this key, with every other option as it is by default.
    pub fn from_key(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once(':')?;
        let suffixes = [(" both", BindIpv6Only::Both), (" ipv6-only", BindIpv6Only::Ipv6Only)];
        let only = suffixes.iter().find_map(|(suffix, only)| Some((rest.strip_suffix(suffix)?, *only)));
        let (place, only) = only.unwrap_or((rest, BindIpv6Only::Default));
        let kind = match kind {
            "stream" => SocketKind::Stream,
            "datagram" => SocketKind::Datagram,
            "sequential_packet" => SocketKind::SequentialPacket,
            "fifo" => return Some(Self::new(Listen::Fifo(Path::new(rest).into()), "")),
            _ => return None,
        };
        let address = if rest.starts_with('/') {
            Address::Unix(Path::new(rest).into())
        } else if let Some(name) = rest.strip_prefix('@') {
            Address::Abstract(name.into())
        } else {
            Address::Inet(place.parse().ok()?)
        };
        let mut spec = Self::new(Listen::Socket(kind, address), "");
        if spec.listen.inet().is_some() {
            spec.options.bind_ipv6_only = only;
        }
        Some(spec)
    }

    /// Names it among all sockets: what has the same key need not be bound anew. No name of a descriptor has a colon.
    pub fn key(&self) -> String {
        let (kind, listen) = (self.listen.kind(), &self.listen);
        match self.options.bind_ipv6_only {
            _ if listen.inet().is_none() => format!("{kind}:{listen}"),
            BindIpv6Only::Default => format!("{kind}:{listen}"),
            BindIpv6Only::Both => format!("{kind}:{listen} both"),
            BindIpv6Only::Ipv6Only => format!("{kind}:{listen} ipv6-only"),
        }
    }
}

impl Listen {
    /// One word, systemd's directive without `Listen`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Socket(SocketKind::Stream, _) => "stream",
            Self::Socket(SocketKind::Datagram, _) => "datagram",
            Self::Socket(SocketKind::SequentialPacket, _) => "sequential_packet",
            Self::Fifo(_) => "fifo",
        }
    }

    /// Its file, where it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Socket(_, Address::Unix(path)) | Self::Fifo(path) => Some(path),
            Self::Socket(_, Address::Inet(_) | Address::Abstract(_)) => None,
        }
    }

    /// Its address, where that is of the internet.
    pub const fn inet(&self) -> Option<(SocketKind, SocketAddr)> {
        match self {
            Self::Socket(kind, Address::Inet(address)) => Some((*kind, *address)),
            Self::Socket(_, Address::Unix(_) | Address::Abstract(_)) | Self::Fifo(_) => None,
        }
    }
}

/// The address as people write it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(_, Address::Inet(address)) => address.fmt(f),
            Self::Socket(_, Address::Unix(path)) | Self::Fifo(path) => path.display().fmt(f),
            Self::Socket(_, Address::Abstract(name)) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_a_socket_and_can_be_read_back() {
        for key in [
            "stream:127.0.0.1:80",
            "stream:[::1]:80",
            "stream:[::]:80 both",
            "datagram:[::]:53 ipv6-only",
            "datagram:/run/x both",
            "sequential_packet:@name:with both",
            "fifo:/run/f",
        ] {
            assert_eq!(SocketSpec::from_key(key).map(|spec| spec.key()).as_deref(), Some(key));
        }
        for other in ["http", "stream", "stream:", "stream:x", "tcp:1.2.3.4:5"] {
            assert_eq!(SocketSpec::from_key(other), None, "{other}");
        }
    }
}
