//! What comes in, as inputs of the machines: facts of the keeper, reports of our own threads, asks of the API.

use std::{
    collections::BTreeSet,
    ffi::CString,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::PathBuf,
    sync::Arc,
};

use super::{
    Engine, config,
    handle::{Ask, OrderReply, Report, UnitState},
    instances, mainpid,
    tree::Found,
};
use nix::libc;

use crate::{
    alert::Subject,
    base::{
        Actor, ExitStatus, Generation, Happening, InStep, Mono, Notice, Pid, ProcessKey, Role, RunId, Signal, UnitName,
    },
    edge::{clock, errand::ErrandEnd, log, notify, proctree, store},
    keeper::client::{ClientError, Incoming},
    node::{
        Input, UnitStatus,
        input::{NotifyMessage, OomVictim, Sender, Verb},
        status::Active,
    },
    sys,
    unit::spec::OnFull,
    wire::keeper::{Clamped, Exit, Fact, Notified, Order},
};

/// Rows of one commit after which memory is given back.
const BURST_ROWS: usize = 128;

impl Engine {
    pub(super) fn take_incoming(&mut self, incoming: Incoming) -> Result<(), ClientError> {
        match incoming {
            Incoming::Fact(fact, fds) => self.take_fact(fact, fds),
            // Only at the start, where boot.rs takes it.
            Incoming::Snapshot(_) => Ok(()),
        }
    }

    fn take_fact(&mut self, fact: Fact, mut fds: Vec<OwnedFd>) -> Result<(), ClientError> {
        match fact {
            Fact::Spawned { key, pid, start_time: _, clamped } => {
                self.spawned(&key, pid);
                self.note_clamped(&key, clamped);
                report_clamped(&key.run.unit, clamped);
                self.node_unless_probe(&key, Input::Spawned { key: key.clone(), pid });
            }
            Fact::ExecDone { key } => self.node_unless_probe(&key, Input::ExecDone { key: key.clone() }),
            Fact::SpawnFailed { key, failure } => self.spawn_failed(key, failure)?,
            Fact::Exited(exit) => self.hear_end(exit)?,
            Fact::ExitsAggregated { unit, count, generation: _ } => {
                tracing::error!(unit = %unit, count, "ends are known by number only; their causes are lost");
                self.keeper.send(&Order::AckAggregated { unit, count }, Vec::new())?;
            }
            Fact::Notified(notified) => self.take_notified(&notified, fds)?,
            Fact::LogPipe { unit, stream, bytes: _ } => {
                if let Some(pipe) = fds.pop() {
                    let rules = self.log_rules(&unit);
                    self.pump.add(unit, stream, pipe, rules);
                }
            }
            Fact::LogPipeFailed { unit, stream, errno } => {
                let error = nix::Error::from_raw(errno);
                tracing::error!(unit = %unit, %error, "cannot open a log pipe; output of this unit is lost");
                self.piped.remove(&(unit, stream));
            }
            Fact::Kept { unit, count } => self.note_kept(unit, count),
            Fact::DaemonSignal { signal } => self.daemon_signal(signal)?,
            Fact::Ping => {
                self.keeper.send(&Order::Alive, Vec::new())?;
                self.look_for_room();
                sys::forget_start();
                self.note_maintained();
                if self.init.watchdog {
                    self.keeper.send(&Order::TellInit { bytes: b"WATCHDOG=1".to_vec() }, Vec::new())?;
                }
            }
            Fact::SignalFailed { key, signal, errno } => {
                // Gone already is what was wanted.
                if errno != libc::ESRCH {
                    let error = nix::Error::from_raw(errno);
                    tracing::warn!(unit = %key.run.unit, %signal, %error, "cannot send a signal");
                }
            }
            Fact::Refused { reason } => tracing::error!(reason, "the keeper refused an order"),
            Fact::UpgradeFailed { reason } => {
                if let Some(asker) = self.upgrading.take() {
                    asker.send(reason.clone()).ok();
                }
                self.fan_out(Notice { at: clock::now(), what: Happening::UpgradeFailed { reason } });
            }
            // Parts of a snapshot, which boot.rs takes.
            Fact::SnapshotBegin { .. } | Fact::Process(_) | Fact::Unit(_) | Fact::Stored { .. } | Fact::SnapshotEnd => {
                tracing::error!("the keeper told a piece of a snapshot that was not asked for")
            }
        }
        Ok(())
    }

    /// What the newest main process of a unit could not be given.
    pub(super) fn note_clamped(&mut self, key: &ProcessKey, clamped: Clamped) {
        if !key.role.is_main() {
            return;
        }
        if clamped.is_any() {
            self.clamped.insert(key.run.unit.clone(), clamped);
        } else if !self.clamped.is_empty() {
            self.clamped.remove(&key.run.unit);
        }
    }

    fn node_unless_probe(&mut self, key: &ProcessKey, input: Input) {
        match key.role {
            Role::Main | Role::Named(_) | Role::Control(_) => self.node.handle(clock::now(), input),
            Role::Probe(_) => {}
        }
    }

    pub(super) fn spawned(&mut self, key: &ProcessKey, pid: Pid) {
        self.processes.insert(key.clone(), pid);
        if self.errands.has(key) {
            return self.errand_spawned(key, pid);
        }
        if key.role.is_main()
            && let Some(tree) = self.runs.get_mut(&key.run.unit).filter(|tree| tree.run == key.run)
        {
            tree.main = Some(pid);
        }
    }

    pub(super) fn spawn_failed(
        &mut self,
        key: ProcessKey,
        failure: crate::base::SpawnFailure,
    ) -> Result<(), ClientError> {
        self.processes.remove(&key);
        if let Role::Probe(_) = key.role {
            if self.errands.has(&key) {
                return self.errand_ended(&key, ErrandEnd::NotRun(failure));
            }
            if let Some(input) = self.probes.fail_exec(&key, failure) {
                self.node.handle(clock::now(), input);
            }
            return self.keeper.send(&Order::AckExit { key }, Vec::new());
        }
        self.process_gone(&key);
        self.node.handle(clock::now(), Input::SpawnFailed { key, failure });
        Ok(())
    }

    pub(super) fn exited(&mut self, exit: Exit) -> Result<(), ClientError> {
        let Exit { key, pid, status, usage, at, .. } = exit;
        self.processes.remove(&key);
        if let Role::Probe(_) = key.role {
            if self.errands.has(&key) {
                return self.errand_ended(&key, ErrandEnd::Ended(status));
            }
            if let Some(input) = self.probes.end_exec(clock::now(), &key, status) {
                self.node.handle(clock::now(), input);
            }
            return self.keeper.send(&Order::AckExit { key }, Vec::new());
        }
        if key.role.is_main() && !self.serves(&key.run.unit) {
            self.sockets.flush(&key.run.unit);
        }
        let alone = self.is_alone(&key, Some(pid), at.mono);
        self.process_gone(&key);
        if !alone && self.is_stopping(&key.run.unit) {
            // Of one that was signalled the last is waited for from here on.
            self.tree_of_run(&key.run).into_iter().for_each(|tree| self.tree.watch(tree));
        }
        let now = clock::now();
        // The counter is the present run's; the end of an earlier one that is told again would take its kill.
        let killed =
            matches!(status, ExitStatus::Signaled { signal: Signal::KILL, .. }) && self.node.is_present(&key.run);
        let unit = &key.run.unit;
        if killed && let Some(killed) = self.resources.new_kills(unit, now.mono) {
            self.node.handle(now, Input::OomKilled { run: key.run.clone(), killed, whose: OomVictim::Known });
        }
        let oom = killed && self.resources.claim_kill(unit, now.mono);
        self.node.handle(now, Input::Exited { key, status, usage, oom, alone });
        Ok(())
    }

    fn process_gone(&mut self, key: &ProcessKey) {
        if let Some(key) = self.acks.process_gone(key.clone()) {
            self.untold.acknowledge(key.run.unit.clone(), Order::AckExit { key });
        }
    }

    /// Whether a main process of the unit lives: an end that is told late may be of a run before.
    fn serves(&self, unit: &UnitName) -> bool {
        let first = ProcessKey { run: RunId { unit: unit.clone(), generation: Generation(0) }, role: Role::Main };
        let of_unit = self.processes.range(first..).map(|(key, _)| key).take_while(|key| key.run.unit == *unit);
        of_unit.into_iter().any(|key| key.role.is_main())
    }

    /// Whether nobody else of the run is left. Cheap: it stands between a death and its restart.
    ///
    /// Without a cgroup only the group of the dead process can be asked; whoever left it is swept up afterwards.
    pub(super) fn is_alone(&mut self, key: &ProcessKey, pid: Option<Pid>, died: Mono) -> bool {
        !self.has_known(&key.run)
            && match &self.cgroups {
                Some(cgroups) => cgroups.is_empty(&key.run.unit).unwrap_or(true),
                None => {
                    pid.is_none_or(proctree::group_is_empty)
                        && !(self.is_stopping(&key.run.unit) && self.strays.may_be(died, self.known_children()))
                }
            }
    }

    /// Whether a process of the run is known to live.
    pub(super) fn has_known(&self, run: &RunId) -> bool {
        let first = ProcessKey { run: run.clone(), role: Role::Main };
        let of_run = self.processes.range(first..).map(|(key, _)| key).take_while(|key| key.run == *run);
        of_run.into_iter().any(|key| !matches!(key.role, Role::Probe(_)))
    }

    /// Whether the unit is on its way down, where a walk over /proc delays nobody's restart.
    pub(super) fn is_stopping(&self, unit: &UnitName) -> bool {
        self.node.active(unit) == Some(Active::Deactivating)
    }

    /// How many children of the keeper are somebody: the processes of units, and this manager.
    pub(super) fn known_children(&self) -> usize {
        self.processes.len() + 1
    }

    pub(super) fn take_notified(&mut self, notified: &Notified, fds: Vec<OwnedFd>) -> Result<(), ClientError> {
        let datagram = notify::parse(&notified.bytes);
        let pid = i32::try_from(notified.pid).unwrap_or(0);
        let ack = Order::AckNotified { seq: notified.seq };
        match self.sender_of(notified, pid) {
            Some((run, sender)) => {
                self.keep_descriptors(&run.unit, &datagram, fds)?;
                self.untold.acknowledge(run.unit.clone(), ack);
                let is_trusted = notified.uid == 0;
                self.notified(
                    run,
                    sender,
                    pid,
                    notify::Datagram { message: NotifyMessage { is_trusted, ..datagram.message }, ..datagram },
                );
                Ok(())
            }
            None => {
                let what = Happening::NotifyRefused { unit: None, sender: pid, reason: "no process of any unit" };
                self.fan_out(Notice { at: clock::now(), what });
                self.keeper.send(&ack, Vec::new())
            }
        }
    }

    /// The keeper knows its own children; the others are told by their cgroup.
    fn sender_of(&self, notified: &Notified, pid: i32) -> Option<(RunId, Sender)> {
        if let Some(key) = &notified.key {
            let sender = match key.role {
                Role::Main | Role::Named(_) => Sender::Main,
                Role::Control(_) => Sender::Control,
                Role::Probe(_) => Sender::Other,
            };
            return Some((key.run.clone(), sender));
        }
        if let Some(leader) = &notified.session {
            return Some((leader.run.clone(), Sender::Other));
        }
        let sender = Pid::new(pid)?;
        let started = notified.started?;
        let run = match &self.cgroups {
            Some(cgroups) => self.runs.get(&cgroups.unit_of(pid)?),
            None => {
                let invocation = proctree::invocation_of(mainpid::keeper(), sender)?;
                self.runs.values().find(|tree| tree.invocation == invocation)
            }
        };
        // Compared after the look: its pid was its own all the while.
        run.filter(|_| proctree::start_time(sender) == Some(started)).map(|tree| (tree.run.clone(), Sender::Other))
    }

    fn daemon_signal(&mut self, signal: Signal) -> Result<(), ClientError> {
        match signal {
            Signal::HUP => self.reload_by_signal(),
            Signal::TERM | Signal::INT => {
                self.keeper.send(&Order::TellInit { bytes: b"STOPPING=1".to_vec() }, Vec::new())?;
                self.node.handle(clock::now(), Input::Shutdown { actor: Actor::Daemon, machine: false });
            }
            Signal::USR2 => {
                if let Some(path) = self.own_program.clone() {
                    self.keeper.send(&Order::Upgrade { path }, Vec::new())?;
                }
            }
            _ => self.forward(signal),
        }
        Ok(())
    }

    /// Signals that mean nothing to the supervisor go on to a container's main unit, where there is one.
    fn forward(&mut self, signal: Signal) {
        let container = &self.settings.container;
        match &container.main {
            Some(main) if container.forward.contains(&signal) => {
                let (ticket, units, verb) = (self.tickets.next(), vec![main.clone()], Verb::Signal(signal));
                self.node.handle(clock::now(), Input::Order { ticket, actor: Actor::Daemon, units, verb });
            }
            Some(_) | None => tracing::info!(%signal, "this signal means nothing to the supervisor"),
        }
    }

    fn upgrade(
        &mut self,
        actor: &Actor,
        to: Option<PathBuf>,
        reply: tokio::sync::oneshot::Sender<String>,
    ) -> Result<(), ClientError> {
        let path = match to {
            Some(to) => CString::new(to.into_os_string().into_vec()).ok(),
            None => self.own_program.clone(),
        };
        let refused = match (&self.upgrading, path) {
            (Some(_), _) => "another upgrade is on its way",
            (None, None) => "the path of the new program cannot be used",
            (None, Some(path)) => {
                tracing::info!(%actor, ?path, "the program is to be replaced");
                self.upgrading = Some(reply);
                return self.keeper.send(&Order::Upgrade { path }, Vec::new());
            }
        };
        reply.send(refused.to_owned()).ok();
        Ok(())
    }

    /// Reads the units anew beside the loop; they come back as an ask.
    fn reload_by_signal(&self) {
        let (asks, settings) = (self.own_asks.clone(), Arc::clone(&self.settings));
        let instances = self.instances.all();
        self.runtime.spawn(async move {
            let begun = clock::now().mono;
            let Ok(loaded) = tokio::task::spawn_blocking(move || config::reload(&settings, &instances)).await else {
                return;
            };
            let (reply, _nobody_waits) = tokio::sync::oneshot::channel();
            asks.send(Ask::Reload { actor: Actor::SIGHUP, begun, loaded, reply }).await.ok();
        });
    }

    pub(super) fn take_report(&mut self, report: Report) -> Result<(), ClientError> {
        match report {
            Report::Probed { run, probe, outcome } => self.probed(run, probe, outcome),
            Report::Watched { unit, number, sight } => {
                self.node.handle(clock::now(), Input::Watched { unit, number, sight });
            }
            Report::Instances(made) => self.take_instances(*made)?,
            Report::AcceptAgain(unit) => self.accept_again(&unit),
            Report::Main(candidate) => self.take_candidate(candidate)?,
            Report::Prepared(done) => self.take_prepared(*done)?,
            Report::OomCounted(unit) => self.oom_counted(&unit),
            Report::Tree(Found::Empty(run)) => self.node.handle(clock::now(), Input::TreeEmpty { run }),
            Report::Tree(Found::Members(meant, members)) => self.signal_members(&meant, &members)?,
            Report::Store(report) => self.take_store_report(report)?,
            Report::Log(report) => self.take_log_report(report),
            Report::Learnt(learnt) => self.learn(*learnt),
            Report::Room(free) => self.take_room(free),
            Report::Fleet(event) => self.hear_of_fleet(event),
            Report::ClockSet => self.clock_set(),
            Report::Zone(local) => self.take_local_zone(local),
            Report::Signal(signal) => self.daemon_signal(signal)?,
        }
        Ok(())
    }

    /// Of a process that the keeper knows the exit comes too.
    pub(super) fn oom_counted(&mut self, unit: &UnitName) {
        let now = clock::now();
        let Some(run) = self.runs.get(unit).map(|tree| tree.run.clone()) else { return };
        if let Some(killed) = self.resources.new_kills(unit, now.mono) {
            self.node.handle(now, Input::OomKilled { run, killed, whose: OomVictim::Other });
        }
    }

    pub(super) fn take_store_report(&mut self, report: store::Report) -> Result<(), ClientError> {
        let what = match report {
            store::Report::Committed { seqs } => {
                // A burst leaves holes all over the heap: the texts of units, the rows that are written now.
                if seqs.len() >= BURST_ROWS {
                    sys::trim_memory();
                }
                return self.committed(seqs);
            }
            store::Report::Refused { seq, reason } => {
                // The keeper must not hold for ever what can never be written.
                for key in seq.map(|seq| self.acks.committed(seq)).unwrap_or_default() {
                    self.keeper.send(&Order::AckExit { key }, Vec::new())?;
                }
                Happening::Bug { unit: None, text: format!("the store refused rows: {reason}") }
            }
            store::Report::Degraded { reason, messages } => {
                // They were handed in when nothing was known of it.
                let waiting = messages.into_iter().chain(self.store.messages_waiting());
                waiting.for_each(|message| self.deliveries.send_now(message));
                Happening::StoreDegraded { reason }
            }
            store::Report::Recovered { dropped } => {
                if dropped > 0 {
                    tracing::warn!(dropped, "notices were dropped while the store could not be written");
                }
                self.seed_late();
                Happening::StoreRecovered
            }
            store::Report::Replaced { kept, reason } => {
                tracing::error!(reason, "the database was damaged");
                self.alerts.save_all();
                self.write_alerts(clock::now());
                Happening::StoreReplaced { kept: kept.display().to_string() }
            }
        };
        self.fan_out(Notice { at: clock::now(), what });
        Ok(())
    }

    pub(super) fn take_ask(&mut self, ask: Ask) -> Result<(), ClientError> {
        // Whoever asks hears of everything that came before.
        self.tell_all()?;
        match ask {
            Ask::Order { actor, units, verb, reply } => {
                let unmade = if instances::makes(verb) { self.unmade(&units) } else { BTreeSet::new() };
                if unmade.is_empty() {
                    self.order(actor, units, verb, reply);
                } else {
                    self.make_instances(unmade, Ask::Order { actor, units, verb, reply });
                }
            }
            Ask::States { reply } => {
                reply.send(self.states()).ok();
            }
            Ask::Probe { units, reply } => {
                let ticket = self.tickets.next();
                self.waiting.insert(ticket, reply);
                self.node.handle(clock::now(), Input::ProbeNow { ticket, units });
            }
            Ask::Unwell { unit, probe, reason, reply } => {
                let ticket = self.tickets.next();
                self.waiting.insert(ticket, reply);
                self.node.handle(clock::now(), Input::Unwell { ticket, unit, probe, reason });
            }
            Ask::ReloadOnce { actor, unit, name, reply } => {
                let ticket = self.tickets.next();
                self.waiting.insert(ticket, reply);
                self.node.handle(clock::now(), Input::ReloadOnce { ticket, actor, unit, name });
            }
            Ask::Alerts(ask) => self.take_alert_ask(ask),
            Ask::Well { reply } => {
                reply.send(self.is_well()).ok();
            }
            Ask::Upgrade { actor, to, reply } => self.upgrade(&actor, to, reply)?,
            Ask::Reload { actor, begun, loaded, reply } => {
                let taken = self.take_reload(actor, loaded)?;
                self.count_reload(begun);
                reply.send(taken).ok();
            }
        }
        Ok(())
    }

    fn states(&self) -> Vec<UnitState> {
        let statuses = self.node.statuses();
        let outputs = self.flow.of(statuses.iter().map(|status| &status.name));
        let counters = self.counters();
        let mut defs = InStep::new(&self.units);
        let state = |(status, output): (UnitStatus, _)| {
            let def = Arc::clone(defs.get(&status.name)?);
            let restarts_total = counters.restarts_of(&status.name);
            let sandbox_unmet = self.sandboxes.unmet(&status.name).map(str::to_owned);
            let awaited = self.preparations.place(&status.name);
            let clamped = self.clamped.get(&status.name).copied().unwrap_or_default();
            let resources_unmet = self.resources.unmet(&status.name).map(str::to_owned);
            let counted = status.main_pid.and_then(|_| self.resources.places(&status.name, &def.service.resources));
            let kept = self.kept.get(&status.name).copied().unwrap_or_default();
            Some(UnitState {
                kept,
                awaited,
                restarts_total,
                output,
                clamped,
                status,
                def,
                sandbox_unmet,
                resources_unmet,
                counted,
            })
        };
        statuses.into_iter().zip(outputs).filter_map(state).collect()
    }

    pub(super) fn order(&mut self, actor: Actor, units: Vec<UnitName>, verb: Verb, reply: OrderReply) {
        let ticket = self.tickets.next();
        match reply {
            OrderReply::Done(reply) => drop(self.waiting.insert(ticket, reply)),
            OrderReply::Taken(reply) => self.taken.push(reply),
        }
        if let Some(enabled) = enablement(verb) {
            let known = units.iter().filter(|unit| self.units.contains_key(*unit));
            let writes = known.map(|unit| store::Write::Enablement(unit.clone(), Some(enabled))).collect();
            self.store.submit(store::Batch { seq: None, writes });
        }
        self.node.handle(clock::now(), Input::Order { ticket, actor, units, verb });
    }

    fn take_log_report(&mut self, report: log::Report) {
        let what = match report {
            log::Report::Stuck { unit, reason, on_full } => {
                Happening::LogsDegraded { unit, reason, dropped: on_full == OnFull::Drop }
            }
            // An earlier manager may have said that it is not.
            log::Report::Flows if self.alerts.open().any(|incident| incident.subject == Subject::Logs) => {
                Happening::LogsRecovered
            }
            log::Report::Flows => return,
            log::Report::Dropped { unit, bytes, reason } => {
                tracing::warn!(unit = %unit, reason, "output was dropped");
                Happening::OutputDropped { unit, bytes }
            }
        };
        self.fan_out(Notice { at: clock::now(), what });
    }

    /// An end that nobody can tell us any more.
    pub(super) fn lost(&mut self, key: ProcessKey) {
        self.processes.remove(&key);
        let input = Input::Exited { key, status: ExitStatus::Unknown, usage: None, oom: false, alone: false };
        self.node.handle(clock::now(), input);
    }
}

/// What is kept of an order: whether its units are wanted at daemon start.
const fn enablement(verb: Verb) -> Option<bool> {
    match verb {
        Verb::Enable => Some(true),
        Verb::Disable => Some(false),
        Verb::Start | Verb::Stop | Verb::Restart | Verb::Reload | Verb::Signal(_) | Verb::Reset | Verb::Clean => None,
    }
}

fn report_clamped(unit: &UnitName, clamped: Clamped) {
    for setting in clamped.settings() {
        tracing::warn!(unit = %unit, setting, "the host does not let us give this service all that its unit asks for");
    }
}
