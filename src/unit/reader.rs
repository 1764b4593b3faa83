//! What every file of tables has in common: values are read with their places, and everything that is wrong is told at once.
//!
//! Knows of no unit. Each reader of a value reports what it cannot read and gives `None` then.

use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diag::{Place, Problem, Report},
    similar::did_you_mean,
};
use crate::base::{ByteSize, TimeSpan, UnitName};

const TRUE_WORDS: [&str; 6] = ["1", "yes", "y", "true", "t", "on"];
const FALSE_WORDS: [&str; 6] = ["0", "no", "n", "false", "f", "off"];

/// A value of a file with its place.
pub type Value<'i> = Spanned<DeValue<'i>>;

/// Where the reading of one file is.
#[derive(Debug)]
pub struct Reader<'r, 's> {
    pub(super) report: &'r mut Report<'s>,
    pub(super) file: usize,
    /// The key whose value is being read, for messages.
    pub(super) key: &'static str,
}

/// A key of a table of settings and what it does to a `T`.
#[derive(Debug)]
pub struct Field<T: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Reads its value.
    pub set: fn(&mut T, &mut Reader<'_, '_>, &Value<'_>),
}

/// A table as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read<T> {
    /// What it says.
    pub says: T,
    /// Whether everything in it could be read: otherwise what is not there may be what is broken.
    pub is_whole: bool,
}

/// Reads a file of settings, whose keys and tables are `fields`, into `target`, and tells all that is wrong with it.
pub fn read_settings<T>(path: &Path, text: &str, fields: &[Field<T>], target: &mut T) -> Vec<Problem> {
    let mut report = Report::of_one(path, text.as_bytes());
    let tree = parse(text, 0, &mut report);
    let mut reader = Reader { report: &mut report, file: 0, key: "" };
    reader.fields("", tree.get_ref(), fields, target);
    report.finish().unwrap_or_else(|problems| problems)
}

/// The tree of a file, with what could not be read of its syntax reported.
pub(super) fn parse<'t>(text: &'t str, file: usize, report: &mut Report<'_>) -> Spanned<DeTable<'t>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let message = match (error.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!("{key} stands here a second time"),
            (message, _) => message.to_owned(),
        };
        report.syntax(Place { file, offset: span.start }, message);
    }
    tree
}

/// Writes a value that was read; one that could not be leaves what was there.
pub fn put<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

impl Reader<'_, '_> {
    pub(super) const fn place(&self, offset: usize) -> Place {
        Place { file: self.file, offset }
    }

    /// Something that keeps the file from being used.
    pub fn error(&mut self, value: &Value<'_>, message: impl Into<String>, help: Option<String>) {
        let place = self.place(value.span().start);
        self.report.error(place, message, help);
    }

    /// `"key" must be …, not a boolean`.
    pub fn wrong_type(&mut self, value: &Value<'_>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(value, format!("{:?} must be {expected}, not {found}", self.key), None);
    }

    /// The table in `value`; an error when it is none.
    pub(super) fn as_table<'v, 'i>(&mut self, value: &'v Value<'i>, name: &str) -> Option<&'v DeTable<'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.error(value, format!("[{name}] must be a table"), None);
        None
    }

    /// Whether the syntax of the file is broken: what is not here may stand in it all the same.
    pub const fn has_broken_syntax(&self) -> bool {
        self.report.has_broken_syntax()
    }

    /// A table of settings into `target`.
    pub fn table<T>(&mut self, value: &Value<'_>, title: &str, fields: &[Field<T>], target: &mut T) {
        if let Some(table) = self.as_table(value, title) {
            self.fields(&format!("[{title}]"), table, fields, target);
        }
    }

    /// A table of settings by itself.
    pub fn read_table<T: Default>(&mut self, value: &Value<'_>, title: &str, fields: &[Field<T>]) -> Read<T> {
        let mut says = T::default();
        let before = self.report.errors();
        self.table(value, title, fields, &mut says);
        Read { says, is_whole: self.report.errors() == before && !self.has_broken_syntax() }
    }

    /// Each of the tables `[[title]]`.
    pub fn tables<T: Default>(&mut self, value: &Value<'_>, title: &str, fields: &[Field<T>]) -> Option<Vec<Read<T>>> {
        let Some(items) = value.get_ref().as_array() else {
            let message = format!("{:?} must be a list of tables", self.key);
            self.error(value, message, Some(format!("write [[{title}]]")));
            return None;
        };
        let title = format!("[{title}]");
        Some(items.iter().map(|item| self.read_table(item, &title, fields)).collect())
    }

    fn fields<T>(&mut self, title: &str, table: &DeTable<'_>, fields: &[Field<T>], target: &mut T) {
        for (name, value) in table {
            match fields.iter().find(|field| field.name == name.get_ref()) {
                Some(field) => {
                    self.key = field.name;
                    (field.set)(target, self, value);
                }
                None => self.unknown(title, name, value, fields.iter().map(|field| field.name)),
            }
        }
    }

    fn unknown(
        &mut self,
        title: &str,
        name: &Spanned<Cow<'_, str>>,
        value: &Value<'_>,
        known: impl Iterator<Item = &'static str> + Clone,
    ) {
        let key: &str = name.get_ref();
        let message = match (title, value.get_ref()) {
            ("", DeValue::Table(_) | DeValue::Array(_)) => format!("unknown table {key:?}"),
            ("", _) => format!("{key:?} stands outside of a table"),
            _ => format!("unknown key {key:?} in {title}"),
        };
        let help = did_you_mean(key, known.clone())
            .unwrap_or_else(|| format!("there are {}", known.collect::<Vec<_>>().join(", ")));
        let place = self.place(name.span().start);
        self.report.error(place, message, Some(help));
    }

    /// A list of what `read` makes of each of its items.
    pub fn list<T>(&mut self, value: &Value<'_>, read: impl Fn(&mut Self, &Value<'_>) -> Option<T>) -> Option<Vec<T>> {
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().filter_map(|item| read(self, item)).collect()),
            DeValue::String(text) => {
                let message = format!("{:?} must be a list, not a string", self.key);
                self.error(value, message, Some(format!("write [{text:?}]")));
                None
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => {
                self.wrong_type(value, "a list");
                None
            }
        }
    }

    /// A string without NUL bytes, for oneself.
    pub fn string(&mut self, value: &Value<'_>) -> Option<String> {
        self.text(value).map(str::to_owned)
    }

    /// A list of strings.
    pub fn strings(&mut self, value: &Value<'_>) -> Option<Vec<String>> {
        self.list(value, Self::string)
    }

    /// A table of strings by name.
    pub fn pairs(&mut self, value: &Value<'_>) -> Option<BTreeMap<String, String>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(value, "a table of strings");
            return None;
        };
        let pair = |(name, value): (&Spanned<Cow<'_, str>>, &Value<'_>)| {
            Some((name.get_ref().to_string(), self.text(value)?.to_owned()))
        };
        Some(table.iter().filter_map(pair).collect())
    }

    /// `true`, or a word for it.
    pub fn boolean(&mut self, value: &Value<'_>) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(truth) => return Some(*truth),
            DeValue::String(word) => {
                let is = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
                match (is(&TRUE_WORDS), is(&FALSE_WORDS)) {
                    (true, _) => return Some(true),
                    (_, true) => return Some(false),
                    (false, false) => {}
                }
                self.error(value, format!("{:?} must be true or false, not {word:?}", self.key), None);
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.wrong_type(value, "true or false");
            }
        }
        None
    }

    /// A string without NUL bytes.
    pub fn text<'v>(&mut self, value: &'v Value<'_>) -> Option<&'v str> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, "a string");
            return None;
        };
        if text.contains('\0') {
            self.error(value, format!("{:?} cannot contain a NUL byte", self.key), None);
            return None;
        }
        Some(text)
    }

    /// A string of one line.
    pub fn line<'v>(&mut self, value: &'v Value<'_>) -> Option<&'v str> {
        let text = self.text(value)?;
        if text.contains(char::is_control) {
            self.error(value, format!("{:?} must be one line without control characters", self.key), None);
            return None;
        }
        Some(text)
    }

    /// A whole number; as text it is read likewise.
    pub fn integer(&mut self, value: &Value<'_>, range: RangeInclusive<i64>) -> Option<i64> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) if !text.is_empty() => text.parse().ok(),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type(value, "a whole number");
                return None;
            }
        };
        let within = number.filter(|number| range.contains(number));
        if within.is_none() {
            let (low, high) = (range.start(), range.end());
            self.error(value, format!("{:?} must be a whole number from {low} to {high}", self.key), None);
        }
        within
    }

    /// A whole number of at least `least`.
    pub fn count(&mut self, value: &Value<'_>, least: u32) -> Option<u32> {
        self.integer(value, i64::from(least)..=i64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok())
    }

    /// A number of bytes, or a text such as "16M".
    pub fn size(&mut self, value: &Value<'_>) -> Option<ByteSize> {
        let number = value.get_ref().as_integer().map(ToString::to_string);
        let Some(text) = number.as_deref().or_else(|| value.get_ref().as_str()) else {
            self.wrong_type(value, "a size");
            return None;
        };
        let size = text.parse::<ByteSize>();
        if let Err(error) = &size {
            self.error(value, error.to_string(), None);
        }
        size.ok()
    }

    /// A time span in systemd's grammar, or a bare number of seconds.
    pub fn span(&mut self, value: &Value<'_>) -> Option<TimeSpan> {
        let text = match value.get_ref() {
            DeValue::String(text) => &**text,
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type(value, "a time span");
                return None;
            }
        };
        let span = text.parse::<TimeSpan>();
        if let Err(error) = &span {
            self.error(value, error.to_string(), None);
        }
        span.ok()
    }

    /// A time span in which zero stands for no limit.
    pub fn limit_span(&mut self, value: &Value<'_>) -> Option<TimeSpan> {
        self.span(value).map(|span| if span.is_zero() { TimeSpan::INFINITY } else { span })
    }

    /// One of some words.
    pub fn choice<T: Copy>(&mut self, value: &Value<'_>, words: &[(&str, T)]) -> Option<T> {
        let Some(word) = value.get_ref().as_str() else {
            self.wrong_type(value, "a string");
            return None;
        };
        if let Some((_, meaning)) = words.iter().find(|(known, _)| *known == word) {
            return Some(*meaning);
        }
        let known = words.iter().map(|(known, _)| *known);
        let help = did_you_mean(word, known.clone())
            .unwrap_or_else(|| format!("it can be {}", known.collect::<Vec<_>>().join(", ")));
        self.error(value, format!("{:?} cannot be {word:?}", self.key), Some(help));
        None
    }

    /// The name of a unit.
    pub fn unit_name(&mut self, value: &Value<'_>) -> Option<UnitName> {
        let text = self.text(value)?;
        let name = UnitName::new(text);
        if let Err(error) = &name {
            let help = text.contains(char::is_whitespace).then(|| "write a list of names".to_owned());
            self.error(value, error.to_string(), help);
        }
        name.ok()
    }
}
