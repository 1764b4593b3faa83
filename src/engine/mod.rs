//! The manager's loop: waits for the next fact or deadline, asks one machine, carries out what it returns.
//!
//! The only code that knows both the machines and the edge. What it must not do: wait for anything but the next fact.
//! A change here usually breaks the order in which a death becomes a restart: first the keeper's orders, then the
//! notices, and only then whatever touches a disk or a network.
#![forbid(unsafe_code)]

mod accept; // connections of units that accept
pub mod alert_asks; // what people ask of the alerts
mod acks; // which exits the keeper may forget
mod alerting; // who is told, from the settings
mod basis; // units and database, before anything begins
mod boot; // from the keeper's snapshot and the store to a running engine
pub mod check; // one pass over the probes without a daemon
pub mod config; // the units in force
mod counters; // counts for metrics and status
pub mod doctor; // what is wrong with this host
mod dispatch; // effects of the node machine -> edges
mod enrol; // hosts without a daemon
mod errands; // commands that are of no unit
mod fanout; // notices -> log, stream, alerts, store
mod fds; // what services keep with us
pub mod fleet; // this machine as one of several
pub mod handle; // what the API holds
mod heartbeat; // that we are here
mod instances; // of templates
mod intake; // facts and asks -> inputs of the node machine
mod mainpid; // which process is the main one, where a service made it
mod known; // what the store knows
mod last_words; // what services said before they died
mod launch; // orders -> the keeper's exact instructions
mod prepare; // what a start needs from disks
mod probes; // probes under way
mod reload; // a new configuration, taken while we run
mod remote; // a host without a daemon, at the far end of ssh
mod resources; // what units ask of the machine
mod room; // on the disk of our own files
mod sandbox; // what processes are shut in with
pub mod settings; // roundsman.toml
mod sockets; // what units listen on
mod strays; // what services left behind
mod time; // what timers know of clocks and zones
pub mod tree; // the processes of a run
mod untold; // what waits for calm

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

use crate::{
    alert::Alerts,
    base::{Mono, Pid, ProcessKey, RunId, Ticket, UnitName},
    edge::{
        alarm::Alarm,
        cgroup::Cgroups,
        clock,
        deliver::Deliveries,
        leftovers, listen,
        log::{Flow, Pump},
        store::Store,
        users::Identity,
    },
    keeper::{
        LinkError,
        client::{Client, ClientError},
    },
    node::{Node, effect::Outcome},
    unit::{UnitDef, calendar::Zones},
    wire::keeper::{Clamped, Stream},
};

pub use crate::edge::cgroup::way::make_way;
pub use basis::could_go_on;
pub use boot::{BootError, Given, Started, start};
pub use counters::{Counters, Durations};
pub use enrol::{EnrolError, EnrolOptions, enrol};
pub use handle::{About, Ask, Gone, Handle, NumberedNotice, OrderReply, Report, UnitState};
pub use instances::{Instances, Made};
pub use known::Learnt;
pub use mainpid::Candidate;
pub use prepare::Prepared;
pub use remote::{RemoteError, RemoteOptions, remote};

/// Everything the loop holds.
#[derive(Debug)]
pub struct Engine {
    node: Node,
    alerts: Alerts,
    keeper: Client,
    store: Store,
    deliveries: Arc<Deliveries>,
    pump: Pump,
    flow: Arc<Flow>,
    tree: tree::TreeWatch,
    alarm: Alarm,
    cgroups: Option<Arc<Cgroups>>,
    launcher: Arc<launch::Launcher>,
    preparations: prepare::Preparations,
    resources: resources::Resources,
    sandboxes: sandbox::Sandboxes,
    probes: probes::Probes,
    errands: errands::Errands,
    acks: acks::Acks,
    events: Arc<handle::Events>,
    counters: Arc<Mutex<Counters>>,
    asks: mpsc::Receiver<Ask>,
    own_asks: mpsc::Sender<Ask>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// For what looks away from the loop.
    reporter: mpsc::UnboundedSender<Report>,
    /// Where tasks that may wait run.
    runtime: runtime::Handle,
    units: BTreeMap<UnitName, Arc<UnitDef>>,
    identities: BTreeMap<UnitName, Arc<Identity>>,
    templates: BTreeSet<UnitName>,
    /// Instances that no file names.
    instances: Instances,
    zones: Arc<Zones>,
    /// Log pipes that were asked for.
    piped: BTreeSet<(UnitName, Stream)>,
    sockets: sockets::Sockets,
    connections: accept::Connections,
    /// How many descriptors services keep with us; who keeps none is not here.
    kept: BTreeMap<UnitName, u32>,
    /// Living processes.
    processes: BTreeMap<ProcessKey, Pid>,
    /// What main processes could not be given, where they could not be given all.
    clamped: BTreeMap<UnitName, Clamped>,
    /// The newest run of each unit, for attribution.
    runs: BTreeMap<UnitName, tree::Tree>,
    /// How many signals were given to whole trees.
    signals: u64,
    tickets: handle::Tickets,
    waiting: BTreeMap<Ticket, oneshot::Sender<Vec<(UnitName, Outcome)>>>,
    /// Whoever gave an order and waits only until it is sure to be carried out.
    taken: Vec<oneshot::Sender<()>>,
    next_seq: u64,
    untold: untold::Untold,
    settings: Arc<settings::Settings>,
    init: InitTalk,
    /// Our own program, for an upgrade in place.
    own_program: Option<CString>,
    /// Whoever asked for an upgrade that is on its way.
    upgrading: Option<oneshot::Sender<String>>,
    about: Arc<About>,
    strays: strays::Strays,
    room: room::Room,
    /// The units on which someone works, as the machine was told.
    maintained: Option<BTreeSet<UnitName>>,
    last_words: last_words::LastWords,
    heartbeat: Option<heartbeat::Beating>,
    /// What the store counted before this manager began is not known.
    unseeded: bool,
    /// What the alerts hear when it is.
    unheard: known::Unheard,
    /// Runs that have a row without end, while this engine comes to be.
    unended: Vec<RunId>,
    ending: Option<u8>,
    /// The machine as one of a fleet.
    fleet: Option<fleet::Fleet>,
}

/// Why the loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The keeper is gone or does not speak our language.
    #[error("cannot work with the keeper")]
    Keeper(#[from] ClientError),
    /// The alarm cannot be set or heard.
    #[error("cannot be woken at a moment")]
    Alarm(#[source] io::Error),
    /// Sockets cannot be waited for.
    #[error("cannot wait for traffic")]
    Traffic(#[source] io::Error),
}

impl RunError {
    /// Whether the keeper has let go of this manager, as it does when it goes on with another program; one that dies does too.
    #[must_use]
    pub const fn is_let_go(&self) -> bool {
        match self {
            Self::Keeper(error) => matches!(error, ClientError::Link(LinkError::Closed)),
            Self::Alarm(_) | Self::Traffic(_) => false,
        }
    }
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
    /// Runs until everything is stopped; the daemon's exit code.
    ///
    /// # Errors
    /// When it cannot hear the keeper or its alarm: without them there is nothing it can do.
    pub async fn run(mut self) -> Result<u8, RunError> {
        loop {
            self.drain()?;
            self.tree.set_known(self.known_children());
            if let Some(code) = self.ending {
                return Ok(self.end(code).await?);
            }
            let calm = self.untold.due(clock::now().mono);
            let deadline = self.next_deadline().into_iter().chain(calm).min();
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
                rung = self.alarm.ring(deadline) => {
                    rung.map_err(RunError::Alarm)?;
                    let now = clock::now();
                    if calm.is_some_and(|calm| calm <= now.mono) {
                        self.tell_all()?;
                    }
                    if self.strays.due().is_some_and(|due| due <= now.mono) {
                        self.hear_late_ends()?;
                    }
                    self.node.handle_timeout(now);
                    self.probe_deadlines(now)?;
                    self.errand_deadlines(now)?;
                    if self.unheard.due().is_some_and(|due| due <= now.mono) {
                        self.hear_all();
                    }
                    self.remind(now);
                }
                Some(report) = self.reports.recv() => self.take_report(report)?,
                Some(ask) = self.asks.recv() => self.take_ask(ask)?,
                Some(ask) = self.errands.next() => self.take_errand(ask)?,
                unit = self.sockets.traffic.next() => {
                    self.traffic(unit.map_err(RunError::Traffic)?)?;
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        let own = [self.probes.next_deadline(), self.errands.next_deadline(), self.unheard.due(), self.strays.due()];
        [self.node.next_deadline(), self.alerts.next_deadline()].into_iter().chain(own).flatten().min()
    }

    async fn end(mut self, code: u8) -> Result<u8, ClientError> {
        self.tell_all()?;
        self.hear_all();
        self.end_errands().await?;
        if !self.store.flush(FLUSH_WITHIN).await {
            tracing::error!("rows could not be written in time; the last ends will be counted at the next start");
        }
        // What is on disk by now is not told to the next daemon.
        while let Ok(report) = self.reports.try_recv() {
            if let Report::Store(report) = report {
                self.take_store_report(report)?;
            }
        }
        self.resources.remove_all();
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove_all();
        }
        self.sandboxes.finish(FLUSH_WITHIN).await;
        self.launcher.leftover_places().iter().for_each(|place| leftovers::remove(place));
        // While the keeper has the lock no other daemon can be about to listen there.
        if let Some(control) = &self.sockets.control {
            listen::remove_own_file(control, &self.settings.control_file());
        }
        self.keeper.send(&crate::wire::keeper::Order::Shutdown { code }, Vec::new())?;
        self.keeper.flush().await?;
        Ok(code)
    }
}
