//! Servers of load balancers here that are to take no requests. What a load balancer forgets, because it was reloaded or is
//! another one by now, it is told again.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    acts::Doer,
    member::{Input, Member},
};
use crate::{
    base::Chain,
    edge::{balance, clock, store::FleetWrite},
    fleet::{Deed, PoolName, Report, StepOutcome},
};

/// How long after it was told again it is not told once more.
const PAUSE: Duration = Duration::from_secs(5);

/// A server of a pool.
type Server = (PoolName, Box<str>);

/// How it stands with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    /// The step that drains it is being done.
    UnderWay,
    /// It is drained, and was told so again at that moment.
    Holds(Option<Instant>),
}

/// All of them.
pub(super) type Drains = BTreeMap<Server, Drain>;

/// Of a step that was to drain a server: whether that takes no requests now. What does not say is believed to be drained.
pub(super) async fn holds(doer: &Doer, deed: &Deed, outcome: &StepOutcome) -> Option<(Server, bool)> {
    let Deed::Drain { pool, server } = deed else { return None };
    let takes = match (outcome, doer.settings.topology.pools.get(pool)) {
        (StepOutcome::Done { .. }, _) => false,
        (StepOutcome::Failed { .. }, Some(known)) => {
            let servers = balance::servers(doer, pool, &known.kind).await;
            servers.is_ok_and(|servers| servers.get(server) == Some(&true))
        }
        (StepOutcome::Failed { .. }, None) => true,
    };
    Some(((pool.clone(), server.clone()), !takes))
}

impl Member {
    /// What is to be drained is known before it is, so that it is not forgotten with this process.
    pub(super) fn note_drain(&mut self, deed: &Deed) {
        match deed {
            Deed::Drain { pool, server } => {
                self.drains.insert((pool.clone(), server.clone()), Drain::UnderWay);
                let since = Some(clock::wall());
                self.keep(FleetWrite::Drain { pool: pool.clone(), server: server.clone(), since });
            }
            Deed::Undrain { pool, server } => self.forget_drain(pool.clone(), server.clone()),
            Deed::Notify | Deed::Validate | Deed::Reload | Deed::Restart => {}
        }
    }

    fn forget_drain(&mut self, pool: PoolName, server: Box<str>) {
        self.drains.remove(&(pool.clone(), server.clone()));
        self.keep(FleetWrite::Drain { pool, server, since: None });
    }

    /// A step that was to drain it is over.
    pub(super) fn drain_ended(&mut self, server: Server, holds: bool) {
        if !holds {
            self.forget_drain(server.0, server.1);
        } else if let Some(drain) = self.drains.get_mut(&server) {
            *drain = Drain::Holds(None);
        }
    }

    /// A load balancer that was reloaded, or another one of the same name, sends requests to all.
    pub(super) fn drain_again(&mut self, report: &Report) {
        let now = Instant::now();
        let doer = self.doer();
        for ((pool, server), drain) in &mut self.drains {
            let takes = report.pools.get(pool).and_then(|servers| servers.get(server)).copied().unwrap_or(false);
            let is_due = match drain {
                Drain::UnderWay => false,
                Drain::Holds(told) => told.is_none_or(|told| now.duration_since(told) >= PAUSE),
            };
            let known = doer.settings.topology.pools.get(pool).filter(|_| takes && is_due);
            let Some(known) = known.cloned() else { continue };
            *drain = Drain::Holds(Some(now));
            tracing::warn!(%pool, server = %server, "the load balancer has forgotten that this server is drained; it is told again");
            let (pool, server, doer, own) = (pool.clone(), server.clone(), doer.clone(), self.own.clone());
            tokio::spawn(async move {
                if let Err(error) = balance::drain(&doer, (&pool, &known), &server, None, Duration::ZERO).await {
                    tracing::warn!(error = %Chain(&error), "cannot drain {server} of pool {pool} again");
                }
                own.send(Input::Changed).ok();
            });
        }
    }
}
