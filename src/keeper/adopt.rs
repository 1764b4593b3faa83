//! Taking over what a keeper that died has left: its children live on as orphans of someone else.
use super::{
    holdings::{Handle, Process},
    ledger::Kept,
    mirror::{Left, Mirror},
    turn::Keeper,
};
use crate::{
    base::{ExitStatus, InvocationId, Now, ProcessKey, SpawnFailure, SpawnStep, UnitName},
    sys::{clock, open_process, say, start_time},
    wire::keeper::{Clamped, Exit, MirroredProcess, MirroredStage, MirroredUnit},
};

/// EINTR, errno(3): the keeper died between its intent and the child, or before it could write that there is one.
const INTERRUPTED: i32 = 4;

impl Keeper {
    /// Begins a mirror of our own; what the one before held.
    pub(super) fn begin_mirror(&mut self) -> Left {
        match Mirror::begin(&self.options.runtime_dir) {
            Ok((mirror, left)) => {
                self.mirror = Some(mirror);
                left
            }
            Err(error) => {
                say(&format!("cannot write down what runs: {error}"));
                Left::default()
            }
        }
    }

    /// Takes over what the keeper before has left.
    pub(super) fn adopt(&mut self, left: Left) {
        for saved in left.units {
            if let Some(unit) = self.units.entry(&saved.unit) {
                unit.generation = saved.generation;
                unit.main = saved.main;
                unit.memo = saved.memo.into();
            }
        }
        for process in left.processes {
            if let Some(unit) = self.units.entry(&process.key.run.unit) {
                unit.mark_started(&process.key);
            }
            self.adopt_process(process);
        }
    }

    fn adopt_process(&mut self, saved: MirroredProcess) {
        let MirroredProcess { key, invocation, started, stage } = saved;
        let end = match stage {
            MirroredStage::Intent => {
                let failure = SpawnFailure { step: SpawnStep::Clone, errno: INTERRUPTED };
                Kept::SpawnFailed { key, failure }
            }
            MirroredStage::SpawnFailed(failure) => Kept::SpawnFailed { key, failure },
            MirroredStage::Ended(exit) => Kept::Exited(exit),
            MirroredStage::Running { pid, start_time: seen } => {
                // Opened first and compared second: what was opened cannot become another process.
                let process = open_process(pid).ok().filter(|_| start_time(pid).is_ok_and(|time| time == seen));
                if let Some(watch) = process.and_then(|fd| self.watch(fd, &key).ok()) {
                    let handle = Handle::Adopted(watch);
                    let process = Process {
                        key,
                        invocation,
                        pid,
                        start_time: seen,
                        started,
                        handle,
                        exec_watch: None,
                        clamped: Clamped::default(),
                    };
                    return self.processes.insert(process);
                }
                let (status, at) = (ExitStatus::Unknown, clock::now());
                Kept::Exited(Exit { key, invocation, pid, status, usage: None, at, started })
            }
        };
        self.keep_end(end);
    }

    /// Writes down everything that is held.
    pub(super) fn mirror_all(&mut self) {
        let units: Vec<UnitName> = self.units.iter().map(|(unit, _)| unit.clone()).collect();
        units.iter().for_each(|unit| self.mirror_unit(unit));
        let Some(mirror) = &mut self.mirror else { return };
        for process in self.processes.iter() {
            let stage = MirroredStage::Running { pid: process.pid, start_time: process.start_time };
            let (key, invocation, started) = (process.key.clone(), process.invocation, process.started);
            mirror.put_process(&MirroredProcess { key, invocation, started, stage });
        }
        for ended in self.ledger.kept().filter_map(|(_, kept)| kept.mirrored()) {
            mirror.put_process(&ended);
        }
    }

    pub(super) fn mirror_process(
        &mut self,
        key: &ProcessKey,
        invocation: InvocationId,
        started: Now,
        stage: MirroredStage,
    ) {
        if let Some(mirror) = &mut self.mirror {
            mirror.put_process(&MirroredProcess { key: key.clone(), invocation, started, stage });
        }
    }

    /// Writes down what has ended, except what is acknowledged already or only counted: of that nothing is left to be
    /// said.
    pub(super) fn write_down_ends(&mut self) {
        for ended in std::mem::take(&mut self.unwritten) {
            let Some(mirror) = &mut self.mirror else { return };
            if self.ledger.has_end(&ended.key) {
                mirror.put_process(&ended);
            } else {
                self.unmirror(&ended.key);
            }
        }
    }

    /// Takes a process out, after its generation is written down with its unit.
    pub(super) fn unmirror(&mut self, key: &ProcessKey) {
        self.mirror_unit(&key.run.unit);
        if let Some(mirror) = &mut self.mirror {
            mirror.remove_process(key);
        }
    }

    /// After a deliberate end the next keeper begins anew with every unit of which nothing lives: that it was stopped by
    /// the end itself is nobody's wish. Generations and ends that nobody has counted yet stay.
    pub(super) fn forget_states(&mut self) {
        let lives = |unit: &UnitName| self.processes.iter().any(|process| process.key.run.unit == *unit);
        let over: Vec<UnitName> = self.units.iter().map(|(unit, _)| unit.clone()).filter(|unit| !lives(unit)).collect();
        for unit in over {
            if let Some(held) = self.units.get_mut(&unit) {
                held.memo = Box::default();
            }
            self.mirror_unit(&unit);
        }
    }

    pub(super) fn mirror_unit(&mut self, name: &UnitName) {
        let (Some(mirror), Some(unit)) = (&mut self.mirror, self.units.get(name)) else { return };
        let (generation, main, memo) = (unit.generation, unit.main, unit.memo.to_vec());
        mirror.put_unit(&MirroredUnit { unit: name.clone(), generation, main, memo });
    }
}
