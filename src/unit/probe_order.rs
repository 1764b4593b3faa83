//! Probes that depend on others: those must exist, and none may depend on itself, by whatever way.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    cross::All,
    diag::{Place, Report},
    similar::did_you_mean,
    spec::ProbeName,
};
use crate::base::UnitName;

/// The longest way from a probe to the last that it hangs on.
const WAY_MAX: usize = 32;

/// Each probe that depends on others, and where it says so.
type Edges = BTreeMap<ProbeName, Vec<(ProbeName, Place)>>;

pub(super) fn check(units: &All, report: &mut Report<'_>) {
    let mut edges = Edges::new();
    for (name, unit) in units {
        let mut places = unit.depends_on.iter().copied();
        for probe in &unit.def.health {
            for on in &probe.depends_on {
                let place = places.next().unwrap_or_default();
                if is_there(units, on, place, report) {
                    let of = ProbeName { unit: name.clone(), probe: probe.name.clone() };
                    edges.entry(of).or_default().push((on.clone(), place));
                }
            }
        }
    }
    let mut done = BTreeSet::new();
    for probe in edges.keys() {
        let mut way = Vec::new();
        circle(&edges, probe, &mut way, &mut done, report);
    }
}

fn is_there(units: &All, on: &ProbeName, place: Place, report: &mut Report<'_>) -> bool {
    let Some(unit) = units.get(&on.unit) else {
        let help = did_you_mean(on.unit.as_str(), units.keys().map(UnitName::as_str));
        report.error(place, format!("\"depends_on\" names {}, which does not exist", on.unit), help);
        return false;
    };
    let probes = || unit.def.health.iter().map(|probe| &*probe.name);
    let found = probes().any(|name| *name == *on.probe);
    if !found {
        let help = did_you_mean(&on.probe, probes());
        report.error(place, format!("\"depends_on\" names {on}, and {} has no such probe", on.unit), help);
    }
    found
}

/// Follows what `probe` depends on. A circle is told once, where the way came back to itself.
fn circle(
    edges: &Edges,
    probe: &ProbeName,
    way: &mut Vec<ProbeName>,
    done: &mut BTreeSet<ProbeName>,
    report: &mut Report<'_>,
) {
    if done.contains(probe) {
        return;
    }
    way.push(probe.clone());
    for (on, place) in edges.get(probe).into_iter().flatten() {
        match way.iter().position(|passed| passed == on) {
            Some(at) => {
                let names: Vec<String> = way.iter().skip(at).chain([on]).map(ToString::to_string).collect();
                let message = format!("the probes depend on each other in a circle: {}", names.join(" -> "));
                report.error(*place, message, Some("let the last of them depend on nothing".to_owned()));
            }
            None if way.len() == WAY_MAX => {
                report.error(*place, format!("the probe hangs on a chain of more than {WAY_MAX} others"), None);
            }
            None => circle(edges, on, way, done, report),
        }
    }
    way.pop();
    done.insert(probe.clone());
}
