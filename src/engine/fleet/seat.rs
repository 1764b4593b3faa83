//! Who drives: the lock in Redis says who may try. What a driver does is safe without it, as each node obeys one token only.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    drive::{Begun, Cause},
    lock::{self, Claim, Inventories},
    member::{Input, Member},
    regain,
    show::DIGITS_SHOWN,
    standing::{self, Standing},
};
use crate::{
    base::{Rng, Wall},
    edge::{
        bus::{Bus, DRIVEN_STAYS},
        clock,
        store::KeptPlan,
    },
    engine::settings::FleetSettings,
    fleet::{Event, NodeName, Outdated, PlanId, Token, Topology, Transport},
    wire::{fleet::PlanDocument, v1},
};

/// Who wants to take a plan over waits up to so long, so that not all try at once.
const JITTER_MS: u64 = 2_000;
/// So many nodes, by name, look whether a plan has no driver.
const SEATS: usize = 5;
/// In a fleet of at most so many nodes all look at the others.
const WATCHERS_MAX: usize = 100;

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
    /// Plans that are not the present one any more.
    pub(super) past: BTreeSet<PlanId>,
    /// What was driven from here and is not over, where there is no Redis to have it.
    pub(super) unfinished: Option<Standing>,
    /// What was driven from here until the lock was lost, and of which it is not known that anybody goes on with it.
    pub(super) lost: Option<Standing>,
    /// What a manager before this one drove last and did not bring to its end, until it is known what Redis knows of it.
    pub(super) left: Option<Standing>,
    /// The last plan that ended here, as people see it.
    pub(super) ended: Option<v1::FleetPlan>,
    /// When it is tried to take the plan over.
    try_at: Option<Instant>,
    pub(super) is_trying: bool,
    /// Whether Redis was asked who drives, and what.
    is_seen: bool,
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
            if let Some(standing) = self.seat.unfinished.take() {
                self.drive_alone(standing);
            }
            return;
        };
        let is_driven = self.seat.driver().is_some_and(|driver| driver != self.settings.node);
        if let Some(standing) = self.seat.lost.clone().filter(|_| !is_driven && self.trouble.is_none()) {
            return self.try_to_regain(standing);
        }
        if let Some(standing) =
            self.seat.left.clone().filter(|_| self.seat.is_seen && !is_driven && self.trouble.is_none())
        {
            return self.try_to_remind(standing);
        }
        let former = self.former();
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
        let inventories =
            Inventories { own: self.settings.digest.to_string(), of_others: self.inventories_of_others() };
        let (claim, owner) = self.claim_seat(former);
        let own = self.own.clone();
        tokio::spawn(async move {
            let begun = match lock::take_over(&bus, plan, &claim, &inventories).await {
                Ok(Some(got)) => Begun::drives(got, (claim, owner), Cause::Left),
                Ok(None) => Begun::Over(plan),
                Err(refusal) => Begun::Not(refusal, None),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }

    /// Where there is no Redis nobody else drives.
    pub(super) fn drive_alone(&mut self, standing: Standing) {
        let owner = number(&mut self.rng());
        let token = Token { epoch: self.floor() + 1, owner };
        let holder = holder_text(&self.settings.node, owner);
        let doubt = is_long_ago(&standing.journal).then_some(lock::STALE);
        self.begin_to_drive(standing, doubt, (token, holder), clock::now().mono);
    }

    /// Whether this node is one of those that look for plans without a driver.
    pub(super) fn has_seat(&self) -> bool {
        self.seats().any(|name| *name == self.settings.node)
    }

    fn seats(&self) -> impl Iterator<Item = &NodeName> {
        let nodes = self.settings.topology.nodes.iter();
        nodes.filter(|(_, node)| node.transport == Transport::Agent).map(|(name, _)| name).take(SEATS)
    }

    /// Of those that could take a plan over as well, and are alive.
    fn inventories_of_others(&self) -> BTreeSet<String> {
        let others = self.seats().filter(|name| **name != self.settings.node);
        others.filter_map(|name| self.beat_of(name)).map(|beat| beat.topology.clone()).collect()
    }

    /// The inventory that a plan was made for, and why it may not go on if that is not what there is.
    pub(super) fn made_for(&self, document: &PlanDocument) -> (Topology, Option<Outdated>) {
        let FleetSettings { topology, digest, node, file, .. } = &*self.settings;
        let made_for = document.plan.topology;
        if made_for == *digest {
            return (topology.clone(), None);
        }
        let is_it = FleetSettings::digest_of(&document.fleet_toml) == made_for;
        let read = is_it.then(|| super::read(file, &document.fleet_toml).ok()).flatten();
        // Of what can be read no more so much is ended as is there still.
        let then = read.unwrap_or_else(|| topology.clone());
        let gone = then.nodes.keys().filter(|name| !topology.nodes.contains_key(*name)).cloned().collect();
        let [made_for, own] =
            [made_for, *digest].map(|digest| digest.to_string().chars().take(DIGITS_SHOWN).collect::<String>());
        let reason = format!(
            "it was made for another fleet.toml, {made_for}, and {node} has {own}; abort it and plan anew, or put that one back and resume it"
        );
        (then, Some(Outdated { reason, gone }))
    }

    /// Whether this node looks at the others all the time. Of very many only a few do, and the rest when they are asked: a thousand
    /// nodes that look at a thousand keys are a million.
    pub(super) fn watches(&self) -> bool {
        self.has_seat() || self.settings.topology.nodes.len() <= WATCHERS_MAX
    }

    pub(super) fn floor(&self) -> u64 {
        self.target().promised().map_or(0, |token| token.epoch).max(self.seat.floor)
    }

    /// Which plan is the present one. The one before is over, or comes to its end.
    pub(super) fn see_present(&mut self, plan: Option<PlanId>) {
        self.seat.is_seen = true;
        let before = std::mem::replace(&mut self.seat.plan, plan);
        let is_here = |before: &PlanId| self.driver.as_ref().is_some_and(|driver| driver.has(*before));
        self.seat.past.extend(before.filter(|before| plan.is_some() && Some(*before) != plan && !is_here(before)));
    }

    /// Plans that were driven from here.
    pub(super) async fn remember_plans(&mut self) {
        let kept = self.handle.store().fleet_plans().await.unwrap_or_default();
        self.seat.over.extend(standing::over(&kept));
        let last = standing::of_kept(&kept);
        if self.bus.is_none() {
            self.seat.unfinished = last;
        } else {
            self.seat.left = last.filter(|last| is_last_of(last, &kept) && !regain::is_too_old(last));
        }
    }

    /// Whoever wants to drive from here, by a number that was not drawn before.
    pub(super) fn claim_seat(&self, former: Option<String>) -> (Claim, u128) {
        let owner = number(&mut self.rng());
        let node = self.settings.node.clone();
        let holder = holder_text(&node, owner);
        (Claim { node, holder, former, floor: self.floor() }, owner)
    }

    /// A manager before this one drove it, and the keeper has seen that one end.
    pub(super) fn former(&self) -> Option<String> {
        let holder = self.seat.holder.clone().filter(|_| self.driver.is_none() && !self.seat.is_trying);
        holder.filter(|holder| holder_node(holder).as_ref() == Some(&self.settings.node))
    }

    pub(super) fn rng(&self) -> Rng {
        let wall = clock::wall().0.cast_unsigned();
        Rng::new(clock::now().mono.0 ^ wall.rotate_left(32) ^ u64::from(std::process::id()))
    }
}

/// Whether nothing was driven from here after it.
fn is_last_of(standing: &Standing, kept: &[KeptPlan]) -> bool {
    kept.first().is_some_and(|newest| newest.id == standing.newest().id)
}

/// Whether the last word of a journal of our own is old. Of what another node wrote its clock would have to be trusted.
fn is_long_ago(journal: &[(Wall, Event)]) -> bool {
    let idle = journal.last().map_or(0, |(at, _)| clock::wall().0.saturating_sub(at.0));
    u128::try_from(idle).unwrap_or(0) > DRIVEN_STAYS.as_micros()
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
