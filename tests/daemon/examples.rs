//! The units that people copy do what they say.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::support::{
    process::{self, Signal, kill, until},
    world::World,
};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of `units/examples`, as they are; their programs, users and waits are changed by drop-ins, as people do.
fn world() -> World {
    let mut world = World::new();
    for file in fs::read_dir(shipped("units/examples")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), world.path("units").join(file.file_name())).unwrap();
    }
    let quick = "[service]\nexec_start = [\"\", \"/bin/sleep 1000\"]\nworking_directory = \"/\"\nuser = \"root\"\n\
                 restart_sec = \"50ms\"\n[[health]]\nname = \"live\"\non_unhealthy = \"none\"\n";
    let failures = format!("[service]\nenvironment = [\"FAILURES={}\"]\n", world.path("failures").display());
    for (unit, text) in [("web-backend", quick), ("web-frontend", quick), ("notify-failure@", &failures)] {
        let folder = world.path(&format!("units/{unit}.toml.d"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("test.toml"), text).unwrap();
    }
    world.start();
    world
}

pub(crate) fn a_service_that_people_copy_comes_back_four_times_and_is_then_given_up_and_told() {
    let world = world();
    let frontend = world.pid("web-frontend");
    // A hook that waits for its call is not down.
    until("all are up", || world.ctl(&["status"]).code.eq(&0).then_some(()));
    let mut last = 0;
    for start in 1..=5 {
        let pid = until("the next run", || world.try_pid("web-backend").filter(|pid| *pid != last));
        assert!(world.lines("failures").is_empty(), "told before its end, at start {start}");
        kill(pid, Signal::SIGKILL);
        last = pid;
    }
    let failed = world.until_active("web-backend", "failed");
    assert_eq!((&failed["result"], &failed["generation"]), (&"start-limit-hit".into(), &5.into()), "{failed:#}");
    let told = until("the hook ran", || Some(world.lines("failures")).filter(|lines| !lines.is_empty()));
    assert!(told[0].ends_with(" web-backend failed: start-limit-hit, last exit killed KILL"), "{told:?}");
    assert_eq!(world.pid("web-frontend"), frontend, "the other lives on");
    world.ok(&["reset", "web-backend"]);
    world.ok(&["start", "web-backend"]);
    world.until_active("web-backend", "active");
    assert_eq!(world.lines("failures").len(), 1, "told once");
}

pub(crate) fn what_the_shipped_files_say_without_a_drop_in_is_ten_seconds_and_five_starts_in_three_hundred() {
    let mut world = World::new();
    for file in ["web-backend.toml", "web-frontend.toml", "notify-failure@.toml"] {
        fs::copy(shipped("units/examples").join(file), world.path("units").join(file)).unwrap();
    }
    let linted = world.ok(&["lint", world.path("units").to_str().unwrap()]);
    assert!(linted.out.contains("0 errors, 0 warnings"), "{linted:?}");
    for unit in ["web-backend", "web-frontend"] {
        let folder = world.path(&format!("units/{unit}.toml.d"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("off.toml"), "[install]\nenabled = false\n").unwrap();
    }
    world.start();
    for unit in ["web-backend", "web-frontend"] {
        let said = world.ok(&["show", unit]).out;
        for line in ["restart=always", "restart_sec=10s", "start_limit_interval_sec=5min", "start_limit_burst=5"] {
            assert!(said.lines().any(|other| other == line), "{line} is not in\n{said}");
        }
        assert!(said.contains(&format!("on_failure=notify-failure@{unit}")), "{said}");
    }
}

pub(crate) fn the_line_for_cron_writes_what_it_found_and_says_it_by_its_exit_code() {
    let world = world();
    world.until_active("web-backend", "active");
    world.until_active("web-frontend", "active");
    let text = fs::read_to_string(shipped("packaging/cron.d/roundsman")).unwrap();
    let line = text.lines().find(|line| line.starts_with("*/5 ")).unwrap();
    // Five fields of time, the user, and what cron gives to the shell.
    let command = line.splitn(7, ' ').nth(6).unwrap();
    let guide = fs::read_to_string(shipped("docs/guide/common.md")).unwrap();
    assert!(guide.contains(&format!("*/5 * * * * {command}\n")), "the guide has the same line");
    let log = world.path("health.log");
    let command = command.replace("/var/log/roundsman/health.log", log.to_str().unwrap());
    let folder = Path::new(env!("CARGO_BIN_EXE_supervisorctl")).parent().unwrap();
    let mut cron = process::command("/bin/sh");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    cron.args(["-c", &command]).env_clear().env("PATH", path).env("ROUNDSMAN_SOCKET", world.path("run/control.sock"));
    let status = cron.stdin(Stdio::null()).status().unwrap();
    // Nobody serves there: each probe says so, and the drop-in lets that be no reason for a restart.
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains(" - web-")).count(), 2, "{lines}");
    assert_eq!(status.code(), Some(1), "{lines}");
}
