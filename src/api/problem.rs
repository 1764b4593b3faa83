//! Errors of the API as problem documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, header};

use crate::{base::Chain, edge::store::StoreError, engine::Gone, wire::v1::Problem};

/// A request that did not come about.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into() }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad request", detail)
    }

    pub(super) fn unknown_unit(name: &str, similar: Option<&str>) -> Self {
        let hint = similar.map_or_else(
            || "supervisorctl list shows all units".to_owned(),
            |similar| format!("did you mean {similar}?"),
        );
        Self::new(StatusCode::NOT_FOUND, "unknown unit", format!("there is no unit {name:?}; {hint}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<Gone> for Failure {
    fn from(gone: Gone) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", gone.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store unavailable", Chain(&error).to_string())
    }
}

pub(super) async fn no_such_path() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "no such path", "the API's paths begin with /v1/")
}
