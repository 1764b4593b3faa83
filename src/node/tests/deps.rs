//! Several units: order, need, conflict, triggers, shutdown, another set of files.

use super::super::{
    Input,
    input::{Restored, Verb},
};
use super::{
    desk::Desk,
    make::{command, eager, name, notifying, service, with},
};
use crate::{
    base::{Actor, Generation, Signal, TimeSpan},
    unit::{UnitDef, spec::ServiceKind},
};

fn needs(text: &str, others: &[&str]) -> UnitDef {
    let mut def = eager(text);
    def.relations.requires = others.iter().map(|other| name(other)).collect();
    def.relations.after = def.relations.requires.clone();
    def
}

fn binds(text: &str, other: &str) -> UnitDef {
    let mut def = eager(text);
    def.relations.binds_to = [name(other)].into();
    def.relations.after = [name(other)].into();
    def
}

#[test]
fn a_start_waits_for_what_it_comes_after() {
    let mut db = notifying("db");
    db.enabled = false;
    let mut desk = Desk::cold([needs("web", &["db"]), needs("front", &["web"]), db]);
    assert_eq!(
        desk.order(Verb::Start, &["front"]),
        ["spawn db/1 exec_start", "RunStarting db/1 Dependency(web) 0"],
        "the far end of the line first"
    );
    desk.spawned("db/1");
    let said = desk.notify("db/1", |m| m.ready = true);
    assert_eq!(said, ["spawn web/1 exec_start", "RunReady db/1", "RunStarting web/1 Dependency(front) 0"]);
    assert_eq!(desk.spawned("web/1")[0], "spawn front/1 exec_start");
    assert_eq!(desk.spawned("front/1").last().unwrap(), "reply front=done");
}

#[test]
fn before_is_after_seen_from_the_other_side() {
    let mut early = notifying("early");
    early.relations.before = [name("late")].into();
    let mut desk = Desk::cold([early, eager("late")]);
    assert_eq!(desk.give(Input::Boot)[0], "spawn early/1 exec_start");
    desk.spawned("early/1");
    assert_eq!(desk.notify("early/1", |m| m.ready = true)[0], "spawn late/1 exec_start");
}

#[test]
fn units_without_an_order_start_together() {
    let mut web = eager("web");
    web.relations.requires = [name("db")].into();
    let mut desk = Desk::cold([web, notifying("db")]);
    let said = desk.order(Verb::Start, &["web"]);
    assert_eq!(said[..2], ["spawn web/1 exec_start", "spawn db/1 exec_start"]);
    desk.spawned("web/1");
    let said = desk.exited("db/1", 1);
    assert_eq!(said.last().unwrap(), "UnitFailed db exit-code");
    assert_eq!(desk.sub("web"), "running", "its start had begun");
}

#[test]
fn a_dependent_fails_with_what_it_needs_and_comes_back_with_it() {
    let mut db = notifying("db");
    db.service.restart.when = crate::unit::spec::Restart::Always;
    db.service.restart.delay = TimeSpan::from_secs(5);
    let mut desk = Desk::cold([needs("web", &["db"]), needs("front", &["web"]), db]);
    desk.order(Verb::Start, &["front"]);
    desk.spawned("db/1");
    let said = desk.exited("db/1", 1);
    let expected = [
        "RunEnded db/1 exit-code (exit code 1) restart",
        "RestartScheduled db 5s 1",
        "DependencyFailed web db",
        "DependencyFailed front web",
        "reply front=Failed(DependencyFailed { needs: web })",
    ];
    assert_eq!(said, expected);
    assert_eq!((desk.sub("web"), desk.sub("front")), ("dead", "dead"));
    desk.pass(5.0);
    desk.spawned("db/2");
    let said = desk.notify("db/2", |m| m.ready = true);
    assert_eq!(said[0], "spawn web/1 exec_start", "systemd would leave it down");
    let said = desk.spawned("web/1");
    assert_eq!(said[0], "spawn front/1 exec_start");
    assert_eq!(desk.pass(10.0), ["Recovered db/2", "Recovered web/1"]);
}

#[test]
fn who_was_stopped_by_hand_does_not_come_back_with_others() {
    let mut db = notifying("db");
    db.service.restart.when = crate::unit::spec::Restart::Always;
    db.service.restart.delay = TimeSpan::from_secs(5);
    let mut desk = Desk::cold([needs("web", &["db"]), db]);
    desk.order(Verb::Start, &["web"]);
    desk.spawned("db/1");
    desk.exited("db/1", 1);
    assert_eq!(desk.order(Verb::Stop, &["web"]), ["reply web=already"]);
    desk.pass(5.0);
    desk.spawned("db/2");
    desk.notify("db/2", |m| m.ready = true);
    assert_eq!(desk.sub("web"), "dead");
}

#[test]
fn a_requirement_that_does_not_exist_refuses_the_start() {
    let mut web = needs("web", &["ghost"]);
    web.relations.wants = [name("phantom")].into();
    let mut desk = Desk::cold([web]);
    let said = desk.order(Verb::Start, &["web"]);
    assert_eq!(said, ["DependencyFailed web ghost", "reply web=Failed(DependencyFailed { needs: ghost })"]);
}

#[test]
fn a_failed_wish_changes_nothing() {
    let mut web = eager("web");
    web.relations.wants = [name("cache")].into();
    web.relations.after = [name("cache")].into();
    let mut desk = Desk::cold([web, notifying("cache")]);
    assert_eq!(desk.order(Verb::Start, &["web"])[0], "spawn cache/1 exec_start");
    assert_eq!(desk.exited("cache/1", 1)[0], "spawn web/1 exec_start");
}

#[test]
fn a_stop_takes_the_dependents_down_first() {
    let mut desk = Desk::new([needs("web", &["db"]), needs("front", &["web"]), eager("db")]);
    for unit in ["db", "web", "front"] {
        desk.up(unit);
    }
    assert_eq!(desk.order(Verb::Stop, &["db"]), ["kill-tree front/1 SIGTERM"]);
    let said = desk.killed("front/1", Signal::TERM);
    assert_eq!(said[0], "kill-tree web/1 SIGTERM");
    assert_eq!(desk.killed("web/1", Signal::TERM)[0], "kill-tree db/1 SIGTERM");
    let said = desk.killed("db/1", Signal::TERM);
    assert_eq!(said.last().unwrap(), "reply db=done");
    assert_eq!(said[0], "RunEnded db/1 success (killed by SIGTERM) rest wanted");
}

#[test]
fn a_restart_stops_backwards_and_starts_forwards() {
    let mut part = eager("part");
    part.relations.part_of = [name("db")].into();
    let mut desk = Desk::new([needs("web", &["db"]), eager("db"), part, needs("idle", &["db"])]);
    for unit in ["db", "web", "part", "idle"] {
        desk.up(unit);
    }
    desk.order(Verb::Stop, &["idle"]);
    desk.killed("idle/1", Signal::TERM);
    let said = desk.order(Verb::Restart, &["db"]);
    assert_eq!(said, ["kill-tree part/1 SIGTERM", "kill-tree web/1 SIGTERM"]);
    assert_eq!(desk.killed("web/1", Signal::TERM)[0], "kill-tree db/1 SIGTERM");
    assert_eq!(desk.killed("part/1", Signal::TERM)[0], "spawn part/2 exec_start");
    let said = desk.killed("db/1", Signal::TERM);
    assert_eq!(said[0], "spawn db/2 exec_start");
    let said = desk.spawned("db/2");
    assert_eq!(said[0], "spawn web/2 exec_start");
    assert_eq!(said.last().unwrap(), "reply db=done");
    assert_eq!(desk.sub("idle"), "dead", "what was down stays down");
}

#[test]
fn a_crash_leaves_those_who_require_it_alone_and_takes_those_who_are_bound() {
    let mut db = eager("db");
    db.service.restart.delay = TimeSpan::from_secs(1);
    let mut desk = Desk::new([needs("web", &["db"]), binds("agent", "db"), db]);
    for unit in ["db", "web", "agent"] {
        desk.up(unit);
    }
    let said = desk.exited("db/1", 1);
    assert_eq!(said[0], "kill-tree agent/1 SIGTERM");
    assert_eq!((desk.sub("web"), desk.sub("agent")), ("running", "stop-sigterm"));
    let said = desk.killed("agent/1", Signal::TERM);
    assert_eq!(said[0], "RunEnded agent/1 success (killed by SIGTERM) rest wanted");
    desk.pass(1.0);
    assert_eq!(desk.spawned("db/2")[0], "spawn agent/2 exec_start", "it comes back with what it is bound to");
}

#[test]
fn a_conflict_stops_the_other_before_the_start() {
    let mut green = eager("green");
    green.relations.conflicts = [name("blue")].into();
    green.enabled = false;
    let mut desk = Desk::new([eager("blue"), green]);
    desk.up("blue");
    assert_eq!(desk.order(Verb::Start, &["green"]), ["kill-tree blue/1 SIGTERM"]);
    let said = desk.killed("blue/1", Signal::TERM);
    assert_eq!(said[0], "spawn green/1 exec_start");
    desk.up("green");
    assert_eq!(desk.order(Verb::Start, &["blue"]), ["kill-tree green/1 SIGTERM"], "it holds both ways");
    assert_eq!(desk.order(Verb::Start, &["blue", "green"]), Vec::<String>::new(), "both at once: the first named wins");
    desk.killed("green/1", Signal::TERM);
    assert_eq!(desk.up("blue").last().unwrap(), "reply blue=done green=Failed(Superseded)");
}

#[test]
fn failure_and_success_trigger_others_and_tell_them_about_it() {
    let mut web = service("web");
    web.relations.on_failure = [name("page")].into();
    web.relations.on_success = [name("tidy")].into();
    let quiet = |text: &str| {
        with(text, |def| {
            def.service.kind = ServiceKind::Oneshot;
            def.enabled = false;
        })
    };
    let mut desk = Desk::new([web, quiet("page"), quiet("tidy")]);
    desk.up("web");
    let invocation = desk.status("web").invocation.unwrap();
    let said = desk.killed("web/1", Signal::QUIT);
    assert_eq!(
        said[0],
        format!(
            "spawn page/1 exec_start MONITOR_SERVICE_RESULT=signal MONITOR_INVOCATION_ID={invocation} \
             MONITOR_UNIT=web.service MONITOR_EXIT_CODE=killed MONITOR_EXIT_STATUS=QUIT"
        )
    );
    assert_eq!(said[3], "RunStarting page/1 Triggered(web) 0");
    desk.order(Verb::Start, &["web"]);
    desk.up("web");
    let said = desk.exited("web/2", 0);
    assert!(said[0].starts_with("spawn tidy/1 exec_start MONITOR_SERVICE_RESULT=success"), "{said:?}");
}

#[test]
fn an_automatic_restart_triggers_nobody() {
    let mut web = eager("web");
    web.relations.on_failure = [name("page")].into();
    web.start_limit.interval = TimeSpan::from_secs(10);
    web.start_limit.burst = 2;
    let mut page = service("page");
    page.enabled = false;
    let mut desk = Desk::new([web, page]);
    desk.up("web");
    assert_eq!(desk.exited("web/1", 1).len(), 3);
    desk.up("web");
    assert!(desk.exited("web/2", 1)[0].starts_with("spawn page/1"), "only when it has failed for good");
}

#[test]
fn two_units_that_trigger_each_other_come_to_rest() {
    let pair = |text: &str, other: &str| {
        let mut def = needs(text, &["ghost"]);
        def.relations.on_failure = [name(other)].into();
        def
    };
    let mut desk = Desk::cold([pair("a", "b"), pair("b", "a")]);
    assert_eq!(desk.order(Verb::Start, &["a"]).len(), 4);
}

#[test]
fn a_circle_of_order_does_not_stop_the_boot() {
    let mut desk = Desk::cold([needs("a", &["c"]), needs("b", &["a"]), needs("c", &["b"])]);
    desk.give(Input::Boot);
    for _ in 0..3 {
        for unit in ["a", "b", "c"] {
            if desk.status(unit).generation.0 == 1 {
                desk.up(unit);
            }
        }
    }
    assert_eq!(["a", "b", "c"].map(|unit| desk.sub(unit)), ["running"; 3]);
}

#[test]
fn a_shutdown_stops_backwards_and_alerts_nobody() {
    let mut db = eager("db");
    db.service.exec_stop_post = [command("after")].into();
    let mut waiting = eager("waiting");
    waiting.service.restart.delay = TimeSpan::from_secs(60);
    let mut desk = Desk::new([needs("web", &["db"]), db, waiting]);
    for unit in ["db", "web", "waiting"] {
        desk.up(unit);
    }
    desk.exited("waiting/1", 1);
    let said = desk.give(Input::Shutdown { actor: Actor::Daemon, machine: true });
    assert_eq!(said, ["kill-tree web/1 SIGTERM", "ShuttingDown", "UnitStopped waiting roundsman"]);
    assert_eq!(desk.order(Verb::Start, &["web"]), ["reply web=Failed(ShuttingDown)"]);
    assert_eq!(desk.exited("web/1", 9)[1], "RunEnded web/1 exit-code (exit code 9) rest wanted");
    desk.killed("db/1", Signal::TERM);
    assert_eq!(desk.exited("db/1.1", 0).last().unwrap(), "all-stopped 0");
    assert_eq!(desk.give(Input::Shutdown { actor: Actor::Daemon, machine: true }), Vec::<String>::new());
}

#[test]
fn an_unkillable_unit_does_not_hold_up_the_shutdown_for_ever() {
    let mut desk = Desk::new([needs("web", &["db"]), eager("db")]);
    desk.up("db");
    desk.up("web");
    desk.give(Input::Shutdown { actor: Actor::Daemon, machine: false });
    let said = desk.pass(180.0);
    assert_eq!(said[2..5], ["kill-tree web/1 SIGKILL", "kill-tree db/1 SIGTERM", "TimedOut web/1 stop-sigkill"]);
    assert_eq!(desk.killed("db/1", Signal::TERM).last().unwrap(), "all-stopped 0");
}

#[test]
fn an_empty_machine_stops_at_once() {
    let mut desk = Desk::new([]);
    let said = desk.give(Input::Shutdown { actor: Actor::Daemon, machine: false });
    assert_eq!(said, ["ShuttingDown", "all-stopped 0"]);
}

#[test]
fn another_set_stops_what_is_gone_and_starts_what_is_new() {
    let mut off = eager("off");
    off.enabled = false;
    let mut desk = Desk::new([eager("old"), eager("same")]);
    desk.up("old");
    desk.up("same");
    let mut changed = eager("same");
    changed.service.exec_start = [command("other")].into();
    let said = desk.set([changed.clone(), eager("new"), off]);
    assert_eq!(said, ["kill-tree old/1 SIGTERM", "spawn new/1 exec_start", "RunStarting new/1 Boot 0"]);
    assert!(desk.status("same").needs_restart);
    let said = desk.killed("old/1", Signal::TERM);
    let end = "RunEnded old/1 success (killed by SIGTERM) rest wanted";
    assert_eq!(said, ["forget old", end, "UnitStopped old roundsman"]);
    assert_eq!(desk.node.status(&name("old")), None);
    assert!(!desk.memos.contains_key(&name("old")), "nothing is left to remember");
    desk.order(Verb::Restart, &["same"]);
    desk.killed("same/1", Signal::TERM);
    assert!(!desk.status("same").needs_restart);
    let said = desk.set([changed, eager("new"), eager("third")]);
    assert_eq!(said[0], "spawn third/1 exec_start", "a forgotten unit's place is used again");
}

#[test]
fn the_runs_of_a_unit_that_was_forgotten_are_counted_on_when_it_comes_back() {
    let mut desk = Desk::new([eager("web"), eager("off")]);
    desk.up("web");
    desk.set([eager("off")]);
    desk.killed("web/1", Signal::TERM);
    assert_eq!(desk.node.status(&name("web")), None);
    assert_eq!(desk.set([eager("web"), eager("off")])[0], "spawn web/2 exec_start");

    // The same where another manager comes between, who knows it from the history alone.
    let restored = Restored { generations: [(name("web"), Generation(2))].into(), ..Restored::default() };
    let (mut desk, _) = Desk::new([eager("off")]).takeover([eager("off")], restored);
    desk.give(Input::Boot);
    assert_eq!(desk.set([eager("web"), eager("off")])[0], "spawn web/3 exec_start");
}

#[test]
fn a_unit_that_comes_back_while_it_is_stopped_is_started() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    desk.set([]);
    assert_eq!(desk.set([eager("web")]), Vec::<String>::new());
    assert_eq!(desk.killed("web/1", Signal::TERM)[0], "spawn web/2 exec_start");
}

#[test]
fn a_unit_after_very_many_others_starts_when_the_last_is_up() {
    const COUNT: usize = 2000;
    let mut last = eager("last");
    let many: Vec<_> = (0..COUNT).map(|n| eager(&format!("u{n}"))).collect();
    last.relations.after = many.iter().map(|def| def.name.clone()).collect();
    let mut desk = Desk::cold(many.into_iter().chain([last]));
    let mut spawned = Vec::new();
    let mut hand = |input| {
        desk.node.handle(desk.now, input);
        while let Some(effect) = desk.node.poll_effect() {
            if let super::super::Effect::Spawn(order) = effect {
                spawned.push(order.key.run.unit.to_string());
            }
        }
    };
    hand(Input::Boot);
    for n in 0..COUNT {
        // Backwards in name, and shuffled a little: no order may be costly.
        let unit = format!("u{}/1", (n * 7) % COUNT);
        let key = super::desk::key(&unit);
        let pid = super::desk::pid_of(&key);
        hand(Input::Spawned { key, pid });
    }
    assert_eq!((spawned.len(), spawned.last().unwrap().as_str()), (COUNT + 1, "last"));
}
