use std::{
    convert::Infallible,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use axum::{Extension, Router, routing::get};
use tokio::task::JoinHandle;

use super::*;

/// A server for one test; its times are short enough to be waited for.
struct World {
    address: String,
    server: Server,
    task: JoinHandle<()>,
}

fn quick() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

fn router() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/who", get(async |Extension(peer): Extension<Peer>| format!("{peer:?}")))
        .route("/big", get(async || vec![7u8; 64 << 20]))
        .route(
            "/slow",
            get(async || {
                time::sleep(Duration::from_millis(400)).await;
                "late"
            }),
        )
}

fn start(limits: Limits) -> World {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    let server = Server { limits, ..Server::default() };
    World { address, task: tokio::spawn(serve(listener, router(), server.clone())), server }
}

fn connect(world: &World) -> TcpStream {
    let client = TcpStream::connect(&world.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

/// Runs blocking client code beside the server.
async fn client<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    task::spawn_blocking(work).await.unwrap()
}

/// Reads one answer whose body is `body`, leaving the connection open.
fn read_answer(client: &mut impl Read, body: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        assert_eq!(client.read(&mut byte).unwrap(), 1, "closed after {text:?}");
        text.push(char::from(byte[0]));
    }
    let mut rest = vec![0; body.len()];
    client.read_exact(&mut rest).unwrap();
    assert_eq!(rest, body.as_bytes());
    text
}

/// How long until the server closes the connection, with or without a reset.
fn time_to_close(client: &mut TcpStream) -> Duration {
    let begun = begin();
    let mut rest = Vec::new();
    if let Err(error) = client.read_to_end(&mut rest) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "not closed");
    }
    begun.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "the test measures what the client sees")]
fn begin() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_slow_heads_are_closed_in_time() {
    let world = start(quick());
    let (mut silent, mut slow) = (connect(&world), connect(&world));
    let took = client(move || time_to_close(&mut silent)).await;
    assert!((250..800).contains(&took.as_millis()), "silent: {took:?}");
    let took = client(move || {
        let begun = begin();
        while slow.write_all(b"G").is_ok() && begun.elapsed() < Duration::from_secs(5) {
            time_to_close_or_wait(&mut slow);
        }
        begun.elapsed()
    })
    .await;
    assert!(took < Duration::from_secs(2), "a byte now and then held the connection for {took:?}");
}

/// Waits a little for the server to close.
fn time_to_close_or_wait(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let _closed = client.read(&mut [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_between_requests_has_its_own_longer_time() {
    let world = start(quick());
    let mut connection = connect(&world);
    let took = client(move || {
        // Together longer than silence may last: each answer begins it anew.
        for _ in 0..4 {
            connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            read_answer(&mut connection, "hello");
            // Longer than a head may take, shorter than silence may last.
            time_to_wait(Duration::from_millis(500));
        }
        time_to_close(&mut connection)
    })
    .await;
    assert!((200..1500).contains(&took.as_millis()), "{took:?}");
}

#[expect(clippy::disallowed_methods, reason = "the client of the test is slow on purpose")]
fn time_to_wait(span: Duration) {
    std::thread::sleep(span);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answer_is_cut() {
    let world = start(quick());
    let mut connection = connect(&world);
    connection.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    client(|| time_to_wait(Duration::from_millis(1500))).await;
    assert_eq!(world.server.connections.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_requests_finish_and_closes_idle_connections_late() {
    let world = start(Limits::default());
    let (mut busy, mut idle, mut quiet) = (connect(&world), connect(&world), connect(&world));
    client(move || {
        for connection in [&mut idle, &mut quiet] {
            connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let head = read_answer(connection, "hello");
            assert!(!head.contains("connection: close"), "{head}");
        }
        busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        time_to_wait(Duration::from_millis(100));
        let shutdown = world.server.shutdown.clone();
        shutdown.advance(Phase::Draining);
        // A request on a kept connection, sent while we drain, is still answered, and is the last there.
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let head = read_answer(&mut idle, "hello");
        assert!(head.contains("connection: close"), "{head}");
        assert!(time_to_close(&mut idle) < Duration::from_secs(1));
        shutdown.advance(Phase::Closing);
        assert!(time_to_close(&mut quiet) < Duration::from_secs(1));
        let head = read_answer(&mut busy, "late");
        assert!(head.contains("connection: close"), "{head}");
        assert!(TcpStream::connect(&world.address).is_err(), "still accepts");
        world.task
    })
    .await
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_drain_cuts_what_is_left() {
    let world = start(Limits::default());
    let mut stuck = connect(&world);
    stuck.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    time::sleep(Duration::from_millis(100)).await;
    world.server.shutdown.advance(Phase::Ended);
    time::timeout(Duration::from_secs(2), world.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_limit_wait_for_a_place() {
    let world = start(Limits { connections: 1, ..Limits::default() });
    let (mut first, mut second) = (connect(&world), connect(&world));
    client(move || {
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        read_answer(&mut first, "hello");
        second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(second.read(&mut [0]).is_err(), "the second was served beside the first");
        drop(first);
        second.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        read_answer(&mut second, "hello");
        assert_eq!(world.server.connections.accepted(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_in_the_queue_when_a_drain_begins_is_still_answered() {
    let world = start(Limits { connections: 1, ..Limits::default() });
    let (mut first, mut second) = (connect(&world), connect(&world));
    client(move || {
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        read_answer(&mut first, "hello");
        second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        world.server.shutdown.advance(Phase::Draining);
        read_answer(&mut second, "hello");
        drop(first);
        world.task
    })
    .await
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_peer_comes_with_its_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = Listener::unix(&path, 0o600).unwrap();
    let server = Server::default();
    let task = tokio::spawn(serve(listener, router(), server.clone()));
    let text = client(move || {
        let mut connection = UnixStream::connect(&path).unwrap();
        connection.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        text
    })
    .await;
    let uid = nix::unistd::getuid();
    assert!(text.contains(&format!("pid: Some({}), uid: {uid}", std::process::id())), "{text}");
    assert!(text.contains("x-request-id: "), "{text}");
    server.shutdown.advance(Phase::Ended);
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_past_its_limit_is_refused() {
    let world = start(Limits { header_bytes: 8192, ..Limits::default() });
    let mut connection = connect(&world);
    let text = client(move || {
        let filler = "a".repeat(10_000);
        connection.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\nx: {filler}\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        let _closed = connection.read_to_string(&mut text);
        text
    })
    .await;
    assert!(text.starts_with("HTTP/1.1 431 "), "{text:?}");
}

#[test]
fn any_tower_service_can_be_served() {
    fn takes<S, B>(_: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
    }
    takes(tower::service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(String::new()))));
    takes(router());
}
