use std::{fmt, path::Path};

/// A small secret that the service finds as a file in $CREDENTIALS_DIRECTORY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The file's name.
    pub id: Box<str>,
    /// Where it is read from; nowhere when it is only set.
    pub source: Option<CredentialSource>,
    /// What it is when it cannot be read.
    pub value: Option<Value>,
}

/// Where a credential is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file, or a directory whose files are credentials each.
    Path(Box<Path>),
    /// A name in the daemon's own credentials or in one of the host's stores (`/etc/credstore` …).
    Store(Box<str>),
}

/// The content of a credential, which nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(pub Box<[u8]>);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
