//! What the simulated world knows of runs from what is told of them, and what must hold of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    base::{Consequence, Generation, Happening, InvocationId, Notice, RunId, RunResult, StartCause, UnitName, Wall},
    unit::UnitDef,
};

pub(super) type Defs = BTreeMap<UnitName, Arc<UnitDef>>;

/// What is true about runs, seen from outside the machine.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) started: BTreeMap<(UnitName, Generation), (StartCause, u32)>,
    pub(super) ended: BTreeMap<(UnitName, Generation), Happening>,
    ends_said: BTreeMap<(UnitName, Generation), u32>,
    /// The row of restarts after the last start; `None` when the manager died in a reset.
    pub(super) rows: BTreeMap<UnitName, Option<u32>>,
    pub(super) transient: BTreeSet<(UnitName, Generation)>,
    /// Runs whose main process the machine has killed.
    pub(super) killed: BTreeSet<RunId>,
    pub(super) starts: BTreeMap<UnitName, Vec<(u64, Generation)>>,
    /// Where in these starts a reset may have been.
    pub(super) may_be_reset: BTreeMap<UnitName, Vec<usize>>,
    pub(super) recovered: u32,
    /// When timers started runs.
    timed: BTreeMap<(UnitName, Generation), Wall>,
}

/// An end whose restart the start limit then forbade.
fn forbidden(told: &Happening) -> Option<Happening> {
    let mut end = told.clone();
    match &mut end {
        Happening::RunEnded { consequence, .. } if *consequence == Consequence::Restart => {
            *consequence = Consequence::StartLimit;
            Some(end)
        }
        _ => None,
    }
}

impl Truth {
    pub(super) fn note(&mut self, notice: Notice, defs: &Defs) {
        let what = notice.what;
        match &what {
            Happening::RunStarting { run, cause, restarts, .. } => {
                if let StartCause::Timer(_) = cause {
                    self.timed.insert((run.unit.clone(), run.generation), notice.at.wall);
                }
                self.note_start(notice.at.mono.0, run, cause, *restarts, defs);
            }
            Happening::RunEnded { run, replayed, invocation, .. } => {
                // What the machine does itself it knows, also after a crash.
                let blamed = matches!(what, Happening::RunEnded { result: RunResult::Protocol, .. });
                assert!(!(blamed && self.killed.contains(run)), "{run:?} was killed by us and is blamed for it");
                let key = (run.unit.clone(), run.generation);
                let plain = match what.clone() {
                    Happening::RunEnded {
                        run,
                        invocation,
                        status,
                        usage,
                        result,
                        wanted,
                        consequence,
                        delay: _,
                        why: _,
                        replayed: _,
                    } => Happening::RunEnded {
                        run,
                        invocation,
                        status,
                        usage,
                        result,
                        wanted,
                        consequence,
                        delay: None,
                        why: None,
                        replayed: false,
                    },
                    other => other,
                };
                if !replayed {
                    let said = self.ends_said.entry(key.clone()).or_default();
                    *said += 1;
                    assert_eq!(*said, 1, "{what:?} is said twice");
                }
                // One that is derived from its exit has no invocation; the rest has to be the same each time, except that a
                // restart may have come to nothing.
                if *invocation == InvocationId::default() {
                    self.ended.entry(key).or_insert(plain);
                } else if let Some(old) = self.ended.insert(key, plain.clone()) {
                    let derived =
                        matches!(old, Happening::RunEnded { invocation, .. } if invocation == InvocationId::default());
                    assert!(
                        derived || old == plain || forbidden(&old) == Some(plain.clone()),
                        "{old:?} became {plain:?}"
                    );
                }
            }
            Happening::CountersReset { unit, .. } => {
                self.rows.insert(unit.clone(), Some(0));
                self.starts.remove(unit);
                self.may_be_reset.remove(unit);
            }
            Happening::Recovered { .. } => self.recovered += 1,
            Happening::Bug { text, .. } => panic!("{text}"),
            _ => {}
        }
    }

    /// When a timer started runs of the unit.
    pub(super) fn timed(&self, unit: &UnitName) -> Vec<Wall> {
        self.timed.iter().filter(|((of, _), _)| of == unit).map(|(_, at)| *at).collect()
    }

    fn note_start(&mut self, at: u64, run: &RunId, cause: &StartCause, restarts: u32, defs: &Defs) {
        let key = (run.unit.clone(), run.generation);
        if let Some(old) = self.started.insert(key, (cause.clone(), restarts)) {
            assert_eq!(old, (cause.clone(), restarts), "a start is said again as it was");
            return;
        }
        let before = (run.unit.clone(), Generation(run.generation.0 - 1));
        let transient = self.transient.contains(&before);
        if let Some(row) = self.rows.insert(run.unit.clone(), Some(restarts)).unwrap_or(Some(0)) {
            let fits = match cause {
                // The failure may have come when the run was on its way down already, and then counts as usual.
                StartCause::AutoRestart | StartCause::Unhealthy { .. } if transient => {
                    restarts == row || restarts == row + 1
                }
                StartCause::AutoRestart | StartCause::Unhealthy { .. } => restarts == row + 1,
                // The manager that keeps it starts and restarts it as it likes.
                StartCause::ExternalStart | StartCause::ExternalRestart => true,
                StartCause::Boot
                | StartCause::Manual(_)
                | StartCause::Reload(_)
                | StartCause::Dependency(_)
                | StartCause::Triggered(_)
                | StartCause::Traffic
                | StartCause::Timer(_)
                | StartCause::Connection(_) => restarts == 0 || restarts == row || restarts == row + 1,
            };
            assert!(fits, "{run:?} by {cause:?} says {restarts} after {row}");
        }
        if matches!(cause, StartCause::ExternalStart | StartCause::ExternalRestart) {
            return;
        }
        self.starts.entry(run.unit.clone()).or_default().push((at, run.generation));
        self.check_start_limit(&run.unit, defs);
    }

    /// Walks the starts as a fixed window does.
    fn check_start_limit(&self, unit: &UnitName, defs: &Defs) {
        let Some(limit) = defs.get(unit).map(|def| def.start_limit) else { return };
        let length = limit.interval.duration().unwrap().as_nanos() as u64;
        let spared = |generation: &Generation| self.transient.contains(&(unit.clone(), *generation));
        let in_window = |starts: &[(u64, Generation)]| {
            let (mut begin, mut count) = (None, 0);
            for (at, generation) in starts {
                if begin.is_none_or(|begin: u64| *at > begin + length) {
                    (begin, count) = (Some(*at), 0);
                }
                count += u32::from(!spared(generation));
            }
            count
        };
        let starts = &self.starts[unit];
        let anew = self.may_be_reset.get(unit).into_iter().flatten().map(|place| &starts[*place..]);
        let counts: Vec<u32> = std::iter::once(&starts[..]).chain(anew).map(in_window).collect();
        assert!(counts.iter().any(|count| *count <= limit.burst), "{unit}: {counts:?} starts in one window");
    }
}
