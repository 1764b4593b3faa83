//! `status` without names: one line per unit.

use std::borrow::Cow;

use anstyle::Style;

use crate::{
    cli::{
        humane,
        screen::{BAD, CARE, FAINT, GOOD, PLAIN, Screen, on_one_line},
        table::{Align, Cell, Column, Room, render},
    },
    wire::v1::{UnitLine, UnitLines},
};

use super::state::State;

const TABLE: [Column; 11] = [
    Column { title: " ", align: Align::Left, room: Room::Keep },
    Column { title: "NAME", align: Align::Left, room: Room::Keep },
    Column { title: "STATE", align: Align::Left, room: Room::Keep },
    Column { title: "SINCE", align: Align::Left, room: Room::Drop(4) },
    Column { title: "PID", align: Align::Right, room: Room::Drop(3) },
    Column { title: "WINDOW", align: Align::Right, room: Room::Drop(0) },
    Column { title: "RESTARTS", align: Align::Right, room: Room::Drop(5) },
    Column { title: "HEALTH", align: Align::Left, room: Room::Drop(6) },
    Column { title: "MEMORY", align: Align::Right, room: Room::Drop(2) },
    Column { title: "CPU", align: Align::Right, room: Room::Drop(1) },
    Column { title: "CAUSE", align: Align::Left, room: Room::Cut },
];

/// All of them, and how many are up.
pub(crate) fn table(screen: &Screen, units: &UnitLines<'_>) -> String {
    if units.units.is_empty() {
        return "There are no units: write one to the units folder, then `supervisorctl reload-config`.\n".to_owned();
    }
    let rows: Vec<_> = units.units.iter().map(|unit| row(screen, unit)).collect();
    let mut out = render(screen, &TABLE, &rows);
    out.push('\n');
    out.push_str(&summary(screen, &units.units));
    out
}

fn row<'u>(screen: &Screen, unit: &'u UnitLine<'_>) -> [Cell<'u>; TABLE.len()] {
    let state = State::of_line(unit);
    let style = state.style();
    let name_style = if unit.active == "failed" { BAD } else { PLAIN };
    let elapse = unit.timer.as_ref().and_then(|timer| timer.next_us);
    let cause = match (unit.next_start_us, elapse) {
        (Some(at), _) => Cow::Owned(format!("next start {}; {}", screen.relative(at), unit.cause)),
        (None, Some(at)) => Cow::Owned(format!("timer elapses {}; {}", screen.relative(at), unit.cause)),
        (None, None) => Cow::Borrowed(&*unit.cause),
    };
    let cause = if unit.in_maintenance { Cow::Owned(format!("in maintenance; {cause}")) } else { cause };
    [
        Cell::styled(state.mark(), style),
        Cell::styled(on_one_line(&*unit.name), name_style),
        Cell::styled(state.in_words(), style),
        Cell::optional((unit.since_us > 0).then(|| screen.relative(unit.since_us))),
        Cell::optional(unit.pid.map(|pid| pid.to_string())),
        window(unit),
        Cell::plain(unit.restarts_total.to_string()),
        health(unit),
        Cell::optional(unit.memory_bytes.map(humane::bytes)),
        Cell::optional(unit.cpu_us.map(humane::took)),
        Cell::plain(on_one_line(cause)),
    ]
}

/// The colour of a verdict.
pub(crate) fn verdict_style(verdict: &str) -> Style {
    match verdict {
        "healthy" => GOOD,
        "degraded" => CARE,
        "unhealthy" => BAD,
        _ => FAINT,
    }
}

fn health<'u>(unit: &'u UnitLine<'_>) -> Cell<'u> {
    if unit.health == "none" {
        Cell::none()
    } else {
        Cell::styled(on_one_line(&*unit.health), verdict_style(&unit.health))
    }
}

/// Starts in the window of those allowed; the last one that is allowed is a warning. Whoever else sets the limit counts them.
fn window(unit: &UnitLine<'_>) -> Cell<'static> {
    let (starts, burst) = (unit.starts_in_window, unit.start_limit_burst);
    if burst == 0 || unit.start_limit_of.is_some() {
        return Cell::none();
    }
    let style = if starts >= burst && burst > 1 { CARE } else { PLAIN };
    Cell::styled(format!("{starts}/{burst}"), style)
}

fn summary(screen: &Screen, units: &[UnitLine<'_>]) -> String {
    let up = units.iter().filter(|unit| unit.up).count();
    let failed = units.iter().filter(|unit| !unit.up && unit.active == "failed").count();
    let unknown = units.iter().filter(|unit| unit.not_known).count();
    let down = units.len() - up - failed - unknown;
    let mut parts = vec![format!("{up} up")];
    if failed > 0 {
        parts.push(screen.paint(BAD, &format!("{failed} failed")));
    }
    if unknown > 0 {
        parts.push(screen.paint(CARE, &format!("{unknown} unknown")));
    }
    if down > 0 {
        parts.push(format!("{down} down"));
    }
    let noun = if units.len() == 1 { "unit" } else { "units" };
    format!("{} {noun}: {}.\n", units.len(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::fixtures::{NOW_US, lines};

    #[test]
    fn each_unit_has_a_line() {
        insta::assert_snapshot!(table(&Screen::page(NOW_US), &lines()));
    }

    #[test]
    fn a_narrow_terminal_keeps_names_and_states() {
        let shown = table(&Screen::of_width(72, NOW_US), &lines());
        insta::assert_snapshot!(shown);
        assert!(shown.lines().all(|line| crate::cli::screen::columns(line) <= 72));
    }

    #[test]
    fn failed_units_stand_out() {
        let shown = table(&Screen::in_colour(NOW_US), &lines());
        let line = shown.lines().find(|line| line.contains("upload")).unwrap();
        assert!(line.contains("\x1b[1m\x1b[31mupload\x1b[0m"), "{line:?}");
        assert!(!shown.lines().find(|line| line.contains("redis")).unwrap().contains("[31m"));
    }

    #[test]
    fn no_units_is_no_empty_table() {
        insta::assert_snapshot!(table(&Screen::page(0), &UnitLines { units: vec![] }), @"There are no units: write one to the units folder, then `supervisorctl reload-config`.");
    }
}
