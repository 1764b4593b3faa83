//! What a run wrote last. Runs of a unit write into one pipe, one after the other, and nothing in it says where one ends: that is
//! known by where the next byte was to go when a run began.

use std::{collections::VecDeque, io, path::Path};

use super::{
    files::{length, numbers},
    lines::Place,
    read::{Reader, Wanted, newest},
};
use crate::base::Wall;

/// Of what the run and those after it wrote, so much is looked at.
const BYTES_MAX: u64 = 256 << 10;
/// Characters of a line that are kept.
const LINE_CHARS_MAX: usize = 300;
/// Another run may begin while the lines are read, and then write; but not for ever.
const LOOKS_MAX: u32 = 3;

/// Where the output of a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// With this byte.
    At(Place),
    /// With what was captured then; lines of the moment before may be among it, or lines of that moment missing.
    Since(Wall),
}

/// What of a unit's output is a run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: Bound,
    /// Where that of the run after it begins.
    pub to: Option<Bound>,
}

/// The last lines that a run wrote, each without control characters and cut where it is long; none when they cannot be read.
/// `span` is asked again when they were read: a run after it may have begun meanwhile.
pub fn last_words(dir: &Path, lines: usize, span: impl Fn() -> Option<Span>) -> Vec<String> {
    for _ in 0..LOOKS_MAX {
        let Some(of) = span() else { return Vec::new() };
        let words = read(dir, lines, of).unwrap_or_default();
        if span() == Some(of) {
            return words;
        }
    }
    Vec::new()
}

fn read(dir: &Path, lines: usize, of: Span) -> io::Result<Vec<String>> {
    let newest = newest(dir, BYTES_MAX)?;
    let begin = match of.from {
        Bound::At(place) => settled(dir, place)?.max(newest),
        Bound::Since(_) => newest,
    };
    let to = match of.to {
        Some(Bound::At(place)) => Some(Bound::At(settled(dir, place)?)),
        other @ (Some(Bound::Since(_)) | None) => other,
    };
    let mut reader = Reader::open(dir, Wanted { after: Some(begin), line_max: 4096, ..Wanted::default() })?;
    let mut words = VecDeque::new();
    while let Some(mut line) = reader.next_line()?.or_else(|| reader.part()) {
        if matches!(of.from, Bound::Since(since) if line.at.is_some_and(|at| at < since)) {
            continue;
        }
        match to {
            Some(Bound::At(end)) if line.begin >= end => break,
            // A last line without its newline, and the first of the next run behind it.
            Some(Bound::At(end)) if line.end > end && line.begin.number == end.number => {
                let own = usize::try_from(end.offset - line.begin.offset).unwrap_or(usize::MAX);
                line.bytes.truncate(own);
            }
            Some(Bound::Since(end)) if line.at.is_some_and(|at| at >= end) => break,
            Some(Bound::At(_) | Bound::Since(_)) | None => {}
        }
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        words.push_back(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_CHARS_MAX).collect());
        if words.len() > lines {
            words.pop_front();
        }
    }
    Ok(words.into())
}

/// A place that was reckoned before a segment was closed lies as far in the one after it as it is behind that one's end.
pub fn settled(dir: &Path, place: Place) -> io::Result<Place> {
    let numbers = numbers(dir)?;
    let mut place = place;
    for next in numbers {
        if next > place.number {
            let length = length(dir, place.number);
            let Some(behind) = place.offset.checked_sub(length).filter(|behind| *behind > 0 && length > 0) else {
                break;
            };
            place = Place { number: next, offset: behind };
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::edge::log::files::{Mark, index_path, log_path};

    fn written(segments: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (number, text) in (1..).zip(segments) {
            fs::write(log_path(dir.path(), number), text).expect("written");
        }
        dir
    }

    const fn at(number: u64, offset: u64) -> Bound {
        Bound::At(Place { number, offset })
    }

    #[test]
    fn only_what_the_run_wrote_is_given() {
        let dir = written(&["old\nold\none\ntwo\nhalnew\n", "newer\n"]);
        let said = |from, to| last_words(dir.path(), 10, || Some(Span { from, to }));
        assert_eq!(
            said(at(1, 8), Some(at(1, 19))),
            ["one", "two", "hal"],
            "not the line that the next run has made of it"
        );
        assert_eq!(said(at(1, 19), Some(at(2, 0))), ["new"]);
        assert_eq!(said(at(1, 19), None), ["new", "newer"]);
        assert_eq!(said(at(1, 8), Some(at(1, 8))), [""; 0], "it wrote nothing");
        // It was reckoned before the segment was closed.
        assert_eq!(said(at(1, 23), None), ["newer"]);
        assert_eq!(said(at(1, 19), Some(at(1, 23 + 3))), ["new", "new"]);
        assert_eq!(last_words(dir.path(), 1, || Some(Span { from: at(1, 8), to: Some(at(1, 16)) })), ["two"]);
    }

    #[test]
    fn where_only_the_time_is_known_lines_are_chosen_by_it() {
        let dir = written(&["old\nown\nnew\n"]);
        let marks = [(0, 100), (4, 200), (8, 300)].map(|(offset, at)| Mark { offset, at: Wall(at) });
        fs::write(index_path(dir.path(), 1), marks.map(Mark::encode).concat()).expect("written");
        let span = Span { from: Bound::Since(Wall(150)), to: Some(Bound::Since(Wall(250))) };
        assert_eq!(last_words(dir.path(), 10, || Some(span)), ["own"]);
    }

    #[test]
    fn a_run_that_begins_while_lines_are_read_adds_none() {
        let dir = written(&["own\nnew\n"]);
        let asked = std::cell::Cell::new(0);
        let span = || {
            asked.set(asked.get() + 1);
            Some(Span { from: at(1, 0), to: (asked.get() > 1).then_some(at(1, 4)) })
        };
        assert_eq!(last_words(dir.path(), 10, span), ["own"]);
    }
}
