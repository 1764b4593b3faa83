//! `/health`, `/healthz`, `/readyz`: whether all is well here, whether the engine answers, whether it may be given work.
//!
//! Unhealthy is what someone must act on: whatever is critical by its rule or its probe. All else that is not well is degraded.
//! What a probe only shows is neither.

use std::{collections::BTreeMap, path::Path};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::StatusCode;

use super::{problem::Failure, view};
use crate::{
    alert::{Incident, Subject},
    base::{ByteSize, Severity},
    edge::disk,
    engine::{Handle, UnitState, settings::Settings},
    node::status::{Active, NotKnown, Verdict},
    wire::v1,
};

/// One thing that is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    severity: Severity,
    text: String,
}

/// Whether all is well here: 200, or 503 with the reasons.
pub(super) async fn health(State(handle): State<Handle>) -> Result<Response, Failure> {
    let states = handle.states().await?;
    let open: Vec<Incident> = handle.alert_list().await?.open.into_iter().map(|(incident, _)| incident).collect();
    let mut reasons = of_units(&states, &open);
    reasons.extend(of_the_daemon(&open, &handle));
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = word(&reasons).to_owned();
    let reasons = reasons.into_iter().map(|reason| reason.text).collect();
    Ok((code, Json(v1::Health { status, ready: true, reasons })).into_response())
}

/// The engine answers.
pub(super) async fn alive(State(handle): State<Handle>) -> Result<&'static str, Failure> {
    handle.states().await?;
    Ok("alive\n")
}

/// It may be given work.
pub(super) async fn ready(State(handle): State<Handle>) -> Result<&'static str, Failure> {
    handle.states().await?;
    Ok("ready\n")
}

fn word(reasons: &[Reason]) -> &'static str {
    match reasons.iter().map(|reason| reason.severity).max() {
        None => "healthy",
        Some(Severity::Info | Severity::Warning) => "degraded",
        Some(Severity::Critical | Severity::Bug) => "unhealthy",
    }
}

/// Units that are failed or unhealthy, as severe as the rules make it, those of which nothing is known, and those of which a
/// critical incident is open.
fn of_units(states: &[UnitState], open: &[Incident]) -> Vec<Reason> {
    let incidents: BTreeMap<&Subject, &Incident> = open.iter().map(|incident| (&incident.subject, incident)).collect();
    let mut reasons = Vec::new();
    for state in states {
        let name = &state.status.name;
        let incident = incidents.get(&Subject::Unit(name.clone()));
        if let Some(NotKnown::CannotTell(why)) = &state.status.not_known {
            reasons.push(Reason { severity: Severity::Warning, text: format!("{name}: {why}") });
        }
        if let Some(own) = own_severity(state) {
            let severity = incident.map_or(own, |incident| incident.severity);
            reasons.push(Reason { severity, text: format!("{name}: {}", view::cause(state)) });
        } else if let Some(incident) = incident.filter(|incident| incident.severity >= Severity::Critical) {
            let lasts = match state.status.active {
                Active::Active | Active::Reloading => "; it is up again, but not for long enough yet",
                Active::Activating | Active::Deactivating | Active::Inactive | Active::Failed => "",
            };
            reasons.push(Reason { severity: incident.severity, text: format!("{}{lasts}", incident.text) });
        }
    }
    let probes = open.iter().filter(|incident| matches!(incident.subject, Subject::Probe(..)));
    reasons.extend(probes.filter_map(critical));
    reasons
}

fn critical(incident: &Incident) -> Option<Reason> {
    let Incident { severity, text, .. } = incident;
    (*severity >= Severity::Critical).then(|| Reason { severity: *severity, text: text.clone() })
}

/// How much it matters that a unit is as it is; `None` where it is well.
fn own_severity(state: &UnitState) -> Option<Severity> {
    if state.status.active == Active::Failed {
        return Some(Severity::Critical);
    }
    let spec = |name: &str| state.def.health.iter().find(|spec| *spec.name == *name);
    let fallen = state.status.health.iter().filter(|probe| probe.verdict == Verdict::Unhealthy);
    let severity = fallen.filter_map(|probe| spec(&probe.name)).map(|spec| spec.severity).max();
    severity.filter(|severity| *severity != Severity::Info)
}

/// Our own files, database, settings, and routes.
fn of_the_daemon(open: &[Incident], handle: &Handle) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = disk_trouble(handle.settings()).into_iter().collect();
    let store = handle.counters().store_trouble;
    // Of disk and store is told what is so now.
    let others = open.iter().filter(|incident| matches!(incident.subject, Subject::Config | Subject::Logs));
    reasons.extend(others.filter_map(critical));
    let by_rule = open.iter().find(|incident| incident.subject == Subject::Store).map(|incident| incident.severity);
    let severity = by_rule.unwrap_or(Severity::Critical);
    reasons.extend(store.map(|reason| Reason { severity, text: format!("store: {reason}") }));
    reasons.extend(handle.deliveries().refusing().into_iter().map(|(route, reason)| Reason {
        severity: Severity::Warning,
        text: format!("alert route {route} refuses alerts: {reason}"),
    }));
    reasons
}

/// `[disk] min_free_bytes`: below it we are degraded, below a quarter of it unhealthy.
fn disk_trouble(settings: &Settings) -> Option<Reason> {
    let state = &settings.paths.state;
    shortage(state, disk::free(state)?, settings.disk_min_free)
}

fn shortage(state: &Path, free: ByteSize, wanted: ByteSize) -> Option<Reason> {
    let severity = match free.0 {
        free if free >= wanted.0 => return None,
        free if disk::is_bad(free, wanted.0) => Severity::Critical,
        _ => Severity::Warning,
    };
    let (free, wanted) = (free.rounded(), wanted.rounded());
    Some(Reason { severity, text: format!("{}: {free} free, {wanted} wanted", state.display()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_lacks_is_said_as_people_count_it() {
        let said = shortage(Path::new("/x"), ByteSize(40_099_028 << 10), ByteSize(100 << 30)).unwrap();
        assert_eq!((said.severity, &*said.text), (Severity::Warning, "/x: 38.2G free, 100G wanted"));
        assert_eq!(shortage(Path::new("/x"), ByteSize(2), ByteSize(2)), None);
    }
}
