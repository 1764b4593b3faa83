//! `[[alert.route]]`: where alerts go.

use std::{collections::BTreeMap, net::Ipv6Addr, path::PathBuf};

use super::{
    super::settings::{Fault, at, path},
    check::Check,
    program::{ProgramKeys, program},
};
use crate::{
    alert::{Fallback, Mailbox, Protection, Route, RouteName, SlackBot, Target, Template, Webhook},
    base::{
        Secret, TimeSpan,
        address::{is_host, port_of, url_fault},
    },
    edge::{deliver::check_address, tls},
    unit::Field,
};

/// The longest wait for others.
const GROUP_WAIT_MAX: TimeSpan = TimeSpan::from_secs(3600);
/// How long a mail is tried. For ordinary mail RFC 5321 says four to five days; an alert is of no use then.
const MAIL_GIVEN_UP_AFTER: TimeSpan = TimeSpan::from_secs(24 * 3600);
/// How long a message waits for its own route alone.
const FALLBACK_AFTER: TimeSpan = TimeSpan::from_secs(120);
/// Where Slack's methods are.
const SLACK_API: &str = "https://slack.com/api";

#[derive(Debug, Default)]
pub(super) struct RouteFile {
    pub(super) name: Option<String>,
    kind: Option<Kind>,
    group_wait: Option<TimeSpan>,
    give_up_after: Option<TimeSpan>,
    fallback: Option<String>,
    fallback_after: Option<TimeSpan>,
    /// A secret, which stands better in a file or a variable.
    url: Option<String>,
    /// Readable by its owner only.
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    // Of `kind = "webhook"` alone.
    template: Option<String>,
    template_file: Option<PathBuf>,
    /// What signs the body.
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    allow_private: Option<bool>,
    // Of `kind = "slack"` alone: an app instead of an incoming webhook.
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    channel: Option<String>,
    api_url: Option<String>,
    // Of `kind = "email"` alone.
    server: Option<String>,
    tls: Option<Protection>,
    ca_file: Option<PathBuf>,
    /// Of `kind = "command"` too.
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    from: Option<String>,
    to: Option<Vec<String>>,
    // Of `kind = "command"` alone.
    command: Option<Vec<String>>,
    timeout: Option<TimeSpan>,
    environment: Option<BTreeMap<String, String>>,
}

pub(super) const ROUTE: &[Field<RouteFile>] = &[
    Field { name: "name", set: |route, r, v| route.name = r.string(v) },
    Field { name: "kind", set: |route, r, v| route.kind = r.choice(v, &Kind::WORDS) },
    Field { name: "group_wait", set: |route, r, v| route.group_wait = r.span(v) },
    Field { name: "give_up_after", set: |route, r, v| route.give_up_after = r.span(v) },
    Field { name: "fallback", set: |route, r, v| route.fallback = r.string(v) },
    Field { name: "fallback_after", set: |route, r, v| route.fallback_after = r.span(v) },
    Field { name: "url", set: |route, r, v| route.url = r.string(v) },
    Field { name: "url_file", set: |route, r, v| route.url_file = path(r, v) },
    Field { name: "url_env", set: |route, r, v| route.url_env = r.string(v) },
    Field { name: "template", set: |route, r, v| route.template = r.string(v) },
    Field { name: "template_file", set: |route, r, v| route.template_file = path(r, v) },
    Field { name: "secret_file", set: |route, r, v| route.secret_file = path(r, v) },
    Field { name: "secret_env", set: |route, r, v| route.secret_env = r.string(v) },
    Field { name: "allow_private", set: |route, r, v| route.allow_private = r.boolean(v) },
    Field { name: "token_file", set: |route, r, v| route.token_file = path(r, v) },
    Field { name: "token_env", set: |route, r, v| route.token_env = r.string(v) },
    Field { name: "channel", set: |route, r, v| route.channel = r.string(v) },
    Field { name: "api_url", set: |route, r, v| route.api_url = r.string(v) },
    Field { name: "server", set: |route, r, v| route.server = r.string(v) },
    Field { name: "tls", set: |route, r, v| route.tls = r.choice(v, PROTECTIONS) },
    Field { name: "ca_file", set: |route, r, v| route.ca_file = path(r, v) },
    Field { name: "user", set: |route, r, v| route.user = r.string(v) },
    Field { name: "password_file", set: |route, r, v| route.password_file = path(r, v) },
    Field { name: "password_env", set: |route, r, v| route.password_env = r.string(v) },
    Field { name: "from", set: |route, r, v| route.from = r.string(v) },
    Field { name: "to", set: |route, r, v| route.to = r.strings(v) },
    Field { name: "command", set: |route, r, v| route.command = r.strings(v) },
    Field { name: "timeout", set: |route, r, v| route.timeout = r.span(v) },
    Field { name: "environment", set: |route, r, v| route.environment = r.pairs(v) },
];

const PROTECTIONS: &[(&str, Protection)] =
    &[("starttls", Protection::StartTls), ("tls", Protection::Tls), ("none", Protection::None)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Webhook,
    Slack,
    Alertmanager,
    Email,
    Command,
}

impl Kind {
    const WORDS: [(&'static str, Self); 5] = [
        ("webhook", Self::Webhook),
        ("slack", Self::Slack),
        ("alertmanager", Self::Alertmanager),
        ("email", Self::Email),
        ("command", Self::Command),
    ];
}

/// The route, where nothing is wrong with it.
pub(super) fn checked_route(file: RouteFile, check: &mut Check<'_>) -> Option<Route> {
    let name = match &file.name {
        Some(name) => check.take(RouteName::new(name).map_err(|error| at("name")(error.to_string()))),
        None => check.lacks("a route needs a name: name = \"ops\""),
    };
    let Some(kind) = file.kind else {
        check.lacks::<()>("a route needs a kind: webhook, slack, alertmanager, email or command");
        fallback(&file, check);
        return None;
    };
    check_kind(&file, kind, check);
    let fallback = fallback(&file, check);
    let give_up_after = file.give_up_after.unwrap_or(match kind {
        Kind::Email => MAIL_GIVEN_UP_AFTER,
        // The number of tries ends them.
        Kind::Webhook | Kind::Slack | Kind::Alertmanager | Kind::Command => TimeSpan::INFINITY,
    });
    if give_up_after.is_zero() {
        let message = "give_up_after is 0: nothing would be tried a second time (infinity has no end)";
        check.fault("give_up_after", message);
    }
    let group_wait = file.group_wait.unwrap_or(TimeSpan::ZERO);
    if group_wait > GROUP_WAIT_MAX {
        check.fault("group_wait", format!("group_wait is longer than {GROUP_WAIT_MAX}"));
    }
    let target = target(file, kind, check)?;
    if !group_wait.is_zero() && !target.takes_digests() {
        let message = "group_wait is for routes to people: slack, email, and webhooks with a template";
        check.fault("group_wait", message);
    }
    Some(Route { name: name?, target, group_wait, give_up_after, fallback })
}

fn target(file: RouteFile, kind: Kind, check: &mut Check<'_>) -> Option<Target> {
    match kind {
        Kind::Email => mailbox(file, check).map(Box::new).map(Target::Email),
        Kind::Webhook => webhook(file, check).map(Box::new).map(Target::Webhook),
        Kind::Slack if file.channel.is_some() || file.token_file.is_some() || file.token_env.is_some() => {
            bot(file, check).map(Box::new).map(Target::SlackBot)
        }
        Kind::Slack => file.url(check).map(Target::Slack),
        Kind::Alertmanager => alertmanager(file, check).map(Target::Alertmanager),
        Kind::Command => command(file, check),
    }
}

/// Whether there is such a route is asked when all are known.
fn fallback(file: &RouteFile, check: &mut Check<'_>) -> Option<Fallback> {
    match (&file.fallback, file.fallback_after) {
        (Some(route), after) => {
            let route = check.take(RouteName::new(route).map_err(|error| at("fallback")(error.to_string())))?;
            Some(Fallback { route, after: after.unwrap_or(FALLBACK_AFTER) })
        }
        (None, Some(_)) => {
            check.lacks_beside("fallback_after", "fallback_after needs a fallback, the name of another route")
        }
        (None, None) => None,
    }
}

/// Refuses keys of other kinds.
fn check_kind(file: &RouteFile, kind: Kind, check: &mut Check<'_>) {
    let of_mail: &[(&'static str, bool)] = &[
        ("server", file.server.is_some()),
        ("tls", file.tls.is_some()),
        ("ca_file", file.ca_file.is_some()),
        ("password_file", file.password_file.is_some()),
        ("password_env", file.password_env.is_some()),
        ("from", file.from.is_some()),
        ("to", file.to.is_some()),
    ];
    let of_webhooks: &[_] = &[
        ("template", file.template.is_some()),
        ("template_file", file.template_file.is_some()),
        ("secret_file", file.secret_file.is_some()),
        ("secret_env", file.secret_env.is_some()),
        ("allow_private", file.allow_private.is_some()),
    ];
    let of_slack: &[_] = &[
        ("token_file", file.token_file.is_some()),
        ("token_env", file.token_env.is_some()),
        ("channel", file.channel.is_some()),
        ("api_url", file.api_url.is_some()),
    ];
    let of_commands: &[_] = &[
        ("command", file.command.is_some()),
        ("timeout", file.timeout.is_some()),
        ("environment", file.environment.is_some()),
    ];
    let tables = [
        (Kind::Command, "command", of_commands),
        (Kind::Email, "email", of_mail),
        (Kind::Webhook, "webhook", of_webhooks),
        (Kind::Slack, "slack", of_slack),
    ];
    for (_, word, keys) in tables.into_iter().filter(|(of, ..)| *of != kind) {
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            check.fault(key, format!("{key} is a key of kind {word:?}"));
        }
    }
    if file.user.is_some() && !matches!(kind, Kind::Email | Kind::Command) {
        check.fault("user", "user is a key of kinds \"email\" and \"command\"");
    }
    let no_url = match kind {
        Kind::Email => "mail has a server and receivers, but no url",
        Kind::Command => "a command has a program and arguments, but no url",
        Kind::Webhook | Kind::Slack | Kind::Alertmanager => return,
    };
    if let Some(key) = file.url_key() {
        check.fault(key, no_url);
    }
}

impl RouteFile {
    /// Which of the keys that give an address there is.
    fn url_key(&self) -> Option<&'static str> {
        let keys =
            [("url", self.url.is_some()), ("url_file", self.url_file.is_some()), ("url_env", self.url_env.is_some())];
        keys.into_iter().find_map(|(key, given)| given.then_some(key))
    }

    fn url(self, check: &mut Check<'_>) -> Option<Secret> {
        secret_url(self.url, self.url_file, self.url_env, check)
    }
}

fn command(file: RouteFile, check: &mut Check<'_>) -> Option<Target> {
    let RouteFile { command, user, timeout, environment, .. } = file;
    program(ProgramKeys { command, user, timeout, environment }, check).map(Box::new).map(Target::Command)
}

fn alertmanager(file: RouteFile, check: &mut Check<'_>) -> Option<Secret> {
    let key = file.url_key().unwrap_or("url");
    let url = file.url(check)?;
    let after_scheme = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    if after_scheme.split_once('/').is_none_or(|(_, path)| path.is_empty()) {
        check.fault(key, "its URL has no path: give the whole, http://HOST:9093/api/v2/alerts");
    }
    Some(url)
}

fn webhook(file: RouteFile, check: &mut Check<'_>) -> Option<Webhook> {
    let url = secret_url(file.url, file.url_file, file.url_env, check);
    let is_templated = file.template.is_some() || file.template_file.is_some();
    let template = template(file.template, file.template_file, check);
    let is_file = file.secret_file.is_some();
    let keys = ["secret_file", "secret_env"];
    let key = check.either(keys, file.secret_file, file.secret_env);
    if key.as_ref().is_some_and(|key| key.expose().is_empty()) {
        check.fault(keys[usize::from(!is_file)], "the secret that is to sign is empty");
    }
    if is_templated && template.is_none() {
        return None;
    }
    Some(Webhook { url: url?, template, key, allow_private: file.allow_private.unwrap_or(false) })
}

fn template(text: Option<String>, file: Option<PathBuf>, check: &mut Check<'_>) -> Option<Template> {
    let (key, text, place) = match (text, file) {
        (Some(text), None) => ("template", text, "template".to_owned()),
        (None, Some(path)) => {
            let text = check.take(check.files.text(&path).map_err(at("template_file")))?;
            ("template_file", text, path.display().to_string())
        }
        (None, None) => return None,
        (Some(_), Some(_)) => {
            check.fault("template_file", "give one of template and template_file");
            return None;
        }
    };
    check.take(Template::new(&text).map_err(|error| at(key)(format!("{place}:{error}"))))
}

fn bot(file: RouteFile, check: &mut Check<'_>) -> Option<SlackBot> {
    if let Some(key) = file.url_key() {
        check.fault(key, "give the url of an incoming webhook, or the token and channel of an app");
    }
    let has_token = file.token_file.is_some() || file.token_env.is_some();
    let token = check.either(["token_file", "token_env"], file.token_file, file.token_env);
    if !has_token {
        check.lacks::<()>("give one of token_file and token_env");
    }
    let channel = file.channel.or_else(|| check.lacks("an app needs a channel: channel = \"C0123456789\""));
    let api = file.api_url.unwrap_or_else(|| SLACK_API.to_owned());
    if let Some(why) = url_fault(&api) {
        check.fault("api_url", format!("its api_url {why}"));
    }
    Some(SlackBot { token: token?, channel: channel?, api })
}

pub(super) fn secret_url(
    url: Option<String>,
    file: Option<PathBuf>,
    env: Option<String>,
    check: &mut Check<'_>,
) -> Option<Secret> {
    let keys = ["url_file", "url_env"];
    let (key, url) = match (url, file, env) {
        (Some(url), None, None) => ("url", Secret::new(url)),
        (None, Some(file), None) => ("url_file", check.either(keys, Some(file), None)?),
        (None, None, Some(env)) => ("url_env", check.either(keys, None, Some(env))?),
        (None, None, None) => return check.lacks("give exactly one of url, url_file and url_env"),
        _ => {
            check.fault("url", "give exactly one of url, url_file and url_env");
            return None;
        }
    };
    // Of a variable the end of its line is no part.
    let url = Secret::new(url.expose().trim());
    if let Some(why) = url_fault(url.expose()) {
        check.fault(key, format!("its URL {why}"));
        return None;
    }
    Some(url)
}

const NO_RECEIVERS: &str = "mail needs receivers: to = [\"ops@example.org\"]";

fn mailbox(file: RouteFile, check: &mut Check<'_>) -> Option<Mailbox> {
    let protection = file.tls.unwrap_or(Protection::StartTls);
    let server = file
        .server
        .as_deref()
        .or_else(|| check.lacks("mail needs a server (\"smtp.example.org\", or with a port \"smtp.example.org:587\")"));
    let address = server.and_then(|server| host_and_port(server, protection, check));
    let login = login(&file, protection, check);
    let authorities = file.ca_file.as_ref().and_then(|path| {
        let text = check.take(check.files.text(path).map_err(at("ca_file")))?;
        let fault = |why| at("ca_file")(format!("cannot use {}: {why}", path.display()));
        check.take(tls::check_authorities(text.as_bytes()).map(|()| text).map_err(fault))
    });
    let from = file.from.or_else(|| check.lacks("mail needs a sender: from = \"roundsman@example.org\""));
    let to = file.to.or_else(|| check.lacks(NO_RECEIVERS));
    if to.as_ref().is_some_and(Vec::is_empty) {
        check.fault("to", NO_RECEIVERS);
    }
    if let Some(from) = &from {
        check.take(check_address(from).map_err(at("from")));
    }
    for (nth, address) in to.iter().flatten().enumerate() {
        check.take(check_address(address).map_err(|error| Fault::from(error).nth(nth).within("to")));
    }
    let (host, port) = address?;
    let authorities = authorities.map(String::into_bytes);
    Some(Mailbox { host, port, protection, authorities, login, from: from?, to: to? })
}

fn host_and_port(server: &str, protection: Protection, check: &mut Check<'_>) -> Option<(String, u16)> {
    let usual = match protection {
        Protection::StartTls => 587,
        Protection::Tls => 465,
        Protection::None => 25,
    };
    const FORM: &str = "smtp.example.org, or with a port smtp.example.org:587";
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if server.parse::<Ipv6Addr>().is_err() && !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (server, None),
    };
    if !is_host(host) && host.parse::<Ipv6Addr>().is_err() {
        check.fault("server", format!("{server:?} names no host as its server ({FORM})"));
        return None;
    }
    let fault = || at("server")(format!("{:?} in server is no port ({FORM})", port.unwrap_or_default()));
    let port = port.map_or(Some(usual), port_of).ok_or_else(fault);
    // Brackets are for whoever reads a port behind them.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), check.take(port)?))
}

fn login(file: &RouteFile, protection: Protection, check: &mut Check<'_>) -> Option<(String, Secret)> {
    let has_password = file.password_file.is_some() || file.password_env.is_some();
    let password =
        check.either(["password_file", "password_env"], file.password_file.clone(), file.password_env.clone());
    match (&file.user, has_password) {
        (None, false) => return None,
        (Some(_), true) => {}
        (Some(_), false) => return check.lacks_beside("user", "user needs a password_file or password_env"),
        (None, true) => return check.lacks("the password needs a user"),
    }
    if protection == Protection::None {
        let message = "without TLS everyone on the way could read the password (tls = \"starttls\" or \"tls\")";
        check.fault("tls", message);
    }
    Some((file.user.clone()?, password?))
}
