//! That plans come to an end, when, and what is left to do afterwards.

use proptest::prelude::*;

use super::{
    calm::{Calm, Course, fleets, secs},
    *,
};
use crate::base::{Rng, TimeSpan};

/// What messages and looks may add to each turn, in seconds.
const SLACK: u64 = 10;

/// As long as everything may take at most.
fn as_slow_as_allowed(topology: &Topology, seed: u64) -> impl FnMut(&StepOrder) -> Course + 'static {
    let (mut rng, topology) = (Rng::new(seed), topology.clone());
    move |order| {
        let healthy = topology.services[&order.instance.service].policy.deadlines.healthy;
        let takes = 1 + rng.below(secs(order.deadline));
        Course { takes, well_after: Some(rng.below(secs(healthy))), fails: None }
    }
}

/// So many of a service can be done at once: its budget, and what its load balancers leave.
fn at_once(topology: &Topology, wave: &Wave) -> u64 {
    let service = &topology.services[&wave.service];
    let spare = service.behind.iter().map(|(pool, _)| service.count() - topology.pools[pool].min_active);
    u64::from(spare.min().unwrap_or(u32::MAX).min(wave.max_unavailable).max(1))
}

fn turns(topology: &Topology, wave: &Wave) -> u64 {
    (wave.tasks.len() as u64).div_ceil(at_once(topology, wave))
}

/// Each wave after the other, each phase as long as it may take.
fn latest(topology: &Topology, plan: &Plan) -> u64 {
    let of_wave = |wave: &Wave| {
        let Deadlines { drain, validate, act, healthy, progress: _ } =
            topology.services[&wave.service].policy.deadlines;
        // An undrain may take as long as an act.
        let turn = [drain, validate, act, healthy, act].into_iter().map(secs).sum::<u64>() + SLACK;
        turns(topology, wave) * turn + secs(wave.soak) + SLACK
    };
    plan.waves.iter().map(of_wave).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// P7, without faults; and P10 on the way.
    #[test]
    fn a_plan_whose_steps_keep_their_deadlines_succeeds_within_them((topology, plan) in fleets(), seed: u64) {
        let mut calm = Calm::new(&topology, &plan, as_slow_as_allowed(&topology, seed));
        let latest = latest(&topology, &plan);
        let is_over = calm.until(latest, |calm| calm.end().is_some() || calm.is_paused());
        prop_assert!(is_over, "not within {latest} s: {:?}", calm.journal);
        prop_assert_eq!(calm.end(), Some(End::Succeeded), "{:?}", calm.journal);
        prop_assert_eq!(calm.too_few, None);
    }

    /// P7 by what people were shown. The estimate knows nothing of load balancers that have no server to spare, nor of who comes
    /// last and alone.
    #[test]
    fn a_plan_whose_steps_take_what_is_usual_is_over_when_it_was_said_to_be((topology, plan) in fleets(), seed: u64) {
        let is_guessed = |wave: &Wave| !wave.alone && at_once(&topology, wave) == u64::from(wave.max_unavailable);
        prop_assume!(plan.waves.iter().all(is_guessed));
        let mut rng = Rng::new(seed);
        let usual = move |order: &StepOrder| match order.deed {
            Deed::Drain { .. } => Course { takes: 1 + rng.below(9), ..Course::quick() },
            Deed::Restart => Course { takes: 1 + rng.below(5), well_after: Some(rng.below(5)), fails: None },
            Deed::Notify | Deed::Validate | Deed::Reload | Deed::Undrain { .. } => Course::quick(),
        };
        // Who is well so soon is so within any deadline of this world only if that is long enough.
        let mut roomy = topology.clone();
        roomy.services.values_mut().for_each(|service| service.policy.deadlines = Deadlines::default());
        let mut calm = Calm::new(&roomy, &plan, usual);
        // A look at the configuration and a word to the load balancers are not guessed at.
        let slack: u64 = plan.waves.iter().map(|wave| turns(&topology, wave) * 3 + 3).sum();
        let said = secs(plan.estimate()) + slack;
        prop_assert!(calm.until(said, |calm| calm.end() == Some(End::Succeeded)), "not within {said} s: {:?}", calm.journal);
    }

    /// P6: what was applied has nothing left to do. A restart that is wanted again is another plan and is done again, by intent; what
    /// is idempotent is carrying the same plan out, whatever the next driver knows of its journal.
    #[test]
    fn a_plan_that_was_carried_out_is_carried_out_again_without_a_step((topology, plan) in fleets(), known: proptest::sample::Index) {
        let mut calm = Calm::new(&topology, &plan, |_| Course::quick());
        prop_assert!(calm.until(100_000, |calm| calm.end().is_some()));
        let acts = calm.acts.len();
        // All but its end.
        calm.take_over(known.index(calm.journal.len()));
        prop_assert!(calm.until(1000, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
        prop_assert_eq!(calm.acts.len(), acts);
        let tasks: BTreeSet<Instance> = plan.tasks().map(|task| task.instance.clone()).collect();
        let acted: BTreeSet<Instance> = calm.acts.iter().map(|(_, order)| order.instance.clone()).collect();
        prop_assert_eq!(acted, tasks);
    }

    /// P9: who lost the lock, as when Redis is gone, begins nothing, and a loss of the lock itself touches nobody.
    #[test]
    fn a_driver_without_its_lease_begins_nothing((topology, plan) in fleets(), lease in 0_u64..60) {
        let mut calm = Calm::new(&topology, &plan, |_| Course::quick());
        calm.lease(lease);
        calm.until(lease + 120, |_| false);
        let late = calm.acts.iter().find(|(second, _)| *second > lease);
        prop_assert!(late.is_none(), "{late:?}");
        // It goes on where it stood once it drives again, after a word from people if that took too long.
        calm.lease(u64::MAX);
        if calm.is_paused() {
            calm.say(Say::Resume { by: by() });
        }
        prop_assert!(calm.until(100_000, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
        let restarts = calm.restarts();
        prop_assert!(restarts.values().all(|count| *count == 1), "{restarts:?}");
    }
}

fn three(policy: Policy) -> (Topology, Plan) {
    let topology = Draft::new().nodes(&["n1", "n2", "n3"], None).service("app", &["n1", "n2", "n3"]);
    let topology = topology.policy("app", policy).checked();
    let plan = planned(&topology, &restart(&["app"]), &all_well(&topology, "elsewhere"));
    (topology, plan)
}

fn app(name: &str) -> Instance {
    Instance { service: service("app"), node: node(name) }
}

fn never_well(name: &str) -> impl FnMut(&StepOrder) -> Course + 'static {
    let broken = app(name);
    move |order| {
        let well_after = (order.instance != broken).then_some(1);
        Course { well_after, ..Course::quick() }
    }
}

fn by() -> String {
    "alice".to_owned()
}

/// P1b.
#[test]
fn while_one_that_was_broken_is_not_well_no_other_is_taken_down_until_someone_gives_it_up() {
    let (topology, plan) = three(Policy { max_failures: 1, ..Policy::default() });
    let mut calm = Calm::new(&topology, &plan, never_well("n1"));
    assert!(calm.until(400, |calm| calm.journal.iter().any(|event| matches!(event, Event::Failed(..)))));
    calm.until(100, |_| false);
    assert_eq!(calm.restarts(), BTreeMap::from([(app("n1"), 1)]));
    calm.say(Say::Quarantine { instance: app("n1"), by: by() });
    assert!(calm.until(100, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
    assert_eq!(calm.restarts().len(), 3);
}

#[test]
fn a_plan_that_goes_on_without_whom_someone_gave_up_comes_to_its_end() {
    for is_resumed_first in [false, true] {
        let (topology, plan) = three(Policy::default());
        let mut calm = Calm::new(&topology, &plan, never_well("n3"));
        assert!(calm.until(1000, Calm::is_paused), "{:?}", calm.journal);
        let mut said = [Say::Quarantine { instance: app("n3"), by: by() }, Say::Resume { by: by() }];
        if is_resumed_first {
            said.reverse();
        }
        said.into_iter().for_each(|say| calm.say(say));
        assert!(calm.until(400, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
    }
}

/// P7: a plan neither ends nor goes on only where people are told so.
#[test]
fn what_fails_however_often_it_is_resumed_is_said_to_each_time() {
    let (topology, plan) = three(Policy::default());
    let failing = |order: &StepOrder| Course {
        fails: (order.instance == app("n3") && order.deed == Deed::Restart).then_some(FailureKind::Exit),
        ..Course::quick()
    };
    let mut calm = Calm::new(&topology, &plan, failing);
    for nth in 0..10 {
        assert!(calm.until(1000, Calm::is_paused), "resumed {nth} times: {:?}", calm.rollout.control());
        calm.say(Say::Resume { by: by() });
    }
    calm.say(Say::Quarantine { instance: app("n3"), by: by() });
    calm.say(Say::Resume { by: by() });
    assert!(calm.until(1000, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
}

/// What one plan left drained the next one brings back that restarts it, and nobody else is touched before.
#[test]
fn whoever_was_left_drained_comes_back_with_the_plan_that_takes_its_place() {
    let topology = Draft::new()
        .nodes(&["n1", "n2", "n3", "lb1"], None)
        .service("app", &["n1", "n2", "n3"])
        .pool("apps", &["lb1"], "app")
        .checked();
    let plan = planned(&topology, &restart(&["app"]), &all_well(&topology, "elsewhere"));
    let mut calm = Calm::new(&topology, &plan, never_well("n1"));
    assert!(calm.until(1000, Calm::is_paused), "{:?}", calm.journal);
    calm.say(Say::Abort { reason: "another one supersedes it".to_owned(), by: by() });
    assert!(calm.until(60, |calm| calm.end() == Some(End::Aborted)), "{:?}", calm.rollout.control());
    let report = calm.rollout.report();
    assert_eq!((report[&app("n1")], calm.drained(), calm.restarts().len()), (Class::LeftDrained, 1, 1), "{report:?}");
    let before = calm.acts.len();
    calm.order(&plan);
    calm.take_course(|_| Course::quick());
    assert!(calm.until(200, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
    assert_eq!((calm.drained(), calm.too_few.clone()), (0, None));
    let of_others = calm.acts[before..].iter().position(|(_, order)| order.instance != app("n1"));
    let back = calm.acts[before..].iter().position(|(_, order)| matches!(order.deed, Deed::Undrain { .. }));
    assert!(back < of_others, "{:?}", &calm.acts[before..]);
}

/// What a load balancer says is newer than what the driver was told: it waits for servers, and for nobody to say "resume".
#[test]
fn who_would_leave_a_load_balancer_with_too_few_servers_is_tried_anew() {
    let topology = Draft::new()
        .nodes(&["n1", "n2", "n3", "lb1", "lb2"], None)
        .service("app", &["n1", "n2", "n3"])
        .pool("apps", &["lb1", "lb2"], "app")
        .checked();
    let plan = planned(&topology, &restart(&["app"]), &all_well(&topology, "elsewhere"));
    let mut drains = 0;
    let mut calm = Calm::new(&topology, &plan, move |order| {
        drains += u32::from(matches!(order.deed, Deed::Drain { .. }));
        let is_refused = drains == 2 && matches!(order.deed, Deed::Drain { .. });
        Course { fails: is_refused.then_some(FailureKind::TooFew), ..Course::quick() }
    });
    assert!(calm.until(200, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
    assert_eq!((calm.drained(), calm.too_few.clone()), (0, None));
    assert!(calm.restarts().values().all(|count| *count == 1), "{:?}", calm.restarts());
}

/// A configuration that was looked at is all that was done.
#[test]
fn what_was_only_looked_at_when_a_plan_is_ended_is_untouched_and_not_waited_for() {
    let (topology, plan) = three(Policy::default());
    let takes_its_time =
        |order: &StepOrder| Course { takes: if order.deed == Deed::Validate { 20 } else { 1 }, ..Course::quick() };
    let mut calm = Calm::new(&topology, &plan, takes_its_time);
    assert!(calm.until(10, |calm| !calm.acts.is_empty()));
    calm.say(Say::Abort { reason: "enough".to_owned(), by: by() });
    assert!(calm.until(30, |calm| calm.end() == Some(End::Aborted)), "{:?}", calm.rollout.control());
    let classes: BTreeSet<Class> = calm.rollout.report().into_values().collect();
    assert_eq!((classes, calm.restarts().len()), (BTreeSet::from([Class::Untouched]), 0));
}

/// What has no patience waits for what has.
#[test]
fn a_plan_does_not_stand_still_while_a_step_keeps_its_own_deadline() {
    let slow = Deadlines { progress: TimeSpan::from_secs(600), ..Deadlines::default() };
    let hasty = Deadlines {
        drain: TimeSpan::from_secs(10),
        validate: TimeSpan::from_secs(10),
        act: TimeSpan::from_secs(10),
        healthy: TimeSpan::from_secs(10),
        progress: TimeSpan::from_secs(30),
    };
    let topology = Draft::new()
        .nodes(&["n1"], None)
        .service("db", &["n1"])
        .service("web", &["n1"])
        .policy("db", Policy { deadlines: slow, ..Policy::default() })
        .policy("web", Policy { deadlines: hasty, ..Policy::default() })
        .depends("web", "db", Some(Action::Restart))
        .checked();
    let plan = planned(&topology, &restart(&["db"]), &all_well(&topology, "elsewhere"));
    let course = |order: &StepOrder| Course {
        takes: if order.instance.service == service("db") && order.deed == Deed::Restart { 300 } else { 1 },
        ..Course::quick()
    };
    let mut calm = Calm::new(&topology, &plan, course);
    assert!(calm.until(400, |calm| calm.end() == Some(End::Succeeded)), "{:?}", calm.rollout.control());
}
