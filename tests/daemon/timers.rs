//! Units that are started by time.
use std::collections::BTreeSet;

use crate::support::{
    process::{pause, until},
    world::World,
};

/// A oneshot that writes its invocation down.
fn timed(name: &str, timer: &str) -> String {
    format!(
        "[unit]\nstart_limit_burst = 0\n[service]\ntype = \"oneshot\"\n\
         exec_start = \"/bin/sh -c 'echo $INVOCATION_ID >> @/{name}'\"\n[timer]\n{timer}\n"
    )
}

fn causes(world: &World, unit: &str, ended: usize) -> Vec<String> {
    world.history(unit, ended).iter().map(|run| run["cause"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn a_timer_runs_its_unit_again_and_again_and_status_says_when() {
    let tick = timed("tick", "on_active_sec = \"50ms\"\non_unit_active_sec = \"200ms\"");
    let nightly = "[timer]\non_calendar = \"*-*-* 02:30:00 Europe/Berlin\"\nunit = \"backup\"\n";
    let backup = "[service]\nexec_start = \"sleep 1000\"\n[install]\nenabled = false\n";
    let world = World::with(&[("tick", &tick), ("nightly", nightly), ("backup", backup)]);
    until("it has run five times", || (world.lines("tick").len() >= 5).then_some(()));
    assert!(causes(&world, "tick", 5).iter().all(|cause| cause == "timer"));
    let run = &world.history("tick", 1)[0];
    assert_eq!(run["cause_detail"], "tick", "{run:#}");

    let status = world.status("nightly");
    let next = status["timer"]["next_us"].as_i64().expect("it is planned");
    let berlin = jiff::Timestamp::from_microsecond(next).unwrap().in_tz("Europe/Berlin").unwrap();
    assert_eq!((berlin.hour(), berlin.minute(), berlin.second()), (2, 30, 0));
    assert_eq!((&status["timer"]["starts"], &status["up"]), (&"backup".into(), &true.into()), "{status:#}");
    assert!(world.status("tick")["timer"]["last_us"].is_i64());
    let shown = world.ok(&["status", "nightly"]).out;
    assert!(shown.contains("Next elapse: in ") && shown.contains("Starts: backup"), "{shown}");
    assert!(world.ok(&["list"]).out.contains("oneshot, timer"));
    let properties = world.ok(&["show", "nightly"]).out;
    assert!(properties.contains("on_calendar=*-*-* 02:30:00 Europe/Berlin\n"), "{properties}");
    let why = world.ok(&["why", "tick"]).out;
    assert!(why.contains("timer"), "{why}");

    // The timer's file stands for what it starts.
    world.ok(&["start", "nightly"]);
    world.until_active("backup", "active");
    world.ok(&["disable", "tick"]);
    let runs = until("its last run is over", || {
        let status = world.status("tick");
        (status["active"] == "inactive").then(|| world.lines("tick").len())
    });
    assert!(world.status("tick")["timer"].is_null());
    pause(600);
    assert_eq!(world.lines("tick").len(), runs, "a timer that is disabled is still");
    world.ok(&["enable", "tick"]);
    until("it runs again", || (world.lines("tick").len() > runs).then_some(()));
}

pub(crate) fn kill_9_of_the_manager_loses_and_doubles_no_elapse() {
    const KILLS: u64 = 18;
    let tick = timed("tick", "on_active_sec = \"50ms\"\non_unit_inactive_sec = \"20ms\"");
    let once = timed("once", "on_active_sec = \"900ms\"");
    let pulse = timed("pulse", "").replace("[timer]", "[install]\nenabled = false");
    let beater = "[timer]\non_calendar = \"*:*:*\"\nunit = \"pulse\"\n";
    let units = [("tick", tick.as_str()), ("once", &once), ("pulse", &pulse), ("beater", beater)];
    let mut world = World::with(&units);
    let mut up = 0;
    for round in 0..KILLS {
        // Two of three get ready, as the keeper gives those that never do ever more time.
        if round % 3 != 0 {
            until("the manager is up", || (world.managers_up() > up).then_some(()));
        }
        pause(round * 37 % 90);
        world.kill_manager();
        up = world.managers_up();
    }
    world.await_answer();
    let beats = world.lines("pulse").len();
    until("the beat goes on", || (world.lines("pulse").len() > beats).then_some(()));
    until("what was to happen once has happened", || (!world.lines("once").is_empty()).then_some(()));
    // The next manager knows that it has.
    world.kill_manager();
    world.await_answer();
    pause(1200);
    world.ok(&["disable", "tick", "beater"]);
    for unit in ["tick", "pulse", "once"] {
        world.until_status(unit, "it is down", |status| status["active"] == "inactive");
        let lived = world.lines(unit);
        let history = world.history(unit, lived.len());
        let rows: BTreeSet<&str> = history.iter().map(|run| run["invocation"].as_str().unwrap()).collect();
        let written: BTreeSet<&str> = lived.iter().map(String::as_str).collect();
        assert_eq!(written.len(), lived.len(), "{unit}: a run was doubled");
        assert_eq!(rows, written, "{unit}: rows and runs");
        let generations: Vec<u64> = history.iter().map(|run| run["generation"].as_u64().unwrap()).collect();
        assert_eq!(generations, (1..=lived.len() as u64).rev().collect::<Vec<_>>(), "{unit}");
    }
    assert!(causes(&world, "tick", 1).iter().all(|cause| cause == "timer"));
    // One second of the wall, one run; each run begins in its second unless the manager was down then.
    let mut seconds: Vec<i64> =
        world.history("pulse", 1).iter().map(|run| run["started_us"].as_i64().unwrap() / 1_000_000).collect();
    let count = seconds.len();
    seconds.dedup();
    assert_eq!(seconds.len(), count, "an elapse of the calendar was doubled");
    assert_eq!(world.lines("once").len(), 1);
}

pub(crate) fn a_calendar_that_was_missed_while_the_daemon_was_down_is_made_up_for_once() {
    let mut world = World::new();
    world.unit("backup", &timed("backup", "on_calendar = \"daily\"\npersistent = true"));
    world.unit("other", &timed("other", "on_calendar = \"daily\""));
    world.start();
    until("it is known from when on it could miss something", || {
        let known: i64 = world.database().query_row("SELECT count(*) FROM timers", [], |row| row.get(0)).unwrap();
        (known == 1).then_some(())
    });
    assert!(world.stop().success());
    let three_days = 3 * 86_400_000_000_i64;
    let database = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    database.execute("UPDATE timers SET elapsed_at = elapsed_at - ?1", [three_days]).unwrap();
    drop(database);
    for _ in 0..2 {
        world.start();
        until("it has run", || (!world.lines("backup").is_empty()).then_some(()));
        world.until_status("backup", "it is down", |status| status["active"] == "inactive");
        assert_eq!(causes(&world, "backup", 1), ["timer"]);
        assert!(world.lines("other").is_empty(), "it is not persistent");
        assert!(world.stop().success());
    }
    assert_eq!(world.lines("backup").len(), 1, "three days, one run");
}

pub(crate) fn a_time_zone_that_is_not_there_is_refused_by_name() {
    let world = World::with(&[("web", "[service]\nexec_start = \"sleep 1000\"\n")]);
    world.unit("backup", &timed("backup", "on_calendar = [\"daily Europe/Atlantis\", \"daily europe/berlin\"]"));
    let refused = world.ctl(&["reload-config"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("Europe/Atlantis"), "{refused:?}");
    assert!(refused.err.contains("did you mean \"Europe/Berlin\"?"), "{refused:?}");
    world.unit("backup", &timed("backup", "on_calendar = \"daily Europe/Berlin\""));
    world.ok(&["reload-config"]);
    assert!(world.status("backup")["timer"]["next_us"].is_i64());
    assert_eq!(world.lines("backup"), Vec::<String>::new(), "a new unit with a timer is not started");
}
