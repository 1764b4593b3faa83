//! The keeper's clock. Everything else is handed the time by `edge`.
use std::{io, mem::MaybeUninit, time::Duration};

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

/// Whether the kernel takes the wall clock to be synchronised, adjtimex(2).
///
/// # Errors
/// Where the call is not allowed.
pub fn is_synchronised() -> io::Result<bool> {
    let mut asked = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: nix has no wrapper. All zeros ask and change nothing, and there is room for the answer.
    let state = unsafe { libc::adjtimex(asked.as_mut_ptr()) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(state != libc::TIME_ERROR) }
}

/// Neither clock can be missing on Linux, clock_gettime(2).
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whether_the_clock_is_synchronised() {
        is_synchronised().unwrap();
    }

    #[test]
    fn the_clocks_advance() {
        let (first, second) = (now(), now());
        assert!(first.mono.0 > 0 && first.wall.0 > 1_600_000_000_000_000);
        assert!(second.mono >= first.mono);
    }
}
