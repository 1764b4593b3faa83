//! `GET /v1/units/{unit}/logs`: captured output, raw.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    response::Response,
};
use futures_util::stream;
use hyper::header;
use serde::Deserialize;

use super::{
    problem::Failure,
    units::{find, name_of},
};
use crate::{
    base::Wall,
    edge::log::{Tail, tail},
    engine::Handle,
};

const LINES_DEFAULT: usize = 50;
/// Sent in one piece.
const PIECE_BYTES: usize = 64 << 10;
/// How often a follower's file is looked at; there is no follower, there is no look.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    lines: Option<usize>,
    since: Option<i64>,
    #[serde(default)]
    follow: bool,
}

pub(super) async fn logs(
    State(handle): State<Handle>,
    Path(unit): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let name = name_of(&unit)?;
    find(&handle.states().await?, &name)?;
    let dir = handle.settings().paths.logs.join(name.as_str());
    let since = wanted.since.map(Wall);
    let lines = wanted.lines.unwrap_or_else(|| if since.is_some() { usize::MAX } else { LINES_DEFAULT });
    let found = tokio::task::spawn_blocking(move || tail(&dir, lines, since)).await;
    let unreadable = |error: String| Failure::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "output unreadable", error);
    let place = found.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
    let body = Body::from_stream(stream::unfold((place, wanted.follow), next));
    let mut response = Response::new(body);
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

type Place = (Tail, bool);

async fn next((mut place, follow): Place) -> Option<(Result<Bytes, std::io::Error>, Place)> {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let bytes = place.next(PIECE_BYTES);
            (place, bytes)
        });
        let (back, bytes) = read.await.ok()?;
        place = back;
        match bytes {
            Ok(bytes) if bytes.is_empty() && follow => tokio::time::sleep(LOOK_EVERY).await,
            Ok(bytes) if bytes.is_empty() => return None,
            Ok(bytes) => return Some((Ok(bytes.into()), (place, follow))),
            Err(error) => return Some((Err(error), (place, false))),
        }
    }
}
