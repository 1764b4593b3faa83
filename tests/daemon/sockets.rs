//! Sockets that the keeper holds.
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
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
