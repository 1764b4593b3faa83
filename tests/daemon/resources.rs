//! What units ask of the machine, on the control groups of this host. A controller that is not here is one that the daemon
//! has to name.
use std::{fs, path::PathBuf, time::Duration};

use crate::support::{
    process::{self, PATIENCE, Signal, kill, lives, need_root, until, until_within},
    world::World,
};

const ON: &str = "[cgroup]\nmode = \"on\"\n";

/// A world whose units get cgroups.
fn world(units: &[(&str, &str)]) -> World {
    need_root("it makes cgroups");
    let mut world = World::new();
    world.settings(ON);
    for (name, text) in units {
        world.unit(name, text);
    }
    world.start();
    world
}

/// What the host lacks of what the unit asks for, if anything.
fn unmet(world: &World, unit: &str) -> Option<String> {
    world.status(unit)["resources_unmet"].as_str().map(str::to_owned)
}

/// Whether the daemon can have the controller, as it says itself; a test without it has nothing more to see.
fn has(world: &World, unit: &str, controller: &str) -> bool {
    match unmet(world, unit) {
        None => true,
        Some(text) => {
            let expected = format!("no {} controller", controller);
            assert!(text.contains(&expected), "{text}");
            println!("not here: {text}");
            false
        }
    }
}

/// The control files of the unit, of either version.
fn dir(world: &World, unit: &str, file: &str) -> PathBuf {
    let mut all: Vec<PathBuf> = world.old_cgroups();
    all.extend(world.cgroup());
    let found = all.iter().map(|base| base.join(unit)).find(|dir| dir.join(file).exists());
    found.unwrap_or_else(|| panic!("no {file} in {all:?}"))
}

fn read(world: &World, unit: &str, file: &str) -> String {
    fs::read_to_string(dir(world, unit, file).join(file)).unwrap().trim().to_owned()
}

pub(crate) fn a_service_that_takes_too_much_memory_is_ended_by_the_kernel_and_said_to_be_so() {
    // tail keeps the last line, and that has no end.
    let eats = "[service]\nexec_start = \"tail /dev/zero\"\nrestart = \"on-abnormal\"\nrestart_sec = \"200ms\"\n\
                memory_max = \"24M\"\nmemory_swap_max = 0\n[unit]\nstart_limit_burst = 2\n";
    let world = world(&[("eater", eats), ("calm", "[service]\nexec_start = \"sleep infinity\"\n")]);
    let calm = world.pid("calm");
    if !has(&world, "eater", "memory") {
        return;
    }
    let runs = world.history("eater", 2);
    for run in &runs[..2] {
        assert_eq!((&run["result"], &run["status"]), (&"oom-kill".into(), &"killed by SIGKILL".into()), "{run:#}");
    }
    world.until_active("eater", "failed");
    assert_eq!(world.notices("oom_killed").len(), 2, "one word for each");
    assert!(lives(calm), "nobody else is harmed");
    // SIGKILL of anybody else is no want of memory.
    let asleep = "[service]\nexec_start = \"sleep infinity\"\nmemory_max = \"24M\"\n";
    world.unit("asleep", asleep);
    world.ok(&["reload-config"]);
    world.ctl(&["start", "asleep"]);
    kill(world.pid("asleep"), Signal::SIGKILL);
    assert_eq!(world.history("asleep", 1)[0]["result"], "signal");
    assert_eq!(world.notices("oom_killed").len(), 2);
}

/// Some die for want of memory, others beside them of a SIGKILL that anybody may send, and managers die as well.
pub(crate) fn each_kill_for_memory_is_known_from_every_other_kill() {
    const KILLS: i64 = 100;
    const EACH: usize = 4;
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\nmemory_max = \"24M\"\nmemory_swap_max = 0\n[unit]\nstart_limit_burst = 0\n";
    let text = |command: &str| format!("[service]\nexec_start = \"{command}\"\n{policy}");
    let (eats, sleeps) = (text("tail /dev/zero"), text("sleep infinity"));
    let names = |kind: &str| -> Vec<String> { (0..EACH).map(|number| format!("{kind}{number}")).collect() };
    let (eaters, sleepers) = (names("eater"), names("sleeper"));
    let units: Vec<(&str, &str)> = eaters
        .iter()
        .map(|name| (name.as_str(), eats.as_str()))
        .chain(sleepers.iter().map(|name| (name.as_str(), sleeps.as_str())))
        .collect();
    let mut world = world(&units);
    if !has(&world, "eater0", "memory") {
        return;
    }
    let count = |world: &World, kind: &str, result: &str| -> i64 {
        let sql = "SELECT count(*) FROM invocations WHERE unit LIKE ?1 || '%' AND result = ?2 AND status_code = 9";
        world.database().query_row(sql, [kind, result], |row| row.get(0)).unwrap()
    };
    let mut killed = 0;
    until_within(PATIENCE * 6, "so many were killed", || {
        let pid = world.try_pid(&sleepers[killed % EACH]);
        pid.into_iter().for_each(|pid| {
            kill(pid, Signal::SIGKILL);
            killed += 1;
        });
        if killed % 10 == 9 {
            world.kill_manager();
        }
        (count(&world, "eater", "oom-kill") >= KILLS && count(&world, "sleeper", "signal") > KILLS / 5).then_some(())
    });
    let all: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    world.await_answer();
    world.ok(&[["stop"].as_slice(), &all].concat());
    assert!(world.stop().success());
    let (eaten, sent) = (count(&world, "eater", "oom-kill"), count(&world, "sleeper", "signal"));
    println!("{eaten} kills for memory, {sent} others, {} managers", world.managers_up());
    let wrong = "SELECT unit, generation, result FROM invocations WHERE status_code = 9
                 AND result != iif(unit LIKE 'eater%', 'oom-kill', 'signal')";
    let database = world.database();
    let mut wrong = database.prepare(wrong).unwrap();
    let wrong = wrong.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let wrong: Vec<(String, i64, String)> = wrong.map(Result::unwrap).collect();
    assert_eq!(wrong, []);
}

pub(crate) fn a_command_that_takes_too_much_memory_stops_the_service_unless_it_is_to_continue() {
    let text = |policy: &str| {
        format!(
            "[service]\nexec_start = \"sleep infinity\"\nexec_reload = \"tail /dev/zero\"\nmemory_max = \"24M\"\n\
             memory_swap_max = 0\noom_policy = \"{policy}\"\n"
        )
    };
    let (stop, kill, go_on) = (text("stop"), text("kill"), text("continue"));
    let world = world(&[("stop", stop.as_str()), ("kill", &kill), ("go_on", &go_on)]);
    if !["stop", "kill", "go_on"].into_iter().all(|unit| has(&world, unit, "memory")) {
        return;
    }
    let pid = world.pid("go_on");
    for unit in ["stop", "kill", "go_on"] {
        world.pid(unit);
        assert_ne!(world.ctl(&["reload", unit]).code, 0, "its command was ended");
    }
    for (unit, status) in [("stop", "killed by SIGTERM"), ("kill", "killed by SIGKILL")] {
        let run = &world.history(unit, 1)[0];
        assert_eq!((&run["result"], &run["status"]), (&"oom-kill".into(), &status.into()), "{run:#}");
        world.until_active(unit, "failed");
    }
    assert_eq!(world.until_active("go_on", "active")["pid"], pid);
    assert_eq!(world.until_notices("oom_killed", 3).len(), 3);
}

/// The new manager finds what the old one wrote into no file of its own.
pub(crate) fn limits_and_kills_outlive_the_manager() {
    let text = "[service]\nexec_start = \"sh -c 'while ! test -e @/go; do sleep 0.05; done; exec tail /dev/zero'\"\n\
                memory_max = \"24M\"\nmemory_swap_max = 0\nmemory_low = \"1M\"\nrestart = \"no\"\n";
    let world = world(&[("eater", text)]);
    let pid = world.pid("eater");
    let before = unmet(&world, "eater");
    if before.as_deref().is_some_and(|text| text.contains("no memory controller")) {
        return;
    }
    // It is known a moment before it has moved itself.
    until("it is in its cgroup", || {
        let procs = read(&world, "eater", "cgroup.procs");
        procs.lines().any(|line| line == pid.to_string()).then_some(())
    });
    let ups = world.managers_up();
    // It dies without a manager, and its end waits.
    kill(world.manager(), Signal::SIGSTOP);
    fs::write(world.path("go"), "").unwrap();
    until("it is dead", || (!lives(pid)).then_some(()));
    world.kill_manager();
    until("the next manager is up", || (world.managers_up() > ups).then_some(()));
    let run = &world.history("eater", 1)[0];
    assert_eq!(run["result"], "oom-kill", "{run:#}");
    assert_eq!(world.notices("oom_killed").len(), 1, "told once");
    world.ok(&["reset", "eater"]);
    fs::remove_file(world.path("go")).unwrap();
    world.ok(&["start", "eater"]);
    world.kill_manager();
    until("the next manager is up", || (world.managers_up() > ups + 1).then_some(()));
    world.until_active("eater", "active");
    assert_eq!(unmet(&world, "eater").is_some(), before.is_some(), "what it lacks is still said");
}

pub(crate) fn a_fork_bomb_harms_nobody_else_and_goes_at_a_stop() {
    let bomb = "[service]\nexec_start = \"perl -e 'while (1) { fork }'\"\ntasks_max = 40\n\
                timeout_stop_sec = \"1s\"\n";
    let world =
        world(&[("bomb", bomb), ("calm", "[service]\nexec_start = \"sleep infinity\"\nrestart = \"always\"\n")]);
    if !has(&world, "bomb", "pids") {
        return;
    }
    let tasks = || read(&world, "bomb", "pids.current").parse::<u32>().unwrap();
    until("it has all it may have", || (tasks() == 40).then_some(()));
    assert_eq!(world.status("bomb")["tasks"], 40);
    // Others are started and die and are started again as always.
    let calm = world.pid("calm");
    kill(calm, Signal::SIGKILL);
    world.until_status("calm", "it is up again", |status| {
        status["pid"].as_i64().is_some_and(|pid| pid != i64::from(calm))
    });
    assert!(tasks() <= 40);
    world.ok(&["stop", "bomb"]);
    until("none is left", || process::with_command("while (1) { fork }").is_empty().then_some(()));
}

/// Without any controller: it is never seen twice under the same pid, and gone all the same.
pub(crate) fn a_service_that_forks_without_end_goes_at_a_stop() {
    let mark = format!("mark{}", std::process::id());
    let chain = format!("perl -e 'while (1) {{ if (my $pid = fork) {{ exit }} $SIG{{TERM}} = sub {{}}; }} # {mark}'");
    let text = format!(
        "[service]\nexec_start = ['''/bin/sh -c \"{chain} & {chain} & exec sleep infinity\" ''']\ntimeout_stop_sec = \"1s\"\n"
    );
    let world = world(&[("chain", text.replace('$', "$$").as_str())]);
    world.pid("chain");
    let first = until("it forks", || process::with_command(&mark).into_iter().find(|pid| !is_shell(*pid)));
    until("it is another", || (!lives(first)).then_some(()));
    world.ok(&["stop", "chain"]);
    until_within(Duration::from_secs(2), "none is left", || process::with_command(&mark).is_empty().then_some(()));
}

fn is_shell(pid: i32) -> bool {
    !process::command_line(pid).starts_with("perl")
}

pub(crate) fn cpus_weights_and_disks_are_what_the_unit_says() {
    let text = "[service]\nexec_start = \"sh -c 'while :; do :; done'\"\nexec_start_pre = \"true\"\nallowed_cpus = 0\ncpu_weight = 50\n\
                cpu_quota = \"25%\"\ncpu_quota_period_sec = \"40ms\"\nmemory_accounting = true\n";
    let world = world(&[("web", text)]);
    let pid = world.pid("web");
    let Some(lacking) = unmet(&world, "web") else {
        // It is known a moment before it has moved itself.
        until("it is on its CPU", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().any(|line| line == "Cpus_allowed_list:\t0").then_some(())
        });
        if dir(&world, "web", "tasks").exists() {
            assert_eq!(read(&world, "web", "cpu.shares"), "512");
            assert_eq!(read(&world, "web", "cpu.cfs_quota_us"), "10000");
            assert_eq!(read(&world, "web", "cpu.cfs_period_us"), "40000");
        } else {
            assert_eq!(read(&world, "web", "cpu.max"), "10000 40000");
        }
        until("it wants all of a CPU and gets a quarter", || {
            let stat = read(&world, "web", "cpu.stat");
            stat.lines().any(|line| line.starts_with("nr_throttled ") && line != "nr_throttled 0").then_some(())
        });
        let status = world.status("web");
        assert_eq!(status["usage_of"], "unit");
        assert!(status["memory_bytes"].as_u64() > Some(0) && status["memory_peak_bytes"] != serde_json::Value::Null);
        return;
    };
    assert!(lacking.contains("controller"), "{lacking}");
}

pub(crate) fn a_service_may_use_the_devices_that_its_unit_names() {
    // dd says which of its two files it could not open.
    let text = |allow: &str| {
        format!(
            "[service]\ntype = \"oneshot\"\nremain_after_exit = true\ndevice_policy = \"strict\"\ndevice_allow = [{allow}]\n\
             exec_start = \"dd if=/dev/zero of=/dev/null bs=1 count=1\"\n"
        )
    };
    let (both, one) = (text("\"/dev/null rw\", \"/dev/zero r\""), text("\"/dev/null rw\""));
    let world = world(&[("both", both.as_str()), ("one", &one)]);
    if unmet(&world, "both").is_some() {
        // What secures is not left out: without it there is no service.
        assert_eq!(world.until_active("both", "failed")["last_exit"], "exit code 219");
        return;
    }
    world.until_active("both", "active");
    world.until_active("one", "failed");
    let said = until("it has said why", || Some(world.captured("one")).filter(|text| !text.is_empty()));
    assert!(said.contains("/dev/zero': Operation not permitted"), "{said}");
}

pub(crate) fn what_the_host_cannot_ration_is_said_or_refused() {
    let text = "[service]\nexec_start = \"sleep infinity\"\nmemory_max = \"1G\"\ntasks_max = 10\n";
    let refuse = format!("{text}resources_fallback = \"refuse\"\n");
    let devices = "[service]\nexec_start = \"sleep infinity\"\ndevice_policy = \"closed\"\n";
    let mut world = World::new();
    world.settings("[cgroup]\nmode = \"off\"\n");
    for (name, text) in [
        ("warn", text),
        ("refuse", &refuse),
        ("devices", devices),
        ("plain", "[service]\nexec_start = \"sleep 1000\"\n"),
    ] {
        world.unit(name, text);
    }
    world.start();
    world.until_active("warn", "active");
    let lacking = unmet(&world, "warn").unwrap();
    for expected in ["memory_max (no memory controller: [cgroup] mode is \"off\")", "tasks_max (no pids controller"] {
        assert!(lacking.contains(expected), "{lacking}");
    }
    assert!(world.ok(&["status", "warn"]).out.contains("Not limited: memory_max"));
    assert!(world.log().contains("the service starts without a part of what it asks of the machine"));
    for unit in ["refuse", "devices"] {
        let status = world.until_active(unit, "failed");
        // systemd's code for it.
        assert_eq!((&status["result"], &status["last_exit"]), (&"exit-code".into(), &"exit code 219".into()));
        assert!(status["pid"].is_null());
        let failure = world.until_notices("spawn_failed", 2);
        let of_unit = failure.iter().find(|notice| notice["unit"] == unit).unwrap();
        assert_eq!(of_unit["fields"]["step"], "cgroup", "{of_unit:#}");
    }
    assert!(world.log().contains("resources_fallback = \"warn\" starts it without"), "the remedy is named");
    assert_eq!(unmet(&world, "plain"), None);
    let metrics = world.ok(&["status", "plain", "--json"]).json();
    assert_eq!(metrics["units"][0]["usage_of"], "main-process");
}

pub(crate) fn nothing_of_a_units_cgroups_stays() {
    let text = "[service]\nexec_start = \"sleep infinity\"\nmemory_accounting = true\ntasks_accounting = true\n\
                cpu_accounting = true\nio_accounting = true\nallowed_cpus = 0\n";
    let mut world = world(&[("web", text)]);
    world.pid("web");
    let made = |world: &World| world.old_cgroups().into_iter().filter(|dir| dir.exists()).count();
    let before = made(&world);
    let units = |world: &World| world.old_cgroups().iter().filter(|dir| dir.join("web").exists()).count();
    assert_eq!(units(&world), before);
    fs::remove_file(world.unit_path("web")).unwrap();
    world.ok(&["reload-config"]);
    until("the unit is gone", || (units(&world) == 0).then_some(()));
    world.stop();
    assert_eq!(made(&world), 0);
}
