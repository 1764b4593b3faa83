//! The tables, and the steps from one version of them to the next.

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as ours (`PRAGMA application_id`): "RNDM".
pub(super) const APPLICATION_ID: i32 = 0x524e_444d;

/// What brings a database to each version from the one before; the first begins an empty one. Only ever add to the end.
pub(super) const STEPS: [(i32, &str); 10] =
    [(1, V1), (2, V2), (3, V3), (4, V4), (5, V5), (6, V6), (7, V7), (8, V8), (9, V9), (10, V10)];
/// The version this program writes (`PRAGMA user_version`).
pub(super) const VERSION: i32 = STEPS[STEPS.len() - 1].0;
/// Times are microseconds since 1970 UTC. `pruned` holds what rows that retention removed had counted.
const V1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE invocations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    unit TEXT NOT NULL, generation INTEGER NOT NULL,
    invocation TEXT, boot_id TEXT, pid INTEGER,
    cause TEXT, cause_detail TEXT, actor TEXT, restarts INTEGER,
    started_at INTEGER, ready_at INTEGER, ended_at INTEGER,
    status_kind TEXT, status_code INTEGER, result TEXT, wanted INTEGER, consequence TEXT,
    cpu_user_us INTEGER, cpu_system_us INTEGER, max_rss_kib INTEGER,
    UNIQUE (unit, generation)
) STRICT;
CREATE TABLE pruned (
    unit TEXT PRIMARY KEY, auto_restarts INTEGER NOT NULL, unhealthy INTEGER NOT NULL, start_limits INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE resets (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    unit TEXT NOT NULL, at INTEGER NOT NULL, actor TEXT NOT NULL,
    restarts INTEGER NOT NULL, starts INTEGER NOT NULL, was_failed INTEGER NOT NULL,
    UNIQUE (unit, at)
) STRICT;
CREATE TABLE probe_transitions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    unit TEXT NOT NULL, generation INTEGER NOT NULL, probe TEXT NOT NULL, at INTEGER NOT NULL,
    healthy INTEGER NOT NULL, reason TEXT,
    UNIQUE (unit, probe, at)
) STRICT;
CREATE TABLE notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL, event TEXT NOT NULL, unit TEXT, generation INTEGER,
    severity TEXT NOT NULL, message TEXT NOT NULL, fields TEXT NOT NULL
) STRICT;
CREATE INDEX notices_of_unit ON notices (unit, id);
CREATE UNIQUE INDEX notices_once ON notices (unit, generation, event)
    WHERE event IN ('run_starting', 'main_started', 'run_ready', 'run_ended');
CREATE TABLE incidents (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, topic TEXT NOT NULL, severity TEXT NOT NULL,
    opened_in INTEGER, nth INTEGER,
    opened_at INTEGER NOT NULL, generation INTEGER NOT NULL, restarts INTEGER NOT NULL, result TEXT,
    text TEXT NOT NULL, reminders INTEGER NOT NULL, told_at INTEGER NOT NULL, told TEXT NOT NULL,
    closed_at INTEGER, closed_how TEXT
) STRICT;
CREATE INDEX incidents_open ON incidents (subject) WHERE closed_at IS NULL;
CREATE INDEX incidents_of_subject ON incidents (subject, opened_in, nth);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, route TEXT NOT NULL, payload TEXT NOT NULL, created INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    possible_duplicate INTEGER NOT NULL DEFAULT 0, reason TEXT
) STRICT;
CREATE INDEX outbox_waiting ON outbox (route, seq) WHERE state IN ('waiting', 'sending');
CREATE TABLE enablement (unit TEXT PRIMARY KEY, enabled INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// When persistent timers last elapsed, or were first armed.
const V2: &str = "
CREATE TABLE timers (unit TEXT PRIMARY KEY, elapsed_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// What people say of alerts; what receivers answer (a thread of Slack); what a run said last.
const V3: &str = "
ALTER TABLE incidents ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incidents ADD COLUMN acknowledged_at INTEGER;
ALTER TABLE incidents ADD COLUMN acknowledged_by TEXT;
ALTER TABLE incidents ADD COLUMN escalated INTEGER NOT NULL DEFAULT 0;
CREATE TABLE silences (
    id INTEGER PRIMARY KEY, pattern TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, by TEXT NOT NULL,
    comment TEXT NOT NULL, maintenance INTEGER NOT NULL
) STRICT;
ALTER TABLE outbox ADD COLUMN incident TEXT;
ALTER TABLE outbox ADD COLUMN receipt TEXT;
CREATE INDEX outbox_receipts ON outbox (route, incident) WHERE receipt IS NOT NULL;
ALTER TABLE invocations ADD COLUMN last_output TEXT;
";

/// How often a dead route refused a message.
const V4: &str = "
ALTER TABLE outbox ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
";

/// What is done about what an incident says.
const V5: &str = "
ALTER TABLE incidents ADD COLUMN remedy TEXT;
";

/// What receivers group the messages of an incident by. What was open before keeps what it was told under.
const V6: &str = "
ALTER TABLE incidents ADD COLUMN dedup_key TEXT;
";

/// What a node does for its fleet, and the plans that are driven from it.
const V7: &str = "
CREATE TABLE fleet_promise (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, owner TEXT NOT NULL) STRICT;
CREATE TABLE fleet_steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    step TEXT NOT NULL UNIQUE, plan TEXT NOT NULL, entry TEXT NOT NULL, over INTEGER NOT NULL
) STRICT;
CREATE TABLE fleet_plans (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, document TEXT NOT NULL, shown TEXT
) STRICT;
CREATE TABLE fleet_journal (
    plan TEXT NOT NULL, nth INTEGER NOT NULL, at INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (plan, nth)
) STRICT, WITHOUT ROWID;
CREATE TABLE fleet_drains (
    pool TEXT NOT NULL, server TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (pool, server)
) STRICT, WITHOUT ROWID;
";

/// How servers were registered that are not any more. A drain is forgotten when its end begins, this when its end is seen.
const V8: &str = "
CREATE TABLE fleet_definitions (
    pool TEXT NOT NULL, server TEXT NOT NULL, definition TEXT NOT NULL, PRIMARY KEY (pool, server)
) STRICT, WITHOUT ROWID;
";

/// What steps that are not over were ordered to do, where the next manager can go on with it.
const V9: &str = "
CREATE TABLE fleet_orders (step TEXT PRIMARY KEY, step_order TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Of services that others on other machines depend on, the last run that those need not be told of any more.
const V10: &str = "
CREATE TABLE fleet_followed (
    service TEXT PRIMARY KEY, unit TEXT NOT NULL, generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Brings the database to [`VERSION`], each step in its own transaction.
pub(super) fn migrate(connection: &mut Connection, from: i32, born: i64) -> rusqlite::Result<()> {
    for (version, step) in STEPS.into_iter().filter(|(version, _)| *version > from) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        if version == 1 {
            // Incidents are named by it. To the microsecond, so that no two of a node share it.
            transaction.execute("INSERT INTO meta VALUES ('born', ?1)", [born])?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// What of a database of [`VERSION`] is not as this program makes it: the first table or index. A flipped bit in the text of
/// a table may leave a file that SQLite finds sound and whose columns have other names.
pub(super) fn difference(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut own = Connection::open_in_memory()?;
    migrate(&mut own, 0, 0)?;
    let (theirs, ours) = (texts(connection)?, texts(&own)?);
    let differs = ours.into_iter().find(|(name, text)| theirs.get(name) != Some(text));
    Ok(differs.map(|(name, _)| String::from_utf8_lossy(&name).into_owned()))
}

/// The text of each table and index by its name, as bytes: what is damaged may be no text.
fn texts(connection: &Connection) -> rusqlite::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut texts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let bytes = |column| {
            row.get_ref(column).map(|value| value.as_bytes_or_null().ok().flatten().unwrap_or_default().to_vec())
        };
        texts.insert(bytes(0)?, bytes(1)?);
    }
    Ok(texts)
}
