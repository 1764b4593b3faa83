//! When something is to happen: calendar events as systemd.time(7) has them, and lines of crontab(5).
//!
//! Pure: which moment is a civil time where is looked up in a [`Zone`], a table that `edge` reads and hands in as a
//! value. `next` is the one question that both kinds answer. Agreement with systemd 252 is kept by
//! `tests/systemd_time.rs`, which asks `systemd-analyze`; what differs on purpose is listed there.

mod component;
mod cron;
mod error;
mod next;
mod parse;
mod print;
mod zone;

#[cfg(test)]
mod tests;

use self::component::Chain;
pub use self::{
    cron::{Cron, CronError},
    error::{CalendarError, CalendarFault},
    zone::{Zone, ZoneName, Zones},
};

/// A calendar event, as OnCalendar= has it. Shown in systemd's normal form.
///
/// ```
/// use roundsman::unit::calendar::CalendarSpec;
///
/// let spec: CalendarSpec = "mon,tue..fri 2:30".parse()?;
/// assert_eq!(spec.to_string(), "Mon..Fri *-*-* 02:30:00");
/// # Ok::<(), roundsman::unit::calendar::CalendarError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CalendarSpec {
    /// One bit for each weekday from Monday on; all of them when any will do.
    weekdays: u8,
    year: Chain,
    month: Chain,
    day: Chain,
    /// Days are counted from the month's end: 1 is the last.
    from_month_end: bool,
    hour: Chain,
    minute: Chain,
    /// In microseconds of the minute.
    second: Chain,
    zone: ZoneName,
}

/// All seven weekdays.
const EVERY_WEEKDAY: u8 = 0b111_1111;
/// Years that systemd takes.
const YEAR_MIN: u32 = 1970;
const YEAR_MAX: u32 = 2199;
const MICROS_PER_SEC: u32 = 1_000_000;
