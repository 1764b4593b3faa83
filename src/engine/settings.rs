//! The daemon's settings: `roundsman.toml`, or what serves without one.

mod fault; // what is wrong with it, and where
mod file; // as it is written

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use fault::located;
pub(super) use fault::{Fault, at};
use file::{File, PathsFile, log_faults};

use super::{
    alerting::{self, AlertFile},
    config,
};
use crate::{
    alert,
    base::{ByteSize, Places, Secret, Signal, UnitName},
    edge::store::Retention,
    node::input::RestartBudget,
    unit::{Problem, spec::LogSpec},
};

/// The copy of what is in force.
const KEPT: &str = "settings.json";

/// Everything the daemon is told before it looks at a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file, if there is one.
    pub source: Option<PathBuf>,
    /// What it says; routes may name secrets in it.
    pub(super) text: Secret,
    /// What the files say that it names.
    files: alerting::Texts,
    /// What it said at the daemon's start, where that differs: what the keys say that hold to its end.
    pub(super) lasting: Option<Secret>,
    /// Where things are that the file does not place.
    pub places: Places,
    /// Where things are.
    pub paths: Paths,
    /// How output is kept where units say nothing else.
    pub log: LogSpec,
    /// Whether units get cgroups.
    pub cgroups: CgroupMode,
    /// Free space of the state directory below which we say that we are degraded.
    pub disk_min_free: ByteSize,
    /// How many restarts by probes there may be.
    pub restart_budget: RestartBudget,
    /// How long history is kept.
    pub history: Retention,
    /// Who is told.
    pub alert: alert::Settings,
    /// The daemon as the first process of a container.
    pub container: Container,
}

/// `[container]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// The unit whose end is the daemon's, and whose exit status it ends with.
    pub main: Option<UnitName>,
    /// Signals to the daemon that go on to its main process.
    pub forward: Vec<Signal>,
}

/// Where things are; every one can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Unit directories; a drop-in of a later one applies to units of all.
    pub units: Vec<PathBuf>,
    /// What lasts: the database.
    pub state: PathBuf,
    /// What lives as long as the boot: sockets, the keeper's table.
    pub runtime: PathBuf,
    /// Captured output.
    pub logs: PathBuf,
}

/// `[cgroup] mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupMode {
    /// Where the init system gave us a part of the tree (Delegate=yes), and as PID 1.
    #[default]
    Auto,
    /// Wherever we may make them.
    On,
    /// Never: process groups and a walk over /proc serve instead.
    Off,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file says something we do not understand, or that cannot be: every problem with its place, one per line.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Problem>),
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    text: String,
    /// Of the files that it names.
    #[serde(default)]
    files: BTreeMap<PathBuf, String>,
    lasting: Option<String>,
}

impl Settings {
    /// Reads `file`, or `roundsman.toml` of the place that serves without one; a missing file there means defaults.
    pub fn load(file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = file_of(file, places);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text, places)?.fit(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
                Self::assemble(None, "", File::default(), places, alerting::Texts::new())
            }
            Err(source) => Err(SettingsError::Read { path, source }),
        }
    }

    /// Refuses what cannot work on this host as it is now. What was in force is not asked: a program that is gone for a moment must
    /// not end the supervision of all else.
    fn fit(self, path: &Path) -> Result<Self, SettingsError> {
        let faults = alerting::unfit(&self.alert);
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(SettingsError::Refused(located(path, self.text.expose(), faults)))
        }
    }

    /// What of a file that cannot be used can be: where things are, if it says so, and else the defaults.
    pub fn salvage(file: Option<&Path>, places: &Places) -> Option<Self> {
        #[derive(Default, Deserialize)]
        struct Known {
            #[serde(default)]
            paths: PathsFile,
        }
        let path = file_of(file, places);
        let known = fs::read_to_string(&path).ok().and_then(|text| toml::from_str::<Known>(&text).ok());
        let file = File { paths: known.unwrap_or_default().paths, ..File::default() };
        Self::assemble(Some(&path), "", file, places, alerting::Texts::new()).ok()
    }

    /// The routes whose secret stands in the file itself, by name.
    pub fn routes_with_open_secrets(&self) -> Vec<&alert::RouteName> {
        let stands_here = |secret: &Secret| self.text.expose().contains(secret.expose());
        let has_one = |route: &&alert::Route| route.target.guarded_url().is_some_and(stands_here);
        self.alert.routes.iter().filter(has_one).map(|route| &route.name).collect()
    }

    /// Reads the file anew.
    pub fn again(&self) -> Result<Self, SettingsError> {
        Self::load(self.source.as_deref(), &self.places)
    }

    /// The keys in which `other` differs and that hold from the daemon's start to its end.
    pub fn lasting_differences(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("[paths] state", self.paths.state != other.paths.state),
            ("[paths] runtime", self.paths.runtime != other.paths.runtime),
            ("[paths] logs", self.paths.logs != other.paths.logs),
            ("[log]", self.log != other.log),
            ("[cgroup] mode", self.cgroups != other.cgroups),
            ("[disk] min_free_bytes", self.disk_min_free != other.disk_min_free),
            ("[history]", self.history != other.history),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Takes the same keys from `inforce`.
    fn go_on_with(&mut self, inforce: &Self) {
        let Self { paths, log, cgroups, disk_min_free, history, lasting, .. } = inforce;
        self.paths = Paths { units: std::mem::take(&mut self.paths.units), ..paths.clone() };
        (self.log, self.cgroups, self.disk_min_free) = (log.clone(), *cgroups, *disk_min_free);
        self.history = *history;
        self.lasting = lasting.clone().or_else(|| Some(inforce.text.clone()));
    }

    /// For a manager that is not the daemon's first: what the file says now, but for the keys that hold from the daemon's start
    /// to its end; those in which it differs.
    pub fn go_on(&mut self, runtime: &Path) -> Vec<&'static str> {
        // Without a copy the daemon has just begun, and the file is what it began with.
        let Ok(kept) = Self::kept(runtime, self.source.as_deref(), &self.places) else { return Vec::new() };
        let differences = kept.lasting_differences(self);
        self.go_on_with(&kept);
        differences
    }

    /// Where the API listens.
    pub(super) fn control_file(&self) -> PathBuf {
        std::path::absolute(self.paths.runtime.join("control.sock")).unwrap_or_default()
    }

    /// Where [`Settings::keep`] puts it: what an earlier daemon kept there is of no use to the next.
    pub fn kept_file(runtime: &Path) -> PathBuf {
        runtime.join(KEPT)
    }

    fn parse(path: &Path, text: &str, places: &Places) -> Result<Self, SettingsError> {
        Self::assemble(Some(path), text, Self::shaped(path, text)?, places, alerting::Texts::new())
    }

    fn shaped(path: &Path, text: &str) -> Result<File, SettingsError> {
        toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            SettingsError::Refused(vec![Problem::error(path, text, offset, error.message())])
        })
    }

    /// Keeps a copy in the runtime directory, for a manager that has to start while the file cannot be used.
    pub fn keep(&self) -> io::Result<()> {
        let text = |secret: &Secret| secret.expose().to_owned();
        let files = self.files.iter().map(|(path, said)| (path.clone(), text(said))).collect();
        let kept = Kept { text: text(&self.text), files, lasting: self.lasting.as_ref().map(text) };
        config::replace(&Self::kept_file(&self.paths.runtime), &serde_json::to_vec(&kept)?)
    }

    /// The settings that were kept in the directory `runtime`; `file` is where they come from.
    pub fn kept(runtime: &Path, file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = Self::kept_file(runtime);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let kept: Kept = read.map_err(|source| SettingsError::Read { path, source })?;
        let file = file_of(file, places);
        let files = kept.files.into_iter().map(|(path, said)| (path, Secret::new(said))).collect();
        let mut settings = Self::assemble(Some(&file), &kept.text, Self::shaped(&file, &kept.text)?, places, files)?;
        if let Some(lasting) = kept.lasting {
            // Whom it named to be told is over, and what it named for that may be gone.
            let shaped = File { alert: AlertFile::default(), ..Self::shaped(&file, &lasting)? };
            settings.go_on_with(&Self::assemble(Some(&file), &lasting, shaped, places, alerting::Texts::new())?);
        }
        Ok(settings)
    }

    /// Relative paths in a file are relative to the file's folder.
    fn assemble(
        source: Option<&Path>,
        text: &str,
        file: File,
        places: &Places,
        were: alerting::Texts,
    ) -> Result<Self, SettingsError> {
        let base = source.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let place = |path: Option<PathBuf>, default: &Path| path.map_or_else(|| default.to_owned(), |p| base.join(p));
        let node =
            nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |n| n.to_string_lossy().into_owned());
        let files = alerting::Files::new(base, were);
        let log = file.log.spec();
        let mut wrong = log_faults(&log);
        let budget = file.health.budget().map_err(|fault| wrong.push(fault)).unwrap_or_default();
        let (alert, container) = match (alerting::settings(file.alert, &files, node), file.container.settings()) {
            (Ok(alert), Ok(container)) if wrong.is_empty() => (alert, container),
            (alert, container) => {
                wrong.extend(alert.err().into_iter().chain(container.err()).flatten());
                let path = source.unwrap_or_else(|| Path::new("roundsman.toml"));
                return Err(SettingsError::Refused(located(path, text, wrong)));
            }
        };
        Ok(Self {
            source: source.map(Path::to_owned),
            text: Secret::new(text),
            files: files.into_texts(),
            lasting: None,
            places: places.clone(),
            paths: Paths {
                units: match file.paths.units {
                    Some(dirs) => dirs.into_iter().map(|dir| base.join(dir)).collect(),
                    None => vec![places.config.join("units")],
                },
                state: place(file.paths.state, &places.state),
                runtime: place(file.paths.runtime, &places.runtime),
                logs: place(file.paths.logs, &places.logs),
            },
            log,
            cgroups: file.cgroup.mode,
            disk_min_free: file.disk.min_free_bytes.map_or(ByteSize(64 << 20), |size| size.0),
            restart_budget: budget,
            history: file.history.retention(),
            alert,
            container,
        })
    }
}

/// The file that was named, or the one of the place.
fn file_of(named: Option<&Path>, places: &Places) -> PathBuf {
    named.map_or_else(|| places.config.join("roundsman.toml"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::{file::FORWARDABLE, *};
    use crate::{
        base::TimeSpan,
        unit::spec::{Forward, OnFull},
    };

    fn places() -> Places {
        Places::of(0, |_| None)
    }

    #[test]
    fn no_file_means_the_systems_directories() {
        let settings = Settings::load(None, &Places { config: "/no/such/place".into(), ..places() }).expect("defaults");
        assert_eq!(settings.paths.state, Path::new("/var/lib/roundsman"));
        assert_eq!(settings.source, None);
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = Settings::load(Some(Path::new("/no/such/file")), &places()).expect_err("missing");
        assert_eq!(error.to_string(), "cannot read /no/such/file");
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let text = "[paths]\nunits = [\"units\", \"/u\"]\nstate = \"var\"\n[log]\nsegment_size = \"1M\"\n";
        let settings = Settings::parse(Path::new("/a/r.toml"), text, &places()).expect("good");
        assert_eq!(settings.paths.units, [Path::new("/a/units"), Path::new("/u")]);
        assert_eq!(settings.paths.state, Path::new("/a/var"));
        assert_eq!(settings.log.segment_size, Some(ByteSize(1 << 20)));
    }

    #[test]
    fn sizes_of_output_are_checked_as_in_units() {
        let text = "[log]\nsegment_size = 100\nkeep = 0\nline_max = \"64K\"\n";
        let error = Settings::parse(Path::new("r.toml"), text, &places()).expect_err("too small").to_string();
        let expected = "r.toml:2:16: error: [log] segment_size must be from 4K to 1T\n\
                        r.toml:3:8: error: [log] keep must be at least 1";
        assert_eq!(error, expected);
        for (line, said) in [("compress = \"xz\"", "it can be none, gzip"), ("forward = [\"x\"]", "cannot forward to")]
        {
            let error =
                Settings::parse(Path::new("r.toml"), &format!("[log]\n{line}\n"), &places()).expect_err("a slip");
            assert!(error.to_string().contains(said), "{error}");
        }
        let good = "[log]\nretention_sec = \"7d\"\nsegment_sec = 0\non_full = \"block\"\nforward = [\"journal\"]\n";
        let log = Settings::parse(Path::new("r.toml"), good, &places()).expect("good").log;
        assert_eq!((log.retention, log.segment_age), (Some(TimeSpan::from_secs(604_800)), Some(TimeSpan::INFINITY)));
        assert_eq!((log.on_full, log.forward), (Some(OnFull::Block), Some(vec![Forward::Journal])));
    }

    #[test]
    fn history_is_kept_as_long_as_is_said_and_zero_is_for_ever() {
        let read = |text: &str| Settings::parse(Path::new("r.toml"), text, &places()).expect("good").history;
        assert_eq!(read(""), Retention::default());
        let said = read("[history]\nretention_sec = \"30d\"\nrows_max = 7000\n");
        assert_eq!((said.age.as_secs(), said.rows), (30 * 24 * 3600, 7000));
        let ever = read("[history]\nretention_sec = 0\nrows_max = 0\n");
        assert_eq!((ever.age, ever.rows), (Duration::MAX, u32::MAX));
        assert_eq!(read("[history]\nretention_sec = \"infinity\"\n").age, Duration::MAX);
    }

    #[test]
    fn what_holds_to_the_daemons_end_is_kept_through_reloads_and_crashes() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = folder.path().display();
        let file = Path::new("/a/r.toml");
        let text = |state: &str, units: &str| {
            format!("[paths]\nunits = [\"{units}\"]\nstate = \"{state}\"\nruntime = \"{runtime}\"\n")
        };
        let read = |text: String| Settings::parse(file, &text, &places()).expect("good");
        let first = read(text("/first", "/u1"));
        let mut second = read(text("/second", "/u2"));
        assert_eq!(second.go_on(folder.path()), Vec::<&str>::new(), "nothing is kept: the daemon has just begun");
        first.keep().expect("kept");
        assert_eq!(second.go_on(folder.path()), ["[paths] state"]);
        assert_eq!(
            (second.paths.state.as_path(), second.paths.units[0].as_path()),
            (Path::new("/first"), Path::new("/u2"))
        );
        // A second crash, and one while the file is broken.
        second.keep().expect("kept");
        let mut third = read(text("/third", "/u3"));
        assert_eq!(third.go_on(folder.path()), ["[paths] state"]);
        assert_eq!(third.paths.state, Path::new("/first"));
        let kept = Settings::kept(folder.path(), Some(file), &places()).expect("kept");
        assert_eq!(
            (kept.paths.state.as_path(), kept.paths.units[0].as_path()),
            (Path::new("/first"), Path::new("/u2"))
        );
    }

    #[test]
    fn what_was_in_force_needs_none_of_the_files_that_it_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("r.toml");
        let runtime = folder.path().join("run");
        fs::create_dir(&runtime).expect("made");
        let read = |secret: &str, state: &str| {
            let path = folder.path().join(secret);
            fs::write(&path, "https://hooks.example.org/T1\n").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
            let text = format!(
                "[paths]\nstate = \"{state}\"\nruntime = \"run\"\n\
                 [[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl_file = \"{secret}\"\n"
            );
            Settings::parse(&file, &text, &places()).expect("good")
        };
        let kept = || Settings::kept(&runtime, Some(&file), &places()).expect("kept");
        let first = read("first", "/first");
        first.keep().expect("kept");
        fs::remove_file(folder.path().join("first")).expect("removed");
        assert_eq!(kept(), first);
        // What held at the daemon's start was told to another address, which is of no interest any more.
        let mut second = read("second", "/second");
        assert_eq!(second.go_on(&runtime), ["[paths] state"]);
        second.keep().expect("kept");
        fs::remove_file(folder.path().join("second")).expect("removed");
        assert_eq!((kept().alert, kept().paths.state), (second.alert, "/first".into()));
    }

    #[test]
    fn a_containers_main_unit_and_its_signals_are_read_and_every_mistake_is_named() {
        let read = |text: &str| Settings::parse(Path::new("r.toml"), text, &places());
        let container = read("[container]\nmain = \"web\"\n").expect("good").container;
        assert_eq!((container.main.expect("named").as_str(), container.forward), ("web", FORWARDABLE.to_vec()));
        let container = read("[container]\nmain = \"web\"\nforward_signals = [\"SIGQUIT\"]\n").expect("good").container;
        assert_eq!(container.forward, [Signal::QUIT]);
        for (text, word) in [
            ("main = \"../web\"", "main"),
            ("main = \"web\"\nforward_signals = [\"HUP\"]", "HUP"),
            ("forward_signals = []", "needs main"),
        ] {
            let error = read(&format!("[container]\n{text}\n")).expect_err(text).to_string();
            assert!(
                error.starts_with("r.toml:") && error.contains(": error: [container]") && error.contains(word),
                "{error}"
            );
        }
    }

    #[test]
    fn every_fault_stands_at_its_key() {
        let text = r#"[log]
keep = 0
[health]
restart_budget = 129
[container]
main = "../web"
[[alert.route]]
name = "ops"
kind = "webhook"
url = "ftp://x"
[[alert.route]]
name = "hook"
kind = "webhook"
url = "http://x/"
template = '{{ nobody }}'
[[alert.route]]
name = "post"
kind = "email"
server = "mail.example.org"
from = "nobody"
to = ["ops@example.org"]
fallback = "nobody"
[[alert.rule]]
event = "*"
routes = ["ops"]
repeat_interval = "soon"
[alert.heartbeat]
url = "http://x/"
interval = "0"
"#;
        let SettingsError::Refused(problems) = Settings::parse(Path::new("r.toml"), text, &places()).expect_err("no")
        else {
            panic!("the file was given")
        };
        let said = |line: u32, part: &str| problems.iter().any(|p| p.line == line && p.message.contains(part));
        for (line, part) in [
            (2, "keep"),
            (4, "restart_budget"),
            (6, "main"),
            (10, "\"ops\": its URL"),
            (15, "\"hook\": template:1:1: there is no field"),
            (20, "\"post\": "),
            (26, "rule \"*\": "),
            (29, "heartbeat: its interval"),
        ] {
            assert!(said(line, part), "{line} {part}: {problems:#?}");
        }
        assert_eq!(problems.len(), 8, "{problems:#?}");
        assert!(problems[3].to_string().starts_with("r.toml:10:7: error: alert route"), "{}", problems[3]);
    }

    #[test]
    fn what_we_do_not_know_is_refused_with_its_place() {
        let error =
            Settings::parse(Path::new("r.toml"), "[log]\nkeep = 3\nsegmentsize = 1\n", &places()).expect_err("typo");
        let text = error.to_string();
        assert!(text.starts_with("r.toml:3:1: error: unknown field `segmentsize`, expected"), "{text}");
    }
}
