//! `POST /v1/orders`: start, stop, restart, reload, signal, reset, clean, enable, disable.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};

use super::{access, problem::Failure, units::name_of, view};
use crate::{
    base::{Signal, UnitName},
    engine::{Handle, UnitState},
    node::input::Verb,
    unit::{UnitDef, graph},
    web::Peer,
    wire::v1,
};

/// Units that one order may name.
const UNITS_MAX: usize = 10_000;

pub(super) async fn order(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
    Json(order): Json<v1::Order>,
) -> Result<Json<v1::OrderAnswer>, Failure> {
    let verb = verb_of(&order)?;
    let states = handle.states().await?;
    let units = units_of(&order, &states)?;
    if order.dry_run {
        return Ok(Json(v1::OrderAnswer { outcomes: planned(verb, &order.verb, &units, &states) }));
    }
    let actor = access::actor(peer.as_deref());
    if order.no_wait {
        handle.order_no_wait(actor, units.clone(), verb).await?;
        let accepted = |unit: &UnitName| v1::UnitOutcome {
            unit: unit.to_string(),
            ok: true,
            code: "accepted".to_owned(),
            message: format!("{unit}: {} accepted", order.verb),
        };
        return Ok(Json(v1::OrderAnswer { outcomes: units.iter().map(accepted).collect() }));
    }
    let outcomes = handle.order(actor, units, verb).await?;
    let outcomes = outcomes.iter().map(|(unit, outcome)| view::outcome(&order.verb, unit, outcome)).collect();
    Ok(Json(v1::OrderAnswer { outcomes }))
}

fn verb_of(order: &v1::Order) -> Result<Verb, Failure> {
    if order.signal.is_some() && order.verb != "signal" {
        return Err(Failure::bad_request("a signal is given with the verb signal only"));
    }
    if order.what.is_some() && order.verb != "clean" {
        return Err(Failure::bad_request("what is given with the verb clean only"));
    }
    match order.verb.as_str() {
        "start" => Ok(Verb::Start),
        "stop" => Ok(Verb::Stop),
        "restart" => Ok(Verb::Restart),
        "reload" => Ok(Verb::Reload),
        "reset" => Ok(Verb::Reset),
        "clean" => match order.what.as_deref() {
            Some("fdstore") => Ok(Verb::Clean),
            Some(other) => Err(Failure::bad_request(format!("{other:?} cannot be cleaned (fdstore)"))),
            None => Err(Failure::bad_request("say what is to be cleaned: fdstore")),
        },
        "enable" => Ok(Verb::Enable),
        "disable" => Ok(Verb::Disable),
        "signal" => {
            let text = order.signal.as_deref().unwrap_or_default();
            Signal::parse(text).map(Verb::Signal).ok_or_else(|| {
                Failure::bad_request(format!("{text:?} is no signal (write a name such as HUP, or a number)"))
            })
        }
        other => Err(Failure::bad_request(format!(
            "{other:?} is no verb (start, stop, restart, reload, signal, reset, clean, enable, disable)"
        ))),
    }
}

fn units_of(order: &v1::Order, states: &[UnitState]) -> Result<Vec<UnitName>, Failure> {
    if order.all {
        if !order.units.is_empty() {
            return Err(Failure::bad_request("give units or all, not both"));
        }
        return Ok(states.iter().map(|state| state.status.name.clone()).collect());
    }
    if order.units.is_empty() || order.units.len() > UNITS_MAX {
        return Err(Failure::bad_request(format!("name 1 to {UNITS_MAX} units, or say all")));
    }
    order.units.iter().map(|text| name_of(text)).collect()
}

/// What an order would touch, in the order in which it would.
fn planned(verb: Verb, text: &str, units: &[UnitName], states: &[UnitState]) -> Vec<v1::UnitOutcome> {
    let set: graph::Units<Arc<UnitDef>> =
        states.iter().map(|state| (state.status.name.clone(), Arc::clone(&state.def))).collect();
    let touched = match verb {
        Verb::Start => graph::start_order(&set, &graph::pulled_in(&set, units)),
        Verb::Stop | Verb::Restart => {
            let mut order = graph::start_order(&set, &graph::pulled_down(&set, units));
            order.reverse();
            order
        }
        Verb::Reload | Verb::Signal(_) | Verb::Reset | Verb::Clean | Verb::Enable | Verb::Disable => units.to_vec(),
    };
    let known = |unit: &UnitName| set.contains_key(unit);
    let missing = units.iter().filter(|unit| !known(unit)).map(|unit| v1::UnitOutcome {
        unit: unit.to_string(),
        ok: false,
        code: "unknown-unit".to_owned(),
        message: format!("there is no unit {unit}; supervisorctl list shows all units"),
    });
    let plan = touched.iter().filter(|unit| known(unit)).map(|unit| {
        let why = if units.contains(unit) { String::new() } else { " (because of its relations)".to_owned() };
        let message = format!("{unit}: would {text}{why}");
        v1::UnitOutcome { unit: unit.to_string(), ok: true, code: "planned".to_owned(), message }
    });
    plan.chain(missing).collect()
}
