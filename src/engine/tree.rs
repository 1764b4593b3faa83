//! Watches for the last process of a run to go, and finds those that a signal must reach.
//!
//! A thread of its own, because a walk over /proc takes milliseconds on a busy host. It sleeps while nothing is watched.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use crate::{
    base::{InvocationId, Mono, Pid, ProcessKey, RunId, Signal, TimeSpan},
    edge::{cgroup::Cgroups, clock, proctree},
};

/// The first look comes this many milliseconds after the request, the next ones ever later.
const LOOK_FIRST_MS: u64 = 1;
/// The longest pause between looks.
const LOOK_LAST_MS: u64 = 50;
/// A look is followed by a rest of so many times its length: on a host with thousands of processes it takes milliseconds of a
/// CPU that others need.
pub(super) const RESTS: u32 = 4;
/// Runs that end within this time are swept together.
const SWEEP_AFTER_MS: u64 = 50;
/// Signals within this time share one walk over /proc. The keeper has sent them to the processes that it knows and to
/// their groups at once; this is for those that left, and most trees are gone by then.
const SIGNAL_AFTER: TimeSpan = TimeSpan::from_millis(50);
/// A crowd is given so much longer for each of its trees.
const SIGNAL_AFTER_MORE: TimeSpan = TimeSpan::from_micros(200);

/// Which processes are meant.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Whose.
    pub run: RunId,
    /// The run's id, which its processes have in their environment.
    pub invocation: InvocationId,
    /// The main process, dead or alive.
    pub main: Option<Pid>,
    /// Its newest command that was ordered.
    pub command: Option<ProcessKey>,
    /// Whether it was begun by a keeper that died: its processes are not below ours.
    pub is_orphaned: bool,
    /// The last signal that was given before its newest process was ordered.
    pub signals_before: u64,
    /// Whether a process of it was given its place on the machine.
    pub is_admitted: bool,
}

impl Tree {
    pub(super) fn new(run: &RunId, invocation: InvocationId) -> Self {
        Self {
            run: run.clone(),
            invocation,
            main: None,
            command: None,
            is_orphaned: false,
            signals_before: 0,
            is_admitted: false,
        }
    }
}

/// A signal for the processes that a run has when it is given.
#[derive(Debug, Clone)]
pub struct Meant {
    /// Whose.
    pub run: RunId,
    /// Which.
    pub signal: Signal,
    /// The one process it is not for.
    pub spared: Option<Pid>,
    /// Signals are numbered as they are given, so that one is told from those before a new process.
    pub number: u64,
}

impl Meant {
    /// Whether it may reach what the thread has found by now: it may have looked late. Whoever came after the signal is not
    /// meant by it, be it the next command of the run, or the next run. `newest` is the unit's newest run, and processes are found
    /// by their `invocation`, or by the unit's cgroup, which holds those of whatever run it is.
    pub(super) fn still_reaches(&self, newest: Option<&Tree>, by_invocation: bool) -> bool {
        match newest {
            Some(tree) if tree.run == self.run => tree.signals_before < self.number,
            Some(_) => by_invocation,
            None => true,
        }
    }
}

/// What the thread reports.
#[derive(Debug)]
pub enum Found {
    /// Nobody is left.
    Empty(RunId),
    /// Whom a signal has to reach.
    Members(Meant, Vec<proctree::Member>),
}

#[derive(Debug)]
enum Request {
    Watch(Tree),
    Signal(Tree, Meant),
    Sweep(Tree, Meant),
}

/// A handle on the thread; it ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct TreeWatch {
    requests: mpsc::Sender<Vec<Request>>,
    /// Those that have not left yet: to wake a thread for each of a thousand costs more than what it does for them.
    waiting: Vec<Request>,
    /// How many children of the keeper are known to be somebody.
    known: Arc<AtomicUsize>,
}

impl TreeWatch {
    /// Starts the thread. `keeper` is the ancestor of all services; `found` is called with what is seen.
    pub(super) fn start(
        keeper: Option<Pid>,
        cgroups: Option<Arc<Cgroups>>,
        found: impl Fn(Found) + Send + 'static,
    ) -> Result<Self, io::Error> {
        let (requests, inbox) = mpsc::channel();
        let known = Arc::<AtomicUsize>::default();
        let shared = Arc::clone(&known);
        thread::Builder::new().name("tree".into()).stack_size(256 << 10).spawn(move || {
            Watcher {
                keeper,
                cgroups,
                found,
                known: shared,
                watched: BTreeMap::new(),
                signals: Vec::new(),
                signal_at: None,
                sweeps: Vec::new(),
                sweep_at: None,
                look_at: None,
                pause: LOOK_FIRST_MS,
                rested: Mono::default(),
            }
            .run(&inbox);
        })?;
        Ok(Self { requests, waiting: Vec::new(), known })
    }

    /// Has the requests leave that were made since the last time.
    pub(super) fn post(&mut self) {
        if !self.waiting.is_empty() {
            self.requests.send(std::mem::take(&mut self.waiting)).ok();
        }
    }

    /// Reports once when the run has no process left.
    pub(super) fn watch(&mut self, tree: Tree) {
        self.waiting.push(Request::Watch(tree));
    }

    /// Reports the processes that the run has now.
    pub(super) fn members(&mut self, tree: Tree, meant: Meant) {
        self.waiting.push(Request::Signal(tree, meant));
    }

    /// Reports, a little later, what is left of a run that ended. /proc is walked only if the keeper has children that
    /// nobody knows: the walk is too dear to be made at each death.
    pub(super) fn sweep(&mut self, tree: Tree, meant: Meant) {
        self.waiting.push(Request::Sweep(tree, meant));
    }

    /// How many children the keeper has that are known.
    pub(super) fn set_known(&self, known: usize) {
        self.known.store(known, Ordering::Relaxed);
    }
}

struct Watcher<F> {
    keeper: Option<Pid>,
    cgroups: Option<Arc<Cgroups>>,
    found: F,
    known: Arc<AtomicUsize>,
    /// Each with whether it looked empty at the last look.
    watched: BTreeMap<RunId, (Tree, bool)>,
    signals: Vec<(Tree, Meant)>,
    signal_at: Option<Mono>,
    sweeps: Vec<(Tree, Meant)>,
    sweep_at: Option<Mono>,
    /// When what is watched is looked at next, and the pause before it.
    look_at: Option<Mono>,
    pause: u64,
    /// No look before that.
    rested: Mono,
}

impl<F: Fn(Found)> Watcher<F> {
    fn run(mut self, inbox: &mpsc::Receiver<Vec<Request>>) {
        loop {
            let next = [self.look_at, self.sweep_at, self.signal_at].into_iter().flatten().min();
            let requests = match next {
                Some(next) => inbox.recv_timeout(next.since(clock::now().mono)),
                None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            match requests {
                Ok(requests) => requests.into_iter().for_each(|request| self.take(request)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = clock::now().mono;
            if self.signal_at.is_some_and(|at| at <= now) {
                self.signal();
            }
            if self.sweep_at.is_some_and(|at| at <= now) {
                self.sweep();
            }
            if self.look_at.is_some_and(|at| at <= now) {
                self.look();
                let end = clock::now().mono;
                self.rested = end.later(end.since(now) * RESTS);
                self.pause = LOOK_LAST_MS.min(self.pause * 2);
                self.look_at = from_now(self.pause).max(Some(self.rested)).filter(|_| !self.watched.is_empty());
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Watch(tree) => {
                self.watched.insert(tree.run.clone(), (tree, false));
                self.pause = LOOK_FIRST_MS;
                self.look_at = from_now(self.pause).max(Some(self.rested));
            }
            Request::Signal(tree, meant) => {
                let (first, more) = match self.cgroups {
                    Some(_) => (TimeSpan::ZERO, TimeSpan::ZERO),
                    None => (SIGNAL_AFTER, SIGNAL_AFTER_MORE),
                };
                self.signal_at = match self.signal_at {
                    None => clock::now().mono.after(first),
                    Some(at) => at.after(more),
                };
                self.signals.push((tree, meant));
            }
            Request::Sweep(tree, meant) => {
                self.sweep_at = self.sweep_at.or_else(|| from_now(SWEEP_AFTER_MS));
                self.sweeps.push((tree, meant));
            }
        }
    }

    fn signal(&mut self) {
        self.signal_at = None;
        let mut signals = std::mem::take(&mut self.signals);
        if self.cgroups.is_none() && !self.has_strangers() {
            // Whoever is left of these is below their main process.
            signals.retain(|(tree, _)| tree.is_orphaned || tree.main.is_none_or(proctree::lives));
        }
        self.tell_members(signals);
    }

    fn sweep(&mut self) {
        self.sweep_at = None;
        let sweeps = std::mem::take(&mut self.sweeps);
        if self.has_strangers() {
            self.tell_members(sweeps);
        }
    }

    /// Whether the keeper has children that nobody knows.
    fn has_strangers(&self) -> bool {
        proctree::has_strangers(self.keeper, self.known.load(Ordering::Relaxed))
    }

    fn tell_members(&self, trees: Vec<(Tree, Meant)>) {
        if trees.is_empty() {
            return;
        }
        let survey = self.survey();
        for (tree, meant) in trees {
            (self.found)(Found::Members(meant, self.members(&tree, survey.as_ref())));
        }
    }

    /// Without cgroups, what is below the keeper.
    fn survey(&self) -> Option<proctree::Survey> {
        self.cgroups.is_none().then(|| proctree::Survey::new(self.keeper))
    }

    fn look(&mut self) {
        let mut watched = std::mem::take(&mut self.watched);
        // A walk over /proc misses a process that is just running another program: it has no environment then.
        let looks_enough = |seen_before: bool| seen_before || self.cgroups.is_some();
        let survey = self.survey();
        watched.retain(|run, (tree, seen_before)| {
            let is_empty = self.is_empty(tree, survey.as_ref());
            let is_gone = is_empty && looks_enough(*seen_before);
            *seen_before = is_empty;
            if is_gone {
                (self.found)(Found::Empty(run.clone()));
            }
            !is_gone
        });
        self.watched = watched;
    }

    fn is_empty(&self, tree: &Tree, survey: Option<&proctree::Survey>) -> bool {
        match &self.cgroups {
            Some(cgroups) => cgroups.is_empty(&tree.run.unit).unwrap_or(true),
            None => self.members(tree, survey).is_empty(),
        }
    }

    fn members(&self, tree: &Tree, survey: Option<&proctree::Survey>) -> Vec<proctree::Member> {
        match &self.cgroups {
            Some(cgroups) => cgroups
                .pids(&tree.run.unit)
                .unwrap_or_default()
                .into_iter()
                .filter_map(Pid::new)
                .filter_map(|pid| Some(proctree::Member { pid, start_time: proctree::start_time(pid)? }))
                .collect(),
            None if tree.is_orphaned => proctree::orphans(tree.invocation),
            None => survey.map(|survey| survey.members(tree.main, tree.invocation)).unwrap_or_default(),
        }
    }
}

fn from_now(millis: u64) -> Option<Mono> {
    clock::now().mono.after(TimeSpan::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Generation, UnitName};

    fn run(generation: u64) -> RunId {
        RunId { unit: UnitName::new("web").unwrap(), generation: Generation(generation) }
    }

    #[test]
    fn a_late_look_signals_neither_the_next_command_nor_the_next_run() {
        let meant = Meant { run: run(1), signal: Signal::TERM, spared: None, number: 7 };
        let newest = |generation, signals_before| Tree {
            signals_before,
            ..Tree::new(&run(generation), InvocationId::default())
        };
        for by_invocation in [true, false] {
            assert!(meant.still_reaches(Some(&newest(1, 6)), by_invocation));
            assert!(!meant.still_reaches(Some(&newest(1, 7)), by_invocation), "the next command was ordered");
            assert!(meant.still_reaches(None, by_invocation), "nothing of it runs");
        }
        assert!(
            meant.still_reaches(Some(&newest(2, 7)), true),
            "what the old run left behind is told by its invocation"
        );
        assert!(!meant.still_reaches(Some(&newest(2, 7)), false), "in the cgroup is the new run");
    }
}
