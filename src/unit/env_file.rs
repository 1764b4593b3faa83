//! Files of variables (EnvironmentFile=), with systemd's own grammar. Source: systemd.exec(5).

/// The assignments of `text`, in its order; lines that assign nothing are skipped, as systemd skips them.
///
/// Values may be bare (a backslash takes the next character as it is), in '…' (verbatim, over lines), or in "…" (with
/// `\"`, `\\`, `` \` ``, `\$` and a backslash before a line's end). `#` and `;` begin a comment at a line's start only.
pub fn parse_env_file(text: &str) -> Vec<(String, String)> {
    let mut assignments = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.peek().copied() {
        if first.is_whitespace() {
            chars.next();
            continue;
        }
        if first == '#' || first == ';' {
            skip_line(&mut chars);
            continue;
        }
        let name = take_name(&mut chars);
        if chars.peek() != Some(&'=') {
            skip_line(&mut chars);
            continue;
        }
        chars.next();
        let value = take_value(&mut chars);
        if is_variable_name(&name) {
            assignments.push((name, value));
        }
    }
    assignments
}

/// Whether `name` may name a variable: letters, digits and `_`, no digit first.
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_line(chars: &mut Chars<'_>) {
    chars.by_ref().find(|c| *c == '\n');
}

fn take_name(chars: &mut Chars<'_>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| *c != '=' && *c != '\n') {
        name.push(c);
    }
    name.trim().to_owned()
}

fn take_value(chars: &mut Chars<'_>) -> String {
    while chars.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
    let mut value = String::new();
    // Blanks at the end of a bare value do not belong to it; this is the length without them.
    let mut kept = 0;
    while let Some(c) = chars.next() {
        match c {
            '\n' => break,
            '\'' if value.is_empty() => {
                value.extend(chars.by_ref().take_while(|c| *c != '\''));
                kept = value.len();
            }
            '"' if value.is_empty() => {
                take_double_quoted(chars, &mut value);
                kept = value.len();
            }
            '\\' => {
                // A backslash before a line's end joins the lines.
                value.extend(chars.next().filter(|next| *next != '\n'));
                kept = value.len();
            }
            _ => {
                value.push(c);
                if !c.is_whitespace() {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    value
}

fn take_double_quoted(chars: &mut Chars<'_>, value: &mut String) {
    while let Some(c) = chars.next() {
        match c {
            '"' => return,
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse_env_file(text), expected, "{text:?}");
    }

    #[test]
    fn values_are_read_as_systemd_reads_them() {
        check("A=1\n# comment\n; comment\n\nB=two words  \n", &[("A", "1"), ("B", "two words")]);
        check("A='x y'\nB=\"a \\\"b\\\" \\$C\"", &[("A", "x y"), ("B", "a \"b\" $C")]);
        check("A='over\nlines'\nB=2", &[("A", "over\nlines"), ("B", "2")]);
        check("A=a\\\nb\nB=c\\ ", &[("A", "ab"), ("B", "c ")]);
        check("A=x # no comment\nA=later", &[("A", "x # no comment"), ("A", "later")]);
        check("not an assignment\n1X=2\nexport A=1\n=x\nOK=", &[("OK", "")]);
    }

    #[test]
    fn a_quote_that_never_ends_reaches_to_the_end() {
        check("A=\"x\nB=2", &[("A", "x\nB=2")]);
    }
}
