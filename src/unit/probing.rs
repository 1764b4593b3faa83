//! The last look at one probe: what its values mean together.

use super::{
    check::Clean,
    diag::Report,
    draft::{CheckDraft, ProbeDraft},
    listening::At,
    requests,
    spec::{Accept, OnUnhealthy, Output, ProbeCheck, ProbeSpec, UnitDef},
};
use crate::base::{Severity, TimeSpan};

/// Most answers of a probe that are remembered.
const WINDOW_MAX: u32 = 64;
/// Bad answers in a row that make a probe unhealthy unless the unit says otherwise.
const UNHEALTHY_AFTER: u32 = 3;

/// The probe of a draft, with whatever is wrong with it reported.
pub(super) fn finish(draft: ProbeDraft, clean: Clean, report: &mut Report<'_>) -> Option<ProbeSpec> {
    spans(&draft, clean, report);
    // A line is written once.
    let usual = if matches!(draft.check, Some(CheckDraft::Ready(ProbeCheck::Log(_)))) { 1 } else { UNHEALTHY_AFTER };
    let unhealthy_after = draft.unhealthy_after.unwrap_or(usual);
    let window = draft.unhealthy_window.unwrap_or(unhealthy_after);
    if !(unhealthy_after..=WINDOW_MAX).contains(&window) {
        let message = format!(
            "of the probe {:?}, unhealthy_after is at most unhealthy_window, and that at most {WINDOW_MAX}",
            draft.name
        );
        let key = if draft.unhealthy_window.is_some() { "unhealthy_window" } else { "unhealthy_after" };
        report.error(draft.at(key), message, None);
    }
    let ProbeDraft { name, place, check, interval, timeout, initial_delay, .. } = draft;
    let Some(check) = check else {
        if clean == Clean::Yes {
            let help = Some(
                "give one of http, tcp, exec, plugin, systemd, disk, certificate, redis, file, log, memory, cpu"
                    .to_owned(),
            );
            report.error(place, format!("the probe {name:?} asks nothing"), help);
        }
        return None;
    };
    let of_the_host = matches!(&check, CheckDraft::Ready(check) if !check.is_of_the_unit());
    let usual = if of_the_host { OnUnhealthy::Alert } else { OnUnhealthy::Restart };
    let on_unhealthy = draft.on_unhealthy.unwrap_or(usual);
    // What was short has been told as a warning; bad is that it is gone.
    let can_be_short = matches!(check, CheckDraft::Ready(ProbeCheck::Disk(_) | ProbeCheck::Certificate(_)));
    let severity = draft.severity.unwrap_or(match on_unhealthy {
        OnUnhealthy::Restart => Severity::Critical,
        OnUnhealthy::Alert if can_be_short => Severity::Critical,
        OnUnhealthy::Reload | OnUnhealthy::Alert => Severity::Warning,
        OnUnhealthy::None => Severity::Info,
    });
    let check = match check {
        CheckDraft::Ready(check) => check,
        CheckDraft::Http(steps) => requests::finish(steps, &name, clean, report)?,
    };
    Some(ProbeSpec {
        name,
        check: Box::new(check),
        interval,
        timeout,
        initial_delay,
        startup_grace: draft.startup_grace,
        jitter: draft.jitter,
        backoff_max: draft.backoff_max,
        unhealthy_after,
        unhealthy_window: window,
        healthy_after: draft.healthy_after,
        depends_on: draft.depends_on.into_iter().map(|(of, _)| of).collect(),
        on_unhealthy,
        severity,
    })
}

/// Spans that cannot be, each at its key.
fn spans(draft: &ProbeDraft, clean: Clean, report: &mut Report<'_>) {
    let ProbeDraft { name, interval, timeout, .. } = draft;
    let can_be = |span: &TimeSpan| !span.is_zero() && *span != TimeSpan::INFINITY;
    for (key, span) in [("interval", interval), ("timeout", timeout)] {
        if !can_be(span) {
            report.error(draft.at(key), format!("the {key} of the probe {name:?} must be above zero and finite"), None);
        }
    }
    if can_be(interval) && can_be(timeout) && timeout > interval {
        let message = format!("the timeout of the probe {name:?} ({timeout}) is longer than its interval ({interval})");
        let given = draft.keys.iter().any(|(key, _)| *key == "timeout");
        report.warning(draft.at(if given { "timeout" } else { "interval" }), message, None);
    }
    if draft.initial_delay == TimeSpan::INFINITY {
        report.error(
            draft.at("initial_delay"),
            format!("the initial delay of the probe {name:?} must be finite"),
            None,
        );
    }
    for (key, span) in [("startup_grace", draft.startup_grace), ("jitter", draft.jitter)] {
        if span.micros().is_none() && draft.check.is_some() && clean == Clean::Yes {
            let help = Some(format!("{key} = \"30s\", for example"));
            let message = format!("{key} of the probe {name:?} is infinite: it would never say anything");
            report.error(draft.at(key), message, help);
        }
    }
}

/// Probes that read output which is not captured, or not as the unit's own.
pub(super) fn check_output(unit: &UnitDef, at: At<'_>, report: &mut Report<'_>) {
    let is_read = |probe: &&ProbeSpec| matches!(*probe.check, ProbeCheck::Log(_));
    let Some(probe) = unit.health.iter().find(is_read) else { return };
    let exec = &unit.service.exec;
    let is_captured = exec.stdout == Output::Log || exec.stderr == Some(Output::Log);
    let (why, help) = if unit.sockets.accept != Accept::Service {
        ("those who serve a connection have one log between them", "ask in another way: http, exec or a plugin")
    } else if !is_captured {
        ("nothing that the unit writes is captured", "set standard_output or standard_error to \"journal\"")
    } else {
        return;
    };
    let place = at.places.find("health", "log").unwrap_or(at.begin);
    report.error(place, format!("the probe {:?} has nothing to read: {why}", probe.name), Some(help.to_owned()));
}
