//! Watches for the last process of a run to go, and finds those that a signal must reach.
//!
//! A thread of its own, because a walk over /proc takes milliseconds on a busy host. It sleeps while nothing is watched.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{
    base::{InvocationId, Pid, RunId},
    edge::{cgroup::Cgroups, proctree},
};

/// The first look comes this long after the request, the next ones ever later.
const LOOK_FIRST: Duration = Duration::from_millis(1);
/// The longest pause between looks.
const LOOK_LAST: Duration = Duration::from_millis(50);

/// Which processes are meant.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Whose.
    pub run: RunId,
    /// The run's id, which its processes have in their environment.
    pub invocation: InvocationId,
    /// The main process, dead or alive.
    pub main: Option<Pid>,
}

/// What the thread reports.
#[derive(Debug)]
pub enum Found {
    /// Nobody is left.
    Empty(RunId),
    /// These are left, as asked by [`TreeWatch::members`].
    Members(RunId, Vec<proctree::Member>),
}

#[derive(Debug)]
enum Request {
    Watch(Tree),
    Members(Tree),
    Sweep { tree: Tree, known: usize },
}

/// A handle on the thread; it ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct TreeWatch {
    requests: mpsc::Sender<Request>,
}

impl TreeWatch {
    /// Starts the thread. `keeper` is the ancestor of all services; `found` is called with what is seen.
    pub(super) fn start(
        keeper: Option<Pid>,
        cgroups: Option<Arc<Cgroups>>,
        found: impl Fn(Found) + Send + 'static,
    ) -> Result<Self, io::Error> {
        let (requests, inbox) = mpsc::channel();
        thread::Builder::new()
            .name("tree".into())
            .stack_size(256 << 10)
            .spawn(move || Watcher { keeper, cgroups, found, watched: BTreeMap::new() }.run(&inbox))?;
        Ok(Self { requests })
    }

    /// Reports once when the run has no process left.
    pub(super) fn watch(&self, tree: Tree) {
        self.requests.send(Request::Watch(tree)).ok();
    }

    /// Reports what is left of a run whose main process died; looks only if the keeper has more than the `known` children,
    /// since the walk is too dear to be made at each death.
    pub(super) fn sweep(&self, tree: Tree, known: usize) {
        self.requests.send(Request::Sweep { tree, known }).ok();
    }

    /// Reports the processes that the run has now.
    pub(super) fn members(&self, tree: Tree) {
        self.requests.send(Request::Members(tree)).ok();
    }
}

struct Watcher<F> {
    keeper: Option<Pid>,
    cgroups: Option<Arc<Cgroups>>,
    found: F,
    watched: BTreeMap<RunId, Tree>,
}

impl<F: Fn(Found)> Watcher<F> {
    fn run(mut self, inbox: &mpsc::Receiver<Request>) {
        let mut pause = LOOK_FIRST;
        loop {
            let request = if self.watched.is_empty() {
                inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(pause)
            };
            match request {
                Ok(Request::Watch(tree)) => {
                    self.watched.insert(tree.run.clone(), tree);
                    pause = LOOK_FIRST;
                }
                Ok(Request::Members(tree)) => (self.found)(Found::Members(tree.run.clone(), self.members(&tree))),
                Ok(Request::Sweep { tree, known }) => {
                    let strangers = self.keeper.is_none_or(|keeper| proctree::child_count(keeper) > known);
                    let left = if strangers { self.members(&tree) } else { Vec::new() };
                    (self.found)(Found::Members(tree.run, left));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look();
                    pause = LOOK_LAST.min(pause * 2);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) {
        let gone: Vec<RunId> =
            self.watched.values().filter(|tree| self.is_empty(tree)).map(|tree| tree.run.clone()).collect();
        for run in gone {
            self.watched.remove(&run);
            (self.found)(Found::Empty(run));
        }
    }

    fn is_empty(&self, tree: &Tree) -> bool {
        match &self.cgroups {
            Some(cgroups) => cgroups.is_empty(&tree.run.unit).unwrap_or(true),
            None => self.members(tree).is_empty(),
        }
    }

    fn members(&self, tree: &Tree) -> Vec<proctree::Member> {
        match &self.cgroups {
            Some(cgroups) => cgroups
                .pids(&tree.run.unit)
                .unwrap_or_default()
                .into_iter()
                .filter_map(Pid::new)
                .filter_map(|pid| Some(proctree::Member { pid, start_time: proctree::start_time(pid)? }))
                .collect(),
            None => proctree::members(self.keeper, tree.main, tree.invocation),
        }
    }
}
