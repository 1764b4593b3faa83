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
use crate::{edge::store::RunRow, engine::Handle, wire::v1};

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
    let now = format!("{} ({}): {}", state.status.active.as_str(), state.status.sub.as_str(), view::cause(state));
    let ended = material.runs.iter().find(|run| run.ended_at.is_some());
    let last_output = view::last_output(ended.and_then(|run| run.last_output.as_deref()));
    Ok(Json(v1::Why { unit: name.to_string(), now, chain, last_output }))
}
