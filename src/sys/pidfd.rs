//! Ends of processes that are not our children, through a descriptor that stands for them.
use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
};

use super::process::{exit_status, start_time};
use crate::base::{ExitStatus, Pid};

/// How a process ended that is not our child, asked when its descriptor says that it has.
///
/// While its parent has not reaped it, /proc/PID/stat holds the status (field 52, for those who may trace it);
/// afterwards the descriptor does, from Linux 6.15 on. Where neither does, nobody knows.
pub fn end_of(process: BorrowedFd<'_>, pid: Pid, started: u64) -> ExitStatus {
    zombie_status(pid, started).or_else(|_| reaped_status(process)).map_or(ExitStatus::Unknown, exit_status)
}

/// The status of a zombie that is still the process that was seen.
fn zombie_status(pid: Pid, started: u64) -> io::Result<i32> {
    let unknown = || io::Error::from(io::ErrorKind::NotFound);
    let mut file = File::open(format!("/proc/{pid}/stat"))?;
    // To those who may not trace it the kernel shows 0, which would be a guess.
    let us = nix::unistd::geteuid();
    if !us.is_root() && file.metadata()?.uid() != us.as_raw() {
        return Err(unknown());
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let (_, rest) = text.rsplit_once(") ").ok_or_else(unknown)?;
    // Asked after the text was read: the pid cannot have been given away in between and back.
    if !rest.starts_with(['Z', 'X']) || start_time(pid)? != started {
        return Err(unknown());
    }
    rest.split_ascii_whitespace().nth(52 - 3).and_then(|field| field.parse().ok()).ok_or_else(unknown)
}

/// The kernel's structure for PIDFD_GET_INFO, its first 64 bytes; linux/pidfd.h.
#[repr(C)]
#[derive(Debug, Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// _IOWR(0xFF, 11, 64 bytes).
const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
/// The exit code is asked for, and is there.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// The status of a process that was reaped; the descriptor was opened before.
fn reaped_status(process: BorrowedFd<'_>) -> io::Result<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the number says that the kernel reads and writes 64 bytes, which is the size of the structure.
    let done = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    if info.mask & PIDFD_INFO_EXIT == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(info.exit_code)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::{
        holds_its_pid, open_process, reap,
        spawn::{Program, Spawner},
    };

    #[test]
    fn an_end_is_known_before_and_after_the_reaping() {
        assert_eq!(size_of::<PidfdInfo>(), 64);
        let argv = [c"sh".to_owned(), c"-c".to_owned(), c"exit 42".to_owned()];
        let program = Program::new(c"/bin/sh", &argv, &[], &[]);
        let pid = Spawner::default().spawn(&program).unwrap().pid;
        let process = open_process(pid).unwrap();
        let started = start_time(pid).unwrap();
        let mut ended = [nix::poll::PollFd::new(process.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut ended, nix::poll::PollTimeout::NONE).unwrap();
        assert_eq!(end_of(process.as_fd(), pid, started), ExitStatus::Exited(42));
        assert_ne!(end_of(process.as_fd(), pid, started + 1), ExitStatus::Exited(0), "a stranger's is not taken");
        assert!(holds_its_pid(process.as_fd()), "nobody else has it before it is reaped");
        reap(Some(pid)).unwrap();
        assert!(!holds_its_pid(process.as_fd()));
        let after = end_of(process.as_fd(), pid, started);
        // Kernels before 6.15 forget.
        assert!(matches!(after, ExitStatus::Exited(42) | ExitStatus::Unknown), "{after:?}");
    }
}
