//! History for other programs.
use serde_json::Value;

use crate::{
    metrics::page,
    support::{process::until, world::World},
};

fn exported(world: &World, words: &[&str]) -> Vec<Value> {
    let said = world.ok(words);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn an_export_has_every_run_once_in_order_over_many_pages() {
    const ROWS: i64 = 3456;
    let mut world = World::with(&[("web", "[service]\nexec_start = \"sleep 1000\"\n")]);
    world.stop();
    let database = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO invocations (unit, generation, cause, started_at, ended_at)
        SELECT iif(i % 3, 'web', 'old'), 1000 + i, 'auto-restart', unixepoch() * 1000000, unixepoch() * 1000000 FROM n";
    database.execute(fill, [ROWS]).unwrap();
    drop(database);
    world.start();
    let all = exported(&world, &["history", "--export"]);
    let seqs: Vec<i64> = all.iter().map(|run| run["seq"].as_i64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
    let ours = |runs: &[Value]| runs.iter().filter(|run| run["cause"] == "auto-restart").count();
    assert_eq!(ours(&all), usize::try_from(ROWS).unwrap());
    assert_eq!(ours(&exported(&world, &["history", "web", "--export"])), usize::try_from(ROWS - ROWS / 3).unwrap());
    assert_eq!(exported(&world, &["history", "old", "--export"]).len(), usize::try_from(ROWS / 3).unwrap());
    assert_ne!(world.ctl(&["history", "nobody", "--export"]).code, 0);
    assert!(world.ok(&["history", "web", "-n", "1", "--json"]).json()["runs"][0]["seq"].as_i64() > Some(ROWS));
}

pub(crate) fn rows_beyond_what_is_kept_go() {
    let ends = "[service]\nexec_start = \"true\"\nrestart = \"always\"\nrestart_sec = \"10ms\"\n\
                [unit]\nstart_limit_burst = 0\n[install]\nenabled = false\n";
    let mut world = World::with(&[("web", ends)]);
    world.stop();
    let database = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO invocations (unit, generation, cause, started_at, ended_at)
        SELECT 'web', 1000 + i, 'auto-restart', unixepoch() * 1000000, unixepoch() * 1000000 FROM n";
    database.execute(fill, []).unwrap();
    drop(database);
    world.settings("[history]\nrows_max = 1500");
    world.start();
    let rows = || exported(&world, &["history", "--export"]).len();
    assert_eq!(rows(), 5000);
    // Old ones go with new ones that come.
    world.ok(&["start", "web", "--no-wait"]);
    until("old rows go", || (rows() < 2500).then_some(()));
    world.ok(&["stop", "web"]);
    let page = page(&world, "*/*");
    let line = "roundsman_unit_restarts_total{unit=\"web\",cause=\"auto-restart\"} ";
    let count = page.lines().find_map(|other| other.strip_prefix(line)).unwrap();
    assert!(count.parse::<u64>().unwrap() > 5000, "what they had counted stays: {count}");
}
