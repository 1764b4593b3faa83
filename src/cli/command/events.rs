use std::time::Duration;

use crate::{
    cli::{
        client::{CallError, path_with},
        context::{Context, Reader, print},
        exit::Exit,
        failure::{Failure, say},
        interrupt::Interrupt,
        screen::many_lines,
        sse::{Item, Items},
        view,
    },
    wire::v1::{Event, Events},
};

/// Between two attempts to get the stream back.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// `events`: what happened.
pub(super) fn past(context: &Context, lines: u32) -> Result<Exit, Failure> {
    let answer = context.client.get(&past_path(lines))?;
    context.show(&answer, view::events::list)?;
    Ok(Exit::DONE)
}

fn past_path(lines: u32) -> String {
    path_with("/v1/notices", &[("limit", lines.to_string())])
}

/// `events -f`: what happened, and what happens. The stream is resumed where it broke off: a daemon that is upgraded or
/// recovers from a crash is when one wants to see.
pub(super) fn follow(context: &Context, lines: u32) -> Result<Exit, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    // At least one, or we would not know where the stream goes on.
    let past: Events = context.client.get(&past_path(lines.max(1)))?.value;
    let mut last = past.events.last().map_or(0, |event| event.id);
    let skipped = past.events.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
    for event in past.events.iter().skip(skipped) {
        if show(context, event)? == Reader::Gone {
            return Ok(Exit::DONE);
        }
    }
    let mut lost = false;
    loop {
        match stream(context, &interrupt, &mut last, &mut lost) {
            Ok(Reader::Gone) => return Ok(Exit::DONE),
            Err(failure) if !failure.is_loss() => return Err(failure),
            Ok(Reader::Listening) => {}
            Err(failure) => {
                if !lost {
                    say(&format!("{}waiting for the daemon to come back …\n", failure.report()));
                }
                lost = true;
            }
        }
        interrupt.pause(RETRY_PAUSE)?;
    }
}

/// One connection's part of the stream, until it ends.
fn stream(context: &Context, interrupt: &Interrupt, last: &mut u64, lost: &mut bool) -> Result<Reader, Failure> {
    let mut wait = |_| interrupt.check();
    let path = path_with("/v1/events", &[("after", last.to_string())]);
    let mut body = context.client.stream(&path, "text/event-stream", &mut wait)?;
    if std::mem::take(lost) {
        say("the daemon is back\n");
    }
    let mut items = Items::default();
    let mut piece = Vec::new();
    while body.read_piece(&mut piece).map_err(CallError::Http)?.is_some() {
        let mut shown = Ok(Reader::Listening);
        items.read(&piece, |item| {
            if matches!(shown, Ok(Reader::Listening)) {
                shown = show_item(context, &item, last);
            }
        });
        if shown? == Reader::Gone {
            return Ok(Reader::Gone);
        }
        piece.clear();
        interrupt.check()?;
    }
    Ok(Reader::Listening)
}

fn show_item(context: &Context, item: &Item, last: &mut u64) -> Result<Reader, Failure> {
    let reader = match serde_json::from_str::<Event>(&item.data) {
        Ok(event) => {
            *last = item.id.unwrap_or(event.id);
            if context.json { print(format!("{}\n", item.data).as_bytes())? } else { show(context, &event)? }
        }
        // Something about the stream itself, such as items that it had to drop.
        Err(_) => {
            say(&many_lines(&format!("supervisorctl: the daemon says of its events: {} {}\n", item.event, item.data)));
            Reader::Listening
        }
    };
    Ok(reader)
}

fn show(context: &Context, event: &Event) -> Result<Reader, Failure> {
    if context.json { context.print_json(event) } else { print(view::events::line(&context.screen, event).as_bytes()) }
}
