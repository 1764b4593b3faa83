//! The thread that moves what services write from their pipes into their segments.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    sync::mpsc,
    thread,
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
    unistd::read,
};

use super::segment::{Limits, Segment};
use crate::{
    base::{Mono, TimeSpan, UnitName},
    edge::clock,
};

/// Moved in one go, so that one loud service cannot hold up the others.
const TURN_BYTES: usize = 1 << 20;
/// Segments that stay open; the least recently written is closed first.
const OPEN_SEGMENTS_MAX: usize = 128;
/// After a failed write, output is dropped this long before the next try.
const RETRY_AFTER: TimeSpan = TimeSpan::from_secs(1);
/// The eventfd's place in the epoll set; pipes count up from 0.
const WAKE: u64 = u64::MAX;

/// Output that could not be written and was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Whose.
    pub unit: UnitName,
    /// How much.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// Why the thread could not begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the log thread")]
pub struct PumpError(#[source] io::Error);

/// A handle on the thread; it ends when the handle is dropped.
#[derive(Debug)]
pub struct Pump {
    orders: mpsc::Sender<Order>,
    wake: std::sync::Arc<EventFd>,
}

#[derive(Debug)]
enum Order {
    Add { unit: UnitName, pipe: OwnedFd },
    Remove { unit: UnitName },
}

impl Pump {
    /// Starts the thread. Segments go below `dir`; `dropped` is called for output that was lost, seldom.
    pub fn start(dir: PathBuf, limits: Limits, dropped: impl Fn(Dropped) + Send + 'static) -> Result<Self, PumpError> {
        let fail = |errno: nix::Error| PumpError(errno.into());
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(fail)?;
        let wake = std::sync::Arc::new(wake);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(fail)?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE)).map_err(fail)?;
        let (orders, inbox) = mpsc::channel();
        let worker = Worker {
            dir,
            limits,
            dropped: Box::new(dropped),
            epoll,
            wake: std::sync::Arc::clone(&wake),
            inbox,
            pipes: BTreeMap::new(),
            next_slot: 0,
            turn: 0,
        };
        thread::Builder::new()
            .name("log".into())
            .stack_size(256 << 10)
            .spawn(move || worker.run())
            .map_err(PumpError)?;
        Ok(Self { orders, wake })
    }

    /// Takes over the read end of a unit's pipe, in place of an earlier one.
    pub fn add(&self, unit: UnitName, pipe: OwnedFd) {
        self.send(Order::Add { unit, pipe });
    }

    /// Lets go of a unit's pipe.
    pub fn remove(&self, unit: UnitName) {
        self.send(Order::Remove { unit });
    }

    fn send(&self, order: Order) {
        // The thread lives as long as this handle, so neither call can fail but for a thread that panicked.
        if self.orders.send(order).is_err() || self.wake.write(1).is_err() {
            tracing::error!("the log thread is gone; output waits in its pipes");
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.orders = closed;
        self.wake.write(1).ok();
    }
}

struct Worker {
    dir: PathBuf,
    limits: Limits,
    dropped: Box<dyn Fn(Dropped) + Send>,
    epoll: Epoll,
    wake: std::sync::Arc<EventFd>,
    inbox: mpsc::Receiver<Order>,
    pipes: BTreeMap<u64, Pipe>,
    next_slot: u64,
    /// Counts turns, to find the segment that was written least recently.
    turn: u64,
}

struct Pipe {
    unit: UnitName,
    fd: OwnedFd,
    segment: Option<Segment>,
    used: u64,
    /// Until then output is dropped instead of written.
    broken_until: Option<Mono>,
    lost: u64,
    reason: String,
}

impl Worker {
    fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => &events[..count],
                Err(nix::Error::EINTR) => continue,
                Err(error) => {
                    tracing::error!(error = %error, "the log thread cannot wait; output stays in its pipes");
                    return;
                }
            };
            for event in ready {
                if event.data() == WAKE {
                    if !self.take_orders() {
                        return;
                    }
                } else {
                    self.move_output(event.data(), event.events());
                }
            }
        }
    }

    /// `false` when the handle is gone.
    fn take_orders(&mut self) -> bool {
        self.wake.read().ok();
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Add { unit, pipe }) => self.add(unit, pipe),
                Ok(Order::Remove { unit }) => self.remove(&unit),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, unit: UnitName, fd: OwnedFd) {
        self.remove(&unit);
        let slot = self.next_slot;
        self.next_slot += 1;
        // The read end is ours alone to read; its flag is not shared with the service's end.
        let watched = fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .and_then(|_| self.epoll.add(fd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, slot)));
        if let Err(error) = watched {
            tracing::error!(unit = %unit, error = %error, "cannot watch the pipe of this unit; its output waits there");
            return;
        }
        let pipe = Pipe { unit, fd, segment: None, used: 0, broken_until: None, lost: 0, reason: String::new() };
        self.pipes.insert(slot, pipe);
    }

    fn remove(&mut self, unit: &UnitName) {
        let Some(slot) = self.pipes.iter().find(|(_, pipe)| pipe.unit == *unit).map(|(slot, _)| *slot) else { return };
        self.move_output(slot, EpollFlags::EPOLLIN);
        self.forget(slot);
    }

    fn forget(&mut self, slot: u64) {
        if let Some(pipe) = self.pipes.remove(&slot) {
            self.epoll.delete(pipe.fd.as_fd()).ok();
            self.report(pipe);
        }
    }

    fn report(&self, mut pipe: Pipe) {
        if pipe.lost > 0 {
            let bytes = std::mem::take(&mut pipe.lost);
            (self.dropped)(Dropped { unit: pipe.unit, bytes, reason: pipe.reason });
        }
    }

    fn move_output(&mut self, slot: u64, events: EpollFlags) {
        self.turn += 1;
        let turn = self.turn;
        let Some(pipe) = self.pipes.get_mut(&slot) else { return };
        pipe.used = turn;
        let now = clock::now();
        let outcome = match pipe.broken_until {
            Some(until) if now.mono < until => pipe.drop_output(),
            _ => pipe.write_output(&self.dir, self.limits),
        };
        match outcome {
            // Both ends closed by all: the unit is gone and everything it wrote is read.
            Ok(0) if !events.contains(EpollFlags::EPOLLIN) => self.forget(slot),
            Ok(_) => {
                let done = pipe.lost > 0 && pipe.broken_until.is_none();
                if done {
                    let lost = std::mem::take(&mut pipe.lost);
                    (self.dropped)(Dropped { unit: pipe.unit.clone(), bytes: lost, reason: pipe.reason.clone() });
                }
                self.close_surplus();
            }
            Err(error) => {
                pipe.segment = None;
                pipe.broken_until = now.mono.after(RETRY_AFTER);
                pipe.reason = error.to_string();
            }
        }
    }

    fn close_surplus(&mut self) {
        let open = self.pipes.values().filter(|pipe| pipe.segment.is_some()).count();
        if open > OPEN_SEGMENTS_MAX {
            let oldest = self.pipes.values_mut().filter(|pipe| pipe.segment.is_some()).min_by_key(|pipe| pipe.used);
            if let Some(pipe) = oldest {
                pipe.segment = None;
            }
        }
    }
}

impl Pipe {
    /// Moves up to a turn's worth into the segment; the count of bytes moved.
    fn write_output(&mut self, dir: &std::path::Path, limits: Limits) -> io::Result<usize> {
        if self.segment.is_none() {
            self.segment = Some(Segment::open(&dir.join(self.unit.as_str()))?);
        }
        let Some(segment) = self.segment.as_mut() else { return Ok(0) };
        segment.rotate(limits)?;
        segment.mark(clock::wall())?;
        let mut offset = i64::try_from(segment.length).map_err(io::Error::other)?;
        let room = usize::try_from(limits.segment.0.saturating_sub(segment.length).max(1)).unwrap_or(TURN_BYTES);
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(self.fd.as_fd(), None, segment.file.as_fd(), Some(&mut offset), TURN_BYTES.min(room), flags) {
            Ok(moved) => {
                segment.length += moved as u64;
                self.broken_until = None;
                Ok(moved)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn drop_output(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 65_536];
        match read(self.fd.as_fd(), &mut buffer) {
            Ok(count) => {
                self.lost += count as u64;
                Ok(count)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("dir", &self.dir).field("pipes", &self.pipes.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("unit", &self.unit).field("fd", &self.fd.as_raw_fd()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, time::Duration};

    fn unit(name: &str) -> UnitName {
        UnitName::new(name).expect("a name")
    }

    fn pipe() -> (OwnedFd, fs::File) {
        let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        (read_end, fs::File::from(write_end))
    }

    /// Waits, bounded, until the files of `dir` hold `length` bytes; gives them back in order.
    fn captured(dir: &std::path::Path, length: usize) -> Vec<u8> {
        for _ in 0..500 {
            let bytes: Vec<u8> = super::super::segment::numbers(dir)
                .unwrap_or_default()
                .iter()
                .flat_map(|n| fs::read(super::super::segment::log_path(dir, *n)).unwrap_or_default())
                .collect();
            if bytes.len() >= length {
                return bytes;
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "the pump is a thread of its own; there is nothing to await"
            )]
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the output did not arrive");
    }

    #[test]
    fn output_goes_into_segments_and_old_ones_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = Limits { segment: crate::base::ByteSize(10_000), keep: 3 };
        let pump = Pump::start(dir.path().into(), limits, |_| panic!("nothing is dropped")).expect("a thread");
        let (read_end, mut writer) = pipe();
        pump.add(unit("web"), read_end);
        for line in 0..100 {
            writeln!(writer, "{line:0999}").expect("the pipe takes it");
            captured(&dir.path().join("web"), 1);
        }
        drop(writer);
        // The oldest segment goes when the next one has begun.
        let bytes = loop {
            let segments = super::super::segment::numbers(&dir.path().join("web")).expect("listed").len();
            let bytes = captured(&dir.path().join("web"), 20_000);
            if segments == 3 && bytes.ends_with(b"99\n") {
                break bytes;
            }
        };
        assert!(bytes.len() <= 30_000, "{} bytes are kept", bytes.len());
    }

    #[test]
    fn a_new_pump_goes_on_where_the_old_one_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let (read_end, mut writer) = pipe();
        let kept = read_end.try_clone().expect("dup");
        let first = Pump::start(dir.path().into(), Limits::default(), |_| {}).expect("a thread");
        first.add(unit("web"), read_end);
        writer.write_all(b"one\n").expect("written");
        captured(&dir.path().join("web"), 4);
        drop(first);
        writer.write_all(b"two\n").expect("written");
        let second = Pump::start(dir.path().into(), Limits::default(), |_| {}).expect("a thread");
        second.add(unit("web"), kept);
        assert_eq!(captured(&dir.path().join("web"), 8), b"one\ntwo\n");
    }

    #[test]
    fn output_that_cannot_be_written_is_dropped_with_its_count_and_blocks_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("web"), "a file where the folder should be").expect("written");
        let (sender, dropped) = mpsc::channel();
        let pump = Pump::start(dir.path().into(), Limits::default(), move |d| sender.send(d).expect("heard"))
            .expect("a thread");
        let (read_end, mut writer) = pipe();
        pump.add(unit("web"), read_end);
        writer.write_all(&[b'x'; 100_000]).expect("the pipe is emptied although nothing can be written");
        pump.remove(unit("web"));
        let lost = dropped.recv_timeout(Duration::from_secs(5)).expect("a report");
        assert_eq!(lost.unit, unit("web"));
        assert!(lost.bytes > 0 && lost.bytes <= 100_000);
    }
}
