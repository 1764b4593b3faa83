//! The last look at what a unit listens on.

use super::{
    check::Clean,
    diag::{Place, Report},
    draft::{Places, SocketDraft},
    shared::Shared,
    spec::{Accept, Address, Listen, ProbeCheck, Restart, SocketKind, SocketSpec, UnitDef},
};
use crate::base::UnitName;

/// Where the key stands in [socket], or the begin of the unit file.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    pub places: &'p Places,
    pub begin: Place,
    pub clean: Clean,
}

impl At<'_> {
    pub(super) fn key(self, key: &str) -> Place {
        self.places.find("socket", key).unwrap_or(self.begin)
    }
}

/// The sockets of the draft, each with its name.
pub(super) fn finish(draft: SocketDraft, unit: &UnitName, at: At<'_>, report: &mut Report<'_>) -> Box<[SocketSpec]> {
    let SocketDraft { listen, names, symlinks, mut options, accept: _, limits: _ } = draft;
    let place = at.key("file_descriptor_name");
    if listen.is_empty() && !names.is_empty() {
        report.error(place, "names of descriptors without \"listen_stream\"", None);
    } else if names.len() > 1 && names.len() != listen.len() {
        let message = format!("{} names for {} sockets", names.len(), listen.len());
        report.error(place, message, Some("give one name for each, or one for all".to_owned()));
    }
    let files = listen.iter().filter(|(listen, _)| listen.path().is_some()).count();
    if !symlinks.is_empty() && files != 1 {
        let message = format!("symbolic links to {files} files: they can only lead to one");
        report.error(at.key("symlinks"), message, Some("let the unit listen on one path".to_owned()));
    }
    options.symlinks = symlinks.into();
    // What listens may be what could not be read.
    if at.clean == Clean::Yes {
        idle_keys(&listen, at, report);
    }
    let name = |at: usize| match names.as_slice() {
        [] => unit.as_str().into(),
        [one] => one.clone(),
        more => more.get(at).cloned().unwrap_or_default(),
    };
    let options = Shared::new(options);
    let listens = listen.into_iter().enumerate();
    listens.map(|(at, (listen, _))| SocketSpec { listen, name: name(at), options: options.clone() }).collect()
}

type Applies = fn(&Listen) -> bool;

const fn is_tcp(listen: &Listen) -> bool {
    matches!(listen, Listen::Socket(SocketKind::Stream, Address::Inet(_)))
}

const fn is_udp(listen: &Listen) -> bool {
    matches!(listen, Listen::Socket(SocketKind::Datagram, Address::Inet(_)))
}

const fn is_inet(listen: &Listen) -> bool {
    listen.inet().is_some()
}

const fn is_unix(listen: &Listen) -> bool {
    matches!(listen, Listen::Socket(_, Address::Unix(_) | Address::Abstract(_)))
}

const fn has_queue(listen: &Listen) -> bool {
    matches!(listen, Listen::Socket(SocketKind::Stream | SocketKind::SequentialPacket, _))
}

const fn is_fifo(listen: &Listen) -> bool {
    matches!(listen, Listen::Fifo(_))
}

fn is_file(listen: &Listen) -> bool {
    listen.path().is_some()
}

/// Keys that mean something for some kinds of sockets only, and for which.
const APPLIES: [(&str, Applies, &str); 25] = [
    ("backlog", has_queue, "a socket that accepts"),
    ("bind_ipv6_only", is_inet, "a socket of the internet"),
    ("bind_to_device", is_inet, "a socket of the internet"),
    ("broadcast", is_udp, "a UDP socket"),
    ("defer_accept_sec", is_tcp, "a TCP socket"),
    ("directory_mode", is_file, "a path"),
    ("free_bind", is_inet, "a socket of the internet"),
    ("ip_tos", is_inet, "a socket of the internet"),
    ("ip_ttl", is_inet, "a socket of the internet"),
    ("keep_alive", is_tcp, "a TCP socket"),
    ("keep_alive_interval_sec", is_tcp, "a TCP socket"),
    ("keep_alive_probes", is_tcp, "a TCP socket"),
    ("keep_alive_time_sec", is_tcp, "a TCP socket"),
    ("mark", is_inet, "a socket of the internet"),
    ("no_delay", is_tcp, "a TCP socket"),
    ("pass_credentials", is_unix, "a unix socket"),
    ("pass_packet_info", is_udp, "a UDP socket"),
    ("pipe_size", is_fifo, "a FIFO"),
    ("reuse_port", is_inet, "a socket of the internet"),
    ("socket_group", is_file, "a path"),
    ("socket_mode", is_file, "a path"),
    ("socket_user", is_file, "a path"),
    ("tcp_congestion", is_tcp, "a TCP socket"),
    ("timestamping", is_udp, "a UDP socket"),
    ("transparent", is_inet, "a socket of the internet"),
];

/// Keys that none of the sockets takes notice of.
fn idle_keys(listen: &[(Listen, Place)], at: At<'_>, report: &mut Report<'_>) {
    for (key, applies, what) in APPLIES {
        if let Some(place) = at.places.find("socket", key)
            && !listen.iter().any(|(listen, _)| applies(listen))
        {
            report.warning(place, format!("{key:?} has no effect: the unit does not listen on {what}"), None);
        }
    }
}

/// What a lazy start needs, and what would make it useless.
pub(super) fn check_lazy(unit: &UnitDef, at: At<'_>, report: &mut Report<'_>) {
    if at.clean == Clean::No {
        return;
    }
    if unit.sockets.accept != Accept::Service {
        return;
    }
    if !unit.sockets.lazy {
        for key in ["trigger_limit_burst", "trigger_limit_interval_sec"] {
            if let Some(place) = at.places.find("socket", key) {
                report.warning(place, format!("{key:?} has no effect: traffic does not start the service"), None);
            }
        }
        return;
    }
    if unit.sockets.list.is_empty() {
        let help = Some("add listen_stream, for example".to_owned());
        report.error(at.key("lazy"), "nothing to listen on for a lazy start", help);
    }
    if unit.service.restart.when == Restart::Always {
        let help = Some("use restart = \"on-failure\"".to_owned());
        let message = "a service that ends by itself is started again at once: it never listens for the next traffic";
        report.warning(at.key("lazy"), message, help);
    }
}

/// A held socket accepts while its service is dead.
pub(super) fn probes_of_own_sockets(unit: &UnitDef, at: At<'_>, report: &mut Report<'_>) {
    for probe in &unit.health {
        let ProbeCheck::Tcp(target) = &*probe.check else { continue };
        if target.expect.is_some() || target.tls.is_some() {
            continue;
        }
        let target = &*target.address;
        if unit.sockets.list.iter().any(|socket| reaches(target, &socket.listen)) {
            let message = format!("the probe {:?} proves nothing: the supervisor itself holds {target}", probe.name);
            let help = Some("ask the service something: http or exec".to_owned());
            report.warning(at.places.find("health", "tcp").unwrap_or(at.begin), message, help);
        }
    }
}

/// Whether a connection to `target` (host:port) arrives at `listen`.
fn reaches(target: &str, listen: &Listen) -> bool {
    let Some((SocketKind::Stream, address)) = listen.inet() else { return false };
    let Some((host, port)) = target.rsplit_once(':') else { return false };
    if port.parse() != Ok(address.port()) {
        return false;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => address.ip() == ip || address.ip().is_unspecified(),
        Err(_) => host == "localhost" && (address.ip().is_unspecified() || address.ip().is_loopback()),
    }
}
