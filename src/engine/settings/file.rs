//! `roundsman.toml` as it is written.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::alerting::{ALERT, AlertFile},
    CgroupMode, Container, Fault,
    fleet::{AVAILABILITY, AvailabilityFile, FLEET, FleetFile, HEARTBEAT, HeartbeatFile},
};
use crate::{
    base::{ByteSize, Signal, TimeSpan, UnitName},
    edge::store::Retention,
    node::input::RestartBudget,
    unit::{
        Field, Problem, Read, Reader, Value, put, read_settings,
        spec::{Compress, Forward, LINE_BYTES, LogSpec, OnFull, SEGMENT_BYTES},
    },
};

/// Restarts by probes of all units, unless the settings say otherwise: enough for each of some services that hang at once, and
/// not for a crowd to go round in circles.
const RESTART_BUDGET: u32 = 20;
const RESTART_BUDGET_INTERVAL: TimeSpan = TimeSpan::from_secs(300);

/// What the keeper hears and does not mean anything to the supervisor itself.
pub(super) const FORWARDABLE: [Signal; 3] = [Signal::USR1, Signal::QUIT, Signal::WINCH];

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) paths: Read<PathsFile>,
    pub(super) log: LogFile,
    pub(super) cgroup: CgroupMode,
    pub(super) disk_min_free: Option<ByteSize>,
    pub(super) health: HealthFile,
    pub(super) history: HistoryFile,
    pub(super) alert: AlertFile,
    pub(super) container: Read<ContainerFile>,
    pub(super) fleet: Option<Read<FleetFile>>,
    pub(super) availability: Read<AvailabilityFile>,
    pub(super) heartbeat: Read<HeartbeatFile>,
}

const FILE: &[Field<File>] = &[
    Field { name: "paths", set: |file, r, v| file.paths = r.read_table(v, "paths", PATHS) },
    Field { name: "log", set: |file, r, v| r.table(v, "log", LOG, &mut file.log) },
    Field { name: "cgroup", set: |file, r, v| r.table(v, "cgroup", CGROUP, file) },
    Field { name: "disk", set: |file, r, v| r.table(v, "disk", DISK, file) },
    Field { name: "health", set: |file, r, v| r.table(v, "health", HEALTH, &mut file.health) },
    Field { name: "history", set: |file, r, v| r.table(v, "history", HISTORY, &mut file.history) },
    Field {
        name: "alert",
        set: |file, r, v| {
            r.table(v, "alert", ALERT, &mut file.alert);
            file.alert.is_broken = r.has_broken_syntax();
        },
    },
    Field { name: "container", set: |file, r, v| file.container = r.read_table(v, "container", CONTAINER) },
    Field { name: "fleet", set: |file, r, v| file.fleet = Some(r.read_table(v, "fleet", FLEET)) },
    Field {
        name: "high_availability",
        set: |file, r, v| file.availability = r.read_table(v, "high_availability", AVAILABILITY),
    },
    Field { name: "heartbeat", set: |file, r, v| file.heartbeat = r.read_table(v, "heartbeat", HEARTBEAT) },
];

impl File {
    /// What a file says, and what of it cannot be read.
    pub(super) fn read(path: &Path, text: &str) -> (Self, Vec<Problem>) {
        let mut file = Self::default();
        let problems = read_settings(path, text, FILE, &mut file);
        (file, problems)
    }
}

#[derive(Debug, Default)]
pub(super) struct PathsFile {
    pub(super) units: Option<Vec<PathBuf>>,
    pub(super) state: Option<PathBuf>,
    pub(super) runtime: Option<PathBuf>,
    pub(super) logs: Option<PathBuf>,
}

const PATHS: &[Field<PathsFile>] = &[
    Field { name: "units", set: |paths, r, v| paths.units = r.list(v, path) },
    Field { name: "state", set: |paths, r, v| paths.state = path(r, v) },
    Field { name: "runtime", set: |paths, r, v| paths.runtime = path(r, v) },
    Field { name: "logs", set: |paths, r, v| paths.logs = path(r, v) },
];

/// A path, which may be relative to the file.
pub(in crate::engine) fn path(reader: &mut Reader<'_, '_>, value: &Value<'_>) -> Option<PathBuf> {
    reader.text(value).map(PathBuf::from)
}

#[derive(Debug, Default)]
pub(super) struct LogFile {
    segment_size: Option<ByteSize>,
    segment_sec: Option<TimeSpan>,
    keep: Option<u32>,
    total_size: Option<ByteSize>,
    retention_sec: Option<TimeSpan>,
    compress: Option<Compress>,
    line_max: Option<ByteSize>,
    rate_limit_interval_sec: Option<TimeSpan>,
    rate_limit_burst: Option<u32>,
    on_full: Option<OnFull>,
    forward: Option<Vec<Forward>>,
}

const LOG: &[Field<LogFile>] = &[
    Field { name: "segment_size", set: |log, r, v| log.segment_size = r.size(v) },
    // As in units: zero is no limit.
    Field { name: "segment_sec", set: |log, r, v| log.segment_sec = r.limit_span(v) },
    Field { name: "keep", set: |log, r, v| log.keep = r.count(v, 0) },
    Field { name: "total_size", set: |log, r, v| log.total_size = r.size(v) },
    Field { name: "retention_sec", set: |log, r, v| log.retention_sec = r.limit_span(v) },
    Field { name: "compress", set: |log, r, v| log.compress = r.choice(v, &Compress::WORDS) },
    Field { name: "line_max", set: |log, r, v| log.line_max = r.size(v) },
    Field { name: "rate_limit_interval_sec", set: |log, r, v| log.rate_limit_interval_sec = r.span(v) },
    Field { name: "rate_limit_burst", set: |log, r, v| log.rate_limit_burst = r.count(v, 0) },
    Field { name: "on_full", set: |log, r, v| log.on_full = r.choice(v, &OnFull::WORDS) },
    Field { name: "forward", set: |log, r, v| log.forward = r.list(v, forward) },
];

fn forward(reader: &mut Reader<'_, '_>, value: &Value<'_>) -> Option<Forward> {
    let word = reader.text(value)?;
    let forward = Forward::parse(word);
    if forward.is_none() {
        let help = "it can be journal, syslog, \"syslog:udp://HOST:PORT\", \"syslog:tcp://HOST:PORT\"";
        reader.error(value, format!("cannot forward to {word:?}"), Some(help.to_owned()));
    }
    forward
}

impl LogFile {
    pub(super) fn spec(self) -> LogSpec {
        LogSpec {
            segment_size: self.segment_size,
            segment_age: self.segment_sec,
            keep: self.keep,
            total_size: self.total_size,
            retention: self.retention_sec,
            compress: self.compress,
            line_max: self.line_max,
            rate_limit_interval: self.rate_limit_interval_sec,
            rate_limit_burst: self.rate_limit_burst,
            on_full: self.on_full,
            forward: self.forward,
            ..LogSpec::default()
        }
    }
}

const CGROUP: &[Field<File>] = &[Field { name: "mode", set: |file, r, v| put(&mut file.cgroup, r.choice(v, MODES)) }];

const MODES: &[(&str, CgroupMode)] = &[("auto", CgroupMode::Auto), ("on", CgroupMode::On), ("off", CgroupMode::Off)];

const DISK: &[Field<File>] = &[Field { name: "min_free_bytes", set: |file, r, v| file.disk_min_free = r.size(v) }];

#[derive(Debug, Default)]
pub(super) struct HealthFile {
    restart_budget: Option<u32>,
    restart_budget_interval: Option<TimeSpan>,
}

const HEALTH: &[Field<HealthFile>] = &[
    Field { name: "restart_budget", set: |health, r, v| health.restart_budget = r.count(v, 0) },
    Field { name: "restart_budget_interval", set: |health, r, v| health.restart_budget_interval = r.span(v) },
];

impl HealthFile {
    pub(super) fn budget(&self, faults: &mut Vec<Fault>) -> RestartBudget {
        let mut wrong = |key, message: String| faults.push(Fault::from(message).within(key).within("health"));
        let burst = self.restart_budget.unwrap_or(RESTART_BUDGET);
        let interval = self.restart_budget_interval.unwrap_or(RESTART_BUDGET_INTERVAL);
        let most = RestartBudget::BURST_MAX;
        if burst > most {
            wrong("restart_budget", format!("[health] restart_budget is at most {most}, or 0 for no limit"));
        }
        if interval.is_zero() || interval.duration().is_none() {
            let message =
                "[health] restart_budget_interval must be above zero and finite; restart_budget = 0 is no limit";
            wrong("restart_budget_interval", message.to_owned());
        }
        RestartBudget { burst, interval }
    }
}

#[derive(Debug, Default)]
pub(super) struct HistoryFile {
    retention_sec: Option<TimeSpan>,
    rows_max: Option<u32>,
}

const HISTORY: &[Field<HistoryFile>] = &[
    Field { name: "retention_sec", set: |history, r, v| history.retention_sec = r.span(v) },
    Field { name: "rows_max", set: |history, r, v| history.rows_max = r.count(v, 0) },
];

impl HistoryFile {
    pub(super) fn retention(&self) -> Retention {
        let Retention { age, rows_min, rows } = Retention::default();
        // As elsewhere: zero is no limit.
        let wanted = |span: TimeSpan| span.duration().filter(|age| !age.is_zero()).unwrap_or(Duration::MAX);
        Retention {
            age: self.retention_sec.map_or(age, wanted),
            rows_min,
            rows: self.rows_max.map_or(rows, |rows| if rows == 0 { u32::MAX } else { rows }),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ContainerFile {
    main: Option<UnitName>,
    forward_signals: Option<Vec<Signal>>,
}

const CONTAINER: &[Field<ContainerFile>] = &[
    Field { name: "main", set: |container, r, v| container.main = r.unit_name(v) },
    Field { name: "forward_signals", set: |container, r, v| container.forward_signals = r.list(v, forwardable) },
];

fn forwardable(reader: &mut Reader<'_, '_>, value: &Value<'_>) -> Option<Signal> {
    let name = reader.text(value)?;
    let signal = Signal::parse(name).filter(|signal| FORWARDABLE.contains(signal));
    if signal.is_none() {
        let help = "USR1, QUIT and WINCH can; HUP reloads, TERM and INT stop everything, USR2 upgrades".to_owned();
        reader.error(value, format!("{name:?} cannot go on to the unit"), Some(help));
    }
    signal
}

pub(super) fn container(file: Read<ContainerFile>, faults: &mut Vec<Fault>) -> Container {
    let Read { says: ContainerFile { main, forward_signals }, is_whole } = file;
    if main.is_none() && forward_signals.is_some() && is_whole {
        let message = "[container] forward_signals needs main, to whom they go";
        faults.push(Fault::from(message).within("forward_signals").within("container"));
    }
    let usual = if main.is_some() { FORWARDABLE.to_vec() } else { Vec::new() };
    Container { main, forward: forward_signals.unwrap_or(usual) }
}

/// What units refuse too.
pub(super) fn log_faults(log: &LogSpec) -> Vec<Fault> {
    let wrong_key = |key, message: String| Fault::from(message).within(key).within("log");
    let sizes = [
        ("segment_size", log.segment_size, SEGMENT_BYTES),
        ("total_size", log.total_size, SEGMENT_BYTES),
        ("line_max", log.line_max, LINE_BYTES),
    ];
    let wrong = sizes.into_iter().filter(|(_, size, range)| size.is_some_and(|size| !range.contains(&size.0)));
    let said = |(key, _, range): (&'static str, _, RangeInclusive<u64>)| {
        let (least, most) = (ByteSize(*range.start()), ByteSize(*range.end()));
        wrong_key(key, format!("[log] {key} must be from {least} to {most}"))
    };
    let keep = (log.keep == Some(0)).then(|| wrong_key("keep", "[log] keep must be at least 1".to_owned()));
    wrong.map(said).chain(keep).collect()
}
