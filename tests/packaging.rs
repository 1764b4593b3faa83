//! What ships beside the programs is accepted by those who read it.
#![expect(clippy::expect_used, reason = "a helper of tests stops the test")]

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

/// What systemd says about our unit with `text`, its program being the one built here.
#[expect(clippy::disallowed_methods, reason = "asks systemd")]
fn verified(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("roundsman.service");
    let program = folder.path().join("supervisord");
    symlink(env!("CARGO_BIN_EXE_supervisord"), &program).expect("a link");
    fs::write(&unit, text.replace("/usr/bin/supervisord", program.to_str().expect("UTF-8"))).expect("written");
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
    let said = verify.expect("systemd-analyze is in the Debian package systemd");
    // It may complain about other units of this machine, which are none of our business.
    let stderr = String::from_utf8_lossy(&said.stderr);
    let mut about_us: Vec<_> = stderr.lines().filter(|line| line.contains("roundsman.service")).collect();
    if !said.status.success() && about_us.is_empty() {
        about_us.push(&stderr);
    }
    about_us.join("\n")
}

fn shipped_unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/roundsman.service")).expect("shipped")
}

#[test]
fn systemd_understands_every_line_of_our_unit() {
    assert_eq!(verified(&shipped_unit()), "");
}

#[test]
fn systemd_would_say_if_it_did_not() {
    let unknown_key = shipped_unit().replace("WatchdogSec=", "WatchdogSecs=");
    assert!(verified(&unknown_key).contains("WatchdogSecs"), "{}", verified(&unknown_key));
    let bad_value = shipped_unit().replace("KillMode=process", "KillMode=proces");
    assert!(verified(&bad_value).contains("proces"), "{}", verified(&bad_value));
}

/// No option is needed: the paths that the unit makes are the ones that the daemon has for root.
#[test]
fn the_directories_of_our_unit_are_the_daemons() {
    let places = roundsman::base::Places::of(0, |_| None);
    let unit = shipped_unit();
    for (key, root, path) in
        [("Runtime", "/run", &places.runtime), ("State", "/var/lib", &places.state), ("Logs", "/var/log", &places.logs)]
    {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{key}Directory="))).expect("a directory");
        assert_eq!(&Path::new(root).join(line), path);
    }
}
