use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
};

use toml::de::DeValue;

use super::{
    exec_keys::account,
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::{ByteSize, TimeSpan},
    unit::{
        diag::Place,
        draft::Draft,
        spec::{Address, BindIpv6Only, Listen, SocketKind, Timestamping},
    },
};

/// `[socket]`
pub(super) const SOCKET: &[Key<Draft>] = &[
    Key { name: "accept", set: |d, w, v| put(&mut d.sockets.accept, w.boolean(v)) },
    Key {
        name: "backlog",
        set: |d, w, v| put(&mut d.sockets.options.backlog, w.integer(v, 1..=BACKLOG_MAX).and_then(u32_of)),
    },
    Key {
        name: "bind_ipv6_only",
        set: |d, w, v| put(&mut d.sockets.options.bind_ipv6_only, w.choice(v, BIND_IPV6_ONLY)),
    },
    Key { name: "bind_to_device", set: |d, w, v| put(&mut d.sockets.options.bind_to_device, device(w, v)) },
    Key { name: "broadcast", set: |d, w, v| put(&mut d.sockets.options.broadcast, w.boolean(v)) },
    Key { name: "defer_accept_sec", set: |d, w, v| put(&mut d.sockets.options.defer_accept, seconds(w, v)) },
    Key { name: "directory_mode", set: |d, w, v| put(&mut d.sockets.options.directory_mode, w.mode(v)) },
    Key { name: "file_descriptor_name", set: |d, w, v| extend(&mut d.sockets.names, w, v, descriptor_name) },
    Key { name: "flush_pending", set: |d, w, v| put(&mut d.sockets.options.flush_pending, w.boolean(v)) },
    Key { name: "free_bind", set: |d, w, v| put(&mut d.sockets.options.free_bind, w.boolean(v)) },
    Key { name: "ip_tos", set: |d, w, v| put(&mut d.sockets.options.ip_tos, type_of_service(w, v)) },
    Key { name: "ip_ttl", set: |d, w, v| put(&mut d.sockets.options.ip_ttl, w.integer(v, 1..=255).map(u8_of)) },
    Key { name: "keep_alive", set: |d, w, v| put(&mut d.sockets.options.keep_alive, w.boolean(v)) },
    Key {
        name: "keep_alive_interval_sec",
        set: |d, w, v| put(&mut d.sockets.options.keep_alive_interval, seconds(w, v)),
    },
    Key {
        name: "keep_alive_probes",
        set: |d, w, v| put(&mut d.sockets.options.keep_alive_probes, w.integer(v, 1..=PROBES_MAX).map(u32_of)),
    },
    Key { name: "keep_alive_time_sec", set: |d, w, v| put(&mut d.sockets.options.keep_alive_time, seconds(w, v)) },
    Key { name: "lazy", set: |d, w, v| put(&mut d.def.sockets.lazy, w.boolean(v)) },
    Key { name: "listen_datagram", set: |d, w, v| listen_on(d, w, v, SocketKind::Datagram) },
    Key { name: "listen_fifo", set: |d, w, v| extend(&mut d.sockets.listen, w, v, fifo) },
    Key { name: "listen_sequential_packet", set: |d, w, v| listen_on(d, w, v, SocketKind::SequentialPacket) },
    Key { name: "listen_stream", set: |d, w, v| listen_on(d, w, v, SocketKind::Stream) },
    Key { name: "mark", set: |d, w, v| put(&mut d.sockets.options.mark, w.count(v, 0).map(Some)) },
    Key { name: "max_connections", set: |d, w, v| put(&mut d.sockets.limits.max, w.count(v, 1)) },
    Key { name: "max_connections_per_source", set: |d, w, v| put(&mut d.sockets.limits.per_source, w.count(v, 0)) },
    Key { name: "no_delay", set: |d, w, v| put(&mut d.sockets.options.no_delay, w.boolean(v)) },
    Key { name: "pass_credentials", set: |d, w, v| put(&mut d.sockets.options.pass_credentials, w.boolean(v)) },
    Key { name: "pass_packet_info", set: |d, w, v| put(&mut d.sockets.options.pass_packet_info, w.boolean(v)) },
    Key { name: "pipe_size", set: |d, w, v| put(&mut d.sockets.options.pipe_size, bytes(w, v)) },
    Key {
        name: "priority",
        set: |d, w, v| put(&mut d.sockets.options.priority, w.integer(v, 0..=PRIORITY_MAX).map(u32_of)),
    },
    Key { name: "receive_buffer", set: |d, w, v| put(&mut d.sockets.options.receive_buffer, bytes(w, v)) },
    Key { name: "remove_on_stop", set: |d, w, v| put(&mut d.sockets.options.remove_on_stop, w.boolean(v)) },
    Key { name: "reuse_port", set: |d, w, v| put(&mut d.sockets.options.reuse_port, w.boolean(v)) },
    Key { name: "send_buffer", set: |d, w, v| put(&mut d.sockets.options.send_buffer, bytes(w, v)) },
    Key { name: "socket_group", set: |d, w, v| put(&mut d.sockets.options.group, account(w, v)) },
    Key { name: "socket_mode", set: |d, w, v| put(&mut d.sockets.options.mode, w.mode(v)) },
    Key { name: "socket_user", set: |d, w, v| put(&mut d.sockets.options.user, account(w, v)) },
    Key { name: "symlinks", set: |d, w, v| extend(&mut d.sockets.symlinks, w, v, symlink) },
    Key { name: "tcp_congestion", set: |d, w, v| put(&mut d.sockets.options.tcp_congestion, congestion(w, v)) },
    Key { name: "timestamping", set: |d, w, v| put(&mut d.sockets.options.timestamping, w.choice(v, TIMESTAMPING)) },
    Key { name: "transparent", set: |d, w, v| put(&mut d.sockets.options.transparent, w.boolean(v)) },
    Key { name: "trigger_limit_burst", set: |d, w, v| put(&mut d.def.sockets.trigger_limit.burst, w.count(v, 0)) },
    Key {
        name: "trigger_limit_interval_sec",
        set: |d, w, v| put(&mut d.def.sockets.trigger_limit.interval, w.span(v)),
    },
];

/// listen(2) takes an int.
const BACKLOG_MAX: i64 = i32::MAX as i64;
/// MAX_TCP_KEEPCNT of the kernel.
const PROBES_MAX: i64 = 127;
/// setsockopt(2) takes an int.
const PRIORITY_MAX: i64 = i32::MAX as i64;
/// sockaddr_un has 108 bytes, one for the final NUL, or for the first one of an abstract name.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// The keeper stores a FIFO under a name with its path in it.
const FIFO_PATH_BYTES_MAX: usize = 240;
/// FileDescriptorName= of systemd.socket(5).
const DESCRIPTOR_NAME_BYTES_MAX: usize = 255;
/// IFNAMSIZ without the final NUL.
const DEVICE_BYTES_MAX: usize = 15;
/// TCP_CA_NAME_MAX without the final NUL.
const CONGESTION_BYTES_MAX: usize = 15;

const BIND_IPV6_ONLY: &[(&str, BindIpv6Only)] =
    &[("default", BindIpv6Only::Default), ("both", BindIpv6Only::Both), ("ipv6-only", BindIpv6Only::Ipv6Only)];

const TIMESTAMPING: &[(&str, Timestamping)] = &[
    ("off", Timestamping::Off),
    ("us", Timestamping::Us),
    ("usec", Timestamping::Us),
    ("µs", Timestamping::Us),
    ("ns", Timestamping::Ns),
    ("nsec", Timestamping::Ns),
];

/// ip(7), IP_TOS.
const TYPES_OF_SERVICE: [(&str, u8); 4] =
    [("low-delay", 0x10), ("throughput", 0x08), ("reliability", 0x04), ("low-cost", 0x02)];

fn u32_of(number: i64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn u8_of(number: i64) -> Option<u8> {
    u8::try_from(number).ok()
}

fn descriptor_name(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    let name = walk.text(value)?;
    let fits = name.len() <= DESCRIPTOR_NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !fits {
        let message = format!("{name:?} is no name of a descriptor (printable ASCII without \":\", up to 255 bytes)");
        walk.error(value, message, None);
        return None;
    }
    Some(name.into())
}

/// A word of the kernel's; an empty string unsets it.
fn kernel_word(walk: &mut Walk<'_, '_>, value: &Value<'_>, what: &str, bytes_max: usize) -> Option<Option<Box<str>>> {
    let word = walk.text(value)?;
    if word.len() > bytes_max || word.bytes().any(|b| !b.is_ascii_graphic() || b == b'/') {
        walk.error(value, format!("{word:?} is no name of {what}"), None);
        return None;
    }
    Some((!word.is_empty()).then(|| word.into()))
}

fn device(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    kernel_word(walk, value, "a network interface", DEVICE_BYTES_MAX)
}

fn congestion(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    kernel_word(walk, value, "a way to control congestion", CONGESTION_BYTES_MAX)
}

/// Whole seconds, as the kernel counts them.
#[expect(clippy::option_option, reason = "a value that cannot be read leaves what was there")]
fn seconds(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<TimeSpan>> {
    const SECONDS_MAX: TimeSpan = TimeSpan::from_secs(32_767);
    let span = walk.span(value)?;
    if span.is_zero() || span > SECONDS_MAX {
        walk.error(value, format!("{:?} must be above zero and at most {SECONDS_MAX}", walk.key), None);
        return None;
    }
    Some(Some(span))
}

/// A size that fits into an int.
#[expect(clippy::option_option, reason = "a value that cannot be read leaves what was there")]
fn bytes(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<u32>> {
    let number = value.get_ref().as_integer().map(ToString::to_string);
    let Some(text) = number.as_deref().or_else(|| value.get_ref().as_str()) else {
        walk.wrong_type(value, "a size");
        return None;
    };
    let size = match text.parse::<ByteSize>() {
        Ok(size) => i32::try_from(size.0).ok().filter(|size| *size > 0),
        Err(error) => {
            walk.error(value, error.to_string(), None);
            return None;
        }
    };
    if size.is_none() {
        walk.error(value, format!("{:?} must be above zero and below 2G", walk.key), None);
    }
    size.map(|size| Some(size.unsigned_abs()))
}

#[expect(clippy::option_option, reason = "a value that cannot be read leaves what was there")]
fn type_of_service(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<u8>> {
    let word = value.get_ref().as_str().unwrap_or_default();
    if let Some((_, number)) = TYPES_OF_SERVICE.iter().find(|(known, _)| *known == word) {
        return Some(Some(*number));
    }
    walk.integer(value, 0..=255).map(u8_of)
}

fn symlink(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<Path>> {
    let text = walk.text(value)?;
    walk.path(value, text)
}

/// Adds what a list says to what is listened on; as in systemd the empty string resets all kinds.
fn listen_on(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, kind: SocketKind) {
    extend(&mut draft.sockets.listen, walk, value, |walk, item| {
        let place = walk.place(item.span().start);
        Some((Listen::Socket(kind, address(walk, item, kind)?), place))
    });
}

fn fifo(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<(Listen, Place)> {
    let text = walk.text(value)?;
    let path = walk.path(value, text)?;
    if text.len() > FIFO_PATH_BYTES_MAX {
        walk.error(value, format!("the path of a FIFO has at most {FIFO_PATH_BYTES_MAX} bytes here"), None);
        return None;
    }
    Some((Listen::Fifo(path), walk.place(value.span().start)))
}

/// `ip:port`, a port alone (all addresses), the absolute path of a unix socket, or `@name` of an abstract one.
fn address(walk: &mut Walk<'_, '_>, value: &Value<'_>, kind: SocketKind) -> Option<Address> {
    let text = match value.get_ref() {
        DeValue::Integer(port) => port.as_str(),
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => walk.text(value)?,
    };
    if text.starts_with(['/', '@']) {
        let address = match text.strip_prefix('@') {
            Some(name) => Address::Abstract(name.into()),
            None => Address::Unix(walk.path(value, text)?),
        };
        if text.len() > UNIX_PATH_BYTES_MAX {
            walk.error(value, format!("the path of a unix socket has at most {UNIX_PATH_BYTES_MAX} bytes"), None);
            return None;
        }
        return Some(address);
    }
    // A port alone listens on all addresses of both families, as in systemd.
    let address = match text.parse::<u16>() {
        Ok(port) => Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
        Err(_) => text.parse::<SocketAddr>().ok(),
    };
    match address.filter(|address| address.port() != 0) {
        Some(_) if kind == SocketKind::SequentialPacket => {
            let help = "use listen_stream or listen_datagram, or a path".to_owned();
            walk.error(value, format!("cannot listen on {text:?}: only unix sockets have packets"), Some(help));
            None
        }
        Some(address) => Some(Address::Inet(address)),
        None => {
            no_address(walk, value, text);
            None
        }
    }
}

fn no_address(walk: &mut Walk<'_, '_>, value: &Value<'_>, text: &str) {
    if text.starts_with("vsock:") {
        let help = "listen on an address of the internet or on a path".to_owned();
        walk.error(value, "sockets of AF_VSOCK are not supported by this version", Some(help));
        return;
    }
    let help = "write \"127.0.0.1:8080\", \"[::1]:8080\", \"8080\", \"/run/x.sock\" or \"@x\"".to_owned();
    walk.error(value, format!("cannot listen on {text:?}: no address with a port, no path"), Some(help));
}
