//! Whether a message that is refused is why, or the route.

use std::time::Duration;

use tokio::time::Instant;

use super::{ATTEMPTS_MAX, Known, REFUSED_MAX, Trouble, Worker, doubled};
use crate::edge::store::OutboxState;

impl Worker {
    /// Something was taken.
    pub(super) fn takes(&mut self) {
        (self.failures, self.refusals, self.deaths, self.apart) = (0, 0, 0, false);
        self.taken += 1;
    }

    /// A message by itself was refused. It is to blame, and given up, once others were taken since it was refused first. Until
    /// then it waits, for longer than the route does: so another one asks next.
    pub(super) fn refused(&self, known: &mut Known, pause: Duration, reason: &str) -> OutboxState {
        known.refused += 1;
        let taken_before = *known.taken_before.get_or_insert(self.taken);
        let is_to_blame = self.taken > taken_before;
        let is_over = is_to_blame || known.refused >= REFUSED_MAX || known.attempts >= ATTEMPTS_MAX;
        let rest = pause.max(self.common.timing.refused_min).saturating_mul(2);
        known.rests_until = Some(Instant::now() + rest);
        self.waiting_or_failed(is_over, rest, reason)
    }

    /// How long it rests that the route is dead.
    pub(super) fn died(&mut self, reason: String) -> Duration {
        self.set_trouble(Some(Trouble::Refuses(reason)));
        self.deaths = self.deaths.saturating_add(1);
        let timing = self.common.timing;
        timing.refused_min.saturating_mul(doubled(self.deaths)).min(timing.refused_max)
    }
}
