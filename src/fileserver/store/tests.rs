use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct World {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        Self { folder, store }
    }

    fn begin(&self, path: &str, bytes: &[u8]) -> Part {
        let reservation = self.store.reserve(bytes.len() as u64, 0).unwrap();
        let mut part = self.store.begin(ObjectPath::new(path).unwrap(), reservation).unwrap();
        part.write(bytes).unwrap();
        part
    }

    fn parts(&self) -> usize {
        fs::read_dir(self.folder.path().join(PARTS)).unwrap().count()
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join(path)).ok()
    }
}

#[test]
fn a_part_is_nowhere_until_it_is_published_whole() {
    for sync in [SyncPolicy::None, SyncPolicy::Data, SyncPolicy::Full] {
        let world = World::new();
        let path = ObjectPath::new("a/b/c.txt").unwrap();
        let part = world.begin("a/b/c.txt", b"hello");
        assert!(!world.store.is_taken(&path).unwrap());
        assert!(world.store.find(&path).unwrap().is_none());
        assert_eq!(world.parts(), 1);
        let facts = part.publish(Some("image/heic"), sync).unwrap();
        assert_eq!(world.read("a/b/c.txt").as_deref(), Some(&b"hello"[..]));
        assert_eq!(world.parts(), 0);
        let stored = world.store.find(&path).unwrap().unwrap();
        assert_eq!(stored.found.facts, facts, "the tag of the 201 is the tag of the GET");
        assert!(world.store.is_taken(&path).unwrap());
        let mode = fs::metadata(world.folder.path().join("a/b/c.txt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        if let Some(stored_type) = stored.found.stored_type {
            assert_eq!(stored_type, "image/heic");
        }
    }
}

#[test]
fn a_dropped_part_leaves_nothing() {
    let world = World::new();
    drop(world.begin("a/b", b"half"));
    assert_eq!(world.parts(), 0);
    assert!(world.read("a/b").is_none());
}

#[test]
fn a_name_is_given_once() {
    let world = World::new();
    let (first, second) = (world.begin("a/b", b"first"), world.begin("a/b", b"second"));
    second.publish(None, SyncPolicy::None).unwrap();
    assert!(matches!(first.publish(None, SyncPolicy::None), Err(PublishError::Taken(_))));
    assert_eq!(world.read("a/b").as_deref(), Some(&b"second"[..]));
    assert_eq!(world.parts(), 0);
    // Neither a folder nor what lies below a file can be published over.
    assert!(matches!(world.begin("a", b"x").publish(None, SyncPolicy::None), Err(PublishError::Taken(_))));
    assert!(matches!(world.begin("a/b/c", b"x").publish(None, SyncPolicy::None), Err(PublishError::Taken(_))));
    assert!(world.store.is_taken(&ObjectPath::new("a/b/c").unwrap()).unwrap());
}

#[test]
fn folders_that_many_uploads_make_at_once_do_no_harm() {
    let world = World::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let part = world.begin(&format!("x/y/z/{number}"), b"x");
            scope.spawn(move || part.publish(None, SyncPolicy::Data).unwrap());
        }
    });
    assert_eq!(fs::read_dir(world.folder.path().join("x/y/z")).unwrap().count(), 8);
}

#[test]
fn a_sweep_removes_dead_parts_and_spares_living_ones() {
    let world = World::new();
    let alive = world.begin("a/b", b"alive");
    fs::write(world.folder.path().join(PARTS).join("pdead"), "dead").unwrap();
    let other = Store::open(world.folder.path()).unwrap();
    assert_eq!(other.sweep().unwrap(), 1);
    alive.publish(None, SyncPolicy::None).unwrap();
    assert_eq!(world.read("a/b").as_deref(), Some(&b"alive"[..]));
}

#[test]
fn a_sweep_at_any_moment_costs_no_upload() {
    let world = World::new();
    let other = Store::open(world.folder.path()).unwrap();
    std::thread::scope(|scope| {
        let uploads = scope.spawn(|| {
            for number in 0..1000 {
                world.begin(&format!("a/{number}"), b"x").publish(None, SyncPolicy::None).unwrap();
            }
        });
        while !uploads.is_finished() {
            other.sweep().unwrap();
        }
    });
    assert_eq!(fs::read_dir(world.folder.path().join("a")).unwrap().count(), 1000);
}

#[test]
fn only_regular_files_are_found() {
    let world = World::new();
    let root = world.folder.path();
    fs::create_dir(root.join("folder")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for name in ["folder", "link", "fifo", "none"] {
        assert!(world.store.find(&ObjectPath::new(name).unwrap()).unwrap().is_none(), "{name}");
    }
}

#[test]
fn nothing_is_promised_past_what_must_stay_free() {
    let world = World::new();
    assert!(matches!(world.store.reserve(1, u64::MAX), Err(StoreError::NoSpace { .. })));
    let available = world.store.available().unwrap();
    assert!(matches!(world.store.reserve(available + (1 << 30), 0), Err(StoreError::NoSpace { .. })));
    assert!(world.store.reserve(1, 0).is_ok());
}

#[test]
fn a_store_that_cannot_be_written_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Store::open(&file), Err(StoreError::Root { .. })));
}
