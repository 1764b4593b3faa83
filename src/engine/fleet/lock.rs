//! How a plan comes to be driven from this node: the lock, and what stands in Redis under it.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Refusal, Which,
    drive::LEASE,
    seat::holder_node,
    standing::{self, Standing},
};
use crate::{
    base::Mono,
    edge::{
        bus::{Bus, Locked},
        clock,
    },
    fleet::{NodeName, PlanId},
    wire::{
        fleet::{Command, PlanDocument, Wanted, write},
        v1,
    },
};

/// Who was asked to give the lock up has it at most for its lease, and so long is waited for it.
const GIVEN_UP_WITHIN: Duration = LEASE.saturating_add(Duration::from_secs(5));
/// How often it is tried meanwhile.
const TRY_AFTER: Duration = Duration::from_millis(100);

/// Why a plan that nobody drove for long waits.
pub(super) const STALE: &str = "nobody has driven it for more than ten minutes; resume it if it is still wanted";

/// Whoever wants to drive.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) node: NodeName,
    /// As the lock is to have it.
    pub(super) holder: String,
    /// A manager of this node before this one, whose end the keeper has seen: it has the lock no more.
    pub(super) former: Option<String>,
    /// The number has to be above it.
    pub(super) floor: u64,
}

/// The digests of `fleet.toml` here and elsewhere.
pub(super) struct Inventories {
    pub(super) own: String,
    pub(super) of_others: BTreeSet<String>,
}

/// The lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) epoch: u64,
    /// When it was asked for: so long it is ours at least.
    pub(super) asked: Mono,
}

/// The lock, and what there is to be driven.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) held: Held,
    pub(super) standing: Standing,
    /// Why it waits for someone before it goes on, if it does.
    pub(super) doubt: Option<&'static str>,
}

impl Claim {
    /// The lock, if it is free; otherwise who has it.
    async fn try_to_lock(&self, bus: &Bus) -> Result<Result<Held, String>, Refusal> {
        let asked = clock::now().mono;
        Ok(match bus.acquire(&self.holder, LEASE, self.floor, self.former.as_deref()).await? {
            Locked::Ours(epoch) => Ok(Held { epoch, asked }),
            Locked::Theirs { holder, .. } => Err(holder),
        })
    }

    /// The lock, if it is free.
    pub(super) async fn lock(&self, bus: &Bus) -> Result<Held, Refusal> {
        self.try_to_lock(bus).await?.map_err(|holder| {
            let node = holder_node(&holder).map_or(holder, |node| node.to_string());
            let reason = "wait for it, or abort it (fleet plans shows it), or say --supersede";
            Refusal::Busy(format!("{node} drives a plan; {reason}"))
        })
    }

    /// The lock, which whoever has it is asked to hand over. If that one is gone, its lease ends.
    async fn lock_of_another(&self, bus: &Bus) -> Result<Held, Refusal> {
        let deadline = Instant::now() + GIVEN_UP_WITHIN;
        let mut asked: Option<String> = None;
        loop {
            let holder = match self.try_to_lock(bus).await? {
                Ok(held) => return Ok(held),
                Err(holder) => holder,
            };
            if Instant::now() >= deadline {
                return Err(Refusal::Busy(format!("the plan is not given up by {holder}; look at it again")));
            }
            if asked.as_ref() != Some(&holder)
                && let Some(node) = holder_node(&holder)
            {
                let wanted = Wanted::GiveWay { driver: holder.clone(), to: self.holder.clone() };
                let command = Command { from: self.node.clone(), nth: 0, wanted };
                bus.send(node.as_str(), &write(&command)).await?;
                asked = Some(holder);
            }
            sleep(TRY_AFTER).await;
        }
    }

    /// Whatever was to be done under the lock; if that is refused, the lock is let go.
    pub(super) async fn under<T>(
        &self,
        bus: &Bus,
        done: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let done = done.await;
        if done.is_err() {
            // If it cannot be let go, it goes by itself.
            drop(bus.release(&self.holder).await);
        }
        done
    }
}

/// A plan without a driver, unless it is over or another node is meant to have it.
pub(super) async fn take_over(
    bus: &Bus,
    plan: PlanId,
    claim: &Claim,
    inventories: &Inventories,
) -> Result<Option<Got>, Refusal> {
    let Some(standing) = standing::of_redis(bus, plan).await? else { return Ok(None) };
    let made_for = standing.document.plan.topology.to_string();
    if made_for != inventories.own && inventories.of_others.contains(&made_for) {
        return Err(Refusal::Busy("another node has the fleet.toml that it was made for".to_owned()));
    }
    let doubt = is_stale(bus, &standing).await?.then_some(STALE);
    let held = claim.lock(bus).await?;
    // Whoever had it may have said more until it let go.
    let over = || Refusal::Busy(format!("plan {plan} is over by now"));
    let found = async { standing::of_redis(bus, plan).await?.ok_or_else(over) };
    let standing = claim.under(bus, found).await?;
    Ok(Some(Got { held, standing, doubt }))
}

/// A plan of which someone wants that it is driven from here.
pub(super) async fn take(bus: &Bus, plan: PlanId, claim: &Claim) -> Result<Got, Refusal> {
    let not_there = || Refusal::Wrong(format!("plan {plan} is not under way"));
    let newest = present(bus).await?.ok_or_else(not_there)?;
    let find = async || {
        let standing = standing::of_redis(bus, newest).await?;
        standing.filter(|standing| standing.has(plan)).ok_or_else(not_there)
    };
    let doubt = is_stale(bus, &find().await?).await?.then_some(STALE);
    let held = claim.lock_of_another(bus).await?;
    let standing = claim.under(bus, find()).await?;
    Ok(Got { held, standing, doubt })
}

/// A new plan, in the place of the one that is under way if someone says so; `blocked` is what it is refused with if there is none.
pub(super) async fn begin(
    bus: &Bus,
    document: PlanDocument,
    (which, blocked): (Option<&Which>, Option<Box<v1::FleetPlan>>),
    claim: &Claim,
) -> Result<Got, Refusal> {
    let held = if which.is_some() {
        // Nobody is asked to give way to what would be refused.
        may_take_its_place(under_way(bus).await?.as_ref(), which)?;
        claim.lock_of_another(bus).await?
    } else {
        claim.lock(bus).await?
    };
    let begun = async {
        let present = present(bus).await?;
        let before = under_way(bus).await?;
        may_take_its_place(before.as_ref(), which)?;
        if let Some(plan) = blocked.filter(|_| before.is_none()) {
            return Err(Refusal::Blocked(plan));
        }
        let supersedes = before.as_ref().map(|before| before.newest().id);
        let document = PlanDocument { supersedes, ..document };
        keep(bus, &claim.holder, &document, present).await?;
        Ok(match before {
            None => Standing::new(document, Vec::new()),
            Some(mut before) => {
                before.next.insert(0, document);
                before
            }
        })
    };
    Ok(Got { held, standing: claim.under(bus, begun).await?, doubt: None })
}

/// Makes a plan the present one in the place of another, by whoever has the lock.
pub(super) async fn keep(
    bus: &Bus,
    owner: &str,
    document: &PlanDocument,
    present: Option<PlanId>,
) -> Result<(), Refusal> {
    let before = present.map(|present| present.to_string()).unwrap_or_default();
    match bus.keep_plan(&document.id.to_string(), &write(document), owner, &before).await? {
        true => Ok(()),
        false => {
            Err(Refusal::Busy("another plan was ordered meanwhile, or another node drives; look again".to_owned()))
        }
    }
}

pub(super) async fn present(bus: &Bus) -> Result<Option<PlanId>, Refusal> {
    Ok(bus.outlook(&[]).await?.plan.and_then(|id| id.parse().ok()))
}

async fn under_way(bus: &Bus) -> Result<Option<Standing>, Refusal> {
    let Some(id) = present(bus).await? else { return Ok(None) };
    standing::of_redis(bus, id).await.map_err(|refusal| match refusal {
        Refusal::Wrong(reason) => Refusal::Busy(format!("plan {id} may not be over: {reason}")),
        Refusal::NoFleet | Refusal::Blocked(_) | Refusal::Nothing(_) | Refusal::Busy(_) | Refusal::Unreached(_) => {
            refusal
        }
    })
}

fn may_take_its_place(before: Option<&Standing>, which: Option<&Which>) -> Result<(), Refusal> {
    let Some(id) = before.map(|before| before.newest().id) else { return Ok(()) };
    match which {
        None => Err(Refusal::Busy(format!("plan {id} is not over; resume or abort it first, or say --supersede"))),
        Some(which) if which.is(id) => Ok(()),
        Some(which) => Err(Refusal::Busy(format!("plan {id} is under way, and not {which}; look at it first"))),
    }
}

/// Whether nobody has driven it for long. A plan of which no word was said has just been ordered.
async fn is_stale(bus: &Bus, standing: &Standing) -> Result<bool, Refusal> {
    Ok(!standing.journal.is_empty() && !bus.was_driven().await?)
}
