//! What a connection's instance is called, and what its name says (systemd.socket(5), Accept=yes).
//!
//! The names are those of systemd 252: `NUMBER-LOCAL:PORT-REMOTE:PORT`, `NUMBER-PID-UID` for unix sockets. They are made of
//! numbers alone, so nothing that a stranger chose stands in them.

use std::net::{IpAddr, SocketAddr};

use crate::base::UnitName;

/// What a connection is called in LISTEN_FDNAMES.
pub const DESCRIPTOR: &str = "connection";

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Of the internet.
    Inet {
        /// Ours.
        local: SocketAddr,
        /// The client's.
        remote: SocketAddr,
    },
    /// Of a unix socket: the client's pid and user id, where they are known.
    Unix(Option<(u32, u32)>),
}

impl Ends {
    /// What stands behind the `@` of the instance for connection `number`.
    pub fn instance(&self, number: u64) -> String {
        match self {
            Self::Inet { local, remote } => format!("{number}-{}-{}", plain(*local), plain(*remote)),
            Self::Unix(Some((pid, uid))) => format!("{number}-{pid}-{uid}"),
            Self::Unix(None) => format!("{number}-unknown"),
        }
    }

    /// Whose connections `max_connections_per_source` counts together.
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Inet { remote, .. } => Some(remote.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }
}

/// Without brackets, as systemd writes it here. IPv4 that came to a socket of IPv6 is shown as what it is.
fn plain(address: SocketAddr) -> String {
    format!("{}:{}", address.ip().to_canonical(), address.port())
}

/// The client's address that a connection's name tells, for `$REMOTE_ADDR` and `$REMOTE_PORT`.
pub fn remote(instance: &UnitName) -> Option<SocketAddr> {
    let (_, ends) = instance.as_str().split_once('@')?;
    let (_, remote) = ends.split_once('-')?.1.split_once('-')?;
    let (address, port) = remote.rsplit_once(':')?;
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

/// The number in a connection's name.
pub fn number(instance: &UnitName) -> Option<u64> {
    let (_, ends) = instance.as_str().split_once('@')?;
    ends.split_once('-')?.0.parse().ok()
}

/// The client that a connection's name tells, for people, as systemd writes it.
pub fn client(instance: &UnitName) -> Option<String> {
    if let Some(remote) = remote(instance) {
        return Some(remote.to_string());
    }
    let (_, ends) = instance.as_str().split_once('@')?;
    let (pid, uid) = ends.split_once('-')?.1.split_once('-')?;
    Some(format!("PID {pid}/UID {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(ends: Ends) -> UnitName {
        UnitName::new("echo@").unwrap().with_instance(&ends.instance(7)).unwrap()
    }

    fn inet(local: &str, remote: &str) -> Ends {
        Ends::Inet { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[test]
    fn names_are_those_of_systemd_and_tell_the_client() {
        let cases = [
            (
                inet("127.0.0.1:7777", "127.0.0.1:50080"),
                "echo@7-127.0.0.1:7777-127.0.0.1:50080",
                Some("127.0.0.1:50080"),
            ),
            (inet("[::1]:7778", "[::1]:52122"), "echo@7-::1:7778-::1:52122", Some("[::1]:52122")),
            (
                inet("[::ffff:127.0.0.1]:7779", "[::ffff:127.0.0.1]:58562"),
                "echo@7-127.0.0.1:7779-127.0.0.1:58562",
                Some("127.0.0.1:58562"),
            ),
            (Ends::Unix(Some((143, 0))), "echo@7-143-0", None),
            (Ends::Unix(None), "echo@7-unknown", None),
        ];
        for (ends, expected, told) in cases {
            assert_eq!(name(ends).as_str(), expected);
            assert_eq!(number(&name(ends)), Some(7));
            assert_eq!(remote(&name(ends)), told.map(|told| told.parse().unwrap()), "{expected}");
            assert_eq!(
                client(&name(ends)).as_deref(),
                told.or_else(|| Some("PID 143/UID 0").filter(|_| expected.ends_with("-0")))
            );
            assert_eq!(ends.source(), remote(&name(ends)).map(|remote| remote.ip()), "{expected}");
        }
        assert_eq!(remote(&UnitName::new("echo").unwrap()), None);
        assert_eq!(remote(&UnitName::new("echo@a-b-c").unwrap()), None);
    }

    #[test]
    fn the_longest_name_fits() {
        let long = "[fd00:1111:2222:3333:4444:5555:6666:7777]:65535";
        let ends = inet(long, long);
        let instance = ends.instance(u64::MAX);
        assert!(UnitName::new(&format!("{}@", "t".repeat(139))).unwrap().with_instance(&instance).is_some());
        assert!(instance.len() <= 115, "{}", instance.len());
    }
}
