//! Whether a message that is refused is why, or the route.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{ATTEMPTS_MAX, Known, Part, REFUSED_MAX, Trouble, Worker, doubled};
use crate::{
    alert::Message,
    edge::store::{Batch, OutboxRow, OutboxState, OutboxUpdate, Write},
};

/// What a receiver that answers well has refused of late.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Messages in a row, each about something else than the one before.
    in_a_row: u32,
    /// What the last of them was about.
    about: Option<String>,
    /// What was refused waits for the route, and nothing else does.
    pub(super) rest_alone: bool,
}

impl Known {
    /// Whether it waits by itself since it was refused by itself.
    fn is_refused(&self) -> bool {
        self.refused > 0 && self.rests_until.is_some() && self.had.is_empty()
    }
}

impl Worker {
    /// Something was taken.
    pub(super) fn takes(&mut self) {
        (self.failures, self.deaths, self.apart) = (0, 0, false);
        self.refusals = Refusals::default();
        self.taken += 1;
        let beside = self.common.timing.refused_beside;
        for known in self.known.values_mut().filter(|known| known.is_refused()) {
            let soon = known.last_refused.map(|at| at + beside);
            known.rests_until = known.rests_until.min(soon).or(known.rests_until);
        }
    }

    /// What was refused does not rest any longer: there is reason to believe that it is taken now.
    pub(super) fn ask_refused_again(&mut self) {
        for known in self.known.values_mut().filter(|known| known.is_refused()) {
            known.rests_until = None;
        }
    }

    /// What was refused is asked before anything that came later about the same thing is: the end of an incident must not
    /// come before its beginning.
    pub(super) fn ask_in_order(&mut self, waiting: &[OutboxRow]) {
        let is_refused = |row: &OutboxRow| self.known.get(&row.id).is_some_and(Known::is_refused);
        if !waiting.iter().any(is_refused) {
            return;
        }
        let mut later: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in waiting.iter().rev() {
            // One that cannot be read is refused when its turn comes.
            let Ok(message) = Message::from_json(&row.payload) else { continue };
            let behind = later.entry(message.thing()).or_default();
            if let Some(known) = self.known.get_mut(&row.id).filter(|known| known.is_refused())
                && !behind.is_subset(&known.behind)
            {
                known.rests_until = None;
                known.behind.clone_from(behind);
            }
            behind.insert(row.id.clone());
        }
    }

    /// A message was taken. One that was passed by what came later, as the receiver was mended just between the two, is not
    /// the last word about its thing: that is said again.
    pub(super) fn pass(&mut self, taken: &Part) {
        for known in self.known.values_mut().filter(|known| known.behind.contains(&taken.id)) {
            known.passed_by = Some(taken.payload.clone());
        }
        let waits = |id: &String| self.known.get(id).is_none_or(|known| !known.settled);
        let Some(Ok(later)) = taken.known.passed_by.as_deref().map(Message::from_json) else { return };
        if taken.known.behind.iter().any(waits) {
            return;
        }
        let again = Box::new(Message { id: format!("{}-again", later.id), ..later });
        let now = (self.common.clock)().wall;
        let update = OutboxUpdate {
            id: again.id.clone(),
            state: OutboxState::Waiting(now, "what was before it was taken after it".to_owned()),
            attempts: 0,
            refused: 0,
            possible_duplicate: true,
            receipt: None,
        };
        let writes = vec![Write::Message(again, now), Write::Outbox(update)];
        self.common.store.submit(Batch { seq: None, writes });
    }

    /// A message by itself was refused; how long the route rests. A second one about something else says that it is not the
    /// messages.
    pub(super) fn refuses(&mut self, part: &Part, reason: &str) -> Duration {
        // One that cannot be read is about itself.
        let thing = Message::from_json(&part.payload).map_or_else(|_| part.id.clone(), |message| message.thing());
        let is_another = self.refusals.about.as_ref() != Some(&thing);
        self.refusals.about = Some(thing);
        self.refusals.in_a_row += u32::from(is_another);
        if self.refusals.in_a_row < 2 {
            let is_to_blame = part.known.first_refused.is_some_and(|(before, _)| self.taken > before);
            if part.known.refused > 0 && !is_to_blame {
                self.set_trouble(Some(Trouble::Refuses(reason.to_owned())));
            }
            return self.gap();
        }
        self.refusals.rest_alone = true;
        let left = self.paused_until.saturating_duration_since(Instant::now());
        if part.known.refused == 0 && !left.is_zero() {
            return left;
        }
        self.died(reason.to_owned())
    }

    /// Whether what was refused waits for the route, and nothing else does.
    pub(super) fn is_resting_for_refused(&self) -> bool {
        self.refusals.rest_alone && self.paused_until > Instant::now()
    }

    /// What was not refused yet, and is about nothing of which an earlier message waits.
    pub(super) fn fresh(&self, waiting: Vec<OutboxRow>) -> Vec<OutboxRow> {
        let mut held = BTreeSet::new();
        let mut is_fresh = |row: &OutboxRow| {
            let was_refused = row.refused > 0 || self.known.get(&row.id).is_some_and(|known| known.refused > 0);
            // One that cannot be read is refused when its turn comes.
            let thing = Message::from_json(&row.payload).map_or_else(|_| row.id.clone(), |message| message.thing());
            if was_refused {
                held.insert(thing);
                return false;
            }
            !held.contains(&thing)
        };
        waiting.into_iter().filter(|row| is_fresh(row)).collect()
    }

    /// A message by itself was refused. It is to blame, and after some time given up, once others were taken since it was refused
    /// first. Until then it waits, for longer than the route does: so another one asks next.
    pub(super) fn refused(&self, known: &mut Known, pause: Duration, reason: &str) -> OutboxState {
        known.refused += 1;
        let (now, timing) = (Instant::now(), self.common.timing);
        known.last_refused = Some(now);
        let (taken_before, since) = *known.first_refused.get_or_insert((self.taken, now));
        let is_to_blame = self.taken > taken_before && now.duration_since(since) >= timing.blamed_after;
        let is_over = is_to_blame || known.refused >= REFUSED_MAX || known.attempts >= ATTEMPTS_MAX;
        let own = timing.refused_min.saturating_mul(doubled(known.refused)).min(timing.refused_max);
        let rest = pause.max(own).saturating_mul(2);
        known.rests_until = Some(now + rest);
        self.waiting_or_failed(is_over, rest, reason)
    }

    /// How long it rests that the route is dead.
    pub(super) fn died(&mut self, reason: String) -> Duration {
        self.set_trouble(Some(Trouble::Refuses(reason)));
        self.deaths = self.deaths.saturating_add(1);
        let timing = self.common.timing;
        timing.refused_min.saturating_mul(doubled(self.deaths)).min(timing.refused_max)
    }
}
