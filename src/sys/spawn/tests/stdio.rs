//! What a child opens itself.

use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt, net::UnixListener};

use super::*;

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

const WRITE: i32 = libc::O_WRONLY | libc::O_CREAT;

#[test]
fn a_file_is_written_over_added_to_or_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    for (flags, before, after) in
        [(0, "0123456789", "new3456789"), (libc::O_APPEND, "old ", "old new"), (libc::O_TRUNC, "0123456789", "new")]
    {
        fs::write(&file, before).unwrap();
        let target = path(&file);
        let (_, status, _) = run("printf new", |program| {
            program.opens[1] = Open::File { path: leak_text(&target), flags: WRITE | flags };
        });
        assert_eq!((status, fs::read_to_string(&file).unwrap().as_str()), (ExitStatus::Exited(0), after));
    }
}

fn leak_text(text: &CStr) -> &'static CStr {
    Box::leak(text.to_owned().into_boxed_c_str())
}

#[test]
fn a_new_file_has_the_mode_that_the_mask_leaves_and_error_goes_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    let target = path(&file);
    let (output, _, _) = run("echo one; echo two >&2; umask", |program| {
        program.umask = 0o027;
        program.opens[1] = Open::File { path: leak_text(&target), flags: WRITE };
        program.opens[2] = Open::Same(1);
    });
    assert_eq!(output, "");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n0027\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn data_is_read_once_and_cannot_be_changed() {
    let (output, _, _) = run("cat; (printf X 1<> /dev/stdin) 2> /dev/null || echo refused", |program| {
        program.opens[0] = Open::Data(b"line\0one\n");
    });
    assert_eq!(output, "line\0one\nrefused\n");
    let long = "x".repeat(300_000);
    let bytes: &'static [u8] = Box::leak(long.clone().into_bytes().into_boxed_slice());
    let (output, _, _) = run("cat", |program| program.opens[0] = Open::Data(bytes));
    assert!(output == long);
}

#[test]
fn a_socket_in_the_file_system_is_connected_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("socket");
    let listener = UnixListener::bind(&file).unwrap();
    let target = path(&file);
    let client = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    });
    let (_, status, _) = run("echo hello", |program| {
        program.opens[1] = Open::File { path: leak_text(&target), flags: WRITE };
    });
    assert_eq!((status, client.join().unwrap().as_str()), (ExitStatus::Exited(0), "hello\n"));
}

#[test]
fn what_cannot_be_opened_is_named_by_its_descriptor() {
    for (place, step) in [(0, SpawnStep::Stdin), (1, SpawnStep::Stdout), (2, SpawnStep::Stderr)] {
        let failed = failure(c"/bin/true", |program| {
            program.opens[place] = Open::File { path: c"/nonexistent/file", flags: libc::O_RDONLY };
        });
        assert_eq!(failed, SpawnFailure { step, errno: libc::ENOENT });
    }
}

#[test]
fn a_fifo_without_its_other_end_keeps_nobody_but_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let target = path(&fifo);
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(); 3];
    let mut spawner = Spawner::default();
    let mut waits = program(c"/bin/true", leak([text("true")]), &fds);
    waits.opens[0] = Open::File { path: &target, flags: libc::O_RDONLY };
    let Spawned { pid, ticket, .. } = spawner.spawn(&waits).unwrap();
    let argv = [text("true")];
    let other = spawner.spawn(&program(c"/bin/true", &argv, &fds)).unwrap().pid;
    assert_eq!(reap(Some(other)).unwrap().unwrap().status, ExitStatus::Exited(0));
    assert_eq!(spawner.outcome(ticket), Outcome::Pending);
    drop(File::options().write(true).open(&fifo).unwrap());
    assert_eq!(reap(Some(pid)).unwrap().unwrap().status, ExitStatus::Exited(0));
    assert_eq!(spawner.outcome(ticket), Outcome::Executed);
}

#[test]
fn a_terminal_becomes_that_of_the_session_if_it_is_to() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let name = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pty.slave))).unwrap();
    let target = path(&name);
    for (control, terminal) in [(Control::Fail, name.to_str().unwrap()), (Control::No, "not a tty")] {
        let (output, _, _) = run("tty <&0; ps -o tty= -p $$", |program| {
            program.opens[0] = Open::Terminal { path: leak_text(&target), control };
        });
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        let controlling = if control == Control::No { "?" } else { terminal.trim_start_matches("/dev/") };
        assert_eq!(lines, [name.to_str().unwrap(), controlling]);
    }
}
