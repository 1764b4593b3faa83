//! The one model of a unit, whatever dialect it was written in. Field names are systemd's directives in snake_case and
//! mean what systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) say, with their defaults.
//!
//! One file for each of systemd's manual pages: `service`, `kill`, `exec`, `resources`, `socket`, `timer`; what is ours
//! besides has files of its own.

mod exec;
mod external;
mod health;
mod kill;
mod log;
mod resources;
mod sandbox;
mod service;
mod socket;
mod timer;

use std::{path::Path, sync::Arc};

pub use self::{
    exec::{
        At, Capabilities, CpuPolicy, Credential, CredentialSource, Directories, DirectoryKind, DirectoryName, ExecSpec,
        Input, IoClass, KeyringMode, Limit, Output, Preserve, Resource, SECURE_BITS, Scheduling, ServiceDirectories,
        Terminal, Value, WorkingDirectory, Write,
    },
    external::{ExternalManager, ExternalSpec, SupervisorServer},
    health::{
        Ceiling, CertificateCheck, CertificatePlace, DiskCheck, FileCheck, HttpBody, HttpCheck, LogCheck, OnUnhealthy,
        ProbeCheck, ProbeName, ProbeSpec, RedisCheck, RedisRole, TcpCheck, TlsCheck, UploadScheme, UploadSignature,
    },
    kill::{KillMode, KillSpec},
    log::{
        Compress, Forward, LINE_BYTES, LogSpec, OnFull, SEGMENT_BYTES, SYSLOG_FACILITIES, SYSLOG_LEVELS, SyslogSpec,
    },
    resources::{
        Accounting, Amount, CpuWeight, DeviceAllow, DeviceLimit, DeviceName, DevicePolicy, OomPolicy,
        ResourcesFallback, ResourcesSpec, TasksMax,
    },
    sandbox::{
        AddressFamilies, BindPath, CallAnswer, CallRule, ProcSubset, Propagation, ProtectHome, ProtectProc,
        ProtectSystem, SandboxFallback, SandboxPath, SandboxSpec, Switch, Switches, TemporaryFileSystem,
    },
    service::{
        Command, ExitSet, ExitType, FailureMode, MainProcess, NotifyAccess, Privilege, Restart, RestartPolicy,
        ServiceKind, ServiceSpec, TIMEOUT_DEFAULT, Timeouts,
    },
    socket::{
        Accept, Address, BindIpv6Only, ConnectionLimits, Listen, SocketKind, SocketOptions, SocketSpec, Sockets,
        Timestamping, TriggerLimit,
    },
    timer::TimerSpec,
};
use super::Shared;
use crate::base::{TimeSpan, UnitName};

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
    /// What its end means for the daemon.
    pub actions: Actions,
    /// Whether the daemon starts it when it comes up (`[install] enabled`, default true).
    pub enabled: bool,
    /// The service.
    pub service: ServiceSpec,
    /// Sockets that are bound by the supervisor and inherited by the service.
    pub sockets: Shared<Sockets>,
    /// Health probes, in the order of the file.
    pub health: Box<[ProbeSpec]>,
    /// How its output is kept.
    pub log: Shared<LogSpec>,
    /// When it is started by time; then it is not started because the daemon comes up.
    pub timer: Option<Box<TimerSpec>>,
    /// When another manager keeps it; then the commands of the service are that manager's.
    pub external: Option<Box<ExternalSpec>>,
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
            actions: Actions::default(),
            enabled: true,
            service: ServiceSpec::default(),
            sockets: Shared::default(),
            health: Box::default(),
            log: Shared::default(),
            timer: None,
            external: None,
        }
    }

    /// What its timer starts, if it has one.
    pub fn timer_target(&self) -> Option<&UnitName> {
        self.timer.as_ref().map(|timer| timer.unit.as_ref().unwrap_or(&self.name))
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
    /// Those of them that must be well, too, where they are up: none of their probes unhealthy or yet to answer.
    pub after_healthy: Box<[UnitName]>,
    /// Their start waits for ours.
    pub before: Box<[UnitName]>,
    /// Started when we become failed.
    pub on_failure: Box<[UnitName]>,
    /// Started when we end with success.
    pub on_success: Box<[UnitName]>,
}

impl Relations {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every list.
    pub(super) fn lists_mut(&mut self) -> [&mut [UnitName]; 10] {
        let Self {
            requires,
            wants,
            binds_to,
            part_of,
            conflicts,
            after,
            after_healthy,
            before,
            on_failure,
            on_success,
        } = self;
        [requires, wants, binds_to, part_of, conflicts, after, after_healthy, before, on_failure, on_success]
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
    pub action: EmergencyAction,
}

impl Default for StartLimit {
    fn default() -> Self {
        Self { interval: TimeSpan::from_secs(10), burst: 5, action: EmergencyAction::None }
    }
}

/// What follows for the daemon when a unit comes to rest (systemd.unit(5), SuccessAction=, FailureAction=).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions {
    /// When it becomes inactive; `None` where nobody has said anything.
    pub success: Option<EmergencyAction>,
    /// When it becomes failed; likewise.
    pub failure: Option<EmergencyAction>,
    /// The daemon's exit status then; `None` is that of the unit's main process.
    pub success_status: Option<u8>,
    /// The same for failure.
    pub failure_status: Option<u8>,
}

/// StartLimitAction=, SuccessAction= and FailureAction=, as far as they make sense for a supervisor that is not the machine's
/// init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmergencyAction {
    /// Nothing.
    None,
    /// The daemon stops everything in order and ends (`exit`): for containers.
    Exit,
    /// The daemon ends at once (`exit-force`). Where it is the first process of a container, the kernel ends all others.
    ExitForce,
}

impl EmergencyAction {
    /// systemd's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exit => "exit",
            Self::ExitForce => "exit-force",
        }
    }
}
