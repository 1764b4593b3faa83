//! Maintenance windows: when a service may be acted on because someone plans to.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{ServiceName, Topology};
use crate::{
    base::{TimeSpan, Wall},
    unit::calendar::{CalendarSpec, ZoneName, Zones},
};

/// A time that comes again, as `Sat 02:00 for 2h`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    opens: CalendarSpec,
    lasts: TimeSpan,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no window, such as \"Sat,Sun 02:00 for 2h\" or \"Mon..Fri 22:00 Europe/Berlin for 8h\": {why}")]
pub struct WindowError {
    text: String,
    why: String,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let refused = |why: String| WindowError { text: text.to_owned(), why };
        let (opens, lasts) =
            text.rsplit_once(" for ").ok_or_else(|| refused("it does not say for how long".to_owned()))?;
        let opens = opens.trim().parse().map_err(|error| refused(format!("{error}")))?;
        let lasts: TimeSpan = lasts.trim().parse().map_err(|error| refused(format!("{error}")))?;
        if lasts.is_zero() || lasts.micros().is_none() {
            return Err(refused("it has to last, and to end".to_owned()));
        }
        Ok(Self { opens, lasts })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.opens, self.lasts)
    }
}

impl Window {
    /// The zone that it names.
    pub const fn zone(&self) -> &ZoneName {
        self.opens.zone()
    }

    /// Whether it is open: it has opened within the time that it lasts.
    pub fn is_open(&self, now: Wall, zones: &Zones) -> bool {
        let lasts = self.lasts.micros().and_then(|micros| i64::try_from(micros).ok()).unwrap_or(i64::MAX);
        // What opened exactly so long ago has just closed, and `next` is later than what it is asked after.
        let opened = self.opens.next(Wall(now.0.saturating_sub(lasts)), zones);
        opened.is_some_and(|opened| opened <= now)
    }

    /// When it opens next.
    pub fn next(&self, now: Wall, zones: &Zones) -> Option<Wall> {
        self.opens.next(now, zones)
    }
}

/// Why nobody may act on these services now, if it is so: one of them has windows, and all are closed.
pub fn closed(topology: &Topology, services: &BTreeSet<&ServiceName>, now: Wall, zones: &Zones) -> Option<String> {
    services.iter().find_map(|name| {
        let windows = &topology.services.get(*name)?.policy.windows;
        if windows.is_empty() || windows.iter().any(|window| window.is_open(now, zones)) {
            return None;
        }
        let next = windows.iter().filter_map(|window| window.next(now, zones)).min();
        let next =
            next.map_or_else(|| "none opens any more".to_owned(), |at| format!("the next one opens {}", at.rfc3339()));
        Some(format!("it is outside the windows of {name}: {next}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 28 November 2026, a Saturday.
    const SATURDAY: i64 = 1_795_824_000;

    fn is_open(window: &str, (day, clock): (i64, &str)) -> bool {
        let parts: Vec<i64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
        let secs = SATURDAY + day * 86_400 + parts[0] * 3600 + parts[1] * 60 + parts[2];
        window.parse::<Window>().unwrap().is_open(Wall(secs * 1_000_000), &Zones::default())
    }

    #[test]
    fn a_window_is_open_from_its_opening_for_as_long_as_it_lasts() {
        for (now, open) in [
            ((0, "01:59:59"), false),
            ((0, "02:00:00"), true),
            ((0, "03:59:59"), true),
            ((0, "04:00:00"), false),
            ((1, "02:30:00"), false),
        ] {
            assert_eq!(is_open("Sat 02:00 for 2h", now), open, "{now:?}");
        }
        assert!(is_open("Mon..Fri 22:00 for 8h", (0, "05:59:59")), "over midnight");
        assert!(!is_open("Mon..Fri 22:00 for 8h", (0, "06:00:00")));
        assert!(is_open("*:0/5 for 1h", (0, "12:34:56")), "it opens while it is open");
    }

    #[test]
    fn what_is_no_window_says_what_one_is() {
        for (bad, why) in [
            ("Sat 02:00", "it does not say for how long"),
            ("Sat 02:00 for ever", "for ever"),
            ("Sat 02:00 for 0", "it has to last"),
            ("Sat 02:00 for infinity", "it has to last, and to end"),
            ("Caturday 02:00 for 2h", "Caturday"),
        ] {
            let said = bad.parse::<Window>().unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("Sat,Sun 02:00 for 2h"), "{said}");
        }
        assert_eq!("Sat 2:00 for 120min".parse::<Window>().unwrap().to_string(), "Sat *-*-* 02:00:00 for 2h");
    }
}
