//! What each happening is called, whom it concerns, how it reads and which values it carries.
//!
//! Rows, alerts, the event stream and users' scripts depend on the names and fields: add to them, rename nothing.

use super::{
    Actor, ByteSize, Consequence, Field, Happening, RunId, RunResult, Severity, StartCause, UnitName, counted,
};

/// The closed list of field names that a happening may carry.
pub const FIELD_NAMES: [&str; 38] = [
    "unit",
    "generation",
    "invocation",
    "pid",
    "status",
    "result",
    "cause",
    "cause_detail",
    "actor",
    "consequence",
    "wanted",
    "restarts",
    "starts",
    "delay",
    "after",
    "burst",
    "interval",
    "command",
    "step",
    "signal",
    "errno",
    "probe",
    "reason",
    "remedy",
    "needs",
    "was_failed",
    "machine",
    "count",
    "adopted",
    "replayed",
    "bytes",
    "dropped",
    "kept",
    "text",
    "node",
    "plan",
    "reached",
    "members",
];

impl Happening {
    /// Its stable name, in snake_case.
    pub const fn event(&self) -> &'static str {
        match self {
            Self::RunStarting { .. } => "run_starting",
            Self::MainStarted { .. } => "main_started",
            Self::RunReady { .. } => "run_ready",
            Self::RunEnded { .. } => "run_ended",
            Self::SpawnFailed { .. } => "spawn_failed",
            Self::ControlFailed { .. } => "control_failed",
            Self::RestartScheduled { .. } => "restart_scheduled",
            Self::StartLimitHit { .. } => "start_limit_hit",
            Self::UnitFailed { .. } => "unit_failed",
            Self::UnitStopped { .. } => "unit_stopped",
            Self::Listening { .. } => "listening",
            Self::TimedOut { .. } => "timed_out",
            Self::Unkillable { .. } => "unkillable",
            Self::WatchdogExpired { .. } => "watchdog_expired",
            Self::OomKilled { .. } => "oom_killed",
            Self::Signalled { .. } => "signalled",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadFailed { .. } => "reload_failed",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Healthy { .. } => "healthy",
            Self::Degraded { .. } => "degraded",
            Self::RestartHeld { .. } => "restart_held",
            Self::RestartReleased { .. } => "restart_released",
            Self::Recovered { .. } => "recovered",
            Self::DependencyFailed { .. } => "dependency_failed",
            Self::CountersReset { .. } => "counters_reset",
            Self::NotifyRefused { .. } => "notify_refused",
            Self::MainPidRefused { .. } => "main_pid_refused",
            Self::ManagerStarted { .. } => "manager_started",
            Self::ShuttingDown { .. } => "shutting_down",
            Self::UpgradeFailed { .. } => "upgrade_failed",
            Self::ConfigLoaded { .. } => "config_loaded",
            Self::ConfigRejected { .. } => "config_rejected",
            Self::StoreDegraded { .. } => "store_degraded",
            Self::StoreReplaced { .. } => "store_replaced",
            Self::StoreRecovered => "store_recovered",
            Self::DiskLow { .. } => "disk_low",
            Self::DiskRecovered => "disk_recovered",
            Self::OutputDropped { .. } => "output_dropped",
            Self::LogsDegraded { .. } => "logs_degraded",
            Self::LogsRecovered => "logs_recovered",
            Self::Fleet(event) => event.event(),
            Self::Bug { .. } => "bug",
        }
    }

    /// The unit it concerns, where it concerns one.
    pub const fn unit(&self) -> Option<&UnitName> {
        match self {
            Self::RestartScheduled { unit, .. }
            | Self::StartLimitHit { unit, .. }
            | Self::UnitFailed { unit, .. }
            | Self::UnitStopped { unit, .. }
            | Self::Listening { unit }
            | Self::DependencyFailed { unit, .. }
            | Self::CountersReset { unit, .. }
            | Self::OutputDropped { unit, .. } => Some(unit),
            Self::NotifyRefused { unit, .. } | Self::Bug { unit, .. } => unit.as_ref(),
            Self::RunStarting { run, .. }
            | Self::MainStarted { run, .. }
            | Self::RunReady { run }
            | Self::RunEnded { run, .. }
            | Self::SpawnFailed { run, .. }
            | Self::ControlFailed { run, .. }
            | Self::TimedOut { run, .. }
            | Self::Unkillable { run }
            | Self::WatchdogExpired { run }
            | Self::OomKilled { run }
            | Self::Signalled { run, .. }
            | Self::Reloaded { run, .. }
            | Self::ReloadFailed { run, .. }
            | Self::MainPidRefused { run, .. }
            | Self::Unhealthy { run, .. }
            | Self::Healthy { run, .. }
            | Self::Degraded { run, .. }
            | Self::RestartHeld { run, .. }
            | Self::RestartReleased { run, .. }
            | Self::Recovered { run } => Some(&run.unit),
            Self::Fleet(_)
            | Self::ManagerStarted { .. }
            | Self::UpgradeFailed { .. }
            | Self::ShuttingDown { .. }
            | Self::ConfigLoaded { .. }
            | Self::ConfigRejected { .. }
            | Self::StoreDegraded { .. }
            | Self::StoreReplaced { .. }
            | Self::StoreRecovered
            | Self::DiskLow { .. }
            | Self::DiskRecovered
            // The disk is everyone's; the unit is only the first that met it.
            | Self::LogsDegraded { .. }
            | Self::LogsRecovered => None,
        }
    }

    /// The same, for whoever tells of it under another name.
    pub const fn unit_mut(&mut self) -> Option<&mut UnitName> {
        match self {
            Self::RestartScheduled { unit, .. }
            | Self::StartLimitHit { unit, .. }
            | Self::UnitFailed { unit, .. }
            | Self::UnitStopped { unit, .. }
            | Self::Listening { unit }
            | Self::DependencyFailed { unit, .. }
            | Self::CountersReset { unit, .. }
            | Self::OutputDropped { unit, .. } => Some(unit),
            Self::NotifyRefused { unit, .. } | Self::Bug { unit, .. } => unit.as_mut(),
            Self::RunStarting { run, .. }
            | Self::MainStarted { run, .. }
            | Self::RunReady { run }
            | Self::RunEnded { run, .. }
            | Self::SpawnFailed { run, .. }
            | Self::ControlFailed { run, .. }
            | Self::TimedOut { run, .. }
            | Self::Unkillable { run }
            | Self::WatchdogExpired { run }
            | Self::OomKilled { run }
            | Self::Signalled { run, .. }
            | Self::Reloaded { run, .. }
            | Self::ReloadFailed { run, .. }
            | Self::MainPidRefused { run, .. }
            | Self::Unhealthy { run, .. }
            | Self::Healthy { run, .. }
            | Self::Degraded { run, .. }
            | Self::RestartHeld { run, .. }
            | Self::RestartReleased { run, .. }
            | Self::Recovered { run } => Some(&mut run.unit),
            Self::Fleet(_)
            | Self::ManagerStarted { .. }
            | Self::UpgradeFailed { .. }
            | Self::ShuttingDown { .. }
            | Self::ConfigLoaded { .. }
            | Self::ConfigRejected { .. }
            | Self::StoreDegraded { .. }
            | Self::StoreReplaced { .. }
            | Self::StoreRecovered
            | Self::DiskLow { .. }
            | Self::DiskRecovered
            | Self::LogsDegraded { .. }
            | Self::LogsRecovered => None,
        }
    }

    /// The run it concerns, where it concerns one.
    pub const fn run(&self) -> Option<&RunId> {
        match self {
            Self::RunStarting { run, .. }
            | Self::MainStarted { run, .. }
            | Self::RunReady { run }
            | Self::RunEnded { run, .. }
            | Self::SpawnFailed { run, .. }
            | Self::ControlFailed { run, .. }
            | Self::TimedOut { run, .. }
            | Self::Unkillable { run }
            | Self::WatchdogExpired { run }
            | Self::OomKilled { run }
            | Self::Signalled { run, .. }
            | Self::Reloaded { run, .. }
            | Self::ReloadFailed { run, .. }
            | Self::MainPidRefused { run, .. }
            | Self::Unhealthy { run, .. }
            | Self::Healthy { run, .. }
            | Self::Degraded { run, .. }
            | Self::RestartHeld { run, .. }
            | Self::RestartReleased { run, .. }
            | Self::Recovered { run } => Some(run),
            Self::RestartScheduled { .. }
            | Self::StartLimitHit { .. }
            | Self::UnitFailed { .. }
            | Self::UnitStopped { .. }
            | Self::Listening { .. }
            | Self::DependencyFailed { .. }
            | Self::CountersReset { .. }
            | Self::OutputDropped { .. }
            | Self::LogsDegraded { .. }
            | Self::LogsRecovered
            | Self::NotifyRefused { .. }
            | Self::Bug { .. }
            | Self::Fleet(_)
            | Self::ManagerStarted { .. }
            | Self::UpgradeFailed { .. }
            | Self::ShuttingDown { .. }
            | Self::ConfigLoaded { .. }
            | Self::ConfigRejected { .. }
            | Self::StoreDegraded { .. }
            | Self::StoreReplaced { .. }
            | Self::DiskLow { .. }
            | Self::DiskRecovered
            | Self::StoreRecovered => None,
        }
    }

    /// How much it matters.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::RunEnded { wanted: true, .. } | Self::ControlFailed { ignored: true, .. } => Severity::Info,
            Self::RunEnded { consequence, .. } => match consequence {
                Consequence::Rest | Consequence::Left => Severity::Info,
                Consequence::Restart => Severity::Warning,
                Consequence::Fail | Consequence::StartLimit => Severity::Critical,
            },
            Self::Unhealthy { severity, .. } => *severity,
            Self::Degraded { .. } | Self::RestartHeld { .. } | Self::DiskLow { is_bad: false, .. } => Severity::Warning,
            Self::DiskLow { is_bad: true, .. } => Severity::Critical,
            Self::RunStarting { .. }
            | Self::MainStarted { .. }
            | Self::RunReady { .. }
            | Self::RestartScheduled { .. }
            | Self::RestartReleased { .. }
            | Self::UnitStopped { .. }
            | Self::Listening { .. }
            | Self::Signalled { .. }
            | Self::Reloaded { .. }
            | Self::Healthy { .. }
            | Self::Recovered { .. }
            | Self::CountersReset { .. }
            | Self::ManagerStarted { .. }
            | Self::ShuttingDown { .. }
            | Self::ConfigLoaded { .. }
            | Self::StoreRecovered
            | Self::DiskRecovered
            | Self::LogsRecovered => Severity::Info,
            Self::SpawnFailed { .. }
            | Self::ControlFailed { .. }
            | Self::TimedOut { .. }
            | Self::WatchdogExpired { .. }
            | Self::OomKilled { .. }
            | Self::ReloadFailed { .. }
            | Self::DependencyFailed { .. }
            | Self::NotifyRefused { .. }
            | Self::MainPidRefused { .. }
            | Self::UpgradeFailed { .. }
            | Self::OutputDropped { .. } => Severity::Warning,
            Self::StartLimitHit { .. }
            | Self::UnitFailed { .. }
            | Self::Unkillable { .. }
            | Self::ConfigRejected { .. }
            | Self::StoreDegraded { .. }
            | Self::StoreReplaced { .. }
            | Self::LogsDegraded { .. } => Severity::Critical,
            Self::Fleet(event) => event.severity(),
            Self::Bug { .. } => Severity::Bug,
        }
    }

    /// One sentence for people, without a full stop. Texts from outside stand in it as they came.
    #[expect(clippy::too_many_lines, reason = "one exhaustive match, an arm per happening")]
    pub fn message(&self) -> String {
        match self {
            Self::RunStarting { run, cause: StartCause::Manual(actor @ Actor::Automatic(_)), .. } => {
                format!("{} starts (by {actor})", run.unit)
            }
            Self::RunStarting { run, cause, .. } => match (cause.actor(), cause.detail()) {
                (Some(actor), _) => format!("{} starts ({} by {actor})", run.unit, cause.as_str()),
                (None, Some(detail)) => format!("{} starts ({}: {detail})", run.unit, cause.as_str()),
                (None, None) => format!("{} starts ({})", run.unit, cause.as_str()),
            },
            Self::MainStarted { run, pid } => format!("{} runs as pid {pid}", run.unit),
            Self::RunReady { run } => format!("{} is up", run.unit),
            Self::RunEnded { run, status, result, wanted, consequence, delay, why, .. } => {
                let how = status.map_or_else(|| format!("result {result}"), |status| status.to_string());
                let how = if *result == RunResult::OomKill { format!("{how}, for want of memory") } else { how };
                let restarted =
                    delay.map_or_else(|| "it is restarted".to_owned(), |delay| format!("it is restarted in {delay}"));
                let then = match (wanted, consequence) {
                    (false, Consequence::Rest) if *result == RunResult::ExecCondition => {
                        return format!("{} is not to run now: exec_condition said so", run.unit);
                    }
                    (_, Consequence::Left) => return format!("{} runs on and is watched no longer", run.unit),
                    (true, _) => "as asked",
                    (false, Consequence::Restart) => &restarted,
                    (false, Consequence::Rest) => "it is finished",
                    (false, Consequence::Fail) => "it is not restarted",
                    (false, Consequence::StartLimit) => "it started too often and is not restarted",
                };
                let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                format!("{} ended ({how}), {then}{why}", run.unit)
            }
            Self::SpawnFailed { run, command, failure: _, reason } => {
                format!("cannot start {command} of {}: {reason}", run.unit)
            }
            Self::ControlFailed { run, command, status, ignored } => {
                let ignored = if *ignored { ", which is ignored" } else { "" };
                format!("{command} of {} failed ({status}){ignored}", run.unit)
            }
            Self::RestartScheduled { unit, delay, restarts } => {
                format!("{unit} is restarted in {delay} (restart {restarts} in a row)")
            }
            Self::StartLimitHit { unit, burst, interval, last, again: _ } => {
                let last = last.as_ref().map_or_else(String::new, |last| format!("; the last run ended with {last}"));
                format!("{unit} failed: more than {} within {interval}{last}", counted(*burst, "start"))
            }
            Self::UnitFailed { unit, result } => format!("{unit} failed ({result}) and stays so until someone acts"),
            Self::UnitStopped { unit, actor } => format!("{unit} is stopped (by {actor})"),
            Self::Listening { unit } => format!("{unit} listens"),
            Self::TimedOut { run, what, after } => format!("{what} of {} took longer than {after}", run.unit),
            Self::Unkillable { run } => format!("processes of {} do not die on SIGKILL", run.unit),
            Self::WatchdogExpired { run } => format!("{} did not feed its watchdog", run.unit),
            Self::OomKilled { run } => format!("the kernel killed a process of {} for want of memory", run.unit),
            Self::Signalled { run, signal, actor } => format!("{actor} sent {signal} to {}", run.unit),
            Self::Reloaded { run, actor } => format!("{} reloaded (by {actor})", run.unit),
            Self::ReloadFailed { run, reason } => format!("{} could not reload and runs on: {reason}", run.unit),
            Self::Unhealthy { run, probe, reason, .. } => {
                format!("{} is unhealthy: probe {probe}: {reason}", run.unit)
            }
            Self::Healthy { run, probe } => format!("probe {probe} of {} is healthy", run.unit),
            Self::Degraded { run, probe, reason, .. } => format!("probe {probe} of {} is degraded: {reason}", run.unit),
            Self::RestartHeld { run, probe, held } => {
                format!("the restart of {} that probe {probe} wants is held back: {}", run.unit, held.as_str())
            }
            Self::RestartReleased { run, probe } => {
                format!("{} is restarted, as probe {probe} wants: nothing holds that back any more", run.unit)
            }
            Self::Recovered { run } => format!("{} is up and healthy", run.unit),
            Self::DependencyFailed { unit, needs } => format!("{unit} cannot start: it needs {needs}"),
            Self::CountersReset { unit, actor, restarts, starts, was_failed } => {
                let failed = if *was_failed { " and the failed state" } else { "" };
                let (restarts, starts) = (counted(*restarts, "restart"), counted(*starts, "start"));
                format!("{unit} was reset by {actor}: {restarts}, {starts}{failed} cleared")
            }
            Self::NotifyRefused { unit: Some(unit), sender, reason } => {
                format!("refused a notification for {unit} from pid {sender}: {reason}")
            }
            Self::NotifyRefused { unit: None, sender, reason } => {
                format!("refused a notification from pid {sender}: {reason}")
            }
            Self::MainPidRefused { run, reason } => format!("{} keeps its main process: {reason}", run.unit),
            Self::ManagerStarted { cause, adopted, replayed } => {
                format!("the manager is up ({cause}): {adopted} runs taken over, {replayed} exits had waited")
            }
            Self::UpgradeFailed { reason } => format!("the program was not replaced: {reason}"),
            Self::ShuttingDown { actor, machine: false } => format!("the daemon stops (by {actor})"),
            Self::ShuttingDown { actor, machine: true } => format!("the machine goes down (by {actor})"),
            Self::ConfigLoaded { units } => format!("{units} units are in use"),
            Self::ConfigRejected { problems } => {
                // Each problem has its line, and its help one below it.
                let problems = problems.replace("\n  ", ", ").replace('\n', "; ");
                format!("the configuration was refused, the one before stays: {problems}")
            }
            Self::StoreDegraded { reason } => format!("the database cannot be written, rows wait: {reason}"),
            Self::StoreReplaced { kept } => format!("the database was damaged; it is kept as {kept}, a new one begins"),
            Self::StoreRecovered => "the database is written again".to_owned(),
            Self::DiskLow { path, free, wanted, is_bad: _ } => {
                let (free, wanted) = (ByteSize(*free).rounded(), ByteSize(*wanted).rounded());
                format!("the disk of {path} is short of room: {free} free, {wanted} wanted")
            }
            Self::DiskRecovered => "the disk has room again".to_owned(),
            Self::OutputDropped { unit, bytes } => format!("{bytes} bytes of output of {unit} were dropped"),
            Self::LogsDegraded { unit, reason, dropped: true } => {
                format!("output cannot be written and is dropped ({unit} first): {reason}")
            }
            Self::LogsDegraded { unit, reason, dropped: false } => {
                format!("output cannot be written, {unit} will wait for it: {reason}")
            }
            Self::LogsRecovered => "output is written again".to_owned(),
            Self::Fleet(event) => event.message(),
            Self::Bug { unit: Some(unit), text } => format!("bug in the supervisor ({unit}): {text}"),
            Self::Bug { unit: None, text } => format!("bug in the supervisor: {text}"),
        }
    }

    /// Its values by name, the unit and run first. The names are those of [`FIELD_NAMES`].
    #[expect(clippy::too_many_lines, reason = "one exhaustive match, an arm per happening")]
    pub fn fields(&self) -> Vec<(&'static str, Field)> {
        let text = |value: &dyn std::fmt::Display| Field::Text(value.to_string());
        let number = |value: u32| Field::Number(u64::from(value));
        let mut fields = Vec::new();
        if let Some(unit) = self.unit() {
            fields.push(("unit", text(unit)));
        }
        if let Some(run) = self.run() {
            fields.push(("generation", Field::Number(run.generation.0)));
        }
        match self {
            Self::RunStarting { run: _, invocation, cause, restarts } => {
                fields.extend([("invocation", text(invocation)), ("cause", text(&cause.as_str()))]);
                fields.extend(cause.detail().map(|detail| ("cause_detail", text(&detail))));
                fields.extend(cause.actor().map(|actor| ("actor", text(actor))));
                fields.push(("restarts", number(*restarts)));
            }
            Self::MainStarted { run: _, pid } => {
                fields.push(("pid", Field::Number(u64::from(pid.raw().unsigned_abs()))))
            }
            Self::RunEnded {
                run: _,
                invocation,
                status,
                usage: _,
                result,
                wanted,
                consequence,
                delay,
                why,
                replayed: _,
            } => {
                fields.push(("invocation", text(invocation)));
                fields.extend(status.map(|status| ("status", text(&status))));
                fields.extend([("result", text(result)), ("wanted", Field::Flag(*wanted))]);
                fields.push(("consequence", text(&consequence.as_str())));
                fields.extend(delay.map(|delay| ("delay", text(&delay))));
                fields.extend(why.as_ref().map(|why| ("reason", text(why))));
            }
            Self::SpawnFailed { run: _, command, failure, reason } => {
                fields.extend([("command", text(command)), ("step", text(&failure.step.as_str()))]);
                fields.push(("errno", Field::Number(u64::from(failure.errno.unsigned_abs()))));
                fields.push(("reason", text(reason)));
            }
            Self::ControlFailed { run: _, command, status, ignored: _ } => {
                fields.extend([("command", text(command)), ("status", text(status))]);
            }
            Self::RestartScheduled { unit: _, delay, restarts } => {
                fields.extend([("delay", text(delay)), ("restarts", number(*restarts))]);
            }
            Self::StartLimitHit { unit: _, burst, interval, last, again: _ } => {
                fields.extend([("burst", number(*burst)), ("interval", text(interval))]);
                fields.extend(last.as_ref().map(|last| ("reason", text(last))));
            }
            Self::UnitFailed { unit: _, result } => fields.push(("result", text(result))),
            Self::Signalled { run: _, signal, actor } => {
                fields.extend([("signal", text(signal)), ("actor", text(actor))]);
            }
            Self::UnitStopped { unit: _, actor } | Self::Reloaded { run: _, actor } => {
                fields.push(("actor", text(actor)));
            }
            Self::TimedOut { run: _, what, after } => fields.extend([("text", text(what)), ("after", text(after))]),
            Self::ReloadFailed { run: _, reason } | Self::MainPidRefused { run: _, reason } => {
                fields.push(("reason", text(reason)))
            }
            Self::Unhealthy { run: _, probe, reason, severity: _, remedy } => {
                fields.extend([("probe", text(probe)), ("reason", text(reason)), ("remedy", text(&remedy.as_str()))]);
            }
            Self::Healthy { run: _, probe } | Self::RestartReleased { run: _, probe } => {
                fields.push(("probe", text(probe)));
            }
            Self::Degraded { run: _, probe, reason, shortage: _, severity: _ } => {
                fields.extend([("probe", text(probe)), ("reason", text(reason))]);
            }
            Self::RestartHeld { run: _, probe, held } => {
                fields.extend([("probe", text(probe)), ("reason", text(&held.as_str()))]);
            }
            Self::DependencyFailed { unit: _, needs } => fields.push(("needs", text(needs))),
            Self::CountersReset { unit: _, actor, restarts, starts, was_failed } => {
                fields.extend([("actor", text(actor)), ("restarts", number(*restarts)), ("starts", number(*starts))]);
                fields.push(("was_failed", Field::Flag(*was_failed)));
            }
            Self::NotifyRefused { unit: _, sender, reason } => {
                fields.extend([("pid", Field::Number(u64::from(sender.unsigned_abs()))), ("reason", text(reason))]);
            }
            Self::ManagerStarted { cause, adopted, replayed } => {
                fields.extend([("cause", text(cause)), ("adopted", number(*adopted)), ("replayed", number(*replayed))]);
            }
            Self::ShuttingDown { actor, machine } => {
                fields.extend([("actor", text(actor)), ("machine", Field::Flag(*machine))]);
            }
            Self::ConfigLoaded { units } => fields.push(("count", number(*units))),
            Self::ConfigRejected { problems } => fields.push(("reason", text(problems))),
            Self::UpgradeFailed { reason } => fields.push(("reason", text(reason))),
            Self::StoreDegraded { reason } => fields.push(("reason", text(reason))),
            Self::StoreReplaced { kept } => fields.push(("kept", text(kept))),
            Self::DiskLow { path, free, wanted, is_bad: _ } => fields.extend([
                ("path", text(path)),
                ("free", Field::Number(*free)),
                ("wanted_bytes", Field::Number(*wanted)),
            ]),
            Self::OutputDropped { unit: _, bytes } => fields.push(("bytes", Field::Number(*bytes))),
            Self::LogsDegraded { unit, reason, dropped } => {
                fields.extend([("unit", text(unit)), ("reason", text(reason)), ("dropped", Field::Flag(*dropped))]);
            }
            Self::Fleet(event) => fields.extend(event.fields()),
            Self::Bug { unit: _, text: what } => fields.push(("text", text(what))),
            Self::DiskRecovered
            | Self::RunReady { run: _ }
            | Self::Listening { unit: _ }
            | Self::Unkillable { run: _ }
            | Self::WatchdogExpired { run: _ }
            | Self::OomKilled { run: _ }
            | Self::Recovered { run: _ }
            | Self::StoreRecovered
            | Self::LogsRecovered => {}
        }
        fields
    }
}

impl Severity {
    /// One word for rows and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Bug => "bug",
        }
    }

    /// Reads the word of [`Severity::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical, Self::Bug].into_iter().find(|known| known.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{
        Actor, ExitStatus, Generation, InvocationId, RunResult, SpawnFailure, SpawnStep, StartCause, TimeSpan,
    };

    fn run(generation: u64) -> RunId {
        RunId { unit: UnitName::new("web").unwrap(), generation: Generation(generation) }
    }

    #[test]
    fn an_end_is_told_with_its_consequence() {
        let ended = |wanted, consequence| Happening::RunEnded {
            why: None,
            replayed: false,
            run: run(3),
            invocation: InvocationId([0; 16]),
            status: Some(ExitStatus::Exited(1)),
            usage: None,
            result: RunResult::ExitCode,
            wanted,
            consequence,
            delay: None,
        };
        let mut restarted = ended(false, Consequence::Restart);
        assert_eq!(restarted.message(), "web ended (exit code 1), it is restarted");
        if let Happening::RunEnded { delay, .. } = &mut restarted {
            *delay = Some(TimeSpan::from_secs(10));
        }
        assert_eq!(restarted.message(), "web ended (exit code 1), it is restarted in 10s");
        assert_eq!(ended(true, Consequence::Restart).severity(), Severity::Info);
        assert_eq!(ended(true, Consequence::Left).message(), "web runs on and is watched no longer");
        assert_eq!(ended(false, Consequence::StartLimit).severity(), Severity::Critical);
        let names: Vec<_> = ended(false, Consequence::Rest).fields().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["unit", "generation", "invocation", "status", "result", "wanted", "consequence"]);
    }

    #[test]
    fn an_end_says_why_where_that_is_known() {
        let ended = |result, why: Option<&str>| Happening::RunEnded {
            replayed: false,
            run: run(3),
            invocation: InvocationId([0; 16]),
            status: Some(ExitStatus::Signaled { signal: crate::base::Signal::KILL, core: false }),
            usage: None,
            result,
            wanted: false,
            consequence: Consequence::Restart,
            delay: None,
            why: why.map(str::to_owned),
        };
        let of_memory = ended(RunResult::OomKill, None).message();
        assert_eq!(of_memory, "web ended (killed by SIGKILL, for want of memory), it is restarted");
        let by_someone = ended(RunResult::Signal, Some("uid 0 sent SIGKILL"));
        assert_eq!(by_someone.message(), "web ended (killed by SIGKILL), it is restarted: uid 0 sent SIGKILL");
        assert!(by_someone.fields().contains(&("reason", Field::Text("uid 0 sent SIGKILL".to_owned()))));
    }

    #[test]
    fn a_start_names_who_asked() {
        let start = Happening::RunStarting {
            run: run(1),
            invocation: InvocationId([0; 16]),
            cause: StartCause::Manual(Actor::User(0)),
            restarts: 0,
        };
        assert_eq!(start.message(), "web starts (manual by uid 0)");
        assert!(start.fields().contains(&("actor", Field::Text("uid 0".to_owned()))));
    }

    #[test]
    fn a_failed_spawn_names_step_and_reason() {
        let failure = SpawnFailure { step: SpawnStep::Exec, errno: 2 };
        assert_eq!(failure.to_string(), "exec: no such file or directory");
        assert_eq!(SpawnFailure { step: SpawnStep::Nice, errno: 999 }.to_string(), "nice: errno 999");
    }

    #[test]
    fn fields_have_only_the_names_of_the_list() {
        let happenings = [
            Happening::CountersReset {
                unit: run(1).unit,
                actor: Actor::Daemon,
                restarts: 1,
                starts: 2,
                was_failed: true,
            },
            Happening::NotifyRefused { unit: None, sender: 7, reason: "x" },
            Happening::ManagerStarted { cause: "boot", adopted: 0, replayed: 0 },
            Happening::Bug { unit: None, text: "x".to_owned() },
        ];
        for (name, _) in happenings.iter().flat_map(Happening::fields) {
            assert!(FIELD_NAMES.contains(&name), "{name}");
        }
    }
}
