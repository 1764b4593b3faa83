//! What waits to be written, bounded.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, oneshot, watch};

use super::{Batch, Write};
use crate::{alert::Message, base::Happening};

/// Most notices that wait which are only for reading; the newest past it are dropped and counted.
pub const NOTICES_WAITING_MAX: usize = 4096;
/// Most other rows that wait: starts, ends, resets, incidents, messages. A batch past it is dropped whole and never
/// reported as committed, so that its exit stays with the keeper, which tells it again to the next manager.
pub const ESSENTIALS_WAITING_MAX: usize = 16_384;
/// Most rows of one transaction, unless one batch alone has more.
const COMMIT_ROWS_MAX: usize = 1024;
/// The writer begins when nothing has come for so long: a death comes with a dozen rows and a boot with thousands, and what
/// they tell of needs the CPU and the disk first.
pub(super) const CALM: Duration = Duration::from_millis(10);
/// It begins at the latest after so many looks for calm, or when so many batches wait.
const CALM_LOOKS_MAX: usize = 20;
const GATHERED_MAX: usize = 4 * COMMIT_ROWS_MAX;

#[derive(Debug, Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Grows whenever the file gets another one in its place; a reader that knows an older one opens anew.
    pub(super) epoch: AtomicU64,
    /// A reader has found damage: the writer looks.
    suspect: AtomicBool,
    pub(super) outbox_filled: Notify,
    /// Whether the writer has ended.
    pub(super) ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    essentials: usize,
    notices: usize,
    dropped: u64,
    /// How many of the entries someone waits for.
    awaited: usize,
    closing: bool,
    /// The writer sleeps until something comes.
    waiting: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) batch: Batch,
    pub(super) done: Option<oneshot::Sender<()>>,
}

impl Entry {
    pub(super) fn messages(&self) -> impl Iterator<Item = Message> {
        self.batch.writes.iter().filter_map(Write::message).cloned()
    }

    fn notices(&self) -> usize {
        self.batch.writes.iter().filter(|write| !is_essential(write)).count()
    }
}

/// Why the writer was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// Something waits.
    Work,
    /// Nothing waits, but the time is up or a reader found damage.
    Look,
    /// The last handle is gone and nothing waits.
    Close,
}

/// Room that an empty queue keeps.
const ENTRIES_KEPT: usize = 64;

impl Shared {
    pub(super) fn submit(&self, batch: Batch, done: Option<oneshot::Sender<()>>) {
        let mut entry = Entry { batch, done };
        let mut queue = self.lock();
        let notices = entry.notices();
        if queue.notices + notices > NOTICES_WAITING_MAX {
            entry.batch.writes.retain(is_essential);
            queue.dropped += notices as u64;
        }
        let essentials = entry.batch.writes.iter().filter(|write| is_essential(write)).count();
        if queue.essentials + essentials > ESSENTIALS_WAITING_MAX {
            return;
        }
        queue.essentials += essentials;
        queue.notices += entry.notices();
        queue.awaited += usize::from(entry.done.is_some());
        // One that gathers looks again by itself, unless someone waits for it.
        let wakes = queue.waiting || entry.done.is_some();
        queue.entries.push_back(entry);
        drop(queue);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Waits for work, at most so long.
    pub(super) fn wait(&self, at_most: Option<Duration>) -> Wake {
        let idle =
            |queue: &mut Queue| queue.entries.is_empty() && !queue.closing && !self.suspect.load(Ordering::Acquire);
        let mut queue = self.lock();
        queue.waiting = true;
        let mut queue = match at_most {
            Some(limit) => self.wake.wait_timeout_while(queue, limit, idle).unwrap_or_else(PoisonError::into_inner).0,
            None => self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner),
        };
        queue.waiting = false;
        match (queue.entries.is_empty(), queue.closing) {
            (false, _) => Wake::Work,
            (true, true) => Wake::Close,
            (true, false) => Wake::Look,
        }
    }

    /// Lets a burst come to its end before it is written, unless someone waits for that: until nothing has come for so long.
    pub(super) fn gather(&self, calm: Duration) {
        let mut before = 0;
        let may_wait = |queue: &mut Queue| queue.awaited == 0 && !queue.closing;
        let mut queue = self.lock();
        for _ in 0..CALM_LOOKS_MAX {
            let waiting = queue.entries.len();
            if waiting == before || waiting >= GATHERED_MAX || !may_wait(&mut queue) {
                return;
            }
            before = waiting;
            let waited = self.wake.wait_timeout_while(queue, calm, may_wait);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits out a back-off; whether the store is being closed.
    pub(super) fn pause(&self, span: Duration) -> bool {
        let open = |queue: &mut Queue| !queue.closing;
        self.wake.wait_timeout_while(self.lock(), span, open).unwrap_or_else(PoisonError::into_inner).0.closing
    }

    /// The oldest entries, as many as one transaction takes; at most `entries_max`.
    pub(super) fn take(&self, entries_max: usize) -> Vec<Entry> {
        let mut queue = self.lock();
        let mut taken = Vec::new();
        let mut rows = 0;
        while taken.len() < entries_max {
            let Some(next) = queue.entries.front() else { break };
            rows += next.batch.writes.len();
            if rows > COMMIT_ROWS_MAX && !taken.is_empty() {
                break;
            }
            taken.extend(queue.entries.pop_front());
        }
        // The room of a burst is not needed again.
        if queue.entries.is_empty() {
            queue.entries.shrink_to(ENTRIES_KEPT);
        }
        for entry in &taken {
            let notices = entry.notices();
            queue.notices -= notices;
            queue.essentials -= entry.batch.writes.len() - notices;
            queue.awaited -= usize::from(entry.done.is_some());
        }
        taken
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.lock().entries.iter().flat_map(Entry::messages).collect()
    }

    /// How many notices were dropped since the last time this was asked.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn take_suspect(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    // No code panics while it holds the lock; if it did, the queue would still be a queue.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something is counted, told or decided from this row, so that it must not be lost.
fn is_essential(write: &Write) -> bool {
    match write {
        Write::Incident(_)
        | Write::Message(..)
        | Write::Outbox(_)
        | Write::Silence(_)
        | Write::LastOutput(..)
        | Write::Enablement(..)
        | Write::Timer(..)
        | Write::Fleet(_) => true,
        Write::Notice(notice) => match &notice.what {
            Happening::RunStarting { .. }
            | Happening::MainStarted { .. }
            | Happening::RunReady { .. }
            | Happening::RunEnded { .. }
            | Happening::CountersReset { .. } => true,
            Happening::SpawnFailed { .. }
            | Happening::ControlFailed { .. }
            | Happening::RestartScheduled { .. }
            | Happening::StartLimitHit { .. }
            | Happening::UnitFailed { .. }
            | Happening::UnitStopped { .. }
            | Happening::Listening { .. }
            | Happening::TimedOut { .. }
            | Happening::Unkillable { .. }
            | Happening::WatchdogExpired { .. }
            | Happening::OomKilled { .. }
            | Happening::Signalled { .. }
            | Happening::Reloaded { .. }
            | Happening::ReloadFailed { .. }
            | Happening::Unhealthy { .. }
            | Happening::Healthy { .. }
            | Happening::Degraded { .. }
            | Happening::RestartHeld { .. }
            | Happening::RestartReleased { .. }
            | Happening::Recovered { .. }
            | Happening::DependencyFailed { .. }
            | Happening::NotifyRefused { .. }
            | Happening::MainPidRefused { .. }
            | Happening::ManagerStarted { .. }
            | Happening::UpgradeFailed { .. }
            | Happening::ShuttingDown { .. }
            | Happening::ConfigLoaded { .. }
            | Happening::ConfigRejected { .. }
            | Happening::StoreDegraded { .. }
            | Happening::StoreReplaced { .. }
            | Happening::StoreRecovered
            | Happening::DiskLow { .. }
            | Happening::DiskRecovered
            | Happening::OutputDropped { .. }
            | Happening::LogsDegraded { .. }
            | Happening::LogsRecovered
            | Happening::Fleet(_)
            | Happening::Bug { .. } => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn whoever_waits_for_the_disk_ends_the_gathering_of_a_burst() {
        let hour = Duration::from_secs(3600);
        // As it begins, and in the middle of it.
        for is_gathering in [false, true] {
            let shared = Arc::new(Shared::default());
            shared.submit(Batch::default(), None);
            let (done, _later) = oneshot::channel();
            let gathers = {
                let shared = Arc::clone(&shared);
                move || shared.gather(hour)
            };
            if is_gathering {
                let writer = thread::spawn(gathers);
                // By then it gathers.
                shared.pause(Duration::from_millis(50));
                shared.submit(Batch::default(), Some(done));
                writer.join().unwrap();
            } else {
                shared.submit(Batch::default(), Some(done));
                gathers();
            }
            assert_eq!(shared.take(10).len(), 2);
            assert_eq!(shared.lock().awaited, 0);
        }
    }
}
