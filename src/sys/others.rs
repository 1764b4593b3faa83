//! What other processes hold: their descriptors, and a word of their environment. Only root and their own user may look.
use std::{
    ffi::CStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
};

use crate::base::Pid;

/// What tells a file, pipe or socket from every other of this boot, stat(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What a descriptor of ours leads to.
///
/// # Errors
/// As fstat(2).
pub fn file_id(fd: BorrowedFd<'_>) -> io::Result<FileId> {
    let seen = nix::sys::stat::fstat(fd)?;
    Ok(FileId { device: seen.st_dev, inode: seen.st_ino })
}

/// Whether two descriptors of ours lead to the same open file, kcmp(2). Where the kernel does not say, they count as two.
pub fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    const KCMP_FILE: i32 = 0;
    let own = std::process::id();
    let (one, other) = (one.as_fd().as_raw_fd(), other.as_fd().as_raw_fd());
    // SAFETY: takes numbers only; libc has no wrapper.
    unsafe { libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, one, other) == 0 }
}

/// Every process that there is now.
///
/// # Errors
/// Without /proc.
pub fn all_processes() -> io::Result<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::new))
}

/// The descriptors of a process and where they lead; none where we may not look.
pub fn descriptors_of(pid: Pid) -> Vec<(RawFd, FileId)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let seen = entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // Follows the link, though what it shows is no path: proc_pid_fd(5).
        let seen = fs::metadata(entry.path()).ok()?;
        Some((number, FileId { device: seen.dev(), inode: seen.ino() }))
    });
    seen.collect()
}

/// Opens anew the pipe that descriptor `number` of a process leads to: its read end, which never blocks, and an end as
/// services have it (see [`super::LogPipe`]). Whether it is the pipe that was meant is to be seen on what was opened.
///
/// # Errors
/// When the process is gone, or is another's.
pub fn pipe_of(pid: Pid, number: RawFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let path = format!("/proc/{pid}/fd/{number}");
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
    let writer = File::options().read(true).write(true).open(&path)?;
    Ok((reader.into(), writer.into()))
}

/// A duplicate of descriptor `number` of the process that `process` stands for, pidfd_getfd(2).
///
/// # Errors
/// `ESRCH` when it is gone, `EPERM` where we may not trace it.
pub fn descriptor_of(process: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only; libc has no wrapper.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us; it closes on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the environment that a process was given has this entry (`NAME=value`); `None` where it cannot be seen now, as
/// in the middle of its exec.
pub fn was_given(pid: Pid, entry: &CStr) -> Option<bool> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok().filter(|environ| !environ.is_empty())?;
    Some(environ.split(|byte| *byte == 0).any(|other| other == entry.to_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::AsFd,
    };

    use super::*;
    use crate::sys::{log_pipe, number, open_process};

    fn us() -> Pid {
        Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_pipe_and_a_socket_of_a_process_are_found_and_taken() {
        let pipe = log_pipe(0).unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let held = descriptors_of(us());
        let place = |fd: BorrowedFd<'_>| held.iter().find(|(_, id)| *id == file_id(fd).unwrap()).unwrap().0;
        assert_eq!(place(theirs.as_fd()), number(&theirs));
        let copy = descriptor_of(open_process(us()).unwrap().as_fd(), place(theirs.as_fd())).unwrap();
        assert_eq!(file_id(copy.as_fd()).unwrap(), file_id(theirs.as_fd()).unwrap());
        drop(ours);
        let (reader, writer) = pipe_of(us(), place(pipe.writer.as_fd())).unwrap();
        File::from(writer).write_all(b"x").unwrap();
        let mut reader = File::from(reader);
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 1);
        assert_eq!(reader.read(&mut [0; 2]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(pipe_of(us(), 9999).is_err());
        assert!(descriptor_of(open_process(us()).unwrap().as_fd(), 9999).is_err());
    }

    #[test]
    fn an_environment_is_asked_for_a_whole_entry() {
        let (name, value) = std::env::vars().find(|(name, _)| name == "PATH").unwrap();
        let entry = |text: String| std::ffi::CString::new(text).unwrap();
        assert_eq!(was_given(us(), &entry(format!("{name}={value}"))), Some(true));
        assert_eq!(was_given(us(), &entry(format!("{name}={value}x"))), Some(false));
        assert_eq!(was_given(Pid::new(i32::MAX).unwrap(), c"A=b"), None);
        assert!(all_processes().unwrap().any(|pid| pid == us()));
    }

    #[test]
    fn a_duplicate_is_the_same_file_and_what_is_opened_anew_is_not() {
        let file = File::open("/dev/null").unwrap();
        assert!(is_same_file(&file, file.try_clone().unwrap()));
        assert!(!is_same_file(&file, File::open("/dev/null").unwrap()));
    }
}
