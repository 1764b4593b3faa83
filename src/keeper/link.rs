//! Messages in packets: one, or several short ones that were ready at the same time. A system call costs more than a message.
use std::{
    io,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::{
    sys::{PacketSocket, read_sealed, sealed_memory},
    wire::keeper::{DecodeError, Reader, Wire, Writer, decode},
};

/// Most bytes of a message that travel in the packet itself; the kernel's default socket buffer must hold a few.
const INLINE_BYTES_MAX: usize = 60 * 1024;
/// So many bytes are enough for a packet: with more, the other end would begin too late with the first message.
const PACKET_BYTES_ENOUGH: usize = 2 * 1024;
/// Most bytes of a message at all: execve(2) takes a quarter of the stack limit, commonly 2 MiB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The first byte of a packet: messages follow, to its end.
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

/// A packet that is ready to be sent.
#[derive(Debug)]
pub(super) struct Frame<F> {
    bytes: Vec<u8>,
    /// Those of its only message.
    fds: Vec<F>,
    /// Where the message is when it is too large for a packet.
    memory: Option<OwnedFd>,
    /// How many messages are in it.
    pub(super) messages: usize,
}

impl<F: AsFd> Frame<F> {
    pub(super) fn new(message: &impl Wire, fds: Vec<F>) -> Result<Self, LinkError> {
        let mut writer = Writer::default();
        INLINE.put(&mut writer);
        message.put(&mut writer);
        let bytes = writer.into_bytes();
        if bytes.len() <= INLINE_BYTES_MAX {
            return Ok(Self { bytes, fds, memory: None, messages: 1 });
        }
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(LinkError::Large(bytes.len()));
        }
        let memory = sealed_memory(bytes.get(1..).unwrap_or_default()).map_err(LinkError::Socket)?;
        Ok(Self { bytes: vec![IN_MEMORY], fds, memory: Some(memory), messages: 1 })
    }

    /// Puts another message into the packet, if that has room.
    pub(super) fn add(&mut self, message: &impl Wire) -> bool {
        if self.is_enough() || self.memory.is_some() || !self.fds.is_empty() {
            return false;
        }
        let before = self.bytes.len();
        let mut writer = Writer::after(std::mem::take(&mut self.bytes));
        message.put(&mut writer);
        self.bytes = writer.into_bytes();
        let fits = self.bytes.len() <= INLINE_BYTES_MAX;
        if fits {
            self.messages += 1;
        } else {
            self.bytes.truncate(before);
        }
        fits
    }

    /// Whether it should leave without waiting for more.
    pub(super) fn is_enough(&self) -> bool {
        self.bytes.len() >= PACKET_BYTES_ENOUGH
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
    /// Where in it messages are that were not taken yet.
    rest: Range<usize>,
}

impl Inlet {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; INLINE_BYTES_MAX].into_boxed_slice(), rest: 0..0 }
    }

    /// Whether a message is here that the socket does not tell of any more.
    pub(super) fn has_more(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next message and its descriptors; `None` when there is none now.
    pub(super) fn take<T: Wire>(&mut self, socket: &PacketSocket) -> Result<Option<(T, Vec<OwnedFd>)>, LinkError> {
        if self.has_more() {
            return self.next(Vec::new()).map(Some);
        }
        let mut packet = match socket.recv(&mut self.buffer) {
            Ok(packet) => packet,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(LinkError::Closed),
            Err(e) => return Err(LinkError::Socket(e)),
        };
        let bytes = self.buffer.get(..packet.length).unwrap_or_default();
        match bytes.split_first() {
            None => Err(LinkError::Closed),
            Some((&INLINE, _)) => {
                self.rest = 1..packet.length;
                self.next(packet.fds).map(Some)
            }
            Some((&IN_MEMORY, [])) if !packet.fds.is_empty() => {
                let memory = packet.fds.remove(0);
                let bytes = read_sealed(memory.as_fd(), MESSAGE_BYTES_MAX).map_err(LinkError::Socket)?;
                let message = decode(&bytes).map_err(LinkError::Message)?;
                Ok(Some((message, packet.fds)))
            }
            Some((&other, _)) => {
                Err(LinkError::Message(DecodeError::Value { what: "kind of packet", number: other.into() }))
            }
        }
    }

    /// The next of the messages that are here; the descriptors of a packet are its first one's.
    fn next<T: Wire>(&mut self, fds: Vec<OwnedFd>) -> Result<(T, Vec<OwnedFd>), LinkError> {
        let bytes = self.buffer.get(self.rest.clone()).unwrap_or_default();
        let mut reader = Reader::new(bytes);
        let message = T::take(&mut reader).map_err(LinkError::Message)?;
        self.rest.start = self.rest.end - reader.left();
        Ok((message, fds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::UnitName, wire::keeper::Order};

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
        ours.send(&[INLINE], &[]).unwrap();
        for _ in 0..3 {
            assert!(matches!(Inlet::new().take::<Order>(&theirs), Err(LinkError::Message(_))));
        }
    }

    #[test]
    fn messages_that_share_a_packet_are_taken_one_by_one() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let order = |seq| Order::AckNotified { seq };
        let mut frame = Frame::<OwnedFd>::new(&order(0), Vec::new()).unwrap();
        let added = (1..).take_while(|seq| frame.add(&order(*seq))).count();
        assert_eq!(frame.messages, added + 1);
        assert!((100..1000).contains(&added), "{added}");
        frame.send(&ours).unwrap();
        let mut inlet = Inlet::new();
        for seq in 0..=added as u64 {
            assert_eq!(inlet.has_more(), seq > 0);
            assert_eq!(inlet.take::<Order>(&theirs).unwrap().unwrap().0, order(seq));
        }
        assert!(!inlet.has_more() && inlet.take::<Order>(&theirs).unwrap().is_none());
    }

    #[test]
    fn what_has_descriptors_or_is_large_shares_no_packet() {
        let (ours, _theirs) = PacketSocket::pair().unwrap();
        let unit = UnitName::new("web").unwrap();
        let store = Order::Store { unit, name: "s".into() };
        let mut with_descriptor = Frame::new(&store, vec![ours.as_fd()]).unwrap();
        assert!(!with_descriptor.add(&Order::Alive));
        let large = Order::TellInit { bytes: vec![5; INLINE_BYTES_MAX] };
        let mut in_memory = Frame::<OwnedFd>::new(&large, Vec::new()).unwrap();
        assert!(!in_memory.add(&Order::Alive));
        let mut short = Frame::<OwnedFd>::new(&Order::Alive, Vec::new()).unwrap();
        assert!(!short.add(&large) && short.add(&Order::Ready) && short.messages == 2);
    }
}
