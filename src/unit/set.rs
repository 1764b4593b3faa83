use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    check::{self, Clean},
    cross,
    diag::{Place, Problem, Report},
    dialect,
    draft::{Draft, Places, Relation},
    dropin::{self, Files},
    graph,
    source::SourceText,
    spec::UnitDef,
};
use crate::base::UnitName;

/// Checked units that fit together.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitSet {
    /// By name.
    pub units: BTreeMap<UnitName, UnitDef>,
    /// Of the files they were read from.
    pub digest: Digest,
}

impl UnitSet {
    /// [`graph::start_order`] of this set.
    pub fn start_order<'n>(&self, wanted: impl IntoIterator<Item = &'n UnitName>) -> Vec<UnitName> {
        graph::start_order(&self.units, wanted)
    }

    /// [`graph::pulled_in`] of this set.
    pub fn pulled_in<'n>(&self, roots: impl IntoIterator<Item = &'n UnitName>) -> BTreeSet<UnitName> {
        graph::pulled_in(&self.units, roots)
    }

    /// [`graph::pulled_down`] of this set.
    pub fn pulled_down<'n>(&self, roots: impl IntoIterator<Item = &'n UnitName>) -> BTreeSet<UnitName> {
        graph::pulled_down(&self.units, roots)
    }
}

/// SHA-256 over names and texts of a set's files, in the order in which they apply; where they lie does not matter.
/// Shown as lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set, and what is odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The units.
    pub set: UnitSet,
    /// What was probably not meant.
    pub warnings: Vec<Problem>,
}

/// A unit with the places of its relations and sockets, for the checks between units.
pub(super) struct Read {
    pub def: UnitDef,
    pub relations: Vec<Relation>,
    pub sockets: Vec<Place>,
}

/// Reads and checks all units at once; any error refuses them all, and the list then has the warnings too. Problems come
/// by file, then by place.
pub fn load(sources: &[SourceText]) -> Result<Loaded, Vec<Problem>> {
    let mut report = Report::new(sources);
    let groups = dropin::group(sources, &mut report);
    let digest = digest(sources, &groups);
    let read: BTreeMap<UnitName, Read> =
        groups.into_iter().map(|(name, files)| (name.clone(), read(name, &files, sources, &mut report))).collect();
    cross::check(&read, &mut report);
    let units: BTreeMap<UnitName, UnitDef> = read.into_iter().map(|(name, read)| (name, read.def)).collect();
    let warnings = report.finish()?;
    Ok(Loaded { set: UnitSet { units: share_names(units), digest }, warnings })
}

fn read<'s>(name: UnitName, files: &Files, sources: &'s [SourceText], report: &mut Report<'s>) -> Read {
    let mut draft = Draft::new(name);
    let mut places = Places::default();
    let errors_before = report.errors();
    let mut paths = Vec::new();
    for (at, source) in files.in_order().filter_map(|at| sources.get(at).map(|source| (at, source))) {
        dialect::toml::read(source, at, &mut draft, &mut places, report);
        paths.push(Arc::clone(&source.path));
    }
    draft.def.sources = paths.into();
    let clean = if report.errors() == errors_before { Clean::Yes } else { Clean::No };
    let begin = Place { file: files.unit.unwrap_or_default(), offset: 0 };
    let relations = draft.relations.clone();
    let sockets = draft.sockets.listen.iter().map(|(_, place)| *place).collect();
    Read { def: check::finish(draft, &places, begin, clean, report), relations, sockets }
}

/// Lets relations use the names of the units they mean: a name then exists once.
fn share_names(mut units: BTreeMap<UnitName, UnitDef>) -> BTreeMap<UnitName, UnitDef> {
    let names: BTreeSet<UnitName> = units.keys().cloned().collect();
    for unit in units.values_mut() {
        for list in unit.relations.lists_mut() {
            for name in list {
                if let Some(shared) = names.get(name) {
                    *name = shared.clone();
                }
            }
        }
        if let Some(shared) = names.get(&unit.name) {
            unit.name = shared.clone();
        }
    }
    units
}

fn digest(sources: &[SourceText], groups: &BTreeMap<UnitName, Files>) -> Digest {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for (name, files) in groups {
        add(name.as_str().as_bytes());
        add(&files.dropins.len().to_le_bytes());
        files.in_order().filter_map(|at| sources.get(at)).for_each(|source| add(&source.text));
    }
    Digest(hash.finalize().into())
}
