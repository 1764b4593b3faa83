//! What things of a fleet are called. Names go into command lines of ssh, keys of Redis and commands of load balancers, so
//! they are correct once made.

use std::{fmt, str::FromStr, sync::Arc};

use super::spelling::spelt;

/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot name {what} {text:?} (1 to 64 letters, digits, . _ and -, the first no . or -)")]
pub struct NameError {
    what: &'static str,
    text: String,
}

fn checked(what: &'static str, text: &str) -> Result<Arc<str>, NameError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.starts_with(['.', '-']) || !text.bytes().all(allowed) {
        return Err(NameError { what, text: text.to_owned() });
    }
    Ok(text.into())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`.
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text).map(Self)
            }

            /// The name as people see it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        spelt!($name);
    };
}

name!(
    /// All that is coordinated together; part of the names of its keys in Redis. Cheap to clone.
    FleetName,
    "a fleet"
);
name!(
    /// One machine of the inventory. Cheap to clone.
    NodeName,
    "a node"
);
name!(
    /// What runs as instances on nodes: `ejabberd` on `vm1` and `vm3`. Cheap to clone.
    ServiceName,
    "a service"
);
name!(
    /// Nodes that fail together: a rack, a room.
    ZoneName,
    "a zone"
);
name!(
    /// Servers behind a load balancer, on all of its hosts.
    PoolName,
    "a pool"
);

/// A service on a node, shown as `ejabberd@vm1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Of which service.
    pub service: ServiceName,
    /// Where.
    pub node: NodeName,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.node)
    }
}

impl FromStr for Instance {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refused = || NameError { what: "an instance", text: text.to_owned() };
        let (service, node) = text.split_once('@').ok_or_else(refused)?;
        Ok(Self { service: service.parse()?, node: node.parse()? })
    }
}

spelt!(Instance);

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_an_option_a_path_or_a_command() {
        for bad in ["", "-oProxyCommand=x", ".", "..", ".x", "a/b", "a b", "a;b", "a@b", "$(id)", "ä", "a\n"] {
            assert!(NodeName::new(bad).is_err(), "{bad:?}");
        }
        assert!(NodeName::new(&"a".repeat(65)).is_err());
        for good in ["vm1", "db-2.example.org", "A_b", "7", &"a".repeat(64)] {
            assert_eq!(NodeName::new(good).unwrap().as_str(), good);
        }
        let error = ServiceName::new("-x").unwrap_err().to_string();
        assert_eq!(error, "cannot name a service \"-x\" (1 to 64 letters, digits, . _ and -, the first no . or -)");
    }
}
