use std::{
    os::fd::AsRawFd,
    ptr,
    sync::atomic::{AtomicI32, AtomicU32},
};

use super::{
    Limit, Program,
    confine::{self, Confined},
};

/// What a child reads and writes in our memory. Everything it points at lies in the same slot.
#[derive(Debug)]
#[repr(C)]
pub(in crate::sys) struct Plan {
    /// Not zero while the child is in our memory; the kernel clears it.
    pub(super) inside: AtomicU32,
    /// The step that the child is at, as [`code`](super::child::code) numbers it.
    pub(super) step: AtomicU32,
    /// Why it stopped there; 0 while it has not.
    pub(super) errno: AtomicI32,
    /// The child's pid when a launcher has made it.
    pub(super) launched: AtomicI32,
    pub(super) path: *const u8,
    pub(super) argv: *const *const u8,
    pub(super) envp: *const *const u8,
    pub(super) cwd: *const u8,
    /// Where its own pid belongs in its environment; null when it does not.
    pub(super) listen_pid: *mut u8,
    /// What it inherits: the descriptor in place n becomes n.
    pub(super) fds: *mut i32,
    pub(super) fds_count: usize,
    pub(super) limits: *const Limit,
    pub(super) limits_count: usize,
    pub(super) groups: *const u32,
    pub(super) groups_count: usize,
    /// User and group, when they change.
    pub(super) user: Option<(u32, u32)>,
    pub(super) umask: u32,
    pub(super) nice: Option<i32>,
    pub(super) no_new_privs: bool,
    pub(super) ignore_sigpipe: bool,
    /// The text for /proc/self/oom_score_adj; null when the score does not change.
    pub(super) oom_text: *const u8,
    pub(super) oom_length: usize,
    /// What shuts it in; null when nothing does.
    pub(super) confined: *const Confined,
    /// How the launcher makes the child, where one is needed.
    pub(super) clone: libc::clone_args,
}

/// Room for any pid in decimal, and NUL.
pub(super) const PID_DIGITS_MAX: usize = 11;

/// Lays a program out in `memory`, which the child will read; `None` when it does not fit.
pub(super) fn lay_out(program: &Program<'_>, memory: &mut [u8]) -> Option<Plan> {
    let mut room = Room { start: memory.as_mut_ptr(), memory, used: 0 };
    let (fds_place, fds_count) = room.numbers(program.fds.iter().map(|fd| fd.as_raw_fd()))?;
    let limits = room.values(program.limits)?;
    let groups = program.user.map_or(&[][..], |user| user.groups);
    let (groups_place, groups_count) = room.numbers(groups.iter().map(|group| group.cast_signed()))?;
    let argv = room.strings(program.argv.iter().map(|text| text.as_bytes_with_nul()))?;
    let (extra, listen_pid) = room.listen_environment(program)?;
    let envp = room.pointers(
        program.env.len() + extra.len(),
        program.env.iter().map(|text| Text::New(text.as_bytes_with_nul())).chain(extra.into_iter().map(Text::There)),
    )?;
    let oom = program.oom_score_adj.map(|score| score.to_string());
    let (oom_text, oom_length) = match &oom {
        Some(text) => (room.bytes(text.as_bytes())?.cast_const(), text.len()),
        None => (ptr::null(), 0),
    };
    let confined = program.confinement.map_or(Some(ptr::null()), |what| confine::lay_out(what, &mut room))?;
    // SAFETY: the structure holds numbers only, for which zero is a value.
    let clone: libc::clone_args = unsafe { std::mem::zeroed() };
    Some(Plan {
        inside: AtomicU32::new(1),
        step: AtomicU32::new(0),
        errno: AtomicI32::new(0),
        launched: AtomicI32::new(0),
        path: room.bytes(program.path.to_bytes_with_nul())?,
        argv,
        envp,
        cwd: room.bytes(program.cwd.to_bytes_with_nul())?,
        listen_pid,
        fds: fds_place,
        fds_count,
        limits,
        limits_count: program.limits.len(),
        groups: groups_place.cast_const().cast(),
        groups_count,
        user: program.user.map(|user| (user.uid, user.gid)),
        umask: program.umask,
        nice: program.nice,
        no_new_privs: program.no_new_privs,
        ignore_sigpipe: program.ignore_sigpipe,
        oom_text,
        oom_length,
        confined,
        clone,
    })
}

/// How many bytes a program takes at most when it is laid out.
pub(super) fn bytes_needed(program: &Program<'_>) -> usize {
    let strings = |list: &[std::ffi::CString]| list.iter().map(|text| text.count_bytes() + 1 + 8).sum::<usize>();
    let user = program.user.map_or(0, |user| user.groups.len() * 4);
    strings(program.argv)
        + strings(program.env)
        + program.path.count_bytes()
        + program.cwd.count_bytes()
        + user
        + size_of_val(program.limits)
        + program.fds.len() * 4
        + program.listen.map_or(0, str::len)
        + program.confinement.map_or(0, confine::bytes_needed)
        + FIXED_BYTES
}

/// Terminators, alignment, the score's text and the three LISTEN_ variables.
const FIXED_BYTES: usize = 512;

/// A string for a list of pointers: still to be placed, or placed already.
enum Text<'a> {
    New(&'a [u8]),
    There(usize),
}

/// Memory that is filled from its start.
pub(super) struct Room<'a> {
    start: *mut u8,
    memory: &'a mut [u8],
    used: usize,
}

impl Room<'_> {
    /// Reserves `length` bytes on an eight byte boundary when `aligned`; where they begin.
    fn reserve(&mut self, length: usize, aligned: bool) -> Option<usize> {
        let at = if aligned { self.used.next_multiple_of(8) } else { self.used };
        let end = at.checked_add(length)?;
        if end > self.memory.len() {
            return None;
        }
        self.used = end;
        Some(at)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        self.memory.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    const fn address(&self, at: usize) -> *mut u8 {
        self.start.wrapping_add(at)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<*mut u8> {
        let at = self.reserve(bytes.len(), false)?;
        self.write(at, bytes)?;
        Some(self.address(at))
    }

    pub(super) fn numbers(&mut self, numbers: impl ExactSizeIterator<Item = i32>) -> Option<(*mut i32, usize)> {
        let count = numbers.len();
        let at = self.reserve(count * 4, true)?;
        for (index, number) in numbers.enumerate() {
            self.write(at + index * 4, &number.to_ne_bytes())?;
        }
        Some((self.address(at).cast(), count))
    }

    /// A list of plain values.
    pub(super) fn values<T>(&mut self, values: &[T]) -> Option<*const T> {
        const { assert!(align_of::<T>() <= 8 && !std::mem::needs_drop::<T>(), "plain values in words") };
        let at = self.reserve(size_of_val(values), true)?;
        let place = self.address(at).cast::<T>();
        // SAFETY: as many bytes have just been reserved for them, aligned for their largest field.
        unsafe { place.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Some(place)
    }

    /// A string that may come from outside: one with a NUL byte fits nowhere.
    pub(super) fn text(&mut self, text: &str) -> Option<*const u8> {
        let at = self.reserve(text.len() + 1, false).filter(|_| !text.contains('\0'))?;
        self.write(at, text.as_bytes())?;
        self.write(at + text.len(), &[0])?;
        Some(self.address(at))
    }

    fn strings<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t [u8]>) -> Option<*const *const u8> {
        self.pointers(texts.len(), texts.map(Text::New))
    }

    /// A list of pointers to strings, with a null at its end.
    fn pointers<'t>(&mut self, count: usize, texts: impl Iterator<Item = Text<'t>>) -> Option<*const *const u8> {
        let list = self.reserve((count + 1) * size_of::<usize>(), true)?;
        for (index, text) in texts.enumerate() {
            let address = match text {
                Text::New(bytes) => self.bytes(bytes)?.addr(),
                Text::There(address) => address,
            };
            self.write(list + index * size_of::<usize>(), &address.to_ne_bytes())?;
        }
        self.write(list + count * size_of::<usize>(), &0_usize.to_ne_bytes())?;
        Some(self.address(list).cast_const().cast())
    }

    /// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, and where the child writes its pid. Source: sd_listen_fds(3).
    fn listen_environment(&mut self, program: &Program<'_>) -> Option<(Vec<usize>, *mut u8)> {
        let Some(names) = program.listen else { return Some((Vec::new(), ptr::null_mut())) };
        let name = b"LISTEN_PID=";
        let start = self.bytes(name)?;
        let digits = self.bytes(&[0; PID_DIGITS_MAX])?;
        let fds = self.bytes(format!("LISTEN_FDS={}\0", program.fds.len().saturating_sub(3)).as_bytes())?;
        let names = self.bytes(format!("LISTEN_FDNAMES={names}\0").as_bytes())?;
        Some((vec![start.addr(), fds.addr(), names.addr()], digits))
    }
}
