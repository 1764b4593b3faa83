//! What shuts a child in: laid out in its slot, then carried out there with raw system calls, blindly and in order.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a system call's arguments and results are registers; checked conversions could panic, which a child must not"
)]
use std::{ptr, slice};

use super::{child::call, room::Room};
use crate::base::{
    SpawnStep,
    confinement::{Confinement, HOLDS_MAX, INSTRUCTIONS_MAX, Instruction, MountStep, Network},
};

/// What a child reads of its confinement; everything it points at lies in the same slot.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Confined {
    network: NetworkCall,
    namespaces: u32,
    steps: *const Step,
    steps_count: usize,
    /// The descriptors of what is held; below zero where nothing is.
    places: *mut i32,
    places_count: usize,
    drop_capabilities: u64,
    filter: *const Instruction,
    filter_count: usize,
}

#[derive(Debug, Clone, Copy)]
enum NetworkCall {
    Shared,
    Private,
    Joined(*const u8),
}

/// A [`MountStep`] as arguments of system calls.
#[derive(Debug, Clone, Copy)]
enum Step {
    Propagate { flags: usize },
    EnterRoot { path: *const u8 },
    Hold { place: usize, path: *const u8, flags: usize, may_miss: bool },
    Put { place: usize, path: *const u8, may_miss: bool },
    Mount { kind: *const u8, path: *const u8, flags: usize, options: *const u8, may_miss: bool },
    MakeDirectory { path: *const u8 },
    MakeFile { path: *const u8 },
    MakeLink { path: *const u8, to: *const u8 },
    Restrict { path: *const u8, attributes: u64, flags: usize, may_miss: bool },
}

/// Lays a confinement out; `None` when it does not fit or holds what no kernel takes.
pub(super) fn lay_out(confinement: &Confinement, room: &mut Room<'_>) -> Option<*const Confined> {
    let network = match &confinement.network {
        Network::Shared => NetworkCall::Shared,
        Network::Private => NetworkCall::Private,
        Network::Joined(path) => NetworkCall::Joined(room.text(path)?),
    };
    let mut places_count = 0;
    let mut steps = Vec::with_capacity(confinement.mounts.len());
    for step in &confinement.mounts {
        if let MountStep::Hold { place, .. } | MountStep::Put { place, .. } = step {
            places_count = places_count.max(usize::from(*place) + 1);
        }
        steps.push(lay_out_step(step, room)?);
    }
    if places_count > usize::from(HOLDS_MAX) || confinement.filter.len() > INSTRUCTIONS_MAX {
        return None;
    }
    let (places, _) = room.numbers(std::iter::repeat_n(-1, places_count))?;
    let confined = Confined {
        network,
        namespaces: confinement.namespaces,
        steps: room.values(&steps)?,
        steps_count: steps.len(),
        places,
        places_count,
        drop_capabilities: confinement.drop_capabilities,
        filter: room.values(&confinement.filter)?,
        filter_count: confinement.filter.len(),
    };
    room.values(&[confined])
}

fn lay_out_step(step: &MountStep, room: &mut Room<'_>) -> Option<Step> {
    Some(match step {
        MountStep::Propagate(flags) => Step::Propagate { flags: *flags as usize | MS_REC },
        MountStep::EnterRoot { path } => Step::EnterRoot { path: room.text(path)? },
        MountStep::Hold { place, path, recursive, may_miss } => {
            let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as usize | AT_SYMLINK_NOFOLLOW;
            let flags = flags | if *recursive { AT_RECURSIVE } else { 0 };
            Step::Hold { place: usize::from(*place), path: room.text(path)?, flags, may_miss: *may_miss }
        }
        MountStep::Put { place, path, may_miss } => {
            Step::Put { place: usize::from(*place), path: room.text(path)?, may_miss: *may_miss }
        }
        MountStep::Mount { kind, path, flags, options, may_miss } => Step::Mount {
            kind: room.text(kind)?,
            path: room.text(path)?,
            flags: *flags as usize,
            options: room.text(options)?,
            may_miss: *may_miss,
        },
        MountStep::MakeDirectory { path } => Step::MakeDirectory { path: room.text(path)? },
        MountStep::MakeFile { path } => Step::MakeFile { path: room.text(path)? },
        MountStep::MakeLink { path, to } => Step::MakeLink { path: room.text(path)?, to: room.text(to)? },
        MountStep::Restrict { path, attributes, recursive, may_miss } => Step::Restrict {
            path: room.text(path)?,
            attributes: u64::from(*attributes),
            flags: if *recursive { AT_RECURSIVE } else { 0 },
            may_miss: *may_miss,
        },
    })
}

/// How many bytes a confinement takes at most when it is laid out.
pub(super) fn bytes_needed(confinement: &Confinement) -> usize {
    let of_step = |step: &MountStep| {
        let texts = match step {
            MountStep::Propagate(_) => 0,
            MountStep::EnterRoot { path }
            | MountStep::Hold { path, .. }
            | MountStep::Put { path, .. }
            | MountStep::MakeDirectory { path }
            | MountStep::MakeFile { path }
            | MountStep::Restrict { path, .. } => path.len(),
            MountStep::Mount { kind, path, options, .. } => kind.len() + path.len() + options.len(),
            MountStep::MakeLink { path, to } => path.len() + to.len(),
        };
        // Up to three terminators, and a place.
        texts + 3 + size_of::<Step>() + size_of::<i32>()
    };
    let network = match &confinement.network {
        Network::Shared | Network::Private => 0,
        Network::Joined(path) => path.len() + 1,
    };
    let steps = confinement.mounts.iter().map(of_step).sum::<usize>();
    // Places are numbered without gaps by whoever means well; who does not is told that it does not fit.
    size_of::<Confined>() + network + steps + size_of_val(confinement.filter.as_slice()) + ALIGNMENT_BYTES
}

/// Four lists begin on a boundary of eight bytes.
const ALIGNMENT_BYTES: usize = 64;

/// Namespaces, mounts and what of capabilities goes for good. `at` is told the step.
pub(super) fn confine(confined: &Confined, at: impl Fn(SpawnStep)) -> Result<(), i32> {
    at(SpawnStep::Network);
    match confined.network {
        NetworkCall::Shared => {}
        NetworkCall::Private => {
            unshare(libc::CLONE_NEWNET as usize)?;
            raise_loopback()?;
        }
        NetworkCall::Joined(path) => join_network(path).inspect_err(|_| complain(path))?,
    }
    at(SpawnStep::Namespace);
    if confined.namespaces != 0 {
        unshare(confined.namespaces as usize)?;
    }
    if confined.steps_count > 0 {
        // What is made to mount on is for all to see.
        call(libc::SYS_umask, [0o22, 0, 0, 0, 0, 0])?;
    }
    // SAFETY: both lists lie in the slot, which nobody else touches now.
    let steps = unsafe { slice::from_raw_parts(confined.steps, confined.steps_count) };
    // SAFETY: as above.
    let places = unsafe { slice::from_raw_parts_mut(confined.places, confined.places_count) };
    for step in steps {
        at(step.kind());
        carry_out(*step, places).inspect_err(|_| complain(step.path()))?;
    }
    at(SpawnStep::BoundingSet);
    for capability in 0..CAPABILITIES_MAX {
        if confined.drop_capabilities >> capability & 1 == 1 {
            drop_capability(capability)?;
        }
    }
    Ok(())
}

/// Puts the filter in force; from here on only what it allows can be done.
pub(super) fn filter(confined: &Confined, at: impl Fn(SpawnStep)) -> Result<(), i32> {
    if confined.filter_count == 0 {
        return Ok(());
    }
    at(SpawnStep::Seccomp);
    // The kernel's sock_fprog: a count, then, aligned, an address.
    let program = [confined.filter_count, confined.filter.addr()];
    call(libc::SYS_seccomp, [SECCOMP_SET_MODE_FILTER, 0, program.as_ptr().addr(), 0, 0, 0])?;
    Ok(())
}

impl Step {
    /// What its failure is called.
    const fn kind(&self) -> SpawnStep {
        match self {
            Self::EnterRoot { .. } => SpawnStep::Chroot,
            Self::Propagate { .. }
            | Self::Hold { .. }
            | Self::Put { .. }
            | Self::Mount { .. }
            | Self::MakeDirectory { .. }
            | Self::MakeFile { .. }
            | Self::MakeLink { .. }
            | Self::Restrict { .. } => SpawnStep::Namespace,
        }
    }

    const fn path(&self) -> *const u8 {
        match *self {
            Self::Propagate { .. } => c"/".as_ptr().cast(),
            Self::EnterRoot { path }
            | Self::Hold { path, .. }
            | Self::Put { path, .. }
            | Self::Mount { path, .. }
            | Self::MakeDirectory { path }
            | Self::MakeFile { path }
            | Self::MakeLink { path, .. }
            | Self::Restrict { path, .. } => path,
        }
    }
}

fn carry_out(step: Step, places: &mut [i32]) -> Result<(), i32> {
    match step {
        Step::Propagate { flags } => {
            call(libc::SYS_mount, [0, c"/".as_ptr().addr(), 0, flags, 0, 0])?;
        }
        Step::EnterRoot { path } => enter_root(path)?,
        Step::Hold { place, path, flags, may_miss } => {
            let held = call(libc::SYS_open_tree, [CWD, path.addr(), flags, 0, 0, 0]);
            if let (Some(fd), Some(place)) = (missing_is_none(held, may_miss)?, places.get_mut(place)) {
                *place = fd as i32;
            }
        }
        Step::Put { place, path, may_miss } => {
            if let Some(fd) = places.get(place).filter(|fd| **fd >= 0) {
                let (fd, here) = (*fd as usize, c"".as_ptr().addr());
                let put = call(libc::SYS_move_mount, [fd, here, CWD, path.addr(), MOVE_MOUNT_F_EMPTY_PATH, 0]);
                missing_is_none(put, may_miss)?;
                call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
            }
        }
        Step::Mount { kind, path, flags, options, may_miss } => {
            let mounted = call(libc::SYS_mount, [kind.addr(), path.addr(), kind.addr(), flags, options.addr(), 0]);
            missing_is_none(mounted, may_miss)?;
        }
        Step::MakeDirectory { path } => {
            there_is_good(call(libc::SYS_mkdirat, [CWD, path.addr(), 0o755, 0, 0, 0]))?;
        }
        Step::MakeFile { path } => {
            let mode = (libc::S_IFREG | 0o644) as usize;
            there_is_good(call(libc::SYS_mknodat, [CWD, path.addr(), mode, 0, 0, 0]))?;
        }
        Step::MakeLink { path, to } => {
            there_is_good(call(libc::SYS_symlinkat, [to.addr(), CWD, path.addr(), 0, 0, 0]))?;
        }
        Step::Restrict { path, attributes, flags, may_miss } => {
            // The kernel's mount_attr: what is set, what is cleared, propagation, a user namespace.
            let attributes = [attributes, 0, 0, 0];
            let place = attributes.as_ptr().addr();
            let set = call(libc::SYS_mount_setattr, [CWD, path.addr(), flags, place, size_of_val(&attributes), 0]);
            missing_is_none(set, may_miss)?;
        }
    }
    Ok(())
}

/// Puts the new root over the old one and goes in. Nothing can be mounted in what is nowhere, so this comes first; what is
/// mounted afterwards finds its way from the new root, and so stays below it whoever may change links in there.
///
/// Not pivot_root(2), which is refused where our own root is an initramfs or a chroot; systemd 252 moves its root as well.
fn enter_root(path: *const u8) -> Result<(), i32> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as usize | AT_RECURSIVE;
    let root = call(libc::SYS_open_tree, [CWD, path.addr(), flags, 0, 0, 0])?;
    let (here, top) = (c"".as_ptr().addr(), c"/".as_ptr().addr());
    call(libc::SYS_move_mount, [root, here, CWD, top, MOVE_MOUNT_F_EMPTY_PATH, 0])?;
    call(libc::SYS_fchdir, [root, 0, 0, 0, 0, 0])?;
    call(libc::SYS_chroot, [c".".as_ptr().addr(), 0, 0, 0, 0, 0])?;
    call(libc::SYS_close, [root, 0, 0, 0, 0, 0])?;
    Ok(())
}

fn missing_is_none(result: Result<usize, i32>, may_miss: bool) -> Result<Option<usize>, i32> {
    match result {
        Err(libc::ENOENT | libc::ENOTDIR) if may_miss => Ok(None),
        Err(errno) => Err(errno),
        Ok(value) => Ok(Some(value)),
    }
}

const fn there_is_good(result: Result<usize, i32>) -> Result<(), i32> {
    match result {
        Err(libc::EEXIST) | Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn unshare(flags: usize) -> Result<(), i32> {
    call(libc::SYS_unshare, [flags, 0, 0, 0, 0, 0]).map(|_| ())
}

fn join_network(path: *const u8) -> Result<(), i32> {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY) as usize;
    let fd = call(libc::SYS_openat, [CWD, path.addr(), flags, 0, 0, 0])?;
    let joined = call(libc::SYS_setns, [fd, libc::CLONE_NEWNET as usize, 0, 0, 0, 0]);
    call(libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
    joined.map(|_| ())
}

/// netdevice(7); the kernel gives a loopback device its addresses when it comes up.
fn raise_loopback() -> Result<(), i32> {
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
    let socket = call(libc::SYS_socket, [libc::AF_INET as usize, kind, 0, 0, 0, 0])?;
    // The kernel's ifreq: a name of 16 bytes, flags, and room to 40 bytes.
    let mut request = [0_u8; 40];
    request[0] = b'l';
    request[1] = b'o';
    request[16] = libc::IFF_UP as u8;
    let raised = call(libc::SYS_ioctl, [socket, SIOCSIFFLAGS, request.as_ptr().addr(), 0, 0, 0]);
    call(libc::SYS_close, [socket, 0, 0, 0, 0, 0])?;
    raised.map(|_| ())
}

/// A capability that this kernel does not know cannot be had either.
fn drop_capability(capability: usize) -> Result<(), i32> {
    match call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability, 0, 0, 0, 0]) {
        Ok(_) | Err(libc::EINVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Says on standard error where it went wrong; the error itself travels with the failure. Best effort.
fn complain(path: *const u8) {
    let mut length = 0;
    // SAFETY: a string of the slot or of the program, which ends with NUL.
    while unsafe { path.wrapping_add(length).read() } != 0 {
        length += 1;
    }
    for (text, length) in
        [(c"roundsman: cannot set up the sandbox at ".as_ptr().cast(), 40), (path, length), (c"\n".as_ptr().cast(), 1)]
    {
        let _unheard = call(libc::SYS_write, [2, text.addr(), length, 0, 0, 0]);
    }
}

const CWD: usize = libc::AT_FDCWD as usize;
const MS_REC: usize = libc::MS_REC as usize;
const AT_SYMLINK_NOFOLLOW: usize = libc::AT_SYMLINK_NOFOLLOW as usize;
/// open_tree(2), mount_setattr(2), move_mount(2); not in libc for all machines.
const AT_RECURSIVE: usize = 0x8000;
const OPEN_TREE_CLONE: usize = 1;
const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
/// netdevice(7).
const SIOCSIFFLAGS: usize = 0x8914;
/// seccomp(2).
const SECCOMP_SET_MODE_FILTER: usize = 1;
/// Bits of a set of capabilities.
const CAPABILITIES_MAX: usize = 64;

impl Confined {
    /// The one that a plan names.
    ///
    /// # Safety
    /// `place` must be null, or what [`lay_out`] gave for the slot at hand.
    pub(super) unsafe fn named<'a>(place: *const Self) -> Option<&'a Self> {
        if ptr::eq(place, ptr::null()) {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(unsafe { &*place })
    }
}

#[cfg(test)]
mod tests;
