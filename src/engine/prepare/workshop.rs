use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{runtime, sync::mpsc};

use super::job::{Job, Means};
use crate::engine::handle::Report;

/// As many are at work at one time, unless disks hang.
const THREADS_MAX: usize = 64;
/// When none of them has taken a job for so long, each job that waits gets a thread of its own.
const PATIENCE: Duration = Duration::from_millis(100);
/// A path is looked up part by part, on the stack.
const STACK_BYTES: usize = 256 << 10;

/// The threads, and what they share. Without work there are none; and there are never more than units, which have one job
/// each.
#[derive(Debug)]
pub(super) struct Workshop {
    shared: Arc<Shared>,
    runtime: runtime::Handle,
}

#[derive(Debug)]
struct Shared {
    bench: Mutex<Bench>,
    means: Means,
    reporter: mpsc::UnboundedSender<Report>,
}

#[derive(Debug, Default)]
struct Bench {
    jobs: VecDeque<Job>,
    threads: usize,
    /// How many jobs were taken, now and at the last look.
    taken: u64,
    taken_before: u64,
    /// Whether somebody looks after the jobs that wait.
    is_watched: bool,
}

impl Workshop {
    pub(super) fn new(means: Means, runtime: runtime::Handle, reporter: mpsc::UnboundedSender<Report>) -> Self {
        Self { shared: Arc::new(Shared { bench: Mutex::default(), means, reporter }), runtime }
    }

    /// Begins a job; what came of it comes back as a report.
    ///
    /// # Errors
    /// When there is no thread for it and none can be had.
    pub(super) fn begin(&self, job: Job) -> io::Result<()> {
        let mut bench = self.shared.bench();
        bench.jobs.push_back(job);
        if bench.threads < THREADS_MAX {
            match self.shared.put_to_work(&mut bench) {
                Ok(()) => return Ok(()),
                // Those that are at work will come to it.
                Err(_) if bench.threads > 0 => {}
                Err(error) => {
                    bench.jobs.pop_back();
                    return Err(error);
                }
            }
        }
        if !mem::replace(&mut bench.is_watched, true) {
            bench.taken_before = bench.taken;
            self.runtime.spawn(Arc::clone(&self.shared).watch());
        }
        Ok(())
    }
}

impl Shared {
    fn put_to_work(self: &Arc<Self>, bench: &mut Bench) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new().name("prepare".into()).stack_size(STACK_BYTES).spawn(move || shared.work())?;
        bench.threads += 1;
        Ok(())
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let done = self.means.carry_out(job);
            // Nobody listens once the daemon ends.
            self.reporter.send(Report::Prepared(Box::new(done))).ok();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut bench = self.bench();
        let job = bench.jobs.pop_front();
        match job {
            Some(_) => bench.taken += 1,
            None => bench.threads -= 1,
        }
        job
    }

    /// Looks after jobs that wait for a thread, until none does.
    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PATIENCE).await;
            if !self.relieve() {
                return;
            }
        }
    }

    /// Gives each job that waits a thread, where nobody has taken one since the last look. Whether any wait.
    fn relieve(self: &Arc<Self>) -> bool {
        let mut bench = self.bench();
        bench.is_watched = !bench.jobs.is_empty();
        if bench.taken == bench.taken_before {
            for _ in 0..bench.jobs.len() {
                if let Err(error) = self.put_to_work(&mut bench) {
                    tracing::warn!(%error, "disks hang, and there are no more threads for units on others; tried again");
                    break;
                }
            }
        }
        bench.taken_before = bench.taken;
        bench.is_watched
    }

    /// Nobody who holds it panics with half of a change made.
    fn bench(&self) -> MutexGuard<'_, Bench> {
        self.bench.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
