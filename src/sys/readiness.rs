use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor whose readiness is waited for in a tokio runtime: for reading or for writing, not for both. A socket that
/// is waited for in both ways wakes its owner each time the other end reads.
#[derive(Debug)]
pub struct Waiting {
    fd: AsyncFd<OwnedFd>,
    interest: Interest,
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// It can be read, or its other end is gone.
    Reading,
    /// It can be written to.
    Writing,
}

impl Waiting {
    /// Waits for a copy of `fd`, which must not block. Must be called within a runtime.
    ///
    /// # Errors
    /// When no descriptor is left, or for a file, which is always ready.
    pub fn new(fd: BorrowedFd<'_>, what: WaitFor) -> io::Result<Self> {
        let interest = match what {
            WaitFor::Reading => Interest::READABLE,
            WaitFor::Writing => Interest::WRITABLE,
        };
        // SAFETY: the copy is open and owned by the registration, and an `OwnedFd` keeps its number until it is dropped.
        // tokio's safe constructor is deprecated as unsound for want of these promises.
        let fd = unsafe { AsyncFd::register_with_interest(fd.try_clone_to_owned()?, interest) };
        Ok(Self { fd: fd.map_err(io::Error::from)?, interest })
    }

    /// Waits until it is ready. It stays so until an attempt would block.
    ///
    /// # Errors
    /// When the runtime is going down.
    pub async fn ready(&self) -> io::Result<()> {
        // The guard would clear the readiness only if it was told to.
        self.fd.ready(self.interest).await.map(drop)
    }

    /// Makes an attempt if it is ready as far as is known; one that would block makes it not ready.
    ///
    /// # Errors
    /// `WouldBlock` when it is not ready; else whatever `attempt` says.
    pub fn attempt<T>(&self, attempt: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        self.fd.try_io(self.interest, |fd| attempt(fd.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::PacketSocket;

    #[tokio::test]
    async fn a_socket_is_ready_when_there_is_something_to_read() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let waiting = Waiting::new(theirs.as_fd(), WaitFor::Reading).unwrap();
        let mut buffer = [0; 8];
        let mut take = || waiting.attempt(|fd| crate::sys::receive(fd, &mut buffer)).map(|packet| packet.length);
        assert_eq!(take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        ours.send(b"one", &[]).unwrap();
        waiting.ready().await.unwrap();
        assert_eq!(take().unwrap(), 3);
        assert_eq!(take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (_, _) = tokio::join!(waiting.ready(), async { ours.send(b"two", &[]).unwrap() });
        assert_eq!(take().unwrap(), 3);
    }
}
