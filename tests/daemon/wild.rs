//! Services that signal whomever they can, in a pid namespace where the daemon is the first process: nobody outside can be
//! meant.
use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Stdio,
};

use crate::{
    actor,
    support::{
        process::{self, children, command_line, lives, need_root, until},
        world::World,
    },
};

/// Ends of each service at the least, before its harm is looked at.
const DEATHS: u64 = 10;

/// A script that does its worst in any pid namespace but ours.
fn script(world: &World, name: &str, worst: &str) -> String {
    let path = world.path(name);
    let ours = fs::read_link("/proc/self/ns/pid").unwrap();
    let guard = format!("test \"$(readlink /proc/self/ns/pid)\" != \"{}\" || exit 1", ours.display());
    fs::write(&path, format!("{guard}\n{worst}\n")).unwrap();
    let policy =
        "restart = \"always\"\nrestart_sec = \"20ms\"\n[unit]\nstart_limit_burst = 0\n[install]\nenabled = false\n";
    format!("[service]\nexec_start = \"/bin/sh {}\"\n{policy}", path.display())
}

/// supervisord as the first process of a pid namespace; its pid out here.
fn start(world: &mut World) -> i32 {
    let log = File::create(world.path("daemon.log")).unwrap();
    let mut command = process::command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(env!("CARGO_BIN_EXE_supervisord"));
    command.arg("--config").arg(world.path("roundsman.toml")).stdin(Stdio::null());
    // A namespace does not part a process group: nobody else is in this one.
    command.process_group(0);
    world.adopt(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    world.await_answer();
    let unshare = world.keeper();
    until("it is there", || children(unshare).first().copied())
}

fn manager_of(keeper: i32) -> i32 {
    let is_manager = |pid: &i32| lives(*pid) && command_line(*pid).starts_with("supervisord manager");
    until("there is a manager", || children(keeper).into_iter().find(is_manager))
}

pub(crate) fn a_service_that_kills_all_it_may_kills_neither_keeper_nor_manager_and_no_others_service() {
    need_root("it makes a pid namespace");
    let mut world = World::new();
    fs::set_permissions(world.folder.path(), Permissions::from_mode(0o755)).unwrap();
    world.unit("group", &script(&world, "group.sh", "kill -9 0"));
    // As a user of its own it may signal whoever has that user.
    let wild = script(&world, "wild.sh", "kill -9 -1; kill -9 1; exit 7");
    world.unit("wild", &wild.replace("[service]\n", "[service]\nuser = \"nobody\"\n"));
    world.unit("web", &actor::unit("steady @/truth web", "restart = \"always\"\nrestart_sec = \"10ms\""));
    let keeper = start(&mut world);
    let (manager, web) = (manager_of(keeper), world.pid("web"));
    until("it lives", || (world.lines("truth").len() == 1).then_some(()));
    for name in ["group", "wild"] {
        world.ok(&["start", "--no-wait", name]);
        world.until_status(name, "it died again and again", |status| status["generation"].as_u64() > Some(DEATHS));
        world.ok(&["stop", name]);
    }
    assert!(world.history("wild", 2).iter().any(|run| run["status"] == "exit code 7"), "it did its worst and lived on");
    assert!(world.history("group", 2).iter().any(|run| run["status"] == "killed by SIGKILL"));
    assert!(lives(keeper));
    assert_eq!((manager_of(keeper), world.pid("web"), world.lines("truth").len()), (manager, web, 1));
    assert_eq!(world.status("web")["generation"], 1);
    assert!(world.log().matches("manager_started").count() == 1, "{}", world.log());
    end(world, keeper);
}

/// Root may kill everyone but the first process: the manager and all services die again and again, and come back.
pub(crate) fn a_service_of_roots_that_kills_everyone_leaves_a_keeper_that_brings_all_back() {
    need_root("it makes a pid namespace");
    let mut world = World::new();
    world.unit("wild", &script(&world, "wild.sh", "kill -9 -1; kill -9 1; exit 7"));
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\n[unit]\nstart_limit_burst = 0";
    world.unit("web", &actor::unit("steady @/truth web", policy));
    let keeper = start(&mut world);
    let first = manager_of(keeper);
    until("it lives", || (world.lines("truth").len() == 1).then_some(()));
    world.ok(&["start", "--no-wait", "wild"]);
    let truth = || u64::try_from(world.lines("truth").len()).unwrap();
    // A service may die before it can say a word, and its manager before it has written a row.
    let deaths = || world.log().matches("manager_started").count();
    until("all died again and again", || (u64::try_from(deaths()).unwrap() > DEATHS).then_some(()));
    // Whoever is asked may be killed before it answers.
    until("it is stopped", || (world.ctl(&["stop", "wild"]).code == 0).then_some(()));
    assert!(lives(keeper) && !lives(first), "{}", world.log());
    world.until_active("web", "active");
    let command = format!("steady {} web", world.path("truth").display());
    let running = until("there is one", || Some(process::with_command(&command)).filter(|found| found.len() == 1));
    let status = world.status("web");
    let own = format!(" {}", status["pid"]);
    until("it has said so", || world.lines("truth").last().filter(|line| line.ends_with(&own)).cloned());
    // Some were killed before they could say a word.
    let runs = status["generation"].as_u64().unwrap();
    assert!(truth() <= runs, "a run that nobody counted: {status:#}");
    assert_eq!(status["restarts_total"].as_u64(), Some(runs - 1), "each run is counted: {status:#}");
    assert_eq!(process::with_command(&command), running);
    end(world, keeper);
}

fn end(mut world: World, keeper: i32) {
    process::kill(keeper, process::Signal::SIGTERM);
    assert_eq!(world.await_end().code(), Some(0), "{}", world.log());
}
