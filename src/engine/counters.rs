//! Counts for metrics and `status`, beginning with what the store counted before.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    base::{Generation, Happening, Notice, StartCause, TimeSpan, UnitName, pack},
    edge::store::RestartTotals,
};

/// Counts since ever (restarts, start limits) or since this manager began (the rest).
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Automatic restarts by unit and cause.
    pub restarts: BTreeMap<(UnitName, &'static str), u64>,
    /// Start limits that were hit.
    pub start_limits: BTreeMap<UnitName, u64>,
    /// Reloads of unit files by result.
    pub reloads: BTreeMap<&'static str, u64>,
    /// How long they took, whatever their result, from the first look at a file on.
    pub reload_times: Durations,
    /// Why the daemon's program was not replaced when that was asked for last, by this manager or the one before it.
    pub upgrade_trouble: Option<String>,
    /// Why the store cannot be written, while it cannot.
    pub store_trouble: Option<String>,
    /// Which runs of each unit are counted.
    counted: BTreeMap<UnitName, Counted>,
}

/// How often something took how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// How many took no longer than each of [`Durations::BOUNDS`].
    pub within: [u64; Self::BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// What they took together, in microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// From a few small files to thousands of them on a slow disk.
    pub const BOUNDS: [TimeSpan; 7] = [
        TimeSpan::from_millis(5),
        TimeSpan::from_millis(25),
        TimeSpan::from_millis(100),
        TimeSpan::from_millis(500),
        TimeSpan::from_secs(1),
        TimeSpan::from_secs(5),
        TimeSpan::from_secs(30),
    ];

    /// One that took `span`.
    pub(super) fn add(&mut self, span: TimeSpan) {
        for (within, bound) in self.within.iter_mut().zip(Self::BOUNDS) {
            *within += u64::from(span <= bound);
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(span.micros().unwrap_or(u64::MAX));
    }
}

/// All runs up to one, and some beyond: a manager that takes over tells the last runs first, and then older ones whose
/// ends the keeper held while nothing could be written.
#[derive(Debug, Clone, Default)]
struct Counted {
    all_to: Generation,
    beyond: BTreeSet<Generation>,
}

/// Runs that are counted beyond a gap; with more of them the gap is given up.
const BEYOND_MAX: usize = 65_536;

impl Counted {
    /// Whether the run was not counted before; now it is.
    fn count(&mut self, run: Generation) -> bool {
        // The usual run leaves no gap; a set that was used once keeps its memory.
        let follows = run == self.all_to.next();
        let is_new = follows || (run > self.all_to && self.beyond.insert(run));
        if follows {
            self.all_to = run;
        }
        while self.beyond.remove(&self.all_to.next()) {
            self.all_to = self.all_to.next();
        }
        if self.beyond.len() > BEYOND_MAX
            && let Some(first) = self.beyond.pop_first()
        {
            self.all_to = first;
        }
        is_new
    }
}

const AUTO: &str = "auto-restart";
const UNHEALTHY: &str = "unhealthy";
const TAKEN: &str = "success";
const REFUSED: &str = "rejected";

impl Counters {
    /// Causes of automatic restarts.
    pub const CAUSES: [&'static str; 2] = [AUTO, UNHEALTHY];
    /// Results of reloads.
    pub const RELOADS: [&'static str; 2] = [TAKEN, REFUSED];

    /// What the store counted: totals, and up to which run.
    pub(super) fn seed(
        &mut self,
        totals: BTreeMap<UnitName, RestartTotals>,
        generations: &BTreeMap<UnitName, Generation>,
    ) {
        self.add(totals);
        self.counted.extend(
            generations
                .iter()
                .map(|(unit, generation)| (unit.clone(), Counted { all_to: *generation, ..Counted::default() })),
        );
    }

    /// What the store counted of earlier runs, when it could not be asked in time: of those that are not [`Self::counted`].
    pub(super) fn add(&mut self, totals: BTreeMap<UnitName, RestartTotals>) {
        for (unit, total) in totals {
            for (cause, count) in [(AUTO, total.auto_restarts), (UNHEALTHY, total.unhealthy)] {
                if count > 0 {
                    *self.restarts.entry((unit.clone(), cause)).or_default() += count;
                }
            }
            if total.start_limits > 0 {
                *self.start_limits.entry(unit).or_default() += total.start_limits;
            }
        }
    }

    /// Which runs are counted here.
    pub(super) fn counted(&self) -> impl Fn(&UnitName, Generation) -> bool + Send + 'static {
        let counted = self.counted.clone();
        move |unit, run| counted.get(unit).is_some_and(|known| run <= known.all_to || known.beyond.contains(&run))
    }

    /// Takes no more room than needed.
    pub(super) fn pack(&mut self) {
        pack(&mut self.counted);
    }

    /// Automatic restarts of a unit, whatever their cause.
    pub fn restarts_of(&self, unit: &UnitName) -> u64 {
        Self::CAUSES.iter().filter_map(|cause| self.restarts.get(&(unit.clone(), *cause))).sum()
    }

    /// Hears of one happening. A run that is told again (by a new manager) is not counted again.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a counter for each happening that has one; the others count nothing"
    )]
    pub(super) fn hear(&mut self, notice: &Notice) {
        match &notice.what {
            Happening::RunStarting { run, cause, .. } => {
                if !self.counted.entry(run.unit.clone()).or_default().count(run.generation) {
                    return;
                }
                let cause = match cause {
                    StartCause::AutoRestart | StartCause::ExternalRestart => AUTO,
                    StartCause::Unhealthy { .. } => UNHEALTHY,
                    StartCause::Boot
                    | StartCause::Manual(_)
                    | StartCause::Reload(_)
                    | StartCause::Dependency(_)
                    | StartCause::Triggered(_)
                    | StartCause::Traffic
                    | StartCause::Timer(_)
                    | StartCause::Connection(_)
                    | StartCause::ExternalStart => return,
                };
                *self.restarts.entry((run.unit.clone(), cause)).or_default() += 1;
            }
            Happening::StartLimitHit { unit, again: false, .. } => {
                *self.start_limits.entry(unit.clone()).or_default() += 1;
            }
            Happening::ConfigLoaded { .. } => *self.reloads.entry(TAKEN).or_default() += 1,
            Happening::UpgradeFailed { reason } => self.upgrade_trouble = Some(reason.clone()),
            Happening::ConfigRejected { .. } => *self.reloads.entry(REFUSED).or_default() += 1,
            Happening::StoreDegraded { reason } => self.store_trouble = Some(reason.clone()),
            Happening::StoreRecovered => self.store_trouble = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{InvocationId, Now, RunId};

    fn starting(generation: u64) -> Notice {
        let run = RunId { unit: UnitName::new("web").expect("a name"), generation: Generation(generation) };
        let what = Happening::RunStarting {
            run,
            invocation: InvocationId::default(),
            cause: StartCause::AutoRestart,
            restarts: 1,
        };
        Notice { at: Now::default(), what }
    }

    #[test]
    fn a_duration_counts_for_its_bound_and_every_longer_one() {
        let mut times = Durations::default();
        for millis in [5, 6, 700, 60_000] {
            times.add(TimeSpan::from_millis(millis));
        }
        assert_eq!(times.within, [1, 2, 2, 2, 3, 3, 3]);
        assert_eq!((times.count, times.sum_us), (4, 60_711_000));
    }

    #[test]
    fn a_run_that_is_told_twice_is_counted_once() {
        let web = UnitName::new("web").expect("a name");
        let mut counters = Counters::default();
        let totals = RestartTotals { auto_restarts: 4, ..RestartTotals::default() };
        counters.seed([(web.clone(), totals)].into(), &[(web.clone(), Generation(5))].into());
        for generation in [5, 6, 6, 7] {
            counters.hear(&starting(generation));
        }
        assert_eq!(counters.restarts_of(&web), 6);
    }

    #[test]
    fn a_start_that_is_refused_at_the_limit_is_not_one_more_limit() {
        let unit = UnitName::new("web").expect("a name");
        let mut counters = Counters::default();
        for again in [false, true, true, false] {
            let (unit, interval) = (unit.clone(), TimeSpan::from_secs(10));
            let what = Happening::StartLimitHit { unit, burst: 5, interval, last: None, again };
            counters.hear(&Notice { at: Now::default(), what });
        }
        assert_eq!(counters.start_limits[&unit], 2);
    }

    #[test]
    fn what_the_store_says_late_is_added() {
        let web = UnitName::new("web").expect("a name");
        let mut counters = Counters::default();
        for generation in [8, 9] {
            counters.hear(&starting(generation));
        }
        let is_counted = counters.counted();
        assert!(!is_counted(&web, Generation(7)) && is_counted(&web, Generation(8)));
        counters.add([(web.clone(), RestartTotals { auto_restarts: 6, ..RestartTotals::default() })].into());
        assert_eq!(counters.restarts_of(&web), 8);
    }

    #[test]
    fn an_older_run_that_is_told_late_is_counted() {
        let web = UnitName::new("web").expect("a name");
        let mut counters = Counters::default();
        for generation in [5, 6, 1, 2, 3, 4, 1, 6, 7] {
            counters.hear(&starting(generation));
        }
        assert_eq!(counters.restarts_of(&web), 7);
        assert!(counters.counted[&web].beyond.is_empty(), "nothing is kept of what has no gap");
    }
}
