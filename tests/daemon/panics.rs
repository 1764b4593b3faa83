//! A part of the daemon panics: the process ends as a whole, and another takes over.
use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::{
    actor::{self, for_ever},
    support::{
        process::{Signal, lives, pause, until},
        world::World,
    },
};

/// Names the file whose content says whose thread is to panic, or what else it is to do.
const WORD: &str = "TEST_PANIC";
const MANAGER: &str = "manager";
const KEEPER: &str = "keeper";
/// A lock that everyone needs who logs is taken in the manager and never given back.
pub(crate) const DEADLOCK: &str = "manager deadlock";

/// Whether these are the arguments of supervisord.
pub(crate) fn is_daemon(arguments: &[String]) -> bool {
    matches!(arguments.first().map(String::as_str), Some("--config" | MANAGER))
}

/// A thread of this daemon that does it as soon as the file is there, and whose end nobody asks for.
pub(crate) fn wait_for_the_word() {
    let Some(file) = env::var_os(WORD) else { return };
    let own = if env::args().nth(1).is_some_and(|first| first == MANAGER) { MANAGER } else { KEEPER };
    // Signals are for the daemon's own threads.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
    let _unasked = thread::Builder::new().name("doomed".to_owned()).spawn(move || {
        loop {
            let word = fs::read_to_string(&file).unwrap_or_default();
            if word == own {
                fs::remove_file(&file).unwrap();
                panic!("told to");
            }
            if word == DEADLOCK && own == MANAGER {
                let _never_given_back = std::io::stderr().lock();
                fs::remove_file(&file).unwrap();
                for_ever();
            }
            pause(5);
        }
    });
    before.thread_set_mask().unwrap();
}

/// A daemon of this program.
pub(crate) fn start(world: &mut World) {
    let plain = world.command();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(plain.get_args()).env(WORD, world.path("word"));
    let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    world.adopt(command.spawn().unwrap());
    world.await_answer();
}

pub(crate) fn say(world: &World, word: &str) {
    // Whole at once, as it is read at any moment.
    let (file, beside) = (world.path("word"), world.path("word.new"));
    fs::write(&beside, word).unwrap();
    fs::rename(beside, &file).unwrap();
    until("it is heard", || (!Path::new(&file).exists()).then_some(()));
}

pub(crate) fn a_thread_that_panics_ends_the_manager_and_the_next_takes_over() {
    let mut world = World::new();
    world.unit("web", &actor::unit("steady @/truth web", "restart = \"always\""));
    start(&mut world);
    let (pid, manager) = (world.pid("web"), world.manager());
    say(&world, MANAGER);
    until("the manager is gone as a whole", || (!lives(manager)).then_some(()));
    world.await_answer();
    assert_ne!(world.manager(), manager);
    assert_eq!((world.pid("web"), world.status("web")["generation"].as_i64()), (pid, Some(1)));
    let log = world.log();
    let said = log.lines().position(|line| line.contains("thread doomed panicked at tests/daemon/panics.rs:"));
    let said = said.unwrap_or_else(|| panic!("it says where:\n{log}"));
    assert_eq!(log.lines().nth(said + 1), Some("told to"), "and why");
    assert!(log.contains("the manager ended (killed by SIGABRT"), "{log}");
    assert!(world.stop().success());
}

pub(crate) fn a_keeper_that_panics_ends_and_the_next_takes_over() {
    let mut world = World::new();
    world.unit("web", &actor::unit("steady @/truth web", "restart = \"always\""));
    start(&mut world);
    let pid = world.pid("web");
    say(&world, KEEPER);
    let status = world.await_end();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGABRT as i32), "{status}");
    assert!(lives(pid));
    start(&mut world);
    assert_eq!((world.pid("web"), world.status("web")["generation"].as_i64()), (pid, Some(1)));
    assert!(world.stop().success());
}
