//! Services that die.
use std::{collections::BTreeSet, env};

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{Signal, kill, lives, pause, until},
        world::World,
    },
};

/// Kills of the manager in the long test, at least; `ROUNDSMAN_TEST_BURST_KILLS` sets another number.
const BURST_KILLS: usize = 25;

pub(crate) fn a_service_that_is_killed_again_and_again_comes_back_and_each_end_is_told() {
    const KILLS: usize = 12;
    let more = "restart = \"always\"\nrestart_sec = \"20ms\"\n[unit]\nstart_limit_burst = 0";
    let world = World::with(&[("web", &actor::unit("steady @/truth web", more))]);
    let starts = || world.lines("truth").iter().filter(|line| line.starts_with('S')).count();
    for done in 0..KILLS {
        let before = world.until_active("web", "active");
        assert_eq!(before["restarts_total"], done);
        // Active is as soon as the process exists; the line comes when its program runs.
        until("it has written that it started", || (starts() == done + 1).then_some(()));
        kill(world.pid("web"), Signal::SIGKILL);
        world.until_status("web", "the next run", |now| now["generation"] != before["generation"]);
    }
    let status = world.until_active("web", "active");
    assert_eq!(status["restarts_total"], KILLS, "{status:#}");
    assert_eq!(status["last_exit"], "killed by SIGKILL");
    assert!(status["cause"].as_str().unwrap().contains("SIGKILL"), "{status:#}");
    let history = world.history("web", KILLS);
    assert_eq!(history.len(), KILLS + 1);
    for (at, run) in history.iter().enumerate() {
        assert_eq!(run["generation"], KILLS + 1 - at);
        assert_eq!(run["cause"], if at == KILLS { "boot" } else { "auto-restart" }, "{run:#}");
        if at > 0 {
            assert_eq!(run["status"], "killed by SIGKILL", "{run:#}");
            assert_eq!(
                (&run["result"], &run["wanted"], &run["consequence"]),
                (&"signal".into(), &false.into(), &"restart".into())
            );
        }
    }
    until("the last one has written too", || (starts() > KILLS).then_some(()));
    assert_eq!(starts(), KILLS + 1, "no run that nobody counted");
}

pub(crate) fn five_crashes_in_the_window_are_the_end_until_someone_resets() {
    let text = "[unit]\nstart_limit_burst = 5\nstart_limit_interval_sec = \"1min\"\n\
                [service]\nexec_start = \"/bin/sh -c 'test -e @/well && exec sleep 1000; exit 7'\"\n\
                restart = \"always\"\nrestart_sec = \"10ms\"\n";
    let world = World::with(&[("web", text), ("other", "[service]\nexec_start = \"sleep 1000\"\n")]);
    let failed = world.until_active("web", "failed");
    let incident = world.ok(&["alerts", "--json"]).json()["incidents"][0].clone();
    assert_eq!((&failed["restarts_total"], &incident["restarts"]), (&4.into(), &4.into()), "{failed:#} {incident:#}");
    assert_eq!(failed["result"], "start-limit-hit", "{failed:#}");
    assert_eq!(failed["generation"], 5, "five starts, not one more");
    assert_eq!(world.ctl(&["status"]).code, 3, "some are down");
    assert_eq!(world.ctl(&["status", "other"]).code, 0, "others are not concerned");
    until("the last row says that no run followed", || {
        (world.history("web", 5)[0]["consequence"] == "start-limit").then_some(())
    });
    assert_eq!(world.history("web", 5)[1]["consequence"], "restart");
    assert_eq!(world.until_notices("start_limit_hit", 1).len(), 1);

    let refused = world.ctl(&["start", "web"]);
    assert_eq!(refused.code, 1);
    assert!(format!("{refused:?}").contains("supervisorctl reset web"), "the remedy is named: {refused:?}");

    let bare = world.ctl(&["reset"]);
    assert_eq!(bare.code, 2, "{bare:?}");
    assert!(bare.err.contains("reset UNIT") && bare.err.contains("reset --all"), "both forms are named: {bare:?}");

    std::fs::write(world.path("well"), "").unwrap();
    world.ok(&["reset", "web"]);
    let reset = world.status("web");
    assert_eq!((&reset["active"], &reset["starts_in_window"]), (&"inactive".into(), &0.into()), "{reset:#}");
    world.ok(&["start", "web"]);
    let status = world.until_active("web", "active");
    assert_eq!(status["generation"], 6);
    assert_eq!(world.ctl(&["status"]).code, 0, "all are up");
}

pub(crate) fn who_exits_at_once_is_started_as_often_as_its_burst_allows_however_often_the_manager_dies() {
    const SERVICES: usize = 8;
    const BURST: usize = 15;
    let wanted = env::var("ROUNDSMAN_TEST_BURST_KILLS").map_or(BURST_KILLS, |text| text.parse().unwrap());
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    let names: Vec<String> = (0..SERVICES).map(|number| format!("web{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // Some meet the next manager in their hold-off, some in their start, some dead.
        let wait = number * 15;
        world.unit(name, &format!(
            "[service]\nexec_start = \"/bin/sh -c 'echo x >> @/{name}; exit 1'\"\nrestart = \"always\"\nrestart_sec = \"{wait}ms\"\n\
             [unit]\nstart_limit_burst = {BURST}\nstart_limit_interval_sec = \"1h\"\n[install]\nenabled = false\n"
        ));
    }
    world.start();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut kills, mut bursts) = (0, 0);
    while kills < wanted {
        bursts += 1;
        world.ok(&[["start", "--no-wait"].as_slice(), &names].concat());
        // What an order without waiting is worth when the manager dies at once is not the question.
        until("all have begun", || {
            names.iter().all(|name| world.lines(name).len() > (bursts - 1) * BURST).then_some(())
        });
        let are_done = |world: &World| names.iter().all(|name| world.lines(name).len() >= bursts * BURST);
        let kills_before = kills;
        while !are_done(&world) {
            assert!(kills < kills_before + 20 * BURST, "it is not started on: {:#}", world.status(names[0]));
            let (manager, up) = (world.manager(), world.managers_up());
            pause(u64::try_from(kills * 37 % 60).unwrap());
            kill(manager, Signal::SIGKILL);
            kills += 1;
            until("the next manager is up", || (!lives(manager) && world.managers_up() > up).then_some(()));
        }
        for name in &names {
            let failed = world.until_active(name, "failed");
            assert_eq!((&failed["result"], &failed["starts_in_window"]), (&"start-limit-hit".into(), &BURST.into()));
            assert_eq!(failed["generation"], bursts * BURST, "{failed:#}");
            assert_eq!(world.lines(name).len(), bursts * BURST, "{name}");
            assert_eq!(failed["restarts_total"], bursts * (BURST - 1), "{failed:#}");
        }
        // One alert that it is final, before it at most one that it began, however many ends there were, and after it one that it was reset.
        let finals = |alerts: &BTreeSet<String>| alerts.iter().filter(|id| id.contains("/start_limit_hit/")).count();
        let are_told = |alerts: &BTreeSet<String>| finals(alerts) >= SERVICES * bursts;
        let alerts = until("it is on its way to people", || Some(outbox(&world)).filter(are_told));
        for name in &names {
            let count = |event: &str| {
                let is_it = |id: &&String| id.contains(&format!("/{name}/")) && id.contains(&format!("/{event}/"));
                alerts.iter().filter(is_it).count()
            };
            assert_eq!(count("start_limit_hit"), bursts, "{name}: {alerts:#?}");
            assert!(count("unit_restarted") <= bursts, "{name}: {alerts:#?}");
            assert!(count("recovered") <= bursts, "{name}: {alerts:#?}");
        }
        world.ok(&[["reset"].as_slice(), &names].concat());
        let open = "SELECT count(*) FROM incidents WHERE closed_at IS NULL";
        let is_zero = |count: i64| (count == 0).then_some(());
        until("their incidents are closed", || {
            is_zero(world.database().query_row(open, [], |row| row.get(0)).unwrap())
        });
    }
    let told: Vec<String> = hook.taken().iter().map(|told| told["id"].as_str().unwrap().to_owned()).collect();
    let alerts = outbox(&world);
    println!("{kills} kills in {bursts} bursts of {SERVICES} services, {} alerts", alerts.len());
    assert!(alerts.len() <= 3 * SERVICES * bursts, "{alerts:#?}");
    assert!(!told.is_empty() && told.iter().all(|id| alerts.contains(id)), "{told:#?}");
    assert!(world.stop().success());
}

/// Every alert that there ever was, delivered or waiting for its turn: a route is told about one a second.
fn outbox(world: &World) -> BTreeSet<String> {
    let database = world.database();
    let mut ids = database.prepare("SELECT id FROM outbox").unwrap();
    ids.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
