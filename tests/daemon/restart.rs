//! Services that die.
use crate::{
    actor,
    support::{
        process::{Signal, kill, until},
        world::World,
    },
};

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
