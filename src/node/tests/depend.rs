//! Probes that depend on others.

use super::super::input::Verb;
use super::{
    desk::Desk,
    make::{eager, name, probe},
};
use crate::{
    base::TimeSpan,
    unit::{
        UnitDef,
        spec::{OnUnhealthy, ProbeName},
    },
};

/// A unit whose probe falls with the first bad answer, and what that depends on.
fn unit(text: &str, on_unhealthy: OnUnhealthy, on: &[&str]) -> UnitDef {
    let mut def = eager(text);
    let mut spec = probe("live", on_unhealthy);
    (spec.unhealthy_after, spec.unhealthy_window, spec.healthy_after) = (1, 1, 1);
    spec.depends_on = on.iter().map(|on| ProbeName { unit: name(on), probe: "live".into() }).collect();
    def.health = [spec].into();
    def
}

/// Answers every probe that is asked, the one asked last first; what is said besides.
fn answer(desk: &mut Desk, mut said: Vec<String>, fails: impl Fn(&str) -> bool) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(line) = said.pop() {
        match line.strip_prefix("probe ").and_then(|rest| rest.split(' ').next()) {
            Some(run) => said.extend(desk.probed(run, 0, fails(run).then_some("refused"))),
            None => told.push(line),
        }
    }
    told
}

fn round(desk: &mut Desk, fails: impl Fn(&str) -> bool) -> Vec<String> {
    let said = desk.pass(10.0);
    answer(desk, said, fails)
}

fn why(desk: &Desk, unit: &str) -> (&'static str, String) {
    let health = &desk.status(unit).health[0];
    (health.verdict.as_str(), health.last_failure.clone().unwrap_or_default())
}

fn all_up(defs: Vec<UnitDef>) -> Desk {
    let names: Vec<String> = defs.iter().map(|def| def.name.to_string()).collect();
    let mut desk = Desk::new(defs);
    for unit in &names {
        desk.up(unit);
    }
    round(&mut desk, |_| false);
    desk
}

#[test]
fn of_twenty_behind_one_that_is_dead_one_is_told_and_none_restarted() {
    let mut defs = vec![unit("host", OnUnhealthy::Alert, &[])];
    defs.extend((0..20).map(|n| unit(&format!("web{n}"), OnUnhealthy::Restart, &["host"])));
    let mut desk = all_up(defs);
    let mut told = Vec::new();
    for _ in 0..10 {
        told.extend(round(&mut desk, |_| true));
    }
    assert_eq!(told, ["Unhealthy host/1 live: refused (nothing)"]);
    for n in 0..20 {
        assert_eq!(why(&desk, &format!("web{n}")), ("unknown", "host/live fails, on which it depends".to_owned()));
    }
    let mut told = round(&mut desk, |_| false);
    told.extend(round(&mut desk, |_| false));
    assert_eq!(told.iter().filter(|line| line.starts_with("Healthy web")).count(), 20, "{told:?}");
    assert!(told.iter().all(|line| line.starts_with("Healthy ") || line.starts_with("Recovered host")), "{told:?}");
}

#[test]
fn what_fails_by_itself_counts_once_the_other_was_asked_since() {
    let mut desk = all_up(vec![unit("db", OnUnhealthy::Alert, &[]), unit("web", OnUnhealthy::Restart, &["db"])]);
    let asked = desk.pass(10.0);
    assert!(asked.len() >= 2, "{asked:?}");
    assert_eq!(desk.probed("db/1", 0, None), Vec::<String>::new());
    let said = desk.probed("web/1", 0, Some("refused"));
    // Whichever was asked first, in the end db has an answer that is younger than the question to web.
    let said = if said == ["probe db/1 live"] { desk.probed("db/1", 0, None) } else { said };
    assert_eq!(said, ["kill-tree web/1 SIGTERM", "Unhealthy web/1 live: refused (restart)"]);
}

#[test]
fn a_failure_waits_for_the_answer_that_it_depends_on() {
    let mut desk = all_up(vec![unit("db", OnUnhealthy::None, &[]), unit("web", OnUnhealthy::Restart, &["db"])]);
    desk.pass(10.0);
    desk.probed("db/1", 0, None);
    desk.probed("web/1", 0, None);
    // Between two turns of db only web is asked; db is not to be taken for well because it was.
    let check = desk.pass(10.0);
    assert!(check.contains(&"probe web/1 live".to_owned()), "{check:?}");
    assert!(!desk.probed("web/1", 0, Some("refused")).iter().any(|line| line.contains("Unhealthy")));
    assert_eq!(desk.probed("web/1", 0, None), Vec::<String>::new(), "it has answered already");
    let said = desk.probed("db/1", 0, Some("down"));
    let said = if said == ["probe db/1 live"] { desk.probed("db/1", 0, Some("down")) } else { said };
    assert_eq!(said, ["Unhealthy db/1 live: down (nothing)"]);
    assert_eq!(why(&desk, "web").0, "unknown");
}

#[test]
fn who_is_asked_for_others_falls_by_its_own_turns_alone() {
    let mut db = unit("db", OnUnhealthy::Restart, &[]);
    let spec = &mut db.health[0];
    (spec.interval, spec.unhealthy_after, spec.unhealthy_window) = (TimeSpan::from_secs(100), 3, 3);
    let webs = (0..2).map(|n| unit(&format!("web{n}"), OnUnhealthy::Restart, &["db"]));
    let mut desk = all_up(std::iter::once(db).chain(webs).collect());
    // Two that depend on it fail every ten seconds, so it is asked more than sixty times.
    for turn in 0..30 {
        let told = round(&mut desk, |_| true);
        if told.iter().any(|line| line.starts_with("Unhealthy db")) {
            assert!(turn >= 20, "after {turn} turns of the others");
            return;
        }
        assert!(told.iter().all(|line| !line.contains("kill")), "{turn}: {told:?}");
    }
    panic!("three bad answers of its own are enough");
}

#[test]
fn what_is_not_up_excuses_too_and_so_does_what_is_excused() {
    let chain = vec![
        unit("disk", OnUnhealthy::Alert, &[]),
        unit("db", OnUnhealthy::Restart, &["disk"]),
        unit("web", OnUnhealthy::Restart, &["db"]),
    ];
    let mut desk = all_up(chain);
    let told = round(&mut desk, |_| true);
    assert_eq!(told, ["Unhealthy disk/1 live: refused (nothing)"]);
    assert_eq!(why(&desk, "web"), ("unknown", "disk/live fails, on which it depends".to_owned()));
    round(&mut desk, |_| false);
    round(&mut desk, |_| false);
    desk.order(Verb::Stop, &["disk"]);
    desk.exited("disk/1", 0);
    let told = round(&mut desk, |_| true);
    assert!(told.iter().all(|line| !line.contains("Unhealthy") && !line.contains("kill")), "{told:?}");
    assert_eq!(why(&desk, "db"), ("unknown", "disk is not up, on which it depends".to_owned()));
}

#[test]
fn what_was_unhealthy_before_stays_so_and_an_end_lets_others_go_on() {
    let mut desk = all_up(vec![unit("db", OnUnhealthy::None, &[]), unit("web", OnUnhealthy::Alert, &["db"])]);
    assert_eq!(round(&mut desk, |run| run == "web/1"), ["Unhealthy web/1 live: refused (nothing)"]);
    round(&mut desk, |_| true);
    assert_eq!(why(&desk, "web").0, "unhealthy");
    round(&mut desk, |_| false);
    round(&mut desk, |_| false);
    // It waits for db, which ends.
    desk.pass(10.0);
    desk.probed("web/1", 0, Some("refused"));
    desk.exited("db/1", 1);
    assert_eq!(why(&desk, "web"), ("unknown", "db is not up, on which it depends".to_owned()));
}
