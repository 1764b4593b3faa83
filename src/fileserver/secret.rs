//! The keys shared with the XMPP server: where they come from, and that they are never shown.

use std::{
    env, fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Longest secret we read; SHA-256 gains nothing from a key past 64 bytes.
const SECRET_BYTES_MAX: u64 = 4096;
/// Permission bits of a secret file that let in someone other than its owner.
const FOREIGN_BITS: u32 = 0o077;

/// A key shared with the XMPP server. Never shown: its `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The secret's raw bytes become the key; an empty secret is none.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// The key for HMAC-SHA256.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the secrets come from; the newest first, older ones stay valid beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretSource {
    /// Files with one secret each; a final line break is not part of it.
    pub files: Vec<PathBuf>,
    /// Environment variables with one secret each.
    pub environment: Vec<String>,
}

/// Why there is no secret to check uploads with.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nothing names one.
    #[error("cannot check uploads without a secret: name a file in [security] secret_files")]
    None,
    /// The file cannot be opened or read.
    #[error("cannot read the secret file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others on this machine could read it.
    #[error(
        "cannot trust the secret file {path}: its mode is {mode:04o}, let only its owner read it (chmod 600 {path})"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a device …
    #[error("cannot use {0} as a secret file: it is not a regular file")]
    Kind(PathBuf),
    /// Longer than any secret.
    #[error("cannot use {0} as a secret file: it has more than {SECRET_BYTES_MAX} bytes")]
    Long(PathBuf),
    /// Nothing in it.
    #[error("cannot use {0} as a secret file: it is empty")]
    Empty(PathBuf),
    /// The variable is not set, or empty.
    #[error("cannot read a secret from the environment variable {0}: it is not set or empty")]
    Environment(String),
}

impl SecretSource {
    /// Reads all secrets; one that cannot be read is an error, so that a rotation never half happens.
    pub fn load(&self) -> Result<Vec<Secret>, SecretError> {
        let mut secrets = Vec::with_capacity(self.files.len() + self.environment.len());
        for path in &self.files {
            secrets.push(read_secret(path)?);
        }
        for name in &self.environment {
            let value = env::var_os(name).unwrap_or_default();
            let secret = Secret::new(std::os::unix::ffi::OsStrExt::as_bytes(value.as_os_str()));
            secrets.push(secret.ok_or_else(|| SecretError::Environment(name.clone()))?);
        }
        if secrets.is_empty() { Err(SecretError::None) } else { Ok(secrets) }
    }
}

/// Reads one secret file, refusing one that others could read.
pub fn read_secret(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that it cannot be exchanged in between.
    let status = file.metadata().map_err(failed)?;
    if !status.is_file() {
        return Err(SecretError::Kind(path.into()));
    }
    if status.mode() & FOREIGN_BITS != 0 {
        return Err(SecretError::Mode { path: path.into(), mode: status.mode() & 0o7777 });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::Long(path.into()));
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Secret::new(line).ok_or_else(|| SecretError::Empty(path.into()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join("secret");
        let _gone = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_that_others_could_read_is_refused_by_name_and_mode() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o777] {
            let path = file(&folder, "key", mode);
            let text = read_secret(&path).unwrap_err().to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains(&format!("{mode:04o}")), "{text}");
        }
        for mode in [0o600, 0o400] {
            assert!(read_secret(&file(&folder, "key", mode)).is_ok());
        }
    }

    #[test]
    fn the_final_line_break_is_not_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        for (text, secret) in [("a b", "a b"), ("a b\n", "a b"), ("a b\r\n", "a b"), ("a\n\n", "a\n"), (" a", " a")] {
            assert_eq!(read_secret(&file(&folder, text, 0o600)).unwrap().bytes(), secret.as_bytes());
        }
        for text in ["", "\n", "\r\n"] {
            assert!(matches!(read_secret(&file(&folder, text, 0o600)), Err(SecretError::Empty(_))), "{text:?}");
        }
        let long = "x".repeat(4097);
        assert!(matches!(read_secret(&file(&folder, &long, 0o600)), Err(SecretError::Long(_))));
        assert!(matches!(read_secret(folder.path()), Err(SecretError::Kind(_))));
    }

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Some(Secret(…))");
    }

    #[test]
    fn no_source_is_an_error_and_so_is_one_that_gives_nothing() {
        assert!(matches!(SecretSource::default().load(), Err(SecretError::None)));
        let source = SecretSource { files: vec![], environment: vec!["HFS_NO_SUCH_VARIABLE".to_owned()] };
        assert!(matches!(source.load(), Err(SecretError::Environment(_))));
    }
}
