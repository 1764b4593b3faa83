use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{LaunchError, Launcher, root};
use crate::{
    edge::{notify, unitdir, users::Identity},
    node::effect::SpawnOrder,
    sys,
    unit::{
        UnitDef,
        env_file::parse_env_file,
        spec::{DirectoryKind, ExecSpec, Input, NotifyAccess, Output},
    },
};

/// Where programs named without a path are looked for when the unit sets no PATH: systemd's list.
pub(in crate::engine) const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Shells that let nobody in; systemd names none of them.
const NO_SHELLS: [&str; 4] = ["nologin", "false", "true", "sync"];

pub(super) type Environment<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl Launcher {
    /// Later sources override earlier ones: ours, the user's, those of the directories, PassEnvironment=, Environment=,
    /// files, what the order adds. What is unset is unset wherever it comes from.
    pub(super) fn environment<'a>(
        &'a self,
        unit: &'a UnitDef,
        identity: Option<&'a Identity>,
        order: &'a SpawnOrder,
        variables: &'a [(String, String)],
    ) -> Result<Environment<'a>, LaunchError> {
        let exec = &unit.service.exec;
        let mut all = Environment::new();
        all.insert("PATH".into(), PATH_DEFAULT.into());
        if let Some(lang) = &self.lang {
            all.insert("LANG".into(), lang.into());
        }
        if exec.set_login_environment.unwrap_or_else(|| exec.user.is_some())
            && let Some(identity) = identity
        {
            login(&mut all, identity);
        }
        self.of_directories(&mut all, unit);
        if uses_terminal(exec) {
            all.insert("TERM".into(), terminal_kind(exec).into());
        }
        if !exec.search_path.is_empty() {
            let folders = exec.search_path.iter().map(|folder| folder.to_string_lossy());
            all.insert("PATH".into(), folders.collect::<Vec<_>>().join(":").into());
        }
        for name in &exec.pass_environment {
            if let Ok(value) = std::env::var(&**name) {
                all.insert((&**name).into(), value.into());
            }
        }
        for (name, value) in &exec.environment {
            all.insert((&**name).into(), (&**value).into());
        }
        all.extend(variables.iter().map(|(name, value)| (name.into(), value.into())));
        all.insert("INVOCATION_ID".into(), order.invocation.to_string().into());
        if unit.service.notify_access != NotifyAccess::None {
            let socket = match root(exec, order) {
                Some(_) => notify::within(&self.notify_folder).display().to_string().into(),
                None => self.notify_socket.to_string_lossy(),
            };
            all.insert("NOTIFY_SOCKET".into(), socket);
        }
        if unit.service.file_descriptor_store_max > 0 {
            all.insert("FDSTORE".into(), unit.service.file_descriptor_store_max.to_string().into());
        }
        if let Some(micros) = unit.service.watchdog.and_then(|span| span.micros()).filter(|_| order.is_start) {
            all.insert("WATCHDOG_USEC".into(), micros.to_string().into());
        }
        all.extend(order.environment.iter().map(|(name, value)| (name.into(), value.into())));
        for unset in &exec.unset_environment {
            match unset.split_once('=') {
                None => drop(all.remove(&**unset)),
                Some((name, value)) => all.retain(|known, is| *known != name || *is != value),
            }
        }
        Ok(all)
    }

    /// Where the service finds what was made for it.
    fn of_directories(&self, all: &mut Environment<'_>, unit: &UnitDef) {
        let exec = &unit.service.exec;
        for kind in DirectoryKind::ALL {
            let names = &exec.directories.of(kind).names;
            if !names.is_empty() {
                let paths = names.iter().map(|name| self.place(kind).join(&*name.path).display().to_string());
                all.insert(kind.variable().into(), paths.collect::<Vec<_>>().join(":").into());
            }
        }
        if !exec.credentials.is_empty() {
            let path = self.credentials_of(&unit.name).display().to_string();
            all.insert("CREDENTIALS_DIRECTORY".into(), path.into());
        }
    }
}

/// Who the user is. A home or shell that is none is not named (systemd does the same).
fn login<'a>(all: &mut Environment<'a>, identity: &'a Identity) {
    let Identity { name, home, shell, .. } = identity;
    all.insert("USER".into(), name.into());
    all.insert("LOGNAME".into(), name.into());
    if !matches!(home.as_str(), "" | "/") {
        all.insert("HOME".into(), home.into());
    }
    let is_shell = Path::new(shell).file_name().is_some_and(|name| NO_SHELLS.iter().all(|none| name != *none));
    if is_shell {
        all.insert("SHELL".into(), shell.into());
    }
}

/// What a unit's files of variables say, the strongest last. May wait for a disk; `begins` is told for which file.
pub(in crate::engine) fn read_variables(
    exec: &ExecSpec,
    begins: &dyn Fn(&Path),
) -> Result<Vec<(String, String)>, LaunchError> {
    let mut all = Vec::new();
    for (path, may_be_missing) in &exec.environment_files {
        begins(path);
        all.extend(variables_of(path, *may_be_missing, begins)?);
    }
    Ok(all)
}

/// What one of them says, or all that a pattern matches.
pub(in crate::engine) fn variables_of(
    path: &Path,
    may_be_missing: bool,
    begins: &dyn Fn(&Path),
) -> Result<Vec<(String, String)>, LaunchError> {
    let mut all = Vec::new();
    for path in matching(path, may_be_missing)? {
        begins(&path);
        match unitdir::read_text(&path) {
            Ok(text) => all.extend(parse_env_file(&text)),
            Err(_) if may_be_missing => {}
            Err(error) => return Err(LaunchError::EnvironmentFile(error)),
        }
    }
    Ok(all)
}

/// The file, or each that a pattern matches.
fn matching(path: &Path, may_be_missing: bool) -> Result<Vec<PathBuf>, LaunchError> {
    if !path.as_os_str().to_string_lossy().contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source: io::Error| LaunchError::EnvironmentFiles { pattern: path.to_owned(), source };
    match sys::glob(path) {
        Ok(paths) if paths.is_empty() && !may_be_missing => Err(failed(io::ErrorKind::NotFound.into())),
        Ok(paths) => Ok(paths),
        Err(error) if !may_be_missing => Err(failed(error)),
        Err(_) => Ok(Vec::new()),
    }
}

fn uses_terminal(exec: &ExecSpec) -> bool {
    matches!(exec.stdin, Input::Terminal(_)) || exec.stdout == Output::Terminal || exec.stderr == Some(Output::Terminal)
}

/// systemd's guess: a virtual console, or a line.
fn terminal_kind(exec: &ExecSpec) -> &'static str {
    let name = exec.tty_path.as_deref().and_then(Path::to_str).unwrap_or_default();
    let is_virtual = name.strip_prefix("/dev/tty").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if is_virtual { "linux" } else { "vt220" }
}
