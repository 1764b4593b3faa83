//! What may be asked of the store, and the shape of the answers.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{Connection, Row, params};

use super::{Store, StoreError, rows};
use crate::{
    alert::{
        Acknowledged, Closed, Closing, Incident, IncidentId, Mark, Pattern, RouteName, SILENCES_MAX, Saved, Silence,
        Subject, Topic,
    },
    base::{ExitStatus, Generation, Remedy, RunResult, Severity, UnitName, Usage, Wall},
};

/// Most rows that one question gets.
pub const HISTORY_ROWS_MAX: u32 = 1000;
/// Rows of each kind in [`Why`], but for notices.
const WHY_ROWS: u32 = 20;
/// Notices there: of a unit that is started again and again, some runs.
const WHY_NOTICES: u32 = 40;

/// One run of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its place among all runs; `before` of the next page.
    pub seq: i64,
    /// Whose run.
    pub unit: String,
    /// Which run.
    pub generation: Generation,
    /// Its invocation id in hex.
    pub invocation: Option<String>,
    /// The boot it ran in.
    pub boot_id: Option<String>,
    /// Its main pid.
    pub pid: Option<u32>,
    /// Why it was started, in the word of `StartCause::as_str`; `None` when the start was not seen.
    pub cause: Option<String>,
    /// The unit or probe that caused it.
    pub cause_detail: Option<String>,
    /// Who asked.
    pub actor: Option<String>,
    /// Automatic restarts in a row, this one included.
    pub restarts: u32,
    /// When it was ordered.
    pub started_at: Option<Wall>,
    /// When it was up.
    pub ready_at: Option<Wall>,
    /// When it was over.
    pub ended_at: Option<Wall>,
    /// How its main process ended.
    pub status: Option<ExitStatus>,
    /// systemd's class of the end.
    pub result: Option<String>,
    /// Whether it was asked to end.
    pub wanted: Option<bool>,
    /// What was done about it.
    pub consequence: Option<String>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Why it ended so, for people, where more is known than its status and the notice of it is still there.
    pub why: Option<String>,
    /// What it said last, up to ten lines; `None` where that was not looked at.
    pub last_output: Option<String>,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// Its number; they grow.
    pub id: i64,
    /// When.
    pub at: Wall,
    /// `Happening::event`.
    pub event: String,
    /// Of which unit.
    pub unit: Option<String>,
    /// Of which run.
    pub generation: Option<Generation>,
    /// How much it matters.
    pub severity: String,
    /// One sentence.
    pub message: String,
    /// `Happening::fields` as a JSON object.
    pub fields: String,
}

/// One reset of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetRow {
    /// When.
    pub at: Wall,
    /// Who asked.
    pub actor: String,
    /// Restarts that had been counted.
    pub restarts: u32,
    /// Starts that stood in the window.
    pub starts: u32,
    /// Whether it was failed.
    pub was_failed: bool,
}

/// One change of a probe's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRow {
    /// For which run.
    pub generation: Generation,
    /// Which probe.
    pub probe: String,
    /// When.
    pub at: Wall,
    /// To what.
    pub healthy: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// What explains the present state of a unit; each list has the newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Why {
    /// Its runs.
    pub runs: Vec<RunRow>,
    /// Its resets.
    pub resets: Vec<ResetRow>,
    /// Its probes' changes.
    pub probes: Vec<ProbeRow>,
    /// Its notices.
    pub notices: Vec<NoticeRow>,
}

/// What was counted of a unit since the database began; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestartTotals {
    /// Starts by the restart policy.
    pub auto_restarts: u64,
    /// Starts because a probe said so.
    pub unhealthy: u64,
    /// Ends that hit the start limit.
    pub start_limits: u64,
}

/// The newest runs of a unit that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generations {
    /// Begun.
    pub started: Generation,
    /// Over; 0 when none is.
    pub ended: Generation,
}

impl Store {
    /// Runs of a unit, or of all, newest first; those before the one numbered `before`, at most `limit`.
    pub async fn history(
        &self,
        unit: Option<UnitName>,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<RunRow>, StoreError> {
        let limit = limit.min(HISTORY_ROWS_MAX);
        self.0.reads.ask(move |connection| runs(connection, unit.as_ref(), limit, before)).await
    }

    /// The same, oldest first, from the one after `after` on: page by page all of them, those that begin meanwhile too.
    pub async fn history_after(
        &self,
        unit: Option<UnitName>,
        limit: u32,
        after: i64,
    ) -> Result<Vec<RunRow>, StoreError> {
        let limit = limit.min(HISTORY_ROWS_MAX);
        self.0.reads.ask(move |connection| runs_after(connection, unit.as_ref(), limit, after)).await
    }

    /// One run of a unit.
    pub async fn run(&self, unit: UnitName, generation: Generation) -> Result<Option<RunRow>, StoreError> {
        self.0.reads.ask(move |connection| one_run(connection, &unit, generation)).await
    }

    /// What explains a unit's present state.
    pub async fn why(&self, unit: UnitName) -> Result<Why, StoreError> {
        self.0.reads.ask(move |connection| why(connection, &unit)).await
    }

    /// Notices with larger numbers than `after`, oldest first, at most `limit`; with `after` `None` the newest ones.
    pub async fn notices(&self, after: Option<i64>, limit: u32) -> Result<Vec<NoticeRow>, StoreError> {
        let limit = limit.min(HISTORY_ROWS_MAX);
        self.0.reads.ask(move |connection| notices(connection, after, limit)).await
    }

    /// What was counted of each unit that ever ran.
    pub async fn restart_totals(&self) -> Result<BTreeMap<UnitName, RestartTotals>, StoreError> {
        self.0.reads.ask(restart_totals).await
    }

    /// The same without runs that are counted elsewhere.
    pub async fn restart_totals_without(
        &self,
        is_counted: impl Fn(&UnitName, Generation) -> bool + Send + 'static,
    ) -> Result<BTreeMap<UnitName, RestartTotals>, StoreError> {
        self.0.reads.ask(move |connection| restart_totals_without(connection, is_counted)).await
    }

    /// The newest runs of each unit that ever ran.
    pub async fn generations(&self) -> Result<BTreeMap<UnitName, Generations>, StoreError> {
        self.0.reads.ask(generations).await
    }

    /// Units that the operator enabled or disabled against their file.
    pub async fn enablement(&self) -> Result<BTreeMap<UnitName, bool>, StoreError> {
        self.0
            .reads
            .ask(|connection| by_unit(connection, "SELECT unit, enabled FROM enablement", |row| row.get(1)))
            .await
    }

    /// When persistent timers last elapsed, or were first armed.
    pub async fn timers(&self) -> Result<BTreeMap<UnitName, Wall>, StoreError> {
        self.0
            .reads
            .ask(|connection| by_unit(connection, "SELECT unit, elapsed_at FROM timers", |row| row.get(1).map(Wall)))
            .await
    }

    /// Units whose newest run was stopped on purpose, and when it had ended.
    pub async fn stopped(&self) -> Result<BTreeMap<UnitName, Wall>, StoreError> {
        // Columns beside a lone max() are those of its row.
        let sql = "SELECT unit, ended_at FROM
                (SELECT unit, ended_at, wanted, consequence, max(generation) FROM invocations GROUP BY unit)
            WHERE wanted = 1 AND consequence = 'rest' AND ended_at IS NOT NULL";
        self.0.reads.ask(|connection| by_unit(connection, sql, |row| row.get(1).map(Wall))).await
    }

    /// Incidents that are open.
    pub async fn open_incidents(&self) -> Result<Vec<Incident>, StoreError> {
        self.0.reads.ask(open_incidents).await
    }

    /// Where the alert machine left off.
    pub async fn alerts_saved(&self) -> Result<Saved, StoreError> {
        let saved = |connection: &Connection| {
            Ok(Saved {
                open: open_incidents(connection)?,
                marks: marks(connection)?,
                silences: newest_silences(connection)?,
                born: born(connection)?,
            })
        };
        self.0.reads.ask(saved).await
    }
}

const RUN_COLUMNS: &str =
    "SELECT seq, unit, generation, invocation, boot_id, pid, cause, cause_detail, actor, restarts,
    started_at, ready_at, ended_at, status_kind, status_code, result, wanted, consequence,
    cpu_user_us, cpu_system_us, max_rss_kib, last_output,
    (SELECT iif(json_valid(fields), json_extract(fields, '$.reason'), NULL) FROM notices INDEXED BY notices_once
     WHERE notices.unit = invocations.unit AND notices.generation = invocations.generation AND event = 'run_ended'
         AND event IN ('run_starting', 'main_started', 'run_ready', 'run_ended')) AS why
    FROM invocations";

fn one_run(connection: &Connection, unit: &UnitName, generation: Generation) -> rusqlite::Result<Option<RunRow>> {
    let sql = format!("{RUN_COLUMNS} WHERE unit = ?1 AND generation = ?2");
    Ok(list(connection, &sql, params![unit.as_str(), generation.0.cast_signed()], run_row)?.pop())
}

fn runs(
    connection: &Connection,
    unit: Option<&UnitName>,
    limit: u32,
    before: Option<i64>,
) -> rusqlite::Result<Vec<RunRow>> {
    let before = before.unwrap_or(i64::MAX);
    match unit {
        Some(unit) => list(
            connection,
            &format!("{RUN_COLUMNS} WHERE unit = ?1 AND seq < ?2 ORDER BY generation DESC LIMIT ?3"),
            params![unit.as_str(), before, limit],
            run_row,
        ),
        None => list(
            connection,
            &format!("{RUN_COLUMNS} WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"),
            params![before, limit],
            run_row,
        ),
    }
}

/// In the order of the rows, which is that of no index with a unit in it: all pages together look at each row once.
fn runs_after(
    connection: &Connection,
    unit: Option<&UnitName>,
    limit: u32,
    after: i64,
) -> rusqlite::Result<Vec<RunRow>> {
    let sql = format!("{RUN_COLUMNS} WHERE seq > ?1 AND (?2 IS NULL OR unit = ?2) ORDER BY seq LIMIT ?3");
    list(connection, &sql, params![after, unit.map(UnitName::as_str), limit], run_row)
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let status_kind: Option<String> = row.get("status_kind")?;
    let status_code: Option<i64> = row.get("status_code")?;
    let micros = |column: &str| {
        row.get::<_, Option<i64>>(column).map(|n| n.and_then(|n| u64::try_from(n).ok()).map(Duration::from_micros))
    };
    let rss: Option<i64> = row.get("max_rss_kib")?;
    let usage = match (micros("cpu_user_us")?, micros("cpu_system_us")?, rss.and_then(|n| u64::try_from(n).ok())) {
        (Some(user), Some(system), Some(max_rss_kib)) => Some(Usage { user, system, max_rss_kib }),
        _ => None,
    };
    Ok(RunRow {
        seq: row.get("seq")?,
        unit: row.get("unit")?,
        generation: generation(row, "generation")?,
        invocation: row.get("invocation")?,
        boot_id: row.get("boot_id")?,
        pid: row.get("pid")?,
        cause: row.get("cause")?,
        cause_detail: row.get("cause_detail")?,
        actor: row.get("actor")?,
        restarts: row.get::<_, Option<u32>>("restarts")?.unwrap_or(0),
        started_at: wall(row, "started_at")?,
        ready_at: wall(row, "ready_at")?,
        ended_at: wall(row, "ended_at")?,
        status: status_kind.map(|kind| rows::status_of(&kind, status_code.unwrap_or(0))),
        result: row.get("result")?,
        wanted: row.get("wanted")?,
        consequence: row.get("consequence")?,
        usage,
        why: row.get("why")?,
        last_output: row.get("last_output")?,
    })
}

fn why(connection: &Connection, unit: &UnitName) -> rusqlite::Result<Why> {
    let mine = params![unit.as_str(), WHY_ROWS];
    let resets = list(
        connection,
        "SELECT at, actor, restarts, starts, was_failed FROM resets WHERE unit = ?1 ORDER BY at DESC LIMIT ?2",
        mine,
        |row| {
            Ok(ResetRow {
                at: Wall(row.get(0)?),
                actor: row.get(1)?,
                restarts: row.get(2)?,
                starts: row.get(3)?,
                was_failed: row.get(4)?,
            })
        },
    )?;
    let probes = list(
        connection,
        "SELECT generation, probe, at, healthy, reason FROM probe_transitions WHERE unit = ?1
         ORDER BY seq DESC LIMIT ?2",
        mine,
        |row| {
            Ok(ProbeRow {
                generation: generation(row, "generation")?,
                probe: row.get(1)?,
                at: Wall(row.get(2)?),
                healthy: row.get(3)?,
                reason: row.get(4)?,
            })
        },
    )?;
    let newest = format!("{NOTICE_COLUMNS} WHERE unit = ?1 ORDER BY id DESC LIMIT ?2");
    let notices = list(connection, &newest, params![unit.as_str(), WHY_NOTICES], notice_row)?;
    Ok(Why { runs: runs(connection, Some(unit), WHY_ROWS, None)?, resets, probes, notices })
}

const NOTICE_COLUMNS: &str = "SELECT id, at, event, unit, generation, severity, message, fields FROM notices";

fn notices(connection: &Connection, after: Option<i64>, limit: u32) -> rusqlite::Result<Vec<NoticeRow>> {
    let Some(after) = after else {
        let newest = format!("{NOTICE_COLUMNS} ORDER BY id DESC LIMIT ?1");
        let mut rows = list(connection, &newest, params![limit], notice_row)?;
        rows.reverse();
        return Ok(rows);
    };
    let following = format!("{NOTICE_COLUMNS} WHERE id > ?1 ORDER BY id LIMIT ?2");
    list(connection, &following, params![after, limit], notice_row)
}

fn notice_row(row: &Row<'_>) -> rusqlite::Result<NoticeRow> {
    let generation: Option<i64> = row.get(4)?;
    Ok(NoticeRow {
        id: row.get(0)?,
        at: Wall(row.get(1)?),
        event: row.get(2)?,
        unit: row.get(3)?,
        generation: generation.and_then(|n| u64::try_from(n).ok()).map(Generation),
        severity: row.get(5)?,
        message: row.get(6)?,
        fields: row.get(7)?,
    })
}

fn restart_totals(connection: &Connection) -> rusqlite::Result<BTreeMap<UnitName, RestartTotals>> {
    let sql = "SELECT unit, sum(auto), sum(unhealthy), sum(limits) FROM (
            SELECT unit, ifnull(cause, '') IN ('auto-restart', 'external-restart') AS auto, ifnull(cause, '') = 'unhealthy' AS unhealthy,
                ifnull(consequence, '') = 'start-limit' AS limits FROM invocations
            UNION ALL SELECT unit, auto_restarts, unhealthy, start_limits FROM pruned)
        GROUP BY unit";
    by_unit(connection, sql, |row| {
        let count = |column| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
        Ok(RestartTotals { auto_restarts: count(1)?, unhealthy: count(2)?, start_limits: count(3)? })
    })
}

fn restart_totals_without(
    connection: &Connection,
    is_counted: impl Fn(&UnitName, Generation) -> bool,
) -> rusqlite::Result<BTreeMap<UnitName, RestartTotals>> {
    let mut totals = restart_totals(connection)?;
    let sql =
        "SELECT generation, ifnull(cause, '') IN ('auto-restart', 'external-restart'), ifnull(cause, '') = 'unhealthy',
            ifnull(consequence, '') = 'start-limit' FROM invocations WHERE unit = ?1";
    let mut of_unit = connection.prepare(sql)?;
    for (unit, total) in &mut totals {
        let mut rows = of_unit.query([unit.as_str()])?;
        while let Some(row) = rows.next()? {
            if is_counted(unit, generation(row, "generation")?) {
                total.auto_restarts -= u64::from(row.get::<_, u32>(1)?);
                total.unhealthy -= u64::from(row.get::<_, u32>(2)?);
                total.start_limits -= u64::from(row.get::<_, u32>(3)?);
            }
        }
    }
    Ok(totals)
}

fn generations(connection: &Connection) -> rusqlite::Result<BTreeMap<UnitName, Generations>> {
    let sql = "SELECT unit, max(generation) AS started,
            ifnull(max(generation) FILTER (WHERE ended_at IS NOT NULL), 0) AS ended FROM invocations GROUP BY unit";
    by_unit(connection, sql, |row| {
        Ok(Generations { started: generation(row, "started")?, ended: generation(row, "ended")? })
    })
}

fn marks(connection: &Connection) -> rusqlite::Result<BTreeMap<UnitName, Mark>> {
    let mut marks: BTreeMap<_, _> = generations(connection)?
        .into_iter()
        .map(|(unit, known)| (unit, Mark { seen: known.started, ended: known.ended, incident: None }))
        .collect();
    let newest = "SELECT subject, opened_in, max(nth) FROM incidents AS i
        WHERE opened_in = (SELECT max(opened_in) FROM incidents WHERE subject = i.subject) GROUP BY subject";
    let incidents = by_unit(connection, newest, |row| Ok((generation(row, "opened_in")?, row.get(2)?)))?;
    for (unit, incident) in incidents {
        marks.entry(unit).or_default().incident = Some(incident);
    }
    Ok(marks)
}

/// None of databases that were made before this was kept.
fn born(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let found = list(connection, "SELECT value FROM meta WHERE key = 'born'", [], |row| row.get::<_, i64>(0))?;
    Ok(found.first().map(|born| born.cast_unsigned()))
}

fn open_incidents(connection: &Connection) -> rusqlite::Result<Vec<Incident>> {
    let sql = "SELECT id, subject, topic, severity, opened_at, generation, restarts, result, text, reminders, told_at,
        told, held, acknowledged_at, acknowledged_by, escalated, closed_at, closed_how, remedy,
        dedup_key
        FROM incidents WHERE closed_at IS NULL ORDER BY seq";
    // A row with words that no version of us wrote is left out.
    Ok(list(connection, sql, [], incident_row)?.into_iter().flatten().collect())
}

fn incident_row(row: &Row<'_>) -> rusqlite::Result<Option<Incident>> {
    let word = |column: &str| row.get::<_, String>(column);
    let (Some(subject), Some(topic), Some(severity)) =
        (Subject::parse(&word("subject")?), Topic::parse(&word("topic")?), Severity::parse(&word("severity")?))
    else {
        return Ok(None);
    };
    let result: Option<String> = row.get("result")?;
    let how: Option<String> = row.get("closed_how")?;
    let remedy: Option<String> = row.get("remedy")?;
    let by: Option<String> = row.get("acknowledged_by")?;
    let acknowledged = wall(row, "acknowledged_at")?.zip(by).map(|(at, by)| Acknowledged { at, by });
    let closed = wall(row, "closed_at")?.zip(how.as_deref().and_then(Closing::parse));
    Ok(Some(Incident {
        id: IncidentId(word("id")?),
        subject,
        topic,
        severity,
        dedup_key: row.get("dedup_key")?,
        opened_at: Wall(row.get("opened_at")?),
        generation: generation(row, "generation")?,
        restarts: row.get("restarts")?,
        result: result.as_deref().and_then(RunResult::parse),
        text: word("text")?,
        remedy: remedy.as_deref().and_then(Remedy::parse),
        reminders: row.get("reminders")?,
        told_at: Wall(row.get("told_at")?),
        told: word("told")?.split_whitespace().filter_map(|name| RouteName::new(name).ok()).collect(),
        held: row.get("held")?,
        acknowledged,
        escalated: row.get("escalated")?,
        closed: closed.map(|(at, how)| Closed { at, how }),
    }))
}

/// Those that may hold; whoever reads them knows the time.
fn newest_silences(connection: &Connection) -> rusqlite::Result<Vec<Silence>> {
    let sql = "SELECT id, pattern, since, until, by, comment, maintenance FROM silences ORDER BY until DESC LIMIT ?1";
    list(connection, sql, params![SILENCES_MAX], |row| {
        Ok(Silence {
            id: row.get::<_, i64>("id")?.cast_unsigned(),
            pattern: Pattern::new(&row.get::<_, String>("pattern")?),
            since: Wall(row.get("since")?),
            until: Wall(row.get("until")?),
            by: row.get("by")?,
            comment: row.get("comment")?,
            maintenance: row.get("maintenance")?,
        })
    })
}

pub(super) fn list<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, row)?.collect()
}

/// A map by the first column; what is no unit name there was not written by us.
fn by_unit<T>(
    connection: &Connection,
    sql: &str,
    mut value: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<BTreeMap<UnitName, T>> {
    let rows = list(connection, sql, [], |row| Ok((UnitName::new(&row.get::<_, String>(0)?), value(row)?)))?;
    Ok(rows.into_iter().filter_map(|(unit, value)| Some((unit.ok()?, value))).collect())
}

fn generation(row: &Row<'_>, column: &str) -> rusqlite::Result<Generation> {
    row.get::<_, i64>(column).map(|n| Generation(u64::try_from(n).unwrap_or(0)))
}

fn wall(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Wall>> {
    row.get::<_, Option<i64>>(column).map(|at| at.map(Wall))
}
