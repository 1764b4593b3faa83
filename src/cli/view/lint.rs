//! `lint`: each problem with its place and the line it is about.

use std::{fmt::Write, str};

use crate::{
    cli::{
        lint::Findings,
        screen::{BAD, CARE, FAINT, GOOD, STRONG, Screen, columns, cut, one_line},
    },
    unit::{Level, Problem},
};

/// Longest line of a file that is shown.
const EXCERPT_COLUMNS_MAX: usize = 100;

/// All problems, and their count.
pub(crate) fn problems(screen: &Screen, findings: &Findings) -> String {
    let mut out = String::new();
    for problem in &findings.problems {
        push_problem(&mut out, screen, problem, excerpt(findings, problem));
    }
    let count = |level| findings.problems.iter().filter(|problem| problem.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let style = if errors > 0 { BAD } else { GOOD };
    let counts = format!("{}, {}", number(errors, "error"), number(warnings, "warning"));
    writeln!(out, "{}: {}.", number(findings.sources.len(), "file"), screen.paint(style, &counts)).ok();
    out
}

fn push_problem(out: &mut String, screen: &Screen, problem: &Problem, excerpt: Option<&str>) {
    let style = match problem.level {
        Level::Error => BAD,
        Level::Warning => CARE,
    };
    let place = format!("{}:{}:{}:", one_line(&problem.file.display().to_string()), problem.line, problem.column);
    let level = screen.paint(style, &format!("{}:", problem.level.as_str()));
    writeln!(out, "{} {level} {}", screen.paint(STRONG, &place), one_line(&problem.message)).ok();
    if let Some(line) = excerpt {
        let number = problem.line.to_string();
        let before: String = line.chars().take((problem.column as usize).saturating_sub(1)).collect();
        let indent = columns(&visible(&before));
        let bar = screen.paint(FAINT, "|");
        writeln!(out, "{number:>5} {bar} {}", cut(&visible(line), EXCERPT_COLUMNS_MAX)).ok();
        if indent < EXCERPT_COLUMNS_MAX {
            writeln!(out, "{:5} {bar} {:indent$}{}", "", "", screen.paint(style, "^")).ok();
        }
    }
    if let Some(help) = &problem.help {
        writeln!(out, "  help: {}", one_line(help)).ok();
    }
}

/// A tab takes one column, so that the mark stands where it should.
fn visible(line: &str) -> String {
    one_line(&line.replace('\t', " "))
}

/// The line of the file that a problem is about, unless it is empty.
fn excerpt<'f>(findings: &'f Findings, problem: &Problem) -> Option<&'f str> {
    let source = findings.sources.iter().find(|source| source.path == problem.file)?;
    let line = source.text.split(|byte| *byte == b'\n').nth(problem.line as usize - 1)?;
    str::from_utf8(line).ok().map(str::trim_end).filter(|line| !line.is_empty())
}

fn number(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::SourceText;

    #[test]
    fn a_problem_points_at_its_place() {
        let text = "[service]\nexec_start = \"/bin/web\"\n\t restrat_sec = 1\n";
        let problem = |line, column, level, message: &str, help: Option<&str>| Problem {
            file: std::path::Path::new("web.toml").into(),
            line,
            column,
            level,
            message: message.into(),
            help: help.map(Into::into),
        };
        let findings = Findings {
            sources: vec![SourceText::new("web.toml", text).unwrap()],
            problems: vec![
                problem(3, 3, Level::Error, "unknown key \"restrat_sec\"", Some("did you mean \"restart_sec\"?")),
                problem(9, 1, Level::Warning, "odd\x1b[2J", None),
            ],
        };
        insta::assert_snapshot!(problems(&Screen::page(0), &findings), @r#"
        web.toml:3:3: error: unknown key "restrat_sec"
            3 |   restrat_sec = 1
              |   ^
          help: did you mean "restart_sec"?
        web.toml:9:1: warning: odd\x1b[2J
        1 file: 1 error, 1 warning.
        "#);
        let none = Findings { problems: vec![], ..findings };
        assert_eq!(problems(&Screen::page(0), &none), "1 file: 0 errors, 0 warnings.\n");
    }
}
