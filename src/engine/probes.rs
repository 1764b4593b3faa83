//! Probes under way: those that are commands are processes of the keeper's like all others, the rest are tasks.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{runtime, sync::mpsc};

use super::handle::Report;
use crate::{
    base::{ExitStatus, Mono, Now, ProcessKey, Role, RunId, SpawnFailure, TimeSpan},
    edge::probe::{Prober, Sample, Used},
    node::input::{Finding, ProbeOutcome},
    unit::spec::{ProbeCheck, ProbeSpec},
};

/// What monitoring plugins end with when all is not well but works, and when they cannot tell.
const PLUGIN_WARNING: u8 = 1;
const PLUGIN_UNKNOWN: u8 = 3;

/// Where probes run and which are under way.
#[derive(Debug)]
pub(super) struct Probes {
    runtime: runtime::Handle,
    prober: Arc<Prober>,
    reporter: mpsc::UnboundedSender<Report>,
    /// Tasks by run and place.
    tasks: BTreeMap<(RunId, usize), tokio::task::AbortHandle>,
    /// What was seen last of CPU time.
    samples: BTreeMap<(RunId, usize), Sample>,
    /// Processes.
    execs: BTreeMap<ProcessKey, Exec>,
    next: u32,
}

#[derive(Debug)]
struct Exec {
    probe: usize,
    is_plugin: bool,
    started: Mono,
    deadline: Option<Mono>,
    timeout: TimeSpan,
    timed_out: bool,
}

impl Probes {
    pub(super) fn new(runtime: runtime::Handle, reporter: mpsc::UnboundedSender<Report>) -> Self {
        Self {
            runtime,
            prober: Arc::default(),
            reporter,
            tasks: BTreeMap::new(),
            samples: BTreeMap::new(),
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
        self.next = self.next.wrapping_add(1);
        let key = ProcessKey { run, role: Role::Probe(self.next) };
        let exec = Exec {
            probe: place,
            is_plugin: matches!(*spec.check, ProbeCheck::Plugin(_)),
            started: now.mono,
            deadline: now.mono.after(spec.timeout),
            timeout: spec.timeout,
            timed_out: false,
        };
        self.execs.insert(key.clone(), exec);
        key
    }

    /// A probe's process ended: whose probe it was and what it found.
    pub(super) fn end_exec(&mut self, now: Now, key: &ProcessKey, status: ExitStatus) -> Option<(usize, ProbeOutcome)> {
        let exec = self.execs.remove(key)?;
        let finding = match status {
            _ if exec.timed_out => Finding::Bad(format!("no answer within {}", exec.timeout)),
            ExitStatus::Exited(0) => Finding::Good,
            ExitStatus::Exited(PLUGIN_WARNING) if exec.is_plugin => Finding::Degraded(status.to_string()),
            ExitStatus::Exited(PLUGIN_UNKNOWN) if exec.is_plugin => Finding::Unasked(status.to_string()),
            ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => {
                Finding::Bad(status.to_string())
            }
        };
        Some((exec.probe, ProbeOutcome { finding, took: now.mono.since(exec.started) }))
    }

    /// A probe's process could not be started.
    pub(super) fn fail_exec(&mut self, key: &ProcessKey, failure: SpawnFailure) -> Option<(usize, ProbeOutcome)> {
        let exec = self.execs.remove(key)?;
        let reason = failure.to_string();
        let finding = if failure.is_shortage() { Finding::Unasked(reason) } else { Finding::Bad(reason) };
        Some((exec.probe, ProbeOutcome { finding, took: std::time::Duration::ZERO }))
    }

    /// The probe came back: its task is no more.
    pub(super) fn done(&mut self, run: &RunId, place: usize) {
        self.tasks.remove(&(run.clone(), place));
    }

    /// Forgets the probes of a run; the processes among them are to be killed.
    pub(super) fn cancel(&mut self, run: &RunId) -> Vec<ProcessKey> {
        let of_run = (run.clone(), 0)..=(run.clone(), usize::MAX);
        self.samples.retain(|key, _| !of_run.contains(key));
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
