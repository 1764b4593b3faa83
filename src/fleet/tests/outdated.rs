//! A plan that was made for another inventory than whoever drives it has.

use proptest::prelude::*;

use super::{
    calm::{Calm, Course, fleets},
    *,
};
use crate::base::{Mono, TimeSpan};

fn outdated(gone: &[&str]) -> Outdated {
    Outdated { reason: "another fleet.toml".to_owned(), gone: gone.iter().map(|name| node(name)).collect() }
}

fn by() -> String {
    "alice".to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever people say but its end, and however far it was.
    #[test]
    fn nothing_more_is_begun_of_it_and_its_end_gives_back_what_is_drained((topology, plan) in fleets(), begun in 0_u64..120) {
        let course = |_: &StepOrder| Course { takes: 3, ..Course::quick() };
        let mut calm = Calm::new(&topology, &plan, course);
        calm.until(begun, |calm| calm.end().is_some());
        prop_assume!(calm.end().is_none());
        let acts = calm.acts.len();
        calm.take_over_at(calm.journal.len(), Some(outdated(&[])));
        prop_assert!(calm.is_paused(), "{:?}", calm.rollout.control());
        for say in [Say::Resume { by: by() }, Say::Approve { wave: None, by: by() }, Say::Resume { by: by() }] {
            calm.say(say);
            prop_assert!(!calm.until(60, |calm| !calm.is_paused()), "{:?}", calm.rollout.control());
        }
        calm.say(Say::Abort { reason: "anew".to_owned(), by: by() });
        prop_assert!(calm.until(200, |calm| calm.end() == Some(End::Aborted)), "{:?}", calm.rollout.control());
        prop_assert_eq!(calm.drained(), 0);
        // What was ordered and may not have been heard is asked for again.
        let known: BTreeSet<StepId> = calm.acts[..acts].iter().map(|(_, order)| order.id).collect();
        let new = calm.acts[acts..].iter().find(|(_, order)| !matches!(order.deed, Deed::Undrain { .. }) && !known.contains(&order.id));
        prop_assert!(new.is_none(), "{new:?}");
        let classes: BTreeSet<Class> = calm.rollout.report().into_values().collect();
        prop_assert!(classes.is_subset(&BTreeSet::from([Class::Untouched, Class::Done])), "{classes:?}");
    }

    #[test]
    fn it_goes_on_when_its_inventory_is_back_and_someone_says_so((topology, plan) in fleets(), begun in 0_u64..60) {
        let mut calm = Calm::new(&topology, &plan, |_| Course::quick());
        calm.until(begun, |calm| calm.end().is_some());
        prop_assume!(calm.end().is_none());
        calm.take_over_at(calm.journal.len(), Some(outdated(&[])));
        calm.outdate(None);
        prop_assert!(!calm.until(60, |calm| !calm.is_paused()), "not by itself");
        calm.say(Say::Resume { by: by() });
        prop_assert!(calm.until(100_000, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
    }
}

/// A pause and its end are no agreement.
#[test]
fn a_plan_to_which_nobody_agreed_is_not_agreed_to_by_way_of_another_inventory() {
    let policy = Policy { approve: Approve::Plan, ..Policy::default() };
    let topology = Draft::new().nodes(&["n1"], None).service("app", &["n1"]).policy("app", policy).checked();
    let plan = planned(&topology, &restart(&["app"]), &all_well(&topology, "elsewhere"));
    let mut calm = Calm::new(&topology, &plan, |_| Course::quick());
    calm.take_over_at(0, Some(outdated(&[])));
    let say = |calm: &mut Calm, say| {
        calm.say(say);
        calm.until(60, |_| false);
        assert_eq!((calm.rollout.control(), calm.acts.len()), (&Control::Unapproved, 0));
    };
    say(&mut calm, Say::Approve { wave: None, by: by() });
    say(&mut calm, Say::Resume { by: by() });
    calm.outdate(None);
    say(&mut calm, Say::Resume { by: by() });
    calm.say(Say::Approve { wave: None, by: by() });
    assert!(calm.until(60, |calm| calm.end() == Some(End::Succeeded)));
}

/// Of two nodes one was taken out of the inventory.
#[test]
fn whoever_is_there_no_more_is_not_waited_for_and_what_became_of_it_is_unknown() {
    let topology = Draft::new().nodes(&["n1", "n2"], None).service("app", &["n1", "n2"]).checked();
    let plan = planned(&topology, &restart(&["app"]), &all_well(&topology, "elsewhere"));
    let token = Token { epoch: 2, owner: 2 };
    for (gone, end) in
        [(&["n2"][..], Control::Ended(End::Aborted)), (&[], Control::Aborting { reason: "anew".to_owned() })]
    {
        let mut rollout = Rollout::new(Mono(1), topology.clone(), PlanId(1), plan.clone(), token, &[]);
        rollout
            .handle_all(Mono(1), [RolloutInput::Outdated(Some(outdated(gone))), RolloutInput::Lease(Mono(u64::MAX))]);
        let answer = Answer::Promised { token, ledger: BTreeMap::new() };
        let seq = Seq { life: 1, nth: 1 };
        rollout.handle(Mono(2), RolloutInput::Answer { node: node("n1"), seq, age: TimeSpan::ZERO, answer });
        rollout.handle(Mono(3), RolloutInput::Say(Say::Abort { reason: "anew".to_owned(), by: by() }));
        assert_eq!(rollout.control(), &end);
        let class = if gone.is_empty() { Class::Untouched } else { Class::Unknown };
        let app = |name: &str| Instance { service: service("app"), node: node(name) };
        assert_eq!(rollout.report(), BTreeMap::from([(app("n1"), Class::Untouched), (app("n2"), class)]));
    }
}
