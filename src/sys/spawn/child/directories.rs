use super::{
    HERE, Strings, at, call, close, list, open_at, status_of,
    walk::{Next, walk},
};
use crate::sys::spawn::{
    plan::{Plan, PlannedDirectory, PlannedLink},
    program::Owner,
};

/// The mode of directories on the way to what is wanted.
const PARENT_MODE: u32 = 0o755;
/// The longest target of a link that is found to be there already.
const TARGET_BYTES_MAX: usize = 512;

/// Makes every directory that the unit wants, with its links.
pub(super) fn make_all(plan: &Plan) -> Result<(), i32> {
    for directory in list(&plan.directories) {
        at(plan, directory.step);
        make(directory)?;
        for one in list(&directory.links) {
            link(one)?;
        }
    }
    Ok(())
}

fn make(directory: &PlannedDirectory) -> Result<(), i32> {
    let (parent, name) = way_to(directory.names)?;
    let entered = enter(parent, name, directory.mode, libc::O_RDONLY);
    close(parent);
    let Entered { fd, is_new } = entered?;
    let settled = if directory.keep && !is_new { Ok(()) } else { settle(fd, directory, is_new) };
    close(fd);
    settled
}

/// Gives it mode and owner. The owner comes last: while that is not done, the next start does it all again.
fn settle(fd: usize, directory: &PlannedDirectory, is_new: bool) -> Result<(), i32> {
    call(libc::SYS_fchmod, [fd, directory.mode as usize, 0, 0, 0, 0])?;
    let Some(owner) = directory.owner else { return Ok(()) };
    let status = status_of(fd)?;
    if (status.st_uid, status.st_gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    if !is_new {
        give_contents(fd, owner)?;
    }
    call(libc::SYS_fchown, [fd, owner.uid as usize, owner.gid as usize, 0, 0, 0])?;
    Ok(())
}

fn give_contents(fd: usize, owner: Owner) -> Result<(), i32> {
    walk(fd, &mut |entry| {
        let (uid, gid) = (owner.uid as usize, owner.gid as usize);
        let no_follow = libc::AT_SYMLINK_NOFOLLOW as usize;
        match call(libc::SYS_fchownat, [entry.folder, entry.text(), uid, gid, no_follow, 0]) {
            // Removed meanwhile.
            Ok(_) | Err(libc::ENOENT) => Ok(Next::Below),
            Err(errno) => Err(errno),
        }
    })
}

fn link(link: &PlannedLink) -> Result<(), i32> {
    let (parent, name) = way_to(link.names)?;
    let target = list(&link.target);
    let made = match call(libc::SYS_symlinkat, [target.as_ptr().addr(), parent, name, 0, 0, 0]) {
        Err(libc::EEXIST) if leads_to(parent, name, target) => Ok(()),
        made => made.map(|_| ()),
    };
    close(parent);
    made
}

/// Whether the link is there and has this target, which ends with a NUL.
fn leads_to(parent: usize, name: usize, target: &[u8]) -> bool {
    let mut there = [0_u8; TARGET_BYTES_MAX];
    let room = there.len();
    let Ok(length) = call(libc::SYS_readlinkat, [parent, name, there.as_mut_ptr().addr(), room, 0, 0]) else {
        return false;
    };
    length < room && there.get(..length) == target.split_last().map(|(_, text)| text)
}

/// The open directory that the last name belongs into, made with all above it where it is missing; and that name.
pub(super) fn way_to(names: *const *const u8) -> Result<(usize, usize), i32> {
    let mut names = Strings(names);
    let Some(mut name) = names.next() else { return Err(libc::EINVAL) };
    let mut fd = open_at(HERE, c"/".as_ptr().addr(), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    for next in names {
        let entered = enter(fd, name, PARENT_MODE, libc::O_PATH);
        close(fd);
        fd = entered?.fd;
        name = next;
    }
    Ok((fd, name))
}

struct Entered {
    fd: usize,
    /// It was not there.
    is_new: bool,
}

/// Opens a directory, which is made where it is missing. A symbolic link in its place is followed only where nobody
/// else could have put it: an administrator may keep /var/lib on another disk, a service may not send us to /etc.
fn enter(parent: usize, name: usize, mode: u32, flags: i32) -> Result<Entered, i32> {
    let is_new = match call(libc::SYS_mkdirat, [parent, name, mode as usize, 0, 0, 0]) {
        Ok(_) => true,
        Err(libc::EEXIST) => false,
        Err(errno) => return Err(errno),
    };
    let no_follow = if is_new || !is_ours_alone(parent)? { libc::O_NOFOLLOW } else { 0 };
    let fd = open_at(parent, name, flags | libc::O_DIRECTORY | no_follow, 0)?;
    Ok(Entered { fd, is_new })
}

/// Whether only root and we can write there.
fn is_ours_alone(folder: usize) -> Result<bool, i32> {
    let status = status_of(folder)?;
    let own = call(libc::SYS_geteuid, [0; 6])?;
    let by_group = status.st_mode & libc::S_IWGRP != 0 && status.st_gid != 0;
    let by_others = status.st_mode & libc::S_IWOTH != 0;
    Ok((status.st_uid == 0 || status.st_uid as usize == own) && !by_group && !by_others)
}
