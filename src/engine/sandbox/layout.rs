//! What of a sandbox waits for disks: paths are looked up and directories made. Never in the loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::libc;

use super::SandboxError;
use crate::{
    base::{
        InvocationId, SpawnStep, UnitName,
        confinement::{Confinement, MountStep},
    },
    edge::{private_tmp, sandbox as host},
    unit::{
        sandbox::{Feature, Host, Machine, Own, Root, needs, plan},
        spec::{SandboxFallback, SandboxSpec, Switch},
    },
};

/// Whom a sandbox is for.
#[derive(Debug)]
pub(in crate::engine) struct Inmate<'o> {
    pub(in crate::engine) unit: &'o UnitName,
    pub(in crate::engine) invocation: InvocationId,
    /// What the host has for the unit.
    pub(in crate::engine) own: Vec<Own>,
    /// What the process sees as `/`, where that is not ours.
    pub(in crate::engine) root: Option<&'o Path>,
    /// Whether the process is root's.
    pub(in crate::engine) is_root: bool,
}

/// What a process takes.
#[derive(Debug, Default)]
pub(in crate::engine) struct Layout {
    pub(in crate::engine) confinement: Confinement,
    pub(in crate::engine) no_new_privs: bool,
    /// Whether the process enters its root with that; else it has yet to.
    pub(in crate::engine) enters_root: bool,
}

/// What sandboxes stand on.
#[derive(Debug)]
pub(in crate::engine) struct Grounds {
    ground: Mutex<Ground>,
    /// What is put over things that are not to be seen.
    masks: PathBuf,
    /// Tells daemons on one host apart.
    instance: String,
}

/// What was found out of the host; nothing is tried before a unit needs it.
#[derive(Debug, Default)]
struct Ground {
    features: BTreeMap<Feature, Option<i32>>,
    admin: Option<bool>,
    masks_made: bool,
}

impl Grounds {
    /// Nothing is looked at yet. `runtime_dir` is the daemon's own.
    pub(in crate::engine) fn new(runtime_dir: &Path, instance: String) -> Self {
        let masks = host::absolute(&runtime_dir.join("inaccessible"));
        Self { ground: Mutex::default(), masks, instance }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Lays a sandbox out. `begins` is told what is looked at; directories that were made, and what the host lacks, are told
    /// whatever comes of it.
    pub(in crate::engine) fn lay_out(
        &self,
        sandbox: &SandboxSpec,
        inmate: &Inmate<'_>,
        begins: &dyn Fn(&Path),
        made: &mut Vec<PathBuf>,
        unmet: &mut Option<String>,
    ) -> Result<Layout, SandboxError> {
        let lacking = self.lacking(sandbox, inmate, unmet)?;
        let mounts = !lacking.contains(&Feature::Mounts);
        if mounts {
            self.make_masks()?;
        }
        let private_tmp = if mounts && sandbox.on.has(Switch::PrivateTmp) {
            begins(Path::new("/var/tmp"));
            let places = private_tmp::make(&self.instance, inmate.invocation, inmate.unit.as_str());
            let places = places.map_err(SandboxError::PrivateTmp)?;
            made.extend(places.iter().cloned());
            Some(places.map(|outer| private_tmp::shown(&outer)))
        } else {
            None
        };
        let look = |path: &Path| {
            begins(path);
            host::look(path)
        };
        let jail = inmate.root.filter(|_| mounts).map(|root| {
            begins(root);
            (root, host::Jail::open(root))
        });
        let inside = |path: &Path| {
            let (root, jail) = jail.as_ref()?;
            begins(&root.join(path.strip_prefix("/").unwrap_or(path)));
            Some(jail)
        };
        let look_inside = |path: &Path| inside(path)?.look(path);
        let link_inside = |path: &Path| inside(path)?.link(path);
        let is_mounted = |path: &Path| inside(path).is_some_and(|jail| jail.is_mounted(path));
        let root = jail.as_ref().map(|(path, _)| Root {
            path,
            look: &look_inside,
            link: &link_inside,
            is_mounted: &is_mounted,
        });
        let host = Host {
            look: &look,
            link: &host::link,
            root,
            masks: &self.masks,
            private_tmp: private_tmp.as_ref().map(|[tmp, var_tmp]| [&**tmp, &**var_tmp]),
            own: &inmate.own,
            machine: Machine::HERE,
        };
        let confinement = plan(sandbox, &host, &lacking);
        let stays_admin = inmate.is_root && self.is_admin();
        let no_new_privs = !confinement.filter.is_empty() && !stays_admin;
        let enters_root = confinement.mounts.iter().any(|step| matches!(step, MountStep::EnterRoot { .. }));
        Ok(Layout { confinement, no_new_privs, enters_root })
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
        inmate: &Inmate<'_>,
        for_people: &mut Option<String>,
    ) -> Result<BTreeSet<Feature>, SandboxError> {
        let mut ground = lock(&self.ground);
        let mut lacking = BTreeSet::new();
        let mut unmet = Vec::new();
        let mut first = None;
        for (feature, keys) in needs(sandbox, &inmate.own, inmate.root.is_some()) {
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
