//! What we print on: its width, whether it takes colour, which moment and which place it is there.

use std::{borrow::Cow, cell::OnceCell, fmt::Write as _, io::IsTerminal};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};

use super::humane;

/// Something good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Something in transit, or not quite right.
pub(crate) const CARE: Style = AnsiColor::Yellow.on_default();
/// Something that failed: it must stand out.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something that matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// A heading, or the thing that is asked about.
pub(crate) const STRONG: Style = Style::new().bold();
/// As it comes.
pub(crate) const PLAIN: Style = Style::new();

/// Narrower than this, a terminal is taken to be this wide.
const WIDTH_MIN: usize = 40;

/// Where the output goes.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Columns, where lines must fit; `None` when nothing needs to be cut.
    pub(crate) width: Option<usize>,
    /// Whether styles are written.
    pub(crate) colour: bool,
    /// Whether a person looks at it directly.
    pub(crate) terminal: bool,
    /// The present, microseconds since 1970.
    pub(crate) now_us: i64,
    /// Looked up when first needed: reading the zone takes longer than all of `status`.
    zone: OnceCell<TimeZone>,
}

impl Screen {
    /// The standard output of this process.
    pub(crate) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let width = terminal_size::terminal_size_of(&stdout).filter(|_| terminal);
        Self {
            width: width.map(|(width, _)| usize::from(width.0).max(WIDTH_MIN)),
            colour: anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
            terminal,
            now_us: Timestamp::now().as_microsecond(),
            zone: OnceCell::new(),
        }
    }

    /// `text` in `style`, where styles are written.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let mut out = String::new();
        self.push(&mut out, style, text);
        out
    }

    /// Appends `text` in `style` to `out`.
    pub(crate) fn push(&self, out: &mut String, style: Style, text: &str) {
        if self.colour && style != PLAIN {
            // Writing to a String cannot fail.
            write!(out, "{style}{text}{style:#}").ok();
        } else {
            out.push_str(text);
        }
    }

    /// A moment here: `2026-03-01 12:00:00`.
    pub(crate) fn local(&self, at_us: i64) -> String {
        self.format(at_us, "%Y-%m-%d %H:%M:%S")
    }

    /// A moment here with day and zone: `Sun 2026-03-01 12:00:00 CET`.
    pub(crate) fn local_in_full(&self, at_us: i64) -> String {
        self.format(at_us, "%a %Y-%m-%d %H:%M:%S %Z")
    }

    /// A moment and how long ago it is.
    pub(crate) fn relative(&self, at_us: i64) -> String {
        humane::relative(at_us, self.now_us)
    }

    /// The zone people here live by.
    pub(crate) fn zone(&self) -> TimeZone {
        self.zone.get_or_init(TimeZone::system).clone()
    }

    fn format(&self, at_us: i64, format: &str) -> String {
        match Timestamp::from_microsecond(at_us) {
            Ok(at) => at.to_zoned(self.zone()).strftime(format).to_string(),
            Err(_) => format!("@{at_us}us"),
        }
    }
}

/// Text of others on one line: control characters are shown escaped, so that none of it can steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same of text that may stay where it is: it is copied only where something is escaped.
pub(crate) fn on_one_line<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    if is_printable(&text) { text } else { Cow::Owned(one_line(&text)) }
}

/// Text of others with its lines and tabs; other control characters are shown escaped.
pub(crate) fn many_lines(text: &str) -> String {
    escaped(text, |c| c == '\n' || c == '\t')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    if is_printable(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if keep(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Marks that turn the direction of writing can make a line say something else than it does.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            _ if c.is_control() => {
                // Writing to a String cannot fail.
                write!(out, "\\x{:02x}", u32::from(c)).ok();
            }
            _ => out.push(c),
        }
    }
    out
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Columns that `text` takes on a terminal: two for East Asian wide characters and emoji, none for combining marks.
pub(crate) fn columns(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(columns_of).sum() }
}

/// The ranges are the common ones of Unicode's East_Asian_Width; a rare character may be off by one.
const fn columns_of(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// `text` cut to `width` columns, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let Some(left) = room.checked_sub(columns_of(c)) else { break };
        room = left;
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
impl Screen {
    /// A wide plain page in UTC, at a fixed moment.
    pub(crate) fn page(now_us: i64) -> Self {
        Self { width: None, colour: false, terminal: false, now_us, zone: OnceCell::from(TimeZone::UTC) }
    }

    /// The same in colour.
    pub(crate) fn in_colour(now_us: i64) -> Self {
        Self { colour: true, ..Self::page(now_us) }
    }

    /// A colourless terminal of `width` columns.
    pub(crate) fn of_width(width: usize, now_us: i64) -> Self {
        Self { width: Some(width), terminal: true, ..Self::page(now_us) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_others_can_steer_the_terminal() {
        assert_eq!(one_line("a\x1b[2Jb\u{9b}c\r\n\td"), "a\\x1b[2Jb\\x9bc\\r\\n\\td");
        assert_eq!(many_lines("a\n\tb\x07"), "a\n\tb\\x07");
        assert_eq!(one_line("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(one_line("größe 大"), "größe 大");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("大大大大", 6), "大大…");
        assert_eq!(columns(&cut("大大大大", 6)), 5);
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn styles_are_written_only_where_wanted() {
        let plain = Screen::page(0);
        assert_eq!(plain.paint(BAD, "x"), "x");
        let coloured = Screen::in_colour(0);
        assert_eq!(coloured.paint(BAD, "x"), "\x1b[1m\x1b[31mx\x1b[0m");
        assert_eq!(coloured.paint(PLAIN, "x"), "x");
    }

    #[test]
    fn moments_are_shown_where_we_are() {
        let screen = Screen::page(0);
        assert_eq!(screen.local(1_772_366_400_000_000), "2026-03-01 12:00:00");
        assert_eq!(screen.local_in_full(1_772_366_400_000_000), "Sun 2026-03-01 12:00:00 UTC");
        assert_eq!(screen.local(i64::MAX), format!("@{}us", i64::MAX));
    }
}
