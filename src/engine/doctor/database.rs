//! The database: whether it can be read, is sound, and is of the past.

use std::{collections::BTreeSet, time::Duration};

use super::{Case, aside, report::Report};
use crate::{
    base::Wall,
    edge::{clock, store},
};

const TOPIC: &str = "database";
/// Clocks are set by so much without harm.
const AHEAD_MAX: Duration = Duration::from_secs(60);

pub(super) async fn look(case: &Case) -> Report {
    let path = case.database();
    let looked = aside(TOPIC, move || {
        let mut report = Report::default();
        let place = path.to_string_lossy().into_owned();
        if !path.exists() {
            report.ok(TOPIC, place, "not there yet; the daemon begins it");
            return report;
        }
        match store::examine(&path, &BTreeSet::new()) {
            Ok(found) => match found.damage {
                None => judge_time(&mut report, place, found.newest, clock::wall()),
                Some(damage) => report.fail(
                    TOPIC,
                    place,
                    format!("it is damaged: {damage}"),
                    "the daemon sets it aside at its next start and begins a new one; save a copy, and look after the disk",
                ),
            },
            Err(error) => report.fail(
                TOPIC,
                place,
                format!("it cannot be read: {error}"),
                "look at its owner and mode (the daemon's user, 0600), and who holds it (fuser -v)",
            ),
        }
        report
    });
    looked.await.unwrap_or_else(|said| said)
}

fn judge_time(report: &mut Report, place: String, newest: Option<Wall>, now: Wall) {
    let ahead = newest.map_or(0, |newest| newest.0.saturating_sub(now.0));
    if i64::try_from(AHEAD_MAX.as_micros()).is_ok_and(|max| ahead > max) {
        let message = format!("its newest row is from {} s in the future: the clock was set back", ahead / 1_000_000);
        return report.warn(TOPIC, place, message, "correct the clock (chronyc makestep, timedatectl set-ntp true)");
    }
    report.ok(TOPIC, place, "sound");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_future_says_that_the_clock_was_set_back() {
        let said = |newest| {
            let mut report = Report::default();
            judge_time(&mut report, "db".to_owned(), newest, Wall(1_000_000_000));
            report.said().into_iter().map(|(level, _, message)| (level.to_owned(), message.to_owned())).next().unwrap()
        };
        assert_eq!(said(None).0, "ok");
        assert_eq!(said(Some(Wall(1_060_000_000))).0, "ok");
        let (level, message) = said(Some(Wall(1_090_000_000)));
        assert_eq!((level.as_str(), message.contains("90 s in the future")), ("warn", true));
    }
}
