//! Answers that are large, slow, endless or cut; and readers that go away.
#![expect(clippy::unwrap_used, reason = "what helpers of tests cannot do stops the test")]

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::RawQuery,
    response::sse::{self, Sse},
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use roundsman::wire::v1::{Event, Events, OrderAnswer};

use crate::world::{World, problem, units};

/// A daemon whose unit has this output, in pieces; without an end if `endless`.
fn talking(pieces: Vec<&'static [u8]>, endless: bool) -> Router {
    let logs = move || async move {
        let pieces = stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece)));
        if endless { Body::from_stream(pieces.chain(stream::pending())) } else { Body::from_stream(pieces) }
    };
    Router::new().route("/v1/units/{unit}/logs", get(logs))
}

#[test]
fn a_chunked_stream_comes_out_as_it_went_in() {
    let world = World::serving(talking(vec![b"one\n", b"\x1b[31mtw", b"o\n"], false));
    let ended = world.run("logs web");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "one\n\x1b[31mtwo\n"));
    for (line, query) in [
        ("logs web", "?lines=100"),
        ("logs web -n 7", "?lines=7"),
        ("logs web --since 2026-03-01T12:00:00Z", "?since=1772366400000000"),
        ("logs web --since 2026-03-01T12:00:00Z -n 5", "?since=1772366400000000&lines=5"),
    ] {
        world.run(line);
        assert_eq!(world.asked().last(), Some(&format!("GET /v1/units/web/logs{query}")), "{line}");
    }
    assert_eq!(world.run("logs web --since soon").code, Some(1));
}

/// Items as the daemon sends them.
const ITEMS: &[u8] = b"{\"cursor\":\"1:4\",\"at_us\":1772366400000000,\"line\":\"one\",\"ended\":true}
{\"cursor\":\"1:6\",\"at_us\":1772366400000001,\"line\":\"a?\",\"raw\":[97,255],\"ended\":false}
{\"cursor\":\"1:8\",\"at_us\":1772366400000002,\"line\":\"b\",\"ended\":true}
";

#[test]
fn single_lines_are_shown_with_what_is_known_of_them() {
    let world = World::serving(talking(vec![&ITEMS[..30], &ITEMS[30..]], false));
    let stamped = world.run_bytes("logs web -t --grep a|b --until 2026-03-01T12:00:00Z");
    let lines: Vec<&[u8]> = stamped.split(|byte| *byte == b'\n').collect();
    assert!(lines[0].starts_with(b"2026-03-01T") && lines[0].ends_with(b" one"), "{lines:?}");
    assert!(lines[1].ends_with(b" a\xffb") && lines.len() == 3, "what goes on has one time, {lines:?}");
    let query = "?until=1772366400000000&grep=a%7Cb&format=json";
    assert_eq!(world.asked().last(), Some(&format!("GET /v1/units/web/logs{query}")));
    let json = world.run("logs web --json").out;
    assert_eq!(json.lines().next(), Some("{\"unit\":\"web\",\"at_us\":1772366400000000,\"line\":\"one\"}"));
    assert_eq!(world.asked().last(), Some(&"GET /v1/units/web/logs?lines=100&format=json&parts=false".to_owned()));
}

#[test]
fn a_follower_goes_on_where_the_connection_broke_off() {
    let world = World::serving(talking(vec![ITEMS], false));
    let mut child = world.start("logs web -f");
    let mut out = BufReader::new(child.stdout());
    for _ in 0..4 {
        out.read_until(b'\n', &mut Vec::new()).unwrap();
    }
    child.interrupt();
    assert_eq!(child.ended().code, Some(130));
    let asked: Vec<String> = world.asked();
    assert_eq!(asked[0], "GET /v1/units/web/logs?lines=10&follow=true&format=json");
    assert_eq!(asked[1], "GET /v1/units/web/logs?lines=10&follow=true&format=json&after=1%3A8");
}

#[test]
fn a_large_answer_is_read_whole() {
    static LINE: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    let world = World::serving(talking(vec![LINE; 200_000], false));
    let ended = world.run("logs web");
    assert_eq!((ended.code, ended.out.len()), (Some(0), LINE.len() * 200_000));

    let names: Vec<String> = (0..5000).map(|number| format!("unit-{number}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "active")).collect();
    let answer = units(&all);
    let many = World::serving(Router::new().route("/v1/units", get(move || async move { Json(answer) })));
    let ended = many.run("list --names");
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 5000));
}

#[test]
fn a_follower_sees_output_at_once_and_leaves_quietly_on_ctrl_c() {
    let hello = b"{\"cursor\":\"1:6\",\"at_us\":1,\"line\":\"hello\",\"ended\":true}\n";
    let world = World::serving(talking(vec![hello], true));
    let mut child = world.start("logs web -f");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    child.interrupt();
    let ended = child.ended();
    assert_eq!((ended.code, ended.err.as_str()), (Some(130), ""));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    static LINE: &[u8] = b"line after line after line\n";
    let world = World::serving(talking(vec![LINE; 200_000], false));
    let mut child = world.start("logs web");
    drop(child.stdout());
    let logs = child.ended();
    assert_eq!((logs.code, logs.err.as_str()), (Some(0), ""));
}

/// A server that sends these bytes and hangs up.
fn cut_after(world: &World, bytes: &'static [u8]) -> thread::JoinHandle<()> {
    let listener = UnixListener::bind(world.socket()).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(bytes).unwrap();
    })
}

#[test]
fn an_answer_that_is_cut_is_shown_as_far_as_it_came_and_is_an_error() {
    let world = World::empty();
    let server = cut_after(&world, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf\n\r\n9\r\nof a");
    let ended = world.run("logs web");
    server.join().unwrap();
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), "half\nof a"));
    assert!(ended.err.contains("the connection was cut") && ended.err.contains("try again"), "{ended:?}");
}

#[test]
fn what_is_no_daemon_is_told_from_one() {
    let world = World::empty();
    let server = cut_after(&world, b"220 mail.example.org ESMTP\r\n");
    let ended = world.run("status");
    server.join().unwrap();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("does not speak HTTP") && ended.err.contains("is that address supervisord's?"),
        "{ended:?}"
    );
}

#[test]
fn an_order_is_waited_for_and_ctrl_c_only_ends_the_waiting() {
    let (begun, begins) = std::sync::mpsc::channel();
    let order = move || async move {
        begun.send(()).unwrap();
        std::future::pending::<Json<OrderAnswer>>().await
    };
    let world = World::serving(Router::new().route("/v1/orders", post(order)));
    let mut child = world.start("restart web");
    begins.recv_timeout(Duration::from_secs(20)).unwrap();
    child.interrupt();
    let ended = child.ended();
    assert_eq!(ended.code, Some(130));
    assert!(ended.err.contains("no longer waiting"), "{ended:?}");
}

fn event(id: u64) -> Event {
    Event {
        id,
        at_us: 1_772_366_400_000_000,
        event: "run_ended".into(),
        severity: "info".into(),
        unit: Some("web".into()),
        generation: Some(id),
        message: format!("happening {id}"),
        fields: serde_json::Map::new(),
    }
}

/// Past events 1 to 3, and a stream that gives two more after the asked one and then ends, as when a manager dies.
fn happening(streams: Arc<AtomicUsize>) -> Router {
    let live = move |RawQuery(query): RawQuery| async move {
        streams.fetch_add(1, Ordering::Relaxed);
        let after: u64 = query.unwrap().strip_prefix("after=").unwrap().parse().unwrap();
        let items = [after + 1, after + 2].map(|id| {
            let data = serde_json::to_string(&event(id)).unwrap();
            Ok::<_, Infallible>(sse::Event::default().id(id.to_string()).event("run_ended").data(data))
        });
        Sse::new(stream::iter(items))
    };
    Router::new()
        .route("/v1/notices", get(|| async { Json(Events { events: [1, 2, 3].map(event).into() }) }))
        .route("/v1/events", get(live))
}

#[test]
fn events_go_on_where_they_broke_off() {
    let streams = Arc::new(AtomicUsize::new(0));
    let mut world = World::serving(happening(Arc::clone(&streams)));
    assert!(world.run("events -n 3").out.contains("happening 3"));

    let mut child = world.start("events -f --json");
    let mut lines = BufReader::new(child.stdout()).lines();
    let mut next = || serde_json::from_str::<Event>(&lines.next().unwrap().unwrap()).unwrap().id;
    let seen: Vec<u64> = (0..7).map(|_| next()).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7], "past ones, then two streams");

    world.stop();
    thread::park_timeout(Duration::from_millis(700));
    world.serve(happening(streams));
    let mut last = 0;
    while last < 12 {
        let id = next();
        assert!(last == 0 || id == last + 1, "{id} after {last}");
        last = id;
    }
    child.interrupt();
    let ended = child.ended();
    assert_eq!(ended.code, Some(130));
    assert!(ended.err.contains("waiting for the daemon to come back") && ended.err.contains("is back"), "{ended:?}");
}

#[test]
fn a_refusal_of_the_stream_ends_the_following() {
    let router = Router::new()
        .route("/v1/notices", get(|| async { Json(Events { events: vec![] }) }))
        .route("/v1/events", get(|| async { problem(403, "ask as root") }));
    let ended = World::serving(router).run("events -f");
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("ask as root"), "{ended:?}");
}
