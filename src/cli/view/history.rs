//! `history`: past runs, newest first.

use crate::{
    cli::{
        humane,
        screen::{BAD, CARE, GOOD, Screen, one_line},
        table::{Align, Cell, Column, Room, render},
    },
    wire::v1::{History, Run},
};

const TABLE: [Column; 10] = [
    Column { title: "UNIT", align: Align::Left, room: Room::Keep },
    Column { title: "RUN", align: Align::Right, room: Room::Keep },
    Column { title: "STARTED", align: Align::Left, room: Room::Keep },
    Column { title: "LASTED", align: Align::Left, room: Room::Drop(2) },
    Column { title: "EXIT", align: Align::Left, room: Room::Drop(6) },
    Column { title: "RESULT", align: Align::Left, room: Room::Drop(3) },
    Column { title: "THEN", align: Align::Left, room: Room::Drop(5) },
    Column { title: "CPU", align: Align::Right, room: Room::Drop(0) },
    Column { title: "PEAK", align: Align::Right, room: Room::Drop(1) },
    Column { title: "STARTED BY", align: Align::Left, room: Room::Cut },
];

/// The same where one of them says why it ended.
const WITH_REASONS: [Column; 11] = {
    let [unit, run, started, lasted, exit, result, then, cpu, peak, by] = TABLE;
    let by = Column { room: Room::Drop(4), ..by };
    let because = Column { title: "ENDED BECAUSE", align: Align::Left, room: Room::Cut };
    [unit, run, started, lasted, exit, result, then, cpu, peak, by, because]
};

/// The runs as a table.
pub(crate) fn table(screen: &Screen, history: &History) -> String {
    if history.runs.is_empty() {
        return "There are no runs yet.\n".to_owned();
    }
    let rows: Vec<Vec<Cell<'_>>> = history.runs.iter().map(|run| row(screen, run)).collect();
    let says_why = history.runs.iter().any(|run| run.reason.is_some());
    render(screen, if says_why { &WITH_REASONS[..] } else { &TABLE }, &rows)
}

fn row<'r>(screen: &Screen, run: &'r Run) -> Vec<Cell<'r>> {
    let end_us = run.ended_us.unwrap_or(screen.now_us);
    let lasted = humane::took(u64::try_from(end_us.saturating_sub(run.started_us)).unwrap_or(0));
    vec![
        Cell::plain(one_line(&run.unit)),
        Cell::plain(run.generation.to_string()),
        Cell::plain(screen.local(run.started_us)),
        Cell::plain(if run.ended_us.is_some() { lasted } else { format!("{lasted} so far") }),
        exit(run),
        result(run),
        consequence(run),
        Cell::optional(run.cpu_us.map(humane::took)),
        Cell::optional(run.max_rss_kib.map(|kib| humane::bytes(kib.saturating_mul(1024)))),
        Cell::plain(started_by(run)),
        Cell::optional(run.reason.as_deref().map(one_line)),
    ]
}

/// How its main process ended, or that it goes on.
fn exit(run: &Run) -> Cell<'_> {
    match (&run.status, run.ended_us, run.ready_us) {
        (Some(status), _, _) => Cell::plain(one_line(status)),
        (None, Some(_), _) => Cell::none(),
        (None, None, Some(_)) => Cell::styled("running".to_owned(), GOOD),
        (None, None, None) => Cell::styled("starting".to_owned(), CARE),
    }
}

/// The class of its end; one that nobody wanted stands out.
fn result(run: &Run) -> Cell<'_> {
    match run.result.as_deref() {
        None => Cell::none(),
        Some(_) if run.consequence.as_deref() == Some("left") => Cell::none(),
        Some(result) if result == "success" || run.wanted == Some(true) => Cell::plain(one_line(result)),
        Some(result) => Cell::styled(one_line(result), BAD),
    }
}

/// What was done about its end.
fn consequence(run: &Run) -> Cell<'_> {
    match run.consequence.as_deref() {
        None => Cell::none(),
        Some("restart") => Cell::styled("restarted".to_owned(), CARE),
        // It has not ended: what a run of ours would have ended with says nothing of it.
        Some("left") => Cell::plain("runs on"),
        Some("rest") if run.wanted == Some(true) => Cell::plain("as asked"),
        Some("rest") => Cell::plain("rests"),
        Some("fail") => Cell::styled("failed".to_owned(), BAD),
        Some("start-limit") => Cell::styled("start limit".to_owned(), BAD),
        Some(other) => Cell::plain(one_line(other)),
    }
}

/// `manual, by uid 0`, `unhealthy: probe live`.
fn started_by(run: &Run) -> String {
    let mut text = run.cause.clone();
    if let Some(detail) = &run.cause_detail {
        text.push_str(": ");
        text.push_str(detail);
    }
    if let Some(actor) = &run.actor {
        text.push_str(", by ");
        text.push_str(actor);
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::fixtures::NOW_US;

    #[test]
    fn what_another_manager_keeps_runs_on_when_our_part_is_over() {
        let left =
            Run { consequence: Some("left".into()), wanted: Some(true), result: Some("success".into()), ..run(1, 9) };
        let shown = table(&Screen::page(NOW_US), &History { runs: vec![left] });
        assert!(shown.contains("runs on") && !shown.contains("as asked") && !shown.contains("success"), "{shown}");
    }

    fn run(generation: u64, minutes_ago: i64) -> Run {
        Run {
            seq: 1,
            unit: "web".into(),
            generation,
            invocation: "0123456789abcdef0123456789abcdef".into(),
            pid: Some(4217),
            started_us: NOW_US - minutes_ago * 60_000_000,
            cause: "auto-restart".into(),
            cause_detail: None,
            actor: None,
            ready_us: Some(NOW_US - minutes_ago * 60_000_000 + 200_000),
            ended_us: Some(NOW_US - minutes_ago * 60_000_000 + 1_500_000),
            status: Some("exit code 1".into()),
            result: Some("exit-code".into()),
            wanted: Some(false),
            consequence: Some("restart".into()),
            cpu_us: Some(90_000),
            max_rss_kib: Some(12_600),
            reason: None,
            last_output: Vec::new(),
        }
    }

    fn history() -> History {
        let lives = Run {
            ended_us: None,
            status: None,
            result: None,
            wanted: None,
            consequence: None,
            cpu_us: None,
            max_rss_kib: None,
            reason: None,
            last_output: Vec::new(),
            cause: "manual".into(),
            actor: Some("uid 0".into()),
            ..run(4, 10)
        };
        let wanted = Run {
            cause: "unhealthy".into(),
            cause_detail: Some("probe live".into()),
            status: Some("killed by SIGTERM".into()),
            result: Some("success".into()),
            wanted: Some(true),
            consequence: Some("rest".into()),
            ended_us: Some(NOW_US - 11 * 60_000_000),
            ..run(3, 100)
        };
        let by_probe = Run {
            status: Some("killed by SIGTERM".into()),
            result: Some("success".into()),
            reason: Some("probe live failed 3 times since 2026-11-30T10:02:00Z: status 503".into()),
            ..run(2, 101)
        };
        let limit = Run { consequence: Some("start-limit".into()), ..run(2, 101) };
        History { runs: vec![lives, wanted, by_probe, limit, run(1, 102)] }
    }

    #[test]
    fn each_run_says_how_it_came_and_went() {
        insta::assert_snapshot!(table(&Screen::page(NOW_US), &history()));
    }

    #[test]
    fn a_narrow_terminal_keeps_the_results() {
        let mut history = history();
        insta::assert_snapshot!(table(&Screen::of_width(80, NOW_US), &history));
        history.runs.retain(|run| run.reason.is_none());
        insta::assert_snapshot!(table(&Screen::of_width(80, NOW_US), &history), @r"
        UNIT  RUN  STARTED              EXIT               THEN         STARTED BY
        web     4  2026-03-01 11:50:00  running            -            manual, by uid 0
        web     3  2026-03-01 10:20:00  killed by SIGTERM  as asked     unhealthy: prob…
        web     2  2026-03-01 10:19:00  exit code 1        start limit  auto-restart
        web     1  2026-03-01 10:18:00  exit code 1        restarted    auto-restart
        ");
    }
}
