use std::{collections::BTreeMap, collections::BTreeSet, fmt};

use super::{Part, Report, RouteName, Silence};
use crate::base::{Generation, Remedy, RunResult, Severity, Shortage, UnitName, Wall};

/// What alerts are about; the names are those of rules (`event =`), rows and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A run ended unexpectedly and the next one was or will be started.
    UnitRestarted,
    /// A probe's verdict is unhealthy.
    UnitUnhealthy,
    /// Processes of the unit do not die on the final signal: it is down, and nothing more can be tried.
    UnitUnkillable,
    /// The unit is failed and is not restarted.
    UnitFailed,
    /// The unit is failed: too many starts in the window. Inhibits [`Topic::UnitFailed`].
    StartLimitHit,
    /// The end of any incident.
    Recovered,
    /// Unit files or settings were refused.
    ConfigRejected,
    /// The database cannot be written.
    StoreDegraded,
    /// A damaged database was set aside.
    StoreReplaced,
    /// Output of services cannot be written.
    LogsDegraded,
    /// A probe finds that the service does its work, but not for ever.
    UnitDegraded,
    /// A disk is short of room.
    DiskLow,
    /// A certificate expires soon.
    CertificateExpiring,
    /// A replica is behind, or a node of the fleet with its commands.
    SlowReplication,
    /// A node of the fleet is silent.
    NodeFailed,
    /// Fewer than a majority of the fleet are reached.
    QuorumLost,
    /// A node does not meet the fleet in Redis.
    BusUnreachable,
    /// A plan of the fleet waits for someone.
    RolloutPaused,
    /// A plan of the fleet is carried out.
    RolloutRunning,
}

impl Topic {
    /// Every one, in the order of the enum.
    pub const ALL: [Self; 19] = [
        Self::UnitRestarted,
        Self::UnitUnhealthy,
        Self::UnitUnkillable,
        Self::UnitFailed,
        Self::StartLimitHit,
        Self::Recovered,
        Self::ConfigRejected,
        Self::StoreDegraded,
        Self::StoreReplaced,
        Self::LogsDegraded,
        Self::UnitDegraded,
        Self::DiskLow,
        Self::CertificateExpiring,
        Self::SlowReplication,
        Self::NodeFailed,
        Self::QuorumLost,
        Self::BusUnreachable,
        Self::RolloutPaused,
        Self::RolloutRunning,
    ];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnitRestarted => "unit_restarted",
            Self::UnitUnhealthy => "unit_unhealthy",
            Self::UnitUnkillable => "unit_unkillable",
            Self::UnitFailed => "unit_failed",
            Self::StartLimitHit => "start_limit_hit",
            Self::Recovered => "recovered",
            Self::ConfigRejected => "config_rejected",
            Self::StoreDegraded => "store_degraded",
            Self::StoreReplaced => "store_replaced",
            Self::LogsDegraded => "logs_degraded",
            Self::UnitDegraded => "unit_degraded",
            Self::DiskLow => "disk_low",
            Self::CertificateExpiring => "certificate_expiring",
            Self::SlowReplication => "slow_replication",
            Self::NodeFailed => "node_failed",
            Self::QuorumLost => "quorum_lost",
            Self::BusUnreachable => "bus_unreachable",
            Self::RolloutPaused => "rollout_paused",
            Self::RolloutRunning => "rollout_running",
        }
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == text)
    }

    /// What is said of a probe that is degraded.
    pub(super) const fn of(shortage: Shortage) -> Self {
        match shortage {
            Shortage::Disk => Self::DiskLow,
            Shortage::Certificate => Self::CertificateExpiring,
            Shortage::Replication => Self::SlowReplication,
            Shortage::Service => Self::UnitDegraded,
        }
    }

    /// Whether only a person changes what it says.
    pub(super) const fn is_final(self) -> bool {
        self.stage() == 2
    }

    /// How far an incident has come with it; each step is told once.
    const fn stage(self) -> u8 {
        match self {
            // That a node has failed is worse than that it is cut off.
            Self::UnitUnkillable | Self::NodeFailed => 1,
            Self::UnitFailed | Self::StartLimitHit => 2,
            Self::UnitRestarted
            | Self::UnitUnhealthy
            | Self::Recovered
            | Self::ConfigRejected
            | Self::StoreDegraded
            | Self::StoreReplaced
            | Self::LogsDegraded
            | Self::UnitDegraded
            | Self::DiskLow
            | Self::CertificateExpiring
            | Self::SlowReplication
            | Self::QuorumLost
            | Self::BusUnreachable
            | Self::RolloutPaused
            | Self::RolloutRunning => 0,
        }
    }
}

/// Whom an incident is about; there is at most one open incident for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A unit.
    Unit(UnitName),
    /// What a probe of a unit looks at, while it is short.
    Probe(UnitName, String),
    /// The configuration of this node.
    Config,
    /// The database of this node.
    Store,
    /// The captured output of this node.
    Logs,
    /// The disk of the daemon's own files.
    Disk,
    /// Something of the fleet.
    Fleet(Part),
}

impl Subject {
    /// The unit that it belongs to, if it does.
    pub const fn unit(&self) -> Option<&UnitName> {
        match self {
            Self::Unit(unit) | Self::Probe(unit, _) => Some(unit),
            Self::Config | Self::Store | Self::Logs | Self::Disk | Self::Fleet(_) => None,
        }
    }

    /// What patterns may call it.
    pub(super) fn names(&self, node: &str) -> Vec<String> {
        let as_listed = self.to_string();
        match self {
            Self::Unit(_) => vec![as_listed],
            Self::Probe(unit, _) => vec![unit.to_string(), as_listed],
            Self::Config | Self::Store | Self::Logs | Self::Disk => vec![node.to_owned(), as_listed],
            Self::Fleet(part) => part.name().map(str::to_owned).into_iter().chain([as_listed]).collect(),
        }
    }

    /// What it is called where alerts of many nodes meet: `web@vm1`, `web/root@vm1`; of the node itself, `vm1`.
    pub(super) fn outside(&self, node: &str) -> String {
        match self {
            Self::Unit(_) | Self::Probe(..) => format!("{self}@{node}"),
            Self::Config | Self::Store | Self::Logs | Self::Disk => node.to_owned(),
            Self::Fleet(part) => part.name().unwrap_or_default().to_owned(),
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "/config" => Some(Self::Config),
            "/store" => Some(Self::Store),
            "/logs" => Some(Self::Logs),
            "/disk" => Some(Self::Disk),
            of_fleet if of_fleet.starts_with('/') => Part::parse(of_fleet).map(Self::Fleet),
            other => match other.split_once('/') {
                Some((unit, probe)) => Some(Self::Probe(UnitName::new(unit).ok()?, probe.to_owned())),
                None => UnitName::new(other).ok().map(Self::Unit),
            },
        }
    }
}

// A unit's name has no slash, so these words cannot be one.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => f.write_str(unit.as_str()),
            Self::Config => f.write_str("/config"),
            Self::Store => f.write_str("/store"),
            Self::Logs => f.write_str("/logs"),
            Self::Disk => f.write_str("/disk"),
            Self::Fleet(part) => part.fmt(f),
            Self::Probe(unit, probe) => write!(f, "{unit}/{probe}"),
        }
    }
}

/// Names one incident; the same facts make the same id again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub String);

impl IncidentId {
    /// Opened in this run of a unit, as the `nth` one there (0 first). Whoever loses the database counts runs anew, so when it was
    /// born tells apart what came before; the databases of old say nothing of that.
    pub(super) fn of_run(unit: &UnitName, born: Option<u64>, generation: Generation, nth: u32) -> Self {
        match born {
            Some(born) => Self(format!("{unit}/{born:x}/{generation}/{nth}")),
            None => Self(format!("{unit}/{generation}/{nth}")),
        }
    }

    /// The run of a unit that opened it, and which one in that run it was.
    pub fn run(&self) -> Option<(Generation, u32)> {
        let (rest, nth) = self.0.rsplit_once('/')?;
        let (_, generation) = rest.rsplit_once('/')?;
        Some((Generation(generation.parse().ok()?), nth.parse().ok()?))
    }

    /// Opened at this moment; for what is of no run and is never replayed.
    pub(super) fn of_subject(subject: &Subject, at: Wall) -> Self {
        Self(format!("{subject}/{}", at.0))
    }

    /// One moment that is no incident of a subject.
    pub(super) fn of_moment(topic: Topic, at: Wall) -> Self {
        Self(format!("/{}/{}", topic.as_str(), at.0))
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Up and healthy again.
    Recovered,
    /// It ended cleanly and rests.
    Finished,
    /// Someone stopped it.
    Stopped,
    /// Someone reset it.
    Reset,
    /// The daemon stopped. Rows of before incidents outlasted that.
    Shutdown,
    /// Its unit is in no file any more.
    Removed,
    /// It goes on as a younger one, which was opened while the store could not be read.
    Joined,
}

impl Closing {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Recovered, Self::Finished, Self::Stopped, Self::Reset, Self::Shutdown, Self::Removed, Self::Joined];

    /// One word for rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
            Self::Removed => "removed",
            Self::Joined => "joined",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.as_str() == text)
    }

    /// Whether people are told of it. Whoever stopped a unit knows it; the others who were told that it fails do not.
    pub(super) const fn is_told(self) -> bool {
        match self {
            Self::Recovered | Self::Finished | Self::Stopped | Self::Reset | Self::Removed => true,
            Self::Shutdown | Self::Joined => false,
        }
    }
}

/// The end of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// When.
    pub at: Wall,
    /// How.
    pub how: Closing,
}

/// Someone has taken it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// When.
    pub at: Wall,
    /// Who.
    pub by: String,
}

/// One incident, from the first unexpected end to health.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Whom it is about.
    pub subject: Subject,
    /// The worst that was reached, as told.
    pub topic: Topic,
    /// How much it matters.
    pub severity: Severity,
    /// What receivers group its messages by. It stays as it was when it opened, whatever it comes to: its end has to end what
    /// its beginning began. Rows of old have none.
    pub dedup_key: Option<String>,
    /// When it opened.
    pub opened_at: Wall,
    /// The newest run it concerns; 0 where there is none.
    pub generation: Generation,
    /// Unexpected ends in it that led to a restart.
    pub restarts: u32,
    /// The class of the last unexpected end.
    pub result: Option<RunResult>,
    /// What was said of it last, as bad as it has come to: reminders and the message of its end say this.
    pub text: String,
    /// What is done about that, where something can be: rows of old say nothing of it.
    pub remedy: Option<Remedy>,
    /// Reminders so far.
    pub reminders: u32,
    /// When people were told last.
    pub told_at: Wall,
    /// Who was told.
    pub told: BTreeSet<RouteName>,
    /// Whether what it has come to is yet to be told: something hushes it.
    pub held: bool,
    /// Who has taken it on: there are no reminders until it gets worse.
    pub acknowledged: Option<Acknowledged>,
    /// Whether those were told who are told when nobody takes it on.
    pub escalated: bool,
    /// Its end.
    pub closed: Option<Closed>,
}

impl Incident {
    /// What is done about it, for people.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match (self.topic, self.remedy) {
            (
                Topic::UnitRestarted
                | Topic::UnitUnhealthy
                | Topic::UnitDegraded
                | Topic::DiskLow
                | Topic::CertificateExpiring
                | Topic::SlowReplication,
                Some(remedy),
            ) => remedy.sentence(),
            (Topic::UnitRestarted, None) => Remedy::Restart.sentence(),
            (Topic::UnitUnhealthy, None) => "what its probe says (on_unhealthy)",
            // Someone, or something else, has started it again meanwhile.
            (Topic::UnitFailed | Topic::StartLimitHit, Some(remedy)) => remedy.sentence(),
            (Topic::UnitUnkillable, Some(Remedy::Recovering)) => Remedy::Recovering.sentence(),
            (Topic::UnitFailed, None) => "it stays down: nothing starts it again but a person",
            (Topic::StartLimitHit, None) => "it stays down until `supervisorctl reset` and `start`",
            (Topic::UnitUnkillable, _) => "it has been sent the last signal; nothing more can be tried",
            (Topic::ConfigRejected, _) => "the configuration before stays in force",
            (Topic::StoreDegraded, _) => "supervision goes on, rows wait in memory",
            (Topic::StoreReplaced, _) => "a new database was begun, the damaged one is kept",
            (Topic::UnitDegraded | Topic::DiskLow | Topic::CertificateExpiring | Topic::SlowReplication, None)
            | (Topic::LogsDegraded, _) => Remedy::Nothing.sentence(),
            (Topic::NodeFailed | Topic::QuorumLost | Topic::BusUnreachable, _) => {
                "nothing: each node keeps its services as they are, and plans wait"
            }
            (Topic::RolloutRunning, _) => "services are acted on in order and within their budgets",
            (Topic::RolloutPaused, _) => "it waits for `supervisorctl plan` resume, approve or abort",
            (Topic::Recovered, _) => "nothing",
        }
    }

    /// Whether its unit stays down until someone starts it.
    pub(super) fn is_down(&self) -> bool {
        self.topic.is_final() && self.remedy.is_none()
    }

    /// What receivers are to group it by, as it stands now: what the rule says, or else what it is and whom it is about.
    pub(super) fn key(&self, rule: Option<&str>, node: &str) -> String {
        let by_itself = || match self.subject.outside(node) {
            one if one.is_empty() => self.topic.as_str().to_owned(),
            one => format!("{}:{one}", self.topic.as_str()),
        };
        rule.map_or_else(by_itself, |rule| self.filled_in(rule, node))
    }

    /// The `dedup_key` of a rule.
    pub(super) fn filled_in(&self, rule: &str, node: &str) -> String {
        let unit = self.subject.unit().map(UnitName::as_str);
        rule.replace("<unit>", unit.unwrap_or(node))
            .replace("<event>", self.topic.as_str())
            .replace("<node>", node)
            .replace("<incident>", &self.id.0)
    }

    pub(super) fn begin(id: IncidentId, topic: Topic, at: Wall, report: &Report<'_>) -> Self {
        Self {
            id,
            subject: report.subject.clone(),
            topic,
            severity: report.severity,
            dedup_key: None,
            opened_at: at,
            generation: report.generation().unwrap_or_default(),
            restarts: u32::from(topic == Topic::UnitRestarted),
            result: report.result,
            text: report.text.clone(),
            remedy: report.remedy,
            reminders: 0,
            told_at: at,
            told: BTreeSet::new(),
            held: false,
            acknowledged: None,
            escalated: false,
            closed: None,
        }
    }

    /// Adds what was reported to an open incident; what that is to people.
    pub(super) fn join(
        &mut self,
        topic: Topic,
        severity: Severity,
        report: &Report<'_>,
        routes: &[RouteName],
    ) -> Joined {
        // That the unit has failed says less than the end, or the limit, by which it did.
        let is_known = report.result == self.result || report.result == Some(RunResult::StartLimitHit);
        let is_news = topic != Topic::UnitFailed || report.run.is_some() || !is_known;
        self.generation = self.generation.max(report.generation().unwrap_or_default());
        self.result = report.result.or(self.result);
        self.restarts = self.restarts.saturating_add(u32::from(topic == Topic::UnitRestarted));
        let is_same = topic.stage() == self.topic.stage();
        // Since it was given up someone, or something else, has started it.
        let came_back = self.topic.is_final() && self.remedy.is_some();
        // It was restarted, as was told, and does not help: nothing more is done, or others are to know.
        let is_unwell = (self.topic, topic) == (Topic::UnitRestarted, Topic::UnitUnhealthy)
            && (report.remedy == Some(Remedy::Nothing) || routes.iter().any(|route| !self.told.contains(route)));
        // Of one that somebody took on no reminder says so.
        let is_given_up_again = came_back && topic.is_final() && self.acknowledged.is_some();
        let joined = match topic.stage() > self.topic.stage() || is_unwell {
            true => Joined::Worse,
            false if is_given_up_again || is_same && severity > self.severity => Joined::Graver,
            false => Joined::Known,
        };
        if joined != Joined::Known {
            self.severity = if is_unwell || is_given_up_again { severity.max(self.severity) } else { severity };
            self.acknowledged = None;
        }
        let says_more = joined != Joined::Known || is_news && is_same || came_back;
        if says_more {
            self.text.clone_from(&report.text);
        }
        // It is up again no longer, or nothing starts it again.
        if says_more || self.remedy == Some(Remedy::Recovering) || topic.is_final() {
            self.remedy = report.remedy;
        }
        if joined != Joined::Known || topic == Topic::StartLimitHit {
            self.topic = topic;
        }
        joined
    }
}

/// What a message says of an incident's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// That it is there.
    First,
    /// That it matters more than was said: the nth word besides the first.
    Graver(u32),
    /// That it lasts.
    Reminder(u32),
}

/// What a report is to people who may know of the incident already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// It has come to a stage that is worse.
    Worse,
    /// It matters more than was said: a critical probe falls while there is only a warning.
    Graver,
    /// Nothing that they have to be told of.
    Known,
}

/// What is known of a unit's runs, so that a replayed fact changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The newest run that was seen.
    pub seen: Generation,
    /// The newest run whose end was seen.
    pub ended: Generation,
    /// The run that opened the newest incident, and how many had been opened in that run before it.
    pub incident: Option<(Generation, u32)>,
}

/// What lasts of the alert machine; the store makes it from its rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Saved {
    /// Incidents that are open.
    pub open: Vec<Incident>,
    /// Marks of every unit that ever ran.
    pub marks: BTreeMap<UnitName, Mark>,
    /// Silences that may hold.
    pub silences: Vec<Silence>,
    /// What tells this database from others that this node has had.
    pub born: Option<u64>,
}
