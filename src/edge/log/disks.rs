//! Which thread writes for a unit: one for each disk that units' folders lie on, so that a slow disk holds up no output
//! that goes elsewhere. With all of them on one disk, which is how it comes, there is one thread.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    path::Path,
};

use super::pump::{Pump, PumpError};
use crate::sys;

/// The disks besides the one that the first thread writes to.
#[derive(Debug)]
pub(super) struct Disks {
    own: u64,
    others: BTreeMap<u64, Pump>,
}

impl Disks {
    /// The first thread's disk is that of the folder in which units have theirs.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { own: sys::device_of(dir)?, others: BTreeMap::new() })
    }

    /// The thread for a unit's folder, where it is another; `start` begins it when it is the disk's first.
    pub(super) fn elsewhere(
        &mut self,
        folder: &Path,
        start: impl FnOnce(u64) -> Result<Pump, PumpError>,
    ) -> Result<Option<&Pump>, PumpError> {
        // One that is not there will be made here.
        let device = sys::device_of(folder).unwrap_or(self.own);
        if device == self.own {
            return Ok(None);
        }
        Ok(Some(match self.others.entry(device) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(start(device)?),
        }))
    }

    /// All others.
    pub(super) fn others(&self) -> impl Iterator<Item = &Pump> {
        self.others.values()
    }
}
