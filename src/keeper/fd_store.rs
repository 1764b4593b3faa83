//! Descriptors under names: those that the manager stores for a unit, and those that a service keeps with us over its own
//! restart (FDSTORE=1, sd_pid_notify_with_fds(3)).
use std::{os::fd::OwnedFd, rc::Rc};

use super::{
    holdings::{STORED_PER_UNIT_MAX, Stored},
    turn::{Keeper, Watched},
};
use crate::{
    base::UnitName,
    sys::is_same_file,
    wire::keeper::{Fact, HeldAs, STORE_NAME_BYTES_MAX},
};

impl Keeper {
    /// Stores a descriptor of the manager's own.
    pub(super) fn store(&mut self, unit: &UnitName, name: String, fd: Option<OwnedFd>) {
        let Some(fd) = fd else { return self.refuse(format!("cannot store {name:?} of {unit}: no descriptor came")) };
        self.put_in_store(unit, Stored::new(name, Rc::new(fd), false));
    }

    /// Keeps a descriptor for the service itself. What is kept already is ignored, as systemd does.
    pub(super) fn keep(&mut self, unit: &UnitName, name: String, max: u32, polled: bool, fd: Option<OwnedFd>) {
        let Some(fd) = fd else { return self.refuse(format!("cannot keep {name:?} of {unit}: no descriptor came")) };
        let stored = Stored::new(name, Rc::new(fd), polled);
        let name = &stored.name;
        if !stored.is_services_own() {
            return self.refuse(format!("cannot keep a descriptor of {unit} under the name {name:?}"));
        }
        let kept = self.units.get(unit).into_iter().flat_map(|held| &held.stored).filter(|held| held.is_services_own());
        let (mut count, mut is_known) = (0, false);
        for held in kept {
            count += 1;
            is_known |= is_same_file(&held.fd, &stored.fd);
        }
        if count >= max {
            return self.refuse(format!("cannot keep {name:?} of {unit}, whose store is full (it may have {max})"));
        }
        if !is_known {
            self.put_in_store(unit, stored);
            self.tell_kept(unit);
        }
    }

    /// How many the service keeps, for people.
    fn tell_kept(&mut self, unit: &UnitName) {
        let kept = self.units.get(unit).into_iter().flat_map(|held| &held.stored).filter(|held| held.is_services_own());
        let count = u32::try_from(kept.count()).unwrap_or(u32::MAX);
        self.tell(&Fact::Kept { unit: unit.clone(), count }, Vec::new());
    }

    fn put_in_store(&mut self, unit: &UnitName, mut stored: Stored) {
        let Stored { name, polled, .. } = &stored;
        if name.len() > STORE_NAME_BYTES_MAX || name.contains('\0') {
            return self.refuse(format!("cannot store a descriptor of {unit} under the name {name:?}"));
        }
        if self.units.entry(unit).is_none_or(|held| held.stored.len() >= STORED_PER_UNIT_MAX) {
            return self.refuse(format!("cannot store {name:?} of {unit}: too many are held"));
        }
        let held_as = HeldAs::Stored { name: name.clone(), polled: *polled };
        stored.id = self.entrust(unit, held_as, vec![Rc::clone(&stored.fd)]);
        self.poll_stored(unit, &mut stored);
        if let Some(held) = self.units.entry(unit) {
            held.stored.push(stored);
        }
    }

    /// Closes those of a unit.
    pub(super) fn close_stored(&mut self, unit: &UnitName, which: impl Fn(&Stored) -> bool) {
        let Some(held) = self.units.get_mut(unit) else { return };
        let closed: Vec<Stored> = held.stored.extract_if(.., |stored| which(stored)).collect();
        let were_kept = closed.iter().any(Stored::is_services_own);
        for stored in closed {
            if let Some(token) = stored.token {
                self.watched.remove(&token);
                // The service may have it open still, so closing ours would not remove it.
                let _removed = self.poller.remove(&stored.fd);
            }
            self.withdraw(unit, |descriptor| Some(descriptor.id) == stored.id);
        }
        if were_kept {
            self.tell_kept(unit);
        }
    }

    /// Waits for the other side of all that is held to hang up.
    pub(super) fn poll_all_stored(&mut self) {
        let units: Vec<UnitName> = self.units.iter().map(|(unit, _)| unit.clone()).collect();
        for unit in units {
            let Some(held) = self.units.get_mut(&unit) else { continue };
            let mut all = std::mem::take(&mut held.stored);
            all.iter_mut().for_each(|stored| self.poll_stored(&unit, stored));
            if let Some(held) = self.units.get_mut(&unit) {
                held.stored = all;
            }
        }
    }

    fn poll_stored(&mut self, unit: &UnitName, stored: &mut Stored) {
        if !stored.polled || stored.token.is_some() {
            return;
        }
        // What cannot be waited for is kept all the same.
        let token = self.next_token;
        if self.poller.add_for_end(&stored.fd, token).is_ok_and(|waits| waits) {
            self.next_token += 1;
            self.watched.insert(token, Watched::Stored(unit.clone()));
            stored.token = Some(token);
        }
    }

    /// The other side of a descriptor has hung up.
    pub(super) fn stored_ended(&mut self, unit: &UnitName, token: u64) {
        self.close_stored(unit, |stored| stored.token == Some(token));
    }
}
