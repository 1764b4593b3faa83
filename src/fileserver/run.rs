use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time,
};
use tower::service_fn;

use crate::{
    base::{Chain, counted},
    sys::{Inherited, ListenFdsError, take_listen_fds},
    web::{self, Connections, DrainPlan, Limits, Listener, ListenerError, Phase, Shutdown},
};

use super::{
    decide::Rules,
    engine::Server,
    metrics::Metrics,
    secret::SecretError,
    settings::{LogFormat, LogSettings, ServerSettings, Settings, SettingsError},
    store::{Store, StoreError},
};

/// More threads gain nothing: the work is the kernel's copying.
const WORKERS_MAX: usize = 4;
/// Threads that wait for the disk when uploads are published.
const PUBLISHERS_MAX: usize = 16;
/// Most sockets that are taken over; a larger number is taken for a mistake.
const LISTEN_FDS_MAX: usize = 64;
/// How long a kept connection may still bring a request after we stopped accepting.
const DRAIN_IDLE: Duration = Duration::from_secs(5);
/// From cutting all connections to the end of the process, whatever still runs.
const END_MAX: Duration = Duration::from_secs(2);
/// From one number of uploads that the service manager is told to the next.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Connections of the listener for metrics and health.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Descriptors per connection (socket and file) and for everything else.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
const DESCRIPTORS_BESIDE: u64 = 64;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The settings file.
    #[error(transparent)]
    Settings(SettingsError),
    /// The secrets.
    #[error(transparent)]
    Secret(SecretError),
    /// The inherited sockets.
    #[error(transparent)]
    ListenFds(ListenFdsError),
    /// A listener.
    #[error(transparent)]
    Listener(ListenerError),
    /// A socket was inherited that we have no use for.
    #[error("cannot use the inherited socket {0:?}: name one \"http\" and one \"metrics\"")]
    SocketName(String),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// The runtime or its signals.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The accept loop ended though nobody asked it to.
    #[error("the server stopped by itself")]
    Stopped,
}

/// Runs the server with the settings in `path` until it is told to stop.
pub(super) fn run(path: &Path) -> Result<(), RunError> {
    let (settings, rules) = check(path)?;
    begin_log(settings.logging);
    let inherited = take_listen_fds(LISTEN_FDS_MAX).map_err(RunError::ListenFds)?;
    allow_descriptors(settings.server.max_connections);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(PUBLISHERS_MAX)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(async {
        let (life, public) = Life::begin(path.to_owned(), settings, rules, inherited)?;
        life.live(public).await
    });
    runtime.shutdown_timeout(END_MAX);
    outcome
}

/// Reads all that a person wrote: settings and secrets, without serving.
pub(super) fn check(path: &Path) -> Result<(Settings, Rules), RunError> {
    let settings = Settings::load(path).map_err(RunError::Settings)?;
    let rules = settings.rules().map_err(RunError::Secret)?;
    Ok((settings, rules))
}

/// The running server.
struct Life {
    path: PathBuf,
    settings: Settings,
    server: Arc<Server>,
    address: String,
    admin: Shutdown,
    admin_task: JoinHandle<()>,
    signals: Signals,
    status: Arc<Status>,
}

/// What `status` of the service manager shows: what the server does, and how many uploads are in flight.
struct Status {
    server: Arc<Server>,
    doing: Mutex<Doing>,
}

#[derive(Default)]
struct Doing {
    what: String,
    /// What was told last.
    told: String,
}

impl Status {
    /// Tells what the server does from now on, and what comes with that.
    fn set(&self, what: &str, more: &[NotifyState<'_>]) {
        let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        what.clone_into(&mut doing.what);
        doing.told = self.text(what);
        let status = [NotifyState::Status(&doing.told)];
        tell(&[more, &status].concat());
    }

    fn text(&self, what: &str) -> String {
        format!("{what}; {} in flight", counted(self.server.metrics.uploads_in_flight(), "upload"))
    }

    /// Tells how many uploads are in flight whenever that has changed, and not more often than people read.
    async fn keep(self: Arc<Self>) {
        loop {
            self.server.metrics.uploads_active.changed.notified().await;
            time::sleep(STATUS_EVERY).await;
            let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.text(&doing.what);
            if now != doing.told {
                tell(&[NotifyState::Status(&now)]);
                doing.told = now;
            }
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn begin() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Life {
    /// Opens everything and begins to serve; returns the task of the public listener, too.
    fn begin(
        path: PathBuf,
        settings: Settings,
        rules: Rules,
        inherited: Vec<Inherited>,
    ) -> Result<(Self, JoinHandle<()>), RunError> {
        // Before the sockets, so that a signal never finds us without a handler.
        let signals = Signals::begin().map_err(RunError::Runtime)?;
        let store = Store::open(&settings.uploads.storage_path).map_err(RunError::Store)?;
        let metrics = Metrics::new();
        let swept = store.sweep().map_err(RunError::Store)?;
        metrics.parts_swept.add(swept as u64);
        if swept > 0 {
            tracing::info!(count = swept, "removed partial files of uploads that died");
        }
        let (public, admin) = listeners(&settings.server, inherited)?;
        let server = Arc::new(Server {
            rules: RwLock::new(Arc::new(rules)),
            store: Arc::new(store),
            metrics: Arc::new(metrics),
            shutdown: Shutdown::new(),
            connections: Arc::new(Connections::default()),
        });
        let address = public.address();
        let status = format!("serving {address}, metrics on {}", admin.address());
        tracing::info!(address = %address, metrics = %admin.address(), store = %settings.uploads.storage_path.display(), "serving");
        let public = serve_public(public, &settings.server, &server);
        let admin_shutdown = Shutdown::new();
        let admin_task = serve_admin(admin, &server, admin_shutdown.clone());
        let said = Arc::new(Status { server: Arc::clone(&server), doing: Mutex::default() });
        said.set(&status, &[NotifyState::Ready]);
        drop(tokio::spawn(Arc::clone(&said).keep()));
        begin_watchdog();
        let life = Self { path, settings, server, address, admin: admin_shutdown, admin_task, signals, status: said };
        Ok((life, public))
    }

    /// Reloads on SIGHUP until SIGTERM or SIGINT, then drains.
    async fn live(mut self, mut public: JoinHandle<()>) -> Result<(), RunError> {
        loop {
            tokio::select! {
                _ = self.signals.hangup.recv() => self.reload(),
                _ = self.signals.terminate.recv() => break,
                _ = self.signals.interrupt.recv() => break,
                _ = &mut public => return Err(RunError::Stopped),
            }
        }
        self.drain(&mut public).await;
        // Readiness and metrics can be read until the end of the drain.
        self.admin.advance(Phase::Ended);
        let _late = time::timeout(END_MAX, self.admin_task).await.is_err();
        tracing::info!("stopped");
        Ok(())
    }

    /// Reads settings and secrets anew; what is wrong with them changes nothing.
    fn reload(&mut self) {
        if let Ok(moment) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, moment]);
        }
        let status = match check(&self.path) {
            Ok((newer, rules)) => {
                self.take(newer, rules);
                format!("serving {}", self.address)
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "cannot reload; the settings of before stay in force");
                self.server.metrics.reload_failure.add(1);
                format!("serving {}; the last reload failed", self.address)
            }
        };
        self.status.set(&status, &[NotifyState::Ready]);
    }

    /// Puts new settings in force, all at once.
    fn take(&mut self, newer: Settings, rules: Rules) {
        let fixed = self.settings.fixed_keys_changed(&newer);
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            tracing::warn!(keys, "settings that need a restart have changed and are not in force");
        }
        tracing::info!(secrets = rules.secrets.len(), "reloaded");
        self.server.set_rules(rules);
        self.settings = newer.with_fixed_keys_of(&self.settings);
        self.server.metrics.reload_success.add(1);
    }

    /// Lets requests finish: for `connection_drain_timeout`, and never longer than `graceful_shutdown_timeout`.
    async fn drain(&mut self, public: &mut JoinHandle<()>) {
        let server = &self.settings.server;
        let plan =
            DrainPlan { leave: server.shutdown_delay, idle: DRAIN_IDLE, finish: server.connection_drain_timeout };
        tracing::info!(connections = self.server.connections.open(), "draining");
        self.status.set("draining: requests in flight finish, new ones go elsewhere", &[NotifyState::Stopping]);
        let shutdown = self.server.shutdown.clone();
        let finished = async {
            tokio::select! {
                () = shutdown.walk(plan) => false,
                _ = &mut *public => true,
                _ = self.signals.interrupt.recv() => false,
            }
        };
        if time::timeout(server.graceful_shutdown_timeout, finished).await.unwrap_or(false) {
            return;
        }
        let left = self.server.connections.open();
        tracing::warn!(connections = left, "cutting connections that did not finish in time");
        shutdown.advance(Phase::Ended);
        let _late = time::timeout(END_MAX, public).await.is_err();
    }
}

/// The public listener and the one for metrics and health: inherited by name, else bound.
fn listeners(settings: &ServerSettings, inherited: Vec<Inherited>) -> Result<(Listener, Listener), RunError> {
    let (mut public, mut admin) = (None, None);
    let is_only = inherited.len() == 1;
    for Inherited { name, fd } in inherited {
        let place = match name.as_str() {
            "http" => &mut public,
            "metrics" => &mut admin,
            // A single socket without a name of ours can only be meant to be the public one.
            _ if is_only => &mut public,
            _ => return Err(RunError::SocketName(name)),
        };
        if place.is_some() {
            return Err(RunError::SocketName(name));
        }
        *place = Some(Listener::inherited(&name, fd).map_err(RunError::Listener)?);
    }
    let bound = |found: Option<Listener>, address| found.map_or_else(|| Listener::tcp(address), Ok);
    let public = bound(public, settings.listen).map_err(RunError::Listener)?;
    let admin = bound(admin, settings.metrics_listen).map_err(RunError::Listener)?;
    Ok((public, admin))
}

fn serve_public(listener: Listener, settings: &ServerSettings, server: &Arc<Server>) -> JoinHandle<()> {
    let limits = Limits {
        connections: settings.max_connections,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_conn_timeout,
        write_timeout: settings.client_timeout,
        ..Limits::default()
    };
    let shared =
        web::Server { limits, shutdown: server.shutdown.clone(), connections: Arc::clone(&server.connections) };
    let server = Arc::clone(server);
    tokio::spawn(web::serve(listener, service_fn(move |request| Arc::clone(&server).answer(request)), shared))
}

fn serve_admin(listener: Listener, server: &Arc<Server>, shutdown: Shutdown) -> JoinHandle<()> {
    let limits = Limits { connections: ADMIN_CONNECTIONS_MAX, ..Limits::default() };
    let shared = web::Server { limits, shutdown, connections: Arc::default() };
    let server = Arc::clone(server);
    tokio::spawn(web::serve(listener, service_fn(move |request| Arc::clone(&server).answer_admin(request)), shared))
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot reach the service manager");
    }
}

/// Feeds the service manager's watchdog from the runtime that serves, so that it starves when we are stuck.
fn begin_watchdog() {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    drop(tokio::spawn(async move {
        let mut feeding = time::interval(timeout / 2);
        loop {
            feeding.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }));
}

/// Raises the limit of open descriptors to what the administrator allows.
fn allow_descriptors(connections: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        tracing::warn!(limit = soft, "cannot raise the limit of open descriptors; going on with it");
    }
    if hard < connections as u64 * DESCRIPTORS_PER_CONNECTION + DESCRIPTORS_BESIDE {
        tracing::warn!(limit = hard, connections, "max_connections is more than the limit of open descriptors allows");
    }
}

fn begin_log(settings: LogSettings) {
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(settings.level)
        // When stderr is gone it would be told so there, and its eprintln! would end the server.
        .log_internal_errors(false);
    // hyper and others are of interest to their authors only; ours is one target.
    let begun = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    debug_assert!(begun.is_ok(), "the log is begun once");
}
