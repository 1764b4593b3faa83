use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use roundsman::{
    base::{ExitStatus, Signal},
    keeper::client::Pending,
    wire::keeper::{Fact, ManagerCause, Order, Output, SpawnSpec, Stream},
};

use crate::world::{Manager, World, kill, lives, read_log, shell, text, unit, until};

/// A copy of this program under another name, as a new release would be.
fn new_release(world: &World) -> PathBuf {
    release(world, "new-release")
}

fn release(world: &World, name: &str) -> PathBuf {
    let path = world.folder.path().join(name);
    let own = env::current_exe().unwrap();
    fs::hard_link(&own, &path).or_else(|_| fs::copy(&own, &path).map(drop)).unwrap();
    path
}

fn image(world: &World) -> PathBuf {
    fs::read_link(format!("/proc/{}/exe", world.keeper.id())).unwrap()
}

fn populate(manager: &mut Manager<'_>) -> roundsman::base::Pid {
    let file = fs::File::open("/etc/passwd").unwrap();
    manager.order_with(Order::Store { unit: unit("a"), name: "kept".into() }, vec![file.into()]);
    manager.order(Order::Remember { unit: unit("a"), memo: b"wish".to_vec() });
    drop(manager.log("a"));
    let spec = SpawnSpec { stdout: Output::Log(Stream::Output), ..shell("echo one; read x; exec sleep 1000") };
    let spec = SpawnSpec { argv: vec![text("sh"), text("-c"), text("echo one; exec sleep 1000")], ..spec };
    let key = manager.spawn("a", 1, spec);
    let pid = manager.spawned(&key);
    let ended = manager.spawn_shell("b", 1, "exit 7");
    manager.exited(&ended);
    pid
}

pub(crate) fn an_upgrade_touches_no_process_and_loses_nothing() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let pid = populate(&mut manager);
    let release = new_release(&world);
    manager.order(Order::Upgrade { path: text(release.to_str().unwrap()) });
    let (mut next, snapshot) = world.next_manager();
    assert_eq!(snapshot.cause, ManagerCause::Upgrade);
    assert_eq!(image(&world), release);
    assert!(lives(pid) && !lives(manager.pid));
    assert_eq!(snapshot.processes.iter().map(|process| process.pid).collect::<Vec<_>>(), [pid]);
    assert_eq!((snapshot.stored.len(), snapshot.units.len()), (1, 2));
    read_log(&snapshot.logs[0].2, |said| said == "one\n");
    match snapshot.pending.as_slice() {
        [Pending::Exited(exit)] => assert_eq!(exit.status, ExitStatus::Exited(7)),
        other => panic!("{other:?}"),
    }
    next.order(Order::Ready);
    // It is still their parent and still knows what was started.
    let again = next.spawn_shell("a", 1, "exit 0");
    next.wait(|fact, _| matches!(fact, Fact::SpawnFailed { key, .. } if *key == again).then_some(()));
    next.order(Order::Signal { key: again.clone(), signal: Signal::TERM });
    assert!(matches!(next.exited(&again).status, ExitStatus::Signaled { signal: Signal::TERM, .. }));
    let fresh = next.spawn_shell("a", 2, "exit 3");
    assert_eq!(next.exited(&fresh).status, ExitStatus::Exited(3));
    // And once more, from the new program to the newer one.
    next.order(Order::Upgrade { path: text(env::current_exe().unwrap().to_str().unwrap()) });
    let (_, snapshot) = world.next_manager();
    assert_eq!(snapshot.cause, ManagerCause::Upgrade);
    assert_eq!(image(&world), env::current_exe().unwrap());
}

pub(crate) fn a_program_that_does_not_understand_is_not_run() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let pid = populate(&mut manager);
    let broken = world.folder.path().join("broken");
    fs::write(&broken, "not a program").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    // The last two end well whatever they are asked, and would leave nobody to supervise.
    let well = world.folder.path().join("well");
    fs::write(&well, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&well, fs::Permissions::from_mode(0o755)).unwrap();
    for path in ["/bin/false", "/nonexistent", broken.to_str().unwrap(), "/bin/true", well.to_str().unwrap()] {
        manager.order(Order::Upgrade { path: text(path) });
        let reason = manager.wait(|fact, _| match fact {
            Fact::UpgradeFailed { reason } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.contains(path), "{reason}");
        assert_eq!(reason.contains("cannot be Roundsman"), path == "/bin/true" || path.ends_with("well"), "{reason}");
    }
    assert_eq!(image(&world), env::current_exe().unwrap());
    let key = manager.spawn_shell("c", 1, "exit 1");
    manager.exited(&key);
    assert!(lives(pid));
}

pub(crate) fn a_manager_that_does_not_get_ready_brings_the_old_program_back() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let pid = populate(&mut manager);
    let release = new_release(&world);
    manager.order(Order::Upgrade { path: text(release.to_str().unwrap()) });
    let (next, socket) = world.next_manager_socket();
    assert_eq!(image(&world), release);
    kill(next, Signal::KILL);
    drop(socket);
    let (mut back, snapshot) = world.next_manager();
    assert_eq!(snapshot.cause, ManagerCause::Rollback);
    until("the old program runs", || (image(&world) == env::current_exe().unwrap()).then_some(()));
    assert!(lives(pid));
    assert_eq!((snapshot.processes.len(), snapshot.pending.len(), snapshot.stored.len()), (1, 1, 1));
    back.order(Order::Ready);
    let key = back.spawn_shell("c", 1, "exit 1");
    assert_eq!(back.exited(&key).status, ExitStatus::Exited(1));
}

fn failure(manager: &mut Manager<'_>) -> String {
    manager.wait(|fact, _| match fact {
        Fact::UpgradeFailed { reason } => Some(reason.clone()),
        _ => None,
    })
}

/// A service that says its number again and again.
fn talker(manager: &mut Manager<'_>) -> roundsman::base::Pid {
    drop(manager.log("talks"));
    let script = "n=0; while :; do n=$((n + 1)); echo line $n || exit 7; sleep 0.005; done";
    let spec = SpawnSpec { stdout: Output::Log(Stream::Output), ignore_sigpipe: false, ..shell(script) };
    let key = manager.spawn("talks", 1, spec);
    manager.spawned(&key)
}

fn assert_contiguous(said: &str) {
    for (index, line) in said.lines().enumerate() {
        assert!(format!("line {}", index + 1).starts_with(line), "{line:?} stands at {index}");
    }
}

pub(crate) fn of_50_bad_releases_none_stays_and_no_service_notices() {
    let world = World::with(&[("TEST_UPGRADE_MS", "150"), ("TEST_ABORT_MS", "50")]);
    let mut manager = world.ready_manager();
    let pid = talker(&mut manager);
    let garbage = world.folder.path().join("garbage");
    fs::write(&garbage, "not a program").unwrap();
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).unwrap();
    let bad = ["bad-exits", "bad-crashes", "bad-hangs"].map(|name| (release(&world, name), true));
    let bad: Vec<(PathBuf, bool)> = bad.into_iter().chain([(garbage, false), ("/bin/false".into(), false)]).collect();
    let mut said = String::new();
    for round in 0..50 {
        let (path, is_run) = &bad[round % bad.len()];
        let generation = u64::try_from(round).unwrap() + 1;
        let ended = manager.spawn_shell("ends", generation, "exit 7");
        manager.order(Order::Upgrade { path: text(path.to_str().unwrap()) });
        if *is_run {
            let (next, snapshot) = world.next_manager();
            manager = next;
            manager.order(Order::Ready);
            assert_eq!(snapshot.cause, ManagerCause::Rollback, "{path:?}");
            assert!(snapshot.processes.iter().any(|process| process.pid == pid));
            let waited =
                snapshot.pending.iter().any(|pending| matches!(pending, Pending::Exited(exit) if exit.key == ended));
            assert!(waited || manager.exited(&ended).status == ExitStatus::Exited(7), "an end that waits is not lost");
            said += &read_log(&snapshot.logs[0].2, |_| true);
            let reason = failure(&mut manager);
            assert!(reason.contains("took over again"), "{reason}");
            if path.ends_with("bad-hangs") {
                assert!(reason.contains("in time"), "{reason}");
            }
        } else {
            failure(&mut manager);
            manager.exited(&ended);
        }
        manager.order(Order::AckExit { key: ended });
        until("the old program runs", || (image(&world) == env::current_exe().unwrap()).then_some(()));
        assert!(lives(pid));
    }
    assert_contiguous(&said);
}

pub(crate) fn after_200_upgrades_everything_is_what_it_was() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let pid = talker(&mut manager);
    let file = fs::File::open("/etc/passwd").unwrap();
    manager.order_with(Order::Store { unit: unit("talks"), name: "kept".into() }, vec![file.into()]);
    let other = new_release(&world);
    let (own, mut said) = (env::current_exe().unwrap(), String::new());
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", world.keeper.id())).unwrap().count();
    let mut held = Vec::new();
    for round in 1..=200_u64 {
        // Whether its end is seen before the exec or after it, it is told once.
        let ended = manager.spawn_shell("ends", round, "exit 7");
        manager.order(Order::Upgrade { path: text(if round % 2 == 1 { &other } else { &own }.to_str().unwrap()) });
        let (next, snapshot) = world.next_manager();
        manager = next;
        assert_eq!(snapshot.cause, ManagerCause::Upgrade, "in round {round}");
        assert!(snapshot.processes.iter().any(|process| process.pid == pid) && lives(pid));
        assert_eq!((snapshot.stored.len(), snapshot.logs.len()), (1, 1));
        said += &read_log(&snapshot.logs[0].2, |_| true);
        manager.order(Order::Ready);
        let told =
            snapshot.pending.iter().filter(|pending| matches!(pending, Pending::Exited(exit) if exit.key == ended));
        match told.count() {
            0 => assert_eq!(manager.exited(&ended).status, ExitStatus::Exited(7)),
            told => assert_eq!(told, 1),
        }
        manager.order(Order::AckExit { key: ended });
        if round % 50 == 0 {
            until("what was for the upgrade alone is closed", || {
                (held.is_empty() || descriptors() <= held[0]).then_some(())
            });
            held.push(descriptors());
        }
    }
    assert_contiguous(&said);
}
