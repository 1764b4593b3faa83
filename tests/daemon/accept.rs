//! Units that accept connections.
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::support::{
    process::{PATIENCE, Signal, command, kill, lives, need_root, until},
    world::{World, free_port},
};

/// What inetd has run since 1986.
const CAT: &str = "[unit]\nstart_limit_burst = 0\n[service]\nexec_start = \"/bin/cat\"\nstandard_input = \"socket\"\n";

fn echo(port: u16, more: &str) -> String {
    format!("{CAT}[socket]\naccept = true\nlisten_stream = [\"127.0.0.1:{port}\", \"@/echo\"]\n{more}\n")
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back; nothing when the other end closes.
fn say(stream: &mut (impl Read + Write), text: &str) -> String {
    let mut answer = vec![0; text.len()];
    // The answer tells whether anyone listened.
    stream.write_all(text.as_bytes()).ok();
    let mut length = 0;
    while length < answer.len() {
        match stream.read(&mut answer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
            Err(error) => panic!("neither an answer nor the end: {error}"),
        }
    }
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

fn is_closed(stream: &mut (impl Read + Write)) -> bool {
    say(stream, "anyone?").is_empty()
}

/// The names of the instances that there are.
fn instances(world: &World) -> Vec<String> {
    // 3 says that one is on its way up: its client may have been answered before we are told of its process.
    let said = world.ctl(&["status", "--json"]);
    assert!(matches!(said.code, 0 | 3), "{said:?}");
    let all = said.json();
    let names = all["units"].as_array().unwrap().iter().map(|unit| unit["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.contains('@') && !name.ends_with('@')).collect()
}

fn until_instances(world: &World, count: usize) -> Vec<String> {
    until(&format!("{count} instances"), || Some(instances(world)).filter(|all| all.len() == count))
}

fn counts(world: &World) -> (u64, u64, u64) {
    let accepted = world.status("echo@")["accepted"].clone();
    let number = |key: &str| accepted[key].as_u64().unwrap();
    (number("n_accepted"), number("n_connections"), number("n_refused"))
}

pub(crate) fn each_connection_is_an_instance_with_its_client_as_standard_input() {
    let port = free_port();
    let world = World::with(&[("echo@", &echo(port, ""))]);
    world.until_status("echo@", "it listens", |status| status["sub"] == "listening" && status["active"] == "active");
    let mut tcp = connect(port);
    assert_eq!(say(&mut tcp, "hello"), "hello");
    let mut unix = UnixStream::connect(world.path("echo")).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(say(&mut unix, "unix"), "unix");
    let own = (tcp.local_addr().unwrap(), std::process::id(), nix::unistd::getuid());
    let expected = [format!("echo@0-127.0.0.1:{port}-{}", own.0), format!("echo@1-{}-{}", own.1, own.2)];
    assert_eq!(instances(&world), expected);
    assert_eq!(world.status(&expected[0])["description"], own.0.to_string());
    assert_eq!(counts(&world), (2, 2, 0));
    let shown = world.ok(&["status", "echo@"]).out;
    assert!(shown.contains("Connections: 2 now, 2 accepted, 0 refused"), "{shown}");
    let pid = world.pid(&expected[0]);
    drop(tcp);
    assert_eq!(until_instances(&world, 1), [&*expected[1]]);
    assert!(!lives(pid));
    kill(world.pid(&expected[1]), Signal::SIGKILL);
    assert!(is_closed(&mut unix), "nobody else has it open");
    let failed = world.until_active(&expected[1], "failed");
    assert_eq!(failed["result"], "signal");
    assert_eq!(world.ctl(&["start", &expected[1]]).code, 1, "its connection is gone");
    world.ok(&["reset", &expected[1]]);
    until_instances(&world, 0);
    // What it did is found under its name, though it is gone; what it wrote is with its template.
    for (name, ended) in expected.iter().zip(["exit code 0", "killed by SIGKILL"]) {
        let own = world.history(name, 1);
        assert_eq!((own.len(), &own[0]["unit"], &own[0]["status"]), (1, &name.as_str().into(), &ended.into()));
        let refused = world.ctl(&["logs", name]);
        assert!(refused.code == 1 && refused.err.contains("supervisorctl logs echo@"), "{refused:?}");
    }
    assert_eq!(world.ok(&["history", "echo@1-7-7", "--json"]).json()["runs"], serde_json::json!([]));
    let history = world.history("echo@", 2);
    assert_eq!((&history[0]["cause"], &history[1]["cause"]), (&"connection".into(), &"connection".into()));
}

pub(crate) fn an_instance_gets_its_connection_as_descriptor_3_and_knows_its_client() {
    let port = free_port();
    let service = "[service]\nexec_start = \"/bin/sh -c 'echo to the log; { env; ls /proc/self/fd; } >&3'\"\n";
    let world = World::with(&[(
        "tell@",
        &format!("{service}[socket]\naccept = true\nlisten_stream = [\"127.0.0.1:{port}\", \"[::1]:{port}\"]\n"),
    )]);
    for (client, address) in [("127.0.0.1", [127, 0, 0, 1].into()), ("::1", std::net::Ipv6Addr::LOCALHOST.into())] {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let own = stream.local_addr().unwrap().port();
        for line in [
            "LISTEN_FDS=1",
            "LISTEN_FDNAMES=connection",
            &format!("REMOTE_ADDR={client}"),
            &format!("REMOTE_PORT={own}"),
        ] {
            assert!(said.lines().any(|said| said == line), "{line} is not in {said}");
        }
        // ls has its own folder open as well.
        let descriptors: Vec<&str> = said.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
        assert_eq!(descriptors, ["0", "1", "2", "3", "4"]);
    }
    until("all output is kept", || (world.captured("tell@") == "to the log\nto the log\n").then_some(()));
}

pub(crate) fn a_client_on_the_same_link_is_told_with_its_interface() {
    need_root("it makes a network of its own");
    let mut world = World::new();
    let more = "exec_stop_post = \"/bin/sh -c 'echo then $REMOTE_ADDR'\"";
    let service = format!("[service]\nexec_start = \"/bin/sh -c 'echo $REMOTE_ADDR >&3; read line <&3'\"\n{more}\n");
    world.unit("tell@", &format!("{service}[socket]\naccept = true\nlisten_stream = \"[::]:7\"\n"));
    let plain = world.command();
    let mut own = command("unshare");
    let network = "ip link set lo up; ip addr add fe80::1/64 dev lo scope link; exec \"$@\"";
    own.args(["--net", "sh", "-c", network, "sh"]).arg(plain.get_program()).args(plain.get_args());
    let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
    world.adopt(own.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap());
    world.await_answer();
    let client = "exec 3<>/dev/tcp/fe80::1%lo/7; read -r said <&3; echo $said; read -r; echo >&3";
    let mut inside = command("nsenter");
    inside.args(["-t", &world.keeper().to_string(), "--net", "bash", "-c", client]);
    let mut inside = inside.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 11];
    inside.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said), "fe80::1%lo\n");
    // The next manager asks the connection again.
    world.kill_manager();
    world.await_answer();
    inside.stdin.take().unwrap().write_all(b"\n").unwrap();
    until("it ends", || world.captured("tell@").contains("then").then_some(()));
    assert_eq!(world.captured("tell@"), "then fe80::1%lo\n");
    assert!(inside.wait().unwrap().success() && world.stop().success());
}

pub(crate) fn a_start_says_why_it_cannot_listen() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let world = World::with(&[("echo@", &echo(port, ""))]);
    world.until_active("echo@", "failed");
    let refused = world.ctl(&["start", "echo@"]);
    assert!(refused.code == 1 && refused.out.contains("cannot listen: address already in use"), "{refused:?}");
    assert!(world.log().contains(&format!("127.0.0.1:{port}")), "the log names the socket");
    drop(other);
    world.ok(&["start", "echo@"]);
    assert_eq!(say(&mut connect(port), "hello"), "hello");
}

pub(crate) fn connections_above_the_limits_are_closed_and_the_others_served() {
    let port = free_port();
    let world = World::with(&[("echo@", &echo(port, "max_connections = 3\nmax_connections_per_source = 2"))]);
    let mut served: Vec<TcpStream> = (0..2).map(|_| connect(port)).collect();
    served.iter_mut().for_each(|stream| assert_eq!(say(stream, "in"), "in"));
    assert!(is_closed(&mut connect(port)), "two of one source");
    let unix = || UnixStream::connect(world.path("echo")).unwrap();
    let mut third = unix();
    assert_eq!(say(&mut third, "in"), "in");
    assert!(is_closed(&mut unix()), "three in all");
    assert_eq!(counts(&world), (3, 3, 2));
    drop(served.pop());
    until_instances(&world, 2);
    assert_eq!(say(&mut connect(port), "again"), "again");
}

pub(crate) fn a_stop_refuses_clients_and_leaves_those_that_are_served() {
    let port = free_port();
    let world = World::with(&[("echo@", &echo(port, ""))]);
    let mut stream = connect(port);
    assert_eq!(say(&mut stream, "one"), "one");
    world.ok(&["stop", "echo@"]);
    let refused = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(!world.path("echo").exists());
    assert_eq!(say(&mut stream, "two"), "two");
    world.unit("echo@", &echo(port, "max_connections = 9"));
    world.ok(&["reload-config"]);
    assert_eq!(say(&mut stream, "three"), "three", "a reload leaves them too");
    world.ok(&["start", "echo@"]);
    assert_eq!(say(&mut connect(port), "new"), "new");
    fs::remove_file(world.unit_path("echo@")).unwrap();
    world.ok(&["reload-config"]);
    until("all goes with the file", || is_closed(&mut stream).then_some(()));
    until_instances(&world, 0);
}

pub(crate) fn a_template_that_connections_start_too_often_fails() {
    let port = free_port();
    let world = World::with(&[("echo@", &echo(port, "trigger_limit_burst = 3\ntrigger_limit_interval_sec = 60"))]);
    for _ in 0..3 {
        assert_eq!(say(&mut connect(port), "in"), "in");
    }
    assert!(is_closed(&mut connect(port)));
    assert_eq!(world.until_active("echo@", "failed")["result"], "trigger-limit-hit");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

pub(crate) fn kill_9_of_the_manager_closes_no_connection_that_is_served() {
    let port = free_port();
    let mut world = World::with(&[("echo@", &echo(port, ""))]);
    let mut streams: Vec<TcpStream> = (0..5).map(|_| connect(port)).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(say(stream, "before"), "before"));
    let before = instances(&world);
    for _ in 0..3 {
        world.kill_manager();
        streams.iter_mut().for_each(|stream| assert_eq!(say(stream, "meanwhile"), "meanwhile"));
        assert_eq!(until_instances(&world, 5), before);
    }
    world.kill_manager();
    drop(streams.pop());
    drop(streams.remove(0));
    until_instances(&world, 3);
    assert_eq!(say(&mut connect(port), "new"), "new");
    assert_eq!(counts(&world).0, 6, "the numbers go on");
    world.stop();
    assert!(streams.iter_mut().all(is_closed));
}

pub(crate) fn whoever_connects_while_managers_die_is_served_or_told() {
    const CLIENTS: usize = 4;
    const KILLS: usize = 5;
    const VISITS_MIN: usize = 60;
    /// No more rows in all than one look at them shows.
    const VISITS_MAX: usize = 200;
    let port = free_port();
    let more = "max_connections = 1000\ntrigger_limit_burst = 0";
    let mut world = World::with(&[("echo@", &echo(port, more))]);
    let is_over = Arc::new(AtomicBool::new(false));
    let client = |_| {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            let goes_on = |visit: &usize| *visit < VISITS_MIN || !is_over.load(Ordering::Relaxed);
            // Each waits until it is answered or told that it will not be.
            let answers = (0..VISITS_MAX).take_while(goes_on).map(|_| say(&mut connect(port), "hello") == "hello");
            answers.fold((0, 0), |(served, told), answer| (served + usize::from(answer), told + usize::from(!answer)))
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    for _ in 0..KILLS {
        crate::support::process::pause(150);
        world.kill_manager();
    }
    is_over.store(true, Ordering::Relaxed);
    let add = |(served, told), (more_served, more_told)| (served + more_served, told + more_told);
    let (served, told) = clients.into_iter().map(|client| client.join().unwrap()).fold((0, 0), add);
    println!("{served} were served, {told} told that they are not");
    assert!(
        served >= CLIENTS * VISITS_MIN - CLIENTS * KILLS && told <= CLIENTS * KILLS,
        "a manager that dies has one of each"
    );
    world.await_answer();
    until_instances(&world, 0);
    let rows: Vec<i64> = world.history("echo@", served).iter().map(|run| run["generation"].as_i64().unwrap()).collect();
    assert!(rows.is_sorted_by(|later, earlier| later > earlier), "no number twice");
}

pub(crate) fn hundreds_of_connections_in_turn_leave_nothing_behind() {
    let port = free_port();
    let world = World::with(&[("echo@", &echo(port, "trigger_limit_burst = 0"))]);
    let turn = |count: usize| (0..count).for_each(|_| assert_eq!(say(&mut connect(port), "x"), "x"));
    turn(50);
    until_instances(&world, 0);
    let open = |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let both = |world: &World| (open(world.keeper()), open(world.manager()));
    let before = until("all is closed", || {
        let first = both(&world);
        crate::support::process::pause(50);
        (first == both(&world)).then_some(first)
    });
    turn(400);
    until_instances(&world, 0);
    until("no descriptor more than before", || (both(&world) == before).then_some(()));
    let logs = fs::read_dir(world.path("logs")).map_or(0, Iterator::count);
    assert!(logs <= 1, "{logs} log folders");
    assert_eq!(counts(&world), (450, 0, 0));
    // What the keeper has of an instance goes with the row of its end.
    world.history("echo@", 450);
    until("the keeper forgets", || {
        let units = fs::read(world.path("run/units")).unwrap();
        let records = units.chunks(256).skip(1).filter(|record| record[..12] != [0; 12]).count();
        (records <= 1).then_some(())
    });
}

pub(crate) fn a_manager_without_descriptors_keeps_clients_waiting_and_restarts_others() {
    let port = free_port();
    let other = "[unit]\nstart_limit_burst = 0\n[service]\nexec_start = \"/bin/sleep 1234\"\nrestart = \"always\"\nrestart_sec = 0\n";
    let world = World::with(&[("echo@", &echo(port, "")), ("other", other)]);
    let limit = |world: &World, number: &str| {
        let pid = world.manager().to_string();
        assert!(command("prlimit").args(["--pid", &pid, &format!("--nofile={number}:")]).status().unwrap().success());
    };
    // What is open stays open, and nothing can be opened.
    limit(&world, "5");
    let mut stream = connect(port);
    until("it is told", || world.log().contains("cannot take a connection now").then_some(()));
    let pid = crate::support::process::with_command("/bin/sleep 1234")[0];
    kill(pid, Signal::SIGKILL);
    until("the other is restarted", || {
        crate::support::process::with_command("/bin/sleep 1234").into_iter().find(|other| *other != pid)
    });
    limit(&world, "1024");
    assert_eq!(say(&mut stream, "late"), "late");
}
