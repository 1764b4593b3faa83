//! Files that are wrong: each is named, and what runs goes on.
use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use crate::support::{
    process::{Signal, lives, until},
    world::World,
};

const SLEEP: &str = "[service]\nexec_start = \"sleep 1000\"\n";

/// What `supervisord --check` says.
fn check(world: &World) -> (Output, String) {
    let output = world.command().arg("--check").output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output, said)
}

/// A running daemon with a good unit, to which these bad files come. The check fails, a reload is refused, and both say
/// all of `wanted`; the good unit runs on as before.
fn refused(files: &[(&str, &str)], wanted: &[&str]) {
    let world = World::with(&[("good", SLEEP)]);
    let pid = world.pid("good");
    for (name, text) in files {
        world.unit(name, text);
    }
    refused_in(&world, wanted);
    assert_eq!(world.pid("good"), pid);
    assert_eq!(world.ok(&["list", "--names"]).out.trim(), "good", "all or nothing");
}

fn refused_in(world: &World, wanted: &[&str]) {
    let root = format!("{}/", world.path("units").display());
    let (output, said) = check(world);
    assert!(!output.status.success(), "{said}");
    let reload = world.ctl(&["reload-config"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    for text in wanted {
        let text = text.replace("@/", &root);
        assert!(said.contains(&text), "--check does not say {text:?}:\n{said}");
        assert!(reload.err.contains(&text), "reload-config does not say {text:?}:\n{}", reload.err);
    }
    assert_eq!(world.until_notices("config_rejected", 1).len(), 1);
}

pub(crate) fn what_this_host_has_not_is_refused_at_its_line_with_all_else_that_is_wrong() {
    let probe = |name: &str, line: &str| format!("[[health]]\nname = \"{name}\"\n{line}\n");
    let world = World::with(&[("good", SLEEP)]);
    let at = |name: &str| world.path(name).display().to_string();
    super::health::certificates(&world, 20);
    fs::set_permissions(world.path("own.key"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(world.path("text.pem"), "hello\n").unwrap();
    let tls = |keys: &str| format!("tcp = {{ address = \"a:1\", tls = {{ {keys} }} }}");
    let bad = format!(
        "{SLEEP}user = \"no-such-user\"\ngroup = \"no-such-group\"\nrestrat = 1\n{}{}{}",
        probe("ca", &tls(&format!("ca_file = \"{}\"", at("text.pem")))),
        probe("key", &tls(&format!("cert_file = \"{}\", key_file = \"{}\"", at("own.pem"), at("own.key")))),
        probe("other", &tls(&format!("cert_file = \"{}\", key_file = \"{}\"", at("own.pem"), at("ca.key")))),
    );
    world.unit("bad", &bad);
    let wanted = [
        "@/bad.toml:3:8: error: cannot find user \"no-such-user\"",
        "@/bad.toml:4:9: error: cannot find group \"no-such-group\"",
        "@/bad.toml:5:1: error: unknown key \"restrat\"",
        "@/bad.toml:8:44: error: the probe \"ca\" cannot ask: cannot use ca_file",
        "it holds no certificate",
        ": error: the probe \"key\" cannot ask: cannot use key_file: ",
        "has mode 0640",
        ": error: the probe \"other\" cannot ask: cannot use cert_file",
    ];
    refused_in(&world, &wanted);
    let lint = world.ctl(&["lint", world.path("units").to_str().unwrap()]);
    for text in wanted {
        let text = text.replace("@/", &format!("{}/", world.path("units").display()));
        let text = if text.contains("restrat") { text } else { text.replace(": error: ", ": warning: ") };
        assert!(lint.out.contains(&text), "lint does not say {text:?}:\n{}", lint.out);
    }
    assert_eq!(lint.code, 1, "{lint:?}");
    world.unit("bad", &bad.replace("restrat = 1\n", ""));
    assert_eq!(world.ctl(&["lint", world.path("units").to_str().unwrap()]).code, 0, "files of another host");
    let mut world = world;
    world.stop();
    let output = world.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("bad.toml:3:8: error: cannot find user"), "{said}");
}

pub(crate) fn a_program_that_is_missing_is_named_with_step_and_cause() {
    let world = World::new();
    let file = world.path("not-executable");
    fs::write(&file, "#!/bin/sh\nsleep 1000\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut world = world;
    world.unit("missing", "[service]\ntype = \"exec\"\nexec_start = \"/no/such/program\"\n");
    world.unit("nowhere", "[service]\ntype = \"exec\"\nexec_start = \"no-such-program-in-path\"\n");
    world.unit("barred", "[service]\ntype = \"exec\"\nexec_start = \"@/not-executable\"\n");
    world.unit(
        "folder",
        "[service]\ntype = \"exec\"\nexec_start = \"sleep 1000\"\nworking_directory = \"/no/such/folder\"\n",
    );
    world.unit("good", SLEEP);
    world.start();
    world.until_active("good", "active");
    for (unit, step, errno, code) in [
        ("missing", "exec", 2, 203),
        ("nowhere", "exec", 2, 203),
        ("barred", "exec", 13, 203),
        ("folder", "chdir", 2, 200),
    ] {
        let status = world.until_active(unit, "failed");
        assert_eq!(status["result"], "exit-code", "as systemd tells it: {status:#}");
        assert_eq!(status["last_exit"], format!("exit code {code}"), "{status:#}");
        let notice =
            until("it is told", || world.notices("spawn_failed").into_iter().find(|told| told["unit"] == unit));
        assert_eq!(
            (&notice["fields"]["step"], &notice["fields"]["errno"]),
            (&step.into(), &errno.into()),
            "{notice:#}"
        );
        let started = world.ctl(&["start", unit]);
        assert_eq!(started.code, 1, "{started:?}");
        let why = world.ok(&["why", unit]).out;
        assert!(why.contains(step), "{why}");
    }
}

pub(crate) fn a_user_that_is_not_there_is_refused_at_load() {
    refused(
        &[("bad", "[service]\nexec_start = \"sleep 1\"\nuser = \"no-such-user\"\n")],
        &["@/bad.toml", "no-such-user"],
    );
}

pub(crate) fn what_cannot_be_read_is_named() {
    let world = World::with(&[("good", SLEEP)]);
    let pid = world.pid("good");
    fs::create_dir(world.unit_path("folder")).unwrap();
    nix::unistd::mkfifo(&world.unit_path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(world.unit_path("bytes"), [b'#', 0xff, 0xfe]).unwrap();
    std::os::unix::fs::symlink("/nowhere", world.unit_path("dangling")).unwrap();
    refused_in(&world, &["@/folder.toml", "@/pipe.toml", "@/bytes.toml", "@/dangling.toml"]);
    assert_eq!(world.pid("good"), pid);
}

pub(crate) fn a_circle_is_refused_by_its_names() {
    let after = |name: &str| format!("[unit]\nafter = [\"{name}\"]\n{SLEEP}");
    refused(&[("a", &after("b")), ("b", &after("c")), ("c", &after("a"))], &["a -> b -> c -> a"]);
}

pub(crate) fn every_mistake_is_named_at_once_with_its_place_and_the_likely_word() {
    refused(
        &[
            ("one", "[service]\nexec_start = \"sleep 1\"\nrestrat = \"always\"\n"),
            ("two", "[service]\nexec_start = \"sleep 1\"\nrestart = \"alwyas\"\n[unit]\nrequires = [\"three\"]\n"),
            ("syntax", "[service\n"),
        ],
        &["@/one.toml:3:1", "restrat", "did you mean \"restart\"?", "@/two.toml:3:11", "always", "@/syntax.toml:1:"],
    );
}

pub(crate) fn units_that_are_broken_when_the_manager_starts_anew_run_on_as_they_were() {
    let world = World::with(&[("good", SLEEP), ("other", SLEEP)]);
    let pids = [world.pid("good"), world.pid("other")];
    world.unit("good", "[service\n");
    fs::remove_file(world.unit_path("other")).unwrap();
    world.kill_manager();
    world.until_notices("config_rejected", 1);
    assert_eq!([world.pid("good"), world.pid("other")], pids);
    assert!(pids.iter().all(|pid| lives(*pid)));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    world.until_active("good", "failed");
    world.ok(&["start", "good"]);
    world.unit("good", SLEEP);
    world.ok(&["reload-config"]);
    until("the removed one is stopped", || (!lives(pids[1])).then_some(()));
}

pub(crate) fn a_daemon_that_has_nothing_to_go_on_with_ends_with_78() {
    let mut world = World::new();
    world.unit("bad", "[service]\nexec_strat = \"sleep 1\"\n");
    world.spawn();
    let status = world.await_end();
    assert_eq!(status.code(), Some(78), "{}", world.log());
    assert!(world.log().contains("exec_start"), "{}", world.log());
    world.settings("[log]\nkeeep = 3\n");
    world.spawn();
    assert_eq!(world.await_end().code(), Some(78), "{}", world.log());
    assert!(world.log().contains("roundsman.toml:") && world.log().contains("keeep"), "{}", world.log());
}
