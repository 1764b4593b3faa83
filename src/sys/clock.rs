//! The keeper's clock. Everything else is handed the time by `edge`.
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::base::{Mono, Now, Wall};

/// This moment on both clocks, for the keeper's stamps and its deadlines.
pub fn now() -> Now {
    let wall = read(ClockId::CLOCK_REALTIME).as_micros();
    Now { mono: mono(), wall: Wall(i64::try_from(wall).unwrap_or(i64::MAX)) }
}

/// This moment on the monotonic clock.
pub fn mono() -> Mono {
    Mono(u64::try_from(read(ClockId::CLOCK_MONOTONIC).as_nanos()).unwrap_or(u64::MAX))
}

/// Neither clock can be missing on Linux, clock_gettime(2).
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_advance() {
        let (first, second) = (now(), now());
        assert!(first.mono.0 > 0 && first.wall.0 > 1_600_000_000_000_000);
        assert!(second.mono >= first.mono);
    }
}
