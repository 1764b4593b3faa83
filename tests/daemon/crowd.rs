//! A thousand services die in the same moment.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    process::{self, Signal, kill, pause, until, until_within},
    world::World,
};

const SERVICES: usize = 1000;
/// From the signals until all run again. A build for tests does no more than come back.
const BACK: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });
/// For a herd to come late: longer than any delay of a restart that nothing is wrong with.
const CALM: Duration = Duration::from_secs(3);

/// Each unit as `status` shows it.
fn units(world: &World) -> BTreeMap<String, Value> {
    let all = world.ctl(&["status", "--json"]).json();
    let all = all["units"].as_array().unwrap().iter();
    all.map(|unit| (unit["name"].as_str().unwrap().to_owned(), unit.clone())).collect()
}

fn pids(units: &BTreeMap<String, Value>) -> Vec<i32> {
    units.values().filter_map(|unit| i32::try_from(unit["pid"].as_i64()?).ok()).collect()
}

/// Pid, restarts, starts of each unit that is up, which no one of it may change by itself.
fn counts(units: &BTreeMap<String, Value>) -> Vec<(&str, [i64; 4])> {
    let of = |unit: &Value| {
        ["pid", "generation", "restarts_total", "restarts_in_row"].map(|key| unit[key].as_i64().unwrap())
    };
    units.iter().map(|(name, unit)| (name.as_str(), of(unit))).collect()
}

pub(crate) fn a_thousand_services_that_die_at_once_are_back_at_once_and_each_is_counted_once() {
    let mut world = World::new();
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\nrestart_jitter = 0.5\n";
    for number in 0..SERVICES {
        world.unit(&format!("web{number}"), &format!("[service]\nexec_start = \"/bin/sleep 1000\"\n{policy}"));
    }
    world.spawn();
    until_within(process::PATIENCE * 3, "all are up", || {
        (world.ctl(&["list", "--names"]).code == 0 && pids(&units(&world)).len() == SERVICES).then_some(())
    });
    let keeper = world.keeper();
    let managers = world.managers_up();
    for round in 1..=2_i64 {
        let before = pids(&units(&world));
        let began = Instant::now();
        before.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
        let killed = began.elapsed();
        // As the kernel sees it: so many children besides the manager, none of those before.
        let is_back = || {
            let children: BTreeSet<i32> = process::children(keeper).into_iter().collect();
            let gone = before.iter().all(|pid| !children.contains(pid));
            (gone && children.len() == SERVICES + 1).then_some(())
        };
        until_within(BACK, "all run again", is_back);
        let took = began.elapsed();
        println!("{SERVICES} killed within {killed:?}, all back after {took:?}");
        let known =
            |unit: &Value| unit["generation"] == round + 1 && unit["active"] == "active" && unit["pid"].is_i64();
        let after = until("status knows them all", || Some(units(&world)).filter(|all| all.values().all(known)));
        assert!(after.values().all(|unit| unit["restarts_total"] == round), "each is counted once");
        // Nothing comes after it.
        pause(u64::try_from(CALM.as_millis()).unwrap());
        let later = units(&world);
        assert_eq!(counts(&later), counts(&after), "and nobody was started again");
        assert_eq!((world.keeper(), world.managers_up()), (keeper, managers));
    }
    let ended =
        "SELECT count(*) FROM invocations WHERE ended_at IS NOT NULL AND status_kind = 'signaled' AND status_code = 9";
    let many = i64::try_from(SERVICES).unwrap();
    let (all, killed) = until("all rows are there", || {
        let count = |sql: &str| world.database().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let all = count("SELECT count(*) FROM invocations");
        Some((all, count(ended))).filter(|(all, killed)| (*all, *killed) >= (3 * many, 2 * many))
    });
    assert_eq!((all, killed), (3 * many, 2 * many), "a row for each run, with its end");
    let twice = "SELECT count(*) FROM (SELECT unit FROM invocations GROUP BY unit
                 HAVING count(*) != 3 OR min(generation) != 1 OR max(generation) != 3)";
    assert_eq!(world.database().query_row(twice, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "contiguous for each");
    let history = world.history("web0", 2);
    let ends: Vec<_> =
        history.iter().map(|run| (run["generation"].as_i64().unwrap(), run["status"].as_str())).collect();
    assert_eq!(ends, [(3, None), (2, Some("killed by SIGKILL")), (1, Some("killed by SIGKILL"))]);
    assert!(world.stop().success());
}
