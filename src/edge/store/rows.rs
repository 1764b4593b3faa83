//! From what is handed in to rows. Every statement here changes nothing when it is run a second time.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::{OutboxState, OutboxUpdate, Write};
use crate::{
    alert::{Incident, Message, Silence},
    base::{
        Consequence, ExitStatus, Field, Generation, Happening, InvocationId, Notice, Remedy, RunId, RunResult, Signal,
        StartCause, UnitName, Usage, Wall,
    },
};

/// One transaction's worth of writing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) connection: &'a Connection,
    pub(super) boot_id: &'a str,
    /// Whether a message was new.
    pub(super) outbox_filled: bool,
    /// Units whose end in this batch was known already: what follows from it was written then.
    replayed: BTreeSet<UnitName>,
}

impl<'a> Pass<'a> {
    pub(super) const fn new(connection: &'a Connection, boot_id: &'a str) -> Self {
        Self { connection, boot_id, outbox_filled: false, replayed: BTreeSet::new() }
    }

    /// Writes one batch.
    pub(super) fn batch(&mut self, writes: &[Write]) -> rusqlite::Result<()> {
        self.replayed.clear();
        writes.iter().try_for_each(|write| self.write(write))
    }

    fn write(&mut self, write: &Write) -> rusqlite::Result<()> {
        match write {
            Write::Notice(notice) => self.notice(notice),
            Write::Incident(incident) => self.incident(incident),
            Write::Message(message, at) => self.message(message, *at),
            Write::Outbox(update) => self.outbox(update),
            Write::Silence(silence) => self.silence(silence),
            Write::LastOutput(run, text) => self
                .execute(
                    "UPDATE invocations SET last_output = ?3
                     WHERE unit = ?1 AND generation = ?2 AND last_output IS NULL",
                    params![run.unit.as_str(), number(run.generation), text],
                )
                .map(drop),
            Write::Enablement(unit, Some(enabled)) => self
                .execute(
                    "INSERT INTO enablement (unit, enabled) VALUES (?1, ?2)
                     ON CONFLICT (unit) DO UPDATE SET enabled = excluded.enabled",
                    params![unit.as_str(), enabled],
                )
                .map(drop),
            Write::Timer(unit, at) => self
                .execute(
                    "INSERT INTO timers (unit, elapsed_at) VALUES (?1, ?2)
                     ON CONFLICT (unit) DO UPDATE SET elapsed_at = excluded.elapsed_at",
                    params![unit.as_str(), at.0],
                )
                .map(drop),
            Write::Fleet(write) => self.fleet(write),
            Write::Enablement(unit, None) => {
                self.execute("DELETE FROM enablement WHERE unit = ?1", params![unit.as_str()]).map(drop)
            }
        }
    }

    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(sql)?.execute(params)
    }

    fn notice(&mut self, notice: &Notice) -> rusqlite::Result<()> {
        let at = notice.at.wall;
        match &notice.what {
            Happening::RunStarting { run, invocation, cause, restarts } => {
                self.starting(run, *invocation, cause, *restarts, at)?;
            }
            Happening::MainStarted { run, pid } => self.fill(run, "pid", i64::from(pid.raw()))?,
            Happening::RunReady { run } => self.fill(run, "ready_at", at.0)?,
            Happening::RunEnded { run, .. } => {
                if !self.ended(run, at, &notice.what)? {
                    self.replayed.insert(run.unit.clone());
                }
            }
            Happening::CountersReset { unit, actor, restarts, starts, was_failed } => {
                self.execute(
                    "INSERT INTO resets (unit, at, actor, restarts, starts, was_failed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT DO NOTHING",
                    params![unit.as_str(), at.0, actor.to_string(), restarts, starts, was_failed],
                )?;
            }
            Happening::Unhealthy { run, probe, reason, severity: _, remedy: _ } => {
                self.probe(run, probe, at, Some(reason))?
            }
            Happening::Healthy { run, probe } => self.probe(run, probe, at, None)?,
            Happening::RestartScheduled { unit, .. }
            | Happening::StartLimitHit { unit, .. }
            | Happening::UnitFailed { unit, .. } => {
                if self.replayed.contains(unit) {
                    return Ok(());
                }
            }
            Happening::SpawnFailed { .. }
            | Happening::ControlFailed { .. }
            | Happening::UnitStopped { .. }
            | Happening::Listening { .. }
            | Happening::TimedOut { .. }
            | Happening::Unkillable { .. }
            | Happening::WatchdogExpired { .. }
            | Happening::OomKilled { .. }
            | Happening::Signalled { .. }
            | Happening::Reloaded { .. }
            | Happening::ReloadFailed { .. }
            | Happening::Degraded { .. }
            | Happening::RestartHeld { .. }
            | Happening::RestartReleased { .. }
            | Happening::Recovered { .. }
            | Happening::DependencyFailed { .. }
            | Happening::NotifyRefused { .. }
            | Happening::MainPidRefused { .. }
            | Happening::ManagerStarted { .. }
            | Happening::UpgradeFailed { .. }
            | Happening::ShuttingDown { .. }
            | Happening::ConfigLoaded { .. }
            | Happening::ConfigRejected { .. }
            | Happening::StoreDegraded { .. }
            | Happening::StoreReplaced { .. }
            | Happening::StoreRecovered
            | Happening::DiskLow { .. }
            | Happening::DiskRecovered
            | Happening::OutputDropped { .. }
            | Happening::LogsDegraded { .. }
            | Happening::LogsRecovered
            | Happening::Fleet(_)
            | Happening::Bug { .. } => {}
        }
        self.told(notice)
    }

    fn starting(
        &self,
        run: &RunId,
        invocation: InvocationId,
        cause: &StartCause,
        restarts: u32,
        at: Wall,
    ) -> rusqlite::Result<()> {
        let actor = cause.actor().map(ToString::to_string);
        let cause_word = cause.as_str();
        // Facts of a run may have come first, after its database was replaced.
        self.execute(
            "INSERT INTO invocations
                 (unit, generation, invocation, boot_id, cause, cause_detail, actor, restarts, started_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (unit, generation) DO UPDATE SET
                 invocation = excluded.invocation, boot_id = excluded.boot_id, cause = excluded.cause,
                 cause_detail = excluded.cause_detail, actor = excluded.actor, restarts = excluded.restarts,
                 started_at = excluded.started_at
             WHERE cause IS NULL",
            params![
                run.unit.as_str(),
                number(run.generation),
                invocation.to_string(),
                self.boot_id,
                cause_word,
                cause.detail(),
                actor,
                restarts,
                at.0,
            ],
        )?;
        Ok(())
    }

    /// Sets a column of a run once.
    fn fill(&self, run: &RunId, column: &'static str, value: i64) -> rusqlite::Result<()> {
        let sql = format!(
            "INSERT INTO invocations (unit, generation, {column}) VALUES (?1, ?2, ?3)
             ON CONFLICT (unit, generation) DO UPDATE SET {column} = excluded.{column} WHERE {column} IS NULL"
        );
        self.execute(&sql, params![run.unit.as_str(), number(run.generation), value]).map(drop)
    }

    /// Writes the end of a run; `false` when it had been written before, as it is.
    fn ended(&self, run: &RunId, at: Wall, what: &Happening) -> rusqlite::Result<bool> {
        let Happening::RunEnded { invocation, status, usage, result, wanted, consequence, .. } = what else {
            return Ok(false);
        };
        let (kind, code) = status.map(status_columns).unzip();
        let (user, system, rss) = usage.map_or((None, None, None), usage_columns);
        let changed = self.execute(
            "INSERT INTO invocations
                 (unit, generation, invocation, ended_at, status_kind, status_code, result, wanted, consequence,
                  cpu_user_us, cpu_system_us, max_rss_kib)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (unit, generation) DO UPDATE SET
                 ended_at = excluded.ended_at, status_kind = excluded.status_kind, status_code = excluded.status_code,
                 result = excluded.result, wanted = excluded.wanted, consequence = excluded.consequence,
                 cpu_user_us = excluded.cpu_user_us, cpu_system_us = excluded.cpu_system_us,
                 max_rss_kib = excluded.max_rss_kib
             WHERE ended_at IS NULL",
            params![
                run.unit.as_str(),
                number(run.generation),
                invocation.to_string(),
                at.0,
                kind,
                code,
                result.as_str(),
                wanted,
                consequence.as_str(),
                user,
                system,
                rss,
            ],
        )?;
        Ok(changed == 1 || self.restart_forbidden(run, *consequence)?)
    }

    /// The restart that was written with an end came to nothing; `false` when there is nothing to correct.
    fn restart_forbidden(&self, run: &RunId, consequence: Consequence) -> rusqlite::Result<bool> {
        if consequence != Consequence::StartLimit {
            return Ok(false);
        }
        let changed = self.execute(
            "UPDATE invocations SET consequence = ?3 WHERE unit = ?1 AND generation = ?2 AND consequence = ?4",
            params![run.unit.as_str(), number(run.generation), consequence.as_str(), Consequence::Restart.as_str()],
        )?;
        Ok(changed == 1)
    }

    fn probe(&self, run: &RunId, probe: &str, at: Wall, reason: Option<&String>) -> rusqlite::Result<()> {
        self.execute(
            "INSERT INTO probe_transitions (unit, generation, probe, at, healthy, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO NOTHING",
            params![run.unit.as_str(), number(run.generation), probe, at.0, reason.is_none(), reason],
        )
        .map(drop)
    }

    fn told(&self, notice: &Notice) -> rusqlite::Result<()> {
        let what = &notice.what;
        self.execute(
            "INSERT INTO notices (at, event, unit, generation, severity, message, fields)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![
                notice.at.wall.0,
                what.event(),
                what.unit().map(UnitName::as_str),
                what.run().map(|run| number(run.generation)),
                what.severity().as_str(),
                what.message(),
                fields_json(what),
            ],
        )
        .map(drop)
    }

    fn incident(&self, incident: &Incident) -> rusqlite::Result<()> {
        let (opened_in, nth) = incident.id.run().map(|(generation, nth)| (number(generation), nth)).unzip();
        let told: Vec<&str> = incident.told.iter().map(|route| route.as_str()).collect();
        self.execute(
            "INSERT INTO incidents
                 (id, subject, topic, severity, opened_in, nth, opened_at, generation, restarts, result, text,
                  reminders, told_at, told, closed_at, closed_how, held, acknowledged_at, acknowledged_by, escalated,
                  remedy, dedup_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                  ?22)
             ON CONFLICT (id) DO UPDATE SET
                 topic = excluded.topic, severity = excluded.severity, generation = excluded.generation,
                 restarts = excluded.restarts, result = excluded.result, text = excluded.text,
                 reminders = excluded.reminders, told_at = excluded.told_at, told = excluded.told,
                 closed_at = excluded.closed_at, closed_how = excluded.closed_how, held = excluded.held,
                 acknowledged_at = excluded.acknowledged_at, acknowledged_by = excluded.acknowledged_by,
                 escalated = excluded.escalated, remedy = excluded.remedy
             WHERE closed_at IS NULL",
            params![
                incident.id.0,
                incident.subject.to_string(),
                incident.topic.as_str(),
                incident.severity.as_str(),
                opened_in,
                nth,
                incident.opened_at.0,
                number(incident.generation),
                incident.restarts,
                incident.result.map(RunResult::as_str),
                incident.text,
                incident.reminders,
                incident.told_at.0,
                told.join(" "),
                incident.closed.map(|closed| closed.at.0),
                incident.closed.map(|closed| closed.how.as_str()),
                incident.held,
                incident.acknowledged.as_ref().map(|known| known.at.0),
                incident.acknowledged.as_ref().map(|known| &known.by),
                incident.escalated,
                incident.remedy.map(Remedy::as_str),
                incident.dedup_key,
            ],
        )
        .map(drop)
    }

    fn silence(&self, silence: &Silence) -> rusqlite::Result<()> {
        self.execute(
            "INSERT INTO silences (id, pattern, since, until, by, comment, maintenance) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (id) DO UPDATE SET until = excluded.until",
            params![
                silence.id.cast_signed(),
                silence.pattern.as_str(),
                silence.since.0,
                silence.until.0,
                silence.by,
                silence.comment,
                silence.maintenance,
            ],
        )
        .map(drop)
    }

    fn message(&mut self, message: &Message, at: Wall) -> rusqlite::Result<()> {
        let inserted = self.execute(
            "INSERT INTO outbox (id, route, payload, created, next_try, incident) VALUES (?1, ?2, ?3, ?4, ?4, ?5)
             ON CONFLICT DO NOTHING",
            params![message.id, message.route, message.to_json(), at.0, message.incident],
        )?;
        self.outbox_filled |= inserted == 1;
        Ok(())
    }

    fn outbox(&self, update: &OutboxUpdate) -> rusqlite::Result<()> {
        let (state, next_try, reason) = match &update.state {
            OutboxState::Waiting(next_try, reason) => ("waiting", Some(next_try.0), Some(reason)),
            OutboxState::Sending => ("sending", None, None),
            OutboxState::Delivered => ("delivered", None, None),
            OutboxState::Failed(reason) => ("failed", None, Some(reason)),
        };
        self.execute(
            "UPDATE outbox SET state = ?2, next_try = coalesce(?3, next_try), reason = coalesce(?4, reason), attempts = ?5,
                 possible_duplicate = max(possible_duplicate, ?6), receipt = coalesce(?7, receipt), refused = ?8
             WHERE id = ?1 AND state IN ('waiting', 'sending')",
            params![
                update.id,
                state,
                next_try,
                reason,
                update.attempts,
                update.possible_duplicate,
                update.receipt,
                update.refused
            ],
        )
        .map(drop)
    }
}

/// Generations count runs, so they fit; a number that does not is kept as the largest one.
pub(super) fn number(generation: Generation) -> i64 {
    i64::try_from(generation.0).unwrap_or(i64::MAX)
}

fn status_columns(status: ExitStatus) -> (&'static str, i64) {
    match status {
        ExitStatus::Exited(code) => ("exited", i64::from(code)),
        ExitStatus::Signaled { signal, core: false } => ("signaled", i64::from(signal.raw())),
        ExitStatus::Signaled { signal, core: true } => ("dumped", i64::from(signal.raw())),
        ExitStatus::Unknown => ("unknown", 0),
    }
}

/// The reverse of what [`status_columns`] wrote; a value no version of us wrote is unknown.
pub(super) fn status_of(kind: &str, code: i64) -> ExitStatus {
    let code = i32::try_from(code).unwrap_or_default();
    let signaled = |core| Signal::new(code).map(|signal| ExitStatus::Signaled { signal, core });
    match kind {
        "exited" => u8::try_from(code).map_or(ExitStatus::Unknown, ExitStatus::Exited),
        "signaled" => signaled(false).unwrap_or(ExitStatus::Unknown),
        "dumped" => signaled(true).unwrap_or(ExitStatus::Unknown),
        _ => ExitStatus::Unknown,
    }
}

fn usage_columns(usage: Usage) -> (Option<i64>, Option<i64>, Option<i64>) {
    let micros = |span: std::time::Duration| i64::try_from(span.as_micros()).ok();
    (micros(usage.user), micros(usage.system), i64::try_from(usage.max_rss_kib).ok())
}

fn fields_json(what: &Happening) -> String {
    let value = |field| match field {
        Field::Text(text) => serde_json::Value::from(text),
        Field::Number(number) => serde_json::Value::from(number),
        Field::Flag(flag) => serde_json::Value::from(flag),
    };
    let fields: serde_json::Map<_, _> =
        what.fields().into_iter().map(|(name, field)| (name.to_owned(), value(field))).collect();
    serde_json::Value::Object(fields).to_string()
}
