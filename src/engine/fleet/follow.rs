//! A service here that restarted by itself: once it is well again, those that depend on it on other machines are told, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Ask, Refusal, Wish,
    member::{Input, Member},
};
use crate::{
    base::{Happening, Notice, StartCause},
    fleet::{Condition, Instance, Intent, ServiceName, Verb},
};

/// It stays well for so long before anyone is told: of one that restarts again and again the last restart counts.
const SETTLED: Duration = Duration::from_secs(5);
/// Another plan may be under way, or something in the way of this one: so often it is tried again, and for so long.
const AGAIN: Duration = Duration::from_secs(10);
const GIVEN_UP: Duration = Duration::from_secs(1800);

/// One that restarted.
#[derive(Debug)]
struct Restarted {
    /// Why, for people.
    why: String,
    since: Instant,
    well_since: Option<Instant>,
    /// When it is tried next.
    next: Instant,
    is_asked: bool,
}

/// Services of this machine that restarted and were not followed yet.
#[derive(Debug, Default)]
pub(super) struct Follow(BTreeMap<ServiceName, Restarted>);

/// What became of it.
#[derive(Debug)]
pub(super) struct Followed {
    service: ServiceName,
    /// Why not now.
    refused: Option<String>,
}

impl Member {
    /// Something happened to a unit here.
    pub(super) fn may_be_followed(&mut self, notice: &Notice) {
        let Happening::RunStarting { run, cause, .. } = &notice.what else { return };
        let why = match cause {
            StartCause::AutoRestart => "its restart policy".to_owned(),
            StartCause::Unhealthy { probe } => format!("probe {probe}"),
            StartCause::ExternalRestart => "whoever keeps it".to_owned(),
            // Someone wanted it so, and says so to the fleet if it is to know; or it was not up before.
            StartCause::Boot
            | StartCause::Manual(_)
            | StartCause::Reload(_)
            | StartCause::Dependency(_)
            | StartCause::Triggered(_)
            | StartCause::Traffic
            | StartCause::Timer(_)
            | StartCause::Connection(_)
            | StartCause::ExternalStart => return,
        };
        let topology = &self.settings.topology;
        let has_followers = |name: &ServiceName| {
            let mut edges = topology.services.values().flat_map(|service| &service.depends_on);
            edges.any(|edge| edge.on == *name && edge.on_restart.is_some())
        };
        let here = topology
            .services
            .iter()
            .filter(|(_, service)| service.unit == run.unit && service.nodes.contains(&self.settings.node));
        let now = Instant::now();
        for (name, _) in here.filter(|(name, _)| has_followers(name)) {
            let restarted = Restarted { why: why.clone(), since: now, well_since: None, next: now, is_asked: false };
            self.follow.0.insert(name.clone(), restarted);
        }
    }

    /// Orders what is due.
    pub(super) fn follow(&mut self) {
        let (now, node) = (Instant::now(), self.settings.node.clone());
        let mut due = Vec::new();
        for (name, restarted) in &mut self.follow.0 {
            let instance = Instance { service: name.clone(), node: node.clone() };
            let seen = self.report.instances.get(&instance).map(|seen| seen.condition);
            if seen != Some(Condition::Healthy) {
                restarted.well_since = None;
                continue;
            }
            let well_since = *restarted.well_since.get_or_insert(now);
            if !restarted.is_asked && restarted.next <= now && now.duration_since(well_since) >= SETTLED {
                restarted.is_asked = true;
                due.push((name.clone(), format!("roundsman, as {instance} was restarted by {}", restarted.why)));
            }
        }
        for (service, by) in due {
            let intent = Intent {
                verb: Verb::Follow,
                services: BTreeSet::from([service.clone()]),
                nodes: BTreeSet::from([node.clone()]),
                cascade: true,
                at_any_time: false,
            };
            let (reply, answer) = oneshot::channel();
            self.asked(Ask::Begin(Wish { intent, by, digest: None, is_agreed: false, supersedes: None }, reply));
            let own = self.own.clone();
            tokio::spawn(async move {
                let refused = match answer.await {
                    Ok(Ok(_) | Err(Refusal::Nothing(_))) => None,
                    Ok(Err(Refusal::Blocked(plan))) => Some(plan.blockers.join("; ")),
                    Ok(Err(Refusal::Wrong(reason) | Refusal::Busy(reason) | Refusal::Unreached(reason))) => {
                        Some(reason)
                    }
                    Ok(Err(Refusal::NoFleet)) | Err(_) => Some("the daemon is ending".to_owned()),
                };
                own.send(Input::Followed(Followed { service, refused })).ok();
            });
        }
    }

    pub(super) fn followed(&mut self, followed: Followed) {
        let Followed { service, refused } = followed;
        let Some(restarted) = self.follow.0.get_mut(&service) else { return };
        let Some(reason) = refused else {
            // A restart that came meanwhile has an order of its own.
            if restarted.is_asked {
                self.follow.0.remove(&service);
            }
            return;
        };
        (restarted.is_asked, restarted.next) = (false, Instant::now() + AGAIN);
        if restarted.since.elapsed() > GIVEN_UP {
            tracing::error!(%service, reason, "those that depend on a service that restarted were not told; supervisorctl fleet follow does it");
            self.follow.0.remove(&service);
        } else {
            tracing::warn!(%service, reason, "those that depend on a service that restarted are told later");
        }
    }
}
