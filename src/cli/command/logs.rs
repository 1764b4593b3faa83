use jiff::Timestamp;

use crate::{
    base::UnitName,
    cli::{
        captured::Passage,
        client::{encoded, path_with},
        context::{Context, Reader, print},
        exit::Exit,
        failure::Failure,
        interrupt::Interrupt,
        since::since_us,
    },
};

/// Lines when nothing else is said.
const LINES: u32 = 100;
/// Lines before what is followed.
const LINES_BEFORE: u32 = 10;

/// Which part of a unit's output is wanted.
#[derive(Debug)]
pub(super) struct Portion<'a> {
    pub(super) follow: bool,
    pub(super) lines: Option<u32>,
    pub(super) since: Option<&'a str>,
}

/// `logs`: passes on output as it comes.
pub(super) fn run(context: &Context, unit: &UnitName, portion: &Portion<'_>) -> Result<Exit, Failure> {
    let path = path(context, unit, portion)?;
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    // A service may be silent for days: who follows it waits.
    let mut wait = |ticks| if portion.follow { interrupt.check() } else { interrupt.check_briefly(ticks) };
    let mut body = context.client.stream(&path, "text/plain", &mut wait)?;
    let mut passage = if context.json {
        Passage::Json(unit.to_string(), Vec::new())
    } else if context.screen.terminal {
        Passage::Escaped(Vec::new())
    } else {
        Passage::Raw
    };
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
                return Err(crate::cli::client::CallError::Http(error).into());
            }
        }
    }
    print(&passage.finish())?;
    Ok(Exit::DONE)
}

fn path(context: &Context, unit: &UnitName, portion: &Portion<'_>) -> Result<String, Failure> {
    let mut pairs = Vec::new();
    if let Some(text) = portion.since {
        let now =
            Timestamp::from_microsecond(context.screen.now_us).unwrap_or_default().to_zoned(context.screen.zone());
        pairs.push(("since", since_us(text, &now)?.to_string()));
    }
    let default = match (portion.since, portion.follow) {
        (Some(_), _) => None,
        (None, true) => Some(LINES_BEFORE),
        (None, false) => Some(LINES),
    };
    if let Some(lines) = portion.lines.or(default) {
        pairs.push(("lines", lines.to_string()));
    }
    if portion.follow {
        pairs.push(("follow", "true".to_owned()));
    }
    Ok(path_with(&format!("/v1/units/{}/logs", encoded(unit.as_str())), &pairs))
}
