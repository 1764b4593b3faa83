use std::{fmt, ops::Range, path::PathBuf, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::base::{ByteSize, TimeSpan};

use super::suggest::suggest;

/// Problems we show of one file; the rest would be noise.
const PROBLEMS_MAX: usize = 50;

/// Something wrong in a settings file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and, where we can guess, what was meant.
    pub text: String,
}

/// All that is wrong with a settings file; shown one problem per line as `file:line:column: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// In the order of the file.
    pub list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, column, text }) in self.list.iter().take(PROBLEMS_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: {text}", self.path.display())?;
        }
        match self.list.len().checked_sub(PROBLEMS_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n{}: {more} more problems", self.path.display()),
        }
    }
}

/// A settings file as it is read: takes problems from all its sections.
#[derive(Debug)]
pub(super) struct Tree<'i> {
    source: &'i str,
    root: Section<'i>,
    problems: Vec<(usize, String)>,
}

/// One table and the keys that were asked of it.
#[derive(Debug)]
pub(super) struct Section<'i> {
    name: &'static str,
    entries: Vec<(Spanned<String>, Spanned<DeValue<'i>>)>,
    known: Vec<&'static str>,
}

impl<'i> Tree<'i> {
    pub(super) fn parse(source: &'i str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(source);
        let problems = errors
            .iter()
            .map(|error| (error.span().map_or(0, |span| span.start), error.message().to_owned()))
            .collect();
        Self { source, root: Section::new("", table.into_inner()), problems }
    }

    /// Takes the table `name`; an absent one is an empty one.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'i> {
        let Some((_, value)) = self.root.take(name) else { return Section::new(name, DeTable::new()) };
        let span = value.span();
        let found = kind(value.get_ref());
        if let DeValue::Table(table) = value.into_inner() {
            return Section::new(name, table);
        }
        self.problem(&span, format!("[{name}] must be a table, not {found}"));
        Section::new(name, DeTable::new())
    }

    pub(super) fn problem(&mut self, span: &Range<usize>, text: String) {
        self.problems.push((span.start, text));
    }

    /// Reports every key of `section` that nobody asked for.
    pub(super) fn finish(&mut self, section: Section<'i>) {
        for (key, _) in &section.entries {
            let word = key.get_ref();
            let place =
                if section.name.is_empty() { "a section".into() } else { format!("a key of [{}]", section.name) };
            let hint = match suggest(word, &section.known) {
                Some(meant) => format!("; did you mean {meant:?}?"),
                None => format!(" (known are: {})", section.known.join(", ")),
            };
            self.problem(&key.span(), format!("{word:?} is not {place}{hint}"));
        }
    }

    /// All problems in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        let root = std::mem::replace(&mut self.root, Section::new("", DeTable::new()));
        self.finish(root);
        self.problems.sort();
        let at = |offset: usize| {
            let before = self.source.get(..offset).unwrap_or(self.source);
            let line = before.rsplit('\n').next().unwrap_or_default();
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        };
        let shown = self.problems.iter().map(|(offset, text)| {
            let (line, column) = at(*offset);
            Problem { line, column, text: text.clone() }
        });
        shown.collect()
    }
}

impl<'i> Section<'i> {
    fn new(name: &'static str, table: DeTable<'i>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let span = key.span();
            (Spanned::new(span, key.into_inner().into_owned()), value)
        });
        Self { name, entries: entries.collect(), known: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<(Spanned<String>, Spanned<DeValue<'i>>)> {
        self.known.push(key);
        let index = self.entries.iter().position(|(name, _)| name.get_ref() == key)?;
        Some(self.entries.remove(index))
    }

    /// Takes `key` and reads it; what cannot be read is a problem and counts as absent.
    pub(super) fn read<T>(
        &mut self,
        tree: &mut Tree<'i>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let (_, value) = self.take(key)?;
        match read(value.get_ref()) {
            Ok(found) => Some(Spanned::new(value.span(), found)),
            Err(text) => {
                tree.problem(&value.span(), format!("{key} {text}"));
                None
            }
        }
    }

    /// A key whose feature this version lacks: only `off`, the value that changes nothing, is accepted.
    pub(super) fn only<T: PartialEq + fmt::Debug>(
        &mut self,
        tree: &mut Tree<'i>,
        key: &'static str,
        off: T,
        read: impl FnOnce(&DeValue<'i>) -> Result<T, String>,
    ) {
        let Some(found) = self.read(tree, key, read) else { return };
        if *found.get_ref() != off {
            let text = format!("{key} is not supported in this version; leave it out, or at its default");
            tree.problem(&found.span(), text);
        }
    }
}

/// The kind of a value in a person's words.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn string(value: &DeValue<'_>) -> Result<String, String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("must be a string, not {}", kind(value))),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("must be true or false, not {}", kind(value)))
}

pub(super) fn integer(value: &DeValue<'_>) -> Result<u64, String> {
    let Some(number) = value.as_integer() else { return Err(format!("must be an integer, not {}", kind(value))) };
    u64::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| format!("must be an integer from 0 to {}", u64::MAX))
}

pub(super) fn strings(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value.as_array() {
        Some(items) => items.iter().map(|item| string(item.get_ref())).collect(),
        None => Err(format!("must be an array of strings, not {}", kind(value))),
    }
}

/// A string that a type of ours reads.
pub(super) fn parsed<T: FromStr>(value: &DeValue<'_>) -> Result<T, String>
where
    T::Err: fmt::Display,
{
    string(value)?.parse().map_err(|error: T::Err| format!("is wrong: {error}"))
}

/// A span as systemd writes it, or whole seconds.
pub(super) fn span(value: &DeValue<'_>) -> Result<TimeSpan, String> {
    match (value.as_integer(), value.as_str()) {
        (Some(_), _) => integer(value).map(TimeSpan::from_secs),
        (None, Some(_)) => parsed(value),
        (None, None) => Err(format!("must be a time span such as \"30s\", not {}", kind(value))),
    }
}

/// A size such as "100M", or bytes.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, String> {
    match (value.as_integer(), value.as_str()) {
        (Some(_), _) => integer(value),
        (None, Some(_)) => parsed::<ByteSize>(value).map(|size| size.0),
        (None, None) => Err(format!("must be a size such as \"100M\", not {}", kind(value))),
    }
}
