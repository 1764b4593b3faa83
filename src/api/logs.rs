//! `GET /v1/units/{unit}/logs`: captured output, as it was written or as a JSON object per line.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    response::Response,
};
use futures_util::stream;
use hyper::{StatusCode, header};
use serde::Deserialize;

use super::{
    problem::Failure,
    units::{connection, find, name_of},
};
use crate::{
    base::{Chain, LinePattern, Wall},
    edge::log::{self, Flow, Line, Reader},
    engine::Handle,
    wire::v1::LogLine,
};

const LINES_DEFAULT: usize = 50;
/// Sent in one piece, but for the last line of it.
const PIECE_BYTES: usize = 64 << 10;
/// A follower waits so long for more of what has begun to come: one look for a burst.
const GATHER_FOR: Duration = Duration::from_millis(10);

/// The query.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    lines: Option<usize>,
    since: Option<i64>,
    until: Option<i64>,
    after: Option<String>,
    grep: Option<String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    follow: bool,
    /// Whether what has no newline yet is sent.
    parts: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Text,
    Json,
}

pub(super) async fn logs(
    State(handle): State<Handle>,
    Path(unit): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let name = name_of(&unit)?;
    let states = handle.states().await?;
    if let Some((template, _)) = connection(&states, &name) {
        let detail = format!("what {name} writes is in the log of all connections: supervisorctl logs {template}");
        return Err(Failure::new(StatusCode::NOT_FOUND, "no log of its own", detail));
    }
    let line_max = log::line_max(Some(&find(&states, &name)?.def), &handle.settings().log);
    let dir = handle.settings().paths.logs.join(name.as_str());
    let shown = Shown {
        format: asked.format,
        follow: asked.follow,
        parts: asked.parts.unwrap_or(true),
        flow: Arc::clone(handle.flow()),
    };
    let wanted = wanted(asked, line_max)?;
    let unreadable = |error: String| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "output unreadable", error);
    let found = tokio::task::spawn_blocking(move || Reader::open(&dir, wanted)).await;
    let reader =
        found.map_err(|error| unreadable(error.to_string()))?.map_err(|error| unreadable(error.to_string()))?;
    let kind = match shown.format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Json => "application/x-ndjson",
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(Some((reader, shown)), next)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(response)
}

fn wanted(asked: Asked, line_max: usize) -> Result<log::Wanted, Failure> {
    let refused = |error: String| Failure::new(StatusCode::BAD_REQUEST, "bad query", error);
    let grep = asked
        .grep
        .map(|text| LinePattern::new(&text))
        .transpose()
        .map_err(|error| refused(Chain(&error).to_string()))?;
    let after = asked.after.map(|text| text.parse()).transpose().map_err(|error| refused(Chain(&error).to_string()))?;
    let few = asked.since.is_none() && asked.until.is_none() && grep.is_none();
    Ok(log::Wanted {
        lines: asked.lines.or_else(|| few.then_some(LINES_DEFAULT)),
        since: asked.since.map(Wall),
        until: asked.until.map(Wall),
        after,
        grep,
        line_max,
    })
}

/// How lines are shown, and whether one waits for more.
struct Shown {
    format: Format,
    follow: bool,
    parts: bool,
    flow: Arc<Flow>,
}

type Place = Option<(Reader, Shown)>;

async fn next(place: Place) -> Option<(Result<Bytes, std::io::Error>, Place)> {
    let (mut reader, shown) = place?;
    let (format, follow) = (shown.format, shown.follow);
    let parts = if follow { shown.parts && reader.takes_all() } else { true };
    let flow = Arc::clone(&shown.flow);
    loop {
        // Heard from before the look on, so that nothing is missed between look and wait.
        let mut more = pin!(flow.more());
        more.as_mut().enable();
        let read = tokio::task::spawn_blocking(move || {
            let piece = piece(&mut reader, format, parts);
            (reader, piece)
        });
        let (back, piece) = read.await.ok()?;
        reader = back;
        match piece {
            Ok(piece) if !piece.is_empty() => return Some((Ok(piece.into()), Some((reader, shown)))),
            Ok(_) if !follow || reader.is_over() => return None,
            Ok(_) => {
                more.await;
                tokio::time::sleep(GATHER_FOR).await;
            }
            Err(error) => return Some((Err(error), None)),
        }
    }
}

/// The next lines, up to a piece; with `parts`, what there is of one that has not ended, too.
fn piece(reader: &mut Reader, format: Format, parts: bool) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    while piece.len() < PIECE_BYTES {
        let line = match reader.next_line()? {
            Some(line) => Some(line),
            None if parts => reader.part(),
            None => None,
        };
        let Some(line) = line else { break };
        push(&mut piece, format, line);
    }
    Ok(piece)
}

fn push(piece: &mut Vec<u8>, format: Format, line: Line) {
    let Line { bytes, at, begin: _, end, ended } = line;
    match format {
        Format::Text => {
            piece.extend(bytes);
            piece.extend(ended.then_some(b'\n'));
        }
        Format::Json => {
            let (line, raw) = match String::from_utf8(bytes) {
                Ok(text) => (text, None),
                Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(error.into_bytes())),
            };
            let record = LogLine { cursor: end.to_string(), at_us: at.map(|at| at.0), line, raw, ended };
            // Texts and numbers always have a JSON form, and a Vec takes any number of bytes.
            serde_json::to_writer(&mut *piece, &record).ok();
            piece.push(b'\n');
        }
    }
}
