//! What a sandbox takes: from what a unit says, and what this host looks like, to the small program that the child carries
//! out (`base::confinement`). systemd.exec(5), "Sandboxing" and "System call filtering".
//!
//! Pure: the host is asked through [`Host`]. `entry` is what each setting means for which path, `view` what is found at one
//! before anything is done, `mounts` puts the paths in
//! order and makes steps of them, `filter` and `bpf` make the filter of system calls. What breaks here first when changed
//! is the order of mounts that lie in each other.

mod bpf;
pub(super) mod calls; // system calls by name
mod contradiction;
mod devices;
mod entry;
mod filter;
pub(super) mod mount_options; // of temporary file systems
mod mounts;
pub(super) mod names; // numbers that people write by name
#[cfg(test)]
mod tests;
mod view; // what stands where

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

pub use calls::Machine;
pub(super) use contradiction::contradictions;

use super::spec::{SandboxSpec, Switch};
use crate::base::confinement::{Confinement, Network};

/// What the host is asked, and what it has prepared.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// What stands at a path, behind its symbolic links; `None` where nothing does.
    pub look: &'a dyn Fn(&Path) -> Option<Seen>,
    /// What the symbolic link at a path says, if there is one.
    pub link: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// What the process sees as `/`, where that is not the host's.
    pub root: Option<Root<'a>>,
    /// The directory of what is put over things that are not to be seen, each named by its kind: `dir`, `reg`, `chr` ….
    pub masks: &'a Path,
    /// The directories that become the run's own /tmp and /var/tmp, where it has them.
    pub private_tmp: Option<[&'a Path; 2]>,
    /// What the host has for the unit.
    pub own: &'a [Own],
    /// The machine that filters are for.
    pub machine: Machine,
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { look: _, link: _, root, masks, private_tmp, own, machine } = self;
        f.debug_struct("Host")
            .field("root", root)
            .field("masks", masks)
            .field("private_tmp", private_tmp)
            .field("own", own)
            .field("machine", machine)
            .finish_non_exhaustive()
    }
}

/// A directory of the host that is a process' `/`.
#[derive(Clone, Copy)]
pub struct Root<'a> {
    /// Where it is on the host.
    pub path: &'a Path,
    /// What stands at a path, behind its symbolic links, none of which leads out; both paths are as the process has them.
    pub look: &'a dyn Fn(&Path) -> Option<Seen>,
    /// What the symbolic link at such a path says, if there is one.
    pub link: &'a dyn Fn(&Path) -> Option<PathBuf>,
    /// Whether something of its own is mounted at a path there.
    pub is_mounted: &'a dyn Fn(&Path) -> bool,
}

impl fmt::Debug for Root<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Something that the host has for a unit. The process finds it at the same path, whatever its root is and whatever is put
/// over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Where.
    pub path: PathBuf,
    /// Whether the process may only read it; otherwise it may write there whatever else it may not.
    pub read_only: bool,
    /// The key that it is there for.
    pub key: &'static str,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where it really is.
    pub path: PathBuf,
    /// What it is.
    pub kind: FileKind,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the file type of its name, inode(7)")]
pub enum FileKind {
    Directory,
    Regular,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Directory, Self::Regular, Self::CharacterDevice, Self::BlockDevice, Self::Fifo, Self::Socket];

    /// What stands in for such a file in the directory of masks.
    pub const fn mask(self) -> &'static str {
        match self {
            Self::Directory => "dir",
            Self::Regular => "reg",
            Self::CharacterDevice => "chr",
            Self::BlockDevice => "blk",
            Self::Fifo => "fifo",
            Self::Socket => "sock",
        }
    }
}

/// What a host must offer for a part of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Mount namespaces, and the right to mount in them.
    Mounts,
    /// Network namespaces.
    Network,
    /// IPC namespaces.
    Ipc,
    /// UTS namespaces.
    Hostname,
    /// The right to give capabilities up for good.
    BoundingSet,
    /// Filters of system calls.
    Filter,
}

impl Feature {
    /// What it is, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mounts => "mount namespaces",
            Self::Network => "network namespaces",
            Self::Ipc => "IPC namespaces",
            Self::Hostname => "UTS namespaces",
            Self::BoundingSet => "the capability bounding set",
            Self::Filter => "filters of system calls",
        }
    }
}

/// What a sandbox needs, each with the keys that need it; what of its `own` a unit has does where it `has_root`.
pub fn needs(spec: &SandboxSpec, own: &[Own], has_root: bool) -> BTreeMap<Feature, BTreeSet<&'static str>> {
    let mut needs: BTreeMap<Feature, BTreeSet<&'static str>> = BTreeMap::new();
    let mut need = |feature, key| {
        needs.entry(feature).or_default().insert(key);
    };
    entry::wants(spec, own, has_root).for_each(|key| need(Feature::Mounts, key));
    filter::wants(spec).for_each(|key| need(Feature::Filter, key));
    for switch in spec.on.iter() {
        match switch {
            Switch::PrivateNetwork => need(Feature::Network, switch.as_str()),
            Switch::PrivateIpc => need(Feature::Ipc, switch.as_str()),
            Switch::ProtectHostname => need(Feature::Hostname, switch.as_str()),
            Switch::PrivateDevices
            | Switch::ProtectClock
            | Switch::ProtectKernelLogs
            | Switch::ProtectKernelModules => need(Feature::BoundingSet, switch.as_str()),
            Switch::LockPersonality
            | Switch::MemoryDenyWriteExecute
            | Switch::MountApiVfs
            | Switch::PrivateMounts
            | Switch::PrivateTmp
            | Switch::ProtectControlGroups
            | Switch::ProtectKernelTunables
            | Switch::RestrictRealtime
            | Switch::RestrictSuidSgid
            | Switch::NativeCallsOnly => {}
        }
    }
    if spec.network_namespace_path.is_some() {
        need(Feature::Network, "network_namespace_path");
    }
    needs
}

/// The program that shuts a child in, without what this host lacks.
pub fn plan(spec: &SandboxSpec, host: &Host<'_>, lacking: &BTreeSet<Feature>) -> Confinement {
    let has = |feature| !lacking.contains(&feature);
    let mut confinement = Confinement::default();
    if has(Feature::Network) {
        confinement.network = network(spec);
    }
    if has(Feature::Mounts) && entry::wants(spec, host.own, host.root.is_some()).next().is_some() {
        confinement.namespaces |= names::NEW_MOUNTS;
        confinement.mounts = mounts::steps(spec, host, has(Feature::Ipc));
    }
    if has(Feature::Ipc) && spec.on.has(Switch::PrivateIpc) {
        confinement.namespaces |= names::NEW_IPC;
    }
    if has(Feature::Hostname) && spec.on.has(Switch::ProtectHostname) {
        confinement.namespaces |= names::NEW_UTS;
    }
    if has(Feature::BoundingSet) {
        confinement.drop_capabilities = dropped_capabilities(spec);
    }
    if has(Feature::Filter) {
        confinement.filter = filter::filter(spec, host.machine);
    }
    confinement
}

fn network(spec: &SandboxSpec) -> Network {
    match &spec.network_namespace_path {
        Some(path) => Network::Joined(path.to_string_lossy().into_owned()),
        None if spec.on.has(Switch::PrivateNetwork) => Network::Private,
        None => Network::Shared,
    }
}

fn dropped_capabilities(spec: &SandboxSpec) -> u64 {
    // capabilities(7), by their numbers in linux/capability.h.
    const SYS_MODULE: u64 = 1 << 16;
    const SYS_RAWIO: u64 = 1 << 17;
    const SYS_TIME: u64 = 1 << 25;
    const MKNOD: u64 = 1 << 27;
    const SYSLOG: u64 = 1 << 34;
    const WAKE_ALARM: u64 = 1 << 35;
    [
        (Switch::PrivateDevices, MKNOD | SYS_RAWIO),
        (Switch::ProtectClock, SYS_TIME | WAKE_ALARM),
        (Switch::ProtectKernelLogs, SYSLOG),
        (Switch::ProtectKernelModules, SYS_MODULE),
    ]
    .into_iter()
    .filter(|(switch, _)| spec.on.has(*switch))
    .fold(0, |all, (_, set)| all | set)
}
