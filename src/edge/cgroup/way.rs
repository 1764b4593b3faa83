//! The way back for a keeper that systemd starts while services live.
//!
//! Before version 254, with its DelegateSubgroup=, systemd starts the main process of a unit right in the cgroup that it
//! delegates, and the kernel lets no process into a cgroup that rations (cgroups(7), "no internal processes"). So our unit
//! runs `supervisord make-way` before each start, which systemd does in a cgroup beside: rationing stops there, and begins
//! anew once the keeper has moved aside. A mark says that this start was prepared so, and a keeper moves for no other.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{Cgroups, NoCgroups, controllers::write, here, is_delegated, sub_dirs};
use crate::sys;

/// Where the cgroup says for which start the way was made.
const MARK: &str = "user.roundsman.way";
/// What every start of a unit of systemd has a new one of (systemd.exec(5)).
const START: &str = "INVOCATION_ID";
/// The cgroup in which systemd runs what is not the main process of a unit that has Delegate=.
const CONTROL: &str = "/.control";

/// Why no way can be made.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// There is nothing that rations.
    #[error(transparent)]
    NoCgroups(#[from] NoCgroups),
    /// A control file or the mark.
    #[error("cannot write to {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Lets a process enter the cgroup that systemd has delegated to the unit which runs us.
///
/// # Errors
/// When we are in no such cgroup, or may not change it.
pub fn make_way() -> Result<(), NoWay> {
    let (mount, own) = here()?;
    let ground = mount.join(own.trim_end_matches(CONTROL).trim_start_matches('/'));
    if !is_delegated(&ground) {
        return Err(NoCgroups::NotDelegated(ground).into());
    }
    make_way_in(&ground, &env::var(START).unwrap_or_default()).map_err(|source| NoWay::Write { path: ground, source })
}

fn make_way_in(ground: &Path, start: &str) -> io::Result<()> {
    let is_ours =
        |dir: &PathBuf| dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"roundsman-"));
    sub_dirs(ground).iter().filter(|dir| is_ours(dir)).try_for_each(|dir| stop_rationing_below(dir))?;
    stop_rationing(ground)?;
    sys::set_attribute(ground, MARK, start.as_bytes())
}

/// A controller goes only where none below has it.
fn stop_rationing_below(dir: &Path) -> io::Result<()> {
    sub_dirs(dir).iter().try_for_each(|below| stop_rationing_below(below))?;
    stop_rationing(dir)
}

/// Takes every controller from what is right below a cgroup.
pub(super) fn stop_rationing(dir: &Path) -> io::Result<()> {
    let control = dir.join("cgroup.subtree_control");
    let controllers = fs::read_to_string(&control)?;
    controllers.split_whitespace().try_for_each(|controller| write(&control, &format!("-{controller}")))
}

impl Cgroups {
    /// Whether the way was made for the start that we are.
    pub(super) fn way_is_made(&self) -> bool {
        let mark = sys::attribute(&self.ground, MARK);
        mark.is_some_and(|mark| self.start.as_ref().is_some_and(|start| start.as_bytes() == mark))
    }

    /// Which start of the unit above this is.
    pub(super) fn start_of_ours() -> Option<String> {
        env::var(START).ok().filter(|start| !start.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_is_made_from_below_and_marked_for_one_start() {
        // Not in /tmp, which has no such attributes everywhere.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let ground = folder.path().join("ground");
        let dirs = ["", "roundsman-x", "roundsman-x/web", "roundsman-x/web/own", "elses"].map(|dir| ground.join(dir));
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("cgroup.subtree_control"), "memory").unwrap();
        }
        make_way_in(&ground, "7f").unwrap();
        // As plain files they show the write, which the kernel would carry out.
        let written = dirs.map(|dir| fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap());
        assert_eq!(written, ["-memory", "-memory", "-memory", "-memory", "memory"]);
        assert_eq!(sys::attribute(&ground, MARK).as_deref(), Some(b"7f".as_slice()));
    }
}
