//! A thread that moves what services write from their pipes into their segments, on one disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};

use super::{
    book::{Book, Tools, Turn},
    chores::Chores,
    flow::Flow,
    forward::Forwarders,
    pace::Pace,
    rules::Rules,
};
use crate::{
    base::{Mono, TimeSpan, UnitName},
    edge::clock,
    unit::spec::OnFull,
    wire::keeper::Stream,
};

/// Segments that stay open; the least recently written is closed first.
const OPEN_SEGMENTS_MAX: usize = 128;
/// Places in the epoll set that are no pipe; pipes count up from 0.
const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const SETTLED: u64 = u64::MAX - 2;
/// An earlier manager may have said that output cannot be written; after this long without trouble that is over.
const SETTLED_AFTER: TimeSpan = TimeSpan::from_secs(5);

/// What the engine is told, seldom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Output cannot be written: the first unit that it happened to.
    Stuck {
        /// Whose.
        unit: UnitName,
        /// Why.
        reason: String,
        /// Whether it waits or is dropped.
        on_full: OnFull,
    },
    /// Everything is written again, or was from the beginning.
    Flows,
    /// Output was dropped that could not be written.
    Dropped {
        /// Whose.
        unit: UnitName,
        /// How much.
        bytes: u64,
        /// Why.
        reason: String,
    },
}

/// Why the thread could not begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the log thread")]
pub struct PumpError(#[source] pub(super) io::Error);

/// A handle on one thread; it empties its pipes once more and ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    wake: Arc<EventFd>,
    /// Hangs up when the thread has ended.
    ended: mpsc::Receiver<()>,
}

#[derive(Debug)]
pub(super) enum Order {
    Add { unit: UnitName, stream: Stream, pipe: OwnedFd, rules: Arc<Rules> },
    Rule { unit: UnitName, rules: Arc<Rules> },
}

impl Writer {
    /// Starts the thread.
    pub(super) fn begin(name: String, common: Arc<Common>) -> Result<Self, PumpError> {
        let fail = |errno: nix::Error| PumpError(errno.into());
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(fail)?);
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(fail)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fail)?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE)).map_err(fail)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER)).map_err(fail)?;
        let (orders, inbox) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let worker = Worker {
            chores: Chores::default(),
            forwarders: Forwarders::default(),
            tools: Tools::new().map_err(PumpError)?,
            common,
            epoll,
            timer,
            wake: Arc::clone(&wake),
            inbox,
            pipes: BTreeMap::new(),
            books: BTreeMap::new(),
            due: clock::now().mono.after(SETTLED_AFTER).map(|at| (at, SETTLED)).into_iter().collect(),
            timer_at: None,
            next_slot: 0,
            turns: 0,
        };
        thread::Builder::new()
            .name(name)
            .stack_size(256 << 10)
            .spawn(move || {
                worker.run();
                drop(end);
            })
            .map_err(PumpError)?;
        Ok(Self { orders, wake, ended })
    }

    pub(super) fn send(&self, order: Order) {
        // The thread lives as long as this handle, so neither call can fail but for a thread that panicked.
        if self.orders.send(order).is_err() || self.wake.write(1).is_err() {
            tracing::error!("the log thread is gone; output waits in its pipes");
        }
    }

    /// Lets the thread end; hangs up when it has.
    pub(super) fn end(self) -> mpsc::Receiver<()> {
        let Self { orders, wake, ended } = self;
        drop(orders);
        wake.write(1).ok();
        ended
    }
}

/// What all threads share.
pub(super) struct Common {
    dir: PathBuf,
    flow: Arc<Flow>,
    report: Box<dyn Fn(Report) + Send + Sync>,
    /// Units whose output cannot be written.
    stuck: Mutex<BTreeSet<UnitName>>,
}

impl Common {
    pub(super) fn new(dir: PathBuf, flow: Arc<Flow>, report: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self { dir, flow, report: Box::new(report), stuck: Mutex::default() }
    }

    pub(super) fn folder(&self, unit: &UnitName) -> PathBuf {
        self.dir.join(unit.as_str())
    }

    fn stuck(&self) -> MutexGuard<'_, BTreeSet<UnitName>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    common: Arc<Common>,
    chores: Chores,
    forwarders: Forwarders,
    tools: Tools,
    epoll: Epoll,
    timer: TimerFd,
    wake: Arc<EventFd>,
    inbox: mpsc::Receiver<Order>,
    pipes: BTreeMap<u64, Pipe>,
    books: BTreeMap<UnitName, Book>,
    /// Pipes that rest or wait, and until when.
    due: BTreeSet<(Mono, u64)>,
    /// What the timer is set to.
    timer_at: Option<Mono>,
    next_slot: u64,
    /// Counts turns, to find the segment that was written least recently.
    turns: u64,
}

struct Pipe {
    unit: UnitName,
    stream: Stream,
    fd: Arc<OwnedFd>,
    pace: Pace,
}

/// Each pipe is heard once, and again only when it was looked at: a pipe that rests wakes nobody.
const ONCE: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLONESHOT);

impl Worker {
    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            self.set_timer();
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => &events[..count],
                Err(nix::Error::EINTR) => continue,
                Err(error) => {
                    tracing::error!(error = %error, "the log thread cannot wait; output stays in its pipes");
                    return;
                }
            };
            let mut rang = false;
            for event in ready {
                match event.data() {
                    WAKE if !self.take_orders() => {
                        let slots: Vec<u64> = self.pipes.keys().copied().collect();
                        return slots.into_iter().for_each(|slot| self.look(slot));
                    }
                    WAKE => {}
                    TIMER => {
                        self.timer_at = None;
                        rang = true;
                    }
                    slot => self.heard(slot),
                }
            }
            self.take_due();
            // It says that it rang until it is set anew.
            if rang && self.due.is_empty() {
                self.timer.unset().ok();
            }
        }
    }

    fn set_timer(&mut self) {
        let first = self.due.first().map(|(at, _)| *at);
        // An earlier alarm than needed does no harm.
        if first.is_none() || self.timer_at.is_some() && self.timer_at <= first {
            return;
        }
        let at = first.map_or(0, |at| i64::try_from(at.0).unwrap_or(i64::MAX));
        let spec = TimeSpec::new(at / 1_000_000_000, at % 1_000_000_000);
        match self.timer.set(Expiration::OneShot(spec), TimerSetTimeFlags::TFD_TIMER_ABSTIME) {
            Ok(()) => self.timer_at = first,
            Err(error) => tracing::error!(error = %error, "the log thread cannot set its timer"),
        }
    }

    fn take_due(&mut self) {
        let now = clock::now().mono;
        while let Some((at, slot)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            match slot {
                SETTLED if self.common.stuck().is_empty() => (self.common.report)(Report::Flows),
                SETTLED => {}
                slot => self.look(slot),
            }
        }
    }

    /// `false` when the handle is gone.
    fn take_orders(&mut self) -> bool {
        self.wake.read().ok();
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Add { unit, stream, pipe, rules }) => self.add(unit, stream, pipe, rules),
                Ok(Order::Rule { unit, rules }) => self.rule(&unit, rules),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, unit: UnitName, stream: Stream, fd: OwnedFd, rules: Arc<Rules>) {
        let same = |pipe: &Pipe| pipe.unit == unit && pipe.stream == stream;
        if let Some(slot) = self.pipes.iter().find(|(_, pipe)| same(pipe)).map(|(slot, _)| *slot) {
            self.forget(slot);
        }
        let slot = self.next_slot;
        self.next_slot += 1;
        // The read end is ours alone to read; its flag is not shared with the service's end.
        let watched = fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .and_then(|_| self.epoll.add(fd.as_fd(), EpollEvent::new(ONCE, slot)));
        if let Err(error) = watched {
            tracing::error!(unit = %unit, error = %error, "cannot watch the pipe of this unit; its output waits there");
            return;
        }
        let size = fcntl(fd.as_fd(), FcntlArg::F_GETPIPE_SZ).ok().and_then(|size| usize::try_from(size).ok());
        let pace = Pace::new(size.unwrap_or(64 << 10));
        let fd = Arc::new(fd);
        let tally = self.common.flow.tally(&unit);
        tally.taken().pipes.insert(stream, Arc::clone(&fd));
        self.pipes.insert(slot, Pipe { unit: unit.clone(), stream, fd, pace });
        let dir = self.common.folder(&unit);
        let book =
            self.books.entry(unit.clone()).or_insert_with(|| Book::new(unit.clone(), dir, Arc::clone(&rules), tally));
        book.set_rules(rules);
        self.look_after(&unit);
    }

    fn rule(&mut self, unit: &UnitName, rules: Arc<Rules>) {
        if let Some(book) = self.books.get_mut(unit) {
            book.set_rules(rules);
            self.look_after(unit);
        }
    }

    /// Has closed segments put in order, and lines sent on.
    fn look_after(&mut self, unit: &UnitName) {
        let Some(book) = self.books.get(unit) else { return };
        let dir = self.common.folder(unit);
        self.chores.tidy(&dir, &book.rules);
        self.forwarders.set(unit, &dir, &book.rules, &book.tally);
    }

    fn forget(&mut self, slot: u64) {
        let Some(pipe) = self.pipes.remove(&slot) else { return };
        self.epoll.delete(pipe.fd.as_fd()).ok();
        if let Some(book) = self.books.get(&pipe.unit) {
            book.tally.taken().pipes.remove(&pipe.stream);
        }
        if self.pipes.values().any(|other| other.unit == pipe.unit) {
            return;
        }
        if let Some(mut book) = self.books.remove(&pipe.unit) {
            self.settle(&mut book);
            self.unstick(&book.unit);
        }
        self.forwarders.forget(&pipe.unit);
        self.common.flow.forget(&pipe.unit);
    }

    /// A pipe has something to say.
    fn heard(&mut self, slot: u64) {
        let Some(pipe) = self.pipes.get(&slot) else { return };
        match pipe.pace.rests_until(clock::now().mono) {
            Some(until) => drop(self.due.insert((until, slot))),
            None => self.look(slot),
        }
    }

    fn look(&mut self, slot: u64) {
        let Some(pipe) = self.pipes.get_mut(&slot) else { return };
        let Some(book) = self.books.get_mut(&pipe.unit) else { return };
        self.turns += 1;
        book.used = self.turns;
        let (was_open, was_stuck) = (book.is_open(), book.trouble().is_some());
        let mut rotated = false;
        let tally = Arc::clone(&book.tally);
        let mut taken = tally.taken();
        let turn = book.turn(pipe.fd.as_fd(), &mut self.tools, &mut rotated);
        taken.end = book.end();
        drop(taken);
        let next = match turn {
            Turn::Ended => None,
            Turn::Waits(until) => Some(until),
            Turn::Took(bytes) => {
                if bytes > 0 {
                    self.common.flow.tell();
                    self.forwarders.tell(&pipe.unit);
                }
                pipe.pace.found(bytes, clock::now().mono)
            }
        };
        if rotated {
            self.chores.tidy(&self.common.dir.join(pipe.unit.as_str()), &book.rules);
        }
        let (unit, opened, stuck) = (pipe.unit.clone(), !was_open && book.is_open(), book.trouble().is_some());
        match (turn, next) {
            (Turn::Ended, _) => self.forget(slot),
            (_, Some(at)) => drop(self.due.insert((at, slot))),
            (_, None) => drop(self.epoll.modify(pipe.fd.as_fd(), &mut EpollEvent::new(ONCE, slot))),
        }
        if was_stuck != stuck {
            self.stuck_or_not(&unit);
        }
        if opened {
            self.close_surplus();
        }
    }

    fn stuck_or_not(&mut self, unit: &UnitName) {
        let Some(mut book) = self.books.remove(unit) else { return };
        match book.trouble() {
            Some(reason) => {
                let mut stuck = self.common.stuck();
                let first = stuck.is_empty();
                stuck.insert(unit.clone());
                if first {
                    let (reason, on_full) = (reason.to_owned(), book.rules.on_full);
                    (self.common.report)(Report::Stuck { unit: unit.clone(), reason, on_full });
                }
            }
            None => {
                self.settle(&mut book);
                self.unstick(unit);
            }
        }
        self.books.insert(unit.clone(), book);
    }

    fn unstick(&self, unit: &UnitName) {
        let mut stuck = self.common.stuck();
        if stuck.remove(unit) && stuck.is_empty() {
            (self.common.report)(Report::Flows);
        }
    }

    /// Tells what was lost of a unit.
    fn settle(&self, book: &mut Book) {
        if let Some((bytes, reason)) = book.take_lost() {
            (self.common.report)(Report::Dropped { unit: book.unit.clone(), bytes, reason });
        }
    }

    fn close_surplus(&mut self) {
        if self.books.values().filter(|book| book.is_open()).count() > OPEN_SEGMENTS_MAX {
            let open = self.books.values_mut().filter(|book| book.is_open());
            if let Some(book) = open.min_by_key(|book| book.used) {
                book.close();
            }
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("dir", &self.common.dir)
            .field("pipes", &self.pipes.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("unit", &self.unit).field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
