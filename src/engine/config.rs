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
        needs, unitdir,
        users::{self, Identity},
        zones,
    },
    unit::{
        self, Level, Problem, SourceText, Surroundings, UnitDef,
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
        let host = check(self.texts.clone(), instances, Asked::WithoutProbes);
        host.map_err(|problems| ConfigError::of(&problems))?.in_container(&self.container)
    }
}

/// Why units cannot be taken into force: every problem, one per line with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    fn of(problems: &[Problem]) -> Self {
        Self(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }
}

/// What of a host is asked whether it has what units need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// All of it.
    Everything,
    /// What they cannot run without.
    WithoutProbes,
    /// They are only read.
    Nothing,
}

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
///
/// What probes show and trust is only looked at where the files are read anew: what is in force already goes on after a crash,
/// and its probes say what is wrong.
pub fn load(dirs: &[PathBuf], instances: &BTreeSet<UnitName>) -> Result<Host, ConfigError> {
    let (texts, problems) = texts(dirs);
    if !problems.is_empty() {
        return Err(ConfigError::of(&problems));
    }
    let host = check(texts, instances, Asked::Everything).map_err(|problems| ConfigError::of(&problems))?;
    strangers(&host).map(|()| host)
}

/// The texts of the directories, and what of them cannot be read.
fn texts(dirs: &[PathBuf]) -> (Vec<StoredText>, Vec<Problem>) {
    let (mut texts, mut problems) = (Vec::new(), Vec::new());
    for dir in dirs {
        match unitdir::read(dir) {
            Ok(read) => texts.extend(read.into_iter().map(|text| StoredText { path: text.path, text: text.text })),
            Err(errors) => {
                problems
                    .extend(errors.iter().map(|error| Problem::error(error.path(), "", 0, Chain(error).to_string())));
            }
        }
    }
    (texts, problems)
}

/// What of the units can be used, for someone who looks at them and takes nothing into use.
#[derive(Debug, Default)]
pub(super) struct Readable {
    pub(super) host: Host,
    /// All that is wrong.
    pub(super) problems: Vec<Problem>,
    /// The files of units that are left out.
    pub(super) left_out: BTreeSet<String>,
}

/// Passes in which what is left out makes others unusable that name it.
const PASSES_MAX: usize = 16;

/// Reads every unit of `dirs` that can be read, whatever the host is like.
pub(super) fn read_what_can_be(dirs: &[PathBuf]) -> Readable {
    let none = BTreeSet::new();
    let (mut kept, mut readable) = (Vec::new(), Readable::default());
    for dir in dirs {
        let (read, problems) = texts(std::slice::from_ref(dir));
        readable.left_out.extend(problems.iter().map(|problem| unit_file(&problem.file)));
        (readable.problems, kept) = ([readable.problems, problems].concat(), [kept, read].concat());
    }
    match check(kept.clone(), &none, Asked::WithoutProbes) {
        Ok(host) => readable.host = host,
        Err(problems) => readable.problems.extend(problems),
    }
    for _ in 0..PASSES_MAX {
        kept.retain(|text| !readable.left_out.contains(&unit_file(&text.path)));
        let refused = match check(kept.clone(), &none, Asked::Nothing) {
            Ok(host) => {
                readable.host = host;
                return readable;
            }
            Err(problems) => problems.into_iter().filter(|problem| problem.level == Level::Error),
        };
        readable.left_out.extend(refused.map(|problem| unit_file(&problem.file)));
    }
    readable.left_out.extend(kept.iter().map(|text| unit_file(&text.path)));
    readable
}

/// The name of the unit file that a file or drop-in belongs to.
fn unit_file(path: &Path) -> String {
    let name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let folder = path.parent().map(name).unwrap_or_default();
    folder.strip_suffix(".d").filter(|unit| unit.ends_with(".toml")).map_or_else(|| name(path), str::to_owned)
}

/// Refuses units of Supervisor whose `supervisorctl` is ours: its orders would fail, and the service would seem to. Where both are
/// installed in one folder, ours has taken the place of the other.
pub(super) fn strangers(host: &Host) -> Result<(), ConfigError> {
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
    let texts = serde_json::from_slice(&json).map_err(|error| refused(error.to_string()))?;
    check(texts, instances, Asked::WithoutProbes).map_err(|problems| ConfigError::of(&problems))
}

/// How the files of `dirs` differ from the set that a daemon with this runtime directory has in force, one file an entry. Where
/// the directories are does not matter: they may be named from elsewhere.
pub(super) fn differences(runtime: &Path, dirs: &[PathBuf]) -> io::Result<Vec<String>> {
    let (read, unread) = texts(dirs);
    let (inforce, files) = (by_name(serde_json::from_slice(&fs::read(kept_file(runtime))?)?), by_name(read));
    let unread: BTreeSet<String> = unread.iter().map(|problem| unit_file(&problem.file)).collect();
    let mut all = Vec::new();
    for key in inforce.keys().chain(files.keys()).collect::<BTreeSet<_>>() {
        let how = match (inforce.get(key), files.get(key)) {
            (Some(known), Some(now)) if known != now => "changed",
            (None, Some(_)) => "new",
            (Some(_), None) if unread.contains(&key.0) => "unreadable",
            (Some(_), None) => "gone",
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let (unit, file) = key;
        let name = if unit == file { unit.clone() } else { format!("{unit}.d/{file}") };
        all.push(format!("{name} is {how}"));
    }
    Ok(all)
}

/// Texts by the unit file that they belong to and by their own name.
fn by_name(texts: Vec<StoredText>) -> BTreeMap<(String, String), Vec<String>> {
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for StoredText { path, text } in texts {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        all.entry((unit_file(&path), name)).or_default().push(text);
    }
    all
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

fn check(texts: Vec<StoredText>, instances: &BTreeSet<UnitName>, asked: Asked) -> Result<Host, Vec<Problem>> {
    let mut sources = Vec::with_capacity(texts.len());
    let mut problems: Vec<Problem> = Vec::new();
    for text in &texts {
        match SourceText::new(&text.path, text.text.as_bytes()) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    let around = Surroundings { instances: instances.clone(), host: edge::host::facts() };
    let (loaded, needs) = unit::load_with_needs(&sources, &around);
    problems.extend(needs::lacking(needs.iter().filter(|need| match asked {
        Asked::Everything => true,
        Asked::WithoutProbes => !need.what.is_of_probe(),
        Asked::Nothing => false,
    })));
    let loaded = match loaded {
        Ok(loaded) if problems.is_empty() => loaded,
        other => {
            problems.extend(other.map_or_else(|all| all, |loaded| loaded.warnings));
            problems.sort();
            return Err(problems);
        }
    };
    let (digest, templates) = (loaded.set.digest.to_string(), loaded.set.templates);
    let acceptors = loaded.set.acceptors.into_iter().map(|(name, acceptor)| (name, Arc::new(acceptor))).collect();
    let mut host = Host { texts, digest, templates, acceptors, ..Host::default() };
    host.warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    if asked != Asked::Nothing {
        complete(&mut host, &loaded.set.units, &mut problems);
    }
    host.units = loaded.set.units;
    if problems.is_empty() { Ok(host) } else { Err(problems) }
}

/// Looks up whom units run as, who owns their sockets, and the zones of their timers.
fn complete(host: &mut Host, units: &BTreeMap<UnitName, Arc<UnitDef>>, problems: &mut Vec<Problem>) {
    let mut known: BTreeMap<IdentityKey, Arc<Identity>> = BTreeMap::new();
    // What is not there was told at its place: this is for what went meanwhile.
    let mut refuse = |unit: &UnitDef, why: String| {
        let file = unit.sources.first().map_or_else(|| Path::new(unit.name.as_str()), AsRef::as_ref);
        problems.push(Problem::error(file, "", 0, why));
    };
    let mut named = BTreeMap::new();
    for (name, unit) in units {
        match identity(unit, &mut known) {
            Ok(Some(identity)) => drop(host.identities.insert(name.clone(), identity)),
            Ok(None) => {}
            Err(error) => refuse(unit, Chain(&error).to_string()),
        }
        if let Err(error) = socket_owners(unit, &mut host.owners) {
            refuse(unit, Chain(&error).to_string());
        }
        for event in unit.timer.iter().flat_map(|timer| &timer.on_calendar) {
            let ZoneName::Named(zone) = event.zone() else { continue };
            match zones::find(zone) {
                Ok(found) => drop(named.insert(zone.clone(), found)),
                Err(error) => refuse(unit, error.to_string()),
            }
        }
    }
    host.zones = Arc::new(Zones { local: zones::local(), named });
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
