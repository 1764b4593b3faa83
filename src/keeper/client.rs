//! The manager's half of the conversation.
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use super::link::{Frame, Inlet, LinkError, Sent};
use crate::{
    base::{Generation, ProcessKey, SpawnFailure, UnitName},
    sys::{PacketSocket, WaitFor, Waiting},
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
    readable: Waiting,
    /// There while orders wait for room.
    writable: Option<Waiting>,
    inlet: Inlet,
    outlet: VecDeque<Frame<OwnedFd>>,
    /// Orders in the outlet.
    queued: usize,
    snapshot: Option<Box<Snapshot>>,
}

impl Client {
    /// Takes over the socket that the keeper gave us and greets it. Must be called within a runtime.
    ///
    /// # Errors
    /// When it is no such socket.
    pub fn new(fd: OwnedFd) -> Result<Self, ClientError> {
        let number = fd.as_raw_fd();
        let readable = Waiting::new(fd.as_fd(), WaitFor::Reading);
        let mut client = Self {
            readable: readable.map_err(|source| ClientError::Socket { fd: number, source })?,
            writable: None,
            socket: PacketSocket::from(fd),
            inlet: Inlet::new(),
            outlet: VecDeque::new(),
            queued: 0,
            snapshot: None,
        };
        client.send(&Order::Hello { version: VERSION }, Vec::new())?;
        client.post()?;
        Ok(client)
    }

    /// Gives an order, with the descriptors that belong to it. It leaves together with those that follow at once: when there
    /// are enough for a packet, with [`Self::post`], or when [`Self::recv`] is waited for.
    ///
    /// # Errors
    /// When the keeper is gone, the order is too large, or too many wait.
    pub fn send(&mut self, order: &Order, fds: Vec<OwnedFd>) -> Result<(), ClientError> {
        if self.queued >= ORDERS_QUEUED_MAX {
            return Err(ClientError::Full);
        }
        self.queued += 1;
        if fds.is_empty() && self.outlet.back_mut().is_some_and(|frame| frame.add(order)) {
            return Ok(());
        }
        self.outlet.push_back(Frame::new(order, fds).map_err(ClientError::Link)?);
        // All but the last are complete: the keeper works on them while we prepare the next.
        self.post_but(1)
    }

    /// Has the orders leave that wait for company. What finds no room now waits for [`Self::recv`] or [`Self::flush`].
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn post(&mut self) -> Result<(), ClientError> {
        self.post_but(0)
    }

    /// Whether no order waits here any more.
    pub fn has_sent_all(&self) -> bool {
        self.outlet.is_empty()
    }

    fn post_but(&mut self, kept: usize) -> Result<(), ClientError> {
        while self.outlet.len() > kept
            && let Some(frame) = self.outlet.front()
            && frame.send(&self.socket).map_err(ClientError::Link)? == Sent::Whole
        {
            self.posted();
        }
        Ok(())
    }

    fn posted(&mut self) {
        self.queued -= self.outlet.pop_front().map_or(0, |frame| frame.messages);
    }

    /// Waits until all orders are on their way.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while !self.push()? {
            if let Some(writable) = &self.writable {
                writable.ready().await.map_err(unready)?;
            }
        }
        Ok(())
    }

    /// Waits for the next thing from the keeper, sending what waits meanwhile. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the keeper is gone or says what has no meaning.
    pub async fn recv(&mut self) -> Result<Incoming, ClientError> {
        self.post()?;
        loop {
            self.push()?;
            while let Some((fact, fds)) = self.pull()? {
                if let Some(incoming) = self.place(fact, fds)? {
                    return Ok(incoming);
                }
            }
            let ready = match &self.writable {
                None => self.readable.ready().await,
                Some(writable) => tokio::select! {
                    ready = self.readable.ready() => ready,
                    ready = writable.ready() => ready,
                },
            };
            ready.map_err(unready)?;
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

    /// Sends what waits; true when all is sent.
    fn push(&mut self) -> Result<bool, ClientError> {
        while let Some(frame) = self.outlet.front() {
            let socket = &self.socket;
            let writable = match &self.writable {
                Some(writable) => writable,
                None => self.writable.insert(Waiting::new(socket.as_fd(), WaitFor::Writing).map_err(unready)?),
            };
            let attempt = attempted(writable, || match frame.send(socket)? {
                sent @ (Sent::Whole | Sent::Later) => Ok(Some(sent)),
                Sent::Full => Ok(None),
            });
            if attempt? != Some(Sent::Whole) {
                return Ok(false);
            }
            self.posted();
        }
        self.writable = None;
        Ok(true)
    }

    fn pull(&mut self) -> Result<Option<(Fact, Vec<OwnedFd>)>, ClientError> {
        let (socket, inlet) = (&self.socket, &mut self.inlet);
        if inlet.has_more() {
            return inlet.take(socket).map_err(ClientError::Link);
        }
        attempted(&self.readable, || inlet.take(socket))
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
            | Fact::Kept { .. }
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
    waiting: &Waiting,
    attempt: impl FnOnce() -> Result<Option<T>, LinkError>,
) -> Result<Option<T>, ClientError> {
    let mut failure = None;
    let done = waiting.attempt(|_| match attempt() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, and the keeper's end of its socket after the greeting was read.
    fn client() -> (Client, PacketSocket, Inlet) {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let client = Client::new(theirs.into()).unwrap();
        let mut inlet = Inlet::new();
        let (hello, _) = inlet.take::<Order>(&ours).unwrap().unwrap();
        assert_eq!(hello, Order::Hello { version: VERSION });
        (client, ours, inlet)
    }

    fn tell(socket: &PacketSocket, fact: &Fact) {
        assert_eq!(Frame::<OwnedFd>::new(fact, Vec::new()).unwrap().send(socket).unwrap(), Sent::Whole);
    }

    fn begin(version: u16) -> Fact {
        Fact::SnapshotBegin { version, cause: ManagerCause::Boot, keeper: 7, degraded: Vec::new() }
    }

    #[tokio::test]
    async fn orders_that_find_no_room_wait_and_arrive_in_order() {
        let (mut client, keeper, mut inlet) = client();
        let count = 16_000;
        for seq in 0..count {
            client.send(&Order::AckNotified { seq }, Vec::new()).unwrap();
        }
        assert!(!client.outlet.is_empty());
        let mut next = 0;
        let read = async {
            while next < count {
                match inlet.take::<Order>(&keeper).unwrap() {
                    Some((order, _)) => {
                        assert_eq!(order, Order::AckNotified { seq: next });
                        next += 1;
                    }
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let (flushed, ()) = tokio::join!(client.flush(), read);
        flushed.unwrap();
    }

    #[tokio::test]
    async fn a_keeper_that_never_reads_is_given_up() {
        let (mut client, _keeper, _) = client();
        let order = Order::TellInit { bytes: vec![0; 1000] };
        let refused = (0..2 * ORDERS_QUEUED_MAX).map(|_| client.send(&order, Vec::new())).find_map(Result::err);
        assert!(matches!(refused, Some(ClientError::Full)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_snapshot_is_gathered_and_what_happens_meanwhile_goes_by() {
        let (mut client, keeper, _) = client();
        tell(&keeper, &begin(VERSION));
        let unit = UnitName::new("a").unwrap();
        tell(&keeper, &Fact::Unit(UnitRecord { unit, generation: Generation(3), memo: Vec::new() }));
        tell(&keeper, &Fact::Ping);
        tell(&keeper, &Fact::SnapshotEnd);
        assert!(matches!(client.recv().await, Ok(Incoming::Fact(Fact::Ping, _))));
        match client.recv().await {
            Ok(Incoming::Snapshot(snapshot)) => assert_eq!((snapshot.keeper, snapshot.units.len()), (7, 1)),
            other => panic!("{other:?}"),
        }
        assert!(client.try_recv().unwrap().is_none());
        drop(keeper);
        assert!(matches!(client.recv().await, Err(ClientError::Link(LinkError::Closed))));
    }

    #[tokio::test]
    async fn a_keeper_of_another_version_is_refused() {
        let (mut client, keeper, _) = client();
        tell(&keeper, &begin(VERSION + 1));
        assert!(matches!(client.recv().await, Err(ClientError::Version(_))));
    }
}
