//! The client against bytes that a server might send, good and bad. Whole servers: tests/supervisorctl.rs.

use std::{io::Read, os::unix::net::UnixListener, path::PathBuf, thread};

use super::*;

/// Status and body.
type Received = Result<(u16, Vec<u8>), HttpError>;

/// Serves one connection with `pieces`, each written alone; returns what the client makes of it and what it had sent.
fn exchange_in_pieces(pieces: Vec<Vec<u8>>, body: Option<&[u8]>) -> (Received, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 65536];
        let count = stream.read(&mut request).unwrap();
        for piece in pieces {
            if stream.write_all(&piece).is_err() {
                break;
            }
        }
        request.truncate(count);
        request
    });
    let request = Request { path: "/v1/units", body, accept: "application/json" };
    let mut wait = briefly;
    let answer = send(&Target::Unix(path), None, &request, &mut wait)
        .and_then(|response| Ok((response.status, response.body.read_all()?)));
    (answer, server.join().unwrap())
}

fn exchange(answer: &[u8]) -> Received {
    exchange_in_pieces(vec![answer.to_vec()], None).0
}

#[test]
fn a_body_ends_by_length_by_chunks_or_with_the_connection() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", b"hi"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nA;x=y\r\n, 012345\r\n\r\n0\r\n\r\n",
            b"hi, 012345\r\n",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ntrailer: x\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    ];
    for (answer, body) in cases {
        let (whole, bytewise) =
            (exchange(answer), exchange_in_pieces(answer.iter().map(|byte| vec![*byte]).collect(), None).0);
        assert_eq!(whole.unwrap(), (200, body.to_vec()), "{}", answer.escape_ascii());
        assert_eq!(bytewise.unwrap(), (200, body.to_vec()), "bytewise {}", answer.escape_ascii());
    }
    assert_eq!(exchange(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), (204, vec![]));
}

#[test]
fn an_answer_that_ends_early_is_an_error() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nconte",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ] {
        assert!(matches!(exchange(answer), Err(HttpError::Cut(_))), "{}", answer.escape_ascii());
    }
}

#[test]
fn what_is_not_http_is_refused() {
    for answer in [
        &b"SSH-2.0-OpenSSH\r\n"[..],
        b"HTTP/1.1 two OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhis\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: \xff\r\n\r\n",
    ] {
        assert!(matches!(exchange(answer), Err(HttpError::NotHttp { .. })), "{}", answer.escape_ascii());
    }
}

#[test]
fn heads_and_bodies_have_limits() {
    let with_headers = |count: usize| {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_vec();
        answer.extend(b"x: y\r\n".repeat(count - 1));
        answer.extend(b"\r\n");
        exchange(&answer)
    };
    assert!(with_headers(100).is_ok());
    assert!(matches!(with_headers(101), Err(HttpError::NotHttp { .. })));

    let with_line = |length: usize| {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: ".to_vec();
        answer.extend(vec![b'y'; length - 5]);
        answer.extend(b"\r\n\r\n");
        exchange(&answer)
    };
    assert!(with_line(8192).is_ok());
    assert!(matches!(with_line(8193), Err(HttpError::TooLarge { limit: 8192, .. })));

    let with_body = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        exchange_in_pieces(vec![head.into_bytes(), vec![b'z'; length]], None).0
    };
    assert_eq!(with_body(64 << 20).unwrap().1.len(), 64 << 20);
    assert!(matches!(with_body((64 << 20) + 1), Err(HttpError::TooLarge { .. })));
}

#[test]
fn a_post_says_what_it_carries() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    let (_, sent) = exchange_in_pieces(vec![answer], Some(b"{}"));
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.starts_with("POST /v1/units HTTP/1.1\r\nHost: localhost\r\n"), "{sent}");
    assert!(sent.contains("\r\nContent-Length: 2\r\n") && sent.ends_with("\r\n\r\n{}"), "{sent}");
}

#[test]
fn a_silent_daemon_is_waited_for_as_long_as_the_caller_likes() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::Unix(dir.path().join("s"));
    // It never accepts: the kernel takes the connection and the request, and then nothing comes.
    let _listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let request = Request { path: "/", body: None, accept: "*/*" };
    let until = |stop: Stop| move |ticks| if ticks == 2 { Err(stop) } else { Ok(()) };
    let silent = send(&target, None, &request, &mut until(Stop::Silent)).map(|response| response.status);
    assert!(matches!(silent, Err(HttpError::Silent { silence, .. }) if silence == TICK * 2), "{silent:?}");
    let interrupted = send(&target, None, &request, &mut until(Stop::Interrupted)).map(|response| response.status);
    assert!(matches!(interrupted, Err(HttpError::Interrupted)), "{interrupted:?}");
}

#[test]
fn nobody_there_is_said_with_the_place() {
    let target = Target::Unix(PathBuf::from("/nonexistent/control.sock"));
    let request = Request { path: "/", body: None, accept: "*/*" };
    let mut wait = briefly;
    let error = send(&target, None, &request, &mut wait).map(|response| response.status).unwrap_err();
    assert!(matches!(&error, HttpError::Connect { source, .. } if source.kind() == io::ErrorKind::NotFound));
    assert_eq!(error.to_string(), "cannot reach the daemon at /nonexistent/control.sock");
}
