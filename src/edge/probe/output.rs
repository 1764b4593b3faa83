//! What a unit wrote since the last look: lines that tell of harm, and lines that should come.
//!
//! A look begins where the one before it ended, across segments that are new or packed, and reads at most [`LOOK_BYTES_MAX`]:
//! of a unit that wrote more, the newest. A line counts once it is whole. When it was written matters to a first look only, and
//! only where nobody knows with which byte the run's output begins: times are as precise as the index of a segment.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use super::Prober;
use crate::{
    base::TimeSpan,
    edge::log::{Bound, LINE_MAX_DEFAULT, Place, Reader, Wanted, newest, settled},
    node::input::Finding,
    unit::spec::LogCheck,
};

/// What one look reads at most.
const LOOK_BYTES_MAX: u64 = 16 << 20;

/// What earlier looks at the output of one run came to.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Option<Sight>>>);

/// The end of a look.
#[derive(Debug, Clone, Copy)]
struct Sight {
    end: Place,
    /// When what should come was there last, or was first waited for.
    came: Instant,
    /// Whether that is known: a look that did not begin with the run may have missed it.
    is_known: bool,
}

/// Where a unit's output lies.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its folder.
    pub dir: PathBuf,
    /// What was written before is no matter of this run, or of this manager: the first look begins here.
    pub from: Bound,
    /// Whether the run began there.
    pub is_whole: bool,
    /// What the last look came to.
    pub seen: Seen,
}

/// A look as it ended.
struct Looked {
    sight: Sight,
    failed: Lines,
    warned: Lines,
}

/// Lines of one kind.
#[derive(Default)]
struct Lines {
    first: Option<String>,
    count: u64,
}

impl Prober {
    pub(super) async fn look_at_output(&self, check: &LogCheck, output: Option<&Output>) -> Result<Finding, String> {
        let Some(output) = output else {
            return Ok(Finding::Unasked("its output is the daemon's to look at".to_owned()));
        };
        let (from, of, check_of) =
            (*output.seen.0.lock().unwrap_or_else(PoisonError::into_inner), output.clone(), check.clone());
        let looked = self.beside(output.dir.clone(), move || look(&check_of, &of, from)).await;
        let Looked { sight, failed, warned } = looked.map_err(|error| format!("cannot read its output: {error}"))?;
        // Not before it is told: what a look found that was given up is found again.
        *output.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sight);
        if let Some(said) = failed.said() {
            return Ok(Finding::Bad(said));
        }
        if let Some((pattern, within)) = &check.expect
            && is_overdue(sight, *within)
        {
            return Ok(Finding::Bad(format!("it wrote nothing like {:?} for {within}", pattern.as_str())));
        }
        if let (Some((pattern, _)), false, None) = (&check.expect, sight.is_known, &warned.first) {
            return Ok(Finding::Unasked(format!("waits for a line like {:?}", pattern.as_str())));
        }
        Ok(warned.said().map_or(Finding::Good, Finding::Degraded))
    }
}

fn is_overdue(sight: Sight, within: TimeSpan) -> bool {
    within.duration().is_some_and(|within| sight.came.elapsed() > within)
}

fn look(check: &LogCheck, output: &Output, from: Option<Sight>) -> Result<Looked, String> {
    let told = |error: std::io::Error| error.to_string();
    let line_max = usize::try_from(LINE_MAX_DEFAULT.0).unwrap_or(usize::MAX);
    let wanted = Wanted { line_max, ..Wanted::default() };
    let (begin, since) = match (from, output.from) {
        (Some(sight), _) => (sight.end, None),
        (None, Bound::At(place)) => (settled(&output.dir, place).map_err(told)?, None),
        (None, Bound::Since(since)) => {
            let wanted = Wanted { since: Some(since), ..wanted.clone() };
            (Reader::open(&output.dir, wanted).map_err(told)?.place(), Some(since))
        }
    };
    let begin = begin.max(newest(&output.dir, LOOK_BYTES_MAX).map_err(told)?);
    let mut reader = Reader::open(&output.dir, Wanted { after: Some(begin), ..wanted }).map_err(told)?;
    let (mut failed, mut warned) = (Lines::default(), Lines::default());
    let mut came = from.map_or_else(Instant::now, |sight| sight.came);
    let mut is_known = from.map_or(output.is_whole, |sight| sight.is_known);
    while let Some(line) = reader.next_line().map_err(told)? {
        // The run before this one may have written in the same moment.
        if since.is_some_and(|since| line.at.is_some_and(|at| at < since)) {
            continue;
        }
        if check.fail_on.as_ref().is_some_and(|pattern| pattern.matches(&line.bytes)) {
            failed.take(&line.bytes);
        }
        if check.warn_on.as_ref().is_some_and(|pattern| pattern.matches(&line.bytes)) {
            warned.take(&line.bytes);
        }
        if check.expect.as_ref().is_some_and(|(pattern, _)| pattern.matches(&line.bytes)) {
            (came, is_known) = (Instant::now(), true);
        }
    }
    Ok(Looked { sight: Sight { end: reader.place(), came, is_known }, failed, warned })
}

impl Lines {
    fn take(&mut self, line: &[u8]) {
        self.first.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
        self.count += 1;
    }

    fn said(self) -> Option<String> {
        let first = self.first?;
        Some(match self.count {
            1 => format!("it wrote {first:?}"),
            more => format!("it wrote {first:?} and {} more such lines", more - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::{
        base::{LinePattern, Wall},
        unit::spec::ProbeCheck,
    };

    fn pattern(text: &str) -> LinePattern {
        LinePattern::new(text).unwrap()
    }

    struct World {
        dir: tempfile::TempDir,
        output: Output,
        prober: Prober,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let output = Output {
                dir: dir.path().to_path_buf(),
                from: Bound::Since(Wall(0)),
                is_whole: true,
                seen: Seen::default(),
            };
            Self { dir, output, prober: Prober::default() }
        }

        fn write(&self, segment: u64, text: &str) {
            use std::io::Write;
            let path = self.dir.path().join(format!("{segment:08}.log"));
            let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// What begins a segment, with its entry in the index.
        fn write_at(&self, segment: u64, at: i64, text: &str) {
            let entry = [0_u64.to_le_bytes(), at.to_le_bytes()].concat();
            fs::write(self.dir.path().join(format!("{segment:08}.idx")), entry).unwrap();
            self.write(segment, text);
        }

        async fn look(&self, check: &LogCheck) -> Finding {
            let used = super::super::Used { output: Some(self.output.clone()), ..Default::default() };
            let check = ProbeCheck::Log(check.clone());
            self.prober.ask(&check, Some(&used), TimeSpan::from_secs(10)).await.finding
        }
    }

    fn fails_on(text: &str) -> LogCheck {
        LogCheck { fail_on: Some(pattern(text)), ..LogCheck::default() }
    }

    #[tokio::test]
    async fn each_line_counts_once_and_when_it_is_whole() {
        let world = World::new();
        let check = fails_on("^panic|out of memory$");
        assert_eq!(world.look(&check).await, Finding::Good, "nothing is written yet");
        world.write(1, "well\npanic: a\n");
        assert_eq!(world.look(&check).await, Finding::Bad("it wrote \"panic: a\"".to_owned()));
        assert_eq!(world.look(&check).await, Finding::Good);
        world.write(1, "no panic\nis out of");
        assert_eq!(world.look(&check).await, Finding::Good);
        world.write(1, " memory\npanic\n");
        let said = "it wrote \"is out of memory\" and 1 more such lines";
        assert_eq!(world.look(&check).await, Finding::Bad(said.to_owned()));
    }

    #[tokio::test]
    async fn who_begins_to_look_in_the_middle_of_a_run_does_not_know_what_came_before() {
        let mut world = World::new();
        world.output.is_whole = false;
        let expect = Some((pattern("alive"), TimeSpan::from_secs(60)));
        let check = LogCheck { expect, ..LogCheck::default() };
        world.write(1, "something\n");
        let waits = Finding::Unasked("waits for a line like \"alive\"".to_owned());
        assert_eq!(world.look(&check).await, waits);
        assert_eq!(world.look(&check).await, waits, "a look later it is no better known");
        world.write(1, "alive\n");
        assert_eq!(world.look(&check).await, Finding::Good);
        assert_eq!(world.look(&check).await, Finding::Good);
    }

    #[tokio::test]
    async fn a_look_goes_on_behind_segments_that_were_begun_packed_or_removed() {
        let world = World::new();
        let check = fails_on("bad");
        world.write(1, "well\n");
        assert_eq!(world.look(&check).await, Finding::Good);
        world.write(1, "bad 1\n");
        world.write(2, "well\n");
        world.write(3, "bad 3\n");
        assert!(
            matches!(world.look(&check).await, Finding::Bad(said) if said.contains("bad 1") && said.contains("1 more"))
        );
        fs::remove_file(world.dir.path().join("00000003.log")).unwrap();
        world.write(5, "bad 5\n");
        assert_eq!(world.look(&check).await, Finding::Bad("it wrote \"bad 5\"".to_owned()));
        assert_eq!(world.look(&check).await, Finding::Good);
    }

    #[tokio::test]
    async fn of_a_flood_the_newest_is_read() {
        let world = World::new();
        let check = LogCheck { warn_on: Some(pattern("newer")), ..fails_on("older") };
        world.write(1, "older\n");
        let filler = "x".repeat(1023) + "\n";
        world.write(1, &filler.repeat(16 << 10));
        world.write(2, "newer\n");
        assert_eq!(world.look(&check).await, Finding::Degraded("it wrote \"newer\"".to_owned()));
        world.write(2, &filler.repeat(20 << 10));
        world.write(2, "older\n");
        assert_eq!(world.look(&check).await, Finding::Bad("it wrote \"older\"".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_should_come_is_missed_after_its_time() {
        let world = World::new();
        let within = TimeSpan::from_secs(60);
        let check = LogCheck { expect: Some((pattern("tick"), within)), ..LogCheck::default() };
        let missed = Finding::Bad("it wrote nothing like \"tick\" for 1min".to_owned());
        assert_eq!(world.look(&check).await, Finding::Good, "its time begins with the first look");
        tokio::time::advance(Duration::from_secs(50)).await;
        world.write(1, "tick\n");
        assert_eq!(world.look(&check).await, Finding::Good);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(world.look(&check).await, Finding::Good);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(world.look(&check).await, missed);
        world.write(1, "tick\n");
        assert_eq!(world.look(&check).await, Finding::Good);
    }

    #[tokio::test]
    async fn when_a_line_was_written_matters_to_a_first_look_only() {
        let mut world = World::new();
        let check = fails_on("bad");
        world.write_at(1, 10, "bad 1\n");
        world.output.from = Bound::Since(Wall(20));
        assert_eq!(world.look(&check).await, Finding::Good, "the run before wrote it");
        // In the same entry of the index, though later.
        world.write(1, "bad 2\n");
        assert_eq!(world.look(&check).await, Finding::Bad("it wrote \"bad 2\"".to_owned()));
    }

    #[tokio::test]
    async fn a_run_whose_first_byte_is_known_begins_there() {
        let mut world = World::new();
        world.write(1, "bad 1\nba");
        world.output.from = Bound::At("1:8".parse().unwrap());
        world.write(1, "bad 2\n");
        assert_eq!(world.look(&fails_on("^bad")).await, Finding::Bad("it wrote \"bad 2\"".to_owned()));
    }
}
