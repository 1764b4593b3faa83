use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    time::{Instant, sleep, timeout},
};

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) at: Instant,
    /// Request line and headers.
    pub(super) head: String,
    pub(super) body: String,
}

/// What the peer does once it has read a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Writes this and closes.
    Say(String),
    /// Writes this and then nothing for ever.
    Hang(String),
    /// Writes this and then a byte now and then, for ever.
    Trickle(String),
    /// Writes this and then bytes as fast as they are taken, for ever.
    Flood(String),
}

impl Reply {
    pub(super) fn status(status: u16, headers: &str, body: &str) -> Self {
        Self::Say(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
    }
}

/// A server that answers the n-th request (from 0) as a function says.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

type Script = Arc<dyn Fn(usize, &Request) -> Reply + Send + Sync>;

impl Peer {
    pub(super) async fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::answering(move |nth, _| script(nth)).await
    }

    /// A server whose answer depends on what it is asked.
    pub(super) async fn answering(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Script, _) = (Arc::new(script), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { address, requests }
    }

    /// The same on a unix socket.
    pub(super) fn start_unix(path: &Path, script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Script, _) = (Arc::new(move |nth, _: &Request| script(nth)), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), requests }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits for the n-th request (from 1) and returns all.
    pub(super) async fn arrived(&self, count: usize) -> Vec<Request> {
        let enough = async {
            while self.requests().len() < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), enough).await.unwrap_or_else(|_| panic!("{count} requests: {self:?}"));
        self.requests()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, seen: Arc<Mutex<Vec<Request>>>) {
    let Some(request) = read(&mut stream).await else { return };
    let nth = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = script(nth, &request);
    let (Reply::Say(text) | Reply::Hang(text) | Reply::Trickle(text) | Reply::Flood(text)) = &reply;
    stream.write_all(text.as_bytes()).await.ok();
    match reply {
        Reply::Say(_) => {}
        Reply::Hang(_) => std::future::pending().await,
        Reply::Trickle(_) => {
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        Reply::Flood(_) => while stream.write_all(&[b'x'; 65536]).await.is_ok() {},
    }
    stream.shutdown().await.ok();
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = bytes.split_off(head_end);
    while body.len() < length.unwrap_or(0) {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&chunk[..n]);
    }
    Some(Request { at: Instant::now(), head, body: String::from_utf8_lossy(&body).into_owned() })
}
