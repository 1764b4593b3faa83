//! What became of an order, per unit.

use std::fmt::Write;

use crate::{
    cli::{
        screen::{BAD, FAINT, GOOD, PLAIN, Screen, many_lines, one_line},
        table::{Align, Cell, Column, Room, render},
    },
    wire::v1::{OrderAnswer, UnitOutcome},
};

const TABLE: [Column; 3] = [
    Column { title: "UNIT", align: Align::Left, room: Room::Keep },
    Column { title: "OUTCOME", align: Align::Left, room: Room::Keep },
    Column { title: "WHAT", align: Align::Left, room: Room::Keep },
];

/// One line per unit. Messages are never cut: they hold the remedy.
pub(crate) fn outcomes(screen: &Screen, answer: &OrderAnswer) -> String {
    if answer.outcomes.is_empty() {
        return "Nothing to do.\n".to_owned();
    }
    let rows: Vec<Vec<Cell<'_>>> = answer.outcomes.iter().map(row).collect();
    let table = render(screen, &TABLE, &rows);
    // Outcomes explain themselves without a heading.
    table.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned())
}

/// What would happen, in its order.
pub(crate) fn plan(screen: &Screen, answer: &OrderAnswer) -> String {
    if answer.outcomes.is_empty() {
        return "Nothing would be done.\n".to_owned();
    }
    let mut out = String::from("Nothing is done. In this order it would be:\n");
    let width = answer.outcomes.len().to_string().len() + 2;
    for (index, outcome) in answer.outcomes.iter().enumerate() {
        let style = if outcome.ok { PLAIN } else { BAD };
        let text = format!("{}: {}", one_line(&outcome.unit), many_lines(&outcome.message));
        writeln!(out, "{:>width$}. {}", index + 1, screen.paint(style, &text)).ok();
    }
    out
}

fn row(outcome: &UnitOutcome) -> Vec<Cell<'_>> {
    let style = match (outcome.ok, outcome.code.as_str()) {
        (true, "already") => FAINT,
        (true, _) => GOOD,
        (false, _) => BAD,
    };
    vec![
        Cell::plain(one_line(&outcome.unit)),
        Cell::styled(one_line(&outcome.code), style),
        Cell::plain(one_line(&outcome.message)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> OrderAnswer {
        let outcome = |unit: &str, ok, code: &str, message: &str| UnitOutcome {
            unit: unit.into(),
            ok,
            code: code.into(),
            message: message.into(),
        };
        OrderAnswer {
            outcomes: vec![
                outcome("redis", true, "already", "is active"),
                outcome("web", true, "done", "restarted, up after 1.2s"),
                outcome("upload", false, "start-limit-hit", "5 starts within 5min: supervisorctl reset upload"),
            ],
        }
    }

    #[test]
    fn each_unit_says_what_became_of_it() {
        insta::assert_snapshot!(outcomes(&Screen::of_width(40, 0), &answer()), @r"
        redis   already          is active
        web     done             restarted, up after 1.2s
        upload  start-limit-hit  5 starts within 5min: supervisorctl reset upload
        ");
        assert_eq!(outcomes(&Screen::page(0), &OrderAnswer { outcomes: vec![] }), "Nothing to do.\n");
    }

    #[test]
    fn a_dry_run_is_a_numbered_plan() {
        insta::assert_snapshot!(plan(&Screen::page(0), &answer()), @r"
        Nothing is done. In this order it would be:
          1. redis: is active
          2. web: restarted, up after 1.2s
          3. upload: 5 starts within 5min: supervisorctl reset upload
        ");
    }
}
