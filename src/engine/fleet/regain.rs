//! A driver that lost the lock though nobody took it: Redis was emptied, or went back to what it knew some time ago. What it forgot
//! of the plan it is told again, by the only one who knows it; the plan goes on with a token above all that nodes have promised.
//!
//! A manager that died before it could do so has left the plan in the node's database. The next one tells Redis of it too, and does
//! not go on by itself: while this node did not drive, another one may have brought the plan to its end, and what Redis has
//! forgotten of this it may have forgotten of that. What nodes have promised does not show it, as nodes that are in no plan promise
//! nothing. So the plan waits for someone, unless Redis knows more: that it is over, or that another one has taken its place.

use std::time::Duration;

use super::{
    Refusal,
    drive::{Begun, Cause},
    lock::{self, Claim, Got},
    member::{Input, Member},
    standing::{self, Standing},
};
use crate::{
    base::Chain,
    edge::{
        bus::Bus,
        clock,
        store::{Batch, FleetWrite, Store, Write},
    },
    fleet::PlanId,
    wire::fleet::{FleetError, JournalWord, PlanDocument, write},
};

impl Member {
    /// Tries to go on with the plan that was driven from here, unless somebody else does.
    pub(super) fn try_to_regain(&mut self, standing: Standing) {
        let Some(bus) = self.bus.clone() else { return };
        let plan = standing.document.id;
        self.seat.lost = Some(standing.clone());
        self.seat.is_trying = true;
        let (claim, owner) = self.claim_seat(None);
        let own = self.own.clone();
        tokio::spawn(async move {
            let begun = match regain(&bus, standing, &claim).await {
                Ok(Some(got)) => Begun::drives(got, (claim, owner), Cause::Left),
                Ok(None) => Begun::Over(plan),
                Err(refusal) => Begun::Not(refusal, None),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }
}

/// Why such a plan waits.
const FORGOTTEN: &str = "redis had forgotten it while nobody drove it from here, so another node may have ended it since; resume it if it is still wanted, or abort it";
/// What was said last of a plan longer ago is nobody's concern: it was ended elsewhere, or is not wanted any more.
const TOO_OLD: Duration = Duration::from_secs(24 * 3600);

/// Whether nobody would want to know of it any more. This node's own clock has stamped it.
pub(super) fn is_too_old(standing: &Standing) -> bool {
    let last = standing.journal.last().map_or_else(|| standing.newest().at_us, |(at, _)| at.0);
    let age = clock::wall().0.saturating_sub(last);
    u128::try_from(age).unwrap_or(0) > TOO_OLD.as_micros()
}

impl Member {
    /// Tells Redis of what a manager before this one drove, if it has forgotten that.
    pub(super) fn try_to_remind(&mut self, standing: Standing) {
        let Some(bus) = self.bus.clone() else { return };
        self.seat.is_trying = true;
        let (claim, owner) = self.claim_seat(self.former());
        let (own, store) = (self.own.clone(), self.handle.store().clone());
        tokio::spawn(async move {
            let plan = standing.document.id;
            let begun = match remind(&bus, standing, &claim, &store).await {
                Ok(Some(got)) => Begun::drives(got, (claim, owner), Cause::Left),
                Ok(None) => Begun::NotForgotten,
                // It is tried again.
                Err(refusal @ Refusal::Unreached(_)) => Begun::Not(refusal, None),
                Err(refusal) => {
                    tracing::warn!(%plan, ?refusal, "redis has forgotten a plan that is not over, and is not told again");
                    Begun::NotForgotten
                }
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }
}

/// The lock, and the plan that Redis knows again; nothing if it knew it still, or knows that another one came in its place.
async fn remind(bus: &Bus, standing: Standing, claim: &Claim, store: &Store) -> Result<Option<Got>, Refusal> {
    let newest = standing.newest().id;
    if let Some((_, words)) = bus.plan(&newest.to_string()).await? {
        remember(store, newest, &words);
        return Ok(None);
    }
    let present = lock::present(bus).await?;
    if let Some(present) = present.filter(|present| !standing.has(*present))
        && let Some((text, _)) = bus.plan(&present.to_string()).await?
        && PlanDocument::read(&text).is_ok_and(|other| other.supersedes.is_some_and(|before| standing.has(before)))
    {
        return Ok(None);
    }
    let held = claim.lock(bus).await?;
    let standing = claim.under(bus, told_again(bus, standing, claim)).await?;
    Ok(Some(Got { held, standing, doubt: Some(FORGOTTEN) }))
}

/// What another node said of a plan since it was driven from here: its end is then known without Redis too.
fn remember(store: &Store, plan: PlanId, words: &[String]) {
    let Ok(journal) = standing::journal_of(words) else { return };
    let events = (0..).zip(journal).map(|(nth, (at, event))| FleetWrite::Event { plan, nth, at, event });
    let writes: Vec<Write> = events.map(|event| Write::Fleet(Box::new(event))).collect();
    if !writes.is_empty() {
        store.submit(Batch { seq: None, writes });
    }
}

/// The lock, and the plan as it is by now, unless that is over.
async fn regain(bus: &Bus, standing: Standing, claim: &Claim) -> Result<Option<Got>, Refusal> {
    let held = claim.lock(bus).await?;
    let standing = claim.under(bus, told_again(bus, standing, claim)).await?;
    if standing::ended(&standing.journal).is_some() {
        bus.release(&claim.holder).await?;
        return Ok(None);
    }
    Ok(Some(Got { held, standing, doubt: None }))
}

/// Tells Redis what it has forgotten. Whoever has the lock is the only one who writes.
async fn told_again(bus: &Bus, mut standing: Standing, claim: &Claim) -> Result<Standing, Refusal> {
    let mut present = lock::present(bus).await?;
    if let Some(other) = present.filter(|present| !standing.has(*present))
        && standing::of_redis(bus, other).await?.is_some()
    {
        return Err(Refusal::Busy(format!("plan {other} was ordered meanwhile")));
    }
    for document in [&standing.document].into_iter().chain(standing.next.iter().rev()) {
        if bus.plan(&document.id.to_string()).await?.is_none() {
            tracing::warn!(plan = %document.id, "redis has forgotten the plan; it is told again");
            lock::keep(bus, &claim.holder, document, present).await?;
            present = Some(document.id);
        }
    }
    let id = standing.document.id.to_string();
    let words = bus.plan(&id).await?.map(|(_, words)| words).unwrap_or_default();
    let known = standing::journal_of(&words).map_err(|error: FleetError| Refusal::Wrong(Chain(&error).to_string()))?;
    match standing.journal.strip_prefix(known.as_slice()) {
        Some([]) => {}
        Some(forgotten) => {
            let words = forgotten.iter().map(|(at, event)| write(&JournalWord { at_us: at.0, event: event.clone() }));
            bus.keep_words(&id, &words.collect::<Vec<_>>(), None).await?;
        }
        // Another node has gone on with it in between.
        None => standing.journal = known,
    }
    Ok(standing)
}
