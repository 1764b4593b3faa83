//! systemd's normal form, as `systemd-analyze calendar` prints it.

use std::fmt;

use super::{
    CalendarSpec, EVERY_WEEKDAY, MICROS_PER_SEC, ZoneName,
    component::{Chain, Component},
};

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl fmt::Display for CalendarSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != EVERY_WEEKDAY {
            write!(f, "{} ", weekdays(self.weekdays))?;
        }
        let joint = if self.from_month_end { '~' } else { '-' };
        let (year, month, day) = (chain(&self.year, 4, 1), chain(&self.month, 2, 1), chain(&self.day, 2, 1));
        let (hour, minute) = (chain(&self.hour, 2, 1), chain(&self.minute, 2, 1));
        let second = if every_second(&self.second) { "*".to_owned() } else { chain(&self.second, 2, MICROS_PER_SEC) };
        write!(f, "{year}-{month}{joint}{day} {hour}:{minute}:{second}")?;
        match &self.zone {
            ZoneName::Local => Ok(()),
            ZoneName::Utc => f.write_str(" UTC"),
            ZoneName::Named(name) => write!(f, " {name}"),
        }
    }
}

impl fmt::Debug for CalendarSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether it is every whole second and no other moment, whatever else is listed.
fn every_second(chain: &Chain) -> bool {
    let whole = |value: u32| value.is_multiple_of(MICROS_PER_SEC);
    let all = Component { start: 0, stop: None, step: MICROS_PER_SEC };
    chain.0.contains(&all) && chain.0.iter().all(|component| whole(component.start) && whole(component.step))
}

/// Two in a row stand side by side, more are a range.
fn weekdays(bits: u8) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut day = 0;
    while day < WEEKDAYS.len() {
        let length = WEEKDAYS.iter().enumerate().skip(day).take_while(|(at, _)| bits & (1 << at) != 0).count();
        match length {
            0 => {}
            1 | 2 => parts.extend(WEEKDAYS[day..day + length].iter().map(|name| (*name).to_owned())),
            _ => parts.push(format!("{}..{}", WEEKDAYS[day], WEEKDAYS[day + length - 1])),
        }
        day += length + 1;
    }
    parts.join(",")
}

fn chain(chain: &Chain, width: usize, scale: u32) -> String {
    if chain.is_any() {
        return "*".to_owned();
    }
    chain.0.iter().map(|one| component(*one, width, scale)).collect::<Vec<_>>().join(",")
}

/// One component; values are in parts of `scale`.
pub(super) fn component(component: Component, width: usize, scale: u32) -> String {
    let number = |value: u32, width: usize| match value % scale {
        0 => format!("{:0width$}", value / scale),
        part => format!("{:0width$}.{part:06}", value / scale),
    };
    let Component { start, stop, step } = component;
    let mut text = number(start, width);
    if let Some(stop) = stop {
        text = format!("{text}..{}", number(stop, width));
    }
    if step > 0 && !(stop.is_some() && step == scale) {
        text = format!("{text}/{}", number(step, 1));
    }
    text
}
