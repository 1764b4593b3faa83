//! Readers of single values that only units have. Each reports what it cannot read and gives `None` then.

use std::path::Path;

use toml::de::DeValue;

pub(super) use crate::unit::reader::put;

use super::walk::{LIST_ITEMS_MAX, Value, Walk};
use crate::{
    base::{Signal, UnitName},
    unit::{exec_line, similar::did_you_mean, spec::Command},
};

/// What stands in a list, or the one thing that stands for a list of it.
pub(super) fn items<'l, 'v>(value: &'l Value<'v>) -> &'l [Value<'v>] {
    match value.get_ref() {
        DeValue::Array(items) => items,
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => std::slice::from_ref(value),
    }
}

/// Appends what `read` makes of each entry of a list, or of a lone value. An empty string resets what came before it, as
/// an empty assignment does in systemd; so does an empty list.
pub(super) fn extend<T>(
    list: &mut Vec<T>,
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    read: impl Fn(&mut Walk<'_, '_>, &Value<'_>) -> Option<T>,
) {
    let items = items(value);
    if items.is_empty() {
        list.clear();
    }
    for item in items {
        if item.get_ref().as_str() == Some("") {
            list.clear();
        } else {
            list.extend(read(walk, item));
        }
    }
    if list.len() > LIST_ITEMS_MAX {
        list.truncate(LIST_ITEMS_MAX);
        walk.error(value, format!("{:?} has more than {LIST_ITEMS_MAX} entries", walk.key), None);
    }
}

/// Appends what `read` makes of each word of a string, or of those in a list; like [`extend`] otherwise.
pub(super) fn words<T: Clone>(
    list: &mut Vec<T>,
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    read: impl Fn(&mut Walk<'_, '_>, &Value<'_>, &str) -> Option<T>,
) {
    let mut lists = vec![std::mem::take(list)];
    extend(&mut lists, walk, value, |walk, item| {
        let words = walk.text(item)?.split_ascii_whitespace();
        Some(words.filter_map(|word| read(walk, item, word)).collect())
    });
    *list = lists.concat();
    if list.len() > LIST_ITEMS_MAX {
        list.truncate(LIST_ITEMS_MAX);
        walk.error(value, format!("{:?} has more than {LIST_ITEMS_MAX} entries", walk.key), None);
    }
}

/// The signals that have names of their own.
pub(super) fn signal_names() -> Vec<String> {
    (1..=31).filter_map(Signal::new).map(|signal| signal.to_string()).collect()
}

impl Walk<'_, '_> {
    /// A mode of files in octal: `"0660"` or `0o660`.
    pub(super) fn mode(&mut self, value: &Value<'_>) -> Option<u32> {
        const MODE_MAX: u32 = 0o7777;
        let digits = match value.get_ref() {
            DeValue::String(digits) => Some(&**digits),
            DeValue::Integer(number) if number.radix() == 8 => Some(number.as_str()),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        let mode = digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| u32::from_str_radix(digits, 8).ok())
            .filter(|mode| *mode <= MODE_MAX);
        if mode.is_none() {
            let help = "write it as \"0022\" or 0o022".to_owned();
            self.error(value, format!("{:?} must be an octal mode up to 7777", self.key), Some(help));
        }
        mode
    }

    pub(super) fn signal(&mut self, value: &Value<'_>) -> Option<Signal> {
        let signal = match value.get_ref() {
            DeValue::String(text) => Signal::parse(text),
            DeValue::Integer(number) => Signal::parse(number.as_str()),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.wrong_type(value, "a signal");
                return None;
            }
        };
        if signal.is_none() {
            let names = signal_names();
            let help = value.get_ref().as_str().and_then(|word| did_you_mean(word, names.iter().map(String::as_str)));
            let help = help.unwrap_or_else(|| "write a name such as \"SIGTERM\" or a number".to_owned());
            self.error(value, format!("{:?} names no signal", self.key), Some(help));
        }
        signal
    }

    /// An absolute path without `..`.
    pub(super) fn path(&mut self, value: &Value<'_>, text: &str) -> Option<Box<Path>> {
        const PATH_BYTES_MAX: usize = 4095;
        if !text.starts_with('/') {
            self.error(value, format!("{:?} must be an absolute path, not {text:?}", self.key), None);
        } else if text.split('/').any(|part| part == "..") {
            self.error(value, format!("{:?} cannot contain \"..\"", self.key), None);
        } else if text.len() > PATH_BYTES_MAX || text.contains('\0') {
            self.error(value, format!("{:?} is no path", self.key), None);
        } else {
            return Some(Path::new(text).into());
        }
        None
    }

    /// The whole name of a unit of the host's systemd; without a suffix it is a service.
    pub(super) fn host_unit(&mut self, value: &Value<'_>) -> Option<Box<str>> {
        let text = self.text(value)?;
        match host_unit(text) {
            Ok(name) => Some(name.into()),
            Err(why) => {
                self.error(value, format!("{text:?} is no unit of systemd: {why}"), None);
                None
            }
        }
    }

    /// One command line.
    pub(super) fn command(&mut self, value: &Value<'_>) -> Option<Command> {
        let Some(line) = value.get_ref().as_str() else {
            self.wrong_type(value, "a command line");
            return None;
        };
        match exec_line::parse(line, &self.specifiers) {
            Ok(parsed) => {
                for (offset, message) in parsed.warnings {
                    let place = self.place(self.inside(value, line, offset));
                    self.report.warning(place, message, None);
                }
                Some(parsed.command)
            }
            Err((offset, fault)) => {
                let place = self.place(self.inside(value, line, offset));
                let message = format!("{:?}: {fault}", self.key);
                self.report.error(place, message, fault.help());
                None
            }
        }
    }

    /// Where byte `offset` of a string stands in the file; the string's begin when escapes hide it.
    fn inside(&self, value: &Value<'_>, text: &str, offset: usize) -> usize {
        // After one quote or three, with the newline that TOML drops after three.
        const OPENINGS: [usize; 4] = [1, 3, 4, 5];
        let start = value.span().start;
        let verbatim = |opening: &usize| self.text.get(start + opening..).is_some_and(|rest| rest.starts_with(text));
        match OPENINGS.iter().find(|opening| verbatim(opening)) {
            Some(opening) => start + opening + offset,
            None => start,
        }
    }
}

/// The kinds of units that systemd has; the suffix says which.
const HOST_SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// `text` with its suffix, if it can name a unit of systemd (systemd.unit(5)).
fn host_unit(text: &str) -> Result<String, String> {
    let is_whole = HOST_SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    let name = if is_whole { text.to_owned() } else { format!("{text}.service") };
    UnitName::new(&name).map_err(|error| error.to_string())?;
    if name.contains("@.") {
        return Err("it is a template; name one of its instances".to_owned());
    }
    Ok(name)
}
