//! What the API holds: a way to ask the engine, to hear what happens, and to read what is stored.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    alert_asks::{AlertAsk, AlertList},
    config::{ConfigError, Reload},
    counters::Counters,
    tree::Found,
};
use crate::{
    alert::{Incident, Silence, SilenceOrder, SilenceRefusal},
    base::{Actor, FleetEvent, Mono, Notice, Now, RunId, Ticket, UnitName},
    edge::{cgroup::usage::Places, deliver::Deliveries, log, store},
    node::{
        effect::Outcome,
        input::{ProbeOutcome, ReloadName, Sight, Verb},
        status::UnitStatus,
    },
    unit::{UnitDef, calendar::Zone},
    wire::keeper::Clamped,
};

/// Asks that may wait for the engine; more make their askers wait.
pub(super) const ASKS_MAX: usize = 1024;
/// Notices that are kept for streams that come late.
const EVENTS_KEPT: usize = 256;
/// Notices that a slow reader of the stream may be behind before it loses some.
const EVENTS_BEHIND_MAX: usize = 1024;

/// How long a reader waits for rows that are on their way.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// One question or order to the engine.
#[derive(Debug)]
pub enum Ask {
    /// An order for units.
    Order {
        /// Who asks.
        actor: Actor,
        /// For which units.
        units: Vec<UnitName>,
        /// What.
        verb: Verb,
        /// Where the answer goes.
        reply: OrderReply,
    },
    /// The state of all units.
    States {
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<UnitState>>,
    },
    /// Settings and units that were read from their files take the place of those in force.
    Reload {
        /// Who asks.
        actor: Actor,
        /// When reading began.
        begun: Mono,
        /// What was read.
        loaded: Result<Box<Reload>, ConfigError>,
        /// Where the answer goes: what is in force, or every problem.
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// Replace the daemon's program; whoever is answered is told why that did not happen.
    Upgrade {
        /// Who asks.
        actor: Actor,
        /// The new executable; without one, what stands where the present one was started from.
        to: Option<PathBuf>,
        /// Where the answer goes.
        reply: oneshot::Sender<String>,
    },
    /// About alerts.
    Alerts(AlertAsk),
    /// Whether alerts would reach people.
    Well {
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
    /// Restart a unit that whoever asked its probes found unwell; answered when it is up again.
    Unwell {
        /// Which.
        unit: UnitName,
        /// Which probe.
        probe: String,
        /// Who found it so, and what it said.
        reason: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<(UnitName, Outcome)>>,
    },
    /// Reload a unit, unless it was asked by that name before; answered when that reload is over.
    ReloadOnce {
        /// Who asks.
        actor: Actor,
        /// Which.
        unit: UnitName,
        /// What the reload is called.
        name: ReloadName,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<(UnitName, Outcome)>>,
    },
    /// Run every probe of these units once, now.
    Probe {
        /// Which; all when empty.
        units: Vec<UnitName>,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<(UnitName, Outcome)>>,
    },
}

/// Where the answer to an order goes, and when.
#[derive(Debug)]
pub enum OrderReply {
    /// When its outcome is known.
    Done(oneshot::Sender<Vec<(UnitName, Outcome)>>),
    /// When it outlives this manager: the keeper has what the units are to remember.
    Taken(oneshot::Sender<()>),
}

/// A unit as it is now.
#[derive(Debug, Clone)]
pub struct UnitState {
    /// What the machine says of it.
    pub status: UnitStatus,
    /// Its definition.
    pub def: Arc<UnitDef>,
    /// Automatic restarts ever.
    pub restarts_total: u64,
    /// What this host cannot do of its sandbox, for people.
    pub sandbox_unmet: Option<String>,
    /// What is looked at on a disk for a process of it that waits for that.
    pub awaited: Option<PathBuf>,
    /// How many descriptors it keeps with us.
    pub kept: u32,
    /// What became of its output, where it is captured.
    pub output: Option<log::Counts>,
    /// What its main process could not be given.
    pub clamped: Clamped,
    /// What this host cannot give of what it asks of the machine, for people.
    pub resources_unmet: Option<String>,
    /// Where the counters of all its processes are, if it has any.
    pub counted: Option<Box<Places>>,
}

/// A fact from one of the manager's own threads and tasks.
#[derive(Debug)]
pub enum Report {
    /// A probe came back.
    Probed {
        /// For whose run it was sent.
        run: RunId,
        /// Its place in the unit's list.
        probe: usize,
        /// What it found.
        outcome: ProbeOutcome,
    },
    /// Whoever keeps an external service was asked.
    Watched {
        /// Of which unit.
        unit: UnitName,
        /// The question's number.
        number: u32,
        /// The answer.
        sight: Sight,
    },
    /// Instances of templates were made.
    Instances(Box<super::instances::Made>),
    /// A unit that could not accept may try again.
    AcceptAgain(UnitName),
    /// A main process was looked for.
    Main(super::mainpid::Candidate),
    /// All is known that a process needs from disks.
    Prepared(Box<super::Prepared>),
    /// Counters of the unit's memory changed.
    OomCounted(UnitName),
    /// Processes of a run were found, or none are left.
    Tree(Found),
    /// The store did something.
    Store(store::Report),
    /// Output is lost, or not any more.
    Log(log::Report),
    /// What the store knows from before this manager began, late.
    Learnt(Box<super::known::Learnt>),
    /// How much room the disk of our own files has, if the kernel said.
    Room(Option<crate::base::ByteSize>),
    /// Something of the fleet that this node is to tell.
    Fleet(FleetEvent),
    /// The clock on the wall was set.
    ClockSet,
    /// The host came into another time zone.
    Zone(Zone),
    /// The daemon itself is told to go.
    Signal(crate::base::Signal),
}

/// The engine, seen from outside.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) events: Arc<Events>,
    pub(super) counters: Arc<Mutex<Counters>>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) flow: Arc<log::Flow>,
    pub(super) store: store::Store,
    pub(super) settings: Arc<super::settings::Settings>,
    pub(super) instances: super::Instances,
    pub(super) about: Arc<About>,
    pub(super) fleet: Option<super::fleet::Fleet>,
}

/// This manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Why the keeper started it: one word.
    pub cause: &'static str,
    /// The keeper's pid.
    pub keeper: u32,
    /// When it took over.
    pub since: Now,
}

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// How many units are in force.
    pub units: u32,
    /// Keys of `roundsman.toml` that changed and hold from the daemon's next start.
    pub lasting: Vec<&'static str>,
}

/// The engine does not answer: the daemon is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot ask the supervisor: it is ending")]
pub struct Gone;

impl Handle {
    /// Gives an order and waits for its outcome.
    pub async fn order(
        &self,
        actor: Actor,
        units: Vec<UnitName>,
        verb: Verb,
    ) -> Result<Vec<(UnitName, Outcome)>, Gone> {
        self.ask(|reply| Ask::Order { actor, units, verb, reply: OrderReply::Done(reply) }).await
    }

    /// The state of all units, in order of name.
    pub async fn states(&self) -> Result<Vec<UnitState>, Gone> {
        self.ask(|reply| Ask::States { reply }).await
    }

    /// Waits, bounded, until everything that happened before is in the store: who reads there finds what they caused.
    pub async fn settled(&self) -> Result<(), Gone> {
        // Before it answers, the engine hands over all that it has not told yet.
        self.states().await?;
        if !self.store.flush(SETTLED_WITHIN).await {
            tracing::debug!("rows wait; the reader is shown what is there");
        }
        Ok(())
    }

    /// Counts for metrics.
    pub fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Instances of templates that no file names.
    pub fn instances(&self) -> std::collections::BTreeSet<UnitName> {
        self.instances.all()
    }

    /// What becomes of services' output.
    pub fn flow(&self) -> &Arc<log::Flow> {
        &self.flow
    }

    /// Alerts on their way.
    pub fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// Puts into force what was read from `begun` on; all or nothing.
    pub async fn take_reload(
        &self,
        actor: Actor,
        begun: Mono,
        loaded: Result<Box<Reload>, ConfigError>,
    ) -> Result<Result<Reloaded, String>, Gone> {
        self.ask(|reply| Ask::Reload { actor, begun, loaded, reply }).await
    }

    /// Takes an order without waiting for its outcome. From then on it is carried out whatever becomes of this manager.
    pub async fn order_no_wait(&self, actor: Actor, units: Vec<UnitName>, verb: Verb) -> Result<(), Gone> {
        self.ask(|reply| Ask::Order { actor, units, verb, reply: OrderReply::Taken(reply) }).await
    }

    /// Runs every probe of these units once, now; of all units when none is named.
    pub async fn probe_now(&self, units: Vec<UnitName>) -> Result<Vec<(UnitName, Outcome)>, Gone> {
        self.ask(|reply| Ask::Probe { units, reply }).await
    }

    /// Restarts a unit that whoever asked its probes found unwell, and waits until it is up again.
    pub async fn restart_unwell(
        &self,
        unit: UnitName,
        probe: String,
        reason: String,
    ) -> Result<Vec<(UnitName, Outcome)>, Gone> {
        self.ask(|reply| Ask::Unwell { unit, probe, reason, reply }).await
    }

    /// Has a unit reload, once for each name, whichever manager was asked first; waits until that reload is over.
    pub async fn reload_once(
        &self,
        actor: Actor,
        unit: UnitName,
        name: ReloadName,
    ) -> Result<Vec<(UnitName, Outcome)>, Gone> {
        self.ask(|reply| Ask::ReloadOnce { actor, unit, name, reply }).await
    }

    /// Open incidents, and silences.
    pub async fn alert_list(&self) -> Result<AlertList, Gone> {
        self.ask(|reply| Ask::Alerts(AlertAsk::List { reply })).await
    }

    /// Hushes alerts for a time.
    pub async fn silence(&self, actor: Actor, order: SilenceOrder) -> Result<Result<Silence, SilenceRefusal>, Gone> {
        self.ask(|reply| Ask::Alerts(AlertAsk::Silence { actor, order, reply })).await
    }

    /// Ends silences, by number or pattern, before their time.
    pub async fn unsilence(&self, text: String) -> Result<Vec<Silence>, Gone> {
        self.ask(|reply| Ask::Alerts(AlertAsk::Unsilence { text, reply })).await
    }

    /// Takes incidents on, by their id or by what they are about.
    pub async fn acknowledge(&self, actor: Actor, text: String) -> Result<Vec<Incident>, Gone> {
        self.ask(|reply| Ask::Alerts(AlertAsk::Acknowledge { actor, text, reply })).await
    }

    /// Has the daemon's program replaced. There is an answer only if that does not come about: this manager ends otherwise.
    pub async fn upgrade(&self, actor: Actor, to: Option<PathBuf>) -> Result<String, Gone> {
        self.ask(|reply| Ask::Upgrade { actor, to, reply }).await
    }

    /// This manager.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The stream of notices from now on, and those that are still kept.
    pub fn events(&self) -> (Vec<Arc<NumberedNotice>>, broadcast::Receiver<Arc<NumberedNotice>>) {
        self.events.subscribe()
    }

    /// The machine as one of a fleet, where the settings speak of one.
    pub const fn fleet(&self) -> Option<&super::fleet::Fleet> {
        self.fleet.as_ref()
    }

    /// What is stored.
    pub const fn store(&self) -> &store::Store {
        &self.store
    }

    /// The daemon's settings as they were at its start.
    pub const fn settings(&self) -> &Arc<super::settings::Settings> {
        &self.settings
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}

/// A notice with its place in the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedNotice {
    /// Larger than that of every earlier notice, of earlier managers too.
    pub id: u64,
    /// What happened.
    pub notice: Notice,
}

/// The stream of notices. A reader that is too slow loses the oldest and is told how many.
#[derive(Debug)]
pub struct Events {
    stream: broadcast::Sender<Arc<NumberedNotice>>,
    kept: Mutex<VecDeque<Arc<NumberedNotice>>>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { stream: broadcast::Sender::new(EVENTS_BEHIND_MAX), kept: Mutex::new(VecDeque::new()) }
    }

    pub(super) fn publish(&self, notice: Notice) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Wall time makes ids of a later manager larger; counting makes them differ within a microsecond.
        let wall = u64::try_from(notice.at.wall.0).unwrap_or(0);
        let id = kept.back().map_or(wall, |last| wall.max(last.id + 1));
        let numbered = Arc::new(NumberedNotice { id, notice });
        if kept.len() == EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&numbered));
        // Nobody listens: fine.
        self.stream.send(numbered).ok();
    }

    fn subscribe(&self) -> (Vec<Arc<NumberedNotice>>, broadcast::Receiver<Arc<NumberedNotice>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.stream.subscribe())
    }
}

/// Hands out tickets.
#[derive(Debug, Default)]
pub(super) struct Tickets(u64);

impl Tickets {
    pub(super) const fn next(&mut self) -> Ticket {
        self.0 += 1;
        Ticket(self.0)
    }
}
