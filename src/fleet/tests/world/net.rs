use std::collections::BTreeMap;

use super::*;

/// Redis as a carrier: late, lossy, twice, in another order.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) is_up: bool,
    /// Of a hundred messages, how many are lost, come twice, come seconds late.
    pub(super) loss: u64,
    pub(super) twice: u64,
    pub(super) late: u64,
    /// Whether a node hears, and is heard.
    cuts: BTreeMap<NodeName, (bool, bool)>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { is_up: true, loss: 0, twice: 0, late: 0, cuts: BTreeMap::new() }
    }
}

impl Bus {
    pub(super) fn cut(&mut self, node: NodeName, hears: bool, is_heard: bool) {
        self.cuts.insert(node, (hears, is_heard));
    }

    /// When each copy of a message to a node comes.
    pub(super) fn copies_to(&self, rng: &mut Rng, is_calm: bool, node: &NodeName) -> Vec<u64> {
        let is_cut = self.cuts.get(node).is_some_and(|(hears, _)| !hears);
        self.copies(rng, is_calm, is_cut)
    }

    /// When each copy of a message from a node comes.
    pub(super) fn copies_from(&self, rng: &mut Rng, is_calm: bool, node: &NodeName) -> Vec<u64> {
        let is_cut = self.cuts.get(node).is_some_and(|(_, is_heard)| !is_heard);
        self.copies(rng, is_calm, is_cut)
    }

    fn copies(&self, rng: &mut Rng, is_calm: bool, is_cut: bool) -> Vec<u64> {
        if !is_calm && (!self.is_up || is_cut || rng.below(100) < self.loss) {
            return Vec::new();
        }
        let copies = if !is_calm && rng.below(100) < self.twice { 2 } else { 1 };
        let delay = |rng: &mut Rng| {
            let is_late = !is_calm && rng.below(100) < self.late;
            MS + rng.below(if is_late { 90 * SEC } else { 20 * MS })
        };
        (0..copies).map(|_| delay(rng)).collect()
    }
}

/// The lock of who drives, as Redis has it: it may forget its last seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Lock {
    holder: Option<u128>,
    until: u64,
    epoch: u64,
    /// As it was some changes ago.
    before: Option<Box<Self>>,
}

impl Lock {
    pub(super) fn is_free(&self, now: u64) -> bool {
        self.holder.is_none() || now >= self.until
    }

    pub(super) fn holder(&self, now: u64) -> Option<u128> {
        self.holder.filter(|_| now < self.until)
    }

    pub(super) fn renew(&mut self, now: u64, owner: u128) -> bool {
        let is_held = self.holder == Some(owner) && now < self.until;
        if is_held {
            self.until = now + LEASE;
        }
        is_held
    }

    pub(super) fn take(&mut self, now: u64, owner: u128, floor: u64) -> Token {
        self.before = Some(Box::new(Self { before: None, holder: None, ..self.clone() }));
        self.epoch = self.epoch.max(floor) + 1;
        self.holder = Some(owner);
        self.until = now + LEASE;
        Token { epoch: self.epoch, owner }
    }

    /// A replica takes over that has not heard of the last change.
    pub(super) fn forget(&mut self) {
        if let Some(before) = self.before.take() {
            *self = *before;
        }
    }
}
