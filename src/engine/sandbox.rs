//! Shuts processes in as their units ask for: what this host cannot do is refused, or left out where the unit says so.

mod workshop; // what is found out and made beside the loop

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::libc;
use tokio::{runtime, sync::mpsc, task::JoinSet};

pub use self::workshop::LaidOut;
use self::workshop::{Job, Layout, Workshop};
use super::{Engine, handle::Report};
use crate::{
    base::{
        Chain, ExitStatus, InvocationId, ProcessKey, Role, Signal, SpawnFailure, SpawnStep, UnitName,
        confinement::Confinement,
    },
    edge::{clock, private_tmp},
    keeper::client::ClientError,
    node::{Input, effect::SpawnOrder},
    unit::{
        UnitDef,
        spec::{Privilege, SandboxFallback},
    },
    wire::keeper::SpawnOrder as KeeperSpawn,
};

/// What sandboxes need besides their units.
#[derive(Debug)]
pub(super) struct Sandboxes {
    workshop: Workshop,
    /// Processes that wait, by unit; most of the time there are none.
    lanes: BTreeMap<UnitName, Lane>,
    /// What units do not have of their sandboxes, for people.
    unmet: BTreeMap<UnitName, String>,
    /// Directories for temporary files, by the run whose they are.
    private_tmp: BTreeMap<InvocationId, Vec<PathBuf>>,
    /// Those that are being removed.
    removals: JoinSet<()>,
    runtime: runtime::Handle,
}

/// The processes of a unit that wait for their sandboxes. One is laid out at a time: a disk that hangs holds one thread for a
/// unit, however often it is started.
#[derive(Debug, Default)]
struct Lane {
    /// For whose run one is being laid out.
    at_work: Option<InvocationId>,
    /// Whether that run ended meanwhile.
    is_over: bool,
    waiting: VecDeque<Waiting>,
}

/// A process that is ordered as soon as its sandbox is laid out.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) spawn: KeeperSpawn,
    pub(super) cgroup: Option<OwnedFd>,
    /// The key of its command, for people.
    pub(super) directive: &'static str,
    pub(super) def: Arc<UnitDef>,
    /// Directories of the unit's own, which it may write.
    pub(super) writable: Vec<PathBuf>,
}

/// Why a process cannot be shut in.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    /// The host lacks something.
    #[error("cannot set up the sandbox: {unmet} (sandbox_fallback = \"warn\" starts the service without)")]
    Unmet {
        /// What it lacks, and which keys need that.
        unmet: String,
        /// The step that would have failed.
        step: SpawnStep,
        /// errno(3).
        errno: i32,
    },
    /// Its directories.
    #[error("cannot make the service's own /tmp and /var/tmp")]
    PrivateTmp(#[source] io::Error),
    /// What hides things.
    #[error("cannot make {path}")]
    Masks {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody can lay it out.
    #[error("cannot start a thread that sets up the sandbox")]
    Thread(#[source] io::Error),
}

impl SandboxError {
    /// As the failure that the machine is told.
    pub(super) fn failure(&self) -> SpawnFailure {
        let of_io = |source: &io::Error| source.raw_os_error().unwrap_or(libc::EIO);
        match self {
            Self::Unmet { step, errno, .. } => SpawnFailure { step: *step, errno: *errno },
            Self::PrivateTmp(source) | Self::Masks { source, .. } => {
                SpawnFailure { step: SpawnStep::Namespace, errno: of_io(source) }
            }
            Self::Thread(source) => SpawnFailure { step: SpawnStep::Prepare, errno: of_io(source) },
        }
    }
}

impl Sandboxes {
    /// Nothing is looked at yet. `runtime_dir` is the daemon's own; what goes may take long, in `runtime`.
    pub(super) fn new(
        runtime_dir: &Path,
        instance: String,
        runtime: runtime::Handle,
        reporter: mpsc::UnboundedSender<Report>,
    ) -> Self {
        Self {
            workshop: Workshop::new(runtime_dir, instance, reporter),
            lanes: BTreeMap::new(),
            unmet: BTreeMap::new(),
            private_tmp: BTreeMap::new(),
            removals: JoinSet::new(),
            runtime,
        }
    }

    /// Whether a process is to be shut in.
    pub(super) fn concern(&mut self, order: &SpawnOrder) -> bool {
        if order.def.service.exec.sandbox.is_none() {
            self.unmet.remove(&order.key.run.unit);
            return false;
        }
        order.command.privilege != Privilege::Full
    }

    /// Has its sandbox laid out, after those of its unit that wait already.
    ///
    /// # Errors
    /// When nobody can do it now.
    pub(super) fn wait(&mut self, waiting: Waiting) -> Result<(), SandboxError> {
        let unit = &waiting.spawn.key.run.unit;
        let lane = self.lanes.entry(unit.clone()).or_default();
        lane.waiting.push_back(waiting);
        let begun = lane.begin(&self.workshop);
        if begun.is_err() {
            lane.waiting.pop_back();
        }
        begun.map_err(SandboxError::Thread)
    }

    /// Takes what came of a sandbox; the process that waited for it, unless that was withdrawn.
    fn take(&mut self, done: LaidOut) -> Option<(Waiting, Result<Layout, SandboxError>)> {
        let LaidOut { key, invocation, private_tmp, unmet, result } = done;
        let unit = &key.run.unit;
        let lane = self.lanes.get_mut(unit);
        let is_over = lane.as_ref().is_none_or(|lane| lane.is_over);
        let waiting = lane.and_then(|lane| {
            (lane.at_work, lane.is_over) = (None, false);
            lane.waiting.pop_front_if(|waiting| waiting.spawn.key == key)
        });
        if !private_tmp.is_empty() {
            self.private_tmp.insert(invocation, private_tmp);
        }
        if is_over {
            self.run_ended(invocation);
        }
        let waiting = waiting?;
        self.note_unmet(unit, unmet, waiting.def.service.exec.sandbox.as_ref().map(|sandbox| sandbox.fallback));
        Some((waiting, result))
    }

    /// Goes on with the next process of the unit; those for which nobody can do it.
    fn go_on(&mut self, unit: &UnitName) -> Vec<(Waiting, SandboxError)> {
        let mut failed = Vec::new();
        while let Some(lane) = self.lanes.get_mut(unit) {
            match lane.begin(&self.workshop) {
                Ok(()) if lane.at_work.is_some() => break,
                Ok(()) => drop(self.lanes.remove(unit)),
                Err(error) => {
                    failed.extend(lane.waiting.pop_front().map(|waiting| (waiting, SandboxError::Thread(error))));
                }
            }
        }
        failed
    }

    fn note_unmet(&mut self, unit: &UnitName, unmet: Option<String>, fallback: Option<SandboxFallback>) {
        let Some(unmet) = unmet else {
            self.unmet.remove(unit);
            return;
        };
        let is_news = self.unmet.get(unit).is_none_or(|before| *before != unmet);
        if is_news && fallback == Some(SandboxFallback::Warn) {
            tracing::warn!(unit = %unit, unmet, "the service starts without a part of its sandbox");
        }
        self.unmet.insert(unit.clone(), unmet);
    }

    /// Takes back those that wait and are meant; they will never be.
    fn withdraw(&mut self, unit: &UnitName, is_meant: impl Fn(&ProcessKey) -> bool) -> Vec<ProcessKey> {
        let Some(lane) = self.lanes.get_mut(unit) else { return Vec::new() };
        let (meant, stay): (VecDeque<_>, _) = lane.waiting.drain(..).partition(|waiting| is_meant(&waiting.spawn.key));
        lane.waiting = stay;
        meant.into_iter().map(|waiting| waiting.spawn.key).collect()
    }

    /// What a unit does not have of its sandbox, for people.
    pub(super) fn unmet(&self, unit: &UnitName) -> Option<&str> {
        self.unmet.get(unit).map(String::as_str)
    }

    /// The unit is gone.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.unmet.remove(unit);
        self.lanes.remove(unit);
    }

    /// The run is over: what was its own goes.
    pub(super) fn run_ended(&mut self, invocation: InvocationId) {
        for lane in self.lanes.values_mut().filter(|lane| lane.at_work == Some(invocation)) {
            lane.is_over = true;
        }
        for path in self.private_tmp.remove(&invocation).into_iter().flatten() {
            self.remove(path);
        }
    }

    /// Takes over what an earlier manager made: what is of a run that is not over stays, the rest goes.
    pub(super) fn take_over(&mut self, living: &BTreeSet<InvocationId>) {
        for (invocation, path) in private_tmp::all(self.workshop.instance()) {
            if living.contains(&invocation) {
                let known = self.private_tmp.entry(invocation).or_default();
                if !known.contains(&path) {
                    known.push(path);
                }
            } else {
                self.remove(path);
            }
        }
    }

    fn remove(&mut self, path: PathBuf) {
        while self.removals.try_join_next().is_some() {}
        self.removals.spawn_blocking_on(
            move || {
                if let Err(error) = private_tmp::remove(&path) {
                    tracing::warn!(path = %path.display(), error = %Chain(&error), "cannot remove a run's temporary files");
                }
            },
            &self.runtime,
        );
    }

    /// Waits, bounded, for what is being removed.
    pub(super) async fn finish(&mut self, within: Duration) {
        let all = async { while self.removals.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("directories for temporary files are left; the next start removes them");
        }
    }
}

impl Lane {
    /// Has the first that waits laid out, if nobody is at work here.
    fn begin(&mut self, workshop: &Workshop) -> io::Result<()> {
        if self.at_work.is_some() {
            return Ok(());
        }
        let Some(Waiting { spawn, def, writable, .. }) = self.waiting.front() else { return Ok(()) };
        workshop.begin(Job {
            key: spawn.key.clone(),
            invocation: spawn.invocation,
            def: Arc::clone(def),
            writable: writable.clone(),
            is_root: spawn.spec.user.as_ref().is_none_or(|user| user.uid == 0),
        })?;
        self.at_work = Some(spawn.invocation);
        Ok(())
    }
}

impl Engine {
    /// The sandbox of a process was laid out.
    pub(super) fn take_sandbox(&mut self, done: LaidOut) -> Result<(), ClientError> {
        let unit = done.key.run.unit.clone();
        if let Some((mut waiting, result)) = self.sandboxes.take(done) {
            match result {
                Ok(Layout { confinement, no_new_privs }) => {
                    let spec = &mut waiting.spawn.spec;
                    spec.no_new_privs |= no_new_privs;
                    spec.confinement = (confinement != Confinement::default()).then(|| Box::new(confinement));
                    self.send_spawn(waiting.spawn, waiting.cgroup)?;
                }
                Err(error) => self.cannot_shut_in(&waiting, &error),
            }
        }
        for (waiting, error) in self.sandboxes.go_on(&unit) {
            self.cannot_shut_in(&waiting, &error);
        }
        Ok(())
    }

    fn cannot_shut_in(&mut self, waiting: &Waiting, error: &SandboxError) {
        let key = &waiting.spawn.key;
        tracing::error!(unit = %key.run.unit, command = waiting.directive, error = %Chain(error), "cannot start a process");
        self.not_spawned(key, error.failure());
    }

    /// A signal reaches processes that wait for their sandboxes as it would an instant after their birth: most end them.
    pub(super) fn withdraw(&mut self, unit: &UnitName, signal: Signal, is_meant: impl Fn(&ProcessKey) -> bool) {
        if !ends_by_default(signal) {
            return;
        }
        for key in self.sandboxes.withdraw(unit, is_meant) {
            let (now, status) = (clock::now(), ExitStatus::Signaled { signal, core: false });
            if let Role::Probe(_) = key.role {
                if let Some((probe, outcome)) = self.probes.end_exec(now, &key, status) {
                    self.node.handle(now, Input::Probed { run: key.run, probe, outcome });
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
