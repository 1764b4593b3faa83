//! What holds at one moment for many tasks, looked at once: thousands of instances wait for the same few things.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{Instance, ServiceName, ZoneName},
    Rollout, Unavailable, Wait,
};
use crate::base::Mono;

/// Instances of a service that do not serve, and why.
pub(super) type Missing = BTreeMap<Instance, Unavailable>;

/// Instances of a service in a zone: whatever one of them waits for, all do.
pub(super) type Peers = (ServiceName, Option<ZoneName>);

/// One look at all of it. What is sent meanwhile is added; what becomes better is seen at the next one.
pub(super) struct Turn {
    pub(super) now: Mono,
    /// To whom something is being done, by the wave of its task.
    in_flight: BTreeMap<Instance, usize>,
    missing: RefCell<BTreeMap<ServiceName, Arc<Missing>>>,
    /// By service and zone: what its dependencies make it wait for.
    pub(super) dependencies: RefCell<BTreeMap<Peers, Option<Wait>>>,
}

impl Turn {
    /// Something is being done to this one from now on.
    pub(super) fn begun(&mut self, instance: &Instance, wave: usize) {
        self.in_flight.insert(instance.clone(), wave);
        if let Some(missing) = self.missing.get_mut().get_mut(&instance.service) {
            Arc::make_mut(missing).insert(instance.clone(), Unavailable::InFlight);
        }
    }

    /// To whom else something is being done, of a wave for which this holds.
    pub(super) fn another(&self, but: &Instance, of: impl Fn(usize) -> bool) -> Option<&Instance> {
        self.in_flight.iter().find(|(instance, wave)| *instance != but && of(**wave)).map(|(instance, _)| instance)
    }
}

impl Rollout {
    pub(super) fn turn(&self, now: Mono) -> Turn {
        let touched = self.touched.iter().filter_map(|at| self.runs.get(*at));
        let in_flight = touched.filter(|run| self.is_in_flight(run));
        Turn {
            now,
            in_flight: in_flight.map(|run| (run.task.instance.clone(), run.wave)).collect(),
            missing: RefCell::default(),
            dependencies: RefCell::default(),
        }
    }

    /// Who of a service does not serve.
    pub(super) fn missing(&self, turn: &Turn, name: &ServiceName) -> Arc<Missing> {
        if let Some(known) = turn.missing.borrow().get(name) {
            return Arc::clone(known);
        }
        let all = self.instances(name).into_iter();
        let missing = all.filter_map(|it| self.unavailable(turn.now, &it).map(|why| (it, why))).collect();
        Arc::clone(turn.missing.borrow_mut().entry(name.clone()).or_insert_with(|| Arc::new(missing)))
    }

    /// The tasks to which something may happen now: of waves that are open, and whatever was begun and is not done.
    pub(super) fn open(&mut self) -> BTreeSet<usize> {
        if std::mem::take(&mut self.is_anything_new) {
            let begun = |(at, run): (usize, &super::Run)| run.is_begun(&self.ledger).then_some(at);
            self.touched.extend(self.runs.iter().enumerate().filter_map(begun));
        }
        let is_open = |wave: &usize| {
            let after = self.plan.waves.get(*wave).map(|wave| &wave.after);
            !self.done.contains(wave) && after.is_some_and(|after| after.is_subset(&self.done))
        };
        let of_waves = (0..self.plan.waves.len()).filter(is_open).filter_map(|wave| self.of_wave.get(&wave));
        let begun = self.touched.difference(&self.settled).copied();
        of_waves.flatten().copied().chain(begun).collect()
    }
}
