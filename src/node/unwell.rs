//! A restart because someone who asked for all probes found one that is not well: as by the probe itself, at once.

use super::{
    Node,
    effect::{Outcome, Refusal},
    job::Pull,
    wish::Ending,
};
use crate::base::{Now, StartCause, Ticket, UnitName};

impl Node {
    /// The asker waits until it is up again. Whoever has other plans with the unit is not disturbed in them.
    pub(super) fn restart_unwell(&mut self, now: Now, ticket: Ticket, unit: &UnitName, probe: String, reason: &str) {
        let Some(ask) = self.open_ticket(ticket, std::slice::from_ref(unit)).pop() else { return };
        let Some(place) = self.names.get(unit).copied() else {
            let similar = self.similar_name(unit);
            return self.answer(Some(ask), Outcome::Failed(Refusal::UnknownUnit { similar }));
        };
        if self.shutdown.is_some() {
            return self.answer(Some(ask), Outcome::Failed(Refusal::ShuttingDown));
        }
        if self.unit(place).is_some_and(|unit| unit.job.is_some()) {
            return self.answer(Some(ask), Outcome::Failed(Refusal::Superseded));
        }
        let Some(run) = self.run_mut(place).filter(|run| run.phase.is_up()) else {
            return self.answer(Some(ask), Outcome::Failed(Refusal::NotRunning));
        };
        run.why.get_or_insert_with(|| format!("probe {probe} is unwell, found by {reason}").into());
        run.ending = Some(Ending::Unhealthy { probe: probe.clone() });
        self.touch(place);
        self.take_down(now, place);
        self.enqueue_start(now, place, &Pull::new(StartCause::Unhealthy { probe }), Some(ask));
    }
}
