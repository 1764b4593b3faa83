//! Plans that nobody orders on a command line: through the API, and by time.

use super::{
    windows::{machine, newest},
    *,
};
use crate::support::process::command;

/// As the guide has it.
fn curl(world: &World, place: &str, body: Option<&str>) -> Value {
    let mut curl = command("curl");
    curl.args(["--silent", "--max-time", "60", "--unix-socket"]).arg(world.path("run/control.sock"));
    if let Some(body) = body {
        curl.args(["--json", body]);
    }
    let said = curl.arg(format!("http://localhost/v1/fleet/{place}")).output().expect("curl").stdout;
    serde_json::from_slice(&said).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said)))
}

pub(crate) fn a_plan_is_ordered_watched_and_ended_through_the_api() {
    let world = machine("");
    let shown = curl(&world, "plans", Some(r#"{"verb":"restart","services":["app"],"dry_run":true}"#));
    assert_eq!((&shown["state"], &shown["id"]), (&"planned".into(), &"".into()), "{shown:#}");
    let order = format!(r#"{{"verb":"restart","services":["app"],"digest":{}}}"#, shown["digest"]);
    let ordered = curl(&world, "plans", Some(&order));
    let id = ordered["id"].as_str().unwrap();
    let plan = until("it is done", || {
        Some(curl(&world, &format!("plans/{id}"), None)).filter(|plan| plan["state"] == "succeeded")
    });
    assert_eq!((&plan["by"], class(&plan, "app@vm1")), (&"uid 0".into(), "done"), "{plan:#}");
    assert_eq!(world.status("app")["generation"], 2);

    let slow = curl(&world, "plans", Some(r#"{"verb":"restart","services":["db"]}"#));
    let place = format!("plans/{}", slow["id"].as_str().unwrap());
    until("the database was restarted", || (world.status("db")["generation"] == 2).then_some(()));
    let busy = curl(&world, "plans", Some(r#"{"verb":"restart","services":["app"]}"#));
    assert_eq!((&busy["status"], &busy["title"]), (&409.into(), &"another plan".into()), "{busy:#}");
    let paused = curl(&world, &place, Some(r#"{"verb":"pause","reason":"lunch"}"#));
    assert_eq!((&paused["state"], &paused["reason"]), (&"paused".into(), &"lunch".into()), "{paused:#}");
    let next = curl(&world, "plans", Some(r#"{"verb":"restart","services":["app"],"supersede":"any"}"#));
    assert_eq!(next["supersedes"], slow["id"], "{next:#}");
    until("that is over", || Some(curl(&world, &place, None)).filter(|plan| plan["state"] == "aborted"));
    until("the other one is done", || Some(newest(&world)).filter(|plan| plan["state"] == "succeeded"));
    for (body, detail) in [
        (r#"{"verb":"reboot","services":["app"]}"#, "is no verb of a fleet"),
        (r#"{"verb":"restart","services":["ap"]}"#, "did you mean app?"),
        (r#"{"verb":"restart","services":[]}"#, "name the services"),
    ] {
        let refused = curl(&world, "plans", Some(body));
        let is_so = refused["status"] == 400 && refused["detail"].as_str().unwrap().contains(detail);
        assert!(is_so, "{body}: {refused:#}");
    }
}

/// A unit as in the guide, that has come up long ago.
fn timed(words: &str) -> String {
    format!(
        "[service]\ntype = \"oneshot\"\nexec_start = \"{} --socket @/run/control.sock fleet restart app {words}\"\n\
         [timer]\non_active_sec = \"1s\"\n",
        env!("CARGO_BIN_EXE_supervisorctl")
    )
}

pub(crate) fn a_timer_orders_a_plan_that_nobody_has_to_agree_to_any_more() {
    let world = machine("approve = \"each_wave\"\n");
    world.unit("nightly", &timed("--approve"));
    world.ok(&["reload-config"]);
    until("the application was restarted", || (world.status("app")["generation"] == 2).then_some(()));
    let plan = until("it is over", || Some(newest(&world)).filter(|plan| plan["state"] == "succeeded"));
    let words: Vec<&str> =
        plan["journal"].as_array().unwrap().iter().map(|word| word["text"].as_str().unwrap()).collect();
    assert_eq!(words[..2], ["approved by uid 0", "wave 1 approved by uid 0"]);
    let run = until("it has ended", || world.history("nightly", 1).first().cloned());
    assert_eq!((&run["cause"], &run["result"]), (&"timer".into(), &"success".into()), "{run:#}");
}

pub(crate) fn a_timer_orders_nothing_outside_of_windows_and_its_unit_fails_with_the_reason() {
    let world = machine("windows = [\"2100-01-01 00:00 UTC for 1h\"]\n");
    world.unit("nightly", &timed("--approve"));
    world.ok(&["reload-config"]);
    let run = until("it has ended", || world.history("nightly", 1).first().cloned());
    assert_eq!(run["result"], "exit-code", "{run:#}");
    let said = world.ok(&["logs", "nightly"]).out;
    assert!(said.contains("it is outside the windows of app"), "{said}");
    assert_eq!(world.status("app")["generation"], 1);
}
