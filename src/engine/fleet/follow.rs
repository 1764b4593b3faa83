//! A service here that restarted by itself: once it is well again, those that depend on it on other machines are told, in order.
//!
//! What is owed survives the manager. The store has, of each service, up to which run of its unit its dependents need not be told;
//! the history has the runs since then and why each began. The plan is called after the run that it is about, so who orders it
//! again, because it died before it knew that it had, finds that one.

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
    base::{Generation, Happening, Notice, UnitName},
    edge::{
        bus::{Bus, BusError},
        store::{FleetWrite, RunRow, Store},
    },
    engine::Handle,
    fleet::{Condition, Instance, Intent, PlanId, ServiceName, Verb},
};

/// It stays well for so long before anyone is told: of one that restarts again and again the last restart counts.
const SETTLED: Duration = Duration::from_secs(5);
/// Another plan may be under way, or something in the way of this one: so often it is tried again, and for so long.
const AGAIN: Duration = Duration::from_secs(10);
const GIVEN_UP: Duration = Duration::from_secs(1800);
/// So many of a unit's last runs are looked at.
const RUNS_MAX: u32 = 50;

/// A run that began without anybody's order.
#[derive(Debug, Clone)]
struct Restart {
    generation: Generation,
    invocation: String,
    /// Why, for people.
    why: String,
}

/// One that restarted.
#[derive(Debug)]
struct Restarted {
    restart: Restart,
    since: Instant,
    well_since: Option<Instant>,
    /// When it is tried next.
    next: Instant,
    is_asked: bool,
}

impl Restarted {
    fn new(restart: Restart) -> Self {
        let now = Instant::now();
        Self { restart, since: now, well_since: None, next: now, is_asked: false }
    }
}

/// Services of this machine that others depend on.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// Those that restarted and were not followed yet.
    owed: BTreeMap<ServiceName, Restarted>,
    /// Up to which run of its unit each was followed, or needs not be. What was just found in the topology is not here yet.
    up_to: BTreeMap<ServiceName, (UnitName, Generation)>,
    /// When it is looked for restarts again.
    look_at: Option<Instant>,
}

impl Follow {
    /// As it is kept.
    pub(super) fn up_to(up_to: BTreeMap<ServiceName, (UnitName, Generation)>) -> Self {
        Self { up_to, ..Self::default() }
    }

    /// A restart that nobody was told of, of a service that is known.
    fn owe(&mut self, service: &ServiceName, unit: &UnitName, restart: Restart) {
        let is_news = |(of, followed): &(UnitName, Generation)| of == unit && restart.generation > *followed;
        let is_newer = |owed: &Restarted| restart.generation > owed.restart.generation;
        if self.up_to.get(service).is_some_and(is_news) && self.owed.get(service).is_none_or(is_newer) {
            self.owed.insert(service.clone(), Restarted::new(restart));
        }
    }
}

/// How a service stands.
#[derive(Debug)]
pub(super) struct Seen {
    service: ServiceName,
    unit: UnitName,
    /// Its newest run.
    generation: Generation,
    /// The newest restart since it was followed last.
    restart: Option<Restart>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Followed {
    service: ServiceName,
    generation: Generation,
    /// Why not now.
    refused: Option<String>,
}

impl Member {
    /// Something happened to a unit here.
    pub(super) fn may_be_followed(&mut self, notice: &Notice) {
        let Happening::RunStarting { run, invocation, cause, .. } = &notice.what else { return };
        let Some(why) = why(cause.as_str(), cause.detail()) else { return };
        let restart = Restart { generation: run.generation, invocation: invocation.to_string(), why };
        for (service, unit) in self.followable().filter(|(_, unit)| *unit == run.unit) {
            self.follow.owe(&service, &unit, restart.clone());
        }
    }

    /// Services here that others, or others' instances, have to be told of.
    fn followable(&self) -> impl Iterator<Item = (ServiceName, UnitName)> + use<> {
        let topology = &self.settings.topology;
        let has_followers = |name: &ServiceName| {
            let mut edges = topology.services.values().flat_map(|service| &service.depends_on);
            edges.any(|edge| edge.on == *name && edge.on_restart.is_some())
        };
        let here = topology.services.iter().filter(|(_, service)| service.nodes.contains(&self.settings.node));
        let followable = here.filter(|(name, _)| has_followers(name));
        let all: Vec<_> = followable.map(|(name, service)| (name.clone(), service.unit.clone())).collect();
        all.into_iter()
    }

    /// Looks for what restarted while nobody listened.
    pub(super) fn look_for_restarts(&mut self) {
        self.follow.look_at = None;
        let known: Vec<_> = self.followable().collect();
        let gone = self.follow.up_to.extract_if(.., |service, _| known.iter().all(|(known, _)| known != service));
        let gone: Vec<_> = gone.map(|(service, _)| service).collect();
        for service in gone {
            self.follow.owed.remove(&service);
            self.keep(FleetWrite::Followed { service, up_to: None });
        }
        if known.is_empty() {
            return;
        }
        let (handle, up_to, own) = (self.handle.clone(), self.follow.up_to.clone(), self.own.clone());
        tokio::spawn(async move {
            own.send(Input::Restarted(restarts(&handle, known, &up_to).await)).ok();
        });
    }

    pub(super) fn see_restarts(&mut self, seen: Option<Vec<Seen>>) {
        let Some(seen) = seen else {
            self.follow.look_at = Some(Instant::now() + AGAIN);
            return;
        };
        for Seen { service, unit, generation, restart } in seen {
            match (self.follow.up_to.get(&service), restart) {
                (Some((known, _)), Some(restart)) if *known == unit => self.follow.owe(&service, &unit, restart),
                (Some((known, _)), None) if *known == unit => {}
                // What it did before it was known is nobody's concern.
                (Some(_) | None, _) => self.is_followed(service, (unit, generation)),
            }
        }
    }

    /// Of that run, and of those before, nobody has to be told any more.
    fn is_followed(&mut self, service: ServiceName, up_to: (UnitName, Generation)) {
        self.follow.up_to.insert(service.clone(), up_to.clone());
        self.keep(FleetWrite::Followed { service, up_to: Some(up_to) });
    }

    /// Orders what is due.
    pub(super) fn follow(&mut self) {
        let (now, node) = (Instant::now(), self.settings.node.clone());
        if self.follow.look_at.is_some_and(|at| at <= now) {
            self.look_for_restarts();
        }
        let mut due = Vec::new();
        for (name, restarted) in &mut self.follow.owed {
            let instance = Instance { service: name.clone(), node: node.clone() };
            let seen = self.report.instances.get(&instance).map(|seen| seen.condition);
            if seen != Some(Condition::Healthy) {
                restarted.well_since = None;
                continue;
            }
            let well_since = *restarted.well_since.get_or_insert(now);
            if !restarted.is_asked && restarted.next <= now && now.duration_since(well_since) >= SETTLED {
                restarted.is_asked = true;
                due.push((instance, restarted.restart.clone()));
            }
        }
        for (instance, restart) in due {
            self.order_to_follow(instance, restart);
        }
    }

    fn order_to_follow(&mut self, instance: Instance, restart: Restart) {
        let Restart { generation, invocation, why } = restart;
        let id = PlanId::of(&format!("follow {instance} {invocation}"));
        let by = format!("roundsman, as {instance} was restarted by {why}");
        let Instance { service, node } = instance;
        let intent = Intent {
            verb: Verb::Follow,
            services: BTreeSet::from([service.clone()]),
            nodes: BTreeSet::from([node]),
            cascade: true,
            at_any_time: false,
        };
        let wish = Wish { intent, by, digest: None, is_agreed: false, supersedes: None, id: Some(id) };
        let (own, bus, store) = (self.own.clone(), self.bus.clone(), self.handle.store().clone());
        tokio::spawn(async move {
            let refused = match is_ordered(bus.as_ref(), &store, id).await {
                Ok(true) => None,
                Ok(false) => refusal(&own, wish).await,
                Err(reason) => Some(reason),
            };
            own.send(Input::Followed(Followed { service, generation, refused })).ok();
        });
    }

    pub(super) fn followed(&mut self, followed: Followed) {
        let Followed { service, generation, refused } = followed;
        // A restart that came meanwhile has an order of its own.
        let is_it = |owed: &&mut Restarted| owed.restart.generation == generation;
        let owed = self.follow.owed.get_mut(&service).filter(is_it);
        let is_over = match (refused, owed) {
            (None, _) => true,
            (Some(_), None) => return,
            (Some(reason), Some(owed)) if owed.since.elapsed() > GIVEN_UP => {
                tracing::error!(%service, reason, "those that depend on a service that restarted were not told; supervisorctl fleet follow does it");
                true
            }
            (Some(reason), Some(owed)) => {
                (owed.is_asked, owed.next) = (false, Instant::now() + AGAIN);
                tracing::warn!(%service, reason, "those that depend on a service that restarted are told later");
                false
            }
        };
        if is_over {
            self.follow.owed.retain(|of, owed| *of != service || owed.restart.generation != generation);
            let unit = self.follow.up_to.get(&service).map(|(unit, _)| unit.clone());
            if let Some(unit) = unit {
                self.is_followed(service, (unit, generation));
            }
        }
    }
}

/// Why a run began, for people, if nobody wanted it. What someone wanted they say to the fleet if it is to know.
fn why(cause: &str, detail: Option<&str>) -> Option<String> {
    match cause {
        "auto-restart" => Some("its restart policy".to_owned()),
        "unhealthy" => Some(format!("probe {}", detail.unwrap_or_default())),
        "external-restart" => Some("whoever keeps it".to_owned()),
        _ => None,
    }
}

/// Whether a manager before this one ordered it, of which it does not know. A plan that Redis has may be one that did not come to be
/// the present one, as another was: nothing was said of that ever.
async fn is_ordered(bus: Option<&Bus>, store: &Store, id: PlanId) -> Result<bool, String> {
    let kept = store.fleet_plans().await.map_err(|error| error.to_string())?;
    let Some(bus) = bus.filter(|_| kept.iter().all(|plan| plan.id != id)) else {
        return Ok(kept.iter().any(|plan| plan.id == id));
    };
    let unreached = |error: BusError| error.to_string();
    let id = id.to_string();
    let present = bus.outlook(&[]).await.map_err(unreached)?.plan;
    let known = bus.plan(&id).await.map_err(unreached)?;
    Ok(present.is_some_and(|present| present == id) || known.is_some_and(|(_, words)| !words.is_empty()))
}

/// Orders it; why it does not come about.
async fn refusal(own: &tokio::sync::mpsc::UnboundedSender<Input>, wish: Wish) -> Option<String> {
    let (reply, answer) = oneshot::channel();
    own.send(Input::Ask(Ask::Begin(wish, reply))).ok();
    match answer.await {
        Ok(Ok(_) | Err(Refusal::Nothing(_))) => None,
        Ok(Err(Refusal::Blocked(plan))) => Some(plan.blockers.join("; ")),
        Ok(Err(Refusal::Wrong(reason) | Refusal::Busy(reason) | Refusal::Unreached(reason))) => Some(reason),
        Ok(Err(Refusal::NoFleet)) | Err(_) => Some("the daemon is ending".to_owned()),
    }
}

/// How services stand, by their units and the history of those; nothing if that cannot be read.
async fn restarts(
    handle: &Handle,
    services: Vec<(ServiceName, UnitName)>,
    up_to: &BTreeMap<ServiceName, (UnitName, Generation)>,
) -> Option<Vec<Seen>> {
    handle.settled().await.ok()?;
    let states = handle.states().await.ok()?;
    let mut seen = Vec::new();
    for (service, unit) in services {
        let state = states.iter().find(|state| state.status.name == unit);
        let generation = state.map(|state| state.status.generation).unwrap_or_default();
        let runs = handle.store().history(Some(unit.clone()), RUNS_MAX, None).await.ok()?;
        let restart = up_to.get(&service).and_then(|(_, followed)| restart_since(&runs, *followed));
        seen.push(Seen { service, unit, generation, restart });
    }
    Some(seen)
}

/// The newest restart after that run, by runs of which the newest comes first. What was before a start of the machine is over: those
/// who depend on it have lost it since.
fn restart_since(runs: &[RunRow], followed: Generation) -> Option<Restart> {
    let since = runs.iter().take_while(|run| run.generation > followed && run.cause.as_deref() != Some("boot"));
    let restart = |run: &RunRow| {
        let why = why(run.cause.as_deref()?, run.cause_detail.as_deref())?;
        Some(Restart { generation: run.generation, invocation: run.invocation.clone()?, why })
    };
    since.filter_map(restart).next()
}
