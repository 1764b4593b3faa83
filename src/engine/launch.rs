//! From a unit and the machine's order to the keeper's exact instructions: final strings, numbers and descriptors.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::libc;

use crate::{
    base::{SpawnFailure, SpawnStep},
    edge::{unitdir, users::Identity},
    node::effect::SpawnOrder,
    unit::{
        UnitDef,
        env_file::parse_env_file,
        expand,
        spec::{Limit, NotifyAccess, Output, Resource, SocketSpec},
    },
    wire::keeper as wire,
};

/// Where programs named without a path are looked for when the unit sets no PATH: systemd's list.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The mask that systemd gives services.
const UMASK_DEFAULT: u32 = 0o022;

/// Turns orders into instructions.
#[derive(Debug)]
pub(super) struct Launcher {
    /// The notify socket's path, for NOTIFY_SOCKET.
    notify_socket: String,
    /// The folder of our own programs: what ships beside us is found without a path.
    own_dir: Option<PathBuf>,
    /// Our own LANG, which services get too.
    lang: Option<String>,
}

/// Why an order cannot be turned into instructions; the text is for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    /// No folder of PATH holds the program.
    #[error("cannot find program {program:?} (looked in {path})")]
    NotFound {
        /// Which program.
        program: String,
        /// The folders.
        path: String,
    },
    /// A text holds a NUL byte, which no process can be given.
    #[error("cannot pass {0:?} to a process: it contains a NUL byte")]
    Nul(String),
    /// A file of variables.
    #[error("cannot use environment file")]
    EnvironmentFile(#[source] unitdir::ReadError),
}

impl LaunchError {
    /// As the failure that the machine is told.
    pub(super) const fn failure(&self) -> SpawnFailure {
        match self {
            Self::NotFound { .. } => SpawnFailure { step: SpawnStep::Exec, errno: libc::ENOENT },
            Self::Nul(_) => SpawnFailure { step: SpawnStep::Prepare, errno: libc::EINVAL },
            Self::EnvironmentFile(_) => SpawnFailure { step: SpawnStep::Prepare, errno: libc::ENOENT },
        }
    }
}

type Environment<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl Launcher {
    /// A launcher for services that speak to `notify_socket`.
    pub(super) fn new(notify_socket: &Path, own_dir: Option<PathBuf>, lang: Option<String>) -> Self {
        Self { notify_socket: notify_socket.display().to_string(), own_dir, lang }
    }

    /// The keeper's instructions for `order`, whose unit's user was looked up as `identity`.
    pub(super) fn spec(&self, identity: Option<&Identity>, order: &SpawnOrder) -> Result<wire::SpawnSpec, LaunchError> {
        let unit = &*order.def;
        let exec = &unit.service.exec;
        let identity = if order.command.privileged { None } else { identity };
        let environment = self.environment(unit, identity, order)?;
        let mut argv = expand(&order.command, |name| environment.get(name).map(AsRef::as_ref));
        if argv.is_empty() {
            argv.push(Cow::Borrowed(&order.command.program));
        }
        let program = self.program(&order.command.program, &environment)?;
        let stdout = output(exec.stdout, wire::Stream::Output);
        let stderr = exec.stderr.map_or(stdout, |stderr| {
            let apart = stderr == Output::Log && exec.stdout != Output::Log;
            output(stderr, if apart { wire::Stream::Error } else { wire::Stream::Output })
        });
        let cwd = exec.working_directory.as_deref().map_or(Cow::Borrowed("/"), |dir| dir.to_string_lossy());
        Ok(wire::SpawnSpec {
            path: text(&program.to_string_lossy())?,
            argv: argv.iter().map(|word| text(word)).collect::<Result<_, _>>()?,
            env: environment.iter().map(|(name, value)| variable(name, value)).collect::<Result<_, _>>()?,
            cwd: text(&cwd)?,
            user: identity.map(|id| wire::Credentials { uid: id.uid, gid: id.gid, groups: id.groups.clone() }),
            umask: exec.umask.unwrap_or(UMASK_DEFAULT),
            nice: exec.nice.and_then(|nice| i8::try_from(nice).ok()),
            oom_score_adj: exec.oom_score_adjust.and_then(|score| i16::try_from(score).ok()).unwrap_or(0),
            limits: exec.limits.iter().map(limit).collect(),
            no_new_privs: exec.no_new_privileges && !order.command.privileged,
            ignore_sigpipe: !exec.keep_sigpipe,
            confirm_exec: order.confirm_exec,
            stdout,
            stderr,
            listen: if order.is_start { sockets(unit) } else { Vec::new() },
            confinement: None,
        })
    }

    /// Later sources override earlier ones: ours, the user's, Environment=, files, what the order adds.
    fn environment<'a>(
        &'a self,
        unit: &'a UnitDef,
        identity: Option<&'a Identity>,
        order: &'a SpawnOrder,
    ) -> Result<Environment<'a>, LaunchError> {
        let exec = &unit.service.exec;
        let mut all = Environment::new();
        let mut set = |name: &'a str, value: &'a str| all.insert(name.into(), value.into());
        set("PATH", PATH_DEFAULT);
        if let Some(lang) = &self.lang {
            set("LANG", lang);
        }
        if let Some(id) = identity {
            for (name, value) in [("USER", &id.name), ("LOGNAME", &id.name), ("HOME", &id.home), ("SHELL", &id.shell)] {
                set(name, value);
            }
        }
        for (name, value) in &exec.environment {
            set(name, value);
        }
        for (path, may_be_missing) in &exec.environment_files {
            match unitdir::read_text(path) {
                Ok(text) => {
                    all.extend(parse_env_file(&text).into_iter().map(|(name, value)| (name.into(), value.into())));
                }
                Err(_) if *may_be_missing => {}
                Err(error) => return Err(LaunchError::EnvironmentFile(error)),
            }
        }
        all.insert("INVOCATION_ID".into(), order.invocation.to_string().into());
        if unit.service.notify_access != NotifyAccess::None {
            all.insert("NOTIFY_SOCKET".into(), (&self.notify_socket).into());
        }
        if let Some(micros) = unit.service.watchdog.and_then(|span| span.micros()).filter(|_| order.is_start) {
            all.insert("WATCHDOG_USEC".into(), micros.to_string().into());
        }
        all.extend(order.environment.iter().map(|(name, value)| (name.into(), value.into())));
        Ok(all)
    }

    /// An absolute path stays; a bare name is looked for beside our own programs, then in the environment's PATH.
    fn program(&self, program: &str, environment: &Environment<'_>) -> Result<PathBuf, LaunchError> {
        if program.starts_with('/') {
            return Ok(program.into());
        }
        let path = environment.get("PATH").map_or(PATH_DEFAULT, AsRef::as_ref);
        let folders = self.own_dir.iter().cloned().chain(path.split(':').map(PathBuf::from));
        folders
            .map(|folder| folder.join(program))
            .find(|candidate| is_executable(candidate))
            .ok_or_else(|| LaunchError::NotFound { program: program.to_owned(), path: path.to_owned() })
    }
}

/// The unit's sockets in the order of its file: that is what the service relies on.
fn sockets(unit: &UnitDef) -> Vec<wire::Passed> {
    let passed = |socket: &SocketSpec| wire::Passed { stored: socket.key(), name: socket.name.to_string() };
    unit.sockets.list.iter().map(passed).collect()
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn variable(name: &str, value: &str) -> Result<CString, LaunchError> {
    let mut text = String::with_capacity(name.len() + value.len() + 2);
    text.extend([name, "=", value]);
    // The value may be a secret.
    CString::new(text).map_err(|_| LaunchError::Nul(name.to_owned()))
}

fn text(text: &str) -> Result<CString, LaunchError> {
    CString::new(text).map_err(|_| LaunchError::Nul(text.to_owned()))
}

const fn output(output: Output, stream: wire::Stream) -> wire::Output {
    match output {
        Output::Log => wire::Output::Log(stream),
        Output::Null => wire::Output::Null,
        Output::Inherit => wire::Output::Inherit,
    }
}

fn limit(limit: &Limit) -> wire::ResourceLimit {
    wire::ResourceLimit {
        resource: resource_number(limit.resource),
        soft: limit.soft.unwrap_or(u64::MAX),
        hard: limit.hard.unwrap_or(u64::MAX),
    }
}

/// The kernel's numbers, asm-generic/resource.h.
const fn resource_number(resource: Resource) -> u8 {
    match resource {
        Resource::Cpu => 0,
        Resource::Fsize => 1,
        Resource::Data => 2,
        Resource::Stack => 3,
        Resource::Core => 4,
        Resource::Rss => 5,
        Resource::Nproc => 6,
        Resource::Nofile => 7,
        Resource::Memlock => 8,
        Resource::As => 9,
        Resource::Locks => 10,
        Resource::Sigpending => 11,
        Resource::Msgqueue => 12,
        Resource::Nice => 13,
        Resource::Rtprio => 14,
        Resource::Rttime => 15,
    }
}
