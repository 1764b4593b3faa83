use std::{
    ffi::{CStr, CString},
    fmt,
    os::fd::BorrowedFd,
};

use crate::base::{SpawnStep, confinement::Confinement};

/// How a process is to be set up.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable.
    pub path: &'a CStr,
    /// Where it is looked for next, in this order, as execvp(3) does.
    pub or_paths: &'a [CString],
    /// Its arguments, the zeroth first.
    pub argv: &'a [CString],
    /// Its environment, `NAME=value`.
    pub env: &'a [CString],
    /// Its root directory; `None` is ours.
    pub root: Option<&'a CStr>,
    /// Its working directory, below its root.
    pub cwd: &'a CStr,
    /// Whether it starts in `/` when it cannot enter its working directory.
    pub cwd_may_miss: bool,
    /// Whom it runs as; `None` is our own user.
    pub user: Option<User<'a>>,
    /// File mode creation mask.
    pub umask: u32,
    /// Niceness; `None` keeps ours.
    pub nice: Option<i32>,
    /// When and where it gets the CPU and the disk.
    pub schedule: Schedule<'a>,
    /// OOM score adjustment; `None` keeps ours.
    pub oom_score_adj: Option<i32>,
    /// Resource limits.
    pub limits: &'a [Limit],
    /// What it may do beyond what its user may.
    pub privileges: Privileges,
    /// Whether exec may no longer grant privileges.
    pub no_new_privs: bool,
    /// Whether SIGPIPE is ignored; every other signal starts with its default action.
    pub ignore_sigpipe: bool,
    /// Its descriptors 0, 1, 2 … and no others.
    pub fds: &'a [BorrowedFd<'a>],
    /// Which of its first three descriptors it opens itself; what `fds` has in their place is not used then.
    pub opens: [Open<'a>; 3],
    /// Directories that it makes before it becomes its user.
    pub directories: Vec<Directory<'a>>,
    /// Credentials that it gets.
    pub secrets: Option<Secrets<'a>>,
    /// Names of the descriptors from 3 on, joined by ':' for LISTEN_FDNAMES; `None` sets no LISTEN_ variable.
    pub listen: Option<&'a str>,
    /// The directory of the cgroup that it starts in; `None` is ours.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// cgroups of version 1 that it moves itself into: their `tasks` files.
    pub old_cgroups: &'a [CString],
    /// What shuts it in.
    pub confinement: Option<&'a Confinement>,
}

impl<'a> Program<'a> {
    /// A program as we are ourselves, in `/`, with these descriptors.
    pub fn new(path: &'a CStr, argv: &'a [CString], env: &'a [CString], fds: &'a [BorrowedFd<'a>]) -> Self {
        Self {
            path,
            or_paths: &[],
            argv,
            env,
            root: None,
            cwd: c"/",
            cwd_may_miss: false,
            user: None,
            umask: 0o022,
            nice: None,
            schedule: Schedule::default(),
            oom_score_adj: None,
            limits: &[],
            privileges: Privileges::default(),
            no_new_privs: false,
            ignore_sigpipe: false,
            fds,
            opens: [Open::Given; 3],
            directories: Vec::new(),
            secrets: None,
            listen: None,
            cgroup: None,
            old_cgroups: &[],
            confinement: None,
        }
    }
}

/// Whom a process runs as.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// User id: real, effective and saved.
    pub uid: u32,
    /// Group id: real, effective and saved.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
}

/// One resource limit as prlimit(2) takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)] // soft and hard lie side by side, as the kernel's rlimit64
pub struct Limit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// Soft limit; `u64::MAX` is infinity.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is infinity.
    pub hard: u64,
}

/// When and where a process gets the CPU and the disk; what is not set is as it is with us.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule<'a> {
    /// CPU scheduling.
    pub cpu: Option<CpuScheduling>,
    /// The CPUs that it may run on, a bit each, lowest first; empty leaves them as they are.
    pub affinity: &'a [u8],
    /// Class and priority as ioprio_set(2) takes them.
    pub io_priority: Option<u16>,
    /// Timer slack in nanoseconds.
    pub timer_slack: Option<u64>,
    /// Execution domain, personality(2).
    pub personality: Option<u32>,
}

/// How a process competes for the CPU, sched(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuScheduling {
    /// The kernel's number of the policy, with SCHED_RESET_ON_FORK where that is wanted.
    pub policy: u32,
    /// 1 to 99 for the real-time policies, 0 for others.
    pub priority: u32,
}

/// What a process may do beyond what its user may, capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privileges {
    /// The bounding set, a bit for each capability; `None` keeps ours.
    pub bounding: Option<u64>,
    /// The ambient set.
    pub ambient: u64,
    /// SECBIT_ flags.
    pub secure_bits: u32,
    /// Its session keyring.
    pub keyring: Keyring,
}

/// Which session keyring a process has, session-keyring(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keyring {
    /// Ours.
    #[default]
    Inherit,
    /// A new one.
    Private,
    /// A new one that its user's keyring is linked into.
    Shared,
}

/// What a child opens in the place of one of its first three descriptors.
#[derive(Debug, Clone, Copy, Default)]
pub enum Open<'a> {
    /// Nothing: it was given one.
    #[default]
    Given,
    /// A file, or a stream socket in the file system, which is connected to.
    File {
        /// Its path.
        path: &'a CStr,
        /// As open(2) takes them.
        flags: i32,
    },
    /// A file in memory with these bytes.
    Data(&'a [u8]),
    /// A terminal.
    Terminal {
        /// Its path.
        path: &'a CStr,
        /// Whether it becomes the terminal of the child's session.
        control: Control,
    },
    /// The same as an earlier one.
    Same(u8),
}

/// How a terminal becomes the one that controls a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It does not.
    No,
    /// When no other session has it any more.
    Wait,
    /// At once, whoever has it.
    Force,
    /// At once, or the start fails.
    Fail,
}

/// User and group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A directory that a child makes, and those above it, which are root's.
#[derive(Debug, Clone)]
pub struct Directory<'a> {
    /// What a failure is called.
    pub step: SpawnStep,
    /// Its absolute path.
    pub path: &'a CStr,
    /// Its mode, also where it is there already.
    pub mode: u32,
    /// Whom it belongs to, with all in it where it belonged to another; `None` is who makes it.
    pub owner: Option<Owner>,
    /// Whether one that is there already stays as it is.
    pub keep: bool,
    /// Symbolic links that lead to it: absolute path and target of each.
    pub links: Vec<(&'a CStr, &'a CStr)>,
}

/// Credentials: small files that only the process' user can read, in memory that is never written to a disk where the
/// host allows that.
#[derive(Debug, Clone)]
pub struct Secrets<'a> {
    /// The absolute path of the directory.
    pub path: &'a CStr,
    /// Whether what is there already is of an earlier run and makes way; otherwise it is taken for complete.
    pub fresh: bool,
    /// Who may read them; `None` is who makes them.
    pub owner: Option<Owner>,
    /// Each of them.
    pub list: Vec<Secret<'a>>,
}

/// One credential, or one for each file of a directory.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    /// Its file name.
    pub id: &'a CStr,
    /// Where it may be read from; the first that is there counts.
    pub files: &'a [CString],
    /// What it says when it is in none of them; `None` makes that a failure.
    pub value: Option<&'a [u8]>,
}

/// Without the value.
impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).field("files", &self.files).finish_non_exhaustive()
    }
}
