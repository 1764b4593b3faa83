//! Listening sockets of units: bound when first needed, held by the keeper for good, watched while the service is down.
//!
//! The keeper's copy is the one that lasts. Ours serves to set the socket up anew, to wait for traffic, and to give its
//! address back at once.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::libc;

use super::{Engine, dispatch::Unprepared};
use crate::{
    base::{Chain, SpawnFailure, SpawnStep, UnitName},
    edge::{
        clock,
        listen::{self, Owner},
        traffic::Traffic,
    },
    keeper::client::ClientError,
    node::Input,
    unit::{
        UnitDef,
        spec::{Listen, SocketOptions, SocketSpec},
    },
    wire::keeper::Order,
};

/// Who owns the files of sockets, by user and group as units write them; looked up when the units were loaded.
pub(super) type Owners = BTreeMap<(Option<Box<str>>, Option<Box<str>>), Owner>;

/// What is held, and what is waited for.
#[derive(Debug)]
pub(super) struct Sockets {
    held: BTreeMap<UnitName, Vec<Held>>,
    pub(super) owners: Owners,
    pub(super) traffic: Traffic,
    /// Of no unit: the API's.
    pub(super) control: Option<OwnedFd>,
}

/// A socket that the keeper holds under its key.
#[derive(Debug)]
struct Held {
    key: String,
    /// As it was set up last.
    spec: SocketSpec,
    fd: OwnedFd,
}

impl Held {
    fn release(&self) {
        listen::release(&self.fd, &self.spec);
    }
}

impl Sockets {
    /// Holds nothing yet. Must be called within a runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { held: BTreeMap::new(), owners: Owners::new(), traffic: Traffic::new()?, control: None })
    }

    /// Takes over a descriptor that the keeper holds, if it is a socket of ours: only their names have a colon.
    pub(super) fn adopt(&mut self, name: &UnitName, unit: Option<&UnitDef>, key: &str, fd: &OwnedFd) {
        if !key.contains(':') {
            return;
        }
        let known = unit.and_then(|unit| unit.sockets.list.iter().find(|spec| spec.key() == key));
        let spec = known.cloned().or_else(|| SocketSpec::from_key(key));
        if let (Some(spec), Ok(fd)) = (spec, fd.try_clone()) {
            self.held.entry(name.clone()).or_default().push(Held { key: key.to_owned(), spec, fd });
        }
    }

    /// Throws away what waits for a service that has ended, where its unit says so.
    pub(super) fn flush(&self, unit: &UnitName) {
        for held in self.held.get(unit).into_iter().flatten().filter(|held| held.spec.options.flush_pending) {
            if let Err(error) = listen::flush(&held.fd, &held.spec.listen) {
                tracing::warn!(unit = %unit, %error, "cannot throw away what waits in a socket");
            }
        }
    }

    /// What is held for a unit, with what it listens on.
    pub(super) fn held_by(&self, unit: &UnitName) -> impl Iterator<Item = (BorrowedFd<'_>, &Listen)> {
        self.held.get(unit).into_iter().flatten().map(|held| (held.fd.as_fd(), &held.spec.listen))
    }

    /// Waits for traffic on what is held for a unit.
    pub(super) fn watch(&mut self, unit: &UnitName) -> io::Result<()> {
        let fds = self.held.get(unit).into_iter().flatten().map(|held| held.fd.as_fd());
        self.traffic.watch(unit, fds)
    }

    fn owner(&self, options: &SocketOptions) -> Owner {
        let key = (options.user.clone(), options.group.clone());
        self.owners.get(&key).copied().unwrap_or_default()
    }

    fn holds(&self, name: &UnitName, key: &str) -> bool {
        self.held.get(name).is_some_and(|all| all.iter().any(|held| held.key == key))
    }

    /// Sets up anew what is held and is written otherwise by now.
    fn configure(&mut self, name: &UnitName, unit: &UnitDef) {
        for spec in &unit.sockets.list {
            let owner = self.owner(&spec.options);
            let key = spec.key();
            let all = self.held.get_mut(name);
            let Some(held) = all.and_then(|all| all.iter_mut().find(|held| held.key == key)) else { continue };
            if held.spec != *spec {
                complain(name, &key, listen::configure(&held.fd, &held.spec, spec, owner));
                held.spec = spec.clone();
            }
        }
    }
}

fn complain(unit: &UnitName, socket: &str, complaints: Vec<String>) {
    for reason in complaints {
        tracing::warn!(unit = %unit, socket, reason, "the host refuses an option of a socket; it listens without");
    }
}

impl Engine {
    /// Everything that the unit's next service is to inherit, bound and set up. Nobody serves the sockets now, so what the
    /// unit no longer has makes room first.
    pub(super) fn open_sockets(&mut self, name: &UnitName, unit: &UnitDef) -> Result<(), Unprepared> {
        if unit.sockets.list.is_empty() && !self.sockets.held.contains_key(name) {
            return Ok(());
        }
        self.close_unwanted(name, unit, Held::release).map_err(Unprepared::Keeper)?;
        self.bind_missing(name, unit)?;
        self.sockets.configure(name, unit);
        for held in self.sockets.held.get(name).into_iter().flatten() {
            // A service blocks; we do not.
            if let Err(error) = listen::set_blocking(&held.fd, unit.sockets.connection_limits().is_none()) {
                tracing::warn!(unit = %name, socket = held.key, %error, "cannot let a socket block");
            }
        }
        Ok(())
    }

    /// The unit's file changed: new addresses are bound first, what it no longer has is closed afterwards, and what stays
    /// is never closed. A service that runs goes on with what it inherited. What cannot be bound now is tried again at the
    /// next start.
    pub(super) fn renew_sockets(&mut self, name: &UnitName, unit: &UnitDef) -> Result<(), ClientError> {
        if !self.sockets.held.contains_key(name) {
            return Ok(());
        }
        match self.bind_missing(name, unit) {
            Ok(()) => self.close_unwanted(name, unit, |held| listen::remove_file(&held.spec))?,
            Err(Unprepared::Keeper(error)) => return Err(error),
            Err(Unprepared::Failed(..)) => {
                tracing::warn!(unit = %name, "its old sockets stay; the new ones are bound at its next start");
            }
        }
        self.sockets.configure(name, unit);
        Ok(())
    }

    /// The unit is down until there is traffic on any of its sockets.
    pub(super) fn listen(&mut self, name: &UnitName, unit: &UnitDef) -> Result<(), ClientError> {
        if unit.sockets.connection_limits().is_some() {
            self.connections.listens(name);
        }
        let opened = self.open_sockets(name, unit).and_then(|()| {
            self.sockets.watch(name).map_err(|error| {
                tracing::error!(unit = %name, %error, "cannot wait for traffic");
                Unprepared::Failed(failure(&error), format!("cannot wait for traffic: {error}"))
            })
        });
        match opened {
            Ok(()) if unit.sockets.connection_limits().is_some() => {
                self.node.handle(clock::now(), Input::Listens { unit: name.clone() });
            }
            Ok(()) => {}
            Err(Unprepared::Keeper(error)) => return Err(error),
            Err(Unprepared::Failed(failure, _)) => {
                self.node.handle(clock::now(), Input::ListenFailed { unit: name.clone(), failure });
            }
        }
        Ok(())
    }

    /// Gives everything back.
    pub(super) fn release_sockets(&mut self, name: &UnitName) -> Result<(), ClientError> {
        self.sockets.traffic.unwatch(name);
        for held in self.sockets.held.remove(name).unwrap_or_default() {
            held.release();
            self.keeper.send(&Order::Forget { unit: name.clone(), name: held.key }, Vec::new())?;
        }
        Ok(())
    }

    /// Closes what the unit no longer has, after `part` of it.
    fn close_unwanted(&mut self, name: &UnitName, unit: &UnitDef, part: fn(&Held)) -> Result<(), ClientError> {
        let Some(all) = self.sockets.held.get_mut(name) else { return Ok(()) };
        let wanted: Vec<String> = unit.sockets.list.iter().map(SocketSpec::key).collect();
        let unwanted: Vec<Held> = all.extract_if(.., |held| !wanted.contains(&held.key)).collect();
        for held in unwanted {
            part(&held);
            self.keeper.send(&Order::Forget { unit: name.clone(), name: held.key }, Vec::new())?;
        }
        Ok(())
    }

    /// Binds what is not held yet, and gives it to the keeper for good.
    fn bind_missing(&mut self, name: &UnitName, unit: &UnitDef) -> Result<(), Unprepared> {
        for spec in &unit.sockets.list {
            let key = spec.key();
            if self.sockets.holds(name, &key) {
                continue;
            }
            let opened = listen::open(spec, self.sockets.owner(&spec.options)).map_err(|error| {
                tracing::error!(unit = %name, error = %Chain(&error), "cannot open a socket");
                Unprepared::Failed(failure(&error.source), Chain(&error).to_string())
            })?;
            complain(name, &key, opened.complaints);
            let unshared = |error| Unprepared::Failed(failure(&error), format!("cannot keep socket {key}: {error}"));
            let kept = opened.fd.try_clone().map_err(unshared)?;
            let order = Order::Store { unit: name.clone(), name: key.clone() };
            self.keeper.send(&order, vec![kept]).map_err(Unprepared::Keeper)?;
            let held = Held { key, spec: spec.clone(), fd: opened.fd };
            self.sockets.held.entry(name.clone()).or_default().push(held);
        }
        Ok(())
    }
}

fn failure(error: &io::Error) -> SpawnFailure {
    SpawnFailure { step: SpawnStep::Prepare, errno: error.raw_os_error().unwrap_or(libc::EADDRINUSE) }
}
