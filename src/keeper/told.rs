//! When the ends of processes that were told to end are taken. Pure: moments come in.
//!
//! To take an end, to tell of it and to decide what follows costs CPU that those which are still ending need. Of a crowd that was
//! told to end nobody waits for the first.
use std::time::Duration;

use crate::base::Mono;

/// Fewer than these are no crowd: their ends are taken as they come.
const CROWD: usize = 64;
/// A crowd is left alone so long for each of it, once the first has ended.
const EACH: Duration = Duration::from_micros(40);
/// No end waits longer than this.
const LATEST: Duration = Duration::from_millis(50);

/// Processes that were signalled by order of late.
#[derive(Debug, Default)]
pub(super) struct Told {
    count: usize,
    /// When the last of them was.
    last: Mono,
    /// Since when an end waits to be taken.
    waiting: Option<Mono>,
}

impl Told {
    /// One more was signalled.
    pub(super) fn one(&mut self, now: Mono) {
        self.forget_old(now);
        self.count += 1;
        self.last = now;
    }

    /// Whether ends that are there now are taken later.
    pub(super) fn waits(&mut self, now: Mono) -> bool {
        self.forget_old(now);
        if self.count >= CROWD {
            let since = *self.waiting.get_or_insert(now);
            if now < self.end(since) {
                return true;
            }
        }
        *self = Self::default();
        false
    }

    /// When what waits is taken.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.waiting.map(|since| self.end(since))
    }

    fn end(&self, since: Mono) -> Mono {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        since.later(EACH.saturating_mul(count).min(LATEST))
    }

    /// Whoever was signalled so long ago and has not ended does not end because of that.
    fn forget_old(&mut self, now: Mono) {
        if self.waiting.is_none() && now >= self.last.later(LATEST) {
            self.count = 0;
        }
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
        (0..count).for_each(|_| told.one(now));
        told
    }

    #[test]
    fn the_ends_of_a_few_are_taken_as_they_come() {
        assert!(!told(CROWD - 1, at(100_000)).waits(at(100_001)));
    }

    #[test]
    fn the_ends_of_a_crowd_wait_longer_the_greater_it_is_and_never_too_long() {
        for (count, micros) in [(CROWD, 2_560), (1_000, 40_000), (5_000, 50_000)] {
            let mut told = told(count, at(100_000));
            assert!(told.waits(at(101_000)));
            assert_eq!(told.deadline(), Some(at(101_000 + micros)));
            assert!(told.waits(at(101_000 + micros - 1)));
            assert!(!told.waits(at(101_000 + micros)), "{count}");
            assert_eq!(told.deadline(), None);
            assert!(!told.waits(at(101_000 + micros)), "those that come after are taken at once");
        }
    }

    #[test]
    fn who_was_signalled_long_ago_is_no_crowd() {
        let mut told = told(CROWD - 1, at(100_000));
        told.one(at(150_000));
        assert!(!told.waits(at(150_001)));
    }
}
