//! `http = { … }` of a probe: one request as a table, or several in order as a list of them (`[[health.http]]`).

use std::{collections::BTreeMap, path::Path};

use toml::de::DeValue;

use super::{
    health_checks,
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::{
        ByteSize,
        address::{is_host, split_host_port, url_fault},
    },
    unit::{
        draft::{CheckDraft, HttpDraft, ProbeDraft},
        placeholder,
        spec::{UploadScheme, UploadSignature},
    },
};

/// How many requests one probe may send.
const STEPS_MAX: usize = 16;
/// The longest body that is read or made.
const BODY_BYTES_MAX: ByteSize = ByteSize(16 << 20);

/// A table, the url alone, or a list of tables. A drop-in changes the table of an earlier http probe key by key; a list takes
/// the place of what was there.
pub(super) fn http(probe: &mut ProbeDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    probe.checks_here.push("http");
    let place = probe.place;
    if let DeValue::Array(items) = value.get_ref() {
        probe.check = Some(CheckDraft::Http(steps(walk, value, items)));
        return;
    }
    if !matches!(&probe.check, Some(CheckDraft::Http(steps)) if steps.len() == 1) {
        probe.check = Some(CheckDraft::Http(vec![HttpDraft::new(place)]));
    }
    let Some(CheckDraft::Http(steps)) = &mut probe.check else { return };
    let Some(http) = steps.first_mut() else { return };
    match value.get_ref() {
        DeValue::Table(table) => {
            http.keys.extend(walk.key_places(table, HTTP));
            walk.keys("health.http", table, &[HTTP], http);
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            http.keys.push(("url", walk.place(value.span().start)));
            url(http, walk, value);
        }
    }
}

fn steps(walk: &mut Walk<'_, '_>, value: &Value<'_>, items: &[Value<'_>]) -> Vec<HttpDraft> {
    if items.is_empty() || items.len() > STEPS_MAX {
        walk.error(value, format!("a probe sends 1 to {STEPS_MAX} requests, not {}", items.len()), None);
    }
    let mut steps = Vec::new();
    for item in items.iter().take(STEPS_MAX) {
        let mut step = HttpDraft::new(walk.place(item.span().start));
        if let Some(table) = walk.as_table(item, "health.http") {
            step.keys = walk.key_places(table, HTTP);
            walk.keys("health.http", table, &[HTTP], &mut step);
        }
        steps.push(step);
    }
    steps
}

pub(super) const HTTP: &[Key<HttpDraft>] = &[
    Key { name: "body", set: |h, w, v| put(&mut h.body, w.text(v).map(|text| Some(text.into()))) },
    Key { name: "body_max", set: |h, w, v| put(&mut h.body_max, size(w, v)) },
    Key { name: "capture", set: |h, w, v| members(&mut h.capture, w, v, captured) },
    Key { name: "expect_body", set: |h, w, v| put(&mut h.expect_body, w.text(v).map(|text| Some(text.into()))) },
    Key { name: "expect_body_of", set: |h, w, v| put(&mut h.expect_body_of, w.line(v).map(|text| Some(text.into()))) },
    Key { name: "expect_json", set: |h, w, v| members(&mut h.expect_json, w, v, expectation) },
    Key { name: "expect_status", set: |h, w, v| extend(&mut h.expect_status, w, v, status) },
    Key { name: "headers", set: |h, w, v| members(&mut h.headers, w, v, header) },
    Key { name: "method", set: |h, w, v| put(&mut h.method, w.choice(v, METHODS)) },
    Key { name: "name", set: |h, w, v| put(&mut h.name, w.line(v).map(|text| Some(text.into()))) },
    Key { name: "random_body", set: |h, w, v| put(&mut h.random_body, size(w, v).map(Some)) },
    Key { name: "sign", set: |h, w, v| put(&mut h.sign, signature(w, v).map(Some)) },
    Key { name: "tls", set: |h, w, v| put(&mut h.tls, health_checks::tls(w, v).map(Option::unwrap_or_default)) },
    Key { name: "unix_socket", set: unix_socket },
    Key { name: "url", set: url },
];

/// A `sign = { … }` table while it is read.
pub(super) struct SignDraft {
    scheme: UploadScheme,
    secret_file: Option<Box<Path>>,
    base_path: Box<str>,
}

pub(super) const SIGN: &[Key<SignDraft>] = &[
    Key { name: "base_path", set: |s, w, v| put(&mut s.base_path, base_path(w, v)) },
    Key { name: "scheme", set: |s, w, v| put(&mut s.scheme, w.choice(v, SCHEMES)) },
    Key { name: "secret_file", set: |s, w, v| put(&mut s.secret_file, health_checks::needed_file(w, v).map(Some)) },
];

const SCHEMES: &[(&str, UploadScheme)] = &[("v", UploadScheme::V), ("v2", UploadScheme::V2)];

fn signature(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<UploadSignature> {
    let table = walk.as_table(value, "sign")?;
    let mut draft = SignDraft { scheme: UploadScheme::V2, secret_file: None, base_path: "/".into() };
    walk.keys("health.http.sign", table, &[SIGN], &mut draft);
    let Some(secret_file) = draft.secret_file else {
        if table.get("secret_file").is_none() {
            let help = Some("name the file with the secret that the server has too".to_owned());
            walk.error(value, "a signature needs a secret_file", help);
        }
        return None;
    };
    Some(UploadSignature { scheme: draft.scheme, secret_file, base_path: draft.base_path })
}

fn base_path(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = walk.line(value)?;
    if !text.starts_with('/') {
        walk.error(value, format!("{text:?} is no path of a URL"), Some(format!("write \"/{text}\"")));
        return None;
    }
    Some(if text.ends_with('/') { text.into() } else { format!("{text}/").into() })
}

/// Where a value stands that later requests use: a JSON pointer, or the name of a header.
fn captured(walk: &mut Walk<'_, '_>, name: &str, value: &Value<'_>) -> Option<String> {
    if !placeholder::is_name(name) {
        walk.error(value, format!("{name:?} is no name of a value: letters, digits and _ are"), None);
        return None;
    }
    let from = walk.line(value)?;
    if !from.starts_with('/') && !is_token(from) {
        let help = "write \"/status/id\" for a value of the JSON in the body, or \"Location\" for a header".to_owned();
        walk.error(value, format!("{from:?} is neither a JSON pointer nor a header"), Some(help));
        return None;
    }
    Some(from.to_owned())
}

const METHODS: &[(&str, &str)] =
    &[("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST"), ("PUT", "PUT"), ("DELETE", "DELETE")];

fn url(http: &mut HttpDraft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let Some(text) = walk.line(value) else { return };
    match check_url(text) {
        Ok(()) => http.url = Some(text.into()),
        Err(why) => walk.error(value, format!("{text:?} is no url of a probe: it {why}"), None),
    }
}

/// Why a probe cannot ask this URL.
fn check_url(url: &str) -> Result<(), &'static str> {
    // What is filled in can only be what follows the host.
    let (fixed, filled) = url.split_once("${").unwrap_or((url, ""));
    if let Some(why) = url_fault(&format!("{fixed}/{filled}")) {
        return Err(why);
    }
    let rest = fixed.split_once("://").map_or(fixed, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has credentials, which belong in a header");
    }
    if !is_host(authority) && split_host_port(authority).is_none() {
        return Err("has a host that is not written in ASCII (xn--…)");
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.contains(['<', '>', '`']) || query.contains(['<', '>', '"']) {
        return Err("has a character that cannot be sent (< is %3C, > is %3E, \" is %22, ` is %60)");
    }
    Ok(())
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

/// A token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

/// A header: a token (RFC 9110, 5.6.2) and a value of one line.
fn header(walk: &mut Walk<'_, '_>, name: &str, value: &Value<'_>) -> Option<String> {
    if !is_token(name) {
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
        for good in [
            "http://127.0.0.1:8080/health",
            "http://[::1]:80/",
            "https://example.org",
            "http://[::1]",
            "http://a?x=1",
            "http://a:80${x}",
            "http://a/${x}/y",
        ] {
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
            "http://a/#there",
            "http://a/${x}#there",
            "http://a/${x} y",
            "http://a/<x>",
            "http://a/?x=\"1\"",
            "http://b\u{fc}cher.example/",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
