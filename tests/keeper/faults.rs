use std::{
    fs,
    time::{Duration, Instant},
};

use roundsman::{
    base::{ExitStatus, Signal},
    keeper::client::Pending,
    wire::keeper::{Fact, ManagerCause, Notified, Order, Output, SpawnSpec, Stream},
};

use crate::children::passed;
use crate::world::{Manager, World, kill, lives, read_log, shell, text, unit, until};

fn children(world: &World) -> String {
    let keeper = world.keeper_pid();
    fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap()
}

pub(crate) fn orphans_of_a_double_fork_are_reaped() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let key = manager.spawn_shell("a", 1, "(sleep 0.2 & setsid sleep 0.3 &) ; exit 0");
    manager.exited(&key);
    // Both are the keeper's now, live, and end.
    until("only the manager is left", || (children(&world).split_whitespace().count() == 1).then_some(()));
}

pub(crate) fn ten_thousand_zombies_are_reaped_within_a_second() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let own = std::env::current_exe().unwrap();
    let argv = ["service", "zombies", "10000"].map(text).to_vec();
    let key = manager.spawn("a", 1, SpawnSpec { path: text(own.to_str().unwrap()), argv, ..shell("") });
    let pid = manager.spawned(&key);
    until("their parent has stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.contains(") T ").then_some(())
    });
    let zombies = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let zombies = zombies.split_whitespace().count();
    let before = Instant::now();
    kill(pid, Signal::KILL);
    manager.exited(&key);
    until("only the manager is left", || (children(&world).split_whitespace().count() == 1).then_some(()));
    let took = before.elapsed();
    println!("{zombies} zombies reaped in {took:?}");
    assert!(zombies == 10_000 && took < Duration::from_secs(1), "{zombies} zombies, {took:?}");
}

/// A service that sends these texts to the keeper's notify socket.
fn notifier(world: &World, texts: &[&str]) -> SpawnSpec {
    let own = std::env::current_exe().unwrap();
    let socket = world.notify_socket();
    let mut argv = vec!["service", "notify", socket.to_str().unwrap()];
    argv.extend(texts);
    SpawnSpec { path: text(own.to_str().unwrap()), argv: argv.into_iter().map(text).collect(), ..shell("") }
}

fn notified(manager: &mut Manager<'_>) -> Notified {
    manager.wait(|fact, _| match fact {
        Fact::Notified(notified) => Some(notified.clone()),
        _ => None,
    })
}

pub(crate) fn a_datagram_says_who_sent_it_and_waits_for_its_acknowledgement() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let key = manager.spawn("a", 1, notifier(&world, &["READY=1", "STOPPING=1"]));
    let pid = manager.spawned(&key);
    let first = notified(&mut manager);
    assert_eq!((first.bytes.as_slice(), first.key.as_ref()), (&b"READY=1"[..], Some(&key)));
    assert_eq!((first.pid, first.uid), (pid.raw().cast_unsigned(), nix::unistd::getuid().as_raw()));
    let second = notified(&mut manager);
    manager.exited(&key);
    manager.order(Order::AckNotified { seq: first.seq });
    manager.order(Order::AckExit { key });
    kill(manager.pid, Signal::KILL);
    drop(manager);
    let (_manager, snapshot) = world.next_manager();
    match snapshot.pending.as_slice() {
        [Pending::Notified(again, _)] => assert_eq!(*again, second),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn a_datagram_is_told_before_its_senders_end() {
    let world = World::new();
    let mut manager = world.ready_manager();
    for generation in 1..=20 {
        let key = manager.spawn("a", generation, notifier(&world, &["READY=1"]));
        let told = manager.wait(|fact, _| match fact {
            Fact::Notified(notified) => Some(notified.key.clone()),
            Fact::Exited(exit) if exit.key == key => panic!("its end came first"),
            _ => None,
        });
        assert_eq!(told.as_ref(), Some(&key));
        assert_eq!(manager.exited(&key).status, ExitStatus::Exited(0));
    }
}

pub(crate) fn nonsense_on_the_socket_costs_the_manager_its_life_and_no_other() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let key = manager.spawn_shell("a", 1, "exec sleep 1000");
    let pid = manager.spawned(&key);
    kill(manager.pid, Signal::KILL);
    drop(manager);
    let (_, socket) = world.next_manager_socket();
    let socket = roundsman::sys::PacketSocket::from(socket);
    socket.send(&[0, 255, 255, 255], &[]).unwrap();
    let (_manager, snapshot) = world.next_manager();
    assert_eq!(snapshot.cause, ManagerCause::Crash);
    assert!(lives(pid));
    assert_eq!(snapshot.processes.len(), 1);
}

pub(crate) fn services_survive_their_keeper_and_the_next_one_takes_them_over() {
    let mut world = World::new();
    let mut manager = world.ready_manager();
    let stays = manager.spawn_remembered("a", 3, shell("exec sleep 1000"), Some(b"wish".to_vec()));
    let pid = manager.spawned(&stays);
    let asked = manager.spawn_shell("b", 1, "trap 'exit 9' TERM; while :; do sleep 0.01; done");
    let asked_pid = manager.spawned(&asked);
    let ended = manager.spawn_shell("c", 1, "exit 7");
    manager.exited(&ended);
    let acknowledged = manager.spawn_shell("d", 1, "exit 7");
    manager.exited(&acknowledged);
    manager.order(Order::AckExit { key: acknowledged.clone() });
    let dies = manager.spawn_shell("e", 1, "exec sleep 1000");
    let dies_pid = manager.spawned(&dies);
    // Orders are read in order, so by now the acknowledgement has been.
    kill(world.keeper_pid(), Signal::KILL);
    drop(manager);
    world.keeper.wait().unwrap();
    assert!(lives(pid) && lives(asked_pid));
    kill(dies_pid, Signal::KILL);
    until("it is gone", || {
        (!std::path::Path::new(&format!("/proc/{dies_pid}")).exists() || !lives(dies_pid)).then_some(())
    });

    world.keeper = World::keeper_command(world.folder.path(), &[]).spawn().unwrap();
    let (mut manager, snapshot) = world.next_manager();
    manager.order(Order::Ready);
    let running: Vec<_> = snapshot.processes.iter().map(|process| (process.key.clone(), process.pid)).collect();
    // One that is a zombie of a slow init is still there; its end comes at once.
    assert!(running.contains(&(stays.clone(), pid)) && running.contains(&(asked.clone(), asked_pid)), "{running:?}");
    let memo = snapshot.units.iter().find(|record| record.unit == unit("a")).map(|record| record.memo.as_slice());
    assert_eq!(memo, Some(&b"wish"[..]));
    let statuses: Vec<_> = snapshot
        .pending
        .iter()
        .filter_map(|pending| match pending {
            Pending::Exited(exit) => Some((exit.key.clone(), exit.status)),
            _ => None,
        })
        .collect();
    assert!(statuses.contains(&(ended, ExitStatus::Exited(7))), "{statuses:?}");
    assert!(!statuses.iter().any(|(key, _)| *key == acknowledged), "{statuses:?}");
    let told = statuses.iter().find(|(key, _)| *key == dies).map(|(_, status)| *status);
    let told = told.unwrap_or_else(|| manager.exited(&dies).status);
    let killed = ExitStatus::Signaled { signal: Signal::KILL, core: false };
    assert!(told == killed || told == ExitStatus::Unknown, "{told}");
    // What it takes over it can signal, and it starts none twice.
    manager.order(Order::Signal { key: asked.clone(), signal: Signal::TERM });
    let exit = manager.exited(&asked);
    assert!(matches!(exit.status, ExitStatus::Exited(9) | ExitStatus::Unknown), "{exit:?}");
    assert_eq!(exit.usage, None);
    let again = manager.spawn_shell("a", 3, "exit 0");
    manager.wait(|fact, _| matches!(fact, Fact::SpawnFailed { key, .. } if *key == again).then_some(()));
    manager.order(Order::Signal { key: stays.clone(), signal: Signal::KILL });
    manager.exited(&stays);
}

pub(crate) fn output_and_sockets_outlive_a_keeper_without_an_init_system() {
    let mut world = World::new();
    let mut manager = world.ready_manager();
    drop(manager.log("a"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    manager.order_with(Order::Store { unit: unit("a"), name: "http".into() }, vec![listener.into()]);
    let script = "n=0; while :; do n=$((n + 1)); echo line $n || exit 7; sleep 0.01; done";
    let spec = SpawnSpec { stdout: Output::Log(Stream::Output), listen: vec![passed("http", "http")], ..shell(script) };
    let spec = SpawnSpec { ignore_sigpipe: false, ..spec };
    let talks = manager.spawn("a", 1, spec);
    let pid = manager.spawned(&talks);
    let mut said = String::new();
    for round in 1..=3 {
        kill(world.keeper_pid(), Signal::KILL);
        drop(manager);
        world.keeper.wait().unwrap();
        // Time for the service to say something to nobody.
        let before = round * 5;
        std::thread::sleep(Duration::from_millis(50));
        world.keeper = World::keeper_command(world.folder.path(), &[]).spawn().unwrap();
        let (next, snapshot) = world.next_manager();
        manager = next;
        manager.order(Order::Ready);
        assert!(lives(pid), "a write to nobody is no end");
        assert_eq!(snapshot.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [pid]);
        assert_eq!((snapshot.logs.len(), snapshot.stored.len()), (1, 1), "in round {round}");
        said += &read_log(&snapshot.logs[0].2, |new| said.lines().count() + new.lines().count() > before);
        let stored = std::net::TcpListener::from(snapshot.stored[0].2.try_clone().unwrap());
        assert_eq!(stored.local_addr().unwrap(), address);
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(stored.accept().unwrap().1, client.local_addr().unwrap());
    }
    for (index, line) in said.lines().enumerate() {
        assert!(format!("line {}", index + 1).starts_with(line), "{line:?} stands at {index}");
    }
    manager.order(Order::Signal { key: talks.clone(), signal: Signal::KILL });
    manager.exited(&talks);
    // The next run gets the same ones.
    let spec =
        SpawnSpec { stdout: Output::Log(Stream::Output), listen: vec![passed("http", "http")], ..shell("echo again") };
    let next = manager.spawn("a", 2, spec);
    assert_eq!(manager.exited(&next).status, ExitStatus::Exited(0));
}
