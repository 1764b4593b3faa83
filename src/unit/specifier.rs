//! Specifiers: `%i` and its kind, which stand for names of the unit and facts of the host. Source: systemd.unit(5),
//! "Specifiers".

use std::{borrow::Cow, collections::BTreeMap};

use crate::base::UnitName;

/// What the specifiers of the host stand for, by their letter.
pub type HostFacts = BTreeMap<char, Box<str>>;

/// The letters that name something of the host or of its manager.
const HOST: &str = "aAbBCDEgGhHlLmMoqsStTuUvVwW";
/// The letters that name something of the unit.
const UNIT: &str = "fiIjJnNpP";

/// What is said instead of a fact that nobody gave, as in a check away from the host.
const UNKNOWN: &str = "unknown";

/// What specifiers stand for in the files of one unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specifiers<'a> {
    pub name: &'a UnitName,
    pub host: &'a HostFacts,
}

impl<'a> Specifiers<'a> {
    /// The text with every specifier replaced; else the letter that is none. `%%` is a percent sign, and one that no letter
    /// follows stands for itself.
    pub(super) fn expand<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, char> {
        if !text.contains('%') {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let mut ahead = rest.clone();
            match (c, ahead.next()) {
                ('%', Some('%')) => out.push('%'),
                ('%', Some(letter)) if letter.is_ascii_alphabetic() => out.push_str(&self.value(letter).ok_or(letter)?),
                (other, _) => {
                    out.push(other);
                    continue;
                }
            }
            rest = ahead;
        }
        Ok(Cow::Owned(out))
    }

    fn value(&self, letter: char) -> Option<Cow<'a, str>> {
        let name = self.name.as_str();
        let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
        let last = prefix.rsplit('-').next().unwrap_or(prefix);
        let value = match letter {
            'n' => return Some(self.name.full().into()),
            'N' => name,
            'p' => prefix,
            'i' => instance,
            'j' => last,
            'P' => return Some(unescape(prefix).into()),
            'I' => return Some(unescape(instance).into()),
            'J' => return Some(unescape(last).into()),
            'f' => return Some(format!("/{}", unescape(if instance.is_empty() { prefix } else { instance })).into()),
            _ if HOST.contains(letter) => self.host.get(&letter).map_or(UNKNOWN, |text| text),
            _ => return None,
        };
        Some(Cow::Borrowed(value))
    }
}

/// Why `%` and a letter cannot stand in a file, and what to write instead.
pub(super) fn refused(letter: char) -> (String, String) {
    let known: String = HOST.chars().chain(UNIT.chars()).collect();
    let what = format!("{:?} is no specifier that we have", format!("%{letter}"));
    (what, format!("write %% for a percent sign; the specifiers are % and one of {known}"))
}

/// systemd's escape of paths in names, undone: `-` is `/`, `\xNN` the byte. What is no UTF-8 then stays escaped.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.strip_prefix(b"x").and_then(|digits| digits.get(..2)).and_then(|two| str::from_utf8(two).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            (b'-', _) => {
                bytes.push(b'/');
                rest = after;
            }
            (other, _) => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(name: &str, text: &str) -> Result<String, char> {
        let name = UnitName::new(name).unwrap();
        let host = HostFacts::from([('H', "vm1".into())]);
        Specifiers { name: &name, host: &host }.expand(text).map(Cow::into_owned)
    }

    #[test]
    fn each_letter_stands_for_what_systemd_says() {
        let cases = [
            ("%n", "my-web@a-b.service"),
            ("%N", "my-web@a-b"),
            ("%p %P", "my-web my/web"),
            ("%i %I", "a-b a/b"),
            ("%j %J", "web web"),
            ("%f", "/a/b"),
            ("%H", "vm1"),
            ("%m", "unknown"),
            ("100% %%i %", "100% %i %"),
            ("a%2Fb", "a%2Fb"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand("my-web@a-b", text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expand("web", "%i%f").as_deref(), Ok("/web"));
        assert_eq!(expand("web.target", "%n").as_deref(), Ok("web.target"));
        assert_eq!(expand("web", "%Z"), Err('Z'));
    }

    #[test]
    fn an_escaped_name_is_a_path_again() {
        assert_eq!(unescape("var-lib-a\\x2db"), "var/lib/a-b");
        assert_eq!(unescape("\\xff"), "\\xff", "no text");
        assert_eq!(unescape("a\\xzz"), "a\\xzz");
    }
}
