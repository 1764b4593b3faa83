use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::sys::resource::{UsageWho, getrusage};

use crate::base::{ExitStatus, Pid, Signal, Usage};

/// The end of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// The pid that it had; 1 cannot be.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
    /// What it and the children that it waited for used.
    pub usage: Usage,
}

/// Takes the end of one child: of `pid`, waiting for it, or of whichever has ended; `None` when none has or none is.
///
/// # Errors
/// When `pid` is no child of ours.
pub fn reap(pid: Option<Pid>) -> io::Result<Option<Reaped>> {
    let (which, options) = pid.map_or((-1, libc::WNOHANG), |pid| (pid.raw(), 0));
    let mut status = 0;
    // SAFETY: the structure holds numbers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes a number and a structure of this frame. Safe wrappers leave out the usage.
    let reaped = unsafe { libc::wait4(which, &raw mut status, options, &raw mut usage) };
    if reaped < 0 {
        let error = io::Error::last_os_error();
        let none = pid.is_none() && error.raw_os_error() == Some(libc::ECHILD);
        return if none { Ok(None) } else { Err(error) };
    }
    Ok(Pid::new(reaped).map(|pid| Reaped { pid, status: exit_status(status), usage: used(&usage) }))
}

/// What wait(2) says in one number.
pub fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFEXITED(status) {
        return u8::try_from(libc::WEXITSTATUS(status)).map_or(ExitStatus::Unknown, ExitStatus::Exited);
    }
    match Signal::new(libc::WTERMSIG(status)) {
        Some(signal) => ExitStatus::Signaled { signal, core: libc::WCOREDUMP(status) },
        None => ExitStatus::Unknown,
    }
}

/// The kernel keeps counts of memory by CPU, and sums them up within about this much.
const RSS_SLACK_KIB: u64 = 1024;

fn used(usage: &libc::rusage) -> Usage {
    // A child of ours shares our memory until it execs, and with it our peak: only what is above that is its own.
    let own = getrusage(UsageWho::RUSAGE_SELF).map_or(u64::MAX, |own| u64::try_from(own.max_rss()).unwrap_or(u64::MAX));
    let span = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Usage {
        user: span(usage.ru_utime),
        system: span(usage.ru_stime),
        max_rss_kib: own_peak(u64::try_from(usage.ru_maxrss).unwrap_or(0), own),
    }
}

fn own_peak(told_kib: u64, parent_kib: u64) -> u64 {
    if told_kib > parent_kib.saturating_add(RSS_SLACK_KIB) { told_kib } else { 0 }
}

/// Sends a signal to a child that was not reaped yet; for any other process the pid may be a stranger's by now.
///
/// # Errors
/// As kill(2).
pub fn send_signal(child: Pid, signal: Signal) -> io::Result<()> {
    kill(child.raw(), signal)
}

/// Sends a signal to the process group that `leader`, a child that was not reaped yet, leads.
///
/// # Errors
/// As kill(2).
pub fn signal_group(leader: Pid, signal: Signal) -> io::Result<()> {
    kill(-leader.raw(), signal)
}

fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: takes numbers only; a `Pid` is above 1, so this is never everyone or our own group.
    let done = unsafe { libc::kill(target, signal.raw()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that stands for the process that has this pid now, pidfd_open(2).
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open_process(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only; libc has no wrapper.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.raw(), 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process that a descriptor stands for, pidfd_send_signal(2).
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn signal_process(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let (fd, signal) = (process.as_raw_fd(), signal.raw());
    // SAFETY: takes numbers and a null pointer, which asks for an ordinary signal; libc has no wrapper.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the process that a descriptor stands for is not reaped yet, so that its pid is still its own.
pub fn holds_its_pid(process: BorrowedFd<'_>) -> bool {
    // SAFETY: takes numbers and a null pointer; signal 0 is only a question.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), 0, 0, 0) };
    // Where we may not signal it, it is there.
    done == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// When a process started, in clock ticks since boot: field 22 of /proc/PID/stat, proc(5). With the pid it names a
/// process for as long as the machine runs.
///
/// # Errors
/// When there is no such process.
pub fn start_time(pid: Pid) -> io::Result<u64> {
    let mut text = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
    // The name in field 2 may hold anything, so fields are counted from its last parenthesis.
    let text = text.get(..length).unwrap_or_default();
    let after = text.iter().rposition(|byte| *byte == b')').and_then(|at| text.get(at + 2..));
    let field = after.and_then(|rest| rest.split(|byte| *byte == b' ').nth(22 - 3));
    let number = field.and_then(|field| str::from_utf8(field).ok()).and_then(|field| field.parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The pid that leads the session of a process, getsid(2).
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn session_of(pid: Pid) -> io::Result<Option<Pid>> {
    // SAFETY: takes a number.
    let session = unsafe { libc::getsid(pid.raw()) };
    if session < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid::new(session)) }
}

/// Makes us the parent of every orphan below us, as PID 1 is of all others; prctl(2) PR_SET_CHILD_SUBREAPER.
///
/// # Errors
/// As prctl(2).
pub fn adopt_orphans() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// Has the kernel end us with SIGKILL when our parent dies, prctl(2) PR_SET_PDEATHSIG.
///
/// # Errors
/// As prctl(2).
pub fn die_with_parent() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    Ok(())
}

/// The name that process lists show for us, cut to 15 bytes.
///
/// # Errors
/// As prctl(2).
pub fn set_process_name(name: &std::ffi::CStr) -> io::Result<()> {
    nix::sys::prctl::set_name(name)?;
    Ok(())
}

/// The id of this boot of the machine: pids and start times of another boot mean nothing.
///
/// # Errors
/// Without /proc.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Our own OOM score adjustment, proc(5).
///
/// # Errors
/// Without /proc.
pub fn oom_score_adj() -> io::Result<i16> {
    let text = fs::read_to_string(OOM_SCORE_ADJ)?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Sets our own OOM score adjustment, -1000 to 1000.
///
/// # Errors
/// `EACCES` when it is lower than we may.
pub fn set_oom_score_adj(score: i16) -> io::Result<()> {
    fs::write(OOM_SCORE_ADJ, score.to_string())
}

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// The capabilities that we may use or pass on, a bit for each; none where the kernel does not say.
pub fn permitted_capabilities() -> u64 {
    // _LINUX_CAPABILITY_VERSION_3 and this process; effective, permitted, inheritable: the low halves, then the high.
    let (head, mut sets) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: reads and writes the two arrays, which are as large as the version says.
    let done = unsafe { libc::syscall(libc::SYS_capget, head.as_ptr(), sets.as_mut_ptr()) };
    let [_, low, _, _, high, _] = sets;
    if done == 0 { u64::from(high) << 32 | u64::from(low) } else { 0 }
}

/// Our own niceness.
///
/// # Errors
/// As getpriority(2).
pub fn niceness() -> io::Result<i32> {
    // SAFETY: takes numbers. The raw call is used because libc's mixes -1 with failure; it answers 20 minus niceness.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(20 - i32::try_from(answer).unwrap_or(20)) }
}

/// Sets our own niceness.
///
/// # Errors
/// `EACCES` when it is lower than we may.
pub fn set_niceness(nice: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One of our own resource limits, soft and hard; `u64::MAX` is infinity.
///
/// # Errors
/// `EINVAL` for a number that is no resource.
pub fn resource_limit(resource: u32) -> io::Result<(u64, u64)> {
    prlimit(resource, None)
}

/// Sets one of our own resource limits, soft and hard.
///
/// # Errors
/// `EPERM` when the hard limit is higher than we may.
pub fn set_resource_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    prlimit(resource, Some((soft, hard))).map(|_| ())
}

fn prlimit(resource: u32, new: Option<(u64, u64)>) -> io::Result<(u64, u64)> {
    let new = new.map(|(soft, hard)| libc::rlimit64 { rlim_cur: soft, rlim_max: hard });
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads at most one structure and writes another, both of this frame. The raw call takes any number.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, &raw mut old) };
    if done == 0 { Ok((old.rlim_cur, old.rlim_max)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Pid {
        Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_process_is_named_by_pid_and_start_time() {
        let ours = start_time(us()).unwrap();
        assert!(ours > 0);
        assert_eq!(start_time(us()).unwrap(), ours);
        assert!(start_time(Pid::new(i32::MAX).unwrap()).is_err());
    }

    #[test]
    fn a_descriptor_of_a_process_takes_signals() {
        let process = open_process(us()).unwrap();
        // SIGCONT does nothing to a process that runs.
        signal_process(std::os::fd::AsFd::as_fd(&process), Signal::CONT).unwrap();
        assert_eq!(open_process(Pid::new(i32::MAX).unwrap()).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn limits_and_niceness_are_read_and_set() {
        let (soft, hard) = resource_limit(libc::RLIMIT_CORE).unwrap();
        set_resource_limit(libc::RLIMIT_CORE, soft.min(1), hard).unwrap();
        assert_eq!(resource_limit(libc::RLIMIT_CORE).unwrap(), (soft.min(1), hard));
        assert!(resource_limit(99).is_err());
        let nice = niceness().unwrap();
        set_niceness(nice).unwrap();
        assert_eq!(niceness().unwrap(), nice);
    }

    #[test]
    fn the_kernels_words_for_ends_are_read() {
        assert_eq!(exit_status(3 << 8), ExitStatus::Exited(3));
        assert_eq!(exit_status(9), ExitStatus::Signaled { signal: Signal::KILL, core: false });
        assert_eq!(exit_status(6 | 0x80), ExitStatus::Signaled { signal: Signal::ABRT, core: true });
    }

    #[test]
    fn a_session_is_asked_of_the_kernel() {
        assert!(session_of(us()).is_ok());
        assert_eq!(session_of(Pid::new(i32::MAX).unwrap()).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
