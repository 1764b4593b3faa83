//! When services count as up, and which of their processes is the one that counts.
use crate::{
    actor,
    support::{
        process::{kill, lives, until},
        world::{World, number},
    },
};
use nix::sys::signal::Signal;

/// A world for each way in which processes are found.
fn worlds(first: &str, units: &[(&str, &str)], check: impl Fn(&World)) {
    for mode in ["on", "off"] {
        let mut world = World::new();
        world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
        script(&world, &first.replace('@', &world.path("").display().to_string()));
        for (name, text) in units {
            world.unit(name, text);
        }
        world.start();
        check(&world);
    }
}

/// A unit that goes to the background as daemons do, with `more` lines in `[service]`.
fn daemon(more: &str) -> String {
    actor::unit("daemon @/script", &format!("type = \"forking\"\n{more}"))
}

/// What the daemon does in the background.
fn script(world: &World, first: &str) {
    std::fs::write(world.path("script"), format!("{first}\nexec sleep 1000\n")).unwrap();
}

/// The row of a run of `web` that has ended.
fn ended(world: &World, generation: u64) -> serde_json::Value {
    until("its row is there", || {
        let rows = world.history("web", 1);
        rows.into_iter().find(|row| row["generation"] == generation && !row["ended_us"].is_null())
    })
}

pub(crate) fn a_daemon_with_a_pid_file_is_followed_through_its_life() {
    let text = daemon("pid_file = \"@/pid\"\nrestart = \"on-failure\"\nrestart_sec = 0\n");
    worlds("sleep 0.3; echo $$ > @/pid", &[("web", &text)], |world| {
        let status = world.until_active("web", "active");
        let first = i32::try_from(number(&status["pid"]).unwrap()).unwrap();
        assert_eq!(world.lines("pid"), [first.to_string()]);
        kill(first, Signal::SIGKILL);
        let run = ended(world, 1);
        assert_eq!((&run["result"], &run["status"]), (&"signal".into(), &"killed by SIGKILL".into()), "{run:#}");
        until("the next daemon is up", || {
            let status = world.status("web");
            (status["active"] == "active" && number(&status["pid"]) != Some(first.into())).then_some(())
        });
        let second = world.pid("web");
        world.kill_manager();
        assert_eq!(world.until_active("web", "active")["pid"], second, "the next manager knows it");
        world.ok(&["stop", "web"]);
        assert!(!lives(second));
        assert!(!world.path("pid").exists(), "it would name nobody, or a stranger");
        assert_eq!(ended(world, 2)["result"], "success", "SIGTERM is a clean end");
    });
}

pub(crate) fn a_daemon_without_a_pid_file_is_guessed_and_a_group_of_daemons_lives_as_long_as_one() {
    let one = daemon("");
    let two = "[service]\ntype = \"forking\"\n\
               exec_start = \"/bin/sh -c 'setsid sleep 1000 & echo $$! > @/first; setsid sleep 1000 & echo $$! > @/second'\"\n";
    worlds("", &[("one", &one), ("two", two)], |world| {
        let status = world.until_active("one", "active");
        let pid = i32::try_from(number(&status["pid"]).unwrap()).unwrap();
        kill(pid, Signal::SIGTERM);
        let run = &world.history("one", 1)[0];
        assert_eq!((&run["result"], &run["status"]), (&"success".into(), &"killed by SIGTERM".into()), "{run:#}");

        let status = world.until_active("two", "active");
        assert_eq!(status["pid"], serde_json::Value::Null, "there are two of them: {status:#}");
        let pids: Vec<i32> = ["first", "second"].map(|file| world.lines(file)[0].parse().unwrap()).into();
        kill(pids[0], Signal::SIGKILL);
        until("it is gone", || (!lives(pids[0])).then_some(()));
        assert_eq!(world.status("two")["active"], "active");
        kill(pids[1], Signal::SIGKILL);
        world.until_active("two", "inactive");
    });
}

pub(crate) fn a_pid_file_that_names_a_stranger_is_not_believed_unless_root_wrote_it() {
    let stranger = std::process::id();
    let mut world = World::new();
    let home = world.path("own");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    script(&world, &format!("echo {stranger} > {}/pid", home.display()));
    let more = "user = \"nobody\"\npid_file = \"@/own/pid\"\ntimeout_start_sec = \"1s\"\n";
    world.unit("web", &daemon(more));
    world.start();
    let status = world.until_active("web", "failed");
    assert_eq!(status["result"], "timeout", "{status:#}");
    let told = world.until_notices("main_pid_refused", 1);
    assert!(told.len() == 1 && told[0].to_string().contains(&stranger.to_string()), "{told:#?}");
}

pub(crate) fn a_service_that_hands_over_to_another_process_lives_on() {
    let hands_over = "notify READY=1 +100 child:MAINPID +200 exit";
    let text = actor::unit(hands_over, "type = \"notify\"\nnotify_access = \"all\"\nrestart = \"no\"");
    worlds("", &[("web", &text)], |world| {
        let first = world.pid("web");
        until("its child is the service", || {
            let pid = number(&world.status("web")["pid"]);
            (pid.is_some() && pid != Some(first.into())).then_some(())
        });
        until("the process before has ended", || (!lives(first)).then_some(()));
        let status = world.status("web");
        assert_eq!(status["active"], "active", "{status:#}");
        let second = world.pid("web");
        world.kill_manager();
        assert_eq!(world.until_active("web", "active")["pid"], second);
        kill(second, Signal::SIGKILL);
        let run = &world.history("web", 1)[0];
        assert_eq!((&run["result"], &run["status"]), (&"signal".into(), &"killed by SIGKILL".into()), "{run:#}");
    });
}

pub(crate) fn a_reload_by_signal_waits_until_the_service_says_that_it_is_done() {
    let text = actor::unit("reloads 400", "type = \"notify-reload\"");
    let world = World::with(&[("web", &text)]);
    world.until_active("web", "active");
    let begun = std::time::Instant::now();
    world.ok(&["reload", "web"]);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(world.status("web")["sub"], "running");
    assert_eq!(world.notices("reloaded").len(), 1);
}

pub(crate) fn a_condition_that_says_no_keeps_a_service_down_without_failure() {
    let text = "[service]\nexec_condition = \"/bin/sh -c 'test -e @/go'\"\nexec_start = \"/bin/sleep 1000\"\nrestart = \"always\"\n";
    let world = World::with(&[("web", text)]);
    let status = world.until_status("web", "it was asked", |status| status["result"] == "exec-condition");
    assert_eq!(status["active"], "inactive", "{status:#}");
    let said = world.ok(&["start", "web"]);
    assert!(said.out.contains("exec_condition"), "{said:?}");
    std::fs::write(world.path("go"), "").unwrap();
    world.ok(&["start", "web"]);
    assert_eq!(world.status("web")["active"], "active");
}

pub(crate) fn exit_type_cgroup_keeps_a_service_up_while_any_process_lives() {
    let text = "[service]\nexit_type = \"cgroup\"\nexec_start = \"/bin/sh -c 'setsid sleep 1000 & echo $$! > @/child; exit 3'\"\n";
    worlds("", &[("web", text)], |world| {
        let child: i32 = until("its child is there", || world.lines("child").first()?.parse().ok());
        until("the main process is gone", || world.status("web")["pid"].is_null().then_some(()));
        assert_eq!(world.status("web")["active"], "active");
        kill(child, Signal::SIGKILL);
        let status = world.until_active("web", "failed");
        assert_eq!(status["result"], "exit-code", "{status:#}");
    });
}
