use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::PrepareError;
use crate::{
    base::confinement::Confinement,
    edge::{cgroup::controllers, users::Identity},
    engine::{
        launch::{self, Launcher},
        resources::Disks,
        sandbox::{self, Grounds, Inmate},
    },
    node::effect::SpawnOrder,
    unit::resources,
    wire::keeper::SpawnSpec,
};

/// A process that is wanted.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) order: Arc<SpawnOrder>,
    /// Whom its unit runs as, where it says so.
    pub(super) identity: Option<Arc<Identity>>,
    /// Whether the disks that its unit rations are looked up.
    pub(super) finds_disks: bool,
    pub(super) place: Arc<Place>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Prepared {
    pub(super) number: u64,
    pub(super) order: Arc<SpawnOrder>,
    /// The run's own directories for temporary files, where it has them.
    pub(super) private_tmp: Vec<PathBuf>,
    /// What the host lacks of its sandbox, for people.
    pub(super) unmet: Option<String>,
    pub(super) disks: Disks,
    pub(super) result: Result<Box<SpawnSpec>, PrepareError>,
}

/// What a job looks at, for people: the last thing that was named may be what hangs.
#[derive(Debug, Default)]
pub(super) struct Place(Mutex<Option<PathBuf>>);

impl Place {
    pub(super) fn now(&self) -> Option<PathBuf> {
        self.known().clone()
    }

    fn begins(&self, path: &Path) {
        *self.known() = Some(path.to_owned());
    }

    fn known(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every job needs.
#[derive(Debug)]
pub(in crate::engine) struct Means {
    pub(in crate::engine) launcher: Arc<Launcher>,
    pub(in crate::engine) grounds: Arc<Grounds>,
}

impl Means {
    /// May wait for a disk as long as that hangs.
    pub(super) fn carry_out(&self, job: Job) -> Prepared {
        let (mut private_tmp, mut unmet, mut disks) = (Vec::new(), None, Disks::new());
        let result = self.spec(&job, &mut private_tmp, &mut unmet).map(Box::new);
        let Job { number, order, identity: _, finds_disks, place } = job;
        if finds_disks && result.is_ok() {
            for path in resources::disks(&order.def.service.resources) {
                place.begins(path);
                disks.insert(path.to_owned(), controllers::disk(path));
            }
        }
        Prepared { number, order, private_tmp, unmet, disks, result }
    }

    fn spec(&self, job: &Job, made: &mut Vec<PathBuf>, unmet: &mut Option<String>) -> Result<SpawnSpec, PrepareError> {
        let (order, exec) = (&*job.order, &job.order.def.service.exec);
        let begins = |path: &Path| job.place.begins(path);
        let variables = launch::read_variables(exec, &begins)?;
        let mut spec = self.launcher.spec(job.identity.as_deref(), order, &variables)?;
        let Some(sandbox) = sandbox::of(order) else { return Ok(spec) };
        let root = launch::root(exec, order);
        let inmate = Inmate {
            unit: &order.key.run.unit,
            invocation: order.invocation,
            own: self.launcher.own(&order.def, root.is_some()),
            root,
            is_root: spec.user.as_ref().is_none_or(|user| user.uid == 0),
        };
        let layout = self.grounds.lay_out(&sandbox, &inmate, &begins, made, unmet)?;
        spec.no_new_privs |= layout.no_new_privs;
        spec.root.take_if(|_| layout.enters_root);
        spec.confinement = (layout.confinement != Confinement::default()).then(|| Box::new(layout.confinement));
        Ok(spec)
    }
}
