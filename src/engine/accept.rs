//! Connections of units that accept: each is taken, let in or refused by the machine, made an instance of, and handed to
//! the keeper before its service is ordered.
//!
//! One at a time, behind everything that the keeper tells: however many clients there are, no restart waits for more than
//! one of them. Nothing is read from a disk: instances are made from the texts in force. What is told of an instance is
//! written down as a run of its template, so that nothing grows with the number of connections; the keeper forgets an
//! instance when the row of its end is committed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::libc;

use super::{Engine, handle::Report};
use crate::{
    base::{Mono, Notice, SpawnFailure, SpawnStep, TimeSpan, UnitName},
    edge::{clock, listen, users::Identity},
    keeper::client::ClientError,
    node::{
        Input,
        effect::{HangUp, SpawnOrder},
        input::Restored,
    },
    unit::{Acceptor, UnitDef, connection::Ends},
    wire::keeper::Order,
};

/// Under this name the keeper holds an instance's connection. No service can name one so, and no socket.
pub(super) const STORED: &str = "connection:";
/// After an error of the host's, such as no free descriptor, the next connection is taken so much later.
const RETRY: Duration = Duration::from_secs(1);
/// Instances whose last row is not on disk; with more of them, connections wait.
const LEAVING_MAX: usize = 4096;
/// Refusals are logged so often at most; `status` counts them all.
const COMPLAINT_EVERY: TimeSpan = TimeSpan::from_secs(1);

/// What is known of connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The templates in force that accept.
    acceptors: BTreeMap<UnitName, Arc<Acceptor>>,
    /// Those that ever did: whose instances' happenings are told as theirs.
    folded: BTreeSet<UnitName>,
    /// Those that are waited for, and at which of its sockets the next look begins.
    listening: BTreeMap<UnitName, usize>,
    /// The connection that the machine is asked about.
    asked: Option<(OwnedFd, Ends)>,
    /// Instances that are over, and the last row that tells of each, oldest first.
    leaving: VecDeque<(u64, UnitName)>,
    complained: Option<Mono>,
    /// The interfaces of link-local clients, by instance; most have none.
    scopes: BTreeMap<UnitName, String>,
}

impl Connections {
    /// The templates that accept from now on.
    pub(super) fn take(&mut self, acceptors: BTreeMap<UnitName, Arc<Acceptor>>) {
        self.folded.extend(acceptors.keys().cloned());
        self.acceptors = acceptors;
    }

    pub(super) fn listens(&mut self, unit: &UnitName) {
        self.listening.entry(unit.clone()).or_default();
    }

    pub(super) fn listens_no_more(&mut self, unit: &UnitName) {
        self.listening.remove(unit);
    }

    pub(super) fn is_listening(&self, unit: &UnitName) -> bool {
        self.listening.contains_key(unit)
    }

    /// Whether connections make the instances of this template.
    pub(super) fn accepts(&self, template: &UnitName) -> bool {
        self.acceptors.contains_key(template)
    }

    /// As it is written down: of an instance, as a happening of its template.
    pub(super) fn fold(&self, notice: &Notice) -> Option<Notice> {
        let template = notice.what.unit()?.template().filter(|template| self.folded.contains(template))?;
        let mut folded = notice.clone();
        *folded.what.unit_mut()? = template;
        Some(folded)
    }

    /// Adds to what an instance is told of its client what its name does not say.
    pub(super) fn complete(&self, order: &mut SpawnOrder) {
        let Some(scope) = self.scopes.get(&order.key.run.unit) else { return };
        for (_, address) in order.environment.iter_mut().filter(|(name, _)| name == "REMOTE_ADDR") {
            address.push('%');
            address.push_str(scope);
        }
    }

    fn note_scope(&mut self, instance: &UnitName, connection: BorrowedFd<'_>) {
        if let Some(scope) = listen::scope(connection) {
            self.scopes.insert(instance.clone(), scope);
        }
    }

    /// It is over; `seq` is the last row that tells of it.
    pub(super) fn leaves(&mut self, seq: u64, unit: UnitName) {
        self.leaving.push_back((seq, unit));
    }

    /// Who can be forgotten now that all rows up to `seq` are on disk.
    pub(super) fn left(&mut self, seq: u64) -> Option<UnitName> {
        self.leaving.pop_front_if(|(of, _)| *of <= seq).map(|(_, unit)| unit)
    }
}

impl Engine {
    /// A socket of a unit has traffic.
    pub(super) fn traffic(&mut self, unit: UnitName) -> Result<(), ClientError> {
        if !self.connections.is_listening(&unit) {
            self.node.handle(clock::now(), Input::Traffic { unit });
            return Ok(());
        }
        match self.next_connection(&unit) {
            Ok(None) => {}
            Ok(Some((fd, ends))) => {
                self.connections.asked = Some((fd, ends));
                self.node.handle(clock::now(), Input::Connected { unit: unit.clone(), source: ends.source() });
                self.drain()?;
                self.connections.asked = None;
            }
            Err(error) if is_shortage(&error) => {
                tracing::warn!(unit = %unit, %error, "cannot take a connection now; clients wait");
                self.accept_later(unit);
                return Ok(());
            }
            Err(error) => {
                tracing::error!(unit = %unit, %error, "cannot take connections");
                let failure =
                    SpawnFailure { step: SpawnStep::Prepare, errno: error.raw_os_error().unwrap_or(libc::EIO) };
                self.node.handle(clock::now(), Input::ListenFailed { unit, failure });
                return Ok(());
            }
        }
        self.accept_again(&unit);
        Ok(())
    }

    /// The next connection of any of the unit's sockets, each in its turn.
    fn next_connection(&mut self, unit: &UnitName) -> io::Result<Option<(OwnedFd, Ends)>> {
        if self.connections.leaving.len() >= LEAVING_MAX {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let Some(next) = self.connections.listening.get_mut(unit) else { return Ok(None) };
        let count = self.sockets.held_by(unit).count();
        for at in (0..count).map(|step| (*next + step) % count) {
            let Some((fd, listen)) = self.sockets.held_by(unit).nth(at) else { continue };
            if let Some(accepted) = listen::accept(fd, listen)? {
                *next = at + 1;
                return Ok(Some(accepted));
            }
        }
        Ok(None)
    }

    /// Waits for the next connection, if the unit still listens.
    pub(super) fn accept_again(&mut self, unit: &UnitName) {
        if !self.connections.is_listening(unit) {
            return;
        }
        if let Err(error) = self.sockets.watch(unit) {
            tracing::warn!(unit = %unit, %error, "cannot wait for connections now; clients wait");
            self.accept_later(unit.clone());
        }
    }

    fn accept_later(&self, unit: UnitName) {
        let reporter = self.reporter.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(RETRY).await;
            // Nobody listens once the daemon ends.
            reporter.send(Report::AcceptAgain(unit)).ok();
        });
    }

    /// Makes the instance for the connection that the machine was asked about.
    pub(super) fn make_connection(&mut self, template: &UnitName, number: u64) -> Result<(), ClientError> {
        let Some((fd, ends)) = self.connections.asked.take() else { return Ok(()) };
        let instance = self.connections.acceptors.get(template).and_then(|of| of.instance(&ends.instance(number)));
        let Some(def) = instance.filter(|def| self.has_user_of(template, def)) else {
            // It is closed here.
            tracing::error!(unit = %template, "cannot make an instance for a connection: its user, say, would be another");
            return Ok(());
        };
        let def = self.know_connection(template, def);
        self.connections.note_scope(&def.name, fd.as_fd());
        self.keeper.send(&Order::Store { unit: def.name.clone(), name: STORED.to_owned() }, vec![fd])?;
        self.node.handle(clock::now(), Input::Instance { number, def });
        Ok(())
    }

    /// Users are looked up when units are loaded, and never for a connection.
    fn has_user_of(&self, template: &UnitName, def: &UnitDef) -> bool {
        let user = |def: &UnitDef| {
            let exec = &def.service.exec;
            (exec.user.clone(), exec.group.clone(), exec.supplementary_groups.clone())
        };
        self.units.get(template).is_some_and(|of| user(of) == user(def))
    }

    fn know_connection(&mut self, template: &UnitName, def: UnitDef) -> Arc<UnitDef> {
        let def = Arc::new(def);
        self.units.insert(def.name.clone(), Arc::clone(&def));
        if let Some(identity) = self.identities.get(template).cloned() {
            self.identities.insert(def.name.clone(), identity);
        }
        def
    }

    /// The units in force, and the instances that an earlier manager made: those that run, and those that the keeper has
    /// something of.
    pub(super) fn with_connections(
        &mut self,
        stored: &[(UnitName, String, OwnedFd)],
        restored: &Restored,
    ) -> BTreeMap<UnitName, Arc<UnitDef>> {
        let living = restored.processes.iter().map(|process| &process.key.run.unit);
        let names: BTreeSet<&UnitName> =
            restored.memos.keys().chain(living).chain(stored.iter().map(|(unit, ..)| unit)).collect();
        for (unit, _, fd) in stored.iter().filter(|(_, name, _)| name == STORED) {
            self.connections.note_scope(unit, fd.as_fd());
        }
        for name in names {
            let Some(template) = name.template() else { continue };
            let def = self.connections.acceptors.get(&template).and_then(|of| of.instance_named(name.clone()));
            def.map(|def| self.know_connection(&template, def));
        }
        self.units.clone()
    }

    /// Whom each unit of a new set runs as; instances go on as they were.
    pub(super) fn take_identities(&mut self, identities: BTreeMap<UnitName, Arc<Identity>>) {
        let is_connection = |name: &UnitName| self.units.get(name).is_some_and(|def| def.sockets.is_connection());
        let before = std::mem::replace(&mut self.identities, identities);
        self.identities.extend(before.into_iter().filter(|(name, _)| is_connection(name)));
    }

    /// A connection is closed at once, with what the machine was asked about.
    pub(super) fn hang_up(&mut self, unit: &UnitName, reason: HangUp) {
        self.connections.asked = None;
        let now = clock::now().mono;
        let is_due = |last: Mono| last.after(COMPLAINT_EVERY).is_some_and(|due| due <= now);
        if self.connections.complained.is_none_or(is_due) {
            self.connections.complained = Some(now);
            let reason = match reason {
                HangUp::NotListening => "the unit stops",
                HangUp::TriggerLimit => "trigger limit",
                HangUp::MaxConnections => "max_connections",
                HangUp::MaxConnectionsPerSource => "max_connections_per_source",
            };
            tracing::warn!(unit = %unit, reason, "a connection was refused; there may be more");
        }
    }

    /// Closes what a unit listens on, or the connection of an instance.
    pub(super) fn release(&mut self, unit: &UnitName) -> Result<(), ClientError> {
        if self.close_connection(unit)? { Ok(()) } else { self.release_sockets(unit) }
    }

    /// Closes the connection of an instance; whether it is one.
    pub(super) fn close_connection(&mut self, unit: &UnitName) -> Result<bool, ClientError> {
        if !self.units.get(unit).is_some_and(|def| def.sockets.is_connection()) {
            return Ok(false);
        }
        self.keeper.send(&Order::Forget { unit: unit.clone(), name: STORED.to_owned() }, Vec::new())?;
        Ok(true)
    }

    /// The instance is over: its last memo leaves, and the keeper forgets it once its rows are on disk.
    pub(super) fn forget_connection(&mut self, unit: UnitName) -> Result<(), ClientError> {
        self.tell_memo(&unit)?;
        self.units.remove(&unit);
        self.identities.remove(&unit);
        self.connections.scopes.remove(&unit);
        self.untold.leave(unit);
        Ok(())
    }

    /// All rows up to `seq` are on disk.
    pub(super) fn drop_connections(&mut self, seq: u64) -> Result<(), ClientError> {
        while let Some(unit) = self.connections.left(seq) {
            self.keeper.send(&Order::DropInstance { unit }, Vec::new())?;
        }
        Ok(())
    }
}

/// Whether the host is short of something, which passes.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
