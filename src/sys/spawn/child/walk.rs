use super::{call, close, open_at};

/// How deep directories are walked.
pub(super) const DEPTH_MAX: usize = 64;

/// What getdents64(2) puts before each name: inode, offset, length, type.
const HEAD_BYTES: usize = 19;

/// Names of a directory as the kernel writes them.
#[repr(C, align(8))]
struct Names([u8; 2048]);

/// One entry of a directory.
pub(super) struct Entry<'a> {
    /// The open directory.
    pub(super) folder: usize,
    /// Its name, behind which a NUL stands.
    pub(super) name: &'a [u8],
    /// DT_ of readdir(3).
    pub(super) kind: u8,
    /// How many directories below the first.
    pub(super) depth: usize,
}

impl Entry<'_> {
    /// Its name as system calls take it.
    pub(super) fn text(&self) -> usize {
        self.name.as_ptr().addr()
    }
}

/// What is done after an entry was visited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its own entries, if it is a directory.
    Below,
    /// The entry after it.
    Beside,
}

/// Visits each entry below `top`, each directory before what is in it; no symbolic link is followed. The entries of one
/// directory at a time are in memory: after what is below an entry, the directory is read again from behind it.
pub(super) fn walk(top: usize, visit: &mut dyn FnMut(&Entry<'_>) -> Result<Next, i32>) -> Result<(), i32> {
    let mut stack = [top; DEPTH_MAX];
    let mut depth = 0;
    loop {
        let Some(folder) = stack.get(depth).copied() else { return Err(libc::ELOOP) };
        let result = match entries(folder, depth, visit) {
            Ok(Some(below)) => {
                depth += 1;
                match stack.get_mut(depth) {
                    Some(place) => {
                        *place = below;
                        continue;
                    }
                    None => {
                        close(below);
                        Err(libc::ELOOP)
                    }
                }
            }
            Ok(None) if depth > 0 => {
                close(folder);
                depth -= 1;
                continue;
            }
            Ok(None) => Ok(()),
            Err(errno) => Err(errno),
        };
        for open in stack.iter().take(depth + 1).skip(1) {
            close(*open);
        }
        return result;
    }
}

/// Visits entries of one directory until one is to be gone into, which is opened, or none is left.
fn entries(
    folder: usize,
    depth: usize,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<Next, i32>,
) -> Result<Option<usize>, i32> {
    let mut names = Names([0; 2048]);
    loop {
        let room = names.0.len();
        let filled = call(libc::SYS_getdents64, [folder, names.0.as_mut_ptr().addr(), room, 0, 0, 0])?;
        if filled == 0 {
            return Ok(None);
        }
        let mut left = names.0.get(..filled).unwrap_or_default();
        while let Some(head) = left.first_chunk::<HEAD_BYTES>() {
            let [_, _, _, _, _, _, _, _, o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, kind] = *head;
            let behind = u64::from_ne_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
            let (record, rest) = left.split_at_checked(usize::from(u16::from_ne_bytes([l0, l1]))).unwrap_or_default();
            left = rest;
            let name = record.get(HEAD_BYTES..).unwrap_or_default();
            let length = name.iter().take_while(|byte| **byte != 0).count();
            let name = name.get(..length).unwrap_or_default();
            if matches!(name, b"" | b"." | b"..") {
                continue;
            }
            let entry = Entry { folder, name, kind, depth };
            let may_hold_others = matches!(kind, libc::DT_DIR | libc::DT_UNKNOWN);
            if visit(&entry)? == Next::Beside || !may_hold_others {
                continue;
            }
            match open_at(folder, entry.text(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0) {
                Ok(below) => {
                    call(libc::SYS_lseek, [folder, behind as usize, libc::SEEK_SET as usize, 0, 0, 0])?;
                    return Ok(Some(below));
                }
                // Not a directory after all, or gone.
                Err(libc::ENOTDIR | libc::ELOOP | libc::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
