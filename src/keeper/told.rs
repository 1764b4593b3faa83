//! When the ends of processes that were told to end are taken. Pure: moments come in.
//!
//! To take an end, to tell of it and to decide what follows costs CPU that those which are still ending need. Of a crowd that is
//! told to end nobody waits for the first.
use std::time::Duration;

use crate::base::{Mono, ProcessKey};

/// Fewer than these are no crowd: their ends are taken as they come.
const CROWD: usize = 64;
/// A crowd is left alone so long for each of it.
const EACH: Duration = Duration::from_micros(40);
/// No end waits longer than this.
const LATEST: Duration = Duration::from_millis(50);

/// Processes that are being signalled by order.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How many were within [`LATEST`] of each other.
    count: usize,
    last: Mono,
    /// Since when they are a crowd.
    since: Option<Mono>,
    /// Those of it that are to go on if they were stopped.
    to_continue: Vec<ProcessKey>,
}

impl Told {
    /// One more is signalled; whether it is one of a crowd.
    pub(super) fn one(&mut self, now: Mono) -> bool {
        if self.since.is_none() && now >= self.last.later(LATEST) {
            self.count = 0;
        }
        self.count += 1;
        self.last = now;
        if self.count >= CROWD {
            self.since.get_or_insert(now);
        }
        self.since.is_some()
    }

    /// This one is to go on, if it was stopped, once the crowd has its turn behind it.
    pub(super) fn continue_later(&mut self, key: ProcessKey) {
        self.to_continue.push(key);
    }

    /// Until when nothing is taken.
    pub(super) fn until(&self) -> Option<Mono> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.since.map(|since| since.later(EACH.saturating_mul(count).min(LATEST)))
    }

    /// That is over: those that are to go on.
    pub(super) fn over(&mut self) -> Vec<ProcessKey> {
        std::mem::take(self).to_continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Mono {
        Mono(micros * 1000)
    }

    fn told(count: usize, now: Mono) -> Told {
        let mut told = Told::default();
        (0..count).for_each(|_| {
            told.one(now);
        });
        told
    }

    #[test]
    fn the_ends_of_a_few_are_taken_as_they_come() {
        assert_eq!(told(CROWD - 1, at(100_000)).until(), None);
    }

    #[test]
    fn the_ends_of_a_crowd_wait_longer_the_greater_it_is_and_never_too_long() {
        for (count, micros) in [(CROWD, 2_560), (1_000, 40_000), (5_000, 50_000)] {
            let mut told = told(count, at(100_000));
            assert_eq!(told.until(), Some(at(100_000 + micros)), "{count}");
            told.over();
            assert_eq!(told.until(), None);
            assert!(!told.one(at(100_000 + micros)), "who is signalled then is no crowd");
        }
    }

    #[test]
    fn who_was_signalled_long_ago_is_no_crowd() {
        let mut told = told(CROWD - 1, at(100_000));
        assert!(!told.one(at(150_000)));
        assert_eq!(told.until(), None);
    }
}
