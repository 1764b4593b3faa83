//! What a node does about the orders of a driver: which it obeys, and which it has done already.
//!
//! A node *promises* itself to one token. It acts on orders that bear exactly that token, so a driver that was superseded and does not
//! know it yet is told so at each node. A step is written down before it is begun and after it is over; one that comes again is
//! answered from the ledger. What was begun when the node died is never begun again: whether it happened is for the driver to see.
//! Whoever changes this usually answers before the disk has it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{FailureKind, PlanId, Rules, StepId, StepOrder, StepOutcome, Token, spelling::run};
use crate::base::{InvocationId, TimeSpan};

/// Most steps that are remembered; the oldest that are over go first.
pub const LEDGER_MAX: usize = 10_000;

/// What is known of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// It is under way.
    Started {
        /// The run that the unit had before, as whoever ordered it saw it.
        #[serde(with = "run")]
        before: Option<InvocationId>,
    },
    /// It was begun, and the node died before it knew the end. Whether it was done is to be seen at the unit.
    Interrupted {
        /// The run that the unit had before.
        #[serde(with = "run")]
        before: Option<InvocationId>,
    },
    /// It is over.
    Over(StepOutcome),
}

/// What comes to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetInput {
    /// A driver wants a promise, and what is known of the steps of its plan.
    Prepare(Token, PlanId),
    /// A driver wants a step done.
    Order {
        /// By which token.
        token: Token,
        /// What.
        order: Box<StepOrder>,
        /// How long it was under way, by the clock of whoever carried it.
        age: TimeSpan,
    },
    /// What was to be saved is on the disk.
    Saved(Row),
    /// What was ordered is over.
    Acted {
        /// Which step.
        step: StepId,
        /// How.
        outcome: StepOutcome,
    },
    /// Someone at the node says that nothing is to be done to it, with the reason; or that it may again.
    Hold(Option<String>),
}

/// What lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// To whom the node is promised.
    Promise(Token),
    /// What is known of a step.
    Step(StepId, PlanId, Entry),
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetEffect {
    /// Write this down, synchronously, and say so.
    Save(Row),
    /// Do it, and say how it went.
    Act(Box<StepOrder>),
    /// Tell the driver.
    Tell(Answer),
}

/// What a driver is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The node is promised to this token, and has done these steps.
    Promised {
        /// To whom.
        token: Token,
        /// What it knows of the steps of the plan that was asked for.
        ledger: BTreeMap<StepId, Entry>,
    },
    /// It is promised to another one, which the asker has to surpass.
    Refused {
        /// Who asked.
        asked: Token,
        /// To whom it is promised.
        held: Token,
    },
    /// What becomes of a step.
    Step {
        /// Which.
        step: StepId,
        /// What.
        verdict: Verdict,
    },
}

/// What becomes of a step that was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is under way.
    Accepted,
    /// It was begun before; what is known of it.
    Known(Entry),
    /// It is over.
    Over(StepOutcome),
    /// The token is not the one that the node is promised to.
    Fenced(Option<Token>),
    /// It was too long under way.
    Expired,
    /// Someone at the node has said no.
    Held(String),
}

/// One node's side.
#[derive(Debug, Clone, Default)]
pub struct Target {
    promised: Option<Token>,
    /// A promise that is being written down, and the plan that its answer is about.
    promising: Option<(Token, PlanId)>,
    /// A plan of which a driver asked while some of its steps were being written down.
    asked: Option<PlanId>,
    ledger: BTreeMap<StepId, (PlanId, Entry)>,
    /// In the order in which they were begun.
    order: VecDeque<StepId>,
    /// Steps that are being written down, and then done.
    beginning: BTreeMap<StepId, (Token, Box<StepOrder>)>,
    /// Steps whose end is being written down.
    ending: BTreeMap<StepId, StepOutcome>,
    hold: Option<String>,
    effects: VecDeque<TargetEffect>,
    rules: Rules,
}

impl Target {
    /// A node that has promised nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same where not every rule holds.
    #[cfg(test)]
    pub fn under(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// A node that goes on where its rows end, in the order in which they were written.
    pub fn restore(rows: impl IntoIterator<Item = Row>) -> Self {
        Self::restore_beside(rows, |_| false)
    }

    /// The same beside others that may be doing a step.
    pub fn restore_beside(rows: impl IntoIterator<Item = Row>, is_done_now: impl Fn(&StepId) -> bool) -> Self {
        let mut target = Self::new();
        for row in rows {
            match row {
                Row::Promise(token) => target.promised = Some(token),
                Row::Step(step, plan, Entry::Started { before }) if !is_done_now(&step) => {
                    target.remember(step, plan, Entry::Interrupted { before });
                }
                Row::Step(step, plan, entry) => target.remember(step, plan, entry),
            }
        }
        target
    }

    /// One thing happened.
    pub fn handle(&mut self, input: TargetInput) {
        match input {
            TargetInput::Prepare(token, plan) => self.prepare(token, plan),
            TargetInput::Order { token, order, age } => self.order(token, order, age),
            TargetInput::Saved(row) => self.saved(row),
            TargetInput::Acted { step, outcome } => self.acted(step, outcome),
            TargetInput::Hold(reason) => self.hold = reason,
        }
    }

    /// The next thing to be done.
    pub fn poll_effect(&mut self) -> Option<TargetEffect> {
        self.effects.pop_front()
    }

    /// To whom the node is promised.
    pub const fn promised(&self) -> Option<Token> {
        self.promised
    }

    /// What is known of a step.
    pub fn entry(&self, step: &StepId) -> Option<&Entry> {
        self.ledger.get(step).map(|(_, entry)| entry)
    }

    fn prepare(&mut self, token: Token, plan: PlanId) {
        match self.held() {
            Some(held) if held == token => match self.promising {
                Some((promising, _)) => self.promising = Some((promising, plan)),
                // A ledger without them would say that they never came.
                None if self.is_beginning(plan) => self.asked = Some(plan),
                None => self.tell_promise(token, plan),
            },
            // Of two with the same number neither is the later one: the asker draws a greater number.
            Some(held) if token.epoch < held.epoch || (token.epoch == held.epoch && self.rules.equality) => {
                self.effects.push_back(TargetEffect::Tell(Answer::Refused { asked: token, held }));
            }
            Some(_) | None => {
                self.promising = Some((token, plan));
                self.effects.push_back(TargetEffect::Save(Row::Promise(token)));
            }
        }
    }

    fn order(&mut self, token: Token, order: Box<StepOrder>, age: TimeSpan) {
        let step = order.id;
        if let Some(entry) = self.entry(&step).filter(|_| self.rules.ledger) {
            return self.tell(step, Verdict::Known(entry.clone()));
        }
        if self.beginning.contains_key(&step) {
            return;
        }
        if !self.obeys(token) {
            return self.tell(step, Verdict::Fenced(self.held()));
        }
        if !self.rules.barrier {
            self.promised = Some(token);
        }
        if age > order.ttl && self.rules.age {
            return self.tell(step, Verdict::Expired);
        }
        if let Some(reason) = self.hold.clone() {
            return self.tell(step, Verdict::Held(reason));
        }
        let row = Row::Step(step, order.plan, Entry::Started { before: order.expects });
        self.beginning.insert(step, (token, order));
        self.effects.push_back(TargetEffect::Save(row));
    }

    /// To whom it is bound. A promise that is on its way to the disk binds already: what comes by the former token is late.
    fn held(&self) -> Option<Token> {
        self.promising.map(|(token, _)| token).or(self.promised)
    }

    fn is_beginning(&self, plan: PlanId) -> bool {
        self.beginning.values().any(|(_, order)| order.plan == plan)
    }

    fn obeys(&self, token: Token) -> bool {
        let Some(held) = self.held() else { return !self.rules.barrier };
        let is_same = held == token || (!self.rules.equality && held.epoch == token.epoch);
        (is_same && self.promising.is_none()) || (!self.rules.barrier && token.epoch > held.epoch)
    }

    fn saved(&mut self, row: Row) {
        match row {
            Row::Promise(token) => {
                if let Some((_, plan)) = self.promising.take_if(|(promising, _)| *promising == token) {
                    self.promised = Some(token);
                    self.tell_promise(token, plan);
                }
            }
            Row::Step(step, plan, Entry::Started { before }) => {
                let Some((token, order)) = self.beginning.remove(&step) else { return };
                self.remember(step, plan, Entry::Started { before });
                if let (Some(asked), Some(promised)) = (self.asked, self.promised)
                    && !self.is_beginning(asked)
                {
                    self.asked = None;
                    self.tell_promise(promised, asked);
                }
                // Another driver may have been promised meanwhile, and counts on what it was told.
                if !self.obeys(token) {
                    let reason = "another driver came before it was begun".to_owned();
                    return self.acted(step, StepOutcome::Failed { kind: FailureKind::Superseded, reason });
                }
                self.tell(step, Verdict::Accepted);
                self.effects.push_back(TargetEffect::Act(order));
            }
            Row::Step(step, plan, Entry::Over(_)) => {
                let Some(outcome) = self.ending.remove(&step) else { return };
                self.remember(step, plan, Entry::Over(outcome.clone()));
                self.tell(step, Verdict::Over(outcome));
            }
            // Nobody writes that down: it is what a begun step is after a death.
            Row::Step(_, _, Entry::Interrupted { .. }) => {}
        }
    }

    fn acted(&mut self, step: StepId, outcome: StepOutcome) {
        let plan = match self.ledger.get(&step) {
            // A command that outlived the node's death is still heard of.
            Some((plan, Entry::Started { .. } | Entry::Interrupted { .. })) => *plan,
            Some((_, Entry::Over(_))) | None => return,
        };
        if self.ending.insert(step, outcome.clone()).is_none() {
            self.effects.push_back(TargetEffect::Save(Row::Step(step, plan, Entry::Over(outcome))));
        }
    }

    fn tell(&mut self, step: StepId, verdict: Verdict) {
        self.effects.push_back(TargetEffect::Tell(Answer::Step { step, verdict }));
    }

    fn tell_promise(&mut self, token: Token, asked: PlanId) {
        let of_plan = self.ledger.iter().filter(|(_, (plan, _))| *plan == asked);
        let ledger = of_plan.map(|(step, (_, entry))| (*step, entry.clone())).collect();
        self.effects.push_back(TargetEffect::Tell(Answer::Promised { token, ledger }));
    }

    fn remember(&mut self, step: StepId, plan: PlanId, entry: Entry) {
        if self.ledger.insert(step, (plan, entry)).is_none() {
            self.order.push_back(step);
        }
        while self.ledger.len() > LEDGER_MAX {
            let is_over = |step: &StepId| matches!(self.entry(step), Some(Entry::Over(_)));
            let Some(at) = self.order.iter().position(is_over) else { return };
            if let Some(oldest) = self.order.remove(at) {
                self.ledger.remove(&oldest);
            }
        }
    }
}
