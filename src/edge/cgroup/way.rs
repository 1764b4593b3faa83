//! The way back for a keeper that systemd starts while services live.
//!
//! Before version 254, with its DelegateSubgroup=, systemd starts the main process of a unit right in the cgroup that it
//! delegates, and the kernel lets no process into a cgroup that rations (cgroups(7), "no internal processes"). So our unit
//! has `ExecStopPost=supervisord make-way`, which systemd runs in a cgroup beside, after a crash too: rationing stops there,
//! and begins anew once the next keeper has moved aside. A variable in the unit says so; without it no keeper moves.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{NoCgroups, controllers::write, here, is_delegated, sub_dirs};

/// Set in a unit of systemd that runs `make-way` after each run.
const VARIABLE: &str = "ROUNDSMAN_MAKES_WAY";
/// The cgroup in which systemd runs what is not the main process of a unit that has Delegate=.
const CONTROL: &str = "/.control";

/// Why no way can be made.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// There is nothing that rations.
    #[error(transparent)]
    NoCgroups(#[from] NoCgroups),
    /// A control file below that cgroup.
    #[error("cannot stop rationing in {}", path.display())]
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
    let ground = mount.join(own.strip_suffix(CONTROL).unwrap_or(&own).trim_start_matches('/'));
    if !is_delegated(&ground) {
        return Err(NoCgroups::NotDelegated(ground).into());
    }
    make_way_in(&ground).map_err(|source| NoWay::Write { path: ground, source })
}

fn make_way_in(ground: &Path) -> io::Result<()> {
    let is_ours =
        |dir: &&PathBuf| dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"roundsman-"));
    sub_dirs(ground).iter().filter(is_ours).try_for_each(|dir| stop_rationing_below(dir))?;
    stop_rationing(ground)
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

/// Whether the unit above us makes way for our successor.
pub(super) fn is_made_for_the_next() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| value == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_is_made_below_what_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let ground = folder.path().join("ground");
        let dirs = ["", "roundsman-x", "roundsman-x/web", "roundsman-x/web/own", "elses"].map(|dir| ground.join(dir));
        for dir in &dirs {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("cgroup.subtree_control"), "memory").unwrap();
        }
        make_way_in(&ground).unwrap();
        // As plain files they show the write, which the kernel would carry out.
        let written = dirs.map(|dir| fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap());
        assert_eq!(written, ["-memory", "-memory", "-memory", "-memory", "memory"]);
    }
}
