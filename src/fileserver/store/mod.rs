//! Where the files are: a directory of stored files and, in `.hfs/parts` inside it, files that are not whole yet.
//!
//! A part becomes a stored file by one renameat2(2) that never replaces, so nobody ever sees a partial file and no
//! name is ever given twice. No path is followed out of the directory, nor through a symbolic link. What a change here
//! usually breaks: the order of syncing (content, then name), and the reservation of space.

mod beneath; // opening by path without leaving the store
mod part; // a file in the making
mod space; // what is free and what is promised

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{answer::Found, condition::FileFacts, media::MEDIA_TYPE_BYTES_MAX, media::is_media_type, path::ObjectPath};
use beneath::Beneath;
use space::Space;

pub use part::{Part, PublishError};
pub use space::Reservation;

/// Mode of directories; the umask takes its part.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of files.
const FILE_MODE: u32 = 0o640;
/// Where parts lie, below the store's root; no request's path can begin with a dot.
const PARTS: &str = ".hfs/parts";
/// The extended attribute that keeps the media type, as xdg-shared-mime-info names it.
const MEDIA_TYPE_ATTRIBUTE: &str = "user.mime_type";

/// What a 201 promises about a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Nothing: the kernel writes when it likes.
    None,
    /// The file is there, whole: content and name are on disk before the answer.
    Data,
    /// As `Data`, with all metadata and every directory up to the store's root.
    Full,
}

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be used at all.
    #[error("cannot use {path} as the store")]
    Root {
        /// `storage_path`, or a directory in it.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The disk is full, or what is free is promised to others.
    #[error("cannot take {wanted} bytes into the store: {free} are free or promised to nobody")]
    NoSpace {
        /// Of the upload.
        wanted: u64,
        /// What could be given away.
        free: u64,
    },
    /// A call on one file failed.
    #[error("cannot {verb} {path} in the store")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The name in the store, or that of the part.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    fn file(verb: &'static str, path: impl ToString) -> impl FnOnce(Errno) -> Self {
        let path = path.to_string();
        move |errno| Self::File { verb, path, source: errno.into() }
    }
}

/// The directory of the files.
#[derive(Debug)]
pub struct Store {
    root: Beneath,
    parts: OwnedFd,
    space: Arc<Space>,
}

/// A stored file, open.
#[derive(Debug)]
pub struct Stored {
    /// For reading.
    pub file: OwnedFd,
    /// What is known of it.
    pub found: Found,
}

impl Store {
    /// Opens the store at `path`, making what is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let parts_path = path.join(PARTS);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Root { path, source }
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY_MODE).create(&parts_path).map_err(failed(&parts_path))?;
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(path)(errno.into()))
        };
        let (root, parts) = (open(path)?, open(&parts_path)?);
        rustix::fs::accessat(&parts, ".", rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|errno| failed(&parts_path)(errno.into()))?;
        Ok(Self { root: Beneath::new(root), parts, space: Arc::default() })
    }

    /// Removes parts that no process is writing: their uploads died with it. Returns how many there were.
    pub fn sweep(&self) -> Result<usize, StoreError> {
        let failed = |errno: Errno| StoreError::Root { path: PARTS.into(), source: errno.into() };
        let mut removed = 0;
        for entry in rustix::fs::Dir::read_from(&self.parts).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_bytes().starts_with(b".") {
                continue;
            }
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let Ok(part) = rustix::fs::openat(&self.parts, entry.file_name(), flags, Mode::empty()) else { continue };
            // A process that drains beside us still holds the lock of each of its parts.
            if rustix::fs::flock(&part, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match rustix::fs::unlinkat(&self.parts, entry.file_name(), AtFlags::empty()) {
                    Ok(()) => removed += 1,
                    // It was published, or given up, after we opened it.
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
        }
        Ok(removed)
    }

    /// Whether the name is taken, by a file or anything else.
    pub fn is_taken(&self, path: &ObjectPath) -> Result<bool, StoreError> {
        match self.root.open(path.as_str(), OFlags::PATH, Mode::empty()) {
            Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(StoreError::file("look for", path)(errno)),
        }
    }

    /// Opens a stored file; `None` when there is no regular file of that name.
    pub fn find(&self, path: &ObjectPath) -> Result<Option<Stored>, StoreError> {
        // NONBLOCK so that a FIFO someone put there cannot hold us.
        let file = match self.root.open(path.as_str(), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(StoreError::file("open", path)(errno)),
        };
        let Some(facts) = facts(&file).map_err(StoreError::file("look at", path))? else { return Ok(None) };
        let stored_type = stored_type(&file);
        Ok(Some(Stored { file, found: Found { facts, stored_type } }))
    }

    /// Promises `bytes` of the disk to one upload, so that `min_free` bytes stay free when all uploads are done.
    pub fn reserve(&self, bytes: u64, min_free: u64) -> Result<Reservation, StoreError> {
        let available = self.available()?;
        Space::reserve(&self.space, bytes, min_free, available)
            .map_err(|free| StoreError::NoSpace { wanted: bytes, free })
    }

    /// Bytes the file system has for us.
    pub fn available(&self) -> Result<u64, StoreError> {
        let failed = |errno: Errno| StoreError::Root { path: ".".into(), source: errno.into() };
        let status = rustix::fs::fstatvfs(self.root.fd()).map_err(failed)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// Begins the file that will be `path`.
    pub fn begin(self: &Arc<Self>, path: ObjectPath, reservation: Reservation) -> Result<Part, StoreError> {
        Part::create(Arc::clone(self), path, reservation)
    }
}

/// Size and time of a regular file; `None` for anything else.
fn facts(file: impl AsFd) -> Result<Option<FileFacts>, Errno> {
    let status = rustix::fs::fstat(file)?;
    if !rustix::fs::FileType::from_raw_mode(status.st_mode).is_file() {
        return Ok(None);
    }
    let modified_ns = u32::try_from(status.st_mtime_nsec).unwrap_or(0);
    Ok(Some(FileFacts { size: status.st_size.cast_unsigned(), modified_s: status.st_mtime, modified_ns }))
}

/// The type kept with the file; `None` where there is none, or the file system keeps none.
fn stored_type(file: &OwnedFd) -> Option<String> {
    let mut value = [0; MEDIA_TYPE_BYTES_MAX];
    let length = rustix::fs::fgetxattr(file, MEDIA_TYPE_ATTRIBUTE, &mut value[..]).ok()?;
    let value = value.get(..length).filter(|value| is_media_type(value))?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests;
