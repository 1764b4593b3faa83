//! One unit's output on its way to disk: which segment, which limits, what was lost.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use nix::{
    fcntl::{SpliceFFlags, splice, tee},
    unistd::read,
};

use super::{
    flow::Tally,
    lines::Place,
    meter::{Meter, Verdict},
    rules::Rules,
    segment::Segment,
};
use crate::{
    base::{Mono, Now, TimeSpan, UnitName},
    edge::clock,
    unit::spec::OnFull,
};

/// Moved in one turn, so that one loud service cannot hold up the others.
const TURN_BYTES: usize = 1 << 20;
/// A segment ends with a line, unless that would make it longer than it should be by this much.
const OVERLONG_BYTES: u64 = 64 << 10;
/// After a failed write it is tried again after this long.
const RETRY_AFTER: TimeSpan = TimeSpan::from_secs(1);

/// What the pump knows of one unit.
pub(super) struct Book {
    pub(super) unit: UnitName,
    pub(super) rules: Arc<Rules>,
    pub(super) tally: Arc<Tally>,
    /// When it was written last, by the count of turns.
    pub(super) used: u64,
    dir: PathBuf,
    segment: Option<Segment>,
    meter: Option<Meter>,
    trouble: Option<Trouble>,
    /// Dropped because it could not be written, and not yet said in the segment.
    lost: u64,
    /// The same, said there and not yet told to the engine.
    noted: u64,
    /// Why, the last time.
    reason: String,
}

#[derive(Debug)]
struct Trouble {
    retry_at: Mono,
}

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// So much was taken from the pipe.
    Took(usize),
    /// Every writer is gone and all is read.
    Ended,
    /// It cannot be written, and waits in the pipe until then.
    Waits(Mono),
}

/// What the thread lends to each book in turn.
pub(super) struct Tools {
    /// Where output goes that nobody keeps.
    null: std::fs::File,
    /// For looks at what stays in a pipe: tee(2) copies into this one.
    glance: (OwnedFd, OwnedFd),
    buffer: Box<[u8]>,
}

impl Tools {
    pub(super) fn new() -> io::Result<Self> {
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        let glance = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
        Ok(Self { null, glance, buffer: vec![0; 64 << 10].into() })
    }
}

impl Book {
    pub(super) fn new(unit: UnitName, dir: PathBuf, rules: Arc<Rules>, tally: Arc<Tally>) -> Self {
        let meter = rules.rate.map(Meter::new);
        Self {
            unit,
            rules,
            tally,
            used: 0,
            dir,
            segment: None,
            meter,
            trouble: None,
            lost: 0,
            noted: 0,
            reason: String::new(),
        }
    }

    pub(super) fn set_rules(&mut self, rules: Arc<Rules>) {
        if self.meter.as_ref().map(Meter::rate) != rules.rate {
            self.meter = rules.rate.map(Meter::new);
        }
        self.rules = rules;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.segment.is_some()
    }

    pub(super) fn close(&mut self) {
        self.segment = None;
    }

    /// Where the next byte goes that comes from the pipe. With a rate limit, or while nothing can be written, some go nowhere.
    pub(super) fn end(&self) -> Option<Place> {
        self.segment.as_ref().filter(|_| self.meter.is_none() && self.trouble.is_none()).map(Segment::end)
    }

    /// Why nothing can be written now.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.is_some().then_some(self.reason.as_str())
    }

    /// What was dropped since it was asked last, and why.
    pub(super) fn take_lost(&mut self) -> Option<(u64, String)> {
        let lost = std::mem::take(&mut self.lost) + std::mem::take(&mut self.noted);
        (lost > 0).then(|| (lost, self.reason.clone()))
    }

    /// Takes from the pipe what a turn allows; `rotated` when a segment was closed.
    pub(super) fn turn(&mut self, pipe: BorrowedFd<'_>, tools: &mut Tools, rotated: &mut bool) -> Turn {
        let now = clock::now();
        if let Some(trouble) = self.trouble.as_ref().filter(|trouble| now.mono < trouble.retry_at) {
            return match self.rules.on_full {
                OnFull::Block => Turn::Waits(trouble.retry_at),
                OnFull::Drop => self.drop_output(pipe, tools),
            };
        }
        match self.write(pipe, tools, now, rotated) {
            Ok(turn) => {
                self.trouble = None;
                turn
            }
            Err(error) => {
                self.segment = None;
                let retry_at = now.mono.after(RETRY_AFTER).unwrap_or(now.mono);
                self.trouble = Some(Trouble { retry_at });
                self.reason = error.to_string();
                match self.rules.on_full {
                    OnFull::Block => Turn::Waits(retry_at),
                    OnFull::Drop => self.drop_output(pipe, tools),
                }
            }
        }
    }

    fn write(&mut self, pipe: BorrowedFd<'_>, tools: &mut Tools, now: Now, rotated: &mut bool) -> io::Result<Turn> {
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => Segment::open(&self.dir)?,
        };
        let turn = self.write_to(&mut segment, pipe, tools, now, rotated);
        self.segment = Some(segment);
        turn
    }

    fn write_to(
        &mut self,
        segment: &mut Segment,
        pipe: BorrowedFd<'_>,
        tools: &mut Tools,
        now: Now,
        rotated: &mut bool,
    ) -> io::Result<Turn> {
        if self.lost > 0 {
            segment.note(&format!("{} bytes dropped: {}", self.lost, self.reason), now.wall)?;
            self.noted += std::mem::take(&mut self.lost);
        }
        let mut took = 0;
        while took < TURN_BYTES {
            if segment.is_due(self.rules.segment_size, self.rules.segment_age, now.wall) {
                if segment.ends_line()? || segment.length() >= self.rules.segment_size.saturating_add(OVERLONG_BYTES) {
                    segment.go_on()?;
                    *rotated = true;
                } else if self.meter.is_none() {
                    let Some(count) = finish_line(segment, pipe, tools, now)? else { break };
                    took += count;
                    Tally::add(&self.tally.bytes, count as u64);
                    continue;
                }
            }
            let room = self.rules.segment_size.saturating_sub(segment.length()).max(1);
            let most = usize::try_from(room).unwrap_or(usize::MAX).min(TURN_BYTES - took);
            let (moved, enough) = match &mut self.meter {
                None => (moved(segment.take(pipe, most, now.wall))?, most),
                Some(meter) => (metered(meter, segment, pipe, tools, now, &self.tally)?, tools.buffer.len() / 2),
            };
            match moved {
                Some(0) if took == 0 => return Ok(Turn::Ended),
                Some(0) | None => break,
                Some(count) => {
                    took += count;
                    if self.meter.is_none() {
                        Tally::add(&self.tally.bytes, count as u64);
                    }
                    // What is left came meanwhile: it is worth a rest first.
                    if count < enough {
                        break;
                    }
                }
            }
        }
        Ok(Turn::Took(took))
    }

    fn drop_output(&mut self, pipe: BorrowedFd<'_>, tools: &Tools) -> Turn {
        match moved(discard(pipe, tools, TURN_BYTES)) {
            Ok(Some(0)) => Turn::Ended,
            Ok(count) => {
                let count = count.unwrap_or(0);
                self.lost += count as u64;
                Tally::add(&self.tally.full, count as u64);
                Turn::Took(count)
            }
            // A pipe into /dev/null: nothing there can fail for good.
            Err(_) => Turn::Took(0),
        }
    }
}

/// Whether anything came: `None` when there is nothing yet, 0 at the end of everything.
fn moved(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn discard(pipe: BorrowedFd<'_>, tools: &Tools, most: usize) -> io::Result<usize> {
    Ok(splice(pipe, None, tools.null.as_fd(), None, most, SpliceFFlags::SPLICE_F_NONBLOCK)?)
}

/// Copies what a pipe begins with into the buffer and leaves it where it is; how much there is.
fn glance(pipe: BorrowedFd<'_>, tools: &mut Tools) -> io::Result<Option<usize>> {
    let most = tools.buffer.len();
    let copied = tee(pipe, tools.glance.1.as_fd(), most, SpliceFFlags::SPLICE_F_NONBLOCK).map_err(io::Error::from);
    let Some(copied) = moved(copied)? else { return Ok(None) };
    let mut seen = 0;
    while seen < copied {
        seen += read(tools.glance.0.as_fd(), &mut tools.buffer[seen..])?;
    }
    Ok(Some(copied))
}

/// The rest of the line that a segment ends with, as far as it is there: people read single files too.
fn finish_line(segment: &mut Segment, pipe: BorrowedFd<'_>, tools: &mut Tools, now: Now) -> io::Result<Option<usize>> {
    let Some(copied @ 1..) = glance(pipe, tools)? else { return Ok(None) };
    let newline = tools.buffer[..copied].iter().position(|byte| *byte == b'\n');
    segment.take(pipe, newline.map_or(copied, |at| at + 1), now.wall).map(Some)
}

/// As much as can be looked at in one go, line by line kept or dropped. Bytes are looked at while they stay in the pipe: so
/// those that are kept are in the pipe or in the segment at every moment, as without a limit.
fn metered(
    meter: &mut Meter,
    segment: &mut Segment,
    pipe: BorrowedFd<'_>,
    tools: &mut Tools,
    now: Now,
    tally: &Tally,
) -> io::Result<Option<usize>> {
    let Some(copied) = glance(pipe, tools)? else { return Ok(None) };
    if let Some(dropped) = meter.turn(now.mono) {
        let text = format!("{} lines ({} bytes) dropped by the rate limit", dropped.lines, dropped.bytes);
        segment.note(&text, now.wall)?;
    }
    let mut begin = 0;
    while begin < copied {
        let rest = &tools.buffer[begin..copied];
        let (verdict, count) = meter.look(rest);
        let count = match verdict {
            Verdict::Keep => segment.take(pipe, count, now.wall)?,
            Verdict::Drop => discard(pipe, tools, count)?,
        };
        let took = &tools.buffer[begin..begin + count];
        match verdict {
            Verdict::Keep => Tally::add(&tally.bytes, count as u64),
            Verdict::Drop => {
                let lines = took.iter().filter(|byte| **byte == b'\n').count();
                Tally::add(&tally.limited, count as u64);
                Tally::add(&tally.limited_lines, lines as u64);
            }
        }
        meter.took(took);
        begin += count;
    }
    Ok(Some(copied))
}
