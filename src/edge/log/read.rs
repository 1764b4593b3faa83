//! Reading back what services wrote.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::segment::{Mark, index_path, log_path, numbers};
use crate::base::Wall;

/// Read backwards in pieces of this size when the last lines are looked for.
const PIECE_BYTES: u64 = 64 << 10;

/// A place in a unit's output, from which one reads on.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    number: u64,
    offset: u64,
}

/// The place from which the last `lines` lines stand, or where what was written since `since` begins, whichever is later.
pub fn tail(dir: &Path, lines: usize, since: Option<Wall>) -> io::Result<Tail> {
    let numbers = match numbers(dir) {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut place = last_lines(dir, &numbers, lines)?;
    if let Some(since) = since {
        place = place.max(first_since(dir, &numbers, since)?);
    }
    Ok(Tail { dir: dir.to_owned(), number: place.0, offset: place.1 })
}

fn last_lines(dir: &Path, numbers: &[u64], lines: usize) -> io::Result<(u64, u64)> {
    let mut wanted = lines;
    let mut first = true;
    for number in numbers.iter().rev() {
        let mut file = File::open(log_path(dir, *number))?;
        let mut end = file.metadata()?.len();
        while end > 0 {
            let begin = end.saturating_sub(PIECE_BYTES);
            let mut piece = vec![0; usize::try_from(end - begin).map_err(io::Error::other)?];
            file.seek(SeekFrom::Start(begin))?;
            file.read_exact(&mut piece)?;
            for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                // The newline that ends the very last line begins no line.
                if std::mem::take(&mut first) && begin + at as u64 + 1 == end {
                    continue;
                }
                if wanted <= 1 {
                    return Ok((*number, if lines == 0 { file.metadata()?.len() } else { begin + at as u64 + 1 }));
                }
                wanted -= 1;
            }
            first = false;
            end = begin;
        }
    }
    Ok((numbers.first().copied().unwrap_or(1), 0))
}

fn first_since(dir: &Path, numbers: &[u64], since: Wall) -> io::Result<(u64, u64)> {
    let mut place = (numbers.first().copied().unwrap_or(1), 0);
    for number in numbers {
        let index = fs::read(index_path(dir, *number)).unwrap_or_default();
        for mark in index.chunks_exact(Mark::BYTES).filter_map(Mark::decode) {
            if mark.at >= since {
                return Ok((*number, mark.offset));
            }
            place = (*number, mark.offset);
        }
    }
    // Everything is older: the end. What was written in the last marked moment is shown rather than lost.
    Ok(place)
}

impl Tail {
    /// The next bytes, at most `max`; empty when everything so far is read. Crosses from segment to segment.
    pub fn next(&mut self, max: usize) -> io::Result<Vec<u8>> {
        loop {
            let mut bytes = Vec::new();
            match File::open(log_path(&self.dir, self.number)) {
                Ok(mut file) => {
                    file.seek(SeekFrom::Start(self.offset))?;
                    file.take(max as u64).read_to_end(&mut bytes)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if !bytes.is_empty() {
                self.offset += bytes.len() as u64;
                return Ok(bytes);
            }
            let newer = numbers(&self.dir).unwrap_or_default().into_iter().find(|number| *number > self.number);
            match newer {
                Some(number) => (self.number, self.offset) = (number, 0),
                None => return Ok(Vec::new()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(segments: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (number, text) in (1..).zip(segments) {
            fs::write(log_path(dir.path(), number), text).expect("written");
        }
        dir
    }

    fn all(mut tail: Tail) -> String {
        let mut text = Vec::new();
        loop {
            let bytes = tail.next(3).expect("readable");
            if bytes.is_empty() {
                return String::from_utf8(text).expect("utf-8");
            }
            text.extend(bytes);
        }
    }

    #[test]
    fn the_last_lines_are_found_across_segments() {
        let dir = written(&["a\nb\nc", "d\ne\n"]);
        for (lines, expected) in [(0, ""), (1, "e\n"), (2, "cd\ne\n"), (3, "b\ncd\ne\n"), (99, "a\nb\ncd\ne\n")] {
            assert_eq!(all(tail(dir.path(), lines, None).expect("found")), expected, "{lines} lines");
        }
    }

    #[test]
    fn an_unfinished_last_line_counts_as_a_line() {
        let dir = written(&["a\nb"]);
        assert_eq!(all(tail(dir.path(), 1, None).expect("found")), "b");
    }

    #[test]
    fn no_output_yet_is_empty_and_can_be_followed() {
        let dir = written(&[]);
        let mut tail = tail(&dir.path().join("none"), 10, None).expect("found");
        assert_eq!(tail.next(10).expect("readable"), b"");
        fs::create_dir(dir.path().join("none")).expect("mkdir");
        fs::write(log_path(&dir.path().join("none"), 1), "x\n").expect("written");
        assert_eq!(tail.next(10).expect("readable"), b"x\n");
    }

    #[test]
    fn since_is_found_by_the_index() {
        let dir = written(&["old\nnew\n"]);
        let marks = [Mark { offset: 0, at: Wall(100) }, Mark { offset: 4, at: Wall(200) }];
        fs::write(index_path(dir.path(), 1), marks.map(Mark::encode).concat()).expect("written");
        assert_eq!(all(tail(dir.path(), 99, Some(Wall(150))).expect("found")), "new\n");
        assert_eq!(all(tail(dir.path(), 99, Some(Wall(50))).expect("found")), "old\nnew\n");
    }
}
