//! Options of sockets, as systemd.socket(5) names them.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::socket::{setsockopt, sockopt},
};

use crate::{
    base::TimeSpan,
    sys::{SocketOption, set_socket_option},
    unit::spec::{Address, BindIpv6Only, Listen, SocketKind, SocketOptions, SocketSpec, Timestamping},
};

/// What has to be set before an address is bound. It decides who reaches the socket, so none of it may fail.
pub(super) fn before_bind(fd: &OwnedFd, address: SocketAddr, options: &SocketOptions) -> io::Result<()> {
    let v4 = address.is_ipv4();
    let set = |option, value: bool| set_socket_option(fd, option, i32::from(value));
    set(SocketOption::ReuseAddress, true)?;
    match options.bind_ipv6_only {
        BindIpv6Only::Both if !v4 => set(SocketOption::Ipv6Only, false)?,
        BindIpv6Only::Ipv6Only if !v4 => set(SocketOption::Ipv6Only, true)?,
        BindIpv6Only::Both | BindIpv6Only::Ipv6Only | BindIpv6Only::Default => {}
    }
    if let Some(device) = &options.bind_to_device {
        setsockopt(fd, sockopt::BindToDevice, &OsString::from(&**device))?;
    }
    if options.reuse_port {
        set(SocketOption::ReusePort, true)?;
    }
    if options.free_bind {
        set(if v4 { SocketOption::IpFreebind } else { SocketOption::Ipv6Freebind }, true)?;
    }
    if options.transparent {
        set(if v4 { SocketOption::IpTransparent } else { SocketOption::Ipv6Transparent }, true)?;
    }
    Ok(())
}

/// Sets everything else, each option where it means something. As in systemd the socket works without what the host
/// refuses; that comes back in words.
pub(super) fn apply(fd: &OwnedFd, spec: &SocketSpec) -> Vec<String> {
    let mut setting = Setting { fd, complaints: Vec::new() };
    let options = &*spec.options;
    match &spec.listen {
        Listen::Socket(kind, Address::Inet(address)) => {
            setting.inet(address.ip(), options);
            match kind {
                SocketKind::Stream => setting.tcp(options),
                SocketKind::Datagram => setting.udp(address.ip(), options),
                SocketKind::SequentialPacket => {}
            }
            setting.buffers(options);
        }
        Listen::Socket(_, Address::Unix(_) | Address::Abstract(_)) => {
            setting.flag("pass_credentials", SocketOption::PassCredentials, options.pass_credentials);
            setting.buffers(options);
        }
        Listen::Fifo(_) => {
            if let Some(bytes) = options.pipe_size {
                let set = fcntl(fd, FcntlArg::F_SETPIPE_SZ(int(bytes)));
                setting.note("pipe_size", set.map(drop).map_err(io::Error::from));
            }
        }
    }
    setting.complaints
}

struct Setting<'f> {
    fd: &'f OwnedFd,
    complaints: Vec<String>,
}

impl Setting<'_> {
    fn inet(&mut self, ip: IpAddr, options: &SocketOptions) {
        let v4 = ip.is_ipv4();
        if let Some(device) = &options.bind_to_device {
            let set = setsockopt(self.fd, sockopt::BindToDevice, &OsString::from(&**device));
            self.note("bind_to_device", set.map_err(io::Error::from));
        }
        self.number("ip_tos", SocketOption::IpTos, options.ip_tos.filter(|_| v4).map(i32::from));
        self.number("ip_tos", SocketOption::Ipv6TrafficClass, options.ip_tos.filter(|_| !v4).map(i32::from));
        self.number("ip_ttl", SocketOption::IpTtl, options.ip_ttl.filter(|_| v4).map(i32::from));
        self.number("ip_ttl", SocketOption::Ipv6UnicastHops, options.ip_ttl.filter(|_| !v4).map(i32::from));
        self.number("mark", SocketOption::Mark, options.mark.map(u32::cast_signed));
        self.number("priority", SocketOption::Priority, options.priority.map(int));
    }

    fn tcp(&mut self, options: &SocketOptions) {
        self.flag("keep_alive", SocketOption::KeepAlive, options.keep_alive);
        self.number("keep_alive_time_sec", SocketOption::TcpKeepIdle, options.keep_alive_time.map(seconds));
        self.number("keep_alive_interval_sec", SocketOption::TcpKeepInterval, options.keep_alive_interval.map(seconds));
        self.number("keep_alive_probes", SocketOption::TcpKeepCount, options.keep_alive_probes.map(int));
        self.flag("no_delay", SocketOption::TcpNoDelay, options.no_delay);
        self.number("defer_accept_sec", SocketOption::TcpDeferAccept, options.defer_accept.map(seconds));
        if let Some(name) = &options.tcp_congestion {
            let set = setsockopt(self.fd, sockopt::TcpCongestion, &OsString::from(&**name));
            self.note("tcp_congestion", set.map_err(io::Error::from));
        }
    }

    fn udp(&mut self, ip: IpAddr, options: &SocketOptions) {
        self.flag("broadcast", SocketOption::Broadcast, options.broadcast);
        let packet_info = if ip.is_ipv4() { SocketOption::IpPacketInfo } else { SocketOption::Ipv6PacketInfo };
        self.flag("pass_packet_info", packet_info, options.pass_packet_info);
        // Either switches the other off.
        match options.timestamping {
            Timestamping::Off => self.flag("timestamping", SocketOption::Timestamp, false),
            Timestamping::Us => self.flag("timestamping", SocketOption::Timestamp, true),
            Timestamping::Ns => self.flag("timestamping", SocketOption::TimestampNs, true),
        }
    }

    fn buffers(&mut self, options: &SocketOptions) {
        let sizes = [
            ("receive_buffer", SocketOption::ReceiveBufferForce, SocketOption::ReceiveBuffer, options.receive_buffer),
            ("send_buffer", SocketOption::SendBufferForce, SocketOption::SendBuffer, options.send_buffer),
        ];
        for (key, force, plain, bytes) in sizes {
            let Some(bytes) = bytes.map(int) else { continue };
            // Only a privileged daemon may go past net.core.rmem_max and wmem_max.
            let set = set_socket_option(self.fd, force, bytes).or_else(|_| set_socket_option(self.fd, plain, bytes));
            self.note(key, set);
        }
    }

    /// Set either way, so that one that a reload takes back is taken back.
    fn flag(&mut self, key: &'static str, option: SocketOption, on: bool) {
        self.number(key, option, Some(i32::from(on)));
    }

    fn number(&mut self, key: &'static str, option: SocketOption, value: Option<i32>) {
        if let Some(value) = value {
            self.note(key, set_socket_option(self.fd.as_fd(), option, value));
        }
    }

    fn note(&mut self, key: &'static str, set: io::Result<()>) {
        if let Err(error) = set {
            self.complaints.push(format!("{key}: {error}"));
        }
    }
}

fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Rounded up: less than a second is not no time at all.
fn seconds(span: TimeSpan) -> i32 {
    span.micros().and_then(|micros| i32::try_from(micros.div_ceil(1_000_000)).ok()).unwrap_or(i32::MAX)
}
