//! What a unit remembers of runs that are over, and says again: a manager may die before the rows of what it saw are written.

use super::{
    Node,
    fact::{ExitFact, Waited},
    restart,
    service::{Begin, End, Unit},
};
use crate::base::{
    Consequence, Generation, Happening, InvocationId, Notice, Now, RunId, RunResult, StartCause, UnitName,
};

/// How many ends of earlier runs a unit keeps, so that a new manager can say them again.
const ENDS_MAX: usize = 4;
/// How many results of runs before those it keeps.
const FADED_MAX: usize = 32;

/// Results that the exits of their main processes do not tell, of runs that ended before those that are remembered: the
/// keeper still holds exits whose rows are not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Faded(Vec<(Generation, RunResult)>);

impl Faded {
    /// Oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Generation, RunResult)> {
        self.0.iter().copied()
    }

    pub(super) fn keep(&mut self, generation: Generation, result: RunResult) {
        if self.0.len() == FADED_MAX {
            self.0.remove(0);
        }
        self.0.push((generation, result));
    }

    fn result(&self, generation: Generation) -> Option<RunResult> {
        self.0.iter().find(|(of, _)| *of == generation).map(|(_, result)| *result)
    }
}

impl Unit {
    pub(super) fn keep_end(&mut self, end: End) {
        if self.ends.len() == ENDS_MAX {
            // The rows of the older half are written by now, most likely; those are remembered for how their row began.
            let may_go =
                |(place, end): (usize, &End)| end.follows_from_later_ones() && (end.had_main() || place < ENDS_MAX / 2);
            let oldest = self.ends.iter().enumerate().position(may_go).unwrap_or(0);
            let end = self.ends.remove(oldest);
            let service = &self.def.service;
            let told =
                end.status.map(|status| restart::main_result(status, false, service.kind, &service.restart.success));
            if told.is_some_and(|told| told != end.result) {
                self.faded.keep(end.generation, end.result);
            }
        }
        self.ends.push(end);
    }
}

impl Node {
    /// A fact about a run that is over: the row of that run may not be complete yet, because the manager that saw its end
    /// died before the row was written. Its end is said again, as it was said then if that is still known.
    pub(super) fn replay_end(&mut self, now: Now, id: &RunId, main: Option<ExitFact>) {
        let waited = self.waited.take().filter(|waited| waited.key.run == *id);
        let Some(unit) = self.names.get(&id.unit).and_then(|place| self.unit(*place)) else { return };
        if let Some(end) = unit.ends.iter().find(|end| end.generation == id.generation) {
            let what = end.happening(&id.unit, true);
            return self.notice(now, what);
        }
        let Some(fact) = main.filter(|_| id.generation < unit.generation) else { return };
        for notice in derived_end(unit, id.generation, fact, waited).story(now, &id.unit) {
            self.notice(notice.at, notice.what);
        }
    }
}

/// An end longer ago than the unit remembers. The class follows from the status unless it was said to be another, and a run
/// came after it.
fn derived_end(unit: &Unit, generation: Generation, fact: ExitFact, waited: Option<Waited>) -> End {
    let service = &unit.def.service;
    let told = restart::main_result(fact.status, fact.oom, service.kind, &service.restart.success);
    let result = unit.faded.result(generation).unwrap_or(told);
    let invocation = waited.as_ref().map_or_else(InvocationId::default, |waited| waited.invocation);
    End {
        generation,
        invocation,
        begin: waited.and_then(|waited| derived_begin(unit, generation, &waited)),
        status: Some(fact.status),
        usage: fact.usage,
        result,
        wanted: false,
        consequence: Consequence::Restart,
        why: None,
    }
}

/// How a run began that lies within the row of restarts of the next one that is remembered; `None` for one before that.
fn derived_begin(unit: &Unit, generation: Generation, waited: &Waited) -> Option<Begin> {
    let ends = unit.ends.iter().filter_map(|end| Some((end.generation, end.begin.as_ref()?)));
    let known = ends.chain(unit.run().map(|run| (run.generation, &run.begin)));
    let (next, begin) = known.into_iter().find(|(known, _)| *known > generation)?;
    let before = u32::try_from(next.0 - generation.0).ok()?;
    let restarts = begin.restarts.checked_sub(before).filter(|row| *row > 0)?;
    let begin = Begin::new(waited.started, StartCause::AutoRestart, restarts);
    Some(Begin { pid: Some(waited.pid), ..begin })
}

impl Begin {
    /// The notices about how a run came up, each with the moment at which it was true.
    pub(super) fn story(&self, run: &RunId, invocation: InvocationId) -> Vec<Notice> {
        let Self { at, cause, restarts, pid, ready_at } = self.clone();
        let starting = Happening::RunStarting { run: run.clone(), invocation, cause, restarts };
        let started = pid.map(|pid| Notice { at, what: Happening::MainStarted { run: run.clone(), pid } });
        let ready = ready_at.map(|at| Notice { at, what: Happening::RunReady { run: run.clone() } });
        [Some(Notice { at, what: starting }), started, ready].into_iter().flatten().collect()
    }
}

impl End {
    /// Whether its beginning can be told from those after it: each restart follows the one before. How their row began
    /// cannot.
    fn follows_from_later_ones(&self) -> bool {
        let is_restart = |begin: &Begin| begin.cause == StartCause::AutoRestart && begin.restarts > 0;
        self.begin.as_ref().is_none_or(is_restart)
    }

    /// Whether its run had a main process: the keeper holds the exit of that until the row of the run is written.
    fn had_main(&self) -> bool {
        self.begin.as_ref().is_none_or(|begin| begin.pid.is_some())
    }

    /// All notices about this run, from its beginning, each with the moment at which it was true.
    pub(super) fn story(&self, now: Now, unit: &UnitName) -> Vec<Notice> {
        let id = RunId { unit: unit.clone(), generation: self.generation };
        let mut story = self.begin.as_ref().map_or_else(Vec::new, |begin| begin.story(&id, self.invocation));
        story.push(Notice { at: now, what: self.happening(unit, true) });
        story
    }

    /// The notice about this end.
    pub(super) fn happening(&self, unit: &UnitName, replayed: bool) -> Happening {
        Happening::RunEnded {
            run: RunId { unit: unit.clone(), generation: self.generation },
            invocation: self.invocation,
            status: self.status,
            usage: self.usage,
            result: self.result,
            wanted: self.wanted,
            consequence: self.consequence,
            delay: None,
            why: self.why.as_deref().map(str::to_owned),
            replayed,
        }
    }
}
