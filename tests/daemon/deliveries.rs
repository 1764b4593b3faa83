//! Alerts that leave while managers die and receivers fail.
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::Duration,
};

use serde_json::Value;

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{PATIENCE, Signal, kill, pause, until_within},
        world::World,
    },
};

/// Kills of the manager; `ROUNDSMAN_TEST_ALERT_KILLS` sets another number.
const KILLS: usize = 12;
/// Each has a route of its own.
const UNITS: usize = 20;
/// A crash of all units, and so an incident each, comes with so many kills.
const KILLS_A_ROUND: usize = 20;

pub(crate) fn no_incident_is_untold_and_none_told_twice_unsaid_however_often_the_manager_dies() {
    let wanted = env::var("ROUNDSMAN_TEST_ALERT_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let rounds = wanted.div_ceil(KILLS_A_ROUND).max(2);
    let hook = Hook::flaky();
    let mut world = World::new();
    let names: Vec<String> = (0..UNITS).map(|number| format!("web{number}")).collect();
    let routes = names.iter().map(|name| {
        format!(
            "[[alert.route]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{}\"\n\
             [[alert.rule]]\nevent = \"*:{name}\"\nroutes = [\"{name}\"]\n",
            hook.url
        )
    });
    world.settings(&routes.collect::<String>());
    for name in &names {
        let more = "type = \"notify\"\nrestart = \"always\"\nrestart_sec = \"50ms\"\n\
                    restart_reset_after_sec = \"300ms\"\n[unit]\nstart_limit_burst = 0";
        world.unit(name, &actor::unit("notify READY=1", more));
    }
    world.start();
    let count = |sql: &str| -> usize {
        let count: i64 = world.database().query_row(sql, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    };
    let over = || count("SELECT count(*) FROM incidents WHERE closed_at IS NOT NULL");
    let mut kills = 0;
    for round in 0..rounds {
        let up = all_up(&world, round as u64 + 1);
        until_within(PATIENCE, "the incidents before are over", || (over() == UNITS * round).then_some(()));
        up.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
        for nth in 0..wanted.div_ceil(rounds) {
            // A manager that never gets ready is started later and later.
            let up = world.managers_up();
            pause(5 + 7 * (nth as u64 % 13));
            world.kill_manager();
            until_within(PATIENCE, "the next manager is up", || (world.managers_up() > up).then_some(()));
            kills += 1;
        }
    }
    all_up(&world, rounds as u64 + 1);
    let all = Duration::from_secs(120 + 10 * rounds as u64);
    until_within(all, "every incident is over and told", || {
        let waiting = count("SELECT count(*) FROM outbox WHERE state IN ('waiting', 'sending')");
        (over() == UNITS * rounds && waiting == 0).then_some(())
    });
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for message in hook.received() {
        told.entry(message["id"].as_str().unwrap().to_owned()).or_default().push(message);
    }
    let incidents = count("SELECT count(*) FROM incidents");
    assert_eq!(incidents, UNITS * rounds);
    let of = |event: &str| -> BTreeSet<&str> {
        told.values().filter(|all| all[0]["event"] == event).map(|all| all[0]["incident"].as_str().unwrap()).collect()
    };
    let (begun, over) = (of("unit_restarted"), of("recovered"));
    assert_eq!((begun.len(), over.len()), (incidents, incidents), "each is told, and so is its end");
    assert_eq!(count("SELECT count(*) FROM outbox WHERE state = 'failed'"), 0);
    assert_eq!(told.len(), 2 * incidents, "one message for each, and one for its end");
    let mut doubles: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, times) in &told {
        *doubles.entry(times[0]["unit"].as_str().unwrap()).or_default() += times.len() - 1;
        let unsaid = times[1..].iter().filter(|message| message["possible_duplicate"] != true).count();
        assert_eq!(unsaid, 0, "{id} came again and did not say so: {times:#?}");
    }
    let unadmitted = hook.refused_after_all();
    let all: usize = doubles.values().sum();
    println!("{kills} kills, {incidents} incidents, {all} doubles, {unadmitted} answers that lied");
    // Each unit has its route, which has one message under way at a time.
    let most = doubles.values().max().unwrap();
    assert!(*most <= kills + unadmitted, "{doubles:?} of {kills} kills and {unadmitted} answers that lied");
}

/// The main processes of all units, once each is in the run that so many crashes lead to.
fn all_up(world: &World, generation: u64) -> Vec<i32> {
    until_within(Duration::from_secs(60), "all are up", || {
        let said = world.ctl(&["status", "--json"]);
        if !matches!(said.code, 0 | 3) {
            return None;
        }
        let units = said.json()["units"].as_array()?.clone();
        let is_up = |unit: &Value| unit["active"] == "active" && unit["generation"].as_u64() >= Some(generation);
        if units.len() != UNITS || !units.iter().all(is_up) {
            return None;
        }
        units.iter().map(|unit| unit["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())).collect()
    })
}
