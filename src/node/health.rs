//! Health of a unit that is up: probes at a fixed rate, rise and fall counts, verdicts, and when all is well again.
//!
//! One probe of a kind is under way at a time. What its answers amount to is counted in `probe`.

use std::sync::Arc;

use super::{
    Effect, Node,
    effect::{Outcome, ProbeReport, Refusal},
    graph::Place,
    input::ProbeOutcome,
    probe::Probe,
    restart,
    service::{Phase, Run, State, Unit},
    status::Verdict,
    timers::Slot,
    wish::Ask,
};
use crate::{
    base::{Actor, Generation, Happening, HeldBack, Mono, Now, Remedy, RunId, RunResult, Ticket, TimeSpan, UnitName},
    unit::{
        UnitDef,
        spec::{OnUnhealthy, ProbeSpec, ServiceKind},
    },
};

/// The first probes of a run are spread over at most this long (and one interval), so that a thousand units that came up
/// together are not asked in one instant, now or later.
const FIRST_PHASE_MAX: TimeSpan = TimeSpan::from_secs(2);
/// A unit that failed is well again once it is up for so long, and for [`RESTART_DELAYS`]: a loop of crashes is one outage and
/// not many. It is the window in which systemd counts starts (`DefaultStartLimitIntervalSec=`): what ends within it belongs
/// together.
const SETTLED_AFTER_MIN: TimeSpan = TimeSpan::from_secs(10);
/// Up for so many times as long as it had to wait for this run. Whoever is started again every minute has shown nothing by ten
/// seconds.
const RESTART_DELAYS: u64 = 2;
/// Never longer: people want to hear the end.
const SETTLED_AFTER_MAX: TimeSpan = TimeSpan::from_secs(5 * 60);

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
    /// The unit came up, or a new manager found it up and goes on with what is known of its probes.
    pub(super) fn begin_probes(&mut self, now: Now, place: Place) {
        let Some(run) = self.run(place) else { return };
        let def = run.def.clone();
        let known = run.probes.clone();
        // What the manager before this one saw fall is known by its incident alone.
        let is_of_this_run = self.unit(place).is_some_and(|unit| unit.incident == Some(run.generation));
        let mut probes = Vec::with_capacity(def.health.len());
        for (index, spec) in def.health.iter().enumerate() {
            let spread = spec.interval.min(FIRST_PHASE_MAX).micros().unwrap_or(0);
            let phase = TimeSpan::from_micros(self.rng.below(spread));
            let due = now.mono.after(spec.initial_delay).and_then(|at| at.after(phase));
            let mut probe = known.get(index).cloned().unwrap_or_default();
            probe.due = due.unwrap_or_default();
            probe.fell |= is_of_this_run && probe.verdict != Verdict::Unknown;
            probe.since = probe.since.or_else(|| (probe.verdict != Verdict::Unknown).then_some(now));
            probes.push(probe);
            if let Ok(slot) = u16::try_from(index) {
                self.timers.set(place, Slot::Probe(slot), due);
            }
        }
        if let Some(run) = self.run_mut(place) {
            run.probes = probes;
        }
        self.weigh(now, place);
    }

    /// The unit's file has changed: its probes hold at once, as they are about the service and no part of it. Of one that is as it
    /// was, what is known stays.
    pub(super) fn probe_anew(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit(place) else { return };
        let Some(run) = unit.run().filter(|run| run.def.health != unit.def.health) else { return };
        let is_up = run.phase.is_up();
        let def = Arc::new(UnitDef { health: unit.def.health.clone(), ..(*run.def).clone() });
        let former = run.def.clone();
        let known: Vec<(&ProbeSpec, Probe)> = former.health.iter().zip(run.probes.iter().cloned()).collect();
        let kept = |spec: &ProbeSpec| {
            let same = known.iter().find(|(former, _)| *former == spec).map(|(_, probe)| probe.clone());
            same.map_or_else(Probe::default, Probe::not_under_way)
        };
        let probes = def.health.iter().map(kept).collect();
        if is_up {
            self.end_probes(place);
        }
        if let Some(run) = self.run_mut(place) {
            (run.def, run.probes) = (def, probes);
        }
        self.touch(place);
        if is_up {
            self.begin_probes(now, place);
        }
    }

    /// It goes down: what is under way is forgotten.
    pub(super) fn end_probes(&mut self, place: Place) {
        self.wake_gated(place);
        self.drop_held(place);
        self.forgo_restart(place);
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
        let jitter = self.run(place).and_then(|run| run.def.health.get(at)).map(|spec| spec.jitter);
        let random =
            jitter.filter(|span| !span.is_zero()).and_then(TimeSpan::micros).map_or(0, |span| self.rng.below(span));
        let Some(run) = self.run_mut(place).filter(|run| run.phase.is_up()) else { return };
        let def = run.def.clone();
        let (Some(spec), Some(probe)) = (def.health.get(at), run.probes.get_mut(at)) else { return };
        let next = probe.next_turn(now.mono, spec, random);
        self.timers.set(place, Slot::Probe(index), next);
        self.send_probe(place, at, false);
    }

    /// A probe came back.
    pub(super) fn probed(&mut self, now: Now, id: &RunId, index: usize, outcome: &ProbeOutcome) {
        let Some(place) = self.current(id) else { return };
        let Some(run) = self.run_mut(place) else { return };
        let def = run.def.clone();
        let probe = run.probes.get_mut(index).filter(|probe| probe.in_flight && probe.held.is_none());
        let (Some(spec), true) = (def.health.get(index), probe.is_some()) else {
            self.stale += 1;
            return;
        };
        if !self.hold_answer(place, index, spec, outcome) {
            self.count_answer(now, place, index, outcome, None);
        }
    }

    /// Counts an answer in; `excused` says that what the probe depends on fails.
    pub(super) fn count_answer(
        &mut self,
        now: Now,
        place: Place,
        index: usize,
        outcome: &ProbeOutcome,
        excused: Option<String>,
    ) {
        let Some(run) = self.run_mut(place) else { return };
        let (def, id) = (run.def.clone(), run.id());
        let (Some(spec), Some(probe)) = (def.health.get(index), run.probes.get_mut(index)) else { return };
        let before = probe.verdict;
        let ready = run.begin.ready_at.map_or(now.mono, |ready| ready.mono);
        let within_grace = ready.after(spec.startup_grace).is_some_and(|end| now.mono < end);
        let is_early = probe.is_early(outcome, within_grace);
        probe.count(now, spec, outcome, within_grace);
        if let Some(why) = excused {
            probe.excuse(now, why);
        }
        let verdict = probe.verdict;
        let reason = probe.reason().unwrap_or_default().to_owned();
        let ProbeOutcome { finding, took } = outcome.clone();
        let answered = run.report(index, ProbeReport { name: spec.name.to_string(), finding, took, verdict, is_early });
        for (ask, reports) in answered {
            self.answer(Some(ask), Outcome::Checked(reports));
        }
        if before == verdict {
            return;
        }
        self.wake_gated(place);
        if self.unit(place).is_some_and(|unit| !unit.wants_restart()) {
            self.forgo_restart(place);
        }
        match verdict {
            Verdict::Unknown => self.touch(place),
            Verdict::Healthy => {
                self.touch(place);
                self.notice(now, Happening::Healthy { run: id, probe: spec.name.to_string() });
                self.weigh(now, place);
            }
            Verdict::Degraded => {
                self.touch(place);
                let what = Happening::Degraded {
                    run: id,
                    probe: spec.name.to_string(),
                    shortage: spec.check.shortage(),
                    severity: spec.severity,
                    reason,
                };
                self.notice(now, what);
                self.weigh(now, place);
            }
            Verdict::Unhealthy => self.fell(now, place, spec, reason),
        }
    }

    /// The probes that are unhealthy or degraded, as it was told when they became so.
    pub fn fallen_probes(&self) -> impl Iterator<Item = Happening> {
        self.fallen(Some("so the manager before this one found"))
    }

    /// The same of those whose reason is known, with the newest.
    pub fn reasons_now(&self) -> impl Iterator<Item = Happening> {
        self.fallen(None)
    }

    fn fallen(&self, unknown: Option<&'static str>) -> impl Iterator<Item = Happening> {
        let units = self.names.values().filter_map(|place| self.unit(*place));
        let runs = units.filter_map(|unit| Some((unit, unit.run().filter(|run| run.phase.is_up())?)));
        let fallen = move |unit: &Unit, run: &Run, spec: &ProbeSpec, probe: &Probe| {
            let (id, name) = (run.id(), spec.name.to_string());
            let reason = probe.reason().or(unknown)?.to_owned();
            match probe.verdict {
                Verdict::Unhealthy => {
                    let remedy = run.remedy(spec.on_unhealthy, unit.held_back);
                    Some(Happening::Unhealthy { run: id, probe: name, reason, severity: spec.severity, remedy })
                }
                Verdict::Degraded => {
                    let (shortage, severity) = (spec.check.shortage(), spec.severity);
                    Some(Happening::Degraded { run: id, probe: name, shortage, severity, reason })
                }
                Verdict::Unknown | Verdict::Healthy => None,
            }
        };
        runs.flat_map(move |(unit, run)| {
            run.def.health.iter().zip(&run.probes).filter_map(move |(spec, probe)| fallen(unit, run, spec, probe))
        })
    }

    /// A verdict fell.
    fn fell(&mut self, now: Now, place: Place, spec: &ProbeSpec, reason: String) {
        let wants_restart = spec.on_unhealthy == OnUnhealthy::Restart;
        let held = if wants_restart { self.admit_restart(now, place) } else { None };
        let Some(unit) = self.unit_mut(place) else { return };
        if spec.matters() {
            unit.begin_incident();
        }
        let Some(run) = unit.run() else { return };
        let (id, probe, severity) = (run.id(), spec.name.to_string(), spec.severity);
        let remedy = run.remedy(spec.on_unhealthy, held);
        let what = Happening::Unhealthy { run: id, probe, reason, severity, remedy };
        if spec.matters() {
            self.timers.clear(place, Slot::RowEnds);
            self.timers.clear(place, Slot::Settled);
        }
        self.touch(place);
        self.notice(now, what);
        match remedy {
            Remedy::Restart | Remedy::Held(_) => self.restart_or_hold(now, place, held),
            Remedy::Reload => self.reload(now, place, Actor::HEALTH_PROBE, Vec::new()),
            Remedy::Nothing | Remedy::Recovering => {}
        }
    }

    /// Looks whether the unit, which is up, is well; a row of restarts ends some time after that.
    fn weigh(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit(place) else { return };
        let Some(run) = unit.run().filter(|run| run.phase.is_up()) else { return };
        if !run.is_well() {
            return;
        }
        let reset_after = unit.def.service.restart.reset_after.filter(|_| unit.restarts > 0);
        if let Some(span) = reset_after {
            self.timers.set(place, Slot::RowEnds, now.mono.after(span));
        }
        self.recover(now, place);
    }

    /// Says that the unit is well, or sets when it may be.
    pub(super) fn recover(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit(place).filter(|unit| unit.incident.is_some()) else { return };
        let Some(run) = unit.run().filter(|run| run.phase.is_up() && run.is_well()) else { return };
        match run.well_at(now) {
            Some(at) if at <= now.mono => self.is_well(now, place),
            later => self.timers.set(place, Slot::Settled, later),
        }
    }

    /// Whether the unit is up for long enough to be called well.
    #[must_use]
    pub fn is_settled(&self, now: Now, unit: &UnitName) -> bool {
        let run = self.names.get(unit).and_then(|place| self.run(*place)).filter(|run| run.phase.is_up());
        run.and_then(|run| run.settled_at(now)).is_some_and(|at| at <= now.mono)
    }

    /// The unit is up and well, or has finished well: an outage is over.
    pub(super) fn is_well(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let Some(id) = unit.run().map(Run::id) else { return };
        if unit.incident.take().is_some() {
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
            self.look(place);
            self.probe_unit(place, ask);
        }
    }

    fn probe_unit(&mut self, place: Place, ask: Ask) {
        let Some(unit) = self.unit_mut(place) else { return };
        let finished = unit.def.service.kind == ServiceKind::Oneshot
            && unit.def.external.is_none()
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
            self.send_probe(place, index, false);
        }
    }
}

impl Unit {
    /// Something goes wrong; if nothing was wrong before, that is how it began.
    pub(super) fn begin_incident(&mut self) {
        // What a template that accepts counts there are connections, and no runs of its own.
        let newest = if self.accepts() { Generation(0) } else { self.generation };
        self.incident.get_or_insert(newest);
    }
}

impl Run {
    /// What follows from a probe that is unhealthy.
    fn remedy(&self, wish: OnUnhealthy, held: Option<HeldBack>) -> Remedy {
        match wish {
            OnUnhealthy::Restart => held.map_or(Remedy::Restart, Remedy::Held),
            OnUnhealthy::Reload if self.can_reload() => Remedy::Reload,
            OnUnhealthy::Reload | OnUnhealthy::Alert | OnUnhealthy::None => Remedy::Nothing,
        }
    }

    /// From when on it is well if its probes say so too: when a failure would be the first of a new row, where the unit says
    /// that.
    fn settled_at(&self, now: Now) -> Option<Mono> {
        let up_since = self.begin.ready_at.unwrap_or(now).mono;
        // What has done its work cannot fail at it any more.
        if self.phase == Phase::Exited && self.def.external.is_none() {
            return Some(up_since);
        }
        up_since.after(self.settled_after())
    }

    /// From when on its outage is over if nothing happens till then: probes that were unhealthy have not been for as long as it has
    /// to be up. One that is good and bad by turns is one incident.
    fn well_at(&self, now: Now) -> Option<Mono> {
        let probes = self.def.health.iter().zip(&self.probes).filter(|(spec, probe)| spec.matters() && probe.fell);
        let risen = probes.filter_map(|(_, probe)| probe.since).map(|since| since.mono).max();
        let risen = risen.map(|risen| risen.after(self.settled_after()));
        let settled = self.settled_at(now);
        risen.map_or(settled, |risen| Some(settled?.max(risen?)))
    }

    fn settled_after(&self) -> TimeSpan {
        let policy = &self.def.service.restart;
        let delay = restart::delay(policy, self.begin.restarts).micros().unwrap_or(u64::MAX);
        let by_delay = TimeSpan::from_micros(delay.saturating_mul(RESTART_DELAYS)).max(SETTLED_AFTER_MIN);
        policy.reset_after.unwrap_or(by_delay).min(SETTLED_AFTER_MAX)
    }

    /// Gives the answer to whoever waits for it; those who have all theirs now are returned.
    fn report(&mut self, index: usize, found: ProbeReport) -> Vec<(Ask, Vec<ProbeReport>)> {
        for check in &mut self.checks {
            if let Some(report @ None) = check.reports.get_mut(index) {
                *report = Some(found.clone());
            }
        }
        let (done, open) = std::mem::take(&mut self.checks)
            .into_iter()
            .partition::<Vec<_>, _>(|check| check.reports.iter().all(Option::is_some));
        self.checks = open;
        done.into_iter().map(|check| (check.ask, check.reports.into_iter().flatten().collect())).collect()
    }
}
