//! The API as functions: JSON there and back, problem documents as errors.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    http::{self, Body, HttpError, Request, Wait, briefly},
    target::{SYSTEM_SOCKET, Target, Token},
};
use crate::wire::v1::Problem;

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The way there or back.
    #[error(transparent)]
    Http(HttpError),
    /// The daemon said no, and why.
    #[error("{}", in_words(.0))]
    Problem(Problem),
    /// The daemon said no, but not in the form that was agreed.
    #[error("cannot get {path}: the daemon answered status {status}")]
    Status { path: String, status: u16 },
    /// The daemon's answer is not what this version understands.
    #[error("cannot understand the daemon's answer for {path}")]
    Json { path: String, source: serde_json::Error },
}

/// The case in words; the kind, when there are none.
fn in_words(problem: &Problem) -> &str {
    if problem.detail.is_empty() { &problem.title } else { &problem.detail }
}

impl CallError {
    /// The likely remedy. A problem document brings its own.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Http(HttpError::Connect { target, source }) => Some(match (source.kind(), target) {
                (io::ErrorKind::PermissionDenied, Target::Unix(_)) => {
                    "use sudo, or join the group: usermod -aG roundsman $USER, then log in anew (without that group: \
                     groupadd --system roundsman first, and start the daemon anew)"
                        .to_owned()
                }
                (_, Target::Unix(path)) => {
                    let system = format!(" (the system's is {SYSTEM_SOCKET})");
                    format!(
                        "is supervisord running? start it with `supervisord --config /etc/roundsman/roundsman.toml`, \
                         or say where it is with --socket PATH or $ROUNDSMAN_SOCKET{}",
                        if path.as_os_str() == SYSTEM_SOCKET { "" } else { &system }
                    )
                }
                (_, Target::Tcp(_)) => "is supervisord running, and does it listen on TCP?".to_owned(),
            }),
            Self::Http(HttpError::Silent { .. }) => {
                Some("the daemon is stopped or overloaded: look at its own log, and at its manager process".to_owned())
            }
            Self::Http(HttpError::Cut(_) | HttpError::Receive { .. } | HttpError::Send { .. }) => {
                Some("the daemon may just have been restarted: try again".to_owned())
            }
            Self::Http(HttpError::NotHttp { .. } | HttpError::TooLarge { .. }) => {
                Some("is that address supervisord's?".to_owned())
            }
            Self::Problem(problem) if problem.status == 401 => {
                Some("present the token with --token-file FILE, or use the unix socket".to_owned())
            }
            Self::Status { status: 404 | 405, .. } | Self::Json { .. } => Some(
                "supervisorctl and supervisord may be of different versions: compare `--version` of both".to_owned(),
            ),
            Self::Http(HttpError::Interrupted) | Self::Problem(_) | Self::Status { .. } => None,
        }
    }

    /// Whether the daemon does not know a unit that was named.
    pub(crate) const fn is_unknown_unit(&self) -> bool {
        matches!(self, Self::Problem(Problem { status: 404, .. }))
    }

    /// Whether nobody listens there: no daemon, as opposed to one that refuses or hangs.
    pub(crate) fn is_no_daemon(&self) -> bool {
        let gone = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Http(HttpError::Connect { source, .. }) if gone.contains(&source.kind()))
    }
}

/// An answer, as it came and as it was understood. What came may say more than this version knows.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// JSON.
    pub(crate) raw: Vec<u8>,
    /// What it says.
    pub(crate) value: T,
}

/// Calls the API at one place.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where.
    pub(crate) target: Target,
    /// What it presents there.
    pub(crate) token: Option<Token>,
}

impl Client {
    /// Gets JSON that is there at once.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CallError> {
        let mut wait = briefly;
        let body = self.open(&Request { path, body: None, accept: "application/json" }, &mut wait)?;
        understand(path, body)
    }

    /// The same, as it came: what is understood of it may borrow from it.
    pub(crate) fn get_raw(&self, path: &str) -> Result<Vec<u8>, CallError> {
        let mut wait = briefly;
        let body = self.open(&Request { path, body: None, accept: "application/json" }, &mut wait)?;
        body.read_all().map_err(CallError::Http)
    }

    /// The same, for an answer that may take as long as `wait` likes.
    pub(crate) fn get_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        wait: Wait<'_>,
    ) -> Result<Answer<T>, CallError> {
        understand(path, self.open(&Request { path, body: None, accept: "application/json" }, wait)?)
    }

    /// Posts JSON and waits for the answer as long as `wait` likes.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
        wait: Wait<'_>,
    ) -> Result<Answer<T>, CallError> {
        let encoded = serde_json::to_vec(value).map_err(|source| CallError::Json { path: path.to_owned(), source })?;
        understand(path, self.open(&Request { path, body: Some(&encoded), accept: "application/json" }, wait)?)
    }

    /// Gets a body that is read as it comes.
    pub(crate) fn stream<'a>(&self, path: &str, accept: &str, wait: Wait<'a>) -> Result<Body<'a>, CallError> {
        self.open(&Request { path, body: None, accept }, wait)
    }

    fn open<'a>(&self, request: &Request<'_>, wait: Wait<'a>) -> Result<Body<'a>, CallError> {
        let response = http::send(&self.target, self.token.as_ref(), request, wait).map_err(CallError::Http)?;
        if (200..300).contains(&response.status) {
            return Ok(response.body);
        }
        let status = response.status;
        let body = response.body.read_all().map_err(CallError::Http)?;
        Err(match serde_json::from_slice(&body) {
            Ok(problem) => CallError::Problem(problem),
            Err(_) => CallError::Status { path: request.path.to_owned(), status },
        })
    }
}

fn understand<T: DeserializeOwned>(path: &str, body: Body<'_>) -> Result<Answer<T>, CallError> {
    let raw = body.read_all().map_err(CallError::Http)?;
    let value = understood(path, &raw)?;
    Ok(Answer { raw, value })
}

/// What an answer says.
pub(crate) fn understood<'de, T: Deserialize<'de>>(path: &str, raw: &'de [u8]) -> Result<T, CallError> {
    serde_json::from_slice(raw).map_err(|source| CallError::Json { path: path.to_owned(), source })
}

/// A path with its query: `pairs` in order, values encoded.
pub(crate) fn path_with(path: &str, pairs: &[(&str, String)]) -> String {
    let mut whole = path.to_owned();
    for (index, (name, value)) in pairs.iter().enumerate() {
        whole.push(if index == 0 { '?' } else { '&' });
        whole.push_str(name);
        whole.push('=');
        whole.push_str(&encoded(value));
    }
    whole
}

/// `text` as one segment of a path or one value of a query (RFC 3986: all but the unreserved characters).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half & 15)]);
            out.extend(['%', digit(byte >> 4), digit(byte)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_travel_encoded() {
        let pairs = [("unit", "a@b".to_owned()), ("unit", "dev\\x2d:é".to_owned())];
        assert_eq!(path_with("/v1/units", &pairs), "/v1/units?unit=a%40b&unit=dev%5Cx2d%3A%C3%A9");
        assert_eq!(path_with("/v1/units", &[]), "/v1/units");
    }

    #[test]
    fn only_an_absent_daemon_counts_as_absent() {
        let connect = |kind: io::ErrorKind| {
            let target = Target::Unix("/s".into());
            CallError::Http(HttpError::Connect { target, source: kind.into() })
        };
        assert!(connect(io::ErrorKind::NotFound).is_no_daemon());
        assert!(connect(io::ErrorKind::ConnectionRefused).is_no_daemon());
        assert!(!connect(io::ErrorKind::PermissionDenied).is_no_daemon());
        assert!(!connect(io::ErrorKind::WouldBlock).is_no_daemon());
    }
}
