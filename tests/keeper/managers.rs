use std::{
    fs::{self, File},
    io::Read,
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    process::Stdio,
    time::Instant,
};

use roundsman::{
    base::{ExitStatus, Generation, Signal},
    keeper::client::{ClientError, Incoming, Pending},
    sys::start_time,
    wire::keeper::{Fact, ManagerCause, Order, Output, SpawnSpec, Stream, VERSION},
};

use crate::world::{PATIENCE, World, key, kill, lives, read_log, shell, unit, until};

pub(crate) fn kill_9_of_the_manager_kills_nothing_and_loses_nothing() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let file = File::open("/etc/passwd").unwrap();
    let inode = file.metadata().unwrap().ino();
    manager.order_with(Order::Store { unit: unit("a"), name: "kept".into() }, vec![file.into()]);
    manager.order(Order::Remember { unit: unit("a"), memo: b"wish: down".to_vec() });
    manager.order(Order::Remember { unit: unit("b"), memo: b"wish: down".to_vec() });
    drop(manager.log("a"));
    let script = "echo one; while :; do sleep 0.05; echo more; done";
    let spec = SpawnSpec { stdout: Output::Log(Stream::Output), ..shell(script) };
    let runs = manager.spawn_remembered("a", 4, spec, Some(b"wish: up".to_vec()));
    let pid = manager.spawned(&runs);
    let ended = manager.spawn_shell("b", 9, "exit 7");
    manager.exited(&ended);
    // What it had decided before its death counts, even if the keeper reads it later.
    let ends_alone = manager.spawn_shell("c", 1, "exit 8");
    kill(manager.pid, Signal::KILL);
    drop(manager);

    let (mut manager, snapshot) = world.next_manager();
    assert_eq!(snapshot.cause, ManagerCause::Crash);
    assert_eq!(snapshot.keeper, world.keeper.id());
    let processes: Vec<_> = snapshot.processes.iter().filter(|process| process.key == runs).collect();
    assert_eq!(processes.len(), 1);
    assert_eq!((processes[0].pid, processes[0].start_time), (pid, start_time(pid).unwrap()));
    let memo = |name: &str| {
        let record = snapshot.units.iter().find(|record| record.unit == unit(name)).unwrap();
        (record.generation, record.memo.clone())
    };
    assert_eq!(memo("a"), (Generation(4), b"wish: up".to_vec()));
    assert_eq!(memo("b"), (Generation(9), b"wish: down".to_vec()));
    let (_, name, fd) = &snapshot.stored[0];
    assert_eq!((name.as_str(), File::from(fd.try_clone().unwrap()).metadata().unwrap().ino()), ("kept", inode));
    read_log(&snapshot.logs[0].2, |said| said.starts_with("one\n") && said.contains("more"));
    let statuses = snapshot.pending.iter().map(|pending| match pending {
        Pending::Exited(exit) => (exit.key.clone(), exit.status),
        other => panic!("{other:?}"),
    });
    let statuses: Vec<_> = statuses.collect();
    assert!(statuses.contains(&(ended, ExitStatus::Exited(7))), "{statuses:?}");
    if !statuses.contains(&(ends_alone.clone(), ExitStatus::Exited(8))) {
        assert_eq!(manager.exited(&ends_alone).status, ExitStatus::Exited(8));
    }
    assert!(lives(pid));
}

pub(crate) fn a_manager_that_does_not_answer_is_replaced() {
    let world = World::with(&[("TEST_PING_MS", "50"), ("TEST_SILENCE_MS", "450"), ("TEST_ABORT_MS", "100")]);
    let mut manager = world.ready_manager();
    let key = manager.spawn_shell("a", 1, "exec sleep 1000");
    let pid = manager.spawned(&key);
    // Answers keep it alive for many deadlines.
    for _ in 0..12 {
        match manager.try_incoming().unwrap() {
            Incoming::Fact(Fact::Ping, _) => manager.order(Order::Alive),
            other => panic!("{other:?}"),
        }
    }
    let silent = Instant::now();
    let (_manager, snapshot) = world.next_manager();
    assert!(silent.elapsed().as_millis() >= 400, "{:?}", silent.elapsed());
    assert_eq!(snapshot.cause, ManagerCause::Hang);
    assert!(!lives(manager.pid) && lives(pid));
}

pub(crate) fn a_manager_that_cannot_start_ends_the_daemon_with_its_code() {
    let mut world = World::with(&[("TEST_MANAGER", "manager-fails 78")]);
    let status = until("the daemon ends", || world.keeper.try_wait().unwrap());
    assert_eq!(status.code(), Some(78));
}

pub(crate) fn a_second_daemon_is_refused_and_told_who_holds_the_lock() {
    let world = World::new();
    let _manager = world.ready_manager();
    let second = World::keeper_command(world.folder.path(), &[]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("held by process {}", world.keeper.id())), "{said}");
}

pub(crate) fn signals_for_the_daemon_wait_for_a_manager() {
    let world = World::new();
    let (manager, _) = world.next_manager();
    kill(manager.pid, Signal::KILL);
    kill(world.keeper_pid(), Signal::HUP);
    kill(world.keeper_pid(), Signal::TERM);
    drop(manager);
    let (mut manager, _) = world.next_manager();
    for wanted in [Signal::HUP, Signal::TERM] {
        manager.wait(|fact, _| matches!(fact, Fact::DaemonSignal { signal } if *signal == wanted).then_some(()));
    }
}

pub(crate) fn the_daemon_ends_when_the_manager_says_so() {
    let mut world = World::new();
    let mut manager = world.ready_manager();
    let pid = manager.pid;
    manager.order(Order::Shutdown { code: 4 });
    kill(pid, Signal::KILL);
    drop(manager);
    let status = until("the daemon ends", || world.keeper.try_wait().unwrap());
    assert_eq!(status.code(), Some(4));
}

pub(crate) fn the_last_order_counts_even_if_the_manager_left_facts_unread() {
    let mut world = World::new();
    let mut manager = world.ready_manager();
    let (pid, keeper) = (manager.pid, world.keeper_pid());
    let folder = tempfile::tempdir().unwrap();
    let began = folder.path().join("began");
    manager.spawn_shell("a", 1, &format!("touch {}", began.display()));
    until("it runs, as we are told", || began.exists().then_some(()));
    kill(keeper, Signal::parse("STOP").unwrap());
    manager.order(Order::Shutdown { code: 5 });
    kill(pid, Signal::KILL);
    drop(manager);
    until("it has hung up", || (!lives(pid)).then_some(()));
    kill(keeper, Signal::CONT);
    let status = until("the daemon ends", || world.keeper.try_wait().unwrap());
    assert_eq!(status.code(), Some(5));
}

pub(crate) fn the_init_system_hears_the_keeper() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("init");
    let init = UnixDatagram::bind(&path).unwrap();
    init.set_read_timeout(Some(PATIENCE)).unwrap();
    nix::sys::socket::setsockopt(&init, nix::sys::socket::sockopt::PassCred, &true).unwrap();
    let world = World::with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let mut manager = world.ready_manager();
    manager.order(Order::TellInit { bytes: b"READY=1".to_vec() });
    let packet = until("a datagram comes", || {
        let mut buffer = [0; 64];
        roundsman::sys::receive(std::os::fd::AsFd::as_fd(&init), &mut buffer).ok()
    });
    assert_eq!(packet.sender.map(|sender| sender.pid), Some(world.keeper.id()));
}

pub(crate) fn a_manager_of_another_version_is_told_ours() {
    let world = World::new();
    let (_, socket) = world.next_manager_socket();
    let socket = roundsman::sys::PacketSocket::from(socket);
    let mut bytes = vec![0];
    bytes.extend(roundsman::wire::keeper::encode(&Order::Hello { version: VERSION + 1 }));
    socket.send(&bytes, &[]).unwrap();
    let answer = until("an answer comes", || {
        let mut buffer = [0; 1024];
        let packet = socket.recv(&mut buffer).ok()?;
        Some(roundsman::wire::keeper::decode::<Fact>(&buffer[1..packet.length]).unwrap())
    });
    assert!(matches!(answer, Fact::SnapshotBegin { version: VERSION, .. }), "{answer:?}");
}

pub(crate) fn what_a_removed_unit_held_is_let_go() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let (mut reader, writer) = std::io::pipe().unwrap();
    manager.order_with(Order::Store { unit: unit("a"), name: "pipe".into() }, vec![writer.into()]);
    manager.order(Order::Remember { unit: unit("a"), memo: vec![1] });
    let _log = manager.log("a");
    let count = || fs::read_dir(format!("/proc/{}/fd", world.keeper.id())).unwrap().count();
    let before = count();
    manager.order(Order::DropUnit { unit: unit("a") });
    // Its only writer was the keeper.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    until("three descriptors are closed", || (count() + 3 == before).then_some(()));
    manager.order(Order::Store { unit: unit("a"), name: "x".into() });
    manager.wait(|fact, _| matches!(fact, Fact::Refused { .. }).then_some(()));
    kill(manager.pid, Signal::KILL);
    let gone = loop {
        match manager.try_incoming() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(gone, ClientError::Link(_)), "{gone:?}");
    drop(manager);
    let (_manager, snapshot) = world.next_manager();
    assert!(snapshot.units.iter().all(|record| record.memo.is_empty()));
    assert!(snapshot.stored.is_empty() && snapshot.logs.is_empty());
    assert!(!snapshot.processes.iter().any(|process| process.key == key("a", 1)));
}

pub(crate) fn an_instance_writes_to_the_log_of_its_template_and_leaves_nothing_behind() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let log = manager.log("echo@");
    let (mut client, connection) = std::os::unix::net::UnixStream::pair().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let instance = "echo@0-1-2";
    manager.order_with(Order::Store { unit: unit(instance), name: "connection:".into() }, vec![connection.into()]);
    let spec = SpawnSpec { stdout: Output::Log(Stream::Output), ..shell("echo said") };
    let started = manager.spawn_remembered(instance, 1, spec, Some(vec![1]));
    manager.exited(&started);
    assert_eq!(read_log(&log, |said| said.contains('\n')), "said\n");
    manager.order(Order::AckExit { key: started.clone() });
    manager.order(Order::DropInstance { unit: unit(instance) });
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the keeper had it alone");
    kill(manager.pid, Signal::KILL);
    drop(manager);
    let (_manager, snapshot) = world.next_manager();
    assert!(snapshot.units.iter().all(|record| record.unit != unit(instance)), "not even its generation is known");
    assert!(snapshot.stored.is_empty());
    assert_eq!(snapshot.logs.len(), 1, "that of the template stays");
}
