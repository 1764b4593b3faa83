//! A unit while its files are being read: what the unit file says, changed by each drop-in in turn.

use std::{collections::BTreeMap, path::Path};

use super::{
    calendar::{CalendarSpec, Cron},
    diag::Place,
    exec_draft::ExecDraft,
    spec::{
        Command, ConnectionLimits, ExitSet, Limit, Listen, NotifyAccess, OnUnhealthy, Pairs, ProbeCheck, ProbeName,
        SocketOptions, TimerSpec, TlsCheck, UnitDef, UploadSignature,
    },
};
use crate::base::{ByteSize, Severity, Signal, TimeSpan, UnitName};

/// What the files said so far. Values that need no second look are in `def` already.
#[derive(Debug)]
pub(super) struct Draft {
    pub def: UnitDef,
    pub relations: Vec<Relation>,
    pub exec: ExecLists,
    pub timeout_start: Option<TimeSpan>,
    pub timeout_abort: Option<TimeSpan>,
    pub notify_access: Option<NotifyAccess>,
    pub prevent: Vec<ExitMember>,
    pub force: Vec<ExitMember>,
    pub success: Vec<ExitMember>,
    pub supplementary_groups: Vec<Box<str>>,
    pub environment: BTreeMap<Box<str>, Box<str>>,
    pub environment_files: Vec<(Box<Path>, bool)>,
    pub limits: Vec<Limit>,
    pub exec_draft: ExecDraft,
    pub sockets: SocketDraft,
    pub timer: Option<Box<TimerDraft>>,
    pub external: Option<Box<ExternalDraft>>,
    pub health: Vec<ProbeDraft>,
    /// Instances of a template that are there from the start.
    pub instances: Vec<(Box<str>, Place)>,
    /// The units that want or require us.
    pub wanted_by: Vec<(UnitName, Place)>,
    pub required_by: Vec<(UnitName, Place)>,
    /// `[install] enabled`, where it is written.
    pub enabled: Option<bool>,
}

/// One entry of a list of relations.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub kind: RelationKind,
    pub name: UnitName,
    pub place: Place,
}

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelationKind {
    Requires,
    Wants,
    BindsTo,
    PartOf,
    Conflicts,
    After,
    AfterHealthy,
    Before,
    OnFailure,
    OnSuccess,
}

impl RelationKind {
    /// The key.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Requires => "requires",
            Self::Wants => "wants",
            Self::BindsTo => "binds_to",
            Self::PartOf => "part_of",
            Self::Conflicts => "conflicts",
            Self::After => "after",
            Self::AfterHealthy => "after_healthy",
            Self::Before => "before",
            Self::OnFailure => "on_failure",
            Self::OnSuccess => "on_success",
        }
    }
}

/// The commands of a service.
#[derive(Debug, Default)]
pub(super) struct ExecLists {
    pub condition: Vec<Command>,
    pub start: Vec<Command>,
    pub start_pre: Vec<Command>,
    pub start_post: Vec<Command>,
    pub reload: Vec<Command>,
    pub stop: Vec<Command>,
    pub stop_post: Vec<Command>,
}

/// A member of an [`ExitSet`].
#[derive(Debug, Clone, Copy)]
pub(super) enum ExitMember {
    Code(u8),
    Signal(Signal),
}

/// The `[socket]` table.
#[derive(Debug, Default)]
pub(super) struct SocketDraft {
    pub listen: Vec<(Listen, Place)>,
    pub names: Vec<Box<str>>,
    pub symlinks: Vec<Box<Path>>,
    /// All but the lists.
    pub options: SocketOptions,
    pub accept: bool,
    pub limits: ConnectionLimits,
}

/// The `[timer]` table: its lists, and what needs no second look.
#[derive(Debug, Default)]
pub(super) struct TimerDraft {
    pub spec: TimerSpec,
    pub on_calendar: Vec<CalendarSpec>,
    pub cron: Vec<Cron>,
    pub on_active: Vec<TimeSpan>,
    pub on_boot: Vec<TimeSpan>,
    pub on_startup: Vec<TimeSpan>,
    pub on_unit_active: Vec<TimeSpan>,
    pub on_unit_inactive: Vec<TimeSpan>,
    pub unit: Option<(UnitName, Place)>,
    /// Where the last such table stands.
    pub place: Place,
}

/// The `[external]` table.
#[derive(Debug)]
pub(super) struct ExternalDraft {
    pub systemd: Option<Box<str>>,
    pub supervisor: Option<Box<str>>,
    pub config: Option<Box<Path>>,
    pub server: Option<Box<str>>,
    pub supervisorctl: Option<Box<str>>,
    pub start: Option<Command>,
    pub stop: Option<Command>,
    pub restart: Option<Command>,
    pub reload: Option<Command>,
    pub status: Option<Command>,
    pub poll_interval: TimeSpan,
    /// Where the last such table stands.
    pub place: Place,
}

/// How often another manager is asked.
const POLL_INTERVAL_DEFAULT: TimeSpan = TimeSpan::from_secs(5);

impl Default for ExternalDraft {
    fn default() -> Self {
        Self {
            systemd: None,
            supervisor: None,
            config: None,
            server: None,
            supervisorctl: None,
            start: None,
            stop: None,
            restart: None,
            reload: None,
            status: None,
            poll_interval: POLL_INTERVAL_DEFAULT,
            place: Place::default(),
        }
    }
}

/// A `[[health]]` table.
#[derive(Debug)]
pub(super) struct ProbeDraft {
    pub name: Box<str>,
    pub place: Place,
    pub keys: KeyPlaces,
    pub check: Option<CheckDraft>,
    pub interval: TimeSpan,
    pub timeout: TimeSpan,
    pub initial_delay: TimeSpan,
    pub startup_grace: TimeSpan,
    pub jitter: TimeSpan,
    pub backoff_max: TimeSpan,
    pub unhealthy_after: Option<u32>,
    pub unhealthy_window: Option<u32>,
    pub healthy_after: u32,
    pub depends_on: Vec<(ProbeName, Place)>,
    pub on_unhealthy: Option<OnUnhealthy>,
    pub severity: Option<Severity>,
    /// The kinds of check that the file at hand has given.
    pub checks_here: Vec<&'static str>,
}

/// What a probe asks, while it is read.
#[derive(Debug)]
pub(super) enum CheckDraft {
    Http(Vec<HttpDraft>),
    Ready(ProbeCheck),
}

/// An `http = { … }` table.
#[derive(Debug)]
pub(super) struct HttpDraft {
    pub name: Option<Box<str>>,
    pub place: Place,
    pub keys: KeyPlaces,
    pub url: Option<Box<str>>,
    pub method: &'static str,
    pub body: Option<Box<str>>,
    pub random_body: Option<ByteSize>,
    pub sign: Option<UploadSignature>,
    pub tls: TlsCheck,
    pub headers: BTreeMap<Box<str>, Box<str>>,
    pub unix_socket: Option<Box<Path>>,
    pub expect_status: Vec<u16>,
    pub expect_body: Option<Box<str>>,
    pub expect_json: BTreeMap<Box<str>, Box<str>>,
    pub expect_body_of: Option<Box<str>>,
    pub capture: BTreeMap<Box<str>, Box<str>>,
    pub body_max: ByteSize,
}

/// Where the keys of one of several tables stand, the newest last.
pub(super) type KeyPlaces = Vec<(&'static str, Place)>;

/// Where each key stands that was given, the last place of each.
#[derive(Debug, Default)]
pub(super) struct Places {
    keys: Vec<(&'static str, &'static str, Place)>,
    /// Where files are named that are read later.
    files: Vec<(Box<Path>, Place)>,
}

impl Places {
    pub(super) fn put(&mut self, table: &'static str, key: &'static str, place: Place) {
        self.keys.push((table, key, place));
    }

    pub(super) fn put_file(&mut self, file: &Path, place: Place) {
        self.files.push((file.into(), place));
    }

    /// Where the file is named, for the last time.
    pub(super) fn file(&self, file: &Path) -> Option<Place> {
        self.files.iter().rev().find(|(known, _)| **known == *file).map(|(_, place)| *place)
    }

    /// Keys that were given in this table, each once, with its last place.
    pub(super) fn of(&self, table: &str) -> BTreeMap<&'static str, Place> {
        self.keys.iter().filter(|(t, _, _)| *t == table).map(|(_, key, place)| (*key, *place)).collect()
    }

    pub(super) fn find(&self, table: &str, key: &str) -> Option<Place> {
        self.keys.iter().rev().find(|(t, k, _)| *t == table && *k == key).map(|(_, _, place)| *place)
    }
}

impl Draft {
    pub(super) fn new(name: UnitName) -> Self {
        Self {
            def: UnitDef::new(name),
            relations: Vec::new(),
            exec: ExecLists::default(),
            timeout_start: None,
            timeout_abort: None,
            notify_access: None,
            prevent: Vec::new(),
            force: Vec::new(),
            success: Vec::new(),
            supplementary_groups: Vec::new(),
            environment: BTreeMap::new(),
            environment_files: Vec::new(),
            limits: Vec::new(),
            exec_draft: ExecDraft::default(),
            sockets: SocketDraft::default(),
            timer: None,
            external: None,
            health: Vec::new(),
            instances: Vec::new(),
            wanted_by: Vec::new(),
            required_by: Vec::new(),
            enabled: None,
        }
    }
}

/// How much of a body a probe reads.
const BODY_MAX_DEFAULT: ByteSize = ByteSize(64 << 10);

impl ProbeDraft {
    pub(super) fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.into(),
            place,
            keys: KeyPlaces::new(),
            check: None,
            interval: TimeSpan::from_secs(10),
            timeout: TimeSpan::from_secs(2),
            initial_delay: TimeSpan::ZERO,
            startup_grace: TimeSpan::ZERO,
            jitter: TimeSpan::ZERO,
            backoff_max: TimeSpan::ZERO,
            unhealthy_after: None,
            unhealthy_window: None,
            healthy_after: 1,
            depends_on: Vec::new(),
            on_unhealthy: None,
            severity: None,
            checks_here: Vec::new(),
        }
    }

    /// Where the key stands; its table where it does not.
    pub(super) fn at(&self, key: &str) -> Place {
        newest(&self.keys, key).unwrap_or(self.place)
    }
}

fn newest(keys: &KeyPlaces, key: &str) -> Option<Place> {
    keys.iter().rev().find(|(known, _)| *known == key).map(|(_, place)| *place)
}

impl HttpDraft {
    pub(super) fn new(place: Place) -> Self {
        Self {
            name: None,
            place,
            keys: KeyPlaces::new(),
            url: None,
            method: "GET",
            body: None,
            random_body: None,
            sign: None,
            tls: TlsCheck::default(),
            headers: BTreeMap::new(),
            unix_socket: None,
            expect_status: Vec::new(),
            expect_body: None,
            expect_json: BTreeMap::new(),
            expect_body_of: None,
            capture: BTreeMap::new(),
            body_max: BODY_MAX_DEFAULT,
        }
    }

    /// Where the key stands; its table where it does not.
    pub(super) fn at(&self, key: &str) -> Place {
        newest(&self.keys, key).unwrap_or(self.place)
    }
}

/// The set of some members, each once, in order.
pub(super) fn exit_set(members: &[ExitMember]) -> ExitSet {
    let mut codes: Vec<u8> = Vec::new();
    let mut signals: Vec<Signal> = Vec::new();
    for member in members {
        match member {
            ExitMember::Code(code) => codes.push(*code),
            ExitMember::Signal(signal) => signals.push(*signal),
        }
    }
    codes.sort_unstable();
    codes.dedup();
    signals.sort_unstable();
    signals.dedup();
    ExitSet { codes: codes.into(), signals: signals.into() }
}

/// The pairs of a map.
pub(super) fn pairs(map: BTreeMap<Box<str>, Box<str>>) -> Pairs {
    map.into_iter().collect()
}
