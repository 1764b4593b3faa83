use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::unit::{
    diag::{Place, Report},
    directives::{successor, systemd_directive},
    draft::Places,
    similar::{did_you_mean, plain},
    specifier::Specifiers,
};

/// A value of a file with its place.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// A key of a table and what it does to a `T`. Lists of keys are sorted by name.
pub(super) struct Key<T: 'static> {
    pub name: &'static str,
    pub set: fn(&mut T, &mut Walk<'_, '_>, &Value<'_>),
}

/// How many entries one list may have.
pub(super) const LIST_ITEMS_MAX: usize = 1024;

/// Where the walk through one file is.
pub(super) struct Walk<'w, 's> {
    pub report: &'w mut Report<'s>,
    pub places: &'w mut Places,
    pub file: usize,
    pub text: &'s str,
    pub dropin: bool,
    pub specifiers: Specifiers<'w>,
    /// The key whose value is being read, for messages.
    pub key: &'static str,
}

impl Walk<'_, '_> {
    pub(super) const fn place(&self, offset: usize) -> Place {
        Place { file: self.file, offset }
    }

    pub(super) fn error(&mut self, value: &Value<'_>, message: impl Into<String>, help: Option<String>) {
        let place = self.place(value.span().start);
        self.report.error(place, message, help);
    }

    /// `"key" must be …, not a boolean`.
    pub(super) fn wrong_type(&mut self, value: &Value<'_>, expected: &str) {
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

    /// Applies each key of `table`, which may stand in any of `lists`; `title` is how messages call it.
    pub(super) fn keys<T>(
        &mut self,
        title: &'static str,
        table: &DeTable<'_>,
        lists: &[&'static [Key<T>]],
        target: &mut T,
    ) {
        for (name, value) in table {
            let find = |keys: &&'static [Key<T>]| {
                let at = keys.binary_search_by(|key| key.name.cmp(name.get_ref())).ok()?;
                keys.get(at)
            };
            match lists.iter().find_map(find) {
                Some(key) => {
                    self.key = key.name;
                    self.places.put(title, key.name, self.place(value.span().start));
                    (key.set)(target, self, value);
                }
                None => self.unknown_key(title, name, &mut lists.iter().copied().flatten().map(|key| key.name)),
            }
        }
    }

    fn unknown_key(
        &mut self,
        title: &'static str,
        name: &Spanned<Cow<'_, str>>,
        known: &mut dyn Iterator<Item = &'static str>,
    ) {
        let key: &str = name.get_ref();
        if self.report.is_full() {
            self.report.error(self.place(name.span().start), unknown(key, title), None);
            return;
        }
        let known: Vec<&str> = known.collect();
        let place = self.place(name.span().start);
        let same = known.iter().find(|word| plain(word) == plain(key));
        let elsewhere = super::owners(key).find(|owner| *owner != title);
        let (message, help) = match (same, elsewhere, systemd_directive(key)) {
            (Some(word), _, _) => (unknown(key, title), Some(format!("did you mean {word:?}?"))),
            (None, Some(owner), _) => {
                (format!("{key:?} does not belong in [{title}]"), Some(format!("move it to [{owner}]")))
            }
            (None, None, Some(directive)) => {
                let help = successor(directive).unwrap_or(match title {
                    "install" => "units start with the daemon unless enabled = false",
                    _ => "remove it, or keep this service with an init that honours it",
                });
                (format!("systemd's {directive}= is not supported by this version"), Some(help.to_owned()))
            }
            (None, None, None) => (unknown(key, title), did_you_mean(key, known)),
        };
        self.report.error(place, message, help);
    }
}

fn unknown(key: &str, title: &str) -> String {
    format!("unknown key {key:?} in [{title}]")
}
