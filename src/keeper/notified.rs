//! The notify socket: what services say, kept unparsed with who said it. Source: sd_notify(3).
use std::{io, os::fd::AsFd, rc::Rc};

use super::turn::Keeper;
use crate::{
    base::{Pid, ProcessKey},
    sys::{Packet, holds_its_pid, receive, session_of, start_time},
    wire::keeper::Notified,
};

/// Longest datagram that is taken, as systemd's NOTIFY_BUFFER_MAX.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Datagrams taken at one time. As many as the kernel queues for a socket at most (net.unix.max_dgram_qlen), so that all
/// that was sent before an end is taken before that end.
const DATAGRAMS_PER_TURN_MAX: usize = 1024;

impl Keeper {
    pub(super) fn take_notified(&mut self) {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            match receive(self.notify.as_fd(), &mut buffer) {
                Ok(packet) => {
                    let bytes = buffer.get(..packet.length).unwrap_or_default().to_vec();
                    self.keep_notified(packet, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.ledger.drop_notified(None),
                Err(_) => return,
            }
        }
    }

    fn keep_notified(&mut self, packet: Packet, bytes: Vec<u8>) {
        let Some(sender) = packet.sender else { return self.ledger.drop_notified(None) };
        let pid = Pid::new(sender.pid.cast_signed());
        let ours = |pid: Pid| -> Option<ProcessKey> { self.processes.key_of(pid).cloned() };
        let key = pid.and_then(ours);
        let (session, started) = match (&key, pid) {
            (None, Some(pid)) => {
                let seen = (session_of(pid).ok().flatten().and_then(ours), start_time(pid).ok());
                // Looked at first, asked second: what was seen is of the sender if the pid is still its own.
                let is_its_own = packet.process.as_ref().is_none_or(|process| holds_its_pid(process.as_fd()));
                if is_its_own { seen } else { (None, None) }
            }
            (Some(_), _) | (None, None) => (None, None),
        };
        let (uid, gid, pid) = (sender.uid, sender.gid, sender.pid);
        let notified = Notified { seq: 0, pid, uid, gid, key, session, started, bytes, dropped: 0 };
        let fds = packet.fds.into_iter().map(Rc::new).collect();
        if let Some(kept) = self.ledger.keep_notified(notified, fds) {
            let (fact, fds) = kept.fact();
            self.tell(&fact, fds);
        }
    }
}
