//! How an end is classed and whether a restart follows: systemd's rules, checked against its own table in the tests.
//!
//! The order of the tests is systemd's, and where clones go wrong: a wanted stop, then RestartPreventExitStatus=, then
//! RestartForceExitStatus=, then Restart= (systemd.service(5)). The first of them is the caller's.

use crate::{
    base::{ExitStatus, Rng, RunResult, Signal, TimeSpan},
    unit::spec::{ExitSet, Restart, RestartPolicy, ServiceKind},
};

/// Signals whose default action is a polite end: clean for every kind but oneshot.
const POLITE: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::TERM, Signal::PIPE];

/// The class of a main process' end.
pub(super) fn main_result(status: ExitStatus, oom: bool, kind: ServiceKind, success: &ExitSet) -> RunResult {
    if oom {
        return RunResult::OomKill;
    }
    match status {
        ExitStatus::Exited(0) => RunResult::Success,
        ExitStatus::Exited(code) if success.codes.contains(&code) => RunResult::Success,
        ExitStatus::Exited(_) => RunResult::ExitCode,
        // A dump is never clean, whatever the signal.
        ExitStatus::Signaled { core: true, .. } => RunResult::CoreDump,
        ExitStatus::Signaled { signal, core: false } => {
            let polite = kind != ServiceKind::Oneshot && POLITE.contains(&signal);
            if polite || success.signals.contains(&signal) { RunResult::Success } else { RunResult::Signal }
        }
        ExitStatus::Unknown => RunResult::Unknown,
    }
}

/// The class of a command's end: only exit 0 is clean.
pub(super) const fn command_result(status: ExitStatus) -> RunResult {
    match status {
        ExitStatus::Exited(0) => RunResult::Success,
        ExitStatus::Exited(_) => RunResult::ExitCode,
        ExitStatus::Signaled { core: true, .. } => RunResult::CoreDump,
        ExitStatus::Signaled { core: false, .. } => RunResult::Signal,
        ExitStatus::Unknown => RunResult::Unknown,
    }
}

/// The class of the end of an ExecCondition= command: any code but 255 says "not now" (systemd.service(5)).
pub(super) const fn condition_result(status: ExitStatus) -> RunResult {
    match status {
        ExitStatus::Exited(1..=254) => RunResult::ExecCondition,
        ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => command_result(status),
    }
}

/// Whether `when` restarts after an end that nobody asked for, under the exceptions of `policy`. `main` is how the main
/// process ended, if one ran: prevent and force look at nothing else.
pub(super) fn restarts_after(
    when: Restart,
    policy: &RestartPolicy,
    kind: ServiceKind,
    result: RunResult,
    main: Option<ExitStatus>,
) -> bool {
    if contains(&policy.prevent, main) || result == RunResult::ExecCondition {
        return false;
    }
    let finished = kind == ServiceKind::Oneshot && result == RunResult::Success;
    if contains(&policy.force, main) && !finished {
        return true;
    }
    match result {
        RunResult::Success => matches!(when, Restart::Always | Restart::OnSuccess),
        RunResult::ExitCode => matches!(when, Restart::Always | Restart::OnFailure),
        RunResult::Signal | RunResult::CoreDump => {
            matches!(when, Restart::Always | Restart::OnFailure | Restart::OnAbnormal | Restart::OnAbort)
        }
        RunResult::Watchdog => {
            matches!(when, Restart::Always | Restart::OnFailure | Restart::OnAbnormal | Restart::OnWatchdog)
        }
        // The last three stand in systemd's source only. An unknown end is ours: it was not asked for, and whoever wants
        // to be restarted after abnormal ends wants it after this one.
        RunResult::Timeout | RunResult::OomKill | RunResult::Resources | RunResult::Protocol | RunResult::Unknown => {
            matches!(when, Restart::Always | Restart::OnFailure | Restart::OnAbnormal)
        }
        RunResult::StartLimitHit | RunResult::TriggerLimitHit | RunResult::ExecCondition => false,
    }
}

fn contains(set: &ExitSet, main: Option<ExitStatus>) -> bool {
    match main {
        Some(ExitStatus::Exited(code)) => set.codes.contains(&code),
        Some(ExitStatus::Signaled { signal, .. }) => set.signals.contains(&signal),
        Some(ExitStatus::Unknown) | None => false,
    }
}

/// The delay before the `row`-th restart in a row (1 is the first): RestartSec=, growing in RestartSteps= steps to
/// RestartMaxDelaySec= by the same factor each time.
pub(super) fn delay(policy: &RestartPolicy, row: u32) -> TimeSpan {
    let (Some(first), Some(max)) = (policy.delay.micros(), policy.delay_max.micros()) else { return policy.delay };
    if row <= 1 || policy.steps == 0 || first == 0 || first >= max {
        return policy.delay;
    }
    if row > policy.steps {
        return policy.delay_max;
    }
    let share = f64::from(row - 1) / f64::from(policy.steps);
    TimeSpan::from_micros(scaled(first, (as_float(max) / as_float(first)).powf(share)).min(max))
}

/// `delay` with a random share of up to `jitter` of it added.
pub(super) fn jittered(delay: TimeSpan, jitter: f64, rng: &mut Rng) -> TimeSpan {
    let Some(micros) = delay.micros().filter(|micros| *micros > 0 && jitter > 0.0) else { return delay };
    let most = scaled(micros, jitter.clamp(0.0, 1.0));
    if most == 0 {
        return delay;
    }
    TimeSpan::from_micros(micros.saturating_add(rng.below(most + 1)))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a delay; a rounding in the 16th digit is none")]
const fn as_float(micros: u64) -> f64 {
    micros as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product of two non-negative numbers; a float cast saturates"
)]
fn scaled(micros: u64, factor: f64) -> u64 {
    (as_float(micros) * factor).round() as u64
}
