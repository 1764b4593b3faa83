//! Processes of services, and whether somebody supervises them. A process is of a run of ours if its environment names one that
//! the database knows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, report::Report};
use crate::{
    base::{InvocationId, Pid},
    edge::{
        proctree,
        store::{self, KnownRun},
    },
};

const TOPIC: &str = "processes";

/// The daemon's processes and those of runs that it knows to live.
pub(super) fn ours(case: &Case) -> BTreeSet<Pid> {
    let Some(keeper) = case.keeper else { return BTreeSet::new() };
    let known = runs(case).into_iter().filter(|(_, run)| !run.ended).map(|(pid, _)| pid);
    known.chain(proctree::below(keeper)).chain([keeper]).collect()
}

/// Processes of runs that the database knows.
fn runs(case: &Case) -> Vec<(Pid, KnownRun)> {
    let named = proctree::with_runs();
    let ids: BTreeSet<InvocationId> = named.iter().map(|(_, id)| *id).collect();
    let known: BTreeMap<_, _> = store::examine(&case.database(), &ids).map(|seen| seen.runs).unwrap_or_default();
    named.into_iter().filter_map(|(pid, id)| Some((pid, known.get(&id)?.clone()))).collect()
}

pub(super) fn look(case: &Case, report: &mut Report) {
    let below: BTreeSet<Pid> = case.keeper.map(proctree::below).into_iter().flatten().collect();
    let mut orphans: BTreeMap<(String, bool), Vec<Pid>> = BTreeMap::new();
    for (pid, run) in runs(case) {
        let is_known = case.keeper.is_some() && !run.ended;
        if !is_known && !below.contains(&pid) {
            orphans.entry((run.unit, run.ended)).or_default().push(pid);
        }
    }
    if orphans.is_empty() {
        report.ok(TOPIC, "services", "none runs without a supervisor");
    }
    for ((unit, ended), pids) in orphans {
        let names = pids.iter().map(|pid| format!("{pid} ({})", proctree::name(*pid).unwrap_or_default()));
        let names = names.collect::<Vec<_>>().join(", ");
        let pids = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if ended {
            let message = format!("left behind by a run that is over: pid {names}");
            report.warn(TOPIC, unit, message, format!("end them: kill {pids}"));
        } else {
            let message = format!("runs and nobody supervises it: pid {names}");
            let remedy = format!("start supervisord, which takes it over; or end it: kill {pids}");
            report.warn(TOPIC, unit, message, remedy);
        }
    }
}
