//! Whether waves are done, and whether the plan goes on.

use std::collections::BTreeMap;

use super::{
    super::{Condition, FailureKind, NodeName, OnFailure, Wave},
    Control, End, Event, Failure, Rollout, Run, Stage, Step,
};
use crate::base::Mono;

impl Rollout {
    /// A wave is done when its instances have stayed well for a while.
    pub(super) fn soak(&mut self, now: Mono) {
        let mut failed = Vec::new();
        for (nth, wave) in self.plan.waves.iter().enumerate() {
            if self.done.contains(&nth) || !wave.after.is_subset(&self.done) {
                continue;
            }
            let own = self.of_wave.get(&nth).map_or(&[] as &[usize], Vec::as_slice);
            let is_over = |run: &Run| match run.stage(&self.ledger) {
                Stage::Well | Stage::Failed => true,
                Stage::Waiting
                | Stage::Draining
                | Stage::Validating
                | Stage::Acting
                | Stage::Healing
                | Stage::Undraining
                | Stage::Undoing
                | Stage::Undone
                | Stage::Unclear => self.quarantined.contains(&run.task.instance),
            };
            if !own.iter().filter_map(|at| self.runs.get(*at)).all(is_over) {
                self.soaking.remove(&nth);
                continue;
            }
            let since = *self.soaking.entry(nth).or_insert(now);
            if since.after(wave.soak).is_some_and(|end| now >= end) {
                self.done.insert(nth);
                self.progress = now;
                continue;
            }
            for at in own {
                let Some(run) = self.runs.get(*at) else { continue };
                let seen = self.view.observed(now, &run.task.instance);
                let is_bad = seen.is_some_and(|seen| seen.condition == Condition::Bad);
                if is_bad && run.stage(&self.ledger) == Stage::Well {
                    let reason = "it did not stay well".to_owned();
                    let failure = Failure { at: Stage::Well, kind: FailureKind::Unhealthy, reason };
                    failed.push(Event::Failed(run.task.instance.clone(), failure));
                }
            }
        }
        failed.into_iter().for_each(|event| self.decide(event));
    }

    /// Whether the plan goes on.
    pub(super) fn judge(&mut self, now: Mono) {
        match self.control {
            Control::Running => {
                if let Some((reason, policy)) = self.too_many_failures() {
                    let event = match policy {
                        OnFailure::Abort => Event::Aborting { reason, by: None },
                        // What only restarts has no release to go back to.
                        OnFailure::Pause | OnFailure::Rollback => Event::Paused { reason, by: None },
                    };
                    return self.decide(event);
                }
                if self.done.len() == self.plan.waves.len() && self.again.is_empty() {
                    return self.decide(Event::Ended(End::Succeeded));
                }
                if self.soaking.len() > self.done.len() || self.closed.is_some() {
                    self.progress = now;
                }
                if let Some(reason) = self.stands_still(now) {
                    self.decide(Event::Paused { reason, by: None });
                }
            }
            Control::Aborting { .. } => {
                let is_given_back = |run: &Run| {
                    let is_to_come = |step: &Step| !step.is_over(&self.ledger) && !self.is_gone(&step.at);
                    self.is_well(now, run) && run.left_drained(&self.ledger).any(is_to_come)
                };
                let is_open = |run: &Run| {
                    let instance = &run.task.instance;
                    let is_counted = !self.quarantined.contains(instance) && !self.is_gone(&instance.node);
                    let is_done = run.stage(&self.ledger) == Stage::Well;
                    let is_open = self.is_in_flight(run) && !self.is_put_off(run);
                    is_counted && !is_done && (is_open || is_given_back(run))
                };
                // Who has not heard from all of them does not know what was begun.
                let is_heard = |node: &NodeName| self.view.is_promised(node) || self.is_gone(node);
                let is_known = !self.rules.barrier || self.nodes.iter().all(is_heard);
                if (is_known && !self.begun().any(is_open)) || self.stands_still(now).is_some() {
                    self.decide(Event::Ended(End::Aborted));
                }
            }
            Control::Unapproved | Control::Paused { .. } | Control::Ended(_) => self.progress = now,
        }
    }

    /// Whether it was begun and would be acted on next: of a plan that ends it is not, and there is nothing to wait for.
    fn is_put_off(&self, run: &Run) -> bool {
        let is_quiet = run.under_way(&self.ledger).next().is_none();
        is_quiet && !run.may_be_acted_on(&self.ledger) && run.left_drained(&self.ledger).next().is_none()
    }

    /// Whether there is no such node any more.
    fn is_gone(&self, node: &NodeName) -> bool {
        self.outdated.as_ref().is_some_and(|outdated| outdated.gone.contains(node))
    }

    /// Whether it is known of all of its steps if they were begun.
    pub(super) fn is_heard(&self, run: &Run) -> bool {
        !self.rules.barrier || run.places().all(|node| self.view.is_promised(node))
    }

    /// The tasks of which something was begun.
    fn begun(&self) -> impl Iterator<Item = &Run> {
        self.touched.iter().filter_map(|at| self.runs.get(*at))
    }

    /// More tasks of a service failed than may, not counting those that are tried anew.
    fn too_many_failures(&self) -> Option<(String, OnFailure)> {
        let mut failed: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
        let counts = |run: &&Run| {
            let instance = &run.task.instance;
            !self.quarantined.contains(instance) && !self.again.contains(instance)
        };
        for run in self.begun().filter(counts).filter(|run| run.stage(&self.ledger) == Stage::Failed) {
            failed.entry(&run.task.instance.service).or_default().push(run);
        }
        failed.into_iter().find_map(|(name, runs)| {
            let policy = &self.topology.services.get(name)?.policy;
            let (count, last) = (u32::try_from(runs.len()).unwrap_or(u32::MAX), runs.last()?);
            let failure = last.failed(&self.ledger)?;
            let reason = format!("{} failed at {}: {}", last.task.instance, failure.at.as_str(), failure.reason);
            (count > policy.max_failures).then_some((reason, policy.on_failure))
        })
    }

    /// Why nothing has gone forward for as long as the policies allow.
    fn stands_still(&self, now: Mono) -> Option<String> {
        // What is left to be done after the last wave is of any of them.
        let is_all = self.done.len() == self.plan.waves.len();
        let is_open = |nth: &usize, wave: &Wave| is_all || !self.done.contains(nth) && wave.after.is_subset(&self.done);
        let open = self.plan.waves.iter().enumerate().filter(|(nth, wave)| is_open(nth, wave));
        let services = open.filter_map(|(_, wave)| self.topology.services.get(&wave.service));
        // Who has little patience waits for a step of another that may take its time.
        let patience = services.map(|service| service.policy.deadlines.progress).max()?;
        if self.progress.after(patience).is_none_or(|end| now < end) {
            return None;
        }
        let turn = self.turn(now);
        let waits = self.runs.iter().find_map(|run| {
            let wait = self.waits_for(&turn, run)?;
            Some(format!(": {} waits: {wait}", run.task.instance))
        });
        let rest = waits.unwrap_or_default();
        Some(format!("nothing went forward for {}{rest}", patience))
    }
}
