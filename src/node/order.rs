//! Orders of people and their answers.

use super::{
    Effect, Node, Shutdown,
    effect::{HostOrder, Outcome, Refusal},
    graph::Place,
    input::Verb,
    job::Pull,
    limit::StartWindow,
    service::State,
    timers::Slot,
    wish::{Ask, Ending},
};
use crate::base::{Actor, Happening, Now, RunResult, Signal, StartCause, Ticket, UnitName};

/// Names that differ in more places than this are not what was meant.
const SIMILAR_MAX: usize = 2;

/// The outcomes of one order, as they come in.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) outcomes: Vec<(UnitName, Option<Outcome>)>,
    pub(super) open: usize,
}

impl Node {
    /// Opens the ticket; one ask for each unit.
    pub(super) fn open_ticket(&mut self, ticket: Ticket, units: &[UnitName]) -> Vec<Ask> {
        if units.is_empty() {
            self.replies.push_back(Effect::Reply { ticket, outcomes: Vec::new() });
            return Vec::new();
        }
        let outcomes = units.iter().map(|name| (name.clone(), None)).collect();
        self.tickets.insert(ticket, Tally { outcomes, open: units.len() });
        let count = u32::try_from(units.len()).unwrap_or(u32::MAX);
        (0..count).map(|index| Ask { ticket, index }).collect()
    }

    /// One ask is answered; with the last of its ticket the reply goes out.
    pub(super) fn answer(&mut self, ask: Option<Ask>, outcome: Outcome) {
        let Some(Ask { ticket, index }) = ask else { return };
        let Some(tally) = self.tickets.get_mut(&ticket) else { return };
        let Some((_, slot @ None)) = tally.outcomes.get_mut(index as usize) else { return };
        *slot = Some(outcome);
        tally.open -= 1;
        if tally.open > 0 {
            return;
        }
        let Some(tally) = self.tickets.remove(&ticket) else { return };
        let outcomes = tally.outcomes.into_iter().filter_map(|(name, outcome)| Some((name, outcome?))).collect();
        self.replies.push_back(Effect::Reply { ticket, outcomes });
    }

    pub(super) fn answer_all(&mut self, asks: &[Ask], outcome: &Outcome) {
        for ask in asks {
            self.answer(Some(*ask), outcome.clone());
        }
    }

    pub(super) fn ordered(&mut self, now: Now, ticket: Ticket, actor: &Actor, units: &[UnitName], verb: Verb) {
        let mut known = Vec::new();
        for ask in self.open_ticket(ticket, units) {
            let Some(name) = units.get(ask.index as usize) else { continue };
            match self.names.get(name) {
                Some(place) => known.push((self.meant_by(*place, verb), ask)),
                None => {
                    let similar = self.similar_name(name);
                    self.answer(Some(ask), Outcome::Failed(Refusal::UnknownUnit { similar }));
                }
            }
        }
        if self.shutdown.is_some() && matches!(verb, Verb::Start | Verb::Restart | Verb::Reload) {
            for (_, ask) in known {
                self.answer(Some(ask), Outcome::Failed(Refusal::ShuttingDown));
            }
            return;
        }
        let places: Vec<_> = known.iter().map(|(place, _)| *place).collect();
        match verb {
            Verb::Start => {
                let roots: Vec<_> = known.into_iter().map(|(place, ask)| (place, Some(ask))).collect();
                self.start_all(now, &roots, &Pull::new(StartCause::Manual(actor.clone())));
            }
            Verb::Stop => self.order_stop(actor, &known),
            Verb::Restart => self.order_restart(now, actor, &known),
            Verb::Reload => {
                for (place, ask) in known {
                    self.reload(now, place, actor.clone(), vec![ask]);
                }
            }
            Verb::Signal(signal) => {
                for (place, ask) in known {
                    self.order_signal(now, place, signal, actor, ask);
                }
            }
            Verb::Reset => {
                for (place, ask) in known {
                    self.reset(now, place, actor, ask);
                }
            }
            Verb::Clean => {
                for (place, ask) in known {
                    self.clean(place, ask);
                }
            }
            Verb::Enable | Verb::Disable => {
                for (place, ask) in known {
                    self.enable(now, place, verb == Verb::Enable, ask);
                }
            }
        }
        for place in places {
            if self.run(place).is_some_and(|run| run.unkillable) {
                self.give_up_waiting(now, place);
            }
        }
    }

    /// The named units get their asks first, so that a stop which follows from another is theirs too.
    fn order_stop(&mut self, actor: &Actor, known: &[(Place, Ask)]) {
        let ending = Ending::Stop(actor.clone());
        for (place, ask) in known {
            self.enqueue_stop(*place, &ending, Some(*ask));
        }
        for (place, _) in known {
            self.stop_with_dependents(*place, &ending);
        }
    }

    fn order_restart(&mut self, now: Now, actor: &Actor, known: &[(Place, Ask)]) {
        let graph = self.graph.clone();
        let mut seen = std::collections::BTreeSet::new();
        let mut work = std::collections::VecDeque::new();
        for (place, ask) in known {
            self.enqueue_restart(now, *place, actor, Some(*ask));
            if seen.insert(*place) {
                work.push_back(*place);
            }
        }
        let named = work.clone();
        while let Some(place) = work.pop_front() {
            for other in graph.stops_with.of(place) {
                if self.is_on(*other) && seen.insert(*other) {
                    self.enqueue_restart(now, *other, actor, None);
                    work.push_back(*other);
                }
            }
        }
        self.pull_in(now, seen, named);
    }

    fn order_signal(&mut self, now: Now, place: Place, signal: Signal, actor: &Actor, ask: Ask) {
        let Some(run) = self.run_mut(place).filter(|run| run.main.is_alive()) else {
            let up = self.run(place).filter(|run| run.phase.is_up());
            let refusal = match up.and_then(|run| run.def.external.as_ref()) {
                Some(external) => Refusal::KeptElsewhere { manager: external.manager.clone() },
                None => Refusal::NotRunning,
            };
            return self.answer(Some(ask), Outcome::Failed(refusal));
        };
        run.sent = Some((signal, actor.clone()));
        let (id, key) = (run.id(), run.main_key());
        self.touch(place);
        self.order(place, Effect::Kill { key, signal });
        self.notice(now, Happening::Signalled { run: id, signal, actor: actor.clone() });
        self.answer(Some(ask), Outcome::Done);
    }

    fn reset(&mut self, now: Now, place: Place, actor: &Actor, ask: Ask) {
        let Some(unit) = self.unit_mut(place) else { return };
        let was_failed = matches!(unit.state, State::Failed);
        let (restarts, starts) = (unit.restarts, unit.window.count);
        if was_failed {
            unit.state = State::Inactive;
            unit.since = now;
            unit.result = RunResult::Success;
            unit.incident = None;
        }
        unit.restarts = 0;
        unit.window = StartWindow::default();
        let what =
            Happening::CountersReset { unit: unit.name.clone(), actor: actor.clone(), restarts, starts, was_failed };
        self.timers.clear(place, Slot::RowEnds);
        self.touch(place);
        self.notice(now, what);
        self.order_host(place, HostOrder::ResetFailed);
        self.answer(Some(ask), Outcome::Cleared { restarts, starts, was_failed });
    }

    /// A timer is armed or disarmed at once.
    fn enable(&mut self, now: Now, place: Place, enabled: bool, ask: Ask) {
        let Some(unit) = self.unit_mut(place) else { return };
        let outcome = if unit.enabled == Some(enabled) { Outcome::Already } else { Outcome::Done };
        unit.enabled = Some(enabled);
        // Whoever wants it at daemon start wants to hear of traffic, which a stop had ended.
        let listens = enabled && unit.is_lazy() && matches!(unit.state, State::Inactive) && unit.job.is_none();
        if listens && self.booted && self.shutdown.is_none() {
            self.listen(now, place);
        }
        self.settle_timer(now, place);
        self.answer(Some(ask), outcome);
    }

    /// Starts every enabled unit that nothing is remembered of; of those that have a timer, the timer.
    pub(super) fn boot(&mut self, now: Now) {
        self.booted = true;
        if self.shutdown.is_some() {
            return;
        }
        let places: Vec<_> = self.names.values().copied().collect();
        let wanted = |place: &&Place| self.unit(**place).is_some_and(|unit| unit.starts_with_daemon() && !unit.known);
        let roots: Vec<_> = places.iter().filter(wanted).copied().collect();
        self.begin_enabled(now, &roots, StartCause::Boot);
        for place in places {
            self.settle_timer(now, place);
            self.settle_watch(now, place);
        }
    }

    /// Starts these; those that are lazy only listen.
    pub(super) fn begin_enabled(&mut self, now: Now, places: &[Place], cause: StartCause) {
        let is_lazy = |place: &&Place| self.unit(**place).is_some_and(super::Unit::is_lazy);
        let (lazy, roots): (Vec<&Place>, Vec<&Place>) = places.iter().partition(is_lazy);
        for place in lazy {
            self.listen(now, *place);
        }
        let roots: Vec<_> = roots.into_iter().map(|place| (*place, None)).collect();
        self.start_all(now, &roots, &Pull::new(cause));
    }

    /// Stops everything in order; a second order changes nothing.
    pub(super) fn shut_down(&mut self, now: Now, actor: Actor, machine: bool, code: u8) {
        if self.shutdown.is_some() {
            return;
        }
        self.notice(now, Happening::ShuttingDown { actor: actor.clone(), machine });
        self.shutdown = Some(Shutdown { code, said: false });
        let ending = Ending::Shutdown(actor);
        if !machine {
            self.restarts_come_back(now);
        }
        for place in self.places(Place(0)).filter(|place| self.graph.orders(*place)).collect::<Vec<_>>() {
            self.shut_down_one(place, &ending);
        }
        self.leaving = Some((ending, Place(0)));
    }

    /// Has the next unit stop, if any is left that neither waits for others nor has them wait. Whether one was.
    pub(super) fn shut_down_next(&mut self) -> bool {
        let Some((ending, from)) = self.leaving.take() else { return false };
        let next = self.places(from).find(|place| !self.graph.orders(*place));
        let Some(place) = next else { return false };
        self.shut_down_one(place, &ending);
        self.leaving = Some((ending, Place(place.0 + 1)));
        true
    }

    fn shut_down_one(&mut self, place: Place, ending: &Ending) {
        self.enqueue_stop(place, ending, None);
        if let Some(unit) = self.unit_mut(place) {
            unit.waits_back = false;
        }
        self.silence_timer(place);
    }

    /// The known name that was most likely meant.
    pub(super) fn similar_name(&self, name: &UnitName) -> Option<UnitName> {
        let near = self.names.keys().map(|known| (distance(known.as_str(), name.as_str()), known));
        near.min().filter(|(far, _)| *far <= SIMILAR_MAX).map(|(_, known)| known.clone())
    }
}

/// In how many places two names differ (Levenshtein); names are ASCII.
fn distance(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > SIMILAR_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changed_added_and_missing_letters() {
        for (left, right, far) in [("web", "web", 0), ("web", "wed", 1), ("redis", "rdis", 1), ("a", "abc", 2)] {
            assert_eq!(distance(left, right), far, "{left} {right}");
        }
        assert_eq!(distance("a", "abcd"), usize::MAX);
    }
}
