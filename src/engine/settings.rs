//! The daemon's settings: `roundsman.toml`, or what serves without one.

use std::{
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    alerting::{self, AlertFile},
    config,
};
use crate::{
    alert,
    base::{ByteSize, Places, Secret, Signal, TimeSpan, UnitName},
    edge::store::Retention,
    node::input::RestartBudget,
    unit::spec::{Compress, Forward, LINE_BYTES, LogSpec, OnFull, SEGMENT_BYTES},
};

/// Restarts by probes of all units, unless the settings say otherwise: enough for each of some services that hang at once, and
/// not for a crowd to go round in circles.
const RESTART_BUDGET: u32 = 20;
const RESTART_BUDGET_INTERVAL: TimeSpan = TimeSpan::from_secs(300);

/// The copy of what is in force.
const KEPT: &str = "settings.json";

/// Everything the daemon is told before it looks at a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file, if there is one.
    pub source: Option<PathBuf>,
    /// What it says; routes may name secrets in it.
    pub(super) text: Secret,
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

/// What the keeper hears and does not mean anything to the supervisor itself.
const FORWARDABLE: [Signal; 3] = [Signal::USR1, Signal::QUIT, Signal::WINCH];

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
    /// The file says something we do not understand.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What and the likely remedy.
        message: String,
    },
    /// The file is well formed and says something that cannot be: every problem, one per line.
    #[error("{}", problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect::<Vec<_>>().join("\n"))]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What and the likely remedy.
        problems: Vec<String>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    paths: PathsFile,
    #[serde(default)]
    log: LogFile,
    #[serde(default)]
    cgroup: CgroupFile,
    #[serde(default)]
    disk: DiskFile,
    #[serde(default)]
    health: HealthFile,
    #[serde(default)]
    history: HistoryFile,
    #[serde(default)]
    alert: AlertFile,
    #[serde(default)]
    container: ContainerFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathsFile {
    units: Option<Vec<PathBuf>>,
    state: Option<PathBuf>,
    runtime: Option<PathBuf>,
    logs: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogFile {
    segment_size: Option<Size>,
    segment_sec: Option<Span>,
    keep: Option<u32>,
    total_size: Option<Size>,
    retention_sec: Option<Span>,
    compress: Option<Word<Compress>>,
    line_max: Option<Size>,
    rate_limit_interval_sec: Option<Span>,
    rate_limit_burst: Option<u32>,
    on_full: Option<Word<OnFull>>,
    forward: Option<Vec<Word<Forward>>>,
}

impl LogFile {
    fn spec(self) -> LogSpec {
        // As in units: zero is no limit.
        let limit = |span: Span| if span.0.is_zero() { TimeSpan::INFINITY } else { span.0 };
        LogSpec {
            segment_size: self.segment_size.map(|size| size.0),
            segment_age: self.segment_sec.map(limit),
            keep: self.keep,
            total_size: self.total_size.map(|size| size.0),
            retention: self.retention_sec.map(limit),
            compress: self.compress.map(|word| word.0),
            line_max: self.line_max.map(|size| size.0),
            rate_limit_interval: self.rate_limit_interval_sec.map(|span| span.0),
            rate_limit_burst: self.rate_limit_burst,
            on_full: self.on_full.map(|word| word.0),
            forward: self.forward.map(|list| list.into_iter().map(|word| word.0).collect()),
            ..LogSpec::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CgroupFile {
    #[serde(default)]
    mode: CgroupMode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskFile {
    min_free_bytes: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthFile {
    restart_budget: Option<u32>,
    restart_budget_interval: Option<Span>,
}

impl HealthFile {
    fn budget(&self) -> Result<RestartBudget, String> {
        let burst = self.restart_budget.unwrap_or(RESTART_BUDGET);
        let interval = self.restart_budget_interval.map_or(RESTART_BUDGET_INTERVAL, |span| span.0);
        let most = RestartBudget::BURST_MAX;
        if burst > most {
            return Err(format!("[health] restart_budget is at most {most}, or 0 for no limit"));
        }
        if interval.is_zero() || interval.duration().is_none() {
            return Err(
                "[health] restart_budget_interval must be above zero and finite; restart_budget = 0 is no limit"
                    .to_owned(),
            );
        }
        Ok(RestartBudget { burst, interval })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryFile {
    retention_sec: Option<Span>,
    rows_max: Option<u32>,
}

impl HistoryFile {
    fn retention(&self) -> Retention {
        let Retention { age, rows_min, rows } = Retention::default();
        // As elsewhere: zero is no limit.
        let wanted = |span: Span| span.0.duration().filter(|age| !age.is_zero()).unwrap_or(Duration::MAX);
        Retention {
            age: self.retention_sec.map_or(age, wanted),
            rows_min,
            rows: self.rows_max.map_or(rows, |rows| if rows == 0 { u32::MAX } else { rows }),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerFile {
    main: Option<String>,
    forward_signals: Option<Vec<String>>,
}

impl ContainerFile {
    fn settings(self) -> Result<Container, Vec<String>> {
        let mut problems = Vec::new();
        let main = self.main.and_then(|text| {
            UnitName::new(&text).map_err(|error| problems.push(format!("[container] main = {text:?}: {error}"))).ok()
        });
        let mut forward = Vec::new();
        match (self.forward_signals, &main) {
            (None, Some(_)) => forward.extend(FORWARDABLE),
            (None, None) => {}
            (Some(_), None) => problems.push("[container] forward_signals needs main, to whom they go".to_owned()),
            (Some(names), Some(_)) => {
                for name in names {
                    match Signal::parse(&name).filter(|signal| FORWARDABLE.contains(signal)) {
                        Some(signal) => forward.push(signal),
                        None => problems.push(format!(
                            "[container] forward_signals: {name:?} cannot go on to the unit (USR1, QUIT and WINCH can; HUP \
                             reloads, TERM and INT stop everything, USR2 upgrades)"
                        )),
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Container { main, forward }) } else { Err(problems) }
    }
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    text: String,
    lasting: Option<String>,
}

/// A size as a number of bytes or as text ("16M").
#[derive(Debug, Clone, Copy)]
struct Size(ByteSize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of bytes, or a size such as \"16M\"")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(|n| Size(ByteSize(n))).map_err(|_| E::custom("a size is not negative"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A span of time as a number of seconds or as text ("10min").
#[derive(Debug, Clone, Copy)]
struct Span(TimeSpan);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of seconds, or a span such as \"10min\"")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Span, E> {
                let secs = u64::try_from(number).map_err(|_| E::custom("a span is not negative"))?;
                Ok(Span(TimeSpan::from_secs(secs)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map(Span).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One of some words, as units have them.
#[derive(Debug, Clone)]
struct Word<T>(T);

/// What can be read from a word.
trait FromWord: Sized {
    fn from_word(word: &str) -> Result<Self, String>;
}

fn choice<T: Copy>(word: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
    let all = || words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("it cannot be {word:?} (it can be {})", all()))
}

impl FromWord for Compress {
    fn from_word(word: &str) -> Result<Self, String> {
        choice(word, &Self::WORDS)
    }
}

impl FromWord for OnFull {
    fn from_word(word: &str) -> Result<Self, String> {
        choice(word, &Self::WORDS)
    }
}

impl FromWord for Forward {
    fn from_word(word: &str) -> Result<Self, String> {
        let help = "journal, syslog, \"syslog:udp://HOST:PORT\", \"syslog:tcp://HOST:PORT\"";
        Self::parse(word).ok_or_else(|| format!("cannot forward to {word:?} (it can be {help})"))
    }
}

impl<'de, T: FromWord> Deserialize<'de> for Word<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::from_word(&word).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Settings {
    /// Reads `file`, or `roundsman.toml` of the place that serves without one; a missing file there means defaults.
    pub fn load(file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = file_of(file, places);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text, places)?.fit(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
                Self::assemble(None, "", File::default(), places)
            }
            Err(source) => Err(SettingsError::Read { path, source }),
        }
    }

    /// Refuses what cannot work on this host as it is now. What was in force is not asked: a program that is gone for a moment must
    /// not end the supervision of all else.
    fn fit(self, path: PathBuf) -> Result<Self, SettingsError> {
        let problems = alerting::unfit(&self.alert);
        if problems.is_empty() { Ok(self) } else { Err(SettingsError::Unusable { path, problems }) }
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
        Self::assemble(Some(&path), "", file, places).ok()
    }

    /// The routes whose secret stands in the file itself, by name.
    pub fn routes_with_open_secrets(&self) -> Vec<&alert::RouteName> {
        let stands_here = |secret: &Secret| self.text.expose().contains(secret.expose());
        let has_one = |route: &&alert::Route| route.target.secret_url().is_some_and(stands_here);
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

    /// Where [`Settings::keep`] puts it: what an earlier daemon kept there is of no use to the next.
    pub fn kept_file(runtime: &Path) -> PathBuf {
        runtime.join(KEPT)
    }

    fn parse(path: &Path, text: &str, places: &Places) -> Result<Self, SettingsError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let before = text.get(..offset).unwrap_or(text);
            SettingsError::Invalid {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
                message: error.message().to_owned(),
            }
        })?;
        Self::assemble(Some(path), text, file, places)
    }

    /// Keeps a copy in the runtime directory, for a manager that has to start while the file cannot be used.
    pub fn keep(&self) -> io::Result<()> {
        let text = |secret: &Secret| secret.expose().to_owned();
        let kept = Kept { text: text(&self.text), lasting: self.lasting.as_ref().map(text) };
        config::replace(&Self::kept_file(&self.paths.runtime), &serde_json::to_vec(&kept)?)
    }

    /// The settings that were kept in the directory `runtime`; `file` is where they come from.
    pub fn kept(runtime: &Path, file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = Self::kept_file(runtime);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let kept: Kept = read.map_err(|source| SettingsError::Read { path, source })?;
        let file = file_of(file, places);
        let mut settings = Self::parse(&file, &kept.text, places)?;
        if let Some(lasting) = kept.lasting {
            settings.go_on_with(&Self::parse(&file, &lasting, places)?);
        }
        Ok(settings)
    }

    /// Relative paths in a file are relative to the file's folder.
    fn assemble(source: Option<&Path>, text: &str, file: File, places: &Places) -> Result<Self, SettingsError> {
        let base = source.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let place = |path: Option<PathBuf>, default: &Path| path.map_or_else(|| default.to_owned(), |p| base.join(p));
        let node =
            nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |n| n.to_string_lossy().into_owned());
        let log = file.log.spec();
        let mut wrong = log_problems(&log);
        let budget = file.health.budget().map_err(|problem| wrong.push(problem)).unwrap_or_default();
        let unusable = |problems| SettingsError::Unusable {
            path: source.unwrap_or_else(|| Path::new("roundsman.toml")).to_owned(),
            problems,
        };
        let (alert, container) = match (alerting::settings(file.alert, base, node), file.container.settings()) {
            (Ok(alert), Ok(container)) if wrong.is_empty() => (alert, container),
            (alert, container) => {
                let problems = wrong.into_iter().chain(alert.err().into_iter().chain(container.err()).flatten());
                return Err(unusable(problems.collect()));
            }
        };
        Ok(Self {
            source: source.map(Path::to_owned),
            text: Secret::new(text),
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

/// What units refuse too.
fn log_problems(log: &LogSpec) -> Vec<String> {
    let sizes = [
        ("segment_size", log.segment_size, SEGMENT_BYTES),
        ("total_size", log.total_size, SEGMENT_BYTES),
        ("line_max", log.line_max, LINE_BYTES),
    ];
    let wrong = sizes.into_iter().filter(|(_, size, range)| size.is_some_and(|size| !range.contains(&size.0)));
    let said = |(key, _, range): (&str, _, RangeInclusive<u64>)| {
        format!("[log] {key} must be from {} to {}", ByteSize(*range.start()), ByteSize(*range.end()))
    };
    let keep = (log.keep == Some(0)).then(|| "[log] keep must be at least 1".to_owned());
    wrong.map(said).chain(keep).collect()
}

/// The file that was named, or the one of the place.
fn file_of(named: Option<&Path>, places: &Places) -> PathBuf {
    named.map_or_else(|| places.config.join("roundsman.toml"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let expected = "r.toml: [log] segment_size must be from 4K to 1T\nr.toml: [log] keep must be at least 1";
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
            assert!(error.starts_with("r.toml: [container]") && error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_we_do_not_know_is_refused_with_its_place() {
        let error =
            Settings::parse(Path::new("r.toml"), "[log]\nkeep = 3\nsegmentsize = 1\n", &places()).expect_err("typo");
        let text = error.to_string();
        assert!(text.starts_with("r.toml:3:1: unknown field `segmentsize`, expected"), "{text}");
    }
}
