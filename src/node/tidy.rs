//! What a run has only for its lifetime, and when it goes: runtime directories and credentials (systemd.exec(5),
//! RuntimeDirectoryPreserve=), and the file that names its main process (systemd.service(5), PIDFile=).
//!
//! The order to remove it leaves before any that follows from the end of the run, and before the memo that knows of it.
//! So a manager that dies in between hears of the same end again, and no new run loses what it has just made.

use super::{
    Effect, Node,
    graph::Place,
    service::{Run, State, Unit},
};
use crate::unit::spec::{ExecSpec, Preserve};

impl Node {
    /// The run is over; `follows`: another one comes after it.
    pub(super) fn tidy(&mut self, place: Place, run: &Run, follows: bool) {
        let exec = &run.def.service.exec;
        let has_directories = !exec.directories.runtime.names.is_empty();
        let (removed, kept) = match exec.directories.preserve {
            Preserve::No => (has_directories, false),
            Preserve::Restart => (has_directories && !follows, has_directories && follows),
            Preserve::Yes => (false, false),
        };
        if removed || !exec.credentials.is_empty() || run.def.service.main.pid_file.is_some() {
            self.orders.push_back(Effect::Tidy { def: run.def.clone(), directories: removed });
        }
        if let Some(unit) = self.unit_mut(place).filter(|_| kept) {
            unit.kept = Some(run.def.clone());
        }
    }

    /// The run that was to follow does not come.
    pub(super) fn tidy_kept(&mut self, place: Place) {
        let Some(unit) = self.unit_mut(place) else { return };
        let is_down = matches!(unit.state, State::Inactive | State::Failed) && unit.job.is_none();
        if let Some(def) = unit.kept.take_if(|_| is_down) {
            self.orders.push_back(Effect::Tidy { def, directories: true });
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
        if may_be_kept && keeps_over_restart(&self.def.service.exec) {
            self.kept = Some(self.def.clone());
        }
    }
}

fn keeps_over_restart(exec: &ExecSpec) -> bool {
    exec.directories.preserve == Preserve::Restart && !exec.directories.runtime.names.is_empty()
}
