//! What a plan's journal keeps, and what it is for: whoever drives next.

use proptest::prelude::*;

use super::{
    calm::{Calm, Course, fleets, secs},
    *,
};
use crate::base::Rng;

/// What people do to a plan, in some second.
fn says() -> impl Strategy<Value = Vec<(u64, Say)>> {
    let by = || "alice".to_owned();
    let instance = (0_usize..4, 0_usize..4).prop_map(|(service_nth, n)| Instance {
        service: service(&format!("s{service_nth}")),
        node: node(&format!("n{n}")),
    });
    let say = prop_oneof![
        3 => Just(Say::Pause { reason: "lunch".to_owned(), by: by() }),
        8 => Just(Say::Resume { by: by() }),
        1 => Just(Say::Abort { reason: "enough".to_owned(), by: by() }),
        2 => instance.prop_map(move |instance| Say::Quarantine { instance, by: by() }),
        2 => proptest::option::of(0_usize..6).prop_map(move |wave| Say::Approve { wave, by: by() }),
    ];
    proptest::collection::vec((0_u64..300, say), 0..12)
}

/// Some steps fail, and some services do not come back.
fn with_failures(topology: &Topology, seed: u64) -> impl FnMut(&StepOrder) -> Course + 'static {
    let (mut rng, topology) = (Rng::new(seed), topology.clone());
    move |order| {
        let healthy = secs(topology.services[&order.instance.service].policy.deadlines.healthy);
        let kinds = [FailureKind::Exit, FailureKind::Invalid, FailureKind::Balancer, FailureKind::OtherRun];
        let kind = usize::try_from(rng.below(40)).unwrap();
        Course {
            takes: 1 + rng.below(4),
            well_after: (rng.below(12) != 0).then(|| rng.below(healthy * 5 / 4)),
            fails: kinds.get(kind).copied(),
        }
    }
}

fn replayed(calm: &Calm) -> String {
    Calm::driver(calm.second, &calm.topology, &calm.plan, 99, &calm.journal).lasting()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// P8: a driver that reads the journal, as far as it is, knows what the one knows that wrote it.
    #[test]
    fn the_journal_up_to_any_moment_is_the_state_of_that_moment((topology, plan) in fleets(), seed: u64, mut says in says()) {
        let mut calm = Calm::new(&topology, &plan, with_failures(&topology, seed));
        says.sort_by_key(|(second, _)| *second);
        let mut says = says.into_iter().peekable();
        let mut known = 0;
        while calm.second < 600 && calm.end().is_none() {
            while let Some((_, say)) = says.next_if(|(second, _)| *second <= calm.second) {
                calm.say(say);
                prop_assert_eq!(replayed(&calm), calm.rollout.lasting(), "{:?}", calm.journal);
            }
            // People who give up nothing: what failed is resumed while its requests are given back.
            if calm.is_paused() && calm.second.is_multiple_of(5) {
                calm.say(Say::Resume { by: "bob".to_owned() });
                prop_assert_eq!(replayed(&calm), calm.rollout.lasting(), "{:?}", calm.journal);
            }
            calm.pass();
            if known < calm.journal.len() {
                known = calm.journal.len();
                prop_assert_eq!(replayed(&calm), calm.rollout.lasting(), "{:?}", calm.journal);
            }
        }
    }

    /// Drivers that die in the middle of whatever they do, and leave the last words of the journal unwritten, change nothing about what is done.
    #[test]
    fn whoever_takes_a_plan_over_goes_on_where_it_stood(
        (topology, plan) in fleets(),
        deaths in proptest::collection::btree_set(0_u64..200, 0..8),
        lost in 0_usize..3,
    ) {
        let course = |order: &StepOrder| Course { takes: 3, well_after: Some(u64::from(order.deed == Deed::Restart)), fails: None };
        let mut calm = Calm::new(&topology, &plan, course);
        for second in deaths {
            calm.until(second.saturating_sub(calm.second), |calm| calm.end().is_some());
            if calm.end().is_none() {
                calm.take_over(calm.journal.len().saturating_sub(lost));
            }
        }
        prop_assert!(calm.until(100_000, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
        let mut steps = BTreeSet::new();
        for (_, order) in &calm.acts {
            prop_assert!(steps.insert(order.id), "{:?} of {} twice", order.deed, order.instance);
        }
        let wanted = plan.tasks().filter(|task| task.action == Action::Restart).map(|task| (task.instance.clone(), 1));
        prop_assert_eq!(calm.restarts(), wanted.collect::<BTreeMap<_, _>>());
    }

    /// P11: a plan goes back on its own at most once, whatever fails. Plans restart and reload, which leaves no release to go back to:
    /// their settings refuse the policy, and whoever has it all the same waits for people as with `pause`. Nothing is done anew but what
    /// failed, and that as often as someone said so.
    #[test]
    fn nothing_is_done_again_but_what_failed_and_that_someone_wants_tried((topology, plan) in fleets(), seed: u64, resumes in 0_usize..4) {
        let mut told = Vec::new();
        for on_failure in [OnFailure::Rollback, OnFailure::Pause] {
            let mut topology = topology.clone();
            topology.services.values_mut().for_each(|service| service.policy.on_failure = on_failure);
            let mut failures = with_failures(&topology, seed);
            let never_anew = move |order: &StepOrder| {
                let course = failures(order);
                // What was another run than expected is tried anew by itself: nothing was done.
                Course { fails: course.fails.filter(|kind| *kind != FailureKind::OtherRun), ..course }
            };
            let mut calm = Calm::new(&topology, &plan, never_anew);
            for nth in 0..=resumes {
                calm.until(3000, |calm| calm.end().is_some() || calm.is_paused());
                let acts = calm.acts.len();
                calm.until(100, |_| false);
                let after = calm.acts[acts..].iter().find(|(_, order)| !matches!(order.deed, Deed::Undrain { .. }));
                prop_assert!(after.is_none(), "after it stood: {after:?}");
                if nth < resumes {
                    calm.say(Say::Resume { by: "alice".to_owned() });
                }
            }
            for (instance, restarts) in calm.restarts() {
                let is_it = |event: &&Event| matches!(event, Event::Failed(whose, _) if *whose == instance);
                let failed = calm.journal.iter().filter(is_it).count();
                prop_assert!(restarts <= 1 + failed.min(resumes), "{instance}: {restarts}, {:?}", calm.journal);
            }
            told.push(calm.journal);
        }
        prop_assert_eq!(&told[0], &told[1]);
    }
}
