//! Services that wait for traffic.
use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::AsRawFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::{
    actor,
    sockets::{ask_gate, gate_says},
    support::{
        process::{PATIENCE, Signal, kill, pause, until},
        world::{World, free_port},
    },
};

/// How long the services of these tests wait for more.
const IDLE_MILLIS: u64 = 150;

fn unit(log: &str, listen: &str, more: &str) -> String {
    let policy = "[unit]\nstart_limit_burst = 0";
    format!(
        "{}[socket]\nlazy = true\n{listen}\n{more}\n",
        actor::unit(&format!("gate @/{log}.log {IDLE_MILLIS}"), policy)
    )
}

fn until_listening(world: &World, unit: &str) {
    world.until_status(unit, "it listens", |status| status["sub"] == "listening" && status["pid"].is_null());
}

fn log_of(world: &World, log: &str) -> Vec<String> {
    world.lines(&format!("{log}.log"))
}

/// How often a service wrote that it started.
fn starts(world: &World, log: &str) -> usize {
    log_of(world, log).iter().filter(|line| line.starts_with("S ")).count()
}

/// A unit's one socket, as it is written in its file and as it is called.
struct Door {
    unit: &'static str,
    listen: String,
    call: Call,
}

enum Call {
    Inet(SocketAddr),
    Udp(SocketAddr),
    Unix(SockType, UnixAddr),
    /// Who sends there hears nothing.
    Datagram(PathBuf),
    Fifo(PathBuf),
}

fn doors(world: &World) -> Vec<Door> {
    let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (tcp, udp, tcp6) = (local(), local(), SocketAddr::from((Ipv6Addr::LOCALHOST, free_port())));
    let own = format!("rm-lazy-{}", std::process::id());
    let unix = |name: &str| UnixAddr::new(&world.path(name)).unwrap();
    let door = |unit: &'static str, key: &str, address: &str, call: Call| Door {
        unit,
        listen: format!("listen_{key} = \"{address}\""),
        call,
    };
    vec![
        door("tcp", "stream", &tcp.to_string(), Call::Inet(tcp)),
        door("tcp6", "stream", &tcp6.to_string(), Call::Inet(tcp6)),
        door("udp", "datagram", &udp.to_string(), Call::Udp(udp)),
        door("stream", "stream", "@/stream", Call::Unix(SockType::Stream, unix("stream"))),
        // An @ would be the world's directory.
        door(
            "abstract",
            "stream",
            &format!("\\u0040{own}"),
            Call::Unix(SockType::Stream, UnixAddr::new_abstract(own.as_bytes()).unwrap()),
        ),
        door("packet", "sequential_packet", "@/packet", Call::Unix(SockType::SeqPacket, unix("packet"))),
        door("datagram", "datagram", "@/datagram", Call::Datagram(world.path("datagram"))),
        door("fifo", "fifo", "@/fifo", Call::Fifo(world.path("fifo"))),
    ]
}

impl Call {
    /// Says hello; what the service answers, where it can.
    fn hello(&self) -> Option<String> {
        let mut answer = [0; 256];
        let length = match self {
            Self::Inet(address) => return Some(ask_gate(address).unwrap()),
            Self::Udp(address) => {
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.send_to(b"hello", address).unwrap();
                client.recv(&mut answer).unwrap()
            }
            Self::Unix(kind, address) => {
                let fd = socket(AddressFamily::Unix, *kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
                connect(fd.as_raw_fd(), address).unwrap();
                let mut stream = UnixStream::from(fd);
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(b"hello").unwrap();
                stream.read(&mut answer).unwrap()
            }
            Self::Datagram(path) => {
                UnixDatagram::unbound().unwrap().send_to(b"hello", path).unwrap();
                return None;
            }
            Self::Fifo(path) => {
                File::options().write(true).open(path).unwrap().write_all(b"hello").unwrap();
                return None;
            }
        };
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

pub(crate) fn a_service_of_each_kind_starts_with_its_first_traffic_and_listens_again_when_it_is_idle() {
    let mut world = World::new();
    let doors = doors(&world);
    for Door { unit: name, listen, .. } in &doors {
        world.unit(name, &unit(name, listen, ""));
    }
    world.start();
    for Door { unit, .. } in &doors {
        until_listening(&world, unit);
        assert_eq!(starts(&world, unit), 0);
    }
    for round in 1..=2 {
        for Door { unit, call, .. } in &doors {
            let heard = |line: &String| line.contains(&format!(" {unit} ")) && line.ends_with(" hello");
            match call.hello() {
                Some(answer) => {
                    assert!(answer.starts_with(&format!("{unit} ")) && answer.ends_with(" hello"), "{answer}");
                }
                None => until("it was heard", || {
                    (log_of(&world, unit).iter().filter(|line| heard(line)).count() == round).then_some(())
                }),
            }
        }
        for Door { unit, .. } in &doors {
            until_listening(&world, unit);
            assert_eq!(starts(&world, unit), round, "{unit}");
        }
    }
    let runs = world.history("tcp", 2);
    assert!(runs.iter().all(|run| run["cause"] == "traffic"), "{runs:#?}");
    assert_eq!(world.ctl(&["status"]).code, 0, "whoever comes is served");
    assert_eq!(world.ctl(&["check", "tcp"]).code, 0);
}

pub(crate) fn a_stop_ends_the_listening_and_a_start_does_not_wait_for_traffic() {
    let port = free_port();
    let world = World::with(&[("web", &unit("web", &format!("listen_stream = \"127.0.0.1:{port}\""), ""))]);
    until_listening(&world, "web");
    world.ok(&["stop", "web"]);
    let mut waits = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it is held");
    waits.write_all(b"early").unwrap();
    pause(2 * IDLE_MILLIS);
    assert_eq!((starts(&world, "web"), world.status("web")["sub"].as_str()), (0, Some("dead")));
    world.ok(&["enable", "web"]);
    waits.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(" early"), "what waited is traffic: {answer:?}");
    until_listening(&world, "web");
    world.ok(&["start", "web"]);
    until("nobody had to come", || (starts(&world, "web") == 2).then_some(()));
    until_listening(&world, "web");
    let runs = world.history("web", 2);
    assert_eq!((&runs[0]["cause"], &runs[1]["cause"]), (&"manual".into(), &"traffic".into()));
}

pub(crate) fn kill_9_of_the_manager_while_it_listens_loses_no_trigger_and_doubles_none() {
    const ROUNDS: usize = 40;
    let port = free_port();
    let world = World::with(&[(
        "web",
        &unit("web", &format!("listen_stream = \"127.0.0.1:{port}\""), "trigger_limit_burst = 0"),
    )]);
    let mut up = world.managers_up();
    for round in 0..ROUNDS {
        until_listening(&world, "web");
        let manager = world.manager();
        // Before, while and after the traffic is seen.
        let client = thread::spawn(move || {
            pause(u64::try_from(round).unwrap() * 7 % 11);
            ask_gate(("127.0.0.1", port))
        });
        pause(u64::try_from(round).unwrap() * 13 % 17);
        kill(manager, Signal::SIGKILL);
        let answer = client.join().unwrap().expect("it is answered");
        assert!(answer.starts_with("web "), "{answer}");
        until("the next manager is up", || (world.managers_up() > up).then_some(()));
        up = world.managers_up();
        until("it has ended", || {
            let lines = log_of(&world, "web");
            lines.len().is_multiple_of(2).then_some(())
        });
    }
    until_listening(&world, "web");
    let lines = log_of(&world, "web");
    assert_eq!(starts(&world, "web"), ROUNDS, "one start for each");
    for pair in lines.chunks(2) {
        let (started, ended) = (pair[0].split_once(' ').unwrap(), pair[1].split_once(' ').unwrap());
        assert_eq!((started.0, ended.0, started.1), ("S", "E", ended.1), "never two at once");
    }
    let runs = world.history("web", ROUNDS);
    assert_eq!(runs.len(), ROUNDS);
    assert!(runs.iter().all(|run| run["cause"] == "traffic"), "{runs:#?}");
}

pub(crate) fn a_service_that_takes_nothing_is_given_up_by_the_trigger_limit() {
    let port = free_port();
    let text = format!(
        "[service]\nexec_start = \"true\"\n[unit]\nstart_limit_burst = 0\n\
         [socket]\nlazy = true\nlisten_stream = \"127.0.0.1:{port}\"\ntrigger_limit_burst = 7\ntrigger_limit_interval_sec = \"1min\"\n"
    );
    let world = World::with(&[("web", &text)]);
    until_listening(&world, "web");
    let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let status = world.until_active("web", "failed");
    assert_eq!((&status["result"], &status["generation"]), (&"trigger-limit-hit".into(), &7.into()), "{status:#}");
    assert_eq!(world.until_notices("start_limit_hit", 1).len(), 1);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = text.replace(&port.to_string(), &other.local_addr().unwrap().port().to_string());
    world.unit("late", &taken);
    world.ok(&["reload-config"]);
    let status = world.until_active("late", "failed");
    assert_eq!(status["result"], "resources", "a port that is taken: {status:#}");
}

pub(crate) fn an_upgrade_in_place_and_a_reload_leave_it_listening() {
    let (port, more) = (free_port(), free_port());
    let listen = |ports: &[u16]| {
        let list: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        unit("web", &format!("listen_stream = [{}]", list.join(", ")), "")
    };
    let world = World::with(&[("web", &listen(&[port]))]);
    until_listening(&world, "web");
    let up = world.managers_up();
    world.signal(Signal::SIGUSR2);
    until("the upgraded manager is up", || (world.managers_up() > up).then_some(()));
    until_listening(&world, "web");
    gate_says(port, "web");
    until_listening(&world, "web");
    world.unit("web", &listen(&[port, more]));
    world.ok(&["reload-config"]);
    gate_says(more, "web");
    until_listening(&world, "web");
    world.unit("web", &listen(&[more]));
    world.ok(&["reload-config"]);
    let started = Instant::now();
    until("the old address is given back", || TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(()));
    assert!(started.elapsed() < Duration::from_secs(5));
    gate_says(more, "web");
    std::fs::remove_file(world.unit_path("web")).unwrap();
    world.ok(&["reload-config"]);
    until("and the new one", || TcpListener::bind(("127.0.0.1", more)).is_ok().then_some(()));
}
