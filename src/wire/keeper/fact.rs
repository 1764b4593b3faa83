use super::{
    Stream,
    codec::{wire_enum, wire_struct},
};
use crate::base::{ExitStatus, Generation, InvocationId, Now, Pid, ProcessKey, Signal, SpawnFailure, UnitName, Usage};

/// What the keeper tells the manager.
///
/// A snapshot lies between `SnapshotBegin` and `SnapshotEnd`; what waits for acknowledgement is repeated in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The snapshot begins.
    SnapshotBegin {
        /// The version that the keeper speaks; when it is not the manager's, nothing follows.
        version: u16,
        /// Why this manager was started.
        cause: ManagerCause,
        /// The keeper's own pid (1 in a container).
        keeper: u32,
        /// What the keeper could not have, for people.
        degraded: Vec<String>,
    },
    /// In a snapshot: a process runs.
    Process(RunningProcess),
    /// In a snapshot: a unit is known.
    Unit(UnitRecord),
    /// In a snapshot: a descriptor is stored; it comes along.
    Stored {
        /// For which unit.
        unit: UnitName,
        /// Under which name.
        name: String,
    },
    /// The snapshot is complete.
    SnapshotEnd,
    /// A log pipe is open; its read end comes along.
    LogPipe {
        /// Of which unit.
        unit: UnitName,
        /// Which of its pipes.
        stream: Stream,
        /// Its size in bytes.
        bytes: u32,
    },
    /// A log pipe could not be opened.
    LogPipeFailed {
        /// Of which unit.
        unit: UnitName,
        /// Which of its pipes.
        stream: Stream,
        /// errno(3).
        errno: i32,
    },
    /// A process exists; its program may not run yet.
    Spawned {
        /// Which.
        key: ProcessKey,
        /// Its pid.
        pid: Pid,
        /// When it started, in clock ticks since boot (field 22 of /proc/PID/stat).
        start_time: u64,
        /// What of its spec was lowered to what the keeper may give.
        clamped: Clamped,
    },
    /// The program has taken over (asked for by `confirm_exec`).
    ExecDone {
        /// Which process.
        key: ProcessKey,
    },
    /// The program never ran. Until acknowledged by `AckExit` it is repeated, unless the step is `Prepare` with EEXIST:
    /// that refuses a second start of `key` and says nothing about the first.
    SpawnFailed {
        /// Which process.
        key: ProcessKey,
        /// Where and why.
        failure: SpawnFailure,
    },
    /// A process ended. Repeated in each snapshot until acknowledged.
    Exited(Exit),
    /// More ends than the keeper can hold one by one: so many of a unit are known by number only.
    ExitsAggregated {
        /// Of which unit.
        unit: UnitName,
        /// How many are not acknowledged.
        count: u64,
        /// The highest generation among them.
        generation: Generation,
    },
    /// A datagram came on the notify socket; its descriptors come along. Repeated in each snapshot until acknowledged.
    Notified(Notified),
    /// What a service keeps is more or less now; a snapshot shows it by what is stored.
    Kept {
        /// Which unit's.
        unit: UnitName,
        /// How many descriptors.
        count: u32,
    },
    /// A signal came for the daemon.
    DaemonSignal {
        /// Which: HUP, TERM, INT, USR1 or USR2.
        signal: Signal,
    },
    /// "Are you there?"; the answer is `Alive`.
    Ping,
    /// A signal could not be sent.
    SignalFailed {
        /// To which process.
        key: ProcessKey,
        /// Which signal.
        signal: Signal,
        /// errno(3); ESRCH when it is gone.
        errno: i32,
    },
    /// An order was refused.
    Refused {
        /// Which order and why, for people.
        reason: String,
    },
    /// The upgrade did not happen; the old program goes on.
    UpgradeFailed {
        /// Why, for people.
        reason: String,
    },
}

/// Why a manager was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagerCause {
    /// The daemon was started.
    Boot,
    /// The manager before it died.
    Crash,
    /// The manager before it did not answer.
    Hang,
    /// The program was replaced.
    Upgrade,
    /// The new program's manager did not get ready; this is the old one again.
    Rollback,
}

impl ManagerCause {
    /// One word for rows and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
        }
    }
}

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningProcess {
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
    /// What it could not be given.
    pub clamped: Clamped,
}

/// What the keeper knows of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitRecord {
    /// Which.
    pub unit: UnitName,
    /// The highest generation that was started here.
    pub generation: Generation,
    /// What the manager asked it to remember.
    pub memo: Vec<u8>,
}

/// What was lowered to what the keeper may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Clamped {
    /// The OOM score.
    pub oom_score: bool,
    /// The niceness.
    pub nice: bool,
    /// A hard resource limit.
    pub limits: bool,
    /// An ambient capability.
    pub ambient: bool,
}

impl Clamped {
    /// Whether anything was.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }

    /// What it was, as units say it.
    pub fn settings(self) -> impl Iterator<Item = &'static str> {
        let Self { oom_score, nice, limits, ambient } = self;
        let all = [
            (oom_score, "oom_score_adjust"),
            (nice, "nice"),
            (limits, "a hard limit"),
            (ambient, "ambient_capabilities"),
        ];
        all.into_iter().filter_map(|(lowered, setting)| lowered.then_some(setting))
    }
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Which.
    pub key: ProcessKey,
    /// The id of its run.
    pub invocation: InvocationId,
    /// The pid that it had.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
    /// What it used; `None` for a process that was not our child.
    pub usage: Option<Usage>,
    /// When it was seen.
    pub at: Now,
    /// When it was started.
    pub started: Now,
}

/// A datagram of the notify socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// Its number, for `AckNotified`.
    pub seq: u64,
    /// The sender's pid as the kernel says it.
    pub pid: u32,
    /// The sender's user id.
    pub uid: u32,
    /// The sender's group id.
    pub gid: u32,
    /// The process of ours that sent it.
    pub key: Option<ProcessKey>,
    /// The process of ours that leads the session of the sender, where that was still to be seen.
    pub session: Option<ProcessKey>,
    /// When the sender started, in clock ticks since boot, where it is none of our own and was still to be seen: only
    /// while that is true does its pid tell anything.
    pub started: Option<u64>,
    /// What it says, unparsed.
    pub bytes: Vec<u8>,
    /// How many earlier datagrams of this sender's unit were dropped because too many wait.
    pub dropped: u64,
}

wire_enum!(Fact {
    1 SnapshotBegin { version, cause, keeper, degraded },
    2 Process(process),
    3 Unit(unit),
    4 Stored { unit, name },
    5 SnapshotEnd,
    6 LogPipe { unit, stream, bytes },
    7 LogPipeFailed { unit, stream, errno },
    8 Spawned { key, pid, start_time, clamped },
    9 ExecDone { key },
    10 SpawnFailed { key, failure },
    11 Exited(exit),
    12 ExitsAggregated { unit, count, generation },
    13 Notified(notified),
    14 DaemonSignal { signal },
    15 Ping,
    16 SignalFailed { key, signal, errno },
    17 Refused { reason },
    18 UpgradeFailed { reason },
    19 Kept { unit, count },
});
wire_enum!(ManagerCause { 0 Boot, 1 Crash, 2 Hang, 3 Upgrade, 4 Rollback });
wire_struct!(RunningProcess { key, invocation, pid, start_time, started, clamped });
wire_struct!(UnitRecord { unit, generation, memo });
wire_struct!(Clamped { oom_score, nice, limits, ambient });
wire_struct!(Exit { key, invocation, pid, status, usage, at, started });
wire_struct!(Notified { seq, pid, uid, gid, key, session, started, bytes, dropped });
