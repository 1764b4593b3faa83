//! The same units under a real systemd and under us, side by side on one machine: each kind of service, each `Restart=`,
//! each way to end. What becomes of them must be the same. Needs root.

#![expect(clippy::expect_used, reason = "a test that cannot go on stops")]

#[path = "support/machine.rs"]
#[expect(dead_code, reason = "other tests look at more of the machine")]
mod machine;

use std::{collections::BTreeMap, fmt::Write};

use machine::{Machine, eventually};
use roundsman::unit::{self, SourceText};

const KINDS: [&str; 6] = ["simple", "exec", "notify", "oneshot", "forking", "idle"];
const RESTARTS: [&str; 7] = ["no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog"];

/// Lines of a unit: (key of systemd, value).
type Lines = &'static [(&'static str, &'static str)];

/// What a service does once it is up, or to it, and the lines that its unit has for that, as (key of systemd, value).
const CAUSES: [(&str, &str, Lines); 17] = [
    ("exits with 0", "exit 0", &[]),
    ("exits with 3", "exit 3", &[]),
    ("gets SIGTERM", "kill -TERM $$", &[]),
    ("gets SIGKILL", "kill -KILL $$", &[]),
    ("gets SIGUSR1", "kill -USR1 $$", &[]),
    ("runs too long", "exec sleep 1000", &[("RuntimeMaxSec", "1")]),
    (
        "does not feed its watchdog",
        "exec sleep 1000",
        &[("WatchdogSec", "1"), ("WatchdogSignal", "SIGTERM"), ("NotifyAccess", "all")],
    ),
    ("never comes up", "hang", &[("TimeoutStartSec", "1")]),
    ("is not there", "missing", &[]),
    ("fails before its start", "exec sleep 1000", &[("ExecStartPre", "/bin/false")]),
    ("fails after its start", "exec sleep 1000", &[("ExecStartPost", "/bin/false")]),
    ("is not to run", "exit 0", &[("ExecCondition", "/bin/false")]),
    ("has a condition that fails", "exit 0", &[("ExecCondition", "/bin/sh -c 'exit 255'")]),
    ("exits with 3, which is a success", "exit 3", &[("SuccessExitStatus", "3")]),
    ("exits with 3, which prevents a restart", "exit 3", &[("RestartPreventExitStatus", "3")]),
    ("exits with 0, which forces a restart", "exit 0", &[("RestartForceExitStatus", "0")]),
    ("stays when it has ended with 0", "exit 0", &[("RemainAfterExit", "yes")]),
];

/// One unit, in both dialects.
struct Case {
    name: String,
    what: String,
    script: String,
    systemd: String,
    ours: String,
}

/// The script that is run, and the program that runs it.
fn start(kind: &str, act: &str) -> (String, String) {
    let (begin, act) = match (kind, act) {
        (_, "missing") => return ("/usr/bin/no-such-program".to_owned(), String::new()),
        (_, "hang") => ("", "exec sleep 1000".to_owned()),
        // It has to have been up: a process that ends at once may be gone before that is told.
        ("notify", act) => ("systemd-notify --ready; sleep 0.1; ", act.to_owned()),
        ("forking", act) => {
            ("", format!("(sleep 1; {}) & exit 0", act.replace("$$", "$(exec sh -c \"echo \\$PPID\")")))
        }
        (_, act) => ("sleep 0.1; ", act.to_owned()),
    };
    ("/bin/sh".to_owned(), format!("{begin}{act}"))
}

/// Whether nothing ends it: it is up at once and sleeps, or nobody watches a oneshot.
fn lasts_for_ever(kind: &str, what: &str) -> bool {
    match kind {
        "simple" | "exec" | "idle" => what == "never comes up",
        "oneshot" => matches!(what, "runs too long" | "does not feed its watchdog" | "fails after its start"),
        _ => false,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        for restart in RESTARTS {
            for (what, act, lines) in CAUSES {
                if lasts_for_ever(kind, what) {
                    continue;
                }
                let name = format!("c{:03}", cases.len());
                let (program, script) = start(kind, act);
                let script_path = format!("/run/cases/{name}");
                let command = if script.is_empty() { program } else { format!("{program} {script_path}") };
                let mut systemd =
                    format!("[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst={BURST}\n[Service]\nType={kind}\n");
                let mut ours = format!("[service]\ntype = \"{kind}\"\n");
                let usual =
                    [("ExecStart", command.as_str()), ("Restart", restart), ("RestartSec", "20ms"), ("LimitCORE", "0")];
                let notify = if kind == "notify" { &[("NotifyAccess", "all")][..] } else { &[] };
                let given: BTreeMap<&str, &str> = notify.iter().chain(lines).copied().chain(usual).collect();
                for (key, value) in given {
                    writeln!(systemd, "{key}={value}").expect("a string takes all");
                    writeln!(ours, "{} = \"{value}\"", snake(key)).expect("a string takes all");
                }
                ours.push_str("[unit]\nstart_limit_interval_sec = \"1h\"\nstart_limit_burst = 3\n");
                cases.push(Case { name, script, what: format!("{kind}, restart {restart}: {what}"), systemd, ours });
            }
        }
    }
    cases
}

/// `RestartSec` is `restart_sec`.
fn snake(key: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in key.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        before = c;
    }
    out
}

/// What became of a unit: its state, how its last run ended, how often it ran. Left out is what is told differently: how
/// the last run ended before a start limit (we say that it was the limit), and that a condition said no (systemd 252 calls
/// that a success).
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    active: String,
    result: String,
    runs: u64,
}

/// How often a unit may start.
const BURST: u64 = 3;

/// `restarts` were tried; systemd counts the one that the limit forbids.
fn fate(active: &str, result: &str, restarts: u64) -> Fate {
    let runs = (restarts + 1).min(BURST);
    let result = match result {
        _ if active == "failed" && runs == BURST => "",
        "exec-condition" => "success",
        other => other,
    };
    Fate { active: active.to_owned(), result: result.to_owned(), runs }
}

fn under_systemd(machine: &Machine, cases: &[Case]) -> BTreeMap<String, Fate> {
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    for some in names.chunks(60) {
        machine.systemctl(&[&["start", "--no-block"], some].concat());
    }
    let show = || {
        let properties = "--property=Id,ActiveState,SubState,Result,NRestarts,Job";
        machine.run(&[&["systemctl", "show", properties], &*names].concat())
    };
    let mut shown = String::new();
    eventually("systemd is through with them", || {
        shown = show();
        let rests = |state: &&str| matches!(*state, "SubState=dead" | "SubState=failed" | "SubState=exited");
        let states = shown.lines().filter(|line| line.starts_with("SubState="));
        states.filter(rests).count() == cases.len()
            && !shown.lines().any(|line| line.starts_with("Job=") && line != "Job=0" && line != "Job=")
    });
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    let of_block = |block: &str| {
        let restarts = value(block, "NRestarts").parse().expect("a number");
        let name = value(block, "Id").trim_end_matches(".service").to_owned();
        (name, fate(&value(block, "ActiveState"), &value(block, "Result"), restarts))
    };
    shown.split("\n\n").map(of_block).collect()
}

fn under_us(machine: &Machine, cases: &[Case]) -> BTreeMap<String, Fate> {
    machine.systemctl(&["start", "roundsman"]);
    let mut units = Vec::new();
    eventually("we are through with them", || {
        let answer = machine.get("/v1/units");
        let Some((_, body)) = answer.split_once("\r\n\r\n") else { return false };
        let listed: serde_json::Value = serde_json::from_str(body).expect("JSON");
        units = listed.as_array().or_else(|| listed["units"].as_array()).expect("a list").clone();
        let rests = |unit: &&serde_json::Value| matches!(unit["sub"].as_str(), Some("dead" | "failed" | "exited"));
        units.iter().filter(rests).filter(|unit| unit["generation"] != 0).count() == cases.len()
    });
    let of_unit = |unit: &serde_json::Value| {
        let text = |key: &str| unit[key].as_str().expect("a text").to_owned();
        let restarts = unit["restarts_total"].as_u64().expect("a number");
        (text("name"), fate(&text("active"), &text("result"), restarts))
    };
    units.iter().map(of_unit).collect()
}

#[test]
fn each_kind_of_service_ends_and_restarts_as_under_systemd() {
    // systemd takes RestartForceExitStatus= for a oneshot from version 254 on.
    let newer = |case: &Case| case.what.starts_with("oneshot") && case.what.contains("forces");
    let all = cases().into_iter().filter(|case| !newer(case));
    let (good, refused): (Vec<Case>, Vec<Case>) = all.partition(|case| {
        let source = SourceText::new(format!("{}.toml", case.name), case.ours.as_bytes()).expect("a unit's name");
        unit::load(&[source]).is_ok()
    });
    let mut files = Vec::new();
    for case in good.iter().chain(&refused) {
        files.push((format!("etc/systemd/system/{}.service", case.name), case.systemd.clone()));
    }
    for case in &good {
        files.push((format!("etc/roundsman/units/{}.toml", case.name), case.ours.clone()));
    }
    let scripts = good.iter().map(|case| (format!("run/cases/{}", case.name), case.script.clone()));
    files.extend(scripts);
    let machine = Machine::boot(&files);
    for case in &refused {
        let state = machine.run(&["systemctl", "show", "--property=LoadState", "--value", &case.name]);
        assert_eq!(state, "bad-setting", "we refuse it: {}", case.what);
    }
    let theirs = under_systemd(&machine, &good);
    let ours = under_us(&machine, &good);
    let mut differences = String::new();
    for case in &good {
        let (theirs, ours) = (&theirs[&case.name], &ours[&case.name]);
        if theirs != ours {
            writeln!(differences, "{} {}\n  systemd {theirs:?}\n  we      {ours:?}", case.name, case.what)
                .expect("a string");
        }
    }
    assert!(differences.is_empty(), "of {} cases:\n{differences}", good.len());
}
