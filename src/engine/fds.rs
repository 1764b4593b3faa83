//! How many descriptors each service keeps with us (FDSTORE=1); the descriptors themselves are with the keeper.

use std::collections::BTreeMap;

use crate::base::UnitName;

/// Counts by unit and name.
#[derive(Debug, Default)]
pub(super) struct FdStore(BTreeMap<UnitName, BTreeMap<String, u32>>);

impl FdStore {
    /// Counts one more, unless the unit already keeps `max`; whether there was room.
    pub(super) fn add(&mut self, unit: &UnitName, name: &str, max: u32) -> bool {
        let names = self.0.entry(unit.clone()).or_default();
        let room = names.values().sum::<u32>() < max;
        if room {
            *names.entry(name.to_owned()).or_default() += 1;
        }
        room
    }

    /// Counts one that the unit kept before we came.
    pub(super) fn adopt(&mut self, unit: &UnitName, name: &str) {
        *self.0.entry(unit.clone()).or_default().entry(name.to_owned()).or_default() += 1;
    }

    /// Forgets all of a unit.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.0.remove(unit);
    }

    /// Forgets all of one name.
    pub(super) fn remove(&mut self, unit: &UnitName, name: &str) {
        if let Some(names) = self.0.get_mut(unit) {
            names.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_keeps_no_more_than_it_may() {
        let web = UnitName::new("web").expect("a name");
        let mut store = FdStore::default();
        assert!(store.add(&web, "a", 2) && store.add(&web, "a", 2));
        assert!(!store.add(&web, "b", 2));
        store.remove(&web, "a");
        assert!(store.add(&web, "b", 2));
        assert!(!store.add(&UnitName::new("other").expect("a name"), "a", 0));
        store.forget(&web);
        store.adopt(&web, "a");
        assert!(store.add(&web, "b", 2) && !store.add(&web, "b", 2), "what is kept already counts");
    }
}
