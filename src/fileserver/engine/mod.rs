//! The HTTP engine: turns hyper's requests into heads, asks `decide`, moves bytes between sockets and `store`.
//!
//! The only code here that knows an HTTP library. File reads and writes are made in line, because they hit the page
//! cache and a thread pool costs more than they do; only what waits for the disk (publishing) goes to a thread.

mod body; // answers on their way out
mod put; // a file on its way in

use std::{
    convert::Infallible,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, ORIGIN, RANGE, TRANSFER_ENCODING,
    },
    http::request::Parts,
};
use tokio::time::Instant;

use crate::{
    base::Chain,
    web::{Connections, RequestId, Shutdown},
};

use super::{
    answer::Answer,
    condition::Conditions,
    decide::{Head, Length, Page, Rules, Verdict, decide},
    metrics::{self, Metrics, Scrape},
    path::ObjectPath,
    refusal::{PAGE_METHODS, Refusal},
    store::Store,
};
use body::AnswerBody;
use put::Inbound;

/// Everything a request may need; one for the process.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) rules: RwLock<Arc<Rules>>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    pub(super) connections: Arc<Connections>,
}

impl Server {
    /// The rules of this moment; a request keeps those it began with.
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exchanges the rules for all requests to come.
    pub(super) fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Answers one request of the public listener.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let begun = Instant::now();
        let (parts, body) = request.into_parts();
        let mut body = Inbound::new(body, parts.headers.contains_key(EXPECT));
        let head = head(&parts);
        let (answer, file) = self.carry_out(&head, &mut body).await;
        let status = answer.status;
        let mut response = body::response(answer.for_origin(text(&parts.headers, ORIGIN)), file, &self.metrics);
        if body.is_unread() {
            // What follows on this connection would be the rest of the body, not a request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            body.linger();
        }
        self.metrics.answered(head.method, status.as_u16(), begun.elapsed());
        let id = parts.extensions.get::<RequestId>().map(tracing::field::display);
        // The path is the slot's; the query holds the right to use it and is not for logs.
        tracing::debug!(request_id = id, method = head.method, path = head.path, status = status.as_u16(), "answered");
        Ok(response)
    }

    async fn carry_out(&self, head: &Head<'_>, body: &mut Inbound) -> (Answer, Option<OwnedFd>) {
        let rules = self.rules();
        match decide(head, &rules) {
            Verdict::Health(page) => (Answer::page(page, self.shutdown.is_leaving()), None),
            Verdict::Options { allow } => (Answer::options(allow), None),
            Verdict::Get(path) => self.get(head, &path),
            Verdict::Put(put) => {
                let outcome = self.put(&put, &rules, body).await;
                match outcome {
                    Ok(facts) => (Answer::created(&put, &facts, &rules.base_path), None),
                    Err(refusal) => (self.refuse_upload(head, &refusal), None),
                }
            }
            Verdict::Refuse(refusal) if head.method == "PUT" => (self.refuse_upload(head, &refusal), None),
            Verdict::Refuse(refusal) => (Answer::refusal(&refusal), None),
        }
    }

    fn refuse_upload(&self, head: &Head<'_>, refusal: &Refusal) -> Answer {
        self.metrics.upload_failed(refusal.reason());
        let media_type = head.media_type.map(String::from_utf8_lossy);
        // All that was signed, for the one who wonders why it does not match; never the signature itself.
        tracing::debug!(
            path = head.path,
            length = ?head.length,
            media_type = media_type.as_deref(),
            reason = refusal.reason(),
            "upload refused"
        );
        Answer::refusal(refusal)
    }

    fn get(&self, head: &Head<'_>, path: &ObjectPath) -> (Answer, Option<OwnedFd>) {
        match self.store.find(path) {
            Ok(Some(stored)) => {
                self.metrics.downloads.add(u64::from(head.method == "GET"));
                (Answer::file(head, path, &stored.found, boundary), Some(stored.file))
            }
            Ok(None) => (Answer::refusal(&Refusal::NotFound), None),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "cannot serve a file");
                (Answer::refusal(&Refusal::Store), None)
            }
        }
    }

    /// Answers one request of the listener for metrics and health.
    pub(super) async fn answer_admin(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let is_read = matches!(request.method(), &Method::GET | &Method::HEAD);
        let page = |page| Answer::page(page, self.shutdown.is_leaving());
        let answer = match request.uri().path() {
            _ if !is_read => Answer::refusal(&Refusal::Method { allow: PAGE_METHODS }),
            "/health" => page(Page::Health),
            "/healthz" => page(Page::Alive),
            "/readyz" => page(Page::Ready),
            "/metrics" => Answer::page_of(metrics::MEDIA_TYPE, self.metrics.render(self.scrape())),
            _ => Answer::refusal(&Refusal::NotFound),
        };
        Ok(body::response(answer, None, &self.metrics))
    }

    fn scrape(&self) -> Scrape {
        Scrape {
            connections_open: self.connections.open(),
            connections_accepted: self.connections.accepted(),
            storage_free: self.store.available().ok(),
            is_draining: self.shutdown.is_leaving(),
        }
    }
}

/// Takes from a request what the rules look at.
fn head(parts: &Parts) -> Head<'_> {
    let headers = &parts.headers;
    // hyper has refused a Content-Length that is no number or contradicts another; chunked wins over it (RFC 9112, 6.3).
    let length = match text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok()) {
        Some(length) if !headers.contains_key(TRANSFER_ENCODING) => Length::Bytes(length),
        Some(_) | None => Length::Unknown,
    };
    Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        length,
        media_type: headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes),
        range: text(headers, RANGE),
        conditions: Conditions {
            if_match: text(headers, IF_MATCH),
            if_unmodified_since: text(headers, IF_UNMODIFIED_SINCE),
            if_none_match: text(headers, IF_NONE_MATCH),
            if_modified_since: text(headers, IF_MODIFIED_SINCE),
            if_range: text(headers, IF_RANGE),
        },
    }
}

/// The value of a header field, if it is ASCII text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Separates the parts of a multipart answer; random, so that no stored file can hold it.
fn boundary() -> String {
    let mut random = [0; 16];
    // Without randomness the ranges still can be told apart by their lengths.
    let _fallible = getrandom::fill(&mut random).is_err();
    URL_SAFE_NO_PAD.encode(random)
}
