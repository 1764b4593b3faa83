//! Paths and their steps, on a host that is a list.

mod root; // below a root of its own

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    base::confinement::MountStep,
    unit::spec::{BindPath, ProtectHome, ProtectProc, ProtectSystem, SandboxPath, TemporaryFileSystem},
};

/// A host with these files; each is a directory unless another kind or a link stands behind it. And links to nowhere.
struct World(BTreeMap<PathBuf, (PathBuf, FileKind)>, BTreeMap<PathBuf, PathBuf>);

impl World {
    fn usual() -> Self {
        let mut world = Self(BTreeMap::new(), BTreeMap::new());
        for path in [
            "/",
            "/usr",
            "/usr/bin",
            "/usr/lib",
            "/usr/lib/modules",
            "/etc",
            "/boot",
            "/home",
            "/home/me",
            "/root",
            "/run",
            "/run/user",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/dev/mqueue",
            "/proc",
            "/proc/sys",
            "/sys",
            "/sys/fs/cgroup",
            "/tmp",
            "/var",
            "/var/tmp",
            "/var/lib",
            "/var/lib/web",
            "/var/lib/web/x",
            "/srv",
            "/srv/a",
            "/srv/b",
        ] {
            world.add(path, path, FileKind::Directory);
        }
        for (link, to) in
            [("/bin", "/usr/bin"), ("/lib", "/usr/lib"), ("/lib/modules", "/usr/lib/modules"), ("/var/run", "/run")]
        {
            world.add(link, to, FileKind::Directory);
        }
        world.add("/proc/kcore", "/proc/kcore", FileKind::Regular);
        for device in ["/dev/null", "/dev/kmsg", "/dev/tty"] {
            world.add(device, device, FileKind::CharacterDevice);
        }
        world.add("/dev/ptmx", "/dev/pts/ptmx", FileKind::CharacterDevice);
        world
    }

    fn add(&mut self, path: &str, real: &str, kind: FileKind) {
        self.0.insert(path.into(), (real.into(), kind));
    }

    /// The steps, one a line.
    fn steps(&self, spec: &SandboxSpec) -> Vec<String> {
        self.steps_with(spec, &[])
    }

    fn steps_with(&self, spec: &SandboxSpec, own: &[Own]) -> Vec<String> {
        let look = |path: &Path| {
            let (path, kind) = self.0.get(path)?;
            Some(Seen { path: path.clone(), kind: *kind })
        };
        let host = Host {
            look: &look,
            link: &|path| self.1.get(path).cloned(),
            root: None,
            masks: Path::new("/masks"),
            private_tmp: Some([Path::new("/tmp/own"), Path::new("/var/tmp/own")]),
            own,
            machine: Machine::HERE,
        };
        plan(spec, &host, &BTreeSet::new()).mounts.iter().map(shown).collect()
    }
}

fn shown(step: &MountStep) -> String {
    let may = |may: bool| if may { "?" } else { "" };
    match step {
        MountStep::Propagate(flags) => format!("propagate {}", flags.trailing_zeros()),
        MountStep::EnterRoot { path } => format!("enter {path}"),
        MountStep::Hold { place, path, recursive, may_miss } => {
            format!("hold{} {place} {path}{}", may(*may_miss), if *recursive { " all" } else { "" })
        }
        MountStep::Put { place, path, may_miss } => format!("put{} {place} {path}", may(*may_miss)),
        MountStep::Mount { kind, path, options, .. } => format!("mount {kind} {path} {options}"),
        MountStep::MakeDirectory { path } => format!("dir {path}"),
        MountStep::MakeFile { path } => format!("file {path}"),
        MountStep::MakeLink { path, to } => format!("link {path} {to}"),
        MountStep::Restrict { path, attributes, recursive, may_miss } => {
            format!("set{} {attributes} {path}{}", may(*may_miss), if *recursive { " all" } else { "" })
        }
    }
}

/// All steps but the first and the last, which every plan has.
#[track_caller]
fn check(spec: &SandboxSpec, wanted: &[&str]) {
    let steps = World::usual().steps(spec);
    assert_eq!(
        (steps.first().map(String::as_str), steps.last().map(String::as_str)),
        (Some("propagate 19"), Some("propagate 20"))
    );
    assert_eq!(steps[1..steps.len() - 1], *wanted);
}

/// As under systemd 252, which shows StateDirectory= in a TemporaryFileSystem= that lies over it.
#[test]
fn a_units_own_directory_can_be_written_and_is_seen_also_in_what_is_put_over_it() {
    let own = [own("/var/lib/own", false), own("/run/credentials/own", true)];
    let mut world = World::usual();
    world.add("/var/lib", "/data/lib", FileKind::Directory);
    let strict = with(|spec| spec.protect_system = ProtectSystem::Strict);
    let steps = world.steps_with(&strict, &own);
    let has = |steps: &[String], step: &str| steps.iter().any(|line| line.ends_with(step));
    assert!(has(&steps, " /data/lib/own all"), "a link that leads there is followed: {steps:#?}");
    assert!(!steps.iter().any(|line| line.contains("credentials")), "seen as it is: {steps:#?}");
    let covered = with(|spec| {
        spec.temporary_file_systems = vec![empty("/var/lib", true), empty("/run", false)];
    });
    let steps = world.steps_with(&covered, &own);
    let at =
        |step: &str| steps.iter().position(|line| line.contains(step)).unwrap_or_else(|| panic!("{step}: {steps:#?}"));
    assert!(at("hold 0 /data/lib/own all") < at("mount tmpfs /data/lib"), "{steps:#?}");
    assert!(at("mount tmpfs /data/lib") < at("dir /data/lib/own"), "{steps:#?}");
    assert!(at("mount tmpfs /run") < at("dir /run/credentials/own"), "{steps:#?}");
    assert!(has(&steps, "set 1 /run/credentials/own all"), "{steps:#?}");
}

fn own(path: &str, read_only: bool) -> Own {
    Own { path: path.into(), read_only, key: "own" }
}

fn empty(path: &str, read_only: bool) -> TemporaryFileSystem {
    TemporaryFileSystem { path: Path::new(path).into(), read_only, flags: 0, options: "".into() }
}

fn bare<'a>(look: &'a dyn Fn(&Path) -> Option<Seen>) -> Host<'a> {
    Host {
        look,
        link: &|_| None,
        root: None,
        masks: Path::new("/m"),
        private_tmp: None,
        own: &[],
        machine: Machine::HERE,
    }
}

fn with(change: impl FnOnce(&mut SandboxSpec)) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    change(&mut spec);
    spec
}

fn path(text: &str) -> SandboxPath {
    let (text, may_miss) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (text, in_root) = text.strip_prefix('+').map_or((text, false), |rest| (rest, true));
    SandboxPath { path: Path::new(text).into(), may_miss, in_root }
}

fn paths(texts: &[&str]) -> Vec<SandboxPath> {
    texts.iter().map(|text| path(text)).collect()
}

fn bind(source: &str, target: &str, read_only: bool) -> BindPath {
    let (source, target) = (Path::new(source).into(), Path::new(target).into());
    BindPath { source, target, recursive: true, read_only, may_miss: false }
}

#[test]
fn the_system_is_read_only_behind_its_links_and_once() {
    check(
        &with(|spec| spec.protect_system = ProtectSystem::Full),
        &[
            "hold? 0 /boot all",
            "hold? 1 /etc all",
            "hold? 2 /usr all",
            "put? 0 /boot",
            "set? 1 /boot all",
            "put? 1 /etc",
            "set? 1 /etc all",
            "put? 2 /usr",
            "set? 1 /usr all",
        ],
    );
}

/// What may be written is taken from the host before the root becomes read-only, and put back after.
#[test]
fn what_may_be_written_below_a_read_only_root_is_as_it_was() {
    let spec = with(|spec| {
        spec.protect_system = ProtectSystem::Strict;
        spec.protect_home = ProtectHome::Yes;
        spec.read_write_paths = paths(&["/var/lib/web", "-/none"]);
        spec.read_only_paths = paths(&["/var/lib/web/x"]);
    });
    check(
        &spec,
        &[
            "hold? 0 /dev all",
            "hold 1 /masks/dir",
            "hold? 2 /proc all",
            "hold 3 /masks/dir",
            "hold 4 /masks/dir",
            "hold? 5 /sys all",
            "hold 6 /var/lib/web all",
            "hold 7 /var/lib/web/x all",
            "set? 1 / all",
            "put? 0 /dev",
            "put? 1 /home",
            "set? 15 /home",
            "put? 2 /proc",
            "put? 3 /root",
            "set? 15 /root",
            "put? 4 /run/user",
            "set? 15 /run/user",
            "put? 5 /sys",
            "put 6 /var/lib/web",
            "put 7 /var/lib/web/x",
            "set 1 /var/lib/web/x all",
        ],
    );
}

#[test]
fn of_two_words_about_one_path_the_stricter_counts() {
    let spec = with(|spec| {
        spec.read_only_paths = paths(&["/srv"]);
        spec.read_write_paths = paths(&["/srv", "/srv/a"]);
        spec.inaccessible_paths = paths(&["/srv/a"]);
    });
    check(
        &spec,
        &["hold 0 /srv all", "hold 1 /masks/dir", "put 0 /srv", "set 1 /srv all", "put 1 /srv/a", "set 15 /srv/a"],
    );
}

#[test]
fn nothing_is_done_below_what_is_not_there_for_the_service() {
    let spec = with(|spec| {
        spec.inaccessible_paths = paths(&["/srv"]);
        spec.read_write_paths = paths(&["/srv/a"]);
        spec.bind_paths = vec![bind("/etc", "/srv/b", false)];
    });
    check(&spec, &["hold 0 /masks/dir", "put 0 /srv", "set 15 /srv"]);
}

#[test]
fn what_cannot_be_executed_stays_read_only_as_well() {
    let spec = with(|spec| {
        spec.read_only_paths = paths(&["/"]);
        spec.no_exec_paths = paths(&["/"]);
        spec.exec_paths = paths(&["/usr/bin"]);
        spec.read_write_paths = paths(&["/var"]);
    });
    check(
        &spec,
        &[
            "hold 0 /usr/bin all",
            "hold 1 /var all",
            "set 9 / all",
            "put 0 /usr/bin",
            "set 1 /usr/bin all",
            "put 1 /var",
            "set 8 /var all",
        ],
    );
}

#[test]
fn a_run_has_temporary_files_of_its_own() {
    let mut spec = SandboxSpec::default();
    spec.on.set(Switch::PrivateTmp, true);
    check(&spec, &["hold 0 /tmp/own all", "hold 1 /var/tmp/own all", "put 0 /tmp", "put 1 /var/tmp"]);
}

/// What is shown in a directory that is empty and read-only needs something to be mounted on before it is read-only; what
/// it shows is the host's, though the host's is covered by then.
#[test]
fn what_is_hidden_can_be_shown_again_in_part() {
    let spec = with(|spec| {
        spec.protect_home = ProtectHome::Tmpfs;
        spec.bind_paths = vec![bind("/home/me", "/home/me", true), bind("/dev/null", "/root/a/file", false)];
    });
    check(
        &spec,
        &[
            "hold 0 /home/me all",
            "hold 1 /dev/null all",
            "mount tmpfs /home mode=0755,size=4m,nr_inodes=1k",
            "dir /home/me",
            "set? 1 /home",
            "put 0 /home/me",
            "set 1 /home/me all",
            "mount tmpfs /root mode=0755,size=4m,nr_inodes=1k",
            "dir /root/a",
            "file /root/a/file",
            "set? 1 /root",
            "put 1 /root/a/file",
            "mount tmpfs /run/user mode=0755,size=4m,nr_inodes=1k",
            "set? 1 /run/user",
        ],
    );
}

#[test]
fn what_lies_in_a_bound_directory_is_what_lies_in_its_source() {
    let spec = with(|spec| {
        spec.bind_paths = vec![bind("/srv/a", "/var/new/place", true)];
        spec.read_write_paths = paths(&["/var/new/place/deep"]);
    });
    check(
        &spec,
        &[
            "dir /var/new",
            "dir /var/new/place",
            "hold 0 /srv/a all",
            "hold 1 /srv/a/deep all",
            "put 0 /var/new/place",
            "set 1 /var/new/place all",
            "put 1 /var/new/place/deep",
        ],
    );
}

#[test]
fn targets_are_found_behind_links_though_they_are_not_there_yet() {
    let spec = with(|spec| {
        let (path, options) = (Path::new("/var/run/a/b").into(), "mode=0755".into());
        spec.temporary_file_systems = vec![TemporaryFileSystem { path, read_only: false, flags: 0, options }];
    });
    check(&spec, &["dir /run/a", "dir /run/a/b", "mount tmpfs /run/a/b mode=0755"]);
}

/// As under systemd 252: the end of the link is made.
#[test]
fn a_link_to_nowhere_leads_to_where_something_is_put() {
    let mut world = World::usual();
    for (link, to) in [("/srv/link", "../var/none/other"), ("/var/none", "/srv/a/deep"), ("/etc/circle", "circle")] {
        world.1.insert(link.into(), to.into());
    }
    let steps = |target: &str| {
        let spec = with(|spec| spec.bind_paths = vec![bind("/srv/b", target, false)]);
        let steps = world.steps(&spec);
        steps[1..steps.len() - 1].to_vec()
    };
    assert_eq!(
        steps("/srv/link/x"),
        [
            "dir /srv/a/deep",
            "dir /srv/a/deep/other",
            "dir /srv/a/deep/other/x",
            "hold 0 /srv/b all",
            "put 0 /srv/a/deep/other/x"
        ]
    );
    assert_eq!(steps("/etc/circle").last().unwrap(), "put 0 /etc/circle", "the child says why not");
}

#[test]
fn a_private_dev_shows_what_every_program_may_have() {
    let mut spec = SandboxSpec::default();
    spec.on.set(Switch::PrivateDevices, true);
    spec.on.set(Switch::ProtectKernelLogs, true);
    check(
        &spec,
        &[
            "hold? 0 /dev/mqueue all",
            "hold? 1 /dev/pts all",
            "hold? 2 /dev/shm all",
            "hold? 3 /dev/null all",
            "hold? 4 /dev/tty all",
            "hold 5 /masks/chr",
            "mount tmpfs /dev mode=0755,size=4m,nr_inodes=64k",
            "dir /dev/hugepages",
            "dir /dev/mqueue",
            "put 0 /dev/mqueue",
            "dir /dev/pts",
            "put 1 /dev/pts",
            "dir /dev/shm",
            "put 2 /dev/shm",
            "file /dev/null",
            "put 3 /dev/null",
            "file /dev/tty",
            "put 4 /dev/tty",
            "link /dev/ptmx /dev/pts/ptmx",
            "link /dev/core /proc/kcore",
            "link /dev/fd /proc/self/fd",
            "link /dev/stderr /proc/self/fd/2",
            "link /dev/stdin /proc/self/fd/0",
            "link /dev/stdout /proc/self/fd/1",
            "set 9 /dev",
            "put? 5 /dev/kmsg",
            "set? 15 /dev/kmsg",
        ],
    );
}

/// What lies in a new /proc can be taken only once it is there.
#[test]
fn a_new_proc_is_protected_like_the_old_one() {
    let mut spec = with(|spec| spec.protect_proc = ProtectProc::Invisible);
    spec.on.set(Switch::ProtectKernelTunables, true);
    check(
        &spec,
        &[
            "hold 0 /masks/reg",
            "hold? 2 /sys all",
            "hold? 3 /sys/fs/cgroup all",
            "mount proc /proc hidepid=invisible",
            "put? 0 /proc/kcore",
            "set? 15 /proc/kcore",
            "hold? 1 /proc/sys all",
            "put? 1 /proc/sys",
            "set? 1 /proc/sys all",
            "put? 2 /sys",
            "set? 1 /sys all",
            "put? 3 /sys/fs/cgroup",
        ],
    );
}

#[test]
fn what_a_host_lacks_is_left_out() {
    let mut spec = with(|spec| spec.protect_system = ProtectSystem::Yes);
    for switch in [Switch::PrivateNetwork, Switch::ProtectHostname, Switch::PrivateIpc, Switch::ProtectKernelLogs] {
        spec.on.set(switch, true);
    }
    let needed = needs(&spec, &[], false);
    let features: Vec<_> = needed.keys().copied().collect();
    assert_eq!(
        features,
        [Feature::Mounts, Feature::Network, Feature::Ipc, Feature::Hostname, Feature::BoundingSet, Feature::Filter]
    );
    assert!(
        needed[&Feature::Mounts].contains("protect_system") && needed[&Feature::Filter].contains("protect_hostname")
    );
    let look = |path: &Path| Some(Seen { path: path.to_owned(), kind: FileKind::Directory });
    let host = bare(&look);
    let all: BTreeSet<Feature> = features.iter().copied().collect();
    assert_eq!(plan(&spec, &host, &all), Confinement::default());
    let whole = plan(&spec, &host, &BTreeSet::new());
    assert_eq!(
        (whole.network.clone(), whole.namespaces, whole.drop_capabilities),
        (Network::Private, 0x0c02_0000, 1 << 34)
    );
    for feature in features {
        let without = plan(&spec, &host, &BTreeSet::from([feature]));
        assert_ne!(without, whole, "{feature:?}");
        assert_ne!(without, Confinement::default(), "{feature:?}");
    }
}

/// A list of mounts, read as a reader of paths would: what stands there in the end, and whether it can be written.
#[derive(Debug, Default)]
struct View(Vec<(PathBuf, bool)>);

impl View {
    fn of(steps: &[MountStep]) -> Self {
        let mut view = Self(vec![("/".into(), false)]);
        for step in steps {
            match step {
                MountStep::Put { path, .. } => view.0.push((path.into(), false)),
                MountStep::Restrict { path, attributes, .. } if attributes & 1 == 1 => {
                    let below = view.0.iter_mut().filter(|(mount, _)| mount.starts_with(path));
                    below.for_each(|(_, read_only)| *read_only = true);
                }
                MountStep::Restrict { .. }
                | MountStep::Propagate(_)
                | MountStep::EnterRoot { .. }
                | MountStep::Hold { .. }
                | MountStep::Mount { .. }
                | MountStep::MakeDirectory { .. }
                | MountStep::MakeFile { .. }
                | MountStep::MakeLink { .. } => {}
            }
        }
        view
    }

    fn is_read_only(&self, path: &Path) -> bool {
        let mounts = self.0.iter().filter(|(mount, _)| path.starts_with(mount));
        // The deepest mount, of several in one place the last.
        mounts.max_by_key(|(mount, _)| mount.components().count()).is_some_and(|(_, read_only)| *read_only)
    }
}

fn some_path() -> impl Strategy<Value = PathBuf> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("a-b")], 0..4)
        .prop_map(|parts| Path::new("/").join(parts.join("/")))
}

proptest! {
    /// The nearest path that says something decides, and there the stricter word.
    #[test]
    fn the_nearest_word_about_a_path_counts(
        read_only in proptest::collection::vec(some_path(), 0..5),
        read_write in proptest::collection::vec(some_path(), 0..5),
        asked in proptest::collection::vec(some_path(), 8),
    ) {
        let listed = |paths: &[PathBuf]| {
            paths.iter().map(|path| SandboxPath { path: path.as_path().into(), may_miss: false, in_root: false }).collect()
        };
        let spec = with(|spec| {
            spec.read_only_paths = listed(&read_only);
            spec.read_write_paths = listed(&read_write);
        });
        let look = |path: &Path| Some(Seen { path: path.to_owned(), kind: FileKind::Directory });
        let host = bare(&look);
        let steps = plan(&spec, &host, &BTreeSet::new()).mounts;
        let view = View::of(&steps);
        for path in asked {
            let said = path.ancestors().find_map(|up| {
                let in_list = |list: &[PathBuf]| list.iter().any(|listed| *listed == up);
                if in_list(&read_only) { Some(true) } else { in_list(&read_write).then_some(false) }
            });
            prop_assert_eq!(view.is_read_only(&path), said.unwrap_or(false), "{:?} in {:#?}", path, steps);
        }
    }
}
