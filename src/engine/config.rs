//! The units in force: read from their directories, checked, and completed with what only this host knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    settings::{Container, Settings},
    sockets::Owners,
};
use crate::{
    base::{Chain, UnitName},
    edge::{
        self,
        listen::Owner,
        secret, unitdir,
        users::{self, Identity},
        zones,
    },
    unit::{
        self, SourceText, Surroundings, UnitDef,
        calendar::{ZoneName, Zones},
        not_supervisors,
        spec::EmergencyAction,
        supervisors_program,
    },
};

/// Checked units and what the host says about them.
#[derive(Debug, Default)]
pub struct Host {
    /// The units.
    pub units: BTreeMap<UnitName, Arc<UnitDef>>,
    /// From which instances can be made.
    pub templates: BTreeSet<UnitName>,
    /// The templates among them that accept connections.
    pub(super) acceptors: BTreeMap<UnitName, Arc<unit::Acceptor>>,
    /// Whom each runs as, where it says so.
    pub identities: BTreeMap<UnitName, Arc<Identity>>,
    /// Who owns the files of their sockets, where they say so.
    pub(super) owners: Owners,
    /// The host's time zone, and those that units name.
    pub zones: Arc<Zones>,
    /// Names this set of units: SHA-256 over their files, in hex.
    pub digest: String,
    /// Problems that refuse nothing, one per line with its place.
    pub warnings: Vec<String>,
    /// The texts they were made from.
    texts: Vec<StoredText>,
    /// What the settings say of one of them.
    container: Container,
}

impl Host {
    /// The same texts with further instances.
    pub fn with_instances(&self, instances: &BTreeSet<UnitName>) -> Result<Self, ConfigError> {
        check(self.texts.clone(), instances).and_then(|host| host.in_container(&self.container))
    }
}

/// Why units cannot be taken into force: every problem, one per line with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A text as it is kept for a manager that finds the directories broken after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredText {
    path: PathBuf,
    text: String,
}

/// All that a reload reads.
#[derive(Debug)]
pub struct Reload {
    /// `roundsman.toml`.
    pub settings: Settings,
    /// The units.
    pub host: Host,
}

/// Reads everything anew, or tells every problem. Waits for the disk like [`load`].
pub fn reload(inforce: &Settings, instances: &BTreeSet<UnitName>) -> Result<Box<Reload>, ConfigError> {
    let settings = inforce.again().map_err(|error| Chain(&error).to_string());
    // With settings that cannot be read, the units are still checked where they were.
    let newest = settings.as_ref().unwrap_or(inforce);
    match (load(&newest.paths.units, instances).and_then(|host| host.in_container(&newest.container)), settings) {
        (Ok(host), Ok(settings)) => Ok(Box::new(Reload { settings, host })),
        (Err(units), Err(settings)) => Err(ConfigError(format!("{settings}\n{units}"))),
        (Err(units), Ok(_)) => Err(units),
        (Ok(_), Err(settings)) => Err(ConfigError(settings)),
    }
}

/// Reads and checks every unit of `dirs`. May ask the host's user database: never called on the path of a restart.
pub fn load(dirs: &[PathBuf], instances: &BTreeSet<UnitName>) -> Result<Host, ConfigError> {
    let host = read(dirs, instances)?;
    secrets(&host).map(|()| host)
}

/// The same, whatever the secrets of their probes are like.
pub(super) fn read(dirs: &[PathBuf], instances: &BTreeSet<UnitName>) -> Result<Host, ConfigError> {
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for dir in dirs {
        match unitdir::read(dir) {
            Ok(read) => texts.extend(read),
            Err(errors) => problems.extend(errors.iter().map(|error| Chain(error).to_string())),
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError(problems.join("\n")));
    }
    let host =
        check(texts.into_iter().map(|text| StoredText { path: text.path, text: text.text }).collect(), instances)?;
    strangers(&host).map(|()| host)
}

/// Refuses units of Supervisor whose `supervisorctl` is ours: its orders would fail, and the service would seem to. Where both are
/// installed in one folder, ours has taken the place of the other.
fn strangers(host: &Host) -> Result<(), ConfigError> {
    let same = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let Some(ours) = env::current_exe().ok().and_then(|exe| same(&exe.with_file_name("supervisorctl"))) else {
        return Ok(());
    };
    let mut problems = Vec::new();
    for unit in host.units.values() {
        let Some(program) = supervisors_program(unit) else { continue };
        if same(Path::new(program)) == Some(ours) {
            let (message, help) = not_supervisors(program);
            problems.push(format!("{}: error: {message}\n  help: {help}", place(unit)));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems.join("\n"))) }
}

/// Refuses units that name secrets which others can read. Only where the files are read anew: what is in force already goes
/// on after a crash, and its probes say what is wrong.
fn secrets(host: &Host) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    for unit in host.units.values() {
        for probe in &unit.health {
            let faults = probe.check.secret_files().into_iter().filter_map(|file| secret::read(file).err());
            problems.extend(
                faults.map(|error| format!("{}: error: the probe {:?} cannot ask: {error}", place(unit), probe.name)),
            );
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems.join("\n"))) }
}

/// The units that a manager takes, by the settings.
pub fn load_for(settings: &Settings, instances: &BTreeSet<UnitName>) -> Result<Host, ConfigError> {
    load(&settings.paths.units, instances).and_then(|host| host.in_container(&settings.container))
}

impl Host {
    /// The end of a container's main unit is the daemon's, unless the unit itself says what its end means.
    pub(super) fn in_container(mut self, container: &Container) -> Result<Self, ConfigError> {
        self.container = container.clone();
        let Some(main) = &container.main else { return Ok(self) };
        let Some(unit) = self.units.get_mut(main) else {
            return Err(ConfigError(format!("roundsman.toml: [container] main = \"{main}\": there is no such unit")));
        };
        let actions = &mut Arc::make_mut(unit).actions;
        for action in [&mut actions.success, &mut actions.failure] {
            *action = action.or(Some(EmergencyAction::Exit));
        }
        Ok(self)
    }
}

/// Where the texts are kept in the directory `runtime`: in memory, as no manager waits for a disk to say what is in force, and
/// no daemon but this one wants to know.
pub fn kept_file(runtime: &Path) -> PathBuf {
    runtime.join("units.json")
}

/// Reads the texts that [`keep`] kept.
pub fn load_kept(runtime: &Path, instances: &BTreeSet<UnitName>) -> Result<Host, ConfigError> {
    let file = kept_file(runtime);
    let refused = |error: String| ConfigError(format!("{}: {error}", file.display()));
    let json = fs::read(&file).map_err(|error| refused(error.to_string()))?;
    check(serde_json::from_slice(&json).map_err(|error| refused(error.to_string()))?, instances)
}

/// Keeps the texts of a set that was taken into force, written beside and renamed.
pub fn keep(host: &Host, runtime: &Path) -> io::Result<()> {
    replace(&kept_file(runtime), &serde_json::to_vec(&host.texts)?)
}

/// Puts a copy of what is in force in the place of the one before, whole or not at all. It may hold secrets.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(bytes)?;
    fs::rename(beside, file)
}

fn check(texts: Vec<StoredText>, instances: &BTreeSet<UnitName>) -> Result<Host, ConfigError> {
    let mut sources = Vec::with_capacity(texts.len());
    let mut problems: Vec<String> = Vec::new();
    for text in &texts {
        match SourceText::new(&text.path, text.text.as_bytes()) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    let around = Surroundings { instances: instances.clone(), host: edge::host::facts() };
    let loaded = match unit::load_in(&sources, &around) {
        Ok(loaded) => loaded,
        Err(more) => {
            problems.extend(more.iter().map(ToString::to_string));
            return Err(ConfigError(problems.join("\n")));
        }
    };
    let (digest, templates) = (loaded.set.digest.to_string(), loaded.set.templates);
    let acceptors = loaded.set.acceptors.into_iter().map(|(name, acceptor)| (name, Arc::new(acceptor))).collect();
    let mut host = Host { texts, digest, templates, acceptors, ..Host::default() };
    host.warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    let mut known: BTreeMap<IdentityKey, Arc<Identity>> = BTreeMap::new();
    for (name, unit) in &loaded.set.units {
        match identity(unit, &mut known) {
            Ok(Some(identity)) => {
                host.identities.insert(name.clone(), identity);
            }
            Ok(None) => {}
            Err(error) => problems.push(format!("{}: {}", place(unit), Chain(&error))),
        }
        if let Err(error) = socket_owners(unit, &mut host.owners) {
            problems.push(format!("{}: {}", place(unit), Chain(&error)));
        }
    }
    host.zones = zones(loaded.set.units.values().map(AsRef::as_ref), &mut problems);
    host.units = loaded.set.units;
    if problems.is_empty() { Ok(host) } else { Err(ConfigError(problems.join("\n"))) }
}

/// Looks up the zones that timers name.
fn zones<'u>(units: impl Iterator<Item = &'u UnitDef>, problems: &mut Vec<String>) -> Arc<Zones> {
    let mut named = BTreeMap::new();
    for unit in units {
        for event in unit.timer.iter().flat_map(|timer| &timer.on_calendar) {
            let ZoneName::Named(name) = event.zone() else { continue };
            match zones::find(name) {
                Ok(zone) => drop(named.insert(name.clone(), zone)),
                Err(error) => problems.push(format!("{}: {error}", place(unit))),
            }
        }
    }
    Arc::new(Zones { local: zones::local(), named })
}

fn place(unit: &UnitDef) -> String {
    unit.sources.first().map_or_else(|| unit.name.to_string(), |path| path.display().to_string())
}

/// Adds whom the unit's sockets name; without a group it is the user's own.
fn socket_owners(unit: &UnitDef, owners: &mut Owners) -> Result<(), users::UserError> {
    for socket in &unit.sockets.list {
        let (user, group) = (&socket.options.user, &socket.options.group);
        let key = (user.clone(), group.clone());
        if owners.contains_key(&key) {
            continue;
        }
        let owner = match (user.as_deref(), group.as_deref()) {
            (None, None) => continue,
            (None, Some(group)) => Owner { uid: None, gid: Some(users::look_up_group(group)?.as_raw()) },
            (Some(user), group) => {
                let identity = users::look_up(user, group, &[])?;
                Owner { uid: Some(identity.uid), gid: Some(identity.gid) }
            }
        };
        owners.insert(key, owner);
    }
    Ok(())
}

type IdentityKey = (String, Option<String>, Vec<String>);

/// Units of the same user share one look-up and one record.
fn identity(
    unit: &UnitDef,
    known: &mut BTreeMap<IdentityKey, Arc<Identity>>,
) -> Result<Option<Arc<Identity>>, users::UserError> {
    let exec = &unit.service.exec;
    let group = exec.group.as_deref();
    let Some(user) = exec.user.as_deref() else {
        // A group without a user: root, or whoever we are, in that group; and who that is may be wanted in variables.
        if group.is_none() && exec.set_login_environment != Some(true) {
            return Ok(None);
        }
        let own = nix::unistd::Uid::current().to_string();
        let mut identity = users::look_up(&own, group, &[])?;
        // As systemd: the groups of a user are for those who ask for the user.
        let named =
            exec.supplementary_groups.iter().map(|name| users::look_up_group(name).map(nix::unistd::Gid::as_raw));
        identity.groups = named.collect::<Result<_, _>>()?;
        return Ok(Some(Arc::new(identity)));
    };
    let supplementary: Vec<String> = exec.supplementary_groups.iter().map(|name| name.to_string()).collect();
    let key = (user.to_owned(), group.map(str::to_owned), supplementary);
    if let Some(identity) = known.get(&key) {
        return Ok(Some(Arc::clone(identity)));
    }
    let identity = Arc::new(users::look_up(user, group, &key.2)?);
    known.insert(key, Arc::clone(&identity));
    Ok(Some(identity))
}
