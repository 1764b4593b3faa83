//! Who is told, and how often.
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    actor, health,
    support::{
        hook::Hook,
        process::{PATIENCE, Signal, kill, pause, until, until_within},
        world::{World, free_port},
    },
};

/// Long enough for a message too many to arrive.
const SILENCE_MS: u64 = 1500;

/// Restarted at once, and well again soon.
const AGAIN: &str = "restart = \"always\"\nrestart_sec = \"30ms\"\nrestart_reset_after_sec = \"300ms\"\n";

/// Dies as often as the file `deaths` has not enough lines, then is well.
fn unit(deaths: usize) -> String {
    let script = format!(
        "echo x >> @/deaths; test $(wc -l < @/deaths) -le {deaths} && exit 3; exec {}",
        actor::command("notify READY=1")
    );
    format!(
        "[service]\ntype = \"notify\"\nexec_start = \"/bin/sh -c '{script}'\"\nrestart = \"always\"\n\
         restart_sec = \"30ms\"\nrestart_reset_after_sec = \"300ms\"\n[unit]\nstart_limit_burst = 0\n"
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
    let text = actor::unit("notify READY=1", &format!("{AGAIN}type = \"notify\""));
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

pub(crate) fn an_incident_outlasts_the_end_of_the_daemon_and_people_hear_its_end() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&route("ops", "webhook", &hook));
    // Well once it may; the other is not started any more.
    let script = "/bin/sh -c 'test -e @/well && exec sleep 1000; exit 3'";
    let text = format!("[service]\nexec_start = \"{script}\"\nrestart = \"no\"\nrestart_reset_after_sec = \"300ms\"\n");
    world.unit("web", &text);
    world.unit("old", &text);
    world.start();
    ["web", "old"].iter().for_each(|name| drop(world.until_active(name, "failed")));
    until("both are told", || (hook.taken().len() == 2).then_some(()));
    world.ok(&["disable", "old"]);
    assert!(world.stop().success());
    world.start();
    world.until_active("web", "failed");
    until("of the one that nothing starts people hear the end", || (hook.taken().len() == 3).then_some(()));
    let last = hook.taken().pop().unwrap();
    assert_eq!((&last["event"], &last["unit"]), (&"recovered".into(), &"old".into()), "{last:#}");
    assert!(world.stop().success());
    fs::write(world.path("well"), "").unwrap();
    world.start();
    until("it is well", || (hook.taken().len() == 4).then_some(()));
    pause(SILENCE_MS);
    let all = hook.taken();
    let of_web: Vec<_> = all.iter().filter(|one| one["unit"] == "web").collect();
    assert_eq!(
        of_web.iter().map(|one| one["event"].as_str().unwrap()).collect::<Vec<_>>(),
        ["unit_failed", "recovered"]
    );
    assert_eq!(of_web[0]["incident"], of_web[1]["incident"]);
    assert_eq!(all.len(), 4, "{all:#?}");
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
        let more = format!("{AGAIN}[unit]\nstart_limit_burst = 0");
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
            fs::write(world.path("well"), "").unwrap();
            world.until_active("web", "active");
        }
        pause(SILENCE_MS);
        assert_eq!(told(), ["unit_restarted"], "what cannot be known is not told");
        other.execute_batch("ROLLBACK").unwrap();
        until("it is written again", || world.log().contains("store_recovered").then_some(()));
        if !well_meanwhile {
            pause(SILENCE_MS);
            assert_eq!(told(), ["unit_restarted"]);
            fs::write(world.path("well"), "").unwrap();
        }
        until("its end is told", || (told().len() > 1).then_some(()));
        pause(SILENCE_MS);
        assert_eq!(told(), ["unit_restarted", "recovered"], "{well_meanwhile}");
        assert_eq!(incidents(&world), [Some("recovered".to_owned())]);
        assert!(world.stop().success());
    }
}

/// The id of an incident of a unit, but for what tells one database from another.
fn without_birth(id: &str) -> String {
    let parts: Vec<_> = id.split('/').collect();
    let [unit, _born, generation, nth] = parts[..] else { panic!("{id}") };
    [unit, generation, nth].join("/")
}

pub(crate) fn a_failure_after_a_reset_is_another_incident_though_nothing_of_that_was_written_down() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&route("ops", "webhook", &hook));
    world.unit("web", "[service]\nexec_start = \"/bin/sh -c 'exit 3'\"\n");
    world.start();
    world.until_active("web", "failed");
    let is_told = || {
        let sql = "SELECT count(*) FROM outbox WHERE state = 'delivered'";
        world.database().query_row(sql, [], |row| row.get::<_, u32>(0)) == Ok(1)
    };
    until("that is told, and written down", || is_told().then_some(()));
    let incidents = |world: &World| -> Vec<(String, Option<String>)> {
        let database = world.database();
        let mut rows = database.prepare("SELECT id, closed_how FROM incidents ORDER BY seq").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).unwrap().map(Result::unwrap);
        rows.map(|(id, how)| (without_birth(&id), how)).collect()
    };
    assert_eq!(incidents(&world), [("web/1/0".to_owned(), None)]);
    let other = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    world.ok(&["reset", "web"]);
    world.ctl(&["start", "web"]);
    world.until_status("web", "it fails again", |s| s["generation"] == 2 && s["active"] == "failed");
    world.kill_manager();
    other.execute_batch("ROLLBACK").unwrap();
    world.await_answer();
    until("the end of the first and the second are told", || (hook.taken().len() == 3).then_some(()));
    let incident = |message: &Value| without_birth(message["incident"].as_str().unwrap());
    let told: Vec<(Value, Value)> =
        hook.taken().iter().map(|message| (message["event"].clone(), incident(message).into())).collect();
    let expected = [("unit_failed", "web/1/0"), ("recovered", "web/1/0"), ("unit_failed", "web/2/0")];
    assert_eq!(told, expected.map(|(event, incident)| (event.into(), incident.into())));
    assert_eq!(incidents(&world), [("web/1/0".to_owned(), Some("stopped".to_owned())), ("web/2/0".to_owned(), None)]);
}

/// A mail server of aiosmtpd's; it ends when its standard input does, at the latest with this program.
struct MailServer(Child);

impl MailServer {
    fn start(world: &World, port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mail.py");
        // Debian's own python, which has Debian's packages.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(world.path("")).arg(port.to_string()).stdin(Stdio::piped());
        let server = Self(command.spawn().unwrap());
        until("the mail server listens", || world.path("listening").exists().then_some(()));
        server
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Mails that were taken, or refused, in order.
fn mails(world: &World, word: &str) -> Vec<String> {
    let of = |number: u32| fs::read_to_string(world.path(&format!("{word}-{number}"))).ok();
    (1..20).filter_map(of).collect()
}

fn field<'m>(mail: &'m str, name: &str) -> &'m str {
    mail.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

pub(crate) fn an_incident_is_two_mails_over_tls_and_a_server_that_is_busy_gets_the_same_one_again() {
    let port = free_port();
    let mut world = World::new();
    health::certificates(&world, 10);
    let secret = world.path("password");
    fs::write(&secret, "pw\n").unwrap();
    Command::new("chmod").arg("600").arg(&secret).status().unwrap();
    fs::write(world.path("reply"), "451 4.3.2 busy").unwrap();
    let _server = MailServer::start(&world, port);
    let root = world.path("");
    let route = format!(
        "[[alert.route]]\nname = \"post\"\nkind = \"email\"\nserver = \"localhost:{port}\"\nca_file = \"{0}/ca.pem\"\n\
         user = \"me\"\npassword_file = \"{0}/password\"\nfrom = \"roundsman@example.org\"\n\
         to = [\"ops@example.org\", \"boss@example.org\"]\n",
        root.display()
    );
    world.settings(&route);
    world.unit("web", &unit(2));
    world.start();
    let refused = until("the server was busy", || Some(mails(&world, "refused")).filter(|mails| !mails.is_empty()));
    pause(SILENCE_MS);
    assert_eq!(mails(&world, "refused").len(), 1, "it is asked again in a minute");
    fs::remove_file(world.path("reply")).unwrap();
    // Who changes a route has just mended it: it is tried at once.
    world.settings(&format!("{route}give_up_after = \"1h\"\n"));
    world.ok(&["reload-config"]);
    let taken = until("both were taken", || Some(mails(&world, "taken")).filter(|mails| mails.len() >= 2));
    pause(SILENCE_MS);
    assert_eq!(mails(&world, "taken").len(), 2, "one for the incident, one for its end");
    let (alert, end) = (&taken[0], &taken[1]);
    assert!(field(alert, "Message-ID").len() > 10, "{alert}");
    assert_eq!(field(alert, "Message-ID"), field(&refused[0], "Message-ID"), "the same letter at each try");
    assert_ne!(field(alert, "Message-ID"), field(end, "Message-ID"));
    assert_eq!(field(alert, "References"), field(end, "References"), "one thread");
    assert_eq!((field(alert, "X-Tls"), field(alert, "X-To")), ("True", "ops@example.org,boss@example.org"));
    assert!(
        field(alert, "Subject").starts_with("[WARNING] ") && field(end, "Subject").starts_with("[RESOLVED] "),
        "{alert}{end}"
    );
    assert_eq!(field(alert, "Auto-Submitted"), "auto-generated");
    assert!(alert.contains("text/plain") && alert.contains("text/html") && alert.contains("web"), "{alert}");
}

pub(crate) fn a_mail_server_that_does_not_know_us_is_named_by_health_and_no_password_is_shown() {
    let port = free_port();
    let mut world = World::new();
    health::certificates(&world, 10);
    let secret = world.path("password");
    fs::write(&secret, "guessed-word\n").unwrap();
    Command::new("chmod").arg("600").arg(&secret).status().unwrap();
    let _server = MailServer::start(&world, port);
    let root = world.path("");
    world.settings(&format!(
        "[[alert.route]]\nname = \"post\"\nkind = \"email\"\nserver = \"localhost:{port}\"\nca_file = \"{0}/ca.pem\"\n\
         user = \"me\"\npassword_file = \"{0}/password\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n",
        root.display()
    ));
    world.unit("web", &unit(1));
    world.start();
    let said = until_within(PATIENCE, "the route is known to refuse us", || {
        let asked = Command::new("curl")
            .args(["-s", "--unix-socket"])
            .arg(world.path("run/control.sock"))
            .arg("http://localhost/health")
            .output();
        let said = String::from_utf8(asked.unwrap().stdout).unwrap();
        said.contains("535").then_some(said)
    });
    assert!(said.contains("alert route post refuses alerts"), "{said}");
    assert!(!said.contains("guessed-word"), "{said}");
    assert!(mails(&world, "taken").is_empty());
}

/// A real Alertmanager; it goes with this value.
struct Alertmanager {
    child: Child,
    url: String,
}

impl Alertmanager {
    fn start(world: &World) -> Self {
        let port = free_port();
        let config = world.path("alertmanager.yml");
        fs::write(&config, "route: { receiver: nobody }\nreceivers: [ { name: nobody } ]\n").unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", world.path("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}/api/v2/alerts") };
        until("alertmanager answers", || server.alerts());
        server
    }

    /// The alerts that it takes for active.
    fn alerts(&self) -> Option<Vec<Value>> {
        let answer = Command::new("curl").args(["-sf", &self.url]).output().unwrap();
        serde_json::from_slice(&answer.stdout).ok()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn alertmanager_has_one_alert_while_the_incident_lasts() {
    let mut world = World::new();
    let alertmanager = Alertmanager::start(&world);
    let url = &alertmanager.url;
    world.settings(&format!("[[alert.route]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"{url}\"\n"));
    // It fails for good, and is well once someone has seen to it.
    let start = format!("/bin/sh -c 'test -e @/mended || exit 3; exec {}'", actor::command("notify READY=1"));
    world.unit(
        "web",
        &format!(
            "[service]\ntype = \"notify\"\nexec_start = \"{start}\"\n{AGAIN}\
                  [unit]\nstart_limit_burst = 2\n"
        ),
    );
    world.start();
    let active = |count: usize, critical: bool| {
        let alerts = alertmanager.alerts()?;
        let fits = alerts.iter().all(|alert| critical == (alert["labels"]["severity"] == "critical"));
        (alerts.len() == count && fits).then_some(alerts)
    };
    let alerts = until("it hit its start limit", || active(1, true));
    let labels = &alerts[0]["labels"];
    assert_eq!((&labels["alertname"], &labels["unit"]), (&"Roundsman_unit".into(), &"web".into()), "{alerts:#?}");
    assert_eq!(alerts[0]["annotations"]["event"], "start_limit_hit", "the warning before it is over: {alerts:#?}");
    fs::write(world.path("mended"), "").unwrap();
    world.ok(&["reset", "web"]);
    until("what a person ended is over there too", || active(0, false));
    world.ok(&["start", "web"]);
    kill(world.pid("web"), Signal::SIGKILL);
    until("a restart is a warning", || active(1, false).or_else(|| active(0, false)));
    until("it is well again", || active(0, false));
    let good = fs::read_to_string(world.path("units/web.toml")).unwrap();
    world.unit("web", "[service]\nexec_start = 7\n");
    assert_ne!(world.ctl(&["reload-config"]).code, 0, "a bad file is refused");
    let fires = |name: &str| Some(alertmanager.alerts()?.iter().any(|alert| alert["labels"]["alertname"] == name));
    let rejected = || fires("Roundsman_config_rejected");
    until("what is of no unit is told too", || rejected().filter(|fires| *fires));
    world.unit("web", &good);
    world.ok(&["reload-config"]);
    until("and is over once it is mended", || rejected().filter(|fires| !fires));
}
