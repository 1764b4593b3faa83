//! Tables for people: columns as wide as their widest cell, and on a terminal no wider than that is.

use std::borrow::Cow;

use anstyle::Style;

use super::screen::{FAINT, PLAIN, Screen, columns, cut};

/// Spaces between columns.
const GAP: usize = 2;
/// The flexible column is not cut below this.
const FLEXIBLE_MIN: usize = 16;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Where its text stands.
    pub(crate) align: Align,
    /// What gives when there is too little room.
    pub(crate) room: Room,
}

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// What happens to a column when there is too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It always stands in full.
    Keep,
    /// Its text is cut. At most one column, the last.
    Cut,
    /// It is left out; lower numbers first.
    Drop(u8),
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell<'a> {
    text: Cow<'a, str>,
    style: Style,
}

impl<'a> Cell<'a> {
    /// Text in a style.
    pub(crate) fn styled(text: impl Into<Cow<'a, str>>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// Text as it is.
    pub(crate) fn plain(text: impl Into<Cow<'a, str>>) -> Self {
        Self::styled(text, PLAIN)
    }

    /// What there is, or a faint dash.
    pub(crate) fn optional(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        text.map_or_else(Self::none, Self::plain)
    }

    /// A faint dash.
    pub(crate) fn none() -> Self {
        Self::styled("-", FAINT)
    }
}

/// The table as lines, with a heading.
pub(crate) fn render<'a>(screen: &Screen, table: &[Column], rows: &[impl AsRef<[Cell<'a>]>]) -> String {
    let natural = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(index)).map(|cell| columns(&cell.text));
        cells.max().unwrap_or(0).max(columns(table[index].title))
    };
    let mut shown: Vec<(usize, usize)> = (0..table.len()).map(|index| (index, natural(index))).collect();
    if let Some(width) = screen.width {
        fit(&mut shown, table, width);
    }
    let heading: Vec<Cell<'_>> = table.iter().map(|column| Cell::styled(column.title, FAINT)).collect();
    let line: usize = shown.iter().map(|(_, width)| width + GAP).sum();
    let mut out = String::with_capacity(line * (rows.len() + 1));
    push_row(&mut out, screen, table, &shown, &heading);
    for row in rows {
        push_row(&mut out, screen, table, &shown, row.as_ref());
    }
    out
}

/// Leaves columns out and cuts the flexible one until the row fits, or nothing more can give.
fn fit(shown: &mut Vec<(usize, usize)>, table: &[Column], width: usize) {
    let is_flexible = |index: usize| table[index].room == Room::Cut;
    loop {
        let gaps = GAP * shown.len().saturating_sub(1);
        let fixed: usize = shown.iter().filter(|(index, _)| !is_flexible(*index)).map(|(_, width)| *width).sum();
        let rest = width.saturating_sub(fixed + gaps);
        let flexible = shown.iter_mut().find(|(index, _)| is_flexible(*index));
        let enough = match &flexible {
            Some((_, natural)) => rest >= (*natural).min(FLEXIBLE_MIN),
            None => fixed + gaps <= width,
        };
        let next = shown.iter().enumerate().filter_map(|(place, (index, _))| match table[*index].room {
            Room::Drop(order) => Some((order, place)),
            Room::Keep | Room::Cut => None,
        });
        match next.min() {
            Some((_, place)) if !enough => {
                shown.remove(place);
            }
            Some(_) | None => {
                if let Some((_, natural)) = shown.iter_mut().find(|(index, _)| is_flexible(*index)) {
                    *natural = (*natural).min(rest.max(FLEXIBLE_MIN));
                }
                return;
            }
        }
    }
}

fn push_row(out: &mut String, screen: &Screen, table: &[Column], shown: &[(usize, usize)], row: &[Cell<'_>]) {
    for (place, (index, width)) in shown.iter().enumerate() {
        let Some(cell) = row.get(*index) else { continue };
        let column = &table[*index];
        let takes = columns(&cell.text);
        let is_cut = column.room == Room::Cut && takes > *width;
        let text = if is_cut { Cow::Owned(cut(&cell.text, *width)) } else { Cow::Borrowed(&*cell.text) };
        let padding = width.saturating_sub(if is_cut { columns(&text) } else { takes });
        let (before, after) = match column.align {
            Align::Left if place + 1 == shown.len() => (0, 0),
            Align::Left => (0, padding),
            Align::Right => (padding, 0),
        };
        out.extend(std::iter::repeat_n(' ', before));
        screen.push(out, cell.style, &text);
        if place + 1 < shown.len() {
            out.extend(std::iter::repeat_n(' ', after + GAP));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Column; 4] = [
        Column { title: "NAME", align: Align::Left, room: Room::Keep },
        Column { title: "CPU", align: Align::Right, room: Room::Drop(1) },
        Column { title: "MEM", align: Align::Right, room: Room::Drop(0) },
        Column { title: "CAUSE", align: Align::Left, room: Room::Cut },
    ];

    fn check(width: usize, expected: &str) {
        let row = |name: &'static str| {
            vec![
                Cell::plain(name),
                Cell::plain("1.23s"),
                Cell::plain("12.3M"),
                Cell::plain("it was started when the daemon came up"),
            ]
        };
        let rendered = render(&Screen::of_width(width, 0), &TABLE, &[row("a"), row("a-rather-long-name")]);
        assert_eq!(rendered, expected, "\n{rendered}");
        let widest = rendered.lines().map(columns).max();
        assert!(widest <= Some(width.max(36)), "{widest:?} of {width}");
    }

    #[test]
    fn the_text_is_cut_first_then_columns_go_and_names_stay() {
        check(
            80,
            "\
NAME                  CPU    MEM  CAUSE
a                   1.23s  12.3M  it was started when the daemon came up
a-rather-long-name  1.23s  12.3M  it was started when the daemon came up
",
        );
        check(
            52,
            "\
NAME                  CPU    MEM  CAUSE
a                   1.23s  12.3M  it was started wh…
a-rather-long-name  1.23s  12.3M  it was started wh…
",
        );
        check(
            44,
            "\
NAME                  CPU  CAUSE
a                   1.23s  it was started w…
a-rather-long-name  1.23s  it was started w…
",
        );
        check(
            20,
            "\
NAME                CAUSE
a                   it was started …
a-rather-long-name  it was started …
",
        );
    }
}
