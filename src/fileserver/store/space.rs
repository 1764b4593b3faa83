use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of the disk that are promised to uploads in flight and not yet written.
#[derive(Debug, Default)]
pub(super) struct Space {
    promised: Mutex<u64>,
}

impl Space {
    fn change(&self, change: impl FnOnce(&mut u64)) {
        // The number is right after every statement, so a panic elsewhere spoils nothing.
        change(&mut self.promised.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Promises `bytes` if `min_free` of the `available` remain; else tells how much could be promised.
    pub(super) fn reserve(this: &Arc<Self>, bytes: u64, min_free: u64, available: u64) -> Result<Reservation, u64> {
        let mut answer = Err(0);
        this.change(|promised| {
            let free = available.saturating_sub(*promised).saturating_sub(min_free);
            answer = if bytes <= free { Ok(()) } else { Err(free) };
            if answer.is_ok() {
                *promised += bytes;
            }
        });
        answer.map(|()| Reservation { space: Arc::clone(this), left: bytes })
    }
}

/// A promise of disk space; what is not used is given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    space: Arc<Space>,
    left: u64,
}

impl Reservation {
    /// `bytes` have been written: the file system counts them itself from now on.
    pub(super) fn used(&mut self, bytes: u64) {
        let used = bytes.min(self.left);
        self.left -= used;
        self.space.change(|promised| *promised -= used);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.change(|promised| *promised -= self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_promised_once_and_given_back() {
        let space = Arc::new(Space::default());
        let reserve = |bytes| Space::reserve(&space, bytes, 100, 1000);
        let mut first = reserve(600).unwrap();
        assert_eq!(reserve(301).unwrap_err(), 300, "what is promised to one is promised to no other");
        let second = reserve(300).unwrap();
        assert_eq!(reserve(1).unwrap_err(), 0);
        first.used(200);
        first.used(u64::MAX);
        assert!(reserve(600).is_ok());
        drop(second);
        drop(first);
        assert!(reserve(900).is_ok());
        assert_eq!(*space.promised.lock().unwrap(), 0);
    }
}
