//! Ports that units listen on or are asked at, and who has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{Case, processes, report::Report};
use crate::{
    base::{Pid, UnitName},
    edge::ports::{self, Holder, Listener, Protocol},
    unit::spec::{Address, Listen, ProbeCheck, SocketKind},
};

const TOPIC: &str = "ports";

/// A port that a unit has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted<'u> {
    unit: &'u UnitName,
    protocol: Protocol,
    address: SocketAddr,
    /// The probe that asks there, where it is not a socket that we hold.
    probe: Option<&'u str>,
}

pub(super) fn look(case: &Case, report: &mut Report) {
    case.tell_left_out(report, TOPIC);
    let wanted = wanted(case);
    let all = ports::listeners();
    let taken: Vec<(Wanted<'_>, Vec<Listener>)> = wanted
        .into_iter()
        .map(|want| (want, all.iter().filter(|listener| stands_in_the_way(listener, &want)).copied().collect()))
        .collect();
    let inodes: BTreeSet<u64> = taken.iter().flat_map(|(_, listeners)| listeners).map(|one| one.inode).collect();
    let holders = if inodes.is_empty() { BTreeMap::new() } else { ports::holders(&inodes) };
    let ours = if inodes.is_empty() { BTreeSet::new() } else { processes::ours(case) };
    for (want, listeners) in &taken {
        judge(report, want, listeners, &holders, &ours);
    }
}

/// Every socket of a unit, and every probe of this machine's own ports.
fn wanted(case: &Case) -> Vec<Wanted<'_>> {
    let mut all: Vec<Wanted<'_>> = Vec::new();
    for (unit, def) in &case.host.units {
        for socket in &def.sockets.list {
            if let Listen::Socket(kind, Address::Inet(address)) = &socket.listen {
                let protocol = if *kind == SocketKind::Datagram { Protocol::Udp } else { Protocol::Tcp };
                all.push(Wanted { unit, protocol, address: *address, probe: None });
            }
        }
        for probe in &def.health {
            let addresses: Vec<SocketAddr> = match &*probe.check {
                ProbeCheck::Tcp(tcp) => local(&tcp.address).into_iter().collect(),
                ProbeCheck::Http(steps) => {
                    let over_tcp = steps.iter().filter(|step| step.unix_socket.is_none());
                    over_tcp.filter_map(|step| local_of_url(&step.url)).collect()
                }
                ProbeCheck::Exec(_)
                | ProbeCheck::Plugin(_)
                | ProbeCheck::Disk(_)
                | ProbeCheck::Certificate(_)
                | ProbeCheck::Redis(_)
                | ProbeCheck::Systemd(_)
                | ProbeCheck::File(_)
                | ProbeCheck::Log(_)
                | ProbeCheck::Memory(_)
                | ProbeCheck::Cpu(_) => Vec::new(),
            };
            for address in addresses {
                if !all.iter().any(|other| other.address.port() == address.port() && other.unit == unit) {
                    all.push(Wanted { unit, protocol: Protocol::Tcp, address, probe: Some(&probe.name) });
                }
            }
        }
    }
    all
}

/// `host:port`, where that is this machine by itself.
fn local(address: &str) -> Option<SocketAddr> {
    let address =
        address.strip_prefix("localhost:").map_or_else(|| address.to_owned(), |port| format!("127.0.0.1:{port}"));
    address.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback())
}

fn local_of_url(url: &str) -> Option<SocketAddr> {
    let (scheme, rest) = url.split_once("://")?;
    // A dollar is where something is filled in.
    let authority = rest.split(['/', '?', '#', '$']).next()?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = if scheme == "https" { 443 } else { 80 };
    if has_port { local(authority) } else { local(&format!("{authority}:{port}")) }
}

fn stands_in_the_way(listener: &Listener, want: &Wanted<'_>) -> bool {
    let (has, wants) = (listener.address, want.address);
    let same_family = has.is_ipv4() == wants.is_ipv4();
    let same_place = has.ip() == wants.ip() || has.ip().is_unspecified() || wants.ip().is_unspecified();
    // One that listens on :: may take IPv4 too.
    let both_families = has.is_ipv6() && has.ip().is_unspecified();
    listener.protocol == want.protocol && has.port() == wants.port() && same_place && (same_family || both_families)
}

fn judge(
    report: &mut Report,
    want: &Wanted<'_>,
    listeners: &[Listener],
    holders: &BTreeMap<u64, Vec<Holder>>,
    ours: &BTreeSet<Pid>,
) {
    let Wanted { unit, address, probe, .. } = want;
    let port = address.port();
    let place = address.to_string();
    if listeners.is_empty() {
        return report.ok(TOPIC, place, format!("free for {unit}"));
    }
    let of = |listener: &Listener| holders.get(&listener.inode).into_iter().flatten();
    let all: Vec<&Holder> = listeners.iter().flat_map(of).collect();
    if let Some(own) = all.iter().find(|holder| ours.contains(&holder.pid)) {
        return report.ok(TOPIC, place, format!("{} (pid {}) listens there for {unit}", own.name, own.pid));
    }
    let stranger = match all.first() {
        Some(holder) => format!("{} (pid {})", holder.name, holder.pid),
        None if nix::unistd::geteuid().is_root() => {
            "a process that cannot be seen from here (another namespace)".to_owned()
        }
        None => "a process of another user (root sees which)".to_owned(),
    };
    let kill = all
        .first()
        .map(|holder| format!("kill {}", holder.pid))
        .unwrap_or_else(|| format!("ss -lptn 'sport = :{port}'"));
    match probe {
        None => report.fail(
            TOPIC,
            place,
            format!("{stranger} listens there, so {unit} cannot"),
            format!("stop that process ({kill}, or its own service), or give {unit} another port in [socket]"),
        ),
        Some(probe) => report.warn(
            TOPIC,
            place,
            format!("{stranger} listens there, and probe {probe} of {unit} asks it as if it were {unit}"),
            format!("if {unit} is to listen there, stop that process ({kill}); if not, correct the probe"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_this_machines_own_or_none_of_ours() {
        assert_eq!(local("localhost:80"), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(local("[::1]:80"), Some("[::1]:80".parse().unwrap()));
        assert_eq!((local("10.0.0.1:80"), local("example.org:80")), (None, None));
        for (url, address) in [
            ("http://127.0.0.1/x", Some("127.0.0.1:80")),
            ("https://localhost", Some("127.0.0.1:443")),
            ("http://[::1]:81?q", Some("[::1]:81")),
            ("http://[::1]/", Some("[::1]:80")),
            ("http://example.org/", None),
        ] {
            assert_eq!(local_of_url(url), address.map(|text| text.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn the_same_port_elsewhere_is_in_nobodys_way() {
        let unit = UnitName::new("web").unwrap();
        let meets = |has: &str, wants: &str| {
            let listener = Listener { protocol: Protocol::Tcp, address: has.parse().unwrap(), inode: 1 };
            let want = Wanted { unit: &unit, protocol: Protocol::Tcp, address: wants.parse().unwrap(), probe: None };
            stands_in_the_way(&listener, &want)
        };
        assert!(meets("0.0.0.0:80", "127.0.0.1:80") && meets("127.0.0.1:80", "0.0.0.0:80"));
        assert!(meets("[::]:80", "127.0.0.1:80") && meets("127.0.0.1:80", "127.0.0.1:80"));
        assert!(!meets("127.0.0.2:80", "127.0.0.1:80") && !meets("127.0.0.1:81", "127.0.0.1:80"));
        assert!(!meets("0.0.0.0:80", "[::1]:80"));
    }
}
