use std::path::{Component, Path, PathBuf};

use super::{Host, Root, Seen, entry::mounts_api};
use crate::unit::spec::{SandboxSpec, Switch};

/// What a process finds at a path before its sandbox changes anything: what the host has there, or what its root has, into
/// which some of the host is shown.
pub(super) struct View<'a> {
    host: &'a Host<'a>,
    /// What of the kernel's the root has from the host.
    shown: Vec<&'static str>,
}

impl<'a> View<'a> {
    pub(super) fn new(spec: &SandboxSpec, host: &'a Host<'a>) -> Self {
        let mut shown = Vec::new();
        if let Some(Root { is_mounted, .. }) = host.root {
            let api = mounts_api(spec);
            let is_missing = |path: &&str| api && !is_mounted(Path::new(path));
            // Of processes there is a view of its own, whatever is mounted.
            shown.extend(api.then_some("/proc"));
            shown.extend(Some("/sys").filter(is_missing));
            shown.extend(Some("/dev").filter(|path| spec.on.has(Switch::PrivateDevices) || is_missing(path)));
        }
        Self { host, shown }
    }

    /// Whether the host's is shown there.
    pub(super) fn shows(&self, path: &str) -> bool {
        self.shown.contains(&path)
    }

    pub(super) fn look(&self, path: &Path) -> Option<Seen> {
        let is_shown = self.shown.iter().any(|shown| path.starts_with(shown));
        if is_shown { (self.host.look)(path) } else { self.stands(path) }
    }

    /// Where a path leads of which the end may not be there yet, nor that of a symbolic link on the way.
    pub(super) fn reach(&self, path: &Path) -> PathBuf {
        let link = |path: &Path| self.host.root.map_or(self.host.link, |root| root.link)(path);
        reached(path, &|path| self.look(path), &link)
    }

    /// What is there without what is shown: what can be mounted on.
    pub(super) fn stands(&self, path: &Path) -> Option<Seen> {
        match self.host.root {
            Some(Root { look, .. }) => look(path),
            None => (self.host.look)(path),
        }
    }
}

/// Where a path leads on the host of which the end may not be there yet.
pub(super) fn reached_on(host: &Host<'_>, path: &Path) -> PathBuf {
    reached(path, host.look, host.link)
}

fn reached(path: &Path, look: &dyn Fn(&Path) -> Option<Seen>, link: &dyn Fn(&Path) -> Option<PathBuf>) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let there = path.ancestors().find_map(|up| Some((look(up)?.path, path.strip_prefix(up).ok()?)));
        let Some((real, rest)) = there else { break };
        let mut missing = rest.components();
        let led = missing.next().and_then(|first| link(&real.join(first)));
        let Some(to) = led else { return real.join(rest).components().collect() };
        path = followed(&real, &to).join(missing.as_path());
    }
    path.components().collect()
}

/// Where a link in a directory leads that has no link in its own path.
fn followed(folder: &Path, to: &Path) -> PathBuf {
    let mut folder = if to.is_absolute() { PathBuf::from("/") } else { folder.to_owned() };
    let mut rest = to.components();
    while let Some(Component::RootDir | Component::CurDir | Component::ParentDir) = rest.clone().next() {
        if rest.next() == Some(Component::ParentDir) {
            folder.pop();
        }
    }
    folder.join(rest.as_path())
}

/// As many links on one way as the kernel follows, path_resolution(7).
const LINKS_MAX: usize = 40;
