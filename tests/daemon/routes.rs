//! How each kind of route speaks.
use std::{fs, os::unix::fs::PermissionsExt};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{Signal, kill, pause, until},
        world::World,
    },
};

/// Dies once, with words, and is well afterwards.
fn talkative() -> String {
    let well = actor::command("notify READY=1");
    let script =
        format!("test -e @/died && exec {well}; touch @/died; echo about to die; echo cannot bind port 80 >&2; exit 3");
    format!(
        "[service]\ntype = \"notify\"\nexec_start = \"/bin/sh -c '{script}'\"\nrestart = \"always\"\nrestart_sec = \"300ms\"\n"
    )
}

fn secret(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::write(&path, format!("{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

pub(crate) fn a_webhook_gets_the_body_that_it_wants_signed_and_with_what_the_service_said_last() {
    let hook = Hook::new(0);
    let mut world = World::new();
    let key = secret(&world, "key", "correct horse");
    world.settings(&format!(
        "[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{key}\"\n\
         template = '{{\"summary\": \"{{{{state}}}} {{{{message}}}}\", \"lines\": \"{{{{last_output}}}}\", \"did\": \"{{{{action}}}}\", \"book\": \"{{{{runbook}}}}\"}}'\n",
        hook.url
    ));
    world.unit("web", &talkative());
    world.start();
    until("both are told", || (hook.taken().len() >= 2).then_some(()));
    let first = &hook.taken()[0];
    let text = |field: &str| first[field].as_str().unwrap_or_default().to_owned();
    assert!(text("summary").starts_with("WARNING web ended"), "{first:#}");
    assert!(text("lines").contains("about to die\ncannot bind port 80"), "{first:#}");
    assert_eq!(text("did"), "it is restarted");
    assert!(text("book").ends_with("/docs/runbooks/unit_restarted.md"), "{first:#}");
    let (head, body) = hook.raw().remove(0);
    let signature = head.lines().find_map(|line| line.strip_prefix("x-roundsman-signature: ")).unwrap().to_owned();
    let (seconds, digest) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"correct horse").unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let own: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, own);
    let why = world.ok(&["why", "web"]).out;
    assert!(why.contains("cannot bind port 80"), "{why}");
    let history = world.ok(&["history", "web", "--json"]).json();
    assert!(history["runs"].to_string().contains("cannot bind port 80"), "{history:#}");
    assert!(!world.log().contains("correct horse"));
}

pub(crate) fn a_route_that_is_gone_is_neither_up_nor_down() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    world.unit("web", &talkative());
    world.start();
    let page = || super::metrics::page(&world, "*/*");
    until("it is up", || page().contains("roundsman_alert_route_up{route=\"ops\"} 1\n").then_some(()));
    world.settings("");
    world.ok(&["reload-config"]);
    let after = page();
    assert!(!after.contains("roundsman_alert_route_up{"), "{after}");
    assert!(after.contains("roundsman_alerts_total{route=\"ops\""), "what was sent stays counted: {after}");
}

pub(crate) fn an_app_of_slack_has_one_thread_for_an_incident_also_over_a_dead_manager() {
    let slack = Hook::saying("{\"ok\":true,\"ts\":\"171.42\"}");
    let mut world = World::new();
    let token = secret(&world, "token", "xoxb-t0psecret");
    world.settings(&format!(
        "[[alert.route]]\nname = \"chat\"\nkind = \"slack\"\ntoken_file = \"{token}\"\nchannel = \"C1\"\napi_url = \"{}\"\n",
        slack.url
    ));
    world.unit("web", &actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"no\""));
    world.start();
    world.until_active("web", "active");
    kill(world.pid("web"), Signal::SIGKILL);
    until("it is told", || (slack.taken().len() == 1).then_some(()));
    let receipts = || -> i64 {
        let sql = "SELECT count(*) FROM outbox WHERE receipt IS NOT NULL AND state = 'delivered'";
        world.database().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    until("the thread is written down", || (receipts() == 1).then_some(()));
    world.kill_manager();
    world.ok(&["start", "web"]);
    until("so is the end", || (slack.taken().len() == 2).then_some(()));
    let (first, last) = (&slack.taken()[0], &slack.taken()[1]);
    assert_eq!((first["channel"].as_str(), first.get("thread_ts")), (Some("C1"), None), "{first:#}");
    assert_eq!(last["thread_ts"], "171.42", "{last:#}");
    assert_eq!(last["reply_broadcast"], true);
    let (head, _) = slack.raw().remove(0);
    assert!(
        head.contains("authorization: bearer xoxb-t0psecret") && head.starts_with("post /hook/chat.postmessage "),
        "{head}"
    );
    assert!(!world.log().contains("t0psecret"));
}

pub(crate) fn an_app_that_slack_does_not_know_is_named_by_health_and_by_a_test_of_the_route() {
    let slack = Hook::saying("{\"ok\":false,\"error\":\"invalid_auth\"}");
    let hook = Hook::new(0);
    let mut world = World::new();
    let token = secret(&world, "token", "xoxb-t0psecret");
    world.settings(&format!(
        "[[alert.route]]\nname = \"chat\"\nkind = \"slack\"\ntoken_file = \"{token}\"\nchannel = \"C1\"\napi_url = \"{}\"\n\
         [[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n",
        slack.url, hook.url
    ));
    world.unit("web", &actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"no\""));
    world.start();
    world.until_active("web", "active");
    let said = world.ctl(&["alerts", "test", "chat"]);
    assert!(said.code == 1 && said.out.contains("invalid_auth"), "{said:?}");
    assert!(world.ok(&["alerts", "test", "ops"]).out.contains("has taken the test"));
    assert_eq!(hook.taken()[0]["event"], "test");
    let unknown = world.ctl(&["alerts", "test", "nobody"]);
    assert!(unknown.code == 1 && unknown.err.contains("chat, ops"), "{unknown:?}");
    kill(world.pid("web"), Signal::SIGKILL);
    let listed = || world.ok(&["alerts"]).out;
    until("alerts names it", || listed().contains("the route chat refuses alerts: invalid_auth").then_some(()));
    assert!(listed().contains("\n1 message waits for chat\n"), "{}", listed());
    let page = super::metrics::page(&world, "*/*");
    for (route, waiting) in [("chat", 1), ("ops", 0)] {
        let line = format!("roundsman_alert_messages_waiting{{route=\"{route}\"}} {waiting}\n");
        assert!(page.contains(&line), "{line}: {page}");
    }
    assert!(!world.log().contains("t0psecret"));
}

pub(crate) fn the_heartbeat_beats_while_alerts_reach_people_and_ends_with_the_daemon() {
    let (beats, hook) = (Hook::new(0), Hook::saying("{\"ok\":true,\"ts\":\"1.1\"}"));
    let mut world = World::new();
    let dead = Hook::saying("{\"ok\":false,\"error\":\"account_inactive\"}");
    let route = |url: &str| {
        format!(
            "[[alert.route]]\nname = \"chat\"\nkind = \"slack\"\ntoken_env = \"PATH\"\nchannel = \"C1\"\napi_url = \"{url}\"\n"
        )
    };
    let beat = format!("[alert.heartbeat]\nurl = \"{}\"\ninterval = \"1s\"\n", beats.url);
    world.settings(&format!("{beat}{}", route(&hook.url)));
    world.unit("web", &actor::unit("notify READY=1", "type = \"notify\"\nrestart = \"no\""));
    world.start();
    let more = |count: usize| until("it beats", || (beats.raw().len() >= count).then_some(()));
    more(2);
    assert!(beats.raw()[0].0.starts_with("get /hook "), "{:?}", beats.raw()[0]);
    world.kill_manager();
    let before = beats.raw().len();
    more(before + 2);
    // Slack does not know us any more, so nobody is told anything: who watches the heartbeat must notice.
    world.settings(&format!("{beat}{}", route(&dead.url)));
    world.ok(&["reload-config"]);
    kill(world.pid("web"), Signal::SIGKILL);
    until("the route is dead", || world.ok(&["alerts"]).out.contains("account_inactive").then_some(()));
    let silent = beats.raw().len();
    pause(2500);
    assert!(beats.raw().len() <= silent + 1, "it goes on beating");
    world.settings(&format!("{beat}{}", route(&hook.url)));
    world.ok(&["reload-config"]);
    more(silent + 2);
    assert!(world.stop().success());
    let last = beats.raw().len();
    pause(2500);
    assert!(beats.raw().len() <= last + 1, "a daemon that is gone beats no more");
}
