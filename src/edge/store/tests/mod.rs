//! The store on real files: what is kept, what a replay changes, and what faults do to it.

mod death;
mod fleet;
mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    alert::{Alerts, Effect, Route, RouteName, Settings, Target, Webhook},
    base::{
        Actor, Consequence, ExitStatus, Generation, Happening, InvocationId, Mono, Pid, RunId, RunResult, Secret,
        StartCause, TimeSpan, Usage,
    },
};

const SOON: Duration = Duration::from_secs(20);

fn clock() -> Now {
    Now { mono: Mono(0), wall: Wall(1_700_000_000_000_000) }
}

fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), boot_id: "boot-1".to_owned(), retention: Retention::default(), clock }
}

/// A store in a folder, and what it reports.
struct Bench {
    store: Store,
    opened: Opened,
    reports: Receiver<Report>,
}

fn open(path: &Path) -> Bench {
    open_with(options(path))
}

fn open_with(options: Options) -> Bench {
    let (tx, reports) = channel();
    let (store, opening) = Store::open(options, move |report| tx.send(report).unwrap_or(())).unwrap();
    // On a thread of its own, as the caller may be a task, which may not wait in this way.
    let opened = thread::spawn(move || opening.blocking_recv().unwrap()).join().unwrap();
    Bench { store, opened, reports }
}

impl Bench {
    fn submit(&self, seq: u64, writes: Vec<Write>) {
        self.store.submit(Batch { seq: Some(seq), writes });
    }

    /// Waits for a report that is none of committed rows.
    fn news(&self) -> Report {
        loop {
            match self.reports.recv_timeout(SOON).expect("no report came") {
                Report::Committed { .. } => {}
                other @ (Report::Degraded { .. }
                | Report::Recovered { .. }
                | Report::Replaced { .. }
                | Report::Refused { .. }) => return other,
            }
        }
    }

    /// Waits until the batch is committed and returns all that were before it.
    fn committed(&self, seq: u64) -> BTreeSet<u64> {
        let mut all = BTreeSet::new();
        while !all.contains(&seq) {
            if let Report::Committed { seqs } = self.reports.recv_timeout(SOON).expect("nothing was committed") {
                all.extend(seqs);
            }
        }
        all
    }
}

#[tokio::test]
async fn a_database_is_known_by_its_birth_for_as_long_as_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let at_birth = clock().wall.0.cast_unsigned();
    for clock in [clock, || at(60)] {
        let bench = open_with(Options { clock, ..options(&path) });
        assert_eq!(bench.store.alerts_saved().await.unwrap().born, Some(at_birth));
        bench.store.close(SOON).await;
    }
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM meta WHERE key = 'born'", []).unwrap();
    assert_eq!(open(&path).store.alerts_saved().await.unwrap().born, None, "those of old have none");
}

fn unit() -> UnitName {
    UnitName::new("web").unwrap()
}

fn run(generation: u64) -> RunId {
    RunId { unit: unit(), generation: Generation(generation) }
}

fn at(second: u64) -> Now {
    Now {
        mono: Mono(second * 1_000_000_000),
        wall: Wall(1_700_000_000_000_000 + i64::try_from(second).unwrap() * 1_000_000),
    }
}

fn said(second: u64, what: Happening) -> Notice {
    Notice { at: at(second), what }
}

fn write(second: u64, what: Happening) -> Write {
    Write::Notice(Box::new(said(second, what)))
}

fn starting(generation: u64, cause: StartCause) -> Happening {
    Happening::RunStarting { run: run(generation), invocation: InvocationId([7; 16]), cause, restarts: 1 }
}

fn ended(generation: u64, consequence: Consequence) -> Happening {
    Happening::RunEnded {
        replayed: false,
        run: run(generation),
        invocation: InvocationId([7; 16]),
        status: Some(ExitStatus::Exited(3)),
        usage: Some(Usage { user: Duration::from_millis(5), system: Duration::from_millis(6), max_rss_kib: 700 }),
        result: RunResult::ExitCode,
        wanted: false,
        consequence,
        delay: None,
        why: Some("uid 0 sent SIGKILL".to_owned()),
    }
}

fn alerts() -> Alerts {
    Alerts::new(alert_settings())
}

fn alert_settings() -> Settings {
    let url = Secret::new("http://127.0.0.1/");
    let route = Route::new(RouteName::new("ops").unwrap(), Target::Webhook(Box::new(Webhook::new(url))));
    Settings { node: "vm1".to_owned(), routes: vec![route], rules: Vec::new(), ..Settings::default() }
}

/// What the engine does with one happening: its notice and what the alert machine makes of it, in one batch.
fn happening(alerts: &mut Alerts, second: u64, what: Happening) -> Vec<Write> {
    let notice = said(second, what);
    alerts.handle(notice.at, &notice);
    let mut writes = vec![Write::Notice(Box::new(notice))];
    while let Some(effect) = alerts.poll_effect() {
        writes.push(match effect {
            Effect::Save(incident) => Write::Incident(incident),
            Effect::Send(message) => Write::Message(message, at(second).wall),
            Effect::Silence(silence) => Write::Silence(silence),
        });
    }
    writes
}

#[tokio::test]
async fn a_run_is_kept_from_its_order_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    assert_eq!(bench.opened, Opened::default());
    bench.submit(1, vec![write(1, starting(4, StartCause::Manual(Actor::User(0))))]);
    bench.submit(2, vec![write(2, Happening::MainStarted { run: run(4), pid: Pid::new(77).unwrap() })]);
    bench.submit(3, vec![write(3, Happening::RunReady { run: run(4) })]);
    bench.submit(4, vec![write(4, ended(4, Consequence::Fail))]);
    assert_eq!(bench.committed(4), BTreeSet::from([1, 2, 3, 4]));
    let rows = bench.store.history(None, 10, None).await.unwrap();
    assert_eq!(
        rows,
        [RunRow {
            seq: rows[0].seq,
            unit: "web".to_owned(),
            generation: Generation(4),
            invocation: Some("07".repeat(16)),
            boot_id: Some("boot-1".to_owned()),
            pid: Some(77),
            cause: Some("manual".to_owned()),
            cause_detail: None,
            actor: Some("uid 0".to_owned()),
            restarts: 1,
            started_at: Some(at(1).wall),
            ready_at: Some(at(3).wall),
            ended_at: Some(at(4).wall),
            status: Some(ExitStatus::Exited(3)),
            result: Some("exit-code".to_owned()),
            wanted: Some(false),
            consequence: Some("fail".to_owned()),
            usage: Some(Usage { user: Duration::from_millis(5), system: Duration::from_millis(6), max_rss_kib: 700 }),
            why: Some("uid 0 sent SIGKILL".to_owned()),
            last_output: None,
        }]
    );
    let known = bench.store.generations().await.unwrap();
    assert_eq!(known[&unit()], Generations { started: Generation(4), ended: Generation(4) });
}

#[tokio::test]
async fn a_replayed_end_counts_nothing_twice_and_tells_nobody_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bench = open(&path);
    let end = |alerts: &mut Alerts, second| {
        let mut writes = happening(alerts, second, ended(1, Consequence::Restart));
        let delay = TimeSpan::from_secs(1);
        writes.push(write(second, Happening::RestartScheduled { unit: unit(), delay, restarts: 1 }));
        writes.push(write(second, starting(2, StartCause::AutoRestart)));
        writes
    };
    bench.submit(1, vec![write(1, starting(1, StartCause::Boot))]);
    bench.submit(2, end(&mut alerts(), 2));
    bench.committed(2);
    // A new manager, once with nothing restored and once with what the store says.
    bench.submit(3, end(&mut alerts(), 50));
    bench.committed(3);
    let saved = bench.store.alerts_saved().await.unwrap();
    let mut restored = Alerts::restore(alert_settings(), saved, at(60));
    bench.submit(4, end(&mut restored, 61));
    bench.committed(4);

    let totals = bench.store.restart_totals().await.unwrap();
    assert_eq!(totals[&unit()], RestartTotals { auto_restarts: 1, unhealthy: 0, start_limits: 0 });
    let notices = bench.store.notices(Some(0), 100).await.unwrap();
    let events: Vec<_> = notices.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events, ["run_starting", "run_ended", "restart_scheduled", "run_starting"]);
    let waiting = bench.store.outbox_waiting(RouteName::new("ops").unwrap(), 10).await.unwrap();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let rows = bench.store.history(Some(unit()), 10, None).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].ended_at, Some(at(2).wall));
}

#[tokio::test]
async fn a_closed_incident_stays_closed() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let mut alerts = alerts();
    let opening = happening(&mut alerts, 1, ended(1, Consequence::Restart));
    bench.submit(1, opening.clone());
    bench.committed(1);
    assert_eq!(bench.store.open_incidents().await.unwrap(), alerts.open().cloned().collect::<Vec<_>>());
    bench.submit(2, happening(&mut alerts, 2, Happening::Recovered { run: run(2) }));
    bench.submit(3, opening);
    bench.committed(3);
    assert_eq!(bench.store.open_incidents().await.unwrap(), []);
    let mark = bench.store.alerts_saved().await.unwrap().marks[&unit()];
    assert_eq!(mark.incident, Some((Generation(1), 0)));
}

#[tokio::test]
async fn why_shows_runs_resets_probes_and_notices() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let unhealthy = Happening::Unhealthy {
        run: run(1),
        probe: "live".to_owned(),
        reason: "status 503".to_owned(),
        severity: crate::base::Severity::Critical,
        remedy: crate::base::Remedy::Restart,
    };
    let reset =
        Happening::CountersReset { unit: unit(), actor: Actor::User(5), restarts: 2, starts: 3, was_failed: true };
    bench.submit(
        1,
        vec![
            write(1, starting(1, StartCause::Boot)),
            write(2, unhealthy),
            write(3, Happening::Healthy { run: run(1), probe: "live".to_owned() }),
            write(4, reset),
            Write::Enablement(unit(), Some(false)),
        ],
    );
    bench.committed(1);
    let why = bench.store.why(unit()).await.unwrap();
    assert_eq!((why.runs.len(), why.notices.len()), (1, 4));
    assert_eq!(why.probes.iter().map(|row| row.healthy).collect::<Vec<_>>(), [true, false]);
    assert_eq!(why.probes[1].reason.as_deref(), Some("status 503"));
    let expected = ResetRow { at: at(4).wall, actor: "uid 5".to_owned(), restarts: 2, starts: 3, was_failed: true };
    assert_eq!(why.resets, [expected]);
    assert!(!bench.store.enablement().await.unwrap()[&unit()]);
    bench.submit(2, vec![Write::Enablement(unit(), None)]);
    bench.committed(2);
    assert!(bench.store.enablement().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_timers_last_elapse_is_kept_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bench = open(&path);
    bench.submit(1, vec![Write::Timer(unit(), Wall(7))]);
    bench.submit(2, vec![Write::Timer(unit(), Wall(5))]);
    bench.committed(2);
    assert_eq!(bench.store.timers().await.unwrap()[&unit()], Wall(5));
    drop(bench);
    assert_eq!(open(&path).store.timers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_of_each_earlier_version_is_brought_up_to_date() {
    for version in 1..schema::VERSION {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let old = rusqlite::Connection::open(&path).unwrap();
        for (_, step) in schema::STEPS.into_iter().filter(|(of, _)| *of <= version) {
            old.execute_batch(step).unwrap();
        }
        old.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA application_id = {}; PRAGMA user_version = {version};
             INSERT INTO enablement VALUES ('web', 0);
             INSERT INTO invocations (unit, generation, cause, started_at) VALUES ('web', 7, 'boot', 1);
             INSERT INTO incidents (id, subject, topic, severity, opened_at, generation, restarts, text, reminders, told_at, told)
                 VALUES ('web/7/0', 'web', 'unit_failed', 'critical', 1, 7, 0, 'web is failed', 0, 1, 'ops');",
            schema::APPLICATION_ID
        ))
        .unwrap();
        drop(old);
        let bench = open(&path);
        assert_eq!(bench.opened, Opened::default(), "of version {version}");
        assert!(!bench.store.enablement().await.unwrap()[&unit()]);
        assert_eq!(bench.store.history(None, 10, None).await.unwrap()[0].generation, Generation(7));
        let saved = bench.store.alerts_saved().await.unwrap();
        assert_eq!((saved.open[0].held, saved.open[0].escalated, &saved.open[0].acknowledged), (false, false, &None));
        assert_eq!((saved.open[0].remedy, &saved.open[0].dedup_key), (None, &None));
    }
}

#[tokio::test]
async fn what_was_stopped_last_is_known_with_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let end_of = |generation, is_wanted, what| {
        let mut end = ended(generation, what);
        if let Happening::RunEnded { wanted, .. } = &mut end {
            *wanted = is_wanted;
        }
        end
    };
    let mut stopped = BTreeMap::new();
    for (nth, (is_wanted, what, is_known)) in
        [(true, Consequence::Rest, true), (true, Consequence::Left, false), (false, Consequence::Rest, false)]
            .into_iter()
            .enumerate()
    {
        let generation = nth as u64 + 1;
        bench.submit(generation, vec![write(generation, end_of(generation, is_wanted, what))]);
        bench.committed(generation);
        stopped = bench.store.stopped().await.unwrap();
        assert_eq!(stopped.contains_key(&unit()), is_known, "{what:?}");
    }
    assert!(stopped.is_empty());
}

#[tokio::test]
async fn history_is_read_in_pages_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let bench = open(&dir.path().join("state.db"));
    let rows = u64::from(HISTORY_ROWS_MAX) + 10;
    bench.submit(1, (1..=rows).map(|n| write(n, starting(n, StartCause::AutoRestart))).collect());
    bench.committed(1);
    let first = bench.store.history(Some(unit()), u32::MAX, None).await.unwrap();
    assert_eq!(first.len(), HISTORY_ROWS_MAX as usize);
    let rest = bench.store.history(Some(unit()), 100, first.last().map(|row| row.seq)).await.unwrap();
    assert_eq!(rest.len(), 10);
    assert_eq!(rest[9].generation, Generation(1));
}

#[tokio::test]
async fn retention_removes_old_rows_and_keeps_their_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let retention = Retention { rows: 50, ..Retention::default() };
    let bench = open_with(Options { retention, ..options(&path) });
    for n in 1..=2000_u64 {
        bench.submit(n, vec![write(n, starting(n, StartCause::AutoRestart)), write(n, ended(n, Consequence::Restart))]);
        if n % 200 == 0 {
            bench.committed(n);
        }
    }
    assert!(bench.store.flush(SOON).await);
    let totals = bench.store.restart_totals().await.unwrap();
    assert_eq!(totals[&unit()].auto_restarts, 2000);
    let kept = bench.store.history(None, HISTORY_ROWS_MAX, None).await.unwrap().len();
    assert!(kept < 1000, "{kept} rows are kept");
    assert_eq!(bench.store.generations().await.unwrap()[&unit()].ended, Generation(2000));
}

#[tokio::test]
async fn age_removes_rows_but_not_the_newest_few() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let retention = Retention { age: Duration::ZERO, rows_min: 10, rows: 1_000_000 };
    let bench = open_with(Options { retention, clock: || at(10_000_000), ..options(&path) });
    bench.submit(1, (1..=200).map(|n| write(n, ended(n, Consequence::Restart))).collect());
    bench.submit(2, (201..=600).map(|n| write(n, ended(n, Consequence::Restart))).collect());
    // The look for old rows follows the commit; the second one is answered after it.
    assert!(bench.store.flush(SOON).await);
    assert!(bench.store.flush(SOON).await);
    let left = bench.store.history(None, HISTORY_ROWS_MAX, None).await.unwrap();
    let left: Vec<_> = left.iter().rev().map(|row| row.generation.0).collect();
    assert_eq!(left, (591..=600).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_waits_is_bounded_and_drops_only_what_is_for_reading() {
    let shared = queue::Shared::default();
    let healthy = |n: u64| write(n, Happening::Healthy { run: run(n), probe: "live".to_owned() });
    let many = u64::try_from(NOTICES_WAITING_MAX).unwrap() + 100;
    for n in 1..=many {
        let writes = vec![healthy(n), write(n, ended(n, Consequence::Restart))];
        shared.submit(Batch { seq: Some(n), writes }, None);
    }
    assert_eq!(shared.take_dropped(), 100);
    for n in many + 1..=2 * u64::try_from(ESSENTIALS_WAITING_MAX).unwrap() {
        shared.submit(Batch { seq: Some(n), writes: vec![write(n, ended(n, Consequence::Restart))] }, None);
    }
    let mut taken = Vec::new();
    loop {
        let entries = shared.take(usize::MAX);
        if entries.is_empty() {
            break;
        }
        taken.extend(entries.into_iter().map(|entry| entry.batch));
    }
    let ends = taken.iter().flat_map(|batch| &batch.writes);
    let ends = ends.filter(|write| matches!(write, Write::Notice(n) if n.what.event() == "run_ended")).count();
    assert_eq!(ends, ESSENTIALS_WAITING_MAX);
    let seqs: Vec<_> = taken.iter().filter_map(|batch| batch.seq).collect();
    assert_eq!(seqs, (1..=u64::try_from(ESSENTIALS_WAITING_MAX).unwrap()).collect::<Vec<_>>());
}

#[test]
fn the_bundled_sqlite_has_the_fix_of_the_wal_reset_bug() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}
