//! The kernel ends a process for want of memory.

use super::{
    desk::{Desk, key, run_id},
    make::{command, service, with},
};
use crate::{
    base::{ExitStatus, RunResult, Signal},
    node::{
        Input,
        input::{Adopted, OomVictim, Restored, Verb},
    },
    unit::{
        UnitDef,
        spec::{ExitType, OomPolicy, Restart},
    },
};

const KILLED: ExitStatus = ExitStatus::Signaled { signal: Signal::KILL, core: false };

fn under(policy: OomPolicy) -> UnitDef {
    with("web", |def| {
        def.service.resources.oom_policy = Some(policy);
        def.service.restart.when = Restart::OnAbnormal;
        def.service.restart.delay = crate::base::TimeSpan::from_secs(1);
        def.service.exec_stop = [command("stop")].into();
        def.service.exec_reload = [command("reload")].into();
    })
}

fn up(def: UnitDef) -> Desk {
    let mut desk = Desk::new([def]);
    desk.spawned("web/1");
    desk
}

impl Desk {
    fn other_oom_killed(&mut self, run: &str, killed: u64) -> Vec<String> {
        self.give(Input::OomKilled { run: run_id(run), killed, whose: OomVictim::Other })
    }

    fn known_oom_killed(&mut self, process: &str, killed: u64, alone: bool) -> Vec<String> {
        let key = key(process);
        let mut said = self.give(Input::OomKilled { run: key.run.clone(), killed, whose: OomVictim::Known });
        said.extend(self.give(Input::Exited { key, status: KILLED, usage: None, oom: true, alone }));
        said
    }
}

#[test]
fn a_main_process_that_is_ended_so_is_restarted_as_after_any_abnormal_end() {
    for policy in [OomPolicy::Stop, OomPolicy::Kill, OomPolicy::Continue] {
        let mut def = under(policy);
        def.service.exec_stop = Box::default();
        let mut desk = up(def);
        let said = desk.known_oom_killed("web/1", 1, true);
        assert_eq!(
            said[..2],
            ["OomKilled", "RunEnded web/1 oom-kill (killed by SIGKILL) restart"],
            "{policy:?}: {said:?}"
        );
        assert_eq!(desk.status("web").result, RunResult::OomKill);
    }
}

#[test]
fn one_of_its_own_processes_takes_the_service_down_as_its_policy_says() {
    let mut desk = up(under(OomPolicy::Continue));
    assert_eq!(desk.other_oom_killed("web/1", 1), ["OomKilled"]);
    assert_eq!(desk.sub("web"), "running");

    let mut desk = up(under(OomPolicy::Stop));
    assert_eq!(
        desk.other_oom_killed("web/1", 1),
        ["spawn web/1.1 exec_stop MAINPID=1010 SERVICE_RESULT=oom-kill", "OomKilled"]
    );
    desk.exited("web/1.1", 0);
    let said = desk.killed("web/1", Signal::TERM);
    assert_eq!(said[0], "RunEnded web/1 oom-kill (killed by SIGTERM) restart");

    let mut desk = up(under(OomPolicy::Kill));
    assert_eq!(desk.other_oom_killed("web/1", 1), ["kill-tree web/1 SIGKILL", "OomKilled"]);
    let said = desk.killed("web/1", Signal::KILL);
    assert_eq!(said[0], "RunEnded web/1 oom-kill (killed by SIGKILL) restart");
}

#[test]
fn a_policy_of_kill_spares_nobody_that_a_dead_main_process_leaves() {
    let mut desk = up(under(OomPolicy::Kill));
    let said = desk.known_oom_killed("web/1", 1, false);
    assert!(said.contains(&"kill-tree web/1 SIGKILL".to_owned()), "{said:?}");
    assert_eq!(desk.sub("web"), "stop-sigkill");
}

#[test]
fn a_service_that_outlives_its_main_process_is_stopped_all_the_same() {
    let mut def = under(OomPolicy::Stop);
    def.service.main.exit_type = ExitType::Cgroup;
    let mut desk = up(def);
    desk.known_oom_killed("web/1", 1, false);
    assert_eq!(desk.sub("web"), "stop");
}

#[test]
fn a_reload_that_is_ended_so_stops_the_service_unless_it_is_to_continue() {
    for (policy, sub) in
        [(OomPolicy::Continue, "running"), (OomPolicy::Stop, "stop"), (OomPolicy::Kill, "stop-sigkill")]
    {
        let mut desk = up(under(policy));
        desk.order(Verb::Reload, &["web"]);
        desk.known_oom_killed("web/1.1", 1, false);
        assert_eq!(desk.sub("web"), sub, "{policy:?}");
    }
}

#[test]
fn one_that_still_wants_memory_on_its_way_down_is_killed() {
    let mut desk = up(under(OomPolicy::Stop));
    desk.order(Verb::Stop, &["web"]);
    desk.exited("web/1.1", 0);
    assert_eq!(desk.sub("web"), "stop-sigterm");
    let said = desk.other_oom_killed("web/1", 1);
    assert_eq!(said, ["kill-tree web/1 SIGKILL", "OomKilled"]);
}

#[test]
fn how_many_there_were_is_remembered_and_of_another_run_it_changes_nothing() {
    let mut desk = up(with("web", |def| def.service.resources.oom_policy = Some(OomPolicy::Continue)));
    desk.other_oom_killed("web/1", 3);
    let main = desk.status("web").main_pid.unwrap();
    let def = with("web", |def| def.service.resources.oom_policy = Some(OomPolicy::Continue));
    let adopted = Adopted { key: key("web/1"), invocation: desk.status("web").invocation.unwrap(), pid: main };
    let restored = Restored { processes: vec![adopted], ..Restored::default() };
    let (mut after, _) = desk.takeover([def], restored);
    assert_eq!(after.node.oom_kills(&super::make::name("web")), 3);
    assert_eq!(after.other_oom_killed("web/2", 4), Vec::<String>::new());
    assert_eq!(after.node.oom_kills(&super::make::name("web")), 3);
    after.known_oom_killed("web/1", 4, true);
    assert_eq!(after.node.oom_kills(&super::make::name("web")), 0, "the run is over");
}

#[test]
fn a_service_that_manages_its_own_cgroups_continues_unless_it_says_otherwise() {
    let def = service("web").service.resources;
    assert_eq!(def.oom_policy(), OomPolicy::Stop);
    let delegated = with("web", |def| def.service.resources.delegate = true);
    assert_eq!(delegated.service.resources.oom_policy(), OomPolicy::Continue);
}

#[test]
fn the_row_of_such_an_end_is_right_however_many_runs_came_before_it_was_written() {
    let always = || {
        with("web", |def| {
            def.service.restart.when = Restart::Always;
            def.start_limit.burst = 0;
        })
    };
    let mut desk = Desk::new([always()]);
    for generation in 1..=20 {
        desk.up("web");
        let run = format!("web/{generation}");
        if generation % 2 == 0 {
            desk.known_oom_killed(&run, 1, true);
        } else {
            desk.ended(&run, KILLED, true);
        }
        desk.pass(1.0);
    }
    // The keeper holds all their ends: not one row is written.
    let runs: Vec<String> = (1..=20).map(|generation| format!("web/{generation}")).collect();
    let restored = Restored { waiting: runs.iter().map(|run| key(run)).collect(), ..Restored::default() };
    let (mut next, _) = desk.takeover([always()], restored);
    for (generation, run) in (1..).zip(runs) {
        let class = if generation % 2 == 0 { "oom-kill" } else { "signal" };
        let told = format!("RunEnded {run} {class} (killed by SIGKILL) restart replayed");
        assert_eq!(next.ended(&run, KILLED, true), [told]);
    }
}
