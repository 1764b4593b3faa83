//! What a node does about orders, whatever comes twice, late, or from two drivers.

use proptest::prelude::*;

use super::*;
use crate::base::TimeSpan;

fn token(epoch: u64, owner: u128) -> Token {
    Token { epoch, owner }
}

fn order(nth: u32) -> Box<StepOrder> {
    let instance = Instance { service: service("app"), node: node("vm4") };
    Box::new(StepOrder {
        id: StepId::new(PlanId(1), &instance, Phase::Act, "", nth),
        plan: PlanId(1),
        instance,
        unit: UnitName::new("app").unwrap(),
        deed: Deed::Restart,
        expects: None,
        deadline: TimeSpan::from_secs(60),
        ttl: TimeSpan::from_secs(30),
    })
}

const DONE: StepOutcome = StepOutcome::Done { before: None, after: None };

/// A node with a disk that may be slow, and what it did.
#[derive(Default)]
struct Vm {
    target: Target,
    disk: Vec<Row>,
    unsaved: Vec<Row>,
    acts: Vec<StepId>,
    told: Vec<Answer>,
}

impl Vm {
    fn input(&mut self, input: TargetInput) {
        self.target.handle(input);
        while let Some(effect) = self.target.poll_effect() {
            match effect {
                TargetEffect::Save(row) => self.unsaved.push(row),
                TargetEffect::Act(order) => self.acts.push(order.id),
                TargetEffect::Tell(answer) => self.told.push(answer),
            }
        }
    }

    /// The disk takes the oldest row that waits.
    fn save(&mut self) {
        if !self.unsaved.is_empty() {
            let row = self.unsaved.remove(0);
            self.disk.push(row.clone());
            self.input(TargetInput::Saved(row));
        }
    }

    fn settle(&mut self) {
        while !self.unsaved.is_empty() {
            self.save();
        }
    }

    fn die(&mut self) {
        self.unsaved.clear();
        self.target = Target::restore(self.disk.clone());
    }

    fn order(&mut self, token: Token, nth: u32) {
        self.input(TargetInput::Order { token, order: order(nth), age: TimeSpan::ZERO });
    }

    fn last(&self) -> &Answer {
        self.told.last().unwrap()
    }

    fn last_verdict(&self) -> &Verdict {
        match self.last() {
            Answer::Step { verdict, .. } => verdict,
            other @ (Answer::Promised { .. } | Answer::Refused { .. }) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_step_is_done_once_and_answered_from_the_ledger_afterwards() {
    let mut vm = Vm::default();
    let mine = token(1, 7);
    vm.input(TargetInput::Prepare(mine, PlanId(1)));
    assert!(vm.told.is_empty(), "a promise that is not on the disk was given");
    vm.settle();
    assert_eq!(*vm.last(), Answer::Promised { token: mine, ledger: BTreeMap::new() });
    vm.order(mine, 1);
    vm.order(mine, 1);
    assert!(vm.acts.is_empty(), "a step was begun that is not on the disk");
    vm.settle();
    assert_eq!(vm.acts, [order(1).id]);
    vm.order(mine, 1);
    assert_eq!(*vm.last_verdict(), Verdict::Known(Entry::Started { before: None }));
    vm.input(TargetInput::Acted { step: order(1).id, outcome: DONE });
    vm.input(TargetInput::Acted { step: order(1).id, outcome: DONE });
    vm.settle();
    assert_eq!(*vm.last_verdict(), Verdict::Over(DONE));
    vm.die();
    vm.order(mine, 1);
    assert_eq!(*vm.last_verdict(), Verdict::Known(Entry::Over(DONE)));
    assert_eq!(vm.acts.len(), 1);
}

#[test]
fn what_was_begun_before_the_node_died_is_not_begun_again() {
    let mut vm = Vm::default();
    vm.input(TargetInput::Prepare(token(1, 7), PlanId(1)));
    vm.settle();
    vm.order(token(1, 7), 1);
    vm.settle();
    vm.die();
    vm.order(token(1, 7), 1);
    assert_eq!(*vm.last_verdict(), Verdict::Known(Entry::Interrupted { before: None }));
    assert_eq!(vm.acts.len(), 1);
}

#[test]
fn only_the_token_that_was_promised_is_obeyed() {
    let mut vm = Vm::default();
    vm.order(token(1, 7), 1);
    assert_eq!(*vm.last_verdict(), Verdict::Fenced(None));
    vm.input(TargetInput::Prepare(token(2, 7), PlanId(1)));
    vm.settle();
    for other in [token(1, 7), token(2, 8), token(3, 7)] {
        vm.order(other, 1);
        assert_eq!(*vm.last_verdict(), Verdict::Fenced(Some(token(2, 7))), "{other:?}");
    }
    for asked in [token(1, 9), token(2, 8)] {
        vm.input(TargetInput::Prepare(asked, PlanId(1)));
        assert_eq!(*vm.last(), Answer::Refused { asked, held: token(2, 7) });
    }
    vm.input(TargetInput::Prepare(token(3, 8), PlanId(1)));
    vm.order(token(2, 7), 1);
    assert_eq!(*vm.last_verdict(), Verdict::Fenced(Some(token(3, 8))), "the former one is late already");
    vm.order(token(3, 8), 1);
    assert_eq!(*vm.last_verdict(), Verdict::Fenced(Some(token(3, 8))), "the new one was not answered yet");
    vm.settle();
    vm.order(token(3, 8), 1);
    vm.settle();
    assert_eq!(vm.acts.len(), 1);
}

#[test]
fn a_step_that_waits_for_the_disk_while_another_driver_comes_is_not_done() {
    let mut vm = Vm::default();
    vm.input(TargetInput::Prepare(token(1, 7), PlanId(1)));
    vm.settle();
    vm.order(token(1, 7), 1);
    vm.input(TargetInput::Prepare(token(2, 8), PlanId(1)));
    vm.settle();
    assert!(vm.acts.is_empty());
    let promised = vm.told.iter().find_map(|answer| match answer {
        Answer::Promised { token, ledger } if token.epoch == 2 => Some(ledger.clone()),
        Answer::Promised { .. } | Answer::Refused { .. } | Answer::Step { .. } => None,
    });
    assert_eq!(
        promised.unwrap()[&order(1).id],
        Entry::Started { before: None },
        "the new driver has to know that it was ordered"
    );
    assert!(matches!(vm.target.entry(&order(1).id), Some(Entry::Over(StepOutcome::Failed { .. }))));
}

#[test]
fn what_is_old_or_forbidden_at_the_node_is_not_done() {
    let mut vm = Vm::default();
    vm.input(TargetInput::Prepare(token(1, 7), PlanId(1)));
    vm.settle();
    vm.input(TargetInput::Order { token: token(1, 7), order: order(1), age: TimeSpan::from_secs(31) });
    assert_eq!(*vm.last_verdict(), Verdict::Expired);
    vm.input(TargetInput::Hold(Some("someone works here".to_owned())));
    vm.order(token(1, 7), 1);
    assert_eq!(*vm.last_verdict(), Verdict::Held("someone works here".to_owned()));
    vm.input(TargetInput::Hold(None));
    vm.order(token(1, 7), 1);
    vm.settle();
    assert_eq!(vm.acts.len(), 1);
}

#[test]
fn the_ledger_is_bounded_and_forgets_what_is_over_first() {
    let mut vm = Vm::default();
    vm.input(TargetInput::Prepare(token(1, 7), PlanId(1)));
    vm.settle();
    vm.order(token(1, 7), 0);
    vm.settle();
    for nth in 1..=u32::try_from(LEDGER_MAX).unwrap() + 5 {
        vm.order(token(1, 7), nth);
        vm.settle();
        vm.input(TargetInput::Acted { step: order(nth).id, outcome: DONE });
        vm.settle();
    }
    assert_eq!(vm.target.entry(&order(0).id), Some(&Entry::Started { before: None }));
    assert_eq!(vm.target.entry(&order(1).id), None);
}

#[derive(Debug, Clone)]
enum Happens {
    Prepare(Token),
    Order(Token, u32),
    Save,
    Acted(u32),
    Die,
}

fn happens() -> impl Strategy<Value = Happens> {
    let tokens = || (1_u64..5, 0_u128..3).prop_map(|(epoch, owner)| token(epoch, owner));
    prop_oneof![
        2 => tokens().prop_map(Happens::Prepare),
        6 => (tokens(), 0_u32..4).prop_map(|(token, nth)| Happens::Order(token, nth)),
        8 => Just(Happens::Save),
        2 => (0_u32..4).prop_map(Happens::Acted),
        1 => Just(Happens::Die),
    ]
}

proptest! {
    /// Whatever comes: no step twice, no token that decreases, and nothing that contradicts the disk.
    #[test]
    fn nothing_is_done_twice_and_no_promise_is_taken_back(all in proptest::collection::vec(happens(), 1..200)) {
        let mut vm = Vm::default();
        let mut highest = None;
        for happens in all {
            match happens {
                Happens::Prepare(token) => vm.input(TargetInput::Prepare(token, PlanId(1))),
                Happens::Order(token, nth) => vm.order(token, nth),
                Happens::Save => vm.save(),
                Happens::Acted(nth) => vm.input(TargetInput::Acted { step: order(nth).id, outcome: DONE }),
                Happens::Die => vm.die(),
            }
            let mut acts = vm.acts.clone();
            acts.sort();
            acts.dedup();
            prop_assert_eq!(acts.len(), vm.acts.len(), "a step was done twice");
            let promised = vm.target.promised();
            prop_assert!(promised >= highest, "{:?} after {:?}", promised, highest);
            highest = promised;
            for answer in &vm.told {
                if let Answer::Promised { token, .. } = answer {
                    prop_assert!(vm.disk.contains(&Row::Promise(*token)), "a promise that was not kept");
                }
            }
        }
    }
}

/// A driver that asks again for its promise takes what the ledger lacks for what never came.
#[test]
fn a_ledger_is_told_with_the_step_that_was_being_written_down_when_it_was_asked_for() {
    let mut vm = Vm::default();
    vm.input(TargetInput::Prepare(token(1, 1), PlanId(1)));
    vm.settle();
    vm.order(token(1, 1), 1);
    let told = vm.told.len();
    vm.input(TargetInput::Prepare(token(1, 1), PlanId(1)));
    assert_eq!(vm.told.len(), told, "not before the disk has it");
    vm.settle();
    let promised = vm.told[told..].iter().find_map(|answer| match answer {
        Answer::Promised { ledger, .. } => Some(ledger.clone()),
        Answer::Refused { .. } | Answer::Step { .. } => None,
    });
    assert_eq!(promised, Some(BTreeMap::from([(order(1).id, Entry::Started { before: None })])));
}
