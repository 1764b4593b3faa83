use std::{
    fs::File,
    io::{self, Write},
    num::NonZeroUsize,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::Once,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
    unistd::{SysconfVar, sysconf},
};

/// A file in memory that nobody can change any more, memfd_create(2).
///
/// # Errors
/// When there is no memory or descriptor left.
pub fn sealed_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"roundsman", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file.into())
}

/// What makes a file in memory constant.
const SEALS: SealFlag =
    SealFlag::F_SEAL_SEAL.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// The bytes of a sealed file in memory.
///
/// # Errors
/// When it is not sealed (it could change or shrink while we read), or longer than `limit`.
pub fn read_sealed(fd: BorrowedFd<'_>, limit: usize) -> io::Result<Vec<u8>> {
    let seals = SealFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SEALS) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message in memory is not sealed"));
    }
    let length = File::from(fd.try_clone_to_owned()?).metadata()?.len();
    let length = usize::try_from(length).ok().filter(|length| *length <= limit);
    let length = length.ok_or_else(|| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    let Some(whole) = NonZeroUsize::new(length) else { return Ok(Vec::new()) };
    let mapping = Mapping::map(whole, libc::PROT_READ, libc::MAP_PRIVATE, Some(fd))?;
    // SAFETY: the seals keep all of the mapping in place and constant.
    let bytes = unsafe { std::slice::from_raw_parts(mapping.start(), length) };
    Ok(bytes.to_vec())
}

/// Gives back to the kernel what the allocator holds and nobody uses, malloc_trim(3), and leaves the rest in order.
/// Takes a millisecond or two.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    {
        /// Larger than any piece that lies between others, and small enough to be looked for among them.
        const PIECE: usize = 100 << 10;
        // SAFETY: takes a number, and locks the allocator as any allocation does.
        let _released = unsafe { libc::malloc_trim(0) };
        // It joins the free pieces and leaves them unsorted; the next large request would sort thousands, each in a page
        // that has gone cold by then. So this is that request.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(PIECE)));
    }
}

/// Forgets, the first time that it is called, which pages of our own program are in use. Those that are used again come back
/// at their next use, from the page cache; what a start alone needed, most of it, no longer counts as ours.
pub fn forget_start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the callback has the signature that is asked for and does not unwind; no data is passed.
        let _stopped = unsafe { libc::dl_iterate_phdr(Some(forget_segments), ptr::null_mut()) };
    });
}

/// Of the first object, the program itself: its segments that nobody can write, dl_iterate_phdr(3).
unsafe extern "C" fn forget_segments(object: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let Some(page) = page else { return 1 };
    // SAFETY: the loader passes a description that is valid during the call.
    let object = unsafe { &*object };
    // SAFETY: `dlpi_phdr` points to `dlpi_phnum` headers, which stay as long as the program.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let (Ok(start), Ok(length)) =
            (usize::try_from(object.dlpi_addr.wrapping_add(header.p_vaddr)), usize::try_from(header.p_memsz))
        else {
            continue;
        };
        let within = start % page;
        // SAFETY: whole pages of a private mapping of a file, never written: what is read there afterwards is the same.
        let _done = unsafe { libc::madvise((start - within) as *mut _, within + length, libc::MADV_DONTNEED) };
    }
    1
}

/// Has the allocator hold so much room beyond what is used, from now on and after each time that it grows (mallopt(3),
/// M_TOP_PAD): what is asked for later does not depend on the kernel. A page that nobody has touched takes no memory.
pub fn reserve_memory(bytes: i32) {
    #[cfg(target_env = "gnu")]
    {
        /// Together more than the room that the heap begins with, each small enough to lie in it: it grows at once.
        const PIECE: usize = 100 << 10;
        // SAFETY: takes two numbers.
        let _set = unsafe { libc::mallopt(libc::M_TOP_PAD, bytes) };
        let pieces = [(); 2].map(|()| Vec::<u8>::with_capacity(PIECE));
        drop(std::hint::black_box(pieces));
    }
    #[cfg(not(target_env = "gnu"))]
    let _none_to_be_had = bytes;
}

/// Memory from the kernel, given back when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// `length` zeroed bytes that can be read and written.
    pub(super) fn new(length: NonZeroUsize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(length, libc::PROT_READ | libc::PROT_WRITE, flags, None)
    }

    fn map(length: NonZeroUsize, access: i32, flags: i32, fd: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: a new mapping at a place of the kernel's choice touches no other memory; std offers none.
        let base = unsafe { libc::mmap(ptr::null_mut(), length.get(), access, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, length: length.get() })
    }

    /// The first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Makes `length` bytes from `offset` on unusable, so that whoever runs into them is stopped.
    pub(super) fn guard(&self, offset: usize, length: usize) -> io::Result<()> {
        debug_assert!(offset + length <= self.length);
        let start = self.start().wrapping_add(offset);
        // SAFETY: the range lies within our own mapping and nothing has been placed there yet.
        let done = unsafe { libc::mprotect(start.cast(), length, libc::PROT_NONE) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Mapping {
    /// Gives the memory back and keeps the place: what is read there afterwards is zero.
    pub(super) fn discard(&mut self) {
        // SAFETY: exactly our own mapping, which is private and anonymous. Refused, it changes nothing that matters.
        let _done = unsafe { libc::madvise(self.start().cast(), self.length, libc::MADV_DONTNEED) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, once; who holds a pointer into it holds the mapping too.
        let unmapped = unsafe { libc::munmap(self.start().cast(), self.length) };
        debug_assert_eq!(unmapped, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sealed_memory_reads_back_and_cannot_change() {
        let bytes = vec![7; 100_000];
        let fd = sealed_memory(&bytes).unwrap();
        assert_eq!(read_sealed(fd.as_fd(), 100_000).unwrap(), bytes);
        assert_eq!(read_sealed(fd.as_fd(), 99_999).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
        assert!(File::from(fd).write_all(b"x").is_err());
    }

    #[test]
    fn code_that_a_start_alone_needed_is_forgotten_and_runs_again() {
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let own = format!("{}\n", std::env::current_exe().unwrap().display());
            let code = maps.split_inclusive('\n').skip_while(|line| !(line.contains(" r-xp ") && line.ends_with(&own)));
            let line = code.skip(1).find(|line| line.starts_with("Rss:")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        forget_start();
        let after = resident();
        assert!(after < before, "{before} KiB, then {after}");
    }

    #[test]
    fn memory_that_could_change_is_refused() {
        let fd = memfd_create(c"open", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert_eq!(read_sealed(fd.as_fd(), 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
