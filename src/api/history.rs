//! `GET /v1/history` and `GET /v1/units/{unit}/why`: past runs, and the causes behind the present.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;

use super::{
    problem::Failure,
    units::{connection, find, name_of},
    view,
};
use crate::{edge::store::RunRow, engine::Handle, node::status::Active, wire::v1};

/// Runs that are shown unless the asker says how many.
const RUNS_DEFAULT: u32 = 50;

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    unit: Option<String>,
    limit: Option<u32>,
    /// Oldest first, from the run after this one on.
    after: Option<i64>,
}

pub(super) async fn history(
    State(handle): State<Handle>,
    Query(which): Query<Which>,
) -> Result<Json<v1::History>, Failure> {
    let unit = which.unit.as_deref().map(name_of).transpose()?;
    handle.settled().await?;
    if let Some(name) = &unit
        && let Some((template, generation)) = connection(&handle.states().await?, name)
    {
        let row = handle.store().run(template, generation).await?;
        // The same number may have been another client's.
        let row = row.filter(|row| row.cause_detail.as_deref() == Some(name.as_str()));
        let runs = row.map(|row| view::run(RunRow { unit: name.to_string(), ..row })).into_iter().collect();
        return Ok(Json(v1::History { runs }));
    }
    let limit = which.limit.unwrap_or(RUNS_DEFAULT);
    let rows = match which.after {
        Some(after) => handle.store().history_after(unit.clone(), limit, after).await?,
        None => handle.store().history(unit.clone(), limit, None).await?,
    };
    if let (true, Some(unit)) = (rows.is_empty(), &unit) {
        // No runs: either it never ran, or there is no such unit.
        find(&handle.states().await?, unit)?;
    }
    Ok(Json(v1::History { runs: rows.into_iter().map(view::run).collect() }))
}

pub(super) async fn why(State(handle): State<Handle>, Path(unit): Path<String>) -> Result<Json<v1::Why>, Failure> {
    let name = name_of(&unit)?;
    let states = handle.states().await?;
    let state = find(&states, &name)?;
    handle.settled().await?;
    let material = handle.store().why(name.clone()).await?;
    let mut chain: Vec<v1::Event> = material.notices.into_iter().map(view::stored_event).collect();
    chain.sort_by_key(|event| (event.at_us, event.id));
    let left_out = before_the_causes(&chain);
    chain.drain(..left_out);
    let has_more = left_out > 0 || chain.first().is_some_and(is_effect);
    let (active, sub) = (state.status.active, state.status.sub.as_str());
    // "failed (failed)" says nothing.
    let more = if active == Active::Failed { state.status.result.as_str() } else { sub };
    let now = format!("{} ({more}): {}", active.as_str(), view::cause(state));
    let ended = material.runs.iter().find(|run| run.ended_at.is_some());
    let last_output = view::last_output(ended.and_then(|run| run.last_output.as_deref()));
    Ok(Json(v1::Why { unit: name.to_string(), now, chain, has_more, last_output }))
}

/// How many of the oldest events are effects of what is not among them; none if all are.
fn before_the_causes(chain: &[v1::Event]) -> usize {
    chain.iter().position(|event| !is_effect(event)).unwrap_or(0)
}

/// Whether it follows from what happened to the unit before.
fn is_effect(event: &v1::Event) -> bool {
    let says = |name: &str| event.fields.get(name).and_then(serde_json::Value::as_str);
    match event.event.as_str() {
        "run_starting" => matches!(says("cause"), Some("auto-restart" | "unhealthy" | "external-restart")),
        "run_ended" => says("reason").is_some() || event.fields.get("wanted") == Some(&true.into()),
        "main_started" | "run_ready" | "healthy" | "recovered" | "restart_scheduled" | "start_limit_hit"
        | "unit_failed" | "unit_stopped" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str, fields: serde_json::Value) -> v1::Event {
        let serde_json::Value::Object(fields) = fields else { panic!("fields are an object") };
        v1::Event {
            id: 1,
            at_us: 1,
            event: event.to_owned(),
            severity: "info".to_owned(),
            unit: Some("web".to_owned()),
            generation: None,
            message: String::new(),
            fields,
        }
    }

    #[test]
    fn a_chain_begins_with_a_cause_and_not_with_its_effect() {
        let none = || serde_json::json!({});
        let by_probe = || event("run_ended", serde_json::json!({ "wanted": false, "reason": "probe live failed" }));
        let again = || event("run_starting", serde_json::json!({ "cause": "unhealthy" }));
        let chain = [by_probe(), again(), event("run_ready", none()), event("unhealthy", none()), by_probe(), again()];
        assert_eq!(before_the_causes(&chain), 3);
        let crash = event("run_ended", serde_json::json!({ "wanted": false }));
        assert_eq!(before_the_causes(&[event("run_ready", none()), crash]), 1);
        let by_hand = event("run_starting", serde_json::json!({ "cause": "manual" }));
        assert_eq!(before_the_causes(&[by_hand, event("run_ready", none())]), 0);
        assert_eq!(before_the_causes(&[by_probe(), again()]), 0, "rather effects than nothing");
    }
}
