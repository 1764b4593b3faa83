//! What many want at once is short: processes, CPU time.
use std::{
    env,
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Instant,
};

use crate::{
    actor,
    support::{
        process::{self, PATIENCE, Signal, kill, need_root, until, until_within},
        refusal::Refusal,
        world::World,
    },
};

/// Services whose forks are refused in the long test; `ROUNDSMAN_TEST_FORKS` sets another number.
const FORKS: usize = 100;

pub(crate) fn a_keeper_that_cannot_fork_loses_no_service_and_counts_no_crash() {
    /// More than any of them may be started.
    const FAILURES: usize = 4;
    let services = env::var("ROUNDSMAN_TEST_FORKS").map_or(FORKS, |text| text.parse().unwrap());
    let mut world = World::new();
    let names: Vec<String> = (0..services).map(|number| format!("web{number}")).collect();
    for name in &names {
        let policy = "restart = \"on-failure\"\nrestart_sec = \"10ms\"\n[unit]\nstart_limit_burst = 2\nstart_limit_interval_sec = \"1h\"\n";
        world.unit(name, &format!("[service]\nexec_start = \"sleep 1000\"\n{policy}"));
    }
    world.start();
    let up = |world: &World| -> Vec<i32> {
        let all = units(world);
        all.iter().filter_map(|unit| i32::try_from(unit["pid"].as_i64()?).ok()).collect()
    };
    let pids = until_within(PATIENCE * 3, "all are up", || Some(up(&world)).filter(|pids| pids.len() == services));
    let keeper = world.keeper();
    let forks = Refusal::of(&world, keeper, "clone3", "EAGAIN");
    pids.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
    until_within(PATIENCE * 6, "all were tried again and again", || {
        (forks.count() >= services * FAILURES).then_some(())
    });
    let refused = forks.count();
    let waiting = world.status(&names[0]);
    assert_eq!((waiting["active"].as_str(), waiting["result"].as_str()), (Some("activating"), Some("resources")));
    // The manager cannot be forked either.
    world.kill_manager();
    until("it was tried", || (world.log().matches("cannot start the manager").count() >= 2).then_some(()));
    drop(forks);
    world.await_answer();
    until_within(PATIENCE * 3, "none is lost", || (up(&world).len() == services).then_some(()));
    println!("{services} services, {refused} forks refused");
    for status in units(&world) {
        assert_eq!(status["restarts_in_row"], 1, "it was killed once: {status:#}");
        assert_eq!(status["starts_in_window"], 2, "{status:#}");
    }
    for name in [&names[0], &names[services - 1]] {
        let runs = world.history(name, FAILURES);
        let results: Vec<&str> = runs.iter().rev().filter_map(|run| run["result"].as_str()).collect();
        assert_eq!(results[0], "signal", "{results:?}");
        assert!(results.len() >= FAILURES && results[1..].iter().all(|result| *result == "resources"), "{results:?}");
    }
    assert!(world.stop().success());
}

pub(crate) fn a_user_with_too_many_processes_loses_no_service() {
    need_root("it runs services as a user of their own");
    // One of Debian's that has no other processes.
    const USER: &str = "user = \"news\"\n";
    let mut world = World::new();
    let many = "/bin/sh -c 'sleep 1000 & sleep 1000 & sleep 1000 & wait'";
    world.unit("many", &format!("[service]\nexec_start = {many:?}\n{USER}"));
    let policy = "restart = \"on-failure\"\nrestart_sec = \"10ms\"\nlimit_nproc = 3\n[unit]\nstart_limit_burst = 2\nstart_limit_interval_sec = \"1h\"\n[install]\nenabled = false\n";
    world.unit("web", &format!("[service]\nexec_start = \"sleep 1000\"\n{USER}{policy}"));
    world.start();
    let shell = world.pid("many");
    until("they are many", || (process::children(shell).len() == 3).then_some(()));
    world.ok(&["start", "--no-wait", "web"]);
    let failures = world.until_notices("spawn_failed", 4);
    assert!(failures.iter().all(|failure| failure["unit"] == "web"), "{failures:#?}");
    let waiting = world.status("web");
    assert_eq!((waiting["active"].as_str(), waiting["restarts_in_row"].as_i64()), (Some("activating"), Some(0)));
    world.ok(&["stop", "many"]);
    world.until_active("web", "active");
    let status = world.status("web");
    assert_eq!((status["restarts_in_row"].as_i64(), status["starts_in_window"].as_i64()), (Some(0), Some(1)));
    assert!(world.stop().success());
}

pub(crate) fn a_probe_that_cannot_be_forked_condemns_no_service() {
    let probe = "[[health]]\nname = \"live\"\nexec = \"/bin/true\"\ninterval = \"50ms\"\ntimeout = \"5s\"\nunhealthy_after = 2\non_unhealthy = \"restart\"\n";
    let mut world = World::with(&[("web", &format!("[service]\nexec_start = \"sleep 1000\"\n{probe}"))]);
    let pid = world.pid("web");
    let healthy = |status: &serde_json::Value| status["probes"][0]["verdict"] == "healthy";
    world.until_status("web", "it is well", healthy);
    let keeper = world.keeper();
    let forks = Refusal::of(&world, keeper, "clone3", "EAGAIN");
    until("probes were refused", || (forks.count() > 10).then_some(()));
    let check = world.ctl(&["check", "web"]);
    assert_eq!(check.code, 3, "nothing is known of it: {check:?}");
    assert_eq!((world.pid("web"), healthy(&world.status("web"))), (pid, true));
    drop(forks);
    until("it is asked again", || (world.ctl(&["check", "web"]).code == 0).then_some(()));
    assert_eq!(world.status("web")["generation"], 1);
    assert!(world.stop().success());
}

pub(crate) fn a_hundred_slow_starters_delay_no_restart_and_no_answer() {
    const SLOW: usize = 100;
    let mut world = World::new();
    // As small as a program can be: what it needs itself counts as little as may be.
    let policy = "restart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0";
    world.unit("web", &format!("[service]\nexec_start = \"/bin/sleep 1000\"\n{policy}"));
    let names: Vec<String> = (0..SLOW).map(|number| format!("slow{number}")).collect();
    for name in &names {
        // All on one CPU: whom the kernel lets run where there is none left is not ours to decide.
        let kind = "type = \"notify\"\ncpu_affinity = [0]\n[install]\nenabled = false\n";
        world.unit(name, &actor::unit("slow 60", kind));
    }
    world.start();
    let first = world.pid("web");
    world.ok(&[&["start", "--no-wait"], names.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    kill(first, Signal::SIGKILL);
    let begun = Instant::now();
    let (mut killed, mut restarts, mut answers) = ((begun, first), Vec::new(), Vec::new());
    loop {
        let asked = Instant::now();
        let units = units(&world);
        answers.push(asked.elapsed());
        if units.iter().filter(|unit| unit["active"] == "activating").count() < SLOW / 2 {
            break;
        }
        let web = units.iter().find(|unit| unit["name"] == "web").unwrap();
        let (at, last) = killed;
        if let Some(pid) = web["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid != last) {
            restarts.push(at.elapsed());
            kill(pid, Signal::SIGKILL);
            killed = (Instant::now(), pid);
        }
    }
    let took = begun.elapsed();
    for name in &names {
        world.until_active(name, "active");
    }
    let slowest = answers.iter().chain(&restarts).max().copied().unwrap();
    println!("{took:?}: {} restarts, {} answers, the slowest took {slowest:?}", restarts.len(), answers.len());
    assert!(restarts.len() >= 3, "it was restarted {} times meanwhile", restarts.len());
    assert!(slowest * 2 < took, "something took {slowest:?}, {SLOW} starts {took:?}");
    assert!(world.stop().success());
}

/// What `status` asks, without the time that a program takes to start on a machine that is busy.
fn units(world: &World) -> Vec<serde_json::Value> {
    let mut stream = UnixStream::connect(world.path("run/control.sock")).unwrap();
    stream.write_all(b"GET /v1/units HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    body["units"].as_array().unwrap().clone()
}
