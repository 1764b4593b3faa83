//! What closed segments need: packing, and removal once they are too many, too large or too old. In the background, at low
//! priority, and begun anew after a crash: a segment is packed beside itself and replaced only when the copy is on disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};

use super::{
    files::{index_path, log_path, numbers, packed_path},
    rules::Rules,
};
use crate::{base::TimeSpan, edge::clock, sys, unit::spec::Compress};

/// How often folders are looked through in which age alone removes segments.
const AGES_EVERY: Duration = Duration::from_secs(600);
/// Most of what there is to gain, at half of the default's price.
const LEVEL: u32 = 3;
/// The packer's tables pass over the stack on their way to the heap.
const STACK_BYTES: usize = 2 << 20;
/// Whoever has work to do comes first.
const NICENESS: i32 = 15;

/// The thread that does it, from its first work on.
#[derive(Debug, Default)]
pub(super) struct Chores(Option<mpsc::Sender<(PathBuf, Wanted)>>);

/// What is wanted of one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    keep: usize,
    total_size: u64,
    retention: TimeSpan,
    compress: Compress,
}

impl Chores {
    /// Has the folder of a unit put in order.
    pub(super) fn tidy(&mut self, dir: &Path, rules: &Rules) {
        let Rules { keep, total_size, retention, compress, .. } = *rules;
        let wanted = Wanted { keep, total_size, retention, compress };
        if self.0.is_none() {
            let (jobs, inbox) = mpsc::channel();
            let started = thread::Builder::new().name("log-chores".into()).stack_size(STACK_BYTES);
            match started.spawn(move || run(&inbox)) {
                Ok(_) => self.0 = Some(jobs),
                Err(error) => tracing::error!(error = %error, "cannot start the thread that removes old output"),
            }
        }
        if let Some(jobs) = &self.0 {
            jobs.send((dir.to_owned(), wanted)).ok();
        }
    }
}

/// Until the pump is gone.
fn run(inbox: &mpsc::Receiver<(PathBuf, Wanted)>) {
    // Of this thread alone (setpriority(2), NOTES).
    sys::set_niceness(NICENESS).ok();
    let mut aging: BTreeMap<PathBuf, Wanted> = BTreeMap::new();
    loop {
        let job = match aging.is_empty() {
            true => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            false => inbox.recv_timeout(AGES_EVERY),
        };
        match job {
            Ok((dir, wanted)) => {
                aging.remove(&dir);
                tidy(&dir, wanted);
                if wanted.retention != TimeSpan::INFINITY {
                    aging.insert(dir, wanted);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                aging.retain(|dir, _| dir.exists());
                aging.iter().for_each(|(dir, wanted)| tidy(dir, *wanted));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn tidy(dir: &Path, wanted: Wanted) {
    let done = finish_packing(dir).and_then(|()| remove_surplus(dir, wanted)).and_then(|()| match wanted.compress {
        Compress::None => Ok(()),
        Compress::Gzip => pack_closed(dir),
    });
    if let Err(error) = done {
        tracing::warn!(dir = %dir.display(), error = %error, "cannot put captured output in order; trying again later");
    }
}

/// What a crash left half done.
fn finish_packing(dir: &Path) -> io::Result<()> {
    for number in numbers(dir)? {
        // Packed ones bear their name only when they are whole.
        if packed_path(dir, number).exists() && log_path(dir, number).exists() {
            fs::remove_file(log_path(dir, number))?;
        }
        gone(fs::remove_file(half_packed_path(dir, number)))?;
    }
    Ok(())
}

/// Removes closed segments, the oldest first, until what is left is as few, small and young as is wanted.
fn remove_surplus(dir: &Path, wanted: Wanted) -> io::Result<()> {
    let numbers = numbers(dir)?;
    let Some((_, closed)) = numbers.split_last() else { return Ok(()) };
    let size = |path: PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
    let on_disk =
        |number: u64| [log_path, packed_path, index_path].into_iter().map(|path| size(path(dir, number))).sum::<u64>();
    let mut total: u64 = numbers.iter().map(|number| on_disk(*number)).sum();
    let mut left = numbers.len();
    for number in closed {
        if left <= wanted.keep.max(1) && total <= wanted.total_size && !is_older(dir, *number, wanted.retention) {
            break;
        }
        total -= on_disk(*number).min(total);
        left -= 1;
        for path in [log_path, packed_path, index_path] {
            gone(fs::remove_file(path(dir, *number)))?;
        }
    }
    Ok(())
}

/// Whether all of a segment is older. Packing keeps the time of the last write.
fn is_older(dir: &Path, number: u64, retention: TimeSpan) -> bool {
    let Some(retention) = retention.duration() else { return false };
    let meta = fs::metadata(log_path(dir, number)).or_else(|_| fs::metadata(packed_path(dir, number)));
    let written = meta.and_then(|meta| meta.modified());
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(clock::wall().0).unwrap_or(0));
    written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > retention))
}

fn pack_closed(dir: &Path) -> io::Result<()> {
    let numbers = numbers(dir)?;
    let Some((_, closed)) = numbers.split_last() else { return Ok(()) };
    for number in closed.iter().filter(|number| log_path(dir, **number).exists()) {
        let beside = half_packed_path(dir, *number);
        if let Err(error) = pack(&log_path(dir, *number), &beside) {
            gone(fs::remove_file(beside))?;
            return Err(error);
        }
        fs::rename(beside, packed_path(dir, *number))?;
        fs::remove_file(log_path(dir, *number))?;
    }
    Ok(())
}

fn pack(from: &Path, to: &Path) -> io::Result<()> {
    let mut plain = File::open(from)?;
    let meta = plain.metadata()?;
    let file = File::create(to)?;
    file.set_permissions(meta.permissions())?;
    let mut encoder = GzEncoder::new(file, Compression::new(LEVEL));
    io::copy(&mut plain, &mut encoder)?;
    let file = encoder.finish()?;
    file.set_modified(meta.modified()?)?;
    file.sync_all()
}

fn half_packed_path(dir: &Path, number: u64) -> PathBuf {
    packed_path(dir, number).with_extension("gz.new")
}

/// What is not there needs no removal.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ALL: Wanted =
        Wanted { keep: 99, total_size: u64::MAX, retention: TimeSpan::INFINITY, compress: Compress::None };

    fn folder(segments: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for number in 1..=segments {
            fs::write(log_path(dir.path(), number), vec![b'x'; 1000]).expect("written");
            fs::write(index_path(dir.path(), number), [0; 16]).expect("written");
        }
        dir
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).expect("listed").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_first_and_the_one_in_use_never() {
        let dir = folder(4);
        tidy(dir.path(), Wanted { keep: 3, ..ALL });
        assert_eq!(numbers(dir.path()).expect("listed"), [2, 3, 4]);
        tidy(dir.path(), Wanted { total_size: 2500, ..ALL });
        assert_eq!(numbers(dir.path()).expect("listed"), [3, 4]);
        tidy(dir.path(), Wanted { total_size: 0, keep: 0, ..ALL });
        assert_eq!(names(&dir), ["00000004.idx", "00000004.log"], "an index goes with its segment");
    }

    #[test]
    fn age_removes_what_was_written_last_long_ago() {
        let dir = folder(3);
        let file = File::options().write(true).open(log_path(dir.path(), 1)).expect("open");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
        tidy(dir.path(), Wanted { compress: Compress::Gzip, ..ALL });
        assert_eq!(numbers(dir.path()).expect("listed"), [1, 2, 3]);
        tidy(dir.path(), Wanted { retention: TimeSpan::from_secs(3600), ..ALL });
        assert_eq!(numbers(dir.path()).expect("listed"), [2, 3], "its age outlives its packing");
    }

    #[test]
    fn closed_segments_are_packed_and_read_back_the_same() {
        let dir = folder(2);
        tidy(dir.path(), Wanted { compress: Compress::Gzip, ..ALL });
        assert_eq!(names(&dir), ["00000001.idx", "00000001.log.gz", "00000002.idx", "00000002.log"]);
        let mut text = Vec::new();
        let packed = File::open(packed_path(dir.path(), 1)).expect("open");
        flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut text).expect("whole");
        assert_eq!(text, vec![b'x'; 1000]);
    }

    #[test]
    fn what_a_crash_left_half_packed_is_done_anew() {
        let dir = folder(3);
        fs::write(half_packed_path(dir.path(), 1), "half").expect("written");
        pack(&log_path(dir.path(), 2), &packed_path(dir.path(), 2)).expect("packed");
        tidy(dir.path(), Wanted { compress: Compress::Gzip, ..ALL });
        let packed =
            ["00000001.idx", "00000001.log.gz", "00000002.idx", "00000002.log.gz", "00000003.idx", "00000003.log"];
        assert_eq!(names(&dir), packed);
    }
}
