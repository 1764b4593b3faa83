//! `[[alert.route]]` and `[[alert.rule]]` as they are written, and what the alert machine makes of them.

mod check; // what is wrong with one table
mod files; // what settings name beside their own file
pub(super) mod program; // commands that are told
mod routes; // where alerts go
mod rules; // who is told of what

use std::path::PathBuf;

use check::Check;
pub(crate) use files::{Files, Texts};
use routes::{ROUTE, RouteFile, checked_route, secret_url};
use rules::{Known, RULE, RuleFile, checked_rule, unknown_placeholders};

use super::settings::{Fault, at, path};
use crate::{
    alert::{Heartbeat, ROUTES_MAX, Route, RouteName, Settings, fallback_faults},
    base::TimeSpan,
    edge::zones,
    unit::{Field, Read},
};

/// `[alert]` as it is written.
#[derive(Debug, Default)]
pub(super) struct AlertFile {
    /// `None` where it is no list of tables.
    routes: Option<Vec<Read<RouteFile>>>,
    rules: Vec<Read<RuleFile>>,
    /// Where people read what to do about a topic, `<event>`.
    runbooks: Option<String>,
    heartbeat: Option<Read<HeartbeatFile>>,
    quiet_hours: Option<String>,
    has_routes: bool,
    /// Whether the syntax of the file is broken: routes that stand in it may not be here.
    pub(super) is_broken: bool,
}

pub(super) const ALERT: &[Field<AlertFile>] = &[
    Field {
        name: "route",
        set: |alert, r, v| {
            alert.has_routes = true;
            alert.routes = r.tables(v, "alert.route", ROUTE);
        },
    },
    Field { name: "rule", set: |alert, r, v| alert.rules = r.tables(v, "alert.rule", RULE).unwrap_or_default() },
    Field { name: "runbooks", set: |alert, r, v| alert.runbooks = r.string(v) },
    Field {
        name: "heartbeat",
        set: |alert, r, v| alert.heartbeat = Some(r.read_table(v, "alert.heartbeat", HEARTBEAT)),
    },
    Field { name: "quiet_hours", set: |alert, r, v| alert.quiet_hours = r.string(v) },
];

/// The documents that come with the program.
const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/runbooks/<event>.md");

#[derive(Debug, Default)]
struct HeartbeatFile {
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    interval: Option<TimeSpan>,
}

const HEARTBEAT: &[Field<HeartbeatFile>] = &[
    Field { name: "url", set: |beat, r, v| beat.url = r.string(v) },
    Field { name: "url_file", set: |beat, r, v| beat.url_file = path(r, v) },
    Field { name: "url_env", set: |beat, r, v| beat.url_env = r.string(v) },
    Field { name: "interval", set: |beat, r, v| beat.interval = r.span(v) },
];

/// How often a heartbeat is sent unless its settings say otherwise.
const HEARTBEAT_INTERVAL: TimeSpan = TimeSpan::from_secs(60);
/// No more often.
const HEARTBEAT_INTERVAL_MIN: TimeSpan = TimeSpan::from_secs(1);

fn heartbeat(file: HeartbeatFile, check: &mut Check<'_>) -> Option<Heartbeat> {
    let url = secret_url(file.url, file.url_file, file.url_env, check);
    let interval = file.interval.unwrap_or(HEARTBEAT_INTERVAL);
    if interval < HEARTBEAT_INTERVAL_MIN || interval.micros().is_none() {
        check.fault("interval", format!("its interval is shorter than {HEARTBEAT_INTERVAL_MIN} or infinite"));
    }
    Some(Heartbeat { url: url?, interval })
}

/// Who is told, checked: every route has a URL, every rule names routes that exist. All faults at once, the consequences of one
/// left out.
pub(super) fn settings(file: AlertFile, files: &Files, node: String) -> Result<Settings, Vec<Fault>> {
    let mut faults = Vec::new();
    let runbooks = Some(file.runbooks.unwrap_or_else(|| RUNBOOKS.to_owned())).filter(|link| !link.is_empty());
    let unknown = unknown_placeholders(runbooks.as_deref().unwrap_or_default(), &["<event>"]);
    faults.extend(unknown.into_iter().map(|problem| at("runbooks")(problem).of("alert runbooks")));
    let mut settings = Settings { node, runbooks, ..Settings::default() };
    match file.quiet_hours.as_deref().filter(|text| !text.is_empty()).map(zones::quiet_hours).transpose() {
        Ok(hours) => settings.quiet_hours = hours,
        Err(problem) => faults.push(at("quiet_hours")(problem).of("alert quiet_hours")),
    }
    if let Some(Read { says, is_whole }) = file.heartbeat {
        let mut check = Check::new(files, is_whole);
        settings.heartbeat = heartbeat(says, &mut check);
        faults.extend(check.into_faults("alert heartbeat").into_iter().map(|fault| fault.within("heartbeat")));
    }
    let are_known = !file.is_broken && (file.routes.is_some() || !file.has_routes);
    let routes = file.routes.unwrap_or_default();
    if routes.len() > ROUTES_MAX {
        faults.push(Fault::from(format!("more than {ROUTES_MAX} alert routes")).within("route"));
    }
    let names: Vec<Option<String>> = routes.iter().map(|route| route.says.name.clone()).collect();
    for (index, route) in routes.into_iter().enumerate() {
        let (route, found) = checked_in_its_place(index, route, &names, files);
        settings.routes.extend(route);
        faults.extend(found);
    }
    let known = Known {
        are_all: are_known && names.iter().all(Option::is_some),
        names: names.into_iter().map(Option::unwrap_or_default).collect(),
    };
    faults.extend(wrong_fallbacks(&settings.routes, &known));
    for (index, Read { says, is_whole }) in file.rules.into_iter().enumerate() {
        let whose =
            says.event.as_ref().map_or_else(|| "alert rule".to_owned(), |event| format!("alert rule {event:?}"));
        let mut check = Check::new(files, is_whole);
        settings.rules.extend(checked_rule(says, &known, &mut check));
        faults.extend(check.into_faults(&whose).into_iter().map(|fault| fault.nth(index).within("rule")));
    }
    if faults.is_empty() { Ok(settings) } else { Err(faults.into_iter().map(|fault| fault.within("alert")).collect()) }
}

/// One of the routes with these names, and what is wrong with it.
fn checked_in_its_place(
    index: usize,
    route: Read<RouteFile>,
    names: &[Option<String>],
    files: &Files,
) -> (Option<Route>, Vec<Fault>) {
    let name = route.says.name.clone();
    let whose = name.as_ref().map_or_else(|| "alert route".to_owned(), |name| format!("alert route {name:?}"));
    let mut check = Check::new(files, route.is_whole);
    let is_there = name.is_some() && names.iter().take(index).any(|known| *known == name);
    let route = checked_route(route.says, &mut check).filter(|_| !is_there);
    let mut faults = check.into_faults(&whose);
    if is_there {
        faults.push(at("name")(format!("{whose} stands here twice")));
    }
    (route, faults.into_iter().map(|fault| fault.nth(index).within("route")).collect())
}

/// Of `sound` ones among all routes that there are: a route that has a fault of its own is there all the same.
fn wrong_fallbacks(sound: &[Route], known: &Known) -> Vec<Fault> {
    let index = |name: &RouteName| known.names.iter().position(|known| known == name.as_str());
    let is_sound = |name: &RouteName| sound.iter().any(|route| route.name == *name);
    let of = |name: &RouteName| sound.iter().find(|route| route.name == *name)?.fallback.as_ref();
    let is_told = |name: &RouteName| {
        of(name).is_some_and(|to| if index(&to.route).is_some() { !is_sound(&to.route) } else { !known.are_all })
    };
    let faults = fallback_faults(sound).into_iter().filter(|(name, _)| !is_told(name));
    let located = |(name, problem): (RouteName, String)| {
        let fault = at("fallback")(problem).of(&format!("alert route {:?}", name.as_str()));
        fault.nth(index(&name).unwrap_or_default()).within("route")
    };
    faults.map(located).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;
    use crate::{
        alert::{Protection, Quiet, Target, Webhook},
        base::Secret,
        unit::read_settings,
    };

    fn check(text: &str, base: &Path) -> Result<Settings, Vec<String>> {
        let mut file = AlertFile::default();
        let unread = read_settings(Path::new("r.toml"), text, ALERT, &mut file);
        let mut said: Vec<String> = unread.iter().map(ToString::to_string).collect();
        let settings = settings(file, &Files::new(base), "here".into());
        said.extend(settings.as_ref().err().into_iter().flatten().map(|fault| fault.message.clone()));
        settings.ok().filter(|_| said.is_empty()).ok_or(said)
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
    fn an_address_that_cannot_be_asked_is_refused_wherever_it_stands() {
        let of = |text: String| check(&text, Path::new("")).expect_err(&text);
        for url in ["http://", "http://a:99999/", "http://a:0/", "https:///x", "http://a b/", "http://a/#x"] {
            let route = |kind| format!("[[route]]\nname = \"ops\"\nkind = \"{kind}\"\nurl = \"{url}\"\n");
            for text in [
                route("webhook"),
                route("slack"),
                route("alertmanager"),
                format!("[heartbeat]\nurl = \"{url}\"\n"),
                format!(
                    "[[route]]\nname = \"ops\"\nkind = \"slack\"\nchannel = \"C\"\ntoken_env = \"PATH\"\napi_url = \"{url}\"\n"
                ),
            ] {
                let faults = of(text);
                assert!(
                    faults.len() == 1 && faults[0].contains(" has ") | faults[0].contains(" contains "),
                    "{faults:?}"
                );
            }
        }
        let mail = |server: &str| {
            format!(
                "[[route]]\nname = \"post\"\nkind = \"email\"\nserver = \"{server}\"\nfrom = \"a@b.c\"\nto = [\"d@e.f\"]\n"
            )
        };
        for server in ["", ":587", "host:99999", "host:0", "host:", "two words", "http://host"] {
            let faults = of(mail(server));
            assert!(faults.len() == 1 && faults[0].contains("smtp.example.org:587"), "{faults:?}");
        }
        for (server, host, port) in [("::1", "::1", 587), ("[::1]:25", "::1", 25), ("host:25", "host", 25)] {
            let settings = check(&mail(server), Path::new("")).expect(server);
            let Target::Email(mailbox) = &settings.routes[0].target else { panic!("mail") };
            assert_eq!((mailbox.host.as_str(), mailbox.port), (host, port));
        }
    }

    #[test]
    fn what_holds_no_certificate_is_no_ca_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "[[route]]\nname = \"post\"\nkind = \"email\"\nserver = \"host\"\nfrom = \"a@b.c\"\nto = [\"d@e.f\"]\nca_file = \"ca.pem\"\n";
        let said = || check(text, dir.path()).expect_err("no authority").join("\n");
        assert!(said().contains("cannot read"), "{}", said());
        for (pem, why) in [
            ("", "holds no certificate"),
            ("hello", "holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "not a certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "PEM"),
        ] {
            fs::write(dir.path().join("ca.pem"), pem).expect("written");
            assert!(said().contains("cannot use ca.pem") && said().contains(why), "{pem}: {}", said());
        }
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
            ("[[rule]]\nevent = \"*\"\ninhibited_by = [\"*foo*\"]", "no event"),
            ("[[rule]]\nevent = \"*\"\ndedup_key = \"<unit>/<evnt>\"", "did you mean <event>?"),
            ("runbooks = \"https://wiki/<evnt>\"", "nothing is filled in for <evnt> (did you mean <event>?)"),
            ("runbooks = \"https://wiki/<unit>\"", "<event> can stand there"),
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

    #[test]
    fn all_faults_of_one_route_and_of_one_rule_are_told_at_once() {
        let text = r#"
            [[route]]
            name = "a b"
            kind = "webhook"
            url = "ftp://x"
            template = "{{ nobody }}"
            server = "mail"
            give_up_after = 0
            group_wait = "2h"
            fallback = "c d"
            [[route]]
            name = "post"
            kind = "email"
            server = "x:y"
            from = "nobody"
            to = ["a@b.c", "neither"]
            user = "me"
            [[rule]]
            event = "unit_fialed"
            routes = ["nobody", "post", "noone"]
            inhibited_by = ["foo", "disk_low", "bar"]
            dedup_key = "<evnt> <node> <unti>"
            quiet_hours = "late"
            escalate_after = "1min"
        "#;
        let said = check(text, Path::new("/")).expect_err("seventeen faults");
        let expected = [
            "\"a b\": ",
            "server is a key of kind \"email\"",
            "cannot name a route",
            "give_up_after is 0",
            "group_wait is longer",
            "neither http:// nor https://",
            "template:1:1",
            "no port",
            "user needs a password_file",
            "\"nobody\" ",
            "\"neither\" ",
            "\"unit_fialed\" is no event",
            "no route \"nobody\"",
            "no route \"noone\"",
            "escalate_to belong together",
            "\"foo\" is no event",
            "\"bar\" is no event",
            "nothing is filled in for <evnt>",
            "nothing is filled in for <unti>",
            "hours of the day",
        ];
        for part in expected {
            assert!(said.iter().any(|fault| fault.contains(part)), "{part}: {said:#?}");
        }
        assert_eq!(said.len(), expected.len(), "{said:#?}");
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_what_follows_from_it_is_not() {
        for (text, says) in [
            ("[[route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = 5", "\"url\" must be a string, not an integer"),
            ("[[route]]\nname = \"ops\"\nkind = \"webhok\"\nurl = \"http://x\"", "did you mean \"webhook\"?"),
            ("[[route]]\nname = \"ops\"\nkind = \"webhook\"\nurll = \"http://x\"", "did you mean \"url\"?"),
            (
                "[[route]]\nname = 5\nkind = \"webhook\"\nurl = \"http://x\"\n[[rule]]\nevent = \"*\"\nroutes = [\"ops\"]",
                "\"name\" must be",
            ),
            ("[route]\nname = \"ops\"\n[[rule]]\nevent = \"*\"\nroutes = [\"ops\"]", "write [[alert.route]]"),
            ("[[rule]]\nevent = [\"*\"]", "\"event\" must be a string, not a list"),
            ("[[rule]]\nevent = \"*\"\nroutes = \"ops\"", "write [\"ops\"]"),
            ("[[rule]]\nevent = \"*\"\nescalate_after = \"soon\"\nescalate_to = []", "soon"),
            ("[[rule]]\nevent = \"*\"\nseverity = \"bad\"", "it can be info, warning, critical"),
            (
                "[[rule]]\nevent = \"unit_failed:\"",
                "is about nobody (\"unit_failed\" is about all, \"unit_failed:web\"",
            ),
            (
                "[[route]]\nname = \"ops\nkind = \"webhook\"\nurl = \"http://x\"\n[[rule]]\nevent = \"*\"\nroutes = [\"ops\"]",
                "2:",
            ),
        ] {
            let said = check(text, Path::new("/")).expect_err(text);
            assert!(said.iter().any(|fault| fault.contains(says)), "{text}: {said:#?}");
            let is_followed = text.contains("soon") || text.contains("\"ops\nkind");
            assert!(said.len() == 1 || is_followed, "{text}: {said:#?}");
            assert!(!said.iter().any(|fault| fault.contains("no route")), "{text}: {said:#?}");
        }
    }
}
