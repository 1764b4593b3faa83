//! The segment files of one unit.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::base::{ByteSize, Wall};

/// How large a segment grows and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment that is this long is closed.
    pub segment: ByteSize,
    /// So many segments are kept, the one in use among them.
    pub keep: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment: ByteSize(16 << 20), keep: 8 }
    }
}

/// At most one index entry in this time.
const INDEX_EVERY_US: i64 = 100_000;

/// One entry of an index: the bytes from `offset` on were written at `at` or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) offset: u64,
    pub(super) at: Wall,
}

impl Mark {
    pub(super) const BYTES: usize = 16;

    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.at.0.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, at) = bytes.split_at_checked(8)?;
        Some(Self {
            offset: u64::from_le_bytes(offset.try_into().ok()?),
            at: Wall(i64::from_le_bytes(at.try_into().ok()?)),
        })
    }
}

/// The segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    dir: PathBuf,
    number: u64,
    pub(super) file: File,
    index: File,
    /// The file's length: where the next byte goes.
    pub(super) length: u64,
    marked: Option<Wall>,
}

impl Segment {
    /// Opens the newest segment of `dir`, or the first.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        let number = numbers(dir)?.last().copied().unwrap_or(1);
        Self::open_number(dir, number)
    }

    fn open_number(dir: &Path, number: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(log_path(dir, number))?;
        let index = OpenOptions::new().create(true).append(true).mode(0o640).open(index_path(dir, number))?;
        let length = file.metadata()?.len();
        Ok(Self { dir: dir.to_owned(), number, file, index, length, marked: None })
    }

    /// Notes that bytes from the present length on are written at `at`. Losing a mark loses precision, nothing else.
    pub(super) fn mark(&mut self, at: Wall) -> io::Result<()> {
        if self.marked.is_some_and(|last| at.0 - last.0 < INDEX_EVERY_US && at >= last) {
            return Ok(());
        }
        self.index.write_all(&Mark { offset: self.length, at }.encode())?;
        self.marked = Some(at);
        Ok(())
    }

    /// Goes on to the next segment when this one is long enough, and removes the oldest beyond what is kept.
    pub(super) fn rotate(&mut self, limits: Limits) -> io::Result<()> {
        if self.length < limits.segment.0 {
            return Ok(());
        }
        *self = Self::open_number(&self.dir, self.number + 1)?;
        let numbers = numbers(&self.dir)?;
        let surplus = numbers.len().saturating_sub(limits.keep.max(1) as usize);
        for number in &numbers[..surplus] {
            fs::remove_file(log_path(&self.dir, *number))?;
            fs::remove_file(index_path(&self.dir, *number)).ok();
        }
        Ok(())
    }
}

pub(super) fn log_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

pub(super) fn index_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.idx"))
}

/// The numbers of all segments of `dir`, oldest first.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}
