//! What runs, written down for the keeper that comes after this one has died.
//!
//! Three files of records in the runtime directory: for processes, for units, and for what descriptors are that come back
//! from the init system. They are written with pwrite(2)
//! and not through a mapping: a full file system is then an error to be told and not a signal that kills us. The runtime
//! directory is memory (tmpfs), so a write does not wait.
use std::{
    collections::BTreeMap,
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

/// A record of a process: two names of 255 bytes (its key, and again in its end) and numbers. A power of two below a
/// page, so that no record lies on two pages and a kill cannot tear it.
const PROCESS_BYTES: usize = 1024;
/// A record of a unit: its name, numbers and memo. It lies on two pages, so its checksum matters.
const UNIT_BYTES: usize = 5 * 1024;
/// A record of a descriptor: two names of 255 bytes and numbers. A power of two, as above.
const DESCRIPTOR_BYTES: usize = 1024;
/// Most records in a file.
const RECORDS_MAX: u32 = 131_072;
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

#[derive(Debug)]
struct Records<K> {
    file: File,
    bytes: usize,
    places: BTreeMap<K, u32>,
    free: Vec<u32>,
    next: u32,
    /// Where a record is put together.
    record: Vec<u8>,
}

impl Mirror {
    /// Reads what was left in `folder` on this boot of the machine, and begins anew.
    pub(super) fn begin(folder: &Path) -> io::Result<(Self, Left)> {
        let head = MirrorHead { version: STATE_VERSION, boot: boot_id()? };
        let (processes, units) = (open(&folder.join("processes"))?, open(&folder.join("units"))?);
        let descriptors = open(&folder.join("descriptors"))?;
        let left = Left {
            processes: read(&processes, PROCESS_BYTES, &head),
            units: read(&units, UNIT_BYTES, &head),
            descriptors: read(&descriptors, DESCRIPTOR_BYTES, &head),
        };
        let mirror = Self {
            processes: Records::begin(processes, PROCESS_BYTES, &head)?,
            units: Records::begin(units, UNIT_BYTES, &head)?,
            descriptors: Records::begin(descriptors, DESCRIPTOR_BYTES, &head)?,
            incomplete: false,
        };
        Ok((mirror, left))
    }

    /// The version of what a keeper of another release left in `folder` on this boot, if it left a process that may still run:
    /// whoever cannot read of it would start it a second time.
    pub(super) fn version_left(folder: &Path) -> Option<u16> {
        let file = File::open(folder.join("processes")).ok()?;
        let head: MirrorHead = read_record(&file, PROCESS_BYTES, 0)?;
        if head.version == STATE_VERSION || boot_id().ok()? != head.boot {
            return None;
        }
        let length = file.metadata().ok()?.len();
        let mut places = (1..).map(|place| place * PROCESS_BYTES as u64).take_while(|place| *place < length);
        let is_taken = |place| {
            let mut frame = [0; FRAME_BYTES];
            file.read_exact_at(&mut frame, place).is_ok() && frame != [0; FRAME_BYTES]
        };
        places.any(is_taken).then_some(head.version)
    }

    /// What is open in every process that a keeper has made and that has not come to its own program yet.
    pub(super) fn own_file(&self) -> io::Result<FileId> {
        file_id(self.processes.file.as_fd())
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

/// The records of a file that was written on this boot by a keeper of this version; damaged ones are left out.
fn read<T: Wire>(file: &File, bytes: usize, head: &MirrorHead) -> Vec<T> {
    if read_record(file, bytes, 0).as_ref() != Some(head) {
        return Vec::new();
    }
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let records = u32::try_from(length.div_ceil(bytes as u64)).unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
    (1..records).filter_map(|place| read_record(file, bytes, place)).collect()
}

fn read_record<T: Wire>(file: &File, bytes: usize, place: u32) -> Option<T> {
    let mut record = vec![0; bytes];
    file.read_exact_at(&mut record, u64::from(place) * bytes as u64).ok()?;
    let (frame, content) = record.split_at_checked(FRAME_BYTES)?;
    let (length, sum) = frame.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let content = content.get(..usize::try_from(length).ok()?)?;
    (length > 0 && checksum(content).to_le_bytes() == sum).then(|| decode(content).ok())?
}

/// FNV-1a: tells a torn record from a whole one; nobody attacks it, the files are ours alone.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

impl<K: Ord + Clone> Records<K> {
    fn begin(file: File, bytes: usize, head: &MirrorHead) -> io::Result<Self> {
        file.set_len(0)?;
        let record = Vec::with_capacity(bytes);
        let mut records = Self { file, bytes, places: BTreeMap::new(), free: Vec::new(), next: 1, record };
        records.write(0, head)?;
        Ok(records)
    }

    fn put(&mut self, key: &K, value: &impl Wire) -> io::Result<()> {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => {
                let place = self.free.pop().unwrap_or(self.next);
                if place >= RECORDS_MAX {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.next = self.next.max(place + 1);
                self.places.insert(key.clone(), place);
                place
            }
        };
        self.write(place, value)
    }

    fn remove(&mut self, key: &K) -> io::Result<()> {
        let Some(place) = self.places.remove(key) else { return Ok(()) };
        self.free.push(place);
        self.file.write_all_at(&[0; FRAME_BYTES], u64::from(place) * self.bytes as u64)
    }

    fn write(&mut self, place: u32, value: &impl Wire) -> io::Result<()> {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.resize(FRAME_BYTES, 0);
        let mut writer = Writer::after(record);
        value.put(&mut writer);
        self.record = writer.into_bytes();
        if self.record.len() > self.bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some((frame, content)) = self.record.split_at_mut_checked(FRAME_BYTES) {
            let (length, sum) = frame.split_at_mut(4);
            length.copy_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
            sum.copy_from_slice(&checksum(content).to_le_bytes());
        }
        // The last record in the file must be whole to be read; within the file the length says where it ends.
        if place + 1 >= self.next {
            self.record.resize(self.bytes, 0);
        }
        self.file.write_all_at(&self.record, u64::from(place) * self.bytes as u64)
    }
}

#[cfg(test)]
mod tests {
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
    fn what_another_release_left_running_is_told_and_what_it_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Mirror::version_left(folder.path()), None);
        let (mut mirror, _) = Mirror::begin(folder.path()).unwrap();
        mirror.put_process(&process(1));
        assert_eq!(Mirror::version_left(folder.path()), None, "our own is read");
        let other = MirrorHead { version: STATE_VERSION + 1, boot: boot_id().unwrap() };
        mirror.processes.write(0, &other).unwrap();
        assert_eq!(Mirror::version_left(folder.path()), Some(STATE_VERSION + 1));
        mirror.remove_process(&process(1).key);
        assert_eq!(Mirror::version_left(folder.path()), None);
        mirror.put_process(&process(2));
        mirror.processes.write(0, &MirrorHead { boot: "another".into(), ..other }).unwrap();
        assert_eq!(Mirror::version_left(folder.path()), None, "nothing of another boot runs");
    }

    #[test]
    fn another_boot_and_damage_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mirror, _) = Mirror::begin(folder.path()).unwrap();
        mirror.put_process(&process(1));
        mirror.put_process(&process(2));
        let damage = PROCESS_BYTES as u64 + 40;
        mirror.processes.file.write_all_at(&[0xff; 2], damage).unwrap();
        let (mut mirror, left) = Mirror::begin(folder.path()).unwrap();
        assert_eq!(left.processes, [process(2)]);
        mirror.put_process(&process(1));
        let other = MirrorHead { version: STATE_VERSION, boot: "another".into() };
        mirror.processes.write(0, &other).unwrap();
        let (_, left) = Mirror::begin(folder.path()).unwrap();
        assert!(left.processes.is_empty());
    }
}
