use std::path::Path;

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

    /// What is there without what is shown: what can be mounted on.
    pub(super) fn stands(&self, path: &Path) -> Option<Seen> {
        match self.host.root {
            Some(Root { look, .. }) => look(path),
            None => (self.host.look)(path),
        }
    }
}
