//! A /dev with nothing in it but what every program may have (systemd.exec(5), PrivateDevices=).

use std::path::Path;

use super::{
    mount_options::{NO_SUID, STRICT_ATIME},
    mounts::{Plan, text},
};
use crate::base::confinement::MountStep;

/// Nodes are shown from the host's /dev, as containers may not make any.
const NODES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
const DIRECTORIES: [&str; 4] = ["hugepages", "mqueue", "pts", "shm"];
const LINKS: [(&str, &str); 5] = [
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];
/// What is a link on some hosts and a file on others.
const LINKS_OR_FILES: [&str; 2] = ["log", "ptmx"];

/// Where the host has its own.
const HOST: &str = "/dev";

/// The steps that mount it at `path` and fill it.
pub(super) fn make(plan: &mut Plan<'_>, path: &Path) {
    plan.mount("tmpfs", path, NO_SUID | STRICT_ATIME, "mode=0755,size=4m,nr_inodes=64k", false);
    for name in DIRECTORIES {
        plan.then.push(MountStep::MakeDirectory { path: text(&path.join(name)) });
        show(plan, name, path);
    }
    for name in NODES {
        show_file(plan, name, path);
    }
    for name in LINKS_OR_FILES {
        let of_host = Path::new(HOST).join(name);
        match (plan.host.look)(&of_host) {
            Some(seen) if seen.path != of_host => {
                plan.then.push(MountStep::MakeLink { path: text(&path.join(name)), to: text(&seen.path) });
            }
            Some(_) => show_file(plan, name, path),
            None => {}
        }
    }
    for (name, to) in LINKS {
        // A kernel may have no memory to show.
        if name == "core" && (plan.host.look)(Path::new(to)).is_none() {
            continue;
        }
        plan.then.push(MountStep::MakeLink { path: text(&path.join(name)), to: to.to_owned() });
    }
}

fn show_file(plan: &mut Plan<'_>, name: &str, path: &Path) {
    if (plan.host.look)(&Path::new(HOST).join(name)).is_some() {
        plan.then.push(MountStep::MakeFile { path: text(&path.join(name)) });
        show(plan, name, path);
    }
}

/// Shows what the host has of this name; it may have none.
fn show(plan: &mut Plan<'_>, name: &str, path: &Path) {
    let of_host = Path::new(HOST).join(name);
    if (plan.host.look)(&of_host).is_some() {
        let place = plan.hold(&of_host, true, true);
        plan.put(place, &path.join(name), false);
    }
}
