//! systemd.resource-control(5): how much of the machine a service may use, and which devices.

use std::path::Path;

use crate::base::TimeSpan;

/// How much of the machine a service may use. Lists are in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourcesSpec {
    /// Ours: what happens where this host cannot give all of it. Unless set, what rations is left out with a warning, and
    /// what secures (devices) is not.
    pub fallback: Option<ResourcesFallback>,
    /// What becomes of the service when the kernel ends one of its processes for want of memory; `stop` unless set, and
    /// `continue` for one that manages cgroups of its own.
    pub oom_policy: Option<OomPolicy>,
    /// Whether the service makes cgroups of its own below its own.
    pub delegate: bool,
    /// Counted for `status` even where nothing limits it.
    pub accounting: Accounting,
    /// Memory that is taken from it last of all.
    pub memory_min: Option<Amount>,
    /// Memory that is taken from it late.
    pub memory_low: Option<Amount>,
    /// Above it, it is slowed down and its memory is taken back.
    pub memory_high: Option<Amount>,
    /// Above it, the kernel ends its processes.
    pub memory_max: Option<Amount>,
    /// Most swap.
    pub memory_swap_max: Option<Amount>,
    /// Most processes and threads.
    pub tasks_max: Option<TasksMax>,
    /// Its share of the CPUs while others want them too.
    pub cpu_weight: Option<CpuWeight>,
    /// Most CPU time, in hundredths of a percent of one CPU.
    pub cpu_quota: Option<u32>,
    /// Over which time the quota is counted; 100 ms unless set.
    pub cpu_quota_period: Option<TimeSpan>,
    /// The CPUs that it may run on, as the kernel writes sets: `0-2,7`.
    pub allowed_cpus: Option<Box<str>>,
    /// The NUMA nodes whose memory it may use.
    pub allowed_memory_nodes: Option<Box<str>>,
    /// Its share of the disks while others want them too, 1 to 10000.
    pub io_weight: Option<u16>,
    /// The same for one disk.
    pub io_device_weight: Vec<DeviceLimit>,
    /// Most bytes a second that are read from a disk.
    pub io_read_bandwidth_max: Vec<DeviceLimit>,
    /// Most bytes a second that are written to a disk.
    pub io_write_bandwidth_max: Vec<DeviceLimit>,
    /// Most reads a second from a disk.
    pub io_read_iops_max: Vec<DeviceLimit>,
    /// Most writes a second to a disk.
    pub io_write_iops_max: Vec<DeviceLimit>,
    /// Which devices it may use at all.
    pub device_policy: DevicePolicy,
    /// Devices that it may use whatever the policy.
    pub device_allow: Vec<DeviceAllow>,
}

impl ResourcesSpec {
    /// OOMPolicy= with its default.
    pub fn oom_policy(&self) -> OomPolicy {
        self.oom_policy.unwrap_or(if self.delegate { OomPolicy::Continue } else { OomPolicy::Stop })
    }

    /// Whether it may not use every device.
    pub fn restricts_devices(&self) -> bool {
        self.device_policy != DevicePolicy::Auto || !self.device_allow.is_empty()
    }
}

/// What happens where the host cannot give all that a unit asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourcesFallback {
    /// The unit does not start.
    Refuse,
    /// It starts without what cannot be had, and `status` says what that is.
    Warn,
}

/// OOMPolicy=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomPolicy {
    /// It is told, and the service goes on as far as it can.
    Continue,
    /// The service is stopped, with the result `oom-kill`.
    Stop,
    /// All its processes are killed at once, with the same result.
    Kill,
}

/// MemoryAccounting= and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub struct Accounting {
    /// CPU time.
    pub cpu: bool,
    /// Bytes and operations on disks.
    pub io: bool,
    /// Memory.
    pub memory: bool,
    /// Processes and threads.
    pub tasks: bool,
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// No limit.
    Infinity,
    /// So many bytes.
    Bytes(u64),
    /// Hundredths of a percent of the machine's memory.
    Share(u32),
}

/// TasksMax=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TasksMax {
    /// No limit.
    Infinity,
    /// So many.
    Count(u64),
    /// Hundredths of a percent of what the machine can have.
    Share(u32),
}

/// CPUWeight=.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuWeight {
    /// Only what nobody else wants.
    Idle,
    /// 1 to 10000; the usual is 100.
    Weight(u16),
}

/// A number for one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLimit {
    /// A block device, or any file on it.
    pub path: Box<Path>,
    /// The number; `None` is no limit.
    pub value: Option<u64>,
}

/// DevicePolicy=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevicePolicy {
    /// Every device, unless some are listed: then as `closed`.
    #[default]
    Auto,
    /// Those that are listed, and the usual pseudo devices: null, zero, full, random, urandom, tty, ptmx, pseudo terminals.
    Closed,
    /// Those that are listed.
    Strict,
}

/// One line of DeviceAllow=.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAllow {
    /// Which.
    pub device: DeviceName,
    /// Whether it may be read.
    pub read: bool,
    /// Whether it may be written.
    pub write: bool,
    /// Whether it may be made by mknod(2).
    pub make: bool,
}

/// How a line of DeviceAllow= names devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceName {
    /// By its file in /dev.
    Path(Box<Path>),
    /// Character devices by the name of their group in /proc/devices, which may have `*` and `?`.
    Char(Box<str>),
    /// Block devices, likewise.
    Block(Box<str>),
}
