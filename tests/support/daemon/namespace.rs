//! Pids of one's own, and more.
use std::{env, os::unix::process::CommandExt, path::Path, process::Stdio};

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

/// Runs the test of that name once more, as the first process of namespaces of pids, mounts and networks that it may fill as it
/// likes. All that is in there ends when the test does, whatever ends the test.
pub(crate) fn apart(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    need_root("it makes machines");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/apart.sh");
    let mut command = process::command("bash");
    command.arg(script).arg(env::current_exe().unwrap()).args(["--exact", test]).env(INSIDE, "1");
    // A signal to our group is not for it: it clears up.
    let mut apart = command.stdin(Stdio::piped()).process_group(0).spawn().expect("bash");
    let input = apart.stdin.take();
    let status = apart.wait().unwrap();
    drop(input);
    assert!(status.success(), "see above");
}
