//! The keeper's beginning: anew, or with what the program before held.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    rc::Rc,
};

use super::{
    KeeperOptions,
    ceiling::Ceiling,
    crowd::Crowd,
    holdings::{Handle, Log, Process, Processes, Stored, UNITS_MAX, Unit, Units},
    init_store::{InitStore, LISTEN_FDS_MAX},
    ledger::{Kept, Ledger},
    life::{Act, Life},
    manager::manager_environment,
    mirror::Mirror,
    told::Told,
    turn::{DaemonSignals, FIRST_WATCH, Keeper},
    upgrade::{Upgrade, inherited_state},
};
use crate::{
    base::{Chain, Signal},
    sys::{
        LockError, LockFile, Poller, Signals, adopt_orphans, bind_notify_socket, clock, close_inherited_on_exec,
        number, reset_signal_actions, say, spawn::Spawner, take_inherited, take_listen_fds,
    },
    wire::keeper::{
        AggregatedState, DecodeError, DroppedState, KeeperState, KeptState, KeptWhat, LogState, ManagerCause,
        ProcessState, STATE_VERSION, StoredState, UnitState,
    },
};

/// Signals that are meant for the daemon, or for a service of its that it passes them on to.
const DAEMON_SIGNALS: [Signal; 7] =
    [Signal::HUP, Signal::TERM, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot make the runtime directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: LockError },
    #[error("cannot listen on {}", path.display())]
    Notify { path: PathBuf, source: io::Error },
    #[error("cannot set up {what}")]
    Own { what: &'static str, source: io::Error },
    #[error("cannot take over from the program before")]
    State(#[source] StateError),
}

/// Why a state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("the environment does not name its descriptor")]
    Variable,
    #[error("cannot use descriptor {fd}")]
    Descriptor { fd: i32, source: io::Error },
    #[error("cannot read it")]
    Decode(#[source] DecodeError),
    #[error("it has version {0}, this program knows {STATE_VERSION}")]
    Version(u16),
    #[error(
        "a keeper of another release (state version {version}, ours is {STATE_VERSION}) died and left services running in \
         {}; start that release, or end them and remove the folder", path.display()
    )]
    Release { version: u16, path: PathBuf },
    #[error("it holds {0} units")]
    Large(usize),
}

/// Of the first manager, or of the one that is there.
fn life(options: &KeeperOptions, state: Option<&KeeperState>) -> Life {
    let now = clock::mono();
    match (state, state.and_then(|state| state.manager)) {
        (Some(state), Some(pid)) => Life::replacing(options.timings, now, pid, state.cause),
        (Some(state), None) => Life::new(options.timings, now, state.cause),
        (None, _) => Life::new(options.timings, now, ManagerCause::Boot),
    }
}

impl Keeper {
    /// A keeper that holds the lock and listens, with what the program before left if it left something.
    pub(super) fn begin(options: KeeperOptions) -> Result<Self, StartError> {
        let own = |what| move |source| StartError::Own { what, source };
        reset_signal_actions();
        let signals = Signals::listen(&DAEMON_SIGNALS).map_err(own("signals"))?;
        let state = inherited_state().map_err(StartError::State)?;
        let held = match &state {
            Some(state) => Held::inherited(state).map_err(StartError::State)?,
            None => Held::fresh(&options)?,
        };
        let passed = take_listen_fds(LISTEN_FDS_MAX).unwrap_or_else(|error| {
            say(&Chain(&error).to_string());
            Vec::new()
        });
        close_inherited_on_exec().map_err(own("descriptors"))?;
        adopt_orphans().map_err(own("the adoption of orphans"))?;
        let life = life(&options, state.as_ref());
        let mut keeper = Self {
            environment: manager_environment(),
            poller: Poller::new().map_err(own("polling"))?,
            signals,
            notify: held.notify,
            lock: held.lock,
            null: File::options().read(true).write(true).open("/dev/null").map_err(own("/dev/null"))?,
            spawner: Spawner::default(),
            ceiling: Ceiling::take(state.as_ref().map(|state| state.oom_score_adj)),
            processes: Processes::default(),
            units: held.units,
            ledger: held.ledger,
            mirror: None,
            init: InitStore::new(options.init_socket.clone()),
            unwritten: Vec::new(),
            life,
            cause: ManagerCause::Boot,
            manager: None,
            manager_ticket: None,
            daemon_signals: DaemonSignals::from_before(state.iter().flat_map(|state| state.signals.iter().copied())),
            watched: BTreeMap::new(),
            next_token: FIRST_WATCH,
            upgrade: Upgrade::holding(held.previous, state.as_ref().and_then(|state| state.failure.clone())),
            was_ready: state.is_some(),
            ending: None,
            orphans: 0,
            crowd: Crowd::default(),
            told: Told::default(),
            awake_until: None,
            options,
        };
        keeper.watch_own().map_err(own("polling"))?;
        let mut left = keeper.begin_mirror();
        let descriptors = std::mem::take(&mut left.descriptors);
        match state {
            Some(_) => {
                keeper.take_processes(held.processes).map_err(own("the watch on what was taken over"))?;
                keeper.entrust_again(&descriptors);
            }
            None => {
                keeper.adopt(left);
                keeper.take_back(descriptors, passed);
            }
        }
        keeper.poll_all_stored();
        keeper.mirror_all();
        if let Some(pid) = keeper.life.pid() {
            keeper.act(Act::Signal(pid, Signal::KILL));
        }
        // What ended during the exec was signalled to the program before.
        keeper.reap_all();
        Ok(keeper)
    }

    fn take_processes(&mut self, processes: Vec<(ProcessState, Option<OwnedFd>)>) -> io::Result<()> {
        for (state, pidfd) in processes {
            let ProcessState { key, invocation, pid, start_time, started, pidfd: _, clamped } = state;
            let handle = match pidfd {
                Some(fd) => Handle::Adopted(self.watch(fd, &key)?),
                None => Handle::Child(None),
            };
            self.processes.insert(Process {
                key,
                invocation,
                pid,
                start_time,
                started,
                handle,
                exec_watch: None,
                clamped,
            });
        }
        Ok(())
    }

    /// Everything that is held, for the next program.
    pub(super) fn state(&self, cause: ManagerCause) -> KeeperState {
        KeeperState {
            version: STATE_VERSION,
            units: self.units.iter().map(|(name, unit)| unit_state(name, unit)).collect(),
            processes: self.processes.iter().map(process_state).collect(),
            kept: self.ledger.kept().map(|(seq, kept)| KeptState { seq, what: kept_state(kept) }).collect(),
            aggregated: self
                .ledger
                .aggregated()
                .map(|(unit, held)| AggregatedState {
                    unit: unit.clone(),
                    count: held.count,
                    generation: held.generation,
                })
                .collect(),
            dropped: self.ledger.dropped().map(|(unit, count)| DroppedState { unit: unit.cloned(), count }).collect(),
            next_seq: self.ledger.next_seq(),
            signals: self.daemon_signals.unread().collect(),
            manager: self.life.pid(),
            cause,
            lock: number(&self.lock),
            notify: number(&self.notify),
            previous: None,
            oom_score_adj: self.ceiling.oom_initial,
            failure: None,
        }
    }

    /// Every descriptor that the state names.
    pub(super) fn held_descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let units = self.units.iter().flat_map(|(_, unit)| {
            let stored = unit.stored.iter().map(|stored| stored.fd.as_fd());
            stored.chain(unit.logs.values().flat_map(|log| [log.reader.as_fd(), log.writer.as_fd()]))
        });
        let processes = self.processes.iter().filter_map(|process| match &process.handle {
            Handle::Child(_) => None,
            Handle::Adopted(watch) => Some(watch.fd.as_fd()),
        });
        let kept = self.ledger.kept().flat_map(|(_, kept)| match kept {
            Kept::Exited(_) | Kept::SpawnFailed { .. } => &[][..],
            Kept::Notified { fds, .. } => fds,
        });
        units.chain(processes).chain(kept.map(AsFd::as_fd)).chain([self.lock.as_fd(), self.notify.as_fd()])
    }
}

/// What a keeper begins with.
struct Held {
    lock: OwnedFd,
    notify: OwnedFd,
    units: Units,
    /// Of the program before, each with the descriptor that stands for it where it is not our child.
    processes: Vec<(ProcessState, Option<OwnedFd>)>,
    ledger: Ledger,
    previous: Option<OwnedFd>,
}

impl Held {
    fn fresh(options: &KeeperOptions) -> Result<Self, StartError> {
        let path = options.runtime_dir.clone();
        fs::create_dir_all(&path).map_err(|source| StartError::Directory { path, source })?;
        let path = options.runtime_dir.join("lock");
        let lock = LockFile::take(&path).map_err(|source| StartError::Lock { path, source })?.into_fd();
        let path = options.runtime_dir.join("notify");
        let notify = bind_notify_socket(&path).map_err(|source| StartError::Notify { path, source })?;
        for path in &options.stale {
            // One that cannot be removed is of no harm to the manager that replaces it.
            fs::remove_file(path).ok();
        }
        if let Some(version) = Mirror::version_left(&options.runtime_dir) {
            return Err(StartError::State(StateError::Release { version, path: options.runtime_dir.clone() }));
        }
        let (units, ledger) = (Units::default(), Ledger::default());
        Ok(Self { lock, notify, units, processes: Vec::new(), ledger, previous: None })
    }

    fn inherited(state: &KeeperState) -> Result<Self, StateError> {
        check(state)?;
        let mut units = Units::default();
        for saved in &state.units {
            let unit = unit_from(saved)?;
            *units.entry(&saved.unit).ok_or(StateError::Large(state.units.len()))? = unit;
        }
        let process = |process: &ProcessState| Ok((process.clone(), process.pidfd.map(take).transpose()?));
        let processes: Result<_, _> = state.processes.iter().map(process).collect();
        let kept: Result<_, _> = state.kept.iter().map(|kept| Ok((kept.seq, kept_from(&kept.what)?))).collect();
        let aggregated = state.aggregated.iter().map(|held| (held.unit.clone(), held.count, held.generation)).collect();
        let dropped = state.dropped.iter().map(|held| (held.unit.clone(), held.count)).collect();
        Ok(Self {
            lock: take(state.lock)?,
            notify: take(state.notify)?,
            units,
            processes: processes?,
            ledger: Ledger::restore(state.next_seq, kept?, aggregated, dropped),
            previous: state.previous.map(take).transpose()?,
        })
    }
}

/// Whether this program could hold that state.
pub(super) fn check(state: &KeeperState) -> Result<(), StateError> {
    if state.units.len() > UNITS_MAX { Err(StateError::Large(state.units.len())) } else { Ok(()) }
}

fn take(fd: i32) -> Result<OwnedFd, StateError> {
    take_inherited(fd).map_err(|source| StateError::Descriptor { fd, source })
}

fn unit_state(name: &crate::base::UnitName, unit: &Unit) -> UnitState {
    let stored = unit.stored.iter().map(|stored| StoredState {
        name: stored.name.clone(),
        fd: number(&stored.fd),
        polled: stored.polled,
    });
    let logs = unit.logs.iter().map(|(stream, log)| LogState {
        stream: *stream,
        reader: number(&log.reader),
        writer: number(&log.writer),
        bytes: log.bytes,
    });
    UnitState {
        unit: name.clone(),
        generation: unit.generation,
        main: unit.main,
        memo: unit.memo.to_vec(),
        stored: stored.collect(),
        logs: logs.collect(),
    }
}

fn unit_from(state: &UnitState) -> Result<Unit, StateError> {
    let mut unit =
        Unit { generation: state.generation, main: state.main, memo: state.memo.as_slice().into(), ..Unit::default() };
    for stored in &state.stored {
        let StoredState { name, fd, polled } = stored;
        unit.stored.push(Stored::new(name.clone(), Rc::new(take(*fd)?), *polled));
    }
    for log in &state.logs {
        let (reader, writer) = (Rc::new(take(log.reader)?), Rc::new(take(log.writer)?));
        unit.logs.insert(log.stream, Log { reader, writer, bytes: log.bytes });
    }
    Ok(unit)
}

fn process_state(process: &Process) -> ProcessState {
    ProcessState {
        key: process.key.clone(),
        invocation: process.invocation,
        pid: process.pid,
        start_time: process.start_time,
        started: process.started,
        pidfd: match &process.handle {
            Handle::Child(_) => None,
            Handle::Adopted(watch) => Some(number(&watch.fd)),
        },
        clamped: process.clamped,
    }
}

fn kept_state(kept: &Kept) -> KeptWhat {
    match kept {
        Kept::Exited(exit) => KeptWhat::Exited(exit.clone()),
        Kept::SpawnFailed { key, failure } => KeptWhat::SpawnFailed { key: key.clone(), failure: *failure },
        Kept::Notified { notified, fds } => {
            KeptWhat::Notified { notified: notified.clone(), fds: fds.iter().map(number).collect() }
        }
    }
}

fn kept_from(state: &KeptWhat) -> Result<Kept, StateError> {
    Ok(match state {
        KeptWhat::Exited(exit) => Kept::Exited(exit.clone()),
        KeptWhat::SpawnFailed { key, failure } => Kept::SpawnFailed { key: key.clone(), failure: *failure },
        KeptWhat::Notified { notified, fds } => {
            let fds: Result<_, _> = fds.iter().map(|fd| take(*fd).map(Rc::new)).collect();
            Kept::Notified { notified: notified.clone(), fds: fds? }
        }
    })
}
