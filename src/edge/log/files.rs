//! What lies in a unit's folder: `00000001.log`, packed `00000001.log.gz`, and `00000001.idx` beside each.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::base::Wall;

pub(super) fn log_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

pub(super) fn packed_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log.gz"))
}

pub(super) fn index_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.idx"))
}

/// The numbers of all segments of `dir`, packed ones among them, oldest first. A folder that is not there has none.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let number_of = |name: &str| name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".log")?.parse().ok();
    let mut numbers: Vec<u64> = entries.flatten().filter_map(|entry| number_of(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// How long a segment is, or was before it was packed (gzip keeps that at its end, RFC 1952); 0 when it is gone.
pub(super) fn length(dir: &Path, number: u64) -> u64 {
    if let Ok(meta) = fs::metadata(log_path(dir, number)) {
        return meta.len();
    }
    let packed = || {
        let file = File::open(packed_path(dir, number))?;
        let mut length = [0; 4];
        file.read_exact_at(&mut length, file.metadata()?.len().saturating_sub(4))?;
        Ok::<_, io::Error>(u64::from(u32::from_le_bytes(length)))
    };
    packed().unwrap_or(0)
}

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

/// The index of segment `number`; empty where there is none.
pub(super) fn marks(dir: &Path, number: u64) -> Vec<Mark> {
    let bytes = fs::read(index_path(dir, number)).unwrap_or_default();
    bytes.chunks_exact(Mark::BYTES).filter_map(Mark::decode).collect()
}

/// A segment that is read from its begin to its end, packed or not. It can be read on when it has been packed or removed
/// meanwhile.
#[derive(Debug)]
pub(super) enum Source {
    Plain(File),
    Packed { unpacked: Box<flate2::read::MultiGzDecoder<io::BufReader<File>>>, at: u64 },
}

impl Source {
    /// `None` when it is gone.
    pub(super) fn open(dir: &Path, number: u64) -> io::Result<Option<Self>> {
        // Packing renames the packed one into place before it removes the other: whoever finds neither in this order may
        // have looked too early for the second.
        for _ in 0..2 {
            match File::open(log_path(dir, number)) {
                Ok(file) => return Ok(Some(Self::Plain(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            match File::open(packed_path(dir, number)) {
                Ok(file) => {
                    let unpacked = Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file)));
                    return Ok(Some(Self::Packed { unpacked, at: 0 }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads from `offset`, which lies where the last read ended or behind it; the count of bytes, 0 at the end.
    pub(super) fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read_at(buffer, offset),
            Self::Packed { unpacked, at } => {
                if offset > *at {
                    *at += io::copy(&mut unpacked.by_ref().take(offset - *at), &mut io::sink())?;
                }
                if offset != *at {
                    return Ok(0);
                }
                let count = unpacked.read(buffer)?;
                *at += count as u64;
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_plain_segments_are_one_list() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in
            ["00000002.log", "00000001.log.gz", "00000002.log.gz", "00000003.idx", "00000004.log.gz.new", "x.log"]
        {
            fs::write(dir.path().join(name), "").expect("written");
        }
        assert_eq!(numbers(dir.path()).expect("listed"), [1, 2]);
        assert!(numbers(&dir.path().join("none")).expect("listed").is_empty());
    }
}
