//! `POST /v1/check`: every probe once, now; what is unhealthy or down is restarted if asked, and if that can help. Made for cron.

use axum::{Json, extract::State};

use super::{
    problem::Failure,
    units::{find, name_of},
    view,
};
use crate::{
    base::{Actor, RunResult, UnitName},
    engine::{
        Handle, UnitState,
        check::{self, CRITICAL, OK, UNKNOWN, WARNING, passing},
    },
    node::{
        effect::{Outcome, ProbeReport},
        input::{Finding, Verb},
        status::{Active, Sub},
    },
    unit::spec::{OnUnhealthy, ProbeSpec},
    wire::v1,
};

pub(super) async fn pass(
    State(handle): State<Handle>,
    Json(asked): Json<v1::Check>,
) -> Result<Json<v1::CheckAnswer>, Failure> {
    let states = handle.states().await?;
    let wanted: Vec<UnitName> = match asked.units.is_empty() {
        true => states.iter().map(|state| state.status.name.clone()).collect(),
        false => asked.units.iter().map(|text| name_of(text)).collect::<Result<_, _>>()?,
    };
    for name in &wanted {
        find(&states, name)?;
    }
    let reports = handle.probe_now(wanted).await?;
    // The probes took time; what they found belongs to the state of now.
    let states = handle.states().await?;
    let mut checks = Vec::with_capacity(reports.len());
    for (name, outcome) in &reports {
        let Ok(state) = find(&states, name) else { continue };
        let mut found = judge(state, outcome);
        if state.status.maintained {
            found.action = Some("in maintenance, left alone".to_owned());
        } else if let Some(held) = state.status.held_back.filter(|_| asked.restart) {
            found.action = Some(format!("left alone: {}", held.as_str()));
        } else if asked.restart && should_restart(state, found.level, reports_of(outcome)) {
            let outcomes = match unwell(state, reports_of(outcome)) {
                Some(report) => {
                    let said = report.finding.reason().unwrap_or_default();
                    let reason = format!("{}: {said}", Actor::CHECK);
                    handle.restart_unwell(name.clone(), report.name.clone(), reason).await?
                }
                None => handle.order(Actor::CHECK, vec![name.clone()], Verb::Restart).await?,
            };
            found.action = outcomes.first().map(|(unit, outcome)| match outcome {
                // It came up, and may be down again by now.
                Outcome::Done => "restarted; whether that helped, the next check tells".to_owned(),
                Outcome::Already
                | Outcome::Skipped
                | Outcome::Cleared { .. }
                | Outcome::Checked(_)
                | Outcome::Failed(_) => view::outcome("restart", unit, outcome).message,
            });
        }
        checks.push(found);
    }
    Ok(Json(v1::CheckAnswer { checks }))
}

/// What is down on purpose stays down, and what hit its start limit waits for a person.
fn should_restart(state: &UnitState, level: u8, reports: &[ProbeReport]) -> bool {
    let status = &state.status;
    let settled = matches!(status.active, Active::Active | Active::Failed);
    level == CRITICAL
        && settled
        && (status.active == Active::Failed || unwell(state, reports).is_some())
        && (status.wanted || status.active == Active::Failed)
        && !matches!(status.result, RunResult::StartLimitHit | RunResult::TriggerLimitHit)
}

/// The first probe of a unit that is up whose finding a restart can help.
fn unwell<'r>(state: &UnitState, reports: &'r [ProbeReport]) -> Option<&'r ProbeReport> {
    let helps = |report: &&ProbeReport| {
        spec_of(state, report).is_some_and(|spec| {
            level_of(report, spec) == CRITICAL
                && (spec.check.is_of_the_unit() || spec.on_unhealthy == OnUnhealthy::Restart)
        })
    };
    reports.iter().find(helps)
}

fn reports_of(outcome: &Outcome) -> &[ProbeReport] {
    match outcome {
        Outcome::Checked(reports) => reports,
        Outcome::Done | Outcome::Already | Outcome::Skipped | Outcome::Cleared { .. } | Outcome::Failed(_) => &[],
    }
}

/// One that comes before the unit is there says nothing against it.
const fn level_of(report: &ProbeReport, spec: &ProbeSpec) -> u8 {
    if report.is_early { WARNING } else { check::level(&report.finding, spec.severity) }
}

fn spec_of<'s>(state: &'s UnitState, report: &ProbeReport) -> Option<&'s ProbeSpec> {
    state.def.health.iter().find(|probe| *probe.name == *report.name)
}

fn judge(state: &UnitState, outcome: &Outcome) -> v1::UnitCheck {
    let (status, reports) = (&state.status, reports_of(outcome));
    let (level, message) = match (&status.not_known, status.active) {
        (Some(not_known), _) => judge_unseen(state, reports, not_known.why()),
        (None, Active::Active) if status.sub == Sub::Listening => (OK, view::cause(state)),
        (None, Active::Active | Active::Reloading) => judge_probes(state, reports),
        (None, Active::Activating | Active::Deactivating) => (WARNING, view::cause(state)),
        (None, Active::Failed) => (CRITICAL, view::cause(state)),
        (None, Active::Inactive) if view::is_up(status, &state.def) && status.generation.0 > 0 => {
            (OK, "finished".to_owned())
        }
        (None, Active::Inactive) if status.waits_for.is_some() => (WARNING, view::cause(state)),
        (None, Active::Inactive) if status.wanted => (CRITICAL, view::cause(state)),
        (None, Active::Inactive) => (OK, "down on purpose".to_owned()),
    };
    let probes = reports.iter().map(view::report).collect();
    v1::UnitCheck { unit: status.name.to_string(), level, message, probes, action: None }
}

/// Nobody can say how it is; its probes are asked by us.
fn judge_unseen(state: &UnitState, reports: &[ProbeReport], why: &str) -> (u8, String) {
    match judge_probes(state, reports) {
        (OK, _) => (UNKNOWN, why.to_owned()),
        (level, said) => (check::worse(level, UNKNOWN), format!("{why}; {said}")),
    }
}

fn judge_probes(state: &UnitState, reports: &[ProbeReport]) -> (u8, String) {
    let short: Vec<&ProbeReport> = reports.iter().filter(|report| report.finding != Finding::Good).collect();
    if short.is_empty() {
        let what = if reports.is_empty() { "up, no probes".to_owned() } else { passing(reports.len()) };
        return (OK, what);
    }
    let levels = short.iter().map(|report| spec_of(state, report).map_or(UNKNOWN, |spec| level_of(report, spec)));
    let level = levels.reduce(check::worse).unwrap_or(UNKNOWN);
    let texts: Vec<String> = short.iter().map(|report| said(report)).collect();
    (level, texts.join(", "))
}

fn said(report: &ProbeReport) -> String {
    let why = report.finding.reason().unwrap_or_default();
    if report.is_early { format!("{}: still starting ({why})", report.name) } else { format!("{}: {why}", report.name) }
}
