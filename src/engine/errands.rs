//! Commands that are of no unit: those of alert routes, and what a fleet has run.
//!
//! The keeper knows every process by a run of a unit. So an errand has a name that no unit's file can have, and each time it is done is a
//! run under it: orders, facts, the cgroup and the kill of a whole tree are those of any process, the order for a real unit
//! never reaches it, and neither the node machine nor `status` has heard of it. What a manager leaves under way, the next one
//! ends: a message is still in the outbox, and is sent again as a possible duplicate; of a step the ledger knows that it is not over.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Engine,
    dispatch::Unprepared,
    handle::Report,
    resources::Disks,
    tree::{Found, Tree},
};
use crate::{
    base::{Chain, Generation, InvocationId, Mono, Now, Pid, ProcessKey, Rng, Role, RunId, Signal, UnitName},
    edge::{
        clock,
        errand::{self, Errand, ErrandAsk, ErrandEnd, ErrandInput, ErrandName},
    },
    keeper::client::{ClientError, Pending, Snapshot},
    node::effect::SpawnOrder,
    unit::{
        UnitDef,
        spec::{Command, Privilege},
    },
    wire::keeper::{Input, ManagerCause, Order, Output},
};

/// How the names of errands begin and end in the keeper. A unit's file cannot have this suffix.
const OF_ROUTES: &str = "roundsman-alert-";
const OF_HOSTS: &str = "roundsman-ssh-";
const OF_STEPS: &str = "roundsman-step-";
const OF_POOLS: &str = "roundsman-pool-";
const SUFFIX: &str = ".scope";
/// A run has one process.
const ROLE: Role = Role::Probe(0);
/// How long the daemon's end waits for the processes of commands that it has killed.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Commands, at most one of each name.
#[derive(Debug)]
pub(super) struct Errands {
    asker: errand::Errands,
    asked: mpsc::UnboundedReceiver<ErrandAsk>,
    under_way: BTreeMap<UnitName, UnderWay>,
    /// Those that wait for the end of one before, at most one of each name.
    waiting: BTreeMap<UnitName, Errand>,
    /// The newest run of all.
    newest: Generation,
    rng: Rng,
}

#[derive(Debug)]
struct UnderWay {
    key: ProcessKey,
    /// When it has taken too long; `None` once it was killed.
    deadline: Option<Mono>,
    /// Where its process will write to, until it is made.
    output: Option<OwnedFd>,
    /// Who waits for its end, if anybody still does.
    reply: Option<oneshot::Sender<ErrandEnd>>,
}

impl Errands {
    /// Those that are asked for.
    pub(super) fn new(asker: errand::Errands, asked: mpsc::UnboundedReceiver<ErrandAsk>, seed: u64) -> Self {
        let (under_way, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self { asker, asked, under_way, waiting, newest: Generation::default(), rng: Rng::new(seed) }
    }

    /// Where they are asked for.
    pub(super) fn asker(&self) -> errand::Errands {
        self.asker.clone()
    }

    /// Waits for the next one that is asked for.
    pub(super) async fn next(&mut self) -> Option<ErrandAsk> {
        self.asked.recv().await
    }

    /// Whether that process is one of these and has not ended.
    pub(super) fn has(&self, key: &ProcessKey) -> bool {
        self.under_way.get(&key.run.unit).is_some_and(|under_way| under_way.key == *key)
    }

    /// Where a process that is about to be made writes to.
    pub(super) fn output(&mut self, key: &ProcessKey) -> Option<OwnedFd> {
        self.under_way.get_mut(&key.run.unit).filter(|under_way| under_way.key == *key)?.output.take()
    }

    /// When the next one has taken too long.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.under_way.values().filter_map(|under_way| under_way.deadline).min()
    }

    /// Those that have taken too long, which is told.
    fn overdue(&mut self, now: Now) -> Vec<RunId> {
        let mut runs = Vec::new();
        for under_way in self.under_way.values_mut() {
            if under_way.deadline.is_some_and(|deadline| deadline <= now.mono) {
                under_way.deadline = None;
                tell(under_way.reply.take(), ErrandEnd::Late);
                runs.push(under_way.key.run.clone());
            }
        }
        runs
    }

    /// Puts one off until that under way has ended. Whoever asked for one before may have gone.
    fn put_off(&mut self, unit: UnitName, errand: Errand) {
        if self.waiting.get(&unit).is_some_and(|waiting| !waiting.reply.is_closed()) {
            tell(Some(errand.reply), ErrandEnd::Busy);
        } else {
            self.waiting.insert(unit, errand);
        }
    }

    fn invocation(&mut self) -> InvocationId {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u64());
        InvocationId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }
}

/// Whoever asked may have gone.
fn tell(reply: Option<oneshot::Sender<ErrandEnd>>, end: ErrandEnd) {
    reply.and_then(|reply| reply.send(end).ok());
}

/// What it is called in the keeper.
fn unit_of(name: &ErrandName) -> Option<UnitName> {
    let name = match name {
        ErrandName::Route(route) => format!("{OF_ROUTES}{route}{SUFFIX}"),
        ErrandName::Host(node) => format!("{OF_HOSTS}{node}{SUFFIX}"),
        ErrandName::Step(step) => format!("{OF_STEPS}{step}{SUFFIX}"),
        ErrandName::Pool(pool, verb) => format!("{OF_POOLS}{verb}-{pool}{SUFFIX}"),
    };
    UnitName::new(&name).ok()
}

fn is_errand(unit: &UnitName) -> bool {
    let name = unit.as_str();
    [OF_ROUTES, OF_HOSTS, OF_STEPS, OF_POOLS].iter().any(|prefix| name.starts_with(prefix)) && name.ends_with(SUFFIX)
}

/// The command as a process of a unit that sets nothing else.
fn order(key: ProcessKey, invocation: InvocationId, errand: &Errand) -> SpawnOrder {
    let program = &errand.program;
    let mut def = UnitDef::new(key.run.unit.clone());
    let exec = &mut def.service.exec;
    exec.user = program.user.as_ref().map(|user| user.name.as_str().into());
    exec.environment =
        program.environment.iter().map(|(name, value)| (name.as_str().into(), value.expose().into())).collect();
    let command = Command {
        program: program.path.as_str().into(),
        argv: program.argv.iter().map(|word| word.as_str().into()).collect(),
        ignore_failure: false,
        // Variables say what the message says, which is nobody's to read.
        literal: true,
        privilege: Privilege::Unit,
    };
    SpawnOrder {
        key,
        invocation,
        directive: "command",
        is_start: false,
        command,
        def: Arc::new(def),
        environment: errand.variables.clone(),
        confirm_exec: false,
        is_first: false,
    }
}

impl Engine {
    pub(super) fn take_errand(&mut self, ask: ErrandAsk) -> Result<(), ClientError> {
        match ask {
            ErrandAsk::Run(errand) => self.run_errand(*errand),
            ErrandAsk::End(name) => {
                let run =
                    unit_of(&name).and_then(|unit| self.errands.under_way.get(&unit)).map(|it| it.key.run.clone());
                run.map_or(Ok(()), |run| self.kill_tree(&run, Signal::KILL, None))
            }
        }
    }

    /// Has a command run as soon as none of its name is under way.
    fn run_errand(&mut self, errand: Errand) -> Result<(), ClientError> {
        // Every name makes one.
        let Some(unit) = unit_of(&errand.name) else { return Ok(()) };
        if self.errands.under_way.contains_key(&unit) {
            self.errands.put_off(unit, errand);
            return Ok(());
        }
        self.errands.newest = self.errands.newest.next();
        let run = RunId { unit: unit.clone(), generation: self.errands.newest };
        let key = ProcessKey { run: run.clone(), role: ROLE };
        let invocation = self.errands.invocation();
        let order = order(key.clone(), invocation, &errand);
        let Errand { program, input, output, reply, .. } = errand;
        let deadline = clock::now().mono.after(program.timeout);
        let under_way = UnderWay { key: key.clone(), deadline, output: Some(output), reply: Some(reply) };
        self.errands.under_way.insert(unit.clone(), under_way);
        // As the newest command of its run it is reached by what reaches a whole tree.
        let tree = Tree { command: Some(key.clone()), signals_before: self.signals, ..Tree::new(&run, invocation) };
        self.runs.insert(unit.clone(), tree);
        let mut spec = match self.launcher.spec(program.user.as_ref(), &order, &[]) {
            Ok(spec) => spec,
            Err(error) => {
                tracing::error!(unit = %unit, error = %Chain(&error), "cannot start a process");
                return self.errand_ended(&key, ErrandEnd::NotRun(error.failure()));
            }
        };
        spec.stdin = match input {
            ErrandInput::Data(bytes) => Input::Data(bytes),
            ErrandInput::Output => Input::Passed,
        };
        spec.stderr = Output::Stdout;
        match self.hand_over(&order, program.user.as_ref(), spec, &Disks::default()) {
            Ok(()) => Ok(()),
            Err(Unprepared::Failed(failure, _)) => self.errand_ended(&key, ErrandEnd::NotRun(failure)),
            Err(Unprepared::Keeper(error)) => Err(error),
        }
    }

    /// A command ended, or never ran. What it has left behind ends with it.
    pub(super) fn errand_ended(&mut self, key: &ProcessKey, end: ErrandEnd) -> Result<(), ClientError> {
        let unit = &key.run.unit;
        if let Some(under_way) = self.errands.under_way.remove(unit) {
            tell(under_way.reply, end);
        }
        if let Some(tree) = self.runs.remove(unit) {
            self.end_leftovers(tree);
        }
        self.keeper.send(&Order::AckExit { key: key.clone() }, Vec::new())?;
        // Nothing of it has to be known any more.
        self.keeper.send(&Order::DropInstance { unit: unit.clone() }, Vec::new())?;
        let next = self.errands.waiting.remove(unit).filter(|next| !next.reply.is_closed());
        next.map_or(Ok(()), |next| self.run_errand(next))
    }

    fn end_leftovers(&mut self, tree: Tree) {
        let Some(cgroups) = &self.cgroups else { return self.sweep(tree) };
        let unit = &tree.run.unit;
        if !cgroups.is_empty(unit).unwrap_or(true)
            && let Err(error) = cgroups.kill(unit)
        {
            tracing::warn!(unit = %unit, %error, "cannot end what a command has left behind");
        }
        cgroups.remove(unit);
    }

    /// The command exists.
    pub(super) fn errand_spawned(&mut self, key: &ProcessKey, pid: Pid) {
        if let Some(tree) = self.runs.get_mut(&key.run.unit).filter(|tree| tree.run == key.run) {
            tree.main = Some(pid);
        }
    }

    /// Ends those that have taken too long.
    pub(super) fn errand_deadlines(&mut self, now: Now) -> Result<(), ClientError> {
        self.errands.overdue(now).iter().try_for_each(|run| self.kill_tree(run, Signal::KILL, None))
    }

    /// Ends what an earlier manager has left, which nobody waits for any more, and takes it out of the snapshot: it is of no
    /// unit.
    pub(super) fn end_left_errands(&mut self, snapshot: &mut Snapshot) -> Result<(), ClientError> {
        let is_orphaned = snapshot.cause == ManagerCause::Boot;
        for pending in snapshot.pending.extract_if(.., |pending| pending_of(pending).is_some_and(is_errand)) {
            match pending {
                Pending::Exited(exit) => {
                    let tree = Tree { main: Some(exit.pid), is_orphaned, ..Tree::new(&exit.key.run, exit.invocation) };
                    self.runs.insert(exit.key.run.unit.clone(), tree);
                    self.errand_ended(&exit.key, ErrandEnd::Ended(exit.status))?;
                }
                Pending::SpawnFailed(key, failure) => self.errand_ended(&key, ErrandEnd::NotRun(failure))?,
                Pending::ExitsAggregated { unit, count, .. } => {
                    self.keeper.send(&Order::AckAggregated { unit, count }, Vec::new())?;
                }
                Pending::Notified(notified, _) => {
                    self.keeper.send(&Order::AckNotified { seq: notified.seq }, Vec::new())?;
                }
            }
        }
        let left: Vec<_> = snapshot.processes.extract_if(.., |process| is_errand(&process.key.run.unit)).collect();
        for record in snapshot.units.extract_if(.., |record| is_errand(&record.unit)) {
            self.errands.newest = self.errands.newest.max(record.generation);
            if left.iter().all(|process| process.key.run.unit != record.unit) {
                self.keeper.send(&Order::DropInstance { unit: record.unit }, Vec::new())?;
            }
        }
        for process in left {
            let key = process.key.clone();
            tracing::info!(unit = %key.run.unit, pid = %process.pid, "a command of an earlier manager is ended");
            self.adopt(&process);
            if let Some(tree) = self.runs.get_mut(&key.run.unit) {
                (tree.main, tree.command) = (Some(process.pid), Some(key.clone()));
            }
            let run = key.run.clone();
            self.errands
                .under_way
                .insert(run.unit.clone(), UnderWay { key, deadline: None, output: None, reply: None });
            self.kill_tree(&run, Signal::KILL, None)?;
        }
        Ok(())
    }

    /// At the daemon's end: nothing of them outlives us. Their messages are in the outbox.
    pub(super) async fn end_errands(&mut self) -> Result<(), ClientError> {
        let mut left: Vec<RunId> = self.errands.under_way.values().map(|under_way| under_way.key.run.clone()).collect();
        // Nobody waits for what is not begun any more.
        self.errands.asked.close();
        self.errands.waiting.clear();
        for run in &left {
            self.kill_tree(run, Signal::KILL, None)?;
        }
        let gone = async {
            while !left.is_empty() {
                self.keeper.post()?;
                self.tree.set_known(self.known_children());
                self.tree.post();
                tokio::select! {
                    incoming = self.keeper.recv() => self.take_incoming(incoming?)?,
                    Some(report) = self.reports.recv() => {
                        if let Report::Tree(Found::Empty(run)) = &report {
                            left.retain(|known| known != run);
                        }
                        self.take_report(report)?;
                    }
                }
            }
            Ok(())
        };
        timeout(GONE_WITHIN, gone).await.unwrap_or_else(|_| {
            tracing::warn!("the processes of a command of ours do not end");
            Ok(())
        })
    }
}

/// Whom it is about.
fn pending_of(pending: &Pending) -> Option<&UnitName> {
    match pending {
        Pending::Exited(exit) => Some(&exit.key.run.unit),
        Pending::SpawnFailed(key, _) => Some(&key.run.unit),
        Pending::ExitsAggregated { unit, .. } => Some(unit),
        Pending::Notified(notified, _) => notified.key.as_ref().map(|key| &key.run.unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::RouteName,
        fleet::{NodeName, PoolName, StepId},
        unit::SourceText,
    };

    #[test]
    fn no_units_file_can_have_the_name_of_an_errand() {
        let route = RouteName::new(&"a".repeat(64)).expect("a name");
        let node = NodeName::new(&"a".repeat(64)).expect("a name");
        let pool = ErrandName::Pool(PoolName::new(&"a".repeat(64)).expect("a name"), "undrain");
        for longest in [ErrandName::Route(route), ErrandName::Host(node), ErrandName::Step(StepId([0xff; 16])), pool] {
            let name = unit_of(&longest).expect("it is a unit name as well");
            assert!(is_errand(&name) && name.template().is_none());
            assert!(SourceText::new(format!("{name}.toml"), "").is_err(), "a file can have this name: {name}");
        }
        assert!(!is_errand(&UnitName::new("roundsman-alert-ops").expect("a name")), "a real unit can");
    }
}
