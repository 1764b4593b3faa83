//! What a unit uses, from the control files of its cgroups.

use std::{fs, path::PathBuf};

use super::controllers::Place;
use crate::unit::resources::Version;

/// Where a unit's counters are; `None` where nothing counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// Its cgroup of version 2, which counts CPU time without any controller.
    pub unified: Option<PathBuf>,
    /// Memory.
    pub memory: Option<Place>,
    /// Processes and threads.
    pub tasks: Option<Place>,
    /// Disks.
    pub io: Option<Place>,
}

/// What all processes of a unit use together; `None` where nothing counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitUse {
    /// Memory now, the files that the kernel keeps for it included.
    pub memory_bytes: Option<u64>,
    /// The most memory of this run.
    pub memory_peak_bytes: Option<u64>,
    /// CPU time of this run.
    pub cpu_us: Option<u64>,
    /// Processes and threads now.
    pub tasks: Option<u64>,
    /// Bytes read from disks in this run.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to disks in this run.
    pub io_write_bytes: Option<u64>,
}

/// What a unit uses now.
pub fn of(places: &Places) -> UnitUse {
    let unified = |file: &str| fs::read_to_string(places.unified.as_ref()?.join(file)).ok();
    let (memory_bytes, memory_peak_bytes) = match &places.memory {
        Some(place) if place.version == Version::Two => (number(place, "memory.current"), number(place, "memory.peak")),
        Some(place) => (number(place, "memory.usage_in_bytes"), number(place, "memory.max_usage_in_bytes")),
        None => (None, None),
    };
    let (io_read_bytes, io_write_bytes) = places.io.as_ref().map_or((None, None), io);
    UnitUse {
        memory_bytes,
        memory_peak_bytes,
        cpu_us: unified("cpu.stat").and_then(|text| keyed(&text, "usage_usec")),
        tasks: places.tasks.as_ref().and_then(|place| number(place, "pids.current")),
        io_read_bytes,
        io_write_bytes,
    }
}

/// How many of its processes the kernel has ended for want of memory, since its cgroup was made.
pub fn oom_kills(memory: &Place) -> Option<u64> {
    let file = match memory.version {
        Version::One => "memory.oom_control",
        Version::Two => "memory.events",
    };
    keyed(&fs::read_to_string(memory.dir.join(file)).ok()?, "oom_kill")
}

fn number(place: &Place, file: &str) -> Option<u64> {
    fs::read_to_string(place.dir.join(file)).ok()?.trim().parse().ok()
}

/// The number of a line `KEY NUMBER`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// Bytes read and written, summed over disks.
fn io(place: &Place) -> (Option<u64>, Option<u64>) {
    let (file, read, write) = match place.version {
        Version::One => ("blkio.throttle.io_service_bytes", "Read ", "Write "),
        Version::Two => ("io.stat", "rbytes=", "wbytes="),
    };
    let Ok(text) = fs::read_to_string(place.dir.join(file)) else { return (None, None) };
    (Some(sum(&text, read)), Some(sum(&text, write)))
}

/// The sum of the numbers that follow `word`.
fn sum(text: &str, word: &str) -> u64 {
    let digits = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    text.split(word).skip(1).filter_map(digits).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        write("memory.current", "4096\n");
        write("memory.peak", "8192\n");
        write("memory.events", "low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\noom_group_kill 7\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        write("memory.usage_in_bytes", "1\n");
        write("memory.max_usage_in_bytes", "2\n");
        write("cpu.stat", "usage_usec 77\nuser_usec 70\nsystem_usec 7\n");
        write("pids.current", "5\n");
        write(
            "io.stat",
            "8:0 rbytes=10 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0\n",
        );
        write("blkio.throttle.io_service_bytes", "8:0 Read 10\n8:0 Write 4\n8:0 Sync 0\n8:0 Total 14\nTotal 14\n");
        let place = |version| Some(Place { version, dir: folder.path().to_owned() });
        let unified = Some(folder.path().to_owned());
        let two = Places { unified, memory: place(Version::Two), tasks: place(Version::Two), io: place(Version::Two) };
        let used = UnitUse {
            memory_bytes: Some(4096),
            memory_peak_bytes: Some(8192),
            cpu_us: Some(77),
            tasks: Some(5),
            io_read_bytes: Some(15),
            io_write_bytes: Some(2),
        };
        assert_eq!(of(&two), used);
        let one = Places { unified: None, memory: place(Version::One), tasks: None, io: place(Version::One) };
        let used = UnitUse {
            memory_bytes: Some(1),
            memory_peak_bytes: Some(2),
            cpu_us: None,
            tasks: None,
            io_read_bytes: Some(10),
            io_write_bytes: Some(4),
        };
        assert_eq!(of(&one), used);
        assert_eq!(place(Version::Two).as_ref().and_then(oom_kills), Some(1));
        assert_eq!(place(Version::One).as_ref().and_then(oom_kills), Some(3));
        assert_eq!(of(&Places::default()), UnitUse::default());
    }
}
