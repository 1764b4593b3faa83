//! Retention: old rows go, a few at a time; what they had counted stays.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::base::Wall;

/// Rows of each table that one step removes at most; a step is one short transaction. More than are written between
/// two steps, so that a table over its limit shrinks.
pub(super) const STEP_ROWS: u32 = 1024;

/// How long rows are kept. The newest run of each unit, open incidents and waiting messages are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Rows older than this go, but for the newest [`Retention::rows_min`] of each table.
    pub age: Duration,
    /// So many of the newest rows of each table stay however old they look: the clock may have leapt.
    pub rows_min: u32,
    /// So many of the newest rows of each table stay at most.
    pub rows: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(90 * 24 * 3600), rows_min: 5000, rows: 100_000 }
    }
}

/// Removes a few old rows of each table; how many went.
pub(super) fn step(connection: &mut Connection, keep: Retention, now: Wall) -> rusqlite::Result<usize> {
    let age = i64::try_from(keep.age.as_micros()).unwrap_or(i64::MAX);
    let before = now.0.saturating_sub(age);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = runs(&transaction, keep, before)?;
    for (table, key, at, may_go) in [
        ("notices", "id", "at", "true"),
        ("resets", "seq", "at", "true"),
        ("probe_transitions", "seq", "at", "true"),
        ("incidents", "seq", "opened_at", "closed_at IS NOT NULL"),
        ("silences", "id", "until", "true"),
        ("outbox", "seq", "created", "state IN ('delivered', 'failed')"),
    ] {
        let sql = format!(
            "DELETE FROM {table} WHERE {key} IN (
                 SELECT {key} FROM {table}
                 WHERE ({key} <= (SELECT max({key}) FROM {table}) - ?1
                     OR {at} < ?2 AND {key} <= (SELECT max({key}) FROM {table}) - ?4) AND {may_go}
                 ORDER BY {key} LIMIT ?3)"
        );
        gone += transaction.prepare_cached(&sql)?.execute(params![keep.rows, before, STEP_ROWS, keep.rows_min])?;
    }
    transaction.commit()?;
    Ok(gone)
}

/// Ended runs that are not the newest of their unit; their counts move to `pruned`.
fn runs(connection: &Connection, keep: Retention, before: i64) -> rusqlite::Result<usize> {
    connection.execute_batch("CREATE TEMP TABLE IF NOT EXISTS going (seq INTEGER PRIMARY KEY); DELETE FROM going;")?;
    let marked = connection.execute(
        "INSERT INTO going SELECT seq FROM invocations AS old
         WHERE (seq <= (SELECT max(seq) FROM invocations) - ?1
                 OR ended_at < ?2 AND seq <= (SELECT max(seq) FROM invocations) - ?4)
             AND ended_at IS NOT NULL
             AND generation < (SELECT max(generation) FROM invocations WHERE unit = old.unit)
         ORDER BY seq LIMIT ?3",
        params![keep.rows, before, STEP_ROWS, keep.rows_min],
    )?;
    if marked == 0 {
        return Ok(0);
    }
    connection.execute_batch(
        "INSERT INTO pruned (unit, auto_restarts, unhealthy, start_limits)
             SELECT unit, sum(cause IN ('auto-restart', 'external-restart')), sum(cause = 'unhealthy'), sum(consequence = 'start-limit')
             FROM (SELECT unit, ifnull(cause, '') AS cause, ifnull(consequence, '') AS consequence
                   FROM invocations WHERE seq IN (SELECT seq FROM going))
             GROUP BY unit
         ON CONFLICT (unit) DO UPDATE SET
             auto_restarts = auto_restarts + excluded.auto_restarts, unhealthy = unhealthy + excluded.unhealthy,
             start_limits = start_limits + excluded.start_limits;
         DELETE FROM invocations WHERE seq IN (SELECT seq FROM going);",
    )?;
    Ok(marked)
}
