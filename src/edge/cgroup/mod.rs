//! One cgroup (version 2) for each unit, where the host lets us have them: who belongs to a unit, and ending all of it.
//!
//! For that no controller is needed and no process is moved: the keeper starts each right inside (a move costs 14 ms).
//! Without cgroups, [`super::proctree`] finds a unit's processes by walking /proc. What rations, of either version, is in
//! `controllers`, for units that ask for it. Source: cgroups(7).

pub mod controllers; // what rations, and where its control files are
pub mod devices; // which devices a unit may use
pub mod oom; // who says that the kernel ended a process for want of memory
pub mod usage; // what a unit uses
pub mod way; // room for a keeper that systemd starts while services live

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::chown},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    base::{Pid, UnitName},
    sys,
};

/// The folder of cgroups that this daemon made.
///
/// Once cgroup.kill was written, the kernel (6.14 to 6.18 at least) kills every process that is later cloned into that
/// cgroup: it compares the number of kills of the parent's cgroup with the target's. So a cgroup is used until it is killed.
#[derive(Debug)]
pub struct Cgroups {
    /// The cgroup that was given to us.
    ground: PathBuf,
    /// Where our own processes go that are in it, once it rations: only cgroups without processes may (cgroups(7)).
    own: PathBuf,
    /// What entitles us.
    right: Right,
    /// Whether the unit of systemd above us makes way for the next keeper.
    makes_way: bool,
    base: PathBuf,
    /// The same, as /proc/PID/cgroup shows it.
    shown: String,
    /// Units whose cgroup we made and did not kill. Those of an earlier manager may have been killed.
    whole: Mutex<BTreeSet<UnitName>>,
}

/// Most cgroups of one unit that are in use beside a killed one whose processes do not go.
const BESIDE_MAX: u32 = 100;

/// What entitles us to make cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// The init system gave us this part of the tree.
    Delegated,
    /// The operator says so, or nobody else is there (PID 1 of a container).
    Granted,
}

/// Why there are no cgroups here.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroups {
    /// No cgroup2 is mounted.
    #[error("no cgroup2 file system is mounted")]
    NotMounted,
    /// The cgroup we are in was not given to us.
    #[error("{} is not delegated to us (Delegate=yes in the unit above us, or mode = \"on\", would change that)", .0.display())]
    NotDelegated(PathBuf),
    /// We may not make one.
    #[error("cannot create {}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Cgroups {
    /// Makes the folder `roundsman-INSTANCE` below our own cgroup. A later daemon of the same instance finds it again.
    ///
    /// With `Right::Delegated`, only where the init system says that this part of the tree is ours. Elsewhere it belongs to
    /// somebody, and each start costs more: 0.15 ms on a host that mounts version 1 beside version 2.
    pub fn open(instance: &str, right: Right) -> Result<Self, NoCgroups> {
        let (mount, own) = here()?;
        let own = own.as_str();
        let place = |shown: &str| mount.join(shown.trim_start_matches('/'));
        let (above, last) = own.rsplit_once('/').unwrap_or(("", own));
        let moved = format!("roundsman-{instance}{OWN_SUFFIX}");
        // We may be one below it: where the init system put us (DelegateSubgroup=), or where we moved ourselves.
        let own = match right {
            Right::Granted if last == moved => above,
            Right::Granted => own,
            Right::Delegated if is_delegated(&place(own)) => own,
            Right::Delegated if is_delegated(&place(above)) => above,
            Right::Delegated => return Err(NoCgroups::NotDelegated(place(own))),
        };
        let ground = place(own);
        let shown = format!("{}/roundsman-{instance}", own.trim_end_matches('/'));
        let base = place(&shown);
        match fs::create_dir(&base) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(NoCgroups::Refused { path: base, source }),
        }
        let own = ground.join(moved);
        let makes_way = way::is_made_for_the_next();
        Ok(Self { ground, own, right, makes_way, base, shown, whole: Mutex::default() })
    }

    /// The unit's cgroup, which need not be there.
    fn dir(&self, unit: &UnitName) -> PathBuf {
        self.base.join(unit.as_str())
    }

    /// Makes the cgroups of units that will be entered soon. Best while no process is started: that and this hold one lock
    /// of the kernel, and on two CPUs each makes the other spin.
    pub fn prepare<'u>(&self, units: impl Iterator<Item = &'u UnitName>) {
        for unit in units {
            // One that is there may have been killed. Whoever enters it sees to that, and tells what is wrong.
            if fs::create_dir(self.dir(unit)).is_ok() {
                self.whole().insert(unit.clone());
            }
        }
    }

    /// Makes the unit's cgroup if need be and opens it, for a process to be started in.
    pub fn enter(&self, unit: &UnitName) -> io::Result<OwnedFd> {
        let dir = self.dir(unit);
        if self.whole().contains(unit) {
            return File::open(&dir).map(OwnedFd::from);
        }
        remove_tree(&dir);
        match fs::create_dir(&dir) {
            Ok(()) => {
                self.whole().insert(unit.clone());
                File::open(&dir).map(OwnedFd::from)
            }
            // Somebody is left in it. One below it is not killed yet, and belongs to the unit all the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => new_below(&dir),
            Err(error) => Err(error),
        }
    }

    /// Makes the unit's cgroup anew if nobody is left in it: with it begin its counters and peaks. One that is not empty
    /// serves on.
    pub fn renew(&self, unit: &UnitName) {
        let dir = self.dir(unit);
        remove_tree(&dir);
        if !dir.exists() {
            self.whole().remove(unit);
        }
    }

    /// The unit's cgroup for its commands, one below its own: a service that was given its cgroup may ration what is
    /// below it, and then the kernel takes no more processes there.
    pub fn enter_beside(&self, unit: &UnitName) -> io::Result<OwnedFd> {
        let below = self.dir(unit).join(".control");
        match fs::create_dir(&below) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => File::open(&below).map(OwnedFd::from),
        }
    }

    /// Gives the unit's cgroup to a user, as systemd does for Delegate=.
    pub fn give(&self, unit: &UnitName, uid: u32, gid: u32) -> io::Result<()> {
        let dir = self.dir(unit);
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(dir.join(file), Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn whole(&self) -> MutexGuard<'_, BTreeSet<UnitName>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no process is left in the unit's cgroup. Zombies do not count.
    pub fn is_empty(&self, unit: &UnitName) -> io::Result<bool> {
        match read_events(&self.dir(unit)) {
            Ok(events) => Ok(events.split(|byte| *byte == b'\n').any(|line| line == b"populated 0")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The pids in the unit's cgroup and below it.
    pub fn pids(&self, unit: &UnitName) -> io::Result<Vec<i32>> {
        let mut pids = Vec::new();
        collect_pids(&self.dir(unit), &mut pids)?;
        Ok(pids)
    }

    /// SIGKILL to every process in it, those that fork meanwhile too.
    pub fn kill(&self, unit: &UnitName) -> io::Result<()> {
        self.whole().remove(unit);
        match fs::write(self.dir(unit).join("cgroup.kill"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The unit that the process `pid` belongs to.
    pub fn unit_of(&self, pid: i32) -> Option<UnitName> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let below = own_path(&text)?.strip_prefix(&self.shown)?.strip_prefix('/')?;
        UnitName::new(below.split('/').next()?).ok()
    }

    /// Removes the unit's cgroup; one that still has processes stays.
    pub fn remove(&self, unit: &UnitName) {
        self.whole().remove(unit);
        remove_tree(&self.dir(unit));
    }

    /// Removes every empty cgroup and the folder itself, at the daemon's end.
    pub fn remove_all(&self) {
        remove_tree(&self.base);
        if self.own.exists() && !self.base.exists() {
            self.move_back().ok();
        }
    }
}

/// What follows the instance in the name of the cgroup of our own processes.
const OWN_SUFFIX: &str = ".supervisord";

/// One read, as this stands between a death and its restart; the file has two short lines.
fn read_events(dir: &Path) -> io::Result<Vec<u8>> {
    let mut events = vec![0; EVENTS_BYTES_MAX];
    let length = File::open(dir.join("cgroup.events"))?.read(&mut events)?;
    events.truncate(length);
    Ok(events)
}

/// More than the kernel writes into cgroup.events.
const EVENTS_BYTES_MAX: usize = 128;

/// systemd marks a cgroup of a unit with Delegate=yes, for root and for users. Source: systemd's CGROUP_DELEGATION.
fn is_delegated(dir: &Path) -> bool {
    ["trusted.delegate", "user.delegate"]
        .iter()
        .any(|name| sys::attribute(dir, name).is_some_and(|value| value == b"1"))
}

/// A cgroup below `dir` that was never there before, or whose processes are gone.
fn new_below(dir: &Path) -> io::Result<OwnedFd> {
    let mut made = Err(io::Error::from(io::ErrorKind::AlreadyExists));
    for number in 1..=BESIDE_MAX {
        let below = dir.join(format!("beside-{number}"));
        remove_tree(&below);
        made = fs::create_dir(&below).and_then(|()| File::open(&below));
        if made.as_ref().err().is_none_or(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            break;
        }
    }
    made.map(OwnedFd::from)
}

fn collect_pids(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for below in sub_dirs(dir) {
        collect_pids(&below, pids)?;
    }
    Ok(())
}

fn remove_tree(dir: &Path) {
    for below in sub_dirs(dir) {
        remove_tree(&below);
    }
    // What still has processes cannot be removed, and must not be.
    fs::remove_dir(dir).ok();
}

fn sub_dirs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Where cgroup2 is mounted, and our own cgroup there.
fn here() -> Result<(PathBuf, String), NoCgroups> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mount = mount_point(&read("/proc/self/mountinfo")).ok_or(NoCgroups::NotMounted)?;
    let own = own_path(&read("/proc/self/cgroup")).ok_or(NoCgroups::NotMounted)?.to_owned();
    Ok((mount, own))
}

/// Where cgroup2 is mounted, if it is.
pub fn mounted() -> Option<PathBuf> {
    mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The folder of a process' cgroup (version 2).
pub fn of_process(pid: Pid) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    Some(mounted()?.join(own_path(&text)?.trim_start_matches('/')))
}

/// Whether the init system gave a cgroup, or the one above it, to whoever runs there.
pub fn is_given_to_us(dir: &Path) -> bool {
    is_delegated(dir) || dir.parent().is_some_and(is_delegated)
}

/// Where cgroup2 is mounted, from the text of /proc/self/mountinfo.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "cgroup2").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The cgroup2 path in a text of /proc/PID/cgroup.
fn own_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_and_our_place_are_read_from_proc() {
        let mountinfo = "25 1 0:22 / /sys rw - sysfs sysfs rw\n\
                         30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mountinfo), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(own_path("2:cpu:/x\n0::/system.slice/roundsman.service\n"), Some("/system.slice/roundsman.service"));
        assert_eq!(mount_point("25 1 0:22 / /sys rw - sysfs sysfs rw\n"), None);
    }
}
