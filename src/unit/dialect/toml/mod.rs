//! Our own dialect: TOML whose keys are systemd's directives in snake_case.
//!
//! Walked by hand over a spanned tree, so that one pass finds every mistake with its place. A key is added in the list
//! of its table; the lists are sorted by name.
//!
//! Values mean what systemd's manual says, with what TOML makes of them: a list stands for repeated lines and an empty
//! string in it for the empty assignment, a bare number is seconds where a span is wanted, truths may be `true` or
//! `"yes"`. Specifiers (`%n`) are refused in command lines, and stand for themselves elsewhere.

mod exec_directories;
mod exec_environment;
mod exec_keys;
mod exec_limits;
mod exec_privileges;
mod exec_stdio;
mod external_keys;
mod health_checks;
mod health_keys;
mod http_keys;
mod log_keys;
mod resource_keys;
mod sandbox_keys;
mod service_keys;
mod socket_keys;
mod timer_keys;
mod unit_keys;
mod value;
mod walk;

use std::borrow::Cow;

use toml::de::DeValue;

use self::walk::{Key, Value, Walk};
use super::super::{
    diag::{Place, Report},
    draft::{Draft, Places},
    reader::{self, Reader},
    similar::did_you_mean,
    source::{FILE_BYTES_MAX, SourceText},
    specifier::{self, HostFacts, Specifiers},
};

/// The tables of a unit file.
const TABLES: [&str; 8] = ["unit", "service", "external", "socket", "timer", "health", "log", "install"];
/// The keys of those that are read into the draft itself. Those of [service] stand in one list for each manual page.
const KEYS: [(&str, &[&[Key<Draft>]]); 7] = [
    ("unit", &[unit_keys::UNIT]),
    (
        "service",
        &[
            service_keys::SERVICE,
            service_keys::KILL,
            exec_keys::EXEC,
            sandbox_keys::SANDBOX,
            resource_keys::RESOURCES,
            log_keys::EXEC_LOG,
        ],
    ),
    ("external", &[external_keys::EXTERNAL]),
    ("socket", &[socket_keys::SOCKET]),
    ("timer", &[timer_keys::TIMER]),
    ("log", &[log_keys::LOG]),
    ("install", &[unit_keys::INSTALL]),
];
/// Tables that a later version will read.
const LATER_TABLES: [&str; 2] = ["on_restart", "release"];

/// Reads one file into `draft`.
pub(in crate::unit) fn read<'s>(
    source: &'s SourceText,
    file: usize,
    draft: &mut Draft,
    places: &mut Places,
    report: &mut Report<'s>,
    host: &HostFacts,
) {
    let at = |offset| Place { file, offset };
    if source.text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", source.text.len());
        report.error(at(0), message, None);
        return;
    }
    let text = match str::from_utf8(&source.text) {
        Ok(text) => text,
        Err(error) => {
            report.error(at(error.valid_up_to()), "the file is not text in UTF-8", None);
            return;
        }
    };
    let mut tree = reader::parse(text, file, report);
    let name = draft.def.name.clone();
    let specifiers = Specifiers { name: &name, host };
    for (key, value) in tree.get_mut() {
        if key.get_ref() == "external" {
            // Its commands are split into words first, and what else it has needs no specifiers.
            continue;
        }
        expand(value, key.get_ref(), &specifiers, &mut |offset, letter| {
            let (message, help) = specifier::refused(letter);
            report.error(at(offset), message, Some(help));
        });
    }
    let mut walk = Walk { reader: Reader { report, file, key: "" }, places, text, dropin: source.dropin, specifiers };
    for (name, value) in tree.get_ref() {
        read_table(&mut walk, name, value, draft);
    }
}

/// Replaces the specifiers in every text below. Command lines are left: their words are split first.
fn expand(value: &mut Value<'_>, key: &str, specifiers: &Specifiers<'_>, refused: &mut dyn FnMut(usize, char)) {
    let start = value.span().start;
    match value.get_mut() {
        DeValue::String(_) if key.starts_with("exec") && key != "exec_search_path" => {}
        DeValue::String(text) => match specifiers.expand(text) {
            Ok(Cow::Owned(expanded)) => *text = Cow::Owned(expanded),
            Ok(Cow::Borrowed(_)) => {}
            Err(letter) => refused(start, letter),
        },
        DeValue::Array(items) => items.iter_mut().for_each(|item| expand(item, key, specifiers, refused)),
        DeValue::Table(table) => {
            table.iter_mut().for_each(|(key, value)| expand(value, key.get_ref(), specifiers, refused));
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

fn read_table(walk: &mut Walk<'_, '_>, name: &toml::Spanned<Cow<'_, str>>, value: &Value<'_>, draft: &mut Draft) {
    let title: &str = name.get_ref();
    if draft.def.name.is_target() && !matches!(title, "unit" | "install") {
        let place = walk.place(name.span().start);
        let help = "a target groups units: it has [unit] and [install] only".to_owned();
        walk.report.error(place, format!("[{title}] cannot stand in a target"), Some(help));
        return;
    }
    if let Some((title, keys)) = KEYS.iter().find(|(known, _)| *known == title) {
        if let Some(table) = walk.as_table(value, title) {
            if *title == "timer" {
                timer_keys::timer(draft).place = walk.place(name.span().start);
            }
            if *title == "external" {
                external_keys::external(draft).place = walk.place(name.span().start);
            }
            walk.keys(title, table, keys, draft);
        }
        return;
    }
    match title {
        "health" => health_keys::read(walk, value, draft),
        _ => {
            let place = walk.place(name.span().start);
            if LATER_TABLES.contains(&title) {
                walk.report.error(place, format!("[{title}] is not supported by this version"), None);
            } else if let Some(owner) = owners(title).next() {
                let help = format!("write it under [{owner}]");
                walk.report.error(place, format!("{title:?} stands outside of a table"), Some(help));
            } else {
                let what =
                    if matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) { "table" } else { "key" };
                walk.report.error(place, format!("unknown {what} {title:?}"), did_you_mean(title, TABLES));
            }
        }
    }
}

/// The tables that have a key of this name.
fn owners(key: &str) -> impl Iterator<Item = &'static str> {
    let has = move |lists: &[&[Key<Draft>]]| lists.iter().copied().flatten().any(|known| known.name == key);
    KEYS.into_iter().filter(move |(_, lists)| has(lists)).map(|(title, _)| title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_keys_are_sorted_because_they_are_searched() {
        for keys in KEYS.into_iter().flat_map(|(_, lists)| lists) {
            assert!(keys.is_sorted_by(|a, b| a.name < b.name), "{:?}", keys.iter().map(|k| k.name).collect::<Vec<_>>());
        }
        assert!(health_keys::PROBE.is_sorted_by(|a, b| a.name < b.name));
        assert!(http_keys::HTTP.is_sorted_by(|a, b| a.name < b.name));
        assert!(http_keys::SIGN.is_sorted_by(|a, b| a.name < b.name));
    }
}
