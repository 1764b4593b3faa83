use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use super::{Fallback, Pattern, QuietHours, Subject, Template, Topic};
use crate::base::{Identity, Secret, Severity, TimeSpan};

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
    /// A POST.
    Webhook(Box<Webhook>),
    /// Slack's incoming webhook.
    Slack(Secret),
    /// A Slack app: a thread per incident.
    SlackBot(Box<SlackBot>),
    /// Alertmanager: the URL of its `/api/v2/alerts`.
    Alertmanager(Secret),
    /// Mail.
    Email(Box<Mailbox>),
    /// A program of the operator's.
    Command(Box<Program>),
}

impl Target {
    /// The URL that is its secret, where it has one.
    pub fn secret_url(&self) -> Option<&Secret> {
        match self {
            Self::Webhook(webhook) => Some(&webhook.url),
            Self::Slack(url) | Self::Alertmanager(url) => Some(url),
            Self::SlackBot(_) | Self::Email(_) | Self::Command(_) => None,
        }
    }

    /// That URL, where reading it gives someone what they had not: it names a login or has a query, or leads by its path
    /// alone to another machine. A path of this machine's own is open to whoever can read our files.
    pub fn guarded_url(&self) -> Option<&Secret> {
        self.secret_url().filter(|url| {
            let rest = url.expose().strip_prefix("http://");
            let is_open = rest.is_some_and(|rest| is_loopback(rest) && !rest.contains(['@', '?']));
            !is_open
        })
    }

    /// Whether several messages can be sent as one: to people, but not to programs that read ours one by one.
    pub const fn takes_digests(&self) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.template.is_some(),
            Self::Slack(_) | Self::SlackBot(_) | Self::Email(_) => true,
            Self::Alertmanager(_) | Self::Command(_) => false,
        }
    }

    /// Whether it is people who read it, where a receiver takes about one message a second.
    #[must_use]
    pub const fn wants_a_pace(&self) -> bool {
        match self {
            Self::Slack(_) | Self::SlackBot(_) | Self::Email(_) => true,
            Self::Webhook(_) | Self::Alertmanager(_) | Self::Command(_) => false,
        }
    }

    /// Its name in settings.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) | Self::SlackBot(_) => "slack",
            Self::Alertmanager(_) => "alertmanager",
            Self::Email(_) => "email",
            Self::Command(_) => "command",
        }
    }
}

/// Whether what stands behind the scheme of a URL begins with this machine.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    };
    host.is_some_and(|host| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// Where a POST goes, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The URL.
    pub url: Secret,
    /// The body; our JSON when `None`.
    pub template: Option<Template>,
    /// Signs the body (HMAC-SHA256).
    pub key: Option<Secret>,
    /// Whether a name may stand for an address of this machine or of a private network.
    pub allow_private: bool,
}

impl Webhook {
    /// Our JSON, unsigned.
    pub const fn new(url: Secret) -> Self {
        Self { url, template: None, key: None, allow_private: false }
    }
}

/// An app that posts into a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackBot {
    /// `xoxb-…`
    pub token: Secret,
    /// The channel's id or name.
    pub channel: String,
    /// Where Slack's methods are.
    pub api: String,
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

/// What is run for each message, which it reads as JSON from its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its absolute path.
    pub path: String,
    /// All words with the first, which is what it sees as its own name. Nothing of a message is ever among them: everyone on
    /// the host can read them.
    pub argv: Vec<String>,
    /// Whom it runs as; the daemon's own user when `None`.
    pub user: Option<Identity>,
    /// Its variables besides ours.
    pub environment: BTreeMap<String, Secret>,
    /// How long it may take.
    pub timeout: TimeSpan,
    /// Why it cannot be run by what was known when the settings were read. Only a daemon that goes on with settings that were in
    /// force has such routes; new ones are refused.
    pub unfit: Option<String>,
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
    /// How long a message waits for others to come with it.
    pub group_wait: TimeSpan,
    /// How long a message is tried.
    pub give_up_after: TimeSpan,
    /// Where its messages go too when it does not take them.
    pub fallback: Option<Fallback>,
}

impl Route {
    /// A route that sets nothing else.
    pub const fn new(name: RouteName, target: Target) -> Self {
        let (group_wait, give_up_after) = (TimeSpan::ZERO, TimeSpan::INFINITY);
        Self { name, target, group_wait, give_up_after, fallback: None }
    }
}

/// What is done about alerts whose name it matches. The first rule that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Which alerts.
    pub event: Pattern,
    /// Instead of the happening's own.
    pub severity: Option<Severity>,
    /// Whom to tell; everyone when `None`, nobody when empty.
    pub routes: Option<Vec<RouteName>>,
    /// How often to remind while it lasts; zero or infinity is never.
    pub repeat_interval: Option<TimeSpan>,
    /// Where people read what to do.
    pub runbook: Option<String>,
    /// What receivers group an incident by that opens with this rule, with `<unit>`, `<event>`, `<node>`, `<incident>` filled in;
    /// unless set, `<event>:<unit>@<node>`.
    pub dedup_key: Option<String>,
    /// Nobody is told while an incident is open that one of these matches.
    pub inhibited_by: Vec<Pattern>,
    /// What is not critical waits for the end of these hours; of [`Settings::quiet_hours`] when `None`.
    pub quiet_hours: Option<Quiet>,
    /// Who else is told when nobody has taken it on for a time.
    pub escalation: Option<Escalation>,
}

/// What a rule says of quiet hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quiet {
    /// There are none.
    Never,
    /// These.
    Hours(QuietHours),
}

/// Who is told when nobody has taken an incident on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// How long after it opened.
    pub after: TimeSpan,
    /// Who.
    pub routes: Vec<RouteName>,
}

/// The rules that hold where no rule of the operator matches.
pub fn default_rules() -> Vec<Rule> {
    Topic::ALL.into_iter().map(|topic| Rule { event: Pattern::new(topic.as_str()), ..Rule::default() }).collect()
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
    /// For rules that say nothing of them.
    pub quiet_hours: Option<QuietHours>,
    /// Whom to tell that we are here.
    pub heartbeat: Option<Heartbeat>,
    /// A link to what people read about a topic, where no rule names one; `<event>` is filled in.
    pub runbooks: Option<String>,
}

/// A URL that is asked while all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which; a secret, as whoever knows it can pretend to be us.
    pub url: Secret,
    /// From one time to the next.
    pub interval: TimeSpan,
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
    /// See [`Rule::inhibited_by`].
    pub(super) inhibited_by: Vec<Pattern>,
    /// Hours that it waits for.
    pub(super) quiet_hours: Option<QuietHours>,
    /// See [`Rule::escalation`]; only routes that exist.
    pub(super) escalation: Option<Escalation>,
}

impl Settings {
    /// Whether a route keeps a list of what is open, so that it must hear of every end.
    pub(super) fn keeps_list(&self, route: &RouteName) -> bool {
        self.routes.iter().any(|known| known.name == *route && matches!(known.target, Target::Alertmanager(_)))
    }

    /// What the first matching rule says, with the defaults for what it leaves open.
    pub fn verdict(&self, topic: Topic, subject: &Subject, severity: Severity) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.event.matches(topic, subject, &self.node));
        self.by_rule(rule, topic, severity)
    }

    /// What is decided of the end of an incident, and whether a rule means ends. Who was told of its beginning is told of it: a
    /// rule for whatever happens says nothing of ends, only one that names them does.
    pub fn verdict_of_end(&self, subject: &Subject) -> (Verdict, bool) {
        let topic = Topic::Recovered;
        let matches = |rule: &&Rule| rule.event.matches(topic, subject, &self.node);
        let meant = self.rules.iter().find(|rule| matches(rule) && rule.event.names_event());
        let mut verdict = self.by_rule(meant.or_else(|| self.rules.iter().find(matches)), topic, Severity::Info);
        if meant.is_none() {
            verdict.routes = self.routes.iter().map(|route| route.name.clone()).collect();
        }
        let is_meant = meant.is_some_and(|rule| rule.routes.is_some());
        (verdict, is_meant)
    }

    fn by_rule(&self, rule: Option<&Rule>, topic: Topic, severity: Severity) -> Verdict {
        let known = || self.routes.iter().map(|route| route.name.clone());
        let routes = match rule.and_then(|rule| rule.routes.as_ref()) {
            Some(wanted) => known().filter(|name| wanted.contains(name)).collect(),
            None => known().collect(),
        };
        let severity = rule.and_then(|rule| rule.severity).unwrap_or(severity);
        let quiet_hours = match rule.and_then(|rule| rule.quiet_hours.as_ref()) {
            _ if severity >= Severity::Critical => None,
            Some(Quiet::Never) => None,
            Some(Quiet::Hours(hours)) => Some(hours.clone()),
            None => self.quiet_hours.clone(),
        };
        let escalation = rule.and_then(|rule| rule.escalation.as_ref()).map(|escalation| Escalation {
            after: escalation.after,
            routes: known().filter(|name| escalation.routes.contains(name)).collect(),
        });
        let runbook = rule.and_then(|rule| rule.runbook.clone());
        Verdict {
            severity,
            routes,
            repeat_interval: rule.and_then(|rule| rule.repeat_interval).unwrap_or(REPEAT_INTERVAL),
            runbook: runbook.or_else(|| Some(self.runbooks.as_ref()?.replace("<event>", topic.as_str()))),
            dedup_key: rule.and_then(|rule| rule.dedup_key.clone()),
            inhibited_by: rule.map(|rule| rule.inhibited_by.clone()).unwrap_or_default(),
            quiet_hours,
            escalation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnitName;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let name = |text| RouteName::new(text).unwrap();
        let target = || Target::Webhook(Box::new(Webhook::new(Secret::new("http://x"))));
        let route = |text| Route::new(name(text), target());
        let rule = |event: &str, routes| Rule { event: Pattern::new(event), routes, ..Rule::default() };
        let settings = Settings {
            node: "vm1".to_owned(),
            routes: vec![route("ops"), route("dev")],
            rules: vec![
                rule("unit_*:web", Some(vec![name("dev"), name("gone")])),
                rule("unit_restarted", Some(Vec::new())),
            ],
            ..Settings::default()
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
    fn a_url_of_this_machine_is_no_secret_unless_it_has_one_in_it() {
        for (url, is_guarded) in [
            ("http://127.0.0.1:9093/api/v2/alerts", false),
            ("http://localhost/hook", false),
            ("http://[::1]:80/hook", false),
            ("http://me:word@127.0.0.1/hook", true),
            ("http://127.0.0.1/hook?token=word", true),
            ("https://127.0.0.1/hook", true),
            ("http://127.0.0.1.example.org/hook", true),
            ("http://192.0.2.1/hook", true),
        ] {
            let target = Target::Webhook(Box::new(Webhook::new(Secret::new(url))));
            assert_eq!(target.guarded_url().is_some(), is_guarded, "{url}");
        }
    }

    #[test]
    fn every_topic_has_a_default_rule() {
        assert!(default_rules().iter().all(|rule| Topic::parse(rule.event.as_str()).is_some()));
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
