/// When and where a process gets the CPU and the disk; what is not set is the daemon's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scheduling {
    /// CPU scheduling policy.
    pub cpu_policy: Option<CpuPolicy>,
    /// Priority within the policy: 1 to 99 for the real-time ones, 0 for the others.
    pub cpu_priority: Option<u32>,
    /// Whether its children begin with the usual policy.
    pub cpu_reset_on_fork: Option<bool>,
    /// The CPUs that it may run on, by number, sorted; empty for all.
    pub cpu_affinity: Box<[u16]>,
    /// I/O scheduling class.
    pub io_class: Option<IoClass>,
    /// Priority within the class, 0 (highest) to 7.
    pub io_priority: Option<u16>,
    /// How much later a timer may fire, in nanoseconds.
    pub timer_slack_nsec: Option<u64>,
    /// Execution domain, the kernel's number of personality(2).
    pub personality: Option<u32>,
}

/// `cpu_scheduling_policy`, sched(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the SCHED_ of its name, sched(7)")]
pub enum CpuPolicy {
    Other,
    Batch,
    Idle,
    Fifo,
    Rr,
}

impl CpuPolicy {
    /// Whether it comes before all that is not real-time, and has priorities.
    pub const fn is_real_time(self) -> bool {
        match self {
            Self::Fifo | Self::Rr => true,
            Self::Other | Self::Batch | Self::Idle => false,
        }
    }
}

/// `io_scheduling_class`, ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the IOPRIO_CLASS_ of its name, ioprio_set(2)")]
pub enum IoClass {
    None,
    RealTime,
    BestEffort,
    Idle,
}
