//! `status UNIT`: everything about one.

use std::fmt::Write;

use super::{state::State, status::verdict_style};
use crate::{
    base::counted,
    cli::{
        humane,
        screen::{CARE, FAINT, STRONG, Screen, columns, many_lines, one_line},
    },
    wire::v1::{Accepted, Output, Probe, Timer, Unit},
};

/// Width of the labels, which stand right-aligned before their colon.
const LABEL_WIDTH: usize = 11;

/// The block of one unit; `log` is its last output.
pub(crate) fn block(screen: &Screen, unit: &Unit, log: &str) -> String {
    let mut out = format!(
        "{} {} - {}\n",
        screen.paint(State::of(unit).style(), State::of(unit).mark()),
        screen.paint(STRONG, &one_line(&unit.name)),
        one_line(&unit.description)
    );
    for (label, value) in lines(screen, unit) {
        writeln!(out, "{label:>LABEL_WIDTH$}: {value}").ok();
        if label == "Health" {
            probes(&mut out, screen, &unit.probes);
        }
    }
    if !unit.lowered.is_empty() {
        let settings: Vec<_> = unit.lowered.iter().map(|setting| one_line(setting)).collect();
        let hint = format!("The host lets it have less than its unit asks for: {}", settings.join(", "));
        writeln!(out, "{:>LABEL_WIDTH$}  {}", "", screen.paint(CARE, &hint)).ok();
    }
    if unit.in_maintenance {
        let hint = "It is in maintenance, so neither a probe nor `check` restarts it: supervisorctl alerts";
        writeln!(out, "{:>LABEL_WIDTH$}  {}", "", screen.paint(CARE, hint)).ok();
    }
    if unit.needs_restart {
        let hint =
            format!("Its unit file has changed since this run began: supervisorctl restart {}", one_line(&unit.name));
        writeln!(out, "{:>LABEL_WIDTH$}  {}", "", screen.paint(CARE, &hint)).ok();
    }
    if !log.is_empty() {
        out.push('\n');
        out.push_str(&many_lines(log.trim_end_matches('\n')));
        out.push('\n');
    }
    out
}

fn lines(screen: &Screen, unit: &Unit) -> Vec<(&'static str, String)> {
    let enabled = match (&unit.timer, unit.enabled) {
        (Some(_), _) => "started by its timer",
        (None, true) => "started with the daemon",
        (None, false) => "not started with the daemon",
    };
    let mut lines = vec![("Loaded", format!("{enabled}, type {}", one_line(&unit.kind)))];
    lines.push(("State", state_line(screen, unit)));
    lines.push(("Cause", one_line(&unit.cause)));
    if let Some(at) = unit.next_start_us {
        lines.push(("Next start", format!("{} ({})", screen.relative(at), screen.local(at))));
    }
    if let Some(timer) = &unit.timer {
        lines.extend(timer_lines(screen, unit, timer));
    }
    if let Some(text) = &unit.status_text {
        lines.push(("Status", format!("\"{}\"", one_line(text))));
    }
    if let Some(errno) = unit.errno {
        lines.push(("Error", format!("errno {errno}, as it says")));
    }
    if let Some(pid) = unit.pid {
        lines.push(("Main PID", pid.to_string()));
    }
    if let Some(unmet) = &unit.sandbox_unmet {
        lines.push(("Sandbox", screen.paint(CARE, &one_line(unmet))));
    }
    if let Some(unmet) = &unit.resources_unmet {
        lines.push(("Not limited", screen.paint(CARE, &one_line(unmet))));
    }
    if unit.generation > 0 && unit.accepted.is_none() {
        let invocation = unit.invocation.as_deref().map(|id| format!(", invocation {}", one_line(id)));
        lines.push(("Run", format!("{}{}", unit.generation, invocation.unwrap_or_default())));
    }
    if unit.health != "none" {
        lines.push(("Health", screen.paint(verdict_style(&unit.health), &one_line(&unit.health))));
    }
    lines.push(("Restarts", format!("{} in a row, {} in all", unit.restarts_in_row, unit.restarts_total)));
    lines.push(("Start limit", start_limit(unit)));
    if let Some(failure) = &unit.spawn_failure {
        lines.push(("Cannot run", screen.paint(CARE, &one_line(failure))));
    }
    if let Some(exit) = &unit.last_exit {
        let result = unit.last_exit_result.as_ref().unwrap_or(&unit.result);
        lines.push(("Last exit", format!("{} (result {})", one_line(exit), one_line(result))));
    }
    if let Some(count) = unit.memory_bytes {
        let peak = unit.memory_peak_bytes.map(|peak| format!(" (peak {})", humane::bytes(peak)));
        lines.push(("Memory", format!("{}{}", humane::bytes(count), peak.unwrap_or_default())));
    }
    if let Some(count) = unit.n_file_descriptor_store {
        lines.push(("FD store", format!("{count} (limit {})", unit.file_descriptor_store_max)));
    }
    if let Some(count) = unit.tasks {
        lines.push(("Tasks", count.to_string()));
    }
    if let (Some(read), Some(written)) = (unit.io_read_bytes, unit.io_write_bytes) {
        lines.push(("IO", format!("{} read, {} written", humane::bytes(read), humane::bytes(written))));
    }
    if let Some(us) = unit.cpu_us {
        lines.push(("CPU", humane::took(us)));
    }
    if let Some(of) = unit.accepted {
        let Accepted { n_accepted, n_connections, n_refused } = of;
        lines.push(("Connections", format!("{n_connections} now, {n_accepted} accepted, {n_refused} refused")));
    }
    if let Some(text) = unit.output.and_then(lost) {
        lines.push(("Output", screen.paint(CARE, &text)));
    }
    lines
}

/// What did not arrive of its output; silence where all did.
fn lost(output: Output) -> Option<String> {
    let Output { dropped_bytes, limited_lines, unforwarded_bytes, .. } = output;
    let parts = [
        (dropped_bytes > 0).then(|| format!("{} dropped that could not be written", humane::bytes(dropped_bytes))),
        (limited_lines > 0).then(|| format!("{limited_lines} lines over the rate limit")),
        (unforwarded_bytes > 0).then(|| format!("{} not forwarded", humane::bytes(unforwarded_bytes))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// When it elapses next and when it did, and what it starts where that is another unit.
fn timer_lines(screen: &Screen, unit: &Unit, timer: &Timer) -> Vec<(&'static str, String)> {
    let moment = |at: i64| format!("{} ({})", screen.relative(at), screen.local(at));
    let mut lines = Vec::new();
    if timer.starts != unit.name {
        lines.push(("Starts", one_line(&timer.starts)));
    }
    lines.push(("Next elapse", timer.next_us.map_or_else(|| "none planned".to_owned(), moment)));
    lines.extend(timer.last_us.map(|at| ("Last elapse", moment(at))));
    lines
}

fn state_line(screen: &Screen, unit: &Unit) -> String {
    let painted = screen.paint(State::of(unit).style(), &State::of(unit).in_words());
    if unit.since_us <= 0 {
        return painted;
    }
    format!("{painted} since {}; {}", screen.local_in_full(unit.since_us), screen.relative(unit.since_us))
}

/// `3 of 5 starts in 5min`; who else sets the limit has counted them.
fn start_limit(unit: &Unit) -> String {
    let (starts, burst) = (unit.starts_in_window, unit.start_limit_burst);
    let (starts, by) = match &unit.start_limit_of {
        None => (format!("{starts} of {burst} starts"), String::new()),
        Some(by) => (counted(burst, "start"), format!(", set by {}", one_line(by))),
    };
    match (burst, unit.start_limit_interval_us) {
        (0, _) | (_, Some(0)) => format!("none{by}"),
        (_, None) => format!("{starts}, for ever{by}"),
        (_, Some(interval)) => format!("{starts} in {}{by}", humane::span(interval)),
    }
}

fn probes(out: &mut String, screen: &Screen, probes: &[Probe]) {
    let width = probes.iter().map(|probe| columns(&one_line(&probe.name))).max().unwrap_or(0);
    for probe in probes {
        let took = probe.took_us.map(|us| format!(" {}", screen.paint(FAINT, &humane::took(us))));
        let failure = probe.failure.as_deref().map(|why| format!(": {}", one_line(why)));
        let verdict = screen.paint(verdict_style(&probe.verdict), &one_line(&probe.verdict));
        writeln!(
            out,
            "{:>LABEL_WIDTH$}  {:width$}  {verdict}{}{}",
            "",
            one_line(&probe.name),
            took.unwrap_or_default(),
            failure.unwrap_or_default()
        )
        .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::fixtures::{NOW_US, unit};

    #[test]
    fn a_running_unit_shows_all_there_is() {
        let log = "listening on 8080\nGET /health 200\x1b[0m\n";
        insta::assert_snapshot!(block(&Screen::page(NOW_US), &unit("web"), log));
    }

    #[test]
    fn the_start_limit_of_others_is_said_to_be_theirs() {
        let of = |by: Option<&str>, interval| {
            start_limit(&Unit {
                start_limit_of: by.map(str::to_owned),
                start_limit_interval_us: interval,
                ..unit("web")
            })
        };
        assert_eq!(of(None, Some(300_000_000)), "1 of 5 starts in 5min");
        assert_eq!(of(Some("systemd"), Some(300_000_000)), "5 starts in 5min, set by systemd");
        assert_eq!(of(Some("systemd"), Some(0)), "none, set by systemd");
        assert_eq!(of(Some("systemd"), None), "5 starts, for ever, set by systemd");
    }

    #[test]
    fn a_failed_unit_says_how_it_ended() {
        insta::assert_snapshot!(block(&Screen::page(NOW_US), &unit("upload"), ""));
    }

    #[test]
    fn a_waiting_unit_says_when_it_starts_again() {
        insta::assert_snapshot!(block(&Screen::page(NOW_US), &unit("worker"), ""));
    }

    #[test]
    fn a_unit_with_a_timer_says_when_that_elapses() {
        insta::assert_snapshot!(block(&Screen::page(NOW_US), &unit("backup"), ""));
    }

    #[test]
    fn a_unit_that_never_ran_shows_no_moment() {
        insta::assert_snapshot!(block(&Screen::page(NOW_US), &unit("migrate"), ""));
    }
}
