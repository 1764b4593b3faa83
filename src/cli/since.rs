//! `--since`: a moment as people name it.

use jiff::{Span, Zoned, civil};

use crate::base::TimeSpan;

/// Why a text names no moment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {0:?} as a time (write \"10min\" ago, today, yesterday, \"14:30\", \"2026-03-01 14:30\" or RFC 3339)"
)]
pub(crate) struct SinceError(String);

/// The moment `text` names, seen from `now` and in its zone, in microseconds since 1970.
pub(crate) fn since_us(text: &str, now: &Zoned) -> Result<i64, SinceError> {
    let refused = || SinceError(text.to_owned());
    let text = text.trim();
    let zone = now.time_zone();
    let at_start_of = |date: civil::Date| date.to_zoned(zone.clone()).map(|at| at.timestamp().as_microsecond());
    let span = text.strip_suffix(" ago").or_else(|| text.strip_prefix('-')).unwrap_or(text);
    if let Ok(span) = span.parse::<TimeSpan>() {
        let back = span.micros().and_then(|us| i64::try_from(us).ok());
        return back.and_then(|us| now.timestamp().as_microsecond().checked_sub(us)).ok_or_else(refused);
    }
    match text {
        "now" => return Ok(now.timestamp().as_microsecond()),
        "today" => return at_start_of(now.date()).map_err(|_| refused()),
        "yesterday" => {
            let date = now.date().checked_sub(Span::new().days(1)).map_err(|_| refused())?;
            return at_start_of(date).map_err(|_| refused());
        }
        _ => {}
    }
    // A date without a zone is one of here, even where the parser of moments would guess.
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_microsecond());
    }
    let here = text
        .parse::<civil::DateTime>()
        .or_else(|_| text.parse::<civil::Time>().map(|time| now.date().to_datetime(time)));
    let at = here.and_then(|here| here.to_zoned(zone.clone())).map_err(|_| refused())?;
    Ok(at.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_name_them() {
        let now: Zoned = "2026-03-01T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let cases = [
            ("10min", "2026-03-01T11:50:00+01:00"),
            ("1h 30min ago", "2026-03-01T10:30:00+01:00"),
            ("-90", "2026-03-01T11:58:30+01:00"),
            ("now", "2026-03-01T12:00:00+01:00"),
            ("today", "2026-03-01T00:00:00+01:00"),
            ("yesterday", "2026-02-28T00:00:00+01:00"),
            ("2026-02-01", "2026-02-01T00:00:00+01:00"),
            ("2026-02-01 08:15", "2026-02-01T08:15:00+01:00"),
            ("08:15", "2026-03-01T08:15:00+01:00"),
            ("2026-02-01T08:15:00Z", "2026-02-01T09:15:00+01:00"),
            ("2025-07-01T08:15:00.5+02:00", "2025-07-01T08:15:00.5+02:00"),
        ];
        for (text, moment) in cases {
            let expected: jiff::Timestamp = moment.parse().unwrap();
            assert_eq!(since_us(text, &now), Ok(expected.as_microsecond()), "{text}");
        }
        for bad in ["", "infinity", "soon", "2026-13-01", "25:00", "99999999y"] {
            assert_eq!(since_us(bad, &now), Err(SinceError(bad.to_owned())), "{bad}");
        }
    }
}
