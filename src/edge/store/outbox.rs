//! What waits in the outbox, and what became of what was told.

use std::collections::BTreeMap;

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

/// What became of the messages of an incident for one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The incident.
    pub incident: String,
    /// The route.
    pub route: String,
    /// Whose fallback it is for these: that route did not take them in time.
    pub fallback_of: Option<String>,
    /// It has yet to take one.
    pub waits: bool,
    /// It has taken one.
    pub taken: bool,
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

    /// What became of the messages of these incidents, for each route.
    pub async fn told(&self, incidents: Vec<String>) -> Result<Vec<Told>, StoreError> {
        let sql = "SELECT incident, route, CASE WHEN json_valid(payload) THEN payload ->> 'fallback_of' END AS instead_of,
                   max(state IN ('waiting', 'sending')), max(state = 'delivered')
                   FROM outbox WHERE incident IN (SELECT value FROM json_each(?1)) GROUP BY incident, route, instead_of";
        let incidents = serde_json::Value::from(incidents).to_string();
        let read = move |connection: &Connection| {
            list(connection, sql, [incidents], |row| {
                Ok(Told {
                    incident: row.get(0)?,
                    route: row.get(1)?,
                    fallback_of: row.get(2)?,
                    waits: row.get(3)?,
                    taken: row.get(4)?,
                })
            })
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
