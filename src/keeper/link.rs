use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::{
    sys::{PacketSocket, read_sealed, sealed_memory},
    wire::keeper::{self as wire, DecodeError, Wire},
};

/// Most bytes of a message that travel in the packet itself; the kernel's default socket buffer must hold a few.
const INLINE_BYTES_MAX: usize = 60 * 1024;
/// Most bytes of a message at all: execve(2) takes a quarter of the stack limit, commonly 2 MiB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The first byte of a packet: the message follows.
const INLINE: u8 = 0;
/// The first byte of a packet: the message is in the sealed memory that is the first descriptor.
const IN_MEMORY: u8 = 1;

/// Why a message could not cross.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other end is gone.
    #[error("the other end of the keeper's socket is closed")]
    Closed,
    /// The socket failed.
    #[error("cannot use the keeper's socket")]
    Socket(#[source] io::Error),
    /// The bytes are no message.
    #[error("cannot read a message on the keeper's socket")]
    Message(#[source] DecodeError),
    /// It is too large to be sent at all.
    #[error("cannot send a message of {0} bytes to the other end of the keeper's socket")]
    Large(usize),
}

/// A message that is ready to be sent.
#[derive(Debug)]
pub(super) struct Frame<F> {
    bytes: Vec<u8>,
    fds: Vec<F>,
    /// Where the message is when it is too large for a packet.
    memory: Option<OwnedFd>,
}

impl<F: AsFd> Frame<F> {
    pub(super) fn new(message: &impl Wire, fds: Vec<F>) -> Result<Self, LinkError> {
        let mut writer = wire::Writer::default();
        INLINE.put(&mut writer);
        message.put(&mut writer);
        let bytes = writer.into_bytes();
        if bytes.len() <= INLINE_BYTES_MAX {
            return Ok(Self { bytes, fds, memory: None });
        }
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(LinkError::Large(bytes.len()));
        }
        let memory = sealed_memory(bytes.get(1..).unwrap_or_default()).map_err(LinkError::Socket)?;
        Ok(Self { bytes: vec![IN_MEMORY], fds, memory: Some(memory) })
    }

    /// Sends it, if there is room.
    pub(super) fn send(&self, socket: &PacketSocket) -> Result<Sent, LinkError> {
        let memory = self.memory.iter().map(AsFd::as_fd);
        let fds: Vec<BorrowedFd<'_>> = memory.chain(self.fds.iter().map(AsFd::as_fd)).collect();
        match socket.send(&self.bytes, &fds) {
            Ok(()) => Ok(Sent::Whole),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Full),
            Err(e) if e.raw_os_error().is_some_and(|errno| PASSING_ERRORS.contains(&errno)) => Ok(Sent::Later),
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                Err(LinkError::Closed)
            }
            Err(e) => Err(LinkError::Socket(e)),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way.
    Whole,
    /// The socket has no room; it says when it has.
    Full,
    /// Too much is in flight already; nobody says when that has passed.
    Later,
}

/// ENOMEM, ENOBUFS, and ETOOMANYREFS (more descriptors in flight than an ordinary user may have) pass as the other end
/// reads.
pub(super) const PASSING_ERRORS: [i32; 3] = [12, 105, 109];

/// Takes messages from a socket.
#[derive(Debug)]
pub(super) struct Inlet {
    buffer: Box<[u8]>,
}

impl Inlet {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; INLINE_BYTES_MAX].into_boxed_slice() }
    }

    /// The next message and its descriptors; `None` when there is none now.
    pub(super) fn take<T: Wire>(&mut self, socket: &PacketSocket) -> Result<Option<(T, Vec<OwnedFd>)>, LinkError> {
        let mut packet = match socket.recv(&mut self.buffer) {
            Ok(packet) => packet,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(LinkError::Closed),
            Err(e) => return Err(LinkError::Socket(e)),
        };
        let bytes = self.buffer.get(..packet.length).unwrap_or_default();
        match bytes.split_first() {
            None => Err(LinkError::Closed),
            Some((&INLINE, message)) => decoded(message, packet.fds),
            Some((&IN_MEMORY, [])) if !packet.fds.is_empty() => {
                let memory = packet.fds.remove(0);
                let bytes = read_sealed(memory.as_fd(), MESSAGE_BYTES_MAX).map_err(LinkError::Socket)?;
                decoded(&bytes, packet.fds)
            }
            Some((&other, _)) => {
                Err(LinkError::Message(DecodeError::Value { what: "kind of packet", number: other.into() }))
            }
        }
    }
}

fn decoded<T: Wire>(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<Option<(T, Vec<OwnedFd>)>, LinkError> {
    wire::decode(bytes).map(|message| Some((message, fds))).map_err(LinkError::Message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::keeper::Order;

    #[test]
    fn a_message_of_any_size_crosses_with_its_descriptors() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let mut inlet = Inlet::new();
        for length in [0, 1, INLINE_BYTES_MAX - 6, INLINE_BYTES_MAX - 5, 1 << 20] {
            let order = Order::TellInit { bytes: vec![5; length] };
            let frame = Frame::new(&order, vec![ours.as_fd()]).unwrap();
            assert_eq!(frame.send(&ours).unwrap(), Sent::Whole, "{length}");
            let (received, fds) = inlet.take::<Order>(&theirs).unwrap().unwrap();
            assert!(received == order && fds.len() == 1, "{length}");
        }
        assert!(inlet.take::<Order>(&theirs).unwrap().is_none());
        let order = Order::TellInit { bytes: vec![5; MESSAGE_BYTES_MAX] };
        assert!(matches!(Frame::<OwnedFd>::new(&order, Vec::new()), Err(LinkError::Large(_))));
    }

    #[test]
    fn a_full_socket_is_no_error_and_a_closed_one_is() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let frame = Frame::<OwnedFd>::new(&Order::TellInit { bytes: vec![0; 1000] }, Vec::new()).unwrap();
        let sent = (0..10_000).take_while(|_| frame.send(&ours).unwrap() == Sent::Whole).count();
        assert!((1..10_000).contains(&sent), "{sent}");
        drop(theirs);
        assert!(matches!(frame.send(&ours), Err(LinkError::Closed)));
    }

    #[test]
    fn a_packet_of_an_unknown_kind_is_refused() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        ours.send(&[IN_MEMORY], &[]).unwrap();
        ours.send(&[9, 1], &[]).unwrap();
        for _ in 0..2 {
            assert!(matches!(Inlet::new().take::<Order>(&theirs), Err(LinkError::Message(_))));
        }
    }
}
