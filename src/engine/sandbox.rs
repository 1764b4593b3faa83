//! Shuts processes in as their units ask for: what this host cannot do is refused, or left out where the unit says so.
//! A sandbox is laid out beside the loop (`prepare`).

mod layout; // what is found out and made there

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use nix::libc;
use tokio::{runtime, task::JoinSet};

pub(super) use self::layout::{Grounds, Inmate};
use super::launch::root;
use crate::{
    base::{Chain, InvocationId, SpawnFailure, SpawnStep, UnitName},
    edge::private_tmp,
    node::effect::SpawnOrder,
    unit::spec::{Privilege, SandboxFallback, SandboxSpec},
};

/// What is known of sandboxes besides their units.
#[derive(Debug)]
pub(super) struct Sandboxes {
    grounds: Arc<Grounds>,
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

/// What the process is to be shut in with. One with full privileges is not, but its root it has, as under systemd 252, and
/// what is shown there.
pub(super) fn of(order: &SpawnOrder) -> Option<Cow<'_, SandboxSpec>> {
    let exec = &order.def.service.exec;
    let sandbox = exec.sandbox.as_deref()?;
    if order.command.privilege != Privilege::Full {
        return Some(Cow::Borrowed(sandbox));
    }
    root(exec, order).map(|_| Cow::Owned(sandbox.arrangements()))
}

impl Sandboxes {
    /// What goes may take long, in `runtime`.
    pub(super) fn new(grounds: Arc<Grounds>, runtime: runtime::Handle) -> Self {
        Self { grounds, unmet: BTreeMap::new(), private_tmp: BTreeMap::new(), removals: JoinSet::new(), runtime }
    }

    /// Whether a process is to be shut in.
    pub(super) fn concern(&mut self, order: &SpawnOrder) -> bool {
        if order.def.service.exec.sandbox.is_none() {
            self.unmet.remove(&order.key.run.unit);
        }
        of(order).is_some()
    }

    /// Directories for temporary files were made for a run, which may be over by now.
    pub(super) fn made(&mut self, invocation: InvocationId, private_tmp: Vec<PathBuf>, is_over: bool) {
        if !private_tmp.is_empty() {
            self.private_tmp.insert(invocation, private_tmp);
        }
        if is_over {
            self.run_ended(invocation);
        }
    }

    /// Takes note of what the host lacked of a sandbox.
    pub(super) fn note_unmet(&mut self, order: &SpawnOrder, unmet: Option<String>) {
        let unit = &order.key.run.unit;
        let Some(unmet) = unmet else {
            self.unmet.remove(unit);
            return;
        };
        let is_news = self.unmet.get(unit).is_none_or(|before| *before != unmet);
        if is_news && of(order).is_some_and(|sandbox| sandbox.fallback == SandboxFallback::Warn) {
            tracing::warn!(unit = %unit, unmet, "the service starts without a part of its sandbox");
        }
        self.unmet.insert(unit.clone(), unmet);
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
        for (invocation, path) in private_tmp::all(self.grounds.instance()) {
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
