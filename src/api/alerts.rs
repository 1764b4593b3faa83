//! `/v1/alerts`: what is open and what is hushed, and what people say of it.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State};
use hyper::StatusCode;

use super::{access, problem::Failure};
use crate::{
    alert::{Hush, Incident, Message, Part, Pattern, RouteName, Silence, SilenceOrder, Subject, Trouble},
    base::TimeSpan,
    edge::{clock, store::Told},
    engine::Handle,
    web::Peer,
    wire::v1,
};

/// Characters of a comment that are kept.
const COMMENT_CHARS_MAX: usize = 500;

pub(super) async fn list(State(handle): State<Handle>) -> Result<Json<v1::Alerts>, Failure> {
    let list = handle.alert_list().await?;
    let open = list.open.iter().map(|(open, _)| open.id.to_string()).collect();
    // A database out of reach tells of nobody that he still waits.
    let mut told = handle.store().told(open).await.unwrap_or_default();
    told.extend(handle.deliveries().waiting_here());
    let mut incidents: Vec<_> =
        list.open.iter().map(|(open, hush)| taken(hushed(open, hush.as_ref()), &told)).collect();
    incidents.sort_by_key(|incident| incident.opened_us);
    let mut silences: Vec<_> = list.silences.iter().map(silence).collect();
    silences.sort_by_key(|silence| silence.until_us);
    let (mut dead_routes, mut failing_routes) = (Vec::new(), Vec::new());
    for (route, trouble) in handle.deliveries().troubles() {
        let (routes, reason) = match trouble {
            Trouble::Refuses(reason) => (&mut dead_routes, reason),
            Trouble::Fails(reason) | Trouble::Partly { reason, .. } => (&mut failing_routes, reason),
        };
        routes.push(v1::DeadRoute { route: route.to_string(), reason });
    }
    let waiting = handle.store().waiting().await.unwrap_or_default();
    let routes = handle.deliveries().routes();
    let is_gone = |route: &str| !routes.iter().any(|known| known.as_str() == route);
    let waiting = waiting.into_iter();
    let waiting =
        waiting.map(|(route, messages)| v1::WaitingRoute { gone: is_gone(&route), route, messages }).collect();
    Ok(Json(v1::Alerts { incidents, silences, dead_routes, failing_routes, waiting }))
}

pub(super) async fn silence_for(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
    Json(asked): Json<v1::SilenceRequest>,
) -> Result<Json<v1::Silence>, Failure> {
    let order = SilenceOrder {
        pattern: Pattern::about(&asked.what),
        span: TimeSpan::from_micros(asked.span_us),
        comment: asked.comment.chars().filter(|c| !c.is_control()).take(COMMENT_CHARS_MAX).collect(),
        maintenance: asked.maintenance,
    };
    let silence = handle.silence(access::actor(peer.as_deref()), order).await?;
    let made = silence.map_err(|refusal| Failure::bad_request(refusal.to_string()))?;
    handle.settled().await?;
    let states = handle.states().await?;
    let subjects = states.iter().flat_map(|state| {
        let of = &state.status.name;
        let probes = state.def.health.iter().map(|probe| Subject::Probe(of.clone(), probe.name.to_string()));
        probes.chain([Subject::Unit(of.clone())])
    });
    let fleet = handle.settings().fleet.as_ref().map(|fleet| fleet.topology.nodes.keys()).into_iter().flatten();
    let parts = fleet.flat_map(|node| [Part::Node(node.to_string()), Part::Commands(node.to_string()), Part::Quorum]);
    let subjects = subjects.chain(parts.map(Subject::Fleet));
    let matches_nothing = !made.pattern.is_of_any(subjects, &handle.settings().alert.node);
    Ok(Json(v1::Silence { matches_nothing, ..self::silence(&made) }))
}

pub(super) async fn unsilence(
    State(handle): State<Handle>,
    Json(asked): Json<v1::Which>,
) -> Result<Json<v1::Silences>, Failure> {
    let ended = handle.unsilence(asked.what.clone()).await?;
    if ended.is_empty() {
        let detail = format!("no silence is numbered or covers {:?}; supervisorctl alerts shows them", asked.what);
        return Err(Failure::new(StatusCode::NOT_FOUND, "no such silence", detail));
    }
    handle.settled().await?;
    Ok(Json(v1::Silences { silences: ended.iter().map(silence).collect() }))
}

pub(super) async fn acknowledge(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
    Json(asked): Json<v1::Which>,
) -> Result<Json<v1::Incidents>, Failure> {
    let found = handle.acknowledge(access::actor(peer.as_deref()), asked.what.clone()).await?;
    if found.is_empty() {
        let detail = format!("nothing is open about {:?}; supervisorctl alerts shows what is", asked.what);
        return Err(Failure::new(StatusCode::NOT_FOUND, "no such incident", detail));
    }
    handle.settled().await?;
    Ok(Json(v1::Incidents { incidents: found.iter().map(incident).collect() }))
}

/// Sends a message past everything, at once and once.
pub(super) async fn test(
    State(handle): State<Handle>,
    Json(asked): Json<v1::Which>,
) -> Result<Json<v1::RouteTest>, Failure> {
    let routes = handle.deliveries().routes();
    let named = RouteName::new(&asked.what).ok().filter(|name| routes.contains(name));
    let Some(route) = named else {
        let known: Vec<_> = routes.iter().map(ToString::to_string).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        let detail = format!("there is no alert route {:?} (routes: {known})", asked.what);
        return Err(Failure::new(StatusCode::NOT_FOUND, "no such route", detail));
    };
    let message = Message::test(&handle.settings().alert.node, &route, clock::now());
    let reason = handle.deliveries().try_once(message).await.err();
    Ok(Json(v1::RouteTest { route: route.to_string(), ok: reason.is_none(), reason }))
}

/// The same with what became of its messages.
fn taken(incident: v1::Incident, told: &[Told]) -> v1::Incident {
    let of_it = || told.iter().filter(|told| told.incident == incident.id);
    let routes: BTreeSet<&str> = of_it().map(|told| &*told.route).collect();
    let any = |route: &str, is: fn(&Told) -> bool| of_it().any(|told| told.route == route && is(told));
    let those = |are: &dyn Fn(&str) -> bool| -> Vec<String> {
        routes.iter().filter(|route| are(route)).map(|&route| route.to_owned()).collect()
    };
    let untaken = those(&|route| any(route, |told| told.waits));
    let given_up = those(&|route| !any(route, |told| told.waits || told.taken));
    let instead = |told: &Told| {
        let fallback_of = told.fallback_of.clone().filter(|_| told.taken)?;
        Some(v1::ToldInstead { route: told.route.clone(), fallback_of })
    };
    let fallbacks = of_it().filter_map(instead).collect();
    v1::Incident { untaken, given_up, fallbacks, ..incident }
}

fn hushed(open: &Incident, hush: Option<&Hush>) -> v1::Incident {
    v1::Incident {
        hushed_by: hush.map(|hush| hush.by.clone()),
        hushed_until_us: hush.and_then(|hush| hush.until).map(|until| until.0),
        ..incident(open)
    }
}

fn incident(incident: &Incident) -> v1::Incident {
    let known = incident.acknowledged.as_ref();
    v1::Incident {
        id: incident.id.to_string(),
        dedup_key: incident.dedup_key.clone(),
        event: incident.topic.as_str().to_owned(),
        about: incident.subject.to_string(),
        severity: incident.severity.as_str().to_owned(),
        message: incident.text.clone(),
        action: incident.action().to_owned(),
        opened_us: incident.opened_at.0,
        told_us: incident.told_at.0,
        restarts: incident.restarts,
        reminders: incident.reminders,
        told: incident.told.iter().map(ToString::to_string).collect(),
        untaken: Vec::new(),
        given_up: Vec::new(),
        fallbacks: Vec::new(),
        held: incident.held,
        hushed_by: None,
        hushed_until_us: None,
        acknowledged_by: known.map(|known| known.by.clone()),
        acknowledged_us: known.map(|known| known.at.0),
        escalated: incident.escalated,
    }
}

fn silence(silence: &Silence) -> v1::Silence {
    v1::Silence {
        id: silence.id,
        pattern: silence.pattern.to_string(),
        since_us: silence.since.0,
        until_us: silence.until.0,
        by: silence.by.clone(),
        comment: silence.comment.clone(),
        maintenance: silence.maintenance,
        matches_nothing: false,
    }
}
