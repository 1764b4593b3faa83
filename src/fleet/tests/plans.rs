//! What comes in which order.

use proptest::prelude::*;

use super::*;
use crate::base::TimeSpan;

#[test]
fn the_guides_restart_is_the_server_then_who_caches_it() {
    let topology = guide().checked();
    let plan = planned(&topology, &restart(&["hmac-file-server"]), &all_well(&topology, "lb1"));
    assert_eq!(
        lines(&plan),
        [
            "hmac-file-server: vm2=restart; after []",
            "app: vm4=restart vm5=restart vm6=restart; after [0]",
            "ejabberd: vm1=reload_or_restart vm3=reload_or_restart; after [0]",
        ]
    );
    assert_eq!(plan.blockers, []);
    assert_eq!(plan.waves[0].why, [Why::Wanted]);
    assert_eq!(plan.waves[1].why, [Why::DependsOn(service("hmac-file-server"))]);
    assert_eq!(plan.waves[1].tasks[0].drains, [(pool("apps"), "vm4".into())]);
    assert!(plan.waves[2].tasks[0].drains.is_empty(), "who only reloads keeps its traffic");
    // One at a time: 10 s each for draining and for the act, after the server's 10 s.
    assert_eq!(plan.estimate(), TimeSpan::from_secs(70));
}

#[test]
fn without_cascade_or_for_a_reload_nobody_else_is_told() {
    let topology = guide().checked();
    let facts = all_well(&topology, "lb1");
    let alone = Intent { cascade: false, ..restart(&["hmac-file-server"]) };
    assert_eq!(lines(&planned(&topology, &alone, &facts)), ["hmac-file-server: vm2=restart; after []"]);
    let reload = Intent { verb: Verb::Reload, ..restart(&["hmac-file-server"]) };
    assert_eq!(lines(&planned(&topology, &reload, &facts)), ["hmac-file-server: vm2=reload; after []"]);
}

#[test]
fn the_more_that_is_asked_of_an_instance_is_done_and_once() {
    let topology = guide().depends("app", "ejabberd", Some(Action::Reload)).checked();
    let plan = planned(&topology, &restart(&["hmac-file-server", "ejabberd"]), &all_well(&topology, "lb1"));
    assert_eq!(
        lines(&plan),
        [
            "hmac-file-server: vm2=restart; after []",
            "ejabberd: vm1=restart vm3=restart; after [0]",
            "app: vm4=restart vm5=restart vm6=restart; after [0 1]",
        ]
    );
}

#[test]
fn the_node_that_drives_and_the_one_of_redis_come_last_and_alone() {
    let mut draft = guide();
    draft.0.nodes.get_mut(&node("vm4")).unwrap().last = true;
    let topology = draft.checked();
    let plan = planned(&topology, &restart(&["app"]), &all_well(&topology, "vm5"));
    assert_eq!(
        lines(&plan),
        ["app: vm6=restart; after []", "app: vm4=restart; after [0] alone", "app: vm5=restart; after [1] alone",]
    );
    assert_eq!(plan.waves[2].why, [Why::Last(node("vm5"))]);
}

#[test]
fn a_canary_goes_first_and_no_wave_takes_all_of_a_zone() {
    let names: Vec<String> = (1..=8).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let policy = Policy {
        max_unavailable: Share::Percent(50),
        canary: Some(Canary { count: Share::Count(1), soak: TimeSpan::from_secs(60) }),
        waves: vec![Share::Percent(50), Share::Percent(100)],
        soak: TimeSpan::from_secs(5),
        ..Policy::default()
    };
    let topology = Draft::new()
        .nodes(&names[..4], Some("a"))
        .nodes(&names[4..], Some("b"))
        .nodes(&["boss"], None)
        .service("web", &names)
        .policy("web", policy)
        .checked();
    let plan = planned(&topology, &restart(&["web"]), &all_well(&topology, "boss"));
    assert_eq!(
        lines(&plan),
        [
            "web: n1=restart; after []",
            "web: n5=restart n2=restart n6=restart; after [0]",
            "web: n3=restart n7=restart n4=restart n8=restart; after [1]",
        ]
    );
    assert_eq!(plan.waves[0].why, [Why::Wanted, Why::Canary]);
    assert_eq!(plan.waves[0].soak, TimeSpan::from_secs(60));
    assert_eq!(plan.waves[1].why, [Why::Step { done: 4, all: 8 }]);
    assert_eq!(plan.waves[1].max_unavailable, 4);
    let whole = Policy { waves: vec![Share::Percent(100)], ..Policy::default() };
    let topology = Draft(topology).policy("web", whole).checked();
    let plan = planned(&topology, &restart(&["web"]), &all_well(&topology, "boss"));
    assert_eq!(plan.waves.len(), 2, "{:?}", lines(&plan));
    assert!(plan.waves[0].why.contains(&Why::Zone(ZoneName::new("a").unwrap())), "{:?}", plan.waves[0].why);
}

#[test]
fn a_load_balancer_is_not_acted_on_while_it_holds_a_drain() {
    let mut draft = guide().service("haproxy", &["lb1"]).depends("haproxy", "hmac-file-server", Some(Action::Reload));
    draft.0.pools.get_mut(&pool("apps")).unwrap().balancer = Some(service("haproxy"));
    let topology = draft.checked();
    let plan = planned(&topology, &restart(&["hmac-file-server"]), &all_well(&topology, "vm1"));
    let at = |name: &str| plan.waves.iter().position(|wave| wave.service == service(name)).unwrap();
    assert!(plan.waves[at("haproxy")].after.contains(&at("app")), "{:?}", lines(&plan));
}

#[test]
fn dependents_of_the_same_zone_follow_their_own() {
    let edge =
        Edge { on: service("db"), on_restart: Some(Action::Reload), require: Require::Healthy, scope: Scope::SameZone };
    let topology = Draft::new()
        .nodes(&["a1", "a2"], Some("a"))
        .nodes(&["b1", "b2"], Some("b"))
        .nodes(&["boss"], None)
        .service("db", &["a1", "b1"])
        .service("web", &["a2", "b2"])
        .edge("web", edge)
        .checked();
    let one = Intent { nodes: [node("a1")].into(), ..restart(&["db"]) };
    let plan = planned(&topology, &one, &all_well(&topology, "boss"));
    assert_eq!(lines(&plan), ["db: a1=restart; after []", "web: a2=reload; after [0]"]);
}

#[test]
fn what_is_in_the_way_is_named() {
    let topology = guide().checked();
    let intent = restart(&["hmac-file-server"]);
    let blockers =
        |facts: &Facts| planned(&topology, &intent, facts).blockers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut facts = all_well(&topology, "lb1");
    facts.nodes.insert(node("vm5"), Reach::No("its last heartbeat came 40 s ago".to_owned()));
    facts.nodes.remove(&node("vm6"));
    assert_eq!(
        blockers(&facts),
        [
            "node vm5 is out of reach: its last heartbeat came 40 s ago",
            "node vm6 is out of reach: nothing was heard from it",
        ]
    );
    let mut facts = all_well(&topology, "lb1");
    let servers = [("vm4".into(), true), ("vm5".into(), false)].into();
    facts.pools.insert(pool("apps"), [(node("lb1"), PoolFact::Servers(servers))].into());
    assert_eq!(
        blockers(&facts),
        [
            "pool apps has 1 active servers and must keep 1; none could be drained",
            "the load balancer on lb1 has no server \"vm6\" in pool apps",
        ]
    );
    let mut facts = all_well(&topology, "lb1");
    facts.pools.insert(pool("apps"), [(node("lb1"), PoolFact::No("connection refused".to_owned()))].into());
    assert_eq!(blockers(&facts), ["node lb1 is out of reach: its load balancer does not answer: connection refused"]);
}

#[test]
fn load_balancers_that_differ_are_in_the_way() {
    let topology = guide().nodes(&["lb2"], None).pool("apps2", &["lb1", "lb2"], "app").checked();
    let mut facts = all_well(&topology, "lb1");
    let servers = [("vm4".into(), true), ("vm5".into(), true)].into();
    facts.pools.get_mut(&pool("apps2")).unwrap().insert(node("lb2"), PoolFact::Servers(servers));
    let plan = planned(&topology, &restart(&["app"]), &facts);
    let shown: Vec<String> = plan.blockers.iter().map(ToString::to_string).collect();
    assert!(
        shown.iter().any(|text| text.ends_with("pool apps2 differ: lb1 has the server vm6, lb2 does not")),
        "{shown:?}"
    );
}

#[test]
fn who_is_broken_may_be_restarted_and_who_is_not_asked_uses_the_budget() {
    let topology = guide().checked();
    let of = |name: &str| Instance { service: service("app"), node: node(name) };
    let mut facts = all_well(&topology, "lb1");
    facts.instances.insert(of("vm4"), Condition::Bad);
    assert_eq!(planned(&topology, &restart(&["app"]), &facts).blockers, []);
    let others = Intent { nodes: [node("vm5")].into(), ..restart(&["app"]) };
    let plan = planned(&topology, &others, &facts);
    let shown: Vec<String> = plan.blockers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["1 of app are unavailable already (app@vm4), 1 may be; bring them back first"]);
    facts.instances.insert(of("vm4"), Condition::Quarantined);
    assert_eq!(planned(&topology, &others, &facts).blockers, []);
    let all = planned(&topology, &restart(&["app"]), &facts);
    assert_eq!(lines(&all), ["app: vm5=restart vm6=restart; after []"], "who is quarantined is left alone");
}

#[test]
fn unknown_names_are_refused_with_the_likely_one() {
    let topology = guide().checked();
    let facts = all_well(&topology, "lb1");
    let refused = |intent: &Intent| plan(&topology, Digest([0; 32]), intent, &facts).unwrap_err().to_string();
    assert_eq!(refused(&restart(&["ejaberd"])), "there is no service ejaberd in the fleet (did you mean ejabberd?)");
    let elsewhere = Intent { nodes: [node("vm")].into(), ..restart(&["app"]) };
    assert!(refused(&elsewhere).starts_with("there is no node vm in the fleet"));
}

#[test]
fn the_digest_is_of_what_will_be_done() {
    let topology = guide().checked();
    let facts = all_well(&topology, "lb1");
    let plan = planned(&topology, &restart(&["app"]), &facts);
    let same =
        Plan { blockers: vec![Blocker::Unreachable { node: node("vm1"), reason: String::new() }], ..plan.clone() };
    assert_eq!(same.digest(), plan.digest());
    let mut other = plan.clone();
    other.waves[0].tasks[0].action = Action::Reload;
    assert_ne!(other.digest(), plan.digest());
    let mut other = plan.clone();
    other.waves[0].max_unavailable = 2;
    assert_ne!(other.digest(), plan.digest());
    assert_ne!(Plan { topology: Digest([8; 32]), ..plan.clone() }.digest(), plan.digest());
    // Who is followed is in no wave, and is waited for.
    let follow =
        |services: &[&str]| Plan { intent: Intent { verb: Verb::Follow, ..restart(services) }, ..plan.clone() };
    assert_ne!(follow(&["app"]).digest(), follow(&["hmac-file-server"]).digest());
}

/// Some fleet: nodes in zones, services on some of them, each depending on some before it.
fn fleets() -> impl Strategy<Value = (Draft, Intent, String)> {
    let edges = proptest::collection::vec((0_usize..8, 0_usize..8, 0_usize..5, 0_usize..3), 0..12);
    let services =
        proptest::collection::vec((proptest::collection::btree_set(0_usize..12, 1..9), 1_u32..4, 1_u32..100), 1..8);
    let chosen = proptest::collection::btree_set(0_usize..8, 1..4);
    (services, edges, chosen, 0_usize..12, any::<bool>()).prop_map(|(services, edges, chosen, driver, cascade)| {
        let name = |n: usize| format!("n{n}");
        let mut draft = Draft::new();
        for n in 0..12 {
            draft = draft.nodes(&[&name(n)], Some(["a", "b", "c"][n % 3]));
        }
        for (at, (nodes, max, wave)) in services.iter().enumerate() {
            let nodes: Vec<String> = nodes.iter().map(|n| name(*n)).collect();
            let policy = Policy {
                max_unavailable: Share::Count(*max),
                waves: vec![Share::Count(1), Share::Percent(*wave)],
                ..Policy::default()
            };
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            draft = draft.service(&format!("s{at}"), &nodes).policy(&format!("s{at}"), policy);
        }
        let mut seen = BTreeSet::new();
        for (from, to, on_restart, require) in edges {
            let (from, to) = (from.max(to), from.min(to));
            if from != to && from < services.len() && seen.insert((from, to)) {
                let (on_restart, require) =
                    (on_restart.checked_sub(1).map(|at| Action::ALL[at]), Require::ALL[require]);
                let edge = Edge { on: service(&format!("s{to}")), on_restart, require, scope: Scope::All };
                draft = draft.edge(&format!("s{from}"), edge);
            }
        }
        let chosen: Vec<String> = chosen.iter().map(|n| format!("s{}", n % services.len())).collect();
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        (draft, Intent { cascade, ..restart(&chosen) }, name(driver))
    })
}

proptest! {
    /// Each instance once, nothing before what it depends on, never all of a zone, and the same for the same fleet.
    #[test]
    fn any_plan_is_in_order((draft, intent, driver) in fleets()) {
        let topology = draft.checked();
        let facts = all_well(&topology, &driver);
        let plan = planned(&topology, &intent, &facts);
        prop_assert_eq!(&plan, &planned(&topology, &intent, &facts));
        let mut seen = BTreeSet::new();
        for task in plan.tasks() {
            prop_assert!(seen.insert(task.instance.clone()), "{} twice", task.instance);
        }
        for name in &intent.services {
            for instance in topology.services[name].instances(name) {
                prop_assert!(seen.contains(&instance), "{} was forgotten", instance);
            }
        }
        // Everything that a wave comes after, by whatever way.
        let mut before: Vec<BTreeSet<usize>> = Vec::new();
        for (nth, wave) in plan.waves.iter().enumerate() {
            prop_assert!(!wave.tasks.is_empty());
            prop_assert!(wave.after.iter().all(|earlier| *earlier < nth));
            let mut all = wave.after.clone();
            wave.after.iter().for_each(|earlier| all.extend(&before[*earlier]));
            before.push(all);
            prop_assert!(!wave.alone || wave.tasks.len() == 1);
        }
        for (nth, wave) in plan.waves.iter().enumerate() {
            for (other, earlier) in plan.waves.iter().enumerate() {
                let edges = &topology.services[&wave.service].depends_on;
                if wave.service == earlier.service && other < nth || edges.iter().any(|edge| edge.on == earlier.service) {
                    prop_assert!(before[nth].contains(&other), "{:?}", lines(&plan));
                }
            }
            for zone in topology.nodes.values().filter_map(|node| node.zone.as_ref()) {
                let of_zone = |node: &NodeName| topology.zone(node) == Some(zone);
                let there = topology.services[&wave.service].nodes.iter().filter(|node| of_zone(node)).count();
                let taken = wave.tasks.iter().filter(|task| of_zone(&task.instance.node)).count();
                prop_assert!(there < 2 || taken < there, "{:?}", lines(&plan));
            }
        }
    }
}

proptest! {
    /// P6: in whichever order nodes, services, instances, edges and pools are told, the plan is the same, and so is why.
    #[test]
    fn a_plan_does_not_depend_on_the_order_in_which_a_fleet_is_written((draft, intent, driver) in fleets(), seed: u64) {
        let mut rng = crate::base::Rng::new(seed);
        let mut shuffled = |count: usize| {
            let mut places: Vec<usize> = (0..count).collect();
            (1..count).rev().for_each(|at| places.swap(at, usize::try_from(rng.below(at as u64 + 1)).unwrap()));
            places
        };
        let mut draft = draft.nodes(&["lb1", "lb2"], None);
        for name in ["one", "two", "three"] {
            draft = draft.pool(name, &["lb1", "lb2"], "s0");
        }
        // One of whom none could be drained is no fleet.
        prop_assume!(draft.0.services[&service("s0")].nodes.len() > 1);
        let mut other = Draft::new();
        for at in shuffled(draft.0.nodes.len()) {
            let (name, node) = draft.0.nodes.iter().nth(at).unwrap();
            other.0.nodes.insert(name.clone(), node.clone());
        }
        for at in shuffled(draft.0.services.len()) {
            let (name, known) = draft.0.services.iter().nth(at).unwrap();
            let mut made = known.clone();
            made.nodes = shuffled(known.nodes.len()).into_iter().map(|at| known.nodes.iter().nth(at).unwrap().clone()).collect();
            made.depends_on = shuffled(known.depends_on.len()).into_iter().map(|at| known.depends_on[at].clone()).collect();
            made.behind = shuffled(known.behind.len()).into_iter().map(|at| known.behind[at].clone()).collect();
            other.0.services.insert(name.clone(), made);
        }
        for at in shuffled(draft.0.pools.len()) {
            let (name, pool) = draft.0.pools.iter().nth(at).unwrap();
            other.0.pools.insert(name.clone(), pool.clone());
        }
        let (one, other) = (draft.checked(), other.checked());
        let plans = [&one, &other].map(|topology| planned(topology, &intent, &all_well(topology, &driver)));
        prop_assert_eq!(&plans[0], &plans[1]);
        prop_assert_eq!(plans[0].digest(), plans[1].digest());
    }
}

#[test]
fn ten_thousand_instances_are_planned() {
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut draft = Draft::new();
    for (nth, name) in names.iter().enumerate() {
        draft = draft.nodes(&[name], Some(["a", "b", "c"][nth % 3]));
    }
    draft = draft.service("s0", &names);
    for n in 1..10 {
        draft = draft.service(&format!("s{n}"), &names).depends(
            &format!("s{n}"),
            &format!("s{}", n - 1),
            Some(Action::Restart),
        );
    }
    let topology = draft.checked();
    let plan = planned(&topology, &restart(&["s0"]), &all_well(&topology, "n0"));
    assert_eq!(plan.tasks().count(), 10_000);
}

#[test]
fn a_service_that_restarted_by_itself_is_followed_and_not_restarted_again() {
    let topology = guide().checked();
    let intent = Intent { verb: Verb::Follow, ..restart(&["hmac-file-server"]) };
    let plan = planned(&topology, &intent, &all_well(&topology, "vm2"));
    let expected = [
        "app: vm4=restart vm5=restart vm6=restart; after []",
        "ejabberd: vm1=reload_or_restart vm3=reload_or_restart; after []",
    ];
    assert_eq!(lines(&plan), expected);
    assert_eq!(plan.waves[0].why, [Why::DependsOn(service("hmac-file-server"))]);
    let elsewhere = Intent { nodes: BTreeSet::from([node("vm1")]), ..intent.clone() };
    assert!(planned(&topology, &elsewhere, &all_well(&topology, "vm2")).waves.is_empty(), "none of it is there");
    let alone = Intent { cascade: false, ..intent };
    assert!(planned(&topology, &alone, &all_well(&topology, "vm2")).waves.is_empty());
}

#[test]
fn where_each_node_has_its_own_pool_a_server_is_looked_for_at_its_node_alone() {
    let mut draft = guide();
    let consul = Consul {
        url: "http://127.0.0.1:8500".into(),
        service: "app".into(),
        mode: ConsulMode::Maintenance,
        propagation: TimeSpan::from_secs(3),
        token_file: None,
        ca_file: None,
        event: None,
    };
    let nodes = ["vm4", "vm5", "vm6"].map(node);
    let made = draft.0.pools.get_mut(&pool("apps")).unwrap();
    (made.kind, made.hosts) = (PoolKind::Consul(consul), nodes.into());
    let topology = draft.checked();
    let mut facts = all_well(&topology, "vm1");
    // The agent of vm6 has not heard of its own server, and vm5's not yet of the others.
    for (host, known) in [("vm4", &["vm4", "vm5", "vm6"][..]), ("vm5", &["vm5", "vm6"]), ("vm6", &["vm4", "vm5"])] {
        let servers = known.iter().map(|name| ((*name).into(), true)).collect();
        facts.pools.get_mut(&pool("apps")).unwrap().insert(node(host), PoolFact::Servers(servers));
    }
    let plan = planned(&topology, &restart(&["app"]), &facts);
    let unknown = |host| Blocker::UnknownServer { pool: pool("apps"), host, server: "vm6".to_owned() };
    assert_eq!(plan.blockers, [unknown(node("vm6"))]);
    facts.nodes.insert(node("vm5"), Reach::No("asleep".to_owned()));
    let one = Intent { nodes: [node("vm4")].into(), ..restart(&["app"]) };
    assert_eq!(planned(&topology, &one, &facts).blockers, [], "another node has no part in it");
}
