//! Real children that are shut in and look around.
use std::{fs, path::Path};

use super::super::{
    Outcome,
    tests::{failure, run},
};
use crate::base::{
    ExitStatus, SpawnFailure, SpawnStep,
    confinement::{Confinement, Instruction, MountStep, Network},
};

const NEW_MOUNTS: u32 = libc::CLONE_NEWNS.cast_unsigned();
const READ_ONLY: u32 = 1;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What a script prints that is shut in so; it has to succeed.
fn seen(script: &str, confinement: Confinement) -> String {
    let confinement: &'static Confinement = Box::leak(Box::new(confinement));
    let (output, status, outcome) = run(script, |program| program.confinement = Some(confinement));
    assert_eq!((status, outcome), (ExitStatus::Exited(0), Outcome::Executed), "{output}");
    output
}

fn refused(confinement: Confinement) -> SpawnFailure {
    let confinement: &'static Confinement = Box::leak(Box::new(confinement));
    failure(c"/bin/true", |program| program.confinement = Some(confinement))
}

fn mounts(steps: impl IntoIterator<Item = MountStep>) -> Confinement {
    let private = [MountStep::Propagate(libc::MS_PRIVATE as u32)];
    Confinement { namespaces: NEW_MOUNTS, mounts: private.into_iter().chain(steps).collect(), ..Confinement::default() }
}

fn hold(place: u16, path: &Path) -> MountStep {
    MountStep::Hold { place, path: path.display().to_string(), recursive: true, may_miss: false }
}

fn put(place: u16, path: &Path) -> MountStep {
    MountStep::Put { place, path: path.display().to_string(), may_miss: false }
}

fn restrict(path: &Path, attributes: u32) -> MountStep {
    MountStep::Restrict { path: path.display().to_string(), attributes, recursive: true, may_miss: false }
}

/// A folder with two directories, and a file in the first.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::create_dir(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("a/file"), "here").unwrap();
    folder
}

#[test]
fn mounts_are_the_childs_alone() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let script =
        format!("cat {0}/file; touch {0}/new 2>/dev/null || echo ' not here'; ls {1}", b.display(), a.display());
    let empty = MountStep::Mount {
        kind: "tmpfs".into(),
        path: a.display().to_string(),
        flags: 0,
        options: "size=1m".into(),
        may_miss: false,
    };
    let within = [
        MountStep::MakeDirectory { path: a.join("made").display().to_string() },
        MountStep::MakeFile { path: a.join("made/file").display().to_string() },
        MountStep::MakeLink { path: a.join("link").display().to_string(), to: "made".into() },
    ];
    let steps = [hold(0, &a), empty].into_iter().chain(within).chain([put(0, &b), restrict(&b, READ_ONLY)]);
    assert_eq!(seen(&script, mounts(steps)), "here not here\nlink\nmade\n");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert!(fs::read_dir(&b).unwrap().next().is_none());
}

/// What was taken before the directory around it became read-only is as it was.
#[test]
fn what_is_put_back_can_be_written_below_what_cannot() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let b = folder.path().join("b");
    let script =
        format!("touch {}/no 2>/dev/null || echo no; touch {}/yes && echo yes", folder.path().display(), b.display());
    let around = [hold(0, folder.path()), hold(1, &b), put(0, folder.path()), restrict(folder.path(), READ_ONLY)];
    assert_eq!(seen(&script, mounts(around.iter().cloned().chain([put(1, &b)]))), "no\nyes\n");
    let script = script.replace("&& echo yes", "2>/dev/null || echo no");
    assert_eq!(seen(&script, mounts(around)), "no\nno\n");
}

#[test]
fn a_path_that_is_missing_is_named_or_left_out() {
    if !is_root() {
        return;
    }
    let missing = Path::new("/nonexistent/path");
    let failure = refused(mounts([hold(0, missing)]));
    assert_eq!(failure, SpawnFailure { step: SpawnStep::Namespace, errno: libc::ENOENT });
    let confinement: &'static Confinement = Box::leak(Box::new(mounts([hold(0, missing)])));
    let (said, ..) = run("true", |program| program.confinement = Some(confinement));
    assert_eq!(said, "roundsman: cannot set up the sandbox at /nonexistent/path\n");
    let may_miss = MountStep::Hold { place: 0, path: "/nonexistent/path".into(), recursive: true, may_miss: true };
    let not_put = MountStep::Put { place: 0, path: "/tmp".into(), may_miss: false };
    assert_eq!(seen("echo fine", mounts([may_miss, not_put])), "fine\n");
}

#[test]
fn a_step_that_cannot_be_done_is_named() {
    if !is_root() {
        return;
    }
    let network = Confinement { network: Network::Joined("/dev/null".into()), ..Confinement::default() };
    assert_eq!(refused(network), SpawnFailure { step: SpawnStep::Network, errno: libc::EINVAL });
    let unshared =
        Confinement { namespaces: libc::CLONE_VM.cast_unsigned() | NEW_MOUNTS | 1, ..Confinement::default() };
    assert_eq!(refused(unshared).step, SpawnStep::Namespace);
    let mut faulty = Confinement {
        filter: vec![Instruction { code: 6, jump_true: 0, jump_false: 0, operand: 0 }; 4096],
        ..Confinement::default()
    };
    faulty.filter[0].code = 0xffff;
    assert_eq!(refused(faulty), SpawnFailure { step: SpawnStep::Seccomp, errno: libc::EINVAL });
}

#[test]
fn what_no_kernel_takes_is_refused_before_there_is_a_child() {
    let null = fs::File::open("/dev/null").unwrap();
    let fds = [std::os::fd::AsFd::as_fd(&null); 3];
    for bad in [
        mounts([MountStep::MakeDirectory { path: "/a\0b".into() }]),
        mounts([put(u16::MAX, Path::new("/tmp"))]),
        Confinement {
            filter: vec![Instruction { code: 6, jump_true: 0, jump_false: 0, operand: 0 }; 5000],
            ..Confinement::default()
        },
    ] {
        let mut program = super::super::tests::program(c"/bin/true", &[], &fds);
        program.confinement = Some(&bad);
        let failure = super::super::Spawner::default().spawn(&program).unwrap_err();
        assert_eq!(failure, SpawnFailure { step: SpawnStep::Prepare, errno: libc::E2BIG });
    }
}

#[test]
fn a_private_network_has_a_loopback_and_nothing_else() {
    if !is_root() {
        return;
    }
    let confinement = Confinement { network: Network::Private, ..Confinement::default() };
    let said =
        seen("grep -c : /proc/net/dev; grep -c 127.0.0.1 /proc/net/fib_trie; readlink /proc/self/ns/net", confinement);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1", "one device");
    assert_ne!(lines[1], "0", "which is up");
    assert_ne!(lines[2], fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
    let joined = Network::Joined("/proc/self/ns/net".into());
    let said = seen("readlink /proc/self/ns/net", Confinement { network: joined, ..Confinement::default() });
    assert_eq!(said.trim(), fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
}

#[test]
fn capabilities_are_given_up_for_good() {
    if !is_root() {
        return;
    }
    let bound = |drop_capabilities| {
        let said = seen("grep CapBnd /proc/self/status", Confinement { drop_capabilities, ..Confinement::default() });
        u64::from_str_radix(said.split_whitespace().last().unwrap(), 16).unwrap()
    };
    let all = bound(0);
    assert_eq!(bound(1 << 27 | 1 << 34), all & !(1 << 27 | 1 << 34));
    // One that no kernel has yet.
    assert_eq!(bound(1 << 63), all);
}

/// uname(2) comes back with an error, everything else is as ever.
fn without_uname() -> Vec<Instruction> {
    let number = u32::try_from(libc::SYS_uname).unwrap();
    [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x0005_0001), (0x06, 0, 0, 0x7fff_0000)]
        .map(|(code, jump_true, jump_false, operand)| Instruction { code, jump_true, jump_false, operand })
        .to_vec()
}

#[test]
fn a_filter_is_in_force_for_the_program_and_not_for_us() {
    if !is_root() {
        return;
    }
    let confinement = Confinement { filter: without_uname(), ..Confinement::default() };
    assert!(seen("uname 2>&1 || true; grep Seccomp: /proc/self/status", confinement).contains("Seccomp:\t2"));
    let confinement: &'static Confinement =
        Box::leak(Box::new(Confinement { filter: without_uname(), ..Confinement::default() }));
    let (said, status, _) = run("uname 2>&1", |program| program.confinement = Some(confinement));
    assert_eq!(status, ExitStatus::Exited(1), "{said}");
    assert!(nix::sys::utsname::uname().is_ok());
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t0"));
}

#[test]
fn a_large_confinement_has_room_of_its_own() {
    if !is_root() {
        return;
    }
    let long = "x".repeat(200);
    let missing = (0..400).map(|place| MountStep::Hold {
        place,
        path: format!("/nonexistent/{long}/{place}"),
        recursive: false,
        may_miss: true,
    });
    assert_eq!(seen("echo fine", mounts(missing)), "fine\n");
}

fn enter(path: &Path) -> MountStep {
    MountStep::EnterRoot { path: path.display().to_string() }
}

/// A root with the host's programs, at which links of all kinds lead out of it.
fn jail() -> (tempfile::TempDir, Vec<MountStep>) {
    let folder = folder();
    let root = folder.path().join("a");
    fs::create_dir(root.join("usr")).unwrap();
    fs::create_dir(root.join("place")).unwrap();
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(folder.path().join("b"), root.join("out")).unwrap();
    std::os::unix::fs::symlink("../../../../../../place", root.join("up")).unwrap();
    let steps =
        vec![hold(0, Path::new("/usr")), hold(1, &folder.path().join("b")), enter(&root), put(0, Path::new("/usr"))];
    (folder, steps)
}

#[test]
fn a_root_that_was_entered_is_all_that_there_is() {
    if !is_root() {
        return;
    }
    let (folder, steps) = jail();
    fs::write(folder.path().join("b/secret"), "").unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let inside = [
        // Where a link says that it leads is looked for below the root.
        MountStep::MakeDirectory { path: "/up/made".into() },
        put(1, Path::new("/up/made")),
        MountStep::Mount {
            kind: "tmpfs".into(),
            path: "/../..//up".into(),
            flags: 0,
            options: "size=1m".into(),
            may_miss: false,
        },
        MountStep::MakeFile { path: "/place/file".into() },
        restrict(Path::new("/"), READ_ONLY),
    ];
    let script = "cd /; cd ../..; ls; ls place; ls out/ 2>&- || echo nothing; touch new 2>&- || echo read-only";
    let said = seen(script, mounts(steps.into_iter().chain(inside)));
    assert_eq!(said, "bin\nfile\nlib\nlib64\nout\nplace\nup\nusr\nfile\nnothing\nread-only\n");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert!(folder.path().join("a/place/made").is_dir(), "made below the root");
    assert!(fs::read_dir(folder.path().join("b")).unwrap().count() == 1, "and nowhere else");
}

#[test]
fn a_link_does_not_lead_a_mount_out_of_the_root() {
    if !is_root() {
        return;
    }
    let (_folder, steps) = jail();
    let empty = MountStep::Mount {
        kind: "tmpfs".into(),
        path: "/out".into(),
        flags: 0,
        options: "size=1m".into(),
        may_miss: false,
    };
    let failure = refused(mounts(steps.into_iter().chain([empty])));
    assert_eq!(failure, SpawnFailure { step: SpawnStep::Namespace, errno: libc::ENOENT });
}

#[test]
fn a_root_that_is_not_there_is_named() {
    if !is_root() {
        return;
    }
    let failure = refused(mounts([enter(Path::new("/nonexistent/root"))]));
    assert_eq!(failure, SpawnFailure { step: SpawnStep::Chroot, errno: libc::ENOENT });
}
