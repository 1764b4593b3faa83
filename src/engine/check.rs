//! One pass over every probe without a daemon: `supervisord check`, for cron on a host whose daemon is down.
//!
//! Nothing is started or restarted: services belong to a daemon. Exec probes are processes, which only a keeper makes;
//! here they are unknown.

use crate::{
    base::{Severity, UnitName},
    edge::probe::Prober,
    node::input::ProbeOutcome,
    unit::{
        UnitDef,
        spec::{ProbeCheck, ProbeSpec},
    },
    wire::v1::{CheckAnswer, Probe, UnitCheck},
};

use super::config::Host;

/// Exit codes of monitoring plugins.
const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// Probes these units, or all when none is named; an error names a unit that does not exist.
pub async fn pass(host: &Host, wanted: &[UnitName]) -> Result<CheckAnswer, String> {
    if let Some(missing) = wanted.iter().find(|name| !host.units.contains_key(name)) {
        return Err(format!("there is no unit {missing}"));
    }
    let prober = Prober::default();
    let mut checks = Vec::new();
    for (name, def) in host.units.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)) {
        checks.push(check_unit(&prober, name, def).await);
    }
    Ok(CheckAnswer { checks })
}

async fn check_unit(prober: &Prober, name: &UnitName, def: &UnitDef) -> UnitCheck {
    let (mut level, mut texts, mut probes) = (OK, Vec::new(), Vec::new());
    for spec in &def.health {
        let (found, text) = match ask(prober, spec).await {
            Some(outcome) => {
                let found = outcome.failure.as_ref().map_or(OK, |_| level_of(spec.severity));
                let text = outcome.failure.clone();
                probes.push(shown(spec, outcome));
                (found, text)
            }
            None => (UNKNOWN, Some("an exec probe needs the daemon".to_owned())),
        };
        level = worse(level, found);
        texts.extend(text.map(|text| format!("{}: {text}", spec.name)));
    }
    let message = if def.health.is_empty() {
        level = UNKNOWN;
        "no daemon, and no probes to ask instead".to_owned()
    } else if texts.is_empty() {
        format!("no daemon; {} probes pass", probes.len())
    } else {
        format!("no daemon; {}", texts.join(", "))
    };
    UnitCheck { unit: name.to_string(), level, message, probes, action: None }
}

async fn ask(prober: &Prober, spec: &ProbeSpec) -> Option<ProbeOutcome> {
    match &spec.check {
        ProbeCheck::Http(http) => Some(prober.http(http, spec.timeout).await),
        ProbeCheck::Tcp(address) => Some(prober.tcp(address, spec.timeout).await),
        ProbeCheck::Exec(_) => None,
    }
}

fn shown(spec: &ProbeSpec, outcome: ProbeOutcome) -> Probe {
    Probe {
        name: spec.name.to_string(),
        verdict: if outcome.failure.is_some() { "unhealthy" } else { "healthy" }.to_owned(),
        failure: outcome.failure,
        took_us: u64::try_from(outcome.took.as_micros()).ok(),
    }
}

const fn level_of(severity: Severity) -> u8 {
    match severity {
        Severity::Info | Severity::Warning => WARNING,
        Severity::Critical | Severity::Bug => CRITICAL,
    }
}

/// CRITICAL is worst, then WARNING, then UNKNOWN.
fn worse(one: u8, other: u8) -> u8 {
    let rank = |level| [OK, UNKNOWN, WARNING, CRITICAL].iter().position(|known| *known == level);
    if rank(other) > rank(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_is_worse_than_warning_and_that_than_unknown() {
        assert_eq!([WARNING, UNKNOWN, CRITICAL, OK].into_iter().fold(OK, worse), CRITICAL);
        assert_eq!(worse(UNKNOWN, WARNING), WARNING);
        assert_eq!(worse(UNKNOWN, OK), UNKNOWN);
    }
}
