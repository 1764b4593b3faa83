//! `[[alert.route]]` and `[[alert.rule]]` as they are written, and what the alert machine makes of them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    alert::{Mailbox, Protection, ROUTES_MAX, Route, RouteName, Rule, Settings, Target},
    base::{Secret, Severity, TimeSpan},
    edge::deliver::check_address,
};

/// `[alert]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertFile {
    #[serde(default, rename = "route")]
    routes: Vec<RouteFile>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    name: String,
    kind: Kind,
    /// A secret, which stands better in a file or a variable.
    url: Option<String>,
    /// Readable by its owner only.
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    // What follows is of `kind = "email"` alone.
    server: Option<String>,
    tls: Option<ProtectionFile>,
    ca_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    from: Option<String>,
    to: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProtectionFile {
    StartTls,
    Tls,
    None,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Webhook,
    Slack,
    Alertmanager,
    Email,
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
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeverityFile {
    Info,
    Warning,
    Critical,
}

/// Who is told, checked: every route has a URL, every rule names routes that exist. All problems at once.
pub(super) fn settings(file: AlertFile, base: &Path, node: String) -> Result<Settings, Vec<String>> {
    let mut problems = Vec::new();
    let mut settings = Settings { node, ..Settings::default() };
    if file.routes.len() > ROUTES_MAX {
        problems.push(format!("more than {ROUTES_MAX} alert routes"));
    }
    for route in file.routes {
        let name = route.name.clone();
        match checked_route(route, base) {
            Ok(route) if settings.routes.iter().any(|known| known.name == route.name) => {
                problems.push(format!("alert route {name:?} stands here twice"));
            }
            Ok(route) => settings.routes.push(route),
            Err(problem) => problems.push(format!("alert route {name:?}: {problem}")),
        }
    }
    for rule in file.rules {
        let event = rule.event.clone();
        match checked_rule(rule, &settings.routes) {
            Ok(rule) => settings.rules.push(rule),
            Err(problem) => problems.push(format!("alert rule {event:?}: {problem}")),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn checked_route(file: RouteFile, base: &Path) -> Result<Route, String> {
    let name = RouteName::new(&file.name).map_err(|error| error.to_string())?;
    let target = match file.kind {
        Kind::Email => Target::Email(Box::new(mailbox(file, base)?)),
        Kind::Webhook => Target::Webhook(url(file, base)?),
        Kind::Slack => Target::Slack(url(file, base)?),
        Kind::Alertmanager => Target::Alertmanager(url(file, base)?),
    };
    Ok(Route { name, target })
}

fn url(file: RouteFile, base: &Path) -> Result<Secret, String> {
    let is_mail = [file.server.is_some(), file.tls.is_some(), file.ca_file.is_some(), file.user.is_some()]
        .into_iter()
        .chain([file.password_file.is_some(), file.password_env.is_some(), file.from.is_some(), file.to.is_some()])
        .any(|given| given);
    if is_mail {
        return Err("server, tls, ca_file, user, password_file, password_env, from and to are keys of kind \"email\""
            .to_owned());
    }
    let url = match (file.url, file.url_file, file.url_env) {
        (Some(url), None, None) => url,
        (None, Some(path), None) => secret_file(&base.join(path))?,
        (None, None, Some(name)) => variable(&name, "url_env")?,
        _ => return Err("give exactly one of url, url_file and url_env".to_owned()),
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("its URL begins with neither http:// nor https://".to_owned());
    }
    Ok(Secret::new(url))
}

fn mailbox(file: RouteFile, base: &Path) -> Result<Mailbox, String> {
    if file.url.is_some() || file.url_file.is_some() || file.url_env.is_some() {
        return Err("mail has a server and receivers, but no url".to_owned());
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
        Some((host, port)) => (host.to_owned(), port.parse().map_err(|_| format!("{port:?} in server is no port"))?),
        None => (server, usual),
    };
    let password = match (file.password_file, file.password_env) {
        (Some(path), None) => Some(secret_file(&base.join(path))?),
        (None, Some(name)) => Some(variable(&name, "password_env")?),
        (None, None) => None,
        (Some(_), Some(_)) => return Err("give one of password_file and password_env".to_owned()),
    };
    let login = match (file.user, password) {
        (Some(user), Some(password)) => Some((user, Secret::new(password))),
        (None, None) => None,
        (Some(_), None) => return Err("user needs a password_file or password_env".to_owned()),
        (None, Some(_)) => return Err("the password needs a user".to_owned()),
    };
    if login.is_some() && protection == Protection::None {
        return Err(
            "without TLS everyone on the way could read the password (tls = \"starttls\" or \"tls\")".to_owned()
        );
    }
    let authorities = match file.ca_file.map(|path| base.join(path)) {
        Some(path) => Some(fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?),
        None => None,
    };
    let from = file.from.ok_or("mail needs a sender: from = \"roundsman@example.org\"")?;
    let to = file.to.filter(|to| !to.is_empty()).ok_or("mail needs receivers: to = [\"ops@example.org\"]")?;
    for address in to.iter().chain([&from]) {
        check_address(address)?;
    }
    Ok(Mailbox { host, port, protection, authorities, login, from, to })
}

fn variable(name: &str, key: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the variable {name} of {key} is not set"))
}

/// The first line of a file that nobody but its owner, root or us, may read.
fn secret_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("{shown} has mode {mode:04o}, others can read this secret (chmod 0600 {shown})"));
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user, who could change it"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn checked_rule(file: RuleFile, routes: &[Route]) -> Result<Rule, String> {
    let known = |name: &String| {
        let found = routes.iter().find(|route| route.name.as_str() == name);
        found.map(|route| route.name.clone()).ok_or_else(|| {
            let names: Vec<_> = routes.iter().map(|route| route.name.as_str()).collect();
            format!("there is no route {name:?} (routes: {})", names.join(", "))
        })
    };
    Ok(Rule {
        event: file.event,
        severity: file.severity.map(|severity| match severity {
            SeverityFile::Info => Severity::Info,
            SeverityFile::Warning => Severity::Warning,
            SeverityFile::Critical => Severity::Critical,
        }),
        routes: file.routes.map(|names| names.iter().map(known).collect()).transpose()?,
        repeat_interval: file
            .repeat_interval
            .map(|text| text.parse::<TimeSpan>().map_err(|error| error.to_string()))
            .transpose()?,
        runbook: file.runbook,
        dedup_key: file.dedup_key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, base: &Path) -> Result<Settings, Vec<String>> {
        settings(toml::from_str(text).expect("well formed"), base, "here".into())
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
        assert_eq!(settings.routes[0].target, Target::Webhook(Secret::new("http://127.0.0.1/hook")));
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
