//! The next moment of a calendar event.
//!
//! Found in civil time, as systemd does. Where the clock is set forward, civil times that it skips do not happen. Where it
//! is set back, each happens once: the first time it is shown after the moment that is asked from.

use super::{
    CalendarSpec, YEAR_MAX, ZoneName, Zones,
    component::Chain,
    zone::{Date, Moment, Time},
};
use crate::base::Wall;

const MIDNIGHT: Time = Time { hour: 0, minute: 0, micros: 0 };

impl CalendarSpec {
    /// Its first moment after `after`; `None` when there is none any more, or its zone is not among `zones`.
    pub fn next(&self, after: Wall, zones: &Zones) -> Option<Wall> {
        let zone = zones.get(&self.zone)?;
        let (mut date, mut time) = zone.civil(Wall(after.0.checked_add(1)?))?;
        loop {
            (date, time) = self.civil_at_or_after(date, time)?;
            match zone.moment(date, time)? {
                Moment::One(at) => return Some(at),
                Moment::Two(first, second) => return Some(if first > after { first } else { second }),
                Moment::Skipped(to, at) => (date, time) = (to, at),
            }
        }
    }

    /// The zone it is in.
    pub const fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// The first civil time that fits and does not lie before this one. Each part that moves sets those after it to
    /// their begin; one that cannot move carries.
    fn civil_at_or_after(&self, mut date: Date, mut time: Time) -> Option<(Date, Time)> {
        loop {
            let year = self.year.at_or_after(date.year).filter(|year| *year <= YEAR_MAX)?;
            if year > date.year {
                (date, time) = (Date { year, month: 1, day: 1 }, MIDNIGHT);
            }
            let Some(month) = self.month.at_or_after(date.month).filter(|month| *month <= 12) else {
                (date, time) = (Date { year: date.year + 1, month: 1, day: 1 }, MIDNIGHT);
                continue;
            };
            if month > date.month {
                (date, time) = (Date { month, day: 1, ..date }, MIDNIGHT);
            }
            let days = date.days_in_month()?;
            let Some(day) = self.day_at_or_after(date.day, days) else {
                (date, time) = (next_month(date), MIDNIGHT);
                continue;
            };
            if day > date.day {
                (date, time) = (Date { day, ..date }, MIDNIGHT);
            }
            if self.weekdays & (1 << date.weekday()?) == 0 {
                (date, time) = (next_day(date, days), MIDNIGHT);
                continue;
            }
            match self.time_at_or_after(time) {
                Some(time) => return Some((date, time)),
                None => (date, time) = (next_day(date, days), MIDNIGHT),
            }
        }
    }

    fn day_at_or_after(&self, day: u32, days: u32) -> Option<u32> {
        let found =
            if self.from_month_end { self.day.at_or_after_from_end(day, days) } else { self.day.at_or_after(day) };
        found.filter(|day| *day <= days)
    }

    /// The first time of the day that fits and does not lie before this one.
    fn time_at_or_after(&self, mut time: Time) -> Option<Time> {
        loop {
            let hour = within(&self.hour, time.hour, 23)?;
            if hour > time.hour {
                time = Time { hour, ..MIDNIGHT };
            }
            let Some(minute) = within(&self.minute, time.minute, 59) else {
                time = Time { hour: time.hour + 1, ..MIDNIGHT };
                continue;
            };
            if minute > time.minute {
                time = Time { minute, micros: 0, ..time };
            }
            match within(&self.second, time.micros, 60 * super::MICROS_PER_SEC - 1) {
                Some(micros) => return Some(Time { micros, ..time }),
                None => time = Time { minute: time.minute + 1, micros: 0, ..time },
            }
        }
    }
}

fn within(chain: &Chain, value: u32, most: u32) -> Option<u32> {
    chain.at_or_after(value).filter(|value| *value <= most)
}

const fn next_day(date: Date, days: u32) -> Date {
    if date.day < days { Date { day: date.day + 1, ..date } } else { next_month(date) }
}

const fn next_month(date: Date) -> Date {
    if date.month < 12 {
        Date { month: date.month + 1, day: 1, ..date }
    } else {
        Date { year: date.year + 1, month: 1, day: 1 }
    }
}
