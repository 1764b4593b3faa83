use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Waits for many descriptors at once, epoll(7), level-triggered.
#[derive(Debug)]
pub struct Poller(Epoll);

/// A descriptor that something can be done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The token it was added under.
    pub token: u64,
    /// It can be read, or its other end is gone, which reading tells.
    pub readable: bool,
    /// It can be written to.
    pub writable: bool,
}

/// Most events of one wait; more come with the next.
const EVENTS_MAX: usize = 64;

impl Poller {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Waits for `fd` to be readable from now on. It must be removed before it is closed.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(())
    }

    /// Waits until the other side of `fd` is gone or it has failed (EPOLLHUP, EPOLLERR), and for nothing else. It must be
    /// removed before it is closed. Whether that can be waited for: it cannot of a file of a file system.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn add_for_end(&self, fd: impl AsFd, token: u64) -> io::Result<bool> {
        match self.0.add(fd, EpollEvent::new(EpollFlags::empty(), token)) {
            Ok(()) => Ok(true),
            Err(nix::Error::EPERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets whether reading and writing are waited for.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn change(&self, fd: impl AsFd, token: u64, reading: Interest, writing: Interest) -> io::Result<()> {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, reading == Interest::Yes);
        flags.set(EpollFlags::EPOLLOUT, writing == Interest::Yes);
        self.0.modify(fd, &mut EpollEvent::new(flags, token))?;
        Ok(())
    }

    /// Waits for `fd` no longer.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.0.delete(fd)?;
        Ok(())
    }

    /// Waits until something can be done, at most for `timeout` (rounded up to a millisecond); what it is takes the place
    /// of what was in `ready`.
    ///
    /// # Errors
    /// As epoll_wait(2), but an interruption is no error.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let millis = |span: Duration| span.as_nanos().div_ceil(1_000_000);
        let timeout = timeout.map_or(EpollTimeout::NONE, |span| {
            EpollTimeout::try_from(i32::try_from(millis(span)).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::ZERO)
        });
        let count = match self.0.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let readable = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let readiness = |event: &EpollEvent| Readiness {
            token: event.data(),
            readable: event.events().intersects(readable),
            writable: event.events().contains(EpollFlags::EPOLLOUT),
        };
        ready.clear();
        ready.extend(events.iter().take(count).map(readiness));
        Ok(())
    }
}

/// It is readable itself while something is ready.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// Whether something is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// It is.
    Yes,
    /// It is not.
    No,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_ready_is_named_by_its_token() {
        let poller = Poller::new().unwrap();
        let wait = |timeout| {
            let mut ready = Vec::new();
            poller.wait(timeout, &mut ready).unwrap();
            ready
        };
        let (reader, mut writer) = io::pipe().unwrap();
        poller.add(&reader, 7).unwrap();
        assert!(wait(Some(Duration::ZERO)).is_empty());
        writer.write_all(b"x").unwrap();
        assert_eq!(wait(None), [Readiness { token: 7, readable: true, writable: false }]);
        poller.change(&reader, 7, Interest::No, Interest::No).unwrap();
        assert!(wait(Some(Duration::ZERO)).is_empty());
        drop(writer);
        assert_eq!(wait(None).len(), 1, "the end is told even so");
        poller.remove(&reader).unwrap();
        assert!(wait(Some(Duration::ZERO)).is_empty());
    }

    #[test]
    fn an_end_is_waited_for_where_there_can_be_one() {
        let poller = Poller::new().unwrap();
        let mut ready = Vec::new();
        let (reader, mut writer) = io::pipe().unwrap();
        assert!(poller.add_for_end(&reader, 7).unwrap());
        assert!(!poller.add_for_end(tempfile::tempfile().unwrap(), 8).unwrap());
        writer.write_all(b"x").unwrap();
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert_eq!(ready, [], "what waits to be read is no end");
        drop(writer);
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert_eq!(ready.iter().map(|readiness| readiness.token).collect::<Vec<_>>(), [7]);
    }
}
