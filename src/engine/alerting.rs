//! `[[alert.route]]` and `[[alert.rule]]` as they are written, and what the alert machine makes of them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    alert::{ROUTES_MAX, Route, RouteKind, RouteName, Rule, Settings},
    base::{Secret, Severity, TimeSpan},
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
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Webhook,
    Slack,
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
    let url = match (file.url, file.url_file, file.url_env) {
        (Some(url), None, None) => url,
        (None, Some(path), None) => secret_file(&base.join(path))?,
        (None, None, Some(variable)) => {
            std::env::var(&variable).map_err(|_| format!("the variable {variable} of url_env is not set"))?
        }
        _ => return Err("give exactly one of url, url_file and url_env".to_owned()),
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("its URL begins with neither http:// nor https://".to_owned());
    }
    let kind = match file.kind {
        Kind::Webhook => RouteKind::Webhook,
        Kind::Slack => RouteKind::Slack,
    };
    Ok(Route { name, kind, url: Secret::new(url) })
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
        assert_eq!(settings.routes[0].url.expose(), "http://127.0.0.1/hook");
    }
}
