use std::{
    io,
    path::{Path, PathBuf},
};

use super::{LaunchError, Launcher, path, text};
use crate::{
    base::{SpawnStep, UnitName},
    edge::{leftovers, users::Identity},
    unit::{
        UnitDef,
        sandbox::Own,
        spec::{CredentialSource, DirectoryKind, DirectoryName, ExecSpec, NotifyAccess},
    },
    wire::keeper as wire,
};

/// Where the host keeps credentials for services, after what we were given ourselves (systemd.exec(5), LoadCredential=).
const STORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

impl Launcher {
    /// Where directories of a kind are.
    pub(super) fn place(&self, kind: DirectoryKind) -> &Path {
        match kind {
            DirectoryKind::Runtime => &self.places.runtime,
            DirectoryKind::State => &self.places.state,
            DirectoryKind::Cache => &self.places.cache,
            DirectoryKind::Logs => &self.places.logs,
            DirectoryKind::Configuration => &self.places.configuration,
        }
    }

    /// Removes what a run that is over had for its lifetime: moved out of the way here, the rest is for later.
    pub(in crate::engine) fn tidy(&self, unit: &UnitDef, with_directories: bool) {
        let exec = &unit.service.exec;
        let failed = |what: &str, error: io::Error| {
            tracing::warn!(unit = %unit.name, path = what, %error, "cannot remove what the service had; it stays");
        };
        if with_directories {
            let base = &self.places.runtime;
            for name in &exec.directories.runtime.names {
                leftovers::set_aside(base, &name.path).unwrap_or_else(|error| failed(&name.path, error));
                for link in &name.links {
                    leftovers::remove_link(base, link).unwrap_or_else(|error| failed(link, error));
                }
            }
        }
        if let Some(file) = &unit.service.main.pid_file {
            leftovers::remove_pid_file(file).unwrap_or_else(|error| failed(&file.to_string_lossy(), error));
        }
        if !exec.credentials.is_empty() {
            let name = credentials_name(&unit.name);
            leftovers::set_credentials_aside(&self.places.credentials, &name).unwrap_or_else(|e| failed(&name, e));
        }
    }

    /// Where what was moved out of the way waits to be removed.
    pub(in crate::engine) fn leftover_places(&self) -> [PathBuf; 2] {
        [self.places.runtime.clone(), self.places.credentials.clone()]
    }

    /// Where a unit finds its credentials.
    pub(super) fn credentials_of(&self, unit: &UnitName) -> PathBuf {
        self.places.credentials.join(credentials_name(unit))
    }

    /// What a process of a unit has on the host, wherever its sandbox leads it.
    pub(in crate::engine) fn own(&self, unit: &UnitDef, has_root: bool) -> Vec<Own> {
        let exec = &unit.service.exec;
        let of = |kind: DirectoryKind| exec.directories.of(kind).names.iter().map(move |name| (kind, name));
        let directory = |(kind, name): (DirectoryKind, &DirectoryName)| Own {
            path: self.place(kind).join(&*name.path),
            read_only: false,
            key: kind.as_str(),
        };
        let mut all: Vec<Own> = DirectoryKind::ALL.into_iter().flat_map(of).map(directory).collect();
        if !exec.credentials.is_empty() {
            let key = match exec.credentials.iter().any(|credential| credential.source.is_some()) {
                true => "load_credential",
                false => "set_credential",
            };
            all.push(Own { path: self.credentials_of(&unit.name), read_only: true, key });
        }
        if has_root && unit.service.notify_access != NotifyAccess::None {
            all.push(Own { path: self.notify_folder.clone(), read_only: true, key: "notify_access" });
        }
        all
    }

    /// What the process makes before it becomes its user, whose they are.
    pub(super) fn directories(
        &self,
        exec: &ExecSpec,
        identity: Option<&Identity>,
    ) -> Result<Vec<wire::Directory>, LaunchError> {
        let mut all = Vec::new();
        for kind in DirectoryKind::ALL {
            let directories = exec.directories.of(kind);
            for name in &directories.names {
                let links = name.links.iter().map(|link| self.link(kind, &name.path, link));
                all.push(wire::Directory {
                    step: step(kind),
                    path: path(&self.place(kind).join(&*name.path))?,
                    mode: directories.mode,
                    owner: self.owner(identity),
                    // As systemd: an administrator's own settings are left as they are.
                    keep: kind == DirectoryKind::Configuration,
                    links: links.collect::<Result<_, _>>()?,
                });
            }
        }
        Ok(all)
    }

    fn link(&self, kind: DirectoryKind, name: &str, link: &str) -> Result<wire::Link, LaunchError> {
        let target = format!("{}{name}", "../".repeat(link.matches('/').count()));
        Ok(wire::Link { path: path(&self.place(kind).join(link))?, target: text(&target)? })
    }

    /// Root's files are given away; others can give to nobody.
    fn owner(&self, identity: Option<&Identity>) -> Option<wire::Owner> {
        let (uid, gid) = identity.map_or((0, 0), |identity| (identity.uid, identity.gid));
        self.is_root.then_some(wire::Owner { uid, gid })
    }

    /// The credentials of a unit; `fresh` for the first process of a run.
    pub(super) fn secrets(
        &self,
        unit: &UnitDef,
        identity: Option<&Identity>,
        fresh: bool,
    ) -> Result<Option<wire::Secrets>, LaunchError> {
        let credentials = &unit.service.exec.credentials;
        if credentials.is_empty() {
            return Ok(None);
        }
        let mut list = Vec::with_capacity(credentials.len());
        for credential in credentials {
            let files = match &credential.source {
                None => Vec::new(),
                Some(CredentialSource::Path(file)) => vec![path(file)?],
                Some(CredentialSource::Store(name)) => in_stores(name)?,
            };
            let value = credential.value.as_ref().map(|value| value.0.to_vec());
            list.push(wire::Secret { id: text(&credential.id)?, files, value });
        }
        let directory = path(&self.credentials_of(&unit.name))?;
        Ok(Some(wire::Secrets { path: directory, fresh, owner: self.owner(identity), list }))
    }
}

/// systemd's name of the directory: every unit here is a service.
fn credentials_name(unit: &UnitName) -> String {
    format!("{unit}.service")
}

fn in_stores(name: &str) -> Result<Vec<std::ffi::CString>, LaunchError> {
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    own.into_iter().chain(STORES.map(PathBuf::from)).map(|store| path(&store.join(name))).collect()
}

const fn step(kind: DirectoryKind) -> SpawnStep {
    match kind {
        DirectoryKind::Runtime => SpawnStep::RuntimeDirectory,
        DirectoryKind::State => SpawnStep::StateDirectory,
        DirectoryKind::Cache => SpawnStep::CacheDirectory,
        DirectoryKind::Logs => SpawnStep::LogsDirectory,
        DirectoryKind::Configuration => SpawnStep::ConfigurationDirectory,
    }
}
