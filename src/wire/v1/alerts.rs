//! `/v1/alerts`: what is open, what is hushed, and what people say of it.

use serde::{Deserialize, Serialize};

/// Open incidents and silences: `GET /v1/alerts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// What is open, the oldest first.
    pub incidents: Vec<Incident>,
    /// What is hushed, the first to end first.
    pub silences: Vec<Silence>,
    /// Routes that refuse our messages, with the reason.
    pub dead_routes: Vec<DeadRoute>,
    /// Routes whose last try failed, with the reason; they are tried again soon.
    #[serde(default)]
    pub failing_routes: Vec<DeadRoute>,
    /// Routes for which messages wait, and how many.
    #[serde(default)]
    pub waiting: Vec<WaitingRoute>,
}

/// Messages that wait for a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRoute {
    /// Its name.
    pub route: String,
    /// How many.
    pub messages: u64,
    /// Whether the settings know it no more: nobody sends them unless it comes back.
    #[serde(default)]
    pub gone: bool,
}

/// An open incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// What receivers group its messages by: `unit_failed:web@vm1`; rows of old have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// `unit_failed`, `disk_low` …
    pub event: String,
    /// A unit, `UNIT/PROBE`, or `/config`, `/store`, `/logs`, `/disk` of the node.
    pub about: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// What people were told last, or would have been.
    pub message: String,
    /// What is done about it, for people.
    #[serde(default)]
    pub action: String,
    /// When it opened.
    pub opened_us: i64,
    /// When people were told last.
    pub told_us: i64,
    /// Automatic restarts in it.
    pub restarts: u32,
    /// Reminders so far.
    pub reminders: u32,
    /// Who was told, or is to be.
    pub told: Vec<String>,
    /// Whose route has yet to take a message of it; a list of open incidents alone says this.
    #[serde(default)]
    pub untaken: Vec<String>,
    /// Whose route has taken none and is asked no more.
    #[serde(default)]
    pub given_up: Vec<String>,
    /// Which route was told in place of another, that did not take it in time.
    #[serde(default)]
    pub fallbacks: Vec<ToldInstead>,
    /// Whether what it has come to is yet to be told: a silence, quiet hours or another incident hush it.
    pub held: bool,
    /// Which of them does, in a list of open incidents.
    #[serde(default)]
    pub hushed_by: Option<String>,
    /// Until when, unless that is not known.
    #[serde(default)]
    pub hushed_until_us: Option<i64>,
    /// Who has taken it on.
    pub acknowledged_by: Option<String>,
    /// When.
    pub acknowledged_us: Option<i64>,
    /// Whether others were told because nobody had.
    pub escalated: bool,
}

/// A fallback that has taken a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldInstead {
    /// Its name.
    pub route: String,
    /// The route that it was for.
    pub fallback_of: String,
}

/// Alerts that nobody is told of for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// Which alerts: `unit_failed:web`, `*:web`, `disk_low` …
    pub pattern: String,
    /// From when.
    pub since_us: i64,
    /// Until when.
    pub until_us: i64,
    /// Whose word it is.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Whether someone works there: `check` leaves the units alone.
    pub maintenance: bool,
    /// Said of a new one: there is nothing now that it could be about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub matches_nothing: bool,
}

/// A route that does not take our messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRoute {
    /// Its name.
    pub route: String,
    /// What it says.
    pub reason: String,
}

/// Hushes alerts for a time: the body of `POST /v1/alerts/silence`, answered by the [`Silence`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceRequest {
    /// A pattern, or a unit's name, which is everything about it.
    pub what: String,
    /// For how long.
    pub span_us: u64,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// Whether someone works there.
    #[serde(default)]
    pub maintenance: bool,
}

/// Which silences or incidents: the body of `POST /v1/alerts/unsilence`, answered by [`Silences`], and of
/// `POST /v1/alerts/ack`, answered by [`Incidents`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// A number or id, or what they are about.
    pub what: String,
}

/// Silences that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silences {
    /// Each.
    pub silences: Vec<Silence>,
}

/// Incidents that someone has taken on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    /// Each.
    pub incidents: Vec<Incident>,
}

/// What became of a test: the answer to `POST /v1/alerts/test` with the route in `what`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTest {
    /// Which route.
    pub route: String,
    /// Whether the receiver took the message.
    pub ok: bool,
    /// What it said otherwise.
    pub reason: Option<String>,
}
