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

/// This moment as the kernel stamps the begin of a process (field 22 of /proc/PID/stat): ticks since boot.
pub fn boot_ticks() -> u64 {
    u64::try_from(read(ClockId::CLOCK_BOOTTIME).as_nanos() / TICK_NANOS).unwrap_or(u64::MAX)
}

/// USER_HZ is 100 on every architecture that we build for.
const TICK_NANOS: u128 = 10_000_000;

/// None of the clocks can be missing on Linux, clock_gettime(2).
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

    #[test]
    fn a_process_is_stamped_with_the_ticks_of_its_begin() {
        #[expect(clippy::disallowed_methods, reason = "a child whose stamp the kernel shows")]
        let mut command = std::process::Command::new("/bin/sleep");
        let before = boot_ticks();
        let mut child = command.arg("5").spawn().unwrap();
        let after = boot_ticks();
        let pid = crate::base::Pid::new(i32::try_from(child.id()).unwrap()).unwrap();
        let stamped = super::super::start_time(pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((before..=after).contains(&stamped), "{before} {stamped} {after}");
    }
}
