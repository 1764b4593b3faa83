//! The machine: its clock, its disks, its limits, its cgroups.

use std::{fs, path::Path};

use super::{ANSWER_MAX, Case, report::Report};
use crate::{
    base::{ByteSize, Pid, Wall},
    edge::{cgroup, clock, disk},
    engine::settings::CgroupMode,
    sys,
};

/// Nobody sets a clock to before this release or long after it: 2025 and 2100.
const SANE: std::ops::Range<i64> = 1_735_689_600_000_000..4_102_444_800_000_000;
/// Fewer files that can be made are few.
const INODES_FEW: u64 = 1000;
/// Descriptors of a unit: its pidfd, two ends of its pipe, one for what is under way.
const DESCRIPTORS_A_UNIT: u64 = 4;
/// Those of the daemon itself: database, sockets, answers under way.
const DESCRIPTORS_OWN: u64 = 256;

pub(super) fn clock(_: &Case, report: &mut Report) {
    let now = clock::wall();
    judge_year(report, now);
    match sys::clock::is_synchronised() {
        Ok(true) => report.ok("clock", "kernel", "synchronised"),
        Ok(false) => report.warn(
            "clock",
            "kernel",
            "nobody synchronises it, so rows and messages drift from those of other machines",
            "timedatectl set-ntp true, or install chrony; in a guest or container: on its host",
        ),
        Err(error) => {
            report.unknown(
                "clock",
                "kernel",
                format!("cannot ask whether it is synchronised: {error}"),
                "ask its host",
            );
        }
    }
}

fn judge_year(report: &mut Report, now: Wall) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<i64>().ok()).unwrap_or(0);
    if !SANE.contains(&now.0) {
        let message = format!("it says {} s since 1970, which cannot be", now.0 / 1_000_000);
        return report.fail(
            "clock",
            "wall clock",
            message,
            "set it (date -s, chronyc makestep); calendars and certificates go by it",
        );
    }
    if booted > now.0 / 1_000_000 + 60 {
        let remedy = "set it (chronyc makestep)";
        return report.fail("clock", "wall clock", "it says that this machine is yet to boot: it was set back", remedy);
    }
    report.ok("clock", "wall clock", "of this time, and after the boot");
}

/// Room where we write.
pub(super) async fn disks(case: &Case) -> Report {
    let mut report = Report::default();
    let paths = &case.settings.paths;
    for path in [&paths.state, &paths.logs, &paths.runtime] {
        let wanted = path.clone();
        let place = path.to_string_lossy().into_owned();
        let least = if path == &paths.runtime { ByteSize(1 << 20) } else { case.settings.disk_min_free };
        // In a thread of its own, as a disk may hang.
        let looked = tokio::task::spawn_blocking(move || {
            // One that is not there yet will lie where its folder does.
            disk::room(wanted.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/")))
        });
        match tokio::time::timeout(ANSWER_MAX, looked).await {
            Ok(Ok(Ok(room))) => judge_room(&mut report, place, room, least),
            Ok(Ok(Err(error))) => report.fail("disk", place, format!("cannot look: {error}"), "mount it, or make it"),
            Ok(Err(error)) => report.unknown("disk", place, format!("could not look: {error}"), "report this as a bug"),
            Err(_) => {
                let message = format!("the disk does not answer within {} s", ANSWER_MAX.as_secs());
                report.fail("disk", place, message, "see dmesg; a dead NFS server lets go with umount -f -l");
            }
        }
    }
    report
}

fn judge_room(report: &mut Report, place: String, room: disk::Room, least: ByteSize) {
    let disk::Room { bytes, inodes, read_only } = room;
    if read_only {
        let remedy = format!("see dmesg for why, repair it, mount -o remount,rw (findmnt -T {place})");
        return report.fail("disk", place, "it is mounted read-only", remedy);
    }
    let make_room = format!("make room (du -xh {place} | sort -h | tail), or give it a larger disk");
    let few = inodes.filter(|inodes| *inodes < INODES_FEW);
    if bytes < least {
        let message = format!("{} free, less than {}", bytes.rounded(), least.rounded());
        if disk::is_bad(bytes.0, least.0) {
            report.fail("disk", place, message, make_room);
        } else {
            report.warn("disk", place, message, make_room);
        }
    } else if let Some(inodes) = few {
        let message = format!("{inodes} files can still be made there");
        let remedy = format!("remove many small files (du --inodes -x {place} | sort -n | tail)");
        if disk::is_bad(inodes, INODES_FEW) {
            report.fail("disk", place, message, remedy);
        } else {
            report.warn("disk", place, message, remedy);
        }
    } else {
        let inodes = inodes.map(|inodes| format!(", {inodes} files")).unwrap_or_default();
        report.ok("disk", place, format!("{}{inodes} free", bytes.rounded()));
    }
}

pub(super) fn limits(case: &Case, report: &mut Report) {
    let of = case.keeper.map_or_else(|| "self".to_owned(), |keeper| keeper.to_string());
    let text = fs::read_to_string(format!("/proc/{of}/limits")).unwrap_or_default();
    let whose = case.keeper.map_or_else(|| "of this shell".to_owned(), |keeper| format!("of the daemon, pid {keeper}"));
    let units = u64::try_from(case.host.units.len()).unwrap_or(u64::MAX);
    let more: usize = case
        .host
        .units
        .values()
        .map(|unit| unit.sockets.list.len() + usize::from(unit.service.file_descriptor_store_max))
        .sum();
    let needs = units * DESCRIPTORS_A_UNIT + DESCRIPTORS_OWN + u64::try_from(more).unwrap_or(u64::MAX);
    judge_descriptors(report, &whose, hard_limit(&text, "Max open files"), needs);
    judge_processes(
        report,
        &fs::read_to_string("/proc/loadavg").unwrap_or_default(),
        number("/proc/sys/kernel/pid_max"),
    );
    if let Some(keeper) = case.keeper {
        judge_cgroup_pids(report, keeper);
    }
}

fn judge_descriptors(report: &mut Report, whose: &str, limit: Option<u64>, needs: u64) {
    let place = format!("open files {whose}");
    match limit {
        Some(limit) if limit < needs => report.fail(
            "limits",
            place,
            format!("at most {limit}, and the units need up to {needs}"),
            "LimitNOFILE=524288 in the unit of systemd that runs supervisord, or ulimit -Hn before it",
        ),
        Some(limit) => report.ok("limits", place, format!("at most {limit}, and the units need up to {needs}")),
        None => report.unknown("limits", place, "cannot be seen", "run this as root"),
    }
}

/// The hard limit, proc_pid_limits(5): the daemon takes what it may.
pub(super) fn hard_limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let word = line.split_ascii_whitespace().nth(1)?;
    if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
}

/// The fourth word of loadavg is running/all, in threads: each has a pid.
fn judge_processes(report: &mut Report, loadavg: &str, most: Option<u64>) {
    let all = loadavg.split_ascii_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse::<u64>().ok());
    let (Some(all), Some(most)) = (all, most) else {
        return report.unknown("limits", "processes of this machine", "cannot be seen", "mount /proc");
    };
    let message = format!("{all} of {most}");
    if all > most / 10 * 8 {
        let remedy = "find who makes so many (ps -eL -o user,comm | sort | uniq -c | sort -n); sysctl kernel.pid_max";
        report.warn("limits", "processes of this machine", message, remedy);
    } else {
        report.ok("limits", "processes of this machine", message);
    }
}

/// `TasksMax=` of the unit above us holds for all services together.
fn judge_cgroup_pids(report: &mut Report, keeper: Pid) {
    let Some(dir) = cgroup::of_process(keeper) else { return };
    let (now, most) = (number(dir.join("pids.current")), number(dir.join("pids.max")));
    if let (Some(now), Some(most)) = (now, most) {
        let place = dir.to_string_lossy();
        if now > most / 10 * 8 {
            let message = format!("{now} of {most} processes");
            report.warn("limits", &*place, message, "TasksMax=infinity in the unit of systemd that runs supervisord");
        } else {
            report.ok("limits", &*place, format!("{now} of {most} processes"));
        }
    }
}

pub(super) fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What is lost without cgroups.
const LOST: &str =
    "memory_max, cpu_quota and their like do nothing, and a unit's processes are found by a walk over /proc";

pub(super) fn cgroup(case: &Case, report: &mut Report) {
    let place = "cgroup version 2";
    if case.settings.cgroups == CgroupMode::Off {
        return report.warn("cgroup", place, format!("[cgroup] mode is \"off\": {LOST}"), "mode = \"auto\"");
    }
    let Some(mount) = cgroup::mounted() else {
        return report.warn(
            "cgroup",
            place,
            format!("it is not mounted: {LOST}"),
            "boot with systemd.unified_cgroup_hierarchy=1; in a container: mount -t cgroup2 none /sys/fs/cgroup on its host",
        );
    };
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let missing = missing_controllers(&controllers, &mounts);
    if missing.is_empty() {
        report.ok("cgroup", mount.to_string_lossy(), "cpu, io, memory and pids are rationed by it or by version 1");
    } else {
        report.warn(
            "cgroup",
            mount.to_string_lossy(),
            format!("no controller for {}: what units ask of that does not hold", missing.join(", ")),
            "in a container, its host has to hand them down; else boot without cgroup_disable=",
        );
    }
    let Some(keeper) = case.keeper else {
        return report.unknown("cgroup", "delegation", "it is seen where supervisord runs", "start it, and ask again");
    };
    let dir = cgroup::of_process(keeper).unwrap_or(mount);
    if case.settings.cgroups == CgroupMode::On || keeper.raw() == 1 || cgroup::is_given_to_us(&dir) {
        report.ok("cgroup", dir.to_string_lossy(), "ours: each unit has a cgroup of its own");
    } else {
        report.warn(
            "cgroup",
            dir.to_string_lossy(),
            format!("the cgroup of the daemon is not delegated to it: {LOST}"),
            "Delegate=yes in the unit of systemd that runs supervisord, or [cgroup] mode = \"on\"",
        );
    }
}

/// Controllers that neither version 2 nor a mounted tree of version 1 has.
fn missing_controllers(of_version_2: &str, mountinfo: &str) -> Vec<&'static str> {
    let old: Vec<&str> = mountinfo
        .lines()
        .filter_map(|line| line.split_once(" - cgroup ")?.1.rsplit_once(' '))
        .flat_map(|(_, options)| options.split(','))
        .collect();
    let is_there = |name: &str| {
        let before = if name == "io" { "blkio" } else { name };
        of_version_2.split_whitespace().any(|has| has == name) || old.contains(&before)
    };
    ["cpu", "io", "memory", "pids"].into_iter().filter(|name| !is_there(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(report: &Report) -> Vec<&str> {
        report.said().into_iter().map(|(level, _, _)| level).collect()
    }

    #[test]
    fn a_disk_is_judged_by_bytes_files_and_whether_it_can_be_written() {
        let judged = |bytes, inodes, read_only| {
            let mut report = Report::default();
            let room = disk::Room { bytes: ByteSize(bytes), inodes, read_only };
            judge_room(&mut report, "/x".to_owned(), room, ByteSize(1000));
            levels(&report)[0].to_owned()
        };
        let mut report = Report::default();
        let room = disk::Room { bytes: ByteSize(40_099_028 << 10), inodes: None, read_only: false };
        judge_room(&mut report, "/x".to_owned(), room, ByteSize(100 << 30));
        assert_eq!(report.said()[0].2, "38.2G free, less than 100G");
        assert_eq!(judged(1000, None, false), "ok");
        assert_eq!(judged(999, None, false), "warn");
        assert_eq!(judged(249, None, false), "fail");
        assert_eq!(judged(1000, Some(999), false), "warn");
        assert_eq!(judged(1000, Some(0), false), "fail");
        assert_eq!(judged(1000, Some(5000), true), "fail");
    }

    #[test]
    fn limits_are_held_against_what_units_need() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 4096                 files     \n\
                    Max msgqueue size         unlimited            unlimited            bytes     \n";
        assert_eq!(hard_limit(text, "Max open files"), Some(4096));
        assert_eq!(hard_limit(text, "Max msgqueue size"), Some(u64::MAX));
        let mut report = Report::default();
        judge_descriptors(&mut report, "", Some(4096), 4096);
        judge_descriptors(&mut report, "", Some(4096), 4097);
        judge_processes(&mut report, "0.1 0.1 0.1 2/800 99", Some(1000));
        judge_processes(&mut report, "0.1 0.1 0.1 2/801 99", Some(1000));
        assert_eq!(levels(&report), ["ok", "fail", "ok", "warn"]);
    }

    #[test]
    fn a_controller_is_there_in_either_version() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
                      31 29 0:27 / /sys/fs/cgroup/blkio rw,nosuid - cgroup cgroup rw,blkio\n\
                      32 29 0:28 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(missing_controllers("cpu pids", mounts), Vec::<&str>::new());
        assert_eq!(missing_controllers("", mounts), ["cpu", "pids"]);
    }

    #[test]
    fn a_clock_of_another_age_is_found() {
        let mut report = Report::default();
        judge_year(&mut report, Wall(0));
        judge_year(&mut report, Wall(4_200_000_000_000_000));
        judge_year(&mut report, clock::wall());
        assert_eq!(levels(&report), ["fail", "fail", "ok"]);
    }
}
