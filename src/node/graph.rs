//! The relations of all units as edges between their places, made anew for each set of units.

use std::collections::BTreeMap;

use crate::{
    base::UnitName,
    unit::{UnitDef, spec::Relations},
};

/// A unit's place in the machine's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(pub(super) u32);

impl Place {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One relation: for each place, the places that it leads to.
#[derive(Debug, Default)]
pub(super) struct Edges {
    starts: Vec<u32>,
    targets: Vec<Place>,
}

impl Edges {
    pub(super) fn of(&self, place: Place) -> &[Place] {
        let bound = |index: usize| self.starts.get(index).map(|start| *start as usize);
        match (bound(place.index()), bound(place.index() + 1)) {
            (Some(start), Some(end)) => &self.targets[start..end],
            (Some(_) | None, None) | (None, Some(_)) => &[],
        }
    }

    fn new(places: usize, mut pairs: Vec<(Place, Place)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = Vec::with_capacity(places + 1);
        let mut targets = Vec::with_capacity(pairs.len());
        let mut rest = pairs.iter().peekable();
        for index in 0..places {
            starts.push(count(targets.len()));
            while let Some((_, to)) = rest.next_if(|(from, _)| from.index() == index) {
                targets.push(*to);
            }
        }
        starts.push(count(targets.len()));
        Self { starts, targets }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "edges are read from files; 2^32 of them would not fit in memory")]
const fn count(edges: usize) -> u32 {
    edges as u32
}

/// All relations, in the directions in which they are walked.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Whom a start pulls in: requires, binds_to, wants.
    pub(super) pulls: Edges,
    /// Whose start fails when ours does: units that require us or are bound to us.
    pub(super) required_by: Edges,
    /// Whose stop follows from ours: units that require us, are bound to us or part of us.
    pub(super) stops_with: Edges,
    /// Who does not outlive us.
    pub(super) bound_by: Edges,
    /// Whom our start waits for; without cycles.
    pub(super) after: Edges,
    /// Who waits for our start; the other direction of `after`.
    pub(super) before: Edges,
    /// Whom our start waits for to be well, where they are up.
    pub(super) healthy: Edges,
    /// Who waits for us to be well.
    pub(super) gated: Edges,
    /// Who cannot be up together with us, both ways.
    pub(super) conflicts: Edges,
    /// Whose timers start us.
    pub(super) timed_by: Edges,
}

impl Graph {
    /// Whether the unit's stop waits for another's, or another's for it.
    pub(super) fn orders(&self, place: Place) -> bool {
        [&self.before, &self.after].iter().any(|edges| !edges.of(place).is_empty())
    }

    /// Names without a unit are left out; what requires them is refused at its start.
    pub(super) fn new<'a>(
        places: usize,
        units: impl Iterator<Item = (Place, &'a UnitDef)>,
        names: &BTreeMap<UnitName, Place>,
    ) -> Self {
        let mut pairs = Pairs::default();
        for (place, def) in units {
            pairs.add(place, &def.relations, names);
            let target = def.timer_target().and_then(|target| names.get(target));
            pairs.timed_by.extend(target.map(|target| (*target, place)));
        }
        let after = acyclic(&Edges::new(places, pairs.after), places);
        let before = after.iter().map(|(from, to)| (*to, *from)).collect();
        let gated = pairs.healthy.iter().map(|(from, to)| (*to, *from)).collect();
        Self {
            pulls: Edges::new(places, pairs.pulls),
            required_by: Edges::new(places, pairs.required_by),
            stops_with: Edges::new(places, pairs.stops_with),
            bound_by: Edges::new(places, pairs.bound_by),
            after: Edges::new(places, after),
            before: Edges::new(places, before),
            healthy: Edges::new(places, pairs.healthy),
            gated: Edges::new(places, gated),
            conflicts: Edges::new(places, pairs.conflicts),
            timed_by: Edges::new(places, pairs.timed_by),
        }
    }
}

#[derive(Default)]
struct Pairs {
    pulls: Vec<(Place, Place)>,
    required_by: Vec<(Place, Place)>,
    stops_with: Vec<(Place, Place)>,
    bound_by: Vec<(Place, Place)>,
    after: Vec<(Place, Place)>,
    healthy: Vec<(Place, Place)>,
    conflicts: Vec<(Place, Place)>,
    timed_by: Vec<(Place, Place)>,
}

impl Pairs {
    fn add(&mut self, place: Place, relations: &Relations, names: &BTreeMap<UnitName, Place>) {
        let known = |list: &[UnitName]| -> Vec<Place> {
            list.iter().filter_map(|name| names.get(name).copied()).filter(|other| *other != place).collect()
        };
        for other in known(&relations.requires) {
            self.pulls.push((place, other));
            self.required_by.push((other, place));
            self.stops_with.push((other, place));
        }
        for other in known(&relations.binds_to) {
            self.pulls.push((place, other));
            self.required_by.push((other, place));
            self.stops_with.push((other, place));
            self.bound_by.push((other, place));
        }
        self.pulls.extend(known(&relations.wants).into_iter().map(|other| (place, other)));
        self.stops_with.extend(known(&relations.part_of).into_iter().map(|other| (other, place)));
        self.after.extend(known(&relations.after).into_iter().map(|other| (place, other)));
        self.healthy.extend(known(&relations.after_healthy).into_iter().map(|other| (place, other)));
        self.after.extend(known(&relations.before).into_iter().map(|other| (other, place)));
        for other in known(&relations.conflicts) {
            self.conflicts.extend([(place, other), (other, place)]);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Walk {
    New,
    Open,
    Done,
}

/// The edges without those that close a cycle: units in a circle would wait for each other for ever. Files with such a
/// circle are refused before they come here; this is the second lock on the door.
fn acyclic(edges: &Edges, places: usize) -> Vec<(Place, Place)> {
    let mut walks = vec![Walk::New; places];
    let mut kept = Vec::new();
    let mut path: Vec<(Place, usize)> = Vec::new();
    for root in (0..places).map(|index| Place(count(index))) {
        if walks[root.index()] != Walk::New {
            continue;
        }
        walks[root.index()] = Walk::Open;
        path.push((root, 0));
        while let Some((place, next)) = path.last_mut() {
            let Some(target) = edges.of(*place).get(*next).copied() else {
                walks[place.index()] = Walk::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match walks[target.index()] {
                Walk::Open => {}
                Walk::Done => kept.push((*place, target)),
                Walk::New => {
                    kept.push((*place, target));
                    walks[target.index()] = Walk::Open;
                    path.push((target, 0));
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(places: usize, pairs: &[(u32, u32)]) -> Edges {
        Edges::new(places, pairs.iter().map(|(from, to)| (Place(*from), Place(*to))).collect())
    }

    #[test]
    fn a_circle_loses_one_edge_and_a_line_none() {
        assert_eq!(acyclic(&edges(3, &[(0, 1), (1, 2), (2, 0)]), 3).len(), 2);
        assert_eq!(acyclic(&edges(4, &[(0, 1), (1, 2), (2, 3), (0, 3)]), 4).len(), 4);
    }

    #[test]
    fn edges_are_found_by_their_place() {
        let edges = edges(3, &[(2, 0), (0, 2), (0, 1), (0, 1)]);
        assert_eq!(edges.of(Place(0)), [Place(1), Place(2)]);
        assert_eq!(edges.of(Place(1)), []);
        assert_eq!(edges.of(Place(2)), [Place(0)]);
        assert_eq!(edges.of(Place(9)), []);
    }

    #[test]
    fn a_long_line_does_not_exhaust_the_stack() {
        let pairs: Vec<_> = (0..100_000).map(|n| (n, n + 1)).collect();
        assert_eq!(acyclic(&edges(100_001, &pairs), 100_001).len(), 100_000);
    }
}
