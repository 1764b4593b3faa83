//! What a unit's processes use of the machine.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::Output;
use crate::{
    base::{ByteSize, Pid},
    edge::{
        cgroup::usage::{self, Places, UnitUse},
        proctree,
    },
    node::input::Finding,
    unit::spec::Ceiling,
};

/// A first look at CPU time is compared with one so much later.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// CPU time at a moment, in microseconds.
pub type Sample = Arc<Mutex<Option<(Instant, u64)>>>;

/// Where a unit's use is seen: its counters, or else its main process; and what it writes.
#[derive(Debug, Clone, Default)]
pub struct Used {
    /// Its counters.
    pub counted: Option<Places>,
    /// Its main process.
    pub main: Option<Pid>,
    /// What the last look at its CPU time saw.
    pub last: Sample,
    /// What it writes.
    pub output: Option<Output>,
}

impl Used {
    fn now(&self) -> UnitUse {
        let counted = self.counted.as_ref().map(usage::of).unwrap_or_default();
        let main = self.main.and_then(proctree::use_of);
        UnitUse {
            memory_bytes: counted.memory_bytes.or_else(|| Some(main?.memory_bytes)),
            cpu_us: counted.cpu_us.or_else(|| Some(main?.cpu_us)),
            ..counted
        }
    }
}

fn unseen() -> Finding {
    Finding::Unasked("nothing counts what the unit uses".to_owned())
}

pub(super) fn memory(ceiling: Ceiling, used: Option<&Used>) -> Finding {
    let Some(bytes) = used.and_then(|used| used.now().memory_bytes) else { return unseen() };
    judge(ceiling, bytes, |bytes| format!("{} of memory", ByteSize(bytes).rounded()), |limit| ByteSize(limit).rounded())
}

pub(super) async fn cpu(ceiling: Ceiling, used: Option<&Used>) -> Finding {
    let Some(used) = used else { return unseen() };
    let look = || Some((Instant::now(), used.now().cpu_us?));
    let last = used.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    let first = match last {
        Some(last) => Some(last),
        None => {
            let first = look();
            sleep(FIRST_LOOK).await;
            first
        }
    };
    let (Some((begun, before)), Some((ended, after))) = (first, look()) else { return unseen() };
    *used.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((ended, after));
    let span = u64::try_from((ended - begun).as_micros()).unwrap_or(u64::MAX).max(1);
    // Counters of another run may be lower.
    let percent = after.saturating_sub(before).saturating_mul(100) / span;
    judge(ceiling, percent, |percent| format!("{percent}% of a CPU"), |limit| format!("{limit}%"))
}

fn judge(ceiling: Ceiling, value: u64, has: impl Fn(u64) -> String, limit: impl Fn(u64) -> String) -> Finding {
    let above = |limit: Option<u64>| limit.filter(|limit| value > *limit);
    let text = |most| format!("{}, more than {}", has(value), limit(most));
    match (above(ceiling.max), above(ceiling.warn)) {
        (Some(max), _) => Finding::Bad(text(max)),
        (None, Some(warn)) => Finding::Degraded(text(warn)),
        (None, None) => Finding::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_warn_is_degraded_and_above_max_is_bad() {
        let ceiling = Ceiling { warn: Some(10), max: Some(20) };
        let judged = |value| judge(ceiling, value, |value| value.to_string(), |limit| limit.to_string());
        assert_eq!(judged(10), Finding::Good);
        assert_eq!(judged(11), Finding::Degraded("11, more than 10".to_owned()));
        assert_eq!(judged(21), Finding::Bad("21, more than 20".to_owned()));
        assert_eq!(judge(Ceiling { warn: None, max: None }, 99, |_| String::new(), |_| String::new()), Finding::Good);
    }

    #[tokio::test]
    async fn our_own_process_uses_something() {
        let main = Pid::new(i32::try_from(std::process::id()).unwrap());
        let used = Used { main, ..Used::default() };
        assert_eq!(
            memory(Ceiling { warn: None, max: Some(1) }, Some(&used)).reason().map(|r| r.contains("of memory")),
            Some(true)
        );
        assert_eq!(memory(Ceiling { warn: None, max: Some(u64::MAX) }, Some(&used)), Finding::Good);
        let busy = tokio::task::spawn_blocking(|| {
            let until = Instant::now() + FIRST_LOOK * 2;
            while Instant::now() < until {}
        });
        let found = cpu(Ceiling { warn: None, max: Some(1) }, Some(&used)).await;
        busy.await.unwrap();
        assert!(found.reason().is_some_and(|reason| reason.ends_with("% of a CPU, more than 1%")), "{found:?}");
        assert!(matches!(memory(Ceiling { warn: None, max: None }, None), Finding::Unasked(_)));
    }
}
