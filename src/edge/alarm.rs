//! Rings at a moment.
//!
//! A timer descriptor and not tokio's timers: those wake their own thread once more for each moment that comes before the
//! ones they know, and the engine sets one between a death and its restart.

use std::{io, os::fd::AsFd};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::{
    base::Mono,
    edge::clock,
    sys::{WaitFor, Waiting},
};

/// One alarm, timerfd_create(2).
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    waiting: Waiting,
    /// What it is set to.
    set: Option<Mono>,
}

impl Alarm {
    /// An alarm that is not set. Must be called within a runtime.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self { waiting: Waiting::new(timer.as_fd(), WaitFor::Reading)?, timer, set: None })
    }

    /// Waits for that moment, for ever when there is none. Dropping the future changes nothing.
    ///
    /// # Errors
    /// As timerfd_settime(2), or when the runtime is going down.
    pub async fn ring(&mut self, at: Option<Mono>) -> io::Result<()> {
        self.set(at)?;
        while at.is_none_or(|at| clock::now().mono < at) {
            self.waiting.ready().await?;
            // It rang, or had rung for a moment before this one; either way it is silent now.
            self.waiting.attempt(|_| Ok(self.timer.wait()?)).ok();
        }
        Ok(())
    }

    fn set(&mut self, at: Option<Mono>) -> io::Result<()> {
        if self.set == at {
            return Ok(());
        }
        match at {
            // Zero would silence it; nothing is due at the clock's start.
            Some(at) => {
                let moment = TimeSpec::from_duration(std::time::Duration::from_nanos(at.0.max(1)));
                self.timer.set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            None => self.timer.unset()?,
        }
        self.set = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::base::TimeSpan;

    fn within(millis: u64) -> Option<Mono> {
        clock::now().mono.after(TimeSpan::from_millis(millis))
    }

    #[tokio::test]
    async fn it_rings_at_its_moment_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        for millis in [20, 5, 0] {
            let at = within(millis);
            alarm.ring(at).await.unwrap();
            assert!(clock::now().mono >= at.unwrap());
        }
        alarm.ring(Some(Mono(0))).await.unwrap();
    }

    #[tokio::test]
    async fn only_the_last_moment_counts() {
        let mut alarm = Alarm::new().unwrap();
        let short = Duration::from_millis(60);
        assert!(timeout(short, alarm.ring(within(1_000_000))).await.is_err(), "it is not due");
        alarm.ring(within(5)).await.unwrap();
        // One that has rung unheard does not ring for the next.
        alarm.set(within(4)).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(timeout(short, alarm.ring(within(1_000_000))).await.is_err());
        assert!(timeout(short, alarm.ring(None)).await.is_err(), "it is not set");
    }
}
