//! Ctrl-C while we wait or follow: the first ends the command in order, a second one at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::poll::{PollTimeout, poll};
use signal_hook::{consts::SIGINT, flag};

use super::{
    exit::Exit,
    http::{Stop, briefly},
};

/// Whether the user has pressed Ctrl-C since [`Interrupt::watch`].
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on Ctrl-C no longer ends the process by itself.
    pub(crate) fn watch() -> io::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        // In this order: the second press must find the flag that the first one set.
        flag::register_conditional_shutdown(SIGINT, i32::from(Exit::Interrupted.code()), Arc::clone(&seen))?;
        flag::register(SIGINT, Arc::clone(&seen))?;
        Ok(Self(seen))
    }

    /// For a [`Wait`](super::http::Wait) that has no end of its own.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.0.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// For a [`Wait`](super::http::Wait) for something that should come at once.
    pub(crate) fn check_briefly(&self, ticks: u32) -> Result<(), Stop> {
        self.check().and_then(|()| briefly(ticks))
    }

    /// Waits, or less when the user presses Ctrl-C.
    pub(crate) fn pause(&self, pause: Duration) -> Result<(), Stop> {
        self.check()?;
        // A signal ends poll(2) early; that is why this is no sleep.
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        poll(&mut [], timeout).ok();
        self.check()
    }
}
