use std::{ffi::CStr, ptr};

use super::{plan::PID_DIGITS_MAX, program::Program};

/// Memory that is filled from its start.
pub(super) struct Room<'a> {
    start: *mut u8,
    memory: &'a mut [u8],
    used: usize,
}

/// A string for a list of pointers: still to be placed, or placed already.
pub(super) enum Text<'a> {
    New(&'a [u8]),
    There(usize),
}

/// Values that lie side by side in a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<T> {
    pub(super) at: *const T,
    pub(super) count: usize,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { at: ptr::null(), count: 0 }
    }
}

impl<'a> Room<'a> {
    pub(super) const fn new(memory: &'a mut [u8]) -> Self {
        Self { start: memory.as_mut_ptr(), memory, used: 0 }
    }

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

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<*mut u8> {
        let at = self.reserve(bytes.len(), false)?;
        self.write(at, bytes)?;
        Some(self.address(at))
    }

    pub(super) fn c_text(&mut self, text: &CStr) -> Option<*const u8> {
        self.bytes(text.to_bytes_with_nul()).map(<*mut u8>::cast_const)
    }

    /// A string that may come from outside: one with a NUL byte fits nowhere.
    pub(super) fn text(&mut self, text: &str) -> Option<*const u8> {
        let at = self.reserve(text.len() + 1, false).filter(|_| !text.contains('\0'))?;
        self.write(at, text.as_bytes())?;
        self.write(at + text.len(), &[0])?;
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

    /// Plain values, one after the other.
    pub(super) fn values<T>(&mut self, values: &[T]) -> Option<*const T> {
        const { assert!(align_of::<T>() <= 8 && !std::mem::needs_drop::<T>(), "plain values in words") };
        let at = self.reserve(size_of_val(values), true)?;
        let place = self.address(at).cast::<T>();
        // SAFETY: as many bytes have just been reserved for them, aligned for their largest field.
        unsafe { place.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Some(place)
    }

    /// The same, with their number.
    pub(super) fn list<T>(&mut self, values: &[T]) -> Option<List<T>> {
        Some(List { at: self.values(values)?, count: values.len() })
    }

    pub(super) fn strings<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t [u8]>) -> Option<*const *const u8> {
        self.pointers(texts.len(), texts.map(Text::New))
    }

    /// A list of pointers to strings, with a null at its end.
    pub(super) fn pointers<'t>(
        &mut self,
        count: usize,
        texts: impl Iterator<Item = Text<'t>>,
    ) -> Option<*const *const u8> {
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

    /// The names in an absolute path, one after the other.
    pub(super) fn names(&mut self, path: &CStr) -> Option<*const *const u8> {
        let names: Vec<Vec<u8>> = path
            .to_bytes()
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .map(|name| [name, b"\0"].concat())
            .collect();
        self.strings(names.iter().map(Vec::as_slice))
    }

    /// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, and where the child writes its pid. Source: sd_listen_fds(3).
    pub(super) fn listen_environment(&mut self, program: &Program<'_>) -> Option<(Vec<usize>, *mut u8)> {
        let Some(names) = program.listen else { return Some((Vec::new(), ptr::null_mut())) };
        let name = b"LISTEN_PID=";
        let start = self.bytes(name)?;
        let digits = self.bytes(&[0; PID_DIGITS_MAX])?;
        let fds = self.bytes(format!("LISTEN_FDS={}\0", program.fds.len().saturating_sub(3)).as_bytes())?;
        let names = self.bytes(format!("LISTEN_FDNAMES={names}\0").as_bytes())?;
        Some((vec![start.addr(), fds.addr(), names.addr()], digits))
    }
}
