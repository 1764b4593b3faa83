//! The daemon's own places in the file system: its lock and its notify socket.
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{OpenOptionsExt, PermissionsExt},
            net::UnixDatagram,
        },
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::socket::{setsockopt, sockopt},
};

/// A lock that is this process's own and outlives an exec, fcntl(2) F_SETLK.
///
/// Not flock(2): that lasts as long as any copy of the descriptor, and a child that hangs before its exec has one. The
/// price is that closing any descriptor of the file gives the lock up, so nothing else here opens it.
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
    /// When another process holds it, named by its pid.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let mut file = options.open(path).map_err(LockError::File)?;
        loop {
            match fcntl(&file, FcntlArg::F_SETLK(&WHOLE_FILE)) {
                Ok(_) => break,
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    if let Some(holder) = holder_of(&mut file).map_err(LockError::File)? {
                        return Err(LockError::Held(holder));
                    }
                }
                Err(errno) => return Err(LockError::File(errno.into())),
            }
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(LockError::File)?;
        Ok(Self(file))
    }

    /// The descriptor that gives the lock up when it is closed.
    pub fn into_fd(self) -> OwnedFd {
        self.0.into()
    }
}

/// Who holds the lock; `None` when nobody does any more. The kernel knows it before the file says so, but does not name who
/// is in another pid namespace.
fn holder_of(file: &mut File) -> io::Result<Option<String>> {
    let mut asked = WHOLE_FILE;
    fcntl(&*file, FcntlArg::F_GETLK(&mut asked))?;
    if i32::from(asked.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    if asked.l_pid > 0 {
        return Ok(Some(asked.l_pid.to_string()));
    }
    let mut written = String::new();
    file.rewind()?;
    file.read_to_string(&mut written)?;
    Ok(Some(written.trim().to_owned()))
}

/// libc's numbers in the width of the structure.
const F_WRLCK: i16 = 1;
const SEEK_SET: i16 = 0;
/// An exclusive lock from the first byte to the end.
const WHOLE_FILE: libc::flock = libc::flock { l_type: F_WRLCK, l_whence: SEEK_SET, l_start: 0, l_len: 0, l_pid: 0 };

/// Binds a datagram socket at `path` that anyone may send to and that says who sent (SO_PASSCRED, and from Linux 6.5 on
/// SO_PASSPIDFD), in place of what is there.
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
    pass_process(&socket);
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(socket.into())
}

/// Asks for a descriptor of each sender's process. Older kernels cannot; then the pid alone has to do.
fn pass_process(socket: &UnixDatagram) {
    // asm-generic/socket.h; libc does not name it yet.
    const SO_PASSPIDFD: libc::c_int = 76;
    let yes: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&yes)).unwrap_or_default();
    // SAFETY: the option is one int, which lives until the call has ended.
    let _set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSPIDFD, (&raw const yes).cast(), length)
    };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::receive;

    #[test]
    fn a_lock_is_held_until_it_is_closed_and_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = LockFile::take(&path).unwrap();
        // A lock of an open file, not of a process, conflicts with ours even from here.
        let conflict = |file: &File| {
            let mut asked = WHOLE_FILE;
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked)).unwrap();
            i32::from(asked.l_type) != libc::F_UNLCK
        };
        // Opened here and never closed before the question: closing it would give the lock up.
        let file = File::open(&path).unwrap();
        assert!(conflict(&file));
        drop(held);
        assert!(!conflict(&file));
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
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
        // Kernels before 6.5 name the sender by its pid only.
        assert!(packet.process.is_none_or(|process| crate::sys::holds_its_pid(process.as_fd())));
    }
}
