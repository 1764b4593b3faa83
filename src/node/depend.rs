//! Probes that depend on others: a bad answer counts only once what it hangs on was asked since, and is well.
//!
//! Until then it is *held*: its probe is still under way. What it depends on is asked at once, so that of twenty probes behind
//! a dead host one speaks, whichever was first. A probe that depends on what fails is *excused*: nothing is known of it.

use super::{
    Effect, Node,
    graph::Place,
    input::{Finding, ProbeOutcome},
    probe::Answer,
    status::Verdict,
};
use crate::{
    base::{Mono, Now},
    unit::spec::{ProbeName, ProbeSpec},
};

/// What becomes of a bad answer.
enum Standing {
    /// It counts.
    Counts,
    /// It does not, and why.
    Excused(String),
    /// Something is asked first.
    Waits,
}

impl Node {
    /// Keeps an answer that has to wait for others; whether it is such a one.
    pub(super) fn hold_answer(&mut self, place: Place, index: usize, spec: &ProbeSpec, outcome: &ProbeOutcome) -> bool {
        if spec.depends_on.is_empty() || !matches!(outcome.finding, Finding::Bad(_)) {
            return false;
        }
        let Some(probe) = self.run_mut(place).and_then(|run| run.probes.get_mut(index)) else { return false };
        probe.held = Some(Box::new(outcome.clone()));
        self.holding.insert((place, index));
        true
    }

    /// Answers of probes that are no more.
    pub(super) fn drop_held(&mut self, place: Place) {
        self.holding.retain(|(of, _)| *of != place);
    }

    /// Counts the answers that need not wait any longer; one may be what the next waits for.
    pub(super) fn settle_held(&mut self, now: Now) {
        loop {
            let held: Vec<(Place, usize)> = self.holding.iter().copied().collect();
            let before = held.len();
            for (place, index) in held {
                self.settle_one(now, place, index);
            }
            if self.holding.is_empty() || self.holding.len() == before {
                return;
            }
        }
    }

    fn settle_one(&mut self, now: Now, place: Place, index: usize) {
        let found = self.run(place).and_then(|run| {
            let probe = run.probes.get(index).filter(|probe| probe.held.is_some())?;
            Some((run.def.clone(), probe.asked))
        });
        let Some((def, asked)) = found else {
            self.holding.remove(&(place, index));
            return;
        };
        let Some(spec) = def.health.get(index) else { return };
        let standing = self.standing(&spec.depends_on, asked);
        if matches!(standing, Standing::Waits) {
            return;
        }
        self.holding.remove(&(place, index));
        let held = self.run_mut(place).and_then(|run| run.probes.get_mut(index)?.held.take());
        let Some(outcome) = held else { return };
        match standing {
            Standing::Excused(why) => {
                let finding = Finding::Unasked(format!("{why}, on which it depends"));
                self.count_answer(now, place, index, &ProbeOutcome { finding, took: outcome.took }, Some(why));
            }
            Standing::Counts | Standing::Waits => self.count_answer(now, place, index, &outcome, None),
        }
    }

    /// How the probes stand that a bad answer to a question of the moment `asked` depends on; they are asked if they were not
    /// since.
    fn standing(&mut self, on: &[ProbeName], asked: Mono) -> Standing {
        let mut waits = false;
        for of in on {
            let Some(other) = self.names.get(&of.unit).copied() else { continue };
            let Some(run) = self.run(other).filter(|run| run.phase.is_up()) else {
                return Standing::Excused(format!("{} is not up", of.unit));
            };
            let Some(index) = run.def.health.iter().position(|spec| spec.name == of.probe) else { continue };
            let Some(probe) = run.probes.get(index) else { continue };
            if probe.verdict == Verdict::Unhealthy {
                return Standing::Excused(format!("{of} fails"));
            }
            if probe.in_flight || probe.asked < asked {
                waits = true;
                self.send_probe(other, index, true);
                continue;
            }
            match &probe.answer {
                Answer::Bad => return Standing::Excused(format!("{of} fails")),
                Answer::Excused(why) => return Standing::Excused(why.to_string()),
                Answer::Fair => {}
            }
        }
        if waits { Standing::Waits } else { Standing::Counts }
    }

    /// Asks a probe, `between` its turns or not, unless it is being asked: then that answer is one of its turn as well.
    pub(super) fn send_probe(&mut self, place: Place, index: usize, between: bool) {
        let asked = self.awake;
        let Some(run) = self.run_mut(place) else { return };
        let Some(probe) = run.probes.get_mut(index) else { return };
        if probe.in_flight {
            probe.between &= between;
            return;
        }
        (probe.in_flight, probe.between, probe.asked) = (true, between, asked);
        let effect = Effect::Probe { run: run.id(), probe: index, def: run.def.clone() };
        self.order(place, effect);
    }
}
