use super::{
    value::words,
    walk::{Value, Walk},
};
use crate::unit::{
    draft::Draft,
    spec::{DirectoryKind, Preserve},
};

/// Names of directories, each with `:link` where a symbolic link is to lead to it.
pub(super) fn names(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, kind: DirectoryKind) {
    words(draft.exec_draft.directories(kind), walk, value, |walk, item, word| {
        let (name, link) = match word.split_once(':') {
            Some((name, link)) => (name, Some(link)),
            None => (word, None),
        };
        if link.is_some() && kind == DirectoryKind::Configuration {
            walk.error(item, format!("{:?} has no links", walk.key), None);
            return None;
        }
        let name = relative(walk, item, name)?;
        let link = match link {
            Some(link) => Some(relative(walk, item, link)?),
            None => None,
        };
        Some((name, link))
    });
}

/// A relative path, without what it can be written without.
fn relative(walk: &mut Walk<'_, '_>, value: &Value<'_>, text: &str) -> Option<Box<str>> {
    const PATH_BYTES_MAX: usize = 3072;
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let fault = if text.starts_with('/') {
        "a path below the directory that its key stands for, without a slash at its begin"
    } else if parts.contains(&"..") || parts.is_empty() || text.len() > PATH_BYTES_MAX {
        "a path without \"..\""
    } else if parts.first() == Some(&"private") {
        "another one: \"private\" is what systemd keeps for itself"
    } else {
        return Some(parts.join("/").into());
    };
    walk.error(value, format!("{:?} must be {fault}, not {text:?}", walk.key), None);
    None
}

const PRESERVE: &[(&str, Preserve)] = &[("no", Preserve::No), ("restart", Preserve::Restart), ("yes", Preserve::Yes)];

/// A truth, or `restart`.
pub(super) fn preserve(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Preserve> {
    let is_word = value.get_ref().as_str().is_some_and(|word| PRESERVE.iter().any(|(known, _)| *known == word));
    if is_word {
        return walk.choice(value, PRESERVE);
    }
    walk.boolean(value).map(|stay| if stay { Preserve::Yes } else { Preserve::No })
}
