use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Map, Value};

/// A problem document: what went wrong, for a program and for a person. Source: RFC 9457.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status, repeated in the body.
    pub status: StatusCode,
    /// The kind of problem in a few words; the same for all problems of a kind.
    pub title: &'static str,
    /// This case, in words for the one who asked.
    pub detail: Option<String>,
    /// Members of its own, such as `errors` or `unit`.
    pub members: Map<String, Value>,
}

impl Problem {
    /// A problem of a kind that has no page of its own (`type` is `about:blank`).
    pub fn new(status: StatusCode, title: &'static str) -> Self {
        Self { status, title, detail: None, members: Map::new() }
    }

    /// Adds what happened in this case.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a member; the names RFC 9457 gives a meaning to are kept for the fields above.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The document as JSON.
    pub fn to_json(&self) -> Bytes {
        let mut document = self.members.clone();
        document.insert("type".to_owned(), "about:blank".into());
        document.insert("title".to_owned(), self.title.into());
        document.insert("status".to_owned(), self.status.as_u16().into());
        if let Some(detail) = &self.detail {
            document.insert("detail".to_owned(), detail.as_str().into());
        }
        Bytes::from(Value::Object(document).to_string())
    }

    /// The media type of the document.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// The answer that carries the document.
    pub fn response(&self) -> hyper::Response<Full<Bytes>> {
        let mut response = hyper::Response::new(Full::new(self.to_json()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response().map(Body::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_the_rfc_and_its_own() {
        let problem = Problem::new(StatusCode::CONFLICT, "name is taken").detail("a/b exists").member("unit", "web");
        let value: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "name is taken", "status": 409, "detail": "a/b exists", "unit": "web",
        });
        assert_eq!(value, expected);
        assert_eq!(problem.response().headers()[CONTENT_TYPE], "application/problem+json");
    }
}
