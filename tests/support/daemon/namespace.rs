//! Pids of one's own.
use std::{env, process::Stdio};

use super::process::{self, need_root};

const INSIDE: &str = "ROUNDSMAN_TEST_PID_NAMESPACE";

/// Runs the test of that name once more, as the first process of a pid namespace: it can choose pids, and whoever is left
/// alone in there is left to it.
pub(crate) fn in_a_pid_namespace(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    need_root("it makes a pid namespace");
    let mut command = process::command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(env::current_exe().unwrap());
    command.args(["--exact", test]).env(INSIDE, "1").stdin(Stdio::null());
    assert!(command.status().expect("unshare is in util-linux").success(), "see above");
}
