//! Opening a database that may be new, sound, damaged, foreign or out of reach; setting a damaged one aside.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    error::Trouble,
    schema::{self, APPLICATION_ID, VERSION},
};
use crate::base::Wall;

/// How long a statement waits for someone else's lock before the store calls itself degraded.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of one connection, as `PRAGMA cache_size` takes it: KiB, negative.
const CACHE_KIB: i32 = -256;
/// What the WAL file is cut to after a checkpoint.
const WAL_BYTES_KEPT: i64 = 4 << 20;
/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 24;
/// Damaged files that are kept; past it the oldest are deleted, so that a dying disk is not filled with copies.
const DAMAGED_KEPT: usize = 4;

/// How much a file is distrusted when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// At start: pages and records are looked at.
    First,
    /// After a failure: as at start, and what its WAL holds must come into the database before anything is said to last.
    Again,
    /// A sound statement was refused: also that indexes say what their tables say.
    Full,
}

/// Opens the database for the writer, begins it if it is not there, checks it and brings its tables up to date. `born` is what
/// tells one that begins now from others.
pub(super) fn open(path: &Path, check: Check, born: i64) -> Result<Connection, Trouble> {
    let created =
        begin_file(path).map_err(|error| Trouble::Waits(format!("cannot create {}: {error}", path.display())))?;
    let mut connection = connect(path)?;
    let version = identify(&connection)?;
    if version > 0 {
        verify(&connection, check)?;
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    if (1..VERSION).contains(&version) {
        keep_before_migration(&connection, path, version)?;
    }
    schema::migrate(&mut connection, version, born).map_err(refused_is_damage)?;
    if let Some(name) = schema::difference(&connection)? {
        return Err(Trouble::Damaged(format!("its {name} is missing or not as it was made")));
    }
    make_last(&connection, check)?;
    if created {
        sync_folder(path);
    }
    Ok(connection)
}

/// What an earlier process or connection wrote may stand in the page cache alone, and a replay of it will change
/// nothing and sync nothing. So each opening syncs the WAL by a write of its own; and after a failed sync, when the
/// kernel takes lost pages for clean ones, the WAL's frames must be copied out of the cache into the database.
fn make_last(connection: &Connection, check: Check) -> Result<(), Trouble> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy && check != Check::First {
        return Err(Trouble::Waits("someone reads the database, so its WAL cannot be emptied".to_owned()));
    }
    connection
        .execute("INSERT INTO meta VALUES ('opened', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1", [])
        .map_err(refused_is_damage)?;
    Ok(())
}

/// For statements that cannot fail on a file that is what it says it is.
fn refused_is_damage(error: rusqlite::Error) -> Trouble {
    match Trouble::from(error) {
        Trouble::Refuses(reason) => Trouble::Damaged(reason),
        trouble @ (Trouble::Damaged(_) | Trouble::Waits(_)) => trouble,
    }
}

fn newer(version: i32) -> String {
    format!("its version {version} is newer than {VERSION}, the newest that this program knows")
}

/// A copy of the database as it is before its tables are changed, for whoever has to go back to the release that wrote it. No
/// copy, no change.
pub(super) fn keep_before_migration(connection: &Connection, path: &Path, version: i32) -> Result<(), Trouble> {
    let copy = beside(path, &format!(".version-{version}"));
    let failed = |reason: &dyn std::fmt::Display| {
        Trouble::Waits(format!("cannot copy it to {} before its tables are changed: {reason}", copy.display()))
    };
    match fs::remove_file(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
        Ok(()) | Err(_) => {}
    }
    // Made first, so that it is its owner's alone; SQLite takes an empty file for none.
    begin_file(&copy).map_err(|error| failed(&error))?;
    let name = copy.to_str().ok_or_else(|| failed(&"its path is no text"))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| failed(&error))?;
    sync_folder(path);
    Ok(())
}

/// What tells one file from another that has its name later.
pub(super) type FileId = (u64, u64);

/// Which file has the name, if one has.
pub(super) fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Writes all that a connection sees to `path`, whose file somebody has removed: the file lives on as long as it is open.
pub(super) fn write_anew(connection: &Connection, path: &Path) -> Result<(), Trouble> {
    let failed = |reason: &dyn std::fmt::Display| {
        Trouble::Waits(format!("cannot write {} anew, which somebody removed: {reason}", path.display()))
    };
    let copy = beside(path, ".anew");
    // The WAL that may have stayed belongs to what was removed.
    for left in [copy.clone(), beside(path, "-wal"), beside(path, "-shm")] {
        match fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            Ok(()) | Err(_) => {}
        }
    }
    begin_file(&copy).map_err(|error| failed(&error))?;
    let name = copy.to_str().ok_or_else(|| failed(&"its path is no text"))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| failed(&error))?;
    fs::rename(&copy, path).map_err(|error| failed(&error))?;
    sync_folder(path);
    Ok(())
}

/// Whether this program can use the database at `path`, of which nothing is changed; else why not. One that is not there, is
/// damaged or out of reach is no reason against it: the store deals with those.
pub fn fits(path: &Path) -> Result<(), String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(connection) = Connection::open_with_flags(path, flags) else { return Ok(()) };
    connection.busy_timeout(BUSY_TIMEOUT).ok();
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    match (number("PRAGMA application_id"), number("PRAGMA user_version")) {
        (Ok(APPLICATION_ID), Ok(version)) if version > VERSION => Err(format!(
            "cannot use {}: {}; run the release that wrote it, or put the copy {} in its place, which knows nothing of what \
             happened since",
            path.display(),
            newer(version),
            beside(path, &format!(".version-{VERSION}")).display()
        )),
        _ => Ok(()),
    }
}

/// Opens a second connection that only asks.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // SQLite deletes the WAL by name when the last connection closes, and by then the name may be another file's.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.query_row("PRAGMA mmap_size = 0", [], |_| Ok(())).or_else(no_row_is_fine)?;
    connection.query_row(&format!("PRAGMA journal_size_limit = {WAL_BYTES_KEPT}"), [], |_| Ok(()))?;
    Ok(connection)
}

fn no_row_is_fine(error: rusqlite::Error) -> rusqlite::Result<()> {
    if matches!(error, rusqlite::Error::QueryReturnedNoRows) { Ok(()) } else { Err(error) }
}

/// Makes the file, readable for its owner alone; whether it was not there.
fn begin_file(path: &Path) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The version of a database of ours; 0 for an empty one.
fn identify(connection: &Connection) -> Result<i32, Trouble> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let objects = number("SELECT count(*) FROM sqlite_schema")?;
    match (application, objects) {
        (0, 0) if version == 0 => Ok(0),
        // Not damage: whoever wrote it is missed, not the rows. What was there when its tables were changed is beside it.
        (APPLICATION_ID, _) if version > VERSION => Err(Trouble::Waits(newer(version))),
        (APPLICATION_ID, _) if version > 0 => Ok(version),
        _ => Err(Trouble::Damaged("it is the database of another program".to_owned())),
    }
}

fn verify(connection: &Connection, check: Check) -> Result<(), Trouble> {
    let pragma = match check {
        Check::First | Check::Again => "PRAGMA quick_check(1)",
        Check::Full => "PRAGMA integrity_check(1)",
    };
    let verdict: String = connection.query_row(pragma, [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Trouble::Damaged(verdict)) }
}

/// Renames a damaged database and its WAL; where it is now. No connection of ours may be open that would touch the
/// names on close.
pub(super) fn set_aside(path: &Path, at: Wall) -> io::Result<PathBuf> {
    let kept = free_name(path, at);
    fs::rename(path, &kept)?;
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&kept, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    sync_folder(path);
    forget_oldest(path);
    Ok(kept)
}

fn free_name(path: &Path, at: Wall) -> PathBuf {
    let time = jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |moment| moment.strftime("%Y%m%dT%H%M%SZ").to_string());
    let name = |n: u32| beside(path, &if n == 0 { format!(".damaged-{time}") } else { format!(".damaged-{time}-{n}") });
    (0..).map(name).find(|candidate| !candidate.exists()).unwrap_or_else(|| name(0))
}

fn forget_oldest(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    let prefix = format!("{name}.damaged-");
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_kept = |name: &String| name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm");
    let mut kept: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(is_kept).collect();
    kept.sort();
    let excess = kept.len().saturating_sub(DAMAGED_KEPT);
    for name in kept.iter().take(excess) {
        for suffix in ["", "-wal", "-shm"] {
            // What cannot be deleted now is tried again with the next damaged file.
            fs::remove_file(folder.join(format!("{name}{suffix}"))).ok();
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes the names in the folder last. A folder that cannot be synced is no reason to keep nothing at all.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}
