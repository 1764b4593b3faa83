//! The rate limit on lines, as journald has it: once an interval has seen its burst, further lines of it are dropped whole
//! and counted, and a line of ours says how many.

use super::rules::Rate;
use crate::base::Mono;

/// What a service wrote within its interval. Looks at bytes before they are moved, and is told what was moved.
#[derive(Debug)]
pub(super) struct Meter {
    rate: Rate,
    since: Option<Mono>,
    passed: u32,
    line: Line,
    dropped: Dropped,
}

/// What the limit took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Dropped {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// Where we stand in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Begin,
    Within(Verdict),
}

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Drop,
}

impl Meter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, since: None, passed: 0, line: Line::Begin, dropped: Dropped::default() }
    }

    pub(super) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Begins a new interval when the last one is over; what was dropped in that one, once no dropped line is under way.
    pub(super) fn turn(&mut self, now: Mono) -> Option<Dropped> {
        let over = self.since.is_none_or(|since| since.after(self.rate.interval).is_some_and(|end| end <= now));
        if over {
            self.since = Some(now);
            self.passed = 0;
        }
        let says = self.dropped.lines > 0 && self.passed < self.rate.burst && self.line == Line::Begin;
        says.then(|| std::mem::take(&mut self.dropped))
    }

    /// How many of the first of `bytes` have one fate, and which.
    pub(super) fn look(&self, bytes: &[u8]) -> (Verdict, usize) {
        let mut passed = self.passed;
        let mut line = self.line;
        let mut fate = None;
        let mut end = 0;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let verdict = self.of_line(line, &mut passed);
            if *fate.get_or_insert(verdict) != verdict {
                break;
            }
            end += part.len();
            line = Line::Begin;
        }
        (fate.unwrap_or(Verdict::Keep), end)
    }

    /// These bytes were kept or dropped, as [`Self::look`] had it.
    pub(super) fn took(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut passed = self.passed;
            let begins = self.line == Line::Begin;
            let verdict = self.of_line(self.line, &mut passed);
            self.passed = passed;
            if verdict == Verdict::Drop {
                self.dropped.lines += u64::from(begins);
                self.dropped.bytes += part.len() as u64;
            }
            self.line = if part.ends_with(b"\n") { Line::Begin } else { Line::Within(verdict) };
        }
    }

    fn of_line(&self, line: Line, passed: &mut u32) -> Verdict {
        match line {
            Line::Within(verdict) => verdict,
            Line::Begin if *passed < self.rate.burst => {
                *passed += 1;
                Verdict::Keep
            }
            Line::Begin => Verdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::TimeSpan;

    const RATE: Rate = Rate { interval: TimeSpan::from_secs(10), burst: 2 };

    /// What is kept of `pieces`, all within one interval.
    fn kept(meter: &mut Meter, pieces: &[&[u8]]) -> String {
        let mut kept = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (verdict, count) = meter.look(rest);
                assert!(count > 0, "it always comes forward");
                if verdict == Verdict::Keep {
                    kept.extend(&rest[..count]);
                }
                meter.took(&rest[..count]);
                rest = &rest[count..];
            }
        }
        String::from_utf8(kept).expect("text")
    }

    #[test]
    fn an_interval_lets_so_many_lines_through_and_counts_the_others() {
        let mut meter = Meter::new(RATE);
        assert_eq!(meter.turn(Mono(1)), None);
        assert_eq!(kept(&mut meter, &[b"a\nb\nc\nd", b"d\ne"]), "a\nb\n");
        assert_eq!(meter.turn(Mono(9_000_000_000)), None, "the interval is not over");
        assert_eq!(meter.turn(Mono(10_000_000_001)), None, "a dropped line is under way");
        assert_eq!(kept(&mut meter, &[b"e\n"]), "", "the rest of a dropped line is dropped");
        assert_eq!(meter.turn(Mono(10_000_000_002)), Some(Dropped { lines: 3, bytes: 8 }));
        assert_eq!(kept(&mut meter, &[b"f\n"]), "f\n");
        assert_eq!(meter.turn(Mono(10_000_000_003)), None, "it is told once");
    }

    proptest! {
        #[test]
        fn where_pieces_end_changes_nothing(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let whole = kept(&mut Meter::new(RATE), &[text.as_bytes()]);
            let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            ends.sort_unstable();
            let mut begin = 0;
            let mut pieces = Vec::new();
            for end in ends.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[begin..end]);
                begin = end;
            }
            prop_assert_eq!(&kept(&mut Meter::new(RATE), &pieces), &whole);
            let lines: String = text.split_inclusive('\n').take(2).collect();
            prop_assert_eq!(whole, lines);
        }
    }
}
