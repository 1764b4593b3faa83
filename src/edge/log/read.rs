//! Where in a unit's output a reader wants to begin, and which lines it wants.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use super::{
    files::{Source, length, log_path, marks, numbers},
    lines::{Line, Lines, Place},
};
use crate::base::{LinePattern, Wall};

/// Read in one go.
const PIECE_BYTES: u64 = 64 << 10;
/// Matching lines whose places are remembered while the last ones are looked for.
const MATCHES_MAX: usize = 1 << 16;
/// Where a time begins within a line, up to so much of it is not shown.
const SKIPPED_MAX: usize = 64 << 10;

/// Which part of a unit's output is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The last so many lines; all unless set.
    pub lines: Option<usize>,
    /// Written since.
    pub since: Option<Wall>,
    /// Written until.
    pub until: Option<Wall>,
    /// Where an earlier reader ended; then `lines` and `since` say nothing.
    pub after: Option<Place>,
    /// Lines with this in them.
    pub grep: Option<LinePattern>,
    /// The longest line in one piece.
    pub line_max: usize,
}

/// A reader of the lines that are wanted, in order.
#[derive(Debug)]
pub struct Reader {
    lines: Lines,
    until: Option<Wall>,
    grep: Option<LinePattern>,
    over: bool,
}

impl Reader {
    /// Finds where to begin in the folder of a unit.
    pub fn open(dir: &Path, wanted: Wanted) -> io::Result<Self> {
        let Wanted { lines, since, until, after, grep, line_max } = wanted;
        let begin = match after {
            Some(place) => place,
            None => begin(dir, since)?,
        };
        let mut reader = Self { lines: Lines::from(dir, begin, line_max), until, grep, over: false };
        if let (Some(count), None) = (lines, after) {
            let begin = match reader.takes_all() && until.is_none() {
                true => last_lines(dir, count)?.max(begin),
                // Which lines are the last ones is known when all were seen.
                false => reader.last(count.min(MATCHES_MAX))?,
            };
            reader.lines = Lines::from(dir, begin, line_max);
            reader.over = false;
        }
        Ok(reader)
    }

    /// The next line that is wanted; `None` when there is none yet.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        while !self.over {
            let Some(line) = self.lines.next_line()? else { return Ok(None) };
            if let Some(line) = self.wanted(line) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Where the last so many wanted lines begin.
    fn last(&mut self, count: usize) -> io::Result<Place> {
        let mut places = VecDeque::new();
        while let Some(line) = self.next_line()? {
            places.push_back(line.begin);
            if places.len() > count {
                places.pop_front();
            }
        }
        Ok(places.front().copied().unwrap_or_else(|| self.lines.place()))
    }

    /// What there is of a line that is not whole yet.
    pub fn part(&mut self) -> Option<Line> {
        let line = self.lines.part()?;
        self.wanted(line)
    }

    /// Where the next line begins.
    pub fn place(&self) -> Place {
        self.lines.place()
    }

    /// Whether nothing can come any more.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether each line is wanted.
    pub const fn takes_all(&self) -> bool {
        self.grep.is_none()
    }

    fn wanted(&mut self, line: Line) -> Option<Line> {
        if self.until.is_some_and(|until| line.at.is_some_and(|at| at > until)) {
            self.over = true;
            return None;
        }
        self.grep.as_ref().is_none_or(|grep| grep.matches(&line.bytes)).then_some(line)
    }
}

/// Where the first line begins of which less than `bytes` are to its end and everything behind it.
pub fn newest(dir: &Path, bytes: u64) -> io::Result<Place> {
    let mut room = bytes;
    let numbers = numbers(dir)?;
    for number in numbers.iter().rev() {
        let length = length(dir, *number);
        let Some(rest) = room.checked_sub(length) else {
            let mut lines = Lines::from(dir, Place { number: *number, offset: length - room }, SKIPPED_MAX);
            lines.skip_to_begin()?;
            return Ok(lines.place());
        };
        room = rest;
    }
    Ok(Place { number: numbers.first().copied().unwrap_or(1), offset: 0 })
}

/// Where what was written since begins, or all.
fn begin(dir: &Path, since: Option<Wall>) -> io::Result<Place> {
    let numbers = numbers(dir)?;
    match since {
        Some(since) => first_since(dir, &numbers, since),
        None => Ok(Place { number: numbers.first().copied().unwrap_or(1), offset: 0 }),
    }
}

/// Where the last lines begin. Reads from the end, as far as segments are not packed.
fn last_lines(dir: &Path, lines: usize) -> io::Result<Place> {
    let numbers = numbers(dir)?;
    // Beside the newlines between them, one ends the last line.
    let mut wanted = lines;
    let mut is_last_byte = true;
    for number in numbers.iter().rev() {
        let mut newlines = match File::open(log_path(dir, *number)) {
            Ok(file) => Newlines::Plain { end: file.metadata()?.len(), file, found: Vec::new() },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Newlines::Found(packed_newlines(dir, *number, wanted.saturating_add(1))?)
            }
            Err(error) => return Err(error),
        };
        if lines == 0 {
            return Ok(Place { number: *number, offset: newlines.length()? });
        }
        let length = newlines.length()?;
        while let Some(at) = newlines.last()? {
            // The newline that ends the very last line begins no line.
            if is_last_byte && at + 1 == length {
                is_last_byte = false;
                continue;
            }
            is_last_byte = false;
            wanted -= 1;
            if wanted == 0 {
                return Ok(Place { number: *number, offset: at + 1 });
            }
        }
        is_last_byte &= length == 0;
    }
    Ok(Place { number: numbers.first().copied().unwrap_or(1), offset: 0 })
}

/// Places of newlines in a segment, the last one first.
enum Newlines {
    Plain { file: File, end: u64, found: Vec<u64> },
    Found((VecDeque<u64>, u64)),
}

impl Newlines {
    fn length(&self) -> io::Result<u64> {
        match self {
            Self::Plain { file, .. } => Ok(file.metadata()?.len()),
            Self::Found((_, length)) => Ok(*length),
        }
    }

    fn last(&mut self) -> io::Result<Option<u64>> {
        match self {
            Self::Plain { file, end, found } => {
                while found.is_empty() && *end > 0 {
                    let begin = end.saturating_sub(PIECE_BYTES);
                    let mut piece = vec![0; usize::try_from(*end - begin).map_err(io::Error::other)?];
                    file.seek(SeekFrom::Start(begin))?;
                    file.read_exact(&mut piece)?;
                    found.extend((begin..).zip(&piece).filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at));
                    *end = begin;
                }
                Ok(found.pop())
            }
            Self::Found((places, _)) => Ok(places.pop_back()),
        }
    }
}

/// The last newlines of a packed segment, which can only be read forwards, and its length.
fn packed_newlines(dir: &Path, number: u64, most: usize) -> io::Result<(VecDeque<u64>, u64)> {
    let (mut places, mut offset) = (VecDeque::new(), 0);
    let Some(mut source) = Source::open(dir, number)? else { return Ok((places, 0)) };
    let mut piece = [0; 8192];
    loop {
        let count = source.read_at(&mut piece, offset)?;
        if count == 0 {
            return Ok((places, offset));
        }
        places.extend((offset..).zip(&piece[..count]).filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at));
        let surplus = places.len().saturating_sub(most);
        places.drain(..surplus);
        offset += count as u64;
    }
}

fn first_since(dir: &Path, numbers: &[u64], since: Wall) -> io::Result<Place> {
    let mut place = Place { number: numbers.first().copied().unwrap_or(1), offset: 0 };
    'found: for number in numbers {
        for mark in marks(dir, *number) {
            place = Place { number: *number, offset: mark.offset };
            if mark.at >= since {
                break 'found;
            }
        }
    }
    // When everything is older: what was written in the last marked moment is shown rather than lost.
    let mut lines = Lines::from(dir, place, SKIPPED_MAX);
    lines.skip_to_begin()?;
    Ok(lines.place())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::edge::log::files::{Mark, index_path, packed_path};

    const WANTED: Wanted = Wanted { lines: None, since: None, until: None, after: None, grep: None, line_max: 1 << 16 };

    fn written(segments: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (number, text) in (1..).zip(segments) {
            fs::write(log_path(dir.path(), number), text).expect("written");
        }
        dir
    }

    fn pack(dir: &Path, number: u64) {
        let file = File::create(packed_path(dir, number)).expect("created");
        let mut encoder = GzEncoder::new(file, Compression::fast());
        io::copy(&mut File::open(log_path(dir, number)).expect("open"), &mut encoder).expect("packed");
        encoder.finish().expect("packed");
        fs::remove_file(log_path(dir, number)).expect("removed");
    }

    fn all(dir: &Path, wanted: Wanted) -> String {
        let mut reader = Reader::open(dir, wanted).expect("found");
        let mut text = String::new();
        while let Some(line) = reader.next_line().expect("readable") {
            text.push_str(std::str::from_utf8(&line.bytes).expect("text"));
            text.push('\n');
        }
        if let Some(line) = reader.part() {
            text.push_str(std::str::from_utf8(&line.bytes).expect("text"));
        }
        text
    }

    #[test]
    fn the_last_lines_are_found_across_segments_packed_or_not() {
        let dir = written(&["a\nb\nc", "d\ne\n"]);
        let check = |case: &str| {
            for (lines, expected) in [(0, ""), (1, "e\n"), (2, "cd\ne\n"), (3, "b\ncd\ne\n"), (99, "a\nb\ncd\ne\n")] {
                assert_eq!(all(dir.path(), Wanted { lines: Some(lines), ..WANTED }), expected, "{lines} lines, {case}");
            }
        };
        check("as written");
        pack(dir.path(), 1);
        check("one packed");
        fs::write(log_path(dir.path(), 3), "").expect("written");
        pack(dir.path(), 2);
        check("both packed and a third begun");
    }

    #[test]
    fn an_unfinished_last_line_counts_as_a_line() {
        let dir = written(&["a\nb"]);
        assert_eq!(all(dir.path(), Wanted { lines: Some(1), ..WANTED }), "b");
    }

    #[test]
    fn no_output_yet_is_empty_and_can_be_followed() {
        let dir = written(&[]);
        let mut reader = Reader::open(&dir.path().join("none"), WANTED).expect("found");
        assert_eq!(reader.next_line().expect("readable"), None);
        fs::create_dir(dir.path().join("none")).expect("mkdir");
        fs::write(log_path(&dir.path().join("none"), 1), "x\n").expect("written");
        assert_eq!(reader.next_line().expect("readable").map(|line| line.bytes), Some(b"x".to_vec()));
    }

    #[test]
    fn a_span_of_time_is_found_by_the_index() {
        let dir = written(&["old\nnew\nlate\n"]);
        let marks = [(0, 100), (5, 200), (8, 300)].map(|(offset, at)| Mark { offset, at: Wall(at) });
        fs::write(index_path(dir.path(), 1), marks.map(Mark::encode).concat()).expect("written");
        let span = |since: Option<i64>, until: Option<i64>| {
            all(dir.path(), Wanted { since: since.map(Wall), until: until.map(Wall), ..WANTED })
        };
        assert_eq!(span(Some(250), None), "late\n");
        assert_eq!(span(Some(150), None), "late\n", "no half of a line is shown");
        assert_eq!(span(Some(50), Some(299)), "old\nnew\n");
        let last = Wanted { lines: Some(1), until: Some(Wall(299)), ..WANTED };
        assert_eq!(all(dir.path(), last), "new\n", "the last line before then");
        assert_eq!(span(Some(400), None), "late\n", "what was written in the last marked moment");
    }

    #[test]
    fn lines_that_match_are_found_from_the_end() {
        let dir = written(&["get /a\nput /b\nget /c\n", "get /d\nput /e\n"]);
        let grep = |pattern: &str, lines| {
            all(dir.path(), Wanted { grep: Some(LinePattern::new(pattern).expect("a pattern")), lines, ..WANTED })
        };
        assert_eq!(grep("^get", None), "get /a\nget /c\nget /d\n");
        assert_eq!(grep("^get", Some(2)), "get /c\nget /d\n");
        assert_eq!(grep("x", Some(2)), "");
        assert_eq!(grep("^get", Some(0)), "");
        assert!(
            LinePattern::new("(").is_err() && LinePattern::new("(a{1000}){1000}").is_err(),
            "a pattern has its limits"
        );
    }

    #[test]
    fn a_reader_goes_on_where_another_ended() {
        let dir = written(&["a\nb\nc\n"]);
        let mut reader = Reader::open(dir.path(), WANTED).expect("found");
        let first = reader.next_line().expect("readable").expect("a line");
        assert_eq!(all(dir.path(), Wanted { after: Some(first.end), lines: Some(1), ..WANTED }), "b\nc\n");
    }
}
