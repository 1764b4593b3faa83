//! What a unit asks of the machine, as the kernel's control files want it: which controllers, which files, which values.
//!
//! Two versions of control groups have other files for the same things (cgroups(7)). The arithmetic is systemd's, so that
//! a unit means the same under both. What a version cannot do is named, never left out in silence.

use std::{collections::BTreeMap, path::Path};

use super::spec::{Amount, CpuWeight, DeviceLimit, OomPolicy, ResourcesSpec, TasksMax};

/// A part of the kernel that rations one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// Which CPUs and memory nodes.
    Cpuset,
    /// Block devices.
    Io,
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// Every controller.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Io, Self::Memory, Self::Pids];

    /// Its name in version 2.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Its name in version 1.
    pub const fn old_name(self) -> &'static str {
        match self {
            Self::Io => "blkio",
            Self::Cpu | Self::Cpuset | Self::Memory | Self::Pids => self.as_str(),
        }
    }
}

/// Which control files a controller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Its own tree, cgroup-v1.
    One,
    /// The unified tree, cgroup-v2.
    Two,
}

/// A control file and what is written into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key that wants it.
    pub key: &'static str,
    /// The file, in the unit's cgroup.
    pub file: &'static str,
    /// Its new content.
    pub value: String,
}

/// What one controller is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub settings: Vec<Setting>,
    /// Keys that cannot be had, and why.
    pub unmet: Vec<(&'static str, String)>,
}

/// What only the host knows.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The machine's memory.
    pub memory_bytes: u64,
    /// How many processes and threads it can have.
    pub tasks_max: u64,
    /// The number of the disk that a file is, or is on.
    pub disk: &'a dyn Fn(&Path) -> Option<(u32, u32)>,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("memory_bytes", &self.memory_bytes).finish_non_exhaustive()
    }
}

/// The controllers that a unit needs, each with the keys that need it; none of them for counting alone.
pub fn needs(spec: &ResourcesSpec) -> BTreeMap<Controller, Vec<&'static str>> {
    let mut needs: BTreeMap<Controller, Vec<&'static str>> = BTreeMap::new();
    let wanted = [
        (Controller::Memory, "memory_min", spec.memory_min.is_some()),
        (Controller::Memory, "memory_low", spec.memory_low.is_some()),
        (Controller::Memory, "memory_high", spec.memory_high.is_some()),
        (Controller::Memory, "memory_max", spec.memory_max.is_some()),
        (Controller::Memory, "memory_swap_max", spec.memory_swap_max.is_some()),
        // To see a kill is to count memory.
        (Controller::Memory, "oom_policy", matches!(spec.oom_policy, Some(OomPolicy::Stop | OomPolicy::Kill))),
        (Controller::Pids, "tasks_max", spec.tasks_max.is_some()),
        (Controller::Cpu, "cpu_weight", spec.cpu_weight.is_some()),
        (Controller::Cpu, "cpu_quota", spec.cpu_quota.is_some()),
        (Controller::Cpuset, "allowed_cpus", spec.allowed_cpus.is_some()),
        (Controller::Cpuset, "allowed_memory_nodes", spec.allowed_memory_nodes.is_some()),
        (Controller::Io, "io_weight", spec.io_weight.is_some()),
        (Controller::Io, "io_device_weight", !spec.io_device_weight.is_empty()),
        (Controller::Io, "io_read_bandwidth_max", !spec.io_read_bandwidth_max.is_empty()),
        (Controller::Io, "io_write_bandwidth_max", !spec.io_write_bandwidth_max.is_empty()),
        (Controller::Io, "io_read_iops_max", !spec.io_read_iops_max.is_empty()),
        (Controller::Io, "io_write_iops_max", !spec.io_write_iops_max.is_empty()),
    ];
    for (controller, key, _) in wanted.into_iter().filter(|(_, _, wants)| *wants) {
        needs.entry(controller).or_default().push(key);
    }
    let counted = spec.accounting;
    let counted = [
        (Controller::Cpu, counted.cpu),
        (Controller::Io, counted.io),
        (Controller::Memory, counted.memory),
        (Controller::Pids, counted.tasks),
    ];
    for (controller, _) in counted.into_iter().filter(|(_, wants)| *wants) {
        needs.entry(controller).or_default();
    }
    needs
}

/// What names the disks that a unit rations.
pub fn disks(spec: &ResourcesSpec) -> impl Iterator<Item = &Path> {
    let limits = [
        &spec.io_device_weight,
        &spec.io_read_bandwidth_max,
        &spec.io_write_bandwidth_max,
        &spec.io_read_iops_max,
        &spec.io_write_iops_max,
    ];
    limits.into_iter().flat_map(|limits| limits.iter().map(|limit| &*limit.path))
}

/// What `controller` of that version is told for the unit.
pub fn plan(spec: &ResourcesSpec, controller: Controller, version: Version, machine: &Machine<'_>) -> Plan {
    let mut plan = Plan::default();
    match (controller, version) {
        (Controller::Memory, Version::Two) => memory(spec, machine, &mut plan),
        (Controller::Memory, Version::One) => old_memory(spec, machine, &mut plan),
        (Controller::Pids, Version::One | Version::Two) => {
            plan.set("tasks_max", "pids.max", spec.tasks_max.map(|max| tasks(max, machine)));
        }
        (Controller::Cpu, Version::Two) => cpu(spec, &mut plan),
        (Controller::Cpu, Version::One) => old_cpu(spec, &mut plan),
        (Controller::Cpuset, Version::One | Version::Two) => {
            plan.set("allowed_cpus", "cpuset.cpus", spec.allowed_cpus.as_deref().map(str::to_owned));
            plan.set("allowed_memory_nodes", "cpuset.mems", spec.allowed_memory_nodes.as_deref().map(str::to_owned));
        }
        (Controller::Io, Version::Two) => io(spec, machine, &mut plan),
        (Controller::Io, Version::One) => old_io(spec, machine, &mut plan),
    }
    plan
}

impl Plan {
    fn set(&mut self, key: &'static str, file: &'static str, value: Option<String>) {
        self.settings.extend(value.map(|value| Setting { key, file, value }));
    }

    fn needs_version_2(&mut self, key: &'static str) {
        self.unmet.push((key, "it needs control groups of version 2".to_owned()));
    }

    /// One line for each disk.
    fn set_disks(
        &mut self,
        key: &'static str,
        file: &'static str,
        machine: &Machine<'_>,
        limits: &[DeviceLimit],
        line: impl Fn(Option<u64>) -> String,
    ) {
        for limit in limits {
            match (machine.disk)(&limit.path) {
                Some((major, minor)) => {
                    let value = format!("{major}:{minor} {}", line(limit.value));
                    self.settings.push(Setting { key, file, value });
                }
                None => self.unmet.push((key, format!("{} is no disk, and on none", limit.path.display()))),
            }
        }
    }
}

fn memory(spec: &ResourcesSpec, machine: &Machine<'_>, plan: &mut Plan) {
    let value = |amount: Option<Amount>| amount.map(|amount| or_max(bytes(amount, machine.memory_bytes)));
    plan.set("memory_min", "memory.min", value(spec.memory_min));
    plan.set("memory_low", "memory.low", value(spec.memory_low));
    plan.set("memory_high", "memory.high", value(spec.memory_high));
    plan.set("memory_max", "memory.max", value(spec.memory_max));
    plan.set("memory_swap_max", "memory.swap.max", value(spec.memory_swap_max));
    let group = spec.oom_policy() == OomPolicy::Kill;
    plan.set("oom_policy", "memory.oom.group", group.then(|| "1".to_owned()));
}

/// Version 1 limits memory, and memory with swap.
fn old_memory(spec: &ResourcesSpec, machine: &Machine<'_>, plan: &mut Plan) {
    let value = |bytes: Option<u64>| bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string());
    let max = spec.memory_max.map(|max| bytes(max, machine.memory_bytes));
    plan.set("memory_max", "memory.limit_in_bytes", max.map(value));
    if let Some(swap) = spec.memory_swap_max {
        match (max.flatten(), bytes(swap, machine.memory_bytes)) {
            (Some(max), Some(swap)) => {
                let both = Some(max.saturating_add(swap));
                plan.set("memory_swap_max", "memory.memsw.limit_in_bytes", Some(value(both)));
            }
            (_, None) => {}
            (None, Some(_)) => {
                let why = "without memory_max it needs control groups of version 2";
                plan.unmet.push(("memory_swap_max", why.to_owned()));
            }
        }
    }
    for (key, amount) in
        [("memory_min", spec.memory_min), ("memory_low", spec.memory_low), ("memory_high", spec.memory_high)]
    {
        // What asks for nothing is met.
        let nothing = if key == "memory_high" { Amount::Infinity } else { Amount::Bytes(0) };
        if amount.is_some_and(|amount| amount != nothing) {
            plan.needs_version_2(key);
        }
    }
}

/// An amount of memory, of which the machine has so many bytes.
pub fn bytes(amount: Amount, memory_bytes: u64) -> Option<u64> {
    match amount {
        Amount::Infinity => None,
        Amount::Bytes(bytes) => Some(bytes),
        Amount::Share(share) => Some(share_of(memory_bytes, share)),
    }
}

fn tasks(max: TasksMax, machine: &Machine<'_>) -> String {
    or_max(match max {
        TasksMax::Infinity => None,
        TasksMax::Count(count) => Some(count),
        TasksMax::Share(share) => Some(share_of(machine.tasks_max, share).max(1)),
    })
}

fn share_of(whole: u64, hundredths: u32) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(hundredths) / 10_000).unwrap_or(u64::MAX)
}

/// The kernel's word for no limit.
fn or_max(number: Option<u64>) -> String {
    number.map_or_else(|| "max".to_owned(), |number| number.to_string())
}

fn cpu(spec: &ResourcesSpec, plan: &mut Plan) {
    match spec.cpu_weight {
        Some(CpuWeight::Idle) => plan.set("cpu_weight", "cpu.idle", Some("1".to_owned())),
        Some(CpuWeight::Weight(weight)) => plan.set("cpu_weight", "cpu.weight", Some(weight.to_string())),
        None => {}
    }
    let quota = spec.cpu_quota.map(|quota| quota_and_period(quota, spec));
    plan.set("cpu_quota", "cpu.max", quota.map(|(quota, period)| format!("{quota} {period}")));
}

fn old_cpu(spec: &ResourcesSpec, plan: &mut Plan) {
    /// cpu.shares of a weight of 100, the least, and the most.
    const SHARES: (u64, u64, u64) = (1024, 2, 262_144);
    let shares = spec.cpu_weight.map(|weight| match weight {
        CpuWeight::Idle => SHARES.1,
        CpuWeight::Weight(weight) => (u64::from(weight) * SHARES.0 / 100).clamp(SHARES.1, SHARES.2),
    });
    plan.set("cpu_weight", "cpu.shares", shares.map(|shares| shares.to_string()));
    if let Some((quota, period)) = spec.cpu_quota.map(|quota| quota_and_period(quota, spec)) {
        plan.set("cpu_quota", "cpu.cfs_period_us", Some(period.to_string()));
        plan.set("cpu_quota", "cpu.cfs_quota_us", Some(quota.to_string()));
    }
}

/// In µs, both within what the kernel takes: a period of 1 ms to 1 s, and at least 1 ms in each.
fn quota_and_period(quota: u32, spec: &ResourcesSpec) -> (u64, u64) {
    const MILLI: u64 = 1000;
    const WHOLE: u64 = 1_000_000;
    const PERIOD_DEFAULT: u64 = 100 * MILLI;
    // In µs of CPU time a second.
    let quota = u64::from(quota) * (WHOLE / 10_000);
    let wanted = spec.cpu_quota_period.and_then(|period| period.micros()).unwrap_or(PERIOD_DEFAULT);
    let least = (MILLI * WHOLE).checked_div(quota).unwrap_or(WHOLE);
    let period = wanted.max(least).clamp(MILLI, WHOLE);
    ((quota * period / WHOLE).max(MILLI), period)
}

fn io(spec: &ResourcesSpec, machine: &Machine<'_>, plan: &mut Plan) {
    plan.set("io_weight", "io.weight", spec.io_weight.map(|weight| format!("default {weight}")));
    plan.set_disks("io_device_weight", "io.weight", machine, &spec.io_device_weight, |weight| {
        weight.map_or_else(|| "default".to_owned(), |weight| weight.to_string())
    });
    for (key, name, limits) in [
        ("io_read_bandwidth_max", "rbps", &spec.io_read_bandwidth_max),
        ("io_write_bandwidth_max", "wbps", &spec.io_write_bandwidth_max),
        ("io_read_iops_max", "riops", &spec.io_read_iops_max),
        ("io_write_iops_max", "wiops", &spec.io_write_iops_max),
    ] {
        plan.set_disks(key, "io.max", machine, limits, |max| format!("{name}={}", or_max(max)));
    }
}

fn old_io(spec: &ResourcesSpec, machine: &Machine<'_>, plan: &mut Plan) {
    // blkio.weight goes from 10 to 1000, and its usual is 500.
    let weight = |weight: u64| (weight * 500 / 100).clamp(10, 1000).to_string();
    plan.set("io_weight", "blkio.bfq.weight", spec.io_weight.map(|io| weight(io.into())));
    plan.set_disks("io_device_weight", "blkio.bfq.weight_device", machine, &spec.io_device_weight, |io| {
        weight(io.unwrap_or(100))
    });
    for (key, file, limits) in [
        ("io_read_bandwidth_max", "blkio.throttle.read_bps_device", &spec.io_read_bandwidth_max),
        ("io_write_bandwidth_max", "blkio.throttle.write_bps_device", &spec.io_write_bandwidth_max),
        ("io_read_iops_max", "blkio.throttle.read_iops_device", &spec.io_read_iops_max),
        ("io_write_iops_max", "blkio.throttle.write_iops_device", &spec.io_write_iops_max),
    ] {
        // 0 is no limit there.
        plan.set_disks(key, file, machine, limits, |max| max.unwrap_or(0).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimeSpan;

    const GIB: u64 = 1 << 30;

    fn written(spec: &ResourcesSpec, controller: Controller, version: Version) -> Vec<String> {
        let disk = |path: &Path| (path != Path::new("/proc")).then_some((8, 16));
        let machine = Machine { memory_bytes: 8 * GIB, tasks_max: 32_768, disk: &disk };
        let plan = plan(spec, controller, version, &machine);
        let settings = plan.settings.into_iter().map(|setting| format!("{} {}", setting.file, setting.value));
        settings.chain(plan.unmet.into_iter().map(|(key, why)| format!("not {key}: {why}"))).collect()
    }

    #[test]
    fn memory_is_limited_in_both_versions() {
        let spec = ResourcesSpec {
            memory_low: Some(Amount::Bytes(0)),
            memory_high: Some(Amount::Share(1250)),
            memory_max: Some(Amount::Bytes(GIB)),
            memory_swap_max: Some(Amount::Bytes(5)),
            oom_policy: Some(OomPolicy::Kill),
            ..ResourcesSpec::default()
        };
        let two = [
            "memory.low 0",
            "memory.high 1073741824",
            "memory.max 1073741824",
            "memory.swap.max 5",
            "memory.oom.group 1",
        ];
        assert_eq!(written(&spec, Controller::Memory, Version::Two), two);
        let one = [
            "memory.limit_in_bytes 1073741824",
            "memory.memsw.limit_in_bytes 1073741829",
            "not memory_high: it needs control groups of version 2",
        ];
        assert_eq!(written(&spec, Controller::Memory, Version::One), one);
        let none = ResourcesSpec { memory_max: Some(Amount::Infinity), ..ResourcesSpec::default() };
        assert_eq!(written(&none, Controller::Memory, Version::Two), ["memory.max max"]);
        assert_eq!(written(&none, Controller::Memory, Version::One), ["memory.limit_in_bytes -1"]);
    }

    /// Numbers of systemd 252: cgroup_cpu_adjust_period() and what it writes.
    #[test]
    fn a_quota_and_its_period_stay_within_what_the_kernel_takes() {
        let cases = [
            // hundredths of a percent, period in ms, what is written
            (2000, None, "20000 100000"),
            (15_000, None, "150000 100000"),
            (10_000, Some(10), "10000 10000"),
            (2000, Some(2), "1000 5000"),
            (1, Some(100), "1000 1000000"),
            (10_000, Some(5000), "1000000 1000000"),
        ];
        for (quota, period, text) in cases {
            let cpu_quota_period = period.map(TimeSpan::from_millis);
            let spec = ResourcesSpec { cpu_quota: Some(quota), cpu_quota_period, ..ResourcesSpec::default() };
            assert_eq!(
                written(&spec, Controller::Cpu, Version::Two),
                [format!("cpu.max {text}")],
                "{quota} {period:?}"
            );
            let (micros, period) = text.split_once(' ').unwrap();
            let old = [format!("cpu.cfs_period_us {period}"), format!("cpu.cfs_quota_us {micros}")];
            assert_eq!(written(&spec, Controller::Cpu, Version::One), old);
        }
    }

    #[test]
    fn weights_become_shares() {
        for (weight, two, one) in [
            (CpuWeight::Weight(100), "cpu.weight 100", "cpu.shares 1024"),
            (CpuWeight::Weight(1), "cpu.weight 1", "cpu.shares 10"),
            (CpuWeight::Weight(10_000), "cpu.weight 10000", "cpu.shares 102400"),
            (CpuWeight::Idle, "cpu.idle 1", "cpu.shares 2"),
        ] {
            let spec = ResourcesSpec { cpu_weight: Some(weight), ..ResourcesSpec::default() };
            assert_eq!(written(&spec, Controller::Cpu, Version::Two), [two]);
            assert_eq!(written(&spec, Controller::Cpu, Version::One), [one]);
        }
    }

    #[test]
    fn tasks_are_counted_or_a_share_of_the_machines() {
        for (max, text) in [
            (TasksMax::Count(7), "7"),
            (TasksMax::Share(1500), "4915"),
            (TasksMax::Infinity, "max"),
            (TasksMax::Share(0), "1"),
        ] {
            let spec = ResourcesSpec { tasks_max: Some(max), ..ResourcesSpec::default() };
            assert_eq!(written(&spec, Controller::Pids, Version::One), [format!("pids.max {text}")]);
        }
    }

    #[test]
    fn disks_are_named_by_number_and_what_is_none_is_named() {
        let limit = |path: &str, value| DeviceLimit { path: Path::new(path).into(), value };
        let spec = ResourcesSpec {
            io_weight: Some(10),
            io_device_weight: vec![limit("/dev/sdb", Some(300))],
            io_read_bandwidth_max: vec![limit("/dev/sdb", Some(5_000_000)), limit("/proc", Some(1))],
            io_write_iops_max: vec![limit("/srv", None)],
            ..ResourcesSpec::default()
        };
        let two = [
            "io.weight default 10",
            "io.weight 8:16 300",
            "io.max 8:16 rbps=5000000",
            "io.max 8:16 wiops=max",
            "not io_read_bandwidth_max: /proc is no disk, and on none",
        ];
        assert_eq!(written(&spec, Controller::Io, Version::Two), two);
        let one = [
            "blkio.bfq.weight 50",
            "blkio.bfq.weight_device 8:16 1000",
            "blkio.throttle.read_bps_device 8:16 5000000",
            "blkio.throttle.write_iops_device 8:16 0",
            "not io_read_bandwidth_max: /proc is no disk, and on none",
        ];
        assert_eq!(written(&spec, Controller::Io, Version::One), one);
    }

    #[test]
    fn a_unit_needs_the_controllers_of_its_keys_and_no_others() {
        let spec = ResourcesSpec {
            memory_max: Some(Amount::Bytes(1)),
            memory_high: Some(Amount::Bytes(1)),
            allowed_cpus: Some("0".into()),
            accounting: crate::unit::spec::Accounting { tasks: true, ..Default::default() },
            ..ResourcesSpec::default()
        };
        let expected = BTreeMap::from([
            (Controller::Memory, vec!["memory_high", "memory_max"]),
            (Controller::Cpuset, vec!["allowed_cpus"]),
            (Controller::Pids, vec![]),
        ]);
        assert_eq!(needs(&spec), expected);
        assert_eq!(needs(&ResourcesSpec::default()), BTreeMap::new());
    }
}
