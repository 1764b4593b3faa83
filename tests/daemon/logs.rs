//! What services write.
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::UdpSocket,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    actor,
    store::Small,
    support::{
        hook::Hook,
        process::{self, pause, until, until_within},
        world::World,
    },
};

/// Of a line without end in the long test; `ROUNDSMAN_TEST_DRONE_BYTES` sets another number.
const DRONE_BYTES: u64 = 100_000_000;

pub(crate) fn a_flood_of_output_delays_no_status_and_is_captured_or_counted() {
    const BYTES: u64 = 100 << 20;
    let world = World::new();
    world.settings("[log]\nsegment_size = \"16M\"\nkeep = 20\n");
    let mut world = world;
    world.unit("loud", &actor::unit(&format!("flood {BYTES}"), ""));
    world.unit("web", "[service]\nexec_start = \"sleep 1000\"\n");
    world.start();
    let mut slowest = Duration::ZERO;
    until_within(Duration::from_secs(60), "all is said", || {
        let began = Instant::now();
        world.status("web");
        slowest = slowest.max(began.elapsed());
        let captured = size(&world, "loud");
        (captured >= BYTES).then_some(())
    });
    assert!(slowest < Duration::from_secs(1), "status took {slowest:?}");
    until("its last word", || world.captured("loud").ends_with("all is said\n").then_some(()));
    let dropped: u64 = world.notices("output_dropped").iter().map(|n| n["fields"]["bytes"].as_u64().unwrap()).sum();
    assert_eq!(size(&world, "loud") + dropped, BYTES + "all is said\n".len() as u64);
}

fn size(world: &World, unit: &str) -> u64 {
    let entries = std::fs::read_dir(world.path("logs").join(unit)).into_iter().flatten().flatten();
    entries.filter(|e| e.path().extension().is_some_and(|e| e == "log")).map(|e| e.metadata().unwrap().len()).sum()
}

/// How often the manager is killed; more when someone asks for it.
fn kills() -> u64 {
    env::var("ROUNDSMAN_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

pub(crate) fn no_line_is_lost_doubled_or_torn_by_twenty_kills_of_the_manager() {
    let mut world = World::new();
    // Many segments, so that kills meet the moments in which one follows another.
    let log = "[log]\nsegment_size = \"64K\"\nkeep = 1000000\n";
    // The second is read by the rate limit's way, with a limit that it never meets.
    let limited = "[log]\nrate_limit_burst = 4000000000\nsegment_size = \"64K\"\nkeep = 1000000\n";
    world.unit("count", &(actor::unit("count 200", "") + log));
    world.unit("loud", &(actor::unit("count 0", "") + limited));
    world.start();
    for round in 0..kills() {
        let up = world.managers_up();
        pause(round * 13 % 50);
        world.kill_manager();
        until("the next manager", || (world.managers_up() > up).then_some(()));
    }
    world.ok(&["stop", "count", "loud"]);
    for unit in ["count", "loud"] {
        let mut before = String::new();
        let text = until("all is captured", || {
            pause(100);
            let text = world.captured(unit);
            let settled = text.len() == before.len() && !text.is_empty();
            before = text;
            settled.then(|| std::mem::take(&mut before))
        });
        let mut expected = 0;
        for line in text.lines() {
            assert_eq!(line, format!("line {expected}"), "{unit}");
            expected += 1;
        }
        assert!(text.ends_with('\n') && expected > 1000, "{unit}: {expected} lines");
        let shown = world.ok(&["logs", unit, "-n", "3"]).out;
        assert_eq!(shown.lines().last(), text.lines().last());
    }
}

/// supervisorctl logs, followed.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn new(world: &World, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisorctl"));
        command.arg("--socket").arg(world.path("run/control.sock")).args(["logs", "-f"]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it goes on").unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn a_follower_sees_each_matching_line_once_over_rotation_packing_and_kills() {
    let mut world = World::new();
    let log = "[log]\nsegment_size = \"4K\"\nkeep = 100000\ncompress = \"gzip\"\n";
    world.unit("count", &(actor::unit("count 300", "") + log));
    world.start();
    let mut follower = Follower::new(&world, &["count", "--grep", "[05]$", "--since", "1h"]);
    let mut next = 0;
    for kill in 0..4 {
        if kill > 0 {
            world.kill_manager();
        }
        for _ in 0..200 {
            assert_eq!(follower.line(), format!("line {next}"));
            next += 5;
        }
    }
    until("some are packed", || {
        let packed = std::fs::read_dir(world.path("logs/count")).unwrap().flatten();
        (packed.filter(|e| e.path().extension().is_some_and(|e| e == "gz")).count() > 2).then_some(())
    });
    world.ok(&["stop", "count"]);
    let all = world.ok(&["logs", "count", "--grep", "."]).out;
    assert!(all.lines().enumerate().all(|(number, line)| line == format!("line {number}")), "packed or not, in order");
    let last = world.ok(&["logs", "count", "--grep", "7$", "-n", "2"]).out;
    let sevens: Vec<&str> = all.lines().filter(|line| line.ends_with('7')).collect();
    assert_eq!(last.lines().collect::<Vec<_>>(), sevens[sevens.len() - 2..]);
}

pub(crate) fn a_line_is_seen_by_a_follower_at_once_and_has_its_time() {
    let world = World::with(&[("echo", &actor::unit("echo @/say", ""))]);
    let say = |text: &str| {
        let mut stream = until("it listens", || UnixStream::connect(world.path("say")).ok());
        stream.write_all(text.as_bytes()).unwrap();
    };
    let mut follower = Follower::new(&world, &["echo", "-t"]);
    say("first\n");
    follower.line();
    let mut took = Vec::new();
    for round in 0..20 {
        pause(30);
        let before = jiff::Timestamp::now();
        let began = Instant::now();
        say(&format!("round {round}\n"));
        let line = follower.line();
        took.push(began.elapsed());
        let (at, text) = line.split_once(' ').unwrap();
        assert_eq!(text, format!("round {round}"));
        let at: jiff::Timestamp = at.parse().unwrap();
        let off = at.duration_since(before);
        assert!((-20..1000).contains(&off.as_millis()), "the time is that of the line: {off:?}");
    }
    took.sort();
    assert!(took[10] < Duration::from_millis(50), "{took:?}");
}

pub(crate) fn a_child_that_outlives_its_service_holds_up_no_stop_and_is_still_heard() {
    let world = World::with(&[(
        "parent",
        "[service]\nexec_start = \"/bin/sh -c 'setsid sh -c \\\"sleep 1; echo late; sleep 100\\\" & exec sleep 100'\"\n\
         kill_mode = \"process\"\n",
    )]);
    world.until_active("parent", "active");
    let began = Instant::now();
    world.ok(&["stop", "parent"]);
    assert!(began.elapsed() < Duration::from_secs(5), "the stop took {:?}", began.elapsed());
    until("what it says later is captured", || (world.captured("parent") == "late\n").then_some(()));
    let strays = process::with_command("echo late");
    assert!(!strays.is_empty());
    strays.into_iter().for_each(process::kill_tree);
}

pub(crate) fn the_last_words_of_a_service_are_captured_when_the_daemon_ends() {
    let text = "[service]\nexec_start = \"/bin/sh -c 'trap \\\"echo bye; exit 0\\\" TERM; echo up; while :; do sleep 0.01; done'\"\n";
    for _ in 0..10 {
        let mut world = World::with(&[("web", text)]);
        until("it is up", || (world.captured("web") == "up\n").then_some(()));
        assert!(world.stop().success());
        // Between them the shell may say that its sleep was ended.
        let text = world.captured("web");
        assert!(text.ends_with("bye\n"), "{text}");
    }
}

pub(crate) fn a_line_without_end_is_cut_for_readers_and_costs_the_manager_no_memory() {
    let bytes: u64 = env::var("ROUNDSMAN_TEST_DRONE_BYTES").map_or(DRONE_BYTES, |text| text.parse().unwrap());
    let mut world = World::new();
    world.unit("endless", &(actor::unit(&format!("drone {bytes}"), "") + "[log]\nkeep = 8\nline_max = 1000\n"));
    world.start();
    let captured = || world.status("endless")["output"]["captured_bytes"].as_u64().unwrap();
    // What is needed once is there by then.
    until("it has begun", || (captured() > bytes / 20).then_some(()));
    let both = || [world.keeper(), world.manager()].map(resident_kib);
    let before = both();
    until_within(Duration::from_secs(600), "all is captured", || (captured() >= bytes).then_some(()));
    let after = both();
    let grown = [0, 1].map(|of| after[of].saturating_sub(before[of]));
    println!("{bytes} bytes, the keeper grew by {} KiB, the manager by {} KiB", grown[0], grown[1]);
    assert!(grown.iter().sum::<u64>() <= 1024, "{before:?} -> {after:?} KiB");
    let line = world.ok(&["logs", "endless", "-n", "1", "--json"]).out;
    let lines: Vec<Value> = line.lines().take(50).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 10 && lines.iter().all(|line| line["line"].as_str().unwrap().len() == 1000), "{lines:?}");
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

pub(crate) fn a_full_disk_loses_what_the_unit_allows_and_nothing_else() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    let disk = Small::new(world.path("small"), "8m");
    for unit in ["drop", "block"] {
        std::fs::create_dir_all(world.path("logs")).unwrap();
        std::fs::create_dir(world.path("small").join(unit)).unwrap();
        std::os::unix::fs::symlink(world.path("small").join(unit), world.path("logs").join(unit)).unwrap();
        let log = format!("[log]\non_full = \"{unit}\"\nsegment_size = \"4K\"\nkeep = 100000\n");
        world.unit(unit, &(actor::unit("count 1000", "") + &log));
    }
    world.unit("other", &actor::unit("count 1000", ""));
    world.start();
    let lines = |unit: &str| world.captured(unit).lines().count();
    until("all write", || ["drop", "block", "other"].iter().all(|unit| lines(unit) > 20).then_some(()));
    let ballast = disk.fill();
    let degraded = world.until_notices("logs_degraded", 1);
    assert!(degraded[0]["fields"]["reason"].as_str().unwrap().contains("o space left"), "{degraded:?}");
    let before = lines("other");
    until("units on other disks go on", || (lines("other") > before + 500).then_some(()));
    // A kill in the middle of it loses nothing that waits, and no second alert is sent.
    world.kill_manager();
    let dropped = || world.status("drop")["output"]["dropped_bytes"].as_u64().unwrap();
    until("it drops", || (dropped() > 1000).then_some(()));
    std::fs::remove_file(ballast).unwrap();
    world.until_notices("logs_recovered", 1);
    let note = until("the segment says so", || {
        world.captured("drop").lines().find(|line| line.starts_with("[roundsman: ")).map(str::to_owned)
    });
    assert!(note.contains(" bytes dropped: No space left on device"), "{note}");
    let metrics = metrics(&world);
    assert!(metrics.contains("roundsman_log_dropped_bytes_total{unit=\"drop\",reason=\"full\"} "), "{metrics}");
    assert!(!metrics.contains("roundsman_log_dropped_bytes_total{unit=\"drop\",reason=\"full\"} 0"), "{metrics}");
    world.ok(&["stop", "block", "drop"]);
    let told = until("both ends of the incident are told", || Some(hook.taken()).filter(|told| told.len() >= 2));
    let told: Vec<_> = told.iter().map(|message| message["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["logs_degraded", "recovered"]);
    let text = until("what waited is written", || {
        let text = world.captured("block");
        text.ends_with('\n').then_some(text)
    });
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, format!("line {number}"));
    }
}

fn metrics(world: &World) -> String {
    let mut stream = UnixStream::connect(world.path("run/control.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn a_rate_limit_and_forwarding_take_effect_and_are_changed_by_a_reload() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(process::PATIENCE)).unwrap();
    let forward = format!("[log]\nforward = [\"syslog:udp://{}\"]\n", server.local_addr().unwrap());
    let limit = "log_rate_limit_burst = 5\nlog_rate_limit_interval_sec = \"1h\"\nsyslog_identifier = \"me\"\n";
    let mut world = World::new();
    world.unit("count", &(actor::unit("count 1000", limit) + &forward));
    world.start();
    let mut datagram = [0; 4096];
    for number in 0..5 {
        let length = server.recv(&mut datagram).unwrap();
        let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
        assert!(text.starts_with("<30>1 ") && text.ends_with(&format!(" me - - - line {number}")), "{text}");
    }
    until("the rest is counted", || {
        (world.status("count")["output"]["limited_lines"].as_u64().unwrap() > 100).then_some(())
    });
    assert_eq!(world.captured("count").lines().count(), 5);
    assert!(world.ctl(&["status", "count"]).out.contains(" lines over the rate limit"));
    world.unit("count", &(actor::unit("count 1000", "syslog_identifier = \"me\"") + &forward));
    world.ok(&["reload-config"]);
    until("the limit is gone", || (world.captured("count").lines().count() > 100).then_some(()));
    let length = server.recv(&mut datagram).unwrap();
    assert!(String::from_utf8_lossy(&datagram[..length]).contains(" me - - - "), "it is forwarded on");
}

/// What the actor `count` wrote, all of it and nothing twice.
pub(crate) fn assert_counted(text: &str) {
    let mut expected = 0;
    for line in text.lines() {
        assert_eq!(line, format!("line {expected}"));
        expected += 1;
    }
    assert!(text.ends_with('\n') && expected > 1000, "{expected} lines");
}
