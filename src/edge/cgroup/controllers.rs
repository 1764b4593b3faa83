//! What rations: which controllers there are here, and the control files of units.
//!
//! In version 2 the files stand in the cgroup that a unit has anyway. In version 1 each controller has a tree of its own, in
//! which a unit gets a cgroup when it asks for something; its processes move themselves there. One host may have some of
//! either. Nothing is tried before a unit needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Cgroups, Right, is_delegated, remove_tree, way::stop_rationing};
use crate::{
    base::{Pid, UnitName},
    edge::proctree,
    unit::resources::{Controller, Version},
};

/// The controllers of this host, as far as they are ours.
#[derive(Debug)]
pub struct Controllers {
    cgroups: Option<Arc<Cgroups>>,
    /// Our folder in each tree of version 1.
    old: BTreeMap<Controller, PathBuf>,
    /// What was tried.
    tried: BTreeMap<Controller, Result<Version, String>>,
    /// Those of version 2 that ration only since they were tried.
    begun: BTreeSet<Controller>,
    /// Why there are no cgroups at all.
    none: Option<String>,
}

/// Where a unit's control files of one controller are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which files there are.
    pub version: Version,
    /// Where.
    pub dir: PathBuf,
}

/// Since when a controller rations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rations {
    Already,
    FromNowOn,
}

/// Why a controller cannot be had in version 2.
#[derive(Debug, thiserror::Error)]
enum NoController {
    #[error("there is no such controller here")]
    Missing,
    #[error("others are in {} too, and a cgroup with processes rations nothing", .0.display())]
    Crowded(PathBuf),
    #[error(
        "the supervisor is in {} itself, and a cgroup with processes rations nothing (our own roundsman.service makes way \
         for the next one; in another unit do as it does, or with systemd 254 set DelegateSubgroup=)", .0.display()
    )]
    Inside(PathBuf),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Controllers {
    /// Where `right` is `None`, there are none, and `none` says why.
    pub fn new(instance: &str, cgroups: Option<Arc<Cgroups>>, right: Option<Right>, none: Option<String>) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        // A part of the unified tree that was given to us is the same part of the others.
        let ours = right == Some(Right::Granted) || cgroups.is_some();
        let old =
            if ours { old_trees(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) } else { BTreeMap::new() };
        let old = old.into_iter().map(|(controller, own)| (controller, own.join(format!("roundsman-{instance}"))));
        Self { cgroups, old: old.collect(), tried: BTreeMap::new(), begun: BTreeSet::new(), none }
    }

    /// Which version of the controller we have, made ready for units; else why not, for people.
    pub fn version(&mut self, controller: Controller) -> Result<Version, String> {
        if let Some(tried) = self.tried.get(&controller) {
            return tried.clone();
        }
        let found = self.try_version(controller);
        self.tried.insert(controller, found.clone());
        found
    }

    /// Whether nothing of it stands in the cgroup of a unit that ran before it was tried.
    pub fn has_begun(&self, controller: Controller) -> bool {
        self.begun.contains(&controller)
    }

    fn try_version(&mut self, controller: Controller) -> Result<Version, String> {
        let missing = match &self.cgroups {
            Some(cgroups) => match cgroups.ration(controller.as_str()) {
                Ok(rations) => {
                    if rations == Rations::FromNowOn {
                        self.begun.insert(controller);
                    }
                    return Ok(Version::Two);
                }
                Err(error) => error,
            },
            None => NoController::Missing,
        };
        match (self.old.get(&controller), &self.none) {
            (Some(base), _) if matches!(missing, NoController::Missing) => make_old(controller, base)
                .map(|()| Version::One)
                .map_err(|error| format!("cannot make {}: {error}", base.display())),
            (_, Some(none)) => Err(none.clone()),
            (_, None) => Err(crate::base::Chain(&missing).to_string()),
        }
    }

    /// Where the unit's files of a controller that was tried are.
    pub fn place(&self, unit: &UnitName, controller: Controller) -> Option<Place> {
        let version = self.tried.get(&controller)?.as_ref().ok().copied()?;
        let dir = match version {
            Version::One => self.old.get(&controller)?.join(unit.as_str()),
            Version::Two => self.cgroups.as_ref()?.dir(unit),
        };
        Some(Place { version, dir })
    }

    /// The unit's cgroup of version 2, whatever rations there.
    pub fn unified(&self, unit: &UnitName) -> Option<PathBuf> {
        self.cgroups.as_ref().map(|cgroups| cgroups.dir(unit))
    }

    /// Makes the unit's cgroup of version 1, anew if nobody is left in it; the file through which a process joins it.
    pub fn make_old(&self, unit: &UnitName, controller: Controller) -> io::Result<PathBuf> {
        let base = self.old.get(&controller).ok_or(io::ErrorKind::NotFound)?;
        let dir = base.join(unit.as_str());
        remove_tree(&dir);
        make_old(controller, &dir)?;
        Ok(dir.join(TASKS))
    }

    /// The file through which a process joins the unit's cgroup of version 1, where that was made.
    pub fn old_tasks(&self, unit: &UnitName, controller: Controller) -> Option<PathBuf> {
        let place = self.place(unit, controller).filter(|place| place.version == Version::One)?;
        Some(place.dir.join(TASKS))
    }

    /// The unit is gone.
    pub fn remove(&self, unit: &UnitName) {
        for base in self.made() {
            remove_tree(&base.join(unit.as_str()));
        }
    }

    /// Removes every empty cgroup of version 1, at the daemon's end.
    pub fn remove_all(&self) {
        self.made().for_each(|base| remove_tree(base));
    }

    fn made(&self) -> impl Iterator<Item = &PathBuf> {
        let is_made = |controller: &Controller| self.tried.get(controller) == Some(&Ok(Version::One));
        self.old.iter().filter(move |(controller, _)| is_made(controller)).map(|(_, base)| base)
    }
}

/// Through this file a thread moves itself without a lock of all processes, cgroup-v1.
const TASKS: &str = "tasks";

impl Place {
    /// Writes a control file, which must be there.
    pub fn write(&self, file: &str, value: &str) -> io::Result<()> {
        write(&self.dir.join(file), value)
    }
}

pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

impl Cgroups {
    /// Lets a controller ration what units use.
    fn ration(&self, controller: &str) -> Result<Rations, NoController> {
        let has = |dir: &Path, file: &str| {
            let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
            text.split_whitespace().any(|word| word == controller)
        };
        if has(&self.base, "cgroup.subtree_control") {
            return Ok(Rations::Already);
        }
        if !has(&self.ground, "cgroup.controllers") {
            return Err(NoController::Missing);
        }
        let enable = |dir: &Path| {
            let path = dir.join("cgroup.subtree_control");
            write(&path, &format!("+{controller}")).map_err(|source| NoController::Write { path, source })
        };
        // The root alone, which has no type, may have processes and ration. Elsewhere the kernel refuses that for memory and
        // disks; for the others it allows it and makes the cgroup one of threads, in which no unit could have its own.
        if self.ground.join("cgroup.type").exists() {
            self.move_aside()?;
        }
        enable(&self.ground)?;
        enable(&self.base)?;
        Ok(Rations::FromNowOn)
    }

    /// Takes our own processes out of the cgroup that is to ration.
    fn move_aside(&self) -> Result<(), NoController> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| NoController::Write { path, source }
        };
        let procs = self.ground.join("cgroup.procs");
        let into = self.own.join("cgroup.procs");
        for _ in 0..MOVES_MAX {
            let pids = fs::read_to_string(&procs).map_err(failed(&procs))?;
            let pids: Vec<i32> = pids.lines().filter_map(|line| line.parse().ok()).collect();
            if pids.is_empty() {
                return Ok(());
            }
            // systemd starts our next keeper right in it, and could not while services live below: whatever the settings say,
            // a keeper that can come back is worth more.
            let is_systemds = self.right == Right::Delegated || is_delegated(&self.ground);
            if is_systemds && !self.makes_way {
                return Err(NoController::Inside(self.ground.clone()));
            }
            match fs::create_dir(&self.own) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&self.own)(error)),
                Ok(()) | Err(_) => {}
            }
            if !pids.iter().all(|pid| is_ours(*pid)) {
                fs::remove_dir(&self.own).ok();
                return Err(NoController::Crowded(self.ground.clone()));
            }
            for pid in pids {
                match write(&into, &pid.to_string()) {
                    // It ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(nix::Error::ESRCH as i32) => {}
                    other => other.map_err(failed(&into))?,
                }
            }
        }
        Err(NoController::Crowded(self.ground.clone()))
    }

    /// Undoes [`Self::move_aside`] when no unit has a cgroup any more.
    pub(super) fn move_back(&self) -> io::Result<()> {
        stop_rationing(&self.ground)?;
        for pid in fs::read_to_string(self.own.join("cgroup.procs"))?.lines() {
            write(&self.ground.join("cgroup.procs"), pid)?;
        }
        fs::remove_dir(&self.own)
    }
}

/// Rounds until nobody is left; more come only from our own few processes.
const MOVES_MAX: usize = 100;

/// Whether a process is the keeper, or descends from it.
fn is_ours(pid: i32) -> bool {
    let keeper = i32::try_from(std::os::unix::process::parent_id()).unwrap_or(0);
    let mut at = pid;
    while at != keeper {
        match Pid::new(at).and_then(proctree::parent) {
            Some(parent) => at = parent.raw(),
            // Pid 1 is everyone's ancestor.
            None => return keeper == 1,
        }
    }
    true
}

/// Our own cgroup in the tree of each controller of version 1.
fn old_trees(mountinfo: &str, own: &str) -> BTreeMap<Controller, PathBuf> {
    let tree = |controller: Controller| {
        let named = |list: &str| list.split(',').any(|word| word == controller.old_name());
        let own = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            named(controllers).then_some(path)
        })?;
        mountinfo.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let (kind, options) = (after.next()?, after.nth(1)?);
            if kind != "cgroup" || !named(options) {
                return None;
            }
            let (root, mount) = (before.split(' ').nth(3)?, before.split(' ').nth(4)?);
            // A mount may show a part of the tree only.
            let below = own.strip_prefix(root.trim_end_matches('/'))?;
            Some((controller, Path::new(mount).join(below.trim_start_matches('/'))))
        })
    };
    Controller::ALL.into_iter().filter_map(tree).collect()
}

/// The least memory that a cgroup which a process is in has for all that is below it, and which cgroup that is; none where
/// nothing limits it. Whatever that process makes there gets no more.
pub fn least_memory(pid: Pid) -> Option<(PathBuf, u64)> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let of_version_1 = || {
        let own = old_trees(&read("mountinfo"), &read("cgroup")).remove(&Controller::Memory)?;
        least(&own, "memory.limit_in_bytes")
    };
    super::of_process(pid).and_then(|own| least(&own, "memory.max")).or_else(of_version_1)
}

/// The least that stands in such a file of a folder and of those above it.
fn least(dir: &Path, file: &str) -> Option<(PathBuf, u64)> {
    let number = |dir: &Path| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
    let all = dir.ancestors().filter_map(|dir| Some((dir.to_owned(), number(dir)?)));
    // "No limit" of version 1 is the largest number of pages there can be.
    all.filter(|(_, bytes)| *bytes < u64::MAX >> 2).min_by_key(|(_, bytes)| *bytes)
}

/// Makes a cgroup of version 1; sets of CPUs and nodes begin empty there, and nobody may enter before they are set.
fn make_old(controller: Controller, dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if controller == Controller::Cpuset {
        let above = dir.parent().ok_or(io::ErrorKind::NotFound)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(dir.join(file))?.trim().is_empty() {
                write(&dir.join(file), fs::read_to_string(above.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

/// What only the host knows of amounts: its memory in bytes, and how many processes and threads it can have.
pub fn machine() -> (u64, u64) {
    let number = |path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let memory = total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(u64::MAX, |kib| kib * 1024);
    let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(number);
    (memory, limits.min().unwrap_or(u64::MAX))
}

/// The number of the whole disk that a file is or lies on, as systemd looks for it.
pub fn disk(path: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = fs::metadata(path).ok()?;
    let device = if meta.file_type().is_block_device() { meta.rdev() } else { meta.dev() };
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    // 0 is what has no disk: memory, the network, parts of several disks.
    if major == 0 || meta.file_type().is_char_device() {
        return None;
    }
    let here = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if here.join("partition").exists() { here.parent()? } else { &here };
    let text = fs::read_to_string(whole.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn trees_of_version_1_are_found_where_they_show_our_part() {
        let mountinfo = "34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                         35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n\
                         36 31 0:33 /other /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                         37 31 0:34 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
                         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:pids:/docker/ab/x\n3:memory:/docker/ab/x\n2:cpu,cpuacct:/sys\n1:blkio:/\n0::/docker/ab\n";
        let expected = BTreeMap::from([
            (Controller::Cpu, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/sys")),
            (Controller::Memory, PathBuf::from("/sys/fs/cgroup/memory/x")),
            (Controller::Io, PathBuf::from("/sys/fs/cgroup/blkio/")),
        ]);
        assert_eq!(old_trees(mountinfo, own), expected);
    }

    /// A tree of plain files: what the kernel would make of a write is not seen, but whether one was made.
    fn tree(right: Right, type_file: bool, processes: &str) -> (tempfile::TempDir, Cgroups) {
        let folder = tempfile::tempdir().unwrap();
        let ground = folder.path().to_owned();
        let base = ground.join("roundsman-x");
        fs::create_dir(&base).unwrap();
        for (file, text) in [("cgroup.controllers", "cpu memory"), ("cgroup.procs", processes)] {
            fs::write(ground.join(file), text).unwrap();
        }
        for dir in [&ground, &base] {
            fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
        }
        if type_file {
            fs::write(ground.join("cgroup.type"), "domain").unwrap();
        }
        let own = ground.join("roundsman-x.supervisord");
        let shown = "/roundsman-x".to_owned();
        let cgroups = Cgroups { ground, own, right, makes_way: false, base, shown, whole: Mutex::default() };
        (folder, cgroups)
    }

    #[test]
    fn a_cgroup_rations_only_when_nobody_is_in_it() {
        let control = |folder: &tempfile::TempDir| {
            let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
            [read("cgroup.subtree_control"), read("roundsman-x/cgroup.subtree_control")]
        };
        // Not even cpu, which the kernel would allow: units could then no longer have cgroups of their own.
        for (right, processes) in [(Right::Granted, "1\n"), (Right::Delegated, "1\n")] {
            let (folder, cgroups) = tree(right, true, processes);
            let error = cgroups.ration("cpu").unwrap_err();
            match right {
                Right::Granted => assert!(matches!(error, NoController::Crowded(_)), "{error:?}"),
                Right::Delegated => assert!(matches!(error, NoController::Inside(_)), "{error:?}"),
            }
            assert_eq!(control(&folder), ["", ""]);
        }
        // Where way is made for the next keeper this one would move; here, that is nobody of ours.
        let (_folder, cgroups) = tree(Right::Delegated, true, "1\n");
        let cgroups = Cgroups { makes_way: true, ..cgroups };
        assert!(matches!(cgroups.ration("cpu"), Err(NoController::Crowded(_))));
        // Empty, or the root.
        for (type_file, processes) in [(true, ""), (false, "1\n")] {
            let (folder, cgroups) = tree(Right::Granted, type_file, processes);
            assert!(matches!(cgroups.ration("io").unwrap_err(), NoController::Missing));
            assert_eq!(cgroups.ration("cpu").unwrap(), Rations::FromNowOn);
            assert_eq!(control(&folder), ["+cpu", "+cpu"]);
        }
    }

    #[test]
    fn what_lies_on_no_disk_has_no_number() {
        assert_eq!(disk(Path::new("/proc/self")), None);
        assert_eq!(disk(Path::new("/dev/null")), None);
        assert_eq!(disk(Path::new("/no/such/file")), None);
    }

    #[test]
    fn the_least_memory_above_is_found_and_what_limits_nothing_is_not() {
        let top = tempfile::tempdir().unwrap();
        let own = top.path().join("a/b/c");
        fs::create_dir_all(&own).unwrap();
        let write = |dir: &str, text: &str| fs::write(top.path().join(dir).join("memory"), text).unwrap();
        write("a/b/c", "max\n");
        write("a", "9223372036854771712\n");
        assert_eq!(least(&own, "memory"), None);
        write("a/b", "1000\n");
        write("a", "2000\n");
        assert_eq!(least(&own, "memory"), Some((top.path().join("a/b"), 1000)));
        write("a", "500\n");
        assert_eq!(least(&own, "memory"), Some((top.path().join("a"), 500)));
    }

    #[test]
    fn the_machine_has_memory_and_tasks() {
        let (memory, tasks) = machine();
        assert!(memory > 1 << 20 && memory < u64::MAX && tasks > 100 && tasks < u64::MAX, "{memory} {tasks}");
    }
}
