//! The daemon: a keeper, which starts this program again as its manager.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    env,
    ffi::{CString, OsString},
    io::IsTerminal,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use roundsman::{
    api,
    base::{Chain, Places, UnitName},
    cli,
    engine::{
        self, BootError, EnrolOptions, Given, RemoteOptions, config,
        settings::{Settings, SettingsError},
    },
    keeper::{self, Checked, KeeperOptions, Timings},
    sys,
    web::{self, Listener},
};
use tokio::runtime;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

const HELP: &str = "\
supervisord keeps services up and remembers what it did.

Usage: supervisord [--config FILE]           run in the foreground until SIGTERM
       supervisord [--config FILE] --check   check settings and units, start nothing
       supervisord check [--config FILE] [--json] [UNIT...]
                                             ask the probes once, as supervisorctl check does without a daemon
       supervisord doctor [--config FILE] [--socket PATH] [--json]
                                             say what is wrong with this host, as supervisorctl doctor does
       supervisord enrol [--config FILE] [--login USER] [--ssh-config FILE] [--anew] NODE
                                             make a host a node of the fleet, as supervisorctl fleet enrol does
       supervisord remote --node NAME [--fleet FILE] [--state DIRECTORY]
                                             the far end of ssh: a host without a daemon as a node of a fleet
       supervisord make-way                  for ExecStopPost= of a unit of systemd that runs supervisord and has
                                             Delegate=: lets the next start while services live

SIGHUP reads the units anew, SIGTERM stops everything in order, SIGUSR2 upgrades the program in place.
ROUNDSMAN_LOG sets how much is logged: error, warn, info (default), debug, trace, or per target.
Without --config, settings are read from /etc/roundsman/roundsman.toml (root) or the XDG directories.
";

/// What the arguments ask for. No parser with features of its own: this runs in the keeper too.
enum Wanted {
    Daemon(Option<PathBuf>),
    Manager { config: Option<PathBuf>, runtime: Option<PathBuf> },
    Check(Option<PathBuf>),
    Probe { config: Option<PathBuf>, units: Vec<String>, json: bool },
    Doctor { config: Option<PathBuf>, socket: Option<PathBuf>, json: bool },
    KeeperState(Option<PathBuf>),
    MakeWay,
    Remote(RemoteOptions),
    Enrol { config: Option<PathBuf>, options: EnrolOptions },
    Help,
    Version,
}

pub(crate) fn main() -> ExitCode {
    let wanted = match wanted(env::args_os().skip(1)) {
        Ok(wanted) => wanted,
        Err(problem) => {
            let problem = format!("{problem} (supervisord --help shows what it takes)");
            // 2 would be CRITICAL to a monitoring system.
            if env::args_os().nth(1).is_some_and(|first| first == "check") {
                return cli::show_unchecked(&problem, false);
            }
            sys::complain(&problem);
            return ExitCode::from(2);
        }
    };
    match wanted {
        Wanted::KeeperState(config) => ExitCode::from(check_takeover(config.as_ref()).code()),
        Wanted::MakeWay => match engine::make_way() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                sys::complain(&format!("cannot make way: {}", Chain(&error)));
                ExitCode::FAILURE
            }
        },
        // The host's answers are on standard output, and what goes wrong is shown by whoever asked.
        Wanted::Remote(options) => match engine::remote(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                sys::complain(&Chain(&error).to_string());
                ExitCode::FAILURE
            }
        },
        Wanted::Enrol { config, options } => {
            load(config.as_ref()).map_or_else(refused, |settings| enrol(&settings, &options))
        }
        Wanted::Help => {
            sys::print(HELP.trim_end());
            ExitCode::SUCCESS
        }
        Wanted::Version => {
            sys::print(concat!("supervisord ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Wanted::Daemon(config) => match keeper::runtime_before() {
            // In the place of the program before: what the settings say by now is the manager's business.
            Some(runtime) => keep(runtime, config),
            None => load(config.as_ref()).map_or_else(refused, |settings| keep(settings.paths.runtime, config)),
        },
        Wanted::Check(config) => load(config.as_ref()).map_or_else(refused, |settings| check(&settings)),
        Wanted::Probe { config, units, json } => match load(config.as_ref()) {
            Ok(settings) => probe(&settings, &units, json),
            Err(error) => cli::show_unchecked(&format!("cannot check: {}", Chain(&error)), json),
        },
        // Settings that cannot be used are a finding like any other.
        Wanted::Doctor { config, socket, json } => doctor(config, socket, json),
        Wanted::Manager { config, runtime } => match load(config.as_ref()) {
            Ok(settings) => manage(Given { settings, rejected: None, runtime }),
            Err(error) => manage_as_before(config.as_ref(), runtime, error),
        },
    }
}

fn wanted(arguments: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let mut arguments = arguments.peekable();
    let takeover = arguments.next_if(|first| first == keeper::CHECK_STATE).is_some();
    let manager = arguments.next_if(|first| first == "manager").is_some();
    let probe = arguments.next_if(|first| first == "check").is_some();
    let doctor = arguments.next_if(|first| first == "doctor").is_some();
    if arguments.next_if(|first| first == "make-way").is_some() {
        return arguments
            .next()
            .map_or(Ok(Wanted::MakeWay), |more| Err(format!("unexpected argument {}", more.display())));
    }
    if arguments.next_if(|first| first == "remote").is_some() {
        return remote(arguments).map(Wanted::Remote);
    }
    if arguments.next_if(|first| first == "enrol").is_some() {
        return enrolment(arguments);
    }
    let (mut config, mut check, mut json, mut units) = (None, false, false, Vec::new());
    let (mut runtime, mut socket) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config" | "-c") => {
                config = Some(PathBuf::from(arguments.next().ok_or("--config needs a file")?));
            }
            Some("--runtime") if manager => runtime = arguments.next().map(PathBuf::from),
            Some("--socket") if doctor => {
                socket = Some(PathBuf::from(arguments.next().ok_or("--socket needs a path")?));
            }
            Some("--check") => check = true,
            Some("--json") if probe || doctor => json = true,
            // Without a daemon nothing is ever restarted.
            Some("--no-restart") if probe => {}
            Some(unit) if probe && !unit.starts_with('-') => units.push(unit.to_owned()),
            Some("--help" | "-h") => return Ok(Wanted::Help),
            Some("--version" | "-V") => return Ok(Wanted::Version),
            _ => return Err(format!("unexpected argument {}", argument.display())),
        }
    }
    Ok(match (manager, check) {
        _ if takeover => Wanted::KeeperState(config),
        _ if probe => Wanted::Probe { config, units, json },
        _ if doctor => Wanted::Doctor { config, socket, json },
        (true, _) => Wanted::Manager { config, runtime },
        (false, true) => Wanted::Check(config),
        (false, false) => Wanted::Daemon(config),
    })
}

fn remote(mut arguments: impl Iterator<Item = OsString>) -> Result<RemoteOptions, String> {
    let mut node = None;
    let mut fleet = PathBuf::from("/etc/roundsman/fleet.toml");
    let mut state = PathBuf::from("/var/lib/roundsman/remote");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{} needs a value", argument.display()));
        match argument.to_str() {
            Some("--node") => node = Some(value()?),
            Some("--fleet") => fleet = value()?.into(),
            Some("--state") => state = value()?.into(),
            _ => return Err(format!("unexpected argument {}", argument.display())),
        }
    }
    let node = node.and_then(|node| node.into_string().ok()).ok_or("remote needs --node NAME")?;
    Ok(RemoteOptions { node, fleet, state })
}

fn enrolment(mut arguments: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let (mut config, mut node, mut ssh_config, mut anew) = (None, None, None, false);
    let mut login = "root".to_owned();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{} needs a value", argument.display()));
        match argument.to_str() {
            Some("--config" | "-c") => config = Some(value()?.into()),
            Some("--login") => {
                login = value()?.into_string().map_err(|name| format!("{} is no user", name.display()))?
            }
            Some("--ssh-config") => ssh_config = Some(value()?.into()),
            Some("--anew") => anew = true,
            Some(name) if !name.starts_with('-') && node.is_none() => node = Some(name.to_owned()),
            _ => return Err(format!("unexpected argument {}", argument.display())),
        }
    }
    let node = node.ok_or("enrol needs the name of a node")?;
    Ok(Wanted::Enrol { config, options: EnrolOptions { node, login, ssh_config, anew } })
}

fn enrol(settings: &Settings, options: &EnrolOptions) -> ExitCode {
    match engine::enrol(settings.fleet.as_deref(), options) {
        Ok(said) => {
            sys::print(&said);
            ExitCode::SUCCESS
        }
        Err(error) => {
            sys::complain(&format!("cannot enrol {}: {}", options.node, Chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn load(config: Option<&PathBuf>) -> Result<Settings, SettingsError> {
    Settings::load(config.map(PathBuf::as_path), &places())
}

fn places() -> Places {
    Places::of(nix::unistd::geteuid().as_raw(), |name| env::var(name).ok())
}

/// A manager whose settings cannot be used goes on with those that were in force.
fn manage_as_before(config: Option<&PathBuf>, runtime: Option<PathBuf>, error: SettingsError) -> ExitCode {
    match runtime.as_ref().map(|dir| Settings::kept(dir, config.map(PathBuf::as_path), &places())) {
        Some(Ok(settings)) => {
            let rejected = Chain(&error).to_string();
            sys::complain(&format!("going on with the settings that were in force: {rejected}"));
            manage(Given { settings, rejected: Some(rejected), runtime })
        }
        Some(Err(_)) | None => refused(error),
    }
}

/// Whether this program could take the place of the one that asks: its keeper's state, its settings, units and database.
fn check_takeover(config: Option<&PathBuf>) -> Checked {
    let checked = keeper::check_state();
    if checked != Checked::Fit {
        return checked;
    }
    let settings = load(config).map(|mut settings| {
        if let Some(runtime) = keeper::runtime_before() {
            settings.go_on(&runtime);
        }
        settings
    });
    let kept = || {
        let runtime = keeper::runtime_before()?;
        Settings::kept(&runtime, config.map(PathBuf::as_path), &places()).ok()
    };
    let problem = match settings.or_else(|error| kept().ok_or(error)) {
        Ok(settings) => match engine::could_go_on(&settings) {
            Ok(()) => return Checked::Fit,
            Err(error) => {
                sys::complain(&Chain(&error).to_string());
                return if matches!(error, BootError::Store(_)) { Checked::Database } else { Checked::Settings };
            }
        },
        Err(error) => error,
    };
    sys::complain(&Chain(&problem).to_string());
    Checked::Settings
}

#[expect(clippy::needless_pass_by_value, reason = "the last to have it, as map_or_else wants it")]
fn refused(error: SettingsError) -> ExitCode {
    sys::complain(&Chain(&error).to_string());
    ExitCode::from(78)
}

/// The keeper's process: from here on it is one small loop.
fn keep(runtime: PathBuf, config: Option<PathBuf>) -> ExitCode {
    let mut manager = vec![OsString::from("supervisord"), OsString::from("manager")];
    manager.extend([OsString::from("--runtime"), runtime.clone().into_os_string()]);
    if let Some(config) = config {
        manager.extend([OsString::from("--config"), config.into_os_string()]);
    }
    keeper::run(KeeperOptions {
        stale: vec![Settings::kept_file(&runtime), config::kept_file(&runtime)],
        runtime_dir: runtime,
        manager_path: None,
        manager_argv: manager.into_iter().filter_map(|word| CString::new(word.into_vec()).ok()).collect(),
        init_socket: env::var_os("NOTIFY_SOCKET"),
        timings: Timings::default(),
    })
}

fn check(settings: &Settings) -> ExitCode {
    match config::load_for(settings, &BTreeSet::new()) {
        Ok(host) => {
            for warning in &host.warnings {
                sys::complain(warning);
            }
            sys::print(&format!("{} units are well", host.units.len()));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            sys::complain(&format!("cannot use the unit files:\n{problems}"));
            ExitCode::FAILURE
        }
    }
}

/// One pass over the probes, for cron on a host whose daemon is down; 3 (UNKNOWN) when that cannot be done.
fn probe(settings: &Settings, units: &[String], json: bool) -> ExitCode {
    let unknown = |reason: String| cli::show_unchecked(&format!("cannot check: {reason}"), json);
    let names: Result<Vec<UnitName>, _> = units.iter().map(|text| UnitName::new(text)).collect();
    let names = match names {
        Ok(names) => names,
        Err(error) => return unknown(error.to_string()),
    };
    let host = match config::load(&settings.paths.units, &BTreeSet::new()) {
        Ok(host) => host,
        Err(problems) => return unknown(problems.to_string()),
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unknown(error.to_string()),
    };
    match runtime.block_on(engine::check::pass(&host, &names)) {
        Ok(answer) => cli::show_check(&answer, json),
        Err(reason) => unknown(reason),
    }
}

/// Looks for what is wrong with this host; 3 when that cannot be done.
fn doctor(config: Option<PathBuf>, socket: Option<PathBuf>, json: bool) -> ExitCode {
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let found = runtime.block_on(engine::doctor::examine(config, socket, places()));
            // Whoever looks at a disk or asks a resolver that hangs is left behind.
            runtime.shutdown_background();
            cli::show_diagnosis(&found, json)
        }
        Err(error) => {
            sys::complain(&format!("cannot look: {error}"));
            ExitCode::from(3)
        }
    }
}

/// The manager's process. The engine has a thread of its own; everything that may wait has another.
fn manage(given: Given) -> ExitCode {
    sys::abort_on_panic();
    log_to_stderr();
    // A manager without its keeper is of no use, and one that hangs would stand in the way of the next keeper's.
    if let Err(error) = sys::die_with_parent() {
        tracing::warn!(%error, "cannot ask to end with the keeper");
    }
    // Not an event: the engine that would tell it is not there.
    let unfit = |error: &(dyn std::error::Error + 'static)| {
        sys::complain(&Chain(error).to_string());
        ExitCode::FAILURE
    };
    let link = match sys::take_inherited(keeper::MANAGER_SOCKET) {
        Ok(link) => link,
        Err(error) => return unfit(&error),
    };
    // The keeper kills at once whom it cannot hear any more, so this lasts until what went wrong was said.
    let _held = link.try_clone();
    run_manager(given, link).unwrap_or_else(|error| unfit(&*error))
}

type AnyError = Box<dyn std::error::Error>;

fn run_manager(given: Given, link: OwnedFd) -> Result<ExitCode, AnyError> {
    let edges = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_name("edge")
        .enable_all()
        .build()?;
    let engine_loop = runtime::Builder::new_current_thread().enable_all().build()?;
    let code = engine_loop.block_on(async {
        let started = match engine::start(link, given, edges.handle().clone()).await {
            Ok(started) => started,
            // It was said, and the keeper was told to end the daemon with the code for this.
            Err(BootError::Config(_) | BootError::Store(_)) => return Ok(78),
            Err(error) => return Err(AnyError::from(error)),
        };
        let shutdown = web::Shutdown::new();
        let guard = edges.enter();
        let listener = Listener::inherited("control", started.control)?;
        let server =
            web::Server { limits: web::Limits::default(), shutdown: shutdown.clone(), connections: Arc::default() };
        edges.spawn(web::serve(listener, api::router(started.handle.clone()), server));
        drop(guard);
        let code = match started.engine.run().await {
            Ok(code) => code,
            Err(error) if error.is_let_go() => {
                tracing::info!("the keeper goes on without this manager, which ends");
                return Ok(1);
            }
            Err(error) => return Err(error.into()),
        };
        shutdown.advance(web::Phase::Ended);
        Ok(code)
    });
    edges.shutdown_background();
    code.map(ExitCode::from)
}

fn log_to_stderr() {
    let wanted = env::var("ROUNDSMAN_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter: Targets = wanted.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // When stderr is gone it would be told so there, and its eprintln! would end the manager.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
