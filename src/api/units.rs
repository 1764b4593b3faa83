//! `GET /v1/units…`: states, files, properties, dependencies.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use hyper::{StatusCode, header};

use super::{problem::Failure, view};
use crate::{
    base::{Generation, UnitName},
    edge::{clock, unitdir},
    engine::{Handle, UnitState},
    unit::{UnitDef, connection, similar},
    wire::v1,
};

/// All units, or those that `?unit=` names, in order of name; with `?brief` no more of each than a table shows.
pub(super) async fn list(State(handle): State<Handle>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let query = query.as_deref().unwrap_or_default();
    let wanted = names_of(query)?;
    let states = handle.states().await?;
    let now = clock::now();
    let shown: Vec<&UnitState> = if wanted.is_empty() {
        states.iter().collect()
    } else {
        wanted.iter().map(|name| find(&states, name)).collect::<Result<_, _>>()?
    };
    Ok(if is_brief(query) {
        // As `v1::UnitLines` would be written.
        let unwritable = |error: serde_json::Error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "units cannot be told", error.to_string())
        };
        let lines = view::lines(now, &shown).map_err(unwritable)?;
        let body = format!("{{\"units\":[{}]}}", lines.join(","));
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    } else {
        Json(v1::Units { units: view::units(now, &shown) }).into_response()
    })
}

/// One unit.
pub(super) async fn one(State(handle): State<Handle>, Path(unit): Path<String>) -> Result<Json<v1::Unit>, Failure> {
    let states = handle.states().await?;
    Ok(Json(view::unit(clock::now(), find(&states, &name_of(&unit)?)?)))
}

/// The unit file and its drop-ins, as they are on disk now.
pub(super) async fn files(
    State(handle): State<Handle>,
    Path(unit): Path<String>,
) -> Result<Json<v1::UnitFiles>, Failure> {
    let states = handle.states().await?;
    let def = Arc::clone(&find(&states, &name_of(&unit)?)?.def);
    let read = tokio::task::spawn_blocking(move || {
        def.sources
            .iter()
            .map(|path| {
                let text = unitdir::read_text(path).map_err(|error| crate::base::Chain(&error).to_string())?;
                Ok(v1::UnitFile { path: path.display().to_string(), text })
            })
            .collect::<Result<Vec<_>, String>>()
    });
    let unreadable = |reason: String| Failure::new(StatusCode::GONE, "file unreadable", reason);
    let files = read.await.map_err(|error| unreadable(error.to_string()))?.map_err(unreadable)?;
    Ok(Json(v1::UnitFiles { files }))
}

/// Every property, the state's first.
pub(super) async fn properties(
    State(handle): State<Handle>,
    Path(unit): Path<String>,
) -> Result<Json<v1::Properties>, Failure> {
    let states = handle.states().await?;
    let state = find(&states, &name_of(&unit)?)?;
    let mut properties: Vec<(String, String)> = Vec::new();
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(view::unit(clock::now(), state)) {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        properties.extend(fields.into_iter().map(|(name, value)| (name, text(&value))));
    }
    properties.extend(super::properties::of(&state.def));
    Ok(Json(v1::Properties { properties }))
}

/// Both directions of every relation.
pub(super) async fn dependencies(
    State(handle): State<Handle>,
    Path(unit): Path<String>,
) -> Result<Json<v1::Dependencies>, Failure> {
    let states = handle.states().await?;
    let name = name_of(&unit)?;
    let own = find(&states, &name)?;
    let by_name: BTreeMap<&UnitName, &UnitState> = states.iter().map(|state| (&state.status.name, state)).collect();
    let active = |name: &UnitName| {
        by_name.get(name).map_or_else(|| "not-loaded".to_owned(), |state| state.status.active.as_str().to_owned())
    };
    let mut relations: Vec<(String, String, String)> = Vec::new();
    for (forward, _, list) in relations_of(&own.def) {
        relations.extend(list.iter().map(|other| (forward.to_owned(), other.to_string(), active(other))));
    }
    for state in &states {
        for (_, backward, list) in relations_of(&state.def) {
            if list.contains(&name) {
                let other = &state.status.name;
                relations.push((backward.to_owned(), other.to_string(), active(other)));
            }
        }
    }
    Ok(Json(v1::Dependencies { unit: name.to_string(), relations }))
}

/// Each relation with its name from here, its name from there, and whom it names.
fn relations_of(def: &UnitDef) -> [(&'static str, &'static str, &[UnitName]); 9] {
    let all = &def.relations;
    [
        ("requires", "required_by", &all.requires),
        ("wants", "wanted_by", &all.wants),
        ("binds_to", "bound_by", &all.binds_to),
        ("part_of", "consists_of", &all.part_of),
        ("conflicts", "conflicted_by", &all.conflicts),
        ("after", "before", &all.after),
        ("before", "after", &all.before),
        ("on_failure", "on_failure_of", &all.on_failure),
        ("on_success", "on_success_of", &all.on_success),
    ]
}

pub(super) fn name_of(text: &str) -> Result<UnitName, Failure> {
    UnitName::new(text).map_err(|error| Failure::bad_request(format!("{text:?}: {error}")))
}

/// The unit of this name, or an error with the most similar one.
pub(super) fn find<'s>(states: &'s [UnitState], name: &UnitName) -> Result<&'s UnitState, Failure> {
    states.iter().find(|state| state.status.name == *name).ok_or_else(|| {
        let names = states.iter().map(|state| state.status.name.as_str());
        Failure::unknown_unit(name.as_str(), similar(name.as_str(), names))
    })
}

/// Of a connection's instance, whether it is still there or not: the template that accepted it, and which of its runs it is.
/// What instances write and do is kept with their template.
pub(super) fn connection(states: &[UnitState], name: &UnitName) -> Option<(UnitName, Generation)> {
    let template = name.template()?;
    let state = states.iter().find(|state| state.status.name == template)?;
    state.def.sockets.connection_limits()?;
    Some((template, Generation(connection::number(name)?).next()))
}

fn is_brief(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some("brief"))
}

fn names_of(query: &str) -> Result<Vec<UnitName>, Failure> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == "unit")
        .map(|(_, value)| name_of(&percent_decoded(value)))
        .collect()
}

/// Decodes `%XX`; unit names need no more of the query grammar.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_in_the_query_any_number_of_times() {
        let names = names_of("unit=web&x=1&unit=getty%40tty1.service").expect("names");
        assert_eq!(names.iter().map(UnitName::as_str).collect::<Vec<_>>(), ["web", "getty@tty1"]);
        assert!(names_of("unit=../etc").is_err());
        assert!(is_brief("brief") && is_brief("unit=web&brief=1") && !is_brief("unit=brief"));
    }
}
