//! Somebody who is told: a small HTTP server that keeps what it was sent.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

/// A receiver on loopback; its thread ends with the test program.
pub(crate) struct Hook {
    pub(crate) url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// What was answered with 200.
    taken: Vec<Value>,
    /// How many were answered with 500.
    refused: usize,
    /// How many are yet to be.
    refuse: usize,
}

impl Hook {
    /// Answers 500 to the first `refuse` requests and 200 to all others.
    pub(crate) fn new(refuse: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen { refuse, ..Seen::default() }));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, seen }
    }

    /// What arrived and was taken, in order.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.seen.lock().unwrap().taken.clone()
    }

    pub(crate) fn refused(&self) -> usize {
        self.seen.lock().unwrap().refused
    }
}

/// Serves one connection until it is closed.
fn serve(stream: TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let status = take(&body, &mut seen.lock().unwrap());
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

fn take(body: &[u8], seen: &mut Seen) -> &'static str {
    if seen.refuse > 0 {
        seen.refuse -= 1;
        seen.refused += 1;
        return "500 Internal Server Error";
    }
    seen.taken.push(serde_json::from_slice(body).unwrap_or(Value::Null));
    "200 OK"
}
