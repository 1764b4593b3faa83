//! Users and groups of this host, looked up by name at load time so that the keeper never has to.

use nix::unistd::{Gid, Group, User, getgrouplist};
use std::{ffi::CString, fs};

pub use crate::base::Identity;

/// Why a user or group cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The host does not know the user.
    #[error("cannot find user {0:?} (create it, or correct user =)")]
    UnknownUser(String),
    /// The host does not know the group.
    #[error("cannot find group {0:?} (create it, or correct group =)")]
    UnknownGroup(String),
    /// The look-up itself failed.
    #[error("cannot look up {name:?}")]
    LookUp {
        /// What was looked up.
        name: String,
        /// Why it failed.
        #[source]
        source: nix::Error,
    },
}

/// Looks up `user` (name or number), with `group` in place of the user's own and `supplementary` besides theirs.
///
/// May ask the network where the host's user database does; never called between a death and a restart.
pub fn look_up(user: &str, group: Option<&str>, supplementary: &[String]) -> Result<Identity, UserError> {
    let entry = match user.parse::<u32>() {
        Ok(uid) => User::from_uid(uid.into()),
        Err(_) => User::from_name(user),
    }
    .map_err(|source| UserError::LookUp { name: user.to_owned(), source })?
    .ok_or_else(|| UserError::UnknownUser(user.to_owned()))?;
    let gid = group.map_or(Ok(entry.gid), look_up_group)?;
    let mut groups = groups_of(&entry.name, gid)?;
    for name in supplementary {
        groups.push(look_up_group(name)?.as_raw());
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity {
        uid: entry.uid.as_raw(),
        gid: gid.as_raw(),
        groups,
        name: entry.name,
        home: entry.dir.to_string_lossy().into_owned(),
        shell: entry.shell.to_string_lossy().into_owned(),
    })
}

/// Looks up a group by name or number.
pub fn look_up_group(name: &str) -> Result<Gid, UserError> {
    if let Ok(gid) = name.parse::<u32>() {
        return Ok(gid.into());
    }
    Group::from_name(name)
        .map_err(|source| UserError::LookUp { name: name.to_owned(), source })?
        .map(|group| group.gid)
        .ok_or_else(|| UserError::UnknownGroup(name.to_owned()))
}

/// A group of this host's own file, group(5). No directory service is asked: that may wait for a network, and its
/// libraries would stay in this process.
pub fn local_group(name: &str) -> Option<Gid> {
    group_of(&fs::read_to_string("/etc/group").ok()?, name)
}

fn group_of(text: &str, name: &str) -> Option<Gid> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let gid = (fields.next()? == name).then(|| fields.nth(1))??;
        gid.parse::<u32>().ok().map(Gid::from_raw)
    })
}

fn groups_of(user: &str, gid: Gid) -> Result<Vec<u32>, UserError> {
    let name = CString::new(user).map_err(|_| UserError::UnknownUser(user.to_owned()))?;
    let groups = getgrouplist(&name, gid).map_err(|source| UserError::LookUp { name: user.to_owned(), source })?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        let by_name = look_up("root", None, &[]).expect("every host has root");
        assert_eq!((by_name.uid, by_name.gid, by_name.home.as_str()), (0, 0, "/root"));
        assert_eq!(look_up("0", None, &[]).expect("uid 0"), by_name);
    }

    #[test]
    fn a_group_of_the_hosts_file_is_found() {
        let text = "root:x:0:\n# roundsman:x:5:\nroundsmen:x:6:\nroundsman:x:977:ann,bob\n";
        assert_eq!(group_of(text, "roundsman").map(Gid::as_raw), Some(977));
        assert_eq!(group_of(text, "wheel"), None);
        assert_eq!(local_group("root").map(Gid::as_raw), Some(0));
    }

    #[test]
    fn a_missing_user_or_group_is_named() {
        let error = look_up("no-such-user-here", None, &[]).expect_err("unknown");
        assert_eq!(error.to_string(), "cannot find user \"no-such-user-here\" (create it, or correct user =)");
        assert!(matches!(look_up("root", Some("no-such-group"), &[]), Err(UserError::UnknownGroup(_))));
    }
}
