use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    base::UnitName,
    cli::{
        captured::Passage,
        client::{CallError, encoded, path_with},
        context::{Context, Reader, print},
        exit::Exit,
        failure::{Failure, say},
        interrupt::Interrupt,
        since::since_us,
    },
    wire::v1::LogLine,
};

/// Lines when nothing else is said.
const LINES: u32 = 100;
/// Lines before what is followed.
const LINES_BEFORE: u32 = 10;
/// Between two attempts to get the stream back.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Which part of a unit's output is wanted, and how.
#[derive(Debug)]
pub(super) struct Portion<'a> {
    pub(super) follow: bool,
    pub(super) lines: Option<u32>,
    pub(super) since: Option<&'a str>,
    pub(super) until: Option<&'a str>,
    pub(super) grep: Option<&'a str>,
    pub(super) timestamps: bool,
}

/// `logs`: passes on output as it comes.
pub(super) fn run(context: &Context, unit: &UnitName, portion: &Portion<'_>) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let query = query(context, portion)?;
    if !portion.follow && !portion.timestamps && !context.json {
        return pass_on(context, unit, &query, &interrupt);
    }
    let mut shown = Shown {
        context,
        unit,
        timestamps: portion.timestamps,
        passage: passage(context),
        within_line: false,
        cursor: None,
    };
    let mut lost = false;
    loop {
        let ended = shown.stream(&query, portion.follow, &interrupt, &mut lost);
        match ended {
            Ok(Reader::Gone) => return Ok(Exit::DONE),
            Ok(Reader::Listening) if !portion.follow => break,
            Ok(Reader::Listening) => {}
            Err(failure) if !portion.follow || !failure.is_loss() => return Err(failure),
            Err(failure) => {
                if !lost {
                    say(&format!("{}waiting for the daemon to come back …\n", failure.report()));
                }
                lost = true;
            }
        }
        interrupt.pause(RETRY_PAUSE)?;
    }
    print(&shown.passage.finish())?;
    Ok(Exit::DONE)
}

fn passage(context: &Context) -> Passage {
    if context.screen.terminal { Passage::Escaped(Vec::new()) } else { Passage::Raw }
}

/// Output as it is, with nothing to be said of single lines.
fn pass_on(
    context: &Context,
    unit: &UnitName,
    query: &[(&str, String)],
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let mut wait = |ticks| interrupt.check_briefly(ticks);
    let mut body = context.client.stream(&path(unit, query), "text/plain", &mut wait)?;
    let mut passage = passage(context);
    let mut piece = Vec::new();
    loop {
        piece.clear();
        let read = body.read_piece(&mut piece);
        if !piece.is_empty() && print(&passage.feed(&piece))? == Reader::Gone {
            return Ok(Exit::DONE);
        }
        interrupt.check()?;
        match read {
            Ok(Some(_)) => {}
            Ok(None) => break,
            // What came before the connection was lost is shown whole.
            Err(error) => {
                print(&passage.finish())?;
                return Err(CallError::Http(error).into());
            }
        }
    }
    print(&passage.finish())?;
    Ok(Exit::DONE)
}

/// What is shown line by line, over more than one connection where one follows.
struct Shown<'a> {
    context: &'a Context,
    unit: &'a UnitName,
    timestamps: bool,
    passage: Passage,
    /// Whether the last item was no whole line.
    within_line: bool,
    /// Up to where it was shown.
    cursor: Option<String>,
}

/// One line, as JSON.
#[derive(Serialize)]
struct Item<'a> {
    unit: &'a str,
    at_us: Option<i64>,
    line: &'a str,
}

impl Shown<'_> {
    /// One connection's part, until it ends. A daemon that is upgraded or recovers from a crash goes on where it broke off.
    fn stream(
        &mut self,
        query: &[(&str, String)],
        follow: bool,
        interrupt: &Interrupt,
        lost: &mut bool,
    ) -> Result<Reader, Failure> {
        // A service may be silent for days: who follows it waits.
        let mut wait = |ticks| if follow { interrupt.check() } else { interrupt.check_briefly(ticks) };
        let mut query = query.to_vec();
        query.push(("format", "json".to_owned()));
        if self.context.json {
            query.push(("parts", "false".to_owned()));
        }
        if let Some(cursor) = &self.cursor {
            query.push(("after", cursor.clone()));
        }
        let path = path(self.unit, &query);
        let mut body = self.context.client.stream(&path, "application/x-ndjson", &mut wait)?;
        if std::mem::take(lost) {
            say("the daemon is back\n");
        }
        let mut held = Vec::new();
        loop {
            let read = body.read_piece(&mut held);
            let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let mut out = Vec::new();
            for item in held[..whole].split(|byte| *byte == b'\n').filter(|item| !item.is_empty()) {
                let understood = serde_json::from_slice::<LogLine>(item);
                self.push(&mut out, understood.map_err(|source| CallError::Json { path: path.clone(), source })?)?;
            }
            held.drain(..whole);
            if !out.is_empty() && print(&out)? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            interrupt.check()?;
            match read {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Reader::Listening),
                Err(error) => return Err(CallError::Http(error).into()),
            }
        }
    }

    fn push(&mut self, out: &mut Vec<u8>, item: LogLine) -> Result<(), Failure> {
        let LogLine { cursor, at_us, line, raw, ended } = item;
        if self.context.json {
            let item = Item { unit: self.unit.as_str(), at_us, line: &line };
            serde_json::to_writer(&mut *out, &item).map_err(Failure::Json)?;
            out.push(b'\n');
        } else {
            let stamp = self.timestamps && !self.within_line;
            let mut bytes = if stamp { self.stamp(at_us).into_bytes() } else { Vec::new() };
            bytes.extend(raw.unwrap_or_else(|| line.into_bytes()));
            bytes.extend(ended.then_some(b'\n'));
            out.extend(self.passage.feed(&bytes));
        }
        self.within_line = !ended;
        self.cursor = Some(cursor);
        Ok(())
    }

    fn stamp(&self, at_us: Option<i64>) -> String {
        let at = at_us.and_then(|at| Timestamp::from_microsecond(at).ok());
        let here = at.map(|at| at.to_zoned(self.context.screen.zone()));
        here.map_or_else(|| "- ".to_owned(), |here| format!("{} ", here.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z")))
    }
}

fn query(context: &Context, portion: &Portion<'_>) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut pairs = Vec::new();
    let now = || Timestamp::from_microsecond(context.screen.now_us).unwrap_or_default().to_zoned(context.screen.zone());
    for (name, text) in [("since", portion.since), ("until", portion.until)] {
        if let Some(text) = text {
            pairs.push((name, since_us(text, &now())?.to_string()));
        }
    }
    let chosen = portion.since.is_some() || portion.until.is_some() || portion.grep.is_some();
    let default = match (chosen, portion.follow) {
        (true, _) => None,
        (false, true) => Some(LINES_BEFORE),
        (false, false) => Some(LINES),
    };
    if let Some(lines) = portion.lines.or(default) {
        pairs.push(("lines", lines.to_string()));
    }
    if let Some(pattern) = portion.grep {
        pairs.push(("grep", pattern.to_owned()));
    }
    if portion.follow {
        pairs.push(("follow", "true".to_owned()));
    }
    Ok(pairs)
}

fn path(unit: &UnitName, query: &[(&str, String)]) -> String {
    path_with(&format!("/v1/units/{}/logs", encoded(unit.as_str())), query)
}
