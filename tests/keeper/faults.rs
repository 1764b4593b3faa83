use std::{
    fs,
    time::{Duration, Instant},
};

use roundsman::{
    base::{ExitStatus, Signal},
    keeper::client::Pending,
    wire::keeper::{Fact, ManagerCause, Notified, Order, SpawnSpec},
};

use crate::world::{Manager, World, kill, lives, shell, text, until};

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
