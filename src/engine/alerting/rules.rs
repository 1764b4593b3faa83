//! `[[alert.rule]]`: who is told of what.

use super::{
    super::settings::{Fault, at},
    check::Check,
};
use crate::{
    alert::{Escalation, Pattern, Quiet, RouteName, Rule, Topic},
    base::{Severity, TimeSpan},
    edge::zones,
    unit::{Field, similar},
};

/// What is filled into a `dedup_key`.
const DEDUP_PLACEHOLDERS: [&str; 4] = ["<unit>", "<event>", "<node>", "<incident>"];

#[derive(Debug, Default)]
pub(super) struct RuleFile {
    pub(super) event: Option<String>,
    severity: Option<Severity>,
    routes: Option<Vec<String>>,
    repeat_interval: Option<TimeSpan>,
    runbook: Option<String>,
    dedup_key: Option<String>,
    inhibited_by: Option<Vec<String>>,
    /// Empty: none.
    quiet_hours: Option<String>,
    escalate_after: Option<TimeSpan>,
    escalate_to: Option<Vec<String>>,
}

pub(super) const RULE: &[Field<RuleFile>] = &[
    Field { name: "event", set: |rule, r, v| rule.event = r.string(v) },
    Field { name: "severity", set: |rule, r, v| rule.severity = r.choice(v, SEVERITIES) },
    Field { name: "routes", set: |rule, r, v| rule.routes = r.strings(v) },
    Field { name: "repeat_interval", set: |rule, r, v| rule.repeat_interval = r.span(v) },
    Field { name: "runbook", set: |rule, r, v| rule.runbook = r.string(v) },
    Field { name: "dedup_key", set: |rule, r, v| rule.dedup_key = r.string(v) },
    Field { name: "inhibited_by", set: |rule, r, v| rule.inhibited_by = r.strings(v) },
    Field { name: "quiet_hours", set: |rule, r, v| rule.quiet_hours = r.string(v) },
    Field { name: "escalate_after", set: |rule, r, v| rule.escalate_after = r.span(v) },
    Field { name: "escalate_to", set: |rule, r, v| rule.escalate_to = r.strings(v) },
];

const SEVERITIES: &[(&str, Severity)] =
    &[("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

/// The names of routes, sound or not, in their order.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) names: Vec<String>,
    /// Whether there can be no other.
    pub(super) are_all: bool,
}

/// The rule, where nothing is wrong with it.
pub(super) fn checked_rule(file: RuleFile, known: &Known, check: &mut Check<'_>) -> Option<Rule> {
    let event = match &file.event {
        Some(event) => check.take(pattern(event).map_err(at("event"))),
        None => check.lacks("a rule needs an event: event = \"unit_failed\", or \"*\""),
    };
    let routes = file.routes.map(|names| all_known("routes", &names, known, check));
    let escalate_to = file.escalate_to.map(|names| all_known("escalate_to", &names, known, check));
    let escalation = match (file.escalate_after, escalate_to) {
        (Some(after), Some(routes)) => Some(Escalation { after, routes }),
        (None, None) => None,
        (after, _) => {
            let key = if after.is_some() { "escalate_after" } else { "escalate_to" };
            check.lacks_beside(key, "escalate_after and escalate_to belong together")
        }
    };
    let mut inhibited_by = Vec::new();
    for (nth, text) in file.inhibited_by.iter().flatten().enumerate() {
        inhibited_by
            .extend(check.take(pattern(text).map_err(|error| Fault::from(error).nth(nth).within("inhibited_by"))));
    }
    for problem in unknown_placeholders(file.dedup_key.as_deref().unwrap_or_default(), &DEDUP_PLACEHOLDERS) {
        check.fault("dedup_key", problem);
    }
    let quiet_hours = match file.quiet_hours.as_deref() {
        Some("") => Some(Quiet::Never),
        Some(text) => check.take(zones::quiet_hours(text).map_err(at("quiet_hours"))).map(Quiet::Hours),
        None => None,
    };
    Some(Rule {
        event: event?,
        severity: file.severity,
        routes,
        repeat_interval: file.repeat_interval,
        runbook: file.runbook,
        dedup_key: file.dedup_key,
        inhibited_by,
        quiet_hours,
        escalation,
    })
}

/// Those of `names` that there are; a name that cannot be is told where the route stands.
fn all_known(key: &'static str, names: &[String], known: &Known, check: &mut Check<'_>) -> Vec<RouteName> {
    let mut found = Vec::new();
    if names.is_empty() && key == "escalate_to" {
        check.fault(key, "escalate_to names nobody");
    }
    for (nth, name) in names.iter().enumerate() {
        if known.names.contains(name) {
            found.extend(RouteName::new(name).ok());
        } else if known.are_all {
            let meant = similar(name, known.names.iter().map(String::as_str));
            let help = meant.map_or_else(
                || format!("routes: {}", known.names.join(", ")),
                |meant| format!("did you mean {meant:?}?"),
            );
            let fault = Fault::from(format!("there is no route {name:?} ({help})")).nth(nth).within(key);
            check.take::<()>(Err(fault));
        }
    }
    found
}

/// A pattern of events that there are.
fn pattern(text: &str) -> Result<Pattern, String> {
    let (topic, about) = text.split_once(':').map_or((text, None), |(topic, about)| (topic, Some(about)));
    if about == Some("") {
        return Err(format!(
            "{text:?} is about nobody ({topic:?} is about all, {:?} about one)",
            format!("{topic}:web")
        ));
    }
    if Pattern::new(topic).is_of_any(std::iter::empty(), "") {
        return Ok(Pattern::new(text));
    }
    let meant = similar(topic, Topic::ALL.iter().map(|topic| topic.as_str()));
    let help =
        meant.map_or_else(|| Topic::ALL.map(Topic::as_str).join(", "), |meant| format!("did you mean {meant:?}?"));
    Err(format!("{topic:?} is no event ({help})"))
}

/// What is wrong with a text into which only `known` are filled: each that looks as if something were filled in for it.
pub(super) fn unknown_placeholders(text: &str, known: &[&str]) -> Vec<String> {
    let names = text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(name, _)| name);
    let is_name =
        |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let unknown = names.filter(is_name).map(|name| format!("<{name}>")).filter(|name| !known.contains(&&**name));
    let said = |unknown: String| {
        let help = similar(&unknown, known.iter().copied())
            .map_or_else(|| format!("{} can stand there", known.join(", ")), |meant| format!("did you mean {meant}?"));
        format!("nothing is filled in for {unknown} ({help})")
    };
    unknown.map(said).collect()
}
