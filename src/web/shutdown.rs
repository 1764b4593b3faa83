use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};

/// How far a server is on its way out; it only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepts and answers.
    Serving,
    /// Still accepts and answers, but readiness says no, so that balancers look elsewhere.
    Leaving,
    /// Accepts nothing new; each answer carries `Connection: close`.
    Draining,
    /// Idle connections are closed; requests in flight go on.
    Closing,
    /// What is left is cut.
    Ended,
}

/// How long each step of a drain lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// From "not ready" until nothing new is accepted; a balancer needs it to notice.
    pub leave: Duration,
    /// From then until idle connections are closed: a request may be on the wire already, and a client must not resend
    /// a PUT by itself.
    pub idle: Duration,
    /// From the end of accepting until requests in flight are cut.
    pub finish: Duration,
}

/// The one switch that all listeners of a process obey. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<Phase>>);

impl Shutdown {
    /// A switch that says [`Phase::Serving`].
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether new work should go elsewhere.
    pub fn is_leaving(&self) -> bool {
        self.phase() >= Phase::Leaving
    }

    /// Moves on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let moves = phase > *now;
            if moves {
                *now = phase;
            }
            moves
        });
    }

    /// Waits until `phase` or a later one is reached.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.subscribe();
        // The sender lives in self, so the channel cannot close while we wait.
        let _closed = receiver.wait_for(|now| *now >= phase).await.is_err();
    }

    /// Walks all phases at the pace of `plan`. Returns when everything still open has been told to end.
    pub async fn walk(&self, plan: DrainPlan) {
        self.advance(Phase::Leaving);
        time::sleep(plan.leave).await;
        self.advance(Phase::Draining);
        let idle = plan.idle.min(plan.finish);
        time::sleep(idle).await;
        self.advance(Phase::Closing);
        time::sleep(plan.finish.saturating_sub(idle)).await;
        self.advance(Phase::Ended);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_phases_come_at_the_pace_of_the_plan() {
        let shutdown = Shutdown::new();
        let plan =
            DrainPlan { leave: Duration::from_secs(2), idle: Duration::from_secs(5), finish: Duration::from_secs(30) };
        let walker = shutdown.clone();
        let walk = tokio::spawn(async move { walker.walk(plan).await });
        let mut seen = Vec::new();
        for second in 0..40 {
            time::sleep(Duration::from_millis(if second == 0 { 1 } else { 1000 })).await;
            seen.push((second, shutdown.phase()));
        }
        walk.await.unwrap();
        let first = |phase| seen.iter().find(|(_, now)| *now == phase).map(|(second, _)| *second);
        assert_eq!(first(Phase::Leaving), Some(0));
        assert_eq!(first(Phase::Draining), Some(2));
        assert_eq!(first(Phase::Closing), Some(7));
        assert_eq!(first(Phase::Ended), Some(32));
    }

    #[test]
    fn a_phase_never_goes_back() {
        let shutdown = Shutdown::new();
        shutdown.advance(Phase::Closing);
        shutdown.advance(Phase::Leaving);
        assert_eq!(shutdown.phase(), Phase::Closing);
    }
}
