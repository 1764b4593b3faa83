use super::{
    value::put,
    walk::{Key, Value, Walk},
};
use crate::{
    base::{
        TimeSpan,
        address::{is_host, split_host_port},
    },
    unit::{
        draft::{Draft, ExternalDraft},
        spec::Command,
    },
};

/// `[external]`: ours.
pub(super) const EXTERNAL: &[Key<Draft>] = &[
    Key { name: "config", set: |d, w, v| put(&mut external(d).config, path(w, v)) },
    Key { name: "poll_interval", set: |d, w, v| put(&mut external(d).poll_interval, interval(w, v)) },
    Key { name: "reload", set: |d, w, v| put(&mut external(d).reload, command(w, v)) },
    Key { name: "restart", set: |d, w, v| put(&mut external(d).restart, command(w, v)) },
    Key { name: "server", set: |d, w, v| put(&mut external(d).server, server(w, v).map(Some)) },
    Key { name: "start", set: |d, w, v| put(&mut external(d).start, command(w, v)) },
    Key { name: "status", set: |d, w, v| put(&mut external(d).status, command(w, v)) },
    Key { name: "stop", set: |d, w, v| put(&mut external(d).stop, command(w, v)) },
    Key { name: "supervisor", set: |d, w, v| put(&mut external(d).supervisor, process(w, v).map(Some)) },
    Key { name: "supervisorctl", set: |d, w, v| put(&mut external(d).supervisorctl, program(w, v)) },
    Key { name: "systemd", set: |d, w, v| put(&mut external(d).systemd, w.host_unit(v).map(Some)) },
];

/// The table of the draft; the table alone makes one.
pub(super) fn external(draft: &mut Draft) -> &mut ExternalDraft {
    draft.external.get_or_insert_default()
}

fn command(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Command>> {
    walk.command(value).map(Some)
}

fn path(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<std::path::Path>>> {
    let text = walk.text(value)?;
    walk.path(value, text).map(Some)
}

fn program(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    let text = walk.text(value)?;
    walk.path(value, text).map(|_| Some(text.into()))
}

fn interval(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<TimeSpan> {
    let span = walk.span(value)?;
    if span < INTERVAL_MIN || span == TimeSpan::INFINITY {
        walk.error(value, format!("\"poll_interval\" must be finite and at least {INTERVAL_MIN}"), None);
        return None;
    }
    Some(span)
}

/// More often nobody is asked.
const INTERVAL_MIN: TimeSpan = TimeSpan::from_millis(100);

/// `name` or `group:name`; one that begins with `-` would be an option.
fn process(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = walk.line(value)?;
    let parts: Vec<&str> = text.split(':').collect();
    let is_name = |part: &&str| !part.is_empty() && *part != "*" && !part.contains(char::is_whitespace);
    if parts.len() <= 2 && parts.iter().all(is_name) && !text.starts_with('-') && text != "all" {
        return Some(text.into());
    }
    let help = Some("write \"name\" or \"group:name\", a unit for each process".to_owned());
    walk.error(value, format!("{text:?} is no process of Supervisor"), help);
    None
}

fn server(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = walk.line(value)?;
    let (socket, address) = (text.strip_prefix("unix:///"), text.strip_prefix("http://"));
    if socket.or(address).is_some_and(|rest| rest.split('/').next().unwrap_or_default().contains('@')) {
        let help = Some("name Supervisor's own file instead, which has them: config".to_owned());
        walk.error(value, "a password in a unit can be read by everyone who sees the unit", help);
        return None;
    }
    let is_path = |path: &str| !path.is_empty() && !path.contains(char::is_whitespace);
    if socket.is_some_and(is_path) || address.is_some_and(is_web_server) {
        return Some(text.into());
    }
    let help = Some("write unix:///run/supervisor.sock or http://host:port".to_owned());
    walk.error(value, format!("{text:?} is no address of Supervisor"), help);
    None
}

/// `host` or `host:port`; what may follow is where Supervisor answers.
fn is_web_server(address: &str) -> bool {
    let (place, path) = address.split_once('/').unwrap_or((address, ""));
    (is_host(place) || split_host_port(place).is_some()) && matches!(path.trim_end_matches('/'), "" | "RPC2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_server_is_a_host_with_or_without_a_port() {
        for good in ["host", "host/", "host:9001", "10.0.0.1:9001/RPC2", "[::1]", "[::1]:80/RPC2/"] {
            assert!(is_web_server(good), "{good}");
        }
        for bad in ["", ":9001", "host:0", "host:99999", "host:http", "::1:80", "a b", "host:9001/index.html"] {
            assert!(!is_web_server(bad), "{bad}");
        }
    }
}
