//! What people say of a plan that met a failure.

use super::*;
use crate::base::{InvocationId, Mono, TimeSpan};

/// Nodes that do at once what they are told; those named fail to act.
struct Desk {
    rollout: Rollout,
    now: Mono,
    said: u64,
    runs: BTreeMap<NodeName, u128>,
    failing: BTreeSet<NodeName>,
    acts: Vec<NodeName>,
    /// Nodes say that they begin, and nothing of the end is heard.
    accepts_only: bool,
}

const TOKEN: Token = Token { epoch: 1, owner: 1 };

impl Desk {
    fn new(topology: Topology, plan: Plan, failing: &[&str]) -> Self {
        let runs = topology.nodes.keys().map(|name| (name.clone(), 1)).collect();
        let mut rollout = Rollout::new(Mono(1), topology, PlanId(1), plan, TOKEN, &[]);
        rollout.handle(Mono(1), RolloutInput::Lease(Mono(u64::MAX)));
        let failing = failing.iter().map(|name| node(name)).collect();
        Self { rollout, now: Mono(1), said: 0, runs, failing, acts: Vec::new(), accepts_only: false }
    }

    fn seq(&mut self) -> Seq {
        self.said += 1;
        Seq { life: 1, nth: self.said }
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            self.now = self.now.later(std::time::Duration::from_millis(1));
            let mut is_quiet = true;
            while let Some(effect) = self.rollout.poll_effect() {
                is_quiet = false;
                let (name, answer) = match effect {
                    RolloutEffect::Prepare(name, token, _) => {
                        (name, Answer::Promised { token, ledger: BTreeMap::new() })
                    }
                    RolloutEffect::Order(name, _, order) => (name.clone(), self.done(name, &order)),
                    RolloutEffect::Record(_) => continue,
                };
                let seq = self.seq();
                self.rollout.handle(self.now, RolloutInput::Answer { node: name, seq, age: TimeSpan::ZERO, answer });
            }
            for (name, run) in self.runs.clone() {
                let instance = Instance { service: service("app"), node: name.clone() };
                let seen = Observed { condition: Condition::Healthy, run: Some(InvocationId(run.to_be_bytes())) };
                let instances = BTreeMap::from([(instance, seen)]);
                let report = Report { promised: Some(TOKEN), instances, pools: BTreeMap::new() };
                let seq = self.seq();
                self.rollout.handle(self.now, RolloutInput::Report { node: name, seq, age: TimeSpan::ZERO, report });
            }
            if is_quiet && self.rollout.clone().poll_effect().is_none() {
                return;
            }
        }
    }

    fn done(&mut self, name: NodeName, order: &StepOrder) -> Answer {
        let outcome = if order.deed == Deed::Restart {
            self.acts.push(name.clone());
            if self.failing.contains(&name) {
                StepOutcome::Failed { kind: FailureKind::Exit, reason: "exit code 1".to_owned() }
            } else {
                *self.runs.get_mut(&name).unwrap() += 1;
                StepOutcome::Done { before: None, after: None }
            }
        } else {
            StepOutcome::Done { before: None, after: None }
        };
        let verdict = if self.accepts_only { Verdict::Accepted } else { Verdict::Over(outcome) };
        Answer::Step { step: order.id, verdict }
    }
}

#[test]
fn a_plan_whose_last_instance_failed_has_not_succeeded() {
    let topology = Draft::new().nodes(&["n1"], None).service("app", &["n1"]).checked();
    let facts = all_well(&topology, "elsewhere");
    let plan = planned(&topology, &restart(&["app"]), &facts);
    let mut desk = Desk::new(topology, plan, &["n1"]);
    desk.settle();
    assert!(matches!(desk.rollout.control(), Control::Paused { .. }), "{:?}", desk.rollout.control());
    desk.rollout.handle(desk.now, RolloutInput::Say(Say::Resume { by: "ops".to_owned() }));
    desk.settle();
    assert!(matches!(desk.rollout.control(), Control::Paused { .. }), "{:?}", desk.rollout.control());
    assert_eq!(desk.acts, [node("n1"), node("n1")]);
}

#[test]
fn a_step_whose_end_nobody_heard_is_asked_for_until_it_is_known() {
    let topology = Draft::new().nodes(&["n1"], None).service("app", &["n1"]).checked();
    let facts = all_well(&topology, "elsewhere");
    let plan = planned(&topology, &restart(&["app"]), &facts);
    let mut desk = Desk::new(topology, plan, &[]);
    desk.accepts_only = true;
    desk.settle();
    desk.accepts_only = false;
    let asked = |desk: &mut Desk, secs: u64| {
        desk.now = desk.now.later(std::time::Duration::from_secs(secs));
        desk.rollout.handle(desk.now, RolloutInput::Tick);
        let is_question = |effect| matches!(effect, RolloutEffect::Prepare(..));
        std::iter::from_fn(|| desk.rollout.poll_effect()).filter_map(|it| is_question(it).then_some(())).count()
    };
    assert_eq!(asked(&mut desk, 1), 0, "it may take its time");
    assert_eq!(asked(&mut desk, 5), 1);
    assert_eq!(asked(&mut desk, 1), 0);
    assert_eq!(asked(&mut desk, 5), 1, "the answer may be lost as well");
}

#[test]
fn a_resumed_plan_tries_again_what_failed_though_its_wave_is_over() {
    let usual = Policy { max_unavailable: Share::Count(2), ..Policy::default() };
    let topology = Draft::new().nodes(&["n1", "n2"], None).service("app", &["n1", "n2"]).policy("app", usual).checked();
    let facts = all_well(&topology, "elsewhere");
    let plan = planned(&topology, &restart(&["app"]), &facts);
    let mut desk = Desk::new(topology, plan, &["n2"]);
    desk.settle();
    assert!(matches!(desk.rollout.control(), Control::Paused { .. }), "{:?}", desk.rollout.control());
    assert_eq!(desk.acts, [node("n1"), node("n2")]);
    desk.failing.clear();
    desk.rollout.handle(desk.now, RolloutInput::Say(Say::Resume { by: "ops".to_owned() }));
    desk.settle();
    assert_eq!(desk.rollout.control(), &Control::Ended(End::Succeeded));
    assert_eq!(desk.acts, [node("n1"), node("n2"), node("n2")], "what was done is not done again");
}
