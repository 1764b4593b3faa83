//! The thread that answers questions, begun with the first one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{StoreError, open, queue::Shared};

/// Most questions that wait for an answer.
const READS_WAITING_MAX: usize = 64;
/// An idle reader closes its connection after this, for the sake of memory, and of a writer that needs the file anew.
const IDLE: Duration = Duration::from_secs(5);

/// Runs on the reader's thread; returns whether the file looked damaged.
type Question = Box<dyn FnOnce(Result<&Connection, StoreError>) -> bool + Send>;

#[derive(Debug)]
pub(super) struct Reads {
    path: PathBuf,
    shared: Arc<Shared>,
    questions: Mutex<Option<SyncSender<Question>>>,
}

impl Reads {
    pub(super) const fn new(path: PathBuf, shared: Arc<Shared>) -> Self {
        Self { path, shared, questions: Mutex::new(None) }
    }

    /// Asks on the reader's thread and waits for the answer without blocking ours.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tx, rx) = oneshot::channel();
        let path = self.path.clone();
        let boxed: Question = Box::new(move |connection| {
            let answer = connection
                .and_then(|connection| question(connection).map_err(|source| StoreError::Read { path, source }));
            let damaged = answer.as_ref().is_err_and(looks_damaged);
            // Whoever asked may have gone.
            tx.send(answer).ok();
            damaged
        });
        self.send(boxed)?;
        rx.await.map_err(|_| StoreError::Ended)?
    }

    fn send(&self, question: Question) -> Result<(), StoreError> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = match &*questions {
            Some(tx) => tx,
            None => questions.insert(self.start()?),
        };
        tx.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy(READS_WAITING_MAX),
            TrySendError::Disconnected(_) => StoreError::Ended,
        })
    }

    fn start(&self) -> Result<SyncSender<Question>, StoreError> {
        let (tx, rx) = sync_channel(READS_WAITING_MAX);
        let (path, shared) = (self.path.clone(), Arc::clone(&self.shared));
        let name = "store-reader";
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&path, &shared, &rx))
            .map_err(|source| StoreError::Thread { name, source })?;
        Ok(tx)
    }
}

fn run(path: &Path, shared: &Shared, questions: &Receiver<Question>) {
    let mut open: Option<(u64, Connection)> = None;
    loop {
        let question = match questions.recv_timeout(IDLE) {
            Ok(question) => question,
            Err(RecvTimeoutError::Timeout) => {
                open = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let epoch = shared.epoch.load(Ordering::Acquire);
        if open.as_ref().is_some_and(|(of, _)| *of != epoch) {
            open = None;
        }
        let connection = match &open {
            Some((_, connection)) => Ok(connection),
            None => match open::open_reader(path) {
                Ok(connection) => Ok(&open.insert((epoch, connection)).1),
                Err(source) => Err(StoreError::Open { path: path.to_owned(), source }),
            },
        };
        if question(connection) {
            open = None;
            shared.suspect();
        }
    }
}

fn looks_damaged(error: &StoreError) -> bool {
    let (StoreError::Open { source, .. } | StoreError::Read { source, .. }) = error else { return false };
    // One that cannot be opened may be gone, which the writer mends.
    let bad = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase, ErrorCode::CannotOpen];
    source.sqlite_error_code().is_some_and(|code| bad.contains(&code))
}
