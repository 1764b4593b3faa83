//! One task after the other, by as much as is allowed now.

use super::{
    super::{Condition, Deed, Entry, FailureKind, StepOrder, StepOutcome},
    AGAIN, ATTEMPTS, Control, Event, Failure, Known, Rollout, RolloutEffect, Run, Stage, Step, TTL,
    turn::Turn,
};
use crate::base::{InvocationId, Mono};

impl Rollout {
    pub(super) fn drive(&mut self, turn: &mut Turn, at: usize) {
        let now = turn.now;
        let Some(run) = self.runs.get(at).filter(|run| !self.quarantined.contains(&run.task.instance)) else { return };
        let run = run.clone();
        match run.stage(&self.ledger) {
            stage @ (Stage::Waiting | Stage::Draining | Stage::Validating | Stage::Acting) => {
                if self.goes_back(&run) {
                    self.give_back(now, (at, &run));
                } else {
                    self.forward(turn, (at, &run), stage);
                }
            }
            Stage::Healing => self.watch(turn, at),
            Stage::Undraining => {
                let steps = run.steps.undrains.clone();
                self.send_if_well(now, (at, &run), &steps);
            }
            Stage::Well => {
                self.settled.insert(at);
                if !self.told.contains(&run.task.instance) {
                    self.decide(Event::Done(run.task.instance));
                }
            }
            Stage::Undoing => self.give_back(now, (at, &run)),
            Stage::Undone => self.try_anew(&run),
            Stage::Unclear => self.clear_up(now, &run),
            Stage::Failed => {
                if let Some(failure) = run.failed(&self.ledger).filter(|_| run.failure.is_none()) {
                    self.decide(Event::Failed(run.task.instance.clone(), failure));
                }
                self.give_back(now, (at, &run));
                if self.again.contains(&run.task.instance) {
                    self.try_anew(&run);
                }
            }
        }
    }

    /// Whether it gets its requests back without having been acted on.
    fn goes_back(&self, run: &Run) -> bool {
        match self.control {
            Control::Paused { .. } | Control::Aborting { .. } => !run.may_be_acted_on(&self.ledger),
            Control::Running | Control::Unapproved | Control::Ended(_) => false,
        }
    }

    fn forward(&mut self, turn: &mut Turn, (at, run): (usize, &Run), stage: Stage) {
        let inherits = !self.rules.again && stage != Stage::Waiting;
        for step in run.next_steps(&self.ledger) {
            // One after the other: what the first changes, the next one is held against.
            if self.is_due(turn.now, &step) && (inherits || self.may(turn, run, stage).is_ok()) {
                self.send(turn.now, (at, run), &step);
                turn.begun(&run.task.instance, run.wave);
            }
        }
    }

    fn is_due(&self, now: Mono, step: &Step) -> bool {
        match self.ledger.get(&step.id(&self.ledger)) {
            None => true,
            Some(Known { entry: Some(_), .. }) => false,
            Some(Known { sent, entry: None, .. }) => sent.is_none_or(|sent| now.since(sent) >= AGAIN),
        }
    }

    fn send(&mut self, now: Mono, (at, run): (usize, &Run), step: &Step) {
        self.touched.insert(at);
        let id = step.id(&self.ledger);
        let order = StepOrder {
            id,
            plan: self.id,
            instance: run.task.instance.clone(),
            unit: run.task.unit.clone(),
            deed: step.deed.clone(),
            expects: self.run_of(now, run).filter(|_| !step.deed.is_harmless_twice()),
            deadline: Run::deadline(&self.topology, &run.task, &step.deed),
            ttl: TTL,
        };
        let known = self.ledger.entry(id).or_insert_with(|| Known { at: step.at.clone(), sent: None, entry: None });
        known.sent = Some(now);
        self.effects.push_back(RolloutEffect::Order(step.at.clone(), self.token, Box::new(order)));
    }

    fn run_of(&self, now: Mono, run: &Run) -> Option<InvocationId> {
        self.view.observed(now, &run.task.instance).and_then(|observed| observed.run)
    }

    pub(super) fn is_well(&self, now: Mono, run: &Run) -> bool {
        !self.rules.gate
            || self.view.observed(now, &run.task.instance).is_some_and(|seen| seen.condition == Condition::Healthy)
    }

    /// Requests come back only to what is well.
    fn send_if_well(&mut self, now: Mono, (at, run): (usize, &Run), steps: &[Step]) {
        if self.is_well(now, run) {
            for step in steps {
                if self.is_due(now, step) {
                    self.send(now, (at, run), step);
                }
            }
        }
    }

    /// Gives back what is drained, once it is known whether it is.
    fn give_back(&mut self, now: Mono, (at, run): (usize, &Run)) {
        if run.under_way(&self.ledger).any(|step| !matches!(step.deed, Deed::Undrain { .. })) {
            return;
        }
        let steps: Vec<Step> = run.left_drained(&self.ledger).cloned().collect();
        self.send_if_well(now, (at, run), &steps);
    }

    /// Whether it has become well after the act.
    fn watch(&mut self, turn: &mut Turn, at: usize) {
        let now = turn.now;
        let Some(is_well) = self.runs.get(at).map(|run| self.is_well(now, run)) else { return };
        let Some(run) = self.runs.get_mut(at) else { return };
        if is_well {
            run.was_well = true;
            self.progress = now;
            return self.drive(turn, at);
        }
        let instance = run.task.instance.clone();
        let since = *run.healing.get_or_insert(now);
        let service = self.topology.services.get(&run.task.instance.service);
        let patience = service.map(|service| service.policy.deadlines).unwrap_or_default().healthy;
        if since.after(patience).is_some_and(|end| now >= end) {
            let reason = format!("it was not well {} after it was acted on", patience);
            self.decide(Event::Failed(instance, Failure { at: Stage::Healing, kind: FailureKind::Unhealthy, reason }));
        }
    }

    /// By new names of steps, once nothing goes on under the old ones.
    fn try_anew(&mut self, run: &Run) {
        // Who has not heard from its nodes does not know what goes on there.
        if self.control != Control::Running || !self.is_heard(run) || run.under_way(&self.ledger).next().is_some() {
            return;
        }
        let instance = run.task.instance.clone();
        if run.attempt < ATTEMPTS {
            self.decide(Event::Retried { instance, attempt: run.attempt + 1 });
        } else if run.failure.is_none() || self.again.contains(&instance) {
            let reason = format!("it was begun {ATTEMPTS} times, and something came between each time");
            let usual = Failure { at: Stage::Undone, kind: FailureKind::Internal, reason };
            self.decide(Event::Failed(instance, run.failure.clone().unwrap_or(usual)));
        }
    }

    /// A node died within the act: whether that was done is seen at the unit. A reload leaves no trace, and is done again.
    fn clear_up(&mut self, now: Mono, run: &Run) {
        let id = run.act(&self.ledger).id(&self.ledger);
        let Some(Known { entry: Some(Entry::Interrupted { before }), .. }) = self.ledger.get(&id) else { return };
        let (before, Some(observed)) = (*before, self.view.observed(now, &run.task.instance)) else { return };
        let outcome = if observed.run.is_some() && observed.run != before && run.is_disruptive(&self.ledger) {
            StepOutcome::Done { before, after: observed.run }
        } else {
            let reason = "its node died before it was done".to_owned();
            StepOutcome::Failed { kind: FailureKind::Superseded, reason }
        };
        self.learn(now, &run.task.instance.node, id, Entry::Over(outcome));
    }
}
