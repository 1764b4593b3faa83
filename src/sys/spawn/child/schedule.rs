use std::ptr;

use super::{at, call};
use crate::{base::SpawnStep, sys::spawn::plan::Plan};

/// IOPRIO_WHO_PROCESS of ioprio_set(2).
const IOPRIO_WHO_PROCESS: usize = 1;

/// When it gets the CPU and the disk, and as what it sees the machine.
pub(super) fn set(plan: &Plan) -> Result<(), i32> {
    if let Some(nice) = plan.nice {
        at(plan, SpawnStep::Nice);
        call(libc::SYS_setpriority, [libc::PRIO_PROCESS as usize, 0, nice as usize, 0, 0, 0])?;
    }
    let schedule = &plan.schedule;
    if let Some(cpu) = schedule.cpu {
        at(plan, SpawnStep::SetScheduler);
        // The structure sched_param is this one number.
        let priority = ptr::from_ref(&cpu.priority).addr();
        call(libc::SYS_sched_setscheduler, [0, cpu.policy as usize, priority, 0, 0, 0])?;
    }
    if plan.affinity.count > 0 {
        at(plan, SpawnStep::CpuAffinity);
        call(libc::SYS_sched_setaffinity, [0, plan.affinity.count, plan.affinity.at.addr(), 0, 0, 0])?;
    }
    if let Some(priority) = schedule.io_priority {
        at(plan, SpawnStep::IoPriority);
        call(libc::SYS_ioprio_set, [IOPRIO_WHO_PROCESS, 0, priority as usize, 0, 0, 0])?;
    }
    if let Some(nanoseconds) = schedule.timer_slack {
        at(plan, SpawnStep::TimerSlack);
        call(libc::SYS_prctl, [libc::PR_SET_TIMERSLACK as usize, nanoseconds as usize, 0, 0, 0, 0])?;
    }
    if let Some(persona) = schedule.personality {
        at(plan, SpawnStep::Personality);
        call(libc::SYS_personality, [persona as usize, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}
