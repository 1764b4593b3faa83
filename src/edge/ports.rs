//! Who listens where, as /proc tells: proc_pid_net(5), proc_pid_fd(5).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::proctree;
use crate::{base::Pid, sys};

/// The kinds of sockets that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A TCP socket that listens.
    Tcp,
    /// A UDP socket that is bound and not connected.
    Udp,
}

/// A socket that takes what comes to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its kind.
    pub protocol: Protocol,
    /// Its address.
    pub address: SocketAddr,
    /// Its inode, by which its holders are found.
    pub inode: u64,
}

/// A process with a descriptor of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub pid: Pid,
    /// What it calls itself.
    pub name: String,
}

/// Every listener of this network namespace.
pub fn listeners() -> Vec<Listener> {
    let tables = [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)];
    let read = |(table, protocol)| {
        let text = fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default();
        text.lines().filter_map(|line| listener(line, protocol)).collect::<Vec<_>>()
    };
    tables.into_iter().flat_map(read).collect()
}

/// Who has a descriptor of these sockets. Only root sees those of others.
pub fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, Vec<Holder>> {
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    for pid in sys::all_processes().into_iter().flatten() {
        for inode in sockets_of(pid).intersection(inodes) {
            let name = proctree::name(pid).unwrap_or_default();
            holders.entry(*inode).or_default().push(Holder { pid, name });
        }
    }
    holders
}

fn sockets_of(pid: Pid) -> BTreeSet<u64> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inode = |link: &std::path::Path| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    links.filter_map(|link| inode(&fs::read_link(link.path()).ok()?)).collect()
}

/// One line of a table; the state is TCP_LISTEN, or for UDP TCP_CLOSE: bound, not connected.
fn listener(line: &str, protocol: Protocol) -> Option<Listener> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let wanted = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    if *fields.get(3)? != wanted {
        return None;
    }
    Some(Listener { protocol, address: address(fields.get(1)?)?, inode: fields.get(9)?.parse().ok()? })
}

/// `0100007F:1F90`: words of 32 bits as the machine has them, each in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn our_own_sockets_are_found_and_held_by_us() {
        let own = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind("[::1]:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wanted = [
            (Protocol::Tcp, tcp.local_addr().unwrap()),
            (Protocol::Tcp, tcp6.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ];
        let all = listeners();
        for (protocol, address) in wanted {
            let found = all.iter().find(|one| (one.protocol, one.address) == (protocol, address)).unwrap();
            let holders = holders(&[found.inode].into());
            assert!(holders[&found.inode].iter().any(|holder| holder.pid == own), "{holders:?}");
        }
        drop(tcp);
        assert!(!listeners().iter().any(|one| one.address == wanted[0].1));
    }
}
