//! What an operator goes through by hand around a restart, as far as the fleet knows it: before, while it goes on, and after.

use std::{collections::BTreeSet, fmt::Write};

use super::fleet::tasks;
use crate::{
    cli::screen::{BAD, CARE, FAINT, GOOD, STRONG, Screen, one_line},
    wire::v1::{Fleet, FleetCheck, FleetInstance, FleetPlan, FleetTask},
};

/// Names in one line; of more only their number is told.
const NAMES_MAX: usize = 12;

/// How one item of the list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It is as it should be.
    Good,
    /// It is not, and nothing waits for it.
    Care,
    /// It is not.
    Bad,
    /// Nobody here can know.
    Yours,
}

/// An item: how it stands, what it is about, what is known.
type Item = (Mark, &'static str, String);

/// Before anything is done.
pub(crate) fn before(screen: &Screen, fleet: &Fleet, plan: &FleetPlan) -> String {
    let clients = tasks(plan).filter(|task| !is_named(plan, task));
    let clients: Vec<String> = clients.map(|task| format!("{} ({})", task.instance, words(&task.action))).collect();
    let clients = match clients.as_slice() {
        [] => (Mark::Care, "clients", "none is touched: nothing depends on it, or --no-cascade was said".to_owned()),
        clients => (Mark::Good, "clients", listed(clients)),
    };
    let items = [clients, redis(fleet), work(fleet, plan), people(fleet)];
    list(screen, "Before", items.into_iter())
}

/// After it.
pub(crate) fn after(screen: &Screen, fleet: &Fleet, plan: &FleetPlan) -> String {
    let (own, clients): (Vec<&FleetTask>, Vec<&FleetTask>) = tasks(plan).partition(|task| is_named(plan, task));
    let items = [
        done("restarted", &own),
        says(fleet, plan).map(|said| (Mark::Good, "it says", said)),
        drains(fleet, plan),
        done("clients", &clients),
        verified(fleet, &own, &clients),
        Some(redis(fleet)),
        Some((
            Mark::Yours,
            "watch",
            "error rates and connections: /metrics, and the dashboard in packaging".to_owned(),
        )),
    ];
    list(screen, "After", items.into_iter().flatten())
}

/// What has changed between two looks at a plan, a line each.
pub(crate) fn changes(screen: &Screen, from: &FleetPlan, to: &FleetPlan) -> String {
    let mut out = String::new();
    for (task, was) in tasks(to).zip(tasks(from)) {
        if task.stage == was.stage || task.class == "untouched" {
            continue;
        }
        let drains = match task.stage.as_str() {
            "draining" => format!(": {}", task.drains.join(", ")),
            _ => String::new(),
        };
        let line = format!("{} {}{drains}", task.instance, task.stage);
        writeln!(out, "{}  {}", screen.local(screen.now_us), one_line(&line)).ok();
    }
    out
}

fn redis(fleet: &Fleet) -> Item {
    let silent: Vec<String> =
        fleet.nodes.iter().filter_map(|node| Some(format!("{}: {}", node.name, node.trouble.as_ref()?))).collect();
    let probes = instances(fleet).flat_map(|(name, instance)| {
        let redis = instance.checks.iter().filter(|check| check.kind == "redis");
        redis.map(move |check| format!("probe {} of {name} {}", check.name, check.verdict))
    });
    let probes: Vec<String> = probes.collect::<BTreeSet<_>>().into_iter().collect();
    let bad = probes.iter().any(|probe| !probe.ends_with(" healthy"));
    let probes = if probes.is_empty() { String::new() } else { format!("; {}", listed(&probes)) };
    match (&fleet.trouble, fleet.quorum) {
        (Some(trouble), _) => (Mark::Bad, "Redis", trouble.clone()),
        (None, _) if !silent.is_empty() => (Mark::Bad, "nodes", format!("not reached: {}{probes}", listed(&silent))),
        (None, Some(quorum)) => {
            let mark = if !quorum.is_there {
                Mark::Bad
            } else if bad {
                Mark::Care
            } else {
                Mark::Good
            };
            (mark, "Redis", format!("it answers; {} of {} nodes are heard{probes}", quorum.reached, quorum.members))
        }
        (None, None) if fleet.has_bus => (Mark::Good, "Redis", format!("it answers{probes}")),
        (None, None) => (Mark::Yours, "Redis", format!("none is named in roundsman.toml{probes}")),
    }
}

/// What those that are restarted are doing.
fn work(fleet: &Fleet, plan: &FleetPlan) -> Item {
    match says(fleet, plan) {
        Some(said) => (Mark::Good, "under way", said),
        None => {
            (Mark::Yours, "under way", "the service does not say what it is doing (STATUS= of sd_notify)".to_owned())
        }
    }
}

/// What the services that were named say of themselves.
fn says(fleet: &Fleet, plan: &FleetPlan) -> Option<String> {
    let own: BTreeSet<&str> = tasks(plan).filter(|task| is_named(plan, task)).map(|task| &*task.instance).collect();
    let said = instances(fleet).filter(|(name, _)| own.contains(name.as_str()));
    let said: Vec<String> = said.filter_map(|(name, it)| Some(format!("{name}: {}", it.says.as_ref()?))).collect();
    (!said.is_empty()).then(|| listed(&said))
}

fn people(fleet: &Fleet) -> Item {
    if fleet.routes.is_empty() {
        let none = "nobody is told: there is no [[alert.route]] (supervisorctl alerts test NAME tries one)";
        return (Mark::Care, "operations", none.to_owned());
    }
    (
        Mark::Good,
        "operations",
        format!("told of the plan and its end (rollout_running) through {}", listed(&fleet.routes)),
    )
}

/// Whether each is done; nothing where there is none.
fn done(what: &'static str, of: &[&FleetTask]) -> Option<Item> {
    if of.is_empty() {
        return None;
    }
    let missing: Vec<String> = of
        .iter()
        .filter(|task| task.class != "done")
        .map(|task| {
            let why = task.failure.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("{} is {}{why}", task.instance, task.class)
        })
        .collect();
    Some(if missing.is_empty() {
        let names: Vec<String> = of.iter().map(|task| format!("{} ({})", task.instance, words(&task.action))).collect();
        (Mark::Good, what, format!("done, and healthy since: {}", listed(&names)))
    } else {
        (Mark::Bad, what, listed(&missing))
    })
}

/// Whether load balancers send requests again to whom they were kept from.
fn drains(fleet: &Fleet, plan: &FleetPlan) -> Option<Item> {
    let drained: BTreeSet<&str> = tasks(plan).flat_map(|task| &task.drains).map(String::as_str).collect();
    if drained.is_empty() {
        return None;
    }
    let takes = |drain: &str| {
        let (pool, server) = drain.split_once('/').unwrap_or((drain, ""));
        let servers =
            fleet.pools.iter().filter(|it| it.name == pool).flat_map(|it| it.servers.iter().flatten()).flatten();
        let mut of_name = servers.filter(|it| it.name == server).peekable();
        of_name.peek().is_some() && of_name.all(|it| it.takes)
    };
    let out: Vec<String> = drained.iter().filter(|drain| !takes(drain)).map(|drain| (*drain).to_owned()).collect();
    Some(if out.is_empty() {
        let names: Vec<String> = drained.into_iter().map(str::to_owned).collect();
        (Mark::Good, "pools", format!("requests go to {} again", listed(&names)))
    } else {
        (Mark::Bad, "pools", format!("no requests, or not known: {}", listed(&out)))
    })
}

/// By which probe each client was found well: one that uploads shows more than one that connects.
fn verified(fleet: &Fleet, own: &[&FleetTask], clients: &[&FleetTask]) -> Option<Item> {
    let names: BTreeSet<&str> = own.iter().chain(clients).map(|task| &*task.instance).collect();
    let (mut by, mut unproven, mut is_bad) = (Vec::new(), Vec::new(), false);
    for (name, instance) in instances(fleet).filter(|(name, _)| names.contains(name.as_str())) {
        let is_client = clients.iter().any(|task| task.instance == name);
        let uploads: Vec<&FleetCheck> = instance.checks.iter().filter(|check| check.kind == "upload").collect();
        is_bad |= uploads.iter().any(|check| check.verdict != "healthy");
        by.extend(uploads.iter().map(|check| format!("{name}: probe {} {}", check.name, check.verdict)));
        if uploads.is_empty() && is_client {
            unproven.push(name);
        }
    }
    let none = format!("no probe uploads from {} ([[health.http]] with sign does)", listed(&unproven));
    let known = match (by.is_empty(), unproven.is_empty()) {
        (false, true) => listed(&by),
        (false, false) => format!("{}; {none}", listed(&by)),
        (true, _) => none,
    };
    let mark = match (is_bad, by.is_empty(), unproven.is_empty()) {
        (true, ..) => Mark::Bad,
        (false, true, true) => return None,
        (false, _, false) => Mark::Yours,
        (false, false, true) => Mark::Good,
    };
    Some((mark, "uploads", known))
}

fn instances(fleet: &Fleet) -> impl Iterator<Item = (String, &FleetInstance)> {
    let of = |name: &str, instance: &FleetInstance| format!("{name}@{}", instance.node);
    fleet.services.iter().flat_map(move |service| service.instances.iter().map(move |it| (of(&service.name, it), it)))
}

/// Whether it is of a service that was asked for, and of none that follows.
fn is_named(plan: &FleetPlan, task: &FleetTask) -> bool {
    let service = task.instance.split_once('@').map_or(&*task.instance, |(service, _)| service);
    plan.services.iter().any(|name| name == service)
}

fn words(action: &str) -> String {
    action.replace('_', " ")
}

fn listed(names: &[String]) -> String {
    match names.get(NAMES_MAX..) {
        Some(more) if !more.is_empty() => format!("{} and {} more", names[..NAMES_MAX].join(", "), more.len()),
        Some(_) | None => names.join(", "),
    }
}

fn list(screen: &Screen, title: &str, items: impl Iterator<Item = Item>) -> String {
    let mut out = format!("\n{}\n", screen.paint(STRONG, title));
    for (mark, what, known) in items {
        let (sign, style) = match mark {
            Mark::Good => ("✓", GOOD),
            Mark::Care => ("!", CARE),
            Mark::Bad => ("✗", BAD),
            Mark::Yours => ("–", FAINT),
        };
        writeln!(out, "  {} {what:<11} {}", screen.paint(style, sign), one_line(&known)).ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::{FleetNode, FleetPool, FleetQuorum, FleetServer, FleetService, FleetSteps, FleetWave};

    fn task(instance: &str, action: &str, drains: &[&str]) -> FleetTask {
        FleetTask {
            instance: instance.to_owned(),
            action: action.to_owned(),
            drains: drains.iter().map(|drain| (*drain).to_owned()).collect(),
            stage: "waiting".to_owned(),
            class: "untouched".to_owned(),
            waits_for: None,
            failure: None,
        }
    }

    fn plan() -> FleetPlan {
        let wave = |service: &str, tasks| FleetWave {
            service: service.to_owned(),
            max_unavailable: 1,
            of: 1,
            soak_us: 0,
            alone: false,
            approve: false,
            is_done: false,
            why: Vec::new(),
            tasks,
        };
        FleetPlan {
            id: "abcd".to_owned(),
            digest: String::new(),
            by: "uid 0".to_owned(),
            node: "vm1".to_owned(),
            at_us: 0,
            verb: "restart".to_owned(),
            services: vec!["files".to_owned()],
            state: "running".to_owned(),
            reason: None,
            is_outdated: false,
            supersedes: None,
            driver: None,
            waves: vec![
                wave("files", vec![task("files@vm2", "restart", &[])]),
                wave("app", vec![task("app@vm3", "reload_or_restart", &["apps/vm3"])]),
            ],
            blockers: Vec::new(),
            estimate_us: 0,
            journal: Vec::new(),
        }
    }

    fn check(kind: &str, verdict: &str) -> FleetCheck {
        FleetCheck { name: format!("{kind}1"), kind: kind.to_owned(), verdict: verdict.to_owned() }
    }

    fn fleet() -> Fleet {
        let service = |name: &str, node: &str, says: Option<&str>, checks| FleetService {
            name: name.to_owned(),
            unit: name.to_owned(),
            instances: vec![FleetInstance {
                node: node.to_owned(),
                condition: "healthy".to_owned(),
                says: says.map(str::to_owned),
                checks,
            }],
            depends_on: Vec::new(),
            behind: Vec::new(),
            max_unavailable: 1,
        };
        let node = |name: &str| FleetNode {
            name: name.to_owned(),
            transport: "agent".to_owned(),
            zone: None,
            state: None,
            state_us: None,
            heard_us: None,
            trouble: None,
            version: None,
            digest: None,
        };
        Fleet {
            name: "home".to_owned(),
            node: "vm1".to_owned(),
            digest: String::new(),
            trouble: None,
            has_bus: true,
            driver: None,
            plan: None,
            quorum: Some(FleetQuorum { reached: 2, members: 2, is_there: true }),
            steps: FleetSteps::default(),
            nodes: vec![node("vm2"), node("vm3")],
            services: vec![
                service("app", "vm3", None, vec![check("upload", "healthy"), check("redis", "healthy")]),
                service("files", "vm2", Some("serving; 3 uploads in flight"), Vec::new()),
            ],
            pools: vec![FleetPool {
                name: "apps".to_owned(),
                hosts: vec!["vm1".to_owned()],
                servers: vec![Some(vec![FleetServer { name: "vm3".to_owned(), takes: true }])],
            }],
            routes: vec!["ops".to_owned()],
        }
    }

    fn ended() -> FleetPlan {
        let mut plan = plan();
        plan.waves.iter_mut().flat_map(|wave| &mut wave.tasks).for_each(|task| task.class = "done".to_owned());
        plan
    }

    #[test]
    fn all_is_well_before_and_after() {
        insta::assert_snapshot!(before(&Screen::page(0), &fleet(), &plan()));
        insta::assert_snapshot!(after(&Screen::page(0), &fleet(), &ended()));
    }

    #[test]
    fn what_is_not_as_it_should_be_stands_out_and_says_what_it_is() {
        let mut bad = fleet();
        bad.nodes[1].trouble = Some("nothing was heard of it for 20s".to_owned());
        bad.routes.clear();
        bad.services[1].instances[0].says = None;
        bad.services[0].instances[0].checks = vec![check("upload", "unhealthy"), check("redis", "unhealthy")];
        bad.pools[0].servers[0].as_mut().unwrap()[0].takes = false;
        let mut alone = plan();
        alone.waves.truncate(1);
        insta::assert_snapshot!(before(&Screen::page(0), &bad, &alone));
        let mut failed = ended();
        (failed.waves[1].tasks[0].class, failed.waves[1].tasks[0].failure) =
            ("failed".to_owned(), Some("healing: its probes did not agree within 1min".to_owned()));
        insta::assert_snapshot!(after(&Screen::page(0), &bad, &failed));
    }

    #[test]
    fn what_nobody_here_can_know_is_not_said_to_be_well() {
        let mut fleet = fleet();
        (fleet.has_bus, fleet.quorum) = (false, None);
        fleet.services[0].instances[0].checks.clear();
        insta::assert_snapshot!(after(&Screen::page(0), &fleet, &ended()));
    }

    #[test]
    fn each_change_of_a_stage_is_a_line() {
        let (from, mut to) = (plan(), plan());
        for task in to.waves.iter_mut().flat_map(|wave| &mut wave.tasks) {
            (task.stage, task.class) = ("draining".to_owned(), "in flight".to_owned());
        }
        insta::assert_snapshot!(changes(&Screen::page(0), &from, &to));
        assert_eq!(changes(&Screen::page(0), &to, &to), "");
    }
}
