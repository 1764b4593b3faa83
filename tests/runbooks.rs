//! Each alert has a runbook, and each runbook can be followed.
#![expect(clippy::expect_used, reason = "a helper of tests stops the test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use roundsman::{
    alert::default_rules,
    base::{FleetEvent, Generation, Happening, RunId, RunResult, Severity, Shortage, TimeSpan, UnitName},
};

/// Alerts that have no topic: of Prometheus' rules.
const BESIDE: [&str; 2] = ["alerts_undelivered", "supervisor_absent"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")
}

/// Every page with its text, but for the index.
fn pages() -> Vec<(String, String)> {
    let files = fs::read_dir(folder()).expect("docs/runbooks");
    let paths = files.map(|file| file.expect("an entry").path());
    let named = paths.map(|path| (path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned(), path));
    named
        .filter(|(name, _)| name != "README")
        .map(|(name, path)| (name, fs::read_to_string(path).expect("a text")))
        .collect()
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let have: BTreeSet<_> = pages().into_iter().map(|(name, _)| name).collect();
    let alerts = default_rules().into_iter().map(|rule| rule.event.to_string());
    let wanted: BTreeSet<_> = alerts.chain(BESIDE.map(str::to_owned)).collect();
    assert_eq!(have, wanted);
    let index = fs::read_to_string(folder().join("README.md")).expect("the index");
    for name in &have {
        assert!(index.contains(&format!("| [{name}]({name}.md) |")), "the index lacks {name}");
    }
}

#[test]
fn a_runbook_says_what_it_looks_like_what_to_do_and_when_it_is_over() {
    for (name, text) in pages() {
        let heads: Vec<_> = text.lines().filter(|line| line.starts_with('#') && !line.starts_with("# s")).collect();
        let own = format!("# {name}");
        let heads: Vec<_> = heads.into_iter().filter(|head| *head != own).collect();
        assert_eq!(heads, ["## Symptoms", "## Steps", "## Is it over?"], "{name}");
        assert!(text.starts_with(&own), "{name}");
        assert!(text.contains("supervisorctl "), "{name} has no command");
    }
}

#[test]
fn a_runbook_names_the_severity_of_its_alert() {
    let text = || "x".to_owned();
    let unit = || UnitName::new("web").expect("a name");
    let run = || RunId { unit: unit(), generation: Generation(1) };
    let short = |shortage| Happening::Degraded {
        run: run(),
        probe: text(),
        severity: Severity::Warning,
        shortage,
        reason: text(),
    };
    let alerts = [
        ("unit_failed", Happening::UnitFailed { unit: unit(), result: RunResult::ExitCode }),
        (
            "start_limit_hit",
            Happening::StartLimitHit {
                unit: unit(),
                burst: 5,
                interval: TimeSpan::from_secs(10),
                last: None,
                again: false,
            },
        ),
        ("unit_unkillable", Happening::Unkillable { run: run() }),
        ("recovered", Happening::Recovered { run: run() }),
        ("config_rejected", Happening::ConfigRejected { problems: text() }),
        ("store_degraded", Happening::StoreDegraded { reason: text() }),
        ("store_replaced", Happening::StoreReplaced { kept: text() }),
        ("logs_degraded", Happening::LogsDegraded { unit: unit(), reason: text(), dropped: true }),
        ("unit_degraded", short(Shortage::Service)),
        ("disk_low", short(Shortage::Disk)),
        ("certificate_expiring", short(Shortage::Certificate)),
        ("slow_replication", short(Shortage::Replication)),
    ];
    let (node, reason, plan) = (text, text, text);
    let of_fleet = [
        FleetEvent::NodeFailed { node: node(), reason: reason() },
        FleetEvent::QuorumLost { reached: 1, members: 3 },
        FleetEvent::BusUnreachable { node: node(), reason: reason() },
        FleetEvent::SlowReplication { node: node(), reason: reason() },
        FleetEvent::RolloutPaused { plan: plan(), reason: reason() },
        FleetEvent::RolloutBegan { plan: plan(), what: reason() },
    ];
    let of_fleet = of_fleet.into_iter().map(|event| (event.event(), Happening::Fleet(event)));
    let pages = pages();
    for (name, what) in alerts.into_iter().chain(of_fleet) {
        let (_, page) = pages.iter().find(|(page, _)| page == name).expect("a page");
        let said = page.split("Severity: ").nth(1).and_then(|rest| rest.split(['.', ',']).next());
        assert_eq!(said, Some(format!("{:?}", what.severity()).to_lowercase().as_str()), "{name}");
    }
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut links = 0;
    for file in ["runbooks", "guide"].iter().flat_map(|sub| fs::read_dir(root.join(sub)).expect("a folder")) {
        let file = file.expect("an entry").path();
        let text = fs::read_to_string(&file).expect("a text");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
            if page.contains("://") || link.contains(' ') {
                continue;
            }
            links += 1;
            let target = if page.is_empty() { file.clone() } else { file.with_file_name(page) };
            let text =
                fs::read_to_string(&target).unwrap_or_else(|error| panic!("{}: {link}: {error}", file.display()));
            assert!(anchor.is_empty() || anchors(&text).contains(anchor), "{}: {link}", file.display());
        }
    }
    assert!(links > 20, "{links}");
}

/// The anchors of a page's headings: lower case, hyphens for spaces, nothing else but letters and digits.
fn anchors(text: &str) -> BTreeSet<String> {
    let heads = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |head: &str| {
        let kept =
            head.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    heads.map(anchor).collect()
}
