//! What the manager is told.
use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use super::{
    link::{Frame, Inlet, LinkError, Sent},
    turn::{Keeper, Manager},
};
use crate::{
    base::{Mono, TimeSpan},
    sys::{Interest, PacketSocket, clock},
    wire::keeper::{Fact, UnitRecord, VERSION},
};

/// When sending is tried again though nobody says that there is room.
const RETRY: Duration = Duration::from_millis(10);

impl Manager {
    pub(super) fn new(socket: PacketSocket) -> Self {
        Self {
            socket,
            inlet: Inlet::new(),
            greeted: false,
            outlet: VecDeque::new(),
            queued: 0,
            hurries: false,
            retry: None,
            waiting: (Interest::Yes, Interest::No),
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn push(&mut self) -> Result<(), LinkError> {
        self.retry = None;
        while let Some(frame) = self.outlet.front() {
            match frame.send(&self.socket)? {
                Sent::Whole => {
                    self.queued -= frame.messages;
                    self.outlet.pop_front();
                }
                Sent::Full => break,
                Sent::Later => {
                    self.retry = after(clock::mono(), RETRY);
                    break;
                }
            }
        }
        self.hurries = !self.outlet.is_empty();
        Ok(())
    }
}

fn after(moment: Mono, span: Duration) -> Option<Mono> {
    moment.after(TimeSpan::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
}

impl Keeper {
    /// Queues a fact for the manager; before its greeting it is left out, as the snapshot will say it.
    pub(super) fn tell(&mut self, fact: &Fact, fds: Vec<Rc<OwnedFd>>) {
        self.tell_at_calm(fact, fds);
        if let Some(manager) = &mut self.manager {
            manager.hurries = !manager.outlet.is_empty();
        }
    }

    /// As [`Self::tell`], but it does not leave before there is calm or another fact.
    pub(super) fn tell_at_calm(&mut self, fact: &Fact, fds: Vec<Rc<OwnedFd>>) {
        let Some(manager) = self.manager.as_mut().filter(|manager| manager.greeted) else { return };
        manager.queued += 1;
        if fds.is_empty() && manager.outlet.back_mut().is_some_and(|frame| frame.add(fact)) {
            return;
        }
        match Frame::new(fact, fds) {
            Ok(frame) => manager.outlet.push_back(frame),
            Err(_) => self.lose_manager(),
        }
    }

    /// What could not be had, for people.
    fn degraded(&self) -> Vec<String> {
        let mut lacking = self.ceiling.degraded();
        if self.mirror.as_ref().is_none_or(|mirror| mirror.incomplete) {
            lacking.push("what runs is not written down: a keeper that dies leaves it unknown".to_owned());
        }
        if self.init.incomplete {
            lacking.push("not every descriptor is with the init system: a keeper that dies loses it".to_owned());
        }
        lacking
    }

    /// Tells the manager everything that is held.
    pub(super) fn tell_snapshot(&mut self, version: u16) {
        let begin = Fact::SnapshotBegin {
            version: VERSION,
            cause: self.cause,
            keeper: std::process::id(),
            degraded: self.degraded(),
        };
        self.tell(&begin, Vec::new());
        if version != VERSION {
            return;
        }
        let mut facts: Vec<(Fact, Vec<Rc<OwnedFd>>)> = Vec::new();
        facts.extend(self.processes.iter().map(|process| (Fact::Process(process.record()), Vec::new())));
        for (unit, held) in self.units.iter() {
            let (unit, memo) = (unit.clone(), held.memo.to_vec());
            let record = UnitRecord { unit: unit.clone(), generation: held.generation, memo };
            facts.push((Fact::Unit(record), Vec::new()));
            for stored in &held.stored {
                let (name, fd) = (stored.name.clone(), Rc::clone(&stored.fd));
                facts.push((Fact::Stored { unit: unit.clone(), name }, vec![fd]));
            }
            for (stream, log) in &held.logs {
                let pipe = Fact::LogPipe { unit: unit.clone(), stream: *stream, bytes: log.bytes };
                facts.push((pipe, vec![Rc::clone(&log.reader)]));
            }
        }
        facts.extend(self.ledger.tell_all());
        facts.push((Fact::SnapshotEnd, Vec::new()));
        for (fact, fds) in facts {
            self.tell(&fact, fds);
        }
    }

    /// Ends the conversation with a manager that hung up, or cannot be understood, and the manager.
    pub(super) fn lose_manager(&mut self) {
        self.hang_up();
        if let Some(act) = self.life.lost() {
            self.act(act);
        }
    }

    pub(super) fn hang_up(&mut self) {
        if let Some(manager) = self.manager.take() {
            // It may not be there any more; closing it removes it as well.
            let _removed = self.poller.remove(manager.socket.as_fd());
        }
    }
}
