use std::path::Path;

use toml::de::DeValue;

use super::{
    value::{extend, words},
    walk::{Value, Walk},
};
use crate::unit::{
    draft::Draft,
    exec_line::is_variable_name,
    spec::{At, WorkingDirectory},
};

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
    if !is_name(walk, place, name) {
        return false;
    }
    if value.contains(|c: char| c.is_control() && c != '\t' && c != '\n') {
        walk.error(place, format!("the value of {name} contains control characters"), None);
        return false;
    }
    true
}

fn is_name(walk: &mut Walk<'_, '_>, place: &Value<'_>, name: &str) -> bool {
    let is_name = is_variable_name(name);
    if !is_name {
        let help = "letters, digits and _, no digit first".to_owned();
        walk.error(place, format!("{name:?} is no name of a variable"), Some(help));
    }
    is_name
}

pub(super) fn environment_file(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(&mut draft.environment_files, walk, value, |walk, item| {
        let text = walk.text(item)?;
        let (path, may_miss) = match text.strip_prefix('-') {
            Some(path) => (path, true),
            None => (text, false),
        };
        walk.path(item, path).map(|path| (path, may_miss))
    });
}

/// Names of the daemon's own variables.
pub(super) fn pass_environment(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    words(&mut draft.exec_draft.pass_environment, walk, value, |walk, item, name| {
        is_name(walk, item, name).then(|| name.into())
    });
}

/// `NAME`, or `NAME=value`.
pub(super) fn unset_environment(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(&mut draft.exec_draft.unset_environment, walk, value, |walk, item| {
        let text = walk.text(item)?;
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        is_name(walk, item, name).then(|| text.into())
    });
}

/// Folders, each as an entry or many joined by `:`.
pub(super) fn search_path(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let mut lists: Vec<Vec<Box<Path>>> = vec![std::mem::take(&mut draft.exec_draft.search_path)];
    extend(&mut lists, walk, value, |walk, item| {
        let folders = walk.text(item)?.split(':').map(|folder| walk.path(item, folder));
        folders.collect()
    });
    draft.exec_draft.search_path = lists.concat();
}

/// A path, `~`, or either with `-` before it.
pub(super) fn working_directory(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<WorkingDirectory> {
    let text = walk.text(value)?;
    if text.is_empty() {
        return Some(WorkingDirectory::default());
    }
    let (place, may_miss) = match text.strip_prefix('-') {
        Some(place) => (place, true),
        None => (text, false),
    };
    let at = if place == "~" { At::Home } else { At::Path(walk.path(value, place)?) };
    Some(WorkingDirectory { at, may_miss })
}

/// A path; an empty string unsets it.
pub(super) fn optional_path(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<Path>>> {
    let text = walk.text(value)?;
    if text.is_empty() { Some(None) } else { walk.path(value, text).map(Some) }
}
