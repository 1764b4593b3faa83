//! `[[alert.route]]` and `[[alert.rule]]` as they are written, and what the alert machine makes of them.

mod files; // what settings name beside their own file
mod program; // commands that are told
mod routes; // where alerts go

use std::path::PathBuf;

use serde::Deserialize;

pub(crate) use files::{Files, Texts};
use routes::{RouteFile, checked_route, secret_url};

use super::settings::{Fault, at};
use crate::{
    alert::{
        Escalation, Heartbeat, Pattern, Quiet, ROUTES_MAX, Route, RouteName, Rule, Settings, Target, Topic,
        fallback_faults,
    },
    base::{Severity, TimeSpan},
    edge::zones,
    unit::similar,
};

/// `[alert]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertFile {
    #[serde(default, rename = "route")]
    routes: Vec<RouteFile>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleFile>,
    /// Where people read what to do about a topic, `<event>`.
    runbooks: Option<String>,
    heartbeat: Option<HeartbeatFile>,
    quiet_hours: Option<String>,
}

/// The documents that come with the program.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks/<event>.md");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatFile {
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    interval: Option<String>,
}

/// How often a heartbeat is sent unless its settings say otherwise.
const HEARTBEAT_INTERVAL: TimeSpan = TimeSpan::from_secs(60);
/// No more often.
const HEARTBEAT_INTERVAL_MIN: TimeSpan = TimeSpan::from_secs(1);

fn heartbeat(file: HeartbeatFile, files: &Files) -> Result<Heartbeat, Fault> {
    let url = secret_url(file.url, file.url_file, file.url_env, files)?;
    let interval = file.interval.as_deref().map_or(Ok(HEARTBEAT_INTERVAL), span).map_err(at("interval"))?;
    if interval < HEARTBEAT_INTERVAL_MIN || interval.micros().is_none() {
        return Err(at("interval")(format!("its interval is shorter than {HEARTBEAT_INTERVAL_MIN} or infinite")));
    }
    Ok(Heartbeat { url, interval })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    event: String,
    severity: Option<SeverityFile>,
    routes: Option<Vec<String>>,
    repeat_interval: Option<String>,
    runbook: Option<String>,
    dedup_key: Option<String>,
    inhibited_by: Option<Vec<String>>,
    /// Empty: none.
    quiet_hours: Option<String>,
    escalate_after: Option<String>,
    escalate_to: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeverityFile {
    Info,
    Warning,
    Critical,
}

/// Who is told, checked: every route has a URL, every rule names routes that exist. All faults at once, the consequences of one
/// left out.
pub(super) fn settings(file: AlertFile, files: &Files, node: String) -> Result<Settings, Vec<Fault>> {
    let mut faults = Vec::new();
    let runbooks = Some(file.runbooks.unwrap_or_else(|| RUNBOOKS.to_owned())).filter(|link| !link.is_empty());
    let mut settings = Settings { node, runbooks, ..Settings::default() };
    match file.quiet_hours.as_deref().filter(|text| !text.is_empty()).map(zones::quiet_hours).transpose() {
        Ok(hours) => settings.quiet_hours = hours,
        Err(problem) => faults.push(at("quiet_hours")(problem).of("alert quiet_hours")),
    }
    if file.routes.len() > ROUTES_MAX {
        faults.push(format!("more than {ROUTES_MAX} alert routes").into());
    }
    match file.heartbeat.map(|file| heartbeat(file, files)).transpose() {
        Ok(heartbeat) => settings.heartbeat = heartbeat,
        Err(fault) => faults.push(fault.within("heartbeat").of("alert heartbeat")),
    }
    let names: Vec<String> = file.routes.iter().map(|route| route.name.clone()).collect();
    for (index, route) in file.routes.into_iter().enumerate() {
        let name = route.name.clone();
        let whose = format!("alert route {name:?}");
        match checked_route(route, files) {
            Ok(_) if names.iter().take(index).any(|known| *known == name) => {
                faults.push(at("name")(format!("{whose} stands here twice")).nth(index).within("route"));
            }
            Ok(route) => settings.routes.push(route),
            Err(fault) => faults.push(fault.of(&whose).nth(index).within("route")),
        }
    }
    faults.extend(wrong_fallbacks(&settings.routes, &names));
    for (index, rule) in file.rules.into_iter().enumerate() {
        let event = rule.event.clone();
        match checked_rule(rule, &names) {
            Ok(rule) => settings.rules.push(rule),
            Err(fault) => faults.push(fault.of(&format!("alert rule {event:?}")).nth(index).within("rule")),
        }
    }
    if faults.is_empty() { Ok(settings) } else { Err(faults.into_iter().map(|fault| fault.within("alert")).collect()) }
}

/// Of `sound` ones among all routes that have these names: a route that has a fault of its own is there all the same.
fn wrong_fallbacks(sound: &[Route], names: &[String]) -> Vec<Fault> {
    let index = |name: &RouteName| names.iter().position(|known| known == name.as_str());
    let is_sound = |name: &RouteName| sound.iter().any(|route| route.name == *name);
    let of = |name: &RouteName| sound.iter().find(|route| route.name == *name)?.fallback.as_ref();
    let is_told = |name: &RouteName| of(name).is_some_and(|to| index(&to.route).is_some() && !is_sound(&to.route));
    let faults = fallback_faults(sound).into_iter().filter(|(name, _)| !is_told(name));
    let located = |(name, problem): (RouteName, String)| {
        let fault = at("fallback")(problem).of(&format!("alert route {:?}", name.as_str()));
        fault.nth(index(&name).unwrap_or_default()).within("route")
    };
    faults.map(located).collect()
}

/// Commands that cannot be run, each with the reason.
pub(super) fn unfit(settings: &Settings) -> Vec<Fault> {
    let fault = |(index, route): (usize, &Route)| match &route.target {
        Target::Command(program) => {
            let whose = format!("alert route {:?}", route.name.as_str());
            let fault = Fault::from(program.unfit.clone()?).of(&whose);
            Some(fault.nth(index).within("route").within("alert"))
        }
        Target::Webhook(_) | Target::Slack(_) | Target::SlackBot(_) | Target::Alertmanager(_) | Target::Email(_) => {
            None
        }
    };
    settings.routes.iter().enumerate().filter_map(fault).collect()
}

fn span(text: &str) -> Result<TimeSpan, String> {
    text.parse::<TimeSpan>().map_err(|error| error.to_string())
}

/// A pattern whose topic there is.
fn pattern(text: &str) -> Result<Pattern, String> {
    let topic = text.split_once(':').map_or(text, |(topic, _)| topic);
    if topic.contains('*') || Topic::parse(topic).is_some() {
        return Ok(Pattern::new(text));
    }
    let meant = similar(topic, Topic::ALL.iter().map(|topic| topic.as_str()));
    let help =
        meant.map_or_else(|| Topic::ALL.map(Topic::as_str).join(", "), |meant| format!("did you mean {meant:?}?"));
    Err(format!("{topic:?} is no event ({help})"))
}

/// `routes` are the names of all, sound or not.
fn checked_rule(file: RuleFile, routes: &[String]) -> Result<Rule, Fault> {
    let known = |name: &String| {
        if !routes.contains(name) {
            let meant = similar(name, routes.iter().map(String::as_str));
            let help = meant
                .map_or_else(|| format!("routes: {}", routes.join(", ")), |meant| format!("did you mean {meant:?}?"));
            return Some(Err(format!("there is no route {name:?} ({help})")));
        }
        // A name that cannot be is told where the route stands.
        RouteName::new(name).ok().map(Ok)
    };
    let all_known = |names: &[String]| names.iter().filter_map(known).collect::<Result<Vec<_>, _>>();
    let escalation = match (file.escalate_after, file.escalate_to) {
        (Some(after), Some(to)) if !to.is_empty() => Some(Escalation {
            after: span(&after).map_err(at("escalate_after"))?,
            routes: all_known(&to).map_err(at("escalate_to"))?,
        }),
        (None, None) => None,
        (after, _) => {
            let key = if after.is_some() { "escalate_after" } else { "escalate_to" };
            return Err(at(key)("escalate_after and escalate_to belong together"));
        }
    };
    let inhibited_by = file.inhibited_by.unwrap_or_default();
    let inhibited_by: Result<_, _> = inhibited_by.iter().map(|text| pattern(text)).collect();
    Ok(Rule {
        event: pattern(&file.event).map_err(at("event"))?,
        severity: file.severity.map(|severity| match severity {
            SeverityFile::Info => Severity::Info,
            SeverityFile::Warning => Severity::Warning,
            SeverityFile::Critical => Severity::Critical,
        }),
        routes: file.routes.as_deref().map(all_known).transpose().map_err(at("routes"))?,
        repeat_interval: file.repeat_interval.as_deref().map(span).transpose().map_err(at("repeat_interval"))?,
        runbook: file.runbook,
        dedup_key: file.dedup_key,
        inhibited_by: inhibited_by.map_err(at("inhibited_by"))?,
        quiet_hours: match file.quiet_hours.as_deref() {
            Some("") => Some(Quiet::Never),
            Some(text) => Some(Quiet::Hours(zones::quiet_hours(text).map_err(at("quiet_hours"))?)),
            None => None,
        },
        escalation,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;
    use crate::{
        alert::{Protection, Webhook},
        base::Secret,
    };

    fn check(text: &str, base: &Path) -> Result<Settings, Vec<String>> {
        settings(toml::from_str(text).expect("well formed"), &Files::new(base, Texts::new()), "here".into())
            .map_err(|faults| faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = r#"
            [[route]]
            name = "ops"
            kind = "webhook"
            url = "ftp://x"
            [[route]]
            name = "b"
            kind = "slack"
            [[rule]]
            event = "*"
            routes = ["nobody"]
            [[rule]]
            event = "unit_failed"
            repeat_interval = "soon"
        "#;
        assert_eq!(check(text, Path::new("")).expect_err("four problems").len(), 4);
    }

    #[test]
    fn an_alertmanager_needs_the_whole_path() {
        let of = |url| {
            check(&format!("[[route]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"{url}\"\n"), Path::new(""))
        };
        for url in ["http://127.0.0.1:9093", "http://127.0.0.1:9093/"] {
            let faults = of(url).expect_err("no path");
            assert!(faults[0].contains("http://HOST:9093/api/v2/alerts"), "{faults:?}");
        }
        of("http://127.0.0.1:9093/api/v2/alerts").expect("the whole path");
    }

    #[test]
    fn a_route_with_a_fault_is_there_for_those_who_name_it() {
        let text = r#"
            [[route]]
            name = "ops"
            kind = "webhook"
            url = "ftp://x"
            [[route]]
            name = "a b"
            kind = "webhook"
            url = "http://x"
            [[route]]
            name = "post"
            kind = "webhook"
            url = "http://x"
            fallback = "ops"
            [[rule]]
            event = "*"
            routes = ["ops", "a b", "post"]
            escalate_after = "1min"
            escalate_to = ["ops"]
            [[rule]]
            event = "unit_failed"
            routes = ["pots"]
        "#;
        let faults = check(text, Path::new("")).expect_err("three faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].contains("\"ops\": its URL") && faults[1].contains("\"a b\""), "{faults:?}");
        assert!(faults[2].ends_with("no route \"pots\" (did you mean \"post\"?)"), "{faults:?}");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("url");
        fs::write(&file, "http://127.0.0.1/hook\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");
        let text = "[[route]]\nname = \"ops\"\nkind = \"webhook\"\nurl_file = \"url\"\n";
        let problems = check(text, dir.path()).expect_err("readable by the group");
        assert!(problems[0].contains("has mode 0640"), "{problems:?}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
        let settings = check(text, dir.path()).expect("secret enough");
        assert_eq!(
            settings.routes[0].target,
            Target::Webhook(Box::new(Webhook::new(Secret::new("http://127.0.0.1/hook"))))
        );
    }

    #[test]
    fn a_template_is_refused_with_its_place_and_a_key_of_another_kind_with_its_kind() {
        let route = |more: &str| {
            check(
                &format!("[[route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://x/\"\n{more}"),
                Path::new("/"),
            )
        };
        assert!(route("template = '{\"text\": \"{{message}}\"}'").is_ok());
        let wrong = [
            ("template = \"{{ nobody }}\"", "template:1:1: there is no field"),
            ("template = \"{\\n{{node}}}\"", "no JSON"),
            ("template_file = \"/no/such\"", "cannot read /no/such"),
            ("channel = \"C1\"", "of kind \"slack\""),
            ("secret_env = \"ROUNDSMAN_NO_SUCH\"", "is not set"),
        ];
        for (text, says) in wrong {
            let problems = route(text).expect_err(text);
            assert!(problems[0].contains(says), "{text}: {problems:?}");
        }
    }

    #[test]
    fn a_route_falls_back_to_one_that_there_is_and_mail_is_given_up_after_a_day() {
        let two = |more: &str| {
            let mail = "server = \"x\"\nfrom = \"a@b.c\"\nto = [\"d@e.f\"]";
            let text = format!(
                "[[route]]\nname = \"post\"\nkind = \"email\"\n{mail}\n\
                 [[route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://x\"\n{more}"
            );
            check(&text, Path::new("/"))
        };
        let settings = two("fallback = \"post\"").expect("sound");
        let (post, ops) = (&settings.routes[0], &settings.routes[1]);
        assert_eq!((post.give_up_after, &post.fallback), (TimeSpan::from_secs(24 * 3600), &None));
        let fallback = ops.fallback.as_ref().expect("there");
        assert_eq!((fallback.route.as_str(), fallback.after), ("post", TimeSpan::from_secs(120)));
        assert_eq!(ops.give_up_after, TimeSpan::INFINITY);
        for (more, says) in [
            ("fallback = \"nobody\"", "no route \"nobody\""),
            ("fallback = \"ops\"", "leads back to it"),
            ("fallback = \"a b\"", "cannot name a route"),
            ("fallback = \"post\"\nfallback_after = \"soon\"", "soon"),
            ("fallback_after = \"1min\"", "needs a fallback"),
            ("give_up_after = \"0\"", "give_up_after"),
        ] {
            assert!(two(more).expect_err(more)[0].contains(says), "{more}");
        }
    }

    #[test]
    fn an_app_of_slack_has_a_token_and_a_channel() {
        let route = |more: &str| check(&format!("[[route]]\nname = \"ops\"\nkind = \"slack\"\n{more}"), Path::new("/"));
        let settings = route("token_env = \"PATH\"\nchannel = \"C1\"").expect("all that is needed");
        assert!(matches!(&settings.routes[0].target, Target::SlackBot(bot) if bot.api == "https://slack.com/api"));
        for (text, says) in [
            ("token_env = \"PATH\"", "needs a channel"),
            ("channel = \"C1\"", "token_file"),
            ("token_env = \"PATH\"\nchannel = \"C1\"\nurl = \"http://x\"", "or the token"),
        ] {
            assert!(route(text).expect_err(text)[0].contains(says), "{text}");
        }
    }

    #[test]
    fn rules_name_events_that_there_are_and_hours_that_can_be() {
        let settings = check(
            "quiet_hours = \"22:00-07:00 Europe/Berlin\"\n[heartbeat]\nurl = \"https://x/\"\n\
             [[route]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"http://x\"\n\
             [[rule]]\nevent = \"unit_*:web\"\ninhibited_by = [\"disk_low\"]\nquiet_hours = \"\"\n\
             escalate_after = \"15min\"\nescalate_to = [\"a\"]\n",
            Path::new("/"),
        );
        let settings = settings.expect("sound");
        assert_eq!(settings.heartbeat.expect("there").interval, TimeSpan::from_secs(60));
        assert_eq!(settings.rules[0].quiet_hours, Some(Quiet::Never));
        assert!(settings.quiet_hours.is_some());
        let wrong = [
            ("quiet_hours = \"late\"", "quiet_hours"),
            ("quiet_hours = \"22:00-07:00 Europe/Atlantis\"", "time zone"),
            ("[heartbeat]\nurl = \"https://x/\"\ninterval = \"0\"", "heartbeat"),
            ("[heartbeat]\nurl = \"x\"", "heartbeat"),
            ("[[rule]]\nevent = \"unit_fialed\"", "did you mean \"unit_failed\"?"),
            ("[[rule]]\nevent = \"*\"\ninhibited_by = [\"nothing\"]", "no event"),
            ("[[rule]]\nevent = \"*\"\nescalate_after = \"1min\"", "belong together"),
            ("[[rule]]\nevent = \"*\"\nescalate_after = \"1min\"\nescalate_to = [\"b\"]", "no route \"b\""),
        ];
        for (text, says) in wrong {
            let problems = check(text, Path::new("/")).expect_err(text);
            assert!(problems[0].contains(says), "{text}: {problems:?}");
        }
    }

    #[test]
    fn mail_has_a_server_a_sender_and_receivers_and_no_password_goes_unprotected() {
        let mail = |more: &str| check(&format!("[[route]]\nname = \"ops\"\nkind = \"email\"\n{more}"), Path::new("/"));
        let whole = "server = \"mail.example.org\"\nfrom = \"roundsman@example.org\"\nto = [\"ops@example.org\"]\n";
        let settings = mail(whole).expect("all that is needed");
        let Target::Email(mailbox) = &settings.routes[0].target else { panic!("{settings:?}") };
        assert_eq!((mailbox.port, mailbox.protection, &mailbox.login), (587, Protection::StartTls, &None));
        let wrong = [
            ("", "server"),
            ("server = \"x:y\"\n", "no port"),
            ("server = \"x\"\n", "sender"),
            ("server = \"x\"\nfrom = \"a@b.c\"\n", "receivers"),
            ("server = \"x\"\nfrom = \"a@b.c\"\nto = [\"nobody\"]\n", "no mail address"),
            (&format!("{whole}url = \"http://x\"\n"), "no url"),
            (&format!("{whole}user = \"me\"\n"), "password_file"),
            (&format!("{whole}user = \"me\"\npassword_env = \"PATH\"\ntls = \"none\"\n"), "without TLS"),
        ];
        for (text, says) in wrong {
            let problems = mail(text).expect_err(text);
            assert!(problems[0].contains(says), "{text}: {problems:?}");
        }
        let other = check("[[route]]\nname = \"a\"\nkind = \"slack\"\nurl = \"http://x\"\nto = []\n", Path::new("/"));
        assert!(other.expect_err("mixed")[0].contains("of kind \"email\""));
    }
}
