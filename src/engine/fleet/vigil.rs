//! Who is alive, and what people are told of the fleet by this node. Nothing here acts on any node.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    drive::Driver,
    member::{Input, Member},
    send::Out,
};
use crate::{
    base::{FleetEvent, Mono},
    edge::{bus::BusError, clock, knock},
    engine::{Report, settings::FleetSettings},
    fleet::{
        Alarm, Control, Membership, MembershipEffect, MembershipInput, NodeName, Plan, PlanId, Rollout, ServiceName,
        Sign, Transport, Wait,
    },
    wire::fleet::{Beat, Command, Wanted, write},
};

/// How long a node has the word about something. Whoever saw the same before that is over knows that it was told.
const TELLS_FOR: Duration = Duration::from_secs(3600);
/// How long a machine may take to answer at its address.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// What this node has told of plans.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// The one that waits for someone.
    waits: Option<PlanId>,
    /// How many are known to be over, and were said to be.
    over: usize,
}

/// A machine for these settings that has heard of nobody yet.
pub(super) fn membership(settings: &FleetSettings) -> Membership {
    Membership::new(clock::now().mono, settings.node.clone(), settings.heartbeat, others(settings).collect())
}

/// Who else leaves signs of life in Redis.
pub(super) fn others(settings: &FleetSettings) -> impl Iterator<Item = NodeName> {
    let nodes = settings.topology.nodes.iter();
    let agents = nodes.filter(|(name, node)| node.transport == Transport::Agent && **name != settings.node);
    agents.map(|(name, _)| name.clone())
}

impl Member {
    /// Redis was looked at, and what it has of the others is known.
    pub(super) fn see_signs(&mut self) {
        let members: BTreeSet<NodeName> = others(&self.settings).collect();
        let others = self.beats.iter().filter(|(name, _)| members.contains(*name));
        let sign =
            |(name, (_, beat)): (&NodeName, &(Mono, Beat))| (name.clone(), Sign { seq: beat.seq, heard: beat.heard });
        let signs = others.map(sign).collect();
        let sent = self.driver.as_ref().map(Driver::sent).unwrap_or_default();
        self.watch(MembershipInput::Looked { signs, sent });
    }

    /// Redis did not answer.
    pub(super) fn miss_redis(&mut self, error: BusError) {
        self.watch(MembershipInput::Unanswered(error.to_string()));
        self.trouble = Some(error);
    }

    pub(super) fn watch(&mut self, input: MembershipInput) {
        self.membership.handle(clock::now().mono, input);
        while let Some(effect) = self.membership.poll_effect() {
            match effect {
                MembershipEffect::Probe(node) => self.knock(node),
                MembershipEffect::Seek { peers, nodes } => self.ask_peers(&peers, &nodes),
                MembershipEffect::Claim(alarm) => self.claim(alarm),
                MembershipEffect::Tell(alarm, reason) => self.tell_people(self.begins(&alarm, reason)),
                MembershipEffect::Over(alarm) | MembershipEffect::Well(alarm) => self.end_of(&alarm),
            }
        }
    }

    fn knock(&self, node: NodeName) {
        let Some(known) = self.settings.topology.nodes.get(&node) else { return };
        let (address, own) = (known.address.clone(), self.own.clone());
        tokio::spawn(async move {
            let answers = knock::answers(&address, ANSWERS_WITHIN).await;
            own.send(Input::Watched(MembershipInput::Probed(node, answers))).ok();
        });
    }

    fn ask_peers(&self, peers: &[NodeName], nodes: &BTreeSet<NodeName>) {
        let Some(sender) = &self.sender else { return };
        // It has no number: nothing is behind with it.
        let wanted = Wanted::Seek { nodes: nodes.clone() };
        let text = write(&Command { from: self.settings.node.clone(), nth: 0, wanted });
        for peer in peers {
            sender.send(Out::To { node: peer.to_string(), text: text.clone() });
        }
    }

    /// Another node does not hear these, and asks whether they answer us. Of other nodes than the fleet's it is not told.
    pub(super) fn seek(&self, asker: NodeName, nodes: BTreeSet<NodeName>, age: Duration) {
        let members: BTreeSet<NodeName> = others(&self.settings).collect();
        let Some(sender) = self.sender.clone().filter(|_| members.contains(&asker) && age < ANSWERS_WITHIN) else {
            return;
        };
        let mut looks = JoinSet::new();
        for (name, node) in self.settings.topology.nodes.iter().filter(|(name, _)| members.contains(*name)) {
            if nodes.contains(name) {
                let (name, address) = (name.clone(), node.address.clone());
                looks.spawn(async move { (name, knock::answers(&address, ANSWERS_WITHIN).await) });
            }
        }
        let from = self.settings.node.clone();
        tokio::spawn(async move {
            let nodes: BTreeMap<NodeName, bool> = looks.join_all().await.into_iter().collect();
            let text = write(&Command { from, nth: 0, wanted: Wanted::Sought { nodes } });
            sender.send(Out::To { node: asker.to_string(), text });
        });
    }

    /// What another node found that was asked.
    pub(super) fn sought(&mut self, by: NodeName, nodes: BTreeMap<NodeName, bool>, age: Duration) {
        // One that has lain in Redis is about another time.
        if age < ANSWERS_WITHIN {
            self.watch(MembershipInput::Sought { by, nodes });
        }
    }

    fn claim(&self, alarm: Alarm) {
        let Some(bus) = self.bus.clone() else { return };
        let own = self.own.clone();
        tokio::spawn(async move {
            let is_ours = bus.claim(&alarm.to_string(), TELLS_FOR).await.ok();
            own.send(Input::Watched(MembershipInput::Claimed(alarm, is_ours))).ok();
        });
    }

    /// Whoever told of it tells that; the next time it is anyone's again.
    fn end_of(&self, alarm: &Alarm) {
        let what = match alarm {
            Alarm::Failed(node) | Alarm::Cut(node) => vec![Alarm::Failed(node.clone()), Alarm::Cut(node.clone())],
            Alarm::QuorumLost => vec![Alarm::QuorumLost],
            Alarm::Slow(_) => Vec::new(),
        };
        if let Some(bus) = self.bus.clone().filter(|_| !what.is_empty()) {
            let what: Vec<String> = what.iter().map(Alarm::to_string).collect();
            // If it cannot be given back, it goes by itself.
            tokio::spawn(async move { drop(bus.disclaim(&what).await) });
        }
        self.tell_people(self.ends(alarm));
    }

    /// The engine tells it as it tells everything; of ends only those of what it has told.
    fn tell_people(&self, event: FleetEvent) {
        self.reports.send(Report::Fleet(event)).ok();
    }

    fn begins(&self, alarm: &Alarm, reason: String) -> FleetEvent {
        match alarm {
            Alarm::Failed(node) => FleetEvent::NodeFailed { node: node.to_string(), reason },
            Alarm::Cut(node) => FleetEvent::BusUnreachable { node: node.to_string(), reason },
            Alarm::QuorumLost => {
                let (reached, members) = self.quorum();
                FleetEvent::QuorumLost { reached, members }
            }
            Alarm::Slow(node) => FleetEvent::SlowReplication { node: node.to_string(), reason },
        }
    }

    fn ends(&self, alarm: &Alarm) -> FleetEvent {
        match alarm {
            Alarm::Cut(node) if *node == self.settings.node => FleetEvent::BusReached { node: node.to_string() },
            Alarm::Failed(node) | Alarm::Cut(node) => FleetEvent::NodeBack { node: node.to_string() },
            Alarm::QuorumLost => {
                let (reached, members) = self.quorum();
                FleetEvent::QuorumRegained { reached, members }
            }
            Alarm::Slow(node) => FleetEvent::CaughtUp { node: node.to_string() },
        }
    }

    /// How many nodes are reached, of how many.
    pub(super) fn quorum(&self) -> (u32, u32) {
        let quorum = self.membership.quorum(clock::now().mono);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (count(quorum.reached), count(quorum.members))
    }

    /// Whether the plan that is driven here waits for someone.
    pub(super) fn watch_plan(&mut self) {
        let waits = self.driver.as_ref().and_then(|driver| Some((driver.document.id, waits_for(&driver.rollout)?)));
        let now = waits.as_ref().map(|(plan, _)| *plan);
        if now == self.plans.waits {
            return;
        }
        if let Some(plan) = self.plans.waits.take() {
            self.tell_people(FleetEvent::RolloutResumed { plan: plan.to_string() });
        }
        if let Some((plan, reason)) = waits {
            self.tell_people(FleetEvent::RolloutPaused { plan: plan.to_string(), reason });
        }
        self.plans.waits = now;
    }

    /// A plan that waited, as this node told, may have come to its end elsewhere.
    pub(super) fn tell_of_plans_over(&mut self) {
        let over: BTreeSet<PlanId> = self.seat.over.union(&self.seat.past).copied().collect();
        if self.plans.over == over.len() {
            return;
        }
        self.plans.over = over.len();
        for plan in over.iter().map(PlanId::to_string) {
            self.tell_people(FleetEvent::RolloutResumed { plan: plan.clone() });
            self.tell_people(FleetEvent::RolloutEnded { plan });
        }
    }

    /// Whoever a plan is ordered from tells people what will be done.
    pub(super) fn tell_of_plan(&self, plan: PlanId, intent: &Plan) {
        self.tell_people(FleetEvent::RolloutBegan { plan: plan.to_string(), what: what(intent) });
    }
}

/// What a plan does, for people.
fn what(plan: &Plan) -> String {
    let names = |services: &mut dyn Iterator<Item = &ServiceName>| {
        let mut names: Vec<&str> = services.map(ServiceName::as_str).collect();
        names.dedup();
        names.join(", ")
    };
    let asked = names(&mut plan.intent.services.iter());
    let mut others = plan.waves.iter().map(|wave| &wave.service).filter(|name| !plan.intent.services.contains(*name));
    let (verb, others) = (plan.intent.verb.as_str(), names(&mut others));
    if others.is_empty() {
        format!("{verb} {asked}")
    } else {
        format!("{verb} {asked}, and then what depends on it: {others}")
    }
}

/// For what a plan waits that only a person gives.
fn waits_for(rollout: &Rollout) -> Option<String> {
    match (rollout.control(), rollout.outdated()) {
        (Control::Unapproved | Control::Paused { .. }, Some(outdated)) => Some(outdated.reason.clone()),
        (Control::Paused { reason }, None) => Some(reason.clone()),
        (Control::Unapproved, None) => Some("nobody has agreed to it yet".to_owned()),
        (Control::Aborting { .. } | Control::Ended(_), _) => None,
        (Control::Running, _) => {
            let waves = &rollout.plan().waves;
            let is_next =
                |wave: usize| waves.get(wave).is_some_and(|it| it.after.iter().all(|nth| rollout.is_done(*nth)));
            // Most plans have no such wave, and progress is not for nothing.
            let asks = waves.iter().any(|wave| wave.approve);
            let mut runs = asks.then(|| rollout.progress(clock::now().mono)).into_iter().flatten();
            let waits =
                runs.find_map(|run| run.waits.filter(|it| matches!(it, Wait::Approval(wave) if is_next(*wave))));
            waits.map(|wait| wait.to_string())
        }
    }
}
