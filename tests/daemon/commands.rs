//! Alert routes that run a command.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{PATIENCE, Signal, kill, lives, need_root, pause, until, until_within},
        world::{World, free_port},
    },
};

/// Long enough for a message too many to arrive.
const SILENCE_MS: u64 = 1500;
/// What a command does that keeps what it is told: each line of `got` is a message.
const KEEP: &str = "cat >> @/got";

/// What a command does that hangs the first time with all that it has begun: a child, one that has left its session, and itself.
/// Each of their pids is a line of `pids`. Where a cgroup holds them, that child has left its environment too.
fn hangs_once(mode: &str) -> String {
    let leave = if mode == "on" { "env -i setsid" } else { "setsid" };
    format!(
        "test -e @/hung && {{ {KEEP}; exit 0; }}; touch @/hung; sleep 1000 & echo $! >> @/pids; \
         {leave} sh -c 'echo $$ >> @/pids; exec sleep 1000' & sleep 0.1; echo $$ >> @/pids; exec sleep 1000"
    )
}

/// Writes a script, `@` in which is this world's directory; its path.
fn script(world: &World, text: &str) -> String {
    let path = world.path("page");
    // Not written in place: a script that runs would be another from its middle on.
    let fresh = world.path("page.new");
    fs::write(&fresh, format!("#!/bin/sh\n{}\n", text.replace('@', &world.path("").display().to_string()))).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(fresh, &path).unwrap();
    path.display().to_string()
}

/// The settings of a route that runs that script.
fn pager(world: &World, text: &str, more: &str) -> String {
    let path = script(world, text);
    format!("[[alert.route]]\nname = \"pager\"\nkind = \"command\"\ncommand = [\"{path}\"]\n{more}\n")
}

/// A service that is up, and stays down once it was killed.
fn frail(world: &World) {
    let more = "type = \"notify\"\nrestart = \"no\"\nrestart_reset_after_sec = \"100ms\"";
    world.unit("web", &actor::unit("notify READY=1", more));
}

/// What broke is over: its next end is another incident.
fn mend_it(world: &World) {
    world.ok(&["start", "web"]);
    let open = |world: &World| world.ok(&["alerts", "--json"]).json()["incidents"].as_array().unwrap().len();
    until("it is well again", || (open(world) == 0).then_some(()));
}

/// Its end is an incident of one message.
fn break_it(world: &World) {
    world.until_active("web", "active");
    kill(world.pid("web"), Signal::SIGKILL);
}

/// Messages in the outbox.
fn count(world: &World, which: &str) -> u32 {
    let sql = format!("SELECT count(*) FROM outbox WHERE {which}");
    world.database().query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn got(world: &World) -> Vec<Value> {
    world.lines("got").iter().map(|line| serde_json::from_str(line).expect("a message is one line of JSON")).collect()
}

/// The processes of a command that hangs, as soon as all are there.
fn hanging(world: &World) -> Vec<i32> {
    until("the command hangs", || {
        let pids: Vec<i32> = world.lines("pids").iter().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 3).then_some(pids)
    })
}

fn all_are_gone(pids: &[i32]) {
    until("the whole tree is gone", || pids.iter().all(|pid| !lives(*pid)).then_some(()));
}

pub(crate) fn a_message_reaches_a_command_once_as_json_and_in_variables_and_nothing_of_it_is_an_argument() {
    let mut world = World::new();
    let text = "cat >> @/got; env | sort > @/env; echo \"$0 $*\" > @/arguments; (sleep 1000) & echo $! >> @/pids";
    let path = script(&world, text);
    world.settings(&format!(
        "[[alert.route]]\nname = \"pager\"\nkind = \"command\"\ncommand = [\"{path}\", \"--urgent\", \"${{ROUNDSMAN_UNIT}}\"]\n\
         environment = {{ PAGER = \"a b\" }}\n"
    ));
    frail(&world);
    world.start();
    break_it(&world);
    until("it is told", || (!got(&world).is_empty()).then_some(()));
    until("that is written down", || (count(&world, "state = 'delivered'") == 1).then_some(()));
    pause(SILENCE_MS);
    let messages = got(&world);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    let message = &messages[0];
    assert_eq!((&message["event"], &message["unit"]), (&"unit_failed".into(), &"web".into()), "{message:#}");
    assert_eq!(message["possible_duplicate"], false);
    let variables = world.lines("env");
    let incident = message["incident"].as_str().unwrap();
    let node = message["node"].as_str().unwrap();
    for variable in [
        "ROUNDSMAN_EVENT=unit_failed",
        "ROUNDSMAN_UNIT=web",
        "ROUNDSMAN_SEVERITY=critical",
        "ROUNDSMAN_STATUS=firing",
        &format!("ROUNDSMAN_DEDUP_KEY=unit_failed:web@{node}"),
        "ROUNDSMAN_POSSIBLE_DUPLICATE=false",
        &format!("ROUNDSMAN_INCIDENT={incident}"),
        &format!("ROUNDSMAN_NODE={node}"),
        "PAGER=a b",
    ] {
        assert!(variables.iter().any(|line| line == variable), "{variable}: {variables:#?}");
    }
    assert!(!variables.iter().any(|line| line.starts_with("NOTIFY_SOCKET=")), "{variables:#?}");
    assert_eq!(world.lines("arguments"), [format!("{path} --urgent ${{ROUNDSMAN_UNIT}}")]);
    let left: Vec<i32> = world.lines("pids").iter().map(|line| line.parse().unwrap()).collect();
    all_are_gone(&left);
    assert!(!world.ok(&["list", "--names"]).out.contains("pager"), "it is no service");
    assert!(!world.ctl(&["status"]).out.contains("pager"), "it is no service");
}

pub(crate) fn exit_75_is_asked_again_and_any_other_refuses_by_what_it_says() {
    let mut world = World::new();
    world.settings(&pager(&world, "cat >> @/got; test $(wc -l < @/got) -lt 3 && exit 75; exit 0", ""));
    frail(&world);
    world.start();
    break_it(&world);
    let patience = PATIENCE + Duration::from_secs(10);
    until_within(patience, "twice later, then taken", || (got(&world).len() == 3).then_some(()));
    let messages = got(&world);
    assert!(messages.iter().all(|message| message == &messages[0]), "nobody took it before: {messages:#?}");
    script(&world, "echo; echo \"no pager here, $(id -u)\" >&2; exit 3");
    let said = world.ctl(&["alerts", "test", "pager"]);
    assert!(said.code == 1 && said.out.contains("exit code 3: no pager here, 0"), "{said:?}");
    for _ in 0..2 {
        mend_it(&world);
        break_it(&world);
    }
    until_within(patience, "a second refusal says that it is not the message", || {
        world.ok(&["alerts"]).out.contains("the route pager refuses alerts: exit code 3: no pager here").then_some(())
    });
    // None is to blame, so none is given up.
    script(&world, KEEP);
    assert!(world.ok(&["alerts", "test", "pager"]).out.contains("has taken the test"));
    until_within(patience, "all are told", || (count(&world, "state != 'delivered'") == 0).then_some(()));
}

pub(crate) fn a_command_runs_as_its_user() {
    need_root("it runs a command as another user");
    let mut world = World::new();
    let route = "[[alert.route]]\nname = \"pager\"\nkind = \"command\"\nuser = \"nobody\"\n\
                 command = [\"sh\", \"-c\", \"echo $(id -un) $HOME $(id -G); exit 1\"]\n";
    world.settings(route);
    world.start();
    let nobody = std::process::Command::new("id").args(["-G", "nobody"]).output().unwrap();
    let groups = String::from_utf8(nobody.stdout).unwrap().trim().to_owned();
    let said = world.ctl(&["alerts", "test", "pager"]);
    assert!(said.out.contains("exit code 1: nobody ") && said.out.contains(&format!(" {groups}")), "{said:?}");
    world.settings(&route.replace("nobody", "nobody-at-all"));
    let refused = world.ctl(&["reload-config"]);
    assert!(
        refused.code == 1 && refused.err.contains(":8: error: alert route \"pager\": cannot find user"),
        "{refused:?}"
    );
}

pub(crate) fn a_program_that_is_not_there_is_refused_at_load_and_one_that_goes_is_named() {
    let mut world = World::new();
    let settings = pager(&world, KEEP, "");
    world.settings(&settings);
    world.start();
    world.settings(&settings.replace("/page\"", "/pager\""));
    let refused = world.ctl(&["reload-config"]);
    assert!(refused.code == 1, "{refused:?}");
    // At the word that names it.
    let line = fs::read_to_string(world.path("roundsman.toml")).unwrap();
    let line = line.lines().position(|line| line.starts_with("command = ")).unwrap() + 1;
    let place = format!("roundsman.toml:{line}:12: error: alert route \"pager\": cannot run ");
    for says in [&*place, "No such file"] {
        assert!(refused.err.contains(says), "{says}: {refused:?}");
    }
    fs::remove_file(world.path("page")).unwrap();
    let said = world.ctl(&["alerts", "test", "pager"]);
    assert!(said.code == 1 && said.out.contains("cannot run ") && said.out.contains("no such file"), "{said:?}");
    // A manager that begins meanwhile goes on with what was in force.
    world.kill_manager();
    world.await_answer();
    let said = world.ctl(&["alerts", "test", "pager"]);
    assert!(said.code == 1 && said.out.contains("cannot run "), "{said:?}");
    script(&world, KEEP);
    world.settings(&settings);
    world.ok(&["reload-config"]);
    assert!(world.ok(&["alerts", "test", "pager"]).out.contains("has taken the test"));
}

pub(crate) fn a_command_that_hangs_is_killed_with_its_tree_and_delays_neither_a_restart_nor_another_route() {
    for mode in ["off", "on"] {
        let hook = Hook::new(0);
        let mut world = World::new();
        let pager = pager(&world, &hangs_once(mode), "timeout = \"3s\"");
        world.settings(&format!(
            "[cgroup]\nmode = \"{mode}\"\n{pager}\
             [[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n",
            hook.url
        ));
        frail(&world);
        let restarted =
            "type = \"notify\"\nrestart = \"always\"\nrestart_sec = \"20ms\"\n[unit]\nstart_limit_burst = 0";
        world.unit("other", &actor::unit("notify READY=1", restarted));
        world.start();
        world.until_active("other", "active");
        break_it(&world);
        let pids = hanging(&world);
        let begun = Instant::now();
        until("another route is told", || (!hook.taken().is_empty()).then_some(()));
        let old = world.pid("other");
        kill(old, Signal::SIGKILL);
        until("another service is back", || world.try_pid("other").filter(|pid| *pid != old));
        let took = begun.elapsed();
        assert!(pids.iter().all(|pid| lives(*pid)) && took < Duration::from_secs(2), "{mode}: {took:?}");
        all_are_gone(&pids);
        // The service that was killed is told of too; the command that was cut off comes first.
        until_within(PATIENCE + Duration::from_secs(5), "it is tried again", || {
            (!got(&world).is_empty()).then_some(())
        });
        let message = &got(&world)[0];
        assert_eq!(message["possible_duplicate"], true, "{mode}: {message:#}");
        assert_eq!(message["unit"], "web", "{mode}: {message:#}");
    }
}

/// A command hangs; `happens` is then what comes in its way, and its message is told once more, marked, and once only.
fn is_cut_off_and_told_again(mode: &str, happens: impl FnOnce(&mut World)) {
    let mut world = World::new();
    let pager = pager(&world, &hangs_once(mode), "timeout = \"10min\"");
    world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n{pager}"));
    frail(&world);
    world.start();
    break_it(&world);
    let pids = hanging(&world);
    happens(&mut world);
    all_are_gone(&pids);
    until("it is told again", || (!got(&world).is_empty()).then_some(()));
    pause(SILENCE_MS);
    let mut messages = got(&world);
    // The next daemon starts the service, which ends its incident.
    messages.retain(|message| message["event"] != "recovered");
    assert_eq!(messages.len(), 1, "{mode}: {messages:#?}");
    assert_eq!((&messages[0]["unit"], &messages[0]["event"]), (&"web".into(), &"unit_failed".into()));
    assert_eq!(messages[0]["possible_duplicate"], true, "{mode}: {messages:#?}");
    until("nothing waits", || (count(&world, "state != 'delivered'") == 0).then_some(()));
    assert!(world.stop().success());
}

pub(crate) fn a_manager_that_is_killed_while_a_command_runs_ends_it_and_tells_the_message_again() {
    for mode in ["off", "on"] {
        is_cut_off_and_told_again(mode, |world| {
            world.kill_manager();
            world.await_answer();
        });
    }
}

pub(crate) fn an_upgrade_while_a_command_runs_ends_it_and_tells_the_message_again() {
    is_cut_off_and_told_again("off", |world| drop(world.ok(&["upgrade"])));
}

pub(crate) fn a_keeper_that_is_killed_while_a_command_runs_leaves_it_to_the_next_which_ends_it() {
    for mode in ["off", "on"] {
        is_cut_off_and_told_again(mode, |world| {
            world.kill_keeper();
            world.start();
        });
    }
}

pub(crate) fn the_end_of_the_daemon_leaves_nothing_of_a_command_and_the_next_tells_its_message() {
    for mode in ["off", "on"] {
        is_cut_off_and_told_again(mode, |world| {
            let pids = hanging(world);
            let begun = Instant::now();
            assert!(world.stop().success());
            let left: Vec<_> = pids.iter().filter(|pid| lives(**pid)).collect();
            assert!(left.is_empty(), "{mode}: {left:?}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{mode}: {:?}", begun.elapsed());
            world.start();
        });
    }
}

pub(crate) fn a_route_whose_server_is_gone_falls_back_to_a_command_which_is_told_once() {
    let mut world = World::new();
    let pager = pager(&world, KEEP, "");
    let nobody = free_port();
    world.settings(&format!(
        "{pager}[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{nobody}/\"\n\
         fallback = \"pager\"\nfallback_after = \"1s\"\n\
         [[alert.rule]]\nevent = \"*\"\nroutes = [\"ops\"]\n"
    ));
    frail(&world);
    world.start();
    break_it(&world);
    until("the other route is told", || (!got(&world).is_empty()).then_some(()));
    until("and that is written down", || (count(&world, "route = 'pager' AND state = 'delivered'") == 1).then_some(()));
    world.kill_manager();
    world.await_answer();
    pause(SILENCE_MS);
    let messages = got(&world);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    let message = &messages[0];
    let text = message["message"].as_str().unwrap();
    assert!(text.starts_with("the route ops did not take this (") && text.contains("refused"), "{text}");
    assert_eq!((&message["fallback_of"], &message["unit"]), (&"ops".into(), &"web".into()));
    assert_eq!(count(&world, "route = 'ops' AND state IN ('waiting', 'sending')"), 1, "it still waits there");
    let listed = world.ok(&["alerts"]).out;
    assert!(listed.contains("told pager in place of ops, not taken yet by ops"), "{listed}");
    world.settings(&format!(
        "{pager}fallback = \"ops\"\n[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\n\
                             url = \"http://127.0.0.1:{nobody}/\"\nfallback = \"pager\"\n"
    ));
    let refused = world.ctl(&["reload-config"]);
    assert!(refused.code == 1 && refused.err.contains("pager → ops → pager"), "{refused:?}");
}

/// An end that nobody heard is no success that is believed, but no second command runs beside the first either.
pub(crate) fn a_command_that_ends_while_there_is_no_manager_is_told_again_as_a_possible_duplicate() {
    let mut world = World::new();
    world.settings(&pager(&world, &format!("{KEEP}; echo $$ >> @/pids; sleep 0.3; echo $$ >> @/ended"), ""));
    frail(&world);
    world.start();
    break_it(&world);
    until("it runs", || (!world.lines("pids").is_empty()).then_some(()));
    let manager = world.manager();
    kill(manager, Signal::SIGSTOP);
    until("it has ended", || (!world.lines("ended").is_empty()).then_some(()));
    kill(manager, Signal::SIGKILL);
    world.await_answer();
    until("it is told again", || (world.lines("ended").len() == 2).then_some(()));
    pause(SILENCE_MS);
    let marks: Vec<bool> = got(&world).iter().map(|message| message["possible_duplicate"] == true).collect();
    assert_eq!(marks, [false, true]);
}

pub(crate) fn a_test_of_a_route_waits_for_the_message_under_way_and_two_never_run_at_once() {
    let mut world = World::new();
    let text = format!("mkdir @/alone || {{ echo two at once; exit 1; }}; {KEEP}; sleep 0.5; rmdir @/alone");
    world.settings(&pager(&world, &text, ""));
    frail(&world);
    world.start();
    break_it(&world);
    until("it runs", || (!got(&world).is_empty()).then_some(()));
    let said = world.ctl(&["alerts", "test", "pager"]);
    assert!(said.out.contains("has taken the test"), "{said:?}");
    assert_eq!(got(&world).len(), 2);
}
