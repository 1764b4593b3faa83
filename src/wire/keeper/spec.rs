use std::ffi::CString;

use super::codec::{wire_enum, wire_struct};
use crate::base::confinement::Confinement;

/// Everything the keeper needs to start one process, resolved to final strings and numbers by the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnSpec {
    /// The program, an absolute path; no search is done.
    pub path: CString,
    /// Its arguments, the zeroth first.
    pub argv: Vec<CString>,
    /// Its whole environment as `NAME=value`. With `listen`, the keeper adds LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES
    /// at the end, so they must not be here.
    pub env: Vec<CString>,
    /// Its working directory.
    pub cwd: CString,
    /// Whom it runs as; `None` is the keeper's own user.
    pub user: Option<Credentials>,
    /// File mode creation mask, umask(2).
    pub umask: u32,
    /// Niceness, -20 to 19; `None` is the keeper's own.
    pub nice: Option<i8>,
    /// -1000 to 1000, proc(5); what is lower than the keeper may give is raised and reported.
    pub oom_score_adj: i16,
    /// Resource limits; a hard limit above what the keeper may give is lowered and reported.
    pub limits: Vec<ResourceLimit>,
    /// Whether exec may no longer grant privileges, prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// Whether SIGPIPE is ignored (systemd's default); every other signal starts with its default action.
    pub ignore_sigpipe: bool,
    /// Whether [`Fact::ExecDone`](super::Fact::ExecDone) is wanted when the program has taken over.
    pub confirm_exec: bool,
    /// Where standard output goes. Standard input is /dev/null.
    pub stdout: Output,
    /// Where standard error goes.
    pub stderr: Output,
    /// Stored descriptors of the unit that it inherits as 3, 4 …, in this order.
    pub listen: Vec<Passed>,
    /// What shuts it in.
    pub confinement: Option<Box<Confinement>>,
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

/// Where output of a process goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// /dev/null.
    Null,
    /// Where the keeper's own goes.
    Inherit,
    /// A log pipe of the unit, opened before by [`Order::OpenLog`](super::Order::OpenLog).
    Log(Stream),
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
    argv,
    env,
    cwd,
    user,
    umask,
    nice,
    oom_score_adj,
    limits,
    no_new_privs,
    ignore_sigpipe,
    confirm_exec,
    stdout,
    stderr,
    listen,
    confinement,
});
wire_struct!(Passed { stored, name });
wire_struct!(Credentials { uid, gid, groups });
wire_struct!(ResourceLimit { resource, soft, hard });
wire_enum!(Output { 0 Null, 1 Inherit, 2 Log(stream) });
wire_enum!(Stream { 0 Output, 1 Error });
