//! What lasts: runs, counters, notices, incidents and the outbox of alerts, in one SQLite file.
//!
//! One thread writes, with group commit, WAL and `synchronous=FULL`; another reads. Nothing here blocks or fails its
//! caller: rows wait in memory while the disk is full or the file is locked, and a damaged file is set aside. The
//! writes of one happening stand in one [`Batch`] and become one transaction; every write is idempotent by its key, so
//! a replay after a crash counts and tells nothing twice.
//!
//! Whoever changes this usually breaks one of two rules. After a failed write or fsync the connection is closed
//! without a checkpoint, the file is checked, and its WAL is carried into the database anew, since the page cache may
//! hold what the disk does not. And a connection must never outlive the name of its file: SQLite deletes a WAL by name.

mod error;
mod examine;
mod fleet; // promises, ledger, plans
mod open;
mod outbox;
mod prune;
mod queue;
mod read;
mod reader;
mod rows;
mod schema;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Notify, oneshot};

use crate::{
    alert::{Incident, Message, Silence},
    base::{Notice, Now, RunId, UnitName, Wall},
};

pub use error::StoreError;
pub use examine::{Examined, KnownRun, examine};
pub use fleet::{FleetWrite, KeptPlan};
pub use open::fits;
pub use outbox::{OutboxRow, Told};
pub use prune::Retention;
pub use queue::{ESSENTIALS_WAITING_MAX, NOTICES_WAITING_MAX};
pub use read::{Generations, HISTORY_ROWS_MAX, NoticeRow, ProbeRow, ResetRow, RestartTotals, RunRow, Why};

/// Rows that belong to one happening; they are committed together or not at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Comes back in [`Report::Committed`]; `None` when nobody waits for it.
    pub seq: Option<u64>,
    /// In order.
    pub writes: Vec<Write>,
}

/// One thing to keep.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A happening: its notice, and the rows of the run, reset or probe it speaks of.
    Notice(Box<Notice>),
    /// The present state of an incident. One that is closed stays closed.
    Incident(Box<Incident>),
    /// A message for the outbox, unless one of its id is or was there.
    Message(Box<Message>, Wall),
    /// What became of a message.
    Outbox(OutboxUpdate),
    /// A silence, new or ended early.
    Silence(Box<Silence>),
    /// What a run said last before it ended; written once.
    LastOutput(RunId, String),
    /// Whether the operator wants a unit at daemon start; `None` leaves it to its file.
    Enablement(UnitName, Option<bool>),
    /// When the unit's timer last elapsed.
    Timer(UnitName, Wall),
    /// Of the fleet.
    Fleet(Box<FleetWrite>),
}

impl Write {
    /// The message, if it is one.
    pub const fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message, _) => Some(message),
            Self::Notice(_)
            | Self::Incident(_)
            | Self::Outbox(_)
            | Self::Silence(_)
            | Self::LastOutput(..)
            | Self::Enablement(..)
            | Self::Timer(..)
            | Self::Fleet(_) => None,
        }
    }
}

/// What became of a message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxUpdate {
    /// Which.
    pub id: String,
    /// Where it stands.
    pub state: OutboxState,
    /// How often it was tried.
    pub attempts: u32,
    /// How often a route that is dead refused it.
    pub refused: u32,
    /// Whether an earlier try may have arrived.
    pub possible_duplicate: bool,
    /// What the receiver calls it, or who of several has it.
    pub receipt: Option<String>,
}

/// Where a message in the outbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxState {
    /// To be sent at this time, or later, for this reason.
    Waiting(Wall, String),
    /// Under way. After a crash: it may have arrived.
    Sending,
    /// Arrived.
    Delivered,
    /// Given up, with the reason.
    Failed(String),
}

/// What the store tells whoever opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The batches of these numbers are on disk.
    Committed {
        /// Their numbers, in order.
        seqs: Vec<u64>,
    },
    /// Rows cannot be written and wait.
    Degraded {
        /// Why, for people.
        reason: String,
        /// Messages among them of which nobody knew that they would wait.
        messages: Vec<Message>,
    },
    /// Rows are written again.
    Recovered {
        /// Notices that were dropped meanwhile.
        dropped: u64,
    },
    /// A damaged or foreign file was set aside and a new one begun.
    Replaced {
        /// Where it is kept.
        kept: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// A batch that SQLite refuses in a sound file was dropped: a bug.
    Refused {
        /// Its number.
        seq: Option<u64>,
        /// Why.
        reason: String,
    },
}

/// How the store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database; its folder must exist.
    pub path: PathBuf,
    /// The kernel's boot id, kept with each run.
    pub boot_id: String,
    /// How long rows are kept.
    pub retention: Retention,
    /// Reads the clock, for the names of damaged files.
    pub clock: fn() -> Now,
}

/// What was found at opening.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// Where a damaged or foreign file was put, and what was wrong with it.
    pub quarantined: Option<(PathBuf, String)>,
    /// Why nothing can be written for now.
    pub degraded: Option<String>,
}

/// The door to the store; clones are the same store, and it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Store(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<queue::Shared>,
    reads: reader::Reads,
}

impl Store {
    /// Starts the writer, which opens or begins the database. What it found comes as soon as the disk has answered; if
    /// nobody waits for that any more, as reports. `report` is called on the writer's thread and must not block.
    ///
    /// A file that cannot be used does not stop anyone: see [`Opened`]. The error is that no thread could be started.
    pub fn open(
        options: Options,
        report: impl Fn(Report) + Send + 'static,
    ) -> Result<(Self, oneshot::Receiver<Opened>), StoreError> {
        let shared = Arc::new(queue::Shared::default());
        let reads = reader::Reads::new(options.path.clone(), Arc::clone(&shared));
        let opening = writer::start(options, Arc::clone(&shared), Box::new(report))?;
        Ok((Self(Arc::new(Handle { shared, reads })), opening))
    }

    /// Hands in rows; returns at once and never fails. See [`NOTICES_WAITING_MAX`] and [`ESSENTIALS_WAITING_MAX`] for
    /// what happens when too many wait.
    pub fn submit(&self, batch: Batch) {
        self.0.shared.submit(batch, None);
    }

    /// The messages of rows that were handed in and wait for the writer.
    pub fn messages_waiting(&self) -> Vec<Message> {
        self.0.shared.messages()
    }

    /// Waits until what was handed in before is on disk; whether that came about in time.
    pub async fn flush(&self, within: Duration) -> bool {
        let (tx, rx) = oneshot::channel();
        self.0.shared.submit(Batch::default(), Some(tx));
        matches!(tokio::time::timeout(within, rx).await, Ok(Ok(())))
    }

    /// Ends the writer when all that waits is on disk, or cannot be written; whether it ended in time. What is handed in
    /// afterwards is not kept.
    pub async fn close(&self, within: Duration) -> bool {
        let mut ended = self.0.shared.ended.subscribe();
        self.0.shared.close();
        tokio::time::timeout(within, ended.wait_for(|ended| *ended)).await.is_ok()
    }

    /// Told whenever messages came into the outbox.
    pub fn outbox_filled(&self) -> &Notify {
        &self.0.shared.outbox_filled
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Takes the write lock as another program would; until what it returns is dropped.
#[cfg(test)]
pub(in crate::edge) fn lock(path: &std::path::Path) -> impl Drop + use<> {
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM notices").unwrap();
    other
}

#[cfg(test)]
mod tests;
