//! Lines that are sent on, to journald or a syslog server.
//!
//! Whoever forwards reads the segments like any other reader: so no receiver, however slow or dead, holds up what is
//! captured, and what was not sent when we died is sent by the next manager. A receiver that falls behind too far loses
//! what lies between, and that is counted. Each receiver has a thread, so that one that hangs holds up no other.

mod journal;
mod syslog;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{
    files::{length, numbers},
    flow::Tally,
    lines::{Line, Lines, Place},
    rules::Rules,
};
use crate::{
    base::UnitName,
    unit::spec::{Forward, SyslogSpec},
};

/// A receiver that is this far behind loses the rest, but for what keeps it busy for a while.
const BEHIND_BYTES_MAX: u64 = 64 << 20;
/// Sent for one unit before the next has its turn.
const TURN_BYTES: usize = 256 << 10;
/// How long a receiver that refused is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The threads that forward, each from its first unit on.
#[derive(Debug, Default)]
pub(super) struct Forwarders {
    receivers: BTreeMap<Forward, Arc<Post>>,
    units: BTreeMap<UnitName, Vec<Forward>>,
}

/// What a thread is told.
#[derive(Debug, Default)]
struct Post {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sources: BTreeMap<UnitName, Source>,
    dirty: BTreeSet<UnitName>,
    closed: bool,
}

/// One unit whose lines go to a receiver.
#[derive(Debug, Clone)]
struct Source {
    dir: PathBuf,
    line_max: usize,
    segment_size: u64,
    syslog: SyslogSpec,
    tally: Arc<Tally>,
}

impl Forwarders {
    /// From now on the unit's lines go where its rules say; to a new receiver those from now on.
    pub(super) fn set(&mut self, unit: &UnitName, dir: &Path, rules: &Rules, tally: &Arc<Tally>) {
        for former in self.units.get(unit).into_iter().flatten().filter(|former| !rules.forward.contains(former)) {
            if let Some(post) = self.receivers.get(former) {
                let mut state = post.lock();
                state.sources.remove(unit);
                state.dirty.remove(unit);
            }
            // When it comes back, it begins at that moment.
            fs::remove_file(cursor_path(dir, former)).ok();
        }
        if rules.forward.is_empty() {
            self.units.remove(unit);
            return;
        }
        self.units.insert(unit.clone(), rules.forward.clone());
        for forward in &rules.forward {
            if let Err(error) = begin(dir, forward) {
                tracing::warn!(unit = %unit, receiver = %forward, error = %error, "cannot keep what was forwarded");
            }
            let source = Source {
                dir: dir.to_owned(),
                line_max: rules.line_max,
                segment_size: rules.segment_size,
                syslog: rules.syslog.clone(),
                tally: Arc::clone(tally),
            };
            let post = self.receivers.entry(forward.clone()).or_insert_with(|| start(forward));
            post.lock().sources.insert(unit.clone(), source);
            post.tell(unit);
        }
    }

    /// The unit is gone; what it wrote last is still sent.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.units.remove(unit);
    }

    /// The unit wrote something.
    pub(super) fn tell(&self, unit: &UnitName) {
        for forward in self.units.get(unit).into_iter().flatten() {
            if let Some(post) = self.receivers.get(forward) {
                post.tell(unit);
            }
        }
    }
}

impl Drop for Forwarders {
    fn drop(&mut self) {
        for post in self.receivers.values() {
            post.lock().closed = true;
            post.changed.notify_all();
        }
    }
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, unit: &UnitName) {
        let mut state = self.lock();
        if state.dirty.insert(unit.clone()) && state.dirty.len() == 1 {
            self.changed.notify_one();
        }
    }
}

fn start(forward: &Forward) -> Arc<Post> {
    let post = Arc::new(Post::default());
    let (for_thread, receiver) = (Arc::clone(&post), forward.clone());
    let thread = thread::Builder::new().name("log-forward".into()).stack_size(256 << 10);
    if let Err(error) = thread.spawn(move || run(&for_thread, &receiver)) {
        tracing::error!(receiver = %forward, error = %error, "cannot start the thread that forwards output");
    }
    post
}

fn run(post: &Post, forward: &Forward) {
    let mut receiver = Receiver::new(forward);
    let mut is_told = false;
    loop {
        let mut state = post.lock();
        while state.dirty.is_empty() && !state.closed {
            state = post.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return;
        }
        let dirty = std::mem::take(&mut state.dirty);
        let sources: Vec<_> = dirty.iter().filter_map(|unit| Some((unit, state.sources.get(unit)?.clone()))).collect();
        drop(state);
        let mut failed = None;
        let mut again = BTreeSet::new();
        for (unit, source) in sources {
            match send_on(&mut receiver, unit, forward, &source) {
                Ok(Progress::All) => {}
                Ok(Progress::More) => drop(again.insert(unit.clone())),
                Err(error) => {
                    failed = Some(error);
                    again.insert(unit.clone());
                }
            }
        }
        if let Some(error) = &failed
            && !is_told
        {
            tracing::warn!(receiver = %forward, error = %error, "cannot forward output; it waits in its segments");
        }
        is_told = failed.is_some();
        let mut state = post.lock();
        state.dirty.append(&mut again);
        if failed.is_some() && !state.closed {
            drop(post.changed.wait_timeout_while(state, RETRY_AFTER, |state| !state.closed));
        }
    }
}

enum Progress {
    All,
    More,
}

/// Sends what a unit wrote, for a turn.
fn send_on(receiver: &mut Receiver, unit: &UnitName, forward: &Forward, source: &Source) -> io::Result<Progress> {
    let mut cursor = Cursor::open(&source.dir, forward)?;
    cursor.skip_what_is_too_far(source)?;
    let mut lines = Lines::from(&source.dir, cursor.place, source.line_max);
    let mut sent = 0;
    while sent < TURN_BYTES {
        let Some(line) = lines.next_line()? else { return Ok(Progress::All) };
        match receiver.send(unit, &source.syslog, &line) {
            Ok(()) => Tally::add(&source.tally.forwarded, 1),
            // Too long for a datagram: the next one may fit.
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {
                Tally::add(&source.tally.unforwarded, line.bytes.len() as u64);
            }
            Err(error) => return Err(error),
        }
        sent += line.bytes.len() + 1;
        cursor.put(line.end)?;
    }
    Ok(Progress::More)
}

const EMSGSIZE: i32 = nix::errno::Errno::EMSGSIZE as i32;

/// Up to where a receiver has a unit's lines: a file beside the segments. A manager that is killed between a line and its
/// entry here sends that line twice.
struct Cursor {
    file: File,
    place: Place,
}

/// Two numbers of fixed width, so that an entry is written over as a whole.
const ENTRY_BYTES: usize = 42;

fn cursor_path(dir: &Path, forward: &Forward) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    dir.join(format!("forward.{}", forward.to_string().chars().map(plain).collect::<String>()))
}

/// A receiver that is new to a unit gets what comes from here on.
fn begin(dir: &Path, forward: &Forward) -> io::Result<()> {
    let path = cursor_path(dir, forward);
    if path.metadata().is_ok_and(|meta| meta.len() >= ENTRY_BYTES as u64) {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    let newest = numbers(dir)?.last().copied();
    let place = newest.map_or(Place { number: 1, offset: 0 }, |number| Place { number, offset: length(dir, number) });
    let file = File::options().create(true).truncate(false).write(true).mode(0o640).open(path)?;
    Cursor { file, place }.put(place)
}

impl Cursor {
    fn open(dir: &Path, forward: &Forward) -> io::Result<Self> {
        let path = cursor_path(dir, forward);
        let file = File::options().read(true).write(true).open(path)?;
        let mut entry = [0; ENTRY_BYTES];
        file.read_exact_at(&mut entry, 0)?;
        let text = std::str::from_utf8(&entry).map_err(io::Error::other)?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(number)), Some(Ok(offset))) => Ok(Self { file, place: Place { number, offset } }),
            _ => Err(io::Error::other("what was forwarded is kept in a form that cannot be read")),
        }
    }

    fn put(&mut self, place: Place) -> io::Result<()> {
        let entry = format!("{:020} {:020}\n", place.number, place.offset);
        self.file.write_all_at(entry.as_bytes(), 0)?;
        self.place = place;
        Ok(())
    }

    /// Goes on at the newest segment when there is too much to send, and counts what lies between.
    fn skip_what_is_too_far(&mut self, source: &Source) -> io::Result<()> {
        let numbers = numbers(&source.dir)?;
        let from_here = &numbers[numbers.partition_point(|number| *number < self.place.number)..];
        let (Some(first), Some(newest)) = (from_here.first(), from_here.last()) else { return Ok(()) };
        let offset = self.place.offset;
        // What was removed before it could be sent had the usual length.
        let gone = match first - self.place.number {
            0 => 0,
            segments => (segments * source.segment_size).saturating_sub(offset),
        };
        let read = if gone == 0 { offset } else { 0 };
        let left: u64 = from_here.iter().map(|number| length(&source.dir, *number)).sum();
        let (lost, to) = match left.saturating_sub(read) > BEHIND_BYTES_MAX && newest > first {
            true => (gone + left - read - length(&source.dir, *newest), *newest),
            false => (gone, *first),
        };
        if lost > 0 {
            Tally::add(&source.tally.unforwarded, lost);
            self.put(Place { number: to, offset: 0 })?;
        }
        Ok(())
    }
}

/// The way to one receiver.
#[derive(Debug)]
enum Receiver {
    Journal(journal::Journal),
    Syslog(syslog::Syslog),
}

impl Receiver {
    fn new(forward: &Forward) -> Self {
        match forward {
            Forward::Journal => Self::Journal(journal::Journal::default()),
            Forward::Syslog => Self::Syslog(syslog::Syslog::local()),
            Forward::SyslogUdp(place) => Self::Syslog(syslog::Syslog::udp(place)),
            Forward::SyslogTcp(place) => Self::Syslog(syslog::Syslog::tcp(place)),
        }
    }

    fn send(&mut self, unit: &UnitName, syslog: &SyslogSpec, line: &Line) -> io::Result<()> {
        let (level, text) = leveled(syslog, &line.bytes);
        match self {
            Self::Journal(journal) => journal.send(unit, syslog, level, text),
            Self::Syslog(receiver) => receiver.send(syslog, level, text, line.at),
        }
    }
}

/// The level of a line, and the line without the prefix that says it (sd-daemon(3)).
fn leveled<'a>(syslog: &SyslogSpec, line: &'a [u8]) -> (u8, &'a [u8]) {
    match line {
        [b'<', level @ b'0'..=b'7', b'>', text @ ..] if syslog.level_prefix => (level - b'0', text),
        _ => (syslog.level, line),
    }
}

#[cfg(test)]
mod tests;
