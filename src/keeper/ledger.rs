use std::{collections::BTreeMap, os::fd::OwnedFd, rc::Rc};

use crate::{
    base::{Generation, InvocationId, Now, ProcessKey, SpawnFailure, UnitName},
    wire::keeper::{Exit, Fact, MirroredProcess, MirroredStage, Notified},
};

/// Most ends that are kept one by one; beyond them a unit's ends are counted.
pub(super) const ENDS_KEPT_MAX: usize = 65_536;
/// Most datagrams that are kept of one unit, so that one that floods pushes out no other.
pub(super) const NOTIFIED_KEPT_PER_UNIT_MAX: usize = 256;
/// Most datagrams that are kept of senders that are no processes of ours.
pub(super) const NOTIFIED_KEPT_STRANGERS_MAX: usize = 1024;

/// What happened and is not committed by the manager yet, in the order it happened.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    kept: BTreeMap<u64, Kept>,
    ends: BTreeMap<ProcessKey, u64>,
    aggregated: BTreeMap<UnitName, Aggregated>,
    senders: BTreeMap<Option<UnitName>, Sender>,
    next_seq: u64,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Exited(Exit),
    SpawnFailed { key: ProcessKey, failure: SpawnFailure },
    Notified { notified: Notified, fds: Vec<Rc<OwnedFd>> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aggregated {
    pub(super) count: u64,
    pub(super) generation: Generation,
    /// Whether the manager has been told since the last acknowledgement.
    told: bool,
}

#[derive(Debug, Default)]
struct Sender {
    kept: usize,
    dropped: u64,
}

impl Kept {
    /// How the manager is told.
    pub(super) fn fact(&self) -> (Fact, Vec<Rc<OwnedFd>>) {
        match self {
            Self::Exited(exit) => (Fact::Exited(exit.clone()), Vec::new()),
            Self::SpawnFailed { key, failure } => {
                (Fact::SpawnFailed { key: key.clone(), failure: *failure }, Vec::new())
            }
            Self::Notified { notified, fds } => (Fact::Notified(notified.clone()), fds.clone()),
        }
    }

    /// How the next keeper would learn of it; datagrams are lost with their descriptors.
    pub(super) fn mirrored(&self) -> Option<MirroredProcess> {
        match self {
            Self::Exited(exit) => Some(MirroredProcess {
                key: exit.key.clone(),
                invocation: exit.invocation,
                started: exit.started,
                stage: MirroredStage::Ended(exit.clone()),
            }),
            Self::SpawnFailed { key, failure } => Some(MirroredProcess {
                key: key.clone(),
                invocation: InvocationId::default(),
                started: Now::default(),
                stage: MirroredStage::SpawnFailed(*failure),
            }),
            Self::Notified { .. } => None,
        }
    }

    const fn end_of(&self) -> Option<&ProcessKey> {
        match self {
            Self::Exited(exit) => Some(&exit.key),
            Self::SpawnFailed { key, .. } => Some(key),
            Self::Notified { .. } => None,
        }
    }
}

impl Ledger {
    /// Keeps an end until it is acknowledged; what the manager is to be told now, if anything.
    pub(super) fn keep_end(&mut self, end: Kept) -> Option<Fact> {
        let key = end.end_of()?.clone();
        if self.ends.len() < ENDS_KEPT_MAX {
            let fact = end.fact().0;
            let seq = self.insert(end);
            self.ends.insert(key, seq);
            return Some(fact);
        }
        let generation = key.run.generation;
        let fresh = Aggregated { count: 0, generation, told: false };
        let aggregated = self.aggregated.entry(key.run.unit.clone()).or_insert(fresh);
        aggregated.count += 1;
        aggregated.generation = aggregated.generation.max(generation);
        self.tell_aggregated(&key.run.unit)
    }

    /// Keeps a datagram until it is acknowledged; what the manager is to be told, unless it was dropped and counted.
    pub(super) fn keep_notified(&mut self, mut notified: Notified, fds: Vec<Rc<OwnedFd>>) -> Option<Kept> {
        let unit = sender_unit(&notified);
        let max = if unit.is_some() { NOTIFIED_KEPT_PER_UNIT_MAX } else { NOTIFIED_KEPT_STRANGERS_MAX };
        let sender = self.senders.entry(unit).or_default();
        if sender.kept >= max {
            sender.dropped += 1;
            return None;
        }
        sender.kept += 1;
        notified.dropped = std::mem::take(&mut sender.dropped);
        notified.seq = self.next_seq;
        let kept = Kept::Notified { notified, fds };
        self.insert(kept.clone());
        Some(kept)
    }

    /// Counts a datagram that could not be taken.
    pub(super) fn drop_notified(&mut self, unit: Option<UnitName>) {
        self.senders.entry(unit).or_default().dropped += 1;
    }

    /// Whether that process has ended and the manager has not committed it.
    pub(super) fn has_end(&self, key: &ProcessKey) -> bool {
        self.ends.contains_key(key)
    }

    /// Forgets an end.
    pub(super) fn acknowledge_end(&mut self, key: &ProcessKey) {
        if let Some(seq) = self.ends.remove(key) {
            self.kept.remove(&seq);
        }
    }

    /// Takes acknowledged ends off a count; what is left to be told.
    pub(super) fn acknowledge_aggregated(&mut self, unit: &UnitName, count: u64) -> Option<Fact> {
        let aggregated = self.aggregated.get_mut(unit)?;
        aggregated.count = aggregated.count.saturating_sub(count);
        aggregated.told = false;
        if aggregated.count == 0 {
            self.aggregated.remove(unit);
            return None;
        }
        self.tell_aggregated(unit)
    }

    /// Forgets a datagram.
    pub(super) fn acknowledge_notified(&mut self, seq: u64) {
        if !matches!(self.kept.get(&seq), Some(Kept::Notified { .. })) {
            return;
        }
        let Some(Kept::Notified { notified, .. }) = self.kept.remove(&seq) else { return };
        let unit = sender_unit(&notified);
        if let Some(sender) = self.senders.get_mut(&unit) {
            sender.kept -= 1;
            if sender.kept == 0 && sender.dropped == 0 {
                self.senders.remove(&unit);
            }
        }
    }

    /// Everything that is kept, oldest first.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u64, &Kept)> {
        self.kept.iter().map(|(seq, kept)| (*seq, kept))
    }

    /// The units whose ends are counted.
    pub(super) fn aggregated(&self) -> impl Iterator<Item = (&UnitName, &Aggregated)> {
        self.aggregated.iter()
    }

    /// All that a new manager must be told; what it will be told again later is counted from here.
    pub(super) fn tell_all(&mut self) -> Vec<(Fact, Vec<Rc<OwnedFd>>)> {
        let mut facts: Vec<_> = self.kept.values().map(Kept::fact).collect();
        for (unit, aggregated) in &mut self.aggregated {
            aggregated.told = true;
            facts.push((aggregated.fact(unit), Vec::new()));
        }
        facts
    }

    /// Datagrams that were dropped and not yet told.
    pub(super) fn dropped(&self) -> impl Iterator<Item = (Option<&UnitName>, u64)> {
        self.senders.iter().map(|(unit, sender)| (unit.as_ref(), sender.dropped)).filter(|(_, count)| *count > 0)
    }

    /// The number of the next thing that is kept.
    pub(super) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The ledger of the program image before.
    pub(super) fn restore(
        next_seq: u64,
        kept: Vec<(u64, Kept)>,
        aggregated: Vec<(UnitName, u64, Generation)>,
        dropped: Vec<(Option<UnitName>, u64)>,
    ) -> Self {
        let mut ledger = Self { next_seq, ..Self::default() };
        for (seq, kept) in kept {
            if let Some(key) = kept.end_of() {
                ledger.ends.insert(key.clone(), seq);
            }
            if let Kept::Notified { notified, .. } = &kept {
                ledger.senders.entry(sender_unit(notified)).or_default().kept += 1;
            }
            ledger.kept.insert(seq, kept);
        }
        for (unit, count, generation) in aggregated {
            ledger.aggregated.insert(unit, Aggregated { count, generation, told: false });
        }
        for (unit, count) in dropped {
            ledger.senders.entry(unit).or_default().dropped = count;
        }
        ledger
    }

    fn insert(&mut self, kept: Kept) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.kept.insert(seq, kept);
        seq
    }

    /// One message at a time stands for all ends of a unit that are counted, so the queue stays as short as the units
    /// are few.
    fn tell_aggregated(&mut self, unit: &UnitName) -> Option<Fact> {
        let aggregated = self.aggregated.get_mut(unit).filter(|aggregated| !aggregated.told)?;
        aggregated.told = true;
        Some(aggregated.fact(unit))
    }
}

impl Aggregated {
    fn fact(&self, unit: &UnitName) -> Fact {
        Fact::ExitsAggregated { unit: unit.clone(), count: self.count, generation: self.generation }
    }
}

fn sender_unit(notified: &Notified) -> Option<UnitName> {
    notified.key.as_ref().or(notified.session.as_ref()).map(|key| key.run.unit.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ExitStatus, InvocationId, Now, Pid, Role, RunId};

    fn key(unit: &str, generation: u64) -> ProcessKey {
        let unit = UnitName::new(unit).unwrap();
        ProcessKey { run: RunId { unit, generation: Generation(generation) }, role: Role::Main }
    }

    fn exit(unit: &str, generation: u64) -> Kept {
        Kept::Exited(Exit {
            key: key(unit, generation),
            invocation: InvocationId::default(),
            pid: Pid::new(2).unwrap(),
            status: ExitStatus::Exited(0),
            usage: None,
            at: Now::default(),
            started: Now::default(),
        })
    }

    fn notified(unit: Option<&str>) -> Notified {
        let key = unit.map(|unit| key(unit, 1));
        Notified { seq: 0, pid: 5, uid: 0, gid: 0, key, session: None, started: None, bytes: vec![], dropped: 0 }
    }

    #[test]
    fn an_end_is_kept_until_it_is_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.keep_end(exit("a", 1)).unwrap();
        ledger.keep_end(exit("b", 1)).unwrap();
        ledger.acknowledge_end(&key("a", 1));
        ledger.acknowledge_end(&key("a", 2));
        assert!(!ledger.has_end(&key("a", 1)) && ledger.has_end(&key("b", 1)));
        assert_eq!(ledger.tell_all().len(), 1);
    }

    #[test]
    fn ends_beyond_the_limit_are_counted_and_none_is_lost() {
        let mut ledger = Ledger::default();
        let limit = u64::try_from(ENDS_KEPT_MAX).unwrap();
        for generation in 0..limit {
            assert!(matches!(ledger.keep_end(exit("a", generation)), Some(Fact::Exited(_))));
        }
        let told = |ledger: &mut Ledger, generation| ledger.keep_end(exit("b", generation));
        let unit = UnitName::new("b").unwrap();
        let fact = |count, generation| {
            Some(Fact::ExitsAggregated { unit: unit.clone(), count, generation: Generation(generation) })
        };
        assert_eq!(told(&mut ledger, 1), fact(1, 1));
        assert_eq!(told(&mut ledger, 2), None, "one message stands for all");
        assert_eq!(told(&mut ledger, 3), None);
        assert_eq!(ledger.acknowledge_aggregated(&unit, 1), fact(2, 3));
        assert_eq!(ledger.acknowledge_aggregated(&unit, 2), None);
        ledger.acknowledge_end(&key("a", 0));
        assert!(matches!(told(&mut ledger, 4), Some(Fact::Exited(_))), "there is room again");
        assert_eq!(ledger.tell_all().len(), ENDS_KEPT_MAX);
    }

    #[test]
    fn a_unit_that_floods_pushes_out_no_other_and_is_told_what_it_lost() {
        let mut ledger = Ledger::default();
        for _ in 0..NOTIFIED_KEPT_PER_UNIT_MAX {
            ledger.keep_notified(notified(Some("loud")), Vec::new()).unwrap();
        }
        assert!(ledger.keep_notified(notified(Some("loud")), Vec::new()).is_none());
        assert!(ledger.keep_notified(notified(Some("loud")), Vec::new()).is_none());
        assert!(ledger.keep_notified(notified(Some("quiet")), Vec::new()).is_some());
        assert!(ledger.keep_notified(notified(None), Vec::new()).is_some());
        ledger.acknowledge_notified(0);
        ledger.acknowledge_notified(0);
        match ledger.keep_notified(notified(Some("loud")), Vec::new()) {
            Some(Kept::Notified { notified, .. }) => assert_eq!(notified.dropped, 2),
            other => panic!("{other:?}"),
        }
        assert!(ledger.keep_notified(notified(Some("loud")), Vec::new()).is_none());
    }

    #[test]
    fn an_acknowledgement_of_a_datagram_forgets_no_end() {
        let mut ledger = Ledger::default();
        ledger.keep_end(exit("a", 1)).unwrap();
        ledger.acknowledge_notified(0);
        assert_eq!(ledger.tell_all().len(), 1);
    }
}
