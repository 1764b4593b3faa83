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
    /// The head and body of each of those, as they came.
    raw: Vec<(String, String)>,
    /// The body of each such answer.
    says: String,
    /// How many were answered with 500.
    refused: usize,
    /// How many are yet to be.
    refuse: usize,
    /// Whether it fails now and then.
    flaky: bool,
    /// All that came, and how many of those were kept and then not admitted.
    received: Vec<Value>,
    lied: usize,
}

impl Hook {
    /// Refuses every eleventh request, and answers 500 to every ninth, which it keeps.
    pub(crate) fn flaky() -> Self {
        let hook = Self::new(0);
        hook.seen.lock().unwrap().flaky = true;
        hook
    }

    /// What arrived and was kept, whatever was answered.
    pub(crate) fn received(&self) -> Vec<Value> {
        self.seen.lock().unwrap().received.clone()
    }

    /// How often it kept what it did not admit to have.
    pub(crate) fn refused_after_all(&self) -> usize {
        self.seen.lock().unwrap().lied
    }

    /// Answers 200 with this body.
    pub(crate) fn saying(body: &str) -> Self {
        let hook = Self::new(0);
        body.clone_into(&mut hook.seen.lock().unwrap().says);
        hook
    }

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

    /// Heads, in small letters, and bodies of what was taken.
    pub(crate) fn raw(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().raw.clone()
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
        let (mut length, mut head) = (0, String::new());
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
            head = format!("{head}{line}\n");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut seen = seen.lock().unwrap();
        let status = take(head, &body, &mut seen);
        let says = seen.says.clone();
        drop(seen);
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{says}", says.len()).ok()?;
    }
}

fn take(head: String, body: &[u8], seen: &mut Seen) -> &'static str {
    let nth = seen.received.len() + seen.refused;
    if seen.flaky && nth % 11 == 6 {
        seen.refused += 1;
        return "503 Service Unavailable";
    }
    if seen.refuse > 0 {
        seen.refuse -= 1;
        seen.refused += 1;
        return "500 Internal Server Error";
    }
    seen.received.push(serde_json::from_slice(body).unwrap_or(Value::Null));
    if seen.flaky && nth % 9 == 4 {
        seen.lied += 1;
        return "500 Internal Server Error";
    }
    seen.raw.push((head, String::from_utf8_lossy(body).into_owned()));
    seen.taken.push(serde_json::from_slice(body).unwrap_or(Value::Null));
    "200 OK"
}
