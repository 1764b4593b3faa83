//! What is wrong with settings that are well formed, and the way to the key that says it.
//!
//! Whoever checks a value knows its key, and not where that stands: the place is looked up when there is a fault to be told.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::unit::Problem;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Fault {
    /// What and the likely remedy.
    pub(in crate::engine) message: String,
    /// From the key outwards.
    way: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Key(&'static str),
    Nth(usize),
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { message, way: Vec::new() }
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

/// For `map_err`: it is this key that says so.
pub(in crate::engine) fn at<F: Into<Fault>>(key: &'static str) -> impl Fn(F) -> Fault {
    move |fault| fault.into().within(key)
}

impl Fault {
    /// The way so far begins in this table, or is this key.
    pub(in crate::engine) fn within(mut self, key: &'static str) -> Self {
        self.way.push(Step::Key(key));
        self
    }

    /// The way so far begins in one of a list.
    pub(in crate::engine) fn nth(mut self, index: usize) -> Self {
        self.way.push(Step::Nth(index));
        self
    }

    /// Whose it is, before the message.
    pub(in crate::engine) fn of(mut self, whose: &str) -> Self {
        self.message.insert_str(0, &format!("{whose}: "));
        self
    }

    /// The byte where it stands: where a key is missing, its table.
    fn offset(&self, root: &DeTable<'_>) -> usize {
        let mut steps = self.way.iter().rev();
        let Some(mut found) = steps.next().and_then(|step| step.of_table(root)) else { return 0 };
        for step in steps {
            let next = match found.get_ref() {
                DeValue::Table(table) => step.of_table(table),
                DeValue::Array(items) => step.of_list(items),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => None,
            };
            match next {
                Some(next) => found = next,
                None => break,
            }
        }
        found.span().start
    }
}

type Value<'i> = toml::Spanned<DeValue<'i>>;

impl Step {
    fn of_table<'t, 'i>(&self, table: &'t DeTable<'i>) -> Option<&'t Value<'i>> {
        match self {
            Self::Key(key) => table.get(*key),
            Self::Nth(_) => None,
        }
    }

    fn of_list<'l, 'i>(&self, items: &'l [Value<'i>]) -> Option<&'l Value<'i>> {
        match self {
            Self::Nth(index) => items.get(*index),
            Self::Key(_) => None,
        }
    }
}

/// The same with their places in the file, which says `text`, in its order.
pub(super) fn located(file: &Path, text: &str, faults: Vec<Fault>) -> Vec<Problem> {
    let (tree, _) = DeTable::parse_recoverable(text);
    let told = |fault: Fault| Problem::error(file, text, fault.offset(tree.get_ref()), fault.message);
    let mut problems: Vec<_> = faults.into_iter().map(told).collect();
    problems.sort();
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stands_at_its_key_or_else_at_the_last_table_on_its_way() {
        let text = "[a]\nb = 1\n[[c.d]]\ne = 2\n[[c.d]]\nf = [3,\n  4]\n";
        let place = |way: &[Step]| {
            let fault = Fault { message: String::new(), way: way.iter().rev().copied().collect() };
            let problem = &located(Path::new("r.toml"), text, vec![fault])[0];
            (problem.line, problem.column)
        };
        let (key, nth) = (Step::Key, Step::Nth);
        assert_eq!(place(&[key("a"), key("b")]), (2, 5));
        assert_eq!(place(&[key("a"), key("missing")]), (1, 1));
        assert_eq!(place(&[key("c"), key("d"), nth(0), key("e")]), (4, 5));
        assert_eq!(place(&[key("c"), key("d"), nth(1), key("missing")]), (5, 1));
        assert_eq!(place(&[key("c"), key("d"), nth(1), key("f"), nth(1)]), (7, 3));
        assert_eq!(place(&[key("missing")]), (1, 1));
        assert_eq!(place(&[]), (1, 1));
    }
}
