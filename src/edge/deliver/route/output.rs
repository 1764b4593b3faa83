//! What the run said last of which a message speaks.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::Worker;
use crate::{
    alert::Message,
    base::{Generation, UnitName, Wall},
    edge::log,
};

/// Lines that are shown of a service that goes on.
const OUTPUT_LINES: usize = 10;
/// When it is looked for what a run said last.
const OUTPUT_PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(10),
    Duration::from_millis(15),
    Duration::from_millis(15),
];

impl Worker {
    /// Whether a message waited for longer than what its run said last takes to be written down.
    pub(super) fn has_waited(&self, created: Wall) -> bool {
        let waited = u64::try_from((self.common.clock)().wall.0.saturating_sub(created.0)).unwrap_or(0);
        Duration::from_micros(waited) > OUTPUT_PAUSES.iter().sum()
    }

    /// What the run said last of whose end a message speaks. It is written down at the same time as the message, so it is
    /// waited for a little; not by one that has `waited` in a crowd.
    pub(super) async fn last_output(&self, message: &Message, waited: bool) -> Vec<String> {
        let unit = message.unit.as_deref().and_then(|unit| UnitName::new(unit).ok());
        if let (Some(logs), Some(unit), true) = (&self.common.logs, &unit, message.speaks_of_health()) {
            let dir = logs.join(unit.as_str());
            let run = self.common.store.run(unit.clone(), Generation(message.generation)).await;
            let Some(began) = run.ok().flatten().and_then(|run| run.started_at) else { return Vec::new() };
            let span = log::Span { from: log::Bound::Since(began), to: None };
            let words = spawn_blocking(move || log::last_words(&dir, OUTPUT_LINES, || Some(span)));
            return words.await.unwrap_or_default();
        }
        let Some(unit) = unit.filter(|_| message.speaks_of_an_end()) else { return Vec::new() };
        for pause in OUTPUT_PAUSES.into_iter().take(if waited { 1 } else { OUTPUT_PAUSES.len() }) {
            tokio::time::sleep(pause).await;
            let Ok(Some(run)) = self.common.store.run(unit.clone(), Generation(message.generation)).await else {
                break;
            };
            if let Some(text) = run.last_output {
                return text.lines().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }
}
