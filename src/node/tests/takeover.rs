//! A new manager on the memos of one that died.

use std::collections::BTreeMap;

use super::super::{
    Input,
    input::{Adopted, Restored, Verb},
    memo,
    probe::Probe,
    status::Verdict,
};
use super::{
    desk::{Desk, key, pid_of},
    make::{command, eager, name, notifying, probe, service, with},
};
use crate::{
    base::{Actor, ExitStatus, Generation, InvocationId, Signal, SpawnStep, Ticket, TimeSpan},
    unit::{
        UnitDef,
        spec::{DirectoryName, OnUnhealthy, Preserve},
    },
};

pub(super) fn living(processes: &[&str]) -> Restored {
    let adopted = |text: &&str| {
        let key = key(text);
        let pid = pid_of(&key);
        Adopted { key, invocation: InvocationId([5; 16]), pid }
    };
    Restored { processes: processes.iter().map(adopted).collect(), ..Restored::default() }
}

fn waiting(processes: &[&str]) -> Restored {
    Restored { waiting: processes.iter().map(|text| key(text)).collect(), ..Restored::default() }
}

#[test]
fn an_outage_ends_when_it_would_have_whoever_died_meanwhile() {
    for down_for in [0.0, 60.0] {
        let mut desk = Desk::new([eager("web")]);
        desk.up("web");
        desk.exited("web/1", 1);
        desk.up("web");
        for _ in 0..4 {
            assert_eq!(desk.pass(2.0), Vec::<String>::new());
            desk = desk.takeover([eager("web")], living(&["web/2"])).0;
        }
        desk.now.mono.0 += 1_000_000_000 * down_for as u64;
        let (mut desk, said) = desk.takeover([eager("web")], living(&["web/2"]));
        let at_once = said.contains(&"Recovered web/2".to_owned());
        assert_eq!(at_once, down_for > 2.0, "{said:?}");
        let later = desk.pass(1.9);
        assert_eq!(later, Vec::<String>::new());
        assert_eq!(desk.pass(0.1), if at_once { vec![] } else { vec!["Recovered web/2"] });
        let (_, said) = desk.takeover([eager("web")], living(&["web/2"]));
        assert!(!said.contains(&"Recovered web/2".to_owned()), "once");
    }
}

#[test]
fn when_and_why_a_probe_fell_outlives_the_manager() {
    let mut def = eager("web");
    def.health = (0..18).map(|n| probe(&format!("p{n}"), OnUnhealthy::Alert)).collect();
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    for _ in 0..4 {
        desk.pass(10.0);
        for n in 1..18 {
            desk.probed("web/1", n, Some(&format!("refused by {n}")));
        }
    }
    let known = |desk: &Desk| -> Vec<_> {
        desk.status("web").health.into_iter().map(|probe| (probe.verdict, probe.since, probe.last_failure)).collect()
    };
    let before = known(&desk);
    assert_eq!(before[1].2.as_deref(), Some("refused by 1"));
    desk.pass(7.0);
    let (desk, _) = desk.takeover([def.clone()], living(&["web/1"]));
    assert_eq!(known(&desk)[..17], before[..17], "of sixteen it is kept");
    assert_eq!((known(&desk)[17].0, known(&desk)[17].2.as_deref()), (before[17].0, None));
    let (desk, _) = desk.takeover([def], living(&["web/1"]));
    assert_eq!(known(&desk)[..17], before[..17], "and handed on");
}

#[test]
fn the_class_of_the_last_exit_is_that_of_the_exit() {
    let seen = |desk: &Desk| {
        let status = desk.status("web");
        (status.last_status, status.last_result, status.result)
    };
    use crate::base::RunResult::{ExitCode, Signal as Killed, StartLimitHit, Success};
    let mut def = eager("web");
    def.start_limit.burst = 2;
    def.start_limit.interval = TimeSpan::from_secs(1000);
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    desk.killed("web/1", Signal::KILL);
    desk.up("web");
    let killed = Some(ExitStatus::Signaled { signal: Signal::KILL, core: false });
    assert_eq!(seen(&desk), (killed, Killed, Success), "the present run is well");
    let (mut desk, _) = desk.takeover([def], living(&["web/2"]));
    assert_eq!(seen(&desk), (killed, Killed, Success));
    desk.exited("web/2", 3);
    assert_eq!(seen(&desk), (Some(ExitStatus::Exited(3)), ExitCode, StartLimitHit));
    desk.order(Verb::Reset, &["web"]);
    assert_eq!(seen(&desk), (Some(ExitStatus::Exited(3)), ExitCode, Success));
}

#[test]
fn whoever_asked_is_known_to_the_next_manager() {
    for actor in [Actor::CHECK, Actor::UNKNOWN, Actor::HEALTH_PROBE, Actor::User(7)] {
        let mut desk = Desk::new([eager("web")]);
        desk.up("web");
        let (units, verb) = (vec![name("web")], Verb::Restart);
        desk.give(Input::Order { ticket: Ticket(7), actor: actor.clone(), units, verb });
        desk.killed("web/1", Signal::TERM);
        desk.up("web");
        let (_, said) = desk.takeover([eager("web")], living(&["web/2"]));
        assert!(said.contains(&format!("RunStarting web/2 Manual({actor:?}) 0")), "{said:?}");
    }
}

#[test]
fn a_running_service_goes_on() {
    let mut def = eager("web");
    def.service.timeouts.runtime_max = TimeSpan::from_secs(100);
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    desk.exited("web/1", 1);
    desk.up("web");
    let before = desk.status("web");
    desk.pass(40.0);
    let (mut desk, said) = desk.takeover([def], living(&["web/2"]));
    let again = [
        "RunStarting web/1 Boot 0",
        "MainStarted web/1",
        "RunReady web/1",
        "RunEnded web/1 exit-code (exit code 1) restart replayed",
        "RunStarting web/2 AutoRestart 1",
        "MainStarted web/2",
        "RunReady web/2",
    ];
    assert_eq!(said, again, "whatever row the manager before did not live to write");
    let after = desk.status("web");
    assert_eq!((after.restarts, after.generation, after.invocation), (1, before.generation, before.invocation));
    assert_eq!((after.main_pid, after.since), (before.main_pid, before.since));
    assert_eq!(desk.give(Input::Boot), Vec::<String>::new());
    let said = desk.pass(60.0);
    assert_eq!(said.last().unwrap(), "TimedOut web/2 running", "its deadlines are kept");
}

#[test]
fn a_spawn_that_the_keeper_never_saw_is_ordered_again_under_its_name() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    desk.exited("web/1", 1);
    let (_, said) = desk.takeover([eager("web")], Restored::default());
    assert_eq!(said[0], "spawn web/2 exec_start");
    let (mut later, said) = desk.takeover([eager("web")], waiting(&["web/2"]));
    assert!(!said[0].starts_with("spawn"), "its end is on its way: {said:?}");
    assert_eq!(later.exited("web/2", 1)[0], "spawn web/3 exec_start");
    let (later, _) = desk.takeover([eager("web")], living(&["web/2"]));
    assert_eq!(later.sub("web"), "running", "it came up while nobody looked");
}

#[test]
fn a_command_under_way_is_awaited_or_ordered_again() {
    let def = with("web", |def| def.service.exec_start_pre = [command("pre"), command("pre")].into());
    let mut desk = Desk::new([def.clone()]);
    desk.exited("web/1.1", 0);
    let (mut later, said) = desk.takeover([def.clone()], living(&["web/1.2"]));
    assert_eq!(said, ["RunStarting web/1 Boot 0"]);
    assert_eq!(later.exited("web/1.2", 0), ["spawn web/1 exec_start"]);
    let (_, said) = desk.takeover([def], Restored::default());
    assert_eq!(said[0], "spawn web/1.2 exec_start_pre");
}

#[test]
fn a_process_that_nobody_saw_end_is_lost_and_its_end_unknown() {
    let mut def = service("web");
    def.service.restart.when = crate::unit::spec::Restart::OnFailure;
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    let (mut desk, _) = desk.takeover([def], Restored::default());
    assert_eq!(desk.node.lost(), [key("web/1")]);
    let said = desk.ended("web/1", ExitStatus::Unknown, true);
    assert_eq!(said[..2], ["spawn web/2 exec_start", "RunEnded web/1 unknown (exit status unknown) restart"]);
}

#[test]
fn a_stop_whose_manager_died_is_not_undone() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    desk.order(Verb::Stop, &["web"]);
    let (mut later, said) = desk.takeover([eager("web")], living(&["web/1"]));
    assert_eq!(said[0], "kill-tree web/1 SIGTERM", "it may not have been sent");
    let said = later.killed("web/1", Signal::TERM);
    assert_eq!(said, ["RunEnded web/1 success (killed by SIGTERM) rest wanted", "UnitStopped web uid 1000"]);
    let (mut done, _) = later.takeover([eager("web")], Restored::default());
    assert_eq!(done.give(Input::Boot), Vec::<String>::new(), "nor by the boot of the next");
}

#[test]
fn a_stop_that_waited_in_a_hold_off_is_not_undone() {
    let mut web = eager("web");
    web.service.restart.delay = TimeSpan::from_secs(30);
    let mut front = eager("front");
    front.relations.after = [name("web")].into();
    let mut desk = Desk::new([web.clone(), front.clone()]);
    desk.up("web");
    desk.up("front");
    desk.exited("web/1", 1);
    desk.order(Verb::Stop, &["front", "web"]);
    assert_eq!(desk.sub("web"), "auto-restart", "who is after it is stopped first");
    let (mut later, _) = desk.takeover([web, front], living(&["front/1"]));
    let said = later.killed("front/1", Signal::TERM);
    assert_eq!(said.last().unwrap(), "UnitStopped web roundsman", "{said:?}");
    assert_eq!(later.pass(60.0), Vec::<String>::new());
}

#[test]
fn directories_that_were_kept_for_a_run_that_is_called_off_go_with_the_next_manager() {
    let mut web = with("web", |def| {
        let directories = &mut def.service.exec.directories;
        directories.runtime.names = [DirectoryName { path: "web".into(), links: [].into() }].into();
        directories.preserve = Preserve::Restart;
        def.service.exec_stop_post = [command("post")].into();
    });
    web.relations.after = [name("db")].into();
    let mut db = notifying("db");
    db.enabled = false;
    let mut front = eager("front");
    front.relations.after = [name("web")].into();
    let defs = [web, db, front];
    let mut desk = Desk::new(defs.clone());
    desk.up("web");
    desk.up("front");
    desk.exited("web/1", 1);
    desk.order(Verb::Start, &["db", "web"]);
    assert!(!desk.exited("web/1.1", 0).iter().any(|line| line.contains("tidy")), "another run is to follow");
    desk.order(Verb::Stop, &["front", "web"]);
    let (_, said) = desk.takeover(defs, living(&["front/1"]));
    assert!(said.contains(&"tidy web directories".to_owned()), "{said:?}");
}

#[test]
fn a_restart_whose_manager_died_is_finished() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    desk.order(Verb::Restart, &["web"]);
    let (mut later, _) = desk.takeover([eager("web")], living(&["web/1"]));
    let said = later.killed("web/1", Signal::TERM);
    assert_eq!(said[0], "spawn web/2 exec_start");
    assert_eq!(said[2], "RunStarting web/2 Manual(User(1000)) 0");
}

#[test]
fn a_start_that_waited_for_another_goes_on_waiting() {
    let mut web = eager("web");
    web.enabled = false;
    web.relations.requires = vec![name("db")].into();
    web.relations.after = [name("db")].into();
    let mut db = notifying("db");
    db.enabled = false;
    let mut desk = Desk::new([web.clone(), db.clone()]);
    desk.order(Verb::Start, &["web"]);
    desk.spawned("db/1");
    let (mut later, said) = desk.takeover([web, db], living(&["db/1"]));
    assert_eq!(said, ["RunStarting db/1 Dependency(web) 0", "MainStarted db/1"]);
    let said = later.notify("db/1", |m| m.ready = true);
    assert_eq!(said[0], "spawn web/1 exec_start");
}

#[test]
fn a_hold_off_keeps_its_time() {
    let mut def = eager("web");
    def.service.restart.delay = TimeSpan::from_secs(30);
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    desk.exited("web/1", 1);
    desk.pass(20.0);
    let (mut later, _) = desk.takeover([def], Restored::default());
    assert_eq!(later.sub("web"), "auto-restart");
    assert_eq!(later.pass(9.9), Vec::<String>::new());
    assert_eq!(later.pass(0.1)[0], "spawn web/2 exec_start");
}

#[test]
fn the_window_of_the_start_limit_outlives_the_manager() {
    let mut def = eager("web");
    def.start_limit.interval = TimeSpan::from_secs(1000);
    def.start_limit.burst = 3;
    let mut desk = Desk::new([def.clone()]);
    for generation in 1..3 {
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 1);
    }
    let (mut later, _) = desk.takeover([def], living(&["web/3"]));
    let said = later.exited("web/3", 1);
    assert_eq!(said[0], "RunEnded web/3 exit-code (exit code 1) start-limit");
}

#[test]
fn a_main_process_without_memo_is_adopted() {
    let desk = Desk::cold([]);
    let (mut later, said) = desk.takeover([eager("web")], living(&["web/7"]));
    assert_eq!(said, ["RunStarting web/7 Boot 0", "MainStarted web/7", "RunReady web/7"]);
    assert_eq!(later.give(Input::Boot), Vec::<String>::new());
    assert_eq!(later.exited("web/7", 1)[0], "spawn web/8 exec_start");
}

#[test]
fn the_next_generation_is_above_all_that_anyone_knows() {
    let desk = Desk::cold([]);
    let generations = BTreeMap::from([(name("web"), Generation(41))]);
    let (mut later, _) = desk.takeover([eager("web")], Restored { generations, ..Restored::default() });
    assert_eq!(later.give(Input::Boot)[0], "spawn web/42 exec_start");
}

#[test]
fn a_unit_whose_file_went_with_the_manager_is_stopped() {
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    let (mut later, said) = desk.takeover([], living(&["web/1"]));
    assert_eq!(said[0], "kill-tree web/1 SIGTERM");
    later.killed("web/1", Signal::TERM);
    assert_eq!(later.node.status(&name("web")), None);
}

#[test]
fn an_end_that_waits_in_the_keeper_for_long_completes_its_row() {
    let mut desk = Desk::new([eager("web")]);
    for generation in 1..8 {
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 1);
    }
    let (mut later, said) = desk.takeover([eager("web")], living(&["web/8"]));
    let again: Vec<_> = said.iter().filter(|line| line.starts_with("RunEnded")).collect();
    assert_eq!(again.len(), 4, "the last ends are said again: {said:?}");
    assert!(said.contains(&"RunStarting web/1 Boot 0".to_owned()), "and how the row began: {said:?}");
    let said = later.exited("web/2", 1);
    assert_eq!(said, ["RunEnded web/2 exit-code (exit code 1) restart replayed"], "older ones follow from their exit");
    let (key, invocation, started) = (key("web/3"), InvocationId([3; 16]), later.now);
    later.give(Input::Waited { pid: pid_of(&key), key, invocation, started });
    let wanted = [
        "RunStarting web/3 AutoRestart 2",
        "MainStarted web/3",
        "RunEnded web/3 exit-code (exit code 1) restart replayed",
    ];
    assert_eq!(later.exited("web/3", 1), wanted, "and their beginning from the row that they are in");
}

#[test]
fn the_end_of_a_run_without_a_main_process_is_remembered_before_all_others() {
    let mut desk = Desk::new([eager("web")]);
    for generation in 1..=4 {
        desk.up("web");
        desk.order(Verb::Stop, &["web"]);
        desk.killed(&format!("web/{generation}"), Signal::TERM);
        desk.order(Verb::Start, &["web"]);
    }
    desk.up("web");
    desk.exited("web/5", 1);
    for generation in 6..=7 {
        desk.spawn_failed(&format!("web/{generation}"), SpawnStep::Exec, 2);
        desk.pass(0.1);
    }
    let (_, said) = desk.takeover([eager("web")], living(&["web/8"]));
    for generation in 6..=7 {
        let end = format!("RunEnded web/{generation} exit-code (exit code 203) restart replayed");
        assert!(said.contains(&end), "the keeper holds nothing of it: {said:?}");
    }
}

#[test]
fn what_the_operator_enabled_or_disabled_holds() {
    let enablement = BTreeMap::from([(name("web"), false)]);
    let desk = Desk::cold([]);
    let (mut later, _) = desk.takeover([eager("web")], Restored { enablement, ..Restored::default() });
    assert_eq!(later.give(Input::Boot), Vec::<String>::new());
    assert!(!later.status("web").enabled);
}

#[test]
fn verdicts_are_kept_and_not_said_again() {
    let mut def = eager("web");
    def.health = [probe("live", OnUnhealthy::Alert)].into();
    let mut desk = Desk::new([def.clone()]);
    desk.up("web");
    desk.pass(2.0);
    desk.probed("web/1", 0, None);
    let (mut later, _) = desk.takeover([def], living(&["web/1"]));
    assert_eq!(later.status("web").health[0].verdict.as_str(), "healthy");
    later.pass(2.0);
    assert_eq!(later.probed("web/1", 0, None), Vec::<String>::new());
}

#[test]
fn a_memo_of_an_unknown_version_is_none() {
    let def: std::sync::Arc<UnitDef> = std::sync::Arc::new(eager("web"));
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    let good = desk.memos[&name("web")].clone();
    assert!(memo::decode(&good, &name("web"), &def).is_some());
    let mut other = good.clone();
    other[0] = 200;
    assert!(memo::decode(&other, &name("web"), &def).is_none());
    for length in 0..good.len() {
        assert!(memo::decode(&good[..length], &name("web"), &def).is_none(), "cut to {length}");
    }
    let long = [good, vec![0]].concat();
    assert!(memo::decode(&long, &name("web"), &def).is_none());
}

#[test]
fn a_part_of_a_memo_that_is_not_known_is_skipped_and_older_memos_are_read() {
    let def: std::sync::Arc<UnitDef> = std::sync::Arc::new(eager("web"));
    let mut desk = Desk::new([eager("web")]);
    desk.up("web");
    let memo = desk.memos[&name("web")].clone();
    let with_part = [memo.clone(), vec![200, 3, 1, 2, 3]].concat();
    assert!(memo::decode(&with_part, &name("web"), &def).is_some());
    let mut older = memo;
    older[0] = 2;
    assert!(memo::decode(&older, &name("web"), &def).is_some());
    older.extend([200, 3, 1, 2, 3]);
    assert!(memo::decode(&older, &name("web"), &def).is_none(), "nothing follows an older memo");
}

#[test]
fn what_is_wrong_since_a_later_run_is_another_outage_also_to_the_next_manager() {
    let mut desk = Desk::new([service("web")]);
    desk.up("web");
    desk.exited("web/1", 3);
    assert_eq!(desk.node.wrong_since(&name("web")), Some(Generation(1)));
    desk.order(Verb::Reset, &["web"]);
    desk.order(Verb::Start, &["web"]);
    desk.spawned("web/2");
    assert_eq!(desk.node.wrong_since(&name("web")), None);
    desk.exited("web/2", 3);
    let (next, _) = desk.takeover([service("web")], Restored::default());
    for node in [&desk.node, &next.node] {
        assert_eq!(node.wrong_since(&name("web")), Some(Generation(2)));
    }
}

#[test]
fn the_largest_memo_fits_the_keeper() {
    use super::super::{
        service::{Begin, End, Main, Monitor, Run, State, Unit},
        wish::Ending,
    };
    let long = name(&"x".repeat(255));
    let mut def = eager("web");
    def.health = vec![probe("live", OnUnhealthy::Alert); 100].into();
    let def = std::sync::Arc::new(def);
    let mut unit = Unit::new(long.clone(), def.clone(), crate::base::Now::default());
    let big = u64::MAX / 2;
    let usage = crate::base::Usage {
        user: std::time::Duration::from_micros(big),
        system: std::time::Duration::from_micros(big),
        max_rss_kib: big,
    };
    let late = crate::base::Now { mono: crate::base::Mono(u64::MAX), wall: crate::base::Wall(i64::MAX) };
    let begin = Begin {
        at: late,
        cause: crate::base::StartCause::Unhealthy { probe: "p".repeat(5000) },
        restarts: u32::MAX,
        pid: crate::base::Pid::new(i32::MAX),
        ready_at: Some(late),
    };
    let end = End {
        generation: Generation(big),
        invocation: InvocationId([9; 16]),
        begin: Some(begin.clone()),
        status: Some(ExitStatus::Exited(1)),
        usage: Some(usage),
        result: crate::base::RunResult::Unknown,
        wanted: true,
        consequence: crate::base::Consequence::StartLimit,
        why: Some("w".repeat(300).into()),
    };
    (unit.spawn_failure, unit.incident) = (Some("f".repeat(300).into()), Some(Generation(big)));
    unit.generation = Generation(big);
    for ago in (1..99).rev() {
        unit.keep_end(End { generation: Generation(big - ago), ..end.clone() });
    }
    let mut run = Run::new(def.clone(), Generation(big), InvocationId([9; 16]), begin);
    run.main = Main::Ended { status: ExitStatus::Unknown, usage: Some(usage) };
    run.ending = Some(Ending::Unhealthy { probe: "é".repeat(3000) });
    run.probes = vec![Probe::fallen(Verdict::Unhealthy, late, Some("r".repeat(256).into())); 100];
    let monitor = Monitor {
        unit: long.clone(),
        invocation: InvocationId([9; 16]),
        result: crate::base::RunResult::Unknown,
        status: None,
    };
    run.monitor = Some(Box::new(monitor));
    (run.why, run.sent) = (Some("é".repeat(300).into()), Some((Signal::KILL, Actor::User(u32::MAX))));
    unit.state = State::Live(Box::new(run));
    let at = Some(crate::base::Mono(u64::MAX));
    let bytes = memo::encode(&unit, at, at);
    assert!(bytes.len() <= memo::MEMO_MAX, "{}", bytes.len());
    let (again, deadlines) = memo::decode(&bytes, &long, &def).unwrap();
    assert_eq!(memo::encode(&again, deadlines.phase, deadlines.runtime), bytes, "what is read is what was written");
}
