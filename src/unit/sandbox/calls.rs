//! System calls by name: their numbers, and the groups that systemd makes of them.
//!
//! Sources: the kernel's tables of x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h), and what
//! `systemd-analyze syscall-filter` of systemd 252 prints.

/// The machine that a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 64 bit x86.
    X86_64,
    /// 64 bit ARM.
    Aarch64,
}

impl Machine {
    /// The one that we are built for.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: Self = Self::X86_64;
    /// The one that we are built for.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: Self = Self::Aarch64;

    /// What the kernel calls it in a filter's data, linux/audit.h.
    pub(super) const fn audit_number(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

/// What a name in a list of system calls is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A call of one machine at least.
    Call,
    /// A call that neither machine has: it cannot be made, so a filter need not know it.
    Elsewhere,
    /// A group.
    Group(&'static [&'static str]),
}

/// What `name` is; `None` when nobody knows it.
pub(super) fn find(name: &str) -> Option<Named> {
    if name.starts_with('@') {
        let at = GROUPS.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        return GROUPS.get(at).map(|(_, members)| Named::Group(members));
    }
    if CALLS.binary_search_by(|(known, ..)| (*known).cmp(name)).is_ok() {
        return Some(Named::Call);
    }
    ELSEWHERE.binary_search(&name).is_ok().then_some(Named::Elsewhere)
}

/// The number of a call; `None` where the machine has none of that name.
pub(super) fn number(name: &str, machine: Machine) -> Option<u32> {
    let at = CALLS.binary_search_by(|(known, ..)| (*known).cmp(name)).ok()?;
    let (_, x86_64, aarch64) = CALLS.get(at)?;
    let number = match machine {
        Machine::X86_64 => x86_64,
        Machine::Aarch64 => aarch64,
    };
    u32::try_from(*number).ok()
}

/// Every call that this name stands for, groups within groups included.
pub(super) fn expand(name: &str, found: &mut impl FnMut(&str)) {
    match find(name) {
        Some(Named::Group(members)) => members.iter().for_each(|member| expand(member, found)),
        Some(Named::Call | Named::Elsewhere) => found(name),
        None => {}
    }
}

/// All names, for people who mistyped one.
pub(in crate::unit) fn names() -> impl Iterator<Item = &'static str> {
    let groups = GROUPS.iter().map(|(name, _)| *name);
    groups.chain(CALLS.iter().map(|(name, ..)| *name)).chain(ELSEWHERE.iter().copied())
}

/// Whether a list may have it.
pub(in crate::unit) fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// A call and its numbers on x86_64 and aarch64; below zero where there is none.
#[rustfmt::skip]
const CALLS: &[(&str, i16, i16)] = &[
    ("_sysctl", 156, -1), ("accept", 43, 202), ("accept4", 288, 242), ("access", 21, -1), ("acct", 163, 89),
    ("add_key", 248, 217), ("adjtimex", 159, 171), ("afs_syscall", 183, -1), ("alarm", 37, -1),
    ("arch_prctl", 158, -1), ("bind", 49, 200), ("bpf", 321, 280), ("brk", 12, 214), ("capget", 125, 90),
    ("capset", 126, 91), ("chdir", 80, 49), ("chmod", 90, -1), ("chown", 92, -1), ("chroot", 161, 51),
    ("clock_adjtime", 305, 266), ("clock_getres", 229, 114), ("clock_gettime", 228, 113),
    ("clock_nanosleep", 230, 115), ("clock_settime", 227, 112), ("clone", 56, 220), ("clone3", 435, 435),
    ("close", 3, 57), ("close_range", 436, 436), ("connect", 42, 203), ("copy_file_range", 326, 285),
    ("creat", 85, -1), ("create_module", 174, -1), ("delete_module", 176, 106), ("dup", 32, 23), ("dup2", 33, -1),
    ("dup3", 292, 24), ("epoll_create", 213, -1), ("epoll_create1", 291, 20), ("epoll_ctl", 233, 21),
    ("epoll_ctl_old", 214, -1), ("epoll_pwait", 281, 22), ("epoll_pwait2", 441, 441), ("epoll_wait", 232, -1),
    ("epoll_wait_old", 215, -1), ("eventfd", 284, -1), ("eventfd2", 290, 19), ("execve", 59, 221),
    ("execveat", 322, 281), ("exit", 60, 93), ("exit_group", 231, 94), ("faccessat", 269, 48),
    ("faccessat2", 439, 439), ("fadvise64", 221, 223), ("fallocate", 285, 47), ("fanotify_init", 300, 262),
    ("fanotify_mark", 301, 263), ("fchdir", 81, 50), ("fchmod", 91, 52), ("fchmodat", 268, 53),
    ("fchmodat2", 452, 452), ("fchown", 93, 55), ("fchownat", 260, 54), ("fcntl", 72, 25), ("fdatasync", 75, 83),
    ("fgetxattr", 193, 10), ("finit_module", 313, 273), ("flistxattr", 196, 13), ("flock", 73, 32),
    ("fork", 57, -1), ("fremovexattr", 199, 16), ("fsconfig", 431, 431), ("fsetxattr", 190, 7),
    ("fsmount", 432, 432), ("fsopen", 430, 430), ("fspick", 433, 433), ("fstat", 5, 80), ("fstatfs", 138, 44),
    ("fsync", 74, 82), ("ftruncate", 77, 46), ("futex", 202, 98), ("futex_waitv", 449, 449),
    ("futimesat", 261, -1), ("get_kernel_syms", 177, -1), ("get_mempolicy", 239, 236),
    ("get_robust_list", 274, 100), ("get_thread_area", 211, -1), ("getcpu", 309, 168), ("getcwd", 79, 17),
    ("getdents", 78, -1), ("getdents64", 217, 61), ("getegid", 108, 177), ("geteuid", 107, 175),
    ("getgid", 104, 176), ("getgroups", 115, 158), ("getitimer", 36, 102), ("getpeername", 52, 205),
    ("getpgid", 121, 155), ("getpgrp", 111, -1), ("getpid", 39, 172), ("getpmsg", 181, -1), ("getppid", 110, 173),
    ("getpriority", 140, 141), ("getrandom", 318, 278), ("getresgid", 120, 150), ("getresuid", 118, 148),
    ("getrlimit", 97, 163), ("getrusage", 98, 165), ("getsid", 124, 156), ("getsockname", 51, 204),
    ("getsockopt", 55, 209), ("gettid", 186, 178), ("gettimeofday", 96, 169), ("getuid", 102, 174),
    ("getxattr", 191, 8), ("init_module", 175, 105), ("inotify_add_watch", 254, 27), ("inotify_init", 253, -1),
    ("inotify_init1", 294, 26), ("inotify_rm_watch", 255, 28), ("io_cancel", 210, 3), ("io_destroy", 207, 1),
    ("io_getevents", 208, 4), ("io_pgetevents", 333, 292), ("io_setup", 206, 0), ("io_submit", 209, 2),
    ("io_uring_enter", 426, 426), ("io_uring_register", 427, 427), ("io_uring_setup", 425, 425), ("ioctl", 16, 29),
    ("ioperm", 173, -1), ("iopl", 172, -1), ("ioprio_get", 252, 31), ("ioprio_set", 251, 30), ("kcmp", 312, 272),
    ("kexec_file_load", 320, 294), ("kexec_load", 246, 104), ("keyctl", 250, 219), ("kill", 62, 129),
    ("landlock_add_rule", 445, 445), ("landlock_create_ruleset", 444, 444), ("landlock_restrict_self", 446, 446),
    ("lchown", 94, -1), ("lgetxattr", 192, 9), ("link", 86, -1), ("linkat", 265, 37), ("listen", 50, 201),
    ("listxattr", 194, 11), ("llistxattr", 195, 12), ("lookup_dcookie", 212, 18), ("lremovexattr", 198, 15),
    ("lseek", 8, 62), ("lsetxattr", 189, 6), ("lstat", 6, -1), ("madvise", 28, 233), ("mbind", 237, 235),
    ("membarrier", 324, 283), ("memfd_create", 319, 279), ("memfd_secret", 447, 447), ("migrate_pages", 256, 238),
    ("mincore", 27, 232), ("mkdir", 83, -1), ("mkdirat", 258, 34), ("mknod", 133, -1), ("mknodat", 259, 33),
    ("mlock", 149, 228), ("mlock2", 325, 284), ("mlockall", 151, 230), ("mmap", 9, 222), ("modify_ldt", 154, -1),
    ("mount", 165, 40), ("mount_setattr", 442, 442), ("move_mount", 429, 429), ("move_pages", 279, 239),
    ("mprotect", 10, 226), ("mq_getsetattr", 245, 185), ("mq_notify", 244, 184), ("mq_open", 240, 180),
    ("mq_timedreceive", 243, 183), ("mq_timedsend", 242, 182), ("mq_unlink", 241, 181), ("mremap", 25, 216),
    ("mseal", 462, 462), ("msgctl", 71, 187), ("msgget", 68, 186), ("msgrcv", 70, 188), ("msgsnd", 69, 189),
    ("msync", 26, 227), ("munlock", 150, 229), ("munlockall", 152, 231), ("munmap", 11, 215),
    ("name_to_handle_at", 303, 264), ("nanosleep", 35, 101), ("newfstatat", 262, 79), ("nfsservctl", 180, 42),
    ("open", 2, -1), ("open_by_handle_at", 304, 265), ("open_tree", 428, 428), ("openat", 257, 56),
    ("openat2", 437, 437), ("pause", 34, -1), ("perf_event_open", 298, 241), ("personality", 135, 92),
    ("pidfd_getfd", 438, 438), ("pidfd_open", 434, 434), ("pidfd_send_signal", 424, 424), ("pipe", 22, -1),
    ("pipe2", 293, 59), ("pivot_root", 155, 41), ("pkey_alloc", 330, 289), ("pkey_free", 331, 290),
    ("pkey_mprotect", 329, 288), ("poll", 7, -1), ("ppoll", 271, 73), ("prctl", 157, 167), ("pread64", 17, 67),
    ("preadv", 295, 69), ("preadv2", 327, 286), ("prlimit64", 302, 261), ("process_madvise", 440, 440),
    ("process_mrelease", 448, 448), ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271),
    ("pselect6", 270, 72), ("ptrace", 101, 117), ("putpmsg", 182, -1), ("pwrite64", 18, 68), ("pwritev", 296, 70),
    ("pwritev2", 328, 287), ("query_module", 178, -1), ("quotactl", 179, 60), ("quotactl_fd", 443, 443),
    ("read", 0, 63), ("readahead", 187, 213), ("readlink", 89, -1), ("readlinkat", 267, 78), ("readv", 19, 65),
    ("reboot", 169, 142), ("recvfrom", 45, 207), ("recvmmsg", 299, 243), ("recvmsg", 47, 212),
    ("remap_file_pages", 216, 234), ("removexattr", 197, 14), ("rename", 82, -1), ("renameat", 264, 38),
    ("renameat2", 316, 276), ("request_key", 249, 218), ("restart_syscall", 219, 128), ("rmdir", 84, -1),
    ("rseq", 334, 293), ("rt_sigaction", 13, 134), ("rt_sigpending", 127, 136), ("rt_sigprocmask", 14, 135),
    ("rt_sigqueueinfo", 129, 138), ("rt_sigreturn", 15, 139), ("rt_sigsuspend", 130, 133),
    ("rt_sigtimedwait", 128, 137), ("rt_tgsigqueueinfo", 297, 240), ("sched_get_priority_max", 146, 125),
    ("sched_get_priority_min", 147, 126), ("sched_getaffinity", 204, 123), ("sched_getattr", 315, 275),
    ("sched_getparam", 143, 121), ("sched_getscheduler", 145, 120), ("sched_rr_get_interval", 148, 127),
    ("sched_setaffinity", 203, 122), ("sched_setattr", 314, 274), ("sched_setparam", 142, 118),
    ("sched_setscheduler", 144, 119), ("sched_yield", 24, 124), ("seccomp", 317, 277), ("security", 185, -1),
    ("select", 23, -1), ("semctl", 66, 191), ("semget", 64, 190), ("semop", 65, 193), ("semtimedop", 220, 192),
    ("sendfile", 40, 71), ("sendmmsg", 307, 269), ("sendmsg", 46, 211), ("sendto", 44, 206),
    ("set_mempolicy", 238, 237), ("set_mempolicy_home_node", 450, 450), ("set_robust_list", 273, 99),
    ("set_thread_area", 205, -1), ("set_tid_address", 218, 96), ("setdomainname", 171, 162),
    ("setfsgid", 123, 152), ("setfsuid", 122, 151), ("setgid", 106, 144), ("setgroups", 116, 159),
    ("sethostname", 170, 161), ("setitimer", 38, 103), ("setns", 308, 268), ("setpgid", 109, 154),
    ("setpriority", 141, 140), ("setregid", 114, 143), ("setresgid", 119, 149), ("setresuid", 117, 147),
    ("setreuid", 113, 145), ("setrlimit", 160, 164), ("setsid", 112, 157), ("setsockopt", 54, 208),
    ("settimeofday", 164, 170), ("setuid", 105, 146), ("setxattr", 188, 5), ("shmat", 30, 196),
    ("shmctl", 31, 195), ("shmdt", 67, 197), ("shmget", 29, 194), ("shutdown", 48, 210), ("sigaltstack", 131, 132),
    ("signalfd", 282, -1), ("signalfd4", 289, 74), ("socket", 41, 198), ("socketpair", 53, 199),
    ("splice", 275, 76), ("stat", 4, -1), ("statfs", 137, 43), ("statx", 332, 291), ("swapoff", 168, 225),
    ("swapon", 167, 224), ("symlink", 88, -1), ("symlinkat", 266, 36), ("sync", 162, 81),
    ("sync_file_range", 277, 84), ("syncfs", 306, 267), ("sysfs", 139, -1), ("sysinfo", 99, 179),
    ("syslog", 103, 116), ("tee", 276, 77), ("tgkill", 234, 131), ("time", 201, -1), ("timer_create", 222, 107),
    ("timer_delete", 226, 111), ("timer_getoverrun", 225, 109), ("timer_gettime", 224, 108),
    ("timer_settime", 223, 110), ("timerfd_create", 283, 85), ("timerfd_gettime", 287, 87),
    ("timerfd_settime", 286, 86), ("times", 100, 153), ("tkill", 200, 130), ("truncate", 76, 45),
    ("tuxcall", 184, -1), ("umask", 95, 166), ("umount2", 166, 39), ("uname", 63, 160), ("unlink", 87, -1),
    ("unlinkat", 263, 35), ("unshare", 272, 97), ("uselib", 134, -1), ("userfaultfd", 323, 282),
    ("ustat", 136, -1), ("utime", 132, -1), ("utimensat", 280, 88), ("utimes", 235, -1), ("vfork", 58, -1),
    ("vhangup", 153, 58), ("vmsplice", 278, 75), ("vserver", 236, -1), ("wait4", 61, 260), ("waitid", 247, 95),
    ("write", 1, 64), ("writev", 20, 66),
];

/// Calls of other machines, and those that are gone.
#[rustfmt::skip]
const ELSEWHERE: &[&str] = &[
    "_llseek", "_newselect", "arc_gettls", "arc_settls", "arc_usr_cmpxchg", "arm_fadvise64_64", "atomic_barrier",
    "atomic_cmpxchg_32", "bdflush", "break", "cachectl", "cacheflush", "chown32", "clock_adjtime64",
    "clock_getres_time64", "clock_gettime64", "clock_nanosleep_time64", "clock_settime64", "dipc",
    "exec_with_loader", "execv", "fadvise64_64", "fchown32", "fcntl64", "fstat64", "fstatat64", "fstatfs64",
    "ftime", "ftruncate64", "futex_requeue", "futex_time64", "futex_wait", "futex_wake", "getdomainname",
    "getdtablesize", "getegid32", "geteuid32", "getgid32", "getgroups32", "gethostname", "getpagesize",
    "getresgid32", "getresuid32", "getuid32", "getxgid", "getxpid", "getxuid", "gtty", "idle",
    "io_pgetevents_time64", "ipc", "kern_features", "lchown32", "lock", "lstat64", "map_shadow_stack",
    "memory_ordering", "mmap2", "mpx", "mq_timedreceive_time64", "mq_timedsend_time64", "multiplexer", "nice",
    "old_adjtimex", "oldfstat", "oldlstat", "oldolduname", "oldstat", "oldumount", "olduname", "or1k_atomic",
    "osf_fstat", "osf_fstatfs", "osf_fstatfs64", "osf_getdirentries", "osf_getdomainname", "osf_getitimer",
    "osf_getrusage", "osf_getsysinfo", "osf_gettimeofday", "osf_lstat", "osf_mount", "osf_proplist_syscall",
    "osf_select", "osf_set_program_attributes", "osf_setitimer", "osf_setsysinfo", "osf_settimeofday", "osf_shmat",
    "osf_sigprocmask", "osf_sigstack", "osf_stat", "osf_statfs", "osf_statfs64", "osf_swapon", "osf_syscall",
    "osf_sysinfo", "osf_usleep_thread", "osf_utimes", "osf_utsname", "osf_wait4", "pciconfig_iobase",
    "pciconfig_read", "pciconfig_write", "perfctr", "ppoll_time64", "prof", "profil", "pselect6_time64", "readdir",
    "recv", "recvmmsg_time64", "riscv_flush_icache", "riscv_hwprobe", "rt_sigtimedwait_time64", "rtas",
    "s390_guarded_storage", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr", "s390_sthyi",
    "sched_get_affinity", "sched_rr_get_interval_time64", "sched_set_affinity", "semtimedop_time64", "send",
    "sendfile64", "set_tls", "setfsgid32", "setfsuid32", "setgid32", "setgroups32", "sethae", "setpgrp",
    "setregid32", "setresgid32", "setresuid32", "setreuid32", "setuid32", "sgetmask", "sigaction", "signal",
    "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "socketcall", "spu_create", "spu_run", "ssetmask",
    "stat64", "statfs64", "stime", "stty", "subpage_prot", "swapcontext", "switch_endian", "sync_file_range2",
    "sys_debug_setcontext", "syscall", "sysmips", "timer_gettime64", "timer_settime64", "timerfd",
    "timerfd_gettime64", "timerfd_settime64", "truncate64", "ugetrlimit", "ulimit", "umount", "uretprobe",
    "utimensat_time64", "utrap_install", "vm86", "vm86old", "waitpid",
];

/// systemd's groups and their members.
#[rustfmt::skip]
const GROUPS: &[(&str, &[&str])] = &[
    ("@aio", &[
        "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup",
        "io_submit", "io_uring_enter", "io_uring_register", "io_uring_setup",
    ]),
    ("@basic-io", &[
        "_llseek", "close", "close_range", "dup", "dup2", "dup3", "lseek", "pread64", "preadv", "preadv2",
        "pwrite64", "pwritev", "pwritev2", "read", "readv", "write", "writev",
    ]),
    ("@chown", &[
        "chown", "chown32", "fchown", "fchown32", "fchownat", "lchown", "lchown32",
    ]),
    ("@clock", &[
        "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday",
    ]),
    ("@cpu-emulation", &[
        "modify_ldt", "subpage_prot", "switch_endian", "vm86", "vm86old",
    ]),
    ("@debug", &[
        "lookup_dcookie", "perf_event_open", "pidfd_getfd", "ptrace", "rtas", "s390_runtime_instr",
        "sys_debug_setcontext",
    ]),
    ("@default", &[
        "arch_prctl", "brk", "cacheflush", "clock_getres", "clock_getres_time64", "clock_gettime",
        "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "execve", "exit", "exit_group", "futex",
        "futex_time64", "futex_waitv", "get_robust_list", "get_thread_area", "getegid", "getegid32", "geteuid",
        "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getpgid", "getpgrp", "getpid", "getppid",
        "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getsid", "gettid",
        "gettimeofday", "getuid", "getuid32", "membarrier", "mmap", "mmap2", "mprotect", "munmap", "nanosleep",
        "pause", "prlimit64", "restart_syscall", "riscv_flush_icache", "riscv_hwprobe", "rseq", "rt_sigreturn",
        "sched_getaffinity", "sched_yield", "set_robust_list", "set_thread_area", "set_tid_address", "set_tls",
        "sigreturn", "time", "ugetrlimit", "uretprobe",
    ]),
    ("@file-system", &[
        "access", "chdir", "chmod", "close", "creat", "faccessat", "faccessat2", "fallocate", "fchdir", "fchmod",
        "fchmodat", "fchmodat2", "fcntl", "fcntl64", "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr",
        "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "ftruncate", "ftruncate64", "futimesat", "getcwd",
        "getdents", "getdents64", "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1",
        "inotify_rm_watch", "lgetxattr", "link", "linkat", "listxattr", "llistxattr", "lremovexattr", "lsetxattr",
        "lstat", "lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "oldfstat", "oldlstat",
        "oldstat", "open", "openat", "openat2", "readlink", "readlinkat", "removexattr", "rename", "renameat",
        "renameat2", "rmdir", "setxattr", "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat",
        "truncate", "truncate64", "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64", "utimes",
    ]),
    ("@io-event", &[
        "_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
        "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "poll", "ppoll", "ppoll_time64", "pselect6",
        "pselect6_time64", "select",
    ]),
    ("@ipc", &[
        "ipc", "memfd_create", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
        "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv",
        "msgsnd", "pipe", "pipe2", "process_madvise", "process_vm_readv", "process_vm_writev", "semctl", "semget",
        "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
    ]),
    ("@keyring", &[
        "add_key", "keyctl", "request_key",
    ]),
    ("@memlock", &[
        "mlock", "mlock2", "mlockall", "munlock", "munlockall",
    ]),
    ("@module", &[
        "delete_module", "finit_module", "init_module",
    ]),
    ("@mount", &[
        "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
        "pivot_root", "umount", "umount2",
    ]),
    ("@network-io", &[
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
        "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto",
        "setsockopt", "shutdown", "socket", "socketcall", "socketpair",
    ]),
    ("@obsolete", &[
        "_sysctl", "afs_syscall", "bdflush", "break", "create_module", "ftime", "get_kernel_syms", "getpmsg",
        "gtty", "idle", "lock", "mpx", "prof", "profil", "putpmsg", "query_module", "security", "sgetmask",
        "ssetmask", "stime", "stty", "sysfs", "tuxcall", "ulimit", "uselib", "ustat", "vserver",
    ]),
    ("@pkey", &[
        "pkey_alloc", "pkey_free", "pkey_mprotect",
    ]),
    ("@privileged", &[
        "@chown", "@clock", "@module", "@raw-io", "@reboot", "@swap", "_sysctl", "acct", "bpf", "capset", "chroot",
        "fanotify_init", "fanotify_mark", "nfsservctl", "open_by_handle_at", "pivot_root", "quotactl",
        "quotactl_fd", "setdomainname", "setfsuid", "setfsuid32", "setgroups", "setgroups32", "sethostname",
        "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32", "vhangup",
    ]),
    ("@process", &[
        "capget", "clone", "clone3", "execveat", "fork", "getrusage", "kill", "pidfd_open", "pidfd_send_signal",
        "prctl", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setns", "swapcontext", "tgkill", "times", "tkill",
        "unshare", "vfork", "wait4", "waitid", "waitpid",
    ]),
    ("@raw-io", &[
        "ioperm", "iopl", "pciconfig_iobase", "pciconfig_read", "pciconfig_write", "s390_pci_mmio_read",
        "s390_pci_mmio_write",
    ]),
    ("@reboot", &[
        "kexec_file_load", "kexec_load", "reboot",
    ]),
    ("@resources", &[
        "ioprio_set", "mbind", "migrate_pages", "move_pages", "nice", "sched_setaffinity", "sched_setattr",
        "sched_setparam", "sched_setscheduler", "set_mempolicy", "set_mempolicy_home_node", "setpriority",
        "setrlimit",
    ]),
    ("@setuid", &[
        "setgid", "setgid32", "setgroups", "setgroups32", "setregid", "setregid32", "setresgid", "setresgid32",
        "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
    ]),
    ("@signal", &[
        "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigsuspend", "rt_sigtimedwait",
        "rt_sigtimedwait_time64", "sigaction", "sigaltstack", "signal", "signalfd", "signalfd4", "sigpending",
        "sigprocmask", "sigsuspend",
    ]),
    ("@swap", &[
        "swapoff", "swapon",
    ]),
    ("@sync", &[
        "fdatasync", "fsync", "msync", "sync", "sync_file_range", "sync_file_range2", "syncfs",
    ]),
    ("@system-service", &[
        "@aio", "@basic-io", "@chown", "@default", "@file-system", "@io-event", "@ipc", "@keyring", "@memlock",
        "@network-io", "@process", "@resources", "@setuid", "@signal", "@sync", "@timer", "arm_fadvise64_64",
        "capget", "capset", "copy_file_range", "fadvise64", "fadvise64_64", "flock", "get_mempolicy", "getcpu",
        "getpriority", "ioctl", "ioprio_get", "kcmp", "madvise", "mremap", "name_to_handle_at", "oldolduname",
        "olduname", "personality", "readahead", "readdir", "remap_file_pages", "sched_get_priority_max",
        "sched_get_priority_min", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
        "sched_rr_get_interval_time64", "sched_yield", "sendfile", "sendfile64", "setfsgid", "setfsgid32",
        "setfsuid", "setfsuid32", "setpgid", "setsid", "splice", "sysinfo", "tee", "umask", "uname", "userfaultfd",
        "vmsplice",
    ]),
    ("@timer", &[
        "alarm", "getitimer", "setitimer", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
        "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime",
        "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_because_they_are_searched() {
        assert!(CALLS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(ELSEWHERE.is_sorted_by(|a, b| a < b));
        assert!(GROUPS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_member_of_a_group_is_known() {
        for (group, members) in GROUPS {
            for member in *members {
                assert!(is_known(member), "{member} of {group}");
            }
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number_here) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("openat2", libc::SYS_openat2),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("umount2", libc::SYS_umount2),
            ("clone3", libc::SYS_clone3),
            ("futex_waitv", libc::SYS_futex_waitv),
        ] {
            assert_eq!(number(name, Machine::HERE).map(i64::from), Some(number_here), "{name}");
        }
        assert_eq!((number("openat", Machine::X86_64), number("openat", Machine::Aarch64)), (Some(257), Some(56)));
        assert_eq!((number("open", Machine::X86_64), number("open", Machine::Aarch64)), (Some(2), None));
    }

    #[test]
    fn a_group_stands_for_the_members_of_its_members() {
        let mut found = Vec::new();
        expand("@system-service", &mut |name| found.push(name.to_owned()));
        for name in ["read", "chown", "io_setup", "execve", "uname"] {
            assert!(found.iter().any(|known| known == name), "{name}");
        }
        assert!(!found.iter().any(|name| name == "mount" || name.starts_with('@')));
    }
}
