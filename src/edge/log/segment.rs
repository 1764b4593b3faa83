//! The segment that is being written.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{SpliceFFlags, splice};

use super::{
    files::{Mark, index_path, log_path, marks, numbers},
    lines::Place,
};
use crate::base::{TimeSpan, Wall};

/// At most one index entry in this time: what is read back bears its time to this precision.
const INDEX_EVERY_US: i64 = 10_000;

/// The segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    dir: PathBuf,
    number: u64,
    file: File,
    index: File,
    index_length: u64,
    /// The file's length: where the next byte goes.
    length: u64,
    begun: Option<Wall>,
    marked: Option<Wall>,
}

impl Segment {
    /// Opens the newest segment of `dir`, or the first.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        let newest = numbers(dir)?.last().copied();
        // One that is packed is closed.
        let number = newest.map_or(1, |number| number + u64::from(!log_path(dir, number).exists()));
        Self::open_number(dir, number)
    }

    fn open_number(dir: &Path, number: u64) -> io::Result<Self> {
        let open =
            |path: &Path| OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o640).open(path);
        let file = open(&log_path(dir, number))?;
        let index = open(&index_path(dir, number))?;
        let length = file.metadata()?.len();
        // An entry that a full disk cut short is written over.
        let index_length = index.metadata()?.len() / Mark::BYTES as u64 * Mark::BYTES as u64;
        let begun = if length > 0 { marks(dir, number).first().map(|mark| mark.at) } else { None };
        Ok(Self { dir: dir.to_owned(), number, file, index, index_length, length, begun, marked: None })
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Where its next byte goes.
    pub(super) const fn end(&self) -> Place {
        Place { number: self.number, offset: self.length }
    }

    /// Whether it is long or old enough for the next one to follow.
    pub(super) fn is_due(&self, size: u64, age: TimeSpan, now: Wall) -> bool {
        let is_old = || {
            let (Some(begun), Some(age)) = (self.begun, age.micros()) else { return false };
            u64::try_from(now.0 - begun.0).is_ok_and(|passed| passed >= age)
        };
        self.length >= size || self.length > 0 && is_old()
    }

    /// Whether its last byte is a newline, or there is none.
    pub(super) fn ends_line(&self) -> io::Result<bool> {
        let mut last = [b'\n'];
        if self.length > 0 {
            self.file.read_exact_at(&mut last, self.length - 1)?;
        }
        Ok(last == *b"\n")
    }

    /// Becomes the next segment.
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        *self = Self::open_number(&self.dir, self.number + 1)?;
        Ok(())
    }

    /// Moves up to `most` bytes here, without any passing through this process; the count.
    pub(super) fn take(&mut self, pipe: impl AsFd, most: usize, now: Wall) -> io::Result<usize> {
        self.mark(now);
        let mut offset = i64::try_from(self.length).map_err(io::Error::other)?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let moved = splice(pipe, None, self.file.as_fd(), Some(&mut offset), most, flags)?;
        self.length += moved as u64;
        Ok(moved)
    }

    /// Adds a line of our own, on a line of its own.
    pub(super) fn note(&mut self, text: &str, now: Wall) -> io::Result<()> {
        let line = format!("{}[roundsman: {text}]\n", if self.ends_line()? { "" } else { "\n" });
        self.mark(now);
        if let Err(error) = self.file.write_all_at(line.as_bytes(), self.length) {
            // Whole or not at all.
            self.file.set_len(self.length).ok();
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Notes that bytes from the present length on are written at `at`. Losing a mark loses precision, nothing else: so a
    /// full disk does not keep output from its segment because of the index.
    fn mark(&mut self, at: Wall) {
        if self.marked.is_some_and(|last| at.0 - last.0 < INDEX_EVERY_US && at >= last) {
            return;
        }
        let mark = Mark { offset: self.length, at };
        if self.index.write_all_at(&mark.encode(), self.index_length).is_ok() {
            self.index_length += Mark::BYTES as u64;
            self.marked = Some(at);
            self.begun.get_or_insert(at);
        }
    }
}
