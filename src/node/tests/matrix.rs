//! The table of Restart= in systemd.service(5), row by row, and the delays.

use proptest::prelude::*;

use super::super::restart::{command_result, delay, jittered, main_result, restarts_after};
use super::make::service;
use crate::{
    base::{ExitStatus, Rng, RunResult, Signal, TimeSpan},
    unit::spec::{ExitSet, Restart, RestartPolicy, ServiceKind},
};

const WHENS: [Restart; 7] = [
    Restart::No,
    Restart::Always,
    Restart::OnSuccess,
    Restart::OnFailure,
    Restart::OnAbnormal,
    Restart::OnAbort,
    Restart::OnWatchdog,
];

/// Table 1 of systemd.service(5) with the rows that stand in its source only; columns as in `WHENS`.
const TABLE: [(&[RunResult], &str); 5] = [
    (&[RunResult::Success], ".++...."),
    (&[RunResult::ExitCode], ".+.+..."),
    (&[RunResult::Signal, RunResult::CoreDump], ".+.+++."),
    (
        &[RunResult::Timeout, RunResult::OomKill, RunResult::Resources, RunResult::Protocol, RunResult::Unknown],
        ".+.++..",
    ),
    (&[RunResult::Watchdog], ".+.++.+"),
];

fn policy() -> RestartPolicy {
    (*service("web").service.restart).clone()
}

fn expected(result: RunResult, when: Restart) -> bool {
    let column = WHENS.iter().position(|known| *known == when).unwrap();
    let row = TABLE.iter().find(|(results, _)| results.contains(&result)).map(|(_, row)| row.as_bytes()[column]);
    row == Some(b'+')
}

#[test]
fn every_cell_of_the_table_is_as_the_manual_has_it() {
    for (results, _) in TABLE {
        for result in results {
            for when in WHENS {
                let follows = restarts_after(when, &policy(), ServiceKind::Simple, *result, None);
                assert_eq!(follows, expected(*result, when), "{result} {when:?}");
            }
        }
    }
    for when in WHENS {
        assert!(!restarts_after(when, &policy(), ServiceKind::Simple, RunResult::StartLimitHit, None));
    }
}

#[test]
fn ends_are_classed_as_systemd_classes_them() {
    let killed = |signal, core| ExitStatus::Signaled { signal, core };
    let success = ExitSet { codes: [143].into(), signals: [Signal::USR1].into() };
    let cases = [
        (ExitStatus::Exited(0), RunResult::Success, RunResult::Success),
        (ExitStatus::Exited(1), RunResult::ExitCode, RunResult::ExitCode),
        (ExitStatus::Exited(143), RunResult::Success, RunResult::Success),
        (killed(Signal::TERM, false), RunResult::Success, RunResult::Signal),
        (killed(Signal::HUP, false), RunResult::Success, RunResult::Signal),
        (killed(Signal::INT, false), RunResult::Success, RunResult::Signal),
        (killed(Signal::PIPE, false), RunResult::Success, RunResult::Signal),
        (killed(Signal::TERM, true), RunResult::CoreDump, RunResult::CoreDump),
        (killed(Signal::USR1, false), RunResult::Success, RunResult::Success),
        (killed(Signal::USR1, true), RunResult::CoreDump, RunResult::CoreDump),
        (killed(Signal::KILL, false), RunResult::Signal, RunResult::Signal),
        (ExitStatus::Unknown, RunResult::Unknown, RunResult::Unknown),
    ];
    for (status, simple, oneshot) in cases {
        assert_eq!(main_result(status, false, ServiceKind::Simple, &success), simple, "{status}");
        assert_eq!(main_result(status, false, ServiceKind::Oneshot, &success), oneshot, "{status}");
    }
    assert_eq!(main_result(killed(Signal::KILL, false), true, ServiceKind::Simple, &success), RunResult::OomKill);
    assert_eq!(command_result(killed(Signal::TERM, false)), RunResult::Signal, "a command has no polite signal");
    assert_eq!(command_result(ExitStatus::Exited(143)), RunResult::ExitCode);
}

#[test]
fn delays_grow_by_the_same_factor_up_to_the_largest() {
    let mut policy = policy();
    policy.delay = TimeSpan::from_secs(10);
    policy.steps = 4;
    policy.delay_max = TimeSpan::from_secs(160);
    let secs = [1, 2, 3, 4, 5, 6, 1000].map(|row| delay(&policy, row).to_string());
    assert_eq!(secs, ["10s", "20s", "40s", "1min 20s", "2min 40s", "2min 40s", "2min 40s"]);
    policy.delay_max = TimeSpan::INFINITY;
    assert_eq!(delay(&policy, 9), policy.delay);
    policy.delay_max = TimeSpan::from_secs(5);
    assert_eq!(delay(&policy, 9), policy.delay, "a largest below the first is none");
}

fn statuses() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![
        (0_u8..6).prop_map(ExitStatus::Exited),
        (1_i32..16, any::<bool>())
            .prop_map(|(raw, core)| ExitStatus::Signaled { signal: Signal::new(raw).unwrap(), core }),
        Just(ExitStatus::Unknown),
    ]
}

fn sets() -> impl Strategy<Value = ExitSet> {
    let signals = proptest::collection::vec((1_i32..16).prop_map(|raw| Signal::new(raw).unwrap()), 0..4);
    (proptest::collection::vec(0_u8..6, 0..3), signals)
        .prop_map(|(codes, signals)| ExitSet { codes: codes.into(), signals: signals.into() })
}

fn holds(set: &ExitSet, status: ExitStatus) -> bool {
    match status {
        ExitStatus::Exited(code) => set.codes.contains(&code),
        ExitStatus::Signaled { signal, .. } => set.signals.contains(&signal),
        ExitStatus::Unknown => false,
    }
}

proptest! {
    #[test]
    fn prevent_comes_before_force_and_force_before_the_table(
        status in statuses(),
        success in sets(),
        prevent in sets(),
        force in sets(),
        when in 0..WHENS.len(),
        oneshot in any::<bool>(),
    ) {
        let when = WHENS[when];
        let kind = if oneshot { ServiceKind::Oneshot } else { ServiceKind::Simple };
        let mut policy = policy();
        policy.prevent = prevent;
        policy.force = force;
        let result = main_result(status, false, kind, &success);
        let forced = holds(&policy.force, status) && !(oneshot && result == RunResult::Success);
        let wanted = !holds(&policy.prevent, status) && (forced || expected(result, when));
        prop_assert_eq!(restarts_after(when, &policy, kind, result, Some(status)), wanted);
    }

    #[test]
    fn a_delay_never_shrinks_with_the_row_nor_leaves_its_bounds(
        first in 1_u64..100_000_000, max in 1_u64..1_000_000_000, steps in 0_u32..20, row in 1_u32..40, seed in any::<u64>(),
    ) {
        let mut policy = policy();
        policy.delay = TimeSpan::from_micros(first);
        policy.delay_max = TimeSpan::from_micros(max);
        policy.steps = steps;
        let (one, next) = (delay(&policy, row), delay(&policy, row + 1));
        prop_assert!(one <= next);
        prop_assert!(one >= policy.delay && next <= policy.delay.max(policy.delay_max));
        let mut rng = Rng::new(seed);
        let late = jittered(one, 0.25, &mut rng);
        let quarter = one.micros().unwrap() / 4 + 1;
        prop_assert!(late >= one && late.micros().unwrap() <= one.micros().unwrap() + quarter);
        prop_assert_eq!(jittered(one, 0.0, &mut rng), one);
    }
}
