//! The start limit: systemd's rate limit with a fixed window (systemd.unit(5), StartLimitIntervalSec=).

use crate::{base::Mono, unit::spec::StartLimit};

/// The window of one unit. It begins with the first start after an old one is over, on monotonic time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StartWindow {
    pub(super) begin: Option<Mono>,
    pub(super) count: u32,
}

impl StartWindow {
    /// Counts one start, or refuses it because the window is full.
    pub(super) fn admit(&mut self, now: Mono, limit: StartLimit) -> bool {
        if limit.interval.is_zero() || limit.burst == 0 {
            return true;
        }
        // As systemd's ratelimit: a window whose length has just been reached still counts, and an infinite one never ends.
        let over = self.begin.is_none_or(|begin| begin.after(limit.interval).is_some_and(|end| now > end));
        if over {
            *self = Self { begin: Some(now), count: 1 };
            return true;
        }
        if self.count >= limit.burst {
            return false;
        }
        self.count += 1;
        true
    }

    /// Takes one start back: it failed for a reason that is not the unit's.
    pub(super) const fn give_back(&mut self) {
        self.count = self.count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::TimeSpan, unit::spec::EmergencyAction};

    const LIMIT: StartLimit = StartLimit { interval: TimeSpan::from_secs(10), burst: 3, action: EmergencyAction::None };

    fn at(secs: u64) -> Mono {
        Mono(secs * 1_000_000_000)
    }

    #[test]
    fn a_window_is_fixed_and_does_not_slide() {
        let mut window = StartWindow::default();
        let admitted = [0, 8, 9, 10, 11, 12, 13, 14, 21, 22].map(|secs| window.admit(at(secs), LIMIT));
        assert_eq!(admitted, [true, true, true, false, true, true, true, false, false, true]);
    }

    #[test]
    fn no_interval_or_no_burst_is_no_limit() {
        let mut window = StartWindow::default();
        for limit in [StartLimit { interval: TimeSpan::ZERO, ..LIMIT }, StartLimit { burst: 0, ..LIMIT }] {
            assert!((0..100).all(|_| window.admit(at(1), limit)));
        }
    }

    #[test]
    fn an_infinite_window_never_ends() {
        let limit = StartLimit { interval: TimeSpan::INFINITY, ..LIMIT };
        let mut window = StartWindow::default();
        assert!((0..3).all(|_| window.admit(at(0), limit)));
        assert!(!window.admit(at(1_000_000), limit));
    }
}
