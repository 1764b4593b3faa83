use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, SigmaskHow, pthread_sigmask},
    signalfd::{SfdFlags, SignalFd},
};

use super::raw;
use crate::base::Signal;

/// Signals that arrive as readable events instead of interrupting, signalfd(2).
#[derive(Debug)]
pub struct Signals(SignalFd);

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// A child ended; maybe many.
    Child,
    /// A signal for us.
    Signal(Signal),
}

impl Signals {
    /// Blocks every signal in this thread and listens to `wanted` and SIGCHLD.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn listen(wanted: &[Signal]) -> io::Result<Self> {
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None)?;
        let mut set = SigSet::empty();
        set.add(nix::sys::signal::SIGCHLD);
        for signal in wanted {
            set.add(nix::sys::signal::Signal::try_from(signal.raw())?);
        }
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self(fd))
    }

    /// The next that arrived; `None` when none has.
    ///
    /// # Errors
    /// As read(2).
    pub fn take(&mut self) -> io::Result<Option<Arrived>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let raw = info.ssi_signo.cast_signed();
        if raw == libc::SIGCHLD {
            return Ok(Some(Arrived::Child));
        }
        Ok(Signal::new(raw).map(Arrived::Signal))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Blocks no signal in this thread: undoes what an exec kept of [`Signals::listen`].
///
/// # Errors
/// As sigprocmask(2).
pub fn unblock_signals() -> io::Result<()> {
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Gives every signal its default action: what our parent ignored is not ignored by our children.
pub fn reset_signal_actions() {
    // The kernel's sigaction: handler, flags, restorer, mask.
    let default = [libc::SIG_DFL, 0, 0, 0];
    for signal in 1..=64 {
        let arguments = [signal, default.as_ptr().addr(), 0, size_of::<u64>(), 0, 0];
        // SAFETY: installs no code of ours; KILL and STOP are refused. libc's wrapper refuses two more, which a parent
        // may have left ignored too.
        unsafe { raw::syscall(libc::SYS_rt_sigaction, arguments) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_arrives_as_an_event() {
        let mut signals = Signals::listen(&[Signal::USR1]).unwrap();
        assert_eq!(signals.take().unwrap(), None);
        // To this thread alone: other threads of the test program do not block it.
        nix::sys::signal::raise(nix::sys::signal::SIGUSR1).unwrap();
        assert_eq!(signals.take().unwrap(), Some(Arrived::Signal(Signal::USR1)));
        assert_eq!(signals.take().unwrap(), None);
    }
}
