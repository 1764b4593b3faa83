//! `GET /metrics`: Prometheus' text format or OpenMetrics, written from the unit table, so that a unit that is gone leaves
//! no series.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::view;
use crate::{
    edge::{cgroup::usage::UnitUse, cpus},
    engine::{About, Counters, Durations, Handle, UnitState},
    node::status::{Active, Verdict},
    wire::v1,
};

/// The two forms that Prometheus reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// What an `Accept:` header asks for. Whoever reads OpenMetrics names it, and prefers it.
    pub(super) fn asked(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// For `Content-Type:`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page that is being written.
struct Page {
    form: Form,
    text: String,
}

/// The whole page.
pub(super) fn text(
    form: Form,
    handle: &Handle,
    states: &[UnitState],
    waiting: Option<&BTreeMap<String, u64>>,
    fleet: Option<&v1::Fleet>,
) -> String {
    let mut page = Page { form, text: String::new() };
    let (counters, deliveries) = (handle.counters(), handle.deliveries());
    daemon(&mut page, handle.about(), &counters);
    units(&mut page, states, &counters);
    usage(&mut page, states);
    probes(&mut page, states);
    output(&mut page, states);
    family(&mut page, "roundsman_alerts_total", "counter", "Alerts by route and what became of them.", |page| {
        for ((route, result), count) in deliveries.counts() {
            let labels = [("route", route.as_str()), ("result", result.as_str())];
            sample(page, "roundsman_alerts_total", &labels, count);
        }
    });
    // Of routes that had something to deliver.
    let troubles = deliveries.troubles();
    let mut routes: BTreeSet<_> = deliveries.counts().into_keys().map(|(route, _)| route).collect();
    routes.extend(troubles.keys().cloned());
    // What a route did that is gone stays counted; it is neither up nor down.
    let there: BTreeSet<_> = deliveries.routes().into_iter().collect();
    routes.retain(|route| there.contains(route));
    family(
        &mut page,
        "roundsman_alert_route_up",
        "gauge",
        "Whether the route's receiver took what we sent last.",
        |page| {
            for route in &routes {
                let up = !troubles.contains_key(route);
                sample(page, "roundsman_alert_route_up", &[("route", route.as_str())], u8::from(up));
            }
        },
    );
    // Of a database that does not answer nothing is known.
    if let Some(waiting) = waiting {
        let name = "roundsman_alert_messages_waiting";
        family(&mut page, name, "gauge", "Messages that the route's receiver has yet to take.", |page| {
            for route in &there {
                let count = waiting.get(route.as_str()).copied().unwrap_or_default();
                sample(page, name, &[("route", route.as_str())], count);
            }
        });
    }
    if let Some(fleet) = fleet {
        of_fleet(&mut page, fleet);
    }
    if form == Form::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn daemon(page: &mut Page, about: &About, counters: &Counters) {
    family(page, "roundsman_build_info", "gauge", "The release that answers; always 1.", |page| {
        sample(page, "roundsman_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    });
    let name = "roundsman_manager_start_time_seconds";
    family(page, name, "gauge", "When this manager took over, since 1970.", |page| {
        sample(page, name, &[], number(u64::try_from(about.since.wall.0).unwrap_or(0)) / 1e6);
    });
    family(page, "roundsman_store_up", "gauge", "Whether the database can be written.", |page| {
        sample(page, "roundsman_store_up", &[], u8::from(counters.store_trouble.is_none()));
    });
    family(page, "roundsman_config_reloads_total", "counter", "Reloads of unit files.", |page| {
        for result in Counters::RELOADS {
            let count = counters.reloads.get(result).copied().unwrap_or_default();
            sample(page, "roundsman_config_reloads_total", &[("result", result)], count);
        }
    });
    let name = "roundsman_config_reload_duration_seconds";
    family(page, name, "histogram", "How long reloads took, refused ones too.", |page| {
        durations(page, name, &counters.reload_times);
    });
}

/// Only where there is one.
fn of_fleet(page: &mut Page, fleet: &v1::Fleet) {
    // Without Redis nothing is known of others, and nothing is said.
    if let Some(quorum) = fleet.quorum {
        family(page, "roundsman_node_up", "gauge", "Whether the node is alive, as this one sees it.", |page| {
            let known = fleet.nodes.iter().filter_map(|node| Some((node, node.state.as_deref()?)));
            for (node, state) in known.filter(|(_, state)| *state != "unknown") {
                let up = ["alive", "suspect", "flapping"].contains(&state);
                sample(page, "roundsman_node_up", &[("node", node.name.as_str())], u8::from(up));
            }
        });
        family(page, "roundsman_quorum", "gauge", "Whether a majority of the fleet is reached.", |page| {
            sample(page, "roundsman_quorum", &[], u8::from(quorum.is_there));
        });
    }
    let name = "roundsman_rollout_steps_total";
    family(page, name, "counter", "Steps of plans that this node did.", |page| {
        for (result, count) in [("done", fleet.steps.done), ("failed", fleet.steps.failed)] {
            sample(page, name, &[("result", result)], count);
        }
    });
}

fn units(page: &mut Page, states: &[UnitState], counters: &Counters) {
    family(page, "roundsman_unit_up", "gauge", "Whether the unit is up.", |page| {
        for state in states {
            let up = u8::from(view::is_up(&state.status, &state.def));
            sample(page, "roundsman_unit_up", &[("unit", state.status.name.as_str())], up);
        }
    });
    family(page, "roundsman_unit_failed", "gauge", "Whether the unit is failed: down until someone acts.", |page| {
        for state in states {
            let failed = u8::from(state.status.active == Active::Failed);
            sample(page, "roundsman_unit_failed", &[("unit", state.status.name.as_str())], failed);
        }
    });
    // From the first scrape on and for each unit: of a count that begins at 1, Prometheus sees no increase.
    family(page, "roundsman_unit_restarts_total", "counter", "Automatic restarts.", |page| {
        for (state, cause) in states.iter().flat_map(|state| Counters::CAUSES.map(|cause| (state, cause))) {
            let unit = &state.status.name;
            let count = counters.restarts.get(&(unit.clone(), cause)).copied().unwrap_or_default();
            sample(page, "roundsman_unit_restarts_total", &[("unit", unit.as_str()), ("cause", cause)], count);
        }
    });
    let name = "roundsman_unit_start_limit_hit_total";
    family(page, name, "counter", "How often the start limit was hit.", |page| {
        for unit in states.iter().map(|state| &state.status.name) {
            let count = counters.start_limits.get(unit).copied().unwrap_or_default();
            sample(page, name, &[("unit", unit.as_str())], count);
        }
    });
}

/// Of all processes where the unit asks for counters, else of its main process; nothing where nothing is known.
fn usage(page: &mut Page, states: &[UnitState]) {
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

fn probes(page: &mut Page, states: &[UnitState]) {
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

fn output(page: &mut Page, states: &[UnitState]) {
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

fn family(page: &mut Page, name: &str, kind: &str, help: &str, samples: impl FnOnce(&mut Page)) {
    // OpenMetrics names a family of counters without what its samples end with.
    let family = match page.form {
        Form::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        Form::Prometheus => name,
    };
    // Writing to a String does not fail.
    writeln!(page.text, "# HELP {family} {help}\n# TYPE {family} {kind}").ok();
    samples(page);
}

fn sample(page: &mut Page, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    writeln!(page.text, "{name}{labels} {value}").ok();
}

/// The samples of a histogram.
fn durations(page: &mut Page, name: &str, times: &Durations) {
    let bucket = format!("{name}_bucket");
    for (bound, within) in Durations::BOUNDS.into_iter().zip(times.within) {
        let bound = bound.duration().map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        // With a point, as OpenMetrics wants a bound.
        sample(page, &bucket, &[("le", &format!("{bound:?}"))], within);
    }
    sample(page, &bucket, &[("le", "+Inf")], times.count);
    sample(page, &format!("{name}_sum"), &[], number(times.sum_us) / 1e6);
    sample(page, &format!("{name}_count"), &[], times.count);
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
        let mut page = Page { form: Form::Prometheus, text: String::new() };
        sample(&mut page, "m", &[("unit", "a\"b\\c\nd")], 1);
        assert_eq!(page.text, "m{unit=\"a\\\"b\\\\c\\nd\"} 1\n");
    }

    #[test]
    fn a_counter_has_the_name_that_each_form_gives_it() {
        let of = |form| {
            let mut page = Page { form, text: String::new() };
            family(&mut page, "m_total", "counter", "h", |page| sample(page, "m_total", &[], 1));
            page.text
        };
        assert_eq!(of(Form::asked("*/*")), "# HELP m_total h\n# TYPE m_total counter\nm_total 1\n");
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(of(Form::asked(prometheus)), "# HELP m h\n# TYPE m counter\nm_total 1\n");
    }
}
