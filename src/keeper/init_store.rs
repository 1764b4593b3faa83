//! What must outlive the keeper too is also in the descriptor store of the init system above us (`FDSTORE=1`, sd_notify(3)).
//! Without one, or where it had no room, the next keeper looks for it in the processes that it takes over (`adopt.rs`).
//!
//! systemd hands it to the next keeper (`LISTEN_FDS`), which finds in the mirror what each was. The name there is `rm` and
//! a number in hexadecimal. systemd joins all names in one variable, and exec fails when that has more than 128 KiB
//! (MAX_ARG_STRLEN, execve(2)), so [`HELD_MAX`] names of units would not fit, nor is every name of a unit allowed there.
use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use super::{
    holdings::{Log, Stored},
    link::PASSING_ERRORS,
    turn::Keeper,
};
use crate::{
    base::{Mono, TimeSpan, UnitName},
    sys::{FileId, Inherited, clock, file_id, is_write_end, tell_init},
    wire::keeper::{HeldAs, MirroredDescriptor},
};

/// Most descriptors that are handed over; `FileDescriptorStoreMax=` of our unit is the same. Their
/// names, each with a colon, have 90 KiB at most.
const HELD_MAX: usize = 8192;
/// Most that is taken from LISTEN_FDS: ours, and as many as socket units may add.
pub(super) const LISTEN_FDS_MAX: usize = 2 * HELD_MAX;
/// Most messages that wait for an init system that is slow to read: everything put, removed, and put again.
const WAITING_MAX: usize = 3 * HELD_MAX;
/// When sending is tried again: nobody says when there is room.
const RETRY: TimeSpan = TimeSpan::from_millis(10);
/// What our names begin with.
const PREFIX: &str = "rm";

/// The conversation with the init system, and what it holds of ours.
#[derive(Debug, Default)]
pub(super) struct InitStore {
    /// Its notify socket ($NOTIFY_SOCKET); without one nothing is handed over.
    address: Option<OsString>,
    waiting: VecDeque<Message>,
    held: BTreeMap<UnitName, Vec<Held>>,
    /// How many descriptors it has.
    descriptors: usize,
    next_id: u32,
    /// Whether something could not be handed over.
    pub(super) incomplete: bool,
}

/// What is held for a unit, as it is written down.
#[derive(Debug)]
struct Held {
    descriptor: MirroredDescriptor,
    /// Whether the init system has it too.
    is_entrusted: bool,
}

#[derive(Debug)]
struct Message {
    text: Vec<u8>,
    fds: Vec<Rc<OwnedFd>>,
}

impl InitStore {
    pub(super) fn new(address: Option<OsString>) -> Self {
        Self { address, ..Self::default() }
    }

    /// Tells the init system something, after what waits already.
    ///
    /// # Errors
    /// When nobody listens there, or too much waits.
    pub(super) fn tell(&mut self, text: Vec<u8>, fds: Vec<Rc<OwnedFd>>) -> io::Result<()> {
        let message = Message { text, fds };
        if self.waiting.is_empty() && self.send(&message)? {
            return Ok(());
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.waiting.push_back(message);
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            match self.send(message) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => self.incomplete = true,
            }
            self.waiting.pop_front();
        }
    }

    /// When [`InitStore::flush`] is worth a try.
    pub(super) fn deadline(&self) -> Option<Mono> {
        if self.waiting.is_empty() { None } else { clock::mono().after(RETRY) }
    }

    /// Whether there was room.
    fn send(&self, message: &Message) -> io::Result<bool> {
        let Some(address) = &self.address else { return Ok(true) };
        let fds: Vec<_> = message.fds.iter().map(AsFd::as_fd).collect();
        match tell_init(address, &message.text, &fds) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.raw_os_error().is_some_and(|errno| PASSING_ERRORS.contains(&errno)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Counts one as held, which stays so until it is removed; `None` when there are no numbers left.
    fn begin(&mut self, unit: &UnitName, held_as: HeldAs, file: FileId) -> Option<MirroredDescriptor> {
        let id = self.next_id;
        self.next_id = id.checked_add(1)?;
        let descriptor = MirroredDescriptor { id, unit: unit.clone(), held_as, device: file.device, inode: file.inode };
        Some(descriptor)
    }

    /// Whether the init system can have that many more.
    fn has_room(&mut self, count: usize) -> bool {
        let has_room = self.descriptors + count <= HELD_MAX;
        self.incomplete |= self.address.is_some() && !has_room;
        self.address.is_some() && has_room
    }

    fn count(&mut self, descriptor: MirroredDescriptor, is_entrusted: bool) {
        if is_entrusted {
            self.descriptors += count(&descriptor.held_as);
        }
        let held = self.held.entry(descriptor.unit.clone()).or_default();
        // Most units have one or two.
        held.reserve_exact(1);
        held.push(Held { descriptor, is_entrusted });
    }

    /// FDPOLL=0: by default systemd drops a pipe or connection whose other side hung up.
    fn put(&mut self, id: u32, fds: Vec<Rc<OwnedFd>>) {
        let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={PREFIX}{id:x}");
        self.incomplete |= self.tell(text.into_bytes(), fds).is_err();
    }

    /// One that cannot be removed comes back without a record, and is removed then.
    fn remove(&mut self, id: u32) {
        let text = format!("FDSTOREREMOVE=1\nFDNAME={PREFIX}{id:x}");
        let _told = self.tell(text.into_bytes(), Vec::new());
    }

    /// Removes those of a unit; their numbers.
    fn withdraw(&mut self, unit: &UnitName, which: impl Fn(&MirroredDescriptor) -> bool) -> Vec<u32> {
        let Some(held) = self.held.get_mut(unit) else { return Vec::new() };
        let gone: Vec<_> = held.extract_if(.., |held| which(&held.descriptor)).collect();
        if held.is_empty() {
            self.held.remove(unit);
        }
        for Held { descriptor, .. } in gone.iter().filter(|held| held.is_entrusted) {
            self.descriptors -= count(&descriptor.held_as);
            self.remove(descriptor.id);
        }
        gone.into_iter().map(|held| held.descriptor.id).collect()
    }

    /// Numbers up to this one are not given again: what bears one may still be in the store.
    fn is_used(&mut self, id: u32) {
        self.next_id = self.next_id.max(id.saturating_add(1));
    }
}

/// How many descriptors bear one name.
const fn count(held_as: &HeldAs) -> usize {
    match held_as {
        HeldAs::Stored { .. } => 1,
        HeldAs::Log { .. } => 2,
    }
}

fn id_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok()
}

impl Keeper {
    /// Writes down what is held for a unit from now on, and hands it to the init system; its number.
    pub(super) fn entrust(&mut self, unit: &UnitName, held_as: HeldAs, fds: Vec<Rc<OwnedFd>>) -> Option<u32> {
        let file = fds.first().and_then(|fd| file_id(fd.as_fd()).ok())?;
        let descriptor = self.init.begin(unit, held_as, file)?;
        let id = descriptor.id;
        let is_entrusted = self.init.has_room(fds.len());
        // Written down first: what comes back unknown is closed.
        if let Some(mirror) = &mut self.mirror {
            mirror.put_descriptor(&descriptor);
        }
        if is_entrusted {
            self.init.put(descriptor.id, fds);
        }
        self.init.count(descriptor, is_entrusted);
        Some(id)
    }

    /// Takes from the init system what is no longer held for a unit.
    pub(super) fn withdraw(&mut self, unit: &UnitName, which: impl Fn(&MirroredDescriptor) -> bool) {
        for id in self.init.withdraw(unit, which) {
            if let Some(mirror) = &mut self.mirror {
                mirror.remove_descriptor(id);
            }
        }
    }

    /// After a deliberate end nothing comes back: what there was no time to remove has no record any more.
    pub(super) fn withdraw_all(&mut self) {
        let units: Vec<UnitName> = self.init.held.keys().cloned().collect();
        units.iter().for_each(|unit| self.withdraw(unit, |_| true));
    }

    /// Puts back where it belongs what the keeper before has entrusted, and what processes that were taken over hold of the
    /// rest; what is left is closed.
    pub(super) fn take_back(&mut self, left: Vec<MirroredDescriptor>, passed: Vec<Inherited>) {
        let mut back: BTreeMap<u32, Vec<OwnedFd>> = BTreeMap::new();
        for Inherited { name, fd } in passed {
            // Another name is that of a socket unit; we take none.
            if let Some(id) = id_of(&name) {
                back.entry(id).or_default().push(fd);
            }
        }
        let mut left: BTreeMap<u32, _> = left.into_iter().map(|descriptor| (descriptor.id, descriptor)).collect();
        left.keys().chain(back.keys()).for_each(|id| self.init.is_used(*id));
        // By number, which is oldest first.
        for (id, fds) in back {
            let placed = left.remove(&id).is_some_and(|descriptor| {
                let placed = self.put_back(&descriptor, fds);
                if let Some(fds) = &placed {
                    self.set_id(&descriptor.unit, fds, Some(id));
                    if let Some(mirror) = &mut self.mirror {
                        mirror.put_descriptor(&descriptor);
                    }
                    self.init.count(descriptor, true);
                }
                placed.is_some()
            });
            if !placed {
                self.init.remove(id);
            }
        }
        for (descriptor, fds) in self.find_in_processes(left.into_values()) {
            if let Some(fds) = self.put_back(&descriptor, fds) {
                let id = self.entrust(&descriptor.unit, descriptor.held_as, fds.clone());
                self.set_id(&descriptor.unit, &fds, id);
            }
        }
    }

    /// Holds it again, under no number yet.
    fn put_back(&mut self, descriptor: &MirroredDescriptor, fds: Vec<OwnedFd>) -> Option<Vec<Rc<OwnedFd>>> {
        let unit = self.units.entry(&descriptor.unit)?;
        let (mut writers, mut others): (Vec<_>, Vec<_>) = fds.into_iter().partition(|fd| is_write_end(fd));
        match &descriptor.held_as {
            HeldAs::Stored { name, polled } => {
                let fd = Rc::new(others.pop().or_else(|| writers.pop())?);
                unit.stored.push(Stored::new(name.clone(), Rc::clone(&fd), *polled));
                Some(vec![fd])
            }
            HeldAs::Log { stream, bytes } => {
                let (reader, writer) = (Rc::new(others.pop()?), Rc::new(writers.pop()?));
                let log = Log { reader: Rc::clone(&reader), writer: Rc::clone(&writer), bytes: *bytes };
                unit.logs.insert(*stream, log);
                Some(vec![reader, writer])
            }
        }
    }

    /// Notes under which number that is written down which is stored.
    fn set_id(&mut self, unit: &UnitName, fds: &[Rc<OwnedFd>], id: Option<u32>) {
        let stored = self.units.get_mut(unit).into_iter().flat_map(|held| &mut held.stored);
        for stored in stored.filter(|stored| fds.iter().any(|fd| Rc::ptr_eq(fd, &stored.fd))) {
            stored.id = id;
        }
    }

    /// After an upgrade: under new numbers, as the program before may have left some out.
    pub(super) fn entrust_again(&mut self, left: &[MirroredDescriptor]) {
        for MirroredDescriptor { id, .. } in left {
            self.init.is_used(*id);
            self.init.remove(*id);
        }
        let mut all: Vec<(UnitName, HeldAs, Vec<Rc<OwnedFd>>)> = Vec::new();
        for (unit, held) in self.units.iter() {
            for Stored { name, fd, polled, .. } in &held.stored {
                let held_as = HeldAs::Stored { name: name.clone(), polled: *polled };
                all.push((unit.clone(), held_as, vec![Rc::clone(fd)]));
            }
            for (stream, log) in &held.logs {
                let held_as = HeldAs::Log { stream: *stream, bytes: log.bytes };
                all.push((unit.clone(), held_as, vec![Rc::clone(&log.reader), Rc::clone(&log.writer)]));
            }
        }
        for (unit, held_as, fds) in all {
            let id = self.entrust(&unit, held_as, fds.clone());
            self.set_id(&unit, &fds, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::net::UnixDatagram};

    use super::*;
    use crate::{sys::log_pipe, wire::keeper::Stream};

    const FILE: FileId = FileId { device: 1, inode: 2 };

    fn init() -> (tempfile::TempDir, UnixDatagram, InitStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("init");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (folder, socket, InitStore::new(Some(path.into())))
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    fn hand_over(store: &mut InitStore, unit: &UnitName, held_as: HeldAs) -> u32 {
        let pipe = log_pipe(0).unwrap();
        let descriptor = store.begin(unit, held_as, FILE).unwrap();
        let id = descriptor.id;
        store.put(id, vec![Rc::new(pipe.reader), Rc::new(pipe.writer)]);
        store.count(descriptor, true);
        id
    }

    #[test]
    fn what_the_init_system_is_slow_to_read_waits_in_order() {
        let (_folder, socket, mut store) = init();
        let sent: Vec<String> = (0..2000).map(|index| format!("STATUS={index}")).collect();
        for text in &sent {
            store.tell(text.clone().into_bytes(), Vec::new()).unwrap();
        }
        assert!(store.deadline().is_some(), "2000 datagrams are more than a socket holds");
        let mut read = Vec::new();
        while let Some(text) = heard(&socket) {
            read.push(text);
            store.flush();
        }
        assert_eq!(read, sent);
        assert!(store.deadline().is_none() && !store.incomplete);
    }

    #[test]
    fn the_queue_is_bounded_and_an_absent_init_system_is_an_error() {
        let (folder, socket, mut store) = init();
        let told = (0..=2 * WAITING_MAX).find_map(|_| store.tell(vec![b'x'], Vec::new()).err());
        assert_eq!(told.unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(store.waiting.len(), WAITING_MAX);
        drop((folder, socket));
        store.flush();
        assert!(store.waiting.is_empty() && store.incomplete);
        assert!(store.tell(vec![b'x'], Vec::new()).is_err());
        assert!(InitStore::new(None).tell(vec![b'x'], Vec::new()).is_ok(), "without one there is nobody to tell");
    }

    #[test]
    fn what_is_withdrawn_is_removed_by_its_name_and_its_number_never_given_again() {
        let (_folder, socket, mut store) = init();
        let (web, mail) = (UnitName::new("web").unwrap(), UnitName::new("mail").unwrap());
        let stored = || HeldAs::Stored { name: "http".into(), polled: false };
        store.is_used(0x1f);
        assert_eq!(hand_over(&mut store, &web, stored()), 0x20);
        assert_eq!(heard(&socket).unwrap(), "FDSTORE=1\nFDPOLL=0\nFDNAME=rm20");
        let ids = [
            hand_over(&mut store, &web, stored()),
            hand_over(&mut store, &web, HeldAs::Log { stream: Stream::Output, bytes: 1 }),
            hand_over(&mut store, &mail, stored()),
        ];
        assert_eq!(store.descriptors, 5);
        while heard(&socket).is_some() {}
        assert_eq!(store.withdraw(&web, |held| held.held_as == stored()), [0x20, 0x21]);
        let removed = BTreeSet::from([heard(&socket).unwrap(), heard(&socket).unwrap()]);
        assert_eq!(removed, ["20", "21"].map(|id| format!("FDSTOREREMOVE=1\nFDNAME=rm{id}")).into());
        assert_eq!(heard(&socket), None, "nothing else is removed");
        assert_eq!(store.descriptors, 3);
        assert!(!ids.contains(&hand_over(&mut store, &web, stored())));
        assert_eq!((id_of("rm20"), id_of("http"), id_of("rm"), id_of("rm-1")), (Some(0x20), None, None, None));
    }

    #[test]
    fn no_more_is_handed_over_than_our_unit_allows_and_one_variable_has_room_for() {
        let unit = include_str!("../../packaging/roundsman.service");
        assert!(unit.contains(&format!("\nFileDescriptorStoreMax={HELD_MAX}\n")));
        let longest = format!("{PREFIX}{:x}:", u32::MAX).len() * HELD_MAX + "LISTEN_FDNAMES=".len();
        assert!(longest < 32 * 4096, "MAX_ARG_STRLEN, execve(2): {longest}");
        let (_folder, _socket, mut store) = init();
        let web = UnitName::new("web").unwrap();
        let mut hold = |held_as: HeldAs| {
            let has_room = store.has_room(count(&held_as));
            let descriptor = store.begin(&web, held_as, FILE).unwrap();
            store.count(descriptor, has_room);
            has_room
        };
        for _ in 0..HELD_MAX / 2 {
            assert!(hold(HeldAs::Log { stream: Stream::Output, bytes: 1 }));
        }
        assert!(!hold(HeldAs::Stored { name: "http".into(), polled: true }));
        assert!(store.incomplete);
        assert_eq!(store.withdraw(&web, |held| matches!(held.held_as, HeldAs::Stored { .. })).len(), 1);
        assert_eq!(store.descriptors, HELD_MAX, "what it never had is not removed there");
        assert!(!InitStore::new(None).has_room(1), "without one there is nobody to have it");
    }
}
