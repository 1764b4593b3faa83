use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{
    health_checks,
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::{ByteSize, Severity},
    unit::{
        draft::{CheckDraft, Draft, HttpDraft, ProbeDraft},
        spec::OnUnhealthy,
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
            walk.keys("health", table, &[PROBE], probe);
            if probe.checks_here.len() > 1 {
                let given = probe.checks_here.join(" and ");
                walk.error(item, format!("the probe {:?} asks more than one thing: {given}", probe.name), None);
            }
        }
    }
}

fn probe_name(walk: &mut Walk<'_, '_>, item: &Value<'_>, table: &DeTable<'_>) -> Option<Box<str>> {
    const NAME_BYTES_MAX: usize = 64;
    let Some(value) = table.get("name") else {
        walk.error(item, "a probe needs a name", Some("name = \"live\", for example".to_owned()));
        return None;
    };
    walk.key = "name";
    let name = walk.text(value)?;
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        let help = format!("letters, digits, _ - . and at most {NAME_BYTES_MAX} of them");
        walk.error(value, format!("{name:?} is no name of a probe"), Some(help));
        return None;
    }
    Some(name.into())
}

pub(super) const PROBE: &[Key<ProbeDraft>] = &[
    Key { name: "backoff_max", set: |p, w, v| put(&mut p.backoff_max, w.span(v)) },
    Key { name: "certificate", set: health_checks::certificate },
    Key { name: "cpu", set: health_checks::cpu },
    Key { name: "disk", set: health_checks::disk },
    Key { name: "exec", set: health_checks::exec },
    Key { name: "file", set: health_checks::file },
    Key { name: "healthy_after", set: |p, w, v| put(&mut p.healthy_after, w.count(v, 1)) },
    Key { name: "http", set: http },
    Key { name: "initial_delay", set: |p, w, v| put(&mut p.initial_delay, w.span(v)) },
    Key { name: "interval", set: |p, w, v| put(&mut p.interval, w.span(v)) },
    Key { name: "jitter", set: |p, w, v| put(&mut p.jitter, w.span(v)) },
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
    Key { name: "unhealthy_after", set: |p, w, v| put(&mut p.unhealthy_after, w.count(v, 1)) },
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

/// Host and port of `host:port`; an IPv6 address stands in brackets.
pub(super) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    check_host(host).then_some((host, port))
}

pub(super) fn check_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    }
}

/// A table, or the url alone. A drop-in changes the table of an earlier http probe key by key.
fn http(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("http");
    if !matches!(probe.check, Some(CheckDraft::Http(_))) {
        probe.check = Some(CheckDraft::Http(Box::default()));
    }
    let Some(CheckDraft::Http(http)) = &mut probe.check else { return };
    match value.get_ref() {
        DeValue::Table(table) => walk.keys("health.http", table, &[HTTP], http.as_mut()),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => url(http, walk, value),
    }
}

pub(super) const HTTP: &[Key<HttpDraft>] = &[
    Key { name: "body", set: |h, w, v| put(&mut h.body, w.text(v).map(|text| Some(text.into()))) },
    Key { name: "body_max", set: |h, w, v| put(&mut h.body_max, size(w, v)) },
    Key { name: "expect_body", set: |h, w, v| put(&mut h.expect_body, w.text(v).map(|text| Some(text.into()))) },
    Key { name: "expect_json", set: |h, w, v| members(&mut h.expect_json, w, v, expectation) },
    Key { name: "expect_status", set: |h, w, v| extend(&mut h.expect_status, w, v, status) },
    Key { name: "headers", set: |h, w, v| members(&mut h.headers, w, v, header) },
    Key { name: "method", set: |h, w, v| put(&mut h.method, w.choice(v, METHODS)) },
    Key { name: "tls", set: |h, w, v| put(&mut h.tls, health_checks::tls(w, v).map(Option::unwrap_or_default)) },
    Key { name: "unix_socket", set: unix_socket },
    Key { name: "url", set: url },
];

const METHODS: &[(&str, &str)] = &[("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST"), ("PUT", "PUT")];

fn url(http: &mut HttpDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let Some(text) = walk.line(value) else { return };
    match check_url(text) {
        Ok(()) => http.url = Some(text.into()),
        Err(why) => walk.error(value, format!("{text:?} is no url of a probe: {why}"), None),
    }
}

/// The parts that a probe needs: scheme, host, a port that is one.
fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or("it must begin with http:// or https://")?;
    if url.contains(char::is_whitespace) {
        return Err("it contains white space");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("credentials belong in a header");
    }
    let bare_host = authority.ends_with(']') || !authority.contains(':');
    let good = if bare_host { check_host(authority) } else { split_host_port(authority).is_some() };
    if good { Ok(()) } else { Err("its host or port is wrong") }
}

fn unix_socket(http: &mut HttpDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    if let Some(path) = walk.text(value).and_then(|text| walk.path(value, text)) {
        http.unix_socket = Some(path);
    }
}

fn status(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<u16> {
    walk.integer(value, 100..=599).and_then(|status| u16::try_from(status).ok())
}

fn size(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<ByteSize> {
    const BODY_BYTES_MAX: ByteSize = ByteSize(16 << 20);
    let size = walk.size(value)?;
    if size <= BODY_BYTES_MAX {
        return Some(size);
    }
    walk.error(value, format!("{:?} is at most {BODY_BYTES_MAX}", walk.key), None);
    None
}

/// Adds each member of a table that `read` accepts.
fn members(
    map: &mut BTreeMap<Box<str>, Box<str>>,
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    read: fn(&mut Walk<'_, '_>, &str, &Value<'_>) -> Option<String>,
) {
    let Some(table) = value.get_ref().as_table() else {
        walk.wrong_type(value, "a table");
        return;
    };
    for (name, item) in table {
        if let Some(text) = read(walk, name.get_ref(), item) {
            map.insert(name.get_ref().as_ref().into(), text.into());
        }
    }
}

/// A header: a token (RFC 9110, 5.6.2) and a value of one line.
fn header(walk: &mut Walk<'_, '_>, name: &str, value: &Value<'_>) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        walk.error(value, format!("{name:?} is no name of a header"), None);
        return None;
    }
    walk.line(value).map(str::to_owned)
}

/// A JSON pointer (RFC 6901) and the value that must stand there, as JSON text.
fn expectation(walk: &mut Walk<'_, '_>, pointer: &str, value: &Value<'_>) -> Option<String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let help = format!("write \"/{pointer}\"");
        walk.error(value, format!("{pointer:?} is no JSON pointer"), Some(help));
        return None;
    }
    match value.get_ref() {
        DeValue::String(text) => Some(serde_json::Value::from(&**text).to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            if number.is_none() {
                walk.error(value, "the number is too large", None);
            }
            number.map(|number| number.to_string())
        }
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
            if number.is_none() {
                walk.error(value, "JSON has no such number", None);
            }
            number.map(|number| number.to_string())
        }
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            walk.wrong_type(value, "a table of strings, numbers and truths");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_probes_name_a_host() {
        for good in
            ["http://127.0.0.1:8080/health", "http://[::1]:80/", "https://example.org", "http://[::1]", "http://a?x=1"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "http://",
            "http://:80/",
            "http://a:0",
            "http://a:x",
            "ftp://a",
            "http://u@a/",
            "http://a b",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tcp_probe_names_host_and_port() {
        assert_eq!(split_host_port("localhost:80"), Some(("localhost", 80)));
        assert_eq!(split_host_port("[::1]:80"), Some(("[::1]", 80)));
        for bad in ["localhost", ":80", "a:0", "a:99999", "::1:80", "[x]:1", "a b:1"] {
            assert_eq!(split_host_port(bad), None, "{bad}");
        }
    }
}
