//! What a start needs to know from a disk is read beside the loop: files of variables, the places that a sandbox covers, the
//! disks that are rationed. Any of them may hang. Then the unit that asked waits, and nobody else.
//!
//! A unit that needs none of it is ordered at once and is never seen here.

mod job; // what is read and made for one process
mod workshop; // the threads that do it

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
};

use nix::libc;
use tokio::{runtime, sync::mpsc};

pub(super) use self::job::Means;
pub use self::job::Prepared;
use self::{
    job::{Job, Place},
    workshop::Workshop,
};
use super::{Engine, dispatch::refuse, handle::Report, launch::LaunchError, resources::Disks, sandbox::SandboxError};
use crate::{
    base::{ExitStatus, InvocationId, ProcessKey, Role, Signal, SpawnFailure, SpawnStep, UnitName},
    edge::{clock, users::Identity},
    keeper::client::ClientError,
    node::{Input, effect::SpawnOrder},
    unit::UnitDef,
    wire::keeper::SpawnSpec,
};

/// Who waits for what is read.
#[derive(Debug)]
pub(super) struct Preparations {
    workshop: Workshop,
    /// Processes that wait, by unit; most of the time there are none.
    lanes: BTreeMap<UnitName, Lane>,
    /// Jobs are numbered as they begin.
    begun: u64,
}

/// The processes of a unit that wait. One is prepared at a time: a disk that hangs holds one thread for a unit, however often
/// it is started.
#[derive(Debug, Default)]
struct Lane {
    at_work: Option<AtWork>,
    waiting: VecDeque<Waiting>,
}

/// A job that has begun.
#[derive(Debug)]
struct AtWork {
    number: u64,
    /// For whose run.
    invocation: InvocationId,
    def: Arc<UnitDef>,
    /// What it looks at.
    place: Arc<Place>,
    /// Whether that run ended meanwhile.
    is_over: bool,
}

/// A process that is ordered as soon as all is known.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) order: Arc<SpawnOrder>,
    pub(super) identity: Option<Arc<Identity>>,
    /// Whether the disks that its unit rations are looked up.
    pub(super) finds_disks: bool,
}

/// Why a process cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// Its instructions.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Nobody can do it.
    #[error("cannot start a thread that reads what the process needs")]
    Thread(#[source] io::Error),
}

impl PrepareError {
    /// As the failure that the machine is told.
    pub(super) fn failure(&self) -> SpawnFailure {
        match self {
            Self::Launch(error) => error.failure(),
            Self::Sandbox(error) => error.failure(),
            Self::Thread(source) => {
                SpawnFailure { step: SpawnStep::Prepare, errno: source.raw_os_error().unwrap_or(libc::EIO) }
            }
        }
    }
}

impl Preparations {
    /// Nothing is read yet. What is found comes to `reporter`.
    pub(super) fn new(means: Means, runtime: runtime::Handle, reporter: mpsc::UnboundedSender<Report>) -> Self {
        Self { workshop: Workshop::new(means, runtime, reporter), lanes: BTreeMap::new(), begun: 0 }
    }

    /// Has a process prepared, after those of its unit that wait already.
    ///
    /// # Errors
    /// When nobody can do it now.
    pub(super) fn wait(&mut self, waiting: Waiting) -> Result<(), PrepareError> {
        let lane = self.lanes.entry(waiting.order.key.run.unit.clone()).or_default();
        lane.waiting.push_back(waiting);
        let begun = lane.begin(&self.workshop, &mut self.begun);
        if begun.is_err() {
            lane.waiting.pop_back();
        }
        begun.map_err(PrepareError::Thread)
    }

    /// Takes note of what came of a job; the process that waited for it, unless that was withdrawn, and whether its run is
    /// over.
    fn take(&mut self, number: u64, key: &ProcessKey) -> (Option<Waiting>, bool) {
        let Some(lane) = self.lanes.get_mut(&key.run.unit) else { return (None, true) };
        // Another has taken the place of one that was given up.
        let Some(done) = lane.at_work.take_if(|at_work| at_work.number == number) else { return (None, true) };
        (lane.waiting.pop_front_if(|waiting| waiting.order.key == *key), done.is_over)
    }

    /// Goes on with the next process of the unit; those for which nobody can do it.
    fn go_on(&mut self, unit: &UnitName) -> Vec<(Waiting, PrepareError)> {
        let mut failed = Vec::new();
        while let Some(lane) = self.lanes.get_mut(unit) {
            match lane.begin(&self.workshop, &mut self.begun) {
                Ok(()) if lane.at_work.is_some() => break,
                Ok(()) => drop(self.lanes.remove(unit)),
                Err(error) => {
                    failed.extend(lane.waiting.pop_front().map(|waiting| (waiting, PrepareError::Thread(error))));
                }
            }
        }
        failed
    }

    /// Takes back those that wait and are meant; they will never be.
    fn withdraw(&mut self, unit: &UnitName, is_meant: impl Fn(&ProcessKey) -> bool) -> Vec<ProcessKey> {
        let Some(lane) = self.lanes.get_mut(unit) else { return Vec::new() };
        let (meant, stay): (VecDeque<_>, _) = lane.waiting.drain(..).partition(|waiting| is_meant(&waiting.order.key));
        lane.waiting = stay;
        meant.into_iter().map(|waiting| waiting.order.key.clone()).collect()
    }

    /// What is looked at for a process of the unit that waits for it; probes are not told of.
    pub(super) fn place(&self, unit: &UnitName) -> Option<PathBuf> {
        let lane = self.lanes.get(unit)?;
        let waits = lane.waiting.iter().any(|waiting| !matches!(waiting.order.key.role, Role::Probe(_)));
        lane.at_work.as_ref().filter(|_| waits)?.place.now()
    }

    /// The unit is gone.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.lanes.remove(unit);
    }

    /// The run is over: what is still made for it goes as soon as it is known.
    pub(super) fn run_ended(&mut self, unit: &UnitName, invocation: InvocationId) {
        let at_work = self.lanes.get_mut(unit).and_then(|lane| lane.at_work.as_mut());
        if let Some(at_work) = at_work.filter(|at_work| at_work.invocation == invocation) {
            at_work.is_over = true;
        }
    }
}

impl Lane {
    /// Has the first that waits prepared, if nobody is at work here. A job of another definition is not waited for: whoever
    /// took the path off the unit that hangs has it back.
    fn begin(&mut self, workshop: &Workshop, begun: &mut u64) -> io::Result<()> {
        let Some(Waiting { order, identity, finds_disks }) = self.waiting.front() else { return Ok(()) };
        let is_same = |at_work: &AtWork| Arc::ptr_eq(&at_work.def, &order.def) || at_work.def == order.def;
        if self.at_work.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        *begun += 1;
        let (number, place) = (*begun, Arc::<Place>::default());
        workshop.begin(Job {
            number,
            order: Arc::clone(order),
            identity: identity.clone(),
            finds_disks: *finds_disks,
            place: Arc::clone(&place),
        })?;
        let (invocation, def) = (order.invocation, Arc::clone(&order.def));
        self.at_work = Some(AtWork { number, invocation, def, place, is_over: false });
        Ok(())
    }
}

impl Engine {
    /// All is known that a process needs, or it cannot be had.
    pub(super) fn take_prepared(&mut self, done: Prepared) -> Result<(), ClientError> {
        let Prepared { number, order, private_tmp, unmet, disks, result } = done;
        let unit = &order.key.run.unit;
        let (waiting, is_over) = self.preparations.take(number, &order.key);
        self.sandboxes.made(order.invocation, private_tmp, is_over);
        if let Some(waiting) = waiting {
            self.sandboxes.note_unmet(&order, unmet);
            self.go_ahead(&waiting, result, &disks)?;
        }
        for (waiting, error) in self.preparations.go_on(unit) {
            self.go_ahead(&waiting, Err(error), &Disks::default())?;
        }
        Ok(())
    }

    fn go_ahead(
        &mut self,
        waiting: &Waiting,
        result: Result<Box<SpawnSpec>, PrepareError>,
        disks: &Disks,
    ) -> Result<(), ClientError> {
        let order = &waiting.order;
        let identity = waiting.identity.as_deref();
        let made = result
            .map_err(|error| refuse(order, &error, error.failure()))
            .and_then(|spec| self.hand_over(order, identity, *spec, disks));
        self.made_or_not(&order.key, made)
    }

    /// A signal reaches processes that wait here as it would an instant after their birth: most end them.
    pub(super) fn withdraw(&mut self, unit: &UnitName, signal: Signal, is_meant: impl Fn(&ProcessKey) -> bool) {
        if !ends_by_default(signal) {
            return;
        }
        for key in self.preparations.withdraw(unit, is_meant) {
            let (now, status) = (clock::now(), ExitStatus::Signaled { signal, core: false });
            if let Role::Probe(_) = key.role {
                if let Some(input) = self.probes.end_exec(now, &key, status) {
                    self.node.handle(now, input);
                }
            } else {
                let alone = self.is_alone(&key, None, now.mono);
                if !alone && self.is_stopping(unit) {
                    self.tree_of_run(&key.run).into_iter().for_each(|tree| self.tree.watch(tree));
                }
                self.node.handle(now, Input::Exited { key, status, usage: None, oom: false, alone });
            }
        }
    }
}

/// signal(7): whether a process ends by it that has said nothing about it yet.
fn ends_by_default(signal: Signal) -> bool {
    const OTHERS: [i32; 8] = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !OTHERS.contains(&signal.raw())
}
