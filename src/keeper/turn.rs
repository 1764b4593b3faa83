//! The keeper itself: what it holds, and its loop.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use super::{
    KeeperOptions,
    ceiling::Ceiling,
    crowd::Crowd,
    holdings::{Processes, Units},
    init_store::InitStore,
    ledger::Ledger,
    life::Life,
    link::{Frame, Inlet, LinkError},
    mirror::Mirror,
    obey::Reach,
    told::Told,
    upgrade::Upgrade,
};
use crate::{
    base::{Mono, ProcessKey, Signal, UnitName},
    sys::{
        Arrived, Interest, PacketSocket, Poller, Readiness, Signals, clock,
        spawn::{Spawner, Ticket},
    },
    wire::keeper::{Fact, ManagerCause, MirroredProcess, Order},
};

/// Everything the keeper holds. Its behaviour is in the files around, one matter each.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) options: KeeperOptions,
    /// What the manager inherits of our environment.
    pub(super) environment: Vec<CString>,
    pub(super) poller: Poller,
    pub(super) signals: Signals,
    pub(super) notify: OwnedFd,
    pub(super) lock: OwnedFd,
    pub(super) null: File,
    pub(super) spawner: Spawner,
    pub(super) ceiling: Ceiling,
    pub(super) processes: Processes,
    pub(super) units: Units,
    pub(super) ledger: Ledger,
    pub(super) mirror: Option<Mirror>,
    pub(super) init: InitStore,
    /// Ends that are told first and written down when nothing else is to be done: the memo that comes with the order for
    /// the successor, if one comes, has them too.
    pub(super) unwritten: Vec<MirroredProcess>,
    pub(super) life: Life,
    pub(super) cause: ManagerCause,
    pub(super) manager: Option<Manager>,
    /// Asks how the set-up of its process went.
    pub(super) manager_ticket: Option<Ticket>,
    pub(super) daemon_signals: DaemonSignals,
    /// What a token of the poller belongs to.
    pub(super) watched: BTreeMap<u64, Watched>,
    pub(super) next_token: u64,
    pub(super) upgrade: Upgrade,
    /// Whether any manager of this daemon was ever ready.
    pub(super) was_ready: bool,
    /// The daemon is to end with this code.
    pub(super) ending: Option<Ending>,
    /// Orphans that were reaped.
    pub(super) orphans: u64,
    /// Whether orders wait for children in their set-up.
    pub(super) crowd: Crowd,
    /// Who was told to end.
    pub(super) told: Told,
    /// Until when the answer to an end is waited for awake.
    pub(super) awake_until: Option<Mono>,
}

/// What is waited for under a token.
#[derive(Debug, Clone)]
pub(super) enum Watched {
    /// A descriptor of a process: that of its end, or that of its exec.
    Process(ProcessKey),
    /// A stored descriptor of a unit: its other side hangs up.
    Stored(UnitName),
}

/// Signals for the daemon, each until a manager has surely read it. Being told one twice does no harm, but for the one that
/// asks for an upgrade: see [`DaemonSignals::obeyed`].
#[derive(Debug, Default)]
pub(super) struct DaemonSignals {
    untold: BTreeSet<Signal>,
    told: BTreeSet<Signal>,
    /// Told before the last ping: its answer proves that they were read.
    asked: BTreeSet<Signal>,
}

impl DaemonSignals {
    pub(super) fn from_before(signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { untold: signals.into_iter().collect(), ..Self::default() }
    }

    fn tell(&mut self) -> BTreeSet<Signal> {
        self.told.extend(&self.untold);
        std::mem::take(&mut self.untold)
    }

    pub(super) fn ask(&mut self) {
        self.asked.append(&mut self.told);
    }

    pub(super) fn answered(&mut self) {
        self.asked.clear();
    }

    /// The manager did what this signal asks for, so it has read it. Told again to the manager after an upgrade, USR2 would
    /// upgrade for ever.
    pub(super) fn obeyed(&mut self, signal: Signal) {
        for set in [&mut self.untold, &mut self.told, &mut self.asked] {
            set.remove(&signal);
        }
    }

    pub(super) fn unhear(&mut self) {
        self.untold.append(&mut self.told);
        self.untold.append(&mut self.asked);
    }

    pub(super) fn unread(&self) -> impl Iterator<Item = Signal> {
        self.untold.iter().chain(&self.told).chain(&self.asked).copied()
    }
}

/// The conversation with the manager that runs.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) socket: PacketSocket,
    pub(super) inlet: Inlet,
    pub(super) greeted: bool,
    pub(super) outlet: VecDeque<Frame<Rc<OwnedFd>>>,
    /// Facts in the outlet.
    pub(super) queued: usize,
    /// Whether something in the outlet does not wait for calm.
    pub(super) hurries: bool,
    /// When sending is tried again though nobody says that there is room.
    pub(super) retry: Option<Mono>,
    pub(super) waiting: (Interest, Interest),
}

impl Manager {
    /// Whether its orders are carried out now.
    fn is_obeyed(&self, crowd: &Crowd) -> bool {
        self.queued <= FACTS_QUEUED_MAX && crowd.deadline().is_none()
    }
}

/// The end of the daemon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) code: u8,
    /// When the manager that does not end is killed.
    pub(super) kill: Mono,
}

/// Tokens of the poller; those from [`FIRST_WATCH`] on are given as they are needed, none twice.
const SIGNALS: u64 = 0;
const NOTIFY: u64 = 1;
pub(super) const MANAGER: u64 = 2;
pub(super) const FIRST_WATCH: u64 = 16;
/// Orders that are carried out before other things get their turn.
const ORDERS_PER_TURN_MAX: usize = 256;
/// Nothing to be done for so long is calm.
const CALM: Duration = Duration::from_millis(1);
/// Ends or facts that wait for calm; with more there is no waiting.
const WAITING_MAX: usize = 64;
/// Facts that wait for a manager which does not read, before its orders are left waiting too.
const FACTS_QUEUED_MAX: usize = 4096;

impl Keeper {
    pub(super) fn watch_own(&self) -> io::Result<()> {
        self.poller.add(&self.signals, SIGNALS)?;
        self.poller.add(&self.notify, NOTIFY)
    }

    /// Runs until the daemon ends; its exit code.
    pub(super) fn run(&mut self) -> io::Result<u8> {
        let mut ready = Vec::new();
        loop {
            self.act_on_time()?;
            if let Some(ending) = self.ending
                && self.life.pid().is_none()
            {
                self.write_down_ends();
                self.forget_states();
                self.withdraw_all();
                return Ok(ending.code);
            }
            self.flush();
            self.init.flush();
            self.wait(&mut ready)?;
            let is_idle = ready.is_empty() && !self.has_orders();
            if is_idle || self.unwritten.len() >= WAITING_MAX || self.untold() >= WAITING_MAX {
                self.calm();
            }
            self.turn(&ready)?;
        }
    }

    /// Waits for the next thing to do. The order that answers an end is waited for awake at first: it comes soon, and
    /// whoever sleeps on a virtual machine is woken late.
    fn wait(&mut self, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let awake_until = self.awake_until.take();
        if self.has_orders() {
            return self.poller.wait(Some(Duration::ZERO), ready);
        }
        while awake_until.is_some_and(|until| clock::mono() < until) {
            self.poller.wait(Some(Duration::ZERO), ready)?;
            if !ready.is_empty() {
                return Ok(());
            }
            std::thread::yield_now();
        }
        self.poller.wait(self.timeout(), ready)
    }

    /// Whether orders are here that were read but not obeyed; the socket does not tell of them any more.
    fn has_orders(&self) -> bool {
        self.manager.as_ref().is_some_and(|manager| manager.inlet.has_more() && manager.is_obeyed(&self.crowd))
    }

    /// Facts that wait for calm.
    fn untold(&self) -> usize {
        self.manager.as_ref().filter(|manager| !manager.hurries).map_or(0, |manager| manager.queued)
    }

    /// Does what waited for nothing else to be done: a child that was just started needs the CPU more.
    fn calm(&mut self) {
        self.write_down_ends();
        if let Some(manager) = &mut self.manager {
            manager.hurries = true;
        }
    }

    /// Deals with what has happened. The order matters: a datagram that was sent before its sender's end is taken
    /// before that end is told, and an end is told before a new order is read.
    fn turn(&mut self, ready: &[Readiness]) -> io::Result<()> {
        let is_ready = |token| ready.iter().any(|readiness| readiness.token == token && readiness.readable);
        if is_ready(NOTIFY) {
            self.take_notified();
        }
        if is_ready(SIGNALS) {
            self.take_signals()?;
        }
        for readiness in ready.iter().filter(|readiness| readiness.token >= FIRST_WATCH) {
            self.watch_fired(readiness.token);
        }
        self.flush();
        if is_ready(MANAGER) || self.has_orders() {
            self.take_orders();
        }
        Ok(())
    }

    /// A crowd that was told to end has had its turn.
    pub(super) fn take_crowds_ends(&mut self) -> io::Result<()> {
        for key in self.told.over() {
            self.signal(key, Signal::CONT, Reach::Group);
        }
        self.poller.change(&self.signals, SIGNALS, Interest::Yes, Interest::No)?;
        self.reap_all();
        Ok(())
    }

    fn take_signals(&mut self) -> io::Result<()> {
        let mut child = false;
        while let Some(arrived) = self.signals.take()? {
            match arrived {
                Arrived::Child => child = true,
                Arrived::Signal(signal) => {
                    self.daemon_signals.untold.insert(signal);
                }
            }
        }
        if child && self.told.until().is_some() {
            // Each further end would wake us.
            self.poller.change(&self.signals, SIGNALS, Interest::No, Interest::No)?;
        } else if child {
            self.reap_all();
        }
        self.tell_signals();
        Ok(())
    }

    /// Tells the manager the signals that came for the daemon, or keeps them for the next.
    pub(super) fn tell_signals(&mut self) {
        if self.manager.as_ref().is_some_and(|manager| manager.greeted) {
            for signal in self.daemon_signals.tell() {
                self.tell(&Fact::DaemonSignal { signal }, Vec::new());
            }
        }
    }

    fn take_orders(&mut self) {
        for _ in 0..ORDERS_PER_TURN_MAX {
            if self.crowd.waits(clock::mono(), self.spawner.pending()) {
                return;
            }
            let Some(manager) = &mut self.manager else { return };
            if !manager.is_obeyed(&self.crowd) {
                return;
            }
            match manager.inlet.take::<Order>(&manager.socket) {
                Ok(Some((order, fds))) => self.obey(order, fds),
                Ok(None) => return,
                Err(_) => {
                    // It hung up or speaks no sense; its successor gets a snapshot of everything.
                    self.take_last_orders();
                    self.lose_manager();
                    return;
                }
            }
        }
    }

    /// Obeys what a manager that ended has left behind: it was decided.
    pub(super) fn take_last_orders(&mut self) {
        let mut may_be_reset = true;
        while let Some(manager) = &mut self.manager {
            match manager.inlet.take::<Order>(&manager.socket) {
                Ok(Some((order, fds))) => self.obey(order, fds),
                // That it left facts unread is told once, before what it had sent (unix(7): ECONNRESET).
                Err(LinkError::Closed) if may_be_reset => may_be_reset = false,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Sends what waits for the manager, and waits for what it can do next.
    pub(super) fn flush(&mut self) {
        let Some(manager) = &mut self.manager else { return };
        if manager.hurries && manager.push().is_err() {
            self.take_last_orders();
            self.lose_manager();
            return;
        }
        let yes_if = |wanted: bool| if wanted { Interest::Yes } else { Interest::No };
        let reading = yes_if(manager.is_obeyed(&self.crowd));
        let writing = yes_if(manager.hurries && manager.retry.is_none());
        if manager.waiting != (reading, writing) {
            manager.waiting = (reading, writing);
            let changed = self.poller.change(manager.socket.as_fd(), MANAGER, reading, writing);
            if changed.is_err() {
                self.lose_manager();
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let retry = self.manager.as_ref().and_then(|manager| manager.retry);
        let kill = self.ending.map(|ending| ending.kill);
        let deadlines = [
            self.life.next_deadline(),
            retry,
            kill,
            self.upgrade.deadline(),
            self.crowd.deadline(),
            self.told.until(),
            self.init.deadline(),
        ];
        let next = deadlines.into_iter().flatten().min().map(|next| next.since(clock::mono()));
        let calm = (self.untold() > 0 || !self.unwritten.is_empty()).then_some(CALM);
        next.into_iter().chain(calm).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_to_the_next_manager_unless_this_one_obeyed_it() {
        let mut signals = DaemonSignals::from_before([Signal::HUP, Signal::USR2]);
        assert_eq!(signals.tell().len(), 2);
        signals.obeyed(Signal::USR2);
        signals.unhear();
        assert_eq!(signals.unread().collect::<Vec<_>>(), [Signal::HUP]);
        signals.tell();
        signals.ask();
        signals.answered();
        assert_eq!(signals.unread().count(), 0);
    }
}
