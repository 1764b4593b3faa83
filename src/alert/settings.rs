use std::{fmt, sync::Arc};

use super::{Subject, Topic};
use crate::base::{Secret, Severity, TimeSpan};

/// Most routes that may be configured.
pub const ROUTES_MAX: usize = 32;
/// How often people are reminded unless a rule says otherwise: every four hours, as Alertmanager's default.
const REPEAT_INTERVAL: TimeSpan = TimeSpan::from_secs(4 * 3600);

/// A route's name: letters, digits, `-` and `_`, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName(Arc<str>);

/// Why a text is no route name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot name a route {0:?} (allowed: 1 to 64 letters, digits, - and _)")]
pub struct RouteNameError(pub String);

impl RouteName {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, RouteNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(RouteNameError(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The name as people see it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where alerts go, and how a route speaks. A URL is the only credential there, so it is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Our JSON by POST.
    Webhook(Secret),
    /// Slack's incoming webhook.
    Slack(Secret),
    /// Alertmanager: the URL of its `/api/v2/alerts`.
    Alertmanager(Secret),
    /// Mail.
    Email(Box<Mailbox>),
}

impl Target {
    /// Its name in settings.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Alertmanager(_) => "alertmanager",
            Self::Email(_) => "email",
        }
    }
}

/// Whom mail is sent to, and through which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: Protection,
    /// Authorities that are trusted instead of the machine's, PEM.
    pub authorities: Option<Vec<u8>>,
    /// Who we are there.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// STARTTLS (RFC 3207), or no mail.
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// Not at all.
    None,
}

/// A name, and where its alerts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name in rules.
    pub name: RouteName,
    /// Where to.
    pub target: Target,
}

/// What is done about alerts whose name it matches. The first rule that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// `unit_failed`, `unit_failed:web`, `unit_*:web-*`, `*`: a topic, or a topic and a unit; `*` is any text.
    pub event: String,
    /// Instead of the happening's own.
    pub severity: Option<Severity>,
    /// Whom to tell; everyone when `None`, nobody when empty.
    pub routes: Option<Vec<RouteName>>,
    /// How often to remind while it lasts; zero or infinity is never.
    pub repeat_interval: Option<TimeSpan>,
    /// Where people read what to do.
    pub runbook: Option<String>,
    /// What receivers group by, with `<unit>`, `<event>`, `<node>`, `<incident>` filled in; the incident's id unless set.
    pub dedup_key: Option<String>,
}

/// The rules that hold where no rule of the operator matches.
pub fn default_rules() -> Vec<Rule> {
    Topic::ALL.into_iter().map(|topic| Rule { event: topic.as_str().to_owned(), ..Rule::default() }).collect()
}

/// Everything an operator may set about alerts on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// This node's name in messages.
    pub node: String,
    /// Where alerts go, at most [`ROUTES_MAX`].
    pub routes: Vec<Route>,
    /// The operator's rules, first match first; the default ones follow them.
    pub rules: Vec<Rule>,
}

/// What the rules say about one alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How much it matters.
    pub severity: Severity,
    /// Whom to tell; only routes that exist.
    pub routes: Vec<RouteName>,
    /// How often to remind; zero is never.
    pub repeat_interval: TimeSpan,
    /// Where people read what to do.
    pub runbook: Option<String>,
    /// See [`Rule::dedup_key`].
    pub dedup_key: Option<String>,
}

impl Settings {
    /// Whether a route keeps a list of what is open, so that it must hear of every end.
    pub(super) fn keeps_list(&self, route: &RouteName) -> bool {
        self.routes.iter().any(|known| known.name == *route && matches!(known.target, Target::Alertmanager(_)))
    }

    /// What the first matching rule says, with the defaults for what it leaves open.
    pub fn verdict(&self, topic: Topic, subject: &Subject, severity: Severity) -> Verdict {
        let about = match subject {
            Subject::Unit(unit) => unit.as_str(),
            Subject::Config | Subject::Store | Subject::Logs => &self.node,
        };
        let rule = self.rules.iter().find(|rule| rule.matches(topic, about));
        let known = || self.routes.iter().map(|route| route.name.clone());
        let routes = match rule.and_then(|rule| rule.routes.as_ref()) {
            Some(wanted) => known().filter(|name| wanted.contains(name)).collect(),
            None => known().collect(),
        };
        Verdict {
            severity: rule.and_then(|rule| rule.severity).unwrap_or(severity),
            routes,
            repeat_interval: rule.and_then(|rule| rule.repeat_interval).unwrap_or(REPEAT_INTERVAL),
            runbook: rule.and_then(|rule| rule.runbook.clone()),
            dedup_key: rule.and_then(|rule| rule.dedup_key.clone()),
        }
    }
}

impl Rule {
    fn matches(&self, topic: Topic, about: &str) -> bool {
        match self.event.split_once(':') {
            Some((event, unit)) => glob(event, topic.as_str()) && glob(unit, about),
            None => glob(&self.event, topic.as_str()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnitName;

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
    fn the_first_rule_that_matches_decides() {
        let name = |text| RouteName::new(text).unwrap();
        let route = |text| Route { name: name(text), target: Target::Webhook(Secret::new("http://x")) };
        let rule = |event: &str, routes| Rule { event: event.to_owned(), routes, ..Rule::default() };
        let settings = Settings {
            node: "vm1".to_owned(),
            routes: vec![route("ops"), route("dev")],
            rules: vec![
                rule("unit_*:web", Some(vec![name("dev"), name("gone")])),
                rule("unit_restarted", Some(Vec::new())),
            ],
        };
        let told = |topic, unit: &str| {
            let subject = Subject::Unit(UnitName::new(unit).unwrap());
            settings.verdict(topic, &subject, Severity::Warning).routes
        };
        assert_eq!(told(Topic::UnitFailed, "web"), [name("dev")]);
        assert_eq!(told(Topic::UnitRestarted, "db"), []);
        assert_eq!(told(Topic::UnitFailed, "db"), [name("ops"), name("dev")]);
    }

    #[test]
    fn every_topic_has_a_default_rule() {
        assert!(default_rules().iter().all(|rule| Topic::parse(&rule.event).is_some()));
        assert_eq!(default_rules().len(), Topic::ALL.len());
    }

    #[test]
    fn a_route_name_fits_into_rows_and_labels() {
        assert!(RouteName::new("ops-1_x").is_ok());
        for bad in ["", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(RouteName::new(bad).is_err(), "{bad}");
        }
    }
}
