//! What the node machine is told: orders of people, facts of the keeper and of probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use crate::{
    base::{
        Actor, ExitStatus, Generation, InvocationId, Mono, Now, Pid, ProcessKey, RunId, RunResult, Signal,
        SpawnFailure, Ticket, TimeSpan, UnitName, Usage, Wall,
    },
    unit::{UnitDef, calendar::Zones},
};

/// One thing the node machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An order for units; answered with [`super::Effect::Reply`] when its outcome is known.
    Order {
        /// Names the request.
        ticket: Ticket,
        /// Who asks.
        actor: Actor,
        /// For which units, in the order they were named.
        units: Vec<UnitName>,
        /// What.
        verb: Verb,
    },
    /// A checked set of units takes the place of the old one. Units that are gone are stopped.
    Units(BTreeMap<UnitName, Arc<UnitDef>>),
    /// A unit is to reload, unless it was asked by that name before: an order that may be repeated by whoever does not know whether
    /// it was carried out. Answered when that reload is over.
    ReloadOnce {
        /// Names the request.
        ticket: Ticket,
        /// Who asks.
        actor: Actor,
        /// Which.
        unit: UnitName,
        /// What the reload is called.
        name: ReloadName,
    },
    /// The same as [`Input::Units`], because someone had the files read anew.
    Reload {
        /// The set.
        units: BTreeMap<UnitName, Arc<UnitDef>>,
        /// Who.
        actor: Actor,
    },
    /// Start what is enabled (after [`Input::Units`] at boot).
    Boot,
    /// The clock on the wall was set.
    ClockSet,
    /// The machine's time zone, or a zone that units name, is another one or new.
    Zones(Arc<Zones>),
    /// Stop everything in order; ends with [`super::Effect::AllStopped`].
    Shutdown {
        /// Who asks.
        actor: Actor,
        /// Whether the machine goes down with it.
        machine: bool,
    },
    /// A process exists.
    Spawned {
        /// Which.
        key: ProcessKey,
        /// Its pid.
        pid: Pid,
    },
    /// The keeper held the end of a main process while there was no manager; this precedes that end.
    Waited {
        /// Which.
        key: ProcessKey,
        /// The pid that it had.
        pid: Pid,
        /// The id of its run.
        invocation: InvocationId,
        /// When it was started.
        started: Now,
    },
    /// The answer to [`super::Effect::FindMain`] when there is no such process.
    MainMissing {
        /// What it would have been called.
        key: ProcessKey,
        /// Why there is none.
        why: MissingMain,
    },
    /// A process' program runs (execve succeeded).
    ExecDone {
        /// Which.
        key: ProcessKey,
    },
    /// A process could not be started, or its set-up failed before its program ran.
    SpawnFailed {
        /// Which.
        key: ProcessKey,
        /// Where and why.
        failure: SpawnFailure,
    },
    /// A process was not even ordered: what it needs cannot be had.
    Unprepared {
        /// Which.
        key: ProcessKey,
        /// Where and why.
        failure: SpawnFailure,
        /// The same for people: which file it is …
        cause: String,
    },
    /// A process ended.
    Exited {
        /// Which.
        key: ProcessKey,
        /// How.
        status: ExitStatus,
        /// What it used, when known.
        usage: Option<Usage>,
        /// Whether the kernel's out-of-memory killer did it.
        oom: bool,
        /// Whether no other process of the run is known to live (its cgroup is empty): then nothing is waited for.
        alone: bool,
    },
    /// The kernel's out-of-memory killer ended a process of the run.
    OomKilled {
        /// Whose run.
        run: RunId,
        /// How many it has ended in this run by now.
        killed: u64,
        /// Whose process it was.
        whose: OomVictim,
    },
    /// The answer to [`super::Effect::KillTree`]: no process of the run is left. It has to be true when it is given; it may
    /// come before the exit of a process that was the last.
    TreeEmpty {
        /// Whose run.
        run: RunId,
    },
    /// A message on the notify socket, already attributed to a run by who sent it.
    Notified {
        /// Whose run.
        run: RunId,
        /// Who sent it.
        sender: Sender,
        /// The sender's pid, for the notice about a refusal.
        pid: i32,
        /// What it says.
        message: NotifyMessage,
    },
    /// A probe came back.
    Probed {
        /// Whose run it was sent for.
        run: RunId,
        /// The probe's place in the unit's list.
        probe: usize,
        /// What it found.
        outcome: ProbeOutcome,
    },
    /// The answer to [`super::Effect::Watch`]: what whoever keeps an external service says of it.
    Watched {
        /// Of which unit.
        unit: UnitName,
        /// The number of the question.
        number: u32,
        /// What was said.
        sight: Sight,
    },
    /// Something came to a socket of a unit that listens: the answer to [`super::Effect::Listen`].
    Traffic {
        /// Which.
        unit: UnitName,
    },
    /// Someone connected to a unit that accepts and listens. Answered with [`super::Effect::Accept`] or
    /// [`super::Effect::HangUp`].
    Connected {
        /// Which.
        unit: UnitName,
        /// From where, if from the internet.
        source: Option<IpAddr>,
    },
    /// The instance that [`super::Effect::Accept`] asked for.
    Instance {
        /// The number that the connection was let in as.
        number: u64,
        /// What is to serve it.
        def: Arc<UnitDef>,
    },
    /// The sockets of a unit that accepts are bound: the first answer to [`super::Effect::Listen`].
    Listens {
        /// Which.
        unit: UnitName,
    },
    /// Its sockets cannot be bound or waited for: the other answer to [`super::Effect::Listen`].
    ListenFailed {
        /// Which.
        unit: UnitName,
        /// Where and why.
        failure: SpawnFailure,
    },
    /// How many restarts by probes there may be.
    RestartBudget(RestartBudget),
    /// The units on which someone works.
    Maintained(BTreeSet<UnitName>),
    /// Restart a unit of which someone who asked for its probes found one that is not well, as that probe would have it
    /// restarted; answered when it is up again.
    Unwell {
        /// Names the request.
        ticket: Ticket,
        /// Which unit.
        unit: UnitName,
        /// Which probe.
        probe: String,
        /// Who found it so, and what the probe said, for people.
        reason: String,
    },
    /// Run every probe of these units once, now; answered with one reply when all have come back.
    ProbeNow {
        /// Names the request.
        ticket: Ticket,
        /// Which units, in the order they were named.
        units: Vec<UnitName>,
    },
}

/// How many restarts by probes there may be, of all units together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartBudget {
    /// So many at most in any span of the interval's length; 0: no limit.
    pub burst: u32,
    /// The length of the span.
    pub interval: TimeSpan,
}

impl Default for RestartBudget {
    fn default() -> Self {
        Self { burst: 0, interval: TimeSpan::ZERO }
    }
}

impl RestartBudget {
    /// The largest burst: each unit can remember as many restarts of its own.
    pub const BURST_MAX: u32 = 128;
}

/// A process that the kernel ended for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomVictim {
    /// One that the keeper knows: its `Exited` follows at once, and says so too.
    Known,
    /// One of those that the service made itself, or one whose end is still to come.
    Other,
}

/// Why no process takes the main one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingMain {
    /// It may still come: the file is not there, or names nobody.
    NotYet,
    /// It cannot come any more: no process of the run is left.
    Gone,
    /// It is the main process already.
    Same,
    /// It must not be taken; the text says why.
    Refused(String),
}

/// What a reload is called by whoever may have to ask for it again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReloadName(pub [u8; 16]);

impl fmt::Debug for ReloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What people may order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Bring up with all it needs; done when it is up.
    Start,
    /// Take down with all that needs it; done when no process is left.
    Stop,
    /// Stop, then start; started when it was not up.
    Restart,
    /// ExecReload=; an error when the unit has none.
    Reload,
    /// Send a signal to the main process.
    Signal(Signal),
    /// Clear restart counts, start limit and failed state.
    Reset,
    /// Close the descriptors that it keeps with us; it must be down.
    Clean,
    /// Start it when the daemon comes up, whatever its file says. The engine keeps the wish in the store.
    Enable,
    /// Do not start it when the daemon comes up, whatever its file says. The engine keeps the wish in the store.
    Disable,
}

/// Who sent a notification, as far as the engine could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The main process.
    Main,
    /// A control command of the run.
    Control,
    /// Another process of the unit.
    Other,
}

/// The fields of sd_notify(3) that decide something; the rest is for show or for the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the protocol, present or not")]
pub struct NotifyMessage {
    /// READY=1
    pub ready: bool,
    /// RELOADING=1
    pub reloading: bool,
    /// STOPPING=1
    pub stopping: bool,
    /// WATCHDOG=1
    pub watchdog: bool,
    /// WATCHDOG=trigger
    pub watchdog_trigger: bool,
    /// STATUS=
    pub status: Option<String>,
    /// WATCHDOG_USEC=
    pub watchdog_usec: Option<u64>,
    /// EXTEND_TIMEOUT_USEC=
    pub extend_timeout_usec: Option<u64>,
    /// MAINPID=, where it is a pid.
    pub main_pid: Option<Pid>,
    /// Whether the sender may name a process outside of the unit: it is root.
    pub is_trusted: bool,
    /// MONOTONIC_USEC=: when the service began to reload, in µs of CLOCK_MONOTONIC.
    pub monotonic_usec: Option<u64>,
    /// ERRNO=: why it fails, errno(3).
    pub errno: Option<u32>,
    /// EXIT_STATUS=, for show.
    pub exit_status: Option<u8>,
}

/// What the manager that keeps an external service says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It is up.
    Up {
        /// In its own words, for people: `active (running)`.
        said: Box<str>,
        /// Its run.
        life: Life,
        /// When its main process began, where that is said.
        began: Option<Wall>,
        /// How many starts that manager allows.
        limit: Option<Allowed>,
    },
    /// It is on its way between the two; that manager is about to decide.
    Moving {
        /// In its own words.
        said: Box<str>,
        /// How the run before ended, as far as that is said.
        end: LifeEnd,
    },
    /// It is down, and that manager will start it again by itself.
    Waiting {
        /// In its own words: `activating (auto-restart)`.
        said: Box<str>,
        /// How it ended.
        end: LifeEnd,
        /// What else is known of that.
        past: Past,
    },
    /// It is down, and stays so unless someone acts.
    Down {
        /// In its own words.
        said: Box<str>,
        /// How it ended.
        end: LifeEnd,
        /// What else is known of that.
        past: Past,
    },
    /// Nobody could be asked, and why; it says nothing of the service.
    Unasked(Box<str>),
}

/// A run of an external service, as far as the manager that keeps it tells one from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Another one is another run; empty where runs cannot be told apart.
    pub id: Box<str>,
    /// How often that manager has restarted it by itself; `None` where it does not say.
    pub restarts: Option<u32>,
}

/// How a run of an external service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeEnd {
    /// Its class.
    pub result: RunResult,
    /// How its main process ended, where that is known.
    pub status: Option<ExitStatus>,
}

/// What else is known of the last run of an external service that is down, as far as its manager says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past {
    /// Which it was.
    pub life: Option<Life>,
    /// When its main process began.
    pub began: Option<Wall>,
    /// When its main process ended.
    pub at: Option<Wall>,
    /// How long that manager waits before it starts it again.
    pub delay: Option<TimeSpan>,
    /// How many starts that manager allows.
    pub limit: Option<Allowed>,
}

/// The start limit of the manager of an external service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// So many starts; 0: no limit.
    pub burst: u32,
    /// Within this time; zero: no limit.
    pub interval: TimeSpan,
    /// Whether that manager starts the service again by itself, so that this limit says when it is given up.
    pub decides: bool,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// What the answer says.
    pub finding: Finding,
    /// How long it took.
    pub took: Duration,
}

/// One answer, with its reason for people where it is not good: OK, WARNING, CRITICAL and UNKNOWN of the monitoring plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Good,
    /// It does its work, but not for ever.
    Degraded(String),
    /// It does not do its work.
    Bad(String),
    /// It was not asked: the machine is short of something, or what the answer depends on is down. Nothing is known of it.
    Unasked(String),
}

impl Finding {
    /// Why it is not good.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Good => None,
            Self::Degraded(reason) | Self::Bad(reason) | Self::Unasked(reason) => Some(reason),
        }
    }
}

/// What the node machine is given at its start about what already runs: from the keeper's snapshot and the store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Restored {
    /// What the machine had asked to remember for each unit ([`super::Effect::Remember`]), newest.
    pub memos: BTreeMap<UnitName, Vec<u8>>,
    /// The largest generation of each unit that the keeper or the store knows.
    pub generations: BTreeMap<UnitName, Generation>,
    /// Processes that live.
    pub processes: Vec<Adopted>,
    /// Processes that are gone and whose `Exited` or `SpawnFailed` the keeper still holds: the engine feeds those facts
    /// right after the restore.
    pub waiting: BTreeSet<ProcessKey>,
    /// Units that the operator disabled or enabled against their file.
    pub enablement: BTreeMap<UnitName, bool>,
    /// Units that something went wrong with and that were not well again, as the store knows; a memo knows better.
    pub incidents: BTreeSet<UnitName>,
    /// Units whose newest run someone stopped here, and when that was done, as the store knows.
    pub stopped: BTreeMap<UnitName, Wall>,
    /// When persistent timers last elapsed, or were first armed.
    pub elapsed: BTreeMap<UnitName, Wall>,
    /// What timers need to know of the machine.
    pub host: Host,
}

/// What timers need to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Its time zone, and those that units name.
    pub zones: Arc<Zones>,
    /// When it booted; `None` when it came up with the daemon.
    pub boot: Option<Mono>,
    /// A number that is this machine's for ever.
    pub identity: u64,
}

/// A living process that a new manager finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Which.
    pub key: ProcessKey,
    /// Its run's id.
    pub invocation: InvocationId,
    /// Its pid.
    pub pid: Pid,
}
