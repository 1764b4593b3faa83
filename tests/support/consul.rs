//! Agents of Consul: a small HTTP server that keeps what they keep and answers as they do, and fails as one likes. Each node has
//! one, at a path of its own; what all of them have is the catalog.
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// How long a check of a service that was just registered is critical: until it is done for the first time.
const FIRST_CHECK: Duration = Duration::from_millis(600);

/// What an agent does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Answers so.
    Says(u16),
    /// Answers nothing.
    Hangs,
    /// Does it, and answers much later than anyone waits.
    Late,
    /// Answers that it was done, and does nothing.
    Forgets,
    /// Answers with what has no end.
    Endless,
    /// Says the token that it was given.
    Blabs,
}

pub(crate) struct Agents {
    /// Where the agent of each node is.
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    services: BTreeMap<(String, String), Service>,
    /// What the catalog still says of those that changed, if it is behind.
    stale: Option<Vec<Value>>,
    token: Option<String>,
    faults: Vec<(String, Fault, usize)>,
    orders: Vec<(i64, String)>,
    events: Vec<(String, String)>,
    /// How few were offered at any time since this was asked for.
    least: usize,
}

struct Service {
    definition: Value,
    maintenance: Option<String>,
    passes_at: Instant,
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

impl Agents {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/{{node}}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A service that passes.
    pub(crate) fn has(&self, node: &str, definition: Value) {
        let mut state = self.state();
        let service = Service { definition, maintenance: None, passes_at: Instant::now() };
        state.services.insert((node.to_owned(), id(&service.definition)), service);
        state.least = state.offered();
    }

    pub(crate) fn loses(&self, node: &str, id: &str) {
        self.state().services.remove(&(node.to_owned(), id.to_owned()));
    }

    /// It is registered so.
    pub(crate) fn definition(&self, node: &str, id: &str) -> Option<Value> {
        Some(self.state().services.get(&(node.to_owned(), id.to_owned()))?.definition.clone())
    }

    /// Somebody puts it into maintenance, or ends that.
    pub(crate) fn maintain(&self, node: &str, id: &str, reason: Option<&str>) {
        let mut state = self.state();
        let service = state.services.get_mut(&(node.to_owned(), id.to_owned())).unwrap();
        service.maintenance = reason.map(str::to_owned);
    }

    pub(crate) fn maintenance(&self, node: &str, id: &str) -> Option<String> {
        self.state().services.get(&(node.to_owned(), id.to_owned()))?.maintenance.clone()
    }

    /// From now on nobody without this token is obeyed.
    pub(crate) fn wants(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// The next `times` requests that have `part` in their first line go wrong.
    pub(crate) fn fails(&self, part: &str, fault: Fault, times: usize) {
        self.state().faults.push((part.to_owned(), fault, times));
    }

    /// From now on the catalog says what it says now, or again what is.
    pub(crate) fn catalog_stands_still(&self, stands: bool) {
        let mut state = self.state();
        state.stale = stands.then(|| state.catalog());
    }

    /// What was ordered, each with its time.
    pub(crate) fn orders(&self) -> Vec<(i64, String)> {
        self.state().orders.clone()
    }

    pub(crate) fn events(&self) -> Vec<(String, String)> {
        self.state().events.clone()
    }

    /// How few were offered at any time.
    pub(crate) fn least(&self) -> usize {
        self.state().least
    }
}

/// In either spelling.
fn word<'a>(definition: &'a Value, key: &str) -> &'a Value {
    if definition[key].is_null() { &definition[key.to_lowercase()] } else { &definition[key] }
}

fn id(definition: &Value) -> String {
    let id = word(definition, "ID").as_str().or_else(|| word(definition, "Name").as_str());
    id.unwrap().to_owned()
}

impl Service {
    fn checks(&self, node: &str) -> Vec<Value> {
        let (id, name) = (id(&self.definition), word(&self.definition, "Name"));
        let check = |check: String, kind: &str, status: &str, notes: &str| {
            json!({"Node": node, "CheckID": check, "Name": kind, "Status": status, "Notes": notes, "Output": "",
                "ServiceID": id, "ServiceName": name, "ServiceTags": [], "Type": "", "Definition": {}})
        };
        let mut checks = Vec::new();
        if !word(&self.definition, "Check").is_null() {
            let status = if Instant::now() < self.passes_at { "critical" } else { "passing" };
            checks.push(check(format!("service:{id}"), "Service check", status, ""));
        }
        if let Some(reason) = &self.maintenance {
            checks.push(check(format!("_service_maintenance:{id}"), "Service Maintenance Mode", "critical", reason));
        }
        checks
    }

    /// As an agent tells it: nulls, other names, and a hash of its own.
    fn told(&self) -> Value {
        let definition = &self.definition;
        json!({"ID": id(definition), "Service": word(definition, "Name"), "Tags": definition["Tags"], "Meta": definition["Meta"],
            "Port": definition["Port"], "Address": definition["Address"], "SocketPath": "",
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "Datacenter": "dc1", "ContentHash": "4ecd29c7bc647ca8"})
    }

    fn status(&self, node: &str) -> &'static str {
        let is_critical = self.checks(node).iter().any(|check| check["Status"] == "critical");
        match (&self.maintenance, is_critical) {
            (Some(_), _) => "maintenance",
            (None, true) => "critical",
            (None, false) => "passing",
        }
    }
}

impl State {
    fn catalog(&self) -> Vec<Value> {
        let all = self.services.iter().map(|((node, _), service)| {
            let mut checks = service.checks(node);
            checks.push(json!({"Node": node, "CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}));
            json!({"Node": {"Node": node}, "Service": service.told(), "Checks": checks})
        });
        all.collect()
    }

    fn offered(&self) -> usize {
        self.services.iter().filter(|((node, _), service)| service.status(node) == "passing").count()
    }

    fn answer(&mut self, node: &str, asked: &Asked) -> (u16, String) {
        let path: Vec<&str> = asked.path.split('/').collect();
        let key = |id: &str| (node.to_owned(), id.to_owned());
        match (asked.method.as_str(), &path[..]) {
            ("GET", ["agent", "health", "service", "name", name]) => {
                let own =
                    self.services.iter().filter(|((on, _), it)| on == node && word(&it.definition, "Name") == name);
                let tell = |it: &Service| json!({"AggregatedStatus": it.status(node), "Service": it.told(), "Checks": it.checks(node)});
                let all: Vec<Value> = own.map(|(_, it)| tell(it)).collect();
                let is_bad = all.iter().any(|it| it["AggregatedStatus"] != "passing");
                let status = if all.is_empty() {
                    404
                } else if is_bad {
                    503
                } else {
                    200
                };
                (status, json!(all).to_string())
            }
            ("GET", ["health", "service", name]) => {
                let all = self.stale.clone().unwrap_or_else(|| self.catalog());
                let own: Vec<Value> = all.into_iter().filter(|it| it["Service"]["Service"] == *name).collect();
                (200, json!(own).to_string())
            }
            ("GET", ["agent", "service", id]) => match self.services.get(&key(id)) {
                Some(service) => (200, service.told().to_string()),
                None => (404, format!("unknown service ID: {id}")),
            },
            ("PUT", ["agent", "service", "maintenance", id]) => match self.services.get_mut(&key(id)) {
                Some(service) => {
                    let reason = asked.value("reason").unwrap_or_else(|| "no reason was provided".to_owned());
                    if asked.value("enable").as_deref() == Some("true") {
                        service.maintenance.get_or_insert(reason);
                    } else {
                        service.maintenance = None;
                    }
                    (200, String::new())
                }
                None => (404, format!("Unknown service ID {id:?}.")),
            },
            ("PUT", ["agent", "service", "deregister", id]) => match self.services.remove(&key(id)) {
                Some(_) => (200, String::new()),
                None => (404, format!("Unknown service ID {id:?}.")),
            },
            ("PUT", ["agent", "service", "register"]) => {
                let definition: Value = serde_json::from_str(&asked.body).unwrap();
                let passes_at = Instant::now() + FIRST_CHECK;
                self.services.insert(key(&id(&definition)), Service { definition, maintenance: None, passes_at });
                (200, String::new())
            }
            ("PUT", ["event", "fire", name]) => {
                self.events.push(((*name).to_owned(), asked.body.clone()));
                (200, json!({"ID": "b54fe110", "Name": name, "Payload": null}).to_string())
            }
            _ => (404, "Invalid URL path: not a recognized HTTP API endpoint".to_owned()),
        }
    }
}

struct Asked {
    method: String,
    /// Behind `/NODE/v1/`.
    path: String,
    query: String,
    token: Option<String>,
    body: String,
}

impl Asked {
    fn value(&self, key: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.into_iter().find(|(name, _)| *name == key)?.1;
        Some(value.replace('+', " ").replace("%20", " "))
    }
}

fn serve(stream: TcpStream, shared: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (mut token, mut length) = (None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-consul-token" => token = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (place, query) = target.split_once('?').unwrap_or((&target, ""));
    let (node, path) = place.trim_start_matches('/').split_once("/v1/")?;
    let body = String::from_utf8(body).ok()?;
    let asked = Asked { method, path: path.to_owned(), query: query.to_owned(), token, body };
    answer(stream, &line, (node, &asked), shared)
}

fn answer(mut stream: TcpStream, line: &str, (node, asked): (&str, &Asked), shared: &Mutex<State>) -> Option<()> {
    let mut state = shared.lock().unwrap();
    let fault = state.faults.iter_mut().find(|(part, _, times)| *times > 0 && line.contains(part.as_str()));
    let fault = fault.map(|(_, fault, times)| {
        *times -= 1;
        *fault
    });
    let refused = state.token.is_some() && state.token != asked.token;
    let (status, body) = match fault {
        Some(Fault::Hangs) => {
            drop(state);
            thread::sleep(Duration::from_secs(60));
            return None;
        }
        Some(Fault::Endless) => {
            drop(state);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").ok()?;
            loop {
                stream.write_all(&[b' '; 65536]).ok()?;
            }
        }
        Some(Fault::Says(status)) => (status, "rpc error: No cluster leader".to_owned()),
        Some(Fault::Blabs) => (403, format!("ACL not found: {}", asked.token.clone().unwrap_or_default())),
        Some(Fault::Forgets) => (200, String::new()),
        _ if refused => (403, "Permission denied: anonymous token lacks permission".to_owned()),
        Some(Fault::Late) | None => {
            if asked.method == "PUT" {
                state.orders.push((now(), format!("{node} {}?{}", asked.path, asked.query)));
            }
            let answer = state.answer(node, asked);
            state.least = state.least.min(state.offered());
            answer
        }
    };
    drop(state);
    if fault == Some(Fault::Late) {
        thread::sleep(Duration::from_secs(8));
    }
    let location = if status / 100 == 3 { "location: /\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status} X\r\n{location}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()
}
