//! Paths in order, and the steps of each: what holds more comes before what lies in it.
//!
//! Copies of what the host has are taken before anything is changed, so that what is read-only around a path says nothing
//! about the path itself. Then each path is treated once, from the root down: what is put there, then its attributes with
//! everything below. What lies deeper is put on top afterwards and has attributes of its own.
//!
//! A root of its own is entered as soon as the copies of what the host has are taken. All paths after that are the
//! process' own, so that no link in there can lead a mount out of it.

use std::path::{Path, PathBuf};

use super::{
    FileKind, Host, Seen, devices,
    entry::{Entry, What, entries},
    mount_options::{NO_DEVICES, NO_EXEC, NO_SUID},
    view::View,
};
use crate::{
    base::confinement::MountStep,
    unit::spec::{Propagation, SandboxSpec},
};

/// mount(2).
const SHARED: u32 = 1 << 20;
const SLAVE: u32 = 1 << 19;
const PRIVATE: u32 = 1 << 18;
/// mount_setattr(2).
const ATTRIBUTE_READ_ONLY: u32 = 1;
const ATTRIBUTE_NO_SUID: u32 = 2;
const ATTRIBUTE_NO_DEVICES: u32 = 4;
const ATTRIBUTE_NO_EXEC: u32 = 8;

/// The steps for everything that a unit asks for.
pub(super) fn steps(spec: &SandboxSpec, host: &Host<'_>, own_queues: bool) -> Vec<MountStep> {
    let view = View::new(spec, host);
    let placed = in_order(entries(spec, host, &view, own_queues));
    let mut plan = Plan {
        host,
        view: &view,
        placed: &placed,
        holds: 0,
        outside: Vec::new(),
        before: Vec::new(),
        then: Vec::new(),
    };
    for placed in &placed {
        plan.treat(placed);
    }
    let Plan { outside, before, then, .. } = plan;
    let enter = host.root.map(|root| {
        let real = (host.look)(root.path).map_or_else(|| root.path.to_owned(), |seen| seen.path);
        MountStep::EnterRoot { path: text(&real) }
    });
    let last = MountStep::Propagate(match spec.mount_flags {
        None | Some(Propagation::Shared) => SHARED,
        Some(Propagation::Slave) => SLAVE,
        Some(Propagation::Private) => PRIVATE,
    });
    let first = std::iter::once(MountStep::Propagate(SLAVE)).chain(outside).chain(enter);
    first.chain(before).chain(then).chain([last]).collect()
}

/// An entry that counts, with what it is in the end.
#[derive(Debug, Clone)]
struct Placed {
    entry: Entry,
    read_only: bool,
    no_exec: bool,
    /// The nearest path above it at which something else stands than on the host.
    within: Option<usize>,
}

/// From the root down, one for each path, without those that change nothing.
fn in_order(mut entries: Vec<Entry>) -> Vec<Placed> {
    // Paths compare by their parts, so what lies in a directory follows it, and nothing else comes between.
    entries.sort_by(|a, b| (&a.path, &a.what).cmp(&(&b.path, &b.what)));
    let mut placed: Vec<Placed> = Vec::new();
    let mut above: Vec<usize> = Vec::new();
    for entry in merged(entries) {
        while above.last().is_some_and(|at| placed.get(*at).is_none_or(|up| !entry.path.starts_with(&up.entry.path))) {
            above.pop();
        }
        let up = above.last().and_then(|at| placed.get(*at));
        if up.is_some_and(|up| up.entry.what == What::Inaccessible) {
            continue;
        }
        let (around_read_only, around_no_exec) = up.map_or((false, false), Placed::around);
        let around_read_only = entry.what == What::Same && around_read_only;
        let read_only = entry.read_only.unwrap_or(around_read_only);
        let no_exec = entry.no_exec.unwrap_or(around_no_exec);
        if entry.what == What::Same && (read_only, no_exec) == (around_read_only, around_no_exec) {
            continue;
        }
        let differs = |at: &&usize| placed.get(**at).is_some_and(|up| up.entry.what != What::Same);
        let within = above.iter().rev().find(differs).copied();
        let is_seen = within.and_then(|at| placed.get(at)).is_some_and(|up| up.entry.shows(&entry));
        if is_seen && (read_only, no_exec) == up.map_or((false, false), Placed::around) {
            continue;
        }
        above.push(placed.len());
        placed.push(Placed { entry, read_only, no_exec, within });
    }
    placed
}

/// What is said of one path in several places becomes one; of two words about the same, the stricter counts.
fn merged(sorted: Vec<Entry>) -> Vec<Entry> {
    let mut merged: Vec<Entry> = Vec::new();
    let stricter = |one: Option<bool>, other: Option<bool>| one.max(other);
    for entry in sorted {
        match merged.last_mut() {
            Some(last) if last.path == entry.path => {
                last.read_only = stricter(last.read_only, entry.read_only);
                last.no_exec = stricter(last.no_exec, entry.no_exec);
                last.may_miss &= entry.may_miss;
            }
            Some(_) | None => merged.push(entry),
        }
    }
    merged
}

impl Placed {
    /// What holds for what lies in it, unless that says otherwise: whether it is read-only, and not to be executed.
    fn around(&self) -> (bool, bool) {
        match self.entry.what {
            // Read-only is the directory of devices, not what is mounted there.
            What::Devices => (false, false),
            What::Inaccessible
            | What::Bind { .. }
            | What::Processes { .. }
            | What::Empty { .. }
            | What::Queues
            | What::Same => (self.read_only, self.no_exec),
        }
    }

    fn attributes(&self) -> u32 {
        let read_only = if self.read_only { ATTRIBUTE_READ_ONLY } else { 0 };
        let no_exec = if self.no_exec { ATTRIBUTE_NO_EXEC } else { 0 };
        read_only | no_exec
    }
}

pub(super) struct Plan<'a> {
    pub(super) host: &'a Host<'a>,
    view: &'a View<'a>,
    placed: &'a [Placed],
    holds: u16,
    /// Steps on the host, before a root of its own is entered.
    outside: Vec<MountStep>,
    /// Steps in the file systems as they are before anything is changed.
    pub(super) before: Vec<MountStep>,
    /// Steps from the root down.
    pub(super) then: Vec<MountStep>,
}

impl Plan<'_> {
    fn treat(&mut self, placed: &Placed) {
        let Entry { path, what, may_miss, .. } = &placed.entry;
        let fresh = self.within(placed).is_some_and(|up| up.entry.what.is_fresh());
        match what {
            What::Inaccessible => self.hide(placed, fresh),
            What::Bind { source, recursive } => {
                self.make_room(placed, kind(self.host.look, source));
                let place = self.hold(source, *recursive, *may_miss);
                self.put(place, path, *may_miss);
                self.restrict(placed, true);
            }
            What::Empty { flags, options } => {
                self.make_room(placed, FileKind::Directory);
                self.mount("tmpfs", path, *flags, options, false);
                self.make_room_within(placed);
                self.restrict(placed, false);
            }
            What::Devices => {
                self.make_room(placed, FileKind::Directory);
                devices::make(self, path);
                self.make_room_within(placed);
                self.restrict(placed, false);
            }
            What::Processes { options } => {
                self.make_room(placed, FileKind::Directory);
                self.mount("proc", path, NO_SUID | NO_DEVICES | NO_EXEC, options, false);
                self.restrict(placed, false);
            }
            What::Queues => {
                self.make_room(placed, FileKind::Directory);
                self.mount("mqueue", path, NO_SUID | NO_DEVICES | NO_EXEC, "", *may_miss);
            }
            // The root is mounted as it is.
            What::Same if path.parent().is_none() => self.restrict(placed, true),
            What::Same => {
                let place = self.next_place();
                let (is_bound, source) = self.source(placed);
                let hold = MountStep::Hold { place, path: text(&source), recursive: true, may_miss: *may_miss };
                match (fresh, is_bound) {
                    (true, _) => self.then.push(hold),
                    (false, true) => self.on_host().push(hold),
                    (false, false) => self.before.push(hold),
                }
                self.put(place, path, *may_miss);
                self.restrict(placed, true);
            }
        }
    }

    fn hide(&mut self, placed: &Placed, fresh: bool) {
        let Entry { path, may_miss, .. } = &placed.entry;
        let (path, may_miss) = (path.as_path(), *may_miss);
        let kind = match self.source(placed) {
            (true, source) => kind(self.host.look, &source),
            (false, path) => kind(&|path| self.view.look(path), &path),
        };
        let mask = self.host.masks.join(kind.mask());
        let place = self.hold(&mask, false, false);
        // What is fresh may not have it.
        self.put(place, path, may_miss || fresh);
        let attributes = ATTRIBUTE_READ_ONLY | ATTRIBUTE_NO_SUID | ATTRIBUTE_NO_DEVICES | ATTRIBUTE_NO_EXEC;
        let may_miss = may_miss || fresh;
        self.then.push(MountStep::Restrict { path: text(path), attributes, recursive: false, may_miss });
    }

    fn within(&self, placed: &Placed) -> Option<&Placed> {
        placed.within.and_then(|at| self.placed.get(at))
    }

    /// Where the thing is before anything is changed that is found at this path when the sandbox stands, and whether that
    /// is a path of the host, from which it is bound.
    fn source(&self, placed: &Placed) -> (bool, PathBuf) {
        let bound = self.within(placed).and_then(|up| up.entry.source_of(&placed.entry.path));
        (bound.is_some(), bound.unwrap_or_else(|| placed.entry.path.clone()))
    }

    /// Steps on the host.
    const fn on_host(&mut self) -> &mut Vec<MountStep> {
        if self.host.root.is_some() { &mut self.outside } else { &mut self.before }
    }

    const fn next_place(&mut self) -> u16 {
        let place = self.holds;
        self.holds = self.holds.saturating_add(1);
        place
    }

    pub(super) fn hold(&mut self, path: &Path, recursive: bool, may_miss: bool) -> u16 {
        let place = self.next_place();
        self.on_host().push(MountStep::Hold { place, path: text(path), recursive, may_miss });
        place
    }

    pub(super) fn put(&mut self, place: u16, path: &Path, may_miss: bool) {
        self.then.push(MountStep::Put { place, path: text(path), may_miss });
    }

    pub(super) fn mount(&mut self, kind: &str, path: &Path, flags: u32, options: &str, may_miss: bool) {
        let (kind, options) = (kind.to_owned(), options.to_owned());
        self.then.push(MountStep::Mount { kind, path: text(path), flags, options, may_miss });
    }

    fn restrict(&mut self, placed: &Placed, recursive: bool) {
        let Entry { path, may_miss, .. } = &placed.entry;
        if placed.attributes() != 0 {
            let (path, attributes) = (text(path), placed.attributes());
            self.then.push(MountStep::Restrict { path, attributes, recursive, may_miss: *may_miss });
        }
    }

    /// Makes something to mount on, unless it is there. In a fresh file system that was done when it was mounted.
    fn make_room(&mut self, placed: &Placed, kind: FileKind) {
        if self.within(placed).is_some_and(|up| up.entry.what.is_fresh()) {
            return;
        }
        let (is_bound, target) = self.source(placed);
        let wanted = |path: &Path| match is_bound {
            true => (self.host.look)(path).is_none(),
            false => self.view.stands(path).is_none(),
        };
        let steps = room(&target, Path::new("/"), kind, wanted);
        let before = if is_bound { self.on_host() } else { &mut self.before };
        before.extend(steps);
    }

    /// Makes what others of this plan are to be mounted on in a fresh file system.
    fn make_room_within(&mut self, fresh: &Placed) {
        let here = |placed: &&Placed| self.within(placed).is_some_and(|up| up.entry.path == fresh.entry.path);
        let mut steps = Vec::new();
        for placed in self.placed.iter().filter(here) {
            let kind = match &placed.entry.what {
                What::Bind { source, .. } => kind(self.host.look, source),
                What::Empty { .. } | What::Queues => FileKind::Directory,
                What::Inaccessible | What::Devices | What::Processes { .. } | What::Same => continue,
            };
            steps.extend(room(&placed.entry.path, &fresh.entry.path, kind, |_| true));
        }
        self.then.extend(steps);
    }
}

/// What stands at a path; what is not there yet will be a directory.
fn kind(look: &dyn Fn(&Path) -> Option<Seen>, path: &Path) -> FileKind {
    look(path).map_or(FileKind::Directory, |seen| seen.kind)
}

/// The steps that make `path`, and the directories between `below` and it.
fn room(path: &Path, below: &Path, kind: FileKind, wanted: impl Fn(&Path) -> bool) -> Vec<MountStep> {
    let mut missing: Vec<&Path> = path.ancestors().take_while(|up| *up != below).filter(|up| wanted(up)).collect();
    missing.reverse();
    let make = |made: &&Path| {
        let is_file = **made == *path && kind != FileKind::Directory;
        if is_file { MountStep::MakeFile { path: text(made) } } else { MountStep::MakeDirectory { path: text(made) } }
    };
    missing.iter().map(make).collect()
}

/// Paths come from texts, or from a host whose paths the kernel gave; what is not UTF-8 there is not found by the child,
/// which says so.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
