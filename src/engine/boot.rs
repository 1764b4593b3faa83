//! How an engine comes to be: from the keeper's snapshot, the store and the unit directories.
//!
//! The order matters. First the keeper's snapshot, then the units, then the store's generations, then the machine;
//! what the keeper held back is fed last, as facts. A crash anywhere here changes nothing: the next manager starts from
//! the same snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

use super::{
    Engine, InitTalk, acks, basis,
    config::{self, ConfigError, Host},
    errands::Errands,
    handle::{ASKS_MAX, About, Events, Handle, Report, Tickets},
    launch,
    prepare::{Means, Preparations},
    probes,
    resources::Resources,
    sandbox::{Grounds, Sandboxes},
    settings::{CgroupMode, Settings},
    sockets,
    time::timer_host,
    tree::{Tree, TreeWatch},
};
use crate::{
    alert::Alerts,
    base::{Chain, Happening, Notice, Pid, ProcessKey, Role, UnitName},
    edge::{
        alarm::Alarm,
        cgroup::{Cgroups, Right, controllers::Controllers},
        clock,
        deliver::{Deliveries, Timing},
        errand, listen,
        log::{Flow, Pump},
        notify,
        store::{self, Store},
    },
    keeper::client::{Client, ClientError, Incoming, Pending, Snapshot},
    node::{Input, Node, input::Adopted, status::Active},
    sys,
    unit::spec::{Address, Listen, SocketKind, SocketSpec},
    wire::keeper::{Exit, ManagerCause, Order, Stream},
};

/// Under this name the keeper holds the API's socket. No file can be called so, hence no unit.
pub(super) const CONTROL_UNIT: &str = "roundsman@control.socket";
/// Askers that may wait while there is no manager.
const CONTROL_BACKLOG: u32 = 128;
/// The exit code for a configuration that cannot be used (EX_CONFIG of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The keeper is gone or does not speak our language.
    #[error("cannot work with the keeper")]
    Keeper(#[source] ClientError),
    /// The units cannot be used, and there is no earlier set to go on with.
    #[error("cannot use the unit files:\n{0}")]
    Config(ConfigError),
    /// The database was written by a newer release.
    #[error("{0}")]
    Store(String),
    /// A directory of ours cannot be made.
    #[error("cannot create {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread or clock around the loop cannot be started.
    #[error("cannot start {what}")]
    Part {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An engine that is ready to run.
#[derive(Debug)]
pub struct Started {
    /// The loop.
    pub engine: Engine,
    /// What the API holds.
    pub handle: Handle,
    /// Where the API is asked, held by the keeper too: askers wait while there is no manager.
    pub control: OwnedFd,
}

/// What a manager is given by its command line.
#[derive(Debug)]
pub struct Given {
    /// What `roundsman.toml` says, or said when it could still be read.
    pub settings: Settings,
    /// Why it cannot be read now.
    pub rejected: Option<String>,
    /// The keeper's runtime directory.
    pub runtime: Option<PathBuf>,
}

/// Takes everything over from the keeper at the other end of `socket`. Tasks that may wait go to `edges`.
pub async fn start(socket: OwnedFd, given: Given, edges: runtime::Handle) -> Result<Started, BootError> {
    let Given { mut settings, rejected, runtime } = given;
    let mut keeper = Client::new(socket).map_err(BootError::Keeper)?;
    let mut snapshot = first(&mut keeper).await?;
    if let Some(runtime) = runtime.filter(|_| snapshot.cause != ManagerCause::Boot) {
        for key in settings.go_on(&runtime) {
            tracing::warn!(key, "changed in roundsman.toml; it holds once supervisord was stopped and started");
        }
    }
    make_dir(&settings.paths.state, 0o750)?;
    make_dir(&settings.paths.logs, 0o750)?;
    let settings = Arc::new(settings);
    let host = match basis::sound(&settings, snapshot.cause) {
        Ok(host) => host,
        Err(error) => {
            // The reason comes first: nobody waits for us then.
            sys::complain(&Chain(&error).to_string());
            if snapshot.cause == ManagerCause::Boot {
                // The keeper would start us again for ever; there is nothing to supervise, so the daemon ends. Later there
                // is, and after an upgrade the program before can go on.
                keeper.send(&Order::Shutdown { code: EXIT_CONFIG }, Vec::new()).map_err(BootError::Keeper)?;
                keeper.flush().await.map_err(BootError::Keeper)?;
            }
            return Err(error);
        }
    };
    let (host, problems) = host;
    let rejected: Vec<String> = rejected.into_iter().chain(problems).collect();
    let parts = Parts::start(&settings, &snapshot, &host, edges)?;
    let about = About { cause: snapshot.cause.as_str(), keeper: snapshot.keeper, since: clock::now() };
    let (mut engine, opening) = parts.engine(keeper, Arc::clone(&settings), about);
    let control = engine.control_socket(&snapshot)?;
    engine.sockets.control = control.try_clone().ok();
    // What is of no unit is seen to first; the machine of units never hears of it.
    engine.end_left_errands(&mut snapshot).map_err(BootError::Keeper)?;
    engine.end_left_probes(&snapshot).map_err(BootError::Keeper)?;
    engine.take_over(*snapshot, host, opening).await.map_err(BootError::Keeper)?;
    engine.sandboxes.take_over(&engine.node.statuses().iter().filter_map(|status| status.invocation).collect());
    // A manager that was killed may not have come to it.
    engine.untold.leave_over();
    engine.join_fleet();
    let handle = engine.handle();
    if !rejected.is_empty() {
        let problems = rejected.join("\n");
        engine.fan_out(Notice { at: clock::now(), what: Happening::ConfigRejected { problems } });
    }
    Ok(Started { engine, handle, control })
}

async fn first(keeper: &mut Client) -> Result<Box<Snapshot>, BootError> {
    loop {
        match keeper.recv().await.map_err(BootError::Keeper)? {
            Incoming::Snapshot(snapshot) => return Ok(snapshot),
            // A ping before the snapshot: the answer follows with our first orders.
            Incoming::Fact(..) => {}
        }
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), BootError> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| BootError::Directory { path: path.to_owned(), source })
}

/// The threads and channels around the loop.
struct Parts {
    store: Store,
    opening: oneshot::Receiver<store::Opened>,
    pump: Pump,
    flow: Arc<Flow>,
    tree: TreeWatch,
    alarm: Alarm,
    cgroups: Option<Arc<Cgroups>>,
    controllers: Controllers,
    reports: mpsc::UnboundedReceiver<Report>,
    reporter: mpsc::UnboundedSender<Report>,
    edges: runtime::Handle,
    launcher: launch::Launcher,
    sockets: sockets::Sockets,
}

impl Parts {
    fn start(settings: &Settings, snapshot: &Snapshot, host: &Host, edges: runtime::Handle) -> Result<Self, BootError> {
        let (reporter, reports) = mpsc::unbounded_channel();
        let failed = |what| move |source: Box<dyn std::error::Error + Send + Sync>| BootError::Part { what, source };
        let to = reporter.clone();
        let options = store::Options {
            path: settings.paths.state.join("state.db"),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            retention: settings.history,
            clock: clock::now,
        };
        let (cgroups, controllers) = cgroups(settings, snapshot);
        let (store, opening) = Store::open(options, move |report| drop(to.send(Report::Store(report))))
            .map_err(|e| failed("the store")(e.into()))?;
        if let Some(cgroups) = &cgroups {
            let soon = host.units.iter().filter(|(_, unit)| unit.enabled).map(|(name, _)| name);
            // While the store waits for the disk.
            cgroups.prepare(soon);
        }
        let to = reporter.clone();
        let flow = Arc::new(Flow::default());
        let report = move |report| drop(to.send(Report::Log(report)));
        let pump = Pump::start(settings.paths.logs.clone(), Arc::clone(&flow), report)
            .map_err(|e| failed("the log thread")(e.into()))?;
        let keeper = i32::try_from(snapshot.keeper).ok().and_then(Pid::new);
        let to = reporter.clone();
        // Pid 1 is everyone's ancestor, so nothing is told apart by it; a keeper that is PID 1 has 2 as its least child.
        let tree = TreeWatch::start(keeper, cgroups.clone(), move |found| drop(to.send(Report::Tree(found))))
            .map_err(|e| failed("the tree watch")(e.into()))?;
        let alarm = Alarm::new().map_err(|e| failed("the alarm")(e.into()))?;
        let own_dir = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
        let notify_socket = std::path::absolute(settings.paths.runtime.join("notify")).unwrap_or_default();
        let in_runtime = edges.enter();
        let sockets = sockets::Sockets::new().map_err(|e| failed("the watch of sockets")(e.into()))?;
        drop(in_runtime);
        let notify_folder = notify_socket.with_file_name("shown");
        if let Err(error) = notify::show(&notify_socket, &notify_folder) {
            let folder = notify_folder.display();
            tracing::warn!(%folder, %error, "services with a root_directory cannot be shown the notify socket");
        }
        let launcher = launch::Launcher::new(notify_socket, notify_folder, own_dir, std::env::var("LANG").ok());
        Ok(Self {
            store,
            opening,
            pump,
            flow,
            tree,
            alarm,
            cgroups,
            controllers,
            reports,
            reporter,
            edges,
            launcher,
            sockets,
        })
    }

    fn deliveries(&self, settings: &Settings, errands: errand::Errands) -> Deliveries {
        let deliveries = Deliveries::new(self.store.clone(), clock::now, Timing::default(), errands)
            .reading(settings.paths.logs.clone());
        let _in_runtime = self.edges.enter();
        deliveries.set_routes(&settings.alert.routes);
        deliveries
    }

    fn engine(
        self,
        keeper: Client,
        settings: Arc<Settings>,
        about: About,
    ) -> (Engine, oneshot::Receiver<store::Opened>) {
        let (own_asks, asks) = mpsc::channel(ASKS_MAX);
        let (errands, errands_asked) = mpsc::unbounded_channel();
        let deliveries = self.deliveries(&settings, errands.clone());
        let now = clock::now();
        let seed = now.mono.0 ^ u64::from(std::process::id());
        let resources = Resources::new(self.cgroups.clone(), self.controllers, self.reporter.clone());
        let instance = instance(&std::path::absolute(&settings.paths.runtime).unwrap_or_default());
        let (launcher, grounds) = (Arc::new(self.launcher), Arc::new(Grounds::new(&settings.paths.runtime, instance)));
        let means = Means { launcher: Arc::clone(&launcher), grounds: Arc::clone(&grounds) };
        let engine = Engine {
            node: machine(seed, now, &settings),
            maintained: None,
            alerts: Alerts::new(settings.alert.clone()),
            keeper,
            store: self.store,
            deliveries: Arc::new(deliveries),
            pump: self.pump,
            flow: self.flow,
            tree: self.tree,
            alarm: self.alarm,
            cgroups: self.cgroups,
            preparations: Preparations::new(means, self.edges.clone(), self.reporter.clone()),
            launcher,
            sandboxes: Sandboxes::new(grounds, self.edges.clone()),
            resources,
            probes: probes::Probes::new(self.edges.clone(), self.reporter.clone()),
            // Another sequence than the machine's, whose ids these must not bear.
            errands: Errands::new(errands, errands_asked, !seed),
            acks: acks::Acks::default(),
            events: Arc::new(Events::new()),
            counters: Arc::default(),
            asks,
            own_asks,
            room: super::room::Room::default(),
            last_words: super::last_words::LastWords::default(),
            heartbeat: None,
            reports: self.reports,
            reporter: self.reporter,
            runtime: self.edges,
            units: BTreeMap::new(),
            identities: BTreeMap::new(),
            templates: BTreeSet::new(),
            instances: super::Instances::default(),
            zones: Arc::default(),
            piped: BTreeSet::new(),
            sockets: self.sockets,
            connections: super::accept::Connections::default(),
            kept: BTreeMap::new(),
            processes: BTreeMap::new(),
            clamped: BTreeMap::new(),
            runs: BTreeMap::new(),
            signals: 0,
            tickets: Tickets::default(),
            waiting: BTreeMap::new(),
            taken: Vec::new(),
            next_seq: 0,
            untold: super::untold::Untold::default(),
            settings,
            init: InitTalk { watchdog: std::env::var_os("WATCHDOG_USEC").is_some() },
            own_program: own_program(),
            upgrading: None,
            about: Arc::new(about),
            strays: super::strays::Strays::default(),
            unseeded: false,
            unheard: super::known::Unheard::default(),
            unended: Vec::new(),
            ending: None,
            fleet: None,
        };
        (engine, self.opening)
    }
}

fn cgroups(settings: &Settings, snapshot: &Snapshot) -> (Option<Arc<Cgroups>>, Controllers) {
    let runtime = std::path::absolute(&settings.paths.runtime).unwrap_or_default();
    let instance = instance(&runtime);
    let right = match settings.cgroups {
        CgroupMode::Off => {
            let why = "[cgroup] mode is \"off\"".to_owned();
            return (None, Controllers::new(&instance, None, None, Some(why)));
        }
        CgroupMode::Auto if snapshot.keeper != 1 => Right::Delegated,
        CgroupMode::Auto | CgroupMode::On => Right::Granted,
    };
    let error = match Cgroups::open(&instance, right) {
        Ok(cgroups) => {
            let cgroups = Arc::new(cgroups);
            let controllers = Controllers::new(&instance, Some(Arc::clone(&cgroups)), Some(right), None);
            return (Some(cgroups), controllers);
        }
        Err(error) => error,
    };
    let reason = Chain(&error).to_string();
    const SAID: &str = "no cgroups here; process groups and a walk over /proc serve instead";
    if snapshot.cause != ManagerCause::Boot {
        // The daemon's first manager has said it.
        tracing::debug!(reason, "{SAID}");
    } else if settings.cgroups == CgroupMode::On {
        tracing::warn!(reason, "{SAID}");
    } else {
        tracing::info!(reason, "{SAID}");
    }
    (None, Controllers::new(&instance, None, Some(right), Some(reason)))
}

/// A machine that keeps to the settings.
fn machine(seed: u64, now: crate::base::Now, settings: &Settings) -> Node {
    let mut node = Node::new(seed);
    node.handle(now, Input::RestartBudget(settings.restart_budget));
    node
}

/// Names a daemon by its runtime directory (FNV-1a): the same after a restart, another for another daemon.
fn instance(runtime: &Path) -> String {
    let hash =
        runtime.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// Where our program stands, a replaced file included: the link then says so, and the name is what counts.
fn own_program() -> Option<CString> {
    let link = fs::read_link("/proc/self/exe").ok()?;
    let text = link.as_os_str().to_str()?;
    CString::new(text.strip_suffix(" (deleted)").unwrap_or(text)).ok()
}

impl Engine {
    pub(super) fn handle(&self) -> Handle {
        Handle {
            deliveries: Arc::clone(&self.deliveries),
            flow: Arc::clone(&self.flow),
            asks: self.own_asks.clone(),
            events: Arc::clone(&self.events),
            counters: Arc::clone(&self.counters),
            store: self.store.clone(),
            settings: Arc::clone(&self.settings),
            instances: self.instances.clone(),
            about: Arc::clone(&self.about),
            fleet: self.fleet.clone(),
        }
    }

    /// From here on this engine decides. What runs goes on; what waited is heard; what is wanted is started.
    async fn take_over(
        &mut self,
        snapshot: Snapshot,
        host: Host,
        opening: oneshot::Receiver<store::Opened>,
    ) -> Result<(), ClientError> {
        let now = self.about.since;
        let cause = snapshot.cause;
        let mut restored = self.known(opening, cause).await?;
        for record in snapshot.units {
            let newest = restored.generations.entry(record.unit.clone()).or_default();
            *newest = record.generation.max(*newest);
            if !record.memo.is_empty() {
                restored.memos.insert(record.unit, record.memo);
            }
        }
        self.number_blindly(&mut restored, &host);
        let enabled = restored.enablement.iter().filter(|(_, enabled)| **enabled).map(|(unit, _)| unit);
        let living = snapshot.processes.iter().map(|process| &process.key.run.unit);
        let host = self.remake_instances(host, restored.memos.keys().chain(enabled).chain(living));
        for process in &snapshot.processes {
            self.adopt(process);
            if !matches!(process.key.role, Role::Probe(_)) {
                let (key, invocation, pid) = (process.key.clone(), process.invocation, process.pid);
                restored.processes.push(Adopted { key, invocation, pid });
            }
        }
        self.adopt_descriptors(&host, &snapshot.stored)?;
        for degraded in &snapshot.degraded {
            tracing::warn!(reason = degraded, "the keeper works with less than it wants");
        }
        restored.host = timer_host(&host, snapshot.keeper);
        restored.waiting = snapshot.pending.iter().filter_map(ended).collect();
        let adopted = restored.processes.iter().filter(|p| p.key.role.is_main()).count();
        let fresh = cause == ManagerCause::Boot;
        self.take_host(&host);
        self.adopt_logs(snapshot.logs);
        let units = self.with_connections(&snapshot.stored, &restored);
        let count = u32::try_from(host.units.len()).unwrap_or(u32::MAX);
        self.alerts.keep_units(now, |unit, probe| super::known::is_there(&host.units, unit, probe));
        self.node.restore(now, units, restored);
        self.settle_incidents(now, cause);
        self.account_for(&snapshot.processes, &snapshot.pending);
        let replayed = snapshot.pending.len();
        let started = Happening::ManagerStarted {
            cause: cause.as_str(),
            adopted: u32::try_from(adopted).unwrap_or(u32::MAX),
            replayed: u32::try_from(replayed).unwrap_or(u32::MAX),
        };
        let lost = self.node.lost();
        self.adopt_resources();
        for pending in snapshot.pending {
            self.hear(pending, cause)?;
        }
        self.hear_of_the_dead(lost);
        self.node.handle(clock::now(), Input::Boot);
        self.watch_clock();
        self.drain()?;
        self.settle_what_is_told_again(cause)?;
        self.end_rows()?;
        self.keeper.send(&Order::Ready, Vec::new())?;
        self.keeper
            .send(&Order::TellInit { bytes: format!("READY=1\nSTATUS={count} units").into_bytes() }, Vec::new())?;
        self.fan_out(Notice { at: now, what: started });
        self.fan_out(Notice { at: now, what: Happening::ConfigLoaded { units: count } });
        for warning in &host.warnings {
            tracing::warn!("{warning}");
        }
        self.begin_heartbeat();
        self.keep_settings();
        if let Err(error) = config::keep(&host, &self.settings.paths.runtime) {
            tracing::warn!(%error, fresh, "cannot keep a copy of the units; after a crash the directories must be sound");
        }
        Ok(())
    }

    /// The API's socket: the keeper's, if it holds one, else a new one that it is given.
    fn control_socket(&mut self, snapshot: &Snapshot) -> Result<OwnedFd, BootError> {
        let path = self.settings.control_file();
        let failed = |source: io::Error| BootError::Directory { path: path.clone(), source };
        let listen = Listen::Socket(SocketKind::Stream, Address::Unix(path.clone().into()));
        let held =
            snapshot.stored.iter().find(|(of, _, fd)| of.as_str() == CONTROL_UNIT && listen::is_bound_to(fd, &listen));
        if let Some((_, _, fd)) = held {
            return fd.try_clone().map_err(failed);
        }
        listen::remove_left_file(&path).map_err(failed)?;
        let mut spec = SocketSpec::new(listen, "control");
        (spec.options.backlog, spec.options.mode) = (CONTROL_BACKLOG, 0o660);
        // Without the group, root and our own user remain.
        let gid = crate::edge::users::local_group("roundsman").map(nix::unistd::Gid::as_raw);
        let owner = listen::Owner { uid: None, gid };
        let fd = listen::open(&spec, owner).map_err(|error| failed(error.source))?.fd;
        let unit = UnitName::new(CONTROL_UNIT).map_err(|error| failed(io::Error::other(error)))?;
        let kept = fd.try_clone().map_err(failed)?;
        self.keeper.send(&Order::Store { unit, name: "control".to_owned() }, vec![kept]).map_err(BootError::Keeper)?;
        Ok(fd)
    }

    /// What the runs that go on were given, and how many kills were told. The last process of one may be dead, and its end
    /// among what waits.
    fn adopt_resources(&mut self) {
        for (name, unit) in &self.units {
            if matches!(self.node.active(name), Some(state) if !matches!(state, Active::Inactive | Active::Failed)) {
                self.resources.adopt(name, &unit.service.resources, self.node.oom_kills(name));
            }
        }
    }

    /// Ends and kills that nobody saw while there was no manager.
    fn hear_of_the_dead(&mut self, lost: Vec<ProcessKey>) {
        for key in lost {
            self.lost(key);
        }
        for name in self.runs.keys().cloned().collect::<Vec<_>>() {
            self.oom_counted(&name);
        }
    }

    pub(super) fn adopt(&mut self, process: &crate::wire::keeper::RunningProcess) {
        let key = &process.key;
        let newer = self.runs.get(&key.run.unit).is_none_or(|tree| tree.run.generation <= key.run.generation);
        if newer && !self.runs.get(&key.run.unit).is_some_and(|tree| tree.run == key.run && tree.main.is_some()) {
            let is_orphaned = crate::edge::proctree::parent(process.pid) != super::mainpid::keeper();
            let tree = Tree { is_orphaned, is_admitted: true, ..Tree::new(&key.run, process.invocation) };
            self.runs.insert(key.run.unit.clone(), tree);
        }
        self.output_began(key, process.started.wall);
        self.spawned(key, process.pid);
        self.note_clamped(key, process.clamped);
    }

    /// Goes on with what services write. Their definitions must be known.
    fn adopt_logs(&mut self, pipes: Vec<(UnitName, Stream, OwnedFd)>) {
        for (unit, stream, pipe) in pipes {
            self.piped.insert((unit.clone(), stream));
            let rules = self.log_rules(&unit);
            self.pump.add(unit, stream, pipe, rules);
        }
    }

    /// One thing that waited in the keeper: for a manager that died, or at boot for a keeper that did.
    fn hear(&mut self, pending: Pending, cause: ManagerCause) -> Result<(), ClientError> {
        match pending {
            Pending::Exited(exit) => {
                // Nothing of it may be known, but processes may be left that it made.
                let run = &exit.key.run;
                self.output_began(&exit.key, exit.started.wall);
                if self.runs.get(&run.unit).is_none_or(|tree| tree.run.generation < run.generation) {
                    let tree = Tree {
                        main: Some(exit.pid),
                        is_orphaned: cause == ManagerCause::Boot,
                        is_admitted: true,
                        ..Tree::new(run, exit.invocation)
                    };
                    self.runs.insert(run.unit.clone(), tree);
                }
                // The manager that was to hear of its start may have died before.
                if exit.key.role.is_main() {
                    let Exit { key, pid, invocation, started, .. } = exit.clone();
                    self.node.handle(clock::now(), Input::Waited { key, pid, invocation, started });
                }
                self.exited(exit)
            }
            Pending::SpawnFailed(key, failure) => self.spawn_failed(key, failure),
            Pending::ExitsAggregated { unit, count, generation: _ } => {
                tracing::error!(unit = %unit, count, "ends are known by number only; their causes are lost");
                self.keeper.send(&Order::AckAggregated { unit, count }, Vec::new())
            }
            Pending::Notified(notified, fds) => self.take_notified(&notified, fds),
        }
    }
}

/// The process whose end this tells.
pub(super) fn ended(pending: &Pending) -> Option<ProcessKey> {
    match pending {
        Pending::Exited(exit) => Some(exit.key.clone()),
        Pending::SpawnFailed(key, _) => Some(key.clone()),
        Pending::ExitsAggregated { .. } | Pending::Notified(..) => None,
    }
}
