use crate::{
    sys,
    unit::spec::{CpuPolicy, ExecSpec, IoClass, KeyringMode, Limit, Resource, Scheduling},
    wire::keeper as wire,
};

/// SCHED_RESET_ON_FORK of sched_setscheduler(2).
const RESET_ON_FORK: u32 = 0x4000_0000;
/// Priority of a real-time policy that says none.
const CPU_PRIORITY_DEFAULT: u32 = 1;
/// Priority within an I/O class that says none, and how far the class stands left of it (ioprio_set(2)).
const IO_PRIORITY_DEFAULT: u16 = 4;
const IO_CLASS_SHIFT: u16 = 13;

pub(super) fn schedule(scheduling: &Scheduling) -> wire::Schedule {
    wire::Schedule {
        cpu: cpu(scheduling),
        affinity: affinity(&scheduling.cpu_affinity),
        io_priority: io_priority(scheduling),
        timer_slack: scheduling.timer_slack_nsec,
        personality: scheduling.personality,
    }
}

fn cpu(scheduling: &Scheduling) -> Option<wire::CpuScheduling> {
    let Scheduling { cpu_policy, cpu_priority, cpu_reset_on_fork, .. } = scheduling;
    let resets = cpu_reset_on_fork.unwrap_or(false);
    if cpu_policy.is_none() && cpu_priority.is_none() && !resets {
        return None;
    }
    let policy = cpu_policy.unwrap_or(CpuPolicy::Other);
    let default = if policy.is_real_time() { CPU_PRIORITY_DEFAULT } else { 0 };
    let number = match policy {
        CpuPolicy::Other => 0,
        CpuPolicy::Fifo => 1,
        CpuPolicy::Rr => 2,
        CpuPolicy::Batch => 3,
        CpuPolicy::Idle => 5,
    };
    let flag = if resets { RESET_ON_FORK } else { 0 };
    Some(wire::CpuScheduling { policy: number | flag, priority: cpu_priority.unwrap_or(default) })
}

fn affinity(cpus: &[u16]) -> Vec<u8> {
    let bytes = cpus.iter().max().map_or(0, |last| usize::from(*last) / 8 + 1);
    let mut mask = vec![0_u8; bytes];
    for cpu in cpus {
        if let Some(byte) = mask.get_mut(usize::from(*cpu) / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask
}

/// As systemd has it: without a class it is best-effort, and no class means that as well.
fn io_priority(scheduling: &Scheduling) -> Option<u16> {
    if scheduling.io_class.is_none() && scheduling.io_priority.is_none() {
        return None;
    }
    let (class, priority) = match scheduling.io_class {
        Some(IoClass::RealTime) => (1, scheduling.io_priority),
        Some(IoClass::BestEffort) | None => (2, scheduling.io_priority),
        Some(IoClass::None) => (2, None),
        Some(IoClass::Idle) => (3, scheduling.io_priority),
    };
    Some(class << IO_CLASS_SHIFT | priority.unwrap_or(IO_PRIORITY_DEFAULT))
}

/// `restricted`: not for a command with all privileges, whose keyring is as that of the others all the same.
pub(super) fn privileges(exec: &ExecSpec, restricted: bool) -> wire::Privileges {
    let keyring = match exec.keyring {
        KeyringMode::Inherit => wire::Keyring::Inherit,
        KeyringMode::Private => wire::Keyring::Private,
        KeyringMode::Shared => wire::Keyring::Shared,
    };
    if !restricted {
        return wire::Privileges { keyring, ..wire::Privileges::default() };
    }
    wire::Privileges {
        bounding: exec.capability_bounding_set.map(|set| set.0),
        ambient: exec.ambient_capabilities.0,
        secure_bits: exec.secure_bits,
        keyring,
    }
}

pub(super) fn limit(limit: &Limit) -> wire::ResourceLimit {
    wire::ResourceLimit {
        resource: resource_number(limit.resource),
        soft: limit.soft.unwrap_or(u64::MAX),
        hard: limit.hard.unwrap_or(u64::MAX),
    }
}

/// The daemon's own limit of open files, which the keeper has raised.
pub(super) fn own_open_files() -> Option<wire::ResourceLimit> {
    let resource = resource_number(Resource::Nofile);
    let (soft, hard) = sys::resource_limit(resource.into()).ok()?;
    Some(wire::ResourceLimit { resource, soft, hard })
}

/// The kernel's numbers, asm-generic/resource.h.
const fn resource_number(resource: Resource) -> u8 {
    match resource {
        Resource::Cpu => 0,
        Resource::Fsize => 1,
        Resource::Data => 2,
        Resource::Stack => 3,
        Resource::Core => 4,
        Resource::Rss => 5,
        Resource::Nproc => 6,
        Resource::Nofile => 7,
        Resource::Memlock => 8,
        Resource::As => 9,
        Resource::Locks => 10,
        Resource::Sigpending => 11,
        Resource::Msgqueue => 12,
        Resource::Nice => 13,
        Resource::Rtprio => 14,
        Resource::Rttime => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_its_bit() {
        assert_eq!(affinity(&[]), [0_u8; 0]);
        assert_eq!(affinity(&[0, 2]), [5]);
        assert_eq!(affinity(&[1, 8, 17]), [2, 1, 2]);
    }

    #[test]
    fn what_is_not_said_of_a_class_or_policy_is_as_in_systemd() {
        let with = |change: fn(&mut Scheduling)| {
            let mut scheduling = Scheduling::default();
            change(&mut scheduling);
            schedule(&scheduling)
        };
        assert_eq!(with(|_| {}), wire::Schedule::default());
        assert_eq!(with(|s| s.io_priority = Some(0)).io_priority, Some(0x4000));
        assert_eq!(with(|s| s.io_class = Some(IoClass::None)).io_priority, Some(0x4004));
        assert_eq!(with(|s| s.io_class = Some(IoClass::Idle)).io_priority, Some(0x6004));
        let cpu = with(|s| s.cpu_policy = Some(CpuPolicy::Rr)).cpu;
        assert_eq!(cpu, Some(wire::CpuScheduling { policy: 2, priority: 1 }));
        let cpu = with(|s| s.cpu_reset_on_fork = Some(true)).cpu;
        assert_eq!(cpu, Some(wire::CpuScheduling { policy: RESET_ON_FORK, priority: 0 }));
    }
}
