//! Restarts by probes that are held back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{
    Input,
    input::{Adopted, Restored},
};
use super::{
    desk::{Desk, key, pid_of},
    make::{eager, name, probe},
};
use crate::{
    base::{Happening, HeldBack, InvocationId, Remedy, Signal},
    unit::{UnitDef, spec::OnUnhealthy},
};

fn unit(text: &str) -> UnitDef {
    let mut def = eager(text);
    let mut spec = probe("live", OnUnhealthy::Restart);
    (spec.unhealthy_after, spec.unhealthy_window, spec.healthy_after) = (1, 1, 1);
    def.health = [spec].into();
    def
}

fn units(count: usize) -> Vec<UnitDef> {
    (0..count).map(|n| unit(&format!("web{n}"))).collect()
}

fn all_up(count: usize) -> Desk {
    let mut desk = Desk::new(units(count));
    for n in 0..count {
        desk.up(&format!("web{n}"));
    }
    desk
}

/// Lets time pass, answers what is asked, and lets what is restarted come up again; who was restarted.
fn round(desk: &mut Desk, secs: f64, fails: impl Fn(&str) -> bool) -> Vec<String> {
    let mut said = desk.pass(secs);
    let mut restarted = Vec::new();
    while let Some(line) = said.pop() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["probe", run, _] => said.extend(desk.probed(run, 0, fails(run).then_some("refused"))),
            ["kill-tree", run, _] => {
                let unit = run.split('/').next().unwrap().to_owned();
                desk.killed(run, Signal::TERM);
                desk.up(&unit);
                restarted.push(unit);
            }
            _ => {}
        }
    }
    restarted.sort();
    restarted
}

fn held(desk: &Desk, unit: &str) -> Option<HeldBack> {
    desk.status(unit).held_back
}

/// A manager that died: the next one, with every main process alive.
fn next_manager(desk: &Desk, count: usize) -> Desk {
    let adopted = |n: usize| {
        let unit = format!("web{n}");
        let key = key(&format!("{unit}/{}", desk.status(&unit).generation));
        Adopted { pid: pid_of(&key), key, invocation: InvocationId([0; 16]) }
    };
    let restored = Restored { processes: (0..count).map(adopted).collect(), ..Restored::default() };
    desk.takeover(units(count), restored).0
}

#[test]
fn a_broken_dependency_restarts_no_more_than_the_budget() {
    let mut desk = all_up(6);
    desk.budget(2, 60);
    round(&mut desk, 5.0, |_| false);
    assert_eq!(round(&mut desk, 10.0, |_| true).len(), 2);
    let waiting: Vec<String> =
        (0..6).map(|n| format!("web{n}")).filter(|unit| held(&desk, unit) == Some(HeldBack::Budget)).collect();
    assert_eq!(waiting.len(), 4, "{waiting:?}");
    let mut desk = next_manager(&desk, 6);
    assert!(waiting.iter().all(|unit| held(&desk, unit) == Some(HeldBack::Budget)), "the next manager knows");
    assert_eq!(round(&mut desk, 10.0, |_| true), Vec::<String>::new(), "and what was spent");
    // One is well again before its turn comes.
    let well = format!("{}/", waiting[0]);
    assert_eq!(round(&mut desk, 10.0, |run| !run.starts_with(&well)), Vec::<String>::new());
    assert_eq!(held(&desk, &waiting[0]), None);
    let restarted = round(&mut desk, 40.0, |run| !run.starts_with(&well));
    assert_eq!(restarted.len(), 2, "as soon as the budget allows: {restarted:?}");
    assert!(restarted.iter().all(|unit| waiting[1..].contains(unit)), "who waits longest comes first: {restarted:?}");
}

#[test]
fn that_a_restart_is_held_back_is_said_once() {
    let mut desk = all_up(2);
    desk.budget(1, 3600);
    let mut said = desk.pass(3.0);
    said.clear();
    for run in ["web0/1", "web1/1"] {
        said.extend(desk.probed(run, 0, Some("x")));
    }
    desk.killed("web0/1", Signal::TERM);
    assert!(said.contains(&"Unhealthy web0/1 live: x (restart)".to_owned()), "{said:?}");
    assert!(said.contains(&"Unhealthy web1/1 live: x (held_by_budget)".to_owned()), "{said:?}");
    let told = "RestartHeld web1/1 live: the budget of restarts by probes is spent";
    assert_eq!(said.iter().filter(|line| *line == told).count(), 1, "{said:?}");
    for _ in 0..5 {
        desk.pass(10.0);
        assert_eq!(desk.probed("web1/1", 0, Some("x")), Vec::<String>::new());
    }
    let known: Vec<_> = desk.node.fallen_probes().collect();
    assert!(matches!(&known[..], [Happening::Unhealthy { remedy: Remedy::Held(HeldBack::Budget), .. }]), "{known:?}");
    // The others' restarts count no more.
    let said = desk.pass(3600.0);
    let is_of_it = |line: &&String| line.starts_with("kill-tree web1/1") || line.starts_with("RestartReleased");
    let released: Vec<_> = said.iter().filter(is_of_it).collect();
    assert_eq!(released, ["kill-tree web1/1 SIGTERM", "RestartReleased web1/1 live"], "that it is done is said too");
}

#[test]
fn in_maintenance_no_probe_restarts_and_afterwards_it_does() {
    let mut desk = all_up(1);
    desk.give(Input::Maintained(BTreeSet::from([name("web0"), name("other")])));
    assert_eq!(round(&mut desk, 10.0, |_| true), Vec::<String>::new());
    assert!(desk.status("web0").maintained && held(&desk, "web0") == Some(HeldBack::Maintenance));
    let mut desk = next_manager(&desk, 1);
    assert_eq!(round(&mut desk, 100.0, |_| true), Vec::<String>::new(), "the next manager knows before it is told");
    desk.give(Input::Maintained(BTreeSet::from([name("web0")])));
    assert_eq!(round(&mut desk, 100.0, |_| true), Vec::<String>::new());
    let said = desk.give(Input::Maintained(BTreeSet::new()));
    assert_eq!(said, ["kill-tree web0/1 SIGTERM", "RestartReleased web0/1 live"]);
    // What is well when it ends is left alone.
    let mut desk = all_up(1);
    desk.give(Input::Maintained(BTreeSet::from([name("web0")])));
    round(&mut desk, 10.0, |_| true);
    round(&mut desk, 10.0, |_| false);
    assert_eq!(desk.give(Input::Maintained(BTreeSet::new())), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Probes that flap as they like, managers that die: in no span of the interval's length more than the budget, over all
    /// units.
    #[test]
    fn flapping_probes_restart_no_more_than_the_budget(
        burst in 1_u32..5,
        turns in proptest::collection::vec((any::<u8>(), 0_u8..8), 1..60),
    ) {
        const COUNT: usize = 5;
        const SECS: u64 = 45;
        let mut desk = all_up(COUNT);
        desk.budget(burst, SECS);
        let mut restarts: BTreeMap<u64, usize> = BTreeMap::new();
        for (flaps, dies) in turns {
            if dies == 0 {
                desk = next_manager(&desk, COUNT);
            }
            let fails = |run: &str| {
                let n: u32 = run.trim_start_matches("web").split('/').next().unwrap().parse().unwrap();
                flaps >> n & 1 == 1
            };
            // A second at a time, so that each restart has its moment.
            for _ in 0..5 {
                let count = round(&mut desk, 1.0, fails).len();
                *restarts.entry(desk.now.mono.0).or_default() += count;
            }
            for from in restarts.keys() {
                // Moments are known to a second.
                let until = from + (SECS - 1) * 1_000_000_000;
                let within: usize = restarts.range(from..&until).map(|(_, count)| count).sum();
                prop_assert!(within <= burst as usize, "{within} from {from}: {restarts:?}");
            }
        }
    }
}
