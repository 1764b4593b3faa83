use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::unit::{draft::Draft, spec::Listen};

/// `[socket]`
pub(super) const SOCKET: &[Key<Draft>] = &[
    Key { name: "backlog", set: |d, w, v| put(&mut d.sockets.backlog, w.integer(v, 1..=BACKLOG_MAX).and_then(u32_of)) },
    Key { name: "file_descriptor_name", set: |d, w, v| extend(&mut d.sockets.names, w, v, descriptor_name) },
    Key { name: "listen_stream", set: |d, w, v| extend(&mut d.sockets.listen, w, v, listen) },
    Key { name: "socket_mode", set: |d, w, v| put(&mut d.sockets.mode, w.mode(v)) },
];

/// listen(2) takes an int.
const BACKLOG_MAX: i64 = i32::MAX as i64;
/// sockaddr_un has 108 bytes, one for the final NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// FileDescriptorName= of systemd.socket(5).
const DESCRIPTOR_NAME_BYTES_MAX: usize = 255;

fn u32_of(number: i64) -> Option<u32> {
    u32::try_from(number).ok()
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

/// `ip:port`, a port alone (all addresses), or the absolute path of a unix socket.
fn listen(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<(Listen, crate::unit::diag::Place)> {
    let place = walk.place(value.span().start);
    let port = value.get_ref().as_integer().map(|number| number.as_str());
    let text = match port {
        Some(port) => port,
        None => walk.text(value)?,
    };
    if text.starts_with('/') {
        let path = walk.path(value, text)?;
        if text.len() > UNIX_PATH_BYTES_MAX {
            walk.error(value, format!("the path of a unix socket has at most {UNIX_PATH_BYTES_MAX} bytes"), None);
            return None;
        }
        return Some((Listen::Unix(path), place));
    }
    // A port alone listens on all addresses of both families, as in systemd.
    let address = match text.parse::<u16>() {
        Ok(port) => Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
        Err(_) => text.parse::<SocketAddr>().ok(),
    };
    match address {
        Some(address) if address.port() != 0 => Some((Listen::Tcp(address), place)),
        Some(_) | None => {
            let help = match text.starts_with('@') {
                true => "abstract sockets are not supported by this version".to_owned(),
                false => "write \"127.0.0.1:8080\", \"[::1]:8080\", \"8080\" or \"/run/x.sock\"".to_owned(),
            };
            walk.error(value, format!("cannot listen on {text:?}: no address with a port, no path"), Some(help));
            None
        }
    }
}
