//! What the node machine wants done. The engine carries each out and comes back with a fact; no effect returns a value.

use std::{path::Path, sync::Arc, time::Duration};

use super::{input::Finding, status::Verdict};
use crate::{
    base::{
        ExitStatus, InvocationId, Notice, Pid, ProcessKey, RunId, RunResult, Signal, SpawnFailure, Ticket, UnitName,
        Wall,
    },
    unit::{
        UnitDef,
        spec::{Command, ExternalManager},
    },
};

/// One thing the node machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start a process. Comes back as `Spawned` (then `ExecDone`) or `SpawnFailed`, and in the end `Exited`.
    Spawn(Box<SpawnOrder>),
    /// Send a signal to one process; no answer.
    Kill {
        /// To whom.
        key: ProcessKey,
        /// Which.
        signal: Signal,
    },
    /// Send a signal to every process of the unit's run, found by cgroup or by walk; `but` is left out (KillMode=mixed).
    /// SIGCONT follows it. Answered by `TreeEmpty` as soon as no process is left, unasked.
    KillTree {
        /// Whose.
        run: RunId,
        /// Which.
        signal: Signal,
        /// Left out.
        but: Option<ProcessKey>,
    },
    /// Kill what a run that is over may have left where only a walk finds it; no answer.
    Sweep {
        /// Whose.
        run: RunId,
        /// The run's id, which its processes have in their environment.
        invocation: InvocationId,
        /// Its main process that was.
        main: Option<Pid>,
    },
    /// Find the process that is to be the main one of its run, and let the keeper know it as `key`. Comes back as `Spawned`,
    /// or as `MainMissing`.
    FindMain {
        /// Its name from now on.
        key: ProcessKey,
        /// The run's id.
        invocation: InvocationId,
        /// What says which process it is.
        from: MainSource,
    },
    /// Say `TreeEmpty` as soon as no process of the run is left, unasked.
    WatchTree {
        /// Whose.
        run: RunId,
    },
    /// Remove what a run that is over had for its lifetime; no answer. Nothing that follows may overtake it.
    Tidy {
        /// The definition that it ran with; its credentials and its PID file go.
        def: Arc<UnitDef>,
        /// What goes as well.
        leftovers: Leftovers,
    },
    /// Send a probe. Comes back as `Probed`, always (a timeout is a failure).
    Probe {
        /// For whose run.
        run: RunId,
        /// Its place in the unit's list.
        probe: usize,
        /// The definition that is in force for this run; its `health[probe]` is to be asked.
        def: Arc<UnitDef>,
    },
    /// Forget probes under way for this run.
    CancelProbes {
        /// Whose.
        run: RunId,
    },
    /// Ask whoever keeps an external service how it is. Comes back as `Watched` with the same number, always; a newer
    /// question for the same unit takes the place of an older one, which need not be answered.
    Watch {
        /// The unit's newest run, whether or not it is over.
        run: RunId,
        /// Names the question.
        number: u32,
        /// The definition whose manager is to be asked.
        def: Arc<UnitDef>,
    },
    /// Have the host's systemd do something with a unit of its own; no answer. What came of it the next look shows.
    Host {
        /// Our unit.
        unit: UnitName,
        /// What systemd calls it.
        host: Box<str>,
        /// What.
        order: HostOrder,
    },
    /// Keep these bytes with the keeper (at most 4096), so that a new manager goes on from here. It may wait, but not longer
    /// than the next spawn or kill of the unit, a reply, or any notice.
    Remember {
        /// For which unit.
        unit: UnitName,
        /// Opaque to all but this machine.
        memo: Vec<u8>,
    },
    /// The unit's file is gone and it is down: let go of all that is held for it, its listening sockets too.
    Forget {
        /// Which.
        unit: UnitName,
    },
    /// Bind its sockets, unless they are held, and wait for traffic on any of them; once more when it does already. Comes
    /// back as `Traffic`, once, or as `ListenFailed`; from a unit that accepts as `Listens`, then as `Connected`, each time.
    Listen {
        /// Which.
        unit: UnitName,
        /// What it listens on.
        def: Arc<UnitDef>,
    },
    /// Wait for its traffic no longer; its sockets stay.
    Unlisten {
        /// Which.
        unit: UnitName,
    },
    /// Make an instance of this template for the connection that was told of, and pass it that. Comes back as `Instance`, unless
    /// the connection is lost; it must be before the next `Connected`.
    Accept {
        /// The template.
        unit: UnitName,
        /// The connection's number.
        number: u64,
    },
    /// Close the connection that was told of.
    HangUp {
        /// To whom it was made.
        unit: UnitName,
        /// Why.
        reason: HangUp,
    },
    /// It is stopped for good: close its sockets and remove their files. Of an instance that serves a connection: close that.
    Release {
        /// Which.
        unit: UnitName,
    },
    /// Keep for good when the unit's timer last elapsed. It may wait.
    Stamp {
        /// Whose timer.
        unit: UnitName,
        /// When.
        at: Wall,
    },
    /// Tell everyone.
    Notice(Notice),
    /// The outcome of an order.
    Reply {
        /// Which.
        ticket: Ticket,
        /// Per unit, in the order they were named.
        outcomes: Vec<(UnitName, Outcome)>,
    },
    /// Every unit is stopped; the daemon may end. `code` is its exit code.
    AllStopped {
        /// 0 unless a start-limit action says otherwise.
        code: u8,
    },
}

/// What the host's systemd is to do with one of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostOrder {
    /// Forget that it has failed, and how often it was started.
    ResetFailed,
    /// Not start it again.
    Stop,
}

/// What a run has left that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Its runtime directories.
    pub directories: bool,
    /// The descriptors that it keeps with us.
    pub descriptors: bool,
}

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// The unit is about to stop, or did.
    NotListening,
    /// TriggerLimitBurst=; the unit fails.
    TriggerLimit,
    /// MaxConnections=.
    MaxConnections,
    /// MaxConnectionsPerSource=.
    MaxConnectionsPerSource,
}

/// What says which process is the main one of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainSource {
    /// A file that holds its pid (PIDFile=).
    PidFile(Box<Path>),
    /// Nothing: if the run has left one process behind, that is it.
    Guess,
    /// A message of the service (MAINPID=).
    Message {
        /// Its pid.
        pid: Pid,
        /// Whether the sender may name a process outside of the unit.
        trusted: bool,
    },
}

/// A process to start.
#[derive(Debug, Clone, PartialEq)]
pub struct SpawnOrder {
    /// Its name from now on.
    pub key: ProcessKey,
    /// The run's id.
    pub invocation: InvocationId,
    /// The definition that is in force for this run, whatever the files say by now.
    pub def: Arc<UnitDef>,
    /// Which of the unit's commands, by directive: `exec_start`, `exec_stop_post` …
    pub directive: &'static str,
    /// Whether it is one of ExecStart=: the service itself, which gets its sockets and its watchdog.
    pub is_start: bool,
    /// What is run.
    pub command: Command,
    /// Variables for it besides the unit's: MAINPID, SERVICE_RESULT, EXIT_CODE, EXIT_STATUS, MONITOR_* …
    pub environment: Vec<(String, String)>,
    /// Whether `ExecDone` is waited for.
    pub confirm_exec: bool,
    /// Whether the run has had no process before it.
    pub is_first: bool,
}

/// How an order ended for one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done,
    /// There was nothing to do: it was so already.
    Already,
    /// Not started, because its exec_condition says that it is not to run now.
    Skipped,
    /// Reset: what was cleared.
    Cleared {
        /// Restarts that had been counted.
        restarts: u32,
        /// Starts that stood in the window.
        starts: u32,
        /// Whether it was failed.
        was_failed: bool,
    },
    /// A check: what each probe found, in the order of the unit's list; empty when it has none.
    Checked(Vec<ProbeReport>),
    /// It did not come about.
    Failed(Refusal),
}

/// What one probe found when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// What its answer says.
    pub finding: Finding,
    /// How long it took.
    pub took: Duration,
    /// What is concluded with this answer counted in.
    pub verdict: Verdict,
    /// It is bad and says only that the unit is not there yet: it came within the probe's start-up grace.
    pub is_early: bool,
}

/// Why an order did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No unit has this name.
    UnknownUnit {
        /// The most similar name, if one is similar.
        similar: Option<UnitName>,
    },
    /// The run ended or failed before it was up.
    StartFailed {
        /// Its class.
        result: RunResult,
        /// How its main or failing process ended.
        status: Option<ExitStatus>,
    },
    /// Its sockets cannot be bound or waited for.
    CannotListen {
        /// Why.
        failure: SpawnFailure,
    },
    /// A unit that it needs did not come up.
    DependencyFailed {
        /// Which.
        needs: UnitName,
    },
    /// Too many starts in the window.
    StartLimitHit,
    /// The unit has no exec_reload.
    CannotReload,
    /// The unit is not up.
    NotRunning,
    /// Its processes are not ours to signal.
    KeptElsewhere {
        /// Whose they are.
        manager: ExternalManager,
    },
    /// The unit is not down.
    NotDown,
    /// It serves one connection and is not started again.
    OneConnection,
    /// The reload command failed.
    ReloadFailed,
    /// Its processes do not die on the final signal; it waits, and nobody takes its place.
    Unkillable,
    /// Another order took its place before it was done.
    Superseded,
    /// The daemon is stopping.
    ShuttingDown,
}
