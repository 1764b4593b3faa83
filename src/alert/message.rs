use serde::{Deserialize, Serialize};

use super::{Closing, Incident, RouteName, Subject, Target, Topic, Verdict, incident::Word};
use crate::base::{Now, Severity, TimeSpan, Wall, counted};

/// The version of [`Message`]'s JSON; it grows when a reader of the old form would be misled.
pub const MESSAGE_VERSION: u32 = 1;
/// Most characters of a sentence in a message; what services and probes say can be long.
pub const TEXT_CHARS_MAX: usize = 800;

/// The event of several messages in one.
const DIGEST: &str = "digest";

/// What the names of a command's variables begin with.
pub const VARIABLE_PREFIX: &str = "ROUNDSMAN_";

/// So much later than a reminder was due, what it would have reminded of is not believed any more.
const UNTIL_REMINDED: TimeSpan = TimeSpan::from_secs(3600);

/// Whether what a message speaks of still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Firing,
    /// It is over.
    Resolved,
}

/// One message to one route: the JSON of a webhook, and what the outbox keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// [`MESSAGE_VERSION`].
    pub version: u32,
    /// Names this message; a repeated delivery bears the same.
    pub id: String,
    /// The topic: `unit_failed` …
    pub event: String,
    /// The topic that the incident has come to, also in the message of its end, whose event is `recovered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// `info`, `warning`, `critical`, `bug`.
    pub severity: String,
    /// Firing or resolved.
    pub status: Status,
    /// The unit it is about, if it is about one.
    pub unit: Option<String>,
    /// The node it comes from.
    pub node: String,
    /// The newest run it concerns; 0 where there is none.
    pub generation: u64,
    /// Restarts in this incident so far.
    pub restarts: u32,
    /// systemd's class of the last unexpected end.
    pub result: Option<String>,
    /// One sentence for people.
    pub message: String,
    /// When, in RFC 3339.
    pub at: String,
    /// When the incident opened, in RFC 3339.
    #[serde(default)]
    pub since: Option<String>,
    /// Until when it is to be taken for true if nothing more is heard, in RFC 3339; `None` is for ever.
    #[serde(default)]
    pub until: Option<String>,
    /// The incident; the same in all its messages.
    pub incident: String,
    /// 0, or which reminder this is.
    pub reminder: u32,
    /// What receivers group by, the same in all messages of an incident: `unit_failed:web@vm1` unless a rule says otherwise.
    pub dedup_key: String,
    /// The probe of the unit that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// What of the fleet it is about, if it is: `node/vm3`, `commands/vm3`, `quorum`, `plan/ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What the supervisor did, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What the unit wrote last before it; filled in when it is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_output: Vec<String>,
    /// Where people read what to do; of a digest all that are in it, one a line.
    pub runbook: Option<String>,
    /// Whom it is for.
    pub route: String,
    /// The route that it was for first and that did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_of: Option<String>,
    /// Whether an earlier delivery of it may have arrived.
    pub possible_duplicate: bool,
}

/// A text that is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not the JSON of one.
    #[error("cannot read an alert message")]
    Json(#[source] serde_json::Error),
    /// Written by a newer program.
    #[error("cannot read an alert message of version {0}")]
    Version(u32),
}

impl Message {
    pub(super) fn firing(incident: &Incident, verdict: &Verdict, node: &str, route: &RouteName, word: Word) -> Self {
        let event = incident.topic.as_str();
        let mut id = format!("{node}/{}/{event}/{route}", incident.id);
        let mut text = incident.text.clone();
        let reminder = match word {
            Word::First => 0,
            Word::Graver(nth) => {
                id = format!("{id}/reminder-{nth}");
                0
            }
            Word::Reminder(nth) => {
                id = format!("{id}/reminder-{nth}");
                text = format!("still so since {}: {text}", rfc3339(incident.opened_at));
                nth
            }
        };
        let at = incident.told_at;
        let base = Self::about(incident, verdict, node, route);
        let until = verdict.repeat_interval.micros().filter(|micros| *micros > 0).map(|micros| {
            let micros = micros.saturating_add(UNTIL_REMINDED.micros().unwrap_or(0));
            rfc3339(Wall(at.0.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX))))
        });
        Self {
            id,
            severity: verdict.severity.as_str().to_owned(),
            message: text,
            at: rfc3339(at),
            until,
            reminder,
            action: Some(incident.action().to_owned()),
            ..base
        }
    }

    /// For those who are told because nobody has taken it on.
    pub(super) fn escalated(incident: &Incident, verdict: &Verdict, node: &str, route: &RouteName, at: Wall) -> Self {
        let base = Self::firing(incident, verdict, node, route, Word::First);
        let since = rfc3339(incident.opened_at);
        let message = format!("nobody has taken this on since {since}: {}", incident.text);
        Self { id: format!("{}/escalation", base.id), message, at: rfc3339(at), ..base }
    }

    pub(super) fn resolved(incident: &Incident, verdict: &Verdict, node: &str, route: &RouteName, at: Wall) -> Self {
        let event = Topic::Recovered.as_str();
        let by_a_person = match incident.closed.map(|closed| closed.how) {
            Some(Closing::Stopped) => Some("was stopped"),
            Some(Closing::Reset) if incident.is_down() => Some("was reset, and is down until someone starts it"),
            Some(Closing::Reset) => Some("was reset: what is counted of it begins anew"),
            Some(Closing::Removed) => Some("is in no unit file any more"),
            Some(Closing::Recovered | Closing::Finished | Closing::Shutdown | Closing::Joined) | None => None,
        };
        let message = match (&incident.subject, by_a_person) {
            (Subject::Unit(unit) | Subject::Probe(unit, _), Some(what)) => format!("{unit} {what}"),
            (Subject::Fleet(part), Some(_)) => part.is_gone(),
            (subject, _) => Self::is_over(subject, incident.restarts),
        };
        let message = format!("{message}; last it was: {}", incident.text);
        Self {
            id: format!("{node}/{}/{event}/{route}", incident.id),
            event: event.to_owned(),
            severity: verdict.severity.as_str().to_owned(),
            status: Status::Resolved,
            message,
            at: rfc3339(at),
            ..Self::about(incident, verdict, node, route)
        }
    }

    fn is_over(subject: &Subject, restarts: u32) -> String {
        match subject {
            Subject::Unit(unit) if restarts == 0 => format!("{unit} is well again"),
            Subject::Unit(unit) => format!("{unit} is well again after {}", counted(restarts, "restart")),
            Subject::Config => "the configuration is accepted again".to_owned(),
            Subject::Store => "the database is written again".to_owned(),
            Subject::Logs => "output of services is written again".to_owned(),
            Subject::Disk => "the disk has room again".to_owned(),
            Subject::Fleet(part) => part.is_over(),
            Subject::Probe(unit, probe) => format!("probe {probe} of {unit} is healthy again"),
        }
    }

    /// A message that only proves that a route works.
    pub fn test(node: &str, route: &RouteName, now: Now) -> Self {
        Self {
            version: MESSAGE_VERSION,
            id: format!("{node}/test/{}/{route}", now.wall.0),
            event: "test".to_owned(),
            topic: None,
            severity: Severity::Info.as_str().to_owned(),
            status: Status::Firing,
            unit: None,
            node: node.to_owned(),
            generation: 0,
            restarts: 0,
            result: None,
            message: format!("a test of the route {route}, nothing is wrong"),
            at: rfc3339(now.wall),
            since: None,
            until: None,
            incident: "test".to_owned(),
            reminder: 0,
            dedup_key: format!("test:{node}"),
            probe: None,
            about: None,
            action: None,
            last_output: Vec::new(),
            runbook: None,
            route: route.to_string(),
            fallback_of: None,
            possible_duplicate: false,
        }
    }

    /// Several in one, for people: the worst first. `first` is one of them.
    pub fn digest(first: &Self, messages: &[Self]) -> Self {
        let rank = |message: &Self| (message.status == Status::Firing, Severity::parse(&message.severity));
        let mut sorted: Vec<&Self> = messages.iter().collect();
        sorted.sort_by_key(|message| std::cmp::Reverse(rank(message)));
        let firing = messages.iter().filter(|message| message.status == Status::Firing).count();
        let over = messages.len() - firing;
        let lasting =
            messages.iter().filter(|message| message.status == Status::Firing && message.reminder > 0).count();
        let last_on = if lasting > 0 { format!(", {lasting} known and not over") } else { String::new() };
        let last = messages.last().map_or(&first.id, |last| &last.id);
        Self {
            id: format!("{}/with-{}-to/{last}", first.id, messages.len()),
            event: DIGEST.to_owned(),
            topic: None,
            severity: sorted.first().map_or_else(String::new, |worst| worst.severity.clone()),
            status: if firing > 0 { Status::Firing } else { Status::Resolved },
            unit: None,
            probe: None,
            about: None,
            generation: 0,
            restarts: 0,
            result: None,
            message: format!("{} alerts at once: {} new{last_on}, {over} over", messages.len(), firing - lasting),
            since: None,
            until: None,
            incident: "digest".to_owned(),
            reminder: 0,
            dedup_key: format!("digest:{}", first.node),
            action: None,
            runbook: each_once(sorted.iter().filter_map(|message| message.runbook.as_deref())),
            possible_duplicate: messages.iter().any(|message| message.possible_duplicate),
            last_output: sorted.iter().map(|message| format!("[{}] {}", message.state(), message.message)).collect(),
            ..first.clone()
        }
    }

    fn about(incident: &Incident, verdict: &Verdict, node: &str, route: &RouteName) -> Self {
        let unit = incident.subject.unit().map(ToString::to_string);
        // What a release before this one opened ends under the key that it was told under.
        let of_old =
            || verdict.dedup_key.as_ref().map_or_else(|| incident.id.to_string(), |key| incident.filled_in(key, node));
        let dedup_key = incident.dedup_key.clone().unwrap_or_else(of_old);
        Self {
            version: MESSAGE_VERSION,
            id: String::new(),
            event: incident.topic.as_str().to_owned(),
            topic: Some(incident.topic.as_str().to_owned()),
            severity: String::new(),
            status: Status::Firing,
            unit,
            node: node.to_owned(),
            generation: incident.generation.0,
            restarts: incident.restarts,
            result: incident.result.map(|result| result.as_str().to_owned()),
            message: String::new(),
            at: String::new(),
            since: Some(rfc3339(incident.opened_at)),
            until: None,
            incident: incident.id.to_string(),
            reminder: 0,
            dedup_key,
            probe: match &incident.subject {
                Subject::Probe(_, probe) => Some(probe.clone()),
                Subject::Unit(_)
                | Subject::Config
                | Subject::Store
                | Subject::Logs
                | Subject::Disk
                | Subject::Fleet(_) => None,
            },
            about: match &incident.subject {
                Subject::Fleet(part) => Some(part.to_string().trim_start_matches('/').to_owned()),
                Subject::Unit(_)
                | Subject::Probe(..)
                | Subject::Config
                | Subject::Store
                | Subject::Logs
                | Subject::Disk => None,
            },
            action: None,
            last_output: Vec::new(),
            runbook: verdict.runbook.clone(),
            route: route.to_string(),
            fallback_of: None,
            possible_duplicate: false,
        }
    }

    /// What it is about: a unit, a probe of one, or what is of the node, which have a key each.
    pub fn thing(&self) -> String {
        let probe = self.probe.as_deref().unwrap_or_default();
        self.unit.as_ref().map_or_else(|| self.dedup_key.clone(), |unit| format!("{unit}/{probe}"))
    }

    /// Whether it is several in one.
    pub(super) fn is_digest(&self) -> bool {
        self.event == DIGEST
    }

    /// The message as JSON: what the outbox keeps and a webhook gets.
    pub fn to_json(&self) -> String {
        // Strings, numbers and options of them always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads [`Message::to_json`].
    pub fn from_json(text: &str) -> Result<Self, MessageError> {
        let message: Self = serde_json::from_str(text).map_err(MessageError::Json)?;
        if message.version > MESSAGE_VERSION {
            return Err(MessageError::Version(message.version));
        }
        Ok(message)
    }

    /// The body of the POST to a target; mail has none.
    pub fn body(&self, target: &Target) -> Option<String> {
        match target {
            Target::Command(_) => Some(self.to_json()),
            Target::Webhook(webhook) => {
                Some(webhook.template.as_ref().map_or_else(|| self.to_json(), |template| template.render(self)))
            }
            Target::Slack(_) | Target::SlackBot(_) => Some(self.slack().to_string()),
            Target::Alertmanager(_) => Some(self.alertmanager().to_string()),
            Target::Email(_) => None,
        }
    }

    /// What `POST /api/v2/alerts` takes. An alert there is known by its labels, so no label may change while an incident
    /// lasts; what is of no unit has one topic for ever. People sort by severity; so all severities are told at each
    /// time, and at most one of them is not over.
    fn alertmanager(&self) -> serde_json::Value {
        let subject = match (&self.unit, &self.probe) {
            (Some(_), Some(_)) => "probe",
            (Some(_), None) => "unit",
            (None, _) if self.about.is_some() => "fleet",
            (None, _) => self.topic.as_ref().unwrap_or(&self.event),
        };
        let alerts = [Severity::Info, Severity::Warning, Severity::Critical].map(|severity| {
            let fires = self.status == Status::Firing && severity.as_str() == self.severity;
            let mut labels = serde_json::json!({
                "alertname": format!("Roundsman_{subject}"), "severity": severity.as_str(), "node": self.node,
            });
            if let (Some(unit), Some(labels)) = (&self.unit, labels.as_object_mut()) {
                labels.insert("unit".to_owned(), unit.clone().into());
                labels.extend(self.probe.iter().map(|probe| ("probe".to_owned(), probe.clone().into())));
            }
            if let (Some(about), Some(labels)) = (&self.about, labels.as_object_mut()) {
                labels.insert("about".to_owned(), about.clone().into());
            }
            let mut alert = serde_json::json!({
                "labels": labels,
                "annotations": {
                    "summary": if fires == (self.status == Status::Firing) { self.message.clone() } else { self.gave_way() },
                    "event": self.event, "incident": self.incident, "dedup_key": self.dedup_key,
                    "action": self.action.clone().unwrap_or_default(),
                    "restarts": self.restarts.to_string(),
                    "result": self.result.clone().unwrap_or_default(),
                    "last_output": self.last_output.join("\n"),
                    "runbook_url": self.runbook.clone().unwrap_or_default(),
                },
                "startsAt": self.since.as_ref().unwrap_or(&self.at),
            });
            let ends = if fires { self.until.as_ref() } else { Some(&self.at) };
            if let (Some(ends), Some(alert)) = (ends, alert.as_object_mut()) {
                alert.insert("endsAt".to_owned(), ends.clone().into());
            }
            alert
        });
        serde_json::Value::from(alerts.to_vec())
    }

    /// What is said of the alert of another severity, which ends although nothing is well.
    fn gave_way(&self) -> String {
        let subject = self.unit.as_ref().unwrap_or(&self.node);
        format!("no end: {subject} is told of as {} now", self.severity)
    }

    /// What a command is told in variables besides, for those that read no JSON.
    pub fn variables(&self) -> Vec<(String, String)> {
        let status = if self.status == Status::Firing { "firing" } else { "resolved" };
        let duplicate = if self.possible_duplicate { "true" } else { "false" };
        let all = [
            ("EVENT", &*self.event),
            ("UNIT", self.unit.as_deref().unwrap_or_default()),
            ("SEVERITY", &*self.severity),
            ("NODE", &*self.node),
            ("STATUS", status),
            ("INCIDENT", &*self.incident),
            ("DEDUP_KEY", &*self.dedup_key),
            ("POSSIBLE_DUPLICATE", duplicate),
        ];
        all.map(|(name, value)| (format!("{VARIABLE_PREFIX}{name}"), value.to_owned())).to_vec()
    }

    /// One word or two: `CRITICAL`, `WARNING, reminder 2`, `RESOLVED`.
    pub(super) fn state(&self) -> String {
        match (self.status, self.reminder) {
            (Status::Resolved, _) => "RESOLVED".to_owned(),
            (Status::Firing, 0) => self.severity.to_uppercase(),
            (Status::Firing, nth) => format!("{}, reminder {nth}", self.severity.to_uppercase()),
        }
    }

    /// Whether it tells that a run has ended.
    pub fn speaks_of_an_end(&self) -> bool {
        let of_an_end = [Topic::UnitRestarted, Topic::UnitFailed, Topic::StartLimitHit];
        self.status == Status::Firing && of_an_end.iter().any(|topic| topic.as_str() == self.event)
    }

    /// Whether it tells of a run that is not well and may go on.
    pub fn speaks_of_health(&self) -> bool {
        self.status == Status::Firing && self.event == Topic::UnitUnhealthy.as_str()
    }

    /// One of a template's fields; empty where there is none.
    pub(super) fn field(&self, name: &str) -> String {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        match name {
            "id" => self.id.clone(),
            "event" => self.event.clone(),
            "severity" => self.severity.clone(),
            "status" => if self.status == Status::Firing { "firing" } else { "resolved" }.to_owned(),
            "state" => self.state(),
            "unit" => or_empty(&self.unit),
            "node" => self.node.clone(),
            "generation" => self.generation.to_string(),
            "restarts" => self.restarts.to_string(),
            "result" => or_empty(&self.result),
            "message" => self.message.clone(),
            "action" => or_empty(&self.action),
            "at" => self.at.clone(),
            "since" => or_empty(&self.since),
            "incident" => self.incident.clone(),
            "runbook" => or_empty(&self.runbook),
            "dedup_key" => self.dedup_key.clone(),
            "last_output" => self.last_output.join("\n"),
            "possible_duplicate" => self.possible_duplicate.to_string(),
            _ => String::new(),
        }
    }
}

/// Texts, one a line.
fn each_once<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut all: Vec<&str> = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    (!all.is_empty()).then(|| all.join("\n"))
}

/// `text` on one line, without control characters, at most [`TEXT_CHARS_MAX`] characters.
pub(super) fn bounded(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut bounded: String = text.chars().take(TEXT_CHARS_MAX).map(clean).collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        bounded.push('…');
    }
    bounded
}

fn rfc3339(at: Wall) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |moment| format!("{moment:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Secret;

    fn message(text: &str) -> Message {
        let name = RouteName::new("ops").unwrap();
        Message { message: text.to_owned(), ..Message::test("vm1", &name, Now::default()) }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = message("a \"b\" \u{1f600}");
        assert_eq!(Message::from_json(&message.to_json()).unwrap(), message);
        let json: serde_json::Value = serde_json::from_str(&message.to_json()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["status"], "firing");
        assert_eq!(json["at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["possible_duplicate"], false);
    }

    #[test]
    fn the_guide_names_every_field_that_a_webhook_gets() {
        let guide = include_str!("../../docs/guide/settings.md");
        let table = guide.split("#### What a webhook gets").nth(1).unwrap().split("####").next().unwrap();
        let some = || Some("x".to_owned());
        let full = Message {
            topic: some(),
            probe: some(),
            about: some(),
            action: some(),
            last_output: vec!["x".to_owned()],
            fallback_of: some(),
            ..message("x")
        };
        let json: serde_json::Value = serde_json::from_str(&full.to_json()).unwrap();
        for field in json.as_object().unwrap().keys() {
            assert!(table.contains(&format!("`{field}`")), "{field}");
        }
    }

    #[test]
    fn a_digest_tells_what_is_new_from_what_goes_on() {
        let again = Message { reminder: 9, ..message("b") };
        let over = Message { status: Status::Resolved, ..message("c") };
        let said = |messages: &[Message]| Message::digest(&messages[0], messages).message;
        assert_eq!(said(&[message("a"), again, over.clone()]), "3 alerts at once: 1 new, 1 known and not over, 1 over");
        assert_eq!(said(&[message("a"), over]), "2 alerts at once: 1 new, 1 over");
    }

    #[test]
    fn a_message_of_a_newer_version_is_refused() {
        let newer = Message { version: 2, ..message("x") };
        assert!(matches!(Message::from_json(&newer.to_json()), Err(MessageError::Version(2))));
    }

    #[test]
    fn alertmanager_hears_every_severity_and_at_most_one_is_not_over() {
        let target = Target::Alertmanager(Secret::new("http://x"));
        let read = |message: &Message| -> Vec<serde_json::Value> {
            serde_json::from_str(&message.body(&target).unwrap()).unwrap()
        };
        let firing = Message {
            unit: Some("web".to_owned()),
            severity: "critical".to_owned(),
            until: Some("2030-01-01T00:00:00.000Z".to_owned()),
            ..message("web is failed")
        };
        let alerts = read(&firing);
        let ends = |alerts: &[serde_json::Value]| -> Vec<String> {
            alerts.iter().map(|alert| alert["endsAt"].as_str().unwrap().chars().take(4).collect()).collect()
        };
        assert_eq!(ends(&alerts), ["1970", "1970", "2030"]);
        assert_eq!(
            alerts[2]["labels"],
            serde_json::json!({
                "alertname": "Roundsman_unit", "severity": "critical", "node": "vm1", "unit": "web"
            })
        );
        let resolved = Message { status: Status::Resolved, ..firing };
        assert_eq!(ends(&read(&resolved)), ["1970", "1970", "1970"]);
        assert_eq!(read(&resolved)[2]["labels"], alerts[2]["labels"], "what ends is what began");
    }

    #[test]
    fn a_digest_has_the_runbooks_of_what_is_in_it_each_once_and_the_worst_first() {
        let of = |severity: &str, runbook: Option<&str>| Message {
            severity: severity.to_owned(),
            runbook: runbook.map(str::to_owned),
            ..message("x")
        };
        let (low, failed) = (Some("https://wiki/disk_low"), Some("https://wiki/unit_failed"));
        let all = [of("warning", low), of("info", None), of("critical", failed), of("warning", low)];
        let digest = Message::digest(&all[0], &all);
        assert_eq!(digest.runbook.as_deref(), Some("https://wiki/unit_failed\nhttps://wiki/disk_low"));
        assert_eq!(digest.field("runbook").lines().count(), 2);
        let letter = digest.letter();
        let rows: Vec<_> = letter.text.lines().filter(|line| line.starts_with("runbook:")).collect();
        assert_eq!(rows, ["runbook:   https://wiki/unit_failed", "runbook:   https://wiki/disk_low"]);
        assert!(letter.html.contains("<tr><td>runbook</td><td>https://wiki/disk_low</td></tr>"), "{}", letter.html);
        assert_eq!(Message::digest(&all[1], &all[1..2]).runbook, None);
    }

    #[test]
    fn a_text_is_one_line_and_bounded() {
        assert_eq!(bounded("a\nb\x1b[31mc"), "a b [31mc");
        let long = bounded(&"é".repeat(TEXT_CHARS_MAX + 1));
        assert_eq!(long.chars().count(), TEXT_CHARS_MAX + 1);
        assert!(long.ends_with('…'));
        assert_eq!(bounded(&"é".repeat(TEXT_CHARS_MAX)).chars().count(), TEXT_CHARS_MAX);
    }
}
