//! The supervisor's HTTP API: reads requests, checks who asks, asks the engine or the store, answers in wire types.
//!
//! No decision about a service is made here. The route table below is the whole of it: path, who may, handler.
#![forbid(unsafe_code)]

mod access; // who may ask for what
mod alerts; // what is open, and what is hushed
mod check; // every probe once, now
mod daemon; // metrics, reload, upgrade
mod fleet; // the machines of a fleet, and plans
mod events; // notices, past and as they happen
mod health; // whether all is well
mod history; // past runs, and why
mod logs; // captured output
mod metrics; // Prometheus text
mod orders; // what people order
mod problem; // errors as problem documents
mod properties; // what a definition says
mod sandbox; // what a definition says of its sandbox
mod units; // states, files, properties, dependencies
mod view; // inner types -> wire types

use axum::{
    Router, middleware,
    routing::{get, post},
};

use crate::engine::Handle;

/// Everything the supervisor answers.
pub fn router(handle: Handle) -> Router {
    let read = Router::new()
        .route("/v1/units", get(units::list))
        .route("/v1/units/{unit}", get(units::one))
        .route("/v1/units/{unit}/files", get(units::files))
        .route("/v1/units/{unit}/properties", get(units::properties))
        .route("/v1/units/{unit}/dependencies", get(units::dependencies))
        .route("/v1/units/{unit}/why", get(history::why))
        .route("/v1/units/{unit}/logs", get(logs::logs))
        .route("/v1/history", get(history::history))
        .route("/v1/notices", get(events::past))
        .route("/v1/events", get(events::stream))
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/fleet", get(fleet::view))
        .route("/v1/fleet/plans", get(fleet::plans))
        .route("/v1/fleet/plans/{id}", get(fleet::one))
        .route("/v1/daemon", get(daemon::about))
        .route("/health", get(health::health))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(daemon::metrics))
        .route_layer(middleware::from_fn(access::may_read));
    let operate = Router::new()
        .route("/v1/orders", post(orders::order))
        .route("/v1/check", post(check::pass))
        .route("/v1/fleet/plans", post(fleet::begin))
        .route("/v1/fleet/plans/{id}", post(fleet::say))
        .route("/v1/alerts/silence", post(alerts::silence_for))
        .route("/v1/alerts/unsilence", post(alerts::unsilence))
        .route("/v1/alerts/ack", post(alerts::acknowledge))
        .route("/v1/alerts/test", post(alerts::test))
        .route_layer(middleware::from_fn(access::may_operate));
    let admin = Router::new()
        .route("/admin/reload", post(daemon::reload))
        .route("/admin/upgrade", post(daemon::upgrade))
        .route_layer(middleware::from_fn(access::may_administer));
    read.merge(operate).merge(admin).fallback(problem::no_such_path).with_state(handle)
}
