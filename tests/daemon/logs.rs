//! What services write.
use std::time::{Duration, Instant};

use crate::{
    actor,
    support::{
        process::{pause, until, until_within},
        world::World,
    },
};

pub(crate) fn a_flood_of_output_delays_no_status_and_is_captured_or_counted() {
    const BYTES: u64 = 100 << 20;
    let world = World::new();
    world.settings("[log]\nsegment_size = \"16M\"\nkeep = 20\n");
    let mut world = world;
    world.unit("loud", &actor::unit(&format!("flood {BYTES}"), ""));
    world.unit("web", "[service]\nexec_start = \"sleep 1000\"\n");
    world.start();
    let mut slowest = Duration::ZERO;
    until_within(Duration::from_secs(60), "all is said", || {
        let began = Instant::now();
        world.status("web");
        slowest = slowest.max(began.elapsed());
        let captured = size(&world, "loud");
        (captured >= BYTES).then_some(())
    });
    assert!(slowest < Duration::from_secs(1), "status took {slowest:?}");
    until("its last word", || world.captured("loud").ends_with("all is said\n").then_some(()));
    let dropped: u64 = world.notices("output_dropped").iter().map(|n| n["fields"]["bytes"].as_u64().unwrap()).sum();
    assert_eq!(size(&world, "loud") + dropped, BYTES + "all is said\n".len() as u64);
}

fn size(world: &World, unit: &str) -> u64 {
    let entries = std::fs::read_dir(world.path("logs").join(unit)).into_iter().flatten().flatten();
    entries.filter(|e| e.path().extension().is_some_and(|e| e == "log")).map(|e| e.metadata().unwrap().len()).sum()
}

pub(crate) fn no_line_is_lost_doubled_or_torn_by_twenty_kills_of_the_manager() {
    let world = World::with(&[("count", &actor::unit("count 200", ""))]);
    for round in 0..20_u64 {
        let up = world.managers_up();
        pause(round * 13 % 50);
        world.kill_manager();
        until("the next manager", || (world.managers_up() > up).then_some(()));
    }
    world.ok(&["stop", "count"]);
    let until_now = world.captured("count").len();
    let text = until("all is captured", || {
        pause(100);
        let text = world.captured("count");
        (text.len() == until_now).then_some(text)
    });
    let mut expected = 0;
    for line in text.lines() {
        assert_eq!(line, format!("line {expected}"));
        expected += 1;
    }
    assert!(text.ends_with('\n') && expected > 1000, "{expected} lines");
    let shown = world.ok(&["logs", "count", "-n", "3"]).out;
    assert_eq!(shown.lines().last(), text.lines().last());
}
