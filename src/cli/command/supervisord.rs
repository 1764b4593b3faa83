//! Work that needs no daemon is done by the daemon's program, which this process becomes.

use std::{
    convert::Infallible,
    env,
    ffi::{CString, OsStr},
    io, iter,
    os::unix::ffi::OsStrExt,
};

use crate::cli::failure::Failure;

/// Replaces this process by the supervisord beside it, with these arguments. It is never looked for in PATH: another
/// supervisor may bear that name there.
pub(super) fn become_it(arguments: &[&OsStr]) -> Result<Infallible, Failure> {
    let own = env::current_exe().map_err(|source| Failure::Exec { path: "supervisord".into(), source })?;
    let path = own.with_file_name("supervisord");
    let failed = |source: io::Error| Failure::Exec { path: path.clone(), source };
    let words = iter::once(OsStr::new("supervisord")).chain(arguments.iter().copied());
    let words: Result<Vec<CString>, _> = words.map(|word| CString::new(word.as_bytes())).collect();
    let words = words.map_err(|error| failed(error.into()))?;
    let program = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    nix::unistd::execv(&program, &words).map_err(|errno| failed(errno.into()))
}
