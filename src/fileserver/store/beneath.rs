use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// A directory below which paths are opened, and never outside of it.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
    /// openat2(2) is refused here, by an old kernel or a seccomp filter: each directory is opened by itself.
    step_by_step: AtomicBool,
}

impl Beneath {
    pub(super) const fn new(root: OwnedFd) -> Self {
        Self { root, step_by_step: AtomicBool::new(false) }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path` without following any symbolic link: one on the way is ENOTDIR or ELOOP, and so is one at its end,
    /// unless `flags` has O_PATH, which opens the link itself.
    pub(super) fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if self.step_by_step.load(Ordering::Relaxed) {
            return self.open_step_by_step(path, flags, mode);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.root, path, flags, mode, resolve) {
            // EPERM is what old container runtimes answer for calls they do not know.
            Err(Errno::NOSYS | Errno::PERM) => {
                self.step_by_step.store(true, Ordering::Relaxed);
                self.open_step_by_step(path, flags, mode)
            }
            // A name changed under the resolution of "..", which our paths do not have; asked again once.
            Err(Errno::AGAIN) => rustix::fs::openat2(&self.root, path, flags, mode, resolve),
            answer => answer,
        }
    }

    fn open_step_by_step(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
        let mut at: Option<OwnedFd> = None;
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
            let here = at.as_ref().map_or_else(|| self.root.as_fd(), AsFd::as_fd);
            let next = rustix::fs::openat(here, folder, step, Mode::empty())?;
            at = Some(next);
        }
        let here = at.as_ref().map_or_else(|| self.root.as_fd(), AsFd::as_fd);
        rustix::fs::openat(here, name, flags, mode)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn no_link_leads_out_of_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        fs::write(root.join("a/b/c"), "in").unwrap();
        symlink(&outside, root.join("a/out")).unwrap();
        symlink("/etc/passwd", root.join("a/passwd")).unwrap();
        symlink("b", root.join("a/inner")).unwrap();
        for step_by_step in [false, true] {
            let fd = rustix::fs::open(&root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            let beneath = Beneath { root: fd, step_by_step: AtomicBool::new(step_by_step) };
            for flags in [OFlags::RDONLY, OFlags::PATH] {
                let open = |path| beneath.open(path, flags, Mode::empty());
                assert!(open("a/b/c").is_ok());
                assert_eq!(open("a/b/none").unwrap_err(), Errno::NOENT);
                assert_eq!(open("a/b/c/d").unwrap_err(), Errno::NOTDIR);
                let at_the_end = ["a/passwd", "a/out"].iter().filter(|_| flags == OFlags::RDONLY);
                for path in ["a/out/secret", "a/inner/c"].iter().chain(at_the_end) {
                    let errno = open(path).unwrap_err();
                    assert!(matches!(errno, Errno::LOOP | Errno::NOTDIR), "{path}: {errno}");
                }
            }
        }
    }
}
