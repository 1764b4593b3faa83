use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{DIRECTORY_MODE, FILE_MODE, MEDIA_TYPE_ATTRIBUTE, Reservation, Store, StoreError, SyncPolicy, facts};
use crate::fileserver::{condition::FileFacts, path::ObjectPath};

/// How often a part that a sweep took is made anew. One that looks without a pause may take several in a row: between
/// creation and lock a part looks dead.
const CREATE_TRIES: usize = 64;
/// How often a directory that vanishes while we make one in it is made again.
const DIRECTORY_TRIES: usize = 8;

/// A file in the making; dropped before it is published, it is gone.
#[derive(Debug)]
pub struct Part {
    store: Arc<Store>,
    path: ObjectPath,
    /// The part's own name, which nobody can guess or reuse.
    name: String,
    file: OwnedFd,
    written: u64,
    reservation: Reservation,
    published: bool,
}

/// Why a part did not become a stored file.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another upload of the name was first.
    #[error("cannot publish {0}: the name is taken")]
    Taken(ObjectPath),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Part {
    pub(super) fn create(store: Arc<Store>, path: ObjectPath, reservation: Reservation) -> Result<Self, StoreError> {
        for _ in 0..CREATE_TRIES {
            let name = part_name().map_err(|source| StoreError::File {
                verb: "name a part for",
                path: path.to_string(),
                source,
            })?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&store.parts, &name, flags, Mode::from_raw_mode(FILE_MODE))
                .map_err(StoreError::file("begin a part for", &path))?;
            if is_ours(&file).map_err(StoreError::file("lock the part for", &path))? {
                return Ok(Self { store, path, name, file, written: 0, reservation, published: false });
            }
        }
        Err(StoreError::file("begin a part for", &path)(Errno::AGAIN))
    }

    /// The name it will have.
    pub const fn path(&self) -> &ObjectPath {
        &self.path
    }

    /// Bytes so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Appends `bytes`; what the disk cannot take is [`StoreError::NoSpace`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let count = match rustix::io::pwrite(&self.file, bytes, self.written) {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::NOSPC | Errno::DQUOT) => {
                    return Err(StoreError::NoSpace { wanted: bytes.len() as u64, free: 0 });
                }
                Err(errno) => return Err(StoreError::file("write", &self.path)(errno)),
            };
            self.written += count as u64;
            self.reservation.used(count as u64);
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes the part the stored file of its name, with `media_type`. Blocks as long as `sync` needs.
    ///
    /// Content is on disk before the name is, so that a power failure cannot leave a name with torn content.
    pub fn publish(mut self, media_type: Option<&str>, sync: SyncPolicy) -> Result<FileFacts, PublishError> {
        let failed = |verb| StoreError::file(verb, &self.path);
        if let Some(media_type) = media_type {
            let flags = rustix::fs::XattrFlags::empty();
            match rustix::fs::fsetxattr(&self.file, MEDIA_TYPE_ATTRIBUTE, media_type.as_bytes(), flags) {
                // A file system without such attributes serves the type by the file's name.
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(errno) => return Err(failed("keep the media type of")(errno).into()),
            }
        }
        match sync {
            SyncPolicy::None => {}
            SyncPolicy::Data => rustix::fs::fdatasync(&self.file).map_err(failed("sync"))?,
            SyncPolicy::Full => rustix::fs::fsync(&self.file).map_err(failed("sync"))?,
        }
        let facts = facts(&self.file).map_err(failed("look at"))?.ok_or(Errno::BADF).map_err(failed("look at"))?;
        let changed = self.place()?;
        self.published = true;
        if sync != SyncPolicy::None {
            self.sync_folders(changed, sync)?;
        }
        Ok(facts)
    }

    /// Gives the part its name. Returns how many of its folders had to be made.
    fn place(&self) -> Result<usize, PublishError> {
        let mut made = 0;
        for _ in 0..DIRECTORY_TRIES {
            let folder = match self.path.folder() {
                None => self.store.root.fd().try_clone_to_owned().map_err(|source| StoreError::File {
                    verb: "open the folder of",
                    path: self.path.to_string(),
                    source,
                })?,
                Some(folder) => match self.open_folder(folder) {
                    Ok(folder) => folder,
                    Err(Errno::NOENT) => {
                        made += self.make_folders(folder)?;
                        continue;
                    }
                    Err(Errno::NOTDIR | Errno::LOOP) => return Err(PublishError::Taken(self.path.clone())),
                    Err(errno) => return Err(StoreError::file("open the folder of", &self.path)(errno).into()),
                },
            };
            let name = self.path.file_name();
            return match rustix::fs::renameat_with(&self.store.parts, &self.name, &folder, name, RenameFlags::NOREPLACE)
            {
                Ok(()) => Ok(made),
                Err(Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) => Err(PublishError::Taken(self.path.clone())),
                // The folder was removed after we opened it, by a purge of empty ones.
                Err(Errno::NOENT) => continue,
                Err(errno) => Err(StoreError::file("publish", &self.path)(errno).into()),
            };
        }
        Err(StoreError::file("publish", &self.path)(Errno::NOENT).into())
    }

    fn open_folder(&self, folder: &str) -> Result<OwnedFd, Errno> {
        self.store.root.open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Makes each missing folder on the way, and returns how many those were.
    fn make_folders(&self, folder: &str) -> Result<usize, PublishError> {
        let mut made = 0;
        let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
        for end in ends {
            let (whole, _) = folder.split_at(end);
            let (parent, name) = whole.rsplit_once('/').map_or((None, whole), |(parent, name)| (Some(parent), name));
            let parent = parent.map(|parent| self.open_folder(parent)).transpose();
            let parent = match parent {
                Ok(parent) => parent,
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(PublishError::Taken(self.path.clone())),
                Err(errno) => return Err(StoreError::file("open a folder of", &self.path)(errno).into()),
            };
            let here = parent.as_ref().map_or_else(|| self.store.root.fd(), AsFd::as_fd);
            match rustix::fs::mkdirat(here, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                Ok(()) => made += 1,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(StoreError::file("make a folder of", &self.path)(errno).into()),
            }
        }
        Ok(made)
    }

    /// Puts the name on disk: the folder of the file, and above it every folder that got a new entry.
    fn sync_folders(&self, made: usize, sync: SyncPolicy) -> Result<(), StoreError> {
        let mut folder = self.path.folder();
        let mut left = match sync {
            SyncPolicy::Full => usize::MAX,
            SyncPolicy::Data | SyncPolicy::None => made + 1,
        };
        let outcome = loop {
            let synced = match folder {
                Some(folder) => self.open_folder(folder).and_then(rustix::fs::fsync),
                None => rustix::fs::fsync(self.store.root.fd()),
            };
            left = left.saturating_sub(1);
            match (synced, folder) {
                (Err(errno), _) => break Err(errno),
                (Ok(()), None) => break Ok(()),
                (Ok(()), Some(_)) if left == 0 => break Ok(()),
                (Ok(()), Some(path)) => folder = path.rsplit_once('/').map(|(parent, _)| parent),
            }
        };
        outcome.map_err(|errno| {
            // After a failed sync nobody knows what is on disk: what was not promised must not stay.
            self.unpublish();
            StoreError::file("sync the folder of", &self.path)(errno)
        })
    }

    fn unpublish(&self) {
        let folder = self.path.folder().map(|folder| self.open_folder(folder)).transpose();
        if let Ok(folder) = folder {
            let here = folder.as_ref().map_or_else(|| self.store.root.fd(), AsFd::as_fd);
            let _gone = rustix::fs::unlinkat(here, self.path.file_name(), AtFlags::empty());
        }
    }
}

/// A name that nobody can guess.
fn part_name() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("p{}", URL_SAFE_NO_PAD.encode(random)))
}

/// Locks a new part; the lock tells a sweep that the part is alive, and dies with us.
///
/// The sweep of a server that starts beside us may come between making and locking: then the part is lost.
fn is_ours(file: &OwnedFd) -> Result<bool, Errno> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => rustix::fs::fstat(file).map(|status| status.st_nlink > 0),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published {
            let _gone = rustix::fs::unlinkat(&self.store.parts, &self.name, AtFlags::empty());
        }
    }
}
