//! Effects of the node machine, carried out: one exhaustive match, nothing decided.

use std::{os::fd::OwnedFd, sync::Arc};

use crate::{
    base::{Chain, Pid, ProcessKey, Role, RunId, Signal, SpawnFailure, Ticket, TimeSpan, UnitName, Wall},
    edge::{
        clock,
        log::Bound,
        notify,
        probe::{self, Seen, Used},
        proctree::Member,
        users::Identity,
    },
    keeper::client::ClientError,
    node::{
        Effect, Input,
        effect::{Leftovers, Outcome, SpawnOrder},
        input::{ProbeOutcome, Sender},
    },
    unit::{
        self, UnitDef,
        spec::{Command, ExternalManager, ProbeCheck},
    },
    wire::keeper::{Order, Output, SpawnOrder as KeeperSpawn, SpawnSpec, Stream},
};

use super::{
    Engine, launch,
    prepare::Waiting,
    resources::{self, Disks},
    tree,
};

/// Log pipes of all units together take about this much of the kernel's budget for one user (pipe(7), 64 MiB).
const PIPE_BUDGET_BYTES: usize = 32 << 20;
/// The largest and smallest pipe we ask for.
const PIPE_BYTES_MAX: usize = 1 << 20;
const PIPE_BYTES_MIN: usize = 64 << 10;

impl Engine {
    /// Carries out everything the machine wants. Orders that change a process leave at once; the rest is told later, so
    /// that no memo, row or log line stands between a death and its restart.
    pub(super) fn drain(&mut self) -> Result<(), ClientError> {
        while let Some(effect) = self.node.poll_effect() {
            self.carry_out(effect)?;
        }
        for ack in self.untold.free_acks() {
            self.keeper.send(&ack, Vec::new())?;
        }
        if self.untold.is_full() || !self.taken.is_empty() {
            self.tell_all()?;
        }
        self.keeper.post()?;
        self.tree.post();
        // What is in the socket reaches the keeper, whatever becomes of us. Otherwise the next drain looks again: a keeper
        // that is behind has something to tell soon.
        if self.keeper.has_sent_all() {
            for asker in self.taken.drain(..) {
                // Whoever asked may have gone.
                asker.send(()).ok();
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), ClientError> {
        match effect {
            Effect::Spawn(mut order) => {
                self.connections.complete(&mut order);
                self.spawn(&order)
            }
            Effect::Kill { key, signal } => {
                self.withdraw(&key.run.unit, signal, |waiting| *waiting == key);
                self.tell_memo(&key.run.unit)?;
                self.keeper.send(&Order::Signal { key, signal }, Vec::new())
            }
            Effect::KillTree { run, signal, but } => {
                self.withdraw(&run.unit, signal, |waiting| waiting.run == run && Some(waiting) != but.as_ref());
                self.tell_memo(&run.unit)?;
                self.kill_tree(&run, signal, but.as_ref())
            }
            Effect::Sweep { run, invocation, main } => {
                self.sweep(tree::Tree { main, ..tree::Tree::new(&run, invocation) });
                Ok(())
            }
            Effect::FindMain { key, invocation, from } => {
                self.find_main(key, invocation, from);
                Ok(())
            }
            Effect::WatchTree { run } => {
                self.watch_tree(run);
                Ok(())
            }
            Effect::Tidy { def, leftovers } => self.tidy(&def, leftovers),
            Effect::Probe { run, probe, def } => self.probe(run, probe, def),
            Effect::Watch { run, number, def } => self.watch(run, number, def),
            Effect::Host { unit, host, order } => {
                self.probes.order_host(unit, host, order);
                Ok(())
            }
            Effect::CancelProbes { run } => self.cancel_probes(&run),
            Effect::Remember { unit, memo } => {
                self.untold.remember(unit, memo);
                Ok(())
            }
            Effect::Forget { unit } => self.forget_unit(unit),
            Effect::Listen { unit, def } => self.listen(&unit, &def),
            Effect::Accept { unit, number } => self.make_connection(&unit, number),
            Effect::HangUp { unit, reason } => {
                self.hang_up(&unit, reason);
                Ok(())
            }
            Effect::Unlisten { unit } => {
                self.connections.listens_no_more(&unit);
                self.sockets.traffic.unwatch(&unit);
                Ok(())
            }
            Effect::Release { unit } => self.release(&unit),
            Effect::Reply { ticket, outcomes } => self.reply(ticket, outcomes),
            Effect::AllStopped { code } => {
                self.ending = Some(code);
                Ok(())
            }
            Effect::Stamp { unit, at } => {
                self.untold.stamp(unit, at);
                Ok(())
            }
            Effect::Notice(notice) => {
                self.fan_out(notice);
                Ok(())
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, outcomes: Vec<(UnitName, Outcome)>) -> Result<(), ClientError> {
        self.tell_all()?;
        if let Some(asker) = self.waiting.remove(&ticket) {
            // Whoever asked may have gone; the outcome is in the notices too.
            asker.send(outcomes).ok();
        }
        Ok(())
    }

    fn watch_tree(&mut self, run: RunId) {
        match self.tree_of_run(&run) {
            Some(tree) => self.tree.watch(tree),
            // Nobody could be found of it, so nobody is waited for.
            None => self.node.handle(clock::now(), Input::TreeEmpty { run }),
        }
    }

    fn tidy(&mut self, def: &UnitDef, leftovers: Leftovers) -> Result<(), ClientError> {
        self.launcher.tidy(def, leftovers.directories);
        self.untold.leave_over();
        if !leftovers.descriptors {
            return Ok(());
        }
        self.keeper.send(&Order::Release { unit: def.name.clone() }, Vec::new())
    }

    /// Sends the memo of a unit that waits, ahead of an order that follows from it.
    pub(super) fn tell_memo(&mut self, unit: &UnitName) -> Result<(), ClientError> {
        let Some((unit, memo)) = self.untold.memos.remove_entry(unit) else { return Ok(()) };
        self.keeper.send(&Order::Remember { unit, memo }, Vec::new())
    }

    fn spawn(&mut self, order: &SpawnOrder) -> Result<(), ClientError> {
        let unit = &order.key.run.unit;
        if self.runs.get(unit).is_none_or(|tree| tree.run != order.key.run) {
            self.runs.insert(unit.clone(), tree::Tree::new(&order.key.run, order.invocation));
        }
        if let Some(tree) = self.runs.get_mut(unit) {
            tree.signals_before = self.signals;
            if let Role::Control(_) = order.key.role {
                tree.command = Some(order.key.clone());
            }
        }
        self.make(order)
    }

    /// Has a process made, or tells why it cannot be.
    fn make(&mut self, order: &SpawnOrder) -> Result<(), ClientError> {
        let made = self.try_to_make(order);
        self.made_or_not(&order.key, made)
    }

    pub(super) fn made_or_not(&mut self, key: &ProcessKey, made: Result<(), Unprepared>) -> Result<(), ClientError> {
        match made {
            Err(Unprepared::Failed(failure, cause)) => {
                self.not_spawned(key, failure, cause);
                Ok(())
            }
            Err(Unprepared::Keeper(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// At once, or as soon as is known what it needs from a disk.
    fn try_to_make(&mut self, order: &SpawnOrder) -> Result<(), Unprepared> {
        let identity = self.identities.get(&order.key.run.unit).cloned();
        let finds_disks = self.finds_disks(order);
        if self.sandboxes.concern(order) || finds_disks || !order.def.service.exec.environment_files.is_empty() {
            // Clients can wait as well.
            self.open_sockets_for(order)?;
            let waiting = Waiting { order: Arc::new(order.clone()), identity, finds_disks };
            return self.preparations.wait(waiting).map_err(|error| refuse(order, &error, error.failure()));
        }
        let spec = self.launcher.spec(identity.as_deref(), order, &[]);
        let spec = spec.map_err(|error| refuse(order, &error, error.failure()))?;
        self.hand_over(order, identity.as_deref(), spec, &Disks::default())
    }

    /// Whether the process is the first of a run whose unit rations disks, which it names by paths.
    fn finds_disks(&self, order: &SpawnOrder) -> bool {
        unit::resources::disks(&order.def.service.resources).next().is_some()
            && self.runs.get(&order.key.run.unit).is_some_and(|tree| !tree.is_admitted)
    }

    /// A probe's process is no part of what a memo tells.
    pub(super) fn send_spawn(&mut self, spawn: KeeperSpawn, along: Vec<OwnedFd>) -> Result<(), ClientError> {
        let memo = match spawn.key.role {
            Role::Probe(_) => None,
            Role::Main | Role::Named(_) | Role::Control(_) => self.untold.memos.remove(&spawn.key.run.unit),
        };
        self.keeper.send(&Order::Spawn(Box::new(KeeperSpawn { memo, ..spawn })), along)
    }

    /// A process was not even ordered.
    fn not_spawned(&mut self, key: &ProcessKey, failure: SpawnFailure, cause: String) {
        let input = match key.role {
            Role::Main | Role::Named(_) | Role::Control(_) => Input::Unprepared { key: key.clone(), failure, cause },
            Role::Probe(_) => {
                let Some(input) = self.probes.fail_exec(key, failure) else { return };
                input
            }
        };
        self.node.handle(clock::now(), input);
    }

    fn open_sockets_for(&mut self, order: &SpawnOrder) -> Result<(), Unprepared> {
        if order.is_start || launch::reads_sockets(&order.def.service.exec) {
            self.open_sockets(&order.key.run.unit, &order.def)?;
        }
        Ok(())
    }

    /// Orders a process from the keeper. Nothing here waits for a disk.
    pub(super) fn hand_over(
        &mut self,
        order: &SpawnOrder,
        identity: Option<&Identity>,
        mut spec: SpawnSpec,
        disks: &Disks,
    ) -> Result<(), Unprepared> {
        let name = &order.key.run.unit;
        self.open_sockets_for(order)?;
        let is_first = match order.key.role {
            Role::Main | Role::Named(_) | Role::Control(_) => self.is_first(&order.key.run),
            Role::Probe(_) => false,
        };
        if is_first {
            self.output_begins(&order.key.run);
        }
        if is_first && self.resources.has_kills(name) {
            // Its cgroup is made anew, and with the old one goes what it counted.
            self.tell_memo(name).and_then(|()| self.keeper.post()).map_err(Unprepared::Keeper)?;
        }
        let entrance = self.resources.admit(order, identity, is_first, disks);
        let entrance = entrance.map_err(|error| refuse(order, &error, resources::ResourcesError::failure()))?;
        spec.cgroups = entrance.old;
        // Instances of connections have one log between them, their template's.
        let log_of = name.template().filter(|_| order.def.sockets.is_connection()).unwrap_or_else(|| name.clone());
        for stream in [&spec.stdout, &spec.stderr].into_iter().filter_map(piped) {
            if self.piped.insert((log_of.clone(), stream)) {
                let bytes = u32::try_from(self.pipe_bytes()).unwrap_or(u32::MAX);
                let order = Order::OpenLog { unit: log_of.clone(), stream, bytes };
                self.keeper.send(&order, Vec::new()).map_err(Unprepared::Keeper)?;
            }
        }
        let heard = self.probes.hear(&order.key).or_else(|| self.errands.output(&order.key));
        if heard.is_some() {
            spec.stdout = Output::Passed;
        }
        let spawn = KeeperSpawn { key: order.key.clone(), invocation: order.invocation, spec, memo: None };
        self.send_spawn(spawn, heard.into_iter().chain(entrance.cgroup).collect()).map_err(Unprepared::Keeper)
    }

    /// Whether no process of the run was let in before: a command before the service, or the service.
    fn is_first(&mut self, run: &RunId) -> bool {
        let tree = self.runs.get_mut(&run.unit).filter(|tree| tree.run == *run);
        tree.is_some_and(|tree| !std::mem::replace(&mut tree.is_admitted, true))
    }

    fn forget_unit(&mut self, unit: UnitName) -> Result<(), ClientError> {
        self.runs.remove(&unit);
        self.clamped.remove(&unit);
        self.kept.remove(&unit);
        self.piped.retain(|(of, _)| *of != unit);
        self.release_sockets(&unit)?;
        if !self.units.get(&unit).is_some_and(|def| def.sockets.is_connection()) {
            self.untold.memos.remove(&unit);
        }
        self.forget_output(&unit);
        self.sandboxes.forget(&unit);
        self.preparations.forget(&unit);
        self.resources.forget(&unit);
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove(&unit);
        }
        if self.close_connection(&unit)? {
            return self.forget_connection(unit);
        }
        self.keeper.send(&Order::DropUnit { unit }, Vec::new())
    }

    /// The pipe size that all units can have together.
    fn pipe_bytes(&self) -> usize {
        (PIPE_BUDGET_BYTES / self.units.len().max(1)).clamp(PIPE_BYTES_MIN, PIPE_BYTES_MAX)
    }

    pub(super) fn kill_tree(
        &mut self,
        run: &RunId,
        signal: Signal,
        but: Option<&ProcessKey>,
    ) -> Result<(), ClientError> {
        let spared = but.and_then(|key| self.processes.get(key)).copied();
        if signal == Signal::KILL
            && spared.is_none()
            && let Some(cgroups) = &self.cgroups
        {
            // The memo that this follows from has to be there first.
            self.keeper.post()?;
            if let Err(error) = cgroups.kill(&run.unit) {
                tracing::warn!(unit = %run.unit, error = %error, "cannot kill the cgroup; killing its processes one by one");
            }
        }
        // The groups of the main process and of the command first: they need no look at /proc. Whoever left a group is found
        // by the thread. The keeper knows a process that it was asked for before we hear of it, so this reaches a start under
        // way too.
        if but.is_none() {
            for key in self.leaders(run) {
                self.keeper.send(&Order::SignalGroup { key, signal }, Vec::new())?;
            }
        }
        if let Some(tree) = self.tree_of_run(run) {
            let meant = self.meant(run, signal, spared);
            self.tree.members(tree.clone(), meant);
            // While one lives that we know of, its end is told; a look before would find it.
            if !self.has_known(run) {
                self.tree.watch(tree);
            }
        }
        Ok(())
    }

    /// The processes of a run that we made and that lead a group each: the main one and the newest command.
    fn leaders(&self, run: &RunId) -> Vec<ProcessKey> {
        let main = ProcessKey { run: run.clone(), role: Role::Main };
        let command = self.runs.get(&run.unit).filter(|tree| tree.run == *run).and_then(|tree| tree.command.clone());
        [Some(main), command].into_iter().flatten().collect()
    }

    /// Kills what a run left behind outside its group, where no cgroup holds it.
    pub(super) fn sweep(&mut self, tree: tree::Tree) {
        if self.cgroups.is_none() {
            let meant = self.meant(&tree.run, Signal::KILL, None);
            self.untold.sweep(tree, meant);
        }
    }

    fn meant(&mut self, run: &RunId, signal: Signal, spared: Option<Pid>) -> tree::Meant {
        self.signals += 1;
        tree::Meant { run: run.clone(), signal, spared, number: self.signals }
    }

    pub(super) fn tree_of_run(&self, run: &RunId) -> Option<tree::Tree> {
        self.runs.get(&run.unit).filter(|tree| tree.run == *run).cloned()
    }

    /// Signals what the thread found of a run, except what the signal was not meant for or has reached already.
    ///
    /// What a look that came too late missed is signalled again at the run's end.
    pub(super) fn signal_members(&mut self, meant: &tree::Meant, members: &[Member]) -> Result<(), ClientError> {
        let run = &meant.run;
        if !meant.still_reaches(self.runs.get(&run.unit), self.cgroups.is_none()) {
            return Ok(());
        }
        let reached: Vec<Pid> = self.leaders(run).iter().filter_map(|key| self.processes.get(key)).copied().collect();
        for member in members {
            if Some(member.pid) == meant.spared || reached.contains(&member.pid) {
                continue;
            }
            for signal in with_cont(meant.signal) {
                let order = Order::SignalPid { pid: member.pid, start_time: member.start_time, signal };
                self.keeper.send(&order, Vec::new())?;
            }
        }
        Ok(())
    }

    fn probe(&mut self, run: RunId, place: usize, def: Arc<UnitDef>) -> Result<(), ClientError> {
        let Some(spec) = def.health.get(place) else { return Ok(()) };
        let (ProbeCheck::Exec(command) | ProbeCheck::Plugin(command)) = &*spec.check else {
            let mut used = Used::default();
            if let ProbeCheck::Memory(_) | ProbeCheck::Cpu(_) = *spec.check {
                used.counted = self.resources.places(&run.unit, &def.service.resources).map(|places| *places);
                used.main = self.node.main_pid(&run.unit);
            }
            if let ProbeCheck::Log(_) = *spec.check {
                used.output = Some(self.output_of(&run, spec.interval));
            }
            self.probes.ask(run, place, spec, used);
            return Ok(());
        };
        let key = self.probes.begin_exec(clock::now(), run, place, spec);
        self.ask_by_command(key, "health", command.clone(), def)
    }

    /// Where a run's output lies. A first look goes back to its beginning, but no further than a look of the manager before
    /// this one did.
    fn output_of(&self, run: &RunId, interval: TimeSpan) -> probe::Output {
        let now = clock::now().wall;
        let back = interval.micros().and_then(|micros| i64::try_from(micros).ok()).unwrap_or(i64::MAX);
        let earliest = Wall(now.0.saturating_sub(back));
        let begun = self.node.begun(&run.unit).map_or(now, |at| at.wall);
        let dir = self.settings.paths.logs.join(run.unit.as_str());
        let is_whole = begun >= earliest;
        let from = match self.last_words.began(run) {
            Some(place @ Bound::At(_)) if is_whole => place,
            Some(Bound::At(_) | Bound::Since(_)) | None => Bound::Since(begun.max(earliest)),
        };
        probe::Output { dir, from, is_whole, seen: Seen::default() }
    }

    /// Asks whoever keeps an external service.
    fn watch(&mut self, run: RunId, number: u32, def: Arc<UnitDef>) -> Result<(), ClientError> {
        let Some(external) = &def.external else { return Ok(()) };
        let ExternalManager::Commands { status } = &external.manager else {
            self.probes.look(run.unit, number, external.manager.clone());
            return Ok(());
        };
        let command = status.clone();
        let key = self.probes.begin_watch(clock::now(), run, number);
        self.ask_by_command(key, "status", command, def)
    }

    /// Has a command run whose end is an answer.
    fn ask_by_command(
        &mut self,
        key: ProcessKey,
        directive: &'static str,
        command: Command,
        def: Arc<UnitDef>,
    ) -> Result<(), ClientError> {
        let invocation = self.runs.get(&key.run.unit).map(|tree| tree.invocation).unwrap_or_default();
        let order = SpawnOrder {
            key,
            invocation,
            directive,
            is_start: false,
            command,
            def,
            environment: Vec::new(),
            confirm_exec: false,
            is_first: false,
        };
        self.make(&order)
    }

    fn cancel_probes(&mut self, run: &RunId) -> Result<(), ClientError> {
        for key in self.probes.cancel(run) {
            self.withdraw(&run.unit, Signal::KILL, |waiting| *waiting == key);
            self.keeper.send(&Order::Signal { key, signal: Signal::KILL }, Vec::new())?;
        }
        Ok(())
    }

    /// Ends exec probes that have taken too long.
    pub(super) fn probe_deadlines(&mut self, now: crate::base::Now) -> Result<(), ClientError> {
        for key in self.probes.overdue(now) {
            self.withdraw(&key.run.unit, Signal::KILL, |waiting| *waiting == key);
            self.keeper.send(&Order::Signal { key, signal: Signal::KILL }, Vec::new())?;
        }
        Ok(())
    }

    /// A probe came back.
    pub(super) fn probed(&mut self, run: RunId, probe: usize, outcome: ProbeOutcome) {
        self.probes.done(&run, probe);
        self.node.handle(clock::now(), Input::Probed { run, probe, outcome });
    }

    /// A datagram of the notify socket, whose sender was found to belong to `run`.
    pub(super) fn notified(&mut self, run: RunId, sender: Sender, pid: i32, datagram: notify::Datagram) {
        self.node.handle(clock::now(), Input::Notified { run, sender, pid, message: datagram.message });
    }
}

/// Why a process was not ordered.
pub(super) enum Unprepared {
    /// The keeper is gone.
    Keeper(ClientError),
    /// This cannot be started now; the machine is told, and why, for people.
    Failed(SpawnFailure, String),
}

/// Tells people why a process is not ordered.
pub(super) fn refuse(
    order: &SpawnOrder,
    error: &(dyn std::error::Error + 'static),
    failure: SpawnFailure,
) -> Unprepared {
    let (unit, command) = (&order.key.run.unit, order.directive);
    tracing::error!(unit = %unit, command, error = %Chain(error), "cannot start a process");
    Unprepared::Failed(failure, Chain(error).to_string())
}

/// A stopped process takes a deadly signal only when it goes on (systemd.kill(5)).
fn with_cont(signal: Signal) -> impl Iterator<Item = Signal> {
    [signal, Signal::CONT].into_iter().take(if signal == Signal::KILL { 1 } else { 2 })
}

/// The pipe that an output goes to, if it is captured.
const fn piped(output: &Output) -> Option<Stream> {
    match output {
        Output::Log(stream) => Some(*stream),
        Output::Null
        | Output::Inherit
        | Output::File { .. }
        | Output::Terminal { .. }
        | Output::Stored(_)
        | Output::Stdin
        | Output::Stdout
        | Output::Passed => None,
    }
}
