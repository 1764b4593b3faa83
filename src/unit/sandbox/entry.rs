//! What each setting means for which path. The paths are those that systemd.exec(5) names.

use std::path::{Path, PathBuf};

use super::{
    Host, Own, Root, Seen, mount_options,
    view::{View, reached_on},
};
use crate::unit::spec::{
    BindPath, ProcSubset, ProtectHome, ProtectProc, ProtectSystem, SandboxPath, SandboxSpec, Switch,
};

/// What is done at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where, its symbolic links followed.
    pub path: PathBuf,
    pub what: What,
    /// Whether it can be written; `None` is as around it.
    pub read_only: Option<bool>,
    /// Whether it can be executed; `None` is as around it.
    pub no_exec: Option<bool>,
    /// It is left out where it is not there.
    pub may_miss: bool,
}

impl Entry {
    /// Where on the host a path below it is bound from, if it is.
    pub(super) fn source_of(&self, path: &Path) -> Option<PathBuf> {
        let What::Bind { source, .. } = &self.what else { return None };
        Some(source.join(path.strip_prefix(&self.path).ok()?))
    }

    /// Whether what the other binds is seen already in what this one does.
    pub(super) fn shows(&self, other: &Self) -> bool {
        let What::Bind { source, .. } = &other.what else { return false };
        let is_whole = matches!(self.what, What::Bind { recursive: true, .. });
        is_whole && self.source_of(&other.path).as_ref() == Some(source)
    }
}

/// What stands at the path in the end. Of several for one path, the first of these counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Nothing that could be used.
    Inaccessible,
    /// Something else of the host.
    Bind { source: PathBuf, recursive: bool },
    /// Devices that every program may have.
    Devices,
    /// A view of processes of its own.
    Processes { options: String },
    /// An empty file system.
    Empty { flags: u32, options: String },
    /// The message queues of its own IPC namespace.
    Queues,
    /// What stood there before, with other attributes.
    Same,
}

impl What {
    /// Whether something new stands there, in which nothing of the host is found.
    pub(super) const fn is_fresh(&self) -> bool {
        match self {
            Self::Devices | Self::Processes { .. } | Self::Empty { .. } | Self::Queues => true,
            Self::Inaccessible | Self::Bind { .. } | Self::Same => false,
        }
    }
}

/// The keys that ask for a mount namespace.
pub(super) fn wants(spec: &SandboxSpec, own: &[Own], has_root: bool) -> impl Iterator<Item = &'static str> {
    let others = [
        (spec.protect_system != ProtectSystem::No, "protect_system"),
        (spec.protect_home != ProtectHome::No, "protect_home"),
        (spec.protect_proc != ProtectProc::Default, "protect_proc"),
        (spec.proc_subset != ProcSubset::All, "proc_subset"),
        (spec.mount_flags.is_some(), "mount_flags"),
        (!spec.read_only_paths.is_empty(), "read_only_paths"),
        (!spec.read_write_paths.is_empty(), "read_write_paths"),
        (!spec.inaccessible_paths.is_empty(), "inaccessible_paths"),
        (!spec.exec_paths.is_empty(), "exec_paths"),
        (!spec.no_exec_paths.is_empty(), "no_exec_paths"),
        (spec.bind_paths.iter().any(|bind| !bind.read_only), "bind_paths"),
        (spec.bind_paths.iter().any(|bind| bind.read_only), "bind_read_only_paths"),
        (!spec.temporary_file_systems.is_empty(), "temporary_file_system"),
    ];
    let switches = spec.on.iter().filter(|switch| match switch {
        Switch::PrivateDevices
        | Switch::PrivateIpc
        | Switch::PrivateMounts
        | Switch::PrivateTmp
        | Switch::ProtectControlGroups
        | Switch::ProtectKernelLogs
        | Switch::ProtectKernelModules
        | Switch::ProtectKernelTunables => true,
        Switch::LockPersonality
        | Switch::MemoryDenyWriteExecute
        | Switch::MountApiVfs
        | Switch::PrivateNetwork
        | Switch::ProtectClock
        | Switch::ProtectHostname
        | Switch::RestrictRealtime
        | Switch::RestrictSuidSgid
        | Switch::NativeCallsOnly => false,
    });
    let api = Some(Switch::MountApiVfs.as_str()).filter(|_| has_root && spec.on.has(Switch::MountApiVfs));
    let shown = own.iter().filter(move |_| has_root).map(|own| own.key).chain(api);
    others
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, key)| key)
        .chain(switches.map(Switch::as_str))
        .chain(shown)
}

/// Whether a root is given what the kernel has for every program: to be protected, it has to be there.
pub(super) fn mounts_api(spec: &SandboxSpec) -> bool {
    [Switch::MountApiVfs, Switch::ProtectKernelTunables, Switch::ProtectControlGroups].iter().any(|on| spec.on.has(*on))
        || spec.protect_proc != ProtectProc::Default
        || spec.proc_subset != ProcSubset::All
}

/// People's directories.
pub(super) const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
const KERNEL_TUNABLES: [&str; 16] = [
    "/proc/acpi",
    "/proc/apm",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/latency_stats",
    "/proc/mtrr",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/timer_stats",
    "/sys",
    "/sys/fs/bpf",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
];
/// They lie below /sys, and other settings say what they are.
const NOT_TUNABLES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/selinux"];
const KERNEL_ADDRESSES: [&str; 2] = ["/proc/kallsyms", "/proc/kcore"];
const KERNEL_MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
const KERNEL_LOGS: [&str; 2] = ["/dev/kmsg", "/proc/kmsg"];
const SYSTEM: [&str; 7] = ["/usr", "/boot", "/efi", "/bin", "/lib", "/lib64", "/sbin"];
/// What `strict` leaves to other settings.
const NOT_STRICT: [&str; 6] = ["/dev", "/proc", "/sys", "/home", "/root", "/run/user"];

/// Everything that a unit asks for, in no order. Paths that need not be there and are not are left out.
pub(super) fn entries(spec: &SandboxSpec, host: &Host<'_>, view: &View<'_>, own_queues: bool) -> Vec<Entry> {
    let mut all = All { host, view, binds: binds(spec, host, view), entries: Vec::new() };
    all.system(spec);
    all.own(spec);
    all.home(spec);
    all.kernel(spec);
    all.listed(spec);
    all.fresh(spec, own_queues);
    if let Some(root) = host.root.filter(|_| mounts_api(spec)) {
        all.api(&root);
    }
    all.entries
}

struct All<'a> {
    host: &'a Host<'a>,
    view: &'a View<'a>,
    binds: Vec<Bind<'a>>,
    entries: Vec<Entry>,
}

impl All<'_> {
    fn system(&mut self, spec: &SandboxSpec) {
        let (read_only, open): (&[&[&str]], &[&str]) = match spec.protect_system {
            ProtectSystem::No => (&[], &[]),
            ProtectSystem::Yes => (&[&SYSTEM], &[]),
            ProtectSystem::Full => (&[&SYSTEM, &["/etc"]], &[]),
            ProtectSystem::Strict => (&[&["/"]], &NOT_STRICT),
        };
        read_only.iter().copied().flatten().for_each(|path| self.access(path, true));
        open.iter().for_each(|path| self.access(path, false));
    }

    /// They are made before the process is shut in, so they need not be there yet. What is put over them shows them.
    fn own(&mut self, spec: &SandboxSpec) {
        for Own { path, read_only, .. } in self.host.own {
            let is_covered = spec.temporary_file_systems.iter().any(|empty| path.starts_with(&empty.path));
            let what = match self.host.root.is_some() || is_covered {
                true => What::Bind { source: reached_on(self.host, path), recursive: true },
                false if *read_only => continue,
                false => What::Same,
            };
            self.place(path, Entry { read_only: Some(*read_only), ..entry(what, false) });
        }
    }

    fn home(&mut self, spec: &SandboxSpec) {
        for path in HOMES {
            match spec.protect_home {
                ProtectHome::No => {}
                ProtectHome::Yes => self.hide(path),
                ProtectHome::ReadOnly => self.access(path, true),
                ProtectHome::Tmpfs => {
                    let flags = mount_options::NO_DEVICES | mount_options::STRICT_ATIME;
                    let what = What::Empty { flags, options: "mode=0755,size=4m,nr_inodes=1k".to_owned() };
                    self.add(path, Entry { read_only: Some(true), ..entry(what, true) });
                }
            }
        }
    }

    fn kernel(&mut self, spec: &SandboxSpec) {
        if spec.on.has(Switch::ProtectKernelTunables) {
            KERNEL_TUNABLES.iter().for_each(|path| self.access(path, true));
            NOT_TUNABLES.iter().for_each(|path| self.access(path, false));
            KERNEL_ADDRESSES.iter().for_each(|path| self.hide(path));
        }
        if spec.on.has(Switch::ProtectKernelModules) {
            KERNEL_MODULES.iter().for_each(|path| self.hide(path));
        }
        if spec.on.has(Switch::ProtectKernelLogs) {
            KERNEL_LOGS.iter().for_each(|path| self.hide(path));
        }
        if spec.on.has(Switch::ProtectControlGroups) {
            self.access("/sys/fs/cgroup", true);
        }
    }

    fn listed(&mut self, spec: &SandboxSpec) {
        let root = self.host.root.map(|root| root.path);
        // What lies outside of the root is not there anyway.
        let within = |list: &'_ [SandboxPath]| -> Vec<(PathBuf, bool)> {
            list.iter().filter_map(|path| Some((path.within(root)?, path.may_miss))).collect()
        };
        for (path, may_miss) in within(&spec.read_only_paths) {
            self.add(path, Entry { read_only: Some(true), ..entry(What::Same, may_miss) });
        }
        for (path, may_miss) in within(&spec.read_write_paths) {
            self.add(path, Entry { read_only: Some(false), ..entry(What::Same, may_miss) });
        }
        for (path, may_miss) in within(&spec.no_exec_paths) {
            self.add(path, Entry { no_exec: Some(true), ..entry(What::Same, may_miss) });
        }
        for (path, may_miss) in within(&spec.exec_paths) {
            self.add(path, Entry { no_exec: Some(false), ..entry(What::Same, may_miss) });
        }
        for (path, may_miss) in within(&spec.inaccessible_paths) {
            self.add(path, entry(What::Inaccessible, may_miss));
        }
        for Bind { asked, source, target } in &self.binds {
            let what = What::Bind { source: source.clone(), recursive: asked.recursive };
            let read_only = Some(asked.read_only);
            self.entries.push(Entry { path: target.clone(), read_only, ..entry(what, asked.may_miss) });
        }
        for empty in &spec.temporary_file_systems {
            let what = What::Empty { flags: empty.flags, options: empty.options.to_string() };
            self.place(&empty.path, Entry { read_only: Some(empty.read_only), ..entry(what, false) });
        }
    }

    fn fresh(&mut self, spec: &SandboxSpec, own_queues: bool) {
        if let Some(sources) = self.host.private_tmp.filter(|_| spec.on.has(Switch::PrivateTmp)) {
            for (path, source) in ["/tmp", "/var/tmp"].into_iter().zip(sources) {
                self.place(Path::new(path), entry(What::Bind { source: source.to_owned(), recursive: true }, false));
            }
        }
        if spec.on.has(Switch::PrivateDevices) {
            self.add("/dev", Entry { read_only: Some(true), no_exec: Some(true), ..entry(What::Devices, false) });
        }
        if spec.on.has(Switch::PrivateIpc) && own_queues {
            self.place(Path::new("/dev/mqueue"), entry(What::Queues, true));
        }
        let hidden = match spec.protect_proc {
            ProtectProc::Default => None,
            ProtectProc::NoAccess => Some("hidepid=noaccess"),
            ProtectProc::Invisible => Some("hidepid=invisible"),
            ProtectProc::Ptraceable => Some("hidepid=ptraceable"),
        };
        let subset = match spec.proc_subset {
            ProcSubset::All => None,
            ProcSubset::Pid => Some("subset=pid"),
        };
        let options: Vec<&str> = hidden.into_iter().chain(subset).collect();
        if !options.is_empty() || self.view.shows("/proc") {
            self.add("/proc", entry(What::Processes { options: options.join(",") }, false));
        }
    }

    /// What every program expects below its root, unless the root has it, or the unit says what stands there.
    fn api(&mut self, root: &Root<'_>) {
        let mut all: Vec<(&str, What)> = Vec::new();
        for path in ["/sys", "/dev"] {
            if self.view.shows(path) {
                all.push((path, What::Bind { source: path.into(), recursive: true }));
            }
        }
        if !(root.is_mounted)(Path::new("/run")) {
            let flags = mount_options::NO_SUID | mount_options::NO_DEVICES | mount_options::STRICT_ATIME;
            all.push(("/run", What::Empty { flags, options: "mode=0755,size=20%,nr_inodes=800k".to_owned() }));
        }
        for (path, what) in all {
            let place = self.view.reach(Path::new(path));
            if !self.entries.iter().any(|entry| entry.path == place && entry.what != What::Same) {
                self.entries.push(Entry { path: place, ..entry(what, false) });
            }
        }
    }

    fn access(&mut self, path: impl AsRef<Path>, read_only: bool) {
        self.add(path, Entry { read_only: Some(read_only), ..entry(What::Same, true) });
    }

    fn hide(&mut self, path: impl AsRef<Path>) {
        self.add(path, entry(What::Inaccessible, true));
    }

    /// Something about what is there.
    fn add(&mut self, path: impl AsRef<Path>, entry: Entry) {
        let path = match self.look(path.as_ref()) {
            Some(seen) => seen.path,
            None if entry.may_miss => return,
            None => path.as_ref().components().collect(),
        };
        self.entries.push(Entry { path, ..entry });
    }

    /// What the process finds at a path, also where that is bound.
    fn look(&self, path: &Path) -> Option<Seen> {
        let covers = |bind: &&Bind<'_>| path.starts_with(&bind.target);
        let bind = self.binds.iter().filter(covers).max_by_key(|bind| bind.target.components().count());
        let Some(Bind { source, target, .. }) = bind else { return self.view.look(path) };
        let Seen { path, kind } = (self.host.look)(&source.join(path.strip_prefix(target).ok()?))?;
        Some(Seen { path: target.join(path.strip_prefix(source).ok()?).components().collect(), kind })
    }

    /// Something for which room is made where there is none: the links of what leads there are followed.
    fn place(&mut self, path: &Path, entry: Entry) {
        let path = self.view.reach(path);
        self.entries.push(Entry { path, ..entry });
    }
}

/// An entry of bind_paths.
struct Bind<'a> {
    asked: &'a BindPath,
    /// Where both are behind their links.
    source: PathBuf,
    target: PathBuf,
}

fn binds<'a>(spec: &'a SandboxSpec, host: &Host<'_>, view: &View<'_>) -> Vec<Bind<'a>> {
    let bind = |asked: &'a BindPath| {
        let source = match (host.look)(&asked.source) {
            Some(seen) => seen.path,
            None if asked.may_miss => return None,
            // The child will say so.
            None => asked.source.to_path_buf(),
        };
        Some(Bind { asked, source, target: view.reach(&asked.target) })
    };
    spec.bind_paths.iter().filter_map(bind).collect()
}

const fn entry(what: What, may_miss: bool) -> Entry {
    Entry { path: PathBuf::new(), what, read_only: None, no_exec: None, may_miss }
}
