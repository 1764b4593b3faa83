//! Descriptors that services keep with us over their restarts (FDSTORE=1, sd_pid_notify_with_fds(3)). The keeper has them, counts
//! them and knows one that it has already; here is what units and messages say of them.

use std::os::fd::OwnedFd;

use super::{Engine, boot::CONTROL_UNIT, config};
use crate::{
    base::UnitName, edge::notify::Datagram, keeper::client::ClientError, node::status::Active, unit::spec::Preserve,
    wire::keeper::Order,
};

/// The name of those that come without one.
const NAME_DEFAULT: &str = "stored";

impl Engine {
    /// Takes over the sockets that we bound and the keeper holds, with what the files have made of them meanwhile.
    pub(super) fn adopt_descriptors(
        &mut self,
        host: &config::Host,
        stored: &[(UnitName, String, OwnedFd)],
    ) -> Result<(), ClientError> {
        for (of, name, fd) in stored.iter().filter(|(of, ..)| of.as_str() != CONTROL_UNIT) {
            let unit = host.units.get(of);
            self.sockets.adopt(of, unit.map(|unit| &**unit), name, fd);
            self.adopt_kept(of, name);
        }
        self.sockets.owners = host.owners.clone();
        host.units.iter().try_for_each(|(name, unit)| self.renew_sockets(name, unit))
    }

    /// FDSTORE=1 and FDSTOREREMOVE=1, within what the unit allows.
    pub(super) fn keep_descriptors(
        &mut self,
        unit: &UnitName,
        datagram: &Datagram,
        fds: Vec<OwnedFd>,
    ) -> Result<(), ClientError> {
        if let Some(name) = datagram.fd_name.clone().filter(|_| datagram.fd_store_remove) {
            self.keeper.send(&Order::Forget { unit: unit.clone(), name }, Vec::new())?;
        }
        if !datagram.fd_store || fds.is_empty() {
            return Ok(());
        }
        let max = self.units.get(unit).map_or(0, |unit| u32::from(unit.service.file_descriptor_store_max));
        if max == 0 || self.has_released(unit) {
            tracing::warn!(unit = %unit, count = fds.len(), max, "the unit keeps no descriptors; they were closed");
            return Ok(());
        }
        let name = datagram.fd_name.as_deref().unwrap_or(NAME_DEFAULT);
        let polled = !datagram.fd_unpolled;
        for fd in fds {
            let order = Order::Keep { unit: unit.clone(), name: name.to_owned(), max, polled };
            self.keeper.send(&order, vec![fd])?;
        }
        Ok(())
    }

    /// One that the keeper had when this manager began. Names of our own have a colon.
    pub(super) fn adopt_kept(&mut self, unit: &UnitName, name: &str) {
        if !name.contains(':') {
            *self.kept.entry(unit.clone()).or_default() += 1;
        }
    }

    /// What a service keeps is more or less now.
    pub(super) fn note_kept(&mut self, unit: UnitName, count: u32) {
        match count {
            0 => drop(self.kept.remove(&unit)),
            count => drop(self.kept.insert(unit, count)),
        }
    }

    /// Whether what the unit kept was closed with its end. A message that is told to the manager after the one that knew of
    /// that end must not bring it back.
    fn has_released(&self, unit: &UnitName) -> bool {
        let preserve = self.units.get(unit).map(|unit| unit.service.file_descriptor_store_preserve);
        let is_down = matches!(self.node.active(unit), None | Some(Active::Inactive | Active::Failed));
        is_down && preserve != Some(Preserve::Yes)
    }
}
