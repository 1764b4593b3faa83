//! What the test program is besides the tests: keeper, manager, service.
use std::{
    env,
    ffi::CString,
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roundsman::{
    keeper::{self, KeeperOptions, MANAGER_SOCKET, Timings},
    sys::{
        PacketSocket,
        spawn::{Outcome, Program, Spawner},
        take_inherited,
    },
};

/// Plays the part that the first argument names; `None` when it names none.
pub(crate) fn play(arguments: &[String]) -> Option<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["keeper", folder] => Some(play_keeper(folder)),
        ["manager", folder] => Some(play_manager(folder)),
        ["manager-fails", code] => Some(ExitCode::from(code.parse::<u8>().unwrap())),
        ["keeper-check-state", ..] => Some(ExitCode::from(keeper::check_state().code())),
        ["zombies", count] => Some(play_parent_of_zombies(count.parse().unwrap())),
        ["notify", socket, texts @ ..] => Some(play_notifier(socket, texts)),
        _ => None,
    }
}

fn play_keeper(folder: &str) -> ExitCode {
    let own = env::current_exe().unwrap();
    let words = env::var("TEST_MANAGER").unwrap_or_else(|_| format!("manager {folder}"));
    let manager = ["test-manager"].into_iter().chain(words.split(' '));
    let millis = |name: &str, default| {
        Duration::from_millis(env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default))
    };
    let timings = Timings {
        start: millis("TEST_START_MS", 20_000),
        upgrade: millis("TEST_UPGRADE_MS", 20_000),
        silence: millis("TEST_SILENCE_MS", 20_000),
        ping: millis("TEST_PING_MS", 5000),
        abort: millis("TEST_ABORT_MS", 5000),
        ..Timings::default()
    };
    keeper::run(KeeperOptions {
        runtime_dir: PathBuf::from(folder).join("run"),
        manager_path: Some(CString::new(own.to_str().unwrap()).unwrap()),
        manager_argv: manager.map(|word| CString::new(word).unwrap()).collect(),
        init_socket: env::var_os("NOTIFY_SOCKET"),
        timings,
        stale: Vec::new(),
    })
}

/// A release whose manager is bad, by the name of its file; it never returns to the test.
fn play_bad_manager(kind: &str) -> ExitCode {
    match kind {
        "bad-exits" => ExitCode::from(3),
        "bad-crashes" => {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
            ExitCode::FAILURE
        }
        // Says nothing, and does not even hear that the keeper hangs up.
        _ => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
    }
}

/// Hands the keeper's socket to the test, which is the manager's head, and lives until the keeper hangs up.
fn play_manager(folder: &str) -> ExitCode {
    let own = env::current_exe().unwrap();
    let name = own.file_name().unwrap().to_str().unwrap();
    if name.starts_with("bad-") {
        return play_bad_manager(name);
    }
    let socket = take_inherited(MANAGER_SOCKET).unwrap();
    let stage = UnixDatagram::unbound().unwrap();
    stage.connect(PathBuf::from(folder).join("stage")).unwrap();
    let stage = PacketSocket::from(std::os::fd::OwnedFd::from(stage));
    stage.send(&std::process::id().to_le_bytes(), &[socket.as_fd()]).unwrap();
    loop {
        let mut hangup = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        if poll(&mut hangup, PollTimeout::NONE).is_ok_and(|count| count > 0) {
            return ExitCode::SUCCESS;
        }
    }
}

/// Sends each text to the notify socket and ends.
fn play_notifier(socket: &str, texts: &[&str]) -> ExitCode {
    let sender = UnixDatagram::unbound().unwrap();
    for text in texts {
        sender.send_to(text.as_bytes(), socket).unwrap();
    }
    ExitCode::SUCCESS
}

/// Has so many children that have ended, waits for none of them, and stops.
fn play_parent_of_zombies(count: usize) -> ExitCode {
    let mut spawner = Spawner::default();
    let nowhere = Program::new(c"/nonexistent", &[], &[], &[]);
    let (mut started, mut pending) = (0, Vec::new());
    while started < count {
        match spawner.spawn(&nowhere) {
            Ok(spawned) => {
                started += 1;
                pending.push(spawned.ticket);
            }
            // Every slot is in use.
            Err(_) => {
                std::thread::yield_now();
                pending.retain(|ticket| spawner.outcome(*ticket) == Outcome::Pending);
            }
        }
    }
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).unwrap();
    ExitCode::SUCCESS
}
