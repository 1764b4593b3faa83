//! Restarts by probes, of all units together: in no span of the interval's length are there more than the burst.
//!
//! A dependency that breaks makes the probes of everyone fail, and a restart of everyone helps nobody. Each unit remembers its
//! own restarts in its memo, so that a manager that dies gives nobody new ones.

use std::collections::VecDeque;

use super::{graph::Place, input::RestartBudget};
use crate::base::{Mono, TimeSpan};

/// What is left of the budget, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    rule: RestartBudget,
    /// When restarts were, oldest first.
    spent: VecDeque<Mono>,
    /// Units whose restart is held back, the longest first.
    waiting: VecDeque<Place>,
}

impl Budget {
    /// Another rule holds from now on.
    pub(super) fn rule(&mut self, rule: RestartBudget) {
        self.rule = rule;
    }

    /// How long a restart counts.
    pub(super) const fn interval(&self) -> TimeSpan {
        self.rule.interval
    }

    /// Restarts that a manager before this one ordered.
    pub(super) fn know(&mut self, spent: impl IntoIterator<Item = Mono>) {
        self.spent.extend(spent);
        self.spent.make_contiguous().sort_unstable();
    }

    /// Whether a restart may be now; then it is spent.
    pub(super) fn take(&mut self, now: Mono) -> bool {
        if self.rule.burst == 0 {
            return true;
        }
        let interval = self.rule.interval;
        let is_over = |at: &Mono| at.after(interval).is_some_and(|end| end <= now);
        while self.spent.front().is_some_and(is_over) {
            self.spent.pop_front();
        }
        let may = self.spent.len() < self.rule.burst as usize;
        if may {
            self.spent.push_back(now);
        }
        may
    }

    /// When the next one may be, for those who wait.
    pub(super) fn next(&self) -> Option<Mono> {
        self.waiting.front()?;
        let burst = self.rule.burst as usize;
        let binding = self.spent.len().checked_sub(burst).and_then(|at| self.spent.get(at));
        match binding {
            Some(at) if burst > 0 => at.after(self.rule.interval),
            // There is room.
            _ => Some(Mono::default()),
        }
    }

    pub(super) fn wait(&mut self, place: Place) {
        if !self.waiting.contains(&place) {
            self.waiting.push_back(place);
        }
    }

    /// Whoever waits longest.
    pub(super) fn first(&self) -> Option<Place> {
        self.waiting.front().copied()
    }

    pub(super) fn leave(&mut self, place: Place) {
        self.waiting.retain(|waiting| *waiting != place);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn budget(burst: u32, secs: u64) -> Budget {
        let mut budget = Budget::default();
        budget.rule(RestartBudget { burst, interval: TimeSpan::from_secs(secs) });
        budget
    }

    #[test]
    fn without_a_rule_everything_may_be() {
        let mut budget = Budget::default();
        assert!((0..1000).all(|_| budget.take(Mono(5))));
    }

    #[test]
    fn who_waits_is_told_when_there_is_room() {
        let mut budget = budget(2, 10);
        assert!(budget.take(Mono(SECOND)) && budget.take(Mono(3 * SECOND)) && !budget.take(Mono(4 * SECOND)));
        assert_eq!(budget.next(), None, "nobody waits");
        budget.wait(Place(1));
        assert_eq!(budget.next(), Some(Mono(11 * SECOND)));
        assert!(!budget.take(Mono(11 * SECOND - 1)) && budget.take(Mono(11 * SECOND)));
        assert_eq!(budget.next(), Some(Mono(13 * SECOND)));
    }

    proptest! {
        /// Whatever is asked when, whoever dies in between, and when the next one comes at the moment it is told of.
        #[test]
        fn no_span_has_more_than_the_burst(
            burst in 1_u32..8,
            secs in 1_u64..30,
            steps in proptest::collection::vec((0_u64..20 * SECOND, any::<bool>(), any::<bool>()), 1..300),
        ) {
            let (mut budget, mut now, mut had) = (budget(burst, secs), Mono(0), Vec::new());
            for (pause, dies, waits) in steps {
                now = Mono(now.0 + pause);
                if dies {
                    let mut next = self::budget(burst, secs);
                    // Units tell it in no order.
                    next.know(budget.spent.iter().rev().copied());
                    budget = next;
                }
                if waits {
                    budget.wait(Place(1));
                    let next = budget.next().unwrap();
                    prop_assert!(now < next || budget.take(now), "told {next:?} at {now:?}");
                    if now >= next {
                        had.push(now);
                    }
                } else if budget.take(now) {
                    had.push(now);
                }
                let fits = |from: &Mono| {
                    had.iter().filter(|at| (from.0..from.0 + secs * SECOND).contains(&at.0)).count() <= burst as usize
                };
                prop_assert!(had.iter().all(fits), "{had:?}");
            }
        }
    }
}
