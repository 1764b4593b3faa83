//! What an agent is asked and told. What it says beyond that is not needed, and where it says something else, that is said.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path, time::Duration};

use reqwest::{
    Client, Method, StatusCode, Url,
    header::{ACCEPT, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{
    base::Chain,
    edge::{
        balance::BalanceError,
        http::{self, Tls},
        secret,
    },
    fleet::{Consul, NodeName, PlanId, PoolName},
};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer: a service of some thousand instances.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Most bytes of a file with a definition.
const DEFINITION_BYTES_MAX: u64 = 1 << 20;
/// So much of a refusal is shown.
const SAID_CHARS_MAX: usize = 200;
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
/// What the check is called that keeps a service in maintenance.
const MAINTENANCE: &str = "_service_maintenance:";
/// What an agent says of a service, and takes when it is registered.
const DEFINED: [&str; 12] = [
    "ID",
    "Kind",
    "Tags",
    "Meta",
    "Port",
    "Address",
    "SocketPath",
    "TaggedAddresses",
    "Weights",
    "EnableTagOverride",
    "Proxy",
    "Connect",
];

/// How all checks of an instance stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// All of them pass.
    Passing,
    /// One warns; it is offered all the same, unless somebody asks for others.
    Warning,
    /// It is not offered.
    Critical,
}

impl Standing {
    fn of(status: &str) -> Self {
        match status {
            "passing" => Self::Passing,
            "warning" => Self::Warning,
            _ => Self::Critical,
        }
    }
}

/// An instance that is registered here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) standing: Standing,
    /// Why it is in maintenance, if it is.
    pub(super) maintenance: Option<String>,
    /// Whether it has checks of its own.
    has_checks: bool,
}

/// The agent of this node, for one service.
pub(super) struct Agent<'a> {
    pub(super) pool: &'a PoolName,
    pub(super) at: &'a Consul,
    pub(super) url: String,
    client: Client,
    token: Option<HeaderValue>,
}

impl<'a> Agent<'a> {
    pub(super) fn of(node: &NodeName, pool: &'a PoolName, at: &'a Consul) -> Result<Self, BalanceError> {
        let failed = |why: String| BalanceError::Unreached(format!("cannot ask consul for pool {pool}: {why}"));
        let token = at.token_file.as_deref().map(token_in).transpose().map_err(failed)?;
        let client = match &at.ca_file {
            Some(file) => http::client_believing(Path::new(&**file)),
            None => http::client(Tls::of(&at.url)).map_err(|error| Chain(&error).to_string()),
        };
        let url = at.url.replace("{node}", node.as_str());
        Ok(Self { pool, at, url, client: client.map_err(failed)?, token })
    }

    /// The instances of the service that are registered here.
    pub(super) async fn own(&self) -> Result<BTreeMap<Box<str>, Own>, BalanceError> {
        let path = ["agent", "health", "service", "name", &self.at.service];
        let (status, body) = self.ask(Method::GET, &path, &[], None).await?;
        match status.as_u16() {
            404 => return Ok(BTreeMap::new()),
            // The state of the worst of them: some of which warn, or are critical.
            200 | 429 | 503 => {}
            _ => return Err(self.refusal(status, &body)),
        }
        let all = self.list(status, &body)?;
        let instance = |it: &Value| {
            let id = it.pointer("/Service/ID")?.as_str()?;
            let checks = it.get("Checks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let mark = format!("{MAINTENANCE}{id}");
            let is_mark = |check: &&Value| text(check, "CheckID") == mark;
            let own = Own {
                standing: Standing::of(it.get("AggregatedStatus")?.as_str()?),
                maintenance: checks.iter().find(is_mark).map(|check| text(check, "Notes").to_owned()),
                has_checks: checks.iter().any(|check| text(check, "ServiceID") == id && !is_mark(&check)),
            };
            Some((id.into(), own))
        };
        all.iter().map(|it| instance(it).ok_or_else(|| self.refusal(status, &body))).collect()
    }

    /// The instances of the service wherever they are, as whoever looks them up sees them.
    pub(super) async fn catalog(&self) -> Result<BTreeMap<Box<str>, Standing>, BalanceError> {
        let (status, body) = self.ask(Method::GET, &["health", "service", &self.at.service], &[], None).await?;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &body));
        }
        let instance = |it: &Value| {
            let id = it.pointer("/Service/ID")?.as_str()?;
            let checks = it.get("Checks")?.as_array()?.iter().map(|check| Standing::of(text(check, "Status")));
            let worst = |one, other| match (one, other) {
                (Standing::Critical, _) | (_, Standing::Critical) => Standing::Critical,
                (Standing::Warning, _) | (_, Standing::Warning) => Standing::Warning,
                (Standing::Passing, Standing::Passing) => Standing::Passing,
            };
            Some((id.into(), checks.fold(Standing::Passing, worst)))
        };
        let all = self.list(status, &body)?;
        all.iter().map(|it| instance(it).ok_or_else(|| self.refusal(status, &body))).collect()
    }

    /// Puts it into maintenance for a reason, or ends that.
    pub(super) async fn maintain(&self, server: &str, reason: Option<&str>) -> Result<(), BalanceError> {
        let enable = [("enable", if reason.is_some() { "true" } else { "false" })];
        let query: Vec<_> = enable.into_iter().chain(reason.map(|reason| ("reason", reason))).collect();
        self.order(&["agent", "service", "maintenance", server], &query, None).await
    }

    pub(super) async fn deregister(&self, server: &str) -> Result<(), BalanceError> {
        self.order(&["agent", "service", "deregister", server], &[], None).await
    }

    pub(super) async fn register(&self, definition: &str) -> Result<(), BalanceError> {
        let query = [("replace-existing-checks", "true")];
        self.order(&["agent", "service", "register"], &query, Some(definition.to_owned())).await
    }

    /// Tells whoever watches for it that a server is offered again. It may be told twice, in the same words.
    pub(super) async fn fire(&self, server: &str, plan: PlanId) -> Result<(), BalanceError> {
        let Some(event) = &self.at.event else { return Ok(()) };
        let told = self.order(&["event", "fire", event], &[], Some(format!("{plan} {server}"))).await;
        told.map_err(|error| {
            let said = format!("{server} is offered again, and the event {event} is not fired: {error}");
            BalanceError::Refused { pool: self.pool.clone(), said }
        })
    }

    /// How it is registered, so that it can be again. Of checks an agent tells how they stand, and not how they are done.
    pub(super) async fn definition(
        &self,
        server: &str,
        instance: &Own,
        file: Option<&str>,
    ) -> Result<String, BalanceError> {
        let refused = |said| BalanceError::Refused { pool: self.pool.clone(), said };
        if let Some(file) = file {
            return definition_in(&file.replace("{server}", server), server).map_err(refused);
        }
        if instance.has_checks {
            let help = "say definition = \"FILE\", which has what is given to /v1/agent/service/register, or mode = \"maintenance\"";
            return Err(refused(format!("{server} has checks, and no agent says how they are done; {help}")));
        }
        let (status, body) = self.ask(Method::GET, &["agent", "service", server], &[], None).await?;
        let said: Option<Map<String, Value>> = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK);
        let said = said.ok_or_else(|| self.refusal(status, &body))?;
        let name = said.get("Service").cloned().ok_or_else(|| self.refusal(status, &body))?;
        let defined = said.into_iter().filter(|(key, value)| DEFINED.contains(&key.as_str()) && !value.is_null());
        let whole: Map<String, Value> = defined.chain([("Name".to_owned(), name)]).collect();
        Ok(Value::Object(whole).to_string())
    }

    /// Nothing of that name is registered here.
    pub(super) fn unknown(&self, server: &str, own: &BTreeMap<Box<str>, Own>) -> BalanceError {
        let (pool, url, service) = (self.pool.clone(), &self.url, &self.at.service);
        let ids: Vec<&str> = own.keys().map(AsRef::as_ref).collect();
        let help = match &ids[..] {
            [] => format!(" (nothing is registered as {service} at {url}; say service, or the agent's url)"),
            ids => format!(" (at {url} {} is registered as {service}; say it in server of behind)", ids.join(", ")),
        };
        BalanceError::Unknown { pool, server: server.to_owned(), help }
    }

    async fn order(&self, path: &[&str], query: &[(&str, &str)], body: Option<String>) -> Result<(), BalanceError> {
        let (status, said) = self.ask(Method::PUT, path, query, body).await?;
        if status == StatusCode::OK { Ok(()) } else { Err(self.refusal(status, &said)) }
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<(StatusCode, Vec<u8>), BalanceError> {
        let at = &self.url;
        let unreached = |why: String| {
            BalanceError::Unreached(format!("cannot ask the consul agent of pool {} at {at}: {why}", self.pool))
        };
        let mut url = Url::parse(at).map_err(|error| unreached(error.to_string()))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(TOKEN, token.clone());
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let asked = async {
            let mut answer = request.send().await?;
            let (body, is_longer) = http::body(&mut answer, ANSWER_BYTES_MAX).await?;
            reqwest::Result::Ok((answer.status(), body, is_longer))
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok((status, body, false))) => Ok((status, body)),
            Ok(Ok((_, _, true))) => Err(unreached(format!("its answer has more than {ANSWER_BYTES_MAX} bytes"))),
            Ok(Err(error)) => Err(unreached(Chain(&error.without_url()).to_string())),
            Err(_) => Err(unreached(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    fn list(&self, status: StatusCode, body: &[u8]) -> Result<Vec<Value>, BalanceError> {
        serde_json::from_slice(body).map_err(|_| self.refusal(status, body))
    }

    /// What it says instead of what was asked for.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> BalanceError {
        let (url, Consul { service, token_file, event, .. }) = (&self.url, self.at);
        let help = match (status.as_u16(), token_file) {
            (401 | 403, None) => "; say token_file".to_owned(),
            (401 | 403, Some(file)) => {
                let event = event.as_ref().map_or_else(String::new, |event| format!(", event:write of {event}"));
                format!("; the token in {file} needs service:write of {service}, node:read{event}")
            }
            _ if status.is_redirection() => "; redirects are not followed, say the url of the agent itself".to_owned(),
            (200, _) => "; that is no answer of a consul agent, look at url".to_owned(),
            _ => String::new(),
        };
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let said = String::from_utf8_lossy(body);
        // Whoever is spoken to may say again what it was told.
        let secret = self.token.as_ref().and_then(|token| token.to_str().ok());
        let said = secret.map_or_else(|| said.to_string(), |secret| said.replace(secret, "…"));
        let said: String = said.trim().chars().take(SAID_CHARS_MAX).map(clean).collect();
        BalanceError::Refused {
            pool: self.pool.clone(),
            said: format!("{url} answers {}: {said}{help}", status.as_u16()),
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn token_in(file: &str) -> Result<HeaderValue, String> {
    let token = secret::read(Path::new(file)).map_err(|why| format!("token_file: {why}"))?;
    let unfit = |_| format!("token_file: what stands in {file} is no token");
    let mut value = HeaderValue::from_bytes(&token).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What stands in a file, if it registers this server.
fn definition_in(file: &str, server: &str) -> Result<String, String> {
    let unread = |why: &dyn std::fmt::Display| format!("cannot use the definition of {server} in {file}: {why}");
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| unread(&error))?;
    opened.take(DEFINITION_BYTES_MAX).read_to_string(&mut text).map_err(|error| unread(&error))?;
    let said: Map<String, Value> = serde_json::from_str(&text).map_err(|error| unread(&error))?;
    // The name is the id where none is said.
    let own = ["ID", "id", "Name", "name"].into_iter().find_map(|key| said.get(key)?.as_str());
    if own == Some(server) { Ok(text) } else { Err(unread(&format!("its ID is {own:?}"))) }
}
