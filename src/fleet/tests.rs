//! Topologies and plans: what the operators' documents ask for, and what must hold of any.

mod agreed;
mod calm;
mod ends;
mod journal;
mod large;
mod membership;
mod outdated;
mod plans;
mod resumed;
mod safety;
mod targets;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{base::UnitName, unit::Digest};

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn pool(name: &str) -> PoolName {
    PoolName::new(name).unwrap()
}

/// A topology as a few words: `zone` may be left out.
#[derive(Debug, Clone)]
struct Draft(Topology);

impl Draft {
    fn new() -> Self {
        let name = FleetName::new("test").unwrap();
        Self(Topology { name, nodes: BTreeMap::new(), services: BTreeMap::new(), pools: BTreeMap::new() })
    }

    fn nodes(mut self, names: &[&str], zone: Option<&str>) -> Self {
        for name in names {
            let zone = zone.map(|zone| ZoneName::new(zone).unwrap());
            let made =
                Node { transport: Transport::Agent, address: (*name).into(), user: "root".into(), zone, last: false };
            self.0.nodes.insert(node(name), made);
        }
        self
    }

    fn service(mut self, name: &str, nodes: &[&str]) -> Self {
        let made = Service {
            unit: UnitName::new(name).unwrap(),
            nodes: nodes.iter().map(|name| node(name)).collect(),
            depends_on: Vec::new(),
            behind: Vec::new(),
            commands: Commands { notify: Some(vec!["true".into()]), ..Commands::default() },
            policy: Policy::default(),
        };
        self.0.services.insert(service(name), made);
        self
    }

    fn policy(mut self, name: &str, policy: Policy) -> Self {
        self.0.services.get_mut(&service(name)).unwrap().policy = policy;
        self
    }

    fn depends(self, name: &str, on: &str, on_restart: Option<Action>) -> Self {
        self.edge(name, Edge { on: service(on), on_restart, require: Require::Healthy, scope: Scope::All })
    }

    fn edge(mut self, name: &str, edge: Edge) -> Self {
        self.0.services.get_mut(&service(name)).unwrap().depends_on.push(edge);
        self
    }

    fn pool(mut self, name: &str, hosts: &[&str], behind: &str) -> Self {
        let kind = PoolKind::Haproxy { socket: "/run/haproxy/admin.sock".into(), backend: name.into() };
        let hosts = hosts.iter().map(|name| node(name)).collect();
        let made = Pool { hosts, balancer: None, kind, min_active: 1, after_drain: AfterDrain::Wait };
        self.0.pools.insert(pool(name), made);
        self.0.services.get_mut(&service(behind)).unwrap().behind.push((pool(name), "{node}".into()));
        self
    }

    fn checked(self) -> Topology {
        self.0.checked().unwrap()
    }
}

/// The fleet of the operators' guide: a file server on vm2, XMPP servers, application servers, a load balancer.
fn guide() -> Draft {
    Draft::new()
        .nodes(&["vm1", "vm2", "vm3", "vm4", "vm5", "vm6", "lb1"], None)
        .service("hmac-file-server", &["vm2"])
        .service("ejabberd", &["vm1", "vm3"])
        .service("app", &["vm4", "vm5", "vm6"])
        .depends("ejabberd", "hmac-file-server", Some(Action::ReloadOrRestart))
        .depends("app", "hmac-file-server", Some(Action::Restart))
        .pool("apps", &["lb1"], "app")
}

/// Everyone is well and heard from, and every load balancer has every server.
fn all_well(topology: &Topology, driver: &str) -> Facts {
    let instances = topology.services.iter().flat_map(|(name, service)| service.instances(name));
    let servers = |name: &PoolName| {
        let behind = topology.services.values().filter(|service| service.behind.iter().any(|(pool, _)| pool == name));
        behind.flat_map(|service| &service.nodes).map(|node| (node.as_str().into(), true)).collect()
    };
    let hosts = |name: &PoolName, pool: &Pool| {
        pool.hosts.iter().map(|host| (host.clone(), PoolFact::Servers(servers(name)))).collect()
    };
    Facts {
        driver: node(driver),
        nodes: topology.nodes.keys().map(|name| (name.clone(), Reach::Fresh)).collect(),
        instances: instances.map(|instance| (instance, Condition::Healthy)).collect(),
        pools: topology.pools.iter().map(|(name, pool)| (name.clone(), hosts(name, pool))).collect(),
    }
}

fn restart(services: &[&str]) -> Intent {
    let services = services.iter().map(|name| service(name)).collect();
    Intent { verb: Verb::Restart, services, nodes: BTreeSet::new(), cascade: true, at_any_time: false }
}

fn planned(topology: &Topology, intent: &Intent, facts: &Facts) -> Plan {
    plan(topology, Digest([7; 32]), intent, facts).unwrap()
}

/// A plan in a line a wave: `service: node=action …; after waves`.
fn lines(plan: &Plan) -> Vec<String> {
    let task = |task: &Task| format!("{}={}", task.instance.node, task.action.as_str());
    let line = |wave: &Wave| {
        let tasks: Vec<String> = wave.tasks.iter().map(task).collect();
        let after: Vec<String> = wave.after.iter().map(ToString::to_string).collect();
        let alone = if wave.alone { " alone" } else { "" };
        format!("{}: {}; after [{}]{alone}", wave.service, tasks.join(" "), after.join(" "))
    };
    plan.waves.iter().map(line).collect()
}

#[test]
fn names_that_nobody_has_are_faults_with_those_that_there_are() {
    let faults =
        |draft: Draft| draft.0.checked().unwrap_err().into_iter().map(|fault| fault.message).collect::<Vec<_>>();
    let unknown = guide().service("web", &["vm9"]).depends("web", "databse", None);
    let found = faults(unknown);
    assert!(found.iter().any(|text| text.starts_with("there is no node vm9 (there are lb1, vm1,")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("depends on databse, and there is no such service")), "{found:?}");
    let empty = faults(guide().service("web", &[]));
    assert_eq!(empty, ["web runs on no node; name some in nodes"]);
    let twice = faults(guide().depends("app", "hmac-file-server", None));
    assert!(twice[0].contains("twice"), "{twice:?}");
    let zoneless = Edge { scope: Scope::SameZone, ..guide().0.services[&service("app")].depends_on[0].clone() };
    let zoneless = faults(guide().service("web", &["vm1"]).edge("web", zoneless));
    assert!(zoneless[0].contains("is in no zone"), "{zoneless:?}");
}

#[test]
fn a_circle_is_named_in_its_order() {
    let draft = Draft::new()
        .nodes(&["vm1"], None)
        .service("a", &["vm1"])
        .service("b", &["vm1"])
        .service("c", &["vm1"])
        .service("d", &["vm1"])
        .depends("a", "b", None)
        .depends("b", "c", Some(Action::Restart))
        .depends("c", "b", Some(Action::Reload))
        .depends("d", "a", None);
    let faults = draft.0.clone().checked().unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("in a circle: b → c → b;"), "{}", faults[0].message);
    let mut mended = draft;
    mended.0.services.get_mut(&service("c")).unwrap().depends_on[0].require = Require::Mutex;
    mended.checked();
}

#[test]
fn a_service_of_which_none_could_be_drained_is_a_fault() {
    let draft = guide().policy("app", Policy { min_active: 3, ..Policy::default() });
    let faults = draft.0.checked().unwrap_err();
    assert!(faults[0].message.contains("none could ever be drained"), "{}", faults[0].message);
}
