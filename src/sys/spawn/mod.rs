//! Creates processes that share our memory until they exec, and does not wait for them.
//!
//! A child is made by clone3(2) with CLONE_VM and without CLONE_VFORK, on a stack of its own. It reads a plan that was
//! laid out for it in a slot, makes system calls, notes each step there, and execs. The kernel clears a word in the slot
//! when the child has left our memory (CLONE_CHILD_CLEARTID); only then may the slot be used again. A child that hangs
//! in its set-up holds its slot and nothing else. Why so: docs/adr/0005-children-share-memory-until-exec.md.
//!
//! What breaks here first when changed: the child must not call libc, allocate, panic or touch thread storage, because
//! all of that is ours and we are running.

mod child;
mod confine;
mod plan;
mod slot;

use std::{
    ffi::{CStr, CString},
    os::fd::BorrowedFd,
};

pub(super) use plan::Plan;

use crate::base::confinement::Confinement;
pub use slot::{Outcome, Spawned, Spawner, Ticket};

/// How a process is to be set up.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable; no search is done.
    pub path: &'a CStr,
    /// Its arguments, the zeroth first.
    pub argv: &'a [CString],
    /// Its environment, `NAME=value`.
    pub env: &'a [CString],
    /// Its working directory.
    pub cwd: &'a CStr,
    /// Whom it runs as; `None` is our own user.
    pub user: Option<User<'a>>,
    /// File mode creation mask.
    pub umask: u32,
    /// Niceness; `None` keeps ours.
    pub nice: Option<i32>,
    /// OOM score adjustment; `None` keeps ours.
    pub oom_score_adj: Option<i32>,
    /// Resource limits.
    pub limits: &'a [Limit],
    /// Whether exec may no longer grant privileges.
    pub no_new_privs: bool,
    /// Whether SIGPIPE is ignored; every other signal starts with its default action.
    pub ignore_sigpipe: bool,
    /// Its descriptors 0, 1, 2 … and no others.
    pub fds: &'a [BorrowedFd<'a>],
    /// Names of the descriptors from 3 on, joined by ':' for LISTEN_FDNAMES; `None` sets no LISTEN_ variable.
    pub listen: Option<&'a str>,
    /// The directory of the cgroup that it starts in; `None` is ours.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What shuts it in.
    pub confinement: Option<&'a Confinement>,
}

/// Whom a process runs as.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// User id: real, effective and saved.
    pub uid: u32,
    /// Group id: real, effective and saved.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
}

/// One resource limit as prlimit(2) takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)] // soft and hard lie side by side, as the kernel's rlimit64
pub struct Limit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// Soft limit; `u64::MAX` is infinity.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is infinity.
    pub hard: u64,
}

#[cfg(test)]
mod tests;
