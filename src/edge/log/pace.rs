//! How long a pipe rests between two looks.
//!
//! A pipe that is emptied with every line costs a wake-up and a page for each of them, and its writer can never fill a
//! page. One that rests until it is about half full costs a few hundred moves a second however fast its writer is. So the
//! rest adapts: shorter when we came late, longer when we came early, never so long that a person would notice. After
//! silence there is no rest.

use crate::base::{Mono, TimeSpan};

/// What a person who follows does not notice.
const REST_MAX_NS: u64 = 2_000_000;
/// Below that the timer itself is what is waited for.
const REST_MIN_NS: u64 = 20_000;
const REST_FIRST_NS: u64 = 200_000;
const STEP_NS: u64 = 5_000;

#[derive(Debug)]
pub(super) struct Pace {
    /// What the pipe holds.
    size: usize,
    rest_ns: u64,
    next: Mono,
}

impl Pace {
    pub(super) const fn new(size: usize) -> Self {
        Self { size, rest_ns: REST_FIRST_NS, next: Mono(0) }
    }

    /// When the pipe may be looked at, if that is not now.
    pub(super) fn rests_until(&self, now: Mono) -> Option<Mono> {
        (now < self.next).then_some(self.next)
    }

    /// A look at `now` found so much; whether it is worth while to look again without being woken.
    pub(super) fn found(&mut self, bytes: usize, now: Mono) -> Option<Mono> {
        if bytes > self.size / 2 {
            self.rest_ns = (self.rest_ns / 10 * 7).max(REST_MIN_NS);
        } else if bytes < self.size / 4 {
            self.rest_ns = (self.rest_ns / 10 * 13 + STEP_NS).min(REST_MAX_NS);
        }
        self.next = now.after(TimeSpan::from_micros(self.rest_ns / 1000)).unwrap_or(now);
        (bytes > self.size / 8).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes at each look, for a writer of so many bytes a second who waits when the pipe is full.
    fn looks(size: usize, bytes_per_sec: u64, count: usize) -> Vec<usize> {
        let mut pace = Pace::new(size);
        let mut now = Mono(1_000_000_000);
        let mut found = Vec::new();
        for _ in 0..count {
            let rest = pace.rests_until(now).map_or(0, |until| until.0 - now.0);
            let written = usize::try_from((rest + 10_000) * bytes_per_sec / 1_000_000_000).expect("small").min(size);
            now = Mono(now.0 + rest + 10_000);
            pace.found(written, now);
            found.push(written);
        }
        found
    }

    #[test]
    fn a_loud_pipe_is_met_between_a_quarter_and_full() {
        for (size, rate) in [(1 << 20, 400_000_000), (64 << 10, 400_000_000), (1 << 20, 2_000_000_000)] {
            let settled = looks(size, rate, 100).split_off(50);
            let average = settled.iter().sum::<usize>() / settled.len();
            assert!((size / 5..size).contains(&average), "{average} of {size} at {rate}");
        }
    }

    #[test]
    fn a_quiet_pipe_is_looked_at_at_once_and_a_lively_one_soon() {
        let mut pace = Pace::new(1 << 20);
        assert_eq!(pace.rests_until(Mono(5)), None);
        for line in 1..100 {
            let now = Mono(line * 1_000_000_000);
            assert_eq!(pace.rests_until(now), None, "nobody waits for a line after silence");
            assert_eq!(pace.found(80, now), None, "silence is not watched");
        }
        let now = Mono(100_000_000_000);
        pace.found(80, now);
        assert_eq!(pace.rests_until(now), Some(Mono(now.0 + REST_MAX_NS)));
    }
}
