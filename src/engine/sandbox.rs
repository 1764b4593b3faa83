//! Shuts processes in as their units ask for: what this host cannot do is refused, or left out where the unit says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::libc;
use tokio::{runtime, task::JoinSet};

use crate::{
    base::{Chain, InvocationId, SpawnFailure, SpawnStep, UnitName, confinement::Confinement},
    edge::{private_tmp, sandbox as host},
    node::effect::SpawnOrder,
    unit::{
        sandbox::{Feature, Host, Machine, needs, plan},
        spec::{Privilege, SandboxFallback, SandboxSpec, Switch},
    },
    wire::keeper::SpawnSpec,
};

/// What sandboxes need besides their units.
#[derive(Debug)]
pub(super) struct Sandboxes {
    /// What is put over things that are not to be seen.
    masks: PathBuf,
    masks_made: bool,
    /// Tells daemons on one host apart.
    instance: String,
    /// What was tried, and what came of it; nothing is tried before a unit needs it.
    features: BTreeMap<Feature, Option<i32>>,
    admin: Option<bool>,
    /// What units do not have of their sandboxes, for people.
    unmet: BTreeMap<UnitName, String>,
    /// Directories for temporary files, by the run whose they are.
    private_tmp: BTreeMap<InvocationId, Vec<PathBuf>>,
    /// Those that are being removed.
    removals: JoinSet<()>,
    runtime: runtime::Handle,
}

/// Why a process cannot be shut in.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    /// The host lacks something.
    #[error("cannot set up the sandbox: {unmet} (sandbox_fallback = \"warn\" starts the service without)")]
    Unmet {
        /// What it lacks, and which keys need that.
        unmet: String,
        /// The step that would have failed.
        step: SpawnStep,
        /// errno(3).
        errno: i32,
    },
    /// Its directories.
    #[error("cannot make the service's own /tmp and /var/tmp")]
    PrivateTmp(#[source] io::Error),
    /// What hides things.
    #[error("cannot make {path}")]
    Masks {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SandboxError {
    /// As the failure that the machine is told.
    pub(super) fn failure(&self) -> SpawnFailure {
        let of_io = |source: &io::Error| source.raw_os_error().unwrap_or(libc::EIO);
        match self {
            Self::Unmet { step, errno, .. } => SpawnFailure { step: *step, errno: *errno },
            Self::PrivateTmp(source) | Self::Masks { source, .. } => {
                SpawnFailure { step: SpawnStep::Namespace, errno: of_io(source) }
            }
        }
    }
}

impl Sandboxes {
    /// Nothing is looked at yet. `runtime_dir` is the daemon's own; long work goes to `runtime`.
    pub(super) fn new(runtime_dir: &Path, instance: String, runtime: runtime::Handle) -> Self {
        Self {
            masks: host::absolute(&runtime_dir.join("inaccessible")),
            masks_made: false,
            instance,
            features: BTreeMap::new(),
            admin: None,
            unmet: BTreeMap::new(),
            private_tmp: BTreeMap::new(),
            removals: JoinSet::new(),
            runtime,
        }
    }

    /// Adds to `spec` what its unit's sandbox takes. `writable` are directories of the unit's own.
    ///
    /// # Errors
    /// When the host cannot do it, and the unit does not say that it may go without.
    pub(super) fn shut_in(
        &mut self,
        order: &SpawnOrder,
        writable: &[PathBuf],
        spec: &mut SpawnSpec,
    ) -> Result<(), SandboxError> {
        let unit = &order.key.run.unit;
        let Some(sandbox) = order.def.service.exec.sandbox.as_deref() else {
            self.unmet.remove(unit);
            return Ok(());
        };
        if order.command.privilege == Privilege::Full {
            return Ok(());
        }
        let lacking = self.lacking(unit, sandbox)?;
        let mounts = !lacking.contains(&Feature::Mounts);
        if mounts && !self.masks_made {
            let failed = |source| SandboxError::Masks { path: self.masks.clone(), source };
            host::make_masks(&self.masks).map_err(failed)?;
            self.masks_made = true;
        }
        let private_tmp = if mounts && sandbox.on.has(Switch::PrivateTmp) {
            let made = private_tmp::make(&self.instance, order.invocation, unit.as_str());
            let made = made.map_err(SandboxError::PrivateTmp)?;
            self.private_tmp.insert(order.invocation, made.to_vec());
            Some(made.map(|outer| private_tmp::shown(&outer)))
        } else {
            None
        };
        let host = Host {
            look: &host::look,
            masks: &self.masks,
            private_tmp: private_tmp.as_ref().map(|[tmp, var_tmp]| [&**tmp, &**var_tmp]),
            writable,
            machine: Machine::HERE,
        };
        let confinement = plan(sandbox, &host, &lacking);
        spec.no_new_privs |= !confinement.filter.is_empty() && !self.stays_admin(spec);
        spec.confinement = (confinement != Confinement::default()).then(|| Box::new(confinement));
        Ok(())
    }

    /// Whether the process may put a filter in force without giving up new privileges: seccomp(2).
    fn stays_admin(&mut self, spec: &SpawnSpec) -> bool {
        spec.user.as_ref().is_none_or(|user| user.uid == 0) && *self.admin.get_or_insert_with(host::is_admin)
    }

    /// What the sandbox needs and the host lacks.
    fn lacking(&mut self, unit: &UnitName, sandbox: &SandboxSpec) -> Result<BTreeSet<Feature>, SandboxError> {
        let mut lacking = BTreeSet::new();
        let mut unmet = Vec::new();
        let mut first = None;
        for (feature, keys) in needs(sandbox) {
            let tried = self.features.entry(feature).or_insert_with(|| {
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
        let Some((step, errno)) = first else {
            self.unmet.remove(unit);
            return Ok(lacking);
        };
        let unmet = unmet.join("; ");
        let is_news = self.unmet.insert(unit.clone(), unmet.clone()).is_none_or(|before| before != unmet);
        match sandbox.fallback {
            SandboxFallback::Refuse => Err(SandboxError::Unmet { unmet, step, errno }),
            SandboxFallback::Warn => {
                if is_news {
                    tracing::warn!(unit = %unit, unmet, "the service starts without a part of its sandbox");
                }
                Ok(lacking)
            }
        }
    }

    /// What a unit does not have of its sandbox, for people.
    pub(super) fn unmet(&self, unit: &UnitName) -> Option<&str> {
        self.unmet.get(unit).map(String::as_str)
    }

    /// The unit is gone.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.unmet.remove(unit);
    }

    /// The run is over: what was its own goes.
    pub(super) fn run_ended(&mut self, invocation: InvocationId) {
        for path in self.private_tmp.remove(&invocation).into_iter().flatten() {
            self.remove(path);
        }
    }

    /// Takes over what an earlier manager made: what is of a run that is not over stays, the rest goes.
    pub(super) fn take_over(&mut self, living: &BTreeSet<InvocationId>) {
        for (invocation, path) in private_tmp::all(&self.instance) {
            if living.contains(&invocation) {
                let known = self.private_tmp.entry(invocation).or_default();
                if !known.contains(&path) {
                    known.push(path);
                }
            } else {
                self.remove(path);
            }
        }
    }

    fn remove(&mut self, path: PathBuf) {
        while self.removals.try_join_next().is_some() {}
        self.removals.spawn_blocking_on(
            move || {
                if let Err(error) = private_tmp::remove(&path) {
                    tracing::warn!(path = %path.display(), error = %Chain(&error), "cannot remove a run's temporary files");
                }
            },
            &self.runtime,
        );
    }

    /// Waits, bounded, for what is being removed.
    pub(super) async fn finish(&mut self, within: Duration) {
        let all = async { while self.removals.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("directories for temporary files are left; the next start removes them");
        }
    }
}

const fn step(feature: Feature) -> SpawnStep {
    match feature {
        Feature::Mounts | Feature::Ipc | Feature::Hostname => SpawnStep::Namespace,
        Feature::Network => SpawnStep::Network,
        Feature::BoundingSet => SpawnStep::BoundingSet,
        Feature::Filter => SpawnStep::Seccomp,
    }
}
