//! The order to start a process.
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    holdings::{Handle, Process, Unit, Watch},
    ledger::Kept,
    obey::NO_NUMBER,
    program,
    turn::{Keeper, Watched},
};
use crate::{
    base::{InvocationId, Pid, ProcessKey, SpawnFailure, SpawnStep},
    sys::{
        clock, end_pipe,
        spawn::{self as sys, Program, Spawned, User},
        start_time,
    },
    wire::keeper::{Clamped, Fact, Input, MirroredStage, Output, Passed, SpawnOrder, SpawnSpec},
};

/// Errors of the step `Prepare`, errno(3).
pub(super) const NOT_STORED: i32 = 2; // ENOENT
const NO_SUCH_PROCESS: i32 = 3; // ESRCH
const NO_ROOM: i32 = 12; // ENOMEM
const BAD_NAME: i32 = 22; // EINVAL: LISTEN_FDNAMES joins names by colons
const STARTED_BEFORE: i32 = 17; // EEXIST
pub(super) const NO_LOG_PIPE: i32 = 9; // EBADF

/// The descriptors that come along with an order.
#[derive(Debug)]
struct Along {
    /// What the process writes to, where its specification says so.
    output: Option<OwnedFd>,
    /// The cgroup directory to start it in.
    cgroup: Option<OwnedFd>,
}

impl Along {
    fn of(order: &SpawnOrder, mut fds: Vec<OwnedFd>) -> Self {
        let is_passed = order.spec.stdout == Output::Passed && !fds.is_empty();
        Self { output: is_passed.then(|| fds.remove(0)), cgroup: fds.pop() }
    }
}

impl Keeper {
    pub(super) fn spawn(&mut self, mut order: SpawnOrder, fds: Vec<OwnedFd>) {
        let along = Along::of(&order, fds);
        let key = order.key.clone();
        if let Some(memo) = order.memo.take() {
            self.remember(&key.run.unit, memo);
        }
        if let Err(failure) = self.try_spawn(order, &along) {
            if failure == prepare(STARTED_BEFORE) {
                // Of the first start of this key the manager hears by itself.
                self.tell(&Fact::SpawnFailed { key, failure }, Vec::new());
            } else {
                self.keep_end(Kept::SpawnFailed { key, failure });
            }
        }
    }

    pub(super) fn keep_end(&mut self, end: Kept) {
        let mirrored = end.mirrored();
        if let Some(fact) = self.ledger.keep_end(end) {
            self.tell(&fact, Vec::new());
        }
        self.unwritten.extend(mirrored);
    }

    fn try_spawn(&mut self, order: SpawnOrder, along: &Along) -> Result<(), SpawnFailure> {
        let SpawnOrder { mut key, invocation, spec, memo: _ } = order;
        let known = self.processes.get(&key).is_some() || self.ledger.has_end(&key);
        let unit = self.units.entry(&key.run.unit).ok_or_else(|| prepare(NO_ROOM))?;
        if known || unit.has_started(&key) {
            return Err(prepare(STARTED_BEFORE));
        }
        // Whatever comes of it, this generation was tried.
        unit.mark_started(&key);
        key.run.unit = self.units.held_name(key.run.unit);
        self.mirror_process(&key, invocation, clock::now(), MirroredStage::Intent);
        let watch = if spec.confirm_exec { Some(end_pipe().map_err(unprepared)?) } else { None };
        let (Spawned { pid, ticket, start_time: told }, clamped) = self.start(&key, &spec, along)?;
        self.pid_is_anothers(pid);
        let started = clock::now();
        // The child cannot be gone before we reap it, so this is its own.
        let start_time = told.or_else(|| start_time(pid).ok()).unwrap_or(0);
        // Our copy of the write end closes here, so that the child's is the last.
        let exec_watch = watch.and_then(|(reader, _writer)| self.watch(reader, &key).ok());
        let handle = Handle::Child(Some(ticket));
        self.mirror_process(&key, invocation, started, MirroredStage::Running { pid, start_time });
        self.processes.insert(Process {
            key: key.clone(),
            invocation,
            pid,
            start_time,
            started,
            handle,
            exec_watch,
            clamped,
        });
        self.tell_at_calm(&Fact::Spawned { key, pid, start_time, clamped }, Vec::new());
        Ok(())
    }

    /// Knows a process by a key from now on that a service made. What stands for it was opened before it was looked at.
    pub(super) fn take(
        &mut self,
        key: &ProcessKey,
        invocation: InvocationId,
        pid: Pid,
        start_time: u64,
        process: Option<OwnedFd>,
    ) -> Result<(), SpawnFailure> {
        if self.processes.get(key).is_some() || self.ledger.has_end(key) {
            return Ok(());
        }
        let process = process.ok_or_else(|| prepare(NO_SUCH_PROCESS))?;
        if self.processes.by_pid(pid).is_some_and(|held| held.start_time != start_time) {
            self.pid_is_anothers(pid);
        }
        // One process has one name. The older one is of a main process that was named before.
        if let Some(older) = self.processes.remove(pid) {
            self.unmirror(&older.key);
            if let Handle::Adopted(watch) = older.handle {
                self.unwatch(watch);
            }
        }
        self.units.entry(&key.run.unit).ok_or_else(|| prepare(NO_ROOM))?.mark_started(key);
        let watch = self.watch(process, key).map_err(unprepared)?;
        let started = clock::now();
        self.mirror_process(key, invocation, started, MirroredStage::Running { pid, start_time });
        let handle = Handle::Adopted(watch);
        let key = key.clone();
        self.processes.insert(Process {
            key: key.clone(),
            invocation,
            pid,
            start_time,
            started,
            handle,
            exec_watch: None,
            clamped: Clamped::default(),
        });
        self.tell_at_calm(&Fact::Spawned { key, pid, start_time, clamped: Clamped::default() }, Vec::new());
        Ok(())
    }

    fn start(&mut self, key: &ProcessKey, spec: &SpawnSpec, along: &Along) -> Result<(Spawned, Clamped), SpawnFailure> {
        let unit = self.units.get(&key.run.unit).ok_or_else(|| prepare(NO_ROOM))?;
        let held = (&self.units, &key.run.unit);
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let null = self.null.as_fd();
        let (input, open_input) = match (&spec.stdin, &along.output) {
            (Input::Passed, Some(passed)) => (passed.as_fd(), sys::Open::Given),
            (other, _) => program::input(other, unit, null)?,
        };
        let (output, open_output) = match (&spec.stdout, &along.output) {
            (Output::Passed, Some(passed)) => (passed.as_fd(), sys::Open::Given),
            (other, _) => program::output(other, held, null, stdout.as_fd())?,
        };
        let (error, open_error) = program::output(&spec.stderr, held, null, stderr.as_fd())?;
        let mut fds = vec![input, output, error];
        let names = listen(spec, unit, &mut fds)?;
        let mut clamped = Clamped::default();
        let limits = self.ceiling.limits(spec, &mut clamped);
        let program = Program {
            or_paths: &spec.or_paths,
            root: spec.root.as_deref(),
            cwd: &spec.cwd,
            cwd_may_miss: spec.cwd_may_miss,
            user: spec.user.as_ref().map(|user| User { uid: user.uid, gid: user.gid, groups: &user.groups }),
            umask: spec.umask,
            nice: self.ceiling.nice(spec, &mut clamped),
            schedule: program::schedule(&spec.schedule),
            oom_score_adj: self.ceiling.oom_score(spec.oom_score_adj, &mut clamped),
            limits: &limits,
            privileges: program::privileges(self.ceiling.privileges(spec, &mut clamped)),
            no_new_privs: spec.no_new_privs,
            ignore_sigpipe: spec.ignore_sigpipe,
            opens: [open_input, open_output, open_error],
            directories: spec.directories.iter().map(program::directory).collect(),
            secrets: spec.secrets.as_ref().map(program::secrets),
            listen: names.as_deref(),
            cgroup: along.cgroup.as_ref().map(AsFd::as_fd),
            old_cgroups: &spec.cgroups,
            confinement: spec.confinement.as_deref(),
            ..Program::new(&spec.path, &spec.argv, &spec.env, &fds)
        };
        Ok((self.spawner.spawn(&program)?, clamped))
    }

    /// Waits for a descriptor that belongs to a process.
    pub(super) fn watch(&mut self, fd: OwnedFd, key: &ProcessKey) -> io::Result<Watch> {
        let token = self.next_token;
        self.next_token += 1;
        self.poller.add(&fd, token)?;
        self.watched.insert(token, Watched::Process(key.clone()));
        Ok(Watch { token, fd })
    }

    pub(super) fn unwatch(&mut self, watch: Watch) {
        let Watch { token, fd } = watch;
        self.watched.remove(&token);
        // Closing it removes it as well.
        let _removed = self.poller.remove(&fd);
    }
}

pub(super) const fn prepare(errno: i32) -> SpawnFailure {
    SpawnFailure { step: SpawnStep::Prepare, errno }
}

fn unprepared(error: io::Error) -> SpawnFailure {
    prepare(error.raw_os_error().unwrap_or(NO_NUMBER))
}

/// Adds the stored descriptors that the process inherits; their names for LISTEN_FDNAMES.
fn listen<'a>(spec: &SpawnSpec, unit: &'a Unit, fds: &mut Vec<BorrowedFd<'a>>) -> Result<Option<String>, SpawnFailure> {
    let mut names: Vec<&str> = Vec::new();
    for Passed { stored, name } in &spec.listen {
        if name.contains(':') {
            return Err(prepare(BAD_NAME));
        }
        let before = fds.len();
        fds.extend(unit.stored.iter().filter(|held| held.name == *stored).map(|held| held.fd.as_fd()));
        if fds.len() == before {
            return Err(prepare(NOT_STORED));
        }
        names.resize(names.len() + fds.len() - before, name);
    }
    if spec.kept {
        for held in unit.stored.iter().rev().filter(|held| held.is_services_own()) {
            fds.push(held.fd.as_fd());
            names.push(&held.name);
        }
    }
    Ok((!names.is_empty()).then(|| names.join(":")))
}
