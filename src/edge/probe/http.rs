//! One HTTP request, and what the answer says about health.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Incoming,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use super::Prober;
use crate::{edge::tls, unit::spec::HttpCheck};

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What we call ourselves, for the logs of those we probe.
const AGENT: &str = concat!("roundsman-probe/", env!("CARGO_PKG_VERSION"));

/// A request with all values filled in. It may hold secrets: what fails is told by the unit's own text.
pub(super) struct Filled {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How much of the answer's body is read.
    pub(super) limit: usize,
}

/// An answer, as far as it was read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The body goes on.
    pub(super) cut: bool,
}

impl Prober {
    /// Sends one request, and says what came.
    pub(super) async fn send(&self, check: &HttpCheck, request: Filled) -> Result<Answer, String> {
        let Filled { uri, headers, body, limit } = request;
        let made = make(check, &uri, headers, body)?;
        match (uri.scheme_str(), &check.unix_socket) {
            (_, Some(path)) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| format!("cannot connect to {}: {error}", path.display()))?;
                exchange(stream, made, limit).await
            }
            (Some("http"), None) => {
                let (stream, _) = self.connect_to(&uri, 80).await?;
                exchange(stream, made, limit).await
            }
            (Some("https"), None) => {
                let (stream, host) = self.connect_to(&uri, 443).await?;
                let stream = self.shield(stream, &host, &check.tls).await?;
                exchange(stream, made, limit).await
            }
            (_, None) => Err(format!("the url {:?} is neither http nor https", check.url)),
        }
    }

    /// A connection to the host of a URL, and that host.
    async fn connect_to(&self, uri: &Uri, port: u16) -> Result<(TcpStream, String), String> {
        let host = uri.host().unwrap_or_default();
        let stream = self.connect(&format!("{host}:{}", uri.port_u16().unwrap_or(port))).await?;
        Ok((stream, host.to_owned()))
    }
}

/// Posts XML; the body of an answer that is good and not longer than `limit`.
pub(super) async fn post(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
    authorization: Option<String>,
    body: String,
    limit: usize,
) -> Result<String, String> {
    let unfit = |error: hyper::http::Error| format!("cannot ask {host}: {error}");
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "text/xml");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let answer = exchange(stream, request.body(Full::new(Bytes::from(body))).map_err(unfit)?, limit).await?;
    if !answer.status.is_success() {
        return Err(format!("status {}", answer.status.as_u16()));
    }
    if answer.cut {
        return Err("the answer is too long".to_owned());
    }
    String::from_utf8(answer.body).map_err(|_| "the answer is no text".to_owned())
}

/// Whom we say we are, and what else each request bears.
pub(super) fn own_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers
}

fn make(check: &HttpCheck, uri: &Uri, mut headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let unfit = |error: hyper::http::Error| format!("cannot ask {:?}: {error}", check.url);
    let method =
        Method::from_bytes(check.method.as_bytes()).map_err(|_| format!("{:?} is no HTTP method", check.method))?;
    let mut request = Request::builder().method(method).uri(target).body(Full::new(body)).map_err(unfit)?;
    if let (Some(authority), false) = (uri.authority(), headers.contains_key(HOST)) {
        // A name and password in a URL are no part of the host.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        headers.insert(HOST, HeaderValue::try_from(host).map_err(|error| unfit(error.into()))?);
    }
    *request.headers_mut() = headers;
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Answer, String> {
    let broken = |error: hyper::Error| format!("the answer is broken: {}", tls::in_words(&error));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Dropped with this future, and the connection with it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    let (body, cut) = read(body, limit).await.map_err(broken)?;
    Ok(Answer { status: head.status, headers: head.headers, body, cut })
}

async fn read(mut incoming: Incoming, limit: usize) -> hyper::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = limit - body.len();
        if data.len() > room {
            body.extend_from_slice(&data[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&data);
    }
    Ok((body, false))
}

/// Whether an answer is as expected.
pub(super) fn judge(check: &HttpCheck, answer: &Answer) -> Result<(), String> {
    let status = answer.status.as_u16();
    let good =
        if check.expect_status.is_empty() { answer.status.is_success() } else { check.expect_status.contains(&status) };
    if !good {
        let wanted: Vec<String> = check.expect_status.iter().map(ToString::to_string).collect();
        let wanted = if wanted.is_empty() { "2xx".to_owned() } else { wanted.join(", ") };
        return Err(format!("status {status}, expected {wanted}"));
    }
    let part = if answer.cut { format!("the first {} of the body", check.body_max) } else { "the body".to_owned() };
    if let Some(text) = &check.expect_body
        && !contains(&answer.body, text.as_bytes())
    {
        return Err(format!("{text:?} is not in {part}"));
    }
    if check.expect_json.is_empty() {
        return Ok(());
    }
    let json = json(check, answer)?;
    for (pointer, wanted) in &check.expect_json {
        let found = json.pointer(pointer);
        // What is no JSON text is meant as a string.
        let wanted = serde_json::from_str(wanted).unwrap_or_else(|_| serde_json::Value::from(&**wanted));
        match found {
            Some(found) if *found == wanted => {}
            Some(found) => return Err(format!("{pointer} is {found}, expected {wanted}")),
            None => return Err(format!("{pointer} is not in the body, expected {wanted}")),
        }
    }
    Ok(())
}

/// The body as JSON.
pub(super) fn json(check: &HttpCheck, answer: &Answer) -> Result<serde_json::Value, String> {
    if answer.cut {
        return Err(format!("the body is longer than {}, so its JSON cannot be read", check.body_max));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("the body is no JSON: {error}"))
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}
