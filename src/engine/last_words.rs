//! What a service said last before an unexpected end: kept with its run, and sent with the alert.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    base::{Generation, Mono, ProcessKey, Role, RunId, TimeSpan, UnitName, Wall},
    edge::{
        clock,
        log::{self, Bound, Span},
        store::{Batch, Write},
    },
};

use super::Engine;

/// Lines that are kept.
const LINES: usize = 10;
/// What it wrote is on its way to the disk.
const SETTLES: Duration = Duration::from_millis(10);
/// So many runs in a second; of a crowd that dies at once the others' lines are in their logs alone.
const PER_SECOND: u32 = 20;

/// Runs of a unit whose begins are known: one that ended, those that have followed until it was looked at.
const BEGINS_MAX: usize = 4;

/// How many were looked at of late.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    since: Mono,
    count: u32,
    begins: Begins,
}

/// Where the output of the newest runs of each unit begins, the oldest first.
#[derive(Debug, Clone, Default)]
struct Begins(Arc<Mutex<Runs>>);

type Runs = BTreeMap<UnitName, Vec<(Generation, Bound)>>;

impl Begins {
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, run: &RunId, bound: Bound) {
        let mut begins = self.lock();
        let runs = begins.entry(run.unit.clone()).or_insert_with(|| Vec::with_capacity(1));
        let Err(place) = runs.binary_search_by_key(&run.generation, |(known, _)| *known) else { return };
        runs.insert(place, (run.generation, bound));
        if runs.len() > BEGINS_MAX {
            runs.remove(0);
        }
    }

    fn span(&self, run: &RunId) -> Option<Span> {
        let begins = self.lock();
        let runs = begins.get(&run.unit)?;
        let own = runs.iter().position(|(generation, _)| *generation == run.generation)?;
        let bound = |place: usize| runs.get(place).map(|(_, bound)| *bound);
        Some(Span { from: bound(own)?, to: bound(own + 1) })
    }
}

impl LastWords {
    /// Where the output of a run begins, if it is one of the newest of its unit.
    pub(super) fn began(&self, run: &RunId) -> Option<Bound> {
        self.begins.span(run).map(|span| span.from)
    }
}

impl Engine {
    /// A run is about to begin, and nothing of the one before it is left: what is written from now on is its own.
    pub(super) fn output_begins(&self, run: &RunId) {
        let bound = self.flow.next_place(&run.unit).map_or_else(|| Bound::Since(clock::wall()), Bound::At);
        self.last_words.begins.add(run, bound);
    }

    /// A process of an earlier manager: where in the output its run began, that one alone knew.
    pub(super) fn output_began(&self, key: &ProcessKey, at: Wall) {
        if !matches!(key.role, Role::Probe(_)) {
            self.last_words.begins.add(&key.run, Bound::Since(at));
        }
    }

    /// The unit is gone.
    pub(super) fn forget_output(&self, unit: &UnitName) {
        self.last_words.begins.lock().remove(unit);
    }

    /// Has the last lines of a run kept, beside the loop.
    pub(super) fn keep_last_words(&mut self, run: &RunId) {
        let now = clock::now().mono;
        let words = &mut self.last_words;
        if words.since.after(TimeSpan::from_secs(1)).is_none_or(|end| end <= now) {
            (words.since, words.count) = (now, 0);
        }
        if words.count >= PER_SECOND {
            return;
        }
        words.count += 1;
        let (dir, store, run) = (self.settings.paths.logs.join(run.unit.as_str()), self.store.clone(), run.clone());
        let (begins, of) = (words.begins.clone(), run.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(SETTLES).await;
            let read = tokio::task::spawn_blocking(move || log::last_words(&dir, LINES, || begins.span(&of))).await;
            let text = read.unwrap_or_default().join("\n");
            store.submit(Batch { seq: None, writes: vec![Write::LastOutput(run, text)] });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_begins_of_the_newest_runs_are_known_in_whatever_order_they_are_told() {
        let run = |generation| RunId { unit: UnitName::new("web").unwrap(), generation: Generation(generation) };
        let at = |generation: u64| Bound::Since(Wall(i64::try_from(generation).unwrap()));
        let begins = Begins::default();
        // One that lives is told of before the end of the one before it.
        for generation in [2, 1, 1, 3, 4, 5] {
            begins.add(&run(generation), at(generation));
        }
        assert_eq!(begins.span(&run(1)), None);
        assert_eq!(begins.span(&run(2)), Some(Span { from: at(2), to: Some(at(3)) }));
        assert_eq!(begins.span(&run(5)), Some(Span { from: at(5), to: None }));
    }
}
