use std::{path::Path, sync::Arc};

use super::diag::{Level, Problem};
use crate::base::UnitName;

/// The largest unit file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// How many units one set may have.
pub const UNITS_MAX: usize = 10_000;
/// How many drop-ins one unit may have.
pub const DROPINS_MAX: usize = 100;

/// Kinds of units that systemd has and we do not: a file for one would be taken for a service of a strange name.
pub(super) const FOREIGN_KINDS: [&str; 9] =
    [".socket", ".device", ".mount", ".automount", ".swap", ".path", ".timer", ".slice", ".scope"];

/// One file of a unit, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// Where it was read; shown in problems.
    pub path: Arc<Path>,
    /// Which unit it is about.
    pub name: UnitName,
    /// Its bytes.
    pub text: Vec<u8>,
    /// Whether it only amends the unit (`NAME.toml.d/*.toml`).
    pub dropin: bool,
}

impl SourceText {
    /// A file of `path`, which must be `NAME.toml` or `NAME.toml.d/ANY.toml`; a problem when that gives no unit name.
    pub fn new(path: impl AsRef<Path>, text: impl Into<Vec<u8>>) -> Result<Self, Problem> {
        let path = path.as_ref();
        let refused = |message: String| Problem {
            file: path.into(),
            line: 1,
            column: 1,
            level: Level::Error,
            message,
            help: Some("name unit files NAME.toml and drop-ins NAME.toml.d/ANY.toml".to_owned()),
        };
        let (stem, dropin) = stem(path).ok_or_else(|| refused("this is not the path of a unit file".to_owned()))?;
        if let Some(kind) = FOREIGN_KINDS.iter().find(|kind| stem.ends_with(**kind)) {
            return Err(refused(format!("units of kind {kind:?} are not supported by this version")));
        }
        let name = UnitName::new(stem).map_err(|error| refused(error.to_string()))?;
        Ok(Self { path: path.into(), name, text: text.into(), dropin })
    }
}

/// The unit's name in a path, and whether it is a drop-in's.
fn stem(path: &Path) -> Option<(&str, bool)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".toml")?;
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match folder.and_then(|folder| folder.strip_suffix(".toml.d")) {
        Some(unit) => Some((unit, true)),
        None => Some((stem, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_which_unit_a_file_is_about() {
        let cases = [
            ("units/web.toml", "web", false),
            ("web.service.toml", "web", false),
            ("/etc/x/web.toml.d/10-more.toml", "web", true),
        ];
        for (path, name, dropin) in cases {
            let source = SourceText::new(path, "").unwrap();
            assert_eq!((source.name.as_str(), source.dropin), (name, dropin), "{path}");
        }
    }

    #[test]
    fn a_path_that_names_no_service_is_refused() {
        for path in ["web.socket.toml", "web.txt", "we b.toml", ".toml", "a/.hidden.toml"] {
            let problem = SourceText::new(path, "").unwrap_err();
            assert_eq!(problem.level, Level::Error, "{path}");
        }
    }
}
