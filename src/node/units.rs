//! The set of units: what becomes of each when another set takes its place.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Effect, Node,
    graph::{Graph, Place},
    service::{State, Unit},
    wish::Ending,
};
use crate::{
    base::{Generation, Now, StartCause, UnitName},
    unit::UnitDef,
};

/// What a definition was to us.
enum Taken {
    /// The unit is new, or back after it had been gone.
    New,
    Changed,
    Same,
}

impl Node {
    /// Takes a new set. What is gone is stopped and then forgotten; what changed holds from the next start; what is new
    /// and enabled is started, once the machine has booted.
    pub(super) fn take_units(&mut self, now: Now, defs: BTreeMap<UnitName, Arc<UnitDef>>, cause: StartCause) {
        let is_gone = |(name, at): &(&UnitName, &Place)| !defs.contains_key(*name) && !self.stays(**at, &defs);
        let gone: Vec<_> = self.names.iter().filter(is_gone).map(|(_, at)| *at).collect();
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (name, def) in defs {
            match self.take_unit(now, &name, def) {
                Taken::New => new.extend(self.names.get(&name).copied()),
                Taken::Changed => changed.extend(self.names.get(&name).copied()),
                Taken::Same => {}
            }
        }
        self.rebuild_graph();
        for place in changed {
            self.listen_anew(now, place, cause.clone());
            self.probe_anew(now, place);
        }
        for place in gone {
            if let Some(unit) = self.unit_mut(place) {
                unit.gone = true;
                unit.waits_back = false;
            }
            self.enqueue_stop(place, &Ending::Removed, None);
            self.ended.push(place);
        }
        if self.booted && self.shutdown.is_none() {
            let places: Vec<_> = self.names.values().copied().collect();
            for place in places {
                self.settle_timer(now, place);
                self.settle_watch(now, place);
            }
            let enabled = |place: &Place| self.unit(*place).is_some_and(Unit::starts_with_daemon);
            let roots: Vec<_> = new.into_iter().filter(enabled).collect();
            self.begin_enabled(now, &roots, cause);
        }
    }

    fn take_unit(&mut self, now: Now, name: &UnitName, def: Arc<UnitDef>) -> Taken {
        let Some(unit) = self.names.get(name).copied().and_then(|place| self.unit_mut(place)) else {
            let generation = self.former.remove(name).unwrap_or_default();
            self.add_unit(Unit { generation, ..Unit::new(name.clone(), def, now) });
            return Taken::New;
        };
        let is_back = std::mem::take(&mut unit.gone);
        let has_changed = unit.def != def;
        if has_changed {
            unit.def = def;
        }
        match (is_back, has_changed) {
            (true, _) => Taken::New,
            (false, true) => Taken::Changed,
            (false, false) => Taken::Same,
        }
    }

    pub(super) fn add_unit(&mut self, unit: Unit) -> Place {
        let name = unit.name.clone();
        let place = match self.free.pop() {
            Some(place) => {
                self.units[place.index()] = Some(unit);
                place
            }
            None => {
                // Units are named in files; there are never 2^32 of them.
                let place = Place(u32::try_from(self.units.len()).unwrap_or(u32::MAX));
                self.units.push(Some(unit));
                place
            }
        };
        self.names.insert(name, place);
        place
    }

    pub(super) fn rebuild_graph(&mut self) {
        let units = self.names.values().filter_map(|place| Some((*place, &*self.unit(*place)?.def)));
        self.graph = Arc::new(Graph::new(self.units.len(), units, &self.names));
        self.graph_stale = false;
    }

    /// Forgets units that are gone and down.
    pub(super) fn sweep(&mut self) {
        for place in std::mem::take(&mut self.ended) {
            let Some(unit) = self.unit(place) else { continue };
            let is_down = matches!(unit.state, State::Inactive | State::Failed) && unit.job.is_none();
            if unit.gone && is_down {
                let (name, is_connection) = (unit.name.clone(), unit.is_connection());
                let generation = unit.generation;
                // Of an instance that is alone nothing stands in it.
                self.graph_stale |= !is_connection || !unit.def.relations.is_empty();
                if is_connection {
                    // Its end is told with the next words about it, so it must outlive this manager.
                    self.touch(place);
                    self.remember(place);
                } else if generation > Generation::default() {
                    self.former.insert(name.clone(), generation);
                }
                self.timers.clear_all(place);
                self.forget_connections(place);
                self.names.remove(&name);
                self.elapsed.remove(&name);
                self.units[place.index()] = None;
                self.free.push(place);
                self.orders.push_back(Effect::Forget { unit: name });
            }
        }
    }
}
