//! What is wrong with a Redis server: a name that others may say without naming the crate.

use crate::unit::spec::RedisRole;

/// What is wrong with a server, and so what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisTrouble {
    /// It does not answer us: for this reason.
    Unreached(String),
    /// It answers, and should be this.
    Role(RedisRole),
    /// It does not hear its primary: for this reason.
    Link(String),
}

impl RedisTrouble {
    /// One sentence for people.
    pub fn reason(self) -> String {
        match self {
            Self::Unreached(reason) | Self::Link(reason) => reason,
            Self::Role(RedisRole::Primary) => "it is a replica, expected a primary".to_owned(),
            Self::Role(RedisRole::Replica) => "it is a primary, expected a replica".to_owned(),
        }
    }
}

impl From<String> for RedisTrouble {
    fn from(reason: String) -> Self {
        Self::Unreached(reason)
    }
}
