//! The processes of a run, found by walking /proc: for hosts that give us no cgroup, and for what `status` shows.
//!
//! A process belongs to a run if it descends from the keeper (which is everyone's sub-reaper) and is in the session or
//! group of the run's main process, or has the run's INVOCATION_ID in its environment.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::base::{InvocationId, Pid};

/// One process, named so that nobody else can be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its pid.
    pub pid: Pid,
    /// When it began, in clock ticks since boot (field 22 of /proc/PID/stat).
    pub start_time: u64,
}

/// What a main process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Resident memory.
    pub memory_bytes: u64,
    /// CPU time so far.
    pub cpu_us: u64,
}

/// The fields of /proc/PID/stat that we read (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
    session: i32,
    start_time: u64,
}

/// Every living process below `keeper` (`None` where that is pid 1, from whom everyone descends), as one look finds them.
#[derive(Debug)]
pub struct Survey(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    member: Member,
    group: i32,
    session: i32,
    /// The run that its environment names.
    invocation: Option<InvocationId>,
}

impl Survey {
    /// Walks over /proc.
    pub fn new(keeper: Option<Pid>) -> Self {
        let all = processes();
        let below = all.iter().filter(|(pid, stat)| {
            stat.state != b'Z' && keeper.is_none_or(|keeper| descends(&all, **pid, keeper.raw()))
        });
        let seen = below.filter_map(|(pid, stat)| {
            let member = Member { pid: Pid::new(*pid)?, start_time: stat.start_time };
            Some(Seen { member, group: stat.group, session: stat.session, invocation: named_run(*pid) })
        });
        Self(seen.collect())
    }

    /// Those of the run whose main process is or was `main`.
    pub fn members(&self, main: Option<Pid>, invocation: InvocationId) -> Vec<Member> {
        let of_run = |seen: &&Seen| {
            main.is_some_and(|main| [seen.group, seen.session].contains(&main.raw()))
                || seen.invocation == Some(invocation)
        };
        self.0.iter().filter(of_run).map(|seen| seen.member).collect()
    }
}

/// Every living process of a run whose keeper died, wherever init systems have put them since. The main process' group and
/// session say nothing here: its pid may be a stranger's by now.
pub fn orphans(invocation: InvocationId) -> Vec<Member> {
    let is_of_run = |pid| named_run(pid) == Some(invocation);
    let living = processes().into_iter().filter(|(pid, stat)| stat.state != b'Z' && is_of_run(*pid));
    living.filter_map(|(pid, stat)| Some(Member { pid: Pid::new(pid)?, start_time: stat.start_time })).collect()
}

/// Every living process whose environment names a run, of whatever supervisor.
pub fn with_runs() -> Vec<(Pid, InvocationId)> {
    let living = processes().into_iter().filter(|(_, stat)| stat.state != b'Z');
    living.filter_map(|(pid, _)| Some((Pid::new(pid)?, named_run(pid)?))).collect()
}

/// Every living process that descends from `ancestor`.
pub fn below(ancestor: Pid) -> Vec<Pid> {
    let all = processes();
    all.keys().filter(|pid| descends(&all, **pid, ancestor.raw())).filter_map(|pid| Pid::new(*pid)).collect()
}

/// What a process calls itself, proc_pid_comm(5).
pub fn name(pid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// Whether nobody is in the process group that `leader` led. Its pid is not given to another while the group has members.
pub fn group_is_empty(leader: Pid) -> bool {
    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader.raw()), None) == Err(nix::Error::ESRCH)
}

/// Whether a process has more children than the `known` ones; yes, if it is not known itself. The kernel takes about a
/// microsecond for each.
pub fn has_strangers(parent: Option<Pid>, known: usize) -> bool {
    parent.is_none_or(|parent| child_count(parent) > known)
}

/// How many children a process has; the keeper's are the services, and orphans that nobody else takes care of.
fn child_count(parent: Pid) -> usize {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .map_or(0, |children| children.split_ascii_whitespace().count())
}

/// When a process began; `None` when it is gone.
pub fn start_time(pid: Pid) -> Option<u64> {
    stat_of(pid.raw()).map(|stat| stat.start_time)
}

/// What a process uses; `None` when it is gone. `status` asks this for every unit, so it makes few calls: one read of
/// statm, and the process' own CPU clock (clock_getcpuclockid(3)) in place of stat, which the kernel composes at length.
pub fn use_of(pid: Pid) -> Option<Use> {
    const PAGE_BYTES: u64 = 4096;
    const STATM_BYTES_MAX: usize = 256;
    let mut statm = [0; STATM_BYTES_MAX];
    let length = File::open(format!("/proc/{pid}/statm")).and_then(|mut file| file.read(&mut statm)).ok()?;
    // The second of its fields, proc_pid_statm(5).
    let pages: u64 = std::str::from_utf8(statm.get(..length)?).ok()?.split(' ').nth(1)?.parse().ok()?;
    let clock = ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(pid.raw())).ok()?;
    let cpu = Duration::from(clock_gettime(clock).ok()?);
    Some(Use { memory_bytes: pages * PAGE_BYTES, cpu_us: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX) })
}

/// The parent of a process; `None` when it is gone, or is pid 1's.
pub fn parent(pid: Pid) -> Option<Pid> {
    stat_of(pid.raw()).and_then(|stat| Pid::new(stat.parent))
}

/// Whether a process is there and has not ended.
pub fn lives(pid: Pid) -> bool {
    stat_of(pid.raw()).is_some_and(|stat| !matches!(stat.state, b'Z' | b'X'))
}

/// Whether a process was stopped by a signal (T in proc_pid_stat(5)), and only SIGCONT lets it go on.
pub fn is_stopped(pid: Pid) -> bool {
    stat_of(pid.raw()).is_some_and(|stat| stat.state == b'T')
}

/// The run that a process below `keeper` belongs to by its environment, which it inherited.
pub fn invocation_of(keeper: Option<Pid>, pid: Pid) -> Option<InvocationId> {
    let mut at = pid;
    while let Some(keeper) = keeper {
        match parent(at) {
            Some(parent) if parent == keeper => break,
            Some(parent) => at = parent,
            None => return None,
        }
    }
    named_run(pid.raw())
}

fn processes() -> BTreeMap<i32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| stat_of(pid).map(|stat| (pid, stat)))
        .collect()
}

fn descends(all: &BTreeMap<i32, Stat>, pid: i32, ancestor: i32) -> bool {
    // A chain of parents is never longer than the table; the bound is for a table that changed while it was read.
    let mut at = pid;
    for _ in 0..all.len() {
        let Some(stat) = all.get(&at) else { return false };
        if stat.parent == ancestor {
            return true;
        }
        at = stat.parent;
    }
    false
}

/// The run that a process' environment names.
fn named_run(pid: i32) -> Option<InvocationId> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environ.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"INVOCATION_ID="))?;
    InvocationId::parse(std::str::from_utf8(value).ok()?)
}

fn stat_of(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name stands in parentheses and may hold anything, so fields are counted from the last of them.
fn parse_stat(text: &str) -> Option<Stat> {
    let after = text.get(text.rfind(')')? + 2..)?;
    let fields: Vec<&str> = after.split(' ').collect();
    // Field 3 of the manual is index 0 here.
    let number = |field: usize| fields.get(field - 3)?.trim_end().parse::<u64>().ok();
    let id = |field: usize| fields.get(field - 3)?.parse::<i32>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: id(4)?,
        group: id(5)?,
        session: id(6)?,
        start_time: number(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_cannot_shift_the_fields() {
        let text = "42 (a) R 9 (b) S 7 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 999 1000 77 18446744073709551615\n";
        let stat = parse_stat(text).expect("well formed");
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 7, 42, 41));
        assert_eq!(stat.start_time, 999);
    }

    #[test]
    fn our_own_start_time_and_use_are_known() {
        let own = Pid::new(i32::try_from(std::process::id()).expect("a pid")).expect("not init");
        assert!(start_time(own).expect("alive") > 0);
        assert!(use_of(own).expect("alive").memory_bytes > 0);
    }
}
