use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// A part of a unit that is stored once for all units in which it is the same; a change to it makes a copy.
#[derive(Clone, PartialEq, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// A part of its own.
    pub fn new(part: T) -> Self {
        Self(Arc::new(part))
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// Values that are compared with each new one. Hosts with thousands of units have a few kinds of them; where all differ,
/// those past it are not shared.
const KNOWN_MAX: usize = 64;

/// Values that were met, of which equal ones become one.
#[derive(Debug)]
pub(super) struct Pool<T>(Vec<Shared<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Pool<T> {
    /// Lets `part` be one with an equal value that was met before.
    pub(super) fn share(&mut self, part: &mut Shared<T>) {
        match self.0.iter().find(|known| *known == part) {
            Some(known) => part.0 = Arc::clone(&known.0),
            None if self.0.len() < KNOWN_MAX => self.0.push(Shared(Arc::clone(&part.0))),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_become_one_and_a_change_parts_them() {
        let mut pool = Pool::default();
        let [mut a, mut b, mut c] = [1, 1, 2].map(|value| Shared(Arc::new(value)));
        for part in [&mut a, &mut b, &mut c] {
            pool.share(part);
        }
        assert!(Arc::ptr_eq(&a.0, &b.0));
        *b += 1;
        assert_eq!((*a, *b, *c), (1, 2, 2));
        pool.share(&mut b);
        assert!(Arc::ptr_eq(&b.0, &c.0));
    }

    #[test]
    fn a_pool_remembers_so_many_and_no_more() {
        let mut pool = Pool::default();
        (0..=KNOWN_MAX).for_each(|value| pool.share(&mut Shared(Arc::new(value))));
        assert_eq!(pool.0.len(), KNOWN_MAX);
    }
}
