//! Who is told, and how often.
use std::time::Duration;

use serde_json::Value;

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{PATIENCE, Signal, kill, pause, until, until_within},
        world::World,
    },
};

/// Long enough for a message too many to arrive.
const SILENCE_MS: u64 = 1500;

/// Dies as often as the file `deaths` has not enough lines, then is well.
fn unit(deaths: usize) -> String {
    let script = format!(
        "echo x >> @/deaths; test $(wc -l < @/deaths) -le {deaths} && exit 3; exec {}",
        actor::command("notify READY=1")
    );
    format!(
        "[service]\ntype = \"notify\"\nexec_start = \"/bin/sh -c '{script}'\"\nrestart = \"always\"\n\
         restart_sec = \"30ms\"\n[unit]\nstart_limit_burst = 0\n"
    )
}

fn route(name: &str, kind: &str, hook: &Hook) -> String {
    format!("[[alert.route]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{}\"\n", hook.url)
}

/// The event of each message about the unit, with its status.
fn told(hook: &Hook) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    hook.taken().iter().map(|message| (text(&message["event"]), text(&message["status"]))).collect()
}

fn one_incident() -> Vec<(String, String)> {
    [("unit_restarted", "firing"), ("recovered", "resolved")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
}

pub(crate) fn an_incident_of_many_restarts_is_one_alert_and_one_recovery_by_webhook_and_slack() {
    let (webhook, slack) = (Hook::new(0), Hook::new(0));
    let mut world = World::new();
    world.settings(&[route("ops", "webhook", &webhook), route("chat", "slack", &slack)].concat());
    world.unit("web", &unit(8));
    world.start();
    world.until_status("web", "eight restarts and up", |s| s["restarts_total"] == 8 && s["active"] == "active");
    until("both are told of the end", || (webhook.taken().len() >= 2 && slack.taken().len() >= 2).then_some(()));
    pause(SILENCE_MS);
    assert_eq!(told(&webhook), one_incident());
    let messages = webhook.taken();
    assert_eq!(messages[0]["unit"], "web");
    assert_eq!(messages[0]["incident"], messages[1]["incident"], "one incident");
    assert_eq!(messages[1]["restarts"], 8, "{:#}", messages[1]);
    let texts: Vec<String> = slack.taken().iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(slack.taken().iter().all(|message| message.get("text").is_some() || message.get("blocks").is_some()));
    assert!(texts[0].contains("web") && texts[1].contains("8 restarts"), "{texts:?}");
}

pub(crate) fn a_route_that_a_reload_brings_is_told_and_a_bad_file_changes_nothing() {
    let hook = Hook::new(0);
    let mut world = World::new();
    let text = actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"always\"\nrestart_sec = \"30ms\"");
    world.unit("web", &text);
    world.start();
    let keeper = world.keeper();
    world.settings(&format!("{}[log]\nkeep = 3\n", route("ops", "webhook", &hook)));
    let said = world.ok(&["reload-config"]);
    assert!(said.out.contains("[log]"), "what has to wait is named: {said:?}");
    let kill_it = || {
        world.until_active("web", "active");
        kill(world.pid("web"), Signal::SIGKILL);
    };
    kill_it();
    until("both ends are told", || (hook.taken().len() >= 2).then_some(()));
    assert_eq!(told(&hook), one_incident());
    world.settings("[[alert.route]]\nname = \"ops\"\nkind = \"pigeon\"\n");
    let refused = world.ctl(&["reload-config"]);
    assert!(refused.code == 1 && refused.err.contains("roundsman.toml:8:8"), "{refused:?}");
    kill_it();
    until("the old route is told still", || (hook.taken().len() >= 4).then_some(()));
    assert_eq!(world.keeper(), keeper);
}

pub(crate) fn a_clean_stop_and_the_end_of_the_daemon_alert_nobody() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&route("ops", "webhook", &hook));
    for name in ["stopped", "restarted", "left"] {
        world.unit(name, &actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"always\""));
    }
    world.start();
    ["stopped", "restarted", "left"].iter().for_each(|name| drop(world.until_active(name, "active")));
    world.ok(&["stop", "stopped"]);
    world.ok(&["restart", "restarted"]);
    assert!(world.stop().success());
    pause(SILENCE_MS);
    assert_eq!(hook.taken(), Vec::<Value>::new());
}

pub(crate) fn the_manager_killed_in_the_middle_of_an_incident_tells_it_once() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&route("ops", "webhook", &hook));
    world.unit("web", &unit(30));
    world.start();
    for _ in 0..6 {
        let before = world.status("web")["restarts_total"].as_u64().unwrap();
        world.until_status("web", "it dies on", |s| {
            s["restarts_total"].as_u64() > Some(before + 1) || s["restarts_total"] == 30
        });
        world.kill_manager();
    }
    world.until_status("web", "well at last", |s| s["restarts_total"] == 30 && s["active"] == "active");
    until("the end is told", || told(&hook).iter().any(|(event, _)| event == "recovered").then_some(()));
    pause(SILENCE_MS);
    let messages = hook.taken();
    let doubles = messages.iter().filter(|message| message["possible_duplicate"] == true).count();
    let mut told = told(&hook);
    // A delivery that a kill interrupts may have arrived; its repetition says so and bears the same id.
    told.dedup();
    assert_eq!(told, one_incident());
    assert!(messages.len() - 2 <= doubles, "{messages:#?}");
    let incidents: i64 = world.database().query_row("SELECT count(*) FROM incidents", [], |row| row.get(0)).unwrap();
    assert_eq!(incidents, 1);
}

pub(crate) fn a_receiver_that_fails_first_gets_the_alert_once() {
    let hook = Hook::new(2);
    let mut world = World::new();
    world.settings(&route("ops", "webhook", &hook));
    world.unit("web", &actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"no\""));
    world.start();
    world.until_active("web", "active");
    kill(world.pid("web"), Signal::SIGKILL);
    until_within(PATIENCE + Duration::from_secs(10), "delivery", || (!hook.taken().is_empty()).then_some(()));
    pause(SILENCE_MS);
    assert_eq!(hook.refused(), 2, "it was tried again");
    assert_eq!(told(&hook), [("unit_failed".to_owned(), "firing".to_owned())]);
}

/// Whoever is killed while another program holds the database leaves a manager that cannot read which incidents are open.
pub(crate) fn a_manager_that_begins_without_its_database_tells_no_incident_twice_and_its_end_once() {
    for well_meanwhile in [false, true] {
        let hook = Hook::new(0);
        let mut world = World::new();
        world.settings(&route("ops", "webhook", &hook));
        let well = format!("test -e @/well && exec {}; exit 3", actor::command("notify READY=1"));
        let more = "restart = \"always\"\nrestart_sec = \"30ms\"\n[unit]\nstart_limit_burst = 0";
        world.unit("web", &format!("[service]\ntype = \"notify\"\nexec_start = \"/bin/sh -c '{well}'\"\n{more}\n"));
        world.start();
        let told = || {
            let all: Vec<Value> = hook.taken().into_iter().filter(|message| message["unit"] == "web").collect();
            all.iter().map(|message| message["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        until("its begin is told", || (!told().is_empty()).then_some(()));
        let incidents = |world: &World| -> Vec<Option<String>> {
            let database = world.database();
            let mut rows = database.prepare("SELECT closed_how FROM incidents WHERE subject = 'web'").unwrap();
            rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let is_settled = || {
            let sql = "SELECT count(*) FROM outbox WHERE state != 'delivered'";
            incidents(&world) == [None] && world.database().query_row(sql, [], |row| row.get::<_, u32>(0)) == Ok(0)
        };
        until("and written down", || is_settled().then_some(()));
        let other = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
        other.busy_timeout(PATIENCE).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        world.kill_manager();
        until("the next one goes on without", || world.log().contains("starting without it").then_some(()));
        world.await_answer();
        world.until_status("web", "it dies on", |status| status["restarts_total"].as_u64() > Some(5));
        if well_meanwhile {
            std::fs::write(world.path("well"), "").unwrap();
            world.until_active("web", "active");
        }
        pause(SILENCE_MS);
        assert_eq!(told(), ["unit_restarted"], "what cannot be known is not told");
        other.execute_batch("ROLLBACK").unwrap();
        until("it is written again", || world.log().contains("store_recovered").then_some(()));
        if !well_meanwhile {
            pause(SILENCE_MS);
            assert_eq!(told(), ["unit_restarted"]);
            std::fs::write(world.path("well"), "").unwrap();
        }
        until("its end is told", || (told().len() > 1).then_some(()));
        pause(SILENCE_MS);
        assert_eq!(told(), ["unit_restarted", "recovered"], "{well_meanwhile}");
        assert_eq!(incidents(&world), [Some("recovered".to_owned())]);
        assert!(world.stop().success());
    }
}
