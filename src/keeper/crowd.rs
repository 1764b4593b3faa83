//! When orders wait because many children are in their set-up. Pure: moments come in.
//!
//! A child needs 0.2 ms of CPU until its program runs, and nobody tells when that is. Starting more than the machine can
//! set up helps no one, and the places for them are few: an order that finds none is a failed start.
use std::time::Duration;

use crate::base::Mono;

/// Children in their set-up at one time, while they get on.
const CROWD: usize = 64;
/// How soon it is looked whether some are through.
const PAUSE: Duration = Duration::from_millis(1);
/// Children of which none gets through for so long hang (a dead NFS, a FIFO), and orders do not wait for them.
const STUCK: Duration = Duration::from_millis(50);

/// Whether orders wait, and for how long.
#[derive(Debug, Default)]
pub(super) struct Crowd(Option<Waiting>);

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// How many were in their set-up at the last progress, and when that was.
    children: usize,
    since: Mono,
    /// When it is looked again.
    until: Mono,
}

impl Crowd {
    /// Whether orders wait, with so many children in their set-up.
    pub(super) fn waits(&mut self, now: Mono, children: usize) -> bool {
        if children < CROWD {
            self.0 = None;
            return false;
        }
        let (before, since) = self.0.map_or((children, now), |waiting| (waiting.children, waiting.since));
        let since = if children < before { now } else { since };
        self.0 = Some(Waiting { children, since, until: now.later(PAUSE) });
        now < since.later(STUCK)
    }

    /// When it is to be looked again; `None` when no order waits.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.0.filter(|waiting| waiting.until < waiting.since.later(STUCK)).map(|waiting| waiting.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono(millis * 1_000_000)
    }

    #[test]
    fn orders_wait_while_many_children_get_on() {
        let mut crowd = Crowd::default();
        assert!(!crowd.waits(at(0), CROWD - 1) && crowd.deadline().is_none());
        for millis in 0..200 {
            let children = CROWD + 200 - usize::try_from(millis).unwrap();
            assert!(crowd.waits(at(millis), children), "{millis}");
            assert_eq!(crowd.deadline(), Some(at(millis + 1)));
        }
        assert!(!crowd.waits(at(200), CROWD - 1) && crowd.deadline().is_none());
    }

    #[test]
    fn children_that_hang_hold_nothing_up() {
        let mut crowd = Crowd::default();
        assert!(crowd.waits(at(0), CROWD));
        assert!(crowd.waits(at(49), CROWD));
        assert!(!crowd.waits(at(50), CROWD));
        assert!(!crowd.waits(at(51), CROWD + 1), "one more hangs");
        assert_eq!(crowd.deadline(), None, "nobody waits");
    }
}
