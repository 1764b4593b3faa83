//! `[[alert.route]]`: where alerts go.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{
    super::settings::{Fault, at},
    files::Files,
    program::{ProgramKeys, program},
};
use crate::{
    alert::{Fallback, Mailbox, Program, Protection, Route, RouteName, SlackBot, Target, Template, Webhook},
    base::{Secret, TimeSpan},
    edge::deliver::check_address,
};

/// The longest wait for others.
const GROUP_WAIT_MAX: TimeSpan = TimeSpan::from_secs(3600);
/// How long a mail is tried. For ordinary mail RFC 5321 says four to five days; an alert is of no use then.
const MAIL_GIVEN_UP_AFTER: TimeSpan = TimeSpan::from_secs(24 * 3600);
/// How long a message waits for its own route alone.
const FALLBACK_AFTER: TimeSpan = TimeSpan::from_secs(120);
/// Where Slack's methods are.
const SLACK_API: &str = "https://slack.com/api";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteFile {
    pub(super) name: String,
    kind: Kind,
    group_wait: Option<String>,
    give_up_after: Option<String>,
    fallback: Option<String>,
    fallback_after: Option<String>,
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
    tls: Option<ProtectionFile>,
    ca_file: Option<PathBuf>,
    /// Of `kind = "command"` too.
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    from: Option<String>,
    to: Option<Vec<String>>,
    // Of `kind = "command"` alone.
    command: Option<Vec<String>>,
    timeout: Option<String>,
    environment: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProtectionFile {
    StartTls,
    Tls,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Webhook,
    Slack,
    Alertmanager,
    Email,
    Command,
}

pub(super) fn checked_route(file: RouteFile, files: &Files) -> Result<Route, Fault> {
    let name = RouteName::new(&file.name).map_err(|error| at("name")(error.to_string()))?;
    file.check_kind()?;
    let wait = file.group_wait.clone();
    let fallback = fallback(file.fallback.as_deref(), file.fallback_after.as_deref())?;
    let give_up_after = match (file.give_up_after.as_deref(), file.kind) {
        (Some(text), _) => super::span(text).map_err(at("give_up_after"))?,
        (None, Kind::Email) => MAIL_GIVEN_UP_AFTER,
        // The number of tries ends them.
        (None, Kind::Webhook | Kind::Slack | Kind::Alertmanager | Kind::Command) => TimeSpan::INFINITY,
    };
    if give_up_after.is_zero() {
        let message = "give_up_after is 0: nothing would be tried a second time (infinity has no end)";
        return Err(at("give_up_after")(message));
    }
    let target = match file.kind {
        Kind::Email => Target::Email(Box::new(mailbox(file, files)?)),
        Kind::Webhook => Target::Webhook(Box::new(webhook(file, files)?)),
        Kind::Slack if file.channel.is_some() || file.token_file.is_some() || file.token_env.is_some() => {
            Target::SlackBot(Box::new(bot(file, files)?))
        }
        Kind::Slack => Target::Slack(file.url(files)?),
        Kind::Alertmanager => Target::Alertmanager(alertmanager(file, files)?),
        Kind::Command => Target::Command(Box::new(command(file)?)),
    };
    let group_wait = wait.as_deref().map_or(Ok(TimeSpan::ZERO), super::span).map_err(at("group_wait"))?;
    if !group_wait.is_zero() && !target.takes_digests() {
        let message = "group_wait is for routes to people: slack, email, and webhooks with a template";
        return Err(at("group_wait")(message));
    }
    if group_wait > GROUP_WAIT_MAX {
        return Err(at("group_wait")(format!("group_wait is longer than {GROUP_WAIT_MAX}")));
    }
    Ok(Route { name, target, group_wait, give_up_after, fallback })
}

/// Whether there is such a route is asked when all are known.
fn fallback(route: Option<&str>, after: Option<&str>) -> Result<Option<Fallback>, Fault> {
    match (route, after) {
        (Some(route), after) => {
            let route = RouteName::new(route).map_err(|error| at("fallback")(error.to_string()))?;
            let after = after.map_or(Ok(FALLBACK_AFTER), super::span).map_err(at("fallback_after"))?;
            Ok(Some(Fallback { route, after }))
        }
        (None, Some(_)) => Err(at("fallback_after")("fallback_after needs a fallback, the name of another route")),
        (None, None) => Ok(None),
    }
}

impl RouteFile {
    /// Refuses keys of other kinds.
    fn check_kind(&self) -> Result<(), Fault> {
        let of_mail: &[(&'static str, bool)] = &[
            ("server", self.server.is_some()),
            ("tls", self.tls.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("password_file", self.password_file.is_some()),
            ("password_env", self.password_env.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
        ];
        let of_webhooks: &[_] = &[
            ("template", self.template.is_some()),
            ("template_file", self.template_file.is_some()),
            ("secret_file", self.secret_file.is_some()),
            ("secret_env", self.secret_env.is_some()),
            ("allow_private", self.allow_private.is_some()),
        ];
        let of_slack: &[_] = &[
            ("token_file", self.token_file.is_some()),
            ("token_env", self.token_env.is_some()),
            ("channel", self.channel.is_some()),
            ("api_url", self.api_url.is_some()),
        ];
        let of_commands: &[_] = &[
            ("command", self.command.is_some()),
            ("timeout", self.timeout.is_some()),
            ("environment", self.environment.is_some()),
        ];
        let tables = [
            (Kind::Command, "command", of_commands),
            (Kind::Email, "email", of_mail),
            (Kind::Webhook, "webhook", of_webhooks),
            (Kind::Slack, "slack", of_slack),
        ];
        for (_, word, keys) in tables.into_iter().filter(|(kind, ..)| *kind != self.kind) {
            if let Some((key, _)) = keys.iter().find(|(_, given)| *given) {
                return Err(at(key)(format!("{key} is a key of kind {word:?}")));
            }
        }
        if self.user.is_some() && !matches!(self.kind, Kind::Email | Kind::Command) {
            return Err(at("user")("user is a key of kinds \"email\" and \"command\""));
        }
        Ok(())
    }

    /// Which of the keys that give an address there is.
    fn url_key(&self) -> Option<&'static str> {
        let keys =
            [("url", self.url.is_some()), ("url_file", self.url_file.is_some()), ("url_env", self.url_env.is_some())];
        keys.into_iter().find_map(|(key, given)| given.then_some(key))
    }

    fn url(self, files: &Files) -> Result<Secret, Fault> {
        secret_url(self.url, self.url_file, self.url_env, files)
    }
}

fn command(file: RouteFile) -> Result<Program, Fault> {
    if let Some(key) = file.url_key() {
        return Err(at(key)("a command has a program and arguments, but no url"));
    }
    let RouteFile { command, user, timeout, environment, .. } = file;
    program(ProgramKeys { command, user, timeout, environment })
}

fn alertmanager(file: RouteFile, files: &Files) -> Result<Secret, Fault> {
    let key = file.url_key().unwrap_or("url");
    let url = file.url(files)?;
    let after_scheme = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    if after_scheme.split_once('/').is_none_or(|(_, path)| path.is_empty()) {
        return Err(at(key)("its URL has no path: give the whole, http://HOST:9093/api/v2/alerts"));
    }
    Ok(url)
}

fn webhook(file: RouteFile, files: &Files) -> Result<Webhook, Fault> {
    let url = secret_url(file.url, file.url_file, file.url_env, files)?;
    let template = template(file.template, file.template_file, files)?;
    let keys = ["secret_file", "secret_env"];
    let is_file = file.secret_file.is_some();
    let key = files.either(keys, file.secret_file, file.secret_env)?;
    if key.as_ref().is_some_and(|key| key.expose().is_empty()) {
        return Err(at(keys[usize::from(!is_file)])("the secret that is to sign is empty"));
    }
    Ok(Webhook { url, template, key, allow_private: file.allow_private.unwrap_or(false) })
}

fn template(text: Option<String>, file: Option<PathBuf>, files: &Files) -> Result<Option<Template>, Fault> {
    let (key, text, place) = match (text, file) {
        (Some(text), None) => ("template", text, "template".to_owned()),
        (None, Some(path)) => {
            ("template_file", files.text(&path).map_err(at("template_file"))?, path.display().to_string())
        }
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(at("template_file")("give one of template and template_file")),
    };
    Template::new(&text).map(Some).map_err(|error| at(key)(format!("{place}:{error}")))
}

fn bot(file: RouteFile, files: &Files) -> Result<SlackBot, Fault> {
    if let Some(key) = file.url_key() {
        return Err(at(key)("give the url of an incoming webhook, or the token and channel of an app"));
    }
    let token = files.either(["token_file", "token_env"], file.token_file, file.token_env)?;
    let token = token.ok_or("give one of token_file and token_env")?;
    let channel = file.channel.ok_or("an app needs a channel: channel = \"C0123456789\"")?;
    let api = file.api_url.unwrap_or_else(|| SLACK_API.to_owned());
    if !api.starts_with("https://") && !api.starts_with("http://") {
        return Err(at("api_url")("its api_url begins with neither http:// nor https://"));
    }
    Ok(SlackBot { token, channel, api })
}

pub(super) fn secret_url(
    url: Option<String>,
    file: Option<PathBuf>,
    env: Option<String>,
    files: &Files,
) -> Result<Secret, Fault> {
    let keys = ["url_file", "url_env"];
    let (key, url) = match (url, file.is_some(), env.is_some()) {
        (Some(url), false, false) => ("url", Some(Secret::new(url))),
        (None, true, false) => ("url_file", files.either(keys, file, None)?),
        (None, false, true) => ("url_env", files.either(keys, None, env)?),
        _ => ("url", None),
    };
    let url = url.ok_or("give exactly one of url, url_file and url_env")?;
    if !url.expose().starts_with("http://") && !url.expose().starts_with("https://") {
        return Err(at(key)("its URL begins with neither http:// nor https://"));
    }
    Ok(url)
}

fn mailbox(file: RouteFile, files: &Files) -> Result<Mailbox, Fault> {
    if let Some(key) = file.url_key() {
        return Err(at(key)("mail has a server and receivers, but no url"));
    }
    let protection = match file.tls.unwrap_or(ProtectionFile::StartTls) {
        ProtectionFile::StartTls => Protection::StartTls,
        ProtectionFile::Tls => Protection::Tls,
        ProtectionFile::None => Protection::None,
    };
    let usual = match protection {
        Protection::StartTls => 587,
        Protection::Tls => 465,
        Protection::None => 25,
    };
    let server =
        file.server.ok_or("mail needs a server (\"smtp.example.org\", or with a port \"smtp.example.org:587\")")?;
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => {
            let fault = |_| at("server")(format!("{port:?} in server is no port"));
            (host.to_owned(), port.parse().map_err(fault)?)
        }
        None => (server, usual),
    };
    let password = files.either(["password_file", "password_env"], file.password_file, file.password_env)?;
    let login = match (file.user, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => return Err(at("user")("user needs a password_file or password_env")),
        (None, Some(_)) => return Err("the password needs a user".into()),
    };
    if login.is_some() && protection == Protection::None {
        let message = "without TLS everyone on the way could read the password (tls = \"starttls\" or \"tls\")";
        return Err(at("tls")(message));
    }
    let authorities =
        file.ca_file.map(|path| files.text(&path)).transpose().map_err(at("ca_file"))?.map(String::into_bytes);
    let from = file.from.ok_or("mail needs a sender: from = \"roundsman@example.org\"")?;
    let to = file.to.filter(|to| !to.is_empty()).ok_or("mail needs receivers: to = [\"ops@example.org\"]")?;
    check_address(&from).map_err(at("from"))?;
    to.iter().try_for_each(|address| check_address(address)).map_err(at("to"))?;
    Ok(Mailbox { host, port, protection, authorities, login, from, to })
}
