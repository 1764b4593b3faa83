//! The daemon's own places in the file system: its lock and its notify socket.
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{OpenOptionsExt, PermissionsExt},
            net::UnixDatagram,
        },
    },
    path::Path,
};

use nix::sys::socket::{setsockopt, sockopt};

/// A lock that lasts as long as this process, or any copy of the descriptor.
#[derive(Debug)]
pub struct LockFile(File);

/// Why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("it is held by process {0}")]
    Held(String),
    /// The file cannot be used.
    #[error("cannot open it")]
    File(#[source] io::Error),
}

impl LockFile {
    /// Takes the lock at `path` and writes our pid into it.
    ///
    /// # Errors
    /// When another process holds it, named by the pid in the file.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let mut file = options.open(path).map_err(LockError::File)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(LockError::File)?;
                return Err(LockError::Held(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::File(error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(LockError::File)?;
        Ok(Self(file))
    }

    /// The descriptor that the lock lasts as long as.
    pub fn into_fd(self) -> OwnedFd {
        self.0.into()
    }
}

/// Binds a datagram socket at `path` that anyone may send to and that says who sent (SO_PASSCRED), in place of what is
/// there.
///
/// # Errors
/// As bind(2).
pub fn bind_notify_socket(path: &Path) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::receive;

    #[test]
    fn a_lock_is_had_once_and_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = LockFile::take(&path).unwrap();
        match LockFile::take(&path) {
            Err(LockError::Held(pid)) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
        drop(held);
        LockFile::take(&path).unwrap();
    }

    #[test]
    fn the_notify_socket_says_who_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        fs::write(&path, "left by another").unwrap();
        let socket = bind_notify_socket(&path).unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"READY=1", &path).unwrap();
        let mut buffer = [0; 64];
        let packet = receive(socket.as_fd(), &mut buffer).unwrap();
        assert_eq!((packet.length, packet.sender.map(|sender| sender.pid)), (7, Some(std::process::id())));
    }
}
