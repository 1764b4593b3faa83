//! From a unit and the machine's order to the keeper's exact instructions: final strings, numbers and descriptors.

mod environment; // variables
mod files; // directories and credentials
mod numbers; // what the kernel has numbers for
mod stdio; // input and output

use std::{
    borrow::Cow,
    error::Error,
    ffi::CString,
    io,
    path::{Path, PathBuf},
};

use nix::libc;

use self::environment::Environment;
pub(super) use self::{
    environment::{PATH_DEFAULT, read_variables, variables_of},
    stdio::reads_sockets,
};
use crate::{
    base::{Role, ServicePlaces, SpawnFailure, SpawnStep},
    edge::{unitdir, users::Identity},
    node::effect::SpawnOrder,
    unit::{
        expand,
        spec::{At, ExecSpec, Privilege},
    },
    wire::keeper as wire,
};

/// The mask that systemd gives services.
const UMASK_DEFAULT: u32 = 0o022;

/// Turns orders into instructions.
#[derive(Debug)]
pub(super) struct Launcher {
    /// The notify socket's path, for NOTIFY_SOCKET.
    notify_socket: PathBuf,
    /// The folder that shows it to whom another root hides it.
    notify_folder: PathBuf,
    /// The folder of our own programs: what ships beside us is found without a path.
    own_dir: Option<PathBuf>,
    /// Our own LANG, which services get too.
    lang: Option<String>,
    /// Where services have their directories.
    places: ServicePlaces,
    /// Whether files can be given to others.
    is_root: bool,
    /// The open files that the daemon may have.
    open_files: Option<wire::ResourceLimit>,
}

/// Why an order cannot be turned into instructions; the text is for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    /// PATH has no folder that a program could be in.
    #[error("cannot look for program {0:?}: PATH names no absolute directory")]
    NoFolder(String),
    /// A text holds a NUL byte, which no process can be given.
    #[error("cannot pass {0:?} to a process: it contains a NUL byte")]
    Nul(String),
    /// A file of variables.
    #[error("cannot use environment file")]
    EnvironmentFile(#[source] unitdir::ReadError),
    /// A pattern for files of variables.
    #[error("cannot use environment files {pattern:?}")]
    EnvironmentFiles {
        /// Which.
        pattern: PathBuf,
        /// Why; nothing matches it when that is "not found".
        #[source]
        source: io::Error,
    },
}

impl LaunchError {
    /// Whether someone else might do what we may not.
    pub(super) fn is_for_want_of_permission(&self) -> bool {
        let source = match self {
            Self::NoFolder(_) | Self::Nul(_) => None,
            Self::EnvironmentFile(error) => error.source().and_then(|source| source.downcast_ref::<io::Error>()),
            Self::EnvironmentFiles { source, .. } => Some(source),
        };
        source.is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// As the failure that the machine is told.
    pub(super) const fn failure(&self) -> SpawnFailure {
        match self {
            Self::NoFolder(_) => SpawnFailure { step: SpawnStep::Exec, errno: libc::ENOENT },
            Self::Nul(_) => SpawnFailure { step: SpawnStep::Prepare, errno: libc::EINVAL },
            Self::EnvironmentFile(_) | Self::EnvironmentFiles { .. } => {
                SpawnFailure { step: SpawnStep::Prepare, errno: libc::ENOENT }
            }
        }
    }
}

impl Launcher {
    /// A launcher for services that speak to `notify_socket`, which is in `notify_folder` too.
    pub(super) fn new(
        notify_socket: PathBuf,
        notify_folder: PathBuf,
        own_dir: Option<PathBuf>,
        lang: Option<String>,
    ) -> Self {
        let uid = nix::unistd::geteuid();
        Self {
            notify_socket,
            notify_folder,
            own_dir,
            lang,
            places: ServicePlaces::of(uid.as_raw(), |name| std::env::var(name).ok()),
            is_root: uid.is_root(),
            open_files: numbers::own_open_files(),
        }
    }

    /// The keeper's instructions for `order`, whose unit's user was looked up as `identity` and whose files of variables say
    /// `variables`. Reads nothing.
    pub(super) fn spec(
        &self,
        identity: Option<&Identity>,
        order: &SpawnOrder,
        variables: &[(String, String)],
    ) -> Result<wire::SpawnSpec, LaunchError> {
        let unit = &*order.def;
        let exec = &unit.service.exec;
        let privilege = order.command.privilege;
        let environment = self.environment(unit, identity, order, variables)?;
        let mut argv = expand(&order.command, |name| environment.get(name).map(AsRef::as_ref));
        if argv.is_empty() {
            argv.push(Cow::Borrowed(&order.command.program));
        }
        let root = root(exec, order);
        let (program, or_paths) = self.programs(&order.command.program, exec, root.is_some(), &environment)?;
        let argv = argv.iter().map(|word| text(word)).collect::<Result<_, _>>()?;
        let env = environment.iter().map(|(name, value)| variable(name, value)).collect::<Result<_, _>>()?;
        let (stdin, stdout, stderr) = stdio::stdio(unit, order.key.role)?;
        let has_user = exec.user.is_some() || exec.group.is_some();
        let user = identity.filter(|_| has_user && privilege == Privilege::Unit);
        let restricted = privilege != Privilege::Full;
        let is_probe = matches!(order.key.role, Role::Probe(_));
        Ok(wire::SpawnSpec {
            root: root.map(path).transpose()?,
            cwd: match &exec.working_directory.at {
                At::Root => c"/".to_owned(),
                At::Home => text(identity.map_or("/", |identity| &identity.home))?,
                At::Path(directory) => path(directory)?,
            },
            cwd_may_miss: exec.working_directory.may_miss,
            user: user.map(|id| wire::Credentials { uid: id.uid, gid: id.gid, groups: id.groups.clone() }),
            umask: exec.umask.unwrap_or(UMASK_DEFAULT),
            nice: exec.nice.and_then(|nice| i8::try_from(nice).ok()),
            schedule: numbers::schedule(&exec.scheduling),
            oom_score_adj: exec.oom_score_adjust.and_then(|score| i16::try_from(score).ok()).unwrap_or(0),
            limits: match restricted {
                true => exec.limits.iter().map(numbers::limit).collect(),
                // Not even the keeper's default.
                false => self.open_files.into_iter().collect(),
            },
            privileges: numbers::privileges(exec, restricted),
            no_new_privs: exec.no_new_privileges && restricted,
            ignore_sigpipe: !exec.keep_sigpipe,
            cgroups: Vec::new(),
            confirm_exec: order.confirm_exec,
            stdin,
            stdout,
            stderr,
            listen: stdio::passed_sockets(unit, order.is_start),
            kept: stdio::is_passed_kept(unit, order.is_start),
            directories: if is_probe { Vec::new() } else { self.directories(exec, identity)? },
            secrets: if is_probe { None } else { self.secrets(unit, identity, order.is_first)? },
            or_paths,
            ..wire::SpawnSpec::new(program, argv, env)
        })
    }

    /// Where the process looks for its program: an absolute path is that; a bare name may be beside our own programs, then
    /// where the unit says, else in the environment's PATH; below the process' root, where it has another. Folders that are
    /// not absolute are passed over, as by systemd.
    fn programs(
        &self,
        program: &str,
        exec: &ExecSpec,
        has_root: bool,
        environment: &Environment<'_>,
    ) -> Result<(CString, Vec<CString>), LaunchError> {
        if program.starts_with('/') {
            return Ok((text(program)?, Vec::new()));
        }
        let own = self.own_dir.iter().filter(|_| !has_root).map(PathBuf::as_path);
        let searched = environment.get("PATH").map_or(PATH_DEFAULT, AsRef::as_ref);
        let of_path = searched.split(':').map(Path::new).filter(|_| exec.search_path.is_empty());
        let folders = own.chain(exec.search_path.iter().map(AsRef::as_ref)).chain(of_path);
        let mut paths = folders.filter(|folder| folder.is_absolute()).map(|folder| path(&folder.join(program)));
        let first = paths.next().ok_or_else(|| LaunchError::NoFolder(program.to_owned()))??;
        Ok((first, paths.collect::<Result<_, _>>()?))
    }
}

/// What the process sees as `/`, where that is not ours.
pub(super) fn root<'u>(exec: &'u ExecSpec, order: &SpawnOrder) -> Option<&'u Path> {
    exec.root_directory.as_deref().filter(|_| order.is_start || !exec.root_directory_start_only)
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

fn path(path: &Path) -> Result<CString, LaunchError> {
    text(&path.to_string_lossy())
}
