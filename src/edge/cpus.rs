//! The same work for each of many things, on several CPUs.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

/// Things that one thread does before it takes the next.
const PART: usize = 32;
/// Most threads; services want the CPUs too.
const THREADS_MAX: usize = 4;
const STACK_BYTES: usize = 256 << 10;

/// `work` for each of `things`, in their order. Fewer things than fill a part are done without a thread.
pub fn map<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let parts = things.chunks(PART);
    let mut done: Vec<Vec<R>> = parts.clone().map(|_| Vec::new()).collect();
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = done.len().min(cpus).min(THREADS_MAX);
    let rest = Mutex::new(parts.zip(&mut done));
    let take = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
    let help = || {
        while let Some((part, done)) = take() {
            done.extend(part.iter().map(&work));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be had leaves its share to the others.
            thread::Builder::new().name("help".to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, help).ok();
        }
        help();
    });
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_in_order() {
        for count in [0, 1, PART, 10 * PART + 7] {
            let things: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = things.iter().map(|n| n * 2).collect();
            assert_eq!(map(&things, |n| n * 2), doubled);
        }
    }
}
