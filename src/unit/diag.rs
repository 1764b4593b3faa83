//! What is wrong with units or settings, and where: every problem of all files is collected, then shown at once.

use std::{fmt, path::Path, sync::Arc};

use super::SourceText;

/// How many problems are kept; the rest is counted.
pub const PROBLEMS_MAX: usize = 1000;

/// One thing that is wrong in one place of one file.
///
/// Shown as `units/web.toml:7:3: error: unknown key "restrat_sec" in [service]`, the help on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as the loader was given it.
    pub file: Arc<Path>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Whether the units can be used all the same.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Whether units with this problem can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// They cannot.
    Error,
    /// They can, but probably do not do what was meant.
    Warning,
}

impl Level {
    /// The word people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Problem {
    /// An error at a byte of a file that says `text`.
    pub fn error(file: &Path, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let (line, column) = position(text.as_bytes(), offset);
        Self { file: file.into(), line, column, level: Level::Error, message: message.into(), help: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, level, message, help } = self;
        write!(f, "{}:{line}:{column}: {}: {message}", file.display(), level.as_str())?;
        match help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// A place in one of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// Index of the source.
    pub file: usize,
    /// Byte offset in its text.
    pub offset: usize,
}

/// What problems are shown of.
#[derive(Debug)]
struct Shown<'s> {
    path: Arc<Path>,
    text: &'s [u8],
}

/// Collects the problems of all sources.
#[derive(Debug)]
pub(super) struct Report<'s> {
    sources: Vec<Shown<'s>>,
    problems: Vec<Problem>,
    dropped: usize,
    errors: usize,
    /// The lines on which the syntax is broken: what else is found there follows from that.
    broken: Vec<(usize, u32)>,
}

impl<'s> Report<'s> {
    pub(super) fn new(sources: &'s [SourceText]) -> Self {
        let shown = |source: &'s SourceText| Shown { path: Arc::clone(&source.path), text: &source.text };
        Self::of(sources.iter().map(shown).collect())
    }

    /// Of one file that is no unit's.
    pub(super) fn of_one(path: &Path, text: &'s [u8]) -> Self {
        Self::of(vec![Shown { path: path.into(), text }])
    }

    const fn of(sources: Vec<Shown<'s>>) -> Self {
        Self { sources, problems: Vec::new(), dropped: 0, errors: 0, broken: Vec::new() }
    }

    /// Whether the syntax of something is broken.
    pub(super) const fn has_broken_syntax(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Something that keeps the units from being used.
    pub(super) fn error(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.add(place, Level::Error, message.into(), help);
    }

    /// Something that was probably not meant.
    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.add(place, Level::Warning, message.into(), help);
    }

    /// An error of the syntax; later problems on its line are taken for its consequences.
    pub(super) fn syntax(&mut self, place: Place, message: String) {
        // Without a look at the text: there may be as many of these as the file has characters.
        let broken = (!self.is_full()).then(|| (place.file, self.position(place).0));
        self.add(place, Level::Error, message, None);
        self.broken.extend(broken);
    }

    /// Whether further problems are only counted: what would explain them need not be looked for.
    pub(super) const fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    /// How many errors there are so far.
    pub(super) const fn errors(&self) -> usize {
        self.errors
    }

    fn add(&mut self, place: Place, level: Level, message: String, help: Option<String>) {
        self.errors += usize::from(level == Level::Error);
        if self.is_full() {
            self.dropped += 1;
            return;
        }
        let (line, column) = self.position(place);
        if self.broken.contains(&(place.file, line)) {
            return;
        }
        let Some(source) = self.sources.get(place.file) else { return };
        self.problems.push(Problem { file: Arc::clone(&source.path), line, column, level, message, help });
    }

    /// `path:line:column`, for the help of a problem elsewhere.
    pub(super) fn show(&self, place: Place) -> String {
        let (line, column) = self.position(place);
        let path = self.sources.get(place.file).map(|source| source.path.display().to_string());
        format!("{}:{line}:{column}", path.unwrap_or_default())
    }

    /// The file of a place, its line and its column.
    pub(super) fn located(&self, place: Place) -> Option<(Arc<Path>, u32, u32)> {
        let (line, column) = self.position(place);
        Some((Arc::clone(&self.sources.get(place.file)?.path), line, column))
    }

    fn position(&self, place: Place) -> (u32, u32) {
        let text = self.sources.get(place.file).map_or(&[][..], |source| source.text);
        position(text, place.offset)
    }

    /// The warnings when nothing worse was found, else everything; by file, then by place.
    pub(super) fn finish(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        self.problems.sort();
        self.problems.dedup();
        if self.dropped > 0
            && let Some(last) = self.problems.last()
        {
            let level = if self.errors > 0 { Level::Error } else { Level::Warning };
            let message = format!("{} further problems are not shown", self.dropped);
            self.problems.push(Problem { level, message, help: None, ..last.clone() });
        }
        if self.errors > 0 { Err(self.problems) } else { Ok(self.problems) }
    }
}

/// Line and column, both from 1, of a byte offset; columns count characters.
fn position(text: &[u8], offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let is_char_start = |byte: &&u8| **byte & 0xc0 != 0x80;
    let columns = before.get(line_start..).unwrap_or_default().iter().filter(is_char_start).count();
    let number = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    (number(lines), number(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let text = "é = 1\nαβγ = 2\n".as_bytes();
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 2), (1, 2));
        let beta = "é = 1\nα".len();
        assert_eq!(position(text, beta), (2, 2));
        assert_eq!(position(text, 10_000), (3, 1));
    }

    #[test]
    fn a_flood_of_problems_is_counted_not_kept() {
        let sources = [SourceText::new("a.toml", "\n".repeat(3000)).unwrap()];
        let mut report = Report::new(&sources);
        for offset in 0..PROBLEMS_MAX + 7 {
            report.warning(Place { file: 0, offset }, "x", None);
        }
        let shown = report.finish().unwrap();
        assert_eq!(shown.len(), PROBLEMS_MAX + 1);
        assert_eq!(shown.last().map(|p| p.message.as_str()), Some("7 further problems are not shown"));
    }

    #[test]
    fn what_follows_on_a_broken_line_is_left_out() {
        let sources = [SourceText::new("a.toml", "one two\nthree").unwrap()];
        let mut report = Report::new(&sources);
        report.syntax(Place { file: 0, offset: 2 }, "broken".to_owned());
        report.error(Place { file: 0, offset: 4 }, "follows", None);
        report.error(Place { file: 0, offset: 9 }, "own", None);
        let messages: Vec<_> = report.finish().unwrap_err().into_iter().map(|p| p.message).collect();
        assert_eq!(messages, ["broken", "own"]);
    }
}
