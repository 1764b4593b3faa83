//! The manager's orders, all but `Spawn`.
use std::{
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use super::{
    holdings::{Handle, Log, Stored, Unit},
    ledger::Kept,
    turn::{Ending, Keeper},
};
use crate::{
    base::{Mono, Pid, ProcessKey, Signal, UnitName},
    sys::{LogPipe, clock, log_pipe, open_process, send_signal, signal_group, signal_process, start_time},
    wire::keeper::{Fact, HeldAs, MEMO_BYTES_MAX, Order, Stream},
};

/// How long a manager that said that all is stopped may take to end.
const ENDING_MAX: Duration = Duration::from_secs(5);
/// ESRCH, errno(3): there is no such process.
const NO_SUCH_PROCESS: i32 = 3;
/// ENOMEM, errno(3): there is no room in the table.
const NO_ROOM: i32 = 12;
/// EIO, errno(3): for a failure without a number.
pub(super) const NO_NUMBER: i32 = 5;

impl Keeper {
    pub(super) fn obey(&mut self, order: Order, mut fds: Vec<OwnedFd>) {
        let greeted = self.manager.as_ref().is_some_and(|manager| manager.greeted);
        if !greeted && !matches!(order, Order::Hello { .. }) {
            return self.lose_manager();
        }
        match order {
            Order::Hello { version } => self.greet(version),
            Order::Alive => {
                self.daemon_signals.answered();
                self.life.alive(clock::mono());
            }
            Order::Ready => self.manager_ready(),
            Order::Spawn(order) => self.spawn(*order, fds),
            Order::Signal { key, signal } => {
                let _counted = self.told.one(clock::mono());
                self.signal(key, signal, Reach::Process);
            }
            Order::SignalGroup { key, signal } => self.signal_group(key, signal),
            Order::SignalPid { pid, start_time, signal } => self.signal_stranger(pid, start_time, signal),
            Order::Take { key, invocation, pid, start_time } => {
                if let Err(failure) = self.take(&key, invocation, pid, start_time, fds.pop()) {
                    self.keep_end(Kept::SpawnFailed { key, failure });
                }
            }
            Order::Store { unit, name } => self.store(&unit, name, fds.pop()),
            Order::Keep { unit, name, max, polled } => self.keep(&unit, name, max, polled, fds.pop()),
            Order::Release { unit } => self.close_stored(&unit, Stored::is_services_own),
            Order::Forget { unit, name } => self.close_stored(&unit, |stored| stored.name == name),
            Order::DropUnit { unit } => {
                self.close_stored(&unit, |_| true);
                if let Some(held) = self.units.get_mut(&unit) {
                    // What was started once is not started again, even if the unit comes back.
                    *held = Unit { generation: held.generation, main: held.main, ..Unit::default() };
                }
                self.mirror_unit(&unit);
                self.withdraw(&unit, |_| true);
            }
            Order::DropInstance { unit } => {
                self.units.remove(&unit);
                self.unmirror_unit(&unit);
                self.withdraw(&unit, |_| true);
            }
            Order::OpenLog { unit, stream, bytes } => self.open_log(unit, stream, bytes),
            Order::Remember { unit, memo } => self.remember(&unit, memo),
            Order::AckExit { key } => {
                self.ledger.acknowledge_end(&key);
                // One that runs has no end to be acknowledged and stays.
                if self.processes.get(&key).is_none() {
                    self.unmirror(&key);
                }
            }
            Order::AckAggregated { unit, count } => {
                if let Some(fact) = self.ledger.acknowledge_aggregated(&unit, count) {
                    self.tell(&fact, Vec::new());
                }
            }
            Order::AckNotified { seq } => self.ledger.acknowledge_notified(seq),
            Order::Upgrade { path } => {
                self.daemon_signals.obeyed(Signal::USR2);
                self.begin_upgrade(path);
            }
            Order::Shutdown { code } => {
                let kill = clock::mono().0.saturating_add(u64::try_from(ENDING_MAX.as_nanos()).unwrap_or(u64::MAX));
                self.ending = Some(Ending { code, kill: Mono(kill) });
            }
            Order::TellInit { bytes } => {
                if let Err(error) = self.init.tell(bytes, fds.into_iter().map(Rc::new).collect()) {
                    self.refuse(format!("cannot tell the init system: {error}"));
                }
            }
        }
    }

    fn greet(&mut self, version: u16) {
        if let Some(manager) = &mut self.manager {
            manager.greeted = true;
        }
        self.life.alive(clock::mono());
        self.tell_snapshot(version);
        if let Some(reason) = self.upgrade.failure.take() {
            self.tell(&Fact::UpgradeFailed { reason }, Vec::new());
        }
        self.tell_signals();
    }

    pub(super) fn refuse(&mut self, reason: String) {
        self.tell(&Fact::Refused { reason }, Vec::new());
    }

    /// Whoever of it was stopped goes on, or the signal would wait; in a crowd that waits too.
    fn signal_group(&mut self, key: ProcessKey, signal: Signal) {
        let is_one_of_many = self.told.one(clock::mono());
        self.signal(key.clone(), signal, Reach::Group);
        match signal {
            Signal::KILL => {}
            _ if is_one_of_many => self.told.continue_later(key),
            _ => self.signal(key, Signal::CONT, Reach::Group),
        }
    }

    pub(super) fn signal(&mut self, key: ProcessKey, signal: Signal, reach: Reach) {
        let result = match self.processes.get(&key) {
            None => Err(NO_SUCH_PROCESS),
            Some(process) => {
                let sent = match (&process.handle, reach) {
                    (Handle::Child(_), Reach::Process) => send_signal(process.pid, signal),
                    (Handle::Child(_), Reach::Group) => match signal_group(process.pid, signal) {
                        // It has just been made and leads no group yet: it is alone.
                        Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => send_signal(process.pid, signal),
                        sent => sent,
                    },
                    // No descriptor stands for a group, and the pid of a stranger's child may be anyone's.
                    (Handle::Adopted(watch), Reach::Process | Reach::Group) => signal_process(watch.fd.as_fd(), signal),
                };
                sent.map_err(|error| error.raw_os_error().unwrap_or(NO_NUMBER))
            }
        };
        if let Err(errno) = result {
            self.tell(&Fact::SignalFailed { key, signal, errno }, Vec::new());
        }
    }

    /// Opens first, compares second, signals through what was opened: the pid cannot change its owner in between.
    fn signal_stranger(&mut self, pid: Pid, started: u64, signal: Signal) {
        let Ok(process) = open_process(pid) else { return };
        if start_time(pid).is_ok_and(|time| time == started)
            && let Err(error) = signal_process(process.as_fd(), signal)
            && error.raw_os_error() != Some(NO_SUCH_PROCESS)
        {
            self.refuse(format!("cannot send {signal} to process {pid}: {error}"));
        }
    }

    pub(super) fn remember(&mut self, unit: &UnitName, memo: Vec<u8>) {
        if memo.len() > MEMO_BYTES_MAX {
            return self.refuse(format!("cannot remember {} bytes for {unit}", memo.len()));
        }
        match self.units.entry(unit) {
            Some(held) => {
                held.memo = memo.into();
                self.mirror_unit(unit);
            }
            None => self.refuse(format!("cannot remember anything for {unit}: too many units are held")),
        }
    }

    fn open_log(&mut self, unit: UnitName, stream: Stream, bytes: u32) {
        match self.log_of(&unit, stream, bytes) {
            Ok((reader, bytes)) => self.tell(&Fact::LogPipe { unit, stream, bytes }, vec![reader]),
            Err(errno) => self.tell(&Fact::LogPipeFailed { unit, stream, errno }, Vec::new()),
        }
    }

    /// The read end and size of a unit's log pipe, which is opened if it is not there.
    fn log_of(&mut self, unit: &UnitName, stream: Stream, bytes: u32) -> Result<(Rc<OwnedFd>, u32), i32> {
        let held = self.units.entry(unit).ok_or(NO_ROOM)?;
        if let Some(log) = held.logs.get(&stream) {
            return Ok((Rc::clone(&log.reader), log.bytes));
        }
        let LogPipe { reader, writer, bytes } =
            log_pipe(bytes).map_err(|error| error.raw_os_error().unwrap_or(NO_NUMBER))?;
        let (reader, writer) = (Rc::new(reader), Rc::new(writer));
        held.logs.insert(stream, Log { reader: Rc::clone(&reader), writer: Rc::clone(&writer), bytes });
        self.entrust(unit, HeldAs::Log { stream, bytes }, vec![Rc::clone(&reader), writer]);
        Ok((reader, bytes))
    }
}

/// Whom a signal is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Process,
    Group,
}
