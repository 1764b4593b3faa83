//! The daemon itself: metrics, who answers, reload, upgrade.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::{HeaderMap, StatusCode, header};
use tokio::time::timeout;

use super::{
    access,
    metrics::{self, Form},
    problem::Failure,
};
use crate::{
    edge::clock,
    engine::{Handle, config},
    web::Peer,
    wire::v1,
};

/// How long the page of metrics waits for the database, whose disk may hang.
const STORE_ANSWER_MAX: Duration = Duration::from_secs(1);

/// Prometheus text, or OpenMetrics for whoever asks for it.
pub(super) async fn metrics(State(handle): State<Handle>, headers: HeaderMap) -> Result<Response, Failure> {
    let form = Form::asked(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default());
    let states = handle.states().await?;
    let fleet = match handle.fleet() {
        Some(fleet) => Some(fleet.known().await?),
        None => None,
    };
    // Whoever cannot be asked hides nothing else.
    let waiting = timeout(STORE_ANSWER_MAX, handle.store().waiting()).await.ok().and_then(Result::ok);
    let text = metrics::text(form, &handle, &states, waiting.as_ref(), fleet.as_ref());
    Ok(([(header::CONTENT_TYPE, form.content_type())], text).into_response())
}

/// Who answers.
pub(super) async fn about(State(handle): State<Handle>) -> Json<v1::Daemon> {
    let about = handle.about();
    let program = std::env::current_exe().map(|path| path.display().to_string());
    Json(v1::Daemon {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: program.unwrap_or_default(),
        keeper_pid: about.keeper,
        manager_pid: std::process::id(),
        cause: about.cause.to_owned(),
        since_us: about.since.wall.0,
        upgrade_failure: handle.counters().upgrade_trouble,
        settings: handle
            .settings()
            .source
            .as_ref()
            .map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()).to_string_lossy().into_owned()),
    })
}

/// Replaces the daemon's program. The answer says why it was not; when it was, this process is gone, the connection is cut, and
/// [`about`] tells how it went.
pub(super) async fn upgrade(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
    Json(upgrade): Json<v1::Upgrade>,
) -> Result<std::convert::Infallible, Failure> {
    let to = upgrade.to.map(PathBuf::from);
    if to.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(Failure::bad_request("the path of the new program must be absolute"));
    }
    let reason = handle.upgrade(access::actor(peer.as_deref()), to).await?;
    Err(Failure::new(StatusCode::CONFLICT, "not upgraded", reason))
}

/// Reads `roundsman.toml` and the unit directories anew; all of it is taken, or nothing.
pub(super) async fn reload(
    State(handle): State<Handle>,
    peer: Option<Extension<Peer>>,
) -> Result<Json<v1::Reloaded>, Failure> {
    let settings = Arc::clone(handle.settings());
    let instances = handle.instances();
    let begun = clock::now().mono;
    let loaded = tokio::task::spawn_blocking(move || config::reload(&settings, &instances)).await;
    let loaded =
        loaded.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "reload failed", error.to_string()))?;
    let revision = loaded.as_ref().map(|loaded| loaded.host.digest.clone()).unwrap_or_default();
    let taken = handle
        .take_reload(access::actor(peer.as_deref()), begun, loaded)
        .await?
        .map_err(|problems| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration refused", problems))?;
    Ok(Json(v1::Reloaded {
        status: "reloaded".to_owned(),
        revision,
        timestamp: clock::wall().0,
        instances_notified: 0,
        instances: Vec::new(),
        units: taken.units,
        needs_restart: taken.lasting.into_iter().map(str::to_owned).collect(),
    }))
}
