//! Which files make one unit, and in which order they are applied.
//!
//! A drop-in changes what came before it: a single value takes the place of the earlier one, a list is added to (an
//! empty string in it, or an empty list, empties it first; relations are only ever added), a table of variables is
//! merged, a `[[health]]` table changes the probe of its name.

use std::collections::BTreeMap;

use super::{
    diag::{Place, Report},
    source::{DROPINS_MAX, SourceText, UNITS_MAX},
};
use crate::base::UnitName;

/// The files of one unit by their index in the sources: the unit file, then its drop-ins by file name.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub unit: Option<usize>,
    pub dropins: Vec<usize>,
}

impl Files {
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> {
        self.unit.into_iter().chain(self.dropins.iter().copied())
    }
}

/// Groups the sources by unit. A unit in two files, and a drop-in without its unit, are errors.
pub(super) fn group(sources: &[SourceText], report: &mut Report<'_>) -> BTreeMap<UnitName, Files> {
    let mut groups: BTreeMap<UnitName, Files> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        let place = Place { file: at, offset: 0 };
        if groups.len() >= UNITS_MAX && !groups.contains_key(&source.name) {
            report.error(place, format!("more than {UNITS_MAX} units"), None);
            break;
        }
        let files = groups.entry(source.name.clone()).or_default();
        match (source.dropin, files.unit) {
            (true, _) => files.dropins.push(at),
            (false, None) => files.unit = Some(at),
            (false, Some(first)) => {
                let first = report.show(Place { file: first, offset: 0 });
                let help = format!("the other file is {}", first.trim_end_matches(":1:1"));
                report.error(place, format!("the unit {} has a second file", source.name), Some(help));
            }
        }
    }
    for (name, files) in &mut groups {
        let file_name = |at: &usize| sources.get(*at).and_then(|source| source.path.file_name());
        files.dropins.sort_by(|a, b| file_name(a).cmp(&file_name(b)).then(a.cmp(b)));
        if let (None, Some(first)) = (files.unit, files.dropins.first()) {
            let message = format!("a drop-in for {name}, which has no unit file");
            report.error(Place { file: *first, offset: 0 }, message, None);
        }
        if files.dropins.len() > DROPINS_MAX {
            let place = Place { file: files.dropins[DROPINS_MAX], offset: 0 };
            report.error(place, format!("more than {DROPINS_MAX} drop-ins for {name}"), None);
            files.dropins.truncate(DROPINS_MAX);
        }
    }
    groups.retain(|_, files| files.unit.is_some());
    groups
}
