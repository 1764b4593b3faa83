//! What comes between an order to start and the first instruction of the program fails: the program does not run, and people
//! are told where it failed, why, and on what.
use std::{
    env,
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use serde_json::Value;

use crate::support::{
    process::{PATIENCE, need_root, until, until_within},
    refusal::Refusal,
    world::World,
};

/// Starts of the long test that fail on the way to their user, at least; `ROUNDSMAN_TEST_SET_UPS` sets another number.
const SET_UPS: usize = 60;
/// Services that are tried at once.
const SERVICES: usize = 20;
/// nobody's.
const UID: &str = "65534";

/// Whatever it may be told, the unit ends as one does whose program did not run, and says so.
fn is_told(world: &World, unit: &str, (step, errno, code): (&str, i32, u8), parts: &[&str]) {
    let status = world.until_active(unit, "failed");
    let end = (status["result"].as_str(), status["last_exit"].as_str());
    assert_eq!(end, (Some("exit-code"), Some(&*format!("exit code {code}"))), "as systemd tells it: {status:#}");
    assert_eq!(status["starts_in_window"], 1, "a start that failed is a start: {status:#}");
    let said = status["spawn_failure"].as_str().unwrap_or_else(|| panic!("{status:#}"));
    assert!(parts.iter().chain(&[step]).all(|part| said.contains(part)), "{said}");
    let notice = until("it is told", || world.notices("spawn_failed").into_iter().find(|told| told["unit"] == unit));
    let told = (notice["fields"]["step"].as_str(), notice["fields"]["errno"].as_i64());
    assert_eq!(told, (Some(step), Some(errno.into())), "{notice:#}");
    let shown = world.ctl(&["status", unit]).out;
    assert!(shown.contains(said), "{shown}");
}

pub(crate) fn a_program_that_cannot_be_run_is_told_by_kind_and_path_and_no_shell_tries_it() {
    let world = World::new();
    let file = |name: &str, text: &str, mode: u32| {
        let path = world.path(name);
        fs::write(&path, text.replace('@', world.folder.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    // A shell would run each of them that it could read.
    let words = "touch @/it-ran\nexec sleep 1000\n";
    let script = format!("#!/bin/sh\n{words}");
    file("barred", &script, 0o644);
    file("plain", words, 0o755);
    file("lost", &format!("#!/no/such/interpreter\n{words}"), 0o755);
    let busy = fs::copy("/bin/sleep", world.path("busy")).map(|_| world.path("busy")).unwrap();
    let _writer = File::options().append(true).open(&busy).unwrap();
    symlink(world.path("circle"), world.path("circle")).unwrap();
    file("large", &script, 0o755);
    // One string may have 128 KiB, execve(2).
    let much = format!("environment = {{ MUCH = \"{}\" }}\n", "x".repeat(200 << 10));
    let kinds = [
        ("missing", libc::ENOENT, "no such file or directory"),
        ("barred", libc::EACCES, "permission denied"),
        ("plain", libc::ENOEXEC, "exec format error"),
        ("lost", libc::ENOENT, "no such file or directory"),
        ("busy", libc::ETXTBSY, "text file busy"),
        ("circle", libc::ELOOP, "too many levels of symbolic links"),
        ("large", libc::E2BIG, "argument list too long"),
    ];
    let mut world = world;
    for (name, ..) in kinds {
        let more = if name == "large" { much.as_str() } else { "" };
        world.unit(name, &format!("[service]\ntype = \"exec\"\nexec_start = \"@/{name} 1000\"\n{more}"));
    }
    let again =
        "restart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 3\nstart_limit_interval_sec = \"1h\"\n";
    world.unit("again", &format!("[service]\nexec_start = \"@/plain 1000\"\n{again}"));
    world.start();
    for (name, errno, reason) in kinds {
        let path = world.path(name);
        is_told(&world, name, ("exec", errno, 203), &["exec_start", path.to_str().unwrap(), reason]);
        let started = world.ctl(&["start", name]);
        assert_eq!(started.code, 1, "{started:?}");
        assert!(world.ok(&["why", name]).out.contains(reason));
    }
    // It is tried as often as the unit allows, and each time counts.
    let status = world.until_active("again", "failed");
    assert_eq!((status["result"].as_str(), status["generation"].as_i64()), (Some("start-limit-hit"), Some(3)));
    assert_eq!((status["starts_in_window"].as_i64(), status["restarts_total"].as_i64()), (Some(3), Some(2)));
    assert!(world.history("again", 3).iter().all(|run| run["status"] == "exit code 203"));
    assert!(!world.path("it-ran").exists(), "nobody else ran it");
    assert!(world.stop().success());
}

pub(crate) fn a_set_up_that_the_kernel_refuses_is_told_by_step_and_its_program_does_not_run() {
    need_root("its services become other users");
    let nobody = "user = \"nobody\"\n";
    let ambient = "user = \"nobody\"\nambient_capabilities = [\"CAP_NET_BIND_SERVICE\"]\n";
    let bounded = "capability_bounding_set = [\"CAP_NET_BIND_SERVICE\"]\n";
    let cases = [
        ("setgroups", libc::EPERM, nobody, "groups", 216),
        ("setresgid", libc::EAGAIN, nobody, "group", 216),
        ("setresuid", libc::EPERM, nobody, "user", 217),
        ("setresuid", libc::EAGAIN, nobody, "user", 217),
        ("capset", libc::EPERM, ambient, "capabilities", 218),
        ("prctl", libc::EPERM, ambient, "capabilities", 218),
        ("prctl", libc::EPERM, bounded, "bounding-set", 218),
        ("prctl", libc::EACCES, "secure_bits = [\"no-setuid-fixup\"]\n", "secure-bits", 213),
        ("prctl", libc::EPERM, "no_new_privileges = true\n", "no-new-privileges", 227),
        ("prlimit64", libc::EPERM, "limit_core = 0\n", "limits", 205),
        ("setsid", libc::EPERM, "", "session", 220),
        ("chdir", libc::EIO, "working_directory = \"/tmp\"\n", "chdir", 200),
        ("execve", libc::EIO, "", "exec", 203),
    ];
    let mut world = world_with_diary();
    let unit = |number: usize| format!("case{number}");
    for (number, (_, _, more, ..)) in cases.iter().enumerate() {
        let install = "[install]\nenabled = false\n";
        world.unit(&unit(number), &format!("[service]\ntype = \"exec\"\nexec_start = {:?}\n{more}{install}", tells()));
    }
    world.start();
    let keeper = world.keeper();
    for (number, (call, errno, _, step, code)) in cases.iter().enumerate() {
        let refusal = Refusal::of_children(&world, keeper, call, &errno.to_string());
        let started = world.ctl(&["start", &unit(number)]);
        assert_eq!(started.code, 1, "{call}: {started:?}");
        is_told(&world, &unit(number), (step, *errno, *code), &["exec_start", "/bin/sh"]);
        assert!(refusal.count() > 0, "{call} was refused");
        drop(refusal);
        assert_eq!(world.lines("diary/ran"), Vec::<String>::new(), "{call}: it ran");
    }
    // Nothing else is wrong with them.
    for number in 0..cases.len() {
        world.ok(&["start", &unit(number)]);
        assert_eq!(world.status(&unit(number))["spawn_failure"], Value::Null);
    }
    until("all have run", || (world.lines("diary/ran").len() == cases.len()).then_some(()));
    assert!(world.stop().success());
}

pub(crate) fn a_service_that_cannot_become_its_user_never_runs_as_another() {
    need_root("its services become other users");
    let wanted = env::var("ROUNDSMAN_TEST_SET_UPS").map_or(SET_UPS, |text| text.parse().unwrap());
    let mut world = world_with_diary();
    let policy = "user = \"nobody\"\nrestart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0\n";
    for number in 0..SERVICES {
        let install = "[install]\nenabled = false\n";
        world.unit(&format!("web{number}"), &format!("[service]\nexec_start = {:?}\n{policy}{install}", tells()));
    }
    world.start();
    let names: Vec<String> = (0..SERVICES).map(|number| format!("web{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let calls = [("setresuid", "EPERM"), ("setresuid", "EAGAIN"), ("setresgid", "EPERM"), ("setgroups", "EPERM")];
    let mut refused = 0;
    for (call, error) in calls {
        let refusal = Refusal::of_children(&world, world.keeper(), call, error);
        world.ctl(&[["start", "--no-wait"].as_slice(), &names].concat());
        let enough = wanted.div_ceil(calls.len());
        until_within(PATIENCE * 3, "enough were refused", || (refusal.count() >= enough).then_some(()));
        world.ok(&[["stop"].as_slice(), &names].concat());
        refused += refusal.count();
    }
    assert_eq!(world.lines("diary/ran"), Vec::<String>::new(), "it ran");
    let starts: i64 = names.iter().map(|name| world.status(name)["generation"].as_i64().unwrap()).sum();
    println!("{refused} changes of user refused in {starts} starts, none ran");
    assert!(refused >= wanted);
    world.ok(&[["start"].as_slice(), &names].concat());
    until("all have run", || (world.lines("diary/ran").len() == names.len()).then_some(()));
    assert!(world.lines("diary/ran").iter().all(|uid| uid == UID), "{:?}", world.lines("diary/ran"));
    assert!(world.stop().success());
}

/// A program that writes down that it runs, and as whom.
fn tells() -> String {
    "/bin/sh -c 'id -u >> @/diary/ran; exec sleep 1000'".to_owned()
}

/// A world where every user may write down that it runs.
fn world_with_diary() -> World {
    let world = World::new();
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    open(world.folder.path());
    fs::create_dir(world.path("diary")).unwrap();
    fs::write(world.path("diary/ran"), "").unwrap();
    open(&world.path("diary"));
    // Also for root without its capabilities.
    fs::set_permissions(world.path("diary/ran"), Permissions::from_mode(0o666)).unwrap();
    world
}
