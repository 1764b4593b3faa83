use std::{net::TcpListener, os::fd::OwnedFd};

use roundsman::{
    base::{ExitStatus, Role, Signal, SpawnFailure, SpawnStep},
    keeper::client::Incoming,
    sys::start_time,
    wire::keeper::{Fact, Order, Output, Passed, ResourceLimit, SpawnSpec, Stream},
};

use crate::world::{Manager, World, key, kill, lives, read_log, shell, text, unit, until};

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;

fn to_log(script: &str) -> SpawnSpec {
    SpawnSpec { stdout: Output::Log(Stream::Output), stderr: Output::Log(Stream::Output), ..shell(script) }
}

pub(crate) fn passed(stored: &str, name: &str) -> Passed {
    Passed { stored: stored.into(), name: name.into() }
}

fn failure(manager: &mut Manager<'_>, unit: &str, spec: SpawnSpec) -> SpawnFailure {
    let wanted = manager.spawn(unit, 1, spec);
    manager.wait(|fact, _| match fact {
        Fact::SpawnFailed { key, failure } if *key == wanted => Some(*failure),
        Fact::Exited(exit) if exit.key == wanted => panic!("told as an exit: {exit:?}"),
        _ => None,
    })
}

pub(crate) fn an_end_is_told_with_status_and_usage() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let key = manager.spawn_shell("a", 1, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 3");
    let pid = manager.spawned(&key);
    let exit = manager.exited(&key);
    assert_eq!((exit.pid, exit.status), (pid, ExitStatus::Exited(3)));
    let usage = exit.usage.unwrap();
    assert!(usage.user.as_millis() > 5, "{usage:?}");
    assert!(exit.at.mono > exit.started.mono && exit.at.wall >= exit.started.wall);
    let killed = manager.spawn_shell("a", 2, "kill -9 $$");
    let status = manager.exited(&killed).status;
    assert_eq!(status, ExitStatus::Signaled { signal: Signal::KILL, core: false });
}

/// Until it execs a child has the keeper's memory, whose peak the kernel adds to its own.
pub(crate) fn the_peak_of_a_small_process_is_not_told_to_be_the_keepers() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let peak = |manager: &mut Manager<'_>, generation, command: &str| {
        let key = manager.spawn_shell("a", generation, command);
        manager.exited(&key).usage.unwrap().max_rss_kib
    };
    assert_eq!(peak(&mut manager, 1, "exec true"), 0, "not known");
    let large = peak(&mut manager, 2, "exec dd if=/dev/zero of=/dev/null bs=300M count=1 2>/dev/null");
    assert!((300 << 10..400 << 10).contains(&large), "{large} KiB");
}

pub(crate) fn a_packet_full_of_orders_is_obeyed_to_its_end() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let last = Order::Signal { key: key("nobody", 1), signal: Signal::TERM };
    manager.order_at_once(std::iter::repeat_n(Order::Alive, 1500).chain([last]));
    // Not with the next ping, which would have it look into the packet again.
    let told = manager.try_incoming();
    assert!(matches!(told, Ok(Incoming::Fact(Fact::SignalFailed { .. }, _))), "{told:?}");
}

pub(crate) fn a_start_that_fails_names_its_step_and_is_never_an_exit() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let cases = [
        ("missing", SpawnSpec { path: text("/nonexistent"), ..shell("") }, SpawnStep::Exec, ENOENT),
        ("refused", SpawnSpec { path: text("/etc/passwd"), ..shell("") }, SpawnStep::Exec, EACCES),
        ("folder", SpawnSpec { cwd: text("/nonexistent"), ..shell("") }, SpawnStep::Chdir, ENOENT),
        ("socket", SpawnSpec { listen: vec![passed("http", "http")], ..shell("") }, SpawnStep::Prepare, ENOENT),
        ("name", SpawnSpec { listen: vec![passed("http", "a:b")], ..shell("") }, SpawnStep::Prepare, EINVAL),
        ("log", to_log(""), SpawnStep::Prepare, 9),
    ];
    for (unit, spec, step, errno) in cases {
        assert_eq!(failure(&mut manager, unit, spec), SpawnFailure { step, errno }, "{unit}");
    }
    // They wait for their acknowledgement as ends do.
    kill(manager.pid, Signal::KILL);
    drop(manager);
    let (mut manager, snapshot) = world.next_manager();
    assert_eq!(snapshot.pending.len(), 6, "{:?}", snapshot.pending);
    for unit in ["missing", "refused", "folder", "socket", "name", "log"] {
        manager.order(Order::AckExit { key: key(unit, 1) });
    }
    kill(manager.pid, Signal::KILL);
    drop(manager);
    assert!(world.next_manager().1.pending.is_empty());
}

pub(crate) fn a_process_inherits_exactly_what_is_declared() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let file = std::fs::File::open("/etc/passwd").unwrap();
    manager.order_with(Order::Store { unit: unit("a"), name: "conf".into() }, vec![file.into()]);
    let log = manager.log("a");
    let other = manager.log("other");
    let spec = SpawnSpec { listen: vec![passed("conf", "conf")], ..to_log("exec ls -l /proc/self/fd") };
    let key = manager.spawn("a", 1, spec);
    assert_eq!(manager.exited(&key).status, ExitStatus::Exited(0));
    // The listing's own directory is the last.
    let said = read_log(&log, |said| said.contains(" 4 -> "));
    let places: Vec<&str> = said.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, to)| to).collect();
    assert_eq!((places.len(), places[0], places[3]), (5, "/dev/null", "/etc/passwd"), "{said}");
    assert!(places[1].starts_with("pipe:") && places[1] == places[2], "{said}");
    drop(other);
}

pub(crate) fn a_held_socket_is_passed_with_the_right_pid() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // What is stored last may be passed first.
    for stored in ["stream:2", "stream:1"] {
        let fd = OwnedFd::from(listener.try_clone().unwrap());
        manager.order_with(Order::Store { unit: unit("web"), name: stored.into() }, vec![fd]);
    }
    let file = std::fs::File::open("/etc/passwd").unwrap();
    manager.order_with(Order::Store { unit: unit("web"), name: "conf".into() }, vec![file.into()]);
    let log = manager.log("web");
    let script = "echo pid=$$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; exec ls -lL /proc/self/fd/3 /proc/self/fd/4";
    let listen = vec![passed("stream:1", "http"), passed("conf", "conf"), passed("stream:2", "metrics")];
    let key = manager.spawn("web", 1, SpawnSpec { listen, ..to_log(script) });
    let pid = manager.spawned(&key);
    assert_eq!(manager.exited(&key).status, ExitStatus::Exited(0));
    let said = read_log(&log, |said| said.lines().count() >= 3);
    assert!(said.starts_with(&format!("pid={pid} {pid} 3 http:conf:metrics\n")), "{said}");
    let kinds: Vec<_> = said.lines().skip(1).map(|line| line.chars().next()).collect();
    assert_eq!(kinds, [Some('s'), Some('-')], "{said}");
    // The service is dead and the socket still takes connections.
    drop(listener);
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    manager.order(Order::Forget { unit: unit("web"), name: "stream:1".into() });
    manager.order(Order::Forget { unit: unit("web"), name: "stream:2".into() });
    until("the socket is closed", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
}

pub(crate) fn a_generation_is_started_once() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let refused = SpawnFailure { step: SpawnStep::Prepare, errno: EEXIST };
    let first = manager.spawn_shell("a", 2, "exit 0");
    manager.spawned(&first);
    assert_eq!(failure_of(&mut manager, 2), refused);
    assert_eq!(failure_of(&mut manager, 1), refused);
    manager.exited(&first);
    manager.order(Order::AckExit { key: first });
    manager.order(Order::DropUnit { unit: unit("a") });
    assert_eq!(failure_of(&mut manager, 2), refused);
    let next = manager.spawn_shell("a", 3, "exit 0");
    manager.exited(&next);
}

fn failure_of(manager: &mut Manager<'_>, generation: u64) -> SpawnFailure {
    let wanted = manager.spawn_shell("a", generation, "exit 0");
    manager.wait(|fact, _| match fact {
        Fact::SpawnFailed { key, failure } if *key == wanted => Some(*failure),
        _ => None,
    })
}

pub(crate) fn signals_reach_the_process_or_its_group() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let log = manager.log("a");
    let script = "trap 'echo got; exit 5' USR1; sleep 1000 & echo child=$!; wait";
    let key = manager.spawn("a", 1, to_log(script));
    let said = read_log(&log, |said| said.ends_with('\n'));
    let child = said.trim().strip_prefix("child=").unwrap().parse().unwrap();
    let child = roundsman::base::Pid::new(child).unwrap();
    manager.order(Order::Signal { key: key.clone(), signal: Signal::USR1 });
    assert_eq!(manager.exited(&key).status, ExitStatus::Exited(5));
    assert!(lives(child));
    kill(child, Signal::KILL);

    let key = manager.spawn("a", 2, to_log("sleep 1000 & echo child=$!; wait"));
    let said = read_log(&log, |said| said.contains("child=") && said.ends_with('\n'));
    let child = said.trim().rsplit_once("child=").unwrap().1.parse().unwrap();
    manager.order(Order::SignalGroup { key: key.clone(), signal: Signal::TERM });
    assert!(matches!(manager.exited(&key).status, ExitStatus::Signaled { signal: Signal::TERM, .. }));
    until("the child is gone", || (!lives(roundsman::base::Pid::new(child)?)).then_some(()));

    manager.order(Order::Signal { key: key.clone(), signal: Signal::TERM });
    let errno = manager.wait(|fact, _| match fact {
        Fact::SignalFailed { errno, .. } => Some(*errno),
        _ => None,
    });
    assert_eq!(errno, 3);
}

pub(crate) fn a_stranger_is_signalled_only_if_it_is_the_one_that_was_seen() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let key = manager.spawn_shell("a", 1, "exec sleep 1000");
    let pid = manager.spawned(&key);
    let seen = start_time(pid).unwrap();
    let signal = Signal::TERM;
    manager.order(Order::SignalPid { pid, start_time: seen + 1, signal });
    let other = manager.spawn_shell("b", 1, "exit 0");
    manager.exited(&other);
    assert!(lives(pid));
    manager.order(Order::SignalPid { pid, start_time: seen, signal });
    assert!(matches!(manager.exited(&key).status, ExitStatus::Signaled { signal: Signal::TERM, .. }));
}

pub(crate) fn the_program_taking_over_is_told_where_that_is_asked() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let long = manager.spawn("a", 1, SpawnSpec { confirm_exec: true, ..shell("exec sleep 1000") });
    let short = manager.spawn("b", 1, SpawnSpec { confirm_exec: true, ..shell("exit 0") });
    let never = manager.spawn("c", 1, SpawnSpec { confirm_exec: true, path: text("/nonexistent"), ..shell("") });
    let unasked = manager.spawn("d", 1, shell("exit 0"));
    for wanted in [&long, &short] {
        manager.wait(|fact, _| matches!(fact, Fact::ExecDone { key } if key == wanted).then_some(()));
    }
    manager.exited(&short);
    manager.exited(&unasked);
    manager.wait(|fact, _| matches!(fact, Fact::SpawnFailed { key, .. } if *key == never).then_some(()));
    assert!(!manager.aside().any(|fact| matches!(fact, Fact::ExecDone { .. })));
    let probe = roundsman::base::ProcessKey { role: Role::Probe(1), ..long };
    manager.order(Order::Signal { key: probe, signal: Signal::TERM });
    manager.wait(|fact, _| matches!(fact, Fact::SignalFailed { .. }).then_some(()));
}

pub(crate) fn limits_beyond_ours_are_lowered_and_told() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let log = manager.log("a");
    let limits = vec![ResourceLimit { resource: 7, soft: 55, hard: u64::MAX }];
    let spec = SpawnSpec {
        limits,
        nice: Some(3),
        oom_score_adj: 300,
        ..to_log("ulimit -Sn; ulimit -Hn; nice; cat /proc/self/oom_score_adj")
    };
    let wanted = manager.spawn("a", 1, spec);
    let clamped = manager.wait(|fact, _| match fact {
        Fact::Spawned { key, clamped, .. } if *key == wanted => Some(*clamped),
        Fact::SpawnFailed { key, failure } if *key == wanted => panic!("{failure:?}"),
        _ => None,
    });
    manager.exited(&wanted);
    let said = read_log(&log, |said| said.lines().count() == 4);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("55", "3", "300"));
    assert_eq!(clamped.limits, lines[1] != "unlimited", "{said}");
    assert!(!clamped.nice && !clamped.oom_score);
}

pub(crate) fn a_huge_environment_arrives() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let env = (0..20).map(|index| text(&format!("V{index}={}", "x".repeat(100_000)))).collect();
    let key = manager.spawn("a", 1, SpawnSpec { env, ..shell("[ ${#V19} = 100000 ]") });
    assert_eq!(manager.exited(&key).status, ExitStatus::Exited(0));
    let env = vec![text(&"x".repeat(3_000_000))];
    let failure = failure(&mut manager, "b", SpawnSpec { env, ..shell("") });
    assert_eq!(failure, SpawnFailure { step: SpawnStep::Exec, errno: 7 });
}
