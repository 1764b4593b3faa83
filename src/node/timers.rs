//! The timer table: one slot for each unit and kind. Setting overwrites, leaving a state clears; nothing sleeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::graph::Place;
use crate::base::Mono;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// The deadline of the run's phase.
    Phase,
    /// The next automatic restart.
    HoldOff,
    /// The service must have reported by then.
    Watchdog,
    /// The next look for a PID file.
    Look,
    /// How long a start waits until no other unit is being started.
    Idle,
    /// The longest that a run may be up.
    RuntimeMax,
    /// Up and well for long enough: the row of restarts ends.
    RowEnds,
    /// Up for long enough to believe it.
    Settled,
    /// The unit's timer elapses, by the monotonic clock.
    Elapse,
    /// The unit's timer may elapse, by the calendar: the clock on the wall decides.
    Calendar,
    /// The next look at an external service.
    Watch,
    /// The next start of a probe.
    Probe(u16),
}

/// Every timer of the machine.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Mono, Place, Slot)>,
    by_slot: BTreeMap<(Place, Slot), Mono>,
}

impl Timers {
    /// Sets the slot, or clears it for "never".
    pub(super) fn set(&mut self, place: Place, slot: Slot, at: Option<Mono>) {
        let Some(at) = at else { return self.clear(place, slot) };
        if let Some(old) = self.by_slot.insert((place, slot), at) {
            self.by_time.remove(&(old, place, slot));
        }
        self.by_time.insert((at, place, slot));
    }

    pub(super) fn clear(&mut self, place: Place, slot: Slot) {
        if let Some(old) = self.by_slot.remove(&(place, slot)) {
            self.by_time.remove(&(old, place, slot));
        }
    }

    /// Clears every slot of the unit.
    pub(super) fn clear_all(&mut self, place: Place) {
        let slots: Vec<_> = self.of(place).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.clear(place, slot);
        }
    }

    /// Clears every slot that belongs to a run.
    pub(super) fn clear_run(&mut self, place: Place) {
        let of_run = |slot: &Slot| !matches!(slot, Slot::Elapse | Slot::Calendar | Slot::Watch);
        let slots: Vec<_> = self.of(place).map(|(slot, _)| slot).filter(of_run).collect();
        for slot in slots {
            self.clear(place, slot);
        }
    }

    /// The set slots of the unit.
    pub(super) fn of(&self, place: Place) -> impl Iterator<Item = (Slot, Mono)> {
        let range = (place, Slot::Phase)..=(place, Slot::Probe(u16::MAX));
        self.by_slot.range(range).map(|((_, slot), at)| (*slot, *at))
    }

    pub(super) fn get(&self, place: Place, slot: Slot) -> Option<Mono> {
        self.by_slot.get(&(place, slot)).copied()
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.by_time.first().map(|(at, _, _)| *at)
    }

    /// What is due at `now`, earliest first; all of it stays set.
    pub(super) fn due(&self, now: Mono) -> Vec<(Mono, Place, Slot)> {
        self.by_time.iter().take_while(|(at, _, _)| *at <= now).copied().collect()
    }

    /// Puts off by `late` what services are waited for.
    pub(super) fn put_off(&mut self, late: Duration) {
        let waited: Vec<_> = self.by_slot.iter().map(|((place, slot), at)| (*place, *slot, *at)).collect();
        for (place, slot, at) in waited {
            if matches!(slot, Slot::Phase | Slot::Watchdog) {
                self.set(place, slot, Some(at.later(late)));
            }
        }
    }

    pub(super) fn is_set(&self, timer: (Mono, Place, Slot)) -> bool {
        self.by_time.contains(&timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_one_deadline() {
        let mut timers = Timers::default();
        let place = Place(3);
        timers.set(place, Slot::Phase, Some(Mono(5)));
        timers.set(place, Slot::Phase, Some(Mono(9)));
        timers.set(place, Slot::Probe(1), Some(Mono(7)));
        timers.set(Place(4), Slot::Phase, Some(Mono(8)));
        assert_eq!(timers.next(), Some(Mono(7)));
        assert_eq!(timers.due(Mono(8)).len(), 2);
        timers.clear_all(place);
        assert_eq!(timers.next(), Some(Mono(8)));
        timers.set(Place(4), Slot::Phase, None);
        assert_eq!(timers.next(), None);
    }
}
