//! Services that the machine's systemd keeps, watched and steered by us.

use crate::{
    booted_with,
    machine::{Machine, eventually},
};

/// A service of systemd that leaves its pid in /run/guest.pid, and ends with 3 on USR1.
const GUEST: &str = "[Service]\nExecStart=/bin/sh -c \"trap 'exit 3' USR1; echo $$$$ > /run/guest.pid; \
                     while :; do sleep 1000 & wait; done\"\n";

fn machine(more: &[(&str, &str)]) -> Machine {
    let files = [("etc/systemd/system/guest.service", GUEST)].into_iter().chain(more.iter().copied());
    booted_with("", files.map(|(path, text)| (path.to_owned(), text.to_owned())))
}

/// A field of the unit as our API has it.
fn field(machine: &Machine, name: &str) -> String {
    let said = machine.run(&["sh", "-c", "supervisorctl status guest --json 2> /dev/null || :"]);
    let value: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let value = &value["units"][0];
    let value = &value[name];
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn systemd(machine: &Machine, property: &str) -> String {
    machine.run(&["systemctl", "show", "guest", "--value", "--property", property])
}

fn history(machine: &Machine) -> Vec<(String, String, String)> {
    let said = machine.run(&["supervisorctl", "history", "guest", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let rows = said["runs"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(&row["cause"]), text(&row["result"]), text(&row["consequence"]))).collect()
}

fn up(machine: &Machine) {
    eventually("it is seen up", || {
        field(machine, "active") == "active" && field(machine, "status_text") == "active (running)"
    });
}

const UNIT: (&str, &str) = (
    "etc/roundsman/units/guest.toml",
    "[external]\nsystemd = 'guest'\npoll_interval = '200ms'\n[service]\nrestart = 'on-failure'\nrestart_sec = '200ms'\n\
     [unit]\nstart_limit_interval_sec = '10min'\nstart_limit_burst = 3\n",
);

#[test]
fn a_service_of_systemd_is_started_watched_and_restarted_through_it() {
    let machine = machine(&[UNIT]);
    up(&machine);
    let first = machine.pid_of("guest");
    assert_eq!(systemd(&machine, "MainPID"), first);

    machine.run(&["kill", "-9", &first]);
    eventually("it is started again", || {
        machine.pid_of("guest") != first && systemd(&machine, "ActiveState") == "active"
    });
    up(&machine);
    eventually("its row is there", || history(&machine).len() == 2);
    let rows = history(&machine);
    assert_eq!(rows[1], ("boot".into(), "signal".into(), "restart".into()));
    assert_eq!((rows[0].0.as_str(), field(&machine, "restarts_total").as_str()), ("auto-restart", "1"));

    // Neither the manager's end nor ours is the service's.
    let second = machine.pid_of("guest");
    let manager = machine.manager();
    machine.run(&["kill", "-9", &manager]);
    eventually("another manager answers", || machine.manager() != manager && field(&machine, "active") == "active");
    up(&machine);
    machine.systemctl(&["restart", "roundsman"]);
    up(&machine);
    assert_eq!(machine.pid_of("guest"), second);
    assert_eq!(systemd(&machine, "NRestarts"), "0");

    // A restart here is one there.
    machine.run(&["supervisorctl", "restart", "guest"]);
    let third = machine.pid_of("guest");
    assert!(third != second && machine.is_alive(&third));
    up(&machine);
    // One there is no failure here.
    machine.systemctl(&["restart", "guest"]);
    eventually("it is noticed", || history(&machine)[0].0 == "external-restart");
    assert_eq!(history(&machine)[1].1, "success");

    // A stop there is an end that restart = on-failure leaves alone, and a start there is seen.
    machine.systemctl(&["stop", "guest"]);
    eventually("it is down here too", || field(&machine, "active") == "inactive");
    machine.systemctl(&["start", "guest"]);
    up(&machine);
    eventually("its row is there", || history(&machine)[0].0 == "external-start");
    let running = machine.pid_of("guest");
    machine.run(&["supervisorctl", "stop", "guest"]);
    assert!(!machine.is_alive(&running));
    assert_eq!(systemd(&machine, "ActiveState"), "inactive");
}

#[test]
fn one_that_fails_again_and_again_fails_for_good() {
    let machine = machine(&[UNIT]);
    up(&machine);
    eventually("the start limit is hit", || {
        if systemd(&machine, "ActiveState") == "active" {
            machine.run(&["sh", "-c", "kill -USR1 $(cat /run/guest.pid) || :"]);
        }
        field(&machine, "active") == "failed"
    });
    assert_eq!(field(&machine, "result"), "start-limit-hit");
    assert_eq!((field(&machine, "start_limit_of"), field(&machine, "start_limit_burst")), ("null".into(), "3".into()));
    let checked = machine.run(&["sh", "-c", "supervisorctl check guest || :"]);
    assert!(checked.contains("too many starts in its window"), "ours: {checked}");
    let rows = history(&machine);
    assert!(rows.iter().all(|(_, result, _)| result == "exit-code"), "{rows:?}");
    assert!(rows.len() <= 4, "{rows:?}");
}

#[test]
fn adopt_sets_up_what_undo_takes_back() {
    let machine = machine(&[]);
    machine.systemctl(&["start", "guest"]);
    let pid = machine.pid_of("guest");
    let dropin = "etc/systemd/system/guest.service.d/roundsman.conf";
    let hook = "etc/systemd/system/roundsman-failed@.service";
    let unit = "etc/roundsman/units/guest.toml";
    let all = [dropin, hook, unit];
    let there = |machine: &Machine| all.map(|path| machine.path(path).exists());

    let shown = machine.run(&["supervisorctl", "adopt", "guest", "--dry-run"]);
    assert!(shown.contains("# /etc/roundsman/units/guest.toml\n# Written by"), "{shown}");
    assert_eq!(there(&machine), [false; 3]);
    let adopt = ["supervisorctl", "adopt", "guest", "--restart-sec", "300ms", "--poll-interval", "10min"];
    let said = machine.run(&adopt);
    assert_eq!(said.lines().filter(|line| line.starts_with("wrote /etc/")).count(), 3, "{said}");
    let told = |text: &str| text.lines().filter(|line| !line.starts_with("# Sum ")).collect::<Vec<_>>().join("\n");
    assert_eq!(told(&machine.read(unit)), told(&shown_file(&shown, unit)).replace("\"5s\"", "\"10min\""));
    assert_eq!(there(&machine), [true; 3]);
    up(&machine);
    assert_eq!(machine.pid_of("guest"), pid, "it was up and is left alone");
    assert_eq!((systemd(&machine, "Restart"), systemd(&machine, "RestartUSec")), ("on-failure".into(), "300ms".into()));
    let again = machine.run(&adopt[..3]);
    assert_eq!(again.lines().filter(|line| line.starts_with("unchanged ")).count(), 3, "as it was told: {again}");
    what_is_added_is_not_lost(&machine, dropin);
    assert_eq!(there(&machine), [true; 3]);

    let limit = |machine: &Machine| {
        let shown = machine.run(&["sh", "-c", "supervisorctl status guest || :"]);
        shown.lines().find(|line| line.contains("Start limit: ")).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(limit(&machine), "Start limit: 5 starts in 5min, set by systemd", "that is the one that counts");

    // systemd starts it again by itself, until it has had enough: then it tells us, long before we look.
    exhaust(&machine);
    eventually("we have heard of it", || field(&machine, "active") == "failed");
    assert_eq!(field(&machine, "result"), "start-limit-hit");
    eventually("its row is there", || history(&machine)[0].2 == "start-limit");
    assert!(machine.read("run/supervisord.log").contains("more than 5 starts within 5min"), "systemd's own limit");
    let checked = machine.run(&["sh", "-c", "supervisorctl check guest; echo $?"]);
    assert!(checked.ends_with("\n2"), "{checked}");
    let gave_up =
        "systemd has given it up: more than 5 starts within 5min; the last run ended with exit-code (exit code 3)";
    assert!(
        checked.contains(gave_up) && machine.run(&["supervisorctl", "why", "guest"]).contains(gave_up),
        "{checked}"
    );
    assert_eq!(limit(&machine), "Start limit: 5 starts in 5min, set by systemd");

    // What is reset here is reset there; and a start needs no reset.
    machine.run(&["supervisorctl", "reset", "guest"]);
    eventually("systemd has forgotten it too", || systemd(&machine, "ActiveState") == "inactive");
    machine.run(&["supervisorctl", "start", "guest"]);
    exhaust(&machine);
    eventually("we have heard of it again", || field(&machine, "active") == "failed");
    machine.run(&["supervisorctl", "start", "guest"]);
    let pid = systemd(&machine, "MainPID");
    what_would_be_left_without_its_unit_is_named(&machine);
    assert_eq!(there(&machine), [true; 3]);
    machine.run(&["supervisorctl", "adopt", "guest", "--undo"]);
    assert_eq!(there(&machine), [false; 3]);
    eventually("its row says that it runs on", || history(&machine)[0].2 == "left");
    assert!(!machine.path("etc/systemd/system/guest.service.d").exists());
    eventually("it is no unit of ours", || machine.get("/v1/units/guest").contains(" 404 "));
    assert!(machine.is_alive(&pid));
    assert_eq!(systemd(&machine, "Restart"), "no");
    assert_eq!(machine.run(&["supervisorctl", "adopt", "guest", "--undo"]), "nothing to undo");

    // What someone else wrote is never touched, and nothing else is written then.
    machine.write(unit, "[external]\nsystemd = 'guest'\n");
    let refused = machine.run(&["sh", "-c", "supervisorctl adopt guest 2>&1; echo $?"]);
    assert!(
        refused.contains("cannot replace /etc/roundsman/units/guest.toml") && refused.ends_with("\n1"),
        "{refused}"
    );
    assert_eq!(there(&machine), [false, false, true]);
    let unknown = machine.run(&["sh", "-c", "supervisorctl adopt nobody 2>&1; echo $?"]);
    assert!(unknown.contains("systemd has no such service") && unknown.ends_with("\n1"), "{unknown}");
}

fn what_would_be_left_without_its_unit_is_named(machine: &Machine) {
    machine.write("etc/roundsman/units/guest.toml.d/more.toml", "[external]\npoll_interval = '1s'\n");
    let refused = machine.run(&["sh", "-c", "supervisorctl adopt guest --undo 2>&1; echo $?"]);
    assert!(refused.contains("guest.toml.d holds drop-ins for it") && refused.ends_with("\n1"), "{refused}");
    machine.run(&["rm", "-r", "/etc/roundsman/units/guest.toml.d"]);
}

fn what_is_added_is_not_lost(machine: &Machine, dropin: &str) {
    let written = machine.read(dropin);
    machine.write(dropin, &format!("{written}Nice=5\n"));
    for undo in ["", " --undo"] {
        let refused = machine.run(&["sh", "-c", &format!("supervisorctl adopt guest{undo} 2>&1; echo $?")]);
        assert!(refused.contains("someone has edited it") && refused.ends_with("\n1"), "{refused}");
    }
    assert!(machine.read(dropin).contains("Nice=5"));
    machine.run(&["supervisorctl", "adopt", "guest", "--force"]);
    assert_eq!(machine.read(dropin), written);
}

#[test]
fn what_dies_as_often_as_systemd_starts_it_is_as_many_rows() {
    let crash = "[Unit]\nStartLimitIntervalSec=300\nStartLimitBurst=5\n[Service]\nRestart=on-failure\nRestartSec=1s\n\
                 ExecStart=/bin/sh -c \"echo dying >> /run/dying; exit 1\"\n";
    let unit = "[external]\nsystemd = 'guest'\npoll_interval = '2500ms'\n[install]\nenabled = false\n";
    let machine = booted_with(
        "",
        [("etc/systemd/system/guest.service", crash), ("etc/roundsman/units/guest.toml", unit)]
            .map(|(path, text)| (path.to_owned(), text.to_owned())),
    );
    eventually("it is seen down", || field(&machine, "status_text") == "inactive (dead)");
    machine.run(&["sh", "-c", "systemctl start guest || :"]);
    eventually("it is given up", || field(&machine, "active") == "failed");
    assert_eq!(machine.read("run/dying").lines().count(), 5);
    eventually("its rows are there", || history(&machine).len() == 5);
    let rows = history(&machine);
    assert_eq!((rows[4].0.as_str(), rows[0].0.as_str()), ("external-start", "external-restart"), "{rows:?}");
    assert_eq!((rows[0].1.as_str(), rows[0].2.as_str()), ("exit-code", "start-limit"), "{rows:?}");
    let said = machine.run(&["supervisorctl", "history", "guest", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let began: Vec<i64> =
        said["runs"].as_array().unwrap().iter().filter_map(|row| row["started_us"].as_i64()).collect();
    let apart: Vec<i64> = began.windows(2).map(|two| (two[0] - two[1]) / 100_000).collect();
    assert!(apart.len() == 4 && apart.iter().all(|tenths| (5..25).contains(tenths)), "a second each: {apart:?}");
}

/// What a dry run shows of the last file.
fn shown_file(shown: &str, path: &str) -> String {
    let (_, text) = shown.split_once(&format!("# /{path}\n")).unwrap_or_default();
    text.trim_end().to_owned() + "\n"
}

/// Has it fail until systemd has had enough.
fn exhaust(machine: &Machine) {
    eventually("systemd gives up", || {
        let state = systemd(machine, "ActiveState");
        if state == "active" {
            machine.run(&["sh", "-c", "kill -USR1 $(cat /run/guest.pid) || :"]);
        }
        state == "failed"
    });
}

#[test]
fn one_that_waits_for_systemds_restart_is_down_until_then() {
    let slow = "[Service]\nRestart=on-failure\nRestartSec=5s\n";
    let unit = "[external]\nsystemd = 'guest'\npoll_interval = '200ms'\n[install]\nenabled = false\n";
    let machine =
        machine(&[("etc/systemd/system/guest.service.d/slow.conf", slow), ("etc/roundsman/units/guest.toml", unit)]);
    assert_eq!((field(&machine, "active"), systemd(&machine, "ActiveState")), ("inactive".into(), "inactive".into()));
    machine.systemctl(&["start", "guest"]);
    up(&machine);
    assert_eq!((field(&machine, "sub"), field(&machine, "kind")), ("running".into(), "external (systemd)".into()));
    machine.run(&["sh", "-c", "kill -9 $(cat /run/guest.pid)"]);
    eventually("it is down here", || field(&machine, "sub") == "auto-restart");
    assert_eq!(systemd(&machine, "SubState"), "auto-restart", "while it is down there");
    assert_eq!(field(&machine, "last_exit"), "killed by SIGKILL");
    let died = systemd(&machine, "ExecMainExitTimestamp");
    let died = machine.run(&["date", "-d", &died, "+%s"]);
    let since: i64 = field(&machine, "since_us").parse().unwrap_or(0);
    assert_eq!((since / 1_000_000).to_string(), died, "since it ended, not since we looked");
    let checked = machine.run(&["sh", "-c", "supervisorctl check guest; echo $?"]);
    assert!(!checked.ends_with("\n0"), "{checked}");
    // Whoever starts it does not wait.
    machine.run(&["supervisorctl", "start", "guest"]);
    assert_eq!(systemd(&machine, "SubState"), "running");
    machine.run(&["sh", "-c", "kill -9 $(cat /run/guest.pid)"]);
    eventually("it is down again", || field(&machine, "sub") == "auto-restart");
    up(&machine);
    assert_eq!(history(&machine)[0].0, "external-restart");
    machine.run(&["sh", "-c", "kill -9 $(cat /run/guest.pid)"]);
    eventually("it is down once more", || field(&machine, "sub") == "auto-restart");
    machine.run(&["supervisorctl", "stop", "guest"]);
    eventually("systemd starts it no more", || systemd(&machine, "ActiveState") == "inactive");
    assert_eq!(field(&machine, "active"), "inactive");
}

#[test]
fn adopt_leaves_what_it_adopts_as_it_is() {
    let always = "[Service]\nRestart=always\n";
    let machine = machine(&[("etc/systemd/system/guest.service.d/always.conf", always)]);
    for word in ["nosuch --dry-run", "roundsman --dry-run", "roundsman-failed@guest --dry-run"] {
        let refused = machine.run(&["sh", "-c", &format!("supervisorctl adopt {word} 2>&1; echo $?")]);
        assert!(refused.contains("cannot adopt") && refused.ends_with("\n1"), "{refused}");
    }
    for _ in 0..2 {
        machine.run(&["supervisorctl", "adopt", "guest", "--poll-interval", "200ms"]);
        assert_eq!(systemd(&machine, "Restart"), "always");
        assert_eq!(systemd(&machine, "ActiveState"), "inactive", "it was down and is left alone");
    }
    machine.systemctl(&["start", "guest"]);
    up(&machine);
    // What someone stopped stays so, whoever it was and wherever.
    for stop in [["systemctl", "stop", "guest"], ["supervisorctl", "stop", "guest"]] {
        machine.run(&stop);
        eventually("it is down", || field(&machine, "active") == "inactive");
        machine.systemctl(&["restart", "roundsman"]);
        eventually("we are back", || field(&machine, "status_text") == "inactive (dead)");
        assert_eq!(systemd(&machine, "ActiveState"), "inactive");
        let checked = machine.run(&["supervisorctl", "check", "guest"]);
        assert!(checked.contains("down on purpose"), "{checked}");
        machine.systemctl(&["start", "guest"]);
        up(&machine);
    }
    // And what runs goes on, also in what is told of it.
    let pid = machine.pid_of("guest");
    machine.systemctl(&["restart", "roundsman"]);
    up(&machine);
    assert_eq!(machine.pid_of("guest"), pid);
    let rows = history(&machine);
    assert_eq!((rows[0].0.as_str(), rows[1].2.as_str()), ("external-start", "left"), "{rows:?}");
}

/// Looked at only when someone asks.
const SELDOM: (&str, &str) = (
    "etc/roundsman/units/guest.toml",
    "[external]\nsystemd = 'guest'\npoll_interval = '10min'\n[install]\nenabled = false\n",
);

/// Has us look until it is as wanted.
fn looked(machine: &Machine, name: &str, wanted: &str) {
    eventually(&format!("{name} is {wanted}"), || {
        machine.run(&["sh", "-c", "supervisorctl check guest || :"]);
        field(machine, name) == wanted
    });
}

#[test]
fn what_systemd_tries_in_vain_between_two_looks_are_rows() {
    // As often as a file says it ends as soon as it is started.
    let fails = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=on-failure\nRestartSec=50ms\nExecStart=\n\
                 ExecStart=/bin/sh -c \"n=$$(cat /run/fails || echo 0); [ $$n -gt 0 ] && echo $$((n - 1)) > /run/fails \
                 && exit 7; echo $$$$ > /run/guest.pid; exec sleep 1000\"\n";
    let machine = machine(&[("etc/systemd/system/guest.service.d/fails.conf", fails), SELDOM]);
    machine.systemctl(&["start", "guest"]);
    looked(&machine, "status_text", "active (running)");
    let pid = machine.pid_of("guest");
    // A run that is found is looked at once more.
    machine.run(&["sleep", "2"]);
    machine.write("run/fails", "3");
    machine.run(&["kill", "-9", &pid]);
    eventually("systemd has it up", || systemd(&machine, "NRestarts") == "4" && machine.pid_of("guest") != pid);
    assert_eq!(history(&machine).len(), 1, "nobody has looked");
    looked(&machine, "restarts_total", "4");
    eventually("the rows are there", || history(&machine).len() == 5);
    let rows = history(&machine);
    assert!(rows[..4].iter().all(|(cause, _, _)| cause == "external-restart"), "{rows:?}");
    let unseen = ("unknown", "restart");
    assert!(rows[1..].iter().all(|(_, result, then)| (result.as_str(), then.as_str()) == unseen), "{rows:?}");
}

#[test]
fn an_end_at_our_stop_is_no_news_to_the_next_daemon() {
    let rude = "[Service]\nKillMode=mixed\nExecStart=\nExecStart=/bin/sh -c \"trap 'exit 143' TERM; trap 'exit 3' USR1; \
                echo $$$$ > /run/guest.pid; while :; do sleep 1000 & wait; done\"\n";
    let machine = machine(&[("etc/systemd/system/guest.service.d/rude.conf", rude), SELDOM]);
    machine.systemctl(&["start", "guest"]);
    looked(&machine, "status_text", "active (running)");
    machine.run(&["supervisorctl", "stop", "guest"]);
    assert_eq!((systemd(&machine, "ActiveState"), systemd(&machine, "Result")), ("failed".into(), "exit-code".into()));
    machine.systemctl(&["restart", "roundsman"]);
    looked(&machine, "status_text", "failed (failed)");
    assert_eq!(field(&machine, "active"), "inactive");
    let checked = machine.run(&["supervisorctl", "check", "guest"]);
    assert!(checked.contains("down on purpose"), "{checked}");
    // What others start and what fails then is some.
    machine.systemctl(&["stop", "roundsman"]);
    machine.systemctl(&["start", "guest"]);
    eventually("it fails", || {
        machine.run(&["sh", "-c", "kill -USR1 $(cat /run/guest.pid) || :"]);
        systemd(&machine, "ActiveState") == "failed"
    });
    machine.systemctl(&["start", "roundsman"]);
    looked(&machine, "active", "failed");
}

#[test]
fn what_is_stopped_to_be_started_again_is_not_left_so_when_the_daemon_ends() {
    let slow = "[Service]\nExecStop=/bin/sleep 2\n";
    let unit = "[external]\nstart = 'systemctl start guest'\nstop = 'systemctl stop guest'\n\
                status = 'systemctl is-active guest'\npoll_interval = '200ms'\n[service]\nrestart_sec = '10min'\n\
                [[health]]\nname = 'sick'\nexec = '/bin/sh -c \"! test -e /run/sick\"'\ninterval = '200ms'\n\
                unhealthy_after = 1\n";
    let machine =
        machine(&[("etc/systemd/system/guest.service.d/slow.conf", slow), ("etc/roundsman/units/guest.toml", unit)]);
    let running = |what: &str| {
        eventually(what, || systemd(&machine, "ActiveState") == "active");
        machine.pid_of("guest")
    };
    // In the middle of its stop.
    let first = running("it is started");
    eventually("it is up here", || field(&machine, "health") == "healthy");
    machine.run(&["sh", "-c", "supervisorctl restart guest > /dev/null 2>&1 &"]);
    eventually("it is stopped", || systemd(&machine, "ActiveState") == "deactivating");
    machine.systemctl(&["stop", "roundsman"]);
    let second = running("it is started again");
    assert_ne!(second, first);
    // While nobody has started it again yet.
    machine.systemctl(&["start", "roundsman"]);
    eventually("it is up here too", || field(&machine, "health") == "healthy");
    assert_eq!(history(&machine)[1].2, "left");
    machine.write("run/sick", "");
    eventually("it waits for its start", || field(&machine, "sub") == "auto-restart");
    assert_eq!(systemd(&machine, "ActiveState"), "inactive");
    machine.systemctl(&["stop", "roundsman"]);
    assert_ne!(running("it is not left stopped"), second);
}
