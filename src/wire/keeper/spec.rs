use std::{ffi::CString, fmt};

use super::codec::{wire_enum, wire_struct};
use crate::base::{SpawnStep, confinement::Confinement};

/// Everything the keeper needs to start one process, resolved to final strings and numbers by the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct SpawnSpec {
    /// The program, an absolute path.
    pub path: CString,
    /// Where the process looks for it next, in this order: absolute paths.
    pub or_paths: Vec<CString>,
    /// Its arguments, the zeroth first.
    pub argv: Vec<CString>,
    /// Its whole environment as `NAME=value`. With `listen` or `kept`, the keeper adds LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES
    /// at the end, so they must not be here.
    pub env: Vec<CString>,
    /// Its root directory, chroot(2); `None` is the keeper's own.
    pub root: Option<CString>,
    /// Its working directory, below its root.
    pub cwd: CString,
    /// Whether it starts in `/` when it cannot enter its working directory.
    pub cwd_may_miss: bool,
    /// Whom it runs as; `None` is the keeper's own user.
    pub user: Option<Credentials>,
    /// File mode creation mask, umask(2).
    pub umask: u32,
    /// Niceness, -20 to 19; `None` is the keeper's own.
    pub nice: Option<i8>,
    /// When and where it gets the CPU and the disk.
    pub schedule: Schedule,
    /// -1000 to 1000, proc(5); what is lower than the keeper may give is raised and reported.
    pub oom_score_adj: i16,
    /// Resource limits; a hard limit above what the keeper may give is lowered and reported.
    pub limits: Vec<ResourceLimit>,
    /// What it may do beyond what its user may.
    pub privileges: Privileges,
    /// Whether exec may no longer grant privileges, prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// Whether SIGPIPE is ignored (systemd's default); every other signal starts with its default action.
    pub ignore_sigpipe: bool,
    /// cgroups of version 1 that it moves itself into before anything else: their `tasks` files, cgroups(7).
    pub cgroups: Vec<CString>,
    /// Whether [`Fact::ExecDone`](super::Fact::ExecDone) is wanted when the program has taken over.
    pub confirm_exec: bool,
    /// Where standard input comes from.
    pub stdin: Input,
    /// Where standard output goes.
    pub stdout: Output,
    /// Where standard error goes.
    pub stderr: Output,
    /// Stored descriptors of the unit that it inherits as 3, 4 …, in this order.
    pub listen: Vec<Passed>,
    /// Whether it inherits after those what is kept for the service itself, the newest first, under the names of that.
    pub kept: bool,
    /// What shuts it in.
    pub confinement: Option<Box<Confinement>>,
    /// Directories that are made before it becomes its user.
    pub directories: Vec<Directory>,
    /// Credentials that it gets.
    pub secrets: Option<Secrets>,
}

impl SpawnSpec {
    /// A program that is as the keeper is, in `/`, and neither reads nor writes.
    pub fn new(path: CString, argv: Vec<CString>, env: Vec<CString>) -> Self {
        Self {
            path,
            or_paths: Vec::new(),
            argv,
            env,
            root: None,
            cwd: c"/".to_owned(),
            cwd_may_miss: false,
            user: None,
            umask: 0o022,
            nice: None,
            schedule: Schedule::default(),
            oom_score_adj: 0,
            limits: Vec::new(),
            privileges: Privileges::default(),
            no_new_privs: false,
            ignore_sigpipe: true,
            confirm_exec: false,
            stdin: Input::Null,
            stdout: Output::Null,
            stderr: Output::Null,
            cgroups: Vec::new(),
            listen: Vec::new(),
            kept: false,
            directories: Vec::new(),
            secrets: None,
            confinement: None,
        }
    }
}

/// When and where a process gets the CPU and the disk; what is not set is the keeper's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Policy, with SCHED_RESET_ON_FORK where that is wanted, and priority; sched_setscheduler(2).
    pub cpu: Option<CpuScheduling>,
    /// The CPUs that it may run on, a bit each, lowest first; empty for all that the keeper has.
    pub affinity: Vec<u8>,
    /// Class and priority as ioprio_set(2) takes them.
    pub io_priority: Option<u16>,
    /// Timer slack in nanoseconds, prctl(2).
    pub timer_slack: Option<u64>,
    /// Execution domain, personality(2).
    pub personality: Option<u32>,
}

/// How a process competes for the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuScheduling {
    /// The kernel's number of the policy and its flag.
    pub policy: u32,
    /// 1 to 99 for the real-time policies, 0 for others.
    pub priority: u32,
}

/// What a process may do beyond what its user may, capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privileges {
    /// The bounding set, a bit for each capability; `None` is the keeper's own.
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
    /// The keeper's.
    #[default]
    Inherit,
    /// A new one.
    Private,
    /// A new one that its user's keyring is linked into.
    Shared,
}

/// A directory that is made, with those above it, which are root's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// What a failure is called.
    pub step: SpawnStep,
    /// Its absolute path.
    pub path: CString,
    /// Its mode, also where it is there already.
    pub mode: u32,
    /// User and group that it belongs to, with all in it where it belonged to another; `None` is the keeper's own.
    pub owner: Option<Owner>,
    /// Whether one that is there already stays as it is.
    pub keep: bool,
    /// Symbolic links that lead to it.
    pub links: Vec<Link>,
}

/// User and group of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its absolute path.
    pub path: CString,
    /// Where it leads to.
    pub target: CString,
}

/// Credentials of a unit, systemd.exec(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The directory that they are put into, an absolute path.
    pub path: CString,
    /// Whether what is there already is of an earlier run and makes way.
    pub fresh: bool,
    /// Who may read them; `None` is the keeper's own user.
    pub owner: Option<Owner>,
    /// Each of them.
    pub list: Vec<Secret>,
}

/// One credential, or one for each file of a directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its file name.
    pub id: CString,
    /// Where it may be read from; the first that is there counts.
    pub files: Vec<CString>,
    /// What it says when it is in none of them; `None` makes that a failure.
    pub value: Option<Vec<u8>>,
}

/// Without the value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).field("files", &self.files).finish_non_exhaustive()
    }
}

/// Stored descriptors that a process inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The name that they are stored under. Those of one name are all passed, oldest first.
    pub stored: String,
    /// What they are called in LISTEN_FDNAMES; without a colon.
    pub name: String,
}

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User id: real, effective and saved.
    pub uid: u32,
    /// Group id: real, effective and saved.
    pub gid: u32,
    /// Supplementary groups, replacing the keeper's.
    pub groups: Vec<u32>,
}

/// One resource limit, setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The kernel's number of the resource: RLIMIT_NOFILE is 7.
    pub resource: u8,
    /// Soft limit; `u64::MAX` is infinity.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is infinity.
    pub hard: u64,
}

/// Where input of a process comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// /dev/null.
    Null,
    /// A file, or a stream socket in the file system.
    File {
        /// Its absolute path.
        path: CString,
        /// As open(2) takes them.
        flags: i32,
    },
    /// These bytes and no more.
    Data(Vec<u8>),
    /// A terminal that becomes the one of the process' session.
    Terminal {
        /// Its absolute path.
        path: CString,
        /// How it becomes that.
        control: Control,
    },
    /// The first descriptor that is stored for the unit under this name.
    Stored(String),
    /// What it writes to, where that comes along with the order: a socket.
    Passed,
}

/// How a terminal becomes the one that controls a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// When no other session has it any more.
    Wait,
    /// At once, whoever has it.
    Force,
    /// At once, or the start fails.
    Fail,
}

/// Where output of a process goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// /dev/null.
    Null,
    /// Where the keeper's own goes.
    Inherit,
    /// A log pipe of the unit, opened before by [`Order::OpenLog`](super::Order::OpenLog).
    Log(Stream),
    /// A file, or a stream socket in the file system.
    File {
        /// Its absolute path.
        path: CString,
        /// As open(2) takes them.
        flags: i32,
    },
    /// A terminal, which stays whose it is.
    Terminal {
        /// Its absolute path.
        path: CString,
    },
    /// The first descriptor that is stored for the unit under this name.
    Stored(String),
    /// The same as standard input.
    Stdin,
    /// The same as standard output.
    Stdout,
    /// The descriptor that comes along with the order, the first of them; of standard output alone.
    Passed,
}

/// Which log pipe of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output, and standard error too unless the unit separates them.
    Output,
    /// Standard error alone.
    Error,
}

wire_struct!(SpawnSpec {
    path,
    or_paths,
    argv,
    env,
    root,
    cwd,
    cwd_may_miss,
    user,
    umask,
    nice,
    schedule,
    oom_score_adj,
    limits,
    privileges,
    no_new_privs,
    ignore_sigpipe,
    cgroups,
    confirm_exec,
    stdin,
    stdout,
    stderr,
    listen,
    kept,
    confinement,
    directories,
    secrets,
});
wire_struct!(Passed { stored, name });
wire_struct!(Credentials { uid, gid, groups });
wire_struct!(Schedule { cpu, affinity, io_priority, timer_slack, personality });
wire_struct!(CpuScheduling { policy, priority });
wire_struct!(ResourceLimit { resource, soft, hard });
wire_struct!(Privileges { bounding, ambient, secure_bits, keyring });
wire_enum!(Keyring { 0 Inherit, 1 Private, 2 Shared });
wire_struct!(Directory { step, path, mode, owner, keep, links });
wire_struct!(Owner { uid, gid });
wire_struct!(Link { path, target });
wire_struct!(Secrets { path, fresh, owner, list });
wire_struct!(Secret { id, files, value });
wire_enum!(Input { 0 Null, 1 File { path, flags }, 2 Data(bytes), 3 Terminal { path, control }, 4 Stored(name), 5 Passed });
wire_enum!(Control { 0 Wait, 1 Force, 2 Fail });
wire_enum!(Output {
    0 Null, 1 Inherit, 2 Log(stream), 3 File { path, flags }, 4 Terminal { path }, 5 Stored(name), 6 Stdin, 7 Stdout,
    8 Passed,
});
wire_enum!(Stream { 0 Output, 1 Error });
