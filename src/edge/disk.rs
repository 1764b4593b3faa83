//! How much room the disk has.

use std::path::Path;

use crate::base::ByteSize;

/// Bytes that are free for us where `path` lies; `None` when the kernel does not say.
pub fn free(path: &Path) -> Option<ByteSize> {
    let space = nix::sys::statvfs::statvfs(path).ok()?;
    Some(ByteSize(space.blocks_available().saturating_mul(space.fragment_size())))
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
