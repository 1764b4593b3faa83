//! Who drives: the lock in Redis says who may try. What a driver does is safe without it, as each node obeys one token only.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    Refusal,
    drive::{Begun, LEASE},
    member::{Input, Member},
};
use crate::{
    base::{Chain, Rng, Wall},
    edge::{
        bus::{Bus, DRIVEN_STAYS, Locked},
        clock,
    },
    fleet::{End, Event, NodeName, PlanId, Token, Transport},
    wire::{
        fleet::{FleetError, JournalWord, PlanDocument},
        v1,
    },
};

/// Who wants to take a plan over waits up to so long, so that not all try at once.
const JITTER_MS: u64 = 2_000;
/// So many nodes, by name, look whether a plan has no driver.
const SEATS: usize = 5;
/// In a fleet of at most so many nodes all look at the others.
const WATCHERS_MAX: usize = 100;

/// The words of a plan, and when each was said.
pub(super) type Journal = Vec<(Wall, Event)>;

/// What is known of who drives.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// A token of ours has to be above it.
    pub(super) floor: u64,
    /// Who has the lock, as it was taken.
    pub(super) holder: Option<String>,
    /// The present plan in Redis.
    pub(super) plan: Option<PlanId>,
    /// Plans that are known to be over.
    pub(super) over: BTreeSet<PlanId>,
    /// One that was driven from here and is not over, where there is no Redis to have it.
    pub(super) unfinished: Option<(PlanDocument, Journal)>,
    /// One that was driven from here until the lock was lost, and of which it is not known that anybody goes on with it.
    pub(super) lost: Option<(PlanDocument, Journal)>,
    /// The last plan that ended here, as people see it.
    pub(super) ended: Option<v1::FleetPlan>,
    /// When it is tried to take the plan over.
    try_at: Option<Instant>,
    pub(super) is_trying: bool,
}

impl Seat {
    /// Which node drives.
    pub(super) fn driver(&self) -> Option<NodeName> {
        self.holder.as_deref().and_then(holder_node)
    }
}

impl Member {
    /// Whether a plan has no driver and could have us.
    pub(super) fn consider(&mut self, bus: Option<Bus>) {
        if self.seat.is_trying {
            return;
        }
        let Some(bus) = bus else {
            if let Some((document, journal)) = self.seat.unfinished.take() {
                let owner = number(&mut self.rng());
                let token = Token { epoch: self.floor() + 1, owner };
                let owner = holder_text(&self.settings.node, owner);
                let is_stale = is_long_ago(&journal);
                self.begin_to_drive((document, journal, is_stale), token, owner, clock::now().mono);
            }
            return;
        };
        let is_driven = self.seat.driver().is_some_and(|driver| driver != self.settings.node);
        if let Some((document, journal)) = self.seat.lost.clone().filter(|_| !is_driven && self.trouble.is_none()) {
            self.try_to_regain(document, journal);
            return;
        }
        // A manager before this one drove it, and the keeper has seen that one end.
        let former =
            self.seat.holder.clone().filter(|holder| holder_node(holder).as_ref() == Some(&self.settings.node));
        let is_free = former.is_some() || (self.seat.holder.is_none() && self.has_seat());
        let wanted = self.seat.plan.filter(|plan| !self.seat.over.contains(plan) && is_free);
        let Some(plan) = wanted.filter(|_| self.trouble.is_none()) else {
            self.seat.try_at = None;
            return;
        };
        let mut rng = self.rng();
        let try_at =
            *self.seat.try_at.get_or_insert_with(|| Instant::now() + Duration::from_millis(rng.below(JITTER_MS)));
        if Instant::now() < try_at && former.is_none() {
            return;
        }
        (self.seat.try_at, self.seat.is_trying) = (None, true);
        let (node, own, floor) = (self.settings.node.clone(), self.own.clone(), self.floor());
        let (owner, topology) = (number(&mut rng), self.settings.digest);
        tokio::spawn(async move {
            let asked = clock::now().mono;
            let holder = holder_text(&node, owner);
            let begun = match take_over(&bus, plan, (&holder, former.as_deref()), floor, topology).await {
                Ok(Some((epoch, document, journal, is_stale))) => {
                    let (document, token) = (Box::new(document), Token { epoch, owner });
                    Begun::Drives { document, journal, is_stale, token, owner: holder, asked, reply: None }
                }
                Ok(None) => Begun::Over(plan),
                Err(refusal) => Begun::Not(refusal, None),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }

    /// Whether this node is one of those that look for plans without a driver.
    pub(super) fn has_seat(&self) -> bool {
        let nodes = self.settings.topology.nodes.iter();
        let mut agents = nodes.filter(|(_, node)| node.transport == Transport::Agent).map(|(name, _)| name);
        agents.by_ref().take(SEATS).any(|name| *name == self.settings.node)
    }

    /// Whether this node looks at the others all the time. Of very many only a few do, and the rest when they are asked: a thousand
    /// nodes that look at a thousand keys are a million.
    pub(super) fn watches(&self) -> bool {
        self.has_seat() || self.settings.topology.nodes.len() <= WATCHERS_MAX
    }

    pub(super) fn floor(&self) -> u64 {
        self.target().promised().map_or(0, |token| token.epoch).max(self.seat.floor)
    }

    /// Plans that were driven from here.
    pub(super) async fn remember_plans(&mut self) {
        let kept = self.handle.store().fleet_plans().await.unwrap_or_default();
        for plan in kept {
            if plan.journal.iter().any(|(_, event)| matches!(event, Event::Ended(_))) {
                self.seat.over.insert(plan.id);
            } else if self.bus.is_none()
                && self.seat.unfinished.is_none()
                && let Ok(document) = PlanDocument::read(&plan.document)
            {
                self.seat.unfinished = Some((document, plan.journal));
            }
        }
    }

    pub(super) fn rng(&self) -> Rng {
        let wall = clock::wall().0.cast_unsigned();
        Rng::new(clock::now().mono.0 ^ wall.rotate_left(32) ^ u64::from(std::process::id()))
    }
}

type Found = (u64, PlanDocument, Journal, bool);

/// Whether the last word of a journal of our own is old. Of what another node wrote its clock would have to be trusted.
fn is_long_ago(journal: &[(Wall, Event)]) -> bool {
    let idle = journal.last().map_or(0, |(at, _)| clock::wall().0.saturating_sub(at.0));
    u128::try_from(idle).unwrap_or(0) > DRIVEN_STAYS.as_micros()
}

/// The lock and the plan, unless that is over.
async fn take_over(
    bus: &Bus,
    plan: PlanId,
    (owner, gone): (&str, Option<&str>),
    floor: u64,
    topology: crate::unit::Digest,
) -> Result<Option<Found>, Refusal> {
    let found = bus.plan(&plan.to_string()).await?;
    let Some((document, journal)) = found else { return Ok(None) };
    let wrong = |error: FleetError| Refusal::Wrong(Chain(&error).to_string());
    let journal = journal_of(&journal).map_err(wrong)?;
    if ended(&journal).is_some() {
        return Ok(None);
    }
    let document = PlanDocument::read(&document).map_err(wrong)?;
    if document.plan.topology != topology {
        return Err(Refusal::Wrong("the plan is of another fleet.toml than this node has".to_owned()));
    }
    // A plan of which no word was said has just been ordered.
    let is_stale = !journal.is_empty() && !bus.was_driven().await?;
    match bus.acquire(owner, LEASE, floor, gone).await? {
        Locked::Ours(epoch) => Ok(Some((epoch, document, journal, is_stale))),
        Locked::Theirs { holder, .. } => Err(Refusal::Busy(holder)),
    }
}

pub(super) fn journal_of(words: &[String]) -> Result<Journal, FleetError> {
    let words = JournalWord::read_all(words)?;
    Ok(words.into_iter().map(|word| (Wall(word.at_us), word.event)).collect())
}

pub(super) fn ended(journal: &[(Wall, Event)]) -> Option<End> {
    journal.iter().find_map(|(_, event)| match event {
        Event::Ended(end) => Some(*end),
        Event::Approved { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Aborting { .. }
        | Event::Quarantined { .. }
        | Event::Retried { .. }
        | Event::Done(_)
        | Event::Failed(..) => None,
    })
}

/// Who has the lock: the node, for people, and the number that it drew.
pub(super) fn holder_text(node: &NodeName, owner: u128) -> String {
    format!("{node} {owner:032x}")
}

pub(super) fn holder_node(holder: &str) -> Option<NodeName> {
    holder.split(' ').next()?.parse().ok()
}

pub(super) fn number(rng: &mut Rng) -> u128 {
    u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
}
