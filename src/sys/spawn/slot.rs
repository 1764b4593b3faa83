use std::{collections::VecDeque, io, num::NonZeroUsize, os::fd::AsRawFd, ptr, sync::atomic::Ordering, time::Duration};

use nix::time::{ClockId, clock_gettime};

use super::{
    super::{memory::Mapping, raw},
    Program, child,
    plan::{Plan, bytes_needed, lay_out},
};
use crate::base::{Pid, SpawnFailure, SpawnStep};

/// Most children in their set-up at one time. Each takes 0.2 ms unless its set-up hangs.
const SLOTS_MAX: usize = 256;
/// Slots that keep their memory while nothing is started: what a restart now and then needs.
const SLOTS_WARM: usize = 8;
/// Bytes of a page on every machine we build for, or a multiple.
const PAGE: usize = 4096;
/// Stack of a child: its deepest call takes under 2 KiB in an unoptimised build.
const STACK_BYTES: usize = 16 * 1024;
/// Room for the strings of a plan; what is larger gets a mapping of its own.
const TEXT_BYTES: usize = 64 * 1024;
/// Most bytes of a plan at all, beyond what execve(2) takes.
const PLAN_BYTES_MAX: usize = 8 << 20;

// A slot in memory: guard page, stack of the launcher, guard page, stack of the child, plan, strings.
const LAUNCHER_STACK_AT: usize = PAGE;
const CHILD_STACK_AT: usize = LAUNCHER_STACK_AT + STACK_BYTES + PAGE;
const PLAN_AT: usize = CHILD_STACK_AT + STACK_BYTES;
const TEXT_AT: usize = PLAN_AT + size_of::<Plan>().next_multiple_of(64);
const SLOT_BYTES: usize = (TEXT_AT + TEXT_BYTES).next_multiple_of(PAGE);

/// Creates processes, up to [`SLOTS_MAX`] in their set-up at one time.
#[derive(Debug, Default)]
pub struct Spawner {
    slots: Vec<Slot>,
    /// Last in, first out: few pages are touched.
    free: Vec<usize>,
    /// Oldest first.
    busy: VecDeque<usize>,
}

/// A process that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spawned {
    /// Its pid.
    pub pid: Pid,
    /// Asks how its set-up went.
    pub ticket: Ticket,
    /// What [`start_time`](crate::sys::start_time) would say, where the clock says it too: reading /proc takes as long as
    /// the clone. `None` when a tick passed meanwhile.
    pub start_time: Option<u64>,
}

/// Names one use of a slot, to ask how the set-up went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    slot: usize,
    uses: u64,
}

/// How the set-up of a child went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is still at it.
    Pending,
    /// The program has taken over.
    Executed,
    /// A signal ended the child before it came to that.
    Killed,
    /// It could not be done; the child has ended.
    Failed(SpawnFailure),
}

#[derive(Debug)]
struct Slot {
    memory: Mapping,
    /// Memory for a plan that is too large for the slot.
    extra: Option<Mapping>,
    /// How often it was used.
    uses: u64,
    busy: bool,
    /// Whether it holds memory that a use has touched.
    warm: bool,
}

impl Spawner {
    /// Starts a process and does not wait for its set-up. Its end is an ordinary child's.
    ///
    /// # Errors
    /// The step and error of what can fail before there is a child; no child exists then.
    pub fn spawn(&mut self, program: &Program<'_>) -> Result<Spawned, SpawnFailure> {
        let index = self.take_slot().map_err(|errno| SpawnFailure { step: SpawnStep::Prepare, errno })?;
        let Some(slot) = self.slots.get_mut(index) else {
            return Err(SpawnFailure { step: SpawnStep::Prepare, errno: libc::EAGAIN });
        };
        slot.uses += 1;
        let ticket = Ticket { slot: index, uses: slot.uses };
        let before = boot_ticks();
        match slot.start(program) {
            Ok(pid) => {
                let start_time = before.filter(|_| before == boot_ticks());
                slot.busy = true;
                self.busy.push_back(index);
                Ok(Spawned { pid, ticket, start_time })
            }
            Err(failure) => {
                slot.extra = None;
                self.free.push(index);
                Err(failure)
            }
        }
    }

    /// How the set-up of that child went. Ask at its end at the latest: a failure holds its slot until it is asked for.
    pub fn outcome(&mut self, ticket: Ticket) -> Outcome {
        let Some(slot) = self.slots.get_mut(ticket.slot) else { return Outcome::Executed };
        // Only a slot whose child got through is given on unasked.
        if slot.uses != ticket.uses || !slot.busy {
            return Outcome::Executed;
        }
        let outcome = slot.outcome();
        if outcome != Outcome::Pending {
            slot.release();
            self.busy.retain(|busy| *busy != ticket.slot);
            self.free.push(ticket.slot);
        }
        outcome
    }

    /// Whether the program of that child has taken over; asking changes nothing.
    pub fn has_executed(&self, ticket: Ticket) -> bool {
        match self.slots.get(ticket.slot) {
            Some(slot) if slot.busy && slot.uses == ticket.uses => slot.outcome() == Outcome::Executed,
            Some(_) | None => true,
        }
    }

    /// Children that are in their set-up, or whose failure in it was not asked for.
    pub fn pending(&mut self) -> usize {
        self.collect();
        self.busy.len()
    }

    /// Gives back what a burst has left; to be called when nothing hurries. The slots stay.
    pub fn rest(&mut self) {
        self.collect();
        if !self.busy.is_empty() || self.slots.len() <= SLOTS_WARM {
            return;
        }
        for slot in self.slots.iter_mut().skip(SLOTS_WARM) {
            slot.cool();
        }
        // The warm ones are taken first.
        self.free.sort_unstable_by(|one, other| other.cmp(one));
    }

    fn take_slot(&mut self) -> Result<usize, i32> {
        self.collect();
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        if self.slots.len() >= SLOTS_MAX {
            return Err(libc::EAGAIN);
        }
        let slot = Slot::new().map_err(|error| error.raw_os_error().unwrap_or(libc::ENOMEM))?;
        self.slots.push(slot);
        Ok(self.slots.len() - 1)
    }

    /// Frees the slots of children that got through: the oldest, and all when none is free.
    fn collect(&mut self) {
        let Self { slots, free, busy } = self;
        let thorough = free.is_empty();
        let mut blocked = false;
        busy.retain(|index| {
            if blocked && !thorough {
                return true;
            }
            let Some(slot) = slots.get_mut(*index) else { return false };
            let through = slot.outcome() == Outcome::Executed;
            if through {
                slot.release();
                free.push(*index);
            }
            blocked |= !through;
            !through
        });
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            // A child may still be in there; better to lose the memory than to pull it away.
            if slot.busy && slot.outcome() == Outcome::Pending {
                std::mem::forget(slot);
            }
        }
    }
}

impl Slot {
    fn new() -> io::Result<Self> {
        let length = NonZeroUsize::new(SLOT_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        let memory = Mapping::new(length)?;
        memory.guard(0, PAGE)?;
        memory.guard(LAUNCHER_STACK_AT + STACK_BYTES, PAGE)?;
        Ok(Self { memory, extra: None, uses: 0, busy: false, warm: false })
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.memory.start().wrapping_add(offset)
    }

    fn outcome(&self) -> Outcome {
        let plan = self.at(PLAN_AT).cast::<Plan>();
        // SAFETY: a busy slot holds a whole plan; a child writes only to its atomic fields.
        let plan = unsafe { &*plan };
        if plan.inside.load(Ordering::Acquire) != 0 {
            return Outcome::Pending;
        }
        let step = child::step(plan.step.load(Ordering::Relaxed));
        match plan.errno.load(Ordering::Acquire) {
            0 if step == SpawnStep::Exec => Outcome::Executed,
            0 => Outcome::Killed,
            errno => Outcome::Failed(SpawnFailure { step, errno }),
        }
    }

    fn release(&mut self) {
        self.busy = false;
        self.extra = None;
    }

    /// Nobody may be in there.
    fn cool(&mut self) {
        if std::mem::take(&mut self.warm) {
            self.memory.discard();
        }
    }

    fn start(&mut self, program: &Program<'_>) -> Result<Pid, SpawnFailure> {
        self.warm = true;
        let failed = |step, errno| SpawnFailure { step, errno };
        // setresuid(2) takes this number for "unchanged": the child would keep our privileges.
        if program.user.is_some_and(|user| user.uid == u32::MAX || user.gid == u32::MAX) {
            return Err(failed(SpawnStep::User, libc::EINVAL));
        }
        let mut plan = self.write_plan(program).map_err(|errno| failed(SpawnStep::Prepare, errno))?;
        let place = self.at(PLAN_AT).cast::<Plan>();
        plan.clone = self.clone_arguments(program, place);
        let through_launcher = program.oom_score_adj.is_some();
        // SAFETY: the slot is free, so nobody else reads or writes there.
        unsafe { place.write(plan) };
        let mask = block_all_signals();
        let result = if through_launcher { self.launch(place) } else { Self::clone_child(place) };
        restore_signals(mask);
        let pid = result?;
        Pid::new(pid).ok_or_else(|| failed(SpawnStep::Clone, libc::ESRCH))
    }

    /// Lays the program out in the slot, or beside it when it is large.
    fn write_plan(&mut self, program: &Program<'_>) -> Result<Plan, i32> {
        let needed = bytes_needed(program);
        if needed <= TEXT_BYTES {
            // SAFETY: the last part of the slot's own mapping, which nobody uses while the slot is free.
            let text = unsafe { std::slice::from_raw_parts_mut(self.at(TEXT_AT), TEXT_BYTES) };
            return lay_out(program, text).ok_or(libc::E2BIG);
        }
        let length = NonZeroUsize::new(needed).filter(|_| needed <= PLAN_BYTES_MAX).ok_or(libc::E2BIG)?;
        let extra = Mapping::new(length).map_err(|error| error.raw_os_error().unwrap_or(libc::ENOMEM))?;
        // SAFETY: a new mapping of that length that only this slot knows.
        let text = unsafe { std::slice::from_raw_parts_mut(extra.start(), needed) };
        let plan = lay_out(program, text).ok_or(libc::E2BIG)?;
        self.extra = Some(extra);
        Ok(plan)
    }

    fn clone_arguments(&self, program: &Program<'_>, plan: *mut Plan) -> libc::clone_args {
        let mut arguments = empty_clone_arguments();
        arguments.flags = (libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID) as u64 | CLONE_CLEAR_SIGHAND;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.stack = self.at(CHILD_STACK_AT).addr() as u64;
        arguments.stack_size = STACK_BYTES as u64;
        // The kernel clears the plan's first word.
        arguments.child_tid = plan.addr() as u64;
        if let Some(cgroup) = program.cgroup {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
        }
        if program.oom_score_adj.is_some() {
            // A sister of the launcher is our child; its exit signal is the launcher's.
            arguments.flags |= libc::CLONE_PARENT as u64;
            arguments.exit_signal = 0;
        }
        arguments
    }

    fn clone_child(plan: *mut Plan) -> Result<i32, SpawnFailure> {
        // SAFETY: the plan was written whole; only the kernel and the child use the arguments in it now.
        let arguments = unsafe { &(*plan).clone };
        // SAFETY: stack and plan lie in a slot that stays until the kernel clears the plan's first word.
        let result = unsafe { raw::clone3(arguments, child::begin, plan) };
        positive(result).map_err(|errno| SpawnFailure { step: SpawnStep::Clone, errno })
    }

    /// Makes the child through a launcher, whose end is awaited: a few system calls that cannot hang.
    fn launch(&self, plan: *mut Plan) -> Result<i32, SpawnFailure> {
        let mut arguments = empty_clone_arguments();
        let shared = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK;
        arguments.flags = u64::from(shared.cast_unsigned()) | CLONE_CLEAR_SIGHAND;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.stack = self.at(LAUNCHER_STACK_AT).addr() as u64;
        arguments.stack_size = STACK_BYTES as u64;
        // SAFETY: both stacks and the plan lie in a slot that stays; the launcher is gone when this returns.
        let launcher = unsafe { raw::clone3(&arguments, child::launch, plan) };
        let launcher = positive(launcher).map_err(|errno| SpawnFailure { step: SpawnStep::Clone, errno })?;
        // SAFETY: takes the end of a child that nobody else waits for, and no memory.
        unsafe { libc::waitpid(launcher, ptr::null_mut(), 0) };
        // SAFETY: the plan is whole; the child changes only atomic fields.
        let plan = unsafe { &*plan };
        match plan.launched.load(Ordering::Acquire) {
            0 => {
                let step = child::step(plan.step.load(Ordering::Relaxed));
                Err(SpawnFailure { step, errno: plan.errno.load(Ordering::Acquire) })
            }
            pid => Ok(pid),
        }
    }
}

/// The child's handlers are reset to default, clone(2); the constants are missing in libc for some machines.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The child starts in the cgroup of a descriptor, clone(2).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

const fn empty_clone_arguments() -> libc::clone_args {
    // SAFETY: the structure holds numbers only, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn positive(result: isize) -> Result<i32, i32> {
    let number = i32::try_from(result).unwrap_or(-libc::EINVAL);
    if number > 0 { Ok(number) } else { Err(-number) }
}

/// This moment in clock ticks since boot, as the kernel counts a process's start time.
fn boot_ticks() -> Option<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    u64::try_from(now.as_nanos() / TICK_NANOS).ok()
}

/// USER_HZ is 100 on the machines we build for.
const TICK_NANOS: u128 = 10_000_000;

/// Bytes of the kernel's signal set.
const SIGSET_BYTES: usize = 8;

/// Blocks every signal, so that no handler of ours runs in a child; gives the mask before.
fn block_all_signals() -> u64 {
    let (all, mut before) = (u64::MAX, 0_u64);
    let arguments = [libc::SIG_SETMASK as usize, (&raw const all).addr(), (&raw mut before).addr(), SIGSET_BYTES, 0, 0];
    // SAFETY: reads and writes two signal sets of this frame. libc's wrapper would leave out its two own signals.
    unsafe { raw::syscall(libc::SYS_rt_sigprocmask, arguments) };
    before
}

fn restore_signals(mask: u64) {
    let arguments = [libc::SIG_SETMASK as usize, (&raw const mask).addr(), 0, SIGSET_BYTES, 0, 0];
    // SAFETY: reads one signal set of this frame.
    unsafe { raw::syscall(libc::SYS_rt_sigprocmask, arguments) };
}
