//! What units mean to each other: names that must exist, orders that must not run in a circle, addresses that two cannot
//! have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    diag::{Place, Report},
    draft::{Relation, RelationKind},
    graph, probe_order,
    set::{Install, Read},
    similar::did_you_mean,
    spec::SocketSpec,
};
use crate::base::UnitName;

pub(super) type All = BTreeMap<UnitName, Read>;

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
    timers(units, report);
    cycles(units, report);
    probe_order::check(units, report);
    addresses(units, report);
}

/// Lets units be wanted and required by those that their own files name, and says whether they start with the daemon.
///
/// Names of the host's own targets, such as `multi-user.target`, mean the daemon's start.
pub(super) fn install(units: &mut All, report: &mut Report<'_>) {
    let mut links: Vec<(UnitName, RelationKind, UnitName, Place)> = Vec::new();
    for (name, unit) in units.iter() {
        let wants = unit.install.wanted_by.iter().map(|(by, place)| (by, RelationKind::Wants, *place));
        let requires = unit.install.required_by.iter().map(|(by, place)| (by, RelationKind::Requires, *place));
        links.extend(wants.chain(requires).map(|(by, kind, place)| (by.clone(), kind, name.clone(), place)));
    }
    for (by, kind, name, place) in &links {
        match units.get_mut(by) {
            Some(unit) => unit.link(*kind, name, *place),
            None if by.is_target() => {}
            None => {
                let message = format!("it is to be pulled in by {by}, which does not exist: no effect");
                report.warning(*place, message, None);
            }
        }
    }
    let names: BTreeSet<UnitName> = units.keys().cloned().collect();
    for unit in units.values_mut() {
        let Install { wanted_by, required_by, enabled } = &unit.install;
        let pulled_in = wanted_by.iter().chain(required_by).any(|(by, _)| names.contains(by));
        let with_daemon = wanted_by.iter().chain(required_by).any(|(by, _)| by.is_target() && !names.contains(by));
        Arc::make_mut(&mut unit.def).enabled = enabled.unwrap_or(with_daemon || !pulled_in);
    }
    // A target is reached when what it pulls in is up (systemd.target(5)).
    let targets: Vec<UnitName> = names.iter().filter(|name| name.is_target()).cloned().collect();
    for target in targets {
        let Some(unit) = units.get(&target) else { continue };
        let pulls = |kind| matches!(kind, RelationKind::Wants | RelationKind::Requires | RelationKind::BindsTo);
        let pulled: Vec<(UnitName, Place)> = unit
            .relations
            .iter()
            .filter(|relation| pulls(relation.kind) && names.contains(&relation.name))
            .map(|relation| (relation.name.clone(), relation.place))
            .collect();
        for (name, place) in pulled {
            let comes_after = |of: Option<&Read>, kind, other: &UnitName| {
                of.is_some_and(|of| of.relations.iter().any(|it| it.kind == kind && it.name == *other))
            };
            let ordered = comes_after(units.get(&name), RelationKind::After, &target)
                || comes_after(units.get(&target), RelationKind::Before, &name);
            if let (false, Some(unit)) = (ordered, units.get_mut(&target)) {
                unit.link(RelationKind::After, &name, place);
            }
        }
    }
}

impl Read {
    fn link(&mut self, kind: RelationKind, other: &UnitName, place: Place) {
        if self.relations.iter().any(|it| it.kind == kind && it.name == *other) {
            return;
        }
        self.relations.push(Relation { kind, name: other.clone(), place });
        let relations = &mut *Arc::make_mut(&mut self.def).relations;
        let list = match kind {
            RelationKind::Wants => &mut relations.wants,
            RelationKind::Requires => &mut relations.requires,
            RelationKind::After => &mut relations.after,
            RelationKind::BindsTo
            | RelationKind::PartOf
            | RelationKind::Conflicts
            | RelationKind::AfterHealthy
            | RelationKind::Before
            | RelationKind::OnFailure
            | RelationKind::OnSuccess => return,
        };
        *list = list.iter().cloned().chain([other.clone()]).collect();
    }
}

fn missing(relation: &Relation, help: Option<String>, report: &mut Report<'_>) {
    let Relation { kind, name, place } = relation;
    match kind {
        RelationKind::Requires | RelationKind::BindsTo | RelationKind::OnFailure | RelationKind::OnSuccess => {
            let help = help.or_else(|| {
                (foreign(name) || name.is_target())
                    .then(|| "only services are units here: use \"after\" or remove it".into())
            });
            report.error(*place, format!("{:?} names {name}, which does not exist", kind.as_str()), help);
        }
        RelationKind::After
        | RelationKind::AfterHealthy
        | RelationKind::Before
        | RelationKind::Wants
        | RelationKind::Conflicts
        | RelationKind::PartOf => {
            // Of a target or socket everyone knows that it is the host's.
            if !foreign(name) && !name.is_target() {
                report.warning(
                    *place,
                    format!("{:?} names {name}, which does not exist: no effect", kind.as_str()),
                    help,
                );
            }
        }
    }
}

/// A timer starts a unit that there is.
fn timers(units: &All, report: &mut Report<'_>) {
    for unit in units.values() {
        let named = unit.def.timer.as_ref().and_then(|timer| timer.unit.as_ref()).zip(unit.timer_unit);
        let Some((target, place)) = named.filter(|(target, _)| !units.contains_key(*target)) else { continue };
        let help = did_you_mean(target.as_str(), units.keys().map(UnitName::as_str));
        report.error(place, format!("\"unit\" names {target}, which does not exist"), help);
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
    let mut taken: BTreeMap<String, Vec<(&UnitName, &SocketSpec, Place)>> = BTreeMap::new();
    for (name, unit) in units {
        for (socket, place) in unit.def.sockets.list.iter().zip(&unit.sockets) {
            let listen = &socket.listen;
            let key = listen.inet().map_or_else(|| listen.to_string(), |(_, address)| address.port().to_string());
            let others = taken.entry(key).or_default();
            if let Some((other, first, at)) = others.iter().find(|(_, other, _)| overlap(other, socket)) {
                let message = format!("{name} listens on {listen}, which {other} has taken ({})", first.listen);
                report.error(*place, message, Some(format!("the other is at {}", report.show(*at))));
            } else {
                others.push((name, socket, *place));
            }
        }
    }
}

fn overlap(a: &SocketSpec, b: &SocketSpec) -> bool {
    let (Some((a_kind, a_inet)), Some((b_kind, b_inet))) = (a.listen.inet(), b.listen.inet()) else {
        // Of files the kind does not matter: each has its path alone.
        return a.listen.path().is_some_and(|path| b.listen.path() == Some(path)) || a.listen == b.listen;
    };
    let same_family = a_inet.is_ipv4() == b_inet.is_ipv4();
    let meets =
        a_inet.ip() == b_inet.ip() || (same_family && (a_inet.ip().is_unspecified() || b_inet.ip().is_unspecified()));
    let shared = a.options.reuse_port && b.options.reuse_port;
    a_kind == b_kind && a_inet.port() == b_inet.port() && meets && !shared
}
