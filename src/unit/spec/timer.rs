//! systemd.timer(5): when a unit is started by time.

use crate::{
    base::{TimeSpan, UnitName, Wall},
    unit::calendar::{CalendarSpec, Cron, Zones},
};

/// A unit's timer. It elapses at each of its moments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent directives of systemd")]
pub struct TimerSpec {
    /// By the calendar.
    pub on_calendar: Box<[CalendarSpec]>,
    /// Ours: by the calendar, as crontab(5) writes it.
    pub cron: Box<[Cron]>,
    /// So long after the timer was armed.
    pub on_active: Box<[TimeSpan]>,
    /// So long after the machine booted.
    pub on_boot: Box<[TimeSpan]>,
    /// So long after the daemon started.
    pub on_startup: Box<[TimeSpan]>,
    /// So long after the unit was last activated.
    pub on_unit_active: Box<[TimeSpan]>,
    /// So long after the unit was last deactivated.
    pub on_unit_inactive: Box<[TimeSpan]>,
    /// Up to so much is added to each moment, by chance.
    pub randomized_delay: TimeSpan,
    /// That chance is thrown once for this unit on this machine.
    pub fixed_random_delay: bool,
    /// How late it may be. It is not: it elapses on time whatever is allowed.
    pub accuracy: TimeSpan,
    /// A moment of the calendar that passed while the daemon or the machine was down is made up for, once.
    pub persistent: bool,
    /// Whether a timer that cannot elapse any more is still shown.
    pub remain_after_elapse: bool,
    /// It elapses whenever the machine's clock is set.
    pub on_clock_change: bool,
    /// It elapses whenever the machine's time zone changes.
    pub on_timezone_change: bool,
    /// What it starts; the unit whose timer it is unless set.
    pub unit: Option<UnitName>,
}

/// AccuracySec= of systemd.
const ACCURACY_DEFAULT: TimeSpan = TimeSpan::from_secs(60);

impl Default for TimerSpec {
    fn default() -> Self {
        Self {
            on_calendar: Box::default(),
            cron: Box::default(),
            on_active: Box::default(),
            on_boot: Box::default(),
            on_startup: Box::default(),
            on_unit_active: Box::default(),
            on_unit_inactive: Box::default(),
            randomized_delay: TimeSpan::ZERO,
            fixed_random_delay: false,
            accuracy: ACCURACY_DEFAULT,
            persistent: false,
            remain_after_elapse: true,
            on_clock_change: false,
            on_timezone_change: false,
            unit: None,
        }
    }
}

impl TimerSpec {
    /// Its first moment by the calendar after `after`.
    pub fn next(&self, after: Wall, zones: &Zones) -> Option<Wall> {
        let events = self.on_calendar.iter().filter_map(|event| event.next(after, zones));
        events.chain(self.cron.iter().filter_map(|line| line.next(after, zones))).min()
    }

    /// Whether it follows the calendar.
    pub const fn has_calendar(&self) -> bool {
        !self.on_calendar.is_empty() || !self.cron.is_empty()
    }

    /// Whether there is anything at which it elapses.
    pub const fn is_empty(&self) -> bool {
        let spans = self.on_active.is_empty()
            && self.on_boot.is_empty()
            && self.on_startup.is_empty()
            && self.on_unit_active.is_empty()
            && self.on_unit_inactive.is_empty();
        spans && !self.has_calendar() && !self.on_clock_change && !self.on_timezone_change
    }
}
