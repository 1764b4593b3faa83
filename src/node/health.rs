//! Health of a unit that is up: probes at a fixed rate, rise and fall counts, verdicts, and when all is well again.
//!
//! One probe of a kind is under way at a time. A verdict falls after `unhealthy_after` failures in a row and rises after
//! `healthy_after` good answers; the first good answer of a run is enough. A probe that could not be asked is no answer.

use std::time::Duration;

use super::{
    Effect, Node,
    effect::{Outcome, ProbeReport, Refusal},
    graph::Place,
    input::ProbeOutcome,
    service::State,
    status::Verdict,
    timers::Slot,
    wish::{Ask, Ending},
};
use crate::{
    base::{Actor, Happening, Mono, Now, RunId, RunResult, Ticket, TimeSpan, UnitName},
    unit::spec::{OnUnhealthy, ProbeSpec, ServiceKind},
};

/// The first probes of a run are spread over at most this long (and one interval), so that a thousand units that came up
/// together are not asked in one instant, now or later.
const FIRST_PHASE_MAX: TimeSpan = TimeSpan::from_secs(2);
/// A unit without probes whose type cannot say that it is ready has recovered once it is up for so long: a loop of
/// crashes is one outage and not many.
const SETTLED_AFTER: TimeSpan = TimeSpan::from_secs(1);
/// The longest reason of a failure that is kept, in bytes.
const FAILURE_MAX: usize = 256;

/// One probe of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Probe {
    pub(super) verdict: Verdict,
    /// Answers in a row that speak against the verdict.
    pub(super) row: u32,
    pub(super) in_flight: bool,
    /// When it was due last; the next is an interval later.
    pub(super) due: Mono,
    pub(super) since: Option<Now>,
    pub(super) last_failure: Option<Box<str>>,
    pub(super) took: Option<Duration>,
}

/// Someone who asked for all probes of a unit.
#[derive(Debug)]
pub(super) struct Checking {
    ask: Ask,
    reports: Vec<Option<ProbeReport>>,
}

impl Checking {
    pub(super) const fn ask(&self) -> Ask {
        self.ask
    }
}

impl Node {
    /// The unit came up, or a new manager found it up: `verdicts` are what is known of its probes.
    pub(super) fn begin_probes(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place) else { return };
        let def = run.def.clone();
        let known: Vec<Verdict> = run.probes.iter().map(|probe| probe.verdict).collect();
        let mut probes = Vec::with_capacity(def.health.len());
        for (index, spec) in def.health.iter().enumerate() {
            let spread = spec.interval.min(FIRST_PHASE_MAX).micros().unwrap_or(0);
            let phase = TimeSpan::from_micros(self.rng.below(spread));
            let due = now.mono.after(spec.initial_delay).and_then(|at| at.after(phase));
            let verdict = known.get(index).copied().unwrap_or_default();
            let since = (verdict != Verdict::Unknown).then_some(now);
            probes.push(Probe { verdict, due: due.unwrap_or_default(), since, ..Probe::default() });
            if let Ok(slot) = u16::try_from(index) {
                self.timers.set(place, Slot::Probe(slot), due);
            }
        }
        if let Some(run) = self.run_mut(place) {
            run.probes = probes;
        }
        self.weigh(now, place);
    }

    /// It goes down: what is under way is forgotten.
    pub(super) fn end_probes(&mut self, place: Place) {
        let Some(run) = self.run_mut(place) else { return };
        let probes = std::mem::take(&mut run.probes);
        let checks = std::mem::take(&mut run.checks);
        let id = run.id();
        for check in checks {
            self.answer(Some(check.ask), Outcome::Failed(Refusal::NotRunning));
        }
        for index in 0..u16::try_from(probes.len()).unwrap_or(u16::MAX) {
            self.timers.clear(place, Slot::Probe(index));
        }
        if probes.iter().any(|probe| probe.in_flight) {
            // Not through `order`: the unit may be half way between two states, which no memo should show.
            self.orders.push_back(Effect::CancelProbes { run: id });
        }
    }

    /// The next turn of a probe. One that is still under way keeps its turn.
    pub(super) fn probe_due(&mut self, now: Now, place: Place, index: u16) {
        let at = usize::from(index);
        let Some(run) = self.run_mut(place).filter(|run| run.phase.is_up()) else { return };
        let Some(interval) = run.def.health.get(at).map(|spec| spec.interval) else { return };
        let Some(probe) = run.probes.get_mut(at) else { return };
        let next = next_turn(probe.due, now.mono, interval);
        probe.due = next.unwrap_or(probe.due);
        self.timers.set(place, Slot::Probe(index), next);
        self.send_probe(place, at);
    }

    fn send_probe(&mut self, place: Place, index: usize) {
        let Some(run) = self.run_mut(place) else { return };
        let Some(probe) = run.probes.get_mut(index).filter(|probe| !probe.in_flight) else { return };
        probe.in_flight = true;
        let effect = Effect::Probe { run: run.id(), probe: index, def: run.def.clone() };
        self.order(place, effect);
    }

    /// A probe came back.
    pub(super) fn probed(&mut self, now: Now, id: &RunId, index: usize, outcome: &ProbeOutcome) {
        let Some(place) = self.current(id) else { return };
        let Some(run) = self.run_mut(place) else { return };
        let def = run.def.clone();
        let probe = run.probes.get_mut(index).filter(|probe| probe.in_flight);
        let (Some(spec), Some(probe)) = (def.health.get(index), probe) else {
            self.stale += 1;
            return;
        };
        let before = probe.verdict;
        probe.count(now, spec, outcome);
        let verdict = probe.verdict;
        let answered = run.report(index, spec, outcome, verdict);
        for (ask, reports) in answered {
            self.answer(Some(ask), Outcome::Checked(reports));
        }
        match (before, verdict) {
            (Verdict::Unknown | Verdict::Healthy, Verdict::Unhealthy) => {
                self.fell(now, place, spec, outcome.failure.clone().unwrap_or_default());
            }
            (Verdict::Unknown | Verdict::Unhealthy, Verdict::Healthy) => {
                self.touch(place);
                self.notice(now, Happening::Healthy { run: id.clone(), probe: spec.name.to_string() });
                self.weigh(now, place);
            }
            (Verdict::Unknown, Verdict::Unknown)
            | (Verdict::Healthy | Verdict::Unhealthy, Verdict::Unknown)
            | (Verdict::Healthy, Verdict::Healthy)
            | (Verdict::Unhealthy, Verdict::Unhealthy) => {}
        }
    }

    /// A verdict fell.
    fn fell(&mut self, now: Now, place: Place, spec: &ProbeSpec, reason: String) {
        let Some(unit) = self.unit_mut(place) else { return };
        unit.incident = true;
        let Some(run) = unit.run_mut() else { return };
        let what =
            Happening::Unhealthy { run: run.id(), probe: spec.name.to_string(), reason, severity: spec.severity };
        self.timers.clear(place, Slot::RowEnds);
        self.timers.clear(place, Slot::Settled);
        self.touch(place);
        self.notice(now, what);
        match spec.on_unhealthy {
            OnUnhealthy::Restart => {
                if let Some(run) = self.run_mut(place) {
                    run.ending = Some(Ending::Unhealthy { probe: spec.name.to_string() });
                }
                self.take_down(now, place);
            }
            OnUnhealthy::Reload => self.reload(now, place, Actor::Automatic("health probe"), Vec::new()),
            OnUnhealthy::Alert | OnUnhealthy::None => {}
        }
    }

    /// Looks whether the unit, which is up, is well; a row of restarts ends some time after that.
    fn weigh(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit(place) else { return };
        let Some(run) = unit.run().filter(|run| run.phase.is_up()) else { return };
        if run.probes.iter().any(|probe| probe.verdict != Verdict::Healthy) {
            return;
        }
        let reset_after = unit.def.service.restart.reset_after.filter(|_| unit.restarts > 0);
        let silent_kind = matches!(run.def.service.kind, ServiceKind::Simple | ServiceKind::Exec);
        let must_settle = silent_kind && run.probes.is_empty();
        let (up_since, incident) = (run.begin.ready_at.unwrap_or(now).mono, unit.incident);
        if let Some(span) = reset_after {
            self.timers.set(place, Slot::RowEnds, now.mono.after(span));
        }
        if must_settle && incident {
            self.timers.set(place, Slot::Settled, up_since.after(SETTLED_AFTER));
        } else {
            self.is_well(now, place);
        }
    }

    /// The unit is up and well, or has finished well: an outage is over.
    pub(super) fn is_well(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(id) = unit.run().map(super::service::Run::id) else { return };
        if std::mem::take(&mut unit.incident) {
            self.touch(place);
            self.notice(now, Happening::Recovered { run: id });
        }
    }

    /// Up and well for long enough: the next failure is the first of a new row.
    pub(super) fn row_ends(&mut self, place: Place) {
        if let Some(unit) = self.unit_mut(place).filter(|unit| unit.is_up()) {
            unit.restarts = 0;
            self.touch(place);
        }
    }

    /// Runs every probe of these units once.
    pub(super) fn probe_now(&mut self, ticket: Ticket, units: &[UnitName]) {
        for ask in self.open_ticket(ticket, units) {
            let Some(name) = units.get(ask.index as usize) else { continue };
            let Some(place) = self.names.get(name).copied() else {
                let similar = self.similar_name(name);
                self.answer(Some(ask), Outcome::Failed(Refusal::UnknownUnit { similar }));
                continue;
            };
            self.probe_unit(place, ask);
        }
    }

    fn probe_unit(&mut self, place: Place, ask: Ask) {
        let Some(unit) = self.unit_mut(place) else { return };
        let finished = unit.def.service.kind == ServiceKind::Oneshot
            && matches!(unit.state, State::Inactive)
            && unit.known
            && unit.result == RunResult::Success
            && unit.generation.0 > 0;
        let Some(run) = unit.run_mut().filter(|run| run.phase.is_up()) else {
            let outcome = if finished { Outcome::Checked(Vec::new()) } else { Outcome::Failed(Refusal::NotRunning) };
            return self.answer(Some(ask), outcome);
        };
        let count = run.probes.len();
        if count == 0 {
            return self.answer(Some(ask), Outcome::Checked(Vec::new()));
        }
        run.checks.push(Checking { ask, reports: vec![None; count] });
        for index in 0..count {
            self.send_probe(place, index);
        }
    }
}

impl super::service::Run {
    /// Gives the answer to whoever waits for it; those who have all theirs now are returned.
    fn report(
        &mut self,
        index: usize,
        spec: &ProbeSpec,
        outcome: &ProbeOutcome,
        verdict: Verdict,
    ) -> Vec<(Ask, Vec<ProbeReport>)> {
        for check in &mut self.checks {
            if let Some(report @ None) = check.reports.get_mut(index) {
                let ProbeOutcome { failure, asked, took } = outcome.clone();
                *report = Some(ProbeReport { name: spec.name.to_string(), failure, asked, took, verdict });
            }
        }
        let (done, open) = std::mem::take(&mut self.checks)
            .into_iter()
            .partition::<Vec<_>, _>(|check| check.reports.iter().all(Option::is_some));
        self.checks = open;
        done.into_iter().map(|check| (check.ask, check.reports.into_iter().flatten().collect())).collect()
    }
}

impl Probe {
    /// Counts one answer in.
    fn count(&mut self, now: Now, spec: &ProbeSpec, outcome: &ProbeOutcome) {
        self.in_flight = false;
        self.took = Some(outcome.took);
        let against = if outcome.failure.is_some() { Verdict::Unhealthy } else { Verdict::Healthy };
        if let Some(reason) = &outcome.failure {
            self.last_failure = Some(shortened(reason).into());
        }
        if !outcome.asked {
            return;
        }
        let needed = match against {
            Verdict::Unhealthy => spec.unhealthy_after,
            Verdict::Healthy | Verdict::Unknown if self.verdict == Verdict::Unknown => 1,
            Verdict::Healthy | Verdict::Unknown => spec.healthy_after,
        };
        if against == self.verdict {
            self.row = 0;
            return;
        }
        // Without a verdict only failures are in a row: one good answer ends it.
        self.row = self.row.saturating_add(1);
        if self.row >= needed {
            (self.verdict, self.row, self.since) = (against, 0, Some(now));
        }
    }
}

/// The first turn after `now`; turns that were missed are left out.
fn next_turn(due: Mono, now: Mono, interval: TimeSpan) -> Option<Mono> {
    let nanos = interval.duration().map(|span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))?.max(1);
    let missed = now.0.saturating_sub(due.0) / nanos;
    due.0.checked_add(nanos.saturating_mul(missed.saturating_add(1))).map(Mono)
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(FAILURE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
