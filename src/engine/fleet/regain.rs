//! A driver that lost the lock though nobody took it: Redis was emptied, or went back to what it knew some time ago. What it forgot
//! of the plan it is told again, by the only one who knows it; the plan goes on with a token above all that nodes have promised.

use super::{
    Refusal,
    drive::{Begun, Cause},
    lock::{self, Claim, Got},
    member::{Input, Member},
    standing::{self, Standing},
};
use crate::{
    base::Chain,
    edge::bus::Bus,
    wire::fleet::{FleetError, JournalWord, write},
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

/// The lock, and the plan as it is by now, unless that is over.
async fn regain(bus: &Bus, standing: Standing, claim: &Claim) -> Result<Option<Got>, Refusal> {
    let held = claim.lock(bus).await?;
    let standing = claim.under(bus, told_again(bus, standing, claim)).await?;
    if standing::ended(&standing.journal).is_some() {
        bus.release(&claim.holder).await?;
        return Ok(None);
    }
    Ok(Some(Got { held, standing, is_stale: false }))
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
