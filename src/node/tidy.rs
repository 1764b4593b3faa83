//! What a run has only for its lifetime, and when it goes: runtime directories and credentials (systemd.exec(5),
//! RuntimeDirectoryPreserve=), and the file that names its main process and the descriptors that it keeps with us
//! (systemd.service(5), PIDFile=, FileDescriptorStorePreserve=).
//!
//! The order to remove it leaves before any that follows from the end of the run, and before the memo that knows of it.
//! So a manager that dies in between hears of the same end again, and no new run loses what it has just made.

use super::{
    Effect, Node,
    effect::{Leftovers, Outcome, Refusal},
    graph::Place,
    service::{Run, State, Unit},
    wish::Ask,
};
use crate::unit::{UnitDef, spec::Preserve};

impl Node {
    /// The run is over; `follows`: another one comes after it.
    pub(super) fn tidy(&mut self, place: Place, run: &Run, follows: bool) {
        let Some(unit) = self.unit(place) else { return };
        let (own, next) = (Lasting::of(&run.def), Lasting::of(&unit.def));
        let directories = own.directories.is_some_and(|preserve| goes(preserve, follows));
        // The next run may not be one that takes them.
        let descriptors = own.descriptors.is_some_and(|preserve| goes(preserve, follows && next.descriptors.is_some()));
        let leftovers = Leftovers { directories, descriptors };
        let kept = own.over_restart() != Leftovers::default() && follows;
        let service = &run.def.service;
        let has_more = !service.exec.credentials.is_empty() || service.main.pid_file.is_some();
        if leftovers != Leftovers::default() || has_more {
            self.orders.push_back(Effect::Tidy { def: run.def.clone(), leftovers });
        }
        if let Some(unit) = self.unit_mut(place).filter(|_| kept) {
            unit.kept = Some(run.def.clone());
        }
    }

    /// Closes what a unit keeps that is down, for good (`systemctl clean --what=fdstore`).
    pub(super) fn clean(&mut self, place: Place, ask: Ask) {
        let Some(unit) = self.unit(place) else { return };
        let is_down = matches!(unit.state, State::Inactive | State::Failed) && unit.job.is_none();
        if !is_down {
            return self.answer(Some(ask), Outcome::Failed(Refusal::NotDown));
        }
        let leftovers = Leftovers { directories: false, descriptors: true };
        let def = unit.def.clone();
        self.orders.push_back(Effect::Tidy { def, leftovers });
        self.answer(Some(ask), Outcome::Done);
    }

    /// The run that was to follow does not come.
    pub(super) fn tidy_kept(&mut self, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let is_down = matches!(unit.state, State::Inactive | State::Failed) && unit.job.is_none();
        if let Some(def) = unit.kept.take_if(|_| is_down) {
            let leftovers = Lasting::of(&def).over_restart();
            self.orders.push_back(Effect::Tidy { def, leftovers });
        }
    }
}

impl Unit {
    /// What a manager that died may have kept for the run that was to follow. Whether it came to remove that of a unit that
    /// is down is not known: removing it twice does no harm.
    pub(super) fn restore_kept(&mut self) {
        let may_be_kept = match &self.state {
            State::HoldOff { .. } => true,
            State::Inactive | State::Failed => self.known,
            State::Live(_) | State::Listening => false,
        };
        if may_be_kept && Lasting::of(&self.def).over_restart() != Leftovers::default() {
            self.kept = Some(self.def.clone());
        }
    }
}

/// What a unit may leave, and until when.
struct Lasting {
    directories: Option<Preserve>,
    descriptors: Option<Preserve>,
}

impl Lasting {
    fn of(def: &UnitDef) -> Self {
        let service = &def.service;
        let directories = &service.exec.directories;
        Self {
            directories: (!directories.runtime.names.is_empty()).then_some(directories.preserve),
            descriptors: (service.file_descriptor_store_max > 0).then_some(service.file_descriptor_store_preserve),
        }
    }

    /// What outlives a run only because another one is to follow.
    fn over_restart(&self) -> Leftovers {
        let restart = Some(Preserve::Restart);
        Leftovers { directories: self.directories == restart, descriptors: self.descriptors == restart }
    }
}

const fn goes(preserve: Preserve, follows: bool) -> bool {
    match preserve {
        Preserve::No => true,
        Preserve::Restart => !follows,
        Preserve::Yes => false,
    }
}
