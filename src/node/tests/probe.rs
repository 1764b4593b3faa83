//! What answers amount to.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{
        input::{Finding, ProbeOutcome},
        probe::Probe,
        status::Verdict,
    },
    make::probe,
};
use crate::{
    base::{Mono, Now, TimeSpan, Wall},
    unit::spec::{OnUnhealthy, ProbeSpec},
};

fn spec(unhealthy_after: u32, unhealthy_window: u32, healthy_after: u32) -> ProbeSpec {
    ProbeSpec { unhealthy_after, unhealthy_window, healthy_after, ..probe("live", OnUnhealthy::Alert) }
}

const NOW: Now = Now { mono: Mono(1), wall: Wall(1) };

fn finding(answer: char, nth: usize) -> Finding {
    let reason = nth.to_string();
    match answer {
        '.' => Finding::Good,
        'd' => Finding::Degraded(reason),
        'x' => Finding::Bad(reason),
        _ => Finding::Unasked(reason),
    }
}

/// Verdicts after each of `answers`: `.` good, `d` degraded, `x` bad, `?` not asked.
fn verdicts(spec: &ProbeSpec, answers: &str) -> String {
    let mut probe = Probe::default();
    let told = answers.chars().map(|answer| {
        probe.count(NOW, spec, &ProbeOutcome { finding: finding(answer, 0), took: Duration::ZERO }, false);
        match probe.verdict {
            Verdict::Unknown => '?',
            Verdict::Healthy => '.',
            Verdict::Degraded => 'd',
            Verdict::Unhealthy => 'x',
        }
    });
    told.collect()
}

#[test]
fn failures_in_a_row_or_among_the_last_ones_make_it_unhealthy() {
    assert_eq!(verdicts(&spec(3, 3, 2), ".xx.xxx.x..."), "......xxxx..");
    assert_eq!(verdicts(&spec(3, 5, 1), ".x.x.x"), ".....x", "3 of the last 5");
    assert_eq!(verdicts(&spec(3, 5, 1), ".x..x...x"), ".........", "never 3 of the last 5");
    assert_eq!(verdicts(&spec(3, 5, 1), "xxx.xx.x"), "??x....x", "what was before a rise is over");
}

#[test]
fn what_works_but_not_for_ever_is_degraded_and_never_unhealthy() {
    assert_eq!(verdicts(&spec(2, 2, 2), ".dddd.d.."), "..dddddd.");
    assert_eq!(verdicts(&spec(2, 2, 1), "d"), "d", "the first answer of a run is enough");
    assert_eq!(verdicts(&spec(2, 2, 2), ".dxdx"), "..ddd", "of two that fall short one at most is bad");
    assert_eq!(verdicts(&spec(2, 2, 2), ".xxdd.."), "..xxdd.");
}

#[test]
fn the_reason_of_a_verdict_is_of_an_answer_that_speaks_for_it() {
    // Each answer says which it is: of the first it is 0.
    for (answers, verdict, reason) in [
        (".dx", Verdict::Degraded, "1"),
        (".xd", Verdict::Degraded, "2"),
        (".dxxx", Verdict::Unhealthy, "4"),
        (".xxd", Verdict::Unhealthy, "2"),
        (".xxd.", Verdict::Degraded, "3"),
        (".dd.x", Verdict::Degraded, "2"),
        (".dd?", Verdict::Degraded, "2"),
        (".xx?d?", Verdict::Unhealthy, "2"),
        (".x", Verdict::Healthy, "1"),
        ("x", Verdict::Unknown, "0"),
        ("?", Verdict::Unknown, "0"),
    ] {
        let mut probe = Probe::default();
        for (nth, answer) in answers.chars().enumerate() {
            let outcome = ProbeOutcome { finding: finding(answer, nth), took: Duration::ZERO };
            probe.count(NOW, &spec(2, 2, 2), &outcome, false);
        }
        assert_eq!((probe.verdict, probe.reason()), (verdict, Some(reason)), "{answers}");
    }
}

#[test]
fn an_answer_that_nobody_gave_changes_nothing() {
    assert_eq!(verdicts(&spec(2, 2, 1), "?.x?x??."), "?...xxx.");
}

#[test]
fn bad_answers_before_it_was_ever_well_count_only_after_the_grace() {
    let (spec, mut probe) = (spec(1, 1, 1), Probe::default());
    let bad = ProbeOutcome { finding: Finding::Bad("not yet".to_owned()), took: Duration::ZERO };
    probe.count(NOW, &spec, &bad, true);
    assert_eq!((probe.verdict, probe.reason()), (Verdict::Unknown, Some("not yet")));
    probe.count(NOW, &spec, &ProbeOutcome { finding: Finding::Good, took: Duration::ZERO }, true);
    probe.count(NOW, &spec, &bad, true);
    assert_eq!(probe.verdict, Verdict::Unhealthy, "it had been there");
}

#[test]
fn the_pauses_of_what_is_unhealthy_double_up_to_the_longest() {
    let spec = ProbeSpec { backoff_max: TimeSpan::from_secs(60), ..spec(1, 1, 1) };
    let mut probe = Probe::known(Verdict::Unhealthy);
    let mut now = Mono::default();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let next = probe.next_turn(now, &spec, 0).unwrap();
        pauses.push(next.since(now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60]);
    probe.verdict = Verdict::Healthy;
    assert_eq!(probe.next_turn(now, &spec, 5).unwrap().since(now), Duration::from_micros(10_000_005));
}

proptest! {
    /// Whatever the answers, whoever is degraded or unhealthy has a reason, and it is of an answer of that kind.
    #[test]
    fn whoever_fell_has_a_reason_of_its_kind(
        after in 1_u32..6, more in 0_u32..6, rises in 1_u32..4, answers in proptest::collection::vec(0_u8..4, 0..200)
    ) {
        let (mut probe, spec) = (Probe::default(), spec(after, after + more, rises));
        let answers: Vec<char> = answers.iter().map(|answer| ['.', 'd', 'x', '?'][usize::from(*answer)]).collect();
        for (nth, answer) in answers.iter().enumerate() {
            probe.count(NOW, &spec, &ProbeOutcome { finding: finding(*answer, nth), took: Duration::ZERO }, false);
            let kind = match probe.verdict {
                Verdict::Unhealthy => 'x',
                Verdict::Degraded => 'd',
                Verdict::Unknown | Verdict::Healthy => continue,
            };
            let of = probe.reason().and_then(|reason| reason.parse::<usize>().ok()).map(|nth| answers[nth]);
            prop_assert_eq!(of, Some(kind), "{:?} at {}", answers, nth);
        }
    }

    /// One bad answer less than it takes never makes a probe unhealthy, wherever the answers fall.
    #[test]
    fn fewer_failures_than_it_takes_never_make_it_unhealthy(
        after in 1_u32..6, more in 0_u32..6, answers in proptest::collection::vec(0_u8..4, 0..200)
    ) {
        let window = after + more;
        let text: String = answers.iter().map(|answer| ['.', 'd', 'x', '?'][usize::from(*answer)]).collect();
        let told = verdicts(&spec(after, window, 2), &text);
        let asked: Vec<char> = text.chars().filter(|answer| *answer != '?').collect();
        let most = asked.windows(window as usize).map(|window| window.iter().filter(|c| **c == 'x').count()).max();
        let all = asked.iter().filter(|c| **c == 'x').count();
        if most.unwrap_or(all).max(if asked.len() < window as usize { all } else { 0 }) < after as usize {
            prop_assert!(!told.contains('x'), "{text} {told}");
        }
    }
}
