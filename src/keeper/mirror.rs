//! What runs, written down for the keeper that comes after this one has died.
//!
//! Records in files of the runtime directory: of processes, of units, and of what descriptors are that come back from the
//! init system. Nearly all records are short, and short ones lie close together: on a virtual machine each page that was not
//! touched for a while costs more than the write. They are written with pwrite(2)
//! and not through a mapping: a full file system is then an error to be told and not a signal that kills us. The runtime
//! directory is memory (tmpfs), so a write does not wait.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use crate::{
    base::{ProcessKey, UnitName},
    sys::{FileId, boot_id, file_id},
    wire::keeper::{
        MirrorHead, MirroredDescriptor, MirroredProcess, MirroredUnit, STATE_VERSION, Wire, Writer, decode,
    },
};

/// A short record, as most are. A power of two below a page, so that none lies on two pages and a kill cannot tear it.
const SHORT_BYTES: usize = 256;
/// A long record of a process: two names of 255 bytes (its key, and again in its end) and numbers. A power of two, as above.
const PROCESS_BYTES: usize = 1024;
/// A long record of a unit: its name, numbers and memo. It lies on two pages, so its checksum matters.
const UNIT_BYTES: usize = 5 * 1024;
/// A long record of a descriptor: two names of 255 bytes and numbers. A power of two, as above.
const DESCRIPTOR_BYTES: usize = 1024;
/// Most records in a file.
const RECORDS_MAX: u32 = 131_072;
/// A file grows by so many records. It has holes where nothing was written.
const GROWTH: u32 = 64;
/// Length and checksum before each record.
const FRAME_BYTES: usize = 12;

/// The mirror.
#[derive(Debug)]
pub(super) struct Mirror {
    processes: Records<ProcessKey>,
    units: Records<UnitName>,
    descriptors: Records<u32>,
    /// Whether something could not be written.
    pub(super) incomplete: bool,
}

/// What the keeper before has left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) processes: Vec<MirroredProcess>,
    pub(super) units: Vec<MirroredUnit>,
    pub(super) descriptors: Vec<MirroredDescriptor>,
}

/// The records of one kind, each in one of two files by its length. One that has become long stays long.
#[derive(Debug)]
struct Records<K> {
    short: Slots,
    long: Slots,
    places: BTreeMap<K, Place>,
    /// Where a record is put together.
    record: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Short(u32),
    Long(u32),
}

/// A file of places of one size. The first holds the head.
#[derive(Debug)]
struct Slots {
    file: File,
    bytes: usize,
    free: Vec<u32>,
    next: u32,
    /// How many there is room for in the file.
    room: u32,
}

impl Mirror {
    /// Reads what was left in `folder` on this boot of the machine, and begins anew.
    pub(super) fn begin(folder: &Path) -> io::Result<(Self, Left)> {
        let head = MirrorHead { version: STATE_VERSION, boot: boot_id()? };
        let (processes, left_processes) =
            Records::begin(folder, "processes", PROCESS_BYTES, &head, |process: &MirroredProcess| process.key.clone())?;
        let (units, left_units) =
            Records::begin(folder, "units", UNIT_BYTES, &head, |unit: &MirroredUnit| unit.unit.clone())?;
        let (descriptors, left_descriptors) =
            Records::begin(folder, "descriptors", DESCRIPTOR_BYTES, &head, |descriptor: &MirroredDescriptor| {
                descriptor.id
            })?;
        let left = Left { processes: left_processes, units: left_units, descriptors: left_descriptors };
        Ok((Self { processes, units, descriptors, incomplete: false }, left))
    }

    /// The version of what a keeper of another release left in `folder` on this boot, if it left a process that may still run:
    /// whoever cannot read of it would start it a second time.
    pub(super) fn version_left(folder: &Path) -> Option<u16> {
        let short = File::open(folder.join("processes")).ok()?;
        let head: MirrorHead = read_record(&short, SHORT_BYTES, 0)?;
        if head.version == STATE_VERSION || boot_id().ok()? != head.boot {
            return None;
        }
        let long = File::open(folder.join(long("processes"))).ok();
        let is_taken = has_record(&short, SHORT_BYTES) || long.is_some_and(|long| has_record(&long, PROCESS_BYTES));
        is_taken.then_some(head.version)
    }

    /// What is open in every process that a keeper has made and that has not come to its own program yet.
    pub(super) fn own_file(&self) -> io::Result<FileId> {
        file_id(self.processes.short.file.as_fd())
    }

    pub(super) fn put_process(&mut self, process: &MirroredProcess) {
        let written = self.processes.put(&process.key, process);
        self.incomplete |= written.is_err();
    }

    pub(super) fn remove_process(&mut self, key: &ProcessKey) {
        let written = self.processes.remove(key);
        self.incomplete |= written.is_err();
    }

    pub(super) fn put_unit(&mut self, unit: &MirroredUnit) {
        let written = self.units.put(&unit.unit, unit);
        self.incomplete |= written.is_err();
    }

    pub(super) fn remove_unit(&mut self, unit: &UnitName) {
        let written = self.units.remove(unit);
        self.incomplete |= written.is_err();
    }

    pub(super) fn put_descriptor(&mut self, descriptor: &MirroredDescriptor) {
        let written = self.descriptors.put(&descriptor.id, descriptor);
        self.incomplete |= written.is_err();
    }

    pub(super) fn remove_descriptor(&mut self, id: u32) {
        let written = self.descriptors.remove(&id);
        self.incomplete |= written.is_err();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The file of the long records of a kind.
fn long(kind: &str) -> String {
    format!("{kind}.long")
}

/// The records of a file that was written on this boot by a keeper of this version; damaged ones are left out.
fn read<T: Wire>(file: &File, bytes: usize, head: &MirrorHead) -> Vec<T> {
    if read_record(file, bytes, 0).as_ref() != Some(head) {
        return Vec::new();
    }
    (1..count(file, bytes)).filter_map(|place| read_record(file, bytes, place)).collect()
}

fn count(file: &File, bytes: usize) -> u32 {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    u32::try_from(length / bytes as u64).unwrap_or(RECORDS_MAX).min(RECORDS_MAX)
}

fn has_record(file: &File, bytes: usize) -> bool {
    (1..count(file, bytes)).any(|place| {
        let mut frame = [0; FRAME_BYTES];
        file.read_exact_at(&mut frame, offset(bytes, place)).is_ok() && frame != [0; FRAME_BYTES]
    })
}

fn read_record<T: Wire>(file: &File, bytes: usize, place: u32) -> Option<T> {
    let mut record = vec![0; bytes];
    file.read_exact_at(&mut record, offset(bytes, place)).ok()?;
    let (frame, content) = record.split_at_checked(FRAME_BYTES)?;
    let (length, sum) = frame.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let content = content.get(..usize::try_from(length).ok()?)?;
    (length > 0 && checksum(content).to_le_bytes() == sum).then(|| decode(content).ok())?
}

const fn offset(bytes: usize, place: u32) -> u64 {
    place as u64 * bytes as u64
}

/// FNV-1a: tells a torn record from a whole one; nobody attacks it, the files are ours alone.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

impl<K: Ord + Clone> Records<K> {
    /// Reads what was left of a kind, and begins anew. `key` is of a record.
    fn begin<T: Wire>(
        folder: &Path,
        kind: &str,
        bytes: usize,
        head: &MirrorHead,
        key: impl Fn(&T) -> K,
    ) -> io::Result<(Self, Vec<T>)> {
        let (short, long) = (open(&folder.join(kind))?, open(&folder.join(long(kind)))?);
        let mut left: Vec<T> = read(&long, bytes, head);
        // A kill between the two writes of one that became long leaves it in both files.
        let known: BTreeSet<K> = left.iter().map(&key).collect();
        left.extend(read(&short, SHORT_BYTES, head).into_iter().filter(|record| !known.contains(&key(record))));
        let (short, long) = (Slots::begin(short, SHORT_BYTES)?, Slots::begin(long, bytes)?);
        let mut records = Self { short, long, places: BTreeMap::new(), record: Vec::with_capacity(bytes) };
        records.write_head(head)?;
        Ok((records, left))
    }

    /// Writes what both files begin with.
    fn write_head(&mut self, head: &MirrorHead) -> io::Result<()> {
        self.compose(head);
        self.short.write(0, &self.record)?;
        self.long.write(0, &self.record)
    }

    fn put(&mut self, key: &K, value: &impl Wire) -> io::Result<()> {
        self.compose(value);
        let is_long = self.record.len() > SHORT_BYTES;
        match self.places.get(key) {
            Some(Place::Long(place)) => self.long.write(*place, &self.record),
            Some(Place::Short(place)) if !is_long => self.short.write(*place, &self.record),
            Some(Place::Short(shorter)) => {
                let shorter = *shorter;
                let place = self.long.take()?;
                self.long.write(place, &self.record)?;
                self.places.insert(key.clone(), Place::Long(place));
                self.short.clear(shorter)
            }
            None if is_long => {
                let place = self.long.take()?;
                self.places.insert(key.clone(), Place::Long(place));
                self.long.write(place, &self.record)
            }
            None => {
                let place = self.short.take()?;
                self.places.insert(key.clone(), Place::Short(place));
                self.short.write(place, &self.record)
            }
        }
    }

    fn remove(&mut self, key: &K) -> io::Result<()> {
        match self.places.remove(key) {
            None => Ok(()),
            Some(Place::Short(place)) => self.short.clear(place),
            Some(Place::Long(place)) => self.long.clear(place),
        }
    }

    /// Puts the record together with its frame.
    fn compose(&mut self, value: &impl Wire) {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.resize(FRAME_BYTES, 0);
        let mut writer = Writer::after(record);
        value.put(&mut writer);
        self.record = writer.into_bytes();
        if let Some((frame, content)) = self.record.split_at_mut_checked(FRAME_BYTES) {
            let (length, sum) = frame.split_at_mut(4);
            length.copy_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
            sum.copy_from_slice(&checksum(content).to_le_bytes());
        }
    }
}

impl Slots {
    fn begin(file: File, bytes: usize) -> io::Result<Self> {
        file.set_len(0)?;
        file.set_len(offset(bytes, GROWTH))?;
        Ok(Self { file, bytes, free: Vec::new(), next: 1, room: GROWTH })
    }

    /// A place that nobody has. One that was used lately is taken first: its page is warm.
    fn take(&mut self) -> io::Result<u32> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        if self.next >= RECORDS_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.next >= self.room {
            self.file.set_len(offset(self.bytes, self.room + GROWTH))?;
            self.room += GROWTH;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    fn write(&self, place: u32, record: &[u8]) -> io::Result<()> {
        if record.len() > self.bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.file.write_all_at(record, offset(self.bytes, place))
    }

    fn clear(&mut self, place: u32) -> io::Result<()> {
        self.free.push(place);
        self.file.write_all_at(&[0; FRAME_BYTES], offset(self.bytes, place))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        base::{ExitStatus, Generation, InvocationId, Now, Pid, Role, RunId, Usage},
        wire::keeper::{Exit, HeldAs, MEMO_BYTES_MAX, MirroredStage, STORE_NAME_BYTES_MAX},
    };

    fn process(generation: u64) -> MirroredProcess {
        let unit = UnitName::new(&"x".repeat(255)).unwrap();
        let key = ProcessKey { run: RunId { unit, generation: Generation(generation) }, role: Role::Main };
        let (pid, at) = (Pid::new(7).unwrap(), Now::default());
        let end = Exit {
            key: key.clone(),
            invocation: InvocationId([1; 16]),
            pid,
            status: ExitStatus::Exited(3),
            usage: Some(Usage::default()),
            at,
            started: at,
        };
        MirroredProcess { key, invocation: end.invocation, started: at, stage: MirroredStage::Ended(end) }
    }

    #[test]
    fn the_next_keeper_reads_what_was_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mirror, left) = Mirror::begin(folder.path()).unwrap();
        assert!(left.processes.is_empty() && left.units.is_empty());
        for generation in 1..=3 {
            mirror.put_process(&process(generation));
        }
        mirror.remove_process(&process(2).key);
        mirror.put_process(&process(4));
        mirror.put_process(&process(3));
        let unit = process(1).key.run.unit;
        let unit = MirroredUnit { unit, generation: Generation(9), main: Generation(8), memo: vec![5; MEMO_BYTES_MAX] };
        mirror.put_unit(&unit);
        let held_as = HeldAs::Stored { name: "n".repeat(STORE_NAME_BYTES_MAX), polled: true };
        let of = unit.unit.clone();
        let descriptor =
            |id| MirroredDescriptor { id, unit: of.clone(), held_as: held_as.clone(), device: u64::MAX, inode: 7 };
        (4..=6).for_each(|id| mirror.put_descriptor(&descriptor(id)));
        mirror.remove_descriptor(5);
        assert!(!mirror.incomplete, "the longest records fit");
        let (_, left) = Mirror::begin(folder.path()).unwrap();
        assert_eq!(left.processes, [process(1), process(4), process(3)]);
        assert_eq!(left.descriptors, [descriptor(4), descriptor(6)]);
        assert_eq!(left.units, [unit]);
        let (_, left) = Mirror::begin(folder.path()).unwrap();
        assert!(left.processes.is_empty(), "it is read once");
    }

    #[test]
    fn a_record_that_becomes_long_is_read_once_even_if_the_keeper_dies_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mirror, _) = Mirror::begin(folder.path()).unwrap();
        let unit = |memo: usize| MirroredUnit {
            unit: UnitName::new("web").unwrap(),
            generation: Generation(9),
            main: Generation(8),
            memo: vec![5; memo],
        };
        let other = MirroredUnit { unit: UnitName::new("db").unwrap(), ..unit(100) };
        mirror.put_unit(&unit(100));
        mirror.put_unit(&other);
        let short = fs::read(folder.path().join("units")).unwrap();
        mirror.put_unit(&unit(MEMO_BYTES_MAX));
        assert_eq!(mirror.units.long.next, 2, "it is long");
        let after = fs::read(folder.path().join("units")).unwrap();
        // As a keeper leaves it that is killed after the first of the two writes.
        fs::write(folder.path().join("units"), short).unwrap();
        let (mut mirror, left) = Mirror::begin(folder.path()).unwrap();
        assert_eq!(left.units, [unit(MEMO_BYTES_MAX), other.clone()]);
        mirror.put_unit(&unit(MEMO_BYTES_MAX));
        mirror.put_unit(&unit(0));
        mirror.remove_unit(&unit(0).unit);
        fs::write(folder.path().join("units"), after).unwrap();
        let (_, left) = Mirror::begin(folder.path()).unwrap();
        assert_eq!(left.units, [other]);
    }

    #[test]
    fn short_records_lie_close_together_and_what_is_free_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mirror, _) = Mirror::begin(folder.path()).unwrap();
        let unit = |number: u64| MirroredUnit {
            unit: UnitName::new(&format!("u{number}")).unwrap(),
            generation: Generation(number),
            main: Generation(8),
            memo: vec![5; 150],
        };
        for number in 0..1000 {
            mirror.put_unit(&unit(number));
            if number % 4 != 3 {
                mirror.remove_unit(&unit(number).unit);
            }
        }
        let length = fs::metadata(folder.path().join("units")).unwrap().len();
        assert!(length < 330 * SHORT_BYTES as u64, "{length}");
        let (_, left) = Mirror::begin(folder.path()).unwrap();
        assert_eq!(left.units, (3..1000).step_by(4).map(unit).collect::<Vec<_>>());
    }

    #[test]
    fn what_another_release_left_running_is_told_and_what_it_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Mirror::version_left(folder.path()), None);
        let (mut mirror, _) = Mirror::begin(folder.path()).unwrap();
        mirror.put_process(&process(1));
        assert_eq!(Mirror::version_left(folder.path()), None, "our own is read");
        let other = MirrorHead { version: STATE_VERSION + 1, boot: boot_id().unwrap() };
        mirror.processes.write_head(&other).unwrap();
        assert_eq!(Mirror::version_left(folder.path()), Some(STATE_VERSION + 1));
        mirror.remove_process(&process(1).key);
        assert_eq!(Mirror::version_left(folder.path()), None);
        mirror.put_process(&process(2));
        mirror.processes.write_head(&MirrorHead { boot: "another".into(), ..other }).unwrap();
        assert_eq!(Mirror::version_left(folder.path()), None, "nothing of another boot runs");
    }

    #[test]
    fn another_boot_and_damage_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mirror, _) = Mirror::begin(folder.path()).unwrap();
        mirror.put_process(&process(1));
        mirror.put_process(&process(2));
        let damage = PROCESS_BYTES as u64 + 40;
        mirror.processes.long.file.write_all_at(&[0xff; 2], damage).unwrap();
        let (mut mirror, left) = Mirror::begin(folder.path()).unwrap();
        assert_eq!(left.processes, [process(2)]);
        mirror.put_process(&process(1));
        let other = MirrorHead { version: STATE_VERSION, boot: "another".into() };
        mirror.processes.write_head(&other).unwrap();
        let (_, left) = Mirror::begin(folder.path()).unwrap();
        assert!(left.processes.is_empty());
    }
}
