//! What leaves through Redis, in the order in which it was given. What cannot leave is lost: whoever needs it asks again.

use std::time::Duration;

use tokio::sync::mpsc;

use super::drive::LEASE;
use crate::edge::bus::Bus;

/// What may wait to leave; more is lost.
const WAITING_MAX: usize = 4096;

/// One thing to be sent.
#[derive(Debug)]
pub(super) enum Out {
    /// A command.
    To {
        /// To which node.
        node: String,
        /// It.
        text: String,
    },
    /// A word to whoever drives.
    Word(String),
    /// A sign of life, and how long it stays.
    Beat(String, Duration),
    /// Words of a plan's journal.
    Journal {
        /// Which plan.
        plan: String,
        /// They.
        words: Vec<String>,
        /// The plan as people see it with them, where that must not be lost alone.
        shown: Option<String>,
    },
    /// The lock of whoever drives, to another one. What was said of the plan before is there before.
    Lock {
        /// Who has it.
        from: String,
        /// Who gets it.
        to: String,
    },
    /// A plan as people see it.
    Shown {
        /// Which.
        plan: String,
        /// It.
        text: String,
    },
}

/// The way out.
#[derive(Debug, Clone)]
pub(super) struct Sender(mpsc::Sender<Out>);

impl Sender {
    /// Ends with its last clone.
    pub(super) fn start(bus: Bus) -> Self {
        let (to, mut from) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let mut was_lost = false;
            while let Some(out) = from.recv().await {
                let sent = match out {
                    Out::To { node, text } => bus.send(&node, &text).await,
                    Out::Word(text) => bus.say(&text).await,
                    Out::Beat(text, stays) => bus.beat(&text, stays).await,
                    Out::Journal { plan, words, shown } => bus.keep_words(&plan, &words, shown.as_deref()).await,
                    Out::Lock { from, to } => bus.hand_over(&from, &to, LEASE).await,
                    Out::Shown { plan, text } => bus.show_plan(&plan, &text).await,
                };
                match sent {
                    Ok(()) if was_lost => tracing::info!("redis is reached again"),
                    Err(ref error) if !was_lost => tracing::warn!(%error, "the fleet does not hear from this node"),
                    Ok(()) | Err(_) => {}
                }
                was_lost = sent.is_err();
            }
        });
        Self(to)
    }

    pub(super) fn send(&self, out: Out) {
        // It is full while Redis hangs.
        if self.0.try_send(out).is_err() {
            tracing::debug!("something for the fleet is lost, as redis does not take it");
        }
    }
}
