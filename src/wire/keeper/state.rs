use super::{
    Clamped, Exit, ManagerCause, Notified, Stream,
    codec::{wire_enum, wire_struct},
};
use crate::base::{Generation, InvocationId, Now, Pid, ProcessKey, Signal, SpawnFailure, UnitName};

/// Everything a keeper holds, as it hands it to the next program image of itself. Descriptors are numbers that stay
/// open through the exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperState {
    /// [`STATE_VERSION`](super::STATE_VERSION) of the writer.
    pub version: u16,
    /// What it holds for each unit.
    pub units: Vec<UnitState>,
    /// What runs.
    pub processes: Vec<ProcessState>,
    /// What waits for acknowledgement, oldest first.
    pub kept: Vec<KeptState>,
    /// Ends that are known by number only.
    pub aggregated: Vec<AggregatedState>,
    /// Datagrams that were dropped and not yet told, by unit.
    pub dropped: Vec<DroppedState>,
    /// The number of the next thing that is kept.
    pub next_seq: u64,
    /// Signals for the daemon that no manager has been told.
    pub signals: Vec<Signal>,
    /// The manager that runs and is to be replaced.
    pub manager: Option<Pid>,
    /// Why the next manager is started.
    pub cause: ManagerCause,
    /// The lock on the runtime directory.
    pub lock: i32,
    /// The notify socket.
    pub notify: i32,
    /// The executable of the program before, until its successor's manager is ready.
    pub previous: Option<i32>,
    /// The OOM score that the daemon was started with.
    pub oom_score_adj: i16,
    /// Why the program before went back to this one, for the manager.
    pub failure: Option<String>,
}

/// What a keeper holds for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// Which.
    pub unit: UnitName,
    /// The highest generation of any process of it.
    pub generation: Generation,
    /// The highest generation of a main process of it.
    pub main: Generation,
    /// What the manager asked to remember.
    pub memo: Vec<u8>,
    /// Stored descriptors, oldest first.
    pub stored: Vec<StoredState>,
    /// Log pipes.
    pub logs: Vec<LogState>,
}

/// A stored descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// Its name.
    pub name: String,
    /// Its number.
    pub fd: i32,
    /// Whether it is closed once its other side has hung up.
    pub polled: bool,
}

/// A log pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// Which.
    pub stream: Stream,
    /// Its read end.
    pub reader: i32,
    /// Its write end.
    pub writer: i32,
    /// Its size in bytes.
    pub bytes: u32,
}

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessState {
    /// Which.
    pub key: ProcessKey,
    /// The id of its run.
    pub invocation: InvocationId,
    /// Its pid.
    pub pid: Pid,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// When it was started.
    pub started: Now,
    /// What stands for it where it is no child of the keeper.
    pub pidfd: Option<i32>,
    /// What it could not be given.
    pub clamped: Clamped,
}

/// One thing that waits for acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptState {
    /// Its number.
    pub seq: u64,
    /// What it is.
    pub what: KeptWhat,
}

/// What waits for acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptWhat {
    /// An end.
    Exited(Exit),
    /// A start that failed.
    SpawnFailed {
        /// Of which process.
        key: ProcessKey,
        /// Where and why.
        failure: SpawnFailure,
    },
    /// A datagram.
    Notified {
        /// Itself.
        notified: Notified,
        /// Its descriptors.
        fds: Vec<i32>,
    },
}

/// Ends that are known by number only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregatedState {
    /// Of which unit.
    pub unit: UnitName,
    /// How many.
    pub count: u64,
    /// The highest generation among them.
    pub generation: Generation,
}

/// Datagrams that were dropped and not yet told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedState {
    /// Whose; `None` is everyone who is no process of ours.
    pub unit: Option<UnitName>,
    /// How many.
    pub count: u64,
}

wire_struct!(KeeperState {
    version,
    units,
    processes,
    kept,
    aggregated,
    dropped,
    next_seq,
    signals,
    manager,
    cause,
    lock,
    notify,
    previous,
    oom_score_adj,
    failure,
});
wire_struct!(UnitState { unit, generation, main, memo, stored, logs });
wire_struct!(StoredState { name, fd, polled });
wire_struct!(LogState { stream, reader, writer, bytes });
wire_struct!(ProcessState { key, invocation, pid, start_time, started, pidfd, clamped });
wire_struct!(KeptState { seq, what });
wire_enum!(KeptWhat { 0 Exited(exit), 1 SpawnFailed { key, failure }, 2 Notified { notified, fds } });
wire_struct!(AggregatedState { unit, count, generation });
wire_struct!(DroppedState { unit, count });

/// One process as it is mirrored for a keeper that comes after this one has died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredProcess {
    /// Which.
    pub key: ProcessKey,
    /// The id of its run.
    pub invocation: InvocationId,
    /// When it was started.
    pub started: Now,
    /// How far it has come.
    pub stage: MirroredStage,
}

/// How far a mirrored process has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirroredStage {
    /// It is about to be made.
    Intent,
    /// It runs.
    Running {
        /// Its pid.
        pid: Pid,
        /// When it started, in clock ticks since boot.
        start_time: u64,
    },
    /// It ended, which is not acknowledged.
    Ended(Exit),
    /// It could not be started, which is not acknowledged.
    SpawnFailed(SpawnFailure),
}

/// One unit as it is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredUnit {
    /// Which.
    pub unit: UnitName,
    /// The highest generation of any process of it.
    pub generation: Generation,
    /// The highest generation of a main process of it.
    pub main: Generation,
    /// What the manager asked to remember.
    pub memo: Vec<u8>,
}

/// A descriptor that the next keeper gets back from the init system above, or finds in the processes that it takes over, as it
/// is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredDescriptor {
    /// Its number in the init system's store, never given twice; in the order in which they came.
    pub id: u32,
    /// For which unit it is held.
    pub unit: UnitName,
    /// What it is there.
    pub held_as: HeldAs,
    /// The device of the file, pipe or socket that it leads to, and its number there (stat(2)).
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}

/// What a descriptor is for its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldAs {
    /// Stored under a name.
    Stored {
        /// Which.
        name: String,
        /// Whether it is closed once its other side has hung up.
        polled: bool,
    },
    /// Both ends of a log pipe.
    Log {
        /// Which of the unit's.
        stream: Stream,
        /// Its size in bytes.
        bytes: u32,
    },
}

/// What a mirror begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorHead {
    /// [`STATE_VERSION`](super::STATE_VERSION) of the writer.
    pub version: u16,
    /// The boot of the machine that its pids belong to.
    pub boot: String,
}

wire_struct!(MirroredProcess { key, invocation, started, stage });
wire_enum!(MirroredStage { 0 Intent, 1 Running { pid, start_time }, 2 Ended(exit), 3 SpawnFailed(failure) });
wire_struct!(MirroredUnit { unit, generation, main, memo });
wire_struct!(MirroredDescriptor { id, unit, held_as, device, inode });
wire_enum!(HeldAs { 0 Stored { name, polled }, 1 Log { stream, bytes } });
wire_struct!(MirrorHead { version, boot });
