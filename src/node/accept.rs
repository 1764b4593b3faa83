//! Units that accept connections: systemd's Accept=yes, without a unit of its own for the socket (systemd.socket(5)).
//!
//! Such a unit is a template that listens. The engine accepts and says from where; what is not refused here comes back as
//! the definition of an instance, which is a unit like any other but for this: it runs once, its connection is closed when
//! it has come to rest, and it leaves the table then. One that failed stays until it is reset; of these only the newest
//! are kept. An instance does not end with the unit that accepted it.
//!
//! Connections are numbered without a gap over restarts of the daemon: the number is the generation of the template, and the
//! one run of the instance bears it too. So no name comes twice, and the runs of all instances are one row of runs.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Effect, Node,
    effect::{HangUp, Outcome, Refusal},
    graph::Place,
    job::Pull,
    service::{State, Unit},
    status::Accepted,
};
use crate::{
    base::{Generation, Happening, Now, RunResult, StartCause, UnitName},
    unit::{
        UnitDef, connection,
        spec::{EmergencyAction, StartLimit},
    },
};

/// Failed instances of one template that are kept for people to see.
pub(super) const FAILED_MAX: usize = 16;

/// What is known of the connections of one template.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// The instances that have their connection, and from where that comes.
    open: BTreeMap<Place, Option<IpAddr>>,
    /// The instances that failed, oldest first.
    failed: VecDeque<Place>,
    /// Connections that were closed at once, by this manager.
    refused: u64,
}

impl Node {
    /// Someone connected.
    pub(super) fn connected(&mut self, now: Now, name: &UnitName, source: Option<IpAddr>) {
        let Some(place) = self.names.get(name).copied() else { return self.stale += 1 };
        match self.admit(now, place, source) {
            Ok(number) => self.order(place, Effect::Accept { unit: name.clone(), number }),
            Err(reason) => {
                self.accepting.entry(place).or_default().refused += 1;
                self.orders.push_back(Effect::HangUp { unit: name.clone(), reason });
            }
        }
    }

    /// The number of the connection. The order of the questions is systemd's.
    fn admit(&mut self, now: Now, place: Place, source: Option<IpAddr>) -> Result<u64, HangUp> {
        let unit = self.unit(place).filter(|unit| matches!(unit.state, State::Listening));
        let unit = unit.filter(|unit| unit.job.as_ref().is_none_or(|job| !job.stops())).ok_or(HangUp::NotListening)?;
        let limits = unit.def.sockets.connection_limits().ok_or(HangUp::NotListening)?;
        let limit = unit.def.sockets.trigger_limit;
        let (burst, interval) = (limit.burst, limit.interval);
        let unit = self.unit_mut(place).ok_or(HangUp::NotListening)?;
        let window = unit.triggers.get_or_insert_default();
        if !window.admit(now.mono, StartLimit { interval, burst, action: EmergencyAction::None }) {
            let unit = unit.name.clone();
            self.notice(now, Happening::StartLimitHit { unit, burst, interval, last: None, again: false });
            let result = RunResult::TriggerLimitHit;
            self.stop_accepting(now, place, result, Refusal::StartFailed { result, status: None });
            return Err(HangUp::TriggerLimit);
        }
        if let Some(accepting) = self.accepting.get(&place) {
            if accepting.open.len() >= limits.max as usize {
                return Err(HangUp::MaxConnections);
            }
            let from_there = || accepting.open.values().filter(|other| **other == source).count();
            if limits.per_source > 0 && source.is_some() && from_there() >= limits.per_source as usize {
                return Err(HangUp::MaxConnectionsPerSource);
            }
        }
        let unit = self.unit_mut(place).ok_or(HangUp::NotListening)?;
        let number = unit.generation;
        unit.generation = number.next();
        self.touch(place);
        Ok(number.0)
    }

    /// It fails. Nobody must wait in its sockets for a service that does not come.
    pub(super) fn stop_accepting(&mut self, now: Now, place: Place, result: RunResult, refusal: Refusal) {
        let Some(unit) = self.unit(place).map(|unit| unit.name.clone()) else { return };
        self.unlisten(now, place);
        self.order(place, Effect::Release { unit });
        let monitor = self.last_end(place);
        self.fail(now, place, result, monitor);
        if self.unit(place).and_then(|unit| unit.job.as_ref()).is_some_and(|job| job.begun && !job.stops()) {
            self.finish_job(now, place, &Outcome::Failed(refusal));
        }
    }

    /// The instance for a connection that was let in as `number`.
    pub(super) fn instance(&mut self, now: Now, number: u64, def: Arc<UnitDef>) {
        let name = def.name.clone();
        if self.names.contains_key(&name) {
            return self.stale += 1;
        }
        let is_related = !def.relations.is_empty();
        let mut unit = Unit::new(name.clone(), def, now);
        unit.generation = Generation(number);
        unit.known = true;
        let place = self.add_unit(unit);
        if is_related || self.graph_stale {
            self.rebuild_graph();
        }
        self.count_open(place);
        self.start_all(now, &[(place, None)], &Pull::new(StartCause::Connection(name)));
    }

    fn count_open(&mut self, place: Place) {
        let Some((template, source)) = self.template_of(place) else { return };
        self.accepting.entry(template).or_default().open.insert(place, source);
    }

    /// The place of an instance's template, and from where its connection comes.
    fn template_of(&self, place: Place) -> Option<(Place, Option<IpAddr>)> {
        let name = &self.unit(place).filter(|unit| unit.def.sockets.is_connection())?.name;
        let template = self.names.get(&name.template()?).copied()?;
        Some((template, connection::remote(name).map(|remote| remote.ip())))
    }

    /// Lets go of the connections of instances that came to rest, and of the instances. To be called when no job can be
    /// tried any more.
    pub(super) fn collect(&mut self) {
        let is_connection = |place: &Place| {
            self.unit(*place).is_some_and(|unit| unit.def.sockets.is_connection() && unit.job.is_none())
        };
        let touched: Vec<Place> = self.touched.iter().copied().filter(is_connection).collect();
        for place in touched {
            let Some(unit) = self.unit(place) else { continue };
            match unit.state {
                State::Inactive => {
                    self.close_connection(place);
                    self.let_go(place);
                }
                State::Failed => {
                    if self.close_connection(place) {
                        self.keep_failed(place);
                    }
                }
                State::Listening | State::HoldOff { .. } | State::Live(_) => {}
            }
        }
    }

    /// Whether it had one.
    fn close_connection(&mut self, place: Place) -> bool {
        let Some((template, _)) = self.template_of(place) else { return false };
        let was_open = self.accepting.get_mut(&template).is_some_and(|of| of.open.remove(&place).is_some());
        if let Some(unit) = self.unit(place).filter(|_| was_open).map(|unit| unit.name.clone()) {
            self.order(place, Effect::Release { unit });
        }
        was_open
    }

    fn keep_failed(&mut self, place: Place) {
        let Some((template, _)) = self.template_of(place) else { return };
        let Some(accepting) = self.accepting.get_mut(&template) else { return };
        accepting.failed.push_back(place);
        if accepting.failed.len() > FAILED_MAX
            && let Some(oldest) = accepting.failed.pop_front()
        {
            self.let_go(oldest);
        }
    }

    fn let_go(&mut self, place: Place) {
        if let Some(unit) = self.unit_mut(place) {
            unit.gone = true;
        }
        self.ended.push(place);
    }

    /// The unit leaves the table: nobody else is meant by its place.
    pub(super) fn forget_connections(&mut self, place: Place) {
        self.accepting.remove(&place);
        if let Some((template, _)) = self.template_of(place)
            && let Some(accepting) = self.accepting.get_mut(&template)
        {
            accepting.open.remove(&place);
            accepting.failed.retain(|failed| *failed != place);
        }
    }

    /// A manager that died left these connections. One whose instance never ran is closed: nothing of it is known.
    pub(super) fn take_over_connections(&mut self) {
        let instances: Vec<Place> = self.names.values().copied().filter(|at| self.template_of(*at).is_some()).collect();
        for place in instances {
            let Some((template, _)) = self.template_of(place) else { continue };
            // The keeper may know more than the last memo of the template: no name is to come twice.
            let number = self.unit(place).and_then(|unit| connection::number(&unit.name)).unwrap_or_default();
            if let Some(unit) = self.unit_mut(template) {
                unit.generation = unit.generation.max(Generation(number).next());
            }
            self.touch(template);
            self.count_open(place);
            self.touch(place);
        }
    }

    /// Whether an instance stays although no file names it: its template is there.
    pub(super) fn stays(&self, place: Place, defs: &BTreeMap<UnitName, Arc<UnitDef>>) -> bool {
        let Some(unit) = self.unit(place).filter(|unit| unit.def.sockets.is_connection()) else { return false };
        let template = unit.name.template().and_then(|template| defs.get(&template));
        template.is_some_and(|def| def.sockets.connection_limits().is_some())
    }

    /// For people.
    pub(super) fn accepted(&self, place: Place, unit: &Unit) -> Option<Accepted> {
        unit.def.sockets.connection_limits()?;
        let of = self.accepting.get(&place);
        Some(Accepted {
            accepted: unit.generation.0,
            connections: of.map_or(0, |of| u32::try_from(of.open.len()).unwrap_or(u32::MAX)),
            refused: of.map_or(0, |of| of.refused),
        })
    }

    /// What is broken, in words.
    pub(super) fn inspect_connections(&self, broken: &mut Vec<String>) {
        for (name, place) in &self.names {
            let Some(unit) = self.unit(*place).filter(|unit| unit.def.sockets.is_connection()) else { continue };
            let rests = matches!(unit.state, State::Inactive | State::Failed) && unit.job.is_none();
            if matches!(unit.state, State::Inactive) && rests {
                broken.push(format!("{name}: it is over and still there"));
            }
            let Some((template, source)) = self.template_of(*place) else { continue };
            let open = self.accepting.get(&template).and_then(|of| of.open.get(place));
            if open.is_some() == rests || open.is_some_and(|counted| *counted != source) {
                broken.push(format!("{name}: its connection is not counted as what it is"));
            }
        }
        for of in self.accepting.values() {
            let stray = of.open.keys().chain(&of.failed).any(|place| self.template_of(*place).is_none());
            if stray || of.failed.len() > FAILED_MAX {
                broken.push("connections are counted that are not there".to_owned());
            }
        }
    }
}

impl Unit {
    /// Whether it is up when it listens.
    pub(super) fn accepts(&self) -> bool {
        self.def.sockets.connection_limits().is_some()
    }

    pub(super) fn is_connection(&self) -> bool {
        self.def.sockets.is_connection()
    }
}
