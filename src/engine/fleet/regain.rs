//! A driver that lost the lock though nobody took it: Redis was emptied, or went back to what it knew some time ago. What it forgot
//! of the plan it is told again, by the only one who knows it; the plan goes on with a token above all that nodes have promised.

use super::{
    Refusal,
    drive::{Begun, LEASE},
    member::{Input, Member},
    seat::{Journal, ended, holder_text, journal_of, number},
};
use crate::{
    base::Chain,
    edge::{
        bus::{Bus, Locked},
        clock,
    },
    fleet::Token,
    wire::fleet::{FleetError, JournalWord, PlanDocument, write},
};

impl Member {
    /// Tries to go on with the plan that was driven from here, unless somebody else does.
    pub(super) fn try_to_regain(&mut self, document: PlanDocument, journal: Journal) {
        let Some(bus) = self.bus.clone() else { return };
        self.seat.lost = Some((document.clone(), journal.clone()));
        self.seat.is_trying = true;
        let (node, own, floor) = (self.settings.node.clone(), self.own.clone(), self.floor());
        let owner = number(&mut self.rng());
        tokio::spawn(async move {
            let asked = clock::now().mono;
            let holder = holder_text(&node, owner);
            let begun = match regain(&bus, &document, journal, &holder, floor).await {
                Ok(Some((epoch, journal))) => {
                    let (document, token) = (Box::new(document), Token { epoch, owner });
                    Begun::Drives { document, journal, is_stale: false, token, owner: holder, asked, reply: None }
                }
                Ok(None) => Begun::Over(document.id),
                Err(refusal) => Begun::Not(refusal, None),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }
}

/// The lock's number and the journal as it is by now, unless the plan is over. Whoever has the lock is the only one who writes.
async fn regain(
    bus: &Bus,
    document: &PlanDocument,
    journal: Journal,
    holder: &str,
    floor: u64,
) -> Result<Option<(u64, Journal)>, Refusal> {
    let epoch = match bus.acquire(holder, LEASE, floor, None).await? {
        Locked::Ours(epoch) => epoch,
        Locked::Theirs { holder, .. } => return Err(Refusal::Busy(holder)),
    };
    let id = document.id.to_string();
    let known = match bus.plan(&id).await? {
        Some((_, words)) => {
            journal_of(&words).map_err(|error: FleetError| Refusal::Wrong(Chain(&error).to_string()))?
        }
        None => {
            tracing::warn!(plan = %document.id, "redis has forgotten the plan; it is told again");
            bus.keep_plan(&id, &write(document)).await?;
            Vec::new()
        }
    };
    let journal = match journal.strip_prefix(known.as_slice()) {
        Some(forgotten) => {
            let words = forgotten.iter().map(|(at, event)| write(&JournalWord { at_us: at.0, event: event.clone() }));
            let words: Vec<String> = words.collect();
            if !words.is_empty() {
                bus.keep_words(&id, &words).await?;
            }
            journal
        }
        // Another node has gone on with it in between.
        None => known,
    };
    if ended(&journal).is_some() {
        bus.release(holder).await?;
        return Ok(None);
    }
    Ok(Some((epoch, journal)))
}
