use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
};

/// Most descriptors that one message may carry, the kernel's SCM_MAX_FD.
pub const MESSAGE_FDS_MAX: usize = 253;

/// What may be under way, with the kernel's own overhead: the start of a thousand services, so that neither end sleeps
/// while the other works. The kernel's default holds a hundred.
const SEND_BYTES: usize = 2 << 20;

/// One end of a connection that carries whole messages with descriptors and never blocks (SOCK_SEQPACKET, unix(7)).
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// What came in one message.
#[derive(Debug)]
pub struct Packet {
    /// How many bytes of the buffer it fills; 0 without descriptors means that the other end is closed.
    pub length: usize,
    /// The descriptors that came along, closed on exec.
    pub fds: Vec<OwnedFd>,
    /// Who sent it, where the socket asks for that (SO_PASSCRED).
    pub sender: Option<Sender>,
    /// What stands for the process that sent it, where the socket asks for that (SO_PASSPIDFD).
    pub process: Option<OwnedFd>,
}

/// Who sent a message, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Process id; 0 when it is not to be seen from our pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl PacketSocket {
    /// Two connected ends.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        for end in [&ours, &theirs] {
            // Past the host's limit only for the privileged; the others have what it allows.
            let forced = setsockopt(end, sockopt::SndBufForce, &SEND_BYTES);
            if forced.is_err() {
                setsockopt(end, sockopt::SndBuf, &SEND_BYTES)?;
            }
        }
        Ok((Self(ours), Self(theirs)))
    }

    /// Sends one message whole.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room now, `EMSGSIZE` when there never will be, `EPIPE` when the other end is
    /// closed.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[_] = if raw.is_empty() { &[] } else { &rights };
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Takes one message.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `InvalidData` when it was longer than `buffer` or its descriptors were cut off.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Packet> {
        receive(self.0.as_fd(), buffer)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for PacketSocket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.0
    }
}

/// The descriptor that stands for the sender, linux/socket.h; libc does not name it yet.
const SCM_PIDFD: libc::c_int = 4;

/// Room for the control messages of one packet, aligned as the kernel writes them.
#[repr(align(8))]
struct Control([MaybeUninit<u8>; CONTROL_BYTES]);
/// Headers, padding and payload of one SCM_RIGHTS at its limit, one SCM_CREDENTIALS and one SCM_PIDFD, rounded up.
const CONTROL_BYTES: usize = MESSAGE_FDS_MAX * size_of::<RawFd>() + 128;

/// Takes one message from any socket that keeps messages apart.
///
/// # Errors
/// As [`PacketSocket::recv`]; descriptors of a message that is refused are closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Packet> {
    let mut control = Control([MaybeUninit::uninit(); CONTROL_BYTES]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the structure holds numbers and pointers only, for which zero is a value. No safe call gives the
    // descriptors of a message that was cut off, and those would then leak.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the header points at one buffer and one control area that outlive the call, with their true lengths.
    let length =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let (fds, sender, process) = read_control(&header);
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut off"));
    }
    Ok(Packet { length, fds, sender, process })
}

/// Takes what the kernel wrote beside a message.
fn read_control(header: &libc::msghdr) -> (Vec<OwnedFd>, Option<Sender>, Option<OwnedFd>) {
    let (mut fds, mut sender, mut process) = (Vec::new(), None, None);
    // SAFETY: the kernel filled the header, whose control area is still alive in the caller.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: the walk yields null or a whole message header within the control area.
    while let Some(message) = unsafe { next.as_ref() } {
        // SAFETY: the payload begins right behind the header that was just found.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                let payload = message.cmsg_len - (data as usize - ptr::from_ref(message) as usize);
                for index in 0..payload / size_of::<RawFd>() {
                    let place = data.cast::<RawFd>().wrapping_add(index);
                    // SAFETY: the index lies within the payload; it need not be aligned.
                    let raw = unsafe { place.read_unaligned() };
                    // SAFETY: the kernel has just installed this descriptor for us; nobody else owns it.
                    fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                // SAFETY: a message of this type carries one ucred, which need not be aligned.
                let ucred = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                sender = Some(Sender { pid: ucred.pid.cast_unsigned(), uid: ucred.uid, gid: ucred.gid });
            }
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                // SAFETY: a message of this type carries one descriptor, which need not be aligned.
                let raw = unsafe { data.cast::<RawFd>().read_unaligned() };
                if raw >= 0 {
                    // SAFETY: the kernel has just installed this descriptor for us; nobody else owns it.
                    process = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
            _ => {}
        }
        // SAFETY: both belong to the same control area.
        next = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (fds, sender, process)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let file = File::open("/proc/self/stat").unwrap();
        ours.send(b"hello", &[file.as_fd(), file.as_fd()]).unwrap();
        ours.send(b"again", &[]).unwrap();
        let mut buffer = [0; 64];
        let packet = theirs.recv(&mut buffer).unwrap();
        assert_eq!((&buffer[..packet.length], packet.fds.len()), (&b"hello"[..], 2));
        let mut copy = File::from(packet.fds.into_iter().next().unwrap());
        assert_eq!(copy.metadata().unwrap().ino(), file.metadata().unwrap().ino());
        assert!(copy.read(&mut [0; 8]).unwrap() > 0);
        assert_eq!(theirs.recv(&mut buffer).unwrap().length, 5);
        assert_eq!(theirs.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        assert_eq!(theirs.recv(&mut buffer).unwrap().length, 0);
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error_and_leaks_nothing() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        ours.send(b"too long", &[writer.as_fd()]).unwrap();
        drop(writer);
        assert_eq!(theirs.recv(&mut [0; 3]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // The only writer left was the copy in the refused message.
        assert_eq!({ reader }.read(&mut [0; 1]).unwrap(), 0);
    }
}
