//! What a child does in our memory before it execs. Only raw system calls, only the plan.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a system call's arguments and results are registers; checked conversions could panic, which a child must not"
)]
use std::{ptr, slice, sync::atomic::Ordering};

use super::{
    super::raw,
    confine::{self, Confined},
    plan::{PID_DIGITS_MAX, Plan},
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
    const STEPS: [SpawnStep; 19] = [
        SpawnStep::Prepare,
        SpawnStep::Clone,
        SpawnStep::Session,
        SpawnStep::Stdio,
        SpawnStep::Descriptors,
        SpawnStep::OomScore,
        SpawnStep::Nice,
        SpawnStep::Limits,
        SpawnStep::Network,
        SpawnStep::Namespace,
        SpawnStep::BoundingSet,
        SpawnStep::Groups,
        SpawnStep::Group,
        SpawnStep::User,
        SpawnStep::Chdir,
        SpawnStep::NoNewPrivileges,
        SpawnStep::Signals,
        SpawnStep::Seccomp,
        SpawnStep::Exec,
    ];
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

fn set_up_and_exec(plan: &Plan) -> Result<(), i32> {
    at(plan, SpawnStep::Session);
    call(libc::SYS_setsid, [0; 6])?;
    place_descriptors(plan)?;
    // SAFETY: the plan is whole, and what it names lies in its slot.
    let confined = unsafe { Confined::named(plan.confined) };
    if let Some(confined) = confined {
        confine::confine(confined, |step| at(plan, step))?;
    }
    if let Some(nice) = plan.nice {
        at(plan, SpawnStep::Nice);
        call(libc::SYS_setpriority, [libc::PRIO_PROCESS as usize, 0, nice as usize, 0, 0, 0])?;
    }
    at(plan, SpawnStep::Limits);
    // SAFETY: the plan names a list of its own slot.
    for limit in unsafe { slice::from_raw_parts(plan.limits, plan.limits_count) } {
        let values = ptr::from_ref(&limit.soft).addr();
        call(libc::SYS_prlimit64, [0, limit.resource as usize, values, 0, 0, 0])?;
    }
    become_user(plan)?;
    at(plan, SpawnStep::Chdir);
    call(libc::SYS_umask, [plan.umask as usize, 0, 0, 0, 0, 0])?;
    call(libc::SYS_chdir, [plan.cwd.addr(), 0, 0, 0, 0, 0])?;
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
    call(libc::SYS_execve, [plan.path.addr(), plan.argv.addr(), plan.envp.addr(), 0, 0, 0])?;
    Ok(())
}

/// Moves what is inherited to 0, 1, 2 …; all else closes on exec.
fn place_descriptors(plan: &Plan) -> Result<(), i32> {
    at(plan, SpawnStep::Stdio);
    // SAFETY: the plan names a list of its own slot, which nobody else touches any more.
    let sources = unsafe { slice::from_raw_parts_mut(plan.fds, plan.fds_count) };
    let count = plan.fds_count;
    // A source among the targets could be overwritten before it is used.
    for (target, source) in sources.iter_mut().enumerate() {
        if (*source as usize) < count && *source as usize != target {
            let copy = call(libc::SYS_fcntl, [*source as usize, libc::F_DUPFD_CLOEXEC as usize, count, 0, 0, 0])?;
            *source = copy as i32;
        }
    }
    for (target, source) in sources.iter().enumerate() {
        if target == 3 {
            at(plan, SpawnStep::Descriptors);
        }
        if *source as usize == target {
            call(libc::SYS_fcntl, [target, libc::F_SETFD as usize, 0, 0, 0, 0])?;
        } else {
            call(libc::SYS_dup3, [*source as usize, target, 0, 0, 0, 0])?;
        }
    }
    Ok(())
}

fn become_user(plan: &Plan) -> Result<(), i32> {
    let Some((uid, gid)) = plan.user else { return Ok(()) };
    let (uid, gid) = (uid as usize, gid as usize);
    at(plan, SpawnStep::Groups);
    call(libc::SYS_setgroups, [plan.groups_count, plan.groups.addr(), 0, 0, 0, 0])?;
    at(plan, SpawnStep::Group);
    call(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0])?;
    at(plan, SpawnStep::User);
    call(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0])?;
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
    let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags, 0, 0, 0])?;
    let written = call(libc::SYS_write, [fd, plan.oom_text.addr(), plan.oom_length, 0, 0, 0]);
    call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
    written.map(|_| ())
}

fn at(plan: &Plan, step: SpawnStep) {
    plan.step.store(code(step), Ordering::Relaxed);
}

pub(super) fn call(number: i64, arguments: [usize; 6]) -> Result<usize, i32> {
    // SAFETY: every caller is in this file or in `confine`, and passes numbers, or addresses of the plan's slot and of its own frame.
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
