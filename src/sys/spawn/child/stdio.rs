use std::slice;

use super::{HERE, at, call, close, list, open_at, write_all};
use crate::{
    base::SpawnStep,
    sys::spawn::{
        plan::{Plan, PlannedOpen},
        program::Control,
    },
};

/// The first three descriptors have steps of their own.
const STEPS: [SpawnStep; 3] = [SpawnStep::Stdin, SpawnStep::Stdout, SpawnStep::Stderr];
/// What files that are made may at most be, before the mask.
const FILE_MODE: u32 = 0o666;
/// How long a wait for a terminal sleeps between tries, in nanoseconds.
const TERMINAL_PAUSE_NANOS: i64 = 100_000_000;

/// Opens what it was not given. An open that waits (a FIFO without its other end) keeps nobody but this child.
pub(super) fn open_own(plan: &Plan) -> Result<(), i32> {
    // SAFETY: the plan names a list of its own slot, which nobody else touches any more.
    let sources = unsafe { slice::from_raw_parts_mut(plan.fds, plan.fds_count) };
    for (place, open) in plan.opens.iter().enumerate() {
        if let Some(step) = STEPS.get(place) {
            at(plan, *step);
        }
        let fd = match open {
            PlannedOpen::Given => continue,
            PlannedOpen::File { path, flags } => open_file(*path, *flags, FILE_MODE & !plan.umask)?,
            PlannedOpen::Data(bytes) => data(list(bytes))?,
            PlannedOpen::Terminal { path, control } => terminal(path.addr(), *control, plan.user.map(|user| user.0))?,
            PlannedOpen::Same(earlier) => sources.get(*earlier).map_or(0, |source| *source as usize),
        };
        if let Some(source) = sources.get_mut(place) {
            *source = fd as i32;
        }
    }
    Ok(())
}

/// Moves what is inherited to 0, 1, 2 …; all else closes on exec.
pub(super) fn place_descriptors(plan: &Plan) -> Result<(), i32> {
    at(plan, SpawnStep::Stdin);
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
        if target <= STEPS.len() {
            at(plan, STEPS.get(target).copied().unwrap_or(SpawnStep::Descriptors));
        }
        if *source as usize == target {
            call(libc::SYS_fcntl, [target, libc::F_SETFD as usize, 0, 0, 0, 0])?;
        } else {
            call(libc::SYS_dup3, [*source as usize, target, 0, 0, 0, 0])?;
        }
    }
    Ok(())
}

fn open_file(path: *const u8, flags: i32, mode: u32) -> Result<usize, i32> {
    match open_at(HERE, path.addr(), flags | libc::O_NOCTTY, mode) {
        // What open(2) says of a socket.
        Err(libc::ENXIO) => connect(path, flags),
        opened => opened,
    }
}

/// A stream to the socket at `path`, for the direction that is wanted only.
fn connect(path: *const u8, flags: i32) -> Result<usize, i32> {
    // SAFETY: the structure holds numbers only, for which zero is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let text = path.cast::<libc::c_char>();
    let mut length = 0;
    loop {
        // SAFETY: the plan ends the path with a NUL, behind which we do not go.
        let byte = unsafe { text.wrapping_add(length).read() };
        // The last byte stays NUL.
        if length + 1 >= address.sun_path.len() {
            return Err(libc::ENAMETOOLONG);
        }
        if byte == 0 {
            break;
        }
        if let Some(place) = address.sun_path.get_mut(length) {
            *place = byte;
        }
        length += 1;
    }
    let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as usize;
    let fd = call(libc::SYS_socket, [libc::AF_UNIX as usize, kind, 0, 0, 0, 0])?;
    let bytes = size_of::<libc::sockaddr_un>();
    call(libc::SYS_connect, [fd, (&raw const address).addr(), bytes, 0, 0, 0])?;
    let unused = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => libc::SHUT_WR,
        libc::O_WRONLY => libc::SHUT_RD,
        _ => return Ok(fd),
    };
    call(libc::SYS_shutdown, [fd, unused as usize, 0, 0, 0, 0])?;
    Ok(fd)
}

/// A file in memory that nobody can change.
fn data(bytes: &[u8]) -> Result<usize, i32> {
    let flags = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) as usize;
    let fd = call(libc::SYS_memfd_create, [c"stdin".as_ptr().addr(), flags, 0, 0, 0, 0])?;
    write_all(fd, bytes)?;
    call(libc::SYS_lseek, [fd, 0, libc::SEEK_SET as usize, 0, 0, 0])?;
    let seals = (libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE) as usize;
    call(libc::SYS_fcntl, [fd, libc::F_ADD_SEALS as usize, seals, 0, 0, 0])?;
    Ok(fd)
}

fn terminal(path: usize, control: Control, user: Option<u32>) -> Result<usize, i32> {
    let fd = open_at(HERE, path, libc::O_RDWR | libc::O_NOCTTY, 0)?;
    let take = |force: usize| call(libc::SYS_ioctl, [fd, libc::TIOCSCTTY as usize, force, 0, 0, 0]);
    match control {
        Control::No => return Ok(fd),
        Control::Force => take(1)?,
        Control::Fail => take(0)?,
        Control::Wait => loop {
            match take(0) {
                // Another session has it.
                Err(libc::EPERM) => pause(),
                taken => break taken?,
            }
        },
    };
    if let Some(uid) = user
        && call(libc::SYS_fchown, [fd, uid as usize, u32::MAX as usize, 0, 0, 0]).is_err()
    {
        close(fd);
        return Err(libc::EPERM);
    }
    Ok(fd)
}

fn pause() {
    let span = libc::timespec { tv_sec: 0, tv_nsec: TERMINAL_PAUSE_NANOS };
    // A pause that is cut short only means that it is tried earlier.
    let _woken = call(libc::SYS_nanosleep, [(&raw const span).addr(), 0, 0, 0, 0, 0]);
}
