//! What waits for calm: nothing in it hurries, and between a death and the first instruction of the successor the CPU
//! belongs to those two.
//!
//! A memo that waits is as good as sent as long as nothing overtakes it: the manager might have died a moment earlier.
//! So it goes ahead of every order that concerns its unit, of every reply, and of what makes the keeper or the world
//! forget: acknowledgements, rows, alerts.

use std::collections::BTreeMap;

use super::tree::{Meant, Tree};
use crate::{
    base::{Mono, Notice, TimeSpan, UnitName, Wall},
    edge::clock,
    wire::keeper::Order,
};

/// Memos or notices that wait for calm; with more all is told.
const WAITING_MAX: usize = 4096;
/// Nothing else for so long is calm. A death and its restart come closer together.
const CALM: TimeSpan = TimeSpan::from_millis(2);
/// So much longer for each notice that waits: a crowd that has begun something ends soon, and all want the CPU.
const CALM_MORE_US: u64 = 40;
/// Calm or not, nothing waits longer than this.
const WAIT_MAX: TimeSpan = TimeSpan::from_millis(250);

/// What waits, by kind, in the order in which it is told.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// The newest memo of each unit.
    pub(super) memos: BTreeMap<UnitName, Vec<u8>>,
    /// What the keeper may forget as soon as the memo of that unit has left.
    pub(super) acks: Vec<(UnitName, Order)>,
    /// What runs that ended may have left behind.
    pub(super) sweeps: Vec<(Tree, Meant)>,
    pub(super) notices: Vec<Notice>,
    /// Instances of connections that are over.
    pub(super) leaving: Vec<UnitName>,
    /// Whether directories wait to be removed.
    pub(super) leftovers: bool,
    /// When timers last elapsed.
    pub(super) stamps: BTreeMap<UnitName, Wall>,
    /// Since when something waits.
    since: Option<Mono>,
}

impl Untold {
    /// Everything that waits; nothing does then.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(super) fn remember(&mut self, unit: UnitName, memo: Vec<u8>) {
        self.memos.insert(unit, memo);
        self.begin();
    }

    /// It leaves at the end of the drain, or with the memo of its unit.
    pub(super) fn acknowledge(&mut self, unit: UnitName, order: Order) {
        self.acks.push((unit, order));
    }

    pub(super) fn sweep(&mut self, tree: Tree, meant: Meant) {
        self.sweeps.push((tree, meant));
        self.begin();
    }

    pub(super) fn stamp(&mut self, unit: UnitName, at: Wall) {
        self.stamps.insert(unit, at);
        self.begin();
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
        self.begin();
    }

    pub(super) fn leave(&mut self, unit: UnitName) {
        self.leaving.push(unit);
        self.begin();
    }

    pub(super) fn leave_over(&mut self) {
        self.leftovers = true;
        self.begin();
    }

    fn begin(&mut self) {
        self.since = self.since.or_else(|| Some(clock::now().mono));
    }

    /// Whether it is too much to wait for calm.
    pub(super) fn is_full(&self) -> bool {
        self.memos.len().max(self.notices.len()) >= WAITING_MAX
    }

    /// Takes the acknowledgements that no memo has to leave before.
    pub(super) fn free_acks(&mut self) -> Vec<Order> {
        let memos = &self.memos;
        let free = self.acks.extract_if(.., |(unit, _)| !memos.contains_key(unit));
        free.map(|(_, order)| order).collect()
    }

    /// When it is to be told if nothing else comes from now on.
    pub(super) fn due(&self, now: Mono) -> Option<Mono> {
        let latest = self.since?.after(WAIT_MAX)?;
        let crowd = TimeSpan::from_micros(CALM_MORE_US * self.notices.len() as u64);
        Some(now.after(CALM)?.after(crowd)?.min(latest))
    }
}
