//! systemd.exec(5): how a process is set up.

use std::path::Path;

use super::{Pairs, SandboxSpec};

/// How a process is set up (systemd.exec(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecSpec {
    /// The user it runs as; the daemon's own unless set.
    pub user: Option<Box<str>>,
    /// The group; the user's unless set.
    pub group: Option<Box<str>>,
    /// Further groups.
    pub supplementary_groups: Box<[Box<str>]>,
    /// Where it runs; `/` unless set.
    pub working_directory: Option<Box<Path>>,
    /// Variables.
    pub environment: Pairs,
    /// Files of variables, read right before each start; they override `environment`. `true`: it may be missing (`-`).
    pub environment_files: Box<[(Box<Path>, bool)]>,
    /// File mode mask.
    pub umask: Option<u32>,
    /// Niceness, -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// Resource limits.
    pub limits: Box<[Limit]>,
    /// Neither it nor its children gain privileges by execve.
    pub no_new_privileges: bool,
    /// Whether SIGPIPE keeps its deadly default (`ignore_sigpipe = false`); else it is ignored, and a write to a closed pipe
    /// is an error.
    pub keep_sigpipe: bool,
    /// Standard output.
    pub stdout: Output,
    /// Standard error; as standard output unless set.
    pub stderr: Option<Output>,
    /// What it may see and do less than others; `None` is nothing less.
    pub sandbox: Option<Box<SandboxSpec>>,
}

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Captured into the unit's log.
    #[default]
    Log,
    /// Discarded.
    Null,
    /// The supervisor's own standard error.
    Inherit,
}

/// One resource limit; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub resource: Resource,
    /// What the process starts with.
    pub soft: Option<u64>,
    /// Up to where it may raise that.
    pub hard: Option<u64>,
}

/// The resources of setrlimit(2) that a unit may limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the RLIMIT_ of its name, setrlimit(2)")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}
