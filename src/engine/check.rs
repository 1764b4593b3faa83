//! One pass over every probe without a daemon: `supervisord check`, for cron on a host whose daemon is down.
//!
//! Nothing is started or restarted: services belong to a daemon. Exec probes are processes, which only a keeper makes;
//! here they are unknown.

use crate::{
    base::{Severity, UnitName},
    edge::probe::Prober,
    node::{
        input::{Finding, ProbeOutcome},
        status::Verdict,
    },
    unit::{UnitDef, spec::ProbeSpec},
    wire::v1::{CheckAnswer, Probe, UnitCheck},
};

use super::config::Host;

/// Exit codes of monitoring plugins.
pub const OK: u8 = 0;
/// It does its work, but not for ever.
pub const WARNING: u8 = 1;
/// It does not do its work.
pub const CRITICAL: u8 = 2;
/// Nobody knows.
pub const UNKNOWN: u8 = 3;

/// What a finding of a probe with this severity amounts to.
pub const fn level(finding: &Finding, severity: Severity) -> u8 {
    match (finding, severity) {
        (Finding::Good, _) => OK,
        (Finding::Degraded(_), _) | (Finding::Bad(_), Severity::Info | Severity::Warning) => WARNING,
        (Finding::Bad(_), Severity::Critical | Severity::Bug) => CRITICAL,
        (Finding::Unasked(_), _) => UNKNOWN,
    }
}

/// That all of so many do.
pub fn passing(probes: usize) -> String {
    if probes == 1 { "1 probe passes".to_owned() } else { format!("{probes} probes pass") }
}

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
        let outcome = prober.ask(&spec.check, None, spec.timeout).await;
        level = worse(level, self::level(&outcome.finding, spec.severity));
        texts.extend(outcome.finding.reason().map(|reason| format!("{}: {reason}", spec.name)));
        probes.push(shown(spec, &outcome));
    }
    let message = if def.health.is_empty() {
        level = UNKNOWN;
        "no daemon, and no probes to ask instead".to_owned()
    } else if texts.is_empty() {
        format!("no daemon; {}", passing(probes.len()))
    } else {
        format!("no daemon; {}", texts.join(", "))
    };
    UnitCheck { unit: name.to_string(), level, message, probes, action: None }
}

fn shown(spec: &ProbeSpec, outcome: &ProbeOutcome) -> Probe {
    let verdict = match outcome.finding {
        Finding::Good => Verdict::Healthy,
        Finding::Degraded(_) => Verdict::Degraded,
        Finding::Bad(_) => Verdict::Unhealthy,
        Finding::Unasked(_) => Verdict::Unknown,
    };
    Probe {
        name: spec.name.to_string(),
        verdict: verdict.as_str().to_owned(),
        failure: outcome.finding.reason().map(str::to_owned),
        took_us: u64::try_from(outcome.took.as_micros()).ok(),
    }
}

/// CRITICAL is worst, then WARNING, then UNKNOWN.
pub fn worse(one: u8, other: u8) -> u8 {
    let rank = |level| [OK, UNKNOWN, WARNING, CRITICAL].iter().position(|known| *known == level);
    if rank(other) > rank(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_is_no_plural() {
        assert_eq!([1, 2].map(passing), ["1 probe passes", "2 probes pass"]);
    }

    #[test]
    fn critical_is_worse_than_warning_and_that_than_unknown() {
        assert_eq!([WARNING, UNKNOWN, CRITICAL, OK].into_iter().fold(OK, worse), CRITICAL);
        assert_eq!(worse(UNKNOWN, WARNING), WARNING);
        assert_eq!(worse(UNKNOWN, OK), UNKNOWN);
    }
}
