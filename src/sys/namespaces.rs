//! Tries what a sandbox needs, in a thread that is thrown away.
use std::{io, thread};

use nix::sched::{CloneFlags, unshare};

/// Whether a process may have these namespaces of its own (flags of unshare(2)). With `CLONE_NEWNS` a file system is mounted
/// there and another made read-only. Takes under a millisecond, more with `CLONE_NEWNET`.
///
/// # Errors
/// What the kernel said.
pub fn try_namespaces(flags: u32) -> io::Result<()> {
    let flags = CloneFlags::from_bits_truncate(flags.cast_signed());
    // Each thread has namespaces of its own if it wants, and takes them along when it ends.
    let trial = thread::Builder::new().name("namespaces".into()).stack_size(64 << 10).spawn(move || {
        unshare(flags)?;
        if flags.contains(CloneFlags::CLONE_NEWNS) { try_mounts() } else { Ok(()) }
    })?;
    trial.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn try_mounts() -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
    mount(Some("tmpfs"), "/", Some("tmpfs"), MsFlags::empty(), none)?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC;
    // SAFETY: opens a path that is a constant; nix has no such call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), flags) };
    if tree < 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    let bytes = size_of_val(&attributes);
    // SAFETY: reads as many bytes of this frame as it is told; nix has no such call.
    let set = unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree, c"".as_ptr(), libc::AT_EMPTY_PATH, attributes.as_ptr(), bytes)
    };
    let result = if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let fd = i32::try_from(tree).unwrap_or(-1);
    // SAFETY: a descriptor that was opened above and that nobody else knows.
    unsafe { libc::close(fd) };
    result
}

/// Whether the kernel has filters of system calls, and they can answer with an error.
///
/// # Errors
/// What the kernel said.
pub fn try_filters() -> io::Result<()> {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: reads one number of this frame; asks, and changes nothing.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if known < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The capabilities that are in force for this process, bit by number.
///
/// # Errors
/// When /proc cannot be read.
pub fn effective_capabilities() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// open_tree(2), mount_setattr(2), seccomp(2); not in libc for all machines.
const OPEN_TREE_CLONE: libc::c_int = 1;
const MOUNT_ATTR_RDONLY: u64 = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> String {
        std::fs::read_to_string("/proc/self/mountinfo").unwrap()
    }

    #[test]
    fn a_trial_changes_nothing_for_us() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let before = mounts();
        let all = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
        try_namespaces(all.bits().cast_unsigned()).unwrap();
        assert_eq!(mounts(), before);
        try_filters().unwrap();
        assert!(effective_capabilities().unwrap() > 0);
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        // A user namespace would have to take the whole process along.
        let refused = try_namespaces(CloneFlags::CLONE_NEWUSER.bits().cast_unsigned());
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
