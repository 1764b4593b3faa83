//! Taking over what a keeper that died has left: its children live on as orphans of someone else.
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    os::fd::{AsFd, OwnedFd, RawFd},
    time::Duration,
};

use super::{
    holdings::{Handle, Process},
    ledger::Kept,
    mirror::{Left, Mirror},
    turn::Keeper,
};
use crate::{
    base::{ExitStatus, InvocationId, Now, Pid, ProcessKey, Role, Signal, SpawnFailure, SpawnStep, UnitName},
    sys::{
        FileId, all_processes, clock, descriptor_of, descriptors_of, file_id, open_process, pipe_of, say, session_of,
        signal_process, start_time, was_given,
    },
    wire::keeper::{Clamped, Exit, HeldAs, MirroredDescriptor, MirroredProcess, MirroredStage, MirroredUnit},
};

/// EINTR, errno(3): the keeper died between its intent and the child, or before its child had come to its program.
const INTERRUPTED: i32 = 4;
/// How long a process may show no environment: from its exec until its new memory is set up.
const EXEC_MAX: Duration = Duration::from_millis(100);

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
    pub(super) fn adopt(&mut self, mut left: Left) {
        self.resolve_intents(&mut left.processes);
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

    /// A keeper that died between the clone and writing down its pid has left a child that nobody knows, and a second one
    /// must not be started beside it. No lock tells of it: a lock that a child inherits costs each start a file, and ours
    /// closes on exec. So the child is looked for. Before its exec it has the mirror open, as we had: it has run nothing yet
    /// and is killed. After it, it bears the id of its run.
    fn resolve_intents(&self, processes: &mut [MirroredProcess]) {
        if !processes.iter().any(|process| process.stage == MirroredStage::Intent) {
            return;
        }
        let mut known: BTreeSet<Pid> = processes.iter().filter_map(|process| pid_of(&process.stage)).collect();
        if let Some(file) = self.mirror.as_ref().and_then(|mirror| mirror.own_file().ok()) {
            kill_unborn(file, &known);
        }
        for process in processes.iter_mut().filter(|process| process.stage == MirroredStage::Intent) {
            if let Some((pid, start_time)) = find_run(process.invocation, &known) {
                known.insert(pid);
                process.stage = MirroredStage::Running { pid, start_time };
            }
        }
    }

    /// What processes that were taken over hold of descriptors that the keeper before held for their units.
    pub(super) fn find_in_processes(
        &self,
        wanted: impl Iterator<Item = MirroredDescriptor>,
    ) -> Vec<(MirroredDescriptor, Vec<OwnedFd>)> {
        let mut by_unit: BTreeMap<UnitName, Vec<MirroredDescriptor>> = BTreeMap::new();
        for descriptor in wanted {
            by_unit.entry(descriptor.unit.clone()).or_default().push(descriptor);
        }
        let mut found = Vec::new();
        for process in self.processes.iter() {
            let (Some(wanted), Handle::Adopted(watch)) = (by_unit.get_mut(&process.key.run.unit), &process.handle)
            else {
                continue;
            };
            let held = descriptors_of(process.pid);
            wanted.retain(|descriptor| {
                let file = FileId { device: descriptor.device, inode: descriptor.inode };
                let number = held.iter().find(|(_, held)| *held == file).map(|(number, _)| *number);
                let fds = number.and_then(|number| take_from(process.pid, &watch.fd, number, &descriptor.held_as));
                // The process may have ended and its pid be another's since: what counts is what was got.
                let fds = fds.filter(|fds| fds.iter().all(|fd| file_id(fd.as_fd()).is_ok_and(|got| got == file)));
                let is_found = fds.is_some();
                found.extend(fds.map(|fds| (descriptor.clone(), fds)));
                !is_found
            });
        }
        found.sort_by_key(|(descriptor, _)| descriptor.id);
        found
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
    /// the end itself is nobody's wish. A probe that has not ended is no part of its unit. Generations and ends that nobody has
    /// counted yet stay.
    pub(super) fn forget_states(&mut self) {
        let is_of = |key: &ProcessKey, unit: &UnitName| key.run.unit == *unit && !matches!(key.role, Role::Probe(_));
        let lives = |unit: &UnitName| self.processes.iter().any(|process| is_of(&process.key, unit));
        let over: Vec<UnitName> = self.units.iter().map(|(unit, _)| unit.clone()).filter(|unit| !lives(unit)).collect();
        for unit in over {
            if let Some(held) = self.units.get_mut(&unit) {
                held.memo = Box::default();
            }
            self.mirror_unit(&unit);
        }
    }

    pub(super) fn unmirror_unit(&mut self, name: &UnitName) {
        if let Some(mirror) = &mut self.mirror {
            mirror.remove_unit(name);
        }
    }

    pub(super) fn mirror_unit(&mut self, name: &UnitName) {
        let (Some(mirror), Some(unit)) = (&mut self.mirror, self.units.get(name)) else { return };
        let (generation, main, memo) = (unit.generation, unit.main, unit.memo.to_vec());
        mirror.put_unit(&MirroredUnit { unit: name.clone(), generation, main, memo });
    }
}

fn take_from(pid: Pid, process: &OwnedFd, number: RawFd, held_as: &HeldAs) -> Option<Vec<OwnedFd>> {
    match held_as {
        HeldAs::Stored { .. } => descriptor_of(process.as_fd(), number).ok().map(|fd| vec![fd]),
        HeldAs::Log { .. } => pipe_of(pid, number).ok().map(|(reader, writer)| vec![reader, writer]),
    }
}

const fn pid_of(stage: &MirroredStage) -> Option<Pid> {
    match stage {
        MirroredStage::Running { pid, .. } => Some(*pid),
        MirroredStage::Intent | MirroredStage::Ended(_) | MirroredStage::SpawnFailed(_) => None,
    }
}

/// Ends children of the keeper before that are in their set-up and that it did not write down.
fn kill_unborn(mirror: FileId, known: &BTreeSet<Pid>) {
    let own = Pid::new(std::process::id().cast_signed());
    for pid in all_processes().into_iter().flatten().filter(|pid| Some(*pid) != own && !known.contains(pid)) {
        let is_unborn = || descriptors_of(pid).iter().any(|(_, file)| *file == mirror);
        // Opened first and looked at second, as always.
        if let Ok(process) = open_process(pid)
            && is_unborn()
        {
            let _gone = signal_process(process.as_fd(), Signal::KILL);
        }
    }
}

/// The process that was started for a run: it leads a session, and of those that do it is the oldest.
fn find_run(invocation: InvocationId, known: &BTreeSet<Pid>) -> Option<(Pid, u64)> {
    let mark = CString::new(format!("INVOCATION_ID={invocation}")).ok()?;
    let begun = clock::mono();
    loop {
        let mut is_certain = true;
        let mut found: Vec<(u64, Pid)> = Vec::new();
        for pid in all_processes().ok()?.filter(|pid| !known.contains(pid)) {
            if session_of(pid).ok().flatten() != Some(pid) {
                continue;
            }
            match (was_given(pid, &mark), start_time(pid)) {
                (Some(true), Ok(time)) => found.push((time, pid)),
                (Some(false), _) | (_, Err(_)) => {}
                // In the middle of its exec, a zombie, or none of ours to look at.
                (None, Ok(_)) => is_certain = false,
            }
        }
        let is_late = clock::mono().since(begun) >= EXEC_MAX;
        if is_certain || is_late || !found.is_empty() {
            return found.into_iter().min().map(|(time, pid)| (pid, time));
        }
        std::thread::yield_now();
    }
}
