//! Tells when the clock on the wall is set, and when the host comes into another time zone. Costs nothing until then.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::sys::{
    inotify::{AddWatchFlags, InitFlags, Inotify},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::sys::{WaitFor, Waiting};

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The clock was set, or the machine slept.
    Clock,
    /// The file that says which zone it is was replaced.
    Zone,
}

/// A timer that is cancelled when the clock is set (timerfd_create(2)), and a watch on a file's folder.
#[derive(Debug)]
pub struct ClockWatch {
    timer: TimerFd,
    clock: Waiting,
    zone: Option<ZoneWatch>,
}

#[derive(Debug)]
struct ZoneWatch {
    file: PathBuf,
    inotify: Inotify,
    waiting: Waiting,
}

/// Seconds since 1970 that nobody lives to see: the timer is there to be cancelled.
const NEVER_SECS: i64 = 1 << 40;

impl ClockWatch {
    /// Watches from now on; `zone` is the file of the host's zone, if it can change. Must be called within a runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new(zone: Option<&Path>) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let clock = Waiting::new(timer.as_fd(), WaitFor::Reading)?;
        let zone = zone.map(ZoneWatch::new).transpose()?;
        let watch = Self { timer, clock, zone };
        watch.arm()?;
        Ok(watch)
    }

    /// Waits for the next change. Dropping the future loses none.
    ///
    /// # Errors
    /// When the kernel refuses to go on, or the runtime is going down.
    pub async fn changed(&self) -> io::Result<Change> {
        loop {
            let zone_ready = async {
                match &self.zone {
                    Some(zone) => zone.waiting.ready().await.map(|()| zone),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = self.clock.ready() => {
                    ready?;
                    if self.clock.attempt(|_| Ok(self.timer.wait()?)).is_ok() {
                        self.arm()?;
                        return Ok(Change::Clock);
                    }
                }
                zone = zone_ready => {
                    if zone?.has_changed()? {
                        return Ok(Change::Zone);
                    }
                }
            }
        }
    }

    fn arm(&self) -> io::Result<()> {
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        let never = Expiration::OneShot(TimeSpec::new(NEVER_SECS, 0));
        // Set and at once cancelled by a change that came in between: it is readable then.
        Ok(self.timer.set(never, flags)?)
    }
}

impl ZoneWatch {
    fn new(file: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // The file is a link that is replaced, so its folder is watched.
        let folder = file.parent().unwrap_or_else(|| Path::new("/"));
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(folder, events)?;
        let waiting = Waiting::new(inotify.as_fd(), WaitFor::Reading)?;
        Ok(Self { file: file.to_owned(), inotify, waiting })
    }

    fn has_changed(&self) -> io::Result<bool> {
        match self.waiting.attempt(|_| Ok(self.inotify.read_events()?)) {
            Ok(events) => Ok(events.iter().any(|event| event.name.as_deref() == self.file.file_name())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(50);
    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn another_zone_is_told_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("localtime");
        let watch = ClockWatch::new(Some(&file)).unwrap();
        fs::write(folder.path().join("passwd"), "").unwrap();
        assert!(timeout(AT_ONCE, watch.changed()).await.is_err(), "nothing of ours has changed");
        // As timedatectl does it.
        symlink("/usr/share/zoneinfo/Europe/Berlin", folder.path().join("new")).unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert_eq!(timeout(SOON, watch.changed()).await.unwrap().unwrap(), Change::Zone);
    }

    #[tokio::test]
    async fn time_that_passes_is_no_change() {
        let watch = ClockWatch::new(None).unwrap();
        assert!(timeout(AT_ONCE, watch.changed()).await.is_err());
    }
}
