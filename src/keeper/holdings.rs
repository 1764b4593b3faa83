//! What the keeper holds: processes by key and pid, and what belongs to each unit.
use std::{collections::BTreeMap, os::fd::OwnedFd, rc::Rc};

use crate::{
    base::{Generation, InvocationId, Now, Pid, ProcessKey, Role, UnitName},
    sys::spawn::Ticket,
    wire::keeper::{Clamped, RunningProcess, Stream},
};

/// Most units that anything is held for.
pub(super) const UNITS_MAX: usize = 65_536;
/// Most descriptors that are stored for one unit: as many as a service may keep (`file_descriptor_store_max`), and as many
/// sockets.
pub(super) const STORED_PER_UNIT_MAX: usize = 2048;

/// A process that runs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) key: ProcessKey,
    pub(super) invocation: InvocationId,
    pub(super) pid: Pid,
    pub(super) start_time: u64,
    pub(super) started: Now,
    pub(super) handle: Handle,
    /// Tells when its program has taken over, where that was asked.
    pub(super) exec_watch: Option<Watch>,
    /// What it could not be given; nothing is known of a process that was found.
    pub(super) clamped: Clamped,
}

/// How a process is known for sure.
#[derive(Debug)]
pub(super) enum Handle {
    /// Our child: its pid is its own until we reap it. The ticket asks how its set-up went; none after an upgrade.
    Child(Option<Ticket>),
    /// Left by a keeper that died, or made by a service: a pidfd stands for it.
    Adopted(Watch),
}

/// A descriptor that is waited for, under its token.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) token: u64,
    pub(super) fd: OwnedFd,
}

impl Process {
    /// How a snapshot tells of it.
    pub(super) fn record(&self) -> RunningProcess {
        RunningProcess {
            key: self.key.clone(),
            invocation: self.invocation,
            pid: self.pid,
            start_time: self.start_time,
            started: self.started,
            clamped: self.clamped,
        }
    }
}

/// The processes that run. Boxed, like the units below: what is filled in order, as at boot, has nearly half its slots empty.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_pid: BTreeMap<Pid, Box<Process>>,
    pids: BTreeMap<ProcessKey, Pid>,
}

impl Processes {
    pub(super) fn insert(&mut self, process: Process) {
        self.pids.insert(process.key.clone(), process.pid);
        self.by_pid.insert(process.pid, Box::new(process));
    }

    pub(super) fn get(&self, key: &ProcessKey) -> Option<&Process> {
        self.by_pid.get(self.pids.get(key)?).map(|process| &**process)
    }

    pub(super) fn get_mut(&mut self, key: &ProcessKey) -> Option<&mut Process> {
        self.by_pid.get_mut(self.pids.get(key)?).map(|process| &mut **process)
    }

    pub(super) fn by_pid(&self, pid: Pid) -> Option<&Process> {
        self.by_pid.get(&pid).map(|process| &**process)
    }

    pub(super) fn key_of(&self, pid: Pid) -> Option<&ProcessKey> {
        self.by_pid(pid).map(|process| &process.key)
    }

    pub(super) fn remove(&mut self, pid: Pid) -> Option<Process> {
        let process = self.by_pid.remove(&pid)?;
        self.pids.remove(&process.key);
        Some(*process)
    }

    /// In order of key.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.pids.values().filter_map(|pid| self.by_pid.get(pid)).map(|process| &**process)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_pid.is_empty()
    }
}

/// What is held for a unit.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// The highest generation of any process of it.
    pub(super) generation: Generation,
    /// The highest generation of a main process: it and those before are not started again.
    pub(super) main: Generation,
    pub(super) memo: Box<[u8]>,
    /// Oldest first.
    pub(super) stored: Vec<Stored>,
    pub(super) logs: BTreeMap<Stream, Log>,
}

/// A descriptor that is stored under a name.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) fd: Rc<OwnedFd>,
    /// Whether it is closed once its other side has hung up.
    pub(super) polled: bool,
    /// The poller tells under this token that it has.
    pub(super) token: Option<u64>,
    /// Its number in the mirror and with the init system.
    pub(super) id: Option<u32>,
}

impl Stored {
    pub(super) const fn new(name: String, fd: Rc<OwnedFd>, polled: bool) -> Self {
        Self { name, fd, polled, token: None, id: None }
    }

    /// Whether it is kept for the service itself: the manager's own have a colon in their name, or belong to no service.
    pub(super) fn is_services_own(&self) -> bool {
        !self.name.contains(':')
    }
}

/// A log pipe with both its ends, so that neither its writers' nor its reader's death ends it.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) reader: Rc<OwnedFd>,
    pub(super) writer: Rc<OwnedFd>,
    pub(super) bytes: u32,
}

impl Unit {
    /// Whether that process would be a second copy of one that was started.
    pub(super) fn has_started(&self, key: &ProcessKey) -> bool {
        match key.role {
            Role::Main => key.run.generation <= self.main,
            Role::Named(_) | Role::Control(_) | Role::Probe(_) => false,
        }
    }

    /// Remembers that it was started.
    pub(super) fn mark_started(&mut self, key: &ProcessKey) {
        self.generation = self.generation.max(key.run.generation);
        match key.role {
            Role::Main => self.main = self.main.max(key.run.generation),
            Role::Named(_) | Role::Control(_) | Role::Probe(_) => {}
        }
    }
}

/// What is held for each unit.
#[derive(Debug, Default)]
pub(super) struct Units(BTreeMap<UnitName, Box<Unit>>);

impl Units {
    /// What is held for a unit, from now on if nothing was; `None` when there are too many.
    pub(super) fn entry(&mut self, unit: &UnitName) -> Option<&mut Unit> {
        if self.0.len() >= UNITS_MAX && !self.0.contains_key(unit) {
            return None;
        }
        Some(self.0.entry(unit.clone()).or_default())
    }

    pub(super) fn get(&self, unit: &UnitName) -> Option<&Unit> {
        self.0.get(unit).map(|held| &**held)
    }

    pub(super) fn get_mut(&mut self, unit: &UnitName) -> Option<&mut Unit> {
        self.0.get_mut(unit).map(|held| &mut **held)
    }

    /// Nothing is held for a unit any more.
    pub(super) fn remove(&mut self, unit: &UnitName) {
        self.0.remove(unit);
    }

    /// Its log pipe: its own, or the one that it shares with all instances of its template.
    pub(super) fn log(&self, unit: &UnitName, stream: Stream) -> Option<&Log> {
        let own = self.get(unit).and_then(|unit| unit.logs.get(&stream));
        own.or_else(|| self.get(&unit.template()?)?.logs.get(&stream))
    }

    /// The same name, as it is held already where it is: each order brings one in memory of its own.
    pub(super) fn held_name(&self, unit: UnitName) -> UnitName {
        self.0.get_key_value(&unit).map_or(unit, |(held, _)| held.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&UnitName, &Unit)> {
        self.0.iter().map(|(unit, held)| (unit, &**held))
    }
}
