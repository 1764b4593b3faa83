//! The thread that writes: it groups what waits into transactions, and knows what to do when one fails.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    Opened, Options, Report, StoreError,
    error::Trouble,
    open::{self, Check},
    prune,
    queue::{CALM, Entry, Shared, Wake},
    rows::Pass,
};
use crate::{base::Mono, edge::clock};

/// The first wait after a failure; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Rows that are written between two looks for old ones.
const PRUNE_EVERY_ROWS: usize = 512;
/// How often an idle writer looks whether its file is still there, and how often for old rows.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How soon it looks again when it did not find the end of them; the pause leaves the disk to others.
const PRUNE_AGAIN: Duration = Duration::from_millis(200);
/// Tries that a closing store still makes for what waits.
const CLOSING_TRIES: u32 = 2;

pub(super) type Reporter = Box<dyn Fn(Report) + Send>;

/// Starts the thread, which opens the database first.
pub(super) fn start(
    options: Options,
    shared: Arc<Shared>,
    report: Reporter,
) -> Result<oneshot::Receiver<Opened>, StoreError> {
    let writer = Writer {
        options,
        shared,
        report,
        connection: None,
        file: None,
        pending: Vec::new(),
        degraded: false,
        failures: 0,
        refusals: 0,
        rows_since_prune: 0,
        more_to_prune: false,
        pruned_at: None,
    };
    let (opened, opening) = oneshot::channel();
    let name = "store-writer";
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || writer.run(opened))
        .map_err(|source| StoreError::Thread { name, source })?;
    Ok(opening)
}

struct Writer {
    options: Options,
    shared: Arc<Shared>,
    report: Reporter,
    connection: Option<Connection>,
    /// The file that it has open.
    file: Option<open::FileId>,
    /// Taken from the queue and not yet on disk.
    pending: Vec<Entry>,
    degraded: bool,
    /// Failures in a row.
    failures: u32,
    /// Statements refused in a row: first the group is split, then the file is looked at, then the row must go.
    refusals: u32,
    rows_since_prune: usize,
    /// More old rows are there than the last look removed.
    more_to_prune: bool,
    pruned_at: Option<Mono>,
}

impl Writer {
    fn open_first(&mut self) -> Opened {
        let mut opened = Opened::default();
        let trouble = match self.open(Check::First) {
            Ok(()) => return opened,
            Err(Trouble::Damaged(reason)) => match self.set_aside() {
                Ok(kept) => {
                    opened.quarantined = Some((kept, reason));
                    match self.open(Check::First) {
                        Ok(()) => return opened,
                        Err(trouble) => trouble,
                    }
                }
                Err(trouble) => trouble,
            },
            Err(trouble) => trouble,
        };
        opened.degraded = Some(trouble.into_reason());
        self.degraded = true;
        self.failures = 1;
        opened
    }

    fn run(mut self, opened: oneshot::Sender<Opened>) {
        let found = self.open_first();
        if let Err(Opened { quarantined, degraded }) = opened.send(found) {
            // Too late for whoever asked, who went on without.
            if let Some((kept, reason)) = quarantined {
                (self.report)(Report::Replaced { kept, reason });
            }
            if let Some(reason) = degraded {
                (self.report)(Report::Degraded { reason, messages: Vec::new() });
            }
            self.degraded = true;
        }
        self.write_until_closed();
        self.connection = None;
        self.shared.ended.send_replace(true);
    }

    fn write_until_closed(&mut self) {
        loop {
            let limit = match (&self.connection, self.more_to_prune) {
                (None, _) => Duration::ZERO,
                (Some(_), true) => PRUNE_AGAIN,
                (Some(_), false) => LOOK_EVERY,
            };
            let wake = if self.pending.is_empty() { self.shared.wait(Some(limit)) } else { Wake::Work };
            if wake == Wake::Close {
                return;
            }
            if wake == Wake::Work && self.pending.is_empty() {
                self.shared.gather(CALM);
            }
            let is_suspect = self.shared.take_suspect();
            let went_well = match self.keep_file(is_suspect) {
                Ok(()) => self.work(wake).map_err(|trouble| self.went_wrong(trouble)).is_ok(),
                // Nothing is given up that is open here alone.
                Err(trouble) => {
                    self.failures += 1;
                    self.degrade(trouble.into_reason());
                    false
                }
            };
            if went_well {
                self.went_well();
            } else if self.shared.pause(self.backoff()) && self.failures >= CLOSING_TRIES {
                return;
            }
        }
    }

    /// Writes what is open down anew where somebody has removed the file; gives a file up for the one that is in its place, or
    /// when it is not trusted any more.
    fn keep_file(&mut self, is_suspect: bool) -> Result<(), Trouble> {
        let Some(connection) = &self.connection else { return Ok(()) };
        match open::file_id(&self.options.path) {
            found @ Some(_) if found == self.file && !is_suspect => return Ok(()),
            Some(_) => {}
            None => {
                open::write_anew(connection, &self.options.path)?;
                self.degrade("somebody removed its file; it is written anew from what was open".to_owned());
            }
        }
        self.connection = None;
        self.shared.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn work(&mut self, wake: Wake) -> Result<(), Trouble> {
        if self.connection.is_none() {
            self.open(if self.refusals > 1 { Check::Full } else { Check::Again })?;
        }
        if wake == Wake::Work {
            self.commit()?;
        }
        let mono = clock::now().mono;
        let is_due = self.more_to_prune || self.pruned_at.is_none_or(|at| mono.since(at) >= PRUNE_EVERY);
        if (wake == Wake::Look && is_due) || self.rows_since_prune >= PRUNE_EVERY_ROWS {
            self.rows_since_prune = 0;
            self.pruned_at = Some(mono);
            let now = (self.options.clock)().wall;
            if let Some(connection) = &mut self.connection {
                let gone = prune::step(connection, self.options.retention, now)?;
                self.more_to_prune = gone >= prune::STEP_ROWS as usize;
            }
        }
        Ok(())
    }

    /// One transaction with all that waits, up to its limit.
    fn commit(&mut self) -> Result<(), Trouble> {
        if self.pending.is_empty() {
            self.pending = self.shared.take(usize::MAX);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        // After a refusal each batch goes alone, so that a bad one takes no other with it.
        let group = if self.refusals == 0 { self.pending.len() } else { self.pending.len().min(1) };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut pass = Pass::new(&transaction, &self.options.boot_id);
        for entry in self.pending.iter().take(group) {
            pass.batch(&entry.batch.writes)?;
        }
        let outbox_filled = pass.outbox_filled;
        transaction.commit()?;
        let rest = self.pending.split_off(group);
        let written = std::mem::replace(&mut self.pending, rest);
        self.rows_since_prune += written.iter().map(|entry| entry.batch.writes.len()).sum::<usize>();
        let seqs: Vec<u64> = written.iter().filter_map(|entry| entry.batch.seq).collect();
        if !seqs.is_empty() {
            (self.report)(Report::Committed { seqs });
        }
        for done in written.into_iter().filter_map(|entry| entry.done) {
            // Whoever waited may have given up.
            done.send(()).ok();
        }
        if outbox_filled {
            self.shared.outbox_filled.notify_waiters();
        }
        Ok(())
    }

    fn went_well(&mut self) {
        self.failures = 0;
        if self.pending.is_empty() {
            self.refusals = 0;
        }
        if std::mem::take(&mut self.degraded) {
            (self.report)(Report::Recovered { dropped: self.shared.take_dropped() });
        }
    }

    fn went_wrong(&mut self, trouble: Trouble) {
        self.failures += 1;
        // A connection that failed is never trusted again: the next one checks the file. Nor is the reader's: what SQLite
        // found read-only stays so for the process until the last connection is closed.
        self.connection = None;
        self.shared.epoch.fetch_add(1, Ordering::AcqRel);
        match trouble {
            Trouble::Damaged(reason) => match self.set_aside() {
                Ok(kept) => {
                    (self.report)(Report::Replaced { kept, reason });
                    self.failures = 0;
                }
                Err(trouble) => self.degrade(trouble.into_reason()),
            },
            Trouble::Waits(reason) => self.degrade(reason),
            Trouble::Refuses(reason) => {
                self.refusals += 1;
                if self.refusals > 2 {
                    self.drop_refused(reason);
                }
            }
        }
    }

    fn drop_refused(&mut self, reason: String) {
        self.refusals = 1;
        if self.pending.is_empty() {
            return self.degrade(reason);
        }
        let refused = self.pending.remove(0);
        (self.report)(Report::Refused { seq: refused.batch.seq, reason });
    }

    fn degrade(&mut self, reason: String) {
        if !std::mem::replace(&mut self.degraded, true) {
            let messages = self.pending.iter().flat_map(Entry::messages).collect();
            (self.report)(Report::Degraded { reason, messages });
        }
    }

    fn backoff(&self) -> Duration {
        if self.failures == 0 || !self.degraded && self.refusals > 0 {
            return Duration::ZERO;
        }
        let doubled = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        BACKOFF_MIN.saturating_mul(doubled).min(BACKOFF_MAX)
    }

    fn open(&mut self, check: Check) -> Result<(), Trouble> {
        let now = (self.options.clock)().wall;
        self.connection = Some(open::open(&self.options.path, check, now.0)?);
        self.file = open::file_id(&self.options.path);
        Ok(())
    }

    fn set_aside(&mut self) -> Result<PathBuf, Trouble> {
        self.connection = None;
        let now = (self.options.clock)().wall;
        let path = &self.options.path;
        let kept = open::set_aside(path, now)
            .map_err(|error| Trouble::Waits(format!("cannot set {} aside: {error}", path.display())))?;
        self.shared.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(kept)
    }
}
