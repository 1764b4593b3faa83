use std::ffi::CString;

use super::{
    SpawnSpec, Stream,
    codec::{DecodeError, Reader, Wire, Writer, wire_enum, wire_struct},
};
use crate::base::{InvocationId, Pid, ProcessKey, Signal, UnitName};

/// What the manager tells the keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The first order of every manager; the keeper answers with its snapshot.
    Hello {
        /// The version that the manager speaks.
        version: u16,
    },
    /// "I live": the answer to a ping, and a sign of progress while the manager starts.
    Alive,
    /// The manager has taken everything over and works.
    Ready,
    /// Start a process. Descriptors that come along are its output, where that is [`Output::Passed`](super::Output::Passed), and the
    /// cgroup directory to start it in.
    Spawn(Box<SpawnOrder>),
    /// Send a signal to that process.
    Signal {
        /// Which.
        key: ProcessKey,
        /// What.
        signal: Signal,
    },
    /// Send a signal to the process group of that process (it leads a session of its own), and SIGCONT after it: a stopped
    /// process takes a deadly signal only when it goes on (systemd.kill(5)).
    SignalGroup {
        /// Which.
        key: ProcessKey,
        /// What.
        signal: Signal,
    },
    /// Send a signal to a process that the keeper did not start, if it is still the one that was seen.
    SignalPid {
        /// Its pid.
        pid: Pid,
        /// When it started, in clock ticks since boot (field 22 of /proc/PID/stat).
        start_time: u64,
        /// What.
        signal: Signal,
    },
    /// That process is the main one of its unit from now on, though the keeper did not start it: its end is told like any
    /// other's. The descriptor that comes along stands for it (pidfd_open(2)).
    Take {
        /// Its name from now on.
        key: ProcessKey,
        /// The id of its run.
        invocation: InvocationId,
        /// Its pid.
        pid: Pid,
        /// When it started, in clock ticks since boot.
        start_time: u64,
    },
    /// Keep the descriptor that comes along. Many may bear one name.
    Store {
        /// For which unit.
        unit: UnitName,
        /// Under which name.
        name: String,
    },
    /// Keep the descriptor that comes along for the service itself: whoever is started with
    /// [`kept`](super::SpawnSpec::kept) is passed it. One that is kept already is not kept twice; one too many is closed.
    Keep {
        /// For which unit.
        unit: UnitName,
        /// Under which name; without a colon, which names of [`Order::Store`] have.
        name: String,
        /// How many the unit may have so.
        max: u32,
        /// Whether it is closed once its other side has hung up (POLLHUP or POLLERR, poll(2)).
        polled: bool,
    },
    /// Close all that is kept for the service itself.
    Release {
        /// Of which unit.
        unit: UnitName,
    },
    /// Close what is stored or kept under a name.
    Forget {
        /// Of which unit.
        unit: UnitName,
        /// Which name.
        name: String,
    },
    /// The unit is removed: forget its descriptors, log pipes and memo. Its highest generation stays known.
    DropUnit {
        /// Which.
        unit: UnitName,
    },
    /// An instance that served a connection is over, and its name does not come again: forget all of it.
    DropInstance {
        /// Which.
        unit: UnitName,
    },
    /// Open a log pipe of a unit, or send the read end of the one that is there.
    OpenLog {
        /// Of which unit.
        unit: UnitName,
        /// Which of its pipes.
        stream: Stream,
        /// Wanted size in bytes; less is taken where the kernel gives less.
        bytes: u32,
    },
    /// Keep these bytes with the unit, in place of earlier ones: the manager's wish and state, opaque.
    Remember {
        /// For which unit.
        unit: UnitName,
        /// At most [`MEMO_BYTES_MAX`](super::MEMO_BYTES_MAX).
        memo: Vec<u8>,
    },
    /// The end of that process is committed: forget it.
    AckExit {
        /// Which process.
        key: ProcessKey,
    },
    /// So many ends from [`Fact::ExitsAggregated`](super::Fact::ExitsAggregated) are committed.
    AckAggregated {
        /// Of which unit.
        unit: UnitName,
        /// How many.
        count: u64,
    },
    /// That datagram is dealt with: forget it.
    AckNotified {
        /// Its number.
        seq: u64,
    },
    /// Replace the keeper's program by the one at `path` and start a manager of it; everything held survives.
    Upgrade {
        /// The new executable.
        path: CString,
    },
    /// All is stopped: end.
    Shutdown {
        /// The exit code of the daemon.
        code: u8,
    },
    /// Send a datagram to the init system above us ($NOTIFY_SOCKET), which listens to the keeper's pid only.
    TellInit {
        /// The datagram; descriptors that come along go with it.
        bytes: Vec<u8>,
    },
}

/// One process to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnOrder {
    /// Its name in every later order and fact.
    pub key: ProcessKey,
    /// The id of its run.
    pub invocation: InvocationId,
    /// How it is to be set up.
    pub spec: SpawnSpec,
    /// What is to be remembered of its unit before it starts, as by [`Order::Remember`].
    pub memo: Option<Vec<u8>>,
}

impl Wire for Box<SpawnOrder> {
    fn put(&self, writer: &mut Writer) {
        self.as_ref().put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        SpawnOrder::take(reader).map(Self::new)
    }
}

wire_struct!(SpawnOrder { key, invocation, spec, memo });
wire_enum!(Order {
    1 Hello { version },
    2 Alive,
    3 Ready,
    4 Spawn(order),
    5 Signal { key, signal },
    6 SignalGroup { key, signal },
    7 SignalPid { pid, start_time, signal },
    8 Store { unit, name },
    9 Forget { unit, name },
    10 DropUnit { unit },
    11 OpenLog { unit, stream, bytes },
    12 Remember { unit, memo },
    13 AckExit { key },
    14 AckAggregated { unit, count },
    15 AckNotified { seq },
    16 Upgrade { path },
    17 Shutdown { code },
    18 TellInit { bytes },
    19 Take { key, invocation, pid, start_time },
    20 Keep { unit, name, max, polled },
    21 Release { unit },
    22 DropInstance { unit },
});
