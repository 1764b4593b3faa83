//! Damaged and foreign files, a full disk, another's lock.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::*;
use crate::edge::store::schema::VERSION;

/// A database with rows in it, closed; its WAL is emptied.
async fn filled(path: &Path) {
    let bench = open(path);
    bench.submit(1, (1..=300).map(|n| write(n, ended(n, Consequence::Restart))).collect());
    assert!(bench.store.close(SOON).await);
    bench.committed(1);
    let ours = rusqlite::Connection::open(path).unwrap();
    ours.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

async fn works(bench: &Bench) {
    bench.submit(9000, vec![write(9000, ended(9000, Consequence::Fail))]);
    bench.committed(9000);
    let newest = bench.store.history(None, 1, None).await.unwrap();
    assert_eq!(newest[0].generation, Generation(9000));
}

fn kept_files(folder: &Path) -> Vec<PathBuf> {
    let is_kept = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.contains(".damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    let mut kept: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_kept).collect();
    kept.sort();
    kept
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_set_aside_untouched() {
    let foreign = |path: &Path| {
        let other = rusqlite::Connection::open(path).unwrap();
        other.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);").unwrap();
    };
    let text = |path: &Path| fs::write(path, "[unit]\nthis is no database\n".repeat(100)).unwrap();
    let stripped = |path: &Path| {
        rusqlite::Connection::open(path).unwrap().execute_batch("DROP TABLE outbox").unwrap();
    };
    let cases: [&dyn Fn(&Path); 3] = [&foreign, &text, &stripped];
    for (n, make) in cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        if n >= 2 {
            filled(&path).await;
        }
        make(&path);
        let before = fs::read(&path).unwrap();
        let bench = open(&path);
        let (kept, reason) = bench.opened.quarantined.clone().unwrap_or_else(|| panic!("case {n} was taken for ours"));
        assert!(!reason.is_empty());
        assert!(kept.to_string_lossy().ends_with("state.db.damaged-20231114T221320Z"), "{kept:?}");
        if n < 2 {
            assert_eq!(fs::read(&kept).unwrap(), before);
        }
        assert_eq!(bench.opened.degraded, None);
        works(&bench).await;
    }
}

#[tokio::test]
async fn a_file_that_somebody_removes_is_written_anew_from_what_is_open() {
    for removed in [&["state.db"][..], &["state.db", "state.db-wal", "state.db-shm"], &["state.db-wal", "state.db"]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let bench = open(&path);
        bench.submit(1, (1..=300).map(|n| write(n, ended(n, Consequence::Restart))).collect());
        bench.committed(1);
        removed.iter().for_each(|name| fs::remove_file(dir.path().join(name)).unwrap());
        bench.submit(9000, vec![write(9000, ended(9000, Consequence::Fail))]);
        let told = bench.news();
        assert!(matches!(&told, Report::Degraded { reason, .. } if reason.contains("removed its file")), "{told:?}");
        bench.committed(9000);
        let rows = bench.store.history(None, 1000, None).await.unwrap();
        assert_eq!((rows.len(), kept_files(dir.path())), (301, Vec::new()), "{removed:?}");
        assert!(bench.store.close(SOON).await);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let next = open(&path);
        assert_eq!(next.store.history(None, 1000, None).await.unwrap().len(), 301, "{removed:?}");
    }
}

#[tokio::test]
async fn who_only_asks_for_rows_of_a_removed_file_has_them_soon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bench = open(&path);
    bench.submit(1, vec![write(1, ended(1, Consequence::Restart))]);
    bench.committed(1);
    fs::remove_file(&path).unwrap();
    let rows = async {
        while bench.store.history(None, 10, None).await.map_or(true, |rows| rows.len() != 1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, rows).await.expect("the row is read");
    assert!(path.exists());
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_waited_for_and_never_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    assert_eq!(fits(&path), Ok(()), "none is no reason");
    filled(&path).await;
    assert_eq!(fits(&path), Ok(()));
    let set_version = |version: i32| {
        let ours = rusqlite::Connection::open(&path).unwrap();
        ours.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(99);
    let reason = fits(&path).unwrap_err();
    let told = [format!("version 99 is newer than {VERSION}"), format!("state.db.version-{VERSION}")];
    assert!(told.iter().all(|part| reason.contains(part)), "{reason}");
    let before = fs::read(&path).unwrap();
    let bench = open(&path);
    assert!(bench.opened.degraded.as_ref().is_some_and(|reason| reason.contains("99")), "{:?}", bench.opened);
    assert_eq!((bench.opened.quarantined.clone(), kept_files(dir.path())), (None, vec![]));
    assert_eq!(fs::read(&path).unwrap(), before);
    // Rows wait, and are written as soon as they can be.
    bench.submit(9000, vec![write(9000, ended(9000, Consequence::Fail))]);
    set_version(VERSION);
    bench.committed(9000);
}

#[tokio::test]
async fn before_its_tables_change_a_database_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    filled(&path).await;
    let ours = rusqlite::Connection::open(&path).unwrap();
    let copy = dir.path().join("state.db.version-1");
    // A copy of an earlier try is replaced.
    fs::write(&copy, "half").unwrap();
    open::keep_before_migration(&ours, &path, 1).unwrap();
    let count = |database: &rusqlite::Connection| {
        database.query_row("SELECT count(*) FROM invocations", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(count(&rusqlite::Connection::open(&copy).unwrap()), count(&ours));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let nowhere = dir.path().join("no/such/state.db");
    assert!(open::keep_before_migration(&ours, &nowhere, 1).is_err(), "no copy, no change");
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bench = open(&path);
    works(&bench).await;
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn no_mutation_of_the_file_stops_the_store() {
    let source = tempfile::tempdir().unwrap();
    let original = source.path().join("state.db");
    filled(&original).await;
    let bytes = fs::read(&original).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 20, "{pages} pages");
    let wanted = std::env::var("ROUNDSMAN_TEST_MUTATIONS").map_or(pages, |text| text.parse().unwrap());
    let mut replaced = 0;
    let mut rng = crate::base::Rng::new(1);
    let mut below = |limit: usize| usize::try_from(rng.below(limit as u64)).unwrap();
    for round in 0..wanted.max(pages) {
        let page = round % pages;
        let place = page * 4096..(page + 1) * 4096;
        let mut mutated = bytes.clone();
        match round / pages % 4 {
            0 => {
                // The head of each page decides how the rest is read; a second flip lies anywhere.
                mutated[place.start + below(12)] ^= 0xff;
                mutated[place.start + below(4096)] ^= 0x55;
                if page.is_multiple_of(3) {
                    mutated.truncate(place.start + 100);
                }
            }
            1 => mutated[place].fill(0),
            2 => {
                let other = below(pages) * 4096;
                mutated.copy_within(other..other + 4096, place.start);
                mutated[other..other + 4096].copy_from_slice(&bytes[place]);
            }
            _ => (0..=below(16)).for_each(|_| mutated[below(bytes.len())] ^= 1 << below(8)),
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        fs::write(&path, mutated).unwrap();
        let bench = open(&path);
        works(&bench).await;
        replaced += usize::from(round < pages && bench.opened.quarantined.is_some());
        let reads = (bench.store.restart_totals().await.map(drop), bench.store.why(unit()).await.map(drop));
        // A page that is whole may still hold a text that is none, which is said.
        assert!(round >= pages * 3 || reads.0.is_ok() && reads.1.is_ok(), "{reads:?}");
    }
    assert!(replaced * 2 > pages, "only {replaced} of {pages} were noticed at opening");
}

#[tokio::test]
async fn a_database_whose_tables_are_not_as_they_were_made_is_set_aside() {
    for (was, is) in
        [("restarts INTEGER,", "restartz INTEGER,"), ("UNIQUE (unit, generation)", "UNIQUE (unit, genaration)")]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        filled(&path).await;
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA writable_schema = ON").unwrap();
        let sql = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE name = 'invocations'";
        assert_eq!(other.execute(sql, [was, is]).unwrap(), 1);
        drop(other);
        let bench = open(&path);
        assert!(bench.opened.quarantined.is_some(), "{is}");
        works(&bench).await;
    }
}

#[tokio::test]
async fn a_zeroed_or_garbled_wal_is_survived() {
    for garbage in [vec![0_u8; 100_000], vec![0xa5; 100_000]] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        filled(&path).await;
        fs::write(dir.path().join("state.db-wal"), garbage).unwrap();
        let bench = open(&path);
        assert_eq!(bench.opened, Opened::default());
        works(&bench).await;
        assert_eq!(bench.store.history(None, 1000, None).await.unwrap().len(), 301);
    }
}

#[tokio::test]
async fn damage_while_running_is_noticed_by_a_reader_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    filled(&path).await;
    let bench = open(&path);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let size = fs::metadata(&path).unwrap().len();
    file.write_all_at(&vec![0x5a; usize::try_from(size - 4096).unwrap()], 4096).unwrap();
    assert!(bench.store.history(None, 1000, None).await.is_err());
    let Report::Replaced { kept, reason } = bench.news() else { panic!("it was not replaced") };
    assert!(kept.exists() && !reason.is_empty());
    works(&bench).await;
    assert_eq!(kept_files(dir.path())[0], kept);
    assert_eq!(bench.store.history(None, 1000, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn few_damaged_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    for _ in 0..8 {
        fs::write(&path, "no database").unwrap();
        assert!(open(&path).store.close(SOON).await);
    }
    assert_eq!(kept_files(dir.path()).len(), 4);
}

/// A file system of a few pages, gone with its folder.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .expect("this test needs root: it mounts a small disk");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

#[tokio::test]
async fn rows_wait_while_the_disk_is_full_and_none_is_lost() {
    let disk = SmallDisk::new(2 << 20);
    let path = disk.0.path().join("state.db");
    let bench = open(&path);
    let ballast = disk.0.path().join("ballast");
    bench.submit(1, vec![write(1, starting(1, StartCause::Boot))]);
    bench.committed(1);
    fs::write(&ballast, vec![0; 4 << 20]).unwrap_err();
    for n in 2..=3000 {
        bench.submit(n, vec![write(n, starting(n, StartCause::AutoRestart)), write(n, ended(n, Consequence::Restart))]);
    }
    let Report::Degraded { reason, .. } = bench.news() else { panic!("the disk is not full") };
    assert!(reason.contains("full"), "{reason}");
    fs::remove_file(&ballast).unwrap();
    mount(None::<&str>, disk.0.path(), None::<&str>, MsFlags::MS_REMOUNT, Some("size=64m")).unwrap();
    assert_eq!(bench.news(), Report::Recovered { dropped: 0 });
    assert!(bench.store.flush(SOON).await);
    assert_eq!(bench.store.restart_totals().await.unwrap()[&unit()].auto_restarts, 2999);
    assert_eq!(bench.store.generations().await.unwrap()[&unit()].ended, Generation(3000));
    assert!(kept_files(disk.0.path()).is_empty());
}

#[tokio::test]
async fn a_read_only_disk_at_start_is_waited_out() {
    let disk = SmallDisk::new(8 << 20);
    let remount = |flags| mount(None::<&str>, disk.0.path(), None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
    remount(MsFlags::MS_RDONLY).unwrap();
    let bench = open(&disk.0.path().join("state.db"));
    assert!(bench.opened.degraded.is_some());
    bench.submit(1, vec![write(1, starting(1, StartCause::Boot))]);
    assert!(!bench.store.flush(Duration::from_millis(300)).await);
    remount(MsFlags::empty()).unwrap();
    assert_eq!(bench.news(), Report::Recovered { dropped: 0 });
    works(&bench).await;
    assert_eq!(bench.store.history(None, 10, None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn anothers_lock_is_waited_out_and_the_caller_never_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bench = open(&path);
    works(&bench).await;
    let other = lock(&path);
    bench.submit(1, vec![write(1, starting(1, StartCause::Boot))]);
    let Report::Degraded { reason, .. } = bench.news() else { panic!("the lock was not seen") };
    assert!(reason.contains("locked"), "{reason}");
    drop(other);
    assert_eq!(bench.news(), Report::Recovered { dropped: 0 });
    assert_eq!(bench.store.history(None, 10, None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_row_that_a_sound_file_refuses_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    filled(&path).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER no BEFORE INSERT ON invocations WHEN new.generation = 501
             BEGIN SELECT raise(ABORT, 'not this one'); END",
        )
        .unwrap();
    drop(other);
    let bench = open(&path);
    for n in 500..=502 {
        bench.submit(n, vec![write(n, ended(n, Consequence::Restart))]);
    }
    let Report::Refused { seq, reason } = bench.news() else { panic!("it was not refused") };
    assert_eq!(seq, Some(501));
    assert!(reason.contains("not this one"), "{reason}");
    works(&bench).await;
    let kept: Vec<_> = bench.store.history(None, 3, None).await.unwrap().iter().map(|row| row.generation.0).collect();
    assert_eq!(kept, [9000, 502, 500]);
}
