use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
};

use toml::{Spanned, de::DeTable};

pub(super) use crate::unit::reader::Value;
use crate::unit::{
    directives::{successor, systemd_directive},
    draft::{KeyPlaces, Places},
    reader::Reader,
    similar::{did_you_mean, plain},
    specifier::Specifiers,
};

/// A key of a table and what it does to a `T`. Lists of keys are sorted by name.
pub(super) struct Key<T: 'static> {
    pub name: &'static str,
    pub set: fn(&mut T, &mut Walk<'_, '_>, &Value<'_>),
}

/// How many entries one list may have.
pub(super) const LIST_ITEMS_MAX: usize = 1024;

/// Where the walk through one unit file is: a reader that knows of units.
pub(super) struct Walk<'w, 's> {
    pub reader: Reader<'w, 's>,
    pub places: &'w mut Places,
    pub text: &'s str,
    pub dropin: bool,
    pub specifiers: Specifiers<'w>,
}

impl<'w, 's> Deref for Walk<'w, 's> {
    type Target = Reader<'w, 's>;

    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl DerefMut for Walk<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.reader
    }
}

impl Walk<'_, '_> {
    /// [`Reader::error`], whose message may read the walk.
    pub(super) fn error(&mut self, value: &Value<'_>, message: impl Into<String>, help: Option<String>) {
        self.reader.error(value, message, help);
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
                    self.places.put(title, key.name, self.reader.place(value.span().start));
                    (key.set)(target, self, value);
                }
                None => self.unknown_key(title, name, &mut lists.iter().copied().flatten().map(|key| key.name)),
            }
        }
    }

    /// Where the known keys of `table` stand.
    pub(super) fn key_places<T>(&self, table: &DeTable<'_>, keys: &'static [Key<T>]) -> KeyPlaces {
        let place = |key: &'static Key<T>| Some((key.name, self.place(table.get(key.name)?.span().start)));
        keys.iter().filter_map(place).collect()
    }

    fn unknown_key(
        &mut self,
        title: &'static str,
        name: &Spanned<Cow<'_, str>>,
        known: &mut dyn Iterator<Item = &'static str>,
    ) {
        let key: &str = name.get_ref();
        if self.report.is_full() {
            let place = self.place(name.span().start);
            self.report.error(place, unknown(key, title), None);
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
