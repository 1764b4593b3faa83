//! Who starts before whom, and who comes along: the relations of a set as a graph.
//!
//! Nothing here recurses, so that a chain of ten thousand units needs no stack. Equal inputs give equal outputs: where
//! the order is free, names decide.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use super::spec::{Relations, UnitDef};
use crate::base::UnitName;

/// Units by name, as in a set.
pub type Units<U = UnitDef> = BTreeMap<UnitName, U>;

/// The order in which `wanted` are started: after what `after` and `before` demand among them, else by name. Names that
/// no unit has are left out. A stop goes the other way round.
///
/// Relations over units that are not wanted do not order, as in systemd.
pub fn start_order<'n, U: Borrow<UnitDef>>(
    units: &Units<U>,
    wanted: impl IntoIterator<Item = &'n UnitName>,
) -> Vec<UnitName> {
    let wanted: BTreeSet<&UnitName> = wanted.into_iter().collect();
    let names: Vec<&UnitName> = wanted.into_iter().filter(|name| units.contains_key(*name)).collect();
    let relations: Vec<&Relations> =
        names.iter().filter_map(|name| units.get(*name)).map(|u| &*u.borrow().relations).collect();
    let graph = Graph::ordering(&names, &relations);
    let mut waits: Vec<usize> = graph.after.iter().map(Vec::len).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for (unit, befores) in graph.after.iter().enumerate() {
        for before in befores {
            followers[*before].push(unit);
        }
    }
    let mut ready: BTreeSet<usize> = (0..names.len()).filter(|at| waits[*at] == 0).collect();
    let mut order = Vec::with_capacity(names.len());
    while let Some(at) = ready.pop_first() {
        order.push(names[at].clone());
        for follower in &followers[at] {
            waits[*follower] -= 1;
            if waits[*follower] == 0 {
                ready.insert(*follower);
            }
        }
    }
    // A checked set has no cycle. Of an unchecked one the rest still comes, by name.
    order.extend(waits.iter().enumerate().filter(|(_, waits)| **waits > 0).map(|(at, _)| names[at].clone()));
    order
}

/// `roots` and all that comes up with them: what they require, want and bind to, and so on.
pub fn pulled_in<'n, U: Borrow<UnitDef>>(
    units: &Units<U>,
    roots: impl IntoIterator<Item = &'n UnitName>,
) -> BTreeSet<UnitName> {
    closure(units, roots, |unit| {
        let relations = &unit.relations;
        relations.requires.iter().chain(&relations.binds_to).chain(&relations.wants).collect()
    })
}

/// `roots` and all that goes down with them when they are stopped: who requires them, binds to them or is part of them,
/// and so on.
pub fn pulled_down<'n, U: Borrow<UnitDef>>(
    units: &Units<U>,
    roots: impl IntoIterator<Item = &'n UnitName>,
) -> BTreeSet<UnitName> {
    let mut needed_by: BTreeMap<&UnitName, Vec<&UnitName>> = BTreeMap::new();
    for (name, unit) in units {
        let relations = &unit.borrow().relations;
        for other in relations.requires.iter().chain(&relations.binds_to).chain(&relations.part_of) {
            needed_by.entry(other).or_default().push(name);
        }
    }
    closure(units, roots, |unit| needed_by.get(&unit.name).cloned().unwrap_or_default())
}

fn closure<'n, 'u, U: Borrow<UnitDef>>(
    units: &'u Units<U>,
    roots: impl IntoIterator<Item = &'n UnitName>,
    next: impl Fn(&'u UnitDef) -> Vec<&'u UnitName>,
) -> BTreeSet<UnitName> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&UnitDef> = roots.into_iter().filter_map(|name| units.get(name)).map(U::borrow).collect();
    while let Some(unit) = open.pop() {
        if found.insert(unit.name.clone()) {
            open.extend(next(unit).into_iter().filter_map(|name| units.get(name)).map(U::borrow));
        }
    }
    found
}

/// One cycle for each knot of units that wait for each other, each as `a, b, …` where a is after b and the last is
/// after a; the smallest name comes first.
pub fn cycles(units: &Units) -> Vec<Vec<UnitName>> {
    cycles_of(units.iter().map(|(name, unit)| (name, &*unit.relations)))
}

/// [`cycles`] of units that are no set yet; they come sorted by name.
pub(super) fn cycles_of<'u>(units: impl Iterator<Item = (&'u UnitName, &'u Relations)>) -> Vec<Vec<UnitName>> {
    let (names, relations): (Vec<&UnitName>, Vec<&Relations>) = units.unzip();
    let graph = Graph::ordering(&names, &relations);
    let mut found: Vec<Vec<usize>> = graph.knots().iter().filter_map(|knot| graph.shortest_cycle(knot)).collect();
    found.sort();
    found.into_iter().map(|cycle| cycle.into_iter().map(|at| names[at].clone()).collect()).collect()
}

/// For each unit, by index, the units whose start it waits for.
struct Graph {
    after: Vec<Vec<usize>>,
}

impl Graph {
    /// `names` are sorted; each has its relations at the same index.
    fn ordering(names: &[&UnitName], relations: &[&Relations]) -> Self {
        let index = |name: &UnitName| names.binary_search(&name).ok();
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
        for (at, relations) in relations.iter().enumerate() {
            after[at].extend(relations.after.iter().filter_map(index));
            for follower in relations.before.iter().filter_map(index) {
                after[follower].push(at);
            }
        }
        for list in &mut after {
            list.sort_unstable();
            list.dedup();
        }
        Self { after }
    }

    /// The strongly connected components of more than one unit (Tarjan), each sorted. A unit that waits for itself is
    /// refused elsewhere.
    fn knots(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let count = self.after.len();
        let (mut number, mut low) = (vec![UNSEEN; count], vec![0; count]);
        let mut on_stack = vec![false; count];
        let (mut stack, mut knots, mut seen) = (Vec::new(), Vec::new(), 0);
        for root in 0..count {
            if number[root] != UNSEEN {
                continue;
            }
            // What a recursive call would keep: the unit and which of its edges comes next.
            let mut calls = vec![(root, 0)];
            while let Some((at, edge)) = calls.pop() {
                if edge == 0 {
                    (number[at], low[at]) = (seen, seen);
                    seen += 1;
                    stack.push(at);
                    on_stack[at] = true;
                }
                if let Some(&next) = self.after[at].get(edge) {
                    calls.push((at, edge + 1));
                    if number[next] == UNSEEN {
                        calls.push((next, 0));
                    } else if on_stack[next] {
                        low[at] = low[at].min(number[next]);
                    }
                    continue;
                }
                if let Some((parent, _)) = calls.last() {
                    low[*parent] = low[*parent].min(low[at]);
                }
                if low[at] == number[at] {
                    let begin = stack.iter().rposition(|member| *member == at).unwrap_or(stack.len());
                    let mut knot = stack.split_off(begin);
                    knot.iter().for_each(|member| on_stack[*member] = false);
                    knot.sort_unstable();
                    if knot.len() > 1 {
                        knots.push(knot);
                    }
                }
            }
        }
        knots
    }

    /// The shortest way from the first unit of a knot back to it, by a search in breadth.
    fn shortest_cycle(&self, knot: &[usize]) -> Option<Vec<usize>> {
        let first = *knot.first()?;
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut open = std::collections::VecDeque::from([first]);
        while let Some(at) = open.pop_front() {
            for &next in self.after[at].iter().filter(|next| knot.binary_search(next).is_ok()) {
                if next == first {
                    let mut cycle = vec![at];
                    while let Some(before) = cycle.last().and_then(|last| came_from.get(last)) {
                        cycle.push(*before);
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                if next != first && !came_from.contains_key(&next) {
                    came_from.insert(next, at);
                    open.push_back(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(n: usize) -> UnitName {
        UnitName::new(&format!("u{n:05}")).unwrap()
    }

    /// Units of which each (a, b) says that a is after b; every third pair is written as `before` of b.
    fn ordered(count: usize, pairs: &[(usize, usize)]) -> Units {
        let mut lists: Vec<(Vec<UnitName>, Vec<UnitName>)> = vec![Default::default(); count];
        for (nth, (a, b)) in pairs.iter().enumerate() {
            if nth % 3 == 2 { lists[*b].1.push(name(*a)) } else { lists[*a].0.push(name(*b)) }
        }
        let unit = |(n, (after, before)): (usize, (Vec<UnitName>, Vec<UnitName>))| {
            let mut unit = UnitDef::new(name(n));
            unit.relations.after = after.into();
            unit.relations.before = before.into();
            (name(n), unit)
        };
        lists.into_iter().enumerate().map(unit).collect()
    }

    fn indices(names: &[UnitName]) -> Vec<usize> {
        names.iter().map(|name| name.as_str()[1..].parse().unwrap()).collect()
    }

    #[test]
    fn names_decide_where_the_order_is_free() {
        let units = ordered(4, &[(0, 3)]);
        assert_eq!(indices(&start_order(&units, units.keys())), [1, 2, 3, 0]);
        let some = [name(2), name(0), name(9)];
        assert_eq!(indices(&start_order(&units, &some)), [0, 2]);
    }

    #[test]
    fn units_that_are_not_wanted_do_not_order() {
        let units = ordered(3, &[(0, 1), (1, 2)]);
        assert_eq!(indices(&start_order(&units, &[name(0), name(2)])), [0, 2]);
    }

    #[test]
    fn a_cycle_is_shown_at_its_shortest_from_its_smallest_name() {
        let units = ordered(6, &[(0, 1), (1, 2), (2, 0), (2, 5), (5, 1), (3, 4), (4, 3)]);
        let found: Vec<_> = cycles(&units).iter().map(|cycle| indices(cycle)).collect();
        assert_eq!(found, [vec![0, 1, 2], vec![3, 4]]);
    }

    #[test]
    fn what_comes_along_goes_over_missing_units_and_cycles() {
        let mut units = ordered(4, &[]);
        let mut link = |from: usize, list: fn(&mut UnitDef) -> &mut Box<[UnitName]>, to: usize| {
            *list(units.get_mut(&name(from)).unwrap()) = [name(to)].into();
        };
        link(0, |u| &mut u.relations.requires, 1);
        link(1, |u| &mut u.relations.wants, 2);
        link(2, |u| &mut u.relations.binds_to, 0);
        link(3, |u| &mut u.relations.part_of, 0);
        link(2, |u| &mut u.relations.requires, 7);
        let up: Vec<_> = pulled_in(&units, &[name(0)]).into_iter().collect();
        assert_eq!(indices(&up), [0, 1, 2]);
        let down: Vec<_> = pulled_down(&units, &[name(1)]).into_iter().collect();
        assert_eq!(indices(&down), [0, 1, 2, 3]);
    }

    #[test]
    fn ten_thousand_units_in_one_ring_need_no_deep_stack() {
        const COUNT: usize = 10_000;
        let mut pairs: Vec<_> = (1..COUNT).map(|n| (n, n - 1)).collect();
        let chain = ordered(COUNT, &pairs);
        assert_eq!(cycles(&chain), Vec::<Vec<UnitName>>::new());
        assert_eq!(indices(&start_order(&chain, chain.keys())), (0..COUNT).collect::<Vec<_>>());
        pairs.push((0, COUNT - 1));
        assert_eq!(cycles(&ordered(COUNT, &pairs)).concat().len(), COUNT);
    }

    proptest! {
        #[test]
        fn an_order_is_found_exactly_when_there_is_no_cycle(
            count in 1_usize..40,
            raw in proptest::collection::vec((0_usize..40, 0_usize..40), 0..60),
        ) {
            let pairs: Vec<_> =
                raw.into_iter().map(|(a, b)| (a % count, b % count)).filter(|(a, b)| a != b).collect();
            let units = ordered(count, &pairs);
            let order = indices(&start_order(&units, units.keys()));
            let place = |unit: usize| order.iter().position(|other| *other == unit).unwrap();
            let sound = pairs.iter().all(|(a, b)| place(*b) < place(*a));
            let found = cycles(&units);
            prop_assert_eq!(sound, found.is_empty());
            prop_assert_eq!(order.len(), count);
            for cycle in found {
                let cycle = indices(&cycle);
                for (nth, unit) in cycle.iter().enumerate() {
                    let next = cycle[(nth + 1) % cycle.len()];
                    prop_assert!(pairs.contains(&(*unit, next)), "{:?} has no edge {} -> {}", cycle, unit, next);
                }
            }
        }
    }
}
