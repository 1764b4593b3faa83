//! Hears from the kernel that it ended a process for want of memory, where that is not a process whose end we are told.
//!
//! Version 2 only: memory.events changes then, and inotify(7) says so. Version 1 has no such word; there a kill is seen when
//! a process ends that the keeper knows.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::base::UnitName;

type Watched = Arc<Mutex<BTreeMap<WatchDescriptor, UnitName>>>;

/// Watches counters of units. A thread of its own reads what changes; it lives as long as the process.
#[derive(Debug)]
pub struct OomWatch {
    inotify: Arc<Inotify>,
    watched: Watched,
}

impl OomWatch {
    /// Starts the thread; `changed` is called with each unit whose counters changed.
    ///
    /// # Errors
    /// When there is no descriptor or thread left.
    pub fn start(changed: impl Fn(UnitName) + Send + 'static) -> io::Result<Self> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC)?);
        let watched = Watched::default();
        let (reader, known) = (Arc::clone(&inotify), Arc::clone(&watched));
        thread::Builder::new().name("oom".into()).stack_size(64 << 10).spawn(move || {
            while let Ok(events) = reader.read_events() {
                for event in events {
                    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                    // The cgroup was removed, and with it the watch.
                    let unit = if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                        known.remove(&event.wd);
                        None
                    } else {
                        known.get(&event.wd).cloned()
                    };
                    drop(known);
                    unit.into_iter().for_each(&changed);
                }
            }
        })?;
        Ok(Self { inotify, watched })
    }

    /// Watches the unit whose cgroup is `dir`, until that is removed.
    ///
    /// # Errors
    /// When the file is not there, or no watch is left.
    pub fn watch(&self, unit: &UnitName, dir: &Path) -> io::Result<()> {
        let watch = self.inotify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY)?;
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(watch, unit.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn a_change_of_a_counter_names_its_unit_until_the_cgroup_is_gone() {
        let (to, told) = mpsc::channel();
        let watch = OomWatch::start(move |unit| to.send(unit).unwrap_or_default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unit = |name: &str| UnitName::new(name).unwrap();
        for name in ["a", "b"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("memory.events"), "oom_kill 0\n").unwrap();
            watch.watch(&unit(name), &folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("b/memory.events"), "oom_kill 1\n").unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(unit("b")));
        fs::remove_dir_all(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("a/memory.events"), "oom_kill 1\n").unwrap();
        // Of the second write to b's file there may be a word too.
        while told.recv_timeout(Duration::from_secs(10)).unwrap() != unit("a") {}
        assert!(watch.watched.lock().unwrap().values().eq([&unit("a")]));
        assert!(watch.watch(&unit("c"), &folder.path().join("c")).is_err());
    }
}
