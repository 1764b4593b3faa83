//! What is said of a failure is what happened.
use std::{fs, net::TcpListener, process::Command};

use serde_json::Value;

use crate::{
    actor,
    probes::asking,
    support::{
        hook::Hook,
        process::{Signal, kill, pause, until},
        world::{World, free_port},
    },
};

/// Long enough for a message too many to arrive.
const SILENCE_MS: u64 = 1500;

fn health(world: &World) -> Value {
    let asked = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(world.path("run/control.sock"))
        .arg("http://localhost/health")
        .output();
    serde_json::from_slice(&asked.unwrap().stdout).unwrap()
}

pub(crate) fn a_unit_that_is_not_healthy_says_which_probe_since_when_and_why_whoever_died_meanwhile() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut world = World::new();
    world.unit("web", &asking(port, "alert", ""));
    world.start();
    let healthy = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    assert_eq!(healthy["cause"], "as wanted");
    drop(listener);
    let cause = |status: &Value| status["cause"].as_str().unwrap().to_owned();
    let said = cause(&world.until_status("web", "unhealthy", |status| status["health"] == "unhealthy"));
    let (before, why) = said.split_once("Z: ").expect("when, and why");
    assert!(before.starts_with("probe live is unhealthy since 20"), "{said}");
    assert!(why.contains("refused"), "{said}");
    world.kill_manager();
    // Before its probe has answered once.
    assert_eq!(cause(&world.status("web")), said, "the next manager knows it too");
    let reasons = health(&world);
    assert_eq!((&reasons["status"], &reasons["reasons"][0]), (&"degraded".into(), &format!("web: {said}").into()));
    assert!(world.ok(&["why", "web"]).out.contains(&said), "{:?}", world.ok(&["why", "web"]));
    assert!(world.ctl(&["status", "web"]).out.contains(&said));
}

pub(crate) fn health_is_unhealthy_where_somebody_must_act_and_degraded_where_that_can_wait() {
    let (port, other) = (free_port(), free_port());
    let mut world = World::new();
    world.settings("[[alert.rule]]\nevent = \"unit_failed:batch\"\nseverity = \"warning\"\n");
    for name in ["web", "batch"] {
        world.unit(name, "[service]\nexec_start = \"sleep 1000\"\nrestart = \"no\"\n");
    }
    world.unit("shown", &asking(port, "none", ""));
    world.unit("marked", &asking(port, "alert", "severity = \"info\"\n"));
    world.unit("noted", &asking(other, "alert", ""));
    let listener = TcpListener::bind(("127.0.0.1", other)).unwrap();
    world.start();
    let of = |said: &Value| (said["status"].as_str().unwrap().to_owned(), said["reasons"].to_string());
    for name in ["shown", "marked"] {
        world.until_status(name, "unhealthy", |status| status["health"] == "unhealthy");
    }
    world.until_status("noted", "healthy", |status| status["health"] == "healthy");
    assert_eq!(of(&health(&world)), ("healthy".to_owned(), "null".to_owned()), "what is only shown changes nothing");
    drop(listener);
    world.until_status("noted", "unhealthy", |status| status["health"] == "unhealthy");
    let (word, reasons) = of(&health(&world));
    assert!(word == "degraded" && reasons.contains("noted: probe live"), "{reasons}");
    let fail = |name: &str| {
        kill(world.pid(name), Signal::SIGKILL);
        world.until_active(name, "failed");
    };
    fail("batch");
    let (word, reasons) = of(&health(&world));
    assert!(word == "degraded" && reasons.contains("batch: ended with"), "its rule says warning: {reasons}");
    fail("web");
    let (word, reasons) = of(&health(&world));
    assert!(word == "unhealthy" && reasons.contains("web: ended with signal"), "{reasons}");
    world.ok(&["start", "web"]);
    let (word, reasons) = of(&health(&world));
    assert!(word == "unhealthy" && reasons.contains("it is up again, but not for long enough yet"), "{reasons}");
    world.ok(&["stop", "web"]);
    assert_eq!(health(&world)["status"], "degraded", "whoever stopped it knows");
}

pub(crate) fn the_last_output_of_a_run_is_its_own_however_soon_the_next_one_follows() {
    const RUNS: usize = 12;
    // It writes as it begins and as it ends, and its last line has no newline: the next run goes on in it.
    let script = "echo begins $$$$; sleep 0.08; echo goes on $$$$; printf \\\"ends $$$$\\\"; exit 3";
    let world = World::with(&[(
        "web",
        &format!(
            "[service]\nexec_start = \"/bin/sh -c '{script}'\"\nrestart = \"always\"\nrestart_sec = 0\n\
             [unit]\nstart_limit_burst = {RUNS}\nstart_limit_interval_sec = \"1h\"\n"
        ),
    )]);
    world.until_active("web", "failed");
    let all = until("each has its output", || {
        let runs = world.history("web", RUNS);
        runs.iter().all(|run| !run["last_output"].is_null()).then_some(runs)
    });
    for run in &all {
        let pid = &run["pid"];
        let own = [format!("begins {pid}"), format!("goes on {pid}"), format!("ends {pid}")];
        assert_eq!(run["last_output"], serde_json::json!(own), "{run:#}");
    }
}

pub(crate) fn a_restart_is_two_lines_of_the_log_and_what_this_host_lacks_is_said_once() {
    let world = World::with(&[(
        "web",
        "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = \"50ms\"\nrestart_reset_after_sec = \"1s\"\n",
    )]);
    world.until_active("web", "active");
    until("it is said", || world.log().contains("web is up").then_some(()));
    let before = world.log().len();
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_notices("recovered", 1);
    let said = world.log().split_off(before);
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("unit=web")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("web ended (killed by SIGKILL), it is restarted in 50ms"), "{said}");
    let pid = world.pid("web");
    assert!(lines[1].contains("web is up") && lines[1].contains(&format!("pid={pid}")), "{said}");
    let (lacks, up) = (world.log().matches("no cgroups here").count(), world.managers_up());
    world.kill_manager();
    until("the next one is up", || (world.managers_up() > up).then_some(()));
    assert_eq!(world.log().matches("no cgroups here").count(), lacks, "it was said");
}

/// Lives for a moment each time, until someone mends it.
const SHORT_LIVED: &str = "[service]\n\
    exec_start = \"/bin/sh -c 'test -e @/mended && exec sleep 1000; sleep 0.4; exit 3'\"\n\
    restart = \"always\"\nrestart_sec = \"20ms\"\nrestart_reset_after_sec = \"2s\"\n[unit]\nstart_limit_burst = 0\n";

pub(crate) fn a_service_that_dies_again_and_again_is_one_incident_whoever_is_killed_meanwhile() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    world.unit("web", SHORT_LIVED);
    world.start();
    for deaths in [2, 4, 6] {
        world.until_status("web", "it dies", |status| status["restarts_total"].as_u64() >= Some(deaths));
        world.kill_manager();
    }
    world.until_status("web", "it dies on", |status| status["restarts_total"].as_u64() >= Some(8));
    let told = || -> Vec<String> {
        hook.taken().iter().map(|message| message["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(told(), ["unit_restarted"]);
    fs::write(world.path("mended"), "").unwrap();
    until("its end is told", || (told().len() > 1).then_some(()));
    pause(SILENCE_MS);
    assert_eq!(told(), ["unit_restarted", "recovered"]);
    let end = hook.taken()[1]["message"].as_str().unwrap().to_owned();
    assert!(
        end.contains("web is well again after ") && end.contains("; last it was: web ended (exit code 3)"),
        "{end}"
    );
    assert_eq!(world.ok(&["alerts", "--json"]).json()["incidents"], Value::Array(Vec::new()));
}

pub(crate) fn a_manager_that_takes_over_does_not_log_the_past_as_if_it_were_now() {
    let steady = actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"always\"\nrestart_sec = \"20ms\"");
    let mut world = World::new();
    for name in ["one", "two", "three"] {
        world.unit(name, &steady);
    }
    world.start();
    for name in ["one", "two", "three"] {
        world.until_active(name, "active");
        kill(world.pid(name), Signal::SIGKILL);
        world.until_status(name, "the next run", |status| status["generation"] == 2 && status["active"] == "active");
    }
    let (before, up) = (world.log().len(), world.managers_up());
    world.kill_manager();
    until("the next one is up", || (world.managers_up() > up).then_some(()));
    let said = world.log().split_off(before);
    let of_units: Vec<&str> = said.lines().filter(|line| line.contains("unit=")).collect();
    assert_eq!(of_units, [] as [&str; 0], "{said}");
    assert!(said.contains("3 runs taken over"), "{said}");
    // What happens from then on is news.
    kill(world.pid("one"), Signal::SIGKILL);
    until("it is said", || world.log().split_off(before).contains("one ended (killed by SIGKILL)").then_some(()));
}

pub(crate) fn a_restart_by_check_bears_its_name_whoever_died_meanwhile() {
    let port = free_port();
    let world = World::with(&[("web", &asking(port, "alert", "severity = \"critical\""))]);
    world.until_status("web", "unhealthy", |status| status["health"] == "unhealthy");
    let check = world.ctl(&["check", "web"]);
    assert_eq!(check.code, 2, "{check:?}");
    world.until_status("web", "the next run", |status| status["generation"] == 2 && status["active"] == "active");
    // A manager that says an end again knows no more than its status.
    until("it is written down", || world.history("web", 1).get(1).filter(|run| run["reason"].is_string()).map(drop));
    world.kill_manager();
    let runs = world.history("web", 1);
    assert_eq!((&runs[0]["cause"], &runs[0]["cause_detail"]), (&"unhealthy".into(), &"live".into()), "{runs:#?}");
    let of_first = &runs[1];
    let reason = of_first["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("probe live is unwell, found by supervisorctl check: "), "{of_first:#}");
    let status = world.status("web");
    assert_eq!(status["restarts_total"], 1, "{status:#}");
}

pub(crate) fn the_class_beside_the_last_exit_is_that_exits() {
    let exits = "[service]\nexec_start = \"/bin/sh -c 'exit 3'\"\n";
    let dies = actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"always\"\nrestart_sec = \"20ms\"");
    let world = World::with(&[("job", exits), ("web", &dies)]);
    world.until_active("job", "failed");
    world.ok(&["reset", "job"]);
    let said = world.ctl(&["status", "job"]).out;
    assert!(said.contains("Last exit: exit code 3 (result exit-code)"), "{said}");
    assert!(said.contains("the last run ended with exit-code (exit code 3)"), "{said}");
    world.until_active("web", "active");
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_status("web", "the next run", |status| status["generation"] == 2 && status["active"] == "active");
    for _ in 0..2 {
        let said = world.ctl(&["status", "web"]).out;
        assert!(said.contains("Last exit: killed by SIGKILL (result signal)"), "{said}");
        world.kill_manager();
    }
}

pub(crate) fn a_probe_that_was_corrected_is_in_force_with_the_reload_and_nothing_is_restarted() {
    let (wrong, port) = (free_port(), free_port());
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut world = World::new();
    world.unit("web", &asking(wrong, "alert", ""));
    world.start();
    world.until_status("web", "unhealthy", |status| status["health"] == "unhealthy");
    let pid = world.pid("web");
    world.unit("web", &asking(port, "alert", ""));
    world.ok(&["reload-config"]);
    let status = world.until_status("web", "healthy", |status| status["health"] == "healthy");
    assert_eq!(world.pid("web"), pid);
    assert_eq!(status["needs_restart"], false, "{status:#}");
    assert_eq!(world.ctl(&["check", "web"]).code, 0);
}
