//! The parent process of every child, and the manager's half of the conversation with it.
//!
//! The keeper is one thread that waits in epoll and never blocks elsewhere: no configuration, no database, no parser of
//! text, no name look-ups. It creates processes, reaps them, holds every descriptor that must outlive the manager, and
//! keeps what happened until the manager says that it is committed. What breaks here first when changed: a fact that is
//! sent before the one it follows from, a descriptor that a child inherits unasked, an exit that is forgotten too early.
#![forbid(unsafe_code)]

pub mod client; // the manager's half
mod link; // messages over the socket between them
mod turn; // what is held, and the loop
mod start; // the beginning, and what an upgrade hands over
mod obey; // orders
mod spawn; // the order to start a process
mod program; // its words for the child
mod crowd; // when orders wait for children in their set-up (pure)
mod ceiling; // what may be given to a child
mod reap; // ends
mod told; // when those of a crowd that was told to end are taken (pure)
mod notified; // what services say
mod tell; // facts and the snapshot
mod manager; // the manager's process
mod life; // when it is started, asked and put down (pure)
mod ledger; // what waits for acknowledgement (pure)
mod holdings; // tables of processes and units
mod mirror; // what the next keeper finds when this one has died
mod adopt; // taking over from a keeper that died
mod fd_store; // descriptors under names
mod init_store; // what is also with the init system, for the same
mod upgrade; // the keeper's own re-exec

use std::{
    ffi::{CString, OsString},
    path::PathBuf,
    process::ExitCode,
};

pub use life::Timings;
pub use link::LinkError;
pub use manager::MANAGER_SOCKET;
pub use upgrade::{CHECK_STATE, Checked, check_state, runtime_before};

use crate::{
    base::Chain,
    sys::{abort_on_panic, reserve_memory, say},
};

/// Room for what the keeper takes in while the kernel gives nothing (RLIMIT_AS, strict overcommit): a thousand units and
/// more, ends that wait for a manager. Without it an allocation would fail, and that is the end of the process.
const ROOM_BYTES: i32 = 4 << 20;

/// How a keeper is started.
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    /// Where its lock (`lock`) and notify socket (`notify`) are.
    pub runtime_dir: PathBuf,
    /// The manager's executable; `None` is this program itself, even when its file was replaced meanwhile.
    pub manager_path: Option<CString>,
    /// The manager's arguments, the zeroth first. It finds its end of the conversation as [`MANAGER_SOCKET`].
    pub manager_argv: Vec<CString>,
    /// The notify socket of the init system above us ($NOTIFY_SOCKET).
    pub init_socket: Option<OsString>,
    /// How long the manager may take.
    pub timings: Timings,
    /// What a manager of an earlier daemon may have left and means nothing to this one's: removed at the beginning.
    pub stale: Vec<PathBuf>,
}

/// Is the keeper until the daemon ends; its exit code. Call it first in `main`, before any thread is started. A panic aborts
/// the process.
pub fn run(options: KeeperOptions) -> ExitCode {
    abort_on_panic();
    reserve_memory(ROOM_BYTES);
    let mut keeper = match turn::Keeper::begin(options) {
        Ok(keeper) => keeper,
        Err(error) => {
            say(&Chain(&error).to_string());
            return ExitCode::FAILURE;
        }
    };
    match keeper.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("cannot wait for events: {error}"));
            ExitCode::FAILURE
        }
    }
}
