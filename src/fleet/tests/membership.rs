//! Who is alive, and who tells.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::Mono;

const HEARTBEAT: Heartbeat = Heartbeat { interval: Duration::from_secs(5), failures_max: 3 };

fn at(second: u64) -> Mono {
    Mono(second * 1_000_000_000)
}

/// One observer, whose time goes by in intervals, and the nodes that it looks for.
struct View {
    membership: Membership,
    second: u64,
    /// How many signs each node has given, and in which life.
    given: BTreeMap<NodeName, Seq>,
    /// Who answers at its address.
    answers: BTreeSet<NodeName>,
    /// Who reaches whom, of the others.
    reached: BTreeSet<(NodeName, NodeName)>,
    /// Who does not say what it found.
    mute: BTreeSet<NodeName>,
    /// Who was asked, and for whom.
    asked: Vec<(Vec<NodeName>, BTreeSet<NodeName>)>,
    sent: BTreeMap<NodeName, u64>,
    heard: u64,
    /// What was said to be well at first sight.
    well: Vec<String>,
}

impl View {
    fn of(own: &str, others: &[&str]) -> Self {
        let nodes = others.iter().map(|name| node(name)).collect();
        let membership = Membership::new(at(0), node(own), HEARTBEAT, nodes);
        let (given, answers, sent) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let (reached, mute, asked) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        Self { membership, second: 0, given, answers, reached, mute, asked, sent, heard: 0, well: Vec::new() }
    }

    /// One that is not new any more and has heard of all.
    fn settled(own: &str, others: &[&str]) -> Self {
        let mut view = Self::of(own, others);
        for _ in 0..5 {
            assert_eq!(view.look(others), Vec::<String>::new());
        }
        view
    }

    /// An interval later these have given a sign, and Redis lets us have each alarm.
    fn look(&mut self, alive: &[&str]) -> Vec<String> {
        for name in alive {
            self.given.entry(node(name)).or_insert(Seq { life: 1, nth: 0 }).nth += 1;
        }
        self.pass(5);
        let heard = self.heard;
        let signs = self.given.iter().map(|(name, seq)| (name.clone(), Sign { seq: *seq, heard })).collect();
        let looked = MembershipInput::Looked { signs, sent: self.sent.clone() };
        self.tell(looked)
    }

    fn unanswered(&mut self) -> Vec<String> {
        self.pass(5);
        self.tell(MembershipInput::Unanswered("redis is away".to_owned()))
    }

    fn pass(&mut self, seconds: u64) {
        self.second += seconds;
    }

    fn restart(&mut self, name: &str) {
        let seq = self.given.get_mut(&node(name)).unwrap();
        *seq = Seq { life: seq.life + 1, nth: 0 };
    }

    fn tell(&mut self, input: MembershipInput) -> Vec<String> {
        let now = at(self.second);
        self.membership.handle(now, input);
        let mut told = Vec::new();
        while let Some(effect) = self.membership.poll_effect() {
            match effect {
                MembershipEffect::Probe(name) => {
                    let answers = self.answers.contains(&name);
                    self.membership.handle(now, MembershipInput::Probed(name, answers));
                }
                MembershipEffect::Seek { peers, nodes } => {
                    for peer in peers.iter().filter(|peer| !self.mute.contains(*peer)) {
                        self.membership.handle(now, self.found(peer, &nodes));
                    }
                    self.asked.push((peers, nodes));
                }
                MembershipEffect::Claim(alarm) => {
                    self.membership.handle(now, MembershipInput::Claimed(alarm, Some(true)));
                }
                MembershipEffect::Tell(alarm, _) => told.push(alarm.to_string()),
                MembershipEffect::Over(alarm) => told.push(format!("-{alarm}")),
                MembershipEffect::Well(alarm) => self.well.push(alarm.to_string()),
            }
        }
        told
    }

    /// What a node says that is asked to look.
    fn found(&self, peer: &NodeName, nodes: &BTreeSet<NodeName>) -> MembershipInput {
        let found = |node: &NodeName| (node.clone(), self.reached.contains(&(peer.clone(), node.clone())));
        MembershipInput::Sought { by: peer.clone(), nodes: nodes.iter().map(found).collect() }
    }

    fn is(&self, name: &str) -> &'static str {
        self.membership.presence(at(self.second), &node(name)).unwrap().0.as_str()
    }

    fn quorum(&self) -> (usize, bool) {
        let quorum = self.membership.quorum(at(self.second));
        (quorum.reached, quorum.is_there())
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_node_is_suspect_after_two_intervals_and_failed_after_three_and_its_return_is_told() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    let others = ["vm2", "vm4"];
    assert_eq!((view.look(&others), view.is("vm3")), (vec![], "alive"));
    assert_eq!((view.look(&others), view.is("vm3")), (vec![], "suspect"));
    assert_eq!(view.quorum(), (4, true), "who is late counts");
    assert_eq!(view.look(&others), ["node_failed:vm3"]);
    assert_eq!((view.is("vm3"), view.quorum()), ("failed", (3, true)));
    for _ in 0..100 {
        assert_eq!(view.look(&others), NOTHING, "it is said once");
    }
    assert_eq!(view.look(&["vm2", "vm3", "vm4"]), ["-node_failed:vm3"]);
    assert_eq!((view.is("vm3"), view.quorum()), ("alive", (4, true)));
}

#[test]
fn a_node_whose_machine_answers_has_not_failed_but_is_cut_off() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    view.answers.insert(node("vm3"));
    let told: Vec<_> = (0..5).flat_map(|_| view.look(&["vm2", "vm4"])).collect();
    assert_eq!((told, view.is("vm3")), (vec!["bus_unreachable:vm3".to_owned()], "cut off"));
    assert_eq!(view.quorum(), (3, true), "nothing can be told to it");
    view.answers.clear();
    view.look(&["vm2", "vm4"]);
    assert_eq!(view.look(&["vm2", "vm4"]), ["node_failed:vm3"], "which is worse");
    assert_eq!(view.is("vm3"), "failed");
    assert_eq!(view.look(&["vm2", "vm3", "vm4"]), ["-node_failed:vm3"]);
}

#[test]
fn a_node_that_another_one_reaches_has_not_failed_but_is_cut_off() {
    let others = ["vm2", "vm3", "vm4"];
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4", "vm5"]);
    view.reached.insert((node("vm4"), node("vm5")));
    assert_eq!((view.look(&others), view.asked.len()), (vec![], 0), "while all is well nobody is asked");
    assert_eq!((view.look(&others), view.is("vm5"), view.asked.len()), (vec![], "suspect", 1));
    assert_eq!((view.look(&others), view.is("vm5")), (vec!["bus_unreachable:vm5".to_owned()], "cut off"));
    // Five looks later nobody reaches it: that is asked now and then.
    view.reached.clear();
    let told: Vec<_> = (0..5).flat_map(|_| view.look(&others)).collect();
    assert_eq!((told, view.asked.len()), (vec![], 2));
    assert_eq!((view.look(&others), view.is("vm5")), (vec!["node_failed:vm5".to_owned()], "failed"));
    for _ in 0..20 {
        view.look(&others);
    }
    assert_eq!(view.asked.len(), 2, "of one that failed nothing is asked");
}

#[test]
fn those_are_asked_that_are_alive_and_come_after_us_by_name() {
    for (own, asked) in [("vm3", ["vm4", "vm5", "vm6"]), ("vm5", ["vm6", "vm1", "vm2"]), ("vm6", ["vm1", "vm2", "vm3"])]
    {
        let others: Vec<&str> =
            ["vm1", "vm2", "vm3", "vm4", "vm5", "vm6"].into_iter().filter(|it| *it != own).collect();
        let mut view = View::settled(own, &[&others[..], &["vm7"]].concat());
        for _ in 0..2 {
            view.look(&others);
        }
        assert_eq!(view.asked, [(asked.map(node).to_vec(), BTreeSet::from([node("vm7")]))], "by {own}");
    }
}

#[test]
fn whoever_is_asked_and_does_not_answer_holds_nothing_up_for_long() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    view.mute = BTreeSet::from(["vm2", "vm4"].map(node));
    view.look(&["vm2", "vm4"]);
    view.look(&["vm2", "vm4"]);
    assert_eq!((view.asked.len(), view.is("vm3")), (1, "suspect"));
    assert_eq!(view.look(&["vm2", "vm4"]), ["node_failed:vm3"]);
    // What comes later changes nothing, and neither does what someone says that was not asked.
    view.reached.insert((node("vm2"), node("vm3")));
    let found = view.found(&node("vm2"), &BTreeSet::from([node("vm3")]));
    assert_eq!((view.tell(found), view.look(&["vm2", "vm4"]), view.is("vm3")), (vec![], vec![], "failed"));
}

#[test]
fn what_is_asked_does_not_grow_with_what_is_wrong() {
    let names: Vec<String> = (0..100).map(|nth| format!("vm{nth:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut view = View::settled(names[0], &names[1..]);
    for _ in 0..100 {
        let before = view.asked.len();
        view.look(&names[1..60]);
        assert!(view.asked.len() <= before + 1, "one question a look");
    }
    assert!(view.asked.iter().all(|(peers, nodes)| peers.len() == 3 && nodes.len() <= 16), "{:?}", view.asked);
    assert!(names[60..].iter().all(|name| view.is(name) == "failed"));
}

#[test]
fn a_node_that_answers_us_needs_no_other_witness() {
    let mut view = View::settled("vm1", &["vm2", "vm3"]);
    view.answers.insert(node("vm3"));
    for _ in 0..100 {
        view.look(&["vm2"]);
    }
    assert_eq!((view.is("vm3"), view.asked.len()), ("cut off", 1), "they were asked before it was known");
}

#[test]
fn a_daemon_that_begins_anew_has_not_failed() {
    let mut view = View::settled("vm1", &["vm2", "vm3"]);
    for _ in 0..20 {
        view.restart("vm2");
        assert_eq!((view.look(&["vm2", "vm3"]), view.is("vm2")), (vec![], "alive"));
    }
}

#[test]
fn whoever_just_began_calls_nobody_failed_until_a_sign_of_life_would_have_gone() {
    let mut view = View::of("vm1", &["vm2", "vm3", "vm4"]);
    assert_eq!(view.quorum(), (1, false));
    for second in [5, 10, 15] {
        assert_eq!(view.look(&["vm2", "vm4"]), NOTHING, "after {second} seconds");
    }
    assert_eq!(view.look(&["vm2", "vm4"]), ["node_failed:vm3"], "one that was never heard");
}

#[test]
fn whoever_was_late_itself_doubts_itself_first() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    // Stopped for a minute; what Redis had said before is looked at after it.
    view.pass(60);
    for _ in 0..3 {
        assert_eq!(view.look(&[]), NOTHING);
    }
    assert_eq!(view.look(&["vm2", "vm3", "vm4"]), NOTHING);
    assert_eq!(view.quorum(), (4, true));
}

#[test]
fn while_redis_is_away_that_is_said_once_and_nothing_of_nodes() {
    let mut view = View::settled("vm2", &["vm1", "vm3"]);
    let told: Vec<_> = (0..40).flat_map(|_| view.unanswered()).collect();
    assert_eq!(told, ["bus_unreachable:vm2"]);
    assert_eq!((view.is("vm1"), view.quorum()), ("unknown", (1, false)));
    assert_eq!(view.look(&[]), ["-bus_unreachable:vm2"], "it was emptied, and fills again");
    for _ in 0..2 {
        assert_eq!(view.look(&[]), NOTHING, "all had the time to come back");
    }
    assert_eq!((view.look(&["vm1", "vm3"]), view.quorum()), (vec![], (3, true)));
    // A short absence is not worth a word.
    assert_eq!((view.unanswered(), view.unanswered(), view.look(&["vm1", "vm3"])), (vec![], vec![], vec![]));
}

#[test]
fn most_of_a_fleet_at_once_are_one_alarm_and_those_that_stay_away_are_named_later() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4", "vm5"]);
    let told: Vec<_> = (0..10).flat_map(|_| view.look(&["vm2"])).collect();
    assert_eq!((told, view.quorum()), (vec!["quorum_lost".to_owned()], (2, false)));
    let told: Vec<_> = (0..3).flat_map(|_| view.look(&["vm2", "vm3", "vm4"])).collect();
    assert_eq!(told, ["-quorum_lost", "node_failed:vm5"]);
}

#[test]
fn a_node_that_failed_before_most_others_went_stays_told_of() {
    let mut view = View::settled("vm1", &["vm2", "vm3"]);
    let told: Vec<_> = (0..5).flat_map(|_| view.look(&["vm2"])).collect();
    assert_eq!(told, ["node_failed:vm3"]);
    let told: Vec<_> = (0..5).flat_map(|_| view.look(&[])).collect();
    assert_eq!((told, view.quorum()), (vec!["quorum_lost".to_owned()], (1, false)));
    assert_eq!(view.look(&["vm2", "vm3"]), ["-node_failed:vm3", "-quorum_lost"]);
}

#[test]
fn a_node_that_comes_and_goes_is_one_alarm_that_lasts_ten_minutes() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    let mut told = Vec::new();
    for _ in 0..5 {
        for _ in 0..6 {
            told.extend(view.look(&["vm2", "vm4"]));
        }
        told.extend(view.look(&["vm2", "vm3", "vm4"]));
    }
    assert_eq!(told, ["node_failed:vm3", "-node_failed:vm3", "node_failed:vm3"]);
    assert_eq!(view.is("vm3"), "flapping");
    let later: Vec<_> = (0..119).flat_map(|_| view.look(&["vm2", "vm3", "vm4"])).collect();
    assert!(later.is_empty(), "{later:?}");
    let later: Vec<_> = (0..10).flat_map(|_| view.look(&["vm2", "vm3", "vm4"])).collect();
    assert_eq!((later, view.is("vm3")), (vec!["-node_failed:vm3".to_owned()], "alive"));
}

#[test]
fn a_majority_is_counted_of_those_who_stand_in_the_topology() {
    for (others, down, is_there) in [
        (0, 0, true),
        (1, 0, true),
        (1, 1, false),
        (2, 1, true),
        (2, 2, false),
        (3, 1, true),
        (3, 2, false),
        (4, 2, true),
        (4, 3, false),
    ] {
        let quorum = Quorum { reached: 1 + others - down, members: 1 + others };
        assert_eq!(quorum.is_there(), is_there, "{quorum:?}");
    }
}

#[test]
fn the_first_by_name_that_is_alive_tells_and_another_only_what_redis_lets_it_have() {
    let claims = |view: &mut View, alive: &[&str], answer: Option<bool>| {
        let mut effects = Vec::new();
        view.look(alive);
        for _ in 0..5 {
            for name in alive {
                view.given.get_mut(&node(name)).unwrap().nth += 1;
            }
            view.pass(5);
            let signs = view.given.iter().map(|(name, seq)| (name.clone(), Sign { seq: *seq, heard: 0 })).collect();
            view.membership.handle(at(view.second), MembershipInput::Looked { signs, sent: BTreeMap::new() });
            while let Some(effect) = view.membership.poll_effect() {
                match effect {
                    MembershipEffect::Probe(name) => {
                        view.membership.handle(at(view.second), MembershipInput::Probed(name, false));
                    }
                    MembershipEffect::Seek { .. } => {}
                    MembershipEffect::Claim(alarm) => {
                        effects.push(format!("claim {alarm}"));
                        view.membership.handle(at(view.second), MembershipInput::Claimed(alarm, answer));
                    }
                    MembershipEffect::Tell(alarm, _) => effects.push(format!("tell {alarm}")),
                    MembershipEffect::Over(alarm) => effects.push(format!("over {alarm}")),
                    MembershipEffect::Well(alarm) => effects.push(format!("well {alarm}")),
                }
            }
        }
        effects
    };
    let mut view = View::settled("vm2", &["vm1", "vm3"]);
    assert_eq!(claims(&mut view, &["vm1"], Some(true)), NOTHING, "vm1 tells of vm3");
    let mut view = View::settled("vm2", &["vm1", "vm3"]);
    assert_eq!(claims(&mut view, &["vm3"], Some(true)), ["claim node_failed:vm1", "tell node_failed:vm1"]);
    let mut view = View::settled("vm2", &["vm1", "vm3"]);
    assert_eq!(claims(&mut view, &["vm3"], Some(false)), ["claim node_failed:vm1"], "another one told it");
    let mut view = View::settled("vm2", &["vm1", "vm3"]);
    let again = claims(&mut view, &["vm3"], None);
    assert!(again.len() > 1 && again.iter().all(|word| word == "claim node_failed:vm1"), "asked again: {again:?}");
}

#[test]
fn what_an_earlier_daemon_may_have_told_is_said_to_be_well_at_first_sight_and_once() {
    let mut view = View::of("vm1", &["vm2", "vm3"]);
    view.look(&["vm2"]);
    assert_eq!(view.well, ["bus_unreachable:vm1", "node_failed:vm2", "slow_replication:vm2"]);
    view.well.clear();
    for _ in 0..10 {
        view.look(&["vm2", "vm3"]);
    }
    assert_eq!(view.well, ["node_failed:vm3", "slow_replication:vm3", "quorum_lost"]);
}

#[test]
fn what_is_over_before_it_was_ours_is_given_back() {
    let mut view = View::settled("vm1", &["vm2", "vm3"]);
    let claimed = MembershipInput::Claimed(Alarm::Failed(node("vm3")), Some(true));
    assert_eq!(view.tell(claimed), ["-node_failed:vm3"]);
}

#[test]
fn a_node_that_is_behind_with_its_commands_is_slow_until_half_of_that() {
    let mut view = View::settled("vm1", &["vm2", "vm3"]);
    let all = ["vm2", "vm3"];
    let sent = |view: &mut View, sent: u64, heard: u64| {
        view.sent = BTreeMap::from([(node("vm2"), sent)]);
        view.heard = heard;
        view.look(&all)
    };
    assert_eq!(sent(&mut view, 15, 0), NOTHING);
    assert_eq!(sent(&mut view, 16, 0), ["slow_replication:vm2"]);
    assert_eq!(sent(&mut view, 30, 22), NOTHING);
    assert_eq!(sent(&mut view, 30, 23), ["-slow_replication:vm2"]);
    let told: Vec<_> = (0..12).flat_map(|_| sent(&mut view, 30, 23)).collect();
    assert_eq!(told, ["slow_replication:vm2"], "it does not move for a minute");
    assert_eq!(sent(&mut view, 30, 30), ["-slow_replication:vm2"]);
    // A daemon that begins anew has not to catch up with what was before.
    view.restart("vm2");
    assert_eq!(sent(&mut view, 50, 0), NOTHING);
    assert_eq!(sent(&mut view, 65, 0), NOTHING);
    assert_eq!(sent(&mut view, 66, 0), ["slow_replication:vm2"]);
    view.sent.clear();
    assert_eq!(view.look(&all), ["-slow_replication:vm2"], "nothing is driven from here any more");
}

#[test]
fn a_node_that_is_silent_is_not_slow_and_begins_anew_when_it_is_back() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    view.sent = BTreeMap::from([(node("vm3"), 1)]);
    let mut told = Vec::new();
    for sent in (10..200).step_by(10) {
        told.extend(view.look(&["vm2", "vm4"]));
        view.sent = BTreeMap::from([(node("vm3"), sent)]);
    }
    assert_eq!(told, ["node_failed:vm3"]);
    assert_eq!(view.look(&["vm2", "vm3", "vm4"]), ["-node_failed:vm3"]);
    assert_eq!(view.look(&["vm2", "vm3", "vm4"]), NOTHING);
}

#[test]
fn a_node_that_is_taken_out_of_the_topology_is_told_of_no_more() {
    let mut view = View::settled("vm1", &["vm2", "vm3", "vm4"]);
    let told: Vec<_> = (0..5).flat_map(|_| view.look(&["vm2", "vm4"])).collect();
    assert_eq!(told, ["node_failed:vm3"]);
    let others = BTreeSet::from([node("vm2"), node("vm4")]);
    assert_eq!(view.tell(MembershipInput::Configured(HEARTBEAT, others)), NOTHING);
    assert_eq!(view.look(&["vm2", "vm4"]), ["-node_failed:vm3"]);
    assert_eq!(view.quorum(), (3, true));
}

/// What may happen in an interval.
#[derive(Debug, Clone)]
enum Turn {
    Look(Vec<bool>),
    Away,
    Late(u64),
    Restart(usize),
    Answers(usize),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        8 => proptest::collection::vec(any::<bool>(), 4).prop_map(Turn::Look),
        4 => Just(Turn::Look(vec![true, true, true, false])),
        2 => Just(Turn::Away),
        1 => (1u64..100).prop_map(Turn::Late),
        1 => (0usize..4).prop_map(Turn::Restart),
        1 => (0usize..4).prop_map(Turn::Answers),
    ];
    proptest::collection::vec(turn, 1..200)
}

proptest! {
    /// Whoever reaches whom, and whoever does not say it: a node that is silent has failed only if none of those who said what they
    /// found had reached it when it was last asked for, and it has once nobody reaches it any more.
    #[test]
    fn a_node_has_failed_only_if_nobody_who_was_asked_reaches_it(
        turns in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 7), 1..60),
    ) {
        let (peers, gone) = (["vm2", "vm3", "vm4"], node("vm5"));
        let mut view = View::settled("vm1", &["vm2", "vm3", "vm4", "vm5"]);
        let mut is_reached = false;
        for turn in turns {
            view.reached.clear();
            view.mute.clear();
            for (nth, name) in peers.iter().enumerate() {
                if turn[nth] {
                    view.reached.insert((node(name), gone.clone()));
                }
                if turn[nth + 3] {
                    view.mute.insert(node(name));
                }
            }
            view.answers = if turn[6] { BTreeSet::from([gone.clone()]) } else { BTreeSet::new() };
            let before = view.asked.len();
            view.look(&peers);
            prop_assert!(view.is("vm5") != "failed" || !is_reached, "though one reached it");
            if view.asked.len() > before {
                is_reached = view.reached.iter().any(|(peer, _)| !view.mute.contains(peer));
            }
        }
        (view.reached, view.answers) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..10 {
            view.look(&peers);
        }
        prop_assert_eq!(view.is("vm5"), "failed");
    }

    /// Whatever happens: each alarm begins and ends in turn, none of a node begins while Redis is away or right after that or a
    /// delay, and none of one that gives a sign at each look.
    #[test]
    fn alarms_begin_and_end_in_turn_and_none_is_raised_by_who_was_away(turns in turns()) {
        let names = ["vm2", "vm3", "vm4", "vm5"];
        let mut view = View::of("vm1", &names);
        let mut open = BTreeSet::new();
        let mut calm_until = 16;
        for turn in turns {
            let said = match turn {
                Turn::Look(alive) => {
                    let those: Vec<&str> = names.iter().zip(&alive).filter(|(_, is)| **is).map(|(name, _)| *name).collect();
                    let said = view.look(&those);
                    for word in &said {
                        let of = |name: &str| word == &format!("node_failed:{name}") || word == &format!("bus_unreachable:{name}");
                        let failed = names.iter().position(|name| of(name));
                        if let Some(nth) = failed {
                            prop_assert!(view.second >= calm_until, "{word} at {} before {calm_until}", view.second);
                            // One that flaps may be told of as it comes.
                            prop_assert!(!alive[nth] || view.is(names[nth]) == "flapping", "{word}, and it is there");
                        }
                    }
                    said
                }
                Turn::Away => {
                    let said = view.unanswered();
                    calm_until = view.second + 5 + 16;
                    prop_assert!(said.iter().all(|word| word == "bus_unreachable:vm1"), "{said:?}");
                    said
                }
                Turn::Late(seconds) => {
                    view.pass(seconds);
                    if seconds + 5 > 11 {
                        calm_until = view.second + 5 + 16;
                    }
                    Vec::new()
                }
                Turn::Restart(nth) => {
                    if view.given.contains_key(&node(names[nth])) {
                        view.restart(names[nth]);
                    }
                    Vec::new()
                }
                Turn::Answers(nth) => {
                    let name = node(names[nth]);
                    if !view.answers.remove(&name) {
                        view.answers.insert(name);
                    }
                    Vec::new()
                }
            };
            for word in said {
                // Of a node one thing is open at a time, and may turn into the other.
                let about = |word: &str| word.replace("bus_unreachable", "node_failed");
                match word.strip_prefix('-') {
                    Some(over) => prop_assert!(open.remove(&about(over)), "{over} was not told"),
                    None => { open.insert(about(&word)); }
                }
            }
        }
        // Once all is well for long enough, nothing stays open.
        for _ in 0..400 {
            for word in view.look(&names) {
                if let Some(over) = word.strip_prefix('-') {
                    open.remove(&over.replace("bus_unreachable", "node_failed"));
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
        prop_assert_eq!(view.quorum(), (5, true));
    }
}
