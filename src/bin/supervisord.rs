//! The daemon: a keeper, which starts this program again as its manager.
#![forbid(unsafe_code)]
use std::{
    env,
    ffi::{CString, OsString},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
    process::ExitCode,
};

use roundsman::keeper::{self, KeeperOptions, Timings};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == keeper::CHECK_STATE) {
        return keeper::check_state();
    }
    let manager = [OsString::from("supervisord"), OsString::from("manager")].into_iter().chain(arguments);
    keeper::run(KeeperOptions {
        runtime_dir: runtime_dir(),
        manager_path: None,
        manager_argv: manager.filter_map(|word| CString::new(word.into_vec()).ok()).collect(),
        init_socket: env::var_os("NOTIFY_SOCKET"),
        timings: Timings::default(),
    })
}

/// Where lock and sockets are: given, or the system's for root, or the user's.
fn runtime_dir() -> PathBuf {
    if let Some(given) = env::var_os("ROUNDSMAN_RUNTIME_DIR") {
        return given.into();
    }
    let system = PathBuf::from("/run/roundsman");
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(own) => PathBuf::from(own).join("roundsman"),
        None => system,
    }
}
