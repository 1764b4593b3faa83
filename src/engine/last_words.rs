//! What a service said last before an unexpected end: kept with its run, and sent with the alert.

use std::time::Duration;

use crate::{
    base::{Mono, RunId, TimeSpan},
    edge::{
        clock, log,
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

/// How many were looked at of late.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    since: Mono,
    count: u32,
}

impl Engine {
    /// Has the last lines of a run kept, beside the loop.
    pub(super) fn keep_last_words(&mut self, run: &RunId) {
        let now = clock::now().mono;
        let words = &mut self.last_words;
        if words.since.after(TimeSpan::from_secs(1)).is_none_or(|end| end <= now) {
            *words = LastWords { since: now, count: 0 };
        }
        if words.count >= PER_SECOND {
            return;
        }
        words.count += 1;
        let (dir, store, run) = (self.settings.paths.logs.join(run.unit.as_str()), self.store.clone(), run.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(SETTLES).await;
            let read = tokio::task::spawn_blocking(move || log::last_words(&dir, LINES)).await;
            let text = read.unwrap_or_default().join("\n");
            store.submit(Batch { seq: None, writes: vec![Write::LastOutput(run, text)] });
        });
    }
}
