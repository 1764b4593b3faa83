//! What a probe asks, kind by kind: `tcp = …`, `disk = { … }`. Each is written as one value, or as a table.

use std::{error::Error as _, path::Path};

use toml::de::DeValue;

use super::{
    value::put,
    walk::{Key, Value, Walk},
};
use crate::{
    base::{
        ByteSize, LinePattern, TimeSpan,
        address::{is_host, split_host_port},
    },
    unit::{
        draft::{CheckDraft, ProbeDraft},
        spec::{
            Ceiling, CertificateCheck, CertificatePlace, DiskCheck, FileCheck, LogCheck, ProbeCheck, RedisCheck,
            RedisRole, TcpCheck, TlsCheck,
        },
    },
};

/// How long a certificate must last unless the unit says otherwise, in days.
const CERTIFICATE_DAYS: u32 = 30;
/// Where Redis listens unless the URL says otherwise.
const REDIS_SCHEMES: [&str; 2] = ["redis://", "rediss://"];
/// Digits of a database's number.
const DATABASE_DIGITS_MAX: usize = 9;

/// Takes note of a check that was read.
fn ready(probe: &mut ProbeDraft, check: Option<ProbeCheck>) {
    if let Some(check) = check {
        probe.check = Some(CheckDraft::Ready(check));
    }
}

/// Reads a table into `target`; a text alone stands for the key `short`.
fn table_or_text<T>(
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    title: &'static str,
    keys: &'static [Key<T>],
    short: &str,
    target: &mut T,
) {
    match value.get_ref() {
        DeValue::Table(table) => walk.keys(title, table, &[keys], target),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            if let Some(key) = keys.iter().find(|key| key.name == short) {
                (key.set)(target, walk, value);
            }
        }
    }
}

fn path_of(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<Path>> {
    let text = walk.text(value)?;
    walk.path(value, text)
}

/// A file that is to be here when the unit is taken into use.
pub(super) fn needed_file(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<Path>> {
    let path = path_of(walk, value)?;
    let place = walk.place(value.span().start);
    walk.places.put_file(&path, place);
    Some(path)
}

/// `host:port`.
fn address(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = walk.text(value)?;
    if split_host_port(text).is_some() {
        return Some(text.into());
    }
    walk.error(value, format!("{text:?} is no host with a port"), Some("write \"host:port\"".to_owned()));
    None
}

fn server_name(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    let text = walk.text(value)?;
    if is_host(text) {
        return Some(Some(text.into()));
    }
    walk.error(value, format!("{text:?} is no name of a host"), None);
    None
}

fn missing(walk: &mut Walk<'_, '_>, value: &Value<'_>, kind: &str, key: &str) {
    walk.error(value, format!("the {kind} probe has no {key}"), None);
}

pub(super) fn tcp(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("tcp");
    let mut check = TcpCheck::default();
    table_or_text(walk, value, "health.tcp", TCP, "address", &mut check);
    if check.address.is_empty() {
        if value.get_ref().as_table().is_some_and(|table| table.get("address").is_none()) {
            missing(walk, value, "tcp", "address");
        }
        return;
    }
    ready(probe, Some(ProbeCheck::Tcp(check)));
}

pub(super) const TCP: &[Key<TcpCheck>] = &[
    Key { name: "address", set: |t, w, v| put(&mut t.address, address(w, v)) },
    Key { name: "expect", set: |t, w, v| put(&mut t.expect, w.text(v).map(|text| Some(text.into()))) },
    Key { name: "send", set: |t, w, v| put(&mut t.send, w.text(v).map(|text| Some(text.into()))) },
    Key { name: "tls", set: |t, w, v| put(&mut t.tls, tls(w, v)) },
];

/// A table, or `true` for TLS as everyone speaks it.
pub(super) fn tls(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<TlsCheck>> {
    if let DeValue::Boolean(wanted) = value.get_ref() {
        return Some(wanted.then(TlsCheck::default));
    }
    let mut draft = TlsDraft::default();
    let table = walk.as_table(value, "tls")?;
    walk.keys("health.tls", table, &[TLS], &mut draft);
    let identity = match (draft.cert_file, draft.key_file) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            if table.get("cert_file").is_none() || table.get("key_file").is_none() {
                let help = Some("give both, each as a PEM file".to_owned());
                walk.error(value, "\"cert_file\" and \"key_file\" go together", help);
            }
            None
        }
    };
    Some(Some(TlsCheck { ca_file: draft.ca_file, identity, server_name: draft.server_name }))
}

/// A `tls = { … }` table while it is read.
#[derive(Default)]
pub(super) struct TlsDraft {
    ca_file: Option<Box<Path>>,
    cert_file: Option<Box<Path>>,
    key_file: Option<Box<Path>>,
    server_name: Option<Box<str>>,
}

pub(super) const TLS: &[Key<TlsDraft>] = &[
    Key { name: "ca_file", set: |t, w, v| put(&mut t.ca_file, needed_file(w, v).map(Some)) },
    Key { name: "cert_file", set: |t, w, v| put(&mut t.cert_file, needed_file(w, v).map(Some)) },
    Key { name: "key_file", set: |t, w, v| put(&mut t.key_file, needed_file(w, v).map(Some)) },
    Key { name: "server_name", set: |t, w, v| put(&mut t.server_name, server_name(w, v)) },
];

pub(super) fn exec(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("exec");
    let command = walk.command(value);
    ready(probe, command.map(ProbeCheck::Exec));
}

pub(super) fn plugin(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("plugin");
    let command = walk.command(value);
    ready(probe, command.map(ProbeCheck::Plugin));
}

pub(super) fn disk(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("disk");
    let Some(table) = walk.as_table(value, "disk") else { return };
    let mut draft = DiskDraft::default();
    walk.keys("health.disk", table, &[DISK], &mut draft);
    let Some(path) = draft.path else {
        if table.get("path").is_none() {
            missing(walk, value, "disk", "path");
        }
        return;
    };
    let (min_free_bytes, min_free_inodes) = (draft.min_free_bytes, draft.min_free_inodes);
    if min_free_bytes.is_none() && min_free_inodes.is_none() {
        // One that is given and cannot be read was told.
        if table.get("min_free_bytes").or_else(|| table.get("min_free_inodes")).is_none() {
            missing(walk, value, "disk", "min_free_bytes or min_free_inodes");
        }
        return;
    }
    ready(probe, Some(ProbeCheck::Disk(DiskCheck { path, min_free_bytes, min_free_inodes })));
}

/// A `disk = { … }` table while it is read.
#[derive(Default)]
pub(super) struct DiskDraft {
    path: Option<Box<Path>>,
    min_free_bytes: Option<ByteSize>,
    min_free_inodes: Option<u64>,
}

pub(super) const DISK: &[Key<DiskDraft>] = &[
    Key { name: "min_free_bytes", set: |d, w, v| put(&mut d.min_free_bytes, w.size(v).map(Some)) },
    Key { name: "min_free_inodes", set: |d, w, v| put(&mut d.min_free_inodes, w.count(v, 1).map(u64::from).map(Some)) },
    Key { name: "path", set: |d, w, v| put(&mut d.path, path_of(w, v).map(Some)) },
];

pub(super) fn certificate(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("certificate");
    let mut draft = CertificateDraft::default();
    table_or_text(walk, value, "health.certificate", CERTIFICATE, "file", &mut draft);
    let days = draft.days.unwrap_or(CERTIFICATE_DAYS);
    let of = match (draft.file, draft.address) {
        (Some(file), None) => CertificatePlace::File(file),
        (None, Some(address)) => CertificatePlace::Presented(address, draft.server_name),
        (Some(_), Some(_)) => {
            let help = Some("write two probes".to_owned());
            return walk.error(value, "\"file\" and \"address\" are two certificates", help);
        }
        (None, None) => {
            let given = |table: &toml::de::DeTable<'_>| table.get("file").or_else(|| table.get("address")).is_some();
            if value.get_ref().as_table().is_some_and(|table| !given(table)) {
                missing(walk, value, "certificate", "file or address");
            }
            return;
        }
    };
    ready(probe, Some(ProbeCheck::Certificate(CertificateCheck { of, days })));
}

/// A `certificate = { … }` table while it is read.
#[derive(Default)]
pub(super) struct CertificateDraft {
    file: Option<Box<Path>>,
    address: Option<Box<str>>,
    server_name: Option<Box<str>>,
    days: Option<u32>,
}

pub(super) const CERTIFICATE: &[Key<CertificateDraft>] = &[
    Key { name: "address", set: |c, w, v| put(&mut c.address, address(w, v).map(Some)) },
    Key { name: "days", set: |c, w, v| put(&mut c.days, w.count(v, 1).map(Some)) },
    Key { name: "file", set: |c, w, v| put(&mut c.file, path_of(w, v).map(Some)) },
    Key { name: "server_name", set: |c, w, v| put(&mut c.server_name, server_name(w, v)) },
];

pub(super) fn redis(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("redis");
    let mut check = RedisCheck { url: "".into(), password_file: None, role: None, max_lag: None };
    table_or_text(walk, value, "health.redis", REDIS, "url", &mut check);
    if check.url.is_empty() {
        if value.get_ref().as_table().is_some_and(|table| table.get("url").is_none()) {
            missing(walk, value, "redis", "url");
        }
        return;
    }
    if check.max_lag.is_some() && check.role == Some(RedisRole::Primary) {
        let help = Some("set role = \"replica\", or leave max_lag out".to_owned());
        walk.error(value, "a primary lags behind nobody", help);
        return;
    }
    ready(probe, Some(ProbeCheck::Redis(check)));
}

pub(super) const REDIS: &[Key<RedisCheck>] = &[
    Key { name: "max_lag", set: |r, w, v| put(&mut r.max_lag, finite(w, v).map(Some)) },
    Key { name: "password_file", set: |r, w, v| put(&mut r.password_file, needed_file(w, v).map(Some)) },
    Key { name: "role", set: |r, w, v| put(&mut r.role, w.choice(v, ROLES).map(Some)) },
    Key { name: "url", set: |r, w, v| put(&mut r.url, redis_url(w, v)) },
];

const ROLES: &[(&str, RedisRole)] = &[
    ("primary", RedisRole::Primary),
    ("master", RedisRole::Primary),
    ("replica", RedisRole::Replica),
    ("slave", RedisRole::Replica),
];

fn redis_url(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = walk.line(value)?;
    let rest = REDIS_SCHEMES.into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let authority = rest.and_then(|rest| rest.split('/').next());
    let host = authority.map(|authority| authority.rsplit('@').next().unwrap_or_default());
    if authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':')) {
        let help = Some("put it into a file that only root reads, and name that: password_file".to_owned());
        walk.error(value, "a password in a unit can be read by everyone who sees the unit", help);
        return None;
    }
    // What follows names one of its databases, by number.
    let database = rest.and_then(|rest| Some(rest.split_once('/')?.1.split('?').next().unwrap_or_default()));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= DATABASE_DIGITS_MAX;
    let is_known = database.is_none_or(|text| is_number(text.trim_end_matches('/')));
    if is_known && !text.contains('#') && host.is_some_and(|host| is_host(host) || split_host_port(host).is_some()) {
        return Some(text.into());
    }
    let help =
        Some("write redis://host:6379, rediss://host:6379 for TLS, redis://host:6379/1 for database 1".to_owned());
    walk.error(value, format!("{text:?} is no url of a Redis server"), help);
    None
}

fn finite(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<TimeSpan> {
    let span = walk.span(value)?;
    if span.is_zero() || span == TimeSpan::INFINITY {
        walk.error(value, format!("{:?} must be above zero and finite", walk.key), None);
        return None;
    }
    Some(span)
}

pub(super) fn file(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("file");
    let mut draft = FileDraft::default();
    table_or_text(walk, value, "health.file", FILE, "path", &mut draft);
    match draft.path {
        Some(path) => {
            let (max_age, min_size) = (draft.max_age, draft.min_size);
            ready(probe, Some(ProbeCheck::File(FileCheck { path, max_age, min_size })));
        }
        None if value.get_ref().as_table().is_some_and(|table| table.get("path").is_none()) => {
            missing(walk, value, "file", "path");
        }
        None => {}
    }
}

/// A `file = { … }` table while it is read.
#[derive(Default)]
pub(super) struct FileDraft {
    path: Option<Box<Path>>,
    max_age: Option<TimeSpan>,
    min_size: Option<ByteSize>,
}

pub(super) const FILE: &[Key<FileDraft>] = &[
    Key { name: "max_age", set: |f, w, v| put(&mut f.max_age, finite(w, v).map(Some)) },
    Key { name: "min_size", set: |f, w, v| put(&mut f.min_size, w.size(v).map(Some)) },
    Key { name: "path", set: |f, w, v| put(&mut f.path, path_of(w, v).map(Some)) },
];

pub(super) fn log(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("log");
    let mut draft = LogDraft::default();
    table_or_text(walk, value, "health.log", LOG, "fail_on", &mut draft);
    let expect = match (draft.expect, draft.expect_within) {
        (None, None) => None,
        (Some(pattern), Some(within)) => Some((pattern, within)),
        (Some(_), None) | (None, Some(_)) => {
            let given = |key| value.get_ref().as_table().is_some_and(|table| table.get(key).is_some());
            if !(given("expect") && given("expect_within")) {
                let help = Some("give both: what should come, and within how long".to_owned());
                walk.error(value, "\"expect\" and \"expect_within\" go together", help);
            }
            return;
        }
    };
    if draft.fail_on.is_none() && draft.warn_on.is_none() && expect.is_none() {
        if value.get_ref().as_table().is_some_and(|table| table.is_empty()) {
            missing(walk, value, "log", "fail_on, warn_on or expect");
        }
        return;
    }
    ready(probe, Some(ProbeCheck::Log(LogCheck { fail_on: draft.fail_on, warn_on: draft.warn_on, expect })));
}

/// A `log = { … }` table while it is read.
#[derive(Default)]
pub(super) struct LogDraft {
    fail_on: Option<LinePattern>,
    warn_on: Option<LinePattern>,
    expect: Option<LinePattern>,
    expect_within: Option<TimeSpan>,
}

pub(super) const LOG: &[Key<LogDraft>] = &[
    Key { name: "expect", set: |l, w, v| put(&mut l.expect, pattern(w, v).map(Some)) },
    Key { name: "expect_within", set: |l, w, v| put(&mut l.expect_within, finite(w, v).map(Some)) },
    Key { name: "fail_on", set: |l, w, v| put(&mut l.fail_on, pattern(w, v).map(Some)) },
    Key { name: "warn_on", set: |l, w, v| put(&mut l.warn_on, pattern(w, v).map(Some)) },
];

/// A regular expression, as `supervisorctl logs --grep` takes it.
fn pattern(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<LinePattern> {
    let text = walk.line(value)?;
    match LinePattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // The whole of it is a drawing of several lines.
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            walk.error(value, format!("cannot read {text:?} as a regular expression: {why}"), None);
            None
        }
    }
}

pub(super) fn systemd(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("systemd");
    let unit = walk.host_unit(value);
    ready(probe, unit.map(ProbeCheck::Systemd));
}

pub(super) fn memory(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("memory");
    let ceiling = ceiling(walk, value, "health.memory", MEMORY);
    ready(probe, ceiling.map(ProbeCheck::Memory));
}

pub(super) fn cpu(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("cpu");
    let ceiling = ceiling(walk, value, "health.cpu", CPU);
    ready(probe, ceiling.map(ProbeCheck::Cpu));
}

/// A table of both limits, or the upper one alone.
fn ceiling(
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    title: &'static str,
    keys: &'static [Key<Ceiling>],
) -> Option<Ceiling> {
    let mut ceiling = Ceiling { warn: None, max: None };
    table_or_text(walk, value, title, keys, "max", &mut ceiling);
    match ceiling {
        Ceiling { warn: Some(warn), max: Some(max) } if warn >= max => {
            walk.error(value, "\"warn\" is not below \"max\"", None);
            None
        }
        Ceiling { warn: None, max: None } => {
            if value.get_ref().as_table().is_some_and(|table| table.is_empty()) {
                walk.error(value, "give max, warn, or both", None);
            }
            None
        }
        given => Some(given),
    }
}

pub(super) const MEMORY: &[Key<Ceiling>] = &[
    Key { name: "max", set: |c, w, v| put(&mut c.max, w.size(v).map(|size| Some(size.0))) },
    Key { name: "warn", set: |c, w, v| put(&mut c.warn, w.size(v).map(|size| Some(size.0))) },
];

pub(super) const CPU: &[Key<Ceiling>] = &[
    Key { name: "max", set: |c, w, v| put(&mut c.max, percent(w, v).map(Some)) },
    Key { name: "warn", set: |c, w, v| put(&mut c.warn, percent(w, v).map(Some)) },
];

/// `"150%"`: one and a half CPUs.
fn percent(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<u64> {
    let text = walk.text(value)?;
    let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    if number.is_none_or(|number| number == 0) {
        let help = Some("write \"150%\" for one and a half CPUs".to_owned());
        walk.error(value, format!("{text:?} is no share of a CPU"), help);
        return None;
    }
    number
}
