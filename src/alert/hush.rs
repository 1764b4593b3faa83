use std::fmt;

use jiff::{Timestamp, civil::Time, tz::TimeZone};

use super::{Subject, Topic};
use crate::base::{UnitName, Wall};

/// Which alerts: `unit_failed`, `unit_failed:web`, `unit_*:web-*`, `*`: a topic, or a topic and whom it is about; `*` is any
/// text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pattern(String);

impl Pattern {
    /// As it is written in a rule.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As people name what they want silenced: a pattern, or a unit's name, which is everything about it.
    pub fn about(text: &str) -> Self {
        let is_topic = Topic::ALL.iter().any(|topic| glob(text, topic.as_str()));
        if text.contains(':') || is_topic { Self::new(text) } else { Self(format!("*:{text}")) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches an alert; what concerns the node and none of its units is about the node's name.
    pub(super) fn matches(&self, topic: Topic, subject: &Subject, node: &str) -> bool {
        let Some((event, about)) = self.0.split_once(':') else { return glob(&self.0, topic.as_str()) };
        // What it is called outside is taken word for word: `*@*` means the instances of templates.
        let is_about = || about == subject.outside(node) || subject.names(node).iter().any(|name| glob(about, name));
        glob(event, topic.as_str()) && is_about()
    }

    /// Whether it says more of the event than that it is one.
    pub(super) fn names_event(&self) -> bool {
        let event = self.0.split_once(':').map_or(&*self.0, |(event, _)| event);
        event.chars().any(|c| c != '*')
    }

    /// Whether it could match anything that may be said of these subjects, or of the node itself.
    pub fn is_of_any(&self, mut subjects: impl Iterator<Item = Subject>, node: &str) -> bool {
        let matches = |subject: &Subject| Topic::ALL.into_iter().any(|topic| self.matches(topic, subject, node));
        matches(&Subject::Config) || subjects.any(|subject| matches(&subject))
    }

    /// Whether it matches whatever may be said of a unit.
    fn covers(&self, unit: &UnitName) -> bool {
        match self.0.split_once(':') {
            Some((event, about)) => event.chars().all(|c| c == '*') && glob(about, unit.as_str()),
            None => self.0.chars().all(|c| c == '*'),
        }
    }
}

/// Whether `text` is what `pattern` says, `*` being any text. In linear memory and at most quadratic time.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

/// Alerts that nobody is to be told of for a time. What opens meanwhile and lasts longer is told afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its number, by which people end it early.
    pub id: u64,
    /// Which alerts.
    pub pattern: Pattern,
    /// From when.
    pub since: Wall,
    /// Until when.
    pub until: Wall,
    /// Whose word it is.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Whether someone works there: `check` leaves the units alone that it covers.
    pub maintenance: bool,
}

impl Silence {
    /// Whether it holds at this moment.
    pub fn holds(&self, at: Wall) -> bool {
        at < self.until
    }

    /// Whether someone works on the unit at this moment.
    pub(super) fn maintains(&self, unit: &UnitName, at: Wall) -> bool {
        self.maintenance && self.holds(at) && self.pattern.covers(unit)
    }
}

/// Hours of the day in which people are not told of what can wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    to: Time,
    zone: TimeZone,
}

/// Why a text names no hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {0:?} as hours of the day (write \"22:00-07:00\")")]
pub struct QuietHoursError(pub String);

impl QuietHours {
    /// Reads `22:00-07:00`, of clocks in `zone`.
    pub fn new(text: &str, zone: TimeZone) -> Result<Self, QuietHoursError> {
        let refused = || QuietHoursError(text.to_owned());
        let (from, to) = text.split_once('-').ok_or_else(refused)?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| refused());
        let (from, to) = (time(from)?, time(to)?);
        if from == to { Err(refused()) } else { Ok(Self { from, to, zone }) }
    }

    /// When they are over, at a moment that lies in them.
    pub(super) fn end(&self, at: Wall) -> Option<Wall> {
        let here = Timestamp::from_microsecond(at.0).ok()?.to_zoned(self.zone.clone());
        let time = here.time();
        let is_quiet =
            if self.from < self.to { self.from <= time && time < self.to } else { time < self.to || self.from <= time };
        if !is_quiet {
            return None;
        }
        let day = if time < self.to { here.date() } else { here.date().tomorrow().ok()? };
        let end = day.to_datetime(self.to).to_zoned(self.zone.clone()).ok()?;
        Some(Wall(end.timestamp().as_microsecond()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What keeps an alert from being told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hush {
    /// For people: `silence 7 of uid 0`, `quiet hours`, or the other incident, which says it already.
    pub by: String,
    /// When it ends; `None` with that other incident.
    pub until: Option<Wall>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> Wall {
        Wall(text.parse::<Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text) in [("*", ""), ("a*", "a"), ("*a", "bba"), ("a*c*e", "abcde"), ("a**b", "ab"), ("x", "x")] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*", "b"), ("*a", "ab"), ("a*a", "a"), ("a*c*e", "abed"), ("", "x")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_name_alone_is_everything_about_a_unit() {
        let web = Subject::Unit(UnitName::new("web").unwrap());
        let matches = |text: &str, topic| Pattern::about(text).matches(topic, &web, "vm1");
        assert!(
            matches("web", Topic::UnitFailed)
                && matches("web", Topic::UnitRestarted)
                && !matches("db", Topic::UnitFailed)
        );
        assert!(matches("unit_failed", Topic::UnitFailed) && !matches("unit_failed", Topic::UnitRestarted));
        assert!(matches("unit_*:w*", Topic::UnitFailed) && !matches("unit_*:x*", Topic::UnitFailed));
        let of_unit = |text: &str| Pattern::about(text).covers(&UnitName::new("web").unwrap());
        assert!(of_unit("web") && of_unit("*") && of_unit("*:w*") && !of_unit("unit_failed:web") && !of_unit("db"));
    }

    #[test]
    fn what_a_probe_says_is_found_by_its_unit_and_by_itself() {
        let subject = Subject::Probe(UnitName::new("web").unwrap(), "root".to_owned());
        for text in ["disk_low:web", "disk_low:web/root", "disk_low"] {
            assert!(Pattern::new(text).matches(Topic::DiskLow, &subject, "vm1"), "{text}");
        }
        assert!(!Pattern::new("disk_low:root").matches(Topic::DiskLow, &subject, "vm1"));
        assert!(Pattern::new("store_degraded:vm1").matches(Topic::StoreDegraded, &Subject::Store, "vm1"));
    }

    #[test]
    fn what_lists_and_receivers_outside_call_it_is_a_pattern() {
        let web = Subject::Unit(UnitName::new("web").unwrap());
        let matches = |text: &str, topic, subject: &Subject| Pattern::about(text).matches(topic, subject, "vm1");
        assert!(matches("unit_failed:web@vm1", Topic::UnitFailed, &web));
        assert!(!matches("unit_failed:web@vm2", Topic::UnitFailed, &web), "that is another node's");
        assert!(!matches("unit_failed:*@*", Topic::UnitFailed, &web), "those are instances of templates");
        assert!(matches("store_degraded:/store", Topic::StoreDegraded, &Subject::Store));
        assert!(matches("/config", Topic::ConfigRejected, &Subject::Config));
    }

    #[test]
    fn quiet_hours_end_at_their_end_also_over_midnight_and_a_change_of_clocks() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let night = QuietHours::new("22:00-07:00", berlin.clone()).unwrap();
        assert_eq!(night.end(wall("2026-07-01T23:30:00+02:00")), Some(wall("2026-07-02T07:00:00+02:00")));
        assert_eq!(night.end(wall("2026-07-02T06:59:59+02:00")), Some(wall("2026-07-02T07:00:00+02:00")));
        assert_eq!(night.end(wall("2026-07-02T07:00:00+02:00")), None);
        assert_eq!(night.end(wall("2026-07-02T21:59:59+02:00")), None);
        // The night in which clocks go back.
        assert_eq!(night.end(wall("2026-10-24T22:00:00+02:00")), Some(wall("2026-10-25T07:00:00+01:00")));
        let lunch = QuietHours::new(" 12:00 - 13:00 ", berlin).unwrap();
        assert_eq!(lunch.end(wall("2026-07-02T12:30:00+02:00")), Some(wall("2026-07-02T13:00:00+02:00")));
        assert_eq!(lunch.end(wall("2026-07-02T11:30:00+02:00")), None);
        for bad in ["", "22:00", "22-07", "07:00-07:00", "25:00-07:00"] {
            assert!(QuietHours::new(bad, TimeZone::UTC).is_err(), "{bad}");
        }
    }
}
