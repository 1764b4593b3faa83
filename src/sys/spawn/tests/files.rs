//! What a child makes before it becomes its user.

use std::os::unix::{
    ffi::OsStrExt,
    fs::{MetadataExt, PermissionsExt, symlink},
};

use super::*;

const OWNER: Owner = Owner { uid: 12_345, gid: 23_456 };

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn leak_path(path: &Path) -> &'static CStr {
    Box::leak(CString::new(path.as_os_str().as_bytes()).unwrap().into_boxed_c_str())
}

fn directory(path: &Path) -> Directory<'static> {
    let owner = is_root().then_some(OWNER);
    Directory {
        step: SpawnStep::StateDirectory,
        path: leak_path(path),
        mode: 0o750,
        owner,
        keep: false,
        links: Vec::new(),
    }
}

fn make(directory: &Directory<'static>) -> Outcome {
    run("true", |program| program.directories = vec![directory.clone()]).2
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A directory that only its owner may change, as those of the system are.
fn system_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn a_directory_is_made_with_those_above_it() {
    let base = system_folder();
    let path = base.path().join("a/b/c");
    assert_eq!(make(&directory(&path)), Outcome::Executed);
    assert_eq!((mode(&path), mode(&base.path().join("a/b"))), (0o750, 0o755));
    if is_root() {
        assert_eq!((owner(&path), owner(&base.path().join("a/b"))), ((OWNER.uid, OWNER.gid), (0, 0)));
    }
    assert_eq!(make(&directory(&path)), Outcome::Executed, "once more changes nothing");
}

#[test]
fn what_belonged_to_another_is_given_away_with_all_that_is_in_it() {
    if !is_root() {
        return;
    }
    let base = system_folder();
    let outside = base.path().join("outside");
    fs::write(&outside, "").unwrap();
    let path = base.path().join("state");
    let mut deep = path.clone();
    for level in 0..40 {
        deep.push(format!("level-{level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    // More names than are read at once.
    for number in 0..500 {
        fs::write(path.join(format!("a-file-with-a-long-name-{number}")), "").unwrap();
        fs::create_dir(path.join(format!("folder-{number}"))).unwrap();
        fs::write(path.join(format!("folder-{number}/file")), "").unwrap();
    }
    symlink(&outside, path.join("link")).unwrap();
    assert_eq!(make(&directory(&path)), Outcome::Executed);
    let mut left = vec![path.clone()];
    let mut seen = 0;
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            assert_eq!(owner(&entry.path()), (OWNER.uid, OWNER.gid), "{}", entry.path().display());
            seen += 1;
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    assert_eq!((seen, owner(&path)), (40 + 1500 + 1, (OWNER.uid, OWNER.gid)));
    assert_eq!(owner(&outside), (0, 0), "no link is followed");
    // As systemd: what belongs to the right one is taken as it is.
    std::os::unix::fs::chown(path.join("folder-7"), Some(1), Some(1)).unwrap();
    assert_eq!(make(&directory(&path)), Outcome::Executed);
    assert_eq!(owner(&path.join("folder-7")), (1, 1));
}

#[test]
fn a_service_leads_nobody_out_of_its_directory() {
    if !is_root() {
        return;
    }
    let (base, outside) = (system_folder(), system_folder());
    let own = base.path().join("web");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(OWNER.uid), Some(OWNER.gid)).unwrap();
    symlink(outside.path(), own.join("cache")).unwrap();
    for name in ["web/cache", "web/cache/deeper"] {
        let outcome = make(&directory(&base.path().join(name)));
        let Outcome::Failed(SpawnFailure { step: SpawnStep::StateDirectory, errno }) = outcome else {
            panic!("{name}: {outcome:?}")
        };
        assert!(matches!(errno, libc::ELOOP | libc::ENOTDIR), "{name}: {errno}");
    }
    assert_eq!((owner(outside.path()), fs::read_dir(outside.path()).unwrap().count()), ((0, 0), 0));
    // What root alone can write, root may have led elsewhere.
    symlink(outside.path(), base.path().join("moved")).unwrap();
    assert_eq!(make(&directory(&base.path().join("moved"))), Outcome::Executed);
    assert_eq!(owner(outside.path()), (OWNER.uid, OWNER.gid));
}

#[test]
fn configuration_that_is_there_stays_as_it_is() {
    let base = system_folder();
    let path = base.path().join("web");
    fs::create_dir(&path).unwrap();
    let before = (mode(&path), owner(&path));
    assert_eq!(make(&Directory { keep: true, ..directory(&path) }), Outcome::Executed);
    assert_eq!((mode(&path), owner(&path)), before);
}

#[test]
fn links_lead_to_it_and_are_not_put_over_others() {
    let base = system_folder();
    let link = |name: &str, target: &'static CStr| (leak_path(&base.path().join(name)), target);
    let linked = Directory {
        links: vec![link("www", c"web"), link("deep/er", c"../web")],
        ..directory(&base.path().join("web"))
    };
    for _ in 0..2 {
        assert_eq!(make(&linked), Outcome::Executed);
        assert_eq!(fs::read_link(base.path().join("www")).unwrap(), Path::new("web"));
        assert_eq!(
            fs::canonicalize(base.path().join("deep/er")).unwrap(),
            fs::canonicalize(base.path().join("web")).unwrap()
        );
    }
    let other = Directory { links: vec![link("www", c"other")], ..directory(&base.path().join("web")) };
    let refused = SpawnFailure { step: SpawnStep::StateDirectory, errno: libc::EEXIST };
    assert_eq!(make(&other), Outcome::Failed(refused));
}

#[test]
fn a_file_in_its_place_is_named() {
    let base = system_folder();
    fs::write(base.path().join("web"), "").unwrap();
    let refused = SpawnFailure { step: SpawnStep::StateDirectory, errno: libc::ENOTDIR };
    assert_eq!(make(&directory(&base.path().join("web"))), Outcome::Failed(refused));
}

/// A folder with credentials, taken away at the end.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(system_folder())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("credentials/web.service")
    }

    /// What `script` says that runs with these credentials.
    fn run(&self, script: &str, fresh: bool, list: &[Secret<'static>]) -> (String, Outcome) {
        let path = leak_path(&self.path());
        let (output, _, outcome) = run(&script.replace('@', self.path().to_str().unwrap()), |program| {
            let owner = is_root().then_some(OWNER);
            program.secrets = Some(Secrets { path, fresh, owner, list: list.to_vec() });
            program.user = is_root().then_some(User { uid: OWNER.uid, gid: OWNER.gid, groups: &[] });
        });
        (output, outcome)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        while nix::mount::umount2(&self.path(), nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    }
}

fn from(id: &'static CStr, files: &[&Path]) -> Secret<'static> {
    let files: Vec<CString> = files.iter().map(|file| leak_path(file).to_owned()).collect();
    Secret { id, files: Box::leak(files.into_boxed_slice()), value: None }
}

#[test]
fn credentials_are_the_users_alone_and_cannot_be_changed() {
    let place = Place::new();
    let source = place.0.path().join("source");
    fs::write(&source, "secret\0bytes").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o600)).unwrap();
    let missing = place.0.path().join("missing");
    let list =
        [from(c"key", &[&missing, &source]), Secret { value: Some(b"default"), ..from(c"with-default", &[&missing]) }];
    let script = "cat @/key; echo; cat @/with-default; echo; stat -c %a,%u @ @/key; (echo x > @/new) 2>/dev/null || echo refused";
    let (output, outcome) = place.run(script, true, &list);
    let uid = if is_root() { OWNER.uid } else { nix::unistd::geteuid().as_raw() };
    assert_eq!(output, format!("secret\0bytes\ndefault\n500,{uid}\n400,{uid}\nrefused\n"));
    assert_eq!(outcome, Outcome::Executed);
    // A second process of the run finds what the first has got; a new run gets all anew.
    fs::write(&source, "changed").unwrap();
    assert_eq!(place.run("cat @/key", false, &list).0, "secret\0bytes");
    assert_eq!(place.run("cat @/key", true, &list).0, "changed");
    if is_root() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().filter(|line| line.contains(place.path().to_str().unwrap())).collect::<Vec<_>>();
        assert!(mount.len() == 1 && mount[0].contains(" ramfs ro,"), "{mount:?}");
    }
}

#[test]
fn a_directory_of_credentials_is_one_for_each_file() {
    let place = Place::new();
    let source = place.0.path().join("source");
    fs::create_dir_all(source.join("sub/deeper")).unwrap();
    for (name, text) in [("one", "1"), ("sub/two", "2"), ("sub/deeper/three", "3")] {
        fs::write(source.join(name), text).unwrap();
    }
    symlink("/etc/passwd", source.join("link")).unwrap();
    let (output, outcome) =
        place.run("cd @; for f in *; do echo $f $(cat $f); done", true, &[from(c"all", &[&source])]);
    assert_eq!(outcome, Outcome::Executed);
    assert_eq!(output, "all_one 1\nall_sub_deeper_three 3\nall_sub_two 2\n");
}

#[test]
fn credentials_that_cannot_be_had_are_a_failure_of_their_own() {
    let place = Place::new();
    let (missing, huge) = (place.0.path().join("missing"), place.0.path().join("huge"));
    fs::write(&huge, vec![0; (1 << 20) + 1]).unwrap();
    for (file, errno) in [(missing, libc::ENOENT), (huge, libc::E2BIG)] {
        let (_, outcome) = place.run("true", true, &[from(c"key", &[&file])]);
        assert_eq!(outcome, Outcome::Failed(SpawnFailure { step: SpawnStep::Credentials, errno }));
    }
}
