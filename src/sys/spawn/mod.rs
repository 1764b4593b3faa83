//! Creates processes that share our memory until they exec, and does not wait for them.
//!
//! A child is made by clone3(2) with CLONE_VM and without CLONE_VFORK, on a stack of its own. It reads a plan that was
//! laid out for it in a slot, makes system calls, notes each step there, and execs. The kernel clears a word in the slot
//! when the child has left our memory (CLONE_CHILD_CLEARTID); only then may the slot be used again. A child that hangs
//! in its set-up holds its slot and nothing else. Why so: docs/adr/0005-children-share-memory-until-exec.md.
//!
//! What breaks here first when changed: the child must not call libc, allocate, panic or touch thread storage, because
//! all of that is ours and we are running.

mod child; // what it does, in order
mod confine; // what shuts it in
mod plan; // what it is told
mod program; // what we are told
mod room; // memory for a plan
mod slot; // a place for one child

pub(super) use plan::Plan;
pub use program::{
    Control, CpuScheduling, Directory, Keyring, Limit, Open, Owner, Privileges, Program, Schedule, Secret, Secrets,
    User,
};
pub use slot::{Outcome, Spawned, Spawner, Ticket};

#[cfg(test)]
mod tests;
