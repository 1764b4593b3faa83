//! The init system above us, the terminal or log we were started with, and our own program image.
use std::{
    ffi::{CStr, CString, OsStr},
    io::{self, IoSlice, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    panic,
    path::Path,
    process, thread,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket},
    unistd,
};

/// Sends a datagram to a notify socket as $NOTIFY_SOCKET names it (a path, or `@` and an abstract name), sd_notify(3).
/// Never waits.
///
/// # Errors
/// When nobody listens there, or there is no room.
pub fn tell_init(address: &OsStr, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name)?,
        None => UnixAddr::new(Path::new(address))?,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[_] = if raw.is_empty() { &[] } else { &rights };
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, Some(&address))?;
    Ok(())
}

/// Ends this process by SIGABRT as soon as any of its threads or tasks panics, having said where and why. What another part
/// still does then is of no use: half a manager answers that all is well, and nobody replaces it.
pub fn abort_on_panic() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        say(&format!("thread {} {panic}", thread.name().unwrap_or("without a name")));
        process::abort();
    }));
}

/// Writes a line to standard error if that takes no waiting, else leaves it out: who reads our errors may hang. It takes no
/// lock either: who holds that of standard error may wait.
pub fn say(text: &str) {
    let stderr = io::stderr();
    let mut ask = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let room = poll(&mut ask, PollTimeout::ZERO).is_ok_and(|count| count > 0);
    // A pipe that is ready takes as much without waiting, pipe(7).
    let line = format!("supervisord: {text}\n");
    if room && line.len() <= PIPE_ATOMIC_BYTES {
        // Nobody is left to tell that it failed.
        let _written = unistd::write(&stderr, line.as_bytes());
    }
}

/// Writes a line to standard error, however long it is and however long that takes: for a process that has nothing else to
/// do any more.
pub fn complain(text: &str) {
    // Nobody is left to tell that it failed.
    let _written = writeln!(io::stderr(), "supervisord: {text}");
}

/// The same with an answer that was asked for, to standard output.
pub fn print(text: &str) {
    let _written = writeln!(io::stdout(), "{text}");
}

/// PIPE_BUF of Linux.
const PIPE_ATOMIC_BYTES: usize = 4096;

/// Replaces this process's program, execve(2); pid, children, and descriptors that do not close on exec stay. Comes back
/// only when it could not.
pub fn replace_image(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    match unistd::execve(path, argv, env) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_init_system_hears_us_and_its_absence_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("init");
        let init = UnixDatagram::bind(&path).unwrap();
        tell_init(path.as_os_str(), b"READY=1", &[init.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(init.recv(&mut buffer).unwrap(), 7);
        assert_eq!(&buffer[..7], b"READY=1");
        drop(init);
        assert!(tell_init(path.as_os_str(), b"READY=1", &[]).is_err());
        assert!(tell_init(OsStr::new("@roundsman/nobody"), b"READY=1", &[]).is_err());
    }

    #[test]
    fn a_missing_image_replaces_nothing() {
        let error = replace_image(c"/nonexistent", &[], &[]);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
