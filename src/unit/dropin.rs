//! Which files make one unit, and in which order they are applied.
//!
//! A drop-in changes what came before it: a single value takes the place of the earlier one, a list is added to (an
//! empty string in it, or an empty list, empties it first; relations are only ever added), a table of variables is
//! merged, a `[[health]]` table changes the probe of its name.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    diag::{Place, Report},
    source::{DROPINS_MAX, SourceText, UNITS_MAX},
};
use crate::base::UnitName;

/// The files of one unit by their index in the sources: the unit file, then its drop-ins by file name.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub unit: Option<usize>,
    pub dropins: Vec<usize>,
}

impl Files {
    pub(super) fn in_order(&self) -> impl Iterator<Item = usize> {
        self.unit.into_iter().chain(self.dropins.iter().copied())
    }

    /// The files of an instance: its own unit file or else the template's, and the drop-ins of both.
    fn of_instance(template: &Self, own: Option<&Self>, sources: &[SourceText]) -> Self {
        let mut files = own.cloned().unwrap_or_default();
        files.unit = files.unit.or(template.unit);
        files.dropins.extend(&template.dropins);
        files.sort(sources);
        files
    }

    fn sort(&mut self, sources: &[SourceText]) {
        let file_name = |at: &usize| sources.get(*at).and_then(|source| source.path.file_name());
        self.dropins.sort_by(|a, b| file_name(a).cmp(&file_name(b)).then(a.cmp(b)));
    }
}

/// The files of every unit and every template.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<UnitName, Files>);

impl Groups {
    /// The files of a unit; an instance has those of its template too.
    pub(super) fn files(&self, name: &UnitName, sources: &[SourceText]) -> Option<Files> {
        let own = self.0.get(name);
        match name.template().and_then(|template| self.0.get(&template)) {
            Some(template) => Some(Files::of_instance(template, own, sources)),
            None => own.filter(|files| files.unit.is_some()).cloned(),
        }
    }

    /// The units that have files of their own, templates left out.
    pub(super) fn units(&self) -> impl Iterator<Item = &UnitName> {
        self.0.iter().filter(|(name, files)| files.unit.is_some() && !name.is_template()).map(|(name, _)| name)
    }

    /// The templates with their files.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&UnitName, &Files)> {
        self.0.iter().filter(|(name, _)| name.is_template())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&UnitName, &Files)> {
        self.0.iter()
    }
}

/// Groups the sources by unit. A unit in two files, and a drop-in without its unit, are errors.
pub(super) fn group(sources: &[SourceText], report: &mut Report<'_>) -> Groups {
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
    let templates: BTreeSet<UnitName> = groups
        .iter()
        .filter(|(name, files)| name.is_template() && files.unit.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    for (name, files) in &mut groups {
        files.sort(sources);
        let has_template = name.template().is_some_and(|template| templates.contains(&template));
        if let (None, Some(first), false) = (files.unit, files.dropins.first(), has_template) {
            let message = format!("a drop-in for {name}, which has no unit file");
            report.error(Place { file: *first, offset: 0 }, message, None);
        }
        if files.dropins.len() > DROPINS_MAX {
            let place = Place { file: files.dropins[DROPINS_MAX], offset: 0 };
            report.error(place, format!("more than {DROPINS_MAX} drop-ins for {name}"), None);
            files.dropins.truncate(DROPINS_MAX);
        }
    }
    groups.retain(|name, files| {
        files.unit.is_some() || name.template().is_some_and(|template| templates.contains(&template))
    });
    Groups(groups)
}
