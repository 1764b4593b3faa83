//! Gives units what they ask of the machine, and no more: what this host cannot ration is said, or refused.
//!
//! A unit that asks for nothing costs nothing here. One that does gets its cgroups anew for each run, so that counters and
//! peaks are the run's, and no manager has to remember where they stood.

use std::{
    collections::BTreeMap,
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::libc;
use tokio::sync::mpsc;

use super::handle::Report;
use crate::{
    base::{Mono, SpawnFailure, SpawnStep, UnitName},
    edge::{
        cgroup::{
            Cgroups,
            controllers::{self, Controllers, Place},
            devices,
            oom::OomWatch,
            usage::{self, Places},
        },
        users::Identity,
    },
    node::effect::SpawnOrder,
    unit::{
        resources::{Controller, Machine, Plan, Version, needs, plan},
        spec::{ResourcesFallback, ResourcesSpec},
    },
};

/// What the kernel tells of a kill and the end of the process that it killed come within this time of each other.
const KILL_TO_END_MAX: Duration = Duration::from_secs(2);

/// The numbers of disks that units name by what lies on them; `None` is what is on none.
pub(super) type Disks = BTreeMap<PathBuf, Option<(u32, u32)>>;

/// What rationing needs besides the units.
#[derive(Debug)]
pub(super) struct Resources {
    cgroups: Option<Arc<Cgroups>>,
    controllers: Controllers,
    /// Memory in bytes and most tasks, once they were asked for.
    machine: Option<(u64, u64)>,
    /// What units do not have of what they ask for, for people.
    unmet: BTreeMap<UnitName, String>,
    /// Kills for want of memory, of units that have memory rationed or counted.
    kills: BTreeMap<UnitName, Kills>,
    watch: Option<OomWatch>,
    reporter: mpsc::UnboundedSender<Report>,
}

/// How many processes of a unit the kernel has ended for want of memory.
#[derive(Debug)]
struct Kills {
    memory: Place,
    seen: u64,
    /// Those whose process is not known to have ended, and when they were seen.
    open: Option<(u64, Mono)>,
}

/// Where a process starts.
#[derive(Debug, Default)]
pub(super) struct Entrance {
    /// Its cgroup of version 2.
    pub cgroup: Option<OwnedFd>,
    /// Those of version 1 that it moves itself into.
    pub old: Vec<CString>,
}

/// Why a process cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot give the service what it asks for: {unmet} (resources_fallback = \"warn\" starts it without)")]
pub(super) struct ResourcesError {
    unmet: String,
}

impl ResourcesError {
    /// As the failure that the machine is told.
    pub(super) const fn failure() -> SpawnFailure {
        SpawnFailure { step: SpawnStep::Cgroup, errno: libc::EOPNOTSUPP }
    }
}

/// What a unit asks for and does not get.
#[derive(Debug, Default)]
struct Unmet {
    texts: Vec<String>,
    /// Whether a device is among it.
    unsafe_: bool,
}

impl Resources {
    pub(super) fn new(
        cgroups: Option<Arc<Cgroups>>,
        controllers: Controllers,
        reporter: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (unmet, kills) = (BTreeMap::new(), BTreeMap::new());
        Self { cgroups, controllers, machine: None, unmet, kills, watch: None, reporter }
    }

    /// Where a process of the unit starts; with the first of a run its cgroups are made and told what they ration.
    ///
    /// # Errors
    /// When the host cannot do it, and the unit does not say that it may go without.
    pub(super) fn admit(
        &mut self,
        order: &SpawnOrder,
        identity: Option<&Identity>,
        is_first: bool,
        disks: &Disks,
    ) -> Result<Entrance, ResourcesError> {
        let unit = &order.key.run.unit;
        let spec = &*order.def.service.resources;
        if *spec == ResourcesSpec::default() {
            return Ok(Entrance { cgroup: self.enter(unit), old: Vec::new() });
        }
        if is_first && let Some(cgroups) = &self.cgroups {
            cgroups.renew(unit);
        }
        let beside = spec.delegate && !is_first && !order.is_start;
        let cgroup = if beside { self.enter_beside(unit) } else { self.enter(unit) };
        let old = if is_first {
            let (old, unmet) = self.ration(order, cgroup.as_ref(), identity, disks);
            self.judge(unit, spec, unmet)?;
            old
        } else {
            needs(spec).into_keys().filter_map(|controller| self.controllers.old_tasks(unit, controller)).collect()
        };
        // A path of the kernel's file system has no NUL byte.
        let old = old.into_iter().filter_map(|path| CString::new(path.as_os_str().as_bytes()).ok());
        Ok(Entrance { cgroup, old: old.collect() })
    }

    fn enter(&self, unit: &UnitName) -> Option<OwnedFd> {
        entered(unit, self.cgroups.as_ref()?.enter(unit))
    }

    fn enter_beside(&self, unit: &UnitName) -> Option<OwnedFd> {
        entered(unit, self.cgroups.as_ref()?.enter_beside(unit))
    }

    /// Makes the unit's cgroups and writes what they ration. What cannot be had is named; the rest is done.
    fn ration(
        &mut self,
        order: &SpawnOrder,
        cgroup: Option<&OwnedFd>,
        identity: Option<&Identity>,
        disks: &Disks,
    ) -> (Vec<PathBuf>, Unmet) {
        let (unit, spec) = (&order.key.run.unit, &*order.def.service.resources);
        let disk = |path: &Path| disks.get(path).copied().flatten();
        let mut unmet = Unmet::default();
        let mut old = Vec::new();
        self.kills.remove(unit);
        for (controller, keys) in needs(spec) {
            match self.controllers.version(controller) {
                Ok(Version::One) => match self.controllers.make_old(unit, controller) {
                    Ok(tasks) => old.push(tasks),
                    Err(error) => {
                        unmet.add(&keys, &error.to_string());
                        continue;
                    }
                },
                Ok(Version::Two) => {}
                Err(why) => {
                    unmet.add(&keys, &format!("no {} controller: {why}", controller.as_str()));
                    continue;
                }
            }
            let Some(place) = self.controllers.place(unit, controller) else { continue };
            let plan = self.planned(spec, controller, place.version, &disk);
            unmet.write(&place, plan);
        }
        self.watch_kills(unit);
        if spec.restricts_devices() {
            unmet.devices(cgroup, spec);
        }
        if spec.delegate {
            // What can be rationed is the service's to ration.
            Controller::ALL.into_iter().for_each(|controller| drop(self.controllers.version(controller)));
        }
        if let (true, Some(cgroups), Some(id)) = (spec.delegate, &self.cgroups, identity)
            && let Err(error) = cgroups.give(unit, id.uid, id.gid)
        {
            unmet.add(&["delegate"], &error.to_string());
        }
        (old, unmet)
    }

    fn planned(
        &mut self,
        spec: &ResourcesSpec,
        controller: Controller,
        version: Version,
        disk: &dyn Fn(&Path) -> Option<(u32, u32)>,
    ) -> Plan {
        let (memory_bytes, tasks_max) = *self.machine.get_or_insert_with(controllers::machine);
        plan(spec, controller, version, &Machine { memory_bytes, tasks_max, disk })
    }

    /// Refuses, or warns once.
    fn judge(&mut self, unit: &UnitName, spec: &ResourcesSpec, unmet: Unmet) -> Result<(), ResourcesError> {
        if unmet.texts.is_empty() {
            self.unmet.remove(unit);
            return Ok(());
        }
        let refuses = spec.fallback.map_or(unmet.unsafe_, |fallback| fallback == ResourcesFallback::Refuse);
        let unmet = unmet.texts.join("; ");
        let is_news = self.unmet.insert(unit.clone(), unmet.clone()).is_none_or(|before| before != unmet);
        if refuses {
            return Err(ResourcesError { unmet });
        }
        if is_news {
            tracing::warn!(unit = %unit, unmet, "the service starts without a part of what it asks of the machine");
        }
        Ok(())
    }

    /// A run of an earlier manager: its cgroups are as that one made them, and it has told of so many kills.
    pub(super) fn adopt(&mut self, unit: &UnitName, spec: &ResourcesSpec, told: u64) {
        if *spec == ResourcesSpec::default() {
            return;
        }
        let mut unmet = Unmet::default();
        // A disk may hang, so none is asked which it is. That manager has written it, or it waits for the next run.
        let (unasked, unknown) = (|_: &Path| Some((0, 0)), |_: &Path| None);
        for (controller, keys) in needs(spec) {
            match self.controllers.version(controller) {
                Ok(version) => {
                    // Way was made for a keeper, and what it rationed is gone.
                    let place =
                        self.controllers.place(unit, controller).filter(|_| self.controllers.has_begun(controller));
                    let plan =
                        self.planned(spec, controller, version, if place.is_some() { &unknown } else { &unasked });
                    match place {
                        Some(place) => unmet.write(&place, plan),
                        None => unmet.add_planned(plan.unmet),
                    }
                }
                Err(why) => unmet.add(&keys, &format!("no {} controller: {why}", controller.as_str())),
            }
        }
        if !unmet.texts.is_empty() {
            self.unmet.insert(unit.clone(), unmet.texts.join("; "));
        }
        self.watch_kills(unit);
        if let Some(kills) = self.kills.get_mut(unit) {
            kills.seen = told.min(kills.seen);
        }
    }

    fn watch_kills(&mut self, unit: &UnitName) {
        let Some(memory) = self.controllers.place(unit, Controller::Memory) else { return };
        let Some(seen) = usage::oom_kills(&memory) else { return };
        if memory.version == Version::Two {
            self.watch(unit, &memory);
        }
        self.kills.insert(unit.clone(), Kills { memory, seen, open: None });
    }

    fn watch(&mut self, unit: &UnitName, memory: &Place) {
        if self.watch.is_none() {
            let to = self.reporter.clone();
            match OomWatch::start(move |unit| drop(to.send(Report::OomCounted(unit)))) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => {
                    tracing::warn!(%error, "kills for want of memory are seen at the end of known processes only")
                }
            }
        }
        if let Some(Err(error)) = self.watch.as_ref().map(|watch| watch.watch(unit, &memory.dir)) {
            tracing::warn!(unit = %unit, %error, "kills for want of memory are seen at the end of known processes only");
        }
    }

    /// Whether a process of the unit that SIGKILL ended just now was ended for want of memory, as far as was looked. Each
    /// kill is claimed once.
    pub(super) fn claim_kill(&mut self, unit: &UnitName, now: Mono) -> bool {
        let Some(kills) = self.kills.get_mut(unit) else { return false };
        match kills.open {
            Some((count, since)) if now.since(since) <= KILL_TO_END_MAX => {
                kills.open = (count > 1).then_some((count - 1, since));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether the kernel has ended a process of the unit, as its present cgroup counts it.
    pub(super) fn has_kills(&self, unit: &UnitName) -> bool {
        self.kills.get(unit).is_some_and(|kills| kills.seen > 0)
    }

    /// How many processes of its run the kernel has ended, if that are more than when it was last looked at.
    pub(super) fn new_kills(&mut self, unit: &UnitName, now: Mono) -> Option<u64> {
        let kills = self.kills.get_mut(unit)?;
        kills.look(now).then_some(kills.seen)
    }

    /// What a unit does not have of what it asks for, for people.
    pub(super) fn unmet(&self, unit: &UnitName) -> Option<&str> {
        self.unmet.get(unit).map(String::as_str)
    }

    /// Where the unit's counters are, if it has any of its own.
    pub(super) fn places(&self, unit: &UnitName, spec: &ResourcesSpec) -> Option<Box<Places>> {
        if *spec == ResourcesSpec::default() {
            return None;
        }
        let needs = needs(spec);
        let place = |controller: Controller| {
            let wanted = needs.contains_key(&controller);
            self.controllers.place(unit, controller).filter(|place| wanted || place.version == Version::Two)
        };
        let unified = self.controllers.unified(unit);
        let (memory, tasks, io) = (place(Controller::Memory), place(Controller::Pids), place(Controller::Io));
        Some(Box::new(Places { unified, memory, tasks, io }))
    }

    /// The unit is gone.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.unmet.remove(unit);
        self.kills.remove(unit);
        self.controllers.remove(unit);
    }

    /// At the daemon's end.
    pub(super) fn remove_all(&self) {
        self.controllers.remove_all();
    }
}

fn entered(unit: &UnitName, entered: io::Result<OwnedFd>) -> Option<OwnedFd> {
    match entered {
        Ok(fd) => Some(fd),
        Err(error) => {
            tracing::warn!(unit = %unit, error = %error, "cannot make a cgroup; the process group serves instead");
            None
        }
    }
}

impl Kills {
    /// Whether there are more than before.
    fn look(&mut self, now: Mono) -> bool {
        let counted = usage::oom_kills(&self.memory).unwrap_or(self.seen);
        let new = counted.saturating_sub(self.seen);
        self.seen = counted;
        if new > 0 {
            let before =
                self.open.filter(|(_, since)| now.since(*since) <= KILL_TO_END_MAX).map_or(0, |(count, _)| count);
            self.open = Some((before + new, now));
        }
        new > 0
    }
}

impl Unmet {
    fn add(&mut self, keys: &[&str], why: &str) {
        // What only counts is not missed.
        if !keys.is_empty() {
            self.texts.push(format!("{} ({why})", keys.join(", ")));
        }
    }

    fn add_planned(&mut self, unmet: Vec<(&'static str, String)>) {
        for (key, why) in unmet {
            self.add(&[key], &why);
        }
    }

    /// Writes what a place rations.
    fn write(&mut self, place: &Place, plan: Plan) {
        for setting in plan.settings {
            if let Err(error) = place.write(setting.file, &setting.value) {
                self.add(&[setting.key], &format!("{} = {:?}: {}", setting.file, setting.value, told(&error)));
            }
        }
        self.add_planned(plan.unmet);
    }

    /// Restricts devices, or says why not.
    fn devices(&mut self, cgroup: Option<&OwnedFd>, spec: &ResourcesSpec) {
        let why = match cgroup {
            Some(cgroup) => match devices::restrict(cgroup, spec) {
                Ok(()) => return,
                Err(error) => told(&error),
            },
            None => "it needs a cgroup of version 2".to_owned(),
        };
        self.unsafe_ = true;
        self.add(&["device_allow, device_policy"], &why);
    }
}

/// What the kernel said, without its number.
fn told(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| nix::Error::from_raw(errno).desc().to_owned())
}
