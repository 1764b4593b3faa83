//! What to send, for every case: status, header fields, pieces of body. Pure.
//!
//! Every answer carries the safety fields; a change here usually breaks what browsers and XMPP clients are promised.

use std::ops::Range;

use hyper::{
    StatusCode,
    header::{
        ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
        CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
        LAST_MODIFIED, LOCATION, REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use crate::web::Problem;

use super::{
    condition::{FileFacts, Outcome},
    decide::{Head, Page, Put},
    media::{disposition, media_type},
    path::{BasePath, ObjectPath},
    range::Wanted,
    refusal::Refusal,
};

/// Fields of every answer: a stored file must not run as a page of ours. Source: XEP-0363, security considerations.
const SAFETY: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    (REFERRER_POLICY, "no-referrer"),
];
/// How long a browser may remember what OPTIONS said, seconds.
const PREFLIGHT_AGE: &str = "7200";
/// A stored file never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// What to send: the seam between the decisions and any HTTP engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status line.
    pub status: StatusCode,
    /// Header fields; Content-Length is among them only where no body follows.
    pub fields: Vec<(HeaderName, String)>,
    /// The body, in order.
    pub body: Vec<Piece>,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This part of the file.
    File(Range<u64>),
}

impl Answer {
    fn new(status: StatusCode) -> Self {
        let safety = SAFETY.map(|(name, value)| (name, value.to_owned()));
        Self { status, fields: Vec::from(safety), body: Vec::new() }
    }

    fn field(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn text(self, media_type: &str, text: &str) -> Self {
        let answer = self.field(CONTENT_TYPE, media_type);
        Self { body: vec![Piece::Bytes(text.as_bytes().to_vec())], ..answer }
    }

    /// No.
    pub fn refusal(refusal: &Refusal) -> Self {
        let mut answer = Self::new(refusal.status());
        answer.fields.extend(refusal.fields());
        answer.fields.push((CONTENT_TYPE, Problem::MEDIA_TYPE.to_owned()));
        answer.body.push(Piece::Bytes(refusal.problem().to_json().to_vec()));
        answer
    }

    /// A health page.
    pub fn page(page: Page, is_leaving: bool) -> Self {
        let json = "application/json";
        let answer = match (page, is_leaving) {
            (Page::Alive, _) => Self::new(StatusCode::OK).text(json, r#"{"status":"alive"}"#),
            (Page::Health | Page::Ready, false) => {
                Self::new(StatusCode::OK).text(json, r#"{"status":"healthy","ready":true}"#)
            }
            (Page::Health | Page::Ready, true) => Self::new(StatusCode::SERVICE_UNAVAILABLE)
                .field(RETRY_AFTER, "1")
                .text(json, r#"{"status":"draining","ready":false}"#),
        };
        answer.field(CACHE_CONTROL, "no-store")
    }

    /// A page that is made anew for each request.
    pub fn page_of(media_type: &str, text: String) -> Self {
        let answer = Self::new(StatusCode::OK).field(CONTENT_TYPE, media_type).field(CACHE_CONTROL, "no-store");
        Self { body: vec![Piece::Bytes(text.into_bytes())], ..answer }
    }

    /// What may be done here.
    pub fn options(allow: &'static str) -> Self {
        Self::new(StatusCode::NO_CONTENT).field(ALLOW, allow)
    }

    /// The file is stored and can be fetched.
    pub fn created(put: &Put, facts: &FileFacts, base: &BasePath) -> Self {
        Self::new(StatusCode::CREATED)
            .field(LOCATION, format!("{}{}", base.as_str(), put.path.to_encoded()))
            .field(ETAG, facts.etag().as_str())
    }

    /// The file, a part of it, or why not.
    pub fn file(head: &Head<'_>, path: &ObjectPath, found: &Found, boundary: impl FnOnce() -> String) -> Self {
        let Found { facts, stored_type } = found;
        match head.conditions.evaluate(facts) {
            Outcome::Failed => return Self::refusal(&Refusal::Precondition),
            Outcome::NotModified => return Self::new(StatusCode::NOT_MODIFIED).validators(facts),
            Outcome::Go => {}
        }
        let media_type = media_type(stored_type.clone(), path.file_name());
        let disposition = disposition(&media_type, path.file_name());
        // Range is defined for GET only (RFC 9110, 14.2).
        let range = head.range.filter(|_| head.method == "GET" && head.conditions.range_counts(facts));
        let wanted = Wanted::read(range, facts.size);
        let status = match &wanted {
            Wanted::Nothing => return Self::refusal(&Refusal::Range { size: facts.size }),
            Wanted::Whole => StatusCode::OK,
            Wanted::Parts(_) => StatusCode::PARTIAL_CONTENT,
        };
        let answer =
            Self::new(status).validators(facts).field(ACCEPT_RANGES, "bytes").field(CONTENT_DISPOSITION, disposition);
        match wanted {
            Wanted::Parts(parts) => match parts.as_slice() {
                [part] => answer
                    .field(CONTENT_TYPE, media_type)
                    .field(CONTENT_RANGE, content_range(part, facts.size))
                    .piece(Piece::File(part.clone())),
                parts => answer.multipart(parts, facts.size, &media_type, &boundary()),
            },
            Wanted::Whole | Wanted::Nothing => {
                let answer = answer.field(CONTENT_TYPE, media_type);
                match head.method {
                    "HEAD" => answer.field(CONTENT_LENGTH, facts.size.to_string()),
                    _ => answer.piece(Piece::File(0..facts.size)),
                }
            }
        }
    }

    fn piece(mut self, piece: Piece) -> Self {
        self.body.push(piece);
        self
    }

    fn validators(self, facts: &FileFacts) -> Self {
        self.field(ETAG, facts.etag().as_str())
            .field(LAST_MODIFIED, facts.last_modified())
            .field(CACHE_CONTROL, FOR_EVER)
    }

    /// Several parts in one body. Source: RFC 9110, 14.6.
    fn multipart(mut self, parts: &[Range<u64>], size: u64, media_type: &str, boundary: &str) -> Self {
        for part in parts {
            let range = content_range(part, size);
            let head = format!("\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n");
            self.body.push(Piece::Bytes(head.into_bytes()));
            self.body.push(Piece::File(part.clone()));
        }
        self.body.push(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into_bytes()));
        self.field(CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"))
    }

    /// Adds what a browser needs to let a page of another origin use the answer. Source: XEP-0363, 8.
    ///
    /// The origin is repeated rather than `*`, which browsers refuse together with credentials.
    #[must_use]
    pub fn for_origin(self, origin: Option<&str>) -> Self {
        let answer = self.field(VARY, "Origin");
        let Some(origin) = origin else { return answer };
        answer
            .field(ACCESS_CONTROL_ALLOW_ORIGIN, origin)
            .field(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")
            .field(ACCESS_CONTROL_ALLOW_METHODS, super::refusal::FILE_METHODS)
            .field(ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, Range")
            .field(ACCESS_CONTROL_EXPOSE_HEADERS, "Content-Range, ETag, Location, X-Request-Id")
            .field(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE)
    }
}

/// What the store knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Size and time.
    pub facts: FileFacts,
    /// The type it was uploaded as.
    pub stored_type: Option<String>,
}

fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", part.start, part.end - 1)
}

#[cfg(test)]
mod tests;
