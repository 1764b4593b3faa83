//! systemd.exec(5), "Sandboxing" and "System call filtering": what a process may see and do less than others.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What a process may see and do less than others. Lists are in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxSpec {
    /// Ours: what happens where this host cannot give all of it.
    pub fallback: SandboxFallback,
    /// What is on.
    pub on: Switches,
    /// Which part of the system is read-only.
    pub protect_system: ProtectSystem,
    /// What becomes of people's directories.
    pub protect_home: ProtectHome,
    /// Which processes /proc shows.
    pub protect_proc: ProtectProc,
    /// What else /proc shows.
    pub proc_subset: ProcSubset,
    /// How mounts travel in the end.
    pub mount_flags: Option<Propagation>,
    /// The namespace file of the network it joins.
    pub network_namespace_path: Option<Box<Path>>,
    /// Read-only, with everything below.
    pub read_only_paths: Vec<SandboxPath>,
    /// As outside of the sandbox, below what is read-only.
    pub read_write_paths: Vec<SandboxPath>,
    /// Not there for it.
    pub inaccessible_paths: Vec<SandboxPath>,
    /// May be executed, below what may not.
    pub exec_paths: Vec<SandboxPath>,
    /// May not be executed.
    pub no_exec_paths: Vec<SandboxPath>,
    /// Shown in a second place.
    pub bind_paths: Vec<BindPath>,
    /// Empty file systems of its own.
    pub temporary_file_systems: Vec<TemporaryFileSystem>,
    /// Which system calls it may make.
    pub system_call_filter: Vec<CallRule>,
    /// What a call that is filtered comes back with, where the rule does not say; it is killed unless set.
    pub system_call_error_number: Option<u16>,
    /// Which system calls are written to the kernel's log.
    pub system_call_log: Vec<CallRule>,
    /// Which sockets it may make.
    pub restrict_address_families: Option<AddressFamilies>,
    /// Which namespaces it may make and join, as flags of unshare(2); `None` is all.
    pub restrict_namespaces: Option<u32>,
}

impl SandboxSpec {
    /// What of it says what a process finds where, and not what it may: a command with full privileges has that too.
    pub fn arrangements(&self) -> Self {
        Self {
            fallback: self.fallback,
            bind_paths: self.bind_paths.clone(),
            temporary_file_systems: self.temporary_file_systems.clone(),
            ..Self::default()
        }
    }
}

/// A thing that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the directive of its name, systemd.exec(5)")]
pub enum Switch {
    LockPersonality,
    MemoryDenyWriteExecute,
    MountApiVfs,
    PrivateDevices,
    PrivateIpc,
    PrivateMounts,
    PrivateNetwork,
    PrivateTmp,
    ProtectClock,
    ProtectControlGroups,
    ProtectHostname,
    ProtectKernelLogs,
    ProtectKernelModules,
    ProtectKernelTunables,
    RestrictRealtime,
    RestrictSuidSgid,
    /// `system_call_architectures = "native"`.
    NativeCallsOnly,
}

impl Switch {
    /// Every one.
    pub const ALL: [Self; 17] = [
        Self::LockPersonality,
        Self::MemoryDenyWriteExecute,
        Self::MountApiVfs,
        Self::PrivateDevices,
        Self::PrivateIpc,
        Self::PrivateMounts,
        Self::PrivateNetwork,
        Self::PrivateTmp,
        Self::ProtectClock,
        Self::ProtectControlGroups,
        Self::ProtectHostname,
        Self::ProtectKernelLogs,
        Self::ProtectKernelModules,
        Self::ProtectKernelTunables,
        Self::RestrictRealtime,
        Self::RestrictSuidSgid,
        Self::NativeCallsOnly,
    ];

    /// Its key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LockPersonality => "lock_personality",
            Self::MemoryDenyWriteExecute => "memory_deny_write_execute",
            Self::MountApiVfs => "mount_api_vfs",
            Self::PrivateDevices => "private_devices",
            Self::PrivateIpc => "private_ipc",
            Self::PrivateMounts => "private_mounts",
            Self::PrivateNetwork => "private_network",
            Self::PrivateTmp => "private_tmp",
            Self::ProtectClock => "protect_clock",
            Self::ProtectControlGroups => "protect_control_groups",
            Self::ProtectHostname => "protect_hostname",
            Self::ProtectKernelLogs => "protect_kernel_logs",
            Self::ProtectKernelModules => "protect_kernel_modules",
            Self::ProtectKernelTunables => "protect_kernel_tunables",
            Self::RestrictRealtime => "restrict_realtime",
            Self::RestrictSuidSgid => "restrict_suid_sgid",
            Self::NativeCallsOnly => "system_call_architectures",
        }
    }
}

/// The switches that are on.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Switches(u32);

impl Switches {
    /// Whether it is on.
    pub const fn has(self, switch: Switch) -> bool {
        self.0 >> switch as u32 & 1 == 1
    }

    /// Turns one on or off.
    pub const fn set(&mut self, switch: Switch, on: bool) {
        self.0 = self.0 & !(1 << switch as u32) | (on as u32) << switch as u32;
    }

    /// Those that are on, in order of name.
    pub fn iter(self) -> impl Iterator<Item = Switch> {
        Switch::ALL.into_iter().filter(move |switch| self.has(*switch))
    }
}

impl fmt::Debug for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What happens where the host cannot give the whole sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxFallback {
    /// The unit does not start.
    #[default]
    Refuse,
    /// It starts without what cannot be had, and `status` says what that is.
    Warn,
}

/// ProtectSystem=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectSystem {
    /// Nothing is protected.
    #[default]
    No,
    /// /usr and the boot loader.
    Yes,
    /// And /etc.
    Full,
    /// Everything but the kernel's own file systems.
    Strict,
}

/// ProtectHome=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectHome {
    /// Nothing is protected.
    #[default]
    No,
    /// /home, /root and /run/user are not there for it.
    Yes,
    /// They are read-only.
    ReadOnly,
    /// They are empty.
    Tmpfs,
}

/// ProtectProc=, proc(5) `hidepid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectProc {
    /// As it is outside.
    #[default]
    Default,
    /// Other users' processes show nothing but their pid.
    NoAccess,
    /// Other users' processes are hidden.
    Invisible,
    /// Processes that it cannot trace are hidden.
    Ptraceable,
}

/// ProcSubset=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcSubset {
    /// All of it.
    #[default]
    All,
    /// Processes only.
    Pid,
}

/// MountFlags=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways, between what this unit's processes make of their namespaces.
    Shared,
    /// From the host only.
    Slave,
    /// Neither way.
    Private,
}

/// A path that a list of the sandbox names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxPath {
    /// Which.
    pub path: Box<Path>,
    /// `-`: it is left out where it is not there.
    pub may_miss: bool,
    /// `+`: it is taken from the unit's root directory and not from the host's.
    pub in_root: bool,
}

impl SandboxPath {
    /// What it is called by a process whose `/` is `root`; nothing when it lies outside of that.
    pub fn within(&self, root: Option<&Path>) -> Option<PathBuf> {
        match root.filter(|_| !self.in_root) {
            None => Some(self.path.to_path_buf()),
            Some(root) => self.path.strip_prefix(root).ok().map(|rest| Path::new("/").join(rest)),
        }
    }
}

/// An entry of bind_paths or bind_read_only_paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindPath {
    /// What is shown.
    pub source: Box<Path>,
    /// Where.
    pub target: Box<Path>,
    /// With everything that is mounted below it.
    pub recursive: bool,
    /// Whether it can be written there.
    pub read_only: bool,
    /// `-`: it is left out where it is not there.
    pub may_miss: bool,
}

/// An entry of temporary_file_system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryFileSystem {
    /// Where.
    pub path: Box<Path>,
    /// Whether it is read-only in the end.
    pub read_only: bool,
    /// Flags of mount(2).
    pub flags: u32,
    /// tmpfs(5) options.
    pub options: Box<str>,
}

/// One word of system_call_filter or system_call_log. The first word says of what kind the whole list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRule {
    /// A system call, or a group of them (`@`).
    pub name: Box<str>,
    /// `~`: it stands in a list of what is denied.
    pub inverted: bool,
    /// What the call comes back with.
    pub answer: Option<CallAnswer>,
}

/// What a filtered call comes back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallAnswer {
    /// This error, errno(3).
    Errno(u16),
    /// Not at all: the process is killed.
    Kill,
}

/// RestrictAddressFamilies=.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressFamilies {
    /// Whether the listed are those that may be had; else those that may not.
    pub allow: bool,
    /// Numbers of address_families(7), sorted.
    pub families: Vec<u16>,
}
