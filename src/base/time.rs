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

    /// This moment plus `span`, or the end of the clock's range.
    pub fn later(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This moment less `span`, or the beginning of the clock's range.
    pub fn before(self, span: TimeSpan) -> Self {
        let nanos = span.duration().and_then(|span| u64::try_from(span.as_nanos()).ok()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// How long it is from `earlier` to this moment; zero when it lies later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Who finds a deadline passed by so much did not run meanwhile: the machine was paused, or everything was stopped.
pub const STOOD_STILL: Duration = Duration::from_secs(2);

/// A moment of wall time, in microseconds since 1970 UTC. For showing and storing, never for deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub i64);

impl Wall {
    /// As RFC 3339 has it, in UTC, to the second.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_microsecond(self.0).map_or_else(|_| self.0.to_string(), |at| format!("{at:.0}"))
    }
}

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
        if text
            .trim_start_matches(BLANKS)
            .strip_prefix("infinity")
            .is_some_and(|rest| rest.trim_matches(BLANKS).is_empty())
        {
            return Ok(Self::INFINITY);
        }
        let mut rest = text.trim_matches(BLANKS);
        if rest.is_empty() {
            return Err(refused());
        }
        let mut micros: u64 = 0;
        while !rest.is_empty() {
            let (part, tail) = part(rest).ok_or_else(refused)?;
            micros = micros.checked_add(part).filter(|sum| *sum < Self::INFINITY.0).ok_or_else(refused)?;
            rest = tail.trim_start_matches(BLANKS);
        }
        Ok(Self(micros))
    }
}

/// What may stand between the parts of a span.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The microseconds of the number with its unit at the begin of `text`, and what follows.
fn part(text: &str) -> Option<(u64, &str)> {
    let signed = text.strip_prefix('+').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let text = signed.unwrap_or(text);
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, after) = text.split_at(number_end);
    let spaced = after.trim_start_matches(BLANKS);
    let unit_end = spaced.find(|c: char| !c.is_alphabetic()).unwrap_or(spaced.len());
    let (unit, tail) = spaced.split_at(unit_end);
    let scale = match unit {
        // A number without unit ends at a blank.
        "" if spaced.len() == after.len() && !after.is_empty() => return None,
        "" => 1_000_000,
        _ => UNITS.iter().find(|(names, _)| names.contains(&unit))?.1,
    };
    Some((scaled(number, scale)?, tail))
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
    // systemd reads a signed number, and stops short of infinity.
    let whole = if whole.is_empty() { 0 } else { u64::try_from(whole.parse::<i64>().ok()?).ok()? };
    let mut micros = Some(whole).filter(|whole| *whole < u64::MAX / scale)? * scale;
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        micros = micros.checked_add(place * u64::from(digit - b'0'))?;
    }
    Some(micros)
}

/// As `systemd-analyze timespan` prints it; what is below a minute has a fraction.
impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60_000_000;
        let Some(mut left) = self.micros() else { return f.pad("infinity") };
        if left == 0 {
            return f.pad("0");
        }
        let mut parts = Vec::new();
        for (names, scale) in UNITS {
            if left < scale {
                continue;
            }
            let (whole, rest) = (left / scale, left % scale);
            if left < MINUTE && rest > 0 {
                let digits = scale.ilog10() as usize;
                parts.push(format!("{whole}.{rest:0digits$}{}", names[0]));
                break;
            }
            parts.push(format!("{whole}{}", names[0]));
            left = rest;
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
        for bad in [
            "",
            "x",
            "5 parsecs",
            "1.2.3",
            "-1",
            "s",
            "5.",
            "5.s",
            "1. 5s",
            "1e3",
            "1H",
            "5s infinity",
            "600000y",
            "5+6",
            "+.5",
        ] {
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
        for text in ["5min 20s", "100ms", "1d 12h", "infinity", "0", "1.500000s", "1month 3min 36s", "90.001ms"] {
            assert_eq!(text.parse::<TimeSpan>().map(|span| span.to_string()).as_deref(), Ok(text));
        }
    }
}
