//! Carries a plan out: guard, drain, validate, act, healthy, undrain, soak.
//!
//! What was done is known at the nodes, in their ledgers; the names of steps follow from the plan. So a driver that takes over
//! goes the same way again and is answered from the ledgers, and where a task stands is never stored. What cannot be learnt there, who
//! agreed, paused or gave up an instance, is an [`Event`] of the plan's journal, and changes nothing but by [`Rollout::apply`].

mod drive; // one task after the other
mod guard; // whether something may be done now
mod judge; // whether the plan goes on
mod task; // where one task stands
mod turn; // one look for many tasks
mod words; // what is said to a driver and by it

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

pub use guard::{Unavailable, Wait};
pub use task::{Failure, Stage};
use task::{Known, Ledger, Run, Step};
use turn::Turn;
pub use words::{Class, Control, End, Event, Outdated, Progress, RolloutEffect, RolloutInput, Say};

use super::{
    Answer, Entry, Instance, NodeName, Plan, PlanId, Rules, Seq, StepId, Token, Topology, Verdict, view::View,
};
use crate::base::{Mono, TimeSpan};

/// How long a step may be under way before its node drops it.
const TTL: TimeSpan = TimeSpan::from_secs(30);
/// When what was not answered is said again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a task is tried before it counts as failed.
const ATTEMPTS: u32 = 5;

/// A plan that is being carried out, as its driver sees it.
#[derive(Debug, Clone)]
pub struct Rollout {
    id: PlanId,
    plan: Plan,
    topology: Topology,
    token: Token,
    rules: Rules,
    control: Control,
    approved: BTreeSet<usize>,
    quarantined: BTreeSet<Instance>,
    runs: Vec<Run>,
    /// Where the task of an instance is among them.
    place: BTreeMap<Instance, usize>,
    /// Those of each wave.
    of_wave: BTreeMap<usize, Vec<usize>>,
    /// Those of which something was begun, and some of which nothing was after all.
    touched: BTreeSet<usize>,
    /// Those of them that are done, and told to be.
    settled: BTreeSet<usize>,
    /// Whether a node knows of steps that were not ordered from here.
    is_anything_new: bool,
    /// Those of the plan's services, and of their load balancers.
    nodes: BTreeSet<NodeName>,
    ledger: Ledger,
    view: View,
    lease: Mono,
    closed: Option<String>,
    /// Why it may not go on: it was made for another inventory.
    outdated: Option<Outdated>,
    /// A driver that came after this one.
    superseded: Option<Token>,
    /// When each node was asked for its promise last.
    asked: BTreeMap<NodeName, Mono>,
    /// What nodes said why they do not.
    held: BTreeMap<StepId, String>,
    /// Waves whose tasks are done, and since when.
    soaking: BTreeMap<usize, Mono>,
    /// Waves that are done and soaked.
    done: BTreeSet<usize>,
    /// Failed tasks that someone wants tried anew.
    again: BTreeSet<Instance>,
    /// Tasks whose end is in the journal.
    told: BTreeSet<Instance>,
    /// When something went forward last.
    progress: Mono,
    effects: VecDeque<RolloutEffect>,
}

impl Rollout {
    /// A plan that this driver begins, or goes on with where its journal ends.
    pub fn new(now: Mono, topology: Topology, id: PlanId, plan: Plan, token: Token, journal: &[Event]) -> Self {
        let needs_approval = plan.waves.iter().any(|wave| {
            let service = topology.services.get(&wave.service);
            service.is_some_and(|service| service.policy.approve != super::Approve::Never)
        });
        let runs = Run::of_plan(&topology, id, &plan);
        let places = runs.iter().enumerate();
        let mut of_wave: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        places.clone().for_each(|(at, run)| of_wave.entry(run.wave).or_default().push(at));
        let mut rollout = Self {
            place: places.map(|(at, run)| (run.task.instance.clone(), at)).collect(),
            of_wave,
            touched: BTreeSet::new(),
            settled: BTreeSet::new(),
            is_anything_new: true,
            nodes: nodes(&topology, &plan),
            runs,
            control: if needs_approval { Control::Unapproved } else { Control::Running },
            id,
            plan,
            topology,
            token,
            rules: Rules::ALL,
            approved: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            ledger: Ledger::new(),
            view: View::default(),
            lease: Mono::default(),
            closed: None,
            outdated: None,
            superseded: None,
            asked: BTreeMap::new(),
            held: BTreeMap::new(),
            soaking: BTreeMap::new(),
            done: BTreeSet::new(),
            again: BTreeSet::new(),
            told: BTreeSet::new(),
            progress: now,
            effects: VecDeque::new(),
        };
        journal.iter().for_each(|event| rollout.apply(event));
        rollout
    }

    /// The same where not every rule holds.
    #[cfg(test)]
    pub fn under(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// What follows from the journal alone.
    #[cfg(test)]
    pub fn lasting(&self) -> String {
        let attempts: Vec<(u32, &Option<Failure>)> = self.runs.iter().map(|run| (run.attempt, &run.failure)).collect();
        let Self { control, approved, quarantined, again, told, .. } = self;
        format!("{control:?} {approved:?} {quarantined:?} {again:?} {told:?} {attempts:?}")
    }

    /// The next thing to be done.
    pub fn poll_effect(&mut self) -> Option<RolloutEffect> {
        self.effects.pop_front()
    }

    /// Where the plan stands.
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Why it may not go on, if it was made for another inventory than there is.
    pub const fn outdated(&self) -> Option<&Outdated> {
        self.outdated.as_ref()
    }

    /// The driver that came after this one; this one does nothing more.
    pub const fn superseded(&self) -> Option<Token> {
        self.superseded
    }

    /// Where each task stands, in the order of the plan.
    pub fn progress(&self, now: Mono) -> impl Iterator<Item = Progress<'_>> {
        let turn = self.turn(now);
        self.runs.iter().map(move |run| Progress {
            instance: &run.task.instance,
            stage: run.stage(&self.ledger),
            class: self.class(run),
            waits: self.waits_for(&turn, run),
            failure: run.failed(&self.ledger),
        })
    }

    /// Why a task does not go on, if it could.
    fn waits_for(&self, turn: &Turn, run: &Run) -> Option<Wait> {
        let stage = run.stage(&self.ledger);
        match stage {
            Stage::Waiting | Stage::Draining | Stage::Validating | Stage::Acting => {}
            Stage::Healing
            | Stage::Undraining
            | Stage::Well
            | Stage::Undoing
            | Stage::Undone
            | Stage::Unclear
            | Stage::Failed => return None,
        }
        let held = run.under_way(&self.ledger).find_map(|step| self.held.get(&step.id(&self.ledger)));
        self.may(turn, run, stage).err().or_else(|| held.cloned().map(Wait::Held))
    }

    /// Whether it has something to do with a node.
    pub fn concerns(&self, node: &NodeName) -> bool {
        self.nodes.contains(node)
    }

    /// What it carries out.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether a wave is done, and has stayed well.
    pub fn is_done(&self, wave: usize) -> bool {
        self.done.contains(&wave)
    }

    /// What became of each instance of the plan: exactly one word for each.
    pub fn report(&self) -> BTreeMap<Instance, Class> {
        self.runs.iter().map(|run| (run.task.instance.clone(), self.class(run))).collect()
    }

    fn class(&self, run: &Run) -> Class {
        if self.quarantined.contains(&run.task.instance) {
            return Class::Quarantined;
        }
        match run.stage(&self.ledger) {
            Stage::Well => Class::Done,
            Stage::Waiting | Stage::Undone if run.left_drained(&self.ledger).next().is_none() => match self.control {
                // Whoever drove before may have begun something there.
                Control::Ended(_) if !self.is_heard(run) => Class::Unknown,
                Control::Unapproved
                | Control::Running
                | Control::Paused { .. }
                | Control::Aborting { .. }
                | Control::Ended(_) => Class::Untouched,
            },
            _ if run.under_way(&self.ledger).next().is_some() => match self.control {
                Control::Ended(_) => Class::Unknown,
                Control::Unapproved | Control::Running | Control::Paused { .. } | Control::Aborting { .. } => {
                    Class::InFlight
                }
            },
            Stage::Unclear => Class::Unknown,
            Stage::Failed if run.left_drained(&self.ledger).next().is_some() => Class::LeftDrained,
            Stage::Failed => Class::Failed,
            Stage::Waiting
            | Stage::Undone
            | Stage::Draining
            | Stage::Validating
            | Stage::Acting
            | Stage::Healing
            | Stage::Undraining
            | Stage::Undoing => match self.control {
                Control::Ended(_) => self.class_at_end(run),
                Control::Unapproved | Control::Running | Control::Paused { .. } | Control::Aborting { .. } => {
                    Class::InFlight
                }
            },
        }
    }

    /// Of one that was begun and came to no end of its own, and to which nothing is being done.
    fn class_at_end(&self, run: &Run) -> Class {
        match run.left_drained(&self.ledger).next() {
            Some(_) => Class::LeftDrained,
            // Nobody waited for it to be well.
            None if run.may_be_acted_on(&self.ledger) => Class::Unknown,
            // The reload before failed.
            None if run.is_escalated(&self.ledger) => Class::Failed,
            // It was looked at, or drained and given back.
            None => Class::Untouched,
        }
    }

    /// One thing happened.
    pub fn handle(&mut self, now: Mono, input: RolloutInput) {
        self.handle_all(now, [input]);
    }

    /// Several things happened at once.
    pub fn handle_all(&mut self, now: Mono, inputs: impl IntoIterator<Item = RolloutInput>) {
        inputs.into_iter().for_each(|input| self.hear(now, input));
        self.advance(now);
    }

    fn hear(&mut self, now: Mono, input: RolloutInput) {
        match input {
            RolloutInput::Lease(until) => self.lease = until,
            RolloutInput::Window(closed) => self.closed = closed,
            RolloutInput::Outdated(outdated) => self.outdated = outdated,
            RolloutInput::Report { node, seq, age, report } => {
                let is_ours = report.promised == Some(self.token);
                if !is_ours && self.rules.barrier {
                    self.view.promise(&node, false);
                }
                self.view.report(&node, now.before(age), seq, report);
            }
            RolloutInput::Answer { node, seq, age, answer } => self.answered(now, &node, seq, now.before(age), answer),
            RolloutInput::Say(say) => self.said(say),
            RolloutInput::Tick => {}
        }
    }

    fn answered(&mut self, now: Mono, node: &NodeName, seq: Seq, made: Mono, answer: Answer) {
        if self.rules.in_sequence {
            self.view.answered(node, seq);
        }
        match answer {
            Answer::Promised { token, ledger } if token == self.token => {
                self.view.promise(node, true);
                self.forget_unheard(node, made, &ledger);
                for (step, entry) in ledger {
                    self.learn(now, node, step, entry);
                }
                self.catch_up(node);
            }
            Answer::Promised { .. } => {}
            Answer::Refused { asked, held } => {
                if asked == self.token {
                    self.superseded = Some(held);
                }
            }
            Answer::Step { step, verdict } => match verdict {
                // The ledger's own word follows, with the run that was there before.
                Verdict::Accepted => self.learn(now, node, step, Entry::Started { before: None }),
                Verdict::Known(entry) => self.learn(now, node, step, entry),
                Verdict::Over(outcome) => self.learn(now, node, step, Entry::Over(outcome)),
                Verdict::Fenced(held) => {
                    self.view.promise(node, false);
                    self.superseded = self.superseded.or_else(|| held.filter(|held| held.epoch > self.token.epoch));
                }
                Verdict::Held(reason) => {
                    self.held.insert(step, reason);
                }
                Verdict::Expired => {}
            },
        }
    }

    /// A ledger of that moment does not have what was sent so long before that the node would drop it: it never happened.
    fn forget_unheard(&mut self, node: &NodeName, made: Mono, ledger: &BTreeMap<StepId, Entry>) {
        self.ledger.retain(|step, known| {
            let is_open = known.at == *node && known.entry.is_none() && !ledger.contains_key(step);
            let is_too_old = known.sent.and_then(|sent| sent.after(TTL)).is_some_and(|end| end < made);
            !(is_open && is_too_old)
        });
    }

    /// A driver before this one may have tried something anew and taken its word for that along.
    fn catch_up(&mut self, node: &NodeName) {
        let concerned = self.runs.iter().filter(|run| run.is_at(node));
        let behind = |run: &Run| {
            let later = (run.attempt + 1..=ATTEMPTS)
                .take_while(|nth| run.was_begun(&self.topology, self.id, *nth, &self.ledger));
            later.last().map(|attempt| Event::Retried { instance: run.task.instance.clone(), attempt })
        };
        let events: Vec<Event> = concerned.filter_map(behind).collect();
        events.into_iter().for_each(|event| self.decide(event));
    }

    /// What a node knows of a step is never less than it was.
    fn learn(&mut self, now: Mono, node: &NodeName, step: StepId, entry: Entry) {
        let rank = |entry: &Entry| match entry {
            Entry::Started { .. } => 0,
            Entry::Interrupted { .. } => 1,
            Entry::Over(_) => 2,
        };
        let is_new = &mut self.is_anything_new;
        let known = self.ledger.entry(step).or_insert_with(|| {
            *is_new = true;
            Known { at: node.clone(), sent: None, entry: None }
        });
        if known.entry.as_ref().is_none_or(|had| rank(&entry) > rank(had)) {
            known.entry = Some(entry);
            self.progress = now;
            self.held.remove(&step);
        }
    }

    fn said(&mut self, say: Say) {
        match (say, &self.control) {
            (_, Control::Ended(_)) => {}
            (Say::Approve { .. } | Say::Resume { .. }, _) if self.outdated.is_some() => {}
            (Say::Approve { wave, by }, _) => self.decide(Event::Approved { wave, by }),
            (Say::Take { node, by }, _) => self.decide(Event::Taken { node, by }),
            (Say::Quarantine { instance, by }, _) => self.decide(Event::Quarantined { instance, by }),
            (Say::Abort { reason, by }, Control::Unapproved | Control::Running | Control::Paused { .. }) => {
                self.decide(Event::Aborting { reason, by: Some(by) });
            }
            (Say::Pause { reason, by }, Control::Running) => self.decide(Event::Paused { reason, by: Some(by) }),
            (Say::Resume { by }, Control::Paused { .. }) => self.decide(Event::Resumed { by }),
            (Say::Abort { .. }, Control::Aborting { .. })
            | (Say::Pause { .. }, Control::Unapproved | Control::Paused { .. } | Control::Aborting { .. })
            | (Say::Resume { .. }, Control::Unapproved | Control::Running | Control::Aborting { .. }) => {}
        }
    }

    fn decide(&mut self, event: Event) {
        self.apply(&event);
        self.effects.push_back(RolloutEffect::Record(event));
    }

    /// The only door to what lasts.
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Approved { wave: None, .. } => {
                if self.control == Control::Unapproved {
                    self.control = Control::Running;
                }
            }
            Event::Approved { wave: Some(wave), .. } => {
                self.approved.insert(*wave);
            }
            // The token says who drives; this is for people.
            Event::Taken { .. } => {}
            Event::Paused { reason, .. } => self.control = Control::Paused { reason: reason.clone() },
            Event::Resumed { .. } => {
                self.control = Control::Running;
                let failed = self.runs.iter().filter(|run| run.failure.is_some()).map(|run| &run.task.instance);
                self.again = failed.filter(|instance| !self.quarantined.contains(instance)).cloned().collect();
            }
            Event::Aborting { reason, .. } => self.control = Control::Aborting { reason: reason.clone() },
            Event::Quarantined { instance, .. } => {
                self.quarantined.insert(instance.clone());
                // Nobody tries it, so nobody may wait for that.
                self.again.remove(instance);
            }
            Event::Retried { instance, attempt } => {
                let at = self.place.get(instance).copied().unwrap_or(usize::MAX);
                if let Some(run) = self.runs.get_mut(at) {
                    self.settled.remove(&at);
                    while run.attempt < *attempt {
                        run.retry(&self.topology, self.id);
                    }
                    self.done.remove(&run.wave);
                    self.soaking.remove(&run.wave);
                }
                self.again.remove(instance);
                self.told.remove(instance);
            }
            Event::Done(instance) => {
                self.told.insert(instance.clone());
            }
            Event::Failed(instance, failure) => {
                let at = self.place.get(instance).copied().unwrap_or(usize::MAX);
                if let Some(run) = self.runs.get_mut(at) {
                    run.failure = Some(failure.clone());
                    self.settled.remove(&at);
                }
                self.again.remove(instance);
                self.told.insert(instance.clone());
            }
            Event::Ended(end) => self.control = Control::Ended(*end),
        }
    }

    /// Does what may be done now.
    fn advance(&mut self, now: Mono) {
        if self.superseded.is_some() || now >= self.lease || matches!(self.control, Control::Ended(_)) {
            return;
        }
        if let (Control::Running, Some(Outdated { reason, .. })) = (&self.control, &self.outdated) {
            self.decide(Event::Paused { reason: reason.clone(), by: None });
        }
        self.ask_promises(now);
        loop {
            let said = (self.effects.len(), self.done.len());
            let mut turn = self.turn(now);
            for at in self.open() {
                self.drive(&mut turn, at);
            }
            self.soak(now);
            // What became possible by that need not wait for the next input.
            if said == (self.effects.len(), self.done.len()) {
                break;
            }
        }
        self.judge(now);
    }

    /// Every node is asked, and asked again what became of its steps.
    fn ask_promises(&mut self, now: Mono) {
        let is_old = |sent: Mono| now.since(sent) >= AGAIN;
        // The word about its end can be lost as that about its begin.
        let open = self.ledger.values().filter(|known| match known.entry {
            None => known.sent.is_some_and(is_old),
            Some(Entry::Started { .. }) => known.sent.is_none_or(is_old),
            Some(Entry::Interrupted { .. } | Entry::Over(_)) => false,
        });
        let open: BTreeSet<&NodeName> = open.map(|known| &known.at).collect();
        let is_due = |node: &&NodeName| {
            let is_wanted = (self.rules.barrier && !self.view.is_promised(node)) || open.contains(node);
            is_wanted && self.asked.get(*node).is_none_or(|asked| is_old(*asked))
        };
        for node in self.nodes.iter().filter(is_due).cloned().collect::<Vec<_>>() {
            self.asked.insert(node.clone(), now);
            self.effects.push_back(RolloutEffect::Prepare(node, self.token, self.id));
        }
    }
}

/// Those of the plan's services, and of their load balancers.
fn nodes(topology: &Topology, plan: &Plan) -> BTreeSet<NodeName> {
    let mut nodes = BTreeSet::new();
    for service in plan.waves.iter().filter_map(|wave| topology.services.get(&wave.service)) {
        nodes.extend(service.nodes.iter().cloned());
        let pools = service.behind.iter().filter_map(|(pool, _)| topology.pools.get(pool));
        nodes.extend(pools.flat_map(|pool| pool.hosts.iter().cloned()));
    }
    nodes
}
