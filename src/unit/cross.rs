//! What units mean to each other: names that must exist, orders that must not run in a circle, addresses that two cannot
//! have.

use std::collections::BTreeMap;

use super::{
    diag::{Place, Report},
    draft::{Relation, RelationKind},
    graph,
    set::Read,
    similar::did_you_mean,
    spec::Listen,
};
use crate::base::UnitName;

type All = BTreeMap<UnitName, Read>;

/// How many missing names are compared with all names there are: each comparison of a large set takes milliseconds.
const SEARCHES_MAX: usize = 50;

pub(super) fn check(units: &All, report: &mut Report<'_>) {
    let mut hints: BTreeMap<&UnitName, Option<String>> = BTreeMap::new();
    for relation in units.values().flat_map(|unit| &unit.relations) {
        if units.contains_key(&relation.name) {
            continue;
        }
        if !hints.contains_key(&relation.name) && hints.len() < SEARCHES_MAX {
            let names = units.keys().map(UnitName::as_str);
            hints.insert(&relation.name, did_you_mean(relation.name.as_str(), names));
        }
        missing(relation, hints.get(&relation.name).cloned().flatten(), report);
    }
    cycles(units, report);
    addresses(units, report);
}

fn missing(relation: &Relation, help: Option<String>, report: &mut Report<'_>) {
    let Relation { kind, name, place } = relation;
    match kind {
        RelationKind::Requires | RelationKind::BindsTo | RelationKind::OnFailure | RelationKind::OnSuccess => {
            let help = help
                .or_else(|| foreign(name).then(|| "only services are units here: use \"after\" or remove it".into()));
            report.error(*place, format!("{:?} names {name}, which does not exist", kind.as_str()), help);
        }
        RelationKind::After
        | RelationKind::Before
        | RelationKind::Wants
        | RelationKind::Conflicts
        | RelationKind::PartOf => {
            // Of a target or socket everyone knows that it is the host's.
            if !foreign(name) {
                report.warning(
                    *place,
                    format!("{:?} names {name}, which does not exist: no effect", kind.as_str()),
                    help,
                );
            }
        }
    }
}

/// Whether a name is one of the host's own kinds of unit.
fn foreign(name: &UnitName) -> bool {
    super::source::FOREIGN_KINDS.iter().any(|kind| name.as_str().ends_with(kind))
}

/// How many units of a circle are shown.
const CIRCLE_UNITS_SHOWN_MAX: usize = 20;

fn cycles(units: &All, report: &mut Report<'_>) {
    for cycle in graph::cycles_of(units.iter().map(|(name, unit)| (name, &*unit.def.relations))) {
        let Some(first) = cycle.first() else { continue };
        let nexts = cycle.iter().skip(1).chain([first]);
        let steps = cycle.iter().zip(nexts).take(CIRCLE_UNITS_SHOWN_MAX);
        let steps: Vec<(&UnitName, &UnitName, Place)> =
            steps.filter_map(|(unit, next)| Some((unit, next, ordered_at(units, unit, next)?))).collect();
        let Some((_, _, place)) = steps.first() else { continue };
        let mut names: Vec<&str> = cycle.iter().take(CIRCLE_UNITS_SHOWN_MAX).map(UnitName::as_str).collect();
        let left_out = cycle.len() - names.len();
        let more = format!("({left_out} more)");
        if left_out > 0 {
            names.push(&more);
        }
        names.push(first.as_str());
        let shown = |(unit, next, place): &(&UnitName, &UnitName, Place)| {
            format!("{unit} is after {next} ({})", report.show(*place))
        };
        let help = steps.iter().map(shown).collect::<Vec<_>>().join("; ");
        let message = format!("the units wait for each other in a circle: {}", names.join(" -> "));
        report.error(*place, message, Some(help));
    }
}

/// Where it is written that `unit` starts after `next`.
fn ordered_at(units: &All, unit: &UnitName, next: &UnitName) -> Option<Place> {
    let find = |of: &UnitName, kind: RelationKind, other: &UnitName| {
        let of = units.get(of)?;
        of.relations.iter().find(|relation| relation.kind == kind && relation.name == *other).map(|found| found.place)
    };
    find(unit, RelationKind::After, next).or_else(|| find(next, RelationKind::Before, unit))
}

/// Two sockets on one address cannot both be bound. Reported where the second stands.
fn addresses(units: &All, report: &mut Report<'_>) {
    // By port or path, so that large sets do not compare every pair.
    let mut taken: BTreeMap<String, Vec<(&UnitName, &Listen, Place)>> = BTreeMap::new();
    for (name, unit) in units {
        for (socket, place) in unit.def.sockets.iter().zip(&unit.sockets) {
            let key = match &socket.listen {
                Listen::Tcp(address) => address.port().to_string(),
                Listen::Unix(path) => path.display().to_string(),
            };
            let others = taken.entry(key).or_default();
            if let Some((other, listen, at)) = others.iter().find(|(_, listen, _)| overlap(listen, &socket.listen)) {
                let message =
                    format!("{name} listens on {}, which {other} has taken ({})", show(&socket.listen), show(listen));
                report.error(*place, message, Some(format!("the other is at {}", report.show(*at))));
            } else {
                others.push((name, &socket.listen, *place));
            }
        }
    }
}

fn overlap(a: &Listen, b: &Listen) -> bool {
    match (a, b) {
        (Listen::Tcp(a), Listen::Tcp(b)) => {
            let same_family = a.is_ipv4() == b.is_ipv4();
            a.port() == b.port()
                && (a.ip() == b.ip() || (same_family && (a.ip().is_unspecified() || b.ip().is_unspecified())))
        }
        (Listen::Unix(a), Listen::Unix(b)) => a == b,
        (Listen::Tcp(_), Listen::Unix(_)) | (Listen::Unix(_), Listen::Tcp(_)) => false,
    }
}

fn show(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => path.display().to_string(),
    }
}
