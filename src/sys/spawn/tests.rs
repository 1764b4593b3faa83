mod files;
mod privileges;
mod stdio;

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use super::*;
use crate::{
    base::{ExitStatus, Pid, Signal, SpawnFailure, SpawnStep},
    sys::{oom_score_adj, reap, send_signal},
};

pub(super) fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// What a test gives to the programs of its child, for as long as the test runs.
pub(super) fn leak<T, const N: usize>(values: [T; N]) -> &'static [T] {
    Box::leak(Box::new(values))
}

/// Starts `sh -c script`, changed by `change`, with a pipe as its output; gives its output, end and outcome.
pub(super) fn run(script: &str, change: impl Fn(&mut Program<'_>)) -> (String, ExitStatus, Outcome) {
    let argv = [text("sh"), text("-c"), text(script)];
    run_as(c"/bin/sh", &argv, change)
}

pub(super) fn run_as(
    path: &CStr,
    argv: &[CString],
    change: impl Fn(&mut Program<'_>),
) -> (String, ExitStatus, Outcome) {
    let null = File::open("/dev/null").unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    let mut spawner = Spawner::default();
    let fds = [null.as_fd(), writer.as_fd(), writer.as_fd()];
    let mut program = program(path, argv, &fds);
    change(&mut program);
    let Spawned { pid, ticket, .. } = spawner.spawn(&program).unwrap();
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let end = reap(Some(pid)).unwrap().unwrap();
    (output, end.status, spawner.outcome(ticket))
}

pub(super) fn program<'a>(path: &'a CStr, argv: &'a [CString], fds: &'a [BorrowedFd<'a>]) -> Program<'a> {
    Program::new(path, argv, &[], fds)
}

/// How the set-up of a child failed that was to be started so.
pub(super) fn failure(path: &CStr, change: impl Fn(&mut Program<'_>)) -> SpawnFailure {
    let (_, status, outcome) = run_as(path, &[text("x")], change);
    assert_eq!(status, ExitStatus::Exited(127));
    match outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Executed | Outcome::Killed | Outcome::Pending => panic!("{outcome:?}"),
    }
}

#[test]
fn a_program_runs_with_what_it_was_given() {
    let env = leak([text("A=b c"), text("PATH=/usr/bin:/bin")]);
    let limits = leak([Limit { resource: libc::RLIMIT_NOFILE, soft: 77, hard: 88 }]);
    let script = "echo $A; pwd; umask; ulimit -Sn; ulimit -Hn; ps -o sid= -p $$ | tr -d ' '; echo $$; exit 3";
    let (output, status, outcome) = run(script, |program| {
        program.env = env;
        program.limits = limits;
        program.cwd = c"/proc";
        program.umask = 0o77;
    });
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..5], ["b c", "/proc", "0077", "77", "88"]);
    assert_eq!(lines[5], lines[6], "it leads a session of its own");
    assert_eq!((status, outcome), (ExitStatus::Exited(3), Outcome::Executed));
}

#[test]
fn a_program_is_run_from_the_first_place_where_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| text(folder.path().join(name).to_str().unwrap());
    fs::write(folder.path().join("data"), "").unwrap();
    fs::write(folder.path().join("broken"), "neither a script nor a program").unwrap();
    let may_be_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path().join("broken"), may_be_run).unwrap();
    let argv = [text("sh"), text("-c"), text("echo here")];
    let passed_over = leak([place("none"), place("data"), place("data/below"), text("/bin"), text("/bin/sh")]);
    let (output, status, _) = run_as(&place("none"), &argv, |program| program.or_paths = passed_over);
    assert_eq!((output.as_str(), status), ("here\n", ExitStatus::Exited(0)));
    let why = |or_paths: &'static [CString]| failure(&place("none"), |program| program.or_paths = or_paths).errno;
    assert_eq!(why(leak([place("none-either")])), libc::ENOENT);
    assert_eq!(why(leak([place("data"), place("none")])), libc::EACCES, "it is there and may not be run");
    assert_eq!(
        why(leak([place("broken"), text("/bin/sh")])),
        libc::ENOEXEC,
        "no other takes the place of a broken one"
    );
}

#[test]
fn it_inherits_the_descriptors_that_were_given_and_no_others() {
    crate::sys::close_inherited_on_exec().unwrap();
    let _open = File::open("/etc/passwd").unwrap();
    let (output, _, _) = run("ls -l /proc/self/fd", |_| {});
    // The listing's own directory is the fourth.
    let places: Vec<&str> = output.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, to)| to).collect();
    assert_eq!(places.len(), 4, "{output}");
    assert_eq!(places[0], "/dev/null");
    assert!(places[1].starts_with("pipe:") && places[1] == places[2], "{output}");
}

#[test]
fn descriptors_may_stand_in_each_others_place() {
    let files: Vec<File> =
        ["/etc/passwd", "/etc/group", "/etc/hostname"].iter().map(|path| File::open(path).unwrap()).collect();
    let (mut reader, writer) = io::pipe().unwrap();
    let mut spawner = Spawner::default();
    let argv = [text("ls"), text("-l"), text("/proc/self/fd")];
    // Twelve places, so that the sources (low numbers in this process) lie among the targets.
    let mut fds = vec![files[0].as_fd(), writer.as_fd(), writer.as_fd()];
    fds.extend((0..9).map(|index| files[2 - index % 3].as_fd()));
    let pid = spawner.spawn(&program(c"/bin/ls", &argv, &fds)).unwrap().pid;
    drop(fds);
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    reap(Some(pid)).unwrap();
    for (place, path) in [(0, "passwd"), (3, "hostname"), (4, "group"), (5, "passwd"), (11, "passwd")] {
        assert!(output.contains(&format!(" {place} -> /etc/{path}")), "{place} {path}: {output}");
    }
}

#[test]
fn passed_sockets_are_announced_with_the_childs_own_pid() {
    let file = File::open("/etc/passwd").unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    let mut spawner = Spawner::default();
    let argv = [text("sh"), text("-c"), text("echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES")];
    let fds = [file.as_fd(), writer.as_fd(), writer.as_fd(), file.as_fd(), file.as_fd()];
    let mut program = program(c"/bin/sh", &argv, &fds);
    program.listen = Some("http:metrics");
    let pid = spawner.spawn(&program).unwrap().pid;
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    reap(Some(pid)).unwrap();
    assert_eq!(output.trim(), format!("{pid} {pid} 2 http:metrics"));
}

#[test]
fn a_failure_names_its_step_and_error() {
    let missing = failure(c"/nonexistent/program", |_| {});
    assert_eq!(missing, SpawnFailure { step: SpawnStep::Exec, errno: libc::ENOENT });
    let refused = failure(c"/etc/passwd", |_| {});
    assert_eq!(refused, SpawnFailure { step: SpawnStep::Exec, errno: libc::EACCES });
    let cwd = failure(c"/bin/true", |program| program.cwd = c"/nonexistent");
    assert_eq!(cwd, SpawnFailure { step: SpawnStep::Chdir, errno: libc::ENOENT });
    let limits = leak([Limit { resource: 99, soft: 1, hard: 1 }]);
    let limit = failure(c"/bin/true", |program| program.limits = limits);
    assert_eq!(limit, SpawnFailure { step: SpawnStep::Limits, errno: libc::EINVAL });
}

#[test]
fn the_user_that_would_mean_unchanged_is_refused() {
    for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
        let mut unchanged = program(c"/bin/true", &[], &[]);
        unchanged.user = Some(User { uid, gid, groups: &[] });
        let failure = Spawner::default().spawn(&unchanged).unwrap_err();
        assert_eq!(failure, SpawnFailure { step: SpawnStep::User, errno: libc::EINVAL });
    }
}

#[test]
fn a_program_runs_as_its_user_with_its_groups() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (output, _, _) = run("id -u; id -g; id -G", |program| {
        program.user = Some(User { uid: 12_345, gid: 23_456, groups: &[7, 8] });
    });
    assert_eq!(output, "12345\n23456\n23456 7 8\n");
}

#[test]
fn an_environment_larger_than_a_slot_arrives_and_too_large_is_refused() {
    let long = "x".repeat(100_000);
    let env = leak([text(&format!("LONG={long}"))]);
    let (output, _, _) = run("printf %s \"$LONG\"", |program| program.env = env);
    assert!(output == long);
    let env = leak([text(&"x".repeat(PAST_ARGUMENT_BYTES))]);
    let huge = failure(c"/bin/true", |program| program.env = env);
    assert_eq!(huge, SpawnFailure { step: SpawnStep::Exec, errno: libc::E2BIG });
}

/// More than execve(2) takes in one string (MAX_ARG_STRLEN is 128 KiB).
const PAST_ARGUMENT_BYTES: usize = 200_000;

#[test]
fn a_changed_oom_score_is_the_childs_alone() {
    let ours = oom_score_adj().unwrap();
    let score = ours.saturating_add(7).min(1000);
    let (output, status, outcome) =
        run("cat /proc/$$/oom_score_adj", |program| program.oom_score_adj = Some(score.into()));
    assert_eq!(
        (output.trim(), status, outcome),
        (score.to_string().as_str(), ExitStatus::Exited(0), Outcome::Executed)
    );
    assert_eq!(oom_score_adj().unwrap(), ours);
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    let mut bad = program(c"/bin/true", &[], &fds);
    bad.oom_score_adj = Some(5000);
    let failure = Spawner::default().spawn(&bad).unwrap_err();
    assert_eq!(failure, SpawnFailure { step: SpawnStep::OomScore, errno: libc::EINVAL });
}

#[test]
fn signals_start_with_their_default_action_unless_sigpipe_is_ignored() {
    crate::sys::reset_signal_actions();
    for (ignore_sigpipe, ignored) in [(false, "0000000000000000"), (true, "0000000000001000")] {
        let (output, _, _) = run_as(c"/bin/cat", &[text("cat"), text("/proc/self/status")], |program| {
            program.ignore_sigpipe = ignore_sigpipe
        });
        for line in ["SigBlk:\t0000000000000000", &format!("SigIgn:\t{ignored}"), "SigCgt:\t0000000000000000"] {
            assert!(output.contains(line), "{line}: {output}");
        }
    }
}

#[test]
fn privileges_cannot_be_gained_where_that_is_asked() {
    let argv = [text("cat"), text("/proc/self/status")];
    let (output, _, _) = run_as(c"/bin/cat", &argv, |program| program.no_new_privs = true);
    assert!(output.contains("NoNewPrivs:\t1"), "{output}");
}

/// Opening a pipe by name waits for its reader: a set-up that hangs as a chdir on a dead network disk would.
#[test]
fn a_child_that_hangs_in_its_set_up_holds_its_slot_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut spawner = Spawner::default();
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    // execve(2) of a script opens its interpreter, which is the pipe; the child has not left our memory then.
    let script = folder.path().join("script");
    fs::write(&script, format!("#!{}\n", fifo.display())).unwrap();
    make_executable(&script);
    make_executable(&fifo);
    let path = text(script.to_str().unwrap());
    let hanging = program(&path, &[], &fds);
    let started = spawner.spawn(&hanging);
    // Kernels refuse to execute a pipe at once (EACCES) instead of waiting; either way the next child runs.
    let Spawned { pid, ticket, .. } = started.unwrap();
    let argv = [text("true")];
    for _ in 0..10 {
        let Spawned { pid: other, ticket: other_ticket, .. } =
            spawner.spawn(&program(c"/bin/true", &argv, &fds)).unwrap();
        assert_eq!(reap(Some(other)).unwrap().unwrap().status, ExitStatus::Exited(0));
        assert_eq!(spawner.outcome(other_ticket), Outcome::Executed);
    }
    let _gone = send_signal(pid, Signal::KILL);
    reap(Some(pid)).unwrap();
    assert_ne!(spawner.outcome(ticket), Outcome::Pending);
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn slots_are_used_again_and_their_number_is_bounded() {
    let mut spawner = Spawner::default();
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    let argv = [text("true")];
    let program = program(c"/bin/true", &argv, &fds);
    for _ in 0..300 {
        let pid = spawner.spawn(&program).unwrap().pid;
        assert_eq!(reap(Some(pid)).unwrap().unwrap().status, ExitStatus::Exited(0));
    }
    assert_eq!(spawner.pending(), 0);
}

#[test]
fn a_missing_cgroup_is_an_error_of_the_clone() {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    let mut program = program(c"/bin/true", &[], &fds);
    program.cgroup = Some(null.as_fd());
    let failure = Spawner::default().spawn(&program).unwrap_err();
    assert_eq!(failure.step, SpawnStep::Clone);
    assert_ne!(failure.errno, 0);
}

#[test]
fn a_thousand_children_at_once_all_come_back() {
    let mut spawner = Spawner::default();
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    let argv = [text("true")];
    let program = program(c"/bin/true", &argv, &fds);
    let mut started: Vec<Pid> = Vec::new();
    while started.len() < 1000 {
        match spawner.spawn(&program) {
            Ok(spawned) => started.push(spawned.pid),
            // All slots are in use: the machine is slower than we are.
            Err(failure) => assert_eq!(failure, SpawnFailure { step: SpawnStep::Prepare, errno: libc::EAGAIN }),
        }
    }
    for pid in started {
        assert_eq!(reap(Some(pid)).unwrap().unwrap().status, ExitStatus::Exited(0));
    }
}

#[test]
fn the_clock_says_the_start_time_that_the_kernel_says() {
    let mut spawner = Spawner::default();
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    let argv = [text("true")];
    let mut said = 0;
    for _ in 0..200 {
        let spawned = spawner.spawn(&program(c"/bin/true", &argv, &fds)).unwrap();
        if let Some(time) = spawned.start_time {
            assert_eq!(time, crate::sys::start_time(spawned.pid).unwrap());
            said += 1;
        }
        reap(Some(spawned.pid)).unwrap();
    }
    assert!(said > 50, "{said}");
}
