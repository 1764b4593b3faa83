//! Safe wrappers over system calls: the only layer that may hold unsafe code.
//!
//! Each wrapper has a test that makes the real call. Nothing here decides; it turns numbers into types and back.
#![allow(unsafe_code, reason = "this layer exists to hold it; tests/layering.rs keeps it out of all others")]

mod attribute;
pub mod clock; // the keeper's stamps; all others read edge/clock.rs
mod descriptors;
mod devices;
mod disk;
mod glob;
mod init;
mod listen_fds;
mod memory;
mod namespaces;
mod others;
mod packet;
mod pidfd;
mod place;
mod poll;
mod process;
mod raw;
mod readiness;
mod signals;
mod socket_option;
pub mod spawn; // processes

pub use attribute::attribute;
pub use descriptors::{
    LogPipe, close_inherited_on_exec, close_on_exec, end_pipe, is_write_end, keep_on_exec, log_pipe, number,
    take_inherited, waiting_in,
};
pub use devices::{DeviceKind, DeviceRule, filter_devices};
pub use disk::{device_name, device_of};
pub use glob::glob;
pub use init::{abort_on_panic, complain, print, replace_image, say, tell_init};
pub use listen_fds::{Inherited, ListenFdsError, take_listen_fds};
pub use memory::{forget_start, read_sealed, reserve_memory, sealed_memory, trim_memory};
pub use namespaces::{effective_capabilities, try_filters, try_namespaces};
pub use others::{FileId, all_processes, descriptor_of, descriptors_of, file_id, is_same_file, pipe_of, was_given};
pub use packet::{MESSAGE_FDS_MAX, Packet, PacketSocket, Sender, receive};
pub use pidfd::end_of;
pub use place::{LockError, LockFile, bind_notify_socket};
pub use poll::{Interest, Poller, Readiness};
pub use process::{
    Reaped, adopt_orphans, boot_id, die_with_parent, exit_status, holds_its_pid, niceness, oom_score_adj, open_process,
    permitted_capabilities, reap, resource_limit, send_signal, session_of, set_niceness, set_oom_score_adj,
    set_process_name, set_resource_limit, signal_group, signal_process, start_time,
};
pub use readiness::{WaitFor, Waiting};
pub use signals::{Arrived, Signals, reset_signal_actions, unblock_signals};
pub use socket_option::{SocketOption, set_socket_option, socket_option};
