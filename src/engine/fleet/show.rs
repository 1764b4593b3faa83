//! The fleet and its plans, for people.

use std::collections::BTreeMap;

use super::{drive::Driver, member::Member};
use crate::{
    base::TimeSpan,
    edge::clock,
    fleet::{Blocker, Class, Condition, Control, End, Event, NodeName, Plan, PlanId, Presence, Reach, Stage, Wave},
    wire::{fleet::PlanDocument, v1},
};

/// Digits of an id or a digest that people are shown.
pub(super) const DIGITS_SHOWN: usize = 8;

fn micros(span: TimeSpan) -> u64 {
    span.micros().unwrap_or(u64::MAX)
}

/// Of what is only planned.
pub(super) fn planned(plan: &Plan, by: &str, node: &NodeName) -> v1::FleetPlan {
    v1::FleetPlan {
        id: String::new(),
        digest: plan.digest().to_string(),
        by: by.to_owned(),
        node: node.to_string(),
        at_us: clock::wall().0,
        verb: plan.intent.verb.as_str().to_owned(),
        services: plan.intent.services.iter().map(ToString::to_string).collect(),
        state: "planned".to_owned(),
        reason: None,
        is_outdated: false,
        supersedes: None,
        driver: None,
        waves: plan.waves.iter().map(wave).collect(),
        blockers: blockers(plan),
        estimate_us: micros(plan.estimate()),
        journal: Vec::new(),
    }
}

fn wave(wave: &Wave) -> v1::FleetWave {
    let task = |task: &crate::fleet::Task| v1::FleetTask {
        instance: task.instance.to_string(),
        action: task.action.as_str().to_owned(),
        drains: task.drains.iter().map(|(pool, server)| format!("{pool}/{server}")).collect(),
        stage: Stage::Waiting.as_str().to_owned(),
        class: class(Class::Untouched).to_owned(),
        waits_for: None,
        failure: None,
    };
    v1::FleetWave {
        service: wave.service.to_string(),
        max_unavailable: wave.max_unavailable,
        of: u32::try_from(wave.tasks.len()).unwrap_or(u32::MAX),
        soak_us: micros(wave.soak),
        alone: wave.alone,
        approve: wave.approve,
        is_done: false,
        why: wave.why.iter().map(ToString::to_string).collect(),
        tasks: wave.tasks.iter().map(task).collect(),
    }
}

/// Of what is driven from here.
pub(super) fn driven(member: &Member, driver: &Driver) -> v1::FleetPlan {
    let Driver { rollout, document, journal, .. } = driver;
    let now = clock::now().mono;
    let outdated = rollout.outdated().map(|outdated| outdated.reason.clone());
    let is_outdated = outdated.is_some();
    let (state, reason) = match rollout.control() {
        Control::Unapproved | Control::Paused { .. } if is_outdated => ("paused", outdated),
        Control::Unapproved => ("unapproved", None),
        Control::Running => ("running", None),
        Control::Paused { reason } => ("paused", Some(reason.clone())),
        Control::Aborting { reason } => ("aborting", Some(reason.clone())),
        Control::Ended(End::Succeeded) => ("succeeded", None),
        Control::Ended(End::Aborted) => ("aborted", abort_reason(journal.iter().map(|(_, event)| event))),
    };
    let mut shown = planned(rollout.plan(), &document.by, &document.node);
    let tasks: BTreeMap<_, _> = rollout.progress(now).map(|progress| (progress.instance, progress)).collect();
    for (nth, (wave, of)) in shown.waves.iter_mut().zip(&rollout.plan().waves).enumerate() {
        wave.is_done = rollout.is_done(nth);
        for (task, of) in wave.tasks.iter_mut().zip(&of.tasks) {
            let Some(known) = tasks.get(&of.instance) else { continue };
            known.stage.as_str().clone_into(&mut task.stage);
            class(known.class).clone_into(&mut task.class);
            task.waits_for = known.waits.as_ref().map(ToString::to_string);
            task.failure = known.failure.as_ref().map(|it| format!("{}: {}", it.at.as_str(), it.reason));
        }
    }
    let word = |(at, event): &(crate::base::Wall, Event)| v1::FleetWord { at_us: at.0, text: self::event(event) };
    v1::FleetPlan {
        id: document.id.to_string(),
        digest: document.digest.clone(),
        at_us: document.at_us,
        state: state.to_owned(),
        reason,
        is_outdated,
        supersedes: document.supersedes.map(|before| before.to_string()),
        driver: Some(member.settings.node.to_string()),
        journal: journal.iter().map(word).collect(),
        ..shown
    }
}

/// Of one that begins once another one is over.
pub(super) fn waiting(member: &Member, document: &PlanDocument, before: PlanId) -> v1::FleetPlan {
    v1::FleetPlan {
        id: document.id.to_string(),
        digest: document.digest.clone(),
        at_us: document.at_us,
        state: "waiting".to_owned(),
        reason: Some(format!("it begins once plan {} is over, which it supersedes", short(before))),
        supersedes: document.supersedes.map(|before| before.to_string()),
        driver: Some(member.settings.node.to_string()),
        ..planned(&document.plan, &document.by, &document.node)
    }
}

/// The beginning of an id, for people.
pub(super) fn short(id: PlanId) -> String {
    id.to_string().chars().take(DIGITS_SHOWN).collect()
}

fn abort_reason<'a>(events: impl DoubleEndedIterator<Item = &'a Event>) -> Option<String> {
    events.rev().find_map(|event| match event {
        Event::Aborting { reason, .. } => Some(reason.clone()),
        Event::Approved { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Quarantined { .. }
        | Event::Retried { .. }
        | Event::Taken { .. }
        | Event::Done(_)
        | Event::Failed(..)
        | Event::Ended(_) => None,
    })
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Untouched => "untouched",
        Class::Done => "done",
        Class::InFlight => "in flight",
        Class::Failed => "failed",
        Class::Unknown => "unknown",
        Class::LeftDrained => "left drained",
        Class::Quarantined => "quarantined",
    }
}

/// A word of a journal.
pub(super) fn event(event: &Event) -> String {
    let by = |by: &Option<String>| by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    match event {
        Event::Approved { wave: None, by } => format!("approved by {by}"),
        Event::Approved { wave: Some(wave), by } => format!("wave {} approved by {by}", wave + 1),
        Event::Paused { reason, by: who } => format!("paused{}: {reason}", by(who)),
        Event::Resumed { by } => format!("resumed by {by}"),
        Event::Aborting { reason, by: who } => format!("aborted{}: {reason}", by(who)),
        Event::Taken { node, by } => format!("taken by {by}: {node} drives it from now on"),
        Event::Quarantined { instance, by } => format!("{instance} quarantined by {by}"),
        Event::Retried { instance, attempt } => format!("{instance} is tried again (attempt {attempt})"),
        Event::Done(instance) => format!("{instance} is done"),
        Event::Failed(instance, failure) => format!("{instance} failed at {}: {}", failure.at.as_str(), failure.reason),
        Event::Ended(End::Succeeded) => "succeeded".to_owned(),
        Event::Ended(End::Aborted) => "ended, aborted".to_owned(),
    }
}

const fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Healthy => "healthy",
        Condition::Bad => "bad",
        Condition::Unknown => "unknown",
        Condition::Quarantined => "quarantined",
    }
}

/// All of it, as it is seen from here.
pub(super) fn fleet(member: &Member) -> v1::Fleet {
    let settings = &member.settings;
    let topology = &settings.topology;
    let facts = member.facts();
    let (reached, members) = member.quorum();
    let quorum = v1::FleetQuorum { reached, members, is_there: reached > members / 2 };
    let services = topology.services.iter().map(|(name, service)| v1::FleetService {
        name: name.to_string(),
        unit: service.unit.to_string(),
        instances: service
            .instances(name)
            .map(|instance| {
                let known = facts.instances.get(&instance).copied().unwrap_or(Condition::Unknown);
                let detail = member.beats.get(&instance.node).and_then(|(_, beat)| beat.details.get(&instance));
                v1::FleetInstance {
                    condition: condition(known).to_owned(),
                    node: instance.node.to_string(),
                    says: detail.and_then(|detail| detail.says.clone()),
                    checks: detail.map_or_else(Vec::new, |detail| detail.checks.iter().map(check).collect()),
                }
            })
            .collect(),
        depends_on: service
            .depends_on
            .iter()
            .map(|edge| v1::FleetEdge {
                service: edge.on.to_string(),
                on_restart: edge.on_restart.map_or("none", crate::fleet::Action::as_str).to_owned(),
                require: edge.require.as_str().to_owned(),
            })
            .collect(),
        behind: service.behind.iter().map(|(pool, _)| pool.to_string()).collect(),
        max_unavailable: service.policy.max_unavailable.of(service.count()),
    });
    let pools = topology.pools.iter().map(|(name, pool)| {
        let servers = pool.hosts.iter().map(|host| {
            let known = facts.pools.get(name)?.get(host)?;
            let crate::fleet::PoolFact::Servers(servers) = known else { return None };
            let server = |name: &str, takes| v1::FleetServer { name: name.to_owned(), takes };
            Some(servers.iter().map(|(name, takes)| server(name, *takes)).collect())
        });
        v1::FleetPool {
            name: name.to_string(),
            hosts: pool.hosts.iter().map(ToString::to_string).collect(),
            servers: servers.collect(),
        }
    });
    v1::Fleet {
        name: topology.name.to_string(),
        node: settings.node.to_string(),
        digest: settings.digest.to_string(),
        trouble: member.trouble.as_ref().map(ToString::to_string),
        has_bus: member.bus.is_some(),
        driver: member.seat.driver().map(|node| node.to_string()),
        plan: member.seat.plan.map(|plan| plan.to_string()),
        quorum: member.bus.is_some().then_some(quorum),
        steps: v1::FleetSteps { done: member.steps.done, failed: member.steps.failed },
        nodes: topology.nodes.iter().map(|(name, it)| node(member, name, it)).collect(),
        services: services.collect(),
        pools: pools.collect(),
        routes: member.handle.deliveries().routes().iter().map(ToString::to_string).collect(),
    }
}

fn check(check: &crate::wire::fleet::Check) -> v1::FleetCheck {
    let crate::wire::fleet::Check { name, kind, verdict } = check.clone();
    v1::FleetCheck { name, kind, verdict }
}

/// A machine.
fn node(member: &Member, name: &NodeName, node: &crate::fleet::Node) -> v1::FleetNode {
    let (settings, now) = (&member.settings, clock::now().mono);
    let heard = member.beats.get(name);
    let micros = |since| u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX);
    let presence = member.membership.presence(now, name);
    let own = (*name == settings.node).then(|| Presence::Alive.as_str().to_owned());
    v1::FleetNode {
        name: name.to_string(),
        transport: node.transport.as_str().to_owned(),
        zone: node.zone.as_ref().map(ToString::to_string),
        state: presence.map(|(presence, _)| presence.as_str().to_owned()).or(own),
        state_us: presence.map(|(_, since)| micros(since)),
        heard_us: heard.map(|(at, _)| micros(*at)),
        trouble: match member.reach(name) {
            Reach::Fresh => None,
            Reach::No(reason) => Some(reason),
        },
        version: heard.map(|(_, beat)| beat.version.clone()),
        digest: heard.map(|(_, beat)| beat.topology.clone()),
    }
}

/// What is in the way, for people.
fn blockers(plan: &Plan) -> Vec<String> {
    plan.blockers.iter().map(Blocker::to_string).collect()
}
