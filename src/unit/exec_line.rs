//! Command lines as systemd reads them: words, quotes, escapes, prefixes. systemd.service(5), "Command lines".
//!
//! Quotes may open anywhere in a word, as in systemd's code (its manual says only at the start of one).

use std::borrow::Cow;

use super::{
    spec::{Command, Privilege},
    specifier::{self, Specifiers},
};

/// The longest command line, in bytes.
pub const EXEC_LINE_BYTES_MAX: usize = 64 << 10;

const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Why a text is no command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecFault {
    /// No word.
    #[error("the command line is empty")]
    Empty,
    /// More than [`EXEC_LINE_BYTES_MAX`].
    #[error("the command line is longer than {EXEC_LINE_BYTES_MAX} bytes")]
    Long,
    /// An opened quote is never closed.
    #[error("the quote {0} is never closed")]
    Quote(char),
    /// Escapes made bytes that are no UTF-8, or a NUL byte stands in it.
    #[error("the word is not text in UTF-8 without NUL bytes")]
    NotText,
    /// A prefix stands twice.
    #[error("the prefix {0:?} stands twice")]
    PrefixTwice(char),
    /// A prefix of systemd that we do not have.
    #[error("the prefix {0:?} is not supported by this version")]
    Prefix(char),
    /// More than one of `+`, `!` and `!!`.
    #[error("only one of the prefixes +, ! and !! can stand before a program")]
    Privileges,
    /// Only prefixes, or `@` without a second word.
    #[error("the program is missing")]
    NoProgram,
    /// The program is named by a variable.
    #[error("the program cannot be named by a variable")]
    VariableProgram,
    /// Neither absolute nor a bare name.
    #[error("the program {0:?} is neither an absolute path nor a bare file name")]
    Program(String),
    /// `;` as a word.
    #[error("\";\" separates commands, which is not supported")]
    Separator,
    /// `%` and a letter that is no specifier.
    #[error("\"%{0}\" is no specifier that we have")]
    Specifier(char),
}

impl ExecFault {
    /// What to do about it.
    pub(super) fn help(&self) -> Option<String> {
        let help = match self {
            Self::Empty | Self::Long | Self::NotText | Self::PrefixTwice(_) | Self::Privileges | Self::NoProgram => {
                return None;
            }
            Self::Quote(quote) => return Some(format!("close it, or write \\{quote} for the character itself")),
            Self::Prefix(_) => "the prefixes are - @ : + ! and !!",
            Self::VariableProgram => "name the program; variables may stand in its arguments",
            Self::Program(_) => "write the whole path, or the name alone to have it looked for in PATH",
            Self::Separator => "write a list with one command each, or \\; for the character itself",
            Self::Specifier(letter) => return Some(specifier::refused(*letter).1),
        };
        Some(help.to_owned())
    }
}

/// A command with what is odd about it.
#[derive(Debug)]
pub(super) struct ExecLine {
    pub command: Command,
    /// Offset and text of each.
    pub warnings: Vec<(usize, String)>,
}

/// Reads one command line; a fault comes with its byte offset. Specifiers are replaced word by word, so that none makes
/// two words.
pub(super) fn parse(line: &str, specifiers: &Specifiers<'_>) -> Result<ExecLine, (usize, ExecFault)> {
    if line.len() > EXEC_LINE_BYTES_MAX {
        return Err((0, ExecFault::Long));
    }
    let mut words = Words { line, at: 0, warnings: Vec::new() };
    let first = words.next()?.ok_or((0, ExecFault::Empty))?;
    let mut head = Head::read(&first, specifiers)?;
    let mut argv: Vec<Box<str>> = Vec::new();
    if !head.own_name {
        argv.push(head.program.as_str().into());
    }
    while let Some(word) = words.next()? {
        argv.push(argument(&word, specifiers, &mut words.warnings)?.into());
    }
    if argv.is_empty() {
        return Err((first.start, ExecFault::NoProgram));
    }
    let command = Command {
        program: std::mem::take(&mut head.program).into(),
        argv: argv.into(),
        ignore_failure: head.ignore_failure,
        literal: head.literal,
        privilege: head.privilege.unwrap_or_default(),
    };
    Ok(ExecLine { command, warnings: words.warnings })
}

/// The first word: prefixes and program.
#[derive(Default)]
struct Head {
    program: String,
    ignore_failure: bool,
    own_name: bool,
    literal: bool,
    privilege: Option<Privilege>,
}

impl Head {
    fn read(word: &Word<'_>, specifiers: &Specifiers<'_>) -> Result<Self, (usize, ExecFault)> {
        let at = word.start;
        let mut head = Self::default();
        let mut rest = word.text.as_str();
        while let Some(prefix) = rest.chars().next() {
            if let '+' | '!' = prefix {
                rest = head.privilege(rest).ok_or((at, ExecFault::Privileges))?;
                continue;
            }
            let flag = match prefix {
                '-' => &mut head.ignore_failure,
                '@' => &mut head.own_name,
                ':' => &mut head.literal,
                '|' => return Err((at, ExecFault::Prefix(prefix))),
                _ => break,
            };
            if std::mem::replace(flag, true) {
                return Err((at, ExecFault::PrefixTwice(prefix)));
            }
            rest = &rest[prefix.len_utf8()..];
        }
        head.program = expand(rest, specifiers).map_err(|fault| (at, fault))?;
        check_program(&head.program).map_err(|fault| (at, fault))?;
        Ok(head)
    }

    /// Takes one of `+`, `!` and `!!`, which exclude each other; what follows it.
    fn privilege<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let (privilege, rest) = match text.strip_prefix("!!") {
            Some(rest) => (Privilege::Unit, rest),
            None if text.starts_with('!') => (Privilege::OwnUser, text.get(1..)?),
            None => (Privilege::Full, text.get(1..)?),
        };
        self.privilege.replace(privilege).is_none().then_some(rest)
    }
}

fn check_program(program: &str) -> Result<(), ExecFault> {
    if program.is_empty() {
        return Err(ExecFault::NoProgram);
    }
    if program.starts_with('$') || program.contains("${") {
        return Err(ExecFault::VariableProgram);
    }
    let is_file = !program.ends_with('/') && !matches!(program.rsplit('/').next(), Some("." | ".."));
    if is_file && (program.starts_with('/') || !program.contains('/')) {
        Ok(())
    } else {
        Err(ExecFault::Program(program.to_owned()))
    }
}

/// Unquoted, these mean something to a shell only.
const SHELL_WORDS: [&str; 9] = ["|", "||", "&&", "&", ">", ">>", "<", "2>", "2>&1"];

fn argument(
    word: &Word<'_>,
    specifiers: &Specifiers<'_>,
    warnings: &mut Vec<(usize, String)>,
) -> Result<String, (usize, ExecFault)> {
    match word.raw {
        ";" => return Err((word.start, ExecFault::Separator)),
        "\\;" => return Ok(";".to_owned()),
        _ => {}
    }
    if SHELL_WORDS.contains(&word.raw) {
        warnings.push((word.start, format!("{:?} is an argument like any other: there is no shell here", word.raw)));
    }
    if let Some(name) = word.text.strip_prefix('$')
        && !name.is_empty()
        && !name.starts_with(['{', '$'])
        && !is_variable_name(name)
    {
        let text =
            format!("{:?} vanishes: $NAME is replaced only as a whole word (write ${{NAME}} inside one)", word.text);
        warnings.push((word.start, text));
    }
    expand(&word.text, specifiers).map_err(|fault| (word.start, fault))
}

/// Whether `name` may be a variable of the environment: letters, digits and `_`, no digit first.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn expand(text: &str, specifiers: &Specifiers<'_>) -> Result<String, ExecFault> {
    specifiers.expand(text).map(Cow::into_owned).map_err(ExecFault::Specifier)
}

/// One word of a line, without its quotes and escapes.
struct Word<'l> {
    start: usize,
    raw: &'l str,
    text: String,
}

struct Words<'l> {
    line: &'l str,
    at: usize,
    warnings: Vec<(usize, String)>,
}

impl<'l> Words<'l> {
    fn next(&mut self) -> Result<Option<Word<'l>>, (usize, ExecFault)> {
        let line = self.line;
        let rest = line[self.at..].trim_start_matches(WHITESPACE);
        if rest.is_empty() {
            return Ok(None);
        }
        let start = line.len() - rest.len();
        self.at = start;
        let mut bytes = Vec::new();
        let mut quote: Option<(usize, char)> = None;
        while let Some(c) = line[self.at..].chars().next() {
            match (c, quote) {
                ('\\', _) => {
                    self.escape(&mut bytes);
                    continue;
                }
                ('"' | '\'', None) => quote = Some((self.at, c)),
                (_, Some((_, open))) if c == open => quote = None,
                (_, None) if WHITESPACE.contains(&c) => break,
                _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            self.at += c.len_utf8();
        }
        if let Some((at, open)) = quote {
            return Err((at, ExecFault::Quote(open)));
        }
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or((start, ExecFault::NotText))?;
        Ok(Some(Word { start, raw: &line[start..self.at], text }))
    }

    /// Takes a backslash and what belongs to it. An unknown escape stands for itself, as in systemd.
    fn escape(&mut self, bytes: &mut Vec<u8>) {
        let after = &self.line[self.at + 1..];
        if let Some(length) = unescape(after, bytes) {
            self.at += 1 + length;
            return;
        }
        let length = after.chars().next().map_or(0, char::len_utf8);
        let verbatim = &self.line[self.at..self.at + 1 + length];
        // A lone \; is systemd's way to write the character; the caller looks for it.
        if verbatim != "\\;" {
            self.warnings.push((self.at, format!("{verbatim:?} is no escape and stands for itself")));
        }
        bytes.extend_from_slice(verbatim.as_bytes());
        self.at += 1 + length;
    }
}

/// Decodes what follows a backslash; how many bytes of `after` belong to it, or `None` when it is no escape.
fn unescape(after: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let simple = match after.bytes().next()? {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b's' => b' ',
        same @ (b'\\' | b'"' | b'\'') => same,
        b'x' => return number(after.get(1..3)?, 16).and_then(|n| byte(n, bytes)).map(|()| 3),
        b'0'..=b'7' => return number(after.get(..3)?, 8).and_then(|n| byte(n, bytes)).map(|()| 3),
        b'u' => return number(after.get(1..5)?, 16).and_then(|n| character(n, bytes)).map(|()| 5),
        b'U' => return number(after.get(1..9)?, 16).and_then(|n| character(n, bytes)).map(|()| 9),
        _ => return None,
    };
    bytes.push(simple);
    Some(1)
}

/// A text with the escapes of C that systemd takes, `None` when one is none.
pub(super) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, after) = (rest.get(..at)?, rest.get(at + 1..)?);
        bytes.extend_from_slice(before.as_bytes());
        // In a command line a NUL byte cannot be.
        let nul = ["x00", "000"].into_iter().find(|nul| after.starts_with(nul));
        let length = match nul {
            Some(nul) => {
                bytes.push(0);
                nul.len()
            }
            None => unescape(after, &mut bytes)?,
        };
        rest = after.get(length..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

fn number(digits: &str, radix: u32) -> Option<u32> {
    // from_str_radix would take a sign.
    let all_digits = digits.chars().all(|c| c.is_digit(radix));
    if all_digits { u32::from_str_radix(digits, radix).ok() } else { None }
}

fn byte(n: u32, bytes: &mut Vec<u8>) -> Option<()> {
    let byte = u8::try_from(n).ok().filter(|byte| *byte != 0)?;
    bytes.push(byte);
    Some(())
}

fn character(n: u32, bytes: &mut Vec<u8>) -> Option<()> {
    let c = char::from_u32(n).filter(|c| *c != '\0')?;
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

/// As a line of the unit `web@a`.
#[cfg(test)]
pub(super) fn parse_for_test(line: &str) -> Result<ExecLine, (usize, ExecFault)> {
    let (name, host) = (crate::base::UnitName::new("web@a").unwrap(), super::HostFacts::new());
    parse(line, &Specifiers { name: &name, host: &host })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{parse_for_test as parse, *};

    fn argv(line: &str) -> Vec<String> {
        parse(line).unwrap().command.argv.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_are_split_as_systemd_splits_them() {
        let cases: &[(&str, &[&str])] = &[
            ("/bin/a b  c", &["/bin/a", "b", "c"]),
            (" \t/bin/a\n b ", &["/bin/a", "b"]),
            (r#"a "b c" 'd e'"#, &["a", "b c", "d e"]),
            (r#"a x"b c"d"#, &["a", "xb cd"]),
            (r#"a "quo't e's""#, &["a", "quo't e's"]),
            (r#"a "" ''"#, &["a", "", ""]),
            (r"a \x41\t\s\101\u00e9\U0001F600", &["a", "A\t Aé😀"]),
            (r#"a '\n' "\\" \""#, &["a", "\n", "\\", "\""]),
            (r"a \; b", &["a", ";", "b"]),
            (r#"a ";x" x;"#, &["a", ";x", "x;"]),
            (r"a 100%% 5% %/", &["a", "100%", "5%", "%/"]),
            (r"a \d \q\ b c", &["a", r"\d", r"\q\ b", "c"]),
            ("a \\", &["a", "\\"]),
            (r"a \xc3\xa9", &["a", "é"]),
            (r#""/opt/my app/run" x"#, &["/opt/my app/run", "x"]),
        ];
        for (line, words) in cases {
            assert_eq!(argv(line), *words, "{line}");
        }
    }

    #[test]
    fn prefixes_are_flags_in_any_order() {
        let command = parse("-@:+/bin/sh name x").unwrap().command;
        assert_eq!(&*command.program, "/bin/sh");
        assert_eq!(argv("@/bin/sh name x"), ["name", "x"]);
        assert!(command.ignore_failure && command.literal && command.privilege == Privilege::Full);
        let plain = parse("sh").unwrap().command;
        assert!(!plain.ignore_failure && !plain.literal && plain.privilege == Privilege::Unit);
        assert_eq!(parse("-!:sh").unwrap().command.privilege, Privilege::OwnUser);
        assert_eq!(parse("!!sh").unwrap().command.privilege, Privilege::Unit);
    }

    #[test]
    fn faults_have_their_place() {
        let cases = [
            ("", 0, ExecFault::Empty),
            ("  ", 0, ExecFault::Empty),
            ("a \"b", 2, ExecFault::Quote('"')),
            ("a b'c", 3, ExecFault::Quote('\'')),
            ("a ; b", 2, ExecFault::Separator),
            ("--a", 0, ExecFault::PrefixTwice('-')),
            ("|a", 0, ExecFault::Prefix('|')),
            ("+!!a", 0, ExecFault::Privileges),
            ("!!!a", 0, ExecFault::Privileges),
            ("++a", 0, ExecFault::Privileges),
            ("- a", 0, ExecFault::NoProgram),
            ("@/bin/a", 0, ExecFault::NoProgram),
            ("$A x", 0, ExecFault::VariableProgram),
            ("/bin/${A}", 0, ExecFault::VariableProgram),
            ("bin/a", 0, ExecFault::Program("bin/a".into())),
            ("./a", 0, ExecFault::Program("./a".into())),
            ("/bin/", 0, ExecFault::Program("/bin/".into())),
            ("/bin/..", 0, ExecFault::Program("/bin/..".into())),
            ("a x%Z", 2, ExecFault::Specifier('Z')),
            (r"a b \xff", 4, ExecFault::NotText),
            ("a b\0", 2, ExecFault::NotText),
        ];
        for (line, offset, fault) in cases {
            assert_eq!(parse(line).err(), Some((offset, fault)), "{line}");
        }
        assert_eq!(parse(&"a ".repeat(EXEC_LINE_BYTES_MAX)).err(), Some((0, ExecFault::Long)));
    }

    #[test]
    fn what_is_odd_is_said() {
        let offsets = |line| parse(line).unwrap().warnings.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(offsets(r"a \d $A/b $A ${A}/b \x00"), [2, 5, 20]);
        assert_eq!(offsets(r#"a > b "|" x|y 2>&1"#), [2, 14]);
        assert_eq!(offsets(r"a \; $$x"), [0_usize; 0]);
    }

    #[test]
    fn escapes_outside_of_command_lines_may_be_nul_and_must_be_escapes() {
        assert_eq!(unescaped(r"a\tb\x00\000\x41é\\").as_deref(), Some("a\tb\0\0Aé\\".as_bytes()));
        assert_eq!(unescaped(r"a\d"), None);
        assert_eq!(unescaped("a\\"), None);
    }

    /// A word that is read back as `word`.
    fn quoted(word: &str) -> String {
        let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
        format!("\"{escaped}\"")
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^\0]{0,12}", 0..8)) {
            let line = words.iter().fold("prog".to_owned(), |line, word| line + " " + &quoted(word));
            prop_assert_eq!(&argv(&line)[1..], words);
        }

        #[test]
        fn no_line_panics(line in "\\PC*", odd in "[-@:+!|;%$\\\\\"' xuU0-9a-f\t\n{}]{0,40}") {
            drop(parse(&line));
            drop(parse(&odd));
            drop(parse(&format!("a {odd}{line}")));
        }
    }
}
