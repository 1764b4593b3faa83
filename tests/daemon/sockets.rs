//! Sockets that the keeper holds.
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    actor,
    support::{
        process::{PATIENCE, Signal, kill, pause, until},
        world::{World, free_port},
    },
};

fn unit(port: u16, more: &str) -> String {
    let policy = "restart = \"always\"\nrestart_sec = \"100ms\"\n[unit]\nstart_limit_burst = 0";
    format!("{}{more}[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n", actor::unit("serve @/mood", policy))
}

/// Who answers at the port.
pub(crate) fn ask(port: u16) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}

/// What a gate answers to one line.
pub(crate) fn ask_gate(address: impl ToSocketAddrs) -> std::io::Result<String> {
    let address = address.to_socket_addrs()?.next().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

/// A gate answers here under this name.
pub(crate) fn gate_says(port: u16, name: &str) {
    let answer = ask_gate(("127.0.0.1", port)).unwrap();
    assert!(answer.starts_with(&format!("{name} ")), "{answer}");
}

fn gate(socket: &str) -> String {
    let policy = "restart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0";
    format!("{}[socket]\n{socket}\n", actor::unit("gate @/log", policy))
}

/// The kernel's number of the socket that listens on a port of 127.0.0.1 or of all addresses.
fn inode(port: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listens = |words: &[&str]| words[1].ends_with(&format!(":{port:04X}")) && words[3] == "0A";
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| listens(words))
        .map(|words| words[9].to_owned())
}

pub(crate) fn each_kind_is_inherited_in_the_order_of_the_file_with_owner_mode_and_links() {
    let (port, more) = (free_port(), free_port());
    let socket = format!(
        "listen_datagram = \"127.0.0.1:{port}\"\nlisten_stream = [\"127.0.0.1:{port}\", \"127.0.0.1:{more}\"]\n\
         listen_fifo = \"@/deep/fifo\"\nfile_descriptor_name = [\"udp\", \"tcp\", \"more\", \"fifo\"]\n\
         socket_user = \"nobody\"\nsocket_mode = \"0620\"\ndirectory_mode = \"0711\"\nsymlinks = \"@/link\""
    );
    let own = format!("socket_user = \"{}\"", nix::unistd::geteuid());
    let is_root = nix::unistd::geteuid().is_root();
    let socket = if is_root { socket } else { socket.replace("socket_user = \"nobody\"", &own) };
    let mut world = World::new();
    world.unit("web", &gate(&socket));
    world.start();
    until("it was started", || world.lines("log").first().map(drop));
    assert!(world.lines("log")[0].starts_with("S udp:tcp:more:fifo "), "{:?}", world.lines("log"));
    gate_says(port, "tcp");
    gate_says(more, "more");
    let meta = std::fs::metadata(world.path("deep/fifo")).unwrap();
    let uid =
        if is_root { nix::unistd::User::from_name("nobody").unwrap().unwrap().uid } else { nix::unistd::geteuid() };
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (uid.as_raw(), 0o620));
    assert_eq!(std::fs::metadata(world.path("deep")).unwrap().mode() & 0o7777, 0o711);
    std::fs::File::options().write(true).open(world.path("link")).unwrap().write_all(b"by link").unwrap();
    until("the FIFO was read", || world.lines("log").iter().any(|line| line.ends_with(" by link")).then_some(()));
    let shown = world.ok(&["show", "web", "--json"]).out;
    assert!(shown.contains("listen_fifo") && shown.contains("listen_datagram"), "{shown}");
    std::fs::remove_file(world.unit_path("web")).unwrap();
    world.ok(&["reload-config"]);
    until("its files are gone", || {
        let gone = |name: &str| std::fs::symlink_metadata(world.path(name)).is_err();
        (gone("deep/fifo") && gone("link")).then_some(())
    });
}

pub(crate) fn no_connection_is_lost_by_200_restarts_under_load() {
    const RESTARTS: usize = 200;
    let port = free_port();
    let world = World::with(&[("web", &gate(&format!("listen_stream = \"127.0.0.1:{port}\"")))]);
    gate_says(port, "web");
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let (mut answered, mut servers) = (0_usize, std::collections::BTreeSet::new());
                while !over.load(Ordering::Relaxed) {
                    let answer = ask_gate(("127.0.0.1", port)).expect("nobody is lost");
                    servers.insert(answer.split(' ').nth(1).unwrap().to_owned());
                    answered += 1;
                }
                (answered, servers.len())
            })
        })
        .collect();
    let starts = || world.lines("log").iter().filter(|line| line.starts_with("S ")).count();
    for round in 1..=RESTARTS {
        let pid = until("it has written that it started", || {
            let lines = world.lines("log");
            let last = lines.last().filter(|line| line.starts_with("S "))?;
            (starts() == round).then(|| last.rsplit(' ').next().unwrap().parse().unwrap())
        });
        // Half of them by the policy, half by order.
        match round % 10 {
            0 => drop(world.ok(&["restart", "web"])),
            _ => kill(pid, Signal::SIGTERM),
        }
    }
    until("the last one is up", || (starts() == RESTARTS + 1).then_some(()));
    over.store(true, Ordering::Relaxed);
    let counts: Vec<(usize, usize)> =
        clients.into_iter().map(|client| client.join().expect("nobody was lost")).collect();
    let answered: usize = counts.iter().map(|(answered, _)| answered).sum();
    assert!(answered > RESTARTS, "{answered} were answered: no load");
    assert!(counts.iter().all(|(_, servers)| *servers > RESTARTS / 10), "each met many runs: {counts:?}");
}

pub(crate) fn a_reload_binds_what_is_new_closes_what_is_gone_and_touches_nothing_else() {
    let (kept, old, new) = (free_port(), free_port(), free_port());
    let listen = |ports: [u16; 2], more: &str| {
        let names = if ports[1] == old { "old" } else { "new" };
        gate(&format!(
            "listen_stream = [\"127.0.0.1:{}\", \"127.0.0.1:{}\", \"@/{names}.sock\"]\nfile_descriptor_name = [\"kept\", \"{names}\", \"path\"]\n{more}",
            ports[0], ports[1]
        ))
    };
    let world = World::with(&[("web", &listen([kept, old], ""))]);
    gate_says(old, "old");
    let (before, pid) = (inode(kept).unwrap(), world.pid("web"));
    world.unit("web", &listen([kept, new], "socket_mode = \"0600\""));
    world.ok(&["reload-config"]);
    // Its queue takes it; the service does not know of it yet.
    let waits = thread::spawn(move || ask_gate(("127.0.0.1", new)));
    assert_eq!(std::fs::metadata(world.path("new.sock")).unwrap().mode() & 0o777, 0o600);
    assert!(std::fs::symlink_metadata(world.path("old.sock")).is_err());
    gate_says(kept, "kept");
    assert_eq!((inode(kept), world.pid("web")), (Some(before.clone()), pid), "untouched");
    gate_says(old, "old");
    assert_eq!(world.status("web")["needs_restart"], true);
    world.ok(&["restart", "web"]);
    assert!(waits.join().unwrap().unwrap().starts_with("new "));
    assert!(TcpStream::connect(("127.0.0.1", old)).is_err(), "its service had it to the end");
    assert_eq!(inode(kept), Some(before));
    gate_says(kept, "kept");
}

pub(crate) fn an_address_that_overlaps_with_its_predecessor_is_changed_at_the_next_start() {
    let port = free_port();
    let world = World::with(&[("web", &gate(&format!("listen_stream = \"127.0.0.1:{port}\"")))]);
    gate_says(port, "web");
    world.unit("web", &gate(&format!("listen_stream = \"0.0.0.0:{port}\"\nfile_descriptor_name = \"all\"")));
    world.ok(&["reload-config"]);
    gate_says(port, "web");
    world.ok(&["restart", "web"]);
    gate_says(port, "all");
}

pub(crate) fn a_stop_keeps_the_sockets_unless_the_unit_says_otherwise() {
    let ports = [free_port(), free_port()];
    let listen = |at: usize, more: &str| {
        gate(&format!("listen_stream = [\"127.0.0.1:{}\", \"@/{at}.sock\"]\n{more}", ports[at]))
    };
    let world = World::with(&[("kept", &listen(0, "")), ("gone", &listen(1, "remove_on_stop = true"))]);
    gate_says(ports[0], "kept");
    gate_says(ports[1], "gone");
    world.ok(&["restart", "gone"]);
    gate_says(ports[1], "gone");
    world.ok(&["stop", "kept", "gone"]);
    let waits = thread::spawn(move || ask_gate(("127.0.0.1", ports[0])));
    assert!(TcpStream::connect(("127.0.0.1", ports[1])).is_err());
    let there = |at: usize| std::fs::symlink_metadata(world.path(&format!("{at}.sock"))).is_ok();
    assert_eq!((there(0), there(1)), (true, false));
    world.ok(&["start", "kept", "gone"]);
    assert!(waits.join().unwrap().unwrap().starts_with("kept "), "it waited");
    gate_says(ports[1], "gone");
    assert!(there(1));
}

pub(crate) fn what_waits_is_thrown_away_where_the_unit_says_so() {
    let ports = [free_port(), free_port()];
    // It takes what comes but answers nobody until it is killed.
    let held = |at: usize, more: &str| {
        let service = actor::unit("steady @/steady w", "restart = \"always\"\nrestart_sec = \"10ms\"");
        format!("{service}[socket]\nlisten_stream = \"127.0.0.1:{}\"\n{more}\n", ports[at])
    };
    let world = World::with(&[("kept", &held(0, "")), ("flushed", &held(1, "flush_pending = true"))]);
    let mut clients = ports.map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    for unit in ["kept", "flushed"] {
        let pid = world.pid(unit);
        kill(pid, Signal::SIGKILL);
        world.until_status(unit, "the next run", |status| status["generation"] == 2);
    }
    let mut byte = [0];
    let waits = clients[0].read(&mut byte).expect_err("it waits").kind();
    assert!(matches!(waits, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{waits:?}");
    assert!(matches!(clients[1].read(&mut byte), Ok(0) | Err(_)) && clients[1].take_error().unwrap().is_none());
    assert!(
        clients[1].write_all(b"x").and_then(|()| clients[1].read(&mut byte)).is_ok_and(|length| length == 0)
            || clients[1].write_all(b"x").is_err()
    );
}

pub(crate) fn an_owner_that_is_not_there_is_refused_at_load() {
    let world = World::with(&[("web", "[service]\nexec_start = \"sleep 1000\"\n")]);
    for key in ["socket_user", "socket_group"] {
        world.unit("door", &gate(&format!("listen_stream = \"@/s\"\n{key} = \"no-such-name\"")));
        let said = world.ctl(&["reload-config"]);
        assert!(said.code == 1 && said.err.contains("no-such-name"), "{said:?}");
    }
}

pub(crate) fn a_port_that_is_taken_is_named_and_others_run() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let text =
        format!("{}[socket]\nlisten_stream = \"127.0.0.1:{port}\"\n", actor::unit("serve @/mood", "restart = \"no\""));
    let world = World::with(&[("web", &text), ("good", "[service]\nexec_start = \"sleep 1000\"\n")]);
    world.until_active("web", "failed");
    world.until_active("good", "active");
    assert!(world.log().contains(&format!("127.0.0.1:{port}")), "{}", world.log());
    drop(other);
    world.ok(&["start", "web"]);
    let pid = world.pid("web");
    assert_eq!(ask(port).unwrap(), pid.to_string());
}

pub(crate) fn a_unit_whose_file_is_gone_gives_back_its_port() {
    let port = free_port();
    let world = World::with(&[("web", &unit(port, ""))]);
    assert_eq!(ask(port).unwrap(), world.pid("web").to_string());
    std::fs::remove_file(world.unit_path("web")).unwrap();
    world.ok(&["reload-config"]);
    until("the port is free", || TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(()));
    world.unit("web", &unit(port, ""));
    world.ok(&["reload-config"]);
    world.until_active("web", "active");
    assert_eq!(ask(port).unwrap(), world.pid("web").to_string(), "and takes it again");
}

pub(crate) fn a_client_that_comes_while_the_service_is_dead_is_answered_by_the_next() {
    let port = free_port();
    let world = World::with(&[("web", &unit(port, ""))]);
    let first = world.pid("web");
    assert_eq!(ask(port).unwrap(), first.to_string());
    kill(first, Signal::SIGKILL);
    world.until_status("web", "it is down", |status| status["pid"].as_i64() != Some(i64::from(first)));
    let answer = ask(port).unwrap();
    assert_ne!(answer, first.to_string());
    assert_eq!(answer, world.pid("web").to_string());
}

pub(crate) fn nobody_is_refused_while_the_service_is_killed_twenty_times() {
    let port = free_port();
    let world = World::with(&[("web", &unit(port, ""))]);
    world.until_active("web", "active");
    let over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&over);
    // A kill may cost those whose connection the dead service had accepted; nobody is refused, nobody waits for ever.
    let client = thread::spawn(move || {
        let (mut answered, mut cut) = (0_u32, 0_u32);
        while !seen.load(Ordering::Relaxed) {
            match ask(port) {
                Ok(_) => answered += 1,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => panic!("refused"),
                Err(_) => cut += 1,
            }
        }
        (answered, cut)
    });
    for round in 0..20 {
        let before = world.until_active("web", "active");
        pause(20);
        kill(i32::try_from(before["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
        if round % 5 == 0 {
            world.kill_manager();
        }
        world.until_status("web", "the next run", |now| now["generation"] != before["generation"]);
    }
    over.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let (answered, cut) = client.join().expect("nobody was refused");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(answered > 20, "{answered} were answered");
    assert!(cut <= 20, "{cut} connections were cut by 20 kills");
}
