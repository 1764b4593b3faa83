//! The manager's loop: waits for the next fact or deadline, asks one machine, carries out what it returns.
//!
//! The only code that knows both the machines and the edge. What it must not do: wait for anything but the next fact.
//! A change here usually breaks the order in which a death becomes a restart: first the keeper's orders, then the
//! notices, and only then whatever touches a disk or a network.
#![forbid(unsafe_code)]

mod acks; // which exits the keeper may forget
mod alerting; // who is told, from the settings
mod boot; // from the keeper's snapshot and the store to a running engine
pub mod check; // one pass over the probes without a daemon
pub mod config; // the units in force
mod counters; // counts for metrics and status
mod dispatch; // effects of the node machine -> edges
mod fanout; // notices -> log, stream, alerts, store
mod fds; // what services keep with us
pub mod handle; // what the API holds
mod intake; // facts and asks -> inputs of the node machine
mod launch; // orders -> the keeper's exact instructions
mod probes; // probes under way
pub mod settings; // roundsman.toml
pub mod tree; // the processes of a run

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::{
    alert::Alerts,
    base::{Mono, Notice, Pid, ProcessKey, Ticket, UnitName},
    edge::{cgroup::Cgroups, clock, deliver::Deliveries, log::Pump, store::Store, users::Identity},
    keeper::client::{Client, ClientError},
    node::{Node, effect::Outcome},
    unit::UnitDef,
};

pub use boot::{BootError, Started, start};
pub use counters::Counters;
pub use handle::{Ask, Gone, Handle, NumberedNotice, Report, UnitState};

/// Everything the loop holds.
#[derive(Debug)]
pub struct Engine {
    node: Node,
    alerts: Alerts,
    keeper: Client,
    store: Store,
    deliveries: Arc<Deliveries>,
    pump: Pump,
    tree: tree::TreeWatch,
    cgroups: Option<Arc<Cgroups>>,
    launcher: launch::Launcher,
    probes: probes::Probes,
    acks: acks::Acks,
    events: Arc<handle::Events>,
    counters: Arc<Mutex<Counters>>,
    asks: mpsc::Receiver<Ask>,
    own_asks: mpsc::Sender<Ask>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Where tasks that may wait run.
    runtime: runtime::Handle,
    units: BTreeMap<UnitName, Arc<UnitDef>>,
    identities: BTreeMap<UnitName, Arc<Identity>>,
    /// Units whose log pipe was asked for.
    piped: BTreeSet<UnitName>,
    /// Names of sockets that the keeper holds.
    stored: BTreeSet<(UnitName, String)>,
    /// How many descriptors services keep with us.
    fd_store: fds::FdStore,
    /// Living processes.
    processes: BTreeMap<ProcessKey, Pid>,
    /// The newest run of each unit, for attribution.
    runs: BTreeMap<UnitName, tree::Tree>,
    /// How many signals were given to whole trees.
    signals: u64,
    tickets: handle::Tickets,
    waiting: BTreeMap<Ticket, oneshot::Sender<Vec<(UnitName, Outcome)>>>,
    next_seq: u64,
    /// What happened and was not told yet.
    untold: Vec<Notice>,
    settings: Arc<settings::Settings>,
    init: InitTalk,
    /// Our own program, for an upgrade in place.
    own_program: Option<CString>,
    ending: Option<u8>,
}

/// What the init system above us wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InitTalk {
    /// Whether it wants watchdog messages.
    watchdog: bool,
}

/// How long rows may take to reach the disk at the daemon's end.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// Runs until everything is stopped; the daemon's exit code. An error is the keeper's disappearance.
    pub async fn run(mut self) -> Result<u8, ClientError> {
        loop {
            self.drain()?;
            self.tree.set_known(self.known_children());
            if let Some(code) = self.ending {
                return self.end(code).await;
            }
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                incoming = self.keeper.recv() => {
                    let mut next = Some(incoming?);
                    // Everything that has come is heard before anything is carried out: one drain for a burst.
                    while let Some(incoming) = next {
                        self.take_incoming(incoming)?;
                        next = self.keeper.try_recv()?;
                    }
                }
                () = until(deadline) => {
                    let now = clock::now();
                    self.node.handle_timeout(now);
                    self.probe_deadlines(now)?;
                    self.remind(now);
                }
                Some(report) = self.reports.recv() => self.take_report(report)?,
                Some(ask) = self.asks.recv() => self.take_ask(ask),
                () = fanout::calm(self.untold.first()) => self.tell_all(),
            }
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        [self.node.next_deadline(), self.alerts.next_deadline(), self.probes.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    async fn end(mut self, code: u8) -> Result<u8, ClientError> {
        self.tell_all();
        if !self.store.flush(FLUSH_WITHIN).await {
            tracing::error!("rows could not be written in time; the last ends will be counted at the next start");
        }
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove_all();
        }
        // Ends that were committed meanwhile are forgotten by the keeper with everything else.
        self.keeper.send(&crate::wire::keeper::Order::Shutdown { code }, Vec::new())?;
        self.keeper.flush().await?;
        Ok(code)
    }
}

async fn until(deadline: Option<Mono>) {
    match deadline {
        Some(deadline) => sleep_until(Instant::now() + deadline.since(clock::now().mono)).await,
        None => std::future::pending().await,
    }
}
