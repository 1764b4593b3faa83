//! The writer's process dies, or the kernel refuses its syncs, at any moment: what was acknowledged is there, and a
//! replay of everything makes everything there exactly once.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;

/// How many runs a writer that may live writes.
const RUNS: u64 = 300;
/// How many of them it hands in at a time, so that there are many transactions to die in.
const AT_A_TIME: u64 = 4;
const FOLDER: &str = "ROUNDSMAN_TEST_STORE";

/// Not a test by itself: the process that writes and dies. It says each number that is committed.
#[test]
#[ignore = "the other tests start it"]
fn writer_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let bench = open(&Path::new(&folder).join("state.db"));
    let mut alerts = alerts();
    for n in 1..=RUNS {
        bench.submit(n, one_run(&mut alerts, n));
        if n % AT_A_TIME == 0 {
            say_until(&bench, n);
        }
    }
}

fn say_until(bench: &Bench, last: u64) {
    loop {
        match bench.reports.recv_timeout(SOON).unwrap() {
            Report::Committed { seqs } => {
                seqs.iter().for_each(|seq| println!("committed {seq}"));
                if seqs.contains(&last) {
                    return;
                }
            }
            Report::Replaced { kept, reason } => println!("replaced {kept:?} {reason}"),
            Report::Refused { seq, reason } => println!("refused {seq:?} {reason}"),
            Report::Degraded { reason, .. } => println!("degraded {reason}"),
            Report::Recovered { .. } => println!("recovered"),
        }
    }
}

/// A run of an incident of its own: two messages each.
fn one_run(alerts: &mut Alerts, n: u64) -> Vec<Write> {
    let mut writes = happening(alerts, n, starting(n, StartCause::AutoRestart));
    writes.extend(happening(alerts, n, ended(n, Consequence::Restart)));
    writes.extend(happening(alerts, n, Happening::Recovered { run: run(n) }));
    writes
}

#[expect(clippy::disallowed_methods, reason = "the test starts itself as the process that dies")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn writer(folder: &Path, wrapper: &[String]) -> Child {
    let ourselves = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let line: Vec<String> = wrapper.iter().cloned().chain([ourselves]).collect();
    command(&line[0])
        .args(&line[1..])
        .args(["--exact", "edge::store::tests::death::writer_process", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn committed_in(line: &str) -> Option<u64> {
    line.split_once("committed ").and_then(|(_, seq)| seq.trim().parse().ok())
}

/// Opens what is left, compares it with what was acknowledged, replays everything, counts.
async fn is_exact_after_replay(folder: &Path, acknowledged: &BTreeSet<u64>) {
    let bench = open(&folder.join("state.db"));
    assert_eq!(bench.opened, Opened::default());
    let there = bench.store.history(None, HISTORY_ROWS_MAX, None).await.unwrap();
    let ended: BTreeSet<u64> = there.iter().filter(|row| row.ended_at.is_some()).map(|row| row.generation.0).collect();
    let lost: Vec<_> = acknowledged.difference(&ended).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let mut alerts = alerts();
    for n in 1..=RUNS {
        bench.submit(n, one_run(&mut alerts, n));
    }
    assert!(bench.store.flush(SOON).await);
    let totals = bench.store.restart_totals().await.unwrap()[&unit()];
    assert_eq!(totals.auto_restarts, RUNS);
    let messages = bench.store.outbox_waiting(RouteName::new("ops").unwrap(), HISTORY_ROWS_MAX).await.unwrap();
    assert_eq!(messages.len() as u64, 2 * RUNS);
    let (mut ends, mut after) = (0, 0);
    loop {
        let page = bench.store.notices(Some(after), HISTORY_ROWS_MAX).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        ends += page.iter().filter(|row| row.event == "run_ended").count();
    }
    assert_eq!(ends as u64, RUNS);
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_acknowledged_and_doubles_nothing() {
    let mut rng = crate::base::Rng::new(u64::from(std::process::id()));
    let mut in_the_middle = 0;
    for _ in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = writer(dir.path(), &[]);
        let mut acknowledged = BTreeSet::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let deadly = 1 + rng.below(RUNS - 50);
        for line in lines.map_while(Result::ok) {
            if let Some(seq) = committed_in(&line) {
                acknowledged.insert(seq);
                if seq == deadly {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        in_the_middle += usize::from((acknowledged.len() as u64) < RUNS);
        is_exact_after_replay(dir.path(), &acknowledged).await;
    }
    assert!(in_the_middle > 0, "no writer was killed before its end");
}

#[tokio::test]
async fn a_failed_sync_is_never_taken_for_a_good_one() {
    let strace_works = command("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    assert!(
        strace_works,
        "this test needs strace, which makes syncs fail, and the right to trace; scripts/test installs it"
    );
    let mut degraded = 0;
    // The first ones are of the opening.
    for nth in (1..=40).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let inject = format!("inject=fdatasync,fsync:error=EIO:when={nth}");
        let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &inject];
        let child = writer(dir.path(), &wrapper.map(str::to_owned));
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "sync {nth}: {text}");
        assert!(!text.contains("replaced") && !text.contains("refused"), "sync {nth}: {text}");
        degraded += usize::from(text.contains("degraded") && text.contains("recovered"));
        let acknowledged: BTreeSet<u64> = text.lines().filter_map(committed_in).collect();
        assert_eq!(acknowledged.len() as u64, RUNS, "sync {nth}");
        is_exact_after_replay(dir.path(), &acknowledged).await;
    }
    assert!(degraded > 0, "no failed sync reached the writer");
}
