//! A small blocking HTTP/1.1 client: one request per connection, over a unix socket or TCP.
//!
//! It exists because `status` must answer within milliseconds: an async runtime alone would take longer to start.
//! It speaks what our own API speaks (RFC 9112: lengths and chunks, no compression, no redirects), and everything it
//! reads has a limit. While a server is silent, the caller's [`Wait`] is asked at each tick whether to go on.

mod body;
mod connect;
mod incoming;

use std::{io, io::Write, time::Duration};

pub(crate) use body::Body;
use connect::connect;
use incoming::Incoming;

use super::target::{Target, Token};

/// How long one silent read lasts, and so how soon a caller notices that it should stop.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Ticks of silence after which a request that should be answered at once is given up: 30 s.
const SILENT_TICKS_MAX: u32 = 300;
/// For the connection, and for the daemon to take our request.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read as a whole.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What went wrong between us and the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Nobody is there, or we may not talk to them.
    #[error("cannot reach the daemon at {target}")]
    Connect { target: Target, source: io::Error },
    /// The request did not get through.
    #[error("cannot send the request to {target}")]
    Send { target: Target, source: io::Error },
    /// The answer did not get through.
    #[error("cannot read the answer of {target}")]
    Receive { target: Target, source: io::Error },
    /// Nothing came for too long.
    #[error("cannot wait any longer for {target}: it was silent for {} s", .silence.as_secs())]
    Silent { target: Target, silence: Duration },
    /// The connection ended within the answer.
    #[error("cannot read the whole answer of {0}: the connection was cut")]
    Cut(Target),
    /// The answer is not HTTP.
    #[error("cannot understand {target}: {what}")]
    NotHttp { target: Target, what: &'static str },
    /// Larger than we read.
    #[error("cannot read the answer of {target}: {what} is larger than {limit} bytes")]
    TooLarge { target: Target, what: &'static str, limit: usize },
    /// The user has had enough.
    #[error("interrupted")]
    Interrupted,
}

/// Asked at each tick of silence, with the number of ticks so far; an error ends the request.
pub(crate) type Wait<'a> = &'a mut dyn FnMut(u32) -> Result<(), Stop>;

/// Why a [`Wait`] ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It took too long.
    Silent,
    /// The user wants no more.
    Interrupted,
}

/// The patience for answers that should come at once.
pub(crate) fn briefly(ticks: u32) -> Result<(), Stop> {
    if ticks >= SILENT_TICKS_MAX { Err(Stop::Silent) } else { Ok(()) }
}

/// A request; the method follows from whether there is a body.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Path and query, encoded.
    pub(crate) path: &'a str,
    /// What is posted; `None` gets.
    pub(crate) body: Option<&'a [u8]>,
    /// What we want to read.
    pub(crate) accept: &'a str,
}

/// The head of an answer, and its body to be read.
pub(crate) struct Response<'a> {
    /// 200 …
    pub(crate) status: u16,
    /// What follows.
    pub(crate) body: Body<'a>,
}

/// Sends `request` to `target` and reads the head of the answer.
pub(crate) fn send<'a>(
    target: &Target,
    token: Option<&Token>,
    request: &Request<'_>,
    wait: Wait<'a>,
) -> Result<Response<'a>, HttpError> {
    let mut stream = connect(target).map_err(|source| HttpError::Connect { target: target.clone(), source })?;
    let sent = stream.write_all(&encode(target, token, request));
    let mut incoming = Incoming::new(stream, target.clone(), wait);
    // A daemon that refuses a request may answer and close before it has read all of it: its answer comes first.
    let head = match (incoming.read_head(), sent) {
        (Ok(head), _) => head,
        (Err(_), Err(source)) => return Err(HttpError::Send { target: target.clone(), source }),
        (Err(error), Ok(())) => return Err(error),
    };
    Ok(Response { status: head.status, body: Body::new(incoming, head.framing) })
}

/// The bytes of a request.
fn encode(target: &Target, token: Option<&Token>, request: &Request<'_>) -> Vec<u8> {
    let method = if request.body.is_some() { "POST" } else { "GET" };
    let host = match target {
        Target::Unix(_) => "localhost".to_owned(),
        Target::Tcp(address) => address.to_string(),
    };
    let agent = concat!("supervisorctl/", env!("CARGO_PKG_VERSION"));
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: {}\r\nConnection: close\r\n",
        request.path, request.accept
    );
    if let Some(token) = token {
        head.push_str("Authorization: Bearer ");
        head.push_str(token.reveal());
        head.push_str("\r\n");
    }
    if let Some(body) = request.body {
        let length = body.len().to_string();
        head.push_str("Content-Type: application/json\r\nContent-Length: ");
        head.push_str(&length);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(request.body.unwrap_or_default());
    bytes
}

#[cfg(test)]
mod tests;
