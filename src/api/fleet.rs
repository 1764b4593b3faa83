//! `/v1/fleet`: the nodes of a fleet, what is planned over them, and what people say of that.

use axum::{
    Extension, Json,
    extract::{Path, RawQuery, State},
};
use hyper::StatusCode;

use super::{access, problem::Failure};
use crate::{
    engine::{
        Handle,
        fleet::{Fleet, Refusal, Which, Wish},
    },
    fleet::{Intent, PlanId, Say, Verb},
    web::Peer,
    wire::v1,
};

fn fleet_of(handle: &Handle) -> Result<&Fleet, Failure> {
    handle.fleet().ok_or_else(|| refused(Refusal::NoFleet))
}

/// As it is, once everyone was asked; with `?known` as far as it is known by now.
pub(super) async fn view(State(handle): State<Handle>, RawQuery(query): RawQuery) -> Result<Json<v1::Fleet>, Failure> {
    let fleet = fleet_of(&handle)?;
    let is_known = query.as_deref() == Some("known");
    Ok(Json(if is_known { fleet.known().await? } else { fleet.view().await? }))
}

pub(super) async fn plans(State(handle): State<Handle>) -> Result<Json<v1::FleetPlans>, Failure> {
    let plans = fleet_of(&handle)?.plans().await?.map_err(refused)?;
    Ok(Json(v1::FleetPlans { plans }))
}

pub(super) async fn one(
    State(handle): State<Handle>,
    Path(text): Path<String>,
) -> Result<Json<v1::FleetPlan>, Failure> {
    Ok(Json(find(&handle, &text).await?))
}

pub(super) async fn begin(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
    Json(wanted): Json<v1::FleetIntent>,
) -> Result<Json<v1::FleetPlan>, Failure> {
    let fleet = fleet_of(&handle)?;
    let by = access::actor(peer.as_deref()).to_string();
    let is_dry = wanted.dry_run;
    let wish = wish(wanted, by)?;
    let made = if is_dry { fleet.plan(wish).await? } else { fleet.begin(wish).await? };
    match made {
        Ok(plan) => Ok(Json(plan)),
        // Whoever asked is shown what is in the way, in the plan.
        Err(Refusal::Blocked(plan) | Refusal::Nothing(plan)) => Ok(Json(*plan)),
        Err(refusal) => Err(refused(refusal)),
    }
}

pub(super) async fn say(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
    Path(text): Path<String>,
    Json(wanted): Json<v1::FleetSay>,
) -> Result<Json<v1::FleetPlan>, Failure> {
    let by = access::actor(peer.as_deref()).to_string();
    let plan = find(&handle, &text).await?;
    if let Some(digest) = wanted.digest.as_ref().filter(|digest| !plan.digest.starts_with(digest.as_str())) {
        return Err(Failure::bad_request(format!(
            "the plan's digest is {}, not {digest}; look at it again",
            plan.digest
        )));
    }
    let id: PlanId = plan.id.parse().map_err(|error| Failure::bad_request(format!("{error}")))?;
    if wanted.verb == "take" {
        return Ok(Json(fleet_of(&handle)?.take(id, by).await?.map_err(refused)?));
    }
    let said = said(wanted, by, plan.waves.len())?;
    Ok(Json(fleet_of(&handle)?.say(id, said).await?.map_err(refused)?))
}

/// A plan by its id, or the beginning of that.
async fn find(handle: &Handle, text: &str) -> Result<v1::FleetPlan, Failure> {
    let plans = fleet_of(handle)?.plans().await?.map_err(refused)?;
    let mut found = plans.into_iter().filter(|plan| plan.id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(plan), None) => Ok(plan),
        (Some(_), Some(_)) => {
            Err(Failure::bad_request(format!("several plans begin with {text}; give more of its id")))
        }
        (None, _) => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "no such plan",
            format!("there is no plan {text}; supervisorctl fleet plans lists them"),
        )),
    }
}

fn wish(wanted: v1::FleetIntent, by: String) -> Result<Wish, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::bad_request(error.to_string());
    let verb = match wanted.verb.as_str() {
        "restart" => Verb::Restart,
        "reload" => Verb::Reload,
        "follow" => Verb::Follow,
        other => {
            return Err(Failure::bad_request(format!("{other:?} is no verb of a fleet (restart, reload, follow)")));
        }
    };
    let services = wanted.services.iter().map(|name| name.parse()).collect::<Result<_, _>>();
    let nodes = wanted.nodes.iter().map(|name| name.parse()).collect::<Result<_, _>>();
    if wanted.services.is_empty() {
        return Err(Failure::bad_request("name the services; supervisorctl fleet graph shows them"));
    }
    let digest = wanted.digest.as_deref().map(str::parse).transpose().map_err(|error| wrong(&error))?;
    let intent = Intent {
        verb,
        services: services.map_err(|error| wrong(&error))?,
        nodes: nodes.map_err(|error| wrong(&error))?,
        cascade: !wanted.no_cascade,
        at_any_time: wanted.at_any_time,
    };
    let supersedes = wanted.supersede.map(|which| if which == "any" { Which::Any } else { Which::Named(which) });
    Ok(Wish { intent, by, digest, is_agreed: wanted.approve, supersedes, id: None })
}

fn said(wanted: v1::FleetSay, by: String, waves: usize) -> Result<Say, Failure> {
    let v1::FleetSay { verb, reason, wave, digest: _, instance } = wanted;
    let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
    match verb.as_str() {
        "approve" => match wave {
            Some(wave) if wave == 0 || wave > waves => {
                Err(Failure::bad_request(format!("the plan has waves 1 to {waves}, and no wave {wave}")))
            }
            wave => Ok(Say::Approve { wave: wave.map(|wave| wave - 1), by }),
        },
        "pause" => Ok(Say::Pause { reason, by }),
        "resume" => Ok(Say::Resume { by }),
        "abort" => Ok(Say::Abort { reason, by }),
        "quarantine" => {
            let named = instance.ok_or_else(|| Failure::bad_request("say which instance, such as app@vm4"))?;
            let instance = named.parse().map_err(|error| Failure::bad_request(format!("{error}")))?;
            Ok(Say::Quarantine { instance, by })
        }
        other => Err(Failure::bad_request(format!(
            "{other:?} is nothing to be said of a plan (approve, pause, resume, abort, take, quarantine)"
        ))),
    }
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoFleet => Failure::new(
            StatusCode::NOT_FOUND,
            "no fleet",
            "this daemon is in no fleet; roundsman.toml needs [fleet], and beside it fleet.toml",
        ),
        Refusal::Wrong(reason) => Failure::bad_request(reason),
        Refusal::Blocked(plan) => Failure::new(StatusCode::CONFLICT, "blocked", plan.blockers.join("; ")),
        Refusal::Nothing(_) => Failure::bad_request("nothing is to be done"),
        Refusal::Busy(reason) => Failure::new(StatusCode::CONFLICT, "another plan", reason),
        Refusal::Unreached(reason) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not now", reason),
    }
}
