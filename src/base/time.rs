use std::{fmt, str::FromStr, time::Duration};

/// A moment of CLOCK_MONOTONIC, in nanoseconds. Decisions compare these; they survive the manager, not a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment plus `span`; `None` when the span is infinite or leaves the clock's range.
    pub fn after(self, span: TimeSpan) -> Option<Self> {
        let nanos = u64::try_from(span.duration()?.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// How long it is from `earlier` to this moment; zero when it lies later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A moment of wall time, in microseconds since 1970 UTC. For showing and storing, never for deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub i64);

/// One moment on both clocks. Only `edge/clock.rs` makes one in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// What decisions use.
    pub mono: Mono,
    /// What people are shown.
    pub wall: Wall,
}

/// A span of time as systemd writes it: `"90"` is seconds, `"5min 20s"`, `"100ms"`, `"infinity"`.
///
/// Source: systemd.time(7). Resolution is a microsecond. Infinity is longer than every other span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(u64);

/// Why a text is no time span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {0:?} as a time span (write seconds, or a span such as \"5min 20s\", \"100ms\", \"infinity\")")]
pub struct SpanError(pub String);

impl TimeSpan {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Never over; the largest number of microseconds stands for it, as in systemd.
    pub const INFINITY: Self = Self(u64::MAX);

    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// A span of whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The span as a duration; `None` is infinity.
    pub const fn duration(self) -> Option<Duration> {
        match self.micros() {
            Some(micros) => Some(Duration::from_micros(micros)),
            None => None,
        }
    }

    /// Whole microseconds; `None` is infinity.
    pub const fn micros(self) -> Option<u64> {
        if self.0 == Self::INFINITY.0 { None } else { Some(self.0) }
    }

    /// Whether the span is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Unit names and their length in microseconds; the first name of each length is how we write it.
const UNITS: [(&[&str], u64); 9] = [
    (&["y", "year", "years"], 31_557_600_000_000),
    (&["month", "M", "months"], 2_629_800_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["min", "m", "minute", "minutes"], 60_000_000),
    (&["s", "sec", "second", "seconds"], 1_000_000),
    (&["ms", "msec"], 1000),
    (&["us", "usec", "µs", "μs"], 1),
];

impl FromStr for TimeSpan {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refused = || SpanError(text.to_owned());
        let mut rest = text.trim();
        if rest == "infinity" {
            return Ok(Self::INFINITY);
        }
        if rest.is_empty() {
            return Err(refused());
        }
        let mut micros: u64 = 0;
        while !rest.is_empty() {
            rest = rest.strip_prefix('+').unwrap_or(rest);
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_end);
            let after = after.trim_start();
            let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
            let (unit, tail) = after.split_at(unit_end);
            let scale = match unit {
                "" => 1_000_000,
                _ => UNITS.iter().find(|(names, _)| names.contains(&unit)).ok_or_else(refused)?.1,
            };
            micros = scaled(number, scale).and_then(|part| micros.checked_add(part)).ok_or_else(refused)?;
            rest = tail.trim_start();
        }
        if micros == Self::INFINITY.0 { Err(refused()) } else { Ok(Self(micros)) }
    }
}

/// `number` (digits with at most one point) times `scale`, rounded down to a microsecond.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None if number.is_empty() => return None,
        None => (number, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut micros = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        micros = micros.checked_add(place * u64::from(digit - b'0'))?;
    }
    Some(micros)
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(mut left) = self.micros() else { return f.pad("infinity") };
        if left == 0 {
            return f.pad("0");
        }
        let mut parts = Vec::new();
        for (names, scale) in UNITS {
            if left >= scale {
                parts.push(format!("{}{}", left / scale, names[0]));
                left %= scale;
            }
        }
        f.pad(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_systemd_reads_them() {
        // Each line agrees with `systemd-analyze timespan` of systemd 252.
        let cases = [
            ("90", 90_000_000),
            ("0", 0),
            ("5min 20s", 320_000_000),
            ("1d12h", 129_600_000_000),
            ("100ms", 100_000),
            ("1.5s", 1_500_000),
            ("0.25", 250_000),
            ("2w", 1_209_600_000_000),
            ("1 h", 3_600_000_000),
            ("7us", 7),
            (".5", 500_000),
            ("1 .5s", 1_500_000),
            ("2 3s", 5_000_000),
            ("1s500ms", 1_500_000),
            ("+5", 5_000_000),
            ("1.5us", 1),
            ("0.0000001", 0),
            ("1y", 31_557_600_000_000),
            ("1M", 2_629_800_000_000),
            ("1m", 60_000_000),
        ];
        for (text, micros) in cases {
            assert_eq!(text.parse(), Ok(TimeSpan::from_micros(micros)), "{text}");
        }
        assert_eq!("infinity".parse(), Ok(TimeSpan::INFINITY));
        for bad in
            ["", "x", "5 parsecs", "1.2.3", "-1", "s", "5.", "5.s", "1. 5s", "1e3", "1H", "5s infinity", "600000y"]
        {
            assert!(bad.parse::<TimeSpan>().is_err(), "{bad}");
        }
    }

    #[test]
    fn infinity_is_longer_than_every_span() {
        assert!(TimeSpan::INFINITY > TimeSpan::from_secs(1_000_000_000));
        assert_eq!(TimeSpan::INFINITY.duration(), None);
    }

    #[test]
    fn a_span_is_shown_as_it_could_be_written() {
        for text in ["5min 20s", "100ms", "1d 12h", "infinity", "0", "1s 500ms"] {
            assert_eq!(text.parse::<TimeSpan>().map(|span| span.to_string()).as_deref(), Ok(text));
        }
    }
}
