//! The manager's half of the conversation.
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::link::{Frame, Inlet, LinkError, Sent};
use crate::{
    base::{Generation, ProcessKey, SpawnFailure, UnitName},
    sys::PacketSocket,
    wire::keeper::{Exit, Fact, ManagerCause, Notified, Order, RunningProcess, Stream, UnitRecord, VERSION},
};

/// Most orders that wait for room in the socket. The keeper reads all the time, so more means that it is stopped.
pub const ORDERS_QUEUED_MAX: usize = 16_384;

/// Why the conversation with the keeper cannot go on. Without a keeper a manager has nothing to do and ends.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A message could not cross.
    #[error("cannot talk to the keeper")]
    Link(#[source] LinkError),
    /// The socket that the keeper gave us cannot be used.
    #[error("cannot use descriptor {fd} as the keeper's socket")]
    Socket {
        /// Its number.
        fd: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper is of another version.
    #[error("cannot talk to a keeper of version {0}, this manager speaks {VERSION}")]
    Version(u16),
    /// Too many orders wait.
    #[error("cannot queue more than {ORDERS_QUEUED_MAX} orders for the keeper")]
    Full,
    /// A fact came without the descriptor that belongs to it, or where it has no place.
    #[error("cannot place the keeper's message {0}")]
    Place(&'static str),
}

/// What comes from the keeper.
#[derive(Debug)]
pub enum Incoming {
    /// Everything the keeper holds: the first thing that comes.
    Snapshot(Box<Snapshot>),
    /// One thing that happened, with its descriptors.
    Fact(Fact, Vec<OwnedFd>),
}

/// Everything the keeper holds at the start of a manager.
#[derive(Debug)]
pub struct Snapshot {
    /// Why this manager was started.
    pub cause: ManagerCause,
    /// The keeper's pid.
    pub keeper: u32,
    /// What the keeper could not have, for people.
    pub degraded: Vec<String>,
    /// What runs.
    pub processes: Vec<RunningProcess>,
    /// What is known of each unit.
    pub units: Vec<UnitRecord>,
    /// Descriptors that are stored, oldest first within a unit and name.
    pub stored: Vec<(UnitName, String, OwnedFd)>,
    /// The read ends of the log pipes.
    pub logs: Vec<(UnitName, Stream, OwnedFd)>,
    /// What waits for acknowledgement, in the order it happened.
    pub pending: Vec<Pending>,
}

/// One thing that waits for acknowledgement.
#[derive(Debug)]
pub enum Pending {
    /// An end.
    Exited(Exit),
    /// A start that failed.
    SpawnFailed(ProcessKey, SpawnFailure),
    /// Ends known by number only.
    ExitsAggregated {
        /// Of which unit.
        unit: UnitName,
        /// How many.
        count: u64,
        /// The highest generation among them.
        generation: Generation,
    },
    /// A datagram with its descriptors.
    Notified(Notified, Vec<OwnedFd>),
}

/// The connection to the keeper. Sending never waits; receiving waits for what comes.
#[derive(Debug)]
pub struct Client {
    socket: PacketSocket,
    /// Tells when something has come, and only that: the keeper makes room with each order it takes, and to hear of that
    /// too would wake us between every death and its restart.
    arrivals: AsyncFd<OwnedFd>,
    /// Tells when there is room; only while orders wait for it.
    room: Option<AsyncFd<OwnedFd>>,
    inlet: Inlet,
    outlet: VecDeque<Frame<OwnedFd>>,
    snapshot: Option<Box<Snapshot>>,
}

impl Client {
    /// Takes over the socket that the keeper gave us and greets it. Must be called within a runtime.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn new(fd: OwnedFd) -> Result<Self, ClientError> {
        let number = fd.as_raw_fd();
        let arrivals = fd.try_clone().and_then(|copy| AsyncFd::with_interest(copy, Interest::READABLE));
        let arrivals = arrivals.map_err(|source| ClientError::Socket { fd: number, source })?;
        let mut client = Self {
            socket: PacketSocket::from(fd),
            arrivals,
            room: None,
            inlet: Inlet::new(),
            outlet: VecDeque::new(),
            snapshot: None,
        };
        client.send(&Order::Hello { version: VERSION }, Vec::new())?;
        Ok(client)
    }

    /// Gives an order, with the descriptors that belong to it. What finds no room now waits for [`Self::recv`] or
    /// [`Self::flush`].
    ///
    /// # Errors
    /// When the keeper is gone, the order is too large, or too many wait.
    pub fn send(&mut self, order: &Order, fds: Vec<OwnedFd>) -> Result<(), ClientError> {
        let frame = Frame::new(order, fds).map_err(ClientError::Link)?;
        if self.outlet.is_empty() && frame.send(&self.socket).map_err(ClientError::Link)? == Sent::Whole {
            return Ok(());
        }
        if self.outlet.len() >= ORDERS_QUEUED_MAX {
            return Err(ClientError::Full);
        }
        self.outlet.push_back(frame);
        Ok(())
    }

    /// Waits until all orders are on their way.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while !self.push()? {
            if let Some(room) = &self.room {
                room.writable().await.map_err(unready)?.retain_ready();
            }
        }
        Ok(())
    }

    /// Waits for the next thing from the keeper, sending what waits meanwhile. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the keeper is gone or says what has no meaning.
    pub async fn recv(&mut self) -> Result<Incoming, ClientError> {
        loop {
            self.push()?;
            while let Some((fact, fds)) = self.pull()? {
                if let Some(incoming) = self.place(fact, fds)? {
                    return Ok(incoming);
                }
            }
            let Some(room) = &self.room else {
                self.arrivals.readable().await.map_err(unready)?.retain_ready();
                continue;
            };
            tokio::select! {
                arrived = self.arrivals.readable() => arrived.map_err(unready)?.retain_ready(),
                roomy = room.writable() => roomy.map_err(unready)?.retain_ready(),
            }
        }
    }

    /// The next thing from the keeper if one is there, without waiting.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Incoming>, ClientError> {
        while let Some((fact, fds)) = self.pull()? {
            if let Some(incoming) = self.place(fact, fds)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// Sends what waits; true when all is sent, and otherwise `room` tells when to try again.
    fn push(&mut self) -> Result<bool, ClientError> {
        while let Some(frame) = self.outlet.front() {
            let room = match self.room.take() {
                Some(room) => room,
                None => self.listen_for_room()?,
            };
            let (socket, room) = (&self.socket, &*self.room.insert(room));
            let attempt = attempted(room, Interest::WRITABLE, || match frame.send(socket)? {
                sent @ (Sent::Whole | Sent::Later) => Ok(Some(sent)),
                Sent::Full => Ok(None),
            });
            if attempt? != Some(Sent::Whole) {
                return Ok(false);
            }
            self.outlet.pop_front();
        }
        self.room = None;
        Ok(true)
    }

    fn listen_for_room(&self) -> Result<AsyncFd<OwnedFd>, ClientError> {
        let copy = self.socket.as_fd().try_clone_to_owned();
        copy.and_then(|copy| AsyncFd::with_interest(copy, Interest::WRITABLE)).map_err(unready)
    }

    fn pull(&mut self) -> Result<Option<(Fact, Vec<OwnedFd>)>, ClientError> {
        let (socket, inlet) = (&self.socket, &mut self.inlet);
        attempted(&self.arrivals, Interest::READABLE, || inlet.take(socket))
    }

    /// Puts a fact where it belongs: into the snapshot that is being told, or before the caller.
    fn place(&mut self, fact: Fact, mut fds: Vec<OwnedFd>) -> Result<Option<Incoming>, ClientError> {
        if let Fact::SnapshotBegin { version, cause, keeper, degraded } = fact {
            if version != VERSION {
                return Err(ClientError::Version(version));
            }
            self.snapshot = Some(Box::new(Snapshot::new(cause, keeper, degraded)));
            return Ok(None);
        }
        let Some(snapshot) = &mut self.snapshot else { return Ok(Some(Incoming::Fact(fact, fds))) };
        let mut one = |what| fds.pop().ok_or(ClientError::Place(what));
        match fact {
            Fact::Process(process) => snapshot.processes.push(process),
            Fact::Unit(unit) => snapshot.units.push(unit),
            Fact::Stored { unit, name } => snapshot.stored.push((unit, name, one("stored")?)),
            Fact::LogPipe { unit, stream, bytes: _ } => snapshot.logs.push((unit, stream, one("log pipe")?)),
            Fact::Exited(exit) => snapshot.pending.push(Pending::Exited(exit)),
            Fact::SpawnFailed { key, failure } => snapshot.pending.push(Pending::SpawnFailed(key, failure)),
            Fact::ExitsAggregated { unit, count, generation } => {
                snapshot.pending.push(Pending::ExitsAggregated { unit, count, generation });
            }
            Fact::Notified(notified) => snapshot.pending.push(Pending::Notified(notified, fds)),
            Fact::SnapshotEnd => return Ok(self.snapshot.take().map(Incoming::Snapshot)),
            Fact::DaemonSignal { .. }
            | Fact::Ping
            | Fact::Refused { .. }
            | Fact::UpgradeFailed { .. }
            | Fact::SignalFailed { .. }
            | Fact::Spawned { .. }
            | Fact::ExecDone { .. }
            | Fact::LogPipeFailed { .. } => return Ok(Some(Incoming::Fact(fact, fds))),
            Fact::SnapshotBegin { .. } => return Err(ClientError::Place("snapshot within a snapshot")),
        }
        Ok(None)
    }
}

impl Snapshot {
    const fn new(cause: ManagerCause, keeper: u32, degraded: Vec<String>) -> Self {
        Self {
            cause,
            keeper,
            degraded,
            processes: Vec::new(),
            units: Vec::new(),
            stored: Vec::new(),
            logs: Vec::new(),
            pending: Vec::new(),
        }
    }
}

/// Runs `attempt`; when it would block, tells the runtime so, that it may wait for the socket anew.
fn attempted<T>(
    ready: &AsyncFd<OwnedFd>,
    interest: Interest,
    attempt: impl FnOnce() -> Result<Option<T>, LinkError>,
) -> Result<Option<T>, ClientError> {
    let mut failure = None;
    let done = ready.try_io(interest, |_| match attempt() {
        Ok(Some(value)) => Ok(Some(value)),
        Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
        Err(e) => {
            failure = Some(e);
            Ok(None)
        }
    });
    match (failure, done) {
        (Some(e), _) => Err(ClientError::Link(e)),
        (None, Ok(value)) => Ok(value),
        (None, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        (None, Err(e)) => Err(unready(e)),
    }
}

const fn unready(source: io::Error) -> ClientError {
    ClientError::Link(LinkError::Socket(source))
}
