//! Probes under way: those that are commands are processes of the keeper's like all others, the rest are tasks.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{runtime, sync::mpsc};

use super::{Engine, handle::Report};
use crate::{
    base::{ExitStatus, Mono, Now, ProcessKey, Role, RunId, RunResult, Signal, SpawnFailure, TimeSpan, UnitName},
    edge::probe::{Prober, Sample, Seen, Used, Words},
    keeper::client::{ClientError, Snapshot},
    node::{
        Input,
        effect::HostOrder,
        input::{Finding, Life, LifeEnd, Past, ProbeOutcome, Sight},
    },
    unit::spec::{ExternalManager, ProbeCheck, ProbeSpec},
    wire::keeper::Order,
};

/// What monitoring plugins end with when all is not well but works, when it does not, and when they cannot tell.
const PLUGIN_WARNING: u8 = 1;
const PLUGIN_CRITICAL: u8 = 2;
const PLUGIN_UNKNOWN: u8 = 3;
/// How long a status command of an external service may take.
const STATUS_TIMEOUT: TimeSpan = TimeSpan::from_secs(10);

/// Where probes run and which are under way.
#[derive(Debug)]
pub(super) struct Probes {
    runtime: runtime::Handle,
    prober: Arc<Prober>,
    reporter: mpsc::UnboundedSender<Report>,
    /// Tasks by run and place.
    tasks: BTreeMap<(RunId, usize), tokio::task::AbortHandle>,
    /// Questions to those who keep external services, the newest of each unit.
    looks: BTreeMap<UnitName, tokio::task::AbortHandle>,
    /// What was seen last of CPU time.
    samples: BTreeMap<(RunId, usize), Sample>,
    /// How far output was read.
    outputs: BTreeMap<(RunId, usize), Seen>,
    /// Processes.
    execs: BTreeMap<ProcessKey, Exec>,
    next: u32,
}

#[derive(Debug)]
struct Exec {
    asks: Asks,
    started: Mono,
    deadline: Option<Mono>,
    timeout: TimeSpan,
    timed_out: bool,
    /// What it writes.
    words: Option<Words>,
}

/// What a command is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Whether a service is well, for the probe in this place; a plugin says more than yes or no.
    Probe { place: usize, is_plugin: bool },
    /// Whether an external service is up; the number of the question.
    Watch { number: u32 },
}

impl Probes {
    pub(super) fn new(runtime: runtime::Handle, reporter: mpsc::UnboundedSender<Report>) -> Self {
        Self {
            runtime,
            prober: Arc::default(),
            reporter,
            tasks: BTreeMap::new(),
            looks: BTreeMap::new(),
            samples: BTreeMap::new(),
            outputs: BTreeMap::new(),
            execs: BTreeMap::new(),
            next: 0,
        }
    }

    /// Sends a probe that needs no process; comes back as [`Report::Probed`].
    pub(super) fn ask(&mut self, run: RunId, place: usize, spec: &ProbeSpec, mut used: Used) {
        let check = spec.check.clone();
        let timeout = spec.timeout;
        if let ProbeCheck::Cpu(_) = *check {
            used.last = Arc::clone(self.samples.entry((run.clone(), place)).or_default());
        }
        if let Some(output) = &mut used.output {
            output.seen = self.outputs.entry((run.clone(), place)).or_default().clone();
        }
        let (prober, reporter) = (Arc::clone(&self.prober), self.reporter.clone());
        let reported = run.clone();
        let task = self.runtime.spawn(async move {
            let outcome = prober.ask(&check, Some(&used), timeout).await;
            // The engine is gone: nobody wants to know.
            reporter.send(Report::Probed { run: reported, probe: place, outcome }).ok();
        });
        self.tasks.insert((run, place), task.abort_handle());
    }

    /// Names the process of an exec probe that begins now.
    pub(super) fn begin_exec(&mut self, now: Now, run: RunId, place: usize, spec: &ProbeSpec) -> ProcessKey {
        let is_plugin = matches!(*spec.check, ProbeCheck::Plugin(_));
        self.begin(now, run, Asks::Probe { place, is_plugin }, spec.timeout)
    }

    /// Names the process of a status command that begins now.
    pub(super) fn begin_watch(&mut self, now: Now, run: RunId, number: u32) -> ProcessKey {
        self.begin(now, run, Asks::Watch { number }, STATUS_TIMEOUT)
    }

    /// No process of ours is called as that one of an earlier manager, which the keeper may still know.
    pub(super) fn pass_over(&mut self, number: u32) {
        self.next = self.next.max(number);
    }

    fn begin(&mut self, now: Now, run: RunId, asks: Asks, timeout: TimeSpan) -> ProcessKey {
        self.next = self.next.wrapping_add(1);
        let key = ProcessKey { run, role: Role::Probe(self.next) };
        let deadline = now.mono.after(timeout);
        let exec = Exec { asks, started: now.mono, deadline, timeout, timed_out: false, words: None };
        self.execs.insert(key.clone(), exec);
        key
    }

    /// Listens to what a probe's process writes, which is about to be made; the other end is for that. Where there is no
    /// descriptor left, its exit code is all that it says.
    pub(super) fn hear(&mut self, key: &ProcessKey) -> Option<OwnedFd> {
        let exec = self.execs.get_mut(key).filter(|exec| matches!(exec.asks, Asks::Probe { .. }))?;
        let (words, writer) = Words::listen(&self.runtime).ok()?;
        exec.words = Some(words);
        Some(writer)
    }

    /// Asks the manager of an external service that needs no process for it; comes back as [`Report::Watched`].
    pub(super) fn look(&mut self, unit: UnitName, number: u32, manager: ExternalManager) {
        let (prober, reporter, of) = (Arc::clone(&self.prober), self.reporter.clone(), unit.clone());
        let task = self.runtime.spawn(async move {
            let sight = prober.look(&manager).await;
            // The engine is gone: nobody wants to know.
            reporter.send(Report::Watched { unit: of, number, sight }).ok();
        });
        if let Some(older) = self.looks.insert(unit, task.abort_handle()) {
            older.abort();
        }
    }

    /// Has the host's systemd do something with a unit of its own.
    pub(super) fn order_host(&self, unit: UnitName, host: Box<str>, order: HostOrder) {
        let prober = Arc::clone(&self.prober);
        self.runtime.spawn(async move {
            if let Err(why) = prober.order(&host, order).await {
                tracing::warn!(unit = %unit, host = &*host, ?order, why, "systemd does not do what it was asked for");
            }
        });
    }

    /// A probe's process ended: what the machine is told.
    pub(super) fn end_exec(&mut self, now: Now, key: &ProcessKey, status: ExitStatus) -> Option<Input> {
        let exec = self.execs.remove(key)?;
        let took = now.mono.since(exec.started);
        let late = exec.timed_out.then(|| format!("no answer within {}", exec.timeout));
        Some(match exec.asks {
            Asks::Probe { place, is_plugin } => {
                let said = exec.words.as_ref().and_then(Words::first_line);
                let finding = late.map_or_else(|| finding(status, is_plugin, said), Finding::Bad);
                probed(key, place, finding, took)
            }
            Asks::Watch { number } => {
                let sight = late.map_or_else(|| sight(status), |late| Sight::Unasked(late.into()));
                Input::Watched { unit: key.run.unit.clone(), number, sight }
            }
        })
    }

    /// A probe's process could not be started: what the machine is told.
    pub(super) fn fail_exec(&mut self, key: &ProcessKey, failure: SpawnFailure) -> Option<Input> {
        let exec = self.execs.remove(key)?;
        let reason = failure.to_string();
        Some(match exec.asks {
            Asks::Probe { place, .. } => {
                let finding = if failure.is_shortage() { Finding::Unasked(reason) } else { Finding::Bad(reason) };
                probed(key, place, finding, Duration::ZERO)
            }
            Asks::Watch { number } => {
                let sight = Sight::Unasked(format!("cannot run the status command: {reason}").into());
                Input::Watched { unit: key.run.unit.clone(), number, sight }
            }
        })
    }

    /// The probe came back: its task is no more.
    pub(super) fn done(&mut self, run: &RunId, place: usize) {
        self.tasks.remove(&(run.clone(), place));
    }

    /// Forgets the probes of a run; the processes among them are to be killed.
    pub(super) fn cancel(&mut self, run: &RunId) -> Vec<ProcessKey> {
        let of_run = (run.clone(), 0)..=(run.clone(), usize::MAX);
        self.samples.retain(|key, _| !of_run.contains(key));
        self.outputs.retain(|key, _| !of_run.contains(key));
        let tasks: Vec<_> = self.tasks.range(of_run).map(|(key, _)| key.clone()).collect();
        for key in tasks {
            if let Some(task) = self.tasks.remove(&key) {
                task.abort();
            }
        }
        let execs: Vec<_> = self.execs.keys().filter(|key| key.run == *run).cloned().collect();
        execs.into_iter().filter(|key| self.execs.remove(key).is_some()).collect()
    }

    /// When the next exec probe has taken too long.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.execs.values().filter_map(|exec| exec.deadline).min()
    }

    /// Exec probes that have taken too long; they are to be killed and end as failures.
    pub(super) fn overdue(&mut self, now: Now) -> Vec<ProcessKey> {
        let mut keys = Vec::new();
        for (key, exec) in &mut self.execs {
            if exec.deadline.is_some_and(|deadline| deadline <= now.mono) {
                (exec.deadline, exec.timed_out) = (None, true);
                keys.push(key.clone());
            }
        }
        keys
    }
}

impl Engine {
    /// Nobody waits for the answers that an earlier manager wanted.
    pub(super) fn end_left_probes(&mut self, snapshot: &Snapshot) -> Result<(), ClientError> {
        for process in &snapshot.processes {
            if let Role::Probe(number) = process.key.role {
                self.probes.pass_over(number);
                self.keeper.send(&Order::Signal { key: process.key.clone(), signal: Signal::KILL }, Vec::new())?;
            }
        }
        Ok(())
    }
}

fn probed(key: &ProcessKey, place: usize, finding: Finding, took: Duration) -> Input {
    Input::Probed { run: key.run.clone(), probe: place, outcome: ProbeOutcome { finding, took } }
}

/// What a command found; what it `said` is the reason. The exit code of a plugin is in the finding already.
fn finding(status: ExitStatus, is_plugin: bool, said: Option<String>) -> Finding {
    let told = || said.clone().map_or_else(|| status.to_string(), |said| format!("{said} ({status})"));
    let plain = || said.clone().unwrap_or_else(|| status.to_string());
    match status {
        ExitStatus::Exited(0) => Finding::Good,
        ExitStatus::Exited(PLUGIN_WARNING) if is_plugin => Finding::Degraded(plain()),
        ExitStatus::Exited(PLUGIN_CRITICAL) if is_plugin => Finding::Bad(plain()),
        ExitStatus::Exited(PLUGIN_UNKNOWN) if is_plugin => Finding::Unasked(plain()),
        ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => Finding::Bad(told()),
    }
}

/// What `status` of an LSB init script means by its exit code: 1 and 2 are a service that died and left its files. How it
/// ended nobody knows; 3 is an orderly stop.
fn sight(status: ExitStatus) -> Sight {
    let down = |said: &str, result| Sight::Down {
        said: said.into(),
        end: LifeEnd { result, status: None },
        past: Past::default(),
    };
    match status {
        ExitStatus::Exited(0) => {
            Sight::Up { said: "up".into(), life: Life { id: "".into(), restarts: None }, began: None, limit: None }
        }
        ExitStatus::Exited(1 | 2) => down("dead", RunResult::Unknown),
        ExitStatus::Exited(3) => down("down", RunResult::Success),
        ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => {
            Sight::Unasked(format!("the status command says nothing ({status})").into())
        }
    }
}
