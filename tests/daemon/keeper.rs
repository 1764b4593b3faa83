//! The keeper is killed, again and again, under load, with no init system above it that holds anything.
use std::{
    env, fs,
    os::unix::{fs::MetadataExt, net::UnixListener},
};

use crate::{
    actor,
    manager::{Known, compare_with_truth},
    support::{
        namespace::in_a_pid_namespace,
        process::{self, Signal, kill, lives, pause, stat, until},
        world::{World, free_port},
    },
    {logs, sockets},
};

/// Kills in the long test; `ROUNDSMAN_TEST_KEEPER_KILLS` sets another number.
const KILLS: u32 = 25;
const CRASHING: [&str; 4] = ["crash-a", "crash-b", "crash-c", "crash-d"];
const STEADY: [&str; 2] = ["steady-a", "steady-b"];

pub(crate) fn kill_9_of_the_keeper_again_and_again_doubles_orphans_and_loses_nothing() {
    let mut world = World::new();
    let port = free_port();
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\nlimit_core = 0\n[unit]\nstart_limit_burst = 0";
    for name in CRASHING {
        world.unit(name, &actor::unit(&format!("crash @/truth {name} 10 100"), policy));
    }
    for name in STEADY {
        world.unit(name, &actor::unit(&format!("steady @/truth {name}"), policy));
    }
    world.unit("count", &actor::unit("count 500", policy));
    let listen = format!("\n[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n");
    world.unit("web", &(actor::unit("serve @/mood", policy) + &listen));
    world.start();
    let lasting: Vec<&str> = STEADY.into_iter().chain(["count", "web"]).collect();
    let before: Vec<i32> = lasting.iter().map(|name| world.pid(name)).collect();
    let kills = env::var("ROUNDSMAN_TEST_KEEPER_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    for round in 0..kills {
        pause(u64::from(round * 37 % 120));
        let manager = world.manager();
        if round % 3 == 0 {
            // Both at once.
            kill(manager, Signal::SIGKILL);
        }
        world.kill_keeper();
        assert_eq!(sockets::ask(port).unwrap(), before[3].to_string(), "the socket is open with nobody above");
        until("the manager goes with its keeper", || (!lives(manager)).then_some(()));
        world.start();
    }
    for (name, pid) in lasting.iter().zip(&before) {
        assert_eq!(world.pid(name), *pid, "{name} is what it was before the first kill");
    }
    // The socket is ours again: a death costs nobody who comes then.
    kill(before[3], Signal::SIGKILL);
    until("it is gone", || (!lives(before[3])).then_some(()));
    let answer = sockets::ask(port).unwrap();
    assert_ne!(answer, before[3].to_string());
    let names: Vec<&str> = CRASHING.into_iter().chain(STEADY).chain(["count", "web"]).collect();
    world.ok(&[["stop"].as_slice(), &names].concat());
    let left = process::with_command(&world.path("truth").display().to_string());
    assert!(left.is_empty(), "orphans: {left:?}");
    let restarts = CRASHING.into_iter().chain(STEADY).map(|name| (name, world.status(name)["restarts_total"].as_i64()));
    let restarts: Vec<_> = restarts.collect();
    assert!(world.stop().success(), "the daemon ends in order");
    for (name, restarts) in restarts {
        compare_with_truth(&world, name, restarts.unwrap(), Known::SomeEndsUnknown);
    }
    logs::assert_counted(&world.captured("count"));
}

/// What is told of the time without a keeper is that nobody knows, and never a guess.
pub(crate) fn an_end_that_nobody_saw_is_told_as_it_was_or_as_unknown() {
    let mut world = World::with(&[(
        "web",
        "[service]\nexec_start = \"/bin/sh -c 'trap \\\"exit 9\\\" TERM; while :; do sleep 0.01; done'\"\nrestart = \"always\"\n",
    )]);
    let pid = world.pid("web");
    world.kill_keeper();
    kill(pid, Signal::SIGTERM);
    until("it ended", || (!lives(pid)).then_some(()));
    world.start();
    let run = world.history("web", 1).pop().unwrap();
    let status = run["status"].clone();
    let known = status["code"] == 9 || status.is_null() || status["kind"] == "unknown" || status == "unknown";
    assert!(known || status == "exit code 9", "{run:#}");
    world.until_status("web", "the next run", |status| status["generation"] == 2);
}

/// Who died without a keeper stays a zombie of the init system until that looks after it, and the kernel tells its status.
pub(crate) fn where_the_init_system_reaps_nobody_each_end_is_told_as_it_was() {
    const SERVICES: usize = 100;
    in_a_pid_namespace("keeper::where_the_init_system_reaps_nobody_each_end_is_told_as_it_was", || {
        let mut world = World::new();
        let name = |number: usize| format!("web{number}");
        for number in 0..SERVICES {
            // Half of them end with a code of their own.
            let script = format!("trap \\\"exit {number}\\\" TERM; touch @/up{number}; while :; do sleep 0.2; done");
            world.unit(&name(number), &format!("[service]\nexec_start = \"/bin/sh -c '{script}'\"\n"));
        }
        world.start();
        let pids: Vec<i32> = (0..SERVICES).map(|number| world.pid(&name(number))).collect();
        let is_up = |number: usize| world.path(&format!("up{number}")).exists();
        until("all listen to signals", || (0..SERVICES).all(is_up).then_some(()));
        world.kill_keeper();
        for (number, pid) in pids.iter().enumerate() {
            kill(*pid, if number % 2 == 0 { Signal::SIGTERM } else { Signal::SIGKILL });
        }
        // We are the init system, and reap nobody.
        until("all are zombies", || {
            pids.iter().all(|pid| stat(*pid).is_some_and(|(state, _)| state == 'Z')).then_some(())
        });
        world.start();
        for number in 0..SERVICES {
            let run = world.history(&name(number), 1).pop().unwrap();
            let status = if number % 2 == 0 { format!("exit code {number}") } else { "killed by SIGKILL".to_owned() };
            assert_eq!(run["status"], status, "{run:#}");
        }
        assert!(world.stop().success());
    });
}

/// The tests themselves: nobody would end what outlives the keeper of a test that fails.
pub(crate) fn what_a_dead_keeper_leaves_ends_with_the_test() {
    let mut world = World::with(&[
        ("web", "[service]\nexec_start = \"/bin/sh -c 'setsid sleep 1000 & exec sleep 1000'\"\nrestart = \"always\"\n"),
        ("other", &actor::unit("steady @/truth other", "")),
    ]);
    let (web, other) = (world.pid("web"), world.pid("other"));
    let child = until("its child is there", || process::children(web).first().copied());
    until("it leads a session", || process::command_line(child).starts_with("sleep").then_some(()));
    world.kill_keeper();
    let mut left = world.services();
    left.sort_unstable();
    let mut all = vec![web, child, other];
    all.sort_unstable();
    assert_eq!(left, all);
    drop(world);
    until("all are gone", || all.iter().all(|pid| !lives(*pid)).then_some(()));
}

/// A keeper of another boot takes over nothing: pids mean nothing any more.
pub(crate) fn after_a_reboot_nothing_is_taken_over_and_everything_starts() {
    process::need_root("it shows another boot id");
    let mut world = World::new();
    world.unit("web", &actor::unit("steady @/truth web", "restart = \"always\""));
    let boot = |world: &World, id: &str| {
        fs::write(world.path("boot_id"), format!("{id}\n")).unwrap();
        let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
        let mut command = process::command("unshare");
        let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(world.path("boot_id"));
        command.arg(env!("CARGO_BIN_EXE_supervisord")).arg("--config").arg(world.path("roundsman.toml"));
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    };
    let first = boot(&world, "11111111-1111-1111-1111-111111111111");
    world.adopt(first);
    world.await_answer();
    let pid = world.pid("web");
    until("its row is on disk", || (!world.history("web", 0).is_empty()).then_some(()));
    world.kill_keeper();
    // It goes on, which after a boot it could not; whoever took it over would show its pid.
    let second = boot(&world, "22222222-2222-2222-2222-222222222222");
    world.adopt(second);
    world.await_answer();
    let status = world.until_active("web", "active");
    assert_ne!(status["pid"], pid);
    assert_eq!(status["generation"], 2);
    kill(pid, Signal::SIGKILL);
}

/// A keeper that dies with an order to start unread leaves a manager that has written the start down already.
pub(crate) fn a_start_of_which_nobody_will_hear_is_over_at_the_next_one() {
    let mut world = World::with(&[("web", &actor::unit("steady @/truth web", ""))]);
    world.until_active("web", "active");
    assert!(world.stop().success());
    let started =
        "INSERT INTO invocations (unit, generation, invocation, cause, started_at) VALUES ('web', 2, ?1, 'boot', 1)";
    let written = rusqlite::Connection::open(world.path("state/state.db")).unwrap();
    written.execute(started, ["0123456789abcdef0123456789abcdef"]).unwrap();
    drop(written);
    world.start();
    world.until_status("web", "the next run", |status| status["generation"] == 3 && status["active"] == "active");
    assert!(world.log().contains("manager is up (boot): 0 runs taken over, 0 exits had waited"), "{}", world.log());
    assert!(!world.log().contains(" 1 exits had waited"), "what was written down at the end is not told again");
    let rows = world.history("web", 2);
    let row = rows.iter().find(|row| row["generation"] == 2).unwrap();
    assert_eq!((&row["result"], &row["status"]), (&"unknown".into(), &"exit status unknown".into()), "{row:#}");
    assert!(world.stop().success());
}

/// A manager that was killed, or a child that has not come to its exec, has the API's socket open for a moment longer.
pub(crate) fn a_control_socket_that_the_dead_have_open_still_is_replaced() {
    let mut world = World::with(&[("web", &actor::unit("steady @/truth web", ""))]);
    world.kill_keeper();
    let socket = world.path("run/control.sock");
    fs::remove_file(&socket).unwrap();
    let dying = UnixListener::bind(&socket).unwrap();
    let inode = || fs::metadata(&socket).map_or(0, |found| found.ino());
    let old = inode();
    world.spawn();
    // Whoever asked before would wait for what nobody answers.
    until("it is replaced", || (![0, old].contains(&inode())).then_some(()));
    drop(dying);
    world.await_answer();
    world.until_active("web", "active");
    assert!(world.stop().success());
    assert!(!socket.exists());
}

/// With a service that lives the daemon does not end for it: it tries again, and says each time why it cannot.
pub(crate) fn a_manager_that_cannot_begin_says_why_before_it_is_ended() {
    let mut world = World::with(&[("web", &actor::unit("steady @/truth web", ""))]);
    let pid = world.pid("web");
    world.kill_keeper();
    let socket = world.path("run/control.sock");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "a file").unwrap();
    world.spawn();
    let ended = || world.log().matches("the manager ended").count();
    until("it was tried three times", || (ended() >= 3).then_some(()));
    let reasons = world.log().matches("control.sock: a file that is no socket is in the way").count();
    assert!(reasons >= 3, "{}", world.log());
    fs::remove_file(&socket).unwrap();
    world.await_answer();
    assert_eq!(world.pid("web"), pid);
    assert!(world.stop().success());
}
