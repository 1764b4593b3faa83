//! `[disk] min_free_bytes`: whether the disk of our own files has room, looked at once a minute.

use crate::{
    alert::Subject,
    base::{Happening, Mono, Notice, TimeSpan},
    edge::{clock, disk},
};

use super::{Engine, handle::Report};

/// From one look to the next. They come with the keeper's pings, so that an idle machine is not woken for them.
const PAUSE: TimeSpan = TimeSpan::from_secs(60);

/// When the disk is looked at.
#[derive(Debug, Default)]
pub(super) struct Room {
    next: Mono,
    /// A disk that hangs takes one thread and no more.
    under_way: bool,
    /// What was told last: whether it was bad.
    told: Option<bool>,
}

impl Engine {
    /// Looks whether there is room, beside the loop, if it is time to.
    pub(super) fn look_for_room(&mut self) {
        let now = clock::now().mono;
        if self.room.under_way || now < self.room.next {
            return;
        }
        self.room.under_way = true;
        self.room.next = now.after(PAUSE).unwrap_or(now);
        let (state, reports) = (self.settings.paths.state.clone(), self.reporter.clone());
        self.runtime.spawn_blocking(move || {
            // The engine may have ended.
            reports.send(Report::Room(disk::free(&state))).ok();
        });
    }

    /// A look has ended; `None` when the kernel did not say.
    pub(super) fn take_room(&mut self, free: Option<crate::base::ByteSize>) {
        self.room.under_way = false;
        let Some(free) = free else { return };
        let wanted = self.settings.disk_min_free;
        let low = (free.0 < wanted.0).then(|| disk::is_bad(free.0, wanted.0));
        // An earlier manager may have said that there is none.
        let was_told = self.room.told.is_some() || self.alerts.open().any(|incident| incident.subject == Subject::Disk);
        let what = match low {
            Some(is_bad) if self.room.told != low => Happening::DiskLow {
                path: self.settings.paths.state.display().to_string(),
                free: free.0,
                wanted: wanted.0,
                is_bad,
            },
            None if was_told => Happening::DiskRecovered,
            Some(_) | None => return,
        };
        self.room.told = low;
        self.fan_out(Notice { at: clock::now(), what });
    }
}
