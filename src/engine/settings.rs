//! The daemon's settings: `roundsman.toml`, or what serves without one.

mod fault; // what is wrong with it, and where
mod file; // as it is written
mod fleet; // this machine as one of several

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use fault::located;
pub(super) use fault::{Fault, at};
pub(super) use file::path;
use file::{File, PathsFile, container, log_faults};
pub use fleet::FleetSettings;

use super::{
    alerting::{self, AlertFile, Files},
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
    /// The machine as one of several.
    pub fleet: Option<Arc<FleetSettings>>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
            Ok(text) => Self::parse(&path, &text, places),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
                Self::assemble(None, "", (File::default(), Vec::new()), places, Files::new(Path::new("")))
            }
            Err(source) => Err(SettingsError::Read { path, source }),
        }
    }

    /// What of a file that cannot be used can be: where things are, if it says so, and else the defaults.
    pub fn salvage(file: Option<&Path>, places: &Places) -> Option<Self> {
        let path = file_of(file, places);
        let known = fs::read_to_string(&path).ok().map(|text| File::read(&path, &text).0.paths);
        let paths = known.filter(|paths| paths.is_whole).unwrap_or_default();
        let file = File { paths, ..File::default() };
        Self::assemble(Some(&path), "", (file, Vec::new()), places, Files::new(folder_of(&path))).ok()
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
            ("[fleet]", self.fleet.is_some() != other.fleet.is_some()),
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
        Self::assemble(Some(path), text, File::read(path, text), places, Files::new(folder_of(path)))
    }

    /// Keeps a copy in the runtime directory, for a manager that has to start while the file cannot be used.
    pub fn keep(&self) -> io::Result<()> {
        let text = |secret: &Secret| secret.expose().to_owned();
        let files = self.files.iter().map(|(path, said)| (path.clone(), text(said))).collect();
        let kept = Kept { text: text(&self.text), files, lasting: self.lasting.as_ref().map(text) };
        config::replace(&Self::kept_file(&self.paths.runtime), &serde_json::to_vec(&kept)?)
    }

    /// What the file said that is in force, by the copy in the directory `runtime`.
    pub(super) fn kept_text(runtime: &Path) -> io::Result<String> {
        let kept: Kept = serde_json::from_slice(&fs::read(Self::kept_file(runtime))?)?;
        Ok(kept.text)
    }

    /// The settings that were kept in the directory `runtime`; `file` is where they come from.
    pub fn kept(runtime: &Path, file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = Self::kept_file(runtime);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let kept: Kept = read.map_err(|source| SettingsError::Read { path, source })?;
        let file = file_of(file, places);
        let files = kept.files.into_iter().map(|(path, said)| (path, Secret::new(said))).collect();
        let files = Files::of_force(folder_of(&file), files);
        let mut settings = Self::assemble(Some(&file), &kept.text, File::read(&file, &kept.text), places, files)?;
        if let Some(lasting) = kept.lasting {
            // Whom it named to be told is over, and what it named for that may be gone.
            let (read, unread) = File::read(&file, &lasting);
            let read = File { alert: AlertFile::default(), ..read };
            let files = Files::of_force(folder_of(&file), alerting::Texts::new());
            settings.go_on_with(&Self::assemble(Some(&file), &lasting, (read, unread), places, files)?);
        }
        Ok(settings)
    }

    /// Of what was `read`, and of what of it could not be. Relative paths in a file are relative to the file's folder.
    fn assemble(
        source: Option<&Path>,
        text: &str,
        (file, mut problems): (File, Vec<Problem>),
        places: &Places,
        files: Files,
    ) -> Result<Self, SettingsError> {
        let base = source.map_or_else(|| Path::new(""), folder_of);
        let place = |path: Option<PathBuf>, default: &Path| path.map_or_else(|| default.to_owned(), |p| base.join(p));
        let node =
            nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |n| n.to_string_lossy().into_owned());
        let log = file.log.spec();
        let mut wrong = log_faults(&log);
        let budget = file.health.budget(&mut wrong);
        let container = container(file.container, &mut wrong);
        let (said, way) = (file.fleet, (&file.availability, &file.heartbeat));
        let fleet = fleet::settings(said, way, &files, &node, (&mut wrong, &mut problems));
        let alert = alerting::settings(file.alert, &files, node).unwrap_or_else(|faults| {
            wrong.extend(faults);
            alert::Settings::default()
        });
        if !wrong.is_empty() || !problems.is_empty() {
            let path = source.unwrap_or_else(|| Path::new("roundsman.toml"));
            problems.extend(located(path, text, wrong));
            problems.sort();
            return Err(SettingsError::Refused(problems));
        }
        let PathsFile { units, state, runtime, logs } = file.paths.says;
        Ok(Self {
            source: source.map(Path::to_owned),
            text: Secret::new(text),
            files: files.into_texts(),
            lasting: None,
            places: places.clone(),
            paths: Paths {
                units: match units {
                    Some(dirs) => dirs.into_iter().map(|dir| base.join(dir)).collect(),
                    None => vec![places.config.join("units")],
                },
                state: place(state, &places.state),
                runtime: place(runtime, &places.runtime),
                logs: place(logs, &places.logs),
            },
            log,
            cgroups: file.cgroup,
            disk_min_free: file.disk_min_free.unwrap_or(ByteSize(64 << 20)),
            restart_budget: budget,
            history: file.history.retention(),
            alert,
            container,
            fleet,
        })
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or_else(|| Path::new(""))
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
            ("main = \"../web\"", "a unit name cannot"),
            ("main = \"web\"\nforward_signals = [\"HUP\"]", "HUP"),
            ("forward_signals = []", "needs main"),
        ] {
            let error = read(&format!("[container]\n{text}\n")).expect_err(text).to_string();
            assert!(error.starts_with("r.toml:") && error.contains(": error: ") && error.contains(word), "{error}");
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
            (6, "a unit name cannot"),
            (10, "\"ops\": its URL"),
            (15, "\"hook\": template:1:1: there is no field"),
            (20, "\"post\": "),
            (22, "\"post\": there is no route \"nobody\" to fall back to"),
            (26, "soon"),
            (29, "heartbeat: its interval"),
        ] {
            assert!(said(line, part), "{line} {part}: {problems:#?}");
        }
        assert_eq!(problems.len(), 9, "{problems:#?}");
        assert!(problems[3].to_string().starts_with("r.toml:10:7: error: alert route"), "{}", problems[3]);
    }

    #[test]
    fn what_is_wrong_with_a_route_stands_at_the_key_that_says_it() {
        let route = |more: &str| format!("[log]\nkeep = 3\n[[alert.route]]\nname = \"a\"\n{more}");
        let mail = "kind = \"email\"\nserver = \"x\"\nfrom = \"a@x.org\"\n";
        let command = "kind = \"command\"\n";
        for (more, place) in [
            (format!("{mail}to = []"), "8:6: error: alert route \"a\": mail needs receivers"),
            (mail.to_owned(), "3:1: error: alert route \"a\": mail needs receivers"),
            (format!("{command}command = []"), "6:11: error: alert route \"a\": needs a command"),
            (format!("{command}command = [\"\"]"), "6:11: error: alert route \"a\": needs a command"),
            (command.to_owned(), "3:1: error: alert route \"a\": needs a command"),
            (format!("{command}command = [ \"/no/such\" ]"), "6:13: error: alert route \"a\": cannot run /no/such"),
            (
                format!("{command}command = [\"/bin/sh\"]\nuser = \"no-such-user-here\""),
                "7:8: error: alert route \"a\": cannot find user",
            ),
        ] {
            let refused = Settings::parse(Path::new("r.toml"), &route(&more), &places()).expect_err(place);
            let SettingsError::Refused(problems) = refused else { panic!("the file was given") };
            let [problem] = &problems[..] else { panic!("{problems:#?}") };
            assert!(problem.to_string().starts_with(&format!("r.toml:{place}")), "{problem} is not at {place}");
        }
    }

    #[test]
    fn all_that_cannot_be_read_is_told_at_once_with_its_place_and_the_likely_word() {
        let text = r#"stat = "/x"
[log]
keep = "many"
segmentsize = 1
compress = "gzp"
[pahts]
state = "/x"
[paths]
units = "/u"
state = 5
[cgroup]
mode = "of"
[health]
restart_budget = 129
restart_budget_interval = 0
[container]
forward_signals = ["HUP"]
[[alert.route]]
kind = "webhook"
url = "http://x/"
allow_private = "maybe"
[[alert.rule]]
event = "unit_fialed"
severty = "info"
"#;
        let error = Settings::parse(Path::new("r.toml"), text, &places()).expect_err("no").to_string();
        let expected = r#"r.toml:1:1: error: "stat" stands outside of a table
  help: there are paths, log, cgroup, disk, health, history, alert, container, fleet, high_availability, heartbeat
r.toml:3:8: error: "keep" must be a whole number from 0 to 4294967295
r.toml:4:1: error: unknown key "segmentsize" in [log]
  help: did you mean "segment_size"?
r.toml:5:12: error: "compress" cannot be "gzp"
  help: did you mean "gzip"?
r.toml:6:2: error: unknown table "pahts"
  help: did you mean "paths"?
r.toml:9:9: error: "units" must be a list, not a string
  help: write ["/u"]
r.toml:10:9: error: "state" must be a string, not an integer
r.toml:12:8: error: "mode" cannot be "of"
  help: did you mean "off"?
r.toml:14:18: error: [health] restart_budget is at most 128, or 0 for no limit
r.toml:15:27: error: [health] restart_budget_interval must be above zero and finite; restart_budget = 0 is no limit
r.toml:17:20: error: "HUP" cannot go on to the unit
  help: USR1, QUIT and WINCH can; HUP reloads, TERM and INT stop everything, USR2 upgrades
r.toml:21:17: error: "allow_private" must be true or false, not "maybe"
r.toml:23:9: error: alert rule "unit_fialed": "unit_fialed" is no event (did you mean "unit_failed"?)
r.toml:24:1: error: unknown key "severty" in [[alert.rule]]
  help: did you mean "severity"?"#;
        assert_eq!(error, expected);
    }

    #[test]
    fn broken_syntax_hides_nothing_else_and_nothing_that_follows_from_it_is_told() {
        let text = "[log]\nkeep = \nsegmentsize = 1\n[[alert.rule]]\nevent = \"foo\"\nroutes = [\"ops\"]\n";
        let error = Settings::parse(Path::new("r.toml"), text, &places()).expect_err("no").to_string();
        let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("r.toml:")).collect();
        assert!(lines.iter().any(|line| line.starts_with("r.toml:2:")), "{error}");
        assert!(lines.iter().any(|line| line.contains("\"segmentsize\"")), "{error}");
        assert!(lines.iter().any(|line| line.contains("\"foo\" is no event")), "{error}");
        assert!(!error.contains("no route"), "{error}");
        assert_eq!(lines.len(), 3, "{error}");
    }

    #[test]
    fn where_things_are_is_taken_from_a_file_that_cannot_be_used_otherwise() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("r.toml");
        let state = |text: &str| {
            fs::write(&file, text).expect("written");
            Settings::salvage(Some(&file), &places()).expect("places").paths.state
        };
        assert_eq!(state("[paths]\nstate = \"/x\"\n[log]\nkep = 1\n"), Path::new("/x"));
        for broken in ["[paths]\nstate = \"/x\"\n[log\n", "[paths]\nstate = \"/x\"\nruntim = \"/y\"\n"] {
            assert_eq!(state(broken), places().state, "{broken}");
        }
    }
}
