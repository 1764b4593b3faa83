//! A plan in the place of another one, and a plan that is to be driven from here.
//!
//! That a plan supersedes another one is part of what it is: once it is the present one, whoever drives has the one before come to
//! its end first, be that the node that was asked or one that takes over.

use super::{
    Refusal, Which,
    drive::{Begun, Cause, Reply},
    lock,
    member::{Input, Member},
    send::Out,
    show,
    standing::Standing,
};
use crate::{
    base::Wall,
    edge::store::FleetWrite,
    fleet::{Blocker, Control, PlanId, RolloutInput, Say},
    wire::{
        fleet::{PlanDocument, write},
        v1,
    },
};

/// Whether it may be in the way because of a plan that comes to its end: it is waited for once that is over.
pub(super) const fn is_waited_for(blocker: &Blocker) -> bool {
    match blocker {
        Blocker::NoBudget { .. } | Blocker::TooFewActive { .. } => true,
        Blocker::Closed { .. }
        | Blocker::Unreachable { .. }
        | Blocker::Unequal { .. }
        | Blocker::UnknownServer { .. } => false,
    }
}

impl Member {
    /// The plan that is driven here has to come to its end for this one.
    pub(super) fn try_to_supersede(&self, document: PlanDocument, which: Option<&Which>, reply: Reply) {
        let Some(driver) = &self.driver else { return };
        let newest = driver.newest();
        if !which.is_some_and(|which| which.is(newest)) {
            let refusal = match which {
                None => Refusal::Busy(format!(
                    "plan {newest} {}; wait for it, or abort it, or say --supersede",
                    driver.rollout.control()
                )),
                Some(which) => Refusal::Busy(format!("plan {newest} is under way, and not {which}; look at it first")),
            };
            return drop(reply.send(Err(refusal)));
        }
        let document = Box::new(PlanDocument { supersedes: Some(newest), ..document });
        let (own, owner) = (self.own.clone(), driver.owner.clone());
        let Some(bus) = self.bus.clone() else {
            own.send(Input::Begun(Box::new(Begun::Supersedes(document, reply)))).ok();
            return;
        };
        tokio::spawn(async move {
            let begun = match lock::keep(&bus, &owner, &document, Some(newest)).await {
                Ok(()) => Begun::Supersedes(document, reply),
                Err(refusal) => Begun::Not(refusal, Some(reply)),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }

    /// It is the present one. The one before may have come to its end by itself meanwhile.
    pub(super) fn supersede(&mut self, document: PlanDocument, reply: Reply) {
        let before = document.supersedes;
        match &mut self.driver {
            Some(driver) if Some(driver.newest()) == before => {
                driver.next.insert(0, document.clone());
                self.seat.plan = Some(document.id);
                self.keep_plan(&document);
                self.give_up_what_is_superseded();
            }
            Some(_) if self.bus.is_none() => {
                let reason = "another plan was ordered meanwhile; look at it first".to_owned();
                return drop(reply.send(Err(Refusal::Busy(reason))));
            }
            None if self.bus.is_none() => self.drive_alone(Standing::new(document.clone(), Vec::new())),
            // It is the present one of Redis, and is taken over as any other.
            Some(_) | None => self.keep_plan(&document),
        }
        self.ordered(&document, reply);
    }

    /// People hear of what was ordered here, and whoever ordered it sees it.
    pub(super) fn ordered(&self, document: &PlanDocument, reply: Reply) {
        self.tell_of_plan(document.id, &document.plan);
        let shown = self.shown(document);
        if shown.state == "waiting" {
            let text = serde_json::to_string(&shown).unwrap_or_default();
            self.keep(FleetWrite::Shown { id: document.id, text });
        }
        drop(reply.send(Ok(shown)));
    }

    /// The plan that is driven here ends for the one that comes next.
    pub(super) fn give_up_what_is_superseded(&mut self) {
        let Some(driver) = &self.driver else { return };
        for next in &driver.next {
            let text = serde_json::to_string(&show::waiting(self, next, driver.document.id)).unwrap_or_default();
            self.keep(FleetWrite::Shown { id: next.id, text: text.clone() });
            if let Some(sender) = &self.sender {
                sender.send(Out::Shown { plan: next.id.to_string(), text });
            }
        }
        if let Some(next) = driver.next.last() {
            let (reason, by) = (format!("plan {} supersedes it", show::short(next.id)), next.by.clone());
            self.drive(RolloutInput::Say(Say::Abort { reason, by }));
            self.show();
        }
    }

    pub(super) fn keep_plan(&self, document: &PlanDocument) {
        self.keep(FleetWrite::Plan { id: document.id, at: Wall(document.at_us), document: write(document) });
    }

    /// A plan that is driven here, or comes next, as people see it.
    pub(super) fn shown(&self, document: &PlanDocument) -> v1::FleetPlan {
        match &self.driver {
            Some(driver) if driver.document.id == document.id => show::driven(self, driver),
            Some(driver) => show::waiting(self, document, driver.document.id),
            None => {
                let ended = self.seat.ended.clone().filter(|plan| plan.id == document.id.to_string());
                let before = document.supersedes.unwrap_or(document.id);
                ended.unwrap_or_else(|| show::waiting(self, document, before))
            }
        }
    }

    /// Someone wants that a plan is driven from here.
    pub(super) fn asked_to_take(&mut self, plan: PlanId, by: String, reply: Reply) {
        if let Some(driver) = self.driver.as_ref().filter(|driver| driver.has(plan)) {
            let next = driver.next.iter().find(|next| next.id == plan).unwrap_or(&driver.document);
            return drop(reply.send(Ok(self.shown(next))));
        }
        let refusal = match &self.driver {
            Some(driver) if !matches!(driver.rollout.control(), Control::Ended(_)) => {
                Some(Refusal::Wrong(format!("plan {plan} is not under way; plan {} is", driver.document.id)))
            }
            Some(_) | None if self.bus.is_none() => Some(Refusal::Wrong(format!(
                "plan {plan} is not under way, and without redis no other node drives any"
            ))),
            Some(_) | None if self.seat.is_trying => {
                Some(Refusal::Busy("this node is about to drive a plan; look again in a moment".to_owned()))
            }
            Some(_) | None => None,
        };
        let (None, Some(bus)) = (&refusal, self.bus.clone()) else {
            return drop(reply.send(Err(refusal.unwrap_or(Refusal::NoFleet))));
        };
        self.seat.is_trying = true;
        let (claim, owner) = self.claim_seat(self.former());
        let own = self.own.clone();
        tokio::spawn(async move {
            let begun = match lock::take(&bus, plan, &claim).await {
                Ok(got) => Begun::drives(got, (claim, owner), Cause::Taken(by, reply)),
                Err(refusal) => Begun::Not(refusal, Some(reply)),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }
}
