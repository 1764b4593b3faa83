//! systemd.service(5): what runs, when it counts as up, when it is started again.

use std::{path::Path, sync::Arc};

use super::{ExecSpec, KillSpec, Preserve, ResourcesSpec};
use crate::{
    base::{Signal, TimeSpan},
    unit::Shared,
};

/// What runs and under which rules.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSpec {
    /// When it counts as up.
    pub kind: ServiceKind,
    /// Which of its processes counts.
    pub main: Shared<MainProcess>,
    /// Asked first: an exit code from 1 to 254 says that the service is not to run now.
    pub exec_condition: Box<[Command]>,
    /// The service; more than one only for oneshot.
    pub exec_start: Box<[Command]>,
    /// Before it, one after the other.
    pub exec_start_pre: Box<[Command]>,
    /// Once it is up.
    pub exec_start_post: Box<[Command]>,
    /// Asks it to reload.
    pub exec_reload: Box<[Command]>,
    /// Asks a notify-reload service to reload.
    pub reload_signal: Signal,
    /// Asks it to stop; what is left is signalled afterwards.
    pub exec_stop: Box<[Command]>,
    /// After it is gone, however it went; `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS` tell how.
    pub exec_stop_post: Box<[Command]>,
    /// Counts as up after its processes have ended (for oneshot).
    pub remain_after_exit: bool,
    /// When it is started again.
    pub restart: Shared<RestartPolicy>,
    /// How long things may take.
    pub timeouts: Shared<Timeouts>,
    /// How it is ended.
    pub kill: KillSpec,
    /// How often it must report; `None` switches the watchdog off.
    pub watchdog: Option<TimeSpan>,
    /// Whose notifications are believed.
    pub notify_access: NotifyAccess,
    /// Descriptors it may keep with us across restarts.
    pub file_descriptor_store_max: u16,
    /// Which ends of it they outlive.
    pub file_descriptor_store_preserve: Preserve,
    /// How its processes are set up.
    pub exec: Shared<ExecSpec>,
    /// How much of the machine it may use.
    pub resources: Shared<ResourcesSpec>,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            kind: ServiceKind::Simple,
            main: Shared::default(),
            exec_condition: Box::default(),
            exec_start: Box::default(),
            exec_start_pre: Box::default(),
            exec_start_post: Box::default(),
            exec_reload: Box::default(),
            reload_signal: Signal::HUP,
            exec_stop: Box::default(),
            exec_stop_post: Box::default(),
            remain_after_exit: false,
            restart: Shared::default(),
            timeouts: Shared::default(),
            kill: KillSpec::default(),
            watchdog: None,
            notify_access: NotifyAccess::None,
            file_descriptor_store_max: 0,
            file_descriptor_store_preserve: Preserve::Restart,
            exec: Shared::default(),
            resources: Shared::default(),
        }
    }
}

impl ServiceSpec {
    /// Whether there is a way to have it reload.
    pub fn can_reload(&self) -> bool {
        !self.exec_reload.is_empty() || self.kind == ServiceKind::NotifyReload
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
    /// When its command has ended with success and left a process behind: the traditional daemon.
    Forking,
    /// As notify; and it reloads on a signal, and says RELOADING=1 and READY=1 about it.
    NotifyReload,
    /// As simple, but its process waits until no other unit is being started, 5 s at most.
    Idle,
}

impl ServiceKind {
    /// Whether READY=1 is awaited.
    pub const fn notifies(self) -> bool {
        matches!(self, Self::Notify | Self::NotifyReload)
    }
}

/// Which process of a service is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainProcess {
    /// Whether it is up as long as its main process lives, or any process.
    pub exit_type: ExitType,
    /// Where a forking service writes the pid of its main process; of any service, removed when it has ended.
    pub pid_file: Option<Box<Path>>,
    /// Whether the main process of a forking service is looked for where nothing names it.
    pub guess_main_pid: bool,
}

impl Default for MainProcess {
    fn default() -> Self {
        Self { exit_type: ExitType::Main, pid_file: None, guess_main_pid: true }
    }
}

/// ExitType=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitType {
    /// The run is over when its main process ends.
    Main,
    /// The run is over when its last process ends.
    Cgroup,
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
    /// How much of the unit's restrictions holds for it.
    pub privilege: Privilege,
}

/// The prefixes `+`, `!` and `!!` of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privilege {
    /// All of them. `!!` means this too, on kernels that have ambient capabilities, and all that we run on have them.
    #[default]
    Unit,
    /// `!`: all but user and groups.
    OwnUser,
    /// `+`: neither user, limits, capabilities nor sandbox.
    Full,
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
    /// Ours: up and healthy this long, the back-off and the count in a row start anew (`None`: never), and an outage is over.
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
    /// At most this much is added to it at random, anew for each run.
    pub runtime_extra: TimeSpan,
    /// What a start that takes too long comes to.
    pub start_failure: FailureMode,
    /// What a stop that takes too long comes to.
    pub stop_failure: FailureMode,
}

/// TimeoutStartFailureMode= and TimeoutStopFailureMode=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMode {
    /// The stop signal, and the final one after the time of a stop.
    Terminate,
    /// The watchdog's signal, which leaves a core, and the final one after the time of an abort.
    Abort,
    /// The final signal at once.
    Kill,
}

/// DefaultTimeoutStartSec= and DefaultTimeoutStopSec= of systemd.
pub const TIMEOUT_DEFAULT: TimeSpan = TimeSpan::from_secs(90);

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start: TIMEOUT_DEFAULT,
            stop: TIMEOUT_DEFAULT,
            abort: TIMEOUT_DEFAULT,
            runtime_max: TimeSpan::INFINITY,
            runtime_extra: TimeSpan::ZERO,
            start_failure: FailureMode::Terminate,
            stop_failure: FailureMode::Terminate,
        }
    }
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
