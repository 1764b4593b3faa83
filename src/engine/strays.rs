//! Children of the keeper that nobody knows: what services left behind, where no cgroup holds it.
//!
//! A look costs a microsecond for each child, and holds up every process that ends meanwhile. So one serves all who died
//! before it, and in a crowd of ends the next ones wait for the next look.

use super::{Engine, tree::RESTS};
use crate::{
    base::{Mono, Pid},
    edge::{clock, proctree},
    keeper::client::ClientError,
    wire::keeper::Exit,
};

/// What is known of strays, and who waits to know more.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// When it was last seen that there are none.
    none_at: Mono,
    /// No look before that.
    rested: Mono,
    /// Ends that wait for it, of units on their way down.
    late: Vec<Exit>,
}

impl Strays {
    /// When the next look is due, if anyone waits for it.
    pub(super) fn due(&self) -> Option<Mono> {
        (!self.late.is_empty()).then_some(self.rested)
    }

    /// Whether the keeper had more children than the `known` ones, at some time after the death.
    pub(super) fn may_be(&mut self, died: Mono, known: usize) -> bool {
        if died < self.none_at {
            return false;
        }
        let begin = clock::now().mono;
        let keeper = i32::try_from(std::os::unix::process::parent_id()).ok().and_then(Pid::new);
        let any = proctree::has_strangers(keeper, known);
        if !any {
            self.none_at = begin;
        }
        let end = clock::now().mono;
        self.rested = end.later(end.since(begin) * RESTS);
        any
    }
}

impl Engine {
    /// The end of a process: at once, or with others after the next look.
    pub(super) fn hear_end(&mut self, exit: Exit) -> Result<(), ClientError> {
        let Strays { none_at, rested, .. } = self.strays;
        if self.cgroups.is_none() && exit.at.mono >= none_at && self.is_stopping(&exit.key.run.unit) {
            if clock::now().mono < rested {
                // It is no child any more.
                self.processes.remove(&exit.key);
                self.strays.late.push(exit);
                return Ok(());
            }
            self.hear_late_ends()?;
        }
        self.exited(exit)
    }

    /// The ends that waited.
    pub(super) fn hear_late_ends(&mut self) -> Result<(), ClientError> {
        std::mem::take(&mut self.strays.late).into_iter().try_for_each(|exit| self.exited(exit))
    }
}
