use toml::de::DeTable;

use super::{
    health_checks, http_keys,
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::{Severity, UnitName},
    unit::{
        diag::Place,
        draft::{Draft, ProbeDraft},
        spec::{OnUnhealthy, ProbeName},
    },
};

/// How many probes one unit may have.
const PROBES_MAX: usize = 64;

/// `[[health]]`: a drop-in's table with the name of an earlier probe changes that one key by key.
pub(super) fn read(walk: &mut Walk<'_, '_>, value: &Value<'_>, draft: &mut Draft) {
    let Some(items) = value.get_ref().as_array() else {
        walk.error(value, "\"health\" must be a list of tables", Some("write [[health]]".to_owned()));
        return;
    };
    let mut here: Vec<Box<str>> = Vec::new();
    for item in items {
        let Some(table) = walk.as_table(item, "health") else { continue };
        let Some(name) = probe_name(walk, item, table) else { continue };
        if here.contains(&name) {
            walk.error(item, format!("the probe {name:?} stands twice in this file"), None);
            continue;
        }
        let place = walk.place(item.span().start);
        let at = draft.health.iter().position(|probe| probe.name == name).unwrap_or_else(|| {
            draft.health.push(ProbeDraft::new(&name, place));
            draft.health.len() - 1
        });
        here.push(name);
        if at >= PROBES_MAX {
            walk.error(item, format!("a unit has at most {PROBES_MAX} probes"), None);
            draft.health.truncate(PROBES_MAX);
            return;
        }
        if let Some(probe) = draft.health.get_mut(at) {
            probe.checks_here.clear();
            probe.keys.extend(walk.key_places(table, PROBE));
            walk.keys("health", table, &[PROBE], probe);
            if let [_, second, ..] = probe.checks_here[..] {
                let given = probe.checks_here.join(" and ");
                let message = format!("the probe {:?} asks more than one thing: {given}", probe.name);
                let place = probe.at(second);
                walk.report.error(place, message, None);
            }
        }
    }
}

fn probe_name(walk: &mut Walk<'_, '_>, item: &Value<'_>, table: &DeTable<'_>) -> Option<Box<str>> {
    let Some(value) = table.get("name") else {
        walk.error(item, "a probe needs a name", Some("name = \"live\", for example".to_owned()));
        return None;
    };
    walk.key = "name";
    let name = walk.text(value)?;
    checked_name(walk, value, name)
}

fn checked_name(walk: &mut Walk<'_, '_>, value: &Value<'_>, name: &str) -> Option<Box<str>> {
    const NAME_BYTES_MAX: usize = 64;
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        let help = format!("letters, digits, _ - . and at most {NAME_BYTES_MAX} of them");
        walk.error(value, format!("{name:?} is no name of a probe"), Some(help));
        return None;
    }
    Some(name.into())
}

/// `NAME`, of the same unit, or `UNIT/NAME`.
fn dependency(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<(ProbeName, Place)> {
    let place = walk.place(value.span().start);
    let text = walk.line(value)?;
    let (unit, probe) = match text.rsplit_once('/') {
        None => (walk.specifiers.name.clone(), text),
        Some((unit, probe)) => match UnitName::new(unit) {
            Ok(unit) => (unit, probe),
            Err(error) => {
                walk.error(value, error.to_string(), Some("write \"UNIT/NAME\"".to_owned()));
                return None;
            }
        },
    };
    Some((ProbeName { unit, probe: checked_name(walk, value, probe)? }, place))
}

pub(super) const PROBE: &[Key<ProbeDraft>] = &[
    Key { name: "backoff_max", set: |p, w, v| put(&mut p.backoff_max, w.span(v)) },
    Key { name: "certificate", set: health_checks::certificate },
    Key { name: "cpu", set: health_checks::cpu },
    Key { name: "depends_on", set: |p, w, v| extend(&mut p.depends_on, w, v, dependency) },
    Key { name: "disk", set: health_checks::disk },
    Key { name: "exec", set: health_checks::exec },
    Key { name: "file", set: health_checks::file },
    Key { name: "healthy_after", set: |p, w, v| put(&mut p.healthy_after, w.count(v, 1)) },
    Key { name: "http", set: http_keys::http },
    Key { name: "initial_delay", set: |p, w, v| put(&mut p.initial_delay, w.span(v)) },
    Key { name: "interval", set: |p, w, v| put(&mut p.interval, w.span(v)) },
    Key { name: "jitter", set: |p, w, v| put(&mut p.jitter, w.span(v)) },
    Key { name: "log", set: health_checks::log },
    Key { name: "memory", set: health_checks::memory },
    Key { name: "name", set: |_, _, _| {} },
    Key { name: "on_unhealthy", set: |p, w, v| put(&mut p.on_unhealthy, w.choice(v, ON_UNHEALTHY).map(Some)) },
    Key { name: "plugin", set: health_checks::plugin },
    Key { name: "redis", set: health_checks::redis },
    Key { name: "severity", set: |p, w, v| put(&mut p.severity, w.choice(v, SEVERITIES).map(Some)) },
    Key { name: "startup_grace", set: |p, w, v| put(&mut p.startup_grace, w.span(v)) },
    Key { name: "systemd", set: health_checks::systemd },
    Key { name: "tcp", set: health_checks::tcp },
    Key { name: "timeout", set: |p, w, v| put(&mut p.timeout, w.span(v)) },
    Key { name: "unhealthy_after", set: |p, w, v| put(&mut p.unhealthy_after, w.count(v, 1).map(Some)) },
    Key { name: "unhealthy_window", set: |p, w, v| put(&mut p.unhealthy_window, w.count(v, 1).map(Some)) },
];

const ON_UNHEALTHY: &[(&str, OnUnhealthy)] = &[
    ("restart", OnUnhealthy::Restart),
    ("reload", OnUnhealthy::Reload),
    ("alert", OnUnhealthy::Alert),
    ("none", OnUnhealthy::None),
];

const SEVERITIES: &[(&str, Severity)] =
    &[("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
