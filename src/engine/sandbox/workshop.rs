//! Sandboxes are laid out beside the loop: paths are looked up and directories made, and either may lie on a disk that
//! hangs. Then the unit that asked waits, and nobody else: a thread that hangs has one unit's order in its hands.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::libc;
use tokio::sync::mpsc;

use super::SandboxError;
use crate::{
    base::{InvocationId, ProcessKey, SpawnStep, confinement::Confinement},
    edge::{private_tmp, sandbox as host},
    engine::handle::Report,
    unit::{
        UnitDef,
        sandbox::{Feature, Host, Machine, needs, plan},
        spec::{SandboxFallback, SandboxSpec, Switch},
    },
};

/// More than are ever at work, unless disks hang.
const THREADS_MAX: usize = 64;
/// A path is looked up part by part, on the stack.
const STACK_BYTES: usize = 256 << 10;

/// A process whose sandbox is wanted.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: ProcessKey,
    pub(super) invocation: InvocationId,
    pub(super) def: Arc<UnitDef>,
    /// Directories of the unit's own.
    pub(super) writable: Vec<PathBuf>,
    /// Whether the process is root's.
    pub(super) is_root: bool,
}

/// What came of a job.
#[derive(Debug)]
pub struct LaidOut {
    pub(super) key: ProcessKey,
    pub(super) invocation: InvocationId,
    /// The run's own directories for temporary files, where it has them.
    pub(super) private_tmp: Vec<PathBuf>,
    /// What the host lacks of it, for people.
    pub(super) unmet: Option<String>,
    pub(super) result: Result<Layout, SandboxError>,
}

/// What a process takes.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) confinement: Confinement,
    pub(super) no_new_privs: bool,
}

/// The threads, and what they share. Without work there are none.
#[derive(Debug)]
pub(super) struct Workshop {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bench: Mutex<Bench>,
    ground: Mutex<Ground>,
    /// What is put over things that are not to be seen.
    masks: PathBuf,
    /// Tells daemons on one host apart.
    instance: String,
    reporter: mpsc::UnboundedSender<Report>,
}

#[derive(Debug, Default)]
struct Bench {
    jobs: VecDeque<Job>,
    threads: usize,
}

/// What was found out of the host; nothing is tried before a unit needs it.
#[derive(Debug, Default)]
struct Ground {
    features: BTreeMap<Feature, Option<i32>>,
    admin: Option<bool>,
    masks_made: bool,
}

impl Workshop {
    pub(super) fn new(runtime_dir: &Path, instance: String, reporter: mpsc::UnboundedSender<Report>) -> Self {
        let masks = host::absolute(&runtime_dir.join("inaccessible"));
        let shared = Shared { bench: Mutex::default(), ground: Mutex::default(), masks, instance, reporter };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// Begins a job; what came of it comes back as a report.
    ///
    /// # Errors
    /// When there is no thread for it and none can be had.
    pub(super) fn begin(&self, job: Job) -> io::Result<()> {
        let mut bench = lock(&self.shared.bench);
        bench.jobs.push_back(job);
        if bench.threads >= THREADS_MAX {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("sandbox".into()).stack_size(STACK_BYTES);
        match thread.spawn(move || shared.work()) {
            Ok(_) => bench.threads += 1,
            // Those that are at work will come to it.
            Err(_) if bench.threads > 0 => {}
            Err(error) => {
                bench.jobs.pop_back();
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            let done = self.carry_out(job);
            // Nobody listens once the daemon ends.
            self.reporter.send(Report::Sandbox(Box::new(done))).ok();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut bench = lock(&self.bench);
        let job = bench.jobs.pop_front();
        if job.is_none() {
            bench.threads -= 1;
        }
        job
    }

    fn carry_out(&self, job: Job) -> LaidOut {
        let mut done = LaidOut {
            key: job.key.clone(),
            invocation: job.invocation,
            private_tmp: Vec::new(),
            unmet: None,
            result: Ok(Layout::default()),
        };
        if let Some(sandbox) = job.def.service.exec.sandbox.as_deref() {
            done.result = self.lay_out(&job, sandbox, &mut done.private_tmp, &mut done.unmet);
        }
        done
    }

    fn lay_out(
        &self,
        job: &Job,
        sandbox: &SandboxSpec,
        made: &mut Vec<PathBuf>,
        unmet: &mut Option<String>,
    ) -> Result<Layout, SandboxError> {
        let lacking = self.lacking(sandbox, unmet)?;
        let mounts = !lacking.contains(&Feature::Mounts);
        if mounts {
            self.make_masks()?;
        }
        let private_tmp = if mounts && sandbox.on.has(Switch::PrivateTmp) {
            let places = private_tmp::make(&self.instance, job.invocation, job.key.run.unit.as_str());
            let places = places.map_err(SandboxError::PrivateTmp)?;
            made.extend(places.iter().cloned());
            Some(places.map(|outer| private_tmp::shown(&outer)))
        } else {
            None
        };
        let host = Host {
            look: &host::look,
            masks: &self.masks,
            private_tmp: private_tmp.as_ref().map(|[tmp, var_tmp]| [&**tmp, &**var_tmp]),
            writable: &job.writable,
            machine: Machine::HERE,
        };
        let confinement = plan(sandbox, &host, &lacking);
        let stays_admin = job.is_root && self.is_admin();
        let no_new_privs = !confinement.filter.is_empty() && !stays_admin;
        Ok(Layout { confinement, no_new_privs })
    }

    fn make_masks(&self) -> Result<(), SandboxError> {
        let mut ground = lock(&self.ground);
        if !ground.masks_made {
            let failed = |source| SandboxError::Masks { path: self.masks.clone(), source };
            host::make_masks(&self.masks).map_err(failed)?;
            ground.masks_made = true;
        }
        Ok(())
    }

    /// Whether root may put a filter in force without giving up new privileges: seccomp(2).
    fn is_admin(&self) -> bool {
        *lock(&self.ground).admin.get_or_insert_with(host::is_admin)
    }

    /// What the sandbox needs and the host lacks.
    fn lacking(
        &self,
        sandbox: &SandboxSpec,
        for_people: &mut Option<String>,
    ) -> Result<BTreeSet<Feature>, SandboxError> {
        let mut ground = lock(&self.ground);
        let mut lacking = BTreeSet::new();
        let mut unmet = Vec::new();
        let mut first = None;
        for (feature, keys) in needs(sandbox) {
            let tried = ground.features.entry(feature).or_insert_with(|| {
                let tried = host::try_feature(feature);
                tried.err().map(|error| error.raw_os_error().unwrap_or(libc::EIO))
            });
            let Some(errno) = *tried else { continue };
            let keys: Vec<&str> = keys.into_iter().collect();
            let why = nix::errno::Errno::from_raw(errno).desc();
            unmet.push(format!("no {} ({}) for {}", feature.as_str(), why, keys.join(", ")));
            first.get_or_insert_with(|| (step(feature), errno));
            lacking.insert(feature);
        }
        let Some((step, errno)) = first else { return Ok(lacking) };
        let unmet = unmet.join("; ");
        *for_people = Some(unmet.clone());
        match sandbox.fallback {
            SandboxFallback::Refuse => Err(SandboxError::Unmet { unmet, step, errno }),
            SandboxFallback::Warn => Ok(lacking),
        }
    }
}

/// Nobody who holds one of these panics with half of a change made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn step(feature: Feature) -> SpawnStep {
    match feature {
        Feature::Mounts | Feature::Ipc | Feature::Hostname => SpawnStep::Namespace,
        Feature::Network => SpawnStep::Network,
        Feature::BoundingSet => SpawnStep::BoundingSet,
        Feature::Filter => SpawnStep::Seccomp,
    }
}
