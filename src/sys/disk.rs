//! On which disk a path lies, without asking the disk: one that hangs would not answer.
use std::{ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

/// The device number of the file system that `path` leads to.
///
/// # Errors
/// When it leads nowhere.
pub fn device_of(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    let mut known = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: std's metadata() always asks the disk. The path ends with NUL, and there is room for the answer.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, 0, known.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, and every field is a number; the kernel has written them all.
    let known = unsafe { known.assume_init() };
    Ok(libc::makedev(known.stx_dev_major, known.stx_dev_minor))
}

/// A device number as `/proc/self/mountinfo` has it: `8:1`.
pub fn device_name(device: u64) -> String {
    format!("{}:{}", libc::major(device), libc::minor(device))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn a_device_is_what_stat_says() {
        for path in ["/", "/proc", "/dev/null", "/proc/self/exe"] {
            assert_eq!(device_of(Path::new(path)).unwrap(), fs::metadata(path).unwrap().dev(), "{path}");
        }
        assert_eq!(device_of(Path::new("/none")).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        assert_eq!(device_name(libc::makedev(8, 1)), "8:1");
    }
}
