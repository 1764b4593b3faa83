//! Below a root of its own.

use super::*;

/// A root at /srv/jail on the usual host: what is in there, each a directory behind a link or not.
struct Jail {
    inside: World,
    mounted: Vec<&'static str>,
}

impl Jail {
    fn of(inside: &[(&str, &str)]) -> Self {
        let mut world = World(BTreeMap::new(), BTreeMap::new());
        for (path, real) in [("/", "/")].iter().chain(inside) {
            world.add(path, real, FileKind::Directory);
        }
        Self { inside: world, mounted: Vec::new() }
    }

    fn steps(&self, spec: &SandboxSpec, own: &[Own]) -> Vec<MountStep> {
        let outside = World::usual();
        let seen = |world: &World, path: &Path| {
            let (path, kind) = world.0.get(path)?;
            Some(Seen { path: path.clone(), kind: *kind })
        };
        let (look, look_inside) = (|path: &Path| seen(&outside, path), |path: &Path| seen(&self.inside, path));
        let is_mounted = |path: &Path| self.mounted.iter().any(|mounted| path == Path::new(mounted));
        let link = |path: &Path| self.inside.1.get(path).cloned();
        let root = Root { path: Path::new("/srv/jail"), look: &look_inside, link: &link, is_mounted: &is_mounted };
        let private_tmp = Some([Path::new("/tmp/own"), Path::new("/var/tmp/own")]);
        let host = Host { root: Some(root), private_tmp, own, ..bare(&look) };
        plan(spec, &host, &BTreeSet::new()).mounts
    }

    #[track_caller]
    fn check(&self, spec: &SandboxSpec, own: &[Own], wanted: &[&str]) {
        let steps: Vec<String> = self.steps(spec, own).iter().map(shown).collect();
        assert_eq!(steps[1..steps.len() - 1], *wanted);
    }
}

fn api() -> SandboxSpec {
    with(|spec| spec.on.set(Switch::MountApiVfs, true))
}

#[test]
fn a_root_has_what_every_program_expects_of_the_kernel() {
    Jail::of(&[("/usr", "/usr"), ("/proc", "/proc")]).check(
        &api(),
        &[],
        &[
            "hold 0 /dev all",
            "hold 1 /sys all",
            "enter /srv/jail",
            "dir /dev",
            "dir /run",
            "dir /sys",
            "put 0 /dev",
            "mount proc /proc ",
            "mount tmpfs /run mode=0755,size=20%,nr_inodes=800k",
            "put 1 /sys",
        ],
    );
}

#[test]
fn what_a_root_has_mounted_stays() {
    let mut jail = Jail::of(&[("/proc", "/proc"), ("/dev", "/dev"), ("/sys", "/sys"), ("/run", "/run")]);
    jail.mounted = vec!["/dev", "/sys", "/run", "/proc"];
    jail.check(&api(), &[], &["enter /srv/jail", "mount proc /proc "]);
}

/// A plain chroot(2) is cheaper, and needs no right to mount.
#[test]
fn a_root_without_anything_to_mount_is_not_entered_here() {
    let spec = with(|spec| spec.on.set(Switch::LockPersonality, true));
    assert_eq!(Jail::of(&[]).steps(&spec, &[]), []);
    assert!(!needs(&spec, &[], true).contains_key(&Feature::Mounts));
    let needed = needs(&api(), &[own("/var/lib/own", false)], true);
    assert_eq!(needed[&Feature::Mounts], BTreeSet::from(["mount_api_vfs", "own"]));
}

#[test]
fn what_the_host_has_for_the_unit_is_shown_where_it_has_it() {
    Jail::of(&[("/var", "/data"), ("/run", "/run")]).check(
        &SandboxSpec::default(),
        &[own("/var/lib/own", false), own("/var/lib/own/below", false), own("/run/credentials/own", true)],
        &[
            "hold 0 /var/lib/own all",
            "hold 1 /run/credentials/own all",
            "enter /srv/jail",
            "dir /data",
            "dir /data/lib",
            "dir /data/lib/own",
            "dir /run/credentials",
            "dir /run/credentials/own",
            "put 0 /data/lib/own",
            "put 1 /run/credentials/own",
            "set 1 /run/credentials/own all",
        ],
    );
}

/// The same words as on the host; what is taken from below the root is taken after it was entered.
#[test]
fn what_is_protected_is_what_lies_below_the_root() {
    let spec = with(|spec| {
        spec.protect_system = ProtectSystem::Strict;
        spec.protect_home = ProtectHome::Yes;
        spec.read_write_paths = paths(&["+/opt", "-/srv/out", "/srv/jail/var", "-+/none"]);
        spec.bind_paths = vec![bind("/srv/a", "/opt/a", false)];
        spec.on.set(Switch::PrivateTmp, true);
    });
    let inside = ["/etc", "/home", "/opt", "/opt/a", "/tmp", "/usr", "/var"].map(|path| (path, path));
    Jail::of(&inside).check(
        &spec,
        &[],
        &[
            "hold 0 /m/dir",
            "hold 2 /srv/a all",
            "hold 3 /tmp/own all",
            "hold 5 /var/tmp/own all",
            "enter /srv/jail",
            "hold 1 /opt all",
            "hold 4 /var all",
            "dir /var/tmp",
            "set? 1 / all",
            "put? 0 /home",
            "set? 15 /home",
            "put 1 /opt",
            "put 2 /opt/a",
            "put 3 /tmp",
            "put 4 /var",
            "put 5 /var/tmp",
        ],
    );
}

/// A root may be nothing but places to bind on.
#[test]
fn what_is_bound_below_a_root_is_protected_as_well() {
    let spec = with(|spec| {
        spec.protect_system = ProtectSystem::Yes;
        spec.bind_paths = vec![bind("/usr", "/usr", false)];
        spec.on.set(Switch::ProtectKernelModules, true);
    });
    Jail::of(&[]).check(
        &spec,
        &[],
        &[
            "hold 0 /usr all",
            "hold 1 /m/dir",
            "enter /srv/jail",
            "dir /usr",
            "put 0 /usr",
            "set 1 /usr all",
            "put? 1 /usr/lib/modules",
            "set? 15 /usr/lib/modules",
        ],
    );
}

#[test]
fn the_kernels_own_files_are_protected_below_a_root_too() {
    let mut spec = SandboxSpec::default();
    spec.on.set(Switch::ProtectKernelTunables, true);
    Jail::of(&[("/dev", "/dev"), ("/run", "/run"), ("/sys", "/sys")]).check(
        &spec,
        &[],
        &[
            "hold 0 /dev all",
            "hold 1 /m/reg",
            "hold 3 /sys all",
            "hold? 4 /sys/fs/cgroup all",
            "enter /srv/jail",
            "dir /proc",
            "put 0 /dev",
            "mount proc /proc ",
            "put? 1 /proc/kcore",
            "set? 15 /proc/kcore",
            "hold? 2 /proc/sys all",
            "put? 2 /proc/sys",
            "set? 1 /proc/sys all",
            "mount tmpfs /run mode=0755,size=20%,nr_inodes=800k",
            "put 3 /sys",
            "set 1 /sys all",
            "put? 4 /sys/fs/cgroup",
        ],
    );
}

#[test]
fn what_a_unit_says_of_a_place_counts_before_what_every_root_has() {
    let spec = with(|spec| {
        spec.on.set(Switch::MountApiVfs, true);
        spec.on.set(Switch::PrivateDevices, true);
        spec.temporary_file_systems = vec![empty("/run", true)];
        spec.bind_paths = vec![bind("/srv/a", "/sys", true)];
    });
    let steps: Vec<String> = Jail::of(&[]).steps(&spec, &[]).iter().map(shown).collect();
    let has = |wanted: &str| steps.iter().any(|step| step == wanted);
    assert!(has("mount tmpfs /run ") && has("mount tmpfs /dev mode=0755,size=4m,nr_inodes=64k"), "{steps:#?}");
    assert!(!steps.iter().any(|step| step.ends_with(" /sys all") && step.starts_with("hold")), "{steps:#?}");
    assert!(!has("hold 0 /dev all"), "{steps:#?}");
}

proptest! {
    /// What is named by a path of the host is taken before the root is entered, and everything is put after: then no path
    /// leads out.
    #[test]
    fn nothing_is_put_before_the_root_is_entered(
        switches in proptest::collection::vec(proptest::sample::select(Switch::ALL.to_vec()), 0..6),
        written in proptest::collection::vec(some_path(), 0..4),
        bound in proptest::collection::vec(some_path(), 0..4),
        there in proptest::collection::vec(some_path(), 0..6),
    ) {
        let spec = with(|spec| {
            switches.iter().for_each(|switch| spec.on.set(*switch, true));
            spec.read_write_paths = written.iter().map(|path| {
                SandboxPath { path: path.as_path().into(), may_miss: true, in_root: true }
            }).collect();
            spec.bind_paths = bound.iter().map(|path| bind("/host/only", &path.display().to_string(), true)).collect();
        });
        let there: Vec<String> = there.iter().flat_map(|path| path.ancestors().map(|up| up.display().to_string())).collect();
        let jail = Jail::of(&there.iter().map(|path| (path.as_str(), path.as_str())).collect::<Vec<_>>());
        let steps = jail.steps(&spec, &[own("/host/own", false)]);
        let enter = steps.iter().position(|step| matches!(step, MountStep::EnterRoot { .. }));
        let enter = enter.expect("it is entered");
        for (at, step) in steps.iter().enumerate() {
            let text = shown(step);
            match step {
                MountStep::Hold { path, .. } => {
                    let of_host = path.starts_with("/host/only") || path.starts_with("/m/") || path.starts_with("/tmp/own");
                    prop_assert!(!of_host || at < enter, "{text} in {steps:#?}");
                }
                MountStep::MakeDirectory { path } => {
                    prop_assert!(at > enter || path.starts_with("/host"), "{text} in {steps:#?}");
                }
                MountStep::Propagate(_) | MountStep::EnterRoot { .. } => {}
                MountStep::Put { .. }
                | MountStep::Mount { .. }
                | MountStep::MakeFile { .. }
                | MountStep::MakeLink { .. }
                | MountStep::Restrict { .. } => prop_assert!(at > enter, "{text} in {steps:#?}"),
            }
        }
    }
}
