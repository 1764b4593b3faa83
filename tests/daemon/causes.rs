//! Why something ended, or does not begin, is named wherever people look.
use std::{net::TcpListener, thread};

use crate::{
    probes::asking,
    support::{
        hook::Hook,
        process::{Signal, kill, pause, until},
        world::{World, free_port},
    },
};

fn told_by(hook: &Hook) -> String {
    format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url)
}

/// What is said of a unit where people look for the cause of its last end.
fn all_of(world: &World, unit: &str) -> [(&'static str, String); 3] {
    ["status", "why", "history"].map(|verb| (verb, world.ctl(&[verb, unit]).out))
}

pub(crate) fn a_restart_by_a_probe_names_it_its_failures_and_what_it_said() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut world = World::new();
    world.unit("web", &asking(port, "restart", "").replace("unhealthy_after = 1", "unhealthy_after = 3"));
    world.start();
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
    drop(listener);
    let next = |status: &serde_json::Value| status["generation"] == 2 && status["active"] == "active";
    world.until_status("web", "the next run", next);
    let _again = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for (verb, said) in all_of(&world, "web") {
        assert!(said.contains("probe live failed 3 times since 20"), "{verb}: {said}");
        assert!(said.contains("refused") || verb == "history", "{verb}: {said}");
    }
    let chain = world.ok(&["why", "web", "--json"]).json()["chain"].clone();
    let events: Vec<&str> = chain.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    let place = |name| events.iter().position(|event| *event == name);
    assert!(place("unhealthy").is_some() && place("unhealthy") < place("run_ended"), "{events:?}");
    let before = world.status("web")["cause"].clone();
    world.kill_manager();
    let of_first = &world.history("web", 1)[1];
    assert!(of_first["reason"].as_str().unwrap().starts_with("probe live failed 3 times since 20"), "{of_first:#}");
    assert_eq!(world.status("web")["cause"], before, "the next manager knows what this one did");
}

pub(crate) fn a_restart_by_check_is_told_to_people_before_the_probe_has_a_verdict() {
    let (hook, port) = (Hook::new(0), free_port());
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut world = World::new();
    world.settings(&told_by(&hook));
    let patient = asking(port, "restart", "severity = \"critical\"");
    world.unit("web", &patient.replace("unhealthy_after = 1", "unhealthy_after = 60"));
    world.start();
    world.until_status("web", "healthy", |status| status["health"] == "healthy");
    drop(listener);
    assert_eq!(world.ctl(&["check", "web"]).code, 2);
    let status = world.until_status("web", "the next run", |status| status["generation"] == 2);
    assert_eq!(status["restarts_total"], 1, "{status:#}");
    let reason = "probe live is unwell, found by supervisorctl check: ";
    let message = until("it is told", || hook.taken().first().cloned());
    assert_eq!(message["event"], "unit_restarted", "{message:#}");
    assert!(message["message"].as_str().unwrap().contains(reason), "{message:#}");
    for (verb, said) in all_of(&world, "web") {
        assert!(said.contains("probe live is unwell"), "{verb}: {said}");
    }
}

pub(crate) fn who_sent_the_signal_that_ended_a_run_is_on_record() {
    let world =
        World::with(&[("web", "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = 0\n")]);
    world.until_active("web", "active");
    world.ok(&["signal", "KILL", "web"]);
    world.until_status("web", "the next run", |status| status["generation"] == 2 && status["active"] == "active");
    for (verb, said) in all_of(&world, "web") {
        assert!(said.contains("uid 0 sent SIGKILL"), "{verb}: {said}");
    }
    kill(world.pid("web"), Signal::SIGKILL);
    world.until_status("web", "the third run", |status| status["generation"] == 3 && status["active"] == "active");
    assert_eq!(world.history("web", 2)[1]["reason"], serde_json::Value::Null, "nobody's that we know of");
}

pub(crate) fn a_file_or_program_that_is_not_there_is_named_to_everybody() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&told_by(&hook));
    world.unit("web", "[service]\nexec_start = \"sleep 1000\"\nenvironment_file = \"@/no.env\"\n");
    world.unit("job", "[service]\nexec_start = \"@/no-program\"\n");
    world.start();
    for (unit, missing) in [("web", "no.env"), ("job", "no-program")] {
        world.until_active(unit, "failed");
        for (verb, said) in all_of(&world, unit) {
            assert!(said.contains(missing), "{verb}: {said}");
        }
        let of_unit = || hook.taken().into_iter().find(|message| message["unit"] == unit);
        let message = until("it is told", of_unit);
        assert!(message["message"].as_str().unwrap().contains(missing), "{message:#}");
    }
    assert!(world.log().contains("no.env"), "{}", world.log());
}

pub(crate) fn a_start_that_waits_for_a_probe_of_another_says_so_while_it_does() {
    let port = free_port();
    let world = World::with(&[
        ("db", &asking(port, "alert", "")),
        ("web", "[service]\nexec_start = \"sleep 1000\"\n[unit]\nafter_healthy = [\"db\"]\n"),
    ]);
    let waits = "waits for db: probe live (";
    let says = |status: &serde_json::Value| status["cause"].as_str().unwrap_or_default().starts_with(waits);
    let status = world.until_status("web", "it waits", says);
    assert!(status["waits_for"].as_str().unwrap().contains("refused"), "{status:#}");
    let check = world.ctl(&["check", "web"]);
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.out.contains(waits), "{check:?}");
    let (done, _listener) = thread::scope(|scope| {
        let start = scope.spawn(|| world.ctl(&["start", "web"]));
        // Longer than it waits before it speaks to a pipe.
        pause(7000);
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        (start.join().unwrap(), listener)
    });
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.err.contains(waits), "{done:?}");
    world.until_active("web", "active");
}

pub(crate) fn after_a_managers_death_people_read_what_they_read_before() {
    let world = World::with(&[
        ("gone", "[service]\nexec_start = \"/nowhere/program --word\"\n"),
        ("web", "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = 0\n"),
        (
            "limit",
            "[service]\nexec_start = \"/nowhere/program\"\nrestart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 2\nstart_limit_interval_sec = \"1h\"\n",
        ),
    ]);
    world.until_active("web", "active");
    world.ok(&["signal", "KILL", "web"]);
    world.until_status("web", "the next run", |status| status["generation"] == 2 && status["active"] == "active");
    ["gone", "limit"].iter().for_each(|unit| drop(world.until_active(unit, "failed")));
    let read = || {
        let of = |unit: &str| {
            let status = world.status(unit);
            let shown = world.ok(&["show", unit, "--json"]).json();
            let why = world.ok(&["why", unit, "--json"]).json();
            (status["cause"].clone(), shown["spawn_failure"].clone(), why["cause"].clone(), why["chain"].clone())
        };
        ["gone", "web", "limit"].map(of)
    };
    let before = read();
    let told = |text: &str| before.iter().any(|(cause, ..)| cause.as_str().is_some_and(|cause| cause.contains(text)));
    assert!(told("exec_start /nowhere/program") && told("uid 0 sent SIGKILL"), "{before:#?}");
    for _ in 0..2 {
        world.kill_manager();
        assert_eq!(read(), before);
    }
}
