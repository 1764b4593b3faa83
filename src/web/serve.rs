use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderName, HeaderValue},
    server::conn::http1,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{self, JoinSet},
    time,
};
use tower::{Service, ServiceExt};

use super::{
    Connections, Listener, Peer, Phase, Shutdown,
    guard::{Guarded, Times},
    listen::Stream,
    track::{Activity, Entered, Tracked, Waiting},
};

/// How long accepting rests after an error that will not go away at once, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Header fields of one request; more are answered 431.
const HEADERS_MAX: usize = 64;
/// Name of the header field that carries the request's id back to the client.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a listener grants its clients. Each bound is there because a client can be hostile.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at once; more wait in the kernel's queue.
    pub connections: usize,
    /// From the first byte of a head (or from connecting) to its last.
    pub header_timeout: Duration,
    /// Silence between two requests.
    pub idle_timeout: Duration,
    /// How long the client may take nothing of an answer.
    pub write_timeout: Duration,
    /// Bytes of a request's head; more are answered 431.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            write_timeout: Duration::from_secs(60),
            header_bytes: 16 * 1024,
        }
    }
}

/// What the listeners of one server share.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// Bounds of each connection.
    pub limits: Limits,
    /// The switch that ends them.
    pub shutdown: Shutdown,
    /// The count of open connections.
    pub connections: Arc<Connections>,
}

/// Names one request in logs and in the header field `x-request-id` of its answer; an extension of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u64);

impl RequestId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        /// Spreads consecutive numbers, so that ids of two processes are not confused at a glance (2^64 / golden ratio).
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let number = (u64::from(std::process::id()) << 40).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        Self(number.wrapping_mul(SPREAD))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Accepts connections and answers them with `service` until the shutdown ends; returns when no connection is left.
///
/// Every request has the extensions [`Peer`] and [`RequestId`]. An axum `Router` is such a service.
pub async fn serve<S, B>(listener: Listener, service: S, server: Server)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(server.limits.connections));
    let mut tasks = JoinSet::new();
    let mut draining = pin!(server.shutdown.reached(Phase::Draining));
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = draining.as_mut() => break,
            accepted = accept_within(&listener, &places) => accepted,
        };
        if let Some((accepted, place)) = accepted {
            let held = (server.connections.enter(), Some(place));
            tasks.spawn(connection(accepted, service.clone(), server.clone(), held));
        }
    }
    // Connections which the kernel has completed but we did not accept would be reset when a socket of our own closes.
    // There are no more than BACKLOG of them, so they need no places.
    while !listener.is_inherited() {
        let Some(Some(accepted)) = task::unconstrained(accept(&listener)).now_or_never() else { break };
        tasks.spawn(connection(accepted, service.clone(), server.clone(), (server.connections.enter(), None)));
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// One connection and its place in the limit.
async fn accept_within(listener: &Listener, places: &Arc<Semaphore>) -> Option<((Stream, Peer), OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    Some((accept(listener).await?, place))
}

/// One connection; `None` after an error, which has been logged.
async fn accept(listener: &Listener) -> Option<(Stream, Peer)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        // The client left the queue: no news, and nothing to wait for.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection; trying again");
            time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection<S, B>(
    (stream, peer): (Stream, Peer),
    service: S,
    server: Server,
    _held: (Entered, Option<OwnedSemaphorePermit>),
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Server { limits, shutdown, .. } = server;
    let activity = Activity::new();
    let times = Times { head: limits.header_timeout, idle: limits.idle_timeout, write: limits.write_timeout };
    let io = TokioIo::new(Guarded::new(stream, activity.clone(), times));
    let answer = Answer { service, peer, activity, shutdown: shutdown.clone() };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Ours are in `Guarded`; hyper's would also end the silence between requests.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_header_size(limits.header_bytes)
        .serve_connection(io, answer);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        biased;
        () = shutdown.reached(Phase::Closing) => None,
        done = connection.as_mut() => Some(done),
    };
    let done = match done {
        Some(done) => done,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Ended) => Ok(()),
                done = connection.as_mut() => done,
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(error = %crate::base::Chain(&error), ?peer, "connection ended early");
    }
}

/// The caller's service with what every answer needs around it.
#[derive(Debug)]
struct Answer<S> {
    service: S,
    peer: Peer,
    activity: Activity,
    shutdown: Shutdown,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Answer<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Unpin,
{
    type Response = Response<Tracked<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.activity.set(Waiting::Answer);
        let id = RequestId::next();
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(id);
        let answer = self.service.clone().oneshot(request);
        let (activity, shutdown) = (self.activity.clone(), self.shutdown.clone());
        Box::pin(async move {
            let mut response = answer.await?;
            let headers = response.headers_mut();
            if let Ok(value) = HeaderValue::try_from(id.to_string()) {
                headers.insert(REQUEST_ID, value);
            }
            if shutdown.phase() >= Phase::Draining {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Tracked::new(body, activity)))
        })
    }
}

#[cfg(test)]
mod tests;
