//! What cannot be of a topology.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    super::Action, Consul, ConsulMode, INSTANCES_MAX, NODES_MAX, NodeName, Pool, PoolKind, PoolName, Require, Scope,
    ServiceName, Topology, Transport,
};

/// Where in a topology something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// All of it.
    Fleet,
    /// A node.
    Node(NodeName),
    /// A service.
    Service(ServiceName),
    /// One of a service's dependencies.
    Edge(ServiceName, usize),
    /// A pool.
    Pool(PoolName),
}

/// What cannot be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, and the likely remedy, for people.
    pub message: String,
}

pub(super) fn faults(topology: &Topology) -> Vec<Fault> {
    let mut faults = Faults { topology, found: Vec::new() };
    faults.sizes();
    faults.nodes();
    faults.services();
    faults.pools();
    if let Err(circle) = ordered(topology) {
        let words: Vec<String> = circle.iter().map(ToString::to_string).collect();
        let way = format!("services depend on each other in a circle: {}", words.join(" → "));
        let help = "one of these edges has to go, or be require = \"mutex\", which orders nothing";
        let at = circle.first().map_or(Place::Fleet, |name| Place::Service((*name).clone()));
        faults.add(at, format!("{way}; {help}"));
    }
    faults.found
}

/// Each service after those that it depends on, or a circle that is in the way, its first service again at its end.
pub(super) fn ordered(topology: &Topology) -> Result<Vec<&ServiceName>, Vec<&ServiceName>> {
    let mut waits: BTreeMap<&ServiceName, BTreeSet<&ServiceName>> = BTreeMap::new();
    let mut followers: BTreeMap<&ServiceName, Vec<&ServiceName>> = BTreeMap::new();
    for (name, service) in &topology.services {
        let ordering = service.depends_on.iter().filter(|edge| edge.require != Require::Mutex);
        let known = ordering.filter_map(|edge| topology.services.get_key_value(&edge.on).map(|(on, _)| on));
        let on: BTreeSet<&ServiceName> = known.collect();
        on.iter().for_each(|on| followers.entry(*on).or_default().push(name));
        waits.insert(name, on);
    }
    let free = waits.iter().filter(|(_, on)| on.is_empty());
    let mut ready: BTreeSet<&ServiceName> = free.map(|(name, _)| *name).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(name) = ready.pop_first() {
        order.push(name);
        waits.remove(name);
        for follower in followers.get(name).into_iter().flatten() {
            if let Some(on) = waits.get_mut(*follower) {
                on.remove(name);
                if on.is_empty() {
                    ready.insert(*follower);
                }
            }
        }
    }
    match waits.keys().next() {
        None => Ok(order),
        Some(first) => Err(circle(&waits, first)),
    }
}

/// Whoever waits for one that waits comes to a circle.
fn circle<'t>(
    waits: &BTreeMap<&'t ServiceName, BTreeSet<&'t ServiceName>>,
    first: &'t ServiceName,
) -> Vec<&'t ServiceName> {
    let mut way = vec![first];
    while let Some(next) = way.last().and_then(|at| waits.get(at)?.iter().find(|on| waits.contains_key(*on))) {
        let seen = way.iter().position(|name| name == next);
        way.push(next);
        if let Some(from) = seen {
            return way.split_off(from);
        }
    }
    way
}

struct Faults<'t> {
    topology: &'t Topology,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, place: Place, message: String) {
        self.found.push(Fault { place, message });
    }

    fn sizes(&mut self) {
        let nodes = self.topology.nodes.len();
        if nodes > NODES_MAX {
            self.add(Place::Fleet, format!("{nodes} nodes, at most {NODES_MAX}; make several fleets"));
        }
        let instances: usize = self.topology.services.values().map(|service| service.nodes.len()).sum();
        if instances > INSTANCES_MAX {
            self.add(Place::Fleet, format!("{instances} instances, at most {INSTANCES_MAX}; make several fleets"));
        }
    }

    /// Addresses are words of command lines.
    fn nodes(&mut self) {
        for (name, node) in &self.topology.nodes {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-:[]%".contains(&b);
            if node.address.is_empty() || node.address.starts_with('-') || !node.address.bytes().all(allowed) {
                let message =
                    format!("{:?} is no address of a node; say a host name, an IP address, or HOST:PORT", node.address);
                self.add(Place::Node(name.clone()), message);
            }
        }
    }

    fn services(&mut self) {
        for (name, service) in &self.topology.services {
            let place = || Place::Service(name.clone());
            if service.nodes.is_empty() {
                self.add(place(), format!("{name} runs on no node; name some in nodes"));
            }
            service.nodes.iter().for_each(|node| self.knows_node(place(), node));
            for (pool, server) in &service.behind {
                if !self.topology.pools.contains_key(pool) {
                    let known = known(self.topology.pools.keys());
                    self.add(place(), format!("{name} is behind {pool}, and there is no such pool ({known})"));
                }
                if service.nodes.len() > 1 && !server.contains("{node}") {
                    let help = "write {node} where the node's name belongs";
                    self.add(place(), format!("all instances of {name} are the server {server:?} of {pool}; {help}"));
                }
            }
            self.edges(name);
            self.policy(name);
            self.commands(name);
        }
    }

    fn commands(&mut self, name: &ServiceName) {
        let Some(service) = self.topology.services.get(name) else { return };
        let place = || Place::Service(name.clone());
        let by_ssh =
            |node: &&NodeName| self.topology.nodes.get(*node).is_some_and(|node| node.transport == Transport::Ssh);
        let is_by_ssh = service.nodes.iter().any(|node| by_ssh(&node));
        let mut found = Vec::new();
        for (key, argv) in service.commands.named() {
            let Some(argv) = argv else { continue };
            if argv.first().is_none_or(|program| program.is_empty()) {
                found.push(format!("{key} of {name} names no program; say {key} = [\"PROGRAM\", \"WORD\"]"));
            }
            if matches!(key, "reload" | "restart" | "status") && !is_by_ssh {
                let help = "on nodes with a daemon the unit says it";
                found
                    .push(format!("{key} of {name} is for hosts that are reached by ssh, and it runs on none; {help}"));
            }
        }
        if service.commands.restart.is_some() && service.commands.status.is_none() {
            let help = "without it nobody sees that it was restarted; such as status = [\"cat\", \"/run/NAME.pid\"]";
            found.push(format!("restart of {name} is a command, and status is not; {help}"));
        }
        for message in found {
            self.add(place(), message);
        }
    }

    fn edges(&mut self, name: &ServiceName) {
        let Some(service) = self.topology.services.get(name) else { return };
        let mut seen = BTreeSet::new();
        for (nth, edge) in service.depends_on.iter().enumerate() {
            let place = Place::Edge(name.clone(), nth);
            let on = &edge.on;
            let Some(other) = self.topology.services.get(on) else {
                let known = known(self.topology.services.keys());
                self.add(place, format!("{name} depends on {on}, and there is no such service ({known})"));
                continue;
            };
            if !seen.insert(on) {
                self.add(place.clone(), format!("{name} depends on {on} twice; say it once"));
            }
            if edge.on_restart == Some(Action::Notify) && service.commands.notify.is_none() {
                let message =
                    format!("{name} is to be notified, and names no command for it; say notify = [\"PROGRAM\"]");
                self.add(place.clone(), message);
            }
            if edge.scope == Scope::SameZone {
                let nodes = service.nodes.iter().chain(&other.nodes);
                let without = nodes.filter(|node| self.topology.zone(node).is_none()).collect::<BTreeSet<_>>();
                if let Some(node) = without.first() {
                    let message = format!("scope is \"same_zone\", and the node {node} is in no zone; give it one");
                    self.add(place, message);
                }
            }
        }
    }

    fn policy(&mut self, name: &ServiceName) {
        let Some(service) = self.topology.services.get(name) else { return };
        let (policy, count) = (&service.policy, service.count());
        let place = || Place::Service(name.clone());
        if policy.waves.is_empty() {
            self.add(place(), "waves is empty; without it all are one wave".to_owned());
        }
        if policy.min_active >= count && !service.behind.is_empty() && count > 0 {
            let message = format!(
                "min_active is {} and {name} has {count} instance(s): none could ever be drained; lower it",
                policy.min_active
            );
            self.add(place(), message);
        }
        let deadlines = policy.deadlines;
        let each = [
            ("drain", deadlines.drain),
            ("validate", deadlines.validate),
            ("act", deadlines.act),
            ("healthy", deadlines.healthy),
            ("progress", deadlines.progress),
        ];
        for (which, span) in each {
            if span.is_zero() || span.micros().is_none() {
                let message = format!("deadlines.{which} is {span}: it has to end, and not at once");
                self.add(place(), message);
            }
        }
    }

    fn pools(&mut self) {
        for (name, pool) in &self.topology.pools {
            let place = || Place::Pool(name.clone());
            if pool.hosts.is_empty() {
                let message = match &pool.kind {
                    PoolKind::Consul(_) => {
                        format!("no service is behind {name}; say behind = [{{ pool = \"{name}\" }}] of one")
                    }
                    PoolKind::Haproxy { .. } | PoolKind::Nginx { .. } | PoolKind::Hook { .. } => {
                        format!("the pool {name} has no hosts; name the nodes of its load balancers")
                    }
                };
                self.add(place(), message);
            }
            if let PoolKind::Consul(consul) = &pool.kind {
                self.consul(name, pool, consul);
            }
            pool.hosts.iter().for_each(|node| self.knows_node(place(), node));
            if let Some(balancer) = &pool.balancer
                && !self.topology.services.contains_key(balancer)
            {
                let known = known(self.topology.services.keys());
                self.add(place(), format!("the balancer of {name} is {balancer}, which is no service ({known})"));
            }
        }
    }

    fn consul(&mut self, name: &PoolName, pool: &Pool, consul: &Consul) {
        let by_ssh =
            |node: &&NodeName| self.topology.nodes.get(*node).is_some_and(|node| node.transport == Transport::Ssh);
        let without = pool.hosts.iter().find(by_ssh);
        if let (ConsulMode::Deregister(_), Some(node)) = (&consul.mode, without) {
            let help = "say mode = \"maintenance\"";
            let message = format!(
                "mode of {name} cannot be \"deregister\": without a daemon on {node} nothing keeps how it was registered; {help}"
            );
            self.add(Place::Pool(name.clone()), message);
        }
        let behind = self.topology.services.iter().filter(|(_, it)| it.behind.iter().any(|(pool, _)| pool == name));
        let late =
            behind.filter(|(_, it)| it.policy.deadlines.drain <= consul.propagation).map(|(name, _)| name.clone());
        for service in late.collect::<Vec<_>>() {
            let help = "it has to be shorter";
            let message = format!(
                "propagation of {name} is {}, and deadlines.drain of {service} is over by then; {help}",
                consul.propagation
            );
            self.add(Place::Pool(name.clone()), message);
        }
    }

    fn knows_node(&mut self, place: Place, node: &NodeName) {
        if !self.topology.nodes.contains_key(node) {
            let known = known(self.topology.nodes.keys());
            self.add(place, format!("there is no node {node} ({known})"));
        }
    }
}

/// Names that there are, for whoever looks for another.
fn known<N: fmt::Display>(names: impl Iterator<Item = N>) -> String {
    /// More are no help.
    const NAMED_MAX: usize = 8;
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    match names.len() {
        0 => "there is none".to_owned(),
        n if n > NAMED_MAX => {
            let some: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
            format!("there are {} and {} more", some.join(", "), n - NAMED_MAX)
        }
        _ => format!("there are {}", names.join(", ")),
    }
}
