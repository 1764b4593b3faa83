//! The daemon's settings: `roundsman.toml`, or what serves without one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    alerting::{self, AlertFile},
    config,
};
use crate::{
    alert,
    base::{ByteSize, Places, Secret},
    edge::log,
};

/// The copy of what is in force.
const KEPT: &str = "settings.toml";

/// Everything the daemon is told before it looks at a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file, if there is one.
    pub source: Option<PathBuf>,
    /// What it says; routes may name secrets in it.
    pub(super) text: Secret,
    /// Where things are that the file does not place.
    pub places: Places,
    /// Where things are.
    pub paths: Paths,
    /// How output is kept.
    pub log: log::Limits,
    /// Whether units get cgroups.
    pub cgroups: CgroupMode,
    /// Free space of the state directory below which we say that we are degraded.
    pub disk_min_free: ByteSize,
    /// Who is told.
    pub alert: alert::Settings,
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
    alert: AlertFile,
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
    keep: Option<u32>,
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

impl Settings {
    /// Reads `file`, or `roundsman.toml` of the place that serves without one; a missing file there means defaults.
    pub fn load(file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = file_of(file, places);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text, places),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
                Self::assemble(None, "", File::default(), places)
            }
            Err(source) => Err(SettingsError::Read { path, source }),
        }
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
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
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
        config::replace(&self.paths.runtime.join(KEPT), self.text.expose().as_bytes())
    }

    /// The settings that were kept in the directory `runtime`; `file` is where they come from.
    pub fn kept(runtime: &Path, file: Option<&Path>, places: &Places) -> Result<Self, SettingsError> {
        let path = runtime.join(KEPT);
        let text = fs::read_to_string(&path).map_err(|source| SettingsError::Read { path, source })?;
        Self::parse(&file_of(file, places), &text, places)
    }

    /// Relative paths in a file are relative to the file's folder.
    fn assemble(source: Option<&Path>, text: &str, file: File, places: &Places) -> Result<Self, SettingsError> {
        let base = source.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let place = |path: Option<PathBuf>, default: &Path| path.map_or_else(|| default.to_owned(), |p| base.join(p));
        let defaults = log::Limits::default();
        let node =
            nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |n| n.to_string_lossy().into_owned());
        let alert = alerting::settings(file.alert, base, node).map_err(|problems| SettingsError::Unusable {
            path: source.unwrap_or_else(|| Path::new("roundsman.toml")).to_owned(),
            problems,
        })?;
        Ok(Self {
            source: source.map(Path::to_owned),
            text: Secret::new(text),
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
            log: log::Limits {
                segment: file.log.segment_size.map_or(defaults.segment, |size| size.0),
                keep: file.log.keep.unwrap_or(defaults.keep),
            },
            cgroups: file.cgroup.mode,
            disk_min_free: file.disk.min_free_bytes.map_or(ByteSize(64 << 20), |size| size.0),
            alert,
        })
    }
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
        assert_eq!(settings.log.segment, ByteSize(1 << 20));
    }

    #[test]
    fn what_we_do_not_know_is_refused_with_its_place() {
        let error =
            Settings::parse(Path::new("r.toml"), "[log]\nkeep = 3\nsegmentsize = 1\n", &places()).expect_err("typo");
        let text = error.to_string();
        assert!(text.starts_with("r.toml:3:1: unknown field `segmentsize`, expected"), "{text}");
    }
}
