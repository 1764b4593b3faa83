//! What lasts of a fleet: to whom this node is promised, what it did, and the plans that were driven from here.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{Store, StoreError, read::list, rows::Pass};
use crate::{
    base::{Generation, UnitName, Wall},
    fleet::{Entry, Event, LEDGER_MAX, PlanId, PoolName, Row, ServiceName, StepId, StepOrder, Token},
};

/// Most plans that are remembered.
const PLANS_MAX: u32 = 200;

/// One thing of a fleet to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetWrite {
    /// A new life of this node begins, by its number.
    Life(u64),
    /// What the node's side wants kept.
    Row(Row),
    /// What a step is to do that is about to begin; with its end in the ledger it is forgotten.
    Order(Box<StepOrder>),
    /// Nobody goes on with a step.
    LeftUndone(StepId),
    /// Up to which run of its unit those that depend on a service need not be told of its restarts; none says that nobody depends
    /// on it any more.
    Followed {
        /// Which.
        service: ServiceName,
        /// Its unit, and that run.
        up_to: Option<(UnitName, Generation)>,
    },
    /// A server of a load balancer here is to take no requests, or may again.
    Drain {
        /// Of which pool.
        pool: PoolName,
        /// What it is called there.
        server: Box<str>,
        /// Since when; none says that it may.
        since: Option<Wall>,
    },
    /// How a server is registered, which is about to be deregistered.
    Definition {
        /// In which pool.
        pool: PoolName,
        /// What it is called there.
        server: Box<str>,
        /// It, as it is given to whoever registers it; none says that it is registered again.
        definition: Option<String>,
    },
    /// A plan is driven from here, or was copied from whoever drives it.
    Plan {
        /// Which.
        id: PlanId,
        /// When it was made.
        at: Wall,
        /// The whole of it, as it is sent.
        document: String,
    },
    /// A plan as people saw it last.
    Shown {
        /// Which.
        id: PlanId,
        /// It.
        text: String,
    },
    /// The next word of its journal, by its place there.
    Event {
        /// Of which plan.
        plan: PlanId,
        /// Which word it is.
        nth: u64,
        /// When it was said.
        at: Wall,
        /// It.
        event: Event,
    },
}

/// A plan and its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPlan {
    /// Which.
    pub id: PlanId,
    /// When it was made.
    pub at: Wall,
    /// The whole of it, as it is sent.
    pub document: String,
    /// As people saw it last.
    pub shown: Option<String>,
    /// What was said of it.
    pub journal: Vec<(Wall, Event)>,
}

impl Store {
    /// The number of this node's last life.
    pub async fn fleet_life(&self) -> Result<u64, StoreError> {
        let life = |connection: &Connection| {
            let found = list(connection, "SELECT value FROM meta WHERE key = 'fleet_life'", [], |row| row.get(0))?;
            Ok(found.first().copied().map_or(0, i64::cast_unsigned))
        };
        self.0.reads.ask(life).await
    }

    /// What the node's side had kept, in the order in which it was.
    pub async fn fleet_rows(&self) -> Result<Vec<Row>, StoreError> {
        self.0.reads.ask(rows).await
    }

    /// What steps are to do that were begun and are not over, as far as someone can go on with them. What cannot be read was
    /// written by another release, and is left undone.
    pub async fn fleet_orders(&self) -> Result<BTreeMap<StepId, Option<StepOrder>>, StoreError> {
        let orders = |connection: &Connection| {
            let found = list(connection, "SELECT step, step_order FROM fleet_orders", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })?;
            let order = |(step, order): (String, String)| Some((step.parse().ok()?, serde_json::from_str(&order).ok()));
            Ok(found.into_iter().filter_map(order).collect())
        };
        self.0.reads.ask(orders).await
    }

    /// Up to which run of its unit those that depend on each service need not be told of its restarts.
    pub async fn fleet_followed(&self) -> Result<BTreeMap<ServiceName, (UnitName, Generation)>, StoreError> {
        let followed = |connection: &Connection| {
            let found = list(connection, "SELECT service, unit, generation FROM fleet_followed", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })?;
            let known = |(service, unit, generation): (String, String, i64)| {
                let unit = UnitName::new(&unit).ok()?;
                Some((service.parse().ok()?, (unit, Generation(generation.cast_unsigned()))))
            };
            Ok(found.into_iter().filter_map(known).collect())
        };
        self.0.reads.ask(followed).await
    }

    /// The servers that are to take no requests.
    pub async fn fleet_drains(&self) -> Result<Vec<(PoolName, Box<str>)>, StoreError> {
        let drains = |connection: &Connection| {
            let found = list(connection, "SELECT pool, server FROM fleet_drains", [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Box<str>>(1)?))
            })?;
            Ok(found.into_iter().filter_map(|(pool, server)| Some((pool.parse().ok()?, server))).collect())
        };
        self.0.reads.ask(drains).await
    }

    /// How the servers of a pool were registered that are not any more.
    pub async fn fleet_definitions(&self, pool: PoolName) -> Result<BTreeMap<Box<str>, String>, StoreError> {
        let definitions = move |connection: &Connection| {
            let query = "SELECT server, definition FROM fleet_definitions WHERE pool = ?1";
            let found = list(connection, query, [pool.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(found.into_iter().collect())
        };
        self.0.reads.ask(definitions).await
    }

    /// The newest plans, the newest first.
    pub async fn fleet_plans(&self) -> Result<Vec<KeptPlan>, StoreError> {
        self.0.reads.ask(plans).await
    }
}

fn rows(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let promises = list(connection, "SELECT epoch, owner FROM fleet_promise", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let promise = |(epoch, owner): (i64, String)| {
        let owner = u128::from_str_radix(&owner, 16).ok()?;
        Some(Row::Promise(Token { epoch: epoch.cast_unsigned(), owner }))
    };
    let steps = list(connection, "SELECT step, plan, entry FROM fleet_steps ORDER BY seq", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    // What cannot be read was not written by us; a step that is not known is not begun again either: its driver sees
    // that the node has no word of it.
    let step = |(step, plan, entry): (String, String, String)| {
        Some(Row::Step(step.parse().ok()?, plan.parse().ok()?, serde_json::from_str(&entry).ok()?))
    };
    Ok(promises.into_iter().filter_map(promise).chain(steps.into_iter().filter_map(step)).collect())
}

fn plans(connection: &Connection) -> rusqlite::Result<Vec<KeptPlan>> {
    let mut journals: BTreeMap<String, Vec<(Wall, Event)>> = BTreeMap::new();
    let words = list(connection, "SELECT plan, at, event FROM fleet_journal ORDER BY plan, nth", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?))
    })?;
    for (plan, at, event) in words {
        if let Ok(event) = serde_json::from_str(&event) {
            journals.entry(plan).or_default().push((Wall(at), event));
        }
    }
    let kept = list(connection, "SELECT id, at, document, shown FROM fleet_plans ORDER BY seq DESC", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let plan = |(text, at, document, shown): (String, i64, String, Option<String>)| {
        let journal = journals.remove(&text).unwrap_or_default();
        Some(KeptPlan { id: text.parse().ok()?, at: Wall(at), document, shown, journal })
    };
    Ok(kept.into_iter().filter_map(plan).collect())
}

impl Pass<'_> {
    pub(super) fn fleet(&self, write: &FleetWrite) -> rusqlite::Result<()> {
        match write {
            FleetWrite::Life(life) => self.execute(
                "INSERT INTO meta (key, value) VALUES ('fleet_life', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                params![life.cast_signed()],
            ),
            FleetWrite::Row(Row::Promise(token)) => self.execute(
                "INSERT INTO fleet_promise (one, epoch, owner) VALUES (1, ?1, ?2)
                 ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner",
                params![token.epoch.cast_signed(), format!("{:032x}", token.owner)],
            ),
            FleetWrite::Row(Row::Step(step, plan, entry)) => self.step(*step, *plan, entry),
            FleetWrite::Order(order) => self.execute(
                "INSERT INTO fleet_orders (step, step_order) VALUES (?1, ?2) ON CONFLICT (step) DO NOTHING",
                params![order.id.to_string(), json(order)],
            ),
            FleetWrite::LeftUndone(step) => self.leave_undone(*step),
            FleetWrite::Followed { service, up_to: Some((unit, generation)) } => self.execute(
                "INSERT INTO fleet_followed (service, unit, generation) VALUES (?1, ?2, ?3)
                 ON CONFLICT (service) DO UPDATE SET unit = excluded.unit, generation = excluded.generation",
                params![service.as_str(), unit.as_str(), generation.0.cast_signed()],
            ),
            FleetWrite::Followed { service, up_to: None } => {
                self.execute("DELETE FROM fleet_followed WHERE service = ?1", params![service.as_str()])
            }
            FleetWrite::Plan { id, at, document } => {
                self.execute(
                    "INSERT INTO fleet_plans (id, at, document) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
                    params![id.to_string(), at.0, document],
                )?;
                self.execute(
                    "DELETE FROM fleet_plans WHERE seq <= (SELECT max(seq) FROM fleet_plans) - ?1",
                    params![PLANS_MAX],
                )?;
                self.execute("DELETE FROM fleet_journal WHERE plan NOT IN (SELECT id FROM fleet_plans)", [])
            }
            FleetWrite::Drain { pool, server, since: Some(since) } => self.execute(
                "INSERT INTO fleet_drains (pool, server, at) VALUES (?1, ?2, ?3) ON CONFLICT (pool, server) DO NOTHING",
                params![pool.as_str(), server, since.0],
            ),
            FleetWrite::Drain { pool, server, since: None } => {
                self.execute("DELETE FROM fleet_drains WHERE pool = ?1 AND server = ?2", params![pool.as_str(), server])
            }
            FleetWrite::Definition { pool, server, definition: Some(definition) } => self.execute(
                "INSERT INTO fleet_definitions (pool, server, definition) VALUES (?1, ?2, ?3)
                 ON CONFLICT (pool, server) DO UPDATE SET definition = excluded.definition",
                params![pool.as_str(), server, definition],
            ),
            FleetWrite::Definition { pool, server, definition: None } => self.execute(
                "DELETE FROM fleet_definitions WHERE pool = ?1 AND server = ?2",
                params![pool.as_str(), server],
            ),
            FleetWrite::Shown { id, text } => {
                self.execute("UPDATE fleet_plans SET shown = ?2 WHERE id = ?1", params![id.to_string(), text])
            }
            FleetWrite::Event { plan, nth, at, event } => self.execute(
                "INSERT INTO fleet_journal (plan, nth, at, event) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (plan, nth) DO NOTHING",
                params![plan.to_string(), nth.cast_signed(), at.0, json(event)],
            ),
        }
        .map(drop)
    }

    fn step(&self, step: StepId, plan: PlanId, entry: &Entry) -> rusqlite::Result<usize> {
        // An end is never taken back.
        let is_over = matches!(entry, Entry::Over(_));
        self.execute(
            "INSERT INTO fleet_steps (step, plan, entry, over) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (step) DO UPDATE SET entry = excluded.entry, over = excluded.over
             WHERE excluded.over >= over",
            params![step.to_string(), plan.to_string(), json(entry), is_over],
        )?;
        if is_over {
            self.leave_undone(step)?;
        }
        self.execute(
            "DELETE FROM fleet_steps WHERE seq <= (SELECT max(seq) FROM fleet_steps) - ?1 AND over",
            params![i64::try_from(LEDGER_MAX).unwrap_or(i64::MAX)],
        )
    }

    fn leave_undone(&self, step: StepId) -> rusqlite::Result<usize> {
        self.execute("DELETE FROM fleet_orders WHERE step = ?1", params![step.to_string()])
    }
}

/// Our own types have no map without text keys and no number that JSON lacks, so this cannot fail.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
