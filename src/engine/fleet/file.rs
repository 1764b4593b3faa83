//! `fleet.toml`: the nodes, the services on them, who depends on whom. The same file lies on every node.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    ops::Range,
    path::Path,
    str::FromStr,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use toml::Spanned;

use crate::{
    base::{TimeSpan, UnitName},
    fleet::{
        Action, AfterDrain, Approve, Argv, Canary, Commands, Consul, ConsulMode, Deadlines, Edge, FleetName, Node,
        NodeName, OnFailure, Place, Policy, Pool, PoolKind, PoolName, Require, Scope, Service, ServiceName, Share,
        Topology, Transport, Window, ZoneName,
    },
    unit::{Problem, similar},
};

/// Reads it, or tells all that is wrong with it.
///
/// # Errors
/// Every problem, with its place; of a file that is not well formed the first.
pub fn read(path: &Path, text: &str) -> Result<Topology, Vec<Problem>> {
    let at = |span: Option<Range<usize>>, message: String| {
        Problem::error(path, text, span.map_or(0, |span| span.start), message)
    };
    let file: File = toml::from_str(text).map_err(|error| vec![at(error.span(), error.message().to_owned())])?;
    let mut spans = BTreeMap::new();
    let mut problems = Vec::new();
    let topology = file.topology(&mut spans, &mut |span, message| problems.push(at(Some(span), message)));
    let checked = topology.checked().map_err(|faults| {
        let told = faults.into_iter().map(|fault| at(spans.get(&fault.place).cloned(), fault.message));
        told.collect::<Vec<_>>()
    });
    match checked {
        Ok(topology) if problems.is_empty() => Ok(topology),
        Ok(_) => Err(problems),
        Err(faults) => {
            problems.extend(faults);
            problems.sort();
            Err(problems)
        }
    }
}

/// Where things of the topology stand.
type Spans = BTreeMap<Place, Range<usize>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Told<FleetName>,
    #[serde(default)]
    node: Vec<NodeFile>,
    #[serde(default)]
    service: Vec<ServiceFile>,
    #[serde(default)]
    pool: Vec<PoolFile>,
}

impl File {
    /// Everything as it is written; `refuse` is told of names that come twice.
    fn topology(self, spans: &mut Spans, refuse: &mut impl FnMut(Range<usize>, String)) -> Topology {
        let mut topology =
            Topology { name: self.name.0, nodes: BTreeMap::new(), services: BTreeMap::new(), pools: BTreeMap::new() };
        for file in self.node {
            let (span, name) = (file.name.span(), file.name.get_ref().0.clone());
            if spans.insert(Place::Node(name.clone()), span.clone()).is_some() {
                refuse(span, format!("there are two nodes {name}"));
            }
            topology.nodes.insert(name, file.node());
        }
        for file in self.service {
            let (span, name) = (file.name.span(), file.name.get_ref().0.clone());
            if spans.insert(Place::Service(name.clone()), span.clone()).is_some() {
                refuse(span, format!("there are two services {name}"));
                continue;
            }
            if let Some(service) = file.service(&name, spans, refuse) {
                topology.services.insert(name, service);
            }
        }
        for file in self.pool {
            let (span, name) = (file.name.span(), file.name.get_ref().0.clone());
            if spans.insert(Place::Pool(name.clone()), span.clone()).is_some() {
                refuse(span, format!("there are two pools {name}"));
                continue;
            }
            match file.pool(&name) {
                Ok(pool) => {
                    topology.pools.insert(name, pool);
                }
                Err(message) => refuse(span, message),
            }
        }
        for (name, pool) in topology.pools.iter_mut().filter(|(_, pool)| pool.is_per_node()) {
            let behind = topology.services.values().filter(|it| it.behind.iter().any(|(pool, _)| pool == name));
            pool.hosts = behind.flat_map(|service| service.nodes.iter().cloned()).collect();
        }
        topology
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    name: Spanned<Told<NodeName>>,
    address: Option<Box<str>>,
    user: Option<Told<UserName>>,
    transport: Option<Told<Transport>>,
    zone: Option<Told<ZoneName>>,
    #[serde(default)]
    last: bool,
}

impl NodeFile {
    fn node(self) -> Node {
        let name = self.name.into_inner().0;
        Node {
            transport: self.transport.map_or(Transport::Agent, |told| told.0),
            address: self.address.unwrap_or_else(|| name.as_str().into()),
            user: self.user.map_or_else(|| "root".into(), |told| told.0.0),
            zone: self.zone.map(|told| told.0),
            last: self.last,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    name: Spanned<Told<ServiceName>>,
    unit: Option<Told<UnitName>>,
    nodes: Vec<Spanned<Told<NodeName>>>,
    max_unavailable: Option<Told<Share>>,
    min_active: Option<u32>,
    canary: Option<Told<Share>>,
    canary_soak: Option<Told<TimeSpan>>,
    waves: Option<Vec<Told<Share>>>,
    soak: Option<Told<TimeSpan>>,
    max_failures: Option<u32>,
    on_failure: Option<Told<OnFailure>>,
    approve: Option<Told<Approve>>,
    #[serde(default)]
    windows: Vec<Told<Window>>,
    #[serde(default)]
    deadlines: DeadlinesFile,
    #[serde(default)]
    depends_on: Vec<EdgeFile>,
    #[serde(default)]
    behind: Vec<BehindFile>,
    validate: Option<Argv>,
    notify: Option<Argv>,
    verify_reload: Option<Argv>,
    reload: Option<Argv>,
    restart: Option<Argv>,
    status: Option<Argv>,
}

impl ServiceFile {
    fn service(
        self,
        name: &ServiceName,
        spans: &mut Spans,
        refuse: &mut impl FnMut(Range<usize>, String),
    ) -> Option<Service> {
        let mut nodes = BTreeSet::new();
        for node in self.nodes {
            let span = node.span();
            let node = node.into_inner().0;
            if !nodes.insert(node.clone()) {
                refuse(span, format!("{name} runs on {node} twice; say it once"));
            }
        }
        let usual = Policy::default();
        if let (None, Some(_)) = (&self.canary, &self.canary_soak) {
            refuse(self.name.span(), format!("canary_soak of {name} without canary: how many go first?"));
        }
        let soak = self.soak.map_or(usual.soak, |told| told.0);
        let canary_soak = self.canary_soak.map_or(soak, |told| told.0);
        let policy = Policy {
            max_unavailable: self.max_unavailable.map_or(usual.max_unavailable, |told| told.0),
            min_active: self.min_active.unwrap_or(usual.min_active),
            canary: self.canary.map(|count| Canary { count: count.0, soak: canary_soak }),
            waves: self.waves.map_or(usual.waves, |waves| waves.into_iter().map(|told| told.0).collect()),
            soak,
            deadlines: self.deadlines.deadlines(),
            max_failures: self.max_failures.unwrap_or(usual.max_failures),
            on_failure: self.on_failure.map_or(usual.on_failure, |told| told.0),
            approve: self.approve.map_or(usual.approve, |told| told.0),
            windows: self.windows.into_iter().map(|told| told.0).collect(),
        };
        if policy.on_failure == OnFailure::Rollback {
            let help = "what is only restarted has no release to go back to; say pause or abort";
            refuse(self.name.span(), format!("on_failure of {name} cannot be \"rollback\": {help}"));
        }
        for (nth, edge) in self.depends_on.iter().enumerate() {
            spans.insert(Place::Edge(name.clone(), nth), edge.service.span());
        }
        let unit = self.unit.map_or_else(|| UnitName::new(name.as_str()), |told| Ok(told.0));
        let unit = unit.map_err(|error| refuse(self.name.span(), format!("{error}; name its unit"))).ok()?;
        let depends_on = self.depends_on.into_iter().map(EdgeFile::edge).collect();
        let behind = self.behind.into_iter().map(|behind| (behind.pool.0.clone(), behind.server())).collect();
        let Self { validate, notify, verify_reload, reload, restart, status, .. } = self;
        let commands = Commands { validate, notify, verify_reload, reload, restart, status };
        Some(Service { unit, nodes, depends_on, behind, commands, policy })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlinesFile {
    drain: Option<Told<TimeSpan>>,
    validate: Option<Told<TimeSpan>>,
    act: Option<Told<TimeSpan>>,
    healthy: Option<Told<TimeSpan>>,
    progress: Option<Told<TimeSpan>>,
}

impl DeadlinesFile {
    fn deadlines(self) -> Deadlines {
        let usual = Deadlines::default();
        let or = |told: Option<Told<TimeSpan>>, usual: TimeSpan| told.map_or(usual, |told| told.0);
        Deadlines {
            drain: or(self.drain, usual.drain),
            validate: or(self.validate, usual.validate),
            act: or(self.act, usual.act),
            healthy: or(self.healthy, usual.healthy),
            progress: or(self.progress, usual.progress),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeFile {
    service: Spanned<Told<ServiceName>>,
    on_restart: Option<Told<Cascade>>,
    require: Option<Told<Require>>,
    scope: Option<Told<Scope>>,
}

impl EdgeFile {
    fn edge(self) -> Edge {
        Edge {
            on: self.service.into_inner().0,
            on_restart: self.on_restart.and_then(|told| told.0.0),
            require: self.require.map_or_else(Require::default, |told| told.0),
            scope: self.scope.map_or_else(Scope::default, |told| told.0),
        }
    }
}

/// Whom ssh logs in as.
#[derive(Debug, Clone)]
struct UserName(Box<str>);

impl FromStr for UserName {
    type Err = String;

    /// As useradd(8) has them: nothing that a command line or a file of keys could take for something else.
    fn from_str(name: &str) -> Result<Self, String> {
        let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let begins = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        if begins && name.len() <= 32 && name.bytes().all(is_inner) {
            return Ok(Self(name.into()));
        }
        Err(format!("{name:?} is no user's name (lower case letters, digits, _ and -, at most 32)"))
    }
}

/// `none`, or what is done to a dependent.
#[derive(Debug)]
struct Cascade(Option<Action>);

impl FromStr for Cascade {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "none" {
            return Ok(Self(None));
        }
        let known = || Action::ALL.map(Action::as_str).join(", ");
        let action = word.parse().map_err(|_| format!("it cannot be {word:?} (it can be none, {})", known()))?;
        Ok(Self(Some(action)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BehindFile {
    pool: Told<PoolName>,
    server: Option<Box<str>>,
}

impl BehindFile {
    fn server(self) -> Box<str> {
        self.server.unwrap_or_else(|| "{node}".into())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolFile {
    name: Spanned<Told<PoolName>>,
    kind: Box<str>,
    #[serde(default)]
    hosts: Vec<Told<NodeName>>,
    balancer: Option<Told<ServiceName>>,
    min_active: Option<u32>,
    after_drain: Option<Told<AfterDrain>>,
    // Of `kind = "haproxy"`.
    socket: Option<Box<str>>,
    backend: Option<Box<str>>,
    // Of `kind = "nginx"`.
    file: Option<Box<str>>,
    unit: Option<Told<UnitName>>,
    // Of `kind = "consul"`.
    url: Option<Box<str>>,
    service: Option<Box<str>>,
    mode: Option<Box<str>>,
    definition: Option<Box<str>>,
    propagation: Option<Told<TimeSpan>>,
    token_file: Option<Box<str>>,
    ca_file: Option<Box<str>>,
    event: Option<Box<str>>,
    // Of `kind = "hook"`.
    command: Option<Vec<Box<str>>>,
}

/// Kinds of pools, and the keys that each has.
const KINDS: [(&str, &[&str]); 4] = [
    ("haproxy", &["socket", "backend"]),
    ("nginx", &["file", "unit"]),
    ("consul", &["url", "service", "mode", "definition", "propagation", "token_file", "ca_file", "event"]),
    ("hook", &["command"]),
];
/// Where Debian's HAProxy has its socket.
const HAPROXY_SOCKET: &str = "/run/haproxy/admin.sock";
const CONSUL_URL: &str = "http://127.0.0.1:8500";
/// How long whoever looks names up may go on with what Consul has said before.
const PROPAGATION: TimeSpan = TimeSpan::from_secs(3);
/// Longest name of an event; it is a part of a URL.
const EVENT_CHARS_MAX: usize = 128;

impl PoolFile {
    fn pool(self, name: &PoolName) -> Result<Pool, String> {
        let Some((kind, keys)) = KINDS.into_iter().find(|(kind, _)| **kind == *self.kind) else {
            let meant = similar(&self.kind, KINDS.map(|(kind, _)| kind));
            let all = KINDS.map(|(kind, _)| kind).join(", ");
            let help = meant.map_or_else(|| format!("it can be {all}"), |word| format!("did you mean {word:?}?"));
            return Err(format!("there is no kind of pool {:?} ({help})", self.kind));
        };
        let given = [
            ("socket", self.socket.is_some()),
            ("backend", self.backend.is_some()),
            ("file", self.file.is_some()),
            ("unit", self.unit.is_some()),
            ("url", self.url.is_some()),
            ("service", self.service.is_some()),
            ("mode", self.mode.is_some()),
            ("definition", self.definition.is_some()),
            ("propagation", self.propagation.is_some()),
            ("token_file", self.token_file.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("event", self.event.is_some()),
            ("command", self.command.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(key, given)| *given && !keys.contains(key)) {
            return Err(format!("{key} is no key of a {kind} pool (it has {})", keys.join(", ")));
        }
        if kind == "consul" {
            return self.consul(name);
        }
        if kind != "haproxy" && matches!(self.after_drain, Some(Told(AfterDrain::ShutdownSessions))) {
            let help = "say wait or proceed";
            return Err(format!(
                "after_drain of {name} cannot be \"shutdown_sessions\": {kind} cannot end connections; {help}"
            ));
        }
        let missing = |key: &str, example: &str| format!("the {kind} pool {name} needs {key}, such as {example}");
        let kind = match kind {
            "haproxy" => PoolKind::Haproxy {
                socket: self.socket.unwrap_or_else(|| HAPROXY_SOCKET.into()),
                backend: self.backend.unwrap_or_else(|| name.as_str().into()),
            },
            "nginx" => PoolKind::Nginx {
                file: self.file.ok_or_else(|| missing("file", "\"/etc/nginx/upstreams/apps.conf\""))?,
                unit: self.unit.map(|told| told.0).ok_or_else(|| missing("unit", "\"nginx\""))?,
            },
            _ => PoolKind::Hook {
                command: self
                    .command
                    .filter(|words| !words.is_empty())
                    .ok_or_else(|| missing("command", "[\"/usr/local/bin/elb\", \"apps\"]"))?,
            },
        };
        Ok(Pool {
            hosts: self.hosts.into_iter().map(|told| told.0).collect(),
            balancer: self.balancer.map(|told| told.0),
            kind,
            min_active: self.min_active.unwrap_or(1),
            after_drain: self.after_drain.map_or(AfterDrain::Wait, |told| told.0),
        })
    }

    /// Its hosts are the nodes of those behind it.
    fn consul(self, name: &PoolName) -> Result<Pool, String> {
        if !self.hosts.is_empty() {
            return Err(format!(
                "hosts is no key of a consul pool: {name} is asked for at each node of the services behind it"
            ));
        }
        if self.after_drain.is_some() {
            return Err(format!(
                "after_drain is no key of a consul pool: Consul knows no connections; propagation of {name} is waited for"
            ));
        }
        let url = self.url.unwrap_or_else(|| CONSUL_URL.into());
        let Some(host) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
            return Err(format!("url of {name} begins with neither http:// nor https://; say url = \"{CONSUL_URL}\""));
        };
        if host.is_empty() || host.contains(['@', '?', '#', ' ']) {
            return Err(format!(
                "url of {name} has to be that of an agent and nothing more, such as \"{CONSUL_URL}\"; a token belongs into token_file"
            ));
        }
        let files = [("token_file", &self.token_file), ("ca_file", &self.ca_file), ("definition", &self.definition)];
        if let Some((key, file)) =
            files.into_iter().find(|(_, file)| file.as_ref().is_some_and(|it| !it.starts_with('/')))
        {
            return Err(format!(
                "{key} of {name} has to be a whole path, such as \"/etc/roundsman/{}\"",
                file.as_deref().unwrap_or_default()
            ));
        }
        if self.ca_file.is_some() && url.starts_with("http://") {
            return Err(format!("ca_file of {name} is for TLS, and its url is not; say https://"));
        }
        let mode = match (self.mode.as_deref().unwrap_or("maintenance"), self.definition) {
            ("maintenance", None) => ConsulMode::Maintenance,
            ("maintenance", Some(_)) => {
                return Err(format!("definition of {name} is for mode = \"deregister\", and it stays registered"));
            }
            ("deregister", definition) => ConsulMode::Deregister(definition),
            (other, _) => {
                return Err(format!("mode of {name} cannot be {other:?} (it can be maintenance, deregister)"));
            }
        };
        let is_event = |event: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !event.is_empty() && !event.starts_with('_') && event.len() <= EVENT_CHARS_MAX && event.chars().all(allowed)
        };
        if let Some(event) = self.event.as_deref().filter(|event| !is_event(event)) {
            return Err(format!("{event:?} is no event of {name} (letters, digits, - _ and ., not _ first)"));
        }
        Ok(Pool {
            hosts: BTreeSet::new(),
            balancer: self.balancer.map(|told| told.0),
            kind: PoolKind::Consul(Consul {
                url,
                service: self.service.unwrap_or_else(|| name.as_str().into()),
                mode,
                propagation: self.propagation.map_or(PROPAGATION, |told| told.0),
                token_file: self.token_file,
                ca_file: self.ca_file,
                event: self.event,
            }),
            min_active: self.min_active.unwrap_or(1),
            after_drain: AfterDrain::Proceed,
        })
    }
}

/// What is read from text, or from a number that is written as one.
#[derive(Debug, Clone)]
struct Told<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Told<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Told(PhantomData)).map(Told)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Told<PhantomData<T>> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../packaging/fleet.toml");

    fn refused(text: &str) -> Vec<String> {
        let problems = read(Path::new("fleet.toml"), text).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    /// The example with `new` in the place of `old`.
    fn changed(old: &str, new: &str) -> String {
        assert!(GUIDE.contains(old), "{old}");
        GUIDE.replacen(old, new, 1)
    }

    #[test]
    fn the_example_is_the_guides_fleet() {
        let topology = read(Path::new("fleet.toml"), GUIDE).unwrap();
        assert_eq!((topology.nodes.len(), topology.services.len(), topology.pools.len()), (7, 3, 1));
        let app = &topology.services[&ServiceName::new("app").unwrap()];
        assert_eq!(app.depends_on[0].on_restart, Some(Action::Restart));
        assert_eq!(app.behind, [(PoolName::new("apps").unwrap(), "{node}".into())]);
        assert_eq!(app.policy.soak, TimeSpan::from_secs(10));
        assert_eq!(topology.nodes[&NodeName::new("vm3").unwrap()].transport, Transport::Ssh);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            ("name = \"vm3\"", "name = \"-vm3\"", "14:8: error: cannot name a node \"-vm3\""),
            (
                "on_restart = \"restart\"",
                "on_restart = \"stop\"",
                "it cannot be \"stop\" (it can be none, notify, reload, reload_or_restart, restart)",
            ),
            ("transport = \"ssh\"", "transport = \"telnet\"", "it cannot be \"telnet\" (it can be agent, ssh, local)"),
            ("name = \"vm3\"", "name = \"vm1\"", "14:8: error: there are two nodes vm1"),
            (
                "service = \"hmac-file-server\"",
                "service = \"hmac\"",
                "ejabberd depends on hmac, and there is no such service",
            ),
            ("kind = \"haproxy\"", "kind = \"haprox\"", "did you mean \"haproxy\"?"),
            (
                "kind = \"haproxy\"",
                "kind = \"haproxy\"\nurl = \"x\"",
                "url is no key of a haproxy pool (it has socket, backend)",
            ),
            (
                "max_unavailable = 1",
                "on_failure = \"rollback\"",
                "on_failure of app cannot be \"rollback\": what is only restarted has no release",
            ),
            (
                "kind = \"haproxy\"",
                "kind = \"consul\"",
                "hosts is no key of a consul pool: apps is asked for at each node of the services behind it",
            ),
            (
                "max_unavailable = 1",
                "windows = [\"Sat 02:00\"]",
                "\"Sat 02:00\" is no window, such as \"Sat,Sun 02:00 for 2h\"",
            ),
            ("max_unavailable = 1", "validate = []", "validate of app names no program"),
            (
                "max_unavailable = 1",
                "status = [\"true\"]",
                "status of app is for hosts that are reached by ssh, and it runs on none; on nodes with a daemon the unit says it",
            ),
            (
                "on_restart = \"restart\"",
                "on_restart = \"notify\"",
                "app is to be notified, and names no command for it; say notify = [\"PROGRAM\"]",
            ),
            ("transport = \"ssh\"", "user = \"Root; id\"", "\"Root; id\" is no user's name"),
            (
                "address = \"10.0.0.13\"",
                "address = \"-oProxyCommand=x\"",
                "\"-oProxyCommand=x\" is no address of a node",
            ),
            ("max_unavailable = 1", "max_unavailable = \"0%\"", "\"0%\" is no share of instances"),
            ("soak = \"10s\"", "soak = \"10 sheep\"", "error: "),
            ("soak = \"10s\"", "sok = \"10s\"", "unknown field `sok`"),
            ("soak = \"10s\"", "canary_soak = \"10s\"", "canary_soak of app without canary"),
        ];
        for (old, new, expected) in cases {
            let said = refused(&changed(old, new));
            assert!(said.iter().any(|text| text.contains(expected)), "{new}: {said:#?}");
        }
    }

    /// The example with its pool in Consul.
    fn in_consul(more: &str) -> String {
        let at = GUIDE.find("[[pool]]").unwrap();
        format!("{}[[pool]]\nname = \"apps\"\nkind = \"consul\"\n{more}", &GUIDE[..at])
    }

    #[test]
    fn a_pool_of_consul_is_asked_for_at_each_node_of_its_services() {
        let topology = read(Path::new("fleet.toml"), &in_consul("")).unwrap();
        let pool = topology.pools.values().next().unwrap();
        assert_eq!(pool.hosts, topology.services[&ServiceName::new("app").unwrap()].nodes);
        let expected = Consul {
            url: CONSUL_URL.into(),
            service: "apps".into(),
            mode: ConsulMode::Maintenance,
            propagation: PROPAGATION,
            token_file: None,
            ca_file: None,
            event: None,
        };
        assert_eq!(pool.kind, PoolKind::Consul(expected));
        let node = pool.hosts.first().unwrap();
        assert_eq!(pool.hosts_for(node).collect::<Vec<_>>(), [node]);
    }

    #[test]
    fn what_cannot_be_of_a_pool_of_consul_is_said() {
        let cases = [
            ("url = \"127.0.0.1:8500\"", "url of apps begins with neither http:// nor https://"),
            ("url = \"http://me:secret@host\"", "a token belongs into token_file"),
            ("url = \"http://host?token=1\"", "a token belongs into token_file"),
            ("ca_file = \"/ca.pem\"", "ca_file of apps is for TLS, and its url is not"),
            ("token_file = \"token\"", "token_file of apps has to be a whole path, such as \"/etc/roundsman/token\""),
            ("mode = \"remove\"", "mode of apps cannot be \"remove\" (it can be maintenance, deregister)"),
            ("definition = \"/a.json\"", "definition of apps is for mode = \"deregister\""),
            ("event = \"_restarted\"", "\"_restarted\" is no event of apps"),
            ("event = \"a/b\"", "\"a/b\" is no event of apps"),
            ("after_drain = \"wait\"", "after_drain is no key of a consul pool"),
            ("socket = \"/s\"", "socket is no key of a consul pool (it has url, service, mode,"),
            ("propagation = \"1h\"", "propagation of apps is 1h, and deadlines.drain of app is over by then"),
        ];
        for (more, expected) in cases {
            let said = refused(&in_consul(more));
            assert!(said.iter().any(|text| text.contains(expected)), "{more}: {said:#?}");
        }
        let alone = in_consul("").replace("pool = \"apps\"", "pool = \"apsp\"");
        assert!(refused(&alone).iter().any(|text| text.contains("no service is behind apps")));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text = changed("nodes = [\"vm1\", \"vm3\"]", "nodes = [\"vm8\", \"vm9\"]")
            .replace("pool = \"apps\"", "pool = \"aps\"");
        let said = refused(&text);
        assert_eq!(said.len(), 3, "{said:#?}");
    }
}
