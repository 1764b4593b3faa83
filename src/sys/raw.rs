//! System calls without libc, for code that runs in borrowed memory: no errno, no thread storage, no allocation.
use super::spawn::Plan;

/// Makes one system call. The result is negative (minus errno) on failure.
///
/// # Safety
/// As dangerous as the call that `number` names: pointers among the arguments must be good for it.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn syscall(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes rax, rcx and r11 only; the rest is the caller's
    // promise. libc's wrapper would write errno into the thread storage of another process.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes one system call. The result is negative (minus errno) on failure.
///
/// # Safety
/// As dangerous as the call that `number` names: pointers among the arguments must be good for it.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn syscall(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes x0 only; the rest is the caller's promise.
    // libc's wrapper would write errno into the thread storage of another process.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// clone3(2) with a new stack: the child calls `entry(plan)` there, the caller gets its pid or minus errno.
///
/// # Safety
/// `arguments` must name a stack that nobody else uses, and everything that `entry` reaches through `plan` must stay
/// in place until the child has left this memory.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone3(
    arguments: &libc::clone_args,
    entry: unsafe extern "C" fn(*mut Plan) -> !,
    plan: *mut Plan,
) -> isize {
    let result: isize;
    // SAFETY: the caller's side sees an ordinary system call. The child begins behind it with the same registers and an
    // empty stack of its own, so it may not return from here: it calls a function that never does.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") arguments, in("rsi") size_of::<libc::clone_args>(),
            in("r8") plan, in("r9") entry,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// clone3(2) with a new stack: the child calls `entry(plan)` there, the caller gets its pid or minus errno.
///
/// # Safety
/// `arguments` must name a stack that nobody else uses, and everything that `entry` reaches through `plan` must stay
/// in place until the child has left this memory.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn clone3(
    arguments: &libc::clone_args,
    entry: unsafe extern "C" fn(*mut Plan) -> !,
    plan: *mut Plan,
) -> isize {
    let result: isize;
    // SAFETY: the caller's side sees an ordinary system call. The child begins behind it with the same registers and an
    // empty stack of its own, so it may not return from here: it calls a function that never does.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") arguments => result,
            in("x1") size_of::<libc::clone_args>(),
            in("x9") plan, in("x10") entry,
            options(nostack),
        );
    }
    result
}
