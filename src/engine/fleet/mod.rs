//! This machine as one of a fleet: a task beside the loop, which asks the engine as the API does. Supervision never waits for it,
//! and whatever goes wrong here touches no service.
//!
//! Facts come in (what nodes say, what is on the disk, what was done), the pure machines of `fleet` decide, and what they want is
//! sent, kept or done by tasks whose results come in again.

pub(super) mod acts; // what is done on this machine
mod drains; // servers that take no requests
mod drive; // whoever drives a plan
mod file; // fleet.toml as it is written
mod follow; // services that restarted by themselves
mod hosts; // without a daemon
mod known; // of the others
mod line; // a conversation with a host
mod lock; // how a plan comes to be driven here
mod look; // how this machine is
mod member; // the task
mod people; // what they ask and order
pub(super) mod pools; // load balancers
mod regain; // what Redis has forgotten
mod seat; // who drives
mod send; // what leaves
mod show; // for people
mod standing; // what is under way, as it is kept
mod supersede; // a plan in the place of another
mod undone; // steps that a manager left when it died
mod vigil; // who is alive

use std::{fmt, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{handle::Gone, settings::FleetSettings};
use crate::{
    alert::{Part, Subject},
    base::{FleetEvent, Happening, Notice},
    edge::bus::BusError,
    edge::clock,
    fleet::{Intent, NodeName, PlanId, Say},
    unit::Digest,
    wire::v1,
};

pub use file::read;
use member::Input;

impl super::Engine {
    /// The machine becomes one of a fleet, where the settings speak of one.
    pub(super) fn join_fleet(&mut self) {
        let settings = self.settings.fleet.clone();
        self.fleet = settings.map(|settings| {
            let means =
                member::Means { handle: self.handle(), errands: self.errands.asker(), reports: self.reporter.clone() };
            member::start(means, settings, &self.runtime)
        });
        self.leave_what_is_gone_of_fleet();
    }
}

impl super::Engine {
    /// What of the fleet this node is to tell. The end of something concerns whoever told of it, which may be another one.
    pub(super) fn hear_of_fleet(&mut self, event: FleetEvent) {
        let subject = Subject::Fleet(Part::of(&event));
        if event.is_end() && !self.alerts.open().any(|incident| incident.subject == subject) {
            return;
        }
        self.fan_out(Notice { at: clock::now(), what: Happening::Fleet(event) });
    }

    /// Of nodes that stand in no topology any more nothing is known, and nothing more is told.
    pub(super) fn leave_what_is_gone_of_fleet(&mut self) {
        let now = clock::now();
        let nodes = self.settings.fleet.as_ref().map(|fleet| &fleet.topology.nodes);
        let is_node =
            |name: &str| name.parse::<NodeName>().is_ok_and(|name| nodes.is_some_and(|it| it.contains_key(&name)));
        self.alerts.keep_fleet(now, |part| match part {
            Part::Node(name) | Part::Commands(name) => is_node(name),
            Part::Quorum | Part::Plan(_) | Part::Run(_) => nodes.is_some(),
        });
        self.write_alerts(now);
    }
}

/// The door to it; clones are the same.
#[derive(Debug, Clone)]
pub struct Fleet(mpsc::UnboundedSender<Input>);

/// What someone wants done, as they said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What.
    pub intent: Intent,
    /// Who.
    pub by: String,
    /// The plan that they were shown.
    pub digest: Option<Digest>,
    /// Whether they agree to all of it, where someone has to.
    pub is_agreed: bool,
    /// Whether the plan that is under way comes to its end for it.
    pub supersedes: Option<Which>,
    /// What the plan is to be called, where whoever wants it may have to order it again.
    pub id: Option<PlanId>,
}

/// A plan, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Whichever it is.
    Any,
    /// The one whose id begins so.
    Named(String),
}

impl Which {
    /// Whether it is this one.
    pub fn is(&self, id: PlanId) -> bool {
        match self {
            Self::Any => true,
            Self::Named(beginning) => id.to_string().starts_with(beginning),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Named(beginning) => beginning,
        })
    }
}

/// Why a plan does not begin, or is not what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// This daemon is in no fleet.
    NoFleet,
    /// Names that are not there, ids of no plan: for people.
    Wrong(String),
    /// What is in the way; the plan as it would be.
    Blocked(Box<v1::FleetPlan>),
    /// Nothing is to be done; the plan as it would be.
    Nothing(Box<v1::FleetPlan>),
    /// Another plan, or another driver.
    Busy(String),
    /// Redis or the disk does not do its part.
    Unreached(String),
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        Self::Unreached(error.to_string())
    }
}

/// A question or an order.
#[derive(Debug)]
pub(super) enum Ask {
    /// How the fleet is, and everyone is asked.
    View(oneshot::Sender<v1::Fleet>),
    /// How the fleet is, as far as that is known without asking hosts.
    Known(oneshot::Sender<v1::Fleet>),
    /// What would be done.
    Plan(Wish, oneshot::Sender<Result<v1::FleetPlan, Refusal>>),
    /// It is to be done.
    Begin(Wish, oneshot::Sender<Result<v1::FleetPlan, Refusal>>),
    /// Plans, past and present.
    Plans(oneshot::Sender<Result<Vec<v1::FleetPlan>, Refusal>>),
    /// A plan is to be driven from here, as this one wants.
    Take(PlanId, String, oneshot::Sender<Result<v1::FleetPlan, Refusal>>),
    /// Something is wanted of a plan.
    Say(PlanId, Say, oneshot::Sender<Result<v1::FleetPlan, Refusal>>),
}

impl Fleet {
    /// How the fleet is. Hosts that are reached by ssh are spoken to.
    pub async fn view(&self) -> Result<v1::Fleet, Gone> {
        self.ask(Ask::View).await
    }

    /// How the fleet is, as far as that is known without speaking to hosts.
    pub async fn known(&self) -> Result<v1::Fleet, Gone> {
        self.ask(Ask::Known).await
    }

    /// What would be done.
    pub async fn plan(&self, wish: Wish) -> Result<Result<v1::FleetPlan, Refusal>, Gone> {
        self.ask(|reply| Ask::Plan(wish, reply)).await
    }

    /// Begins a plan.
    pub async fn begin(&self, wish: Wish) -> Result<Result<v1::FleetPlan, Refusal>, Gone> {
        self.ask(|reply| Ask::Begin(wish, reply)).await
    }

    /// Plans, the newest first.
    pub async fn plans(&self) -> Result<Result<Vec<v1::FleetPlan>, Refusal>, Gone> {
        self.ask(Ask::Plans).await
    }

    /// Has a plan driven from here.
    pub async fn take(&self, plan: PlanId, by: String) -> Result<Result<v1::FleetPlan, Refusal>, Gone> {
        self.ask(|reply| Ask::Take(plan, by, reply)).await
    }

    /// Says something to whoever drives a plan.
    pub async fn say(&self, plan: PlanId, say: Say) -> Result<Result<v1::FleetPlan, Refusal>, Gone> {
        self.ask(|reply| Ask::Say(plan, say, reply)).await
    }

    /// New settings.
    pub(super) fn take_settings(&self, settings: Arc<FleetSettings>) {
        // One that has ended has nothing to take them.
        self.0.send(Input::Settings(settings)).ok();
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Input::Ask(ask(reply))).map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
