//! `check`: lines in the form that monitoring plugins print, for people and machines alike.
//!
//! Source: Monitoring Plugins Development Guidelines: `LEVEL - text | 'label'=value[unit] …`.

use std::cmp::Reverse;

use crate::{
    cli::{
        exit::CheckExit,
        screen::{BAD, CARE, GOOD, Screen, one_line},
    },
    wire::v1::{CheckAnswer, UnitCheck},
};

/// One line per service, the worst first, because monitoring systems show the first.
pub(crate) fn lines(screen: &Screen, answer: &CheckAnswer) -> String {
    if answer.checks.is_empty() {
        return "UNKNOWN - there is nothing to check\n".to_owned();
    }
    let mut checks: Vec<&UnitCheck> = answer.checks.iter().collect();
    checks.sort_by_key(|check| Reverse(CheckExit::of_level(check.level).weight()));
    checks.into_iter().map(|check| line(screen, check)).collect()
}

fn line(screen: &Screen, check: &UnitCheck) -> String {
    let level = CheckExit::of_level(check.level);
    let style = match level {
        CheckExit::Ok => GOOD,
        CheckExit::Warning | CheckExit::Unknown => CARE,
        CheckExit::Critical => BAD,
    };
    let action = check.action.as_deref().map(|action| format!("; {action}"));
    let text = format!("{}: {}{}", check.unit, check.message, action.unwrap_or_default());
    let perfdata: String = check
        .probes
        .iter()
        .filter_map(|probe| {
            let us = probe.took_us?;
            Some(format!(" {}={}.{:06}s", label(&probe.name), us / 1_000_000, us % 1_000_000))
        })
        .collect();
    let bar = if perfdata.is_empty() { "" } else { " |" };
    format!("{} - {}{bar}{perfdata}\n", screen.paint(style, level.word()), in_text(&text))
}

/// Text before the bar, which must not have a bar itself.
fn in_text(text: &str) -> String {
    one_line(text).replace('|', "¦")
}

/// A label of perfdata: no equals sign, and in quotes where it has a space or a quote.
fn label(name: &str) -> String {
    let name = in_text(name).replace('=', "_");
    if name.contains([' ', '\'']) { format!("'{}'", name.replace('\'', "''")) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::Probe;

    #[test]
    fn the_lines_are_a_monitoring_plugins() {
        let probe =
            |name: &str, took_us| Probe { name: name.into(), verdict: "healthy".into(), failure: None, took_us };
        let check = |unit: &str, level, message: &str, probes, action: Option<&str>| UnitCheck {
            unit: unit.into(),
            level,
            message: message.into(),
            probes,
            action: action.map(Into::into),
        };
        let answer = CheckAnswer {
            checks: vec![
                check("redis", 0, "active, no probes", vec![], None),
                check("odd", 7, "cannot be asked", vec![], None),
                check("web", 1, "upload is slow | very", vec![probe("it's = slow", Some(2_000_001))], None),
                check(
                    "upload",
                    2,
                    "live: connection refused\nby 127.0.0.1",
                    vec![probe("live", Some(3_400)), probe("deep", None)],
                    Some("restarted"),
                ),
            ],
        };
        insta::assert_snapshot!(lines(&Screen::page(0), &answer), @r"
        CRITICAL - upload: live: connection refused\nby 127.0.0.1; restarted | live=0.003400s
        WARNING - web: upload is slow ¦ very | 'it''s _ slow'=2.000001s
        UNKNOWN - odd: cannot be asked
        OK - redis: active, no probes
        ");
    }

    #[test]
    fn nothing_to_check_is_no_success() {
        let nothing = lines(&Screen::page(0), &CheckAnswer { checks: vec![] });
        assert_eq!(nothing, "UNKNOWN - there is nothing to check\n");
    }
}
