use std::{ops::RangeInclusive, path::Path};

use toml::de::DeValue;

use super::{
    value::{extend, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::{ByteSize, TimeSpan},
    unit::{
        draft::Draft,
        exec_line::is_variable_name,
        spec::{Command, Limit, Output, Resource},
    },
};

/// `[service]`, as systemd.exec(5) has it.
pub(super) const EXEC: &[Key<Draft>] = &[
    Key { name: "environment", set: environment },
    Key { name: "environment_file", set: environment_file },
    Key { name: "group", set: |d, w, v| put(&mut d.def.service.exec.group, account(w, v)) },
    Key {
        name: "ignore_sigpipe",
        set: |d, w, v| put(&mut d.def.service.exec.keep_sigpipe, w.boolean(v).map(|ignore| !ignore)),
    },
    Key { name: "limit_as", set: |d, w, v| limit(d, w, v, Resource::As) },
    Key { name: "limit_core", set: |d, w, v| limit(d, w, v, Resource::Core) },
    Key { name: "limit_cpu", set: |d, w, v| limit(d, w, v, Resource::Cpu) },
    Key { name: "limit_data", set: |d, w, v| limit(d, w, v, Resource::Data) },
    Key { name: "limit_fsize", set: |d, w, v| limit(d, w, v, Resource::Fsize) },
    Key { name: "limit_locks", set: |d, w, v| limit(d, w, v, Resource::Locks) },
    Key { name: "limit_memlock", set: |d, w, v| limit(d, w, v, Resource::Memlock) },
    Key { name: "limit_msgqueue", set: |d, w, v| limit(d, w, v, Resource::Msgqueue) },
    Key { name: "limit_nice", set: |d, w, v| limit(d, w, v, Resource::Nice) },
    Key { name: "limit_nofile", set: |d, w, v| limit(d, w, v, Resource::Nofile) },
    Key { name: "limit_nproc", set: |d, w, v| limit(d, w, v, Resource::Nproc) },
    Key { name: "limit_rss", set: |d, w, v| limit(d, w, v, Resource::Rss) },
    Key { name: "limit_rtprio", set: |d, w, v| limit(d, w, v, Resource::Rtprio) },
    Key { name: "limit_rttime", set: |d, w, v| limit(d, w, v, Resource::Rttime) },
    Key { name: "limit_sigpending", set: |d, w, v| limit(d, w, v, Resource::Sigpending) },
    Key { name: "limit_stack", set: |d, w, v| limit(d, w, v, Resource::Stack) },
    Key { name: "nice", set: |d, w, v| number(&mut d.def.service.exec.nice, w, v, -20..=19) },
    Key { name: "no_new_privileges", set: |d, w, v| put(&mut d.def.service.exec.no_new_privileges, w.boolean(v)) },
    Key {
        name: "oom_score_adjust",
        set: |d, w, v| number(&mut d.def.service.exec.oom_score_adjust, w, v, -1000..=1000),
    },
    Key { name: "standard_error", set: |d, w, v| put(&mut d.def.service.exec.stderr, standard_error(w, v)) },
    Key { name: "standard_output", set: |d, w, v| put(&mut d.def.service.exec.stdout, output(w, v)) },
    Key { name: "supplementary_groups", set: |d, w, v| extend(&mut d.supplementary_groups, w, v, account_name) },
    Key { name: "umask", set: |d, w, v| put(&mut d.def.service.exec.umask, w.mode(v).map(Some)) },
    Key { name: "user", set: |d, w, v| put(&mut d.def.service.exec.user, account(w, v)) },
    Key {
        name: "working_directory",
        set: |d, w, v| put(&mut d.def.service.exec.working_directory, working_directory(w, v)),
    },
];

/// One command line, or a list of them.
pub(super) fn commands(list: &mut Vec<Command>, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(list, walk, value, |walk, item| walk.command(item));
}

/// A table of variables, or a list of `"NAME=value"`. An empty list (or string in it) resets; a table only adds.
pub(super) fn environment(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (name, item) in table {
                let text = scalar(walk, item);
                if let Some(text) = text.filter(|text| variable(walk, item, name.get_ref(), text)) {
                    draft.environment.insert(name.get_ref().as_ref().into(), text.into());
                }
            }
        }
        DeValue::Array(items) => {
            if items.is_empty() {
                draft.environment.clear();
            }
            for item in items {
                assignment(draft, walk, item);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            walk.wrong_type(value, "a table, or a list of \"NAME=value\"")
        }
    }
}

fn assignment(draft: &mut Draft, walk: &mut Walk<'_, '_>, item: &Value<'_>) {
    let Some(text) = walk.text(item) else { return };
    if text.is_empty() {
        draft.environment.clear();
        return;
    }
    let Some((name, text)) = text.split_once('=') else {
        walk.error(item, format!("{text:?} is no assignment"), Some("write \"NAME=value\"".to_owned()));
        return;
    };
    if variable(walk, item, name, text) {
        draft.environment.insert(name.into(), text.into());
    }
}

/// A string, or a number or truth as it is written.
fn scalar(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            walk.wrong_type(value, "a table of strings");
            None
        }
    }
}

/// Whether it may stand in an environment; systemd's rules.
fn variable(walk: &mut Walk<'_, '_>, place: &Value<'_>, name: &str, value: &str) -> bool {
    if !is_variable_name(name) {
        let help = "letters, digits and _, no digit first".to_owned();
        walk.error(place, format!("{name:?} is no name of a variable"), Some(help));
        return false;
    }
    if value.contains(|c: char| c.is_control() && c != '\t' && c != '\n') {
        walk.error(place, format!("the value of {name} contains control characters"), None);
        return false;
    }
    true
}

pub(super) fn environment_file(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(&mut draft.environment_files, walk, value, |walk, item| {
        let text = walk.text(item)?;
        let (path, may_miss) = match text.strip_prefix('-') {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains(['*', '?', '[']) {
            walk.error(item, "patterns in file names are not supported by this version", None);
            return None;
        }
        walk.path(item, path).map(|path| (path, may_miss))
    });
}

/// A user or group; an empty string unsets it.
pub(super) fn account(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    if value.get_ref().as_str() == Some("") {
        return Some(None);
    }
    account_name(walk, value).map(Some)
}

/// A name or number of a user or group. Whether it exists is for the host to say.
pub(super) fn account_name(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Box<str>> {
    const NAME_BYTES_MAX: usize = 256;
    if value.get_ref().is_integer() {
        // The largest number means "none" to the kernel.
        let number = walk.integer(value, 0..=i64::from(u32::MAX - 1))?;
        return Some(number.to_string().into());
    }
    let name = walk.text(value)?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ',');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(odd) || name.starts_with('-') {
        walk.error(value, format!("{name:?} is no name of a user or group"), None);
        return None;
    }
    Some(name.into())
}

pub(super) fn working_directory(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<Path>>> {
    let text = walk.text(value)?;
    if text.is_empty() {
        return Some(None);
    }
    if text == "~" || text.starts_with('-') {
        walk.error(
            value,
            format!("{text:?} is not supported by this version"),
            Some("write the whole path".to_owned()),
        );
        return None;
    }
    walk.path(value, text).map(Some)
}

pub(super) fn number(slot: &mut Option<i32>, walk: &mut Walk<'_, '_>, value: &Value<'_>, range: RangeInclusive<i64>) {
    let number = walk.integer(value, range).and_then(|number| i32::try_from(number).ok());
    *slot = number.or(*slot);
}

const OUTPUTS: &[(&str, Option<Output>)] = &[
    ("journal", Some(Output::Log)),
    ("log", Some(Output::Log)),
    ("null", Some(Output::Null)),
    ("inherit", Some(Output::Inherit)),
    ("syslog", None),
    ("kmsg", None),
    ("journal+console", None),
    ("kmsg+console", None),
    ("tty", None),
    ("socket", None),
];

pub(super) fn output(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Output> {
    const FILES: [&str; 4] = ["file:", "append:", "truncate:", "fd:"];
    let word = value.get_ref().as_str().unwrap_or_default();
    let to_file = FILES.iter().any(|kind| word.starts_with(kind));
    let output = if to_file { Some(None) } else { walk.choice(value, OUTPUTS) };
    if output == Some(None) {
        let help = "it can be log, null, inherit".to_owned();
        walk.error(value, format!("{:?} cannot be {word:?} in this version", walk.key), Some(help));
    }
    output.flatten()
}

/// `inherit` means standard output's for standard error, as in systemd.
pub(super) fn standard_error(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Output>> {
    match output(walk, value)? {
        Output::Inherit => Some(None),
        other @ (Output::Log | Output::Null) => Some(Some(other)),
    }
}

/// `soft:hard` or one value for both; the last one given for a resource counts.
pub(super) fn limit(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, resource: Resource) {
    let number = value.get_ref().as_integer().map(ToString::to_string);
    let text = match (&number, value.get_ref().as_str()) {
        (Some(number), _) => number,
        (None, Some(text)) => text,
        (None, None) => {
            walk.wrong_type(value, "a limit");
            return;
        }
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (Some(soft), Some(hard)) = (limit_value(soft, resource), limit_value(hard, resource)) else {
        let help = "write a number, \"infinity\", or \"soft:hard\"".to_owned();
        walk.error(value, format!("{:?} cannot be {text:?}", walk.key), Some(help));
        return;
    };
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        walk.error(value, format!("{:?} has a soft limit above the hard one", walk.key), None);
        return;
    }
    draft.limits.retain(|limit| limit.resource != resource);
    draft.limits.push(Limit { resource, soft, hard });
}

/// One side of a limit in its resource's own units; `Some(None)` is no limit.
fn limit_value(text: &str, resource: Resource) -> Option<Option<u64>> {
    let text = text.trim();
    if text == "infinity" {
        return Some(None);
    }
    let value = match resource {
        Resource::As
        | Resource::Core
        | Resource::Data
        | Resource::Fsize
        | Resource::Memlock
        | Resource::Msgqueue
        | Resource::Rss
        | Resource::Stack => text.parse::<ByteSize>().ok()?.0,
        // In whole seconds, rounded up: less than a second is not no time at all.
        Resource::Cpu => text.parse::<TimeSpan>().ok()?.micros()?.div_ceil(1_000_000),
        // A bare number is microseconds here.
        Resource::Rttime => text.parse().ok().or_else(|| text.parse::<TimeSpan>().ok()?.micros())?,
        Resource::Nice => nice_limit(text)?,
        Resource::Locks | Resource::Nofile | Resource::Nproc | Resource::Rtprio | Resource::Sigpending => {
            text.parse().ok()?
        }
    };
    // The kernel's word for no limit.
    (value != u64::MAX).then_some(Some(value))
}

/// RLIMIT_NICE counts from 20 downwards; with a sign the value is a niceness (systemd.exec(5), LimitNICE=).
fn nice_limit(text: &str) -> Option<u64> {
    const NICE_LIMIT_MAX: u64 = 40;
    if text.starts_with(['+', '-']) {
        let nice = text.parse::<i64>().ok().filter(|nice| (-20..=19).contains(nice))?;
        return u64::try_from(20 - nice).ok();
    }
    text.parse().ok().filter(|limit| *limit <= NICE_LIMIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_units_of_their_resource() {
        let cases = [
            ("65536", Resource::Nofile, Some(Some(65536))),
            ("infinity", Resource::Core, Some(None)),
            ("4G", Resource::As, Some(Some(4 << 30))),
            ("4G", Resource::Nofile, None),
            ("500ms", Resource::Cpu, Some(Some(1))),
            ("2min", Resource::Cpu, Some(Some(120))),
            ("500", Resource::Rttime, Some(Some(500))),
            ("2ms", Resource::Rttime, Some(Some(2000))),
            ("-5", Resource::Nice, Some(Some(25))),
            ("+5", Resource::Nice, Some(Some(15))),
            ("7", Resource::Nice, Some(Some(7))),
            ("41", Resource::Nice, None),
            ("-1", Resource::Nofile, None),
            ("", Resource::Nproc, None),
        ];
        for (text, resource, value) in cases {
            assert_eq!(limit_value(text, resource), value, "{text} {resource:?}");
        }
    }
}
