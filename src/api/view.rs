//! From inner types to the wire's, in one place.

use std::time::Duration;

use crate::{
    base::{Field, Mono, Notice, Now, RunResult, Severity, UnitName, Wall, counted},
    edge::{
        cgroup::usage::{self, UnitUse},
        clock, cpus,
        log::Counts,
        proctree, store,
    },
    engine::UnitState,
    node::{
        effect::{Outcome, ProbeReport, Refusal},
        input::Finding,
        status::{Accepted, Active, ProbeStatus, Sub, TheirLimit, TimerStatus, UnitStatus, Verdict},
    },
    unit::{
        UnitDef,
        spec::{ExternalManager, ServiceKind},
    },
    wire::v1,
};

/// Units as `status` shows them, in the order given. The kernel takes ten microseconds to say what a process uses, and
/// twice that when it is asked for the first time.
pub(super) fn units(now: Now, states: &[&UnitState]) -> Vec<v1::Unit> {
    cpus::map(states, |state| unit(now, state))
}

/// Units as the lines of a table, in the order given, each as JSON: of thousands that is a good part of the work.
pub(super) fn lines(now: Now, states: &[&UnitState]) -> Result<Vec<String>, serde_json::Error> {
    cpus::map(states, |state| serde_json::to_string(&line(now, state))).into_iter().collect()
}

/// Of one that never ran it is not known: each manager has first heard of it at another time.
fn since(status: &UnitStatus) -> i64 {
    let never_ran = status.generation.0 == 0 && status.active == Active::Inactive;
    if never_ran { 0 } else { status.since.wall.0 }
}

fn line(now: Now, state: &UnitState) -> v1::UnitLine<'_> {
    let UnitState { status, def, restarts_total, .. } = state;
    let (used, _) = used(state);
    v1::UnitLine {
        name: status.name.as_str().into(),
        active: status.active.as_str().into(),
        sub: status.sub.as_str().into(),
        result: status.result.as_str().into(),
        since_us: since(status),
        up: is_up(status, def),
        not_known: status.not_known.is_some(),
        pid: status.main_pid.map(crate::base::Pid::raw),
        starts_in_window: status.starts_in_window,
        start_limit_burst: status.their_limit.map_or(def.start_limit.burst, |limit| limit.burst),
        start_limit_of: limited_by(status, def),
        restarts_total: *restarts_total,
        health: health(status).into(),
        in_maintenance: status.maintained,
        memory_bytes: used.memory_bytes,
        cpu_us: used.cpu_us,
        cause: cause(state).into(),
        next_start_us: status.restart_due.map(|due| wall_of(now, due).0),
        timer: status.timer.as_ref().map(|timer| self::timer(now, timer)),
    }
}

/// A unit as `status` shows it.
pub(super) fn unit(now: Now, state: &UnitState) -> v1::Unit {
    let UnitState {
        status,
        def,
        kept,
        restarts_total,
        clamped,
        sandbox_unmet,
        output,
        resources_unmet,
        counted: _,
        awaited: _,
    } = state;
    let (used, usage_of) = used(state);
    v1::Unit {
        name: status.name.to_string(),
        description: status.description.clone(),
        active: status.active.as_str().to_owned(),
        sub: status.sub.as_str().to_owned(),
        since_us: since(status),
        kind: kind_of(def),
        up: is_up(status, def),
        not_known: status.not_known.is_some(),
        enabled: status.enabled,
        pid: status.main_pid.map(crate::base::Pid::raw),
        generation: status.generation.0,
        invocation: status.invocation.map(|id| id.to_string()),
        restarts_in_row: status.restarts,
        restarts_total: *restarts_total,
        starts_in_window: status.starts_in_window,
        start_limit_burst: status.their_limit.map_or(def.start_limit.burst, |limit| limit.burst),
        start_limit_interval_us: status.their_limit.map_or(def.start_limit.interval, |limit| limit.interval).micros(),
        start_limit_of: limited_by(status, def),
        result: status.result.as_str().to_owned(),
        last_exit: status.last_status.map(|status| status.to_string()),
        last_exit_result: status.last_status.map(|_| status.last_result.as_str().to_owned()),
        spawn_failure: status.spawn_failure.clone(),
        waits_for: status.waits_for.clone(),
        next_start_us: status.restart_due.map(|due| wall_of(now, due).0),
        health: health(status).to_owned(),
        probes: status.health.iter().map(probe).collect(),
        status_text: status.status_text.clone(),
        errno: status.errno,
        // Of a process that is gone it does not matter any more.
        n_file_descriptor_store: (def.service.file_descriptor_store_max > 0 || *kept > 0).then_some(*kept),
        file_descriptor_store_max: def.service.file_descriptor_store_max,
        lowered: clamped.settings().filter(|_| status.main_pid.is_some()).map(str::to_owned).collect(),
        exit_status: status.exit_status,
        memory_bytes: used.memory_bytes,
        cpu_us: used.cpu_us,
        usage_of: usage_of.to_owned(),
        memory_peak_bytes: used.memory_peak_bytes,
        tasks: used.tasks,
        io_read_bytes: used.io_read_bytes,
        io_write_bytes: used.io_write_bytes,
        resources_unmet: resources_unmet.clone(),
        restart_held: status.held_back.map(|held| held.as_str().to_owned()),
        in_maintenance: status.maintained,
        cause: stopped(status).unwrap_or_else(|| cause(state)),
        needs_restart: status.needs_restart,
        sandbox_unmet: sandbox_unmet.clone(),
        output: output.map(self::output),
        timer: status.timer.as_ref().map(|timer| self::timer(now, timer)),
        accepted: status.accepted.map(accepted),
    }
}

fn timer(now: Now, timer: &TimerStatus) -> v1::Timer {
    let next = timer.next_wall.into_iter().chain(timer.next_mono.map(|at| wall_of(now, at))).min();
    let us = |at: Wall| at.0;
    v1::Timer { starts: timer.starts.to_string(), next_us: next.map(us), last_us: timer.last.map(us) }
}

const fn accepted(of: Accepted) -> v1::Accepted {
    v1::Accepted { n_accepted: of.accepted, n_connections: of.connections, n_refused: of.refused }
}

const fn output(counts: Counts) -> v1::Output {
    v1::Output {
        captured_bytes: counts.bytes,
        dropped_bytes: counts.full,
        limited_lines: counts.limited_lines,
        limited_bytes: counts.limited,
        forwarded_lines: counts.forwarded,
        unforwarded_bytes: counts.unforwarded,
    }
}

/// What a unit uses, and whose use that is. Only units that ask for counters have any; of the others the main process is
/// looked at, because to find all processes of a thousand units takes longer than a status may.
pub(super) fn used(state: &UnitState) -> (UnitUse, &'static str) {
    let counted = state.counted.as_deref().map(usage::of).unwrap_or_default();
    if counted.memory_bytes.is_some() || counted.cpu_us.is_some() {
        // Not filled up: one process's time beside everyone's memory would compare two things.
        return (counted, "unit");
    }
    let main = state.status.main_pid.and_then(proctree::use_of);
    let (memory_bytes, cpu_us) = (main.map(|main| main.memory_bytes), main.map(|main| main.cpu_us));
    (UnitUse { memory_bytes, cpu_us, ..counted }, "main-process")
}

/// Active, or a oneshot that did its work or waits until something calls it (a hook), or down until its timer elapses. A unit that
/// nobody wants up and that never failed is not "down" either, but neither is it up: `status` counts what is wanted.
pub(super) fn is_up(status: &UnitStatus, def: &UnitDef) -> bool {
    if status.not_known.is_some() {
        return false;
    }
    let works_once = def.service.kind == ServiceKind::Oneshot && def.external.is_none();
    let is_ready = works_once && (status.generation.0 > 0 || !def.enabled);
    let rests = status.active == Active::Inactive && (is_ready || status.timer.is_some());
    matches!(status.active, Active::Active | Active::Reloading) || rests
}

/// Whose start limit counts, where it is not ours.
fn limited_by(status: &UnitStatus, def: &UnitDef) -> Option<String> {
    status.their_limit.and(def.external.as_ref()).map(|external| external.manager.kept_by().to_owned())
}

fn kind_of(def: &UnitDef) -> String {
    match &def.external {
        Some(external) => format!("external ({})", external.manager.kept_by()),
        None if def.name.is_target() => "target".to_owned(),
        None => kind(def.service.kind).to_owned(),
    }
}

const fn kind(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Simple => "simple",
        ServiceKind::Exec => "exec",
        ServiceKind::Notify => "notify",
        ServiceKind::Oneshot => "oneshot",
        ServiceKind::Forking => "forking",
        ServiceKind::NotifyReload => "notify-reload",
        ServiceKind::Idle => "idle",
    }
}

/// The verdict over all probes: the worst.
pub(super) fn health(status: &UnitStatus) -> &'static str {
    let verdicts = || status.health.iter().map(|probe| probe.verdict);
    if status.health.is_empty() {
        "none"
    } else if verdicts().any(|verdict| verdict == Verdict::Unhealthy) {
        "unhealthy"
    } else if verdicts().any(|verdict| verdict == Verdict::Unknown) {
        "unknown"
    } else if verdicts().any(|verdict| verdict == Verdict::Degraded) {
        "degraded"
    } else {
        "healthy"
    }
}

fn probe(probe: &ProbeStatus) -> v1::Probe {
    v1::Probe {
        name: probe.name.clone(),
        verdict: probe.verdict.as_str().to_owned(),
        failure: probe.last_failure.clone().filter(|_| probe.verdict != Verdict::Healthy),
        took_us: probe.took.map(micros),
    }
}

/// Why it is so, in one sentence.
pub(super) fn cause(state: &UnitState) -> String {
    match (&state.awaited, state.status.active) {
        (Some(path), Active::Activating | Active::Deactivating | Active::Reloading) => {
            format!("waits for the disk of {}", path.display())
        }
        (Some(_), Active::Active | Active::Inactive | Active::Failed) | (None, _) => cause_of(state),
    }
}

/// What a process that does nothing shows as. A table of a thousand units has no time to ask for each.
fn stopped(status: &UnitStatus) -> Option<String> {
    let pid = status.main_pid.filter(|pid| proctree::is_stopped(*pid))?;
    Some(format!("its main process {pid} is stopped (T); supervisorctl signal CONT {} lets it go on", status.name))
}

fn cause_of(state: &UnitState) -> String {
    let status = &state.status;
    let why = status.last_why.as_ref();
    // Most units are as wanted, and have no use for it.
    let last = || {
        let exit = status.last_status.map(|exit| format!("{} ({exit})", status.last_result));
        let last = exit.unwrap_or_else(|| status.result.to_string());
        why.map_or_else(|| last.clone(), |why| format!("{last}: {why}"))
    };
    if let (Some(other), Active::Inactive | Active::Failed) = (&status.waits_for, status.active) {
        return format!("waits for {other}");
    }
    let fallen = fallen(state);
    if let Some(held) = status.held_back {
        let why = fallen.map_or_else(String::new, |why| format!("; {why}"));
        return format!("a probe wants a restart, which is held back: {}{why}", held.as_str());
    }
    if let Some(why) = fallen {
        return why;
    }
    if let Some(not_known) = &status.not_known {
        return not_known.why().to_owned();
    }
    match (status.sub, status.active) {
        (Sub::Listening, _) if status.accepted.is_some() => "listens; each connection makes an instance".to_owned(),
        (Sub::Listening, _) if status.generation.0 == 0 => "listens; starts with the first traffic".to_owned(),
        (Sub::Listening, _) => format!("listens; starts with the next traffic; the last run ended with {}", last()),
        (Sub::AutoRestart, _) => format!("waits for its next start; the last run ended with {}", last()),
        (_, Active::Failed) if status.result == RunResult::StartLimitHit => {
            let last = status.last_status.map_or_else(String::new, |_| format!("; the last run ended with {}", last()));
            let limit = status.their_limit.zip(limited_by(status, &state.def));
            let who = limit.map_or_else(
                || "too many starts in its window".to_owned(),
                |(TheirLimit { burst, interval, .. }, by)| {
                    format!("{by} has given it up: more than {} within {interval}", counted(burst, "start"))
                },
            );
            format!("{who}{last}; supervisorctl reset clears that")
        }
        (_, Active::Failed) if status.result == RunResult::TriggerLimitHit => {
            "traffic started it too often; supervisorctl start lets it listen again".to_owned()
        }
        (_, Active::Failed) => format!("ended with {}", last()),
        (_, Active::Inactive) if status.generation.0 == 0 => "never started".to_owned(),
        (_, Active::Inactive) if status.timer.is_some() => format!("the last run ended with {}", last()),
        (_, Active::Inactive) => format!("stopped; the last run ended with {}", last()),
        (_, Active::Active | Active::Reloading) if status.restarts > 0 => {
            let because = why.map_or_else(String::new, |why| format!(" because {why}"));
            let before = status.last_status.map_or_else(String::new, |exit| format!("; the run before: {exit}"));
            format!("restarted{because}{before}")
        }
        (_, Active::Active | Active::Reloading) => "as wanted".to_owned(),
        (_, Active::Activating) => "on its way up".to_owned(),
        (_, Active::Deactivating) if status.unkillable => "its processes do not die on SIGKILL".to_owned(),
        (_, Active::Deactivating) => "on its way down".to_owned(),
    }
}

/// What its probes say against it: the worst verdict, since when, and why.
fn fallen(state: &UnitState) -> Option<String> {
    let status = &state.status;
    let severity =
        |probe: &ProbeStatus| state.def.health.iter().find(|spec| *spec.name == *probe.name).map(|spec| spec.severity);
    let is_fallen = |probe: &&ProbeStatus| matches!(probe.verdict, Verdict::Degraded | Verdict::Unhealthy);
    let fallen: Vec<&ProbeStatus> = status.health.iter().filter(is_fallen).collect();
    // Of two that are as bad, the one that matters more, then the one that fell first.
    let first = |probe: &ProbeStatus| std::cmp::Reverse(probe.since.map(|since| since.mono));
    let worst = fallen.iter().max_by_key(|probe| (probe.verdict, severity(probe), first(probe)))?;
    let since = worst.since.map_or_else(String::new, |since| format!(" since {}", clock::rfc3339(since.wall)));
    let why = worst.last_failure.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let more = match fallen.len() - 1 {
        0 => String::new(),
        1 => " (and another probe)".to_owned(),
        more => format!(" (and {more} other probes)"),
    };
    Some(format!("probe {} is {}{since}{why}{more}", worst.name, worst.verdict.as_str()))
}

fn wall_of(now: Now, at: Mono) -> Wall {
    let ahead = i64::try_from(at.since(now.mono).as_micros()).unwrap_or(i64::MAX);
    Wall(now.wall.0.saturating_add(ahead))
}

/// A notice as the stream shows it.
pub(super) fn event(id: u64, notice: &Notice) -> v1::Event {
    let what = &notice.what;
    v1::Event {
        id,
        at_us: notice.at.wall.0,
        event: what.event().to_owned(),
        severity: severity(what.severity()).to_owned(),
        unit: what.unit().map(ToString::to_string),
        generation: what.run().map(|run| run.generation.0),
        message: what.message(),
        fields: what.fields().into_iter().map(|(name, value)| (name.to_owned(), field(value))).collect(),
    }
}

/// A notice as the store kept it.
pub(super) fn stored_event(row: store::NoticeRow) -> v1::Event {
    v1::Event {
        id: u64::try_from(row.id).unwrap_or(0),
        at_us: row.at.0,
        event: row.event,
        severity: row.severity,
        unit: row.unit,
        generation: row.generation.map(|generation| generation.0),
        message: row.message,
        fields: serde_json::from_str(&row.fields).unwrap_or_default(),
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        Severity::Bug => "bug",
    }
}

fn field(field: Field) -> serde_json::Value {
    match field {
        Field::Text(text) => text.into(),
        Field::Number(number) => number.into(),
        Field::Flag(flag) => flag.into(),
    }
}

/// How an order ended for one unit, with the likely remedy where it did not come about.
pub(super) fn outcome(verb: &str, unit: &UnitName, outcome: &Outcome) -> v1::UnitOutcome {
    let (ok, code, message) = match outcome {
        Outcome::Done => (true, "done", format!("{unit}: {} done", verb)),
        Outcome::Already => (true, "already", format!("{unit}: nothing to do, it was so already")),
        Outcome::Skipped => {
            (true, "skipped", format!("{unit}: not started: its exec_condition says that it is not to run now"))
        }
        Outcome::Cleared { restarts, starts, was_failed } => {
            let failed = if *was_failed { "failed state, " } else { "" };
            let (restarts, starts) = (counted(*restarts, "restart"), counted(*starts, "start"));
            (true, "cleared", format!("{unit}: cleared {failed}{restarts}, {starts} in the window"))
        }
        Outcome::Checked(reports) => {
            let failures = reports.iter().filter(|report| matches!(report.finding, Finding::Bad(_))).count();
            (
                failures == 0,
                "checked",
                format!(
                    "{unit}: {failures} of {} failed",
                    counted(u32::try_from(reports.len()).unwrap_or(u32::MAX), "probe")
                ),
            )
        }
        Outcome::Failed(refusal) => refused(unit, refusal),
    };
    v1::UnitOutcome { unit: unit.to_string(), ok, code: code.to_owned(), message }
}

fn refused(unit: &UnitName, refusal: &Refusal) -> (bool, &'static str, String) {
    let (code, message) = match refusal {
        Refusal::UnknownUnit { similar } => {
            let hint = similar.as_ref().map_or_else(
                || "supervisorctl list shows all units".to_owned(),
                |similar| format!("did you mean {similar}?"),
            );
            ("unknown-unit", format!("there is no unit {unit}; {hint}"))
        }
        Refusal::StartFailed { result, status } => {
            let how = status.map_or_else(String::new, |status| format!(" ({status})"));
            ("start-failed", format!("{unit} did not come up: {result}{how}; supervisorctl logs {unit} may say why"))
        }
        Refusal::CannotListen { failure } => {
            ("cannot-listen", format!("{unit} cannot listen: {}; supervisord's log names the socket", failure.reason()))
        }
        Refusal::DependencyFailed { needs } => {
            ("dependency-failed", format!("{unit} needs {needs}, which did not come up; supervisorctl why {needs}"))
        }
        Refusal::StartLimitHit => (
            "start-limit-hit",
            format!("{unit} was started too often in its window; supervisorctl reset {unit}, then start it"),
        ),
        Refusal::CannotReload => {
            ("cannot-reload", format!("{unit} has no exec_reload; supervisorctl restart {unit} is the other way"))
        }
        Refusal::OneConnection => (
            "one-connection",
            format!("{unit} serves one connection and is not started again; its client can connect anew"),
        ),
        Refusal::NotDown => ("not-down", format!("{unit} is not down; supervisorctl stop {unit}")),
        Refusal::NotRunning => ("not-running", format!("{unit} is not running")),
        Refusal::KeptElsewhere { manager } => ("kept-elsewhere", format!("{unit} {}", signalled_by(manager))),
        Refusal::ReloadFailed => {
            ("reload-failed", format!("{unit} did not take its configuration; supervisorctl logs {unit} may say why"))
        }
        Refusal::Unkillable => (
            "unkillable",
            format!("processes of {unit} do not die on SIGKILL (a disk or network that hangs?); it waits for them"),
        ),
        Refusal::Superseded => ("superseded", format!("{unit}: another order took the place of this one")),
        Refusal::ShuttingDown => ("shutting-down", "the supervisor is stopping".to_owned()),
    };
    (false, code, message)
}

/// Signals go the way that its manager has for them.
fn signalled_by(manager: &ExternalManager) -> String {
    match manager {
        ExternalManager::Systemd(host) => {
            format!("is kept by systemd, which signals it: systemctl kill --signal=SIGNAL {host}")
        }
        ExternalManager::Supervisor { process, .. } => {
            format!("is kept by Supervisor, which signals it: its own supervisorctl signal SIGNAL {process}")
        }
        ExternalManager::Commands { .. } => {
            "is kept by commands, of which none signals it: kill(1) with the pid of its process".to_owned()
        }
    }
}

/// A past run.
pub(super) fn run(row: store::RunRow) -> v1::Run {
    v1::Run {
        seq: row.seq,
        unit: row.unit,
        generation: row.generation.0,
        invocation: row.invocation.unwrap_or_default(),
        pid: row.pid.and_then(|pid| i32::try_from(pid).ok()),
        started_us: row.started_at.map_or(0, |at| at.0),
        cause: row.cause.unwrap_or_else(|| "unknown".to_owned()),
        cause_detail: row.cause_detail,
        actor: row.actor,
        ready_us: row.ready_at.map(|at| at.0),
        ended_us: row.ended_at.map(|at| at.0),
        status: row.status.map(|status| status.to_string()),
        result: row.result,
        wanted: row.wanted,
        consequence: row.consequence,
        cpu_us: row.usage.map(|usage| micros(usage.user + usage.system)),
        max_rss_kib: row.usage.map(|usage| usage.max_rss_kib).filter(|kib| *kib > 0),
        reason: row.why,
        last_output: last_output(row.last_output.as_deref()),
    }
}

/// What a run wrote last.
pub(super) fn last_output(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What a probe found just now.
pub(super) fn report(report: &ProbeReport) -> v1::Probe {
    v1::Probe {
        name: report.name.clone(),
        verdict: report.verdict.as_str().to_owned(),
        failure: report.finding.reason().map(str::to_owned),
        took_us: Some(micros(report.took)),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
