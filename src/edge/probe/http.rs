//! One HTTP request, and what the answer says about health.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Incoming,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use super::Prober;
use crate::{base::Chain, node::input::Finding, unit::spec::HttpCheck};

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What we call ourselves, for the logs of those we probe.
const AGENT: &str = concat!("roundsman-probe/", env!("CARGO_PKG_VERSION"));

/// An answer, as far as it was read.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    /// The body goes on.
    cut: bool,
}

impl Prober {
    pub(super) async fn ask_http(&self, check: &HttpCheck) -> Result<Finding, String> {
        let uri: Uri = check.url.parse().map_err(|error| format!("cannot read the url {:?}: {error}", check.url))?;
        let answer = match (uri.scheme_str(), &check.unix_socket) {
            (_, Some(path)) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| format!("cannot connect to {}: {error}", path.display()))?;
                exchange(stream, request(check, &uri)?, limit(check)).await?
            }
            (Some("http"), None) => {
                let (stream, _) = self.connect_to(&uri, 80).await?;
                exchange(stream, request(check, &uri)?, limit(check)).await?
            }
            (Some("https"), None) => {
                let (stream, host) = self.connect_to(&uri, 443).await?;
                let stream = self.shield(stream, &host, &check.tls).await?;
                exchange(stream, request(check, &uri)?, limit(check)).await?
            }
            (_, None) => return Err(format!("the url {:?} is neither http nor https", check.url)),
        };
        judge(check, &answer).map(|()| Finding::Good)
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

fn limit(check: &HttpCheck) -> usize {
    usize::try_from(check.body_max.0).unwrap_or(usize::MAX)
}

fn method(check: &HttpCheck) -> Result<Method, String> {
    Method::from_bytes(check.method.as_bytes()).map_err(|_| format!("{:?} is no HTTP method", check.method))
}

fn headers(check: &HttpCheck) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &check.headers {
        let unfit = |_| format!("cannot send the header {name:?}");
        let name = HeaderName::try_from(&**name).map_err(|_| format!("cannot send the header {name:?}"))?;
        headers.insert(name, HeaderValue::try_from(&**value).map_err(unfit)?);
    }
    Ok(headers)
}

fn request(check: &HttpCheck, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let unfit = |error: hyper::http::Error| format!("cannot ask {:?}: {error}", check.url);
    let body = Full::new(check.body.as_deref().map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.as_bytes())));
    let mut request = Request::builder().method(method(check)?).uri(target).body(body).map_err(unfit)?;
    let mut headers = headers(check)?;
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
    let broken = |error: hyper::Error| format!("the answer is broken: {}", Chain(&error));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Dropped with this future, and the connection with it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let (body, cut) = read(response.into_body(), limit).await.map_err(broken)?;
    Ok(Answer { status, body, cut })
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

fn judge(check: &HttpCheck, answer: &Answer) -> Result<(), String> {
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
    if answer.cut {
        return Err(format!("the body is longer than {}, so its JSON cannot be read", check.body_max));
    }
    let json: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|error| format!("the body is no JSON: {error}"))?;
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

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}
