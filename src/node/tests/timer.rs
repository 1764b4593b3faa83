//! Timers, moment by moment.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};

use super::super::{
    Input,
    input::{Host, Restored, Verb},
};
use super::{
    desk::Desk,
    make::{command, name, service, with},
};
use crate::{
    base::{Mono, TimeSpan, Wall},
    unit::{
        UnitDef,
        calendar::{Zone, Zones},
        spec::{ServiceKind, TimerSpec},
    },
};

const HOUR: f64 = 3600.0;

/// A oneshot with this timer, without start limit.
fn timed(text: &str, change: impl FnOnce(&mut TimerSpec)) -> UnitDef {
    with(text, |def| {
        def.service.kind = ServiceKind::Oneshot;
        def.start_limit.interval = TimeSpan::ZERO;
        let mut spec = TimerSpec::default();
        change(&mut spec);
        def.timer = Some(Box::new(spec));
    })
}

fn daily(text: &str) -> UnitDef {
    timed(text, |spec| spec.on_calendar = ["*-*-* 02:30:00".parse().unwrap()].into())
}

fn secs(list: &[u64]) -> Box<[TimeSpan]> {
    list.iter().map(|secs| TimeSpan::from_secs(*secs)).collect()
}

/// How many runs began, and of which units.
fn starts(said: &[String]) -> Vec<&str> {
    said.iter().filter_map(|line| line.strip_prefix("RunStarting ")).collect()
}

fn wall(text: &str) -> Wall {
    Wall(text.parse::<Timestamp>().unwrap().as_microsecond())
}

/// The clock is set, and the machine is told.
fn set_clock(desk: &mut Desk, to: &str) -> Vec<String> {
    desk.now.wall = wall(to);
    desk.give(Input::ClockSet)
}

fn at(text: &str, defs: impl IntoIterator<Item = UnitDef>) -> Desk {
    let mut desk = Desk::cold(defs);
    desk.now.wall = wall(text);
    desk.give(Input::Boot);
    desk
}

fn next(desk: &Desk, unit: &str) -> Option<String> {
    let wall = desk.status(unit).timer?.next_wall?;
    Some(Timestamp::from_microsecond(wall.0).unwrap().to_string())
}

/// The keeper and the store know nothing but this.
fn afterwards(desk: &Desk, elapsed: &[(&str, &str)]) -> Restored {
    let elapsed = elapsed.iter().map(|(unit, at)| (name(unit), wall(at))).collect();
    Restored { elapsed, host: host(desk.now.mono), ..Restored::default() }
}

fn host(boot: Mono) -> Host {
    Host { boot: Some(boot), ..Host::default() }
}

#[test]
fn a_unit_with_a_timer_waits_for_it() {
    let mut desk = at("2026-11-29T12:00Z", [daily("backup"), service("web")]);
    assert_eq!(desk.sub("backup"), "dead");
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-11-30T02:30:00Z"));
    assert!(starts(&desk.pass(14.0 * HOUR)).is_empty());
    let said = desk.pass(HOUR);
    assert_eq!(starts(&said), ["backup/1 Timer(backup) 0"]);
    desk.exited("backup/1", 0);
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-12-01T02:30:00Z"));
    let last = desk.status("backup").timer.unwrap().last;
    assert_eq!(last, Some(wall("2026-11-30T02:30Z")));
}

#[test]
fn a_manual_start_leaves_the_timer_alone() {
    let mut desk = at("2026-11-29T12:00Z", [daily("backup")]);
    let said = desk.order(Verb::Start, &["backup"]);
    assert_eq!(starts(&said), ["backup/1 Manual(User(1000)) 0"]);
    desk.exited("backup/1", 0);
    assert_eq!(starts(&desk.pass(15.0 * HOUR)), ["backup/2 Timer(backup) 0"]);
}

#[test]
fn an_elapse_while_the_unit_is_up_starts_nothing_and_the_next_one_counts() {
    let mut desk = at("2026-11-29T02:00Z", [daily("backup")]);
    desk.order(Verb::Start, &["backup"]);
    assert!(starts(&desk.pass(HOUR)).is_empty());
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-11-30T02:30:00Z"));
    let said = desk.exited("backup/1", 0);
    assert!(starts(&said).is_empty(), "it is not made up for: {said:?}");
    assert_eq!(starts(&desk.pass(24.0 * HOUR)), ["backup/2 Timer(backup) 0"]);
}

#[test]
fn spans_count_from_where_they_say() {
    let mut def = timed("u", |spec| {
        spec.on_active = secs(&[10, 40]);
        spec.on_unit_active = secs(&[100]);
    });
    def.service.remain_after_exit = false;
    let mut desk = at("2026-11-29T12:00Z", [def]);
    assert_eq!(starts(&desk.pass(10.0)), ["u/1 Timer(u) 0"]);
    desk.exited("u/1", 0);
    assert_eq!(starts(&desk.pass(29.0)), Vec::<&str>::new());
    assert_eq!(starts(&desk.pass(1.0)), ["u/2 Timer(u) 0"]);
    desk.pass(50.0);
    desk.exited("u/2", 0);
    assert!(starts(&desk.pass(49.0)).is_empty(), "it was activated 99 seconds ago");
    assert_eq!(starts(&desk.pass(1.0)), ["u/3 Timer(u) 0"]);
}

#[test]
fn on_unit_inactive_counts_from_the_end() {
    let def = timed("u", |spec| {
        spec.on_startup = secs(&[5]);
        spec.on_unit_inactive = secs(&[30]);
    });
    let mut desk = at("2026-11-29T12:00Z", [def]);
    assert_eq!(starts(&desk.pass(5.0)), ["u/1 Timer(u) 0"]);
    assert!(starts(&desk.pass(1000.0)).is_empty(), "it is up");
    desk.exited("u/1", 1);
    assert_eq!(desk.sub("u"), "failed");
    assert!(starts(&desk.pass(29.0)).is_empty());
    assert_eq!(starts(&desk.pass(1.0)), ["u/2 Timer(u) 0"], "a failed unit is started too");
}

#[test]
fn on_boot_counts_from_the_machines_start_and_not_again_for_each_daemon() {
    let def = || timed("u", |spec| spec.on_boot = secs(&[60]));
    let desk = at("2026-11-29T12:00Z", [def()]);
    let (mut desk, _) =
        Desk::cold([def()]).takeover([def()], Restored { host: host(Mono(0)), ..afterwards(&desk, &[]) });
    desk.give(Input::Boot);
    assert_eq!(desk.status("u").timer.unwrap().next_mono, Some(Mono(60_000_000_000)));
    assert_eq!(starts(&desk.pass(59.0)), ["u/1 Timer(u) 0"], "a second of the boot had passed");
    desk.exited("u/1", 0);
    assert!(starts(&desk.pass(1000.0)).is_empty());
    let (mut desk, _) = desk.takeover([def()], Restored { host: host(Mono(0)), ..Restored::default() });
    desk.give(Input::Boot);
    assert!(starts(&desk.pass(1000.0)).is_empty());
}

#[test]
fn a_timer_can_start_another_unit() {
    let mut def = timed("nightly", |spec| {
        spec.on_active = secs(&[10]);
        spec.unit = Some(name("backup"));
    });
    def.service.exec_start = Box::default();
    let mut backup = service("backup");
    backup.enabled = false;
    let mut desk = at("2026-11-29T12:00Z", [def, backup]);
    assert_eq!(starts(&desk.pass(10.0)), ["backup/1 Timer(nightly) 0"]);
    desk.up("backup");
    desk.order(Verb::Stop, &["backup"]);
    desk.killed("backup/1", crate::base::Signal::TERM);
    let said = desk.order(Verb::Start, &["nightly"]);
    assert_eq!(starts(&said), ["backup/2 Manual(User(1000)) 0"], "who starts the timer's file means what it starts");
}

#[test]
fn disable_disarms_and_enable_arms() {
    let mut desk = at("2026-11-29T12:00Z", [daily("backup")]);
    desk.order(Verb::Disable, &["backup"]);
    assert_eq!(desk.status("backup").timer, None);
    assert!(starts(&desk.pass(48.0 * HOUR)).is_empty());
    desk.order(Verb::Enable, &["backup"]);
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-12-02T02:30:00Z"));
    assert_eq!(starts(&desk.pass(24.0 * HOUR)), ["backup/1 Timer(backup) 0"]);
}

#[test]
fn a_reload_plans_by_the_new_file() {
    let mut desk = at("2026-11-29T12:00Z", [daily("backup")]);
    let hourly = timed("backup", |spec| spec.cron = ["@hourly".parse().unwrap()].into());
    desk.set([hourly]);
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-11-29T13:00:00Z"));
    let plain = with("backup", |def| def.service.kind = ServiceKind::Oneshot);
    let said = desk.set([plain]);
    assert_eq!((desk.status("backup").timer, starts(&said)), (None, vec![]), "it is not new");
    desk.set([daily("backup"), daily("other")]);
    assert_eq!(next(&desk, "other").as_deref(), Some("2026-11-30T02:30:00Z"), "a new one is armed and not started");
}

#[test]
fn the_end_of_the_daemon_silences_timers() {
    let mut desk = at("2026-11-29T02:29Z", [daily("backup"), service("web")]);
    desk.up("web");
    desk.give(Input::Shutdown { actor: crate::base::Actor::Daemon, machine: false });
    assert!(starts(&desk.pass(80.0)).is_empty());
}

#[test]
fn a_clock_that_is_set_forward_over_a_moment_lets_it_happen_at_once() {
    let mut desk = at("2026-11-29T12:00Z", [daily("backup")]);
    assert!(starts(&set_clock(&mut desk, "2026-11-29T18:00Z")).is_empty());
    set_clock(&mut desk, "2026-11-30T02:45Z");
    assert_eq!(starts(&desk.pass(0.1)), ["backup/1 Timer(backup) 0"]);
    desk.exited("backup/1", 0);
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-12-01T02:30:00Z"));
}

#[test]
fn a_clock_that_is_set_back_a_little_repeats_no_moment() {
    let mut desk = at("2026-11-30T02:00Z", [daily("backup")]);
    assert_eq!(starts(&desk.pass(0.6 * HOUR)).len(), 1);
    desk.exited("backup/1", 0);
    set_clock(&mut desk, "2026-11-30T01:00Z");
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-12-01T02:30:00Z"));
    assert!(starts(&desk.pass(23.0 * HOUR)).is_empty());
    set_clock(&mut desk, "2026-06-01T01:00Z");
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-06-01T02:30:00Z"), "half a year ahead it was wrong");
}

#[test]
fn a_clock_that_goes_slower_than_was_thought_is_waited_for() {
    let mut desk = at("2026-11-30T02:29Z", [daily("backup")]);
    // It was slewed by ten seconds, and nobody is told of that.
    desk.now.wall.0 -= 10_000_000;
    assert!(starts(&desk.pass(60.0)).is_empty());
    assert_eq!(starts(&desk.pass(10.0)).len(), 1);
}

#[test]
fn a_timer_may_elapse_because_the_clock_or_the_zone_changed() {
    let def = timed("u", |spec| {
        spec.on_clock_change = true;
        spec.on_timezone_change = true;
    });
    let mut desk = at("2026-11-29T12:00Z", [def, daily("backup")]);
    assert_eq!(starts(&set_clock(&mut desk, "2026-11-29T12:01Z")), ["u/1 Timer(u) 0"]);
    desk.exited("u/1", 0);
    let berlin = Zone::new(TimeZone::get("Europe/Berlin").unwrap());
    let zones = |local: Zone| Input::Zones(Arc::new(Zones { local, named: BTreeMap::new() }));
    assert_eq!(starts(&desk.give(zones(berlin.clone()))), ["u/2 Timer(u) 0"]);
    assert_eq!(next(&desk, "backup").as_deref(), Some("2026-11-30T01:30:00Z"), "the calendar is the new zone's");
    desk.exited("u/2", 0);
    assert!(starts(&desk.give(zones(berlin))).is_empty(), "it is the same");
}

#[test]
fn a_random_delay_is_added_and_kept() {
    let def = || {
        let mut def = daily("backup");
        if let Some(spec) = &mut def.timer {
            spec.randomized_delay = TimeSpan::from_secs(600);
        }
        def
    };
    let mut desk = at("2026-11-29T12:00Z", [def()]);
    let due = desk.status("backup").timer.unwrap().next_wall.unwrap();
    let begin = wall("2026-11-30T02:30Z");
    assert!(due > begin && due.0 <= begin.0 + 600_000_000, "{due:?}");
    let (later, _) = desk.takeover([def()], Restored::default());
    let mut later = later;
    later.give(Input::Boot);
    assert_eq!(later.status("backup").timer.unwrap().next_wall, Some(due), "a new manager goes by it too");
    desk.order(Verb::Start, &["backup"]);
    desk.exited("backup/1", 0);
    assert_eq!(desk.status("backup").timer.unwrap().next_wall, Some(due), "a run in between changes nothing");
}

#[test]
fn a_fixed_random_delay_is_the_units_on_this_machine() {
    let due = |identity: u64, unit: &str| {
        let mut def = daily(unit);
        if let Some(spec) = &mut def.timer {
            spec.randomized_delay = TimeSpan::from_secs(3600);
            spec.fixed_random_delay = true;
        }
        let host = Host { identity, ..Host::default() };
        let (mut desk, _) = Desk::cold([]).takeover([def], Restored { host, ..Restored::default() });
        desk.give(Input::Boot);
        desk.status(unit).timer.unwrap().next_wall.unwrap()
    };
    assert_eq!(due(1, "a"), due(1, "a"));
    assert_ne!(due(1, "a"), due(2, "a"));
    assert_ne!(due(1, "a"), due(1, "b"));
}

#[test]
fn what_a_persistent_timer_missed_is_made_up_for_once() {
    let persistent = |yes: bool| {
        let mut def = daily("backup");
        if let Some(spec) = &mut def.timer {
            spec.persistent = yes;
        }
        def
    };
    let cold = at("2026-11-29T12:00Z", []);
    let again = |elapsed: &[(&str, &str)], def: UnitDef| {
        let mut blank = Desk::cold([]);
        blank.now = cold.now;
        let (mut desk, _) = blank.takeover([def], afterwards(&cold, elapsed));
        let mut said = desk.give(Input::Boot);
        said.extend(desk.pass(1.0));
        said
    };
    let said = again(&[], persistent(true));
    assert_eq!(said, ["stamp backup"], "what was never armed missed nothing; from now on it is known");
    let said = again(&[("backup", "2026-11-20T02:30:00Z")], persistent(true));
    assert_eq!(starts(&said), ["backup/1 Timer(backup) 0"], "nine nights, one run");
    assert!(said.contains(&"stamp backup".to_owned()));
    assert!(starts(&again(&[("backup", "2026-11-29T02:30:00.7Z")], persistent(true))).is_empty());
    assert!(starts(&again(&[("backup", "2026-11-20T02:30:00Z")], persistent(false))).is_empty());
    let said = again(&[("backup", "2031-01-01T00:00:00Z")], persistent(true));
    assert!(starts(&said).is_empty(), "a stamp of the future is not believed");
}

#[test]
fn a_manager_that_dies_neither_loses_nor_doubles_an_elapse() {
    let def = || daily("backup");
    let mut desk = at("2026-11-30T02:29Z", [def()]);
    // It died before it woke: the next one finds the moment passed.
    let (mut late, _) = desk.takeover([def()], Restored::default());
    late.now.mono.0 += 300_000_000_000;
    late.now.wall.0 += 300_000_000;
    late.give(Input::Boot);
    assert_eq!(starts(&late.pass(0.0)), ["backup/1 Timer(backup) 0"]);
    // It died when the order was out.
    desk.pass(60.0);
    let (mut next, said) = desk.takeover([def()], Restored::default());
    assert_eq!(said[0], "spawn backup/1 exec_start", "the keeper may not have had it");
    next.give(Input::Boot);
    assert!(starts(&next.pass(HOUR)).is_empty());
}

#[test]
fn a_start_that_is_owed_is_given_by_the_next_manager() {
    let defs = || {
        let mut timer = timed("nightly", |spec| {
            spec.on_active = secs(&[10]);
            spec.unit = Some(name("backup"));
        });
        timer.relations.conflicts = Box::default();
        let mut backup = service("backup");
        backup.enabled = false;
        backup.relations.after = [name("db")].into();
        let mut db = super::make::notifying("db");
        db.enabled = true;
        [timer, backup, db]
    };
    let mut desk = at("2026-11-29T12:00Z", defs());
    desk.spawned("db/1");
    assert!(starts(&desk.pass(10.0)).is_empty(), "it waits for db");
    // Whichever of the two memos had left when the manager died. Of the unit's alone nobody can tell who wanted it up.
    let before = at("2026-11-29T12:00Z", defs()).memos;
    for (lost, cause) in
        [(None, "Timer(nightly)"), (Some("backup"), "Timer(nightly)"), (Some("nightly"), "Manual(Daemon)")]
    {
        let mut part = Desk::cold([]);
        (part.now, part.memos) = (desk.now, desk.memos.clone());
        if let Some(lost) = lost.map(name) {
            part.memos.remove(&lost);
            part.memos.extend(before.get(&lost).map(|memo| (lost.clone(), memo.clone())));
        }
        let (mut next, mut said) = part.takeover(defs(), super::takeover::living(&["db/1"]));
        said.extend(next.give(Input::Boot));
        said.extend(next.pass(0.0));
        said.extend(next.notify("db/1", |message| message.ready = true));
        let started: Vec<_> = starts(&said).into_iter().filter(|line| line.starts_with("backup")).collect();
        assert_eq!(started, [format!("backup/1 {cause} 0")], "{lost:?}: {said:#?}");
    }
}

#[test]
fn a_timer_of_another_unit_is_not_doubled_when_only_that_units_memo_had_left() {
    let defs = || {
        let timer = timed("nightly", |spec| {
            spec.on_calendar = ["*:*:0/10".parse().unwrap()].into();
            spec.unit = Some(name("backup"));
        });
        let mut backup = with("backup", |def| def.service.exec_start = [command("backup")].into());
        backup.enabled = false;
        [timer, backup]
    };
    let mut desk = at("2026-11-29T12:00:01Z", defs());
    let before = desk.memos.clone();
    assert_eq!(starts(&desk.pass(9.0)), ["backup/1 Timer(nightly) 0"]);
    desk.up("backup");
    desk.exited("backup/1", 0);
    desk.memos.insert(name("nightly"), before[&name("nightly")].clone());
    let (mut next, _) = desk.takeover(defs(), Restored::default());
    next.give(Input::Boot);
    assert!(starts(&next.pass(9.0)).is_empty());
    assert_eq!(starts(&next.pass(1.0)), ["backup/2 Timer(nightly) 0"]);
}

#[test]
fn a_timer_that_is_over_is_shown_as_its_unit_says() {
    for (stays, shown) in [(true, true), (false, false)] {
        let def = timed("u", |spec| {
            spec.on_active = secs(&[1]);
            spec.remain_after_elapse = stays;
        });
        let mut desk = at("2026-11-29T12:00Z", [def]);
        desk.pass(1.0);
        desk.exited("u/1", 0);
        assert_eq!(desk.status("u").timer.is_some(), shown);
    }
}
