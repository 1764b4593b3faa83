//! The one model of a unit, whatever dialect it was written in. Field names are systemd's directives in snake_case and
//! mean what systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) say, with their defaults.

use std::{net::SocketAddr, path::Path, sync::Arc};

use super::Shared;
use crate::base::{ByteSize, Severity, Signal, TimeSpan, UnitName};

/// Names and values, sorted by name, each name once.
pub type Pairs = Box<[(Box<str>, Box<str>)]>;

/// A unit as it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitDef {
    /// Its name.
    pub name: UnitName,
    /// The files it was read from: the unit file, then its drop-ins in the order they were applied.
    pub sources: Box<[Arc<Path>]>,
    /// One line for people.
    pub description: Box<str>,
    /// What it needs and is needed by.
    pub relations: Shared<Relations>,
    /// How many starts a window allows.
    pub start_limit: StartLimit,
    /// Whether the daemon starts it when it comes up (`[install] enabled`, default true).
    pub enabled: bool,
    /// The service.
    pub service: ServiceSpec,
    /// Sockets that are bound by the supervisor and inherited by the service.
    pub sockets: Box<[SocketSpec]>,
    /// Health probes, in the order of the file.
    pub health: Box<[ProbeSpec]>,
}

impl UnitDef {
    /// A unit with every default and nothing to run.
    pub fn new(name: UnitName) -> Self {
        Self {
            name,
            sources: Box::default(),
            description: Box::default(),
            relations: Shared::default(),
            start_limit: StartLimit::default(),
            enabled: true,
            service: ServiceSpec::default(),
            sockets: Box::default(),
            health: Box::default(),
        }
    }
}

/// Relations to other units; each list in the order of the file, without repeats.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// Started with us; with `after` their failure fails our start; their explicit stop or restart is ours.
    pub requires: Box<[UnitName]>,
    /// Started with us; their failure changes nothing.
    pub wants: Box<[UnitName]>,
    /// As `requires`, and we stop when they end by themselves.
    pub binds_to: Box<[UnitName]>,
    /// Their stop and restart is ours too.
    pub part_of: Box<[UnitName]>,
    /// Cannot be up together with us.
    pub conflicts: Box<[UnitName]>,
    /// Our start waits for theirs; our stop comes before theirs.
    pub after: Box<[UnitName]>,
    /// Their start waits for ours.
    pub before: Box<[UnitName]>,
    /// Started when we become failed.
    pub on_failure: Box<[UnitName]>,
    /// Started when we end with success.
    pub on_success: Box<[UnitName]>,
}

impl Relations {
    /// Every list.
    pub(super) fn lists_mut(&mut self) -> [&mut [UnitName]; 9] {
        let Self { requires, wants, binds_to, part_of, conflicts, after, before, on_failure, on_success } = self;
        [requires, wants, binds_to, part_of, conflicts, after, before, on_failure, on_success]
    }
}

/// systemd's rate limit on starts, manual ones included (systemd.unit(5), StartLimitIntervalSec=).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartLimit {
    /// Length of the window, from its first start; zero switches the limit off.
    pub interval: TimeSpan,
    /// Starts that one window allows; 0 switches the limit off.
    pub burst: u32,
    /// What happens besides the unit's failure.
    pub action: StartLimitAction,
}

impl Default for StartLimit {
    fn default() -> Self {
        Self { interval: TimeSpan::from_secs(10), burst: 5, action: StartLimitAction::None }
    }
}

/// StartLimitAction= as far as it makes sense for a supervisor that is not the machine's init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLimitAction {
    /// The unit fails; nothing else.
    None,
    /// The daemon stops everything in order and ends (`exit`): for containers.
    Exit,
}

/// What runs and under which rules.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSpec {
    /// When it counts as up.
    pub kind: ServiceKind,
    /// The service; more than one only for oneshot.
    pub exec_start: Box<[Command]>,
    /// Before it, one after the other.
    pub exec_start_pre: Box<[Command]>,
    /// Once it is up.
    pub exec_start_post: Box<[Command]>,
    /// Asks it to reload.
    pub exec_reload: Box<[Command]>,
    /// Asks it to stop; what is left is signalled afterwards.
    pub exec_stop: Box<[Command]>,
    /// After it is gone, however it went; `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS` tell how.
    pub exec_stop_post: Box<[Command]>,
    /// Counts as up after its processes have ended (for oneshot).
    pub remain_after_exit: bool,
    /// When it is started again.
    pub restart: Shared<RestartPolicy>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How it is ended.
    pub kill: KillSpec,
    /// How often it must report; `None` switches the watchdog off.
    pub watchdog: Option<TimeSpan>,
    /// Whose notifications are believed.
    pub notify_access: NotifyAccess,
    /// Descriptors it may keep with us across restarts.
    pub file_descriptor_store_max: u32,
    /// How its processes are set up.
    pub exec: Shared<ExecSpec>,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            kind: ServiceKind::Simple,
            exec_start: Box::default(),
            exec_start_pre: Box::default(),
            exec_start_post: Box::default(),
            exec_reload: Box::default(),
            exec_stop: Box::default(),
            exec_stop_post: Box::default(),
            remain_after_exit: false,
            restart: Shared::default(),
            timeouts: Timeouts::default(),
            kill: KillSpec::default(),
            watchdog: None,
            notify_access: NotifyAccess::None,
            file_descriptor_store_max: 0,
            exec: Shared::default(),
        }
    }
}

/// `type`: when a service counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// As soon as its process exists.
    Simple,
    /// As soon as its program runs (execve succeeded).
    Exec,
    /// When it says READY=1.
    Notify,
    /// When its commands have all ended with success.
    Oneshot,
}

/// A command line, split into words. `$NAME` and `${NAME}` are expanded when it is run. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program: an absolute path, or a bare name that is looked for in the unit's PATH.
    pub program: Arc<str>,
    /// All words with the first, which is what the program sees as its own name.
    pub argv: Arc<[Box<str>]>,
    /// `-`: its failure counts as success.
    pub ignore_failure: bool,
    /// `:`: no expansion of variables.
    pub literal: bool,
    /// `+`: run without the unit's user, group and restrictions.
    pub privileged: bool,
}

/// `restart`, its exceptions and its delays.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// After which ends.
    pub when: Restart,
    /// The first delay (`restart_sec`).
    pub delay: TimeSpan,
    /// In how many steps the delay grows to `delay_max`; 0: it does not grow.
    pub steps: u32,
    /// The largest delay (`restart_max_delay_sec`).
    pub delay_max: TimeSpan,
    /// Ours: a random share of the delay that is added, 0.0 to 1.0 (`restart_jitter`).
    pub jitter: f64,
    /// Ours: up and healthy this long, the back-off and the count in a row start anew; `None`: never.
    pub reset_after: Option<TimeSpan>,
    /// Never after these (`restart_prevent_exit_status`).
    pub prevent: ExitSet,
    /// Always after these (`restart_force_exit_status`).
    pub force: ExitSet,
    /// Ends that count as success besides exit 0 and, but for oneshot, HUP, INT, TERM and PIPE.
    pub success: ExitSet,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            when: Restart::No,
            delay: TimeSpan::from_millis(100),
            steps: 0,
            delay_max: TimeSpan::INFINITY,
            jitter: 0.0,
            reset_after: None,
            prevent: ExitSet::default(),
            force: ExitSet::default(),
            success: ExitSet::default(),
        }
    }
}

/// systemd's seven values of Restart=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// `no`
    No,
    /// `always`
    Always,
    /// `on-success`
    OnSuccess,
    /// `on-failure`
    OnFailure,
    /// `on-abnormal`
    OnAbnormal,
    /// `on-abort`
    OnAbort,
    /// `on-watchdog`
    OnWatchdog,
}

/// A set of exit codes and signals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitSet {
    /// Codes.
    pub codes: Box<[u8]>,
    /// Signals.
    pub signals: Box<[Signal]>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until it is up; infinite for oneshot unless set.
    pub start: TimeSpan,
    /// For each command of a stop and for the answer to the stop signal.
    pub stop: TimeSpan,
    /// For the answer to SIGABRT after a watchdog; the stop's unless set.
    pub abort: TimeSpan,
    /// From ready to a forced end; infinite unless set (`runtime_max_sec`).
    pub runtime_max: TimeSpan,
}

/// DefaultTimeoutStartSec= and DefaultTimeoutStopSec= of systemd.
pub const TIMEOUT_DEFAULT: TimeSpan = TimeSpan::from_secs(90);

impl Default for Timeouts {
    fn default() -> Self {
        Self { start: TIMEOUT_DEFAULT, stop: TIMEOUT_DEFAULT, abort: TIMEOUT_DEFAULT, runtime_max: TimeSpan::INFINITY }
    }
}

/// How a service is ended (systemd.kill(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillSpec {
    /// Whom the signals go to.
    pub mode: KillMode,
    /// The polite one.
    pub signal: Signal,
    /// Whether SIGHUP follows it at once.
    pub send_sighup: bool,
    /// Whether the deadline brings the final signal.
    pub send_sigkill: bool,
    /// The final signal.
    pub final_signal: Signal,
    /// What a watchdog sends.
    pub watchdog_signal: Signal,
}

impl Default for KillSpec {
    fn default() -> Self {
        Self {
            mode: KillMode::ControlGroup,
            signal: Signal::TERM,
            send_sighup: false,
            send_sigkill: true,
            final_signal: Signal::KILL,
            watchdog_signal: Signal::ABRT,
        }
    }
}

/// KillMode=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillMode {
    /// All processes of the unit.
    ControlGroup,
    /// The polite signal to the main process, the final one to all.
    Mixed,
    /// The main process only.
    Process,
    /// Nobody; only exec_stop runs.
    None,
}

/// Whose messages on the notify socket are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyAccess {
    /// Nobody's.
    None,
    /// The main process's.
    Main,
    /// The main process's and the control commands'.
    Exec,
    /// Every process's of the unit.
    All,
}

/// How a process is set up (systemd.exec(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecSpec {
    /// The user it runs as; the daemon's own unless set.
    pub user: Option<Box<str>>,
    /// The group; the user's unless set.
    pub group: Option<Box<str>>,
    /// Further groups.
    pub supplementary_groups: Box<[Box<str>]>,
    /// Where it runs; `/` unless set.
    pub working_directory: Option<Box<Path>>,
    /// Variables.
    pub environment: Pairs,
    /// Files of variables, read right before each start; they override `environment`. `true`: it may be missing (`-`).
    pub environment_files: Box<[(Box<Path>, bool)]>,
    /// File mode mask.
    pub umask: Option<u32>,
    /// Niceness, -20 to 19.
    pub nice: Option<i32>,
    /// -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// Resource limits.
    pub limits: Box<[Limit]>,
    /// Neither it nor its children gain privileges by execve.
    pub no_new_privileges: bool,
    /// Whether SIGPIPE keeps its deadly default (`ignore_sigpipe = false`); else it is ignored, and a write to a closed pipe
    /// is an error.
    pub keep_sigpipe: bool,
    /// Standard output.
    pub stdout: Output,
    /// Standard error; as standard output unless set.
    pub stderr: Option<Output>,
}

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Captured into the unit's log.
    #[default]
    Log,
    /// Discarded.
    Null,
    /// The supervisor's own standard error.
    Inherit,
}

/// One resource limit; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub resource: Resource,
    /// What the process starts with.
    pub soft: Option<u64>,
    /// Up to where it may raise that.
    pub hard: Option<u64>,
}

/// The resources of setrlimit(2) that a unit may limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the RLIMIT_ of its name, setrlimit(2)")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSpec {
    /// Where it listens.
    pub listen: Listen,
    /// Its name in LISTEN_FDNAMES; the unit's name unless set.
    pub name: Box<str>,
    /// Length of the accept queue.
    pub backlog: u32,
    /// Mode of a unix socket's file.
    pub mode: u32,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(Box<Path>),
}

/// One `[[health]]` probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeSpec {
    /// Its name, unique in the unit.
    pub name: Box<str>,
    /// What is asked.
    pub check: ProbeCheck,
    /// From one start of the probe to the next.
    pub interval: TimeSpan,
    /// For the whole answer.
    pub timeout: TimeSpan,
    /// From ready to the first probe.
    pub initial_delay: TimeSpan,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
    /// What is done when it becomes unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// How much it matters.
    pub severity: Severity,
}

/// What is done about an unhealthy service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// It is restarted, subject to the start limit.
    Restart,
    /// It is asked to reload.
    Reload,
    /// People are told.
    Alert,
    /// It is only shown.
    None,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeCheck {
    /// An HTTP request.
    Http(HttpCheck),
    /// A TCP connection is accepted.
    Tcp(Box<str>),
    /// A command ends with 0.
    Exec(Command),
}

/// What an HTTP probe asks and expects.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCheck {
    /// Where: `http://host:port/path`.
    pub url: Box<str>,
    /// GET, HEAD or POST.
    pub method: &'static str,
    /// Headers that are sent.
    pub headers: Pairs,
    /// Over this unix socket instead of the url's host.
    pub unix_socket: Option<Box<Path>>,
    /// Statuses that are good; any 2xx when empty.
    pub expect_status: Box<[u16]>,
    /// Text that the body must contain.
    pub expect_body: Option<Box<str>>,
    /// JSON pointer (RFC 6901) to the value (as JSON text) that must stand there.
    pub expect_json: Pairs,
    /// How much of a body is read.
    pub body_max: ByteSize,
}
