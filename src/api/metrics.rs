//! `GET /metrics`: Prometheus' text format, written from the unit table, so that a unit that is gone leaves no series.

use std::fmt::Write;

use super::view;
use crate::{
    edge::{cgroup::usage::UnitUse, cpus, deliver::Deliveries},
    engine::{Counters, UnitState},
    node::status::Verdict,
};

/// The whole page.
pub(super) fn text(states: &[UnitState], counters: &Counters, deliveries: &Deliveries) -> String {
    let mut page = String::new();
    family(&mut page, "roundsman_unit_up", "gauge", "Whether the unit is up.", |page| {
        for state in states {
            let up = u8::from(view::is_up(&state.status, &state.def));
            sample(page, "roundsman_unit_up", &[("unit", state.status.name.as_str())], up);
        }
    });
    family(&mut page, "roundsman_unit_restarts_total", "counter", "Automatic restarts.", |page| {
        for ((unit, cause), count) in &counters.restarts {
            sample(page, "roundsman_unit_restarts_total", &[("unit", unit.as_str()), ("cause", cause)], count);
        }
    });
    let name = "roundsman_unit_start_limit_hit_total";
    family(&mut page, name, "counter", "How often the start limit was hit.", |page| {
        for (unit, count) in &counters.start_limits {
            sample(page, name, &[("unit", unit.as_str())], count);
        }
    });
    usage(&mut page, states);
    probes(&mut page, states);
    output(&mut page, states);
    family(&mut page, "roundsman_alerts_total", "counter", "Alerts by route and what became of them.", |page| {
        for ((route, result), count) in deliveries.counts() {
            let labels = [("route", route.as_str()), ("result", result.as_str())];
            sample(page, "roundsman_alerts_total", &labels, count);
        }
    });
    family(&mut page, "roundsman_config_reloads_total", "counter", "Reloads of unit files.", |page| {
        for (result, count) in &counters.reloads {
            sample(page, "roundsman_config_reloads_total", &[("result", result)], count);
        }
    });
    page
}

/// Of all processes where the unit asks for counters, else of its main process; nothing where nothing is known.
fn usage(page: &mut String, states: &[UnitState]) {
    type Pick = fn(&UnitUse) -> Option<f64>;
    let all: Vec<_> = cpus::map(&states.iter().collect::<Vec<_>>(), |state| view::used(state).0);
    let families: [(&str, &str, &str, Pick); 6] = [
        ("roundsman_unit_memory_bytes", "gauge", "Memory in use.", |used| used.memory_bytes.map(number)),
        ("roundsman_unit_memory_peak_bytes", "gauge", "Most memory of this run.", |used| {
            used.memory_peak_bytes.map(number)
        }),
        ("roundsman_unit_cpu_seconds_total", "counter", "CPU time of this run.", |used| {
            used.cpu_us.map(|micros| number(micros) / 1e6)
        }),
        ("roundsman_unit_tasks", "gauge", "Processes and threads.", |used| used.tasks.map(number)),
        ("roundsman_unit_io_read_bytes_total", "counter", "Bytes read from disks in this run.", |used| {
            used.io_read_bytes.map(number)
        }),
        ("roundsman_unit_io_write_bytes_total", "counter", "Bytes written to disks in this run.", |used| {
            used.io_write_bytes.map(number)
        }),
    ];
    for (name, kind, help, pick) in families {
        family(page, name, kind, help, |page| {
            for (state, value) in states.iter().zip(&all).filter_map(|(state, used)| Some((state, pick(used)?))) {
                sample(page, name, &[("unit", state.status.name.as_str())], value);
            }
        });
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format's numbers are floats; no counter here has 53 bits")]
const fn number(value: u64) -> f64 {
    value as f64
}

fn probes(page: &mut String, states: &[UnitState]) {
    let all = || states.iter().flat_map(|state| state.status.health.iter().map(move |probe| (state, probe)));
    family(page, "roundsman_probe_up", "gauge", "Whether the probe's verdict is healthy or degraded.", |page| {
        for (state, probe) in all().filter(|(_, probe)| probe.verdict != Verdict::Unknown) {
            let labels = [("unit", state.status.name.as_str()), ("probe", probe.name.as_str())];
            sample(page, "roundsman_probe_up", &labels, u8::from(probe.verdict.is_up()));
        }
    });
    family(page, "roundsman_probe_degraded", "gauge", "Whether the probe's verdict is degraded.", |page| {
        for (state, probe) in all().filter(|(_, probe)| probe.verdict != Verdict::Unknown) {
            let labels = [("unit", state.status.name.as_str()), ("probe", probe.name.as_str())];
            sample(page, "roundsman_probe_degraded", &labels, u8::from(probe.verdict == Verdict::Degraded));
        }
    });
    family(page, "roundsman_probe_duration_seconds", "gauge", "How long the last answer took.", |page| {
        for (state, probe) in all() {
            let Some(took) = probe.took else { continue };
            let labels = [("unit", state.status.name.as_str()), ("probe", probe.name.as_str())];
            sample(page, "roundsman_probe_duration_seconds", &labels, took.as_secs_f64());
        }
    });
}

fn output(page: &mut String, states: &[UnitState]) {
    let all = || states.iter().filter_map(|state| Some((state.status.name.as_str(), state.output?)));
    family(page, "roundsman_log_bytes_total", "counter", "Output that was captured.", |page| {
        for (unit, counts) in all() {
            sample(page, "roundsman_log_bytes_total", &[("unit", unit)], counts.bytes);
        }
    });
    let name = "roundsman_log_dropped_bytes_total";
    family(page, name, "counter", "Output that was dropped (disk, rate limit) or not forwarded.", |page| {
        for (unit, counts) in all() {
            for (reason, bytes) in [("full", counts.full), ("rate", counts.limited), ("forward", counts.unforwarded)] {
                sample(page, name, &[("unit", unit), ("reason", reason)], bytes);
            }
        }
    });
    family(page, "roundsman_log_forwarded_lines_total", "counter", "Lines that were forwarded.", |page| {
        for (unit, counts) in all().filter(|(_, counts)| counts.forwarded > 0) {
            sample(page, "roundsman_log_forwarded_lines_total", &[("unit", unit)], counts.forwarded);
        }
    });
}

fn family(page: &mut String, name: &str, kind: &str, help: &str, samples: impl FnOnce(&mut String)) {
    // Writing to a String does not fail.
    writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    samples(page);
}

fn sample(page: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
    writeln!(page, "{name}{{{}}} {value}", labels.join(",")).ok();
}

/// Label values escape backslash, quote and newline (Prometheus exposition formats).
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_own_quotes() {
        let mut page = String::new();
        sample(&mut page, "m", &[("unit", "a\"b\\c\nd")], 1);
        assert_eq!(page, "m{unit=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
