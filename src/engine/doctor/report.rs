//! Findings, and the order in which they are told.

use crate::{
    unit::spec::ProbeSpec,
    wire::v1::{Diagnosis, Symptom},
};

/// The order of topics: first what the others stand on.
const TOPICS: [&str; 14] = [
    "settings",
    "units",
    "daemon",
    "ports",
    "dns",
    "redis",
    "permissions",
    "clock",
    "disk",
    "limits",
    "cgroup",
    "processes",
    "database",
    "init",
];

/// What depends on something that does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Stake {
    /// What a probe only shows (`on_unhealthy = "none"`).
    #[default]
    Show,
    /// The work of a service, or an alert.
    Work,
}

impl Stake {
    /// That of what a probe asks.
    pub(super) fn of(probe: &ProbeSpec) -> Self {
        if probe.matters() { Self::Work } else { Self::Show }
    }
}

/// What is found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report(Vec<Symptom>);

impl Report {
    /// All is well there.
    pub(super) fn ok(&mut self, topic: &'static str, place: impl Into<String>, message: impl Into<String>) {
        self.push("ok", topic, place.into(), message.into(), None);
    }

    /// It works, but not well, or not for ever.
    pub(super) fn warn(
        &mut self,
        topic: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push("warn", topic, place.into(), message.into(), Some(remedy.into()));
    }

    /// It does not work.
    pub(super) fn fail(
        &mut self,
        topic: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push("fail", topic, place.into(), message.into(), Some(remedy.into()));
    }

    /// It does not work.
    pub(super) fn unwell(
        &mut self,
        stake: Stake,
        topic: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        match stake {
            Stake::Work => self.fail(topic, place, message, remedy),
            Stake::Show => self.warn(topic, place, message, remedy),
        }
    }

    /// It could not be seen.
    pub(super) fn unknown(
        &mut self,
        topic: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push("unknown", topic, place.into(), message.into(), Some(remedy.into()));
    }

    fn push(&mut self, level: &str, topic: &str, place: String, message: String, remedy: Option<String>) {
        self.0.push(Symptom { level: level.to_owned(), topic: topic.to_owned(), place, message, remedy });
    }

    /// What another found.
    pub(super) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All of it, by topic.
    pub(super) fn diagnosis(mut self) -> Diagnosis {
        self.0.sort_by_key(|symptom| TOPICS.iter().position(|topic| *topic == symptom.topic));
        Diagnosis { findings: self.0 }
    }

    /// Level, place and message of each, for tests.
    #[cfg(test)]
    pub(super) fn said(&self) -> Vec<(&str, &str, &str)> {
        self.0.iter().map(|one| (one.level.as_str(), one.place.as_str(), one.message.as_str())).collect()
    }
}
