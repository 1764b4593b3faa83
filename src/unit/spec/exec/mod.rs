//! systemd.exec(5): how a process is set up.

mod capabilities;
mod credentials;
mod directories;
mod schedule;
mod stdio;

use std::path::Path;

pub use self::{
    capabilities::{Capabilities, KeyringMode, SECURE_BITS},
    credentials::{Credential, CredentialSource, Value},
    directories::{Directories, DirectoryKind, DirectoryName, Preserve, ServiceDirectories},
    schedule::{CpuPolicy, IoClass, Scheduling},
    stdio::{Input, Output, Terminal, Write},
};
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
    /// What it sees as `/`.
    pub root_directory: Option<Box<Path>>,
    /// Only the service itself does, not the commands around it.
    pub root_directory_start_only: bool,
    /// Where it runs, below its root; `/` unless set.
    pub working_directory: WorkingDirectory,
    /// Where programs that are named without a path are looked for; also PATH, unless that is set.
    pub search_path: Box<[Box<Path>]>,
    /// Variables.
    pub environment: Pairs,
    /// Files of variables, read right before each start; they override `environment`. A path may be a pattern, glob(7).
    /// `true`: it may be missing (`-`).
    pub environment_files: Box<[(Box<Path>, bool)]>,
    /// Variables of the daemon's own environment that it gets too.
    pub pass_environment: Box<[Box<str>]>,
    /// Variables that it does not get, wherever they come from: `NAME`, or `NAME=value` for that value only.
    pub unset_environment: Box<[Box<str>]>,
    /// Whether HOME, LOGNAME, USER and SHELL are set; with `user` unless set.
    pub set_login_environment: Option<bool>,
    /// File mode mask.
    pub umask: Option<u32>,
    /// Niceness, -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// When and where it gets the CPU and the disk.
    pub scheduling: Scheduling,
    /// Resource limits.
    pub limits: Box<[Limit]>,
    /// What privileges it may ever have; `None` does not limit them.
    pub capability_bounding_set: Option<Capabilities>,
    /// Privileges that it has although it is not root.
    pub ambient_capabilities: Capabilities,
    /// SECBIT_ flags of capabilities(7).
    pub secure_bits: u32,
    /// Neither it nor its children gain privileges by execve.
    pub no_new_privileges: bool,
    /// Its kernel keyring.
    pub keyring: KeyringMode,
    /// Whether SIGPIPE keeps its deadly default (`ignore_sigpipe = false`); else it is ignored, and a write to a closed pipe
    /// is an error.
    pub keep_sigpipe: bool,
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error; as standard output unless set.
    pub stderr: Option<Output>,
    /// The terminal, where one is wanted; `/dev/console` unless set.
    pub tty_path: Option<Box<Path>>,
    /// Directories that are made for it.
    pub directories: ServiceDirectories,
    /// Secrets that are handed to it in files.
    pub credentials: Box<[Credential]>,
    /// What it may see and do less than others; `None` is nothing less.
    pub sandbox: Option<Box<SandboxSpec>>,
}

/// `working_directory`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkingDirectory {
    /// Which.
    pub at: At,
    /// `-`: when it cannot be entered, the process starts in `/`.
    pub may_miss: bool,
}

/// A place in the file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum At {
    /// `/`
    #[default]
    Root,
    /// `~`: the user's home directory.
    Home,
    /// An absolute path.
    Path(Box<Path>),
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
