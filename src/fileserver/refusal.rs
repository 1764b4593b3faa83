//! Every "no" with its status, its word in metrics and its problem document. Pure.

use hyper::{
    StatusCode,
    header::{ALLOW, CONTENT_RANGE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::web::Problem;

use super::{path::PathError, token::CredentialError};

/// What may be done to a file.
pub(super) const FILE_METHODS: &str = "OPTIONS, HEAD, GET, PUT";
/// What may be done to the upload API.
pub(super) const API_METHODS: &str = "POST, OPTIONS";
/// What may be done to the health pages.
pub(super) const PAGE_METHODS: &str = "GET, HEAD";

/// Why a request is not granted; each has one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// PUT to what can be no name.
    Path(PathError),
    /// A Content-Type longer than any we keep.
    MediaType,
    /// PUT without the right to do so.
    Credential(CredentialError),
    /// The signature is not that of this path, length and type.
    Signature,
    /// POST to the upload API without credentials.
    ApiCredential,
    /// Chunked or without length: the length is part of what is signed.
    NoLength,
    /// Larger than the server takes.
    TooLarge {
        /// `max_upload_size`.
        limit: u64,
    },
    /// The name is taken.
    Exists,
    /// Writing it would leave less than `min_free_bytes`.
    NoSpace,
    /// The body ended before its declared length.
    ShortBody,
    /// The body came too slowly.
    SlowBody,
    /// No such file.
    NotFound,
    /// A method this resource does not have.
    Method {
        /// Those it has.
        allow: &'static str,
    },
    /// A condition of the request does not hold.
    Precondition,
    /// No range lies within the file.
    Range {
        /// Bytes of the file.
        size: u64,
    },
    /// The store failed; the log says how.
    Store,
}

impl Refusal {
    /// The status line.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Path(_) | Self::MediaType | Self::ShortBody => StatusCode::BAD_REQUEST,
            Self::Credential(_) | Self::Signature => StatusCode::FORBIDDEN,
            Self::ApiCredential => StatusCode::UNAUTHORIZED,
            Self::NoLength => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Exists => StatusCode::CONFLICT,
            Self::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Store => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One word for metrics and logs; a closed list.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::MediaType => "media_type",
            Self::Credential(_) => "credential",
            Self::Signature => "signature",
            Self::ApiCredential => "api_credential",
            Self::NoLength => "no_length",
            Self::TooLarge { .. } => "too_large",
            Self::Exists => "exists",
            Self::NoSpace => "no_space",
            Self::ShortBody => "short_body",
            Self::SlowBody => "slow_body",
            Self::NotFound => "not_found",
            Self::Method { .. } => "method",
            Self::Precondition => "precondition",
            Self::Range { .. } => "range",
            Self::Store => "store",
        }
    }

    /// Header fields that the status requires.
    pub(super) fn fields(&self) -> Vec<(HeaderName, String)> {
        match self {
            Self::Method { allow } => vec![(ALLOW, (*allow).to_owned())],
            Self::ApiCredential => vec![(WWW_AUTHENTICATE, "Bearer realm=\"upload\"".to_owned())],
            Self::Range { size } => vec![(CONTENT_RANGE, format!("bytes */{size}"))],
            // Space comes back when old files go; the client need not hurry.
            Self::NoSpace => vec![(RETRY_AFTER, "300".to_owned())],
            Self::Path(_)
            | Self::MediaType
            | Self::Credential(_)
            | Self::Signature
            | Self::NoLength
            | Self::TooLarge { .. }
            | Self::Exists
            | Self::ShortBody
            | Self::SlowBody
            | Self::NotFound
            | Self::Precondition
            | Self::Store => Vec::new(),
        }
    }

    /// The body of the answer; it says nothing that only the operator should know.
    pub(super) fn problem(&self) -> Problem {
        let problem = |title| Problem::new(self.status(), title);
        match self {
            Self::Path(error) => problem("bad path").detail(error.to_string()),
            Self::MediaType => problem("bad media type").detail("Content-Type is too long"),
            Self::Credential(error) => problem("not allowed to upload").detail(error.to_string()),
            Self::Signature => {
                problem("not allowed to upload").detail("the signature does not match this path, length and media type")
            }
            Self::ApiCredential => problem("credentials needed"),
            Self::NoLength => {
                problem("length required").detail("send Content-Length; a signed upload has a fixed length")
            }
            Self::TooLarge { limit } => problem("file too large").member("max_upload_size", *limit),
            Self::Exists => problem("name is taken").detail("a stored file is never overwritten; ask for a new slot"),
            Self::NoSpace => problem("no space left for this file"),
            Self::ShortBody => problem("body too short").detail("the body ended before its declared length"),
            Self::SlowBody => problem("body too slow"),
            Self::NotFound => problem("no such file"),
            Self::Method { .. } => problem("method not allowed"),
            Self::Precondition => problem("precondition failed"),
            Self::Range { .. } => problem("range not satisfiable"),
            Self::Store => problem("the file could not be stored or read"),
        }
    }
}
