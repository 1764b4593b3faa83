//! Restarts that a probe asks for: done, or held back while the budget of all units is spent or someone works on the unit.
//!
//! What is held back is done as soon as nothing is in its way, if the unit is still unhealthy then.

use std::collections::BTreeSet;

use super::{
    Node,
    graph::Place,
    input::RestartBudget,
    probe::Probe,
    service::{Run, Unit},
    status::Verdict,
    wish::Ending,
};
use crate::{
    base::{Happening, HeldBack, Now, UnitName},
    unit::spec::{OnUnhealthy, ProbeSpec},
};

/// Restarts that one unit remembers: the largest budget.
pub(super) const REMEMBERED_MAX: usize = RestartBudget::BURST_MAX as usize;

impl Node {
    /// A probe wants the unit restarted, now or since a while.
    fn restart_unhealthy(&mut self, now: Now, place: Place) {
        if self.unit(place).is_none_or(|unit| !unit.wants_restart()) {
            return self.forgo_restart(place);
        }
        let held = self.admit_restart(now, place);
        self.restart_or_hold(now, place, held);
    }

    /// What holds a restart back that a probe wants now; one that nothing holds back is spent from the budget.
    pub(super) fn admit_restart(&mut self, now: Now, place: Place) -> Option<HeldBack> {
        if self.unit(place).is_some_and(|unit| unit.maintained) {
            self.budget.leave(place);
            return Some(HeldBack::Maintenance);
        }
        if self.budget.take(now.mono) {
            return None;
        }
        self.budget.wait(place);
        Some(HeldBack::Budget)
    }

    /// Restarts the unit, or remembers what holds that back.
    pub(super) fn restart_or_hold(&mut self, now: Now, place: Place, held: Option<HeldBack>) {
        let Some(probe) = self.unit(place).and_then(Unit::fallen_probe) else { return self.forgo_restart(place) };
        let interval = self.budget.interval();
        let Some(unit) = self.unit_mut(place) else { return };
        let before = std::mem::replace(&mut unit.held_back, held);
        if held.is_none() {
            unit.probe_restarts.retain(|at| at.after(interval).is_none_or(|end| end > now.mono));
            unit.probe_restarts.push(now.mono);
            let surplus = unit.probe_restarts.len().saturating_sub(REMEMBERED_MAX);
            unit.probe_restarts.drain(..surplus);
        }
        let Some(id) = unit.run().map(Run::id) else { return };
        match held {
            None => {
                if before.is_some() {
                    let what = Happening::RestartReleased { run: id, probe: probe.to_string() };
                    self.notice(now, what);
                }
                let Some(run) = self.run_mut(place) else { return };
                let named = |(spec, _): &(&ProbeSpec, &Probe)| spec.name == probe;
                let why = run.def.health.iter().zip(&run.probes).find(named).map(|(_, fallen)| fallen.charge(&probe));
                run.why = why.map(Into::into);
                run.ending = Some(Ending::Unhealthy { probe: probe.to_string() });
                self.budget.leave(place);
                self.touch(place);
                self.take_down(now, place);
            }
            Some(why) if before != held => {
                self.touch(place);
                self.notice(now, Happening::RestartHeld { run: id, probe: probe.into(), held: why });
            }
            Some(_) => {}
        }
    }

    /// Nothing wants the unit restarted any more, or it is down.
    pub(super) fn forgo_restart(&mut self, place: Place) {
        self.budget.leave(place);
        if let Some(unit) = self.unit_mut(place)
            && unit.held_back.take().is_some()
        {
            self.touch(place);
        }
    }

    /// Restarts those for whom the budget has room again, the longest waiting first.
    pub(super) fn spend(&mut self, now: Now) {
        while let Some(place) = self.budget.first().filter(|_| self.budget.next().is_some_and(|at| at <= now.mono)) {
            self.budget.leave(place);
            self.restart_unhealthy(now, place);
            if self.unit(place).is_some_and(|unit| unit.held_back == Some(HeldBack::Budget)) {
                return;
            }
        }
    }

    /// The units on which someone works are these.
    pub(super) fn maintain(&mut self, now: Now, units: &BTreeSet<UnitName>) {
        for place in self.names.values().copied().collect::<Vec<_>>() {
            let Some(unit) = self.unit_mut(place) else { continue };
            let maintained = units.contains(&unit.name);
            if std::mem::replace(&mut unit.maintained, maintained) == maintained {
                continue;
            }
            let waits = unit.held_back == Some(HeldBack::Maintenance);
            self.touch(place);
            if waits {
                self.restart_unhealthy(now, place);
            }
        }
    }

    /// What a manager before this one held back, and what it had restarted.
    pub(super) fn take_over_held(&mut self) {
        for place in self.names.values().copied().collect::<Vec<_>>() {
            let Some(unit) = self.unit(place) else { continue };
            let (spent, held) = (unit.probe_restarts.clone(), unit.held_back);
            self.budget.know(spent);
            if held == Some(HeldBack::Budget) {
                self.budget.wait(place);
            }
        }
    }
}

impl Unit {
    /// The probe of the present run that wants a restart.
    fn fallen_probe(&self) -> Option<Box<str>> {
        let run = self.run().filter(|run| run.phase.is_up())?;
        let mut probes = run.def.health.iter().zip(&run.probes);
        let fallen = probes
            .find(|(spec, probe)| spec.on_unhealthy == OnUnhealthy::Restart && probe.verdict == Verdict::Unhealthy);
        fallen.map(|(spec, _)| spec.name.clone())
    }

    /// Whether something still wants it restarted.
    pub(super) fn wants_restart(&self) -> bool {
        self.fallen_probe().is_some()
    }
}
