//! How fast and how large the machine is. Measured with
//! `cargo nextest run --cargo-profile release-quick --run-ignored all node::tests::speed --no-capture`.

use std::time::Instant;

use super::super::{Effect, Input, Node};
use super::{
    desk::{key, pid_of},
    make::eager,
};
use crate::{
    base::{ExitStatus, Mono, Now, Wall},
    unit::UnitDef,
};

const UNITS: usize = 1000;
const NOW: Now = Now { mono: Mono(1_000_000_000), wall: Wall(0) };

#[expect(clippy::disallowed_methods, reason = "a measurement of our own time")]
fn clock() -> Instant {
    Instant::now()
}

fn many(count: usize) -> Vec<UnitDef> {
    let mut defs: Vec<UnitDef> = (0..count).map(|n| eager(&format!("unit{n}"))).collect();
    for n in 1..count {
        // Each after and in need of one that lies half as far: a tree.
        let other = defs[n / 2].name.clone();
        defs[n].relations.requires = vec![other.clone()];
        defs[n].relations.after = vec![other];
    }
    defs
}

fn drain(node: &mut Node) -> Vec<String> {
    let mut spawned = Vec::new();
    while let Some(effect) = node.poll_effect() {
        if let Effect::Spawn(order) = effect {
            spawned.push(format!("{}/{}", order.key.run.unit, order.key.run.generation));
        }
    }
    spawned
}

fn booted(count: usize) -> (Node, std::time::Duration) {
    let defs = many(count).into_iter().map(|def| (def.name.clone(), def)).collect();
    let mut node = Node::new(1);
    node.handle(NOW, Input::Units(defs));
    let begin = clock();
    node.handle(NOW, Input::Boot);
    let mut spent = begin.elapsed();
    let mut wave = drain(&mut node);
    let mut up = 0;
    while !wave.is_empty() {
        up += wave.len();
        let facts: Vec<_> = wave.iter().map(|text| (key(text), pid_of(&key(text)))).collect();
        let begin = clock();
        for (key, pid) in facts {
            node.handle(NOW, Input::Spawned { key, pid });
        }
        spent += begin.elapsed();
        wave = drain(&mut node);
    }
    assert_eq!(up, count);
    (node, spent)
}

#[test]
#[ignore = "a measurement; needs an optimised build"]
fn a_boot_and_a_restart_among_a_thousand_units_are_quick() {
    // The best of five: the machine may be busy with other things.
    let best = |count: usize| (0..5).map(|_| booted(count).1).min().unwrap();
    let (boot, large) = (best(UNITS), best(10 * UNITS));
    let (mut node, _) = booted(UNITS);
    let rounds = 20_000_u64;
    let mut spent = std::time::Duration::ZERO;
    for round in 1..=rounds {
        let main = key(&format!("unit500/{round}"));
        let exited = Input::Exited { key: main, status: ExitStatus::Exited(1), usage: None, oom: false, alone: true };
        let begin = clock();
        node.handle(NOW, exited);
        let orders = [node.poll_effect(), node.poll_effect()];
        spent += begin.elapsed();
        assert!(matches!(&orders, [Some(Effect::Remember { .. }), Some(Effect::Spawn(_))]));
        while node.poll_effect().is_some() {}
        let next = key(&format!("unit500/{}", round + 1));
        node.handle(NOW, Input::Spawned { pid: pid_of(&next), key: next });
        while node.poll_effect().is_some() {}
    }
    let each = spent / u32::try_from(rounds).unwrap();
    println!("boot of 1,000: {boot:?}, of 10,000: {large:?}; from exit to spawn order: {each:?}");
    assert!(boot.as_millis() < 5 && large.as_millis() < 80 && each.as_micros() < 20);
}

#[test]
fn an_idle_unit_is_small() {
    use super::super::{graph::Place, service::Unit, timers::Slot};
    // The unit, its entry by name (a pointer pair, a place, B-tree overhead), and one timer in two trees.
    let entry = 2 * (size_of::<crate::base::UnitName>() + size_of::<Place>());
    let timer = 2 * 2 * size_of::<(Mono, Place, Slot)>();
    let edges = 7 * size_of::<u32>();
    let all = size_of::<Option<Unit>>() + entry + timer + edges;
    println!("{all} bytes, of which the unit {}", size_of::<Option<Unit>>());
    assert!(all <= 500, "{all}");
}
