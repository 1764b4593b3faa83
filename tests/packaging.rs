//! What ships beside the programs is accepted by those who read it.
#![expect(clippy::expect_used, reason = "a helper of tests stops the test")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

/// What systemd says about our unit with `text`, its program being the one built here.
#[expect(clippy::disallowed_methods, reason = "asks systemd")]
fn verified(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("roundsman.service");
    let program = folder.path().join("supervisord");
    symlink(env!("CARGO_BIN_EXE_supervisord"), &program).expect("a link");
    fs::write(&unit, text.replace("/usr/bin/supervisord", program.to_str().expect("UTF-8"))).expect("written");
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
    let said = verify.expect("systemd-analyze is in the Debian package systemd");
    // It may complain about other units of this machine, which are none of our business.
    let stderr = String::from_utf8_lossy(&said.stderr);
    let mut about_us: Vec<_> = stderr.lines().filter(|line| line.contains("roundsman.service")).collect();
    if !said.status.success() && about_us.is_empty() {
        about_us.push(&stderr);
    }
    about_us.join("\n")
}

fn shipped_unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/roundsman.service")).expect("shipped")
}

#[test]
fn systemd_understands_every_line_of_our_unit() {
    assert_eq!(verified(&shipped_unit()), "");
}

#[test]
fn systemd_would_say_if_it_did_not() {
    let unknown_key = shipped_unit().replace("WatchdogSec=", "WatchdogSecs=");
    assert!(verified(&unknown_key).contains("WatchdogSecs"), "{}", verified(&unknown_key));
    let bad_value = shipped_unit().replace("KillMode=process", "KillMode=proces");
    assert!(verified(&bad_value).contains("proces"), "{}", verified(&bad_value));
}

/// No option is needed: the paths that the unit makes are the ones that the daemon has for root.
#[test]
fn the_directories_of_our_unit_are_the_daemons() {
    let places = roundsman::base::Places::of(0, |_| None);
    let unit = shipped_unit();
    for (key, root, path) in
        [("Runtime", "/run", &places.runtime), ("State", "/var/lib", &places.state), ("Logs", "/var/log", &places.logs)]
    {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}Directory="))).expect("a directory");
        assert_eq!(&Path::new(root).join(line), path);
    }
}

#[expect(clippy::disallowed_methods, reason = "asks promtool")]
fn promtool(arguments: &[&str], file: &Path) {
    let said = Command::new("promtool").args(arguments).arg(file).output();
    let said = said.expect("promtool is in the Debian package prometheus");
    assert!(said.status.success(), "{said:?}");
}

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// The scenarios name what would be told, so that a rule that never fires fails them.
#[test]
fn the_rules_for_prometheus_are_read_and_tell_what_they_should() {
    promtool(&["check", "rules"], &packaging("prometheus/roundsman.rules.yml"));
    promtool(&["test", "rules"], &packaging("prometheus/roundsman.test.yml"));
}

/// Each alert's runbook is one of ours.
#[test]
fn every_rule_leads_to_a_runbook() {
    let rules = fs::read_to_string(packaging("prometheus/roundsman.rules.yml")).expect("shipped");
    let links: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    assert_eq!(links.len(), rules.matches("- alert: ").count());
    for link in links {
        let page = link.trim_matches('"').rsplit_once("/blob/main/").expect("a file of the repository").1;
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(page).is_file(), "{page}");
    }
}

/// Grafana is not asked; Prometheus is, about every query.
#[test]
fn every_query_of_the_dashboard_is_one_for_prometheus() {
    let text = fs::read_to_string(packaging("grafana/roundsman.json")).expect("shipped");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries: Vec<_> =
        panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")).map(|t| &t["expr"]).collect();
    assert!(queries.len() > 15);
    let rules: Vec<_> =
        queries.iter().enumerate().map(|(at, expr)| json!({"record": format!("query:{at}"), "expr": expr})).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("queries.yml");
    // YAML takes JSON.
    fs::write(&file, json!({"groups": [{"name": "queries", "rules": rules}]}).to_string()).expect("written");
    promtool(&["check", "rules"], &file);
}
