//! Time zones as values. The tables come from `edge`; reading one needs no clock and no disk, which is why jiff may stand
//! in a pure layer here and nowhere else.

use std::{collections::BTreeMap, fmt};

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use super::MICROS_PER_SEC;
use crate::base::Wall;

/// Which zone a calendar event is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ZoneName {
    /// The machine's.
    Local,
    /// UTC.
    Utc,
    /// One of the IANA database; whether it exists only the host knows.
    Named(Box<str>),
}

/// Takes the time zone off the end of a calendar event.
pub(super) fn split(text: &str) -> (&str, ZoneName) {
    const UTC: &str = " UTC";
    if let Some(at) = text.len().checked_sub(UTC.len())
        && text.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(UTC))
    {
        return (&text[..at], ZoneName::Utc);
    }
    match text.rsplit_once(' ') {
        // Neither a date nor a time begins with a letter.
        Some((when, name)) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (when, ZoneName::Named(name.into()))
        }
        Some(_) | None => (text, ZoneName::Local),
    }
}

/// The rules of one time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A date as the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: u32,
    pub(super) month: u32,
    pub(super) day: u32,
}

/// A time as the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) hour: u32,
    pub(super) minute: u32,
    /// Microseconds of the minute.
    pub(super) micros: u32,
}

/// What a civil time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    One(Wall),
    /// The clock is set back: it is shown twice.
    Two(Wall, Wall),
    /// The clock is set forward over it; the first civil time after the gap.
    Skipped(Date, Time),
}

impl Zone {
    /// The rules themselves.
    pub const fn rules(&self) -> &TimeZone {
        &self.0
    }

    /// The rules in `zone`.
    pub const fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// UTC.
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// What the wall shows at `at`; `None` outside of the years that a calendar has.
    pub(super) fn civil(&self, at: Wall) -> Option<(Date, Time)> {
        let moment = Timestamp::from_microsecond(at.0).ok()?;
        parts(self.0.to_datetime(moment))
    }

    /// The same for whole seconds since 1970.
    pub(super) fn civil_at(&self, seconds: i64) -> Option<(Date, Time)> {
        self.civil(Wall(seconds.checked_mul(i64::from(MICROS_PER_SEC))?))
    }

    /// The moment at which the wall shows this; `None` for what no calendar has.
    pub(super) fn moment(&self, date: Date, time: Time) -> Option<Moment> {
        let civil = datetime(date, time)?;
        let at = |offset: Offset| offset.to_timestamp(civil).ok().map(|moment| Wall(moment.as_microsecond()));
        Some(match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => Moment::One(at(offset)?),
            AmbiguousOffset::Fold { before, after } => Moment::Two(at(before)?, at(after)?),
            AmbiguousOffset::Gap { before, after } => {
                // Read with the old offset it lies behind the change.
                let behind = before.to_timestamp(civil).ok()?;
                let change = self.0.preceding(behind.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?).next()?;
                let (date, time) = parts(after.to_datetime(change.timestamp()))?;
                Moment::Skipped(date, time)
            }
        })
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iana_name() {
            Some(name) => f.write_str(name),
            None => f.write_str("unnamed"),
        }
    }
}

fn parts(civil: DateTime) -> Option<(Date, Time)> {
    let number = |part: i8| u32::try_from(part).ok();
    let date =
        Date { year: u32::try_from(civil.year()).ok()?, month: number(civil.month())?, day: number(civil.day())? };
    let micros = number(civil.second())? * MICROS_PER_SEC + u32::try_from(civil.subsec_nanosecond()).ok()? / 1000;
    Some((date, Time { hour: number(civil.hour())?, minute: number(civil.minute())?, micros }))
}

fn datetime(date: Date, time: Time) -> Option<DateTime> {
    let number = |part: u32| i8::try_from(part).ok();
    let nanos = i32::try_from(time.micros % MICROS_PER_SEC * 1000).ok()?;
    DateTime::new(
        i16::try_from(date.year).ok()?,
        number(date.month)?,
        number(date.day)?,
        number(time.hour)?,
        number(time.minute)?,
        number(time.micros / MICROS_PER_SEC)?,
        nanos,
    )
    .ok()
}

impl Date {
    /// How many days its month has.
    pub(super) fn days_in_month(self) -> Option<u32> {
        u32::try_from(self.civil()?.days_in_month()).ok()
    }

    /// Its weekday; 0 is Monday.
    pub(super) fn weekday(self) -> Option<u32> {
        u32::try_from(self.civil()?.weekday().to_monday_zero_offset()).ok()
    }

    fn civil(self) -> Option<jiff::civil::Date> {
        let number = |part: u32| i8::try_from(part).ok();
        jiff::civil::Date::new(i16::try_from(self.year).ok()?, number(self.month)?, number(self.day)?).ok()
    }
}

/// The zones that the units of a machine name, and its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zones {
    /// The machine's.
    pub local: Zone,
    /// By name.
    pub named: BTreeMap<Box<str>, Zone>,
}

impl Default for Zones {
    fn default() -> Self {
        Self { local: Zone::utc(), named: BTreeMap::new() }
    }
}

impl Zones {
    /// The rules of a zone; `None` when nobody has looked this name up.
    pub(super) fn get(&self, name: &ZoneName) -> Option<Zone> {
        match name {
            ZoneName::Local => Some(self.local.clone()),
            ZoneName::Utc => Some(Zone::utc()),
            ZoneName::Named(name) => self.named.get(name).cloned(),
        }
    }
}
