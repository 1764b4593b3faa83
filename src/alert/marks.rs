//! What is known of the runs of units, so that what is told again opens nothing anew.

use super::{Alerts, IncidentId, MARKS_MAX, Mark, Subject};
use crate::base::{Consequence, Generation, Now, RunId, UnitName};

impl Alerts {
    pub(super) fn fresh_id(&mut self, now: Now, subject: &Subject) -> IncidentId {
        let Subject::Unit(unit) = subject else { return IncidentId::of_subject(subject, now.wall) };
        let born = self.born;
        let mark = self.mark(unit);
        let generation = mark.seen;
        let nth = match mark.incident {
            Some((of, nth)) if of == generation => nth + 1,
            Some(_) | None => 0,
        };
        mark.incident = Some((generation, nth));
        IncidentId::of_run(unit, born, generation, nth)
    }

    pub(super) fn saw(&mut self, run: &RunId) {
        let mark = self.mark(&run.unit);
        mark.seen = mark.seen.max(run.generation);
    }

    /// Whether the end of the run was seen.
    pub(super) fn is_over(&self, run: &RunId) -> bool {
        self.marks.get(&run.unit).is_some_and(|mark| run.generation <= mark.ended)
    }

    /// Whether this end is new; a replayed one is not.
    pub(super) fn ends_first_time(&mut self, run: &RunId) -> bool {
        self.saw(run);
        let mark = self.mark(&run.unit);
        let new = run.generation > mark.ended;
        mark.ended = mark.ended.max(run.generation);
        new
    }

    /// People know of all ends up to this one. A database that was begun since does not.
    pub fn settled(&mut self, unit: &UnitName, ended: Generation) {
        self.marks.entry(unit.clone()).or_insert_with(|| Mark { seen: ended, ended, ..Mark::default() });
    }

    /// Whether the newest end, of which people know, has come to more than that: of a manager that died as it found the start
    /// limit hit, only the end's consequence is told again.
    pub(super) fn turned_out_final(&self, run: &RunId, consequence: Consequence) -> bool {
        let is_newest = self.marks.get(&run.unit).is_some_and(|mark| mark.ended == run.generation);
        is_newest
            && matches!(consequence, Consequence::Fail | Consequence::StartLimit)
            && self.open.contains_key(&Subject::Unit(run.unit.clone()))
    }

    /// Whether the newest run of the unit has had no incident yet.
    pub(super) fn unsettled(&self, unit: &UnitName) -> bool {
        self.marks.get(unit).is_none_or(|mark| mark.incident.is_none_or(|(generation, _)| generation < mark.seen))
    }

    pub(super) fn mark(&mut self, unit: &UnitName) -> &mut Mark {
        if self.marks.len() >= MARKS_MAX && !self.marks.contains_key(unit) {
            let idle = |name: &&UnitName| !self.open.contains_key(&Subject::Unit((*name).clone()));
            if let Some(name) = self.marks.keys().find(idle).cloned() {
                self.marks.remove(&name);
            }
        }
        self.marks.entry(unit.clone()).or_default()
    }
}
