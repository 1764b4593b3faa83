//! What this route does not take goes to another too.

use std::time::Duration;

use tokio::time::Instant;

use super::{KNOWN_MAX, Part, Worker};
use crate::{
    alert::{Message, RouteName, Status},
    base::TimeSpan,
    edge::store::{Batch, OutboxState, Write},
};

impl Worker {
    /// Hands over what has waited long enough for this route alone; when the next will have.
    pub(super) async fn hand_over_due(&mut self) -> Option<Instant> {
        let (fallback, trouble) = (self.route.fallback.clone()?, self.trouble()?);
        let limit = u32::try_from(KNOWN_MAX).unwrap_or(u32::MAX);
        // What cannot be read now is read after the next try.
        let rows = self.common.store.outbox_waiting(self.route.name.clone(), limit).await.ok()?;
        self.handed_over.retain(|id| rows.iter().any(|row| row.id == *id));
        let now = (self.common.clock)().wall;
        let mut next: Option<TimeSpan> = None;
        for row in rows {
            let is_settled = self.known.get(&row.id).is_some_and(|known| known.settled);
            if is_settled || self.handed_over.contains(&row.id) {
                continue;
            }
            let left = fallback.left(row.created, now, &trouble);
            if left.is_zero() {
                self.hand_over(&fallback.route, &row.payload, Some(trouble.reason()));
                self.handed_over.insert(row.id);
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        next.and_then(TimeSpan::duration).map(|left| Instant::now() + left.max(Duration::from_millis(1)))
    }

    /// What became of a message, for the other route: one that was given up is its from now on, and whoever was told by it of an
    /// incident is told of its end.
    pub(super) async fn settled(&mut self, part: &Part, state: &OutboxState) {
        let Some(fallback) = self.route.fallback.clone() else { return };
        match state {
            OutboxState::Failed(reason) => self.hand_over(&fallback.route, &part.payload, Some(reason)),
            OutboxState::Delivered => {
                let Ok(message) = Message::from_json(&part.payload) else { return };
                if message.status == Status::Resolved
                    && let Ok(true) = self.common.store.was_told(fallback.route.clone(), message.incident).await
                {
                    self.hand_over(&fallback.route, &part.payload, None);
                }
            }
            // Whatever is to blame, this route does not take it now.
            OutboxState::Waiting(_, reason) if part.known.refused > 0 => {
                self.hand_over(&fallback.route, &part.payload, Some(reason));
            }
            OutboxState::Waiting(..) | OutboxState::Sending => {}
        }
    }

    /// Puts a copy into the outbox of another route, which has it once however often this is said.
    fn hand_over(&self, to: &RouteName, payload: &str, reason: Option<&str>) {
        // One that cannot be read is refused when its turn comes.
        let Ok(message) = Message::from_json(payload) else { return };
        let copy = Box::new(message.for_fallback(to, reason));
        let now = (self.common.clock)().wall;
        self.common.store.submit(Batch { seq: None, writes: vec![Write::Message(copy, now)] });
    }
}
