//! What waits in the outbox, and what became of what was told.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use super::{
    Store, StoreError,
    read::{HISTORY_ROWS_MAX, list},
};
use crate::{alert::RouteName, base::Wall};

/// One message that waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id.
    pub id: String,
    /// The message as JSON.
    pub payload: String,
    /// When it was put there.
    pub created: Wall,
    /// Tries so far.
    pub attempts: u32,
    /// How often a route that is dead refused it.
    pub refused: u32,
    /// Why the last try failed.
    pub reason: Option<String>,
    /// Not before this.
    pub next_try: Wall,
    /// It was being sent when it was last heard of.
    pub sending: bool,
    /// An earlier try may have arrived.
    pub possible_duplicate: bool,
    /// What the receiver said of it.
    pub receipt: Option<String>,
}

impl Store {
    /// What a receiver called the first message of an incident that it took from this route.
    pub async fn receipt(&self, route: RouteName, incident: String) -> Result<Option<String>, StoreError> {
        let sql = "SELECT receipt FROM outbox WHERE route = ?1 AND incident = ?2 AND receipt IS NOT NULL ORDER BY seq LIMIT 1";
        let read = move |connection: &Connection| {
            Ok(list(connection, sql, params![route.as_str(), incident], |row| row.get(0))?.pop())
        };
        self.0.reads.ask(read).await
    }

    /// Whether a route was given a message of an incident.
    pub async fn was_told(&self, route: RouteName, incident: String) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM outbox WHERE route = ?1 AND incident = ?2 LIMIT 1";
        let read = move |connection: &Connection| {
            Ok(!list(connection, sql, params![route.as_str(), incident], |row| row.get::<_, i64>(0))?.is_empty())
        };
        self.0.reads.ask(read).await
    }

    /// By incident, the routes that have yet to take a message of it.
    pub async fn untaken(&self) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
        let sql = "SELECT DISTINCT incident, route FROM outbox
                   WHERE state IN ('waiting', 'sending') AND incident IS NOT NULL";
        let read = move |connection: &Connection| {
            let mut untaken = BTreeMap::<String, BTreeSet<String>>::new();
            for (incident, route) in list(connection, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))? {
                untaken.entry(incident).or_default().insert(route);
            }
            Ok(untaken)
        };
        self.0.reads.ask(read).await
    }

    /// By route, how many messages it has yet to take.
    pub async fn waiting(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql = "SELECT route, count(*) FROM outbox WHERE state IN ('waiting', 'sending') GROUP BY route";
        let read = move |connection: &Connection| {
            let rows = list(connection, sql, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            Ok(rows.into_iter().map(|(route, count)| (route, u64::try_from(count).unwrap_or(0))).collect())
        };
        self.0.reads.ask(read).await
    }

    /// Messages of a route that are not delivered nor given up, oldest first, at most `limit`.
    pub async fn outbox_waiting(&self, route: RouteName, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let limit = limit.min(HISTORY_ROWS_MAX);
        self.0.reads.ask(move |connection| outbox_waiting(connection, &route, limit)).await
    }
}

fn outbox_waiting(connection: &Connection, route: &RouteName, limit: u32) -> rusqlite::Result<Vec<OutboxRow>> {
    list(
        connection,
        "SELECT id, payload, created, attempts, next_try, state = 'sending', possible_duplicate, refused, reason, receipt
         FROM outbox
         WHERE route = ?1 AND state IN ('waiting', 'sending') ORDER BY seq LIMIT ?2",
        params![route.as_str(), limit],
        |row| {
            Ok(OutboxRow {
                id: row.get(0)?,
                payload: row.get(1)?,
                created: Wall(row.get(2)?),
                attempts: row.get(3)?,
                next_try: Wall(row.get(4)?),
                sending: row.get(5)?,
                possible_duplicate: row.get(6)?,
                refused: row.get(7)?,
                reason: row.get(8)?,
                receipt: row.get(9)?,
            })
        },
    )
}
