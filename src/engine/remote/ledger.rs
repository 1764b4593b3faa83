//! What a host without a daemon knows of its promises and steps: a file of lines, shared by all conversations with the host.
//!
//! Each of them is a process. Whoever takes an order holds the lock from before he reads the file until what follows from the
//! order is on the disk, so all of them together are one [`Target`]. A step that is being done is locked by its own file: when
//! its process dies, the lock is gone, and the step was interrupted.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    edge::clock,
    fleet::{Answer, Row, StepId, StepOrder, Target, TargetEffect, TargetInput, Token},
    wire::fleet::{read, write},
};

/// A file that has grown beyond this is written anew with what still counts.
const BYTES_MAX: u64 = 8 << 20;

/// The directory of it.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
}

/// What follows from one input.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) answers: Vec<Answer>,
    /// Steps that are to be done, each with the lock that says so.
    pub(super) acts: Vec<(Box<StepOrder>, Doing)>,
}

/// As long as this is held, its step is being done.
#[derive(Debug)]
pub(super) struct Doing {
    path: PathBuf,
    _lock: File,
}

impl Drop for Doing {
    fn drop(&mut self) {
        // One that stays says nothing without its lock.
        fs::remove_file(&self.path).ok();
    }
}

impl Ledger {
    /// Makes the directory, which nobody else may read.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("doing"))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// A number above those of all conversations before.
    pub(super) fn next_life(&self) -> io::Result<u64> {
        let _lock = self.lock()?;
        let path = self.folder.join("life");
        let last = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
        let life = last.saturating_add(1).max(u64::try_from(clock::wall().0 / 1_000_000).unwrap_or(0));
        replace(&path, life.to_string().as_bytes())?;
        Ok(life)
    }

    /// To whom the host is promised.
    pub(super) fn promised(&self) -> io::Result<Option<Token>> {
        let _lock = self.lock()?;
        Ok(self.target(&mut self.rows()?)?.promised())
    }

    /// What follows from this, once it is on the disk.
    pub(super) fn turn(&self, input: TargetInput) -> io::Result<Turn> {
        let _lock = self.lock()?;
        let mut file = self.rows()?;
        let mut target = self.target(&mut file)?;
        let mut turn = Turn::default();
        target.handle(input);
        while let Some(effect) = target.poll_effect() {
            match effect {
                TargetEffect::Save(row) => {
                    file.write_all(format!("{}\n", write(&row)).as_bytes())?;
                    file.sync_data()?;
                    target.handle(TargetInput::Saved(row));
                }
                TargetEffect::Tell(answer) => turn.answers.push(answer),
                TargetEffect::Act(order) => {
                    let doing = self.doing(&order.id)?;
                    turn.acts.push((order, doing));
                }
            }
        }
        Ok(turn)
    }

    fn lock(&self) -> io::Result<File> {
        let lock = private().open(self.folder.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn rows(&self) -> io::Result<File> {
        let path = self.folder.join("rows");
        let is_new = !path.exists();
        let file = private().read(true).open(&path)?;
        if is_new {
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(file)
    }

    /// The machine as its rows say; the file stands at its end afterwards.
    fn target(&self, file: &mut File) -> io::Result<Target> {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that was cut off was never on the disk for anyone.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(u64::try_from(whole).unwrap_or(0))?;
        }
        let lines = text.get(..whole).unwrap_or_default().lines();
        let mut rows = Vec::new();
        for line in lines {
            rows.push(read::<Row>(line).map_err(|error| {
                let path = self.folder.join("rows");
                io::Error::other(format!("{}: {error}; move it away if no plan is under way", path.display()))
            })?);
        }
        if u64::try_from(whole).unwrap_or(u64::MAX) > BYTES_MAX {
            self.write_anew(file, &rows)?;
        }
        file.seek(SeekFrom::End(0))?;
        Ok(Target::restore_beside(rows, |step| self.is_done_now(step)))
    }

    /// The last word about each step, and the last promise, in the order in which they were begun.
    fn write_anew(&self, file: &mut File, rows: &[Row]) -> io::Result<()> {
        // The promise has no step.
        let mut seen = BTreeSet::new();
        let of = |row: &Row| match row {
            Row::Promise(_) => None,
            Row::Step(step, ..) => Some(*step),
        };
        let mut kept: Vec<String> =
            rows.iter().rev().filter(|row| seen.insert(of(row))).map(|row| format!("{}\n", write(row))).collect();
        kept.reverse();
        let text = kept.concat();
        replace(&self.folder.join("rows"), text.as_bytes())?;
        *file = self.rows()?;
        Ok(())
    }

    fn doing(&self, step: &StepId) -> io::Result<Doing> {
        let path = self.folder.join("doing").join(step.to_string());
        let lock = private().open(&path)?;
        lock.lock()?;
        Ok(Doing { path, _lock: lock })
    }

    fn is_done_now(&self, step: &StepId) -> bool {
        let Ok(file) = File::open(self.folder.join("doing").join(step.to_string())) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options
}

/// All of it or nothing, also when the machine dies.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{TimeSpan, UnitName},
        fleet::{Deed, Entry, PlanId, StepOutcome, Verdict},
    };

    const TOKEN: Token = Token { epoch: 1, owner: 1 };
    const PLAN: PlanId = PlanId(1);

    fn order(step: u8) -> TargetInput {
        let order = StepOrder {
            id: StepId([step; 16]),
            plan: PLAN,
            instance: "app@vm3".parse().unwrap(),
            unit: UnitName::new("app").unwrap(),
            deed: Deed::Restart,
            expects: None,
            deadline: TimeSpan::from_secs(10),
            ttl: TimeSpan::from_secs(10),
        };
        TargetInput::Order { token: TOKEN, order: Box::new(order), age: TimeSpan::ZERO }
    }

    fn promised(folder: &Path) -> Ledger {
        let ledger = Ledger::open(folder).unwrap();
        let turn = ledger.turn(TargetInput::Prepare(TOKEN, PLAN)).unwrap();
        assert!(matches!(turn.answers[..], [Answer::Promised { .. }]), "{turn:?}");
        ledger
    }

    fn verdict(turn: &Turn) -> &Verdict {
        match &turn.answers[..] {
            [Answer::Step { verdict, .. }] => verdict,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_many_that_ask_for_one_step_one_does_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(promised(dir.path()));
        let turns: Vec<Turn> = std::thread::scope(|scope| {
            let ask = || Ledger::open(dir.path()).unwrap().turn(order(1)).unwrap();
            let all: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(turns.iter().map(|turn| turn.acts.len()).sum::<usize>(), 1);
        let others = turns.iter().filter(|turn| turn.acts.is_empty());
        others.for_each(|turn| assert_eq!(verdict(turn), &Verdict::Known(Entry::Started { before: None })));
    }

    #[test]
    fn what_was_begun_by_one_that_died_was_interrupted_and_is_never_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = promised(dir.path());
        let turn = ledger.turn(order(1)).unwrap();
        assert_eq!(verdict(&ledger.turn(order(1)).unwrap()), &Verdict::Known(Entry::Started { before: None }));
        drop(turn);
        let again = ledger.turn(order(1)).unwrap();
        assert_eq!(verdict(&again), &Verdict::Known(Entry::Interrupted { before: None }));
        assert!(again.acts.is_empty());
    }

    #[test]
    fn a_line_that_was_cut_off_is_gone_and_what_was_before_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = promised(dir.path());
        let rows = dir.path().join("rows");
        let text = fs::read_to_string(&rows).unwrap();
        fs::write(&rows, format!("{text}{}", &text[..text.len() / 2])).unwrap();
        assert_eq!(ledger.promised().unwrap(), Some(TOKEN));
        assert_eq!(fs::read_to_string(&rows).unwrap(), text);
        fs::write(&rows, format!("{text}nonsense\n")).unwrap();
        assert!(ledger.promised().unwrap_err().to_string().contains("move it away"));
    }

    #[test]
    fn a_file_that_has_grown_is_written_anew_with_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = promised(dir.path());
        drop(ledger.turn(order(1)).unwrap());
        let done = StepOutcome::Done { before: None, after: None };
        ledger.turn(TargetInput::Acted { step: StepId([1; 16]), outcome: done.clone() }).unwrap();
        let promise = format!("{}\n", write(&Row::Promise(TOKEN)));
        let rows = dir.path().join("rows");
        let text = fs::read_to_string(&rows).unwrap();
        let times = usize::try_from(BYTES_MAX).unwrap() / promise.len() + 1;
        fs::write(&rows, text + &promise.repeat(times)).unwrap();
        assert_eq!(verdict(&ledger.turn(order(1)).unwrap()), &Verdict::Known(Entry::Over(done)));
        assert_eq!(fs::read_to_string(&rows).unwrap().lines().count(), 2);
    }
}
