//! Version 1 of what the HTTP API speaks: JSON, times in microseconds since 1970 UTC, spans in microseconds.
//!
//! Fields are only ever added. A reader ignores what it does not know.

mod alerts;
mod fleet;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use alerts::{
    Alerts, DeadRoute, Incident, Incidents, RouteTest, Silence, SilenceRequest, Silences, ToldInstead, WaitingRoute,
    Which,
};
pub use fleet::{
    Fleet, FleetCheck, FleetEdge, FleetInstance, FleetIntent, FleetNode, FleetPlan, FleetPlans, FleetPool, FleetQuorum,
    FleetSay, FleetServer, FleetService, FleetSteps, FleetTask, FleetWave, FleetWord,
};

/// A unit as `status` shows it: `GET /v1/units`, `GET /v1/units/{unit}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "fields of an answer, each a question of its own")]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// `inactive`, `activating`, `active`, `reloading`, `deactivating` or `failed`.
    pub active: String,
    /// systemd's sub-state: `running`, `auto-restart`, `start-pre` …
    pub sub: String,
    /// When it came into this state; 0 of one that never ran.
    pub since_us: i64,
    /// `simple`, `exec`, `notify`, `oneshot` …, `target`, or `external (systemd)` where another manager keeps it.
    pub kind: String,
    /// Whether this counts as up: active, or a oneshot that finished with success.
    pub up: bool,
    /// Whether it is not known how it is: an external service whose manager has not been asked, or cannot tell. `active` is what
    /// was known before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_known: bool,
    /// Whether the daemon starts it when it comes up.
    pub enabled: bool,
    /// Pid of the main process.
    pub pid: Option<i32>,
    /// Which run this is, 0 before the first.
    pub generation: u64,
    /// The run's invocation id, 32 hex digits.
    pub invocation: Option<String>,
    /// Automatic restarts in a row.
    pub restarts_in_row: u32,
    /// Automatic restarts ever, as the store counts them.
    pub restarts_total: u64,
    /// Starts that stand in the start-limit window now.
    pub starts_in_window: u32,
    /// Starts that the window allows; 0: no limit.
    pub start_limit_burst: u32,
    /// Length of the window; `None`: infinite.
    pub start_limit_interval_us: Option<u64>,
    /// Whose limit that is, where it is not ours: `systemd`, of a service that this one restarts by itself. `starts_in_window` are
    /// those that were begun here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_limit_of: Option<String>,
    /// systemd's `Result` of the last end: `success`, `exit-code`, `start-limit-hit` …
    pub result: String,
    /// How the last main process ended, for people.
    pub last_exit: Option<String>,
    /// systemd's `Result` of that end. A reset, or a run that goes well, does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit_result: Option<String>,
    /// The command of the last run that could not be run, for people: directive, program, the step that failed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn_failure: Option<String>,
    /// The unit that its start waits for, and the probe of that unit where that is what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When the next automatic start is due.
    pub next_start_us: Option<i64>,
    /// `healthy`, `degraded`, `unhealthy`, `unknown`, or `none` without probes.
    pub health: String,
    /// Each probe.
    pub probes: Vec<Probe>,
    /// Why the restart that a probe wants is held back, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_held: Option<String>,
    /// Whether someone works on it: neither a probe nor `check` restarts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_maintenance: bool,
    /// What the service says of itself (STATUS=).
    pub status_text: Option<String>,
    /// Settings of which the host lets the daemon give the main process less than the unit asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lowered: Vec<String>,
    /// Descriptors that it keeps with the daemon over its restarts (FDSTORE=1); `None` where it may keep none.
    #[serde(default)]
    pub n_file_descriptor_store: Option<u32>,
    /// How many it may keep.
    #[serde(default)]
    pub file_descriptor_store_max: u16,
    /// Why the service fails, as it says (`ERRNO=`, errno(3)).
    #[serde(default)]
    pub errno: Option<u32>,
    /// The exit status that the service says it has or passes on (`EXIT_STATUS=`).
    #[serde(default)]
    pub exit_status: Option<u8>,
    /// Memory: of all its processes where it is counted (`usage_of`), else what is resident of the main process.
    pub memory_bytes: Option<u64>,
    /// CPU time: of all its processes where it is counted, else of the main process.
    pub cpu_us: Option<u64>,
    /// Whose memory and CPU time that is: `unit`, or `main-process` where the unit asks for no counters.
    #[serde(default)]
    pub usage_of: String,
    /// The most memory that all its processes had together in this run.
    #[serde(default)]
    pub memory_peak_bytes: Option<u64>,
    /// Its processes and threads.
    #[serde(default)]
    pub tasks: Option<u64>,
    /// Bytes that all its processes read from disks in this run.
    #[serde(default)]
    pub io_read_bytes: Option<u64>,
    /// Bytes that all its processes wrote to disks in this run.
    #[serde(default)]
    pub io_write_bytes: Option<u64>,
    /// What the host cannot give of what the unit asks of the machine, one sentence.
    #[serde(default)]
    pub resources_unmet: Option<String>,
    /// Why it is in its present state, one sentence.
    pub cause: String,
    /// Whether its file changed since this run began.
    pub needs_restart: bool,
    /// What the host cannot do of the sandbox that the unit asks for, one sentence.
    #[serde(default)]
    pub sandbox_unmet: Option<String>,
    /// What became of its output since this manager began, where it is captured.
    #[serde(default)]
    pub output: Option<Output>,
    /// Its timer, while that is armed.
    #[serde(default)]
    pub timer: Option<Timer>,
    /// The connections to it, where each makes an instance (`accept` in `[socket]`).
    #[serde(default)]
    pub accepted: Option<Accepted>,
}

/// The connections to a unit that accepts; the names are systemd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Instances that were made, ever.
    pub n_accepted: u64,
    /// Instances that serve one now.
    pub n_connections: u32,
    /// Connections that were closed at once since this manager began: `max_connections` and the like.
    pub n_refused: u64,
}

/// Counts of a unit's captured output since this manager began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Bytes that were captured.
    pub captured_bytes: u64,
    /// Bytes that could not be written and were dropped.
    pub dropped_bytes: u64,
    /// Lines that the rate limit dropped.
    pub limited_lines: u64,
    /// Bytes of those.
    pub limited_bytes: u64,
    /// Lines that were forwarded, once for each receiver.
    pub forwarded_lines: u64,
    /// Bytes that were not forwarded because a receiver was too far behind.
    pub unforwarded_bytes: u64,
}

/// One line of captured output: an item of `GET /v1/units/{unit}/logs?format=json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where reading goes on after it (`after=`).
    pub cursor: String,
    /// When it was captured.
    pub at_us: Option<i64>,
    /// Its text without the newline.
    pub line: String,
    /// Its bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Vec<u8>>,
    /// Whether it ended; else the next item goes on with it.
    pub ended: bool,
}

/// A timer that is armed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Which unit it starts.
    pub starts: String,
    /// When it elapses next; `None`: not any more, or not before its unit was up or down.
    pub next_us: Option<i64>,
    /// When it last elapsed.
    pub last_us: Option<i64>,
}

/// One probe's present verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its name in the unit.
    pub name: String,
    /// `healthy`, `degraded`, `unhealthy` or `unknown`.
    pub verdict: String,
    /// Why the last one failed.
    pub failure: Option<String>,
    /// How long the last one took.
    pub took_us: Option<u64>,
}

/// All units: the answer of `GET /v1/units`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Units {
    /// In order of name.
    pub units: Vec<Unit>,
}

/// A unit as a line of a table: those fields of [`Unit`] that it needs, for who looks at thousands: what it says is
/// not copied where it can be borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLine<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// As in [`Unit`].
    #[serde(borrow)]
    pub active: Cow<'a, str>,
    /// As in [`Unit`].
    #[serde(borrow)]
    pub sub: Cow<'a, str>,
    /// How the last run ended.
    #[serde(borrow)]
    pub result: Cow<'a, str>,
    /// When it came into this state; 0 of one that never ran.
    pub since_us: i64,
    /// Whether this counts as up.
    pub up: bool,
    /// As in [`Unit`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_known: bool,
    /// Pid of the main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Starts that stand in the start-limit window now.
    pub starts_in_window: u32,
    /// Starts that the window allows; 0: no limit.
    pub start_limit_burst: u32,
    /// As in [`Unit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_limit_of: Option<String>,
    /// Automatic restarts ever.
    pub restarts_total: u64,
    /// The worst verdict of its probes.
    #[serde(borrow)]
    pub health: Cow<'a, str>,
    /// As in [`Unit`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_maintenance: bool,
    /// Memory, as in [`Unit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPU time, as in [`Unit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Why it is in its present state, one sentence.
    #[serde(borrow)]
    pub cause: Cow<'a, str>,
    /// When the next start is due, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start_us: Option<i64>,
    /// Its timer, while that is armed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
}

/// A line for each unit: the answer of `GET /v1/units?brief`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLines<'a> {
    /// In order of name.
    #[serde(borrow)]
    pub units: Vec<UnitLine<'a>>,
}

/// An order: the body of `POST /v1/orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// `start`, `stop`, `restart`, `reload`, `signal`, `reset`, `clean`, `enable` or `disable`.
    pub verb: String,
    /// For which units, in this order.
    #[serde(default)]
    pub units: Vec<String>,
    /// For every unit there is (`reset --all`).
    #[serde(default)]
    pub all: bool,
    /// With `signal`: its name or number.
    #[serde(default)]
    pub signal: Option<String>,
    /// With `clean`: what of them is to go; `fdstore`.
    #[serde(default)]
    pub what: Option<String>,
    /// Answer what would be done and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Answer as soon as the order is taken.
    #[serde(default)]
    pub no_wait: bool,
}

/// The answer to an [`Order`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// Per unit, as named.
    pub outcomes: Vec<UnitOutcome>,
}

/// How an order ended for one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOutcome {
    /// Which.
    pub unit: String,
    /// Whether what was asked is so now (or was taken, with `no_wait`).
    pub ok: bool,
    /// `done`, `already`, `cleared`, `accepted`, `planned`, `unknown-unit`, `start-failed`, `dependency-failed`, `start-limit-hit`,
    /// `cannot-reload`, `not-running`, `reload-failed`, `superseded`, `shutting-down`.
    pub code: String,
    /// For people: what happened, and the likely remedy when it did not come about.
    pub message: String,
}

/// One past or present run: `GET /v1/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its place among all runs of this database; `after=` of the next page. 0 where it is not known.
    #[serde(default)]
    pub seq: i64,
    /// Whose.
    pub unit: String,
    /// Which.
    pub generation: u64,
    /// Its id, 32 hex digits.
    pub invocation: String,
    /// Pid of its main process.
    pub pid: Option<i32>,
    /// When it was started.
    pub started_us: i64,
    /// `boot`, `manual`, `reload`, `dependency`, `auto-restart`, `unhealthy`, `triggered`, `timer`, `external-start`, `external-restart` …
    pub cause: String,
    /// More about the cause: the unit or probe, for people.
    pub cause_detail: Option<String>,
    /// Who asked for it.
    pub actor: Option<String>,
    /// When it was up.
    pub ready_us: Option<i64>,
    /// When it ended; `None` while it lives.
    pub ended_us: Option<i64>,
    /// How its main process ended, for people.
    pub status: Option<String>,
    /// systemd's class of the end.
    pub result: Option<String>,
    /// Whether the end was asked for.
    pub wanted: Option<bool>,
    /// `restart`, `rest`, `fail` or `start-limit`.
    pub consequence: Option<String>,
    /// CPU time it used.
    pub cpu_us: Option<u64>,
    /// Largest resident memory.
    pub max_rss_kib: Option<u64>,
    /// Why it ended so, for people, where more is known than its status: a probe, a signal that someone sent, a program that
    /// could not be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it wrote last before an unexpected end, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_output: Vec<String>,
}

/// Runs: newest first, or with `after=SEQ` those that follow it, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The runs.
    pub runs: Vec<Run>,
}

/// The chain of causes behind a unit's present state, newest last: `GET /v1/units/{unit}/why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Which unit.
    pub unit: String,
    /// The present state in one sentence.
    pub now: String,
    /// What led to it.
    pub chain: Vec<Event>,
    /// Whether there is more before it.
    #[serde(default)]
    pub has_more: bool,
    /// What the run wrote last that ended last, where that was unexpected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_output: Vec<String>,
}

/// One notice: an item of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the stream; the `id:` of the server-sent event.
    pub id: u64,
    /// When.
    pub at_us: i64,
    /// Stable name of the happening: `run_ended`, `start_limit_hit` …
    pub event: String,
    /// `info`, `warning`, `critical` or `bug`.
    pub severity: String,
    /// Which unit, where one is meant.
    pub unit: Option<String>,
    /// Which run, where one is meant.
    pub generation: Option<u64>,
    /// One sentence for people.
    pub message: String,
    /// The values.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// Past notices, oldest first: `GET /v1/notices`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// The notices.
    pub events: Vec<Event>,
}

/// The files of a unit: `GET /v1/units/{unit}/files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFiles {
    /// The unit file, then its drop-ins.
    pub files: Vec<UnitFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFile {
    /// Where.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Every property of a unit in the order they are shown: `GET /v1/units/{unit}/properties`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Name and value, both as text.
    pub properties: Vec<(String, String)>,
}

/// The graph around a unit: `GET /v1/units/{unit}/dependencies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    /// Which unit.
    pub unit: String,
    /// Relation (`requires`, `wanted_by` …), the other unit, and that one's active state (`not-loaded` when there is none).
    pub relations: Vec<(String, String, String)>,
}

/// A check: the body of `POST /v1/check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Which units; all when empty.
    #[serde(default)]
    pub units: Vec<String>,
    /// Whether what is unhealthy or down is restarted.
    pub restart: bool,
}

/// The answer to a [`Check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// Per unit.
    pub checks: Vec<UnitCheck>,
}

/// What a check found for one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCheck {
    /// Which unit.
    pub unit: String,
    /// 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: the monitoring-plugin exit codes.
    pub level: u8,
    /// One sentence.
    pub message: String,
    /// Each probe with what it found.
    pub probes: Vec<Probe>,
    /// What was done about it, if anything.
    pub action: Option<String>,
}

/// What `doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Each thing that was looked at, in a fixed order of topics.
    pub findings: Vec<Symptom>,
}

/// One finding of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    /// `ok`, `warn`, `fail` or `unknown`.
    pub level: String,
    /// What was looked at: `settings`, `units`, `daemon`, `ports`, `dns`, `redis`, `permissions`, `clock`, `disk`, `limits`, `cgroup`,
    /// `processes`, `database`, `init`.
    pub topic: String,
    /// Where: a path, an address, a unit.
    pub place: String,
    /// What is so, one sentence.
    pub message: String,
    /// What to do about it; none where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// The answer of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
    /// Whether it may be given work.
    pub ready: bool,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// An error body: RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind, a URI reference; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case in words, with the likely remedy.
    pub detail: String,
}

/// The answer of `GET /v1/daemon`: who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// The release.
    pub version: String,
    /// The executable, as it was started.
    pub program: String,
    /// The keeper's pid: the daemon's, as the init system sees it.
    pub keeper_pid: u32,
    /// The manager's pid; another one after a crash or an upgrade.
    pub manager_pid: u32,
    /// Why this manager was started: `boot`, `crash`, `hang`, `upgrade` or `rollback`.
    pub cause: String,
    /// When it took over, microseconds.
    pub since_us: i64,
    /// Why the program was not replaced when that was asked for last.
    pub upgrade_failure: Option<String>,
    /// The file of its settings; without one it has the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

/// The body of `POST /admin/upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The absolute path of the new executable; without it what now stands where the present one was started from.
    #[serde(default)]
    pub to: Option<String>,
}

/// The answer of `POST /admin/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// `reloaded` or `unchanged`.
    pub status: String,
    /// Names what is in force now.
    pub revision: String,
    /// When, microseconds.
    pub timestamp: i64,
    /// How many nodes acknowledged.
    #[serde(rename = "instancesNotified")]
    pub instances_notified: u32,
    /// Which.
    pub instances: Vec<String>,
    /// How many units are in force.
    pub units: u32,
    /// Keys of `roundsman.toml` that changed and hold only when the daemon was stopped and started.
    #[serde(default)]
    pub needs_restart: Vec<String>,
}
