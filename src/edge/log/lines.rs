//! Captured output, line by line, across segments.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::files::{Mark, Source, index_path, marks, numbers};
use crate::base::Wall;

/// Read in one go.
const PIECE_BYTES: usize = 64 << 10;

/// A place in a unit's output: a segment and an offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) number: u64,
    pub(super) offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.offset)
    }
}

/// A text that names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read this as a place in output (write NUMBER:OFFSET, as it was given)")]
pub struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (number, offset) = text.split_once(':').ok_or(PlaceError)?;
        let read = |text: &str| text.parse().map_err(|_| PlaceError);
        Ok(Self { number: read(number)?, offset: read(offset)? })
    }
}

/// A line, or what there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, without the newline.
    pub bytes: Vec<u8>,
    /// When its first byte was captured, as far as that is known.
    pub at: Option<Wall>,
    /// Where it begins.
    pub begin: Place,
    /// Where the next one begins.
    pub end: Place,
    /// Whether its newline was read; else more of it may come.
    pub ended: bool,
}

/// Reads on from a place. Takes memory for one piece and for one line of the longest kind.
#[derive(Debug)]
pub(super) struct Lines {
    dir: PathBuf,
    line_max: usize,
    /// Where the next piece begins.
    next: Place,
    source: Option<(u64, Source)>,
    marks: Marks,
    piece: Vec<u8>,
    /// What of the piece was given away.
    given: usize,
    held: Option<Line>,
}

impl Lines {
    /// Begins at `place`; a line longer than `line_max` is given in parts.
    pub(super) fn from(dir: &Path, place: Place, line_max: usize) -> Self {
        Self {
            dir: dir.to_owned(),
            line_max: line_max.max(1),
            next: place,
            source: None,
            marks: Marks::default(),
            piece: Vec::new(),
            given: 0,
            held: None,
        }
    }

    /// The next line that is whole, or part of one that is too long; `None` when there is none yet.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if self.given == self.piece.len() && !self.refill()? {
                return Ok(None);
            }
            let here = self.here();
            let rest = &self.piece[self.given..];
            let mut line = match self.held.take() {
                Some(line) => line,
                None => {
                    let at = self.marks.time_of(here);
                    Line { bytes: Vec::new(), at, begin: here, end: here, ended: false }
                }
            };
            let room = self.line_max - line.bytes.len();
            let newline = rest.iter().take(room + 1).position(|byte| *byte == b'\n');
            let count = newline.unwrap_or_else(|| rest.len().min(room));
            line.bytes.extend_from_slice(&rest[..count]);
            line.ended = newline.is_some();
            self.given += count + usize::from(line.ended);
            line.end = self.here();
            if line.ended || line.bytes.len() == self.line_max {
                return Ok(Some(line));
            }
            self.held = Some(line);
        }
    }

    /// What there is of a line that is not whole yet.
    pub(super) fn part(&mut self) -> Option<Line> {
        self.held.take().filter(|line| !line.bytes.is_empty())
    }

    /// Goes on behind the next newline, unless a line begins here.
    pub(super) fn skip_to_begin(&mut self) -> io::Result<()> {
        if self.next.offset == 0 {
            return Ok(());
        }
        self.next.offset -= 1;
        self.next_line()?;
        Ok(())
    }

    /// Where what was not given away yet begins.
    pub(super) fn place(&self) -> Place {
        self.held.as_ref().map_or_else(|| self.here(), |held| held.begin)
    }

    const fn here(&self) -> Place {
        let behind = (self.piece.len() - self.given) as u64;
        Place { number: self.next.number, offset: self.next.offset - behind }
    }

    /// Reads the next piece; whether there was one. Crosses from segment to segment.
    fn refill(&mut self) -> io::Result<bool> {
        loop {
            // Asked before the read: what is written to the older one is there before the newer one is.
            let newer = numbers(&self.dir)?.into_iter().find(|number| *number > self.next.number);
            if self.read()? {
                return Ok(true);
            }
            match newer {
                Some(number) => self.next = Place { number, offset: 0 },
                None => return Ok(false),
            }
        }
    }

    fn read(&mut self) -> io::Result<bool> {
        if self.source.as_ref().is_none_or(|(number, _)| *number != self.next.number) {
            self.source = Source::open(&self.dir, self.next.number)?.map(|source| (self.next.number, source));
        }
        let Some((_, source)) = &mut self.source else { return Ok(false) };
        self.piece.resize(PIECE_BYTES, 0);
        let count = source.read_at(&mut self.piece, self.next.offset);
        self.piece.truncate(*count.as_ref().unwrap_or(&0));
        self.given = 0;
        self.next.offset += count? as u64;
        if !self.piece.is_empty() {
            self.marks.refresh(&self.dir, self.next.number);
        }
        Ok(!self.piece.is_empty())
    }
}

/// The index of the segment that is read.
#[derive(Debug, Default)]
struct Marks {
    number: u64,
    bytes: u64,
    marks: Vec<Mark>,
}

impl Marks {
    /// A mark is written before its bytes, so after the bytes were read it is there.
    fn refresh(&mut self, dir: &Path, number: u64) {
        let bytes = std::fs::metadata(index_path(dir, number)).map_or(0, |meta| meta.len());
        if number != self.number || bytes != self.bytes {
            *self = Self { number, bytes, marks: marks(dir, number) };
        }
    }

    fn time_of(&self, place: Place) -> Option<Wall> {
        let behind = self.marks.partition_point(|mark| mark.offset <= place.offset);
        self.marks.get(behind.checked_sub(1)?).map(|mark| mark.at)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::edge::log::files::log_path;

    const BEGIN: Place = Place { number: 1, offset: 0 };

    fn all(lines: &mut Lines) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().expect("readable") {
            found.push((String::from_utf8(line.bytes).expect("text"), line.ended));
        }
        found
    }

    fn written(segments: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (number, text) in (1..).zip(segments) {
            fs::write(log_path(dir.path(), number), text).expect("written");
        }
        dir
    }

    #[test]
    fn a_line_may_lie_in_two_segments() {
        let dir = written(&["a\nb", "c\nd"]);
        let mut lines = Lines::from(dir.path(), BEGIN, 100);
        assert_eq!(all(&mut lines), [("a".into(), true), ("bc".into(), true)]);
        assert_eq!(lines.place(), Place { number: 2, offset: 2 }, "what is held is not given away");
        assert_eq!(lines.part().map(|line| line.bytes), Some(b"d".to_vec()));
        assert_eq!(lines.place(), Place { number: 2, offset: 3 });
    }

    #[test]
    fn a_line_without_end_is_given_in_parts() {
        for size in [1, 9, 10, 11, 20, 25] {
            let text = format!("{}\nend\n", "x".repeat(size));
            let dir = written(&[&text]);
            let found = all(&mut Lines::from(dir.path(), BEGIN, 10));
            assert!(found.iter().all(|(line, _)| line.len() <= 10), "{found:?}");
            let again: String =
                found.iter().map(|(line, ended)| format!("{line}{}", if *ended { "\n" } else { "" })).collect();
            assert_eq!(again, text);
            assert_eq!(found.last(), Some(&("end".to_owned(), true)), "{size}");
        }
    }

    #[test]
    fn reading_goes_on_from_any_place_that_was_given() {
        let dir = written(&["a\n\nbb\n", "ccc\n"]);
        let mut lines = Lines::from(dir.path(), BEGIN, 2);
        let mut places = vec![(BEGIN, String::new())];
        let mut text = String::new();
        while let Some(line) = lines.next_line().expect("readable") {
            text.push_str(std::str::from_utf8(&line.bytes).expect("text"));
            places.push((line.end, text.clone()));
        }
        for (place, before) in places {
            let named = place.to_string().parse::<Place>().expect("a place");
            let after: String =
                all(&mut Lines::from(dir.path(), named, 100)).into_iter().map(|(line, _)| line).collect();
            assert_eq!(before + &after, "abbccc");
        }
    }

    #[test]
    fn what_is_written_later_is_read_later() {
        let dir = written(&["a\nb"]);
        let mut lines = Lines::from(dir.path(), BEGIN, 100);
        assert_eq!(all(&mut lines), [("a".into(), true)]);
        fs::write(log_path(dir.path(), 1), "a\nbc\n").expect("written");
        fs::write(log_path(dir.path(), 2), "d\n").expect("written");
        assert_eq!(all(&mut lines), [("bc".into(), true), ("d".into(), true)]);
    }

    #[test]
    fn a_line_bears_the_time_of_its_first_byte() {
        let dir = written(&["old\nnew\n"]);
        let marks = [Mark { offset: 0, at: Wall(100) }, Mark { offset: 4, at: Wall(200) }];
        fs::write(index_path(dir.path(), 1), marks.map(Mark::encode).concat()).expect("written");
        let mut lines = Lines::from(dir.path(), BEGIN, 100);
        let mut times = Vec::new();
        while let Some(line) = lines.next_line().expect("readable") {
            times.push(line.at);
        }
        assert_eq!(times, [Some(Wall(100)), Some(Wall(200))]);
    }
}
