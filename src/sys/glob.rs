use std::{
    ffi::{CStr, CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The paths that match a pattern, glob(7), sorted; none when nothing does.
///
/// # Errors
/// When a directory on the way cannot be read, or memory is short.
pub fn glob(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let text = CString::new(pattern.as_os_str().as_bytes())?;
    // SAFETY: the structure holds numbers and pointers only, for which zero is a value.
    let mut found: libc::glob_t = unsafe { std::mem::zeroed() };
    // SAFETY: a string of this frame, and a structure that the call fills.
    let result = unsafe { libc::glob(text.as_ptr(), libc::GLOB_ERR, None, &raw mut found) };
    let paths = (0..found.gl_pathc).map(|index| {
        // SAFETY: the call has filled as many pointers.
        let path = unsafe { found.gl_pathv.wrapping_add(index).read() };
        // SAFETY: each is a string that stays until it is freed below.
        let path = unsafe { CStr::from_ptr(path) };
        PathBuf::from(OsStr::from_bytes(path.to_bytes()))
    });
    let paths = if found.gl_pathv.is_null() { Vec::new() } else { paths.collect() };
    // SAFETY: what the call has filled, which is not used any more.
    unsafe { libc::globfree(&raw mut found) };
    match result {
        0 => Ok(paths),
        libc::GLOB_NOMATCH => Ok(Vec::new()),
        libc::GLOB_NOSPACE => Err(io::ErrorKind::OutOfMemory.into()),
        _ => Err(io::Error::other("cannot read a directory on the way")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_matches_is_found_in_order_and_nothing_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".c.conf", "d.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let paths = glob(&folder.path().join(pattern)).unwrap();
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("*.conf"), ["a.conf", "b.conf"]);
        assert_eq!(names("[ab].conf"), ["a.conf", "b.conf"]);
        assert_eq!(names("?.txt"), ["d.txt"]);
        assert_eq!(names("d.txt"), ["d.txt"]);
        assert_eq!(names("x*"), [""; 0]);
    }
}
