//! Ten thousand instances: what each input costs must not grow with all of them.

use super::*;
use crate::base::{InvocationId, Mono, TimeSpan};

const NODES: usize = 1000;
const SERVICES: usize = 10;

/// Ten services on each of a thousand nodes, each dependent on the one before.
fn thousands() -> Topology {
    let names: Vec<String> = (0..NODES).map(|nth| format!("n{nth:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut draft = Draft::new().nodes(&names, None);
    for nth in 0..SERVICES {
        let name = format!("s{nth}");
        let policy = Policy {
            max_unavailable: Share::Percent(10),
            waves: vec![Share::Count(1), Share::Percent(10), Share::Percent(50), Share::Percent(100)],
            ..Policy::default()
        };
        draft = draft.service(&name, &names).policy(&name, policy);
        if nth > 0 {
            draft = draft.depends(&name, &format!("s{}", nth - 1), Some(Action::Restart));
        }
    }
    draft.checked()
}

/// A node that does at once what it is told, and says so.
struct Obedient {
    said: u64,
    runs: BTreeMap<Instance, u64>,
}

impl Obedient {
    fn seq(&mut self) -> Seq {
        self.said += 1;
        Seq { life: 1, nth: self.said }
    }

    fn report(&self, token: Token) -> Report {
        let seen = |run: &u64| Observed {
            condition: Condition::Healthy,
            run: Some(InvocationId(u128::from(*run).to_be_bytes())),
        };
        let instances = self.runs.iter().map(|(instance, run)| (instance.clone(), seen(run))).collect();
        Report { promised: Some(token), instances, pools: BTreeMap::new() }
    }
}

#[test]
fn a_plan_over_ten_thousand_instances_is_carried_out() {
    let topology = thousands();
    let plan = planned(&topology, &restart(&["s0"]), &all_well(&topology, "n0000"));
    assert_eq!(plan.tasks().count(), NODES * SERVICES);
    let token = Token { epoch: 1, owner: 1 };
    let mut now = Mono(1);
    let mut rollout = Rollout::new(now, topology.clone(), PlanId(1), plan, token, &[]);
    let mut nodes: BTreeMap<NodeName, Obedient> =
        topology.nodes.keys().map(|name| (name.clone(), Obedient { said: 0, runs: BTreeMap::new() })).collect();
    for (name, service) in &topology.services {
        for instance in service.instances(name) {
            nodes.get_mut(&instance.node).unwrap().runs.insert(instance, 1);
        }
    }
    rollout.handle(now, RolloutInput::Lease(Mono(u64::MAX)));
    let mut acts = 0;
    while !matches!(rollout.control(), Control::Ended(_)) {
        let effects: Vec<RolloutEffect> = std::iter::from_fn(|| rollout.poll_effect()).collect();
        // Time goes by while they answer, and everyone reports every five seconds.
        now = now.later(std::time::Duration::from_secs(1));
        let mut inputs = Vec::new();
        for effect in effects {
            let (name, answer) = match effect {
                RolloutEffect::Prepare(name, token, _) => (name, Answer::Promised { token, ledger: BTreeMap::new() }),
                RolloutEffect::Order(name, _, order) => {
                    if order.deed == Deed::Restart {
                        acts += 1;
                        *nodes.get_mut(&name).unwrap().runs.get_mut(&order.instance).unwrap() += 1;
                    }
                    let done = StepOutcome::Done { before: None, after: None };
                    (name, Answer::Step { step: order.id, verdict: Verdict::Over(done) })
                }
                RolloutEffect::Record(_) => continue,
            };
            let node = nodes.get_mut(&name).unwrap();
            let seq = node.seq();
            inputs.push(RolloutInput::Answer { node: name, seq, age: TimeSpan::ZERO, answer });
        }
        for (name, node) in &mut nodes {
            let (seq, report) = (node.seq(), node.report(token));
            inputs.push(RolloutInput::Report { node: name.clone(), seq, age: TimeSpan::ZERO, report });
        }
        rollout.handle_all(now, inputs);
        assert!(now < Mono(3_600_000_000_000), "it stands still: {:?}", rollout.control());
    }
    assert_eq!((rollout.control(), acts), (&Control::Ended(End::Succeeded), NODES * SERVICES));
}
