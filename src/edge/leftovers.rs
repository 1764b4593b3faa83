//! What services leave behind when they stop: their runtime directories and credentials (systemd.exec(5)), their PID files
//! (systemd.service(5)).
//!
//! Moved out of the way at once, so that the next run can make its own, and removed when nothing hurries. What a manager
//! did not come to remove, the next one finds by its name.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    fcntl::{OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, readlinkat, renameat2},
    mount::{MntFlags, umount2},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

/// What is moved out of the way is called so, with a process id and a number.
const PREFIX: &str = ".roundsman-gone.";
/// Names that are tried: one may be taken by what an earlier process of the same id left.
const NAMES_MAX: u32 = 100;
/// Mounts over a directory of credentials that are taken away.
const MOUNTS_MAX: usize = 16;

/// Moves the directory `name` (a relative path) out of the way, within `base`. One that is not there is as good as gone, and
/// what is no directory was never the service's.
///
/// Below `base` no symbolic link is followed: the service may have written there.
pub fn set_aside(base: &Path, name: &str) -> io::Result<()> {
    match try_set_aside(base, name) {
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Ok(()),
        done => Ok(done?),
    }
}

fn try_set_aside(base: &Path, name: &str) -> nix::Result<()> {
    let base = open_base(base)?;
    let (parent, name) = open_parent(&base, name)?;
    openat(&parent, name, FOLDER | OFlag::O_NOFOLLOW, Mode::empty())?;
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    for _ in 0..NAMES_MAX {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let aside = format!("{PREFIX}{}.{number}", std::process::id());
        match renameat2(&parent, name, &base, aside.as_str(), RenameFlags::RENAME_NOREPLACE) {
            Err(nix::Error::EEXIST) => {}
            done => return done,
        }
    }
    Err(nix::Error::EEXIST)
}

/// Removes a symbolic link below `base`; anything else of that name stays.
pub fn remove_link(base: &Path, name: &str) -> io::Result<()> {
    let removed = open_base(base).and_then(|base| {
        let (parent, name) = open_parent(&base, name)?;
        readlinkat(&parent, name)?;
        unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)
    });
    match removed {
        Err(nix::Error::ENOENT | nix::Error::EINVAL) => Ok(()),
        done => Ok(done?),
    }
}

/// Moves a directory of credentials out of the way, from below its mount if it has one.
pub fn set_credentials_aside(base: &Path, name: &str) -> io::Result<()> {
    let path = base.join(name);
    for _ in 0..MOUNTS_MAX {
        if umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_err() {
            break;
        }
    }
    set_aside(base, name)
}

/// Removes the PID file of a service that has ended; it would name a process that is none of ours.
///
/// No symbolic link is followed but /var/run: the service may have written there.
pub fn remove_pid_file(path: &Path) -> io::Result<()> {
    let below_run = path.strip_prefix("/var/run").map(|rest| Path::new("run").join(rest));
    let below_root = below_run.or_else(|_| path.strip_prefix("/").map(Path::to_owned));
    let name = below_root.as_ref().ok().and_then(|path| path.to_str()).ok_or(io::ErrorKind::InvalidFilename)?;
    let removed = open_base(Path::new("/")).and_then(|root| {
        let (parent, name) = open_parent(&root, name)?;
        unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir)
    });
    match removed {
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => Ok(()),
        done => Ok(done?),
    }
}

/// Removes what was moved out of the way. May wait for the disk.
pub fn remove(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // Another daemon may be removing the same; what stays is tried again.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        if let Err(error) =
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        {
            tracing::debug!(path = %entry.path().display(), %error, "cannot remove what a service left; it is tried again");
        }
    }
}

const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

fn open_base(base: &Path) -> nix::Result<OwnedFd> {
    openat(nix::fcntl::AT_FDCWD, base, FOLDER, Mode::empty())
}

/// The directory that `name` stands in, and its last part.
fn open_parent<'n>(base: &OwnedFd, name: &'n str) -> nix::Result<(OwnedFd, &'n str)> {
    let (folders, name) = name.rsplit_once('/').unwrap_or((".", name));
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let parent = openat2(base.as_fd(), folders, OpenHow::new().flags(FOLDER).resolve(resolve))?;
    Ok((parent, name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_is_gone_at_once_and_removed_later() {
        let base = tempfile::tempdir().unwrap();
        for name in ["web", "db"] {
            fs::create_dir_all(base.path().join(name).join("deep/er")).unwrap();
            fs::write(base.path().join(name).join("deep/file"), "x").unwrap();
            set_aside(base.path(), name).unwrap();
            assert!(!base.path().join(name).exists());
        }
        assert_eq!(names(base.path()).len(), 2);
        set_aside(base.path(), "web").unwrap();
        set_aside(&base.path().join("none"), "web").unwrap();
        fs::write(base.path().join("other"), "").unwrap();
        remove(base.path());
        assert_eq!(names(base.path()), ["other"]);
    }

    #[test]
    fn only_the_innermost_goes() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("a/b/c")).unwrap();
        set_aside(base.path(), "a/b").unwrap();
        remove(base.path());
        assert_eq!(names(base.path()), ["a"]);
        assert_eq!(names(&base.path().join("a")), [""; 0]);
    }

    #[test]
    fn no_link_of_a_service_leads_us_out() {
        let (base, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(base.path().join("web")).unwrap();
        fs::create_dir(outside.path().join("victim")).unwrap();
        symlink(outside.path(), base.path().join("web/out")).unwrap();
        assert!(set_aside(base.path(), "web/out/victim").is_err());
        fs::write(base.path().join("file"), "").unwrap();
        for none in ["web/out", "file"] {
            set_aside(base.path(), none).unwrap();
        }
        remove(base.path());
        assert_eq!((names(outside.path()), names(base.path()).len()), (vec!["victim".to_owned()], 2));
    }

    #[test]
    fn a_link_is_removed_and_a_directory_in_its_place_is_not() {
        let base = tempfile::tempdir().unwrap();
        symlink("web", base.path().join("www")).unwrap();
        fs::create_dir(base.path().join("dir")).unwrap();
        for name in ["www", "dir", "none"] {
            remove_link(base.path(), name).unwrap();
        }
        assert_eq!(names(base.path()), ["dir"]);
    }

    #[test]
    fn a_pid_file_goes_and_no_link_of_the_service_leads_to_another() {
        let (base, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let base = base.path().canonicalize().unwrap();
        for folder in [&base, outside.path()] {
            fs::write(folder.join("web.pid"), "1\n").unwrap();
        }
        symlink(outside.path(), base.join("out")).unwrap();
        remove_pid_file(&base.join("web.pid")).unwrap();
        remove_pid_file(&base.join("web.pid")).unwrap();
        remove_pid_file(&base.join("none/web.pid")).unwrap();
        assert!(remove_pid_file(&base.join("out/web.pid")).is_err());
        assert!(remove_pid_file(&base).is_err(), "a directory is no PID file");
        assert_eq!((names(&base), names(outside.path())), (vec!["out".to_owned()], vec!["web.pid".to_owned()]));
    }
}
