//! How much memory a unit takes in the machine.

use crate::base::Mono;

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
