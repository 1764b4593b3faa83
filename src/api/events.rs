//! `GET /v1/notices` and `GET /v1/events`: what happened, and what happens.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{problem::Failure, view};
use crate::{
    engine::{Handle, NumberedNotice},
    wire::v1,
};

const NOTICES_DEFAULT: u32 = 50;
/// A comment line this often tells both sides that the other still is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
pub(super) struct From {
    after: Option<u64>,
    limit: Option<u32>,
}

/// Stored notices, oldest first.
pub(super) async fn past(State(handle): State<Handle>, Query(from): Query<From>) -> Result<Json<v1::Events>, Failure> {
    let after = from.after.and_then(|id| i64::try_from(id).ok());
    handle.settled().await?;
    let rows = handle.store().notices(after, from.limit.unwrap_or(NOTICES_DEFAULT)).await?;
    Ok(Json(v1::Events { events: rows.into_iter().map(view::stored_event).collect() }))
}

/// Server-sent events from now on; with `after`, those that are still kept and came after it first.
pub(super) async fn stream(
    State(handle): State<Handle>,
    Query(from): Query<From>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (kept, live) = handle.events();
    let after = from.after.unwrap_or(u64::MAX);
    let past = kept.into_iter().filter(move |notice| notice.id > after).map(|notice| sse(&notice));
    let stream = stream::iter(past).chain(stream::unfold(live, next)).map(Ok);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

async fn next(
    mut live: Receiver<std::sync::Arc<NumberedNotice>>,
) -> Option<(Event, Receiver<std::sync::Arc<NumberedNotice>>)> {
    match live.recv().await {
        Ok(notice) => Some((sse(&notice), live)),
        Err(RecvError::Lagged(count)) => {
            Some((Event::default().event("lost").data(format!("{{\"lost\":{count}}}")), live))
        }
        Err(RecvError::Closed) => None,
    }
}

fn sse(notice: &NumberedNotice) -> Event {
    let event = view::event(notice.id, &notice.notice);
    let data = serde_json::to_string(&event).unwrap_or_default();
    Event::default().id(event.id.to_string()).event(event.event).data(data)
}
