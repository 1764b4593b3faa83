//! What the log threads share with everyone: counts of each unit's output, and the word that there is more.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, futures::Notified};

use super::lines::Place;
use crate::{
    base::{InStep, UnitName},
    sys,
    wire::keeper::Stream,
};

/// Counts of all units that are captured, since this manager began.
#[derive(Debug, Default)]
pub struct Flow {
    tallies: Mutex<BTreeMap<UnitName, Arc<Tally>>>,
    more: Notify,
}

/// Counts of one unit, written by the log threads.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) bytes: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) limited: AtomicU64,
    pub(super) limited_lines: AtomicU64,
    pub(super) forwarded: AtomicU64,
    pub(super) unforwarded: AtomicU64,
    /// Held by the log thread while it takes from a pipe.
    taken: Mutex<Taken>,
}

/// How far a unit's output was taken from its pipes.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Where the next byte goes, if each that waits will be written.
    pub(super) end: Option<Place>,
    pub(super) pipes: BTreeMap<Stream, Arc<OwnedFd>>,
}

/// What became of one unit's output since this manager began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes that were captured.
    pub bytes: u64,
    /// Bytes that could not be written and were dropped.
    pub full: u64,
    /// Bytes over the rate limit.
    pub limited: u64,
    /// Lines over the rate limit.
    pub limited_lines: u64,
    /// Lines that were forwarded, once for each receiver.
    pub forwarded: u64,
    /// Bytes that a receiver was too slow for, or refused.
    pub unforwarded: u64,
}

impl Flow {
    /// The counts of units in the order of their names; `None` of one that is not captured.
    pub fn of<'a>(&self, units: impl Iterator<Item = &'a UnitName>) -> Vec<Option<Counts>> {
        let tallies = self.lock();
        let mut in_step = InStep::new(&tallies);
        units.map(|unit| in_step.get(unit).map(|tally| tally.counts())).collect()
    }

    /// The counts of all.
    pub fn all(&self) -> Vec<(UnitName, Counts)> {
        self.lock().iter().map(|(unit, tally)| (unit.clone(), tally.counts())).collect()
    }

    /// Where the first byte goes that a unit writes from now on: behind what was taken and what waits in its pipes. `None` where
    /// that is not known at once: its output is just being taken, or not all of it is kept.
    pub fn next_place(&self, unit: &UnitName) -> Option<Place> {
        let tally = Arc::clone(self.lock().get(unit)?);
        let taken = tally.taken.try_lock().ok()?;
        let waiting = taken.pipes.values().map(sys::waiting_in).sum::<std::io::Result<u64>>().ok()?;
        taken.end.map(|end| Place { offset: end.offset + waiting, ..end })
    }

    /// Done as soon as any unit has written again, from the moment on in which it is enabled or polled.
    pub fn more(&self) -> Notified<'_> {
        self.more.notified()
    }

    /// Wakes those who follow. Costs nothing to speak of when there are none.
    pub(super) fn tell(&self) {
        self.more.notify_waiters();
    }

    pub(super) fn tally(&self, unit: &UnitName) -> Arc<Tally> {
        Arc::clone(self.lock().entry(unit.clone()).or_default())
    }

    pub(super) fn forget(&self, unit: &UnitName) {
        self.lock().remove(unit);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<UnitName, Arc<Tally>>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    pub(super) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            bytes: load(&self.bytes),
            full: load(&self.full),
            limited: load(&self.limited),
            limited_lines: load(&self.limited_lines),
            forwarded: load(&self.forwarded),
            unforwarded: load(&self.unforwarded),
        }
    }
}
