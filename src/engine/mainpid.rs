//! Looks for the process that is the main one of a run: by its PID file, by what the service says, or by guess.
//!
//! Away from the loop, because a file may lie on a disk that hangs. What is found is opened first and judged second, so
//! that the pid cannot change its owner in between. Source: systemd.service(5), PIDFile= and GuessMainPID=.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use nix::libc;

use super::{Engine, handle::Report, tree::Tree};
use crate::{
    base::{InvocationId, Pid, ProcessKey},
    edge::{cgroup::Cgroups, clock, proctree},
    keeper::client::ClientError,
    node::{Input, effect::MainSource, input::MissingMain},
    sys,
    wire::keeper::Order,
};

/// More than any pid takes, with a newline.
const PID_FILE_BYTES_MAX: u64 = 64;

/// A process that is to be the main one.
#[derive(Debug)]
pub struct Candidate {
    key: ProcessKey,
    invocation: InvocationId,
    found: Result<Found, MissingMain>,
}

#[derive(Debug)]
struct Found {
    pid: Pid,
    start_time: u64,
    process: OwnedFd,
}

/// What is known of the run, and where to look.
struct Search {
    from: MainSource,
    tree: Tree,
    cgroups: Option<Arc<Cgroups>>,
    keeper: Option<Pid>,
    present: Option<Pid>,
}

impl Engine {
    /// Looks for it; what is found comes back as a report.
    pub(super) fn find_main(&self, key: ProcessKey, invocation: InvocationId, from: MainSource) {
        let unit = &key.run.unit;
        let known = self.runs.get(unit).filter(|tree| tree.run == key.run).cloned();
        let tree = known.unwrap_or_else(|| Tree::new(&key.run, invocation));
        let search = Search { from, present: tree.main, tree, cgroups: self.cgroups.clone(), keeper: keeper() };
        let reporter = self.reporter.clone();
        self.runtime.spawn_blocking(move || {
            let found = search.look();
            // Nobody listens once the daemon ends.
            reporter.send(Report::Main(Candidate { key, invocation, found })).ok();
        });
    }

    /// Tells the keeper of what was found, and the machine of what was not.
    pub(super) fn take_candidate(&mut self, candidate: Candidate) -> Result<(), ClientError> {
        let Candidate { key, invocation, found } = candidate;
        let is_command = |pid: Pid| self.processes.iter().any(|(other, known)| *known == pid && !other.role.is_main());
        let why = match found {
            Ok(Found { pid, .. }) if is_command(pid) => MissingMain::Refused(format!("process {pid} is a command")),
            Ok(Found { pid, start_time, process }) => {
                self.tell_memo(&key.run.unit)?;
                return self.keeper.send(&Order::Take { key, invocation, pid, start_time }, vec![process]);
            }
            Err(why) => why,
        };
        self.node.handle(clock::now(), Input::MainMissing { key, why });
        Ok(())
    }
}

impl Search {
    fn look(&self) -> Result<Found, MissingMain> {
        match &self.from {
            MainSource::PidFile(path) => self.by_file(path),
            MainSource::Guess => self.guess(),
            MainSource::Message { pid, trusted } => {
                let found = self.open(*pid).ok_or_else(|| refused(format!("there is no process {pid}")))?;
                if *trusted || self.belongs(*pid) {
                    Ok(found)
                } else {
                    Err(refused(format!("process {pid} is not one of the unit, and the sender is not root")))
                }
            }
        }
        .and_then(|found| if Some(found.pid) == self.present { Err(MissingMain::Same) } else { Ok(found) })
    }

    fn by_file(&self, path: &Path) -> Result<Found, MissingMain> {
        let Some((pid, is_roots)) = read_pid(path) else { return Err(self.not_yet()) };
        if Some(pid) == self.keeper || pid.raw().unsigned_abs() == std::process::id() {
            return Err(refused(format!("{} names the supervisor", path.display())));
        }
        let Some(found) = self.open(pid) else { return Err(self.not_yet()) };
        // Whoever may write the file could name any process, to have it killed.
        if self.belongs(pid) || is_roots {
            Ok(found)
        } else {
            let path = path.display();
            Err(refused(format!("{path} names process {pid}, which is not one of the unit, and is not root's")))
        }
    }

    /// The only process whose parent has ended: what a daemon is that went to the background.
    fn guess(&self) -> Result<Found, MissingMain> {
        let orphans: Vec<Pid> =
            self.members().into_iter().filter(|pid| proctree::parent(*pid) == self.keeper).collect();
        match orphans.as_slice() {
            [one] => self.open(*one).ok_or(MissingMain::NotYet),
            _ => Err(self.not_yet()),
        }
    }

    fn not_yet(&self) -> MissingMain {
        if self.members().is_empty() { MissingMain::Gone } else { MissingMain::NotYet }
    }

    fn open(&self, pid: Pid) -> Option<Found> {
        let process = sys::open_process(pid).ok()?;
        let start_time = proctree::start_time(pid).filter(|_| proctree::lives(pid))?;
        Some(Found { pid, start_time, process })
    }

    fn belongs(&self, pid: Pid) -> bool {
        match &self.cgroups {
            Some(cgroups) => cgroups.unit_of(pid.raw()).is_some_and(|unit| unit == self.tree.run.unit),
            None => self.members().contains(&pid),
        }
    }

    fn members(&self) -> Vec<Pid> {
        match &self.cgroups {
            Some(cgroups) => {
                let pids = cgroups.pids(&self.tree.run.unit).unwrap_or_default();
                pids.into_iter().filter_map(Pid::new).filter(|pid| proctree::lives(*pid)).collect()
            }
            None => {
                let all = proctree::Survey::new(self.keeper).members(self.tree.main, self.tree.invocation);
                all.into_iter().map(|member| member.pid).collect()
            }
        }
    }
}

const fn refused(reason: String) -> MissingMain {
    MissingMain::Refused(reason)
}

/// Our parent; `None` where that is pid 1.
pub(super) fn keeper() -> Option<Pid> {
    i32::try_from(std::os::unix::process::parent_id()).ok().and_then(Pid::new)
}

/// The pid in a file and whether the file is root's; `None` while there is none.
fn read_pid(path: &Path) -> Option<(Pid, bool)> {
    let mut options = OpenOptions::new();
    // A FIFO in its place must not hold us.
    let mut file: File = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    file.by_ref().take(PID_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok().and_then(Pid::new)?;
    Some((pid, meta.uid() == 0))
}
