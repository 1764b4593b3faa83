//! Lines of crontab(5) without their command: five fields, or one of the names that begin with `@`.
//!
//! A line is one calendar event in the machine's zone, or two where both day fields are restricted: either of them is
//! enough then. So cron's lines keep the rules of calendar events where the clock is set.

use std::{fmt, str::FromStr};

use super::{
    CalendarSpec, EVERY_WEEKDAY, ZoneName, Zones,
    component::{Chain, Component},
};
use crate::base::Wall;

/// When cron would run something. Shown as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: Box<str>,
    /// Any of them.
    events: Box<[CalendarSpec]>,
}

/// Why a text is no line of crontab(5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no crontab expression: {fault}")]
pub struct CronError {
    /// The whole text.
    pub text: String,
    /// What is wrong, with the part that is.
    pub fault: String,
    /// What to write instead.
    pub help: &'static str,
}

/// One of the five fields.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    /// Names of values from `least` on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { what: "minute", least: 0, most: 59, names: &[] },
    Field { what: "hour", least: 0, most: 23, names: &[] },
    Field { what: "day of month", least: 1, most: 31, names: &[] },
    Field { what: "month", least: 1, most: 12, names: &MONTHS },
    // Both 0 and 7 are Sunday.
    Field { what: "day of week", least: 0, most: 7, names: &WEEKDAYS },
];

const SHORTHANDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Cron {
    /// Its first moment after `after`; `None` when there is none any more.
    pub fn next(&self, after: Wall, zones: &Zones) -> Option<Wall> {
        self.events.iter().filter_map(|event| event.next(after, zones)).min()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.text, self.events)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let refused = |(fault, help)| CronError { text: text.to_owned(), fault, help };
        let events = read(text.trim()).map_err(refused)?;
        Ok(Self { text: text.trim().into(), events })
    }
}

/// What is wrong and what to do about it.
type Fault = (String, &'static str);

fn read(text: &str) -> Result<Box<[CalendarSpec]>, Fault> {
    if text.eq_ignore_ascii_case("@reboot") {
        return Err(("\"@reboot\" is no time".to_owned(), "use on_startup_sec or on_boot_sec"));
    }
    let long = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map_or(text, |(_, long)| long);
    if long.starts_with('@') {
        let help = "it can be @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly";
        return Err((format!("there is no {long:?}"), help));
    }
    let words: Vec<&str> = long.split_ascii_whitespace().collect();
    let Ok([minute, hour, day, month, weekday]) = <[&str; 5]>::try_from(words.as_slice()) else {
        let help = "write minute, hour, day of month, month and day of week, without a command";
        return Err((format!("it has {} fields, not 5", words.len()), help));
    };
    let read = |at: usize, word: &str| FIELDS[at].read(word);
    let any = Chain::default;
    let all = CalendarSpec {
        weekdays: weekdays(&read(4, weekday)?),
        year: any(),
        month: read(3, month)?,
        day: read(2, day)?,
        from_month_end: false,
        hour: read(1, hour)?,
        minute: read(0, minute)?,
        second: Chain::one(0),
        zone: ZoneName::Local,
    };
    // A field that begins with a star is not restricted, whatever its step.
    if day.starts_with('*') || weekday.starts_with('*') {
        return Ok([all].into());
    }
    let by_day = CalendarSpec { weekdays: EVERY_WEEKDAY, ..all.clone() };
    let by_weekday = CalendarSpec { day: any(), ..all };
    Ok([by_day, by_weekday].into())
}

impl Field {
    /// The values of one field; none for the star alone.
    fn read(&self, word: &str) -> Result<Chain, Fault> {
        if word == "*" {
            return Ok(Chain::default());
        }
        let parts: Result<Vec<Component>, Fault> = word.split(',').map(|part| self.part(part)).collect();
        Ok(Chain::normal(parts?))
    }

    fn part(&self, part: &str) -> Result<Component, Fault> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (start, stop) = match range.split_once('-') {
            _ if range == "*" => (self.least, Some(self.most)),
            Some((first, last)) => (self.value(first, part)?, Some(self.value(last, part)?)),
            None => (self.value(range, part)?, None),
        };
        if stop.is_some_and(|stop| stop < start) {
            let help = "write the smaller value first; Sunday may be written as 7";
            return Err((format!("{part:?} in the {} runs backwards", self.what), help));
        }
        let Some(step) = step else {
            return Ok(Component { start, stop, step: u32::from(stop.is_some()) });
        };
        if stop.is_none() {
            return Err((format!("{part:?} has a step but no range"), "write for example \"0-59/15\" or \"*/15\""));
        }
        let step = number(step).filter(|step| (1..=self.most).contains(step)).ok_or_else(|| {
            (format!("{step:?} is no step in the {}", self.what), "write a number from 1 on, within the field")
        })?;
        Ok(Component { start, stop, step })
    }

    fn value(&self, word: &str, part: &str) -> Result<u32, Fault> {
        let by_name = (self.least..).zip(self.names).find(|(_, name)| name.eq_ignore_ascii_case(word));
        let value = by_name.map(|(value, _)| value).or_else(|| number(word));
        value.filter(|value| (self.least..=self.most).contains(value)).ok_or_else(|| {
            let what = format!("{part:?} is no {} from {} to {}", self.what, self.least, self.most);
            (what, "write numbers, names of three letters, lists, ranges and steps: \"1,3-5,*/2\", \"mon-fri\"")
        })
    }
}

fn number(word: &str) -> Option<u32> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// The bits of weekdays, from Monday on.
fn weekdays(chain: &Chain) -> u8 {
    if chain.is_any() {
        return EVERY_WEEKDAY;
    }
    let listed = |day: &u32| chain.at_or_after(*day) == Some(*day);
    (0..=7).filter(listed).fold(0, |bits, day| bits | 1 << ((day + 6) % 7))
}
