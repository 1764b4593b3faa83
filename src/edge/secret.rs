//! Files that hold a secret.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::libc::O_NONBLOCK;

/// Longest secret that is read.
const SECRET_BYTES_MAX: u64 = 4096;
/// Longest private key that is read: one of RSA with 16,384 bits has 13 KiB.
const KEY_BYTES_MAX: u64 = 32 << 10;
/// Permission bits that let in someone other than the owner.
pub const FOREIGN_BITS: u32 = 0o077;

/// What stands in a file that nobody but its owner, root or us, may read; a final line break is no part of it. The reason of
/// a refusal names the file, and the remedy, and nothing that stands in it.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_within(path, SECRET_BYTES_MAX)
}

/// The same for a private key, which is longer.
pub fn read_key(path: &Path) -> Result<Vec<u8>, String> {
    read_within(path, KEY_BYTES_MAX)
}

fn read_within(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let unread = |error| format!("cannot read {shown}: {error}");
    // A pipe of this name would be waited for.
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path).map_err(unread)?;
    let meta = file.metadata().map_err(unread)?;
    if !meta.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    let mode = meta.mode() & 0o777;
    if mode & FOREIGN_BITS != 0 {
        return Err(format!("{shown} has mode {mode:04o}, others can read this secret (chmod 0600 {shown})"));
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user, who could change it"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{shown} has more than {bytes_max} bytes, too many for a secret"));
    }
    if bytes.ends_with(b"\n") {
        bytes.truncate(bytes.len() - if bytes.ends_with(b"\r\n") { 2 } else { 1 });
    }
    if bytes.is_empty() { Err(format!("{shown} is empty")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_a_file_that_others_cannot_read_holds_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let written = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read(&path)
        };
        assert_eq!(written("hunter2\n", 0o600).unwrap(), b"hunter2");
        assert_eq!(written("hunter2\r\n", 0o400).unwrap(), b"hunter2");
        assert_eq!(written("a\nb", 0o600).unwrap(), b"a\nb");
        for (text, mode, why) in [
            ("hunter2", 0o640, "others can read"),
            ("hunter2", 0o604, "others can read"),
            ("\n", 0o600, "is empty"),
            (&"x".repeat(5000), 0o600, "too many"),
        ] {
            let error = written(text, mode).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
        assert!(read(dir.path()).unwrap_err().contains("no regular file"));
        assert!(read(&dir.path().join("gone")).unwrap_err().starts_with("cannot read "));
    }
}
