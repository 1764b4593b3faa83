//! Reloads that bear a name. Whoever asks again by the same name is told what became of it, and it is not done again. The memo
//! has the names, so that holds though the manager dies in between. Whoever changes this usually lets a name say "over" before
//! the memo that says so can leave.

use super::{
    Node,
    effect::{Outcome, Refusal},
    graph::Place,
    input::ReloadName,
    service::{Reloading, Unit},
    wish::Ask,
};
use crate::base::{Actor, Now, Ticket, UnitName};

/// Most that are remembered of a unit; the oldest go first. Who asks asks soon, and of one or two.
pub(super) const NAMED_MAX: usize = 4;

/// A reload that bears a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: ReloadName,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Another one is under way, and it comes after that. Where the manager dies it was not begun.
    Waits,
    UnderWay,
    Done,
    Failed,
    /// The service went down in the middle of it.
    Superseded,
}

impl Stage {
    const fn is_over(self) -> bool {
        match self {
            Self::Waits | Self::UnderWay => false,
            Self::Done | Self::Failed | Self::Superseded => true,
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Done => Outcome::Done,
            Self::Failed => Outcome::Failed(Refusal::ReloadFailed),
            Self::Waits | Self::UnderWay | Self::Superseded => Outcome::Failed(Refusal::Superseded),
        }
    }
}

/// Those of one unit, oldest first.
#[derive(Debug, Default)]
pub(super) struct Reloads(pub(super) Vec<Named>);

impl Reloads {
    fn stage(&self, name: ReloadName) -> Option<Stage> {
        self.0.iter().find(|named| named.name == name).map(|named| named.stage)
    }

    fn add(&mut self, name: ReloadName) {
        self.0.retain(|named| named.name != name);
        self.0.push(Named { name, stage: Stage::Waits });
        self.0.drain(..self.0.len().saturating_sub(NAMED_MAX));
    }
}

impl Unit {
    /// Reloads that bear a name and are not over come to that stage. Whether there are any.
    fn reloads_come_to(&mut self, stage: Stage, are_concerned: impl Fn(Stage) -> bool) -> bool {
        let all = self.reloads.iter_mut().flat_map(|reloads| &mut reloads.0);
        let concerned = all.filter(|named| are_concerned(named.stage)).map(|named| named.stage = stage);
        concerned.count() > 0
    }
}

impl Node {
    /// Asks the service to reload, unless it was asked by that name before. Answered when that one is over.
    pub(super) fn reload_once(&mut self, now: Now, ticket: Ticket, actor: Actor, unit: &UnitName, name: ReloadName) {
        let Some(ask) = self.open_ticket(ticket, std::slice::from_ref(unit)).pop() else { return };
        let Some(place) = self.names.get(unit).copied() else {
            let similar = self.similar_name(unit);
            return self.answer(Some(ask), Outcome::Failed(Refusal::UnknownUnit { similar }));
        };
        match self.unit(place).and_then(|unit| unit.reloads.as_ref()?.stage(name)) {
            None => self.begin_once(now, place, actor, (name, ask)),
            Some(Stage::UnderWay) if self.is_reloading(place) => {
                if let Some(run) = self.run_mut(place) {
                    run.reload.get_or_insert_with(|| Box::new(Reloading::new(actor))).asks.push(ask);
                }
            }
            Some(Stage::Waits) if self.is_reloading(place) => {
                if let Some(reload) = self.run_mut(place).and_then(|run| run.reload.as_mut()) {
                    reload.next.push(ask);
                }
            }
            Some(stage) => self.answer(Some(ask), stage.outcome()),
        }
    }

    fn begin_once(&mut self, now: Now, place: Place, actor: Actor, (name, ask): (ReloadName, Ask)) {
        if self.shutdown.is_some() {
            return self.answer(Some(ask), Outcome::Failed(Refusal::ShuttingDown));
        }
        let is_able = self.run(place).is_some_and(|run| run.phase.is_up() && run.can_reload());
        if let Some(unit) = self.unit_mut(place).filter(|_| is_able) {
            unit.reloads.get_or_insert_default().add(name);
        }
        self.reload(now, place, actor, vec![ask]);
    }

    fn is_reloading(&self, place: Place) -> bool {
        self.run(place).is_some_and(|run| run.phase.is_reloading())
    }

    /// A reload begins: with all who have asked for one.
    pub(super) fn named_reloads_begin(&mut self, place: Place) {
        self.named_reloads(place, Stage::UnderWay, |stage| stage == Stage::Waits);
    }

    /// What was under way is over.
    pub(super) fn named_reloads_end(&mut self, place: Place, is_done: bool) {
        let end = if is_done { Stage::Done } else { Stage::Failed };
        self.named_reloads(place, end, |stage| stage == Stage::UnderWay);
    }

    /// The service goes down: nothing comes of those that are not over.
    pub(super) fn named_reloads_are_superseded(&mut self, place: Place) {
        self.named_reloads(place, Stage::Superseded, |stage| !stage.is_over());
    }

    fn named_reloads(&mut self, place: Place, stage: Stage, are_concerned: impl Fn(Stage) -> bool) {
        if self.unit_mut(place).is_some_and(|unit| unit.reloads_come_to(stage, are_concerned)) {
            self.touch(place);
        }
    }
}
