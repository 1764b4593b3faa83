//! A look at the database from outside, while a daemon may use it: nothing of it is changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{error::Trouble, open, schema};
use crate::base::{InvocationId, Wall};

/// A daemon that writes lets us in between.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What a look finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examined {
    /// What `PRAGMA quick_check` says is wrong.
    pub damage: Option<String>,
    /// When its newest notice was written.
    pub newest: Option<Wall>,
    /// Those of the runs asked for that it knows.
    pub runs: BTreeMap<InvocationId, KnownRun>,
}

/// A run that the database knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRun {
    /// Whose.
    pub unit: String,
    /// Whether its end is there too.
    pub ended: bool,
}

/// Opens the database at `path`, checks it, and looks for `runs`.
///
/// # Errors
/// When it cannot be read, in one sentence.
pub fn examine(path: &Path, runs: &BTreeSet<InvocationId>) -> Result<Examined, String> {
    open::fits(path)?;
    look(path, runs).or_else(|error| match Trouble::from(error) {
        Trouble::Damaged(reason) => Ok(Examined { damage: Some(reason), ..Examined::default() }),
        Trouble::Waits(reason) | Trouble::Refuses(reason) => Err(reason),
    })
}

fn look(path: &Path, wanted: &BTreeSet<InvocationId>) -> rusqlite::Result<Examined> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != schema::APPLICATION_ID {
        let damage = Some("it is the database of another program".to_owned());
        return Ok(Examined { damage, ..Examined::default() });
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Examined { damage: Some(verdict), ..Examined::default() });
    }
    let newest: Option<i64> = connection.query_row("SELECT max(at) FROM notices", [], |row| row.get(0))?;
    let mut known = BTreeMap::new();
    let mut all = connection
        .prepare("SELECT invocation, unit, ended_at IS NOT NULL FROM invocations WHERE invocation IS NOT NULL")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str().ok().and_then(InvocationId::parse);
        if let Some(id) = id.filter(|id| wanted.contains(id)) {
            known.insert(id, KnownRun { unit: row.get(1)?, ended: row.get(2)? });
        }
    }
    Ok(Examined { damage: None, newest: newest.map(Wall), runs: known })
}
