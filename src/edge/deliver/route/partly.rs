//! Mail that some have and others want later: it waits for these alone, and nothing waits for it.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::Worker;
use crate::{alert::Target, edge::store::OutboxRow};

impl Worker {
    /// What waits but for those that rest, and when the first of these has rested.
    pub(super) fn without_resting(&mut self, waiting: Vec<OutboxRow>) -> (Vec<OutboxRow>, Option<Instant>) {
        let now = Instant::now();
        let (mut kept, mut rested) = (Vec::with_capacity(waiting.len()), None::<Instant>);
        for row in waiting {
            match self.rests_until(&row).filter(|until| *until > now) {
                Some(until) => {
                    rested = Some(rested.map_or(until, |rested| rested.min(until)));
                    let id = row.id.clone();
                    let known = self.part(row).known;
                    self.known.entry(id).or_insert(known).rests_until = Some(until);
                }
                None => kept.push(row),
            }
        }
        (kept, rested)
    }

    /// As this task knows it, or as an earlier life has written it; whatever the clock on the wall says, no longer than
    /// the longest such wait.
    fn rests_until(&self, row: &OutboxRow) -> Option<Instant> {
        if let Some(known) = self.known.get(&row.id) {
            return known.rests_until;
        }
        if self.had_by(row).is_empty() {
            return None;
        }
        let left = u64::try_from(row.next_try.0.saturating_sub((self.common.clock)().wall.0)).unwrap_or(0);
        Some(Instant::now() + Duration::from_micros(left).min(self.deferral(u32::MAX)))
    }

    /// Who has it already, as it was written.
    pub(super) fn had_by(&self, row: &OutboxRow) -> BTreeSet<String> {
        match (&self.route.target, &row.receipt) {
            (Target::Email(_), Some(receipt)) => receipt.lines().map(str::to_owned).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// How long a mail rests after a server wanted it later for the nth time.
    pub(super) fn deferral(&self, nth: u32) -> Duration {
        let timing = &self.common.timing;
        let nth = usize::try_from(nth).unwrap_or(usize::MAX).saturating_sub(1);
        timing.deferrals.get(nth).or_else(|| timing.deferrals.last()).copied().unwrap_or(timing.backoff_max)
    }
}

/// Who has it, for the outbox.
pub(super) fn written(had: &BTreeSet<String>) -> Option<String> {
    (!had.is_empty()).then(|| had.iter().map(String::as_str).collect::<Vec<_>>().join("\n"))
}
