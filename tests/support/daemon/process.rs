//! Looks at processes, and signals to those that the tests own.
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use nix::{sys::signal, unistd};
pub(crate) use signal::Signal;

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until there is something to be seen.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with a limit of its own.
pub(crate) fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        pause(5);
    }
}

/// Lets others go on.
pub(crate) fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Sends a signal to one process; it may be gone.
pub(crate) fn kill(pid: i32, what: Signal) {
    assert!(pid > 1, "never init, never a group");
    let _gone = signal::kill(unistd::Pid::from_raw(pid), what);
}

/// Whether a process is there and not a zombie.
pub(crate) fn lives(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// A process' state and parent.
pub(crate) fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Its command line, words parted by spaces.
pub(crate) fn command_line(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

/// Every process there is.
pub(crate) fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("procfs");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Living processes whose command line has this text.
pub(crate) fn with_command(text: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).expect("a pid");
    all().into_iter().filter(|pid| *pid != own && lives(*pid) && command_line(*pid).contains(text)).collect()
}

/// The children of a process, zombies included.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// All below a process, nearest first.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = all().into_iter().filter_map(|pid| Some((pid, stat(pid)?.1))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// SIGKILL to a process and all below it. It is stopped first, so that nothing new comes while the rest goes.
pub(crate) fn kill_tree(root: i32) {
    kill(root, Signal::SIGSTOP);
    for _ in 0..100 {
        let below: Vec<i32> = descendants(root).into_iter().filter(|pid| lives(*pid)).collect();
        if below.is_empty() {
            break;
        }
        below.into_iter().for_each(|pid| kill(pid, Signal::SIGKILL));
        pause(2);
    }
    kill(root, Signal::SIGKILL);
}

/// A program of the host.
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

/// Fails where a test cannot do what it must.
pub(crate) fn need_root(why: &str) {
    assert!(unistd::geteuid().is_root(), "this test must run as root: {why}");
}
