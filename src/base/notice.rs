use super::{
    Actor, Consequence, ExitStatus, FleetEvent, HeldBack, InvocationId, Now, Pid, Remedy, RunId, RunResult, Signal,
    SpawnFailure, StartCause, TimeSpan, UnitName, Usage,
};

/// One thing that happened, said once by a machine; the log, the store, the event stream and the alerts all read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// When.
    pub at: Now,
    /// What.
    pub what: Happening,
}

/// How much a happening matters to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A state change, nothing to do.
    Info,
    /// We go on, and someone should know.
    Warning,
    /// Someone must act.
    Critical,
    /// An invariant of ours is broken.
    Bug,
}

/// What runs short where a probe is degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shortage {
    /// Room on a disk.
    Disk,
    /// The time until a certificate expires.
    Certificate,
    /// A replica is behind.
    Replication,
    /// Something else of the service.
    Service,
}

/// Everything that can happen. Names and fields are stable: rows, alerts and the stream depend on them.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A run was ordered: the keeper is asked to start its first process.
    RunStarting {
        /// Which.
        run: RunId,
        /// Its id in the environment.
        invocation: InvocationId,
        /// Why.
        cause: StartCause,
        /// How many automatic restarts in a row this is; 0 for a first start.
        restarts: u32,
    },
    /// The main process exists.
    MainStarted {
        /// Which run.
        run: RunId,
        /// Its pid.
        pid: Pid,
    },
    /// A run is up: ready as its type demands.
    RunReady {
        /// Which.
        run: RunId,
    },
    /// A run is over: its main process and the commands after it have ended. Said exactly once for each run that began.
    RunEnded {
        /// Which.
        run: RunId,
        /// Its id in the environment.
        invocation: InvocationId,
        /// How the main process ended; `None` when none ran.
        status: Option<ExitStatus>,
        /// What it used.
        usage: Option<Usage>,
        /// systemd's class of this end.
        result: RunResult,
        /// Whether it was asked to end (stop, restart, shutdown, a conflict): such an end alerts nobody.
        wanted: bool,
        /// What is done about it.
        consequence: Consequence,
        /// How long a restart waits, where it does and that is known: it is not when the end is said again.
        delay: Option<TimeSpan>,
        /// Why it came to that, for people, where more is known than its status: a probe, a signal that someone sent, a program
        /// that could not be run. A new manager that says the end again does not know it.
        why: Option<String>,
        /// Whether a new manager says it again, so that the row is complete: (unit, generation) says which. It changes
        /// nothing else and alerts nobody twice.
        replayed: bool,
    },
    /// The spawn of a process failed before its program ran.
    SpawnFailed {
        /// Which run.
        run: RunId,
        /// What for: `exec_start`, `exec_start_pre` …
        command: String,
        /// The step and error.
        failure: SpawnFailure,
        /// For people: the program or file, and what is wrong with it.
        reason: String,
    },
    /// A command around the main process failed, or ran into its deadline.
    ControlFailed {
        /// Which run.
        run: RunId,
        /// Which command: `exec_start_pre` …
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Whether a leading `-` says to ignore it.
        ignored: bool,
    },
    /// The next run is due after a delay.
    RestartScheduled {
        /// Of which unit.
        unit: UnitName,
        /// After how long.
        delay: TimeSpan,
        /// How many automatic restarts in a row this will be.
        restarts: u32,
    },
    /// Too many starts within the window; the unit has failed.
    StartLimitHit {
        /// Which unit.
        unit: UnitName,
        /// How many starts the window allows.
        burst: u32,
        /// How long the window is.
        interval: TimeSpan,
        /// How the last run ended, for people.
        last: Option<String>,
        /// Whether it was at its limit already, and only one more start was refused.
        again: bool,
    },
    /// The unit is failed and stays so until someone acts.
    UnitFailed {
        /// Which unit.
        unit: UnitName,
        /// Why.
        result: RunResult,
    },
    /// The unit is inactive by intent.
    UnitStopped {
        /// Which unit.
        unit: UnitName,
        /// Who wanted it.
        actor: Actor,
    },
    /// The unit waits for traffic on its sockets: the first starts it, or each connection makes an instance.
    Listening {
        /// Which unit.
        unit: UnitName,
    },
    /// A stop or start took longer than allowed and was escalated.
    TimedOut {
        /// Which run.
        run: RunId,
        /// What was waited for: `start`, `stop-sigterm`, `reload` …
        what: &'static str,
        /// The deadline that passed.
        after: TimeSpan,
    },
    /// Processes of the unit did not die on SIGKILL; it waits, and nobody takes its place.
    Unkillable {
        /// Which run.
        run: RunId,
    },
    /// The kernel ended a process of the service for want of memory.
    OomKilled {
        /// Which run.
        run: RunId,
    },
    /// The service did not feed its watchdog.
    WatchdogExpired {
        /// Which run.
        run: RunId,
    },
    /// Someone sent its main process a signal.
    Signalled {
        /// Which run.
        run: RunId,
        /// Which signal.
        signal: Signal,
        /// Who.
        actor: Actor,
    },
    /// A reload was done.
    Reloaded {
        /// Which run.
        run: RunId,
        /// Who asked.
        actor: Actor,
    },
    /// A reload failed; the service runs on.
    ReloadFailed {
        /// Which run.
        run: RunId,
        /// Why, for people.
        reason: String,
    },
    /// A probe's verdict fell to unhealthy.
    Unhealthy {
        /// Which run.
        run: RunId,
        /// Which probe.
        probe: String,
        /// Why, for people.
        reason: String,
        /// Whether the unit asks for a warning only.
        severity: Severity,
        /// What is done about it.
        remedy: Remedy,
    },
    /// A probe wants the unit restarted, and that is held back; it is done when nothing is in its way, if it is still wanted.
    RestartHeld {
        /// Which run.
        run: RunId,
        /// Which probe.
        probe: String,
        /// What holds it back.
        held: HeldBack,
    },
    /// A restart that was held back is done now.
    RestartReleased {
        /// Which run.
        run: RunId,
        /// Which probe.
        probe: String,
    },
    /// A probe's verdict is degraded: the service does its work, but not for ever.
    Degraded {
        /// Which run.
        run: RunId,
        /// Which probe.
        probe: String,
        /// What runs short.
        shortage: Shortage,
        /// How much the probe matters: with `info` it is only shown.
        severity: Severity,
        /// Why, for people.
        reason: String,
    },
    /// A probe's verdict rose to healthy (the first verdict of a run too).
    Healthy {
        /// Which run.
        run: RunId,
        /// Which probe.
        probe: String,
    },
    /// The unit has been up for long enough, and no probe of it is against it. Closes an incident.
    Recovered {
        /// Which run.
        run: RunId,
    },
    /// A unit could not be started because a unit that it needs is not up.
    DependencyFailed {
        /// Which unit.
        unit: UnitName,
        /// The one it needs.
        needs: UnitName,
    },
    /// Counts, start limit and failed state were cleared.
    CountersReset {
        /// Of which unit.
        unit: UnitName,
        /// Who asked.
        actor: Actor,
        /// Restarts that had been counted.
        restarts: u32,
        /// Starts that stood in the window.
        starts: u32,
        /// Whether it was failed.
        was_failed: bool,
    },
    /// A message on the notify socket was refused: its sender may not speak for the unit.
    NotifyRefused {
        /// Whom it claimed to speak for, where known.
        unit: Option<UnitName>,
        /// Who sent it.
        sender: i32,
        /// Why it was refused.
        reason: &'static str,
    },
    /// A process that was named as the main one was not taken.
    MainPidRefused {
        /// Whose run.
        run: RunId,
        /// Why it was refused.
        reason: String,
    },
    /// The manager is up: how, and what it found.
    ManagerStarted {
        /// "boot", "crash", "hang" or "upgrade".
        cause: &'static str,
        /// Runs that it took over.
        adopted: u32,
        /// Exits that had waited for it.
        replayed: u32,
    },
    /// The daemon begins to stop.
    ShuttingDown {
        /// Who asked.
        actor: Actor,
        /// Whether the machine goes down with it.
        machine: bool,
    },
    /// A set of unit files was taken into use.
    ConfigLoaded {
        /// How many units.
        units: u32,
    },
    /// The daemon's program was to be replaced and is not, or the one before took over again.
    UpgradeFailed {
        /// Why.
        reason: String,
    },
    /// Unit files or settings were refused; what was in force stays.
    ConfigRejected {
        /// Every problem, one per line with its place.
        problems: String,
    },
    /// The store cannot be written; supervision goes on and rows wait.
    StoreDegraded {
        /// Why, for people.
        reason: String,
    },
    /// A damaged database was set aside and a new one begun.
    StoreReplaced {
        /// Where the damaged one is kept.
        kept: String,
    },
    /// The store works again.
    StoreRecovered,
    /// The disk of the daemon's own files is short of room.
    DiskLow {
        /// Where it was looked at.
        path: String,
        /// Bytes free.
        free: u64,
        /// Bytes wanted (`[disk] min_free_bytes`).
        wanted: u64,
        /// Whether less than a quarter of that is free.
        is_bad: bool,
    },
    /// It has room again.
    DiskRecovered,
    /// Output of a service was dropped because it could not be written.
    OutputDropped {
        /// Whose.
        unit: UnitName,
        /// How much, since the last such notice.
        bytes: u64,
    },
    /// Output of services cannot be written; this unit is the first that it happened to.
    LogsDegraded {
        /// Whose.
        unit: UnitName,
        /// Why, for people.
        reason: String,
        /// Whether it is dropped meanwhile; else it waits, and with it the service once its pipe is full.
        dropped: bool,
    },
    /// Output of all services is written again.
    LogsRecovered,
    /// Something of the fleet that this node tells.
    Fleet(FleetEvent),
    /// An invariant of ours is broken; the unit was put to failed and the daemon goes on.
    Bug {
        /// Of which unit.
        unit: Option<UnitName>,
        /// What.
        text: String,
    },
}

/// One named value of a happening, for log fields, rows and the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// Text.
    Text(String),
    /// A count.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}
