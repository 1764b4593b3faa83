//! What people ask of the fleet, and order.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Ask, Refusal, Wish,
    drive::{Begun, Cause, Reply, SHOW_AFTER},
    lock::{self, Got, Held},
    member::{Input, Member},
    seat::{holder_node, number},
    show,
    standing::Standing,
    supersede::is_waited_for,
};
use crate::{
    base::Chain,
    edge::{
        bus::{Bus, Outlook},
        clock,
    },
    fleet::{Blocker, NodeName, Plan, PlanId, RolloutInput, Say, plan},
    wire::{
        fleet::{Command, PlanDocument, Wanted, write},
        v1,
    },
};

/// How long another node that drives may take to do what someone wants of its plan.
const SAID_WITHIN: Duration = Duration::from_secs(5);

impl Member {
    pub(super) fn asked(&mut self, ask: Ask) {
        // Whoever asked may have gone.
        match ask {
            Ask::View(reply) => self.with_newest_of_all(Begun::Viewed(reply)),
            Ask::Known(reply) => self.with_newest(Begun::Viewed(reply)),
            Ask::Plan(wish, reply) => self.wish(wish, true, reply),
            Ask::Begin(wish, reply) => self.wish(wish, false, reply),
            Ask::Plans(reply) => self.plans(reply),
            Ask::Take(plan, by, reply) => self.asked_to_take(plan, by, reply),
            Ask::Say(plan, say, reply) => self.asked_to_say(plan, say, reply),
        }
    }

    fn wish(&mut self, wish: Wish, is_dry: bool, reply: Reply) {
        self.with_newest_of_all(Begun::Wished { wish: Box::new(wish), is_dry, reply });
    }

    /// Comes back once the newest of what Redis has is known.
    pub(super) fn with_newest(&self, asked: Begun) {
        let own = self.own.clone();
        let asked = Input::Begun(Box::new(asked));
        let Some(bus) = self.bus.clone() else {
            own.send(asked).ok();
            return;
        };
        let nodes = self.agents();
        tokio::spawn(async move {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            own.send(Input::Outlook(bus.outlook(&names).await)).ok();
            own.send(asked).ok();
        });
    }

    pub(super) fn wished(&mut self, wish: Wish, is_dry: bool, reply: Reply) {
        let planned = self.planned(&wish).and_then(|plan| {
            let shown = show::planned(&plan, &wish.by, &self.settings.node);
            if plan.waves.is_empty() {
                return Err(Refusal::Nothing(Box::new(v1::FleetPlan { state: "nothing".to_owned(), ..shown })));
            }
            let is_blocked = match &wish.supersedes {
                None => !plan.blockers.is_empty(),
                Some(_) => plan.blockers.iter().any(|blocker| !is_waited_for(blocker)),
            };
            if !is_dry && is_blocked {
                return Err(Refusal::Blocked(Box::new(v1::FleetPlan { state: "blocked".to_owned(), ..shown })));
            }
            Ok((plan, shown))
        });
        let (plan, shown) = match planned {
            Ok(planned) => planned,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        if is_dry {
            return drop(reply.send(Ok(shown)));
        }
        let blocked =
            (!plan.blockers.is_empty()).then(|| Box::new(v1::FleetPlan { state: "blocked".to_owned(), ..shown }));
        self.try_to_begin(plan, wish, blocked, reply);
    }

    fn planned(&self, wish: &Wish) -> Result<Plan, Refusal> {
        let settings = &self.settings;
        let made = plan(&settings.topology, settings.digest, &wish.intent, &self.facts());
        let mut plan = made.map_err(|error| Refusal::Wrong(Chain(&error).to_string()))?;
        let closed = plan.closed(&settings.topology, clock::wall(), &settings.zones);
        plan.blockers.extend(closed.map(|reason| Blocker::Closed { reason }));
        plan.blockers.sort();
        if let Some(digest) = wish.digest.filter(|digest| *digest != plan.digest()) {
            let now = plan.digest();
            return Err(Refusal::Wrong(format!(
                "the plan is another one by now ({now}, not {digest}); look at it again"
            )));
        }
        Ok(plan)
    }

    fn try_to_begin(&mut self, plan: Plan, wish: Wish, blocked: Option<Box<v1::FleetPlan>>, reply: Reply) {
        let id = wish.id.unwrap_or_else(|| PlanId(number(&mut self.rng())));
        let digest = plan.digest().to_string();
        let (node, at_us) = (self.settings.node.clone(), clock::wall().0);
        let (fleet_toml, by, is_agreed) = (self.settings.text.to_string(), wish.by, wish.is_agreed);
        let document = PlanDocument { id, by, node, at_us, plan, digest, fleet_toml, supersedes: None, is_agreed };
        if self.driver.is_some() {
            return self.try_to_supersede(document, wish.supersedes.as_ref(), reply);
        }
        let (own, cause) = (self.own.clone(), Cause::Ordered(reply));
        let Some(bus) = self.bus.clone() else {
            return self.begin_alone(document, cause, blocked);
        };
        self.seat.is_trying = true;
        let (claim, owner) = self.claim_seat(self.former());
        tokio::spawn(async move {
            let begun = match lock::begin(&bus, document, (wish.supersedes.as_ref(), blocked), &claim).await {
                Ok(got) => Begun::drives(got, (claim, owner), cause),
                Err(refusal) => Begun::Not(refusal, cause.reply()),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }

    /// Where there is no Redis.
    fn begin_alone(&mut self, document: PlanDocument, cause: Cause, blocked: Option<Box<v1::FleetPlan>>) {
        let refusal = match (&self.seat.unfinished, blocked) {
            (Some(other), _) => {
                Some(Refusal::Busy(format!("plan {} is about to go on; say it again", other.document.id)))
            }
            (None, Some(plan)) => Some(Refusal::Blocked(plan)),
            (None, None) => None,
        };
        let begun = match refusal {
            Some(refusal) => Begun::Not(refusal, cause.reply()),
            None => {
                let (claim, owner) = self.claim_seat(None);
                let held = Held { epoch: claim.floor + 1, asked: clock::now().mono };
                let got = Got { held, standing: Standing::new(document, Vec::new()), doubt: None };
                Begun::drives(got, (claim, owner), cause)
            }
        };
        self.own.send(Input::Begun(Box::new(begun))).ok();
    }

    fn plans(&self, reply: oneshot::Sender<Result<Vec<v1::FleetPlan>, Refusal>>) {
        let live = self.driver.as_ref().map(|driver| show::driven(self, driver));
        let (bus, store) = (self.bus.clone(), self.handle.store().clone());
        tokio::spawn(async move {
            let mut all: BTreeMap<String, v1::FleetPlan> = BTreeMap::new();
            let kept = store.fleet_plans().await.unwrap_or_default();
            let elsewhere = match bus {
                Some(bus) => bus.shown_plans().await.unwrap_or_default(),
                None => Vec::new(),
            };
            let shown = kept.into_iter().filter_map(|plan| plan.shown).chain(elsewhere);
            for plan in shown.filter_map(|text| serde_json::from_str::<v1::FleetPlan>(&text).ok()).chain(live) {
                all.insert(plan.id.clone(), plan);
            }
            let mut plans: Vec<v1::FleetPlan> = all.into_values().collect();
            plans.sort_by_key(|plan| std::cmp::Reverse(plan.at_us));
            drop(reply.send(Ok(plans)));
        });
    }

    fn asked_to_say(&mut self, plan: PlanId, say: Say, reply: Reply) {
        if let Some(driver) = &self.driver
            && driver.document.id == plan
        {
            if let Some(outdated) = driver.rollout.outdated().filter(|_| is_to_go_on(&say)) {
                return drop(reply.send(Err(Refusal::Wrong(outdated.reason.clone()))));
            }
            let said = self.say_to_driver(plan, say).map_err(Refusal::Wrong);
            let live = self.driver.as_ref().filter(|driver| driver.document.id == plan);
            let live = live.map(|driver| show::driven(self, driver));
            // What was said may have been its end.
            let shown = live.or_else(|| self.seat.ended.clone()).ok_or_else(|| Refusal::Busy("it is over".to_owned()));
            let shown = said.and(shown);
            return drop(reply.send(shown));
        }
        let before = self.driver.as_ref().filter(|driver| driver.next.iter().any(|next| next.id == plan));
        if let Some(before) = before.map(|driver| driver.document.id) {
            let reason = format!("plan {plan} begins once plan {before} is over, which it supersedes; say it then");
            return drop(reply.send(Err(Refusal::Busy(reason))));
        }
        let Some(bus) = self.bus.clone() else {
            return drop(reply.send(Err(Refusal::Wrong(format!("plan {plan} is not under way")))));
        };
        let node = self.settings.node.clone();
        tokio::spawn(async move { drop(reply.send(say_elsewhere(&bus, node, plan, say).await)) });
    }

    /// What people want of the plan that is driven here.
    pub(super) fn say_to_driver(&mut self, plan: PlanId, say: Say) -> Result<(), String> {
        match &self.driver {
            Some(driver) if driver.document.id == plan => {
                self.drive(RolloutInput::Say(say));
                self.show();
                Ok(())
            }
            Some(_) | None => Err(format!("plan {plan} is not driven from {}", self.settings.node)),
        }
    }
}

/// Whether someone wants more of it to be begun.
const fn is_to_go_on(say: &Say) -> bool {
    match say {
        Say::Approve { .. } | Say::Resume { .. } => true,
        Say::Pause { .. } | Say::Abort { .. } | Say::Take { .. } | Say::Quarantine { .. } => false,
    }
}

async fn say_elsewhere(bus: &Bus, node: NodeName, plan: PlanId, say: Say) -> Result<v1::FleetPlan, Refusal> {
    let id = plan.to_string();
    let Outlook { holder, plan: present, beats: _ } = bus.outlook(&[]).await?;
    if present.is_none_or(|present| present != id) {
        return Err(Refusal::Wrong(format!("plan {id} is not under way")));
    }
    let shown = async || {
        let text = bus.shown_plan(&id).await?;
        Ok::<_, Refusal>(text.and_then(|text| serde_json::from_str::<v1::FleetPlan>(&text).ok()))
    };
    let before = shown().await?;
    if let Some(plan) = before.as_ref().filter(|plan| plan.is_outdated && is_to_go_on(&say)) {
        return Err(Refusal::Wrong(plan.reason.clone().unwrap_or_default()));
    }
    if let Some(plan) = before.as_ref().filter(|plan| plan.state == "waiting") {
        return Err(Refusal::Busy(format!("plan {id}: {}; say it then", plan.reason.as_deref().unwrap_or_default())));
    }
    let Some(driver) = holder.as_deref().and_then(holder_node) else {
        return Err(match before.filter(v1::FleetPlan::is_over) {
            Some(plan) => Refusal::Wrong(format!("plan {id} is over: it has {}", plan.state)),
            None => Refusal::Busy(format!(
                "nobody drives plan {id} at present; some node takes it over within half a minute"
            )),
        });
    };
    let command = Command { from: node, nth: 0, wanted: Wanted::Say { plan, say } };
    bus.send(driver.as_str(), &write(&command)).await?;
    let began = Instant::now();
    while began.elapsed() < SAID_WITHIN {
        tokio::time::sleep(SHOW_AFTER).await;
        if let Some(plan) = shown().await?
            && before.as_ref().is_none_or(|before| before.journal.len() < plan.journal.len())
        {
            return Ok(plan);
        }
    }
    Err(Refusal::Unreached(format!("{driver}, which drives the plan, has not taken it up; look at the plan")))
}
