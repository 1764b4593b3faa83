//! Units that wait for traffic: systemd's socket activation, without a unit of its own for the socket.
//!
//! The engine watches the sockets only while a unit is in *Listening*, and says once that something came. What starts then
//! is a job like any other. A unit that traffic starts again and again fails, so that a service which never takes what
//! waits for it does not keep the machine busy (systemd.socket(5), TriggerLimitBurst=).

use super::{
    Effect, Node,
    effect::{Outcome, Refusal},
    graph::Place,
    job::Pull,
    service::State,
    wish::{Ending, Wish},
};
use crate::{
    base::{Happening, Now, RunResult, SpawnFailure, StartCause, UnitName},
    unit::spec::{EmergencyAction, StartLimit},
};

impl Node {
    /// Lets a unit that is down listen.
    pub(super) fn listen(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        unit.state = State::Listening;
        unit.since = now;
        unit.wish = Wish::Down;
        unit.known = true;
        let (name, def) = (unit.name.clone(), unit.def.clone());
        self.touch(place);
        self.order(place, Effect::Listen { unit: name.clone(), def });
        self.notice(now, Happening::Listening { unit: name });
    }

    /// Ends the listening of a unit that is about to do something else; the sockets stay.
    pub(super) fn unlisten(&mut self, now: Now, place: Place) {
        let Some(unit) = self.unit_mut(place).filter(|unit| matches!(unit.state, State::Listening)) else { return };
        unit.state = State::Inactive;
        unit.since = now;
        let name = unit.name.clone();
        self.touch(place);
        self.order(place, Effect::Unlisten { unit: name });
    }

    /// Its file has changed while it listened: it listens as the new one says, or is started when that one says no more of
    /// it.
    pub(super) fn listen_anew(&mut self, now: Now, place: Place, cause: StartCause) {
        let Some(unit) = self.unit(place).filter(|unit| matches!(unit.state, State::Listening)) else { return };
        if unit.is_lazy() || unit.accepts() {
            let (unit, def) = (unit.name.clone(), unit.def.clone());
            return self.order(place, Effect::Listen { unit, def });
        }
        self.unlisten(now, place);
        self.start_all(now, &[(place, None)], &Pull::new(cause));
    }

    /// A manager that died left it so. What came meanwhile is told at once.
    pub(super) fn listens_still(&mut self, now: Now, place: Place) {
        if self.unit(place).is_some_and(|unit| !unit.gone) {
            self.listen_anew(now, place, StartCause::Boot);
        }
    }

    /// Something came.
    pub(super) fn traffic(&mut self, now: Now, name: &UnitName) {
        let Some(place) = self.names.get(name).copied() else { return self.stale += 1 };
        let Some(unit) = self.unit_mut(place).filter(|unit| matches!(unit.state, State::Listening)) else {
            return self.stale += 1;
        };
        // A stop that waits for its turn has the last word.
        if unit.job.as_ref().is_some_and(|job| job.stops()) {
            return;
        }
        let limit = unit.def.sockets.trigger_limit;
        let (burst, interval) = (limit.burst, limit.interval);
        let admitted = unit
            .triggers
            .get_or_insert_default()
            .admit(now.mono, StartLimit { interval, burst, action: EmergencyAction::None });
        self.unlisten(now, place);
        if admitted {
            return self.start_all(now, &[(place, None)], &Pull::new(StartCause::Traffic));
        }
        self.notice(now, Happening::StartLimitHit { unit: name.clone(), burst, interval, last: None, again: false });
        let monitor = self.last_end(place);
        self.fail(now, place, RunResult::TriggerLimitHit, monitor);
    }

    /// A unit that accepts is up; another has come to rest before.
    pub(super) fn listens(&mut self, now: Now, name: &UnitName) {
        let Some(place) = self.names.get(name).copied() else { return self.stale += 1 };
        let starts = |unit: &super::Unit| unit.job.as_ref().is_some_and(|job| job.begun && !job.stops());
        let unit = self.unit(place).filter(|unit| matches!(unit.state, State::Listening) && unit.accepts());
        if unit.is_some_and(starts) {
            self.finish_job(now, place, &Outcome::Done);
            self.bring_back(now, place);
        }
    }

    /// There is nothing that it could wait for.
    pub(super) fn listen_failed(&mut self, now: Now, name: &UnitName, failure: SpawnFailure) {
        let Some(place) = self.names.get(name).copied() else { return self.stale += 1 };
        if !self.unit(place).is_some_and(|unit| matches!(unit.state, State::Listening)) {
            return self.stale += 1;
        }
        if self.unit(place).is_some_and(super::Unit::accepts) {
            return self.stop_accepting(now, place, RunResult::Resources, Refusal::CannotListen { failure });
        }
        self.unlisten(now, place);
        self.fail(now, place, RunResult::Resources, None);
    }

    /// A stop that someone wanted takes the sockets too, where the unit says so.
    pub(super) fn release(&mut self, place: Place, ending: Option<&Ending>) {
        let for_good = match ending {
            Some(Ending::Stop(_) | Ending::Shutdown(_) | Ending::Conflict(_)) => true,
            // It comes back, or everything goes with its file.
            Some(Ending::Restart(_) | Ending::Bound(_) | Ending::Unhealthy { .. } | Ending::Removed) | None => false,
        };
        let Some(unit) = self.unit(place) else { return };
        // Nobody takes what waits in the sockets of a unit that accepts, and it may be long until someone does.
        if for_good
            && (unit.accepts() && !unit.def.sockets.list.is_empty()
                || unit.def.sockets.list.iter().any(|socket| socket.options.remove_on_stop))
        {
            let unit = unit.name.clone();
            self.order(place, Effect::Release { unit });
        }
    }
}

impl super::Unit {
    /// Whether it waits for traffic when nothing else is to be done.
    pub(super) fn is_lazy(&self) -> bool {
        self.def.sockets.lazy && !self.def.sockets.list.is_empty()
    }
}
