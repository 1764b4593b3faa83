//! Rust files as the layering test reads them: no comments, no string contents, with and without the tests.
#![expect(clippy::expect_used, reason = "a helper of tests stops the test")]

use std::{collections::BTreeSet, fs, path::Path};

/// One file under `src`.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to `src`.
    pub(crate) path: String,
    /// All code; comments are gone and strings are empty, lines are as they were.
    pub(crate) code: String,
    /// The code without what stands under `#[cfg(test)]`; empty for a file of tests.
    pub(crate) product: String,
}

/// Every Rust file under a folder, by path.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|end| end == "rs") {
                let path = entry.strip_prefix(root).expect("under the root").to_str().expect("UTF-8").to_owned();
                found.push(Source::read(path, &fs::read_to_string(&entry).expect("a readable file")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn read(path: String, text: &str) -> Self {
        let code = bare(text);
        // `mod tests;` without `#[cfg(test)]` would not compile: tests name dev-dependencies or are dead code.
        let is_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
        let product = if is_tests { String::new() } else { without_tests(&code) };
        Self { path, code, product }
    }
}

/// The code with comments and the contents of strings and characters taken out.
fn bare(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment_end(rest)
        } else if let Some(hashes) = raw_string_hashes(rest).filter(|_| !code.ends_with(is_word)) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').map_or(rest.len(), |at| at + 1);
            rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
        } else if first == '"' {
            quoted_end(rest, '"')
        } else if first == '\'' && is_character(rest) {
            quoted_end(rest, '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..end].chars().filter(|c| *c == '\n'));
        // Keeps the words at both sides apart.
        code.push(' ');
        rest = &rest[end..];
    }
    code
}

fn block_comment_end(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match (text.get(at..at + 2), at >= text.len()) {
            (_, true) => return text.len(),
            (Some("/*"), _) => (depth, at) = (depth + 1, at + 2),
            (Some("*/"), _) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
}

fn raw_string_hashes(text: &str) -> Option<usize> {
    let text = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let hashes = text.len() - text.trim_start_matches('#').len();
    text[hashes..].starts_with('"').then_some(hashes)
}

/// A character, not a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    after.next() == Some('\\') || after.next() == Some('\'')
}

fn quoted_end(text: &str, quote: char) -> usize {
    let mut escaped = true; // the opening quote
    for (at, c) in text.char_indices() {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// The code without each item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, marked)) = rest.split_once(MARK) {
        kept.push_str(before);
        rest = &marked[item_end(marked)..];
    }
    kept + rest
}

/// Where an item ends: at the first `;` or closing `}` outside all brackets.
fn item_end(code: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code.char_indices() {
        depth += match c {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        if depth == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    code.len()
}

/// The words of some code, with their places.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_start = |at: usize| code[at..].starts_with(is_word) && !code[..at].ends_with(is_word);
    code.char_indices().map(|(at, _)| at).filter(move |at| is_start(*at)).map(|at| {
        let end = code[at..].find(|c| !is_word(c)).map_or(code.len(), |end| at + end);
        (at, &code[at..end])
    })
}

/// What is named directly behind `root::`, be it alone or in braces.
pub(crate) fn names_behind<'c>(root: &str, code: &'c str) -> BTreeSet<&'c str> {
    let mut names = BTreeSet::new();
    for (at, word) in words(code).filter(|(_, word)| *word == root) {
        let Some(path) = code[at + word.len()..].trim_start().strip_prefix("::").map(str::trim_start) else { continue };
        match path.strip_prefix('{') {
            Some(group) => names.extend(first_words(group)),
            None => names.extend(words(path).next().map(|(_, word)| word)),
        }
    }
    names
}

/// The first word of each entry of a group, up to its closing brace.
fn first_words(group: &str) -> Vec<&str> {
    let (mut depth, mut begins) = (0, true);
    let mut found = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && is_word(c) => {
                found.extend(words(&group[at..]).next().map(|(_, word)| word));
                begins = false;
            }
            _ => {}
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
