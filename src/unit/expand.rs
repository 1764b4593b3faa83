//! Variables in command lines, put in right before a command is run. systemd.service(5), "Command lines".

use std::borrow::Cow;

use super::spec::Command;

/// The arguments of `command` with its variables replaced; `lookup` knows the environment of the process.
///
/// `$NAME` as a whole word becomes the words of its value (none when it is unset or empty; quotes hold a word together
/// and go away), `${NAME}` anywhere in a word becomes the value itself (nothing when unset), `$$` a dollar sign. A
/// command with the prefix `:` stays as it is.
///
/// ```
/// use roundsman::unit::{SourceText, expand, load};
///
/// let text = "service.exec_start = '/bin/web --port=${PORT} $OPTIONS'";
/// let set = load(&[SourceText::new("web.toml", text)?]).expect("a good unit").set;
/// let command = &set.units.values().next().expect("one unit").service.exec_start[0];
/// let value = |name: &str| match name {
///     "PORT" => Some("8080"),
///     "OPTIONS" => Some("-v --name 'my web'"),
///     _ => None,
/// };
/// assert_eq!(expand(command, value), ["/bin/web", "--port=8080", "-v", "--name", "my web"]);
/// # Ok::<(), roundsman::unit::Problem>(())
/// ```
pub fn expand<'c, 'e>(command: &'c Command, lookup: impl Fn(&str) -> Option<&'e str>) -> Vec<Cow<'c, str>> {
    let argv = command.argv.iter().map(|word| &**word);
    if command.literal {
        return argv.map(Cow::Borrowed).collect();
    }
    let mut out = Vec::with_capacity(command.argv.len());
    for word in argv {
        match word.strip_prefix('$') {
            Some(name) if !name.is_empty() && !name.starts_with(['{', '$']) => {
                out.extend(words(lookup(name).unwrap_or_default()).into_iter().map(Cow::Owned));
            }
            _ if !word.contains('$') => out.push(Cow::Borrowed(word)),
            _ => out.push(Cow::Owned(inside(word, &lookup))),
        }
    }
    out
}

/// Replaces `${NAME}` and `$$` in a word; a `${` that is never closed stands for itself.
fn inside<'e>(word: &str, lookup: &impl Fn(&str) -> Option<&'e str>) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((name, tail)) = braced {
            out.push_str(lookup(name).unwrap_or_default());
            rest = tail;
        } else {
            out.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    out.push_str(rest);
    out
}

/// The words of a value: split at white space, quotes hold together, a backslash takes the next character as it is. A
/// quote that is never closed ends with the value.
fn words(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(chars.next()),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, Some(open)) if c == open => quote = None,
            (' ' | '\t' | '\n' | '\r', None) => out.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::unit::{exec_line, spec::Privilege};

    fn expanded(line: &str) -> Vec<String> {
        let environment = BTreeMap::from([
            ("ONE", "one"),
            ("TWO", "two words"),
            ("QUOTED", r#"a "b c" 'd'e"#),
            ("EMPTY", ""),
            ("DOLLAR", "$ONE ${ONE}"),
            ("OPEN", "a 'b c"),
        ]);
        let command = exec_line::parse_for_test(line).unwrap().command;
        let words = expand(&command, |name| environment.get(name).copied());
        words.into_iter().skip(1).map(Cow::into_owned).collect()
    }

    #[test]
    fn variables_are_replaced_as_systemd_replaces_them() {
        let cases: &[(&str, &[&str])] = &[
            ("x $ONE", &["one"]),
            ("x $TWO", &["two", "words"]),
            ("x ${TWO}", &["two words"]),
            ("x a${ONE}b${TWO}", &["aonebtwo words"]),
            ("x a$ONE", &["a$ONE"]),
            ("x $ONE/b", &[]),
            ("x $NONE z", &["z"]),
            ("x $EMPTY z", &["z"]),
            ("x ${NONE} z", &["", "z"]),
            ("x $QUOTED", &["a", "b c", "de"]),
            ("x ${QUOTED}", &[r#"a "b c" 'd'e"#]),
            ("x $$ONE $$", &["$ONE", "$"]),
            ("x a$$b $", &["a$b", "$"]),
            ("x ${ONE", &["${ONE"]),
            ("x $DOLLAR ${DOLLAR}", &["$ONE", "${ONE}", "$ONE ${ONE}"]),
            ("x $OPEN", &["a", "b c"]),
            (":x $ONE ${ONE} $$", &["$ONE", "${ONE}", "$$"]),
        ];
        for (line, words) in cases {
            assert_eq!(expanded(line), *words, "{line}");
        }
    }

    #[test]
    fn the_own_name_of_a_program_may_be_a_variable() {
        let command = exec_line::parse_for_test("@/bin/sh ${NAME}").unwrap().command;
        assert_eq!(expand(&command, |_| Some("me")), ["me"]);
    }

    proptest! {
        #[test]
        fn no_value_panics_and_words_without_dollars_stay(word in "[^$]*", value in ".*") {
            let command = Command {
                program: "x".into(),
                argv: ["x".into(), word.as_str().into(), "$V".into(), "${V}".into()].into(),
                ignore_failure: false,
                literal: false,
                privilege: Privilege::Unit,
            };
            let out = expand(&command, |_| Some(&value));
            prop_assert_eq!(&out[1], &word);
            prop_assert_eq!(out.last().map(AsRef::as_ref), Some(value.as_str()));
        }
    }
}
