//! What a child does in our memory before it execs. Only raw system calls, only the plan.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a system call's arguments and results are registers; checked conversions could panic, which a child must not"
)]

mod directories; // what it makes
mod privileges; // whom it becomes
mod schedule; // when it runs
mod secrets; // credentials
mod stdio; // its descriptors
mod walk; // through a directory

use std::{ptr, slice, sync::atomic::Ordering};

use super::{
    super::raw,
    confine::{self, Confined},
    plan::{PID_DIGITS_MAX, Plan},
    room::List,
};
use crate::base::SpawnStep;

/// What a child says when it could not exec; nobody sees it but a debugger.
const EXIT_CODE_FAILED: usize = 127;
/// Bytes of the kernel's signal set.
const SIGSET_BYTES: usize = 8;

/// The number of a step in shared memory.
pub(super) const fn code(step: SpawnStep) -> u32 {
    step as u32
}

/// The step of a number.
pub(super) const fn step(code: u32) -> SpawnStep {
    const STEPS: [SpawnStep; SpawnStep::ALL.len()] = SpawnStep::ALL;
    if (code as usize) < STEPS.len() { STEPS[code as usize] } else { SpawnStep::Prepare }
}

/// Where a child begins.
///
/// # Safety
/// `plan` must be a whole plan that stays in place until the kernel clears its first word.
pub(super) unsafe extern "C" fn begin(plan: *mut Plan) -> ! {
    // SAFETY: the caller's promise; the parent reads only the atomic fields meanwhile.
    let plan = unsafe { &*plan };
    if let Err(errno) = set_up_and_exec(plan) {
        plan.errno.store(errno, Ordering::Release);
    }
    exit()
}

/// Where a launcher begins: it takes the child's OOM score, makes the child a sister of its own, and ends.
///
/// The kernel gives a new score to every process that shares the memory, so a child cannot set its own without
/// changing ours; it makes an exception for one that its parent waits for (CLONE_VFORK). The child inherits the score.
///
/// # Safety
/// As [`begin`].
pub(super) unsafe extern "C" fn launch(plan: *mut Plan) -> ! {
    // SAFETY: the caller's promise; the parent sleeps until we end.
    let shared = unsafe { &*plan };
    shared.step.store(code(SpawnStep::OomScore), Ordering::Relaxed);
    let result = write_oom_score(shared).and_then(|()| {
        shared.step.store(code(SpawnStep::Clone), Ordering::Relaxed);
        // SAFETY: the child's stack in the same slot is not ours, and the plan stays for the child.
        checked(unsafe { raw::clone3(&shared.clone, begin, plan) })
    });
    match result {
        Ok(pid) => shared.launched.store(pid as i32, Ordering::Release),
        Err(errno) => shared.errno.store(errno, Ordering::Release),
    }
    exit()
}

/// The order is systemd's, as its exec_child() has it: what needs our privileges or our view of the files comes first.
fn set_up_and_exec(plan: &Plan) -> Result<(), i32> {
    at(plan, SpawnStep::Session);
    call(libc::SYS_setsid, [0; 6])?;
    join_old_cgroups(plan)?;
    if plan.makes_files() {
        // Modes of new files are given exactly.
        call(libc::SYS_umask, [0; 6])?;
    }
    stdio::open_own(plan)?;
    stdio::place_descriptors(plan)?;
    schedule::set(plan)?;
    directories::make_all(plan)?;
    secrets::place(plan)?;
    // What was made for it stands where everyone sees it; from here on it has a view of its own.
    // SAFETY: the plan is whole, and what it names lies in its slot.
    let confined = unsafe { Confined::named(plan.confined) };
    if let Some(confined) = confined {
        confine::confine(confined, |step| at(plan, step))?;
    }
    at(plan, SpawnStep::Limits);
    for limit in list(&plan.limits) {
        let values = ptr::from_ref(&limit.soft).addr();
        call(libc::SYS_prlimit64, [0, limit.resource as usize, values, 0, 0, 0])?;
    }
    privileges::join_groups(plan)?;
    privileges::change_root(plan)?;
    privileges::drop_bounding(plan)?;
    privileges::become_user(plan)?;
    privileges::join_keyring(plan)?;
    privileges::secure_bits(plan)?;
    enter_directory(plan)?;
    if plan.no_new_privs {
        at(plan, SpawnStep::NoNewPrivileges);
        call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0])?;
    }
    write_own_pid(plan)?;
    reset_signals(plan)?;
    if let Some(confined) = confined {
        confine::filter(confined, |step| at(plan, step))?;
    }
    at(plan, SpawnStep::Exec);
    Err(exec(plan))
}

/// Runs the program from the first place where it is and may be run, as execvp(3); why it is run from none. A folder on a
/// disk that is gone is passed over like one that has no such program.
fn exec(plan: &Plan) -> i32 {
    let mut why = libc::ENOENT;
    for path in Strings(plan.paths) {
        match call(libc::SYS_execve, [path, plan.argv.addr(), plan.envp.addr(), 0, 0, 0]) {
            Ok(_) | Err(libc::ENOENT) => {}
            Err(
                errno @ (libc::EACCES
                | libc::ENOTDIR
                | libc::ENAMETOOLONG
                | libc::ELOOP
                | libc::EIO
                | libc::ENODEV
                | libc::ESTALE
                | libc::ENOTCONN
                | libc::ECONNABORTED
                | libc::ETIMEDOUT),
            ) => why = errno,
            Err(errno) => return errno,
        }
    }
    why
}

/// Moves itself, so that nothing it does or starts escapes. "0" into `tasks` is the one move that takes no lock of all
/// processes: 50 µs, where any other takes up to 14 ms.
fn join_old_cgroups(plan: &Plan) -> Result<(), i32> {
    let mut place = plan.old_cgroups;
    loop {
        // SAFETY: the plan names a list of its own slot that ends with a null.
        let path = unsafe { place.read() };
        if path.is_null() {
            return Ok(());
        }
        at(plan, SpawnStep::Cgroup);
        let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
        let fd = call(libc::SYS_openat, [libc::AT_FDCWD as usize, path.addr(), flags, 0, 0, 0])?;
        let written = call(libc::SYS_write, [fd, c"0".as_ptr().addr(), 1, 0, 0, 0]);
        call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
        written?;
        place = place.wrapping_add(1);
    }
}

/// As the user: a network disk may know them and not root.
fn enter_directory(plan: &Plan) -> Result<(), i32> {
    at(plan, SpawnStep::Chdir);
    call(libc::SYS_umask, [plan.umask as usize, 0, 0, 0, 0, 0])?;
    match call(libc::SYS_chdir, [plan.cwd.addr(), 0, 0, 0, 0, 0]) {
        Err(_) if plan.cwd_may_miss => call(libc::SYS_chdir, [c"/".as_ptr().addr(), 0, 0, 0, 0, 0])?,
        entered => entered?,
    };
    Ok(())
}

/// SIGPIPE as wanted, the mask empty. Handlers of ours are gone since the clone (CLONE_CLEAR_SIGHAND).
fn reset_signals(plan: &Plan) -> Result<(), i32> {
    at(plan, SpawnStep::Signals);
    // The kernel's sigaction: handler, flags, restorer, mask; the same on the machines we build for.
    let handler = if plan.ignore_sigpipe { libc::SIG_IGN } else { libc::SIG_DFL };
    let action = [handler, 0, 0, 0];
    let pipe = libc::SIGPIPE as usize;
    call(libc::SYS_rt_sigaction, [pipe, action.as_ptr().addr(), 0, SIGSET_BYTES, 0, 0])?;
    let none = 0_u64;
    let mask = ptr::from_ref(&none).addr();
    call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, mask, 0, SIGSET_BYTES, 0, 0])?;
    Ok(())
}

/// Writes our pid in decimal where the environment wants it (LISTEN_PID).
fn write_own_pid(plan: &Plan) -> Result<(), i32> {
    if plan.listen_pid.is_null() {
        return Ok(());
    }
    let mut pid = call(libc::SYS_getpid, [0; 6])?;
    let mut digits = [0_u8; PID_DIGITS_MAX];
    let mut count = 0;
    for digit in &mut digits {
        *digit = b'0' + (pid % 10) as u8;
        pid /= 10;
        count += 1;
        if pid == 0 {
            break;
        }
    }
    for (index, digit) in digits.iter().take(count).rev().enumerate() {
        let place = plan.listen_pid.wrapping_add(index);
        // SAFETY: the plan reserved room for as many digits; what follows them is NUL already.
        unsafe { place.write(*digit) };
    }
    Ok(())
}

fn write_oom_score(plan: &Plan) -> Result<(), i32> {
    let path = c"/proc/self/oom_score_adj".as_ptr().addr();
    let fd = open_at(HERE, path, libc::O_WRONLY, 0)?;
    let written = call(libc::SYS_write, [fd, plan.oom_text.addr(), plan.oom_length, 0, 0, 0]);
    call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
    written.map(|_| ())
}

fn at(plan: &Plan, step: SpawnStep) {
    plan.step.store(code(step), Ordering::Relaxed);
}

/// For paths that are absolute or taken from the working directory.
const HERE: usize = libc::AT_FDCWD as usize;

/// Opens `name` below `folder`, closed on exec.
fn open_at(folder: usize, name: usize, flags: i32, mode: u32) -> Result<usize, i32> {
    call(libc::SYS_openat, [folder, name, (flags | libc::O_CLOEXEC) as usize, mode as usize, 0, 0])
}

/// A descriptor of our own that is not needed any more; exec would close it as well.
fn close(fd: usize) {
    // Nothing can be done about a failure, and none is to be had.
    let _closed = call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
}

/// What the kernel says of an open file.
fn status_of(fd: usize) -> Result<libc::stat, i32> {
    // SAFETY: the structure holds numbers only, for which zero is a value.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    let (empty, place) = (c"".as_ptr().addr(), (&raw mut status).addr());
    call(libc::SYS_newfstatat, [fd, empty, place, libc::AT_EMPTY_PATH as usize, 0, 0])?;
    Ok(status)
}

fn write_all(fd: usize, bytes: &[u8]) -> Result<(), i32> {
    let mut left = bytes;
    while !left.is_empty() {
        let written = call(libc::SYS_write, [fd, left.as_ptr().addr(), left.len(), 0, 0, 0])?;
        left = left.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// A list of the plan.
const fn list<T>(list: &List<T>) -> &[T] {
    if list.count == 0 {
        return &[];
    }
    // SAFETY: the plan names values of its own slot, which nobody changes while we are in there.
    unsafe { slice::from_raw_parts(list.at, list.count) }
}

/// Pointers to strings up to the null at their end.
struct Strings(*const *const u8);

impl Iterator for Strings {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        // SAFETY: the plan ends each such list with a null, behind which we do not go.
        let text = unsafe { self.0.read() };
        if text.is_null() {
            return None;
        }
        self.0 = self.0.wrapping_add(1);
        Some(text.addr())
    }
}

pub(super) fn call(number: i64, arguments: [usize; 6]) -> Result<usize, i32> {
    // SAFETY: every caller is in this module or in `confine`, and passes numbers, or addresses of the plan's slot and of its own frame.
    checked(unsafe { raw::syscall(number, arguments) })
}

const fn checked(result: isize) -> Result<usize, i32> {
    if result < 0 { Err(-(result as i32)) } else { Ok(result as usize) }
}

fn exit() -> ! {
    loop {
        // SAFETY: ends this process and takes nothing.
        unsafe { raw::syscall(libc::SYS_exit_group, [EXIT_CODE_FAILED, 0, 0, 0, 0, 0]) };
    }
}
