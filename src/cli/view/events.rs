//! `events` and `why`: what happened, one line each.

use std::fmt::Write;

use anstyle::Style;

use crate::{
    cli::screen::{BAD, CARE, FAINT, PLAIN, STRONG, Screen, columns, one_line},
    wire::v1::{Event, Events, Why},
};

/// Past events, oldest first.
pub(crate) fn list(screen: &Screen, events: &Events) -> String {
    events.events.iter().map(|event| line(screen, event)).collect()
}

/// One event: when, how bad, whose, what.
pub(crate) fn line(screen: &Screen, event: &Event) -> String {
    let unit = event.unit.as_deref().map(|unit| format!("{}: ", screen.paint(STRONG, &one_line(unit))));
    let message = one_line(&event.message);
    let (style, word) = severity(event);
    format!(
        "{}  {}  {}{message}\n",
        screen.paint(FAINT, &screen.local(event.at_us)),
        screen.paint(style, &format!("{word:<8}")),
        unit.unwrap_or_default(),
    )
}

/// The present state, and what led to it.
pub(crate) fn why(screen: &Screen, why: &Why) -> String {
    let mut out = format!("{}\n", screen.paint(STRONG, &headline(why)));
    if why.chain.is_empty() {
        out.push_str("Nothing that is on record led to it.\n");
        return out;
    }
    out.push_str("What led to it, oldest first:\n");
    if why.has_more {
        let before = format!("  ├─ … what was before: supervisorctl history {}", one_line(&why.unit));
        writeln!(out, "{}", screen.paint(FAINT, &before)).ok();
    }
    let ages: Vec<String> = why.chain.iter().map(|event| screen.relative(event.at_us)).collect();
    let width = ages.iter().map(|age| columns(age)).max().unwrap_or(0);
    let last = why.chain.len() - 1;
    for (index, (event, age)) in why.chain.iter().zip(&ages).enumerate() {
        let joint = if index == last { "└─" } else { "├─" };
        let before = format!("  {joint} {}  {age:>width$}  ", screen.local(event.at_us));
        let whose = match &event.unit {
            Some(unit) if *unit != why.unit => format!("{unit}: "),
            Some(_) | None => String::new(),
        };
        let text = one_line(&format!("{whose}{}", event.message));
        writeln!(out, "{}{}", screen.paint(FAINT, &before), screen.paint(severity(event).0, &text)).ok();
    }
    if !why.last_output.is_empty() {
        out.push_str("What it wrote last before it ended:\n");
    }
    for line in &why.last_output {
        writeln!(out, "  │ {}", one_line(line)).ok();
    }
    out
}

/// The daemon's sentence, with the unit's name at its head.
fn headline(why: &Why) -> String {
    let names_it = why.now.split_whitespace().next().is_some_and(|word| word.trim_end_matches(':') == why.unit);
    one_line(&if names_it { why.now.clone() } else { format!("{}: {}", why.unit, why.now) })
}

fn severity(event: &Event) -> (Style, &str) {
    match event.severity.as_str() {
        "info" => (PLAIN, "info"),
        "warning" => (CARE, "warning"),
        "critical" => (BAD, "critical"),
        "bug" => (BAD, "bug"),
        _ => (PLAIN, "?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::fixtures::NOW_US;

    fn event(id: u64, unit: Option<&str>, severity: &str, message: &str) -> Event {
        Event {
            id,
            at_us: NOW_US - 300_000_000 + i64::try_from(id).unwrap() * 7_000_000,
            event: "run_ended".into(),
            severity: severity.into(),
            unit: unit.map(Into::into),
            generation: None,
            message: message.into(),
            fields: serde_json::Map::new(),
        }
    }

    fn chain() -> Vec<Event> {
        vec![
            event(1, Some("redis"), "warning", "run 3 ended with exit code 1; it is restarted"),
            event(2, Some("web"), "critical", "failed because redis, which it requires, is not up"),
        ]
    }

    #[test]
    fn events_say_when_how_bad_whose_and_what() {
        let mut events = chain();
        events.push(event(3, None, "info", "42 units taken into use\x1b[2J"));
        insta::assert_snapshot!(list(&Screen::page(NOW_US), &Events { events }));
    }

    #[test]
    fn why_reads_as_a_chain() {
        let now = "web is failed because redis is not up".into();
        let chain = Why {
            unit: "web".into(),
            now,
            chain: chain(),
            has_more: true,
            last_output: vec!["cannot bind\u{1b}[31m".into(), "giving up".into()],
        };
        insta::assert_snapshot!(why(&Screen::page(NOW_US), &chain));
        let narrow = why(&Screen::of_width(40, NOW_US), &chain);
        assert!(narrow.contains("failed because redis, which it requires, is not up\n"), "the reason is never cut");
    }

    #[test]
    fn a_unit_without_a_past_says_so() {
        let fresh = Why {
            unit: "web".into(),
            now: "inactive: never started".into(),
            chain: vec![],
            has_more: false,
            last_output: vec![],
        };
        insta::assert_snapshot!(why(&Screen::page(NOW_US), &fresh), @r"
        web: inactive: never started
        Nothing that is on record led to it.
        ");
    }
}
