//! The only reader of clocks in the manager.

use nix::time::{ClockId, clock_gettime};

use crate::base::{Mono, Now, Wall};

/// This moment on both clocks.
pub fn now() -> Now {
    Now { mono: Mono(nanos(ClockId::CLOCK_MONOTONIC)), wall: wall() }
}

/// This moment in wall time.
pub fn wall() -> Wall {
    let micros = nanos(ClockId::CLOCK_REALTIME) / 1000;
    Wall(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// A moment for people, to the second, in RFC 3339.
pub fn rfc3339(at: Wall) -> String {
    at.rfc3339()
}

/// A clock in nanoseconds. The two clocks we name always exist, so a refusal reads as the clock's start.
fn nanos(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else { return 0 };
    let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_to_the_second() {
        assert_eq!(rfc3339(Wall(1_772_366_400_900_000)), "2026-03-01T12:00:00Z");
    }

    #[test]
    fn both_clocks_run_forward() {
        let first = now();
        let second = now();
        assert!(first.mono.0 > 0 && second.mono >= first.mono);
        assert!(first.wall.0 > 1_700_000_000_000_000, "the wall clock stands in this century");
    }
}
