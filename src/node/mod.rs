//! The decisions of one machine: what each service is, what moves it, what is done next.
//!
//! Pure: facts and orders come in with the time, effects go out as values; no clock, no I/O, no async, no randomness
//! but a seeded generator. Whoever changes this usually breaks the rule that a fact of an older run changes nothing, or
//! forgets the deadline of a state in transit; the simulated world in the tests finds both.
#![forbid(unsafe_code)]

pub mod effect;
pub mod input;
pub mod status;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub use effect::Effect;
pub use input::Input;
pub use status::UnitStatus;

use crate::{
    base::{Mono, Now, ProcessKey, Rng, UnitName},
    unit::UnitDef,
};
use input::Restored;

/// The machine. One mutation ([`Node::handle`], [`Node::handle_timeout`], [`Node::restore`]), then
/// [`Node::poll_effect`] until it is empty: orders come first (a memo before the order that it covers), then notices,
/// then replies.
#[derive(Debug)]
pub struct Node {
    rng: Rng,
    orders: VecDeque<Effect>,
}

impl Node {
    /// A machine without units; `seed` feeds jitter and invocation ids.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), orders: VecDeque::new() }
    }

    /// Takes over from a manager that died: rebuilds every unit from what was remembered and what lives. To be called
    /// once, on a new machine, in place of the first [`Input::Units`]. Afterwards the engine feeds the facts that the
    /// keeper held, `Exited` with unknown status for each of [`Node::lost`], then [`Input::Boot`]: what the memos know
    /// is left alone by it.
    pub fn restore(&mut self, now: Now, units: BTreeMap<UnitName, Arc<UnitDef>>, restored: Restored) {
        let _ = (now, units, restored, self.rng.next_u64());
    }

    /// Processes that should live, but neither live nor have an end that waits in the keeper (it died too): nobody saw
    /// how they ended. To be asked right after [`Node::restore`].
    #[must_use]
    pub fn lost(&self) -> Vec<ProcessKey> {
        Vec::new()
    }

    /// Takes one fact or order.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input);
    }

    /// Lets every deadline up to `now` pass.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// The next thing to be done; `None` when all is said.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.orders.pop_front()
    }

    /// When [`Node::handle_timeout`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// One unit, for people.
    #[must_use]
    pub fn status(&self, unit: &UnitName) -> Option<UnitStatus> {
        let _ = unit;
        None
    }

    /// Every unit, by name, for people.
    #[must_use]
    pub fn statuses(&self) -> Vec<UnitStatus> {
        Vec::new()
    }

    /// Every invariant that is broken, in words; empty when all is well. For tests and debug builds.
    #[must_use]
    pub fn inspect(&self) -> Vec<String> {
        Vec::new()
    }
}
