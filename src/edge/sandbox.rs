//! What this host has for sandboxes: what stands at a path, what is put over things that are not to be seen, and which
//! features the kernel lets us use.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat},
    sched::CloneFlags,
    sys::stat::{Mode, SFlag, mknod},
};

use crate::{
    sys,
    unit::sandbox::{Feature, FileKind, Seen},
};

/// What stands at a path, behind its symbolic links.
pub fn look(path: &Path) -> Option<Seen> {
    let real = fs::canonicalize(path).ok()?;
    let kind = kind(fs::symlink_metadata(&real).ok()?.file_type());
    Some(Seen { path: real, kind })
}

/// What the symbolic link at a path says, if there is one.
pub fn link(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

fn kind(kind: fs::FileType) -> FileKind {
    if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_char_device() {
        FileKind::CharacterDevice
    } else if kind.is_block_device() {
        FileKind::BlockDevice
    } else if kind.is_fifo() {
        FileKind::Fifo
    } else if kind.is_socket() {
        FileKind::Socket
    } else {
        FileKind::Regular
    }
}

/// A directory that is a process' `/`: paths in there are as the process has them.
#[derive(Debug)]
pub struct Jail {
    /// With where it is, as the kernel says; nothing where there is no directory.
    folder: Option<(fs::File, PathBuf)>,
}

impl Jail {
    /// The one at this path. One that is not there holds nothing.
    pub fn open(path: &Path) -> Self {
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let folder = fs::File::options().read(true).custom_flags(flags).open(path).ok();
        Self { folder: folder.and_then(|folder| named(&folder).map(|path| (folder, path))) }
    }

    /// What stands at a path, behind its symbolic links, which do not lead out.
    pub fn look(&self, path: &Path) -> Option<Seen> {
        let (_, top) = self.folder.as_ref()?;
        let found = self.find(path, OFlag::empty())?;
        let real = Path::new("/").join(named(&found)?.strip_prefix(top).ok()?);
        Some(Seen { path: real, kind: kind(found.metadata().ok()?.file_type()) })
    }

    /// What the symbolic link at a path says, if there is one.
    pub fn link(&self, path: &Path) -> Option<PathBuf> {
        let link = self.find(path, OFlag::O_NOFOLLOW)?;
        readlinkat(&link, "").ok().map(PathBuf::from)
    }

    /// Whether a path is where something is mounted.
    pub fn is_mounted(&self, path: &Path) -> bool {
        let mount = |path: &Path| mount_id(&self.find(path, OFlag::empty())?);
        let above = path.parent().and_then(mount);
        mount(path).is_some_and(|here| above != Some(here))
    }

    fn find(&self, path: &Path, more: OFlag) -> Option<fs::File> {
        let (folder, _) = self.folder.as_ref()?;
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | more).resolve(resolve);
        // EAGAIN: something was renamed meanwhile, and ".." may have been wrong.
        let found =
            (0..TRIES_MAX).map(|_| openat2(folder, path, how)).find(|found| !matches!(found, Err(Errno::EAGAIN)));
        found?.ok().map(fs::File::from)
    }
}

/// Renames that are put up with in one look.
const TRIES_MAX: usize = 100;

fn named(file: &fs::File) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// proc(5), fdinfo.
fn mount_id(file: &fs::File) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// Makes a directory with one file of each kind that nobody may use, and is content with what is there already.
///
/// # Errors
/// When one cannot be made.
pub fn make_masks(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).recursive(true).create(folder)?;
    for kind in FileKind::ALL {
        let path = folder.join(kind.mask());
        let made = match kind {
            FileKind::Directory => fs::DirBuilder::new().mode(0o000).create(&path),
            FileKind::Regular => make_node(&path, SFlag::S_IFREG),
            FileKind::CharacterDevice => make_node(&path, SFlag::S_IFCHR),
            FileKind::BlockDevice => make_node(&path, SFlag::S_IFBLK),
            FileKind::Fifo => make_node(&path, SFlag::S_IFIFO),
            FileKind::Socket => make_node(&path, SFlag::S_IFSOCK),
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A container may have no devices; an empty file hides one as well.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => make_node(&path, SFlag::S_IFREG)?,
            other => other?,
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000))?;
    }
    Ok(())
}

/// A device has the number 0:0, which no driver has.
fn make_node(path: &Path, kind: SFlag) -> io::Result<()> {
    mknod(path, kind, Mode::empty(), 0).map_err(io::Error::from)
}

/// Tries whether a feature can be had. Takes about a millisecond.
///
/// # Errors
/// What the kernel said.
pub fn try_feature(feature: Feature) -> io::Result<()> {
    match feature {
        Feature::Mounts => try_namespace(CloneFlags::CLONE_NEWNS),
        Feature::Network => try_namespace(CloneFlags::CLONE_NEWNET),
        Feature::Ipc => try_namespace(CloneFlags::CLONE_NEWIPC),
        Feature::Hostname => try_namespace(CloneFlags::CLONE_NEWUTS),
        Feature::BoundingSet => has_capability(SETPCAP),
        Feature::Filter => sys::try_filters(),
    }
}

fn try_namespace(kind: CloneFlags) -> io::Result<()> {
    sys::try_namespaces(kind.bits().cast_unsigned())
}

/// Whether we may do what root may: a filter then needs no `no_new_privileges`.
pub fn is_admin() -> bool {
    has_capability(SYS_ADMIN).is_ok()
}

fn has_capability(number: u32) -> io::Result<()> {
    let own = sys::effective_capabilities()?;
    if own >> number & 1 == 1 { Ok(()) } else { Err(Errno::EPERM.into()) }
}

/// capabilities(7), by their numbers in linux/capability.h.
const SETPCAP: u32 = 8;
const SYS_ADMIN: u32 = 21;

/// A path as the child is told it: from the root.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        fs::write(root.join("real/file"), "").unwrap();
        let seen = look(&root.join("link/file")).unwrap();
        assert_eq!(seen, Seen { path: root.join("real/file"), kind: FileKind::Regular });
        assert_eq!(look(&root.join("link")).unwrap().kind, FileKind::Directory);
        assert_eq!(look(Path::new("/dev/null")).unwrap().kind, FileKind::CharacterDevice);
        assert_eq!(look(&root.join("none")), None);
    }

    #[test]
    fn links_in_a_root_are_followed_within_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("etc/deep")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        for (name, to) in [("absolute", "/etc/deep"), ("up", "../../../etc"), ("out", "/proc/self/root/etc")] {
            std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(folder.path().join("outside"), root.join("gone")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let jail = Jail::open(&root);
        let seen = |path: &str| jail.look(Path::new(path)).map(|seen| (seen.path.display().to_string(), seen.kind));
        let directory = |path: &str| Some((path.to_owned(), FileKind::Directory));
        assert_eq!(seen("/"), directory("/"));
        assert_eq!(seen("/absolute"), directory("/etc/deep"));
        assert_eq!(seen("/up/deep"), directory("/etc/deep"));
        assert_eq!(seen("/absolute/../../.."), directory("/"));
        assert_eq!(seen("/file"), Some(("/file".to_owned(), FileKind::Regular)));
        assert_eq!((seen("/gone"), seen("/out"), seen("/none")), (None, None, None));
        assert_eq!(jail.link(Path::new("/up")), Some("../../../etc".into()));
        assert_eq!((jail.link(Path::new("/etc")), jail.link(Path::new("/none"))), (None, None));
        assert!(!jail.is_mounted(Path::new("/etc")));
        for none in ["none", "file"] {
            assert_eq!(Jail::open(&root.join(none)).look(Path::new("/")), None);
        }
        let host = Jail::open(Path::new("/"));
        assert!(host.is_mounted(Path::new("/proc")) && !host.is_mounted(Path::new("/proc/self/task")));
    }

    #[test]
    fn masks_are_made_once_and_nobody_may_use_them() {
        let folder = tempfile::tempdir().unwrap();
        let masks = folder.path().join("masks");
        for _ in 0..2 {
            make_masks(&masks).unwrap();
        }
        for kind in FileKind::ALL {
            let path = masks.join(kind.mask());
            assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777, 0, "{kind:?}");
            if nix::unistd::geteuid().is_root() {
                assert_eq!(look(&path).unwrap().kind, kind);
            }
        }
    }
}
