//! How much room the disk has.

use std::{io, path::Path};

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::base::ByteSize;

/// Bytes that are free for us where `path` lies; `None` when the kernel does not say.
pub fn free(path: &Path) -> Option<ByteSize> {
    room(path).ok().map(|room| room.bytes)
}

/// The room where a path lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free for us.
    pub bytes: ByteSize,
    /// Files that can still be made; `None` where their number is not fixed.
    pub inodes: Option<u64>,
    /// Nothing can be written there.
    pub read_only: bool,
}

/// What there is where `path` lies. A disk may hang.
///
/// # Errors
/// As statvfs(3).
pub fn room(path: &Path) -> io::Result<Room> {
    let space = statvfs(path)?;
    Ok(Room {
        bytes: ByteSize(space.blocks_available().saturating_mul(space.fragment_size())),
        inodes: (space.files() > 0).then(|| space.files_available()),
        read_only: space.flags().contains(FsFlags::ST_RDONLY),
    })
}

/// Whether what is free is not only less than it should be, but less than a quarter of that.
pub const fn is_bad(free: u64, least: u64) -> bool {
    free < least / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_room_and_nowhere_has_none() {
        assert!(free(Path::new("/")).is_some_and(|free| free.0 > 0));
        assert_eq!(free(Path::new("/no/such/place")), None);
    }
}
