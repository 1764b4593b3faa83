//! What someone agreed to is what is done, and nothing else is.

use proptest::prelude::*;

use super::{
    calm::{Calm, Course, fleets},
    *,
};

/// All that makes a plan another one.
fn others(plan: &Plan) -> Vec<Plan> {
    let mut others = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut other = plan.clone();
        change(&mut other);
        if other != *plan {
            others.push(other);
        }
    };
    with(&|it| it.topology = Digest([8; 32]));
    with(&|it| it.intent.verb = Verb::Reload);
    with(&|it| it.intent.at_any_time = true);
    with(&|it| it.waves.reverse());
    with(&|it| drop(it.waves.pop()));
    for nth in 0..plan.waves.len() {
        with(&|it| it.waves[nth].service = service("another"));
        with(&|it| it.waves[nth].after.extend([99]));
        with(&|it| it.waves[nth].after.clear());
        with(&|it| it.waves[nth].max_unavailable += 1);
        with(&|it| it.waves[nth].soak = crate::base::TimeSpan::from_secs(999));
        with(&|it| it.waves[nth].alone ^= true);
        with(&|it| it.waves[nth].approve ^= true);
        with(&|it| it.waves[nth].tasks.reverse());
        with(&|it| drop(it.waves[nth].tasks.pop()));
        with(&|it| it.waves[nth].tasks[0].instance.node = node("another"));
        with(&|it| it.waves[nth].tasks[0].unit = UnitName::new("another").unwrap());
        with(&|it| it.waves[nth].tasks[0].drains.push((pool("another"), "one".into())));
        with(&|it| it.waves[nth].tasks[0].drains.clear());
        for action in Action::ALL {
            with(&|it| it.waves[nth].tasks[0].action = action);
        }
    }
    others
}

fn agreed(topology: &Topology, approve: Approve) -> (Topology, Plan) {
    let mut topology = topology.clone();
    topology.services.values_mut().for_each(|service| service.policy.approve = approve);
    let plan = planned(&topology, &restart(&["s0"]), &all_well(&topology, "elsewhere"));
    (topology, plan)
}

fn approve(wave: Option<usize>) -> Say {
    Say::Approve { wave, by: "alice".to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// P12: whatever of a plan is another, so is its digest, which is what people agree to (the engine refuses an order that names
    /// another one than the plan has by then).
    #[test]
    fn what_differs_has_another_digest((_, plan) in fleets()) {
        let mut digests = BTreeSet::from([plan.digest().to_string()]);
        let others = others(&plan);
        let different: BTreeSet<String> = others.iter().map(|it| format!("{:?} {:?} {:?}", it.intent, it.topology, it.waves)).collect();
        digests.extend(others.iter().map(|it| it.digest().to_string()));
        prop_assert_eq!(digests.len(), 1 + different.len());
    }

    /// Another inventory is another plan: one more node, or one fewer.
    #[test]
    fn another_inventory_has_another_digest((mut more, plan) in fleets()) {
        let first = more.services.get_mut(&service("s0")).unwrap();
        let absent = (0..4).map(|n| node(&format!("n{n}"))).find(|name| !first.nodes.contains(name));
        prop_assume!(absent.is_some());
        first.nodes.extend(absent);
        let other = planned(&more, &restart(&["s0"]), &all_well(&more, "elsewhere"));
        prop_assert_ne!(other.digest(), plan.digest());
    }

    /// Nothing is begun before someone agreed to the plan, and of a wave nothing before someone agreed to that wave too.
    #[test]
    fn a_wave_begins_when_someone_agreed_to_it_and_to_the_plan((topology, _) in fleets(), order in proptest::collection::vec(0_usize..20, 0..20)) {
        let (topology, plan) = agreed(&topology, Approve::EachWave);
        let mut calm = Calm::new(&topology, &plan, |_| Course::quick());
        let mut waves: BTreeSet<usize> = BTreeSet::new();
        let wave_of = |instance: &Instance| {
            plan.waves.iter().position(|wave| wave.tasks.iter().any(|task| task.instance == *instance)).unwrap()
        };
        // Agreement to waves alone begins nothing, be they of this plan or of none.
        for wave in order.iter().take(order.len() / 2) {
            calm.say(approve(Some(*wave)));
            waves.insert(*wave);
            calm.until(3, |_| false);
        }
        prop_assert!(calm.acts.is_empty());
        calm.say(approve(None));
        for wave in order.iter().skip(order.len() / 2).copied().chain(0..plan.waves.len()) {
            calm.until(60, |calm| calm.end().is_some());
            for (_, order) in &calm.acts {
                prop_assert!(waves.contains(&wave_of(&order.instance)), "{} without agreement", order.instance);
            }
            calm.say(approve(Some(wave)));
            waves.insert(wave);
        }
        // So long waits the plan for people that it says so.
        calm.say(Say::Resume { by: "alice".to_owned() });
        prop_assert!(calm.until(100_000, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
    }
}

#[test]
fn agreement_to_the_plan_is_enough_where_waves_need_none() {
    let (topology, plan) = agreed(&Draft::new().nodes(&["n1"], None).service("s0", &["n1"]).checked(), Approve::Plan);
    let mut calm = Calm::new(&topology, &plan, |_| Course::quick());
    calm.say(approve(Some(0)));
    calm.say(Say::Resume { by: "alice".to_owned() });
    calm.until(3600, |_| false);
    assert!(calm.acts.is_empty(), "{:?}", calm.acts);
    assert_eq!(calm.rollout.control(), &Control::Unapproved);
    calm.say(approve(None));
    assert!(calm.until(60, |calm| calm.end() == Some(End::Succeeded)));
}
